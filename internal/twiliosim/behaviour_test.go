// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

func TestBehaviourSwitches(t *testing.T) {
	unknown := twiliosim.SID("XE", 77)
	const key = "SK00000000000000000000000000000001"
	uninstall := call{method: http.MethodDelete, path: "/v1/InstalledAddOns/" + xe}
	restricted := list(pn)
	restricted.user, restricted.password = key, "secret"
	account := func(sid string) call { return call{path: "/2010-04-01/Accounts/" + sid + ".json"} }
	number := call{path: numberPath(sub, pn3, ".json")}
	suspend := func(sid string, status twiliosim.AccountStatus) func(*twiliosim.Sim) error {
		return func(s *twiliosim.Sim) error { return s.SetAccountStatus(sid, status) }
	}
	type behaviour = twiliosim.Behaviour

	cases := []struct {
		name         string
		change       func(*behaviour)
		setup        func(*twiliosim.Sim) error
		call         call
		status, code int
	}{
		{"duplicate create: same", nil, nil, create(pn, xe), 201, 0},
		{"duplicate create: conflict", func(b *behaviour) { b.DuplicateCreate = "409-20409" }, nil, create(pn, xe), 409, 20409},
		{"duplicate create: bad request", func(b *behaviour) { b.DuplicateCreate = "400" }, nil, create(pn, xe), 400, 20422},
		{"unknown add-on: not found", nil, nil, create(pn, unknown), 404, 20404},
		{"unknown add-on: bad request", func(b *behaviour) { b.UnknownAddOn = "400-20422" }, nil, create(pn, unknown), 400, 20422},
		{"unsupported listing", func(b *behaviour) { b.UnsupportedListing = "422-20423" }, nil, create(pn, xe9), 422, 20423},
		{"uninstall: cascade", nil, nil, uninstall, 204, 0},
		{"uninstall: refuse", func(b *behaviour) { b.Uninstall = twiliosim.UninstallRefuse }, nil, uninstall, 409, 20409},
		{"suspended: 401", nil, suspend(ac, "suspended"), list(pn), 401, 20003},
		{"suspended: 403", func(b *behaviour) { b.Suspended = "403-20003" }, suspend(ac, "suspended"), list(pn), 403, 20003},
		{"suspended: forbidden", func(b *behaviour) { b.Suspended = "403-20403" }, suspend(ac, "suspended"), list(pn), 403, 20403},
		{"suspended: not active", func(b *behaviour) { b.Suspended = "403-20005" }, suspend(ac, "suspended"), list(pn), 403, 20005},
		{"closed", nil, suspend(ac, "closed"), account(ac), 401, 20003},
		{"suspended parent, subaccount's token", nil, suspend(ac, "suspended"),
			call{path: number.path, user: sub, password: "subtoken"}, 401, 20003},
		{"suspended subaccount", nil, suspend(sub, "suspended"), number, 401, 20003},
		{"suspended subaccount, read by its parent", nil, suspend(sub, "suspended"), account(sub), 200, 0},
		{"active again", nil, func(s *twiliosim.Sim) error {
			twiliosim.Must(s.SetAccountStatus(ac, "suspended"))
			return s.SetAccountStatus(ac, "active")
		}, list(pn), 200, 0},
		{"restricted key: 401", nil, nil, restricted, 401, 70051},
		{"restricted key: 403", func(b *behaviour) { b.RestrictedKey = "403-70051" }, nil, restricted, 403, 70051},
		{"restricted key: forbidden", func(b *behaviour) { b.RestrictedKey = "403-20003" }, nil, restricted, 403, 20003},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			sim := newWorld(t)
			twiliosim.Must(sim.Assign(pn, xe), sim.AddAPIKey(ac, key, "secret", twiliosim.KeyRestricted))
			if tc.change != nil {
				twiliosim.Must(sim.UpdateBehaviour(tc.change))
			}
			if tc.setup != nil {
				twiliosim.Must(tc.setup(sim))
			}
			r := direct(t, sim, tc.call)
			if r.status != tc.status || r.code(t) != tc.code {
				t.Errorf("got %d %s, want %d with code %d", r.status, r.body, tc.status, tc.code)
			}
		})
	}
}

func TestUninstallCascadesOrIsRefused(t *testing.T) {
	sim := newWorld(t)
	twiliosim.Must(sim.Assign(pn, xe), sim.Assign(pn, xe2), sim.UpdateBehaviour(func(b *twiliosim.Behaviour) {
		b.Uninstall = twiliosim.UninstallRefuse
	}))
	uninstall := call{method: http.MethodDelete, path: "/v1/InstalledAddOns/" + xe}
	direct(t, sim, uninstall)
	if diff := cmp.Diff([]string{xe, xe2}, sim.Assigned(pn)); diff != "" {
		t.Errorf("assigned after a refused uninstall (-want +got):\n%s", diff)
	}
	twiliosim.Must(sim.SetBehaviour(twiliosim.DefaultBehaviour()))
	direct(t, sim, uninstall)
	if diff := cmp.Diff([]string{xe2}, sim.Assigned(pn)); diff != "" {
		t.Errorf("assigned after an uninstall (-want +got):\n%s", diff)
	}
	if r := direct(t, sim, create(pn, xe)); r.status != 404 {
		t.Errorf("create with the uninstalled add-on: status is %d, want 404", r.status)
	}
}

