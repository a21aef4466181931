// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/sid"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

// matcher finds the listing, the record and the spec entry of each add-on.
type matcher struct {
	in Input
	// records holds the object's own records by SID and by assigned SID.
	records map[string]*v1alpha1.AddOnStatus
	// inherited holds the SIDs that other objects have on record as created.
	inherited map[string]bool
	// unmatched holds what is listed and has no step yet.
	unmatched map[string]*twilio.AssignedAddOn
	// planned holds the records that have a step.
	planned map[*v1alpha1.AddOnStatus]bool
}

func newMatcher(in Input) *matcher {
	m := &matcher{
		in:        in,
		records:   map[string]*v1alpha1.AddOnStatus{},
		inherited: map[string]bool{},
		unmatched: map[string]*twilio.AssignedAddOn{},
		planned:   map[*v1alpha1.AddOnStatus]bool{},
	}
	for i := range in.Recorded {
		record := &in.Recorded[i]
		if record.AssignedSID != "" {
			m.records[sid.Normalize(record.AssignedSID)] = record
		}
	}
	for i := range in.Recorded {
		m.records[sid.Normalize(in.Recorded[i].SID)] = &in.Recorded[i]
	}
	for i := range in.Inherited {
		if record := &in.Inherited[i]; Created(record.Ownership) {
			m.inherited[sid.Normalize(cmp.Or(record.AssignedSID, record.SID))] = true
		}
	}
	for i := range in.Listed {
		m.unmatched[sid.Normalize(in.Listed[i].SID)] = &in.Listed[i]
	}
	return m
}

// desired returns the steps for the add-ons of the spec.
func (m *matcher) desired() Plan {
	var p Plan
	seen := map[string]bool{}
	for _, desired := range m.in.Desired {
		key := sid.Normalize(desired)
		if seen[key] {
			continue
		}
		seen[key] = true
		step := Step{SID: desired}
		m.addRecord(&step, m.records[key])
		step.Listed = m.pop(string(desired))
		if other := m.pop(step.TwilioSID()); step.Listed == nil {
			step.Listed = other
		}
		switch {
		case step.Listed != nil:
			step.Action = Keep
			step.AssignedSID = assignedSID(step.SID, step.Listed)
			step.Ownership = m.ownershipOf(&step)
		case m.in.Policy == v1alpha1.ManagementObserve:
			step.Action = Report
		default:
			step.Action = Assign
		}
		p = append(p, step)
	}
	return p
}

// listedOnly returns the steps for what is on the number and not desired.
func (m *matcher) listedOnly() Plan {
	var p Plan
	for _, listed := range m.unmatched {
		step := Step{SID: v1alpha1.AddOnSID(listed.SID), Listed: listed}
		m.addRecord(&step, m.records[sid.Normalize(listed.SID)])
		step.AssignedSID = assignedSID(step.SID, listed)
		if !Created(step.Ownership) {
			step.Ownership = "" // adopted while it was desired, which it is no more
		}
		step.Action = Report
		if mayRemove(m.in.Policy, step.Ownership) {
			step.Action = Unassign
		}
		p = append(p, step)
	}
	return p
}

// recordedOnly returns the steps for what the object created, does not desire and does not
// see in the listing. If it dropped such a record, it could not recognize the add-on in a
// later listing.
func (m *matcher) recordedOnly() Plan {
	var p Plan
	for i := range m.in.Recorded {
		record := &m.in.Recorded[i]
		if m.planned[record] || !Created(record.Ownership) || !mayRemove(m.in.Policy, record.Ownership) {
			continue
		}
		step := Step{Action: Unassign}
		m.addRecord(&step, record)
		p = append(p, step)
	}
	return p
}

// addRecord makes a record that of a step.
func (m *matcher) addRecord(step *Step, record *v1alpha1.AddOnStatus) {
	if record == nil {
		return
	}
	m.planned[record] = true
	step.SID = cmp.Or(step.SID, record.SID)
	if step.Listed != nil {
		step.SID = record.SID
	}
	step.AssignedSID, step.Ownership, step.Recorded = record.AssignedSID, record.Ownership, record
}

// ownershipOf says who assigned a desired add-on that is listed.
func (m *matcher) ownershipOf(step *Step) v1alpha1.AddOnOwnership {
	switch {
	case step.Ownership != "":
		return step.Ownership
	case m.inherited[sid.Normalize(step.TwilioSID())]:
		return v1alpha1.OwnershipTakenOver
	}
	return v1alpha1.OwnershipAdopted
}

// pop removes and returns what is listed under a SID, nil if nothing is.
func (m *matcher) pop(s string) *twilio.AssignedAddOn {
	key := sid.Normalize(s)
	listed := m.unmatched[key]
	delete(m.unmatched, key)
	return listed
}

func assignedSID(s v1alpha1.AddOnSID, listed *twilio.AssignedAddOn) v1alpha1.AddOnSID {
	if sid.Equal(s, listed.SID) {
		return ""
	}
	return v1alpha1.AddOnSID(listed.SID)
}
