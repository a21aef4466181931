// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"net/http"
	"slices"
	"time"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// The model says, from what happened and nothing else, which writes to Twilio were
// somebody's right. What the operator knew when it wrote may be a little old, and how old
// is the slack that this file and rights.go allow:
//
//   - Its own object: as old as the last time that a manager made sure of the object's
//     version before the write (docs/reconcile.md, promise 4). No older, by any amount. What
//     has changed since then counts after two seconds, or what broke or held back the watch.
//   - Everything around it, that is the other objects that name the number, the accounts
//     and the namespaces: as old as the beginning of that pass, less the second that an
//     event takes (lag); and where a watch was broken, held back or its manager stood
//     still, as old as the beginning of that.
//   - While two managers are alive, the older knowledge of the two counts.
//   - What an object assigned is its own as long as it has that on record, and the record is
//     there before the POST. It counts even if somebody else was the first to assign the
//     add-on after that: whether a manager that ended had done so cannot be known
//     (docs/adr/0008-intent-on-record.md).
//   - Who holds a number on record needs no slack within one process: nobody else writes.
const lag = time.Second

// forever is the end of what has not ended.
var forever = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

type span struct{ From, Until time.Time }

func (s span) meets(from, until time.Time) bool { return !s.From.After(until) && !s.Until.Before(from) }

// history is all that happened in a run.
type history struct {
	Lives    []life
	Accounts []accountVersion
	Rooms    []room
	Managers []manager
	Checks   []check // by time
	Calls    []call  // by time
	Journal  []twiliosim.Mutation
	// Allowances are what the accounts allowed; Approvals are of removals that were held.
	Allowances []allowance
	Approvals  []approval
	// Tenures are the times in which accounts named a manager. Writers are the managers, by
	// their Lease, that made the requests to Twilio that they told of, by the request's ID.
	Tenures []tenure
	Writers map[string]string
	// Sharded: there were several managers, each of some of the accounts.
	Sharded bool
	// OtherSIDs: Twilio gives assignments SIDs of their own.
	OtherSIDs bool
}

// life is an object from its creation to its end: one of the same name that follows is
// another one.
type life struct {
	UID, Key string
	Created  time.Time
	Versions []version
	// Forced is when its finalizers were removed by hand; Gone when it was gone.
	Forced, Gone time.Time
	// Stripped is when somebody replaced it without its finalizer.
	Stripped time.Time
}

// version is what an object said from one write to it until the next.
type version struct {
	From, Until time.Time
	// Seen is when the version surely was there; From is the earliest time.
	Seen time.Time

	Number, Account string
	AddOns          []string
	Policy          v1alpha1.ManagementPolicy
	Deletion        v1alpha1.DeletionPolicy
	Suspend         bool
	Deleting        bool
	Finalizer       bool
	// Found: status names the account in which the number was read.
	Found  bool
	Claim  v1alpha1.NumberClaim
	Reason string
	// Exact: status says of the current spec that the number carries what it lists, and
	// nothing else.
	Exact   bool
	Records []v1alpha1.AddOnStatus
}

func (v *version) lists(addOn string) bool {
	return slices.ContainsFunc(v.AddOns, func(sid string) bool { return sameSID(sid, addOn) })
}

// active: the object may write to Twilio.
func (v *version) active() bool {
	return !v.Suspend && v.Policy != v1alpha1.ManagementObserve
}

// accountVersion is a TwilioAccount while it was there; room is a namespace from when it
// was allowed to use the accounts, or no more.
type accountVersion struct {
	Name, SID   string
	From, Until time.Time
	// Released is when a manager began to let it go. Until may be later, on a busy machine.
	Released time.Time
	// Forced: its finalizer was removed by hand.
	Forced bool
}

type room struct {
	Name    string
	Allowed bool
	From    time.Time
}

// manager is a process, and when what it knew may have been behind.
type manager struct {
	Name string
	// Lease is the name by which accounts know it.
	Lease  string
	Alive  span
	Behind []span
	// Paused is when it stood still.
	Paused []span
}

// check is when a manager made sure of the version of an object.
type check struct {
	Key, By string
	At      time.Time
}

