// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package deletion

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// TestDeletion runs every case beside the others, under one manager.
//
//nolint:tparallel // one manager at a time acts on the cluster
func TestDeletion(t *testing.T) {
	startManager(t)
	t.Run("propagation", testPropagation)
	t.Run("order", testOrder)
	t.Run("trouble", testTrouble)
	t.Run("many", testManyObjects)
	t.Run("more than the budget", testMoreThanTheBudget)
	t.Run("handover", testHandover)
	t.Run("without a finalizer", testNeverWorked)
	t.Run("released number", testReleasedNumber)
}

// deleteNumbers deletes the objects, one by one or with their namespace.
func (w *world) deleteNumbers(whole bool, numbers []*number, options ...client.DeleteOption) {
	w.Helper()
	if whole {
		w.delete(w.namespace(w.name), options...)
		return
	}
	for _, n := range numbers {
		w.delete(n.assignment, options...)
	}
}

// numbersGone waits until the objects are, and the namespace if it was deleted.
func (w *world) numbersGone(whole bool, numbers ...*number) {
	w.Helper()
	for _, n := range numbers {
		w.gone(n.assignment)
	}
	if whole {
		w.gone(w.namespace(w.name))
	}
}

// However an object, its namespace or its account is deleted, the numbers are clean of
// what it managed before it goes.
func testPropagation(t *testing.T) {
	for _, policy := range []metav1.DeletionPropagation{metav1.DeletePropagationForeground, metav1.DeletePropagationBackground, metav1.DeletePropagationOrphan} {
		for _, whole := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s of %s", policy, subject(whole)), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				numbers := w.lines()
				w.delete(w.twilioAccount(), client.PropagationPolicy(policy))
				w.held()
				w.deleteNumbers(whole, numbers, client.PropagationPolicy(policy))
				w.numbersGone(whole, numbers...)
				w.cleaned(false, numbers...)
				w.gone(w.twilioAccount())
			})
		}
	}
}

func subject(whole bool) string {
	if whole {
		return "the namespace"
	}
	return "the objects"
}

// held waits until the account says that it waits for its objects.
func (w *world) held() {
	w.Helper()
	account := w.twilioAccount()
	w.wait("the account says that it is held", func() error {
		if err := env.Client.Get(w.Context(), client.ObjectKeyFromObject(account), account); err != nil {
			return err
		}
		for _, condition := range account.Status.Conditions {
			if condition.Type == v1alpha1.ConditionReady && strings.Contains(condition.Message, "held until no assignment refers to it") {
				return nil
			}
		}
		return fmt.Errorf("its status is %+v", account.Status)
	})
}

// Objects, account and Secret in every order. The Secret and the account stay until the
// objects that need them are gone.
func testOrder(t *testing.T) {
	for _, order := range [][]string{
		{"objects", "account", "secret"}, {"objects", "secret", "account"},
		{"account", "objects", "secret"}, {"account", "secret", "objects"},
		{"secret", "objects", "account"}, {"secret", "account", "objects"},
	} {
		for _, whole := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, by %s", strings.Join(order, ", then "), subject(whole)), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.deleteInOrder(order, whole, w.lines())
				w.gone(w.twilioAccount(), w.secret())
			})
		}
	}
}

func (w *world) deleteInOrder(order []string, whole bool, numbers []*number) {
	w.Helper()
	deleted := map[string]bool{}
	for _, step := range order {
		deleted[step] = true
		switch step {
		case "secret":
			w.delete(w.secret())
		case "account":
			w.delete(w.twilioAccount())
			if !deleted["objects"] {
				w.held()
			}
		case "objects":
			w.deleteNumbers(whole, numbers)
			w.numbersGone(whole, numbers...)
		}
	}
	w.cleaned(false, numbers...)
}

// trouble is why a deletion cannot go on, and how it is mended.
type trouble struct {
	name        string
	begin, mend func(w *world)
	reason      string
	hints       []string
}

