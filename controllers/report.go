// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

const (
	messageRateLimited = "Twilio answered 429 (too many requests) for this account. The operator slows down and goes on by itself."
	messageUnavailable = "Twilio cannot be reached or answers with errors. The operator tries again by itself, less and less often."
)

// halt ends a pass before its end. It is an error so that the steps of a pass read
// as Go does, and becomes what status says.
type halt struct {
	reason, message string
	// after is when to look again; zero leaves it to the reason.
	after time.Duration
	// quiet: status is not touched.
	quiet bool
	// parked: the governor wakes the object.
	parked bool
}

func (h *halt) Error() string { return h.reason + ": " + h.message }

// halted ends a pass for a reason that is told in the object's status.
func halted(reason, format string, args ...any) *halt {
	return &halt{reason: reason, message: fmt.Sprintf(format, args...)}
}

// again ends a pass that worked on what turned out to be stale; the next one will not.
func again() *halt {
	return &halt{reason: v1alpha1.ReasonProgressing, quiet: true}
}

// asHalt returns the halt in an error, nil if it is none.
func asHalt(err error) *halt {
	h, _ := errors.AsType[*halt](err)
	return h
}

// ignoreHalt is nil for a halt and the error for any other.
func ignoreHalt(err error) error {
	if asHalt(err) != nil {
		return nil
	}
	return err
}

// verdict is a halt that is about to be told.
type verdict = halt

// verdictOf says what an error means for the object: nil if the error is not of
// Twilio or of a halt, but of the API server, whose errors status does not tell.
func verdictOf(err error) *verdict {
	var answer *twilio.Error
	if h := asHalt(err); h != nil {
		return h
	}
	switch {
	case !errors.As(err, &answer):
		return nil
	case twilio.IsUnauthorized(err):
		return halted(v1alpha1.ReasonCredentialsInvalid,
			"Twilio does not accept the credential of the TwilioAccount (%s). Ask a cluster admin to put a valid one into its Secret; it is picked up at once.", twilio.Explain(err))
	case twilio.IsPermissionDenied(err):
		return halted(v1alpha1.ReasonPermissionDenied,
			"The credential of the TwilioAccount may not do this (%s). Use a standard API key or the auth token, and check that the account is active.", twilio.Explain(err))
	case twilio.IsThrottled(err):
		return halted(v1alpha1.ReasonRateLimited, messageRateLimited)
	default:
		return halted(v1alpha1.ReasonTwilioUnavailable, "%s Last answer: %s.", messageUnavailable, twilio.Explain(err))
	}
}

// verdictOn says what a pass that read the number came to.
func verdictOn(a *v1alpha1.PhoneNumberAddOnAssignment, p plan) *verdict {
	c := countOf(p)
	switch {
	case a.Spec.ManagementPolicy == v1alpha1.ManagementObserve && inSync(p):
		return halted(v1alpha1.ReasonObserved, "The number carries what is listed.")
	case a.Spec.ManagementPolicy == v1alpha1.ManagementObserve:
		return halted(v1alpha1.ReasonObserved, "Missing: %d, not listed: %d. Nothing is changed while managementPolicy is Observe.",
			c[v1alpha1.AddOnMissing], c[v1alpha1.AddOnUnmanaged])
	case c[v1alpha1.AddOnMissing]+c[v1alpha1.AddOnUnassigning] > 0:
		h := halted(v1alpha1.ReasonProgressing, "To be assigned: %d, to be unassigned: %d.", c[v1alpha1.AddOnMissing], c[v1alpha1.AddOnUnassigning])
		h.after = confirmAfter + time.Second/2
		return h
	case c[v1alpha1.AddOnRejected] > 0:
		return halted(v1alpha1.ReasonAddOnRejected, "%s", rejections(p))
	case c[v1alpha1.AddOnUnmanaged] > 0:
		return halted(v1alpha1.ReasonSynced, "Assigned: %d, as listed. Not listed and left alone: %d.", c[v1alpha1.AddOnAssigned], c[v1alpha1.AddOnUnmanaged])
	default:
		return halted(v1alpha1.ReasonSynced, "Assigned: %d, as listed.", c[v1alpha1.AddOnAssigned])
	}
}

// rejections lists what Twilio refused, and why, in the order of the spec.
func rejections(p plan) string {
	var texts []string
	for _, it := range p {
		if it.State == v1alpha1.AddOnRejected {
			texts = append(texts, fmt.Sprintf("%s: %s", it.SID, it.Message))
		}
	}
	return truncate("Twilio rejected "+strings.Join(texts, "; ")+". Check that the add-on is installed in the account and supports phone numbers.", 2048)
}

// stalled says whether a reason needs somebody to act.
func stalled(reason string) bool {
	switch reason {
	case v1alpha1.ReasonAccountNotFound, v1alpha1.ReasonAccountInvalid, v1alpha1.ReasonNamespaceNotAllowed,
		v1alpha1.ReasonCredentialsInvalid, v1alpha1.ReasonPermissionDenied, v1alpha1.ReasonPhoneNumberNotFound,
		v1alpha1.ReasonAddOnRejected, v1alpha1.ReasonPhoneNumberConflict, v1alpha1.ReasonDeletionBlocked:
		return true
	}
	return false
}

// ready says whether a reason is one of those that are well.
func ready(reason string) bool {
	return reason == v1alpha1.ReasonSynced || reason == v1alpha1.ReasonObserved || reason == v1alpha1.ReasonSuspended
}

