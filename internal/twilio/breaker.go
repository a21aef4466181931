// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"math/rand/v2"
	"time"
)

const (
	// openAfterOutages failures in a row pause an account.
	openAfterOutages = 5
	// openAfterThrottles 429s in a row pause an account, and at least three times its
	// limit: the first cuts of the limit need some.
	openAfterThrottles = 10

	minPause = time.Second
	maxPause = time.Minute
)

type circuit int

const (
	circuitClosed  circuit = iota // calls as the limit allows
	circuitOpen                   // no permit before until
	circuitProbing                // one permit, to see whether Twilio answers again
)

// breaker pauses the calls of an account that gets nothing but failures, and for as
// long as a 429 asks for.
type breaker struct {
	circuit circuit
	reason  Reason
	until   time.Time
	asked   bool   // Twilio asked for until: no success ends the pause earlier
	opened  uint64 // the last call that began before the circuit opened
	opens   int    // in a row
	// throttles and outages since the last success.
	throttles, outages int
	// about is the first number of those outages; several says that there are others.
	about   string
	several bool
}

// refresh ends a pause whose time has come. Without waiting keys no timer does it.
func (b *breaker) refresh(now time.Time) {
	if b.circuit == circuitOpen && !now.Before(b.until) {
		b.circuit, b.asked = circuitProbing, false
	}
}

func (b *breaker) succeeded(t ticket) {
	b.throttles, b.outages, b.about, b.several = 0, 0, "", false
	if b.circuit == circuitClosed || b.asked || t.seq <= b.opened {
		return
	}
	*b = breaker{}
}

func (b *breaker) throttled(t ticket, last uint64, limit int, retryAfter time.Duration, now time.Time) {
	b.throttles++
	if retryAfter > maxThrottleWait {
		b.pauseAsAsked(last, now.Add(retryAfter))
		return
	}
	if b.trips(t, b.throttles >= max(openAfterThrottles, 3*limit)) {
		b.open(Throttled, last, 0, now)
	}
}

// failed counts a call that Twilio did not process. Failures of a single number are not
// an outage: that number's own back-off is enough.
func (b *breaker) failed(t ticket, last uint64, retryAfter time.Duration, now time.Time) {
	if b.outages++; b.outages == 1 {
		b.about = t.about
	}
	b.several = b.several || t.about != b.about
	if b.trips(t, b.several && b.outages >= openAfterOutages) {
		b.open(Unavailable, last, retryAfter, now)
	}
}

// trips reports whether a failure opens the circuit: enough of them while it is closed,
// any one while it is probing. Calls that began before it opened say nothing new.
func (b *breaker) trips(t ticket, enough bool) bool {
	switch b.circuit {
	case circuitClosed:
		return enough
	case circuitProbing:
		return t.seq > b.opened
	}
	return false
}

// open pauses for 1 s, and twice as long each time the probe fails, up to 60 s, with a
// jitter of a quarter either way.
func (b *breaker) open(reason Reason, last uint64, atLeast time.Duration, now time.Time) {
	pause := minPause << min(b.opens, 6)
	pause = min(pause*3/4+rand.N(pause/2), maxPause)
	b.circuit, b.reason, b.asked = circuitOpen, reason, false
	b.until = now.Add(max(pause, atLeast))
	b.opened = last
	b.opens++
}

func (b *breaker) pauseAsAsked(last uint64, until time.Time) {
	if b.circuit != circuitOpen || until.After(b.until) {
		b.until = until
	}
	b.circuit, b.reason, b.asked, b.opened = circuitOpen, Throttled, true, last
}
