// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import (
	"net/http"
	"strings"
)

// Operation names one kind of request, in calls, faults and restricted keys.
type Operation string

// The operations. OpAny is only for faults.
const (
	OpAny Operation = "*"

	// The four of AssignedAddOns.
	OpCreate Operation = "create"
	OpFetch  Operation = "fetch"
	OpList   Operation = "list"
	OpDelete Operation = "delete"

	// IncomingPhoneNumbers: fetch one, list, buy, update (move), release.
	OpNumber        Operation = "number"
	OpNumbers       Operation = "numbers"
	OpBuyNumber     Operation = "buy-number"
	OpUpdateNumber  Operation = "update-number"
	OpReleaseNumber Operation = "release-number"

	// Extensions of an assigned add-on.
	OpExtension  Operation = "extension"
	OpExtensions Operation = "extensions"

	// The account itself.
	OpAccount Operation = "account"

	// InstalledAddOns of the marketplace.
	OpInstalledAddOn      Operation = "installed-add-on"
	OpInstalledAddOns     Operation = "installed-add-ons"
	OpUninstall           Operation = "uninstall"
	OpInstalledExtension  Operation = "installed-extension"
	OpInstalledExtensions Operation = "installed-extensions"

	// OpUnknown is any request that matches no other: a path or method there is not.
	OpUnknown Operation = "unknown"
)

// route is what a request asks for, read from its method and path alone.
type route struct {
	op          Operation
	marketplace bool
	// known says that the path names a resource, whatever the method.
	known bool
	// json is false for a 2010 path without the suffix ".json", which is answered in XML.
	json bool

	account, number, addOn, extension string
}

// methods maps each resource to the operations that its methods stand for.
var methods = map[string]map[string]Operation{
	"Account":              {http.MethodGet: OpAccount},
	"IncomingPhoneNumbers": {http.MethodGet: OpNumbers, http.MethodPost: OpBuyNumber},
	"IncomingPhoneNumber": {http.MethodGet: OpNumber, http.MethodPost: OpUpdateNumber,
		http.MethodDelete: OpReleaseNumber},
	"AssignedAddOns":      {http.MethodGet: OpList, http.MethodPost: OpCreate},
	"AssignedAddOn":       {http.MethodGet: OpFetch, http.MethodDelete: OpDelete},
	"Extensions":          {http.MethodGet: OpExtensions},
	"Extension":           {http.MethodGet: OpExtension},
	"InstalledAddOns":     {http.MethodGet: OpInstalledAddOns},
	"InstalledAddOn":      {http.MethodGet: OpInstalledAddOn, http.MethodDelete: OpUninstall},
	"InstalledExtensions": {http.MethodGet: OpInstalledExtensions},
	"InstalledExtension":  {http.MethodGet: OpInstalledExtension},
}

const (
	apiPrefix         = "/2010-04-01/Accounts/"
	marketplacePrefix = "/v1/InstalledAddOns"
)

// parseRoute reads a request. The path is taken as it was sent, escapes included: no SID needs one.
func parseRoute(method, path string) route {
	rt := route{json: strings.HasSuffix(path, ".json")}
	var resource string
	switch {
	case strings.HasPrefix(path, apiPrefix):
		resource = rt.parseAPI(path[len(apiPrefix):])
	case path == marketplacePrefix, strings.HasPrefix(path, marketplacePrefix+"/"):
		resource = rt.parseMarketplace(strings.TrimPrefix(path[len(marketplacePrefix):], "/"))
	}
	rt.op = OpUnknown
	if ops, ok := methods[resource]; ok {
		rt.known = true
		if op, ok := ops[method]; ok {
			rt.op = op
		}
	}
	return rt
}

// parseAPI reads what follows /2010-04-01/Accounts/ and returns the resource's name.
func (rt *route) parseAPI(path string) string {
	seg := strings.Split(strings.TrimSuffix(path, ".json"), "/")
	names := []string{"", "IncomingPhoneNumbers", "", "AssignedAddOns", "", "Extensions", ""}
	if len(seg) > len(names) {
		return ""
	}
	sids := []*string{&rt.account, nil, &rt.number, nil, &rt.addOn, nil, &rt.extension}
	for i, s := range seg {
		if sids[i] != nil {
			*sids[i] = s
		} else if s != names[i] {
			return ""
		}
	}
	resources := []string{"Account", "IncomingPhoneNumbers", "IncomingPhoneNumber",
		"AssignedAddOns", "AssignedAddOn", "Extensions", "Extension"}
	return resources[len(seg)-1]
}

// parseMarketplace reads what follows /v1/InstalledAddOns and returns the resource's name.
func (rt *route) parseMarketplace(path string) string {
	rt.marketplace, rt.json = true, true
	if path == "" {
		return "InstalledAddOns"
	}
	seg := strings.Split(path, "/")
	rt.addOn = seg[0]
	switch {
	case len(seg) == 1:
		return "InstalledAddOn"
	case seg[1] != "Extensions" || len(seg) > 3:
		return ""
	case len(seg) == 2:
		return "InstalledExtensions"
	}
	rt.extension = seg[2]
	return "InstalledExtension"
}
