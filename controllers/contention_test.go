// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// Three objects of one number, deleted in any order, together or one after the other, leave
// nothing behind.
func TestAllObjectsOfANumberDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(a *v1alpha1.TwilioAccount) {
		a.Spec.RemovalBudget.MaxNumbers = new(intstr.FromString("100%"))
	})
	for i, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		for _, together := range []bool{true, false} {
			t.Run(fmt.Sprintf("%v, together: %t", order, together), func(t *testing.T) {
				t.Parallel()
				name := fmt.Sprintf("%d-%t", i, together)
				pn := w.number()
				owner := w.assignment("owner-"+name, pn, []int{0, 1})
				awaitReason(t, owner, v1alpha1.ReasonSynced)
				waiter := w.assignment("waiter-"+name, pn, []int{0, 1})
				third := w.assignment("third-"+name, pn, []int{1, 2})
				awaitReason(t, waiter, v1alpha1.ReasonPhoneNumberConflict)
				awaitReason(t, third, v1alpha1.ReasonPhoneNumberConflict)
				all := []*assignment{owner, waiter, third}
				for _, i := range order {
					if remove(t, all[i]); !together {
						awaitGone(t, all[i])
					}
				}
				for _, a := range all {
					awaitGone(t, a)
				}
				w.awaitAssigned(pn)
			})
		}
	}
}

// A successor takes over on record before the owner goes, and the line has no gap. It
// answers for what it took over, also when its policy is Additive.
func TestHandoverIsOnRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	owner := w.assignment("owner", pn, []int{0, 1})
	awaitReason(t, owner, v1alpha1.ReasonSynced)
	successor := w.assignment("successor", pn, []int{1, 2}, additive)
	awaitReason(t, successor, v1alpha1.ReasonPhoneNumberConflict)
	remove(t, owner)
	awaitGone(t, owner)
	awaitReason(t, successor, v1alpha1.ReasonSynced)
	w.awaitAssigned(pn, 1, 2)
	if successor.Status.AddOns[0].Ownership != v1alpha1.OwnershipTakenOver {
		t.Errorf("what the owner had assigned is recorded as %+v", successor.Status.AddOns[0])
	}
	w.neverRemoved(t, pn, 1)
	remove(t, successor)
	awaitGone(t, successor)
	w.awaitAssigned(pn)
}

// An add-on that an owner was about to remove, and that nobody is known to have assigned,
// stays without a gap for a successor that lists it.
func TestExtraThatTheSuccessorListsStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	twiliosim.Must(s.sim.Assign(pn, w.addOns[0]))
	refused := v1alpha1.AddOnSID(twiliosim.SID("XE", w.firstSeed+70))
	owner := w.assignment("owner", pn, nil, func(a *assignment) { a.Spec.AddOnSIDs = []v1alpha1.AddOnSID{refused} })
	awaitReason(t, owner, v1alpha1.ReasonAddOnRejected)
	if got := stateOf(owner, w.addOns[0]); got != v1alpha1.AddOnUnassigning {
		t.Fatalf("the extra is %s: it should wait for the add-on that is refused", got)
	}
	successor := w.assignment("successor", pn, []int{0}, additive)
	awaitReason(t, successor, v1alpha1.ReasonPhoneNumberConflict)
	remove(t, owner)
	awaitGone(t, owner)
	awaitReason(t, successor, v1alpha1.ReasonSynced)
	w.awaitAssigned(pn, 0)
	w.neverRemoved(t, pn, 0)
	// The operator has not assigned it, so an Additive object leaves it.
	remove(t, successor)
	awaitGone(t, successor)
	w.awaitAssigned(pn, 0)
}

// neverRemoved checks that an add-on was on a number without a gap.
func (w *world) neverRemoved(t *testing.T, pn string, addOn int) {
	t.Helper()
	for _, m := range s.sim.Journal() {
		if m.Number == pn && m.Change == twiliosim.ChangeUnassign && m.AddOn == w.addOns[addOn] {
			t.Errorf("add-on %d was removed in between", addOn)
		}
	}
}

