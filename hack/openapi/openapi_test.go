// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package openapi

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

const token = "authtoken"

var (
	ac  = twiliosim.SID("AC", 1)
	sub = twiliosim.SID("AC", 2)
	pn  = twiliosim.SID("PN", 1)
	pn2 = twiliosim.SID("PN", 2)
	xe  = twiliosim.SID("XE", 1)
	xe2 = twiliosim.SID("XE", 2)
	xe3 = twiliosim.SID("XE", 3)
	api = "/2010-04-01/Accounts/" + ac + "/IncomingPhoneNumbers"
)

// notSimulated lists operations that the operator never uses. The simulator answers them 405.
var notSimulated = map[string]bool{
	"CreateInstalledAddOn":          true,
	"UpdateInstalledAddOn":          true,
	"UpdateInstalledAddOnExtension": true,
}

// exchange is a request with its expected status.
type exchange struct {
	name, method, path string
	form               url.Values
	status             int
	// change changes the simulator before this exchange. Later exchanges see the change too.
	change func(*twiliosim.Sim)
	// invalid marks a request that violates the specification.
	invalid bool
	token   string
}

// checker sends requests to a simulator and validates requests and answers.
type checker struct {
	sim       *twiliosim.Sim
	server    *httptest.Server
	routers   []routers.Router
	succeeded map[string]int // Successful answers by operation ID.
	failed    int            // Error answers.
}

func newChecker(t *testing.T) *checker {
	t.Helper()
	sim := twiliosim.New(twiliosim.Options{Seed: 1})
	twiliosim.Must(
		sim.AddAccount(ac, token), sim.AddSubaccount(ac, sub, "subtoken"),
		sim.AddNumber(ac, pn, "+14155550101"), sim.AddNumber(ac, pn2, "+14155550102"),
		sim.InstallAddOn(ac, xe, "caller_name"), sim.InstallAddOn(ac, xe2, "spam_score"),
		sim.Install(ac, twiliosim.AddOn{SID: xe3, UniqueName: "recordings", Unsupported: true}),
		sim.AddAPIKey(ac, twiliosim.SID("SK", 1), "secret", twiliosim.KeyRestricted),
	)
	c := &checker{sim: sim, server: httptest.NewServer(sim.Handler()), succeeded: map[string]int{}}
	t.Cleanup(c.server.Close)
	for _, doc := range specs(t) {
		doc.Servers = openapi3.Servers{{URL: c.server.URL}}
		router, err := gorillamux.NewRouter(doc)
		if err != nil {
			t.Fatal(err)
		}
		c.routers = append(c.routers, router)
	}
	return c
}

func specs(t *testing.T) []*openapi3.T {
	t.Helper()
	return []*openapi3.T{
		loadSpec(t, "twilio_api_v2010", func(path string) bool {
			return strings.HasSuffix(path, "/IncomingPhoneNumbers.json") ||
				strings.HasSuffix(path, "/IncomingPhoneNumbers/{Sid}.json") || strings.Contains(path, "/AssignedAddOns")
		}),
		loadSpec(t, "twilio_marketplace_v1", func(path string) bool {
			return strings.HasPrefix(path, "/v1/InstalledAddOns") && !strings.HasSuffix(path, "/Usage")
		}),
	}
}

func (c *checker) route(req *http.Request) (route *routers.Route, params map[string]string, err error) {
	for _, r := range c.routers {
		if route, params, err = r.FindRoute(req); err == nil {
			return route, params, nil
		}
	}
	return nil, nil, err
}

