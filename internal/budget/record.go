// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package budget

import (
	"encoding/base64"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

const (
	fingerprintBits  = 48
	fingerprintChars = 8  // in base64
	maxGroups        = 16 // on record, as the schema allows
)

// fingerprint stands for a number: 48 bits of a hash of its SID, letter case folded.
type fingerprint uint64

func fingerprintOf(number v1alpha1.PhoneNumberSID) fingerprint {
	return fold(hash(string(number)))
}

// hash is FNV-1a over the lower-case string, with a last round of mixing, as SIDs may
// differ in a few characters only.
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		h = (h ^ uint64(c)) * 1099511628211
	}
	h ^= h >> 32
	h *= 0x9E3779B97F4A7C15
	return h ^ h>>29
}

func fold(h uint64) fingerprint {
	return fingerprint((h ^ h>>fingerprintBits) & (1<<fingerprintBits - 1))
}

// record is status.removals, unpacked.
type record struct {
	counted        map[fingerprint]int64 // until when it may lose add-ons, in Unix seconds
	approved       map[fingerprint]struct{}
	lastApproved   string
	hold           string
	cause          v1alpha1.RemovalsCause
	heldSince      time.Time
	highWater      int
	highWaterUntil int64
}

func readRecord(s *v1alpha1.RemovalsStatus) record {
	r := record{
		counted: map[fingerprint]int64{}, approved: map[fingerprint]struct{}{},
		lastApproved: s.Approved, hold: s.Hold, cause: s.Cause, highWater: int(s.HighWater),
	}
	if s.HeldSince != nil {
		r.heldSince = s.HeldSince.Time
	}
	if s.HighWaterUntil != nil {
		r.highWaterUntil = s.HighWaterUntil.Unix()
	}
	for i := range s.Counted {
		for _, f := range unpack(s.Counted[i].Numbers) {
			r.counted[f] = max(r.counted[f], s.Counted[i].Until.Unix())
		}
	}
	for _, f := range unpack(s.ApprovedNumbers) {
		r.approved[f] = struct{}{}
	}
	return r
}

// merge is what the accounts of one account SID have on record together. They differ when
// a process ended between two writes, or when an account is new.
func merge(read []record) record {
	all := record{counted: map[fingerprint]int64{}, approved: map[fingerprint]struct{}{}}
	approvals := map[string]bool{}
	for i := range read {
		r := &read[i]
		approvals[r.lastApproved] = true
		for f, until := range r.counted {
			all.counted[f] = max(all.counted[f], until)
		}
		maps.Copy(all.approved, r.approved)
		if r.highWater > all.highWater {
			all.highWater, all.highWaterUntil = r.highWater, r.highWaterUntil
		}
	}
	for i := range read {
		r := &read[i]
		if r.hold != "" && !approvals[r.hold] && (all.hold == "" || r.older(&all)) {
			all.hold, all.cause, all.heldSince = r.hold, r.cause, r.heldSince
		}
		if all.lastApproved == "" || r.lastApproved != "" && isHoldOf(read, r.lastApproved) {
			all.lastApproved = r.lastApproved
		}
	}
	return all
}

func (r *record) older(other *record) bool {
	if c := r.heldSince.Compare(other.heldSince); c != 0 {
		return c < 0
	}
	return r.hold < other.hold
}

// isHoldOf reports whether an account still has the hold, whose approval is thus the last.
func isHoldOf(read []record, hold string) bool {
	return slices.ContainsFunc(read, func(r record) bool { return r.hold == hold })
}

// expire drops what no longer counts. What lies further ahead than a grant of now was
// written before the clock was set back or the window made shorter, and counts as of now.
func (r *record) expire(now time.Time, rules rules) {
	latest := rules.allowedUntil(now)
	maps.DeleteFunc(r.counted, func(_ fingerprint, until int64) bool { return rules.expired(until, now) })
	for f, until := range r.counted {
		r.counted[f] = min(until, latest)
	}
	r.highWaterUntil = min(r.highWaterUntil, latest)
	r.heldSince = earlier(r.heldSince, now)
}

