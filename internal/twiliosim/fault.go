// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// FaultKind is a way in which a request goes wrong.
type FaultKind string

// The kinds that answer in place of Twilio. The request is not processed, unless
// Fault.Processed says so.
const (
	// FaultError answers with the JSON error envelope. Status defaults to 500, Code to the
	// general one of the status; RetryAfter is sent as it is.
	FaultError FaultKind = "error"
	// FaultHTML answers as a gateway does: an HTML page of Bytes bytes (default 150) with
	// Status (default 502) and RetryAfter.
	FaultHTML FaultKind = "html"
	// FaultChunkedError is FaultError without a Content-Length; Status defaults to 404.
	FaultChunkedError FaultKind = "chunked-error"
	// FaultReset resets the TCP connection. With Processed, it is the answer that is lost.
	FaultReset FaultKind = "reset"
	// FaultHang says nothing until the client goes, or until Delay has passed (if it is not
	// zero), when the request is answered after all.
	FaultHang FaultKind = "hang"
	// FaultAlien answers with the status of success and JSON that has nothing to do with it.
	FaultAlien FaultKind = "alien"
	// FaultEmptyObject answers with the status of success and {}.
	FaultEmptyObject FaultKind = "empty-object"
	// FaultEmptyBody answers with the status of success and no body at all.
	FaultEmptyBody FaultKind = "empty-body"
	// FaultRedirect answers with Status (default 307) and Location: a host ("https://host"), to
	// which the request's path is added, or empty for the path with another query on this host.
	FaultRedirect FaultKind = "redirect"
)

// The kinds that spoil Twilio's own answer. The request is always processed.
const (
	// FaultSlowBody sends the body in pieces over Delay (default one second).
	FaultSlowBody FaultKind = "slow-body"
	// FaultTruncated sends half of the body as if it were all of it.
	FaultTruncated FaultKind = "truncated"
	// FaultCutBody announces the whole body, sends half, and closes the connection.
	FaultCutBody FaultKind = "cut-body"
	// FaultOversized adds Bytes bytes (default 32 MiB) to an answer that stays valid JSON.
	FaultOversized FaultKind = "oversized"
	// FaultWrongNumber puts another number's SID in the place of the one asked for.
	FaultWrongNumber FaultKind = "wrong-number"
	// FaultWrongSID puts another SID in the place of the (first) item's own.
	FaultWrongSID FaultKind = "wrong-sid"
	// FaultDuplicateItems begins a page with the last item of the one before. The first page
	// repeats its own last item.
	FaultDuplicateItems FaultKind = "duplicate-items"
	// FaultNextPageSelf gives a page itself as its next one.
	FaultNextPageSelf FaultKind = "next-page-self"
	// FaultNextPageElsewhere gives a next page on the host Location (default
	// "https://elsewhere.invalid").
	FaultNextPageElsewhere FaultKind = "next-page-elsewhere"
	// FaultMissingNumber answers as if Fault.Number, which it requires, did not exist: every
	// request about the number is answered 404 and changes nothing, and the account's list of
	// numbers leaves the number out.
	FaultMissingNumber FaultKind = "missing-number"
)

// spoilers are the kinds that need the real answer.
var spoilers = []FaultKind{
	FaultSlowBody, FaultTruncated, FaultCutBody, FaultOversized, FaultWrongNumber, FaultWrongSID,
	FaultDuplicateItems, FaultNextPageSelf, FaultNextPageElsewhere, FaultMissingNumber,
}

var replacements = []FaultKind{
	FaultError, FaultHTML, FaultChunkedError, FaultReset, FaultHang, FaultAlien, FaultEmptyObject,
	FaultEmptyBody, FaultRedirect,
}

// FaultKinds returns every kind there is.
func FaultKinds() []FaultKind { return slices.Concat(replacements, spoilers) }

// Fault makes some requests go wrong. Of several that match a request, the one added first that
// fires is the one that does. Throttled requests meet no fault.
type Fault struct {
	// ID is given by the simulator.
	ID int `json:"id,omitempty"`
	// Operation, Account, Number and AddOn choose requests; empty or "*" means all. AddOn is the
	// SID of an installation: the one that a create names, or that the assignment in the path
	// belongs to.
	Operation Operation `json:"operation,omitempty"`
	Account   string    `json:"account,omitempty"`
	Number    string    `json:"number,omitempty"`
	AddOn     string    `json:"addOn,omitempty"`
	Kind      FaultKind `json:"kind"`
	// Skip lets the first requests that match pass.
	Skip int `json:"skip,omitempty"`
	// Count is how often the fault fires at most; zero means no end.
	Count int `json:"count,omitempty"`
	// Probability is the chance that it fires on a request that matches; zero means always.
	Probability float64 `json:"probability,omitempty"`
	// Processed has the request processed before it goes wrong: what changed has changed.
	Processed bool `json:"processed,omitempty"`

	// Status, Code, RetryAfter, Delay, Bytes and Location are the details that the kinds name.
	Status int `json:"status,omitempty"`
	Code   int `json:"code,omitempty"`
	// RetryAfter is sent as it is, but "date+5s" is sent as the HTTP date five seconds ahead.
	RetryAfter string   `json:"retryAfter,omitempty"`
	Delay      Duration `json:"delay,omitempty"`
	Bytes      int      `json:"bytes,omitempty"`
	Location   string   `json:"location,omitempty"`
}