// statusFor is the status that follows from the last one, what a pass found, and its verdict.
func statusFor(a *v1alpha1.PhoneNumberAddOnAssignment, f finding, v *verdict, now time.Time) v1alpha1.PhoneNumberAddOnAssignmentStatus {
	next := *a.Status.DeepCopy()
	next.LastHandledReconcileAt = requestedAt(a)
	if f.plan != nil || f.seen != nil {
		next.AddOns = f.plan.reported()
		if len(next.AddOns) == 0 {
			next.AddOns = nil
		}
	}
	if f.seen != nil {
		next.AccountSID = f.account.Spec.AccountSID
		next.PhoneNumber = truncate(f.seen.phoneNumber, 64)
	}
	next.Synced = synced(a.Spec.AddOnSIDs, next.AddOns)

	message := lasting(next.Conditions, a.Generation, v)
	c := conditions{list: &next.Conditions, generation: a.Generation, now: metav1.NewTime(now)}
	c.set(v1alpha1.ConditionReady, statusOf(ready(v.reason)), v.reason, message)
	c.keep(v1alpha1.ConditionReconciling, !ready(v.reason) && !stalled(v.reason), v.reason, message)
	c.keep(v1alpha1.ConditionStalled, stalled(v.reason), v.reason, message)
	switch {
	case f.seen != nil:
		c.setInSync(f.plan)
	case a.Status.ObservedGeneration != a.Generation:
		c.set(v1alpha1.ConditionInSync, metav1.ConditionUnknown, v1alpha1.ReasonUnknown, "The number has not been read for this spec.")
	}
	next.ObservedGeneration = a.Generation
	return next
}

// lasting is the verdict's message, or the one already given for the same trouble: that
// the last answer differs from one retry to the next is no news.
func lasting(given []metav1.Condition, generation int64, v *verdict) string {
	previous := meta.FindStatusCondition(given, v1alpha1.ConditionReady)
	if transient(v.reason) && previous != nil && previous.Reason == v.reason && previous.ObservedGeneration == generation {
		return previous.Message
	}
	return v.message
}

// transient says whether a reason passes by itself.
func transient(reason string) bool {
	return reason == v1alpha1.ReasonRateLimited || reason == v1alpha1.ReasonTwilioUnavailable
}

// conditions edits a list of conditions; a time changes only with the status it is of.
type conditions struct {
	list       *[]metav1.Condition
	generation int64
	now        metav1.Time
}

func (c conditions) set(kind string, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(c.list, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: truncate(message, 4096),
		ObservedGeneration: c.generation, LastTransitionTime: c.now,
	})
}

// keep has an abnormal-true condition in the list only while it is true.
func (c conditions) keep(kind string, is bool, reason, message string) {
	if is {
		c.set(kind, metav1.ConditionTrue, reason, message)
	} else {
		meta.RemoveStatusCondition(c.list, kind)
	}
}

func (c conditions) setInSync(p plan) {
	if inSync(p) {
		c.set(v1alpha1.ConditionInSync, metav1.ConditionTrue, v1alpha1.ReasonMatches, "The number carries what is listed.")
		return
	}
	n := countOf(p)
	c.set(v1alpha1.ConditionInSync, metav1.ConditionFalse, v1alpha1.ReasonDiffers, fmt.Sprintf("Listed but not assigned: %d. Assigned but not listed: %d.",
		n[v1alpha1.AddOnMissing]+n[v1alpha1.AddOnRejected], n[v1alpha1.AddOnUnmanaged]+n[v1alpha1.AddOnUnassigning]))
}

func statusOf(is bool) metav1.ConditionStatus {
	if is {
		return metav1.ConditionTrue
	}
	return metav1.ConditionFalse
}

func countOf(p plan) map[v1alpha1.AddOnState]int {
	counts := map[v1alpha1.AddOnState]int{}
	for _, it := range p {
		counts[it.State]++
	}
	return counts
}

// inSync says whether Twilio matches the spec, whatever the policy allows to be done.
func inSync(p plan) bool {
	return !slices.ContainsFunc(p, func(it item) bool { return it.State != v1alpha1.AddOnAssigned })
}

// synced is how many of the desired add-ons are assigned, as "2/3".
func synced(desired []v1alpha1.AddOnSID, addOns []v1alpha1.AddOnStatus) string {
	assigned := 0
	for _, status := range addOns {
		if status.State == v1alpha1.AddOnAssigned {
			assigned++
		}
	}
	return fmt.Sprintf("%d/%d", assigned, len(desired))
}

// report tells what a pass came to: one write of status if anything changed, events if
// something happened, and says when to look again.
func (r *AssignmentReconciler) report(ctx context.Context, a *v1alpha1.PhoneNumberAddOnAssignment, f finding, err error) (ctrl.Result, error) {
	r.tellDone(a, f)
	if f.released {
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
	case apierrors.IsConflict(err):
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
		if yields(v.reason) && (before == nil || before.Reason != v.reason) {
			r.queue.add(normal, 0, r.index.rivals(a)...)
		}
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
	switch {
	case v.parked, v.reason == v1alpha1.ReasonSuspended:
		return ctrl.Result{}
	case v.quiet && v.reason == v1alpha1.ReasonSynced:
		return ctrl.Result{RequeueAfter: v.after, Priority: new(background)}
	case v.after > 0:
		return ctrl.Result{RequeueAfter: v.after, Priority: new(normal)}
	case ready(v.reason):
		r.index.succeeded(key)
		return ctrl.Result{RequeueAfter: time.Until(nextPhase(a.UID, resyncInterval(f.account), time.Now())), Priority: new(background)}
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
