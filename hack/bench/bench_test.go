// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"
)

// In one interval that starts in the gap, every object is due once, and none near the edges.
func TestQuietGapAfter(t *testing.T) {
	const objects, interval = 200, time.Minute
	start := quietGapAfter(time.Now(), objects, interval)
	once := 0
	for i := range objects {
		uid := uidOf(firstNumber(1) + i)
		if dueIn(uid, interval, start, start.Add(interval)) {
			once++
		}
		if dueIn(uid, interval, start.Add(-50*time.Millisecond), start.Add(50*time.Millisecond)) {
			t.Errorf("object %d is due within 50ms of the start", i)
		}
	}
	if once != objects {
		t.Errorf("%d of %d objects are due in the interval", once, objects)
	}
	if wait := time.Until(start); wait <= 0 || wait > interval {
		t.Errorf("the gap is in %s, want within %s", wait, interval)
	}
}

func TestDueIn(t *testing.T) {
	const interval = time.Hour
	uid := uidOf(1)
	due := time.Unix(0, int64(1000*interval+phaseOf(uid, interval)))
	cases := map[string]struct {
		from, to time.Duration
		want     bool
	}{
		"due in between":       {-time.Second, time.Second, true},
		"due at the end":       {-time.Second, 0, true},
		"due at the start":     {0, time.Second, false},
		"due after the end":    {-2 * time.Second, -time.Second, false},
		"due in next interval": {time.Second, interval, true},
	}
	for name, c := range cases {
		if got := dueIn(uid, interval, due.Add(c.from), due.Add(c.to)); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

// The rounded value decides. Otherwise the table could say "1.10 ≤ 1.10, missed".
func TestMet(t *testing.T) {
	cases := map[string]struct {
		f    figure
		want bool
	}{
		"equal when rounded":    {count("x", 1.004, 1, 2), true},
		"not equal":             {count("x", 1.006, 1, 2), false},
		"zero":                  {count("x", 0, 0, 0), true},
		"not zero":              {count("x", 1, 0, 0), false},
		"at most, when rounded": {ratio("x", 1.104).withGoal("≤", 1.10), true},
		"more than at most":     {ratio("x", 1.106).withGoal("≤", 1.10), false},
		"at least":              {ratio("x", 0.9).withGoal("≥", 0.9), true},
		"less than at least":    {ratio("x", 0.89).withGoal("≥", 0.9), false},
		"no goal":               {ratio("x", 7), true},
	}
	for name, c := range cases {
		if got := c.f.met(); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestSeriesSum(t *testing.T) {
	s := parseSeries("# HELP x y\nx{a=\"1\",b=\"2\"} 3\nx{a=\"2\",b=\"2\"} 4\nxy 5\n" +
		"rest_client_requests_total{code=\"200\",method=\"GET\"} 6\nrest_client_requests_total{code=\"200\",method=\"PATCH\"} 7\n")
	for _, c := range []struct{ got, want float64 }{
		{s.sum("x"), 7}, {s.sum("x", `a="1"`), 3}, {s.sum("x", `a="1"`, `b="3"`), 0}, {s.sum("xy"), 5}, {s.writes(), 7},
	} {
		if c.got != c.want {
			t.Errorf("got %v, want %v", c.got, c.want)
		}
	}
}

func TestInParallel(t *testing.T) {
	var done atomic.Int64
	err := inParallel(t.Context(), 100, 4, func(int) error { done.Add(1); return nil })
	if err != nil || done.Load() != 100 {
		t.Errorf("%d of 100 calls are done (error %v)", done.Load(), err)
	}
	failure := errors.New("failure")
	if err := inParallel(t.Context(), 100, 4, func(i int) error {
		if i == 3 {
			return failure
		}
		return nil
	}); !errors.Is(err, failure) {
		t.Errorf("error is %v, want %v", err, failure)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := inParallel(cancelled, 100, 4, func(int) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want context.Canceled", err)
	}
}
