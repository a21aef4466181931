// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

type assignment = v1alpha1.PhoneNumberAddOnAssignment

const (
	authToken = "benchtoken"
	namespace = "default" // of the objects

	// waitTimeout is how long a wait may take without any progress.
	waitTimeout = 2 * time.Minute

	// writeConcurrency is how many objects the bench writes at once.
	writeConcurrency = 8
)

// world is the environment of one scenario: an API server without objects, a simulator, and
// a manager once start was called.
type world struct {
	*bench
	sim     *testenv.Simulator
	track   *tracker
	manager *manager
	// stopTracker ends the watch of the bench.
	stopTracker context.CancelFunc
}

// newWorld removes the objects of earlier scenarios and all events, and starts a simulator.
func (b *bench) newWorld(ctx context.Context) (*world, error) {
	ctx, stopTracker := context.WithCancel(ctx)
	w := &world{bench: b, stopTracker: stopTracker}
	err := errors.Join(
		b.etcd.deletePrefix(ctx, "/registry/"+v1alpha1.GroupVersion.Group+"/"),
		b.etcd.deletePrefix(ctx, "/registry/events/"),
	)
	if err == nil {
		w.sim, err = b.env.StartSimulator(ctx)
	}
	if err == nil {
		w.track, err = startTracker(ctx, b.env.Config, b.env.Client)
	}
	if err == nil {
		err = w.waitCount(ctx, "objects left by the previous scenario", 0, func() (int, error) {
			left, _ := w.track.counts()
			return -left, nil // waitCount waits for at least 0
		})
	}
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// close stops everything that newWorld and start have started.
func (w *world) close() error {
	w.stopTracker()
	err := w.stop()
	if w.sim != nil {
		err = errors.Join(err, w.sim.Stop())
	}
	return err
}

// accountSID returns the SID of the n-th account, counted from 1.
func accountSID(n int) string { return twiliosim.SID("AC", n) }

// accountName returns the name of the n-th TwilioAccount, counted from 1.
func accountName(n int) string { return fmt.Sprintf("account-%d", n) }

// addOnSID returns the i-th add-on of the n-th account, both counted from 1.
func addOnSID(n, i int) v1alpha1.AddOnSID { return v1alpha1.AddOnSID(twiliosim.SID("XE", n*100+i)) }

// addOns returns the first add-ons of an account.
func addOns(account, count int) []v1alpha1.AddOnSID {
	sids := make([]v1alpha1.AddOnSID, 0, count)
	for i := range count {
		sids = append(sids, addOnSID(account, i+1))
	}
	return sids
}

// firstNumber returns the first number of an account. Each account has a range of a million.
func firstNumber(account int) int { return account * 1_000_000 }

func numberSID(n int) string { return twiliosim.SID("PN", n) }

// seed adds an account to the simulator, with numbers that have the first add-ons assigned.
func (w *world) seed(ctx context.Context, account, numbers, assigned int) error {
	return w.sim.Admin.Seed(ctx, twiliosim.Seed{
		Account: accountSID(account), AuthToken: authToken,
		Numbers: numbers, FirstNumber: firstNumber(account),
		AddOns: addOnsPerAccount, FirstAddOn: account*100 + 1, Assigned: assigned,
	})
}

// addOnsPerAccount is how many add-ons are installed on each account.
const addOnsPerAccount = 5

// applyAccount creates the TwilioAccount and its Secret.
func (w *world) applyAccount(ctx context.Context, account, limit int, resync time.Duration) error {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "twilio", Namespace: testenv.Namespace},
		StringData: map[string]string{v1alpha1.SecretKeyAuthToken: authToken},
	}
	if err := w.env.Client.Create(ctx, secret); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return w.env.Client.Create(ctx, &v1alpha1.TwilioAccount{
		ObjectMeta: metav1.ObjectMeta{Name: accountName(account)},
		Spec: v1alpha1.TwilioAccountSpec{
			AccountSID:            v1alpha1.AccountSID(accountSID(account)),
			CredentialsSecretRef:  v1alpha1.SecretReference{Name: secret.Name},
			AllowedNamespaces:     v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll},
			APIBaseURL:            w.sim.URL,
			MaxConcurrentRequests: int32(limit),
			ResyncInterval:        metav1.Duration{Duration: resync},
			// Every removal is counted in the account's status first, as by default, and none is held.
			RemovalBudget: v1alpha1.RemovalBudget{MinNumbers: new(int32(100_000))},
		},
	})
}

// objectName returns the name of the object for a number.
func objectName(number int) string { return fmt.Sprintf("line-%07d", number) }

// createObjects creates an object for each number of an account through the API server.
func (w *world) createObjects(ctx context.Context, account, count int) error {
	return inParallel(ctx, count, writeConcurrency, func(i int) error {
		n := firstNumber(account) + i
		return w.env.Client.Create(ctx, &assignment{
			ObjectMeta: metav1.ObjectMeta{Name: objectName(n), Namespace: namespace},
			Spec: v1alpha1.PhoneNumberAddOnAssignmentSpec{
				PhoneNumberSID: v1alpha1.PhoneNumberSID(numberSID(n)),
				AddOnSIDs:      addOns(account, addOnsPerNumber),
				AccountRef:     v1alpha1.AccountReference{Name: accountName(account)},
			},
		})
	})
}

// setTwilioLimits sets the latency of the simulator and its concurrency limit per account.
func (w *world) setTwilioLimits(ctx context.Context, latency time.Duration, limit int) error {
	return w.sim.Admin.UpdateBehaviour(ctx, func(b *twiliosim.Behaviour) {
		b.Latency, b.ConcurrencyLimit = twiliosim.Duration(latency), limit
	})
}

// waitCount waits until have returns at least want, and prints progress. It fails if the count
// does not change for waitTimeout.
func (w *world) waitCount(ctx context.Context, what string, want int, have func() (int, error)) error {
	tick, printed := time.NewTicker(20*time.Millisecond), time.Now()
	defer tick.Stop()
	last, changed := -1, time.Now()
	for {
		n, err := have()
		switch {
		case err != nil:
			return err
		case n >= want:
			return nil
		case n != last:
			last, changed = n, time.Now()
		case time.Since(changed) > waitTimeout:
			return fmt.Errorf("%s: %d of %d, unchanged for %s", what, n, want, waitTimeout)
		}
		if time.Since(printed) > 10*time.Second {
			printed = time.Now()
			w.progress("%s: %d of %d", what, n, want)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// inParallel calls do for 0 to count-1 on several goroutines. It stops at the first error and
// returns it.
func inParallel(ctx context.Context, count, workers int, do func(i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next, ended := make(chan int), make(chan struct{})
	for range workers {
		go func() {
			defer func() { ended <- struct{}{} }()
			for i := range next {
				if err := do(i); err != nil {
					cancel(err)
				}
			}
		}()
	}
feed:
	for i := range count {
		select {
		case next <- i:
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	for range workers {
		<-ended
	}
	return context.Cause(ctx)
}
