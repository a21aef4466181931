// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// fail answers a request to which a fault applies.
func (x *exchange) fail(f Fault) {
	x.fault = f
	if oneOf(f.Kind, distortions...) {
		a := x.process()
		x.waitLatency()
		x.distort(a)
		return
	}
	var processed *answer
	if f.Processed {
		processed = new(x.process())
	}
	x.waitLatency()
	x.replace(processed)
}

// replace answers in place of Twilio. processed is Twilio's own answer, or nil if the request was
// not processed.
func (x *exchange) replace(processed *answer) {
	f := x.fault
	switch f.Kind {
	case FaultError:
		x.send(x.faultError(http.StatusInternalServerError))
	case FaultChunkedError:
		x.sendChunked(x.faultError(http.StatusNotFound))
	case FaultHTML:
		x.sendHTML()
	case FaultReset:
		x.reset()
	case FaultHang:
		x.hang(processed)
	case FaultRedirect:
		x.redirect()
	case FaultAlien:
		x.send(answer{status: x.success(), body: map[string]any{"greeting": "hello", "items": []int{1, 2, 3}}})
	case FaultEmptyObject:
		x.send(answer{status: x.success(), body: struct{}{}})
	case FaultEmptyBody:
		x.send(answer{status: x.success()})
	}
}

// success returns the success status of the operation. It is 200 for a delete, because a 204 allows
// no body.
func (x *exchange) success() int {
	if x.r.Method == http.MethodPost && x.route.op != OpUpdateNumber {
		return http.StatusCreated
	}
	return http.StatusOK
}

func (x *exchange) faultStatus(otherwise int) int {
	if x.fault.Status != 0 {
		return x.fault.Status
	}
	return otherwise
}

func (x *exchange) faultError(status int) answer {
	status = x.faultStatus(status)
	code := x.fault.Code
	if code == 0 {
		code = defaultCode(status)
	}
	a := failure(status, code, http.StatusText(status))
	if v := x.fault.retryAfter(); v != "" {
		a.setRetryAfter(v)
	}
	return a
}

// retryAfter returns the value of the Retry-After header, or "" for none.
func (f Fault) retryAfter() string {
	after, ok := strings.CutPrefix(f.RetryAfter, "date")
	if !ok {
		return f.RetryAfter
	}
	d, _ := time.ParseDuration(after) // Checked when the fault was added.
	return time.Now().Add(d).UTC().Format(http.TimeFormat)
}

// sendChunked writes an answer without a Content-Length.
func (x *exchange) sendChunked(a answer) {
	x.setHeader(a)
	x.finish(a.status)
	x.w.WriteHeader(a.status)
	for chunk := range bytes.Lines(bytes.ReplaceAll(a.encode(true), []byte(","), []byte(",\n"))) {
		_, _ = x.w.Write(chunk)
		x.flush()
	}
}

func (x *exchange) sendHTML() {
	size := x.fault.Bytes
	if size == 0 {
		size = 150
	}
	page := "<html><head><title>Bad gateway</title></head><body><h1>Bad gateway</h1>"
	page += strings.Repeat("x", max(size-len(page)-len("</body></html>"), 0)) + "</body></html>"
	status := x.faultStatus(http.StatusBadGateway)
	h := x.w.Header()
	h.Set("Content-Type", "text/html")
	h.Set("Content-Length", strconv.Itoa(len(page)))
	if v := x.fault.retryAfter(); v != "" {
		h.Set("Retry-After", v)
	}
	x.finish(status)
	x.w.WriteHeader(status)
	_, _ = x.w.Write([]byte(page))
}

// reset closes the connection so that the client receives a TCP reset.
func (x *exchange) reset() {
	x.finish(statusBroken)
	hijacker, ok := x.w.(http.Hijacker)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	conn, _, err := hijacker.Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	raw := conn
	if t, ok := conn.(*tls.Conn); ok {
		raw = t.NetConn()
	}
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = raw.Close()
}

