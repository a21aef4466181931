// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// approve approves a hold of the world's account.
func (w *world) approve(hold string) {
	w.t.Helper()
	update(w.t, w.twilioAccount(), func(a *v1alpha1.TwilioAccount) {
		metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationApproveRemovals, hold)
	})
}

// notHeld waits until the account holds nothing any more.
func (w *world) notHeld() {
	w.t.Helper()
	account := w.twilioAccount()
	eventually(w.t, "nothing is held", func() (bool, string) {
		get(w.t, account)
		return account.Status.Removals.Hold == "", fmt.Sprintf("%+v", account.Status.Removals)
	})
}

// written counts the changes that the operator made in Twilio on the numbers of objects.
func written(all []*assignment, change twiliosim.Change) (n int) {
	numbers := map[string]bool{}
	for _, a := range all {
		numbers[string(a.Spec.PhoneNumberSID)] = true
	}
	for _, m := range s.sim.Journal() {
		if m.Actor == twiliosim.ActorAPI && m.Change == change && numbers[m.Number] {
			n++
		}
	}
	return n
}

func (w *world) wantRemovals(all []*assignment, want int) {
	w.t.Helper()
	if got := written(all, twiliosim.ChangeUnassign); got != want {
		w.t.Errorf("%d add-ons were removed, want %d", got, want)
	}
}

// A fleet that is switched from Observe to Authoritative, and would lose what it never
// listed, is held, and may be switched back.
func TestObserveToAuthoritativeIsHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallBudget)
	var all []*assignment
	for i := range 5 {
		pn := w.number()
		twiliosim.Must(s.sim.Assign(pn, w.addOns[0]), s.sim.Assign(pn, w.addOns[1]))
		all = append(all, w.assignment(fmt.Sprintf("line-%d", i), pn, []int{0}, observe))
	}
	for _, a := range all {
		awaitReason(t, a, v1alpha1.ReasonObserved)
	}
	for _, a := range all {
		update(t, a, func(a *assignment) { a.Spec.ManagementPolicy = v1alpha1.ManagementAuthoritative })
	}
	w.held(4)
	w.wantRemovals(all, 1)
	for _, a := range all {
		update(t, a, observe)
	}
	w.notHeld()
	w.wantRemovals(all, 1)
}

// A collection that is deleted at once is held, and an approval lets it go.
func TestDeletedCollectionIsHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallBudget)
	all := w.fleetOf(5)
	if err := s.client.DeleteAllOf(t.Context(), &assignment{}, client.InNamespace(w.name)); err != nil {
		t.Fatal(err)
	}
	hold := w.held(4)
	w.wantRemovals(all, 1)
	w.approve(hold)
	for _, a := range all {
		awaitGone(t, a)
	}
	w.wantRemovals(all, 5)
}

// What an old backup brings back, specs and status of objects and account, strips no fleet:
// the count of removals is younger than the backup, and the rest is held.
func TestRestoredBackupIsHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallBudget)
	all := w.fleetOf(5)
	backup := make([]*assignment, 0, len(all))
	for _, a := range all {
		backup = append(backup, a.DeepCopy())
	}
	for _, a := range all {
		update(t, a, func(a *assignment) { a.Spec.AddOnSIDs = w.sids(0, 1, 2) })
		awaitReason(t, a, v1alpha1.ReasonSynced)
	}
	for i, old := range backup {
		update(t, all[i], func(a *assignment) { a.Spec = old.Spec })
		get(t, all[i])
		all[i].Status = old.Status
		if err := s.client.Status().Update(t.Context(), all[i]); err != nil && client.IgnoreNotFound(err) != nil {
			t.Log("the operator was faster:", err)
		}
	}
	w.held(4)
	w.wantRemovals(all, 2) // both of one number
}

// Two waves in one window share the budget: the first fits and goes, the second does not.
func TestSecondWaveIsHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallBudget)
	all := w.fleetOf(5)
	for _, a := range all[:2] {
		update(t, a, empty)
	}
	for _, a := range all[:2] {
		awaitReason(t, a, v1alpha1.ReasonSynced)
	}
	for _, a := range all[2:] {
		update(t, a, empty)
	}
	w.held(3)
	w.wantRemovals(all, 2)
}

// An approval covers what waited when it was given. What asks later is held anew.
func TestApprovalCoversNoLaterDemand(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallBudget)
	all := w.fleetOf(7)
	for _, a := range all[:4] {
		update(t, a, empty)
		// The approved removals are still under way when the others ask.
		twiliosim.Must(s.sim.AddFault(twiliosim.Fault{
			Operation: twiliosim.OpDelete, Number: string(a.Spec.PhoneNumberSID), Kind: twiliosim.FaultHang, Delay: twiliosim.Duration(2 * time.Second), Count: 1,
		}))
	}
	hold := w.held(3)
	w.approve(hold)
	eventually(t, "the approval is on record", func() (bool, string) {
		account := w.twilioAccount()
		get(t, account)
		return account.Status.Removals.Hold != hold, fmt.Sprintf("%+v", account.Status.Removals)
	})
	for _, a := range all[4:] {
		update(t, a, empty)
	}
	for _, a := range all[:4] {
		awaitReason(t, a, v1alpha1.ReasonSynced)
	}
	if again := w.held(3); again == hold {
		t.Error("the new hold has the name of the one that was approved")
	}
	w.wantRemovals(all, 4)
}

