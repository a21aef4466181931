// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// codePermission is Twilio's error "Authorization Failed", for keys that lack a
// permission. It is not documented whether it comes with 401 or with 403.
const codePermission = 70051

// Operation names a call of the client. It is also a metric label.
type Operation string

// The operations of the client.
const (
	OpVerify           Operation = "verify_credentials"
	OpGetPhoneNumber   Operation = "get_phone_number"
	OpListPhoneNumbers Operation = "list_phone_numbers"
	OpListAssigned     Operation = "list_assigned_add_ons"
	OpGetAssigned      Operation = "get_assigned_add_on"
	OpAssign           Operation = "assign_add_on"
	OpUnassign         Operation = "unassign_add_on"
)

func (o Operation) writes() bool { return o == OpAssign || o == OpUnassign }

// Error is the error of every operation.
//
// If Err is nil, Twilio itself refused, and HTTPStatus says how. Otherwise the request
// was not sent, was not answered, or was answered with something that is not Twilio's
// answer to it: a proxy's page, a redirect, another resource.
type Error struct {
	Operation  Operation
	HTTPStatus int // 0 if there was no answer
	Code       int // Twilio's error code; 0 if there was none
	Message    string
	MoreInfo   string
	RequestID  string
	// RetryAfter is the wait that the answer asks for, from 0 to 15 minutes. It is
	// valid only with HasRetryAfter.
	RetryAfter    time.Duration
	HasRetryAfter bool
	// Sent is false only if no part of the request has left this process.
	Sent bool
	Err  error
}

// Error returns the text for logs, with the request id and the complete cause.
func (e *Error) Error() string {
	text := e.Operation.words()
	if e.HTTPStatus != 0 {
		text += fmt.Sprintf(": HTTP %d", e.HTTPStatus)
	}
	if e.Code != 0 {
		text += fmt.Sprintf(", Twilio error %d", e.Code)
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	if e.RequestID != "" {
		text += " (request " + e.RequestID + ")"
	}
	return text
}

// Unwrap returns the cause, nil if Twilio itself refused.
func (e *Error) Unwrap() error { return e.Err }

// class decides what a caller does next. Each error has exactly one.
type class int

const (
	classNone class = iota // no error
	classTransient
	classNotFound
	classThrottled
	classUnauthorized
	classPermissionDenied
	classConflict
	classRejected
)

// classOf returns classTransient unless the error is proof of something else. Only
// Twilio's own answer is proof, with one exception: a 429 asks for less traffic,
// whoever sends it.
func classOf(err error) class {
	if err == nil {
		return classNone
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return classTransient
	}
	if _, ok := errors.AsType[inputError](e.Err); ok {
		return classRejected
	}
	if e.HTTPStatus == http.StatusTooManyRequests {
		return classThrottled
	}
	if e.Err != nil {
		return classTransient
	}
	return classOfStatus(e.HTTPStatus, e.Code)
}

func classOfStatus(status, code int) class {
	switch status {
	case http.StatusUnauthorized:
		if code == codePermission {
			return classPermissionDenied
		}
		return classUnauthorized
	case http.StatusForbidden:
		return classPermissionDenied
	case http.StatusNotFound:
		return classNotFound
	case http.StatusConflict:
		return classConflict
	case http.StatusRequestTimeout, http.StatusTooEarly:
		return classTransient
	}
	if status >= 400 && status < 500 {
		return classRejected
	}
	return classTransient
}

// IsNotFound reports that Twilio answered that the resource does not exist (404). One
// such answer is not proof: Twilio sometimes gives it for resources that exist.
func IsNotFound(err error) bool { return classOf(err) == classNotFound }

// IsThrottled reports a 429. The call was not processed.
func IsThrottled(err error) bool { return classOf(err) == classThrottled }

// IsUnauthorized reports credentials that Twilio does not accept (401).
func IsUnauthorized(err error) bool { return classOf(err) == classUnauthorized }

// IsPermissionDenied reports credentials that are valid but may not do this: 403, or
// 401 with Twilio's error 70051.
func IsPermissionDenied(err error) bool { return classOf(err) == classPermissionDenied }

// IsConflict reports a 409.
func IsConflict(err error) bool { return classOf(err) == classConflict }

// IsRejected reports a refusal that the same input meets again: any other 4xx except
// 408 and 425, and input that no request can be made of.
func IsRejected(err error) bool { return classOf(err) == classRejected }

// IsTransient reports every other error: 5xx, 3xx, the network, the context, an answer
// that is not Twilio's, and everything unknown.
func IsTransient(err error) bool { return classOf(err) == classTransient }

// IsAboutOneRequest reports a failure after which other requests may well succeed:
// Twilio's own answer with 5xx or with any 4xx except 401, 403, 408, 425 and 429, and
// input that no request can be made of. It is false for nil, for failures that every
// request meets (credentials, throttling, no answer, an answer that is not Twilio's),
// and for a context that ended.
func IsAboutOneRequest(err error) bool {
	switch classOf(err) {
	case classNotFound, classConflict, classRejected:
		return true
	case classTransient:
		e, ok := errors.AsType[*Error](err)
		return ok && e.Err == nil && e.HTTPStatus >= 500
	}
	return false
}

// OutcomeUnknown reports a write that failed but may have been processed. Only reading
// shows whether it was.
func OutcomeUnknown(err error) bool {
	e, ok := errors.AsType[*Error](err)
	if !ok || !e.Operation.writes() {
		return false
	}
	if e.HTTPStatus == 0 {
		return e.Sent
	}
	switch classOf(err) {
	case classTransient, classConflict:
		return true
	}
	return false
}

// RetryAfter returns the wait that Twilio asks for, from 0 to 15 minutes; false if it
// asks for none.
func RetryAfter(err error) (time.Duration, bool) {
	e, ok := errors.AsType[*Error](err)
	if !ok || !e.HasRetryAfter {
		return 0, false
	}
	return clampRetryAfter(e.RetryAfter), true
}

// RequestID returns Twilio's id of the request that failed, for logs and events; "" if
// there is none.
func RequestID(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.RequestID
	}
	return ""
}
