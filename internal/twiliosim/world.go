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

// The statuses. A suspended parent suspends its subaccounts; closing an account releases its
// numbers and cannot be undone.
const (
	AccountActive    AccountStatus = "active"
	AccountSuspended AccountStatus = "suspended"
	AccountClosed    AccountStatus = "closed"
)

// KeyKind is the kind of an API key.
type KeyKind string

// The kinds: a main key may do everything on its account, a standard key everything but read the
// account itself, a restricted key only the operations it was given.
const (
	KeyMain       KeyKind = "main"
	KeyStandard   KeyKind = "standard"
	KeyRestricted KeyKind = "restricted"
)

// AddOn describes an installation of an add-on on an account.
type AddOn struct {
	SID          string `json:"sid"`
	UniqueName   string `json:"uniqueName"`
	FriendlyName string `json:"friendlyName,omitempty"`
	Description  string `json:"description,omitempty"`
	// Configuration is what the API returns as the configuration. The default holds
	// [ConfigurationSecret], so that a test can search for a leak.
	Configuration map[string]any `json:"configuration,omitempty"`
	// Unsupported marks an add-on that cannot be assigned to phone numbers.
	Unsupported bool `json:"unsupported,omitempty"`
}

// ConfigurationSecret is part of the default configuration of every installation. It must never
// be seen in a log, event, status or metric.
const ConfigurationSecret = "twiliosim-configuration-secret"

// account is one account with all that belongs to it. Sim.mu guards everything but traffic.
type account struct {
	sid, parent      string
	token, secondary string
	status           AccountStatus
	created          time.Time
	keys             map[string]*apiKey
	numbers          map[string]*number
	byPhoneNumber    map[string]*number
	// order holds the numbers by SID while it is not nil; nil after a number came or went.
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
	// assigned is sorted by the assignments' SIDs. ghosts are deleted ones that lagging reads
	// still show.
	assigned []assignment
	ghosts   []assignment
}

// assignment is an add-on assigned to a number.
type assignment struct {
	sid     string
	addOn   *installation
	created time.Time
	// settles is when reads agree with the truth: they show the assignment, or, if it was
	// deleted, no longer do.
	settles time.Time
}

func newAccount(sid, parent, token string, now time.Time) *account {
	return &account{
		sid: sid, parent: parent, token: token, status: AccountActive, created: now,
		keys: map[string]*apiKey{}, numbers: map[string]*number{},
		byPhoneNumber: map[string]*number{}, addOns: map[string]*installation{},
	}
}

// sortedNumbers returns the account's numbers by SID.
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

// sortedAddOns returns the account's installations by SID.
func (a *account) sortedAddOns() []*installation {
	out := make([]*installation, 0, len(a.addOns))
	for _, x := range a.addOns {
		out = append(out, x)
	}
	slices.SortFunc(out, func(x, y *installation) int { return strings.Compare(x.SID, y.SID) })
	return out
}

// position returns where the assignment with a SID is, or belongs.
func (n *number) position(sid string) (int, bool) {
	return slices.BinarySearchFunc(n.assigned, sid, func(a assignment, sid string) int {
		return cmp.Compare(a.sid, sid)
	})
}

// withAddOn returns the assignment of an installation.
func (n *number) withAddOn(addOn *installation) (assignment, bool) {
	for _, a := range n.assigned {
		if a.addOn == addOn {
			return a, true
		}
	}
	return assignment{}, false
}

// visible returns the assignments that a read at the given time shows, by SID.
func (n *number) visible(now time.Time) []assignment {
	var out []assignment
	for _, a := range n.assigned {
		if !now.Before(a.settles) {
			out = append(out, a)
		}
	}
	for _, g := range n.ghosts {
		shown := slices.ContainsFunc(out, func(a assignment) bool { return a.sid == g.sid })
		if now.Before(g.settles) && !shown {
			out = append(out, g)
		}
	}
	slices.SortFunc(out, func(x, y assignment) int { return cmp.Compare(x.sid, y.sid) })
	return out
}

// haunt makes reads show a deleted assignment until it settles, and forgets those that have.
func (n *number) haunt(a assignment, now time.Time) {
	n.ghosts = slices.DeleteFunc(n.ghosts, func(g assignment) bool { return !now.Before(g.settles) })
	if now.Before(a.settles) {
		n.ghosts = append(n.ghosts, a)
	}
}

// add adds an assignment; it is the only place where one begins.
func (n *number) add(addOn *installation, form AssignmentSIDForm, settles time.Time) assignment {
	a := assignment{sid: addOn.SID, addOn: addOn, created: time.Now(), settles: settles}
	if form == AssignmentSIDDifferent {
		a.sid = AssignmentSID(n.sid, addOn.SID)
	}
	at, _ := n.position(a.sid)
	n.assigned = slices.Insert(n.assigned, at, a)
	addOn.assigned++
	return a
}

// assign adds an assignment and journals it.
func (s *Sim) assign(who by, n *number, addOn *installation, form AssignmentSIDForm, settles time.Time) assignment {
	a := n.add(addOn, form, settles)
	s.journal.add(who, Mutation{Change: ChangeAssign, Account: n.account.sid, Number: n.sid, AddOn: addOn.SID})
	return a
}

// unassign removes the assignment at a position; it is the only place where one ends.
func (s *Sim) unassign(who by, n *number, at int, cause Change) assignment {
	a := n.assigned[at]
	n.assigned = slices.Delete(n.assigned, at, at+1)
	a.addOn.assigned--
	s.journal.add(who, Mutation{Change: ChangeUnassign, Account: n.account.sid, Number: n.sid,
		AddOn: a.addOn.SID, Cause: cause})
	return a
}

// unassignAll removes every assignment of a number, and what lagging reads would show.
func (s *Sim) unassignAll(who by, n *number, cause Change) {
	for len(n.assigned) > 0 {
		s.unassign(who, n, 0, cause)
	}
	n.ghosts = nil
}

// release takes a number from the world.
func (s *Sim) release(who by, n *number) {
	s.unassignAll(who, n, ChangeRelease)
	n.account.remove(n)
	delete(s.numbers, n.sid)
	s.journal.add(who, Mutation{Change: ChangeRelease, Account: n.account.sid, Number: n.sid})
}

// move takes a number to another account. Its assignments end: installations are an account's own.
func (s *Sim) move(who by, n *number, to *account) {
	s.unassignAll(who, n, ChangeMove)
	from := n.account
	from.remove(n)
	to.add(n)
	s.journal.add(who, Mutation{Change: ChangeMove, Account: from.sid, Number: n.sid, Detail: to.sid})
}

// uninstall removes an installation with its assignments.
func (s *Sim) uninstall(who by, x *installation) {
	for _, n := range x.account.sortedNumbers() {
		n.ghosts = slices.DeleteFunc(n.ghosts, func(a assignment) bool { return a.addOn == x })
		at := slices.IndexFunc(n.assigned, func(a assignment) bool { return a.addOn == x })
		if at >= 0 {
			s.unassign(who, n, at, ChangeUninstall)
		}
	}
	delete(x.account.addOns, x.SID)
	delete(s.addOns, x.SID)
	s.journal.add(who, Mutation{Change: ChangeUninstall, Account: x.account.sid, AddOn: x.SID})
}

// effectiveStatus returns the account's status, or its parent's if that is worse.
func (s *Sim) effectiveStatus(a *account) AccountStatus {
	if p := s.accounts[a.parent]; p != nil && a.status == AccountActive {
		return p.status
	}
	return a.status
}
