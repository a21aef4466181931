// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// claim makes sure of what must be so before Twilio is written to: the finalizer is
// persisted, the object is current, and what is about to be assigned is on record as
// this object's, so that dying before the outcome is recorded leaks nothing. One write
// or read of the API server does it, save for an object that had something else to
// report before it came to claim. An object that only observes needs none.
//
// It comes after the number was read: an object whose account turns out not to have
// the number, or to have no valid credential, holds nothing and can simply be deleted.
func (r *AssignmentReconciler) claim(ctx context.Context, a *v1alpha1.PhoneNumberAddOnAssignment, f finding) error {
	if a.Spec.ManagementPolicy == v1alpha1.ManagementObserve {
		return nil
	}
	if err := r.reserve(ctx, a); err != nil {
		return err
	}
	intent := f.plan.intend(onRecord(a))
	if err := r.persist(ctx, a, f, intent); err != nil {
		return err
	}
	r.index.neverAssigned(keyOf(a), intent...)
	return nil
}

// persist has the API server hold the finalizer and the intent, or say that the object is
// current.
func (r *AssignmentReconciler) persist(ctx context.Context, a *v1alpha1.PhoneNumberAddOnAssignment, f finding, intent []v1alpha1.AddOnSID) error {
	claimed := controllerutil.ContainsFinalizer(a, v1alpha1.FinalizerUnassign)
	if !claimed {
		if err := r.addFinalizer(ctx, a, intent); err != nil {
			return err
		}
	}
	switch {
	case len(intent) > 0 && (claimed || !first(a)):
		return r.recordIntent(ctx, a, f)
	case claimed && (f.plan.has(actionAssign) || f.plan.has(actionUnassign)):
		return r.checkCurrent(ctx, a)
	}
	return nil
}

// first says whether nothing was ever reported of the object. Until then its annotation
// is what is on record of it, and from then on its status.
func first(a *v1alpha1.PhoneNumberAddOnAssignment) bool { return a.Status.ObservedGeneration < 0 }

// reserve makes an object that is not the incumbent of its number so for this process,
// before the cache can show it. Another one may have claimed the number since the guard
// looked.
func (r *AssignmentReconciler) reserve(ctx context.Context, a *v1alpha1.PhoneNumberAddOnAssignment) error {
	if incumbent(a) {
		return nil
	}
	if err := r.checkOwner(ctx, a); err != nil {
		return err
	}
	if !r.index.reserve(a.Spec.PhoneNumberSID, keyOf(a)) {
		return again()
	}
	return nil
}

// addFinalizer persists the finalizer, and with it the intent of an object that has no
// status yet, which would take a write of its own.
func (r *AssignmentReconciler) addFinalizer(ctx context.Context, a *v1alpha1.PhoneNumberAddOnAssignment, intent []v1alpha1.AddOnSID) error {
	base := a.DeepCopy()
	controllerutil.AddFinalizer(a, v1alpha1.FinalizerUnassign)
	if len(intent) > 0 && first(a) {
		words := []string{string(a.UID)}
		for _, sid := range intent {
			words = append(words, string(sid))
		}
		metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationAssigning, strings.Join(words, " "))
	}
	if err := r.Patch(ctx, a, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})); err != nil {
		r.index.release(a)
		return fmt.Errorf("adding the finalizer: %w", err)
	}
	r.index.wrote(a)
	return nil
}

// recordIntent has status say what is about to be assigned. Its optimistic lock shows
// that the object is current.
func (r *AssignmentReconciler) recordIntent(ctx context.Context, a *v1alpha1.PhoneNumberAddOnAssignment, f finding) error {
	err := r.patchStatus(ctx, a, statusFor(a, f, verdictOn(a, f.plan), time.Now()))
	if apierrors.IsNotFound(err) {
		return again()
	} else if err != nil {
		return fmt.Errorf("recording what is about to be assigned: %w", err)
	}
	return nil
}

// checkCurrent reads the object's version from the API server: nothing is written to
// Twilio for a spec, policy or record that has changed since it was cached.
func (r *AssignmentReconciler) checkCurrent(ctx context.Context, a *v1alpha1.PhoneNumberAddOnAssignment) error {
	current := &metav1.PartialObjectMetadata{}
	current.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(assignmentKind))
	if err := r.live.Get(ctx, keyOf(a), current); apierrors.IsNotFound(err) {
		return again()
	} else if err != nil {
		return fmt.Errorf("checking that the object is current: %w", err)
	}
	if current.UID != a.UID || current.ResourceVersion != a.ResourceVersion {
		return again()
	}
	return nil
}

// recordOf is what is known of the object's add-ons: what is on record, or could not be
// written there. What was intended, and as this process knows was not done, is somebody
// else's if it is there by now.
func (r *AssignmentReconciler) recordOf(a *v1alpha1.PhoneNumberAddOnAssignment) []v1alpha1.AddOnStatus {
	records, unwritten := r.unrecorded.recall(a.UID)
	if !unwritten {
		records = onRecord(a)
	}
	foreign := func(record v1alpha1.AddOnStatus) bool {
		intended := record.State == v1alpha1.AddOnMissing || record.State == v1alpha1.AddOnRejected
		return intended && r.index.isUnassigned(keyOf(a), record.SID)
	}
	if !slices.ContainsFunc(records, foreign) {
		return records
	}
	records = slices.Clone(records)
	for i := range records {
		if foreign(records[i]) {
			records[i].Ownership = ""
		}
	}
	return records
}

// onRecord is what the object itself says of its add-ons: its status, or before the first
// one what was about to be assigned.
func onRecord(a *v1alpha1.PhoneNumberAddOnAssignment) []v1alpha1.AddOnStatus {
	if first(a) {
		return intended(a)
	}
	return a.Status.AddOns
}

// intended reads what addFinalizer wrote down. It names the object's UID, so that a copy
// of the object does not take what the original assigned for its own.
func intended(a *v1alpha1.PhoneNumberAddOnAssignment) []v1alpha1.AddOnStatus {
	sids, own := strings.CutPrefix(a.Annotations[v1alpha1.AnnotationAssigning], string(a.UID)+" ")
	if !own {
		return nil
	}
	var records []v1alpha1.AddOnStatus
	for sid := range strings.FieldsSeq(sids) {
		records = append(records, v1alpha1.AddOnStatus{SID: v1alpha1.AddOnSID(sid), State: v1alpha1.AddOnMissing, Ownership: v1alpha1.OwnershipCreated})
	}
	return records
}
