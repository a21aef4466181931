// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	// behindProxy is a host that only the test's proxy finds: no name server knows .invalid.
	behindProxy   = "api.twilio.invalid"
	proxyUser     = "proxy-user"
	proxyPassword = "proxy-password"
)

// privateCA is a company's certificate authority.
type privateCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newPrivateCA(t *testing.T) *privateCA {
	t.Helper()
	ca := &privateCA{key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Example Corp Root"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	ca.cert = sign(t, template, template, ca.key, ca.key)
	return ca
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// serve starts a TLS server with a certificate for host of the authority.
func (ca *privateCA) serve(t *testing.T, host string, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	key := newKey(t)
	cert := sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, ca.cert, key, ca.key)
	s := httptest.NewUnstartedServer(handler)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// file writes the authority's certificate for SSL_CERT_FILE.
func (ca *privateCA) file(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// connectProxy is a real proxy for CONNECT, which leads everybody to one address.
type connectProxy struct {
	*httptest.Server

	mu       sync.Mutex
	asked    []string // host:port, in order
	password bool     // every CONNECT had the right one
}

// newProxy starts a proxy that leads to target, or does with CONNECT what instead does.
func newProxy(t *testing.T, target string, instead http.HandlerFunc) *connectProxy {
	t.Helper()
	p := &connectProxy{password: true}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.asked = append(p.asked, r.Method+" "+r.Host)
		p.password = p.password && r.Header.Get("Proxy-Authorization") == "Basic "+encoded(proxyUser, proxyPassword)
		p.mu.Unlock()
		if instead != nil {
			instead(w, r)
			return
		}
		p.tunnel(t, w, target)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *connectProxy) tunnel(t *testing.T, w http.ResponseWriter, target string) {
	t.Helper()
	upstream, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", target)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer func() { _ = upstream.Close() }()
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		t.Errorf("Hijack: %v", err)
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
	done := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{upstream, conn}, {conn, upstream}} {
		go func() {
			_, _ = io.Copy(pair[0], pair[1])
			_ = pair[0].Close()
			_ = pair[1].Close()
			done <- struct{}{}
		}()
	}
	<-done
	<-done
}

// url is the proxy's address with its credentials.
func (p *connectProxy) url(t *testing.T) *url.URL {
	t.Helper()
	u, err := url.Parse(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(proxyUser, proxyPassword)
	return u
}

func (p *connectProxy) tunnels() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.asked...)
}

// through returns a client behind the proxy, and its transport.
func through(t *testing.T, proxy *url.URL, timeout time.Duration) (*Client, *Transport) {
	t.Helper()
	transport := NewTransport(1)
	transport.Proxy = http.ProxyURL(proxy)
	t.Cleanup(transport.CloseIdleConnections)
	return newClient(t, "https://"+behindProxy, Options{
		Transport: transport, Limiter: NewLimiters(nil).For(testAccount), CallTimeout: timeout,
	}), transport
}

func TestProxyLeadsToTwilio(t *testing.T) {
	ca := newPrivateCA(t)
	s := ca.serve(t, behindProxy, answer(200, numbersPage(testAccount, "")))
	proxy := newProxy(t, s.Listener.Addr().String(), nil)
	client, _ := through(t, proxy.url(t), 0)

	err := client.Verify(t.Context())
	want := "TLS handshake with " + behindProxy + ": certificate for " + behindProxy + " issued by Example Corp Root is not trusted"
	if got := ExplainAnswer(err); got != want {
		t.Errorf("without the authority: %q, want %q", got, want)
	}
	if !strings.Contains(err.Error(), "x509: certificate signed by unknown authority") {
		t.Errorf("the log lacks the cause: %v", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	client, other := through(t, proxy.url(t), 0)
	other.TLSClientConfig.RootCAs = roots
	if err := client.Verify(t.Context()); err != nil {
		t.Errorf("with the authority: %v", err)
	}
	if diff := cmp.Diff([]string{"CONNECT " + behindProxy + ":443", "CONNECT " + behindProxy + ":443"}, proxy.tunnels()); diff != "" {
		t.Errorf("tunnels (-want +got):\n%s", diff)
	}
	if !proxy.password {
		t.Error("the proxy did not get its credentials")
	}
}

func TestProxyTroubleIsExplained(t *testing.T) {
	released := make(chan struct{})
	refusal := func(status int) http.HandlerFunc { return answer(status, "<html>no</html>") }
	hangs := func(http.ResponseWriter, *http.Request) { <-released }
	gone := newProxy(t, "", nil)
	gone.Close()
	cases := map[string]struct {
		proxy *connectProxy
		host  string // in place of the proxy's own
		want  string // PROXY stands for the proxy's host
		raw   string // in the text for logs
	}{
		"forbidden": {newProxy(t, "", refusal(403)), "",
			"asking the proxy PROXY for a connection to " + behindProxy + ": HTTP 403 Forbidden", "403 Forbidden"},
		"wants a password": {newProxy(t, "", refusal(407)), "",
			"asking the proxy PROXY for a connection to " + behindProxy + ": HTTP 407 Proxy Authentication Required", "407 Proxy"},
		"overloaded": {newProxy(t, "", refusal(503)), "",
			"asking the proxy PROXY for a connection to " + behindProxy + ": HTTP 503 Service Unavailable", "503 Service"},
		"a status of its own": {newProxy(t, "", refusal(599)), "",
			"asking the proxy PROXY for a connection to " + behindProxy + ": HTTP 599", "599"},
		"hangs": {newProxy(t, "", hangs), "",
			"asking the proxy PROXY for a connection to " + behindProxy + ": timed out", "deadline exceeded"},
		"hangs up": {newProxy(t, "", breaks(t, func(*net.TCPConn) {})), "",
			"asking the proxy PROXY for a connection to " + behindProxy + ": connection closed", "EOF"},
		"is not there":   {gone, "", "connecting to the proxy PROXY: connection refused", "proxyconnect tcp"},
		"is not known":   {gone, "proxy.invalid:3128", "looking up the proxy PROXY: ", "proxy.invalid"},
		"leads astray":   {newProxy(t, gone.Listener.Addr().String(), nil), "", "HTTP 502 Bad Gateway", "502"},
		"does not speak": {newProxy(t, "", breaks(t, func(c *net.TCPConn) { _, _ = io.WriteString(c, "SSH-2.0\r\n\r\n") })), "", "the connection failed", "malformed HTTP"},
	}
	t.Cleanup(func() { close(released) })
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			proxy := c.proxy.url(t)
			if c.host != "" {
				proxy.Host = c.host
			}
			timeout := 10 * time.Second
			if name == "hangs" {
				timeout = 500 * time.Millisecond
			}
			client, _ := through(t, proxy, timeout)
			_, err := client.AssignAddOn(t.Context(), testNumber, testAddOn)
			if got, want := ExplainAnswer(err), strings.ReplaceAll(c.want, "PROXY", proxy.Host); !strings.Contains(got, want) {
				t.Errorf("explained as %q, want %q", got, want)
			}
			if !strings.Contains(err.Error(), c.raw) {
				t.Errorf("the log's %q lacks %q", err.Error(), c.raw)
			}
			if text := err.Error() + Explain(err); strings.Contains(text, proxyPassword) || strings.Contains(text, proxyUser) {
				t.Errorf("the proxy's credentials are in %q", text)
			}
			if !IsTransient(err) || OutcomeUnknown(err) || asError(t, err).HTTPStatus != 0 {
				t.Errorf("%v: want a transient failure of a request that did not leave", err)
			}
		})
	}
}

