// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import "net/http"

// accountResource is the Account resource. As with Twilio, it contains the auth token.
type accountResource struct {
	SID             string            `json:"sid"`
	AuthToken       string            `json:"auth_token"`
	DateCreated     string            `json:"date_created"`
	DateUpdated     string            `json:"date_updated"`
	FriendlyName    string            `json:"friendly_name"`
	OwnerAccountSID string            `json:"owner_account_sid"`
	Status          AccountStatus     `json:"status"`
	SubresourceURIs map[string]string `json:"subresource_uris"`
	Type            string            `json:"type"`
	URI             string            `json:"uri"`
}

func (x *exchange) fetchAccount(a *account, _ *number) answer {
	owner := a.parent
	if owner == "" {
		owner = a.sid
	}
	base := apiPrefix + a.sid
	return answer{status: http.StatusOK, body: accountResource{
		SID: a.sid, AuthToken: a.token, FriendlyName: "Account " + a.sid, OwnerAccountSID: owner,
		Status: x.sim.effectiveStatus(a), Type: "Full", URI: base + ".json",
		DateCreated: rfc2822(a.created), DateUpdated: rfc2822(a.created),
		SubresourceURIs: map[string]string{"incoming_phone_numbers": base + "/IncomingPhoneNumbers.json"},
	}}
}
