// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"testing"
	"time"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// An object that begins to reconcile as the owner of a number does not claim it beside one
// that has claimed it meanwhile, though it comes first by name: that one may have acted.
func TestLateClaimGivesWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for try := range 5 {
		pn := w.number()
		slow := func(delay time.Duration, after int) {
			eventually(t, "the one before asks for the number", func() (bool, string) {
				n := s.sim.Calls().Of(twiliosim.OpNumber, pn).Calls
				return n == after, fmt.Sprint(n)
			})
			twiliosim.Must(s.sim.AddFault(twiliosim.Fault{Operation: twiliosim.OpNumber, Number: pn, Kind: twiliosim.FaultHang, Delay: twiliosim.Duration(delay), Count: 1}))
		}
		slow(time.Second, 0)
		quick := w.assignment(fmt.Sprintf("b-%d", try), pn, []int{0})
		slow(4*time.Second, 1)
		late := w.assignment(fmt.Sprintf("a-%d", try), pn, []int{1})
		if !quick.CreationTimestamp.Equal(&late.CreationTimestamp) {
			continue // the older one owns the number, whatever its name
		}
		awaitReason(t, quick, v1alpha1.ReasonSynced)
		awaitReason(t, late, v1alpha1.ReasonPhoneNumberConflict)
		w.awaitAssigned(pn, 0)
		for _, m := range s.sim.Journal() {
			if m.Number == pn && m.AddOn != w.addOns[0] {
				t.Errorf("%s was changed (%s)", m.AddOn, m.Change)
			}
		}
		return
	}
	t.Fatal("the objects were never created in the same second")
}
