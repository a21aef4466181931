// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"time"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/ledger"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/plan"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/sid"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

const (
	// confirmAfter is how long an answer must repeat before status tells it: Twilio gives
	// stray ones, and penalises asking quickly for what is deleted.
	confirmAfter = 2 * time.Second
	// believeAfter is how long it must repeat before anything rests on it that cannot be
	// undone: giving up a number, letting an object go, forgetting an assignment.
	believeAfter = time.Minute
	// askAgain is how long to wait before asking again for what is in doubt.
	askAgain = confirmAfter + 500*time.Millisecond
)

// The subjects of doubts. Those about an add-on end with its SID.
const (
	doubtNumber     = "number"
	doubtAssignment = "assignment/"
	doubtRefusal    = "refusal/"
	doubtRemoval    = "removal/"
)

// doubtsAbout are the subjects of all doubts about an add-on.
func doubtsAbout(addOn v1alpha1.AddOnSID) []string {
	key := sid.Normalize(addOn)
	return []string{doubtAssignment + key, doubtRefusal + key, doubtRemoval + key}
}

// observation is what a reconcile read of a number.
type observation struct {
	phoneNumber string
	addOns      []twilio.AssignedAddOn
}

// observe reads the number, once ever, and the complete list of its add-ons, and compares
// them with what the object desires.
func (r *assignmentReconciler) observe(ctx context.Context, cl *twilio.Client, s *scope, res *result) error {
	observed, err := r.read(ctx, cl, s)
	if err != nil {
		return err
	}
	in := plan.Input{
		Desired:   s.object.Spec.AddOnSIDs,
		Policy:    s.object.Spec.ManagementPolicy,
		Recorded:  s.records,
		Inherited: s.inherited(),
		Listed:    observed.addOns,
	}
	p := plan.Make(in)
	if absent := r.absentForLong(s, p); len(absent) > 0 {
		in.Recorded = ledger.Disprove(s.records, absent)
		p = plan.Make(in)
	}
	res.observed, res.plan, res.ledger = observed, p, ledger.From(p)
	return nil
}

// read reads the number and its add-ons.
func (r *assignmentReconciler) read(ctx context.Context, cl *twilio.Client, s *scope) (*observation, error) {
	observed := &observation{phoneNumber: s.object.Status.PhoneNumber}
	pn := string(s.object.Spec.PhoneNumberSID)
	if observed.phoneNumber == "" {
		number, err := cl.GetPhoneNumber(ctx, pn)
		if twilio.IsNotFound(err) {
			return nil, r.numberMissing(ctx, cl, s)
		} else if err != nil {
			return nil, err
		}
		observed.phoneNumber = number.PhoneNumber
	}
	var err error
	observed.addOns, err = cl.ListAssignedAddOns(ctx, pn)
	if twilio.IsNotFound(err) {
		return nil, r.explainListNotFound(ctx, cl, s, err)
	} else if err != nil {
		return nil, err
	}
	r.fleet.Doubts.Forget(s.key(), doubtNumber)
	return observed, nil
}

// absentForLong lists the desired add-ons that this object may have assigned and that no
// listing has shown for long enough: it did not assign them.
func (r *assignmentReconciler) absentForLong(s *scope, p plan.Plan) []v1alpha1.AddOnSID {
	var absent []v1alpha1.AddOnSID
	for _, missing := range ledger.Unconfirmed(p) {
		if r.fleet.Doubts.Note(s.key(), doubtAssignment+sid.Normalize(missing)) >= believeAfter {
			absent = append(absent, missing)
		}
	}
	for _, step := range p.With(plan.Keep) {
		r.fleet.Doubts.Forget(s.key(), doubtsAbout(step.SID)...)
	}
	return absent
}

// explainListNotFound asks for the number itself after its list of add-ons was answered
// 404, to tell a number that is gone from a stray answer.
func (r *assignmentReconciler) explainListNotFound(ctx context.Context, cl *twilio.Client, s *scope, listErr error) error {
	_, err := cl.GetPhoneNumber(ctx, string(s.object.Spec.PhoneNumberSID))
	switch {
	case twilio.IsNotFound(err):
		return r.numberMissing(ctx, cl, s)
	case err != nil:
		return err
	default:
		return listErr
	}
}

// numberMissing judges a 404 about the number. It counts only while the account's own list
// of numbers, which has to be complete, lacks the number as well. After confirmAfter it is
// told; after believeAfter the object gives the number up.
func (r *assignmentReconciler) numberMissing(ctx context.Context, cl *twilio.Client, s *scope) error {
	listed, err := cl.HasPhoneNumber(ctx, string(s.object.Spec.PhoneNumberSID), s.object.Status.PhoneNumber)
	switch {
	case err != nil:
		return err
	case listed:
		r.fleet.Doubts.Forget(s.key(), doubtNumber)
		return contradictoryNumber()
	}
	lasted := r.fleet.Doubts.Note(s.key(), doubtNumber)
	switch {
	case lasted < confirmAfter:
		return &outcome{kind: kindRetry, reason: v1alpha1.ReasonProgressing, message: textNumberInDoubt, skipStatus: true, after: askAgain}
	case lasted < believeAfter:
		return numberNotFound(s, believeAfter-lasted+time.Second)
	}
	r.fleet.DropReservation(s.object)
	gone := numberNotFound(s, 0)
	gone.yields, gone.numberGone = true, true
	return gone
}
