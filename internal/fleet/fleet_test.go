// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

func key(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "phones", Name: name}
}

// object is one of the account "default" that names the number n.
func object(name string, n int, changes ...func(*Assignment)) *Assignment {
	a := &Assignment{ObjectMeta: metav1.ObjectMeta{Namespace: "phones", Name: name, UID: types.UID(name), Generation: 1, ResourceVersion: "10"}}
	a.Spec.PhoneNumberSID = v1alpha1.PhoneNumberSID(twiliosim.SID("PN", n))
	a.Spec.AccountRef.Name = "default"
	for _, change := range changes {
		change(a)
	}
	return a
}

func version(v string) func(*Assignment)   { return func(a *Assignment) { a.ResourceVersion = v } }
func anew(a *Assignment)                   { a.UID = "new" }
func account(n string) func(*Assignment)   { return func(a *Assignment) { a.Spec.AccountRef.Name = n } }
func generation(g int64) func(*Assignment) { return func(a *Assignment) { a.Generation = g } }
func held(a *Assignment)                   { a.Status.Claim = v1alpha1.ClaimHeld }

func reason(r string) func(*Assignment) {
	return func(a *Assignment) {
		a.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Reason: r}}
	}
}

// view is what a fleet answers about a number and the accounts.
type view struct {
	Contenders []string
	Reserved   string
	Rivals     []string // of the object "a"
	Counts     map[string]int
}

func viewOf(f *Fleet, n int) view {
	v := view{Counts: map[string]int{}}
	objects, reserved := f.Contenders(object("a", n).Spec.PhoneNumberSID)
	for _, o := range objects {
		v.Contenders = append(v.Contenders, o.Name)
	}
	slices.Sort(v.Contenders)
	v.Reserved = reserved.Name
	for _, k := range f.Rivals(object("a", n)) {
		v.Rivals = append(v.Rivals, k.Name)
	}
	slices.Sort(v.Rivals)
	for _, name := range []string{"default", "other"} {
		if c := f.Count(name); c != 0 {
			v.Counts[name] = c
		}
	}
	return v
}

