// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// The tests of this file show, on real connections, that what twilio-go v1.31.0
// does wrong by itself does not reach the callers of Client.

var ignoreErr = cmpopts.IgnoreFields(Error{}, "Err")

// asError fails the test unless err is the package's one error type.
func asError(t *testing.T, err error) *Error {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("got %T (%v), want *Error", err, err)
	}
	return e
}

func TestDefect01ContextEndsACall(t *testing.T) {
	released := make(chan struct{})
	s, client := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-released:
		}
	})
	defer close(released)
	quick := newClient(t, s.URL, Options{CallTimeout: 20 * time.Millisecond})

	canceled, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	expired, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	cases := map[string]struct {
		client *Client
		ctx    context.Context
		want   error
	}{
		"the caller gives up":              {client, canceled, context.Canceled},
		"the caller's deadline passes":     {client, expired, context.DeadlineExceeded},
		"the client's own timeout passes":  {quick, t.Context(), context.DeadlineExceeded},
		"the caller had given up before":   {client, canceled, context.Canceled},
		"the deadline had passed before":   {client, expired, context.DeadlineExceeded},
		"the timeout is for each call new": {quick, t.Context(), context.DeadlineExceeded},
	}
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		c := cases[name]
		if err := c.client.UnassignAddOn(c.ctx, testNumber, testAddOn); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func TestDefect01TimeoutCoversTheBody(t *testing.T) {
	released := make(chan struct{})
	s, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-released
	})
	defer close(released)
	client := newClient(t, s.URL, Options{CallTimeout: 50 * time.Millisecond})
	_, err := client.ListAssignedAddOns(t.Context(), testNumber)
	if !errors.Is(err, context.DeadlineExceeded) || asError(t, err).HTTPStatus != http.StatusOK {
		t.Errorf("got %v, want a timeout while the answer was read", err)
	}
}

// flushed answers without a Content-Length.
func flushed(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_ = http.NewResponseController(w).Flush()
		_, _ = w.Write([]byte(body))
	}
}

func TestDefect02NoAnswerLeaksAConnection(t *testing.T) {
	html := "<html>" + strings.Repeat("upstream ", 60<<10/9) + "</html>"
	notFound := twilioError(404, 20404, "The requested resource was not found")
	cases := map[string]http.HandlerFunc{
		"200 JSON with a length":      answer(200, page(""), "Content-Length", itoa(len(page("")))),
		"200 JSON chunked":            flushed(200, page("")),
		"200 JSON with a tail":        flushed(200, page("")+strings.Repeat(" ", 8<<10)),
		"200 alien":                   flushed(200, html),
		"404 JSON with a length":      answer(404, notFound),
		"404 JSON chunked":            flushed(404, notFound),
		"400 JSON with 8 KiB of tail": flushed(400, twilioError(400, 20422, "Invalid")+strings.Repeat(" ", 8<<10)),
		"502 short HTML":              answer(502, "<html>bad gateway</html>"),
		"503 60 KB HTML chunked":      flushed(503, html),
		"503 60 KB HTML":              answer(503, html, "Content-Length", itoa(len(html))),
		"503 empty":                   answer(503, ""),
		"307 to elsewhere":            answer(307, html, "Location", "/elsewhere"),
	}
	for name, handler := range cases {
		t.Run(name, func(t *testing.T) {
			s, client := serve(t, handler)
			before := runtime.NumGoroutine()
			for range 50 {
				_, _ = client.ListAssignedAddOns(t.Context(), testNumber)
			}
			// A connection has two goroutines here and one at the server.
			if grown := runtime.NumGoroutine() - before; grown > 4 {
				t.Errorf("%d goroutines more after 50 calls", grown)
			}
			waitFor(t, "one connection to be open", func() bool {
				_, open := s.connections()
				return open == 1
			})
			// One, but for a machine so busy that writing a request takes 50 ms.
			if dialled, _ := s.connections(); dialled > 3 {
				t.Errorf("%d connections made for 50 calls in a row", dialled)
			}
		})
	}
}

