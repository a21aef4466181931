// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import (
	"net/http"
	"sort"
	"time"
)

// assignedAddOn is the AssignedAddOn resource.
type assignedAddOn struct {
	SID             string            `json:"sid"`
	AccountSID      string            `json:"account_sid"`
	ResourceSID     string            `json:"resource_sid"`
	FriendlyName    string            `json:"friendly_name"`
	Description     string            `json:"description"`
	Configuration   map[string]any    `json:"configuration"`
	UniqueName      string            `json:"unique_name"`
	DateCreated     string            `json:"date_created"`
	DateUpdated     string            `json:"date_updated"`
	URI             string            `json:"uri"`
	SubresourceURIs map[string]string `json:"subresource_uris"`
}

type assignedAddOns struct {
	AssignedAddOns []assignedAddOn `json:"assigned_add_ons"`
	pageURIs
}

func (a assignment) resource(n *number) assignedAddOn {
	base := n.path() + "/AssignedAddOns/" + a.sid
	return assignedAddOn{
		SID: a.sid, AccountSID: n.account.sid, ResourceSID: n.sid,
		FriendlyName: a.addOn.FriendlyName, Description: a.addOn.Description,
		Configuration: a.addOn.Configuration, UniqueName: a.addOn.UniqueName,
		DateCreated: rfc2822(a.created), DateUpdated: rfc2822(a.created),
		URI:             base + ".json",
		SubresourceURIs: map[string]string{"extensions": base + "/Extensions.json"},
	}
}

// createAssigned assigns the installation that the form names to the number.
func (x *exchange) createAssigned(a *account, n *number) answer {
	sid := x.form.Get("InstalledAddOnSid")
	if !IsSID("XE", sid) {
		return failure(http.StatusBadRequest, 20422, "Invalid Parameter: InstalledAddOnSid")
	}
	addOn := a.addOns[sid]
	switch {
	case addOn == nil:
		return outcome(x.behaviour.UnknownAddOn, "The requested resource "+sid+" was not found")
	case addOn.Unsupported:
		return outcome(x.behaviour.UnsupportedListing,
			"The Add-on cannot be assigned to a phone number")
	}
	if existing, ok := n.withAddOn(addOn); ok {
		if x.behaviour.DuplicateCreate != DuplicateSame {
			return outcome(x.behaviour.DuplicateCreate, "The Add-on is assigned already")
		}
		return answer{status: http.StatusCreated, body: existing.resource(n)}
	}
	created := x.sim.assign(x.origin(), n, addOn, x.behaviour.AssignmentSID, x.visibleFrom(time.Now()))
	return answer{status: http.StatusCreated, body: created.resource(n)}
}

func (x *exchange) fetchAssigned(_ *account, n *number) answer {
	a, ok := x.visibleAssigned(n)
	if !ok {
		return x.notFound()
	}
	return answer{status: http.StatusOK, body: a.resource(n)}
}

// visibleAssigned returns the assignment that the path names, if a read shows it now.
func (x *exchange) visibleAssigned(n *number) (assignment, bool) {
	all := n.visible(time.Now())
	at := sort.Search(len(all), func(i int) bool { return all[i].sid >= x.route.addOn })
	if at == len(all) || all[at].sid != x.route.addOn {
		return assignment{}, false
	}
	return all[at], true
}

func (x *exchange) listAssigned(_ *account, n *number) answer {
	all := n.visible(time.Now())
	p, refusal := x.paginate("XE", len(all), func(i int) string { return all[i].sid })
	if refusal != nil {
		return *refusal
	}
	list := assignedAddOns{AssignedAddOns: []assignedAddOn{}, pageURIs: p.uris()}
	for _, i := range p.items {
		list.AssignedAddOns = append(list.AssignedAddOns, all[i].resource(n))
	}
	return answer{status: http.StatusOK, body: list}
}

func (x *exchange) deleteAssigned(_ *account, n *number) answer {
	at, ok := n.position(x.route.addOn)
	if !ok {
		return x.notFound()
	}
	a := x.sim.unassign(x.origin(), n, at, "")
	now := time.Now()
	a.visibleFrom = x.visibleFrom(now)
	n.keepVisible(a, now)
	return answer{status: http.StatusNoContent}
}
