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
	// noResync is a resyncInterval that is longer than any scenario.
	noResync = 24 * time.Hour
)

// optimum returns the shortest possible duration of calls, with latency and limit.
func optimum(calls int) time.Duration {
	return time.Duration(calls) * latency / time.Duration(limit)
}

// converge creates objects for numbers without add-ons.
func converge(ctx context.Context, w *world) (outcome, error) {
	numbers := pick(w.bench, 1000, 200)      // the last of them wait for longer than 10 s
	calls := numbers * (2 + addOnsPerNumber) // look up the number, list its add-ons, assign each one
	if err := w.startVerified(ctx, numbers, latency, limit, limit); err != nil {
		return outcome{}, err
	}
	before, err := w.api.countPatches(ctx)
	if err != nil {
		return outcome{}, err
	}
	written, err := w.measureTraffic(ctx)
	if err != nil {
		return outcome{}, err
	}
	watchCtx, stopWatch := context.WithCancel(ctx)
	defer stopWatch()
	open := w.watchConnections(watchCtx)
	start := time.Now()
	if err := w.createObjects(ctx, 1, numbers); err != nil {
		return outcome{}, err
	}
	if err := w.waitSynced(ctx, numbers); err != nil {
		return outcome{}, err
	}
	duration := time.Since(start)
	stopWatch()
	most := <-open
	actual, err := w.sim.Admin.CallTotals(ctx)
	if err != nil {
		return outcome{}, err
	}
	after, err := w.api.countPatches(ctx)
	if err != nil {
		return outcome{}, err
	}
	now, err := w.measureTraffic(ctx)
	return outcome{
		Title: fmt.Sprintf("%s new objects × %d add-ons, %s, limit %d", thousands(numbers), addOnsPerNumber, latency, limit),
		Figures: append([]figure{
			ratio("duration ÷ (calls × latency ÷ limit)", duration.Seconds()/optimum(calls).Seconds()).withGoal("≤", 1.10),
			count("calls ÷ minimum", float64(actual.Total.Calls)/float64(calls), 1, 2),
			count("writes per object ÷ 2 (finalizer, status)", (after-before)/float64(2*numbers), 1, 2),
			atMost("connections to Twilio at once", float64(most.twilio), limit),
			atMost("connections to the API server at once", float64(most.apiServer), 2),
		}, now.figures("object", written, numbers, 0)...),
	}, err
}

// startVerified seeds an account with numbers without add-ons, and starts a manager that has
// verified the credentials. maxRequests is the limit that the account's spec sets, and
// twilioLimit the one that Twilio enforces. It then resets the calls.
func (w *world) startVerified(ctx context.Context, numbers int, latency time.Duration, maxRequests, twilioLimit int) error {
	if err := w.seed(ctx, 1, numbers, 0); err != nil {
		return err
	}
	if err := w.applyAccount(ctx, 1, maxRequests, noResync); err != nil {
		return err
	}
	if err := w.start(ctx); err != nil {
		return err
	}
	if err := w.waitVerified(ctx, 1); err != nil {
		return err
	}
	if err := w.setTwilioLimits(ctx, latency, twilioLimit); err != nil {
		return err
	}
	return w.sim.Admin.ResetCalls(ctx)
}

// waitSynced waits until this many objects are synced.
func (w *world) waitSynced(ctx context.Context, count int) error {
	return w.waitCount(ctx, "synced", count, func() (int, error) {
		_, synced := w.track.counts()
		return synced, nil
	})
}

// storm creates objects while Twilio accepts fewer concurrent requests than the account's spec
// allows. The operator must learn the lower limit from the 429 answers.
func storm(ctx context.Context, w *world) (outcome, error) {
	const twilioLimit, maxRequests = 4, 16
	numbers := pick(w.bench, 600, 160)
	learning := 10 * time.Second
	calls := numbers * (2 + addOnsPerNumber)
	if err := w.startVerified(ctx, numbers, latency, maxRequests, twilioLimit); err != nil {
		return outcome{}, err
	}
	start := time.Now()
	if err := w.createObjects(ctx, 1, numbers); err != nil {
		return outcome{}, err
	}
	time.Sleep(time.Until(start.Add(learning)))
	from, begin, err := w.callCount(ctx)
	if err != nil {
		return outcome{}, err
	}
	// The last calls are left out: too few remain to use Twilio's limit.
	err = w.waitCount(ctx, "calls", calls*95/100, func() (int, error) {
		n, _, err := w.callCount(ctx)
		return n.Succeeded, err
	})
	if err != nil {
		return outcome{}, err
	}
	to, end, err := w.callCount(ctx)
	if err != nil {
		return outcome{}, err
	}
	if err := w.waitSynced(ctx, numbers); err != nil {
		return outcome{}, err
	}
	last, _, err := w.callCount(ctx)
	succeeded, throttled := to.Succeeded-from.Succeeded, to.Throttled-from.Throttled
	throughput := float64(succeeded) / end.Sub(begin).Seconds()
	return outcome{
		Title: fmt.Sprintf("%d new objects × %d add-ons, %s, limit %d in the spec, %d at Twilio", numbers, addOnsPerNumber, latency, maxRequests, twilioLimit),
		Figures: []figure{
			figure{Name: "calls answered 429, after the first 10 s", Value: 100 * float64(throttled) / float64(succeeded+throttled), Decimals: 1, Unit: " %"}.withGoal("≤", 5),
			ratio("throughput ÷ (4 ÷ latency)", throughput*latency.Seconds()/twilioLimit).withGoal("≥", 0.9),
			count("successful calls ÷ minimum", float64(last.Succeeded)/float64(calls), 1, 2),
		},
	}, err
}