func TestDefect02OversizedAnswerIsCutOff(t *testing.T) {
	written := make(chan int, 1)
	_, client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		chunk, total := []byte(strings.Repeat(" ", 1<<20)), 0
		for range 64 {
			n, err := w.Write(chunk)
			if total += n; err != nil {
				break
			}
		}
		written <- total
	})
	_, err := client.AssignAddOn(t.Context(), testNumber, testAddOn)
	if got, want := Explain(err), "assigning the add-on: HTTP 200: the answer is larger than 8 MiB"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !IsTransient(err) || !OutcomeUnknown(err) {
		t.Errorf("an oversized answer to a write must be transient with an unknown outcome: %v", err)
	}
	if total := <-written; total > 40<<20 {
		t.Errorf("%d bytes were taken in", total)
	}
}

func TestDefect03EveryRefusalIsTyped(t *testing.T) {
	cases := map[string]struct {
		status int
		body   string
		want   Error
		is     func(error) bool
	}{
		"Twilio's own": {404, twilioError(404, 20404, "not found"),
			Error{Code: 20404, Message: "not found", MoreInfo: "https://www.twilio.com/docs/errors/20404"}, IsNotFound},
		"code as a string": {404, `{"code":"20404","message":"not found","status":404}`,
			Error{Code: 20404, Message: "not found"}, IsNotFound},
		"message of the wrong type":   {400, `{"code":20422,"message":["x"]}`, Error{Code: 20422}, IsRejected},
		"HTML 404 of a proxy":         {404, "<html>404</html>", Error{}, IsTransient},
		"JSON 404 of a gateway":       {404, `{"message":"no Route matched with those values"}`, Error{}, IsTransient},
		"JSON 404 that repeats it":    {404, `{"code":404,"message":"not found"}`, Error{}, IsTransient},
		"HTML 401 of a proxy":         {401, "<html>login</html>", Error{}, IsTransient},
		"HTML 403 of a firewall":      {403, "<html>denied</html>", Error{}, IsTransient},
		"HTML 400 of a load balancer": {400, "<html>bad request</html>", Error{}, IsTransient},
		"empty object":                {404, `{}`, Error{}, IsTransient},
		"null":                        {404, `null`, Error{}, IsTransient},
		"truncated":                   {404, `{"code":20404,"mess`, Error{}, IsTransient},
		"empty":                       {404, ``, Error{}, IsTransient},
		"XML, as without .json":       {404, `<?xml version="1.0"?><TwilioResponse/>`, Error{}, IsTransient},
		"HTML 503":                    {503, "<html>unavailable</html>", Error{}, IsTransient},
		"JSON 503": {503, twilioError(503, 20503, "try again"),
			Error{Code: 20503, Message: "try again", MoreInfo: "https://www.twilio.com/docs/errors/20503"}, IsTransient},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, client := serve(t, answer(c.status, c.body))
			_, err := client.GetAssignedAddOn(t.Context(), testNumber, testAddOn)
			c.want.Operation, c.want.HTTPStatus, c.want.Sent = OpGetAssigned, c.status, true
			if diff := cmp.Diff(&c.want, asError(t, err), ignoreErr); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if !c.is(err) {
				t.Errorf("wrong class: %v", err)
			}
		})
	}
}

func TestDefect04HeadersOfARefusalAreKept(t *testing.T) {
	_, client := serve(t, answer(503, twilioError(503, 20503, "try again"),
		"Retry-After", "7", "Twilio-Request-Id", testRequest))
	err := client.UnassignAddOn(t.Context(), testNumber, testAddOn)
	if wait, ok := RetryAfter(err); wait != 7*time.Second || !ok {
		t.Errorf("RetryAfter = %v, %v; want 7s, true", wait, ok)
	}
	if got := RequestID(err); got != testRequest {
		t.Errorf("RequestID = %q, want %q", got, testRequest)
	}
	if got := err.Error(); !strings.Contains(got, testRequest) {
		t.Errorf("Error() = %q lacks the request id", got)
	}
}

