// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"
)

// memoryLimit is what the manager learns from the memory limit of config/manager,
// 256Mi, of which it gives the garbage collector nine tenths.
const memoryLimit = "GOMEMLIMIT=230MiB"

// growth starts a manager on more and more objects, cached and synced.
func growth(ctx context.Context, w *world) (outcome, error) {
	sizes := pick(w.bench, []int{100, 1000, 10_000, 100_000}, []int{100, 1000})
	out := outcome{
		Title: fmt.Sprintf("growth to %s objects, cached and synced, written straight into etcd; %s", thousands(sizes[len(sizes)-1]), memoryLimit),
	}
	w.end() // only its bench is needed
	w.env.Environ = append(w.env.Environ, memoryLimit)
	defer func() { w.env.Environ = nil }()
	var at []sizeUp
	for _, objects := range sizes {
		s, err := w.sizeUp(ctx, objects)
		if err != nil {
			return outcome{}, err
		}
		at = append(at, s)
		w.say("%d objects: live heap %.1f MB, resident %.1f MB, at most %.1f MB, start-up %.2f s for %.2f s of listing, processor at rest %.4f",
			objects, s.live/1e6, s.resident/1e6, s.peak/1e6, s.startUp.Seconds(), s.list.Seconds(), s.processor)
	}
	largest := at[len(at)-1]
	for _, s := range at {
		out.Figures = append(out.Figures, s.figures(at[0])...)
	}
	out.Figures = append(out.Figures, largest.totals()...)
	return out, nil
}

// sizeUp is what a manager costs with a number of objects.
type sizeUp struct {
	objects              int
	live, resident, peak float64 // bytes
	processor            float64 // of one, at rest
	startUp, list        time.Duration
}

func (w *world) sizeUp(ctx context.Context, objects int) (sizeUp, error) {
	fresh, err := w.newWorld(ctx)
	if err != nil {
		return sizeUp{}, err
	}
	defer func() { _ = fresh.close() }()
	return fresh.weigh(ctx, objects)
}

func (w *world) weigh(ctx context.Context, objects int) (s sizeUp, err error) {
	if err := w.preset(ctx, 1, objects, limit, never); err != nil {
		return s, err
	}
	w.end() // the tracker would take its part of the processor
	s.objects = objects
	if s.list, err = w.api.listAll(ctx, objects); err != nil {
		return s, err
	}
	if err := w.start(ctx); err != nil {
		return s, err
	}
	s.startUp = w.manager.ready.Sub(w.manager.began)
	if err := w.untilAtRest(ctx, objects); err != nil {
		return s, err
	}
	s.peak = w.manager.peak()
	if s.processor, err = w.atRest(ctx, pick(w.bench, 30*time.Second, 3*time.Second)); err != nil {
		return s, err
	}
	if err := w.manager.collect(ctx); err != nil {
		return s, err
	}
	if err := w.keepProfile(ctx, "heap", fmt.Sprintf("heap-%d.pprof", objects)); err != nil {
		return s, err
	}
	after, err := w.manager.scrape(ctx)
	s.live = after.sum("go_gc_heap_live_bytes")
	s.resident = after.sum("process_resident_memory_bytes")
	s.peak = max(s.peak, w.manager.peak())
	return s, err
}

// atRest is how much of one processor the manager uses.
func (w *world) atRest(ctx context.Context, over time.Duration) (float64, error) {
	before, err := w.manager.scrape(ctx)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	time.Sleep(over)
	after, err := w.manager.scrape(ctx)
	return (after.cpuSeconds() - before.cpuSeconds()) / time.Since(start).Seconds(), err
}

// figures are what a size came to, beyond the smallest.
func (s sizeUp) figures(smallest sizeUp) []figure {
	at := thousands(s.objects) + " objects: "
	all := []figure{
		{Name: at + "resident after a collection", Value: s.resident / 1e6, Unit: " MB"},
		ratio(at+"start-up to ready ÷ one plain listing of them", s.startUp.Seconds()/s.list.Seconds()),
	}
	if more := s.objects - smallest.objects; more > 0 {
		each := (s.live - smallest.live) / float64(more) / 1024
		all = append(all, figure{Name: at + "live heap an object beyond the first " + thousands(smallest.objects), Value: each, Decimals: 2, Unit: " KiB"})
	}
	return all
}

// totals are the figures of the largest size that have goals.
func (s sizeUp) totals() []figure {
	at := thousands(s.objects) + " objects: "
	return []figure{
		figure{Name: at + "all of the live heap ÷ objects", Value: s.live / 1024 / float64(s.objects), Decimals: 2, Unit: " KiB"}.is("≤", 1.7),
		figure{Name: at + "most memory ever resident", Value: s.peak / 1e6, Unit: " MB"}.is("≤", 300),
		figure{Name: at + "processor at rest, of one", Value: 100 * s.processor, Decimals: 1, Unit: " %"}.is("≤", 1),
	}
}
