// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"go/parser"
	"go/token"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

const otherAccount = "AC00000000000000000000000000000002"

func TestAttemptKeepsItsPlaceWhileItIsToldToWait(t *testing.T) {
	d := newDesk(t, 1)
	holder := d.granted("holder", Foreground)
	first, _, _ := d.ask("first", Foreground)
	d.refused("second", Foreground, Busy)
	first.End()
	first.End()
	holder.End()
	d.wantWoken("it was told to wait and ended", "first")
	d.granted("first", Foreground).End()
	d.wantWoken("its turn is over", "second")
}

func TestAttemptThatEndsWithoutAskingWithdraws(t *testing.T) {
	d := newDesk(t, 1)
	holder := d.granted("holder", Foreground)
	for _, key := range []string{"waits", "woken", "next"} {
		d.refused(key, Foreground, Busy)
	}
	d.ls.Begin("waits").End()
	holder.End()
	d.wantWoken("waits stopped asking", "woken")
	d.ls.Begin("woken").End()
	d.wantWoken("woken stopped asking, its permit goes on", "next")
}

func TestAttemptHoldsOnePermit(t *testing.T) {
	d := newDesk(t, 2)
	other := d.ls.For(otherAccount)
	a := d.granted("a", Foreground)
	if ok, _ := d.acquire(a, Foreground); !ok || d.l.Snapshot().InFlight != 1 {
		t.Errorf("asked twice: granted %v, %d permits held; want true, 1", ok, d.l.Snapshot().InFlight)
	}
	if ok, _ := a.Acquire(other, Foreground, func() {}); !ok {
		t.Error("no permit of the other account")
	}
	if here, there := d.l.Snapshot().InFlight, other.Snapshot().InFlight; here != 0 || there != 1 {
		t.Errorf("moved to another account: %d and %d permits held, want 0 and 1", here, there)
	}
	a.End()
	if there := other.Snapshot().InFlight; there != 0 {
		t.Errorf("ended: %d permits held, want none", there)
	}
}

func TestAttemptAcquiresInTheAttemptThatWaited(t *testing.T) {
	d := newDesk(t, 1)
	holder := d.granted("holder", Foreground)
	a, _, _ := d.ask("a", Foreground)
	d.refused("b", Foreground, Busy)
	holder.End()
	d.wantWoken("the permit is free", "a")
	if ok, pause := d.acquire(a, Foreground); !ok {
		t.Fatalf("no permit: %+v", pause)
	}
	a.End()
	d.wantWoken("a has had its permit", "b")
}

func TestAttemptThatEndedIsRefused(t *testing.T) {
	d := newDesk(t, 1)
	a := d.granted("a", Foreground)
	a.End()
	defer func() {
		if recover() == nil {
			t.Error("Acquire went through: its permit would never be returned")
		}
	}()
	_, _ = d.acquire(a, Foreground)
}

func TestOneLimiterForAllSpellingsOfAnAccount(t *testing.T) {
	ls := NewLimiters(nil)
	lower, upper := "ACabcdef00000000000000000000000001", "ACABCDEF00000000000000000000000001"
	l := ls.For(lower)
	if ls.For(upper) != l || ls.For(strings.ToLower(upper)) != l {
		t.Error("another limiter for another spelling")
	}
	if ls.For(otherAccount) == l {
		t.Error("one limiter for two accounts")
	}
	l.SetMaxConcurrency("test", 3)
	ls.Forget(upper)
	if got := ls.For(upper).Snapshot().MaxConcurrency; got != 3 {
		t.Errorf("maximum %d, want 3", got)
	}
}

func TestLimiterGoesWithItsLastUse(t *testing.T) {
	cases := map[string]func(*Limiters, *Limiter){
		"forgotten at rest": func(ls *Limiters, _ *Limiter) { ls.Forget(testAccount) },
		"forgotten with a call in flight": func(ls *Limiters, l *Limiter) {
			call := l.began(testNumber)
			ls.Forget(testAccount)
			wantAccounts(t, ls, "a call is in flight", 1)
			l.ended(call, nil)
		},
		"its owners go": func(_ *Limiters, l *Limiter) {
			l.SetMaxConcurrency("a", 1)
			l.SetMaxConcurrency("b", 1)
			l.RemoveMaxConcurrency("a")
			l.RemoveMaxConcurrency("b")
		},
		"its owner goes while a key waits": func(ls *Limiters, l *Limiter) {
			l.SetMaxConcurrency("a", 1)
			holder, waiter := ls.Begin("holder"), ls.Begin("waiter")
			holder.Acquire(l, Foreground, func() {})
			waiter.Acquire(l, Foreground, func() {})
			l.RemoveMaxConcurrency("a")
			holder.End()
			wantAccounts(t, ls, "a key waits", 1)
			ls.Cancel("waiter")
		},
	}
	for name, use := range cases {
		t.Run(name, func(t *testing.T) {
			ls := NewLimiters(nil)
			use(ls, ls.For(testAccount))
			wantAccounts(t, ls, name, 0)
		})
	}
}

