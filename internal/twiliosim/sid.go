// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// SID returns the prefix followed by n as 32 hexadecimal digits, so that a reader recognizes the
// SID in a log.
func SID(prefix string, n int) string {
	return fmt.Sprintf("%s%032x", prefix, n)
}

// IsSID reports whether s is a SID with the given prefix.
func IsSID(prefix, s string) bool {
	if len(s) != len(prefix)+32 || s[:len(prefix)] != prefix {
		return false
	}
	for _, c := range []byte(s[len(prefix):]) {
		if !isHex(c) {
			return false
		}
	}
	return true
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// AssignmentSID returns the SID of an assignment under AssignmentSIDDifferent. It depends only on
// the number and the installation.
func AssignmentSID(numberSID, addOnSID string) string {
	return derivedSID("XE", numberSID, addOnSID)
}

// derivedSID returns a SID that depends only on its arguments.
func derivedSID(prefix string, parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%s\x00", p)
	}
	return prefix + hex.EncodeToString(h.Sum(nil)[:16])
}

// Must panics if any error is not nil. A test can set up a world in one statement with it.
func Must(errs ...error) {
	for _, err := range errs {
		if err != nil {
			panic(err)
		}
	}
}
