// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	sdk "github.com/twilio/twilio-go/client"
)

// maxBody bounds an answer. A page of 1000 assignments is about 1 MiB.
const maxBody = 8 << 20

// contract is what Twilio's answer to an operation must look like.
type contract struct {
	status []int
	list   string // the key of the list, for answers that are pages
}

func (o Operation) contract() contract {
	switch o {
	case OpVerify, OpListPhoneNumbers:
		return contract{status: []int{http.StatusOK}, list: "incoming_phone_numbers"}
	case OpListAssigned:
		return contract{status: []int{http.StatusOK}, list: "assigned_add_ons"}
	case OpListInstalled:
		return contract{status: []int{http.StatusOK}, list: "installed_add_ons"}
	case OpAssign:
		return contract{status: []int{http.StatusCreated, http.StatusOK}}
	case OpUnassign:
		return contract{status: []int{http.StatusNoContent}}
	}
	return contract{status: []int{http.StatusOK}}
}

// call carries one HTTP exchange beneath the generated code of twilio-go: it is
// that code's client for as long as the exchange lasts. What the generated code
// has no place for travels in it: the context, the rest of a paging link on the
// way out; the status and the headers on the way back.
type call struct {
	ctx       context.Context //nolint:containedctx // the generated code passes none
	client    *Client
	operation Operation
	// query replaces the query of the generated code: a paging link is followed as it is.
	query string
	// page is the answer, if it is a page.
	page reducedPage

	status int
	header http.Header
	sent   sentTrace
}

var _ sdk.BaseClient = (*call)(nil)

// AccountSid is the account in the request's path.
func (c *call) AccountSid() string { return c.client.account }

// SetTimeout does nothing: the context bounds the exchange.
func (c *call) SetTimeout(time.Duration) {}

// SetOauth does nothing: only basic authentication is used.
func (c *call) SetOauth(sdk.OAuth) {}

// OAuth returns nil: only basic authentication is used.
func (c *call) OAuth() sdk.OAuth { return nil }

// SendRequest sends one request to the account's base URL and returns an answer
// that keeps the operation's contract, reduced to the fields in use.
func (c *call) SendRequest(method, rawURL string, data url.Values,
	_ map[string]any, _ ...byte) (*http.Response, error) {
	req, err := c.request(method, rawURL, data)
	if err != nil {
		return nil, err
	}
	body, err := c.exchange(req)
	if err != nil {
		return nil, err
	}
	if body, err = c.accept(body); err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: c.status,
		Header:     c.header,
		Body:       io.NopCloser(bytes.NewReader(body)),
	}, nil
}

// request moves what the generated code addressed to Twilio's own host to the
// account's base URL. Of its headers none is needed.
func (c *call) request(method, rawURL string, data url.Values) (*http.Request, error) {
	generated, err := url.Parse(rawURL)
	if err != nil {
		return nil, inputError("the request's URL cannot be built")
	}
	target := *c.client.baseFor(generated.Host)
	target.Path += generated.Path
	var body io.Reader
	switch {
	case method == http.MethodPost:
		body = strings.NewReader(data.Encode())
	case c.query != "":
		target.RawQuery = c.query
	default:
		target.RawQuery = data.Encode()
	}
	ctx := httptrace.WithClientTrace(c.ctx, c.sent.hooks())
	req, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return nil, inputError("the request cannot be built")
	}
	c.client.authorize(req)
	return req, nil
}