var troubles = []trouble{
	{
		name: "the Secret is gone, its finalizer removed by hand",
		begin: func(w *world) {
			w.delete(w.secret())
			w.patch(w.secret(), `{"metadata":{"finalizers":null}}`)
			w.gone(w.secret())
		},
		mend:  func(w *world) { w.must(env.Client.Create(w.Context(), w.secret())) },
		hints: []string{v1alpha1.ReasonCredentialsInvalid, "does not exist in the operator's namespace"},
	},
	{
		name:  "the Secret is empty",
		begin: func(w *world) { w.patch(w.secret(), `{"data":null}`) },
		mend: func(w *world) {
			w.patch(w.secret(), fmt.Sprintf(`{"stringData":{%q:%q}}`, v1alpha1.SecretKeyAuthToken, w.token()))
		},
		hints: []string{v1alpha1.ReasonCredentialsInvalid},
	},
	{
		name:  "the credential is revoked",
		begin: func(w *world) { w.must(sim.Admin.RotateAuthToken(w.Context(), w.account, "another")) },
		mend: func(w *world) {
			w.patch(w.secret(), fmt.Sprintf(`{"stringData":{%q:"another"}}`, v1alpha1.SecretKeyAuthToken))
		},
		hints: []string{v1alpha1.ReasonCredentialsInvalid, "Twilio does not accept the auth token"},
	},
	{
		name: "Twilio has suspended the account",
		begin: func(w *world) {
			w.must(sim.Admin.SetAccountStatus(w.Context(), w.account, twiliosim.AccountSuspended))
		},
		mend: func(w *world) {
			w.must(sim.Admin.SetAccountStatus(w.Context(), w.account, twiliosim.AccountActive))
			w.patch(w.secret(), `{"metadata":{"annotations":{"try":"again"}}}`)
		},
		hints: []string{v1alpha1.ReasonCredentialsInvalid, "Account not active"},
	},
	{
		name: "the account is gone, its finalizer taken away by hand",
		begin: func(w *world) {
			w.delete(w.twilioAccount())
			w.patch(w.twilioAccount(), `{"metadata":{"finalizers":null}}`)
			w.gone(w.twilioAccount())
		},
		mend:  func(w *world) { w.must(env.Client.Create(w.Context(), w.twilioAccount())) },
		hints: []string{v1alpha1.ReasonAccountNotFound, "does not exist"},
	},
	{
		name: "the namespace is no longer allowed",
		begin: func(w *world) {
			w.patch(w.namespace(w.name), `{"metadata":{"labels":{"tenancy":"another"}}}`)
		},
		mend: func(w *world) {
			w.patch(w.namespace(w.name), fmt.Sprintf(`{"metadata":{"labels":{"tenancy":%q}}}`, w.name))
		},
		hints: []string{v1alpha1.ReasonNamespaceNotAllowed, "allowedNamespaces"},
	},
	{
		// What answers there says 404 to everything, which is no news of a number.
		name: "the address of Twilio is wrong",
		begin: func(w *world) {
			w.patch(w.twilioAccount(), fmt.Sprintf(`{"spec":{"apiBaseURL":%q}}`, sim.URL+"/elsewhere"))
		},
		mend: func(w *world) {
			w.patch(w.twilioAccount(), fmt.Sprintf(`{"spec":{"apiBaseURL":%q}}`, sim.URL))
		},
		reason: v1alpha1.ReasonTwilioUnavailable,
		hints:  []string{"unreachable or failing", "404"},
	},
	{
		name: "the address of Twilio is none",
		begin: func(w *world) {
			w.patch(w.twilioAccount(), fmt.Sprintf(`{"spec":{"apiBaseURL":%q}}`, sim.URL+"/2010-04-01"))
		},
		mend: func(w *world) {
			w.patch(w.twilioAccount(), fmt.Sprintf(`{"spec":{"apiBaseURL":%q}}`, sim.URL))
		},
		hints: []string{v1alpha1.ReasonAccountInvalid, "leave out /2010-04-01"},
	},
	{
		name: "Twilio is down",
		begin: func(w *world) {
			w.must(sim.Admin.AddFault(w.Context(), twiliosim.Fault{Account: w.account, Kind: twiliosim.FaultReset}))
		},
		mend:   func(w *world) { w.must(w.clearFaults()) },
		reason: v1alpha1.ReasonTwilioUnavailable,
		hints:  []string{"unreachable or failing", "Retrying"},
	},
}

