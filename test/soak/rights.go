// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// right says why an object had no right to a write about an add-on; "" if it had.
type right func(l *life, v *version) string

// entitled are the UIDs of the objects that may have owned the number, as far as a manager
// could know, and had the right to what was done; and why each of the others had not.
func (h *history) entitled(m *twiliosim.Mutation, has right) (uids, reasons []string) {
	began := h.writeBegan(m)
	for i := range h.Lives {
		l := &h.Lives[i]
		if len(l.Versions) == 0 || !sameSID(l.Versions[0].Number, m.Number) {
			continue
		}
		if why := h.whyNot(l, m.Number, m.AddOn, began, has); why != "" {
			reasons = append(reasons, fmt.Sprintf("%s: %s", l.Key, why))
		} else {
			uids = append(uids, l.UID)
		}
	}
	return uids, reasons
}

// whyNot says why an object had no right to a write that began at a time; "" if it had. One
// that is being deleted answers for what it has on record, whoever owns the number.
func (h *history) whyNot(l *life, number, addOn string, began time.Time, has right) string {
	own, around, ok := h.knowledge(l.Key, number, began)
	if !ok {
		return "no manager had made sure of it"
	}
	why := "it was not there"
	// What a manager has seen of an edit stops the rest of its work.
	own = later(own, earlier(h.asOf(began).Add(-lag), began))
	for _, v := range l.within(own, began) {
		if why = has(l, v); why != "" {
			continue
		}
		if v.Deleting && v.answersFor(addOn) && h.admittedAtOneOf(l, v, h.moments(number, around, began)) {
			return ""
		}
		break
	}
	if why == "" && h.suspended(l.Versions[len(l.Versions)-1].Account, around, began) {
		why = "its account was suspended"
	}
	if why == "" && !h.mayHaveActed(l, number, around, began) {
		why = "it did not own the number"
	}
	if why == "" {
		if other := h.holder(l, number, began); other != nil {
			why = other.Key + " held the number"
		}
	}
	return why
}

const clock = "15:04:05.000"

// mayAssign: the object lists the add-on, may write, and has its finalizer and the add-on on
// record as its own beforehand.
func mayAssign(addOn string) right {
	return func(l *life, v *version) string {
		switch {
		case v.Deleting:
			return "it was being deleted"
		case !v.active():
			return "it was suspended or observing"
		case !v.lists(addOn):
			return "it did not list the add-on"
		case !v.Finalizer && l.Stripped.IsZero():
			return "it had no finalizer"
		case !v.recordsCreated(addOn):
			return "it had not recorded beforehand that it was about to assign the add-on"
		}
		return ""
	}
}

// mayUnassign: the object is Authoritative and does not list the add-on, or it created the
// add-on itself, and everything it lists is assigned; or it is being deleted, with Delete,
// and the add-on is one of its own that no other object answers for.
func (h *history) mayUnassign(m *twiliosim.Mutation) right {
	return func(l *life, v *version) string {
		switch {
		case !v.active():
			return "it was suspended or observing"
		case v.Deleting:
			return h.mayCleanUp(l, v, m)
		}
		return h.mayRemove(l, v, m)
	}
}

func (h *history) mayRemove(l *life, v *version, m *twiliosim.Mutation) string {
	missing := h.unassigned(l, v, m)
	switch {
	case v.lists(m.AddOn) && h.recognizes(v, m.AddOn):
		return "it listed the add-on"
	case missing != "":
		return "it lists " + short(missing) + " as well, which was not assigned"
	case v.Policy != v1alpha1.ManagementAuthoritative && !h.created(v, m):
		return "it is Additive, and had not created the add-on"
	}
	return ""
}

func (h *history) mayCleanUp(l *life, v *version, m *twiliosim.Mutation) string {
	switch authoritative := v.Policy == v1alpha1.ManagementAuthoritative; {
	case v.Deletion != v1alpha1.DeletionDelete:
		return "it was being deleted with Retain"
	case !authoritative && !h.created(v, m):
		return "it is Additive, and had not created the add-on"
	case !h.created(v, m) && !l.everOwned(m.AddOn):
		return "it was being deleted, and the add-on was never its own"
	}
	return h.mustLeave(l, v, m)
}

