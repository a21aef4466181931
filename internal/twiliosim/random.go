// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import (
	"encoding/hex"
	"math/rand/v2"
	"sync"
	"time"
)

// random is a seeded random source that is safe for concurrent use.
type random struct {
	mu     sync.Mutex
	source *rand.ChaCha8
	rand   *rand.Rand
}

func newRandom(seed uint64) *random {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	source := rand.NewChaCha8(key)
	return &random{source: source, rand: rand.New(source)}
}

// requestID returns a new Twilio-Request-Id.
func (r *random) requestID() string {
	var id [16]byte
	r.mu.Lock()
	defer r.mu.Unlock()
	r.source.Read(id[:])
	return "RQ" + hex.EncodeToString(id[:])
}

// below returns a duration in [0, d), or 0 if d is not positive.
func (r *random) below(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Duration(r.rand.Int64N(int64(d)))
}
