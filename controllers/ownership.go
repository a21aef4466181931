// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// claimant is one object that names a number, reduced to what decides who owns it.
type claimant struct {
	key     types.NamespacedName
	created time.Time
	// incumbent: it has claimed the number, or is about to, and has not itself reported
	// that the number is another's or not its account's.
	incumbent bool
	// absent: its account is known not to have the number.
	absent bool

	object *v1alpha1.PhoneNumberAddOnAssignment
}

// ownerOf picks the one object that may act on a number: objects whose account
// has the number before those whose account is known not to, then the
// incumbent, then the oldest, then by namespace and name. Nil if there is no claimant.
func ownerOf(claimants []claimant) *claimant {
	if len(claimants) == 0 {
		return nil
	}
	first := slices.MinFunc(claimants, func(a, b claimant) int {
		return cmp.Or(
			falseFirst(a.absent, b.absent),
			falseFirst(!a.incumbent, !b.incumbent),
			a.created.Compare(b.created),
			strings.Compare(a.key.Namespace, b.key.Namespace),
			strings.Compare(a.key.Name, b.key.Name),
		)
	})
	return &first
}

func falseFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

// holds says whether an object has claimed its number. The finalizer alone is no proof,
// for whoever may edit an object can set it; that the number was read is in status.
func holds(a *v1alpha1.PhoneNumberAddOnAssignment) bool {
	return controllerutil.ContainsFinalizer(a, v1alpha1.FinalizerUnassign) && a.Status.AccountSID != ""
}

// claimantFor reduces an object to its claim. reserved says that this process has
// already decided to write the finalizer, though the cache may not show it yet.
func claimantFor(a *v1alpha1.PhoneNumberAddOnAssignment, reserved bool) claimant {
	c := claimant{
		key:       keyOf(a),
		created:   a.CreationTimestamp.Time,
		incumbent: reserved || holds(a),
		object:    a,
	}
	if ready := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady); ready != nil && ready.Status == metav1.ConditionFalse {
		lost := ready.Reason == v1alpha1.ReasonPhoneNumberConflict
		c.absent = ready.Reason == v1alpha1.ReasonPhoneNumberNotFound
		c.incumbent = c.incumbent && !c.absent && !lost
	}
	return c
}

// claimants lists the admitted objects that name the number of a, a itself
// included if it is admitted. An object that is being deleted and holds nothing
// claims nothing; nor does one that has yet to find the number in another Twilio
// account, for a number is in one account only.
func (r *AssignmentReconciler) claimants(ctx context.Context, a *v1alpha1.PhoneNumberAddOnAssignment) ([]claimant, error) {
	home, err := r.homeOf(ctx, a)
	if err != nil {
		return nil, err
	}
	keys, reserved := r.index.claims(a.Spec.PhoneNumberSID)
	claims := make([]claimant, 0, len(keys))
	for _, key := range keys {
		other := a
		if key != keyOf(a) {
			other = &v1alpha1.PhoneNumberAddOnAssignment{}
			if err := r.Get(ctx, key, other); apierrors.IsNotFound(err) {
				continue
			} else if err != nil {
				return nil, fmt.Errorf("reading the other claimant %s: %w", key, err)
			}
		}
		if !other.DeletionTimestamp.IsZero() && !controllerutil.ContainsFinalizer(other, v1alpha1.FinalizerUnassign) {
			continue
		}
		account, err := r.accountOf(ctx, other)
		if asHalt(err) != nil {
			continue // its account does not exist, or does not admit its namespace
		} else if err != nil {
			return nil, err
		}
		if found := other.Status.AccountSID == account.Spec.AccountSID; found || account.Spec.AccountSID == home {
			claims = append(claims, claimantFor(other, key == reserved))
		}
	}
	return claims, nil
}

// homeOf is the Twilio account in which an object looks for its number, or where it last
// found it.
func (r *AssignmentReconciler) homeOf(ctx context.Context, a *v1alpha1.PhoneNumberAddOnAssignment) (v1alpha1.AccountSID, error) {
	account, err := r.accountOf(ctx, a)
	if err != nil {
		return a.Status.AccountSID, ignoreHalt(err)
	}
	return account.Spec.AccountSID, nil
}

// checkOwner halts the pass of an object that does not own its number.
func (r *AssignmentReconciler) checkOwner(ctx context.Context, a *v1alpha1.PhoneNumberAddOnAssignment) error {
	if !r.index.contested(a.Spec.PhoneNumberSID) {
		return nil
	}
	claims, err := r.claimants(ctx, a)
	if err != nil {
		return err
	}
	owner := ownerOf(claims)
	if owner == nil || (owner.key.Name == a.Name && owner.key.Namespace == a.Namespace) {
		return nil
	}
	return halted(v1alpha1.ReasonPhoneNumberConflict,
		"The number %s is owned by %s %s/%s. Delete one of the two; on behalf of this one nothing is changed in Twilio.",
		a.Spec.PhoneNumberSID, assignmentKind, owner.key.Namespace, owner.key.Name)
}

// handover lists what the next owner of the number wants, so that a departing
// owner leaves it in place: nil if nobody waits who may write to the same account.
func (r *AssignmentReconciler) handover(ctx context.Context, a *v1alpha1.PhoneNumberAddOnAssignment, account *v1alpha1.TwilioAccount) ([]v1alpha1.AddOnSID, error) {
	if !r.index.contested(a.Spec.PhoneNumberSID) {
		return nil, nil
	}
	claims, err := r.claimants(ctx, a)
	if err != nil {
		return nil, err
	}
	claims = slices.DeleteFunc(claims, func(c claimant) bool {
		o := c.object
		return o.UID == a.UID || !o.DeletionTimestamp.IsZero()
	})
	successor := ownerOf(claims)
	if successor == nil || successor.object.Spec.Suspend || successor.object.Spec.ManagementPolicy == v1alpha1.ManagementObserve {
		return nil, nil
	}
	theirs, err := r.accountOf(ctx, successor.object)
	if err != nil || theirs.Spec.AccountSID != account.Spec.AccountSID {
		return nil, ignoreHalt(err)
	}
	return successor.object.Spec.AddOnSIDs, nil
}
