// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// memoryLimit is 90 % of the memory limit in config/manager (512Mi), as in a deployment.
const memoryLimit = "GOMEMLIMIT=460MiB"

// growth starts a manager with ever more synced objects.
func growth(ctx context.Context, w *world) (outcome, error) {
	sizes := pick(w.bench, []int{100, 1000, 10_000, 100_000}, []int{100, 1000})
	out := outcome{
		Title: fmt.Sprintf("up to %s synced objects, %s", thousands(sizes[len(sizes)-1]), memoryLimit),
	}
	w.stopTracker() // each size uses a world of its own
	w.env.Environ = append(w.env.Environ, memoryLimit)
	defer func() { w.env.Environ = nil }()
	var measured []footprint
	for _, objects := range sizes {
		s, err := w.measureSize(ctx, objects)
		if err != nil {
			return outcome{}, err
		}
		measured = append(measured, s)
		w.progress("%d objects: live heap %.1f MB, resident %.1f MB, peak %.1f MB, start-up %.2f s, one list %.2f s, idle CPU %.4f",
			objects, s.live/1e6, s.resident/1e6, s.peak/1e6, s.startUp.Seconds(), s.list.Seconds(), s.cpu)
	}
	for _, s := range measured {
		out.Figures = append(out.Figures, s.figures(measured[0])...)
	}
	largest := measured[len(measured)-1]
	out.Figures = append(out.Figures, largest.totals()...)
	return out, nil
}

// footprint is what a manager costs with a number of objects.
type footprint struct {
	objects              int
	live, resident, peak float64 // bytes
	edited               float64 // peak with an edit of the account, in bytes
	cpu                  float64 // idle; 1 is one core
	startUp, list        time.Duration
}

// measureSize calls measureFootprint in a new world.
func (w *world) measureSize(ctx context.Context, objects int) (footprint, error) {
	fresh, err := w.newWorld(ctx)
	if err != nil {
		return footprint{}, err
	}
	defer func() { _ = fresh.close() }()
	return fresh.measureFootprint(ctx, objects)
}

// measureFootprint starts a manager with this many synced objects and measures it.
func (w *world) measureFootprint(ctx context.Context, objects int) (s footprint, err error) {
	if err := w.createPreset(ctx, 1, objects, limit, noResync); err != nil {
		return s, err
	}
	w.stopTracker() // its watch would cost CPU
	s.objects = objects
	if s.list, err = w.api.timeList(ctx, objects); err != nil {
		return s, err
	}
	if err := w.start(ctx); err != nil {
		return s, err
	}
	s.startUp = w.manager.ready.Sub(w.manager.started)
	if err := w.waitReconciled(ctx, objects); err != nil {
		return s, err
	}
	s.peak = w.manager.peakMemory()
	if s.cpu, err = w.cpuUsage(ctx, pick(w.bench, 30*time.Second, 3*time.Second)); err != nil {
		return s, err
	}
	if err := w.manager.collectGarbage(ctx); err != nil {
		return s, err
	}
	if err := w.saveProfile(ctx, "heap", fmt.Sprintf("heap-%d.pprof", objects)); err != nil {
		return s, err
	}
	after, err := w.manager.scrape(ctx)
	s.live = after.sum("go_gc_heap_live_bytes")
	s.resident = after.sum("process_resident_memory_bytes")
	s.peak = max(s.peak, w.manager.peakMemory())
	if err != nil {
		return s, err
	}
	s.edited, err = w.peakOfAnEdit(ctx, objects)
	return s, err
}

// peakOfAnEdit edits the account, which has every object reconciled, and returns the peak of
// resident memory since the start.
func (w *world) peakOfAnEdit(ctx context.Context, objects int) (float64, error) {
	reconciles := func() (int, error) {
		s, err := w.manager.scrape(ctx)
		return int(s.sum("controller_runtime_reconcile_total", `controller="assignment"`)), err
	}
	before, err := reconciles()
	if err != nil {
		return 0, err
	}
	var account v1alpha1.TwilioAccount
	account.Name = accountName(1)
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"resyncInterval":"23h"}}`))
	if err := w.env.Client.Patch(ctx, &account, patch); err != nil {
		return 0, err
	}
	err = w.waitCount(ctx, "reconciles after an edit of the account", objects, func() (int, error) {
		now, err := reconciles()
		return now - before, err
	})
	return w.manager.peakMemory(), err
}

// cpuUsage returns the CPU usage of the manager; 1 is one core.
func (w *world) cpuUsage(ctx context.Context, over time.Duration) (float64, error) {
	before, err := w.manager.scrape(ctx)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	time.Sleep(over)
	after, err := w.manager.scrape(ctx)
	return (after.cpuSeconds() - before.cpuSeconds()) / time.Since(start).Seconds(), err
}

// figures returns the figures of one size. Heap per object is relative to the smallest size.
func (s footprint) figures(smallest footprint) []figure {
	prefix := thousands(s.objects) + " objects: "
	all := []figure{
		{Name: prefix + "resident memory after garbage collection", Value: s.resident / 1e6, Unit: " MB"},
		ratio(prefix+"time from start to ready ÷ one list of all objects", s.startUp.Seconds()/s.list.Seconds()),
	}
	if more := s.objects - smallest.objects; more > 0 {
		each := (s.live - smallest.live) / float64(more) / 1024
		all = append(all, figure{Name: prefix + "live heap per object above " + thousands(smallest.objects), Value: each, Decimals: 2, Unit: " KiB"})
	}
	return all
}

// totals returns the figures of the largest size, which have goals.
func (s footprint) totals() []figure {
	prefix := thousands(s.objects) + " objects: "
	return []figure{
		figure{Name: prefix + "live heap ÷ objects", Value: s.live / 1024 / float64(s.objects), Decimals: 2, Unit: " KiB"}.withGoal("≤", 1.7),
		figure{Name: prefix + "peak resident memory", Value: s.peak / 1e6, Unit: " MB"}.withGoal("≤", 480),
		figure{Name: prefix + "the same, with an edit of their account", Value: s.edited / 1e6, Unit: " MB"}.withGoal("≤", 480),
		figure{Name: prefix + "idle CPU, of one core", Value: 100 * s.cpu, Decimals: 1, Unit: " %"}.withGoal("≤", 1),
	}
}
