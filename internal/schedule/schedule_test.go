// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package schedule_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/schedule"
)

// Each object is due once in an interval, at a phase of its own that a restart keeps.
func TestNextPhase(t *testing.T) {
	start := time.Unix(1_000_000, 1)
	for interval, want := range map[time.Duration]time.Duration{
		time.Minute: time.Minute, time.Hour: time.Hour, 7 * time.Nanosecond: 7, 0: schedule.DefaultResyncInterval, -1: schedule.DefaultResyncInterval,
	} {
		first := schedule.NextPhase("uid", interval, start)
		if wait := first.Sub(start); wait <= 0 || wait > want {
			t.Errorf("interval %s: the first phase is %s ahead, want within %s", interval, wait, want)
		}
		if again := schedule.NextPhase("uid", interval, first); !again.Equal(first.Add(want)) {
			t.Errorf("interval %s: the phase after %s is %s, want one interval later", interval, first, again)
		}
		if same := schedule.NextPhase("uid", interval, first.Add(-1)); !same.Equal(first) {
			t.Errorf("interval %s: seen from just before it, the phase is %s, want %s", interval, same, first)
		}
	}
}

// The phases of many objects fill the interval evenly.
func TestPhasesSpread(t *testing.T) {
	const objects, parts = 10_000, 10
	start := time.Unix(0, 0)
	var counts [parts]int
	for i := range objects {
		wait := schedule.NextPhase(types.UID(fmt.Sprintf("79b9-%d", i)), parts*time.Minute, start).Sub(start)
		counts[(wait-1)/time.Minute]++
	}
	for part, n := range counts {
		if n < objects/parts*8/10 || n > objects/parts*12/10 {
			t.Errorf("%d of %d objects are due in part %d of %d: %v", n, objects, part, parts, counts)
		}
	}
}

func TestJitter(t *testing.T) {
	for _, wait := range []time.Duration{-time.Second, 0} {
		if got := schedule.Jitter(wait); got != 0 {
			t.Errorf("jitter of %s is %s, want none", wait, got)
		}
	}
	const wait = time.Second
	earlier, later := false, false
	for range 1000 {
		got := schedule.Jitter(wait)
		if got < wait*9/10 || got > wait*11/10 {
			t.Fatalf("%s is more than a tenth from %s", got, wait)
		}
		earlier, later = earlier || got < wait, later || got > wait
	}
	if !earlier || !later {
		t.Errorf("jitter goes to both sides: earlier %t, later %t", earlier, later)
	}
	if got := schedule.Jitter(1); got < 0 || got > 1 {
		t.Errorf("jitter of a nanosecond is %s", got)
	}
}

// The clock goes on with the time that passes, and its times compare by that alone: they
// carry the reading of the monotonic clock, which no step of the system's clock moves.
// That such a step leaves it alone can only be seen on a machine whose clock is set.
func TestClock(t *testing.T) {
	if text := schedule.NewClock().Now().String(); !strings.Contains(text, " m=") {
		t.Errorf("%s does not carry the reading of the monotonic clock", text)
	}
	synctest.Test(t, func(t *testing.T) {
		before := time.Now()
		clock := schedule.NewClock()
		start := clock.Now()
		time.Sleep(3 * time.Hour)
		type reading struct{ Now, SinceStart, Since time.Duration }
		want := reading{3 * time.Hour, 3 * time.Hour, 3 * time.Hour}
		if diff := cmp.Diff(want, reading{clock.Now().Sub(start), clock.SinceStart(), clock.Since(start)}); diff != "" {
			t.Errorf("after three hours (-want +got):\n%s", diff)
		}
		if !start.Equal(before) {
			t.Errorf("the clock starts at %s, want the system's time %s", start, before)
		}
		if ahead := clock.Since(clock.Now().Add(time.Minute)); ahead != -time.Minute {
			t.Errorf("a minute ahead is %s ago", ahead)
		}
	})
}

func TestBackoff(t *testing.T) {
	b := schedule.NewBackoff[string]()
	near := func(got, want time.Duration) bool { return got >= want*9/10 && got <= want*11/10 }
	for failures, seconds := range []int{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900} {
		want := time.Duration(seconds) * time.Second
		if n := b.Failures("a"); n != failures {
			t.Errorf("%d failures are counted, want %d", n, failures)
		}
		if got := b.Failed("a"); !near(got, want) {
			t.Errorf("the wait after %d failures is %s, want about %s", failures+1, got, want)
		}
	}
	for range 100 {
		b.Failed("a")
	}
	if got := b.Failed("a"); !near(got, schedule.LongestBackoff) {
		t.Errorf("after very many failures the wait is %s", got)
	}
	if got := b.Failed("b"); !near(got, schedule.FirstBackoff) {
		t.Errorf("another key's first wait is %s", got)
	}
	b.Succeeded("a")
	if n := b.Failures("a"); n != 0 {
		t.Errorf("after a success %d failures are counted", n)
	}
	if got := b.Failed("a"); !near(got, schedule.FirstBackoff) {
		t.Errorf("after a success the wait is %s", got)
	}
}

