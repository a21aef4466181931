// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

// maxReported bounds status.addOns, as its schema does. Only unmanaged add-ons
// are ever left out of it.
const maxReported = 250

// action is what is to be done about one add-on.
type action string

const (
	actionNone     action = ""
	actionAssign   action = "Assign"
	actionUnassign action = "Unassign"
)

// item is one add-on of a plan: what status says of it, and what to do.
type item struct {
	v1alpha1.AddOnStatus
	action action
	// intended is the ownership on record before the add-on is assigned.
	intended v1alpha1.AddOnOwnership
}

// assigned is the SID by which Twilio knows the assignment.
func (i *item) assigned() string {
	if i.AssignedSID != "" {
		return string(i.AssignedSID)
	}
	return string(i.SID)
}

// plan is the difference between what is wanted and what is there, with every
// add-on of either side in it once: the desired ones in the order of the spec,
// then the others by SID, those last that are left alone.
type plan []item

// planFor compares the desired set with a complete listing of the number.
//
//	desired  listed  Authoritative  Additive                    Observe
//	yes      yes     –              –                           –
//	yes      no      assign         assign                      – (Missing)
//	no       yes     unassign       unassign what it created,   – (Unmanaged)
//	                                else – (Unmanaged)
//	no       no      unassign what it created: the list may be old
//
// SIDs are compared without regard to letter case, so that a spelling can never
// make a desired add-on look like an extra.
func planFor(spec *v1alpha1.PhoneNumberAddOnAssignmentSpec, recorded []v1alpha1.AddOnStatus, listed []twilio.AssignedAddOn) plan {
	records := recordsBySID(recorded)
	unmatched := make(map[string]*twilio.AssignedAddOn, len(listed))
	for i := range listed {
		unmatched[fold(listed[i].SID)] = &listed[i]
	}

	desired := planDesired(spec, records, unmatched)
	extras := slices.Concat(planExtras(spec, records, unmatched), planUnlisted(spec, recorded, listed))
	slices.SortFunc(extras, func(a, b item) int {
		return cmp.Or(
			falseFirst(a.State == v1alpha1.AddOnUnmanaged, b.State == v1alpha1.AddOnUnmanaged),
			cmp.Compare(a.SID, b.SID),
		)
	})
	return slices.Concat(desired, extras)
}

// planDesired plans the add-ons of the spec and takes those that are there out of unmatched.
func planDesired(spec *v1alpha1.PhoneNumberAddOnAssignmentSpec, records map[string]*v1alpha1.AddOnStatus, unmatched map[string]*twilio.AssignedAddOn) plan {
	var items plan
	seen := map[string]bool{}
	for _, sid := range spec.AddOnSIDs {
		if seen[fold(sid)] {
			continue
		}
		seen[fold(sid)] = true
		it := item{AddOnStatus: v1alpha1.AddOnStatus{SID: sid, State: v1alpha1.AddOnMissing}}
		record := records[fold(sid)]
		if record != nil {
			it.Ownership, it.AssignedSID = record.Ownership, record.AssignedSID
		}
		found := take(unmatched, string(sid))
		if other := take(unmatched, it.assigned()); found == nil {
			found = other
		}
		if found != nil {
			it.describe(found)
			it.State = v1alpha1.AddOnAssigned
			it.Ownership = cmp.Or(it.Ownership, v1alpha1.OwnershipAdopted)
		} else if spec.ManagementPolicy != v1alpha1.ManagementObserve {
			it.action = actionAssign
		}
		items = append(items, it)
	}
	return items
}

// planExtras plans what is on the number without being desired.
func planExtras(spec *v1alpha1.PhoneNumberAddOnAssignmentSpec, records map[string]*v1alpha1.AddOnStatus, unmatched map[string]*twilio.AssignedAddOn) plan {
	var items plan
	for _, found := range unmatched {
		it := item{AddOnStatus: v1alpha1.AddOnStatus{SID: v1alpha1.AddOnSID(found.SID), State: v1alpha1.AddOnUnmanaged}}
		if record := recordOfAssigned(records, found.SID); record != nil {
			it.SID = record.SID
			if record.Ownership == v1alpha1.OwnershipCreated {
				it.Ownership = v1alpha1.OwnershipCreated
			}
		}
		it.describe(found)
		if mayRemove(spec.ManagementPolicy, it.Ownership) {
			it.State, it.action = v1alpha1.AddOnUnassigning, actionUnassign
		}
		items = append(items, it)
	}
	return items
}

// planUnlisted plans what the object has on record as created by it, and neither desires nor
// sees on the list. A list may be older than the assignment, and what is dropped from the
// record could later not be told from what others did: so it is removed by name. That is so
// of what was rejected, too, unless recordOf knows that it never came to be assigned.
func planUnlisted(spec *v1alpha1.PhoneNumberAddOnAssignmentSpec, recorded []v1alpha1.AddOnStatus, listed []twilio.AssignedAddOn) plan {
	var items plan
	for _, record := range recorded {
		it := item{AddOnStatus: record, action: actionUnassign}
		it.State, it.Message = v1alpha1.AddOnUnassigning, ""
		desired := slices.ContainsFunc(spec.AddOnSIDs, func(sid v1alpha1.AddOnSID) bool { return fold(sid) == fold(record.SID) })
		there := slices.ContainsFunc(listed, func(found twilio.AssignedAddOn) bool { return fold(found.SID) == fold(it.assigned()) })
		created := record.Ownership == v1alpha1.OwnershipCreated
		if created && !desired && !there && mayRemove(spec.ManagementPolicy, record.Ownership) {
			items = append(items, it)
		}
	}
	return items
}

