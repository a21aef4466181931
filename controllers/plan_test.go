// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

// step is an item of a plan, reduced to what a table shows.
type step struct {
	SID, Assigned string
	State         v1alpha1.AddOnState
	Ownership     v1alpha1.AddOnOwnership
	Action        action
}

func stepsOf(p plan) []step {
	var steps []step
	for i := range p {
		it := &p[i]
		steps = append(steps, step{string(it.SID), it.assigned(), it.State, it.Ownership, it.action})
	}
	return steps
}

func TestPlan(t *testing.T) {
	created := func(sid string) v1alpha1.AddOnStatus {
		return v1alpha1.AddOnStatus{SID: v1alpha1.AddOnSID(sid), State: v1alpha1.AddOnAssigned, Ownership: v1alpha1.OwnershipCreated}
	}
	const (
		authoritative = v1alpha1.ManagementAuthoritative
		additive      = v1alpha1.ManagementAdditive
		observe       = v1alpha1.ManagementObserve
	)
	cases := map[string]struct {
		reason   string
		policy   v1alpha1.ManagementPolicy
		desired  []v1alpha1.AddOnSID
		recorded []v1alpha1.AddOnStatus
		listed   []string
		want     []step
	}{
		"authoritative": {
			reason: "missing ones are assigned, every other one is removed", policy: authoritative,
			desired: []v1alpha1.AddOnSID{"XEb", "XEa"}, listed: []string{"XEd", "XEa", "XEc"},
			want: []step{
				{"XEb", "XEb", v1alpha1.AddOnMissing, "", actionAssign},
				{"XEa", "XEa", v1alpha1.AddOnAssigned, v1alpha1.OwnershipAdopted, actionNone},
				{"XEc", "XEc", v1alpha1.AddOnUnassigning, "", actionUnassign},
				{"XEd", "XEd", v1alpha1.AddOnUnassigning, "", actionUnassign},
			},
		},
		"additive": {
			reason: "only what the object created goes", policy: additive,
			desired: []v1alpha1.AddOnSID{"XEa"}, recorded: []v1alpha1.AddOnStatus{created("XEb")}, listed: []string{"XEb", "XEc"},
			want: []step{
				{"XEa", "XEa", v1alpha1.AddOnMissing, "", actionAssign},
				{"XEb", "XEb", v1alpha1.AddOnUnassigning, v1alpha1.OwnershipCreated, actionUnassign},
				{"XEc", "XEc", v1alpha1.AddOnUnmanaged, "", actionNone},
			},
		},
		"observe": {
			reason: "nothing is done, and what was created stays known", policy: observe,
			desired: []v1alpha1.AddOnSID{"XEa"}, recorded: []v1alpha1.AddOnStatus{created("XEb")}, listed: []string{"XEb"},
			want: []step{
				{"XEa", "XEa", v1alpha1.AddOnMissing, "", actionNone},
				{"XEb", "XEb", v1alpha1.AddOnUnmanaged, v1alpha1.OwnershipCreated, actionNone},
			},
		},
		"letter case": {
			reason: "a spelling never makes a desired add-on an extra", policy: authoritative,
			desired: []v1alpha1.AddOnSID{"XEAB", "XEab"}, listed: []string{"XEab"},
			want: []step{{"XEAB", "XEAB", v1alpha1.AddOnAssigned, v1alpha1.OwnershipAdopted, actionNone}},
		},
		"another SID": {
			reason: "an assignment that Twilio gave another SID is matched by it", policy: authoritative,
			desired:  []v1alpha1.AddOnSID{"XEa"},
			recorded: []v1alpha1.AddOnStatus{{SID: "XEa", AssignedSID: "XEz", State: v1alpha1.AddOnAssigned, Ownership: v1alpha1.OwnershipCreated}},
			listed:   []string{"XEz"},
			want:     []step{{"XEa", "XEz", v1alpha1.AddOnAssigned, v1alpha1.OwnershipCreated, actionNone}},
		},
		"not on the list yet": {
			reason: "what the object created is removed by name, for the list may be older than it", policy: additive,
			recorded: []v1alpha1.AddOnStatus{created("XEa"), {SID: "XEb", State: v1alpha1.AddOnAssigned, Ownership: v1alpha1.OwnershipAdopted}},
			want:     []step{{"XEa", "XEa", v1alpha1.AddOnUnassigning, v1alpha1.OwnershipCreated, actionUnassign}},
		},
		"rejected, and perhaps assigned since": {
			reason: "an answer that was lost may have been that of an assignment", policy: additive,
			recorded: []v1alpha1.AddOnStatus{
				{SID: "XEa", State: v1alpha1.AddOnRejected, Ownership: v1alpha1.OwnershipCreated}, {SID: "XEb", State: v1alpha1.AddOnRejected},
			},
			want: []step{{"XEa", "XEa", v1alpha1.AddOnUnassigning, v1alpha1.OwnershipCreated, actionUnassign}},
		},
		"observing what is not on the list": {
			reason: "nothing is done", policy: observe, recorded: []v1alpha1.AddOnStatus{created("XEa")},
		},
		"another SID, no longer desired": {
			reason: "it is removed under the SID that Twilio gave it", policy: additive,
			recorded: []v1alpha1.AddOnStatus{{SID: "XEa", AssignedSID: "XEz", State: v1alpha1.AddOnAssigned, Ownership: v1alpha1.OwnershipCreated}},
			listed:   []string{"XEz"},
			want:     []step{{"XEa", "XEz", v1alpha1.AddOnUnassigning, v1alpha1.OwnershipCreated, actionUnassign}},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var listed []twilio.AssignedAddOn
			for _, sid := range c.listed {
				listed = append(listed, twilio.AssignedAddOn{SID: sid})
			}
			spec := &v1alpha1.PhoneNumberAddOnAssignmentSpec{ManagementPolicy: c.policy, AddOnSIDs: c.desired}
			if diff := cmp.Diff(c.want, stepsOf(planFor(spec, c.recorded, listed))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

func TestManaged(t *testing.T) {
	recorded := []v1alpha1.AddOnStatus{
		{SID: "XEa", State: v1alpha1.AddOnAssigned, Ownership: v1alpha1.OwnershipCreated},
		{SID: "XEb", State: v1alpha1.AddOnAssigned, Ownership: v1alpha1.OwnershipAdopted},
		{SID: "XEc", State: v1alpha1.AddOnUnmanaged},
		{SID: "XEd", State: v1alpha1.AddOnRejected},
	}
	cases := map[string]struct {
		policy     v1alpha1.ManagementPolicy
		handedOver []v1alpha1.AddOnSID
		want       string
	}{
		"what is desired or recorded":       {v1alpha1.ManagementAuthoritative, nil, "XEa XEb XEd XEe"},
		"only what it created":              {v1alpha1.ManagementAdditive, nil, "XEa"},
		"not what the successor wants":      {v1alpha1.ManagementAuthoritative, []v1alpha1.AddOnSID{"XEA", "XEe"}, "XEb XEd"},
		"nothing that the successor leaves": {v1alpha1.ManagementAdditive, []v1alpha1.AddOnSID{"XEa"}, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			spec := &v1alpha1.PhoneNumberAddOnAssignmentSpec{ManagementPolicy: c.policy, AddOnSIDs: []v1alpha1.AddOnSID{"XEa", "XEb", "XEd", "XEe"}}
			var got []string
			for _, it := range managed(spec, recorded, c.handedOver) {
				got = append(got, string(it.SID))
			}
			if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("managed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSpareReturned(t *testing.T) {
	p := plan{
		{AddOnStatus: v1alpha1.AddOnStatus{SID: "XEa", AssignedSID: "XEz", State: v1alpha1.AddOnAssigned}},
		{AddOnStatus: v1alpha1.AddOnStatus{SID: "XEZ", State: v1alpha1.AddOnUnassigning}, action: actionUnassign},
	}
	p.spareReturned()
	if p.has(actionUnassign) || len(p.remaining()) != 1 {
		t.Errorf("what Twilio returned for a desired add-on is still to be removed: %+v", p)
	}
}

func TestOwnerOf(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC) }
	key := func(name string) types.NamespacedName { return types.NamespacedName{Namespace: "ns", Name: name} }
	cases := map[string]struct {
		claims []claimant
		want   string
	}{
		"the incumbent, though younger": {[]claimant{{key: key("old"), created: at(1)}, {key: key("new"), created: at(2), incumbent: true}}, "new"},
		"the oldest":                    {[]claimant{{key: key("b"), created: at(1)}, {key: key("a"), created: at(2)}}, "b"},
		"by name":                       {[]claimant{{key: key("b"), created: at(1)}, {key: key("a"), created: at(1)}}, "a"},
		"not one whose account lacks the number": {[]claimant{
			{key: key("absent"), created: at(1), absent: true}, {key: key("there"), created: at(2)}}, "there"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := ownerOf(c.claims); got == nil || got.key.Name != c.want {
				t.Errorf("the owner is %+v, want %s", got, c.want)
			}
		})
	}
	absent := claimant{key: key("absent"), created: at(1), absent: true}
	idle := claimant{key: key("idle"), created: at(2)}
	holder := claimant{key: key("holder"), created: at(2), incumbent: true}
	for name, c := range map[string]struct {
		claims []claimant
		want   bool
	}{
		"nobody has found it":               {[]claimant{absent}, true},
		"nor has the other":                 {[]claimant{absent, idle}, true},
		"somebody holds it":                 {[]claimant{absent, holder}, false},
		"itself has not looked yet":         {[]claimant{{key: absent.key, created: at(3)}, idle}, false},
		"it is the owner":                   {[]claimant{{key: absent.key, created: at(1)}, idle}, true},
		"its account does not admit it now": {[]claimant{idle}, false},
	} {
		if got := mayAct(c.claims, absent.key); got != c.want {
			t.Errorf("%s: may act: %t, want %t", name, got, c.want)
		}
	}
	if ownerOf(nil) != nil {
		t.Error("nobody claims the number, and somebody owns it")
	}
	if ownerOf([]claimant{{key: key("absent"), incumbent: true, absent: true}}) != nil {
		t.Error("nobody's account has the number, and somebody owns it")
	}
}

// The claim of an object follows from what was written to it, by the operator alone.
func TestClaimantFor(t *testing.T) {
	held := []string{v1alpha1.FinalizerUnassign}
	type claim struct{ incumbent, absent bool }
	cases := map[string]struct {
		finalizers []string
		account    v1alpha1.AccountSID // where the number was read, as status says
		reason     string
		reserved   bool
		want       claim
	}{
		"new":                          {nil, "", "", false, claim{}},
		"about to claim":               {nil, "", "", true, claim{incumbent: true}},
		"finalizer set by its creator": {held, "", v1alpha1.ReasonSuspended, false, claim{}},
		"synced":                       {held, "AC", v1alpha1.ReasonSynced, false, claim{incumbent: true}},
		"in trouble, but holds it":     {held, "AC", v1alpha1.ReasonCredentialsInvalid, false, claim{incumbent: true}},
		"told of a conflict":           {held, "AC", v1alpha1.ReasonPhoneNumberConflict, false, claim{}},
		"told of a conflict, claims":   {held, "AC", v1alpha1.ReasonPhoneNumberConflict, true, claim{incumbent: true}},
		"found after all, claims":      {held, "AC", v1alpha1.ReasonPhoneNumberNotFound, true, claim{incumbent: true}},
		"its account lacks the number": {held, "AC", v1alpha1.ReasonPhoneNumberNotFound, false, claim{absent: true}},
		"observes":                     {nil, "AC", v1alpha1.ReasonObserved, false, claim{}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			a := &assignment{ObjectMeta: metav1.ObjectMeta{Finalizers: c.finalizers}}
			a.Status.AccountSID = c.account
			if c.reason != "" {
				a.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Reason: c.reason, Status: statusOf(ready(c.reason))}}
			}
			got := claimantFor(a, c.reserved)
			if diff := cmp.Diff(c.want, claim{got.incumbent, got.absent}, cmp.AllowUnexported(claim{})); diff != "" {
				t.Errorf("the claim (-want +got):\n%s", diff)
			}
		})
	}
}

// What is intended is on record before the first status, for this object alone.
func TestIntent(t *testing.T) {
	p := plan{
		{AddOnStatus: v1alpha1.AddOnStatus{SID: "XEa", State: v1alpha1.AddOnMissing}, action: actionAssign},
		{AddOnStatus: v1alpha1.AddOnStatus{SID: "XEb", State: v1alpha1.AddOnMissing, Ownership: v1alpha1.OwnershipCreated}, action: actionAssign},
		{AddOnStatus: v1alpha1.AddOnStatus{SID: "XEc", State: v1alpha1.AddOnAssigned, Ownership: v1alpha1.OwnershipAdopted}},
	}
	onRecord := []v1alpha1.AddOnStatus{{SID: "XEB", State: v1alpha1.AddOnRejected, Ownership: v1alpha1.OwnershipCreated}}
	if news := p.intend(onRecord); len(news) != 1 || news[0] != "XEa" || p.reported()[0].Ownership != v1alpha1.OwnershipCreated {
		t.Errorf("the plan intends %v, want XEa, the only news", news)
	}
	a := &assignment{ObjectMeta: metav1.ObjectMeta{UID: "uid", Annotations: map[string]string{v1alpha1.AnnotationAssigning: "uid XEa XEb"}}}
	want := []v1alpha1.AddOnStatus{
		{SID: "XEa", State: v1alpha1.AddOnMissing, Ownership: v1alpha1.OwnershipCreated},
		{SID: "XEb", State: v1alpha1.AddOnMissing, Ownership: v1alpha1.OwnershipCreated},
	}
	if diff := cmp.Diff(want, intended(a)); diff != "" {
		t.Errorf("what was intended (-want +got):\n%s", diff)
	}
	a.UID = "copy"
	if got := intended(a); got != nil {
		t.Errorf("a copy of the object takes the original's add-ons for its own: %+v", got)
	}
}

// What was intended is still on record when the first report is of something else.
func TestIntentOutlivesTheFirstReport(t *testing.T) {
	a := &assignment{ObjectMeta: metav1.ObjectMeta{UID: "uid", Annotations: map[string]string{v1alpha1.AnnotationAssigning: "uid XEa"}}}
	a.Status.ObservedGeneration = -1
	want := onRecord(a)
	a.Status = statusFor(a, finding{}, halted(v1alpha1.ReasonCredentialsInvalid, "refused"), time.Unix(1, 0))
	if diff := cmp.Diff(want, onRecord(a)); diff != "" || len(want) != 1 {
		t.Errorf("on record (-before +after the report):\n%s", diff)
	}
}

// What this process knows was never assigned for an object is somebody else's if it is
// there by now; what it cannot know may be the object's own.
func TestNeverAssigned(t *testing.T) {
	const sid = v1alpha1.AddOnSID("XEa")
	cases := map[string]struct {
		happened func(*index, types.NamespacedName)
		want     v1alpha1.AddOnOwnership
	}{
		"an earlier process intended it": {func(*index, types.NamespacedName) {}, v1alpha1.OwnershipCreated},
		"this one intended it":           {func(x *index, key types.NamespacedName) { x.neverAssigned(key, "XEb", sid) }, ""},
		"this one intended another": {func(x *index, key types.NamespacedName) { x.neverAssigned(key, "XEb") },
			v1alpha1.OwnershipCreated},
		"an answer was lost": {func(x *index, key types.NamespacedName) {
			x.neverAssigned(key, "XEb", sid)
			x.mayBeAssigned(key, sid)
		}, v1alpha1.OwnershipCreated},
		"of another one": {func(x *index, key types.NamespacedName) {
			x.neverAssigned(key, "XEb", sid)
			x.mayBeAssigned(key, "XEb")
		}, ""},
		"well but for it": {func(x *index, key types.NamespacedName) { x.neverAssigned(key, sid); x.succeeded(key, false) }, ""},
		"created anew": {func(x *index, key types.NamespacedName) {
			x.neverAssigned(key, sid)
			x.put(&assignment{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, UID: "new"}})
		}, v1alpha1.OwnershipCreated},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := &AssignmentReconciler{index: newIndex(), unrecorded: &unrecorded{}}
			a := &assignment{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "line"}}
			a.Status.AddOns = []v1alpha1.AddOnStatus{{SID: sid, State: v1alpha1.AddOnMissing, Ownership: v1alpha1.OwnershipCreated}}
			r.index.put(a)
			c.happened(r.index, keyOf(a))
			if got := r.recordOf(a)[0].Ownership; got != c.want || a.Status.AddOns[0].Ownership != v1alpha1.OwnershipCreated {
				t.Errorf("its ownership is %q, want %q; on record is %q", got, c.want, a.Status.AddOns[0].Ownership)
			}
			if r.index.succeeded(keyOf(a), true); r.recordOf(a)[0].Ownership != v1alpha1.OwnershipCreated {
				t.Error("it is still known when the object is synced")
			}
		})
	}
}

