// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"sync"
	"time"
)

// DefaultMaxConcurrency is the number of permits of an account for which no owner
// set a maximum.
const DefaultMaxConcurrency = 8

// Priority orders the keys that wait for a permit.
type Priority int

// Background work yields to Foreground work, and is never starved by it.
const (
	Background Priority = iota
	Foreground
)

// Reason says why there is no permit.
type Reason string

// The reasons of a Pause.
const (
	Busy        Reason = "Busy"        // all permits are held
	Throttled   Reason = "Throttled"   // Twilio answers 429; calls are paused
	Unavailable Reason = "Unavailable" // Twilio is unreachable, or answers 5xx or nonsense; calls are paused
)

// Pause says why there is no permit now.
type Pause struct {
	Reason Reason
	// Until is when the pause ends; zero if unknown, which it always is with Busy.
	// The permit may come later.
	Until time.Time
}

// Snapshot is the state of a limiter at a moment.
type Snapshot struct {
	Limit          int // permits that may be held now, apart from a pause
	MaxConcurrency int // the smallest maximum of all owners
	InFlight       int // permits held
	Calls          int // HTTP requests in flight

	WaitingForeground, WaitingBackground int // keys, those woken included

	// Paused is Throttled or Unavailable while calls are paused, and after that until
	// a call succeeds; otherwise "".
	Paused Reason
	// Until is when the pause ends or ended; zero without one.
	Until time.Time
	// LastGoodAnswer is when Twilio last processed a call, whatever it said; zero if
	// it has not yet.
	LastGoodAnswer time.Time
}

// Limiter hands out the permits of one account, through Attempt. It holds back calls
// that Twilio would not take:
//
//   - Its limit adapts to what Twilio accepts (limit).
//   - It pauses an account that gets nothing but failures (breaker).
//   - It grants Foreground first and in order of asking; at least one grant in eight
//     is Background's while any waits (queue).
//   - A permit held ready for a woken key that does not answer goes to the next key
//     after a minute.
//
// Nobody blocks. A Limiter is safe for concurrent use.
type Limiter struct {
	limiters *Limiters
	account  string // canonical

	mu      sync.Mutex
	owners  map[string]int // maxima
	limit   limit
	breaker breaker
	queue   queue

	seq      uint64 // calls begun
	calls    int    // calls in flight
	inUse    int    // permits held
	lastGood time.Time

	alarm   *time.Timer // only while time alone will let a key in
	alarmAt time.Time

	retired bool // no owner is left: drop it once it is idle
	dropped bool // it is not in limiters.byAccount
}

func newLimiter(ls *Limiters, account string) *Limiter {
	l := &Limiter{limiters: ls, account: account, owners: map[string]int{}}
	l.reset()
	return l
}

// reset forgets what was learned. The limiter is idle.
func (l *Limiter) reset() {
	l.limit = limit{maximum: l.maxConcurrency()}
	l.breaker, l.lastGood = breaker{}, time.Time{}
	l.queue = queue{byKey: map[string]*waiter{}}
}

// SetMaxConcurrency sets owner's maximum, at least 1. The smallest maximum of all
// owners applies: several TwilioAccounts may have the same account SID.
func (l *Limiter) SetMaxConcurrency(owner string, n int) {
	l.update("", func(l *Limiter) {
		l.owners[owner] = max(n, 1)
		l.limit.maximum = l.maxConcurrency()
		l.retired = false
	})
}

// RemoveMaxConcurrency withdraws owner's maximum. With the last owner goes all memory
// of the account, as by Limiters.Forget.
func (l *Limiter) RemoveMaxConcurrency(owner string) {
	l.update("", func(l *Limiter) {
		if _, ok := l.owners[owner]; !ok {
			return
		}
		delete(l.owners, owner)
		l.limit.maximum = l.maxConcurrency()
		l.retired = len(l.owners) == 0
	})
}

func (l *Limiter) maxConcurrency() int {
	smallest := 0
	for _, n := range l.owners {
		if smallest == 0 || n < smallest {
			smallest = n
		}
	}
	if smallest == 0 {
		return DefaultMaxConcurrency
	}
	return smallest
}

// acquire is Attempt.Acquire. It returns the limiter that granted the permit.
func (l *Limiter) acquire(key string, p Priority, wake func()) (by *Limiter, ok bool, pause Pause) {
	p = min(max(p, Background), Foreground)
	l = l.limiters.current(l)
	l.limiters.cancelExcept(key, l)
	by = l.update(key, func(l *Limiter) {
		if ok = l.grant(key); !ok {
			l.enqueue(key, p, wake)
			pause = l.pause()
		}
	})
	return by, ok, pause
}

// grant takes a permit for key if it may have one. It runs after a dispatch: where
// permits are free, no key waits for them.
func (l *Limiter) grant(key string) bool {
	w, waits := l.queue.byKey[key]
	if !waits && l.free() <= 0 {
		return false
	}
	if waits && (w.in != &l.queue.woken && !w.lapsed || l.inUse >= l.capacity()) {
		return false
	}
	l.forgetKey(key)
	l.inUse++
	return true
}

func (l *Limiter) forgetKey(key string) {
	l.queue.remove(key)
	l.limiters.unsetWaiting(key, l)
}

func (l *Limiter) enqueue(key string, p Priority, wake func()) {
	l.limiters.setWaiting(key, l)
	if w, waits := l.queue.byKey[key]; waits {
		l.queue.askAgain(w, p, wake)
		return
	}
	l.queue.add(key, p, wake)
}