func wantAccounts(t *testing.T, ls *Limiters, why string, want int) {
	t.Helper()
	if got := len(ls.all()); got != want {
		t.Errorf("%s: %d limiters, want %d", why, got, want)
	}
}

// A client may outlive the limiter that it was made with. It must then share the
// limiter of the account's next clients, not bring a second one.
func TestDroppedLimiterLeadsToItsSuccessor(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	m := NewMetrics(registry)
	ls := NewLimiters(m)
	stale := ls.For(testAccount)
	ls.Forget(testAccount)
	call := stale.began(testNumber)
	wantAccounts(t, ls, "a call of a client that is still there", 1)
	m.exchanged(testAccount, OpVerify, "", nil, time.Second)
	stale.ended(call, nil)
	wantAccounts(t, ls, "it has ended", 0)
	if diff := cmp.Diff(map[string]float64{}, series(t, registry)); diff != "" {
		t.Errorf("series (-want +got):\n%s", diff)
	}

	successor := ls.For(testAccount)
	successor.SetMaxConcurrency("test", 1)
	holder := ls.Begin("holder")
	defer holder.End()
	if ok, _ := holder.Acquire(stale, Foreground, func() {}); !ok {
		t.Fatal("no permit")
	}
	late := ls.Begin("late")
	defer late.End()
	if ok, _ := late.Acquire(successor, Foreground, func() {}); ok {
		t.Error("two permits of an account with a maximum of one")
	}
	if got, want := stale.Snapshot(), successor.Snapshot(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestLastGoodAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, 4)
		d.failWith(2, errOutage)
		if got := d.l.Snapshot().LastGoodAnswer; !got.IsZero() {
			t.Errorf("%v although there was none", got)
		}
		d.failWith(1, nil)
		good := time.Now()
		time.Sleep(time.Second)
		d.failWith(1, errOutage)
		d.failWith(1, errThrottle)
		if got := d.l.Snapshot().LastGoodAnswer; !got.Equal(good) {
			t.Errorf("%v, want %v", got, good)
		}
	})
}

// The limiter must not know how calls are made.
func TestLimiterKnowsNoHTTP(t *testing.T) {
	for _, name := range []string{"limiters.go", "limiter.go", "queue.go", "limit.go", "breaker.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, imported := range file.Imports {
			if path := strings.Trim(imported.Path.Value, `"`); strings.HasPrefix(path, "net") || strings.Contains(path, ".") {
				t.Errorf("%s imports %s", name, path)
			}
		}
	}
}

// A watch may cancel a key at any moment of its attempt. Whatever the order, nothing
// is remembered of a key that was cancelled and has stopped asking.
func TestCancelDuringAnAttempt(t *testing.T) {
	d := newDesk(t, 1)
	var all sync.WaitGroup
	for i := range 8 {
		key := itoa(i)
		all.Go(func() {
			for range 500 {
				a := d.ls.Begin(key)
				_, _ = d.acquire(a, Background)
				a.End()
			}
			d.ls.Cancel(key)
		})
		all.Go(func() {
			for range 500 {
				d.ls.Cancel(key)
			}
		})
	}
	all.Wait()
	for i := range 8 {
		d.ls.Cancel(itoa(i))
	}
	if len(d.ls.waitingAt) != 0 || len(d.l.queue.byKey) != 0 {
		t.Errorf("%d and %d keys are remembered for nothing", len(d.ls.waitingAt), len(d.l.queue.byKey))
	}
	if diff := cmp.Diff(Snapshot{Limit: 1, MaxConcurrency: 1}, d.l.Snapshot()); diff != "" {
		t.Errorf("state at rest (-want +got):\n%s", diff)
	}
}
