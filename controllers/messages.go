// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"strings"
	"time"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/ledger"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/ownership"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

// All texts for users stand here: first what is so, then what to do. They are stable: no
// request id, no time, nothing that differs from one retry to the next.

const (
	textRateLimited = "Twilio answered 429 (too many requests) for this account. Retrying more slowly."
	textUnavailable = "Twilio is unreachable or failing. Retrying with increasing delay (at most 15 minutes)."
	textInterrupted = "Interrupted by an API error; retrying."
	textQueued      = "Queued: all of the account's concurrent calls to Twilio are in use. This object is among the next when they are free."

	textNumberInDoubt   = "Twilio answered that the number does not exist. Asking again before believing it."
	textRemovalInDoubt  = "Twilio reported the add-on as not found shortly after it was assigned. Asking again before believing it."
	textListedThough404 = "Twilio reported the add-on as not found but still lists it; retrying the removal."

	textMatches   = "The number carries exactly the listed add-ons."
	textUnchecked = "Not yet checked against the current spec."
	textNoNumber  = "The number was not found."

	// textRetain is the way out of every blocked deletion.
	textRetain = "To release the object without changing Twilio, set spec.deletionPolicy to Retain."
	// textAccountHeld is the end of the message of an account that is being deleted.
	textAccountHeld = " Being deleted: held until no assignment refers to it."

	textBudgetChecked = "Waiting for the account's removal budget."

	textAccountSuspended = "Suspended: no call to Twilio is made for any object of this account while spec.suspend is true."

	textAccountReady = "Twilio accepts the credential."
)

func suspended(yields bool) *outcome {
	o := newOutcome(v1alpha1.ReasonSuspended, "Suspended: no call to Twilio is made for this object while spec.suspend is true.")
	o.yields = yields
	return o
}

// accountSuspended is the outcome of an object whose account is suspended. A deletion waits.
func accountSuspended(account string, deleting bool) *outcome {
	text := "TwilioAccount %s is suspended: no call to Twilio is made for its objects."
	if deleting {
		text += " The deletion waits. " + textRetain
	}
	o := newOutcome(v1alpha1.ReasonSuspended, text, account)
	return o
}

func accountNotFound(name string) *outcome {
	o := newOutcome(v1alpha1.ReasonAccountNotFound,
		"TwilioAccount %s does not exist. Ask a cluster admin to create it, or name another account in spec.accountRef.", name)
	o.yields = true
	return o
}

func namespaceNotAllowed(account, namespace string) *outcome {
	o := newOutcome(v1alpha1.ReasonNamespaceNotAllowed,
		"TwilioAccount %s does not allow namespace %s. Ask a cluster admin to allow it in spec.allowedNamespaces of the account.", account, namespace)
	o.yields = true
	return o
}

func selectorInvalid(account string, err error) *outcome {
	o := newOutcome(v1alpha1.ReasonAccountInvalid,
		"TwilioAccount %s: spec.allowedNamespaces.selector cannot be used: %s. Correct the selector.", account, err)
	o.yields = true
	return o
}

func accountInvalid(account string, err error) *outcome {
	return newOutcome(v1alpha1.ReasonAccountInvalid, "TwilioAccount %s cannot be used: %s.", account, err)
}

// notSelected is the outcome of an account that no running manager serves.
func notSelected() *outcome {
	return newOutcome(v1alpha1.ReasonNotSelected,
		"No running manager selects this account: nothing is done for its objects. Give it a label that the --account-selector of a manager selects, or start such a manager.")
}

// servedElsewhere is the outcome of an account that cannot have the manager that selects it.
// manager is the one that serves the account SID, "" if there is none yet.
func servedElsewhere(account *v1alpha1.TwilioAccount, manager string) *outcome {
	serves := "The oldest TwilioAccount of account SID %s belongs to the manager %s"
	if manager == "" {
		serves, manager = "The oldest TwilioAccount of account SID %s belongs to another manager%s", ""
	}
	return newOutcome(v1alpha1.ReasonServedElsewhere, serves+
		", which does not select this one: nothing is done for its objects. Give all TwilioAccounts of this SID labels that one manager selects.",
		account.Spec.AccountSID, manager)
}

