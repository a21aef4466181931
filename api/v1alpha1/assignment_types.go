// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PhoneNumberSID identifies an incoming phone number in Twilio: PN and 32 hexadecimal
// digits. CEL rules replace a pattern, so that the error message says what to do.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=64
// +kubebuilder:validation:XValidation:rule="!self.startsWith('+')",message="this is a phone number; use its SID, which is PN and 32 hexadecimal digits (console: Phone Numbers, Active numbers)"
// +kubebuilder:validation:XValidation:rule="self == self.trim()",message="remove the space before or after the SID"
// +kubebuilder:validation:XValidation:rule="self.startsWith('+') || self != self.trim() || self.matches('^PN[0-9a-fA-F]{32}$')",message="must be the SID of a phone number: PN in capital letters and 32 hexadecimal digits"
type PhoneNumberSID string

// AddOnSID identifies an add-on that is installed in the Twilio account: XE and 32
// hexadecimal digits.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=64
// +kubebuilder:validation:XValidation:rule="!self.startsWith('XB')",message="this is the SID of a listing in the Marketplace catalog; use the XE SID of the installed add-on"
// +kubebuilder:validation:XValidation:rule="self == self.trim()",message="remove the space before or after the SID"
// +kubebuilder:validation:XValidation:rule="self.startsWith('XB') || self != self.trim() || self.matches('^XE[0-9a-fA-F]{32}$')",message="must be the SID of an installed add-on: XE in capital letters and 32 hexadecimal digits"
type AddOnSID string

// AccountSID identifies a Twilio account or subaccount: AC and 32 hexadecimal digits.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=64
// +kubebuilder:validation:XValidation:rule="!self.startsWith('SK')",message="this is the SID of an API key; use the SID of the account, which is AC and 32 hexadecimal digits"
// +kubebuilder:validation:XValidation:rule="self == self.trim()",message="remove the space before or after the SID"
// +kubebuilder:validation:XValidation:rule="self.startsWith('SK') || self != self.trim() || self.matches('^AC[0-9a-fA-F]{32}$')",message="must be the SID of an account: AC in capital letters and 32 hexadecimal digits"
type AccountSID string

// ManagementPolicy is what the operator may do to the number in Twilio.
//
// +kubebuilder:validation:Enum=Authoritative;Additive;Observe
type ManagementPolicy string

// The management policies.
const (
	// ManagementAuthoritative: the number carries exactly addOnSIDs.
	ManagementAuthoritative ManagementPolicy = "Authoritative"
	// ManagementAdditive: only add; remove only what this object itself created.
	ManagementAdditive ManagementPolicy = "Additive"
	// ManagementObserve: never write to Twilio; status shows what would be done.
	ManagementObserve ManagementPolicy = "Observe"
)

// DeletionPolicy is what deleting the object does in Twilio.
//
// +kubebuilder:validation:Enum=Delete;Retain
type DeletionPolicy string

// The deletion policies.
const (
	// DeletionDelete: unassign what this object manages before it goes.
	DeletionDelete DeletionPolicy = "Delete"
	// DeletionRetain: leave Twilio as it is and make no call.
	DeletionRetain DeletionPolicy = "Retain"
)

// AccountReference names a TwilioAccount.
type AccountReference struct {
	// name of the TwilioAccount. It is cluster-scoped, so no namespace is given. Default: default.
	// +optional
	// +kubebuilder:default=default
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
}

