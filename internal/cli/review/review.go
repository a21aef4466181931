// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package review compares manifests with what Twilio has and says what the operator would
// do about them. It is pure: it decides with the operator's own plan and renders the
// result as text, Markdown or JSON.
package review

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/cli/live"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/cli/manifests"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/plan"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

// Input is what a review compares.
type Input struct {
	// Desired are the objects as the manifests have them.
	Desired []manifests.Assignment
	// Previous are the objects as they were before the change; nil if nobody knows. With
	// them a review shows what deleted manifests unassign.
	Previous []manifests.Assignment
	// Accounts holds each account by the name that accountRef gives it.
	Accounts map[string]*live.Account
	// Recorded is what the cluster's objects have on record, by namespace/name; nil without
	// a cluster.
	Recorded map[string]Record
	// Budgets are the removal budgets of the TwilioAccounts among the manifests, by account
	// SID. An account that is not among them has the default.
	Budgets map[string][]v1alpha1.RemovalBudget
	// Problems are those found before: of manifests that are not valid.
	Problems []manifests.Problem
}

// Record is what the cluster knows of one object.
type Record struct {
	NumberSID string
	AddOns    []v1alpha1.AddOnStatus
	// Held: the object holds the claim on its number.
	Held    bool
	Created time.Time
}

// AddOn is an add-on with its unique name, where that is known.
type AddOn struct {
	SID        string `json:"sid"`
	UniqueName string `json:"uniqueName,omitempty"`
}

// Change is what becomes of one object and its number. All lists are sorted by SID.
type Change struct {
	Object string `json:"object"` // namespace/name
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	// Deleted: the object is only in the previous manifests.
	Deleted     bool   `json:"deleted,omitempty"`
	AccountRef  string `json:"accountRef"`
	AccountSID  string `json:"accountSID,omitempty"`
	NumberSID   string `json:"phoneNumberSID"`
	PhoneNumber string `json:"phoneNumber,omitempty"`
	Policy      string `json:"managementPolicy"`

	// Assign and Unassign are the writes to Twilio.
	Assign   []AddOn `json:"assign,omitempty"`
	Unassign []AddOn `json:"unassign,omitempty"`
	// MayUnassign are removed only if the object itself assigned them, which nobody
	// knows without a cluster.
	MayUnassign []AddOn `json:"mayUnassign,omitempty"`
	// Refused are listed and not installed: Twilio refuses them, and what is to be
	// unassigned waits for as long as they are listed.
	Refused []AddOn `json:"refused,omitempty"`
	Waiting []AddOn `json:"waiting,omitempty"`
	// Adopt are assigned already and new to the object: no write.
	Adopt []AddOn `json:"adopt,omitempty"`
	// Unchanged are assigned already, and the object listed them before.
	Unchanged []AddOn `json:"unchanged,omitempty"`
	// Missing and Unmanaged are differences that the policy leaves alone.
	Missing   []AddOn `json:"missing,omitempty"`
	Unmanaged []AddOn `json:"unmanaged,omitempty"`
	// Note says why nothing is done, where that needs saying.
	Note string `json:"note,omitempty"`
}

// Writes says whether the operator writes to Twilio for the change.
func (c *Change) Writes() bool { return len(c.Assign)+len(c.Unassign)+len(c.MayUnassign) > 0 }

// Loses says whether the number loses at least one add-on.
func (c *Change) Loses() bool { return len(c.Unassign)+len(c.MayUnassign) > 0 }

// Summary counts. Numbers are counted once, however many add-ons they lose.
type Summary struct {
	Objects       int `json:"objects"`
	Assign        int `json:"assign"`
	Unassign      int `json:"unassign"`
	MayUnassign   int `json:"mayUnassign"`
	Adopt         int `json:"adopt"`
	Unchanged     int `json:"unchanged"`
	NumbersChange int `json:"numbersThatChange"`
	NumbersLose   int `json:"numbersThatLoseAddOns"`
	Problems      int `json:"problems"`
}

