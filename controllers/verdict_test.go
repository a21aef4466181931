// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/ledger"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/ownership"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/plan"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

// The tests of this file start no control plane.

// conditionsOf shows conditions as "Type=Status/Reason", in the order of status.
func conditionsOf(a *assignment) string {
	var shown []string
	for _, c := range a.Status.Conditions {
		shown = append(shown, c.Type+"="+string(c.Status)+"/"+c.Reason)
	}
	return strings.Join(shown, " ")
}

// ledgerWith holds an add-on in each of these states.
func ledgerWith(states ...v1alpha1.AddOnState) *ledger.Ledger {
	var p plan.Plan
	refused := map[v1alpha1.AddOnSID]bool{}
	var begun []plan.Step
	for i, state := range states {
		s := v1alpha1.AddOnSID(fmt.Sprintf("XE%d", i))
		listed := &twilio.AssignedAddOn{SID: string(s)}
		switch step := (plan.Step{SID: s}); state {
		case v1alpha1.AddOnAssigned:
			p = append(p, plan.Step{SID: s, Action: plan.Keep, Listed: listed})
		case v1alpha1.AddOnUnassigning:
			p = append(p, plan.Step{SID: s, Action: plan.Unassign, Listed: listed})
		case v1alpha1.AddOnUnmanaged:
			p = append(p, plan.Step{SID: s, Action: plan.Report, Listed: listed})
		case v1alpha1.AddOnMissing, v1alpha1.AddOnAssigning, v1alpha1.AddOnRejected:
			step.Action = plan.Assign
			p = append(p, step)
			refused[s] = state == v1alpha1.AddOnRejected
			if state == v1alpha1.AddOnAssigning {
				begun = append(begun, step)
			}
		}
	}
	l := ledger.From(p)
	l.Begin(begun)
	for s, is := range refused {
		if is {
			l.Refused(s, "why")
		}
	}
	return l
}

func testAccount() *v1alpha1.TwilioAccount {
	return &v1alpha1.TwilioAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: v1alpha1.TwilioAccountSpec{
		AccountSID: "AC1", CredentialsSecretRef: v1alpha1.SecretReference{Name: "credentials"}}}
}

func testObject() *assignment {
	a := &assignment{ObjectMeta: metav1.ObjectMeta{Namespace: "phones", Name: "line", Generation: 2}}
	a.Spec.PhoneNumberSID, a.Spec.AccountRef.Name, a.Status.ObservedGeneration = "PN1", "default", 1
	return a
}

func otherClaim() *ownership.Claim {
	return &ownership.Claim{Key: types.NamespacedName{Namespace: "phones", Name: "other"}}
}

