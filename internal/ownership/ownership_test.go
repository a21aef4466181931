// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/ownership"
)

type assignment = v1alpha1.PhoneNumberAddOnAssignment

const (
	authoritative = v1alpha1.ManagementAuthoritative
	additive      = v1alpha1.ManagementAdditive

	created   = v1alpha1.OwnershipCreated
	adopted   = v1alpha1.OwnershipAdopted
	takenOver = v1alpha1.OwnershipTakenOver
)

// Two Twilio accounts. home is the one that has the number, where nothing else is said.
const home, elsewhere = v1alpha1.AccountSID("AC1"), v1alpha1.AccountSID("AC2")

func at(minute int) time.Time { return time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC) }

func keyOf(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "ns", Name: name}
}

// object is an object of the number that lists XEa; the changes make it special.
func object(name string, changes ...func(*assignment)) *assignment {
	a := &assignment{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name), Generation: 1, CreationTimestamp: metav1.NewTime(at(1))}}
	a.Spec = v1alpha1.PhoneNumberAddOnAssignmentSpec{ManagementPolicy: authoritative, AddOnSIDs: []v1alpha1.AddOnSID{"XEa"}}
	for _, change := range changes {
		change(a)
	}
	return a
}

func minute(m int) func(*assignment) {
	return func(a *assignment) { a.CreationTimestamp = metav1.NewTime(at(m)) }
}

func policy(p v1alpha1.ManagementPolicy) func(*assignment) {
	return func(a *assignment) { a.Spec.ManagementPolicy = p }
}

func lists(sids ...v1alpha1.AddOnSID) func(*assignment) {
	return func(a *assignment) { a.Spec.AddOnSIDs = sids }
}

func records(s string, o v1alpha1.AddOnOwnership) func(*assignment) {
	return func(a *assignment) {
		a.Status.AddOns = append(a.Status.AddOns, v1alpha1.AddOnStatus{SID: v1alpha1.AddOnSID(s), State: v1alpha1.AddOnAssigned, Ownership: o})
	}
}

func reports(kind string, status metav1.ConditionStatus, reason string) func(*assignment) {
	return func(a *assignment) {
		a.Status.ObservedGeneration = a.Generation
		a.Status.Conditions = append(a.Status.Conditions, metav1.Condition{Type: kind, Status: status, Reason: reason, ObservedGeneration: a.Generation})
	}
}

func holds(a *assignment) {
	finalizer(a)
	a.Status.Claim, a.Status.AccountSID = v1alpha1.ClaimHeld, home
}

func finalizer(a *assignment) { a.Finalizers = []string{"other", v1alpha1.FinalizerUnassign} }
func deleting(a *assignment)  { a.DeletionTimestamp = new(metav1.NewTime(at(9))) }
func suspended(a *assignment) { a.Spec.Suspend = true }
func retains(a *assignment)   { a.Spec.DeletionPolicy = v1alpha1.DeletionRetain }
func edited(a *assignment)    { a.Generation++ }

func found(a *assignment) { a.Status.AccountSID = home }

func absent(a *assignment) {
	reports(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonPhoneNumberNotFound)(a)
}

func exact(a *assignment) {
	reports(v1alpha1.ConditionInSync, metav1.ConditionTrue, v1alpha1.ReasonMatches)(a)
}

// claim is that of an admitted object of the account home.
func claim(name string, changes ...func(*assignment)) ownership.Claim {
	return ownership.ClaimOf(object(name, changes...), home, false)
}

// claimIn is that of an object of another account; "" is that of one that is not admitted.
func claimIn(account v1alpha1.AccountSID, name string, changes ...func(*assignment)) ownership.Claim {
	return ownership.ClaimOf(object(name, changes...), account, false)
}

