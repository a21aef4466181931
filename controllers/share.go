// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/fleet"
)

// share is the objects of one of several managers. Each account that the manager selects has
// a cache of its objects, also on a standby. In the fleet are only those of the accounts
// that the manager serves.
//
// A manager of all accounts has no share: a nil one leaves the fleet as it is.
type share struct {
	events  assignmentEvents
	live    client.Reader
	selects func(account *v1alpha1.TwilioAccount) bool
	open    openCache
	// accounts is the source of the accounts' events. The manager's cache has all accounts.
	accounts  source.SyncingSource
	leftovers *leftovers

	// mu is held while objects enter and leave the fleet, so that an event is seen either
	// by the fleet or by add.
	mu sync.Mutex
	// running ends when the manager stops.
	running context.Context
	caches  map[string]*objectCache
	served  sets.Set[string]
}

// Start keeps a cache for each account that the manager selects, until ctx ends.
func (s *share) Start(ctx context.Context, q requests) error {
	s.mu.Lock()
	s.running = ctx
	s.mu.Unlock()
	go s.leftovers.run(ctx)
	return s.accounts.Start(ctx, q)
}

// WaitForSync waits until the objects of the accounts that exist at the start are known, but
// for those that the manager does not select any more.
func (s *share) WaitForSync(ctx context.Context) error {
	if err := s.accounts.WaitForSync(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	caches := slices.Collect(maps.Values(s.caches))
	s.mu.Unlock()
	for _, c := range caches {
		if _, err := c.waitForSync(ctx); err != nil {
			return err
		}
	}
	return nil
}

// accountEvents begins and ends caches as accounts, and their labels, come and go.
func (s *share) accountEvents() handler.TypedEventHandler[*v1alpha1.TwilioAccount, reconcile.Request] {
	return handler.TypedFuncs[*v1alpha1.TwilioAccount, reconcile.Request]{
		CreateFunc: func(ctx context.Context, e event.TypedCreateEvent[*v1alpha1.TwilioAccount], _ requests) {
			s.see(ctx, e.Object)
		},
		UpdateFunc: func(ctx context.Context, e event.TypedUpdateEvent[*v1alpha1.TwilioAccount], _ requests) {
			s.see(ctx, e.ObjectNew)
		},
		DeleteFunc: func(_ context.Context, e event.TypedDeleteEvent[*v1alpha1.TwilioAccount], _ requests) {
			s.mu.Lock()
			s.close(e.Object.Name)
			s.mu.Unlock()
			s.leftovers.look()
		},
	}
}

func (s *share) see(ctx context.Context, account *v1alpha1.TwilioAccount) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.selects(account):
		if _, err := s.cacheOf(account.Name); err != nil {
			logf.FromContext(ctx).Error(err, "Could not watch the objects of an account", "account", account.Name)
		}
	case !s.served.Has(account.Name):
		s.close(account.Name)
	}
	s.leftovers.look()
}

// cacheOf returns the cache of an account's objects. It begins one if there is none.
func (s *share) cacheOf(account string) (*objectCache, error) {
	if c := s.caches[account]; c != nil {
		return c, nil
	}
	c := &objectCache{}
	if err := c.start(s.running, s.open, fleet.ShareOptions(account), objectEvents{s, account, c}); err != nil {
		return nil, fmt.Errorf("watching the objects of TwilioAccount %s: %w", account, err)
	}
	s.caches[account] = c
	return c, nil
}

// close ends the cache of an account's objects.
func (s *share) close(account string) {
	if c := s.caches[account]; c != nil {
		c.stop()
		delete(s.caches, account)
	}
}

// load reports whether the objects of an account are known, and has them become known.
func (s *share) load(account string) (loaded bool, err error) {
	if s == nil {
		return true, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.cacheOf(account)
	return err == nil && c.isSynced(), err
}

// wait waits until the objects of an account are known.
func (s *share) wait(ctx context.Context, account string) error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	c, err := s.cacheOf(account)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	synced, err := c.waitForSync(ctx)
	if err == nil && !synced {
		err = fmt.Errorf("the objects of TwilioAccount %s are not watched any more", account)
	}
	return err
}

// hasSeen reports whether the cache of an account's objects shows all that was written to
// them until now. The manager before this one may have written a moment ago: which object
// holds a number must not be decided by what was there before.
func (s *share) hasSeen(ctx context.Context, account string) (bool, error) {
	if s == nil {
		return true, nil
	}
	page := &metav1.PartialObjectMetadataList{}
	page.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(assignmentKind + "List"))
	for {
		err := s.live.List(ctx, page, client.MatchingFields{fleet.FieldAccount: account}, client.Limit(pageSize), client.Continue(page.Continue))
		if err != nil {
			return false, fmt.Errorf("listing the objects of TwilioAccount %s: %w", account, err)
		}
		if !s.shows(account, page.Items) {
			return false, nil
		}
		if page.Continue == "" {
			return true, nil
		}
	}
}

// pageSize is how many objects are read at once.
const pageSize = 500

// shows reports whether the cache of an account has these versions of objects, or later ones.
func (s *share) shows(account string, objects []metav1.PartialObjectMetadata) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.caches[account]
	if c == nil {
		return false
	}
	for i := range objects {
		a := c.get(client.ObjectKeyFromObject(&objects[i]))
		if a == nil || fleet.IsOlder(a.ResourceVersion, objects[i].ResourceVersion) {
			return false
		}
	}
	return true
}

