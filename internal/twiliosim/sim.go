// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import (
	"net/http"
	"sync"
	"sync/atomic"
)

// Options configure a simulator. The zero value is a good one.
type Options struct {
	// Seed makes the choices of faults with a probability, the jitter and the request ids
	// repeatable, as far as the order of requests is.
	Seed uint64
	// RequestLog is how many of the latest requests [Sim.Requests] remembers.
	RequestLog int
	// OnRequest, if set, is called with each request as its answer starts, on its goroutine.
	OnRequest func(Request)
}

// Sim is a simulated Twilio. Its methods may be called concurrently.
type Sim struct {
	options   Options
	behaviour atomic.Pointer[Behaviour]
	random    *random
	faults    faults
	calls     counters
	journal   journal
	requests  requestLog

	// mu guards the world: everything that has a SID. It is never held while waiting or writing.
	mu       sync.RWMutex
	accounts map[string]*account
	keys     map[string]*apiKey
	numbers  map[string]*number
	addOns   map[string]*installation
}

// New returns an empty Twilio with [DefaultBehaviour].
func New(o Options) *Sim {
	s := &Sim{options: o, random: newRandom(o.Seed)}
	s.faults.seed = o.Seed
	s.requests.size = o.RequestLog
	s.clear()
	s.behaviour.Store(new(DefaultBehaviour()))
	return s
}

func (s *Sim) clear() {
	s.accounts, s.keys = map[string]*account{}, map[string]*apiKey{}
	s.numbers, s.addOns = map[string]*number{}, map[string]*installation{}
}

// Handler returns the API: both api.twilio.com and marketplace.twilio.com, told apart by path.
func (s *Sim) Handler() http.Handler { return http.HandlerFunc(s.serve) }

// Behaviour returns the switches as they are.
func (s *Sim) Behaviour() Behaviour { return *s.behaviour.Load() }

// SetBehaviour sets every switch. It returns an error, and changes nothing, if a value has no
// meaning.
func (s *Sim) SetBehaviour(b Behaviour) error {
	if err := b.validate(); err != nil {
		return err
	}
	s.behaviour.Store(&b)
	return nil
}

// UpdateBehaviour changes some switches, as SetBehaviour does. The function may be called again
// when somebody else changes them at the same time.
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
