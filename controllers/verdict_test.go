// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// conditionsOf shows conditions as "Type=Status/Reason", in the order of status.
func conditionsOf(a *assignment) string {
	var shown []string
	for _, c := range a.Status.Conditions {
		shown = append(shown, c.Type+"="+string(c.Status)+"/"+c.Reason)
	}
	return strings.Join(shown, " ")
}

// itemsIn is a plan with an add-on in each of these states.
func itemsIn(states ...v1alpha1.AddOnState) plan {
	p := plan{}
	for _, state := range states {
		p = append(p, item{AddOnStatus: v1alpha1.AddOnStatus{SID: "XE", State: state, Message: "why"}})
	}
	return p
}

// State in, conditions out: what each outcome of a pass makes of status, spelt out here
// once more so that it cannot change unseen, and what kstatus makes of that.
func TestEveryOutcome(t *testing.T) {
	const (
		current, inProgress, failed = status.CurrentStatus, status.InProgressStatus, status.FailedStatus

		assigned, missing, unassigning = v1alpha1.AddOnAssigned, v1alpha1.AddOnMissing, v1alpha1.AddOnUnassigning
		rejected, unmanaged            = v1alpha1.AddOnRejected, v1alpha1.AddOnUnmanaged
	)
	answer := func(httpStatus, code int) error {
		return &twilio.Error{Operation: twilio.OpListAssigned, HTTPStatus: httpStatus, Code: code}
	}
	cases := map[string]struct {
		policy v1alpha1.ManagementPolicy
		read   plan  // nil: the number was not read
		err    error // nil: the pass came to its end
		want   string
		health status.Status
	}{
		"all there": {read: itemsIn(assigned, assigned), health: current,
			want: "Ready=True/Synced InSync=True/Matches"},
		"nothing desired, nothing there": {read: itemsIn(), health: current,
			want: "Ready=True/Synced InSync=True/Matches"},
		"Additive leaves extras": {policy: v1alpha1.ManagementAdditive, read: itemsIn(assigned, unmanaged), health: current,
			want: "Ready=True/Synced InSync=False/Differs"},
		"Observe, as listed": {policy: v1alpha1.ManagementObserve, read: itemsIn(assigned), health: current,
			want: "Ready=True/Observed InSync=True/Matches"},
		"Observe, differs": {policy: v1alpha1.ManagementObserve, read: itemsIn(missing, unmanaged), health: current,
			want: "Ready=True/Observed InSync=False/Differs"},
		"work left": {read: itemsIn(missing, assigned), health: inProgress,
			want: "Ready=False/Progressing Reconciling=True/Progressing InSync=False/Differs"},
		"removal left": {read: itemsIn(assigned, unassigning), health: inProgress,
			want: "Ready=False/Progressing Reconciling=True/Progressing InSync=False/Differs"},
		"one rejected": {read: itemsIn(assigned, rejected), health: failed,
			want: "Ready=False/AddOnRejected Stalled=True/AddOnRejected InSync=False/Differs"},
		"suspended": {err: halted(v1alpha1.ReasonSuspended, "m"), health: current,
			want: "Ready=True/Suspended InSync=Unknown/Unknown"},
		"no account": {err: halted(v1alpha1.ReasonAccountNotFound, "m"), health: failed,
			want: "Ready=False/AccountNotFound Stalled=True/AccountNotFound InSync=Unknown/Unknown"},
		"account refused": {err: halted(v1alpha1.ReasonAccountInvalid, "m"), health: failed,
			want: "Ready=False/AccountInvalid Stalled=True/AccountInvalid InSync=Unknown/Unknown"},
		"namespace not allowed": {err: halted(v1alpha1.ReasonNamespaceNotAllowed, "m"), health: failed,
			want: "Ready=False/NamespaceNotAllowed Stalled=True/NamespaceNotAllowed InSync=Unknown/Unknown"},
		"another owner": {err: halted(v1alpha1.ReasonPhoneNumberConflict, "m"), health: failed,
			want: "Ready=False/PhoneNumberConflict Stalled=True/PhoneNumberConflict InSync=Unknown/Unknown"},
		"no such number": {err: halted(v1alpha1.ReasonPhoneNumberNotFound, "m"), health: failed,
			want: "Ready=False/PhoneNumberNotFound Stalled=True/PhoneNumberNotFound InSync=Unknown/Unknown"},
		"deletion blocked": {err: blocked(halted(v1alpha1.ReasonCredentialsInvalid, "m")), health: failed,
			want: "Ready=False/DeletionBlocked Stalled=True/DeletionBlocked InSync=Unknown/Unknown"},
		"401": {err: answer(401, 20003), health: failed,
			want: "Ready=False/CredentialsInvalid Stalled=True/CredentialsInvalid InSync=Unknown/Unknown"},
		"401 for a permission": {err: answer(401, 70051), health: failed,
			want: "Ready=False/PermissionDenied Stalled=True/PermissionDenied InSync=Unknown/Unknown"},
		"403": {err: answer(403, 20403), health: failed,
			want: "Ready=False/PermissionDenied Stalled=True/PermissionDenied InSync=Unknown/Unknown"},
		"429": {err: answer(429, 20429), health: inProgress,
			want: "Ready=False/RateLimited Reconciling=True/RateLimited InSync=Unknown/Unknown"},
		"500 half-way": {read: itemsIn(assigned, missing), err: answer(500, 20500), health: inProgress,
			want: "Ready=False/TwilioUnavailable Reconciling=True/TwilioUnavailable InSync=False/Differs"},
		"no answer": {err: &twilio.Error{Operation: twilio.OpListAssigned, Err: errors.New("reset")}, health: inProgress,
			want: "Ready=False/TwilioUnavailable Reconciling=True/TwilioUnavailable InSync=Unknown/Unknown"},
		"a stray 404": {err: answer(404, 20404), health: inProgress,
			want: "Ready=False/TwilioUnavailable Reconciling=True/TwilioUnavailable InSync=Unknown/Unknown"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			a := &assignment{ObjectMeta: metav1.ObjectMeta{Name: "line", Generation: 2}}
			a.Spec.ManagementPolicy, a.Status.ObservedGeneration = c.policy, 1
			f := finding{account: &v1alpha1.TwilioAccount{}, plan: c.read}
			if c.read != nil {
				f.seen = &observation{}
			}
			v := verdictOf(c.err)
			if c.err == nil {
				v = verdictOn(a, f.plan)
			}
			a.Status = statusFor(a, f, v, time.Unix(1, 0))
			if diff := cmp.Diff(c.want, conditionsOf(a)); diff != "" {
				t.Errorf("the conditions (-want +got):\n%s", diff)
			}
			checkKstatus(t, a, c.health)
		})
	}
}

