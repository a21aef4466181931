// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/ledger"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/plan"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/sid"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

// lagTolerance is how much later than a write Twilio's lists may show it. What this object
// may have assigned within it is refused, or absent, only if that repeats for as long.
const lagTolerance = 15 * time.Second

// changes is what a reconcile changed in Twilio, by SID.
type changes struct{ assigned, removed []string }

func (c *changes) any() bool { return len(c.assigned)+len(c.removed) > 0 }

// worker carries out the steps of one plan and enters what came of them in the ledger.
type worker struct {
	r  *assignmentReconciler
	cl *twilio.Client
	s  *scope
	// number is the phone number SID, phoneNumber its E.164 form for the log.
	number, phoneNumber string
	ledger              *ledger.Ledger
	changes             *changes
}

func (r *assignmentReconciler) newWorker(cl *twilio.Client, s *scope, res *result) *worker {
	s.cause = r.causes.of(s, res.plan)
	w := &worker{r: r, cl: cl, s: s, number: string(s.object.Spec.PhoneNumberSID), phoneNumber: s.object.Status.PhoneNumber,
		ledger: res.ledger, changes: &res.changes}
	if res.observed != nil {
		w.phoneNumber = res.observed.phoneNumber
	}
	return w
}

// apply carries out a plan, assignments first. Nothing is removed while a desired add-on is
// not assigned, so a swap never leaves the number bare.
//
// A write that has begun is finished even if ctx ends, so that it can be recorded.
func (r *assignmentReconciler) apply(ctx context.Context, cl *twilio.Client, s *scope, res *result) error {
	w := r.newWorker(cl, s, res)
	removals := w.dropAbsent(res.plan.With(plan.Unassign))
	if err := w.assignAll(ctx, res.plan.With(plan.Assign)); err != nil {
		w.holdRemovals(removals)
		return err
	}
	if w.holdRemovals(removals) {
		return nil
	}
	removals = slices.DeleteFunc(removals, func(step plan.Step) bool {
		returned := w.ledger.IsAssignedAs(step.TwilioSID())
		if returned { // Twilio returned it for a desired add-on under another SID
			w.ledger.Removed(step.SID)
		}
		return returned
	})
	return w.removeWithinBudget(ctx, removals, res)
}

// dropAbsent leaves out what no list has shown for long enough: somebody else removed it
// while its removal waited.
func (w *worker) dropAbsent(steps []plan.Step) []plan.Step {
	return slices.DeleteFunc(steps, func(step plan.Step) bool {
		subject := doubtRemoval + sid.Normalize(step.SID)
		if step.Listed != nil {
			w.r.fleet.Doubts.Forget(w.s.key(), subject)
			return false
		}
		absent := w.r.fleet.Doubts.Note(w.s.key(), subject) >= believeAfter
		if absent {
			w.removed(step.SID)
		}
		return absent
	})
}

// removeWithinBudget removes assignments if the account's removal budget allows it.
func (w *worker) removeWithinBudget(ctx context.Context, steps []plan.Step, res *result) error {
	if len(steps) == 0 {
		return nil
	}
	res.asks = true
	if err := w.r.brake.request(ctx, w.s); err != nil {
		if o := asOutcome(err); o != nil {
			for i := range steps {
				w.ledger.Waits(steps[i].SID, o.message)
			}
		}
		return err
	}
	err := w.removeAll(ctx, steps)
	res.asks = err != nil
	return err
}

// holdRemovals reports whether removals have to wait because a desired add-on is not
// assigned, and records what they wait for.
func (w *worker) holdRemovals(removals []plan.Step) bool {
	missing := firstUnassigned(w.ledger.Statuses())
	if missing == "" {
		return false
	}
	for _, step := range removals {
		w.ledger.Waits(step.SID, removalWaits(missing))
	}
	return true
}

func firstUnassigned(addOns []v1alpha1.AddOnStatus) v1alpha1.AddOnSID {
	for i := range addOns {
		switch addOns[i].State {
		case v1alpha1.AddOnMissing, v1alpha1.AddOnAssigning, v1alpha1.AddOnRejected:
			return addOns[i].SID
		case v1alpha1.AddOnAssigned, v1alpha1.AddOnUnassigning, v1alpha1.AddOnUnmanaged:
		}
	}
	return ""
}

