// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// violation is something that must not have happened, and when it did.
type violation struct {
	at   time.Time
	text string
}

func (v *violation) Error() string { return "at " + v.at.Format(clock) + " " + v.text }

func wrongAt(t time.Time, format string, args ...any) error {
	return &violation{at: t, text: fmt.Sprintf(format, args...)}
}

// judge goes through all that happened, and returns what must not have.
func (h *history) judge() []error {
	var wrong []error
	for i := range h.Journal {
		if err := h.judgeWrite(&h.Journal[i]); err != nil {
			wrong = append(wrong, err)
		}
	}
	for i := range h.Lives {
		wrong = append(wrong, h.judgeRelease(&h.Lives[i])...)
		wrong = append(wrong, h.judgeRecords(&h.Lives[i])...)
		wrong = append(wrong, h.judgeLeft(&h.Lives[i])...)
		wrong = append(wrong, h.judgeLast(&h.Lives[i])...)
		wrong = append(wrong, h.judgeGivenUp(&h.Lives[i])...)
		wrong = append(wrong, h.judgeRefusals(&h.Lives[i])...)
	}
	for i := range h.Accounts {
		wrong = append(wrong, h.judgeAccount(&h.Accounts[i])...)
	}
	wrong = append(wrong, h.judgeTenures()...)
	return append(wrong, h.judgeBudget()...)
}

// judgeWrite is nil if somebody had the right to what the operator did.
func (h *history) judgeWrite(m *twiliosim.Mutation) error {
	if m.Actor != twiliosim.ActorAPI {
		return nil
	}
	var has right
	switch m.Change {
	case twiliosim.ChangeAssign:
		has = mayAssign(m.AddOn)
	case twiliosim.ChangeUnassign:
		has = h.mayUnassign(m)
	default:
		return fmt.Errorf("the operator did %s on %s", m.Change, short(m.Number))
	}
	uids, reasons := h.entitled(m, has)
	if len(uids) > 0 {
		return nil
	}
	return wrongAt(m.Time, "Twilio was asked to %s %s on %s, and nobody had the right to it: %s",
		m.Change, short(m.AddOn), short(m.Number), strings.Join(reasons, "; "))
}

// judgeRelease returns what an object left on its number when it went, which it should not
// have: nothing if it was let go by force or left Twilio alone, and nothing that another
// object answered for on record.
func (h *history) judgeRelease(l *life) []error {
	if l.Gone.IsZero() || l.byForce() || len(l.Versions) == 0 {
		return nil
	}
	last, before := &l.Versions[len(l.Versions)-1], l.Gone.Add(-1)
	own, around, ok := h.knowledge(l.Key, last.Number, before)
	switch {
	case !ok && last.Finalizer:
		return []error{wrongAt(l.Gone, "%s lost its finalizer, and no manager had made sure of it", l.Key)}
	case !ok, h.leftAlone(l):
		return nil
	}
	var wrong []error
	for addOn, by := range h.assignedAt(last.Number, l.Gone) {
		behindOurBack := by.Actor == twiliosim.ActorConsole && (by.Time.After(own) || h.removedFor(l, addOn, by.Time))
		if h.guarded(l, addOn, &by, around) && h.recognizes(last, addOn) && !behindOurBack && !h.answered(l, addOn, &by) {
			wrong = append(wrong, wrongAt(l.Gone, "%s was let go, and left %s on %s", l.Key, short(addOn), short(last.Number)))
		}
	}
	return wrong
}

// removedFor says whether the operator had removed an add-on, since the deletion of an object
// began, before somebody else assigned it anew.
func (h *history) removedFor(l *life, addOn string, before time.Time) bool {
	deleting := slices.IndexFunc(l.Versions, func(v version) bool { return v.Deleting })
	return deleting >= 0 && slices.ContainsFunc(h.Journal, func(m twiliosim.Mutation) bool {
		return removes(&m) && m.AddOn == addOn && sameSID(m.Number, l.Versions[0].Number) &&
			m.Time.After(l.Versions[deleting].From) && m.Time.Before(before)
	})
}

