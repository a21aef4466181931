// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

var (
	pn      = twiliosim.SID("PN", 1)
	xa, xb  = twiliosim.SID("XE", 1), twiliosim.SID("XE", 2)
	dayZero = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
)

// at is a time by seconds.
func at(seconds float64) time.Time {
	return dayZero.Add(time.Duration(seconds * float64(time.Second)))
}

// owned is an object that holds its number from second 0 on, and what changes on it when.
// It has on record that it assigned what it lists.
func owned(key string, changes ...func(*life)) life {
	l := life{UID: key, Key: key, Created: at(0), Versions: []version{{
		From: at(0), Until: forever, Number: pn, Account: "main", AddOns: []string{xa},
		Policy: v1alpha1.ManagementAuthoritative, Deletion: v1alpha1.DeletionDelete, Finalizer: true, Found: true,
		Claim: v1alpha1.ClaimHeld, Records: records(xa, v1alpha1.AddOnAssigned, v1alpha1.OwnershipCreated),
	}}}
	for _, change := range changes {
		change(&l)
	}
	return l
}

// since adds a version that begins at a second.
func since(seconds float64, change func(*version)) func(*life) {
	return func(l *life) {
		last := &l.Versions[len(l.Versions)-1]
		next := *last
		last.Until, next.From = at(seconds), at(seconds)
		change(&next)
		l.Versions = append(l.Versions, next)
	}
}

// always changes the first version.
func always(change func(*version)) func(*life) {
	return func(l *life) { change(&l.Versions[0]) }
}

// let is the end of an object at second 22.
func let(l *life) {
	l.Gone = at(22)
	l.Versions[len(l.Versions)-1].Until = l.Gone
}

func lists(sids ...string) func(*version) { return func(v *version) { v.AddOns = sids } }

func additive(v *version)                 { v.Policy = v1alpha1.ManagementAdditive }
func observe(v *version)                  { v.Policy = v1alpha1.ManagementObserve }
func suspended(v *version)                { v.Suspend = true }
func deleting(v *version)                 { v.Deleting = true }
func retain(v *version)                   { v.Deletion = v1alpha1.DeletionRetain }
func adopted(addOn string) func(*version) { return recorded(addOn, v1alpha1.OwnershipAdopted) }
func created(addOn string) func(*version) { return recorded(addOn, v1alpha1.OwnershipCreated) }

func recorded(addOn string, ownership v1alpha1.AddOnOwnership) func(*version) {
	return func(v *version) { v.Records = records(addOn, v1alpha1.AddOnAssigned, ownership) }
}

func records(addOn string, state v1alpha1.AddOnState, ownership v1alpha1.AddOnOwnership) []v1alpha1.AddOnStatus {
	return []v1alpha1.AddOnStatus{{SID: v1alpha1.AddOnSID(addOn), State: state, Ownership: ownership}}
}

// nothing is on record.
func nothing(v *version) { v.Records = nil }

// waiting: the object holds nothing and has nothing on record.
func waiting(v *version) { v.Finalizer, v.Claim, v.Records = false, "", nil }

// yielded: the object gave its number up, and has on record what it had before.
func yielded(v *version) { v.Claim = v1alpha1.ClaimYielded }

func toBeRemoved(sid string) func(*version) {
	return func(v *version) { v.Records = records(sid, v1alpha1.AddOnUnassigning, "") }
}

// scenario is a history in which a manager lives all the time, everybody is allowed, and
// every object was made sure of at second 20, in a pass that read the number at second 19.
func scenario(lives []life, changes ...func(*history)) *history {
	h := &history{
		Lives:    lives,
		Accounts: []accountVersion{{Name: "main", From: at(-10), Until: forever, Released: forever}},
		Rooms:    []room{{Name: "ns", Allowed: true, From: at(-10)}},
		Managers: []manager{{Name: "m", Alive: span{at(-5), forever}}},
		Calls:    []call{{Method: "GET", Number: pn, Of: "AssignedAddOns", At: at(19)}},
	}
	for i := range lives {
		h.Checks = append(h.Checks, check{Key: lives[i].Key, By: "m", At: at(20)})
	}
	for _, change := range changes {
		change(h)
	}
	return h
}

// wrote is a write of the operator at second 21.
func wrote(change twiliosim.Change, addOn string) func(*history) {
	return func(h *history) {
		h.Journal = append(h.Journal, twiliosim.Mutation{Time: at(21), Actor: twiliosim.ActorAPI, Change: change, Number: pn, AddOn: addOn})
	}
}

// console is a change by somebody else.
func console(seconds float64, addOn string) func(*history) {
	return func(h *history) {
		h.Journal = append(h.Journal, twiliosim.Mutation{Time: at(seconds), Actor: twiliosim.ActorConsole, Change: twiliosim.ChangeAssign, Number: pn, AddOn: addOn})
	}
}

// removed is an earlier removal by the operator.
func removed(seconds float64, addOn string) func(*history) {
	return func(h *history) {
		h.Journal = append(h.Journal, twiliosim.Mutation{Time: at(seconds), Actor: twiliosim.ActorAPI, Change: twiliosim.ChangeUnassign, Number: pn, AddOn: addOn})
	}
}

// posted is an earlier POST.
func posted(seconds float64, addOn string) func(*history) {
	return func(h *history) {
		h.Calls = append([]call{{Method: "POST", Number: pn, Of: "AssignedAddOns", AddOn: addOn, At: at(seconds)}}, h.Calls...)
	}
}

