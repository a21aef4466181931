// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// ErrNotFound is wrapped by errors about something that does not exist.
var ErrNotFound = errors.New("not found")

// AddAccount adds an active account with an auth token.
func (s *Sim) AddAccount(sid, authToken string) error {
	return s.addAccount(sid, "", authToken)
}

// AddSubaccount adds an active subaccount of parent. As with Twilio, the parent's auth token gives
// access to it on the 2010 API, but the parent's API keys do not.
func (s *Sim) AddSubaccount(parent, sid, authToken string) error {
	if parent == "" {
		return fmt.Errorf("subaccount %s has no parent", sid)
	}
	return s.addAccount(sid, parent, authToken)
}

func (s *Sim) addAccount(sid, parent, token string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := checkNew("AC", sid, s.accounts); err != nil {
		return err
	}
	if p := s.accounts[parent]; parent != "" && (p == nil || p.parent != "") {
		return fmt.Errorf("%q cannot be the parent of account %s", parent, sid)
	}
	s.accounts[sid] = newAccount(sid, parent, token, time.Now())
	return nil
}

// AddAPIKey adds an API key to an account. allowed lists the operations of a restricted key.
func (s *Sim) AddAPIKey(account, sid, secret string, kind KeyKind, allowed ...Operation) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.findAccount(account)
	if err != nil {
		return err
	}
	if err := checkNew("SK", sid, s.keys); err != nil {
		return err
	}
	if !oneOf(kind, KeyMain, KeyStandard, KeyRestricted) {
		return fmt.Errorf("unknown kind of API key %q", kind)
	}
	k := &apiKey{sid: sid, secret: secret, kind: kind, allowed: slices.Clone(allowed), account: a}
	a.keys[sid], s.keys[sid] = k, k
	return nil
}

// DeleteAPIKey removes an API key. Requests that use it are then answered 401.
func (s *Sim) DeleteAPIKey(sid string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keys[sid]
	if k == nil {
		return fmt.Errorf("API key %q: %w", sid, ErrNotFound)
	}
	delete(k.account.keys, sid)
	delete(s.keys, sid)
	return nil
}

// SetSecondaryAuthToken sets a second auth token. Both tokens are valid until RotateAuthToken.
// An empty token removes it.
func (s *Sim) SetSecondaryAuthToken(account, authToken string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.findAccount(account)
	if err != nil {
		return err
	}
	a.secondary = authToken
	return nil
}

// RotateAuthToken makes authToken the only valid token. Earlier tokens are refused at once.
func (s *Sim) RotateAuthToken(account, authToken string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.findAccount(account)
	if err != nil {
		return err
	}
	a.token, a.secondary = authToken, ""
	s.journal.add(console, Mutation{Change: ChangeRotate, Account: account})
	return nil
}

// SetAccountStatus suspends, reactivates or closes an account. Closing releases its numbers and is
// final.
func (s *Sim) SetAccountStatus(account string, status AccountStatus) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.findAccount(account)
	if err != nil {
		return err
	}
	if !oneOf(status, AccountActive, AccountSuspended, AccountClosed) || a.status == AccountClosed {
		return fmt.Errorf("account %s cannot go from %s to %q", account, a.status, status)
	}
	a.status = status
	s.journal.add(console, Mutation{Change: ChangeStatus, Account: account, Detail: string(status)})
	if status == AccountClosed {
		for _, n := range slices.Clone(a.sortedNumbers()) {
			s.release(console, n)
		}
	}
	return nil
}

// AddNumber adds an incoming phone number in E.164 format to an account. It can add a released
// number again under the same SID.
func (s *Sim) AddNumber(account, sid, phoneNumber string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.addNumber(account, sid, phoneNumber)
	return err
}

func (s *Sim) addNumber(account, sid, phoneNumber string) (*number, error) {
	a, err := s.findAccount(account)
	if err != nil {
		return nil, err
	}
	if err := checkNew("PN", sid, s.numbers); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(phoneNumber, "+") || a.byPhoneNumber[phoneNumber] != nil {
		return nil, fmt.Errorf("phone number %q is not in E.164 format or already exists", phoneNumber)
	}
	n := &number{sid: sid, phoneNumber: phoneNumber, friendlyName: phoneNumber, created: time.Now()}
	a.add(n)
	s.numbers[sid] = n
	return n, nil
}

// ReleaseNumber removes a number and its assignments from its account.
func (s *Sim) ReleaseNumber(sid string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.findNumber(sid)
	if err != nil {
		return err
	}
	s.release(console, n)
	return nil
}

// MoveNumber moves a number to another account and removes its assignments.
func (s *Sim) MoveNumber(sid, toAccount string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.findNumber(sid)
	if err != nil {
		return err
	}
	to, err := s.findAccount(toAccount)
	if err != nil {
		return err
	}
	s.move(console, n, to)
	return nil
}

