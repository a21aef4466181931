// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

func newAdmin(t *testing.T, sim *twiliosim.Sim) (*twiliosim.AdminClient, string) {
	t.Helper()
	s := httptest.NewServer(sim.AdminHandler())
	t.Cleanup(s.Close)
	return twiliosim.NewAdminClient(s.URL), s.URL
}

// buildWorld calls every method that changes the state through the admin API.
func buildWorld(t *testing.T, c *twiliosim.AdminClient) {
	t.Helper()
	ctx := t.Context()
	const key, gone = "SK00000000000000000000000000000001", "SK00000000000000000000000000000002"
	twiliosim.Must(
		c.Healthy(ctx),
		c.AddAccount(ctx, ac, "old"),
		c.AddSubaccount(ctx, ac, sub, "subtoken"),
		c.AddAPIKey(ctx, ac, key, "secret", twiliosim.KeyRestricted, twiliosim.OpList),
		c.AddAPIKey(ctx, ac, gone, "secret", twiliosim.KeyMain),
		c.DeleteAPIKey(ctx, gone),
		c.AddNumber(ctx, ac, pn, "+14155550101"),
		c.AddNumber(ctx, ac, pn2, "+14155550102"),
		c.AddNumber(ctx, ac, pn3, "+14155550103"),
		c.InstallAddOn(ctx, ac, xe, "caller_name"),
		c.InstallAddOn(ctx, ac, xe2, "spam_score"),
		c.Install(ctx, ac, twiliosim.AddOn{SID: xe9, UniqueName: "recordings", Unsupported: true}),
		c.Assign(ctx, pn, xe),
		c.Assign(ctx, pn, xe2),
		c.Assign(ctx, pn2, xe),
		c.Unassign(ctx, pn2, xe),
		c.UninstallAddOn(ctx, xe2),
		c.MoveNumber(ctx, pn3, sub),
		c.ReleaseNumber(ctx, pn2),
		c.RotateAuthToken(ctx, ac, token),
		c.SetSecondaryAuthToken(ctx, ac, "secondary"),
		c.SetAccountStatus(ctx, sub, twiliosim.AccountSuspended),
	)
}

func TestAdminChangesState(t *testing.T) {
	sim := twiliosim.New(twiliosim.Options{})
	c, _ := newAdmin(t, sim)
	buildWorld(t, c)
	want := twiliosim.State{Accounts: []twiliosim.AccountState{
		{
			SID: ac, AuthToken: token, Secondary: "secondary", Status: "active",
			APIKeys: []twiliosim.KeyState{{SID: "SK00000000000000000000000000000001", Secret: "secret", Kind: "restricted",
				Allowed: []twiliosim.Operation{"list"}}},
			AddOns: []twiliosim.AddOn{
				{SID: xe, UniqueName: "caller_name", FriendlyName: "Caller name", Description: "Caller name for every incoming call"},
				{SID: xe9, UniqueName: "recordings", FriendlyName: "Recordings", Description: "Recordings for every incoming call", Unsupported: true},
			},
			Numbers: []twiliosim.NumberState{{SID: pn, PhoneNumber: "+14155550101", Assigned: []string{xe}}},
		},
		{SID: sub, Parent: ac, AuthToken: "subtoken", Status: "suspended",
			Numbers: []twiliosim.NumberState{{SID: pn3, PhoneNumber: "+14155550103"}}},
	}}
	got, err := c.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(twiliosim.AddOn{}, "Configuration")); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	if assigned, err := c.Assigned(t.Context(), pn); err != nil || !cmp.Equal(assigned, []string{xe}) {
		t.Errorf("assigned: %v, %v", assigned, err)
	}
	journal, err := c.JournalAfter(t.Context(), 2)
	if err != nil || !cmp.Equal(journal, sim.JournalAfter(2), cmpopts.EquateApproxTime(0)) {
		t.Errorf("journal: %v, %v", journal, err)
	}
}

