// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// desk asks a limiter for permits and remembers who was woken, in order.
type desk struct {
	t     *testing.T
	ls    *Limiters
	l     *Limiter
	mu    sync.Mutex
	woken []string
}

func newDesk(t *testing.T, maximum int) *desk {
	t.Helper()
	ls := NewLimiters(nil)
	l := ls.For(testAccount)
	l.SetMaxConcurrency("test", maximum)
	return &desk{t: t, ls: ls, l: l}
}

// acquire asks for a permit in a, and notes the wake.
func (d *desk) acquire(a *Attempt, p Priority) (bool, Pause) {
	return a.Acquire(d.l, p, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.woken = append(d.woken, a.key)
	})
}

// ask opens an attempt of key and asks for a permit.
func (d *desk) ask(key string, p Priority) (*Attempt, bool, Pause) {
	a := d.ls.Begin(key)
	ok, pause := d.acquire(a, p)
	return a, ok, pause
}

// granted fails the test unless key gets its permit at once. The attempt stays open.
func (d *desk) granted(key string, p Priority) *Attempt {
	d.t.Helper()
	a, ok, pause := d.ask(key, p)
	if !ok {
		d.t.Fatalf("%s: no permit: %+v", key, pause)
	}
	return a
}

// refused fails the test unless an attempt of key is told to wait, for that reason.
func (d *desk) refused(key string, p Priority, want Reason) {
	d.t.Helper()
	a, ok, pause := d.ask(key, p)
	if ok || pause.Reason != want {
		d.t.Fatalf("%s: got permit %v, reason %q; want none, %q", key, ok, pause.Reason, want)
	}
	a.End()
}

// takeWoken returns who was woken since the last time.
func (d *desk) takeWoken() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	woken := d.woken
	d.woken = nil
	return woken
}

func (d *desk) wantWoken(why string, want ...string) {
	d.t.Helper()
	if got := d.takeWoken(); !slices.Equal(got, want) {
		d.t.Errorf("%s: woken %v, want %v", why, got, want)
	}
}

func TestLimiterOrder(t *testing.T) {
	d := newDesk(t, 1)
	permit := d.granted("holder", Foreground)
	d.refused("b1", Background, Busy)
	d.refused("b2", Background, Busy)
	d.refused("f1", Foreground, Busy)
	d.refused("f2", Foreground, Busy)
	d.refused("b1", Background, Busy) // asking again keeps the place
	d.refused("f1", Foreground, Busy)
	d.refused("b2", Foreground, Busy) // an upgrade goes behind the others of its class
	d.wantWoken("nothing is free")
	for _, next := range []string{"f1", "f2", "b2", "b1"} {
		permit.End()
		d.wantWoken("a permit was returned", next)
		permit = d.granted(next, Background)
	}
	permit.End()
	d.wantWoken("nobody waits")
}

func TestLimiterHoldsAPermitForTheWoken(t *testing.T) {
	d := newDesk(t, 1)
	permit := d.granted("holder", Background)
	d.refused("waiter", Background, Busy)
	permit.End()
	d.wantWoken("the permit is free", "waiter")
	d.refused("barger", Foreground, Busy)
	permit = d.granted("waiter", Background)
	d.wantWoken("the permit is taken")
	permit.End()
	d.wantWoken("the permit is free again", "barger")
}

func TestLimiterCancel(t *testing.T) {
	cases := map[string]struct {
		cancel []string
		want   []string // woken after the permit was returned and the keys were cancelled
	}{
		"a woken key lets in the next":        {[]string{"w1"}, []string{"w1", "w2"}},
		"a waiting key just goes":             {[]string{"w2"}, []string{"w1"}},
		"both":                                {[]string{"w2", "w1"}, []string{"w1", "w3"}},
		"a key that never asked":              {[]string{"stranger"}, []string{"w1"}},
		"the holder's key means nothing here": {[]string{"holder"}, []string{"w1"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, 1)
			permit := d.granted("holder", Background)
			for _, key := range []string{"w1", "w2", "w3"} {
				d.refused(key, Background, Busy)
			}
			permit.End()
			for _, key := range c.cancel {
				d.ls.Cancel(key)
			}
			d.wantWoken(name, c.want...)
		})
	}
}