// mayRemove says whether a policy lets an add-on go that is not desired.
func mayRemove(policy v1alpha1.ManagementPolicy, ownership v1alpha1.AddOnOwnership) bool {
	switch policy {
	case v1alpha1.ManagementObserve:
		return false
	case v1alpha1.ManagementAdditive:
		return ownership == v1alpha1.OwnershipCreated
	case v1alpha1.ManagementAuthoritative:
		return true
	}
	return false
}

// managed lists what deleting the object has to unassign: under Authoritative
// what is desired or recorded as this object's, under Additive only what it
// created, and in no case what a successor on the same number wants.
func managed(spec *v1alpha1.PhoneNumberAddOnAssignmentSpec, recorded []v1alpha1.AddOnStatus, handedOver []v1alpha1.AddOnSID) plan {
	kept := map[string]bool{}
	for _, sid := range handedOver {
		kept[fold(sid)] = true
	}
	records := recordsBySID(recorded)
	var items plan
	add := func(status v1alpha1.AddOnStatus) {
		it := item{AddOnStatus: status, action: actionUnassign}
		if kept[fold(it.SID)] || kept[fold(it.assigned())] {
			return
		}
		kept[fold(it.SID)] = true
		items = append(items, it)
	}
	for _, record := range recorded {
		created := record.Ownership == v1alpha1.OwnershipCreated
		owned := record.Ownership != "" || record.State == v1alpha1.AddOnUnassigning
		if created || (owned && spec.ManagementPolicy == v1alpha1.ManagementAuthoritative) {
			add(record)
		}
	}
	if spec.ManagementPolicy == v1alpha1.ManagementAuthoritative {
		for _, sid := range spec.AddOnSIDs {
			if records[fold(sid)] == nil || records[fold(sid)].Ownership == "" {
				add(v1alpha1.AddOnStatus{SID: sid})
			}
		}
	}
	for i := range items {
		items[i].State = v1alpha1.AddOnUnassigning
	}
	return items
}

// describe copies what Twilio says of the add-on, for people to read.
func (i *item) describe(found *twilio.AssignedAddOn) {
	if strings.EqualFold(found.SID, string(i.SID)) {
		i.AssignedSID = ""
	} else {
		i.AssignedSID = v1alpha1.AddOnSID(found.SID)
	}
	i.UniqueName = truncate(found.UniqueName, 256)
	i.FriendlyName = truncate(found.FriendlyName, 256)
	i.Description = truncate(found.Description, 512)
	i.Message = ""
	if !found.DateUpdated.IsZero() {
		i.DateUpdated = &metav1.Time{Time: found.DateUpdated}
	}
}

// intend marks what is about to be assigned as created by the object, and lists those
// of which that is not on record yet.
func (p plan) intend(onRecord []v1alpha1.AddOnStatus) (news []v1alpha1.AddOnSID) {
	records := recordsBySID(onRecord)
	for i := range p {
		it := &p[i]
		if it.action != actionAssign {
			continue
		}
		it.intended = v1alpha1.OwnershipCreated
		if record := records[fold(it.SID)]; record == nil || record.Ownership != it.intended {
			news = append(news, it.SID)
		}
	}
	return news
}

// has says whether any add-on of the plan is to be acted on in this way.
func (p plan) has(a action) bool {
	return slices.ContainsFunc(p, func(i item) bool { return i.action == a })
}

// reported is the plan as status shows it.
func (p plan) reported() []v1alpha1.AddOnStatus {
	statuses := make([]v1alpha1.AddOnStatus, 0, min(len(p), maxReported))
	for i := range p[:min(len(p), maxReported)] {
		status := p[i].AddOnStatus
		status.Ownership = cmp.Or(p[i].intended, status.Ownership)
		statuses = append(statuses, status)
	}
	return statuses
}

func recordsBySID(recorded []v1alpha1.AddOnStatus) map[string]*v1alpha1.AddOnStatus {
	records := make(map[string]*v1alpha1.AddOnStatus, len(recorded))
	for i := range recorded {
		records[fold(recorded[i].SID)] = &recorded[i]
	}
	return records
}

// recordOfAssigned finds the record of an assignment by the SID that Twilio lists.
func recordOfAssigned(records map[string]*v1alpha1.AddOnStatus, sid string) *v1alpha1.AddOnStatus {
	if record := records[fold(sid)]; record != nil {
		return record
	}
	for _, record := range records {
		if strings.EqualFold(string(record.AssignedSID), sid) {
			return record
		}
	}
	return nil
}

// take removes and returns the listed add-on of that SID, nil if there is none.
func take(unmatched map[string]*twilio.AssignedAddOn, sid string) *twilio.AssignedAddOn {
	found := unmatched[fold(sid)]
	delete(unmatched, fold(sid))
	return found
}

// fold makes a SID comparable without regard to letter case.
func fold[S ~string](sid S) string {
	return strings.ToLower(string(sid))
}

// truncate keeps the first limit characters, as the schema counts them.
func truncate(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	runes := []rune(text)
	return string(runes[:min(len(runes), limit)])
}
