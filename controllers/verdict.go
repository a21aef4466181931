// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/ledger"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/ownership"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

// kind says what follows from an outcome.
type kind int

const (
	// kindReady: the number is as the policy wants it. Next check at the object's phase.
	kindReady kind = iota
	// kindWaiting: an event wakes the object: a permit, an edit, another object.
	kindWaiting
	// kindStalled: a person has to act. Slow re-check.
	kindStalled
	// kindRetry: it passes by itself. Back-off.
	kindRetry
)

// outcome is how a reconcile ends, as status tells it. It is an error, so that the steps
// of a reconcile can end it early.
type outcome struct {
	kind            kind
	reason, message string
	// after is when to look again; zero leaves it to the kind.
	after time.Duration
	// skipStatus: status stays as it is.
	skipStatus bool
	// waitsForPermit: the limiter wakes the object when it may call Twilio.
	waitsForPermit bool
	// yields: the object gives up its number, in status.
	yields bool
	// numberGone: the number is confirmed not to exist in the account.
	numberGone bool
	// benign: no failure; the next reconcile has what this one lacked.
	benign bool
	// verified: Twilio has accepted the credential of the account.
	verified bool
	// current: the message of a transient trouble may replace the one already given.
	current bool
}

func (o *outcome) Error() string { return o.reason + ": " + o.message }

// newOutcome makes the outcome of a reason; its kind follows from it.
func newOutcome(reason, format string, args ...any) *outcome {
	o := &outcome{reason: reason, message: fmt.Sprintf(format, args...), kind: kindRetry}
	switch {
	case reason == v1alpha1.ReasonSuspended:
		o.kind = kindWaiting
	case isReady(reason):
		o.kind = kindReady
	case isStalled(reason):
		o.kind = kindStalled
	}
	return o
}

// stale ends a reconcile that worked on an object which has changed meanwhile.
func stale() *outcome {
	return &outcome{kind: kindRetry, reason: v1alpha1.ReasonProgressing, message: "The object has changed since the reconcile began.",
		skipStatus: true, benign: true, after: 100 * time.Millisecond}
}

// asOutcome returns the outcome in an error, nil if there is none.
func asOutcome(err error) *outcome {
	o, _ := errors.AsType[*outcome](err)
	return o
}

// outcomeOfError says what an error means for the object. It is nil for an error of the
// API server, which status does not tell.
func outcomeOfError(err error) *outcome {
	if o := asOutcome(err); o != nil {
		return o
	}
	if _, answered := errors.AsType[*twilio.Error](err); !answered {
		return nil
	}
	switch {
	case twilio.IsPermissionDenied(err):
		return permissionDenied(err)
	case twilio.IsThrottled(err):
		return newOutcome(v1alpha1.ReasonRateLimited, textRateLimited)
	default:
		return unavailable(err)
	}
}

// outcomeOf says what a reconcile that read the number came to.
func outcomeOf(a *assignment, res result) *outcome {
	addOns := res.ledger.Statuses()
	reason, message := textOf(a.Spec.ManagementPolicy, tallyOf(addOns), addOns)
	o := newOutcome(reason, "%s", message)
	if reason == v1alpha1.ReasonProgressing {
		o.after = askAgain
	}
	return o
}

// isStalled reports whether a reason needs somebody to act.
func isStalled(reason string) bool {
	switch reason {
	case v1alpha1.ReasonAccountNotFound, v1alpha1.ReasonAccountInvalid, v1alpha1.ReasonNamespaceNotAllowed,
		v1alpha1.ReasonCredentialsInvalid, v1alpha1.ReasonPermissionDenied, v1alpha1.ReasonPhoneNumberNotFound,
		v1alpha1.ReasonAddOnRejected, v1alpha1.ReasonPhoneNumberConflict, v1alpha1.ReasonDeletionBlocked,
		v1alpha1.ReasonRemovalsHeld, v1alpha1.ReasonNotSelected, v1alpha1.ReasonServedElsewhere:
		return true
	}
	return false
}

// reasonOf is the reason of the object's Ready condition, "" if there is none.
func reasonOf(a *assignment) string { return reasonIn(a.Status.Conditions) }

// reasonIn is the reason of the Ready condition among conditions, "" if there is none.
func reasonIn(conditions []metav1.Condition) string {
	if ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady); ready != nil {
		return ready.Reason
	}
	return ""
}

// isReady reports whether a reason is one of those that are well.
func isReady(reason string) bool {
	return reason == v1alpha1.ReasonSynced || reason == v1alpha1.ReasonObserved || reason == v1alpha1.ReasonSuspended
}

// isTransient reports whether a reason passes by itself.
func isTransient(reason string) bool {
	return reason == v1alpha1.ReasonRateLimited || reason == v1alpha1.ReasonTwilioUnavailable
}

// statusFor is the status that follows from the last one, what a reconcile observed and
// did, and its outcome.
func statusFor(a *assignment, res result, o *outcome, now time.Time) v1alpha1.PhoneNumberAddOnAssignmentStatus {
	next := *a.Status.DeepCopy()
	if ledger.IsFirst(a) {
		next.AddOns = ledger.Read(a) // from here on status is the record
	}
	next.LastHandledReconcileAt = requestedAt(a)
	switch {
	case res.ledger != nil:
		next.AddOns = res.ledger.Statuses()
	case res.records != nil:
		next.AddOns = *res.records
	case o.numberGone:
		next.AddOns = nil
	}
	if len(next.AddOns) == 0 {
		next.AddOns = nil
	}
	if res.observed != nil {
		next.AccountSID = res.account.Spec.AccountSID
		next.PhoneNumber = ledger.Truncate(res.observed.phoneNumber, 64)
	}
	setClaim(&next, res, o)
	next.Synced = assignedOf(a.Spec.AddOnSIDs, next.AddOns)
	if o.reason == v1alpha1.ReasonPhoneNumberNotFound {
		next.Synced = assignedOf(a.Spec.AddOnSIDs, nil)
	}
	next.Pending = pendingOf(o.reason, tallyOf(next.AddOns))
	setConditions(a, &next, res, o, now)
	next.ObservedGeneration = a.Generation
	return next
}

