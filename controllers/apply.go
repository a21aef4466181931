// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

// applied is what a pass did to a number, for events and metrics.
type applied struct {
	assigned, unassigned []string
}

func (done *applied) any() bool { return len(done.assigned)+len(done.unassigned) > 0 }

// apply carries out a plan, assignments before removals, and returns it with the
// outcome of each step in its items. It stops at the first error that says nothing
// about the add-on itself; an add-on that Twilio rejects holds up no other. Nothing
// is removed while an assignment is undecided, so a swap never leaves the number bare.
//
// A write that has begun is finished even if ctx ends, so that it can be recorded.
func (r *AssignmentReconciler) apply(ctx context.Context, cl *twilio.Client, a *v1alpha1.PhoneNumberAddOnAssignment, p plan) (plan, applied, error) {
	var done applied
	err := r.each(ctx, a, p, actionAssign, func(ctx context.Context, it *item) error {
		return r.assign(ctx, cl, a, it, &done)
	})
	undecided := p.has(actionAssign)
	if err != nil || undecided {
		return p, done, err
	}
	p.spareReturned()
	err = r.unassignAll(ctx, cl, a, p, &done)
	return p.remaining(), done, err
}

// errOvertaken ends a pass because somebody changed the object in the meantime.
var errOvertaken = errors.New("the object has changed since the pass began")