// ahead reports whether a time on record lies further ahead than a grant of now would. It
// must be corrected there, or it would count for as long as the clock was set back.
func (r *record) ahead(latest int64) bool {
	for _, until := range r.counted {
		if until > latest {
			return true
		}
	}
	return false
}

// raiseHighWater keeps the mark for one window after it was last reached.
func (r *record) raiseHighWater(fleet int, now time.Time, rules rules) {
	if fleet >= r.highWater || rules.expired(r.highWaterUntil, now) {
		r.highWater, r.highWaterUntil = fleet, rules.allowedUntil(now)
	}
}

// highWaterAt is the mark at a time from now on, if the fleet stays as it is.
func (r *record) highWaterAt(at time.Time, fleet int, rules rules) int {
	if rules.expired(r.highWaterUntil, at) {
		return fleet
	}
	return r.highWater
}

func (r *record) endHold() {
	r.hold, r.cause, r.heldSince = "", "", time.Time{}
}

// lacks reports whether something is not on record that must be before anybody acts on it.
func (r *record) lacks(other *record) bool {
	if r.hold != other.hold || r.cause != other.cause || r.lastApproved != other.lastApproved {
		return true
	}
	for f, until := range other.counted {
		if r.counted[f] < until {
			return true
		}
	}
	for f := range other.approved {
		if _, ok := r.approved[f]; !ok {
			return true
		}
	}
	return false
}

// status packs the record; figures and sample are the caller's.
func (r *record) status() v1alpha1.RemovalsStatus {
	s := v1alpha1.RemovalsStatus{
		Numbers: int32(len(r.counted)), Hold: r.hold, Cause: r.cause,
		Approved: r.lastApproved, ApprovedNumbers: pack(slices.Collect(maps.Keys(r.approved))),
		Counted: r.groups(), HighWater: int32(r.highWater),
	}
	if r.hold != "" {
		s.HeldSince = new(metav1.NewTime(r.heldSince.Truncate(time.Second)))
	}
	if r.highWater > 0 {
		s.HighWaterUntil = new(metav1.Unix(r.highWaterUntil, 0))
	}
	return s
}

// groups packs the counted numbers by time. Too many groups (the window was edited) become
// fewer by counting the oldest as long as the next.
func (r *record) groups() []v1alpha1.CountedNumbers {
	byTime := map[int64][]fingerprint{}
	for f, until := range r.counted {
		byTime[until] = append(byTime[until], f)
	}
	times := slices.Sorted(maps.Keys(byTime))
	for len(times) > maxGroups {
		byTime[times[1]] = append(byTime[times[1]], byTime[times[0]]...)
		times = times[1:]
	}
	var groups []v1alpha1.CountedNumbers
	for _, until := range times {
		groups = append(groups, v1alpha1.CountedNumbers{Until: metav1.Unix(until, 0), Numbers: pack(byTime[until])})
	}
	return groups
}

// pack writes fingerprints as text, in order.
func pack(numbers []fingerprint) string {
	slices.Sort(numbers)
	var b strings.Builder
	b.Grow(len(numbers) * fingerprintChars)
	var raw [8]byte
	var text [fingerprintChars]byte
	for _, f := range numbers {
		binary.BigEndian.PutUint64(raw[:], uint64(f))
		base64.RawStdEncoding.Encode(text[:], raw[2:])
		b.Write(text[:])
	}
	return b.String()
}

// unpack reads them. Text that is no fingerprint counts as a number, too: what somebody
// spoiled frees no budget.
func unpack(s string) []fingerprint {
	numbers := make([]fingerprint, 0, len(s)/fingerprintChars+1)
	for s != "" {
		part := s[:min(len(s), fingerprintChars)]
		s = s[len(part):]
		var raw [8]byte
		if n, err := base64.RawStdEncoding.Decode(raw[2:], []byte(part)); err != nil || n != fingerprintBits/8 {
			numbers = append(numbers, fold(hash(part)))
			continue
		}
		numbers = append(numbers, fingerprint(binary.BigEndian.Uint64(raw[:])))
	}
	return numbers
}
