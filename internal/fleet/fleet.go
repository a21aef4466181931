// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package fleet is what this process knows of all objects: which of them name which
// number and which account, when each is due, and which of its own writes the cache does
// not show yet.
//
// Events of the cache fill it. It replaces field indexes, which would cost several times
// the memory at 100,000 objects. What it knows besides the objects themselves (writes,
// reservations, doubts) is lost with the process. It may save a call or delay a decision;
// it must never be the only ground for one that cannot be undone.
package fleet

import (
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/schedule"
)

// Assignment is the kind that the fleet consists of.
type Assignment = v1alpha1.PhoneNumberAddOnAssignment

// number is a phone number SID without its prefix and letter case.
type number [16]byte

func numberOf(sid v1alpha1.PhoneNumberSID) (n number) {
	// The schema admits only well-formed SIDs; anything else shares the zero number.
	if len(sid) == 34 {
		_, _ = hex.Decode(n[:], []byte(sid[2:]))
	}
	return n
}

// member is what the fleet keeps of one object. There are 100,000 of them, so it is small.
type member struct {
	// object is the one in the cache. Nobody changes it.
	object *Assignment
	// expected is the resourceVersion of this process's own last write.
	expected string
	// checked is when this process last read the number, since the start; zero if never.
	checked time.Duration
	due     schedule.Due
	// queued is since when the object waits for a permit, since the start; zero if not.
	queued time.Duration
	// waiting: a reconcile waits for the cache to show the expected version.
	waiting bool
}

func (m *member) number() number  { return numberOf(m.object.Spec.PhoneNumberSID) }
func (m *member) account() string { return m.object.Spec.AccountRef.Name }

// Fleet is safe for concurrent use.
type Fleet struct {
	clock schedule.Clock
	// Backoff counts the failures of each object.
	Backoff *schedule.Backoff[types.NamespacedName]
	// Doubts remembers what Twilio answers 404 to.
	Doubts *Doubts

	mu sync.RWMutex
	// leading is when the first reconcile began, since the start. On a standby that is
	// long after the start.
	leading time.Duration
	synced  chan struct{}
	members map[types.NamespacedName]*member
	// numbers holds one object of each number; shared holds all of a number that several
	// objects name.
	numbers map[number]*member
	shared  map[number][]types.NamespacedName
	// reserved is the object that this process last let claim a number, until the cache
	// shows its claim.
	reserved map[number]types.NamespacedName
	accounts map[string]int
	due      *schedule.Timetable[member]
	sooner   chan struct{}
}

// New returns an empty fleet.
func New() *Fleet {
	clock := schedule.NewClock()
	return &Fleet{
		clock:    clock,
		Backoff:  schedule.NewBackoff[types.NamespacedName](),
		Doubts:   newDoubts(clock),
		synced:   make(chan struct{}),
		members:  map[types.NamespacedName]*member{},
		numbers:  map[number]*member{},
		shared:   map[number][]types.NamespacedName{},
		reserved: map[number]types.NamespacedName{},
		accounts: map[string]int{},
		due:      schedule.NewTimetable(func(m *member) *schedule.Due { return &m.due }),
		sooner:   make(chan struct{}, 1),
	}
}

// Clock returns the clock by which the fleet keeps time.
func (f *Fleet) Clock() schedule.Clock { return f.clock }

// MarkSynced says that every object of the initial list is known. Call it once.
func (f *Fleet) MarkSynced() { close(f.synced) }

// Synced is closed once every object of the initial list is known.
func (f *Fleet) Synced() <-chan struct{} { return f.synced }

// Upsert records an object as the cache now shows it. It reports whether a reconcile waits
// for this version.
func (f *Fleet) Upsert(a *Assignment) (awaited bool) {
	key := keyOf(a)
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.members[key]
	if m != nil && (m.object.UID != a.UID || m.number() != numberOf(a.Spec.PhoneNumberSID)) {
		f.remove(key)
		m = nil
	}
	switch {
	case m == nil:
		m = &member{object: a}
		f.members[key] = m
		f.addToNumber(m, key)
		f.accounts[m.account()]++
	case m.account() != a.Spec.AccountRef.Name:
		f.countAccount(m.account(), -1)
		f.countAccount(a.Spec.AccountRef.Name, 1)
	}
	m.object = a
	if n := m.number(); f.reserved[n] == key && a.Status.Claim == v1alpha1.ClaimHeld {
		delete(f.reserved, n)
	}
	if m.expected == "" || IsOlder(a.ResourceVersion, m.expected) {
		return false
	}
	awaited, m.waiting, m.expected = m.waiting, false, ""
	return awaited
}

// Delete forgets an object and all that is remembered of it.
func (f *Fleet) Delete(key types.NamespacedName) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.remove(key)
}

func (f *Fleet) remove(key types.NamespacedName) {
	m := f.members[key]
	if m == nil {
		return
	}
	delete(f.members, key)
	f.Backoff.Succeeded(key)
	f.Doubts.ForgetAll(key)
	f.countAccount(m.account(), -1)
	f.removeFromNumber(m.number(), key)
	f.due.Clear(m)
	m.object = nil // the timetable may keep the member for a while
}

func (f *Fleet) countAccount(account string, delta int) {
	if f.accounts[account] += delta; f.accounts[account] == 0 {
		delete(f.accounts, account)
	}
}

