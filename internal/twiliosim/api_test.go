// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

func TestAnswers(t *testing.T) {
	const (
		mainKey, standardKey, restrictedKey = "SK00000000000000000000000000000001",
			"SK00000000000000000000000000000002", "SK00000000000000000000000000000003"
	)
	unknownPN, unknownXE := twiliosim.SID("PN", 77), twiliosim.SID("XE", 77)
	as := func(user, password string, c call) call { c.user, c.password = user, password; return c }
	get := func(path string) call { return call{path: path} }
	with := func(method string, c call) call { c.method = method; return c }
	account := func(sid string) string { return "/2010-04-01/Accounts/" + sid + ".json" }

	cases := []struct {
		name   string
		call   call
		status int
		code   int
	}{
		{"create", create(pn, xe2), 201, 0},
		{"repeated create returns the assignment", create(pn, xe), 201, 0},
		{"create without the parameter", with("POST", list(pn)), 400, 20422},
		{"create with a malformed SID", create(pn, "XE1"), 400, 20422},
		{"create with an add-on that is not installed", create(pn, unknownXE), 404, 20404},
		{"create with an add-on that cannot be assigned", create(pn, xe9), 400, 20422},
		{"create on an unknown number", create(unknownPN, xe), 404, 20404},
		{"fetch", fetch(pn, xe), 200, 0},
		{"fetch an add-on that is not assigned", fetch(pn, xe2), 404, 20404},
		{"fetch with a malformed SID", fetch(pn, "XE1"), 404, 20404},
		{"path with too many segments", get(numberPath(ac, pn, "/AssignedAddOns/"+xe+"/Extensions/XF/more.json")), 404, 20404},
		{"list", list(pn), 200, 0},
		{"list of an unknown number", list(unknownPN), 404, 20404},
		{"list of another account's number", list(pn3), 404, 20404},
		{"delete", remove(pn, xe), 204, 0},
		{"delete an add-on that is not assigned", remove(pn, xe2), 404, 20404},
		{"update of an assignment", with("POST", fetch(pn, xe)), 405, 20004},
		{"delete of the list", with("DELETE", list(pn)), 405, 20004},
		{"extensions", get(numberPath(ac, pn, "/AssignedAddOns/"+xe+"/Extensions.json")), 200, 0},
		{"extensions of an add-on that is not assigned", get(numberPath(ac, pn, "/AssignedAddOns/"+xe2+"/Extensions.json")), 404, 20404},
		{"unknown extension", get(numberPath(ac, pn, "/AssignedAddOns/"+xe+"/Extensions/XF1.json")), 404, 20404},
		{"number", get(numberPath(ac, pn, ".json")), 200, 0},
		{"unknown number", get(numberPath(ac, unknownPN, ".json")), 404, 20404},
		{"number in lower-case path", get(strings.ToLower(numberPath(ac, pn, ".json"))), 404, 20404},
		{"release", with("DELETE", get(numberPath(ac, pn, ".json"))), 204, 0},
		{"page size too large", get(numberPath(ac, pn, "/AssignedAddOns.json?PageSize=1001")), 400, 20007},
		{"page size of zero", get(numberPath(ac, pn, "/AssignedAddOns.json?PageSize=0")), 400, 20422},
		{"page token of another resource", get(numberPath(ac, pn, "/AssignedAddOns.json?PageToken=PA"+pn)), 400, 21481},
		{"account", get(account(ac)), 200, 0},
		{"unknown account", get(account(twiliosim.SID("AC", 77))), 404, 20404},
		{"API key's SID in place of the account's", get(account(mainKey)), 404, 20404},
		{"installed add-ons", get("/v1/InstalledAddOns"), 200, 0},
		{"installed add-on", get("/v1/InstalledAddOns/" + xe), 200, 0},
		{"unknown installed add-on", get("/v1/InstalledAddOns/" + unknownXE), 404, 20404},
		{"uninstall", with("DELETE", get("/v1/InstalledAddOns/"+xe)), 204, 0},
		{"installed extensions", get("/v1/InstalledAddOns/" + xe + "/Extensions"), 200, 0},
		{"extensions of an unknown installed add-on", get("/v1/InstalledAddOns/" + unknownXE + "/Extensions"), 404, 20404},
		{"unknown installed extension", get("/v1/InstalledAddOns/" + xe + "/Extensions/XF1"), 404, 20404},
		{"marketplace path with too many segments", get("/v1/InstalledAddOns/" + xe + "/Extensions/XF1/more"), 404, 20404},
		{"unknown path", get("/2010-04-01/Accounts/" + ac + "/Calls.json"), 404, 20404},

		{"no credentials", as("none", "", list(pn)), 401, 20003},
		{"wrong token", as(ac, "wrong", list(pn)), 401, 20003},
		{"empty token", as(ac, "", list(pn)), 401, 20003},
		{"unknown user", as(twiliosim.SID("AC", 77), token, list(pn)), 401, 20003},
		{"main key", as(mainKey, "secret1", list(pn)), 200, 0},
		{"main key with the wrong secret", as(mainKey, "secret2", list(pn)), 401, 20003},
		{"main key reads the account", as(mainKey, "secret1", get(account(ac))), 200, 0},
		{"parent's main key on a subaccount", as(mainKey, "secret1", get(numberPath(sub, pn3, ".json"))), 401, 20003},
		{"main key on the marketplace", as(mainKey, "secret1", get("/v1/InstalledAddOns")), 200, 0},
		{"standard key", as(standardKey, "secret2", list(pn)), 200, 0},
		{"standard key reads the account", as(standardKey, "secret2", get(account(ac))), 401, 20003},
		{"restricted key with the permission", as(restrictedKey, "secret3", get(numberPath(ac, pn, ".json"))), 200, 0},
		{"restricted key without the permission", as(restrictedKey, "secret3", list(pn)), 401, 70051},
		{"parent's token on a subaccount", get(numberPath(sub, pn3, ".json")), 200, 0},
		{"subaccount's own token", as(sub, "subtoken", get(numberPath(sub, pn3, ".json"))), 200, 0},
		{"subaccount's token on the parent", as(sub, "subtoken", list(pn)), 401, 20003},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			sim := newWorld(t)
			twiliosim.Must(
				sim.Assign(pn, xe),
				sim.AddAPIKey(ac, mainKey, "secret1", twiliosim.KeyMain),
				sim.AddAPIKey(ac, standardKey, "secret2", twiliosim.KeyStandard),
				sim.AddAPIKey(ac, restrictedKey, "secret3", twiliosim.KeyRestricted, twiliosim.OpNumber),
			)
			r := newServer(t, sim).do(tc.call)
			if r.status != tc.status || r.code(t) != tc.code {
				t.Errorf("got %d %s, want %d with code %d", r.status, r.body, tc.status, tc.code)
			}
			if tc.code != 0 && r.field(t, "status") != float64(tc.status) {
				t.Errorf("status in the body is %v", r.field(t, "status"))
			}
			if tc.status == 401 && r.header.Get("Www-Authenticate") != `Basic realm="Twilio API"` {
				t.Error("401 without WWW-Authenticate")
			}
		})
	}
}

