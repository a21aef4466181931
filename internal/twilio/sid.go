// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"regexp"
	"strings"
)

// Twilio's identifiers: two letters for the kind and 32 hexadecimal digits.
var (
	accountSIDPattern = regexp.MustCompile(`^AC[0-9a-fA-F]{32}$`)
	apiKeySIDPattern  = regexp.MustCompile(`^SK[0-9a-fA-F]{32}$`)
	numberSIDPattern  = regexp.MustCompile(`^PN[0-9a-fA-F]{32}$`)
	addOnSIDPattern   = regexp.MustCompile(`^XE[0-9a-fA-F]{32}$`)
)

// checkNumber and checkAddOn let only SIDs into a request's path: the generated code
// inserts its arguments unescaped.
func checkNumber(sid string) error {
	if !numberSIDPattern.MatchString(sid) {
		return errNumberSID
	}
	return nil
}

func checkAddOn(sid string) error {
	if !addOnSIDPattern.MatchString(sid) {
		return errAddOnSID
	}
	return nil
}

// canonicalSID returns the spelling that stands for all letter cases of a SID: the kind
// in upper case, the digits in lower case. It is for comparing and for labels; requests
// use the SID as it was given.
func canonicalSID(sid string) string {
	const kind = 2
	if len(sid) < kind {
		return strings.ToUpper(sid)
	}
	return strings.ToUpper(sid[:kind]) + strings.ToLower(sid[kind:])
}
