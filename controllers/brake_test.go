// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/fleet"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// smallBudget lets one number go at once, and two in all.
func smallBudget(a *v1alpha1.TwilioAccount) {
	a.Spec.RemovalBudget = v1alpha1.RemovalBudget{MaxNumbers: new(intstr.FromInt32(2)), MinNumbers: new(int32(1))}
}

// fleetOf makes so many synced objects, each with one add-on.
func (w *world) fleetOf(n int) []*assignment {
	w.t.Helper()
	var all []*assignment
	for i := range n {
		all = append(all, w.assignment(fmt.Sprintf("line-%d", i), w.number(), []int{0}))
	}
	for _, a := range all {
		awaitReason(w.t, a, v1alpha1.ReasonSynced)
	}
	return all
}

func empty(a *assignment) { a.Spec.AddOnSIDs = []v1alpha1.AddOnSID{} }

// carrying counts the numbers that carry anything.
func (w *world) carrying(all []*assignment) (n int) {
	for _, a := range all {
		n += len(w.assigned(string(a.Spec.PhoneNumberSID)))
	}
	return n
}

// held waits until the account holds removals, and returns the hold's name.
func (w *world) held(n int) string {
	w.t.Helper()
	account := w.twilioAccount()
	eventually(w.t, fmt.Sprintf("removals from %d numbers are held", n), func() (bool, string) {
		get(w.t, account)
		c := meta.FindStatusCondition(account.Status.Conditions, v1alpha1.ConditionRemovalsHeld)
		told := c != nil && strings.Contains(c.Message, account.Status.Removals.Hold)
		return account.Status.Removals.Held == int32(n) && told, fmt.Sprintf("%+v %+v", account.Status.Removals, c)
	})
	return account.Status.Removals.Hold
}

// A mass change is held as a whole after the first numbers. Taking it back ends the hold
// without a write to Twilio.
func TestMassChangeIsHeldAndTakenBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallBudget)
	all := w.fleetOf(6)
	for _, a := range all {
		update(t, a, empty)
	}
	w.held(5)
	if n := w.carrying(all); n != 5 {
		t.Errorf("%d numbers carry their add-on, want 5 of 6", n)
	}
	for _, a := range all {
		update(t, a, func(a *assignment) { a.Spec.AddOnSIDs = w.sids(0) })
	}
	for _, a := range all {
		awaitReason(t, a, v1alpha1.ReasonSynced)
	}
	if n := w.carrying(all); n != 6 {
		t.Errorf("%d numbers carry their add-on, want all", n)
	}
	account := w.twilioAccount()
	eventually(t, "the hold ends", func() (bool, string) {
		get(t, account)
		return account.Status.Removals.Hold == "", fmt.Sprintf("%+v", account.Status.Removals)
	})
}

// An account SID has one budget, in whichever letter case TwilioAccounts spell it.
func TestOneBudgetForAllSpellings(t *testing.T) {
	t.Parallel()
	b := newBrake(nil, nil, nil, fleet.New(), nil)
	if b.of("AC00000000000000000000000000000abc") != b.of("AC00000000000000000000000000000ABC") {
		t.Error("two spellings of one account SID have budgets of their own")
	}
}

// After a start, removals are judged once the cache is complete and every object with work
// left has been reconciled: until then nobody knows who asked before.
func TestRemovalsAreJudgedOnceAllHaveAsked(t *testing.T) {
	t.Parallel()
	members := fleet.New()
	b := newBrake(nil, nil, nil, members, nil)
	accounts := []v1alpha1.TwilioAccount{{ObjectMeta: metav1.ObjectMeta{Name: "default"}}}
	a := &assignment{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a"}}
	a.Spec.AccountRef.Name = "default"
	want := func(reason string, complete bool) {
		t.Helper()
		if b.complete(accounts) != complete {
			t.Errorf("%s: complete is %t", reason, !complete)
		}
	}
	b.expect(a)
	want("the cache is filling", false)
	members.MarkSynced()
	want("an object with work left was not reconciled yet", false)
	b.saw(client.ObjectKeyFromObject(a))
	want("all have asked", true)
}

// An object that waits for a permit has not asked yet, whether its status says so or not.
func TestQueuedHasNotAsked(t *testing.T) {
	t.Parallel()
	for _, waiting := range []int{1, tellQueuedUpTo + 1} {
		members := fleet.New()
		members.MarkSynced()
		r := &assignmentReconciler{brake: newBrake(nil, nil, nil, members, nil)}
		a := &assignment{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a"}}
		a.Spec.AccountRef.Name = "default"
		account := v1alpha1.TwilioAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
		r.brake.expect(a)
		o := queuedByLimiter(account.Name, twilio.Busy)
		o.tellOfQueue(0, waiting)
		r.settleDemand(&scope{object: a, account: &account}, result{}, o)
		if r.brake.complete([]v1alpha1.TwilioAccount{account}) {
			t.Errorf("with %d waiting, an object without a permit counts as one that has asked", waiting)
		}
	}
}

// An approval releases what waits. Objects that are being deleted wait as well.
func TestApprovalReleasesWhatWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallBudget)
	all := w.fleetOf(5)
	for _, a := range all {
		remove(t, a)
	}
	hold := w.held(4)
	var waiting *assignment
	for _, a := range all {
		if s.client.Get(t.Context(), client.ObjectKeyFromObject(a), a) == nil {
			waiting = a
		}
	}
	awaitReason(t, waiting, v1alpha1.ReasonRemovalsHeld)
	update(t, w.twilioAccount(), func(a *v1alpha1.TwilioAccount) {
		metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationApproveRemovals, hold)
	})
	for _, a := range all {
		awaitGone(t, a)
	}
	if n := w.carrying(all); n != 0 {
		t.Errorf("%d numbers still carry their add-on", n)
	}
}

