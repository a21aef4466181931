// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestValidateBaseURL(t *testing.T) {
	cases := []struct {
		url           string
		strict, loose bool // accepted without and with allowInsecure
	}{
		{"https://api.twilio.com", true, true},
		{"https://api.twilio.com/", true, true},
		{"https://api.dublin.ie1.twilio.com", true, true},
		{"https://proxy.example:8443/twilio/api", true, true},
		{"https://[2001:db8::1]:8443", true, true},
		{"HTTPS://api.twilio.com", true, true},
		{"http://127.0.0.1:8080", true, true},
		{"http://127.8.9.10", true, true},
		{"http://localhost:8080/", true, true},
		{"http://[::1]:8080", true, true},
		{"http://[::ffff:127.0.0.1]", true, true},
		{"http://twilio-sim.default.svc:8080", false, true},
		{"http://localhost.example", false, true},
		{"http://127.0.0.1.example", false, true},
		{"http://10.0.0.1", false, true},
		{"", false, false},
		{"api.twilio.com", false, false},
		{"//api.twilio.com", false, false},
		{"ftp://api.twilio.com", false, false},
		{"https:api.twilio.com", false, false},
		{"https://", false, false},
		{"https://:443", false, false},
		{"https://user:pass@api.twilio.com", false, false},
		{"https://@api.twilio.com", false, false},
		{"https://api.twilio.com?x=1", false, false},
		{"https://api.twilio.com?", false, false},
		{"https://api.twilio.com#x", false, false},
		{"https://api.twilio.com:0", false, false},
		{"https://api.twilio.com:", false, false},
		{"https://api.twilio.com:65536", false, false},
		{"https://api.twilio.com/../x", false, false},
		{"https://api.twilio.com/a//b", false, false},
		{"https://api.twilio.com/a%2fb", false, false},
		{"https://api.twilio.com/a\\b", false, false},
		{" https://api.twilio.com", false, false},
		{"https://api.twilio.com\n", false, false},
		{"https://api twilio.com", false, false},
		{"https://api.twilio.com/2010-04-01", false, false},
		{"https://api.twilio.com/2010-04-01/", false, false},
		{"https://proxy.example/2010-04-01/Accounts", false, false},
		{"https://proxy.example/v2010-04-01", true, true},
	}
	for _, c := range cases {
		strict, loose := ValidateBaseURL(c.url, false), ValidateBaseURL(c.url, true)
		if (strict == nil) != c.strict || (loose == nil) != c.loose {
			t.Errorf("%q: %v and, insecure, %v; want accepted: %v, %v", c.url, strict, loose, c.strict, c.loose)
		}
		if strict != nil && strings.Contains(strict.Error(), "pass") {
			t.Errorf("%q: the error shows the password: %v", c.url, strict)
		}
	}
}

func TestBaseURLWithTheAPIVersionIsExplained(t *testing.T) {
	const want = "the base URL contains the API version; leave out /2010-04-01: the operator adds it"
	if got := errorText(ValidateBaseURL("https://api.twilio.com/2010-04-01", false)); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNewChecksItsOptions(t *testing.T) {
	good := Options{AccountSID: testAccount, Credentials: Credentials{testAccount, testPassword}, Transport: NewTransport(1)}
	cases := map[string]func(*Options){
		"no account":          func(o *Options) { o.AccountSID = "" },
		"an API key as one":   func(o *Options) { o.AccountSID = "SK" + testAccount[2:] },
		"no password":         func(o *Options) { o.Credentials.Password = "" },
		"a user of our own":   func(o *Options) { o.Credentials.Username = "me" },
		"a bad base URL":      func(o *Options) { o.BaseURL = "http://twilio.example" },
		"no transport at all": func(o *Options) { o.Transport = nil },
	}
	if _, err := New(good); err != nil {
		t.Errorf("good options: %v", err)
	}
	for name, spoil := range cases {
		o := good
		spoil(&o)
		if client, err := New(o); err == nil || client != nil {
			t.Errorf("%s: got %v, %v; want an error", name, client, err)
		}
	}
}

func TestReadOnlySendsOnlyGET(t *testing.T) {
	s, client := serve(t, answer(200, page("")))
	reader := client.ReadOnly()
	_, assignErr := reader.AssignAddOn(t.Context(), testNumber, testAddOn)
	for _, err := range []error{assignErr, reader.UnassignAddOn(t.Context(), testNumber, testAddOn)} {
		if !errors.Is(err, ErrReadOnly) || OutcomeUnknown(err) {
			t.Errorf("got %v, want ErrReadOnly and a known outcome", err)
		}
	}
	if _, err := reader.ListAssignedAddOns(t.Context(), testNumber); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"GET " + listPath + "?PageSize=1000"}, s.seen()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if err := client.UnassignAddOn(t.Context(), testNumber, testAddOn); errors.Is(err, ErrReadOnly) {
		t.Error("the client it was made from cannot write any more")
	}
}

