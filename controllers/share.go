// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// memberShare keeps in the fleet the objects of the accounts that this manager serves, and
// no others. The cache has all of them. A nil share leaves the fleet as it is: with every
// object in it.
type memberShare struct {
	events assignmentEvents
	store  toolscache.Store

	// mu is held while objects enter and leave the fleet, so that an event is seen either
	// by the fleet or by add.
	mu       sync.Mutex
	accounts sets.Set[string]
}

// add brings the objects of an account into the fleet. Those that are synced are checked at
// their own phase, as after a restart.
func (m *memberShare) add(account *v1alpha1.TwilioAccount) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.accounts.Insert(account.Name)
	r := m.events.r
	r.brake.resume(account.Spec.AccountSID)
	for _, a := range m.objectsOf(account.Name) {
		r.fleet.Upsert(a)
		if isSynced(a) && a.DeletionTimestamp.IsZero() {
			r.fleet.Checked(client.ObjectKeyFromObject(a))
		} else {
			r.brake.expect(a)
		}
	}
}

// remove takes the objects of an account from the fleet. A reconcile that still runs sees
// its object as gone, and ends before its next write to Twilio.
func (m *memberShare) remove(account string) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.accounts.Delete(account)
	r := m.events.r
	for _, key := range r.fleet.Select(func(_ types.NamespacedName, of string) bool { return of == account }) {
		r.forgetObject(key)
	}
}

// refersTo reports whether any object refers to an account, served or not.
func (m *memberShare) refersTo(account string) bool { return len(m.objectsOf(account)) > 0 }

func (m *memberShare) objectsOf(account string) []*assignment {
	return m.objects(func(a *assignment) bool { return a.Spec.AccountRef.Name == account })
}

func (m *memberShare) objects(keep func(*assignment) bool) []*assignment {
	var kept []*assignment
	for _, object := range m.store.List() {
		if a, ok := object.(*assignment); ok && keep(a) {
			kept = append(kept, a)
		}
	}
	return kept
}

// queueOrphans queues the objects whose account does not exist.
func (m *memberShare) queueOrphans(accounts []v1alpha1.TwilioAccount) {
	if m == nil {
		return
	}
	exists := sets.New[string]()
	for i := range accounts {
		exists.Insert(accounts[i].Name)
	}
	for _, a := range m.objects(func(a *assignment) bool { return !exists.Has(a.Spec.AccountRef.Name) }) {
		m.events.r.queue.add(normal, 0, client.ObjectKeyFromObject(a))
	}
}

// queueObjectsOf queues the objects of an account that is gone.
func (m *memberShare) queueObjectsOf(account string) {
	if m == nil {
		return
	}
	for _, a := range m.objectsOf(account) {
		m.events.r.queue.add(normal, 0, client.ObjectKeyFromObject(a))
	}
}

// Create passes on an object of a served account. Another one is queued: its account may
// not exist.
func (m *memberShare) Create(ctx context.Context, e event.TypedCreateEvent[*assignment], q requests) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.has(e.Object):
		m.events.Create(ctx, e, q)
	case !e.IsInInitialList:
		m.events.r.queue.add(normal, 0, client.ObjectKeyFromObject(e.Object))
	}
}

// Update passes on an object of a served account. One that changes its account enters or
// leaves the fleet.
func (m *memberShare) Update(ctx context.Context, e event.TypedUpdateEvent[*assignment], q requests) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before, after := m.has(e.ObjectOld), m.has(e.ObjectNew)
	switch {
	case before && after:
		m.events.Update(ctx, e, q)
	case before:
		m.events.Delete(ctx, event.TypedDeleteEvent[*assignment]{Object: e.ObjectOld}, q)
	case after:
		m.events.Create(ctx, event.TypedCreateEvent[*assignment]{Object: e.ObjectNew}, q)
	}
	if !after && e.ObjectOld.Generation != e.ObjectNew.Generation {
		m.events.r.queue.add(normal, 0, client.ObjectKeyFromObject(e.ObjectNew))
	}
}

// Delete passes on an object of a served account.
func (m *memberShare) Delete(ctx context.Context, e event.TypedDeleteEvent[*assignment], q requests) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.has(e.Object) {
		m.events.Delete(ctx, e, q)
	}
}

// Generic is called by nobody.
func (*memberShare) Generic(context.Context, event.TypedGenericEvent[*assignment], requests) {}

func (m *memberShare) has(a *assignment) bool { return m.accounts.Has(a.Spec.AccountRef.Name) }
