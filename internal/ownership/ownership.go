// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ownership decides which of several objects that name one phone number may
// change it, which of them wait, and what a departing object leaves to another.
//
// The decision follows from what is written on the objects, so it outlives a restart and a
// change of leader. An object owns a number durably once its status says that it holds the
// claim. Nobody else claims the number before that object has yielded the claim in its own
// status, or is gone.
//
// The package is pure. It reads no cluster; whoever acts on its answers makes sure that
// the objects are current.
package ownership

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/plan"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/sid"
)

// Claim is an object that names a number, reduced to what decides about the number.
type Claim struct {
	Key     types.NamespacedName
	UID     types.UID
	Created time.Time
	// Account is the Twilio account of the object's TwilioAccount; empty if there is none
	// or it does not admit the object's namespace.
	Account v1alpha1.AccountSID
	// Held: the object holds the claim, or this process has just let it claim the number.
	Held bool
	// Absent: the object reports that its account lacks the number.
	Absent bool
	// Deleting: the object is being deleted. Finalizer: it still has our finalizer.
	Deleting, Finalizer bool
	// Active: the object writes to Twilio. Neither suspended nor Observe.
	Active bool
	// Object is read only.
	Object *v1alpha1.PhoneNumberAddOnAssignment
}

// ClaimOf reduces an object to its claim. account is empty if the object is not admitted.
// reserved says that this process let the object claim the number, which status does not
// show yet.
func ClaimOf(a *v1alpha1.PhoneNumberAddOnAssignment, account v1alpha1.AccountSID, reserved bool) Claim {
	held := reserved || a.Status.Claim == v1alpha1.ClaimHeld
	return Claim{
		Key:       types.NamespacedName{Namespace: a.Namespace, Name: a.Name},
		UID:       a.UID,
		Created:   a.CreationTimestamp.Time,
		Account:   account,
		Held:      held,
		Absent:    !held && reports(a, v1alpha1.ReasonPhoneNumberNotFound),
		Deleting:  !a.DeletionTimestamp.IsZero(),
		Finalizer: slices.Contains(a.Finalizers, v1alpha1.FinalizerUnassign),
		Active:    !a.Spec.Suspend && a.Spec.ManagementPolicy != v1alpha1.ManagementObserve,
		Object:    a,
	}
}

func reports(a *v1alpha1.PhoneNumberAddOnAssignment, reason string) bool {
	ready := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady)
	return ready != nil && ready.Status == metav1.ConditionFalse && ready.Reason == reason
}

// Role is what an object may do about its number.
type Role string

// The roles.
const (
	// Acts: the object owns the number, or nobody does and it may look for it.
	Acts Role = "Acts"
	// Waits: another object owns the number.
	Waits Role = "Waits"
	// TakesOver: the owner is being deleted and this object is next.
	TakesOver Role = "TakesOver"
	// AwaitsYield: another object holds the claim and may not act any more; it has yet to
	// yield.
	AwaitsYield Role = "AwaitsYield"
)

// Standing is an object's role, and the other object that it follows from.
type Standing struct {
	Role  Role
	Other *Claim
}

// StandingOf decides the role of the admitted object key among the claims to its number.
func StandingOf(claims []Claim, key types.NamespacedName) Standing {
	me := find(claims, key)
	if me == nil {
		return Standing{Role: Acts}
	}
	if !me.Held {
		if other := unadmittedHolder(claims); other != nil {
			return Standing{AwaitsYield, other}
		}
	}
	owner := Owner(claims, me.Account)
	switch {
	case owner == nil, owner.Key == key:
		return Standing{Role: Acts}
	case me.Absent && !owner.Held:
		// If it gave way to an object that does not look for the number, for example a
		// suspended one, the two would take turns at giving way.
		return Standing{Role: Acts}
	case owner.Deleting && me.Active:
		if next := Successor(claims, owner); next != nil && next.Key == key && hasToHandOver(owner, me) {
			return Standing{TakesOver, owner}
		}
	}
	return Standing{Waits, owner}
}

