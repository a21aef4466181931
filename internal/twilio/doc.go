// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package twilio is the operator's client of Twilio's assigned add-ons and the
// limiter of how many calls an account may have in flight.
//
// Requests are built by the generated code of github.com/twilio/twilio-go;
// everything that code gets wrong (contexts, redirects, unclosed bodies, error
// detail, alien answers, the environment) is done by a BaseClient of our own
// beneath it. Every operation returns either a complete, checked value or one
// *Error that answers questions: IsNotFound, IsThrottled, OutcomeUnknown.
//
// The package knows no Kubernetes.
package twilio
