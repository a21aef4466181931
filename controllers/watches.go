// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

type requests = workqueue.TypedRateLimitingInterface[reconcile.Request]

// SetupWithManager has the manager run the reconciler with that many workers. Passes
// wait for Twilio, not for the processor, and one without a turn holds no worker.
func (r *AssignmentReconciler) SetupWithManager(mgr ctrl.Manager, workers int) error {
	namespace := &metav1.PartialObjectMetadata{}
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	return ctrl.NewControllerManagedBy(mgr).
		Named("assignment").
		WithOptions(controller.Options{
			MaxConcurrentReconciles: workers,
			// Errors of the API server; Twilio's have a back-off of their own. The default
			// begins at 5 ms, and a pass may have called Twilio before it failed.
			RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstBackoff, longestBackoff),
		}).
		WatchesRawSource(r.queue).
		WatchesRawSource(clock{r.index, r.queue}).
		WatchesRawSource(r.filling(source.Kind(mgr.GetCache(), &v1alpha1.PhoneNumberAddOnAssignment{}, assignmentEvents{r}))).
		WatchesRawSource(source.Kind(mgr.GetCache(), &v1alpha1.TwilioAccount{}, r.accountEvents())).
		WatchesRawSource(source.Kind(mgr.GetCache(), namespace, r.namespaceEvents())).
		Complete(r)
}

// filling is the source that fills the index, which says when it has.
type filling struct {
	source.SyncingSource
	filled func()
}

// filling marks the index as filled once the source has delivered the initial listing.
func (r *AssignmentReconciler) filling(from source.SyncingSource) filling {
	return filling{SyncingSource: from, filled: sync.OnceFunc(func() { close(r.index.filled) })}
}

// WaitForSync waits for the end of the initial listing.
func (f filling) WaitForSync(ctx context.Context) error {
	err := f.SyncingSource.WaitForSync(ctx)
	if err == nil {
		f.filled()
	}
	return err
}

// whenFilled is a source without events that has a controller wait for the index.
type whenFilled struct{ index *index }

// Start does nothing.
func (whenFilled) Start(context.Context, requests) error { return nil }

// WaitForSync waits until the index knows every object.
func (w whenFilled) WaitForSync(ctx context.Context) error {
	select {
	case <-w.index.filled:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the index of the objects: %w", ctx.Err())
	}
}

// assignmentEvents keeps the index and queues what an event concerns: the object, the
// others that name its number, and its account.
type assignmentEvents struct{ r *AssignmentReconciler }

type assignment = v1alpha1.PhoneNumberAddOnAssignment

// Create queues an object. Of the initial listing only those with work left go first.
func (h assignmentEvents) Create(_ context.Context, e event.TypedCreateEvent[*assignment], _ requests) {
	h.r.index.put(e.Object)
	if e.IsInInitialList && e.Object.DeletionTimestamp.IsZero() && settled(e.Object) {
		h.r.index.checkAt(keyOf(e.Object), time.Now())
	} else {
		h.r.queue.add(normal, 0, keyOf(e.Object))
	}
	if !e.IsInInitialList {
		h.r.touchAccount(e.Object)
	}
}

// Update queues an object whose spec or deletion changed, or for which a pass was
// requested; what the operator itself writes is none of that. It wakes the others that
// name the number if one of them may own it now, or no more.
func (h assignmentEvents) Update(_ context.Context, e event.TypedUpdateEvent[*assignment], _ requests) {
	h.r.index.put(e.ObjectNew)
	changed := e.ObjectOld.Generation != e.ObjectNew.Generation || e.ObjectOld.UID != e.ObjectNew.UID
	if changed || requestedAt(e.ObjectOld) != requestedAt(e.ObjectNew) {
		h.r.queue.add(normal, 0, keyOf(e.ObjectNew))
	}
	let := controllerutil.ContainsFinalizer(e.ObjectOld, v1alpha1.FinalizerUnassign) && !controllerutil.ContainsFinalizer(e.ObjectNew, v1alpha1.FinalizerUnassign)
	found := reports(e.ObjectOld, v1alpha1.ReasonPhoneNumberNotFound) != reports(e.ObjectNew, v1alpha1.ReasonPhoneNumberNotFound)
	if changed || let || found {
		h.r.queue.add(normal, 0, h.r.index.rivals(e.ObjectNew)...)
	}
	if e.ObjectOld.Spec.AccountRef != e.ObjectNew.Spec.AccountRef {
		h.r.touchAccount(e.ObjectOld)
		h.r.touchAccount(e.ObjectNew)
	}
}

// Delete wakes the others that name the number: one of them owns it now.
func (h assignmentEvents) Delete(_ context.Context, e event.TypedDeleteEvent[*assignment], _ requests) {
	rivals := h.r.index.rivals(e.Object)
	h.r.index.remove(keyOf(e.Object))
	h.r.unrecorded.forget(e.Object.UID)
	h.r.connections.Governors.Forget(keyOf(e.Object).String())
	h.r.queue.add(normal, 0, rivals...)
	h.r.touchAccount(e.Object)
}

// Generic is called by nobody.
func (assignmentEvents) Generic(context.Context, event.TypedGenericEvent[*assignment], requests) {}

// touchAccount has the account see, in a moment, how many objects refer to it.
func (r *AssignmentReconciler) touchAccount(a *v1alpha1.PhoneNumberAddOnAssignment) {
	r.accounts.add(normal, time.Second, types.NamespacedName{Name: a.Spec.AccountRef.Name})
}

// accountEvents wakes the objects of an account whose spec or readiness changed.
func (r *AssignmentReconciler) accountEvents() handler.TypedEventHandler[*v1alpha1.TwilioAccount, reconcile.Request] {
	return handler.TypedFuncs[*v1alpha1.TwilioAccount, reconcile.Request]{
		CreateFunc: func(_ context.Context, e event.TypedCreateEvent[*v1alpha1.TwilioAccount], _ requests) {
			if !e.IsInInitialList {
				r.wakeAccount(e.Object.Name)
			}
		},
		UpdateFunc: func(_ context.Context, e event.TypedUpdateEvent[*v1alpha1.TwilioAccount], _ requests) {
			if e.ObjectOld.Generation != e.ObjectNew.Generation || readyReason(e.ObjectOld) != readyReason(e.ObjectNew) {
				r.wakeAccount(e.ObjectNew.Name)
			}
		},
		DeleteFunc: func(_ context.Context, e event.TypedDeleteEvent[*v1alpha1.TwilioAccount], _ requests) {
			r.wakeAccount(e.Object.Name)
		},
	}
}

// wakeAccount queues the objects that refer to an account. Those that are settled
// cost nothing by it.
func (r *AssignmentReconciler) wakeAccount(name string) {
	now := time.Now()
	for _, key := range r.index.where(func(_ types.NamespacedName, account string) bool { return account == name }) {
		r.index.checkAt(key, now)
	}
}

// namespaceEvents wakes the objects of a namespace whose labels changed.
func (r *AssignmentReconciler) namespaceEvents() handler.TypedEventHandler[*metav1.PartialObjectMetadata, reconcile.Request] {
	wake := func(name string) {
		r.queue.add(normal, 0, r.index.where(func(key types.NamespacedName, _ string) bool { return key.Namespace == name })...)
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

func readyReason(account *v1alpha1.TwilioAccount) string {
	if ready := meta.FindStatusCondition(account.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
		return ready.Reason
	}
	return ""
}
