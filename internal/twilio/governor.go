// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"container/list"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultCeiling is the number of turns of an account for which nobody set a ceiling.
const DefaultCeiling = 8

const (
	// backgroundShare: while any Background asker waits, one in so many grants is its.
	backgroundShare = 8
	// promiseLapse is how long a turn is kept for a woken asker while others wait.
	promiseLapse = time.Minute
)

// Priority orders those who wait for a turn.
type Priority int

// Background work yields to Foreground work, and is never starved by it.
const (
	Background Priority = iota
	Foreground
)

// Reason says why a turn was refused.
type Reason string

// The reasons of a Pause.
const (
	Busy        Reason = "Busy"        // all turns are taken
	Throttled   Reason = "Throttled"   // Twilio answers 429 and is left alone for a while
	Unavailable Reason = "Unavailable" // Twilio cannot be reached, or answers 5xx or nonsense
)

// Pause is the answer to an asker that gets no turn now and will be woken.
type Pause struct {
	Reason Reason
	// Until is when the pause ends; zero when that is unknown, as always with Busy.
	// A turn may take longer than that.
	Until time.Time
}

// Snapshot is the state of a governor at a moment.
type Snapshot struct {
	Limit    int // turns at a time now, apart from a pause
	Ceiling  int
	InFlight int // turns held
	Calls    int // HTTP requests in flight

	WaitingForeground, WaitingBackground int

	// Paused is Throttled or Unavailable while Twilio is left alone, and after that
	// until a call succeeded; otherwise "".
	Paused Reason
	Until  time.Time
}

// Governors holds the governor of each account SID. It is safe for concurrent use.
type Governors struct {
	mu        sync.Mutex
	byAccount map[string]*Governor
	waitingAt map[string]*Governor // by key
}

// NewGovernors returns an empty set whose state m shows; m may be nil.
func NewGovernors(m *Metrics) *Governors {
	gs := &Governors{byAccount: map[string]*Governor{}, waitingAt: map[string]*Governor{}}
	m.show(gs)
	return gs
}

// For returns the account's governor, the same one at every call.
func (gs *Governors) For(accountSID string) *Governor {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g, ok := gs.byAccount[accountSID]
	if !ok {
		g = &Governor{
			governors: gs,
			account:   accountSID,
			ceilings:  map[string]int{},
			waiters:   map[string]*waiter{},

			transports: map[*http.Transport]*http.Transport{},

			limit: limit{ceiling: DefaultCeiling},
		}
		gs.byAccount[accountSID] = g
	}
	return g
}

// Forget says that key wants no turn any more, at whichever account it waits. If
// it had been woken, the next waiter is woken in its place.
func (gs *Governors) Forget(key string) {
	gs.forgetElsewhere(key, nil)
}

// forgetElsewhere makes sure that key waits nowhere but at g.
func (gs *Governors) forgetElsewhere(key string, g *Governor) {
	gs.mu.Lock()
	at := gs.waitingAt[key]
	if at != g {
		delete(gs.waitingAt, key)
	}
	gs.mu.Unlock()
	if at != nil && at != g {
		at.update(func() { at.remove(key) })
	}
}

// note remembers where key waits; nil for nowhere.
func (gs *Governors) note(key string, g *Governor) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if g == nil {
		delete(gs.waitingAt, key)
		return
	}
	gs.waitingAt[key] = g
}

func (gs *Governors) all() []*Governor {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	all := make([]*Governor, 0, len(gs.byAccount))
	for _, g := range gs.byAccount {
		all = append(all, g)
	}
	return all
}

// Governor hands out the turns of one account SID. A turn is the right to have one
// call to Twilio in flight at a time: take one, make the calls of a pass one after
// the other, give it back.
//
// Nobody blocks. An asker that gets no turn is remembered by its key and woken when
// there is one, Foreground first and in order of asking within a priority; at least
// one grant in eight is Background's while any waits. What an asker owes for that:
//
//   - For one key, Admit and Forget are called one at a time.
//   - A woken key answers by Admit, which gives it the turn kept for it, or by
//     Governors.Forget.
//   - A pass that ends in any other way than by a refusal of Admit calls
//     Governors.Forget, so that no turn is kept for a key that has stopped asking.
//
// Asking again while waiting keeps the place. A turn kept for a woken key that does
// neither is given to the next waiter after a minute.
type Governor struct {
	governors *Governors
	account   string

	mu       sync.Mutex
	ceilings map[string]int // by owner
	limit    limit
	breaker  breaker

	seq   uint64 // calls begun
	calls int    // calls in flight
	inUse int    // turns held

	waiters map[string]*waiter
	waiting [Foreground + 1]list.List // those not woken, of each priority
	woken   list.List                 // those with a turn kept for them, in order of waking
	streak  int                       // grants to Foreground since one to Background
	alarm   *time.Timer               // only while somebody waits for a time to come
	alarmAt time.Time

	transports map[*http.Transport]*http.Transport // the account's own, by what they are copies of
}

// waiter is an asker without a turn, in one of the governor's lists.
type waiter struct {
	key      string
	priority Priority
	wake     func()
	in       *list.List
	place    *list.Element
	wokenAt  time.Time
	lapsed   bool // it did not answer in time, and may take a turn that nobody uses
}

