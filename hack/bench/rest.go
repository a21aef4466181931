// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// phaseOf is where in each interval an object is due, as the operator promises it.
func phaseOf(uid types.UID, interval time.Duration) time.Duration {
	h := fnv.New64a()
	_, _ = h.Write([]byte(uid))
	return time.Duration(h.Sum64() % uint64(interval))
}

// dueIn says whether an object is due after one time and not after another.
func dueIn(uid types.UID, interval time.Duration, from, to time.Time) bool {
	into := time.Duration(from.UnixNano()) % interval
	wait := phaseOf(uid, interval) - into
	if wait <= 0 {
		wait += interval
	}
	return !from.Add(wait).After(to)
}

// gapAfter is the middle of the longest time without an object due that begins within
// the interval after t: counts that begin and end in it are not a matter of luck.
func gapAfter(t time.Time, objects int, interval time.Duration) time.Time {
	phases := make([]time.Duration, 0, objects+1)
	for i := range objects {
		phases = append(phases, phaseOf(uidOf(numbersOf(1)+i), interval))
	}
	slices.Sort(phases)
	phases = append(phases, phases[0]+interval)
	longest, middle := time.Duration(0), time.Duration(0)
	for i := 1; i < len(phases); i++ {
		if gap := phases[i] - phases[i-1]; gap > longest {
			longest, middle = gap, (phases[i]+phases[i-1])/2
		}
	}
	wait := middle - time.Duration(t.UnixNano())%interval
	for wait <= 0 {
		wait += interval
	}
	return t.Add(wait)
}

// counted are Twilio's calls so far, and when that was.
func (w *world) counted(ctx context.Context) (twiliosim.Count, time.Time, error) {
	calls, err := w.sim.Admin.CallTotals(ctx)
	return calls.Total, time.Now(), err
}

// untilVerified waits until an account's credential was accepted.
func (w *world) untilVerified(ctx context.Context, account int) error {
	return w.untilAccount(ctx, account, "accepted", func(status *v1alpha1.TwilioAccountStatus) bool { return status.VerifiedSecret != "" })
}

// untilAtRest waits until a manager that was started has seen every object once, and has
// counted them in the status of their account.
func (w *world) untilAtRest(ctx context.Context, objects int) error {
	err := w.untilAccount(ctx, 1, "counted", func(status *v1alpha1.TwilioAccountStatus) bool {
		return status.Assignments != nil && int(*status.Assignments) == objects
	})
	if err != nil {
		return err
	}
	return w.until(ctx, "first passes", objects, func() (int, error) {
		s, err := w.manager.scrape(ctx)
		return int(s.sum("controller_runtime_reconcile_total", `controller="assignment"`)), err
	})
}

func (w *world) untilAccount(ctx context.Context, account int, what string, so func(*v1alpha1.TwilioAccountStatus) bool) error {
	return w.until(ctx, "the account is "+what, 1, func() (int, error) {
		var a v1alpha1.TwilioAccount
		if err := w.env.Client.Get(ctx, client.ObjectKey{Name: accountName(account)}, &a); err != nil {
			return 0, err
		}
		if so(&a.Status) {
			return 1, nil
		}
		return 0, nil
	})
}

// resting looks at one resync interval of objects that are as they should be. The interval
// is one that the limit allows: 10,000 listings of 100 ms, 8 at a time, take 125 s.
func resting(ctx context.Context, w *world) (outcome, error) {
	objects, interval := pick(w.bench, 10_000, 300), pick(w.bench, 3*time.Minute, 10*time.Second)
	if err := w.rested(ctx, objects, interval); err != nil {
		return outcome{}, err
	}
	start := gapAfter(time.Now().Add(time.Second), objects, interval)
	w.say("one interval of %s begins in %s", interval, time.Until(start).Round(time.Second))
	time.Sleep(time.Until(start))
	if err := w.sim.Admin.ResetCalls(ctx); err != nil {
		return outcome{}, err
	}
	before, err := w.manager.scrape(ctx)
	if err != nil {
		return outcome{}, err
	}
	time.Sleep(time.Until(start.Add(interval)))
	calls, err := w.sim.Admin.Calls(ctx)
	if err != nil {
		return outcome{}, err
	}
	after, err := w.manager.scrape(ctx)
	if err != nil {
		return outcome{}, err
	}
	lists := calls.Of(twiliosim.OpList, "").Calls
	once := 0
	for i := range objects {
		if calls.Of(twiliosim.OpAny, numberSID(numbersOf(1)+i)).Calls == 1 {
			once++
		}
	}
	processor := after.cpuSeconds() - before.cpuSeconds()
	return outcome{
		Title: fmt.Sprintf("%s synced, at rest, one resync interval", thousands(objects)),
		Figures: []figure{
			count("Twilio calls ÷ objects", float64(calls.Total.Calls)/float64(objects), 1, 2),
			count("numbers read exactly once ÷ objects", float64(once)/float64(objects), 1, 2),
			count("API server writes", after.writes()-before.writes(), 0, 0),
			{Name: "processor: milliseconds a check", Value: 1000 * processor / float64(lists), Decimals: 2},
		},
	}, nil
}

// restart starts a manager on objects that another one has left synced.
func restart(ctx context.Context, w *world) (outcome, error) {
	objects, window, interval := pick(w.bench, 10_000, 300), pick(w.bench, 30*time.Second, 6*time.Second), time.Hour
	if err := w.rested(ctx, objects, interval); err != nil {
		return outcome{}, err
	}
	if err := w.stop(); err != nil {
		return outcome{}, err
	}
	if err := w.sim.Admin.ResetCalls(ctx); err != nil {
		return outcome{}, err
	}
	began := time.Now()
	if err := w.start(ctx); err != nil {
		return outcome{}, err
	}
	time.Sleep(time.Until(began.Add(window)))
	calls, err := w.sim.Admin.Calls(ctx)
	if err != nil {
		return outcome{}, err
	}
	after, err := w.manager.scrape(ctx)
	if err != nil {
		return outcome{}, err
	}
	beyond := calls.Total.Calls
	for i := range objects {
		n := numbersOf(1) + i
		if dueIn(uidOf(n), interval, began, time.Now()) {
			beyond -= min(1, calls.Of(twiliosim.OpAny, numberSID(n)).Calls)
		}
	}
	first, err := w.editWhileStarting(ctx)
	return outcome{
		Title: fmt.Sprintf("restart with %s synced, the first %s", thousands(objects), window),
		Figures: []figure{
			count("calls beyond those due by phase", float64(beyond), 0, 0),
			count("API server writes", after.writes(), 0, 0),
			ratio("an edit made while it starts: done after ready ÷ (3 × latency)", first),
		},
	}, err
}

// editWhileStarting edits a number while no manager runs, starts one, and returns how
// long after it is ready the edit is done, in units of what its calls take.
func (w *world) editWhileStarting(ctx context.Context) (float64, error) {
	if err := w.stop(); err != nil {
		return 0, err
	}
	edited := make(chan error, 1)
	var took float64
	began := time.Now()
	go func() {
		var err error
		took, err = w.swap(ctx, numbersOf(1))
		edited <- err
	}()
	err := w.start(ctx)
	ready := w.readyAt()
	err = errors.Join(err, <-edited)
	done := began.Add(time.Duration(took * float64(callsOfAnEdit*latency)))
	return max(0, done.Sub(ready).Seconds()) / (callsOfAnEdit * latency).Seconds(), err
}

func (w *world) readyAt() time.Time {
	if w.manager == nil {
		return time.Now()
	}
	return w.manager.ready
}
