// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// From spec to synced: one look-up of the number ever, one listing, one POST for each
// add-on that is missing, one DELETE for each extra, and two writes to the API server.
func TestSyncCostsTheMinimum(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	twiliosim.Must(s.sim.Assign(pn, w.addOns[2]), s.sim.Assign(pn, w.addOns[3]))
	a := w.assignment("line", pn, []int{0, 1, 2})
	checkKstatus(t, a, status.InProgressStatus)
	awaitReason(t, a, v1alpha1.ReasonSynced)
	w.awaitAssigned(pn, 0, 1, 2)

	want := v1alpha1.PhoneNumberAddOnAssignmentStatus{
		ObservedGeneration: 1,
		AccountSID:         v1alpha1.AccountSID(w.account),
		Claim:              v1alpha1.ClaimHeld,
		PhoneNumber:        fmt.Sprintf("+1415%07d", w.firstSeed+1),
		Synced:             "3/3",
		AddOns: []v1alpha1.AddOnStatus{
			{SID: w.sids(0)[0], State: v1alpha1.AddOnAssigned, Ownership: v1alpha1.OwnershipCreated, UniqueName: "addon_0"},
			{SID: w.sids(1)[0], State: v1alpha1.AddOnAssigned, Ownership: v1alpha1.OwnershipCreated, UniqueName: "addon_1"},
			{SID: w.sids(2)[0], State: v1alpha1.AddOnAssigned, Ownership: v1alpha1.OwnershipAdopted, UniqueName: "addon_2"},
		},
	}
	ignore := cmp.Options{
		cmpopts.IgnoreFields(v1alpha1.PhoneNumberAddOnAssignmentStatus{}, "Conditions"),
		cmpopts.IgnoreFields(v1alpha1.AddOnStatus{}, "FriendlyName", "Description", "DateUpdated"),
	}
	if diff := cmp.Diff(want, a.Status, ignore); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	checkCalls(t, pn, map[twiliosim.Operation]int{
		twiliosim.OpNumber: 1, twiliosim.OpList: 1, twiliosim.OpCreate: 2, twiliosim.OpDelete: 1,
	})
	if n := s.writes.of("/namespaces/" + w.name + "/phonenumberaddonassignments/line"); n != 2 {
		t.Errorf("the API server was written to %d times, want 2: the finalizer and the status", n)
	}
	checkOrder(t, pn)
}

// checkCalls compares the calls made for a number, by operation.
func checkCalls(t *testing.T, pn string, want map[twiliosim.Operation]int) {
	t.Helper()
	got := map[twiliosim.Operation]int{}
	for op, count := range s.sim.Calls().ByNumber[pn] {
		got[op] = count.Calls
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("calls for %s (-want +got):\n%s", pn, diff)
	}
}

// checkOrder sees that the journal of the operator's own changes to a number has no
// assignment after a removal, unless a person did something in between.
func checkOrder(t *testing.T, pn string) {
	t.Helper()
	removed := false
	for _, m := range s.sim.Journal() {
		switch {
		case m.Number != pn:
		case m.Actor == twiliosim.ActorConsole:
			removed = false
		case m.Change == twiliosim.ChangeUnassign:
			removed = true
		case m.Change == twiliosim.ChangeAssign && removed:
			t.Errorf("%s was assigned after another add-on was removed in the same pass", m.AddOn)
		}
	}
}

func TestDriftIsRepaired(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(a *v1alpha1.TwilioAccount) { a.Spec.ResyncInterval.Duration = 2 * time.Second })
	pn := w.number()
	a := w.assignment("line", pn, []int{0, 1})
	awaitReason(t, a, v1alpha1.ReasonSynced)
	twiliosim.Must(s.sim.Unassign(pn, w.addOns[0]), s.sim.Assign(pn, w.addOns[3]))
	w.awaitAssigned(pn, 0, 1)
	awaitReason(t, a, v1alpha1.ReasonSynced)
	checkOrder(t, pn)
}

// At rest a synced object costs one listing per interval and no write.
func TestQuietAtRest(t *testing.T) {
	t.Parallel()
	const interval = 2 * time.Second
	w := newWorld(t, func(a *v1alpha1.TwilioAccount) { a.Spec.ResyncInterval.Duration = interval })
	pn := w.number()
	a := w.assignment("line", pn, []int{0, 1})
	awaitReason(t, a, v1alpha1.ReasonSynced)
	lists := func() int { return s.sim.Calls().Of(twiliosim.OpList, pn).Calls }
	path := "/namespaces/" + w.name + "/phonenumberaddonassignments/line"
	first := lists()
	eventually(t, "the first check at rest is made", func() (bool, string) { return lists() > first, "" })
	from, listed, written := time.Now(), lists(), s.writes.of(path)
	eventually(t, "four more checks are made", func() (bool, string) { return lists() >= listed+4, "" })
	if intervals := int(time.Since(from)/interval) + 1; lists()-listed > intervals {
		t.Errorf("%d listings in %d intervals", lists()-listed, intervals)
	}
	if n := s.writes.of(path) - written; n != 0 {
		t.Errorf("%d writes at rest, want none", n)
	}
	if n := s.sim.Calls().Of(twiliosim.OpNumber, pn).Calls; n != 1 {
		t.Errorf("the number was looked up %d times, want once ever", n)
	}
}

