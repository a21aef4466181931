// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package budget

import (
	"cmp"
	"slices"
	"time"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

const (
	// quiet is how long no further number may ask before the demand is judged.
	quiet = 30 * time.Second
	// holdAfter is how long the oldest demand waits at most before a demand beyond the
	// limit is called a hold, although more numbers keep asking.
	holdAfter = time.Minute
	// calm is how long nothing may be taken back, at most, before what is left of a hold is
	// let go because it has come within the limit: somebody may be taking back the rest.
	// A shorter window makes it shorter.
	calm = 5 * time.Minute
	// capacity is how many numbers can be on record, counted and approved together.
	capacity = 125_000
	// shortList is how many approved numbers may be written as often as one of them is done.
	shortList = 1000
	// sampleSize is how many held objects are named.
	sampleSize = 5
)

// Account is one TwilioAccount's part in the budget of its account SID.
type Account struct {
	// Name of the TwilioAccount.
	Name string
	// Spec is its removal budget; an unset field has its default.
	Spec v1alpha1.RemovalBudget
	// State is its status.removals as it stands on record, never one that was not written,
	// and never one older than the caller's own last write.
	State v1alpha1.RemovalsStatus
	// Approve is the value of its annotation approve-removals, or "".
	Approve string
}

// Demand is one number that would lose at least one add-on now, or is losing it.
type Demand struct {
	Number v1alpha1.PhoneNumberSID
	// Object that would remove them, as namespace/name.
	Object string
	// Since is when this process first saw the demand. With the monotonic reading of
	// time.Now, steps of the clock have no effect on waiting.
	Since time.Time
	// Held says that an earlier decision held this number. The caller knows it from that
	// decision, or from the reason RemovalsHeld in the object's status.
	Held bool
}

// Input is all that a decision rests on.
type Input struct {
	Now time.Time
	// Accounts are all TwilioAccounts of the account SID, at least one.
	Accounts []Account
	// Fleet is how many distinct numbers their objects hold now, those of objects that are
	// being deleted included.
	Fleet int
	// Demands are all numbers that ask now, in any order. A number stops asking when its
	// add-ons are gone, or when nothing is to be removed from it any more.
	Demands []Demand
	// Complete says that Demands holds all that asked when an earlier process ended.
	// Until then holds stay as they are, approvals wait, and only what is on record and the
	// first minNumbers are granted.
	Complete bool
	// Withdrawn is when a number that was not granted last stopped asking. A process
	// begins with the time of its own start, as it does not know what was before.
	Withdrawn time.Time
	// CRDDeleting says that one of the operator's CRDs is being deleted. Everything
	// is held then, whatever the budget; only what was approved goes.
	CRDDeleting bool
}

// Event is worth a Kubernetes event on each of the accounts.
type Event struct {
	Warning         bool
	Reason, Message string
}

// Decision says who may remove, and what must be on record first.
type Decision struct {
	// State is the new status.removals of every account.
	State v1alpha1.RemovalsStatus
	// Changed: State must be written to every account before anything that is granted here
	// is removed, and before the hold is shown anywhere.
	Changed bool
	// Figures: only figures differ from what is on record. Write State when convenient.
	Figures bool
	// GrantedUntil is when the grants end; nothing may be removed later than that without
	// another decision. Zero: nothing is granted.
	GrantedUntil time.Time
	// Granted is how many of the demanded numbers may lose add-ons.
	Granted int
	// Waiting is how many wait for the demand to settle. They are not held.
	Waiting int
	// NextCheck is when to decide again at the latest, although nothing has happened. Zero:
	// when something happens.
	NextCheck time.Duration
	// Message says what is held or waits, why and until when, for the account's condition
	// RemovalsHeld; "" when nothing does.
	Message string
	// ObjectMessage says it to the objects that are not granted, with nothing in it that
	// changes while a hold lasts.
	ObjectMessage string
	// Event, if not nil, is to be emitted after State was written.
	Event *Event

	granted map[fingerprint]struct{}
}

// Grants reports whether the number may lose add-ons, until GrantedUntil. A number that
// asks and is not granted is held if State.Hold is set, and waits if not.
func (d *Decision) Grants(number v1alpha1.PhoneNumberSID) bool {
	_, granted := d.granted[fingerprintOf(number)]
	return granted
}

// Decide says which of the demanded numbers may lose add-ons now.
func Decide(in Input) Decision {
	p := newPass(&in)
	p.checkCause()
	p.approve()
	p.grantOnRecord()
	p.grantFirst()
	p.judge()
	return p.decision()
}

// pass is one decision in the making.
type pass struct {
	in     *Input
	rules  rules
	read   []record // of each account
	record record   // of all of them, brought up to date as the pass proceeds
	asks   map[fingerprint]Demand

	// renewable: counted numbers that still ask may be granted anew. They may not while
	// more are counted than the limit now is, after a larger budget has ended.
	renewable bool
	granted   map[fingerprint]struct{}
	rest      []fingerprint // what asks and is not granted, oldest first
	event     *Event
}

func newPass(in *Input) *pass {
	p := &pass{in: in, rules: strictest(in.Accounts), granted: map[fingerprint]struct{}{}}
	for i := range in.Accounts {
		p.read = append(p.read, readRecord(&in.Accounts[i].State))
	}
	p.record = merge(p.read)
	p.record.expire(in.Now, p.rules)
	p.record.raiseHighWater(in.Fleet, in.Now, p.rules)
	p.renewable = len(p.record.counted) <= p.limit()
	p.asks = make(map[fingerprint]Demand, len(in.Demands))
	for _, d := range in.Demands {
		f := fingerprintOf(d.Number)
		if other, twice := p.asks[f]; twice {
			d = Demand{
				Number: min(d.Number, other.Number), Object: min(d.Object, other.Object),
				Since: earlier(d.Since, other.Since), Held: d.Held || other.Held,
			}
		}
		p.asks[f] = d
	}
	if in.Complete {
		// What was approved and has stopped asking is done. Should it ask again, that is new.
		for f := range p.record.approved {
			if _, asks := p.asks[f]; !asks {
				delete(p.record.approved, f)
			}
		}
	}
	return p
}

// checkCause gives up a hold whose cause is another now. Its name goes with it: who
// approved 20 numbers too many did not approve the deletion of the CRD that followed.
func (p *pass) checkCause() {
	if p.record.hold != "" && p.record.cause != p.cause() {
		p.record.endHold()
	}
}

func (p *pass) cause() v1alpha1.RemovalsCause {
	if p.in.CRDDeleting {
		return v1alpha1.RemovalsCRDDeletion
	}
	return v1alpha1.RemovalsOverBudget
}

// approve puts on record as approved what waits now, if the hold was approved.
func (p *pass) approve() {
	hold := p.record.hold
	approved := slices.ContainsFunc(p.in.Accounts, func(a Account) bool { return a.Approve == hold })
	if hold == "" || !approved || !p.in.Complete {
		return
	}
	waiting := make([]fingerprint, 0, len(p.asks))
	for f := range p.asks {
		_, done := p.record.approved[f]
		if !done && !p.allowed(f) {
			waiting = append(waiting, f)
		}
	}
	p.sort(waiting)
	waiting = waiting[:min(len(waiting), p.room())]
	for _, f := range waiting {
		p.record.approved[f] = struct{}{}
	}
	p.record.lastApproved = hold
	p.record.endHold()
	p.event = &Event{Reason: v1alpha1.ReasonRemovalsApproved, Message: approvedMessage(hold, len(waiting))}
}

// room is how many more numbers can be on record.
func (p *pass) room() int {
	return max(0, capacity-len(p.record.counted)-len(p.record.approved))
}

func (p *pass) limit() int {
	return p.rules.limit(p.in.Now, p.record.highWaterAt(p.in.Now, p.in.Fleet, p.rules))
}

// allowed reports whether the number is counted, and may lose more add-ons for that.
func (p *pass) allowed(f fingerprint) bool {
	until, counted := p.record.counted[f]
	return counted && !p.in.CRDDeleting && (p.renewable || !p.in.Now.After(time.Unix(until, 0)))
}

// grantOnRecord grants what was approved or counted before, or everything if the budget
// is off. What is left is the rest.
func (p *pass) grantOnRecord() {
	off := p.rules.off(p.in.Now) && !p.in.CRDDeleting
	for f := range p.asks {
		_, approved := p.record.approved[f]
		switch {
		case approved, off:
			p.granted[f] = struct{}{}
		case p.allowed(f):
			if p.renewable {
				p.count(f)
			}
			p.granted[f] = struct{}{}
		default:
			p.rest = append(p.rest, f)
		}
	}
	p.sort(p.rest)
}

// count puts a number on record as one that may lose add-ons from now on.
func (p *pass) count(f fingerprint) {
	p.record.counted[f] = p.rules.allowedUntil(p.in.Now)
	p.granted[f] = struct{}{}
}

// grantFirst grants the first minNumbers of the window. What a hold holds is not among
// them, or it would go by as many in each window.
func (p *pass) grantFirst() {
	if p.in.CRDDeleting {
		return
	}
	held := p.record.hold != ""
	p.rest = slices.DeleteFunc(p.rest, func(f fingerprint) bool {
		if len(p.record.counted) >= p.rules.minNumbers || p.room() == 0 || held && p.asks[f].Held {
			return false
		}
		p.count(f)
		return true
	})
}

// judge grants the rest as a whole, holds it as a whole, or waits for it to settle.
func (p *pass) judge() {
	held := p.record.hold != ""
	switch {
	case p.in.CRDDeleting && !held && len(p.rest) > 0:
		p.beginHold()
	case !p.in.Complete:
	case len(p.rest) == 0:
		if held {
			p.release(nothingWaitsMessage(p.record.hold))
		}
	case p.in.CRDDeleting:
	case p.within(p.in.Now):
		if !p.settledAt().After(p.in.Now) {
			p.grantRest(held)
		}
	case !held && (!p.settledAt().After(p.in.Now) || p.in.Now.Sub(p.oldest()) >= holdAfter):
		p.beginHold()
	}
}

func (p *pass) grantRest(held bool) {
	if held {
		p.release(withinLimitMessage(p.record.hold, len(p.rest), p.limit(), p.rules.window))
	}
	for _, f := range p.rest {
		p.count(f)
	}
	p.rest = nil
}

func (p *pass) release(message string) {
	p.record.endHold()
	p.event = &Event{Reason: v1alpha1.ReasonRemovalsReleased, Message: message}
}

func (p *pass) beginHold() {
	p.record.hold = p.newHold()
	p.record.cause = p.cause()
	p.record.heldSince = p.in.Now
	p.event = &Event{Warning: true, Reason: v1alpha1.ReasonRemovalsHeld}
}

// within reports whether the rest fits within the limit at a time from now on, if nothing
// else changes until then.
func (p *pass) within(at time.Time) bool {
	counted, again := 0, 0
	for _, until := range p.record.counted {
		if !p.rules.expired(until, at) {
			counted++
		}
	}
	for _, f := range p.rest {
		if until, ok := p.record.counted[f]; ok && !p.rules.expired(until, at) {
			again++
		}
	}
	total := counted + len(p.rest) - again
	limit := p.rules.limit(at, p.record.highWaterAt(at, p.in.Fleet, p.rules))
	return total <= min(limit, capacity-len(p.record.approved))
}

// settledAt is when the rest has been the same for long enough to be judged, if it stays
// the same until then. Numbers that keep asking put it off for one window at most.
func (p *pass) settledAt() time.Time {
	latest := p.asks[p.rest[len(p.rest)-1]].Since
	joined := earlier(latest.Add(quiet), p.oldest().Add(p.rules.window))
	if p.in.Withdrawn.IsZero() {
		return joined
	}
	if p.record.hold != "" {
		return later(joined, p.in.Withdrawn.Add(min(calm, p.rules.window)))
	}
	return later(joined, earlier(p.in.Withdrawn.Add(quiet), p.oldest().Add(p.rules.window)))
}

func (p *pass) oldest() time.Time { return p.asks[p.rest[0]].Since }

// sort orders numbers by when they first asked, then by SID.
func (p *pass) sort(numbers []fingerprint) {
	slices.SortFunc(numbers, func(a, b fingerprint) int {
		x, y := p.asks[a], p.asks[b]
		return cmp.Or(x.Since.Compare(y.Since), cmp.Compare(x.Number, y.Number), cmp.Compare(a, b))
	})
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
