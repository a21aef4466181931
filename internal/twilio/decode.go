// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/mail"
	"net/url"
	"slices"
	"strings"
	"time"

	openapi "github.com/twilio/twilio-go/rest/api/v2010"
)

// Bounds, in runes, of what goes on into an object's status.
const (
	maxName        = 256
	maxDescription = 1024
)

// itemKeys are the fields that are read of a number or an assignment. All others are
// cut off before the generated code sees them: configuration may hold secrets, and
// the operator does not depend on the form of the rest.
var itemKeys = []string{
	"sid", "account_sid", "resource_sid", "unique_name", "friendly_name",
	"description", "date_updated", "phone_number",
}

// The fields of a page beside its list.
const (
	keyURI     = "uri"
	keyNextURI = "next_page_uri"
	// The Marketplace API has both in an object of their own, under other names.
	keyMeta    = "meta"
	keyURL     = "url"
	keyNextURL = "next_page_url"
)

type object = map[string]json.RawMessage

// reduceItem cuts a single resource down to itemKeys.
func reduceItem(body []byte) ([]byte, error) {
	item, ok := decodeObject(body, itemKeys...)
	if !ok {
		return nil, errNotObject
	}
	return encode(item)
}

const errNotObject = answerError("an answer that is not a JSON object")

// reducedPage is a page without what is not used.
type reducedPage struct {
	body []byte // an object with the list alone
	self string // the page's own URI; "" if absent
	next string // the link to the next page; "" on the last one
}

// reducePage cuts a page down to its list, of at most limit items. The list must be
// there: an answer without it is not an empty list.
func reducePage(body []byte, key string, limit int) (reducedPage, error) {
	page, ok := decodeObject(body, key, keyURI, keyNextURI, keyMeta)
	if !ok {
		return reducedPage{}, errNotObject
	}
	if err := flattenMeta(page); err != nil {
		return reducedPage{}, err
	}
	items, err := decodeItems(page[key], key, limit)
	if err != nil {
		return reducedPage{}, err
	}
	self, selfErr := decodeText(page, keyURI)
	next, nextErr := decodeText(page, keyNextURI)
	list, listErr := encode(map[string][]object{key: items})
	return reducedPage{body: list, self: self, next: next}, errors.Join(selfErr, nextErr, listErr)
}

// flattenMeta puts the links of a page of the Marketplace API where other pages have them.
func flattenMeta(page object) error {
	meta, ok := page[keyMeta]
	if !ok {
		return nil
	}
	links, ok := decodeObject(meta, keyURL, keyNextURL)
	if !ok {
		return answerError("a meta that is not a JSON object")
	}
	for from, to := range map[string]string{keyURL: keyURI, keyNextURL: keyNextURI} {
		if link, ok := links[from]; ok {
			page[to] = link
		}
	}
	return nil
}

// decodeObject returns those fields of a JSON object that are asked for; false if
// body is anything else. What is not asked for takes no memory, however much there is.
func decodeObject(body []byte, keys ...string) (object, bool) {
	if !json.Valid(body) {
		return nil, false
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return nil, false
	}
	fields := make(object, len(keys))
	var value json.RawMessage
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil || decoder.Decode(&value) != nil {
			return nil, false
		}
		if key, ok := name.(string); ok && slices.Contains(keys, key) {
			fields[key] = slices.Clone(value)
		}
	}
	return fields, true
}

// decodeItems returns the items of a list, reduced to itemKeys.
func decodeItems(list json.RawMessage, key string, limit int) ([]object, error) {
	decoder := json.NewDecoder(bytes.NewReader(list))
	if token, err := decoder.Token(); err != nil || token != json.Delim('[') {
		return nil, answerError("an answer without the list " + key)
	}
	items := []object{}
	var value json.RawMessage
	for decoder.More() {
		if len(items) == limit {
			return nil, answerError("a page with more items than were asked for")
		}
		if err := decoder.Decode(&value); err != nil {
			return nil, errNotObject
		}
		item, ok := decodeObject(value, itemKeys...)
		if !ok {
			return nil, answerError("a list with an item that is not a JSON object")
		}
		items = append(items, item)
	}
	return items, nil
}

// decodeText returns a field that is a string, null or absent.
func decodeText(fields object, key string) (value string, err error) {
	if raw, ok := fields[key]; ok && json.Unmarshal(raw, &value) != nil {
		return "", answerError("a " + key + " that is not a string")
	}
	return value, nil
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
	if !isPath(u, base, path) {
		return "", answerError("a next_page_uri that leads to another resource")
	}
	if _, err := url.ParseQuery(u.RawQuery); err != nil || u.RawQuery == "" {
		return "", answerError("a next_page_uri without a page")
	}
	return u.RawQuery, nil
}

// isPath says whether u has the path, at Twilio's own address or at the base URL.
func isPath(u, base *url.URL, path string) bool {
	return strings.EqualFold(u.Path, path) || strings.EqualFold(u.Path, base.Path+path)
}

// checkSelf checks by a page's own URI that the page is of the list at path. Whoever
// answers at a wrong address knows neither the path nor the account in it.
func checkSelf(self string, base *url.URL, path string) error {
	u, err := url.Parse(self)
	if err != nil || self == "" || u.Opaque != "" || !isPath(u, base, path) {
		return answerError("a list that does not say that it is of this account: check apiBaseURL")
	}
	return nil
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

// toListedNumber checks that wire is one of the account's numbers, which it must say.
func toListedNumber(wire *openapi.ApiV2010IncomingPhoneNumber, account string) (PhoneNumber, error) {
	switch {
	case !numberSIDPattern.MatchString(text(wire.Sid)):
		return PhoneNumber{}, answerError("a phone number without a SID")
	case !strings.EqualFold(text(wire.AccountSid), account):
		return PhoneNumber{}, errForeignNumber
	}
	return toPhoneNumber(wire, account, *wire.Sid)
}

const errForeignNumber = answerError("a phone number of another account")

// toPhoneNumber checks that wire is the number pn of the account.
func toPhoneNumber(wire *openapi.ApiV2010IncomingPhoneNumber, account, pn string) (PhoneNumber, error) {
	switch {
	case !strings.EqualFold(text(wire.Sid), pn):
		return PhoneNumber{}, answerError("another phone number than the one asked for")
	case text(wire.AccountSid) != "" && !strings.EqualFold(text(wire.AccountSid), account):
		return PhoneNumber{}, errForeignNumber
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