// PhoneNumberAddOnAssignmentSpec is the desired state of one phone number.
type PhoneNumberAddOnAssignmentSpec struct {
	// phoneNumberSID is the SID of the number in Twilio (PN and 32 hexadecimal
	// digits), as the console shows it under Phone Numbers > Active numbers.
	// It cannot be changed: create another object for another number.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="phoneNumberSID cannot be changed: create another object for another number"
	PhoneNumberSID PhoneNumberSID `json:"phoneNumberSID"`

	// addOnSIDs lists the installed add-ons (XE and 32 hexadecimal digits) that the
	// number carries. It may be empty: under Authoritative, an empty list removes every
	// add-on. The order has no meaning. At most 50, none of them twice.
	// The list is atomic: applying it replaces it as a whole.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:XValidation:rule="self.all(x, self.exists_one(y, x.lowerAscii() == y.lowerAscii()))",message="addOnSIDs names an add-on twice (letter case makes no difference)"
	AddOnSIDs []AddOnSID `json:"addOnSIDs"`

	// accountRef names the TwilioAccount that owns the number. Default: default.
	// +optional
	// +kubebuilder:default={name: "default"}
	AccountRef AccountReference `json:"accountRef,omitzero"`

	// managementPolicy is what the operator may do. Authoritative (default): the
	// number carries exactly addOnSIDs; missing add-ons are assigned and all others are
	// removed. Additive: assign, and remove only what this object assigned itself.
	// Observe: never write to Twilio; status shows what Authoritative would do.
	// +optional
	// +kubebuilder:default=Authoritative
	ManagementPolicy ManagementPolicy `json:"managementPolicy,omitempty"`

	// deletionPolicy is what deleting this object does in Twilio. Delete (default)
	// unassigns the add-ons that the object manages. Retain makes no call. Set Retain on
	// an object that is already being deleted to release it without changing Twilio.
	// +optional
	// +kubebuilder:default=Delete
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// suspend stops every call to Twilio for this object while true. Deleting a suspended
	// object changes nothing in Twilio.
	// +optional
	// +kubebuilder:default=false
	Suspend bool `json:"suspend,omitempty"`
}

// AddOnState is the state of one add-on on the number.
//
// +kubebuilder:validation:Enum=Assigned;Missing;Assigning;Unassigning;Rejected;Unmanaged
type AddOnState string

// The states of an add-on.
const (
	// AddOnAssigned: desired and on the number.
	AddOnAssigned AddOnState = "Assigned"
	// AddOnMissing: desired and not on the number.
	AddOnMissing AddOnState = "Missing"
	// AddOnAssigning: the operator is about to assign it, or did so and does not know the
	// outcome. This record is written before the call to Twilio.
	AddOnAssigning AddOnState = "Assigning"
	// AddOnUnassigning: to be removed, and not gone yet; message says what it waits for.
	AddOnUnassigning AddOnState = "Unassigning"
	// AddOnRejected: Twilio refused to assign it; message says why.
	AddOnRejected AddOnState = "Rejected"
	// AddOnUnmanaged: on the number, not desired, and left alone by the policy.
	AddOnUnmanaged AddOnState = "Unmanaged"
)

// AddOnOwnership says how an assigned add-on got onto the number.
//
// +kubebuilder:validation:Enum=Created;Adopted;TakenOver
type AddOnOwnership string

// The ownerships of an assigned add-on.
const (
	// OwnershipCreated: this object assigned it.
	OwnershipCreated AddOnOwnership = "Created"
	// OwnershipAdopted: it was on the number before this object listed it.
	OwnershipAdopted AddOnOwnership = "Adopted"
	// OwnershipTakenOver: another object assigned it, and this object took over the
	// responsibility to remove it.
	OwnershipTakenOver AddOnOwnership = "TakenOver"
)

// NumberClaim says whether an object holds the right to change its number.
//
// +kubebuilder:validation:Enum=Held;Yielded
type NumberClaim string

// The claims to a number.
const (
	// ClaimHeld: this object owns the number. No other object changes it.
	ClaimHeld NumberClaim = "Held"
	// ClaimYielded: this object does not own the number, or gave it up.
	ClaimYielded NumberClaim = "Yielded"
)

