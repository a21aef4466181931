// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/sid"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

const (
	// window is that of every removal budget in a tight run: the shortest that is allowed.
	window = time.Minute
	// holdWithin is how long a wave waits for its hold: longer than the operator waits for
	// the demand to settle.
	holdWithin = 40 * time.Second
	// fillWithin is how long a wave waits until the numbers that it is about carry add-ons.
	fillWithin = 15 * time.Second
	// tightLimit is how many numbers of an account may lose add-ons in a window at first.
	tightLimit = 2
	// off is the budget that limits nothing.
	off = "100%"
)

// masses is what happens in a tight run: many numbers are to lose add-ons at once.
func masses() []action {
	return []action{
		{"wave", 6, makeWave},
		{"approve", 3, makeApprove},
		{"budget", 3, makeBudget},
		{"account-suspend", 2, makeAccountSuspend},
		{"second-account", 2, makeSecondAccount},
	}
}

// budget is a removal budget of so many numbers, the first of which goes at once.
func budget(numbers int) v1alpha1.RemovalBudget {
	return v1alpha1.RemovalBudget{
		MaxNumbers: new(intstr.FromInt(numbers)), MinNumbers: new(int32(1)), Window: metav1.Duration{Duration: window},
	}
}

// aftermath is what comes of a wave.
type aftermath struct {
	words string
	do    func(ctx context.Context, r *run, s site, before map[types.NamespacedName][]v1alpha1.AddOnSID) error
	kills bool
}

var aftermaths = []aftermath{
	{words: "approve", do: func(ctx context.Context, r *run, s site, _ map[types.NamespacedName][]v1alpha1.AddOnSID) error {
		return r.approve(ctx, s)
	}},
	{words: "approve, and empty the lists again that were edited meanwhile", do: func(ctx context.Context, r *run, s site, before map[types.NamespacedName][]v1alpha1.AddOnSID) error {
		if err := r.approve(ctx, s); err != nil {
			return err
		}
		for key := range before {
			r.count(moreEvents)
			if err := edit(slotOf(key), emptyList)(ctx, r); err != nil {
				return err
			}
		}
		return nil
	}},
	{words: "take it back", do: takeBack},
	{words: "allow three numbers", do: func(ctx context.Context, r *run, s site, _ map[types.NamespacedName][]v1alpha1.AddOnSID) error {
		return r.patchAccount(ctx, s.name, v1alpha1.TwilioAccountSpec{RemovalBudget: budget(3)})
	}},
	{words: "nothing", do: func(context.Context, *run, site, map[types.NamespacedName][]v1alpha1.AddOnSID) error { return nil }},
	{words: "kill the manager, and approve while there is none", kills: true, do: func(ctx context.Context, r *run, s site, _ map[types.NamespacedName][]v1alpha1.AddOnSID) error {
		return r.crewOf(s).kill(time.Second, func() error { return r.approve(ctx, s) })
	}},
	{words: "kill the manager", kills: true, do: func(_ context.Context, r *run, s site, _ map[types.NamespacedName][]v1alpha1.AddOnSID) error {
		return r.crewOf(s).kill(100*time.Millisecond, func() error { return nil })
	}},
}

// makeWave has every number of an account carry an add-on of its object, empties the lists
// of all objects or deletes them, and does something once the removals are held.
func makeWave(random *rand.Rand) (string, func(context.Context, *run) error) {
	s, deletes := sites[0], random.IntN(3) == 0
	after := aftermaths[random.IntN(len(aftermaths))]
	what := "empty the lists"
	if deletes {
		what = "delete all objects"
	}
	words := fmt.Sprintf("have each number carry an add-on, and %s of %s; when removals are held, or after %s: %s", what, s.name, holdWithin, after.words)
	return words, func(ctx context.Context, r *run) error {
		if err := r.fill(ctx, s); err != nil {
			return err
		}
		before, err := r.wave(ctx, s, deletes)
		if err != nil {
			return err
		}
		r.remark(r.awaitHold(ctx, s))
		if after.kills && r.plan.calm {
			return nil
		}
		return after.do(ctx, r, s, before)
	}
}

// fill has each number of an account carry an add-on that is its object's own, as far as the
// faults allow: a wave over fewer numbers than the budget allows shows nothing. Nothing is
// removed for it.
func (r *run) fill(ctx context.Context, s site) error {
	var homes []string
	for _, slot := range slots {
		if slot.site.name != s.name || slices.Contains(homes, slot.home) {
			continue
		}
		homes = append(homes, slot.home)
		if err := r.fillOne(ctx, slot); err != nil {
			return err
		}
		r.count(moreEvents)
	}
	_ = testenv.Wait(ctx, fillWithin, "the numbers carry add-ons", func() error {
		for _, number := range homes {
			if len(r.sim.Assigned(number)) == 0 {
				return fmt.Errorf("%s carries none", short(number))
			}
		}
		return nil
	})
	return nil
}

