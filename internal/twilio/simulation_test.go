// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// limited is a Twilio that takes so many calls at a time and answers the others 429,
// in the time of a synctest bubble. It is a transport: the client above it is the real one.
type limited struct {
	latency time.Duration
	// refusal is how long a 429 takes.
	refusal time.Duration

	mu       sync.Mutex
	limit    int
	inFlight int
	highest  int
	start    time.Time
	served   []time.Duration // since start
	refused  []time.Duration
}

func (l *limited) RoundTrip(req *http.Request) (*http.Response, error) {
	taken := l.enter()
	if !taken {
		time.Sleep(l.refusal)
		return response(req, http.StatusTooManyRequests, twilioError(429, 20429, "Too Many Requests")), nil
	}
	select {
	case <-time.After(l.latency):
	case <-req.Context().Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight--
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	l.served = append(l.served, time.Since(l.start))
	return response(req, http.StatusOK, page("")), nil
}

func (l *limited) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inFlight >= l.limit {
		l.refused = append(l.refused, time.Since(l.start))
		return false
	}
	l.inFlight++
	l.highest = max(l.highest, l.inFlight)
	return true
}

func (l *limited) setLimit(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit = n
}

// between counts the calls of an interval.
func (l *limited) between(from, to time.Duration) (served, refused int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	count := func(at []time.Duration) (n int) {
		for _, t := range at {
			if t >= from && t < to {
				n++
			}
		}
		return n
	}
	return count(l.served), count(l.refused)
}

func response(req *http.Request, status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Request: req, Body: io.NopCloser(strings.NewReader(body)),
	}
}

// fleet is a number of objects that all want passes of so many calls, again and
// again, and go about it as a controller does.
type fleet struct {
	client   *Client
	limiters *Limiters
	limiter  *Limiter
	objects  int
	calls    int
	priority Priority
	passes   int // at most, each; 0: until the context ends
}

// run returns when the context has ended or all passes are done.
func (f fleet) run(ctx context.Context) {
	var all sync.WaitGroup
	for i := range f.objects {
		all.Go(func() { f.object(ctx, f.limiter.account+"/"+strconv.Itoa(int(f.priority))+"/"+strconv.Itoa(i)) })
	}
	all.Wait()
}

func (f fleet) object(ctx context.Context, key string) {
	defer f.limiters.Cancel(key)
	wake := make(chan struct{}, 1)
	for done := 0; (f.passes == 0 || done < f.passes) && ctx.Err() == nil; {
		attempt := f.limiters.Begin(key)
		admitted, _ := attempt.Acquire(f.limiter, f.priority, func() { wake <- struct{}{} })
		if admitted && f.pass(ctx) {
			done++
		}
		attempt.End()
		if admitted {
			continue
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return
		}
	}
}

func (f fleet) pass(ctx context.Context) bool {
	for range f.calls {
		if _, err := f.client.ListAssignedAddOns(ctx, testNumber); err != nil {
			return false
		}
	}
	return true
}

// simulate sets up an account with a Twilio of its own.
func simulate(t *testing.T, ls *Limiters, account string, maximum int, l *limited) fleet {
	t.Helper()
	l.start = time.Now()
	limiter := ls.For(account)
	limiter.SetMaxConcurrency("test", maximum)
	client := newClient(t, "http://127.0.0.1", Options{Limiter: limiter, Transport: l})
	return fleet{client: client, limiters: ls, limiter: limiter, priority: Foreground}
}

// TestSimulatedStorm: the limit settles on what Twilio takes, whatever the maximum
// and however fast Twilio refuses. It counts; the bubble's clock makes it exact.
func TestSimulatedStorm(t *testing.T) {
	for _, taken := range []int{1, 4, 7} {
		for _, maximum := range []int{8, 16, 64} {
			for _, refusal := range []time.Duration{0, 100 * time.Millisecond} {
				for _, calls := range []int{1, 5} {
					name := fmt.Sprintf("%d taken, maximum %d, refused in %v, %d calls a pass", taken, maximum, refusal, calls)
					t.Run(name, func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							l := &limited{latency: 100 * time.Millisecond, refusal: refusal, limit: taken}
							f := simulate(t, NewLimiters(nil), testAccount, maximum, l)
							f.objects, f.calls = 50, calls
							runFor(t, f, 40*time.Second)
							checkPace(t, l, 10*time.Second, 40*time.Second, min(taken, maximum))
						})
					})
				}
			}
		}
	}
}

// runFor runs the fleets for so long.
func runFor(t *testing.T, f fleet, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	f.run(ctx)
}