func TestAssignmentSIDCanDifferFromInstallation(t *testing.T) {
	sim := newWorld(t)
	twiliosim.Must(sim.UpdateBehaviour(func(b *twiliosim.Behaviour) { b.AssignmentSID = twiliosim.AssignmentSIDDifferent }))
	own := twiliosim.AssignmentSID(pn, xe)
	for range 2 { // A new assignment gets the same SID as before.
		if got := direct(t, sim, create(pn, xe)).field(t, "sid"); got != own {
			t.Fatalf("create: sid is %v, want %s", got, own)
		}
		if got := direct(t, sim, list(pn)).items(t, "assigned_add_ons"); !cmp.Equal(got, []string{own}) {
			t.Errorf("list: got %v, want %s", got, own)
		}
		if r := direct(t, sim, fetch(pn, own)); r.status != 200 || r.field(t, "unique_name") != "caller_name" {
			t.Errorf("fetch: got %d %s", r.status, r.body)
		}
		if r := direct(t, sim, fetch(pn, xe)); r.status != 404 {
			t.Errorf("fetch by the installation's SID: status is %d, want 404", r.status)
		}
		if diff := cmp.Diff([]string{xe}, sim.Assigned(pn)); diff != "" {
			t.Errorf("assigned (-want +got):\n%s", diff)
		}
		if r := direct(t, sim, remove(pn, own)); r.status != 204 {
			t.Errorf("delete: status is %d, want 204", r.status)
		}
	}
}

func TestReadsLagBehindWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newWorld(t)
		twiliosim.Must(sim.UpdateBehaviour(func(b *twiliosim.Behaviour) { b.ReadLag = twiliosim.Duration(2 * time.Second) }))
		expectReads := func(when string, want ...string) {
			t.Helper()
			if got := direct(t, sim, list(pn)).items(t, "assigned_add_ons"); !cmp.Equal(got, append([]string{}, want...)) {
				t.Errorf("%s: list shows %v, want %v", when, got, want)
			}
			status := http.StatusNotFound
			if len(want) > 0 {
				status = http.StatusOK
			}
			if got := direct(t, sim, fetch(pn, xe)).status; got != status {
				t.Errorf("%s: fetch answers %d, want %d", when, got, status)
			}
		}
		direct(t, sim, create(pn, xe))
		expectReads("just created")
		if r := direct(t, sim, create(pn, xe)); r.status != 201 || len(sim.Journal()) != 1 {
			t.Errorf("create lags: status is %d, journal %v", r.status, sim.Journal())
		}
		time.Sleep(2 * time.Second)
		expectReads("lag after create has passed", xe)
		direct(t, sim, remove(pn, xe))
		expectReads("just deleted", xe)
		if r := direct(t, sim, remove(pn, xe)); r.status != 404 {
			t.Errorf("delete lags: status is %d, want 404", r.status)
		}
		if got := sim.Assigned(pn); len(got) != 0 {
			t.Errorf("Assigned lags: %v", got)
		}
		time.Sleep(2 * time.Second)
		expectReads("lag after delete has passed")
		twiliosim.Must(sim.Assign(pn, xe))
		expectReads("assigned in the console", xe)
	})
}

func TestConcurrencyLimitIsPerAccount(t *testing.T) {
	sim := newWorld(t)
	twiliosim.Must(
		sim.UpdateBehaviour(func(b *twiliosim.Behaviour) { b.ConcurrencyLimit = 2 }),
		sim.AddFault(twiliosim.Fault{Number: pn2, Kind: twiliosim.FaultHang}),
	)
	server := newServer(t, sim)
	var hanging sync.WaitGroup
	for range 2 {
		req := list(pn2).request(t, server.URL)
		hanging.Go(func() {
			if res, err := server.client.Do(req); err == nil {
				res.Body.Close()
			}
		})
	}
	t.Cleanup(hanging.Wait)
	t.Cleanup(server.CloseClientConnections)
	for sim.Calls().Of(twiliosim.OpList, pn2).Calls < 2 || len(sim.Faults()) > 0 && sim.Faults()[0].Fired < 2 {
		time.Sleep(time.Millisecond)
	}
	for range 5 {
		if r := server.do(create(pn, xe)); r.status != 429 || r.code(t) != 20429 || r.header.Get("Retry-After") != "" {
			t.Fatalf("above the limit: got %d %s %v, want 429", r.status, r.body, r.header)
		}
	}
	if len(sim.Journal()) != 0 {
		t.Error("a throttled request was processed")
	}
	if r := server.do(call{path: numberPath(sub, pn3, ".json")}); r.status != 200 {
		t.Errorf("another account: status is %d, want 200", r.status)
	}
	if got := sim.MaxInFlight(ac); got != 2 {
		t.Errorf("MaxInFlight is %d, want 2", got)
	}
	if got := sim.Calls().ByAccount[ac].Throttled; got != 5 {
		t.Errorf("got %d throttled calls, want 5", got)
	}
}