func TestEditAppliesTheDifference(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	a := w.assignment("line", pn, []int{0, 1})
	awaitReason(t, a, v1alpha1.ReasonSynced)
	update(t, a, func(a *assignment) { a.Spec.AddOnSIDs = w.sids(1, 2) })
	awaitReason(t, a, v1alpha1.ReasonSynced)
	w.awaitAssigned(pn, 1, 2)
	checkOrder(t, pn)
	checkCalls(t, pn, map[twiliosim.Operation]int{
		twiliosim.OpNumber: 1, twiliosim.OpList: 2, twiliosim.OpCreate: 3, twiliosim.OpDelete: 1,
	})
}

// An edit stops what is left of a pass: nothing more is assigned for an object that was
// suspended in the meantime, and what was assigned is known.
func TestEditOvertakesAPass(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	twiliosim.Must(s.sim.AddFault(twiliosim.Fault{
		Operation: twiliosim.OpCreate, Number: pn, Kind: twiliosim.FaultHang, Delay: twiliosim.Duration(5 * time.Second), Processed: true, Count: 1,
	}))
	a := w.assignment("line", pn, []int{0, 1, 2})
	w.awaitAssigned(pn, 0)
	update(t, a, func(a *assignment) { a.Spec.Suspend = true })
	awaitReason(t, a, v1alpha1.ReasonSuspended)
	w.awaitAssigned(pn, 0)
	if stateOf(a, w.addOns[0]) != v1alpha1.AddOnAssigned || a.Status.AddOns[0].Ownership != v1alpha1.OwnershipCreated {
		t.Errorf("the add-ons are %+v", a.Status.AddOns)
	}
}

func TestEmptyListRemovesEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	twiliosim.Must(s.sim.Assign(pn, w.addOns[0]))
	a := w.assignment("line", pn, nil)
	awaitReason(t, a, v1alpha1.ReasonSynced)
	w.awaitAssigned(pn)
	if a.Status.Synced != "0/0" {
		t.Errorf("synced is %q, want 0/0", a.Status.Synced)
	}
}

func TestAdditiveRemovesOnlyWhatItCreated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	twiliosim.Must(s.sim.Assign(pn, w.addOns[0]), s.sim.Assign(pn, w.addOns[3]))
	a := w.assignment("line", pn, []int{0, 1, 2}, additive)
	awaitReason(t, a, v1alpha1.ReasonSynced)
	w.awaitAssigned(pn, 0, 1, 2, 3)
	if got := stateOf(a, w.addOns[3]); got != v1alpha1.AddOnUnmanaged {
		t.Errorf("the add-on nobody listed is %s, want Unmanaged", got)
	}
	update(t, a, func(a *assignment) { a.Spec.AddOnSIDs = w.sids(2) })
	awaitReason(t, a, v1alpha1.ReasonSynced)
	w.awaitAssigned(pn, 0, 2, 3)
	remove(t, a)
	awaitGone(t, a)
	w.awaitAssigned(pn, 0, 3)
}

// What is about to be assigned is on record before it is assigned, at no cost for a new
// object and for one more write of status later; and what is on record already is no
// reason to write.
func TestIntentIsRecorded(t *testing.T) {
	t.Parallel()
	for _, policy := range []v1alpha1.ManagementPolicy{v1alpha1.ManagementAuthoritative, v1alpha1.ManagementAdditive} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			checkIntent(t, policy)
		})
	}
}

func checkIntent(t *testing.T, policy v1alpha1.ManagementPolicy) {
	t.Helper()
	w := newWorld(t)
	pn := w.number()
	path := "/namespaces/" + w.name + "/phonenumberaddonassignments/line"
	a := w.assignment("line", pn, []int{0}, func(a *assignment) { a.Spec.ManagementPolicy = policy })
	awaitReason(t, a, v1alpha1.ReasonSynced)
	if want := string(a.UID) + " " + w.addOns[0]; a.Annotations[v1alpha1.AnnotationAssigning] != want {
		t.Errorf("the annotation is %q, want %q", a.Annotations[v1alpha1.AnnotationAssigning], want)
	}
	if n := s.writes.of(path); n != 2 {
		t.Errorf("%d writes to the API server until synced, want 2: the finalizer and the status", n)
	}
	update(t, a, func(a *assignment) { a.Spec.AddOnSIDs = w.sids(0, 1) })
	awaitReason(t, a, v1alpha1.ReasonSynced)
	if n := s.writes.of(path); n != 4 {
		t.Errorf("%d writes to the API server after an edit, want 4: the intent and the outcome more", n)
	}
	if stateOf(a, w.addOns[1]) != v1alpha1.AddOnAssigned || a.Status.AddOns[1].Ownership != v1alpha1.OwnershipCreated {
		t.Errorf("the add-ons are %+v", a.Status.AddOns)
	}
	twiliosim.Must(s.sim.UninstallAddOn(w.addOns[2]))
	update(t, a, func(a *assignment) { a.Spec.AddOnSIDs = w.sids(0, 1, 2) })
	awaitReason(t, a, v1alpha1.ReasonAddOnRejected)
	if got := a.Status.AddOns[2]; got.State != v1alpha1.AddOnRejected || got.Ownership != "" {
		t.Errorf("an add-on that Twilio refused is recorded as %+v, want Rejected and nobody's", got)
	}
}

