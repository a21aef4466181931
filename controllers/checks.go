// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"container/heap"
	"context"
	"slices"
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

func (c check) void() bool { return c.entry.due != c.at }

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
	if len(x.checks) > 2*len(x.entries)+fewQueued {
		x.checks = slices.DeleteFunc(x.checks, check.void)
		heap.Init(&x.checks)
	}
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

// dueAt takes at most so many objects that are due, and says how long it is until more are.
func (x *index) dueAt(now time.Time, most int) (keys []types.NamespacedName, wait time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for len(x.checks) > 0 && len(keys) < most {
		next := x.checks[0]
		wait := time.Duration(next.at - now.UnixNano())
		switch {
		case next.void():
		case wait > 0:
			return keys, wait
		default:
			next.entry.due = 0
			keys = append(keys, keyOf(next.entry.object))
		}
		heap.Pop(&x.checks)
	}
	if len(x.checks) > 0 {
		return keys, 0
	}
	return keys, time.Hour
}

const (
	// fewQueued is up to how many objects ready for a pass checks are added to the queue.
	// After a start all that is settled is due; the queue would keep the room for all of it.
	fewQueued = 1000
	// drain is how long the queue is given at first to get there, and at most: nobody
	// takes anything from that of a standby.
	drain, longestDrain = 5 * time.Millisecond, time.Second
)

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
	for pause := drain; ; {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-c.index.sooner:
		}
		keys, wait := c.index.dueAt(time.Now(), c.queue.room())
		c.queue.add(background, 0, keys...)
		switch {
		case wait > 0 || len(keys) > 0:
			pause = drain
		default: // no room for what is due
			pause = min(2*pause, longestDrain)
		}
		timer.Reset(max(wait, pause))
	}
}
