// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

func TestListInstalledAddOnsReadsEveryPage(t *testing.T) {
	sim := twiliosim.New(twiliosim.Options{Seed: 1})
	const installed = 1234
	twiliosim.Must(sim.Seed(twiliosim.Seed{Account: testAccount, AuthToken: testPassword, AddOns: installed}))
	server := httptest.NewServer(sim.Handler())
	t.Cleanup(server.Close)
	cl := newClient(t, server.URL, Options{})
	got, err := cl.ListInstalledAddOns(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != installed {
		t.Errorf("%d add-ons, want %d", len(got), installed)
	}
	want := InstalledAddOn{SID: twiliosim.SID("XE", 1), UniqueName: "add_on_1", FriendlyName: "Add on 1", Description: "Add on 1 for every incoming call"}
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(fmt.Sprintf("%+v", got), twiliosim.ConfigurationSecret) {
		t.Error("a configuration was read")
	}
}

// installedPage is an answer of the Marketplace API.
func installedPage(items, next string) string {
	return `{"installed_add_ons":[` + items + `],"meta":{"url":"https://marketplace.twilio.com/v1/InstalledAddOns?PageSize=1000","next_page_url":` + next + `}}`
}

func TestListInstalledAddOnsIsWholeOrAnError(t *testing.T) {
	item := func(sid, account string) string { return fmt.Sprintf(`{"sid":%q,"account_sid":%q}`, sid, account) }
	cases := map[string]struct {
		body  string
		other bool // ErrOtherAccount
	}{
		"no list":                     {body: `{"meta":{}}`},
		"no page of ours":             {body: `{"installed_add_ons":[],"meta":{}}`},
		"no SID":                      {body: installedPage(`{"sid":null}`, "null")},
		"a SID of no form":            {body: installedPage(item("XE1", testAccount), "null")},
		"of another account":          {body: installedPage(item(testAddOn, "AC"+strings.Repeat("9", 32)), "null"), other: true},
		"leads to itself":             {body: installedPage("", `"https://marketplace.twilio.com/v1/InstalledAddOns?Page=1"`)},
		"leads to another host":       {body: installedPage("", `"https://evil.example/v1/InstalledAddOns?Page=1"`)},
		"leads to another resource":   {body: installedPage("", `"https://marketplace.twilio.com/v1/Other?Page=1"`)},
		"a next page of a wrong type": {body: installedPage("", "7")},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, cl := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(c.body)) })
			got, err := cl.ListInstalledAddOns(t.Context())
			if err == nil || got != nil || errors.Is(err, ErrOtherAccount) != c.other {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

// A parent's credential would list the parent's add-ons: nothing is asked.
func TestListInstalledAddOnsOfASubaccount(t *testing.T) {
	s, cl := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	parent := *cl
	parent.credentials.Username = "AC" + strings.Repeat("9", 32)
	if _, err := parent.ListInstalledAddOns(t.Context()); !errors.Is(err, ErrOtherAccount) {
		t.Errorf("error %v", err)
	}
	if len(s.requests) > 0 {
		t.Errorf("requests %v", s.requests)
	}
}

func TestMarketplaceBase(t *testing.T) {
	for base, want := range map[string]string{
		"https://api.twilio.com":            "https://marketplace.twilio.com",
		"https://api.dublin.ie1.twilio.com": "https://marketplace.dublin.ie1.twilio.com",
		"http://127.0.0.1:8090":             "http://127.0.0.1:8090",
		"https://proxy.example/twilio":      "https://proxy.example/twilio",
		"https://api.twilio.com.example":    "https://api.twilio.com.example",
	} {
		cl := newClient(t, base, Options{})
		if got := cl.marketplaceBase().String(); got != want {
			t.Errorf("%s: %s, want %s", base, got, want)
		}
	}
}