// Review is the outcome. Changes are sorted by account, number and object.
type Review struct {
	// Version is that of the JSON form: 1.
	Version int      `json:"version"`
	Summary Summary  `json:"summary"`
	Changes []Change `json:"changes"`
	// Holds are the accounts whose removal budget would hold removals.
	Holds []Hold `json:"holds,omitempty"`
	// Problems are manifests that will not do what they say.
	Problems []manifests.Problem `json:"problems"`
	// NotChecked says what could not be looked at.
	NotChecked []string `json:"notChecked,omitempty"`
}

// Make compares.
func Make(in Input) *Review {
	r := &reviewer{Input: in, previous: byKey(in.Previous), remains: map[string]bool{}, departed: map[string]bool{}}
	for i := range in.Desired {
		r.remains[key(&in.Desired[i])] = true
	}
	r.owners, r.ownersBefore = r.ownersOf(in.Desired), r.ownersOf(in.Previous)
	r.deleted()
	for i := range in.Desired {
		r.changes = append(r.changes, r.desired(&in.Desired[i]))
	}
	slices.SortFunc(r.changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.AccountRef, b.AccountRef), cmp.Compare(a.PhoneNumber, b.PhoneNumber),
			cmp.Compare(a.NumberSID, b.NumberSID), cmp.Compare(a.Object, b.Object))
	})
	out := &Review{Version: 1, Changes: r.changes, Problems: append(slices.Clone(in.Problems), r.found...)}
	slices.SortStableFunc(out.Problems, func(a, b manifests.Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	out.NotChecked = r.notChecked()
	out.Holds = r.holds(time.Now())
	out.summarize()
	return out
}

type reviewer struct {
	Input
	previous map[string]*manifests.Assignment
	// owners are the objects that own each number, by its SID in lower case.
	owners map[string]*manifests.Assignment
	// ownersBefore are those of the previous manifests.
	ownersBefore map[string]*manifests.Assignment
	// remains are the objects that the manifests still have.
	remains map[string]bool
	// departed are the add-ons that deleted objects remove, by number and SID.
	departed map[string]bool
	changes  []Change
	found    []manifests.Problem
}

func byKey(list []manifests.Assignment) map[string]*manifests.Assignment {
	found := make(map[string]*manifests.Assignment, len(list))
	for i := range list {
		found[key(&list[i])] = &list[i]
	}
	return found
}

func key(a *manifests.Assignment) string { return a.Namespace + "/" + a.Name }

func numberOf(a *manifests.Assignment) string { return strings.ToLower(string(a.Spec.PhoneNumberSID)) }

// ownersOf picks the owner of each number, as the operator does: the object that holds
// the number already, then the oldest, then the first by namespace and name.
func (r *reviewer) ownersOf(list []manifests.Assignment) map[string]*manifests.Assignment {
	owners := map[string]*manifests.Assignment{}
	for i := range list {
		a := &list[i]
		if _, known := r.number(a); !known {
			continue // it cannot own what its account does not have
		}
		if other := owners[numberOf(a)]; other == nil || r.before(a, other) {
			owners[numberOf(a)] = a
		}
	}
	return owners
}

func (r *reviewer) before(a, b *manifests.Assignment) bool {
	x, y := r.standing(a), r.standing(b)
	if x.Held != y.Held {
		return x.Held
	}
	return cmp.Or(x.Created.Compare(y.Created), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name)) < 0
}

// later is when an object that does not exist yet was created: after all others.
var later = time.Unix(1<<40, 0)

// standing is what is on record of an object. Without a cluster, one that was there before
// the change is taken for an owner.
func (r *reviewer) standing(a *manifests.Assignment) Record {
	if record, ok := r.Recorded[key(a)]; ok {
		return record
	}
	return Record{Held: r.Recorded == nil && r.previous[key(a)] != nil, Created: later}
}

