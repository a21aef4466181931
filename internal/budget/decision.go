// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package budget

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// decision puts together what the pass came to.
func (p *pass) decision() Decision {
	d := Decision{
		State: p.state(), Granted: len(p.granted), GrantedUntil: p.grantedUntil(),
		NextCheck: p.nextCheck(), Event: p.event, granted: p.granted,
	}
	for i := range p.read {
		d.Changed = d.Changed || p.read[i].lacks(&p.record)
		d.Figures = d.Figures || p.figuresDiffer(&p.in.Accounts[i].State, &p.read[i], &d.State)
	}
	d.Figures = d.Figures && !d.Changed
	if d.State.Hold == "" {
		d.Waiting = len(p.rest)
	}
	d.Message, d.ObjectMessage = p.messages(&d.State)
	if d.Event != nil && d.Event.Warning {
		d.Event.Message = d.Message
	}
	return d
}

// state is what is to be on record, with the figures for people.
func (p *pass) state() v1alpha1.RemovalsStatus {
	s := p.record.status()
	if limit := p.limit(); limit != unlimited {
		s.Limit = int32(limit)
	}
	if s.Hold == "" {
		return s
	}
	s.Held, s.Sample = int32(len(p.rest)), p.sample()
	if p.in.Complete {
		return s
	}
	for i := range p.in.Accounts {
		if known := &p.in.Accounts[i].State; known.Hold == s.Hold && known.Held > s.Held {
			s.Held, s.Sample = known.Held, slices.Clone(known.Sample)
		}
	}
	return s
}

// sample names a few of the objects that wait, the first by name.
func (p *pass) sample() []string {
	var sample []string
	for _, f := range p.rest {
		object := p.asks[f].Object
		if len(sample) == sampleSize && object >= sample[sampleSize-1] {
			continue
		}
		at, found := slices.BinarySearch(sample, object)
		if found {
			continue
		}
		sample = slices.Insert(sample, at, object)
		sample = sample[:min(len(sample), sampleSize)]
	}
	return sample
}

// newHold names a hold that begins now. Nobody has approved it yet: the name is none that
// an annotation or a status holds.
func (p *pass) newHold() string {
	h := hash(string(p.cause()))
	var raw [8]byte
	mix := func(n uint64) {
		binary.BigEndian.PutUint64(raw[:], n)
		h = hash(fmt.Sprintf("%016x%x", h, raw))
	}
	mix(uint64(p.in.Now.UnixNano()))
	for _, f := range p.rest[:min(len(p.rest), 100)] {
		mix(uint64(f))
	}
	for {
		mix(0)
		name := fmt.Sprintf("%08x", uint32(h))
		if !slices.ContainsFunc(p.in.Accounts, func(a Account) bool {
			return name == a.Approve || name == a.State.Approved || name == a.State.Hold
		}) {
			return name
		}
	}
}

// grantedUntil is when the first of the grants ends.
func (p *pass) grantedUntil() time.Time {
	if len(p.granted) == 0 {
		return time.Time{}
	}
	until := p.rules.allowedUntil(p.in.Now)
	for f := range p.granted {
		if _, approved := p.record.approved[f]; approved {
			continue
		}
		if counted, ok := p.record.counted[f]; ok {
			until = min(until, counted)
		}
	}
	return time.Unix(until, 0)
}

// figuresDiffer reports whether an account's status should be written for what it shows,
// or because much of it is not needed any more.
func (p *pass) figuresDiffer(now *v1alpha1.RemovalsStatus, read *record, next *v1alpha1.RemovalsStatus) bool {
	return now.Numbers != next.Numbers || now.Held != next.Held ||
		!slices.Equal(now.Sample, next.Sample) ||
		next.Hold != "" && (now.Limit != next.Limit || !now.HeldSince.Equal(next.HeldSince)) ||
		p.shrunk(len(read.approved)) || read.ahead(p.rules.allowedUntil(p.in.Now))
}

// shrunk reports whether approved numbers on record are done. Long lists are written anew
// when half of them are.
func (p *pass) shrunk(known int) bool {
	left := len(p.record.approved)
	return left < known && (known <= shortList || 2*left <= known)
}

// nextCheck is how long until a decision may turn out otherwise although nothing happens.
func (p *pass) nextCheck() time.Duration {
	var next time.Time
	consider := func(at time.Time) {
		if at.After(p.in.Now) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	if len(p.granted) > 0 {
		consider(p.rules.regrantAt(p.in.Now))
	}
	if oldest, ok := p.oldestCounted(); ok {
		consider(p.rules.expiry(oldest))
	}
	if len(p.rest) > 0 {
		consider(p.settledAt())
		consider(p.oldest().Add(holdAfter))
		consider(p.rules.expiry(p.record.highWaterUntil))
		for i := range p.rules.budgets {
			for _, e := range p.rules.budgets[i].Exceptions {
				consider(e.Until.Time)
			}
		}
	}
	if next.IsZero() {
		return 0
	}
	return max(next.Sub(p.in.Now), time.Second)
}

func (p *pass) oldestCounted() (until int64, ok bool) {
	for _, at := range p.record.counted {
		if !ok || at < until {
			until, ok = at, true
		}
	}
	return until, ok
}

// goesAt is when the rest comes within the limit and goes, if nothing else changes; zero:
// never.
func (p *pass) goesAt() time.Time {
	if p.in.CRDDeleting {
		return time.Time{}
	}
	times := []time.Time{p.in.Now}
	seen := map[int64]bool{}
	for _, until := range p.record.counted {
		if !seen[until] {
			seen[until] = true
			times = append(times, p.rules.expiry(until))
		}
	}
	slices.SortFunc(times, time.Time.Compare)
	for _, at := range times {
		if p.within(at) {
			return later(at, p.settledAt())
		}
	}
	return time.Time{}
}