func TestDefect05StatusIsThatOfTheStatusLine(t *testing.T) {
	_, client := serve(t, answer(503, twilioError(404, 20404, "not found")))
	err := client.UnassignAddOn(t.Context(), testNumber, testAddOn)
	if IsNotFound(err) || !IsTransient(err) || asError(t, err).HTTPStatus != 503 {
		t.Errorf("a 503 whose body speaks of 404 is a 503; got %v", err)
	}
}

func TestDefect06RedirectOnDeleteIsNotSuccess(t *testing.T) {
	for _, status := range []int{301, 302, 303, 304, 307, 308} {
		s, client := serve(t, answer(status, "", "Location", "/elsewhere"))
		err := client.UnassignAddOn(t.Context(), testNumber, testAddOn)
		if !IsTransient(err) || !OutcomeUnknown(err) || asError(t, err).HTTPStatus != status {
			t.Errorf("%d: got %v, want a transient error with an unknown outcome", status, err)
		}
		if diff := cmp.Diff([]string{"DELETE " + addOnPath}, s.seen()); diff != "" {
			t.Errorf("%d: requests (-want +got):\n%s", status, diff)
		}
	}
}

func TestDefect06OnlyNoContentIsSuccessOfADelete(t *testing.T) {
	for _, status := range []int{200, 201, 202, 205, 206} {
		_, client := serve(t, answer(status, ""))
		if err := client.UnassignAddOn(t.Context(), testNumber, testAddOn); !IsTransient(err) || !OutcomeUnknown(err) {
			t.Errorf("%d: got %v, want a transient error with an unknown outcome", status, err)
		}
	}
	_, client := serve(t, answer(204, ""))
	if err := client.UnassignAddOn(t.Context(), testNumber, testAddOn); err != nil {
		t.Errorf("204: %v", err)
	}
}

func TestDefect06RedirectOnCreateIsNotFollowed(t *testing.T) {
	s, client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			_, _ = w.Write([]byte(assignment(testNumber, testAddOn)))
			return
		}
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	addOn, err := client.AssignAddOn(t.Context(), testNumber, testAddOn)
	if !IsTransient(err) || !OutcomeUnknown(err) || addOn != (AssignedAddOn{}) {
		t.Errorf("got %v, %v; want a transient error with an unknown outcome", addOn, err)
	}
	if got := len(s.seen()); got != 1 {
		t.Errorf("%d requests, want 1", got)
	}
}

func TestDefect06SwitchingProtocolsDoesNotHang(t *testing.T) {
	_, client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, stream, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Errorf("Hijack: %v", err)
			return
		}
		_, _ = stream.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		_ = stream.Flush()
		t.Cleanup(func() { _ = conn.Close() })
	})
	if err := client.Verify(t.Context()); !IsTransient(err) || asError(t, err).HTTPStatus != 101 {
		t.Errorf("got %v, want a transient error", err)
	}
}

func TestDefect07ListingErrorDoesNotPanic(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404, 409, 429, 500, 503} {
		_, client := serve(t, answer(status, twilioError(status, 20000+status, "no"), "Retry-After", "3"))
		addOns, err := client.ListAssignedAddOns(t.Context(), testNumber)
		if err == nil || addOns != nil {
			t.Errorf("%d: got %v, %v; want nil and an error", status, addOns, err)
		}
	}
}

