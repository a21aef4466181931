// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const (
	testAccount  = "AC00000000000000000000000000000001"
	testNumber   = "PN00000000000000000000000000000001"
	otherNumber  = "PN00000000000000000000000000000002"
	testAddOn    = "XE00000000000000000000000000000001"
	otherAddOn   = "XE00000000000000000000000000000002"
	testRequest  = "RQ0123456789abcdef0123456789abcdef"
	testPassword = "a-password-to-search-for"

	numbersPath = "/2010-04-01/Accounts/" + testAccount + "/IncomingPhoneNumbers"
	listPath    = numbersPath + "/" + testNumber + "/AssignedAddOns.json"
	addOnPath   = numbersPath + "/" + testNumber + "/AssignedAddOns/" + testAddOn + ".json"
)

// testProxy is the proxy of the environment, which net/http reads only once. Calls
// to loopback hosts, as all others of the tests are, never use one.
const testProxy = "http://proxy.example:3128"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Exit(m.Run())
	}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY"} {
		_ = os.Setenv(name, testProxy)
	}
	_ = os.Unsetenv("NO_PROXY")
	_ = os.Unsetenv("no_proxy")
	goleak.VerifyTestMain(m)
}

// server is a Twilio that answers as the test says and counts its connections.
type server struct {
	*httptest.Server

	mu       sync.Mutex
	dialled  int
	open     map[net.Conn]bool
	requests []string // method and URI, in order of arrival
}

// serve starts a server and a client of it. Both are gone, with every connection,
// when the test ends.
func serve(t *testing.T, handler http.HandlerFunc) (*server, *Client) {
	t.Helper()
	s := &server{open: map[net.Conn]bool{}}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r.Method+" "+r.URL.RequestURI())
		s.mu.Unlock()
		handler(w, r)
	}))
	s.Config.ConnState = s.connState
	s.Config.ErrorLog = nil
	s.Start()
	t.Cleanup(s.Close)
	return s, newClient(t, s.URL, Options{})
}

func (s *server) connState(conn net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch state {
	case http.StateNew:
		s.dialled++
		s.open[conn] = true
	case http.StateClosed, http.StateHijacked:
		delete(s.open, conn)
	}
}

// seen returns the requests so far.
func (s *server) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.requests...)
}

// connections returns how many were made and how many are open.
func (s *server) connections() (dialled, open int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dialled, len(s.open)
}

// newClient fills in what o leaves out.
func newClient(t *testing.T, baseURL string, o Options) *Client {
	t.Helper()
	transport := NewTransport(DefaultMaxConcurrency)
	t.Cleanup(transport.CloseIdleConnections)
	o.AccountSID, o.BaseURL = testAccount, baseURL
	o.Credentials = Credentials{Username: testAccount, Password: testPassword}
	if o.Transport == nil {
		o.Transport = transport
	}
	client, err := New(o)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return client
}

// answer is a handler for one fixed answer.
func answer(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// twilioError is Twilio's envelope.
func twilioError(status, code int, message string) string {
	return fmt.Sprintf(`{"code":%d,"message":%q,"more_info":"https://www.twilio.com/docs/errors/%d","status":%d}`,
		code, message, code, status)
}

// assignment is Twilio's form of an add-on assigned to a number, secrets included.
func assignment(pn, xe string) string {
	return fmt.Sprintf(`{"sid":%q,"account_sid":%q,"resource_sid":%q,"friendly_name":"VoiceBase",
		"description":"Transcribes calls","configuration":{"secret":"configured"},"unique_name":"voicebase",
		"date_created":"Thu, 07 Apr 2016 23:52:28 +0000","date_updated":"Thu, 07 Apr 2016 23:52:28 +0000",
		"uri":"/x.json","subresource_uris":{"extensions":"/y.json"}}`, xe, testAccount, pn)
}

// page is a list answer; an empty next is the last page's null.
func page(next string, items ...string) string {
	link := "null"
	if next != "" {
		link = fmt.Sprintf("%q", next)
	}
	return fmt.Sprintf(`{"assigned_add_ons":[%s],"page":0,"page_size":1000,"next_page_uri":%s}`,
		strings.Join(items, ","), link)
}

func wantAddOn(sid string) AssignedAddOn {
	return AssignedAddOn{
		SID:          sid,
		UniqueName:   "voicebase",
		FriendlyName: "VoiceBase",
		Description:  "Transcribes calls",
		DateUpdated:  time.Date(2016, 4, 7, 23, 52, 28, 0, time.UTC),
	}
}

func itoa(n int) string { return strconv.Itoa(n) }

// waitFor waits until done holds; it gives up after ten seconds.
func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for range 1000 {
		if done() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("waited for %s in vain", what)
}

// basicAuth is the value that the test's credentials have in a header.
func basicAuth() string { return encoded(testAccount, testPassword) }

func encoded(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}