func (r *run) fillOne(ctx context.Context, s slot) error {
	there := r.sim.Assigned(s.home)
	at := max(0, slices.IndexFunc(s.site.addOns, func(addOn string) bool { return !slices.Contains(there, addOn) }))
	addOn := v1alpha1.AddOnSID(s.site.addOns[at])
	var a v1alpha1.PhoneNumberAddOnAssignment
	if err := r.env.Client.Get(ctx, s.key, &a); apierrors.IsNotFound(err) {
		return r.create(ctx, &v1alpha1.PhoneNumberAddOnAssignment{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.key.Namespace, Name: s.key.Name},
			Spec: v1alpha1.PhoneNumberAddOnAssignmentSpec{
				PhoneNumberSID: v1alpha1.PhoneNumberSID(s.home), AddOnSIDs: []v1alpha1.AddOnSID{addOn},
				AccountRef: v1alpha1.AccountReference{Name: s.site.name}, ManagementPolicy: v1alpha1.ManagementAdditive,
			},
		})
	} else if err != nil {
		return err
	}
	return edit(s, func(a *v1alpha1.PhoneNumberAddOnAssignment) {
		if !slices.Contains(a.Spec.AddOnSIDs, addOn) {
			a.Spec.AddOnSIDs = append(a.Spec.AddOnSIDs, addOn)
		}
		if a.Spec.Suspend = false; a.Spec.ManagementPolicy == v1alpha1.ManagementObserve {
			a.Spec.ManagementPolicy = v1alpha1.ManagementAdditive
		}
	})(ctx, r)
}

// wave returns the lists as they were.
func (r *run) wave(ctx context.Context, s site, deletes bool) (map[types.NamespacedName][]v1alpha1.AddOnSID, error) {
	before := map[types.NamespacedName][]v1alpha1.AddOnSID{}
	for _, slot := range slots {
		var a v1alpha1.PhoneNumberAddOnAssignment
		if err := r.env.Client.Get(ctx, slot.key, &a); err != nil || slot.site.name != s.name {
			if client.IgnoreNotFound(err) != nil {
				return nil, err
			}
			continue
		}
		before[slot.key] = a.Spec.AddOnSIDs
		do := edit(slot, emptyList)
		if deletes {
			do = func(ctx context.Context, r *run) error { return r.delete(ctx, slot.key) }
		}
		r.count(moreEvents)
		if err := do(ctx, r); err != nil {
			return nil, err
		}
	}
	return before, nil
}

// awaitHold waits until removals are held, and says whether they are: under faults they may
// never be, and where too few numbers had add-ons there is nothing to hold.
func (r *run) awaitHold(ctx context.Context, s site) string {
	hold := ""
	_ = testenv.Wait(ctx, holdWithin, "removals are held", func() (err error) {
		if hold, err = r.hold(ctx, s); err == nil && hold == "" {
			err = errors.New("nothing is held")
		}
		return err
	})
	if hold == "" {
		return "nothing is held"
	}
	r.count("holds")
	return "held as " + hold
}

// hold is the name of the hold of an account SID; "" if nothing is held.
func (r *run) hold(ctx context.Context, s site) (string, error) {
	var accounts v1alpha1.TwilioAccountList
	if err := r.env.Client.List(ctx, &accounts); err != nil {
		return "", err
	}
	for i := range accounts.Items {
		if a := &accounts.Items[i]; sid.Equal(string(a.Spec.AccountSID), s.sid) && a.Status.Removals.Hold != "" {
			return a.Status.Removals.Hold, nil
		}
	}
	return "", nil
}