func TestDefect08AlienJSONIsNotAnEmptyList(t *testing.T) {
	foreign := strings.Replace(assignment(testNumber, testAddOn), testAccount, "AC00000000000000000000000000000002", 1)
	cases := map[string]string{
		"another object":           `{"ok":true}`,
		"an empty object":          `{}`,
		"null":                     `null`,
		"an array":                 `[]`,
		"a string":                 `"assigned_add_ons"`,
		"nothing":                  ``,
		"HTML":                     `<html></html>`,
		"a list of null":           `{"assigned_add_ons":null}`,
		"a list that is none":      `{"assigned_add_ons":{}}`,
		"the key in other letters": `{"Assigned_Add_Ons":[]}`,
		"an item that is null":     page("", "null"),
		"an item without a SID":    page("", `{"resource_sid":"`+testNumber+`"}`),
		"a SID of another kind":    page("", assignment(testNumber, testNumber)),
		"a SID of another type":    page("", `{"sid":7,"resource_sid":"`+testNumber+`"}`),
		"another number":           page("", assignment(otherNumber, testAddOn)),
		"another account":          page("", foreign),
		"no number":                page("", `{"sid":"`+testAddOn+`"}`),
		"one good, one of another": page("", assignment(testNumber, testAddOn), assignment(otherNumber, otherAddOn)),
		"truncated":                page("", assignment(testNumber, testAddOn))[:200],
		"with something after it":  page("") + `{}`,
		"a link of another type":   `{"assigned_add_ons":[],"next_page_uri":7}`,
	}
	for name, body := range cases {
		t.Run(name, func(t *testing.T) {
			_, client := serve(t, answer(200, body))
			addOns, err := client.ListAssignedAddOns(t.Context(), testNumber)
			if addOns != nil || !IsTransient(err) || asError(t, err).HTTPStatus != 200 {
				t.Errorf("got %v, %v; want nil and a transient error", addOns, err)
			}
		})
	}
}

func TestDefect08AlienItemIsNotAnAnswer(t *testing.T) {
	cases := map[string]string{
		"another object":     `{"ok":true}`,
		"null":               `null`,
		"another number":     assignment(otherNumber, testAddOn),
		"another assignment": assignment(testNumber, otherAddOn),
		"no SID":             `{"resource_sid":"` + testNumber + `"}`,
		"truncated":          assignment(testNumber, testAddOn)[:100],
	}
	for name, body := range cases {
		t.Run(name, func(t *testing.T) {
			_, client := serve(t, answer(200, body))
			addOn, err := client.GetAssignedAddOn(t.Context(), testNumber, testAddOn)
			if addOn != (AssignedAddOn{}) || !IsTransient(err) {
				t.Errorf("got %v, %v; want nothing and a transient error", addOn, err)
			}
		})
	}
	_, client := serve(t, answer(200, `{"sid":"`+otherNumber+`","phone_number":"+14155550100"}`))
	if number, err := client.GetPhoneNumber(t.Context(), testNumber); number != (PhoneNumber{}) || !IsTransient(err) {
		t.Errorf("another number: got %v, %v; want nothing and a transient error", number, err)
	}
}

func TestDefect09CreatedWithoutABodyIsAnUnknownOutcome(t *testing.T) {
	for _, body := range []string{"", "{}", "<html></html>", assignment(otherNumber, testAddOn)} {
		_, client := serve(t, answer(201, body))
		_, err := client.AssignAddOn(t.Context(), testNumber, testAddOn)
		if !IsTransient(err) || !OutcomeUnknown(err) {
			t.Errorf("%q: got %v, want a transient error with an unknown outcome", body, err)
		}
	}
}

