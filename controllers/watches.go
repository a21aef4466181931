// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/ownership"
)

type requests = workqueue.TypedRateLimitingInterface[reconcile.Request]

// assignmentEvents keeps the fleet current and queues what an event concerns: the object,
// the others that name its number, and its account.
type assignmentEvents struct{ r *assignmentReconciler }

// Create queues an object. Of the initial list, only those with work left go first.
func (h assignmentEvents) Create(_ context.Context, e event.TypedCreateEvent[*assignment], _ requests) {
	h.r.fleet.Upsert(e.Object)
	if e.IsInInitialList && (!isSynced(e.Object) || !e.Object.DeletionTimestamp.IsZero()) {
		h.r.brake.expect(e.Object)
	}
	key := client.ObjectKeyFromObject(e.Object)
	if e.IsInInitialList && e.Object.DeletionTimestamp.IsZero() && isSynced(e.Object) {
		h.r.fleet.ScheduleNow(key)
	} else {
		h.r.queue.add(normal, 0, key)
	}
	if !e.IsInInitialList {
		h.r.enqueueAccount(e.Object.Spec.AccountRef.Name)
	}
}

// Update queues an object whose spec, deletion or finalizer changed, or for which a
// reconcile was requested; most of what the operator itself writes is none of that.
func (h assignmentEvents) Update(_ context.Context, e event.TypedUpdateEvent[*assignment], _ requests) {
	before, after := e.ObjectOld, e.ObjectNew
	awaited := h.r.fleet.Upsert(after)
	edited := before.Generation != after.Generation || before.UID != after.UID || requestedAt(before) != requestedAt(after) ||
		after.Status.ObservedGeneration < before.Status.ObservedGeneration || // the last write of a former manager
		(isTakenForUnserved(after) && !isTakenForUnserved(before))
	if awaited || edited || (lacksFinalizer(after) && !lacksFinalizer(before)) {
		h.r.queue.add(normal, 0, client.ObjectKeyFromObject(after))
	}
	h.r.wakeContenders(before, after)
	if before.Spec.AccountRef != after.Spec.AccountRef {
		h.r.enqueueAccount(before.Spec.AccountRef.Name)
		h.r.enqueueAccount(after.Spec.AccountRef.Name)
	}
}

// isTakenForUnserved reports whether an object says that nobody serves its account. One that
// is served got that from another manager, which did not know yet.
func isTakenForUnserved(a *assignment) bool {
	reason := reasonOf(a)
	return isUnserved(reason) || reason == v1alpha1.ReasonAccountNotFound
}

// Delete wakes the others that name the number: one of them owns it now.
func (h assignmentEvents) Delete(_ context.Context, e event.TypedDeleteEvent[*assignment], _ requests) {
	key, rivals := client.ObjectKeyFromObject(e.Object), h.r.fleet.Rivals(e.Object)
	h.r.forgetObject(key)
	h.r.fleet.ScheduleNow(rivals...)
	h.r.enqueueAccount(e.Object.Spec.AccountRef.Name)
}

// forgetObject drops all that this process knows of an object that is gone, or that another
// manager serves from now on.
func (r *assignmentReconciler) forgetObject(key types.NamespacedName) {
	r.fleet.Delete(key)
	r.brake.withdrawAll(key)
	r.causes.done(key)
	r.limiters.Cancel(key.String())
}

// Generic is called by nobody.
func (assignmentEvents) Generic(context.Context, event.TypedGenericEvent[*assignment], requests) {}

// wakeContenders wakes the other objects of a number after a change that may concern them.
// Where it can change who owns the number, that is all of them; where it can only change
// what a departing object leaves to another, it is those that are being deleted.
func (r *assignmentReconciler) wakeContenders(before, after *assignment) {
	contenders, _ := r.fleet.Contenders(after.Spec.PhoneNumberSID)
	if len(contenders) == 0 {
		return
	}
	all := claimOf(before) != claimOf(after)
	recordChanged := len(before.Status.AddOns) != len(after.Status.AddOns) || before.Generation != after.Generation ||
		before.Status.ObservedGeneration != after.Status.ObservedGeneration
	// Of many, each looks at all the others: they are woken in portions, behind edits.
	wake := func(key types.NamespacedName) { r.queue.add(normal, 0, key) }
	if len(contenders) > fewContenders {
		wake = func(key types.NamespacedName) { r.fleet.ScheduleNow(key) }
	}
	for _, other := range contenders {
		if other.UID != after.UID && (all || (recordChanged && !other.DeletionTimestamp.IsZero())) {
			wake(client.ObjectKeyFromObject(other))
		}
	}
}