// A 404 is believed when it repeats, about the same thing, with nothing in between that
// shows it for a stray one.
func TestDoubt(t *testing.T) {
	const spacing = time.Minute
	about := func(what subject) func(*index, types.NamespacedName) bool {
		return func(x *index, key types.NamespacedName) bool { return x.doubt(key, what, spacing) }
	}
	found := func(x *index, key types.NamespacedName) bool { x.found(key); return false }
	cases := map[string]struct {
		first, between func(*index, types.NamespacedName) bool
		wait           time.Duration
		want           bool
	}{
		"repeated":               {about(aboutNumber), nil, spacing, true},
		"repeated too soon":      {about(aboutNumber), nil, spacing - 1, false},
		"the first":              {nil, nil, spacing, false},
		"of an add-on before":    {about(aboutAddOn), nil, spacing, false},
		"found in between":       {about(aboutNumber), found, spacing, false},
		"an add-on's in between": {about(aboutNumber), about(aboutAddOn), spacing, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x, a := newIndex(), &assignment{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "line"}}
				x.put(a)
				time.Sleep(time.Second)
				if c.first != nil {
					c.first(x, keyOf(a))
				}
				time.Sleep(c.wait)
				if c.between != nil {
					c.between(x, keyOf(a))
				}
				if got := x.doubt(keyOf(a), aboutNumber, spacing); got != c.want {
					t.Errorf("the number is believed to be gone: %t, want %t", got, c.want)
				}
			})
		})
	}
}

