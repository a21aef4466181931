//go:build node

// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
)

// leaseLog is every version of the operator's Lease, from one moment on.
type leaseLog struct {
	mu       sync.Mutex
	versions []coordinationv1.LeaseSpec
}

// watchLease records the Lease from when the pod holds it until the test ends.
func (c *cluster) watchLease(t *testing.T, pod *corev1.Pod) *leaseLog {
	t.Helper()
	c.waitFor(t, pod.Name+" leads", func() error { return heldBy(c.lease(t).Spec, pod) })
	watcher, err := client.NewWithWatch(c.config, client.Options{Scheme: c.client.Scheme()})
	must(t, err)
	watch, err := watcher.Watch(context.Background(), &coordinationv1.LeaseList{},
		client.InNamespace(testenv.Namespace), client.MatchingFields{"metadata.name": c.lease(t).Name})
	must(t, err)
	t.Cleanup(watch.Stop)
	log := &leaseLog{}
	go func() {
		for event := range watch.ResultChan() {
			if lease, ok := event.Object.(*coordinationv1.Lease); ok {
				log.mu.Lock()
				log.versions = append(log.versions, lease.Spec)
				log.mu.Unlock()
			}
		}
	}()
	return log
}

func (l *leaseLog) all() []coordinationv1.LeaseSpec {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.versions)
}

// holder is who holds the Lease, or "" once its holder has released it.
func holder(spec coordinationv1.LeaseSpec) string {
	if spec.HolderIdentity == nil {
		return ""
	}
	return *spec.HolderIdentity
}

// heldBy is nil if the pod holds the Lease.
func heldBy(spec coordinationv1.LeaseSpec, pod *corev1.Pod) error {
	if !strings.HasPrefix(holder(spec), pod.Name) {
		return fmt.Errorf("it is held by %q", holder(spec))
	}
	return nil
}

// handover checks that the Lease went from the pod to its successor once, released by the one
// before the other acquired it, and returns both times, as the Lease has them.
func (l *leaseLog) handover(t *testing.T, from, to *corev1.Pod) (released, acquired time.Time) {
	t.Helper()
	var versions []coordinationv1.LeaseSpec
	c.waitFor(t, to.Name+" leads", func() error {
		versions = l.all()
		if len(versions) == 0 {
			return errors.New("the Lease was not seen")
		}
		return heldBy(versions[len(versions)-1], to)
	})
	changes := slices.CompactFunc(slices.Clone(versions), func(a, b coordinationv1.LeaseSpec) bool { return holder(a) == holder(b) })
	if len(changes) != 3 || heldBy(changes[0], from) != nil || holder(changes[1]) != "" {
		holders := make([]string, len(changes))
		for i, change := range changes {
			holders[i] = holder(change)
		}
		t.Fatalf("the holders were %q, want %s, nobody and %s", holders, from.Name, to.Name)
	}
	if old, now := *changes[0].LeaseTransitions, *changes[2].LeaseTransitions; now != old+1 {
		t.Errorf("the Lease counts %d transitions, before %d", now, old)
	}
	released, acquired = changes[1].RenewTime.Time, changes[2].AcquireTime.Time
	if acquired.Before(released) {
		t.Errorf("the Lease was acquired at %s, and released at %s", acquired, released)
	}
	return released, acquired
}
