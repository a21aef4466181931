// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import (
	"maps"
	"sync"
)

// Count counts requests by outcome. Calls includes a request from its arrival. One of the other
// fields includes it before its answer is written, so a client that has an answer finds it counted.
type Count struct {
	Calls int `json:"calls"`
	// Succeeded counts 2xx, Redirected 3xx, Throttled 429, Rejected all other 4xx, and Failed 5xx.
	Succeeded  int `json:"succeeded,omitempty"`
	Redirected int `json:"redirected,omitempty"`
	Throttled  int `json:"throttled,omitempty"`
	Rejected   int `json:"rejected,omitempty"`
	Failed     int `json:"failed,omitempty"`
	// Broken counts requests without a status: the connection was reset, or the client gave up.
	Broken int `json:"broken,omitempty"`
}

// statusBroken stands for a request that received no status.
const statusBroken = 0

// field returns the counter of a status.
func (c *Count) field(status int) *int {
	switch {
	case status == statusBroken:
		return &c.Broken
	case status < 300:
		return &c.Succeeded
	case status < 400:
		return &c.Redirected
	case status == 429:
		return &c.Throttled
	case status < 500:
		return &c.Rejected
	}
	return &c.Failed
}

// Plus returns the sum of c and d, field by field.
func (c Count) Plus(d Count) Count {
	return Count{
		Calls:      c.Calls + d.Calls,
		Succeeded:  c.Succeeded + d.Succeeded,
		Redirected: c.Redirected + d.Redirected,
		Throttled:  c.Throttled + d.Throttled,
		Rejected:   c.Rejected + d.Rejected,
		Failed:     c.Failed + d.Failed,
		Broken:     c.Broken + d.Broken,
	}
}

// Calls counts the requests since the start or the last [Sim.ResetCalls].
type Calls struct {
	Total Count `json:"total"`
	// ByAccount uses the account in the path or, for the marketplace, the account of the user.
	// A request for an unknown account is only in Total and ByOperation.
	ByAccount   map[string]AccountCalls `json:"byAccount,omitempty"`
	ByOperation map[Operation]Count     `json:"byOperation,omitempty"`
	// ByNumber includes requests with a number in the path.
	ByNumber map[string]map[Operation]Count `json:"byNumber,omitempty"`
}

// AccountCalls is the traffic of one account.
type AccountCalls struct {
	Count
	// MaxInFlight is the highest number of concurrent requests, without throttled ones.
	MaxInFlight int `json:"maxInFlight"`
}

// Of returns the count of an operation on a number. An empty number means all requests of the
// operation. OpAny means all operations.
func (c Calls) Of(op Operation, number string) Count {
	ops := c.ByOperation
	if number != "" {
		ops = c.ByNumber[number]
	}
	if op != OpAny {
		return ops[op]
	}
	var sum Count
	for _, n := range ops {
		sum = sum.Plus(n)
	}
	return sum
}

// callKey identifies a counter. Each field may be empty.
type callKey struct {
	op              Operation
	account, number string
}

// counters counts calls, with one entry for each operation on each number.
type counters struct {
	mu     sync.Mutex
	counts map[callKey]*Count
}

// arrived counts the arrival of a request and returns its counter for answered.
func (c *counters) arrived(k callKey) *Count {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = map[callKey]*Count{}
	}
	n := c.counts[k]
	if n == nil {
		n = new(Count)
		c.counts[k] = n
	}
	n.Calls++
	return n
}

// answered counts the outcome of a request.
func (c *counters) answered(n *Count, status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*n.field(status)++
}

func (c *counters) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts = nil
}

// sum adds up the counters. byNumber includes ByNumber.
func (c *counters) sum(byNumber bool) Calls {
	out := Calls{
		ByAccount:   map[string]AccountCalls{},
		ByOperation: map[Operation]Count{},
		ByNumber:    map[string]map[Operation]Count{},
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, n := range c.counts {
		out.Total = out.Total.Plus(*n)
		out.ByOperation[k.op] = out.ByOperation[k.op].Plus(*n)
		if k.account != "" {
			a := out.ByAccount[k.account]
			a.Count = a.Plus(*n)
			out.ByAccount[k.account] = a
		}
		if byNumber && k.number != "" {
			out.addNumber(k, *n)
		}
	}
	return out
}

func (c *Calls) addNumber(k callKey, n Count) {
	ops := c.ByNumber[k.number]
	if ops == nil {
		ops = map[Operation]Count{}
		c.ByNumber[k.number] = ops
	}
	ops[k.op] = ops[k.op].Plus(n)
}

// Calls returns all counts, including ByNumber.
func (s *Sim) Calls() Calls { return s.withMaxInFlight(s.calls.sum(true)) }

// CallTotals returns the counts without ByNumber. The result stays small with many numbers.
func (s *Sim) CallTotals() Calls { return s.withMaxInFlight(s.calls.sum(false)) }

// ResetCalls sets all counts to zero, and each MaxInFlight to the requests now in flight.
func (s *Sim) ResetCalls() {
	s.calls.reset()
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, a := range s.accounts {
		a.traffic.resetMax()
	}
}

// MaxInFlight returns the highest number of concurrent requests of an account.
func (s *Sim) MaxInFlight(account string) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if a := s.accounts[account]; a != nil {
		return a.traffic.max()
	}
	return 0
}

func (s *Sim) withMaxInFlight(c Calls) Calls {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for sid := range maps.Keys(c.ByAccount) {
		if a := s.accounts[sid]; a != nil {
			n := c.ByAccount[sid]
			n.MaxInFlight = a.traffic.max()
			c.ByAccount[sid] = n
		}
	}
	return c
}
