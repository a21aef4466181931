// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

// How fast a limit below the maximum is raised again.
const (
	// runPerPermit successes for each permit of the limit earn one more permit: about a
	// second at Twilio's latency, whatever the limit.
	runPerPermit = 10
	// maxPatience limits how often the run is doubled before a level that failed is
	// tried again: at most one failed try in 32 such runs.
	maxPatience = 5
)

// limit learns how many calls Twilio takes at a time, which it does not publish.
//
// Until a 429 it is the maximum, so that nothing is slower than it must be. A 429
// takes a quarter off; a run of successes while the limit was in full use adds one.
// A level so reached is on probation: a 429 then takes back just that one, and
// doubles the run needed to try it again. So the limit settles on what Twilio takes,
// and the attempts to exceed it cost next to nothing.
type limit struct {
	maximum int
	learned int // 0: no 429 has taught anything below the maximum
	// probing: learned was raised and has not held for a run yet.
	probing bool
	run     int // successes at this level
	// failed is the level of the last failed try; patience counts such tries in a row.
	failed, patience int
	// changed is the last call that began before learned last changed.
	changed uint64
}

// value is the number of calls that may be in flight.
func (l *limit) value() int {
	if l.learned == 0 {
		return l.maximum
	}
	return min(l.learned, l.maximum)
}

// succeeded counts a call that Twilio processed; last is the newest call begun.
func (l *limit) succeeded(t ticket, last uint64) {
	if l.learned == 0 || l.learned > l.maximum || !t.full || t.seq <= l.changed {
		return
	}
	l.run++
	if l.probing && l.run >= runPerPermit*l.learned {
		l.confirm()
	}
	if !l.probing && l.run >= l.needed() {
		l.raise(last)
	}
}

// confirm ends the probation of a level and forgets its failures.
func (l *limit) confirm() {
	l.probing = false
	if l.learned >= l.failed {
		l.failed, l.patience = 0, 0
	}
}

// needed is the number of successes that earn the next level.
func (l *limit) needed() int {
	needed := runPerPermit * l.learned
	if l.learned+1 == l.failed {
		needed <<= min(l.patience, maxPatience)
	}
	return needed
}

func (l *limit) raise(last uint64) {
	l.run, l.changed = 0, last
	if l.learned == l.maximum {
		l.learned = 0
		return
	}
	l.learned++
	l.probing = true
}

// throttled counts a 429. It changes nothing if the call began before the limit last
// changed, so that one overload causes one cut, or if more calls than the limit were in
// flight, as for a moment after each cut.
func (l *limit) throttled(t ticket, last uint64) {
	if t.over || t.seq <= l.changed {
		return
	}
	l.run, l.changed = 0, last
	if !l.probing {
		l.learned = max(1, l.value()*3/4)
		return
	}
	if l.failed != l.learned {
		l.failed, l.patience = l.learned, 0
	}
	l.patience++
	l.learned--
	l.probing = false
}
