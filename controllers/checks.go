// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"container/heap"
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// The periodic checks to come are kept here rather than as delayed items of the work
// queue, in which each takes 185 bytes: nearly every object there is waits for one.

// check is a periodic check to come. It is void if the entry's due says another time.
type check struct {
	at    int64 // in nanoseconds of Unix time
	entry *entry
}

// checks is a heap, the next one first.
type checks []check

func (c checks) Len() int           { return len(c) }
func (c checks) Less(i, j int) bool { return c[i].at < c[j].at }
func (c checks) Swap(i, j int)      { c[i], c[j] = c[j], c[i] }

// Push implements heap.Interface.
func (c *checks) Push(x any) {
	if next, ok := x.(check); ok {
		*c = append(*c, next)
	}
}

// Pop implements heap.Interface.
func (c *checks) Pop() any {
	last := len(*c) - 1
	popped := (*c)[last]
	(*c)[last] = check{}
	*c = (*c)[:last]
	return popped
}

// checkAt has the object checked at a time, and no more at another one.
func (x *index) checkAt(key types.NamespacedName, due time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, at := x.entries[key], due.UnixNano()
	if e == nil || e.due == at {
		return
	}
	e.due = at
	heap.Push(&x.checks, check{at: at, entry: e})
	if x.checks[0].entry == e {
		select {
		case x.sooner <- struct{}{}:
		default:
		}
	}
}

// checkNoMore withdraws the object's next check.
func (x *index) checkNoMore(key types.NamespacedName) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e := x.entries[key]; e != nil {
		e.due = 0
	}
}

// dueAt takes the objects that are due, and says how long it is until more are.
func (x *index) dueAt(now time.Time) (keys []types.NamespacedName, wait time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for len(x.checks) > 0 {
		next := x.checks[0]
		if wait := next.at - now.UnixNano(); wait > 0 && next.entry.due == next.at {
			return keys, time.Duration(wait)
		}
		heap.Pop(&x.checks)
		if next.entry.due == next.at {
			next.entry.due = 0
			keys = append(keys, keyOf(next.entry.object))
		}
	}
	return keys, time.Hour
}

// clock is the source of the periodic checks.
type clock struct {
	index *index
	queue *queue
}

// Start queues objects when they are due, until ctx ends.
func (c clock) Start(ctx context.Context, _ requests) error {
	go c.run(ctx)
	return nil
}

func (c clock) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-c.index.sooner:
		}
		keys, wait := c.index.dueAt(time.Now())
		c.queue.add(background, 0, keys...)
		timer.Reset(wait)
	}
}
