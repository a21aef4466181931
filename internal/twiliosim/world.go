// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// AccountStatus is the status of an account.
type AccountStatus string

// The statuses of an account. Suspending a parent also suspends its subaccounts. Closing an
// account releases its numbers and is final.
const (
	AccountActive    AccountStatus = "active"
	AccountSuspended AccountStatus = "suspended"
	AccountClosed    AccountStatus = "closed"
)

// KeyKind is the kind of an API key.
type KeyKind string

// The kinds of API keys. A main key may do everything on its account. A standard key may do the
// same except read the account resource. A restricted key may do only the listed operations.
const (
	KeyMain       KeyKind = "main"
	KeyStandard   KeyKind = "standard"
	KeyRestricted KeyKind = "restricted"
)

// AddOn is an add-on installed on an account.
type AddOn struct {
	SID          string `json:"sid"`
	UniqueName   string `json:"uniqueName"`
	FriendlyName string `json:"friendlyName,omitempty"`
	Description  string `json:"description,omitempty"`
	// Configuration is the API's configuration field. The default contains
	// [ConfigurationSecret], so that a test can search for leaks.
	Configuration map[string]any `json:"configuration,omitempty"`
	// Unsupported marks an add-on that cannot be assigned to phone numbers.
	Unsupported bool `json:"unsupported,omitempty"`
}

// ConfigurationSecret is part of the default configuration of every installation. It must not
// appear in any log, event, status or metric.
const ConfigurationSecret = "twiliosim-configuration-secret"

// account is an account and everything that belongs to it. Sim.mu guards all fields except
// traffic, which has its own lock.
type account struct {
	sid, parent      string
	token, secondary string
	status           AccountStatus
	created          time.Time
	keys             map[string]*apiKey
	numbers          map[string]*number
	byPhoneNumber    map[string]*number
	// order caches the numbers sorted by SID. It is nil after a number was added or removed.
	order   []*number
	addOns  map[string]*installation
	traffic traffic
}

// apiKey is an API key of an account.
type apiKey struct {
	sid, secret string
	kind        KeyKind
	allowed     []Operation
	account     *account
}

// installation is an add-on installed on an account.
type installation struct {
	AddOn
	account  *account
	created  time.Time
	assigned int
}

// number is an incoming phone number.
type number struct {
	sid, phoneNumber, friendlyName string
	account                        *account
	created                        time.Time
	// assigned is sorted by the SIDs of the assignments.
	assigned []assignment
	// deleted holds removed assignments that reads still show because of Behaviour.ReadLag.
	deleted []assignment
}

// assignment is an add-on assigned to a number.
type assignment struct {
	sid     string
	addOn   *installation
	created time.Time
	// visibleFrom is when reads show the latest change: the creation or, for a deleted
	// assignment, the deletion.
	visibleFrom time.Time
}

func newAccount(sid, parent, token string, now time.Time) *account {
	return &account{
		sid: sid, parent: parent, token: token, status: AccountActive, created: now,
		keys: map[string]*apiKey{}, numbers: map[string]*number{},
		byPhoneNumber: map[string]*number{}, addOns: map[string]*installation{},
	}
}

// sortedNumbers returns the account's numbers, sorted by SID. The caller must not modify the slice.
func (a *account) sortedNumbers() []*number {
	if a.order == nil {
		a.order = make([]*number, 0, len(a.numbers))
		for _, n := range a.numbers {
			a.order = append(a.order, n)
		}
		slices.SortFunc(a.order, func(x, y *number) int { return strings.Compare(x.sid, y.sid) })
	}
	return a.order
}

func (a *account) add(n *number) {
	n.account = a
	a.numbers[n.sid], a.byPhoneNumber[n.phoneNumber] = n, n
	a.order = nil
}

func (a *account) remove(n *number) {
	delete(a.numbers, n.sid)
	delete(a.byPhoneNumber, n.phoneNumber)
	a.order = nil
}

// sortedAddOns returns the account's installations, sorted by SID.
func (a *account) sortedAddOns() []*installation {
	out := make([]*installation, 0, len(a.addOns))
	for _, x := range a.addOns {
		out = append(out, x)
	}
	slices.SortFunc(out, func(x, y *installation) int { return strings.Compare(x.SID, y.SID) })
	return out
}

// position returns the index of the assignment with this SID, or where to insert it.
func (n *number) position(sid string) (int, bool) {
	return slices.BinarySearchFunc(n.assigned, sid, func(a assignment, sid string) int {
		return cmp.Compare(a.sid, sid)
	})
}

