// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/ledger"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/ownership"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/plan"
)

// handoverTimeout is how long a departing object waits for another one to take over. After
// that it removes its add-ons itself: the line has a gap, and nothing leaks.
const handoverTimeout = time.Minute

// doubtHandover is the subject by which that wait is measured.
const doubtHandover = "handover"

// finalize removes the finalizer once nothing that the object answers for is left: each
// add-on was unassigned, is on record of another object that stays, or the number is
// confirmed gone.
func (r *assignmentReconciler) finalize(ctx context.Context, s *scope) (result, error) {
	a := s.object
	if !controllerutil.ContainsFinalizer(a, v1alpha1.FinalizerUnassign) {
		return result{finalizerRemoved: true}, nil
	}
	if leavesTwilioAlone(&a.Spec) {
		return r.removeFinalizer(ctx, s, result{}, textKept(a))
	}
	p, err := r.dispose(ctx, s)
	res := result{account: s.account, plan: p}
	if err != nil {
		return res, err
	}
	if len(p) == 0 {
		return r.removeFinalizer(ctx, s, res, "")
	}
	conn, err := r.connectToFinalize(ctx, s)
	if err != nil {
		return res, blocked(err)
	}
	if err := r.clean(ctx, s, conn, &res); err != nil {
		o := asOutcome(err)
		if o == nil || !o.numberGone {
			return res, blocked(r.noteUnauthorized(conn, s.account, err))
		}
		return r.removeFinalizer(context.WithoutCancel(ctx), s, res, textGone(a))
	}
	return r.removeFinalizer(context.WithoutCancel(ctx), s, res, "")
}

// leavesTwilioAlone reports whether deleting the object makes no call.
func leavesTwilioAlone(spec *v1alpha1.PhoneNumberAddOnAssignmentSpec) bool {
	return spec.DeletionPolicy == v1alpha1.DeletionRetain || spec.Suspend || spec.ManagementPolicy == v1alpha1.ManagementObserve
}

// dispose returns what the object has to remove itself. Another object that answers for
// the rest is read from the API server first: this decision cannot be undone.
func (r *assignmentReconciler) dispose(ctx context.Context, s *scope) (plan.Plan, error) {
	a := s.object
	owner := len(s.claims) == 0 || a.Status.Claim == v1alpha1.ClaimHeld
	p := plan.Departure(&a.Spec, s.records, owner)
	if len(s.claims) == 0 || len(p) == 0 {
		return p, nil
	}
	_, others := departure(p, s.claims, s)
	if err := r.readOthers(ctx, s, others); err != nil {
		return nil, err
	}
	left, others := departure(p, s.claims, s)
	for _, other := range others {
		if other.disposition != ownership.Await {
			continue
		}
		if r.fleet.Doubts.Note(s.key(), doubtHandover) < handoverTimeout {
			r.queue.add(normal, 0, other.claim.Key)
			o := awaitsTakeover(other.claim)
			o.yields = s.denied != nil // the other one acts only then
			return nil, o
		}
		left = append(left, other.step)
	}
	return left, nil
}

// relied is a step that another object answers for, or is about to.
type relied struct {
	step        plan.Step
	disposition ownership.Disposition
	claim       *ownership.Claim
}

// departure divides what the object answers for into what it removes itself and what
// follows from another object.
func departure(p plan.Plan, claims []ownership.Claim, s *scope) (left plan.Plan, others []relied) {
	for _, step := range p {
		disposition, claim := ownership.DispositionOf(claims, s.key(), step.SID)
		if disposition == ownership.Remove {
			left = append(left, step)
		} else {
			others = append(others, relied{step, disposition, claim})
		}
	}
	return left, others
}

// readOthers replaces the claims that a decision rests on by those of the API server.
func (r *assignmentReconciler) readOthers(ctx context.Context, s *scope, others []relied) error {
	for _, other := range others {
		current, err := r.current(ctx, other.claim)
		if err != nil {
			return err
		}
		at := slices.IndexFunc(s.claims, func(c ownership.Claim) bool { return c.Key == current.Key })
		if at >= 0 {
			s.claims[at] = current
		}
	}
	return nil
}

func (r *assignmentReconciler) connectToFinalize(ctx context.Context, s *scope) (*connection, error) {
	switch {
	case s.denied != nil:
		return nil, s.denied
	case s.account.Spec.Suspend:
		return nil, accountSuspended(s.account.Name, true)
	}
	if last := s.object.Status.AccountSID; last != "" && last != s.account.Spec.AccountSID {
		return nil, accountOfOtherSID(last, s.account)
	}
	return r.connections.to(ctx, s.account)
}

// clean unassigns what the plan of a departing object names.
func (r *assignmentReconciler) clean(ctx context.Context, s *scope, conn *connection, res *result) error {
	if err := r.acquire(s, conn); err != nil {
		return err
	}
	if err := r.checkCurrent(ctx, s.object); err != nil {
		return err
	}
	res.ledger = ledger.From(res.plan)
	return r.newWorker(conn.client, s, res).removeWithinBudget(ctx, res.plan, res)
}

// blocked turns what only a person can fix into DeletionBlocked, with the way out. The way
// out is told as well of a Twilio that is unavailable: nobody knows for how long.
func blocked(err error) error {
	if err == nil {
		return nil
	}
	o := outcomeOfError(err)
	switch {
	case o != nil && o.reason == v1alpha1.ReasonTwilioUnavailable:
		told := *o
		told.message += " " + textRetain
		return errors.Join(&told, err)
	case o != nil && o.reason == v1alpha1.ReasonPhoneNumberNotFound:
		return errors.Join(releasesSoon(o), err)
	case o == nil || !isStalled(o.reason) || o.reason == v1alpha1.ReasonRemovalsHeld:
		return err
	}
	return errors.Join(deletionBlocked(o), err)
}

// removeFinalizer lets the object go, unless its spec has changed. note tells of what is
// left on the number.
func (r *assignmentReconciler) removeFinalizer(ctx context.Context, s *scope, res result, note string) (result, error) {
	a := s.object
	for {
		base := a.DeepCopy()
		controllerutil.RemoveFinalizer(a, v1alpha1.FinalizerUnassign)
		err := r.Patch(ctx, a, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
		if !apierrors.IsConflict(err) {
			if client.IgnoreNotFound(err) != nil {
				return res, fmt.Errorf("removing the finalizer: %w", err)
			}
			if note != "" {
				r.event(a, corev1.EventTypeNormal, "AddOnsKept", "Release", note)
			}
			res.finalizerRemoved = true
			return res, nil
		}
		current := &assignment{}
		if err := r.live.Get(ctx, client.ObjectKeyFromObject(a), current); err != nil || current.UID != base.UID {
			res.finalizerRemoved = true
			return res, client.IgnoreNotFound(err)
		}
		if current.Generation != base.Generation {
			return res, stale()
		}
		*a = *current
	}
}