// add brings the objects of an account into the fleet. Those that are synced are checked at
// their own phase, as after a restart. It reports false if they are not known: the account's
// label may have changed since they were loaded.
func (s *share) add(account *v1alpha1.TwilioAccount) (added bool) {
	if s == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.caches[account.Name]
	if c == nil || !c.isSynced() {
		return false
	}
	s.served.Insert(account.Name)
	r := s.events.r
	r.brake.resume(account.Spec.AccountSID)
	for _, a := range c.objects() {
		r.fleet.Upsert(a)
		if isSynced(a) && a.DeletionTimestamp.IsZero() {
			r.fleet.Checked(client.ObjectKeyFromObject(a))
		} else {
			r.brake.expect(a)
		}
	}
	return true
}

// remove takes the objects of an account from the fleet. A reconcile that still runs sees
// its object as gone, and ends before its next write to Twilio.
func (s *share) remove(account string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.served.Delete(account)
	r := s.events.r
	for _, key := range r.fleet.Select(func(_ types.NamespacedName, of string) bool { return of == account }) {
		r.forgetObject(key)
	}
}

// unload ends the cache of an account that is not served, unless the manager selects it.
func (s *share) unload(account *v1alpha1.TwilioAccount) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.selects(account) && !s.served.Has(account.Name) {
		s.close(account.Name)
	}
}

// refersTo reports whether any object refers to an account, served or not.
func (s *share) refersTo(ctx context.Context, account string) (bool, error) {
	found := &metav1.PartialObjectMetadataList{}
	found.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(assignmentKind + "List"))
	if err := s.live.List(ctx, found, client.MatchingFields{fleet.FieldAccount: account}, client.Limit(1)); err != nil {
		return false, fmt.Errorf("looking for an object of TwilioAccount %s: %w", account, err)
	}
	return len(found.Items) > 0, nil
}

// find returns an object of this manager's share, or one that it has to tell about its
// account. It returns nil if there is nothing to do for the object now.
func (s *share) find(ctx context.Context, key types.NamespacedName) (*assignment, error) {
	s.mu.Lock()
	a := s.cached(key)
	s.mu.Unlock()
	switch {
	case a != nil:
		return a.DeepCopy(), nil
	case s.events.r.fleet.Find(key) != nil:
		return nil, s.settle(ctx, key)
	default:
		return s.leftovers.find(ctx, key)
	}
}

// cached returns an object as the cache of its account has it. Do not change it.
func (s *share) cached(key types.NamespacedName) *assignment {
	for _, c := range s.caches {
		if a := c.get(key); a != nil {
			return a
		}
	}
	return nil
}

// settle finds out what became of an object that left the cache of its account: it is gone,
// or it has another account. One that stays in the share stays in the fleet until the other
// cache shows it: the others that name its number must not take it for gone meanwhile.
func (s *share) settle(ctx context.Context, key types.NamespacedName) error {
	current := &assignment{}
	err := s.live.Get(ctx, key, current)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading an object that left its account: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	former := s.events.r.fleet.Find(key)
	stays := err == nil && former != nil && current.UID == former.UID && s.served.Has(current.Spec.AccountRef.Name)
	switch {
	case former == nil:
	case s.cached(key) != nil:
		s.events.r.queue.add(normal, 0, key)
	case stays:
		s.events.r.queue.add(normal, cacheDelay, key)
	default:
		s.events.Delete(ctx, event.TypedDeleteEvent[*assignment]{Object: former}, nil)
	}
	return nil
}

// objectEvents passes the events of the objects of one account on to the fleet while the
// account is served.
type objectEvents struct {
	share   *share
	account string
	from    *objectCache
}

// enter lets one event through at a time. leave is nil for one that concerns nobody.
func (h objectEvents) enter() (leave func()) {
	h.share.mu.Lock()
	if h.share.caches[h.account] != h.from || !h.share.served.Has(h.account) {
		h.share.mu.Unlock()
		return nil
	}
	return h.share.mu.Unlock
}

// Create passes on a new object. One that had another account of this manager has changed.
func (h objectEvents) Create(ctx context.Context, e event.TypedCreateEvent[*assignment], q requests) {
	leave := h.enter()
	if leave == nil {
		return
	}
	defer leave()
	before := h.share.events.r.fleet.Find(client.ObjectKeyFromObject(e.Object))
	if before != nil && before.UID == e.Object.UID {
		h.share.events.Update(ctx, event.TypedUpdateEvent[*assignment]{ObjectOld: before, ObjectNew: e.Object}, q)
		return
	}
	if before != nil {
		h.share.events.Delete(ctx, event.TypedDeleteEvent[*assignment]{Object: before}, q)
	}
	h.share.events.Create(ctx, e, q)
}

// Update passes on a change.
func (h objectEvents) Update(ctx context.Context, e event.TypedUpdateEvent[*assignment], q requests) {
	if leave := h.enter(); leave != nil {
		defer leave()
		h.share.events.Update(ctx, e, q)
	}
}

// Delete passes on that an object is gone. Here it may also have another account now.
func (h objectEvents) Delete(ctx context.Context, e event.TypedDeleteEvent[*assignment], q requests) {
	leave := h.enter()
	if leave == nil {
		return
	}
	defer leave()
	key := client.ObjectKeyFromObject(e.Object)
	known, now := h.share.events.r.fleet.Find(key), h.share.cached(key)
	switch {
	case known == nil, known.UID != e.Object.UID:
		h.share.events.r.enqueueAccount(h.account)
	case now == nil:
		h.share.events.r.queue.add(normal, 0, key) // to settle it
	case now.UID == e.Object.UID && h.share.served.Has(now.Spec.AccountRef.Name):
		h.share.events.r.enqueueAccount(h.account) // the cache of its account passes it on
	default:
		h.share.events.Delete(ctx, e, q)
	}
}

// Generic is called by nobody.
func (objectEvents) Generic(context.Context, event.TypedGenericEvent[*assignment], requests) {}
