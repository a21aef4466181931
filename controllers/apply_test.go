// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/fleet"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/ledger"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/plan"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

// A removal that waits, for an approval or for another add-on, ends when somebody else
// removes the add-on: once lists have lacked it for a minute without interruption.
func TestWaitingRemovalEndsWithTheAddOn(t *testing.T) {
	t.Parallel()
	there := &twilio.AssignedAddOn{SID: "XEa"}
	type pass struct {
		after  time.Duration
		listed *twilio.AssignedAddOn
	}
	cases := map[string]struct {
		passes []pass
		left   int
	}{
		"listed":                {[]pass{{0, there}, {time.Hour, there}}, 1},
		"absent once":           {[]pass{{0, there}, {time.Hour, nil}}, 1},
		"absent for a while":    {[]pass{{0, nil}, {30 * time.Second, nil}}, 1},
		"absent for a minute":   {[]pass{{0, nil}, {30 * time.Second, nil}, {30 * time.Second, nil}}, 0},
		"listed in between":     {[]pass{{0, nil}, {50 * time.Second, there}, {20 * time.Second, nil}}, 1},
		"absent, listed, again": {[]pass{{0, nil}, {time.Minute, there}, {time.Minute, nil}, {time.Minute, nil}}, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := &assignmentReconciler{fleet: fleet.New()}
				record := v1alpha1.AddOnStatus{SID: "XEa", State: v1alpha1.AddOnUnassigning, Ownership: v1alpha1.OwnershipCreated}
				for i, pass := range c.passes {
					time.Sleep(pass.after)
					p := plan.Plan{{Action: plan.Unassign, SID: "XEa", Ownership: record.Ownership, Recorded: &record, Listed: pass.listed}}
					w := &worker{r: r, s: &scope{object: &assignment{}}, ledger: ledger.From(p)}
					left := w.dropAbsent(p)
					want := 1
					if i == len(c.passes)-1 {
						want = c.left
					}
					if len(left) != want || len(w.ledger.Statuses()) != want {
						t.Fatalf("after pass %d there are %d removals and %d records, want %d", i, len(left), len(w.ledger.Statuses()), want)
					}
				}
			})
		})
	}
}
