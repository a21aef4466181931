// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package shard decides which of several managers serves a TwilioAccount.
//
// It decides from the accounts alone: their labels, and the manager that each names in its
// status. It must never let two managers serve accounts of one account SID, because they
// share numbers, a limit of calls and a removal budget. It knows no cluster and no clock.
package shard

import (
	"crypto/sha256"
	"encoding/hex"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/sid"
)

// Lease is the name of the Lease of a manager that selects every account.
const Lease = "twilio-addon-operator.twilio-operator.dev"

// Role is what a manager does about an account.
type Role int

const (
	// Unselected means: this manager does not select the account, and no running one serves it.
	Unselected Role = iota
	// Foreign means: another running manager serves the account, or has to let go of it first.
	Foreign
	// Elsewhere means: this manager selects the account, but another one serves its account SID
	// and does not select the account.
	Elsewhere
	// Follows means: the oldest account of the account SID is claimed first.
	Follows
	// Claims means: this manager claims the account now.
	Claims
	// Serves means: the account names this manager, which may serve it.
	Serves
	// LetsGo means: the account names this manager, which may not serve it any longer.
	LetsGo
)

// Standing is the role of a manager for an account.
type Standing struct {
	Role Role
	// Other is the manager that the role is due to, "" if there is none.
	Other string
}

// Manager is one of several managers.
type Manager struct {
	// Name is that of the manager's Lease.
	Name string
	// Selector selects the accounts that the manager may serve.
	Selector labels.Selector
}

// New returns the manager of a selector. Its name has a fingerprint of the selector.
func New(selector labels.Selector) Manager {
	if selector.Empty() {
		return Manager{Lease, selector}
	}
	sum := sha256.Sum256([]byte(selector.String()))
	return Manager{Lease + "-" + hex.EncodeToString(sum[:4]), selector}
}

// StandingOf says what the manager does about an account. all are all accounts, this one
// included. gone reports whether a manager that an account names has ended.
func (m Manager) StandingOf(account *v1alpha1.TwilioAccount, all []v1alpha1.TwilioAccount, gone func(manager string) bool) Standing {
	leader := LeaderOf(account, all)
	other := m.otherOf(account, gone)
	entitled := m.Selects(account) && m.Selects(leader)
	switch {
	case account.Status.Manager == m.Name:
		return m.asHolder(leader, entitled, gone)
	case other != "":
		return Standing{Foreign, other}
	case !m.Selects(account):
		return Standing{Role: Unselected}
	case leader.UID == account.UID:
		return m.asLeader(account, all, gone)
	}
	switch other := m.otherOf(leader, gone); {
	case leader.Status.Manager == m.Name && entitled:
		return Standing{Role: Claims}
	case other != "" || !entitled:
		return Standing{Elsewhere, other}
	default:
		return Standing{Role: Follows}
	}
}

// asHolder is the standing towards an account that names this manager.
func (m Manager) asHolder(leader *v1alpha1.TwilioAccount, entitled bool, gone func(string) bool) Standing {
	if other := m.otherOf(leader, gone); other != "" || !entitled {
		return Standing{LetsGo, other}
	}
	return Standing{Role: Serves}
}

// asLeader is the standing towards the oldest account of an account SID that names no
// running manager: it is claimed when none of the others names another one either.
func (m Manager) asLeader(account *v1alpha1.TwilioAccount, all []v1alpha1.TwilioAccount, gone func(string) bool) Standing {
	for i := range all {
		if all[i].UID == account.UID || !sid.Equal(all[i].Spec.AccountSID, account.Spec.AccountSID) {
			continue
		}
		if other := m.otherOf(&all[i], gone); other != "" {
			return Standing{Foreign, other}
		}
	}
	return Standing{Role: Claims}
}

// Selects reports whether the manager may serve an account.
func (m Manager) Selects(account *v1alpha1.TwilioAccount) bool {
	return m.Selector.Matches(labels.Set(account.Labels))
}

// otherOf is the other running manager that an account names, "" if it names none.
func (m Manager) otherOf(account *v1alpha1.TwilioAccount, gone func(string) bool) string {
	named := account.Status.Manager
	if named == "" || named == m.Name || gone(named) {
		return ""
	}
	return named
}

// LeaderOf is the oldest account of an account's SID, then the first by name. The account
// itself counts even if all lacks it.
func LeaderOf(account *v1alpha1.TwilioAccount, all []v1alpha1.TwilioAccount) *v1alpha1.TwilioAccount {
	leader := account
	for i := range all {
		if a := &all[i]; sid.Equal(a.Spec.AccountSID, account.Spec.AccountSID) && isBefore(a, leader) {
			leader = a
		}
	}
	return leader
}

func isBefore(a, b metav1.Object) bool {
	x, y := a.GetCreationTimestamp(), b.GetCreationTimestamp()
	if x.Equal(&y) {
		return a.GetName() < b.GetName()
	}
	return x.Before(&y)
}

// MayKeep reports whether a claim that was just written stands: nobody else has claimed an
// account of the same SID meanwhile.
func (m Manager) MayKeep(account *v1alpha1.TwilioAccount, all []v1alpha1.TwilioAccount, gone func(manager string) bool) bool {
	unclaimed := account.DeepCopy()
	unclaimed.Status.Manager = ""
	return m.StandingOf(unclaimed, all, gone).Role == Claims
}
