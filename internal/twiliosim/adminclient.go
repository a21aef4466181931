// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// AdminClient controls a simulator in another process through its admin API. Its methods do the
// same as the methods of [Sim] with the same names. Errors about something that does not exist
// wrap [ErrNotFound].
type AdminClient struct {
	url  string
	http *http.Client
}

// NewAdminClient returns a client for an admin API. An example of a base URL is
// http://127.0.0.1:8091.
func NewAdminClient(baseURL string) *AdminClient {
	return &AdminClient{url: baseURL, http: &http.Client{}}
}

// Healthy returns nil once the simulator answers.
func (c *AdminClient) Healthy(ctx context.Context) error {
	return c.do(ctx, http.MethodGet, "/healthz", nil, nil)
}

// Snapshot returns the current state.
func (c *AdminClient) Snapshot(ctx context.Context) (State, error) {
	return get[State](ctx, c, "/state")
}

// Restore replaces the state.
func (c *AdminClient) Restore(ctx context.Context, state State) error {
	return c.do(ctx, http.MethodPut, "/state", state, nil)
}

// Seed adds many numbers.
func (c *AdminClient) Seed(ctx context.Context, seed Seed) error {
	return c.do(ctx, http.MethodPost, "/seed", seed, nil)
}

// AddAccount adds an account.
func (c *AdminClient) AddAccount(ctx context.Context, sid, authToken string) error {
	return c.do(ctx, http.MethodPost, "/accounts", AccountState{SID: sid, AuthToken: authToken}, nil)
}

// AddSubaccount adds a subaccount of parent.
func (c *AdminClient) AddSubaccount(ctx context.Context, parent, sid, authToken string) error {
	return c.do(ctx, http.MethodPost, "/accounts", AccountState{SID: sid, Parent: parent, AuthToken: authToken}, nil)
}

// RotateAuthToken makes authToken the only valid token of an account.
func (c *AdminClient) RotateAuthToken(ctx context.Context, account, authToken string) error {
	return c.do(ctx, http.MethodPost, path("accounts", account, "rotate"), AccountState{AuthToken: authToken}, nil)
}

// SetSecondaryAuthToken sets a second auth token.
func (c *AdminClient) SetSecondaryAuthToken(ctx context.Context, account, authToken string) error {
	return c.do(ctx, http.MethodPost, path("accounts", account, "secondary"), AccountState{AuthToken: authToken}, nil)
}

// SetAccountStatus suspends, reactivates or closes an account.
func (c *AdminClient) SetAccountStatus(ctx context.Context, account string, status AccountStatus) error {
	return c.do(ctx, http.MethodPost, path("accounts", account, "status"), AccountState{Status: status}, nil)
}

// AddAPIKey adds an API key to an account.
func (c *AdminClient) AddAPIKey(ctx context.Context, account, sid, secret string, kind KeyKind, allowed ...Operation) error {
	return c.do(ctx, http.MethodPost, path("accounts", account, "api-keys"), KeyState{sid, secret, kind, allowed}, nil)
}

// DeleteAPIKey removes an API key.
func (c *AdminClient) DeleteAPIKey(ctx context.Context, sid string) error {
	return c.do(ctx, http.MethodDelete, path("api-keys", sid), nil, nil)
}

// AddNumber adds an incoming phone number to an account.
func (c *AdminClient) AddNumber(ctx context.Context, account, sid, phoneNumber string) error {
	return c.do(ctx, http.MethodPost, path("accounts", account, "numbers"), NumberState{SID: sid, PhoneNumber: phoneNumber}, nil)
}

// ReleaseNumber removes a number and its assignments.
func (c *AdminClient) ReleaseNumber(ctx context.Context, sid string) error {
	return c.do(ctx, http.MethodDelete, path("numbers", sid), nil, nil)
}

// MoveNumber moves a number to another account and removes its assignments.
func (c *AdminClient) MoveNumber(ctx context.Context, sid, toAccount string) error {
	return c.do(ctx, http.MethodPost, path("numbers", sid, "move"), moveRequest{toAccount}, nil)
}

// InstallAddOn installs an add-on with defaults for its other fields.
func (c *AdminClient) InstallAddOn(ctx context.Context, account, sid, uniqueName string) error {
	return c.Install(ctx, account, AddOn{SID: sid, UniqueName: uniqueName})
}

// Install installs an add-on on an account.
func (c *AdminClient) Install(ctx context.Context, account string, addOn AddOn) error {
	return c.do(ctx, http.MethodPost, path("accounts", account, "add-ons"), addOn, nil)
}

// UninstallAddOn removes an installation and its assignments.
func (c *AdminClient) UninstallAddOn(ctx context.Context, sid string) error {
	return c.do(ctx, http.MethodDelete, path("add-ons", sid), nil, nil)
}