// objectNotSelected is the outcome of an object whose account no running manager selects.
func objectNotSelected(account string) *outcome {
	return newOutcome(v1alpha1.ReasonNotSelected,
		"No running manager selects TwilioAccount %s: nothing is done for this object. Ask a cluster admin to give the account a label that the --account-selector of a manager selects.", account)
}

// objectServedElsewhere is the outcome of an object whose account cannot have the manager
// that selects it.
func objectServedElsewhere(account string) *outcome {
	return newOutcome(v1alpha1.ReasonServedElsewhere,
		"No manager may serve TwilioAccount %s, because another one serves its account SID: nothing is done for this object. The conditions of the account say what to do.", account)
}

// alsoSelected says which other managers select an account.
func alsoSelected(managers []string) string {
	return "Other managers select this account too, and do not serve it: " + strings.Join(managers, ", ") + ". Correct its labels or their --account-selector."
}

func secretMissing(account *v1alpha1.TwilioAccount, namespace string) *outcome {
	return newOutcome(v1alpha1.ReasonCredentialsInvalid,
		"Secret %s of TwilioAccount %s does not exist in the operator's namespace %s. Create it with the keys %s and %s, or %s.",
		account.Spec.CredentialsSecretRef.Name, account.Name, namespace,
		v1alpha1.SecretKeyAPIKeySID, v1alpha1.SecretKeyAPIKeySecret, v1alpha1.SecretKeyAuthToken)
}

func secretInvalid(account *v1alpha1.TwilioAccount, err error) *outcome {
	return newOutcome(v1alpha1.ReasonCredentialsInvalid, "Secret %s of TwilioAccount %s holds no usable credential: %s.",
		account.Spec.CredentialsSecretRef.Name, account.Name, err)
}

// credentialRefused names what was tried: who reads it should not have to look it up.
func credentialRefused(account *v1alpha1.TwilioAccount, credential string, err error) *outcome {
	return newOutcome(v1alpha1.ReasonCredentialsInvalid,
		"Twilio does not accept %s in Secret %s for account %s (%s). Put a valid credential into the Secret; the operator picks it up at once.",
		credential, account.Spec.CredentialsSecretRef.Name, account.Spec.AccountSID, twilio.ExplainAnswer(err))
}

// accountPaused says since when an account is in trouble. The time is that of the last good
// answer, so it stays the same while the trouble lasts.
func accountPaused(s twilio.Snapshot) *outcome {
	since := "There was no good answer since the operator started."
	if !s.LastGoodAnswer.IsZero() {
		since = "Last good answer: " + s.LastGoodAnswer.UTC().Format(time.RFC3339) + "."
	}
	if s.Paused == twilio.Throttled {
		return newOutcome(v1alpha1.ReasonRateLimited, "Twilio answers 429 (too many requests); calls are paused and resume by themselves. %s", since)
	}
	return newOutcome(v1alpha1.ReasonTwilioUnavailable, "Twilio is unreachable or failing; calls are paused and resume by themselves. %s", since)
}

// queuedByLimiter is the outcome of an object that has no permit for a call.
func queuedByLimiter(account string, reason twilio.Reason) *outcome {
	o := &outcome{kind: kindWaiting, waitsForPermit: true, reason: v1alpha1.ReasonProgressing, message: textQueued}
	switch reason {
	case twilio.Throttled:
		o.reason = v1alpha1.ReasonRateLimited
		o.message = fmt.Sprintf("Calls for TwilioAccount %s are paused, because Twilio answers 429 (too many requests). They resume by themselves.", account)
	case twilio.Unavailable:
		o.reason = v1alpha1.ReasonTwilioUnavailable
		o.message = fmt.Sprintf("Calls for TwilioAccount %s are paused, because Twilio is unreachable or failing. They resume by themselves; the account's status has the details.", account)
	case twilio.Busy:
	}
	return o
}

func conflict(a *assignment, owner *ownership.Claim) *outcome {
	o := newOutcome(v1alpha1.ReasonPhoneNumberConflict,
		"%s %s/%s owns the number %s. Delete one of the two objects. This object makes no changes in Twilio.",
		assignmentKind, owner.Key.Namespace, owner.Key.Name, a.Spec.PhoneNumberSID)
	o.yields = true
	return o
}

