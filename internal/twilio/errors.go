// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import "time"

// Operation names a call in words fit for a message and a metric label.
type Operation string

// The operations of the client.
const (
	OpVerify         Operation = "verify_credentials"
	OpGetPhoneNumber Operation = "get_phone_number"
	OpListAssigned   Operation = "list_assigned_add_ons"
	OpGetAssigned    Operation = "get_assigned_add_on"
	OpAssign         Operation = "assign_add_on"
	OpUnassign       Operation = "unassign_add_on"
)

// Error is the error of every operation.
//
// With Err nil it is Twilio's own refusal and HTTPStatus classifies it. With Err
// set, the request was not sent, was not answered, or the answer is not one of
// Twilio's to this call.
type Error struct {
	Operation  Operation
	HTTPStatus int // 0: no answer
	Code       int // Twilio's error code; 0: none
	Message    string
	MoreInfo   string
	RequestID  string
	// RetryAfter is what the answer asked for, within 15 minutes; only with HasRetryAfter.
	RetryAfter    time.Duration
	HasRetryAfter bool
	// Sent: at least a part of the request may have left this process.
	Sent bool
	Err  error
}

func (e *Error) Error() string { panic("todo") }

func (e *Error) Unwrap() error { return e.Err }

// Explain gives a stable text for a status message.
func Explain(err error) string { panic("todo") }

// RequestID is Twilio's id of the request that failed, for logs; "" if there is none.
func RequestID(err error) string { panic("todo") }

// IsNotFound: 404 from Twilio.
func IsNotFound(err error) bool { panic("todo") }

// IsThrottled: 429.
func IsThrottled(err error) bool { panic("todo") }

// IsUnauthorized: 401, except with code 70051.
func IsUnauthorized(err error) bool { panic("todo") }

// IsPermissionDenied: 403, and 401 with code 70051.
func IsPermissionDenied(err error) bool { panic("todo") }

// IsRejected: any other 4xx but 408, 409, 425; and input that cannot be sent.
func IsRejected(err error) bool { panic("todo") }

// IsConflict: 409.
func IsConflict(err error) bool { panic("todo") }

// IsTransient: every other error, unknown ones included.
func IsTransient(err error) bool { panic("todo") }

// OutcomeUnknown: a write that may have been processed although it failed.
func OutcomeUnknown(err error) bool { panic("todo") }

// RetryAfter is how long Twilio asked to wait, between 0 and 15 minutes.
func RetryAfter(err error) (time.Duration, bool) { panic("todo") }