// selectNamespaces makes an account admit the namespaces with a label.
func selectNamespaces(a *v1alpha1.TwilioAccount) {
	a.Spec.AllowedNamespaces = v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromSelector,
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"phones": "yes"}}}
}

func (w *world) label(namespace, value string) {
	w.t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	update(w.t, ns, func(ns *corev1.Namespace) {
		if ns.Labels == nil {
			ns.Labels = map[string]string{}
		}
		ns.Labels["phones"] = value
	})
}

// twoNamespaces makes a world whose account admits its namespace and another one.
func twoNamespaces(t *testing.T) (w *world, other string) {
	t.Helper()
	w = newWorld(t, selectNamespaces)
	other = w.name + "-other"
	w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: other, Labels: map[string]string{"phones": "yes"}}})
	w.label(w.name, "yes")
	return w, other
}

// An owner whose namespace loses its right gives the number up on record; the object that
// owns it then keeps it when the right comes back.
func TestRightIsLostAndComesBack(t *testing.T) {
	t.Parallel()
	w, other := twoNamespaces(t)
	pn := w.number()
	owner := w.assignment("owner", pn, []int{0})
	awaitReason(t, owner, v1alpha1.ReasonSynced)
	waiter := w.assignment("waiter", pn, []int{1}, func(a *assignment) { a.Namespace = other })
	awaitReason(t, waiter, v1alpha1.ReasonPhoneNumberConflict)
	w.label(w.name, "no")
	awaitReason(t, owner, v1alpha1.ReasonNamespaceNotAllowed)
	awaitReason(t, waiter, v1alpha1.ReasonSynced)
	w.awaitAssigned(pn, 1)
	for range 3 {
		w.label(w.name, "yes")
		awaitReason(t, owner, v1alpha1.ReasonPhoneNumberConflict)
		request(t, waiter)
		awaitReason(t, waiter, v1alpha1.ReasonSynced)
		w.label(w.name, "no")
		awaitReason(t, owner, v1alpha1.ReasonNamespaceNotAllowed)
	}
	w.awaitAssigned(pn, 1)
}

// An object that lost its number answers for what it assigned until another one has it on
// record, or it is gone.
func TestOustedOwnerAnswersForItsAddOns(t *testing.T) {
	t.Parallel()
	rivals := map[string]func(*assignment){
		"suspended": func(a *assignment) { a.Spec.Suspend = true },
		"observe":   observe,
		"additive": func(a *assignment) {
			a.Spec.ManagementPolicy = v1alpha1.ManagementAdditive
			a.Spec.AddOnSIDs = []v1alpha1.AddOnSID{}
		},
	}
	for name, change := range rivals {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, other := twoNamespaces(t)
			pn := w.number()
			owner := w.assignment("owner", pn, []int{0, 1})
			awaitReason(t, owner, v1alpha1.ReasonSynced)
			w.label(w.name, "no")
			awaitReason(t, owner, v1alpha1.ReasonNamespaceNotAllowed)
			rival := w.assignment("rival", pn, []int{0}, func(a *assignment) { a.Namespace = other }, change)
			eventually(t, "the rival reports", func() (bool, string) {
				get(t, rival)
				return isReported(rival) && isReady(condition(rival, v1alpha1.ConditionReady).Reason), fmt.Sprint(rival.Status.Conditions)
			})
			remove(t, owner)
			awaitReason(t, owner, v1alpha1.ReasonDeletionBlocked)
			w.label(w.name, "yes")
			awaitGone(t, owner)
			w.awaitAssigned(pn)
		})
	}
}