// State in, conditions out: what each outcome of a reconcile makes of status, spelled out
// here once more so that it cannot change unseen, and what kstatus makes of that.
func TestEveryOutcome(t *testing.T) {
	const (
		current, inProgress, failed = status.CurrentStatus, status.InProgressStatus, status.FailedStatus

		assigned, missing, assigning       = v1alpha1.AddOnAssigned, v1alpha1.AddOnMissing, v1alpha1.AddOnAssigning
		unassigning, rejected, unmanaged   = v1alpha1.AddOnUnassigning, v1alpha1.AddOnRejected, v1alpha1.AddOnUnmanaged
		unread, differs, matches           = " InSync=Unknown/Unknown", " InSync=False/Differs", " InSync=True/Matches"
		progressing                        = "Ready=False/Progressing Reconciling=True/Progressing"
		unavailableNow, rateLimited        = "Ready=False/TwilioUnavailable Reconciling=True/TwilioUnavailable", "Ready=False/RateLimited Reconciling=True/RateLimited"
		deletionIsBlocked, accountNotValid = "Ready=False/DeletionBlocked Stalled=True/DeletionBlocked", "Ready=False/AccountInvalid Stalled=True/AccountInvalid"
	)
	stalled := func(reason string) string { return "Ready=False/" + reason + " Stalled=True/" + reason }
	answer := func(httpStatus, code int) error {
		return &twilio.Error{Operation: twilio.OpListAssigned, HTTPStatus: httpStatus, Code: code}
	}
	account, scoped := testAccount(), &scope{object: testObject(), account: testAccount()}
	cases := map[string]struct {
		policy v1alpha1.ManagementPolicy
		read   *ledger.Ledger // nil: the number was not read
		err    error          // nil: the reconcile came to its end
		want   string
		health status.Status
		// neverRead: the number was never read.
		neverRead bool
	}{
		"all there":                      {read: ledgerWith(assigned, assigned), health: current, want: "Ready=True/Synced" + matches},
		"nothing desired, nothing there": {read: ledgerWith(), health: current, want: "Ready=True/Synced" + matches},
		"Additive leaves extras": {policy: v1alpha1.ManagementAdditive, read: ledgerWith(assigned, unmanaged), health: current,
			want: "Ready=True/Synced" + differs},
		"Observe, as listed":       {policy: v1alpha1.ManagementObserve, read: ledgerWith(assigned), health: current, want: "Ready=True/Observed" + matches},
		"Observe, differs":         {policy: v1alpha1.ManagementObserve, read: ledgerWith(missing, unmanaged), health: current, want: "Ready=True/Observed" + differs},
		"work left":                {read: ledgerWith(missing, assigned), health: inProgress, want: progressing + differs},
		"an assignment under way":  {read: ledgerWith(assigning), health: inProgress, want: progressing + differs},
		"removal left":             {read: ledgerWith(assigned, unassigning), health: inProgress, want: progressing + differs},
		"one rejected":             {read: ledgerWith(assigned, rejected), health: failed, want: stalled("AddOnRejected") + differs},
		"one rejected, one to do":  {read: ledgerWith(missing, rejected), health: inProgress, want: progressing + differs},
		"rejected, a removal held": {read: ledgerWith(rejected, unassigning), health: failed, want: stalled("AddOnRejected") + differs},
		"a removal refused": {read: ledgerWith(unassigning), err: removalFailed("XE0", answer(400, 0)), health: failed,
			want: stalled("AddOnRejected") + differs},
		"a removal failed":           {read: ledgerWith(unassigning), err: removalFailed("XE0", answer(500, 0)), health: inProgress, want: unavailableNow + differs},
		"a removal in contradiction": {read: ledgerWith(unassigning), err: contradictoryRemoval(), health: inProgress, want: progressing + differs},
		"suspended":                  {err: suspended(false), health: current, want: "Ready=True/Suspended" + unread},
		"suspended, never read":      {err: suspended(false), neverRead: true, health: inProgress, want: "Ready=Unknown/Suspended" + unread},
		"no account":                 {err: accountNotFound("default"), health: failed, want: stalled("AccountNotFound") + unread},
		"account refused":            {err: accountInvalid("default", errors.New("why")), health: failed, want: accountNotValid + unread},
		"selector refused":           {err: selectorInvalid("default", errors.New("why")), health: failed, want: accountNotValid + unread},
		"namespace not allowed":      {err: namespaceNotAllowed("default", "phones"), health: failed, want: stalled("NamespaceNotAllowed") + unread},
		"no Secret":                  {err: secretMissing(account, "operator"), health: failed, want: stalled("CredentialsInvalid") + unread},
		"Secret refused":             {err: secretInvalid(account, errors.New("why")), health: failed, want: stalled("CredentialsInvalid") + unread},
		"another owner":              {err: conflict(testObject(), otherClaim()), health: failed, want: stalled("PhoneNumberConflict") + unread},
		"takes over":                 {err: takesOver(testObject(), otherClaim()), health: inProgress, want: progressing + unread},
		"awaits a yield":             {err: awaitsYield(testObject(), otherClaim()), health: inProgress, want: progressing + unread},
		"awaits a takeover":          {err: awaitsTakeover(otherClaim()), health: inProgress, want: progressing + unread},
		"no such number":             {err: numberNotFound(scoped, 0), health: failed, want: stalled("PhoneNumberNotFound") + unread},
		"a number in contradiction":  {err: contradictoryNumber(), health: inProgress, want: unavailableNow + unread},
		"queued":                     {err: queuedByLimiter("default", twilio.Busy), health: inProgress, want: progressing + unread},
		"paused after 429":           {err: queuedByLimiter("default", twilio.Throttled), health: inProgress, want: rateLimited + unread},
		"paused after failures":      {err: queuedByLimiter("default", twilio.Unavailable), health: inProgress, want: unavailableNow + unread},
		"interrupted":                {err: newOutcome(v1alpha1.ReasonProgressing, textInterrupted), health: inProgress, want: progressing + unread},
		"deletion blocked":           {err: blocked(secretMissing(account, "operator")), health: failed, want: deletionIsBlocked + unread},
		"deletion, another account":  {err: blocked(accountOfOtherSID("AC2", account)), health: failed, want: deletionIsBlocked + unread},
		"deletion, 401":              {err: blocked(errors.Join(credentialRefused(account, "the key", answer(401, 20003)), answer(401, 20003))), health: failed, want: deletionIsBlocked + unread},
		"deletion, 403":              {err: blocked(answer(403, 20403)), health: failed, want: deletionIsBlocked + unread},
		"deletion, 500":              {err: blocked(answer(500, 0)), health: inProgress, want: unavailableNow + unread},
		"deletion, 429":              {err: blocked(answer(429, 20429)), health: inProgress, want: rateLimited + unread},
		"deletion, no such number":   {err: blocked(numberNotFound(scoped, time.Second)), health: inProgress, want: progressing + unread},
		"401":                        {err: errors.Join(credentialRefused(account, "the key", answer(401, 20003)), answer(401, 20003)), health: failed, want: stalled("CredentialsInvalid") + unread},
		"401 for a permission":       {err: answer(401, 70051), health: failed, want: stalled("PermissionDenied") + unread},
		"403":                        {err: answer(403, 20403), health: failed, want: stalled("PermissionDenied") + unread},
		"429":                        {err: answer(429, 20429), health: inProgress, want: rateLimited + unread},
		"500 half-way":               {read: ledgerWith(assigned, missing), err: answer(500, 20500), health: inProgress, want: unavailableNow + differs},
		"no answer":                  {err: &twilio.Error{Operation: twilio.OpListAssigned, Err: errors.New("reset")}, health: inProgress, want: unavailableNow + unread},
		"a stray 404":                {err: answer(404, 20404), health: inProgress, want: unavailableNow + unread},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			a := testObject()
			a.Spec.ManagementPolicy = c.policy
			if !c.neverRead {
				a.Status.AccountSID = "AC1"
			}
			res := result{account: account, ledger: c.read}
			if c.read != nil {
				res.observed = &observation{}
			}
			o := outcomeOfError(c.err)
			if c.err == nil {
				o = outcomeOf(a, res)
			}
			a.Status = statusFor(a, res, o, time.Unix(1, 0))
			if diff := cmp.Diff(c.want, conditionsOf(a)); diff != "" {
				t.Errorf("the conditions (-want +got):\n%s", diff)
			}
			checkKstatus(t, a, c.health)
			checkConditions(t, a.Status.Conditions, o.reason)
		})
	}
}

