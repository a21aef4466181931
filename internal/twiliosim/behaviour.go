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

// Duration is a time.Duration whose JSON form is text, such as "150ms".
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. It accepts what time.ParseDuration accepts.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// Outcome selects an error answer: "<HTTP status>-<Twilio code>", or "<HTTP status>" for the
// general code of that status. The status is between 400 and 599.
type Outcome string

// Outcomes of some switches that are not errors, or not only errors.
const (
	// DuplicateSame answers a repeated create with 201 and the existing assignment.
	DuplicateSame Outcome = "201-same"
	// UninstallCascade removes the assignments together with the installation.
	UninstallCascade Outcome = "cascade"
	// UninstallRefuse answers 409 if the installation is assigned, and removes nothing.
	UninstallRefuse Outcome = "refuse-409"
)

// RetryAfterForm selects the form of the Retry-After header in throttled answers.
type RetryAfterForm string

// The forms of Retry-After.
const (
	RetryAfterAbsent   RetryAfterForm = "absent"
	RetryAfterSeconds  RetryAfterForm = "seconds"
	RetryAfterHTTPDate RetryAfterForm = "http-date"
)

// AssignmentSIDForm selects the SID of new assignments.
type AssignmentSIDForm string

// The forms of an assignment's SID.
const (
	// AssignmentSIDEqual uses the SID of the installation.
	AssignmentSIDEqual AssignmentSIDForm = "equal"
	// AssignmentSIDDifferent uses [AssignmentSID]. Only this SID addresses the assignment.
	AssignmentSIDDifferent AssignmentSIDForm = "different"
)

// Behaviour holds the switches for answers that Twilio does not document, and for latency and
// limits.
type Behaviour struct {
	// DuplicateCreate is the answer to a create of an existing assignment: DuplicateSame
	// (default), or an error such as "409-20409" or "400".
	DuplicateCreate Outcome `json:"duplicateCreate"`
	// UnknownAddOn is the answer to a create whose add-on is not installed on the account:
	// "404-20404" (default), or another error such as "400-20422".
	UnknownAddOn Outcome `json:"unknownAddOn"`
	// UnsupportedListing is the answer to a create whose add-on cannot be assigned to numbers:
	// "400" (default), or another error.
	UnsupportedListing Outcome `json:"unsupportedListing"`
	// Uninstall selects what the removal of an assigned installation over HTTP does:
	// UninstallCascade (default) or UninstallRefuse.
	Uninstall Outcome `json:"uninstall"`
	// Suspended is the answer for a suspended or closed account: "401-20003" (default), or another
	// error such as "403-20003", "403-20403" or "403-20005".
	Suspended Outcome `json:"suspended"`
	// RestrictedKey is the answer to a restricted API key without the permission: "401-70051"
	// (default), or another error such as "403-70051" or "403-20003".
	RestrictedKey Outcome `json:"restrictedKey"`
	// RetryAfter is the form of the header in answers to throttled requests. Default:
	// RetryAfterAbsent.
	RetryAfter RetryAfterForm `json:"retryAfter"`
	// RetryAfterDelay is the value of that header, at least one second. Default: one second.
	RetryAfterDelay Duration `json:"retryAfterDelay"`
	// AssignmentSID selects the SID of new assignments. Default: AssignmentSIDEqual.
	AssignmentSID AssignmentSIDForm `json:"assignmentSID"`
	// ReadLag is how long list and fetch do not show a create or delete made over HTTP. Creates,
	// deletes, [Sim.Assigned] and changes in the console do not lag. Default: none.
	ReadLag Duration `json:"readLag"`
	// ConcurrencyLimit is how many requests of one account may be in flight. Further requests are
	// answered 429 and not processed. Zero, the default, means no limit.
	ConcurrencyLimit int `json:"concurrencyLimit"`
	// RateLimit is how many requests per second an account may make. The burst is the same number,
	// at least one. Zero, the default, means no limit.
	RateLimit float64 `json:"rateLimit"`
	// Latency is how long a request takes unless it is throttled. A random duration below
	// LatencyJitter is added. Default: none.
	Latency       Duration `json:"latency"`
	LatencyJitter Duration `json:"latencyJitter"`
	// MaxPageSize limits pages to fewer items than requested, so that few items need several
	// pages. Zero, the default, means Twilio's limit of 1000.
	MaxPageSize int `json:"maxPageSize"`
}

// DefaultBehaviour returns the most likely answers, no limits and no latency.
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

// validate returns an error that names the first invalid field.
func (b Behaviour) validate() error {
	outcomes := []struct {
		field string
		value Outcome
		other []Outcome // Valid values that are not errors.
	}{
		{"duplicateCreate", b.DuplicateCreate, []Outcome{DuplicateSame}},
		{"unknownAddOn", b.UnknownAddOn, nil},
		{"unsupportedListing", b.UnsupportedListing, nil},
		{"suspended", b.Suspended, nil},
		{"restrictedKey", b.RestrictedKey, nil},
	}
	for _, o := range outcomes {
		if _, _, err := o.value.parse(); err != nil && !oneOf(o.value, o.other...) {
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

// parse splits an error outcome. Without a code, it returns the general code of the status.
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