// mustLeave says why a departing object had to leave an add-on on its number, for as far
// back as a manager may have known the world; "" if it had to remove it.
func (h *history) mustLeave(l *life, v *version, m *twiliosim.Mutation) (why string) {
	began := h.writeBegan(m)
	_, around, ok := h.knowledge(l.Key, m.Number, began)
	if !ok || h.OtherSIDs {
		return "" // what a record is of cannot always be told
	}
	waited := began.Sub(l.deleted())
	for _, t := range h.moments(m.Number, around, began) {
		others := without(h.claimsAt(m.Number, t), l)
		if why = mustLeave(claimOf(l, v, h.admitted(l, v, t)), others, m.AddOn, waited); why == "" {
			return ""
		}
	}
	return why
}

// deleted is when an object began to be deleted; forever if it did not.
func (l *life) deleted() time.Time {
	for i := range l.Versions {
		if l.Versions[i].Deleting {
			return l.Versions[i].From
		}
	}
	return forever
}

// unassigned is an add-on that an object lists and that was not on the number at any time
// that a manager may have seen before a removal; "" if there is none.
func (h *history) unassigned(l *life, v *version, m *twiliosim.Mutation) string {
	_, around, ok := h.knowledge(l.Key, m.Number, h.writeBegan(m))
	if !ok {
		return ""
	}
	for _, addOn := range v.AddOns {
		if !h.carried(m.Number, addOn, around.Add(-lag), m.Time) {
			return addOn
		}
	}
	return ""
}

// carried says whether an add-on was on a number at some time of a window.
func (h *history) carried(number, addOn string, from, until time.Time) bool {
	on := false
	for i := range h.Journal {
		m := &h.Journal[i]
		if m.Time.After(until) {
			break
		}
		if m.Number != number || m.AddOn != addOn {
			continue
		}
		if on && m.Time.After(from) {
			return true
		}
		switch m.Change {
		case twiliosim.ChangeAssign:
			on = true
		case twiliosim.ChangeUnassign:
			on = false
		}
	}
	return on
}

// everOwned says whether an object listed an add-on, or had recorded it as its own or as
// one to be removed.
func (l *life) everOwned(addOn string) bool {
	for i := range l.Versions {
		if l.Versions[i].lists(addOn) {
			return true
		}
		own := func(r v1alpha1.AddOnStatus) bool { return r.Ownership != "" || r.State == v1alpha1.AddOnUnassigning }
		if l.Versions[i].recordsWhere(addOn, own) {
			return true
		}
	}
	return false
}

// created says whether an add-on was an object's own: it has that on record, and a manager
// can have thought so. If somebody else assigned what is on the number, then a POST must
// have followed, or an earlier one been on record.
func (h *history) created(v *version, m *twiliosim.Mutation) bool {
	if !v.recordsCreated(m.AddOn) {
		return false
	}
	by, there := h.assignedAt(m.Number, m.Time.Add(-1))[m.AddOn]
	if !there || by.Actor == twiliosim.ActorAPI {
		return true
	}
	return h.posted(m.Number, m.AddOn, by.Time.Add(-lag), m.Time) || h.recordedCreated(m.Number, m.AddOn, by.Time.Add(-lag), by.Time.Add(lag))
}

// posted says whether Twilio was asked for an add-on in a window.
func (h *history) posted(number, addOn string, from, until time.Time) bool {
	return slices.ContainsFunc(h.Calls, func(c call) bool {
		return c.Method == http.MethodPost && sameSID(c.Number, number) && sameSID(c.AddOn, addOn) && c.At.After(from) && c.At.Before(until)
	})
}

// recordedCreated says whether an object had an add-on on record as assigned by the
// operator, at some time of a window.
func (h *history) recordedCreated(number, addOn string, from, until time.Time) bool {
	for i := range h.Lives {
		for _, v := range h.Lives[i].within(from, until) {
			if sameSID(v.Number, number) && v.recordsCreated(addOn) {
				return true
			}
		}
	}
	return false
}

func sameRecord(a, b v1alpha1.AddOnStatus) bool {
	return a.SID == b.SID && a.State == b.State && a.Ownership == b.Ownership
}