func TestLimiterCancelsAtTheOldAccount(t *testing.T) {
	d := newDesk(t, 1)
	other := &desk{t: t, ls: d.ls, l: d.ls.For("AC00000000000000000000000000000002")}
	permit := d.granted("holder", Background)
	d.refused("mover", Background, Busy)
	d.refused("next", Background, Busy)
	other.granted("mover", Background)
	permit.End()
	d.wantWoken("the mover asks elsewhere now", "next")
}

func TestLimiterBackgroundIsNotStarved(t *testing.T) {
	d := newDesk(t, 1)
	permit := d.granted("holder", Foreground)
	for i := range 40 {
		d.refused(fmt.Sprintf("f%02d", i), Foreground, Busy)
		d.refused(fmt.Sprintf("b%02d", i), Background, Busy)
	}
	var order []string
	for range 32 {
		permit.End()
		woken := d.takeWoken()
		if len(woken) != 1 {
			t.Fatalf("woken %v, want one", woken)
		}
		order = append(order, woken[0])
		permit = d.granted(woken[0], Background)
	}
	background := slices.DeleteFunc(slices.Clone(order), func(key string) bool { return key[0] == 'f' })
	if want := []string{"b00", "b01", "b02", "b03"}; !slices.Equal(background, want) {
		t.Errorf("of 32 grants, Background got %v, want %v: %v", background, want, order)
	}
	for i := range order {
		if i%8 == 7 && order[i][0] != 'b' {
			t.Errorf("grants %d to %d all went to Foreground", i-7, i)
		}
	}
}

func TestLimiterEndCountsOnce(t *testing.T) {
	d := newDesk(t, 1)
	permit := d.granted("a", Foreground)
	permit.End()
	second := d.granted("b", Foreground)
	permit.End()
	d.refused("c", Foreground, Busy)
	second.End()
	if diff := cmp.Diff(Snapshot{Limit: 1, MaxConcurrency: 1, WaitingForeground: 1}, d.l.Snapshot()); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}

func TestLimiterOwners(t *testing.T) {
	ls := NewLimiters(nil)
	l := ls.For(testAccount)
	limit := func(why string, want int) {
		t.Helper()
		if s := l.Snapshot(); s.Limit != want || s.MaxConcurrency != want {
			t.Errorf("%s: limit %d, maximum %d; want %d", why, s.Limit, s.MaxConcurrency, want)
		}
	}
	limit("nobody set one", DefaultMaxConcurrency)
	l.SetMaxConcurrency("a", 16)
	limit("one owner", 16)
	l.SetMaxConcurrency("b", 3)
	limit("the smaller of two", 3)
	l.SetMaxConcurrency("b", 0)
	limit("none at all would be for ever", 1)
	l.SetMaxConcurrency("b", 20)
	limit("the smaller of two, changed", 16)
	l.RemoveMaxConcurrency("a")
	limit("the other one", 20)
	l.RemoveMaxConcurrency("b")
	limit("all gone", DefaultMaxConcurrency)
}

func TestLimiterRaisedMaximumWakes(t *testing.T) {
	d := newDesk(t, 1)
	d.granted("holder", Foreground)
	d.refused("a", Foreground, Busy)
	d.refused("b", Foreground, Busy)
	d.refused("c", Foreground, Busy)
	d.l.SetMaxConcurrency("test", 3)
	d.wantWoken("two permits more", "a", "b")
	d.l.SetMaxConcurrency("test", 1)
	d.refused("a", Foreground, Busy) // the limit fell before it could answer
	d.l.SetMaxConcurrency("test", 2)
	d.wantWoken("b is still awake and a permit is promised to it")
	d.l.SetMaxConcurrency("test", 4)
	d.wantWoken("a kept its place", "a", "c")
}

func TestLimiterUnansweredWakeLapses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, 1)
		permit := d.granted("holder", Foreground)
		d.refused("silent", Foreground, Busy)
		d.refused("next", Foreground, Busy)
		permit.End()
		d.wantWoken("the first", "silent")
		time.Sleep(promiseLapse - time.Second)
		d.wantWoken("it has time left")
		time.Sleep(time.Second)
		synctest.Wait()
		d.wantWoken("it was silent for too long", "next")
		d.granted("silent", Foreground).End() // it may use what nobody uses
		d.granted("next", Foreground).End()
		d.wantWoken("nobody waits")
	})
}

