// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
)

// fixedSeeds are those of make test. Between them they have every kind of step; in one the
// assignments have SIDs of their own, in one lists begin with short pages, in one removal
// budgets are tight, in one nobody ends the manager, and in one there are two managers.
// fixedSteps is how many steps each has.
var fixedSeeds = []uint64{62, 3228, 463, 49, 1406}

const fixedSteps = 40

func start(t *testing.T) *testenv.Env {
	t.Helper()
	ctrl.SetLogger(logr.Discard())
	if err := testenv.Build(t.Context()); err != nil {
		t.Fatal(err)
	}
	env, err := testenv.Start(t.Context(), testenv.WithRestarts)
	if err != nil {
		t.Fatal(err)
	}
	cancel := testenv.StopOnInterrupt(env.Close)
	t.Cleanup(func() {
		cancel()
		if keep := os.Getenv("SOAK_KEEP"); keep != "" {
			if err := os.CopyFS(keep, os.DirFS(env.Dir)); err != nil {
				t.Error(err)
			}
		}
		if err := env.Close(); err != nil {
			t.Error(err)
		}
	})
	return env
}

// TestSoak runs a fixed set of seeds.
func TestSoak(t *testing.T) {
	if number("SOAK_SEEDS", 0) > 0 || os.Getenv("SOAK_REPLAY") != "" {
		t.Skip("other runs are asked for")
	}
	soak(t, fixedSeeds, fixedSteps, len(fixedSeeds)/2, 0)
}

// TestLong runs as many seeds of as many steps as the environment asks for: see make soak.
func TestLong(t *testing.T) {
	count := number("SOAK_SEEDS", 0)
	if count == 0 {
		t.Skip("SOAK_SEEDS asks for no runs: make soak does")
	}
	var seeds []uint64
	for i := range count {
		seeds = append(seeds, uint64(number("SOAK_FIRST_SEED", 1)+i))
	}
	soak(t, seeds, number("SOAK_STEPS", fixedSteps), number("SOAK_JOBS", 1), time.Duration(number("SOAK_SHORTEN", 10))*time.Minute)
}

// TestReplay runs one plan, as a failed run printed it.
func TestReplay(t *testing.T) {
	text := os.Getenv("SOAK_REPLAY")
	if text == "" {
		t.Skip("SOAK_REPLAY names no run")
	}
	p, err := parseReplay(text)
	if err != nil {
		t.Fatal(err)
	}
	o, err := execute(t.Context(), start(t), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(table([]*outcome{o}))
	if o.failed() {
		t.Error(o.tell())
	}
}

// soak runs the plans of some seeds, so many at once, each beside its own API server, up to
// the first that fails, and looks for a shorter history of that one.
func soak(t *testing.T, seeds []uint64, steps, jobs int, shortenFor time.Duration) {
	t.Helper()
	left := make(chan uint64, len(seeds))
	for _, seed := range seeds {
		left <- seed
	}
	close(left)
	var (
		mu     sync.Mutex
		all    []*outcome
		failed *failure
		group  sync.WaitGroup
	)
	for range min(jobs, len(seeds)) {
		env := start(t)
		group.Go(func() {
			run := func(ctx context.Context, p plan) (*outcome, error) { return execute(ctx, env, p) }
			for seed := range left {
				o, err := run(t.Context(), newPlan(seed, steps))
				if err != nil {
					t.Errorf("seed %d: %v", seed, err)
					return
				}
				mu.Lock()
				all = append(all, o)
				progress("soak: %d of %d: seed %d, %d steps, took %s, settled in %s, violations: %d",
					len(all), len(seeds), seed, steps, o.took.Round(time.Second), o.settled.Round(100*time.Millisecond), len(o.violations))
				if o.failed() && failed == nil {
					failed = &failure{outcome: o, run: run}
				}
				stop := failed != nil
				mu.Unlock()
				if stop {
					break
				}
			}
		})
	}
	group.Wait()
	if failed != nil {
		failed.tell(t, shortenFor)
	}
	progress("%s", table(all))
}

// failure is the first run that found something, and how to run its plan again.
type failure struct {
	*outcome
	run func(context.Context, plan) (*outcome, error)
}

func (f *failure) tell(t *testing.T, shortenFor time.Duration) {
	t.Helper()
	t.Errorf("seed %d: %d violations", f.plan.seed, len(f.violations))
	progress("%s", f.outcome.tell())
	if shortenFor > 0 {
		progress("soak: looking for a shorter history for at most %s", shortenFor)
		progress("the shortest history found:\n%s", shorten(t.Context(), f.outcome, shortenFor, f.run).tell())
	}
}

// number is a number from the environment.
func number(name string, otherwise int) int {
	n, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		return otherwise
	}
	return n
}
