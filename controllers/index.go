// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"encoding/hex"
	"slices"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// number is a phone number SID without its prefix and letter case.
type number [16]byte

func numberOf(sid v1alpha1.PhoneNumberSID) (n number) {
	// The schema leaves only well-formed SIDs; anything else shares the zero number.
	if len(sid) == 34 {
		_, _ = hex.Decode(n[:], []byte(sid[2:]))
	}
	return n
}

// entry is what the index keeps of one object, beside what the cache knows of it.
// 100,000 of them are kept, so it is small.
type entry struct {
	// object is the one in the cache; nobody changes it.
	object *v1alpha1.PhoneNumberAddOnAssignment
	// written is the resourceVersion of this process's own last write to the object.
	written uint64
	// checked is when this process last read the number, zero if it has not.
	checked time.Duration
	// doubted is when something known to exist was first answered 404, zero if not; doubts
	// says what.
	doubted time.Duration
	// due is when the next periodic check is, in nanoseconds of Unix time, zero if none is.
	due int64
	// failures counts the passes that failed in a row, for the back-off.
	failures uint8
	doubts   subject
}

func (e *entry) number() number { return numberOf(e.object.Spec.PhoneNumberSID) }

func (e *entry) account() string { return e.object.Spec.AccountRef.Name }

// index knows which object names which number, under which account. It is fed
// by the events of the cache before a pass can run, and replaces field indexes
// that would cost several times the memory.
type index struct {
	mu      sync.RWMutex
	started time.Time
	// working is when the first pass asked, which on a standby is long after it started.
	working time.Duration
	// filled is closed once the index knows every object of the initial listing.
	filled  chan struct{}
	entries map[types.NamespacedName]*entry
	// numbers holds the first object of a number; shared those of a number that
	// several name.
	numbers map[number]*entry
	shared  map[number][]types.NamespacedName
	// reserved is the object that this process last let claim a number, until the cache
	// shows it as the incumbent.
	reserved map[number]types.NamespacedName
	// unassigned are the add-ons that objects have on record as intended, and of which this
	// process knows that they were never assigned for them, until the object is synced.
	unassigned map[types.NamespacedName]sets.Set[string]
	accounts   map[string]int
	// checks are the periodic checks to come; sooner tells of one before all others.
	checks checks
	sooner chan struct{}
}

func newIndex() *index {
	return &index{
		started:    time.Now(),
		filled:     make(chan struct{}),
		entries:    map[types.NamespacedName]*entry{},
		numbers:    map[number]*entry{},
		shared:     map[number][]types.NamespacedName{},
		reserved:   map[number]types.NamespacedName{},
		unassigned: map[types.NamespacedName]sets.Set[string]{},
		accounts:   map[string]int{},
		sooner:     make(chan struct{}, 1),
	}
}

// put records an object as the cache now shows it.
func (x *index) put(a *v1alpha1.PhoneNumberAddOnAssignment) {
	key := keyOf(a)
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.entries[key]
	if e != nil && (e.object.UID != a.UID || e.number() != numberOf(a.Spec.PhoneNumberSID)) {
		x.drop(key)
		e = nil
	}
	switch {
	case e == nil:
		e = &entry{object: a}
		x.entries[key] = e
		x.addClaim(e, key)
		x.count(e.account(), 1)
	case e.account() != a.Spec.AccountRef.Name:
		x.count(e.account(), -1)
		x.count(a.Spec.AccountRef.Name, 1)
	}
	e.object = a
	if n := e.number(); x.reserved[n] == key && incumbent(a) {
		delete(x.reserved, n)
	}
}

// remove forgets an object.
func (x *index) remove(key types.NamespacedName) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.drop(key)
}

func (x *index) drop(key types.NamespacedName) {
	e := x.entries[key]
	if e == nil {
		return
	}
	delete(x.entries, key)
	delete(x.unassigned, key)
	x.count(e.account(), -1)
	x.dropClaim(e.number(), key)
	e.due, e.object = 0, nil // it may be among the checks to come for a while
}

func (x *index) count(account string, delta int) {
	if x.accounts[account] += delta; x.accounts[account] == 0 {
		delete(x.accounts, account)
	}
}

func (x *index) addClaim(e *entry, key types.NamespacedName) {
	n := e.number()
	first, taken := x.numbers[n]
	if !taken {
		x.numbers[n] = e
		return
	}
	if len(x.shared[n]) == 0 {
		x.shared[n] = []types.NamespacedName{keyOf(first.object)}
	}
	x.shared[n] = append(x.shared[n], key)
}

func (x *index) dropClaim(n number, key types.NamespacedName) {
	if x.reserved[n] == key {
		delete(x.reserved, n)
	}
	rest := slices.DeleteFunc(x.shared[n], func(k types.NamespacedName) bool { return k == key })
	switch len(rest) {
	case 0:
		delete(x.shared, n)
		delete(x.numbers, n)
	case 1:
		delete(x.shared, n)
		x.numbers[n] = x.entries[rest[0]]
	default:
		x.shared[n] = rest
		x.numbers[n] = x.entries[rest[0]]
	}
}

// contested says whether more than one object names the number.
func (x *index) contested(sid v1alpha1.PhoneNumberSID) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.shared[numberOf(sid)]) > 1
}

// claims lists the objects that name the number, and which of them this process
// last let claim it.
func (x *index) claims(sid v1alpha1.PhoneNumberSID) (keys []types.NamespacedName, reserved types.NamespacedName) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	n := numberOf(sid)
	if keys = slices.Clone(x.shared[n]); len(keys) == 0 {
		if only, ok := x.numbers[n]; ok {
			keys = append(keys, keyOf(only.object))
		}
	}
	return keys, x.reserved[n]
}

