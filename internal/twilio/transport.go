// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
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

// NewTransport returns the transport that all clients of a process share. It
// speaks TLS 1.2 or newer and HTTP/2 where offered, and keeps up to idlePerHost
// connections to a host open between calls: with at least as many as all accounts'
// ceilings together, a call never has to dial where a turn was used before.
//
// The environment's proxy is used for https, where it sees no credential, and
// never for plain http, where it would.
func NewTransport(idlePerHost int) *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                  proxyForTLS,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  30 * time.Second,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConnsPerHost:    max(idlePerHost, 1),
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
		// A dead HTTP/2 connection carries every call of the process: find out soon.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
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