// has is an add-on that was on the number before the history began.
func has(addOn string) func(*history) { return console(-9, addOn) }

func TestJudgeWrite(t *testing.T) {
	assign, unassign := twiliosim.ChangeAssign, twiliosim.ChangeUnassign
	both := lists(xa, xb)
	cases := map[string]struct {
		h *history
		// says is in the verdict; empty: somebody had the right.
		says string
	}{
		"assign what is listed":             {scenario([]life{owned("ns/a")}, wrote(assign, xa)), ""},
		"assign what is not":                {scenario([]life{owned("ns/a")}, wrote(assign, xb)), "did not list"},
		"assign with no record":             {scenario([]life{owned("ns/a", always(nothing))}, wrote(assign, xa)), "not recorded beforehand"},
		"assign, recorded too late":         {scenario([]life{owned("ns/a", always(nothing), since(21.5, created(xa)))}, wrote(assign, xa)), "not recorded beforehand"},
		"assign with no finalizer":          {scenario([]life{owned("ns/a", always(func(v *version) { v.Finalizer = false }))}, wrote(assign, xa)), "no finalizer"},
		"remove what is not":                {scenario([]life{owned("ns/a")}, has(xa), wrote(unassign, xb)), ""},
		"remove, the listed one is missing": {scenario([]life{owned("ns/a")}, wrote(unassign, xb)), "was not assigned"},
		"remove, the listed one has just gone": {scenario([]life{owned("ns/a")}, has(xa), func(h *history) {
			h.Journal = append(h.Journal, twiliosim.Mutation{Time: at(19.5), Actor: twiliosim.ActorConsole, Change: unassign, Number: pn, AddOn: xa})
		}, wrote(unassign, xb)), ""},
		"remove, the listed one had gone": {scenario([]life{owned("ns/a")}, has(xa), func(h *history) {
			h.Journal = append(h.Journal, twiliosim.Mutation{Time: at(10), Actor: twiliosim.ActorConsole, Change: unassign, Number: pn, AddOn: xa})
		}, wrote(unassign, xb)), "was not assigned"},
		"remove what is listed":   {scenario([]life{owned("ns/a")}, wrote(unassign, xa)), "it listed the add-on"},
		"nobody made sure":        {scenario([]life{owned("ns/a")}, wrote(assign, xa), func(h *history) { h.Checks = nil }), "no manager had made sure"},
		"nobody names the number": {scenario(nil, wrote(assign, xa)), "nobody had the right"},
		"suspended":               {scenario([]life{owned("ns/a", always(suspended))}, wrote(unassign, xb)), "suspended"},
		"observing":               {scenario([]life{owned("ns/a", always(observe))}, wrote(unassign, xb)), "observing"},
		"edited before the check": {scenario([]life{owned("ns/a", since(19.9, lists(xb)))}, wrote(assign, xa)), "did not list"},
		"edited long after the check": {scenario([]life{owned("ns/a", since(20.1, lists(xb)))}, func(h *history) {
			h.Journal = append(h.Journal, twiliosim.Mutation{Time: at(25), Actor: twiliosim.ActorAPI, Change: assign, Number: pn, AddOn: xa})
		}), "did not list"},
		"edited long after the check, while no event passed": {scenario([]life{owned("ns/a", since(20.1, lists(xb)))}, func(h *history) {
			h.Managers[0].Behind = []span{{at(20), at(24.5)}}
			h.Journal = append(h.Journal, twiliosim.Mutation{Time: at(25), Actor: twiliosim.ActorAPI, Change: assign, Number: pn, AddOn: xa})
		}), ""},
		"edited after the check":   {scenario([]life{owned("ns/a", since(20.1, lists(xb)))}, wrote(assign, xa)), ""},
		"listed before the check":  {scenario([]life{owned("ns/a", since(20.1, both))}, has(xa), wrote(unassign, xb)), ""},
		"released after the check": {scenario([]life{owned("ns/a", since(1, suspended), since(20.5, func(v *version) { v.Suspend = false }))}, has(xa), wrote(unassign, xb)), ""},
		"additive, somebody's":     {scenario([]life{owned("ns/a", always(additive))}, has(xa), console(1, xb), wrote(unassign, xb)), "is Additive"},
		"additive, its own":        {scenario([]life{owned("ns/a", always(additive), always(lists()), always(created(xb)))}, wrote(assign, xb), wrote(unassign, xb)), ""},
		"additive, adopted by now": {scenario([]life{owned("ns/a", always(additive), always(lists()), always(created(xb)), since(16, adopted(xb)))},
			posted(6, xb), console(17, xb), wrote(unassign, xb)), "is Additive"},
		"additive, taken over": {scenario([]life{owned("ns/a", always(additive), always(lists()), always(recorded(xb, v1alpha1.OwnershipTakenOver)))},
			wrote(assign, xb), wrote(unassign, xb)), ""},
		"additive, on record after somebody else": {scenario([]life{owned("ns/a", always(additive), always(lists()), always(nothing), since(15, created(xb)))},
			console(5, xb), wrote(unassign, xb)), "is Additive"},
		"additive, asked for after somebody else": {scenario([]life{owned("ns/a", always(additive), always(lists()), always(nothing), since(15, created(xb)))},
			console(5, xb), posted(6, xb), wrote(unassign, xb)), ""},
		"deleted with Delete":   {scenario([]life{owned("ns/a", since(15, deleting))}, wrote(unassign, xa)), ""},
		"deleted, a stranger's": {scenario([]life{owned("ns/a", since(15, deleting))}, wrote(unassign, xb)), "never its own"},
		"deleted, was to remove it": {scenario([]life{owned("ns/a", since(10, toBeRemoved(twiliosim.AssignmentSID(pn, xb))), since(15, deleting))},
			wrote(unassign, xb)), ""},
		"deleted, assigns": {scenario([]life{owned("ns/a", since(15, deleting))}, wrote(assign, xa)), "being deleted"},
		"deleted, to be taken over": {scenario([]life{owned("ns/a", since(15, deleting)), owned("ns/b", always(waiting))}, wrote(unassign, xa)),
			"the next owner was to take"},
		"deleted, waited in vain": {scenario([]life{owned("ns/a", since(-50, deleting)), owned("ns/b", always(waiting))}, wrote(unassign, xa)), ""},
		"deleted, handed over": {scenario([]life{owned("ns/a", since(-50, deleting)), owned("ns/b", always(yielded))}, wrote(unassign, xa)),
			"another object had the add-on on record"},
		"deleted, the other one as well": {scenario([]life{owned("ns/a", since(15, deleting)), owned("ns/b", always(yielded), since(15, deleting))},
			wrote(unassign, xa)), ""},
		"deleted, the next one came too late to be known": {scenario([]life{
			owned("ns/a", since(15, deleting)), owned("ns/b", always(waiting), func(l *life) { l.Versions[0].From = at(18.5) }),
		}, wrote(unassign, xa)), ""},
		"deleted, not its owner any more": {scenario([]life{
			owned("ns/a", since(1, yielded), since(15, deleting)), owned("ns/b", always(lists()), always(nothing)),
		}, wrote(unassign, xa)), ""},
		"deleted, lists what it has not on record": {scenario([]life{
			owned("ns/a", always(nothing), since(1, yielded), since(15, deleting)), owned("ns/b", always(additive), always(lists()), always(nothing)),
		}, wrote(unassign, xa)), "did not own"},
		"deleted with Retain": {scenario([]life{owned("ns/a", always(retain), since(15, deleting))}, wrote(unassign, xa)), "Retain"},
		"Retain just before":  {scenario([]life{owned("ns/a", since(15, deleting), since(19.9, retain))}, wrote(unassign, xa)), "Retain"},
		"deleted, Additive":   {scenario([]life{owned("ns/a", always(additive), always(nothing), since(15, deleting))}, console(1, xa), wrote(unassign, xa)), "is Additive"},
		"the loser removes": {scenario([]life{
			owned("ns/a"), owned("ns/b", always(waiting), always(lists())),
		}, wrote(unassign, xa)), "did not own"},
		"the loser assigns": {scenario([]life{
			owned("ns/a", always(lists())), owned("ns/b", always(waiting), always(created(xa)), always(func(v *version) { v.Finalizer = true })),
		}, wrote(assign, xa)), "did not own"},
		"the other one had just claimed it": {scenario([]life{
			owned("ns/a", always(func(v *version) { v.Claim = "" })), owned("ns/b", always(waiting), always(lists()), since(20.5, func(v *version) {
				v.Claim, v.Seen = v1alpha1.ClaimHeld, at(20.6)
			})),
		}, wrote(assign, xa)), "ns/b held the number"},
		"not allowed any more": {scenario([]life{owned("ns/a")}, wrote(assign, xa), func(h *history) {
			h.Rooms = append(h.Rooms, room{Name: "ns", From: at(17)})
		}), "did not own"},
		"the one that holds it is not allowed any more": {scenario([]life{
			owned("other/a", always(lists())), owned("ns/b", always(yielded)),
		}, wrote(assign, xa)), "did not own"},
		"the one that held it yielded": {scenario([]life{
			owned("other/a", always(lists()), since(10, yielded)), owned("ns/b", always(yielded)),
		}, wrote(assign, xa)), ""},
		"not allowed since a moment": {scenario([]life{owned("ns/a")}, wrote(assign, xa), func(h *history) {
			h.Rooms = append(h.Rooms, room{Name: "ns", From: at(18.5)})
		}), ""},
		"not allowed, while no event passed": {scenario([]life{owned("ns/a")}, wrote(assign, xa), func(h *history) {
			h.Rooms = append(h.Rooms, room{Name: "ns", From: at(11)})
			h.Managers[0].Behind = []span{{at(10), at(18)}}
		}), ""},
		"account gone": {scenario([]life{owned("ns/a")}, wrote(assign, xa), func(h *history) { h.Accounts[0].Until = at(10) }), "did not own"},
		"another manager stood still": {scenario([]life{owned("ns/a", since(15, lists(xb)))}, wrote(assign, xa), func(h *history) {
			h.Managers = append(h.Managers, manager{Name: "old", Alive: span{at(-5), forever}, Behind: []span{{at(14.5), at(20.5)}}})
			h.Checks = append([]check{{Key: "ns/a", By: "old", At: at(14)}}, h.Checks...)
		}), ""},
		"another manager had ended": {scenario([]life{owned("ns/a", since(15, lists(xb)))}, wrote(assign, xa), func(h *history) {
			h.Managers = append(h.Managers, manager{Name: "old", Alive: span{at(-5), at(16)}})
			h.Checks = append([]check{{Key: "ns/a", By: "old", At: at(14)}}, h.Checks...)
		}), "did not list"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			h := c.h
			err := h.judgeWrite(&h.Journal[len(h.Journal)-1])
			if c.h.Journal[len(h.Journal)-1].Actor != twiliosim.ActorAPI {
				t.Fatal("the last change is not the operator's")
			}
			compare(t, err, c.says)
		})
	}
}