// checkPace wants at most 5 % of the calls of an interval answered 429, and at least
// 0.9 of what so many calls at a time come to.
func checkPace(t *testing.T, l *limited, from, to time.Duration, atATime int) {
	t.Helper()
	served, refused := l.between(from, to)
	ideal := float64(atATime) * float64(to-from) / float64(l.latency)
	if share := float64(refused) / float64(served+refused); share > 0.05 {
		t.Errorf("%.1f %% of %d calls were answered 429, want at most 5 %%", 100*share, served+refused)
	}
	if ratio := float64(served) / ideal; ratio < 0.9 {
		t.Errorf("%d calls served, %.2f of the ideal; want at least 0.9", served, ratio)
	}
}

// TestSimulatedChangeOfLimit: what was learned is forgotten as it stops being true.
func TestSimulatedChangeOfLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &limited{latency: 100 * time.Millisecond, limit: 4}
		f := simulate(t, NewLimiters(nil), testAccount, 16, l)
		f.objects, f.calls = 100, 3
		time.AfterFunc(60*time.Second, func() { l.setLimit(12) })
		time.AfterFunc(180*time.Second, func() { l.setLimit(2) })
		time.AfterFunc(240*time.Second, func() { l.setLimit(100) })
		runFor(t, f, 400*time.Second)
		checkPace(t, l, 10*time.Second, 60*time.Second, 4)
		checkPace(t, l, 120*time.Second, 180*time.Second, 12)
		checkPace(t, l, 190*time.Second, 240*time.Second, 2)
		checkPace(t, l, 340*time.Second, 400*time.Second, 16)
		if served, refused := l.between(340*time.Second, 400*time.Second); refused != 0 {
			t.Errorf("%d of %d calls refused where Twilio takes more than the maximum", refused, served)
		}
	})
}

// TestSimulatedHopelessAccount: an account that answers 429 to everything is left
// nearly alone, holds up nobody else, and recovers by itself.
func TestSimulatedHopelessAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ls := NewLimiters(nil)
		hopeless := &limited{latency: 100 * time.Millisecond}
		fine := &limited{latency: 100 * time.Millisecond, limit: 8}
		a, b := simulate(t, ls, testAccount, 8, hopeless), simulate(t, ls, otherAccount, 8, fine)
		a.objects, a.calls = 1000, 3
		b.objects, b.calls = 8, 3
		var both sync.WaitGroup
		both.Go(func() { runFor(t, a, 13*time.Minute) })
		both.Go(func() { runFor(t, b, 60*time.Second) })
		time.AfterFunc(10*time.Minute, func() { hopeless.setLimit(8) })
		both.Wait()

		checkPace(t, fine, 0, 60*time.Second, 8)
		if _, refused := hopeless.between(time.Second, 10*time.Minute); refused > 30 {
			t.Errorf("%d calls in ten minutes to an account that answers nothing but 429", refused)
		}
		checkPace(t, hopeless, 12*time.Minute, 13*time.Minute, 8)
	})
}

// TestSimulatedEditAmongResyncs: a person's edit waits for a free permit, not for the
// resyncs in front of it, and the resyncs still get their share.
func TestSimulatedEditAmongResyncs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ls := NewLimiters(nil)
		l := &limited{latency: 100 * time.Millisecond, limit: 8}
		resyncs := simulate(t, ls, testAccount, 8, l)
		resyncs.objects, resyncs.calls, resyncs.priority = 1000, 1, Background
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() { resyncs.run(ctx) })

		edit := resyncs
		edit.objects, edit.calls, edit.priority, edit.passes = 1, 3, Foreground, 1
		for range 50 {
			time.Sleep(437 * time.Millisecond)
			start := time.Now()
			edit.run(ctx)
			if took := time.Since(start); took > 400*time.Millisecond {
				t.Errorf("an edit of 3 calls took %v while resyncs run; want a permit within one call", took)
			}
		}
		all.Wait()
		checkPace(t, l, 0, 30*time.Second, 8)
	})
}

// TestSimulatedFleetEnds: every pass of every object gets its permits, in the ideal time.
func TestSimulatedFleetEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &limited{latency: 100 * time.Millisecond, limit: 8}
		f := simulate(t, NewLimiters(nil), testAccount, 8, l)
		f.objects, f.calls, f.passes = 1000, 5, 1
		start := time.Now()
		f.run(t.Context())
		ideal := 1000 * 5 * l.latency / 8
		if took := time.Since(start); took != ideal {
			t.Errorf("took %v, the ideal is %v", took, ideal)
		}
		want := Snapshot{Limit: 8, MaxConcurrency: 8}
		if diff := cmp.Diff(want, f.limiter.Snapshot(), ignoreLastGood); diff != "" {
			t.Errorf("state at rest (-want +got):\n%s", diff)
		}
	})
}