// Every reason of a Ready condition is of exactly one sort.
func TestReasonsAreSorted(t *testing.T) {
	ready := []string{v1alpha1.ReasonSynced, v1alpha1.ReasonObserved, v1alpha1.ReasonSuspended}
	transient := []string{v1alpha1.ReasonRateLimited, v1alpha1.ReasonTwilioUnavailable}
	stalled := []string{v1alpha1.ReasonAccountNotFound, v1alpha1.ReasonAccountInvalid, v1alpha1.ReasonNamespaceNotAllowed, v1alpha1.ReasonCredentialsInvalid,
		v1alpha1.ReasonPermissionDenied, v1alpha1.ReasonPhoneNumberNotFound, v1alpha1.ReasonAddOnRejected, v1alpha1.ReasonPhoneNumberConflict, v1alpha1.ReasonDeletionBlocked, v1alpha1.ReasonRemovalsHeld}
	type sort struct {
		Ready, Transient, Stalled bool
		Kind                      kind
	}
	want := map[string]sort{v1alpha1.ReasonProgressing: {Kind: kindRetry}}
	for _, reason := range ready {
		want[reason] = sort{Ready: true, Kind: kindReady}
	}
	want[v1alpha1.ReasonSuspended] = sort{Ready: true, Kind: kindWaiting}
	for _, reason := range transient {
		want[reason] = sort{Transient: true, Kind: kindRetry}
	}
	for _, reason := range stalled {
		want[reason] = sort{Stalled: true, Kind: kindStalled}
	}
	got := map[string]sort{}
	for reason := range want {
		got[reason] = sort{isReady(reason), isTransient(reason), isStalled(reason), newOutcome(reason, "m").kind}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the sorts of the reasons (-want +got):\n%s", diff)
	}
}

