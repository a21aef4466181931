// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"hash/fnv"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// phaseOf returns when in each interval the operator checks an object. It implements the
// documented schedule independently of the operator.
func phaseOf(uid types.UID, interval time.Duration) time.Duration {
	h := fnv.New64a()
	_, _ = h.Write([]byte(uid))
	return time.Duration(h.Sum64() % uint64(interval))
}

// dueIn reports whether an object is due after from and no later than to. Both are less than an
// interval apart.
func dueIn(uid types.UID, interval time.Duration, from, to time.Time) bool {
	into := time.Duration(from.UnixNano()) % interval
	wait := phaseOf(uid, interval) - into
	if wait <= 0 {
		wait += interval
	}
	return !from.Add(wait).After(to)
}

// quietGapAfter returns the middle of the longest gap in which no object is due, within one
// interval after t. Counting from one gap to the next is exact: no check is near the edges.
func quietGapAfter(t time.Time, objects int, interval time.Duration) time.Time {
	phases := make([]time.Duration, 0, objects+1)
	for i := range objects {
		phases = append(phases, phaseOf(uidOf(firstNumber(1)+i), interval))
	}
	slices.Sort(phases)
	phases = append(phases, phases[0]+interval)
	longest, middle := time.Duration(0), time.Duration(0)
	for i := 1; i < len(phases); i++ {
		if gap := phases[i] - phases[i-1]; gap > longest {
			longest, middle = gap, (phases[i]+phases[i-1])/2
		}
	}
	wait := middle - time.Duration(t.UnixNano())%interval
	for wait <= 0 {
		wait += interval
	}
	return t.Add(wait)
}