func TestSnapshotCanBeRestored(t *testing.T) {
	first, second := twiliosim.New(twiliosim.Options{}), newWorld(t)
	from, _ := newAdmin(t, first)
	to, _ := newAdmin(t, second)
	buildWorld(t, from)
	state, err := from.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	twiliosim.Must(to.Restore(t.Context(), state))
	if diff := cmp.Diff(first.Snapshot(), second.Snapshot()); diff != "" {
		t.Errorf("restored state differs (-first +second):\n%s", diff)
	}
	if n := len(second.Journal()); n != 0 {
		t.Errorf("Restore added %d journal entries, want none", n)
	}
	broken := twiliosim.State{Accounts: append(state.Accounts, state.Accounts[0])}
	if err := to.Restore(t.Context(), broken); err == nil {
		t.Error("Restore accepted a state that has an account twice")
	}
	if diff := cmp.Diff(first.Snapshot(), second.Snapshot()); diff != "" {
		t.Errorf("a refused state changed the simulator (-first +second):\n%s", diff)
	}
}

func TestAdminSeedsManyNumbers(t *testing.T) {
	sim := twiliosim.New(twiliosim.Options{})
	c, _ := newAdmin(t, sim)
	twiliosim.Must(
		c.Seed(t.Context(), twiliosim.Seed{Account: ac, AuthToken: token, Numbers: 1000, AddOns: 3, Assigned: 2}),
		c.Seed(t.Context(), twiliosim.Seed{Account: ac, Numbers: 500, FirstNumber: 1001}),
	)
	if n := len(sim.Snapshot().Accounts[0].Numbers); n != 1500 {
		t.Errorf("%d numbers, want 1500", n)
	}
	for n, want := range map[int][]string{1: {xe, xe2}, 1000: {xe, xe2}, 1001: {}, 1500: {}} {
		if diff := cmp.Diff(want, sim.Assigned(twiliosim.SID("PN", n))); diff != "" {
			t.Errorf("number %d (-want +got):\n%s", n, diff)
		}
	}
	r := direct(t, sim, call{path: numberPath(ac, twiliosim.SID("PN", 1500), ".json")})
	if r.field(t, "phone_number") != twiliosim.PhoneNumber(1500) {
		t.Errorf("number 1500: got %s", r.body)
	}
	if len(sim.Journal()) != 0 {
		t.Error("Seed added journal entries")
	}
	if err := c.Seed(t.Context(), twiliosim.Seed{Account: ac, Numbers: 1}); err == nil {
		t.Error("Seed accepted numbers that already exist")
	}
}

func TestAdminBehaviourFaultsAndCounts(t *testing.T) {
	sim := newWorld(t)
	c, _ := newAdmin(t, sim)
	ctx := t.Context()
	fault := twiliosim.Fault{ID: 1, Operation: twiliosim.OpList, Kind: twiliosim.FaultError, Count: 1, Delay: twiliosim.Duration(time.Second)}
	twiliosim.Must(
		c.UpdateBehaviour(ctx, func(b *twiliosim.Behaviour) { b.MaxPageSize, b.ReadLag = 7, twiliosim.Duration(time.Minute) }),
		c.AddFault(ctx, fault),
	)
	direct(t, sim, list(pn))
	direct(t, sim, list(pn))
	want := twiliosim.DefaultBehaviour()
	want.MaxPageSize, want.ReadLag = 7, twiliosim.Duration(time.Minute)
	if b, err := c.Behaviour(ctx); err != nil || b != want {
		t.Errorf("behaviour: %+v, %v", b, err)
	}
	faults, err := c.Faults(ctx)
	if diff := cmp.Diff([]twiliosim.FaultState{{Fault: fault, Matched: 2, Fired: 1}}, faults,
		cmpopts.IgnoreUnexported(twiliosim.FaultState{})); diff != "" || err != nil {
		t.Errorf("faults: %v (-want +got):\n%s", err, diff)
	}
	if injected, err := c.Injected(ctx); err != nil || injected["error"] != 1 {
		t.Errorf("injected: %v, %v", injected, err)
	}
	calls, err := c.Calls(ctx)
	if diff := cmp.Diff(sim.Calls(), calls); diff != "" || err != nil {
		t.Errorf("calls: %v (-want +got):\n%s", err, diff)
	}
	totals, err := c.CallTotals(ctx)
	if err != nil || totals.Total.Calls != 2 || len(totals.ByNumber) != 0 {
		t.Errorf("totals: %+v, %v", totals, err)
	}
	if requests, err := c.Requests(ctx); err != nil || len(requests) != 2 || requests[0].Fault != twiliosim.FaultError {
		t.Errorf("requests: %+v, %v", requests, err)
	}
	twiliosim.Must(c.RemoveFault(ctx, 1), c.AddFault(ctx, fault), c.ClearFaults(ctx), c.ResetCalls(ctx), c.SetBehaviour(ctx, twiliosim.DefaultBehaviour()))
	if len(sim.Faults()) != 0 || sim.Calls().Total.Calls != 0 || sim.Behaviour() != twiliosim.DefaultBehaviour() {
		t.Error("faults, calls or behaviour were not reset")
	}
}

