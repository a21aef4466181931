// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Condition types. Ready and InSync are True, False or Unknown. The others are
// abnormal-true: present only while they are True, as kstatus expects.
const (
	// ConditionReady says whether the number is as the policy wants it.
	ConditionReady = "Ready"
	// ConditionInSync says whether Twilio matches the spec, whatever the
	// policy allowed the operator to do about it.
	ConditionInSync = "InSync"
	// ConditionReconciling is present while work is left that the operator expects to
	// finish without help.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is present while nothing will change until somebody acts: on the
	// spec, the account, the Secret, or in Twilio.
	ConditionStalled = "Stalled"
	// ConditionRemovalsHeld is present on a TwilioAccount while removals of its objects
	// are held. Its reason is the cause: OverBudget or CRDDeletion.
	ConditionRemovalsHeld = "RemovalsHeld"
	// ConditionSelectedTwice is present on a TwilioAccount while more than one running
	// manager selects it. One of them serves it.
	ConditionSelectedTwice = "SelectedTwice"
)

// Reasons of the Ready condition of a PhoneNumberAddOnAssignment. The
// troubleshooting guide has a section for each.
const (
	// ReasonSynced: Twilio is as the policy wants it.
	ReasonSynced = "Synced"
	// ReasonObserved: the number was read under the policy Observe.
	ReasonObserved = "Observed"
	// ReasonProgressing: work is left that the operator expects to finish.
	ReasonProgressing = "Progressing"
	// ReasonSuspended: spec.suspend is true; Twilio is not called.
	ReasonSuspended = "Suspended"
	// ReasonAccountNotFound: the TwilioAccount named by accountRef does not exist.
	ReasonAccountNotFound = "AccountNotFound"
	// ReasonAccountInvalid: the TwilioAccount exists but its apiBaseURL is refused.
	ReasonAccountInvalid = "AccountInvalid"
	// ReasonNamespaceNotAllowed: the TwilioAccount does not admit the namespace.
	ReasonNamespaceNotAllowed = "NamespaceNotAllowed"
	// ReasonCredentialsInvalid: the Secret is missing or malformed, or Twilio answered 401.
	ReasonCredentialsInvalid = "CredentialsInvalid"
	// ReasonPermissionDenied: Twilio answered that the credential may not do this.
	ReasonPermissionDenied = "PermissionDenied"
	// ReasonPhoneNumberNotFound: Twilio repeatedly answers that the account lacks the number.
	ReasonPhoneNumberNotFound = "PhoneNumberNotFound"
	// ReasonAddOnRejected: Twilio refused at least one add-on, and repeated it.
	ReasonAddOnRejected = "AddOnRejected"
	// ReasonPhoneNumberConflict: another object owns the number.
	ReasonPhoneNumberConflict = "PhoneNumberConflict"
	// ReasonRateLimited: Twilio answered 429; the operator backs off.
	ReasonRateLimited = "RateLimited"
	// ReasonTwilioUnavailable: Twilio is unreachable or failing; the operator backs off.
	ReasonTwilioUnavailable = "TwilioUnavailable"
	// ReasonDeletionBlocked: the add-ons of a deleted object cannot be unassigned without
	// help.
	ReasonDeletionBlocked = "DeletionBlocked"
	// ReasonRemovalsHeld: the object would remove add-ons, and its account holds removals
	// until somebody approves them or takes them back.
	ReasonRemovalsHeld = "RemovalsHeld"
)

// Reasons of the InSync condition.
const (
	// ReasonMatches: the number carries what the spec lists.
	ReasonMatches = "Matches"
	// ReasonDiffers: the number was read and differs from the spec.
	ReasonDiffers = "Differs"
	// ReasonUnknown: the number was not read for this spec.
	ReasonUnknown = "Unknown"
)

// Reasons of the Ready condition of a TwilioAccount, beside CredentialsInvalid,
// PermissionDenied, AccountInvalid, RateLimited and TwilioUnavailable. The objects of an
// account that no manager serves have the last two as well.
const (
	// ReasonCredentialsAccepted: Twilio accepted the credential for this account.
	ReasonCredentialsAccepted = "CredentialsAccepted"
	// ReasonNotSelected: no running manager selects the account.
	ReasonNotSelected = "NotSelected"
	// ReasonServedElsewhere: another manager serves the account SID, and does not select
	// this account.
	ReasonServedElsewhere = "ServedElsewhere"
)

// Reasons of the RemovalsHeld condition of a TwilioAccount, and of the events that say
// how a hold ended.
const (
	// ReasonOverBudget: more numbers would lose add-ons than the removal budget allows.
	ReasonOverBudget = string(RemovalsOverBudget)
	// ReasonCRDDeletion: one of the operator's CRDs is being deleted.
	ReasonCRDDeletion = string(RemovalsCRDDeletion)
	// ReasonRemovalsApproved: somebody approved the hold.
	ReasonRemovalsApproved = "RemovalsApproved"
	// ReasonRemovalsReleased: the hold ended by itself, as nothing waits any more or what
	// waits is within the limit.
	ReasonRemovalsReleased = "RemovalsReleased"
)

const (
	// FinalizerUnassign keeps an assignment until its add-ons are removed from Twilio.
	FinalizerUnassign = "addons.twilio-operator.dev/unassign"
	// FinalizerInUse keeps a TwilioAccount, and the Secret with its credential, while
	// assignments refer to the account.
	FinalizerInUse = "addons.twilio-operator.dev/in-use"
	// AnnotationAssigning is written by the operator together with FinalizerUnassign: the
	// object's UID and the add-ons that it is about to assign. It is the record of them
	// until the first status is written.
	AnnotationAssigning = "addons.twilio-operator.dev/assigning"
	// AnnotationReconcileRequestedAt triggers a reconcile when its value changes.
	// status.lastHandledReconcileAt repeats the value afterwards.
	AnnotationReconcileRequestedAt = "addons.twilio-operator.dev/reconcile-requested-at"
	// AnnotationAccountSelector on a Lease is the selector of the manager that holds it. A
	// Lease without it is that of a manager that selects every account.
	AnnotationAccountSelector = "addons.twilio-operator.dev/account-selector"
	// AnnotationApproveRemovals on a TwilioAccount approves the hold that it names: the
	// value of status.removals.hold. It releases the removals that wait then, and has no
	// effect afterwards.
	AnnotationApproveRemovals = "addons.twilio-operator.dev/approve-removals"
)