// each runs a step for every item that calls for the action, until one fails. When
// ctx ends, or somebody changes the object, no further step is begun, but the one in
// hand is finished.
func (r *AssignmentReconciler) each(ctx context.Context, a *v1alpha1.PhoneNumberAddOnAssignment, p plan, wanted action, step func(context.Context, *item) error) error {
	for i := range p {
		if p[i].action != wanted {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if r.index.overtaken(a) {
			return errOvertaken
		}
		if err := step(context.WithoutCancel(ctx), &p[i]); err != nil {
			return err
		}
	}
	return nil
}

// assign posts one add-on and, where the answer leaves open what happened, reads
// the assignment to find out. The error is nil if the matter is decided, also by
// Twilio's refusal, and if it is to be looked at again in another pass.
func (r *AssignmentReconciler) assign(ctx context.Context, cl *twilio.Client, a *v1alpha1.PhoneNumberAddOnAssignment, it *item, done *applied) error {
	number := string(a.Spec.PhoneNumberSID)
	got, err := cl.AssignAddOn(ctx, number, string(it.SID))
	if err == nil {
		r.index.mayBeAssigned(keyOf(a), it.SID)
		it.becameAssigned(&got, v1alpha1.OwnershipCreated)
		done.assigned = append(done.assigned, got.SID)
		logf.FromContext(ctx).Info("Assigned add-on", "number", number, "addOn", got.SID)
		return nil
	}
	unknown := twilio.OutcomeUnknown(err) && !twilio.IsConflict(err)
	if unknown {
		// It may be there and be ours: whatever happens next, that must not be forgotten.
		r.index.mayBeAssigned(keyOf(a), it.SID)
		it.Ownership = v1alpha1.OwnershipCreated
	}
	switch {
	case unknown, twilio.IsConflict(err), twilio.IsRejected(err):
		return r.settle(ctx, cl, a, it, err, done)
	case twilio.IsNotFound(err):
		r.refuse(a, it, err)
		return nil
	default:
		return err
	}
}

// settle reads the assignment after a POST whose answer did not say that it was made.
func (r *AssignmentReconciler) settle(ctx context.Context, cl *twilio.Client, a *v1alpha1.PhoneNumberAddOnAssignment, it *item, cause error, done *applied) error {
	got, err := cl.GetAssignedAddOn(ctx, string(a.Spec.PhoneNumberSID), it.assigned())
	switch {
	case err == nil && it.Ownership == v1alpha1.OwnershipCreated:
		it.becameAssigned(&got, v1alpha1.OwnershipCreated)
		done.assigned = append(done.assigned, got.SID)
		return nil
	case err == nil:
		it.becameAssigned(&got, v1alpha1.OwnershipAdopted)
		return nil
	case !twilio.IsNotFound(err):
		return err
	case twilio.IsRejected(cause):
		it.reject(cause)
		return nil
	case twilio.IsConflict(cause):
		r.refuse(a, it, cause)
		return nil
	default:
		return cause
	}
}

// refuse takes a refusal that may be a stray answer for final only once it has repeated.
func (r *AssignmentReconciler) refuse(a *v1alpha1.PhoneNumberAddOnAssignment, it *item, cause error) {
	if !r.index.doubt(keyOf(a), aboutAddOn, confirmAfter) {
		return
	}
	it.reject(cause)
	if twilio.IsNotFound(cause) {
		r.index.neverAssigned(keyOf(a), it.SID) // by no earlier process either
	}
}

// reject records that Twilio refused the add-on, and why: nobody assigned it. What was
// intended stays on record, for it is tried again.
func (i *item) reject(cause error) {
	i.Ownership = ""
	i.State, i.action, i.Message = v1alpha1.AddOnRejected, actionNone, truncate(twilio.Explain(cause), 1024)
}

// unassignAll carries out the removals of a plan. What Twilio answers not to know is gone
// only when a listing confirms it: were it dropped from the record for a stray 404, it
// would afterwards pass for somebody else's.
func (r *AssignmentReconciler) unassignAll(ctx context.Context, cl *twilio.Client, a *v1alpha1.PhoneNumberAddOnAssignment, p plan, done *applied) error {
	var doubtful []*item
	err := r.each(ctx, a, p, actionUnassign, func(ctx context.Context, it *item) error {
		err := unassign(ctx, cl, a, it, done)
		switch {
		case err == nil:
			it.gone()
		case twilio.IsNotFound(err):
			doubtful = append(doubtful, it)
		default:
			return err
		}
		return nil
	})
	if err != nil || len(doubtful) == 0 {
		return err
	}
	return r.confirmAbsent(ctx, cl, a, doubtful)
}

// confirmAbsent lists the number to see whether assignments answered 404 are gone.
func (r *AssignmentReconciler) confirmAbsent(ctx context.Context, cl *twilio.Client, a *v1alpha1.PhoneNumberAddOnAssignment, doubtful []*item) error {
	listed, err := cl.ListAssignedAddOns(ctx, string(a.Spec.PhoneNumberSID))
	if twilio.IsNotFound(err) {
		return r.explainListNotFound(ctx, cl, a, err)
	} else if err != nil {
		return err
	}
	var left error
	for _, it := range doubtful {
		if slices.ContainsFunc(listed, func(found twilio.AssignedAddOn) bool { return strings.EqualFold(found.SID, it.assigned()) }) {
			left = &halt{reason: v1alpha1.ReasonProgressing, after: confirmAfter + time.Second/2,
				message: "An add-on that Twilio answered not to know is still on its list; it is removed again."}
			continue
		}
		it.gone()
	}
	return left
}

// unassign deletes one assignment. The error is that of the client: NotFound means
// that Twilio says it knows of no such assignment (any more).
func unassign(ctx context.Context, cl *twilio.Client, a *v1alpha1.PhoneNumberAddOnAssignment, it *item, done *applied) error {
	number := string(a.Spec.PhoneNumberSID)
	if err := cl.UnassignAddOn(ctx, number, it.assigned()); err != nil {
		return err
	}
	done.unassigned = append(done.unassigned, it.assigned())
	logf.FromContext(ctx).Info("Unassigned add-on", "number", number, "addOn", it.assigned())
	return nil
}

// becameAssigned records that the add-on is there.
func (i *item) becameAssigned(got *twilio.AssignedAddOn, ownership v1alpha1.AddOnOwnership) {
	i.describe(got)
	i.State, i.action, i.Ownership, i.intended = v1alpha1.AddOnAssigned, actionNone, ownership, ""
}

// gone marks an item that is to be reported no more.
func (i *item) gone() { i.State, i.action = "", actionNone }

// remaining is the plan without what is gone.
func (p plan) remaining() plan {
	var rest plan
	for _, it := range p {
		if it.State != "" {
			rest = append(rest, it)
		}
	}
	return rest
}

// spareReturned drops the removal of a listed add-on that turned out to be what
// Twilio returned for a desired one under another SID.
func (p plan) spareReturned() {
	for i := range p {
		for j := range p {
			if p[i].action == actionUnassign && p[j].AssignedSID != "" && p[j].State == v1alpha1.AddOnAssigned &&
				strings.EqualFold(string(p[j].AssignedSID), p[i].assigned()) {
				p[i].gone()
			}
		}
	}
}