// failWith reports calls about alternating numbers to the limiter.
func (d *desk) failWith(n int, err error) {
	for i := range n {
		d.l.ended(d.l.began([]string{testNumber, otherNumber}[i%2]), err)
	}
}

var ignoreLastGood = cmpopts.IgnoreFields(Snapshot{}, "LastGoodAnswer")

var (
	errOutage   = &Error{Operation: OpListAssigned, HTTPStatus: 503, Sent: true}
	errThrottle = &Error{Operation: OpListAssigned, HTTPStatus: 429, Code: 20429, Sent: true}
)

func TestLimiterOutagePauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, 4)
		d.failWith(openAfterOutages-1, errOutage)
		d.granted("still", Foreground).End()
		d.failWith(1, errOutage)
		for _, key := range []string{"a", "b", "c"} {
			d.refused(key, Foreground, Unavailable)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		d.wantWoken("one to probe", "a")
		probe := d.granted("a", Foreground)
		d.refused("d", Foreground, Unavailable)
		d.failWith(1, errOutage)
		probe.End()
		time.Sleep(time.Second)
		synctest.Wait()
		d.wantWoken("the second pause is longer")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		d.wantWoken("one to probe again", "b")
		probe = d.granted("b", Foreground)
		d.failWith(1, nil)
		d.wantWoken("Twilio answers", "c", "d")
		probe.End()
		if got := d.l.Snapshot().Paused; got != "" {
			t.Errorf("paused: %q after a success", got)
		}
	})
}

func TestLimiterPausesGrowToAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, 1)
		d.failWith(openAfterOutages, errOutage)
		for i := range 10 {
			s := d.l.Snapshot()
			pause, base := time.Until(s.Until), min(minPause<<i, maxPause)
			if pause < base*3/4 || pause > min(base*5/4, maxPause) {
				t.Errorf("pause %d is %v, want %v give or take a quarter, at most a minute", i, pause, base)
			}
			time.Sleep(pause)
			d.failWith(1, errOutage)
		}
	})
}

func TestLimiterOneNumbersTroubleIsNoOutage(t *testing.T) {
	d := newDesk(t, 4)
	for range 100 {
		d.l.ended(d.l.began(testNumber), errOutage)
	}
	d.granted("other", Foreground).End()
	d.l.ended(d.l.began(otherNumber), errOutage)
	d.refused("other", Foreground, Unavailable)
}

func TestLimiterOldFailuresDoNotProlongAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, 8)
		old := d.l.began(testNumber)
		d.failWith(openAfterOutages, errOutage)
		time.Sleep(2 * time.Second)
		d.l.ended(old, errOutage)
		d.granted("probe", Foreground).End()
	})
}

func TestLimiterOldSuccessDoesNotEndAPause(t *testing.T) {
	d := newDesk(t, 8)
	old := d.l.began(testNumber)
	d.failWith(openAfterOutages, errOutage)
	d.l.ended(old, nil)
	d.refused("early", Foreground, Unavailable)
	d.failWith(1, nil) // begun by a holder of a permit while the pause lasts
	d.granted("late", Foreground).End()
}

func TestLimiterLearnsNothingFromWhatSaysNothing(t *testing.T) {
	d := newDesk(t, 4)
	canceled := &Error{Operation: OpListAssigned, Sent: true, Err: context.Canceled}
	readOnly := &Error{Operation: OpAssign, Err: ErrReadOnly}
	for range 20 {
		d.failWith(2, canceled)
		d.failWith(2, readOnly)
	}
	d.granted("a", Foreground).End()
	refusals := []int{400, 401, 403, 404, 409, 422}
	for range 20 {
		for _, status := range refusals {
			d.failWith(4, &Error{Operation: OpAssign, HTTPStatus: status, Code: 20000 + status})
		}
	}
	if diff := cmp.Diff(Snapshot{Limit: 4, MaxConcurrency: 4}, d.l.Snapshot(), ignoreLastGood); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}

func TestLimiterRetryAfterIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, 4)
		early, later := d.l.began(testNumber), d.l.began(otherNumber)
		d.l.ended(early, &Error{HTTPStatus: 429, HasRetryAfter: true, RetryAfter: 30 * time.Second})
		until := time.Now().Add(30 * time.Second)
		for _, key := range []string{"a", "b"} {
			a, ok, pause := d.ask(key, Foreground)
			a.End()
			if diff := cmp.Diff(Pause{Reason: Throttled, Until: until}, pause); ok || diff != "" {
				t.Errorf("pause (-want +got):\n%s", diff)
			}
		}
		d.l.ended(later, nil) // it was under way, and its success does not end the pause
		d.failWith(1, nil)
		time.Sleep(30*time.Second - time.Millisecond)
		d.wantWoken("not before the time asked for")
		time.Sleep(time.Millisecond)
		synctest.Wait()
		d.wantWoken("one to probe", "a")
		d.granted("a", Foreground)
		d.failWith(1, nil)
		d.wantWoken("Twilio answers", "b")
	})
}

func TestLimiterRetryAfterIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, 4)
		d.failWith(1, &Error{HTTPStatus: 429, HasRetryAfter: true, RetryAfter: 1000 * time.Hour})
		d.refused("a", Foreground, Throttled)
		time.Sleep(maxRetryAfter)
		synctest.Wait()
		d.wantWoken("after 15 minutes", "a")
		d.granted("a", Foreground).End()
	})
}

func TestLimiterAtRestHasNoTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, 1)
		d.failWith(openAfterOutages, errOutage)
		if d.l.alarm != nil {
			t.Error("a timer although nobody waits")
		}
		d.refused("a", Foreground, Unavailable)
		if d.l.alarm == nil {
			t.Error("no timer although somebody waits for the end of the pause")
		}
		d.ls.Cancel("a")
		if d.l.alarm != nil {
			t.Error("a timer although nobody waits any more")
		}
	})
}

func TestLimitCutsOncePerRoundTrip(t *testing.T) {
	d := newDesk(t, 16)
	calls := make([]ticket, 16)
	for i := range calls {
		calls[i] = d.l.began(testNumber)
	}
	for _, call := range calls {
		d.l.ended(call, errThrottle)
	}
	if got := d.l.Snapshot().Limit; got != 12 {
		t.Errorf("limit %d after one round of 429s, want 12", got)
	}
}

func TestLimitIsNotCutForWhatExceedsIt(t *testing.T) {
	d := newDesk(t, 4)
	for range 4 {
		d.l.began(testNumber)
	}
	d.l.ended(d.l.began(testNumber), errThrottle) // a fifth, as after a cut
	if got := d.l.Snapshot().Limit; got != 4 {
		t.Errorf("limit %d, want 4", got)
	}
}

// TestLimitMemory follows one limit through failed tries and a successful one: the
// run needed doubles with each failure and is forgotten when the level holds.
func TestLimitMemory(t *testing.T) {
	seq := uint64(0)
	call := func() ticket {
		seq++
		return ticket{seq: seq, full: true}
	}
	l := limit{maximum: 8}
	rise := func() (run int) {
		for before := l.value(); l.value() == before && run < 10_000; run++ {
			l.succeeded(call(), seq)
		}
		return run
	}
	l.throttled(call(), seq) // 8 to 6
	var runs []int
	for range 8 {
		runs = append(runs, rise())
		l.throttled(call(), seq)
	}
	runs = append(runs, rise(), rise())
	l.throttled(call(), seq) // 8 to 7
	runs = append(runs, rise())
	for range 80 {
		l.succeeded(call(), seq) // 8 holds
	}
	l.throttled(call(), seq) // 8 to 6
	runs = append(runs, rise(), rise())
	want := []int{60, 120, 240, 480, 960, 1920, 1920, 1920, 1920, 70, 140, 60, 70}
	if diff := cmp.Diff(want, runs); diff != "" {
		t.Errorf("successes for each rise (-want +got):\n%s", diff)
	}
}

func TestLimitIsNotRaisedWithoutNeed(t *testing.T) {
	d := newDesk(t, 16)
	d.failWith(1, errThrottle)
	for range 1000 {
		d.l.ended(d.l.began(testNumber), nil) // one at a time says nothing about thirteen
	}
	if got := d.l.Snapshot().Limit; got != 12 {
		t.Errorf("limit %d, want 12", got)
	}
}

