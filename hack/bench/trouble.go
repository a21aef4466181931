// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// failover kills the leader while a standby waits for its lease, and edits an object at once.
func failover(ctx context.Context, w *world) (outcome, error) {
	objects, lease := pick(w.bench, 100, 20), pick(w.bench, 15*time.Second, 4*time.Second)
	if err := w.createPreset(ctx, 1, objects, limit, noResync); err != nil {
		return outcome{}, err
	}
	if err := w.setTwilioLimits(ctx, latency, limit); err != nil {
		return outcome{}, err
	}
	var crew []*testenv.Process
	defer func() {
		for _, p := range crew {
			_ = p.Kill()
		}
	}()
	flags := []string{"--leader-elect-lease-duration=" + lease.String()}
	for range 2 {
		p, err := w.env.StartManager(ctx, flags...)
		if err != nil {
			return outcome{}, err
		}
		crew = append(crew, p)
		// The first one leads before there is another.
		if _, err := w.swapAddOn(ctx, firstNumber(1)+len(crew)); err != nil {
			return outcome{}, err
		}
	}
	died := time.Now()
	_ = crew[0].Kill()
	if _, err := w.swapAddOn(ctx, firstNumber(1)); err != nil {
		return outcome{}, err
	}
	gap := time.Since(died)
	return outcome{
		Title: fmt.Sprintf("the leader of %d objects is killed, with a standby and a lease of %s", objects, lease),
		Figures: []figure{
			ratio("time from its death until an edit is synced ÷ lease", gap.Seconds()/lease.Seconds()).withGoal("≤", 1.4),
		},
	}, nil
}

// flaky checks synced objects over several intervals while Twilio answers some lists with 503.
// A settled object stays as it is through what the next try mends.
func flaky(ctx context.Context, w *world) (outcome, error) {
	objects, intervals := pick(w.bench, 200, 60), pick(w.bench, 8, 2)
	share, interval := pick(w.bench, 0.01, 0.05), 10*time.Second
	if err := w.startSynced(ctx, objects, interval); err != nil {
		return outcome{}, err
	}
	before, err := w.manager.scrape(ctx)
	if err != nil {
		return outcome{}, err
	}
	fault := twiliosim.Fault{Operation: twiliosim.OpList, Kind: twiliosim.FaultError, Status: 503, Probability: share}
	if err := w.sim.Admin.AddFault(ctx, fault); err != nil {
		return outcome{}, err
	}
	var calls twiliosim.Calls
	err = w.waitCount(ctx, "lists", objects*intervals, func() (int, error) {
		calls, err = w.sim.Admin.CallTotals(ctx)
		return calls.Of(twiliosim.OpList, "").Calls, err
	})
	if err != nil {
		return outcome{}, err
	}
	after, err := w.manager.scrape(ctx)
	_, synced := w.track.counts()
	return outcome{
		Title: fmt.Sprintf("%d synced objects, %d intervals, %.0f %% of the lists answered 503", objects, intervals, 100*share),
		Figures: []figure{
			{Name: "lists that failed", Value: float64(calls.Of(twiliosim.OpList, "").Failed)},
			count("API server writes", after.writes()-before.writes(), 0, 0),
			count("objects that are not synced at the end", float64(objects-synced), 0, 0),
		},
	}, err
}