// setClaim records who holds the number. What an object gives up stays on record with it,
// unless the number itself is gone.
func setClaim(next *v1alpha1.PhoneNumberAddOnAssignmentStatus, res result, o *outcome) {
	switch {
	case o.yields:
		next.Claim = v1alpha1.ClaimYielded
	case res.claimed:
		next.Claim = v1alpha1.ClaimHeld
	}
	if o.numberGone {
		next.AccountSID = ""
	}
}

func setConditions(a *assignment, next *v1alpha1.PhoneNumberAddOnAssignmentStatus, res result, o *outcome, now time.Time) {
	message := stickyMessage(next.Conditions, a.Generation, o)
	c := conditions{list: &next.Conditions, generation: a.Generation, now: metav1.NewTime(now)}
	ready := statusOf(isReady(o.reason))
	if o.reason == v1alpha1.ReasonSuspended && next.AccountSID == "" {
		ready = metav1.ConditionUnknown // the number was never read
	}
	c.setOutcome(ready, o.reason, message)
	switch {
	case res.observed != nil:
		c.setInSync(tallyOf(next.AddOns))
	case o.reason == v1alpha1.ReasonPhoneNumberNotFound:
		c.set(v1alpha1.ConditionInSync, metav1.ConditionUnknown, v1alpha1.ReasonUnknown, textNoNumber)
	case a.Status.ObservedGeneration != a.Generation:
		c.set(v1alpha1.ConditionInSync, metav1.ConditionUnknown, v1alpha1.ReasonUnknown, textUnchecked)
	}
}

// stickyMessage is the outcome's message, or the one already given for the same transient
// trouble: that the last error differs from one quick retry to the next is no news.
func stickyMessage(given []metav1.Condition, generation int64, o *outcome) string {
	previous := meta.FindStatusCondition(given, v1alpha1.ConditionReady)
	if isTransient(o.reason) && !o.current && previous != nil && previous.Reason == o.reason && previous.ObservedGeneration == generation {
		return previous.Message
	}
	return o.message
}

// conditions edits a list of conditions. A time changes only with the status it belongs to.
type conditions struct {
	list       *[]metav1.Condition
	generation int64
	now        metav1.Time
}

func (c conditions) set(kind string, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(c.list, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: ledger.Truncate(message, 4096),
		ObservedGeneration: c.generation, LastTransitionTime: c.now,
	})
}

// setOutcome sets Ready, and Reconciling or Stalled where the reason says so.
func (c conditions) setOutcome(ready metav1.ConditionStatus, reason, message string) {
	c.set(v1alpha1.ConditionReady, ready, reason, message)
	c.keep(v1alpha1.ConditionReconciling, ready != metav1.ConditionTrue && !isReady(reason) && !isStalled(reason), reason, message)
	c.keep(v1alpha1.ConditionStalled, isStalled(reason), reason, message)
}

// keep has an abnormal-true condition in the list only while it is true.
func (c conditions) keep(kind string, is bool, reason, message string) {
	if is {
		c.set(kind, metav1.ConditionTrue, reason, message)
	} else {
		meta.RemoveStatusCondition(c.list, kind)
	}
}

func (c conditions) setInSync(n tally) {
	if n.missing+n.rejected+n.unassigning+n.unmanaged == 0 {
		c.set(v1alpha1.ConditionInSync, metav1.ConditionTrue, v1alpha1.ReasonMatches, textMatches)
		return
	}
	c.set(v1alpha1.ConditionInSync, metav1.ConditionFalse, v1alpha1.ReasonDiffers, textDiffers(n))
}

func statusOf(is bool) metav1.ConditionStatus {
	if is {
		return metav1.ConditionTrue
	}
	return metav1.ConditionFalse
}

// tally counts add-ons by state. missing includes those that are being assigned.
type tally struct{ assigned, missing, rejected, unassigning, unmanaged int }

func tallyOf(addOns []v1alpha1.AddOnStatus) (n tally) {
	for i := range addOns {
		switch addOns[i].State {
		case v1alpha1.AddOnAssigned:
			n.assigned++
		case v1alpha1.AddOnMissing, v1alpha1.AddOnAssigning:
			n.missing++
		case v1alpha1.AddOnRejected:
			n.rejected++
		case v1alpha1.AddOnUnassigning:
			n.unassigning++
		case v1alpha1.AddOnUnmanaged:
			n.unmanaged++
		}
	}
	return n
}

// pendingOf is what would change in Twilio but does not, as "+1 -2"; "" where nothing is
// kept from changing.
func pendingOf(reason string, n tally) string {
	toAssign, toRemove := n.missing, n.unassigning+n.unmanaged
	kept := reason == v1alpha1.ReasonObserved || reason == v1alpha1.ReasonRemovalsHeld
	if !kept || toAssign+toRemove == 0 {
		return ""
	}
	return fmt.Sprintf("+%d -%d", toAssign, toRemove)
}

// assignedOf is how many of the desired add-ons are assigned, as "2/3".
func assignedOf(desired []v1alpha1.AddOnSID, addOns []v1alpha1.AddOnStatus) string {
	assigned := 0
	for i := range addOns {
		if addOns[i].State == v1alpha1.AddOnAssigned && ownership.Lists(desired, addOns[i].SID) {
			assigned++
		}
	}
	return fmt.Sprintf("%d/%d", assigned, len(desired))
}
