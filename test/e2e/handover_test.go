// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// brittle is a way to the API server on which a manager dies at one of its writes.
type brittle struct {
	proxy      *testenv.Proxy
	kubeconfig string
}

func newBrittle(t *testing.T) *brittle {
	t.Helper()
	proxy, err := env.NewProxy()
	if err != nil {
		t.Fatal(err)
	}
	address, end, err := proxy.Listen(t.Context(), "handover")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	kubeconfig, err := env.ManagerKubeconfigFor("handover", address)
	if err != nil {
		t.Fatal(err)
	}
	return &brittle{proxy, kubeconfig}
}

// breakWrite breaks the nth of the next writes to assignments, before or after the API
// server has it, and all that follow. It returns whether it has come to that.
func (b *brittle) breakWrite(nth int64, fault testenv.APIFault) (reached func() bool) {
	var writes atomic.Int64
	b.proxy.SetFaults(func(req testenv.APIRequest) testenv.APIFault {
		if !strings.HasPrefix(req.Resource, "phonenumberaddonassignments") || !req.Writes() {
			return testenv.APIFine
		}
		switch n := writes.Add(1); {
		case n < nth:
			return testenv.APIFine
		case n == nth:
			return fault
		}
		return testenv.APIReset
	})
	return func() bool { return writes.Load() >= nth }
}

// A manager that dies at any write of a handover, before the API server has the write or
// after, is followed by one that completes it: what both objects list is never off the
// number, what only the owner listed goes, and nothing is left once both objects are gone.
func TestKilledAtEachWriteOfAHandover(t *testing.T) {
	b := newBrittle(t)
	for i, fault := range []testenv.APIFault{testenv.APIReset, testenv.APILost} {
		writes := int64(0)
		for reached := true; reached && !t.Failed(); {
			nth := writes + 1
			t.Run(fmt.Sprintf("write %d %s", nth, fault), func(t *testing.T) {
				reached = b.handover(t, 20+20*i+2*int(nth), nth, fault)
			})
			if reached {
				writes = nth
			}
		}
		if writes < 3 {
			t.Errorf("the manager died at %d writes: a handover has at least a takeover, a release and a status", writes)
		}
	}
}

// handover hands number n over from one object to another, with a manager that dies at the
// nth write. It returns false if there are fewer.
func (b *brittle) handover(t *testing.T, n int, nth int64, fault testenv.APIFault) (died bool) {
	t.Helper()
	b.proxy.SetFaults(nil)
	manager := startManager(t, "--leader-elect=false", "--kubeconfig="+b.kubeconfig)
	owner, pn := assign(t, n, listing(addOns[0], addOns[1]))
	wait(t, "the owner has the number", func() error { return synced(t, owner) })
	successor := owner.DeepCopy()
	successor.Name, successor.ResourceVersion, successor.UID = fmt.Sprintf("line-%d-next", n), "", ""
	successor.Finalizers, successor.Status = nil, v1alpha1.PhoneNumberAddOnAssignmentStatus{}
	successor.Spec.AddOnSIDs = nil
	listing(addOns[1], addOns[2])(successor)
	if err := env.Client.Create(t.Context(), successor); err != nil {
		t.Fatal(err)
	}
	wait(t, "the other object waits", func() error { return reports(t, successor, v1alpha1.ReasonPhoneNumberConflict) })

	reached := b.breakWrite(nth, fault)
	if err := env.Client.Delete(t.Context(), owner); err != nil {
		t.Fatal(err)
	}
	done := func() error { return errors.Join(gone(t, owner), synced(t, successor)) }
	wait(t, "the write is reached, or the handover is done", func() error {
		if reached() {
			return nil
		}
		return done()
	})
	died = reached()
	_ = manager.Kill()
	b.proxy.SetFaults(nil)
	next := startManager(t, "--leader-elect=false")
	defer stop(t, next)
	wait(t, "the handover is done", done)
	if err := carries(t, pn, addOns[1], addOns[2]); err != nil {
		t.Error(err)
	}
	journal, err := sim.Admin.JournalAfter(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range journal {
		if m.Number == pn && m.Change == twiliosim.ChangeUnassign && m.AddOn == addOns[1] {
			t.Error("what both objects list was off the number in between")
		}
	}
	if err := env.Client.Delete(t.Context(), successor); err != nil {
		t.Fatal(err)
	}
	wait(t, "the successor is gone", func() error { return gone(t, successor) })
	if err := carries(t, pn); err != nil {
		t.Error(err)
	}
	return died
}

// reports is nil if the object's Ready condition has a reason.
func reports(t *testing.T, a *v1alpha1.PhoneNumberAddOnAssignment, reason string) error {
	t.Helper()
	err := synced(t, a) // reads it
	if ready := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady); ready != nil && ready.Reason == reason {
		return nil
	}
	return errors.Join(fmt.Errorf("it does not report %s", reason), err)
}
