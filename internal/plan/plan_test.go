// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/plan"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/sid"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

const (
	authoritative = v1alpha1.ManagementAuthoritative
	additive      = v1alpha1.ManagementAdditive
	observe       = v1alpha1.ManagementObserve

	created   = v1alpha1.OwnershipCreated
	adopted   = v1alpha1.OwnershipAdopted
	takenOver = v1alpha1.OwnershipTakenOver
)

type sids = []v1alpha1.AddOnSID

// record is an add-on on record as assigned.
func record(s string, ownership v1alpha1.AddOnOwnership) v1alpha1.AddOnStatus {
	return v1alpha1.AddOnStatus{SID: v1alpha1.AddOnSID(s), State: v1alpha1.AddOnAssigned, Ownership: ownership}
}

// returned is the record of an add-on that Twilio gave another SID.
func returned(s, assigned string, ownership v1alpha1.AddOnOwnership) v1alpha1.AddOnStatus {
	r := record(s, ownership)
	r.AssignedSID = v1alpha1.AddOnSID(assigned)
	return r
}

func listed(all ...string) []twilio.AssignedAddOn {
	var addOns []twilio.AssignedAddOn
	for _, s := range all {
		addOns = append(addOns, twilio.AssignedAddOn{SID: s})
	}
	return addOns
}

func on(s string) *twilio.AssignedAddOn { return &twilio.AssignedAddOn{SID: s} }

