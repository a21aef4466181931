// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ledger keeps what is on record of an object's add-ons, and decides how each
// answer of Twilio changes the record. It is the one state machine of an add-on:
//
//	Missing ──Begin──▶ Assigning ──Assigned──▶ Assigned
//	   ▲                 │  │  └───Refused───▶ Rejected ──Begin──▶ Assigning
//	   └──NotCreated─────┘  └──(no answer)───▶ Assigning, until a listing shows it
//	Assigned, Unmanaged ──▶ Unassigning ──Removed──▶ no record
//
// The record is status.addOns and, before the first status, an annotation. It is persisted
// after Begin and before the call to Twilio. So an add-on that is on record as Assigning
// may be on the number and is then this object's own; one that is Missing or Rejected was
// not assigned by this object.
//
// The package is pure. It never persists anything itself.
package ledger

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/plan"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/sid"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

// Limits of the fields of a record, as the schema has them, in characters.
const (
	maxEntries     = 250
	maxName        = 256
	maxDescription = 512
	maxMessage     = 1024
)

// Ledger holds the records of one reconcile, one for each step of its plan.
type Ledger struct{ entries []*entry }

type entry struct {
	v1alpha1.AddOnStatus
	// before is the record as it was before Begin.
	before v1alpha1.AddOnStatus
	gone   bool
}

// From starts a ledger from a plan.
func From(p plan.Plan) *Ledger {
	l := &Ledger{}
	for i := range p {
		l.entries = append(l.entries, &entry{AddOnStatus: recordOf(&p[i])})
	}
	return l
}

// recordOf describes an add-on as a plan found it.
func recordOf(step *plan.Step) v1alpha1.AddOnStatus {
	status := v1alpha1.AddOnStatus{SID: step.SID, AssignedSID: step.AssignedSID, Ownership: step.Ownership}
	if step.Listed != nil {
		describe(&status, step.Listed)
	} else if step.Recorded != nil {
		status = *step.Recorded.DeepCopy()
		status.SID = step.SID // the record may be that of another spelling, or of the SID that Twilio returned
	}
	switch step.Action {
	case plan.Keep:
		status.State = v1alpha1.AddOnAssigned
	case plan.Assign:
		status.State = stateOfMissing(step.Recorded)
	case plan.Unassign:
		status.State, status.Message = v1alpha1.AddOnUnassigning, ""
	case plan.Report:
		status.State = v1alpha1.AddOnUnmanaged
		if step.Listed == nil {
			status.State, status.Message = v1alpha1.AddOnMissing, ""
		}
	}
	return status
}

// stateOfMissing is the state of a desired add-on that is not listed. That an assignment
// was begun or refused stays on record.
func stateOfMissing(recorded *v1alpha1.AddOnStatus) v1alpha1.AddOnState {
	if recorded != nil && (recorded.State == v1alpha1.AddOnAssigning || recorded.State == v1alpha1.AddOnRejected) {
		return recorded.State
	}
	return v1alpha1.AddOnMissing
}

// Begin records that the desired add-ons that are not assigned are about to be, and
// reports which of them were not on record as such. Persist the ledger before the calls.
func (l *Ledger) Begin(steps []plan.Step) (news []v1alpha1.AddOnSID) {
	for i := range steps {
		e := l.entry(steps[i].SID)
		if e == nil {
			continue
		}
		e.before = e.AddOnStatus
		if e.State != v1alpha1.AddOnAssigning || !plan.Created(e.Ownership) {
			news = append(news, e.SID)
		}
		e.State, e.Ownership, e.Message = v1alpha1.AddOnAssigning, v1alpha1.OwnershipCreated, ""
	}
	return news
}

// Assigned records that Twilio assigned the add-on, and describes it.
func (l *Ledger) Assigned(s v1alpha1.AddOnSID, got *twilio.AssignedAddOn) {
	if e := l.entry(s); e != nil {
		e.AssignedSID = ""
		if !sid.Equal(s, got.SID) {
			e.AssignedSID = v1alpha1.AddOnSID(got.SID)
		}
		describe(&e.AddOnStatus, got)
		e.State, e.Message = v1alpha1.AddOnAssigned, ""
	}
}