// A pass is overtaken by what the cache shows of its object, and not by what it does not
// show yet.
func TestOvertaken(t *testing.T) {
	object := func(uid types.UID, generation int64) *assignment {
		return &assignment{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "line", UID: uid, Generation: generation}}
	}
	cases := map[string]struct {
		cached *assignment
		want   bool
	}{
		"the same spec":  {object("uid", 2), false},
		"edited":         {object("uid", 3), true},
		"an older spec":  {object("uid", 1), false},
		"another object": {object("new", 1), true},
		"gone":           {nil, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			x := newIndex()
			if c.cached != nil {
				x.put(c.cached)
			}
			if got := x.overtaken(object("uid", 2)); got != c.want {
				t.Errorf("overtaken: %t, want %t", got, c.want)
			}
		})
	}
}

// An object that is settled is due at its own phase after the first pass of the process,
// however long the process stood by before that.
func TestStandbyBeginsWithTheFirstPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newIndex()
		time.Sleep(3 * time.Hour)
		first := time.Now()
		if got := x.checkedAt(types.NamespacedName{Name: "line"}); !got.Equal(first) {
			t.Errorf("after three hours of standing by, work began at %s, want %s", got, first)
		}
		time.Sleep(time.Minute)
		if got := x.checkedAt(types.NamespacedName{Name: "other"}); !got.Equal(first) {
			t.Errorf("a minute later work began at %s, want %s", got, first)
		}
	})
}

