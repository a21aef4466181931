// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// NamespacesFrom says how namespaces are chosen.
//
// +kubebuilder:validation:Enum=None;All;Selector
type NamespacesFrom string

// The ways to choose namespaces.
const (
	// NamespacesFromNone: no namespace.
	NamespacesFromNone NamespacesFrom = "None"
	// NamespacesFromAll: every namespace.
	NamespacesFromAll NamespacesFrom = "All"
	// NamespacesFromSelector: the namespaces whose labels the selector matches.
	NamespacesFromSelector NamespacesFrom = "Selector"
)

// AllowedNamespaces says in which namespaces assignments may refer to the account.
//
// +kubebuilder:validation:XValidation:rule="has(self.selector) == (has(self.from) && self.from == 'Selector')",message="selector is needed with from: Selector, and only then"
type AllowedNamespaces struct {
	// from is None (default: nobody may use the account), All, or Selector.
	// +optional
	// +kubebuilder:default=None
	From NamespacesFrom `json:"from,omitempty"`

	// selector chooses namespaces by label; used with from: Selector. An empty
	// selector ({}) matches every namespace.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// TwilioAccountSpec says how to reach one Twilio account, and who may.
type TwilioAccountSpec struct {
	// accountSID of the Twilio account or subaccount that owns the numbers (AC and 32
	// hexadecimal digits). It cannot be changed: create another TwilioAccount.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="accountSID cannot be changed: create another TwilioAccount for another account"
	AccountSID AccountSID `json:"accountSID"`

	// credentialsSecretRef names a Secret in the operator's own namespace with
	// apiKeySID and apiKeySecret (recommended), or authToken.
	// +required
	CredentialsSecretRef SecretReference `json:"credentialsSecretRef"`

	// allowedNamespaces says in which namespaces assignments may use this account.
	// Default: none, so nobody uses a credential before an admin says who may.
	// +optional
	// +kubebuilder:default={from: "None"}
	AllowedNamespaces AllowedNamespaces `json:"allowedNamespaces,omitzero"`

	// apiBaseURL is where Twilio's REST API is reached: https://api.twilio.com (default),
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
	// over all objects: 1 to 100, default 8. On 429 the operator goes below it by itself,
	// and comes back. Where several TwilioAccounts name one accountSID, the smallest rules.
	// +optional
	// +kubebuilder:default=8
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	MaxConcurrentRequests int32 `json:"maxConcurrentRequests,omitempty"`

	// resyncInterval is how often each number is listed to find what changed behind the
	// operator's back, and how often a stalled object is tried again: a duration such
	// as 90s, 10m (default) or 1h30m; 1s to 24h.
	// +optional
	// +kubebuilder:default="10m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="resyncInterval must be between 1s and 24h"
	//nolint:kubeapilinter // a pointer would make nil and the default two words for one thing
	ResyncInterval metav1.Duration `json:"resyncInterval,omitempty,omitzero"`
}

// TwilioAccountStatus is what is so.
type TwilioAccountStatus struct {
	// conditions are Ready, and while they are so Reconciling and Stalled.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the metadata.generation that this status speaks of; -1
	// until the operator has first reported.
	// +optional
	// +kubebuilder:validation:Minimum=-1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// assignments is how many PhoneNumberAddOnAssignments refer to this account;
	// brought up to date at most once a minute.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Assignments *int32 `json:"assignments,omitempty"`

	// concurrencyLimit is how many calls at once the operator allows itself now: below
	// spec.maxConcurrentRequests after Twilio answered 429; brought up to date at most
	// once a minute.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ConcurrencyLimit *int32 `json:"concurrencyLimit,omitempty"`

	// verifiedSecret is the UID and resourceVersion of the Secret whose credential Twilio
	// last accepted, so that a restart need not ask again.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	VerifiedSecret string `json:"verifiedSecret,omitempty"`
}

// TwilioAccount is one Twilio account and the credential to act on it. It is
// cluster-scoped, and its Secret lies in the operator's namespace, so that
// tenants use an account without holding its credential.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=twacct,categories=twilio
// +kubebuilder:printcolumn:name="ACCOUNT SID",type=string,JSONPath=`.spec.accountSID`
// +kubebuilder:printcolumn:name="ASSIGNMENTS",type=integer,JSONPath=`.status.assignments`
// +kubebuilder:printcolumn:name="READY",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="REASON",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="API",type=string,JSONPath=`.spec.apiBaseURL`,priority=1
// +kubebuilder:printcolumn:name="LIMIT",type=integer,JSONPath=`.status.concurrencyLimit`,priority=1
// +kubebuilder:printcolumn:name="MESSAGE",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
type TwilioAccount struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec says how to reach the account, and who may use it.
	// +required
	Spec TwilioAccountSpec `json:"spec"`

	// status says what is so; the operator writes it.
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
