// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// remove deletes every object, and with it what it has assigned. Each carries three
// add-ons: with fewer, the bound is not Twilio but the API server, which on two cores
// takes no more writes a second than three for each object come to.
func remove(ctx context.Context, w *world) (outcome, error) {
	objects := pick(w.bench, 10_000, 100)
	calls := objects * carried
	if err := w.rested(ctx, objects, never); err != nil {
		return outcome{}, err
	}
	start := time.Now()
	err := inParallel(ctx, objects, writers, func(i int) error {
		return w.env.Client.Delete(ctx, &assignment{ObjectMeta: metav1.ObjectMeta{Name: objectName(numbersOf(1) + i), Namespace: objectsIn}})
	})
	if err != nil {
		return outcome{}, err
	}
	deleted := time.Since(start)
	err = w.until(ctx, "gone", objects, func() (int, error) {
		left, _ := w.track.counts()
		return objects - left, nil
	})
	if err != nil {
		return outcome{}, err
	}
	wall := time.Since(start)
	made, err := w.sim.Admin.CallTotals(ctx)
	if err != nil {
		return outcome{}, err
	}
	journal, err := w.sim.Admin.JournalAfter(ctx, 0)
	best := ideal(calls, latency, limit)
	return outcome{
		Title: fmt.Sprintf("%s deletions with Delete, %d add-ons each, %s, limit %d", thousands(objects), carried, latency, limit),
		Figures: []figure{
			count("calls ÷ minimum", float64(made.Total.Calls)/float64(calls), 1, 2),
			count("add-ons unassigned ÷ those there were", float64(len(journal))/float64(calls), 1, 2),
			ratio("wall ÷ ideal", wall.Seconds()/best.Seconds()).is("≤", 1.15),
			ratio("of it until the API server had taken the last DELETE ÷ ideal", deleted.Seconds()/best.Seconds()),
		},
	}, err
}