func takeBack(ctx context.Context, r *run, _ site, before map[types.NamespacedName][]v1alpha1.AddOnSID) error {
	for key, list := range before {
		r.count(moreEvents)
		if err := edit(slotOf(key), func(a *v1alpha1.PhoneNumberAddOnAssignment) { a.Spec.AddOnSIDs = list })(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func slotOf(key types.NamespacedName) slot {
	for _, s := range slots {
		if s.key == key {
			return s
		}
	}
	return slot{key: key}
}

func makeApprove(random *rand.Rand) (string, func(context.Context, *run) error) {
	s := anySite(random)
	return fmt.Sprintf("approve what is held of %s", s.name), func(ctx context.Context, r *run) error { return r.approve(ctx, s) }
}

// approve approves what is held of an account, as its status asks to.
func (r *run) approve(ctx context.Context, s site) error {
	hold, err := r.hold(ctx, s)
	if err != nil {
		return err
	}
	if hold == "" {
		r.remark("nothing is held")
		return nil
	}
	r.remark("approved " + hold)
	r.count("approvals")
	r.events.approved(s.sid, hold)
	return r.patch(ctx, s.name, map[string]any{"metadata": map[string]any{"annotations": map[string]string{v1alpha1.AnnotationApproveRemovals: hold}}})
}

func makeBudget(random *rand.Rand) (string, func(context.Context, *run) error) {
	s, numbers := anySite(random), 1+random.IntN(3)
	return fmt.Sprintf("the removal budget of %s is %d numbers", s.name, numbers), func(ctx context.Context, r *run) error {
		return r.patchAccount(ctx, s.name, v1alpha1.TwilioAccountSpec{RemovalBudget: budget(numbers)})
	}
}

func makeAccountSuspend(random *rand.Rand) (string, func(context.Context, *run) error) {
	s := anySite(random)
	suspend := func(suspended bool) func(context.Context, *run) error {
		return func(ctx context.Context, r *run) error {
			return r.patch(ctx, s.name, map[string]any{"spec": map[string]bool{"suspend": suspended}})
		}
	}
	return mended(random, fmt.Sprintf("suspend TwilioAccount %s", s.name), suspend(true), suspend(false))
}

// makeSecondAccount creates or deletes a second TwilioAccount of an account SID, which no
// object uses: its budget, one number, counts for both.
func makeSecondAccount(random *rand.Rand) (string, func(context.Context, *run) error) {
	s := anySite(random)
	return fmt.Sprintf("create TwilioAccount %s, with a budget of one number, or delete it", second(s)), func(ctx context.Context, r *run) error {
		account := r.accountOf(s)
		account.Name, account.Spec.RemovalBudget = second(s), budget(1)
		var there v1alpha1.TwilioAccount
		if err := r.env.Client.Get(ctx, client.ObjectKeyFromObject(account), &there); err == nil {
			return client.IgnoreNotFound(r.env.Client.Delete(ctx, &there))
		}
		return ignoreExists(r.env.Client.Create(ctx, account))
	}
}

func second(s site) string { return s.name + "-second" }

// patchAccount changes the removal budget of an account, if the account is there.
func (r *run) patchAccount(ctx context.Context, name string, spec v1alpha1.TwilioAccountSpec) error {
	return r.patch(ctx, name, map[string]any{"spec": map[string]any{"removalBudget": spec.RemovalBudget}})
}

func (r *run) patch(ctx context.Context, account string, change map[string]any) error {
	text, err := json.Marshal(change)
	if err != nil {
		return err
	}
	return client.IgnoreNotFound(r.env.Client.Patch(ctx, &v1alpha1.TwilioAccount{ObjectMeta: metav1.ObjectMeta{Name: account}}, client.RawPatch(types.MergePatchType, text)))
}

// relax ends what a run limits: each account has a manager, and in a tight run no account is suspended, no budget holds anything, and
// each account SID has one TwilioAccount.
func (r *run) relax(ctx context.Context) error {
	wrong := r.restoreLabels(ctx)
	if !r.plan.tight {
		return wrong
	}
	for _, s := range sites {
		wrong = errors.Join(wrong,
			client.IgnoreNotFound(r.env.Client.Delete(ctx, &v1alpha1.TwilioAccount{ObjectMeta: metav1.ObjectMeta{Name: second(s)}})),
			r.patch(ctx, s.name, map[string]any{"spec": map[string]any{"suspend": false, "removalBudget": map[string]any{"maxNumbers": off}}}))
	}
	return wrong
}

// allowance is what a TwilioAccount allowed from one version until the next.
type allowance struct {
	SID, Name   string
	From, Until time.Time
	// Numbers is how many numbers may lose add-ons in a window; unlimited: any.
	Numbers   int
	Suspended bool
	// Hold names the removals that are held, and Held is how many numbers they are of.
	Hold string
	Held int
}

const unlimited = 1 << 30

// approval is somebody's word that what is held may go.
type approval struct {
	SID, Hold string
	At        time.Time
}

func allowanceOf(a *v1alpha1.TwilioAccount) allowance {
	most := a.Spec.RemovalBudget.MaxNumbers
	numbers := unlimited
	if most != nil && most.Type == intstr.Int {
		numbers = most.IntValue()
	}
	return allowance{
		SID: string(a.Spec.AccountSID), Name: a.Name, Numbers: numbers, Suspended: a.Spec.Suspend,
		Hold: a.Status.Removals.Hold, Held: int(a.Status.Removals.Held), Until: forever,
	}
}

// judged is the window in which numbers are counted here. It is shorter than that of the
// operator, which counts a number from when it may lose add-ons, while Twilio's journal
// shows when it did: a call takes up to that much longer.
const judged = window - 30*time.Second

// judgeBudget returns the removals by which more numbers of an account had lost add-ons in a
// window than the budget or an approval allowed.
func (h *history) judgeBudget() []error {
	var wrong []error
	told := map[string]bool{}
	for i := range h.Journal {
		m := &h.Journal[i]
		if !removes(m) || told[m.Number] {
			continue
		}
		from := h.countedSince(m.Account, m.Time)
		numbers := map[string]bool{}
		for j := range h.Journal[:i+1] {
			if other := &h.Journal[j]; removes(other) && other.Account == m.Account && other.Time.After(from) {
				numbers[other.Number] = true
			}
		}
		allowed, approved := h.budgetWithin(m.Account, from, m.Time), h.approvedNumbers(m.Account, from, m.Time)
		if len(numbers) > allowed+approved {
			told[m.Number] = true
			wrong = append(wrong, wrongAt(m.Time, "%d numbers of %s had lost add-ons since %s, the last of them %s: the budget allowed %d, and approvals %d",
				len(numbers), short(m.Account), from.Format(clock), short(m.Number), allowed, approved))
		}
	}
	return wrong
}

// removes says whether the operator removed an add-on.
func removes(m *twiliosim.Mutation) bool {
	return m.Actor == twiliosim.ActorAPI && m.Change == twiliosim.ChangeUnassign
}

// countedSince is when the window begins that ends at a time: later if since then there was
// no TwilioAccount of the account, with which the count goes.
func (h *history) countedSince(account string, t time.Time) time.Time {
	from := t.Add(-judged)
	for i := range h.Allowances {
		until := h.Allowances[i].Until
		if sameSID(h.Allowances[i].SID, account) && until.After(from) && until.Before(t) && len(h.allowancesAt(account, until)) == 0 {
			from = until
		}
	}
	return from
}

// allowedAt is the strictest budget of an account at a time.
func (h *history) allowedAt(account string, t time.Time) int {
	numbers := unlimited
	for _, a := range h.allowancesAt(account, t) {
		numbers = min(numbers, a.Numbers)
	}
	return numbers
}

func (h *history) allowancesAt(account string, t time.Time) []allowance {
	var all []allowance
	for _, a := range h.Allowances {
		if sameSID(a.SID, account) && !a.From.After(t) && a.Until.After(t) {
			all = append(all, a)
		}
	}
	return all
}

// budgetWithin is the largest budget of an account in a window, as far as a manager may have
// known it.
func (h *history) budgetWithin(account string, from, until time.Time) int {
	from = h.asOf(from)
	most := 0
	moments := []time.Time{from, until}
	for _, a := range h.Allowances {
		moments = append(moments, a.From, a.Until)
	}
	for _, t := range moments {
		if !t.Before(from) && !t.After(until) && len(h.allowancesAt(account, t)) > 0 {
			most = max(most, h.allowedAt(account, t))
		}
	}
	return most
}

// approvalLasts is how long after an approval what it covers may still be under way.
const approvalLasts = 2 * time.Minute

// approvedNumbers is how many numbers approvals covered that may count in a window: as many
// as were held at most under the name that was approved.
func (h *history) approvedNumbers(account string, from, until time.Time) int {
	covered := map[string]int{}
	for _, p := range h.Approvals {
		if !sameSID(p.SID, account) || p.At.After(until) || p.At.Add(approvalLasts).Before(from) {
			continue
		}
		for _, a := range h.Allowances {
			if sameSID(a.SID, account) && a.Hold == p.Hold {
				covered[p.Hold] = max(covered[p.Hold], a.Held)
			}
		}
	}
	total := 0
	for _, n := range covered {
		total += n
	}
	return total
}

// suspended says whether a TwilioAccount was suspended over the whole of a window.
func (h *history) suspended(name string, from, until time.Time) bool {
	there := false
	for _, a := range h.Allowances {
		if a.Name != name || !(span{a.From, a.Until}).meets(from, until) {
			continue
		}
		if !a.Suspended {
			return false
		}
		there = true
	}
	return there
}
