// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

// retainAdvice is the way out of every blocked deletion.
const retainAdvice = "To let the object go and leave Twilio as it is, set spec.deletionPolicy to Retain."

// finalize lets an object go once nothing that it manages is left on its number:
// every removal was answered 204, or 404 and then found absent by a listing, or the
// number itself is gone. What a successor on the same number wants stays.
func (r *AssignmentReconciler) finalize(ctx context.Context, a *v1alpha1.PhoneNumberAddOnAssignment) (finding, error) {
	if !controllerutil.ContainsFinalizer(a, v1alpha1.FinalizerUnassign) {
		return finding{released: true}, nil
	}
	if leavesTwilioAlone(&a.Spec) {
		return finding{released: true}, r.release(ctx, a)
	}
	if err := r.checkOwner(ctx, a); err != nil {
		if h := asHalt(err); h == nil || h.reason != v1alpha1.ReasonPhoneNumberConflict {
			return finding{}, err
		}
		// Another owner of the number answers for it now.
		return finding{released: true}, r.release(ctx, a)
	}
	account, conn, err := r.connectToFinalize(ctx, a)
	if err != nil {
		return finding{account: account}, blocked(err)
	}
	f, err := r.clean(ctx, a, account, conn)
	if err != nil {
		return f, blocked(r.refused(conn, account, err))
	}
	f.released = true
	return f, r.release(context.WithoutCancel(ctx), a)
}

// clean takes a turn among the account's calls and removes what the object manages.
func (r *AssignmentReconciler) clean(ctx context.Context, a *v1alpha1.PhoneNumberAddOnAssignment, account *v1alpha1.TwilioAccount, conn *connection) (finding, error) {
	f := finding{account: account}
	turn, err := r.admit(a, conn)
	if err != nil {
		return f, err
	}
	defer turn.Done()
	if err := r.checkCurrent(ctx, a); err != nil {
		return f, err
	}
	handedOver, err := r.handover(ctx, a, account)
	if err != nil {
		return f, err
	}
	f.plan, f.done, err = r.unassignManaged(ctx, conn.client, a, managed(&a.Spec, r.recordOf(a), handedOver))
	return f, err
}

// leavesTwilioAlone says whether deleting the object makes no call.
func leavesTwilioAlone(spec *v1alpha1.PhoneNumberAddOnAssignmentSpec) bool {
	return spec.DeletionPolicy == v1alpha1.DeletionRetain || spec.Suspend || spec.ManagementPolicy == v1alpha1.ManagementObserve
}

func (r *AssignmentReconciler) connectToFinalize(ctx context.Context, a *v1alpha1.PhoneNumberAddOnAssignment) (*v1alpha1.TwilioAccount, *connection, error) {
	account, err := r.accountOf(ctx, a)
	if err != nil {
		return nil, nil, err
	}
	if last := a.Status.AccountSID; last != "" && last != account.Spec.AccountSID {
		return account, nil, halted(v1alpha1.ReasonAccountNotFound,
			"The add-ons were last managed through the Twilio account %s, and TwilioAccount %s is for another one. Set spec.accountRef back to a TwilioAccount for %s.",
			last, account.Name, last)
	}
	conn, err := r.connections.to(ctx, account)
	return account, conn, err
}

// unassignManaged removes what the object manages. Nil: nothing of it is left.
func (r *AssignmentReconciler) unassignManaged(ctx context.Context, cl *twilio.Client, a *v1alpha1.PhoneNumberAddOnAssignment, p plan) (plan, applied, error) {
	var done applied
	err := r.unassignAll(ctx, cl, a, p, &done)
	if h := asHalt(err); h != nil && h.reason == v1alpha1.ReasonPhoneNumberNotFound {
		err = nil
	}
	return p.remaining(), done, err
}

// blocked turns what only a person can mend into DeletionBlocked, with the way out. That
// is told as well of a Twilio that cannot be reached: who knows for how long.
func blocked(err error) error {
	if err == nil {
		return nil
	}
	v := verdictOf(err)
	switch {
	case v != nil && v.reason == v1alpha1.ReasonTwilioUnavailable:
		told := *v
		told.message += " " + retainAdvice
		return errors.Join(&told, err)
	case v == nil || !stalled(v.reason):
		return err
	}
	return halted(v1alpha1.ReasonDeletionBlocked, "The add-ons cannot be unassigned (%s): %s %s", v.reason, v.message, retainAdvice)
}

// release takes the finalizer away, unless the spec that the pass worked on has changed.
func (r *AssignmentReconciler) release(ctx context.Context, a *v1alpha1.PhoneNumberAddOnAssignment) error {
	for {
		base := a.DeepCopy()
		controllerutil.RemoveFinalizer(a, v1alpha1.FinalizerUnassign)
		err := r.Patch(ctx, a, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
		if !apierrors.IsConflict(err) {
			if client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("removing the finalizer: %w", err)
			}
			return nil
		}
		current := &v1alpha1.PhoneNumberAddOnAssignment{}
		if err := r.live.Get(ctx, keyOf(a), current); err != nil || current.UID != base.UID {
			return client.IgnoreNotFound(err)
		}
		if current.Generation != base.Generation {
			return again()
		}
		*a = *current
	}
}
