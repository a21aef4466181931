// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package budget

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// TestHistories runs random histories of processes that decide, write what was decided
// (or end before, between or after the writes), and remove what was granted, also late and
// after they lost their lease. A model of its own says what was allowed. It knows counts only; percentages
// are in the tables.
func TestHistories(t *testing.T) {
	for seed := range uint64(90) {
		newHistory(t, seed, false).run(250)
	}
}

// TestHistoriesWithClockSteps is the same with a wall clock that is set back and forward:
// budget may come back early by as much as the clock was set forward, and no more.
func TestHistoriesWithClockSteps(t *testing.T) {
	for seed := range uint64(40) {
		newHistory(t, seed, true).run(250)
	}
}

type spent struct {
	at     time.Time
	number v1alpha1.PhoneNumberSID
}

type limitAt struct {
	at    time.Time
	limit int
}

type history struct {
	t      *testing.T
	seed   uint64
	random *rand.Rand
	steps  bool
	plain  bool // no edits of budgets, approvals and deletions of CRDs: what is allowed stays the same

	now      time.Time // as a perfect clock shows it
	offset   time.Duration
	forward  time.Duration // sum of the steps forward
	window   time.Duration
	accounts []Account
	deleting bool

	wants   map[v1alpha1.PhoneNumberSID]bool
	covered map[v1alpha1.PhoneNumberSID]bool // approved, and not on record as done
	removed []spent
	limits  []limitAt

	// the process
	since     map[v1alpha1.PhoneNumberSID]time.Time
	held      map[v1alpha1.PhoneNumberSID]bool // in the objects' status: outlives the process
	withdrawn time.Time
	complete  bool
	granted   *Decision // on record
	zombie    *Decision // the last one of a process that is no leader any more
}

func newHistory(t *testing.T, seed uint64, steps bool) *history {
	t.Helper()
	h := &history{
		t: t, seed: seed, random: rand.New(rand.NewPCG(seed, 7)), steps: steps, plain: seed%3 > 0,
		now:    time.Date(2026, 11, 25, 9, 0, 0, int(seed)*1000003, time.UTC),
		window: []time.Duration{time.Minute, 71 * time.Second, time.Hour, 24 * time.Hour}[seed%4],
		wants:  map[v1alpha1.PhoneNumberSID]bool{}, covered: map[v1alpha1.PhoneNumberSID]bool{},
		held: map[v1alpha1.PhoneNumberSID]bool{},
	}
	for i := range 1 + seed%2 {
		h.accounts = append(h.accounts, Account{Name: fmt.Sprint("account-", i)})
	}
	h.editBudget()
	h.start()
	return h
}

func (h *history) wall() time.Time { return h.now.Add(h.offset) }

// start is a new process: it knows nothing but what is on record.
func (h *history) start() {
	if h.granted != nil {
		h.zombie = h.granted
	}
	h.since, h.granted, h.withdrawn = map[v1alpha1.PhoneNumberSID]time.Time{}, nil, h.now
	h.complete = h.random.IntN(2) == 0
}

func (h *history) editBudget() {
	for i := range h.accounts {
		spec := v1alpha1.RemovalBudget{
			MaxNumbers: new(intstr.FromInt32(int32(h.random.IntN(30)))),
			MinNumbers: new(int32(h.random.IntN(8))),
			Window:     metav1.Duration{Duration: h.window},
		}
		if h.random.IntN(3) == 0 {
			until := h.wall().Add(time.Duration(h.random.Int64N(int64(h.window))))
			spec.Exceptions = []v1alpha1.RemovalException{{Until: metav1.NewTime(until), MaxNumbers: int32(h.random.IntN(60)), Reason: "test"}}
		}
		h.accounts[i].Spec = spec
	}
	h.noteLimit()
}

// noteLimit keeps what the budgets allow from now on.
func (h *history) noteLimit() {
	limit := 1 << 30
	for _, a := range h.accounts {
		own := int(max(a.Spec.MaxNumbers.IntVal, *a.Spec.MinNumbers))
		for _, e := range a.Spec.Exceptions {
			if h.wall().Before(e.Until.Time) {
				own = max(own, int(e.MaxNumbers))
			}
		}
		limit = min(limit, own)
	}
	h.limits = append(h.limits, limitAt{h.now, limit})
	for len(h.limits) > 1 && h.now.Sub(h.limits[1].at) >= h.window {
		h.limits = h.limits[1:]
	}
}

func (h *history) limit() int { return h.limits[len(h.limits)-1].limit }