// AddOnStatus is what the operator knows of one add-on.
type AddOnStatus struct {
	// sid is the add-on's SID, spelled as in the spec or, for one that is not desired, as
	// Twilio lists it.
	// +required
	SID AddOnSID `json:"sid"`

	// state is Assigned, Missing (desired, not on the number), Assigning (the outcome is
	// not known yet), Unassigning (to be removed), Rejected (Twilio refused it) or
	// Unmanaged (on the number, not desired, left alone).
	// +required
	State AddOnState `json:"state"`

	// ownership says who assigned the add-on: Created (this object), TakenOver (an object
	// that handed it to this one) or Adopted (it was there before). Under the policy
	// Additive, an Adopted add-on is never removed.
	// +optional
	Ownership AddOnOwnership `json:"ownership,omitempty"`

	// assignedSID is the SID that Twilio gave the assignment, where it differs from sid.
	// +optional
	AssignedSID AddOnSID `json:"assignedSID,omitempty"`

	// uniqueName is the name of the installed add-on in the Twilio account.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	UniqueName string `json:"uniqueName,omitempty"`

	// friendlyName is the add-on's title, for people.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	FriendlyName string `json:"friendlyName,omitempty"`

	// description says what the add-on does, for people.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Description string `json:"description,omitempty"`

	// dateUpdated is when Twilio last changed the assignment.
	// +optional
	DateUpdated *metav1.Time `json:"dateUpdated,omitempty"`

	// message says why Twilio rejected the add-on, or what a removal waits for.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}

// PhoneNumberAddOnAssignmentStatus is the state of the number as last observed.
type PhoneNumberAddOnAssignmentStatus struct {
	// conditions are Ready and InSync, and, only while True, Reconciling and Stalled.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the metadata.generation that this status describes; -1
	// before the first report.
	// +optional
	// +kubebuilder:validation:Minimum=-1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// accountSID is the Twilio account in which the number was last read. It is empty
	// before the first reading and after the number is confirmed gone.
	// +optional
	AccountSID AccountSID `json:"accountSID,omitempty"`

	// claim is Held while this object owns its number, and Yielded after another object
	// may own it.
	// +optional
	Claim NumberClaim `json:"claim,omitempty"`

	// phoneNumber is the number in E.164 form. It is read once.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	PhoneNumber string `json:"phoneNumber,omitempty"`

	// synced is how many of the desired add-ons are assigned, for example "2/2".
	// +optional
	// +kubebuilder:validation:MaxLength=16
	Synced string `json:"synced,omitempty"`

	// pending is what would change in Twilio but does not, because of the policy Observe or
	// because removals are held: add-ons to assign and to remove, for example "+1 -2".
	// +optional
	// +kubebuilder:validation:MaxLength=16
	Pending string `json:"pending,omitempty"`

	// addOns has an entry for every add-on that is desired or on the number.
	// +optional
	// +listType=map
	// +listMapKey=sid
	// +kubebuilder:validation:MaxItems=250
	AddOns []AddOnStatus `json:"addOns,omitempty"`

	// lastHandledReconcileAt repeats the annotation
	// addons.twilio-operator.dev/reconcile-requested-at after the requested reconcile.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	LastHandledReconcileAt string `json:"lastHandledReconcileAt,omitempty"`
}

// PhoneNumberAddOnAssignment keeps the add-ons assigned to one Twilio phone
// number equal to its spec.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=pnaa,categories=twilio
// +kubebuilder:selectablefield:JSONPath=`.spec.phoneNumberSID`
// +kubebuilder:selectablefield:JSONPath=`.spec.accountRef.name`
// +kubebuilder:printcolumn:name="NUMBER",type=string,JSONPath=`.status.phoneNumber`,description="the phone number"
// +kubebuilder:printcolumn:name="ADD-ONS",type=string,JSONPath=`.status.synced`,description="assigned/desired add-ons"
// +kubebuilder:printcolumn:name="PENDING",type=string,JSONPath=`.status.pending`,description="add-ons that would be assigned and removed"
// +kubebuilder:printcolumn:name="READY",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="REASON",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="ACCOUNT",type=string,JSONPath=`.spec.accountRef.name`,priority=1
// +kubebuilder:printcolumn:name="PN SID",type=string,JSONPath=`.spec.phoneNumberSID`,priority=1
// +kubebuilder:printcolumn:name="POLICY",type=string,JSONPath=`.spec.managementPolicy`,priority=1
// +kubebuilder:printcolumn:name="MESSAGE",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
type PhoneNumberAddOnAssignment struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is the desired state: which add-ons the number carries.
	// +required
	Spec PhoneNumberAddOnAssignmentSpec `json:"spec"`

	// status is the observed state; only the operator writes it.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status PhoneNumberAddOnAssignmentStatus `json:"status,omitzero"`
}

// PhoneNumberAddOnAssignmentList is a list of PhoneNumberAddOnAssignments.
//
// +kubebuilder:object:root=true
type PhoneNumberAddOnAssignmentList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []PhoneNumberAddOnAssignment `json:"items"`
}
