// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package overview

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/cli/live"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func sid(prefix string, n int) string { return fmt.Sprintf("%s%032x", prefix, n) }

func conditions(ready metav1.ConditionStatus, reason, message string, stalled bool) []metav1.Condition {
	all := []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: ready, Reason: reason, Message: message}}
	if stalled {
		all = append(all, metav1.Condition{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue})
	}
	return all
}

func object(name string, number int, all []metav1.Condition, addOns ...v1alpha1.AddOnStatus) v1alpha1.PhoneNumberAddOnAssignment {
	o := v1alpha1.PhoneNumberAddOnAssignment{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", UID: "uid", CreationTimestamp: metav1.NewTime(now.Add(-2 * time.Hour))}}
	o.Spec.AccountRef.Name, o.Spec.PhoneNumberSID = "main", v1alpha1.PhoneNumberSID(sid("PN", number))
	o.Status = v1alpha1.PhoneNumberAddOnAssignmentStatus{Conditions: all, PhoneNumber: fmt.Sprintf("+1415555010%d", number), Synced: "1/1", AddOns: addOns}
	return o
}

func scene() ([]v1alpha1.TwilioAccount, []v1alpha1.PhoneNumberAddOnAssignment) {
	account := v1alpha1.TwilioAccount{ObjectMeta: metav1.ObjectMeta{Name: "main", CreationTimestamp: metav1.NewTime(now.Add(-24 * time.Hour))}}
	account.Spec.AccountSID = v1alpha1.AccountSID(sid("AC", 1))
	account.Spec.ResyncInterval.Duration = 10 * time.Minute
	account.Status.Conditions = conditions(metav1.ConditionTrue, v1alpha1.ReasonCredentialsAccepted, "", false)
	assigned := v1alpha1.AddOnStatus{SID: v1alpha1.AddOnSID(sid("XE", 1)), UniqueName: "caller_name", State: v1alpha1.AddOnAssigned, Ownership: v1alpha1.OwnershipCreated}
	rejected := v1alpha1.AddOnStatus{SID: v1alpha1.AddOnSID(sid("XE", 2)), State: v1alpha1.AddOnRejected, Message: "not\x1b[31m installed"}
	objects := []v1alpha1.PhoneNumberAddOnAssignment{
		object("well", 1, conditions(metav1.ConditionTrue, v1alpha1.ReasonSynced, "All well.", false), assigned),
		object("asleep", 2, conditions(metav1.ConditionTrue, v1alpha1.ReasonSuspended, "", false)),
		object("busy", 3, conditions(metav1.ConditionFalse, v1alpha1.ReasonProgressing, "At it.", false)),
		object("stuck", 4, conditions(metav1.ConditionFalse, v1alpha1.ReasonAddOnRejected, "Refused.", true), assigned, rejected),
		object("new", 5, nil),
	}
	objects[1].Spec.Suspend = true
	objects[4].Spec.AccountRef.Name = "other"
	return []v1alpha1.TwilioAccount{account}, objects
}

func TestTableShowsTheUnhealthyFirst(t *testing.T) {
	accounts, objects := scene()
	Sort(objects)
	want := `NAMESPACE   NAME     NUMBER         ADD-ONS   READY     REASON          AGE    NEXT CHECK   MESSAGE
ns          stuck    +14155550104   1/1       False     AddOnRejected   120m   NEXT         Refused.
ns          busy     +14155550103   1/1       False     Progressing     120m   –            At it.
ns          new      +14155550105   1/1       Unknown   NotReported     120m   –            The operator has not reported yet.
ns          asleep   +14155550102   1/1       True      Suspended       120m   –
ns          well     +14155550101   1/1       True      Synced          120m   NEXT
`
	next := nextCheck(&objects[0], accounts, now)
	if next == none {
		t.Fatal("no next check")
	}
	want = strings.ReplaceAll(want, "NEXT         Refused", next+strings.Repeat(" ", 13-len(next))+"Refused")
	want = strings.ReplaceAll(want, "NEXT\n", next+"\n")
	if diff := cmp.Diff(want, Table(objects, accounts, true, now)); diff != "" {
		t.Error(diff)
	}
	if n := Unhealthy(accounts, objects); n != 3 {
		t.Errorf("%d are unhealthy", n)
	}
}

func TestTree(t *testing.T) {
	accounts, objects := scene()
	Sort(objects)
	next := nextCheck(&objects[0], accounts, now)
	want := `TwilioAccount main  ` + sid("AC", 1) + `  ready  CredentialsAccepted  24h
├─ +14155550104  ns/stuck  NOT READY  AddOnRejected  120m  Refused.  next check in ` + next + `
│  ├─ caller_name  Assigned  Created
│  └─ ` + sid("XE", 2) + `  Rejected  not[31m installed
├─ +14155550103  ns/busy  NOT READY  Progressing  120m  At it.
├─ +14155550102  ns/asleep  ready  Suspended  120m
└─ +14155550101  ns/well  ready  Synced  120m  next check in ` + next + `
   └─ caller_name  Assigned  Created
TwilioAccount other  does not exist
└─ +14155550105  ns/new  NOT READY  NotReported  120m  The operator has not reported yet.
`
	if diff := cmp.Diff(want, Tree(accounts, objects, now)); diff != "" {
		t.Error(diff)
	}
}

func TestInventory(t *testing.T) {
	number := func(n int, addOns ...int) live.Number {
		out := live.Number{PhoneNumber: twilio.PhoneNumber{SID: sid("PN", n), PhoneNumber: fmt.Sprintf("+1415555010%d", n)}}
		for _, a := range addOns {
			out.AddOns = append(out.AddOns, twilio.AssignedAddOn{SID: sid("XE", a), UniqueName: fmt.Sprintf("add_on_%d", a)})
		}
		return out
	}
	account := &live.Account{Numbers: []live.Number{number(1, 1), number(2, 1, 2), number(3, 1), number(4), number(5, 3), number(6, 9)}}
	lists := func(name string, n int, addOns ...int) v1alpha1.PhoneNumberAddOnAssignment {
		o := object(name, n, nil)
		for _, a := range addOns {
			o.Spec.AddOnSIDs = append(o.Spec.AddOnSIDs, v1alpha1.AddOnSID(sid("XE", a)))
		}
		return o
	}
	loser := lists("a-loser", 3, 1)
	loser.Status.Conditions = conditions(metav1.ConditionFalse, v1alpha1.ReasonPhoneNumberConflict, "", true)
	// Twilio knows the assignment by another SID than the object lists.
	renamed := lists("renamed", 6, 3)
	renamed.Status.AddOns = []v1alpha1.AddOnStatus{{SID: v1alpha1.AddOnSID(sid("XE", 3)), AssignedSID: v1alpha1.AddOnSID(sid("XE", 9)), Ownership: v1alpha1.OwnershipCreated}}
	got := Inventory(account, []v1alpha1.PhoneNumberAddOnAssignment{
		lists("one", 1, 1), lists("two", 2, 1), loser, lists("owner", 3, 1), lists("gone", 7, 1), renamed,
	})
	var short []string
	for _, it := range got {
		short = append(short, strings.Join([]string{string(it.State), it.PhoneNumber, it.ManagedBy, it.detail()}, "|"))
	}
	want := []string{
		"Conflict|+14155550103|ns/owner|also named by ns/a-loser",
		"Gone|+14155550107|ns/gone|the account does not have " + sid("PN", 7),
		"Unmanaged|+14155550102|ns/two|nobody manages add_on_2",
		"Unmanaged|+14155550105||nobody manages add_on_3",
		"Managed|+14155550101|ns/one|",
		"Managed|+14155550106|ns/renamed|",
		"Free|+14155550104||",
	}
	if diff := cmp.Diff(want, short); diff != "" {
		t.Error(diff)
	}
}
