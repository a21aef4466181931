// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package budget

import (
	"encoding/json"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// etcdLimit is what etcd takes in one request by default; the rest of an object is small.
const etcdLimit = 1536 << 10

func sizeOf(t *testing.T, s v1alpha1.RemovalsStatus) int {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return len(text)
}

// An account of 100,000 numbers, of which a quarter was counted, can be approved whole.
func TestHundredThousandNumbers(t *testing.T) {
	s := newScene(t, 100_000, v1alpha1.RemovalBudget{})
	s.ask(0, 25_000)
	s.decide()
	s.want("a quarter", s.after(quiet), outcome{Granted: 25_000, Numbers: 25_000, Limit: 25_000})
	s.done(0, 25_000)
	s.ask(0, 100_000)
	s.deleting = true
	d := s.after(time.Minute)
	s.want("all", d, outcome{Held: 100_000, Numbers: 25_000, Limit: 25_000})
	s.accounts[0].Approve = d.State.Hold
	d = s.after(time.Second)
	s.want("approved", d, outcome{Granted: 100_000, Numbers: 25_000, Limit: 25_000})
	if size := sizeOf(t, d.State); size > etcdLimit*3/4 {
		t.Errorf("the status has %d bytes", size)
	}
}

// What does not fit on record is held, by an approval as by a budget.
func TestMoreThanFitsOnRecord(t *testing.T) {
	s := newScene(t, 140_000, spec(intstr.FromString("99%"), 10, time.Hour))
	s.ask(0, 130_000)
	s.decide()
	d := s.after(quiet)
	s.want("within the limit, and too many", d, outcome{Granted: 10, Held: 129_990, Numbers: 10, Limit: 138_600})
	s.accounts[0].Approve = d.State.Hold
	s.after(time.Second)
	d = s.after(quiet)
	s.want("approved as far as it fits", d, outcome{Granted: capacity, Held: 130_000 - capacity, Numbers: 10, Limit: 138_600})
	if d.State.Hold == "" || d.State.Hold == d.State.Approved {
		t.Errorf("the others are not held anew: %q after %q", d.State.Hold, d.State.Approved)
	}
	if size := sizeOf(t, d.State); size > etcdLimit*3/4 {
		t.Errorf("the status has %d bytes", size)
	}
}

func BenchmarkDecide(b *testing.B) {
	for name, n := range map[string]int{"10 of 1000": 10, "200 of 1000": 200, "100000 of 100000": 100_000} {
		b.Run(name, func(b *testing.B) {
			in := Input{Now: noon(), Accounts: []Account{{Name: "default"}}, Fleet: max(n, 1000), Complete: true}
			for i := range n {
				in.Demands = append(in.Demands, Demand{Number: number(i), Object: "telephony/n" + string(number(i)), Since: noon().Add(-time.Hour)})
			}
			in.Accounts[0].State = Decide(in).State
			b.ReportAllocs()
			for b.Loop() {
				Decide(in)
			}
		})
	}
}
