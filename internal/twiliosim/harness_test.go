// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

const token = "authtoken1"

var (
	ac  = twiliosim.SID("AC", 1)
	sub = twiliosim.SID("AC", 2)
	pn  = twiliosim.SID("PN", 1)
	pn2 = twiliosim.SID("PN", 2)
	pn3 = twiliosim.SID("PN", 3)
	xe  = twiliosim.SID("XE", 1)
	xe2 = twiliosim.SID("XE", 2)
	xe9 = twiliosim.SID("XE", 9)
)

// newWorld returns a simulator with an account that has two numbers, two add-ons and a third one
// that cannot be assigned to numbers, and a subaccount that has one number.
func newWorld(t *testing.T) *twiliosim.Sim {
	t.Helper()
	sim := twiliosim.New(twiliosim.Options{Seed: 1, RequestLog: 100})
	twiliosim.Must(
		sim.AddAccount(ac, token),
		sim.AddSubaccount(ac, sub, "subtoken"),
		sim.AddNumber(ac, pn, "+14155550101"),
		sim.AddNumber(ac, pn2, "+14155550102"),
		sim.AddNumber(sub, pn3, "+14155550103"),
		sim.InstallAddOn(ac, xe, "caller_name"),
		sim.InstallAddOn(ac, xe2, "spam_score"),
		sim.Install(ac, twiliosim.AddOn{SID: xe9, UniqueName: "recordings", Unsupported: true}),
	)
	return sim
}

// call is a request. By default it uses GET and the account's auth token.
type call struct {
	method, path   string
	form           url.Values
	user, password string
}

// reply is an answer.
type reply struct {
	status int
	header http.Header
	body   string
}

// field returns a top-level field of the body.
func (r reply) field(t *testing.T, name string) any {
	t.Helper()
	return r.object(t)[name]
}

func (r reply) object(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(r.body), &v); err != nil {
		t.Fatalf("body %q: %v", r.body, err)
	}
	return v
}

// code returns the Twilio error code in the body, or 0 if there is none.
func (r reply) code(t *testing.T) int {
	t.Helper()
	if r.body == "" {
		return 0
	}
	code, _ := r.field(t, "code").(float64)
	return int(code)
}

// items returns the SIDs of a list.
func (r reply) items(t *testing.T, key string) []string {
	t.Helper()
	sids := []string{}
	list, ok := r.field(t, key).([]any)
	if !ok {
		t.Fatalf("body has no list %q: %s", key, r.body)
	}
	for _, item := range list {
		sids = append(sids, item.(map[string]any)["sid"].(string))
	}
	return sids
}

func (c call) request(t *testing.T, baseURL string) *http.Request {
	t.Helper()
	var body io.Reader
	if c.form != nil {
		body = strings.NewReader(c.form.Encode())
	}
	method := c.method
	if method == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(t.Context(), method, baseURL+c.path, body)
	if err != nil {
		t.Fatal(err)
	}
	if c.form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	switch c.user {
	case "":
		req.SetBasicAuth(ac, token)
	case "none":
	default:
		req.SetBasicAuth(c.user, c.password)
	}
	return req
}

// server is a simulator with a real listener.
type server struct {
	*httptest.Server
	t      *testing.T
	client *http.Client
}

func newServer(t *testing.T, sim *twiliosim.Sim) server {
	t.Helper()
	s := httptest.NewServer(sim.Handler())
	t.Cleanup(s.Close)
	client := s.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Cleanup(client.CloseIdleConnections)
	return server{Server: s, t: t, client: client}
}

// try makes a request and returns the error of the connection, if any.
func (s server) try(c call) (reply, error) {
	s.t.Helper()
	res, err := s.client.Do(c.request(s.t, s.URL))
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, res.Header, string(body)}, err
}

func (s server) do(c call) reply {
	s.t.Helper()
	r, err := s.try(c)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// direct makes a request without a network, so that it works in a synctest bubble.
func direct(t *testing.T, sim *twiliosim.Sim, c call) reply {
	t.Helper()
	w := httptest.NewRecorder()
	sim.Handler().ServeHTTP(w, c.request(t, "http://api.twilio.com"))
	return reply{w.Code, w.Header(), w.Body.String()}
}

func numberPath(account, number, rest string) string {
	return "/2010-04-01/Accounts/" + account + "/IncomingPhoneNumbers/" + number + rest
}

func create(number, addOn string) call {
	return call{method: http.MethodPost, path: numberPath(ac, number, "/AssignedAddOns.json"),
		form: url.Values{"InstalledAddOnSid": {addOn}}}
}

func fetch(number, addOn string) call {
	return call{path: numberPath(ac, number, "/AssignedAddOns/"+addOn+".json")}
}

func list(number string) call {
	return call{path: numberPath(ac, number, "/AssignedAddOns.json")}
}

func remove(number, addOn string) call {
	c := fetch(number, addOn)
	c.method = http.MethodDelete
	return c
}