// element is one that waits in a timetable.
type element struct {
	name string
	due  schedule.Due
}

func newTimetable() (table *schedule.Timetable[element], elements map[string]*element) {
	elements = map[string]*element{}
	for _, name := range []string{"a", "b", "c"} {
		elements[name] = &element{name: name}
	}
	return schedule.NewTimetable(func(e *element) *schedule.Due { return &e.due }), elements
}

func TestTimetable(t *testing.T) {
	at := func(second int) time.Time { return time.Unix(int64(1000+second), 0) }
	type set struct {
		name   string
		second int // -1 clears
	}
	type popped struct {
		Names []string
		Wait  time.Duration
	}
	cases := map[string]struct {
		reason string
		sets   []set
		next   []bool // what each set returns; a clear is false
		now    int
		most   int
		want   popped
		then   popped
	}{
		"empty": {"nothing is due for long", nil, nil, 0, 9, popped{nil, time.Hour}, popped{nil, time.Hour}},
		"in order": {"the order is that of the times, not of the asking",
			[]set{{"a", 3}, {"b", 1}, {"c", 2}}, []bool{true, true, false}, 5, 9,
			popped{[]string{"b", "c", "a"}, time.Hour}, popped{nil, time.Hour}},
		"not yet": {"the wait is that for the next one",
			[]set{{"a", 3}, {"b", 1}}, []bool{true, true}, 1, 9, popped{[]string{"b"}, 2 * time.Second}, popped{nil, 2 * time.Second}},
		"a portion": {"the rest is due at once",
			[]set{{"a", 1}, {"b", 2}, {"c", 3}}, []bool{true, false, false}, 5, 2, popped{[]string{"a", "b"}, 0}, popped{[]string{"c"}, time.Hour}},
		"no room": {"what is due stays", []set{{"a", 1}}, []bool{true}, 5, 0, popped{nil, 0}, popped{[]string{"a"}, time.Hour}},
		"set anew": {"the last time counts, sooner or later",
			[]set{{"a", 3}, {"a", 5}, {"b", 4}, {"b", 2}}, []bool{true, true, false, true}, 4, 9,
			popped{[]string{"b"}, time.Second}, popped{nil, time.Second}},
		"set to the same time": {"nothing changes", []set{{"a", 3}, {"a", 3}}, []bool{true, false}, 4, 9, popped{[]string{"a"}, time.Hour}, popped{nil, time.Hour}},
		"cleared": {"it is due at no time", []set{{"a", 1}, {"b", 2}, {"a", -1}, {"c", -1}}, []bool{true, false, false, false}, 5, 9,
			popped{[]string{"b"}, time.Hour}, popped{nil, time.Hour}},
		"cleared and set again": {"it is due once", []set{{"a", 1}, {"a", -1}, {"a", 2}}, []bool{true, false, true}, 5, 9,
			popped{[]string{"a"}, time.Hour}, popped{nil, time.Hour}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			table, elements := newTimetable()
			var next []bool
			for _, s := range c.sets {
				if s.second < 0 {
					table.Clear(elements[s.name])
					next = append(next, false)
				} else {
					next = append(next, table.Set(elements[s.name], at(s.second)))
				}
			}
			if diff := cmp.Diff(c.next, next); diff != "" {
				t.Errorf("which became the next one (-want +got):\n%s", diff)
			}
			for _, pop := range []struct {
				most int
				want popped
			}{{c.most, c.want}, {9, c.then}} {
				var got popped
				var found []*element
				found, got.Wait = table.Pop(at(c.now), pop.most)
				for _, e := range found {
					got.Names = append(got.Names, e.name)
				}
				if diff := cmp.Diff(pop.want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", c.reason, diff)
				}
			}
		})
	}
}

// What is cancelled does not pile up, however often an element is set.
func TestTimetableIsCompacted(t *testing.T) {
	table, elements := newTimetable()
	for i := range 100_000 {
		table.Set(elements["a"], time.Unix(int64(1+i), 0))
		if n := table.Len(); n > 1100 {
			t.Fatalf("after %d settings of one element %d entries are kept", i, n)
		}
	}
	found, _ := table.Pop(time.Unix(100_000, 0), 9)
	if len(found) != 1 || found[0] != elements["a"] {
		t.Errorf("due is %v, want the one element", found)
	}
}
