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

// FaultKind is a way in which a request fails.
type FaultKind string

// Kinds that replace Twilio's answer. The request is processed only if Fault.Processed is true.
const (
	// FaultError answers with Twilio's JSON error body. Status defaults to 500, Code to the general
	// code of the status. RetryAfter adds the header of that name.
	FaultError FaultKind = "error"
	// FaultHTML answers like a gateway: an HTML page of Bytes bytes (default 150) with Status
	// (default 502) and RetryAfter.
	FaultHTML FaultKind = "html"
	// FaultChunkedError is FaultError without a Content-Length; Status defaults to 404.
	FaultChunkedError FaultKind = "chunked-error"
	// FaultReset resets the TCP connection. With Processed, only the answer is lost.
	FaultReset FaultKind = "reset"
	// FaultHang sends nothing until the client disconnects. If Delay is set, the request is
	// processed and answered normally after that time.
	FaultHang FaultKind = "hang"
	// FaultAlien answers with a success status and unrelated JSON.
	FaultAlien FaultKind = "alien"
	// FaultEmptyObject answers with a success status and {}.
	FaultEmptyObject FaultKind = "empty-object"
	// FaultEmptyBody answers with a success status and no body.
	FaultEmptyBody FaultKind = "empty-body"
	// FaultRedirect answers with Status (default 307) and a Location header. Fault.Location is the
	// host, such as "https://host", to which the request's path is added. If it is empty, the
	// redirect leads to the same path on this host with a different query.
	FaultRedirect FaultKind = "redirect"
)

// Kinds that distort Twilio's own answer. The request is processed first.
const (
	// FaultSlowBody sends the body in pieces, spread over Delay (default one second).
	FaultSlowBody FaultKind = "slow-body"
	// FaultTruncated sends half of the body with a matching Content-Length.
	FaultTruncated FaultKind = "truncated"
	// FaultCutBody sends half of the body, with the Content-Length of the whole, and closes the
	// connection.
	FaultCutBody FaultKind = "cut-body"
	// FaultOversized adds Bytes bytes (default 32 MiB). The answer stays valid JSON.
	FaultOversized FaultKind = "oversized"
	// FaultWrongNumber replaces the SID of the requested number with another one.
	FaultWrongNumber FaultKind = "wrong-number"
	// FaultWrongSID replaces the SID of the resource, or of the first item of a list.
	FaultWrongSID FaultKind = "wrong-sid"
	// FaultDuplicateItems starts a page with the last item of the previous page. The first page
	// repeats its own last item.
	FaultDuplicateItems FaultKind = "duplicate-items"
	// FaultNextPageSelf makes the link to the next page lead to the same page.
	FaultNextPageSelf FaultKind = "next-page-self"
	// FaultNextPageElsewhere makes the link to the next page lead to the host Location (default
	// "https://elsewhere.invalid").
	FaultNextPageElsewhere FaultKind = "next-page-elsewhere"
	// FaultMissingNumber processes the request as if Fault.Number did not exist. Every request
	// about the number is answered 404 and changes nothing, and the account's list of numbers
	// leaves the number out. Fault.Number is required. Fault.Operation can narrow the fault, for
	// example to OpNumbers.
	FaultMissingNumber FaultKind = "missing-number"
)

// distortions need Twilio's own answer.
var distortions = []FaultKind{
	FaultSlowBody, FaultTruncated, FaultCutBody, FaultOversized, FaultWrongNumber, FaultWrongSID,
	FaultDuplicateItems, FaultNextPageSelf, FaultNextPageElsewhere, FaultMissingNumber,
}

// replacements do not need Twilio's own answer.
var replacements = []FaultKind{
	FaultError, FaultHTML, FaultChunkedError, FaultReset, FaultHang, FaultAlien, FaultEmptyObject,
	FaultEmptyBody, FaultRedirect,
}

// FaultKinds returns all kinds.
func FaultKinds() []FaultKind { return slices.Concat(replacements, distortions) }

// Fault makes matching requests fail. If several faults match a request, the first one that fires
// applies, in the order in which they were added. No fault applies to a throttled request.
type Fault struct {
	// ID is assigned by the simulator.
	ID int `json:"id,omitempty"`
	// Operation, Account, Number and AddOn select requests. Empty or "*" matches all. AddOn is the
	// SID of an installation: of the one that a create assigns, or of the one in the path, also
	// if the path has the SID of its assignment.
	Operation Operation `json:"operation,omitempty"`
	Account   string    `json:"account,omitempty"`
	Number    string    `json:"number,omitempty"`
	AddOn     string    `json:"addOn,omitempty"`
	Kind      FaultKind `json:"kind"`
	// Skip is how many matching requests pass before the fault can fire.
	Skip int `json:"skip,omitempty"`
	// Count is how often the fault can fire. Zero means no limit.
	Count int `json:"count,omitempty"`
	// Probability is the chance that the fault fires for a matching request. Zero means always.
	Probability float64 `json:"probability,omitempty"`
	// Processed executes the request before it fails, so that its changes take effect.
	Processed bool `json:"processed,omitempty"`

	// Status, Code, RetryAfter, Delay, Bytes and Location are used by the kinds that name them.
	Status int `json:"status,omitempty"`
	Code   int `json:"code,omitempty"`
	// RetryAfter is sent verbatim, except that "date+5s" becomes the HTTP date in five seconds.
	RetryAfter string   `json:"retryAfter,omitempty"`
	Delay      Duration `json:"delay,omitempty"`
	Bytes      int      `json:"bytes,omitempty"`
	Location   string   `json:"location,omitempty"`
}

// Label identifies the fault in [Sim.Injected]: its kind, its status if one is set, and whether
// the request is processed.
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
		return fmt.Errorf("fault: status %d is not between 200 and 599", f.Status)
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

// FaultState is a fault with its counts.
type FaultState struct {
	Fault
	// Matched counts matching requests. Fired counts the requests that the fault made fail.
	Matched int `json:"matched"`
	Fired   int `json:"fired"`

	random *rand.Rand
}

// fires decides whether a matching request fails, and counts it.
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

// faults holds the active faults and the counts of all faults.
type faults struct {
	seed uint64

	mu       sync.Mutex
	active   []*FaultState
	added    int
	injected map[string]int
}

// next returns the fault that applies to a request, if any.
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

// AddFault adds a fault. It ignores fault.ID and assigns a new one, which [Sim.Faults] returns.
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

// RemoveFault removes a fault by its ID and reports whether it existed.
func (s *Sim) RemoveFault(id int) bool {
	f := &s.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.active)
	f.active = slices.DeleteFunc(f.active, func(s *FaultState) bool { return s.ID == id })
	return len(f.active) < n
}

// ClearFaults removes all faults. A request that a fault already applies to still fails.
func (s *Sim) ClearFaults() {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.active = nil
}

// Faults returns the active faults, in the order in which they were added.
func (s *Sim) Faults() []FaultState {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	out := make([]FaultState, 0, len(s.faults.active))
	for _, f := range s.faults.active {
		out = append(out, FaultState{Fault: f.Fault, Matched: f.Matched, Fired: f.Fired})
	}
	return out
}

// Injected returns how often faults have fired since the start, by [Fault.Label]. It includes
// removed faults.
func (s *Sim) Injected() map[string]int {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	return maps.Clone(s.faults.injected)
}