// breaks answers nothing but what do does to the connection.
func breaks(t *testing.T, do func(*net.TCPConn)) http.HandlerFunc {
	t.Helper()
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Errorf("Hijack: %v", err)
			return
		}
		defer func() { _ = conn.Close() }()
		do(conn.(*net.TCPConn))
	}
}

func TestNetworkFailuresAreTypedAndExplained(t *testing.T) {
	reset, _ := serve(t, breaks(t, func(c *net.TCPConn) { _ = c.SetLinger(0) }))
	closed, _ := serve(t, breaks(t, func(*net.TCPConn) {}))
	short, _ := serve(t, breaks(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "HTTP/1.1 201 Created\r\nContent-Length: 500\r\n\r\n{\"sid\":")
	}))
	plain, _ := serve(t, answer(200, ""))
	unused, _ := serve(t, answer(200, ""))
	unused.Close()
	secure := serveTLS(t, answer(200, page("")))

	cases := map[string]struct {
		url, want string
		unknown   bool
	}{
		"reset":          {reset.URL, "waiting for the answer of HOST: connection reset", true},
		"closed":         {closed.URL, "waiting for the answer of HOST: connection closed", true},
		"cut short":      {short.URL, "HTTP 201: reading the answer of HOST: connection closed", true},
		"nobody listens": {unused.URL, "connecting to HOST: connection refused", false},
		"unknown CA":     {secure.URL, "TLS handshake with HOST: certificate for Acme Co issued by Acme Co is not trusted", false},
		"no TLS at all":  {strings.Replace(plain.URL, "http:", "https:", 1), "TLS handshake with HOST: the server does not speak TLS", false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			client := newClient(t, c.url, Options{})
			_, err := client.AssignAddOn(t.Context(), testNumber, testAddOn)
			if !IsTransient(err) || OutcomeUnknown(err) != c.unknown {
				t.Errorf("got %v, outcome unknown %v; want a transient error, %v", err, OutcomeUnknown(err), c.unknown)
			}
			_, host, _ := strings.Cut(c.url, "://")
			if got, want := Explain(err), "assigning the add-on: "+strings.ReplaceAll(c.want, "HOST", host); got != want {
				t.Errorf("explained as %q, want %q", got, want)
			}
		})
	}
}

func serveTLS(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestTransportSpeaksHTTP2AndModernTLS(t *testing.T) {
	var mu sync.Mutex
	protocols := map[string]int{}
	s := serveTLS(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		protocols[r.Proto]++
		_, _ = w.Write([]byte(page("")))
	})
	trusting := func() *Transport {
		transport := NewTransport(1)
		transport.TLSClientConfig.RootCAs = s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
		t.Cleanup(transport.CloseIdleConnections)
		return transport
	}
	client := newClient(t, s.URL, Options{Transport: trusting()})
	for range 3 {
		if _, err := client.ListAssignedAddOns(t.Context(), testNumber); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(map[string]int{"HTTP/2.0": 3}, protocols); diff != "" {
		t.Errorf("protocols (-want +got):\n%s", diff)
	}

	s.TLS.MaxVersion = tls.VersionTLS11
	s.TLS.MinVersion = tls.VersionTLS10
	_, err := newClient(t, s.URL, Options{Transport: trusting()}).ListAssignedAddOns(t.Context(), testNumber)
	if got, want := Explain(err), "listing the assigned add-ons: TLS handshake with "+s.Listener.Addr().String()+": the server refused: protocol version not supported"; got != want {
		t.Errorf("TLS 1.1: %q, want %q", got, want)
	}
}

// A certificate that is trusted, but is somebody else's or has run out, is as good as none:
// no request is sent.
func TestCertificateMustBeOfTheHostAndCurrent(t *testing.T) {
	asked := make(chan string, 10)
	s := serveTLS(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Method
		_, _ = w.Write([]byte(page("")))
	})
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	transport := NewTransport(1)
	transport.TLSClientConfig.RootCAs = s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	t.Cleanup(transport.CloseIdleConnections)

	// The certificate is for 127.0.0.1 and example.com.
	_, err = newClient(t, "https://localhost:"+port, Options{Transport: transport}).ListAssignedAddOns(t.Context(), testNumber)
	if got, want := Explain(err), "listing the assigned add-ons: TLS handshake with localhost:"+port+": certificate for Acme Co issued by Acme Co is not for this host"; got != want {
		t.Errorf("another host's certificate: %q, want %q", got, want)
	}
	transport.TLSClientConfig.Time = func() time.Time { return s.Certificate().NotAfter.Add(time.Second) }
	_, err = newClient(t, s.URL, Options{Transport: transport}).ListAssignedAddOns(t.Context(), testNumber)
	if got, want := Explain(err), "listing the assigned add-ons: TLS handshake with 127.0.0.1:"+port+": certificate for Acme Co issued by Acme Co has expired or is not yet valid"; got != want {
		t.Errorf("a certificate that has run out: %q, want %q", got, want)
	}
	if len(asked) > 0 {
		t.Errorf("%d requests were sent", len(asked))
	}
}

