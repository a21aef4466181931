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
	// listed holds the listing by SID, and matched the SIDs of it that have a step.
	listed  map[string]*twilio.AssignedAddOn
	matched map[string]bool
	// planned holds the records that have a step, and sids the SIDs by which Twilio knows
	// the desired add-ons.
	planned map[*v1alpha1.AddOnStatus]bool
	sids    map[string]bool
}

func newMatcher(in Input) *matcher {
	m := &matcher{
		in:        in,
		records:   map[string]*v1alpha1.AddOnStatus{},
		inherited: map[string]bool{},
		listed:    map[string]*twilio.AssignedAddOn{},
		matched:   map[string]bool{},
		planned:   map[*v1alpha1.AddOnStatus]bool{},
		sids:      map[string]bool{},
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
		m.listed[sid.Normalize(in.Listed[i].SID)] = &in.Listed[i]
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
		step.Listed = m.match(string(desired))
		if other := m.match(step.TwilioSID()); step.Listed == nil {
			step.Listed = other
		}
		m.sids[key], m.sids[sid.Normalize(step.TwilioSID())] = true, true
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
	for key, listed := range m.listed {
		if m.matched[key] {
			continue
		}
		step := Step{SID: v1alpha1.AddOnSID(listed.SID), Listed: listed}
		m.addRecord(&step, m.recordOfListed(key))
		if step.Recorded != nil && (m.listed[sid.Normalize(step.Recorded.SID)] == nil || sid.Equal(step.Recorded.SID, step.SID)) {
			step.SID = step.Recorded.SID
		}
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

// recordOfListed returns the record of what is listed under a SID. A record is about the
// SID that Twilio returned, if that one is listed, too.
func (m *matcher) recordOfListed(key string) *v1alpha1.AddOnStatus {
	record := m.records[key]
	if record == nil || record.AssignedSID == "" {
		return record
	}
	if assigned := sid.Normalize(record.AssignedSID); assigned != key && m.listed[assigned] != nil {
		return nil
	}
	return record
}

// recordedOnly returns the steps for what the object created, does not desire and does not
// see in the listing. If it dropped such a record, it could not recognize the add-on in a
// later listing. An assignment that is listed, or desired under another SID, has its step
// already.
func (m *matcher) recordedOnly() Plan {
	var p Plan
	for i := range m.in.Recorded {
		record := &m.in.Recorded[i]
		if m.planned[record] || !Created(record.Ownership) || !mayRemove(m.in.Policy, record.Ownership) {
			continue
		}
		if key := sid.Normalize(cmp.Or(record.AssignedSID, record.SID)); m.listed[key] != nil || m.sids[key] {
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

// match returns what is listed under a SID, nil if nothing is, and notes that it has a
// step. Two desired SIDs may match one assignment: the one posted and the one returned.
func (m *matcher) match(s string) *twilio.AssignedAddOn {
	key := sid.Normalize(s)
	m.matched[key] = true
	return m.listed[key]
}

func assignedSID(s v1alpha1.AddOnSID, listed *twilio.AssignedAddOn) v1alpha1.AddOnSID {
	if sid.Equal(s, listed.SID) {
		return ""
	}
	return v1alpha1.AddOnSID(listed.SID)
}
