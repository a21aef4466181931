// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/ledger"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/ownership"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/plan"
)

// The model of a handover: two objects list one add-on, a user deletes both at any time,
// and two processes reconcile them with decisions of this package. Every read and every
// write of the API server is a step of its own; the steps interleave in every way. Each
// read returns the latest write (it is linearizable); the cache is a read of any age,
// because anything may happen between a read and what follows from it.

// modelObject is an object as the API server has it.
type modelObject struct {
	gone, deleting, finalizer bool
	// record is the ownership of the add-on on record; "" is no record.
	record  v1alpha1.AddOnOwnership
	claim   v1alpha1.NumberClaim
	version int
}

// phase is how far a reconcile has come.
type phase int

const (
	idle phase = iota
	readOther
	readOwn
	confirm  // about to read the other object from the API server
	release  // about to remove the finalizer, sparing the add-on
	remove   // about to remove the add-on from the number
	removed  // about to remove the finalizer, after that
	takeOver // about to record the add-on
)

// modelProcess reconciles one object.
type modelProcess struct {
	phase      phase
	other, own modelObject // as read
}

// modelState is the state of the whole model. It can be compared.
type modelState struct {
	objects   [2]modelObject
	processes [2]modelProcess
	spared    [2]bool // the object went and left the add-on to the other one
	onNumber  bool
}

// model explores all states.
type model struct {
	// trustsCache leaves out the reading from the API server: the model with that must fail.
	trustsCache bool
	// failed is the first state in which the add-on is nobody's, and how it came to be.
	failed string
	// handedOver and bothGone count the states that make the proof worth something.
	handedOver, bothGone, states int
}

func (o modelObject) assignment(i int) *assignment {
	a := object(string(rune('a'+i)), minute(i))
	if o.deleting {
		deleting(a)
	}
	if o.finalizer {
		finalizer(a)
	}
	if o.record != "" {
		records("XEa", o.record)(a)
	}
	a.Status.Claim = o.claim
	found(a)
	return a
}

// claimsOf is what process i knows of both objects.
func (p modelProcess) claimsOf(i int) []ownership.Claim {
	claim := func(o modelObject, i int) ownership.Claim {
		c := ownership.ClaimOf(o.assignment(i), home, false)
		if o.gone { // as the reconciler describes an object that is gone
			c = ownership.Claim{Key: c.Key, UID: c.UID, Deleting: true, Object: c.Object}
		}
		return c
	}
	return []ownership.Claim{claim(p.own, i), claim(p.other, 1-i)}
}

// write changes an object if it is still the one that was read.
func (s *modelState) write(i int, change func(*modelObject)) bool {
	o := &s.objects[i]
	if o.gone || o.version != s.processes[i].own.version {
		return false
	}
	change(o)
	o.version++
	o.gone = o.deleting && !o.finalizer
	return true
}

// next returns the states that a step of the user or of a process leads to.
func (m *model) next(s modelState) []modelState {
	var all []modelState
	for i := range s.objects {
		if o := s.objects[i]; !o.gone && !o.deleting {
			deleted := s
			d := &deleted.objects[i]
			d.deleting, d.version = true, d.version+1
			d.gone = !d.finalizer
			all = append(all, deleted)
		}
		all = append(all, m.step(s, i)...)
	}
	return all
}

// step is what process i does next.
func (m *model) step(s modelState, i int) []modelState {
	p := &s.processes[i]
	to := func(ph phase) []modelState { p.phase = ph; return []modelState{s} }
	switch p.phase {
	case idle:
		*p = modelProcess{}
		return to(readOther)
	case readOther:
		p.other = s.objects[1-i]
		return to(readOwn)
	case readOwn:
		p.own = s.objects[i]
		switch {
		case p.own.gone:
			return nil
		case p.own.deleting:
			return m.dispose(s, i)
		case ownership.StandingOf(p.claimsOf(i), keyOf(string(rune('a'+i)))).Role == ownership.TakesOver:
			if !p.own.finalizer && !s.write(i, func(o *modelObject) { o.finalizer = true }) {
				return to(idle)
			}
			p.own = s.objects[i]
			return to(takeOver)
		}
		return to(idle)
	case takeOver:
		theirs := p.other.assignment(1 - i).Status.AddOns
		taken, changed := ledger.TakeOver([]v1alpha1.AddOnSID{"XEa"}, p.own.assignment(i).Status.AddOns, theirs)
		if changed {
			s.write(i, func(o *modelObject) { o.record, o.claim = taken[0].Ownership, v1alpha1.ClaimYielded })
		}
		return to(idle)
	case confirm:
		p.other = s.objects[1-i]
		return m.decide(s, i)
	case remove:
		s.onNumber = false
		return to(removed)
	case release, removed:
		if s.write(i, func(o *modelObject) { o.finalizer = false }) && p.phase == release {
			s.spared[i] = true
		}
		return to(idle)
	}
	return nil
}