// capacity is the number of permits that may be held now.
func (l *Limiter) capacity() int {
	switch l.breaker.circuit {
	case circuitOpen:
		return 0
	case circuitProbing:
		return 1
	}
	return l.limit.value()
}

// free is the number of permits that are neither held nor promised.
func (l *Limiter) free() int {
	return l.capacity() - l.inUse - l.queue.woken.Len()
}

func (l *Limiter) pause() Pause {
	if l.breaker.circuit == circuitClosed {
		return Pause{Reason: Busy}
	}
	return Pause{Reason: l.breaker.reason, Until: l.breaker.until}
}

// update makes a change and wakes the keys that it lets in, but for asker, which is
// the key of the caller. Permits that became free with time go to the queue before
// the change is made. It returns the limiter that was changed: the one in use for the
// account, should l have been dropped.
func (l *Limiter) update(asker string, change func(*Limiter)) *Limiter {
	l = l.lock()
	wakes := l.dispatch(asker)
	change(l)
	wakes = append(wakes, l.dispatch(asker)...)
	l.setAlarm()
	done := l.retired && l.idle()
	l.mu.Unlock()
	for _, wake := range wakes {
		wake()
	}
	if done {
		l.limiters.drop(l)
	}
	return l
}

// lock locks the limiter in use for the account and returns it.
func (l *Limiter) lock() *Limiter {
	for {
		l = l.limiters.current(l)
		l.mu.Lock()
		if !l.dropped {
			return l
		}
		l.mu.Unlock() // dropped between the two
	}
}

// idle says whether nobody owns the limiter or uses it.
func (l *Limiter) idle() bool {
	return len(l.owners) == 0 && l.inUse == 0 && l.calls == 0 && len(l.queue.byKey) == 0
}

// dispatch promises each free permit to a key and returns the wake functions.
func (l *Limiter) dispatch(asker string) (wakes []func()) {
	now := time.Now()
	l.breaker.refresh(now)
	l.queue.lapse(now)
	for l.free() > 0 {
		w := l.queue.next()
		if w == nil {
			break
		}
		l.queue.promise(w, now)
		if w.key != asker {
			wakes = append(wakes, w.wake)
		}
	}
	return wakes
}

// setAlarm runs dispatch when time alone will let a key in.
func (l *Limiter) setAlarm() {
	at, needed := l.nextEvent()
	if l.alarm != nil {
		if needed && at.Equal(l.alarmAt) && time.Now().Before(at) {
			return
		}
		l.alarm.Stop()
		l.alarm = nil
	}
	if needed {
		l.alarmAt = at
		l.alarm = time.AfterFunc(time.Until(at), func() { l.update("", func(*Limiter) {}) })
	}
}

func (l *Limiter) nextEvent() (time.Time, bool) {
	switch {
	case !l.queue.anyWaiting():
		return time.Time{}, false
	case l.breaker.circuit == circuitOpen:
		return l.breaker.until, true
	}
	return l.queue.firstLapse()
}

// ticket is what is known of a call when it begins.
type ticket struct {
	seq   uint64
	about string // the phone number; "" for none
	over  bool   // more calls than the limit were in flight
	full  bool   // the limit was in full use
}

// began counts a call of the client. Like ended and paused it accepts a nil limiter.
func (l *Limiter) began(about string) ticket {
	if l == nil {
		return ticket{}
	}
	l = l.lock()
	defer l.mu.Unlock()
	l.seq++
	l.calls++
	limit := l.limit.value()
	return ticket{
		seq:   l.seq,
		about: about,
		over:  l.calls > limit,
		full:  max(l.inUse, l.calls) >= limit,
	}
}

// ended learns from the outcome of a call.
func (l *Limiter) ended(t ticket, err error) {
	if l == nil {
		return
	}
	retryAfter, _ := RetryAfter(err)
	l.update("", func(l *Limiter) {
		l.calls--
		switch outcomeOf(err) {
		case outcomeCanceled, outcomeNotSent:
		case outcomeThrottled:
			l.limit.throttled(t, l.seq)
			l.breaker.throttled(t, l.seq, l.limit.value(), retryAfter, time.Now())
		case outcomeServerError, outcomeNetworkError, outcomeBadAnswer:
			l.breaker.failed(t, l.seq, retryAfter, time.Now())
		default: // Twilio processed the call, whatever it answered
			l.limit.succeeded(t, l.seq)
			l.breaker.succeeded(t)
			l.lastGood = time.Now()
		}
	})
}

// paused says whether calls are paused now.
func (l *Limiter) paused() bool {
	if l == nil {
		return false
	}
	l = l.limiters.peek(l)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.breaker.refresh(time.Now())
	return l.breaker.circuit == circuitOpen
}

// Snapshot returns the state of the moment.
func (l *Limiter) Snapshot() Snapshot {
	l = l.limiters.peek(l)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.breaker.refresh(time.Now())
	s := Snapshot{
		Limit:          l.limit.value(),
		MaxConcurrency: l.limit.maximum,
		InFlight:       l.inUse,
		Calls:          l.calls,
		Paused:         l.breaker.reason,
		Until:          l.breaker.until,
		LastGoodAnswer: l.lastGood,
	}
	s.WaitingForeground, s.WaitingBackground = l.queue.count()
	return s
}

// isShown says whether there is anything to show of the account.
func (l *Limiter) isShown() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.idle()
}