// An error of the API server, or of a process that stops, is nothing that status tells.
func TestErrorsThatStatusDoesNotTell(t *testing.T) {
	for _, err := range []error{nil, context.Canceled, errStale, fmt.Errorf("reading: %w", errors.New("etcd"))} {
		if o := outcomeOfError(err); o != nil {
			t.Errorf("status tells %v as %v", err, o)
		}
	}
	if o := stale(); !o.benign || !o.skipStatus || o.after <= 0 || o.kind != kindRetry {
		t.Errorf("a reconcile of what has changed meanwhile ends as %+v", o)
	}
	if err := blocked(nil); err != nil {
		t.Errorf("nothing blocks a deletion, and it is blocked: %v", err)
	}
}

// statusFor keeps what a reconcile did not find out.
func TestStatusFor(t *testing.T) {
	onRecord := []v1alpha1.AddOnStatus{{SID: "XEa", State: v1alpha1.AddOnAssigned, Ownership: v1alpha1.OwnershipCreated}}
	replaced := []v1alpha1.AddOnStatus{{SID: "XEa", State: v1alpha1.AddOnAssigned, Ownership: v1alpha1.OwnershipTakenOver}}
	none := []v1alpha1.AddOnStatus{}
	gone := numberNotFound(&scope{object: testObject(), account: testAccount()}, 0)
	gone.yields, gone.numberGone = true, true
	type facts struct {
		AddOns              []v1alpha1.AddOnStatus
		Claim               v1alpha1.NumberClaim
		AccountSID          v1alpha1.AccountSID
		PhoneNumber, Synced string
		LastHandled         string
		ObservedGeneration  int64
	}
	before := facts{onRecord, v1alpha1.ClaimHeld, "AC0", "+1", "1/2", "now", 2}
	with := func(change func(*facts)) facts { f := before; change(&f); return f }
	read := result{account: testAccount(), observed: &observation{phoneNumber: "+2"}, ledger: ledgerWith(v1alpha1.AddOnAssigned), claimed: true}
	cases := map[string]struct {
		reason string
		change func(*assignment)
		res    result
		o      *outcome
		want   facts
	}{
		"not read": {"what was found before stands", nil, result{}, newOutcome(v1alpha1.ReasonTwilioUnavailable, "m"), before},
		"read": {"what was found now replaces it", nil, read, newOutcome(v1alpha1.ReasonSynced, "m"), facts{
			[]v1alpha1.AddOnStatus{{SID: "XE0", State: v1alpha1.AddOnAssigned}}, v1alpha1.ClaimHeld, "AC1", "+2", "0/2", "now", 2}},
		"read, and nothing there": {"no entry is none", nil, result{account: testAccount(), observed: &observation{phoneNumber: "+2"}, ledger: ledgerWith()},
			newOutcome(v1alpha1.ReasonSynced, "m"), facts{nil, v1alpha1.ClaimHeld, "AC1", "+2", "0/2", "now", 2}},
		"yields":          {"what the object may have assigned stays on record with it", nil, result{}, conflict(testObject(), otherClaim()), with(func(f *facts) { f.Claim = v1alpha1.ClaimYielded })},
		"yields, claimed": {"it found out after it claimed", nil, result{claimed: true}, conflict(testObject(), otherClaim()), with(func(f *facts) { f.Claim = v1alpha1.ClaimYielded })},
		"takes over":      {"the records of the former owner are its own", nil, result{records: &replaced}, takesOver(testObject(), otherClaim()), with(func(f *facts) { f.Claim, f.AddOns = v1alpha1.ClaimYielded, replaced })},
		"claim undone":    {"the records are those of before the claim", nil, result{records: &none}, conflict(testObject(), otherClaim()), with(func(f *facts) { f.Claim, f.AddOns, f.Synced = v1alpha1.ClaimYielded, nil, "0/2" })},
		"the number is gone": {"nothing is left to answer for, and another account may have it", nil, result{}, gone,
			with(func(f *facts) { f.Claim, f.AddOns, f.AccountSID, f.Synced = v1alpha1.ClaimYielded, nil, "", "0/2" })},
		"suspended": {"it keeps its number", nil, result{}, suspended(false), before},
		"the first status": {"the annotation was the record, and status is from now on", func(a *assignment) {
			a.UID, a.Status = "uid", v1alpha1.PhoneNumberAddOnAssignmentStatus{ObservedGeneration: -1}
			ledger.Annotate(a, []v1alpha1.AddOnSID{"XEa"})
		}, result{}, secretMissing(testAccount(), "operator"), facts{
			[]v1alpha1.AddOnStatus{{SID: "XEa", State: v1alpha1.AddOnAssigning, Ownership: v1alpha1.OwnershipCreated}}, "", "", "", "0/2", "now", 2}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			a := testObject()
			a.Spec.AddOnSIDs = []v1alpha1.AddOnSID{"XEA", "XEb"}
			a.Status.AddOns, a.Status.Claim, a.Status.AccountSID, a.Status.PhoneNumber = onRecord, v1alpha1.ClaimHeld, "AC0", "+1"
			if c.change != nil {
				c.change(a)
			}
			metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationReconcileRequestedAt, "now")
			copied := a.DeepCopy()
			next := statusFor(a, c.res, c.o, time.Unix(1, 0))
			got := facts{next.AddOns, next.Claim, next.AccountSID, next.PhoneNumber, next.Synced, next.LastHandledReconcileAt, next.ObservedGeneration}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
			if diff := cmp.Diff(copied, a); diff != "" {
				t.Errorf("the object at hand has changed (-before +after):\n%s", diff)
			}
		})
	}
}

