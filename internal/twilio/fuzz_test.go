// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// bodyClient answers every call with one body.
func bodyClient(t *testing.T, status int, body []byte, headers http.Header) *Client {
	t.Helper()
	return newClient(t, DefaultBaseURL, Options{Transport: transportFunc(func(req *http.Request) (*http.Response, error) {
		res := response(req, status, string(body))
		if headers != nil {
			res.Header = headers
		}
		return res, nil
	})})
}

// isLine says whether s can be shown as one line of a bounded length.
func isLine(s string, runes int) bool {
	return utf8.ValidString(s) && utf8.RuneCountInString(s) <= runes+1 &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// checkAddOnRead holds what every assignment read has.
func checkAddOnRead(t *testing.T, a AssignedAddOn) {
	t.Helper()
	if !addOnSIDPattern.MatchString(a.SID) || !isLine(a.UniqueName, maxName) || !isLine(a.FriendlyName, maxName) ||
		!isLine(a.Description, maxDescription) {
		t.Errorf("an assignment with %q, %q, %q, %q", a.SID, a.UniqueName, a.FriendlyName, a.Description)
	}
	if _, err := a.DateUpdated.MarshalJSON(); err != nil {
		t.Errorf("a date that cannot be written: %v", err)
	}
}

// checkRefused holds what every error has.
func checkRefused(t *testing.T, err error) {
	t.Helper()
	if _, ok := errors.AsType[*Error](err); !ok {
		t.Errorf("got %T, want *Error", err)
	}
	if text := Explain(err); !isLine(text, maxExplained+100) || strings.Contains(text, testPassword) {
		t.Errorf("explained as %q", text)
	}
}

// FuzzListPage: a page is either the whole list it holds, each item of the number
// asked for and once, or an error.
func FuzzListPage(f *testing.F) {
	for _, body := range []string{page(""), page("", assignment(testNumber, testAddOn)),
		page(listPath+"?Page=1", assignment(testNumber, testAddOn)), `{"assigned_add_ons":null}`, `{}`, `[]`, `null`, `<html>`,
		page("", assignment(otherNumber, testAddOn)), `{"assigned_add_ons":[{"sid":1}]}`, page("", "null")} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		addOns, err := bodyClient(t, 200, body, nil).ListAssignedAddOns(t.Context(), testNumber)
		if err != nil {
			checkRefused(t, err)
			if addOns != nil || !IsTransient(err) {
				t.Errorf("%d add-ons with %v", len(addOns), err)
			}
			return
		}
		if addOns == nil || !strings.Contains(string(body), "assigned_") && !strings.Contains(string(body), `\u`) {
			t.Errorf("%d add-ons of a body without the list", len(addOns))
		}
		seen := map[string]bool{}
		for _, addOn := range addOns {
			checkAddOnRead(t, addOn)
			if key := strings.ToLower(addOn.SID); seen[key] {
				t.Errorf("%s comes twice", addOn.SID)
			} else {
				seen[key] = true
			}
		}
	})
}

// FuzzItem: a single resource is the one asked for, or an error.
func FuzzItem(f *testing.F) {
	for _, body := range []string{assignment(testNumber, testAddOn), assignment(testNumber, otherAddOn),
		assignment(otherNumber, testAddOn), `{"sid":"` + testNumber + `","phone_number":"+14155550100"}`,
		`{"sid":null}`, `{}`, `null`, `[]`, ``} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		client := bodyClient(t, 200, body, nil)
		addOn, err := client.GetAssignedAddOn(t.Context(), testNumber, testAddOn)
		switch {
		case err != nil:
			checkRefused(t, err)
		case !strings.EqualFold(addOn.SID, testAddOn):
			t.Errorf("got %s", addOn.SID)
		default:
			checkAddOnRead(t, addOn)
		}
		if err := client.Verify(t.Context()); err == nil && !strings.Contains(string(body), "uri") && !strings.Contains(string(body), `\u`) {
			t.Error("verified by an answer that does not say whose it is")
		}
		number, err := client.GetPhoneNumber(t.Context(), testNumber)
		switch {
		case err != nil:
			checkRefused(t, err)
		case !strings.EqualFold(number.SID, testNumber) || !isLine(number.PhoneNumber, maxName):
			t.Errorf("got %+v", number)
		}
		created, err := client.AssignAddOn(t.Context(), testNumber, testAddOn)
		if err == nil {
			checkAddOnRead(t, created)
		} else if !OutcomeUnknown(err) {
			t.Errorf("a create answered with 200 and nonsense has a known outcome: %v", err)
		}
	})
}

