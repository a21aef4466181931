// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import (
	"net/http"
	"strings"
)

// Operation is a kind of request. Counts, faults and restricted keys use it.
type Operation string

// The operations.
const (
	// OpAny matches every operation. It is valid in faults and in [Calls.Of].
	OpAny Operation = "*"

	// AssignedAddOns of a number.
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

	// OpUnknown is a request whose path or method the simulator does not serve.
	OpUnknown Operation = "unknown"
)

// route is what the method and path of a request say.
type route struct {
	op          Operation
	marketplace bool
	// known reports whether the path names a resource, regardless of the method.
	known bool
	// json is false for a path of the 2010 API without the suffix ".json"; Twilio answers it in XML.
	json bool

	account, number, addOn, extension string
}

// methods maps resources and HTTP methods to operations.
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

// parseRoute takes the path as it was sent. It does not unescape it, because no SID contains an
// escape.
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

// parseAPI reads the path after /2010-04-01/Accounts/ and returns the name of the resource.
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

// parseMarketplace reads the path after /v1/InstalledAddOns/ and returns the name of the resource.
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
