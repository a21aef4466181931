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

// checkNumber and checkAddOn keep anything but a SID out of a request's path:
// the generated code pastes its arguments in unescaped.
func checkNumber(sid string) error {
	if !numberSIDPattern.MatchString(sid) {
		return inputError("the phone number SID is not PN and 32 hexadecimal digits")
	}
	return nil
}

func checkAddOn(sid string) error {
	if !addOnSIDPattern.MatchString(sid) {
		return inputError("the add-on SID is not XE and 32 hexadecimal digits")
	}
	return nil
}

// canonicalSID is the one spelling that all letter cases of a SID share: the kind in
// capitals, the digits in small letters. It is for comparing and for labels; requests
// use the spelling that was given.
func canonicalSID(sid string) string {
	const kind = 2
	if len(sid) < kind {
		return strings.ToUpper(sid)
	}
	return strings.ToUpper(sid[:kind]) + strings.ToLower(sid[kind:])
}
