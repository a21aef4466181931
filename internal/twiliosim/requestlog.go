// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import (
	"slices"
	"sync"
	"time"
)

// Request describes a request for debugging. It contains no password.
type Request struct {
	Time   time.Time `json:"time"`
	Method string    `json:"method"`
	// Path is the request target, including the query.
	Path string `json:"path"`
	// User is the user name of the credentials: an account or API key SID.
	User      string    `json:"user,omitempty"`
	Operation Operation `json:"operation"`
	// Status is the HTTP status, or 0 if the connection ended before a status was sent.
	Status int `json:"status"`
	// Fault is the kind of fault that affected the request, if any.
	Fault     FaultKind `json:"fault,omitempty"`
	RequestID string    `json:"requestID"`
}

// requestLog is a ring buffer of the latest requests.
type requestLog struct {
	size int

	mu   sync.Mutex
	ring []Request
	next int
}

func (l *requestLog) add(r Request) {
	if l.size <= 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ring) < l.size {
		l.ring = append(l.ring, r)
		return
	}
	l.ring[l.next] = r
	l.next = (l.next + 1) % l.size
}

// Requests returns at most Options.RequestLog of the latest requests, oldest first.
func (s *Sim) Requests() []Request {
	l := &s.requests
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Concat(l.ring[l.next:], l.ring[:l.next])
}
