// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// callCount returns the number of calls to Twilio so far, and the current time.
func (w *world) callCount(ctx context.Context) (twiliosim.Count, time.Time, error) {
	calls, err := w.sim.Admin.CallTotals(ctx)
	return calls.Total, time.Now(), err
}

// waitVerified waits until the manager has verified the credentials of an account.
func (w *world) waitVerified(ctx context.Context, account int) error {
	return w.waitAccount(ctx, account, "accounts verified", func(status *v1alpha1.TwilioAccountStatus) bool { return status.VerifiedSecret != "" })
}

// waitReconciled waits until a new manager has reconciled every object once and has counted the
// objects in the status of their account.
func (w *world) waitReconciled(ctx context.Context, objects int) error {
	err := w.waitAccount(ctx, 1, "accounts that count their objects", func(status *v1alpha1.TwilioAccountStatus) bool {
		return status.Assignments != nil && int(*status.Assignments) == objects
	})
	if err != nil {
		return err
	}
	return w.waitCount(ctx, "first reconciles", objects, func() (int, error) {
		s, err := w.manager.scrape(ctx)
		return int(s.sum("controller_runtime_reconcile_total", `controller="assignment"`)), err
	})
}

// waitAccount waits until the status of an account meets a condition.
func (w *world) waitAccount(ctx context.Context, account int, what string, condition func(*v1alpha1.TwilioAccountStatus) bool) error {
	return w.waitCount(ctx, what, 1, func() (int, error) {
		var a v1alpha1.TwilioAccount
		if err := w.env.Client.Get(ctx, client.ObjectKey{Name: accountName(account)}, &a); err != nil {
			return 0, err
		}
		if condition(&a.Status) {
			return 1, nil
		}
		return 0, nil
	})
}

// atRest measures one resync interval of synced objects. The limit allows the interval: 10,000
// lists of 100 ms, 8 at a time, take 125 s.
func atRest(ctx context.Context, w *world) (outcome, error) {
	objects, interval := pick(w.bench, 10_000, 300), pick(w.bench, 3*time.Minute, 10*time.Second)
	if err := w.startSynced(ctx, objects, interval); err != nil {
		return outcome{}, err
	}
	start := quietGapAfter(time.Now().Add(time.Second), objects, interval)
	w.progress("measuring for %s, starting in %s", interval, time.Until(start).Round(time.Second))
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
		if calls.Of(twiliosim.OpAny, numberSID(firstNumber(1)+i)).Calls == 1 {
			once++
		}
	}
	cpu := after.cpuSeconds() - before.cpuSeconds()
	return outcome{
		Title: fmt.Sprintf("%s synced objects, idle, one resync interval", thousands(objects)),
		Figures: []figure{
			count("Twilio calls ÷ objects", float64(calls.Total.Calls)/float64(objects), 1, 2),
			count("numbers listed exactly once ÷ objects", float64(once)/float64(objects), 1, 2),
			count("API server writes", after.writes()-before.writes(), 0, 0),
			{Name: "CPU milliseconds per check", Value: 1000 * cpu / float64(lists), Decimals: 2},
		},
	}, nil
}

// restart starts a manager when another one has left all objects synced.
func restart(ctx context.Context, w *world) (outcome, error) {
	objects, window, interval := pick(w.bench, 10_000, 300), pick(w.bench, 30*time.Second, 6*time.Second), time.Hour
	if err := w.startSynced(ctx, objects, interval); err != nil {
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
	unexpected := calls.Total.Calls
	for i := range objects {
		n := firstNumber(1) + i
		if dueIn(uidOf(n), interval, began, time.Now()) {
			unexpected -= min(1, calls.Of(twiliosim.OpAny, numberSID(n)).Calls)
		}
	}
	edit, err := w.editDuringStart(ctx)
	return outcome{
		Title: fmt.Sprintf("restart with %s synced objects, first %s", thousands(objects), window),
		Figures: []figure{
			count("calls for objects that are not due", float64(unexpected), 0, 0),
			count("API server writes", after.writes(), 0, 0),
			ratio("edit made during the start: time from ready to synced ÷ (3 × latency)", edit),
		},
	}, err
}

// editDuringStart edits a number while a manager starts. It returns the time from the manager's
// readiness until the edit is synced, divided by the time that its calls take.
func (w *world) editDuringStart(ctx context.Context) (float64, error) {
	if err := w.stop(); err != nil {
		return 0, err
	}
	edited := make(chan error, 1)
	var took float64
	began := time.Now()
	go func() {
		var err error
		took, err = w.swapAddOn(ctx, firstNumber(1))
		edited <- err
	}()
	err := w.start(ctx)
	ready := w.readyAt()
	err = errors.Join(err, <-edited)
	done := began.Add(time.Duration(took * float64(callsOfAnEdit*latency)))
	return max(0, done.Sub(ready).Seconds()) / (callsOfAnEdit * latency).Seconds(), err
}

// readyAt returns when the manager became ready, or now if it did not start.
func (w *world) readyAt() time.Time {
	if w.manager == nil {
		return time.Now()
	}
	return w.manager.ready
}
