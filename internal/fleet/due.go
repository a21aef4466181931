// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/schedule"
)

// The checks to come are kept here and not as delayed items of the work queue, where each
// takes 185 bytes: nearly every object waits for one.

// Begin says that a reconcile of the object begins. It takes the place of the next check;
// what becomes due from now on is kept.
func (f *Fleet) Begin(key types.NamespacedName) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.leading == 0 {
		f.leading = f.sinceStart()
	}
	if m := f.members[key]; m != nil {
		f.due.Clear(m)
	}
}

// Queued records that the object waits for a permit, and returns for how long it has.
func (f *Fleet) Queued(key types.NamespacedName) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.members[key]
	if m == nil {
		return 0
	}
	if m.queued == 0 {
		m.queued = f.sinceStart()
	}
	return f.sinceStart() - m.queued
}

// Admitted records that the object got its permit.
func (f *Fleet) Admitted(key types.NamespacedName) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.members[key]; m != nil {
		m.queued = 0
	}
}

// Checked records that a reconcile read the number and found nothing wrong.
func (f *Fleet) Checked(key types.NamespacedName) {
	f.Backoff.Succeeded(key)
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.members[key]; m != nil {
		m.checked = f.sinceStart()
	}
}

// LastCheck is when this process last read the object's number, on the fleet's clock. If
// it has not, it is when the process began to reconcile.
func (f *Fleet) LastCheck(key types.NamespacedName) time.Time {
	f.mu.RLock()
	defer f.mu.RUnlock()
	checked := f.leading
	if m := f.members[key]; m != nil {
		checked = max(checked, m.checked)
	}
	return f.clock.Now().Add(checked - f.sinceStart())
}

// ScheduleNow makes objects due at once.
func (f *Fleet) ScheduleNow(keys ...types.NamespacedName) {
	now := f.clock.Now()
	for _, key := range keys {
		f.ScheduleNext(key, now)
	}
}

// ScheduleNext makes an object due at a time, unless it is due earlier already.
func (f *Fleet) ScheduleNext(key types.NamespacedName, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.members[key]
	if m == nil || (m.due != 0 && m.due <= schedule.Due(at.UnixNano())) {
		return
	}
	if f.due.Set(m, at) {
		select {
		case f.sooner <- struct{}{}:
		default:
		}
	}
}

// Sooner receives when an object becomes due before all others.
func (f *Fleet) Sooner() <-chan struct{} { return f.sooner }

// PopDue takes at most so many objects that are due, and says how long it is until more
// are.
func (f *Fleet) PopDue(most int) (keys []types.NamespacedName, wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	members, wait := f.due.Pop(f.clock.Now(), most)
	for _, m := range members {
		keys = append(keys, keyOf(m.object))
	}
	return keys, wait
}

// sinceStart never returns zero, which stands for never.
func (f *Fleet) sinceStart() time.Duration { return f.clock.SinceStart() + 1 }