// byForce says whether somebody took the finalizer away and it was not put back.
func (l *life) byForce() bool {
	stripped := !l.Stripped.IsZero() && !l.Versions[len(l.Versions)-1].Finalizer
	return !l.Forced.IsZero() || stripped
}

// leftAlone says whether an object went without touching Twilio, as its spec asked: what it
// had assigned is told as kept.
func (h *history) leftAlone(l *life) bool {
	last, before := &l.Versions[len(l.Versions)-1], l.Gone.Add(-1)
	own, _, ok := h.knowledge(l.Key, last.Number, before)
	return ok && slices.ContainsFunc(l.within(own, before), func(v *version) bool {
		return !v.active() || v.Deletion == v1alpha1.DeletionRetain
	})
}

// guarded says whether the deletion of an object had to remove an add-on: one that it has on
// record, or, under Authoritative, lists while it owns the number. An object without the
// finalizer answers for nothing, and so nothing must have been assigned for it.
func (h *history) guarded(l *life, addOn string, by *twiliosim.Mutation, around time.Time) bool {
	last := &l.Versions[len(l.Versions)-1]
	alone := !slices.ContainsFunc(h.moments(last.Number, around, l.Gone.Add(-1)), func(t time.Time) bool {
		return len(without(h.claimsAt(last.Number, t), l)) > 0
	})
	listed := last.Policy == v1alpha1.ManagementAuthoritative && last.lists(addOn) && (alone || last.Claim == v1alpha1.ClaimHeld)
	return (last.Finalizer && (last.answersFor(addOn) || listed)) || h.soleCreator(l, by)
}

// answered says whether another object answered for an add-on when this one had to decide:
// it had it on record, under a finalizer of its own; or it owned the number, did not list the
// add-on and saw that it was gone, before somebody else assigned it anew.
func (h *history) answered(l *life, addOn string, by *twiliosim.Mutation) bool {
	last := &l.Versions[len(l.Versions)-1]
	for i := range h.Lives {
		other := &h.Lives[i]
		if other.UID == l.UID {
			continue
		}
		for _, v := range other.within(l.Gone.Add(-decision), l.Gone) {
			if !sameSID(v.Number, last.Number) || v.Deleting {
				continue
			}
			owner := v.Claim == v1alpha1.ClaimHeld && v.Exact && !v.lists(addOn)
			if v.keeps(last, addOn) || (owner && by.Actor == twiliosim.ActorConsole) {
				return true
			}
		}
	}
	return false
}

// decision is how long before an object goes it may have read the others: it removes what
// is left to it in between.
const decision = 30 * time.Second

// judgeLast returns what the operator had assigned and nobody removed when the last object
// that named the number went. What an object was to keep, or what was left by force, is told.
func (h *history) judgeLast(l *life) []error {
	if l.Gone.IsZero() || h.OtherSIDs || len(l.Versions) == 0 {
		return nil
	}
	number := l.Versions[0].Number
	if len(without(h.claimsAt(number, l.Gone), l)) > 0 {
		return nil
	}
	var wrong []error
	for addOn, by := range h.assignedAt(number, l.Gone) {
		if by.Actor == twiliosim.ActorAPI && !h.toldAsKept(number, addOn, h.writeBegan(&by), l.Gone) {
			wrong = append(wrong, wrongAt(l.Gone, "%s was the last object for %s, and %s stays, which the operator had assigned at %s",
				l.Key, short(number), short(addOn), by.Time.Format(clock)))
		}
	}
	return wrong
}

// toldAsKept says whether an object that had an add-on on record went, in a window, without
// removing it as its spec or somebody's force had it.
func (h *history) toldAsKept(number, addOn string, from, until time.Time) bool {
	return slices.ContainsFunc(h.Lives, func(l life) bool {
		if l.Gone.Before(from) || l.Gone.After(until) || len(l.Versions) == 0 || !sameSID(l.Versions[0].Number, number) {
			return false
		}
		recorded := slices.ContainsFunc(l.Versions, func(v version) bool { return v.recordsCreated(addOn) })
		return recorded && (l.byForce() || h.leftAlone(&l))
	})
}

