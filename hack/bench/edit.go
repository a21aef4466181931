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

// callsOfAnEdit is how many calls an edit makes, one after the other: list, POST, DELETE.
const callsOfAnEdit = 3

// swap is the patch that replaces one add-on of an object of an account.
func swap(account int) ([]byte, error) {
	wanted := append(addOns(account, addOnsPerNumber-1), addOnSID(account, addOnsPerAccount))
	return json.Marshal(map[string]any{"spec": map[string]any{"addOnSIDs": wanted}})
}

// swapAddOn replaces one add-on of a number of the first account. It returns the time until the
// status reports success, divided by the time that the calls take.
func (w *world) swapAddOn(ctx context.Context, number int) (float64, error) {
	patch, err := swap(1)
	if err != nil {
		return 0, err
	}
	a := &assignment{ObjectMeta: metav1.ObjectMeta{Name: objectName(number), Namespace: namespace}}
	start := time.Now()
	if err := w.env.Client.Patch(ctx, a, client.RawPatch("application/merge-patch+json", patch)); err != nil {
		return 0, err
	}
	waitCtx, cancel := context.WithTimeout(ctx, waitTimeout)
	defer cancel()
	end, err := w.track.waitDone(waitCtx, a.Name, a.Generation)
	return end.Sub(start).Seconds() / (callsOfAnEdit * latency).Seconds(), err
}

// swapAddOns edits different numbers of the first account, one after the other. It returns
// sorted results of swapAddOn.
func (w *world) swapAddOns(ctx context.Context, from, count int) ([]float64, error) {
	times := make([]float64, 0, count)
	for i := range count {
		t, err := w.swapAddOn(ctx, firstNumber(1)+from+i)
		if err != nil {
			return nil, err
		}
		times = append(times, t)
		if i%50 == 49 {
			w.progress("%d of %d edits", i+1, count)
		}
	}
	slices.Sort(times)
	return times, nil
}

// percentile returns the p-th percentile of sorted values.
func percentile(sorted []float64, p int) float64 {
	return sorted[min(len(sorted)*p/100, len(sorted)-1)]
}

// editIdle edits while the manager has nothing else to do.
func editIdle(ctx context.Context, w *world) (outcome, error) {
	edits := pick(w.bench, 200, 20)
	if err := w.startSynced(ctx, edits, noResync); err != nil {
		return outcome{}, err
	}
	written, err := w.measureTraffic(ctx)
	if err != nil {
		return outcome{}, err
	}
	times, err := w.swapAddOns(ctx, 0, edits)
	if err != nil {
		return outcome{}, err
	}
	now, err := w.measureTraffic(ctx)
	if err != nil {
		return outcome{}, err
	}
	patch, err := swap(1)
	if err != nil {
		return outcome{}, err
	}
	actual, err := w.sim.Admin.CallTotals(ctx)
	return outcome{
		Title: fmt.Sprintf("%d edits (one add-on replaced), idle, %s", edits, latency),
		Figures: append([]figure{
			ratio("time until synced ÷ (3 × latency), p50", percentile(times, 50)).withGoal("≤", 1.2),
			ratio("the same, p99", percentile(times, 99)).withGoal("≤", 1.5),
			count("calls ÷ minimum", float64(actual.Total.Calls)/float64(callsOfAnEdit*edits), 1, 2),
		}, now.figures("edit", written, edits, float64(len(patch)))...),
	}, err
}

// startSynced creates synced objects and starts a manager that has nothing left to do. It then
// resets the calls.
func (w *world) startSynced(ctx context.Context, objects int, resync time.Duration) error {
	if err := w.createPreset(ctx, 1, objects, limit, resync); err != nil {
		return err
	}
	if err := w.setTwilioLimits(ctx, latency, limit); err != nil {
		return err
	}
	if err := w.start(ctx); err != nil {
		return err
	}
	if err := w.waitReconciled(ctx, objects); err != nil {
		return err
	}
	return w.sim.Admin.ResetCalls(ctx)
}

// editBusy edits while more objects are due than the account's limit allows to check.
func editBusy(ctx context.Context, w *world) (outcome, error) {
	objects, edits := pick(w.bench, 10_000, 1000), pick(w.bench, 200, 20)
	// Twice as many objects are due as the limit allows to list.
	resync := optimum(objects) / 2
	if err := w.startSynced(ctx, objects, resync); err != nil {
		return outcome{}, err
	}
	err := w.waitCount(ctx, "objects waiting for a call", 5*limit, func() (int, error) {
		s, err := w.manager.scrape(ctx)
		return s.waitingObjects(accountSID(1)), err
	})
	if err != nil {
		return outcome{}, err
	}
	from, begin, err := w.callCount(ctx)
	if err != nil {
		return outcome{}, err
	}
	times, err := w.swapAddOns(ctx, 0, edits)
	if err != nil {
		return outcome{}, err
	}
	to, end, err := w.callCount(ctx)
	if err != nil {
		return outcome{}, err
	}
	err = w.saveProfile(ctx, "profile?seconds=10", "processor.pprof")
	usage := float64(to.Succeeded-from.Succeeded) * latency.Seconds() / (limit * end.Sub(begin).Seconds())
	return outcome{
		Title: fmt.Sprintf("the same while %s objects resync at the limit of %d", thousands(objects), limit),
		Figures: []figure{
			ratio("time until synced ÷ (3 × latency), p50", percentile(times, 50)),
			ratio("the same, p99", percentile(times, 99)).withGoal("≤", 2.5),
			ratio("calls meanwhile ÷ calls that the limit allows", usage),
		},
	}, err
}

// neighbour edits numbers of one account while Twilio answers 429 to every call of another.
func neighbour(ctx context.Context, w *world) (outcome, error) {
	waiting, edits := pick(w.bench, 1000, 60), pick(w.bench, 200, 20)
	if err := w.startSynced(ctx, 2*edits, noResync); err != nil {
		return outcome{}, err
	}
	if err := w.seed(ctx, 2, waiting, 0); err != nil {
		return outcome{}, err
	}
	alone, err := w.swapAddOns(ctx, 0, edits)
	if err != nil {
		return outcome{}, err
	}
	if err := w.applyAccount(ctx, 2, limit, noResync); err != nil {
		return outcome{}, err
	}
	if err := w.waitVerified(ctx, 2); err != nil {
		return outcome{}, err
	}
	err = w.sim.Admin.AddFault(ctx, twiliosim.Fault{Account: accountSID(2), Kind: twiliosim.FaultError, Status: 429, Code: 20429})
	if err != nil {
		return outcome{}, err
	}
	if err := w.createObjects(ctx, 2, waiting); err != nil {
		return outcome{}, err
	}
	// Not all objects wait at the same moment: some are about to retry.
	err = w.waitCount(ctx, "objects waiting for the throttled account", waiting*8/10, func() (int, error) {
		s, err := w.manager.scrape(ctx)
		return s.waitingObjects(accountSID(2)), err
	})
	if err != nil {
		return outcome{}, err
	}
	disturbed, err := w.swapAddOns(ctx, edits, edits)
	if err != nil {
		return outcome{}, err
	}
	return outcome{
		Title: fmt.Sprintf("%d edits on one account while Twilio answers 429 to another with %s objects", edits, thousands(waiting)),
		Figures: []figure{
			ratio("p99 ÷ p99 without the other account", percentile(disturbed, 99)/percentile(alone, 99)).withGoal("≤", 1.2),
			ratio("p50 ÷ p50 without the other account", percentile(disturbed, 50)/percentile(alone, 50)),
		},
	}, nil
}
