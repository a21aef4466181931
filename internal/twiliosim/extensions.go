// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import (
	"net/http"
	"slices"
	"strings"
)

// extension is a Twilio product that invokes an installed add-on.
type extension struct {
	sid, friendlyName, productName, uniqueName string
	enabled                                    bool
}

// extensions returns the same two extensions for every add-on, sorted by SID.
func (x *installation) extensions() []extension {
	all := []extension{
		{derivedSID("XF", x.SID, "voice-incoming"), "Incoming Voice Call", "Programmable Voice",
			"voice-incoming", true},
		{derivedSID("XF", x.SID, "messaging-incoming"), "Incoming SMS", "Programmable Messaging",
			"messaging-incoming", false},
	}
	slices.SortFunc(all, func(a, b extension) int { return strings.Compare(a.sid, b.sid) })
	return all
}

// assignedExtension is the AssignedAddOnExtension resource.
type assignedExtension struct {
	SID              string `json:"sid"`
	AssignedAddOnSID string `json:"assigned_add_on_sid"`
	ResourceSID      string `json:"resource_sid"`
	AccountSID       string `json:"account_sid"`
	FriendlyName     string `json:"friendly_name"`
	ProductName      string `json:"product_name"`
	UniqueName       string `json:"unique_name"`
	Enabled          bool   `json:"enabled"`
	URI              string `json:"uri"`
}

type assignedExtensions struct {
	Extensions []assignedExtension `json:"extensions"`
	pageURIs
}

func (e extension) assignedTo(n *number, a assignment) assignedExtension {
	return assignedExtension{
		SID: e.sid, AssignedAddOnSID: a.sid, ResourceSID: n.sid, AccountSID: n.account.sid,
		FriendlyName: e.friendlyName, ProductName: e.productName, UniqueName: e.uniqueName,
		Enabled: e.enabled,
		URI:     n.path() + "/AssignedAddOns/" + a.sid + "/Extensions/" + e.sid + ".json",
	}
}

func (x *exchange) listExtensions(_ *account, n *number) answer {
	a, ok := x.visibleAssigned(n)
	if !ok {
		return x.notFound()
	}
	all := a.addOn.extensions()
	p, refusal := x.paginate("XF", len(all), func(i int) string { return all[i].sid })
	if refusal != nil {
		return *refusal
	}
	list := assignedExtensions{Extensions: []assignedExtension{}, pageURIs: p.uris()}
	for _, i := range p.items {
		list.Extensions = append(list.Extensions, all[i].assignedTo(n, a))
	}
	return answer{status: http.StatusOK, body: list}
}

func (x *exchange) fetchExtension(_ *account, n *number) answer {
	a, ok := x.visibleAssigned(n)
	if !ok {
		return x.notFound()
	}
	for _, e := range a.addOn.extensions() {
		if e.sid == x.route.extension {
			return answer{status: http.StatusOK, body: e.assignedTo(n, a)}
		}
	}
	return x.notFound()
}