func TestDefect10QueryIsSentAsTwilioGaveIt(t *testing.T) {
	const next = listPath + "?PageSize=1000&Page=1&PageToken=PA.77x&FriendlyName=line-v1.25.3&Q=a%2Fb%20c"
	s, client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("PageToken") {
			_, _ = w.Write([]byte(page("", assignment(testNumber, otherAddOn))))
			return
		}
		_, _ = w.Write([]byte(page(next, assignment(testNumber, testAddOn))))
	})
	addOns, err := client.ListAssignedAddOns(t.Context(), testNumber)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]AssignedAddOn{wantAddOn(testAddOn), wantAddOn(otherAddOn)}, addOns); diff != "" {
		t.Errorf("add-ons (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"GET " + listPath + "?PageSize=1000", "GET " + next}, s.seen()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestDefect11OnlySIDsReachThePath(t *testing.T) {
	s, client := serve(t, answer(204, ""))
	bad := []string{"", "XE", "../../" + testNumber, testAddOn + "?x=", testAddOn + "\n", " " + testAddOn,
		testAddOn + "/Extensions", "XE0000000000000000000000000000000g", testNumber, "xe" + testAddOn[2:]}
	for _, sid := range bad {
		_, getErr := client.GetAssignedAddOn(t.Context(), testNumber, sid)
		_, assignErr := client.AssignAddOn(t.Context(), testNumber, sid)
		unassignErr := client.UnassignAddOn(t.Context(), testNumber, sid)
		for _, err := range []error{getErr, assignErr, unassignErr} {
			if !IsRejected(err) || OutcomeUnknown(err) || asError(t, err).Sent {
				t.Errorf("add-on %q: got %v, want a rejection before anything was sent", sid, err)
			}
		}
	}
	for _, sid := range []string{"", testAddOn, testNumber + "/..", testNumber + "?"} {
		_, getErr := client.GetPhoneNumber(t.Context(), sid)
		_, listErr := client.ListAssignedAddOns(t.Context(), sid)
		_, hasErr := client.HasPhoneNumber(t.Context(), sid, testE164)
		_, assignErr := client.AssignAddOn(t.Context(), sid, testAddOn)
		unassignErr := client.UnassignAddOn(t.Context(), sid, testAddOn)
		for _, err := range []error{getErr, listErr, hasErr, assignErr, unassignErr} {
			if !IsRejected(err) {
				t.Errorf("number %q: got %v, want a rejection", sid, err)
			}
		}
	}
	if got := s.seen(); len(got) != 0 {
		t.Errorf("requests were sent: %v", got)
	}
}

func TestDefect12CreateSendsItsParameter(t *testing.T) {
	_, client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || r.PostFormValue("InstalledAddOnSid") != testAddOn {
			t.Errorf("form %v of type %q", r.PostForm, r.Header.Get("Content-Type"))
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(assignment(testNumber, otherAddOn)))
	})
	addOn, err := client.AssignAddOn(t.Context(), testNumber, testAddOn)
	if diff := cmp.Diff(wantAddOn(otherAddOn), addOn); err != nil || diff != "" {
		t.Errorf("the SID may differ from the one posted: %v (-want +got):\n%s", err, diff)
	}
}

func TestDefect13PasswordMayHaveAnyPrintableCharacter(t *testing.T) {
	const password = "p@ss/wörd"
	credentials, err := ParseCredentials(testAccount, map[string][]byte{KeyAuthToken: []byte("t0ken-_.~!:@\r\n")})
	if err != nil {
		t.Fatal(err)
	}
	s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if user, pass, _ := r.BasicAuth(); user != testAccount || pass != "t0ken-_.~!:@" {
			t.Errorf("authenticated as %q with %q", user, pass)
		}
		_, _ = w.Write([]byte(numbersPage(testAccount, "")))
	})
	transport := NewTransport(1)
	defer transport.CloseIdleConnections()
	client, err := New(Options{AccountSID: testAccount, BaseURL: s.URL, Credentials: credentials, Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	_, err = New(Options{AccountSID: testAccount, Credentials: Credentials{testAccount, password}, Transport: transport})
	if err == nil || strings.Contains(err.Error(), password) {
		t.Errorf("got %v, want an error that does not show the password", err)
	}
}

func TestDefect14MissingCredentialsAreAnError(t *testing.T) {
	if _, err := New(Options{AccountSID: testAccount, Transport: NewTransport(1)}); err == nil {
		t.Error("New took no credentials")
	}
}

func TestDefect15EnvironmentChangesNothing(t *testing.T) {
	for _, name := range []string{"TWILIO_EDGE", "TWILIO_REGION", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"} {
		t.Setenv(name, "ie1")
	}
	s, client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if user, pass, _ := r.BasicAuth(); user != testAccount || pass != testPassword {
			t.Errorf("authenticated as %q with %q", user, pass)
		}
		_, _ = w.Write([]byte(page("")))
	})
	if _, err := client.ListAssignedAddOns(t.Context(), testNumber); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"GET " + listPath + "?PageSize=1000"}, s.seen()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	hosts := &recorder{}
	client = newClient(t, DefaultBaseURL, Options{Transport: hosts})
	_ = client.Verify(t.Context())
	if want := []string{"https://api.twilio.com" + numbersPath + ".json?PageSize=1"}; !slices.Equal(hosts.urls, want) {
		t.Errorf("requests to %v, want %v", hosts.urls, want)
	}
}