func TestFleet(t *testing.T) {
	cases := map[string]struct {
		reason string
		do     func(f *Fleet)
		want   view
	}{
		"empty": {"it knows nothing", func(*Fleet) {}, view{}},
		"alone on its number": {"there is nobody to contend with",
			func(f *Fleet) { f.Upsert(object("a", 1)); f.Upsert(object("b", 2)) },
			view{Counts: map[string]int{"default": 2}}},
		"two of a number": {"each is a rival of the other",
			func(f *Fleet) { f.Upsert(object("a", 1)); f.Upsert(object("b", 1)) },
			view{Contenders: []string{"a", "b"}, Rivals: []string{"b"}, Counts: map[string]int{"default": 2}}},
		"seen again": {"an event for each change counts an object once",
			func(f *Fleet) {
				for range 3 {
					f.Upsert(object("a", 1))
					f.Upsert(object("b", 1))
				}
			},
			view{Contenders: []string{"a", "b"}, Rivals: []string{"b"}, Counts: map[string]int{"default": 2}}},
		"one of two gone": {"the other one is alone",
			func(f *Fleet) {
				f.Upsert(object("a", 1))
				f.Upsert(object("b", 1))
				f.Delete(key("a"))
				f.Delete(key("a"))
			},
			view{Counts: map[string]int{"default": 1}}},
		"one of three gone": {"two contend",
			func(f *Fleet) {
				for _, name := range []string{"a", "b", "c"} {
					f.Upsert(object(name, 1))
				}
				f.Delete(key("b"))
			},
			view{Contenders: []string{"a", "c"}, Rivals: []string{"c"}, Counts: map[string]int{"default": 2}}},
		"gone and back": {"who comes back contends again",
			func(f *Fleet) {
				f.Upsert(object("a", 1))
				f.Upsert(object("b", 1))
				f.Delete(key("a"))
				f.Upsert(object("a", 1, anew))
			},
			view{Contenders: []string{"a", "b"}, Rivals: []string{"b"}, Counts: map[string]int{"default": 2}}},
		"created anew with another number": {"the events of the two may be one",
			func(f *Fleet) {
				f.Upsert(object("a", 2))
				f.Upsert(object("b", 1))
				f.Upsert(object("a", 1, anew))
			},
			view{Contenders: []string{"a", "b"}, Rivals: []string{"b"}, Counts: map[string]int{"default": 2}}},
		"another account": {"it is counted where it belongs now",
			func(f *Fleet) { f.Upsert(object("a", 1)); f.Upsert(object("a", 1, account("other"))) },
			view{Counts: map[string]int{"other": 1}}},
		"reserved": {"the first one that asks may claim the number",
			func(f *Fleet) {
				f.Upsert(object("a", 1))
				f.Upsert(object("b", 1))
				if !f.Reserve(object("b", 1)) || f.Reserve(object("a", 1)) || !f.Reserve(object("b", 1)) {
					panic("the number is not reserved for who asked first")
				}
			},
			view{Contenders: []string{"a", "b"}, Reserved: "b", Rivals: []string{"b"}, Counts: map[string]int{"default": 2}}},
		"reserved, and the claim shows": {"status says it from now on",
			func(f *Fleet) {
				f.Upsert(object("a", 1))
				f.Upsert(object("b", 1))
				f.Reserve(object("b", 1))
				f.Upsert(object("b", 1, held))
			},
			view{Contenders: []string{"a", "b"}, Rivals: []string{"b"}, Counts: map[string]int{"default": 2}}},
		"reserved, and another event": {"until the claim shows, the reservation stays",
			func(f *Fleet) {
				f.Upsert(object("a", 1))
				f.Upsert(object("b", 1))
				f.Reserve(object("b", 1))
				f.Upsert(object("b", 1))
				f.DropReservation(object("a", 1))
			},
			view{Contenders: []string{"a", "b"}, Reserved: "b", Rivals: []string{"b"}, Counts: map[string]int{"default": 2}}},
		"reserved and dropped": {"another one may claim the number",
			func(f *Fleet) {
				f.Upsert(object("a", 1))
				f.Upsert(object("b", 1))
				f.Reserve(object("b", 1))
				f.DropReservation(object("b", 1))
				f.Reserve(object("a", 1))
			},
			view{Contenders: []string{"a", "b"}, Reserved: "a", Rivals: []string{"b"}, Counts: map[string]int{"default": 2}}},
		"reserved and gone": {"a reservation ends with its object",
			func(f *Fleet) {
				for _, name := range []string{"a", "b", "c"} {
					f.Upsert(object(name, 1))
				}
				f.Reserve(object("b", 1))
				f.Delete(key("b"))
			},
			view{Contenders: []string{"a", "c"}, Rivals: []string{"c"}, Counts: map[string]int{"default": 2}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			f := New()
			c.do(f)
			if c.want.Counts == nil {
				c.want.Counts = map[string]int{}
			}
			if diff := cmp.Diff(c.want, viewOf(f, 1)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

// A spelling makes no other number.
func TestLetterCaseOfANumber(t *testing.T) {
	f := New()
	f.Upsert(object("a", 0xab))
	f.Upsert(object("b", 0xab, func(a *Assignment) {
		a.Spec.PhoneNumberSID = "PN" + v1alpha1.PhoneNumberSID(strings.ToUpper(string(a.Spec.PhoneNumberSID[2:])))
	}))
	if diff := cmp.Diff([]string{"a", "b"}, viewOf(f, 0xab).Contenders); diff != "" {
		t.Errorf("the contenders (-want +got):\n%s", diff)
	}
}

func TestRivalsOfAndSelections(t *testing.T) {
	f := New()
	if got := f.RivalsOf([]types.NamespacedName{key("a")}); got != nil {
		t.Errorf("rivals where nobody contends: %v", got)
	}
	f.Upsert(object("a", 1, reason("Synced")))
	f.Upsert(object("b", 1, account("other"), reason("PhoneNumberConflict")))
	f.Upsert(object("c", 2, reason("Synced")))
	f.Upsert(object("new", 3))
	if diff := cmp.Diff([]types.NamespacedName{key("a"), key("b")}, f.RivalsOf([]types.NamespacedName{key("b"), key("c"), key("unknown")})); diff != "" {
		t.Errorf("the objects of a contended number (-want +got):\n%s", diff)
	}
	selected := f.Select(func(_ types.NamespacedName, account string) bool { return account == "other" })
	if diff := cmp.Diff([]types.NamespacedName{key("b")}, selected); diff != "" {
		t.Errorf("the objects of an account (-want +got):\n%s", diff)
	}
	want := map[Group]int{{"default", "Synced"}: 2, {"other", "PhoneNumberConflict"}: 1, {"default", ""}: 1}
	if diff := cmp.Diff(want, f.CountByReason()); diff != "" {
		t.Errorf("objects by account and reason (-want +got):\n%s", diff)
	}
}

// A reconcile that reads an object older than this process's own last write waits, and is
// woken once, by the event that shows the write.
func TestExpectations(t *testing.T) {
	expect := func(v string) func(*Fleet) { return func(f *Fleet) { f.Expect(object("a", 1, version(v))) } }
	ask := func(f *Fleet) { f.Satisfied(object("a", 1)) }
	event := func(changes ...func(*Assignment)) func(*Fleet) {
		return func(f *Fleet) { f.Upsert(object("a", 1, changes...)) }
	}
	type answer struct{ Satisfied, Awaited bool }
	cases := map[string]struct {
		reason string
		before []func(*Fleet)
		read   string // the version that the cache gave
		event  string // the version that comes next
		want   answer
	}{
		"nothing written":            {"there is nothing to wait for", nil, "10", "11", answer{true, false}},
		"the write is not seen":      {"it is waited for, and its event wakes", []func(*Fleet){expect("20")}, "10", "20", answer{false, true}},
		"a later event shows it":     {"events may be joined", []func(*Fleet){expect("20")}, "10", "25", answer{false, true}},
		"an earlier event":           {"that of another write shows nothing of it", []func(*Fleet){expect("20")}, "10", "15", answer{false, false}},
		"the write is seen":          {"the cache is not behind", []func(*Fleet){expect("20")}, "20", "21", answer{true, false}},
		"two writes":                 {"the later one counts, in whichever order they are noted", []func(*Fleet){expect("20"), expect("18")}, "19", "19", answer{false, false}},
		"versions are numbers":       {"9 comes before 10", []func(*Fleet){expect("9")}, "10", "11", answer{true, false}},
		"seen before it is asked":    {"nobody waits, so nobody is woken", []func(*Fleet){expect("20"), event(version("20"))}, "20", "21", answer{true, false}},
		"woken before":               {"one wake for one wait", []func(*Fleet){expect("20"), ask, event(version("20"))}, "20", "21", answer{true, false}},
		"created anew":               {"what was written to the former object does not hold for the new one", []func(*Fleet){expect("20"), event(anew, version("5"))}, "5", "6", answer{true, false}},
		"a version without a number": {"what cannot be compared must not be waited for", []func(*Fleet){expect("20")}, "abc", "20", answer{true, false}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			f := New()
			f.Upsert(object("a", 1))
			for _, do := range c.before {
				do(f)
			}
			changes := []func(*Assignment){version(c.read)}
			if name == "created anew" {
				changes = append(changes, anew)
			}
			var got answer
			got.Satisfied = f.Satisfied(object("a", 1, changes...))
			changes[0] = version(c.event)
			got.Awaited = f.Upsert(object("a", 1, changes...))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
	f := New()
	f.Expect(object("a", 1))
	if !f.Satisfied(object("a", 1, version(""))) {
		t.Error("an object that is not known is waited for")
	}
}

// A reconcile is stale after what the cache shows of its object, and not after what it does
// not show yet.
func TestIsStale(t *testing.T) {
	cases := map[string]struct {
		cached *Assignment
		want   bool
	}{
		"the same spec":     {object("a", 1, generation(2)), false},
		"edited":            {object("a", 1, generation(3)), true},
		"an older spec":     {object("a", 1, generation(1)), false},
		"another object":    {object("a", 1, anew, generation(2)), true},
		"gone":              {nil, true},
		"a write of status": {object("a", 1, generation(2), version("99")), false},
	}
	for name, c := range cases {
		f := New()
		if c.cached != nil {
			f.Upsert(c.cached)
		}
		if got := f.IsStale(object("a", 1, generation(2))); got != c.want {
			t.Errorf("%s: stale is %t, want %t", name, got, c.want)
		}
	}
}

// A doubt lasts while nothing else is heard about its subject.
func TestDoubts(t *testing.T) {
	a, other := key("a"), key("other")
	cases := map[string]struct {
		reason string
		do     func(f *Fleet)
		want   time.Duration // what a note about "number" of a says after a minute
	}{
		"the first":             {"one answer is no evidence", func(*Fleet) {}, 0},
		"repeated":              {"evidence spans the time between the answers", func(f *Fleet) { f.Doubts.Note(a, "number") }, time.Minute},
		"repeated in between":   {"the first answer counts", func(f *Fleet) { f.Doubts.Note(a, "number"); time.Sleep(30 * time.Second); f.Doubts.Note(a, "number") }, 90 * time.Second},
		"of something else":     {"each subject is doubted by itself", func(f *Fleet) { f.Doubts.Note(a, "assignment/xea") }, 0},
		"of another object":     {"each object has its own evidence", func(f *Fleet) { f.Doubts.Note(other, "number") }, 0},
		"shown in between":      {"the contrary ends a doubt", func(f *Fleet) { f.Doubts.Note(a, "number"); f.Doubts.Forget(a, "number") }, 0},
		"another one forgotten": {"the contrary of one thing says nothing about another", func(f *Fleet) { f.Doubts.Note(a, "number"); f.Doubts.Forget(a, "refusal/xea", "x") }, time.Minute},
		"all forgotten":         {"with them goes everything", func(f *Fleet) { f.Doubts.Note(a, "number"); f.Doubts.ForgetAll(a) }, 0},
		"gone and created anew": {"another object of the name starts without evidence", func(f *Fleet) {
			f.Upsert(object("a", 1))
			f.Doubts.Note(a, "number")
			f.Upsert(object("a", 1, anew))
		}, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := New()
				c.do(f)
				time.Sleep(time.Minute)
				if got := f.Doubts.Note(a, "number"); got != c.want {
					t.Errorf("%s: the doubt lasts %s, want %s", c.reason, got, c.want)
				}
				f.Doubts.Forget(a, "number", "assignment/xea")
				f.Doubts.ForgetAll(other)
				if len(f.Doubts.since) > 0 {
					t.Errorf("what was forgotten still takes memory: %v", f.Doubts.since)
				}
			})
		})
	}
}

// due is what a fleet has due and how long it waits for more.
type due struct {
	Names []string
	Wait  time.Duration
}

func popDue(f *Fleet) (d due) {
	keys, wait := f.PopDue(99)
	for _, k := range keys {
		d.Names = append(d.Names, k.Name)
	}
	d.Wait = wait
	return d
}

func TestSchedule(t *testing.T) {
	in := func(f *Fleet, name string, wait time.Duration) { f.ScheduleNext(key(name), f.Clock().Now().Add(wait)) }
	cases := map[string]struct {
		reason string
		do     func(f *Fleet)
		sooner bool
		want   due // after an hour
	}{
		"nothing": {"nobody is due", func(*Fleet) {}, false, due{nil, time.Hour}},
		"later": {"a later time does not put off an earlier one",
			func(f *Fleet) { in(f, "a", time.Hour); in(f, "a", 2*time.Hour); in(f, "b", 3*time.Hour) }, true, due{[]string{"a"}, 2 * time.Hour}},
		"earlier": {"an earlier time takes the place of a later one",
			func(f *Fleet) { in(f, "a", 2*time.Hour); in(f, "a", time.Minute) }, true, due{[]string{"a"}, time.Hour}},
		"now":     {"it is due at once, and once", func(f *Fleet) { f.ScheduleNow(key("b"), key("a"), key("b")) }, true, due{[]string{"b", "a"}, time.Hour}},
		"unknown": {"who is not there is not due", func(f *Fleet) { f.ScheduleNow(key("unknown")) }, false, due{nil, time.Hour}},
		"gone":    {"who is gone is not due", func(f *Fleet) { in(f, "a", time.Minute); f.Delete(key("a")) }, true, due{nil, time.Hour}},
		"begun": {"a reconcile takes the place of the next check",
			func(f *Fleet) { in(f, "a", time.Minute); f.Begin(key("a")); f.Begin(key("unknown")) }, true, due{nil, time.Hour}},
		"begun, and due since": {"what becomes due meanwhile is kept",
			func(f *Fleet) { f.Begin(key("a")); in(f, "a", time.Minute) }, true, due{[]string{"a"}, time.Hour}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := New()
				f.Upsert(object("a", 1))
				f.Upsert(object("b", 2))
				c.do(f)
				select {
				case <-f.Sooner():
					if !c.sooner {
						t.Error("the source is woken for nothing")
					}
				default:
					if c.sooner {
						t.Error("the source is not woken")
					}
				}
				time.Sleep(time.Hour)
				got := popDue(f)
				if name == "now" {
					slices.Sort(got.Names) // due at the same time
					slices.Reverse(got.Names)
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", c.reason, diff)
				}
			})
		})
	}
}

// An object that is synced is due at its own phase after the first reconcile of the
// process, however long the process stood by before that.
func TestLastCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New()
		f.Upsert(object("a", 1))
		time.Sleep(3 * time.Hour)
		first := time.Now()
		f.Begin(key("b"))
		near := func(what string, want time.Time) {
			t.Helper()
			if got := f.LastCheck(key("a")); got.Sub(want).Abs() > time.Microsecond {
				t.Errorf("%s the last check was at %s, want %s", what, got, want)
			}
		}
		near("after three hours as a standby", first)
		time.Sleep(time.Minute)
		f.Begin(key("a"))
		near("after another reconcile began", first)
		f.Backoff.Failed(key("a"))
		f.Checked(key("a"))
		f.Checked(key("unknown"))
		near("after a reconcile that found nothing wrong", first.Add(time.Minute))
		if n := f.Backoff.Failures(key("a")); n != 0 {
			t.Errorf("after a reconcile that found nothing wrong %d failures are counted", n)
		}
		time.Sleep(time.Minute)
		near("a minute later", first.Add(time.Minute))
	})
}

func TestSynced(t *testing.T) {
	f := New()
	select {
	case <-f.Synced():
		t.Error("an empty fleet says that it knows every object")
	default:
	}
	f.MarkSynced()
	select {
	case <-f.Synced():
	default:
		t.Error("a fleet that is synced does not say so")
	}
}

// Whatever events come in whatever order, the contenders of a number are the objects that
// name it, if there are several.
func TestContendersFollowTheEvents(t *testing.T) {
	f, model := New(), map[string]int{}
	for i := range 20_000 {
		name, n := fmt.Sprintf("o%d", (i*i+7*i)%13), 1+(i*31+i/7)%4
		if (i+i/11)%3 == 0 {
			f.Delete(key(name))
			delete(model, name)
		} else {
			f.Upsert(object(name, n))
			model[name] = n
		}
		var want []string
		for other, m := range model {
			if m == n {
				want = append(want, other)
			}
		}
		slices.Sort(want)
		if len(want) < 2 {
			want = nil
		}
		if diff := cmp.Diff(want, viewOf(f, n).Contenders); diff != "" {
			t.Fatalf("after %d events the contenders of number %d (-want +got):\n%s", i+1, n, diff)
		}
	}
}
