// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
			"Twilio does not accept the credential of the TwilioAccount (%s). Ask a cluster admin to put a valid one into its Secret; it is picked up at once.", twilio.ExplainAnswer(err))
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
	if first(a) {
		next.AddOns = intended(a) // from here on status is what is on record
	}
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
