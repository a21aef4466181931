// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/schedule"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

const (
	// tolerated is how many failures in a row a synced object is through before status
	// tells: about four seconds.
	tolerated = 3
	// slow is after how many failures in a row retries are a minute or more apart, so that
	// status may tell the latest error.
	slow = 7
	// maxNote is the longest note of an event, in bytes.
	maxNote = 1024
)

// report tells how a reconcile ended: one write of status if anything changed, events if
// something happened. It says when to look again.
func (r *assignmentReconciler) report(ctx context.Context, s *scope, res result, err error) (ctrl.Result, error) {
	a := s.object
	r.recordChanges(s, res)
	r.settleDemand(s, res, err)
	if err == nil || res.finalizerRemoved {
		r.causes.done(s.key())
	}
	if res.finalizerRemoved && asOutcome(err) == nil {
		return ctrl.Result{}, err
	}
	o := outcomeOfError(err)
	switch {
	case err == nil:
		o = outcomeOf(a, res)
	case o != nil:
	case res.changes.any(), res.ledger != nil && res.claimed:
		o = newOutcome(v1alpha1.ReasonProgressing, textInterrupted)
	case apierrors.IsConflict(err), errors.Is(err, errStale):
		o = stale()
	default:
		return ctrl.Result{}, err
	}
	logf.FromContext(ctx).V(1).Info("Reconciled", "reason", o.reason, "message", o.message, "cause", fmt.Sprint(err))
	if o.skipStatus || r.tolerates(s, res, o) {
		return r.requeue(s, o), nil
	}
	o.current = r.fleet.Backoff.Failures(s.key()) >= slow
	before := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady).DeepCopy()
	if err := r.writeStatus(ctx, a, res, statusFor(a, res, o, time.Now())); apierrors.IsConflict(err) {
		o = stale()
	} else if err != nil {
		return ctrl.Result{}, err
	}
	r.recordTransition(ctx, a, before, o, err)
	return r.requeue(s, o), nil
}

// settleDemand tells the brake whether the object still wants to remove add-ons. After an
// error that says nothing about it, a demand stands.
func (r *assignmentReconciler) settleDemand(s *scope, res result, err error) {
	o := outcomeOfError(err)
	if (err != nil && o == nil) || (o != nil && (o.benign || o.waitsForPermit)) {
		return // it has not come as far as to ask
	}
	r.brake.saw(s.key())
	unknown := o != nil && isTransient(o.reason)
	if res.asks || unknown || s.account == nil {
		return
	}
	if r.brake.withdraw(s.account.Spec.AccountSID, s.key()) {
		r.enqueueAccount(s.account.Name) // what it tells of a hold has changed
	}
}

// tolerates reports whether a synced object stays as it is through a failure that the next
// try may mend.
func (r *assignmentReconciler) tolerates(s *scope, res result, o *outcome) bool {
	return isTransient(o.reason) && isSynced(s.object) && res.ledger == nil && r.fleet.Backoff.Failures(s.key()) < tolerated
}

// writeStatus writes status if it changed. After a write to Twilio it retries even during
// shutdown: an unrecorded assignment would look foreign.
func (r *assignmentReconciler) writeStatus(ctx context.Context, a *assignment, res result, next v1alpha1.PhoneNumberAddOnAssignmentStatus) error {
	switch {
	case apiequality.Semantic.DeepEqual(a.Status, next):
		return nil
	case res.changes.any():
		return r.forceStatus(ctx, a, next)
	default:
		return client.IgnoreNotFound(r.patchStatus(ctx, a, next))
	}
}

// forceStatus writes status over whatever else changed on the object, for as long as a
// stopping process has.
func (r *assignmentReconciler) forceStatus(ctx context.Context, a *assignment, next v1alpha1.PhoneNumberAddOnAssignmentStatus) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	backoff := wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 10, Cap: 5 * time.Second}
	base, last := a, error(nil)
	err := wait.ExponentialBackoffWithContext(ctx, backoff, func(ctx context.Context) (bool, error) {
		if last = client.IgnoreNotFound(r.patchStatus(ctx, base, next)); !apierrors.IsConflict(last) {
			return last == nil, nil
		}
		current := &assignment{}
		if err := r.live.Get(ctx, client.ObjectKeyFromObject(a), current); err != nil {
			return apierrors.IsNotFound(err), nil
		}
		base = current
		return current.UID != a.UID, nil
	})
	if err != nil {
		return fmt.Errorf("recording what was changed in Twilio: %w", last)
	}
	return nil
}

// patchStatus writes status if the object on the server is the one at hand, and updates the
// one at hand.
func (r *assignmentReconciler) patchStatus(ctx context.Context, a *assignment, next v1alpha1.PhoneNumberAddOnAssignmentStatus) error {
	desired := a.DeepCopy()
	desired.Status = next
	if err := r.Status().Patch(ctx, desired, client.MergeFromWithOptions(a, client.MergeFromWithOptimisticLock{})); err != nil {
		return err
	}
	r.fleet.Expect(desired)
	*a = *desired
	return nil
}