// dispose begins the finalization of an object.
func (m *model) dispose(s modelState, i int) []modelState {
	p := &s.processes[i]
	a := p.own.assignment(i)
	departing := plan.Departure(&a.Spec, a.Status.AddOns, a.Status.Claim == v1alpha1.ClaimHeld)
	disposition, _ := ownership.DispositionOf(p.claimsOf(i), keyOf(a.Name), "XEa")
	switch {
	case !p.own.finalizer:
		p.phase = idle
	case len(departing) == 0:
		p.phase = removed
	case disposition == ownership.Remove:
		p.phase = remove
	case m.trustsCache:
		return m.decide(s, i)
	default:
		p.phase = confirm
	}
	return []modelState{s}
}

// decide follows from what was read last. A wait may end, or last too long.
func (m *model) decide(s modelState, i int) []modelState {
	again, out := s, s
	again.processes[i].phase, out.processes[i].phase = idle, remove
	disposition, _ := ownership.DispositionOf(s.processes[i].claimsOf(i), keyOf(string(rune('a'+i))), "XEa")
	switch disposition {
	case ownership.Spare, ownership.Gone:
		out.processes[i].phase = release
		return []modelState{out}
	case ownership.Await:
		return []modelState{again, out}
	case ownership.Remove:
	}
	return []modelState{out}
}

// explore visits every state that can be reached.
func (m *model) explore(start modelState) {
	from := map[modelState]modelState{start: start}
	queue := []modelState{start}
	for len(queue) > 0 && m.failed == "" {
		s := queue[0]
		queue = queue[1:]
		m.check(s, start, from)
		for _, next := range m.next(s) {
			if _, known := from[next]; !known {
				from[next] = s
				queue = append(queue, next)
			}
		}
	}
	m.states += len(from)
}

func (m *model) check(s, start modelState, from map[modelState]modelState) {
	responsible := slices.ContainsFunc(s.objects[:], func(o modelObject) bool { return !o.gone && o.finalizer && o.record != "" })
	if (s.onNumber && !responsible) || (s.spared[0] && s.spared[1]) {
		var story []string
		for at := s; ; at = from[at] {
			story = append(story, fmt.Sprintf("%+v", at))
			if at == start {
				break
			}
		}
		slices.Reverse(story)
		m.failed = strings.Join(story, "\n")
	}
	m.bothGone += b(s.objects[0].gone && s.objects[1].gone)
	m.handedOver += b(s.spared[0] || s.spared[1])
}

// startStates are those in which somebody answers for the add-on, as a whole or in part of
// a handover.
func startStates() []modelState {
	holder := modelObject{finalizer: true, record: created, claim: v1alpha1.ClaimHeld}
	heir := modelObject{finalizer: true, record: takenOver, claim: v1alpha1.ClaimYielded}
	former := modelObject{finalizer: true, record: created, claim: v1alpha1.ClaimYielded}
	var states []modelState
	for _, objects := range [][2]modelObject{
		{holder, {}},                // the other one is new
		{holder, {finalizer: true}}, // it has a finalizer, and no record yet
		{holder, heir},              // handed over
		{former, holder},            // the former owner came to the conflict late
		{{}, holder},                // the younger one owns the number
	} {
		states = append(states, modelState{objects: objects, onNumber: true})
	}
	return states
}

// Two objects are deleted at any time, in every interleaving with a handover. No add-on is
// spared by both, and at no time is one on the number that no object with a finalizer has
// on record. This rests on the reading from the API server between the decision and the
// release: an object that saw the other one stay was itself already being deleted, so the
// other one, once it is deleted and reads, sees that.
//
// The test does not prove that the reconciler follows the model, nor that the API server's
// reads are linearizable.
func TestNoAddOnIsSparedByBoth(t *testing.T) {
	var m model
	for _, start := range startStates() {
		if m.explore(start); m.failed != "" {
			t.Fatalf("the add-on is nobody's:\n%s", m.failed)
		}
	}
	t.Logf("%d states, %d of them after a handover, %d with both objects gone", m.states, m.handedOver, m.bothGone)
	if m.handedOver == 0 || m.bothGone == 0 {
		t.Error("the model never hands over, or never ends: it proves nothing")
	}
}

// Without that reading the model loses an add-on: it is able to.
func TestTheCacheAloneWouldLoseAnAddOn(t *testing.T) {
	m := model{trustsCache: true}
	for _, start := range startStates() {
		m.explore(start)
	}
	if m.failed == "" {
		t.Error("no interleaving loses the add-on, so the reading from the API server is not what keeps it")
	}
}
