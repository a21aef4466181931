// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration that reads and writes itself as text ("150ms") in JSON.
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler; it takes what time.ParseDuration takes.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// Outcome names an error answer as "<HTTP status>-<Twilio code>", or "<HTTP status>" alone for
// one whose code is unknown. Any status from 400 to 599 is taken.
type Outcome string

// Words that stand beside the outcomes of some switches.
const (
	// DuplicateSame answers a repeated create with 201 and the assignment there is.
	DuplicateSame Outcome = "201-same"
	// UninstallCascade removes the assignments of an add-on with its installation.
	UninstallCascade Outcome = "cascade"
	// UninstallRefuse answers 409 to the removal of an installation that is assigned.
	UninstallRefuse Outcome = "refuse-409"
)

// RetryAfterForm says how a throttled answer carries Retry-After.
type RetryAfterForm string

// The forms of Retry-After.
const (
	RetryAfterAbsent   RetryAfterForm = "absent"
	RetryAfterSeconds  RetryAfterForm = "seconds"
	RetryAfterHTTPDate RetryAfterForm = "http-date"
)

// AssignmentSIDForm says which SID a new assignment gets.
type AssignmentSIDForm string

// The forms of an assignment's SID.
const (
	// AssignmentSIDEqual gives an assignment the SID of the installation.
	AssignmentSIDEqual AssignmentSIDForm = "equal"
	// AssignmentSIDDifferent gives it the one of [AssignmentSID]; only that one addresses it.
	AssignmentSIDDifferent AssignmentSIDForm = "different"
)

// Behaviour holds the switches for what Twilio does not document, and for its speed and limits.
type Behaviour struct {
	// DuplicateCreate answers a create of what is assigned already: DuplicateSame (default),
	// "409-20409", "400".
	DuplicateCreate Outcome `json:"duplicateCreate"`
	// UnknownAddOn answers a create with an add-on that is not installed on the account:
	// "404-20404" (default), "400-20422".
	UnknownAddOn Outcome `json:"unknownAddOn"`
	// UnsupportedListing answers a create with an add-on that cannot be assigned to numbers:
	// "400" (default).
	UnsupportedListing Outcome `json:"unsupportedListing"`
	// Uninstall says what removing an assigned installation over HTTP does: UninstallCascade
	// (default) or UninstallRefuse.
	Uninstall Outcome `json:"uninstall"`
	// Suspended answers for an account that is suspended or closed: "401-20003" (default),
	// "403-20003", "403-20403", "403-20005".
	Suspended Outcome `json:"suspended"`
	// RestrictedKey answers a restricted API key without the permission: "401-70051" (default),
	// "403-70051", "403-20003".
	RestrictedKey Outcome `json:"restrictedKey"`
	// RetryAfter says how a 429 for a limit carries Retry-After; default RetryAfterAbsent.
	RetryAfter RetryAfterForm `json:"retryAfter"`
	// RetryAfterDelay is the delay it names, at least a second; default one second.
	RetryAfterDelay Duration `json:"retryAfterDelay"`
	// AssignmentSID says which SID new assignments get; default AssignmentSIDEqual.
	AssignmentSID AssignmentSIDForm `json:"assignmentSID"`
	// ReadLag is how long list and fetch do not yet show an assignment created over HTTP, and
	// still show one deleted over HTTP. Creates and deletes always see the truth, and so does
	// [Sim.Assigned]. Default none.
	ReadLag Duration `json:"readLag"`
	// ConcurrencyLimit is how many requests of one account may be in flight; one more is
	// answered 429 and not processed. Zero, the default, means no limit.
	ConcurrencyLimit int `json:"concurrencyLimit"`
	// RateLimit is how many requests a second an account may make, with a burst of as many (at
	// least one). Zero, the default, means no limit.
	RateLimit float64 `json:"rateLimit"`
	// Latency is how long a request that is not throttled takes; LatencyJitter is the upper
	// bound of a random addition to it. Defaults none.
	Latency       Duration `json:"latency"`
	LatencyJitter Duration `json:"latencyJitter"`
	// MaxPageSize makes pages smaller than asked for, so that a few items need several pages.
	// Zero, the default, means what Twilio documents: 1000.
	MaxPageSize int `json:"maxPageSize"`
}

// DefaultBehaviour returns the answers thought likeliest, no limits and no latency.
func DefaultBehaviour() Behaviour {
	return Behaviour{
		DuplicateCreate:    DuplicateSame,
		UnknownAddOn:       "404-20404",
		UnsupportedListing: "400",
		Uninstall:          UninstallCascade,
		Suspended:          "401-20003",
		RestrictedKey:      "401-70051",
		RetryAfter:         RetryAfterAbsent,
		RetryAfterDelay:    Duration(time.Second),
		AssignmentSID:      AssignmentSIDEqual,
	}
}

// validate returns an error that names the first field with a value that means nothing.
func (b Behaviour) validate() error {
	outcomes := []struct {
		field string
		value Outcome
		words []Outcome
	}{
		{"duplicateCreate", b.DuplicateCreate, []Outcome{DuplicateSame}},
		{"unknownAddOn", b.UnknownAddOn, nil},
		{"unsupportedListing", b.UnsupportedListing, nil},
		{"suspended", b.Suspended, nil},
		{"restrictedKey", b.RestrictedKey, nil},
	}
	for _, o := range outcomes {
		if _, _, err := o.value.parse(); err != nil && !oneOf(o.value, o.words...) {
			return fmt.Errorf("behaviour: %s: %w", o.field, err)
		}
	}
	switch {
	case !oneOf(b.Uninstall, UninstallCascade, UninstallRefuse):
		return fmt.Errorf("behaviour: uninstall: unknown value %q", b.Uninstall)
	case !oneOf(b.RetryAfter, RetryAfterAbsent, RetryAfterSeconds, RetryAfterHTTPDate):
		return fmt.Errorf("behaviour: retryAfter: unknown value %q", b.RetryAfter)
	case !oneOf(b.AssignmentSID, AssignmentSIDEqual, AssignmentSIDDifferent):
		return fmt.Errorf("behaviour: assignmentSID: unknown value %q", b.AssignmentSID)
	case b.ReadLag < 0 || b.Latency < 0 || b.LatencyJitter < 0 || b.RetryAfterDelay < 0:
		return fmt.Errorf("behaviour: a duration is negative")
	case b.ConcurrencyLimit < 0 || b.RateLimit < 0 || b.MaxPageSize < 0:
		return fmt.Errorf("behaviour: a limit is negative")
	}
	return nil
}

// parse splits an error outcome; a code that is not given is the general one for the status.
func (o Outcome) parse() (status, code int, err error) {
	head, tail, hasCode := strings.Cut(string(o), "-")
	if status, err = strconv.Atoi(head); err != nil || status < 400 || status > 599 {
		return 0, 0, fmt.Errorf("%q is not <status> or <status>-<code>", o)
	}
	if !hasCode {
		return status, defaultCode(status), nil
	}
	if code, err = strconv.Atoi(tail); err != nil {
		return 0, 0, fmt.Errorf("%q is not <status> or <status>-<code>", o)
	}
	return status, code, nil
}

func oneOf[T comparable](v T, all ...T) bool { return slices.Contains(all, v) }