// SetCeiling sets owner's ceiling, at least 1; the smallest of all owners' rules.
// Several TwilioAccounts may speak for one account SID.
func (g *Governor) SetCeiling(owner string, n int) {
	g.update(func() {
		g.ceilings[owner] = max(n, 1)
		g.limit.ceiling = g.ceiling()
	})
}

// RemoveCeiling withdraws owner's ceiling.
func (g *Governor) RemoveCeiling(owner string) {
	g.update(func() {
		delete(g.ceilings, owner)
		g.limit.ceiling = g.ceiling()
	})
}

func (g *Governor) ceiling() int {
	if len(g.ceilings) == 0 {
		return DefaultCeiling
	}
	smallest := 0
	for _, n := range g.ceilings {
		if smallest == 0 || n < smallest {
			smallest = n
		}
	}
	return smallest
}

// Admit asks for a turn for key. A nil turn means not now, and Pause says why: wake
// is then called once, from any goroutine, when the turn is there. The wake of the
// last Admit counts, and so does the higher priority.
func (g *Governor) Admit(key string, p Priority, wake func()) (*Turn, Pause) {
	p = min(max(p, Background), Foreground)
	g.governors.forgetElsewhere(key, g)
	var granted bool
	var pause Pause
	g.updateBut(key, func() {
		if granted = g.admit(key, p, wake); !granted {
			pause = g.pause()
		}
	})
	if !granted {
		g.governors.note(key, g)
		return nil, pause
	}
	g.governors.note(key, nil)
	return &Turn{governor: g}, Pause{}
}

// admit runs after a dispatch: where turns are free, nobody waits for them.
func (g *Governor) admit(key string, p Priority, wake func()) bool {
	w, waits := g.waiters[key]
	switch {
	case !waits && g.free() > 0,
		waits && (w.in == &g.woken || w.lapsed) && g.inUse < g.capacity():
		g.remove(key)
		g.inUse++
		return true
	case !waits:
		w = &waiter{key: key, priority: p, wake: wake}
		g.waiters[key] = w
		g.place(w, g.waiting[p].PushBack)
		return false
	}
	w.wake = wake
	switch {
	case w.in == &g.woken: // the limit fell meanwhile
		w.priority = max(w.priority, p)
		g.place(w, g.waiting[w.priority].PushFront)
	case p > w.priority:
		w.priority = p
		g.place(w, g.waiting[p].PushBack)
	}
	return false
}

// place moves w to where push puts it.
func (g *Governor) place(w *waiter, push func(any) *list.Element) {
	if w.in != nil {
		w.in.Remove(w.place)
	}
	w.place = push(w)
	w.in = &g.waiting[w.priority]
}

func (g *Governor) remove(key string) {
	if w, ok := g.waiters[key]; ok {
		w.in.Remove(w.place)
		delete(g.waiters, key)
	}
}

// capacity is the number of turns that may be held now.
func (g *Governor) capacity() int {
	switch g.breaker.circuit {
	case circuitOpen:
		return 0
	case circuitProbing:
		return 1
	}
	return g.limit.value()
}

// free is the number of turns that are neither held nor kept for somebody woken.
func (g *Governor) free() int {
	return g.capacity() - g.inUse - g.woken.Len()
}

func (g *Governor) pause() Pause {
	if g.breaker.circuit == circuitClosed {
		return Pause{Reason: Busy}
	}
	return Pause{Reason: g.breaker.reason, Until: g.breaker.until}
}

// update changes the state and wakes whom the change lets in.
func (g *Governor) update(change func()) { g.updateBut("", change) }

// updateBut is update by the asker itself, which needs no waking. Turns that have
// become free by the passing of time go to those who wait before change is made.
func (g *Governor) updateBut(asker string, change func()) {
	g.mu.Lock()
	wakes := g.dispatch(asker)
	change()
	wakes = append(wakes, g.dispatch(asker)...)
	g.setAlarm()
	g.mu.Unlock()
	for _, wake := range wakes {
		wake()
	}
}

// dispatch keeps each free turn for a waiter and returns what wakes them, but for asker.
func (g *Governor) dispatch(asker string) (wakes []func()) {
	now := time.Now()
	g.breaker.refresh(now)
	g.lapse(now)
	for g.free() > 0 {
		w := g.next()
		if w == nil {
			break
		}
		w.in.Remove(w.place)
		w.in, w.place, w.wokenAt = &g.woken, g.woken.PushBack(w), now
		if w.key != asker {
			wakes = append(wakes, w.wake)
		}
	}
	return wakes
}

// next is the waiter whose turn it is, nil if none waits.
func (g *Governor) next() *waiter {
	foreground, background := g.waiting[Foreground].Front(), g.waiting[Background].Front()
	switch {
	case background == nil && foreground == nil:
		return nil
	case background == nil:
		g.streak = 0
		return foreground.Value.(*waiter)
	case foreground == nil, g.streak >= backgroundShare-1:
		g.streak = 0
		return background.Value.(*waiter)
	}
	g.streak++
	return foreground.Value.(*waiter)
}