func compare(t *testing.T, err error, says string) {
	t.Helper()
	switch {
	case says == "" && err != nil:
		t.Errorf("wrongly said: %v", err)
	case says != "" && (err == nil || !strings.Contains(err.Error(), says)):
		t.Errorf("said %v, want one that says %q", err, says)
	}
}

func TestJudgeRelease(t *testing.T) {
	otherSIDs := func(h *history) { h.OtherSIDs = true }
	otherSID := func(v *version) {
		v.Records = records(xa, v1alpha1.AddOnAssigned, v1alpha1.OwnershipCreated)
		v.Records[0].AssignedSID = v1alpha1.AddOnSID(twiliosim.AssignmentSID(pn, xa))
	}
	stripped := func(l *life) { l.Stripped = at(16) }
	cases := map[string]struct {
		h    *history
		left bool
	}{
		"left":            {scenario([]life{owned("ns/a", since(15, deleting), let)}, console(1, xa)), true},
		"not its own":     {scenario([]life{owned("ns/a", since(15, deleting), let)}, console(1, xb)), false},
		"added meanwhile": {scenario([]life{owned("ns/a", since(15, deleting), let)}, console(21, xa)), false},
		"removed":         {scenario([]life{owned("ns/a", since(15, deleting), let)}, console(1, xa), wrote(twiliosim.ChangeUnassign, xa)), false},
		"removed, and assigned anew": {scenario([]life{owned("ns/a", since(15, deleting), let)},
			console(1, xa), removed(17, xa), console(17.5, xa)), false},
		"assigned anew before": {scenario([]life{owned("ns/a", since(15, deleting), let)},
			console(1, xa), removed(14, xa), console(17.5, xa)), true},
		"Retain":               {scenario([]life{owned("ns/a", always(retain), since(15, deleting), let)}, console(1, xa)), false},
		"suspended":            {scenario([]life{owned("ns/a", since(15, deleting), since(16, suspended), let)}, console(1, xa)), false},
		"Additive, adopted":    {scenario([]life{owned("ns/a", always(additive), always(adopted(xa)), since(15, deleting), let)}, console(1, xa)), false},
		"Additive, created":    {scenario([]life{owned("ns/a", always(additive), since(15, deleting), let)}, console(1, xa)), true},
		"never told its SID":   {scenario([]life{owned("ns/a", always(nothing), since(15, deleting), let)}, console(1, xa), otherSIDs), false},
		"seen, but not known":  {scenario([]life{owned("ns/a", always(toBeRemoved(twiliosim.AssignmentSID(pn, xa))), since(15, deleting), let)}, console(1, xa), otherSIDs), false},
		"its SID is on record": {scenario([]life{owned("ns/a", always(otherSID), since(15, deleting), let)}, console(1, xa), otherSIDs), true},
		"by force": {scenario([]life{owned("ns/a", since(15, deleting), let, func(l *life) { l.Forced = at(21) })},
			console(1, xa)), false},
		"its finalizer was not put back": {scenario([]life{owned("ns/a", since(16, func(v *version) { v.Finalizer = false }), let, stripped)}, console(1, xa)), false},
		"its finalizer was put back":     {scenario([]life{owned("ns/a", since(15, deleting), let, stripped)}, console(1, xa)), true},
		"never claimed":                  {scenario([]life{owned("ns/a", always(waiting), let)}, console(1, xa)), false},
		"on record of another one": {scenario([]life{
			owned("ns/a", since(15, deleting), let), owned("ns/b", always(yielded)),
		}, console(1, xa)), false},
		"adopted by both": {scenario([]life{
			owned("ns/a", always(adopted(xa)), since(15, deleting), let), owned("ns/b", always(additive), always(adopted(xa)), always(yielded)),
		}, console(1, xa)), false},
		"created, adopted by the other one": {scenario([]life{
			owned("ns/a", since(15, deleting), let), owned("ns/b", always(additive), always(adopted(xa)), always(yielded)),
		}, console(1, xa)), true},
		"on record of one that goes too": {scenario([]life{
			owned("ns/a", since(15, deleting), let), owned("ns/b", always(yielded), since(-20, deleting)),
		}, console(1, xa)), true},
		"listed by another one": {scenario([]life{
			owned("ns/a", since(15, deleting), let), owned("ns/b", always(waiting)),
		}, console(1, xa)), true},
		"another owner, not its list": {scenario([]life{
			owned("ns/b", since(1, yielded), since(15, deleting), let), owned("ns/a", always(lists(xb)), always(nothing)),
		}, wrote(twiliosim.ChangeAssign, xa)), true},
		"another owner has seen it gone": {scenario([]life{
			owned("ns/b", since(1, yielded), since(15, deleting), let),
			owned("ns/a", always(lists(xb)), always(nothing), always(func(v *version) { v.Exact = true })),
		}, console(1, xa)), false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			wrong := c.h.judgeRelease(&c.h.Lives[0])
			if (len(wrong) > 0) != c.left {
				t.Errorf("said %v, want something: %t", wrong, c.left)
			}
		})
	}
}