func TestProxyOfTheEnvironmentIsNotForPlainHTTP(t *testing.T) {
	through := func(target string) string {
		proxy, err := NewTransport(1).Proxy(httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody))
		if err != nil {
			t.Fatal(err)
		}
		if proxy == nil {
			return ""
		}
		return proxy.String()
	}
	if got := through("http://twilio-sim.example/"); got != "" {
		t.Errorf("plain http goes through %q", got)
	}
	if got := through("https://api.twilio.com/"); got != testProxy {
		t.Errorf("https goes through %q, want %q", got, testProxy)
	}
}

// TestConnectionsAreReused: with so many callers at a time, no more connections than
// callers are open, and next to none is made anew. (On a machine so busy that writing
// a request takes 50 ms, net/http gives one up.)
func TestConnectionsAreReused(t *testing.T) {
	const callers = DefaultMaxConcurrency
	s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
		case http.MethodPost:
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write([]byte(assignment(testNumber, testAddOn)))
		default:
			_, _ = w.Write([]byte(page("", assignment(testNumber, testAddOn))))
		}
	})
	client := newClient(t, s.URL, Options{Limiter: NewLimiters(nil).For(testAccount)})
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range 50 {
				_, listErr := client.ListAssignedAddOns(t.Context(), testNumber)
				_, assignErr := client.AssignAddOn(t.Context(), testNumber, testAddOn)
				unassignErr := client.UnassignAddOn(t.Context(), testNumber, testAddOn)
				if err := errors.Join(listErr, assignErr, unassignErr); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	waitFor(t, "the connections to be as many as callers at most", func() bool {
		_, open := s.connections()
		return open <= callers
	})
	if dialled, _ := s.connections(); dialled > 2*callers {
		t.Errorf("%d connections made for %d callers and 1200 calls", dialled, callers)
	}
}

// TestConnectionsFollowTheMaximum: a lower maximum closes what is too many.
func TestConnectionsFollowTheMaximum(t *testing.T) {
	s, _ := serve(t, answer(200, page("")))
	l := NewLimiters(nil).For(testAccount)
	client := newClient(t, s.URL, Options{Limiter: l})
	for _, maximum := range []int{5, 2} {
		l.SetMaxConcurrency("test", maximum)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if _, err := client.ListAssignedAddOns(t.Context(), testNumber); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		waitFor(t, "the connections to be "+itoa(maximum)+" at most", func() bool {
			_, open := s.connections()
			return open <= maximum
		})
	}
}

func TestTransportsOfSilentAccountsAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := NewTransport(1)
		first := shared.of(testAccount, 1)
		time.Sleep(forgetTransport - time.Second)
		if shared.of(testAccount, 1) != first {
			t.Error("an account in use lost its connections")
		}
		time.Sleep(forgetTransport)
		shared.of(otherAccount, 1)
		if got := len(shared.byAccount); got != 1 {
			t.Errorf("%d transports are kept, want 1", got)
		}
	})
}