// recorder is a transport that leads nowhere.
type recorder struct{ urls []string }

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	r.urls = append(r.urls, req.URL.String())
	return nil, errors.New("nowhere")
}

func TestDefect16BaseURLMayHaveAPath(t *testing.T) {
	next := listPath + "?PageSize=1000&Page=1&PageToken=PA1"
	s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("PageToken") {
			next = ""
		}
		_, _ = w.Write([]byte(page(next)))
	})
	for _, suffix := range []string{"/twilio/api", "/twilio/api/", "/twilio/api//"} {
		next = listPath + "?PageSize=1000&Page=1&PageToken=PA1"
		s.requests = nil
		client := newClient(t, s.URL+suffix, Options{})
		if _, err := client.ListAssignedAddOns(t.Context(), testNumber); err != nil {
			t.Error(err)
		}
		want := []string{"GET /twilio/api" + listPath + "?PageSize=1000",
			"GET /twilio/api" + listPath + "?PageSize=1000&Page=1&PageToken=PA1"}
		if diff := cmp.Diff(want, s.seen()); diff != "" {
			t.Errorf("%s: requests (-want +got):\n%s", suffix, diff)
		}
	}
}

func TestDefect17ListingIsCompleteOrAnError(t *testing.T) {
	first := page(listPath+"?Page=1&PageToken=PA1", assignment(testNumber, testAddOn))
	cases := map[string]struct {
		second http.HandlerFunc
		calls  int
	}{
		"the second page leads to itself": {answer(200, page(listPath+"?Page=1&PageToken=PA1")), 2},
		"the second page fails":           {answer(503, ""), 2},
		"the second page is alien":        {answer(200, `{}`), 2},
		"the second page is not found":    {answer(404, twilioError(404, 20404, "gone")), 2},
		"to another host":                 {answer(200, page("https://evil.example"+listPath+"?Page=2")), 2},
		"to another host without scheme":  {answer(200, page("//evil.example"+listPath+"?Page=2")), 2},
		"to another number":               {answer(200, page(numbersPath+"/"+otherNumber+"/AssignedAddOns.json?Page=2")), 2},
		"to another resource":             {answer(200, page(numbersPath+".json?Page=2")), 2},
		"without a query":                 {answer(200, page(listPath)), 2},
		"with credentials":                {answer(200, page("https://u:p@api.twilio.com"+listPath+"?Page=2")), 2},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s, client := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Has("PageToken") {
					c.second(w, r)
					return
				}
				_, _ = w.Write([]byte(first))
			})
			addOns, err := client.ListAssignedAddOns(t.Context(), testNumber)
			if err == nil || addOns != nil {
				t.Errorf("got %v, %v; want nil and an error", addOns, err)
			}
			if got := len(s.seen()); got != c.calls {
				t.Errorf("%d calls, want %d", got, c.calls)
			}
		})
	}
}

func TestDefect17EndlessPagesEnd(t *testing.T) {
	n := 0
	s, client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		n++
		_, _ = w.Write([]byte(page(listPath + "?Page=1&PageToken=PA" + itoa(n))))
	})
	if addOns, err := client.ListAssignedAddOns(t.Context(), testNumber); err == nil || addOns != nil {
		t.Errorf("got %v, %v; want nil and an error", addOns, err)
	}
	if got := len(s.seen()); got != maxPages {
		t.Errorf("%d calls, want %d", got, maxPages)
	}
}