// check makes an exchange and validates it.
func (c *checker) check(t *testing.T, e exchange) {
	t.Helper()
	if e.change != nil {
		e.change(c.sim)
	}
	req := c.request(t, e)
	route, params, err := c.route(req)
	if err != nil {
		t.Fatalf("%s %s is not in the specification: %v", req.Method, e.path, err)
	}
	options := &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true}
	in := &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route, Options: options}
	if err := openapi3filter.ValidateRequest(t.Context(), in); (err != nil) != e.invalid {
		t.Errorf("the request violates the specification: %v, want %v (error %v)", err != nil, e.invalid, err)
	}
	r := c.send(t, c.request(t, e))
	if r.status != e.status {
		t.Errorf("status is %d, want %d: %s", r.status, e.status, r.body)
	}
	out := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: r.status, Header: r.header, Options: options,
	}
	if err := openapi3filter.ValidateResponse(t.Context(), out.SetBodyBytes(r.body)); err != nil {
		t.Errorf("the answer violates the specification: %v", err)
	}
	if r.status < 300 {
		c.succeeded[route.Operation.OperationID]++
	} else {
		c.failed++
	}
}

func (c *checker) request(t *testing.T, e exchange) *http.Request {
	t.Helper()
	if e.method == "" {
		e.method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(t.Context(), e.method, c.server.URL+e.path, strings.NewReader(e.form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if e.form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	switch e.token {
	case "":
		req.SetBasicAuth(ac, token)
	case "restricted":
		req.SetBasicAuth(twiliosim.SID("SK", 1), "secret")
	default:
		req.SetBasicAuth(ac, e.token)
	}
	return req
}

// reply is an answer.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (c *checker) send(t *testing.T, req *http.Request) reply {
	t.Helper()
	res, err := c.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, body}
}

func behave(change func(*twiliosim.Behaviour)) func(*twiliosim.Sim) {
	return func(s *twiliosim.Sim) { twiliosim.Must(s.UpdateBehaviour(change)) }
}

func fault(status int) func(*twiliosim.Sim) {
	return func(s *twiliosim.Sim) {
		twiliosim.Must(s.AddFault(twiliosim.Fault{Kind: twiliosim.FaultError, Status: status, Count: 1}))
	}
}

func assign(addOn string) url.Values { return url.Values{"InstalledAddOnSid": {addOn}} }

// exchanges returns the exchanges in order. Later ones depend on the changes of earlier ones.
func exchanges() []exchange {
	assigned, installed := api+"/"+pn+"/AssignedAddOns", "/v1/InstalledAddOns"
	unknown := twiliosim.SID("XE", 77)
	all := []exchange{
		{name: "empty list", path: assigned + ".json", status: 200},
		{name: "create", method: "POST", path: assigned + ".json", form: assign(xe), status: 201},
		{name: "repeated create", method: "POST", path: assigned + ".json", form: assign(xe), status: 201},
		{name: "create another", method: "POST", path: assigned + ".json", form: assign(xe2), status: 201},
		{name: "create unknown", method: "POST", path: assigned + ".json", form: assign(unknown), status: 404},
		{name: "create unsupported", method: "POST", path: assigned + ".json", form: assign(xe3), status: 400},
		{name: "create malformed", method: "POST", path: assigned + ".json", form: assign("XE1"), status: 400, invalid: true},
		{name: "create without parameter", method: "POST", path: assigned + ".json", form: url.Values{}, status: 400, invalid: true},
		{name: "create conflicting", method: "POST", path: assigned + ".json", form: assign(xe), status: 409,
			change: behave(func(b *twiliosim.Behaviour) { b.DuplicateCreate, b.UnknownAddOn = "409-20409", "400-20422" })},
		{name: "create unknown, 400", method: "POST", path: assigned + ".json", form: assign(unknown), status: 400},
		{name: "fetch", path: assigned + "/" + xe + ".json", status: 200},
		{name: "fetch unknown", path: assigned + "/" + unknown + ".json", status: 404},
		{name: "list", path: assigned + ".json", status: 200},
		{name: "list, first page", path: assigned + ".json?PageSize=1", status: 200},
		{name: "list, last page", path: assigned + ".json?PageSize=1&Page=1&PageToken=PA" + xe, status: 200},
		{name: "list, page too large", path: assigned + ".json?PageSize=1001", status: 400, invalid: true},
		{name: "list, bad token", path: assigned + ".json?PageToken=PA1", status: 400},
		{name: "list of an unknown number", path: api + "/" + twiliosim.SID("PN", 77) + "/AssignedAddOns.json", status: 404},
		{name: "extensions", path: assigned + "/" + xe + "/Extensions.json", status: 200},
		{name: "extensions, first page", path: assigned + "/" + xe + "/Extensions.json?PageSize=1", status: 200},
		{name: "extensions of unknown", path: assigned + "/" + unknown + "/Extensions.json", status: 404},
		{name: "numbers", path: api + ".json", status: 200},
		{name: "numbers by phone number", path: api + ".json?PhoneNumber=%2B14155550101&PageSize=1", status: 200},
		{name: "number", path: api + "/" + pn + ".json", status: 200},
		{name: "number unknown", path: api + "/" + twiliosim.SID("PN", 77) + ".json", status: 404},
		{name: "buy", method: "POST", path: api + ".json", form: url.Values{"PhoneNumber": {"+14155550199"}}, status: 201},
		{name: "move", method: "POST", path: api + "/" + pn2 + ".json", form: url.Values{"AccountSid": {sub}}, status: 200},
		{name: "installed", path: installed, status: 200},
		{name: "installed, a page", path: installed + "?PageSize=1&Page=1&PageToken=PA" + xe, status: 200},
		{name: "installed one", path: installed + "/" + xe, status: 200},
		{name: "installed unknown", path: installed + "/" + unknown, status: 404},
		{name: "installed extensions", path: installed + "/" + xe + "/Extensions", status: 200},
		{name: "uninstall refused", method: "DELETE", path: installed + "/" + xe2, status: 409,
			change: behave(func(b *twiliosim.Behaviour) { b.Uninstall = twiliosim.UninstallRefuse })},
		{name: "uninstall", method: "DELETE", path: installed + "/" + xe2, status: 204,
			change: behave(func(b *twiliosim.Behaviour) { b.Uninstall = twiliosim.UninstallCascade })},
		{name: "delete", method: "DELETE", path: assigned + "/" + xe + ".json", status: 204},
		{name: "delete again", method: "DELETE", path: assigned + "/" + xe + ".json", status: 404},
		{name: "create with a different SID", method: "POST", path: assigned + ".json", form: assign(xe), status: 201,
			change: behave(func(b *twiliosim.Behaviour) { b.AssignmentSID = twiliosim.AssignmentSIDDifferent })},
		{name: "fetch by the different SID", path: assigned + "/" + twiliosim.AssignmentSID(pn, xe) + ".json", status: 200},
	}
	return append(all, refusals(assigned, installed)...)
}

// refusals returns exchanges about credentials, limits, a released number and faults.
func refusals(assigned, installed string) []exchange {
	all := []exchange{
		{name: "wrong token", path: assigned + ".json", token: "wrong", status: 401},
		{name: "wrong token on the marketplace", path: installed, token: "wrong", status: 401},
		{name: "restricted key", path: assigned + ".json", token: "restricted", status: 401},
		{name: "restricted key, forbidden", path: assigned + ".json", token: "restricted", status: 403,
			change: behave(func(b *twiliosim.Behaviour) { b.RestrictedKey = "403-70051" })},
		{name: "suspended", path: assigned + ".json", status: 403, change: func(s *twiliosim.Sim) {
			behave(func(b *twiliosim.Behaviour) { b.Suspended = "403-20005" })(s)
			twiliosim.Must(s.SetAccountStatus(ac, twiliosim.AccountSuspended))
		}},
		{name: "active again", path: assigned + ".json", status: 200, change: func(s *twiliosim.Sim) {
			twiliosim.Must(s.SetAccountStatus(ac, twiliosim.AccountActive))
		}},
		{name: "below the rate limit", path: assigned + ".json", status: 200,
			change: behave(func(b *twiliosim.Behaviour) { b.RateLimit, b.RetryAfter = 0.001, twiliosim.RetryAfterSeconds })},
		{name: "above the rate limit", path: assigned + ".json", status: 429},
		{name: "above the rate limit, marketplace", path: installed, status: 429},
		{name: "release", method: "DELETE", path: api + "/" + pn + ".json", status: 204,
			change: behave(func(b *twiliosim.Behaviour) { b.RateLimit = 0 })},
		{name: "release again", method: "DELETE", path: api + "/" + pn + ".json", status: 404},
		{name: "list of a released number", path: assigned + ".json", status: 404},
	}
	for _, status := range []int{400, 401, 403, 404, 409, 422, 429, 500, 502, 503, 504} {
		all = append(all, exchange{name: "fault " + http.StatusText(status), path: assigned + ".json", status: status, change: fault(status)})
	}
	return all
}

func TestSimulatorMatchesTheSpecification(t *testing.T) {
	c := newChecker(t)
	for _, e := range exchanges() {
		t.Run(e.name, func(t *testing.T) { c.check(t, e) })
		if e.name == "extensions" || e.name == "installed extensions" {
			c.followExtensions(t, e)
		}
	}
	c.checkCoverage(t)
}

// followExtensions fetches each extension of a list. Only the answer has their SIDs.
func (c *checker) followExtensions(t *testing.T, list exchange) {
	t.Helper()
	r := c.send(t, c.request(t, list))
	sids := extensionSIDs(string(r.body))
	if len(sids) == 0 {
		t.Fatalf("%s: the list has no extension: %s", list.name, r.body)
	}
	base, suffix := strings.CutSuffix(list.path, ".json")
	for _, sid := range append(sids, twiliosim.SID("XF", 77)) {
		e := exchange{name: list.name + " " + sid, path: base + "/" + sid, status: 200}
		if suffix {
			e.path += ".json"
		}
		if sid == twiliosim.SID("XF", 77) {
			e.status = 404
		}
		t.Run(e.name, func(t *testing.T) { c.check(t, e) })
	}
}

func extensionSIDs(body string) (sids []string) {
	for _, part := range strings.Split(body, `"sid":"`)[1:] {
		if sid, _, _ := strings.Cut(part, `"`); twiliosim.IsSID("XF", sid) {
			sids = append(sids, sid)
		}
	}
	return sids
}

// checkCoverage fails for every operation without a successful answer, unless it is in
// notSimulated and is answered 405.
func (c *checker) checkCoverage(t *testing.T) {
	t.Helper()
	total := 0
	for _, doc := range specs(t) {
		for path, item := range doc.Paths.Map() {
			for method, op := range item.Operations() {
				total += c.succeeded[op.OperationID]
				switch {
				case notSimulated[op.OperationID]:
					c.checkNotAllowed(t, method, path)
				case c.succeeded[op.OperationID] == 0:
					t.Errorf("%s (%s %s) was never answered successfully", op.OperationID, method, path)
				}
			}
		}
	}
	t.Logf("%d exchanges validated: %d successful ones of %d operations, %d errors; %d operations are not simulated",
		total+c.failed, total, len(c.succeeded), c.failed, len(notSimulated))
}

func (c *checker) checkNotAllowed(t *testing.T, method, path string) {
	t.Helper()
	path = strings.NewReplacer("{Sid}", xe, "{InstalledAddOnSid}", xe).Replace(path)
	r := c.send(t, c.request(t, exchange{method: method, path: path, form: url.Values{}}))
	if r.status != http.StatusMethodNotAllowed || !strings.Contains(string(r.body), `"code":20004`) {
		t.Errorf("%s %s: got %d %s, want 405 with code 20004", method, path, r.status, r.body)
	}
}
