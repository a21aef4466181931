// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import (
	"slices"
	"sync"
	"time"
)

// Actor says who changed something.
type Actor string

// The actors.
const (
	// ActorAPI is a client of the API: the operator.
	ActorAPI Actor = "api"
	// ActorConsole is a person, by [Sim]'s methods or the admin API.
	ActorConsole Actor = "console"
)

// Change is a kind of mutation.
type Change string

// The changes that are journalled.
const (
	ChangeAssign    Change = "assign"
	ChangeUnassign  Change = "unassign"
	ChangeBuy       Change = "buy"
	ChangeRelease   Change = "release"
	ChangeMove      Change = "move"
	ChangeUninstall Change = "uninstall"
	ChangeStatus    Change = "account-status"
	ChangeRotate    Change = "rotate-token"
)

// Mutation is one entry of the journal.
type Mutation struct {
	// Seq counts from 1 without gaps, in the order in which the changes took place.
	Seq    int64     `json:"seq"`
	Time   time.Time `json:"time"`
	Actor  Actor     `json:"actor"`
	Change Change    `json:"change"`
	// Account is the account's SID; for a move, that of the account the number came from.
	Account string `json:"account"`
	Number  string `json:"number,omitempty"`
	// AddOn is the SID of the installation, whatever SID its assignment has.
	AddOn string `json:"addOn,omitempty"`
	// Cause is the change that took an assignment with it: a release, move, uninstall or
	// account-status. Empty for an assignment removed by itself.
	Cause Change `json:"cause,omitempty"`
	// Detail is the new status of an account or the new account of a number.
	Detail string `json:"detail,omitempty"`
	// RequestID is the Twilio-Request-Id of an API request.
	RequestID string `json:"requestID,omitempty"`
}

// journal is the ordered list of mutations.
type journal struct {
	mu      sync.Mutex
	entries []Mutation
}

// by is who makes a change, and on which request.
type by struct {
	actor     Actor
	requestID string
}

var console = by{actor: ActorConsole}

// add appends m. The caller holds the lock of what it changes, so that the order is the true one.
func (j *journal) add(b by, m Mutation) {
	j.mu.Lock()
	defer j.mu.Unlock()
	m.Seq, m.Time, m.Actor, m.RequestID = int64(len(j.entries)+1), time.Now(), b.actor, b.requestID
	j.entries = append(j.entries, m)
}

func (j *journal) after(seq int64) []Mutation {
	j.mu.Lock()
	defer j.mu.Unlock()
	seq = min(max(seq, 0), int64(len(j.entries)))
	return slices.Clone(j.entries[seq:])
}

// Journal returns every mutation so far, in order.
func (s *Sim) Journal() []Mutation { return s.journal.after(0) }

// JournalAfter returns the mutations that follow the one numbered seq.
func (s *Sim) JournalAfter(seq int64) []Mutation { return s.journal.after(seq) }
