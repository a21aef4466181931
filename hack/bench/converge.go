// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"
)

const (
	latency = 100 * time.Millisecond
	limit   = 8
	// never is a resyncInterval within which no scenario lasts.
	never = 24 * time.Hour
)

// ideal is how long calls take at best.
func ideal(calls int, latency time.Duration, limit int) time.Duration {
	return time.Duration(calls) * latency / time.Duration(limit)
}

// converge brings numbers that carry nothing to what is listed.
func converge(ctx context.Context, w *world) (outcome, error) {
	numbers := pick(w.bench, 1000, 60)
	calls := numbers * (2 + carried) // look up, list, and a POST for each
	if err := w.ready(ctx, numbers, latency, limit, limit); err != nil {
		return outcome{}, err
	}
	before, err := w.api.patches(ctx)
	if err != nil {
		return outcome{}, err
	}
	start := time.Now()
	if err := w.create(ctx, 1, numbers); err != nil {
		return outcome{}, err
	}
	if err := w.untilSynced(ctx, numbers); err != nil {
		return outcome{}, err
	}
	wall := time.Since(start)
	made, err := w.sim.Admin.CallTotals(ctx)
	if err != nil {
		return outcome{}, err
	}
	after, err := w.api.patches(ctx)
	return outcome{
		Title: fmt.Sprintf("%s numbers × %d add-ons from nothing, %s, limit %d", thousands(numbers), carried, latency, limit),
		Figures: []figure{
			ratio("wall ÷ (calls × latency ÷ limit)", wall.Seconds()/ideal(calls, latency, limit).Seconds()).is("≤", 1.10),
			count("calls ÷ minimum", float64(made.Total.Calls)/float64(calls), 1, 2),
			count("writes to an object ÷ 2 (finalizer, status)", (after-before)/float64(2*numbers), 1, 2),
		},
	}, err
}

// ready has an account with numbers that carry nothing, and a manager that has seen the
// credential accepted; calls are counted from here.
func (w *world) ready(ctx context.Context, numbers int, latency time.Duration, ceiling, takes int) error {
	if err := w.seed(ctx, 1, numbers, 0); err != nil {
		return err
	}
	if err := w.applyAccount(ctx, 1, ceiling, never); err != nil {
		return err
	}
	if err := w.start(ctx); err != nil {
		return err
	}
	if err := w.untilVerified(ctx, 1); err != nil {
		return err
	}
	if err := w.behave(ctx, latency, takes); err != nil {
		return err
	}
	return w.sim.Admin.ResetCalls(ctx)
}

func (w *world) untilSynced(ctx context.Context, count int) error {
	return w.until(ctx, "synced", count, func() (int, error) {
		_, synced := w.track.counts()
		return synced, nil
	})
}

// storm is a fleet that converges against a Twilio which takes fewer requests at a time
// than the account's ceiling says.
func storm(ctx context.Context, w *world) (outcome, error) {
	const takes, ceiling = 4, 16
	numbers := pick(w.bench, 600, 160)
	settle := 10 * time.Second
	calls := numbers * (2 + carried)
	if err := w.ready(ctx, numbers, latency, ceiling, takes); err != nil {
		return outcome{}, err
	}
	start := time.Now()
	if err := w.create(ctx, 1, numbers); err != nil {
		return outcome{}, err
	}
	time.Sleep(time.Until(start.Add(settle)))
	from, begin, err := w.counted(ctx)
	if err != nil {
		return outcome{}, err
	}
	// Until there is not enough left to fill what Twilio takes.
	err = w.until(ctx, "calls", calls*95/100, func() (int, error) {
		n, _, err := w.counted(ctx)
		return n.Succeeded, err
	})
	if err != nil {
		return outcome{}, err
	}
	to, end, err := w.counted(ctx)
	if err != nil {
		return outcome{}, err
	}
	if err := w.untilSynced(ctx, numbers); err != nil {
		return outcome{}, err
	}
	last, _, err := w.counted(ctx)
	answered, throttled := to.Succeeded-from.Succeeded, to.Throttled-from.Throttled
	return outcome{
		Title: fmt.Sprintf("%d × %d from nothing, %s, ceiling %d where Twilio takes %d", numbers, carried, latency, ceiling, takes),
		Figures: []figure{
			figure{Name: "calls answered 429 after the first 10 s", Value: 100 * float64(throttled) / float64(answered+throttled), Decimals: 1, Unit: " %"}.is("≤", 5),
			ratio("throughput ÷ (4 ÷ latency)", float64(answered)*latency.Seconds()/(takes*end.Sub(begin).Seconds())).is("≥", 0.9),
			count("calls that succeeded ÷ minimum", float64(last.Succeeded)/float64(calls), 1, 2),
		},
	}, err
}
