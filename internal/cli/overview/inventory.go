// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package overview

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/cli/live"
)

// State is what an inventory says of one number.
type State string

// The states of a number.
const (
	// Managed: one object manages it, and every add-on on it.
	Managed State = "Managed"
	// Free: no object manages it, and it carries no add-on.
	Free State = "Free"
	// Unmanaged: it carries add-ons that no object manages.
	Unmanaged State = "Unmanaged"
	// Conflict: more than one object names it.
	Conflict State = "Conflict"
	// Gone: an object names it, and the account does not have it.
	Gone State = "Gone"
)

// Item is one number of an inventory.
type Item struct {
	State       State  `json:"state"`
	NumberSID   string `json:"phoneNumberSID"`
	PhoneNumber string `json:"phoneNumber,omitempty"`
	// ManagedBy is the object that manages the number, namespace/name.
	ManagedBy string `json:"managedBy,omitempty"`
	Policy    string `json:"managementPolicy,omitempty"`
	AddOns    int    `json:"addOns"`
	// Unmanaged are the add-ons that no object manages: unique names, or SIDs.
	Unmanaged []string `json:"unmanagedAddOns,omitempty"`
	// AlsoNamedBy are the other objects of a conflict.
	AlsoNamedBy []string `json:"alsoNamedBy,omitempty"`
}

// Inventory lists each number of the account, and those that objects name and it does not
// have: findings first, then by number.
func Inventory(account *live.Account, objects []v1alpha1.PhoneNumberAddOnAssignment) []Item {
	naming := map[string][]*v1alpha1.PhoneNumberAddOnAssignment{}
	for i := range objects {
		sid := strings.ToLower(string(objects[i].Spec.PhoneNumberSID))
		naming[sid] = append(naming[sid], &objects[i])
	}
	var items []Item
	for _, n := range account.Numbers {
		sid := strings.ToLower(n.SID)
		items = append(items, item(n, naming[sid]))
		delete(naming, sid)
	}
	for _, left := range naming {
		for _, o := range left {
			items = append(items, Item{State: Gone, NumberSID: string(o.Spec.PhoneNumberSID), PhoneNumber: o.Status.PhoneNumber,
				ManagedBy: o.Namespace + "/" + o.Name, Policy: string(o.Spec.ManagementPolicy)})
		}
	}
	slices.SortFunc(items, func(a, b Item) int {
		return cmp.Or(cmp.Compare(a.State.rank(), b.State.rank()), cmp.Compare(a.PhoneNumber, b.PhoneNumber),
			cmp.Compare(a.NumberSID, b.NumberSID), cmp.Compare(a.ManagedBy, b.ManagedBy))
	})
	return items
}

func (s State) rank() int {
	return slices.Index([]State{Conflict, Gone, Unmanaged, Managed, Free}, s)
}

// Finding says whether somebody should look at the number.
func (s State) Finding() bool { return s == Conflict || s == Gone || s == Unmanaged }

func item(n live.Number, naming []*v1alpha1.PhoneNumberAddOnAssignment) Item {
	it := Item{State: Free, NumberSID: n.SID, PhoneNumber: n.PhoneNumber.PhoneNumber, AddOns: len(n.AddOns)}
	owner := ownerOf(naming)
	if owner != nil {
		it.State, it.ManagedBy, it.Policy = Managed, owner.Namespace+"/"+owner.Name, string(owner.Spec.ManagementPolicy)
	}
	for _, a := range n.AddOns {
		if owner == nil || !manages(owner, a.SID) {
			it.Unmanaged = append(it.Unmanaged, cmp.Or(plain(a.UniqueName), a.SID))
		}
	}
	if len(it.Unmanaged) > 0 {
		it.State = Unmanaged
	}
	for _, o := range naming {
		if o != owner {
			it.State = Conflict
			it.AlsoNamedBy = append(it.AlsoNamedBy, o.Namespace+"/"+o.Name)
		}
	}
	slices.Sort(it.AlsoNamedBy)
	return it
}

// ownerOf is the object that the operator lets act: it has told all others of the conflict.
func ownerOf(naming []*v1alpha1.PhoneNumberAddOnAssignment) *v1alpha1.PhoneNumberAddOnAssignment {
	if len(naming) == 0 {
		return nil
	}
	return slices.MinFunc(naming, func(a, b *v1alpha1.PhoneNumberAddOnAssignment) int {
		return cmp.Or(cmp.Compare(loses(a), loses(b)), a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
			cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}

func loses(o *v1alpha1.PhoneNumberAddOnAssignment) int {
	ready := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionReady)
	if ready != nil && ready.Reason == v1alpha1.ReasonPhoneNumberConflict {
		return 1
	}
	return 0
}

// manages says whether an object lists the add-on, or has assigned it and is to remove it.
func manages(o *v1alpha1.PhoneNumberAddOnAssignment, sid string) bool {
	return slices.ContainsFunc(o.Spec.AddOnSIDs, func(s v1alpha1.AddOnSID) bool { return strings.EqualFold(string(s), sid) }) ||
		slices.ContainsFunc(o.Status.AddOns, func(s v1alpha1.AddOnStatus) bool {
			owned := s.Ownership != "" || s.State == v1alpha1.AddOnUnassigning
			return owned && (strings.EqualFold(string(s.SID), sid) || strings.EqualFold(string(s.AssignedSID), sid))
		})
}

// InventoryTable is one line a number.
func InventoryTable(items []Item) string {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 8, 3, ' ', 0)
	fmt.Fprint(w, "NUMBER\tSTATE\tMANAGED BY\tPOLICY\tADD-ONS\tDETAIL\n")
	for _, it := range items {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", cmp.Or(plain(it.PhoneNumber), it.NumberSID), it.State, dash(it.ManagedBy),
			dash(it.Policy), it.AddOns, it.detail())
	}
	_ = w.Flush() // a buffer takes everything
	return trimLines(b.String())
}

func (it *Item) detail() string {
	var parts []string
	if it.State == Gone {
		parts = append(parts, "the account does not have "+it.NumberSID)
	}
	if len(it.AlsoNamedBy) > 0 {
		parts = append(parts, "also named by "+strings.Join(it.AlsoNamedBy, ", "))
	}
	if len(it.Unmanaged) > 0 {
		parts = append(parts, "nobody manages "+strings.Join(it.Unmanaged, ", "))
	}
	return strings.Join(parts, "; ")
}
