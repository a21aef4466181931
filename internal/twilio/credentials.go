// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

// Credentials are the two halves of HTTP basic authentication.
type Credentials struct {
	Username string // AC… or SK…
	Password string // auth token or API key secret
}

// ParseCredentials reads the data of a Secret: apiKeySID and apiKeySecret, or authToken.
func ParseCredentials(accountSID string, data map[string][]byte) (Credentials, error) {
	panic("todo")
}