// withAddOn returns the assignment of an installation to this number.
func (n *number) withAddOn(addOn *installation) (assignment, bool) {
	for _, a := range n.assigned {
		if a.addOn == addOn {
			return a, true
		}
	}
	return assignment{}, false
}

// visible returns the assignments that a read at this time shows, sorted by SID.
func (n *number) visible(now time.Time) []assignment {
	var out []assignment
	for _, a := range n.assigned {
		if !now.Before(a.visibleFrom) {
			out = append(out, a)
		}
	}
	for _, d := range n.deleted {
		shown := slices.ContainsFunc(out, func(a assignment) bool { return a.sid == d.sid })
		if now.Before(d.visibleFrom) && !shown {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(x, y assignment) int { return cmp.Compare(x.sid, y.sid) })
	return out
}

// keepVisible makes reads show a deleted assignment until its deletion becomes visible.
func (n *number) keepVisible(a assignment, now time.Time) {
	n.deleted = slices.DeleteFunc(n.deleted, func(d assignment) bool { return !now.Before(d.visibleFrom) })
	if now.Before(a.visibleFrom) {
		n.deleted = append(n.deleted, a)
	}
}

// add is the only function that adds an assignment. It writes no journal entry.
func (n *number) add(addOn *installation, form AssignmentSIDForm, visibleFrom time.Time) assignment {
	a := assignment{sid: addOn.SID, addOn: addOn, created: time.Now(), visibleFrom: visibleFrom}
	if form == AssignmentSIDDifferent {
		a.sid = AssignmentSID(n.sid, addOn.SID)
	}
	at, _ := n.position(a.sid)
	n.assigned = slices.Insert(n.assigned, at, a)
	addOn.assigned++
	return a
}

// assign adds an assignment and a journal entry.
func (s *Sim) assign(by origin, n *number, addOn *installation, form AssignmentSIDForm, visibleFrom time.Time) assignment {
	a := n.add(addOn, form, visibleFrom)
	s.journal.add(by, Mutation{Change: ChangeAssign, Account: n.account.sid, Number: n.sid, AddOn: addOn.SID})
	return a
}

// unassign is the only function that removes an assignment. It adds a journal entry.
func (s *Sim) unassign(by origin, n *number, at int, cause Change) assignment {
	a := n.assigned[at]
	n.assigned = slices.Delete(n.assigned, at, at+1)
	a.addOn.assigned--
	s.journal.add(by, Mutation{Change: ChangeUnassign, Account: n.account.sid, Number: n.sid,
		AddOn: a.addOn.SID, Cause: cause})
	return a
}

// unassignAll removes every assignment of a number, also from reads that lag.
func (s *Sim) unassignAll(by origin, n *number, cause Change) {
	for len(n.assigned) > 0 {
		s.unassign(by, n, 0, cause)
	}
	n.deleted = nil
}

// release removes a number and its assignments.
func (s *Sim) release(by origin, n *number) {
	s.unassignAll(by, n, ChangeRelease)
	n.account.remove(n)
	delete(s.numbers, n.sid)
	s.journal.add(by, Mutation{Change: ChangeRelease, Account: n.account.sid, Number: n.sid})
}

// move moves a number to another account and removes its assignments, because installations belong
// to one account.
func (s *Sim) move(by origin, n *number, to *account) {
	s.unassignAll(by, n, ChangeMove)
	from := n.account
	from.remove(n)
	to.add(n)
	s.journal.add(by, Mutation{Change: ChangeMove, Account: from.sid, Number: n.sid, Detail: to.sid})
}

// uninstall removes an installation and its assignments.
func (s *Sim) uninstall(by origin, x *installation) {
	for _, n := range x.account.sortedNumbers() {
		n.deleted = slices.DeleteFunc(n.deleted, func(a assignment) bool { return a.addOn == x })
		at := slices.IndexFunc(n.assigned, func(a assignment) bool { return a.addOn == x })
		if at >= 0 {
			s.unassign(by, n, at, ChangeUninstall)
		}
	}
	delete(x.account.addOns, x.SID)
	delete(s.addOns, x.SID)
	s.journal.add(by, Mutation{Change: ChangeUninstall, Account: x.account.sid, AddOn: x.SID})
}

// effectiveStatus returns the account's own status or, if that is active, its parent's.
func (s *Sim) effectiveStatus(a *account) AccountStatus {
	if p := s.accounts[a.parent]; p != nil && a.status == AccountActive {
		return p.status
	}
	return a.status
}