// exchange does the round trip on the transport itself: a redirect is then an
// answer like any other. The body is read whole and closed, so that the
// connection serves the next call whatever the answer was.
func (c *call) exchange(req *http.Request) ([]byte, error) {
	res, err := c.client.wire().RoundTrip(req)
	if err != nil {
		return nil, c.fail(err)
	}
	defer func() { _ = res.Body.Close() }()
	c.status, c.header = res.StatusCode, res.Header
	if res.StatusCode < 200 {
		return nil, c.fail(answerError("not an answer of Twilio's to a request")) // a 101's body would never end
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	if err != nil {
		return nil, c.fail(err)
	}
	if len(body) > maxBody {
		return nil, c.fail(answerError("an answer larger than 8 MiB"))
	}
	return body, nil
}

// accept returns the body of an answer that keeps the contract, reduced.
func (c *call) accept(body []byte) ([]byte, error) {
	want := c.operation.contract()
	switch {
	case !slices.Contains(want.status, c.status):
		return nil, c.refusal(body)
	case c.operation == OpUnassign:
		return nil, nil
	}
	var err error
	if want.list != "" {
		c.page, err = reducePage(body, want.list, pageSize)
		body = c.page.body
	} else {
		body, err = reduceItem(body)
	}
	if err != nil {
		return nil, c.fail(err)
	}
	return body, nil
}

// refusal is the error for an answer with a status that is no success.
func (c *call) refusal(body []byte) *Error {
	switch {
	case c.status < 300:
		return c.fail(answerError("a status that Twilio does not answer this with"))
	case c.status < 400:
		return c.fail(answerError("a redirect, which is not followed"))
	}
	envelope, err := parseEnvelope(body)
	if err != nil {
		return c.fail(err)
	}
	e := c.fail(nil)
	e.Code = envelope.code
	e.Message = bounded(oneLine(c.client.redact(envelope.message)), maxMessage)
	e.MoreInfo = bounded(oneLine(c.client.redact(envelope.moreInfo)), maxMessage)
	return e
}

// fail makes the call's error; a nil cause stands for Twilio's own refusal.
func (c *call) fail(cause error) *Error {
	e := &Error{
		Operation:  c.operation,
		HTTPStatus: c.status,
		RequestID:  requestID(c.header),
		Sent:       c.status != 0 || (c.sent.possibly() && !errors.Is(cause, ErrReadOnly)),
		Err:        cause,
	}
	e.RetryAfter, e.HasRetryAfter = parseRetryAfter(c.header, time.Now())
	return e
}

// finish turns whatever the generated code or the checks returned into the
// call's one error.
func (c *call) finish(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if _, ok := errors.AsType[inputError](err); ok {
		return &Error{Operation: c.operation, Err: err}
	}
	if _, ok := errors.AsType[answerError](err); ok || errors.Is(err, ErrOtherAccount) {
		return c.fail(err)
	}
	// What remains is the generated code's decoder. Its message would quote the answer.
	return c.fail(answerError("an answer with fields of the wrong type"))
}

func requestID(h http.Header) string {
	id := h.Get("Twilio-Request-Id")
	if requestIDPattern.MatchString(id) && len(id) == 34 {
		return id
	}
	return ""
}

// envelope is Twilio's form of a refusal.
type envelope struct {
	code              int
	message, moreInfo string
}

// errForeign is a refusal by somebody between Twilio and us.
const errForeign = answerError("a body that is not one of Twilio's errors")

// minCode is the smallest of Twilio's error codes. Other software's JSON errors
// that have a code at all mostly repeat the HTTP status in it.
const minCode = 10000

func parseEnvelope(body []byte) (envelope, error) {
	var wire struct {
		Code     json.RawMessage `json:"code"`
		Message  json.RawMessage `json:"message"`
		MoreInfo json.RawMessage `json:"more_info"`
	}
	if err := json.Unmarshal(body, &wire); err != nil {
		return envelope{}, errForeign
	}
	var code int
	if err := json.Unmarshal(bytes.Trim(wire.Code, `"`), &code); err != nil || code < minCode {
		return envelope{}, errForeign
	}
	e := envelope{code: code}
	// A text of another type is left out.
	_ = json.Unmarshal(wire.Message, &e.message)
	_ = json.Unmarshal(wire.MoreInfo, &e.moreInfo)
	return e, nil
}

// sentTrace finds out whether a request can have left: not before the transport,
// once asked for a connection, had one. Of other transports nothing is known.
type sentTrace struct{ asked, got atomic.Bool }

func (t *sentTrace) hooks() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn: func(string) { t.asked.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { t.got.Store(true) },
	}
}

func (t *sentTrace) possibly() bool { return t.got.Load() || !t.asked.Load() }
