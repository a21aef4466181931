// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package twilio is the operator's client of Twilio, and the limiter of how many
// calls an account has in flight. It knows no Kubernetes.
//
// # The client
//
// A Client makes calls for one account: it verifies the credentials, reads phone
// numbers, and lists, assigns and unassigns add-ons. The generated code of
// github.com/twilio/twilio-go builds the requests and decodes the answers. Everything
// that code gets wrong (contexts, redirects, bodies that are not closed, details of
// errors, answers of somebody else, the environment) is done beneath it, in call.go;
// docs/adr has the reasons.
//
// An operation returns a complete, checked value or one *Error. A list is never a part
// of the list: each page is checked, and each item must be of the number or account
// that was asked for. Nothing is concluded from an answer that is not provably
// Twilio's answer to the request.
//
// # Errors
//
// Callers do not look at statuses. They ask: IsNotFound, IsThrottled, IsUnauthorized,
// IsPermissionDenied, IsConflict, IsRejected, IsTransient (exactly one of them holds),
// and besides OutcomeUnknown, IsAboutOneRequest and RetryAfter. Explain gives words for
// an object's status, the same at every retry; Error.Error gives all there is for a log.
//
// # The limiter
//
// Twilio limits the calls that an account has in flight, and does not say to how many.
// A reconcile therefore takes a permit before its first call:
//
//	attempt := limiters.Begin(key)
//	defer attempt.End()
//	ok, pause := attempt.Acquire(limiters.For(accountSID), twilio.Foreground, wake)
//	if !ok {
//		return // wake is called when a permit is held ready for key
//	}
//
// Nobody blocks. Whatever way the attempt ends, End leaves no permit behind.
//
// # Where to find what
//
//	client.go, numbers.go     the operations
//	call.go, decode.go        one HTTP exchange, and what is accepted as its answer
//	paging.go                 from page to page
//	errors.go, explain.go     what went wrong: for code, and for people
//	way.go                    what went wrong between here and Twilio
//	texts.go                  the words
//	transport.go              connections, proxies, base URLs
//	credentials.go            what the Secret holds
//	limiters.go, limiter.go   attempts and permits
//	queue.go                  who is next
//	limit.go                  how many at a time: learned from 429s
//	breaker.go                when to stop calling for a while
//	metrics.go                what is counted
package twilio
