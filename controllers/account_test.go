// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"
	"testing"
	"time"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/budget"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/fleet"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

// A credential counts as verified only after Twilio accepted it for this very spec; an
// outage afterwards changes nothing about that.
func TestVerifiedSecret(t *testing.T) {
	t.Parallel()
	now := time.Now()
	unreachable := outcomeOfError(&twilio.Error{Operation: twilio.OpVerify, Err: errors.New("refused")})
	cases := map[string]struct {
		outcome *outcome
		want    string
	}{
		"accepted":                       {accountOutcome(twilio.Snapshot{}, now), "uid/1"},
		"accepted, and calls are paused": {accountOutcome(twilio.Snapshot{Paused: twilio.Unavailable}, now), "uid/1"},
		"the check did not get through":  {unreachable, ""},
		"refused":                        {newOutcome(v1alpha1.ReasonCredentialsInvalid, "refused"), ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limiter := twilio.NewLimiters(nil).For("AC")
			r := &accountReconciler{connections: &connections{}, fleet: fleet.New(), counted: map[string]time.Time{}}
			account := &v1alpha1.TwilioAccount{}
			account.Status.VerifiedSecret = "uid/1" // of the spec before
			r.setStatus(account, &connection{version: version{secret: "uid/1"}, limiter: limiter}, c.outcome, &budget.Decision{})
			if account.Status.VerifiedSecret != c.want {
				t.Errorf("the verified Secret is %q, want %q", account.Status.VerifiedSecret, c.want)
			}
		})
	}
}
