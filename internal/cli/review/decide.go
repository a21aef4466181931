// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package review

import (
	"slices"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/plan"
)

// decision is the operator's plan for one number, as lists of SIDs, each sorted.
type decision struct {
	assign, unassign   []string
	present            []string
	missing, unmanaged []string
}

// decide asks the operator's own plan. What it would unassign and is not on the number is
// left out: the operator makes sure of it, and nothing changes.
func decide(in plan.Input) decision {
	var d decision
	for _, step := range plan.Make(in) {
		switch {
		case step.Action == plan.Keep:
			d.present = append(d.present, string(step.SID))
		case step.Action == plan.Assign:
			d.assign = append(d.assign, string(step.SID))
		case step.Action == plan.Unassign && step.Listed != nil:
			d.unassign = append(d.unassign, string(step.SID))
		case step.Action == plan.Report && step.Listed == nil:
			d.missing = append(d.missing, string(step.SID))
		case step.Action == plan.Report:
			d.unmanaged = append(d.unmanaged, string(step.SID))
		}
	}
	for _, list := range []*[]string{&d.assign, &d.unassign, &d.present, &d.missing, &d.unmanaged} {
		slices.Sort(*list)
	}
	return d
}