// An owner that goes and loses its right at the same time, in whichever order, leaves the
// number to the successor: what both list stays without a gap, and the rest is removed once
// the right is back.
func TestDepartingOwnerLosesItsRight(t *testing.T) {
	t.Parallel()
	lose := func(t *testing.T, w *world, _ *assignment) { t.Helper(); w.label(w.name, "no") }
	leave := func(t *testing.T, _ *world, owner *assignment) { t.Helper(); remove(t, owner) }
	for name, acts := range map[string][]func(*testing.T, *world, *assignment){
		"right first": {lose, leave}, "deletion first": {leave, lose},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, other := twoNamespaces(t)
			pn := w.number()
			owner := w.assignment("owner", pn, []int{0, 1})
			awaitReason(t, owner, v1alpha1.ReasonSynced)
			waiter := w.assignment("waiter", pn, []int{0}, func(a *assignment) { a.Namespace = other })
			awaitReason(t, waiter, v1alpha1.ReasonPhoneNumberConflict)
			for _, act := range acts {
				act(t, w, owner)
			}
			awaitReason(t, waiter, v1alpha1.ReasonSynced)
			w.label(w.name, "yes")
			awaitGone(t, owner)
			awaitReason(t, waiter, v1alpha1.ReasonSynced)
			w.awaitAssigned(pn, 0)
			w.neverRemoved(t, pn, 0)
			remove(t, waiter)
			awaitGone(t, waiter)
			w.awaitAssigned(pn)
		})
	}
}

// An owner that goes while its account does not work leaves the number as it is, and hands
// it over without a gap once the account works again.
func TestDepartingOwnerLosesItsAccount(t *testing.T) {
	t.Parallel()
	suspend := func(value bool) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			t.Helper()
			update(t, w.twilioAccount(), func(a *v1alpha1.TwilioAccount) { a.Spec.Suspend = value })
		}
	}
	token := func(value func(*world) string) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			t.Helper()
			update(t, w.secret(), func(secret *corev1.Secret) {
				secret.Data = map[string][]byte{v1alpha1.SecretKeyAuthToken: []byte(value(w))}
			})
		}
	}
	malformed := func(t *testing.T, w *world) {
		t.Helper()
		update(t, w.secret(), func(secret *corev1.Secret) { secret.Data = map[string][]byte{"token": []byte("x")} })
	}
	mend := token((*world).token)
	for name, c := range map[string]struct {
		breakIt, mend func(*testing.T, *world)
		reason        string
	}{
		"suspended":        {suspend(true), suspend(false), v1alpha1.ReasonSuspended},
		"malformed Secret": {malformed, mend, v1alpha1.ReasonCredentialsInvalid},
		"refused":          {token(func(*world) string { return secretMark + "wrong" }), mend, v1alpha1.ReasonCredentialsInvalid},
	} {
		for _, deletedFirst := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, deleted first: %t", name, deletedFirst), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				pn := w.number()
				owner := w.assignment("owner", pn, []int{0, 1})
				awaitReason(t, owner, v1alpha1.ReasonSynced)
				waiter := w.assignment("waiter", pn, []int{0})
				awaitReason(t, waiter, v1alpha1.ReasonPhoneNumberConflict)
				if deletedFirst {
					remove(t, owner)
				}
				c.breakIt(t, w)
				w.awaitAccount(c.reason)
				if !deletedFirst {
					remove(t, owner)
				}
				requestAny(t, waiter)
				c.mend(t, w)
				w.awaitAccount(v1alpha1.ReasonCredentialsAccepted)
				awaitGone(t, owner)
				awaitReason(t, waiter, v1alpha1.ReasonSynced)
				w.awaitAssigned(pn, 0)
				w.neverRemoved(t, pn, 0)
				remove(t, waiter)
				awaitGone(t, waiter)
				w.awaitAssigned(pn)
			})
		}
	}
}

// An object that is edited while it is being cleaned up is not let go for what it was: its
// finalizer goes from the version that was acted on, and from no other.
func TestEditDuringTheCleanUpCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	twiliosim.Must(s.sim.Assign(pn, w.addOns[1]))
	a := w.assignment("line", pn, []int{0}, additive)
	awaitReason(t, a, v1alpha1.ReasonSynced)
	twiliosim.Must(s.sim.AddFault(twiliosim.Fault{
		Operation: twiliosim.OpDelete, Number: pn, Kind: twiliosim.FaultHang, Delay: twiliosim.Duration(10 * time.Second), Processed: true, Count: 1,
	}))
	remove(t, a)
	w.awaitAssigned(pn, 1) // Twilio has processed the DELETE, and answers later
	update(t, a, func(a *assignment) {
		a.Spec.ManagementPolicy, a.Spec.AddOnSIDs = v1alpha1.ManagementAuthoritative, w.sids(0, 1)
	})
	awaitGone(t, a)
	w.awaitAssigned(pn)
}