// call is a request to Twilio about a number.
type call struct {
	ID, Method, Number string
	// Of is what follows the number in the path; AddOn is what a POST asks for.
	Of, AddOn string
	At        time.Time
}

// at is the version of an object at a moment, nil if it was not there.
func (l *life) at(t time.Time) *version {
	for i := range l.Versions {
		v := &l.Versions[i]
		if !v.From.After(t) && v.Until.After(t) {
			return v
		}
	}
	return nil
}

// within are the versions that an object may have had at some time of a window.
func (l *life) within(from, until time.Time) []*version {
	var all []*version
	for i := range l.Versions {
		if (span{l.Versions[i].From, l.Versions[i].Until}).meets(from, until) {
			all = append(all, &l.Versions[i])
		}
	}
	return all
}

// admitted says whether an account was there and let the object's namespace use it.
func (h *history) admitted(l *life, v *version, t time.Time) bool {
	there := slices.ContainsFunc(h.Accounts, func(a accountVersion) bool {
		return a.Name == v.Account && !a.From.After(t) && a.Until.After(t)
	})
	return there && h.allowed(namespaceOf(l.Key), t)
}

func (h *history) allowed(namespace string, t time.Time) bool {
	allowed := false
	for _, r := range h.Rooms {
		if r.Name == namespace && !r.From.After(t) {
			allowed = r.Allowed
		}
	}
	return allowed
}

// claimsAt are the claims to a number at a moment: of all objects that name it, admitted or
// not.
func (h *history) claimsAt(number string, t time.Time) []claim {
	var all []claim
	for i := range h.Lives {
		l := &h.Lives[i]
		if v := l.at(t); v != nil && sameSID(v.Number, number) {
			all = append(all, claimOf(l, v, h.admitted(l, v, t)))
		}
	}
	return all
}

// without are the claims of the other objects.
func without(claims []claim, l *life) []claim {
	return slices.DeleteFunc(slices.Clone(claims), func(c claim) bool { return c.life.UID == l.UID })
}

// moments are the times in a window at which the owner of a number may have changed.
func (h *history) moments(number string, from, until time.Time) []time.Time {
	all := []time.Time{from, until}
	add := func(t time.Time) {
		if t.After(from) && t.Before(until) {
			all = append(all, t)
		}
	}
	for i := range h.Lives {
		for j := range h.Lives[i].Versions {
			if v := &h.Lives[i].Versions[j]; sameSID(v.Number, number) {
				add(v.From)
				add(v.Until)
			}
		}
	}
	for _, a := range h.Accounts {
		add(a.From)
		add(a.Until)
	}
	for _, r := range h.Rooms {
		add(r.From)
	}
	return all
}

// mayHaveActed says whether an object may, at some time of a window, have owned a number or
// looked for it, in the view of a manager that has seen the object and may not have seen
// yet, on a watch of their own, what became of its account and namespace.
func (h *history) mayHaveActed(l *life, number string, from, until time.Time) bool {
	moments := h.moments(number, from, until)
	return slices.ContainsFunc(moments, func(t time.Time) bool {
		v := l.at(t)
		if v == nil || !sameSID(v.Number, number) || (v.Deleting && !v.Finalizer) || !h.admittedAtOneOf(l, v, moments) {
			return false
		}
		others := without(h.claimsAt(number, t), l)
		if v.Deleting {
			return mayClean(claimOf(l, v, true), others)
		}
		return mayAct(claimOf(l, v, true), others)
	})
}

func (h *history) admittedAtOneOf(l *life, v *version, moments []time.Time) bool {
	return slices.ContainsFunc(moments, func(t time.Time) bool { return h.admitted(l, v, t) })
}

// holder is another object that held the number on record when a write for this one began,
// while one process alone was at work: that process knew, or would have before it wrote. It
// is nil if this object held the number as well.
func (h *history) holder(l *life, number string, began time.Time) *life {
	if v := l.at(began); v == nil || v.Claim == v1alpha1.ClaimHeld || !h.oneManager(v.Account, began) {
		return nil
	}
	for i := range h.Lives {
		other := &h.Lives[i]
		v := other.at(began)
		if other.UID != l.UID && v != nil && sameSID(v.Number, number) && v.Claim == v1alpha1.ClaimHeld && v.Seen.Before(began) {
			return other
		}
	}
	return nil
}

