// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// callsOfAnEdit: list, POST, DELETE, one after the other.
const callsOfAnEdit = 3

// swap changes one add-on of a number of the first account for another, and returns how long it takes until
// status says that it is done, in units of what its calls take.
func (w *world) swap(ctx context.Context, number int) (float64, error) {
	wanted := append(addOns(1, carried-1), addOnSID(1, installed))
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"addOnSIDs": wanted}})
	if err != nil {
		return 0, err
	}
	a := &assignment{ObjectMeta: metav1.ObjectMeta{Name: objectName(number), Namespace: objectsIn}}
	start := time.Now()
	if err := w.env.Client.Patch(ctx, a, client.RawPatch("application/merge-patch+json", patch)); err != nil {
		return 0, err
	}
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	end, err := w.track.done(waiting, a.Name, a.Generation)
	return end.Sub(start).Seconds() / (callsOfAnEdit * latency).Seconds(), err
}

// swaps makes edits of the first account one after the other, each of another number.
func (w *world) swaps(ctx context.Context, from, count int) ([]float64, error) {
	times := make([]float64, 0, count)
	for i := range count {
		t, err := w.swap(ctx, numbersOf(1)+from+i)
		if err != nil {
			return nil, err
		}
		times = append(times, t)
		if i%50 == 49 {
			w.say("%d of %d edits", i+1, count)
		}
	}
	slices.Sort(times)
	return times, nil
}

// percentile is that of sorted values.
func percentile(sorted []float64, p int) float64 {
	return sorted[min(len(sorted)*p/100, len(sorted)-1)]
}

func editIdle(ctx context.Context, w *world) (outcome, error) {
	edits := pick(w.bench, 200, 20)
	if err := w.rested(ctx, edits, never); err != nil {
		return outcome{}, err
	}
	times, err := w.swaps(ctx, 0, edits)
	if err != nil {
		return outcome{}, err
	}
	made, err := w.sim.Admin.CallTotals(ctx)
	return outcome{
		Title: fmt.Sprintf("one edit (swap one add-on), idle, %s; %d of them", latency, edits),
		Figures: []figure{
			ratio("time to done ÷ (3 × latency), p50", percentile(times, 50)).is("≤", 1.2),
			ratio("the same, p99", percentile(times, 99)).is("≤", 1.5),
			count("calls ÷ minimum", float64(made.Total.Calls)/float64(callsOfAnEdit*edits), 1, 2),
		},
	}, err
}

// rested has a manager with synced objects and nothing to do; calls are counted from here.
func (w *world) rested(ctx context.Context, objects int, resync time.Duration) error {
	if err := w.preset(ctx, 1, objects, limit, resync); err != nil {
		return err
	}
	if err := w.behave(ctx, latency, limit); err != nil {
		return err
	}
	if err := w.start(ctx); err != nil {
		return err
	}
	if err := w.untilAtRest(ctx, objects); err != nil {
		return err
	}
	return w.sim.Admin.ResetCalls(ctx)
}

// editBusy edits while more objects are due than the account's limit lets be checked.
func editBusy(ctx context.Context, w *world) (outcome, error) {
	objects, edits := pick(w.bench, 10_000, 1000), pick(w.bench, 200, 20)
	// Twice as many are due as can be listed.
	resync := ideal(objects, latency, limit) / 2
	if err := w.rested(ctx, objects, resync); err != nil {
		return outcome{}, err
	}
	err := w.until(ctx, "objects that wait for their turn", 5*limit, func() (int, error) {
		s, err := w.manager.scrape(ctx)
		return s.waiting(accountSID(1)), err
	})
	if err != nil {
		return outcome{}, err
	}
	from, begin, err := w.counted(ctx)
	if err != nil {
		return outcome{}, err
	}
	times, err := w.swaps(ctx, 0, edits)
	if err != nil {
		return outcome{}, err
	}
	to, end, err := w.counted(ctx)
	if err != nil {
		return outcome{}, err
	}
	err = w.keepProfile(ctx, "profile?seconds=10", "processor.pprof")
	at := float64(to.Succeeded-from.Succeeded) * latency.Seconds() / (limit * end.Sub(begin).Seconds())
	return outcome{
		Title: fmt.Sprintf("the same while %s objects resync flat out, limit %d", thousands(objects), limit),
		Figures: []figure{
			ratio("time to done ÷ (3 × latency), p50", percentile(times, 50)),
			ratio("the same, p99", percentile(times, 99)).is("≤", 2.5),
			ratio("calls of that time ÷ what the limit allows", at),
		},
	}, err
}

// neighbour edits numbers of one account while another one is answered 429 throughout.
func neighbour(ctx context.Context, w *world) (outcome, error) {
	waiting, edits := pick(w.bench, 1000, 60), pick(w.bench, 200, 20)
	if err := w.rested(ctx, 2*edits, never); err != nil {
		return outcome{}, err
	}
	if err := w.seed(ctx, 2, waiting, 0); err != nil {
		return outcome{}, err
	}
	alone, err := w.swaps(ctx, 0, edits)
	if err != nil {
		return outcome{}, err
	}
	if err := w.applyAccount(ctx, 2, limit, never); err != nil {
		return outcome{}, err
	}
	if err := w.untilVerified(ctx, 2); err != nil {
		return outcome{}, err
	}
	err = w.sim.Admin.AddFault(ctx, twiliosim.Fault{Account: accountSID(2), Kind: twiliosim.FaultError, Status: 429, Code: 20429})
	if err != nil {
		return outcome{}, err
	}
	if err := w.create(ctx, 2, waiting); err != nil {
		return outcome{}, err
	}
	// The few that are not among those who wait are about to ask again.
	err = w.until(ctx, "objects that wait for an account in trouble", waiting*8/10, func() (int, error) {
		s, err := w.manager.scrape(ctx)
		return s.waiting(accountSID(2)), err
	})
	if err != nil {
		return outcome{}, err
	}
	beside, err := w.swaps(ctx, edits, edits)
	if err != nil {
		return outcome{}, err
	}
	return outcome{
		Title: fmt.Sprintf("two accounts, one answered 429 to everything with %s objects waiting; %d edits on the other", thousands(waiting), edits),
		Figures: []figure{
			ratio("p99 ÷ alone", percentile(beside, 99)/percentile(alone, 99)).is("≤", 1.2),
			ratio("p50 ÷ alone", percentile(beside, 50)/percentile(alone, 50)),
		},
	}, nil
}
