// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package schedule

import (
	"time"

	"k8s.io/client-go/util/workqueue"
)

// Backoff counts the failures of each key in a row and says how long to wait after one.
// Only keys that fail take memory. It is safe for concurrent use.
type Backoff[K comparable] struct {
	limiter workqueue.TypedRateLimiter[K]
}

// NewBackoff returns a back-off from FirstBackoff to LongestBackoff, with jitter.
func NewBackoff[K comparable]() *Backoff[K] {
	return &Backoff[K]{limiter: workqueue.NewTypedItemExponentialFailureRateLimiter[K](FirstBackoff, LongestBackoff)}
}

// Failed counts a failure and returns the wait before the next try.
func (b *Backoff[K]) Failed(key K) time.Duration { return Jitter(b.limiter.When(key)) }

// Failures returns how often the key failed in a row.
func (b *Backoff[K]) Failures(key K) int { return b.limiter.NumRequeues(key) }

// Succeeded forgets the failures of a key.
func (b *Backoff[K]) Succeeded(key K) { b.limiter.Forget(key) }