// fewContenders is how many objects of one number are woken at the priority of an edit.
const fewContenders = 10

// claimState is what of an object decides about its claim.
type claimState struct {
	claim                                 v1alpha1.NumberClaim
	account                               v1alpha1.AccountReference
	deleting, finalizer, active, notFound bool
}

func claimOf(a *assignment) claimState {
	c := ownership.ClaimOf(a, "", false)
	return claimState{a.Status.Claim, a.Spec.AccountRef, c.Deleting, c.Finalizer, c.Active, c.Absent}
}

// enqueueAccount has the account see, in a moment, how many objects refer to it.
func (r *assignmentReconciler) enqueueAccount(name string) {
	r.accounts.add(normal, accountDelay, types.NamespacedName{Name: name})
}

// accountEvents wakes the objects of an account whose spec or readiness changed.
func (r *assignmentReconciler) accountEvents() handler.TypedEventHandler[*v1alpha1.TwilioAccount, reconcile.Request] {
	return handler.TypedFuncs[*v1alpha1.TwilioAccount, reconcile.Request]{
		CreateFunc: func(_ context.Context, e event.TypedCreateEvent[*v1alpha1.TwilioAccount], _ requests) {
			if !e.IsInInitialList {
				r.wakeAccount(e.Object.Name, true)
			}
		},
		UpdateFunc: func(_ context.Context, e event.TypedUpdateEvent[*v1alpha1.TwilioAccount], _ requests) {
			edited := e.ObjectOld.Generation != e.ObjectNew.Generation
			if edited || readyReason(e.ObjectOld) != readyReason(e.ObjectNew) {
				r.wakeAccount(e.ObjectNew.Name, edited)
			}
		},
		DeleteFunc: func(_ context.Context, e event.TypedDeleteEvent[*v1alpha1.TwilioAccount], _ requests) {
			r.wakeAccount(e.Object.Name, true)
		},
	}
}

// wakeAccount makes the objects of an account due. Those that are synced cost nothing by
// it. With rivals, so are the objects of other accounts that name the same numbers.
func (r *assignmentReconciler) wakeAccount(name string, rivals bool) {
	r.wake(rivals, func(_ types.NamespacedName, account string) bool { return account == name })
}

// wake makes objects due. They reach the queue in portions, however many they are.
func (r *assignmentReconciler) wake(rivals bool, which func(key types.NamespacedName, account string) bool) {
	keys := r.fleet.Select(which)
	if rivals {
		keys = slices.Concat(keys, r.fleet.RivalsOf(keys))
	}
	r.fleet.ScheduleNow(keys...)
}

// namespaceEvents wakes the objects of a namespace whose labels changed, and the others
// that name their numbers: who may act may have changed.
func (r *assignmentReconciler) namespaceEvents() handler.TypedEventHandler[*metav1.PartialObjectMetadata, reconcile.Request] {
	wake := func(name string) {
		r.wake(true, func(key types.NamespacedName, _ string) bool { return key.Namespace == name })
	}
	return handler.TypedFuncs[*metav1.PartialObjectMetadata, reconcile.Request]{
		CreateFunc: func(_ context.Context, e event.TypedCreateEvent[*metav1.PartialObjectMetadata], _ requests) {
			if !e.IsInInitialList {
				wake(e.Object.Name)
			}
		},
		UpdateFunc: func(_ context.Context, e event.TypedUpdateEvent[*metav1.PartialObjectMetadata], _ requests) {
			if !maps.Equal(e.ObjectOld.Labels, e.ObjectNew.Labels) {
				wake(e.ObjectNew.Name)
			}
		},
	}
}
