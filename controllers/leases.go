// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/shard"
)

// leases is what the Leases in the operator's namespace say of the managers. They are read
// only where an account does not name this manager.
type leases struct {
	live      client.Reader
	namespace string

	mu sync.Mutex
	// seen holds the Leases as last read, by name.
	seen map[string]seenLease
	// at is when they were last read.
	at time.Time
}

// seenLease is a Lease, and since when this process knows it as it is.
type seenLease struct {
	lease coordinationv1.Lease
	since time.Time
}

// read reads the Leases of all managers.
func (l *leases) read(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all coordinationv1.LeaseList
	if err := l.live.List(ctx, &all, client.InNamespace(l.namespace)); err != nil {
		return fmt.Errorf("listing the Leases of the managers: %w", err)
	}
	seen := map[string]seenLease{}
	for i := range all.Items {
		lease := &all.Items[i]
		if !strings.HasPrefix(lease.Name, shard.Lease) {
			continue
		}
		since := time.Now()
		if before, known := l.seen[lease.Name]; known && isSameTerm(&before.lease, lease) {
			since = before.since
		}
		seen[lease.Name] = seenLease{*lease, since}
	}
	l.seen, l.at = seen, time.Now()
	return nil
}

// isSameTerm reports whether a Lease was neither renewed nor taken in between.
func isSameTerm(a, b *coordinationv1.Lease) bool {
	return a.UID == b.UID && a.Spec.RenewTime.Equal(b.Spec.RenewTime) && holderOf(a) == holderOf(b)
}

func holderOf(lease *coordinationv1.Lease) string {
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// gone reports whether a manager has ended: its Lease is absent or released, or was not
// renewed for its duration by the clock of this process. Times of other clocks say nothing.
func (l *leases) gone(manager string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen, exists := l.seen[manager]
	if !exists || holderOf(&seen.lease) == "" || seen.lease.Spec.LeaseDurationSeconds == nil {
		return true
	}
	return time.Since(seen.since) > time.Duration(*seen.lease.Spec.LeaseDurationSeconds)*time.Second
}

// first is the running manager that comes first by name, as of a moment ago.
func (l *leases) first(ctx context.Context) (string, error) {
	l.mu.Lock()
	current := time.Since(l.at) < handoverEvery
	l.mu.Unlock()
	if !current {
		if err := l.read(ctx); err != nil {
			return "", err
		}
	}
	l.mu.Lock()
	names := slices.Sorted(maps.Keys(l.seen))
	l.mu.Unlock()
	if names = slices.DeleteFunc(names, l.gone); len(names) == 0 {
		return "", nil
	}
	return names[0], nil
}

// selecting lists the running managers that select an account, by name.
func (l *leases) selecting(account *v1alpha1.TwilioAccount) []string {
	l.mu.Lock()
	names := make([]string, 0, len(l.seen))
	for name, seen := range l.seen {
		// A selector that is not published yet, or cannot be read, selects nothing.
		published, known := seen.lease.Annotations[v1alpha1.AnnotationAccountSelector]
		selector, err := labels.Parse(published)
		if err == nil && (known || name == shard.Lease) && selector.Matches(labels.Set(account.Labels)) {
			names = append(names, name)
		}
	}
	l.mu.Unlock()
	names = slices.DeleteFunc(names, l.gone)
	slices.Sort(names)
	return names
}