func TestAdminReturnsErrors(t *testing.T) {
	sim := newWorld(t)
	c, url := newAdmin(t, sim)
	ctx := t.Context()
	unknown := twiliosim.SID("PN", 77)
	for name, err := range map[string]error{
		"number":     c.ReleaseNumber(ctx, unknown),
		"assigned":   func() error { _, err := c.Assigned(ctx, unknown); return err }(),
		"account":    c.RotateAuthToken(ctx, twiliosim.SID("AC", 77), "x"),
		"add-on":     c.Assign(ctx, pn, twiliosim.SID("XE", 77)),
		"assignment": c.Unassign(ctx, pn, xe),
		"key":        c.DeleteAPIKey(ctx, "SK1"),
		"fault":      c.RemoveFault(ctx, 77),
	} {
		if !errors.Is(err, twiliosim.ErrNotFound) {
			t.Errorf("%s: error is %v, want ErrNotFound", name, err)
		}
	}
	for name, err := range map[string]error{
		"SID":         c.AddNumber(ctx, ac, "PN1", "+14155550199"),
		"twice":       c.AddNumber(ctx, ac, pn, "+14155550199"),
		"E.164":       c.AddNumber(ctx, ac, unknown, "4155550199"),
		"fault":       c.AddFault(ctx, twiliosim.Fault{Kind: "none"}),
		"status":      c.SetAccountStatus(ctx, ac, "lost"),
		"unique name": c.InstallAddOn(ctx, ac, twiliosim.SID("XE", 78), "caller_name"),
		"parent":      c.AddSubaccount(ctx, sub, twiliosim.SID("AC", 78), "x"),
		"key kind":    c.AddAPIKey(ctx, ac, twiliosim.SID("SK", 78), "x", "golden"),
	} {
		if err == nil || errors.Is(err, twiliosim.ErrNotFound) {
			t.Errorf("%s: error is %v, want one other than ErrNotFound", name, err)
		}
	}
	for name, req := range map[string][3]string{
		"unknown switch": {"PATCH", "/behaviour", `{"latncy":"1s"}`},
		"bad duration":   {"PATCH", "/behaviour", `{"latency":"1"}`},
		"bad outcome":    {"PATCH", "/behaviour", `{"suspended":"200"}`},
		"no JSON":        {"POST", "/faults", "kind"},
		"bad seq":        {"GET", "/journal?after=x", ""},
	} {
		r, err := http.NewRequestWithContext(ctx, req[0], url+req[1], strings.NewReader(req[2]))
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: status is %d, want 400", name, res.StatusCode)
		}
	}
	if sim.Behaviour() != twiliosim.DefaultBehaviour() {
		t.Error("a refused patch changed the behaviour")
	}
}