// HeldByAnother returns the object that holds the claim, so that key must not claim the
// number beside it, however old key is. It is nil if there is none. That key may hold the
// claim by now as well does not count.
func HeldByAnother(claims []Claim, key types.NamespacedName) *Claim {
	claims = slices.Clone(claims)
	if me := find(claims, key); me != nil {
		me.Held = false
	}
	if standing := StandingOf(claims, key); standing.Role != Acts && standing.Other.Held {
		return standing.Other
	}
	return nil
}

// Owner returns the one object that may change the number: the one that holds the claim,
// otherwise the oldest, otherwise the first by namespace and name. It is nil if no object
// may. An object that looks for the number in another account than home counts only once
// it has found it there: a number is in one account.
func Owner(claims []Claim, home v1alpha1.AccountSID) *Claim {
	return first(claims, func(c *Claim) bool {
		found := c.Object.Status.AccountSID == c.Account
		gone := c.Deleting && (!c.Finalizer || !c.Held)
		return c.Account != "" && !c.Absent && !gone && (found || c.Account == home)
	})
}

// Successor returns the object that owns the number after departing is gone, if it may
// write to the same account. It is nil if none waits.
func Successor(claims []Claim, departing *Claim) *Claim {
	next := first(claims, func(c *Claim) bool {
		return c.Key != departing.Key && c.Account != "" && !c.Absent && !c.Deleting
	})
	if next == nil || !next.Active || !sameAccount(next, departing) {
		return nil
	}
	return next
}

// sameAccount reports whether an object acts on the account in which another one acted.
func sameAccount(c, departing *Claim) bool {
	return sid.Equal(c.Account, cmp.Or(departing.Object.Status.AccountSID, departing.Account))
}

// hasToHandOver reports whether a departing owner has anything on record that another
// object desires.
func hasToHandOver(owner, next *Claim) bool {
	spec := &owner.Object.Spec
	if !owner.Active || spec.DeletionPolicy == v1alpha1.DeletionRetain {
		return false
	}
	return slices.ContainsFunc(owner.Object.Status.AddOns, func(r v1alpha1.AddOnStatus) bool {
		return plan.HandsOver(&r) && Desires(next.Object, r.SID)
	})
}

// handsOver reports whether a departing owner has an add-on on record that another object
// can take over. For any other add-on a successor never gets a record, so to wait for it
// would be in vain.
func handsOver(owner *Claim, addOn v1alpha1.AddOnSID) bool {
	r := recordOf(owner, addOn)
	return r != nil && plan.HandsOver(r)
}

func recordOf(c *Claim, addOn v1alpha1.AddOnSID) *v1alpha1.AddOnStatus {
	records := c.Object.Status.AddOns
	at := slices.IndexFunc(records, func(r v1alpha1.AddOnStatus) bool { return sid.Equal(r.SID, addOn) })
	if at < 0 {
		return nil
	}
	return &records[at]
}

// Desires reports whether an object lists an add-on.
func Desires(a *v1alpha1.PhoneNumberAddOnAssignment, s v1alpha1.AddOnSID) bool {
	return Lists(a.Spec.AddOnSIDs, s)
}

// Lists reports whether a list of add-ons has a SID, in whichever spelling.
func Lists(desired []v1alpha1.AddOnSID, s v1alpha1.AddOnSID) bool {
	return slices.ContainsFunc(desired, func(d v1alpha1.AddOnSID) bool { return sid.Equal(d, s) })
}

func find(claims []Claim, key types.NamespacedName) *Claim {
	for i := range claims {
		if claims[i].Key == key {
			return &claims[i]
		}
	}
	return nil
}

// unadmittedHolder returns an object that holds the claim and has no right to act.
func unadmittedHolder(claims []Claim) *Claim {
	for i := range claims {
		if c := &claims[i]; c.Held && c.Account == "" && (!c.Deleting || c.Finalizer) {
			return c
		}
	}
	return nil
}