func additive(a *assignment) { a.Spec.ManagementPolicy = v1alpha1.ManagementAdditive }
func observe(a *assignment)  { a.Spec.ManagementPolicy = v1alpha1.ManagementObserve }

func stateOf(a *assignment, sid string) v1alpha1.AddOnState {
	for _, status := range a.Status.AddOns {
		if string(status.SID) == sid {
			return status.State
		}
	}
	return ""
}

func TestObserveShowsThePlanAndWritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	twiliosim.Must(s.sim.Assign(pn, w.addOns[3]))
	a := w.assignment("line", pn, []int{0}, observe)
	awaitReason(t, a, v1alpha1.ReasonObserved)
	if stateOf(a, w.addOns[0]) != v1alpha1.AddOnMissing || stateOf(a, w.addOns[3]) != v1alpha1.AddOnUnmanaged {
		t.Errorf("the plan reads %+v", a.Status.AddOns)
	}
	if c := condition(a, v1alpha1.ConditionInSync); c.Status != metav1.ConditionFalse {
		t.Errorf("InSync is %+v, want False", c)
	}
	if len(a.Finalizers) > 0 {
		t.Errorf("an object that never writes has the finalizers %v", a.Finalizers)
	}
	remove(t, a)
	awaitGone(t, a)
	w.awaitAssigned(pn, 3)
	checkCalls(t, pn, map[twiliosim.Operation]int{twiliosim.OpNumber: 1, twiliosim.OpList: 1})
}

func condition(a *assignment, kind string) metav1.Condition {
	for _, c := range a.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return metav1.Condition{}
}

func TestSuspendMakesNoCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	a := w.assignment("line", pn, []int{0}, func(a *assignment) { a.Spec.Suspend = true })
	awaitReason(t, a, v1alpha1.ReasonSuspended)
	checkCalls(t, pn, map[twiliosim.Operation]int{})
	update(t, a, func(a *assignment) { a.Spec.Suspend = false })
	awaitReason(t, a, v1alpha1.ReasonSynced)
	update(t, a, func(a *assignment) { a.Spec.Suspend = true })
	awaitReason(t, a, v1alpha1.ReasonSuspended)
	remove(t, a)
	awaitGone(t, a)
	w.awaitAssigned(pn, 0)
}

func TestDeleteUnassignsWhatIsManaged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	a := w.assignment("line", pn, []int{0, 1})
	awaitReason(t, a, v1alpha1.ReasonSynced)
	// Nobody has seen this one yet: it is not the object's to remove any more.
	twiliosim.Must(s.sim.Assign(pn, w.addOns[3]))
	remove(t, a)
	awaitGone(t, a)
	w.awaitAssigned(pn, 3)
	checkCalls(t, pn, map[twiliosim.Operation]int{
		twiliosim.OpNumber: 1, twiliosim.OpList: 1, twiliosim.OpCreate: 2, twiliosim.OpDelete: 2,
	})
}

func TestDeleteConfirmsWhatWasNotFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	a := w.assignment("line", pn, []int{0, 1})
	awaitReason(t, a, v1alpha1.ReasonSynced)
	twiliosim.Must(s.sim.AddFault(twiliosim.Fault{Operation: twiliosim.OpDelete, Number: pn, Kind: twiliosim.FaultError, Status: 404, Code: 20404, Count: 1}))
	remove(t, a)
	awaitGone(t, a)
	w.awaitAssigned(pn)
}

// What Additive created is removed, and not taken for somebody else's because Twilio once
// says not to know it.
func TestAdditiveRemovesInSpiteOfAStray404(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	twiliosim.Must(s.sim.Assign(pn, w.addOns[3]))
	a := w.assignment("line", pn, []int{0, 1}, additive)
	awaitReason(t, a, v1alpha1.ReasonSynced)
	twiliosim.Must(s.sim.AddFault(twiliosim.Fault{Operation: twiliosim.OpDelete, Number: pn, Kind: twiliosim.FaultError, Status: 404, Code: 20404, Count: 1}))
	update(t, a, func(a *assignment) { a.Spec.AddOnSIDs = w.sids(1) })
	w.awaitAssigned(pn, 1, 3)
	awaitReason(t, a, v1alpha1.ReasonSynced)
}

