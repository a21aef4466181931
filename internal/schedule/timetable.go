// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package schedule

import (
	"container/heap"
	"slices"
	"time"
)

// Due is when an element of a Timetable is due, in nanoseconds of Unix time on its clock;
// zero if it is not. Elements hold it themselves, because 100,000 of them wait at a time.
type Due int64

// Timetable orders elements by the time at which they are due. It is not safe for
// concurrent use.
type Timetable[E any] struct {
	due   func(*E) *Due
	visit visits[E]
	// live is the number of elements that are due at some time.
	live int
}

// visit is an element at a time. It is cancelled if the element's Due says another time.
type visit[E any] struct {
	at      Due
	element *E
}

// NewTimetable returns an empty timetable. due finds the Due of an element.
func NewTimetable[E any](due func(*E) *Due) *Timetable[E] {
	return &Timetable[E]{due: due}
}

// Set makes an element due at a time instead of any other. It reports whether the element
// is now the next one.
func (t *Timetable[E]) Set(e *E, at time.Time) (next bool) {
	due, when := t.due(e), Due(at.UnixNano())
	if *due == when {
		return false
	}
	if *due == 0 {
		t.live++
	}
	*due = when
	if len(t.visit) > 2*t.live+1000 {
		t.visit = slices.DeleteFunc(t.visit, t.cancelled)
		heap.Init(&t.visit)
	}
	heap.Push(&t.visit, visit[E]{at: when, element: e})
	return t.visit[0].element == e
}

// Clear makes an element due at no time.
func (t *Timetable[E]) Clear(e *E) {
	if due := t.due(e); *due != 0 {
		*due = 0
		t.live--
	}
}

// Pop removes and returns at most so many elements that are due at now, and how long it is
// until more are: zero if some are due already.
func (t *Timetable[E]) Pop(now time.Time, most int) (elements []*E, wait time.Duration) {
	for len(t.visit) > 0 && len(elements) < most {
		next := t.visit[0]
		wait := time.Duration(int64(next.at) - now.UnixNano())
		switch {
		case t.cancelled(next):
		case wait > 0:
			return elements, wait
		default:
			t.Clear(next.element)
			elements = append(elements, next.element)
		}
		heap.Pop(&t.visit)
	}
	if len(t.visit) > 0 {
		return elements, 0
	}
	return elements, time.Hour
}

// Len returns the number of entries kept, cancelled ones included.
func (t *Timetable[E]) Len() int { return len(t.visit) }

func (t *Timetable[E]) cancelled(v visit[E]) bool { return *t.due(v.element) != v.at }

// visits is a heap.
type visits[E any] []visit[E]

// Len implements heap.Interface.
func (v visits[E]) Len() int { return len(v) }

// Less implements heap.Interface.
func (v visits[E]) Less(i, j int) bool { return v[i].at < v[j].at }

// Swap implements heap.Interface.
func (v visits[E]) Swap(i, j int) { v[i], v[j] = v[j], v[i] }

// Push implements heap.Interface.
func (v *visits[E]) Push(x any) {
	if next, ok := x.(visit[E]); ok {
		*v = append(*v, next)
	}
}

// Pop implements heap.Interface.
func (v *visits[E]) Pop() any {
	last := len(*v) - 1
	popped := (*v)[last]
	(*v)[last] = visit[E]{}
	*v = (*v)[:last]
	return popped
}
