// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/budget"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/fleet"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
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

// rotate gives the account a new credential, in Twilio and in the Secret.
func (w *world) rotate(t *testing.T) {
	t.Helper()
	rotated := secretMark + "rotated" + w.account[2:10]
	twiliosim.Must(s.sim.RotateAuthToken(w.account, rotated))
	update(t, w.secret(), func(secret *corev1.Secret) { secret.Data[v1alpha1.SecretKeyAuthToken] = []byte(rotated) })
}

// awaitAccount waits until the world's account reports a reason.
func (w *world) awaitAccount(reason string) *v1alpha1.TwilioAccount {
	w.t.Helper()
	account := w.twilioAccount()
	eventually(w.t, "the account reports "+reason, func() (bool, string) {
		get(w.t, account)
		return readyReason(account) == reason, fmt.Sprint(account.Status.Conditions)
	})
	return account
}

// An account whose credential Twilio does not answer about holds up no other: a new
// credential of another account is in use while the first check still hangs.
func TestHangingCheckHoldsUpNoOtherAccount(t *testing.T) {
	t.Parallel()
	stuck, other := newWorld(t), newWorld(t)
	hang := twiliosim.Fault{Account: stuck.account, Kind: twiliosim.FaultHang}
	calls := func() int { return s.sim.CallTotals().ByAccount[stuck.account].Calls }
	before, was := calls(), other.awaitAccount(v1alpha1.ReasonCredentialsAccepted).Status.VerifiedSecret
	stuckAt := stuck.awaitAccount(v1alpha1.ReasonCredentialsAccepted).Status
	twiliosim.Must(s.sim.AddFault(hang))
	defer s.removeFaults(stuck.account)
	stuck.rotate(t)
	eventually(t, "a check hangs", func() (bool, string) { return calls() > before, "" })
	other.rotate(t)
	eventually(t, "the other credential is accepted", func() (bool, string) {
		account := other.twilioAccount()
		return account.Status.VerifiedSecret != was && account.Status.VerifiedSecret != "", account.Status.VerifiedSecret
	})
	if got := stuck.twilioAccount().Status; got.VerifiedSecret != stuckAt.VerifiedSecret {
		t.Errorf("the check that hangs has ended before: the other account may have waited for it: %+v", got)
	}
	s.removeFaults(stuck.account)
	eventually(t, "the first credential is accepted as well", func() (bool, string) {
		account := stuck.twilioAccount()
		return account.Status.VerifiedSecret != stuckAt.VerifiedSecret && readyReason(account) == v1alpha1.ReasonCredentialsAccepted, fmt.Sprint(account.Status)
	})
}

// An account that waits for a call of its own and then needs none keeps no turn: whatever
// ends its reconcile, its key leaves the queue.
func TestAccountGivesUpItsTurn(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*testing.T, *world){
		"suspended": func(t *testing.T, w *world) {
			t.Helper()
			update(t, w.twilioAccount(), func(a *v1alpha1.TwilioAccount) { a.Spec.Suspend = true })
		},
		"malformed Secret": func(t *testing.T, w *world) {
			t.Helper()
			update(t, w.secret(), func(secret *corev1.Secret) { secret.Data = map[string][]byte{"token": []byte("x")} })
		},
		"invalid address": func(t *testing.T, w *world) {
			t.Helper()
			update(t, w.twilioAccount(), func(a *v1alpha1.TwilioAccount) { a.Spec.APIBaseURL = "http://twilio.example.com" })
		},
		"deleted": func(t *testing.T, w *world) { t.Helper(); remove(t, w.twilioAccount()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(a *v1alpha1.TwilioAccount) { a.Spec.MaxConcurrentRequests = 1 })
			w.awaitAccount(v1alpha1.ReasonCredentialsAccepted)
			waiting := func() int { return s.limiters.For(w.account).Snapshot().WaitingForeground }
			// The one call at a time is that of another key.
			taken := s.limiters.Begin("taken/" + w.name)
			defer taken.End()
			eventually(t, "there is a permit", func() (bool, string) {
				ok, pause := taken.Acquire(s.limiters.For(w.account), twilio.Foreground, func() {})
				return ok, string(pause.Reason)
			})
			w.rotate(t)
			eventually(t, "the account waits for its turn", func() (bool, string) { return waiting() == 1, fmt.Sprint(waiting()) })
			end(t, w)
			eventually(t, "the account keeps no turn", func() (bool, string) { return waiting() == 0, fmt.Sprint(waiting()) })
		})
	}
}

// A credential that Twilio has refused is not tried again, however many objects use it and
// however often they are asked to.
func TestRefusedCredentialIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var all []*assignment
	for i := range 5 {
		all = append(all, w.assignment(fmt.Sprintf("line-%d", i), w.number(), []int{0}))
		awaitReason(t, all[i], v1alpha1.ReasonSynced)
	}
	twiliosim.Must(s.sim.RotateAuthToken(w.account, secretMark+"other"))
	requestAny(t, all[0])
	w.awaitAccount(v1alpha1.ReasonCredentialsInvalid)
	calls := func(a *assignment) int { return s.sim.Calls().Of(twiliosim.OpAny, string(a.Spec.PhoneNumberSID)).Calls }
	for _, a := range all {
		before := calls(a)
		request(t, a)
		awaitReason(t, a, v1alpha1.ReasonCredentialsInvalid)
		if got := calls(a) - before; got != 0 {
			t.Errorf("%d calls about the number of %s with a credential that Twilio refuses, want none", got, a.Name)
		}
	}
}

// What is wrong with an account is one line in the log, however many objects it stops and
// however often they try again; so is its end.
func TestTroubleOfAnAccountIsOneLine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var all []*assignment
	for i := range 10 {
		all = append(all, w.assignment(fmt.Sprintf("line-%d", i), w.number(), []int{0}))
		awaitReason(t, all[i], v1alpha1.ReasonSynced)
	}
	lines := func() (found []string) {
		for line := range strings.Lines(s.logs.String()) {
			if strings.Contains(line, w.name+`"`) && !strings.Contains(line, "DEBUG") {
				found = append(found, line)
			}
		}
		return found
	}
	before := len(lines())
	valid := w.secret().StringData[v1alpha1.SecretKeyAuthToken]
	for _, malformed := range []string{"token", "password"} {
		update(t, w.secret(), func(secret *corev1.Secret) { secret.Data = map[string][]byte{malformed: []byte("x")} })
		for _, a := range all {
			request(t, a)
			awaitReason(t, a, v1alpha1.ReasonCredentialsInvalid)
		}
	}
	update(t, w.secret(), func(secret *corev1.Secret) {
		secret.Data = map[string][]byte{v1alpha1.SecretKeyAuthToken: []byte(valid)}
	})
	for _, a := range all {
		awaitReason(t, a, v1alpha1.ReasonSynced)
	}
	w.awaitAccount(v1alpha1.ReasonCredentialsAccepted)
	got := lines()[before:]
	if len(got) != 2 || !slices.ContainsFunc(got, func(l string) bool { return strings.Contains(l, "The account works again") }) {
		t.Errorf("the log has %d lines, want one when the trouble begins and one when it ends:\n%s", len(got), strings.Join(got, ""))
	}
}
