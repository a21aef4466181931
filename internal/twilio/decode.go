// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"encoding/json"
	"errors"
	"net/mail"
	"net/url"
	"strings"
	"time"

	openapi "github.com/twilio/twilio-go/rest/api/v2010"
)

// Bounds, in runes, of what goes on into an object's status.
const (
	maxName        = 256
	maxDescription = 1024
)

// itemKeys are the fields that are read of a number or an assignment. All others
// are cut off before the generated code sees them: configuration may hold
// secrets, and the form of the rest is not ours to insist on.
var itemKeys = []string{
	"sid", "account_sid", "resource_sid", "unique_name", "friendly_name",
	"description", "date_updated", "phone_number",
}

type object = map[string]json.RawMessage

func pick(all object, keys ...string) object {
	picked := make(object, len(keys))
	for _, key := range keys {
		if v, ok := all[key]; ok {
			picked[key] = v
		}
	}
	return picked
}

// reduceItem cuts a single resource down to itemKeys.
func reduceItem(body []byte) ([]byte, error) {
	var all object
	if err := json.Unmarshal(body, &all); err != nil || all == nil {
		return nil, answerError("an answer that is not a JSON object")
	}
	return encode(pick(all, itemKeys...))
}

// reducePage cuts a page down to its list and returns the link to the next one.
// The list must be there: an answer without it is not an empty list.
func reducePage(body []byte, key string) (page []byte, next string, err error) {
	var all object
	if err := json.Unmarshal(body, &all); err != nil || all == nil {
		return nil, "", answerError("an answer that is not a JSON object")
	}
	var items []object
	if err := json.Unmarshal(all[key], &items); err != nil || items == nil {
		return nil, "", answerError("an answer without the list " + key)
	}
	for i := range items {
		items[i] = pick(items[i], itemKeys...)
	}
	if next, err = nextLink(all); err != nil {
		return nil, "", err
	}
	page, err = encode(map[string][]object{key: items})
	return page, next, err
}

// nextLink returns the link to the next page: next_page_uri, or in the Marketplace API
// meta.next_page_url; "" after the last page.
func nextLink(all object) (next string, err error) {
	link, ok := all["next_page_uri"]
	if meta, isMarketplace := all["meta"]; !ok && isMarketplace {
		var fields object
		if err := json.Unmarshal(meta, &fields); err != nil {
			return "", answerError("a meta that is not a JSON object")
		}
		link, ok = fields["next_page_url"]
	}
	if !ok {
		return "", nil
	}
	if err := json.Unmarshal(link, &next); err != nil {
		return "", answerError("a next page that is not a string")
	}
	return next, nil
}

func encode(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, answerError("an answer that is not valid JSON")
	}
	return body, nil
}

// nextQuery returns the query of a paging link, after checking that the link
// leads to the same resource: host, path and credentials stay the client's own.
func nextQuery(link string, base *url.URL, path string) (string, error) {
	u, err := url.Parse(link)
	if err != nil || u.Opaque != "" || u.User != nil || u.Fragment != "" || u.RawPath != "" {
		return "", answerError("a next_page_uri that cannot be followed")
	}
	if (u.Scheme != "" || u.Host != "") && !sameOrigin(u, base) {
		return "", answerError("a next_page_uri that leads to another host")
	}
	if !strings.EqualFold(u.Path, path) && !strings.EqualFold(u.Path, base.Path+path) {
		return "", answerError("a next_page_uri that leads to another resource")
	}
	if _, err := url.ParseQuery(u.RawQuery); err != nil || u.RawQuery == "" {
		return "", answerError("a next_page_uri without a page")
	}
	return u.RawQuery, nil
}

func sameOrigin(a, b *url.URL) bool {
	return strings.EqualFold(a.Scheme, b.Scheme) && strings.EqualFold(a.Host, b.Host)
}

// toAssigned checks that wire is an assignment of the number pn of the account and
// returns it as ours.
func toAssigned(wire *openapi.ApiV2010IncomingPhoneNumberAssignedAddOn, account, pn string) (AssignedAddOn, error) {
	switch {
	case !addOnSIDPattern.MatchString(text(wire.Sid)):
		return AssignedAddOn{}, answerError("an assignment without a SID")
	case !strings.EqualFold(text(wire.ResourceSid), pn):
		return AssignedAddOn{}, answerError("an assignment of another phone number")
	case text(wire.AccountSid) != "" && !strings.EqualFold(text(wire.AccountSid), account):
		return AssignedAddOn{}, answerError("an assignment of another account")
	}
	return AssignedAddOn{
		SID:          *wire.Sid,
		UniqueName:   bounded(oneLine(text(wire.UniqueName)), maxName),
		FriendlyName: bounded(oneLine(text(wire.FriendlyName)), maxName),
		Description:  bounded(oneLine(text(wire.Description)), maxDescription),
		DateUpdated:  parseDate(text(wire.DateUpdated)),
	}, nil
}

// toPhoneNumber checks that wire is the number pn of the account.
func toPhoneNumber(wire *openapi.ApiV2010IncomingPhoneNumber, account, pn string) (PhoneNumber, error) {
	switch {
	case !strings.EqualFold(text(wire.Sid), pn):
		return PhoneNumber{}, answerError("another phone number than the one asked for")
	case text(wire.AccountSid) != "" && !strings.EqualFold(text(wire.AccountSid), account):
		return PhoneNumber{}, answerError("a phone number of another account")
	}
	return PhoneNumber{
		SID:          *wire.Sid,
		PhoneNumber:  bounded(oneLine(text(wire.PhoneNumber)), maxName),
		FriendlyName: bounded(oneLine(text(wire.FriendlyName)), maxName),
	}, nil
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// parseDate reads an RFC 2822 date, or RFC 3339 as Twilio's newer services write.
// A date is for people to read: one that cannot be read is left out.
func parseDate(s string) time.Time {
	t, err := mail.ParseDate(s)
	if err != nil {
		t, err = time.Parse(time.RFC3339, s)
	}
	if err != nil || t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}
	}
	return t.UTC()
}

// checkAccount is New's check of the account SID.
func checkAccount(sid string) error {
	if !accountSIDPattern.MatchString(sid) {
		return errors.New("the account SID is not AC and 32 hexadecimal digits")
	}
	return nil
}