// The back-off grows and ends; a phase is within one interval and its own each time.
func TestSchedule(t *testing.T) {
	for failures, base := range map[int]time.Duration{0: time.Second, 3: 8 * time.Second, 9: 512 * time.Second, 10: longestBackoff, 31: longestBackoff} {
		if got := backoff(failures); got < base*9/10 || got > base*11/10 {
			t.Errorf("back-off after %d failures is %s, want %s give or take a tenth", failures, got, base)
		}
	}
	start := time.Unix(1_000_000, 0)
	first := nextPhase("uid", time.Minute, start)
	if wait := first.Sub(start); wait <= 0 || wait > time.Minute {
		t.Errorf("the first phase lies %s ahead", wait)
	}
	if again := nextPhase("uid", time.Minute, first); !again.Equal(first.Add(time.Minute)) {
		t.Errorf("the next phase after %s is %s", first, again)
	}
}

// A failing object is not rewritten because the last answer of Twilio was another one.
func TestTransientMessageLasts(t *testing.T) {
	a := &assignment{ObjectMeta: metav1.ObjectMeta{Generation: 3}}
	first := statusFor(a, finding{}, halted(v1alpha1.ReasonTwilioUnavailable, "one answer"), time.Unix(1, 0))
	a.Status = first
	second := statusFor(a, finding{}, halted(v1alpha1.ReasonTwilioUnavailable, "another answer"), time.Unix(2, 0))
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("status changed from one retry to the next (-first +second):\n%s", diff)
	}
	a.Generation = 4
	if third := statusFor(a, finding{}, halted(v1alpha1.ReasonTwilioUnavailable, "new answer"), time.Unix(3, 0)); third.Conditions[0].Message != "new answer" {
		t.Errorf("a new spec is told the old answer: %s", third.Conditions[0].Message)
	}
}
