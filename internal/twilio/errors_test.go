// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// questions in the order of answers' fields.
type answers struct {
	NotFound, Throttled, Unauthorized, PermissionDenied, Rejected, Conflict, Transient, OutcomeUnknown bool
}

func ask(err error) answers {
	return answers{IsNotFound(err), IsThrottled(err), IsUnauthorized(err), IsPermissionDenied(err),
		IsRejected(err), IsConflict(err), IsTransient(err), OutcomeUnknown(err)}
}

func TestErrorsAnswerQuestions(t *testing.T) {
	refusal := func(status, code int) error {
		return &Error{Operation: OpAssign, HTTPStatus: status, Code: code, Sent: true}
	}
	foreign := func(status int) error {
		return &Error{Operation: OpAssign, HTTPStatus: status, Sent: true, Err: errForeign}
	}
	unanswered := func(sent bool, err error) error { return &Error{Operation: OpAssign, Sent: sent, Err: err} }
	cases := []struct {
		reason string
		err    error
		want   answers
	}{
		{"no error is of no class", nil, answers{}},
		{"what is unknown may pass", errors.New("boom"), answers{Transient: true}},
		{"a bare context error", context.Canceled, answers{Transient: true}},
		{"bad input is terminal and never left", refused(OpAssign, inputError("bad")), answers{Rejected: true}},
		{"400", refusal(400, 20422), answers{Rejected: true}},
		{"401", refusal(401, 20003), answers{Unauthorized: true}},
		{"401 for a missing permission", refusal(401, codePermission), answers{PermissionDenied: true}},
		{"403", refusal(403, 20403), answers{PermissionDenied: true}},
		{"403 for a missing permission", refusal(403, codePermission), answers{PermissionDenied: true}},
		{"404", refusal(404, 20404), answers{NotFound: true}},
		{"405", refusal(405, 20004), answers{Rejected: true}},
		{"408 asks for another try", refusal(408, 20408), answers{Transient: true, OutcomeUnknown: true}},
		{"409 may be because it is there", refusal(409, 20409), answers{Conflict: true, OutcomeUnknown: true}},
		{"410", refusal(410, 20404), answers{Rejected: true}},
		{"422", refusal(422, 20423), answers{Rejected: true}},
		{"425 asks for another try", refusal(425, 20500), answers{Transient: true, OutcomeUnknown: true}},
		{"429 was not processed", refusal(429, 20429), answers{Throttled: true}},
		{"a proxy's 429 still asks for less", foreign(429), answers{Throttled: true}},
		{"500", refusal(500, 20500), answers{Transient: true, OutcomeUnknown: true}},
		{"503", refusal(503, 20503), answers{Transient: true, OutcomeUnknown: true}},
		{"a proxy's 404 says nothing of Twilio", foreign(404), answers{Transient: true, OutcomeUnknown: true}},
		{"a proxy's 401 neither", foreign(401), answers{Transient: true, OutcomeUnknown: true}},
		{"a 201 that cannot be read", foreign(201), answers{Transient: true, OutcomeUnknown: true}},
		{"reset after sending", unanswered(true, io.EOF), answers{Transient: true, OutcomeUnknown: true}},
		{"refused before sending", unanswered(false, io.EOF), answers{Transient: true}},
		{"a write by a reader", unanswered(false, ErrReadOnly), answers{Transient: true}},
		{"wrapped", fmt.Errorf("while: %w", refusal(404, 20404)), answers{NotFound: true}},
		{"a read has no outcome to know", &Error{Operation: OpListAssigned, HTTPStatus: 500, Sent: true}, answers{Transient: true}},
	}
	for _, c := range cases {
		if diff := cmp.Diff(c.want, ask(c.err)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
	}
}

func TestIsAboutOneRequest(t *testing.T) {
	about := map[int]bool{}
	for status := range 1000 {
		if IsAboutOneRequest(&Error{Operation: OpUnassign, HTTPStatus: status, Code: 20500}) {
			about[status] = true
		}
		for _, cause := range []error{errForeign, io.EOF, context.Canceled, context.DeadlineExceeded} {
			if IsAboutOneRequest(&Error{Operation: OpUnassign, HTTPStatus: status, Sent: true, Err: cause}) {
				t.Errorf("HTTP %d with %v is no answer of Twilio's", status, cause)
			}
		}
	}
	for status := range 1000 {
		want := status >= 400
		switch status {
		case 401, 403, 408, 425, 429:
			want = false
		}
		if about[status] != want {
			t.Errorf("HTTP %d: %v, want %v", status, about[status], want)
		}
	}
	if !IsAboutOneRequest(refused(OpAssign, inputError("bad"))) {
		t.Error("another request may well have good input")
	}
	for _, err := range []error{nil, io.EOF, &Error{Operation: OpAssign, Err: ErrReadOnly},
		&Error{Operation: OpAssign, HTTPStatus: 401, Code: codePermission}} {
		if IsAboutOneRequest(err) {
			t.Errorf("%v meets every request", err)
		}
	}
}

// TestEachStatusHasOneClass: whoever asks the questions in any order finds one that holds.
func TestEachStatusHasOneClass(t *testing.T) {
	for status := range 1000 {
		for _, cause := range []error{nil, errForeign, io.EOF} {
			for _, code := range []int{0, 20404, codePermission} {
				a := ask(&Error{Operation: OpUnassign, HTTPStatus: status, Code: code, Err: cause})
				n := 0
				for _, holds := range []bool{a.NotFound, a.Throttled, a.Unauthorized, a.PermissionDenied, a.Rejected, a.Conflict, a.Transient} {
					if holds {
						n++
					}
				}
				if n != 1 {
					t.Errorf("HTTP %d, code %d, cause %v: %d classes hold: %+v", status, code, cause, n, a)
				}
			}
		}
	}
}

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	date := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	cases := []struct {
		reason, value, date string
		want                time.Duration
		ok                  bool
	}{
		{"absent", "", "", 0, false},
		{"seconds", "7", "", 7 * time.Second, true},
		{"none", "0", "", 0, true},
		{"surrounded by blanks", " 7 ", "", 7 * time.Second, true},
		{"longer than the bound", "901", "", maxRetryAfter, true},
		{"absurd", "999999999999999999999999999999", "", maxRetryAfter, true},
		{"overflowing when multiplied", "9223372036854775807", "", maxRetryAfter, true},
		{"negative", "-1", "", 0, false},
		{"signed", "+1", "", 0, false},
		{"fractional", "1.5", "", 0, false},
		{"words", "soon", "", 0, false},
		{"a date", date(90 * time.Second), "", 90 * time.Second, true},
		{"a date past", date(-time.Hour), "", 0, true},
		{"a date far away", date(1000 * time.Hour), "", maxRetryAfter, true},
		{"a date by Twilio's clock", date(time.Hour), date(time.Hour - 30*time.Second), 30 * time.Second, true},
		{"a date with a bad Date", date(90 * time.Second), "yesterday", 90 * time.Second, true},
		{"a date in another form", "2026-01-02T03:04:06Z", "", 0, false},
	}
	for _, c := range cases {
		header := http.Header{"Retry-After": {c.value}, "Date": {c.date}}
		if got, ok := parseRetryAfter(header, now); got != c.want || ok != c.ok {
			t.Errorf("%s: %v, %v; want %v, %v", c.reason, got, ok, c.want, c.ok)
		}
	}
}

