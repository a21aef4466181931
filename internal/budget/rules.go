// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package budget

import (
	"math"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// The defaults and bounds of the schema, for budgets that did not pass through it.
const (
	defaultPercent = 25
	defaultMin     = 10
	defaultWindow  = time.Hour
	minWindow      = time.Minute
	maxWindow      = 24 * time.Hour

	// groups is into how many parts a window is divided on record.
	groups = 12
	// unlimited is the limit of a budget that is off.
	unlimited = math.MaxInt32
)

// rules are the budgets of all accounts, of which the strictest rules.
type rules struct {
	budgets    []v1alpha1.RemovalBudget
	window     time.Duration // the longest
	minNumbers int           // the smallest
}

func strictest(accounts []Account) rules {
	r := rules{minNumbers: unlimited}
	for i := range accounts {
		r.budgets = append(r.budgets, accounts[i].Spec)
	}
	if len(r.budgets) == 0 {
		r.budgets = []v1alpha1.RemovalBudget{{}}
	}
	for i := range r.budgets {
		r.window = max(r.window, windowOf(&r.budgets[i]))
		r.minNumbers = min(r.minNumbers, minOf(&r.budgets[i]))
	}
	return r
}

// limit is how many distinct numbers may be counted at a time, of a high-water mark.
func (r rules) limit(at time.Time, highWater int) int {
	limit := unlimited
	for i := range r.budgets {
		limit = min(limit, limitOf(&r.budgets[i], at, highWater))
	}
	return limit
}

// off reports whether every budget is turned off.
func (r rules) off(at time.Time) bool { return r.limit(at, 0) == unlimited }

// part is how far the groups are apart, in seconds: a twelfth of the window, rounded up.
func (r rules) part() int64 {
	return int64((r.window + groups*time.Second - 1) / (groups * time.Second))
}

// allowedUntil is when a grant of now ends, in Unix seconds: one to two parts ahead.
func (r rules) allowedUntil(now time.Time) int64 { return (now.Unix()/r.part() + 2) * r.part() }

// regrantAt is when a grant of now should be renewed, a part before it ends.
func (r rules) regrantAt(now time.Time) time.Time { return time.Unix(r.allowedUntil(now)-r.part(), 0) }

// expiry is when a number that may lose add-ons until then no longer counts.
func (r rules) expiry(until int64) time.Time { return time.Unix(until, 0).Add(r.window) }

func (r rules) expired(until int64, at time.Time) bool { return !at.Before(r.expiry(until)) }

func limitOf(b *v1alpha1.RemovalBudget, at time.Time, highWater int) int {
	limit, percent := maxOf(b)
	switch {
	case percent >= 100:
		return unlimited
	case percent >= 0:
		limit = highWater * percent / 100
	}
	for i := range b.Exceptions {
		if at.Before(b.Exceptions[i].Until.Time) {
			limit = max(limit, int(b.Exceptions[i].MaxNumbers))
		}
	}
	return max(limit, minOf(b))
}

// maxOf is maxNumbers: a percentage, or a count and a negative percentage.
func maxOf(b *v1alpha1.RemovalBudget) (count, percent int) {
	if b.MaxNumbers == nil {
		return 0, defaultPercent
	}
	if b.MaxNumbers.Type == intstr.Int {
		return max(0, int(b.MaxNumbers.IntVal)), -1
	}
	percent, err := strconv.Atoi(strings.TrimSuffix(b.MaxNumbers.StrVal, "%"))
	if err != nil || percent < 0 || !strings.HasSuffix(b.MaxNumbers.StrVal, "%") {
		return 0, defaultPercent
	}
	return 0, percent
}

func minOf(b *v1alpha1.RemovalBudget) int {
	if b.MinNumbers == nil {
		return defaultMin
	}
	return max(0, int(*b.MinNumbers))
}

func windowOf(b *v1alpha1.RemovalBudget) time.Duration {
	if b.Window.Duration == 0 {
		return defaultWindow
	}
	return min(max(b.Window.Duration, minWindow), maxWindow)
}