// Assign assigns an installed add-on to a number, as in the console.
func (c *AdminClient) Assign(ctx context.Context, numberSID, addOnSID string) error {
	return c.do(ctx, http.MethodPut, path("numbers", numberSID, "assigned", addOnSID), nil, nil)
}

// Unassign removes an assignment, as in the console.
func (c *AdminClient) Unassign(ctx context.Context, numberSID, addOnSID string) error {
	return c.do(ctx, http.MethodDelete, path("numbers", numberSID, "assigned", addOnSID), nil, nil)
}

// Assigned returns the SIDs of the installations that are assigned to a number, sorted.
func (c *AdminClient) Assigned(ctx context.Context, numberSID string) ([]string, error) {
	return get[[]string](ctx, c, path("numbers", numberSID, "assigned"))
}

// Behaviour returns the current switches.
func (c *AdminClient) Behaviour(ctx context.Context) (Behaviour, error) {
	return get[Behaviour](ctx, c, "/behaviour")
}

// SetBehaviour replaces all switches.
func (c *AdminClient) SetBehaviour(ctx context.Context, b Behaviour) error {
	return c.do(ctx, http.MethodPut, "/behaviour", b, nil)
}

// UpdateBehaviour reads all switches, changes them, and writes them back. Unlike [Sim], it does not
// detect concurrent changes.
func (c *AdminClient) UpdateBehaviour(ctx context.Context, change func(*Behaviour)) error {
	b, err := c.Behaviour(ctx)
	if err != nil {
		return err
	}
	change(&b)
	return c.SetBehaviour(ctx, b)
}

// AddFault adds a fault.
func (c *AdminClient) AddFault(ctx context.Context, f Fault) error {
	return c.do(ctx, http.MethodPost, "/faults", f, nil)
}

// RemoveFault removes a fault by its ID.
func (c *AdminClient) RemoveFault(ctx context.Context, id int) error {
	return c.do(ctx, http.MethodDelete, path("faults", strconv.Itoa(id)), nil, nil)
}

// ClearFaults removes all faults.
func (c *AdminClient) ClearFaults(ctx context.Context) error {
	return c.do(ctx, http.MethodDelete, "/faults", nil, nil)
}

// Faults returns the active faults.
func (c *AdminClient) Faults(ctx context.Context) ([]FaultState, error) {
	return get[[]FaultState](ctx, c, "/faults")
}

// Injected returns how often faults have fired since the start.
func (c *AdminClient) Injected(ctx context.Context) (map[string]int, error) {
	return get[map[string]int](ctx, c, "/faults/injected")
}

// Calls returns all counts, including ByNumber.
func (c *AdminClient) Calls(ctx context.Context) (Calls, error) {
	return get[Calls](ctx, c, "/calls")
}

// CallTotals returns the counts without ByNumber.
func (c *AdminClient) CallTotals(ctx context.Context) (Calls, error) {
	return get[Calls](ctx, c, "/calls?totals=true")
}

// ResetCalls sets all counts to zero.
func (c *AdminClient) ResetCalls(ctx context.Context) error {
	return c.do(ctx, http.MethodDelete, "/calls", nil, nil)
}

// JournalAfter returns the changes whose Seq is greater than seq.
func (c *AdminClient) JournalAfter(ctx context.Context, seq int64) ([]Mutation, error) {
	return get[[]Mutation](ctx, c, "/journal?after="+strconv.FormatInt(seq, 10))
}

// Requests returns the latest requests, if the simulator logs them.
func (c *AdminClient) Requests(ctx context.Context) ([]Request, error) {
	return get[[]Request](ctx, c, "/requests")
}

// path escapes path segments and joins them.
func path(segments ...string) string {
	var out strings.Builder
	for _, s := range segments {
		out.WriteString("/" + url.PathEscape(s))
	}
	return out.String()
}

func get[T any](ctx context.Context, c *AdminClient, path string) (T, error) {
	var out T
	err := c.do(ctx, http.MethodGet, path, nil, &out)
	return out, err
}

// do sends a request. It decodes the answer into out unless out is nil.
func (c *AdminClient) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		encoded, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("simulator: encode %s: %w", path, err)
		}
		body = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, body)
	if err != nil {
		return fmt.Errorf("simulator: %w", err)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("simulator: %w", err)
	}
	defer res.Body.Close()
	if err := readAdmin(res, out); err != nil {
		return fmt.Errorf("simulator: %s %s: %w", method, path, err)
	}
	return nil
}

func readAdmin(res *http.Response, out any) error {
	if res.StatusCode >= 300 {
		var e adminError
		if err := json.NewDecoder(res.Body).Decode(&e); err != nil {
			e.Error = res.Status
		}
		if res.StatusCode == http.StatusNotFound {
			return fmt.Errorf("%s%w", strings.TrimSuffix(e.Error, ErrNotFound.Error()), ErrNotFound)
		}
		return errors.New(e.Error)
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(out)
}
