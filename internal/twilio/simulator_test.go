// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio_test

import (
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// simulated is a simulator with a parent account and a subaccount of three numbers, in
// pages of two.
type simulated struct {
	*twiliosim.Sim
	t           *testing.T
	url         string
	parent, sub string
	numbers     []string
}

func simulate(t *testing.T) *simulated {
	t.Helper()
	s := &simulated{Sim: twiliosim.New(twiliosim.Options{Seed: 1}), t: t, parent: twiliosim.SID("AC", 1), sub: twiliosim.SID("AC", 2)}
	twiliosim.Must(s.AddAccount(s.parent, "parent-token"), s.AddSubaccount(s.parent, s.sub, "sub-token"),
		s.UpdateBehaviour(func(b *twiliosim.Behaviour) { b.MaxPageSize = 2 }))
	for i, e164 := range []string{"+14155550101", "+14155550102", "+14155550103"} {
		s.numbers = append(s.numbers, twiliosim.SID("PN", i+1))
		twiliosim.Must(s.AddNumber(s.sub, s.numbers[i], e164))
	}
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// client returns a client of the account with the Secret's data.
func (s *simulated) client(account string, secret map[string][]byte) *twilio.Client {
	s.t.Helper()
	credentials, err := twilio.ParseCredentials(account, secret)
	if err != nil {
		s.t.Fatal(err)
	}
	transport := twilio.NewTransport(1)
	s.t.Cleanup(transport.CloseIdleConnections)
	client, err := twilio.New(twilio.Options{AccountSID: account, BaseURL: s.url, Credentials: credentials, Transport: transport})
	if err != nil {
		s.t.Fatal(err)
	}
	return client
}

func TestNumbersOfTheSimulator(t *testing.T) {
	s := simulate(t)
	sub := s.client(s.sub, map[string][]byte{twilio.KeyAuthToken: []byte("sub-token")})
	all, err := sub.ListPhoneNumbers(t.Context())
	want := []twilio.PhoneNumber{
		{SID: s.numbers[0], PhoneNumber: "+14155550101"},
		{SID: s.numbers[1], PhoneNumber: "+14155550102"},
		{SID: s.numbers[2], PhoneNumber: "+14155550103"},
	}
	for i := range all {
		all[i].FriendlyName = "" // the simulator's own choice
	}
	if diff := cmp.Diff(want, all); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	twiliosim.Must(s.ReleaseNumber(s.numbers[1]), s.MoveNumber(s.numbers[2], s.parent))
	for i, want := range []bool{true, false, false} {
		for _, e164 := range []string{all[i].PhoneNumber, ""} {
			if got, err := sub.ReadOnly().HasPhoneNumber(t.Context(), s.numbers[i], e164); got != want || err != nil {
				t.Errorf("%s as %q: got %v, %v; want %v", s.numbers[i], e164, got, err, want)
			}
		}
	}
}

func TestCredentialsOfTheSimulator(t *testing.T) {
	s := simulate(t)
	cases := map[string]struct {
		account string
		secret  map[string][]byte
		want    func(error) bool
	}{
		"the account's own token": {s.sub, map[string][]byte{"authToken": []byte("sub-token")}, accepted},
		"the parent's token without its account": {s.sub, map[string][]byte{"authToken": []byte("parent-token")},
			twilio.IsUnauthorized},
		"the parent's token with its account": {s.sub,
			map[string][]byte{"authToken": []byte("parent-token"), "accountSID": []byte(s.parent)}, accepted},
		"the subaccount's token for the parent": {s.parent,
			map[string][]byte{"authToken": []byte("sub-token"), "accountSID": []byte(s.sub)}, twilio.IsUnauthorized},
		"an account that is not there": {twiliosim.SID("AC", 9),
			map[string][]byte{"authToken": []byte("parent-token"), "accountSID": []byte(s.parent)}, refused},
	}
	for name, c := range cases {
		if err := s.client(c.account, c.secret).Verify(t.Context()); !c.want(err) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func accepted(err error) bool { return err == nil }
func refused(err error) bool  { return twilio.IsNotFound(err) || twilio.IsUnauthorized(err) }
