// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const testE164 = "+14155550100"

// listedNumber is Twilio's form of a number of an account.
func listedNumber(account, pn, e164 string) string {
	return fmt.Sprintf(`{"sid":%q,"account_sid":%q,"phone_number":%q,"friendly_name":"Line","capabilities":{"voice":true}}`,
		pn, account, e164)
}

// numbersPage is a page of the account's numbers; an empty next is the last page's null.
func numbersPage(account, next string, items ...string) string {
	link := "null"
	if next != "" {
		link = fmt.Sprintf("%q", next)
	}
	return fmt.Sprintf(`{"incoming_phone_numbers":[%s],"page":0,"uri":"/2010-04-01/Accounts/%s/IncomingPhoneNumbers.json?PageSize=1000","next_page_uri":%s}`,
		strings.Join(items, ","), account, link)
}

func TestListPhoneNumbers(t *testing.T) {
	const next = numbersPath + ".json?PageSize=1000&Page=1&PageToken=PA" + testNumber
	s, client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body := numbersPage(testAccount, next, listedNumber(testAccount, testNumber, testE164))
		if r.URL.Query().Has("PageToken") {
			body = numbersPage(testAccount, "", listedNumber(testAccount, testNumber, testE164), listedNumber(testAccount, otherNumber, "+14155550101"))
		}
		_, _ = w.Write([]byte(body))
	})
	got, err := client.ReadOnly().ListPhoneNumbers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []PhoneNumber{{testNumber, testE164, "Line"}, {otherNumber, "+14155550101", "Line"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("numbers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"GET " + numbersPath + ".json?PageSize=1000", "GET " + next}, s.seen()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestHasPhoneNumber(t *testing.T) {
	const next = numbersPath + ".json?PageSize=1000&Page=1"
	one, other := listedNumber(testAccount, testNumber, testE164), listedNumber(testAccount, otherNumber, testE164)
	cases := map[string]struct {
		e164        string
		first, last string
		want        bool
		requests    []string
	}{
		"there, as the only one": {testE164, numbersPage(testAccount, "", one), "", true, []string{"?PageSize=1000&PhoneNumber=%2B14155550100"}},
		"there, in other letters": {testE164, numbersPage(strings.ToLower(testAccount[:2])+testAccount[2:], "",
			strings.Replace(one, testNumber, "PN"+strings.ToUpper(testNumber[2:]), 1)), "", true,
			[]string{"?PageSize=1000&PhoneNumber=%2B14155550100"}},
		"another SID has the number now":          {testE164, numbersPage(testAccount, "", other), "", false, []string{"?PageSize=1000&PhoneNumber=%2B14155550100"}},
		"an empty list":                           {testE164, numbersPage(testAccount, ""), "", false, []string{"?PageSize=1000&PhoneNumber=%2B14155550100"}},
		"on the second page":                      {"", numbersPage(testAccount, next, other), numbersPage(testAccount, "", one), true, []string{"?PageSize=1000", "?PageSize=1000&Page=1"}},
		"on the first page: no more is read":      {"", numbersPage(testAccount, next, one), "", true, []string{"?PageSize=1000"}},
		"on no page":                              {"", numbersPage(testAccount, next, other), numbersPage(testAccount, ""), false, []string{"?PageSize=1000", "?PageSize=1000&Page=1"}},
		"what is no number does not shorten":      {"+1415*", numbersPage(testAccount, "", one), "", true, []string{"?PageSize=1000"}},
		"a part of a number would match too many": {"+1", numbersPage(testAccount, "", one), "", true, []string{"?PageSize=1000"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s, client := serve(t, func(w http.ResponseWriter, r *http.Request) {
				body := c.first
				if r.URL.Query().Has("Page") {
					body = c.last
				}
				_, _ = w.Write([]byte(body))
			})
			if got, err := client.ReadOnly().HasPhoneNumber(t.Context(), testNumber, c.e164); got != c.want || err != nil {
				t.Errorf("got %v, %v; want %v", got, err, c.want)
			}
			for i := range c.requests {
				c.requests[i] = "GET " + numbersPath + ".json" + c.requests[i]
			}
			if diff := cmp.Diff(c.requests, s.seen()); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
	_, client := serve(t, answer(200, numbersPage(testAccount, "")))
	if _, err := client.HasPhoneNumber(t.Context(), testAddOn, ""); !IsRejected(err) {
		t.Errorf("a SID of another kind: got %v, want a rejection", err)
	}
}

// alienNumberLists are answers that say nothing about the account's numbers.
func alienNumberLists() map[string]http.HandlerFunc {
	good := listedNumber(testAccount, testNumber, testE164)
	self := `"uri":"` + numbersPath + `.json"`
	bodies := map[string]string{
		"another object":                `{"ok":true}`,
		"an empty object":               `{}`,
		"no list":                       `{` + self + `}`,
		"a list of null":                `{"incoming_phone_numbers":null,` + self + `}`,
		"a list of another kind":        page(""),
		"no URI":                        `{"incoming_phone_numbers":[]}`,
		"a URI that is none":            `{"incoming_phone_numbers":[],"uri":7}`,
		"a URI that cannot be parsed":   `{"incoming_phone_numbers":[],"uri":"http://[` + numbersPath + `.json"}`,
		"the list of another account":   numbersPage(otherAccount, ""),
		"a number of another account":   numbersPage(testAccount, "", listedNumber(otherAccount, otherNumber, testE164)),
		"a number of no account":        numbersPage(testAccount, "", `{"sid":"`+otherNumber+`"}`),
		"a number without a SID":        numbersPage(testAccount, "", `{"account_sid":"`+testAccount+`"}`),
		"a SID of another kind":         numbersPage(testAccount, "", listedNumber(testAccount, testAddOn, testE164)),
		"null for a number":             numbersPage(testAccount, "", "null"),
		"truncated":                     numbersPage(testAccount, "", good)[:150],
		"HTML":                          `<html></html>`,
		"more items than were asked":    numbersPage(testAccount, "", strings.Repeat(`{},`, pageSize)+`{}`),
		"a next page elsewhere":         numbersPage(testAccount, "/2010-04-01/Accounts/"+otherAccount+"/IncomingPhoneNumbers.json?Page=1"),
		"a next page on another host":   numbersPage(testAccount, "https://evil.example"+numbersPath+".json?Page=1"),
		"a next page that is no string": `{"incoming_phone_numbers":[],` + self + `,"next_page_uri":{}}`,
	}
	handlers := map[string]http.HandlerFunc{
		"404":      answer(404, twilioError(404, 20404, "not found")),
		"503":      answer(503, ""),
		"201":      answer(201, numbersPage(testAccount, "")),
		"redirect": answer(302, "", "Location", "/"),
	}
	for name, body := range bodies {
		handlers[name] = answer(200, body)
	}
	return handlers
}

func TestNumbersAreNotAbsentOnAGuess(t *testing.T) {
	for name, handler := range alienNumberLists() {
		t.Run(name, func(t *testing.T) {
			_, client := serve(t, handler)
			if has, err := client.HasPhoneNumber(t.Context(), testNumber, testE164); has || err == nil {
				t.Errorf("alone: got %v, %v; want an error", has, err)
			}
			_, client = serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Has("Page") {
					handler(w, r)
					return
				}
				_, _ = w.Write([]byte(numbersPage(testAccount, numbersPath+".json?Page=1")))
			})
			if has, err := client.HasPhoneNumber(t.Context(), testNumber, ""); has || err == nil {
				t.Errorf("as the second page: got %v, %v; want an error", has, err)
			}
			if all, err := client.ListPhoneNumbers(t.Context()); all != nil || err == nil {
				t.Errorf("as the second page: got %v, %v; want an error", all, err)
			}
		})
	}
}

func TestVerifyNeedsProofOfTheAccount(t *testing.T) {
	for name, handler := range alienNumberLists() {
		if strings.HasPrefix(name, "a next page") && name != "a next page that is no string" {
			continue // Verify follows no link
		}
		t.Run(name, func(t *testing.T) {
			_, client := serve(t, handler)
			err := client.Verify(t.Context())
			if err == nil {
				t.Fatal("verified")
			}
			if status := asError(t, err).HTTPStatus; status == 200 && !IsTransient(err) {
				t.Errorf("%v must be transient: nothing is known of the credentials", err)
			}
		})
	}
	for name, body := range map[string]string{
		"no numbers": numbersPage(testAccount, ""),
		"a number":   numbersPage(testAccount, numbersPath+".json?Page=1", listedNumber(testAccount, testNumber, testE164)),
	} {
		_, client := serve(t, answer(200, body))
		if err := client.Verify(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVerifyBehindAPath(t *testing.T) {
	const behind = "/twilio/api"
	s, _ := serve(t, answer(200, strings.Replace(numbersPage(testAccount, ""), `"uri":"`, `"uri":"`+behind, 1)))
	if err := newClient(t, s.URL+behind, Options{}).Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestVerifyExplainsA404(t *testing.T) {
	const hint = "the address answers, but knows no such account: check apiBaseURL and accountSID"
	for body, want := range map[string]string{
		twilioError(404, 20404, "The requested resource /x was not found"): "HTTP 404, Twilio error 20404: " + hint,
		"<html>not found</html>": "HTTP 404: " + hint,
	} {
		_, client := serve(t, answer(404, body))
		if got := ExplainAnswer(client.Verify(t.Context())); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// A mebibyte of empty items, or of fields that nobody asked for, cost no more
// memory than themselves.
func TestAHugeAnswerTakesNoMemory(t *testing.T) {
	const items = 1 << 20 / len("{},")
	bodies := map[string]string{
		"items":           `{"assigned_add_ons":[` + strings.Repeat("{},", items) + `{}]}`,
		"items elsewhere": `{"assigned_add_ons":[],"other":[` + strings.Repeat("{},", items) + `{}]}`,
		"in a message":    `{"code":20404,"message":[` + strings.Repeat("{},", items) + `{}]}`,
	}
	for name, body := range bodies {
		for use, reduce := range map[string]func(){
			"page":     func() { _, _ = reducePage([]byte(body), "assigned_add_ons", pageSize) },
			"item":     func() { _, _ = reduceItem([]byte(body)) },
			"envelope": func() { _, _ = parseEnvelope([]byte(body)) },
		} {
			if allocs := testing.AllocsPerRun(1, reduce); allocs > 10_000 {
				t.Errorf("%s as a %s: %.0f allocations", name, use, allocs)
			}
		}
	}
}