// Label names the fault for a table of what was injected: its kind, its status if it was given
// one, and whether the request was processed all the same.
func (f Fault) Label() string {
	label := string(f.Kind)
	if f.Status != 0 {
		label += "-" + strconv.Itoa(f.Status)
	}
	if f.Processed {
		label += "-processed"
	}
	return label
}

func (f Fault) validate() error {
	switch {
	case !oneOf(f.Kind, FaultKinds()...):
		return fmt.Errorf("fault: unknown kind %q", f.Kind)
	case f.Probability < 0 || f.Probability > 1:
		return fmt.Errorf("fault: probability %v is not between 0 and 1", f.Probability)
	case f.Skip < 0 || f.Count < 0 || f.Bytes < 0 || f.Delay < 0:
		return fmt.Errorf("fault: a count, size or delay is negative")
	case f.Kind == FaultMissingNumber && !IsSID("PN", f.Number):
		return fmt.Errorf("fault: kind %q requires the SID of a number", f.Kind)
	case f.Status != 0 && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("fault: status %d is no final one", f.Status)
	}
	if after, ok := strings.CutPrefix(f.RetryAfter, "date"); ok {
		if _, err := time.ParseDuration(after); err != nil {
			return fmt.Errorf("fault: retryAfter: %w", err)
		}
	}
	return nil
}

// matches reports whether the fault applies to a request.
func (f Fault) matches(x *exchange) bool {
	account := ""
	if x.account != nil {
		account = x.account.sid
	}
	return matchesAny(string(f.Operation), string(x.route.op)) &&
		matchesAny(f.Account, account) && f.matchesNumber(x) && f.matchesAddOn(x)
}

// matchesNumber also accepts the list of numbers if the fault leaves a number out of it.
func (f Fault) matchesNumber(x *exchange) bool {
	return matchesAny(f.Number, x.route.number) ||
		f.Kind == FaultMissingNumber && x.route.op == OpNumbers
}

// matchesAddOn compares the installation with the one that a request is about. The path of an
// assignment has the assignment's SID, which [Behaviour].AssignmentSID may make a different one.
func (f Fault) matchesAddOn(x *exchange) bool {
	if x.route.op == OpCreate {
		return matchesAny(f.AddOn, x.form.Get("InstalledAddOnSid"))
	}
	return matchesAny(f.AddOn, x.route.addOn) ||
		x.route.number != "" && x.route.addOn == AssignmentSID(x.route.number, f.AddOn)
}

func matchesAny(want, got string) bool {
	return want == "" || want == string(OpAny) || want == got
}

// location returns the fault's host, or a default.
func (f Fault) location(otherwise string) string {
	if f.Location == "" {
		return otherwise
	}
	return strings.TrimSuffix(f.Location, "/")
}

// FaultState is a fault and what it has done so far.
type FaultState struct {
	Fault
	// Matched counts the requests it concerned, Fired those that it made go wrong.
	Matched int `json:"matched"`
	Fired   int `json:"fired"`

	random *rand.Rand
}

// fires decides on a request that matches.
func (f *FaultState) fires() bool {
	f.Matched++
	if f.Matched <= f.Skip || f.Count > 0 && f.Fired >= f.Count {
		return false
	}
	if f.Probability > 0 && f.random.Float64() >= f.Probability {
		return false
	}
	f.Fired++
	return true
}

// faults are the faults there are, and what was injected over all.
type faults struct {
	seed uint64

	mu       sync.Mutex
	active   []*FaultState
	added    int
	injected map[string]int
}

// next returns the fault that a request meets.
func (f *faults) next(x *exchange) (Fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, state := range f.active {
		if state.matches(x) && state.fires() {
			f.injected[state.Label()]++
			return state.Fault, true
		}
	}
	return Fault{}, false
}

// AddFault adds a fault. Its ID is ignored: [Sim.Faults] tells the one it got.
func (s *Sim) AddFault(fault Fault) error {
	if err := fault.validate(); err != nil {
		return err
	}
	f := &s.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.injected == nil {
		f.injected = map[string]int{}
	}
	f.added++
	fault.ID = f.added
	random := rand.New(rand.NewPCG(f.seed, uint64(fault.ID)))
	f.active = append(f.active, &FaultState{Fault: fault, random: random})
	return nil
}

// RemoveFault removes a fault by its ID, and reports whether it was there.
func (s *Sim) RemoveFault(id int) bool {
	f := &s.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.active)
	f.active = slices.DeleteFunc(f.active, func(s *FaultState) bool { return s.ID == id })
	return len(f.active) < n
}

// ClearFaults removes every fault. Requests that a fault has already reached still go wrong.
func (s *Sim) ClearFaults() {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.active = nil
}

// Faults returns the faults there are, in the order in which they were added.
func (s *Sim) Faults() []FaultState {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	out := make([]FaultState, 0, len(s.faults.active))
	for _, f := range s.faults.active {
		out = append(out, FaultState{Fault: f.Fault, Matched: f.Matched, Fired: f.Fired})
	}
	return out
}

// Injected returns how many faults have fired since the start, by [Fault.Label], those of
// removed faults included.
func (s *Sim) Injected() map[string]int {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	return maps.Clone(s.faults.injected)
}
