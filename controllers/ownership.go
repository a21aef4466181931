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
	// incumbent: it has claimed the number, or is about to.
	incumbent bool
	// absent: its account is known not to have the number.
	absent bool

	object *v1alpha1.PhoneNumberAddOnAssignment
}

// ownerOf picks the one object that may act on a number: the incumbent, then the oldest,
// then by namespace and name, of those whose account is not known to lack the number. Nil
// if there is none.
func ownerOf(claimants []claimant) *claimant {
	claimants = slices.DeleteFunc(slices.Clone(claimants), func(c claimant) bool { return c.absent })
	if len(claimants) == 0 {
		return nil
	}
	first := slices.MinFunc(claimants, func(a, b claimant) int {
		return cmp.Or(
			falseFirst(!a.incumbent, !b.incumbent),
			a.created.Compare(b.created),
			strings.Compare(a.key.Namespace, b.key.Namespace),
			strings.Compare(a.key.Name, b.key.Name),
		)
	})
	return &first
}

// mayAct says whether an object may act on a number that these claim: as its owner, or to
// look for it. Who has not found the number goes on looking until somebody has; if it gave
// way to one that does not look, as while suspended, the two would take turns at giving way.
func mayAct(claims []claimant, key types.NamespacedName) bool {
	owner := ownerOf(claims)
	return owner == nil || owner.key == key ||
		(!owner.incumbent && slices.ContainsFunc(claims, func(c claimant) bool { return c.key == key && c.absent }))
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

// incumbent says whether an object holds its number, and has not itself reported that the
// number is another's or not its account's.
func incumbent(a *v1alpha1.PhoneNumberAddOnAssignment) bool {
	return holds(a) && !reports(a, v1alpha1.ReasonPhoneNumberConflict) && !reports(a, v1alpha1.ReasonPhoneNumberNotFound)
}

// reports says whether an object is not ready for this reason.
func reports(a *v1alpha1.PhoneNumberAddOnAssignment, reason string) bool {
	ready := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady)
	return ready != nil && ready.Status == metav1.ConditionFalse && ready.Reason == reason
}

// claimantFor reduces an object to its claim. reserved says that this process has found
// the number for it and let it claim it, though the cache may not show that yet.
func claimantFor(a *v1alpha1.PhoneNumberAddOnAssignment, reserved bool) claimant {
	return claimant{
		key:       keyOf(a),
		created:   a.CreationTimestamp.Time,
		incumbent: reserved || incumbent(a),
		absent:    !reserved && reports(a, v1alpha1.ReasonPhoneNumberNotFound),
		object:    a,
	}
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
			r.index.release(other) // its account does not exist, or does not admit its namespace
			continue
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

// checkOwner halts the pass of an object whose number another one owns. A number that
// nobody is known to have found is nobody's: each may look for it.
func (r *AssignmentReconciler) checkOwner(ctx context.Context, a *v1alpha1.PhoneNumberAddOnAssignment) error {
	if !r.index.contested(a.Spec.PhoneNumberSID) {
		return nil
	}
	claims, err := r.claimants(ctx, a)
	if err != nil {
		return err
	}
	if mayAct(claims, keyOf(a)) {
		return nil
	}
	owner := ownerOf(claims)
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