// recordChanges tells of what was changed in Twilio, in events and metrics.
func (r *assignmentReconciler) recordChanges(s *scope, res result) {
	a := s.object
	if !res.changes.any() {
		return
	}
	r.metrics.changed(string(res.account.Spec.AccountSID), s.cause, res.changes)
	reason, action, note := res.changes.told()
	r.event(a, corev1.EventTypeNormal, reason, action, note)
}

// told is the one event about the changes.
func (c *changes) told() (reason, action, note string) {
	assigned, removed := strings.Join(c.assigned, ", "), strings.Join(c.removed, ", ")
	switch {
	case removed == "":
		return "AddOnsAssigned", "Assign", "Assigned " + assigned
	case assigned == "":
		return "AddOnsUnassigned", "Unassign", "Unassigned " + removed
	}
	return "AddOnsReplaced", "Replace", "Assigned " + assigned + "; unassigned " + removed
}

// recordTransition sends an event and writes a log line when an object gets into trouble,
// and when it gets out of it. What is wrong with an account is a line of the account alone.
func (r *assignmentReconciler) recordTransition(ctx context.Context, a *assignment, before *metav1.Condition, o *outcome, cause error) {
	if before != nil && before.Reason == o.reason {
		return
	}
	wasTrouble := before != nil && (isStalled(before.Reason) || isTransient(before.Reason))
	id := twilio.RequestID(cause)
	switch {
	case o.reason == v1alpha1.ReasonRemovalsHeld, isUnserved(o.reason):
		// The account tells, once for all of them.
	case isStalled(o.reason) || isTransient(o.reason):
		logf.FromContext(ctx).V(verbosity(o.reason)).Info("Reconciling fails", "reason", o.reason, "message", o.message, "requestID", id, "error", fmt.Sprint(cause))
		note := o.message
		if id != "" {
			note += " Twilio request " + id + "."
		}
		r.event(a, corev1.EventTypeWarning, o.reason, "Reconcile", note)
	case wasTrouble && o.kind == kindReady:
		logf.FromContext(ctx).V(verbosity(before.Reason)).Info("Reconciling works again", "reason", o.reason, "before", before.Reason)
		r.event(a, corev1.EventTypeNormal, "Recovered", "Reconcile", "Recovered from "+before.Reason+". "+o.message)
	}
}

// verbosity is the level at which the log tells of an object's trouble: debug for one that
// the account tells of, once for all its objects.
func verbosity(reason string) int {
	if reason == v1alpha1.ReasonCredentialsInvalid || reason == v1alpha1.ReasonAccountInvalid {
		return 1
	}
	return 0
}

func (r *assignmentReconciler) event(a *assignment, kind, reason, action, note string) {
	r.events.Eventf(a, nil, kind, reason, action, "%s", truncateBytes(note, maxNote))
}

// truncateBytes keeps at most limit bytes, and no part of a character.
func truncateBytes(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}

// requeue counts the outcome and says when to look at the object again.
func (r *assignmentReconciler) requeue(s *scope, o *outcome) ctrl.Result {
	key := s.key()
	switch o.kind {
	case kindReady:
		if !o.skipStatus {
			r.fleet.Checked(key)
		}
		r.fleet.ScheduleNext(key, schedule.NextPhase(s.object.UID, resyncInterval(s.account), r.fleet.LastCheck(key)))
		return ctrl.Result{}
	case kindStalled:
		r.fleet.Backoff.Succeeded(key)
	case kindRetry:
		if !o.benign && o.after == 0 {
			o.after = max(r.fleet.Backoff.Failed(key), minRetry(o))
		}
	case kindWaiting:
	}
	return requeueFor(o, resyncInterval(s.account))
}

// minRetry keeps Twilio from being asked quickly about what it just denied.
func minRetry(o *outcome) time.Duration {
	if o.reason == v1alpha1.ReasonProgressing {
		return askAgain
	}
	return 0
}

// requeueFor says when the work queue brings an object back.
func requeueFor(o *outcome, interval time.Duration) ctrl.Result {
	switch {
	case o.kind == kindWaiting || o.kind == kindReady:
		return ctrl.Result{}
	case o.after > 0:
		return ctrl.Result{RequeueAfter: o.after, Priority: new(normal)}
	}
	return ctrl.Result{RequeueAfter: schedule.Jitter(interval), Priority: new(background)}
}

// resyncInterval is how often the numbers of an account are checked.
func resyncInterval(account *v1alpha1.TwilioAccount) time.Duration {
	if account == nil || account.Spec.ResyncInterval.Duration <= 0 {
		return schedule.DefaultResyncInterval
	}
	return account.Spec.ResyncInterval.Duration
}
