// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import (
	"slices"
	"sync"
	"time"
)

// Request describes one request for debugging. It holds no password.
type Request struct {
	Time   time.Time `json:"time"`
	Method string    `json:"method"`
	// Path is the request target, with its query.
	Path string `json:"path"`
	// User is the user name of the credentials: an account or API key SID.
	User      string    `json:"user,omitempty"`
	Operation Operation `json:"operation"`
	// Status is the HTTP status, or 0 if the connection was broken before one was sent.
	Status int `json:"status"`
	// Fault is the kind of the fault that answered, if one did.
	Fault     FaultKind `json:"fault,omitempty"`
	RequestID string    `json:"requestID"`
}

// requestLog remembers the latest requests.
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

// Requests returns the latest requests, oldest first, as many as Options.RequestLog allows.
func (s *Sim) Requests() []Request {
	l := &s.requests
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Concat(l.ring[l.next:], l.ring[:l.next])
}