// first returns the first of the claims that count: holders, then by age, then by name.
func first(claims []Claim, counts func(*Claim) bool) *Claim {
	var best *Claim
	for i := range claims {
		if c := &claims[i]; counts(c) && (best == nil || before(c, best)) {
			best = c
		}
	}
	return best
}

func before(a, b *Claim) bool {
	if a.Held != b.Held {
		return a.Held
	}
	return cmp.Or(
		a.Created.Compare(b.Created),
		strings.Compare(a.Key.Namespace, b.Key.Namespace),
		strings.Compare(a.Key.Name, b.Key.Name),
	) < 0
}

// Disposition is what a departing object does about one add-on that it answers for.
type Disposition string

// The dispositions.
const (
	// Remove: the departing object removes it.
	Remove Disposition = "Remove"
	// Spare: another object has it on record and answers for it from now on.
	Spare Disposition = "Spare"
	// Await: another object is about to take it over; wait for its record.
	Await Disposition = "Await"
	// Gone: the owner of the number reports that the number carries exactly its own list,
	// and this add-on is not on it.
	Gone Disposition = "Gone"
)

// DispositionOf decides about one add-on of the departing object key, and names the other
// object that the decision rests on. Before a finalizer goes because of Spare or Gone, read
// that object from the API server and decide again.
func DispositionOf(claims []Claim, key types.NamespacedName, addOn v1alpha1.AddOnSID) (Disposition, *Claim) {
	me := find(claims, key)
	if me == nil {
		return Remove, nil
	}
	for i := range claims {
		if c := &claims[i]; c.Key != key && answersFor(c, me, addOn) {
			return Spare, c
		}
	}
	heir := heirOf(claims, me)
	switch {
	case heir == nil:
		return Remove, nil
	case Desires(heir.Object, addOn) && (heir.Held || handsOver(me, addOn)):
		return Await, heir
	case heir.Held && reportsExactList(heir.Object):
		return Gone, heir
	}
	return Remove, nil
}

// heirOf returns the object that changes the number after me: its owner, or else the one
// that is next. It is nil if that one does not write to the account in which me did.
func heirOf(claims []Claim, me *Claim) *Claim {
	heir := Owner(claims, cmp.Or(me.Account, me.Object.Status.AccountSID))
	if heir == nil || heir.Key == me.Key {
		heir = Successor(claims, me)
	}
	if heir == nil || heir.Deleting || !heir.Active || !sameAccount(heir, me) {
		return nil
	}
	return heir
}

// answersFor reports whether another object has an add-on on record and decides about it
// from now on: it stays, it has its own finalizer, and it acts on the same account. What
// the operator assigned it has to remove in its turn; of what somebody else assigned it is
// enough that it is adopted.
func answersFor(c, departing *Claim, addOn v1alpha1.AddOnSID) bool {
	if c.Deleting || !c.Finalizer || !sameAccount(c, departing) {
		return false
	}
	theirs, mine := recordOf(c, addOn), recordOf(departing, addOn)
	switch {
	case theirs == nil:
		return false
	case mine != nil && plan.HandsOver(mine) && !plan.Created(mine.Ownership) && theirs.Ownership != "":
		return true
	}
	return plan.Answers(c.Object.Spec.ManagementPolicy, theirs)
}

// reportsExactList reports whether an object says, for its current spec, that the number
// carries what it lists and nothing else.
func reportsExactList(a *v1alpha1.PhoneNumberAddOnAssignment) bool {
	inSync := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionInSync)
	return a.Spec.ManagementPolicy == v1alpha1.ManagementAuthoritative && a.Status.ObservedGeneration == a.Generation &&
		inSync != nil && inSync.Status == metav1.ConditionTrue && inSync.ObservedGeneration == a.Generation
}
