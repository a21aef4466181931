// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import (
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// maxRequestBody is the size limit of a request body, in bytes.
const maxRequestBody = 64 << 10

// exchange is a request and its answer.
type exchange struct {
	sim       *Sim
	w         http.ResponseWriter
	r         *http.Request
	route     route
	form      url.Values
	behaviour *Behaviour
	requestID string
	start     time.Time
	latency   time.Duration

	user, password string
	hasCredentials bool // Valid or not.
	// account is the account whose limits and counts apply, or nil if there is none.
	account  *account
	inFlight int
	admitted bool
	count    *Count
	done     bool

	fault Fault
}

// serve answers one request of the API.
func (s *Sim) serve(w http.ResponseWriter, r *http.Request) {
	x := s.begin(w, r)
	defer x.finish(statusBroken)
	if !x.admit() {
		x.send(x.throttled())
		return
	}
	fault, failing := s.faults.next(x)
	time.Sleep(time.Until(x.start.Add(x.latency / 2)))
	if failing {
		x.fail(fault)
		return
	}
	a := x.process()
	x.waitLatency()
	x.send(a)
}

// begin reads the request and counts its arrival.
func (s *Sim) begin(w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{
		sim: s, w: w, r: r, start: time.Now(),
		behaviour: s.behaviour.Load(),
		requestID: s.random.requestID(),
		route:     parseRoute(r.Method, r.URL.EscapedPath()),
	}
	x.latency = time.Duration(x.behaviour.Latency) + s.random.below(time.Duration(x.behaviour.LatencyJitter))
	r.Body = http.MaxBytesReader(w, r.Body, maxRequestBody)
	_ = r.ParseForm() // If it fails, parameters are missing, and the handler answers 400.
	x.form = r.PostForm
	x.user, x.password, x.hasCredentials = r.BasicAuth()
	x.account = s.accountFor(x)
	key := callKey{op: x.route.op, number: x.route.number}
	if x.account != nil {
		key.account = x.account.sid
	}
	x.count = s.calls.arrived(key)
	return x
}

// accountFor returns the account in the path or, for the marketplace, the account of the user.
func (s *Sim) accountFor(x *exchange) *account {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !x.route.marketplace {
		return s.accounts[x.route.account]
	}
	if k := s.keys[x.user]; k != nil {
		return k.account
	}
	return s.accounts[x.user]
}

// admit applies the limits of the account and reports whether the request may proceed.
func (x *exchange) admit() bool {
	if x.account == nil {
		x.inFlight = 1
		return true
	}
	x.inFlight, x.admitted = x.account.traffic.enter(x.behaviour)
	return x.admitted
}

// finish records the outcome and frees the slot of the request. Only the first call has an effect.
// It must precede the answer: the client may send its next request before the handler returns.
func (x *exchange) finish(status int) {
	if x.done {
		return
	}
	x.done = true
	if x.admitted {
		x.account.traffic.leave()
	}
	x.sim.calls.answered(x.count, status)
	if x.sim.requests.size > 0 || x.sim.options.OnRequest != nil {
		x.log(status)
	}
}

func (x *exchange) log(status int) {
	q := Request{
		Time: x.start, Method: x.r.Method, Path: x.r.URL.RequestURI(), User: x.user,
		Operation: x.route.op, Status: status, Fault: x.fault.Kind, RequestID: x.requestID,
	}
	x.sim.requests.add(q)
	if x.sim.options.OnRequest != nil {
		x.sim.options.OnRequest(q)
	}
}

// waitLatency waits until the latency has passed since the request arrived. The latency thus
// includes the time for processing.
func (x *exchange) waitLatency() { x.waitForClient(time.Until(x.start.Add(x.latency))) }

// waitForClient waits, but returns early if the client disconnects.
func (x *exchange) waitForClient(d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-x.r.Context().Done():
	case <-time.After(d):
	}
}

// send writes an answer.
func (x *exchange) send(a answer) {
	body := a.encode(x.route.json)
	x.setHeader(a)
	if body != nil {
		x.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	x.finish(a.status)
	x.w.WriteHeader(a.status)
	_, _ = x.w.Write(body) // The client may have disconnected.
}

// setHeader sets the headers that every answer of Twilio has.
func (x *exchange) setHeader(a answer) {
	h := x.w.Header()
	maps.Copy(h, a.header)
	if a.status != http.StatusNoContent && h.Get("Content-Type") == "" {
		h.Set("Content-Type", contentType(x.route.json))
	}
	h.Set("Twilio-Request-Id", x.requestID)
	h.Set("Twilio-Concurrent-Requests", strconv.Itoa(x.inFlight))
	h.Set("Twilio-Request-Duration", strconv.FormatFloat(time.Since(x.start).Seconds(), 'f', 3, 64))
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Set("Access-Control-Expose-Headers", "ETag, Twilio-Request-Id")
	h.Set("X-Powered-By", "AT-5000")
	h.Set("X-Shenanigans", "none")
	h.Set("X-Home-Region", "us1")
	h.Set("X-Api-Domain", x.domain())
	h.Set("Strict-Transport-Security", "max-age=31536000")
}

func (x *exchange) domain() string {
	if x.route.marketplace {
		return "marketplace.twilio.com"
	}
	return "api.twilio.com"
}

// throttled returns the answer to a request that exceeds a limit.
func (x *exchange) throttled() answer {
	a := failure(http.StatusTooManyRequests, 20429, "Too Many Requests")
	delay := max(time.Duration(x.behaviour.RetryAfterDelay), time.Second)
	switch x.behaviour.RetryAfter {
	case RetryAfterSeconds:
		a.setRetryAfter(strconv.Itoa(int(delay.Seconds())))
	case RetryAfterHTTPDate:
		a.setRetryAfter(time.Now().Add(delay).UTC().Format(http.TimeFormat))
	}
	return a
}
