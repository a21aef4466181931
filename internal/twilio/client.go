// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	sdk "github.com/twilio/twilio-go/client"
	openapi "github.com/twilio/twilio-go/rest/api/v2010"
)

// DefaultBaseURL is Twilio's own address, used where Options name none.
const DefaultBaseURL = "https://api.twilio.com"

// apiVersion is the first segment of every path.
const apiVersion = "2010-04-01"

const (
	defaultCallTimeout = 15 * time.Second
	defaultUserAgent   = "twilio-addon-operator"

	// Twilio does not process a call that it answers 429. The client retries it while
	// it still holds the permit: at most this often, and not if Twilio asks for a
	// longer wait.
	maxThrottleRetries = 2
	maxThrottleWait    = 2 * time.Second
	throttlePause      = 100 * time.Millisecond
)

// ErrReadOnly is the error of a write on a client made by ReadOnly.
var ErrReadOnly = errors.New("this client is read-only")

// Options configure a Client.
type Options struct {
	AccountSID  string
	BaseURL     string // default DefaultBaseURL
	Credentials Credentials
	Limiter     *Limiter // learns from every outcome; may be nil
	Metrics     *Metrics // may be nil
	// Transport carries the requests. With NewTransport's, which all clients of the
	// process share, and a Limiter, the account has connections of its own: at most as
	// many to a host as its maximum concurrency.
	Transport http.RoundTripper
	UserAgent string // default "twilio-addon-operator"
	// CallTimeout limits each HTTP request, from dialing to the last byte of the
	// answer. Default 15 s.
	CallTimeout time.Duration
	// AllowInsecure permits plain http to hosts other than loopback.
	AllowInsecure bool
}

// PhoneNumber is an incoming phone number of the account.
type PhoneNumber struct {
	SID          string
	PhoneNumber  string // E.164
	FriendlyName string
}

// AssignedAddOn is an add-on installation assigned to a phone number. Twilio's
// configuration object may hold secrets and is never read.
type AssignedAddOn struct {
	SID          string
	UniqueName   string
	FriendlyName string
	Description  string
	DateUpdated  time.Time // UTC; zero when Twilio gave none that can be read
}

// Client calls Twilio for one account. It is safe for concurrent use. It makes one
// request at a time for a caller; Attempt limits how many callers there are.
type Client struct {
	account     string // as it was given: Twilio's paths are case-sensitive
	label       string // the account's canonical SID, for metrics and connections
	base        *url.URL
	credentials Credentials
	limiter     *Limiter
	metrics     *Metrics
	transport   http.RoundTripper
	readOnly    bool
	userAgent   string
	timeout     time.Duration
}

// New checks the options and returns a client; it makes no call.
func New(o Options) (*Client, error) {
	if o.BaseURL == "" {
		o.BaseURL = DefaultBaseURL
	}
	base, err := parseBaseURL(o.BaseURL, o.AllowInsecure)
	if err := errors.Join(checkAccount(o.AccountSID), o.Credentials.check(), err); err != nil {
		return nil, err
	}
	if o.Transport == nil {
		return nil, errors.New("no transport")
	}
	if o.UserAgent == "" {
		o.UserAgent = defaultUserAgent
	}
	if o.CallTimeout <= 0 {
		o.CallTimeout = defaultCallTimeout
	}
	return &Client{
		account:     o.AccountSID,
		label:       canonicalSID(o.AccountSID),
		base:        base,
		credentials: o.Credentials,
		limiter:     o.Limiter,
		metrics:     o.Metrics,
		transport:   o.Transport,
		userAgent:   oneLine(o.UserAgent) + " twilio-go/" + sdk.LibraryVersion,
		timeout:     o.CallTimeout,
	}, nil
}

// Format keeps the credentials out of the output of fmt, whatever the verb.
func (c *Client) Format(s fmt.State, _ rune) {
	_, _ = io.WriteString(s, "Twilio client of "+c.account)
}

// ReadOnly returns a copy whose transport refuses every request but GET with
// ErrReadOnly before it sends anything.
func (c *Client) ReadOnly() *Client {
	copied := *c
	copied.readOnly = true
	return &copied
}