// inherited is what other objects have on record for the number.
func (r *reviewer) inherited(a *manifests.Assignment) []v1alpha1.AddOnStatus {
	var all []v1alpha1.AddOnStatus
	for _, name := range slices.Sorted(maps.Keys(r.Recorded)) {
		if old := r.previous[name]; old != nil && !r.remains[name] && leftAlone(old) != "" {
			continue // it goes, and nobody answers for what it had
		}
		if record := r.Recorded[name]; name != key(a) && strings.EqualFold(record.NumberSID, string(a.Spec.PhoneNumberSID)) {
			all = append(all, record.AddOns...)
		}
	}
	return all
}

// number returns the number of an object as Twilio has it, and whether the account has it.
func (r *reviewer) number(a *manifests.Assignment) (live.Number, bool) {
	account := r.Accounts[a.Spec.AccountRef.Name]
	if account == nil {
		return live.Number{}, false
	}
	return account.Number(string(a.Spec.PhoneNumberSID))
}

// suspended says whether the operator makes no call for any object of the account.
func (r *reviewer) suspended(a *manifests.Assignment) bool {
	account := r.Accounts[a.Spec.AccountRef.Name]
	return account != nil && account.Suspended
}

func (r *reviewer) start(a *manifests.Assignment) Change {
	c := Change{
		Object: key(a), File: a.File, Line: a.Line, AccountRef: a.Spec.AccountRef.Name,
		NumberSID: string(a.Spec.PhoneNumberSID), Policy: string(a.Spec.ManagementPolicy),
	}
	if account := r.Accounts[c.AccountRef]; account != nil {
		c.AccountSID = account.SID
	}
	if n, ok := r.number(a); ok {
		c.PhoneNumber = n.PhoneNumber.PhoneNumber
	}
	return c
}

// desired says what the operator does for an object of the manifests.
func (r *reviewer) desired(a *manifests.Assignment) Change {
	c := r.start(a)
	n, known := r.number(a)
	if a.Spec.Suspend {
		c.Note = "suspended: nothing is done"
		return c
	}
	if r.suspended(a) {
		c.Note = "the account is suspended: nothing is done"
		return c
	}
	if !known {
		r.problem(a, "spec.phoneNumberSID", fmt.Sprintf("the account %s has no number %s", cmp.Or(c.AccountSID, c.AccountRef), c.NumberSID))
		c.Note = "the account does not have the number: nothing is done"
		return c
	}
	if owner := r.owners[numberOf(a)]; owner != a {
		r.problem(a, "spec.phoneNumberSID", fmt.Sprintf("%s names %s, too (%s)", key(owner), c.NumberSID, owner.Where()))
		c.Note = "conflict: " + key(owner) + " owns the number"
		return c
	}
	r.fill(&c, a, decide(plan.Input{
		Desired: a.Spec.AddOnSIDs, Policy: a.Spec.ManagementPolicy,
		Recorded: r.Recorded[key(a)].AddOns, Inherited: r.inherited(a), Listed: n.AddOns,
	}))
	return c
}

// fill sorts the decision into the lists of the change.
func (r *reviewer) fill(c *Change, a *manifests.Assignment, d decision) {
	account := r.Accounts[c.AccountRef]
	for _, sid := range d.assign {
		if account.Installed != nil && !installed(account, sid) {
			c.Refused = append(c.Refused, r.addOn(a, sid))
			r.problem(a, fieldOf(a, sid), fmt.Sprintf("the add-on %s is not installed in the account %s", sid, account.SID))
			continue
		}
		c.Assign = append(c.Assign, r.addOn(a, sid))
	}
	c.Unassign = r.addOns(a, slices.DeleteFunc(d.unassign, func(sid string) bool { return r.departed[departure(a, sid)] }))
	c.Missing, c.Unmanaged = r.addOns(a, d.missing), r.addOns(a, d.unmanaged)
	if len(c.Refused) > 0 {
		c.Waiting, c.Unassign = c.Unassign, nil
	}
	before := r.previous[key(a)]
	for _, sid := range d.present {
		if (before != nil && lists(before, sid)) || r.onRecord(a, sid) {
			c.Unchanged = append(c.Unchanged, r.addOn(a, sid))
			continue
		}
		c.Adopt = append(c.Adopt, r.addOn(a, sid))
	}
	if a.Spec.ManagementPolicy == v1alpha1.ManagementAdditive && before != nil && r.Recorded == nil {
		r.moveDropped(c, before)
	}
	if a.Spec.ManagementPolicy == v1alpha1.ManagementObserve && len(c.Missing)+len(c.Unmanaged) > 0 {
		c.Note = "Observe: the difference is shown and nothing is done"
	}
}