func TestJudgeLast(t *testing.T) {
	assigned := wrote(twiliosim.ChangeAssign, xa)
	gone := func(l *life) { l.Gone = at(23); l.Versions[len(l.Versions)-1].Until = l.Gone }
	cases := map[string]struct {
		h    *history
		left bool
	}{
		"it stays":                           {scenario([]life{owned("ns/a", since(15, deleting), gone)}, assigned), true},
		"somebody's":                         {scenario([]life{owned("ns/a", since(15, deleting), gone)}, console(1, xa)), false},
		"removed":                            {scenario([]life{owned("ns/a", since(15, deleting), gone)}, assigned, wrote(twiliosim.ChangeUnassign, xa)), false},
		"kept":                               {scenario([]life{owned("ns/a", always(retain), since(15, deleting), gone)}, assigned), false},
		"kept by another one":                {scenario([]life{owned("ns/a", always(nothing), gone), owned("ns/b", always(retain), since(15, deleting), let)}, assigned), false},
		"left by force before":               {scenario([]life{owned("ns/a", always(nothing), gone), owned("ns/b", let, func(l *life) { l.Forced = at(21) })}, assigned), false},
		"left to another one that forgot it": {scenario([]life{owned("ns/a", always(nothing), gone), owned("ns/b", since(15, deleting), let)}, assigned), true},
		"another one is there":               {scenario([]life{owned("ns/a", since(15, deleting), gone), owned("ns/b", always(nothing))}, assigned), false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			wrong := c.h.judgeLast(&c.h.Lives[0])
			if (len(wrong) > 0) != c.left {
				t.Errorf("said %v, want something: %t", wrong, c.left)
			}
		})
	}
}

