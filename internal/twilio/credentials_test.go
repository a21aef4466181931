// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

const testKey = "SK00000000000000000000000000000001"

func TestParseCredentials(t *testing.T) {
	cases := []struct {
		reason string
		data   map[string]string
		want   Credentials
		err    string
	}{
		{"an auth token", map[string]string{KeyAuthToken: "token"}, Credentials{testAccount, "token"}, ""},
		{"an API key", map[string]string{KeyAPIKeySID: testKey, KeyAPIKeySecret: "s3cret"}, Credentials{testKey, "s3cret"}, ""},
		{"both: the key wins", map[string]string{KeyAuthToken: "token", KeyAPIKeySID: testKey, KeyAPIKeySecret: "s3cret"},
			Credentials{testKey, "s3cret"}, ""},
		{"a token and half a key", map[string]string{KeyAuthToken: "token", KeyAPIKeySID: testKey},
			Credentials{testAccount, "token"}, ""},
		{"white space around", map[string]string{KeyAPIKeySID: " " + testKey + "\n", KeyAPIKeySecret: "\ts3 cret\r\n"},
			Credentials{testKey, "s3 cret"}, ""},
		{"a parent account's token", map[string]string{KeyAuthToken: "token", KeyAccountSID: " " + otherAccount + "\n"},
			Credentials{otherAccount, "token"}, ""},
		{"a token of nobody's", map[string]string{KeyAuthToken: "token", KeyAccountSID: "  "}, Credentials{testAccount, "token"}, ""},
		{"a token of a key's", map[string]string{KeyAuthToken: "token", KeyAccountSID: testKey}, Credentials{},
			"the Secret's accountSID must be AC and 32 hexadecimal digits"},
		{"an API key needs no account", map[string]string{KeyAPIKeySID: testKey, KeyAPIKeySecret: "s3cret", KeyAccountSID: otherAccount},
			Credentials{testKey, "s3cret"}, ""},
		{"an account alone", map[string]string{KeyAccountSID: otherAccount}, Credentials{},
			"the Secret has neither authToken nor apiKeySID with apiKeySecret"},
		{"nothing", nil, Credentials{}, "the Secret has neither authToken nor apiKeySID with apiKeySecret"},
		{"nothing but blanks", map[string]string{KeyAuthToken: " \n"}, Credentials{},
			"the Secret has neither authToken nor apiKeySID with apiKeySecret"},
		{"other keys", map[string]string{"authtoken": "token"}, Credentials{},
			"the Secret has neither authToken nor apiKeySID with apiKeySecret"},
		{"no secret", map[string]string{KeyAPIKeySID: testKey}, Credentials{}, "the Secret has apiKeySID but no apiKeySecret"},
		{"no SID", map[string]string{KeyAPIKeySecret: "s3cret"}, Credentials{}, "the Secret has apiKeySecret but no apiKeySID"},
		{"a SID of another kind", map[string]string{KeyAPIKeySID: testAccount, KeyAPIKeySecret: "s3cret"}, Credentials{},
			"the Secret's apiKeySID must be SK and 32 hexadecimal digits"},
		{"a control character", map[string]string{KeyAuthToken: "to\x00ken"}, Credentials{},
			"the Secret's authToken contains characters that are not printable ASCII"},
		{"a line break within", map[string]string{KeyAPIKeySID: testKey, KeyAPIKeySecret: "s3\ncret"}, Credentials{},
			"the Secret's apiKeySecret contains characters that are not printable ASCII"},
		{"a byte order mark", map[string]string{KeyAuthToken: "\ufefftoken"}, Credentials{},
			"the Secret's authToken contains characters that are not printable ASCII"},
		{"a whole file", map[string]string{KeyAuthToken: strings.Repeat("x", 1025)}, Credentials{},
			"the Secret's authToken is longer than 1024 bytes"},
	}
	for _, c := range cases {
		data := map[string][]byte{}
		for key, value := range c.data {
			data[key] = []byte(value)
		}
		got, err := ParseCredentials(testAccount, data)
		if text := errorText(err); got != c.want || text != c.err {
			t.Errorf("%s: got %q with a password of %d bytes and %q, want %v and %q",
				c.reason, got.Username, len(got.Password), text, c.want, c.err)
		}
	}
	if _, err := ParseCredentials("SK1", map[string][]byte{KeyAuthToken: []byte("token")}); err == nil {
		t.Error("an auth token needs an account SID")
	}
}

func TestCredentialsAreDescribed(t *testing.T) {
	for want, credentials := range map[string]Credentials{
		"API key " + testKey:                {testKey, testPassword},
		"the auth token of " + otherAccount: {otherAccount, testPassword},
	} {
		if got := credentials.Describe(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestCredentialsAreNotPrinted(t *testing.T) {
	credentials := Credentials{Username: testKey, Password: testPassword}
	client := newClient(t, DefaultBaseURL, Options{})
	encoded, err := json.Marshal(map[string]any{"credentials": credentials, "pointer": &credentials})
	if err != nil {
		t.Fatal(err)
	}
	printed := []string{string(encoded)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, value := range []any{credentials, &credentials, client, client.ReadOnly(), []any{credentials},
			struct{ C Credentials }{credentials}, Options{Credentials: credentials}} {
			printed = append(printed, fmt.Sprintf(verb, value))
		}
	}
	for _, text := range printed {
		if strings.Contains(text, testPassword) || strings.Contains(text, fmt.Sprintf("%x", testPassword)) {
			t.Errorf("the password is in %q", text)
		}
	}
}