// moveDropped takes what an Additive object no longer lists for what may be removed:
// whether the object itself assigned it is only on record in the cluster.
func (r *reviewer) moveDropped(c *Change, before *manifests.Assignment) {
	c.Unmanaged = slices.DeleteFunc(c.Unmanaged, func(addOn AddOn) bool {
		dropped := lists(before, addOn.SID)
		if dropped {
			c.MayUnassign = append(c.MayUnassign, addOn)
		}
		return dropped
	})
}

func lists(a *manifests.Assignment, sid string) bool {
	return slices.ContainsFunc(a.Spec.AddOnSIDs, func(s v1alpha1.AddOnSID) bool { return strings.EqualFold(string(s), sid) })
}

func (r *reviewer) onRecord(a *manifests.Assignment, sid string) bool {
	return slices.ContainsFunc(r.Recorded[key(a)].AddOns, func(s v1alpha1.AddOnStatus) bool {
		return s.Ownership != "" && strings.EqualFold(string(s.SID), sid)
	})
}

// fieldOf is the path of an add-on in the list of the object.
func fieldOf(a *manifests.Assignment, sid string) string {
	i := slices.IndexFunc(a.Spec.AddOnSIDs, func(s v1alpha1.AddOnSID) bool { return strings.EqualFold(string(s), sid) })
	return fmt.Sprintf("spec.addOnSIDs[%d]", max(i, 0))
}

func installed(account *live.Account, sid string) bool {
	_, ok := account.Installed[strings.ToLower(sid)]
	return ok
}

func (r *reviewer) problem(a *manifests.Assignment, path, message string) {
	r.found = append(r.found, a.Problem(path, key(a)+": "+message))
}

// deleted says what becomes of the objects that only the previous manifests have.
func (r *reviewer) deleted() {
	for i := range r.Previous {
		old := &r.Previous[i]
		if r.remains[key(old)] || r.invalid(old) {
			continue
		}
		c := r.start(old)
		c.Deleted = true
		r.fillDeleted(&c, old)
		r.changes = append(r.changes, c)
	}
}

// invalid says whether the object is still in the manifests and was refused, or its file can
// not be read any more: then it is a problem and no deletion.
func (r *reviewer) invalid(old *manifests.Assignment) bool {
	return slices.ContainsFunc(r.Problems, func(p manifests.Problem) bool {
		return strings.HasPrefix(p.Message, "PhoneNumberAddOnAssignment "+key(old)+":") || (p.Unreadable && p.File == old.File)
	})
}

func (r *reviewer) fillDeleted(c *Change, old *manifests.Assignment) {
	if c.Note = leftAlone(old); c.Note != "" {
		return
	}
	if r.suspended(old) {
		c.Note = "deleted: it waits, for the account is suspended"
		return
	}
	n, known := r.number(old)
	if !known {
		c.Note = "deleted: the account does not have the number"
		return
	}
	heir := r.owners[numberOf(old)]
	c.Note = "deleted"
	if r.acts(heir) {
		c.Note = "deleted: " + key(heir) + " takes the number over"
	}
	goes := func(sid string) bool {
		kept := r.acts(heir) && lists(heir, sid)
		return !kept &&
			slices.ContainsFunc(n.AddOns, func(l twilio.AssignedAddOn) bool { return strings.EqualFold(l.SID, sid) })
	}
	wasOwner := r.ownersBefore[numberOf(old)] == old
	for _, step := range plan.Departure(&old.Spec, r.Recorded[key(old)].AddOns, wasOwner) {
		if sid := step.TwilioSID(); goes(sid) && !r.departed[departure(old, sid)] {
			r.departed[departure(old, sid)] = true
			c.Unassign = append(c.Unassign, r.addOn(old, sid))
		}
	}
	if old.Spec.ManagementPolicy != v1alpha1.ManagementAdditive || r.Recorded != nil {
		return
	}
	for _, sid := range old.Spec.AddOnSIDs {
		if goes(string(sid)) {
			c.MayUnassign = append(c.MayUnassign, r.addOn(old, string(sid)))
		}
	}
}