// The figures of the bench rely on this.
func TestClientWithinTheLimitIsNeverThrottled(t *testing.T) {
	const limit = 4
	sim := newWorld(t)
	twiliosim.Must(sim.UpdateBehaviour(func(b *twiliosim.Behaviour) {
		b.ConcurrencyLimit, b.LatencyJitter = limit, twiliosim.Duration(100*time.Microsecond)
	}))
	server := newServer(t, sim)
	server.client.Transport.(*http.Transport).MaxIdleConnsPerHost = limit
	var workers sync.WaitGroup
	for range limit {
		workers.Go(func() {
			for range 250 {
				if r, err := server.try(list(pn)); err != nil || r.status != 200 {
					t.Errorf("%d %v", r.status, err)
					return
				}
			}
		})
	}
	workers.Wait()
	if got := sim.MaxInFlight(ac); got > limit {
		t.Errorf("MaxInFlight is %d, want at most %d", got, limit)
	}
}

func TestRateLimitAndRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newWorld(t)
		burst := func() (ok int, last reply) {
			for range 10 {
				if last = direct(t, sim, list(pn)); last.status == 200 {
					ok++
				}
			}
			return ok, last
		}
		limit := func(form twiliosim.RetryAfterForm) {
			twiliosim.Must(sim.UpdateBehaviour(func(b *twiliosim.Behaviour) {
				b.RateLimit, b.RetryAfter, b.RetryAfterDelay = 4, form, twiliosim.Duration(3*time.Second)
			}))
		}
		limit(twiliosim.RetryAfterSeconds)
		if ok, last := burst(); ok != 4 || last.status != 429 || last.header.Get("Retry-After") != "3" {
			t.Errorf("first burst: %d requests pass, want 4; then got %d %v", ok, last.status, last.header)
		}
		time.Sleep(500 * time.Millisecond)
		limit(twiliosim.RetryAfterHTTPDate)
		ok, last := burst()
		date, err := http.ParseTime(last.header.Get("Retry-After"))
		if ok != 2 || err != nil || !date.Equal(time.Now().Add(3*time.Second).Truncate(time.Second)) {
			t.Errorf("burst after half a second: %d requests pass, want 2; Retry-After is %q (%v)", ok, last.header.Get("Retry-After"), err)
		}
	})
}

func TestHalfOfTheLatencyPrecedesProcessing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newWorld(t)
		twiliosim.Must(sim.UpdateBehaviour(func(b *twiliosim.Behaviour) { b.Latency = twiliosim.Duration(100 * time.Millisecond) }))
		start := time.Now()
		req := create(pn, xe).request(t, "http://api.twilio.com")
		done := make(chan struct{})
		go func() {
			defer close(done)
			sim.Handler().ServeHTTP(httptest.NewRecorder(), req)
		}()
		time.Sleep(49 * time.Millisecond)
		if n := len(sim.Journal()); n != 0 {
			t.Error("the request was processed before half of the latency")
		}
		time.Sleep(2 * time.Millisecond)
		if n := len(sim.Journal()); n != 1 {
			t.Error("the request was not processed after half of the latency")
		}
		<-done
		if took := time.Since(start); took != 100*time.Millisecond {
			t.Errorf("the request took %v, want 100ms", took)
		}
	})
}

func TestBehaviourRefusesInvalidValues(t *testing.T) {
	for _, change := range []func(*twiliosim.Behaviour){
		func(b *twiliosim.Behaviour) { b.DuplicateCreate = "200-same" },
		func(b *twiliosim.Behaviour) { b.UnknownAddOn = twiliosim.DuplicateSame },
		func(b *twiliosim.Behaviour) { b.Suspended = "403-" },
		func(b *twiliosim.Behaviour) { b.Uninstall = "409" },
		func(b *twiliosim.Behaviour) { b.RetryAfter = "soon" },
		func(b *twiliosim.Behaviour) { b.AssignmentSID = "" },
		func(b *twiliosim.Behaviour) { b.Latency = -1 },
		func(b *twiliosim.Behaviour) { b.ConcurrencyLimit = -1 },
	} {
		sim := newWorld(t)
		if err := sim.UpdateBehaviour(change); err == nil || !strings.HasPrefix(err.Error(), "behaviour: ") {
			t.Errorf("error is %v, want one that starts with \"behaviour: \"", err)
		}
		if diff := cmp.Diff(twiliosim.DefaultBehaviour(), sim.Behaviour()); diff != "" {
			t.Errorf("an invalid value changed the behaviour (-want +got):\n%s", diff)
		}
	}
}
