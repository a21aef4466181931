// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"cmp"
	"slices"
	"time"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// claim is what one object has to do with a number at one moment.
type claim struct {
	life    *life
	version *version
	// admitted: the object's account is there and lets its namespace use it.
	admitted bool
	// held: the object owns the number on record. absent: it reports that the account has
	// no such number.
	held, absent bool
}

func claimOf(l *life, v *version, admitted bool) claim {
	held := v.Claim == v1alpha1.ClaimHeld
	return claim{life: l, version: v, admitted: admitted, held: held, absent: !held && v.Reason == v1alpha1.ReasonPhoneNumberNotFound}
}

// knowsAccount: it can be said in which account the object acted or may act. In a run every
// object that names a number names the same account.
func (c *claim) knowsAccount() bool { return c.admitted || c.version.Found }

// winner is the claim that owns a number: the one that holds it on record, then the oldest,
// then the first by namespace and name. It is nil if no object may change the number.
func winner(claims []claim) *claim {
	return firstOf(claims, func(c *claim) bool {
		going := c.version.Deleting && (!c.version.Finalizer || !c.held)
		return c.admitted && !c.absent && !going
	})
}

// successor is the claim that owns a number after a departing object is gone. It is nil if
// that claim may not write to the same account.
func successor(claims []claim, departing *claim) *claim {
	next := firstOf(claims, func(c *claim) bool {
		return c.life.UID != departing.life.UID && c.admitted && !c.absent && !c.version.Deleting
	})
	if next == nil || !next.version.active() || !departing.knowsAccount() {
		return nil
	}
	return next
}

func firstOf(claims []claim, counts func(*claim) bool) *claim {
	var first *claim
	for i := range claims {
		if c := &claims[i]; counts(c) && (first == nil || order(c, first) < 0) {
			first = c
		}
	}
	return first
}

func order(a, b *claim) int {
	return cmp.Or(
		no(!a.held)-no(!b.held),
		a.life.Created.Compare(b.life.Created),
		cmp.Compare(a.life.Key, b.life.Key),
	)
}

// no orders what is not so before what is.
func no(is bool) int {
	if is {
		return 1
	}
	return 0
}

// mayAct says whether a claim lets its object act beside others: as the owner of the
// number, or because it has looked for it in vain, and nobody holds it. While an object
// that may not act any more has the number on record, nobody else may.
func mayAct(c claim, others []claim) bool {
	if !c.held && slices.ContainsFunc(others, func(other claim) bool {
		return other.held && !other.admitted && (!other.version.Deleting || other.version.Finalizer)
	}) {
		return false
	}
	w := winner(append(slices.Clone(others), c))
	return w == nil || w.life.UID == c.life.UID || (c.absent && !w.held)
}

// mayClean says whether an object that is being deleted may remove what it lists, and not
// only what it has on record: it is the only object of its number, or owns it on record.
func mayClean(c claim, others []claim) bool { return len(others) == 0 || c.held }

// answersFor says whether an object has an add-on on record and has to remove it before it
// goes.
func (v *version) answersFor(addOn string) bool {
	return v.recordsWhere(addOn, func(r v1alpha1.AddOnStatus) bool { return answers(v.Policy, r) })
}

func answers(policy v1alpha1.ManagementPolicy, r v1alpha1.AddOnStatus) bool {
	if policy == v1alpha1.ManagementAuthoritative {
		return r.Ownership != "" || r.State == v1alpha1.AddOnUnassigning
	}
	return isCreated(r.Ownership)
}

// isCreated says whether the operator assigned an add-on, for this object or for one that
// left it to this object.
func isCreated(ownership v1alpha1.AddOnOwnership) bool {
	return ownership == v1alpha1.OwnershipCreated || ownership == v1alpha1.OwnershipTakenOver
}

// keeper is an object that decides about an add-on from now on, so that a departing one may
// leave it on the number; nil if there is none.
func keeper(departing *version, others []claim, addOn string) *claim {
	for i := range others {
		c := &others[i]
		if c.admitted && c.version.keeps(departing, addOn) {
			return c
		}
	}
	return nil
}

// keeps says whether an object that stays has on record what a departing one leaves: it
// answers for it, or it adopted what the operator had assigned for neither.
func (v *version) keeps(departing *version, addOn string) bool {
	foreign := departing.recordsWhere(addOn, func(r v1alpha1.AddOnStatus) bool {
		return r.Ownership == v1alpha1.OwnershipAdopted || (r.Ownership == "" && r.State == v1alpha1.AddOnUnassigning)
	})
	owned := v.recordsWhere(addOn, func(r v1alpha1.AddOnStatus) bool { return r.Ownership != "" })
	return !v.Deleting && v.Finalizer && (v.answersFor(addOn) || (foreign && owned))
}

// heir is the object that a departing one leaves its number to; nil if there is none.
func heir(departing claim, others []claim) *claim {
	w := winner(append(slices.Clone(others), departing))
	if w == nil || w.life.UID == departing.life.UID {
		w = successor(others, &departing)
	}
	if w == nil || w.version.Deleting || !w.version.active() || !departing.knowsAccount() {
		return nil
	}
	return w
}

// handoverWait is how long a departing object waits for another one to take over.
const handoverWait = time.Minute

// mustLeave says why a departing object had to leave an add-on on the number; "" if it had
// to remove it. waited is for how long it had been departing.
func mustLeave(departing claim, others []claim, addOn string, waited time.Duration) string {
	if keeper(departing.version, others, addOn) != nil {
		return "it was being deleted, and another object had the add-on on record"
	}
	if next := heir(departing, others); next != nil && next.version.lists(addOn) && waited < handoverWait-lag {
		return "it was being deleted, and the next owner was to take the add-on over"
	}
	return ""
}
