// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package budget

import (
	"fmt"
	"strings"
	"time"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// messages are what the account and the waiting objects say. Neither holds anything that
// differs between two decisions of which nothing else does.
func (p *pass) messages(s *v1alpha1.RemovalsStatus) (account, object string) {
	name := "default"
	if len(p.in.Accounts) > 0 {
		name = p.in.Accounts[0].Name
	}
	switch {
	case s.Hold == "" && len(p.rest) == 0:
		return "", ""
	case s.Hold == "":
		return p.waitingMessage(), waitingObjectMessage
	case s.Cause == v1alpha1.RemovalsCRDDeletion:
		account = fmt.Sprintf("Removals are held while a CRD of this operator is being deleted: %s would lose add-ons.", numbers(int(s.Held)))
		object = fmt.Sprintf("Removals are held while a CRD of this operator is being deleted (hold %s of TwilioAccount %s).", s.Hold, name)
	default:
		account = fmt.Sprintf("Removals are held: %s would lose add-ons, %d %s allowed per %s%s.",
			numbers(int(s.Held)), s.Limit, plural(int(s.Limit), "is", "are"), duration(p.rules.window), used(int(s.Numbers)))
		object = fmt.Sprintf("Removals are held: more numbers would lose add-ons than the removal budget allows (hold %s of TwilioAccount %s).", s.Hold, name)
	}
	if len(s.Sample) > 0 {
		account += " For example " + strings.Join(s.Sample, ", ") + "."
	}
	account += fmt.Sprintf(" To approve: kubectl annotate twilioaccount %s %s=%s --overwrite."+
		" To take back: restore addOnSIDs in the objects, or set deletionPolicy: Retain on objects that are being deleted.",
		name, v1alpha1.AnnotationApproveRemovals, s.Hold)
	object += " To approve, see the condition RemovalsHeld of that account." +
		" To take this removal back, restore addOnSIDs, or set deletionPolicy: Retain if the object is being deleted."
	return account + p.untilMessage(), object
}

// untilMessage says until when the rest is held. On a partial view nobody knows.
func (p *pass) untilMessage() string {
	if !p.in.Complete || len(p.rest) == 0 {
		return ""
	}
	if at := p.goesAt(); !at.IsZero() {
		return fmt.Sprintf(" Otherwise they go once they are within the limit, not before %s.", ceilSecond(at).UTC().Format(time.RFC3339))
	}
	return " They are held until then."
}

const waitingObjectMessage = "Waits until no further number asks to lose add-ons for 30s: many at once may be a mistake."

func (p *pass) waitingMessage() string {
	return fmt.Sprintf("%s would lose add-ons so far. They go if they are within the limit of %d per %s once no further number asks for %s.",
		numbers(len(p.rest)), p.limit(), duration(p.rules.window), duration(quiet))
}

func approvedMessage(hold string, n int) string {
	return fmt.Sprintf("Hold %s was approved: %s may lose add-ons. What asks from now on is not covered.", hold, numbers(n))
}

func nothingWaitsMessage(hold string) string {
	return fmt.Sprintf("Hold %s ended: nothing waits any more.", hold)
}

func withinLimitMessage(hold string, n, limit int, window time.Duration) string {
	return fmt.Sprintf("Hold %s ended: %s may lose add-ons, within the limit of %d per %s.", hold, numbers(n), limit, duration(window))
}

func used(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", of which %d %s used", n, plural(n, "is", "are"))
}

func numbers(n int) string { return fmt.Sprintf("%d %s", n, plural(n, "number", "numbers")) }

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// duration writes 1h, 90m as 1h30m, and 30s, without the zeros.
func duration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func ceilSecond(t time.Time) time.Time {
	if rounded := t.Truncate(time.Second); rounded.Before(t) {
		return rounded.Add(time.Second)
	}
	return t
}
