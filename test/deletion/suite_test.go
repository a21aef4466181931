// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package deletion tests what becomes of phone numbers and of the cluster when things are
// deleted: objects, accounts, Secrets, namespaces, the kinds and the operator itself, in
// every order, with the real namespace controller and garbage collector.
package deletion

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

const patience = 2 * time.Minute

var (
	env *testenv.Env
	sim *testenv.Simulator
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	// The cases wait, most of the time, for processes other than this one.
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	testenv.Exit(testenv.Within(context.Background(), func(e *testenv.Env, s *testenv.Simulator) (code int, err error) {
		env, sim = e, s
		controllers, err := env.StartControllerManager(context.Background())
		if err != nil {
			return 1, err
		}
		defer func() { err = errors.Join(err, controllers.Kill()) }()
		return m.Run(), nil
	}))
}

// startManager starts a manager that is stopped after the test and its subtests.
func startManager(t *testing.T) {
	t.Helper()
	manager, err := env.StartManager(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := manager.Stop(); err != nil {
			log, _ := os.ReadFile(manager.Log)
			t.Errorf("the manager ended with %v; its log ends:\n%s", err, log[max(0, len(log)-4000):])
		}
	})
}

// world is a Twilio account of a test's own with a Secret, a TwilioAccount and a
// namespace, all of one name.
type world struct {
	*testing.T
	name    string
	account string // SID
	addOns  []string
	seed    int
	// since is the last entry of the journal before anything was deleted.
	since int64
}

var worlds atomic.Int32

func newWorld(t *testing.T) *world {
	t.Helper()
	n := int(worlds.Add(1))
	w := &world{T: t, name: fmt.Sprintf("world-%d", n), account: twiliosim.SID("AC", n), seed: n * 100}
	w.must(sim.Admin.AddAccount(t.Context(), w.account, w.token()))
	for i := range 4 {
		xe := twiliosim.SID("XE", w.seed+i)
		w.addOns = append(w.addOns, xe)
		w.must(sim.Admin.InstallAddOn(t.Context(), w.account, xe, fmt.Sprintf("addon_%d", i)))
	}
	w.must(env.Client.Create(t.Context(), w.secret()))
	w.must(env.Client.Create(t.Context(), w.twilioAccount()))
	w.must(env.Client.Create(t.Context(), w.namespace(w.name)))
	return w
}

func (w *world) token() string { return "token" + w.account[2:] }

func (w *world) tenancy() testenv.Tenancy {
	return testenv.Tenancy{Name: w.name, AccountSID: w.account, AuthToken: w.token(), URL: sim.URL}
}

func (w *world) secret() *corev1.Secret                  { return w.tenancy().Secret() }
func (w *world) namespace(name string) *corev1.Namespace { return w.tenancy().Namespace(name) }
func (w *world) twilioAccount() *v1alpha1.TwilioAccount  { return w.tenancy().Account() }

type assignment = v1alpha1.PhoneNumberAddOnAssignment

// number is a phone number and what becomes of it.
type number struct {
	*assignment
	sid string
	// managed are the add-ons, by index, that deleting the object has to remove;
	// foreign are the others on the number, which no deletion may touch.
	managed, foreign []int
}

// add creates an object for a new number, which already carries the add-ons found.
func (w *world) add(name string, wanted, found []int, changes ...func(*assignment)) *number {
	w.Helper()
	w.seed++
	n := &number{sid: twiliosim.SID("PN", w.seed), assignment: &assignment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.name},
		Spec:       v1alpha1.PhoneNumberAddOnAssignmentSpec{AddOnSIDs: w.sids(wanted), AccountRef: v1alpha1.AccountReference{Name: w.name}},
	}}
	n.Spec.PhoneNumberSID = v1alpha1.PhoneNumberSID(n.sid)
	w.must(sim.Admin.AddNumber(w.Context(), w.account, n.sid, fmt.Sprintf("+1415%07d", w.seed)))
	for _, i := range found {
		w.must(sim.Admin.Assign(w.Context(), n.sid, w.addOns[i]))
	}
	for _, change := range changes {
		change(n.assignment)
	}
	w.must(env.Client.Create(w.Context(), n.assignment))
	return n
}

func (w *world) sids(indexes []int) []v1alpha1.AddOnSID {
	sids := []v1alpha1.AddOnSID{}
	for _, i := range indexes {
		sids = append(sids, v1alpha1.AddOnSID(w.addOns[i]))
	}
	return sids
}

// lines creates one object of each policy, and waits until all of them are ready.
func (w *world) lines() []*number {
	w.Helper()
	policy := func(p v1alpha1.ManagementPolicy) func(*assignment) {
		return func(a *assignment) { a.Spec.ManagementPolicy = p }
	}
	numbers := []*number{
		w.add("authoritative", []int{0, 1}, []int{1}),
		w.add("additive", []int{0, 1}, []int{1, 2}, policy(v1alpha1.ManagementAdditive)),
		w.add("observe", []int{0}, []int{1}, policy(v1alpha1.ManagementObserve)),
		w.add("retain", []int{0}, nil, func(a *assignment) { a.Spec.DeletionPolicy = v1alpha1.DeletionRetain }),
	}
	numbers[0].managed = []int{0, 1}
	numbers[1].managed, numbers[1].foreign = []int{0}, []int{1, 2}
	numbers[2].foreign = []int{1}
	numbers[3].foreign = []int{0}
	w.ready(numbers...)
	return numbers
}