// A hold outlives the process, with its name. Not parallel: it stops the manager that the
// others use.
func TestHoldOutlivesTheProcess(t *testing.T) {
	w := newWorld(t, smallBudget)
	all := w.fleetOf(5)
	for _, a := range all {
		update(t, a, empty)
	}
	hold := w.held(4)
	s.stopManager()
	if err := s.startManager(); err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		requestAny(t, a)
	}
	if again := w.held(4); again != hold {
		t.Errorf("after a restart the hold is %s, want %s", again, hold)
	}
	if n := w.carrying(all); n != 4 {
		t.Errorf("%d numbers carry their add-on, want 4", n)
	}
	for _, a := range all {
		update(t, a, func(a *assignment) { a.Spec.DeletionPolicy = v1alpha1.DeletionRetain })
		remove(t, a)
		awaitGone(t, a)
	}
	if n := w.carrying(all); n != 4 {
		t.Errorf("%d numbers carry their add-on after Retain, want 4", n)
	}
}

// A suspended account makes no call; its deletions wait, and do not become Retain.
func TestSuspendedAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.fleetOf(1)[0]
	pn := string(a.Spec.PhoneNumberSID)
	account := w.twilioAccount()
	update(t, account, func(account *v1alpha1.TwilioAccount) { account.Spec.Suspend = true })
	awaitReason(t, a, v1alpha1.ReasonSuspended)
	calls := s.sim.CallTotals().ByAccount[w.account].Calls
	update(t, a, empty)
	awaitReason(t, a, v1alpha1.ReasonSuspended)
	remove(t, a)
	eventually(t, "the deletion says that it waits", func() (bool, string) {
		get(t, a)
		message := condition(a, v1alpha1.ConditionReady).Message
		return strings.Contains(message, "deletion waits"), message
	})
	w.awaitAssigned(pn, 0)
	if n := s.sim.CallTotals().ByAccount[w.account].Calls; n != calls {
		t.Errorf("%d calls for a suspended account", n-calls)
	}
	update(t, account, func(account *v1alpha1.TwilioAccount) { account.Spec.Suspend = false })
	awaitGone(t, a)
	w.awaitAssigned(pn)
}

// What was synced says so again once its account resumes, and not only at its next check.
func TestResumedAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.fleetOf(1)[0]
	account := w.twilioAccount()
	update(t, account, func(account *v1alpha1.TwilioAccount) { account.Spec.Suspend = true })
	awaitReason(t, a, v1alpha1.ReasonSuspended)
	eventually(t, "the account says that it is suspended", func() (bool, string) {
		get(t, account)
		return readyReason(account) == v1alpha1.ReasonSuspended, readyReason(account)
	})
	update(t, account, func(account *v1alpha1.TwilioAccount) { account.Spec.Suspend = false })
	awaitReason(t, a, v1alpha1.ReasonSynced)
}

// While Twilio fails for a whole account, the account tells of it, and its synced objects
// stay as they are.
func TestOutageIsToldByTheAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(a *v1alpha1.TwilioAccount) { a.Spec.ResyncInterval.Duration = 2 * time.Second })
	all := w.fleetOf(6)
	twiliosim.Must(s.sim.AddFault(twiliosim.Fault{Account: w.account, Kind: twiliosim.FaultError, Status: 503}))
	account := w.twilioAccount()
	eventually(t, "the account tells of the outage", func() (bool, string) {
		get(t, account)
		c := meta.FindStatusCondition(account.Status.Conditions, v1alpha1.ConditionReady)
		return c != nil && c.Reason == v1alpha1.ReasonTwilioUnavailable && strings.Contains(c.Message, "Last good answer: 2"), c.String()
	})
	for _, a := range all {
		get(t, a)
		if c := condition(a, v1alpha1.ConditionReady); c.Reason != v1alpha1.ReasonSynced {
			t.Errorf("%s reports %s: %s", a.Name, c.Reason, c.Message)
		}
	}
	for _, f := range s.sim.Faults() {
		if f.Account == w.account {
			s.sim.RemoveFault(f.ID)
		}
	}
	eventually(t, "the account works again", func() (bool, string) {
		get(t, account)
		return readyReason(account) == v1alpha1.ReasonCredentialsAccepted, readyReason(account)
	})
}
