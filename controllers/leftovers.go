// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/fleet"
)

// leftovers are the objects that no manager serves: their account does not exist, or nobody
// selects it. Of several managers one tells them so, the first by name that runs.
type leftovers struct {
	client.Client
	live   client.Reader
	leases *leases
	// manager is the name of this one.
	manager string
	open    openCache
	queue   *queue

	changed chan struct{}
	// watched are the accounts for which the cache is, turn is whether this manager told. Both
	// are run's alone.
	watched map[string]string
	turn    bool

	mu    sync.Mutex
	cache *objectCache
}

// look has run see that an account has changed.
func (l *leftovers) look() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// run watches the leftovers until ctx ends. What they are follows from the accounts.
func (l *leftovers) run(ctx context.Context) {
	tick := time.NewTicker(unclaimedAfter)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-l.changed:
		case <-tick.C:
		}
		if err := l.update(ctx); err != nil && ctx.Err() == nil {
			logf.FromContext(ctx).Error(err, "Could not look for objects that no manager serves")
		}
		select { // many changes are one look
		case <-ctx.Done():
		case <-time.After(accountDelay):
		}
	}
}

// update watches the leftovers of the accounts as they are, and queues all of them when it
// is this manager's turn to tell, which it was not.
func (l *leftovers) update(ctx context.Context) error {
	accounts, err := l.accounts(ctx)
	if err != nil {
		return err
	}
	if l.watched == nil || !maps.Equal(accounts, l.watched) {
		if err := l.watch(ctx, accounts); err != nil {
			return err
		}
		l.watched = accounts
	}
	turn, err := l.isMyTurn(ctx)
	if turn && !l.turn {
		l.queueAll()
	}
	l.turn = turn
	return err
}

// accounts are the accounts that exist, and why nobody serves one, "" if somebody does or
// is about to.
func (l *leftovers) accounts(ctx context.Context) (map[string]string, error) {
	var list v1alpha1.TwilioAccountList
	if err := l.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("listing the accounts: %w", err)
	}
	accounts := map[string]string{}
	for i := range list.Items {
		accounts[list.Items[i].Name] = unservedReason(&list.Items[i])
	}
	return accounts, nil
}

// unservedReason is why no manager serves an account, "" if one does or is about to. An
// account whose manager is down still names it: its objects keep what they say.
func unservedReason(account *v1alpha1.TwilioAccount) string {
	if reason := readyReason(account); account.Status.Manager == "" && isUnserved(reason) {
		return reason
	}
	return ""
}

// isUnserved reports whether a reason says that nobody serves an account.
func isUnserved(reason string) bool {
	return reason == v1alpha1.ReasonNotSelected || reason == v1alpha1.ReasonServedElsewhere
}

// watch replaces the cache by one for these accounts.
func (l *leftovers) watch(ctx context.Context, accounts map[string]string) error {
	var others []string
	for name, unserved := range accounts {
		if unserved == "" {
			others = append(others, name)
		}
	}
	slices.Sort(others) // the same accounts make the same request
	next := &objectCache{}
	if err := next.start(ctx, l.open, fleet.LeftoverOptions(others), l.objectEvents()); err != nil {
		return fmt.Errorf("watching the objects that no manager serves: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cache != nil {
		l.cache.stop()
	}
	l.cache = next
	return nil
}

func (l *leftovers) objectEvents() handler.TypedEventHandler[*assignment, reconcile.Request] {
	return handler.TypedFuncs[*assignment, reconcile.Request]{
		CreateFunc: func(_ context.Context, e event.TypedCreateEvent[*assignment], _ requests) { l.add(e.Object) },
		UpdateFunc: func(_ context.Context, e event.TypedUpdateEvent[*assignment], _ requests) { l.add(e.ObjectNew) },
	}
}

// add queues a leftover, behind the objects that are served.
func (l *leftovers) add(a *assignment) { l.queue.add(background, 0, client.ObjectKeyFromObject(a)) }

func (l *leftovers) queueAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cache == nil {
		return
	}
	for _, a := range l.cache.objects() {
		l.add(a)
	}
}

// isMyTurn reports whether it is this manager that tells.
func (l *leftovers) isMyTurn(ctx context.Context) (bool, error) {
	first, err := l.leases.first(ctx)
	return first == l.manager, err
}

// find returns a leftover as the API server has it, nil if it is none, says already what it
// has to, or if another manager tells.
func (l *leftovers) find(ctx context.Context, key types.NamespacedName) (*assignment, error) {
	l.mu.Lock()
	var known *assignment
	if l.cache != nil {
		known = l.cache.get(key)
	}
	l.mu.Unlock()
	if known == nil {
		return nil, nil
	}
	o, err := l.outcomeFor(ctx, known.Spec.AccountRef.Name)
	if o == nil || err != nil {
		return nil, err
	}
	if known.DeletionTimestamp.IsZero() && known.Status.ObservedGeneration == known.Generation && reasonOf(known) == o.reason {
		return nil, nil
	}
	if mine, err := l.isMyTurn(ctx); !mine || err != nil {
		return nil, err
	}
	current := &assignment{}
	if err := l.live.Get(ctx, key, current); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	return current, nil
}

// outcomeFor is what the objects of an account are told, nil if a manager serves it.
func (l *leftovers) outcomeFor(ctx context.Context, name string) (*outcome, error) {
	var account v1alpha1.TwilioAccount
	if err := l.Get(ctx, client.ObjectKey{Name: name}, &account); apierrors.IsNotFound(err) {
		return accountNotFound(name), nil
	} else if err != nil {
		return nil, fmt.Errorf("reading TwilioAccount %s: %w", name, err)
	}
	return objectUnserved(&account), nil
}

// objectUnserved is what the objects of an account are told that no manager serves.
func objectUnserved(account *v1alpha1.TwilioAccount) *outcome {
	switch unservedReason(account) {
	case v1alpha1.ReasonNotSelected:
		return objectNotSelected(account.Name)
	case v1alpha1.ReasonServedElsewhere:
		return objectServedElsewhere(account.Name)
	}
	return nil
}