func TestExplain(t *testing.T) {
	refusal := func(message string) error {
		return &Error{Operation: OpAssign, HTTPStatus: 400, Code: 20422, Message: message, RequestID: testRequest}
	}
	const lead = "assigning the add-on: HTTP 400, Twilio error 20422"
	cases := []struct {
		reason string
		err    error
		want   string
	}{
		{"no error", nil, ""},
		{"no message", refusal(""), lead},
		{"a message", refusal("Invalid Parameter"), lead + ": Invalid Parameter"},
		{"lines and control characters", refusal("a\r\n\tb\x00\x1b[31mc\u202e"), lead + ": a b[31mc"},
		{"a request id", refusal("failed " + testRequest), lead + ": failed [request]"},
		{"a uuid", refusal("id 0f0f0f0f-1111-2222-3333-444444444444!"), lead + ": id [id]!"},
		{"times", refusal("at 2026-01-02T03:04:05.678Z, Thu, 07 Apr 2016 23:52:28 +0000, 12:13:14"),
			lead + ": at [time], [time], [time]"},
		{"a date in a path is the API's version", refusal("/2010-04-01/Accounts/x on 2010-04-01 was /2026-01-02T03:04:05Z"),
			lead + ": /2010-04-01/Accounts/x on [time] was /[time]"},
		{"addresses", refusal("via http://127.0.0.1:4711/x and 10.0.0.7:80, [::1]:443, localhost:8080"),
			lead + ": via [address] and [address], [address], [address]"},
		{"Twilio's documentation", refusal("see https://www.twilio.com/docs/errors/20422"),
			lead + ": see https://www.twilio.com/docs/errors/20422"},
		{"brackets and versions stay", refusal("field [abc] of v1.2.3"), lead + ": field [abc] of v1.2.3"},
		{"SIDs stay", refusal("no " + testAddOn), lead + ": no " + testAddOn},
		{"an alien answer", &Error{Operation: OpUnassign, HTTPStatus: 502, RequestID: testRequest, Err: errForeign},
			"unassigning the add-on: HTTP 502: the answer is not Twilio's; a proxy or gateway may have sent it"},
		{"an unknown cause is not shown", &Error{Operation: OpVerify, Err: errors.New("127.0.0.1:5: at 12:00")},
			"checking the credentials: the connection failed"},
		{"an unknown error is not shown", errors.New("secret"), "calling Twilio: the connection failed"},
	}
	for _, c := range cases {
		if diff := cmp.Diff(c.want, Explain(c.err)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
	}
}

func TestErrorTextIsForLogs(t *testing.T) {
	err := &Error{Operation: OpAssign, HTTPStatus: 409, Code: 20409, Message: "Conflict", RequestID: testRequest, Err: io.EOF}
	want := "assigning the add-on: HTTP 409, Twilio error 20409: Conflict: EOF (request " + testRequest + ")"
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMessagesFromOutsideAreBoundedAndRedacted(t *testing.T) {
	long := make([]byte, 100_000)
	for i := range long {
		long[i] = 'x'
	}
	_, client := serve(t, answer(400, twilioError(400, 20422, testPassword+" and "+basicAuth()+" "+string(long))))
	err := client.UnassignAddOn(t.Context(), testNumber, testAddOn)
	message := asError(t, err).Message
	if got := len([]rune(message)); got > maxMessage+1 {
		t.Errorf("a message of %d runes", got)
	}
	if want := "[redacted] and [redacted] xxx"; message[:len(want)] != want {
		t.Errorf("message %q, want it to begin with %q", message[:100], want)
	}
	if got := len([]rune(Explain(err))); got > 300 {
		t.Errorf("an explanation of %d runes", got)
	}
}
