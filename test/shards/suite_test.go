// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package shards tests several managers as processes: each account is served by one of
// them, whatever happens to labels, accounts and managers.
package shards

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/shard"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

const (
	patience = 90 * time.Second

	// The selectors of the three managers. Two of them select the label "both".
	selectorA = "shard in (a,both)"
	selectorB = "shard=b"
	selectorC = "shard in (both,c)"
)

var (
	env *testenv.Env
	sim *testenv.Simulator
	// manager is one of those that all tests share. All managers have one log.
	manager *testenv.Process
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	// The cases wait, most of the time, for processes other than this one.
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	testenv.Exit(testenv.Within(context.Background(), func(e *testenv.Env, s *testenv.Simulator) (int, error) {
		env, sim = e, s
		if err := e.GrantShards(context.Background()); err != nil {
			return 1, err
		}
		// Slow enough for a change of hands to find calls in flight.
		slow := func(b *twiliosim.Behaviour) { b.Latency = twiliosim.Duration(100 * time.Millisecond) }
		if err := sim.Admin.UpdateBehaviour(context.Background(), slow); err != nil {
			return 1, err
		}
		for _, selector := range []string{selectorA, selectorB, selectorC} {
			var err error
			if manager, err = start(context.Background(), selector); err != nil {
				return 1, err
			}
		}
		return m.Run(), nil
	}))
}

func start(ctx context.Context, selector string) (*testenv.Process, error) {
	return env.StartManager(ctx, "--account-selector="+selector, "--leader-elect-lease-duration=4s")
}

// leaseOf is the name of a manager, which accounts name in their status.
func leaseOf(t *testing.T, selector string) string {
	t.Helper()
	parsed, err := labels.Parse(selector)
	if err != nil {
		t.Fatal(err)
	}
	return shard.New(parsed).Name
}

// world is a Twilio account with a TwilioAccount, a Secret and a namespace.
type world struct {
	*testing.T
	testenv.Tenancy
	addOns []v1alpha1.AddOnSID
	seed   int
}

var worlds atomic.Int32

// newWorld makes a world whose TwilioAccount has the label shard.
func newWorld(t *testing.T, label string) *world {
	t.Helper()
	n := int(worlds.Add(1))
	w := &world{T: t, seed: n * 1000, Tenancy: testenv.Tenancy{
		Name: fmt.Sprintf("world-%d", n), AccountSID: twiliosim.SID("AC", n), AuthToken: fmt.Sprintf("token-%d", n), URL: sim.URL,
	}}
	w.must(sim.Admin.AddAccount(t.Context(), w.AccountSID, w.AuthToken))
	for i := range 3 {
		xe := twiliosim.SID("XE", w.seed+i)
		w.addOns = append(w.addOns, v1alpha1.AddOnSID(xe))
		w.must(sim.Admin.InstallAddOn(t.Context(), w.AccountSID, xe, fmt.Sprintf("addon_%d", i)))
	}
	w.must(env.Client.Create(t.Context(), w.Secret()))
	w.must(env.Client.Create(t.Context(), w.Namespace(w.Name)))
	w.createAccount(w.Name, label)
	return w
}

// createAccount makes a TwilioAccount of the world's account SID.
func (w *world) createAccount(name, label string) {
	w.Helper()
	account := w.Account()
	account.Name, account.Labels = name, map[string]string{"shard": label}
	w.must(env.Client.Create(w.Context(), account))
}

// assign creates an object for a number of the account, which lists the first add-on.
func (w *world) assign(n int) *v1alpha1.PhoneNumberAddOnAssignment {
	w.Helper()
	pn := twiliosim.SID("PN", w.seed+n)
	w.must(sim.Admin.AddNumber(w.Context(), w.AccountSID, pn, fmt.Sprintf("+1415%07d", w.seed+n)))
	a := &v1alpha1.PhoneNumberAddOnAssignment{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("line-%d", n), Namespace: w.Name},
		Spec: v1alpha1.PhoneNumberAddOnAssignmentSpec{
			PhoneNumberSID: v1alpha1.PhoneNumberSID(pn), AddOnSIDs: w.addOns[:1], AccountRef: v1alpha1.AccountReference{Name: w.Name},
		},
	}
	w.must(env.Client.Create(w.Context(), a))
	return a
}

