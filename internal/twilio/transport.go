// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import "net/http"

// ValidateBaseURL says whether raw can be an account's base URL.
func ValidateBaseURL(raw string, allowInsecure bool) error { panic("todo") }

// NewTransport returns the transport that all clients of a process share.
// It keeps up to idlePerHost connections to a host open between calls.
func NewTransport(idlePerHost int) *http.Transport { panic("todo") }