// Many objects that name one number cost its owner nothing: they make no call, and an edit
// of one that waits, or of one that is not admitted, wakes nobody.
func TestManyWaitersCostTheOwnerNothing(t *testing.T) {
	t.Parallel()
	w, other := twoNamespaces(t)
	pn := w.number()
	owner := w.assignment("owner", pn, []int{0})
	awaitReason(t, owner, v1alpha1.ReasonSynced)
	var waiters []*assignment
	for i := range 15 {
		waiter := w.assignment(fmt.Sprintf("waiter-%d", i), pn, []int{1}, func(a *assignment) { a.Namespace = []string{w.name, other}[i%2] })
		awaitReason(t, waiter, v1alpha1.ReasonPhoneNumberConflict)
		waiters = append(waiters, waiter)
	}
	w.label(other, "no")
	for i, a := range waiters {
		if i%2 == 1 {
			awaitReason(t, a, v1alpha1.ReasonNamespaceNotAllowed)
		}
	}
	edited, rest := waiters[:2], slices.Concat(waiters[2:], []*assignment{owner})
	calls, versions, passes := s.sim.Calls().Of(twiliosim.OpAny, pn).Calls, map[string]string{}, map[string]int{}
	for _, a := range rest {
		get(t, a)
		versions[a.Name], passes[a.Name] = a.ResourceVersion, passesOf(a)
		if passes[a.Name] == 0 {
			t.Errorf("the log shows no reconcile of %s: its count would say nothing", a.Name)
		}
	}
	for i, a := range edited { // one that waits, and one that is not admitted
		update(t, a, func(a *assignment) { a.Spec.AddOnSIDs = w.sids(2, 3) })
		awaitReason(t, a, []string{v1alpha1.ReasonPhoneNumberConflict, v1alpha1.ReasonNamespaceNotAllowed}[i])
	}
	if got := s.sim.Calls().Of(twiliosim.OpAny, pn).Calls; got != calls {
		t.Errorf("%d calls about the number, want none", got-calls)
	}
	for _, a := range rest {
		if get(t, a); a.ResourceVersion != versions[a.Name] {
			t.Errorf("%s was written to", a.Name)
		}
		if got := passesOf(a) - passes[a.Name]; got != 0 {
			t.Errorf("%s was reconciled %d times for an edit of another one", a.Name, got)
		}
	}
}

// passesOf counts the reconciles of an object, by the log.
func passesOf(a *assignment) (n int) {
	object := fmt.Sprintf(`"namespace": %q, "name": %q,`, a.Namespace, a.Name)
	for line := range strings.Lines(logs.String()) {
		if strings.Contains(line, "\tReconciled\t") && strings.Contains(line, object) {
			n++
		}
	}
	return n
}

// One stray 404 to an assignment removes nothing, whatever else is refused for good.
func TestStray404RemovesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	refused := v1alpha1.AddOnSID(twiliosim.SID("XE", w.firstSeed+70))
	a := w.assignment("line", pn, []int{0})
	awaitReason(t, a, v1alpha1.ReasonSynced)
	update(t, a, func(a *assignment) { a.Spec.AddOnSIDs = append(w.sids(0), refused) })
	awaitReason(t, a, v1alpha1.ReasonAddOnRejected)
	twiliosim.Must(s.sim.AddFault(twiliosim.Fault{Operation: twiliosim.OpCreate, Number: pn, Kind: twiliosim.FaultError, Status: 404, Code: 20404, Count: 1}))
	update(t, a, func(a *assignment) { a.Spec.AddOnSIDs = append(w.sids(1), refused) })
	awaitReason(t, a, v1alpha1.ReasonAddOnRejected)
	w.awaitAssigned(pn, 0, 1)
	if got := stateOf(a, w.addOns[0]); got != v1alpha1.AddOnUnassigning {
		t.Errorf("the add-on that waits for a refused one is %s, want Unassigning", got)
	}
}