// errStale ends a reconcile because somebody changed the object meanwhile.
var errStale = errors.New("the object has changed since the reconcile began")

// proceed reports whether one more write may begin.
func (w *worker) proceed(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if w.r.fleet.IsStale(w.s.object) {
		return errStale
	}
	return nil
}

// assignAll assigns add-ons one by one. An error about one of them holds up no other; any
// other error ends the work, and what was not tried is recorded as such.
func (w *worker) assignAll(ctx context.Context, steps []plan.Step) error {
	var failed error
	for i := range steps {
		if err := w.proceed(ctx); err != nil {
			w.notTried(steps[i:])
			return cmpErr(failed, err)
		}
		err := w.assign(context.WithoutCancel(ctx), steps[i].SID)
		if err != nil && !twilio.IsAboutOneRequest(err) {
			w.notTried(steps[i+1:])
			return err
		}
		failed = cmpErr(failed, err)
	}
	return failed
}

func (w *worker) notTried(steps []plan.Step) {
	for i := range steps {
		w.ledger.NotCreated(steps[i].SID)
	}
}

// cmpErr keeps the first of two errors.
func cmpErr(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// assign posts one add-on. Where the answer leaves open what happened, it reads the
// assignment. The error is nil if Twilio assigned or refused the add-on.
func (w *worker) assign(ctx context.Context, addOn v1alpha1.AddOnSID) error {
	var receipt twilio.Receipt
	start := time.Now()
	got, err := w.cl.AssignAddOn(twilio.WithReceipt(ctx, &receipt), w.number, string(addOn))
	w.log(ctx, change{verbAssign, addOn, got.UniqueName, time.Since(start), receipt}, err)
	switch {
	case err == nil:
		w.assigned(addOn, &got)
		return nil
	case twilio.IsConflict(err), twilio.IsRejected(err):
		return w.resolveRefusal(ctx, addOn, err)
	case twilio.OutcomeUnknown(err):
		return w.resolveUnknown(ctx, addOn, err)
	case twilio.IsNotFound(err):
		w.confirmRefusal(addOn, err)
		return nil
	}
	w.ledger.NotCreated(addOn)
	return err
}

func (w *worker) assigned(addOn v1alpha1.AddOnSID, got *twilio.AssignedAddOn) {
	w.ledger.Assigned(addOn, got)
	w.changes.assigned = append(w.changes.assigned, got.SID)
	w.r.fleet.Doubts.Forget(w.s.key(), doubtsAbout(addOn)...)
}

// resolveUnknown reads the assignment after a POST whose outcome is not known. If it is
// there, this object assigned it; otherwise it stays on record as Assigning.
func (w *worker) resolveUnknown(ctx context.Context, addOn v1alpha1.AddOnSID, cause error) error {
	got, err := w.cl.GetAssignedAddOn(ctx, w.number, string(addOn))
	switch {
	case err == nil:
		w.assigned(addOn, &got)
		return nil
	case twilio.IsNotFound(err):
		return cause
	}
	return err
}

// resolveRefusal reads the assignment after a refused POST: the add-on may be there
// already.
func (w *worker) resolveRefusal(ctx context.Context, addOn v1alpha1.AddOnSID, cause error) error {
	got, err := w.cl.GetAssignedAddOn(ctx, w.number, string(addOn))
	switch {
	case err == nil:
		w.ledger.Adopted(addOn, &got)
		return nil
	case twilio.IsNotFound(err):
		w.confirmRefusal(addOn, cause)
		return nil
	}
	w.ledger.NotCreated(addOn)
	return err
}

// confirmRefusal records a refusal once it has repeated for long enough. Until then the
// add-on stays as it was.
func (w *worker) confirmRefusal(addOn v1alpha1.AddOnSID, cause error) {
	wait := confirmAfter
	if w.ledger.Ambiguous(addOn) {
		wait = lagTolerance
	}
	lasted := w.r.fleet.Doubts.Note(w.s.key(), doubtRefusal+sid.Normalize(addOn))
	w.ledger.NotCreated(addOn)
	if w.ledger.IsRejected(addOn) || lasted >= wait {
		w.ledger.Refused(addOn, twilio.Explain(cause))
	}
}

// removeAll removes assignments. A refusal of one holds up no other. What Twilio answers
// not to know is gone only when a listing confirms it: dropped from the record for a stray
// 404, it would later look like somebody else's.
func (w *worker) removeAll(ctx context.Context, steps []plan.Step) error {
	var unknown []plan.Step
	var failed error
	for i := range steps {
		err := w.proceed(ctx)
		if err == nil && !w.r.brake.mayRemove(w.s) {
			err = stale() // the grant has ended
		}
		if err == nil {
			err = w.remove(context.WithoutCancel(ctx), &steps[i])
		}
		switch {
		case err == nil:
		case twilio.IsNotFound(err):
			unknown = append(unknown, steps[i])
		case twilio.IsAboutOneRequest(err):
			w.ledger.Waits(steps[i].SID, twilio.Explain(err))
			failed = cmpErr(failed, removalFailed(steps[i].SID, err))
		default:
			return err
		}
	}
	if len(unknown) == 0 {
		return failed
	}
	return cmpErr(failed, w.confirmAbsent(ctx, unknown))
}

// remove deletes one assignment.
func (w *worker) remove(ctx context.Context, step *plan.Step) error {
	var receipt twilio.Receipt
	start := time.Now()
	err := w.cl.UnassignAddOn(twilio.WithReceipt(ctx, &receipt), w.number, step.TwilioSID())
	w.log(ctx, change{verbUnassign, v1alpha1.AddOnSID(step.TwilioSID()), uniqueNameOf(step), time.Since(start), receipt}, err)
	if err != nil {
		return err
	}
	w.removed(step.SID)
	w.changes.removed = append(w.changes.removed, step.TwilioSID())
	return nil
}

func uniqueNameOf(step *plan.Step) string {
	switch {
	case step.Listed != nil:
		return step.Listed.UniqueName
	case step.Recorded != nil:
		return step.Recorded.UniqueName
	}
	return ""
}

// confirmAbsent lists the number to see whether assignments answered 404 are gone.
func (w *worker) confirmAbsent(ctx context.Context, steps []plan.Step) error {
	listed, err := w.cl.ListAssignedAddOns(ctx, w.number)
	if twilio.IsNotFound(err) {
		return w.r.explainListNotFound(ctx, w.cl, w.s, err)
	} else if err != nil {
		return err
	}
	w.r.fleet.Doubts.Forget(w.s.key(), doubtNumber)
	var left error
	for i := range steps {
		step := &steps[i]
		if slices.ContainsFunc(listed, func(found twilio.AssignedAddOn) bool { return sid.Equal(found.SID, step.TwilioSID()) }) {
			w.ledger.Waits(step.SID, textListedThough404)
			left = contradictoryRemoval()
		} else if wait := w.mayLag(step); wait > 0 {
			w.ledger.Waits(step.SID, textRemovalInDoubt)
			left = cmpErr(left, removalInDoubt(wait))
		} else {
			w.removed(step.SID)
		}
	}
	return left
}

// removed records that an add-on is not on the number any more.
func (w *worker) removed(addOn v1alpha1.AddOnSID) {
	w.ledger.Removed(addOn)
	w.r.fleet.Doubts.Forget(w.s.key(), doubtsAbout(addOn)...)
}

// mayLag returns for how long a list that lacks an assignment is no proof: this object made
// the assignment a short while ago, or may have, and no list has shown it yet.
func (w *worker) mayLag(step *plan.Step) time.Duration {
	if step.Listed != nil || !plan.Created(step.Ownership) || assignedLongAgo(step.Recorded) {
		return 0
	}
	lasted := w.r.fleet.Doubts.Note(w.s.key(), doubtRemoval+sid.Normalize(step.SID))
	return max(0, lagTolerance-lasted)
}

// assignedLongAgo reports whether Twilio dates an assignment on record so far back that its
// lists show it. The margin is for clocks that differ.
func assignedLongAgo(record *v1alpha1.AddOnStatus) bool {
	return record != nil && record.DateUpdated != nil && time.Since(record.DateUpdated.Time) > believeAfter
}
