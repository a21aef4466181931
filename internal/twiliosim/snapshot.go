// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// State is the whole state of the simulator as data, for a seed file or for inspection. Accounts
// precede their subaccounts. Everything is sorted by SID.
type State struct {
	Accounts []AccountState `json:"accounts"`
}

// AccountState is an account.
type AccountState struct {
	SID       string        `json:"sid"`
	Parent    string        `json:"parent,omitempty"`
	AuthToken string        `json:"authToken"`
	Secondary string        `json:"secondaryAuthToken,omitempty"`
	Status    AccountStatus `json:"status,omitempty"`
	APIKeys   []KeyState    `json:"apiKeys,omitempty"`
	AddOns    []AddOn       `json:"addOns,omitempty"`
	Numbers   []NumberState `json:"numbers,omitempty"`
}

// KeyState is an API key.
type KeyState struct {
	SID     string      `json:"sid"`
	Secret  string      `json:"secret"`
	Kind    KeyKind     `json:"kind"`
	Allowed []Operation `json:"allowed,omitempty"`
}

// NumberState is a phone number. Assigned lists the SIDs of its installed add-ons.
type NumberState struct {
	SID         string   `json:"sid"`
	PhoneNumber string   `json:"phoneNumber"`
	Assigned    []string `json:"assigned,omitempty"`
}

// Snapshot returns the current state.
func (s *Sim) Snapshot() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := State{Accounts: []AccountState{}}
	for _, a := range s.accounts {
		out.Accounts = append(out.Accounts, a.state())
	}
	slices.SortFunc(out.Accounts, func(a, b AccountState) int {
		if (a.Parent == "") != (b.Parent == "") {
			return strings.Compare(a.Parent, b.Parent)
		}
		return strings.Compare(a.SID, b.SID)
	})
	return out
}

func (a *account) state() AccountState {
	out := AccountState{
		SID: a.sid, Parent: a.parent, AuthToken: a.token, Secondary: a.secondary, Status: a.status,
	}
	for _, k := range a.keys {
		out.APIKeys = append(out.APIKeys, KeyState{k.sid, k.secret, k.kind, k.allowed})
	}
	slices.SortFunc(out.APIKeys, func(x, y KeyState) int { return strings.Compare(x.SID, y.SID) })
	for _, x := range a.sortedAddOns() {
		out.AddOns = append(out.AddOns, x.AddOn)
	}
	for _, n := range a.sortedNumbers() {
		out.Numbers = append(out.Numbers, NumberState{n.sid, n.phoneNumber, n.addOnSIDs()})
	}
	return out
}

// Restore replaces the state. It keeps the calls, journal, behaviour and faults, and adds no
// journal entry. If the new state is inconsistent, it returns an error and changes nothing.
func (s *Sim) Restore(state State) error {
	fresh := New(Options{})
	fresh.behaviour.Store(s.behaviour.Load())
	for _, a := range state.Accounts {
		if err := fresh.restoreAccount(a); err != nil {
			return fmt.Errorf("restore account %s: %w", a.SID, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accounts, s.keys, s.numbers, s.addOns = fresh.accounts, fresh.keys, fresh.numbers, fresh.addOns
	return nil
}

func (s *Sim) restoreAccount(a AccountState) error {
	if err := s.addAccount(a.SID, a.Parent, a.AuthToken); err != nil {
		return err
	}
	if a.Status != "" {
		if !oneOf(a.Status, AccountActive, AccountSuspended, AccountClosed) {
			return fmt.Errorf("unknown status %q", a.Status)
		}
		s.accounts[a.SID].status = a.Status
	}
	s.accounts[a.SID].secondary = a.Secondary
	for _, k := range a.APIKeys {
		if err := s.AddAPIKey(a.SID, k.SID, k.Secret, k.Kind, k.Allowed...); err != nil {
			return err
		}
	}
	for _, x := range a.AddOns {
		if err := s.Install(a.SID, x); err != nil {
			return err
		}
	}
	for _, n := range a.Numbers {
		if err := s.restoreNumber(a.SID, n); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sim) restoreNumber(account string, n NumberState) error {
	if err := s.AddNumber(account, n.SID, n.PhoneNumber); err != nil {
		return err
	}
	for _, sid := range n.Assigned {
		if err := s.Assign(n.SID, sid); err != nil {
			return err
		}
	}
	return nil
}

// Seed describes many numbers of one account.
type Seed struct {
	// Account is created with AuthToken unless it exists.
	Account   string `json:"account"`
	AuthToken string `json:"authToken"`
	// Numbers is how many numbers to add. Their SIDs start at SID("PN", FirstNumber), and
	// [PhoneNumber] gives their phone numbers. FirstNumber defaults to 1.
	Numbers     int `json:"numbers"`
	FirstNumber int `json:"firstNumber,omitempty"`
	// AddOns is how many add-ons to install. Their SIDs start at SID("XE", FirstAddOn).
	// FirstAddOn defaults to 1.
	AddOns     int `json:"addOns"`
	FirstAddOn int `json:"firstAddOn,omitempty"`
	// Assigned is how many of these add-ons, starting with the first, each new number has.
	Assigned int `json:"assigned,omitempty"`
}

// PhoneNumber returns the phone number that a Seed gives to SID("PN", n).
func PhoneNumber(n int) string { return fmt.Sprintf("+1%010d", 2_000_000_000+n) }

// Seed adds many numbers quickly. It adds no journal entry.
func (s *Sim) Seed(seed Seed) error {
	seed.FirstNumber, seed.FirstAddOn = max(seed.FirstNumber, 1), max(seed.FirstAddOn, 1)
	if seed.Assigned > seed.AddOns {
		return fmt.Errorf("seed: cannot assign %d of %d add-ons", seed.Assigned, seed.AddOns)
	}
	s.mu.RLock()
	_, there := s.accounts[seed.Account]
	s.mu.RUnlock()
	if !there {
		if err := s.AddAccount(seed.Account, seed.AuthToken); err != nil {
			return fmt.Errorf("seed: %w", err)
		}
	}
	for i := range seed.AddOns {
		n := seed.FirstAddOn + i
		if err := s.InstallAddOn(seed.Account, SID("XE", n), fmt.Sprintf("add_on_%d", n)); err != nil {
			return fmt.Errorf("seed: %w", err)
		}
	}
	return s.seedNumbers(seed)
}

func (s *Sim) seedNumbers(seed Seed) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	addOns := make([]*installation, seed.Assigned)
	for i := range addOns {
		addOns[i] = s.addOns[SID("XE", seed.FirstAddOn+i)]
	}
	form := s.behaviour.Load().AssignmentSID
	for i := range seed.Numbers {
		at := seed.FirstNumber + i
		n, err := s.addNumber(seed.Account, SID("PN", at), PhoneNumber(at))
		if err != nil {
			return fmt.Errorf("seed: %w", err)
		}
		for _, x := range addOns {
			n.add(x, form, time.Time{})
		}
	}
	return nil
}