// listen accepts connections, reads from them and says nothing, until the test ends.
func listen(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				_, _ = io.Copy(io.Discard, conn)
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() { _ = listener.Close(); all.Wait() })
	return listener.Addr().String()
}

func TestTimeoutsSayOfWhat(t *testing.T) {
	silent := listen(t)
	released := make(chan struct{})
	slow, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
		}
		<-released
	})
	t.Cleanup(func() { close(released) })
	host := slow.Listener.Addr().String()
	cases := map[string]struct {
		url  string
		call func(*Client, context.Context) error
		want string
	}{
		"the handshake": {"https://" + silent, (*Client).Verify, "TLS handshake with " + silent + ": timed out"},
		"the answer": {slow.URL, func(c *Client, ctx context.Context) error { return c.UnassignAddOn(ctx, testNumber, testAddOn) },
			"waiting for the answer of " + host + ": timed out"},
		"the body": {slow.URL, (*Client).Verify, "HTTP 200: reading the answer of " + host + ": timed out"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			err := c.call(newClient(t, c.url, Options{CallTimeout: 500 * time.Millisecond}), t.Context())
			if got := ExplainAnswer(err); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestWaitingForAConnectionIsExplained(t *testing.T) {
	released, arrived := make(chan struct{}), make(chan struct{}, 1)
	s, _ := serve(t, func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-released
	})
	l := NewLimiters(nil).For(testAccount)
	l.SetMaxConcurrency("test", 1)
	transport := NewTransport(1)
	t.Cleanup(transport.CloseIdleConnections)
	var first sync.WaitGroup
	first.Go(func() {
		_ = newClient(t, s.URL, Options{Limiter: l, Transport: transport}).Verify(t.Context())
	})
	<-arrived
	err := newClient(t, s.URL, Options{Limiter: l, Transport: transport, CallTimeout: 50 * time.Millisecond}).Verify(t.Context())
	if got, want := ExplainAnswer(err), "waiting for a free connection to "+s.Listener.Addr().String()+": timed out"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	close(released)
	first.Wait()
}

// The stages that a test cannot bring about on every machine.
func TestStagesAreNamed(t *testing.T) {
	const host = "api.twilio.com"
	plain := &url.URL{Scheme: "http", Host: "proxy.example:3128"}
	secure := &url.URL{Scheme: "https", Host: "proxy.example:3128"}
	cases := []struct {
		proxy   *url.URL
		reached []stage
		want    string
	}{
		{nil, nil, "calling " + host},
		{nil, []stage{stageQueued, stageLookup}, "looking up " + host},
		{nil, []stage{stageQueued, stageLookup, stageConnect}, "connecting to " + host},
		{nil, []stage{stageConnect, stageConnected}, "connecting to " + host},
		{nil, []stage{stageAnswer, stageConnect}, "waiting for the answer of " + host}, // a dial that is late
		{plain, []stage{stageLookup}, "looking up the proxy proxy.example:3128"},
		{plain, []stage{stageConnect}, "connecting to the proxy proxy.example:3128"},
		{plain, []stage{stageConnected, stageHandshake}, "TLS handshake with " + host},
		{secure, []stage{stageConnected, stageHandshake}, "TLS handshake with the proxy proxy.example:3128"},
		{secure, []stage{stageConnected, stageHandshake, stageHandshake}, "TLS handshake with " + host},
	}
	for _, c := range cases {
		var way trip
		for _, s := range c.reached {
			way.reach(s)
		}
		if got := way.where(host, c.proxy); got != c.want {
			t.Errorf("after %v through %v: %q, want %q", c.reached, c.proxy, got, c.want)
		}
	}
}

// childVariable marks a process of TestEnvironmentOfTheProcess's own.
const childVariable = "TWILIO_TEST_CHILD"

// TestEnvironmentOfTheProcess runs processes with an environment of their own: net/http
// and crypto/x509 read theirs once.
func TestEnvironmentOfTheProcess(t *testing.T) {
	ca := newPrivateCA(t)
	s := ca.serve(t, behindProxy, answer(200, numbersPage(testAccount, "")))
	proxy := newProxy(t, s.Listener.Addr().String(), nil)
	through := []string{"CONNECT " + behindProxy + ":443"}
	cases := map[string]struct {
		env     []string
		want    string // the beginning
		tunnels []string
	}{
		"a proxy and an authority": {[]string{"HTTPS_PROXY=" + proxy.url(t).String(), "SSL_CERT_FILE=" + ca.file(t)}, "verified", through},
		"in small letters":         {[]string{"https_proxy=" + proxy.url(t).String(), "SSL_CERT_FILE=" + ca.file(t)}, "verified", through},
		"without the authority": {[]string{"HTTPS_PROXY=" + proxy.url(t).String()},
			"TLS handshake with " + behindProxy + ": certificate for " + behindProxy + " issued by Example Corp Root is not trusted", through},
		"a host that is excepted": {[]string{"HTTPS_PROXY=" + proxy.url(t).String(), "NO_PROXY=other.invalid, .twilio.invalid", "SSL_CERT_FILE=" + ca.file(t)},
			"looking up " + behindProxy + ": ", nil},
		"a proxy for plain http alone": {[]string{"HTTP_PROXY=" + proxy.url(t).String(), "SSL_CERT_FILE=" + ca.file(t)},
			"looking up " + behindProxy + ": ", nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			proxy.mu.Lock()
			proxy.asked = nil
			proxy.mu.Unlock()
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChildProcess$")
			child.Env = append(slices.Clone(c.env), childVariable+"=https://"+behindProxy)
			out, err := child.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if !strings.Contains(string(out), "result: "+c.want) {
				t.Errorf("got %q, want %q", out, c.want)
			}
			if diff := cmp.Diff(c.tunnels, proxy.tunnels()); diff != "" {
				t.Errorf("tunnels (-want +got):\n%s", diff)
			}
		})
	}
}

// TestChildProcess is the other side of TestEnvironmentOfTheProcess.
func TestChildProcess(t *testing.T) {
	address := os.Getenv(childVariable)
	if address == "" {
		return
	}
	if err := newClient(t, address, Options{}).Verify(t.Context()); err != nil {
		fmt.Println("result:", ExplainAnswer(err))
		return
	}
	fmt.Println("result: verified")
}