// edit changes an object.
func edit[T client.Object](w *world, object T, change func(T)) {
	w.Helper()
	base, ok := object.DeepCopyObject().(T)
	if !ok {
		w.Fatalf("%T is no object", object)
	}
	change(object)
	w.must(env.Client.Patch(w.Context(), object, client.MergeFrom(base)))
}

// label gives a TwilioAccount another label.
func (w *world) label(name, label string) {
	w.Helper()
	account := &v1alpha1.TwilioAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	w.must(env.Client.Get(w.Context(), client.ObjectKeyFromObject(account), account))
	edit(w, account, func(a *v1alpha1.TwilioAccount) { a.Labels = map[string]string{"shard": label} })
}

// awaitManager waits until an account names the manager of a selector.
func (w *world) awaitManager(name, selector string) {
	w.Helper()
	want := leaseOf(w.T, selector)
	w.eventually("account "+name+" names "+selector, func() error {
		account, err := w.account(name)
		if err == nil && account.Status.Manager != want {
			err = fmt.Errorf("it names %q, not %q", account.Status.Manager, want)
		}
		return err
	})
}

func (w *world) account(name string) (*v1alpha1.TwilioAccount, error) {
	account := &v1alpha1.TwilioAccount{}
	return account, env.Client.Get(w.Context(), client.ObjectKey{Name: name}, account)
}

// awaitAccount waits until the Ready condition of an account has a reason.
func (w *world) awaitAccount(name, reason string, hints ...string) {
	w.Helper()
	w.eventually("account "+name+" is "+reason, func() error {
		account, err := w.account(name)
		return errors.Join(err, testenv.Says(account.Status.Conditions, reason, hints...))
	})
}

// awaitReason waits until the Ready condition of an object has a reason for its spec.
func (w *world) awaitReason(a *v1alpha1.PhoneNumberAddOnAssignment, reason string) {
	w.Helper()
	w.eventually(a.Name+" is "+reason, func() error {
		err := env.Client.Get(w.Context(), client.ObjectKeyFromObject(a), a)
		if err == nil && a.Status.ObservedGeneration != a.Generation {
			err = fmt.Errorf("generation %d of %d is reported", a.Status.ObservedGeneration, a.Generation)
		}
		return errors.Join(err, testenv.Says(a.Status.Conditions, reason))
	})
}

// awaitBare waits until the number of an object carries no add-on.
func (w *world) awaitBare(a *v1alpha1.PhoneNumberAddOnAssignment) {
	w.Helper()
	w.eventually("the number of "+a.Name+" is bare", func() error {
		left, err := sim.Admin.Assigned(w.Context(), string(a.Spec.PhoneNumberSID))
		if len(left) > 0 {
			err = fmt.Errorf("it carries %v", left)
		}
		return err
	})
}

// checkWrites compares the changes that the simulator made to a number with the only ones
// that are right, and the requests for changes with the changes: none came twice.
func (w *world) checkWrites(a *v1alpha1.PhoneNumberAddOnAssignment, want ...string) {
	w.Helper()
	journal, err := sim.Admin.JournalAfter(w.Context(), 0)
	w.must(err)
	var got []string
	for _, m := range journal {
		if m.Number == string(a.Spec.PhoneNumberSID) && m.Actor != twiliosim.ActorConsole {
			got = append(got, fmt.Sprintf("%s %d", m.Change, slices.Index(w.addOns, v1alpha1.AddOnSID(m.AddOn))))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.Errorf("the changes of %s (-want +got)\n%s", a.Name, diff)
	}
	calls, err := sim.Admin.Calls(w.Context())
	w.must(err)
	number := string(a.Spec.PhoneNumberSID)
	if n := calls.Of(twiliosim.OpCreate, number).Calls + calls.Of(twiliosim.OpDelete, number).Calls; n != len(want) {
		w.Errorf("%d requests for %d changes of %s", n, len(want), a.Name)
	}
}

func (w *world) eventually(what string, holds func() error) {
	w.Helper()
	w.must(testenv.Wait(w.Context(), patience, what, holds))
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}