func takesOver(a *assignment, owner *ownership.Claim) *outcome {
	return &outcome{kind: kindWaiting, yields: true, reason: v1alpha1.ReasonProgressing,
		message: fmt.Sprintf("%s %s/%s is being deleted and hands the number %s over to this object.",
			assignmentKind, owner.Key.Namespace, owner.Key.Name, a.Spec.PhoneNumberSID)}
}

func awaitsYield(a *assignment, other *ownership.Claim) *outcome {
	return &outcome{kind: kindRetry, reason: v1alpha1.ReasonProgressing,
		message: fmt.Sprintf("%s %s/%s has to give up the number %s first; it may not use its account any more.",
			assignmentKind, other.Key.Namespace, other.Key.Name, a.Spec.PhoneNumberSID)}
}

func awaitsTakeover(heir *ownership.Claim) *outcome {
	return &outcome{kind: kindRetry, after: time.Second, reason: v1alpha1.ReasonProgressing,
		message: fmt.Sprintf("Waiting for %s %s/%s to take over the add-ons that both objects list.", assignmentKind, heir.Key.Namespace, heir.Key.Name)}
}

func numberNotFound(s *scope, after time.Duration) *outcome {
	o := newOutcome(v1alpha1.ReasonPhoneNumberNotFound,
		"Twilio account %s (TwilioAccount %s) has no phone number %s. If the number is in another account, change spec.accountRef. If the SID is wrong or the number was released, delete this object.",
		s.account.Spec.AccountSID, s.account.Name, s.object.Spec.PhoneNumberSID)
	o.after = after
	return o
}

func contradictoryNumber() *outcome {
	return newOutcome(v1alpha1.ReasonTwilioUnavailable, "Twilio lists the number in the account, but answers 404 for it. Retrying with increasing delay.")
}

func contradictoryRemoval() *outcome {
	return &outcome{kind: kindRetry, reason: v1alpha1.ReasonProgressing, message: textListedThough404}
}

func removalInDoubt(wait time.Duration) *outcome {
	return &outcome{kind: kindRetry, reason: v1alpha1.ReasonProgressing, message: textRemovalInDoubt, after: wait + time.Second}
}

// removalFailed is the error for a removal that Twilio did not carry out. A refusal needs a
// person; anything else passes.
func removalFailed(addOn v1alpha1.AddOnSID, err error) error {
	if twilio.IsRejected(err) || twilio.IsConflict(err) {
		return newOutcome(v1alpha1.ReasonAddOnRejected, "Twilio refuses to unassign %s (%s). Remove it in the Twilio console, or list it in spec.addOnSIDs.",
			addOn, twilio.Explain(err))
	}
	return err
}

func removalWaits(missing v1alpha1.AddOnSID) string {
	return fmt.Sprintf("Not removed while the listed add-on %s is not assigned.", missing)
}

func permissionDenied(err error) *outcome {
	return newOutcome(v1alpha1.ReasonPermissionDenied,
		"The account's credential may not do this (%s). Use a standard API key or the auth token, and check that the Twilio account is active.", twilio.Explain(err))
}

func unavailable(err error) *outcome {
	return newOutcome(v1alpha1.ReasonTwilioUnavailable, "%s Error: %s.", textUnavailable, strings.TrimSuffix(twilio.Explain(err), "."))
}

func deletionBlocked(o *outcome) *outcome {
	blocked := newOutcome(v1alpha1.ReasonDeletionBlocked, "The add-ons cannot be unassigned (%s): %s %s", o.reason, o.message, textRetain)
	blocked.yields, blocked.after = o.yields, o.after
	return blocked
}

// releasesSoon tells of a deletion that waits until the number is confirmed gone.
func releasesSoon(o *outcome) *outcome {
	return &outcome{kind: kindRetry, after: o.after, reason: v1alpha1.ReasonProgressing,
		message: "Twilio says that the account has no such phone number. The object is released once that has been so for a minute."}
}

func accountOfOtherSID(last v1alpha1.AccountSID, account *v1alpha1.TwilioAccount) *outcome {
	return newOutcome(v1alpha1.ReasonAccountNotFound,
		"The add-ons were assigned in Twilio account %s, but TwilioAccount %s is for another one. Set spec.accountRef to a TwilioAccount for %s.",
		last, account.Name, last)
}

