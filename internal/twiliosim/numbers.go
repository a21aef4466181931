// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import (
	"net/http"
	"slices"
	"strings"
)

// incomingPhoneNumber is the IncomingPhoneNumber resource. Its fields have the values of a number
// without any configuration.
type incomingPhoneNumber struct {
	SID                    string            `json:"sid"`
	AccountSID             string            `json:"account_sid"`
	FriendlyName           string            `json:"friendly_name"`
	PhoneNumber            string            `json:"phone_number"`
	APIVersion             string            `json:"api_version"`
	AddressRequirements    string            `json:"address_requirements"`
	AddressSID             *string           `json:"address_sid"`
	Beta                   bool              `json:"beta"`
	BundleSID              *string           `json:"bundle_sid"`
	Capabilities           map[string]bool   `json:"capabilities"`
	DateCreated            string            `json:"date_created"`
	DateUpdated            string            `json:"date_updated"`
	EmergencyAddressSID    *string           `json:"emergency_address_sid"`
	EmergencyAddressStatus string            `json:"emergency_address_status"`
	EmergencyStatus        string            `json:"emergency_status"`
	IdentitySID            *string           `json:"identity_sid"`
	Origin                 string            `json:"origin"`
	SMSApplicationSID      string            `json:"sms_application_sid"`
	SMSFallbackMethod      string            `json:"sms_fallback_method"`
	SMSFallbackURL         string            `json:"sms_fallback_url"`
	SMSMethod              string            `json:"sms_method"`
	SMSURL                 string            `json:"sms_url"`
	Status                 string            `json:"status"`
	StatusCallback         string            `json:"status_callback"`
	StatusCallbackMethod   string            `json:"status_callback_method"`
	SubresourceURIs        map[string]string `json:"subresource_uris"`
	TrunkSID               *string           `json:"trunk_sid"`
	Type                   string            `json:"type"`
	URI                    string            `json:"uri"`
	VoiceApplicationSID    string            `json:"voice_application_sid"`
	VoiceCallerIDLookup    bool              `json:"voice_caller_id_lookup"`
	VoiceFallbackMethod    string            `json:"voice_fallback_method"`
	VoiceFallbackURL       string            `json:"voice_fallback_url"`
	VoiceMethod            string            `json:"voice_method"`
	VoiceReceiveMode       string            `json:"voice_receive_mode"`
	VoiceURL               string            `json:"voice_url"`
}

type incomingPhoneNumbers struct {
	IncomingPhoneNumbers []incomingPhoneNumber `json:"incoming_phone_numbers"`
	pageURIs
}

// path returns the path of the number without ".json".
func (n *number) path() string {
	return apiPrefix + n.account.sid + "/IncomingPhoneNumbers/" + n.sid
}

func (n *number) resource() incomingPhoneNumber {
	return incomingPhoneNumber{
		SID: n.sid, AccountSID: n.account.sid, FriendlyName: n.friendlyName, PhoneNumber: n.phoneNumber,
		APIVersion: "2010-04-01", AddressRequirements: "none",
		Capabilities: map[string]bool{"voice": true, "sms": true, "mms": true, "fax": false},
		DateCreated:  rfc2822(n.created), DateUpdated: rfc2822(n.created),
		EmergencyAddressStatus: "unregistered", EmergencyStatus: "Active", Origin: "twilio",
		SMSFallbackMethod: "POST", SMSMethod: "POST", StatusCallbackMethod: "POST",
		Status: "in-use", Type: "local", VoiceFallbackMethod: "POST", VoiceMethod: "POST",
		VoiceReceiveMode: "voice", URI: n.path() + ".json",
		SubresourceURIs: map[string]string{"assigned_add_ons": n.path() + "/AssignedAddOns.json"},
	}
}

func (x *exchange) fetchNumber(_ *account, n *number) answer {
	return answer{status: http.StatusOK, body: n.resource()}
}

func (x *exchange) listNumbers(a *account, _ *number) answer {
	all := a.sortedNumbers()
	if x.fault.Kind == FaultMissingNumber {
		all = slices.DeleteFunc(slices.Clone(all), x.isMissing)
	}
	q := x.r.URL.Query()
	if q.Has("PhoneNumber") || q.Has("FriendlyName") {
		all = filterNumbers(all, q.Get("PhoneNumber"), q.Get("FriendlyName"))
	}
	p, refusal := x.paginate("PN", len(all), func(i int) string { return all[i].sid })
	if refusal != nil {
		return *refusal
	}
	list := incomingPhoneNumbers{IncomingPhoneNumbers: []incomingPhoneNumber{}, pageURIs: p.uris()}
	for _, i := range p.items {
		list.IncomingPhoneNumbers = append(list.IncomingPhoneNumbers, all[i].resource())
	}
	return answer{status: http.StatusOK, body: list}
}

func filterNumbers(all []*number, pattern, friendlyName string) []*number {
	var out []*number
	for _, n := range all {
		if containsPattern(n.phoneNumber, pattern) && (friendlyName == "" || n.friendlyName == friendlyName) {
			out = append(out, n)
		}
	}
	return out
}

// containsPattern reports whether any part of a phone number matches a pattern, in which * matches
// any digit.
func containsPattern(phoneNumber, pattern string) bool {
	for from := 0; from+len(pattern) <= len(phoneNumber); from++ {
		if matchesAt(phoneNumber[from:], pattern) {
			return true
		}
	}
	return false
}

func matchesAt(s, pattern string) bool {
	for i := range len(pattern) {
		if pattern[i] != s[i] && (pattern[i] != '*' || s[i] == '+') {
			return false
		}
	}
	return true
}

// buyNumber adds the phone number that the form names. The SID is derived from the account and the
// phone number, so that it is predictable.
func (x *exchange) buyNumber(a *account, _ *number) answer {
	phoneNumber := x.form.Get("PhoneNumber")
	if !strings.HasPrefix(phoneNumber, "+") {
		return failure(http.StatusBadRequest, 21421, "PhoneNumber is invalid")
	}
	if n := a.byPhoneNumber[phoneNumber]; n != nil {
		return answer{status: http.StatusCreated, body: n.resource()}
	}
	n, err := x.sim.addNumber(a.sid, derivedSID("PN", a.sid, phoneNumber), phoneNumber)
	if err != nil {
		return failure(http.StatusBadRequest, 21422, "PhoneNumber is not available")
	}
	x.sim.journal.add(x.origin(), Mutation{Change: ChangeBuy, Account: a.sid, Number: n.sid})
	return answer{status: http.StatusCreated, body: n.resource()}
}

// updateNumber renames the number, or moves it to another account that the caller can access.
func (x *exchange) updateNumber(a *account, n *number) answer {
	if name := x.form.Get("FriendlyName"); name != "" {
		n.friendlyName = name
	}
	to := x.form.Get("AccountSid")
	if to == "" || to == a.sid {
		return answer{status: http.StatusOK, body: n.resource()}
	}
	c, _ := x.sim.authenticate(x.user, x.password)
	target := x.sim.accounts[to]
	if target == nil {
		return failure(http.StatusBadRequest, 21470, "Invalid AccountSid")
	}
	if refusal := x.checkAccess(c, target); refusal != nil {
		return *refusal
	}
	x.sim.move(x.origin(), n, target)
	return answer{status: http.StatusOK, body: n.resource()}
}

func (x *exchange) releaseNumber(_ *account, n *number) answer {
	x.sim.release(x.origin(), n)
	return answer{status: http.StatusNoContent}
}