// TestLimiterConcurrently lets many keys compete, give up and change their minds: no
// permit too many, none lost, everybody served. It means most under the race detector.
func TestLimiterConcurrently(t *testing.T) {
	const maximum, keys, attempts = 5, 60, 40
	ls := NewLimiters(nil)
	l := ls.For(testAccount)
	l.SetMaxConcurrency("test", maximum)
	var held, highest atomic.Int64
	use := func() {
		now := held.Add(1)
		defer held.Add(-1)
		for seen := highest.Load(); now > seen && !highest.CompareAndSwap(seen, now); seen = highest.Load() {
		}
		l.ended(l.began(testNumber), nil)
	}
	attempt := func(key string, random *rand.Rand) (served bool) {
		woken := make(chan struct{}, 1)
		a := ls.Begin(key)
		ok, _ := a.Acquire(l, Priority(random.IntN(2)), func() { woken <- struct{}{} })
		if ok {
			use()
		}
		a.End()
		switch {
		case ok:
		case random.IntN(10) == 0:
			ls.Begin(key).End()
		default:
			<-woken
		}
		return ok
	}
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() {
			key, random := itoa(i), rand.New(rand.NewPCG(1, uint64(i)))
			for done := 0; done < attempts; {
				if attempt(key, random) {
					done++
				}
			}
		})
	}
	all.Wait()
	if highest.Load() > maximum {
		t.Errorf("%d permits at a time, the maximum is %d", highest.Load(), maximum)
	}
	if diff := cmp.Diff(Snapshot{Limit: maximum, MaxConcurrency: maximum}, l.Snapshot(), ignoreLastGood); diff != "" {
		t.Errorf("state at rest (-want +got):\n%s", diff)
	}
	if len(ls.waitingAt) != 0 || len(l.queue.byKey) != 0 {
		t.Errorf("%d and %d keys are remembered for nothing", len(ls.waitingAt), len(l.queue.byKey))
	}
}

func TestClientRetriesA429WithinItsPermit(t *testing.T) {
	cases := map[string]struct {
		refusals   int
		retryAfter string
		sent       int
		waited     [2]time.Duration // at least, at most
		throttled  bool
	}{
		"one 429":                    {1, "", 2, [2]time.Duration{100 * time.Millisecond, 200 * time.Millisecond}, false},
		"two 429s":                   {2, "", 3, [2]time.Duration{300 * time.Millisecond, 600 * time.Millisecond}, false},
		"three are given up":         {3, "", 3, [2]time.Duration{300 * time.Millisecond, 600 * time.Millisecond}, true},
		"a short wait is asked for":  {1, "2", 2, [2]time.Duration{2 * time.Second, 2 * time.Second}, false},
		"a long wait is not made":    {1, "3", 1, [2]time.Duration{0, 0}, true},
		"no wait at all is too soon": {1, "0", 2, [2]time.Duration{100 * time.Millisecond, 200 * time.Millisecond}, false},
		"nonsense is as if nothing":  {1, "soon", 2, [2]time.Duration{100 * time.Millisecond, 200 * time.Millisecond}, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sent := 0
				client := newClient(t, "http://127.0.0.1", Options{Transport: transportFunc(func(req *http.Request) (*http.Response, error) {
					if sent++; sent > c.refusals {
						return response(req, 201, assignment(testNumber, testAddOn)), nil
					}
					res := response(req, 429, twilioError(429, 20429, "Too Many Requests"))
					if c.retryAfter != "" {
						res.Header.Set("Retry-After", c.retryAfter)
					}
					return res, nil
				})})
				start := time.Now()
				_, err := client.AssignAddOn(t.Context(), testNumber, testAddOn)
				if sent != c.sent || IsThrottled(err) != c.throttled || (err != nil) != c.throttled {
					t.Errorf("%d requests and %v; want %d, throttled %v", sent, err, c.sent, c.throttled)
				}
				if waited := time.Since(start); waited < c.waited[0] || waited > c.waited[1] {
					t.Errorf("waited %v, want between %v and %v", waited, c.waited[0], c.waited[1])
				}
				if OutcomeUnknown(err) {
					t.Error("a 429 was not processed")
				}
			})
		})
	}
}

func TestClientStopsRetryingWhenItsCallerGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newClient(t, "http://127.0.0.1", Options{Transport: transportFunc(func(req *http.Request) (*http.Response, error) {
			return response(req, 429, ""), nil
		})})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		start := time.Now()
		err := client.Verify(ctx)
		if !IsThrottled(err) || errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 50*time.Millisecond {
			t.Errorf("got %v after %v, want the 429 after 50ms", err, time.Since(start))
		}
	})
}

// transportFunc is a transport in one function.
type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
