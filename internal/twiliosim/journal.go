// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import (
	"slices"
	"sync"
	"time"
)

// Actor identifies who made a change.
type Actor string

// The actors.
const (
	// ActorAPI is a client of the simulated API, such as the operator.
	ActorAPI Actor = "api"
	// ActorConsole stands for a person in the Twilio console: a method of [Sim] or the admin API.
	ActorConsole Actor = "console"
)

// Change is a kind of change.
type Change string

// The changes that the journal records.
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
	// Seq counts changes from 1, in order and without gaps.
	Seq    int64     `json:"seq"`
	Time   time.Time `json:"time"`
	Actor  Actor     `json:"actor"`
	Change Change    `json:"change"`
	// Account is the SID of the account. For a move, it is the account that the number left.
	Account string `json:"account"`
	Number  string `json:"number,omitempty"`
	// AddOn is the SID of the installation, even if the assignment has a different SID.
	AddOn string `json:"addOn,omitempty"`
	// Cause is the change that also removed this assignment: a release, move or uninstall. It is
	// empty if only the assignment was removed.
	Cause Change `json:"cause,omitempty"`
	// Detail is the new status of an account, or the new account of a number.
	Detail string `json:"detail,omitempty"`
	// RequestID is the Twilio-Request-Id of an API request.
	RequestID string `json:"requestID,omitempty"`
}

// journal is the list of changes, in order.
type journal struct {
	mu      sync.Mutex
	entries []Mutation
}

// origin identifies who makes a change, and with which request.
type origin struct {
	actor     Actor
	requestID string
}

var console = origin{actor: ActorConsole}

// add appends an entry. The caller holds the lock of the state that it changes, so that the order
// of entries is the order of changes.
func (j *journal) add(o origin, m Mutation) {
	j.mu.Lock()
	defer j.mu.Unlock()
	m.Seq, m.Time, m.Actor, m.RequestID = int64(len(j.entries)+1), time.Now(), o.actor, o.requestID
	j.entries = append(j.entries, m)
}

func (j *journal) after(seq int64) []Mutation {
	j.mu.Lock()
	defer j.mu.Unlock()
	seq = min(max(seq, 0), int64(len(j.entries)))
	return slices.Clone(j.entries[seq:])
}

// Journal returns all changes, in order.
func (s *Sim) Journal() []Mutation { return s.journal.after(0) }

// JournalAfter returns the changes whose Seq is greater than seq.
func (s *Sim) JournalAfter(seq int64) []Mutation { return s.journal.after(seq) }
