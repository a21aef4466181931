// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package openapi tests that the simulator's answers match Twilio's published OpenAPI. It is a
// module of its own, so that the operator does not depend on the validator.
//
// Twilio's specification is loose: it requires no field, describes no error, and some formats
// contradict Twilio's own examples. Almost any answer would match. The test therefore tightens the
// specification first (spec_test.go). It then makes requests and validates both directions
// (openapi_test.go). To cover another answer, add an exchange to exchanges or refusals.
package openapi