func TestClaimOf(t *testing.T) {
	type claim struct{ Held, Absent, Deleting, Finalizer, Active bool }
	cases := map[string]struct {
		reason   string
		changes  []func(*assignment)
		reserved bool
		want     claim
	}{
		"new":                          {"it may write, and holds nothing", nil, false, claim{Active: true}},
		"about to claim":               {"the process let it claim the number; status follows", nil, true, claim{Held: true, Active: true}},
		"holds":                        {"status says so", []func(*assignment){holds}, false, claim{Held: true, Finalizer: true, Active: true}},
		"holds, in trouble":            {"trouble takes no number from anybody", []func(*assignment){holds, absent}, false, claim{Held: true, Finalizer: true, Active: true}},
		"finalizer set by its creator": {"whoever creates an object can set finalizers, but not status", []func(*assignment){finalizer}, false, claim{Finalizer: true, Active: true}},
		"its account lacks the number": {"it reports so", []func(*assignment){found, absent}, false, claim{Absent: true, Active: true}},
		"found after all":              {"the process saw the number since", []func(*assignment){absent}, true, claim{Held: true, Active: true}},
		"observes":                     {"it writes nothing", []func(*assignment){policy(v1alpha1.ManagementObserve)}, false, claim{}},
		"suspended":                    {"it writes nothing", []func(*assignment){suspended}, false, claim{}},
		"being deleted":                {"the API server says so", []func(*assignment){deleting, holds}, false, claim{Held: true, Deleting: true, Finalizer: true, Active: true}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			a := object("line", c.changes...)
			want := ownership.Claim{Key: keyOf("line"), UID: "line", Created: at(1), Account: home, Object: a,
				Held: c.want.Held, Absent: c.want.Absent, Deleting: c.want.Deleting, Finalizer: c.want.Finalizer, Active: c.want.Active}
			if diff := cmp.Diff(want, ownership.ClaimOf(a, home, c.reserved)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

// standing is a Standing, with the name of the other object.
type standing struct {
	Role  ownership.Role
	Other string
}

func standingOf(claims []ownership.Claim, name string) standing {
	s := ownership.StandingOf(claims, keyOf(name))
	if s.Other == nil {
		return standing{Role: s.Role}
	}
	return standing{s.Role, s.Other.Key.Name}
}

func TestStandingOf(t *testing.T) {
	acts := standing{Role: ownership.Acts}
	waitsFor := func(name string) standing { return standing{ownership.Waits, name} }
	createdA := records("XEa", created)
	cases := map[string]struct {
		reason string
		claims []ownership.Claim
		want   map[string]standing
	}{
		"alone": {"who has no rival acts", nil, map[string]standing{"any": acts}},
		"the holder, though younger": {"what was claimed stays claimed",
			[]ownership.Claim{claim("old"), claim("new", minute(2), holds)},
			map[string]standing{"new": acts, "old": waitsFor("new")}},
		"the oldest": {"nobody holds it yet",
			[]ownership.Claim{claim("b"), claim("a", minute(2))},
			map[string]standing{"b": acts, "a": waitsFor("b")}},
		"by name": {"of the same age",
			[]ownership.Claim{claim("b"), claim("a")},
			map[string]standing{"a": acts, "b": waitsFor("a")}},
		"one that is not admitted": {"it blocks nobody by naming the number first",
			[]ownership.Claim{claimIn("", "stranger"), claim("line", minute(2))},
			map[string]standing{"line": acts}},
		"one that lacks the number": {"who does not find it does not keep it from who may",
			[]ownership.Claim{claim("absent", absent), claim("line", minute(2))},
			map[string]standing{"line": acts, "absent": acts}},
		"lacks the number, which is held": {"it is known who has it",
			[]ownership.Claim{claim("absent", absent), claim("line", minute(2), holds)},
			map[string]standing{"line": acts, "absent": waitsFor("line")}},
		"all lack the number": {"each goes on looking for it",
			[]ownership.Claim{claim("a", absent), claimIn(elsewhere, "b", absent)},
			map[string]standing{"a": acts, "b": acts}},
		"lacks the number beside a suspended one": {"the two would take turns at giving way",
			[]ownership.Claim{claim("a", absent), claim("b", minute(2), suspended)},
			map[string]standing{"a": acts, "b": acts}},
		"another account, not read yet": {"a number is in one account: whoever can read it is of the right one",
			[]ownership.Claim{claimIn(elsewhere, "old"), claim("new", minute(2))},
			map[string]standing{"old": acts, "new": acts}},
		"another account, where the number was read": {"it is there",
			[]ownership.Claim{claim("old", holds), claimIn(elsewhere, "new", minute(2))},
			map[string]standing{"old": acts, "new": waitsFor("old")}},
		"holds, and has lost its right": {"it has yet to yield; until then nobody acts",
			[]ownership.Claim{claimIn("", "old", holds), claim("new", minute(2))},
			map[string]standing{"new": {ownership.AwaitsYield, "old"}}},
		"has lost its right and yielded": {"the next one acts",
			[]ownership.Claim{claimIn("", "old", finalizer, createdA), claim("new", minute(2))},
			map[string]standing{"new": acts}},
		"the owner is being deleted": {"the next one takes over what both list",
			[]ownership.Claim{claim("old", holds, createdA, deleting), claim("new", minute(2)), claim("third", minute(3))},
			map[string]standing{"new": {ownership.TakesOver, "old"}, "third": waitsFor("old")}},
		"the owner is being deleted, letter case": {"a spelling makes no gap in the line",
			[]ownership.Claim{claim("old", holds, createdA, deleting), claim("new", minute(2), lists("XEA"))},
			map[string]standing{"new": {ownership.TakesOver, "old"}}},
		"the owner is being deleted, nothing in common": {"there is nothing to hand over; the owner removes what is its own",
			[]ownership.Claim{claim("old", holds, createdA, deleting), claim("new", minute(2), lists("XEb"))},
			map[string]standing{"new": waitsFor("old")}},
		"the owner is being deleted and retains": {"it leaves everything as it is",
			[]ownership.Claim{claim("old", holds, createdA, deleting, retains), claim("new", minute(2))},
			map[string]standing{"new": waitsFor("old")}},
		"the owner is being deleted and is suspended": {"it leaves everything as it is",
			[]ownership.Claim{claim("old", holds, createdA, deleting, suspended), claim("new", minute(2))},
			map[string]standing{"new": waitsFor("old")}},
		"the owner is being deleted, the next one observes": {"it answers for nothing",
			[]ownership.Claim{claim("old", holds, createdA, deleting), claim("new", minute(2), policy(v1alpha1.ManagementObserve))},
			map[string]standing{"new": waitsFor("old")}},
		"the owner is being deleted, the next one is suspended": {"it takes nothing over, nor does who comes after it",
			[]ownership.Claim{claim("old", holds, createdA, deleting), claim("new", minute(2), suspended), claim("third", minute(3))},
			map[string]standing{"new": waitsFor("old"), "third": waitsFor("old")}},
		"the owner is being deleted, the next one is of another account": {"it cannot remove there what was assigned here",
			[]ownership.Claim{claim("old", holds, createdA, deleting), claimIn(elsewhere, "new", minute(2))},
			map[string]standing{"new": waitsFor("old")}},
		"both are being deleted": {"nobody takes over who is leaving",
			[]ownership.Claim{claim("old", holds, createdA, deleting), claim("new", minute(2), deleting, finalizer)},
			map[string]standing{"new": waitsFor("old")}},
		"being deleted, and has let go": {"without a finalizer it is as good as gone",
			[]ownership.Claim{claim("old", deleting, func(a *assignment) { a.Status.Claim = v1alpha1.ClaimHeld }), claim("new", minute(2))},
			map[string]standing{"new": acts}},
		"being deleted, and never held it": {"it answers for its records, not for the number",
			[]ownership.Claim{claim("old", deleting, finalizer), claim("new", minute(2))},
			map[string]standing{"new": acts}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := map[string]standing{}
			for name := range c.want {
				got[name] = standingOf(c.claims, name)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

func TestOwnerAndSuccessor(t *testing.T) {
	name := func(c *ownership.Claim) string {
		if c == nil {
			return ""
		}
		return c.Key.Name
	}
	type answer struct{ Owner, Successor string }
	cases := map[string]struct {
		reason string
		claims []ownership.Claim
		want   answer // the successor is that of the first claim
	}{
		"nobody": {"there is no owner of nothing", []ownership.Claim{claim("a", absent)}, answer{}},
		"namespace before name": {"the order is the same for every observer",
			[]ownership.Claim{claim("b"), claim("a", func(a *assignment) { a.Namespace = "other" })}, answer{"b", "a"}},
		"holder before age": {"the successor is the next in the same order",
			[]ownership.Claim{claim("c", minute(3), holds), claim("b", minute(2)), claim("a", minute(1), absent)}, answer{"c", "b"}},
		"only in the account at hand": {"who did not read the number in the other account may never find it there",
			[]ownership.Claim{claimIn(elsewhere, "b"), claim("a", minute(2))}, answer{"a", ""}},
		"the account of the last reading counts": {"the departing object acted there, whatever its account is now",
			[]ownership.Claim{claimIn(elsewhere, "a", holds), claim("b", minute(2))}, answer{"b", "b"}},
		"an account's spelling": {"letter case makes no other account",
			[]ownership.Claim{claim("a", holds), claimIn("ac1", "b", minute(2))}, answer{"a", "b"}},
		"not one that is leaving": {"it would have to be succeeded itself",
			[]ownership.Claim{claim("a", holds), claim("b", minute(2), holds, deleting)}, answer{"a", ""}},
		"not one that writes nothing": {"nor who comes after it: the number would be its own, and it answers for nothing",
			[]ownership.Claim{claim("a", holds), claim("b", minute(2), suspended), claim("c", minute(3))}, answer{"a", ""}},
		"not one that is not admitted": {"it may not act",
			[]ownership.Claim{claim("a", holds), claimIn("", "b", minute(2)), claim("c", minute(3))}, answer{"a", "c"}},
	}
	for title, c := range cases {
		t.Run(title, func(t *testing.T) {
			got := answer{name(ownership.Owner(c.claims, home)), name(ownership.Successor(c.claims, &c.claims[0]))}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

func TestDispositionOf(t *testing.T) {
	type answer struct {
		Disposition ownership.Disposition
		Other       string
	}
	me := claim("me", holds, deleting, records("XEa", created))
	meYielded := claim("me", finalizer, found, deleting, records("XEa", created))
	cases := map[string]struct {
		reason string
		claims []ownership.Claim
		want   answer
	}{
		"alone": {"nobody else answers for it", nil, answer{ownership.Remove, ""}},
		"on record of another one": {"that one removes it in its turn",
			[]ownership.Claim{me, claim("b", minute(2), finalizer, records("XEA", takenOver))}, answer{ownership.Spare, "b"}},
		"on record of another one without a finalizer": {"it may be gone at any moment, and remove nothing",
			[]ownership.Claim{me, claim("b", minute(2), lists(), records("XEa", takenOver))}, answer{ownership.Remove, ""}},
		"on record of another one that is leaving": {"two that are leaving must not rely on each other",
			[]ownership.Claim{me, claim("b", minute(2), finalizer, deleting, records("XEa", takenOver))}, answer{ownership.Remove, ""}},
		"on record of another one, of another account": {"it cannot remove it there",
			[]ownership.Claim{me, claimIn(elsewhere, "b", minute(2), finalizer, records("XEa", created))}, answer{ownership.Remove, ""}},
		"adopted by an Additive one": {"Additive never removes what it did not create, so it awaits nothing but a record of taking over",
			[]ownership.Claim{me, claim("b", minute(2), finalizer, policy(additive), records("XEa", adopted))}, answer{ownership.Await, "b"}},
		"adopted by an Authoritative one": {"Authoritative removes whatever it owns",
			[]ownership.Claim{me, claim("b", minute(2), finalizer, records("XEa", adopted))}, answer{ownership.Spare, "b"}},
		"unmanaged on record of another one": {"that it saw the add-on there makes it responsible for nothing",
			[]ownership.Claim{me, claim("b", minute(2), finalizer, lists(), records("XEa", ""))}, answer{ownership.Remove, ""}},
		"desired by the next one": {"its record is about to follow",
			[]ownership.Claim{me, claim("b", minute(2))}, answer{ownership.Await, "b"}},
		"desired by the owner": {"it yielded to the owner, which has yet to record the add-on",
			[]ownership.Claim{meYielded, claim("b", minute(2), holds)}, answer{ownership.Await, "b"}},
		"desired by one that is suspended": {"nobody knows when it would record it",
			[]ownership.Claim{me, claim("b", minute(2), suspended)}, answer{ownership.Remove, ""}},
		"desired by one that observes": {"it never records it",
			[]ownership.Claim{me, claim("b", minute(2), policy(v1alpha1.ManagementObserve))}, answer{ownership.Remove, ""}},
		"desired by an owner that is suspended": {"nobody knows when it would record it",
			[]ownership.Claim{meYielded, claim("b", minute(2), holds, suspended)}, answer{ownership.Remove, ""}},
		"desired by an owner in another account": {"what it assigns there is another assignment",
			[]ownership.Claim{meYielded, claimIn(elsewhere, "b", minute(2), holds, func(a *assignment) { a.Status.AccountSID = elsewhere })},
			answer{ownership.Remove, ""}},
		"desired by an owner that is leaving": {"it records nothing any more",
			[]ownership.Claim{meYielded, claim("b", minute(2), holds, deleting)}, answer{ownership.Remove, ""}},
		"desired by one of another account": {"the number is not there",
			[]ownership.Claim{me, claimIn(elsewhere, "b", minute(2))}, answer{ownership.Remove, ""}},
		"not on the list of an owner that is in sync": {"the owner saw the number without it",
			[]ownership.Claim{meYielded, claim("b", minute(2), holds, lists("XEb"), exact)}, answer{ownership.Gone, "b"}},
		"not on the list of an owner that has to look again": {"what it reports is about its former spec",
			[]ownership.Claim{meYielded, claim("b", minute(2), holds, lists("XEb"), exact, edited)}, answer{ownership.Remove, ""}},
		"not on the list of an owner that could not look again": {"what it reports of the number is older than what it reports of itself",
			[]ownership.Claim{meYielded, claim("b", minute(2), holds, lists("XEb"), exact, edited, func(a *assignment) { a.Status.ObservedGeneration++ })},
			answer{ownership.Remove, ""}},
		"not on the list of an owner whose status is older": {"both have to be about the spec that it has now",
			[]ownership.Claim{meYielded, claim("b", minute(2), edited, holds, lists("XEb"), exact, func(a *assignment) { a.Status.ObservedGeneration-- })},
			answer{ownership.Remove, ""}},
		"not on the list of an Additive owner": {"it reports nothing about what it leaves alone",
			[]ownership.Claim{meYielded, claim("b", minute(2), holds, lists("XEb"), exact, policy(additive))}, answer{ownership.Remove, ""}},
		"not on the list of an owner without a report": {"it has not seen the number yet",
			[]ownership.Claim{meYielded, claim("b", minute(2), holds, lists("XEb"))}, answer{ownership.Remove, ""}},
		"not on the list of one that is next": {"it has not seen the number as its owner",
			[]ownership.Claim{me, claim("b", minute(2), lists("XEb"), exact)}, answer{ownership.Remove, ""}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			disposition, other := ownership.DispositionOf(c.claims, keyOf("me"), "XEa")
			got := answer{Disposition: disposition}
			if other != nil {
				got.Other = other.Key.Name
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

// randomClaims draws up to four claims. One that holds the number has read it in the
// account in which it acts, unless it has lost the right to act.
func randomClaims(rnd *rand.Rand) []ownership.Claim {
	var claims []ownership.Claim
	flip := func() bool { return rnd.IntN(2) == 0 }
	for i := range 1 + rnd.IntN(4) {
		account := []v1alpha1.AccountSID{"", home, home, elsewhere}[rnd.IntN(4)]
		a := object(string(rune('a'+i)), minute(rnd.IntN(3)))
		if flip() {
			a.Finalizers = []string{v1alpha1.FinalizerUnassign}
		}
		if rnd.IntN(4) == 0 {
			deleting(a)
		}
		if rnd.IntN(4) == 0 {
			suspended(a)
		}
		if rnd.IntN(3) == 0 {
			records("XEa", created)(a)
		}
		switch rnd.IntN(4) {
		case 0:
			a.Status.Claim, a.Status.AccountSID = v1alpha1.ClaimHeld, account
		case 1:
			a.Status.Claim, a.Status.AccountSID = v1alpha1.ClaimYielded, []v1alpha1.AccountSID{"", home, elsewhere}[rnd.IntN(3)]
		case 2:
			absent(a)
		}
		claims = append(claims, ownership.ClaimOf(a, account, false))
	}
	return claims
}

// However the claims lie: while a number is held, at most one object acts, at most one
// takes over, and never both; and where nobody has to yield or to leave first, somebody
// acts.
func TestAtMostOneActsWhereTheNumberIsHeld(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	var seen struct{ held, tookOver, free int }
	for range 200_000 {
		claims := randomClaims(rnd)
		roles := map[ownership.Role][]string{}
		held, leaving, living := false, false, false
		for i := range claims {
			c := &claims[i]
			there := !c.Deleting || c.Finalizer
			held = held || (c.Held && there)
			leaving = leaving || (c.Held && there && (c.Deleting || c.Account == ""))
			if c.Account == "" { // the reconcile ends before it asks
				continue
			}
			living = living || !c.Deleting
			if !c.Deleting {
				role := ownership.StandingOf(claims, c.Key).Role
				roles[role] = append(roles[role], c.Key.Name)
			}
		}
		acts, takes := len(roles[ownership.Acts]), len(roles[ownership.TakesOver])
		switch {
		case held && acts > 1, takes > 1, acts > 0 && takes > 0:
			t.Fatalf("roles %v of\n%s", roles, show(claims))
		case living && !leaving && acts == 0:
			t.Fatalf("nobody acts: roles %v of\n%s", roles, show(claims))
		}
		seen.held += b(held)
		seen.tookOver += b(takes > 0)
		seen.free += b(!held)
	}
	if seen.held == 0 || seen.tookOver == 0 || seen.free == 0 {
		t.Errorf("the draw proves nothing: %+v", seen)
	}
}

func b(is bool) int {
	if is {
		return 1
	}
	return 0
}

func show(claims []ownership.Claim) string {
	var lines []string
	for i := range claims {
		c := claims[i]
		read := c.Object.Status.AccountSID
		c.Object = nil
		lines = append(lines, fmt.Sprintf("%+v read in %q", c, read))
	}
	return strings.Join(lines, "\n")
}

func TestDesires(t *testing.T) {
	a := object("line", lists("XEa", "XEB"))
	got := map[v1alpha1.AddOnSID]bool{}
	for _, s := range []v1alpha1.AddOnSID{"XEA", "XEb", "XEc"} {
		got[s] = ownership.Desires(a, s)
	}
	if diff := cmp.Diff(map[v1alpha1.AddOnSID]bool{"XEA": true, "XEb": true, "XEc": false}, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("a SID is desired in whichever spelling (-want +got):\n%s", diff)
	}
}