// soleCreator says whether an assignment can have been made on behalf of this object only.
func (h *history) soleCreator(l *life, m *twiliosim.Mutation) bool {
	if m.Actor != twiliosim.ActorAPI {
		return false
	}
	uids, _ := h.entitled(m, mayAssign(m.AddOn))
	return len(uids) == 1 && uids[0] == l.UID
}

// recordsCreated says whether a version has on record that the operator assigned an add-on,
// or was about to.
func (v *version) recordsCreated(addOn string) bool {
	return v.recordsWhere(addOn, func(r v1alpha1.AddOnStatus) bool { return isCreated(r.Ownership) })
}

// recordsWhere says whether a version has a record of an add-on, by its SID or by that of
// its assignment, for which something is true.
func (v *version) recordsWhere(addOn string, where func(v1alpha1.AddOnStatus) bool) bool {
	return slices.ContainsFunc(v.Records, func(r v1alpha1.AddOnStatus) bool {
		return where(r) && (sameSID(string(r.SID), addOn) || v.isOf(r, addOn))
	})
}

// isOf says whether a record names the SID that the assignment of an add-on has where
// assignments have SIDs of their own.
func (v *version) isOf(r v1alpha1.AddOnStatus, addOn string) bool {
	sid := twiliosim.AssignmentSID(v.Number, addOn)
	return sameSID(string(r.SID), sid) || sameSID(string(r.AssignedSID), sid)
}

// recognizes says whether an object can tell the assignment of an add-on from others. Where
// assignments have SIDs of their own, who has none on record as its own cannot: it never had
// Twilio's answer, and may ask for it again only while the add-on is listed.
func (h *history) recognizes(v *version, addOn string) bool {
	return !h.OtherSIDs || v.recordsWhere(addOn, func(r v1alpha1.AddOnStatus) bool { return r.Ownership != "" && v.isOf(r, addOn) })
}

// judgeRecords returns what an object had assigned itself and later took for somebody
// else's. Under Additive that is never removed; it may come to nothing by the end, and is a
// leak nevertheless.
func (h *history) judgeRecords(l *life) []error {
	if h.OtherSIDs {
		return nil // what a record is of cannot be told
	}
	var wrong []error
	for i := range l.Versions {
		v := &l.Versions[i]
		if i > 0 && slices.EqualFunc(l.Versions[i-1].Records, v.Records, sameRecord) {
			continue
		}
		// A list that is behind may show what was removed just now: that is no leak.
		for addOn, by := range h.assignedAt(v.Number, v.From.Add(receipt)) {
			if by.Time.Before(v.From) && v.takesForForeign(addOn) && h.soleCreator(l, &by) {
				wrong = append(wrong, wrongAt(v.From, "%s takes %s on %s for somebody else's, and had assigned it itself at %s", l.Key, short(addOn), short(v.Number), by.Time.Format(clock)))
			}
		}
	}
	return wrong
}

// takesForForeign says whether a version has on record that an add-on is there, and that it
// was not the object that assigned it.
func (v *version) takesForForeign(addOn string) bool {
	return v.recordsWhere(addOn, func(r v1alpha1.AddOnStatus) bool {
		there := r.State == v1alpha1.AddOnAssigned || r.State == v1alpha1.AddOnUnmanaged
		return there && !isCreated(r.Ownership)
	})
}

