// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// The tests of this file show how to provoke the conditions that correctness tests of the
// operator need: which fault, switch or console action leads to which answers.

var (
	numberGet  = call{path: numberPath(ac, pn, ".json")}
	numberList = call{path: "/2010-04-01/Accounts/" + ac + "/IncomingPhoneNumbers.json"}
)

// statuses makes requests in order and returns the status of each answer.
func statuses(t *testing.T, sim *twiliosim.Sim, calls ...call) []int {
	t.Helper()
	var got []int
	for _, c := range calls {
		got = append(got, direct(t, sim, c).status)
	}
	return got
}

func expect(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestFaultOfOneAddOn(t *testing.T) {
	for _, form := range []twiliosim.AssignmentSIDForm{twiliosim.AssignmentSIDEqual, twiliosim.AssignmentSIDDifferent} {
		t.Run(string(form), func(t *testing.T) {
			sim := newWorld(t)
			twiliosim.Must(
				sim.UpdateBehaviour(func(b *twiliosim.Behaviour) { b.AssignmentSID = form }),
				sim.AddFault(twiliosim.Fault{Operation: twiliosim.OpCreate, AddOn: xe, Kind: twiliosim.FaultError, Status: 403, Count: 2}),
				sim.AddFault(twiliosim.Fault{Operation: twiliosim.OpDelete, AddOn: xe, Kind: twiliosim.FaultError, Status: 409, Count: 1}),
			)
			assigned := func(addOn string) string {
				if form == twiliosim.AssignmentSIDDifferent {
					return twiliosim.AssignmentSID(pn, addOn)
				}
				return addOn
			}
			got := statuses(t, sim,
				create(pn, xe), create(pn, xe2), create(pn, xe), create(pn, xe),
				remove(pn, assigned(xe2)), remove(pn, assigned(xe)), fetch(pn, assigned(xe)), remove(pn, assigned(xe)))
			expect(t, "statuses", []int{403, 201, 403, 201, 204, 409, 200, 204}, got)
			expect(t, "assigned", []string{}, sim.Assigned(pn))
		})
	}
}

// The number is answered 404, its own GET included, and the account's list still shows it.
func TestNumberAnswers404WhileTheListShowsIt(t *testing.T) {
	sim := newWorld(t)
	twiliosim.Must(sim.Assign(pn, xe),
		sim.AddFault(twiliosim.Fault{Number: pn, Kind: twiliosim.FaultError, Status: 404}))
	expect(t, "statuses", []int{404, 404, 404, 404, 404, 200},
		statuses(t, sim, numberGet, list(pn), fetch(pn, xe), create(pn, xe2), remove(pn, xe), list(pn2)))
	expect(t, "numbers", []string{pn, pn2}, direct(t, sim, numberList).items(t, "incoming_phone_numbers"))
	expect(t, "assigned", []string{xe}, sim.Assigned(pn))
}

func TestMissingNumberIsNotListedEither(t *testing.T) {
	sim := newWorld(t)
	twiliosim.Must(sim.Assign(pn, xe),
		sim.AddFault(twiliosim.Fault{Number: pn, Kind: twiliosim.FaultMissingNumber}))
	expect(t, "statuses", []int{404, 404, 404, 404, 404, 404, 200},
		statuses(t, sim, numberGet, list(pn), fetch(pn, xe), create(pn, xe2), remove(pn, xe),
			call{method: "DELETE", path: numberGet.path}, list(pn2)))
	for filter, want := range map[string][]string{"": {pn2}, "?PhoneNumber=%2B14155550101": {}} {
		r := direct(t, sim, call{path: numberList.path + filter})
		expect(t, "numbers "+filter, want, r.items(t, "incoming_phone_numbers"))
	}
	sim.ClearFaults()
	expect(t, "statuses once it is back", []int{200, 200}, statuses(t, sim, numberGet, fetch(pn, xe)))
	expect(t, "numbers once it is back", []string{pn, pn2}, direct(t, sim, numberList).items(t, "incoming_phone_numbers"))
}

// Operation narrows the fault, here to the list of numbers.
func TestMissingNumberCanBeLeftOutOfTheListOnly(t *testing.T) {
	sim := newWorld(t)
	twiliosim.Must(sim.AddFault(twiliosim.Fault{Operation: twiliosim.OpNumbers, Number: pn, Kind: twiliosim.FaultMissingNumber, Count: 1}))
	expect(t, "status", []int{200}, statuses(t, sim, numberGet))
	for _, want := range [][]string{{pn2}, {pn, pn2}} {
		expect(t, "numbers", want, direct(t, sim, numberList).items(t, "incoming_phone_numbers"))
	}
}

func TestDeleteAnswers404WithoutDeleting(t *testing.T) {
	sim := newWorld(t)
	twiliosim.Must(sim.Assign(pn, xe), sim.Assign(pn, xe2),
		sim.AddFault(twiliosim.Fault{Operation: twiliosim.OpDelete, Number: pn, AddOn: xe, Kind: twiliosim.FaultError, Status: 404, Count: 2}))
	expect(t, "statuses", []int{404, 404, 204}, statuses(t, sim, remove(pn, xe), remove(pn, xe), remove(pn, xe2)))
	expect(t, "list", []string{xe}, direct(t, sim, list(pn)).items(t, "assigned_add_ons"))
	expect(t, "status once the count is used up", []int{204}, statuses(t, sim, remove(pn, xe)))
	expect(t, "assigned", []string{}, sim.Assigned(pn))
}

// The first create succeeds but its answer is lost; the second is refused as a duplicate, and
// reads do not show the assignment yet.
func TestDuplicateCreateIsRefusedWhileReadsLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newWorld(t)
		twiliosim.Must(
			sim.UpdateBehaviour(func(b *twiliosim.Behaviour) {
				b.DuplicateCreate, b.ReadLag = "400", twiliosim.Duration(time.Minute)
			}),
			sim.AddFault(twiliosim.Fault{Operation: twiliosim.OpCreate, Kind: twiliosim.FaultHTML, Status: 502, Processed: true, Count: 1}),
		)
		expect(t, "statuses at first", []int{502, 400, 404}, statuses(t, sim, create(pn, xe), create(pn, xe), fetch(pn, xe)))
		expect(t, "list at first", []string{}, direct(t, sim, list(pn)).items(t, "assigned_add_ons"))
		time.Sleep(time.Minute)
		expect(t, "statuses after the lag", []int{400, 200}, statuses(t, sim, create(pn, xe), fetch(pn, xe)))
		expect(t, "list after the lag", []string{xe}, direct(t, sim, list(pn)).items(t, "assigned_add_ons"))
	})
}