// A swap to an add-on that Twilio refuses keeps the one that is there; deleting the object
// is not held up.
func TestRefusedSwapKeepsTheLine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	a := w.assignment("line", pn, []int{0})
	awaitReason(t, a, v1alpha1.ReasonSynced)
	update(t, a, func(a *assignment) {
		a.Spec.AddOnSIDs = []v1alpha1.AddOnSID{v1alpha1.AddOnSID(twiliosim.SID("XE", w.firstSeed+70))}
	})
	awaitReason(t, a, v1alpha1.ReasonAddOnRejected)
	request(t, a)
	w.awaitAssigned(pn, 0)
	if a.Status.Synced != "0/1" {
		t.Errorf("synced is %q, want 0/1", a.Status.Synced)
	}
	remove(t, a)
	awaitGone(t, a)
	w.awaitAssigned(pn)
}

// Twilio refuses an add-on, the operator restarts, somebody assigns it by hand: it is
// theirs. Not parallel: it stops the manager that the others use.
func TestRefusedThenAssignedByHand(t *testing.T) {
	w := newWorld(t)
	pn := w.number()
	byHand := twiliosim.SID("XE", w.firstSeed+71)
	a := w.assignment("line", pn, []int{0}, additive, func(a *assignment) {
		a.Spec.AddOnSIDs = append(a.Spec.AddOnSIDs, v1alpha1.AddOnSID(byHand))
	})
	awaitReason(t, a, v1alpha1.ReasonAddOnRejected)
	s.stopManager()
	if err := s.startManager(); err != nil {
		t.Fatal(err)
	}
	request(t, a)
	awaitReason(t, a, v1alpha1.ReasonAddOnRejected)
	twiliosim.Must(s.sim.InstallAddOn(w.account, byHand, "by_hand"), s.sim.Assign(pn, byHand))
	request(t, a)
	awaitReason(t, a, v1alpha1.ReasonSynced)
	update(t, a, func(a *assignment) { a.Spec.AddOnSIDs = w.sids(0) })
	awaitReason(t, a, v1alpha1.ReasonSynced)
	if got := s.sim.Assigned(pn); len(got) != 2 {
		t.Errorf("the number carries %v, want what was assigned by hand as well", got)
	}
}

// A number that Twilio denies for some seconds is told, and nothing rests on it: the object
// stays while it is being deleted, and its owner keeps it.
func TestSecondsOf404DecideNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn, moved := w.number(), w.number()
	a := w.assignment("line", pn, []int{0})
	awaitReason(t, a, v1alpha1.ReasonSynced)
	waiter := w.assignment("waiter", pn, []int{1})
	awaitReason(t, waiter, v1alpha1.ReasonPhoneNumberConflict)
	twiliosim.Must(s.sim.AddFault(twiliosim.Fault{Number: pn, Kind: twiliosim.FaultError, Status: 404, Code: 20404}))
	for range 3 {
		requestOnly(t, a)
	}
	gone := w.assignment("gone", moved, []int{0})
	awaitReason(t, gone, v1alpha1.ReasonSynced)
	twiliosim.Must(s.sim.ReleaseNumber(moved))
	remove(t, gone)
	eventually(t, "the deletion waits for proof", func() (bool, string) {
		get(t, gone)
		message := condition(gone, v1alpha1.ConditionReady).Message
		return strings.Contains(message, "for a minute"), message
	})
	get(t, waiter)
	if reason := condition(waiter, v1alpha1.ConditionReady).Reason; reason != v1alpha1.ReasonPhoneNumberConflict {
		t.Errorf("the waiting object reports %s after some 404s", reason)
	}
	s.removeFaults(pn)
	awaitReason(t, a, v1alpha1.ReasonSynced)
	w.awaitAssigned(pn, 0)
	awaitGoneIn(t, gone, 2*patience)
	eventually(t, "an event tells why the object was released", func() (bool, string) {
		var events eventsv1.EventList
		if err := s.client.List(t.Context(), &events, client.InNamespace(w.name)); err != nil {
			t.Fatal(err)
		}
		for _, e := range events.Items {
			if e.Regarding.Name == "gone" && strings.Contains(e.Note, "has no phone number") {
				return true, ""
			}
		}
		return false, fmt.Sprint(len(events.Items), " events")
	})
}