// A failing object is not rewritten because the last answer of Twilio was another one.
func TestTransientMessageLasts(t *testing.T) {
	a := testObject()
	unavailableAs := func(message string) *outcome { return newOutcome(v1alpha1.ReasonTwilioUnavailable, "%s", message) }
	first := statusFor(a, result{}, unavailableAs("one answer"), time.Unix(1, 0))
	a.Status = first
	second := statusFor(a, result{}, unavailableAs("another answer"), time.Unix(2, 0))
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("status changed from one retry to the next (-first +second):\n%s", diff)
	}
	a.Generation++
	if third := statusFor(a, result{}, unavailableAs("new answer"), time.Unix(3, 0)); third.Conditions[0].Message != "new answer" {
		t.Errorf("a new spec is told the old answer: %s", third.Conditions[0].Message)
	}
	stalledFirst := statusFor(a, result{}, newOutcome(v1alpha1.ReasonPermissionDenied, "one"), time.Unix(4, 0))
	a.Status = stalledFirst
	if next := statusFor(a, result{}, newOutcome(v1alpha1.ReasonPermissionDenied, "two"), time.Unix(5, 0)); next.Conditions[0].Message != "two" {
		t.Errorf("what a person has to do is told in old words: %s", next.Conditions[0].Message)
	}
}