// wire is the transport of the next call.
func (c *Client) wire() http.RoundTripper {
	transport := c.transport
	if shared, ok := transport.(*Transport); ok && c.limiter != nil {
		transport = shared.of(c.label, c.limiter.Snapshot().MaxConcurrency)
	}
	if c.readOnly {
		return readOnlyTransport{next: transport}
	}
	return transport
}

// Verify checks that Twilio accepts the credentials for the account. It reads at most
// one phone number, which any key with access to phone numbers may do. It returns nil
// only if the answer is proved to be about this account.
func (c *Client) Verify(ctx context.Context) error {
	return c.do(ctx, OpVerify, "", func(api *openapi.ApiService, over *call) error {
		wire, err := api.PageIncomingPhoneNumber(&openapi.ListIncomingPhoneNumberParams{PageSize: new(1)}, "", "")
		if err != nil {
			return err
		}
		_, err = c.toListedNumbers(wire.IncomingPhoneNumbers, over)
		return err
	})
}

// GetPhoneNumber reads the number with the SID pn.
func (c *Client) GetPhoneNumber(ctx context.Context, pn string) (number PhoneNumber, err error) {
	if err := checkNumber(pn); err != nil {
		return PhoneNumber{}, refused(OpGetPhoneNumber, err)
	}
	err = c.do(ctx, OpGetPhoneNumber, pn, func(api *openapi.ApiService, _ *call) error {
		wire, err := api.FetchIncomingPhoneNumber(pn, nil)
		if err != nil {
			return err
		}
		number, err = toPhoneNumber(wire, c.account, pn)
		return err
	})
	return number, err
}

// ListAssignedAddOns returns all add-ons assigned to the number pn, or an error. It
// never returns a partial list.
func (c *Client) ListAssignedAddOns(ctx context.Context, pn string) ([]AssignedAddOn, error) {
	if err := checkNumber(pn); err != nil {
		return nil, refused(OpListAssigned, err)
	}
	pages, list := newPaging(c.base, assignedPath(c.account, pn), maxPages), newCollection[AssignedAddOn]()
	err := pages.read(func(query string) (next string, err error) {
		err = c.do(ctx, OpListAssigned, pn, func(api *openapi.ApiService, over *call) error {
			over.query = query
			wire, err := api.PageIncomingPhoneNumberAssignedAddOn(pn,
				&openapi.ListIncomingPhoneNumberAssignedAddOnParams{PageSize: new(pageSize)}, "", "")
			if err != nil {
				return err
			}
			for i := range wire.AssignedAddOns {
				addOn, err := toAssigned(&wire.AssignedAddOns[i], c.account, pn)
				if err != nil {
					return err
				}
				list.add(addOn.SID, addOn)
			}
			next, err = pages.follow(over.page.next)
			return err
		})
		return next, err
	})
	if err != nil {
		return nil, err
	}
	return list.items, nil
}

func assignedPath(account, pn string) string {
	return accountPath(account) + "/IncomingPhoneNumbers/" + pn + "/AssignedAddOns.json"
}

// GetAssignedAddOn reads the assignment sid of the number pn.
func (c *Client) GetAssignedAddOn(ctx context.Context, pn, sid string) (addOn AssignedAddOn, err error) {
	if err := errors.Join(checkNumber(pn), checkAddOn(sid)); err != nil {
		return AssignedAddOn{}, refused(OpGetAssigned, err)
	}
	err = c.do(ctx, OpGetAssigned, pn, func(api *openapi.ApiService, _ *call) error {
		wire, err := api.FetchIncomingPhoneNumberAssignedAddOn(pn, sid, nil)
		if err != nil {
			return err
		}
		if !strings.EqualFold(text(wire.Sid), sid) {
			return errOtherAssignment
		}
		addOn, err = toAssigned(wire, c.account, pn)
		return err
	})
	return addOn, err
}