// clearFaults removes the faults of this world's account.
func (w *world) clearFaults() error {
	faults, err := sim.Admin.Faults(w.Context())
	for _, fault := range faults {
		if fault.Account == w.account {
			err = errors.Join(err, sim.Admin.RemoveFault(w.Context(), fault.ID))
		}
	}
	return err
}

// What cannot be unassigned says why and what to do, and both work: to mend the cause,
// and Retain.
func testTrouble(t *testing.T) {
	for _, trouble := range troubles {
		for _, whole := range []bool{false, true} {
			for _, mended := range []bool{true, false} {
				way := map[bool]string{true: "mended", false: "Retain"}[mended]
				t.Run(fmt.Sprintf("%s, by %s, %s", trouble.name, subject(whole), way), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t)
					numbers := w.lines()
					trouble.begin(w)
					w.deleteNumbers(whole, numbers)
					w.numbersGone(false, numbers[2:]...)
					for _, n := range numbers[:2] {
						w.blocked(n, trouble.ready(), trouble.hints...)
					}
					if whole {
						w.namespaceIsHeld()
					}
					w.cleaned(true, numbers...)
					if mended {
						trouble.mend(w)
					} else {
						w.retain(numbers[:2]...)
					}
					w.numbersGone(whole, numbers...)
					w.cleaned(!mended, numbers...)
				})
			}
		}
	}
}

func (t *trouble) ready() string {
	if t.reason != "" {
		return t.reason
	}
	return v1alpha1.ReasonDeletionBlocked
}

// namespaceIsHeld waits until the namespace itself says which finalizer holds it.
func (w *world) namespaceIsHeld() {
	w.Helper()
	namespace := w.namespace(w.name)
	w.wait("the namespace names the finalizer", func() error {
		if err := env.Client.Get(w.Context(), client.ObjectKeyFromObject(namespace), namespace); err != nil {
			return err
		}
		for _, condition := range namespace.Status.Conditions {
			if condition.Type == corev1.NamespaceFinalizersRemaining && strings.Contains(condition.Message, v1alpha1.FinalizerUnassign) {
				return nil
			}
		}
		return fmt.Errorf("it says %+v", namespace.Status.Conditions)
	})
}

// fortyNumbers are ready, each with two add-ons that the operator assigned.
func (w *world) fortyNumbers() []*number {
	w.Helper()
	numbers := make([]*number, 0, 40)
	for i := range 40 {
		n := w.add(fmt.Sprintf("line-%d", i), []int{0, 1}, nil)
		n.managed = []int{0, 1}
		numbers = append(numbers, n)
	}
	w.ready(numbers...)
	return numbers
}

// A namespace with many objects goes, each number cleaned by as many calls as it takes.
func testManyObjects(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.patch(w.twilioAccount(), `{"spec":{"removalBudget":{"maxNumbers":"100%"}}}`)
	numbers := w.fortyNumbers()
	w.deleteNumbers(true, numbers)
	w.numbersGone(true, numbers...)
	w.cleaned(false, numbers...)
}

// A namespace with more numbers than the budget allows is held: the first ten go, the rest
// waits with the namespace until somebody approves it, and says so.
func testMoreThanTheBudget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	numbers := w.fortyNumbers()
	w.deleteNumbers(true, numbers)
	w.wait("thirty objects say that they are held", func() error {
		var left v1alpha1.PhoneNumberAddOnAssignmentList
		if err := env.Client.List(t.Context(), &left, client.InNamespace(w.name)); err != nil {
			return err
		}
		held := 0
		for i := range left.Items {
			if testenv.Says(left.Items[i].Status.Conditions, v1alpha1.ReasonRemovalsHeld, "approve") == nil {
				held++
			}
		}
		if held != 30 || len(left.Items) != 30 {
			return fmt.Errorf("of %d objects %d are held", len(left.Items), held)
		}
		return nil
	})
	w.namespaceIsHeld()
	if got := len(w.changes()); got != 20 {
		t.Errorf("%d add-ons were removed before the approval, want those of ten numbers", got)
	}
	w.approve(30)
	w.numbersGone(true, numbers...)
	w.cleaned(false, numbers...)
}