// Under Additive, an add-on that Twilio refuses is tried again without a word, and is
// somebody else's if it is there one day without having been assigned by the object.
func TestAdditiveRejectedStaysQuiet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	missing := twiliosim.SID("XE", w.firstSeed+60)
	a := w.assignment("line", pn, []int{0}, additive, func(a *assignment) {
		a.Spec.AddOnSIDs = append(a.Spec.AddOnSIDs, v1alpha1.AddOnSID(missing))
	})
	awaitReason(t, a, v1alpha1.ReasonAddOnRejected)
	before := a.Status.DeepCopy()
	request(t, a)
	before.LastHandledReconcileAt = a.Status.LastHandledReconcileAt
	if diff := cmp.Diff(*before, a.Status); diff != "" {
		t.Errorf("status changed (-before +after):\n%s", diff)
	}
	twiliosim.Must(s.sim.InstallAddOn(w.account, missing, "missing"))
	twiliosim.Must(s.sim.Assign(pn, missing))
	request(t, a)
	awaitReason(t, a, v1alpha1.ReasonSynced)
	update(t, a, func(a *assignment) { a.Spec.AddOnSIDs = w.sids(0) })
	awaitReason(t, a, v1alpha1.ReasonSynced)
	if got := s.sim.Assigned(pn); !slices.Contains(got, missing) {
		t.Errorf("what somebody else assigned was removed: %v", got)
	}
}

func TestRetainMakesNoCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	a := w.assignment("line", pn, []int{0}, func(a *assignment) { a.Spec.DeletionPolicy = v1alpha1.DeletionRetain })
	awaitReason(t, a, v1alpha1.ReasonSynced)
	remove(t, a)
	awaitGone(t, a)
	w.awaitAssigned(pn, 0)
	checkCalls(t, pn, map[twiliosim.Operation]int{twiliosim.OpNumber: 1, twiliosim.OpList: 1, twiliosim.OpCreate: 1})
}

func TestDeletionBlockedAndTheWayOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	a := w.assignment("line", pn, []int{0})
	awaitReason(t, a, v1alpha1.ReasonSynced)
	twiliosim.Must(s.sim.RotateAuthToken(w.account, secretMark+"other"))
	remove(t, a)
	awaitReason(t, a, v1alpha1.ReasonDeletionBlocked)
	if c := condition(a, v1alpha1.ConditionReady); !strings.Contains(c.Message, "Retain") || !strings.Contains(c.Message, w.name) {
		t.Errorf("the message does not tell the way out: %s", c.Message)
	}
	update(t, a, func(a *assignment) { a.Spec.DeletionPolicy = v1alpha1.DeletionRetain })
	awaitGone(t, a)
	w.awaitAssigned(pn, 0)
}

// While Twilio fails, an object that is being deleted stays with what it answers for.
func TestDeletionOutlastsAnOutage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	a := w.assignment("line", pn, []int{0, 1})
	awaitReason(t, a, v1alpha1.ReasonSynced)
	twiliosim.Must(s.sim.AddFault(twiliosim.Fault{Operation: twiliosim.OpDelete, Number: pn, Kind: twiliosim.FaultError, Status: 503, Count: 3}))
	remove(t, a)
	awaitGone(t, a)
	w.awaitAssigned(pn)
}

func TestDeletionResumesWhenTheCredentialIsBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	a := w.assignment("line", pn, []int{0})
	awaitReason(t, a, v1alpha1.ReasonSynced)
	rotated := secretMark + "rotated" + w.account[2:10]
	twiliosim.Must(s.sim.RotateAuthToken(w.account, rotated))
	remove(t, a)
	awaitReason(t, a, v1alpha1.ReasonDeletionBlocked)
	update(t, w.secret(), func(secret *corev1.Secret) { secret.Data[v1alpha1.SecretKeyAuthToken] = []byte(rotated) })
	awaitGone(t, a)
	w.awaitAssigned(pn)
}

// The Secret stays while objects need it, in whichever order a GitOps tool deletes them.
func TestSecretIsHeldWhileItIsNeeded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	a := w.assignment("line", pn, []int{0})
	awaitReason(t, a, v1alpha1.ReasonSynced)
	secret := w.secret()
	eventually(t, "the Secret is held", func() (bool, string) {
		get(t, secret)
		return slices.Contains(secret.Finalizers, v1alpha1.FinalizerInUse), fmt.Sprint(secret.Finalizers)
	})
	remove(t, secret)
	remove(t, w.twilioAccount())
	remove(t, a)
	awaitGone(t, a)
	w.awaitAssigned(pn)
	awaitGone(t, secret)
}

func TestAccountNotFoundAndThenThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	a := w.assignment("line", pn, []int{0}, func(a *assignment) { a.Spec.AccountRef.Name = w.name + "-later" })
	awaitReason(t, a, v1alpha1.ReasonAccountNotFound)
	account := w.twilioAccount()
	later := &v1alpha1.TwilioAccount{ObjectMeta: metav1.ObjectMeta{Name: w.name + "-later"}, Spec: account.Spec}
	w.create(later)
	awaitReason(t, a, v1alpha1.ReasonSynced)
}

