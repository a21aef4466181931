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

// The longest texts, in runes, that go into an object's status.
const (
	maxName        = 256
	maxDescription = 1024
)

// item is what is read of a number or an assignment. The other fields are removed before
// the generated code sees them: configuration may hold secrets, and a change of the rest
// must not matter.
type item struct {
	SID          json.RawMessage `json:"sid,omitempty"`
	AccountSID   json.RawMessage `json:"account_sid,omitempty"`
	ResourceSID  json.RawMessage `json:"resource_sid,omitempty"`
	UniqueName   json.RawMessage `json:"unique_name,omitempty"`
	FriendlyName json.RawMessage `json:"friendly_name,omitempty"`
	Description  json.RawMessage `json:"description,omitempty"`
	DateUpdated  json.RawMessage `json:"date_updated,omitempty"`
	PhoneNumber  json.RawMessage `json:"phone_number,omitempty"`
}

// decodeItem returns what is read of a JSON object; false if body is anything else.
func decodeItem(body []byte) (i item, ok bool) {
	body = bytes.TrimLeft(body, " \t\r\n")
	ok = len(body) > 0 && body[0] == '{' && json.Unmarshal(body, &i) == nil
	return i, ok
}

// The fields of a page besides its list.
const (
	keyURI     = "uri"
	keyNextURI = "next_page_uri"
	// The Marketplace API has both in an object of their own, under other names.
	keyMeta    = "meta"
	keyURL     = "url"
	keyNextURL = "next_page_url"
)

type object = map[string]json.RawMessage

// reduceItem reduces a single resource to what is read of it.
func reduceItem(body []byte) ([]byte, error) {
	i, ok := decodeItem(body)
	if !ok {
		return nil, errNotObject
	}
	return encode(i)
}

// reducedPage is a page, reduced to what is used.
type reducedPage struct {
	body []byte // an object with the list alone
	self string // the page's own URI; "" if absent
	next string // the link to the next page; "" on the last one
}

// reducePage reduces a page to its list, of at most limit items. An answer without the
// list is an error, not an empty list.
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
	list, listErr := encode(map[string][]item{key: items})
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

// decodeObject returns the given fields of a JSON object; false if body is anything
// else. The other fields take no memory, however many there are.
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

// decodeItems returns what is read of the items of a list.
func decodeItems(list json.RawMessage, key string, limit int) ([]item, error) {
	decoder := json.NewDecoder(bytes.NewReader(list))
	if token, err := decoder.Token(); err != nil || token != json.Delim('[') {
		return nil, errNoList(key)
	}
	items := []item{}
	var value json.RawMessage
	for decoder.More() {
		if len(items) == limit {
			return nil, errTooManyItems
		}
		if err := decoder.Decode(&value); err != nil {
			return nil, errNotObject
		}
		i, ok := decodeItem(value)
		if !ok {
			return nil, errItemNotObject
		}
		items = append(items, i)
	}
	return items, nil
}

// decodeText returns a field that is a string, null or absent.
func decodeText(fields object, key string) (value string, err error) {
	if raw, ok := fields[key]; ok && json.Unmarshal(raw, &value) != nil {
		return "", errNotString(key)
	}
	return value, nil
}

func encode(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, errBadJSON
	}
	return body, nil
}

// nextQuery returns the query of a paging link. It checks that the link leads to the
// same resource; host, path and credentials remain the client's own.
func nextQuery(link string, base *url.URL, path string) (string, error) {
	u, err := url.Parse(link)
	if err != nil || u.Opaque != "" || u.User != nil || u.Fragment != "" || u.RawPath != "" {
		return "", errNextUnusable
	}
	if (u.Scheme != "" || u.Host != "") && !sameOrigin(u, base) {
		return "", errNextHost
	}
	if !isPath(u, base, path) {
		return "", errNextResource
	}
	if _, err := url.ParseQuery(u.RawQuery); err != nil || u.RawQuery == "" {
		return "", errNextNoPage
	}
	return u.RawQuery, nil
}

// isPath reports whether u has the path, at Twilio's own address or at the base URL.
func isPath(u, base *url.URL, path string) bool {
	return strings.EqualFold(u.Path, path) || strings.EqualFold(u.Path, base.Path+path)
}

// checkSelf checks that a page's own URI is that of the list at path. A server that is
// not Twilio's cannot know it: it contains the account SID.
func checkSelf(self string, base *url.URL, path string) error {
	u, err := url.Parse(self)
	if err != nil || self == "" || u.Opaque != "" || !isPath(u, base, path) {
		return errNotThisAccount
	}
	return nil
}

func sameOrigin(a, b *url.URL) bool {
	return strings.EqualFold(a.Scheme, b.Scheme) && strings.EqualFold(a.Host, b.Host)
}

// toAssigned checks that wire is an assignment of the account's number pn and converts
// it.
func toAssigned(wire *openapi.ApiV2010IncomingPhoneNumberAssignedAddOn, account, pn string) (AssignedAddOn, error) {
	switch {
	case !addOnSIDPattern.MatchString(text(wire.Sid)):
		return AssignedAddOn{}, errAssignmentNoSID
	case !strings.EqualFold(text(wire.ResourceSid), pn):
		return AssignedAddOn{}, errAssignmentNumber
	case text(wire.AccountSid) != "" && !strings.EqualFold(text(wire.AccountSid), account):
		return AssignedAddOn{}, errAssignmentAccount
	}
	return AssignedAddOn{
		SID:          *wire.Sid,
		UniqueName:   bounded(oneLine(text(wire.UniqueName)), maxName),
		FriendlyName: bounded(oneLine(text(wire.FriendlyName)), maxName),
		Description:  bounded(oneLine(text(wire.Description)), maxDescription),
		DateUpdated:  parseDate(text(wire.DateUpdated)),
	}, nil
}

// toListedNumber checks that wire says that it is one of the account's numbers, and
// converts it.
func toListedNumber(wire *openapi.ApiV2010IncomingPhoneNumber, account string) (PhoneNumber, error) {
	switch {
	case !numberSIDPattern.MatchString(text(wire.Sid)):
		return PhoneNumber{}, errNumberNoSID
	case !strings.EqualFold(text(wire.AccountSid), account):
		return PhoneNumber{}, errNumberAccount
	}
	return toPhoneNumber(wire, account, *wire.Sid)
}

// toPhoneNumber checks that wire is the account's number pn, and converts it.
func toPhoneNumber(wire *openapi.ApiV2010IncomingPhoneNumber, account, pn string) (PhoneNumber, error) {
	switch {
	case !strings.EqualFold(text(wire.Sid), pn):
		return PhoneNumber{}, errOtherNumber
	case text(wire.AccountSid) != "" && !strings.EqualFold(text(wire.AccountSid), account):
		return PhoneNumber{}, errNumberAccount
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

// parseDate reads a date in the form of RFC 2822, or of RFC 3339, which Twilio's newer
// services use. Dates are for information only: one that cannot be read is left out.
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

func checkAccount(sid string) error {
	if !accountSIDPattern.MatchString(sid) {
		return errors.New("the account SID must be AC and 32 hexadecimal digits")
	}
	return nil
}