func TestJudgeGivenUp(t *testing.T) {
	const buy, release = twiliosim.ChangeBuy, twiliosim.ChangeRelease
	was := func(seconds float64, change twiliosim.Change) func(*history) {
		return func(h *history) {
			h.Journal = append(h.Journal, twiliosim.Mutation{Time: at(seconds), Actor: twiliosim.ActorConsole, Change: change, Number: pn})
		}
	}
	givesUp := func(seconds float64) life {
		return owned("ns/a", since(seconds, func(v *version) { v.Found, v.Seen = false, v.From.Add(receipt) }))
	}
	cases := map[string]struct {
		h     *history
		wrong bool
	}{
		"there":              {scenario([]life{givesUp(100)}, was(-9, buy)), true},
		"gone just now":      {scenario([]life{givesUp(100)}, was(-9, buy), was(60, release)), true},
		"gone for a minute":  {scenario([]life{givesUp(100)}, was(-9, buy), was(39, release)), false},
		"back in the minute": {scenario([]life{givesUp(100)}, was(-9, buy), was(10, release), was(60, buy), was(61, release)), true},
		"back afterwards":    {scenario([]life{givesUp(100)}, was(-9, buy), was(39, release), was(101, buy)), false},
		"never there":        {scenario([]life{givesUp(100)}), false},
		"not given up":       {scenario([]life{owned("ns/a")}, was(-9, buy), was(60, release)), false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if wrong := c.h.judgeGivenUp(&c.h.Lives[0]); (len(wrong) > 0) != c.wrong {
				t.Errorf("said %v, want something: %t", wrong, c.wrong)
			}
		})
	}
}

func TestJudgeRefusals(t *testing.T) {
	says := func(seconds float64, state v1alpha1.AddOnState) func(*life) {
		return since(seconds, func(v *version) { v.Records, v.Seen = records(xa, state, ""), v.From.Add(receipt) })
	}
	const missing, assigning, rejected = v1alpha1.AddOnMissing, v1alpha1.AddOnAssigning, v1alpha1.AddOnRejected
	cases := map[string]struct {
		h     *history
		wrong bool
	}{
		"at once":           {scenario([]life{owned("ns/a", says(10, rejected))}, posted(9.9, xa)), true},
		"after two seconds": {scenario([]life{owned("ns/a", says(10, rejected))}, posted(9.9, xa), posted(7.9, xa)), false},
		"of another add-on": {scenario([]life{owned("ns/a", says(10, rejected))}, posted(9.9, xa), posted(7.9, xb)), true},
		"tried again":       {scenario([]life{owned("ns/a", says(10, rejected), says(11, assigning), says(12, rejected))}, posted(7.9, xa)), false},
		"never":             {scenario([]life{owned("ns/a", says(10, missing))}, posted(9.9, xa)), false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if wrong := c.h.judgeRefusals(&c.h.Lives[0]); (len(wrong) > 0) != c.wrong {
				t.Errorf("said %v, want something: %t", wrong, c.wrong)
			}
		})
	}
}

