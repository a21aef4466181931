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

// ValidateBaseURL checks an account's base URL: https, or plain http to a loopback host
// (any host with allowInsecure), optionally with a port and a path, but nothing else.
// The error is stable and does not contain raw.
func ValidateBaseURL(raw string, allowInsecure bool) error {
	_, err := parseBaseURL(raw, allowInsecure)
	return err
}

// parseBaseURL checks the URL and removes slashes at its end.
func parseBaseURL(raw string, allowInsecure bool) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("the base URL cannot be parsed") // err contains raw, perhaps with a password
	}
	if err := checkBaseURL(u); err != nil {
		return nil, err
	}
	if u.Scheme == "http" && !allowInsecure && !isLoopback(u.Hostname()) {
		return nil, errors.New("the base URL is plain http to a host other than loopback: use https")
	}
	u.Path = strings.TrimRight(u.Path, "/")
	return u, nil
}

func checkBaseURL(u *url.URL) error {
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return errors.New("the base URL must begin with https://")
	case u.Opaque != "" || u.Hostname() == "":
		return errors.New("the base URL names no host")
	case u.User != nil:
		return errors.New("the base URL contains a user name: credentials belong in the Secret")
	case u.RawQuery != "" || u.ForceQuery:
		return errors.New("the base URL must not have a query")
	case u.Fragment != "":
		return errors.New("the base URL must not have a fragment")
	}
	return errors.Join(checkPort(u), checkPath(u))
}

func checkPort(u *url.URL) error {
	port := u.Port()
	if port == "" && !strings.HasSuffix(u.Host, ":") {
		return nil
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return errors.New("the port of the base URL must be a number from 1 to 65535")
	}
	return nil
}

// checkPath refuses paths that a server or a proxy may take for another one.
func checkPath(u *url.URL) error {
	path := strings.TrimRight(u.Path, "/")
	if path == "" {
		return nil
	}
	if u.RawPath != "" || strings.Contains(path, `\`) {
		return errors.New("the path of the base URL contains escaped characters")
	}
	for segment := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if segment == apiVersion {
			return errors.New("the base URL contains the API version; leave out /" + apiVersion + ": the operator adds it")
		}
		if segment == "" || segment == "." || segment == ".." {
			return errors.New("the path of the base URL contains an empty or dotted segment")
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

// Transport carries the requests of all clients of a process. Each account that has a
// limiter gets connections of its own. Shared connections would not stay within an
// account's maximum: net/http may dial for one caller and give the connection to
// another one.
type Transport struct {
	// Transport is the model for the accounts' own transports. Do not change it after
	// the first call.
	*http.Transport

	mu        sync.Mutex
	byAccount map[string]*accountTransport // by canonical SID
}

type accountTransport struct {
	*http.Transport
	used time.Time
}

// forgetTransport is how long the transport of an account without calls is kept.
const forgetTransport = time.Hour

// NewTransport returns a transport for TLS 1.2 or newer, and HTTP/2 if the server offers
// it. It keeps connections open between calls: for an account with a limiter as many as
// its maximum concurrency, for others idlePerHost to a host.
//
// https goes through the proxy of the environment (HTTPS_PROXY, NO_PROXY), which does
// not see the credentials. Plain http never does: the proxy would see them. The system's
// certificate authorities are trusted (SSL_CERT_FILE, SSL_CERT_DIR).
func NewTransport(idlePerHost int) *Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &Transport{
		byAccount: map[string]*accountTransport{},
		Transport: &http.Transport{
			Proxy:                  proxyForTLS,
			OnProxyConnectResponse: checkConnect,
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    10 * time.Second,
			ResponseHeaderTimeout:  30 * time.Second,
			IdleConnTimeout:        90 * time.Second,
			MaxIdleConnsPerHost:    max(idlePerHost, 1),
			MaxResponseHeaderBytes: 64 << 10,
			ForceAttemptHTTP2:      true,
			// One dead HTTP/2 connection fails every call of the account: detect it soon.
			HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
		},
	}
}

// of returns the account's own transport, limited to maxConns connections to a host.
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

// sweep removes the transports of accounts that no longer make calls.
func (t *Transport) sweep(now time.Time) {
	maps.DeleteFunc(t.byAccount, func(_ string, own *accountTransport) bool {
		if now.Sub(own.used) < forgetTransport {
			return false
		}
		own.CloseIdleConnections()
		return true
	})
}

// CloseIdleConnections closes all unused connections of all accounts.
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

// readOnlyTransport makes sure that a read-only client cannot write.
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