func (h *history) run(steps int) {
	h.t.Helper()
	for range steps {
		switch n := h.random.IntN(100); {
		case n < 15:
			h.pass(time.Duration(h.random.Int64N(int64(h.window / 3))))
		case n < 30:
			h.pass(time.Duration(h.random.Int64N(int64(20 * time.Second))))
		case n < 42:
			h.ask(1 + h.random.IntN(4))
		case n < 44:
			h.ask(1 + h.random.IntN(60))
		case n < 49:
			h.withdraw(1 + h.random.IntN(10))
		case n < 52:
			h.start()
		case n < 54 && !h.plain:
			h.editBudget()
		case n < 57 && !h.plain:
			h.annotate()
		case n < 58 && !h.plain:
			h.deleting = !h.deleting
		case n < 59 && len(h.accounts) > 1:
			h.recreate()
		case n < 60 && h.steps:
			step := time.Duration(h.random.Int64N(int64(h.window))) - h.window/2
			h.offset, h.forward = h.offset+step, h.forward+max(0, step)
		case n < 65:
			h.complete = true
		case n < 85:
			h.decide(h.random.IntN(8))
		default:
			h.remove()
		}
	}
	h.end()
}

func (h *history) pass(d time.Duration) {
	h.now = h.now.Add(d)
	h.noteLimit()
}

func number(n int) v1alpha1.PhoneNumberSID {
	return v1alpha1.PhoneNumberSID(fmt.Sprintf("PN%032X", n))
}

func (h *history) ask(n int) {
	for range n {
		h.wants[number(h.random.IntN(200))] = true
	}
}

func (h *history) withdraw(n int) {
	for _, number := range h.some(h.wants, n) {
		delete(h.wants, number)
		delete(h.held, number)
		if h.granted == nil || !h.granted.Grants(number) {
			h.withdrawn = h.now
		}
	}
}

// some takes a few of a set, the same in each run of a seed.
func (h *history) some(set map[v1alpha1.PhoneNumberSID]bool, n int) []v1alpha1.PhoneNumberSID {
	all := slices.Sorted(maps.Keys(set))
	h.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(n, len(all))]
}

func (h *history) annotate() {
	i := h.random.IntN(len(h.accounts))
	h.accounts[i].Approve = h.accounts[h.random.IntN(len(h.accounts))].State.Hold
}

// recreate is the deletion of an account beside another one, and its creation anew. Either
// way the accounts are others, and the leader decides.
func (h *history) recreate() {
	h.t.Helper()
	h.accounts[h.random.IntN(len(h.accounts))].State = v1alpha1.RemovalsStatus{}
	h.decide(9)
}

func (h *history) input() Input {
	in := Input{
		Now: h.wall(), Accounts: h.accounts, Fleet: 200, Complete: h.complete,
		Withdrawn: h.withdrawn.Add(h.offset), CRDDeleting: h.deleting,
	}
	for _, n := range slices.Sorted(maps.Keys(h.wants)) {
		if _, known := h.since[n]; !known {
			if !h.complete && h.random.IntN(2) == 0 {
				continue // not seen yet
			}
			h.since[n] = h.now
		}
		// A monotonic reading moves along with the wall clock.
		in.Demands = append(in.Demands, Demand{Number: n, Object: "ns/" + string(n[30:]), Since: h.since[n].Add(h.offset), Held: h.held[n]})
	}
	maps.DeleteFunc(h.since, func(n v1alpha1.PhoneNumberSID, _ time.Time) bool { return !h.wants[n] })
	return in
}

// decide decides and writes. How it ends: 0 before the first write, 1 after it, 2 after
// all; from 3 on the process lives.
func (h *history) decide(end int) Decision {
	h.t.Helper()
	in := h.input()
	before := recorded(h.accounts)
	d := Decide(in)
	if h.random.IntN(5) == 0 {
		h.same(in, d)
	}
	if !d.Changed {
		if d.Figures && end > 3 {
			for i := range h.accounts {
				h.write(i, d.State)
			}
		}
		h.took(before, d)
		return d
	}
	if end == 0 {
		h.start()
		return d
	}
	first := h.random.IntN(len(h.accounts))
	h.write(first, d.State)
	h.cover(before, d)
	if end == 1 {
		h.start()
		return d
	}
	for i := range h.accounts {
		h.write(i, d.State)
	}
	if end == 2 {
		h.start()
		return d
	}
	h.took(before, d)
	return d
}

// same fails if the order of the demands makes a difference.
func (h *history) same(in Input, d Decision) {
	h.t.Helper()
	in.Demands = slices.Clone(in.Demands)
	h.random.Shuffle(len(in.Demands), func(i, j int) { in.Demands[i], in.Demands[j] = in.Demands[j], in.Demands[i] })
	if diff := cmp.Diff(d, Decide(in), cmp.AllowUnexported(Decision{})); diff != "" {
		h.fatalf("the order of the demands makes a difference:\n%s", diff)
	}
}

// write is a write to the API server: what is not in the JSON is lost.
func (h *history) write(i int, s v1alpha1.RemovalsStatus) {
	h.t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		h.fatalf("%v", err)
	}
	h.accounts[i].State = v1alpha1.RemovalsStatus{}
	if err := json.Unmarshal(text, &h.accounts[i].State); err != nil {
		h.fatalf("%v", err)
	}
	approved := map[fingerprint]bool{}
	for i := range h.accounts {
		for _, f := range unpack(h.accounts[i].State.ApprovedNumbers) {
			approved[f] = true
		}
	}
	maps.DeleteFunc(h.covered, func(n v1alpha1.PhoneNumberSID, _ bool) bool { return !h.wants[n] && !approved[fingerprintOf(n)] })
}