// AssignAddOn assigns the installed add-on xe to the number pn, with one POST. The
// result has the SID that Twilio gave the assignment, which may differ from xe. If
// OutcomeUnknown holds for the error, read before retrying.
func (c *Client) AssignAddOn(ctx context.Context, pn, xe string) (addOn AssignedAddOn, err error) {
	if err := errors.Join(checkNumber(pn), checkAddOn(xe)); err != nil {
		return AssignedAddOn{}, refused(OpAssign, err)
	}
	err = c.do(ctx, OpAssign, pn, func(api *openapi.ApiService, _ *call) error {
		params := &openapi.CreateIncomingPhoneNumberAssignedAddOnParams{InstalledAddOnSid: &xe}
		wire, err := api.CreateIncomingPhoneNumberAssignedAddOn(pn, params)
		if err != nil {
			return err
		}
		addOn, err = toAssigned(wire, c.account, pn)
		return err
	})
	return addOn, err
}

// UnassignAddOn removes the assignment sid from the number pn. It returns nil only
// for a 204; IsNotFound holds for the error if there is no such assignment.
func (c *Client) UnassignAddOn(ctx context.Context, pn, sid string) error {
	if err := errors.Join(checkNumber(pn), checkAddOn(sid)); err != nil {
		return refused(OpUnassign, err)
	}
	return c.do(ctx, OpUnassign, pn, func(api *openapi.ApiService, _ *call) error {
		return api.DeleteIncomingPhoneNumberAssignedAddOn(pn, sid, nil)
	})
}

// refused is the error for input that no request can be made of.
func refused(op Operation, err error) error {
	input, _ := errors.AsType[inputError](err) // of several, the first
	return &Error{Operation: op, Err: input}
}

// exchange makes exactly one call through the generated code and checks the answer.
type exchange func(api *openapi.ApiService, over *call) error

// do runs one exchange about the number pn. It repeats it after a 429 if that may help.
func (c *Client) do(ctx context.Context, op Operation, pn string, run exchange) error {
	for attempt := 0; ; attempt++ {
		err := c.once(ctx, op, pn, run)
		if !IsThrottled(err) || attempt == maxThrottleRetries || !c.pause(ctx, attempt, err) {
			return err
		}
	}
}

// once runs one exchange and reports its outcome to the metrics and the limiter.
func (c *Client) once(ctx context.Context, op Operation, pn string, run exchange) error {
	if err := ctx.Err(); err != nil {
		return &Error{Operation: op, Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	over := &call{ctx: ctx, client: c, operation: op}
	ticket, start := c.limiter.began(pn), time.Now()
	// Not by a constructor of twilio-go: those read the environment.
	err := over.finish(run(openapi.NewApiService(&sdk.RequestHandler{Client: over}), over))
	over.fillReceipt()
	c.metrics.exchanged(c.label, op, requestID(over.header), err, time.Since(start))
	c.limiter.ended(ticket, err) // last: it may drop the account with its metrics
	return err
}

// pause waits before a throttled call is retried; false means not to retry.
func (c *Client) pause(ctx context.Context, attempt int, err error) bool {
	wait := throttlePause << attempt
	wait += rand.N(wait) // calls that were throttled together must not return together
	if asked, ok := RetryAfter(err); ok {
		if asked > maxThrottleWait {
			return false
		}
		wait = max(wait, asked)
	}
	if c.limiter.paused() {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return !c.limiter.paused()
	case <-ctx.Done():
		return false
	}
}

func (c *Client) authorize(req *http.Request) {
	req.SetBasicAuth(c.credentials.Username, c.credentials.Password)
	req.Header.Set("User-Agent", c.userAgent)
	req.Header.Set("Accept", "application/json")
	if req.Body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
}

// minRedacted is the shortest password that is redacted: replacing one of a letter or
// two, as tests have, would make texts unreadable.
const minRedacted = 6

// redact removes the password from a text from outside that may echo it.
func (c *Client) redact(s string) string {
	if len(c.credentials.Password) < minRedacted {
		return s
	}
	pair := c.credentials.Username + ":" + c.credentials.Password
	return strings.NewReplacer(
		base64.StdEncoding.EncodeToString([]byte(pair)), "[redacted]",
		c.credentials.Password, "[redacted]",
	).Replace(s)
}