func (w *world) twilioAccount() *v1alpha1.TwilioAccount {
	account := &v1alpha1.TwilioAccount{ObjectMeta: metav1.ObjectMeta{Name: w.name}}
	get(w.t, account)
	return account
}

func TestNamespaceMustBeAllowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(a *v1alpha1.TwilioAccount) {
		a.Spec.AllowedNamespaces = v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromSelector,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"phones": "yes"}}}
	})
	pn := w.number()
	a := w.assignment("line", pn, []int{0})
	awaitReason(t, a, v1alpha1.ReasonNamespaceNotAllowed)
	checkCalls(t, pn, map[twiliosim.Operation]int{})
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.name}}
	update(t, ns, func(ns *corev1.Namespace) { ns.Labels["phones"] = "yes" })
	awaitReason(t, a, v1alpha1.ReasonSynced)
}

func TestInsecureURLIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(a *v1alpha1.TwilioAccount) { a.Spec.APIBaseURL = "http://twilio.example.com" })
	a := w.assignment("line", w.number(), []int{0})
	awaitReason(t, a, v1alpha1.ReasonAccountInvalid)
	account := w.twilioAccount()
	update(t, account, func(account *v1alpha1.TwilioAccount) { account.Spec.APIBaseURL = s.url })
	awaitReason(t, a, v1alpha1.ReasonSynced)
}

func TestCredentialRotationNeedsNoRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	a := w.assignment("line", pn, []int{0})
	awaitReason(t, a, v1alpha1.ReasonSynced)
	rotated := secretMark + "rotated" + w.account[2:10]
	twiliosim.Must(s.sim.RotateAuthToken(w.account, rotated))
	update(t, a, func(a *assignment) { a.Spec.AddOnSIDs = w.sids(1) })
	awaitReason(t, a, v1alpha1.ReasonCredentialsInvalid)

	refused := s.sim.CallTotals().ByAccount[w.account].Calls
	request(t, a)
	if n := s.sim.CallTotals().ByAccount[w.account].Calls - refused; n > 1 {
		t.Errorf("%d calls with a credential that is known to be refused", n)
	}
	secret := w.secret()
	update(t, secret, func(secret *corev1.Secret) { secret.Data[v1alpha1.SecretKeyAuthToken] = []byte(rotated) })
	awaitReason(t, a, v1alpha1.ReasonSynced)
	w.awaitAssigned(pn, 1)
}

func TestAPIKeyWorks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sk := twiliosim.SID("SK", w.firstSeed)
	twiliosim.Must(s.sim.AddAPIKey(w.account, sk, secretMark+"key", twiliosim.KeyStandard))
	secret := w.secret()
	update(t, secret, func(secret *corev1.Secret) {
		secret.Data = map[string][]byte{v1alpha1.SecretKeyAPIKeySID: []byte(sk), v1alpha1.SecretKeyAPIKeySecret: []byte(secretMark + "key")}
	})
	a := w.assignment("line", w.number(), []int{0})
	awaitReason(t, a, v1alpha1.ReasonSynced)
}

func TestPermissionDenied(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	twiliosim.Must(s.sim.AddFault(twiliosim.Fault{Operation: twiliosim.OpList, Number: pn, Kind: twiliosim.FaultError, Status: 403, Code: 20403}))
	a := w.assignment("line", pn, []int{0})
	awaitReason(t, a, v1alpha1.ReasonPermissionDenied)
	s.removeFaults(pn)
	request(t, a)
	awaitReason(t, a, v1alpha1.ReasonSynced)
}

func TestPhoneNumberNotFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := twiliosim.SID("PN", w.firstSeed+900)
	a := w.assignment("line", pn, []int{0})
	awaitReason(t, a, v1alpha1.ReasonPhoneNumberNotFound)
	twiliosim.Must(s.sim.AddNumber(w.account, pn, "+14155550199"))
	request(t, a)
	awaitReason(t, a, v1alpha1.ReasonSynced)
}

func TestReleasedNumberLetsTheObjectGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	a := w.assignment("line", pn, []int{0})
	awaitReason(t, a, v1alpha1.ReasonSynced)
	twiliosim.Must(s.sim.ReleaseNumber(pn))
	request(t, a)
	awaitReason(t, a, v1alpha1.ReasonPhoneNumberNotFound)
	remove(t, a)
	awaitGone(t, a)
}

