// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package plan compares the add-ons that an object desires with those that its phone
// number carries, and decides what to do about each of them.
//
// It is pure: data in, data out. It never calls Twilio or Kubernetes, reads no clock and
// writes no log. A plan is never changed after it is made; package ledger records what
// came of its steps. The operator and the command line tool use the same plan, so that
// what the tool shows is what the operator does.
package plan

import (
	"cmp"
	"slices"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/sid"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

// Action says what to do about one add-on.
type Action string

// The actions of a plan.
const (
	// Keep: desired and on the number.
	Keep Action = "Keep"
	// Assign: desired and not on the number.
	Assign Action = "Assign"
	// Unassign: on the number and not desired, or on record and perhaps on the number.
	Unassign Action = "Unassign"
	// Report: differs from the spec, and the policy leaves it as it is.
	Report Action = "Report"
)

// Input is what a plan is made from.
type Input struct {
	Desired []v1alpha1.AddOnSID
	Policy  v1alpha1.ManagementPolicy
	// Recorded is what the object has on record of its add-ons.
	Recorded []v1alpha1.AddOnStatus
	// Inherited is what other objects have on record for the same number.
	Inherited []v1alpha1.AddOnStatus
	// Listed is a complete listing of the number. Never pass a part of one.
	Listed []twilio.AssignedAddOn
}

// Step is what to do about one add-on, and why it is known.
type Step struct {
	// SID is spelled as the spec, the record or Twilio has it, in this order.
	SID v1alpha1.AddOnSID
	// AssignedSID is the SID that Twilio gave the assignment, if it differs from SID.
	AssignedSID v1alpha1.AddOnSID
	Action      Action
	// Ownership says who assigned the add-on; empty if nobody is known to have.
	Ownership v1alpha1.AddOnOwnership
	// Listed is the assignment in the listing, nil if it is not there.
	Listed *twilio.AssignedAddOn
	// Recorded is the object's own record, nil if there is none.
	Recorded *v1alpha1.AddOnStatus
}

// TwilioSID returns the SID by which Twilio knows the assignment.
func (s *Step) TwilioSID() string { return string(cmp.Or(s.AssignedSID, s.SID)) }

// Desired reports whether the step is about an add-on that the spec lists.
func (s *Step) Desired() bool {
	return s.Action == Keep || s.Action == Assign || (s.Action == Report && s.Listed == nil)
}

// Plan holds one step for each add-on that is desired, listed, or on record as created:
// first the desired ones in the order of the spec, then the others by SID, and last those
// that are left alone.
type Plan []Step

// Make compares the desired add-ons with a complete listing.
//
//	desired  listed  Authoritative  Additive                        Observe
//	yes      yes     Keep           Keep                            Keep
//	yes      no      Assign         Assign                          Report
//	no       yes     Unassign       Unassign what the object        Report
//	                                created, otherwise Report
//	no       no      Unassign what the object created: the list     –
//	                 may be older than the assignment
//
// SIDs are compared without regard to letter case. An assignment whose SID differs from
// the one that was posted is matched by the record of it.
func Make(in Input) Plan {
	m := newMatcher(in)
	desired := m.desired()
	others := slices.Concat(m.listedOnly(), m.recordedOnly())
	slices.SortFunc(others, func(a, b Step) int {
		return cmp.Or(cmp.Compare(rank(&a), rank(&b)), cmp.Compare(a.SID, b.SID))
	})
	return slices.Concat(desired, others)
}

// With returns the steps with an action.
func (p Plan) With(action Action) []Step {
	return slices.DeleteFunc(slices.Clone(p), func(s Step) bool { return s.Action != action })
}

// Writes reports whether carrying out the plan changes anything in Twilio.
func (p Plan) Writes() bool {
	return slices.ContainsFunc(p, func(s Step) bool { return s.Action == Assign || s.Action == Unassign })
}

// Departure returns what the deletion of an object has to remove from its number. Under
// Authoritative that is what the object desires or has on record as owned, under Additive
// what it created. owner says whether the object owns the number: one that does not
// answers only for what it has on record.
func Departure(spec *v1alpha1.PhoneNumberAddOnAssignmentSpec, recorded []v1alpha1.AddOnStatus, owner bool) Plan {
	var p Plan
	known := map[string]bool{}
	for i := range recorded {
		record := &recorded[i]
		if Answers(spec.ManagementPolicy, record) {
			known[sid.Normalize(record.SID)] = true
			p = append(p, Step{SID: record.SID, AssignedSID: record.AssignedSID, Action: Unassign, Ownership: record.Ownership, Recorded: record})
		}
	}
	if !owner || spec.ManagementPolicy != v1alpha1.ManagementAuthoritative {
		return p
	}
	for _, s := range spec.AddOnSIDs {
		if key := sid.Normalize(s); !known[key] {
			known[key] = true
			p = append(p, Step{SID: s, Action: Unassign})
		}
	}
	return p
}

// Answers reports whether an object with this policy has to remove a recorded add-on
// before it goes.
func Answers(policy v1alpha1.ManagementPolicy, record *v1alpha1.AddOnStatus) bool {
	switch policy {
	case v1alpha1.ManagementAuthoritative:
		return record.Ownership != "" || record.State == v1alpha1.AddOnUnassigning
	case v1alpha1.ManagementAdditive, v1alpha1.ManagementObserve:
		return Created(record.Ownership)
	}
	return false
}

// HandsOver reports whether a departing owner leaves a recorded add-on to a successor that
// desires it: what it answers for, and what nobody is known to have assigned and it was about
// to remove.
func HandsOver(record *v1alpha1.AddOnStatus) bool {
	return record.Ownership != "" || record.State == v1alpha1.AddOnUnassigning
}

// Created reports whether the operator assigned the add-on, for this object or for one
// that handed it over.
func Created(ownership v1alpha1.AddOnOwnership) bool {
	return ownership == v1alpha1.OwnershipCreated || ownership == v1alpha1.OwnershipTakenOver
}

// mayRemove says whether a policy removes an add-on that is not desired.
func mayRemove(policy v1alpha1.ManagementPolicy, ownership v1alpha1.AddOnOwnership) bool {
	switch policy {
	case v1alpha1.ManagementAuthoritative:
		return true
	case v1alpha1.ManagementAdditive:
		return Created(ownership)
	case v1alpha1.ManagementObserve:
	}
	return false
}

// rank puts what is left alone behind the rest.
func rank(s *Step) int {
	if s.Action == Report {
		return 1
	}
	return 0
}