// requestOnly triggers a reconcile that may not be able to report yet.
func requestOnly(t *testing.T, a *assignment) {
	t.Helper()
	requestAny(t, a)
	lists := s.sim.Calls().Of(twiliosim.OpList, string(a.Spec.PhoneNumberSID)).Calls
	eventually(t, "the number is asked for again", func() (bool, string) {
		return s.sim.Calls().Of(twiliosim.OpList, string(a.Spec.PhoneNumberSID)).Calls > lists, ""
	})
}

// requestAny triggers a reconcile, and waits for nothing.
func requestAny(t *testing.T, a *assignment) {
	t.Helper()
	update(t, a, func(a *assignment) {
		metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationReconcileRequestedAt, time.Now().Format(time.RFC3339Nano))
	})
}

// A wrong address answers 404 to everything: no object goes because of it.
func TestWrongAddressReleasesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	a := w.assignment("line", pn, []int{0})
	awaitReason(t, a, v1alpha1.ReasonSynced)
	account := w.twilioAccount()
	update(t, account, func(account *v1alpha1.TwilioAccount) { account.Spec.APIBaseURL = s.url + "/elsewhere" })
	eventually(t, "the account tells of it", func() (bool, string) {
		get(t, account)
		return readyReason(account) != v1alpha1.ReasonCredentialsAccepted, readyReason(account)
	})
	remove(t, a)
	eventually(t, "the deletion tells of it", func() (bool, string) {
		get(t, a)
		c := condition(a, v1alpha1.ConditionReady)
		return c.Status == metav1.ConditionFalse && strings.Contains(c.Message, "Retain"), c.Message
	})
	update(t, account, func(account *v1alpha1.TwilioAccount) { account.Spec.APIBaseURL = s.url })
	awaitGone(t, a)
	w.awaitAssigned(pn)
}

// A finalizer that somebody takes away comes back at once.
func TestFinalizerIsPutBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	a := w.assignment("line", pn, []int{0})
	awaitReason(t, a, v1alpha1.ReasonSynced)
	update(t, a, func(a *assignment) { a.Finalizers = nil })
	eventually(t, "the finalizer is back", func() (bool, string) {
		get(t, a)
		return len(a.Finalizers) == 1, fmt.Sprint(a.Finalizers)
	})
	remove(t, a)
	awaitGone(t, a)
	w.awaitAssigned(pn)
}

// A removal that Twilio refuses holds up no other, and is told as what it is.
func TestRefusedRemovalHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	for _, code := range []int{400, 409, 500} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			pn := w.number()
			a := w.assignment("line", pn, []int{0, 1, 2})
			awaitReason(t, a, v1alpha1.ReasonSynced)
			twiliosim.Must(s.sim.AddFault(twiliosim.Fault{Operation: twiliosim.OpDelete, Number: pn, AddOn: w.addOns[0], Kind: twiliosim.FaultError, Status: code}))
			update(t, a, func(a *assignment) { a.Spec.AddOnSIDs = []v1alpha1.AddOnSID{} })
			w.awaitAssigned(pn, 0)
			want := v1alpha1.ReasonAddOnRejected
			if code == 500 {
				want = v1alpha1.ReasonTwilioUnavailable
			}
			awaitReason(t, a, want)
			if c := condition(a, v1alpha1.ConditionReady); code != 500 && !strings.Contains(c.Message, "refuses to unassign "+w.addOns[0]) {
				t.Errorf("the message does not tell of the refusal: %s", c.Message)
			}
			s.removeFaults(pn)
			request(t, a)
			awaitReason(t, a, v1alpha1.ReasonSynced)
			w.awaitAssigned(pn)
		})
	}
}

