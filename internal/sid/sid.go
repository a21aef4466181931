// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package sid compares Twilio SIDs. Twilio issues them in lower-case hexadecimal digits,
// and accepts either letter case: two spellings of one SID must never look like two
// resources.
package sid

import "strings"

// Normalize returns the spelling by which a SID is compared.
func Normalize[S ~string](s S) string { return strings.ToLower(string(s)) }

// Equal reports whether two SIDs identify the same resource.
func Equal[S, T ~string](s S, t T) bool { return strings.EqualFold(string(s), string(t)) }
