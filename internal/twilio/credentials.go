// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"
)

// The keys of the Secret that holds the credentials.
const (
	KeyAuthToken    = "authToken"
	KeyAccountSID   = "accountSID" // the account of authToken, if it is a parent account's token
	KeyAPIKeySID    = "apiKeySID"
	KeyAPIKeySecret = "apiKeySecret"
)

// maxPassword limits the length of a credential; Twilio's have 32 characters.
const maxPassword = 1024

// Credentials are the user name and password of HTTP basic authentication. Printing
// them shows the user name only.
type Credentials struct {
	Username string // AC… with an auth token, SK… with an API key's secret
	Password string
}

// Format keeps the password out of the output of fmt, whatever the verb.
func (c Credentials) Format(s fmt.State, _ rune) {
	_, _ = io.WriteString(s, "credentials of "+c.Username)
}

// MarshalText keeps the password out of JSON and of logs.
func (c Credentials) MarshalText() ([]byte, error) {
	return fmt.Append(nil, c), nil
}

// Describe names the credentials without the secret: "API key SK…" or "the auth token
// of AC…".
func (c Credentials) Describe() string {
	if apiKeySIDPattern.MatchString(c.Username) {
		return "API key " + c.Username
	}
	return "the auth token of " + c.Username
}

// ParseCredentials reads the data of a Secret: apiKeySID with apiKeySecret, or
// authToken. If both are complete, the API key is used. The user name of an auth token
// is the Secret's accountSID, for the token of a parent account, or by default the
// argument. White space around values is ignored. The error names the key that is
// missing or malformed; it never contains a value.
func ParseCredentials(accountSID string, data map[string][]byte) (Credentials, error) {
	token, keySID, secret := value(data, KeyAuthToken), value(data, KeyAPIKeySID), value(data, KeyAPIKeySecret)
	switch {
	case keySID != "" && secret != "":
		return apiKey(keySID, secret)
	case token != "":
		return authToken(accountSID, value(data, KeyAccountSID), token)
	case keySID != "":
		return Credentials{}, fmt.Errorf("the Secret has %s but no %s", KeyAPIKeySID, KeyAPIKeySecret)
	case secret != "":
		return Credentials{}, fmt.Errorf("the Secret has %s but no %s", KeyAPIKeySecret, KeyAPIKeySID)
	}
	return Credentials{}, fmt.Errorf("the Secret has neither %s nor %s with %s",
		KeyAuthToken, KeyAPIKeySID, KeyAPIKeySecret)
}

func value(data map[string][]byte, key string) string {
	return string(bytes.TrimSpace(data[key]))
}

func apiKey(sid, secret string) (Credentials, error) {
	if !apiKeySIDPattern.MatchString(sid) {
		return Credentials{}, fmt.Errorf("the Secret's %s must be SK and 32 hexadecimal digits", KeyAPIKeySID)
	}
	if err := checkPassword(secret); err != nil {
		return Credentials{}, fmt.Errorf("the Secret's %s %w", KeyAPIKeySecret, err)
	}
	return Credentials{Username: sid, Password: secret}, nil
}

func authToken(accountSID, owner, token string) (Credentials, error) {
	if owner != "" && !accountSIDPattern.MatchString(owner) {
		return Credentials{}, fmt.Errorf("the Secret's %s must be AC and 32 hexadecimal digits", KeyAccountSID)
	}
	if !accountSIDPattern.MatchString(accountSID) {
		return Credentials{}, errors.New("the account SID must be AC and 32 hexadecimal digits")
	}
	if err := checkPassword(token); err != nil {
		return Credentials{}, fmt.Errorf("the Secret's %s %w", KeyAuthToken, err)
	}
	return Credentials{Username: cmp.Or(owner, accountSID), Password: token}, nil
}

// check validates credentials that ParseCredentials may not have made.
func (c Credentials) check() error {
	if !accountSIDPattern.MatchString(c.Username) && !apiKeySIDPattern.MatchString(c.Username) {
		return errors.New("the user name is neither an account SID nor an API key SID")
	}
	if err := checkPassword(c.Password); err != nil {
		return fmt.Errorf("the password %w", err)
	}
	return nil
}

// checkPassword refuses what is never in a credential of Twilio's, but often in one that
// was decoded or pasted wrongly.
func checkPassword(s string) error {
	switch {
	case s == "":
		return errors.New("is empty")
	case len(s) > maxPassword:
		return fmt.Errorf("is longer than %d bytes", maxPassword)
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }):
		return errors.New("contains characters that are not printable ASCII")
	}
	return nil
}