func TestDefect17ItemsThatComeTwiceCountOnce(t *testing.T) {
	_, client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("PageToken") {
			_, _ = w.Write([]byte(page("", assignment(testNumber, testAddOn), assignment(testNumber, otherAddOn))))
			return
		}
		_, _ = w.Write([]byte(page("http://"+r.Host+listPath+"?PageToken=PA1", assignment(testNumber, testAddOn))))
	})
	addOns, err := client.ListAssignedAddOns(t.Context(), testNumber)
	if diff := cmp.Diff([]AssignedAddOn{wantAddOn(testAddOn), wantAddOn(otherAddOn)}, addOns); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestDefect18AbandonedListingsLeaveNothing(t *testing.T) {
	released := make(chan struct{})
	_, client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("PageToken") {
			select {
			case <-r.Context().Done():
			case <-released:
			}
			return
		}
		_, _ = w.Write([]byte(page(listPath+"?PageToken=PA1", assignment(testNumber, testAddOn))))
	})
	defer close(released)
	before := runtime.NumGoroutine()
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		if _, err := client.ListAssignedAddOns(ctx, testNumber); err == nil {
			t.Error("an abandoned listing succeeded")
		}
		cancel()
	}
	waitFor(t, "the goroutines to end", func() bool { return runtime.NumGoroutine() <= before+4 })
}

func TestDefect19EveryRequestIsAuthenticated(t *testing.T) {
	unauthenticated := 0
	s, client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if user, pass, ok := r.BasicAuth(); !ok || user != testAccount || pass != testPassword {
			unauthenticated++
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	callAll(t, client)
	if got := len(s.seen()); got != 8 || unauthenticated != 0 {
		t.Errorf("%d requests, %d of them not authenticated; want 8 and 0", got, unauthenticated)
	}
}

// callAll makes each of the eight calls and fails the test where one succeeds.
func callAll(t *testing.T, client *Client) {
	t.Helper()
	_, e1 := client.GetPhoneNumber(t.Context(), testNumber)
	_, e2 := client.ListAssignedAddOns(t.Context(), testNumber)
	_, e3 := client.GetAssignedAddOn(t.Context(), testNumber, testAddOn)
	_, e4 := client.AssignAddOn(t.Context(), testNumber, testAddOn)
	e5 := client.UnassignAddOn(t.Context(), testNumber, testAddOn)
	_, e6 := client.HasPhoneNumber(t.Context(), testNumber, testE164)
	_, e7 := client.ListPhoneNumbers(t.Context())
	for i, err := range []error{client.Verify(t.Context()), e1, e2, e3, e4, e5, e6, e7} {
		if err == nil {
			t.Errorf("call %d succeeded", i)
		}
	}
}

func TestDefect20AFailedCallIsNotSentAgain(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404, 408, 409, 422, 500, 502, 503, 504} {
		s, client := serve(t, answer(status, twilioError(status, 20500, "no")))
		callAll(t, client)
		if got := len(s.seen()); got != 8 {
			t.Errorf("%d: %d requests for 8 calls", status, got)
		}
	}
}

func TestDefect21CredentialsDoNotFollowARedirect(t *testing.T) {
	elsewhere := 0
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	defer other.Close()
	_, client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+r.URL.Path, http.StatusPermanentRedirect)
	})
	callAll(t, client)
	if elsewhere != 0 {
		t.Errorf("%d requests went to the redirect's target", elsewhere)
	}
}

// TestDefect22OnlyWhatIsNeededIsLinked keeps the root package, with every product
// of Twilio's, out of the build. That twilio-go's client package brings gomock with
// it cannot be helped from here.
func TestDefect22OnlyWhatIsNeededIsLinked(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	const module = "github.com/twilio/twilio-go"
	var got []string
	for line := range strings.FieldsSeq(string(out)) {
		if name, ok := strings.CutPrefix(line, module); ok {
			got = append(got, name)
		}
	}
	slices.Sort(got)
	want := []string{"/client", "/client/form", "/client/metadata", "/rest/api/v2010"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("packages of twilio-go (-want +got):\n%s", diff)
	}
}