// judgeLeft returns what an Additive object that is Synced at the end had created itself,
// does not list any more, and left.
func (h *history) judgeLeft(l *life) []error {
	if !l.Gone.IsZero() || len(l.Versions) == 0 {
		return nil
	}
	last := &l.Versions[len(l.Versions)-1]
	if last.Policy != v1alpha1.ManagementAdditive || last.Deleting || last.Reason != v1alpha1.ReasonSynced {
		return nil
	}
	var wrong []error
	for addOn, by := range h.assignedAt(last.Number, forever) {
		created := last.recordsCreated(addOn) || h.soleCreator(l, &by)
		if !last.lists(addOn) && created && h.recognizes(last, addOn) {
			wrong = append(wrong, fmt.Errorf("%s is Additive, created %s on %s, does not list it, and left it there", l.Key, short(addOn), short(last.Number)))
		}
	}
	return wrong
}

// What has to be so for a while before anything rests on it, less what the clocks of the
// operator and of this record may differ.
const (
	goneFor    = time.Minute - lag
	refusedFor = 2*time.Second - receipt
)

// judgeGivenUp returns when an object gave up a number that had been there lately.
func (h *history) judgeGivenUp(l *life) []error {
	var wrong []error
	for i := 1; i < len(l.Versions); i++ {
		before, v := &l.Versions[i-1], &l.Versions[i]
		if before.Found && !v.Found && h.existed(v.Number, v.Seen.Add(-goneFor), v.From) {
			wrong = append(wrong, wrongAt(v.Seen, "%s gave %s up, which was there less than a minute before", l.Key, short(v.Number)))
		}
	}
	return wrong
}

// existed says whether a number was there at some time of a window.
func (h *history) existed(number string, from, until time.Time) bool {
	there := false
	for i := range h.Journal {
		m := &h.Journal[i]
		if m.Time.After(until) {
			break
		}
		if m.Number != number {
			continue
		}
		if there && m.Time.After(from) {
			return true
		}
		switch m.Change {
		case twiliosim.ChangeBuy:
			there = true
		case twiliosim.ChangeRelease, twiliosim.ChangeMove:
			there = false
		}
	}
	return there
}

// judgeRefusals returns the add-ons that an object told as rejected when Twilio had not
// refused them for long enough: a single refusal may be a stray one.
func (h *history) judgeRefusals(l *life) []error {
	var wrong []error
	rejected := map[v1alpha1.AddOnSID]bool{}
	for i := range l.Versions {
		v := &l.Versions[i]
		for _, r := range v.Records {
			if r.State == v1alpha1.AddOnAssigning {
				continue // a rejected one is tried again
			}
			if r.State == v1alpha1.AddOnRejected && !rejected[r.SID] && !h.posted(v.Number, string(r.SID), l.Versions[0].From, v.Seen.Add(-refusedFor)) {
				wrong = append(wrong, wrongAt(v.Seen, "%s tells that Twilio rejects %s on %s, which had not been so for two seconds", l.Key, short(string(r.SID)), short(v.Number)))
			}
			rejected[r.SID] = r.State == v1alpha1.AddOnRejected
		}
	}
	return wrong
}

// judgeAccount returns the objects that a TwilioAccount left behind which they referred to.
func (h *history) judgeAccount(a *accountVersion) []error {
	if a.Until.Equal(forever) || a.Forced {
		return nil
	}
	var wrong []error
	since := h.asOf(a.Released)
	for i := range h.Lives {
		// An object that came or went in the meantime may not have been known.
		if v := h.Lives[i].at(since); v != nil && v.Account == a.Name && h.Lives[i].at(a.Until) != nil {
			wrong = append(wrong, wrongAt(a.Until, "TwilioAccount %s was let go, and %s refers to it", a.Name, h.Lives[i].Key))
		}
	}
	return wrong
}

// assignedAt is what a number carried at a time, and by whom each add-on was assigned when.
func (h *history) assignedAt(number string, t time.Time) map[string]twiliosim.Mutation {
	on := map[string]twiliosim.Mutation{}
	for _, m := range h.Journal {
		if m.Time.After(t) {
			break
		}
		switch {
		case m.Number != number:
		case m.Change == twiliosim.ChangeAssign:
			on[m.AddOn] = m
		case m.Change == twiliosim.ChangeUnassign:
			delete(on, m.AddOn)
		}
	}
	return on
}
