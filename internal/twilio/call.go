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
	"time"

	sdk "github.com/twilio/twilio-go/client"
)

// maxBody limits the size of an answer. A page of 1000 assignments is about 1 MiB.
const maxBody = 8 << 20

// contract says which answers to an operation are acceptable.
type contract struct {
	status []int
	list   string // the key of the list, if the answer is a page
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

// call is the HTTP client that the generated code of twilio-go uses for one exchange.
// It carries what that code has no place for: the context and the query of a paging
// link on the way out, the status and the headers on the way back.
type call struct {
	ctx       context.Context //nolint:containedctx // the generated code cannot pass one
	client    *Client
	operation Operation
	// query, if set, replaces the generated query: a paging link is followed unchanged.
	query string
	// page is the answer, if it is a page.
	page reducedPage

	status int
	header http.Header
	trip   trip
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

// SendRequest sends one request to the account's base URL. It returns the answer,
// reduced to the fields in use, if it keeps the operation's contract.
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

// request redirects the generated request from Twilio's own host to the account's base
// URL. It drops the generated headers: none is needed.
func (c *call) request(method, rawURL string, data url.Values) (*http.Request, error) {
	generated, err := url.Parse(rawURL)
	if err != nil {
		return nil, errRequest
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
	ctx := httptrace.WithClientTrace(c.ctx, c.trip.hooks())
	req, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return nil, errRequest
	}
	c.client.authorize(req)
	return req, nil
}

// exchange calls the transport directly, so that redirects are not followed. It reads
// the whole body and closes it, so that the connection can be reused after any answer.
func (c *call) exchange(req *http.Request) ([]byte, error) {
	res, err := c.client.wire().RoundTrip(req)
	if err != nil {
		return nil, c.fail(c.locate(req, err))
	}
	defer func() { _ = res.Body.Close() }()
	c.status, c.header = res.StatusCode, res.Header
	c.trip.reach(stageBody)
	if res.StatusCode < 200 {
		return nil, c.fail(errNotFinal) // the body of a 101 never ends
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	if err != nil {
		return nil, c.fail(c.locate(req, err))
	}
	if len(body) > maxBody {
		return nil, c.fail(errTooLarge)
	}
	return body, nil
}

// accept checks the answer against the contract and returns its body, reduced.
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

// refusal returns the error for a status that is not a success.
func (c *call) refusal(body []byte) *Error {
	switch {
	case c.status < 300:
		return c.fail(errStatus)
	case c.status < 400:
		return c.fail(errRedirect)
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

// fail returns the call's error; a nil cause means that Twilio itself refused.
func (c *call) fail(cause error) *Error {
	e := &Error{
		Operation:  c.operation,
		HTTPStatus: c.status,
		RequestID:  requestID(c.header),
		Sent:       c.status != 0 || (c.trip.possiblySent() && !errors.Is(cause, ErrReadOnly)),
		Err:        cause,
	}
	e.RetryAfter, e.HasRetryAfter = parseRetryAfter(c.header, time.Now())
	return e
}

// finish converts any error of the generated code or of the checks to an *Error.
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
	// Only the generated decoder is left. Its message would quote the answer.
	return c.fail(errFieldType)
}

func requestID(h http.Header) string {
	id := h.Get("Twilio-Request-Id")
	if requestIDPattern.MatchString(id) && len(id) == 34 {
		return id
	}
	return ""
}

// envelope is the body of Twilio's refusals.
type envelope struct {
	code              int
	message, moreInfo string
}

// minCode is the smallest of Twilio's error codes. Where other software has a code in
// its JSON errors, it mostly repeats the HTTP status.
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
	// Texts of another type are ignored.
	_ = json.Unmarshal(wire.Message, &e.message)
	_ = json.Unmarshal(wire.MoreInfo, &e.moreInfo)
	return e, nil
}
