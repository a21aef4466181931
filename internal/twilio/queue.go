// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"container/list"
	"time"
)

const (
	// backgroundShare: while a Background key waits, it gets one grant in so many.
	backgroundShare = 8
	// promiseLapse is how long a permit is held ready for a woken key while others wait.
	promiseLapse = time.Minute
)

// queue holds the keys that wait for a permit. Each is in one of the lists: waiting,
// by priority and in order of asking, or woken, with a permit held ready for it.
type queue struct {
	byKey   map[string]*waiter
	waiting [Foreground + 1]list.List
	woken   list.List // in order of waking
	streak  int       // grants to Foreground since the last one to Background
}

type waiter struct {
	key      string
	priority Priority
	wake     func()
	in       *list.List
	place    *list.Element
	wokenAt  time.Time
	lapsed   bool // it did not answer in time; it may still take a permit nobody else wants
}

// add puts a new key at the end of its priority.
func (q *queue) add(key string, p Priority, wake func()) {
	w := &waiter{key: key, priority: p, wake: wake}
	q.byKey[key] = w
	q.toBack(w)
}

func (q *queue) remove(key string) {
	if w, ok := q.byKey[key]; ok {
		w.in.Remove(w.place)
		delete(q.byKey, key)
	}
}

// askAgain is what a key that waits meets when it asks again and gets no permit.
func (q *queue) askAgain(w *waiter, p Priority, wake func()) {
	w.wake = wake
	switch {
	case w.in == &q.woken: // the limit fell after the key was woken
		w.priority = max(w.priority, p)
		q.toFront(w)
	case p > w.priority:
		w.priority = p
		q.toBack(w)
	}
}

func (q *queue) toBack(w *waiter)  { q.move(w, &q.waiting[w.priority], (*list.List).PushBack) }
func (q *queue) toFront(w *waiter) { q.move(w, &q.waiting[w.priority], (*list.List).PushFront) }

func (q *queue) move(w *waiter, to *list.List, push func(*list.List, any) *list.Element) {
	if w.in != nil {
		w.in.Remove(w.place)
	}
	w.in, w.place = to, push(to, w)
}

// promise moves w to those for whom a permit is held ready.
func (q *queue) promise(w *waiter, now time.Time) {
	q.move(w, &q.woken, (*list.List).PushBack)
	w.wokenAt = now
}

// next picks the key to grant the next permit to; nil if none waits.
func (q *queue) next() *waiter {
	foreground, background := q.waiting[Foreground].Front(), q.waiting[Background].Front()
	switch {
	case background == nil && foreground == nil:
		return nil
	case background == nil:
		q.streak = 0
		return foreground.Value.(*waiter)
	case foreground == nil, q.streak >= backgroundShare-1:
		q.streak = 0
		return background.Value.(*waiter)
	}
	q.streak++
	return foreground.Value.(*waiter)
}

// lapse withdraws permits that were held ready for too long, if another key waits.
func (q *queue) lapse(now time.Time) {
	if !q.anyWaiting() {
		return
	}
	for first := q.woken.Front(); first != nil; first = q.woken.Front() {
		w := first.Value.(*waiter)
		if now.Sub(w.wokenAt) < promiseLapse {
			return
		}
		w.lapsed = true
		q.toBack(w)
	}
}

// firstLapse is when the oldest promise lapses.
func (q *queue) firstLapse() (time.Time, bool) {
	first := q.woken.Front()
	if first == nil {
		return time.Time{}, false
	}
	return first.Value.(*waiter).wokenAt.Add(promiseLapse), true
}

func (q *queue) anyWaiting() bool {
	return q.waiting[Foreground].Len()+q.waiting[Background].Len() > 0
}

// count returns the keys of each priority, woken ones included.
func (q *queue) count() (foreground, background int) {
	foreground, background = q.waiting[Foreground].Len(), q.waiting[Background].Len()
	for e := q.woken.Front(); e != nil; e = e.Next() {
		if e.Value.(*waiter).priority == Foreground {
			foreground++
		} else {
			background++
		}
	}
	return foreground, background
}
