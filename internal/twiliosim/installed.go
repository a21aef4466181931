// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import "net/http"

// installedAddOn is the marketplace's InstalledAddOn resource.
type installedAddOn struct {
	SID           string            `json:"sid"`
	AccountSID    string            `json:"account_sid"`
	FriendlyName  string            `json:"friendly_name"`
	Description   string            `json:"description"`
	Configuration map[string]any    `json:"configuration"`
	UniqueName    string            `json:"unique_name"`
	DateCreated   string            `json:"date_created"`
	DateUpdated   string            `json:"date_updated"`
	URL           string            `json:"url"`
	Links         map[string]string `json:"links"`
}

type installedAddOns struct {
	InstalledAddOns []installedAddOn `json:"installed_add_ons"`
	Meta            pageMeta         `json:"meta"`
}

// installedExtension is the marketplace's InstalledAddOnExtension resource.
type installedExtension struct {
	SID               string `json:"sid"`
	InstalledAddOnSID string `json:"installed_add_on_sid"`
	FriendlyName      string `json:"friendly_name"`
	ProductName       string `json:"product_name"`
	UniqueName        string `json:"unique_name"`
	Enabled           bool   `json:"enabled"`
	URL               string `json:"url"`
}

type installedExtensions struct {
	Extensions []installedExtension `json:"extensions"`
	Meta       pageMeta             `json:"meta"`
}

func (x *exchange) installedResource(i *installation) installedAddOn {
	url := x.absolute(marketplacePrefix + "/" + i.SID)
	return installedAddOn{
		SID: i.SID, AccountSID: i.account.sid, FriendlyName: i.FriendlyName, Description: i.Description,
		Configuration: i.Configuration, UniqueName: i.UniqueName,
		DateCreated: rfc3339(i.created), DateUpdated: rfc3339(i.created), URL: url,
		Links: map[string]string{
			"extensions":       url + "/Extensions",
			"available_add_on": x.absolute("/v1/AvailableAddOns/" + derivedSID("XB", i.SID)),
		},
	}
}

func (x *exchange) extensionResource(i *installation, e extension) installedExtension {
	return installedExtension{
		SID: e.sid, InstalledAddOnSID: i.SID, FriendlyName: e.friendlyName, ProductName: e.productName,
		UniqueName: e.uniqueName, Enabled: e.enabled,
		URL: x.absolute(marketplacePrefix + "/" + i.SID + "/Extensions/" + e.sid),
	}
}

func (x *exchange) listInstalled(a *account, _ *number) answer {
	all := a.sortedAddOns()
	p, refusal := x.paginate("XE", len(all), func(i int) string { return all[i].SID })
	if refusal != nil {
		return *refusal
	}
	list := installedAddOns{InstalledAddOns: []installedAddOn{}, Meta: p.meta("installed_add_ons")}
	for _, i := range p.items {
		list.InstalledAddOns = append(list.InstalledAddOns, x.installedResource(all[i]))
	}
	return answer{status: http.StatusOK, body: list}
}

func (x *exchange) fetchInstalled(a *account, _ *number) answer {
	i := a.addOns[x.route.addOn]
	if i == nil {
		return x.notFound()
	}
	return answer{status: http.StatusOK, body: x.installedResource(i)}
}

// uninstall removes an installation. Behaviour.Uninstall decides what happens if it is assigned.
func (x *exchange) uninstall(a *account, _ *number) answer {
	i := a.addOns[x.route.addOn]
	if i == nil {
		return x.notFound()
	}
	if i.assigned > 0 && x.behaviour.Uninstall == UninstallRefuse {
		return failure(http.StatusConflict, 20409, "The Add-on is assigned to a phone number")
	}
	x.sim.uninstall(x.origin(), i)
	return answer{status: http.StatusNoContent}
}

func (x *exchange) listInstalledExtensions(a *account, _ *number) answer {
	i := a.addOns[x.route.addOn]
	if i == nil {
		return x.notFound()
	}
	all := i.extensions()
	p, refusal := x.paginate("XF", len(all), func(i int) string { return all[i].sid })
	if refusal != nil {
		return *refusal
	}
	list := installedExtensions{Extensions: []installedExtension{}, Meta: p.meta("extensions")}
	for _, at := range p.items {
		list.Extensions = append(list.Extensions, x.extensionResource(i, all[at]))
	}
	return answer{status: http.StatusOK, body: list}
}

func (x *exchange) fetchInstalledExtension(a *account, _ *number) answer {
	if i := a.addOns[x.route.addOn]; i != nil {
		for _, e := range i.extensions() {
			if e.sid == x.route.extension {
				return answer{status: http.StatusOK, body: x.extensionResource(i, e)}
			}
		}
	}
	return x.notFound()
}
