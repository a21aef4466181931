// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import (
	"sync"
	"time"
)

// traffic limits and counts the requests of one account that are in flight.
type traffic struct {
	mu                sync.Mutex
	inFlight, highest int
	tokens            float64
	filled            time.Time
}

// enter admits a request if the limits of b allow it. It returns how many requests are in flight,
// including this one. A request that is not admitted does not stay in flight.
func (t *traffic) enter(b *Behaviour) (inFlight int, admitted bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if b.ConcurrencyLimit > 0 && t.inFlight >= b.ConcurrencyLimit || !t.take(b.RateLimit) {
		return t.inFlight + 1, false
	}
	t.inFlight++
	t.highest = max(t.highest, t.inFlight)
	return t.inFlight, true
}

// take takes a token from a bucket. The bucket refills with rate tokens per second and holds as
// many tokens, at least one.
func (t *traffic) take(rate float64) bool {
	if rate <= 0 {
		t.filled = time.Time{}
		return true
	}
	now, size := time.Now(), max(rate, 1)
	if t.filled.IsZero() {
		t.tokens = size
	} else {
		t.tokens = min(size, t.tokens+now.Sub(t.filled).Seconds()*rate)
	}
	t.filled = now
	if t.tokens < 1 {
		return false
	}
	t.tokens--
	return true
}

func (t *traffic) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inFlight--
}

func (t *traffic) max() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.highest
}

func (t *traffic) resetMax() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.highest = t.inFlight
}