// A synced object stays as it is through a failure that the next try mends.
func TestOneFailedReadingIsNoNews(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(a *v1alpha1.TwilioAccount) { a.Spec.ResyncInterval.Duration = 2 * time.Second })
	pn := w.number()
	a := w.assignment("line", pn, []int{0})
	awaitReason(t, a, v1alpha1.ReasonSynced)
	path := "/namespaces/" + w.name + "/phonenumberaddonassignments/line"
	written := s.writes.of(path)
	lists := func() int { return s.sim.Calls().Of(twiliosim.OpList, pn).Calls }
	for range 3 {
		twiliosim.Must(s.sim.AddFault(twiliosim.Fault{Operation: twiliosim.OpList, Number: pn, Kind: twiliosim.FaultError, Status: 503, Count: 1}))
		from := lists()
		eventually(t, "the number is read again", func() (bool, string) { return lists() >= from+2, "" })
	}
	if n := s.writes.of(path) - written; n != 0 {
		t.Errorf("%d writes for failures that passed", n)
	}
}

// A duplicate that Twilio refuses while its lists lag is not told as rejected.
func TestDuplicateRefusedWhileReadsLag(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	a := w.assignment("line", pn, []int{0})
	awaitReason(t, a, v1alpha1.ReasonSynced)
	twiliosim.Must(
		s.sim.AddFault(twiliosim.Fault{Operation: twiliosim.OpCreate, Number: pn, Kind: twiliosim.FaultReset, Processed: true, Count: 1}),
		s.sim.AddFault(twiliosim.Fault{Operation: twiliosim.OpFetch, Number: pn, Kind: twiliosim.FaultError, Status: 404, Code: 20404, Count: 2}),
		s.sim.AddFault(twiliosim.Fault{Operation: twiliosim.OpCreate, Number: pn, Kind: twiliosim.FaultError, Status: 400, Count: 1}),
	)
	update(t, a, func(a *assignment) { a.Spec.AddOnSIDs = w.sids(0, 1) })
	eventually(t, "the add-on is assigned", func() (bool, string) {
		get(t, a)
		if stateOf(a, w.addOns[1]) == v1alpha1.AddOnRejected {
			t.Fatal("the duplicate is told as rejected")
		}
		return stateOf(a, w.addOns[1]) == v1alpha1.AddOnAssigned, fmt.Sprint(a.Status.AddOns)
	})
	if got := a.Status.AddOns[1].Ownership; got != v1alpha1.OwnershipCreated {
		t.Errorf("the add-on is %s, want Created", got)
	}
}

// An add-on that Twilio reports as not found and still lists is not forgotten.
func TestContradictionIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	a := w.assignment("line", pn, []int{0, 1})
	awaitReason(t, a, v1alpha1.ReasonSynced)
	twiliosim.Must(s.sim.AddFault(twiliosim.Fault{Operation: twiliosim.OpDelete, Number: pn, Kind: twiliosim.FaultError, Status: 404, Code: 20404}))
	update(t, a, func(a *assignment) { a.Spec.AddOnSIDs = w.sids(0) })
	eventually(t, "status tells of the contradiction", func() (bool, string) {
		get(t, a)
		return strings.Contains(condition(a, v1alpha1.ConditionReady).Message, textListedThough404), fmt.Sprint(a.Status)
	})
	s.removeFaults(pn)
	awaitReason(t, a, v1alpha1.ReasonSynced)
	w.awaitAssigned(pn, 0)
}

func awaitGoneIn(t *testing.T, object client.Object, most time.Duration) {
	t.Helper()
	for deadline := time.Now().Add(most - patience); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if s.client.Get(t.Context(), client.ObjectKeyFromObject(object), object) != nil {
			break
		}
	}
	awaitGone(t, object)
}