func TestJudgeRecords(t *testing.T) {
	unmanaged := func(v *version) {
		v.Records = []v1alpha1.AddOnStatus{{SID: v1alpha1.AddOnSID(xa), State: v1alpha1.AddOnUnmanaged}}
	}
	missing := func(v *version) {
		v.Records = []v1alpha1.AddOnStatus{{SID: v1alpha1.AddOnSID(xa), State: v1alpha1.AddOnMissing}}
	}
	assigned := wrote(twiliosim.ChangeAssign, xa)
	cases := map[string]struct {
		h     *history
		wrong bool
	}{
		"created":                {scenario([]life{owned("ns/a", since(22, created(xa)))}, assigned), false},
		"adopted, and its own":   {scenario([]life{owned("ns/a", since(22, adopted(xa)))}, assigned), true},
		"unmanaged, and its own": {scenario([]life{owned("ns/a", since(22, unmanaged))}, assigned), true},
		"not listed yet":         {scenario([]life{owned("ns/a", since(22, missing))}, assigned), false},
		"adopted by now":         {scenario([]life{owned("ns/a", since(22, adopted(xa)))}, assigned, console(21.5, xa)), false},
		"the console's":          {scenario([]life{owned("ns/a", since(22, adopted(xa)))}, console(1, xa)), false},
		"removed just now": {scenario([]life{owned("ns/a", since(22, unmanaged))}, assigned, func(h *history) {
			h.Journal = append(h.Journal, twiliosim.Mutation{Time: at(22).Add(receipt), Actor: twiliosim.ActorAPI, Change: twiliosim.ChangeUnassign, Number: pn, AddOn: xa})
		}), false},
		"assigned afterwards": {scenario([]life{owned("ns/a", since(20.5, adopted(xa)))}, assigned), false},
		"another object's":    {scenario([]life{owned("ns/a", always(waiting), since(22, adopted(xa))), owned("ns/b")}, assigned), false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if wrong := c.h.judgeRecords(&c.h.Lives[0]); (len(wrong) > 0) != c.wrong {
				t.Errorf("said %v, want something: %t", wrong, c.wrong)
			}
		})
	}
}

func TestJudgeAccount(t *testing.T) {
	goneSeen := func(h *history) { h.Accounts[0].Until = at(22) }
	gone := func(h *history) { goneSeen(h); h.Accounts[0].Released = at(22) }
	goneBefore := func(h *history) { goneSeen(h); h.Accounts[0].Released = at(20) }
	cases := map[string]struct {
		h     *history
		wrong bool
	}{
		"stays":               {scenario([]life{owned("ns/a")}), false},
		"in use":              {scenario([]life{owned("ns/a")}, gone), true},
		"used by none":        {scenario([]life{owned("ns/a", always(func(v *version) { v.Account = "other" }))}, gone), false},
		"by force":            {scenario([]life{owned("ns/a")}, gone, func(h *history) { h.Accounts[0].Forced = true }), false},
		"after its last user": {scenario([]life{owned("ns/a", func(l *life) { l.Gone, l.Versions[0].Until = at(21.5), at(21.5) })}, gone), false},
		"while one came":      {scenario([]life{owned("ns/a", func(l *life) { l.Versions[0].From = at(21.5) })}, gone), false},
		"while one came, and its end was seen late": {scenario([]life{owned("ns/a", func(l *life) { l.Versions[0].From = at(19.5) })}, goneBefore), false},
		"in use, and its end was seen late":         {scenario([]life{owned("ns/a", func(l *life) { l.Versions[0].From = at(18) })}, goneBefore), true},
		"one that was not seen": {scenario([]life{owned("ns/a", func(l *life) { l.Versions[0].From = at(15) })}, gone, func(h *history) {
			h.Managers[0].Behind = []span{{at(10), at(21.5)}}
		}), false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if wrong := c.h.judgeAccount(&c.h.Accounts[0]); (len(wrong) > 0) != c.wrong {
				t.Errorf("said %v, want something: %t", wrong, c.wrong)
			}
		})
	}
}

// TestJudgeTenures has manager b take an account over from a at second 10, and one of them
// write at second 21.
func TestJudgeTenures(t *testing.T) {
	cases := map[string]struct {
		reason, writer string
		change         func(*history)
		wrong          int
	}{
		"its own":       {"the account names the writer", "b", nil, 0},
		"no more":       {"the account names another manager", "a", nil, 1},
		"not told":      {"the writer died before it told", "", nil, 0},
		"the other one": {"another TwilioAccount of the SID names the writer", "a", func(h *history) { h.Tenures[0].Until, h.Tenures[0].Account = forever, "second" }, 0},
		"another SID":   {"the TwilioAccount that names the writer is for another SID", "a", func(h *history) { h.Tenures[0].Until, h.Tenures[0].SID = forever, "AC2" }, 1},
		"gone": {"the account that named the writer was deleted by force a moment before", "a", func(h *history) {
			h.Tenures[0].Until, h.Tenures[0].Gone = at(20.5), true
		}, 0},
		"gone before": {"the account that named the writer was deleted by force long before", "a", func(h *history) {
			h.Tenures[0].Until, h.Tenures[0].Gone = at(15), true
		}, 1},
		"handed over": {"the account stopped naming the writer a moment before", "a", func(h *history) { h.Tenures[0].Until = at(20.5) }, 1},
		"stood still": {"the writer stood still, and others took over", "a", func(h *history) {
			h.Managers = append(h.Managers, manager{Lease: "a", Paused: []span{{at(8), at(20.5)}}})
		}, 0},
		"stood still before": {"the writer stood still long before", "a", func(h *history) {
			h.Managers = append(h.Managers, manager{Lease: "a", Paused: []span{{at(2), at(5)}}})
		}, 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			h := scenario(nil, wrote(twiliosim.ChangeAssign, xa))
			h.Journal[0].RequestID, h.Journal[0].Account = "RQ1", "AC1"
			h.Tenures = []tenure{{"main", "AC1", "a", at(0), at(10), false}, {"main", "AC1", "b", at(9), forever, false}}
			if c.writer != "" {
				h.Writers = map[string]string{"RQ1": c.writer}
			}
			if c.change != nil {
				c.change(h)
			}
			if wrong := h.judgeTenures(); len(wrong) != c.wrong {
				t.Errorf("%s: %v, want %d", c.reason, wrong, c.wrong)
			}
		})
	}
}

