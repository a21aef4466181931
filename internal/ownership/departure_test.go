// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/ownership"
)

// What a departing object does about an add-on that the operator did not assign: it must
// neither wait for a record that never comes nor remove what its successor has adopted.
func TestDepartureOfWhatOthersAssigned(t *testing.T) {
	const account, addOn = v1alpha1.AccountSID("AC1"), v1alpha1.AddOnSID("XE1")
	build := func(name string, claim v1alpha1.NumberClaim, policy v1alpha1.ManagementPolicy, records ...v1alpha1.AddOnStatus) *v1alpha1.PhoneNumberAddOnAssignment {
		a := &v1alpha1.PhoneNumberAddOnAssignment{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Finalizers: []string{v1alpha1.FinalizerUnassign}}}
		a.Spec.ManagementPolicy, a.Spec.AddOnSIDs = policy, []v1alpha1.AddOnSID{addOn}
		a.Status.Claim, a.Status.AccountSID, a.Status.AddOns = claim, account, records
		return a
	}
	record := func(state v1alpha1.AddOnState, ownership v1alpha1.AddOnOwnership) v1alpha1.AddOnStatus {
		return v1alpha1.AddOnStatus{SID: addOn, State: state, Ownership: ownership}
	}
	rejected := record(v1alpha1.AddOnRejected, "")
	extra := record(v1alpha1.AddOnUnassigning, "")
	adopted := record(v1alpha1.AddOnAssigned, v1alpha1.OwnershipAdopted)
	created := record(v1alpha1.AddOnAssigned, v1alpha1.OwnershipCreated)
	const held, yielded = v1alpha1.ClaimHeld, v1alpha1.ClaimYielded
	const authoritative, additive = v1alpha1.ManagementAuthoritative, v1alpha1.ManagementAdditive
	cases := map[string]struct {
		reason          string
		departing, heir *v1alpha1.PhoneNumberAddOnAssignment
		want            ownership.Disposition
	}{
		"rejected": {"nothing is handed over, so the successor never records it",
			build("me", held, authoritative, rejected), build("heir", yielded, authoritative), ownership.Remove},
		"never read": {"the same",
			build("me", held, authoritative), build("heir", yielded, authoritative), ownership.Remove},
		"rejected, of a former owner": {"the owner may have it by now, and its record is about to follow",
			build("me", yielded, authoritative, rejected), build("heir", held, authoritative), ownership.Await},
		"adopted, not taken over yet": {"the successor is about to record it",
			build("me", held, authoritative, adopted), build("heir", yielded, additive), ownership.Await},
		"adopted by both": {"the operator assigned it for neither, and the successor wants it",
			build("me", held, authoritative, adopted), build("heir", yielded, additive, adopted), ownership.Spare},
		"nobody's, about to be removed": {"the successor lists it, so it stays, and its record is about to follow",
			build("me", held, authoritative, extra), build("heir", yielded, additive), ownership.Await},
		"nobody's, adopted by the successor": {"the operator assigned it for neither, and the successor wants it",
			build("me", held, authoritative, extra), build("heir", yielded, additive, adopted), ownership.Spare},
		"created, adopted by an Additive one": {"that one would never remove it",
			build("me", held, authoritative, created), build("heir", yielded, additive, adopted), ownership.Await},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			now := metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
			c.departing.DeletionTimestamp = &now
			claims := []ownership.Claim{ownership.ClaimOf(c.departing, account, false), ownership.ClaimOf(c.heir, account, false)}
			if got, _ := ownership.DispositionOf(claims, types.NamespacedName{Name: "me"}, addOn); got != c.want {
				t.Errorf("%s: got %s, want %s", c.reason, got, c.want)
			}
		})
	}
}
