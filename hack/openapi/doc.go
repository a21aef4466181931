// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package openapi checks that the simulated Twilio answers as Twilio's published OpenAPI says.
//
// Twilio's files say little: no field is required, no error is described, and some formats
// contradict Twilio's own examples. So a check against them as they are would pass with almost
// any answer; the test tightens them first.
package openapi
