// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import "time"

// DefaultCeiling is how many turns an account has where nobody set a ceiling.
const DefaultCeiling = 8

// Priority orders those who wait for a turn.
type Priority int

// Background yields to Foreground, but is never starved by it.
const (
	Background Priority = iota
	Foreground
)

// Reason says why a turn was refused.
type Reason string

// Reasons of a Pause.
const (
	Busy        Reason = "Busy"        // all turns are taken
	Throttled   Reason = "Throttled"   // Twilio answered 429 and is left alone for a while
	Unavailable Reason = "Unavailable" // Twilio cannot be reached or answers 5xx
)

// Pause is the answer to an asker that gets no turn now. It will be woken.
type Pause struct {
	Reason Reason
	Until  time.Time // zero when unknown, as with Busy
}

// Snapshot is a governor's state at a moment.
type Snapshot struct {
	Limit, Ceiling                       int
	InFlight                             int // turns held
	WaitingForeground, WaitingBackground int
	Paused                               Reason // "" when not paused
	Until                                time.Time
}

// Governors holds the governor of each account.
type Governors struct{}

// NewGovernors returns an empty set; m may be nil.
func NewGovernors(m *Metrics) *Governors { panic("todo") }

// For returns the account's governor, the same one at every call.
func (gs *Governors) For(accountSID string) *Governor { panic("todo") }

// Forget says that key wants no turn any more, wherever it waits.
func (gs *Governors) Forget(key string) { panic("todo") }

// Governor hands out the turns of one account.
type Governor struct{}

// SetCeiling sets owner's ceiling; the smallest of all owners rules.
func (g *Governor) SetCeiling(owner string, n int) { panic("todo") }

// RemoveCeiling withdraws owner's ceiling.
func (g *Governor) RemoveCeiling(owner string) { panic("todo") }

// Admit asks for a turn. A nil turn means not now: wake is called once there is one.
func (g *Governor) Admit(key string, p Priority, wake func()) (*Turn, Pause) { panic("todo") }

// Snapshot returns the state of the moment.
func (g *Governor) Snapshot() Snapshot { panic("todo") }

// Turn is the right to have one call in flight at a time.
type Turn struct{}

// Done gives the turn back. Further calls do nothing.
func (t *Turn) Done() { panic("todo") }
