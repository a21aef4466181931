// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// codePermission is Twilio's "Authorization Failed" for keys that lack a
// permission. Which of 401 and 403 it comes with is not documented.
const codePermission = 70051

// Operation names one of the client's calls; it is also a metric label.
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

// words is the operation as the beginning of a sentence about its failure.
func (o Operation) words() string {
	switch o {
	case OpVerify:
		return "checking the credentials"
	case OpGetPhoneNumber:
		return "reading the phone number"
	case OpListPhoneNumbers:
		return "listing the account's phone numbers"
	case OpListAssigned:
		return "listing the assigned add-ons"
	case OpGetAssigned:
		return "reading the assignment"
	case OpAssign:
		return "assigning the add-on"
	case OpUnassign:
		return "unassigning the add-on"
	case OpListInstalled:
		return "listing the installed add-ons"
	}
	return "calling Twilio"
}

// Error is the error of every operation.
//
// With Err nil it is Twilio's own refusal, and HTTPStatus classifies it. With Err
// set the request was not sent, was not answered, or was answered with something
// that is not Twilio's to this call: a proxy's page, a redirect, another resource.
type Error struct {
	Operation  Operation
	HTTPStatus int // 0 if there was no answer
	Code       int // Twilio's error code; 0 if there was none
	Message    string
	MoreInfo   string
	RequestID  string
	// RetryAfter is what the answer asked for, from 0 to 15 minutes; it holds
	// only with HasRetryAfter.
	RetryAfter    time.Duration
	HasRetryAfter bool
	// Sent is false only if no part of the request can have reached Twilio.
	Sent bool
	Err  error
}

// Error is the text for a log: with the request id, and the cause in full.
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

// Unwrap returns the cause where the error is not Twilio's own refusal.
func (e *Error) Unwrap() error { return e.Err }

// inputError is a request that was never made because of what it asked for.
type inputError string

func (e inputError) Error() string { return string(e) }

// answerError is an answer that is not one of Twilio's to the call.
type answerError string

func (e answerError) Error() string { return string(e) }

// class is what a caller does next; each error has exactly one.
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

// classOf holds every error that it has no proof about for transient. Proof is
// Twilio's own answer, not a proxy's, with one exception: a 429 asks for less
// traffic whoever sends it.
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

// IsNotFound reports whether Twilio said that the resource does not exist (404).
// One such answer is no proof: Twilio gives stray ones.
func IsNotFound(err error) bool { return classOf(err) == classNotFound }

// IsThrottled reports a 429: the call was not processed.
func IsThrottled(err error) bool { return classOf(err) == classThrottled }

// IsUnauthorized reports credentials that Twilio does not accept (401).
func IsUnauthorized(err error) bool { return classOf(err) == classUnauthorized }

// IsPermissionDenied reports accepted credentials that may not do this: 403, or
// 401 with Twilio's code 70051.
func IsPermissionDenied(err error) bool { return classOf(err) == classPermissionDenied }

// IsConflict reports a 409.
func IsConflict(err error) bool { return classOf(err) == classConflict }

// IsRejected reports a refusal that the same input will meet again: any other 4xx
// but 408 and 425, and input that no request can be made of.
func IsRejected(err error) bool { return classOf(err) == classRejected }

// IsTransient reports every error that is none of the others: 5xx, 3xx, the
// network, the context, an answer that is not Twilio's, and all that is unknown.
func IsTransient(err error) bool { return classOf(err) == classTransient }

// IsAboutOneRequest reports Twilio's own answer to this one request, after which other
// requests may well succeed: 5xx and every 4xx but 401, 403, 408, 425 and 429. It also
// reports input that no request can be made of. It is false for nil, for the failures
// that every request meets (credentials, throttling, no answer, an answer that is not
// Twilio's), and for a context that ended.
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

// OutcomeUnknown reports a write that failed and may have been processed all the
// same: whether it was can only be found by reading.
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

// RetryAfter is how long Twilio asked to wait, from 0 to 15 minutes, if it did.
func RetryAfter(err error) (time.Duration, bool) {
	e, ok := errors.AsType[*Error](err)
	if !ok || !e.HasRetryAfter {
		return 0, false
	}
	return clampRetryAfter(e.RetryAfter), true
}

// RequestID is Twilio's id of the request that failed, for logs and events; "" if
// there is none.
func RequestID(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.RequestID
	}
	return ""
}
