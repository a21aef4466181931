// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/fleet"
)

// Priorities in the queue, higher first.
const (
	// urgent: a permit is held ready for the object.
	urgent = 100
	// normal: an edit, a deletion, work not done.
	normal = 0
	// background: periodic checks, and synced objects of the initial list.
	background = handler.LowPriority
)

const (
	// fewQueued is up to how many objects the resync source keeps in the queue. After a
	// start every synced object is due; the queue would keep the memory for all of them.
	fewQueued = 1000
	// drain is how long the resync source waits at first for room, longestDrain at most:
	// nobody takes anything from the queue of a standby.
	drain, longestDrain = 5 * time.Millisecond, time.Second
)

// queue is the work queue of a controller, for what wakes objects from outside of its
// watches. It drops what is added before the controller has started: the initial list
// brings every object anyway.
type queue struct {
	mu sync.RWMutex
	to priorityqueue.PriorityQueue[reconcile.Request]
}

// Start lets the queue be given to a controller as a source.
func (q *queue) Start(_ context.Context, to workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.to, _ = to.(priorityqueue.PriorityQueue[reconcile.Request])
	return nil
}

// room is how many more objects the resync source may add; none before the controller has
// started, when they would be dropped.
func (q *queue) room() int {
	q.mu.RLock()
	defer q.mu.RUnlock()
	if q.to == nil {
		return 0
	}
	return max(0, fewQueued-q.to.Len())
}

func (q *queue) add(priority int, after time.Duration, keys ...types.NamespacedName) {
	q.mu.RLock()
	defer q.mu.RUnlock()
	if q.to == nil {
		return
	}
	for _, key := range keys {
		q.to.AddWithOpts(priorityqueue.AddOpts{Priority: new(priority), After: after}, reconcile.Request{NamespacedName: key})
	}
}

// resyncSource queues objects when they are due.
type resyncSource struct {
	fleet *fleet.Fleet
	queue *queue
}

// Start queues objects until ctx ends.
func (s resyncSource) Start(ctx context.Context, _ requests) error {
	go s.run(ctx)
	return nil
}

func (s resyncSource) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for pause := drain; ; {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-s.fleet.Sooner():
		}
		keys, wait := s.fleet.PopDue(s.queue.room())
		s.queue.add(background, 0, keys...)
		switch {
		case wait > 0 || len(keys) > 0:
			pause = drain
		default: // no room for what is due
			pause = min(2*pause, longestDrain)
		}
		timer.Reset(max(wait, pause))
	}
}

// fillingSource is the source that fills the fleet, and marks it as synced.
type fillingSource struct {
	source.SyncingSource
	filled func()
}

// newFillingSource marks the fleet as synced once from has delivered the initial list.
func newFillingSource(f *fleet.Fleet, from source.SyncingSource) fillingSource {
	return fillingSource{SyncingSource: from, filled: sync.OnceFunc(f.MarkSynced)}
}

// WaitForSync waits for the end of the initial list.
func (s fillingSource) WaitForSync(ctx context.Context) error {
	err := s.SyncingSource.WaitForSync(ctx)
	if err == nil {
		s.filled()
	}
	return err
}

// syncedSource is a source without events. It has a controller wait for the fleet.
type syncedSource struct{ fleet *fleet.Fleet }

// Start does nothing.
func (syncedSource) Start(context.Context, requests) error { return nil }

// WaitForSync waits until the fleet knows every object.
func (s syncedSource) WaitForSync(ctx context.Context) error {
	select {
	case <-s.fleet.Synced():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting until all objects are known: %w", ctx.Err())
	}
}