// Two TwilioAccounts of one account SID share one budget, and a hold is told by both.
func TestAccountsOfOneSIDShareTheBudget(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallBudget)
	second := w.twilioAccount()
	get(t, second)
	second = &v1alpha1.TwilioAccount{ObjectMeta: metav1.ObjectMeta{Name: w.name + "-second"}, Spec: second.Spec}
	second.Spec.RemovalBudget = v1alpha1.RemovalBudget{MaxNumbers: new(intstr.FromInt32(100))}
	w.create(second)
	t.Cleanup(func() { _ = s.client.Delete(t.Context(), second) })
	all := w.fleetOf(2)
	for i := range 3 {
		a := w.assignment(fmt.Sprintf("second-%d", i), w.number(), []int{0}, func(a *assignment) { a.Spec.AccountRef.Name = second.Name })
		all = append(all, a)
		awaitReason(t, a, v1alpha1.ReasonSynced)
	}
	for _, a := range all {
		update(t, a, empty)
	}
	hold := w.held(4)
	w.wantRemovals(all, 1)
	eventually(t, "the second account tells of the same hold", func() (bool, string) {
		get(t, second)
		return second.Status.Removals.Hold == hold, fmt.Sprintf("%+v", second.Status.Removals)
	})
}

// A larger budget lets go what a smaller one holds, and a smaller one lets nothing go.
func TestBudgetChangesWhileRemovalsAreHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallBudget)
	all := w.fleetOf(5)
	for _, a := range all {
		update(t, a, empty)
	}
	hold := w.held(4)
	update(t, w.twilioAccount(), func(a *v1alpha1.TwilioAccount) { a.Spec.RemovalBudget.MaxNumbers = new(intstr.FromInt32(1)) })
	for _, a := range all {
		requestAny(t, a)
	}
	if again := w.held(4); again != hold {
		t.Errorf("with a smaller budget the hold is %s, want %s", again, hold)
	}
	w.wantRemovals(all, 1)
	update(t, w.twilioAccount(), func(a *v1alpha1.TwilioAccount) { a.Spec.RemovalBudget.MaxNumbers = new(intstr.FromString("100%")) })
	for _, a := range all {
		awaitReason(t, a, v1alpha1.ReasonSynced)
	}
	w.wantRemovals(all, 5)
}

// A GitOps tool that applies the same manifests again and again neither ends a hold nor gets
// around it; pruned objects wait as well.
func TestSelfHealLeavesAHoldAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallBudget)
	all := w.fleetOf(5)
	apply := func(a *assignment) {
		manifest := &assignment{TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "PhoneNumberAddOnAssignment"}}
		manifest.Name, manifest.Namespace, manifest.Spec = a.Name, a.Namespace, a.Spec
		manifest.Spec.AddOnSIDs = []v1alpha1.AddOnSID{}
		//nolint:staticcheck // the generated apply configurations would be a dependency of this test alone
		if err := s.client.Patch(t.Context(), manifest, client.Apply, client.FieldOwner("gitops"), client.ForceOwnership); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range all {
		apply(a)
	}
	hold := w.held(4)
	for range 3 {
		for _, a := range all {
			apply(a)
			requestAny(t, a)
		}
	}
	remove(t, all[4])
	if again := w.held(4); again != hold {
		t.Errorf("the hold is %s, want %s", again, hold)
	}
	w.wantRemovals(all, 1)
}

// A deletion that is held may be given up with Retain: the objects go, come back from Git,
// and find what they had, with no write to Twilio.
func TestRetainedObjectsComeBackWithoutAWrite(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallBudget)
	all := w.fleetOf(5)
	for _, a := range all {
		remove(t, a)
	}
	w.held(4)
	assigned := written(all, twiliosim.ChangeAssign)
	for _, a := range all {
		if s.client.Get(t.Context(), client.ObjectKeyFromObject(a), a) == nil {
			update(t, a, func(a *assignment) { a.Spec.DeletionPolicy = v1alpha1.DeletionRetain })
		}
		awaitGone(t, a)
	}
	w.notHeld()
	back := 0
	for i, a := range all {
		if len(w.assigned(string(a.Spec.PhoneNumberSID))) == 0 {
			continue // the one that went at once
		}
		again := w.assignment(fmt.Sprintf("line-%d", i), string(a.Spec.PhoneNumberSID), []int{0})
		awaitReason(t, again, v1alpha1.ReasonSynced)
		if got := again.Status.AddOns[0].Ownership; got != v1alpha1.OwnershipAdopted {
			t.Errorf("what was retained is %s, want Adopted", got)
		}
		back++
	}
	if back != 4 {
		t.Errorf("%d objects came back, want 4", back)
	}
	w.wantRemovals(all, 1)
	if got := written(all, twiliosim.ChangeAssign); got != assigned {
		t.Errorf("%d add-ons were assigned anew", got-assigned)
	}
}
