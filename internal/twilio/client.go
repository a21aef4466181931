// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// DefaultBaseURL is Twilio's own address, used where Options name none.
const DefaultBaseURL = "https://api.twilio.com"

// ErrReadOnly is what a write meets on a client made by ReadOnly.
var ErrReadOnly = errors.New("this client only reads")

// Options say which account a Client speaks for and how.
type Options struct {
	AccountSID  string
	BaseURL     string // default DefaultBaseURL
	Credentials Credentials
	Governor    *Governor         // told of every outcome; may be nil
	Metrics     *Metrics          // may be nil
	Transport   http.RoundTripper // shared by all clients; default NewTransport
	UserAgent   string
	// CallTimeout bounds each HTTP request, body included. Default 15 s.
	CallTimeout time.Duration
	// AllowInsecure lets plain http go to hosts that are not loopback.
	AllowInsecure bool
}

// PhoneNumber is an incoming phone number of the account.
type PhoneNumber struct {
	SID          string
	PhoneNumber  string // E.164
	FriendlyName string
}

// AssignedAddOn is an add-on installation assigned to a phone number. Twilio's
// configuration object, which may hold secrets, is never read.
type AssignedAddOn struct {
	SID          string
	UniqueName   string
	FriendlyName string
	Description  string
	DateUpdated  time.Time // zero when Twilio gave none that can be read
}

// Client speaks for one account. It is safe for concurrent use.
type Client struct{}

// New checks the options and returns a client; it makes no call.
func New(o Options) (*Client, error) { panic("todo") }

// ReadOnly returns a copy that refuses every request but GET with ErrReadOnly.
func (c *Client) ReadOnly() *Client { panic("todo") }

// Verify asks Twilio whether the credentials are accepted for the account.
func (c *Client) Verify(ctx context.Context) error { panic("todo") }

// GetPhoneNumber reads the number with the SID pn.
func (c *Client) GetPhoneNumber(ctx context.Context, pn string) (PhoneNumber, error) { panic("todo") }

// ListAssignedAddOns returns all add-ons assigned to pn, or an error: never a part.
func (c *Client) ListAssignedAddOns(ctx context.Context, pn string) ([]AssignedAddOn, error) {
	panic("todo")
}

// GetAssignedAddOn reads one assignment of pn.
func (c *Client) GetAssignedAddOn(ctx context.Context, pn, sid string) (AssignedAddOn, error) {
	panic("todo")
}

// AssignAddOn assigns the installed add-on xe to pn. The SID of the result may differ from xe.
func (c *Client) AssignAddOn(ctx context.Context, pn, xe string) (AssignedAddOn, error) {
	panic("todo")
}

// UnassignAddOn removes an assignment. It returns nil only for Twilio's 204.
func (c *Client) UnassignAddOn(ctx context.Context, pn, sid string) error { panic("todo") }
