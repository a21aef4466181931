// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package overview shows accounts, objects and add-ons as they stand, what is unhealthy
// first. It is pure: objects and a time in, text out.
package overview

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/schedule"
)

// Health orders objects: the smaller, the sooner somebody should look.
type Health int

// The healths.
const (
	// Stalled: nothing changes unless somebody acts.
	Stalled Health = iota
	// Unready: not ready, and the operator is at it.
	Unready
	// Suspended: ready only in that nothing is done.
	Suspended
	// Healthy: all is well.
	Healthy
)

// HealthOf reads an object's conditions.
func HealthOf(conditions []metav1.Condition) Health {
	ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	switch {
	case meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionStalled):
		return Stalled
	case ready == nil || ready.Status != metav1.ConditionTrue:
		return Unready
	case ready.Reason == v1alpha1.ReasonSuspended:
		return Suspended
	}
	return Healthy
}

// Sort puts the unhealthy first, then by namespace and name.
func Sort(objects []v1alpha1.PhoneNumberAddOnAssignment) {
	slices.SortFunc(objects, func(a, b v1alpha1.PhoneNumberAddOnAssignment) int {
		return cmp.Or(
			cmp.Compare(HealthOf(a.Status.Conditions), HealthOf(b.Status.Conditions)),
			cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}

// Unhealthy counts the accounts and objects that are not ready.
func Unhealthy(accounts []v1alpha1.TwilioAccount, objects []v1alpha1.PhoneNumberAddOnAssignment) int {
	n := 0
	for i := range accounts {
		if HealthOf(accounts[i].Status.Conditions) < Suspended {
			n++
		}
	}
	for i := range objects {
		if HealthOf(objects[i].Status.Conditions) < Suspended {
			n++
		}
	}
	return n
}

// Table is one line an object.
func Table(objects []v1alpha1.PhoneNumberAddOnAssignment, accounts []v1alpha1.TwilioAccount, withNamespace bool, now time.Time) string {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 8, 3, ' ', 0)
	head := "NAME\tNUMBER\tADD-ONS\tREADY\tREASON\tAGE\tNEXT CHECK\tMESSAGE\n"
	if withNamespace {
		head = "NAMESPACE\t" + head
	}
	fmt.Fprint(w, head)
	for i := range objects {
		o := &objects[i]
		if withNamespace {
			fmt.Fprintf(w, "%s\t", o.Namespace)
		}
		status, reason, message := ready(o.Status.Conditions)
		if HealthOf(o.Status.Conditions) >= Suspended {
			message = ""
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", o.Name, number(o), dash(o.Status.Synced), status, reason,
			age(o.CreationTimestamp.Time, now), nextCheck(o, accounts, now), message)
	}
	_ = w.Flush() // a buffer takes everything
	return trimLines(b.String())
}

// trimLines drops the blanks that empty last cells leave.
func trimLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// Tree shows each account, its objects below it, and their add-ons below those. Objects
// whose account does not exist come last, below its name.
func Tree(accounts []v1alpha1.TwilioAccount, objects []v1alpha1.PhoneNumberAddOnAssignment, now time.Time) string {
	below := map[string][]*v1alpha1.PhoneNumberAddOnAssignment{}
	for i := range objects {
		below[objects[i].Spec.AccountRef.Name] = append(below[objects[i].Spec.AccountRef.Name], &objects[i])
	}
	sorted := slices.Clone(accounts)
	slices.SortFunc(sorted, func(a, b v1alpha1.TwilioAccount) int {
		return cmp.Or(cmp.Compare(HealthOf(a.Status.Conditions), HealthOf(b.Status.Conditions)), cmp.Compare(a.Name, b.Name))
	})
	var b strings.Builder
	for i := range sorted {
		account := &sorted[i]
		status, reason, message := ready(account.Status.Conditions)
		fmt.Fprintf(&b, "TwilioAccount %s  %s  %s\n", account.Name, account.Spec.AccountSID,
			line(status, reason, message, HealthOf(account.Status.Conditions), account.CreationTimestamp.Time, now))
		writeObjects(&b, below[account.Name], accounts, now)
		delete(below, account.Name)
	}
	for _, name := range slices.Sorted(keys(below)) {
		fmt.Fprintf(&b, "TwilioAccount %s  does not exist\n", name)
		writeObjects(&b, below[name], accounts, now)
	}
	return b.String()
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func writeObjects(b *strings.Builder, objects []*v1alpha1.PhoneNumberAddOnAssignment, accounts []v1alpha1.TwilioAccount, now time.Time) {
	for i, o := range objects {
		branch, stem := "├─ ", "│  "
		if i == len(objects)-1 {
			branch, stem = "└─ ", "   "
		}
		status, reason, message := ready(o.Status.Conditions)
		fmt.Fprintf(b, "%s%s  %s/%s  %s", branch, number(o), o.Namespace, o.Name,
			line(status, reason, message, HealthOf(o.Status.Conditions), o.CreationTimestamp.Time, now))
		if next := nextCheck(o, accounts, now); next != none {
			fmt.Fprintf(b, "  next check in %s", next)
		}
		if !o.DeletionTimestamp.IsZero() {
			fmt.Fprintf(b, "  deleted %s ago", age(o.DeletionTimestamp.Time, now))
		}
		b.WriteByte('\n')
		for j := range o.Status.AddOns {
			leaf := "├─ "
			if j == len(o.Status.AddOns)-1 {
				leaf = "└─ "
			}
			b.WriteString(stem + leaf + addOn(&o.Status.AddOns[j]) + "\n")
		}
	}
}

func line(status, reason, message string, health Health, created, now time.Time) string {
	text := fmt.Sprintf("%s  %s  %s", mark(status), reason, age(created, now))
	if health < Suspended && message != "" {
		text += "  " + message
	}
	return text
}

func mark(ready string) string {
	if ready == string(metav1.ConditionTrue) {
		return "ready"
	}
	return "NOT READY"
}

func addOn(a *v1alpha1.AddOnStatus) string {
	text := fmt.Sprintf("%s  %s", cmp.Or(plain(a.UniqueName), string(a.SID)), a.State)
	if a.Ownership != "" {
		text += "  " + string(a.Ownership)
	}
	if a.Message != "" {
		text += "  " + plain(a.Message)
	}
	return text
}

// ready returns the Ready condition for people.
func ready(conditions []metav1.Condition) (status, reason, message string) {
	c := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	if c == nil {
		return "Unknown", "NotReported", "The operator has not reported yet."
	}
	return string(c.Status), c.Reason, plain(c.Message)
}

func number(o *v1alpha1.PhoneNumberAddOnAssignment) string {
	return cmp.Or(plain(o.Status.PhoneNumber), string(o.Spec.PhoneNumberSID))
}

// plain drops what could steer a terminal or break a line.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, s)
}

const none = "–"

func dash(s string) string { return cmp.Or(s, none) }

func age(from, now time.Time) string {
	if from.IsZero() {
		return none
	}
	return duration.HumanDuration(now.Sub(from))
}

// nextCheck is how long it is until the operator lists the number again. Of an object
// that it is working on, or not to work on, nothing is foretold.
func nextCheck(o *v1alpha1.PhoneNumberAddOnAssignment, accounts []v1alpha1.TwilioAccount, now time.Time) string {
	health := HealthOf(o.Status.Conditions)
	if o.Spec.Suspend || health == Unready || health == Suspended || !o.DeletionTimestamp.IsZero() {
		return none
	}
	at := slices.IndexFunc(accounts, func(account v1alpha1.TwilioAccount) bool { return account.Name == o.Spec.AccountRef.Name })
	if at < 0 {
		return none
	}
	interval := accounts[at].Spec.ResyncInterval.Duration
	return duration.HumanDuration(schedule.NextPhase(o.UID, interval, now).Sub(now))
}
