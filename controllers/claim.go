// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/ledger"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/ownership"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/plan"
)

// claim persists the finalizer and the pending assignments, and verifies that the object
// is current, before the first write to Twilio. For an object that is alone on its number
// one write or read of the API server does all of it. An object that only observes claims
// nothing.
//
// It comes after the number was read: an object whose account lacks the number, or has no
// valid credential, holds nothing and can simply be deleted.
func (r *assignmentReconciler) claim(ctx context.Context, s *scope, res *result) error {
	a := s.object
	if a.Spec.ManagementPolicy == v1alpha1.ManagementObserve {
		return nil
	}
	if err := r.reserve(ctx, s); err != nil {
		return err
	}
	res.claimed = true
	pending := res.ledger.Begin(res.plan.With(plan.Assign))
	first, hadFinalizer := ledger.IsFirst(a), controllerutil.ContainsFinalizer(a, v1alpha1.FinalizerUnassign)
	if !hadFinalizer {
		if err := r.addFinalizer(ctx, a, pending); err != nil {
			return err
		}
	}
	contested := len(s.claims) > 0 && a.Status.Claim != v1alpha1.ClaimHeld
	switch {
	case contested, len(pending) > 0 && (hadFinalizer || !first):
		if err := r.recordPending(ctx, s, *res); err != nil {
			return err
		}
	case hadFinalizer && res.plan.Writes():
		return r.checkCurrent(ctx, a)
	}
	if contested {
		return r.confirmClaim(ctx, s)
	}
	return nil
}

// reserve keeps the other objects of the number from claiming it in this process. Another
// one may have claimed it since the reconcile began, and its reservation be over.
func (r *assignmentReconciler) reserve(ctx context.Context, s *scope) error {
	a := s.object
	if a.Status.Claim == v1alpha1.ClaimHeld {
		return nil
	}
	if !r.fleet.Reserve(a) {
		return stale()
	}
	var err error
	if s.claims, err = r.claimsOf(ctx, a); err != nil {
		return err
	}
	if ownership.HeldByAnother(s.claims, s.key()) != nil {
		r.fleet.DropReservation(a)
		return stale()
	}
	return nil
}

// addFinalizer persists the finalizer, and with it the pending assignments of an object
// that has no status yet, which would take a write of its own.
func (r *assignmentReconciler) addFinalizer(ctx context.Context, a *assignment, pending []v1alpha1.AddOnSID) error {
	base := a.DeepCopy()
	controllerutil.AddFinalizer(a, v1alpha1.FinalizerUnassign)
	if len(pending) > 0 && ledger.IsFirst(a) {
		ledger.Annotate(a, pending)
	}
	if err := r.Patch(ctx, a, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})); err != nil {
		r.fleet.DropReservation(a)
		return fmt.Errorf("adding the finalizer: %w", err)
	}
	r.fleet.Expect(a)
	return nil
}

// recordPending persists the claim and what is about to be assigned in status. The
// optimistic lock of the write shows that the object is current.
func (r *assignmentReconciler) recordPending(ctx context.Context, s *scope, res result) error {
	a := s.object
	next := statusFor(a, res, outcomeOf(a, res), time.Now())
	next.LastHandledReconcileAt = a.Status.LastHandledReconcileAt // it is handled at the end
	if a.Status.ObservedGeneration == a.Generation && onlyRetriesRejected(res.plan) {
		// Only the record changes: what status tells of the refusal stays true.
		next.Conditions, next.Synced = a.Status.Conditions, a.Status.Synced
	}
	err := r.patchStatus(ctx, a, next)
	if apierrors.IsNotFound(err) {
		return stale()
	} else if err != nil {
		return fmt.Errorf("recording what is about to be assigned: %w", err)
	}
	return nil
}

// onlyRetriesRejected reports whether a plan assigns nothing but what was rejected before.
func onlyRetriesRejected(p plan.Plan) bool {
	return !slices.ContainsFunc(p, func(step plan.Step) bool {
		return step.Action == plan.Assign && (step.Recorded == nil || step.Recorded.State != v1alpha1.AddOnRejected)
	})
}

// confirmClaim reads the other objects of the number from the API server after the claim
// was persisted. Of two processes that claim the number for two objects at the same time,
// at least one sees the claim of the other, and gives way: the other may have acted.
func (r *assignmentReconciler) confirmClaim(ctx context.Context, s *scope) error {
	claims := slices.Clone(s.claims)
	for i := range claims {
		if claims[i].Key == s.key() {
			claims[i] = ownership.ClaimOf(s.object, claims[i].Account, true)
			continue
		}
		current, err := r.current(ctx, &claims[i])
		if err != nil {
			return err
		}
		claims[i] = current
	}
	other := ownership.HeldByAnother(claims, s.key())
	if standing := ownership.StandingOf(claims, s.key()); standing.Role != ownership.Acts {
		other = standing.Other
	}
	if other == nil {
		return nil
	}
	r.fleet.DropReservation(s.object)
	return conflict(s.object, other)
}

// current is a claim as the API server has it now. That of an object that is gone holds
// nothing.
func (r *assignmentReconciler) current(ctx context.Context, c *ownership.Claim) (ownership.Claim, error) {
	object := &assignment{}
	if err := r.live.Get(ctx, c.Key, object); apierrors.IsNotFound(err) || (err == nil && object.UID != c.UID) {
		return ownership.Claim{Key: c.Key, UID: c.UID, Deleting: true, Object: c.Object}, nil
	} else if err != nil {
		return ownership.Claim{}, fmt.Errorf("reading the other object %s: %w", c.Key, err)
	}
	return ownership.ClaimOf(object, c.Account, false), nil
}

// checkCurrent reads the object's version from the API server: nothing is written to
// Twilio for a spec, policy or record that has changed since it was cached.
func (r *assignmentReconciler) checkCurrent(ctx context.Context, a *assignment) error {
	current := &metav1.PartialObjectMetadata{}
	current.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(assignmentKind))
	if err := r.live.Get(ctx, client.ObjectKeyFromObject(a), current); apierrors.IsNotFound(err) {
		return stale()
	} else if err != nil {
		return fmt.Errorf("checking that the object is current: %w", err)
	}
	if current.UID != a.UID || current.ResourceVersion != a.ResourceVersion {
		return stale()
	}
	return nil
}

// takeOver puts on record what the departing owner leaves to this object, under a finalizer
// of its own. The owner goes only after it has read that record. No call is made.
func (r *assignmentReconciler) takeOver(ctx context.Context, s *scope, owner *ownership.Claim, res *result) error {
	a := s.object
	if !controllerutil.ContainsFinalizer(a, v1alpha1.FinalizerUnassign) {
		if err := r.addFinalizer(ctx, a, nil); err != nil {
			return err
		}
	}
	if records, changed := ledger.TakeOver(a.Spec.AddOnSIDs, ledger.Read(a), ledger.Read(owner.Object)); changed {
		res.records = &records
	}
	return takesOver(a, owner)
}
