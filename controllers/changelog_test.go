// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/plan"
)

// The cause of a write follows from what status said when the object began to write.
func TestCauses(t *testing.T) {
	t.Parallel()
	records := func(state v1alpha1.AddOnState, ownership v1alpha1.AddOnOwnership) []v1alpha1.AddOnStatus {
		return []v1alpha1.AddOnStatus{{SID: "XEa", State: state, Ownership: ownership}}
	}
	managed := records(v1alpha1.AddOnAssigned, v1alpha1.OwnershipCreated)
	taken := records(v1alpha1.AddOnAssigned, v1alpha1.OwnershipTakenOver)
	leftAlone := records(v1alpha1.AddOnUnmanaged, "")
	cases := map[string]struct {
		reason  string
		ready   metav1.ConditionStatus
		edited  bool
		deleted bool
		claim   v1alpha1.NumberClaim
		records []v1alpha1.AddOnStatus
		want    cause
	}{
		"edited":                        {v1alpha1.ReasonSynced, metav1.ConditionTrue, true, false, v1alpha1.ClaimHeld, managed, causeSpec},
		"new":                           {"", "", true, false, "", nil, causeSpec},
		"changed in the console":        {v1alpha1.ReasonSynced, metav1.ConditionTrue, false, false, v1alpha1.ClaimHeld, managed, causeDrift},
		"deleted":                       {v1alpha1.ReasonSynced, metav1.ConditionTrue, true, true, v1alpha1.ClaimHeld, managed, causeDelete},
		"waited for the number":         {v1alpha1.ReasonPhoneNumberConflict, metav1.ConditionFalse, false, false, "", nil, causeHandover},
		"took add-ons over":             {v1alpha1.ReasonProgressing, metav1.ConditionFalse, false, false, "", taken, causeHandover},
		"took over long ago, edited":    {v1alpha1.ReasonSynced, metav1.ConditionTrue, true, false, v1alpha1.ClaimHeld, taken, causeSpec},
		"observed before":               {v1alpha1.ReasonObserved, metav1.ConditionTrue, true, false, v1alpha1.ClaimHeld, leftAlone, causePolicy},
		"Additive before":               {v1alpha1.ReasonSynced, metav1.ConditionTrue, true, false, v1alpha1.ClaimHeld, leftAlone, causePolicy},
		"waited, and deleted meanwhile": {v1alpha1.ReasonPhoneNumberConflict, metav1.ConditionFalse, true, true, "", nil, causeDelete},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p := causeScope(c.reason, c.ready, c.edited, c.claim, c.records)
			if c.deleted {
				s.object.DeletionTimestamp = new(metav1.Now())
			}
			s.cause = causeOf(s.object, s.records)
			if got := new(causes).of(s, p); got != c.want {
				t.Errorf("the cause is %s, want %s", got, c.want)
			}
		})
	}
}

// What began as drift stays drift while the removal is held, and until the next edit.
func TestCauseStays(t *testing.T) {
	t.Parallel()
	var c causes
	managed := []v1alpha1.AddOnStatus{{SID: "XEa", State: v1alpha1.AddOnAssigned, Ownership: v1alpha1.OwnershipCreated}}
	pass := func(reason string, ready metav1.ConditionStatus, edited bool) cause {
		s, p := causeScope(reason, ready, edited, v1alpha1.ClaimHeld, managed)
		s.cause = causeOf(s.object, s.records)
		return c.of(s, p)
	}
	if got := pass(v1alpha1.ReasonSynced, metav1.ConditionTrue, false); got != causeDrift {
		t.Errorf("at first the cause is %s", got)
	}
	if got := pass(v1alpha1.ReasonRemovalsHeld, metav1.ConditionFalse, false); got != causeDrift {
		t.Errorf("while the removal is held the cause is %s", got)
	}
	if got := pass(v1alpha1.ReasonRemovalsHeld, metav1.ConditionFalse, true); got != causeSpec {
		t.Errorf("after an edit the cause is %s", got)
	}
	s, _ := causeScope("", "", false, "", nil)
	c.done(s.key())
	if len(c.ongoing) != 0 {
		t.Errorf("what is done is remembered: %v", c.ongoing)
	}
}

// causeScope is the scope of an object whose plan removes what is on record.
func causeScope(reason string, ready metav1.ConditionStatus, edited bool, claim v1alpha1.NumberClaim, records []v1alpha1.AddOnStatus) (*scope, plan.Plan) {
	a := &assignment{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a", UID: "uid", Generation: 2}}
	a.Status.ObservedGeneration, a.Status.Claim = 2, claim
	if edited {
		a.Generation = 3
	}
	if reason != "" {
		a.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: ready, Reason: reason}}
	}
	p := plan.Plan{{Action: plan.Assign, SID: "XEb"}}
	for i := range records {
		p = append(p, plan.Step{Action: plan.Unassign, SID: records[i].SID, Recorded: &records[i]})
	}
	return &scope{object: a, records: records}, p
}