// A credential that is refused is met now by this call and now by that one, and by the
// account's own check: status must not be written anew for that.
func TestRefusedCredentialIsToldInTheSameWords(t *testing.T) {
	refused := func(op twilio.Operation) string {
		return verdictOf(&twilio.Error{Operation: op, HTTPStatus: http.StatusUnauthorized, Code: 20003, Message: "Authenticate"}).message
	}
	want := refused(twilio.OpVerify)
	for _, op := range []twilio.Operation{twilio.OpGetPhoneNumber, twilio.OpListAssigned, twilio.OpAssign, twilio.OpUnassign} {
		if got := refused(op); got != want {
			t.Errorf("%s: the message is\n%s\nwant\n%s", op, got, want)
		}
	}
}

// A stray 401 is forgotten also when the account's own check is answered 403: that credential
// is known to Twilio, and each object finds out for itself what it may do.
func TestRefusalEndsWithPermissionDenied(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.assignment("line", w.number(), []int{0})
	awaitReason(t, a, v1alpha1.ReasonSynced)
	twiliosim.Must(
		s.sim.AddFault(twiliosim.Fault{Operation: twiliosim.OpNumbers, Account: w.account, Kind: twiliosim.FaultError, Status: http.StatusForbidden}),
		s.sim.AddFault(twiliosim.Fault{Operation: twiliosim.OpList, Account: w.account, Kind: twiliosim.FaultError, Status: http.StatusUnauthorized, Count: 1}),
	)
	update(t, a, func(a *assignment) { a.Spec.AddOnSIDs = w.sids(1) })
	awaitReason(t, a, v1alpha1.ReasonSynced)
}