func TestOutageOfOneAccount(t *testing.T) {
	other := call{path: numberPath(sub, pn3, ".json")}
	for _, status := range []int{503, 429} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			sim := newWorld(t)
			twiliosim.Must(sim.Assign(pn, xe),
				sim.AddFault(twiliosim.Fault{Account: ac, Kind: twiliosim.FaultError, Status: status}))
			calls := []call{list(pn), numberGet, numberList, {path: "/v1/InstalledAddOns"}, remove(pn, xe), other}
			expect(t, "during the outage", []int{status, status, status, status, status, 200}, statuses(t, sim, calls...))
			expect(t, "assigned", []string{xe}, sim.Assigned(pn))
			if !sim.RemoveFault(sim.Faults()[0].ID) {
				t.Fatal("the fault is not listed")
			}
			expect(t, "after the outage", []int{200, 200, 200, 200, 204, 200}, statuses(t, sim, calls...))
		})
	}
}

// A released number can be added again under its SID, and a moved one moved back. Both come back
// without assignments.
func TestNumberLeavesAndComesBackUnderItsSID(t *testing.T) {
	for name, c := range map[string]struct{ leave, back func(*twiliosim.Sim) error }{
		"released": {
			func(s *twiliosim.Sim) error { return s.ReleaseNumber(pn) },
			func(s *twiliosim.Sim) error { return s.AddNumber(ac, pn, "+14155550101") },
		},
		"moved": {
			func(s *twiliosim.Sim) error { return s.MoveNumber(pn, sub) },
			func(s *twiliosim.Sim) error { return s.MoveNumber(pn, ac) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			sim := newWorld(t)
			elsewhere := call{path: numberPath(sub, pn, ".json")}
			twiliosim.Must(sim.Assign(pn, xe), c.leave(sim))
			expect(t, "statuses after it left", []int{404, 404, 404}, statuses(t, sim, numberGet, list(pn), remove(pn, xe)))
			expect(t, "numbers after it left", []string{pn2}, direct(t, sim, numberList).items(t, "incoming_phone_numbers"))
			expect(t, "in the subaccount", []int{map[string]int{"released": 404, "moved": 200}[name]}, statuses(t, sim, elsewhere))
			twiliosim.Must(c.back(sim))
			expect(t, "assigned after it came back", []string{}, sim.Assigned(pn))
			expect(t, "statuses after it came back", []int{200, 200, 404, 201}, statuses(t, sim, numberGet, list(pn), elsewhere, create(pn, xe)))
			expect(t, "numbers after it came back", []string{pn, pn2}, direct(t, sim, numberList).items(t, "incoming_phone_numbers"))
		})
	}
}