// A credential that is refused is met now by this call and now by that one, and by the
// account's own check: status must not be written anew for that.
func TestRefusedCredentialIsToldInTheSameWords(t *testing.T) {
	refused := func(op twilio.Operation) string {
		return credentialRefused(testAccount(), "API key SK1", &twilio.Error{Operation: op, HTTPStatus: http.StatusUnauthorized, Code: 20003,
			Message: "Authenticate", RequestID: "RQ" + string(op)}).message
	}
	want := refused(twilio.OpVerify)
	for _, op := range []twilio.Operation{twilio.OpGetPhoneNumber, twilio.OpListAssigned, twilio.OpAssign, twilio.OpUnassign} {
		if got := refused(op); got != want {
			t.Errorf("%s: the message is\n%s\nwant\n%s", op, got, want)
		}
	}
}

// What an object reports of a number that was read.
func TestTexts(t *testing.T) {
	named := func(s string, state v1alpha1.AddOnState, name, message string) v1alpha1.AddOnStatus {
		return v1alpha1.AddOnStatus{SID: v1alpha1.AddOnSID(s), State: state, UniqueName: name, Message: message}
	}
	assigned := named("XEa", v1alpha1.AddOnAssigned, "", "")
	extra := named("XEu", v1alpha1.AddOnUnmanaged, "voicemail", "")
	missing := named("XEm", v1alpha1.AddOnMissing, "", "")
	rejected := named("XEr", v1alpha1.AddOnRejected, "", "not installed")
	removing := named("XEd", v1alpha1.AddOnUnassigning, "", "")
	all := func(addOns ...v1alpha1.AddOnStatus) []v1alpha1.AddOnStatus { return addOns }
	cases := map[string]struct {
		policy v1alpha1.ManagementPolicy
		addOns []v1alpha1.AddOnStatus
		want   string
	}{
		"none":               {"", nil, "No add-on is listed."},
		"one":                {"", all(assigned), "The listed add-on is assigned."},
		"two":                {"", all(assigned, assigned), "All 2 listed add-ons are assigned."},
		"one, one extra":     {v1alpha1.ManagementAdditive, all(assigned, extra), "The listed add-on is assigned. 1 add-on on the number not listed and left alone."},
		"one, two extras":    {v1alpha1.ManagementAdditive, all(assigned, extra, extra), "The listed add-on is assigned. 2 add-ons on the number not listed and left alone."},
		"work":               {"", all(missing, removing, removing), "1 add-on to assign, 2 add-ons to unassign."},
		"rejected":           {"", all(rejected), "Twilio rejected XEr: not installed. Check that the add-on is installed in the account and supports phone numbers."},
		"rejected, 1 held":   {"", all(rejected, removing), "Twilio rejected XEr: not installed. Check that the add-on is installed in the account and supports phone numbers. Until then, 1 add-on is not removed."},
		"rejected, 2 held":   {"", all(rejected, removing, removing), "Twilio rejected XEr: not installed. Check that the add-on is installed in the account and supports phone numbers. Until then, 2 add-ons are not removed."},
		"rejected, and work": {"", all(rejected, missing, removing), "1 add-on to assign, 1 add-on to unassign."},
		"observed, equal":    {v1alpha1.ManagementObserve, all(assigned), "The number carries exactly the listed add-ons. The policy Observe changes nothing."},
		"observed, differs": {v1alpha1.ManagementObserve, all(missing, extra),
			"The policy Observe changes nothing. Authoritative would assign XEm, and remove XEu (voicemail)."},
		"observed, an extra": {v1alpha1.ManagementObserve, all(assigned, extra), "The policy Observe changes nothing. Authoritative would remove XEu (voicemail)."},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if _, got := textOf(c.policy, tallyOf(c.addOns), c.addOns); got != c.want {
				t.Errorf("the message is\n%s\nwant\n%s", got, c.want)
			}
		})
	}
	kept := testObject()
	if got := textKept(kept); got != "" {
		t.Errorf("an object without records leaves nothing, and says %q", got)
	}
	kept.Status.AddOns = all(extra, v1alpha1.AddOnStatus{SID: "XEo", Ownership: v1alpha1.OwnershipAdopted}, v1alpha1.AddOnStatus{SID: "XEp", Ownership: v1alpha1.OwnershipCreated})
	if got, want := textKept(kept), "Released without changing Twilio. On PN1 stay: XEo, XEp."; got != want {
		t.Errorf("what stays is told as %q, want %q", got, want)
	}
}