func TestMake(t *testing.T) {
	createdA, createdB, adoptedB := record("XEa", created), record("XEb", created), record("XEb", adopted)
	aIsZ := returned("XEa", "XEz", created)
	aAdoptedAsZ := returned("XEa", "XEz", adopted)
	rejectedA := v1alpha1.AddOnStatus{SID: "XEa", State: v1alpha1.AddOnRejected, Ownership: created}
	rejectedB := v1alpha1.AddOnStatus{SID: "XEb", State: v1alpha1.AddOnRejected}
	upperA, takenA := record("XEA", created), record("XEa", takenOver)
	zCreated := record("XEz", created)

	cases := map[string]struct {
		reason string
		in     plan.Input
		want   plan.Plan
	}{
		"authoritative": {
			reason: "missing ones are assigned in the order of the spec, every other one is removed in the order of its SID",
			in:     plan.Input{Policy: authoritative, Desired: sids{"XEb", "XEa"}, Listed: listed("XEd", "XEa", "XEc")},
			want: plan.Plan{
				{Action: plan.Assign, SID: "XEb"},
				{Action: plan.Keep, SID: "XEa", Ownership: adopted, Listed: on("XEa")},
				{Action: plan.Unassign, SID: "XEc", Listed: on("XEc")},
				{Action: plan.Unassign, SID: "XEd", Listed: on("XEd")},
			},
		},
		"nothing desired, nothing there": {
			reason: "there is nothing to do about nothing",
			in:     plan.Input{Policy: authoritative},
			want:   nil,
		},
		"an empty list": {
			reason: "an empty list is a wish: the number carries nothing",
			in:     plan.Input{Policy: authoritative, Listed: listed("XEa")},
			want:   plan.Plan{{Action: plan.Unassign, SID: "XEa", Listed: on("XEa")}},
		},
		"additive": {
			reason: "only what the object created is removed, and what is left alone comes last",
			in: plan.Input{Policy: additive, Desired: sids{"XEz"}, Recorded: []v1alpha1.AddOnStatus{createdB},
				Listed: listed("XEa", "XEb")},
			want: plan.Plan{
				{Action: plan.Assign, SID: "XEz"},
				{Action: plan.Unassign, SID: "XEb", Ownership: created, Listed: on("XEb"), Recorded: &createdB},
				{Action: plan.Report, SID: "XEa", Listed: on("XEa")},
			},
		},
		"additive, adopted and desired no more": {
			reason: "somebody else assigned it, so the object lets go of it and says no longer that it is its own",
			in:     plan.Input{Policy: additive, Recorded: []v1alpha1.AddOnStatus{adoptedB}, Listed: listed("XEb")},
			want:   plan.Plan{{Action: plan.Report, SID: "XEb", Listed: on("XEb"), Recorded: &adoptedB}},
		},
		"additive, taken over and desired no more": {
			reason: "who takes over an add-on is responsible for removing it",
			in:     plan.Input{Policy: additive, Recorded: []v1alpha1.AddOnStatus{takenA}, Listed: listed("XEa")},
			want: plan.Plan{
				{Action: plan.Unassign, SID: "XEa", Ownership: takenOver, Listed: on("XEa"), Recorded: &takenA},
			},
		},
		"observe": {
			reason: "nothing is written, and what was created under another policy stays known as created",
			in: plan.Input{Policy: observe, Desired: sids{"XEa"}, Recorded: []v1alpha1.AddOnStatus{createdB},
				Listed: listed("XEb")},
			want: plan.Plan{
				{Action: plan.Report, SID: "XEa"},
				{Action: plan.Report, SID: "XEb", Ownership: created, Listed: on("XEb"), Recorded: &createdB},
			},
		},
		"observe, and created but not listed": {
			reason: "what is neither desired nor listed differs from nothing",
			in:     plan.Input{Policy: observe, Recorded: []v1alpha1.AddOnStatus{createdA}},
			want:   nil,
		},
		"letter case": {
			reason: "a spelling never makes a desired add-on an extra, nor two of one",
			in:     plan.Input{Policy: authoritative, Desired: sids{"XEAB", "XEab"}, Listed: listed("XEab")},
			want:   plan.Plan{{Action: plan.Keep, SID: "XEAB", Ownership: adopted, Listed: on("XEab")}},
		},
		"letter case of a record": {
			reason: "an edit of the spelling does not make an object forget what it created",
			in: plan.Input{Policy: additive, Desired: sids{"XEa"}, Recorded: []v1alpha1.AddOnStatus{upperA},
				Listed: listed("XEa")},
			want: plan.Plan{{Action: plan.Keep, SID: "XEa", Ownership: created, Listed: on("XEa"), Recorded: &upperA}},
		},
		"another SID": {
			reason: "an assignment that Twilio gave another SID is matched by the record of it",
			in: plan.Input{Policy: authoritative, Desired: sids{"XEa"}, Recorded: []v1alpha1.AddOnStatus{aIsZ},
				Listed: listed("XEz")},
			want: plan.Plan{
				{Action: plan.Keep, SID: "XEa", AssignedSID: "XEz", Ownership: created, Listed: on("XEz"), Recorded: &aIsZ},
			},
		},
		"another SID, no longer desired": {
			reason: "it is removed by the SID that Twilio gave it, and reported by the one it was asked for",
			in:     plan.Input{Policy: additive, Recorded: []v1alpha1.AddOnStatus{aIsZ}, Listed: listed("XEz")},
			want: plan.Plan{
				{Action: plan.Unassign, SID: "XEa", AssignedSID: "XEz", Ownership: created, Listed: on("XEz"), Recorded: &aIsZ},
			},
		},
		"another SID, both listed": {
			reason: "under either SID it is the desired add-on, of which nothing is removed",
			in: plan.Input{Policy: authoritative, Desired: sids{"XEa"}, Recorded: []v1alpha1.AddOnStatus{aIsZ},
				Listed: listed("XEz", "XEa")},
			want: plan.Plan{{Action: plan.Keep, SID: "XEa", Ownership: created, Listed: on("XEa"), Recorded: &aIsZ}},
		},
		"another SID, listed by both": {
			reason: "who copies the SID out of Twilio's list means the same assignment, which is there",
			in: plan.Input{Policy: authoritative, Desired: sids{"XEa", "XEz"}, Recorded: []v1alpha1.AddOnStatus{aIsZ},
				Listed: listed("XEz")},
			want: plan.Plan{
				{Action: plan.Keep, SID: "XEa", AssignedSID: "XEz", Ownership: created, Listed: on("XEz"), Recorded: &aIsZ},
				{Action: plan.Keep, SID: "XEz", Ownership: created, Listed: on("XEz"), Recorded: &aIsZ},
			},
		},
		"another SID, and only that one is still desired": {
			reason: "the record of the first spelling must not remove the assignment of the second",
			in: plan.Input{Policy: authoritative, Desired: sids{"XEz"}, Recorded: []v1alpha1.AddOnStatus{aIsZ, zCreated},
				Listed: listed("XEz")},
			want: plan.Plan{{Action: plan.Keep, SID: "XEz", Ownership: created, Listed: on("XEz"), Recorded: &zCreated}},
		},
		"another SID, desired no more, both listed": {
			reason: "the record is about the SID that Twilio returned; the other one may be somebody else's, and has a step of its own",
			in:     plan.Input{Policy: additive, Recorded: []v1alpha1.AddOnStatus{aIsZ}, Listed: listed("XEa", "XEz")},
			want: plan.Plan{
				{Action: plan.Unassign, SID: "XEz", Ownership: created, Listed: on("XEz"), Recorded: &aIsZ},
				{Action: plan.Report, SID: "XEa", Listed: on("XEa")},
			},
		},
		"another SID, adopted and not listed": {
			reason: "an add-on of somebody else's that is gone is forgotten",
			in:     plan.Input{Policy: authoritative, Recorded: []v1alpha1.AddOnStatus{aAdoptedAsZ}},
			want:   nil,
		},
		"created, neither desired nor listed": {
			reason: "it is removed by name, because the list may be older than the assignment",
			in:     plan.Input{Policy: additive, Recorded: []v1alpha1.AddOnStatus{createdA, adoptedB}},
			want:   plan.Plan{{Action: plan.Unassign, SID: "XEa", Ownership: created, Recorded: &createdA}},
		},
		"created, desired and not listed": {
			reason: "the record stays with the step, so that a list that lags does not make it foreign",
			in:     plan.Input{Policy: authoritative, Desired: sids{"XEa"}, Recorded: []v1alpha1.AddOnStatus{createdA}},
			want:   plan.Plan{{Action: plan.Assign, SID: "XEa", Ownership: created, Recorded: &createdA}},
		},
		"rejected, and perhaps assigned before": {
			reason: "an answer that was lost may have been that of an assignment; one that was given was not",
			in:     plan.Input{Policy: additive, Recorded: []v1alpha1.AddOnStatus{rejectedA, rejectedB}},
			want:   plan.Plan{{Action: plan.Unassign, SID: "XEa", Ownership: created, Recorded: &rejectedA}},
		},
		"inherited": {
			reason: "what another object of the number has on record as created is taken over, not adopted",
			in: plan.Input{Policy: additive, Desired: sids{"XEa", "XEb", "XEc"},
				Inherited: []v1alpha1.AddOnStatus{returned("XEx", "XEA", created), adoptedB, record("XEc", takenOver)},
				Listed:    listed("XEa", "XEb", "XEc")},
			want: plan.Plan{
				{Action: plan.Keep, SID: "XEa", Ownership: takenOver, Listed: on("XEa")},
				{Action: plan.Keep, SID: "XEb", Ownership: adopted, Listed: on("XEb")},
				{Action: plan.Keep, SID: "XEc", Ownership: takenOver, Listed: on("XEc")},
			},
		},
		"inherited, and on record": {
			reason: "the object's own record comes first",
			in: plan.Input{Policy: additive, Desired: sids{"XEb"}, Recorded: []v1alpha1.AddOnStatus{adoptedB},
				Inherited: []v1alpha1.AddOnStatus{createdB}, Listed: listed("XEb")},
			want: plan.Plan{{Action: plan.Keep, SID: "XEb", Ownership: adopted, Listed: on("XEb"), Recorded: &adoptedB}},
		},
		"inherited, and not desired": {
			reason: "nobody removes under Additive what another object created",
			in: plan.Input{Policy: additive, Inherited: []v1alpha1.AddOnStatus{createdB},
				Listed: listed("XEb")},
			want: plan.Plan{{Action: plan.Report, SID: "XEb", Listed: on("XEb")}},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, plan.Make(c.in)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

// randomInput draws from few SIDs in two spellings, so that everything meets everything.
func randomInput(rnd *rand.Rand) plan.Input {
	draw := func() string {
		s := string(rune('a' + rnd.IntN(5)))
		if rnd.IntN(4) == 0 {
			s = strings.ToUpper(s)
		}
		return "XE" + s
	}
	policies := []v1alpha1.ManagementPolicy{authoritative, additive, observe}
	states := []v1alpha1.AddOnState{v1alpha1.AddOnMissing, v1alpha1.AddOnAssigning, v1alpha1.AddOnAssigned,
		v1alpha1.AddOnUnassigning, v1alpha1.AddOnRejected, v1alpha1.AddOnUnmanaged}
	records := func() (all []v1alpha1.AddOnStatus) {
		for range rnd.IntN(4) {
			r := v1alpha1.AddOnStatus{SID: v1alpha1.AddOnSID(draw()), State: states[rnd.IntN(len(states))],
				Ownership: []v1alpha1.AddOnOwnership{"", created, adopted, takenOver}[rnd.IntN(4)]}
			if rnd.IntN(3) == 0 {
				r.AssignedSID = v1alpha1.AddOnSID(draw())
			}
			if !slices.ContainsFunc(all, func(other v1alpha1.AddOnStatus) bool { return sid.Equal(other.SID, r.SID) }) {
				all = append(all, r)
			}
		}
		return all
	}
	in := plan.Input{Policy: policies[rnd.IntN(len(policies))], Recorded: records(), Inherited: records()}
	for range rnd.IntN(4) {
		in.Desired = append(in.Desired, v1alpha1.AddOnSID(draw()))
	}
	for range rnd.IntN(4) {
		in.Listed = append(in.Listed, twilio.AssignedAddOn{SID: draw()})
	}
	return in
}

// Whatever is desired, on record and listed: a plan has one step for each SID, writes
// nothing that the policy forbids, and removes nothing that is desired.
func TestEveryPlanKeepsTheRules(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 50_000 {
		in := randomInput(rnd)
		p := plan.Make(in)
		if broken := brokenRule(in, p); broken != "" {
			t.Fatalf("%s\ninput: %+v\nplan:\n%s", broken, in, show(p))
		}
		if first, second := show(p), show(plan.Make(in)); first != second {
			t.Fatalf("two plans of one input differ:\n%s\n\n%s", first, second)
		}
	}
}

func brokenRule(in plan.Input, p plan.Plan) string {
	steps, desired := map[string]bool{}, map[string]bool{}
	for _, s := range in.Desired {
		desired[sid.Normalize(s)] = true
	}
	planned := map[string]bool{}
	for i := range p {
		step := &p[i]
		key := sid.Normalize(step.SID)
		if steps[key] {
			return "two steps are about " + key
		}
		steps[key] = true
		if step.Desired() != desired[key] {
			return fmt.Sprintf("%s: step.Desired() is %t", key, step.Desired())
		}
		if step.Listed != nil {
			planned[sid.Normalize(step.Listed.SID)] = true
		}
		if step.Desired() && step.Recorded != nil {
			planned[sid.Normalize(step.Recorded.AssignedSID)] = true
		}
		switch {
		case step.Action != plan.Unassign:
		case in.Policy == observe, in.Policy == additive && !plan.Created(step.Ownership):
			return "the policy forbids to remove " + key
		case desired[sid.Normalize(step.TwilioSID())]:
			return "a desired add-on is removed: " + step.TwilioSID()
		case keeps(p, step.TwilioSID()):
			return "what is kept is removed: " + step.TwilioSID()
		}
	}
	for key := range desired {
		if !steps[key] {
			return "no step is about the desired " + key
		}
	}
	for _, found := range in.Listed {
		if key := sid.Normalize(found.SID); !planned[key] {
			return "no step is about the listed " + key
		}
	}
	return ""
}

func keeps(p plan.Plan, twilioSID string) bool {
	return slices.ContainsFunc(p, func(s plan.Step) bool { return s.Action == plan.Keep && sid.Equal(s.Listed.SID, twilioSID) })
}

func show(p plan.Plan) string {
	var lines []string
	for i := range p {
		lines = append(lines, fmt.Sprintf("%s %s (%s) %s", p[i].Action, p[i].SID, p[i].TwilioSID(), p[i].Ownership))
	}
	return strings.Join(lines, "\n")
}

func TestPlanAnswersQuestions(t *testing.T) {
	keep, assign := plan.Step{SID: "XEa", Action: plan.Keep, Listed: on("XEa")}, plan.Step{SID: "XEb", Action: plan.Assign}
	unassign := plan.Step{SID: "XEc", AssignedSID: "XEz", Action: plan.Unassign}
	missing := plan.Step{SID: "XEd", Action: plan.Report}
	extra := plan.Step{SID: "XEe", Action: plan.Report, Listed: on("XEe")}
	p := plan.Plan{keep, assign, unassign, missing, extra}
	if diff := cmp.Diff([]plan.Step{missing, extra}, p.With(plan.Report)); diff != "" || len(p) != 5 {
		t.Errorf("With selects the steps of one action and leaves the plan as it is (-want +got):\n%s", diff)
	}
	type answers struct {
		Desired, Writes bool
		TwilioSID       string
	}
	want := []answers{{true, false, "XEa"}, {true, true, "XEb"}, {false, true, "XEz"}, {true, false, "XEd"}, {false, false, "XEe"}}
	var got []answers
	for i := range p {
		got = append(got, answers{p[i].Desired(), plan.Plan{p[i]}.Writes(), p[i].TwilioSID()})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what the steps answer (-want +got):\n%s", diff)
	}
}

func TestDeparture(t *testing.T) {
	recorded := []v1alpha1.AddOnStatus{
		returned("XEa", "XEz", created),
		record("XEb", adopted),
		record("XEc", takenOver),
		{SID: "XEd", State: v1alpha1.AddOnUnmanaged},
		{SID: "XEe", State: v1alpha1.AddOnRejected},
		{SID: "XEf", State: v1alpha1.AddOnUnassigning},
		{SID: "XEg", State: v1alpha1.AddOnAssigning, Ownership: created},
	}
	of := func(i int) plan.Step {
		r := &recorded[i]
		return plan.Step{SID: r.SID, AssignedSID: r.AssignedSID, Action: plan.Unassign, Ownership: r.Ownership, Recorded: r}
	}
	desired := func(s v1alpha1.AddOnSID) plan.Step { return plan.Step{SID: s, Action: plan.Unassign} }
	cases := map[string]struct {
		reason string
		policy v1alpha1.ManagementPolicy
		owner  bool
		want   plan.Plan
	}{
		"authoritative owner": {
			reason: "it removes what it owns, what it was about to remove, and what it lists: that may have been assigned just now",
			policy: authoritative, owner: true,
			want: plan.Plan{of(0), of(1), of(2), of(5), of(6), desired("XEe"), desired("XEnew")},
		},
		"authoritative, another one owns the number": {
			reason: "what it lists is the owner's; it answers for what it has on record",
			policy: authoritative,
			want:   plan.Plan{of(0), of(1), of(2), of(5), of(6)},
		},
		"additive": {
			reason: "it removes what it created or took over, on the list of the spec or not",
			policy: additive, owner: true,
			want: plan.Plan{of(0), of(2), of(6)},
		},
		"observe": {
			reason: "the records of a former policy are answered for, if it comes to that",
			policy: observe, owner: true,
			want: plan.Plan{of(0), of(2), of(6)},
		},
		"unknown policy": {
			reason: "nothing is removed on a guess",
			policy: "Other", owner: true,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			spec := &v1alpha1.PhoneNumberAddOnAssignmentSpec{ManagementPolicy: c.policy, AddOnSIDs: sids{"XEA", "XEe", "XEnew", "XENEW"}}
			if diff := cmp.Diff(c.want, plan.Departure(spec, recorded, c.owner)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}
