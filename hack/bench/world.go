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
	objectsIn = "default" // their namespace

	// patience bounds a wait for what should come at once.
	patience = 2 * time.Minute

	// writers is how many requests of the bench's own are in flight at once.
	writers = 8
)

// world is what one scenario runs in: an API server without objects, a simulator and a
// manager of its own. All accounts have the same numbers of add-ons.
type world struct {
	*bench
	sim     *testenv.Simulator
	track   *tracker
	manager *manager
	end     context.CancelFunc
}

// newWorld wipes the API server and starts a simulator.
func (b *bench) newWorld(ctx context.Context) (*world, error) {
	ctx, end := context.WithCancel(ctx)
	w := &world{bench: b, end: end}
	err := errors.Join(
		b.etcd.clear(ctx, "/registry/"+v1alpha1.GroupVersion.Group+"/"),
		b.etcd.clear(ctx, "/registry/events/"),
	)
	if err == nil {
		w.sim, err = b.env.StartSimulator(ctx)
	}
	if err == nil {
		w.track, err = startTracker(ctx, b.env.Config, b.env.Client)
	}
	if err == nil {
		err = w.until(ctx, "objects are left of the last scenario", 0, func() (int, error) {
			left, _ := w.track.counts()
			return -left, nil
		})
	}
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// close stops what newWorld and start have started.
func (w *world) close() error {
	w.end()
	err := w.stop()
	if w.sim != nil {
		err = errors.Join(err, w.sim.Stop())
	}
	return err
}

// accountSID is that of the n-th account, counted from 1.
func accountSID(n int) string { return twiliosim.SID("AC", n) }

// accountName is the name of its TwilioAccount.
func accountName(n int) string { return fmt.Sprintf("account-%d", n) }

// addOnSID is the i-th add-on of the n-th account, both counted from 1.
func addOnSID(n, i int) v1alpha1.AddOnSID { return v1alpha1.AddOnSID(twiliosim.SID("XE", n*100+i)) }

// addOns are the first add-ons of an account.
func addOns(account, count int) []v1alpha1.AddOnSID {
	sids := make([]v1alpha1.AddOnSID, 0, count)
	for i := range count {
		sids = append(sids, addOnSID(account, i+1))
	}
	return sids
}

// numbersOf is the first number of an account, of a million each.
func numbersOf(account int) int { return account * 1_000_000 }

func numberSID(n int) string { return twiliosim.SID("PN", n) }

// seed has Twilio know an account with numbers that carry the first add-ons already.
func (w *world) seed(ctx context.Context, account, numbers, assigned int) error {
	return w.sim.Admin.Seed(ctx, twiliosim.Seed{
		Account: accountSID(account), AuthToken: authToken,
		Numbers: numbers, FirstNumber: numbersOf(account),
		AddOns: installed, FirstAddOn: account*100 + 1, Assigned: assigned,
	})
}

// installed is how many add-ons each account has.
const installed = 5

// applyAccount creates the TwilioAccount, and its Secret.
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
		},
	})
}

// objectName is that of the object for a number.
func objectName(number int) string { return fmt.Sprintf("line-%07d", number) }

// create creates an object for each number of an account through the API.
func (w *world) create(ctx context.Context, account, count int) error {
	return inParallel(ctx, count, writers, func(i int) error {
		n := numbersOf(account) + i
		return w.env.Client.Create(ctx, &assignment{
			ObjectMeta: metav1.ObjectMeta{Name: objectName(n), Namespace: objectsIn},
			Spec: v1alpha1.PhoneNumberAddOnAssignmentSpec{
				PhoneNumberSID: v1alpha1.PhoneNumberSID(numberSID(n)),
				AddOnSIDs:      addOns(account, carried),
				AccountRef:     v1alpha1.AccountReference{Name: accountName(account)},
			},
		})
	})
}

// behave sets Twilio's latency, and how many requests of an account it takes at once.
func (w *world) behave(ctx context.Context, latency time.Duration, limit int) error {
	return w.sim.Admin.UpdateBehaviour(ctx, func(b *twiliosim.Behaviour) {
		b.Latency, b.ConcurrencyLimit = twiliosim.Duration(latency), limit
	})
}

// until waits for a number of things, and tells how far it is.
func (w *world) until(ctx context.Context, what string, want int, have func() (int, error)) error {
	tick, told := time.NewTicker(20*time.Millisecond), time.Now()
	defer tick.Stop()
	last, moved := -1, time.Now()
	for {
		n, err := have()
		switch {
		case err != nil:
			return err
		case n >= want:
			return nil
		case n != last:
			last, moved = n, time.Now()
		case time.Since(moved) > patience:
			return fmt.Errorf("%s: %d of %d, and no more for %s", what, n, want, patience)
		}
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			w.say("%s: %d of %d", what, n, want)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// inParallel calls do for 0 to count-1 from several goroutines, until one fails.
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