// reserve settles which of several objects claims a number while the cache does
// not show its claim yet. False: another one came first.
func (x *index) reserve(sid v1alpha1.PhoneNumberSID, key types.NamespacedName) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := numberOf(sid)
	if holder, held := x.reserved[n]; held && holder != key {
		return false
	}
	x.reserved[n] = key
	return true
}

// release gives up the reservation of an object, if it has one.
func (x *index) release(a *v1alpha1.PhoneNumberAddOnAssignment) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if n := numberOf(a.Spec.PhoneNumberSID); x.reserved[n] == keyOf(a) {
		delete(x.reserved, n)
	}
}

// references counts the objects that refer to a TwilioAccount.
func (x *index) references(account string) int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.accounts[account]
}

// wrote records the resourceVersion that a write of this process gave the object.
func (x *index) wrote(a *v1alpha1.PhoneNumberAddOnAssignment) {
	version, err := strconv.ParseUint(a.ResourceVersion, 10, 64)
	if err != nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if e := x.entries[keyOf(a)]; e != nil {
		e.written = max(e.written, version)
	}
}

// behind says whether an object as cached lacks this process's own last write to it.
func (x *index) behind(a *v1alpha1.PhoneNumberAddOnAssignment) bool {
	version, err := strconv.ParseUint(a.ResourceVersion, 10, 64)
	if err != nil {
		return false
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	e := x.entries[keyOf(a)]
	return e != nil && version < e.written
}

// checkedAt is when this process last read the object's number; when it began to work
// if it has not.
func (x *index) checkedAt(key types.NamespacedName) time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.working == 0 {
		x.working = time.Since(x.started)
	}
	checked := x.working
	if e := x.entries[key]; e != nil {
		checked = max(checked, e.checked)
	}
	return x.started.Add(checked)
}

// succeeded records that a pass read the number and had nothing to complain of; synced, that
// nothing is intended any more.
func (x *index) succeeded(key types.NamespacedName, synced bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e := x.entries[key]; e != nil {
		e.checked, e.failures, e.doubted = time.Since(x.started), 0, 0
	}
	if synced {
		delete(x.unassigned, key)
	}
}

// failed records one more failed pass and returns how many failed before it.
func (x *index) failed(key types.NamespacedName) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.entries[key]
	if e == nil {
		return 0
	}
	before := e.failures
	e.failures = min(before+1, 32)
	return int(before)
}

// neverAssigned records that add-ons are known not to have been assigned for an object:
// it has only now been put on record that they are to be, or Twilio knows no such add-on.
func (x *index) neverAssigned(key types.NamespacedName, sids ...v1alpha1.AddOnSID) {
	if len(sids) == 0 {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.entries[key] == nil {
		return
	}
	if x.unassigned[key] == nil {
		x.unassigned[key] = sets.New[string]()
	}
	for _, sid := range sids {
		x.unassigned[key].Insert(fold(sid))
	}
}

// mayBeAssigned records that an add-on was assigned for an object, or that nobody can tell.
func (x *index) mayBeAssigned(key types.NamespacedName, sid v1alpha1.AddOnSID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.unassigned[key].Delete(fold(sid))
}

// isUnassigned says whether an add-on is known not to have been assigned for an object.
func (x *index) isUnassigned(key types.NamespacedName, sid v1alpha1.AddOnSID) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.unassigned[key].Has(fold(sid))
}

// subject is what a 404 raises a doubt about.
type subject uint8

const (
	aboutNumber subject = iota
	aboutAddOn
)

// found records that Twilio knows the number: an earlier answer that it does not was a
// stray one.
func (x *index) found(key types.NamespacedName) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e := x.entries[key]; e != nil && e.doubts == aboutNumber {
		e.doubted = 0
	}
}

// doubt records that Twilio answered 404 for something known to exist. True once
// it did so before, at least spacing ago: then it is to be believed.
func (x *index) doubt(key types.NamespacedName, about subject, spacing time.Duration) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.entries[key]
	if e == nil {
		return false
	}
	now := time.Since(x.started)
	if e.doubted == 0 || e.doubts != about {
		e.doubted, e.doubts = now, about
		return false
	}
	return now-e.doubted >= spacing
}

// overtaken says whether the object that a pass works on is gone or has another spec by
// now, as far as the cache knows.
func (x *index) overtaken(a *v1alpha1.PhoneNumberAddOnAssignment) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	e := x.entries[keyOf(a)]
	return e == nil || e.object.UID != a.UID || e.object.Generation > a.Generation
}

// rivals lists the other objects that name the same number.
func (x *index) rivals(a *v1alpha1.PhoneNumberAddOnAssignment) []types.NamespacedName {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return slices.DeleteFunc(slices.Clone(x.shared[numberOf(a.Spec.PhoneNumberSID)]), func(k types.NamespacedName) bool {
		return k == keyOf(a)
	})
}

// where lists the objects for which keep is true, by account and namespace.
func (x *index) where(keep func(key types.NamespacedName, account string) bool) []types.NamespacedName {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var keys []types.NamespacedName
	for key, e := range x.entries {
		if keep(key, e.account()) {
			keys = append(keys, key)
		}
	}
	return keys
}

// accountReason is a pair by which objects are counted.
type accountReason struct{ account, reason string }

// tally counts the objects by account and Ready reason.
func (x *index) tally() map[accountReason]int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	counts := map[accountReason]int{}
	for _, e := range x.entries {
		reason := ""
		if ready := meta.FindStatusCondition(e.object.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
			reason = ready.Reason
		}
		counts[accountReason{e.account(), reason}]++
	}
	return counts
}