// lapse takes back the turns of those who were woken and have not answered for
// long, if anybody else waits for one.
func (g *Governor) lapse(now time.Time) {
	if !g.anyWaiting() {
		return
	}
	for first := g.woken.Front(); first != nil; first = g.woken.Front() {
		w := first.Value.(*waiter)
		if now.Sub(w.wokenAt) < promiseLapse {
			return
		}
		w.lapsed = true
		g.place(w, g.waiting[w.priority].PushBack)
	}
}

func (g *Governor) anyWaiting() bool {
	return g.waiting[Foreground].Len()+g.waiting[Background].Len() > 0
}

// setAlarm has dispatch run when time alone will let somebody in.
func (g *Governor) setAlarm() {
	at, needed := g.nextEvent()
	if g.alarm != nil {
		if needed && at.Equal(g.alarmAt) && time.Now().Before(at) {
			return
		}
		g.alarm.Stop()
		g.alarm = nil
	}
	if needed {
		g.alarmAt = at
		g.alarm = time.AfterFunc(time.Until(at), func() { g.update(func() {}) })
	}
}

func (g *Governor) nextEvent() (time.Time, bool) {
	switch {
	case !g.anyWaiting():
		return time.Time{}, false
	case g.breaker.circuit == circuitOpen:
		return g.breaker.until, true
	case g.woken.Len() > 0:
		return g.woken.Front().Value.(*waiter).wokenAt.Add(promiseLapse), true
	}
	return time.Time{}, false
}

// transport is the account's own copy of a shared transport. A shared one may dial
// for a caller that then gets another's connection, and so have more open than there
// are callers; only a bound of the account's own keeps them within its ceiling.
func (g *Governor) transport(shared http.RoundTripper) http.RoundTripper {
	model, ok := shared.(*http.Transport)
	if g == nil || !ok {
		return shared
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	own := g.transports[model]
	if own != nil && own.MaxConnsPerHost == g.limit.ceiling {
		return own
	}
	if own != nil {
		own.CloseIdleConnections() // those in use close once they are idle
	}
	own = model.Clone()
	own.MaxConnsPerHost, own.MaxIdleConnsPerHost = g.limit.ceiling, g.limit.ceiling
	g.transports[model] = own
	return own
}

// ticket is what is known of a call when it begins.
type ticket struct {
	seq   uint64
	about string // the phone number; "" for none
	over  bool   // more calls than the limit were in flight
	full  bool   // the limit was in full use
}

// began counts a call of the client. Like ended and paused it does without a governor.
func (g *Governor) began(about string) ticket {
	if g == nil {
		return ticket{}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seq++
	g.calls++
	limit := g.limit.value()
	return ticket{
		seq:   g.seq,
		about: about,
		over:  g.calls > limit,
		full:  max(g.inUse, g.calls) >= limit,
	}
}

// ended learns from the outcome of a call.
func (g *Governor) ended(t ticket, err error) {
	if g == nil {
		return
	}
	retryAfter, _ := RetryAfter(err)
	g.update(func() {
		g.calls--
		switch outcomeOf(err) {
		case outcomeCanceled, outcomeNotSent:
		case outcomeThrottled:
			g.limit.throttled(t, g.seq)
			g.breaker.throttled(t, g.seq, g.limit.value(), retryAfter, time.Now())
		case outcomeServerError, outcomeNetworkError, outcomeBadAnswer:
			g.breaker.failed(t, g.seq, retryAfter, time.Now())
		default: // an answer of Twilio's, whatever it says
			g.limit.succeeded(t, g.seq)
			g.breaker.succeeded(t)
		}
	})
}

// paused says whether Twilio is to be left alone now.
func (g *Governor) paused() bool {
	if g == nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.breaker.refresh(time.Now())
	return g.breaker.circuit == circuitOpen
}

// Snapshot returns the state of the moment.
func (g *Governor) Snapshot() Snapshot {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.breaker.refresh(time.Now())
	s := Snapshot{
		Limit:             g.limit.value(),
		Ceiling:           g.limit.ceiling,
		InFlight:          g.inUse,
		Calls:             g.calls,
		WaitingForeground: g.waiting[Foreground].Len(),
		WaitingBackground: g.waiting[Background].Len(),
		Paused:            g.breaker.reason,
		Until:             g.breaker.until,
	}
	for e := g.woken.Front(); e != nil; e = e.Next() {
		if e.Value.(*waiter).priority == Foreground {
			s.WaitingForeground++
		} else {
			s.WaitingBackground++
		}
	}
	return s
}

// inUseOrOwned says whether there is anything to show of the account.
func (g *Governor) inUseOrOwned() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.ceilings) > 0 || g.inUse > 0 || g.calls > 0 || len(g.waiters) > 0
}

// Turn is the right to have one call to Twilio in flight at a time.
type Turn struct {
	governor *Governor
	done     atomic.Bool
}

// Done gives the turn back. Calls after the first, and on a nil turn, do nothing.
func (t *Turn) Done() {
	if t == nil || t.done.Swap(true) {
		return
	}
	t.governor.update(func() { t.governor.inUse-- })
}
