// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim_test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

var ignoreVolatile = cmpopts.IgnoreFields(twiliosim.Mutation{}, "Time", "RequestID")

func TestJournalRecordsChangesInOrder(t *testing.T) {
	sim := newWorld(t)
	server := newServer(t, sim)
	created := server.do(create(pn, xe))
	server.do(create(pn, xe)) // Changes nothing.
	twiliosim.Must(sim.Unassign(pn, xe), sim.Assign(pn, xe2), sim.Assign(pn2, xe2))
	server.do(remove(pn, xe2))
	server.do(remove(pn, xe2)) // Changes nothing.
	twiliosim.Must(
		sim.UninstallAddOn(xe2),
		sim.Assign(pn2, xe),
		sim.ReleaseNumber(pn2),
		sim.RotateAuthToken(ac, "new"),
		sim.SetAccountStatus(sub, twiliosim.AccountClosed),
	)
	want := []twiliosim.Mutation{
		{Seq: 1, Actor: "api", Change: "assign", Account: ac, Number: pn, AddOn: xe},
		{Seq: 2, Actor: "console", Change: "unassign", Account: ac, Number: pn, AddOn: xe},
		{Seq: 3, Actor: "console", Change: "assign", Account: ac, Number: pn, AddOn: xe2},
		{Seq: 4, Actor: "console", Change: "assign", Account: ac, Number: pn2, AddOn: xe2},
		{Seq: 5, Actor: "api", Change: "unassign", Account: ac, Number: pn, AddOn: xe2},
		{Seq: 6, Actor: "console", Change: "unassign", Account: ac, Number: pn2, AddOn: xe2, Cause: "uninstall"},
		{Seq: 7, Actor: "console", Change: "uninstall", Account: ac, AddOn: xe2},
		{Seq: 8, Actor: "console", Change: "assign", Account: ac, Number: pn2, AddOn: xe},
		{Seq: 9, Actor: "console", Change: "unassign", Account: ac, Number: pn2, AddOn: xe, Cause: "release"},
		{Seq: 10, Actor: "console", Change: "release", Account: ac, Number: pn2},
		{Seq: 11, Actor: "console", Change: "rotate-token", Account: ac},
		{Seq: 12, Actor: "console", Change: "account-status", Account: sub, Detail: "closed"},
		{Seq: 13, Actor: "console", Change: "release", Account: sub, Number: pn3},
	}
	got := sim.Journal()
	if diff := cmp.Diff(want, got, ignoreVolatile); diff != "" {
		t.Errorf("journal (-want +got):\n%s", diff)
	}
	if id := created.header.Get("Twilio-Request-Id"); got[0].RequestID != id || got[1].RequestID != "" {
		t.Errorf("request IDs are %q and %q, want %q and none", got[0].RequestID, got[1].RequestID, id)
	}
	if !slices.IsSortedFunc(got, func(a, b twiliosim.Mutation) int { return a.Time.Compare(b.Time) }) {
		t.Error("the times are not in order")
	}
	if diff := cmp.Diff(want[10:], sim.JournalAfter(10), ignoreVolatile); diff != "" {
		t.Errorf("JournalAfter(10) (-want +got):\n%s", diff)
	}
}

func TestCallsAreCountedByOperationNumberAndOutcome(t *testing.T) {
	sim := newWorld(t)
	twiliosim.Must(sim.AddFault(twiliosim.Fault{Operation: twiliosim.OpFetch, Kind: twiliosim.FaultReset}))
	server := newServer(t, sim)
	server.do(create(pn, xe))
	server.do(create(pn, "XE1"))
	server.do(list(pn))
	server.do(list(pn2))
	server.do(call{path: "/v1/InstalledAddOns"})
	server.do(call{path: "/elsewhere"})
	if _, err := server.try(fetch(pn, xe)); err == nil {
		t.Fatal("the client received no connection reset")
	}
	ok, rejected := twiliosim.Count{Calls: 1, Succeeded: 1}, twiliosim.Count{Calls: 1, Rejected: 1}
	// net/http retries a GET if a reused connection is reset, so the number of calls varies.
	broken := sim.Calls().Of(twiliosim.OpFetch, "")
	want := twiliosim.Calls{
		Total: twiliosim.Count{Calls: 6, Succeeded: 4, Rejected: 2}.Plus(broken),
		ByAccount: map[string]twiliosim.AccountCalls{
			ac: {Count: twiliosim.Count{Calls: 5, Succeeded: 4, Rejected: 1}.Plus(broken), MaxInFlight: 1},
		},
		ByOperation: map[twiliosim.Operation]twiliosim.Count{
			"create": ok.Plus(rejected), "list": ok.Plus(ok), "installed-add-ons": ok, "unknown": rejected, "fetch": broken,
		},
		ByNumber: map[string]map[twiliosim.Operation]twiliosim.Count{
			pn:  {"create": ok.Plus(rejected), "list": ok, "fetch": broken},
			pn2: {"list": ok},
		},
	}
	if diff := cmp.Diff(want, sim.Calls()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if broken.Broken == 0 || broken.Broken != broken.Calls {
		t.Errorf("the reset requests are counted as %+v, want only broken ones", broken)
	}
	sim.ResetCalls()
	if got := sim.Calls().Total; got != (twiliosim.Count{}) {
		t.Errorf("the total after ResetCalls is %+v, want zero", got)
	}
}

func TestRequestLogKeepsTheLatestRequests(t *testing.T) {
	sim := newWorld(t)
	server := newServer(t, sim)
	for range 150 {
		server.do(list(pn))
	}
	server.do(fetch(pn, xe))
	got := sim.Requests()
	if len(got) != 100 {
		t.Fatalf("the log has %d requests, want 100", len(got))
	}
	want := twiliosim.Request{Method: http.MethodGet, Path: fetch(pn, xe).path, User: ac, Operation: "fetch", Status: 404}
	last := got[99]
	if diff := cmp.Diff(want, last, cmpopts.IgnoreFields(want, "Time", "RequestID")); diff != "" {
		t.Errorf("last request (-want +got):\n%s", diff)
	}
}
