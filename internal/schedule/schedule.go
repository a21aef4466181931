// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package schedule decides when an object is due for its next check: its phase within the
// resync interval, the back-off after failures, and the order in which objects come due.
//
// All times are read from one Clock, which never steps. The package knows neither objects
// nor queues.
package schedule

import (
	"hash/fnv"
	"math/rand/v2"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// DefaultResyncInterval is used where an account gives none.
	DefaultResyncInterval = 10 * time.Minute
	// FirstBackoff is the wait after the first failure; it doubles up to LongestBackoff.
	FirstBackoff = time.Second
	// LongestBackoff is the longest wait between two tries.
	LongestBackoff = 15 * time.Minute
)

// Clock tells the time of day as it was when the clock was made, plus the time that has
// passed since. A step of the system's clock does not move it.
type Clock struct{ base time.Time }

// NewClock returns a clock that starts at the system's time.
func NewClock() Clock { return Clock{base: time.Now()} }

// Now returns the time of the clock.
func (c Clock) Now() time.Time { return c.base.Add(time.Since(c.base)) }

// SinceStart returns the time that has passed since the clock was made.
func (c Clock) SinceStart() time.Duration { return time.Since(c.base) }

// Since returns how long ago t was on the clock.
func (c Clock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// NextPhase returns the first time after t at which an object is due. Each object has its
// own phase within the interval. It follows from the UID, so that it outlives a restart.
func NextPhase(uid types.UID, interval time.Duration, t time.Time) time.Time {
	if interval <= 0 {
		interval = DefaultResyncInterval
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

// Jitter spreads a wait by a tenth to either side.
func Jitter(wait time.Duration) time.Duration {
	if wait <= 0 {
		return 0
	}
	return wait - wait/10 + rand.N(wait/5+1)
}