// textOf says what a reconcile that read the number came to.
func textOf(policy v1alpha1.ManagementPolicy, n tally, addOns []v1alpha1.AddOnStatus) (reason, message string) {
	switch {
	case policy == v1alpha1.ManagementObserve:
		return v1alpha1.ReasonObserved, textObserved(addOns)
	case n.missing == 0 && n.rejected > 0:
		return v1alpha1.ReasonAddOnRejected, textRejected(addOns, n.unassigning)
	case n.missing+n.unassigning > 0:
		return v1alpha1.ReasonProgressing, fmt.Sprintf("%s to assign, %s to unassign.", addOnCount(n.missing), addOnCount(n.unassigning))
	case n.assigned == 0:
		message = "No add-on is listed."
	case n.assigned == 1:
		message = "The listed add-on is assigned."
	default:
		message = fmt.Sprintf("All %d listed add-ons are assigned.", n.assigned)
	}
	if n.unmanaged > 0 {
		message += fmt.Sprintf(" %s on the number not listed and left alone.", addOnCount(n.unmanaged))
	}
	return v1alpha1.ReasonSynced, message
}

func addOnCount(n int) string {
	if n == 1 {
		return "1 add-on"
	}
	return fmt.Sprintf("%d add-ons", n)
}

// textObserved names what switching to Authoritative would assign and remove.
func textObserved(addOns []v1alpha1.AddOnStatus) string {
	missing, extra := namesOf(addOns, v1alpha1.AddOnMissing), namesOf(addOns, v1alpha1.AddOnUnmanaged)
	if len(missing)+len(extra) == 0 {
		return "The number carries exactly the listed add-ons. The policy Observe changes nothing."
	}
	var parts []string
	if len(missing) > 0 {
		parts = append(parts, "assign "+strings.Join(missing, ", "))
	}
	if len(extra) > 0 {
		parts = append(parts, "remove "+strings.Join(extra, ", "))
	}
	return ledger.Truncate("The policy Observe changes nothing. Authoritative would "+strings.Join(parts, ", and "), 2000) + "."
}

// namesOf lists add-ons in a state, each with its unique name if it is known.
func namesOf(addOns []v1alpha1.AddOnStatus, state v1alpha1.AddOnState) []string {
	var names []string
	for i := range addOns {
		if addOns[i].State != state {
			continue
		}
		name := string(addOns[i].SID)
		if addOns[i].UniqueName != "" {
			name += " (" + addOns[i].UniqueName + ")"
		}
		names = append(names, name)
	}
	return names
}

// textRejected lists what Twilio refuses, and why, in the order of the spec.
func textRejected(addOns []v1alpha1.AddOnStatus, waiting int) string {
	var texts []string
	for i := range addOns {
		if addOns[i].State == v1alpha1.AddOnRejected {
			texts = append(texts, fmt.Sprintf("%s: %s", addOns[i].SID, addOns[i].Message))
		}
	}
	text := "Twilio rejected " + ledger.Truncate(strings.Join(texts, "; "), 1600) +
		". Check that the add-on is installed in the account and supports phone numbers."
	if waiting > 0 {
		text += fmt.Sprintf(" Until then, %s not removed.", addOnCount(waiting)+map[bool]string{true: " is", false: " are"}[waiting == 1])
	}
	return text
}

func textDiffers(n tally) string {
	return fmt.Sprintf("Listed but not assigned: %d. Assigned but not listed: %d.", n.missing+n.rejected, n.unmanaged+n.unassigning)
}

// textKept says what an object leaves on its number because its policy says so.
func textKept(a *assignment) string {
	var kept []string
	for i := range a.Status.AddOns {
		if a.Status.AddOns[i].Ownership != "" {
			kept = append(kept, string(a.Status.AddOns[i].SID))
		}
	}
	if len(kept) == 0 {
		return ""
	}
	return fmt.Sprintf("Released without changing Twilio. On %s stay: %s.", a.Spec.PhoneNumberSID, strings.Join(kept, ", "))
}

func textGone(a *assignment) string {
	return fmt.Sprintf("Released because the Twilio account has no phone number %s any more.", a.Spec.PhoneNumberSID)
}
