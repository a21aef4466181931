// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ValidateBaseURL says whether raw can be an account's base URL: https, or plain
// http to a loopback host (any host with allowInsecure), perhaps with a path, and
// nothing else. The error is stable and shows no part of raw.
func ValidateBaseURL(raw string, allowInsecure bool) error {
	_, err := parseBaseURL(raw, allowInsecure)
	return err
}

// parseBaseURL returns the URL without the slashes at its end.
func parseBaseURL(raw string, allowInsecure bool) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("the base URL cannot be parsed") // err would show raw, perhaps with a password
	}
	if err := checkBaseURL(u); err != nil {
		return nil, err
	}
	if u.Scheme == "http" && !allowInsecure && !isLoopback(u.Hostname()) {
		return nil, errors.New("the base URL is plain http to a host that is not loopback: use https")
	}
	u.Path = strings.TrimRight(u.Path, "/")
	return u, nil
}

func checkBaseURL(u *url.URL) error {
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return errors.New("the base URL does not begin with https://")
	case u.Opaque != "" || u.Hostname() == "":
		return errors.New("the base URL names no host")
	case u.User != nil:
		return errors.New("the base URL holds a user name: credentials belong into the Secret")
	case u.RawQuery != "" || u.ForceQuery:
		return errors.New("the base URL has a query")
	case u.Fragment != "":
		return errors.New("the base URL has a fragment")
	}
	return errors.Join(checkPort(u), checkPath(u))
}

func checkPort(u *url.URL) error {
	port := u.Port()
	if port == "" && !strings.HasSuffix(u.Host, ":") {
		return nil
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return errors.New("the base URL's port is not a number from 1 to 65535")
	}
	return nil
}

// checkPath refuses paths that a server or proxy might read as another one.
func checkPath(u *url.URL) error {
	path := strings.TrimRight(u.Path, "/")
	if path == "" {
		return nil
	}
	if u.RawPath != "" || strings.Contains(path, `\`) {
		return errors.New("the base URL's path holds escaped characters")
	}
	for segment := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if segment == apiVersion {
			return errors.New("the base URL contains the API version; leave out /" + apiVersion + ": the operator adds it")
		}
		if segment == "" || segment == "." || segment == ".." {
			return errors.New("the base URL's path holds an empty or dotted segment")
		}
	}
	return nil
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// Transport carries the requests of all clients of a process. Each account with a
// limiter has connections of its own: a transport that accounts share may dial for one
// caller and hand the connection to another, and so open more than there are callers.
type Transport struct {
	// Transport is the model that the accounts' own transports are copies of. Change
	// it before the first call only.
	*http.Transport

	mu        sync.Mutex
	byAccount map[string]*accountTransport // by canonical SID
}

type accountTransport struct {
	*http.Transport
	used time.Time
}

// forgetTransport is how long an account's transport is kept without a call.
const forgetTransport = time.Hour

// NewTransport returns a transport that speaks TLS 1.2 or newer and HTTP/2 where
// offered, and keeps connections open between calls: for an account with a limiter as
// many as its maximum concurrency, else up to idlePerHost.
//
// The proxy of the environment (HTTPS_PROXY, NO_PROXY) is used for https, where it
// sees no credential, and never for plain http, where it would.
func NewTransport(idlePerHost int) *Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &Transport{
		byAccount: map[string]*accountTransport{},
		Transport: &http.Transport{
			Proxy:                  proxyForTLS,
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    10 * time.Second,
			ResponseHeaderTimeout:  30 * time.Second,
			IdleConnTimeout:        90 * time.Second,
			MaxIdleConnsPerHost:    max(idlePerHost, 1),
			MaxResponseHeaderBytes: 64 << 10,
			ForceAttemptHTTP2:      true,
			// A dead HTTP/2 connection carries every call of the account: find out soon.
			HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
		},
	}
}

// of returns the account's own transport, with at most maxConns connections to a host.
func (t *Transport) of(account string, maxConns int) *http.Transport {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	own := t.byAccount[account]
	if own == nil || own.MaxConnsPerHost != maxConns {
		if own != nil {
			own.CloseIdleConnections() // those in use close once they are idle
		}
		t.sweep(now)
		own = &accountTransport{Transport: t.Clone()}
		own.MaxConnsPerHost, own.MaxIdleConnsPerHost = maxConns, maxConns
		t.byAccount[account] = own
	}
	own.used = now
	return own.Transport
}

// sweep drops the transports of accounts that make no calls any more.
func (t *Transport) sweep(now time.Time) {
	maps.DeleteFunc(t.byAccount, func(_ string, own *accountTransport) bool {
		if now.Sub(own.used) < forgetTransport {
			return false
		}
		own.CloseIdleConnections()
		return true
	})
}

// CloseIdleConnections closes the connections of all accounts that no call uses.
func (t *Transport) CloseIdleConnections() {
	t.Transport.CloseIdleConnections()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, own := range t.byAccount {
		own.CloseIdleConnections()
	}
}

func proxyForTLS(req *http.Request) (*url.URL, error) {
	if req.URL.Scheme != "https" {
		return nil, nil
	}
	return http.ProxyFromEnvironment(req)
}

// readOnlyTransport makes "this client does not write" a property of the wire.
type readOnlyTransport struct{ next http.RoundTripper }

func (t readOnlyTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodGet {
		return t.next.RoundTrip(req)
	}
	if req.Body != nil {
		_ = req.Body.Close()
	}
	return nil, fmt.Errorf("%s: %w", req.Method, ErrReadOnly)
}