// A number that no account has is nobody's: every object for it says so, none says that
// another owns it. Whoever finds the number first owns it, once it is there.
func TestNumberThatNobodyHas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	twiliosim.Must(s.sim.ReleaseNumber(pn))
	older, younger := w.assignment("older", pn, []int{0}), w.assignment("younger", pn, []int{1})
	for range 2 {
		for _, a := range []*assignment{younger, older} {
			request(t, a)
			awaitReason(t, a, v1alpha1.ReasonPhoneNumberNotFound)
		}
	}
	twiliosim.Must(s.sim.AddNumber(w.account, pn, fmt.Sprintf("+1416%07d", w.firstSeed)))
	request(t, younger)
	awaitReason(t, younger, v1alpha1.ReasonSynced)
	request(t, older)
	awaitReason(t, older, v1alpha1.ReasonPhoneNumberConflict)
	w.awaitAssigned(pn, 1)
	remove(t, younger)
	awaitGone(t, younger)
	awaitReason(t, older, v1alpha1.ReasonSynced)
	w.awaitAssigned(pn, 0)
}

// Who has found that its account lacks the number does not give way to an object that is
// suspended, and so never looks: the two would take turns.
func TestNumberThatNobodyHasAndOneSuspended(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	looking := w.assignment("looking", pn, []int{0})
	awaitReason(t, looking, v1alpha1.ReasonSynced)
	idle := w.assignment("idle", pn, []int{1}, func(a *assignment) { a.Spec.Suspend = true })
	awaitReason(t, idle, v1alpha1.ReasonSuspended)
	twiliosim.Must(s.sim.ReleaseNumber(pn))
	for range 3 {
		request(t, looking)
		awaitReason(t, looking, v1alpha1.ReasonPhoneNumberNotFound)
	}
	twiliosim.Must(s.sim.AddNumber(w.account, pn, fmt.Sprintf("+1416%07d", w.firstSeed)))
	request(t, looking)
	awaitReason(t, looking, v1alpha1.ReasonSynced)
	w.awaitAssigned(pn, 0)
}

func TestOneRejectedAddOnHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	unsupported := twiliosim.SID("XE", w.firstSeed+50)
	twiliosim.Must(s.sim.Install(w.account, twiliosim.AddOn{SID: unsupported, UniqueName: "recordings", Unsupported: true}))
	unknown := twiliosim.SID("XE", w.firstSeed+51)
	a := w.assignment("line", pn, []int{0, 1}, func(a *assignment) {
		a.Spec.AddOnSIDs = append([]v1alpha1.AddOnSID{v1alpha1.AddOnSID(unsupported), v1alpha1.AddOnSID(unknown)}, a.Spec.AddOnSIDs...)
	})
	awaitReason(t, a, v1alpha1.ReasonAddOnRejected)
	w.awaitAssigned(pn, 0, 1)
	eventually(t, "both are rejected", func() (bool, string) {
		get(t, a)
		return stateOf(a, unsupported) == v1alpha1.AddOnRejected && stateOf(a, unknown) == v1alpha1.AddOnRejected, fmt.Sprint(a.Status.AddOns)
	})
	if a.Status.Synced != "2/4" {
		t.Errorf("synced is %q, want 2/4", a.Status.Synced)
	}
}

func TestConflictAndHandover(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	owner := w.assignment("owner", pn, []int{0, 1})
	awaitReason(t, owner, v1alpha1.ReasonSynced)
	successor := w.assignment("another", pn, []int{1, 2})
	awaitReason(t, successor, v1alpha1.ReasonPhoneNumberConflict)
	if c := condition(successor, v1alpha1.ConditionReady); !strings.Contains(c.Message, w.name+"/owner") {
		t.Errorf("the message does not name the owner: %s", c.Message)
	}
	w.awaitAssigned(pn, 0, 1)
	remove(t, owner)
	awaitGone(t, owner)
	awaitReason(t, successor, v1alpha1.ReasonSynced)
	w.awaitAssigned(pn, 1, 2)
	for _, m := range s.sim.Journal() {
		if m.Number == pn && m.Change == twiliosim.ChangeUnassign && m.AddOn == w.addOns[1] {
			t.Error("what the successor wants was removed in between")
		}
	}
}

func TestLoserIsDeletedWithoutCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	owner := w.assignment("owner", pn, []int{0})
	awaitReason(t, owner, v1alpha1.ReasonSynced)
	loser := w.assignment("loser", pn, []int{0, 1})
	awaitReason(t, loser, v1alpha1.ReasonPhoneNumberConflict)
	remove(t, loser)
	awaitGone(t, loser)
	w.awaitAssigned(pn, 0)
}

func TestSquatterWithoutAdmissionBlocksNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	squatter := w.assignment("squatter", pn, []int{3}, func(a *assignment) { a.Spec.AccountRef.Name = "no-such-account" })
	awaitReason(t, squatter, v1alpha1.ReasonAccountNotFound)
	owner := w.assignment("owner", pn, []int{0})
	awaitReason(t, owner, v1alpha1.ReasonSynced)
	w.awaitAssigned(pn, 0)
}

