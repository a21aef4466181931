// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package review

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/budget"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/cli/manifests"
)

// Hold says that the removal budget of an account would hold removals, if no other number
// lost add-ons within its window.
type Hold struct {
	AccountSID string `json:"accountSID"`
	// AccountRef is the first of the names that the manifests give the account.
	AccountRef string `json:"accountRef"`
	// Numbers lose add-ons, Limit may at a time, and Held would wait for an approval.
	Numbers int `json:"numbers"`
	Limit   int `json:"limit"`
	Held    int `json:"held"`
}

// Sentence is the hold in words.
func (h *Hold) Sentence() string {
	return fmt.Sprintf("%s of account %s would lose add-ons, and its removal budget allows %d: the operator would hold %d until somebody approves them (kubectl twilio-addons approve %s)",
		count(h.Numbers, "number"), h.AccountSID, h.Limit, h.Held, h.AccountRef)
}

// holds foresees what removal budgets hold. The numbers that an account's objects hold are
// those of the manifests before the change; where nobody knows them, those of the manifests.
func (r *reviewer) holds(at time.Time) []Hold {
	before := r.Previous
	if before == nil {
		before = r.Desired
	}
	fleet := map[string]map[string]bool{}
	for i := range before {
		if _, known := r.number(&before[i]); known {
			add(fleet, r.accountSID(&before[i]), numberOf(&before[i]))
		}
	}
	lose, refs := map[string]map[string]bool{}, map[string]string{}
	for i := range r.changes {
		c := &r.changes[i]
		if c.Loses() {
			add(lose, c.AccountSID, strings.ToLower(c.NumberSID))
			refs[c.AccountSID] = min(c.AccountRef, cmp.Or(refs[c.AccountSID], c.AccountRef))
		}
	}
	var holds []Hold
	for _, account := range slices.Sorted(maps.Keys(lose)) {
		budgets := r.Budgets[account]
		if len(budgets) == 0 {
			budgets = []v1alpha1.RemovalBudget{{}}
		}
		h := Hold{AccountSID: account, AccountRef: refs[account], Numbers: len(lose[account])}
		if h.Limit, h.Held = budget.Forecast(budgets, len(fleet[account]), h.Numbers, at); h.Held > 0 {
			holds = append(holds, h)
		}
	}
	return holds
}

func (r *reviewer) accountSID(a *manifests.Assignment) string {
	if account := r.Accounts[a.Spec.AccountRef.Name]; account != nil {
		return account.SID
	}
	return ""
}

func add(sets map[string]map[string]bool, set, element string) {
	if sets[set] == nil {
		sets[set] = map[string]bool{}
	}
	sets[set][element] = true
}