// TestTenures follows an account from manager to manager, and to its end.
func TestTenures(t *testing.T) {
	e := newRecorder()
	for i, manager := range []string{"", "a", "a", "", "b"} {
		account := &v1alpha1.TwilioAccount{}
		account.Name, account.UID, account.ResourceVersion = "main", "uid", fmt.Sprint(i+1)
		account.Spec.AccountSID, account.Status.Manager = "AC1", manager
		e.sighted = append(e.sighted, sighting{at: at(float64(10 * i)), since: at(float64(10*i - 1)), account: account})
	}
	e.sighted = append(e.sighted, sighting{at: at(50), account: e.sighted[4].account, gone: true})
	got := e.tenures(map[string]time.Time{"5": at(38)}) // the write that made version 5 began earlier
	want := []tenure{{"main", "AC1", "a", at(9), at(30), false}, {"main", "AC1", "b", at(38), at(50), true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestWinner(t *testing.T) {
	older, younger := &life{UID: "older", Key: "ns/z", Created: at(0)}, &life{UID: "younger", Key: "ns/a", Created: at(1)}
	twin := &life{UID: "twin", Key: "ns/a", Created: at(0)}
	of := func(l *life, changes ...func(*claim)) claim {
		c := claim{life: l, version: &version{Finalizer: true}, admitted: true}
		for _, change := range changes {
			change(&c)
		}
		return c
	}
	held, absent := func(c *claim) { c.held = true }, func(c *claim) { c.absent = true }
	barred, departs := func(c *claim) { c.admitted = false }, func(c *claim) { c.version.Deleting = true }
	cases := map[string]struct {
		reason string
		claims []claim
		want   string
	}{
		"nobody":                   {"no claim, no owner", nil, ""},
		"oldest":                   {"nobody holds the number", []claim{of(younger), of(older)}, "older"},
		"by name":                  {"the same second", []claim{of(older), of(twin)}, "twin"},
		"holder":                   {"who holds the number keeps it", []claim{of(older), of(younger, held)}, "younger"},
		"absent":                   {"an object whose account lacks the number cannot own it", []claim{of(older, absent), of(younger)}, "younger"},
		"nowhere":                  {"nobody owns a number that no account has", []claim{of(older, absent), of(younger, absent)}, ""},
		"barred":                   {"an object that is not admitted cannot own it", []claim{of(older, held, barred), of(younger)}, "younger"},
		"departing":                {"a departing object owns the number while it holds it", []claim{of(older), of(younger, held, departs)}, "younger"},
		"departing, holds nothing": {"an object that goes and holds nothing is no owner", []claim{of(older, departs), of(younger)}, "younger"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := ""
			if w := winner(c.claims); w != nil {
				got = w.life.UID
			}
			if got != c.want {
				t.Errorf("%s: the owner is %q, want %q", c.reason, got, c.want)
			}
		})
	}
}

func TestCheckChangeLog(t *testing.T) {
	change := func(sid string) string {
		return `{"logger":"changes","verb":"Assign","number":"` + pn + `","addOn":"` + sid + `"}` + "\n"
	}
	other := twiliosim.AssignmentSID(pn, xa)
	cases := map[string]struct {
		reason, log string
		untold      int
	}{
		"told":           {"each change has a line", change(xa) + "no JSON\n" + change(xb), 0},
		"told in part":   {"one line is of one change", change(xa), 1},
		"told elsewhere": {"a line of another logger is none", strings.ReplaceAll(change(xa)+change(xb), "changes", "other"), 2},
		"another SID":    {"the line names the SID that Twilio returned", change(other) + change(xb), 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			h := scenario(nil, wrote(twiliosim.ChangeAssign, xa), wrote(twiliosim.ChangeAssign, xb), console(1, xa))
			if untold := checkChangeLog(h.Journal, []string{c.log}); len(untold) != c.untold {
				t.Errorf("%s: %v, want %d", c.reason, untold, c.untold)
			}
		})
	}
}

func TestShorten(t *testing.T) {
	needs := func(numbers ...int) func(context.Context, plan) (*outcome, error) {
		return func(_ context.Context, p plan) (*outcome, error) {
			o := &outcome{plan: p}
			for i := range p.steps {
				o.started = append(o.started, at(float64(i)))
			}
			for _, n := range numbers {
				if !slices.Contains(p.numbers(), n) {
					return o, nil
				}
			}
			last := slices.Index(p.numbers(), numbers[len(numbers)-1])
			o.violations = []error{wrongAt(at(float64(last)+0.5), "wrong")}
			return o, nil
		}
	}
	for _, numbers := range [][]int{{1}, {20}, {3, 17}, {5, 6, 7, 8}, {1, 10, 20}} {
		again := needs(numbers...)
		failed, err := again(t.Context(), newPlan(7, 20))
		if err != nil {
			t.Fatal(err)
		}
		if got := failed.needed(); got != numbers[len(numbers)-1] {
			t.Errorf("%v: %d steps are needed", numbers, got)
		}
		if got := shorten(t.Context(), failed, time.Minute, again).plan.numbers(); !slices.Equal(got, numbers) {
			t.Errorf("what fails with %v was shortened to %v", numbers, got)
		}
	}
}

// A version that is seen late was there when the write of it began, however late that is.
func TestWritten(t *testing.T) {
	at := func(seconds int) time.Time { return time.Date(2026, 1, 1, 0, 0, seconds, 0, time.UTC) }
	write := func(version string, start int) testenv.APIRequest {
		return testenv.APIRequest{Method: http.MethodPatch, Resource: "phonenumberaddonassignments/status", Version: version, Start: at(start)}
	}
	elsewhere := write("7", 1)
	elsewhere.Resource = "secrets"
	cases := map[string]struct {
		requests []testenv.APIRequest
		want     int
	}{
		"no write":           {nil, 20},
		"seen late":          {[]testenv.APIRequest{write("7", 3)}, 3},
		"seen at once":       {[]testenv.APIRequest{write("7", 21)}, 20},
		"of another version": {[]testenv.APIRequest{write("6", 3)}, 20},
		"changed nothing":    {[]testenv.APIRequest{write("7", 12), write("7", 5), write("7", 14)}, 5},
		"of something else":  {[]testenv.APIRequest{elsewhere}, 20},
	}
	for name, c := range cases {
		a := &v1alpha1.PhoneNumberAddOnAssignment{}
		a.ResourceVersion = "7"
		s := sighting{assignment: a, since: at(20), at: at(21)}
		if from := s.written(writesOf(c.requests)); !from.Equal(at(c.want)) {
			t.Errorf("%s: it may have been there from %s", name, from)
		}
	}
}

// An account is let go by the last write to it that took effect.
func TestReleasedBy(t *testing.T) {
	write := func(start float64, change func(*testenv.APIRequest)) testenv.APIRequest {
		q := testenv.APIRequest{Method: http.MethodPatch, Resource: "twilioaccounts", Name: "main", Status: http.StatusOK, Start: at(start)}
		change(&q)
		return q
	}
	as := func(*testenv.APIRequest) {}
	requests := []testenv.APIRequest{
		write(5, as), write(11, as), write(14, as),
		write(15, func(q *testenv.APIRequest) { q.Name = "other" }),
		write(16, func(q *testenv.APIRequest) { q.Resource = "twilioaccounts/status" }),
		write(17, func(q *testenv.APIRequest) { q.Status = http.StatusConflict }),
		write(18, func(q *testenv.APIRequest) { q.Method = http.MethodGet }),
		write(25, as),
	}
	if got := releasedBy(requests, "main", at(10), at(20)); !got.Equal(at(14)) {
		t.Errorf("let go at %s, want %s", got, at(14))
	}
	if got := releasedBy(requests, "main", at(19), at(20)); !got.Equal(at(20)) {
		t.Errorf("let go at %s without a write, want %s", got, at(20))
	}
}

// The seeds of make test are chosen, so that nothing is left to chance in what they do.
func TestFixedSeeds(t *testing.T) {
	missing := map[string]bool{}
	for _, a := range slices.Concat(people(), world(), contention(), twilioFaults(), apiFaults(), crashes(), masses(), moves(), outages()) {
		missing[a.kind] = true
	}
	var calm, differentSIDs, shortPages, tight, sharded bool
	for _, seed := range fixedSeeds {
		p := newPlan(seed, fixedSteps)
		calm, differentSIDs, shortPages, tight = calm || p.calm, differentSIDs || p.differentSIDs, shortPages || p.shortPages, tight || p.tight
		sharded = sharded || p.sharded
		for i := range p.steps {
			delete(missing, p.steps[i].kind)
		}
	}
	if len(missing) > 0 || !calm || !differentSIDs || !shortPages || !tight || !sharded {
		t.Errorf("they lack %v; one is calm: %t, one has other SIDs: %t, one has short pages: %t, one is tight: %t, one has two managers: %t",
			slices.Collect(maps.Keys(missing)), calm, differentSIDs, shortPages, tight, sharded)
	}
}

func TestParseReplay(t *testing.T) {
	p, err := parseReplay("7/20:2,5")
	if err != nil {
		t.Fatal(err)
	}
	if got := p.replay(); got != "7/20:2,5" {
		t.Errorf("it becomes %s", got)
	}
	whole := newPlan(7, 20)
	if p.steps[1].words != whole.steps[4].words {
		t.Errorf("step 5 is %q, and in the whole plan %q", p.steps[1].words, whole.steps[4].words)
	}
	for _, bad := range []string{"", "7", "7/", "x/3", "7/0", "7/3:4", "7/3:x"} {
		if _, err := parseReplay(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// A manager has made sure of an object by what the API server carried out under the lock,
// also if the answer was lost or came when the manager was dead; by a refusal it has not.
func TestChecksOf(t *testing.T) {
	request := func(method string, status int, fault testenv.APIFault) testenv.APIRequest {
		return testenv.APIRequest{Method: method, Resource: "phonenumberaddonassignments/status", Namespace: "ns", Name: "a", Status: status, Fault: fault}
	}
	cases := map[string]struct {
		request testenv.APIRequest
		want    int
	}{
		"read":                      {request("GET", 200, testenv.APIFine), 1},
		"read, and nobody there":    {request("GET", 0, testenv.APIFine), 0},
		"written":                   {request("PATCH", 200, testenv.APIFine), 1},
		"written, the answer lost":  {request("PATCH", 0, testenv.APILost), 1},
		"written, and nobody there": {request("PATCH", 0, testenv.APIFine), 1},
		"never arrived":             {request("PATCH", 0, testenv.APIReset), 0},
		"refused":                   {request("PATCH", 409, testenv.APIFine), 0},
	}
	for name, c := range cases {
		if got := len(checksOf([]testenv.APIRequest{c.request})); got != c.want {
			t.Errorf("%s: %d checks, want %d", name, got, c.want)
		}
	}
}