// FuzzRefusal: whatever the body of a refusal, one class holds, the texts can be
// shown, and only Twilio's own envelope makes a 404 a 404.
func FuzzRefusal(f *testing.F) {
	f.Add(404, []byte(twilioError(404, 20404, "not found")))
	f.Add(401, []byte(`{"code":"70051","message":"x\u202e\n","more_info":1}`))
	f.Add(429, []byte(`<html>`))
	f.Add(503, []byte(`{"code":404}`))
	f.Add(400, []byte(`{"code":1e9,"message":"`+testPassword+`"}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 100 || status > 999 || status == 204 {
			return
		}
		client := bodyClient(t, status, body, http.Header{"Retry-After": {"3600"}})
		err := client.UnassignAddOn(t.Context(), testNumber, testAddOn)
		checkRefused(t, err)
		e, _ := errors.AsType[*Error](err)
		if e.HTTPStatus != status || !isLine(e.Message, maxMessage) || !isLine(e.MoreInfo, maxMessage) {
			t.Errorf("error %#v for %d", e, status)
		}
		if (IsNotFound(err) || IsUnauthorized(err) || IsPermissionDenied(err)) && e.Code < minCode {
			t.Errorf("%d without a code of Twilio's is believed: %v", status, err)
		}
	})
}

// FuzzRetryAfter: a wait is between none and the bound, and none where none is meant.
func FuzzRetryAfter(f *testing.F) {
	for _, value := range []string{"", "0", "7", "-1", "1.5", "99999999999999999999", "Fri, 02 Jan 2026 03:04:05 GMT", "soon"} {
		f.Add(value, "Fri, 02 Jan 2026 03:04:00 GMT")
	}
	f.Fuzz(func(t *testing.T, value, date string) {
		wait, ok := parseRetryAfter(http.Header{"Retry-After": {value}, "Date": {date}}, time.Unix(0, 0))
		if wait < 0 || wait > maxRetryAfter || !ok && wait != 0 {
			t.Errorf("%q: %v, %v", value, wait, ok)
		}
	})
}

// FuzzNextPage: a link is followed to the account's own list of the number or not at all.
func FuzzNextPage(f *testing.F) {
	for _, link := range []string{listPath + "?Page=1&PageToken=PA1", "https://api.twilio.com" + listPath + "?Page=1",
		"https://evil.example" + listPath + "?Page=1", "//evil.example" + listPath + "?Page=1", "?Page=1", listPath,
		numbersPath + ".json?Page=1", "/base" + listPath + "?Page=1", "https://u@api.twilio.com" + listPath + "?Page=1",
		listPath + "?Page=1#x", listPath + "?%zz", "http:" + listPath + "?Page=1"} {
		f.Add(link)
	}
	base, err := parseBaseURL("https://api.twilio.com/base", false)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, link string) {
		query, err := nextQuery(link, base, listPath)
		if err != nil {
			if query != "" {
				t.Errorf("a query with %v", err)
			}
			return
		}
		next := *base
		next.Path += listPath
		next.RawQuery = query
		parsed, err := url.Parse(next.String())
		if err != nil || query == "" || parsed.Host != base.Host || parsed.Scheme != base.Scheme || parsed.User != nil ||
			parsed.Path != base.Path+listPath || parsed.Fragment != "" {
			t.Errorf("%q is followed to %q", link, next.String())
		}
		if _, err := http.NewRequestWithContext(t.Context(), http.MethodGet, next.String(), http.NoBody); err != nil {
			t.Errorf("%q makes no request: %v", link, err)
		}
	})
}

// FuzzParseCredentials: what is accepted can be sent, and no error shows a value.
func FuzzParseCredentials(f *testing.F) {
	f.Add([]byte("token"), []byte(""), []byte(""))
	f.Add([]byte(""), []byte(testKey), []byte("s3cret\n"))
	f.Add([]byte("\xff\xfe"), []byte(testKey), []byte(""))
	f.Add([]byte("a b"), []byte("SK1"), []byte("\x00"))
	f.Fuzz(func(t *testing.T, token, keySID, secret []byte) {
		checkParsed(t, map[string][]byte{KeyAuthToken: token, KeyAPIKeySID: keySID, KeyAPIKeySecret: secret})
		checkParsed(t, map[string][]byte{KeyAuthToken: token, KeyAccountSID: keySID})
	})
}

// checkParsed holds what every Secret's data comes to.
func checkParsed(t *testing.T, data map[string][]byte) {
	t.Helper()
	credentials, err := ParseCredentials(testAccount, data)
	if err != nil {
		if !slices.Contains(credentialErrors, err.Error()) {
			t.Errorf("an error that may depend on a value: %v", err)
		}
		return
	}
	if err := credentials.check(); err != nil {
		t.Errorf("accepted and not usable: %v", err)
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, DefaultBaseURL, http.NoBody)
	req.SetBasicAuth(credentials.Username, credentials.Password)
	if user, password, ok := req.BasicAuth(); !ok || user != credentials.Username || password != credentials.Password {
		t.Errorf("sent as %q", user)
	}
}

// credentialErrors are all there are: none has room for a value.
var credentialErrors = []string{
	"the Secret has neither authToken nor apiKeySID with apiKeySecret",
	"the Secret has apiKeySID but no apiKeySecret",
	"the Secret has apiKeySecret but no apiKeySID",
	"the Secret's accountSID must be AC and 32 hexadecimal digits",
	"the Secret's apiKeySID must be SK and 32 hexadecimal digits",
	"the Secret's apiKeySecret contains characters that are not printable ASCII",
	"the Secret's apiKeySecret is longer than 1024 bytes",
	"the Secret's authToken contains characters that are not printable ASCII",
	"the Secret's authToken is longer than 1024 bytes",
}

// FuzzValidateBaseURL: what is accepted leads, with any path of Twilio's behind it,
// to the host it names, over TLS or to loopback.
func FuzzValidateBaseURL(f *testing.F) {
	for _, raw := range []string{"https://api.twilio.com", "http://127.0.0.1:8080/", "http://localhost", "https://[::1]:1/a/b",
		"https://u:p@h", "https://h?x", "https://h/../x", "http://127.1", "http://0x7f000001", "https://h:", "https://h\\@x", "https://h/%2e%2e"} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		base, err := parseBaseURL(raw, false)
		if (ValidateBaseURL(raw, false) == nil) != (err == nil) || err == nil && ValidateBaseURL(raw, true) != nil {
			t.Errorf("%q is judged in two ways", raw)
		}
		if err != nil {
			return
		}
		target := *base
		target.Path += listPath
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target.String(), http.NoBody)
		if err != nil {
			t.Fatalf("%q makes no request: %v", raw, err)
		}
		if req.URL.Host != base.Host || !strings.HasSuffix(req.URL.Path, listPath) || req.URL.RawQuery != "" || req.URL.User != nil {
			t.Errorf("%q leads to %q", raw, target.String())
		}
		if req.URL.Scheme != "https" && !isLoopback(req.URL.Hostname()) {
			t.Errorf("%q sends credentials in the clear to %q", raw, req.URL.Host)
		}
	})
}

// FuzzExplain: any message becomes one bounded line that stays what it is when
// explained again, without what changes from one request to the next.
func FuzzExplain(f *testing.F) {
	for _, message := range []string{"Invalid Parameter", "at 2026-01-02T03:04:05Z from 10.0.0.1:80", testRequest,
		"see https://www.twilio.com/docs/errors/20404", "x\u202e\x00\r\n y", strings.Repeat("ü", 300), "[::1]:443", "http://[", "\xff"} {
		f.Add(message)
	}
	f.Fuzz(func(t *testing.T, message string) {
		text := stable(message)
		if !isLine(text, maxExplained) {
			t.Errorf("%q becomes %q", message, text)
		}
		if requestIDPattern.MatchString(text) {
			t.Errorf("%q keeps a request id: %q", message, text)
		}
		for _, err := range []error{
			&Error{Operation: OpAssign, HTTPStatus: 400, Code: 20422, Message: message, RequestID: testRequest},
			&Error{Operation: OpAssign, Err: errors.New(message)},
		} {
			checkRefused(t, err)
		}
	})
}

// FuzzNumbersPage: whatever the answer, a number is absent only by proof, and what is
// listed is of the account.
func FuzzNumbersPage(f *testing.F) {
	good := listedNumber(testAccount, testNumber, testE164)
	for _, body := range []string{numbersPage(testAccount, ""), numbersPage(testAccount, "", good), numbersPage(otherAccount, ""),
		numbersPage(testAccount, numbersPath+".json?Page=1", good), numbersPage(testAccount, "", "null"), `{"incoming_phone_numbers":[]}`,
		`{"uri":"` + numbersPath + `.json","incoming_phone_numbers":{}}`, `{}`, `null`, `<html>`} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		client := bodyClient(t, 200, body, nil)
		has, hasErr := client.HasPhoneNumber(t.Context(), testNumber, "")
		numbers, listErr := client.ListPhoneNumbers(t.Context())
		verifyErr := client.Verify(t.Context())
		for _, err := range []error{hasErr, listErr, verifyErr} {
			if err != nil {
				checkRefused(t, err)
			}
		}
		named := strings.Contains(strings.ToLower(string(body)), strings.ToLower(testAccount)) || strings.Contains(string(body), `\u`)
		if !named && (hasErr == nil || listErr == nil || verifyErr == nil) {
			t.Errorf("believed without the account's SID: %v, %v, %v", hasErr, listErr, verifyErr)
		}
		if hasErr != nil && has || listErr != nil && numbers != nil {
			t.Errorf("%v and %d numbers with %v and %v", has, len(numbers), hasErr, listErr)
		}
		if listErr != nil {
			return
		}
		listed := slices.ContainsFunc(numbers, func(n PhoneNumber) bool { return strings.EqualFold(n.SID, testNumber) })
		if hasErr == nil && has != listed {
			t.Errorf("has %v, listed %v", has, listed)
		}
	})
}
