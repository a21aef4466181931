// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

// report tells what a pass came to: one write of status if anything changed, events if
// something happened, and says when to look again.
func (r *AssignmentReconciler) report(ctx context.Context, a *v1alpha1.PhoneNumberAddOnAssignment, f finding, err error) (ctrl.Result, error) {
	r.tellDone(a, f)
	if f.released && asHalt(err) == nil {
		return ctrl.Result{}, err
	}
	v := verdictOf(err)
	if err == nil {
		v = verdictOn(a, f.plan)
	}
	switch {
	case v != nil:
	case f.done.any():
		v = halted(v1alpha1.ReasonProgressing, "Interrupted; the rest follows.")
	case apierrors.IsConflict(err), errors.Is(err, errOvertaken):
		v = again()
	default:
		return ctrl.Result{}, err
	}
	if !v.quiet {
		before := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady)
		if err := r.writeStatus(ctx, a, f, statusFor(a, f, v, time.Now())); apierrors.IsConflict(err) {
			v = again()
		} else if err != nil {
			return ctrl.Result{}, err
		}
		r.tellTrouble(ctx, a, before, v, err)
	}
	return r.nextVisit(a, f, v), nil
}

// writeStatus writes status if it changed. After something was done in Twilio it
// insists, also when the process is to stop, because what is not recorded could
// later not be told from what others did.
func (r *AssignmentReconciler) writeStatus(ctx context.Context, a *v1alpha1.PhoneNumberAddOnAssignment, f finding, next v1alpha1.PhoneNumberAddOnAssignmentStatus) error {
	var err error
	switch {
	case apiequality.Semantic.DeepEqual(a.Status, next):
	case f.done.any():
		err = r.insistOnStatus(ctx, a, next)
	default:
		err = client.IgnoreNotFound(r.patchStatus(ctx, a, next))
	}
	switch {
	case err == nil && f.seen != nil:
		r.unrecorded.forget(a.UID)
	case err != nil && f.done.any():
		r.unrecorded.remember(a.UID, next.AddOns)
	}
	return err
}

// insistOnStatus writes status over whatever else changed on the object, for as long
// as a stopping process has.
func (r *AssignmentReconciler) insistOnStatus(ctx context.Context, a *v1alpha1.PhoneNumberAddOnAssignment, next v1alpha1.PhoneNumberAddOnAssignmentStatus) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	backoff := wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 10, Cap: 5 * time.Second}
	base, last := a, error(nil)
	err := wait.ExponentialBackoffWithContext(ctx, backoff, func(ctx context.Context) (bool, error) {
		if last = client.IgnoreNotFound(r.patchStatus(ctx, base, next)); !apierrors.IsConflict(last) {
			return last == nil, nil
		}
		current := &v1alpha1.PhoneNumberAddOnAssignment{}
		if err := r.live.Get(ctx, keyOf(a), current); err != nil {
			return apierrors.IsNotFound(err), nil
		}
		base = current
		return current.UID != a.UID, nil
	})
	if err != nil {
		return fmt.Errorf("recording what was done in Twilio: %w", last)
	}
	return nil
}

// patchStatus writes status if the object is still as at hand, and brings what is at
// hand up to date.
func (r *AssignmentReconciler) patchStatus(ctx context.Context, a *v1alpha1.PhoneNumberAddOnAssignment, next v1alpha1.PhoneNumberAddOnAssignmentStatus) error {
	desired := a.DeepCopy()
	desired.Status = next
	if err := r.Status().Patch(ctx, desired, client.MergeFromWithOptions(a, client.MergeFromWithOptimisticLock{})); err != nil {
		return err
	}
	r.index.wrote(desired)
	*a = *desired
	return nil
}

// tellDone tells of what was done in Twilio, in an event and in the metrics.
func (r *AssignmentReconciler) tellDone(a *v1alpha1.PhoneNumberAddOnAssignment, f finding) {
	if !f.done.any() {
		return
	}
	r.metrics.changed(string(f.account.Spec.AccountSID), len(f.done.assigned), len(f.done.unassigned))
	if sids := f.done.assigned; len(sids) > 0 {
		r.events.Eventf(a, nil, corev1.EventTypeNormal, "AddOnsAssigned", "Assign", "%s", truncate("Assigned "+strings.Join(sids, ", "), 1024))
	}
	if sids := f.done.unassigned; len(sids) > 0 {
		r.events.Eventf(a, nil, corev1.EventTypeNormal, "AddOnsUnassigned", "Unassign", "%s", truncate("Unassigned "+strings.Join(sids, ", "), 1024))
	}
}

// tellTrouble sends an event, and a line to the log, when an object begins to be in trouble.
func (r *AssignmentReconciler) tellTrouble(ctx context.Context, a *v1alpha1.PhoneNumberAddOnAssignment, before *metav1.Condition, v *verdict, cause error) {
	if !stalled(v.reason) && !transient(v.reason) {
		return
	}
	logf.FromContext(ctx).Info("Could not reconcile", "reason", v.reason, "message", v.message, "requestID", twilio.RequestID(cause))
	if before != nil && before.Reason == v.reason {
		return
	}
	note := v.message
	if id := twilio.RequestID(cause); id != "" {
		note += " Twilio request " + id + "."
	}
	r.events.Eventf(a, nil, corev1.EventTypeWarning, v.reason, "Reconcile", "%s", truncate(note, 1024))
}

// nextVisit says when to look at the object again.
func (r *AssignmentReconciler) nextVisit(a *v1alpha1.PhoneNumberAddOnAssignment, f finding, v *verdict) ctrl.Result {
	key := keyOf(a)
	if ready(v.reason) && v.reason != v1alpha1.ReasonSuspended {
		if !v.quiet {
			r.index.succeeded(key, v.reason == v1alpha1.ReasonSynced)
		}
		r.index.checkAt(key, nextPhase(a.UID, resyncInterval(f.account), r.index.checkedAt(key)))
		return ctrl.Result{}
	}
	r.index.checkNoMore(key)
	switch {
	case v.parked, v.reason == v1alpha1.ReasonSuspended:
		return ctrl.Result{}
	case v.after > 0:
		return ctrl.Result{RequeueAfter: v.after, Priority: new(normal)}
	case stalled(v.reason):
		return ctrl.Result{RequeueAfter: jitter(resyncInterval(f.account)), Priority: new(background)}
	default:
		return ctrl.Result{RequeueAfter: backoff(r.index.failed(key)), Priority: new(normal)}
	}
}

// unrecorded keeps, until it is recorded, what was done in Twilio while the API
// server could not be written to.
type unrecorded struct {
	mu    sync.Mutex
	byUID map[types.UID][]v1alpha1.AddOnStatus
}

func (u *unrecorded) remember(uid types.UID, addOns []v1alpha1.AddOnStatus) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.byUID == nil {
		u.byUID = map[types.UID][]v1alpha1.AddOnStatus{}
	}
	u.byUID[uid] = addOns
}

func (u *unrecorded) forget(uid types.UID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.byUID, uid)
}

// recall returns what could not be recorded; false if everything is.
func (u *unrecorded) recall(uid types.UID) ([]v1alpha1.AddOnStatus, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	addOns, ok := u.byUID[uid]
	return addOns, ok
}