// An object admitted to an account that does not have the number cannot keep it
// from the object whose account has it.
func TestSquatterOfAnotherAccountBlocksNobody(t *testing.T) {
	t.Parallel()
	w, other := newWorld(t), newWorld(t)
	pn := w.number()
	squatter := other.assignment("squatter", pn, []int{3})
	awaitReason(t, squatter, v1alpha1.ReasonPhoneNumberNotFound)
	owner := w.assignment("owner", pn, []int{0})
	awaitReason(t, owner, v1alpha1.ReasonSynced)
	request(t, squatter)
	awaitReason(t, squatter, v1alpha1.ReasonPhoneNumberConflict)
	request(t, owner)
	awaitReason(t, owner, v1alpha1.ReasonSynced)
	w.awaitAssigned(pn, 0)
}

// An object of an account that does not work holds nothing: it can be deleted, and an
// object of the account that has the number goes before it.
func TestBrokenAccountHoldsNothing(t *testing.T) {
	t.Parallel()
	w, broken := newWorld(t), newWorld(t)
	twiliosim.Must(s.sim.RotateAuthToken(broken.account, secretMark+"other"))
	pn := w.number()
	squatter := broken.assignment("squatter", pn, []int{3})
	awaitReason(t, squatter, v1alpha1.ReasonCredentialsInvalid)
	if len(squatter.Finalizers) > 0 {
		t.Errorf("an object that has never read its number has the finalizers %v", squatter.Finalizers)
	}
	owner := w.assignment("owner", pn, []int{0})
	awaitReason(t, owner, v1alpha1.ReasonSynced)
	w.awaitAssigned(pn, 0)
	remove(t, squatter)
	awaitGone(t, squatter)
	w.awaitAssigned(pn, 0)
}

// Whoever creates an object can set our finalizer on it. That makes nobody an owner.
func TestPresetFinalizerMakesNoOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	owner := w.assignment("owner", pn, []int{0}, observe)
	awaitReason(t, owner, v1alpha1.ReasonObserved)
	rival := w.assignment("rival", pn, []int{3}, func(a *assignment) {
		a.Finalizers, a.Spec.Suspend = []string{v1alpha1.FinalizerUnassign}, true
	})
	awaitReason(t, rival, v1alpha1.ReasonSuspended)
	update(t, rival, func(a *assignment) { a.Spec.Suspend = false })
	awaitReason(t, rival, v1alpha1.ReasonPhoneNumberConflict)
	request(t, owner)
	awaitReason(t, owner, v1alpha1.ReasonObserved)
	w.awaitAssigned(pn)
	remove(t, rival)
	awaitGone(t, rival)
}

func TestTransientFaultsPass(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		fault  twiliosim.Fault
		reason string
	}{
		"500":       {twiliosim.Fault{Kind: twiliosim.FaultError, Status: 500, Code: 20500}, v1alpha1.ReasonTwilioUnavailable},
		"429":       {twiliosim.Fault{Kind: twiliosim.FaultError, Status: 429, Code: 20429}, v1alpha1.ReasonRateLimited},
		"truncated": {twiliosim.Fault{Kind: twiliosim.FaultTruncated}, v1alpha1.ReasonTwilioUnavailable},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			pn := w.number()
			c.fault.Operation, c.fault.Number = twiliosim.OpList, pn
			twiliosim.Must(s.sim.AddFault(c.fault))
			a := w.assignment("line", pn, []int{0})
			awaitReason(t, a, c.reason)
			s.removeFaults(pn)
			awaitReason(t, a, v1alpha1.ReasonSynced)
		})
	}
}

// removeFaults mends what is wrong with a number or an account.
func (s *suite) removeFaults(of string) {
	for _, f := range s.sim.Faults() {
		if f.Number == of || f.Account == of {
			s.sim.RemoveFault(f.ID)
		}
	}
}

// An answer that is lost after Twilio made the assignment is made good by reading:
// the add-on is not posted again, and is known to be the object's own.
func TestLostAnswerIsResolvedByReading(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	twiliosim.Must(s.sim.AddFault(twiliosim.Fault{Operation: twiliosim.OpCreate, Number: pn, Kind: twiliosim.FaultReset, Processed: true, Count: 1}))
	a := w.assignment("line", pn, []int{0}, additive)
	awaitReason(t, a, v1alpha1.ReasonSynced)
	if n := s.sim.Calls().Of(twiliosim.OpCreate, pn).Calls; n != 1 {
		t.Errorf("%d POSTs, want 1", n)
	}
	remove(t, a)
	awaitGone(t, a)
	w.awaitAssigned(pn)
}

func TestAccountStatusAndHold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.assignment("line", w.number(), []int{0})
	awaitReason(t, a, v1alpha1.ReasonSynced)
	account := w.twilioAccount()
	eventually(t, "the account is ready", func() (bool, string) {
		get(t, account)
		return readyReason(account) == v1alpha1.ReasonCredentialsAccepted, readyReason(account)
	})
	checkKstatus(t, account, status.CurrentStatus)
	remove(t, account)
	eventually(t, "the account says that it is held", func() (bool, string) {
		get(t, account)
		message := account.Status.Conditions[0].Message
		return strings.Contains(message, "held"), message
	})
	// An account that is being deleted still serves what refers to it.
	remove(t, a)
	awaitGone(t, a)
	awaitGone(t, account)
}

func TestAccountWithBadSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secret := w.secret()
	update(t, secret, func(secret *corev1.Secret) { secret.Data = map[string][]byte{"token": []byte("x")} })
	account := w.twilioAccount()
	eventually(t, "the account says what is missing", func() (bool, string) {
		get(t, account)
		if len(account.Status.Conditions) == 0 {
			return false, ""
		}
		message := account.Status.Conditions[0].Message
		return strings.Contains(message, v1alpha1.SecretKeyAuthToken), message
	})
	checkKstatus(t, account, status.FailedStatus)
}

// Something that happens is told once in an event; a failing object is not told of again.
func TestEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pn := w.number()
	a := w.assignment("line", pn, []int{0, 1})
	awaitReason(t, a, v1alpha1.ReasonSynced)
	awaitEvents(t, w, "AddOnsAssigned: Assigned "+w.addOns[0]+", "+w.addOns[1])
	update(t, a, func(a *assignment) { a.Spec.AddOnSIDs = w.sids(1, 2) })
	awaitEvents(t, w, "AddOnsAssigned: Assigned "+w.addOns[0]+", "+w.addOns[1],
		"AddOnsReplaced: Assigned "+w.addOns[2]+"; unassigned "+w.addOns[0])
}

// awaitEvents waits for exactly these events, of which each was sent once.
func awaitEvents(t *testing.T, w *world, want ...string) {
	t.Helper()
	slices.Sort(want)
	eventually(t, "the events tell what was changed", func() (bool, string) {
		var events eventsv1.EventList
		if err := s.client.List(t.Context(), &events, client.InNamespace(w.name)); err != nil {
			t.Fatal(err)
		}
		var told []string
		for _, e := range events.Items {
			told = append(told, e.Reason+": "+e.Note)
		}
		slices.Sort(told)
		return slices.Equal(told, want), strings.Join(told, "\n")
	})
}

// A restart costs nothing: what is settled waits for its own phase, while an edit is
// served at once. Not parallel: it stops the manager that the others use.
func TestRestartCostsNothing(t *testing.T) {
	w := newWorld(t)
	resting, edited := w.number(), w.number()
	a := w.assignment("resting", resting, []int{0, 1})
	b := w.assignment("edited", edited, []int{0})
	awaitReason(t, a, v1alpha1.ReasonSynced)
	awaitReason(t, b, v1alpha1.ReasonSynced)
	// The account has it on record that its Secret, which was given a finalizer, is the one
	// that was verified.
	eventually(t, "the account knows its Secret", func() (bool, string) {
		secret := w.secret()
		get(t, secret)
		known := w.twilioAccount().Status.VerifiedSecret
		return len(secret.Finalizers) == 1 && known == versionOf(secret), known
	})
	path := "/namespaces/" + w.name + "/phonenumberaddonassignments/resting"
	calls, written := s.sim.Calls().ByNumber[resting], s.writes.of(path)
	account := s.sim.CallTotals().ByAccount[w.account].Calls

	s.stopManager()
	update(t, b, func(a *assignment) { a.Spec.AddOnSIDs = w.sids(2) })
	if err := s.startManager(); err != nil {
		t.Fatal(err)
	}
	awaitReason(t, b, v1alpha1.ReasonSynced)
	w.awaitAssigned(edited, 2)
	if diff := cmp.Diff(calls, s.sim.Calls().ByNumber[resting]); diff != "" {
		t.Errorf("the restart cost calls (-before +after):\n%s", diff)
	}
	if n := s.writes.of(path) - written; n != 0 {
		t.Errorf("the restart cost %d writes", n)
	}
	// The edit is one listing, one POST and one DELETE; the credential is not checked again.
	if n := s.sim.CallTotals().ByAccount[w.account].Calls - account; n != 3 {
		t.Errorf("the account was called %d times after the restart, want 3 for the edit", n)
	}
}

// Controllers that have stopped leave no goroutine behind, whatever they have done. Not
// parallel: it stops the manager that the others use.
func TestStoppedControllersLeaveNothingRunning(t *testing.T) {
	w := newWorld(t)
	a := w.assignment("line", w.number(), []int{0})
	awaitReason(t, a, v1alpha1.ReasonSynced)
	s.stopManager()
	left := leftRunning()
	if err := s.startManager(); err != nil {
		t.Fatal(err)
	}
	if left != "" {
		t.Errorf("the controllers have stopped, and goroutines of theirs have not:\n%s", left)
	}
}

// leftRunning returns the stacks of the goroutines that the controllers began and that do
// not end after them, "" if there is none.
func leftRunning() (left string) {
	const controllers = "created by github.com/twilio-addon-operator/twilio-addon-operator/controllers."
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		left = ""
		stacks := make([]byte, 16<<20)
		for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
			if strings.Contains(stack, controllers) && !strings.Contains(stack, "_test.go") {
				left += stack + "\n"
			}
		}
		if left == "" {
			break
		}
	}
	return left[:min(len(left), 4000)]
}
