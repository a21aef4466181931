// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import "regexp"

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
