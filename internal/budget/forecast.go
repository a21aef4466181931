// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package budget

import (
	"time"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// Forecast says what comes of a change by which so many numbers lose add-ons, where no
// other did in the window: how many may, limit, and how many are held, 0 if all go. fleet
// is how many numbers the objects of the account hold before the change; budgets are those
// of all TwilioAccounts of the account SID, at least one.
func Forecast(budgets []v1alpha1.RemovalBudget, fleet, numbers int, at time.Time) (limit, held int) {
	accounts := make([]Account, len(budgets))
	for i := range budgets {
		accounts[i].Spec = budgets[i]
	}
	r := strictest(accounts)
	limit = r.limit(at, fleet)
	if numbers <= min(limit, capacity) {
		return limit, 0
	}
	return limit, numbers - r.minNumbers
}
