// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package review

import (
	"slices"
	"strings"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

// decision is the operator's plan for one number, as lists of SIDs, each sorted.
type decision struct {
	assign, unassign   []string
	present            []string
	missing, unmanaged []string
}

// decide asks the operator's own plan.
func decide(spec *v1alpha1.PhoneNumberAddOnAssignmentSpec, recorded []v1alpha1.AddOnStatus, listed []twilio.AssignedAddOn) decision {
	var d decision
	_ = recorded
	for _, sid := range spec.AddOnSIDs {
		there := slices.ContainsFunc(listed, func(l twilio.AssignedAddOn) bool { return strings.EqualFold(l.SID, string(sid)) })
		switch {
		case there:
			d.present = append(d.present, string(sid))
		case spec.ManagementPolicy == v1alpha1.ManagementObserve:
			d.missing = append(d.missing, string(sid))
		default:
			d.assign = append(d.assign, string(sid))
		}
	}
	for _, l := range listed {
		wanted := slices.ContainsFunc(spec.AddOnSIDs, func(sid v1alpha1.AddOnSID) bool { return strings.EqualFold(l.SID, string(sid)) })
		switch {
		case wanted:
		case spec.ManagementPolicy == v1alpha1.ManagementAuthoritative:
			d.unassign = append(d.unassign, l.SID)
		default:
			d.unmanaged = append(d.unmanaged, l.SID)
		}
	}
	for _, list := range []*[]string{&d.assign, &d.unassign, &d.present, &d.missing, &d.unmanaged} {
		slices.Sort(*list)
	}
	return d
}