// Adopted records that the add-on is on the number though Twilio refused to assign it:
// somebody else did.
func (l *Ledger) Adopted(s v1alpha1.AddOnSID, got *twilio.AssignedAddOn) {
	if e := l.entry(s); e != nil {
		ambiguous := e.ambiguous()
		l.Assigned(s, got)
		if !ambiguous {
			e.Ownership = v1alpha1.OwnershipAdopted
		}
	}
}

// NotCreated records that this attempt assigned nothing: it was not made, or Twilio did not
// process it.
func (l *Ledger) NotCreated(s v1alpha1.AddOnSID) {
	if e := l.entry(s); e != nil && e.before.State != "" {
		e.AddOnStatus = e.before
	}
}

// Refused records that Twilio refuses the add-on, and its words. What an earlier attempt
// may have assigned stays this object's own.
func (l *Ledger) Refused(s v1alpha1.AddOnSID, message string) {
	if e := l.entry(s); e != nil {
		if !e.ambiguous() {
			e.Ownership = ""
		}
		e.State, e.Message = v1alpha1.AddOnRejected, Truncate(message, maxMessage)
	}
}

// IsRejected reports whether an add-on is on record as refused by Twilio.
func (l *Ledger) IsRejected(s v1alpha1.AddOnSID) bool {
	e := l.entry(s)
	return e != nil && e.State == v1alpha1.AddOnRejected
}

// Ambiguous reports whether an attempt before this reconcile may have assigned the add-on.
func (l *Ledger) Ambiguous(s v1alpha1.AddOnSID) bool {
	e := l.entry(s)
	return e != nil && e.ambiguous()
}

func (e *entry) ambiguous() bool { return plan.Created(e.before.Ownership) }

// Removed drops the record of an add-on that is not on the number any more.
func (l *Ledger) Removed(s v1alpha1.AddOnSID) {
	if e := l.entry(s); e != nil {
		e.gone = true
	}
}

// Waits records why an add-on is not removed yet.
func (l *Ledger) Waits(s v1alpha1.AddOnSID, message string) {
	if e := l.entry(s); e != nil {
		e.Message = Truncate(message, maxMessage)
	}
}

// IsAssignedAs reports whether a desired add-on is assigned under this SID of Twilio's.
func (l *Ledger) IsAssignedAs(twilioSID string) bool {
	return slices.ContainsFunc(l.entries, func(e *entry) bool {
		return e.State == v1alpha1.AddOnAssigned && e.AssignedSID != "" && sid.Equal(e.AssignedSID, twilioSID)
	})
}

// Statuses returns the records as status shows them. Where there are more than the schema
// admits, those that decide nothing are left out first: of add-ons that are left alone, and
// then of those that go though this object did not assign them, which every listing shows.
func (l *Ledger) Statuses() []v1alpha1.AddOnStatus {
	var statuses []v1alpha1.AddOnStatus
	for _, e := range l.entries {
		if !e.gone {
			statuses = append(statuses, e.AddOnStatus)
		}
	}
	for _, spare := range []v1alpha1.AddOnState{v1alpha1.AddOnUnmanaged, v1alpha1.AddOnUnassigning} {
		for i := len(statuses) - 1; i >= 0 && len(statuses) > maxEntries; i-- {
			if statuses[i].State == spare && !plan.Created(statuses[i].Ownership) {
				statuses = slices.Delete(statuses, i, i+1)
			}
		}
	}
	return statuses[:min(len(statuses), maxEntries)]
}

func (l *Ledger) entry(s v1alpha1.AddOnSID) *entry {
	for _, e := range l.entries {
		if sid.Equal(e.SID, s) {
			return e
		}
	}
	return nil
}

// Disprove returns records without the claim that an attempt may have assigned these
// add-ons: no listing showed them for long enough.
func Disprove(recorded []v1alpha1.AddOnStatus, absent []v1alpha1.AddOnSID) []v1alpha1.AddOnStatus {
	recorded = slices.Clone(recorded)
	for i := range recorded {
		record := &recorded[i]
		if !slices.ContainsFunc(absent, func(s v1alpha1.AddOnSID) bool { return sid.Equal(s, record.SID) }) {
			continue
		}
		record.Ownership = ""
		if record.State == v1alpha1.AddOnAssigning {
			record.State = v1alpha1.AddOnMissing
		}
	}
	return recorded
}

