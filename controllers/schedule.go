// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// Priorities in the queue, higher first.
const (
	// urgent: a turn with Twilio is held ready for the object.
	urgent = 100
	// normal: a person's edit, a deletion, work not done.
	normal = 0
	// background: periodic checks, and objects of the initial listing that are settled.
	background = handler.LowPriority
)

const (
	defaultResyncInterval = 10 * time.Minute
	firstBackoff          = time.Second
	longestBackoff        = 15 * time.Minute
)

// resyncInterval is how often the numbers of an account are checked.
func resyncInterval(account *v1alpha1.TwilioAccount) time.Duration {
	if account == nil || account.Spec.ResyncInterval.Duration <= 0 {
		return defaultResyncInterval
	}
	return account.Spec.ResyncInterval.Duration
}

// nextPhase is the first time after t at which an object is due. Each object has a
// phase of its own within the interval, from its UID, which outlives a restart.
func nextPhase(uid types.UID, interval time.Duration, t time.Time) time.Time {
	if interval <= 0 {
		interval = defaultResyncInterval
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(uid))
	phase := time.Duration(h.Sum64() % uint64(interval))
	into := time.Duration(t.UnixNano()) % interval
	wait := phase - into
	if wait <= 0 {
		wait += interval
	}
	return t.Add(wait)
}

// backoff is how long to wait after one more failed pass: exponential, with jitter.
func backoff(failuresBefore int) time.Duration {
	wait := longestBackoff
	if failuresBefore < 10 {
		wait = min(firstBackoff<<failuresBefore, longestBackoff)
	}
	return jitter(wait)
}

// jitter spreads a wait by a tenth to either side.
func jitter(wait time.Duration) time.Duration {
	return wait - wait/10 + rand.N(wait/5+1)
}

// queue is the work queue of a controller, for what wakes objects from outside of
// its watches. It drops what is added before the controller has started: the
// initial listing brings every object anyway.
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

// room is how many more objects may be added for there to be few ready for a pass;
// none before the controller has started, when they would be dropped.
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