type onRecord struct {
	hold  string
	cause v1alpha1.RemovalsCause
	last  string
}

func recorded(accounts []Account) onRecord {
	var read []record
	for i := range accounts {
		read = append(read, readRecord(&accounts[i].State))
	}
	all := merge(read)
	return onRecord{all.hold, all.cause, all.lastApproved}
}

// cover keeps who an approval covers: all who asked when it went on record.
func (h *history) cover(before onRecord, d Decision) {
	if d.State.Approved == before.last {
		return
	}
	if !h.complete || d.State.Approved != before.hold {
		h.fatalf("approved %q while %q was held", d.State.Approved, before.hold)
	}
	for n := range h.wants {
		h.covered[n] = true
	}
}

// took is a decision that was written and will be acted on.
func (h *history) took(before onRecord, d Decision) {
	h.t.Helper()
	h.granted = &d
	for n := range h.wants {
		h.held[n] = d.State.Hold != "" && !d.Grants(n)
	}
	if before.hold != "" && d.State.Hold != "" && d.State.Hold != before.hold && before.cause == d.State.Cause {
		h.fatalf("the hold %s became %s", before.hold, d.State.Hold)
	}
	if h.deleting {
		for n := range h.wants {
			if d.Grants(n) && !h.covered[n] {
				h.fatalf("%s was granted while a CRD is being deleted", n)
			}
		}
	}
	if h.complete && d.State.Hold != "" && int(d.State.Held)+d.Granted != len(h.wants) {
		h.fatalf("%d numbers are held and %d granted, %d ask", d.State.Held, d.Granted, len(h.wants))
	}
}

// remove removes some of what a process believes it may.
func (h *history) remove() {
	h.t.Helper()
	for i, d := range []*Decision{h.granted, h.zombie} {
		if d == nil || h.wall().After(d.GrantedUntil) {
			continue
		}
		for _, n := range h.some(h.wants, h.random.IntN(20)) {
			if zombie := i == 1; d.Grants(n) && (!zombie || !h.covered[n] && !h.approvedBy(d, n)) {
				h.spend(n)
			}
		}
	}
}

// approvedBy reports whether a decision granted a number for an approval, which lasts
// only as long as it asks. The model does not follow what a deposed leader does with it.
func (h *history) approvedBy(d *Decision, n v1alpha1.PhoneNumberSID) bool {
	return slices.Contains(unpack(d.State.ApprovedNumbers), fingerprintOf(n))
}

func (h *history) spend(n v1alpha1.PhoneNumberSID) {
	h.t.Helper()
	delete(h.wants, n)
	delete(h.held, n)
	if h.covered[n] {
		return
	}
	h.removed = append(h.removed, spent{h.now, n})
	window := h.window - h.forward
	h.removed = slices.DeleteFunc(h.removed, func(s spent) bool { return h.now.Sub(s.at) >= window })
	distinct, allowed := map[v1alpha1.PhoneNumberSID]bool{}, 0
	for _, s := range h.removed {
		distinct[s.number] = true
	}
	for _, l := range h.limits {
		allowed = max(allowed, l.limit)
	}
	if len(distinct) > allowed {
		h.fatalf("%d distinct numbers lost add-ons within %v, %d were allowed", len(distinct), window, allowed)
	}
}

// end lets the world come to rest and decides only when a decision asked for it: what
// is within the limit must go, and the rest must be held.
func (h *history) end() {
	h.t.Helper()
	h.complete, h.deleting = true, false
	for i := range h.accounts {
		h.accounts[i].Approve = ""
	}
	h.limits = append(h.limits, limitAt{h.now, 1 << 20}) // overspending was looked at before
	for range 200 {
		d := h.decide(9)
		for _, n := range slices.Sorted(maps.Keys(h.wants)) {
			if d.Grants(n) {
				h.spend(n)
			}
		}
		if d = h.decide(9); d.NextCheck == 0 {
			break
		}
		h.pass(d.NextCheck)
	}
	left, state := len(h.wants), h.granted.State
	h.noteLimit()
	if left > 0 && left <= h.limit() {
		h.fatalf("%d numbers still wait although %d are allowed: %+v", left, h.limit(), state)
	}
	if left > 0 && (state.Hold == "" || int(state.Held) != left) {
		h.fatalf("%d numbers wait, and the hold says %+v", left, state)
	}
	if left == 0 && (state.Hold != "" || state.Numbers != 0 || state.ApprovedNumbers != "") {
		h.fatalf("nothing waits, and the state says %+v", state)
	}
}

func (h *history) fatalf(format string, args ...any) {
	h.t.Helper()
	h.t.Fatalf("seed %d: "+format, append([]any{h.seed}, args...)...)
}
