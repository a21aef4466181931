// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PhoneNumberSID names an incoming phone number in Twilio: PN and 32 hexadecimal digits.
//
// +kubebuilder:validation:MinLength=34
// +kubebuilder:validation:MaxLength=34
// +kubebuilder:validation:Pattern=`^PN[0-9a-fA-F]{32}$`
type PhoneNumberSID string

// AddOnSID names an add-on installed in the Twilio account: XE and 32 hexadecimal digits.
//
// +kubebuilder:validation:MinLength=34
// +kubebuilder:validation:MaxLength=34
// +kubebuilder:validation:Pattern=`^XE[0-9a-fA-F]{32}$`
type AddOnSID string

// AccountSID names a Twilio account or subaccount: AC and 32 hexadecimal digits.
//
// +kubebuilder:validation:MinLength=34
// +kubebuilder:validation:MaxLength=34
// +kubebuilder:validation:Pattern=`^AC[0-9a-fA-F]{32}$`
type AccountSID string

// ManagementPolicy says what the operator may do to the number in Twilio.
//
// +kubebuilder:validation:Enum=Authoritative;Additive;Observe
type ManagementPolicy string

// The management policies.
const (
	// ManagementAuthoritative: the number carries exactly addOnSIDs.
	ManagementAuthoritative ManagementPolicy = "Authoritative"
	// ManagementAdditive: only add; remove nothing but what this object itself created.
	ManagementAdditive ManagementPolicy = "Additive"
	// ManagementObserve: never write to Twilio; status shows what would be done.
	ManagementObserve ManagementPolicy = "Observe"
)

// DeletionPolicy says what deleting the object does in Twilio.
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

// PhoneNumberAddOnAssignmentSpec is what is wanted of one phone number.
type PhoneNumberAddOnAssignmentSpec struct {
	// phoneNumberSID is the SID of the number in Twilio (PN and 32 hexadecimal
	// digits), as the console shows it under Phone Numbers > Active numbers.
	// It cannot be changed: delete this object and create another for another number.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="phoneNumberSID cannot be changed: create another object for another number"
	PhoneNumberSID PhoneNumberSID `json:"phoneNumberSID"`

	// addOnSIDs are the SIDs of the installed add-ons (XE and 32 hexadecimal
	// digits) that the number is to carry. May be empty: with the policy
	// Authoritative an empty list removes every add-on. The order has no
	// meaning; at most 50.
	// +required
	// +listType=set
	// +kubebuilder:validation:MaxItems=50
	AddOnSIDs []AddOnSID `json:"addOnSIDs"`

	// accountRef names the TwilioAccount that owns the number. Default: default.
	// +optional
	// +kubebuilder:default={name: "default"}
	AccountRef AccountReference `json:"accountRef,omitzero"`

	// managementPolicy says what the operator may do. Authoritative (default): the
	// number carries exactly addOnSIDs; missing ones are assigned and every other one
	// is removed. Additive: only add; remove nothing but what this object itself
	// assigned. Observe: never write to Twilio; status shows what would be done.
	// +optional
	// +kubebuilder:default=Authoritative
	ManagementPolicy ManagementPolicy `json:"managementPolicy,omitempty"`

	// deletionPolicy says what deleting this object does. Delete (default):
	// the add-ons it manages are unassigned first. Retain: Twilio is left as it is and
	// not called. It may be set to Retain while the object is being deleted, to let it
	// go when its credential is lost for good.
	// +optional
	// +kubebuilder:default=Delete
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// suspend stops every call to Twilio for this object while true. A suspended object
	// that is deleted leaves Twilio as it is.
	// +optional
	// +kubebuilder:default=false
	Suspend bool `json:"suspend,omitempty"`
}

// AddOnState is where one add-on stands.
//
// +kubebuilder:validation:Enum=Assigned;Missing;Unassigning;Rejected;Unmanaged
type AddOnState string

// The states of an add-on.
const (
	// AddOnAssigned: desired and there.
	AddOnAssigned AddOnState = "Assigned"
	// AddOnMissing: desired and not there (yet).
	AddOnMissing AddOnState = "Missing"
	// AddOnUnassigning: to be removed, not yet gone.
	AddOnUnassigning AddOnState = "Unassigning"
	// AddOnRejected: Twilio refused to assign it; message says why.
	AddOnRejected AddOnState = "Rejected"
	// AddOnUnmanaged: there, not desired, left alone by the policy.
	AddOnUnmanaged AddOnState = "Unmanaged"
)

// AddOnOwnership says how an assigned add-on came to be on the number.
//
// +kubebuilder:validation:Enum=Created;Adopted
type AddOnOwnership string

// The ownerships of an assigned add-on.
const (
	// OwnershipCreated: this object assigned it.
	OwnershipCreated AddOnOwnership = "Created"
	// OwnershipAdopted: it was there already when this object came to want it.
	OwnershipAdopted AddOnOwnership = "Adopted"
)

// AddOnStatus is what is known of one add-on on the number.
type AddOnStatus struct {
	// sid is the add-on's SID as the spec or, for one that is not desired, Twilio names it.
	// +required
	SID AddOnSID `json:"sid"`

	// state is where the add-on stands: Assigned, Missing (desired, not there),
	// Unassigning (to be removed), Rejected (Twilio refused it), Unmanaged (there, not
	// desired, left alone).
	// +required
	State AddOnState `json:"state"`

	// ownership says who assigned it: Created by this object, or Adopted because it
	// was there before. Under the policy Additive only Created ones are ever removed. One
	// that is Missing or Rejected is Created once the object has meant to assign it.
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

	// message says why an add-on was rejected, in Twilio's words.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}

// PhoneNumberAddOnAssignmentStatus is what is so.
type PhoneNumberAddOnAssignmentStatus struct {
	// conditions are Ready, InSync, and while they are so Reconciling and Stalled.
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

	// accountSID is the Twilio account that was last acted on.
	// +optional
	AccountSID AccountSID `json:"accountSID,omitempty"`

	// phoneNumber is the number itself in E.164 form, read once, for people.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	PhoneNumber string `json:"phoneNumber,omitempty"`

	// synced is how many of the desired add-ons are assigned, for example "2/2".
	// +optional
	// +kubebuilder:validation:MaxLength=16
	Synced string `json:"synced,omitempty"`

	// addOns has an entry for every add-on that is desired or on the number.
	// +optional
	// +listType=map
	// +listMapKey=sid
	// +kubebuilder:validation:MaxItems=250
	AddOns []AddOnStatus `json:"addOns,omitempty"`

	// lastHandledReconcileAt echoes the annotation
	// addons.twilio-operator.dev/reconcile-requested-at once its pass was made.
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
// +kubebuilder:printcolumn:name="NUMBER",type=string,JSONPath=`.status.phoneNumber`,description="the phone number"
// +kubebuilder:printcolumn:name="ADD-ONS",type=string,JSONPath=`.status.synced`,description="assigned/desired add-ons"
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

	// spec says which add-ons the number is to carry.
	// +required
	Spec PhoneNumberAddOnAssignmentSpec `json:"spec"`

	// status says what is so in Twilio; the operator writes it.
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