// However many add-ons are refused, in however many words: the message fits the schema.
func TestTextsFitTheSchema(t *testing.T) {
	var addOns []v1alpha1.AddOnStatus
	for i := range 250 {
		addOns = append(addOns, v1alpha1.AddOnStatus{SID: v1alpha1.AddOnSID(fmt.Sprintf("XE%032d", i)), State: v1alpha1.AddOnRejected, Message: strings.Repeat("ä", 1024)})
	}
	observed := append([]v1alpha1.AddOnStatus{}, addOns...)
	for i := range observed {
		observed[i].State = v1alpha1.AddOnUnmanaged
	}
	for policy, addOns := range map[v1alpha1.ManagementPolicy][]v1alpha1.AddOnStatus{"": addOns, v1alpha1.ManagementObserve: observed} {
		_, message := textOf(policy, tallyOf(addOns), addOns)
		if n := len([]rune(message)); n > 4096 {
			t.Errorf("policy %q: the message has %d characters", policy, n)
		}
	}
}

func TestTruncateBytes(t *testing.T) {
	cases := map[string]struct {
		text  string
		limit int
		want  string
	}{
		"short":              {"abc", 3, "abc"},
		"long":               {"abcd", 3, "abc"},
		"between characters": {"aäb", 3, "aä"},
		"within a character": {"aäb", 2, "a"},
		"within the first":   {"ä", 1, ""},
		"of four bytes":      {"a😀b", 4, "a"},
	}
	for name, c := range cases {
		if got := truncateBytes(c.text, c.limit); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// When the work queue brings an object back: never on its own where an event or the
// object's phase does; soon after what passes; within about an interval after what a person
// has to mend.
func TestRequeueFor(t *testing.T) {
	const interval = time.Hour
	about := func(after time.Duration, priority int) func(ctrl.Result) bool {
		return func(r ctrl.Result) bool {
			return r.RequeueAfter >= after*9/10 && r.RequeueAfter <= after*11/10 && r.Priority != nil && *r.Priority == priority
		}
	}
	never := func(r ctrl.Result) bool { return r == ctrl.Result{} }
	retryIn := newOutcome(v1alpha1.ReasonTwilioUnavailable, "m")
	retryIn.after = 4 * time.Second
	goneSoon := numberNotFound(&scope{object: testObject(), account: testAccount()}, 30*time.Second)
	cases := map[string]struct {
		o    *outcome
		want func(ctrl.Result) bool
	}{
		"synced":                      {newOutcome(v1alpha1.ReasonSynced, "m"), never},
		"suspended":                   {suspended(false), never},
		"queued":                      {queuedByLimiter("default", twilio.Busy), never},
		"takes over":                  {takesOver(testObject(), otherClaim()), never},
		"stalled":                     {newOutcome(v1alpha1.ReasonPermissionDenied, "m"), about(interval, background)},
		"stalled, to be looked after": {goneSoon, about(30*time.Second, normal)},
		"passes":                      {retryIn, about(4*time.Second, normal)},
		"stale":                       {stale(), about(100*time.Millisecond, normal)},
	}
	for name, c := range cases {
		if got := requeueFor(c.o, interval); !c.want(got) {
			t.Errorf("%s: the object comes back as %+v", name, got)
		}
	}
	short := testAccount()
	short.Spec.ResyncInterval.Duration = time.Minute
	intervals := []time.Duration{resyncInterval(nil), resyncInterval(testAccount()), resyncInterval(short)}
	if diff := cmp.Diff([]time.Duration{10 * time.Minute, 10 * time.Minute, time.Minute}, intervals); diff != "" {
		t.Errorf("the resync intervals (-want +got):\n%s", diff)
	}
}