// oneManager says whether only one manager of those that may have served an account lived at
// a time and just before.
func (h *history) oneManager(account string, t time.Time) bool {
	alive := 0
	for i := range h.Managers {
		m := &h.Managers[i]
		if m.Alive.meets(t.Add(-lag), t) && (!h.Sharded || h.mayServe(m.Lease, account, t.Add(-lag), t)) {
			alive++
		}
	}
	return alive == 1
}

// knowledge says how old what a manager knew of an object, and of what is around it, may
// have been when it began a write. False: no manager had made sure of the object.
func (h *history) knowledge(key, number string, began time.Time) (own, around time.Time, ok bool) {
	for i := range h.Managers {
		m := &h.Managers[i]
		if !m.Alive.meets(began, began) {
			continue
		}
		at := h.lastCheck(key, m.Name, began)
		if at.IsZero() {
			continue
		}
		since := m.asOf(h.passBegan(number, at), began)
		if !ok || at.Before(own) {
			own = at
		}
		if !ok || since.Before(around) {
			around = since
		}
		ok = true
	}
	return own, around, ok
}

func (h *history) lastCheck(key, by string, before time.Time) (last time.Time) {
	for _, c := range h.Checks {
		if c.At.After(before) {
			break
		}
		if c.Key == key && c.By == by {
			last = c.At
		}
	}
	return last
}

// passBegan is when the pass began whose check was made at a time: before the reading of
// the number that came before the check, if one did.
func (h *history) passBegan(number string, checked time.Time) time.Time {
	began := checked
	for _, c := range h.Calls {
		if c.At.After(checked) {
			break
		}
		if c.Method == http.MethodGet && sameSID(c.Number, number) && (c.Of == "" || c.Of == "AssignedAddOns") {
			began = c.At
		}
	}
	// A number that was not read for long is one whose pass began with the check.
	if checked.Sub(began) > 40*time.Second {
		return checked
	}
	return began
}

// asOf is as of when a manager may have known the world in a pass that began at one time
// and wrote at another.
func (m *manager) asOf(began, wrote time.Time) time.Time {
	since := began.Add(-lag)
	for again := true; again; {
		again = false
		for _, b := range m.Behind {
			if b.From.Add(-lag).Before(since) && b.Until.Add(lag).After(since) && !b.From.After(wrote) {
				since, again = b.From.Add(-lag), true
			}
		}
	}
	return since
}

// asOf is as of when whatever manager acted at a time may have known the world.
func (h *history) asOf(acted time.Time) time.Time {
	since := acted.Add(-lag)
	for i := range h.Managers {
		if m := &h.Managers[i]; m.Alive.meets(since, acted) {
			since = earlier(since, m.asOf(acted, acted))
		}
	}
	return since
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// writeBegan is when the request began that a mutation was the effect of.
func (h *history) writeBegan(m *twiliosim.Mutation) time.Time {
	began := m.Time
	for _, c := range h.Calls {
		if c.At.After(m.Time) {
			break
		}
		if c.Method != http.MethodGet && sameSID(c.Number, m.Number) && c.about(m) {
			began = c.At
		}
	}
	return began
}

func (c *call) about(m *twiliosim.Mutation) bool {
	if m.Change == twiliosim.ChangeAssign {
		return sameSID(c.AddOn, m.AddOn)
	}
	return sameSID(c.Of, "AssignedAddOns/"+m.AddOn) || sameSID(c.Of, "AssignedAddOns/"+twiliosim.AssignmentSID(m.Number, m.AddOn))
}

// rejected is for how long objects said that Twilio rejects an add-on, all told.
func (h *history) rejected(now time.Time) (all time.Duration) {
	for i := range h.Lives {
		for _, v := range h.Lives[i].Versions {
			if v.Reason == v1alpha1.ReasonAddOnRejected {
				all += earlier(v.Until, now).Sub(v.From)
			}
		}
	}
	return all
}

func namespaceOf(key string) string {
	for i := range len(key) {
		if key[i] == '/' {
			return key[:i]
		}
	}
	return ""
}