// The namespace of an owner goes while an object elsewhere waits for the number: what
// both want stays on the line throughout.
func testHandover(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.add("line", []int{0, 1}, nil)
	w.ready(owner)
	elsewhere := w.namespace(w.name + "-next")
	w.must(env.Client.Create(t.Context(), elsewhere))
	successor := &number{sid: owner.sid, assignment: &assignment{
		ObjectMeta: metav1.ObjectMeta{Name: "line", Namespace: elsewhere.Name},
		Spec: v1alpha1.PhoneNumberAddOnAssignmentSpec{
			PhoneNumberSID: owner.Spec.PhoneNumberSID, AddOnSIDs: w.sids([]int{1, 2}), AccountRef: owner.Spec.AccountRef,
		},
	}}
	w.must(env.Client.Create(t.Context(), successor.assignment))
	w.says(successor, v1alpha1.ReasonPhoneNumberConflict)
	since := w.since
	w.deleteNumbers(true, nil)
	w.numbersGone(true, owner)
	w.ready(successor)
	w.since = since
	want := []string{
		"assign " + w.addOns[2] + " of " + owner.sid,
		"unassign " + w.addOns[0] + " of " + owner.sid,
	}
	if diff := cmp.Diff(want, w.changes()); diff != "" {
		t.Errorf("the operator's changes (-want +got):\n%s", diff)
	}

	// In its turn, the successor leaves nothing: what it took over is its own.
	successor.managed = []int{1, 2}
	w.since = w.journal()
	w.delete(elsewhere)
	w.gone(successor.assignment, elsewhere)
	w.cleaned(false, successor)
}

// An object that was never allowed to do anything has nothing to clean, and goes at once.
func testNeverWorked(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		change func(w *world, a *assignment)
	}{
		"no such account": {v1alpha1.ReasonAccountNotFound, func(_ *world, a *assignment) { a.Spec.AccountRef.Name = "nobody" }},
		"not allowed": {v1alpha1.ReasonNamespaceNotAllowed, func(w *world, a *assignment) {
			a.Namespace = w.name + "-elsewhere"
			w.must(env.Client.Create(w.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: a.Namespace}}))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			n := w.add("line", []int{0}, []int{1}, func(a *assignment) { c.change(w, a) })
			n.foreign = []int{1}
			w.says(n, c.reason)
			w.since = w.journal()
			w.delete(w.namespace(n.Namespace))
			w.gone(n.assignment, w.namespace(n.Namespace))
			w.cleaned(false, n)
		})
	}
}

// An object whose number was released in Twilio goes, but not before Twilio has said so for
// a minute. It leaves an event.
func testReleasedNumber(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.add("line", []int{0, 1}, nil)
	w.ready(n)
	w.must(sim.Admin.ReleaseNumber(t.Context(), n.sid))
	deleted := time.Now()
	w.delete(n.assignment)
	w.says(n, v1alpha1.ReasonProgressing, "no such phone number", "for a minute")
	w.gone(n.assignment)
	if took := time.Since(deleted); took < time.Minute {
		t.Errorf("it went after %s", took)
	}
	w.wait("an event tells of it", func() error {
		var events eventsv1.EventList
		err := env.Client.List(t.Context(), &events, client.InNamespace(w.name))
		told := slices.ContainsFunc(events.Items, func(e eventsv1.Event) bool {
			return e.Regarding.UID == n.UID && strings.Contains(e.Note, "has no phone number "+n.sid)
		})
		if err == nil && !told {
			err = fmt.Errorf("none of the %d events does", len(events.Items))
		}
		return err
	})
	if changes := w.changes(); len(changes) > 0 {
		t.Errorf("the operator's changes: %q", changes)
	}
}
