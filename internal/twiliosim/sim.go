// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import (
	"net/http"
	"sync"
	"sync/atomic"
)

// Options configure a simulator. The zero value is usable.
type Options struct {
	// Seed makes random choices repeatable if requests arrive in the same order: faults with a
	// probability, latency jitter and request IDs.
	Seed uint64
	// RequestLog is how many of the latest requests [Sim.Requests] returns. Default: none.
	RequestLog int
	// OnRequest, if set, is called for each request just before its answer is written, on the
	// goroutine that serves the request.
	OnRequest func(Request)
}

// Sim is a simulated Twilio. Its methods are safe for concurrent use.
type Sim struct {
	options   Options
	behaviour atomic.Pointer[Behaviour]
	random    *random
	faults    faults
	calls     counters
	journal   journal
	requests  requestLog

	// mu guards everything that has a SID. It is never held while waiting or writing an answer.
	mu       sync.RWMutex
	accounts map[string]*account
	keys     map[string]*apiKey
	numbers  map[string]*number
	addOns   map[string]*installation
}

// New returns a simulator without accounts and with [DefaultBehaviour].
func New(o Options) *Sim {
	s := &Sim{
		options: o, random: newRandom(o.Seed),
		accounts: map[string]*account{}, keys: map[string]*apiKey{},
		numbers: map[string]*number{}, addOns: map[string]*installation{},
	}
	s.faults.seed = o.Seed
	s.requests.size = o.RequestLog
	s.behaviour.Store(new(DefaultBehaviour()))
	return s
}

// Handler serves both api.twilio.com and marketplace.twilio.com. Their paths do not overlap.
func (s *Sim) Handler() http.Handler { return http.HandlerFunc(s.serve) }

// Behaviour returns the current switches.
func (s *Sim) Behaviour() Behaviour { return *s.behaviour.Load() }

// SetBehaviour replaces all switches. If a value is invalid, it returns an error and changes
// nothing.
func (s *Sim) SetBehaviour(b Behaviour) error {
	if err := b.validate(); err != nil {
		return err
	}
	s.behaviour.Store(&b)
	return nil
}

// UpdateBehaviour changes the current switches. It calls the function again if another goroutine
// changes them meanwhile. Errors are those of SetBehaviour.
func (s *Sim) UpdateBehaviour(change func(*Behaviour)) error {
	for {
		old := s.behaviour.Load()
		b := *old
		change(&b)
		if err := b.validate(); err != nil {
			return err
		}
		if s.behaviour.CompareAndSwap(old, &b) {
			return nil
		}
	}
}
