// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"syscall"
)

// stage is how far a request has come on its way to Twilio.
type stage int

const (
	stageUnknown stage = iota // a transport that does not report stages
	stageQueued               // all of the account's connections are in use
	stageLookup
	stageConnect
	stageConnected // behind it: the proxy's answer
	stageHandshake
	stageAnswer // the request has a connection
	stageBody   // the answer has begun
)

// trip follows one exchange. Its hooks may be called after the exchange is over, by a
// dial that nobody waits for any more.
type trip struct {
	mu         sync.Mutex
	stage      stage
	handshakes int
	sent       bool // the request had a connection, or nothing is known of the transport
}

func (t *trip) hooks() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn:           func(string) { t.restart() },
		DNSStart:          func(httptrace.DNSStartInfo) { t.reach(stageLookup) },
		ConnectStart:      func(string, string) { t.reach(stageConnect) },
		ConnectDone:       func(_, _ string, err error) { t.reachIf(err == nil, stageConnected) },
		TLSHandshakeStart: func() { t.reach(stageHandshake) },
		GotConn:           func(httptrace.GotConnInfo) { t.reach(stageAnswer) },
	}
}

// restart begins the way anew: net/http repeats a request whose connection was stale.
func (t *trip) restart() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stage, t.handshakes = stageQueued, 0
}

func (t *trip) reach(s stage) { t.reachIf(true, s) }

func (t *trip) reachIf(ok bool, s stage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !ok || s < t.stage {
		return
	}
	t.stage = s
	if s == stageHandshake {
		t.handshakes++
	}
	t.sent = t.sent || s == stageAnswer
}

// possiblySent is false only if the request certainly has not left.
func (t *trip) possiblySent() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sent || t.stage == stageUnknown
}

// where says what the request was doing, with host and perhaps a proxy on the way.
func (t *trip) where(host string, proxy *url.URL) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := host
	if proxy != nil {
		next = "the proxy " + proxy.Host
	}
	switch t.stage {
	case stageQueued:
		return "waiting for a free connection to " + host
	case stageLookup:
		return "looking up " + next
	case stageConnect:
		return "connecting to " + next
	case stageConnected:
		if proxy != nil {
			return "asking the proxy " + proxy.Host + " for a connection to " + host
		}
		return "connecting to " + host
	case stageHandshake:
		if proxy != nil && proxy.Scheme == "https" && t.handshakes == 1 {
			return "TLS handshake with the proxy " + proxy.Host
		}
		return "TLS handshake with " + host
	case stageAnswer:
		return "waiting for the answer of " + host
	case stageBody:
		return "reading the answer of " + host
	}
	return "calling " + host
}

// wayError is a failure on the way to Twilio or back, and where it happened.
type wayError struct {
	where string // stable
	err   error
}

func (e *wayError) Error() string { return e.err.Error() }
func (e *wayError) Unwrap() error { return e.err }

// locate adds to the error of a transport where it happened.
func (c *call) locate(req *http.Request, err error) error {
	if errors.Is(err, ErrReadOnly) || errors.Is(err, context.Canceled) {
		return err
	}
	return &wayError{where: c.trip.where(c.client.base.Host, proxyOf(c.client.transport, req)), err: err}
}

// proxyOf is the proxy that a transport uses for the request; nil for none.
func proxyOf(transport http.RoundTripper, req *http.Request) *url.URL {
	var choose func(*http.Request) (*url.URL, error)
	switch t := transport.(type) {
	case *Transport:
		choose = t.Proxy
	case *http.Transport:
		choose = t.Proxy
	}
	if choose == nil {
		return nil
	}
	proxy, err := choose(req)
	if err != nil {
		return nil
	}
	return proxy
}

// proxyError is a proxy's refusal to connect.
type proxyError struct {
	status int
	text   string // the proxy's own words
}

func (e proxyError) Error() string { return "the proxy answered CONNECT with " + e.text }

// checkConnect keeps the status of a proxy's answer, of which net/http keeps the words.
func checkConnect(_ context.Context, _ *url.URL, _ *http.Request, res *http.Response) error {
	if res.StatusCode == http.StatusOK {
		return nil
	}
	return proxyError{status: res.StatusCode, text: bounded(oneLine(res.Status), maxExplained)}
}

// explainFailure names the kind of a transport's failure. The text of an unknown error
// is not used: it may hold ports, times and addresses.
func explainFailure(err error) string {
	if e, ok := errors.AsType[proxyError](err); ok {
		return strings.TrimSpace(fmt.Sprintf("HTTP %d %s", e.status, http.StatusText(e.status)))
	}
	if isTimeout(err) {
		return "timed out"
	}
	if text := explainTLS(err); text != "" {
		return text
	}
	return explainNetwork(err)
}

func isTimeout(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

func explainNetwork(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "network unreachable"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		if e.IsNotFound {
			return "no such host"
		}
		return "the name server failed"
	}
	return "the connection failed"
}

func explainTLS(err error) string {
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return explainCertificate(e)
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "the server does not speak TLS"
	}
	// crypto/tls gives an alert's type no name: its operation tells it apart. The
	// texts of alerts are few and fixed.
	e, ok := errors.AsType[*net.OpError](err)
	if !ok || e.Err == nil {
		return ""
	}
	alert := strings.TrimPrefix(e.Err.Error(), "tls: ")
	switch e.Op {
	case "remote error":
		return "the server refused: " + alert
	case "local error":
		return alert
	}
	return ""
}

// explainCertificate says whose certificate was met: that of a proxy which opens TLS
// names its owner.
func explainCertificate(e *tls.CertificateVerificationError) string {
	issued := "certificate"
	if len(e.UnverifiedCertificates) > 0 {
		leaf := e.UnverifiedCertificates[0]
		issued = "certificate for " + nameOf(leaf.Subject) + " issued by " + nameOf(leaf.Issuer)
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](e.Err); ok {
		return issued + " is not trusted"
	}
	if _, ok := errors.AsType[x509.HostnameError](e.Err); ok {
		return issued + " is not for this host"
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](e.Err); ok && e.Reason == x509.Expired {
		return issued + " has expired or is not yet valid"
	}
	return issued + " is not valid"
}

// nameOf is the shortest name that tells a certificate's subject or issuer apart.
func nameOf(name pkix.Name) string {
	const most = 64
	for _, names := range [][]string{{name.CommonName}, name.Organization, name.OrganizationalUnit} {
		if text := bounded(oneLine(strings.Join(names, ", ")), most); text != "" {
			return text
		}
	}
	return "(no name)"
}