// ready waits until the objects and their account are, and marks the place in the journal.
func (w *world) ready(numbers ...*number) {
	w.Helper()
	account := w.twilioAccount()
	w.wait("the account is ready", func() error {
		err := env.Client.Get(w.Context(), client.ObjectKeyFromObject(account), account)
		if err == nil && !meta.IsStatusConditionTrue(account.Status.Conditions, v1alpha1.ConditionReady) {
			err = fmt.Errorf("its status is %+v", account.Status)
		}
		return err
	})
	if len(numbers) > 0 {
		w.wait("the Secret is held", func() error {
			secret := w.secret()
			err := env.Client.Get(w.Context(), client.ObjectKeyFromObject(secret), secret)
			if err == nil && !slices.Contains(secret.Finalizers, v1alpha1.FinalizerInUse) {
				err = fmt.Errorf("its finalizers are %v", secret.Finalizers)
			}
			return err
		})
	}
	for _, n := range numbers {
		w.wait(n.Name+" is ready", func() error {
			if err := env.Client.Get(w.Context(), client.ObjectKeyFromObject(n), n.assignment); err != nil {
				return err
			}
			if n.Status.ObservedGeneration != n.Generation || !meta.IsStatusConditionTrue(n.Status.Conditions, v1alpha1.ConditionReady) {
				return fmt.Errorf("its status is %+v", n.Status)
			}
			return nil
		})
	}
	w.since = w.journal()
}

func (w *world) journal() int64 {
	w.Helper()
	all, err := sim.Admin.JournalAfter(w.Context(), w.since)
	w.must(err)
	if len(all) == 0 {
		return w.since
	}
	return all[len(all)-1].Seq
}

// cleaned checks, on the state and on the journal, that exactly what the objects managed
// was removed; if untouched, that nothing was.
func (w *world) cleaned(untouched bool, numbers ...*number) {
	w.Helper()
	var want []string
	for _, n := range numbers {
		left := n.foreign
		if untouched {
			left = slices.Concat(n.managed, n.foreign)
		} else {
			for _, i := range n.managed {
				want = append(want, "unassign "+w.addOns[i]+" of "+n.sid)
			}
		}
		got, err := sim.Admin.Assigned(w.Context(), n.sid)
		w.must(err)
		var expected []string
		for _, i := range left {
			expected = append(expected, w.addOns[i])
		}
		slices.Sort(expected)
		if diff := cmp.Diff(expected, got, equateEmpty); diff != "" {
			w.Errorf("the number of %s carries (-want +got):\n%s", n.Name, diff)
		}
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, w.changes(), equateEmpty); diff != "" {
		w.Errorf("the operator's changes (-want +got):\n%s", diff)
	}
}

var equateEmpty = cmp.Transformer("empty", func(s []string) []string {
	if len(s) == 0 {
		return nil
	}
	return s
})

// changes are what the operator did in the account since ready, sorted.
func (w *world) changes() []string {
	w.Helper()
	all, err := sim.Admin.JournalAfter(w.Context(), w.since)
	w.must(err)
	var changes []string
	for _, m := range all {
		if m.Actor == twiliosim.ActorAPI && m.Account == w.account {
			changes = append(changes, fmt.Sprintf("%s %s of %s", m.Change, m.AddOn, m.Number))
		}
	}
	slices.Sort(changes)
	return changes
}

// blocked waits until the object says the reason, and that Retain is a way out.
func (w *world) blocked(n *number, reason string, hints ...string) {
	w.Helper()
	w.says(n, reason, append(hints, "set spec.deletionPolicy to Retain")...)
	if n.DeletionTimestamp.IsZero() {
		w.Errorf("%s is not being deleted", n.Name)
	}
}

// says waits until the object is not ready for a reason, with hints in the message.
func (w *world) says(n *number, reason string, hints ...string) {
	w.Helper()
	w.wait(n.Name+" says "+reason, func() error {
		if err := env.Client.Get(w.Context(), client.ObjectKeyFromObject(n), n.assignment); err != nil {
			return err
		}
		return testenv.Says(n.Status.Conditions, reason, hints...)
	})
}

// approve waits until so many removals are held, and approves them.
func (w *world) approve(held int) {
	w.Helper()
	account := w.twilioAccount()
	w.wait(fmt.Sprintf("%d removals are held", held), func() error {
		err := env.Client.Get(w.Context(), client.ObjectKeyFromObject(account), account)
		if err == nil && account.Status.Removals.Held != int32(held) {
			err = fmt.Errorf("its removals are %+v", account.Status.Removals)
		}
		return err
	})
	w.patch(account, fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationApproveRemovals, account.Status.Removals.Hold))
}

// retain is the way out that every message names.
func (w *world) retain(numbers ...*number) {
	w.Helper()
	for _, n := range numbers {
		w.patch(n.assignment, `{"spec":{"deletionPolicy":"Retain"}}`)
	}
}

func (w *world) patch(object client.Object, merge string) {
	w.Helper()
	err := env.Client.Patch(w.Context(), object, client.RawPatch("application/merge-patch+json", []byte(merge)))
	w.must(client.IgnoreNotFound(err))
}

func (w *world) delete(object client.Object, options ...client.DeleteOption) {
	w.Helper()
	w.must(env.Client.Delete(w.Context(), object, options...))
}

// gone waits until the objects are.
func (w *world) gone(objects ...client.Object) {
	w.Helper()
	for _, object := range objects {
		w.wait(object.GetName()+" is gone", func() error {
			err := env.Client.Get(w.Context(), client.ObjectKeyFromObject(object), object)
			if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
				return nil
			}
			return errors.Join(fmt.Errorf("it is still there: %+v", object), err)
		})
	}
}

func (w *world) wait(what string, holds func() error) {
	w.Helper()
	w.must(testenv.Wait(w.Context(), patience, what, holds))
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}
