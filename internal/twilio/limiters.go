// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import "sync"

// Limiters holds the limiter of each account. There is one per process; it is safe
// for concurrent use.
type Limiters struct {
	metrics *Metrics

	mu        sync.Mutex          // taken before the lock of a limiter
	byAccount map[string]*Limiter // by canonical SID

	waiting   sync.Mutex          // taken after the lock of a limiter
	waitingAt map[string]*Limiter // by key
}

// NewLimiters returns an empty set and registers a collector of its state with m,
// which may be nil.
func NewLimiters(m *Metrics) *Limiters {
	ls := &Limiters{metrics: m, byAccount: map[string]*Limiter{}, waitingAt: map[string]*Limiter{}}
	m.show(ls)
	return ls
}

// For returns the account's limiter. The letter case of the SID does not matter.
func (ls *Limiters) For(accountSID string) *Limiter {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	account := canonicalSID(accountSID)
	l, ok := ls.byAccount[account]
	if !ok {
		l = newLimiter(ls, account)
		ls.byAccount[account] = l
	}
	return l
}

// Begin opens one reconcile attempt of key. The caller must End it. A key has one
// attempt at a time.
func (ls *Limiters) Begin(key string) *Attempt {
	return &Attempt{limiters: ls, key: key}
}

// Cancel says that key wants no permit any more, whichever account it waits for. A
// permit that was promised to it goes to the next in the queue.
func (ls *Limiters) Cancel(key string) { ls.cancelExcept(key, nil) }

// cancelExcept withdraws key from every limiter but keep.
func (ls *Limiters) cancelExcept(key string, keep *Limiter) {
	ls.waiting.Lock()
	at := ls.waitingAt[key]
	ls.waiting.Unlock()
	if at != nil && at != keep {
		at.update("", func(l *Limiter) { l.forgetKey(key) })
	}
}

// setWaiting records that key waits at l. Like unsetWaiting it runs under l's lock, so
// that the record and l's queue agree.
func (ls *Limiters) setWaiting(key string, l *Limiter) {
	ls.waiting.Lock()
	defer ls.waiting.Unlock()
	ls.waitingAt[key] = l
}

func (ls *Limiters) unsetWaiting(key string, l *Limiter) {
	ls.waiting.Lock()
	defer ls.waiting.Unlock()
	if ls.waitingAt[key] == l {
		delete(ls.waitingAt, key)
	}
}

// Forget drops all memory of an account that is gone: its limiter and its metric
// series. It does nothing while an owner of the account remains. While calls,
// permits or waiting keys remain, it takes effect when the last of them ends.
func (ls *Limiters) Forget(accountSID string) {
	account := canonicalSID(accountSID)
	ls.mu.Lock()
	l, ok := ls.byAccount[account]
	ls.mu.Unlock()
	if !ok {
		ls.metrics.ForgetAccount(account)
		return
	}
	l.update("", func(l *Limiter) { l.retired = len(l.owners) == 0 })
}

// current returns the limiter in use for l's account: l itself, unless l was dropped
// and another one has taken its place. A dropped limiter that is used after all
// comes back, and goes again when that use ends.
func (ls *Limiters) current(l *Limiter) *Limiter {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if current, ok := ls.byAccount[l.account]; ok {
		return current
	}
	l.mu.Lock()
	l.dropped = false
	l.mu.Unlock()
	ls.byAccount[l.account] = l
	return l
}

// peek is current for a look: a limiter that was dropped stays so.
func (ls *Limiters) peek(l *Limiter) *Limiter {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if current, ok := ls.byAccount[l.account]; ok {
		return current
	}
	return l
}

// drop removes l if it is retired and still idle.
func (ls *Limiters) drop(l *Limiter) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dropped || !l.retired || !l.idle() {
		return
	}
	l.dropped = true
	l.reset()
	delete(ls.byAccount, l.account)
	ls.metrics.ForgetAccount(l.account)
}

func (ls *Limiters) all() []*Limiter {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	all := make([]*Limiter, 0, len(ls.byAccount))
	for _, l := range ls.byAccount {
		all = append(all, l)
	}
	return all
}

// Attempt is one reconcile attempt of a key. It holds at most one permit. It is not
// safe for concurrent use.
type Attempt struct {
	limiters *Limiters
	key      string

	holds  *Limiter // that granted the permit; nil without one
	queued bool     // the last Acquire said to wait
	ended  bool
}

// Acquire asks lim for a permit: the right to have one call to Twilio in flight at a
// time until End. It does not block. Without a permit it returns the reason, keeps a
// place in the queue for the key, and calls wake once, from any goroutine, when a
// permit is held ready for the key; the next attempt then Acquires it. wake must not
// block. Asking again keeps the place, raises the priority if p is higher, and
// replaces wake.
//
// A permit already held for lim is kept; one held for another limiter is returned
// first. Acquire on an attempt that has ended panics.
func (a *Attempt) Acquire(lim *Limiter, p Priority, wake func()) (ok bool, pause Pause) {
	if a.ended {
		panic("twilio: Acquire on an attempt that has ended")
	}
	if a.holds != nil && a.holds.account == lim.account {
		return true, Pause{}
	}
	a.giveBack()
	l, ok, pause := lim.acquire(a.key, p, wake)
	if ok {
		a.holds = l
	}
	a.queued = !ok
	return ok, pause
}

// End closes the attempt. It returns the permit if the attempt holds one. If the last
// Acquire said to wait, the key keeps its place in the queue. Otherwise the key has
// stopped asking: it loses its place, and a permit promised to it goes to the next.
// Calls after the first do nothing.
func (a *Attempt) End() {
	if a.ended {
		return
	}
	a.ended = true
	switch {
	case a.holds != nil:
		a.giveBack()
	case !a.queued:
		a.limiters.Cancel(a.key)
	}
}

func (a *Attempt) giveBack() {
	if a.holds == nil {
		return
	}
	a.holds.update("", func(l *Limiter) { l.inUse-- })
	a.holds = nil
}