// hang waits until the client disconnects, or answers after the fault's delay.
func (x *exchange) hang(processed *answer) {
	var late <-chan time.Time
	if x.fault.Delay > 0 {
		late = time.After(time.Duration(x.fault.Delay))
	}
	select {
	case <-x.r.Context().Done():
		x.finish(statusBroken)
		panic(http.ErrAbortHandler)
	case <-late:
	}
	if processed == nil {
		processed = new(x.process())
	}
	x.send(*processed)
}

func (x *exchange) redirect() {
	target := x.r.URL.EscapedPath() + "?Redirected=true"
	if x.fault.Location != "" {
		target = x.fault.location("") + x.r.URL.RequestURI()
	}
	x.send(answer{
		status: x.faultStatus(http.StatusTemporaryRedirect),
		header: http.Header{"Location": {target}},
	})
}

// distort writes Twilio's own answer with an error in it.
func (x *exchange) distort(a answer) {
	body := a.encode(x.route.json)
	switch x.fault.Kind {
	case FaultSlowBody:
		x.sendSlowly(a, body)
	case FaultTruncated:
		x.sendWhole(a, body[:len(body)/2])
	case FaultCutBody:
		x.sendBody(a, len(body), body[:len(body)/2])
		x.flush()
		panic(http.ErrAbortHandler)
	case FaultOversized:
		x.sendOversized(a, body)
	case FaultWrongNumber:
		x.sendWhole(a, x.swapNumber(body))
	case FaultWrongSID:
		x.sendWhole(a, swapFirstSID(body))
	default: // The other kinds were applied while the content was made.
		x.send(a)
	}
}

// swapNumber replaces every occurrence of the requested number's SID in a body.
func (x *exchange) swapNumber(body []byte) []byte {
	if x.route.number == "" {
		return body
	}
	return bytes.ReplaceAll(body, []byte(x.route.number), []byte(derivedSID("PN", "wrong", x.route.number)))
}

// swapFirstSID replaces every occurrence of the SID in the first "sid" field of a body.
func swapFirstSID(body []byte) []byte {
	_, rest, ok := bytes.Cut(body, []byte(`"sid":"`))
	if !ok || len(rest) < 34 {
		return body
	}
	sid := string(rest[:34])
	return bytes.ReplaceAll(body, []byte(sid), []byte(derivedSID(sid[:2], "wrong", sid)))
}

func (x *exchange) sendWhole(a answer, body []byte) { x.sendBody(a, len(body), body) }

// sendBody writes the header with the given Content-Length, and then the body.
func (x *exchange) sendBody(a answer, length int, body []byte) {
	x.setHeader(a)
	if a.body != nil {
		x.w.Header().Set("Content-Length", strconv.Itoa(length))
	}
	x.finish(a.status)
	x.w.WriteHeader(a.status)
	_, _ = x.w.Write(body)
}

func (x *exchange) sendSlowly(a answer, body []byte) {
	const pieces = 10
	delay := time.Duration(x.fault.Delay)
	if delay == 0 {
		delay = time.Second
	}
	x.sendBody(a, len(body), nil)
	size := len(body)/pieces + 1
	for len(body) > 0 && x.r.Context().Err() == nil {
		piece := body[:min(size, len(body))]
		body = body[len(piece):]
		_, _ = x.w.Write(piece)
		x.flush()
		x.waitForClient(delay / pieces)
	}
}

// sendOversized writes an object with a long string as its first field.
func (x *exchange) sendOversized(a answer, body []byte) {
	size := x.fault.Bytes
	if size == 0 {
		size = 32 << 20
	}
	rest, ok := bytes.CutPrefix(body, []byte("{"))
	if !ok {
		x.send(a)
		return
	}
	x.setHeader(a)
	x.finish(a.status)
	x.w.WriteHeader(a.status)
	_, err := x.w.Write([]byte(`{"padding":"`))
	chunk := bytes.Repeat([]byte("x"), 64<<10)
	for size > 0 && err == nil {
		var n int
		n, err = x.w.Write(chunk[:min(size, len(chunk))])
		size -= n
	}
	if err == nil {
		_, _ = x.w.Write(append([]byte(`",`), rest...))
	}
}

func (x *exchange) flush() {
	if f, ok := x.w.(http.Flusher); ok {
		f.Flush()
	}
}
