// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/schedule"
)

// Doubts remembers since when Twilio has said without interruption that something does not
// exist or is refused. A single such answer is no proof: Twilio gives stray ones. Doubts
// live as long as the process; after a restart the evidence is collected anew.
type Doubts struct {
	clock schedule.Clock

	mu    sync.Mutex
	since map[types.NamespacedName]map[string]time.Time
}

func newDoubts(clock schedule.Clock) *Doubts {
	return &Doubts{clock: clock, since: map[types.NamespacedName]map[string]time.Time{}}
}

// Note records one more such answer about a subject, and returns for how long there has
// been nothing else: zero for the first.
func (d *Doubts) Note(key types.NamespacedName, subject string) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.since[key] == nil {
		d.since[key] = map[string]time.Time{}
	}
	first, noted := d.since[key][subject]
	if !noted {
		first = d.clock.Now()
		d.since[key][subject] = first
	}
	return d.clock.Since(first)
}

// Forget drops the doubts about subjects: an answer showed the contrary.
func (d *Doubts) Forget(key types.NamespacedName, subjects ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, subject := range subjects {
		delete(d.since[key], subject)
	}
	if len(d.since[key]) == 0 {
		delete(d.since, key)
	}
}

// ForgetAll drops all doubts of an object.
func (d *Doubts) ForgetAll(key types.NamespacedName) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.since, key)
}