func (f *Fleet) addToNumber(m *member, key types.NamespacedName) {
	n := m.number()
	other, taken := f.numbers[n]
	if !taken {
		f.numbers[n] = m
		return
	}
	if len(f.shared[n]) == 0 {
		f.shared[n] = []types.NamespacedName{keyOf(other.object)}
	}
	f.shared[n] = append(f.shared[n], key)
}

func (f *Fleet) removeFromNumber(n number, key types.NamespacedName) {
	if f.reserved[n] == key {
		delete(f.reserved, n)
	}
	left := slices.DeleteFunc(f.shared[n], func(k types.NamespacedName) bool { return k == key })
	switch len(left) {
	case 0:
		delete(f.shared, n)
		delete(f.numbers, n)
	case 1:
		delete(f.shared, n)
		f.numbers[n] = f.members[left[0]]
	default:
		f.shared[n] = left
		f.numbers[n] = f.members[left[0]]
	}
}

// Find returns the object of a key, nil if it is not in the fleet. Do not change it.
func (f *Fleet) Find(key types.NamespacedName) *Assignment {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if m := f.members[key]; m != nil {
		return m.object
	}
	return nil
}

// Contenders returns the objects that name a number, and which of them this process last
// let claim it. It returns none if there is only one. Do not change the objects.
func (f *Fleet) Contenders(sid v1alpha1.PhoneNumberSID) (objects []*Assignment, reserved types.NamespacedName) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	n := numberOf(sid)
	for _, key := range f.shared[n] {
		objects = append(objects, f.members[key].object)
	}
	return objects, f.reserved[n]
}

// Rivals returns the keys of the other objects that name the same number.
func (f *Fleet) Rivals(a *Assignment) []types.NamespacedName {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return slices.DeleteFunc(slices.Clone(f.shared[numberOf(a.Spec.PhoneNumberSID)]),
		func(k types.NamespacedName) bool { return k == keyOf(a) })
}

// RivalsOf returns the keys of all objects that name the number of one of these objects.
func (f *Fleet) RivalsOf(keys []types.NamespacedName) []types.NamespacedName {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var rivals []types.NamespacedName
	if len(f.shared) == 0 {
		return nil
	}
	for _, key := range keys {
		if m := f.members[key]; m != nil {
			rivals = append(rivals, f.shared[m.number()]...)
		}
	}
	return rivals
}

// Reserve lets an object claim a number before the cache can show the claim. It returns
// false if another one came first.
func (f *Fleet) Reserve(a *Assignment) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := numberOf(a.Spec.PhoneNumberSID)
	if holder, held := f.reserved[n]; held && holder != keyOf(a) {
		return false
	}
	f.reserved[n] = keyOf(a)
	return true
}

// DropReservation gives up the reservation of an object, if it has one.
func (f *Fleet) DropReservation(a *Assignment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := numberOf(a.Spec.PhoneNumberSID); f.reserved[n] == keyOf(a) {
		delete(f.reserved, n)
	}
}

// Expect records the version that a write of this process gave an object.
func (f *Fleet) Expect(a *Assignment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.members[keyOf(a)]; m != nil && IsOlder(m.expected, a.ResourceVersion) {
		m.expected = a.ResourceVersion
	}
}

// Satisfied reports whether an object as read from the cache has this process's own last
// write to it. If not, Upsert tells when it has.
func (f *Fleet) Satisfied(a *Assignment) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.members[keyOf(a)]
	if m == nil || !IsOlder(a.ResourceVersion, m.expected) {
		return true
	}
	m.waiting = true
	return false
}

// IsOlder reports whether a resourceVersion comes before another. One that cannot be compared
// is not older.
func IsOlder(version, than string) bool {
	if than == "" {
		return false
	}
	if version == "" {
		return true
	}
	order, err := resourceversion.CompareResourceVersion(version, than)
	return err == nil && order < 0
}

// IsStale reports whether an object at hand is gone, or has another spec by now.
func (f *Fleet) IsStale(a *Assignment) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	m := f.members[keyOf(a)]
	return m == nil || m.object.UID != a.UID || m.object.Generation > a.Generation
}

// Count returns the number of objects that refer to a TwilioAccount.
func (f *Fleet) Count(account string) int {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.accounts[account]
}

// CountHeld returns the number of objects that hold their number and whose account counts.
func (f *Fleet) CountHeld(counts func(account string) bool) int {
	f.mu.RLock()
	defer f.mu.RUnlock()
	n := 0
	for _, m := range f.members {
		if m.object.Status.Claim == v1alpha1.ClaimHeld && counts(m.account()) {
			n++
		}
	}
	return n
}

// Select returns the keys of the objects for which keep is true.
func (f *Fleet) Select(keep func(key types.NamespacedName, account string) bool) []types.NamespacedName {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var keys []types.NamespacedName
	for key, m := range f.members {
		if keep(key, m.account()) {
			keys = append(keys, key)
		}
	}
	return keys
}

// Group is a set of objects that are counted together.
type Group struct {
	// Account is the name of the TwilioAccount, Reason that of the Ready condition.
	Account, Reason string
}

// CountByReason counts the objects by account and Ready reason.
func (f *Fleet) CountByReason() map[Group]int {
	f.mu.RLock()
	defer f.mu.RUnlock()
	counts := map[Group]int{}
	for _, m := range f.members {
		reason := ""
		if ready := meta.FindStatusCondition(m.object.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
			reason = ready.Reason
		}
		counts[Group{m.account(), reason}]++
	}
	return counts
}

func keyOf(a *Assignment) types.NamespacedName {
	return types.NamespacedName{Namespace: a.Namespace, Name: a.Name}
}