func TestCreateReturnsTheResource(t *testing.T) {
	server := newServer(t, newWorld(t))
	r := server.do(create(pn, xe))
	got := r.object(t)
	date, _ := got["date_created"].(string)
	if !regexp.MustCompile(`^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000$`).MatchString(date) {
		t.Errorf("date_created %q is not in RFC 2822 format", date)
	}
	base := numberPath(ac, pn, "/AssignedAddOns/"+xe)
	want := map[string]any{
		"sid": xe, "account_sid": ac, "resource_sid": pn,
		"unique_name": "caller_name", "friendly_name": "Caller name",
		"description":   "Caller name for every incoming call",
		"configuration": map[string]any{"api_key": twiliosim.ConfigurationSecret, "bad_words": true},
		"date_created":  date, "date_updated": date,
		"uri":              base + ".json",
		"subresource_uris": map[string]any{"extensions": base + "/Extensions.json"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("create (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(got, server.do(fetch(pn, xe)).object(t)); diff != "" {
		t.Errorf("fetch and create return different resources (-create +fetch):\n%s", diff)
	}
}

func TestHeaders(t *testing.T) {
	server := newServer(t, newWorld(t))
	for _, c := range []call{create(pn, xe), list(pn), fetch(pn, xe2), remove(pn, xe)} {
		r := server.do(c)
		if !regexp.MustCompile("^RQ[0-9a-f]{32}$").MatchString(r.header.Get("Twilio-Request-Id")) {
			t.Errorf("%s: Twilio-Request-Id is %q", c.path, r.header.Get("Twilio-Request-Id"))
		}
		if got := r.header.Get("Twilio-Concurrent-Requests"); got != "1" {
			t.Errorf("%s: Twilio-Concurrent-Requests is %q", c.path, got)
		}
		if got := r.header.Get("Twilio-Request-Duration"); !strings.Contains(got, ".") {
			t.Errorf("%s: Twilio-Request-Duration is %q", c.path, got)
		}
	}
}

func TestPathWithoutJSONSuffixReturnsXML(t *testing.T) {
	server := newServer(t, newWorld(t))
	for path, want := range map[string]string{
		numberPath(ac, pn, ""):                            "<Sid>" + pn + "</Sid>",
		numberPath(ac, pn, "/AssignedAddOns"):             "<AssignedAddOns></AssignedAddOns>",
		numberPath(ac, twiliosim.SID("PN", 77), ""):       "<Code>20404</Code>",
		"/2010-04-01/Accounts/" + ac + "/Calls":           "<RestException>",
		"/2010-04-01/Accounts/" + ac:                      "<Status>active</Status>",
		numberPath(ac, pn, "/AssignedAddOns/"+xe) + ".js": "<RestException>",
	} {
		r := server.do(call{path: path})
		if r.header.Get("Content-Type") != "application/xml" || !strings.Contains(r.body, want) {
			t.Errorf("%s: %s %s, want %s", path, r.header.Get("Content-Type"), r.body, want)
		}
	}
}

func TestPagesLinkInBothDirections(t *testing.T) {
	sim := newWorld(t)
	var want []string
	for i := range 5 {
		sid := twiliosim.SID("XE", 100+i)
		twiliosim.Must(sim.InstallAddOn(ac, sid, ""), sim.Assign(pn, sid))
		want = append(want, sid)
	}
	server := newServer(t, sim)
	var got, sizes []string
	var last reply
	for next := list(pn).path + "?PageSize=2"; next != ""; {
		last = server.do(call{path: next})
		page := last.items(t, "assigned_add_ons")
		got, sizes = append(got, page...), append(sizes, strings.Repeat("x", len(page)))
		next, _ = last.field(t, "next_page_uri").(string)
	}
	if diff := cmp.Diff([]string{"xx", "xx", "x"}, sizes); diff != "" {
		t.Errorf("page sizes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
	wantLast := map[string]any{"start": 4.0, "end": 4.0, "page": 2.0, "page_size": 2.0, "next_page_uri": nil,
		"first_page_uri":    list(pn).path + "?PageSize=2&Page=0",
		"uri":               list(pn).path + "?PageSize=2&Page=2&PageToken=PA" + want[3],
		"previous_page_uri": list(pn).path + "?PageSize=2&Page=1&PageToken=PB" + want[4],
	}
	gotLast := last.object(t)
	delete(gotLast, "assigned_add_ons")
	if diff := cmp.Diff(wantLast, gotLast); diff != "" {
		t.Errorf("last page (-want +got):\n%s", diff)
	}
	previous := server.do(call{path: gotLast["previous_page_uri"].(string)})
	if diff := cmp.Diff(want[2:4], previous.items(t, "assigned_add_ons")); diff != "" {
		t.Errorf("previous page (-want +got):\n%s", diff)
	}
}

func TestPageWithAtMostOneItemEndsAtZero(t *testing.T) {
	sim := newWorld(t)
	twiliosim.Must(sim.Assign(pn, xe))
	server := newServer(t, sim)
	for _, number := range []string{pn, pn2} {
		r := server.do(list(number))
		if r.field(t, "end") != 0.0 || r.field(t, "page_size") != 50.0 || r.field(t, "next_page_uri") != nil {
			t.Errorf("list of %s: got %s", number, r.body)
		}
	}
}

func TestNumbersCanBeFiltered(t *testing.T) {
	sim := newWorld(t)
	twiliosim.Must(sim.AddNumber(ac, twiliosim.SID("PN", 4), "+442071838750"))
	server := newServer(t, sim)
	for filter, want := range map[string][]string{
		"PhoneNumber=%2B14155550101":           {pn},
		"PhoneNumber=1415555":                  {pn, pn2},
		"PhoneNumber=9*02":                     {},
		"PhoneNumber=*14155550101":             {},
		"PhoneNumber=5*102":                    {pn2},
		"PhoneNumber=%2B44":                    {twiliosim.SID("PN", 4)},
		"FriendlyName=%2B14155550102":          {pn2},
		"":                                     {pn, pn2, twiliosim.SID("PN", 4)},
		"PhoneNumber=%2B141555501011234567890": {},
	} {
		r := server.do(call{path: "/2010-04-01/Accounts/" + ac + "/IncomingPhoneNumbers.json?" + filter})
		if diff := cmp.Diff(want, r.items(t, "incoming_phone_numbers")); diff != "" {
			t.Errorf("%q (-want +got):\n%s", filter, diff)
		}
		if uri := r.field(t, "uri").(string); !strings.Contains(uri, filter) {
			t.Errorf("uri %s lacks the filter %s", uri, filter)
		}
	}
}

func TestMarketplacePagesHaveAbsoluteLinks(t *testing.T) {
	server := newServer(t, newWorld(t))
	r := server.do(call{path: "/v1/InstalledAddOns?PageSize=2"})
	meta := r.field(t, "meta").(map[string]any)
	want := map[string]any{"page": 0.0, "page_size": 2.0, "key": "installed_add_ons", "previous_page_url": nil,
		"url":            server.URL + "/v1/InstalledAddOns?PageSize=2&Page=0",
		"first_page_url": server.URL + "/v1/InstalledAddOns?PageSize=2&Page=0",
		"next_page_url":  server.URL + "/v1/InstalledAddOns?PageSize=2&Page=1&PageToken=PA" + xe2,
	}
	if diff := cmp.Diff(want, meta); diff != "" {
		t.Errorf("meta (-want +got):\n%s", diff)
	}
	next := strings.TrimPrefix(meta["next_page_url"].(string), server.URL)
	if diff := cmp.Diff([]string{xe9}, server.do(call{path: next}).items(t, "installed_add_ons")); diff != "" {
		t.Errorf("next page (-want +got):\n%s", diff)
	}
}

func TestNumberIsBoughtMovedAndReleased(t *testing.T) {
	sim := newWorld(t)
	server := newServer(t, sim)
	numbers := "/2010-04-01/Accounts/" + ac + "/IncomingPhoneNumbers.json"
	bought := server.do(call{method: http.MethodPost, path: numbers, form: url.Values{"PhoneNumber": {"+14155550199"}}})
	sid, _ := bought.field(t, "sid").(string)
	twiliosim.Must(sim.Assign(sid, xe))
	moved := server.do(call{method: http.MethodPost, path: numberPath(ac, sid, ".json"), form: url.Values{"AccountSid": {sub}}})
	if moved.field(t, "account_sid") != sub {
		t.Errorf("move: account_sid is not %s: %s", sub, moved.body)
	}
	if r := server.do(list(sid)); r.status != 404 {
		t.Errorf("list under the old account: status is %d, want 404", r.status)
	}
	if r := server.do(call{method: http.MethodDelete, path: numberPath(sub, sid, ".json")}); r.status != 204 {
		t.Errorf("release: got %d %s, want 204", r.status, r.body)
	}
	want := []twiliosim.Mutation{
		{Seq: 1, Actor: "api", Change: "buy", Account: ac, Number: sid},
		{Seq: 2, Actor: "console", Change: "assign", Account: ac, Number: sid, AddOn: xe},
		{Seq: 3, Actor: "api", Change: "unassign", Account: ac, Number: sid, AddOn: xe, Cause: "move"},
		{Seq: 4, Actor: "api", Change: "move", Account: ac, Number: sid, Detail: sub},
		{Seq: 5, Actor: "api", Change: "release", Account: sub, Number: sid},
	}
	if diff := cmp.Diff(want, sim.Journal(), ignoreVolatile); diff != "" {
		t.Errorf("journal (-want +got):\n%s", diff)
	}
}
