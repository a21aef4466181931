// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package ledger_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/ledger"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/plan"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

type (
	record  = v1alpha1.AddOnStatus
	records = []v1alpha1.AddOnStatus
	sids    = []v1alpha1.AddOnSID
)

const (
	created   = v1alpha1.OwnershipCreated
	adopted   = v1alpha1.OwnershipAdopted
	takenOver = v1alpha1.OwnershipTakenOver

	missing     = v1alpha1.AddOnMissing
	assigning   = v1alpha1.AddOnAssigning
	assigned    = v1alpha1.AddOnAssigned
	unassigning = v1alpha1.AddOnUnassigning
	rejected    = v1alpha1.AddOnRejected
	unmanaged   = v1alpha1.AddOnUnmanaged
)

// updated is when Twilio last changed what listed describes.
var updated = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func listed(s string) *twilio.AssignedAddOn {
	return &twilio.AssignedAddOn{SID: s, UniqueName: "unique", FriendlyName: "Friendly", Description: "Does it.", DateUpdated: updated}
}

// described is a record with what listed says of the add-on.
func described(r record) record {
	r.UniqueName, r.FriendlyName, r.Description, r.DateUpdated = "unique", "Friendly", "Does it.", new(metav1.NewTime(updated))
	return r
}

func TestFrom(t *testing.T) {
	refused := record{SID: "XEa", State: rejected, Message: "not installed"}
	begun := record{SID: "XEa", State: assigning, Ownership: created}
	was := described(record{SID: "XEa", State: assigned, Ownership: created, Message: "waits"})
	other := record{SID: "XEq", AssignedSID: "XEa", State: assigned, Ownership: created}
	cases := map[string]struct {
		reason string
		step   plan.Step
		want   record
	}{
		"kept": {"it is described as Twilio lists it",
			plan.Step{Action: plan.Keep, SID: "XEa", AssignedSID: "XEz", Ownership: adopted, Listed: listed("XEz"), Recorded: &refused},
			described(record{SID: "XEa", AssignedSID: "XEz", State: assigned, Ownership: adopted})},
		"missing": {"nothing is known of it", plan.Step{Action: plan.Assign, SID: "XEa"}, record{SID: "XEa", State: missing}},
		"missing, begun": {"an attempt of which nothing is known stays on record",
			plan.Step{Action: plan.Assign, SID: "XEa", Ownership: created, Recorded: &begun}, begun},
		"missing, refused": {"what was refused stays refused, with Twilio's words, until it is tried again",
			plan.Step{Action: plan.Assign, SID: "XEa", Recorded: &refused}, refused},
		"missing, was there": {"who assigned it stays on record: the list may lag",
			plan.Step{Action: plan.Assign, SID: "XEa", Ownership: created, Recorded: &was},
			described(record{SID: "XEa", State: missing, Ownership: created, Message: "waits"})},
		"missing, spelled anew": {"status spells it as the spec does",
			plan.Step{Action: plan.Assign, SID: "XEA", Ownership: created, Recorded: &begun},
			record{SID: "XEA", State: assigning, Ownership: created}},
		"missing, recorded under another SID": {"two records of one SID would be refused by the API server",
			plan.Step{Action: plan.Assign, SID: "XEa", AssignedSID: "XEa", Ownership: created, Recorded: &other},
			record{SID: "XEa", AssignedSID: "XEa", State: missing, Ownership: created}},
		"too much": {"it is described as Twilio lists it",
			plan.Step{Action: plan.Unassign, SID: "XEa", Ownership: created, Listed: listed("XEa"), Recorded: &was},
			described(record{SID: "XEa", State: unassigning, Ownership: created})},
		"too much, not listed": {"it is described as it is on record, and why it waited is decided anew",
			plan.Step{Action: plan.Unassign, SID: "XEa", Ownership: created, Recorded: &was},
			described(record{SID: "XEa", State: unassigning, Ownership: created})},
		"left alone": {"it is shown",
			plan.Step{Action: plan.Report, SID: "XEa", Listed: listed("XEa")}, described(record{SID: "XEa", State: unmanaged})},
		"left missing": {"nobody tries to assign it, so that no refusal holds",
			plan.Step{Action: plan.Report, SID: "XEa", Recorded: &refused}, record{SID: "XEa", State: missing}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(records{c.want}, ledger.From(plan.Plan{c.step}).Statuses()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

// The states from which an assignment begins: never tried, refused, and begun by an attempt
// of which nothing is known.
func TestTransitions(t *testing.T) {
	const a = v1alpha1.AddOnSID("XEa")
	fresh := record{SID: a, State: missing}
	refused := record{SID: a, State: rejected, Message: "before"}
	begun := record{SID: a, State: assigning, Ownership: created}
	refusedPerhapsThere := record{SID: a, State: rejected, Ownership: created, Message: "before"}
	now := record{SID: a, State: assigning, Ownership: created}
	cases := map[string]struct {
		reason string
		from   record
		answer func(*ledger.Ledger)
		want   records
		news   sids
	}{
		"begin": {"what may be assigned from now on is on record as the object's own",
			fresh, func(*ledger.Ledger) {}, records{now}, sids{a}},
		"begin again after a refusal": {"the words of the refusal are old",
			refused, func(*ledger.Ledger) {}, records{now}, sids{a}},
		"begin again after no answer": {"it is on record already",
			begun, func(*ledger.Ledger) {}, records{now}, nil},
		"begin what was begun as nobody's": {"it was not on record as the object's own",
			record{SID: a, State: assigning}, func(*ledger.Ledger) {}, records{now}, sids{a}},
		"assigned": {"Twilio says so",
			fresh, func(l *ledger.Ledger) { l.Assigned("XEA", listed("XEa")) },
			records{described(record{SID: a, State: assigned, Ownership: created})}, sids{a}},
		"assigned under another SID": {"it is matched by that one from now on",
			fresh, func(l *ledger.Ledger) { l.Assigned(a, listed("XEz")) },
			records{described(record{SID: a, AssignedSID: "XEz", State: assigned, Ownership: created})}, sids{a}},
		"refused as there already": {"somebody else assigned it",
			fresh, func(l *ledger.Ledger) { l.Adopted(a, listed("XEa")) },
			records{described(record{SID: a, State: assigned, Ownership: adopted})}, sids{a}},
		"refused as there already, after no answer": {"the attempt without an answer may have assigned it",
			begun, func(l *ledger.Ledger) { l.Adopted(a, listed("XEa")) },
			records{described(record{SID: a, State: assigned, Ownership: created})}, nil},
		"not sent": {"nothing has changed",
			fresh, func(l *ledger.Ledger) { l.NotCreated(a) }, records{fresh}, sids{a}},
		"not sent, refused before": {"the refusal stands, with its words",
			refused, func(l *ledger.Ledger) { l.NotCreated(a) }, records{refused}, sids{a}},
		"not sent, after no answer": {"the attempt without an answer is as open as before",
			begun, func(l *ledger.Ledger) { l.NotCreated(a) }, records{begun}, nil},
		"refused": {"Twilio did not assign it",
			fresh, func(l *ledger.Ledger) { l.Refused(a, "why") }, records{{SID: a, State: rejected, Message: "why"}}, sids{a}},
		"refused, after no answer": {"the attempt without an answer may have assigned it, which is why it is refused",
			begun, func(l *ledger.Ledger) { l.Refused(a, "why") },
			records{{SID: a, State: rejected, Ownership: created, Message: "why"}}, nil},
		"refused again, after no answer": {"a second refusal proves no more than the first",
			refusedPerhapsThere, func(l *ledger.Ledger) { l.NotCreated(a); l.Refused(a, "why") },
			records{{SID: a, State: rejected, Ownership: created, Message: "why"}}, sids{a}},
		"removed": {"it is on the number no more", fresh, func(l *ledger.Ledger) { l.Removed(a) }, nil, sids{a}},
		"of another add-on": {"an answer about something else changes nothing", fresh, func(l *ledger.Ledger) {
			l.Assigned("XEb", listed("XEb"))
			l.Adopted("XEb", listed("XEb"))
			l.NotCreated("XEb")
			l.Refused("XEb", "why")
			l.Removed("XEb")
			l.Waits("XEb", "why")
		}, records{now}, sids{a}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			steps := []plan.Step{{Action: plan.Assign, SID: a, Ownership: c.from.Ownership, Recorded: &c.from}}
			l := ledger.From(steps)
			news := l.Begin(append(steps, plan.Step{Action: plan.Assign, SID: "XEother"}))
			c.answer(l)
			if diff := cmp.Diff(c.want, l.Statuses()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
			if diff := cmp.Diff(c.news, news); diff != "" {
				t.Errorf("what was news to the record (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRemovalsInTheLedger(t *testing.T) {
	l := ledger.From(plan.Plan{
		{Action: plan.Unassign, SID: "XEa", Listed: &twilio.AssignedAddOn{SID: "XEa"}},
		{Action: plan.Unassign, SID: "XEb", Listed: &twilio.AssignedAddOn{SID: "XEb"}},
		{Action: plan.Keep, SID: "XEc", AssignedSID: "XEz", Listed: &twilio.AssignedAddOn{SID: "XEz"}},
		{Action: plan.Assign, SID: "XEd", Recorded: &record{SID: "XEd", State: rejected}},
	})
	l.Removed("XEA")
	l.Waits("XEb", strings.Repeat("ä", 2000))
	l.NotCreated("XEb") // nothing was begun of it
	want := records{
		{SID: "XEb", State: unassigning, Message: strings.Repeat("ä", 1024)},
		{SID: "XEc", AssignedSID: "XEz", State: assigned},
		{SID: "XEd", State: rejected},
	}
	if diff := cmp.Diff(want, l.Statuses()); diff != "" {
		t.Errorf("what was removed is dropped, what waits says why (-want +got):\n%s", diff)
	}
	type answers struct{ RejectedC, RejectedD, AsZ, AsC, Ambiguous bool }
	got := answers{l.IsRejected("XEc"), l.IsRejected("XED"), l.IsAssignedAs("XEZ"), l.IsAssignedAs("XEc"), l.Ambiguous("XEb")}
	if diff := cmp.Diff(answers{RejectedD: true, AsZ: true}, got); diff != "" {
		t.Errorf("what the ledger answers (-want +got):\n%s", diff)
	}
}

// world is Twilio as it is, beside what a ledger believes of one add-on.
type world struct {
	rnd *rand.Rand
	// mine: an attempt of the object assigned the add-on. foreign: somebody else did.
	mine, foreign bool
	// lag is for how many more reconciles no read shows the add-on.
	lag int
}

// reconcile makes one attempt as the reconciler does, with whatever answer comes, and
// returns the new record.
func (w *world) reconcile(recorded records) records {
	there := w.mine || w.foreign
	in := plan.Input{Desired: sids{"XEa"}, Policy: v1alpha1.ManagementAdditive, Recorded: recorded}
	if there && w.lag == 0 {
		in.Listed = []twilio.AssignedAddOn{{SID: "XEa"}}
	}
	w.lag = max(0, w.lag-1)
	p := plan.Make(in)
	l := ledger.From(p)
	steps := p.With(plan.Assign)
	l.Begin(steps)
	persisted := l.Statuses()
	if len(steps) == 0 {
		return persisted
	}
	switch answer := w.rnd.IntN(7); {
	case answer == 0: // the process dies before the call
		return persisted
	case answer == 1: // the process dies after it
		w.mine = w.mine || !there
		return persisted
	case answer == 2: // no answer, and a read that finds nothing yet
		w.mine = w.mine || !there
		w.lag = 3
	case answer == 3: // not sent, or not processed
		l.NotCreated("XEa")
	case there: // a duplicate is refused; a read finds it, or lags
		if w.lag == 0 {
			l.Adopted("XEa", listed("XEa"))
		} else {
			l.NotCreated("XEa")
			l.Refused("XEa", "duplicate")
		}
	case answer == 4: // refused
		l.NotCreated("XEa")
		l.Refused("XEa", "not installed")
	default:
		w.mine = true
		l.Assigned("XEa", listed("XEa"))
	}
	return l.Statuses()
}

// Whatever Twilio answers and whenever the process dies: an add-on that an attempt of the
// object assigned is never on record as somebody else's.
func TestWhatMayHaveBeenAssignedStaysTheObjectsOwn(t *testing.T) {
	var seen struct{ mine, foreign, adopted int }
	for seed := range uint64(4_000) {
		w := &world{rnd: rand.New(rand.NewPCG(seed, 5))}
		var recorded records
		var story []string
		for range 12 {
			if w.rnd.IntN(6) == 0 && !w.mine {
				w.foreign = true // by hand, behind the operator's back
			}
			recorded = w.reconcile(recorded)
			story = append(story, fmt.Sprintf("mine %t foreign %t %+v", w.mine, w.foreign, recorded))
			if w.mine && !plan.Created(recorded[0].Ownership) {
				t.Fatalf("seed %d: the object's own add-on is on record as somebody else's:\n%s", seed, strings.Join(story, "\n"))
			}
		}
		if w.mine {
			seen.mine++
		} else if w.foreign {
			seen.foreign++
			if recorded[0].Ownership == adopted {
				seen.adopted++
			}
		}
	}
	if seen.mine == 0 || seen.foreign == 0 || seen.adopted == 0 {
		t.Errorf("the draw proves nothing: %+v", seen)
	}
}

// Only a listing that has not shown the add-on for long enough takes an attempt back.
func TestDisproveAndUnconfirmed(t *testing.T) {
	recorded := records{
		{SID: "XEa", State: assigning, Ownership: created},
		{SID: "XEb", State: rejected, Ownership: takenOver, Message: "why"},
		{SID: "XEc", State: assigning, Ownership: created},
		{SID: "XEd", State: missing},
		{SID: "XEe", State: assigned, Ownership: adopted},
		{SID: "XEf", State: assigned, Ownership: created},
	}
	p := plan.Make(plan.Input{Desired: sids{"XEa", "XEb", "XEd", "XEe", "XEf"}, Policy: v1alpha1.ManagementAdditive, Recorded: recorded,
		Listed: []twilio.AssignedAddOn{{SID: "XEf"}}})
	if diff := cmp.Diff(sids{"XEa", "XEb"}, ledger.Unconfirmed(p)); diff != "" {
		t.Errorf("in doubt is what is desired, not listed, and perhaps the object's own (-want +got):\n%s", diff)
	}
	want := append(records{{SID: "XEa", State: missing}, {SID: "XEb", State: rejected, Message: "why"}}, recorded[2:]...)
	before := append(records{}, recorded...)
	if diff := cmp.Diff(want, ledger.Disprove(recorded, sids{"XEA", "XEb"})); diff != "" {
		t.Errorf("what was disproved is nobody's, the rest as it was (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, recorded); diff != "" {
		t.Errorf("the records that were passed have changed (-before +after):\n%s", diff)
	}
}

func TestTakeOver(t *testing.T) {
	at := func(state v1alpha1.AddOnState, ownership v1alpha1.AddOnOwnership) records {
		return records{{SID: "XEa", AssignedSID: "XEz", State: state, Ownership: ownership, Message: "theirs"}}
	}
	taken := func(state v1alpha1.AddOnState, ownership v1alpha1.AddOnOwnership) records {
		return records{{SID: "XEa", AssignedSID: "XEz", State: state, Ownership: ownership}}
	}
	cases := map[string]struct {
		reason         string
		own, departing records
		want           records
		changed        bool
	}{
		"created":       {"it has to be removed one day", nil, at(assigned, created), taken(assigned, takenOver), true},
		"taken over":    {"the duty goes on from heir to heir", nil, at(assigned, takenOver), taken(assigned, takenOver), true},
		"adopted":       {"what somebody else had assigned stays so", nil, at(assigned, adopted), taken(assigned, adopted), true},
		"perhaps there": {"an attempt without an answer may have assigned it", nil, at(assigning, created), taken(assigning, takenOver), true},
		"refused, perhaps there": {"the same", nil, at(rejected, created),
			taken(rejected, takenOver), true},
		"about to be removed": {"the heir desires it, so it stays", nil, at(unassigning, created), taken(assigned, takenOver), true},
		"about to be removed, nobody's": {"it stays as well, and is not the operator's", nil, at(unassigning, ""),
			taken(assigned, adopted), true},
		"refused":     {"there is nothing to take over", nil, at(rejected, ""), nil, false},
		"unmanaged":   {"the departing object does not answer for it", nil, at(unmanaged, ""), nil, false},
		"not desired": {"the departing object removes it itself", nil, records{{SID: "XEb", State: assigned, Ownership: created}}, nil, false},
		"on record":   {"it is done already", at(assigned, takenOver), at(assigned, created), at(assigned, takenOver), false},
		"on record as nobody's": {"a conflict left a record that says nothing; this one says more",
			records{{SID: "XEA", State: missing}}, at(assigned, created), taken(assigned, takenOver), true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, changed := ledger.TakeOver(sids{"XEA"}, c.own, c.departing)
			if diff := cmp.Diff(c.want, got); diff != "" || changed != c.changed {
				t.Errorf("%s: changed %t (-want +got):\n%s", c.reason, changed, diff)
			}
		})
	}
	full := make(records, 250)
	for i := range full {
		full[i] = record{SID: v1alpha1.AddOnSID(fmt.Sprintf("XE%d", i)), State: unmanaged}
	}
	if got, _ := ledger.TakeOver(sids{"XEa"}, full, at(assigned, created)); len(got) > 250 {
		t.Errorf("%d records are more than the schema admits", len(got))
	}
}

// Before the first status the annotation is the record, of this object alone; after it,
// status is.
func TestReadAndAnnotate(t *testing.T) {
	a := &v1alpha1.PhoneNumberAddOnAssignment{ObjectMeta: metav1.ObjectMeta{UID: "uid", Annotations: map[string]string{"other": "kept"}}}
	a.Status.ObservedGeneration = -1
	if got := ledger.Read(a); got != nil {
		t.Errorf("a new object has %+v on record", got)
	}
	ledger.Annotate(a, sids{"XEa", "XEb"})
	annotations := map[string]string{"other": "kept", v1alpha1.AnnotationAssigning: "uid XEa XEb"}
	if diff := cmp.Diff(annotations, a.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	want := records{{SID: "XEa", State: assigning, Ownership: created}, {SID: "XEb", State: assigning, Ownership: created}}
	if diff := cmp.Diff(want, ledger.Read(a)); diff != "" || !ledger.IsFirst(a) {
		t.Errorf("on record before the first status (-want +got):\n%s", diff)
	}
	reported := a.DeepCopy()
	reported.Status.ObservedGeneration, reported.Status.AddOns = 0, records{{SID: "XEc", State: assigned}}
	if diff := cmp.Diff(reported.Status.AddOns, ledger.Read(reported)); diff != "" || ledger.IsFirst(reported) {
		t.Errorf("on record after it (-want +got):\n%s", diff)
	}
	for _, uid := range []types.UID{"copy", "", "ui", "uid2"} {
		other := a.DeepCopy()
		other.UID = uid
		if got := ledger.Read(other); got != nil {
			t.Errorf("a copy with the UID %q takes the add-ons of the original for its own: %+v", uid, got)
		}
	}
}

// Status never has more entries than the schema admits. What is cut off is what the object
// leaves alone, which a plan has last.
func TestStatusesAreBounded(t *testing.T) {
	var p plan.Plan
	for i := range 60 {
		p = append(p, plan.Step{Action: plan.Assign, SID: v1alpha1.AddOnSID(fmt.Sprintf("XEm%d", i))})
	}
	for i := range 300 {
		p = append(p, plan.Step{Action: plan.Report, SID: v1alpha1.AddOnSID(fmt.Sprintf("XEu%d", i)), Listed: listed("XEu")})
	}
	got := map[v1alpha1.AddOnState]int{}
	for _, r := range ledger.From(p).Statuses() {
		got[r.State]++
	}
	if diff := cmp.Diff(map[v1alpha1.AddOnState]int{missing: 60, unmanaged: 190}, got); diff != "" {
		t.Errorf("entries by state (-want +got):\n%s", diff)
	}
}

// What this object assigned stays on record while it waits to be removed, however many
// add-ons that somebody else assigned wait with it.
func TestOwnRecordsAreNotCutOff(t *testing.T) {
	var p plan.Plan
	for i := range 300 {
		p = append(p, plan.Step{Action: plan.Unassign, SID: v1alpha1.AddOnSID(fmt.Sprintf("XEx%d", i)), Listed: listed("XEx")})
	}
	p = append(p,
		plan.Step{Action: plan.Unassign, SID: "XEown", Ownership: created, Listed: listed("XEown")},
		plan.Step{Action: plan.Assign, SID: "XEm"})
	statuses := ledger.From(p).Statuses()
	own := slices.ContainsFunc(statuses, func(r record) bool { return r.SID == "XEown" && r.Ownership == created })
	desired := slices.ContainsFunc(statuses, func(r record) bool { return r.SID == "XEm" })
	if len(statuses) != 250 || !own || !desired {
		t.Errorf("%d entries; the object's own is among them: %t; the desired one: %t", len(statuses), own, desired)
	}
}

// What Twilio says fits into the schema, which counts characters.
func TestTruncate(t *testing.T) {
	cases := map[string]struct {
		text  string
		limit int
		want  string
	}{
		"short":                             {"abc", 3, "abc"},
		"long":                              {"abcd", 3, "abc"},
		"few characters of many bytes":      {"äöü", 3, "äöü"},
		"many characters of many bytes":     {"äöüß", 3, "äöü"},
		"bytes that are no characters":      {"a\xff\xffb", 2, "a�"},
		"an empty text":                     {"", 3, ""},
		"a limit of nothing leaves nothing": {"abc", 0, ""},
	}
	for name, c := range cases {
		if got := ledger.Truncate(c.text, c.limit); got != c.want || !utf8.ValidString(got) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	long := &twilio.AssignedAddOn{SID: "XEa", UniqueName: strings.Repeat("ä", 300), FriendlyName: strings.Repeat("ä", 300), Description: strings.Repeat("ä", 600)}
	want := records{{SID: "XEa", State: assigned, UniqueName: strings.Repeat("ä", 256), FriendlyName: strings.Repeat("ä", 256), Description: strings.Repeat("ä", 512)}}
	if diff := cmp.Diff(want, ledger.From(plan.Plan{{Action: plan.Keep, SID: "XEa", Listed: long}}).Statuses()); diff != "" {
		t.Errorf("what Twilio says, truncated (-want +got):\n%s", diff)
	}
}
