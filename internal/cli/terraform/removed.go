// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package terraform

import (
	"fmt"
	"slices"
	"strings"
)

// Removed writes one removed block for each resource of the assignments, so that the
// next "terraform apply" forgets them and removes nothing in Twilio. A removed block
// takes a whole resource: Terraform refuses one with an instance key. It needs
// Terraform 1.7 or OpenTofu 1.7, and the resource blocks must be gone from the
// configuration.
func Removed(assignments []Assignment) []byte {
	var resources []string
	for _, a := range assignments {
		resources = append(resources, a.Resource)
	}
	slices.Sort(resources)
	var b strings.Builder
	b.WriteString("# Terraform forgets these assignments and leaves them in Twilio. Delete their resource\n" +
		"# blocks and apply; this file can go after that. Terraform 1.7 or newer.\n")
	for _, r := range slices.Compact(resources) {
		fmt.Fprintf(&b, "\nremoved {\n  from = %s\n\n  lifecycle {\n    destroy = false\n  }\n}\n", r)
	}
	return []byte(b.String())
}

// Desired lists the add-ons of each number, by the number's SID in lower case. A number
// keeps the letter case, and its account, of its first assignment.
func Desired(assignments []Assignment) ([]Number, error) {
	at := map[string]int{}
	var numbers []Number
	for _, a := range assignments {
		k := strings.ToLower(a.NumberSID)
		i, ok := at[k]
		if !ok {
			i = len(numbers)
			at[k] = i
			numbers = append(numbers, Number{SID: a.NumberSID, AccountSID: a.AccountSID})
		}
		n := &numbers[i]
		if n.AccountSID != a.AccountSID {
			return nil, fmt.Errorf("%s is in another account than the other assignments of %s in the state", a.Address, a.NumberSID)
		}
		if !slices.ContainsFunc(n.AddOnSIDs, func(sid string) bool { return strings.EqualFold(sid, a.AddOnSID) }) {
			n.AddOnSIDs = append(n.AddOnSIDs, a.AddOnSID)
		}
	}
	for i := range numbers {
		slices.Sort(numbers[i].AddOnSIDs)
	}
	slices.SortFunc(numbers, func(a, b Number) int { return strings.Compare(a.SID, b.SID) })
	return numbers, nil
}

// Number is what the state says of one phone number.
type Number struct {
	SID, AccountSID string
	AddOnSIDs       []string
}