// acts says whether the heir of a number answers for what it lists from now on. One that makes
// no writes, or whose account is suspended, answers for nothing.
func (r *reviewer) acts(heir *manifests.Assignment) bool {
	return heir != nil && !heir.Spec.Suspend && heir.Spec.ManagementPolicy != v1alpha1.ManagementObserve && !r.suspended(heir)
}

// departure names what a deleted object removes from a number.
func departure(a *manifests.Assignment, sid string) string {
	return numberOf(a) + "/" + strings.ToLower(sid)
}

// leftAlone says why deleting an object makes no call to Twilio; "" if it makes some.
func leftAlone(old *manifests.Assignment) string {
	switch {
	case old.Spec.DeletionPolicy == v1alpha1.DeletionRetain:
		return "deleted with Retain: Twilio is left as it is"
	case old.Spec.Suspend:
		return "deleted while suspended: Twilio is left as it is"
	case old.Spec.ManagementPolicy == v1alpha1.ManagementObserve:
		return "deleted under Observe: Twilio is left as it is"
	}
	return ""
}

func (r *reviewer) addOns(a *manifests.Assignment, sids []string) []AddOn {
	var out []AddOn
	for _, sid := range sids {
		out = append(out, r.addOn(a, sid))
	}
	return out
}

// addOn gives a SID its name: that of the installation, or of the assignment.
func (r *reviewer) addOn(a *manifests.Assignment, sid string) AddOn {
	account := r.Accounts[a.Spec.AccountRef.Name]
	if account != nil {
		if found, ok := account.Installed[strings.ToLower(sid)]; ok {
			return AddOn{SID: sid, UniqueName: found.UniqueName}
		}
	}
	n, _ := r.number(a)
	for _, found := range n.AddOns {
		if strings.EqualFold(found.SID, sid) {
			return AddOn{SID: sid, UniqueName: found.UniqueName}
		}
	}
	return AddOn{SID: sid}
}

func (r *reviewer) notChecked() []string {
	var out []string
	for _, account := range r.Accounts {
		if account.NotChecked != "" {
			out = append(out, "whether the add-ons are installed: "+account.NotChecked)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (r *Review) summarize() {
	s := Summary{Objects: len(r.Changes), Problems: len(r.Problems)}
	change, lose := map[string]bool{}, map[string]bool{}
	for i := range r.Changes {
		c := &r.Changes[i]
		s.Assign, s.Unassign, s.MayUnassign = s.Assign+len(c.Assign), s.Unassign+len(c.Unassign), s.MayUnassign+len(c.MayUnassign)
		s.Adopt, s.Unchanged = s.Adopt+len(c.Adopt), s.Unchanged+len(c.Unchanged)
		if c.Writes() {
			change[strings.ToLower(c.NumberSID)] = true
		}
		if c.Loses() {
			lose[strings.ToLower(c.NumberSID)] = true
		}
	}
	s.NumbersChange, s.NumbersLose = len(change), len(lose)
	r.Summary = s
}

// Exit codes of a review.
const (
	ExitNone     = 0
	ExitProblems = 1
	ExitChanges  = 2
	ExitTooMany  = 3
)

// ExitCode is 0 for no change, 2 for changes, 3 if more than maxRemovals numbers lose an
// add-on, and 1 if a manifest has a problem. A negative maxRemovals sets no bound.
func (r *Review) ExitCode(maxRemovals int) int {
	switch {
	case maxRemovals >= 0 && r.Summary.NumbersLose > maxRemovals:
		return ExitTooMany
	case len(r.Problems) > 0:
		return ExitProblems
	case r.Summary.NumbersChange > 0:
		return ExitChanges
	}
	return ExitNone
}
