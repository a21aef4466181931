// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Keys of the Secret that holds a TwilioAccount's credential: either the auth
// token, or (recommended) an API key's SID and secret.
const (
	// SecretKeyAuthToken holds the account's auth token.
	SecretKeyAuthToken = "authToken"
	// SecretKeyAPIKeySID holds the SID of an API key, SK and 32 hexadecimal digits.
	SecretKeyAPIKeySID = "apiKeySID"
	// SecretKeyAPIKeySecret holds the secret of that API key.
	SecretKeyAPIKeySecret = "apiKeySecret"
)

// SecretReference names a Secret in the operator's own namespace.
type SecretReference struct {
	// name of the Secret, in the namespace that the operator runs in.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// NamespacesFrom selects namespaces.
//
// +kubebuilder:validation:Enum=None;All;Selector
type NamespacesFrom string

// The ways to select namespaces.
const (
	// NamespacesFromNone: no namespace.
	NamespacesFromNone NamespacesFrom = "None"
	// NamespacesFromAll: every namespace.
	NamespacesFromAll NamespacesFrom = "All"
	// NamespacesFromSelector: the namespaces whose labels the selector matches.
	NamespacesFromSelector NamespacesFrom = "Selector"
)

// AllowedNamespaces selects the namespaces whose assignments may use the account.
//
// +kubebuilder:validation:XValidation:rule="has(self.selector) == (has(self.from) && self.from == 'Selector')",message="selector is needed with from: Selector, and only then"
type AllowedNamespaces struct {
	// from is None (default: no namespace may use the account), All, or Selector.
	// +optional
	// +kubebuilder:default=None
	From NamespacesFrom `json:"from,omitempty"`

	// selector selects namespaces by label. It is required with from: Selector, and only
	// then. An empty selector ({}) matches every namespace.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// RemovalException raises the limit of the removal budget for a planned change.
type RemovalException struct {
	// until is the time at which the exception ends, for example 2026-11-26T00:00:00Z.
	// +required
	Until metav1.Time `json:"until"`

	// maxNumbers is the limit until then: a count from 1 to 100000. It has no effect if the
	// budget itself allows more.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	MaxNumbers int32 `json:"maxNumbers"`

	// reason says what the exception is for, for example the number of a change request.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Reason string `json:"reason"`
}

// RemovalBudget limits how many distinct phone numbers may lose add-ons in a window, to
// stop mistakes that affect many numbers. Removals that exceed it are held as a whole
// until somebody approves them or takes them back. Assigning add-ons is never held.
type RemovalBudget struct {
	// maxNumbers is how many distinct numbers may lose at least one add-on in a window: a
	// percentage such as 25% (default) of the numbers that the account's objects hold, or a
	// count such as 500. 100% turns the budget off. It is never less than minNumbers.
	// +optional
	// +kubebuilder:default="25%"
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=6
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? (int(self) >= 0 && int(self) <= 100000) : string(self).matches('^(100|[0-9]{1,2})%$')",message="maxNumbers must be a percentage from 0% to 100%, for example 25%, or a count from 0 to 100000 without quotes"
	MaxNumbers *intstr.IntOrString `json:"maxNumbers,omitempty"`

	// minNumbers is how many numbers may lose add-ons in a window without delay, so that
	// everyday edits never wait: 0 to 100000, default 10.
	// +optional
	// +kubebuilder:default=10
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	MinNumbers *int32 `json:"minNumbers,omitempty"`

	// window is the time over which numbers are counted: a duration such as 15m, 1h
	// (default) or 24h; 1m to 24h.
	// +optional
	// +kubebuilder:default="1h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$')",message="must be a duration such as 90s, 10m or 1h30m; the units are h, m, s and ms"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') || (duration(self) >= duration('1m') && duration(self) <= duration('24h'))",message="window must be between 1m and 24h"
	//nolint:kubeapilinter // a pointer would make nil and the default two words for one thing
	Window metav1.Duration `json:"window,omitempty,omitzero"`

	// exceptions raise the limit for planned changes; at most 10. Of those that have not
	// ended, the highest applies.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	Exceptions []RemovalException `json:"exceptions,omitempty"`
}

// TwilioAccountSpec describes one Twilio account, how to reach it, and who may use it.
type TwilioAccountSpec struct {
	// accountSID is the SID of the Twilio account or subaccount that owns the numbers (AC
	// and 32 hexadecimal digits). It cannot be changed: create another TwilioAccount.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="accountSID cannot be changed: create another TwilioAccount for another account"
	AccountSID AccountSID `json:"accountSID"`

	// credentialsSecretRef names a Secret in the operator's own namespace with
	// apiKeySID and apiKeySecret (recommended), or authToken.
	// +required
	CredentialsSecretRef SecretReference `json:"credentialsSecretRef"`

	// allowedNamespaces selects the namespaces whose assignments may use this account.
	// Default: none, so that nobody uses the credential before an admin allows it.
	// +optional
	// +kubebuilder:default={from: "None"}
	AllowedNamespaces AllowedNamespaces `json:"allowedNamespaces,omitzero"`

	// apiBaseURL is the address of Twilio's REST API: https://api.twilio.com (default),
	// https://api.EDGE.REGION.twilio.com, a proxy or a simulator. Plain http is refused unless
	// the host is loopback or the manager runs with --allow-insecure-twilio-url.
	// +optional
	// +kubebuilder:default="https://api.twilio.com"
	// +kubebuilder:validation:MinLength=8
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="isURL(self) && (self.startsWith('https://') || self.startsWith('http://'))",message="apiBaseURL must be an http or https URL, for example https://api.twilio.com"
	// +kubebuilder:validation:XValidation:rule="!self.contains('@') && !self.contains('?') && !self.contains('#')",message="apiBaseURL must hold no user, query or fragment"
	APIBaseURL string `json:"apiBaseURL,omitempty"`

	// maxConcurrentRequests is how many calls to this account may be in flight at once,
	// over all objects: 1 to 100, default 8. After a 429 the operator uses fewer by itself,
	// and recovers. If several TwilioAccounts have the same accountSID, the smallest applies.
	// +optional
	// +kubebuilder:default=8
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	MaxConcurrentRequests int32 `json:"maxConcurrentRequests,omitempty"`

	// resyncInterval is how often the operator reads each number to find changes made
	// elsewhere, and how often it tries a stalled object again: a duration such as 90s, 10m
	// (default) or 1h30m; 1s to 24h.
	// +optional
	// +kubebuilder:default="10m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$')",message="must be a duration such as 90s, 10m or 1h30m; the units are h, m, s and ms"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') || (duration(self) >= duration('1s') && duration(self) <= duration('24h'))",message="resyncInterval must be between 1s and 24h"
	//nolint:kubeapilinter // a pointer would make nil and the default two words for one thing
	ResyncInterval metav1.Duration `json:"resyncInterval,omitempty,omitzero"`

	// suspend stops every call to Twilio for all objects of this account while true.
	// Objects that are being deleted wait. (An object that is itself suspended is deleted
	// without changing Twilio.)
	// +optional
	// +kubebuilder:default=false
	Suspend bool `json:"suspend,omitempty"`

	// removalBudget limits how many phone numbers may lose add-ons in a window. If several
	// TwilioAccounts have the same accountSID, they share one budget, the strictest.
	// Default: 25% of the numbers in an hour, and 10 of them without delay.
	// +optional
	// +kubebuilder:default={maxNumbers: "25%", minNumbers: 10, window: "1h"}
	RemovalBudget RemovalBudget `json:"removalBudget,omitzero"`
}

// RemovalsCause says why removals are held.
//
// +kubebuilder:validation:Enum=OverBudget;CRDDeletion
type RemovalsCause string

// The causes of a hold.
const (
	// RemovalsOverBudget: more numbers would lose add-ons than the budget allows.
	RemovalsOverBudget RemovalsCause = "OverBudget"
	// RemovalsCRDDeletion: one of the operator's CRDs is being deleted.
	RemovalsCRDDeletion RemovalsCause = "CRDDeletion"
)

// CountedNumbers are numbers whose last permission to lose add-ons ends at the same time.
type CountedNumbers struct {
	// until is the time at which the permission ends. The numbers count for one more window
	// from then on.
	// +required
	Until metav1.Time `json:"until"`

	// numbers are the numbers' fingerprints, eight characters each.
	// +required
	// +kubebuilder:validation:MaxLength=1000000
	Numbers string `json:"numbers"`
}

// RemovalsStatus is the state of the removal budget. The operator records here what it
// allows before it removes anything, so that a crash or a change of leader loses nothing.
// Accounts with the same accountSID have the same state.
type RemovalsStatus struct {
	// numbers is how many distinct numbers count against the limit now: they lost add-ons
	// in this window, or are about to lose them.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Numbers int32 `json:"numbers,omitempty"`

	// limit is how many distinct numbers may lose add-ons in a window, as of the last write.
	// It is also 0 while the budget is off.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Limit int32 `json:"limit,omitempty"`

	// held is how many numbers would lose add-ons but are held.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Held int32 `json:"held,omitempty"`

	// heldSince is the time at which the hold began.
	// +optional
	HeldSince *metav1.Time `json:"heldSince,omitempty"`

	// hold is the name of the hold, for the annotation
	// addons.twilio-operator.dev/approve-removals. It stays the same while the hold lasts.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	Hold string `json:"hold,omitempty"`

	// cause says why removals are held: OverBudget, or CRDDeletion while one of the
	// operator's CRDs is being deleted.
	// +optional
	Cause RemovalsCause `json:"cause,omitempty"`

	// sample names up to five of the objects whose removals are held, as namespace/name.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=5
	// +kubebuilder:validation:items:MaxLength=320
	Sample []string `json:"sample,omitempty"`

	// approved is the hold that was last approved. Its approval has no further effect.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	Approved string `json:"approved,omitempty"`

	// approvedNumbers are the fingerprints of numbers that were approved and have not lost
	// their add-ons yet, eight characters each. They do not count against the limit.
	// +optional
	// +kubebuilder:validation:MaxLength=1000000
	ApprovedNumbers string `json:"approvedNumbers,omitempty"`

	// counted are the numbers that count against the limit, oldest first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Counted []CountedNumbers `json:"counted,omitempty"`

	// highWater is the highest count of numbers that the account's objects held in this
	// window. A percentage in maxNumbers refers to it.
	// +optional
	// +kubebuilder:validation:Minimum=0
	HighWater int32 `json:"highWater,omitempty"`

	// highWaterUntil is the time from which highWater applies for one more window.
	// +optional
	HighWaterUntil *metav1.Time `json:"highWaterUntil,omitempty"`
}

// TwilioAccountStatus is the state of the account as last observed.
type TwilioAccountStatus struct {
	// conditions are Ready, and, only while True, Reconciling, Stalled, RemovalsHeld and
	// SelectedTwice.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the metadata.generation that this status describes; -1 before
	// the first report.
	// +optional
	// +kubebuilder:validation:Minimum=-1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// assignments is how many PhoneNumberAddOnAssignments refer to this account. It is
	// updated at most once a minute.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Assignments *int32 `json:"assignments,omitempty"`

	// concurrencyLimit is how many concurrent calls the operator allows itself now. It is
	// below spec.maxConcurrentRequests after Twilio answered 429. It is updated at most
	// once a minute.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ConcurrencyLimit *int32 `json:"concurrencyLimit,omitempty"`

	// verifiedSecret is the UID and resourceVersion of the Secret whose credential Twilio
	// last accepted, so that a restart does not check it again.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	VerifiedSecret string `json:"verifiedSecret,omitempty"`

	// manager is the manager that serves the account: the name of its Lease in the
	// operator's namespace. Each manager writes its own name before it does anything for the
	// account, and removes it after it has stopped.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Manager string `json:"manager,omitempty"`

	// removals is the state of the removal budget. It is absent until an object of the
	// account removes something.
	// +optional
	Removals RemovalsStatus `json:"removals,omitzero"`
}

// TwilioAccount is one Twilio account with its credential. It is cluster-scoped, and its
// Secret is in the operator's namespace, so that tenants use an account without holding
// its credential.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=twacct,categories=twilio
// +kubebuilder:printcolumn:name="ACCOUNT SID",type=string,JSONPath=`.spec.accountSID`
// +kubebuilder:printcolumn:name="ASSIGNMENTS",type=integer,JSONPath=`.status.assignments`
// +kubebuilder:printcolumn:name="HELD",type=integer,JSONPath=`.status.removals.held`,description="numbers whose removals are held"
// +kubebuilder:printcolumn:name="READY",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="REASON",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="API",type=string,JSONPath=`.spec.apiBaseURL`,priority=1
// +kubebuilder:printcolumn:name="LIMIT",type=integer,JSONPath=`.status.concurrencyLimit`,priority=1
// +kubebuilder:printcolumn:name="MANAGER",type=string,JSONPath=`.status.manager`,priority=1
// +kubebuilder:printcolumn:name="MESSAGE",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
type TwilioAccount struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec describes the account, how to reach it, and who may use it.
	// +required
	Spec TwilioAccountSpec `json:"spec"`

	// status is the observed state; only the operator writes it.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status TwilioAccountStatus `json:"status,omitzero"`
}

// TwilioAccountList is a list of TwilioAccounts.
//
// +kubebuilder:object:root=true
type TwilioAccountList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []TwilioAccount `json:"items"`
}
