// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// remove deletes all objects, which removes their add-ons. Three add-ons per object make Twilio
// the bottleneck. With fewer, it would be the API server and its writes on a machine with two
// cores.
func remove(ctx context.Context, w *world) (outcome, error) {
	objects := pick(w.bench, 10_000, 100)
	calls := objects * addOnsPerNumber
	if err := w.startSynced(ctx, objects, noResync); err != nil {
		return outcome{}, err
	}
	start := time.Now()
	err := inParallel(ctx, objects, writeConcurrency, func(i int) error {
		return w.env.Client.Delete(ctx, &assignment{ObjectMeta: metav1.ObjectMeta{Name: objectName(firstNumber(1) + i), Namespace: namespace}})
	})
	if err != nil {
		return outcome{}, err
	}
	accepted := time.Since(start)
	err = w.waitCount(ctx, "objects deleted", objects, func() (int, error) {
		left, _ := w.track.counts()
		return objects - left, nil
	})
	if err != nil {
		return outcome{}, err
	}
	duration := time.Since(start)
	actual, err := w.sim.Admin.CallTotals(ctx)
	if err != nil {
		return outcome{}, err
	}
	journal, err := w.sim.Admin.JournalAfter(ctx, 0)
	shortest := optimum(calls)
	return outcome{
		Title: fmt.Sprintf("%s objects deleted, %d add-ons each, %s, limit %d", thousands(objects), addOnsPerNumber, latency, limit),
		Figures: []figure{
			count("calls ÷ minimum", float64(actual.Total.Calls)/float64(calls), 1, 2),
			count("add-ons removed ÷ add-ons assigned", float64(len(journal))/float64(calls), 1, 2),
			ratio("duration ÷ optimum", duration.Seconds()/shortest.Seconds()).withGoal("≤", 1.15),
			ratio("time until the API server accepted the last DELETE ÷ optimum", accepted.Seconds()/shortest.Seconds()),
		},
	}, err
}