// InstallAddOn installs an add-on on an account. Its other fields get defaults, as in Install.
func (s *Sim) InstallAddOn(account, sid, uniqueName string) error {
	return s.Install(account, AddOn{SID: sid, UniqueName: uniqueName})
}

// Install installs an add-on on an account. All empty fields except the SID get defaults.
func (s *Sim) Install(account string, addOn AddOn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.findAccount(account)
	if err != nil {
		return err
	}
	if err := checkNew("XE", addOn.SID, s.addOns); err != nil {
		return err
	}
	addOn.setDefaults()
	for _, x := range a.addOns {
		if x.UniqueName == addOn.UniqueName {
			return fmt.Errorf("account %s already has an add-on named %q", account, addOn.UniqueName)
		}
	}
	x := &installation{AddOn: addOn, account: a, created: time.Now()}
	a.addOns[addOn.SID], s.addOns[addOn.SID] = x, x
	return nil
}

func (x *AddOn) setDefaults() {
	if x.UniqueName == "" {
		x.UniqueName = "add_on_" + x.SID[len(x.SID)-6:]
	}
	if x.FriendlyName == "" {
		words := strings.ReplaceAll(x.UniqueName, "_", " ")
		x.FriendlyName = strings.ToUpper(words[:1]) + words[1:]
	}
	if x.Description == "" {
		x.Description = x.FriendlyName + " for every incoming call"
	}
	if x.Configuration == nil {
		x.Configuration = map[string]any{"api_key": ConfigurationSecret, "bad_words": true}
	}
	x.Configuration = maps.Clone(x.Configuration)
}

// UninstallAddOn removes an installation and its assignments, regardless of Behaviour.Uninstall.
func (s *Sim) UninstallAddOn(sid string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.addOns[sid]
	if x == nil {
		return fmt.Errorf("installed add-on %q: %w", sid, ErrNotFound)
	}
	s.uninstall(console, x)
	return nil
}

// Assign assigns an installed add-on to a number, as in the console. Reads show it at once.
func (s *Sim) Assign(numberSID, addOnSID string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, x, err := s.findNumberAndAddOn(numberSID, addOnSID)
	if err != nil {
		return err
	}
	if _, ok := n.withAddOn(x); ok {
		return fmt.Errorf("add-on %s is already assigned to number %s", addOnSID, numberSID)
	}
	s.assign(console, n, x, s.behaviour.Load().AssignmentSID, time.Time{})
	return nil
}

// Unassign removes the assignment of an installed add-on to a number, as in the console.
func (s *Sim) Unassign(numberSID, addOnSID string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, x, err := s.findNumberAndAddOn(numberSID, addOnSID)
	if err != nil {
		return err
	}
	a, ok := n.withAddOn(x)
	if !ok {
		return fmt.Errorf("add-on %s on number %s: %w", addOnSID, numberSID, ErrNotFound)
	}
	at, _ := n.position(a.sid)
	s.unassign(console, n, at, "")
	return nil
}

// Assigned returns the SIDs of the installations that are assigned to a number, sorted and without
// read lag. It returns nil if the number does not exist, and an empty slice if it has no add-on.
func (s *Sim) Assigned(numberSID string) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := s.numbers[numberSID]
	if n == nil {
		return nil
	}
	return n.addOnSIDs()
}

func (n *number) addOnSIDs() []string {
	sids := make([]string, 0, len(n.assigned))
	for _, a := range n.assigned {
		sids = append(sids, a.addOn.SID)
	}
	slices.Sort(sids)
	return sids
}

func (s *Sim) findAccount(sid string) (*account, error) {
	if a := s.accounts[sid]; a != nil {
		return a, nil
	}
	return nil, fmt.Errorf("account %q: %w", sid, ErrNotFound)
}

func (s *Sim) findNumber(sid string) (*number, error) {
	if n := s.numbers[sid]; n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("number %q: %w", sid, ErrNotFound)
}

// findNumberAndAddOn returns a number and an installation of the same account.
func (s *Sim) findNumberAndAddOn(numberSID, addOnSID string) (*number, *installation, error) {
	n, err := s.findNumber(numberSID)
	if err != nil {
		return nil, nil, err
	}
	x := n.account.addOns[addOnSID]
	if x == nil {
		return nil, nil, fmt.Errorf("add-on %q on account %s: %w", addOnSID, n.account.sid, ErrNotFound)
	}
	return n, x, nil
}

// checkNew returns an error if sid has the wrong form or already exists.
func checkNew[T any](prefix, sid string, existing map[string]T) error {
	if !IsSID(prefix, sid) {
		return fmt.Errorf("%q is not a SID with prefix %s", sid, prefix)
	}
	if _, ok := existing[sid]; ok {
		return fmt.Errorf("%s already exists", sid)
	}
	return nil
}