// Unconfirmed lists the desired add-ons that this object may have assigned and that a
// listing does not show.
func Unconfirmed(p plan.Plan) []v1alpha1.AddOnSID {
	var sids []v1alpha1.AddOnSID
	for i := range p {
		if step := &p[i]; step.Desired() && step.Listed == nil && plan.Created(step.Ownership) {
			sids = append(sids, step.SID)
		}
	}
	return sids
}

// TakeOver returns the records of an object that takes over a number: those of its desired
// add-ons that the departing object answers for, or was about to remove. What somebody else
// had assigned is adopted. changed is false if everything was on record already.
func TakeOver(desired []v1alpha1.AddOnSID, own, departing []v1alpha1.AddOnStatus) (records []v1alpha1.AddOnStatus, changed bool) {
	records = slices.Clone(own)
	for i := range departing {
		theirs := &departing[i]
		wanted := slices.ContainsFunc(desired, func(s v1alpha1.AddOnSID) bool { return sid.Equal(s, theirs.SID) })
		if !wanted || !plan.HandsOver(theirs) {
			continue
		}
		at := slices.IndexFunc(records, func(r v1alpha1.AddOnStatus) bool { return sid.Equal(r.SID, theirs.SID) })
		if at >= 0 && records[at].Ownership != "" {
			continue
		}
		record := *theirs.DeepCopy()
		record.Message = ""
		record.Ownership = v1alpha1.OwnershipAdopted
		if plan.Created(theirs.Ownership) {
			record.Ownership = v1alpha1.OwnershipTakenOver
		}
		if record.State == v1alpha1.AddOnUnassigning {
			record.State = v1alpha1.AddOnAssigned
		}
		if at >= 0 {
			records[at] = record
		} else if len(records) < maxEntries {
			records = append(records, record)
		}
		changed = true
	}
	return records, changed
}

// IsFirst reports whether no status was ever written for the object. Until then an
// annotation is its record.
func IsFirst(a *v1alpha1.PhoneNumberAddOnAssignment) bool { return a.Status.ObservedGeneration < 0 }

// Read returns what is on record of an object's add-ons.
func Read(a *v1alpha1.PhoneNumberAddOnAssignment) []v1alpha1.AddOnStatus {
	if !IsFirst(a) {
		return a.Status.AddOns
	}
	// The annotation names the object's UID: a copy of the object must not take what the
	// original assigned for its own.
	sids, own := strings.CutPrefix(a.Annotations[v1alpha1.AnnotationAssigning], string(a.UID)+" ")
	if !own {
		return nil
	}
	var records []v1alpha1.AddOnStatus
	for s := range strings.FieldsSeq(sids) {
		records = append(records, v1alpha1.AddOnStatus{
			SID: v1alpha1.AddOnSID(s), State: v1alpha1.AddOnAssigning, Ownership: v1alpha1.OwnershipCreated,
		})
	}
	return records
}

// Annotate writes the record of an object that has no status yet into its annotation.
func Annotate(a *v1alpha1.PhoneNumberAddOnAssignment, assigning []v1alpha1.AddOnSID) {
	words := []string{string(a.UID)}
	for _, s := range assigning {
		words = append(words, string(s))
	}
	metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationAssigning, strings.Join(words, " "))
}

// describe copies what Twilio says about the add-on, for people to read.
func describe(status *v1alpha1.AddOnStatus, got *twilio.AssignedAddOn) {
	status.UniqueName = Truncate(got.UniqueName, maxName)
	status.FriendlyName = Truncate(got.FriendlyName, maxName)
	status.Description = Truncate(got.Description, maxDescription)
	if !got.DateUpdated.IsZero() {
		status.DateUpdated = &metav1.Time{Time: got.DateUpdated}
	}
}

// Truncate keeps the first limit characters, as a schema counts them.
func Truncate(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	runes := []rune(text)
	return string(runes[:min(len(runes), limit)])
}
