// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package budget

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// scene is a leader that does what the package asks of it, step by step.
type scene struct {
	t         *testing.T
	now       time.Time
	accounts  []Account
	fleet     int
	asks      map[int]Demand
	withdrawn time.Time
	partial   bool
	deleting  bool
}

// noon is on a boundary of the groups of every window that is used here.
func noon() time.Time { return time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC) }

func newScene(t *testing.T, fleet int, specs ...v1alpha1.RemovalBudget) *scene {
	t.Helper()
	s := &scene{t: t, now: noon(), fleet: fleet, asks: map[int]Demand{}}
	for i, spec := range specs {
		s.accounts = append(s.accounts, Account{Name: []string{"default", "other"}[i], Spec: spec})
	}
	return s
}

// ask has numbers from, inclusive, to, exclusive, ask from now on.
func (s *scene) ask(from, to int) {
	for n := from; n < to; n++ {
		s.asks[n] = Demand{Number: number(n), Object: fmt.Sprintf("telephony/n%05d", n), Since: s.now}
	}
}

// done ends the demand of granted numbers, withdraw that of others.
func (s *scene) done(from, to int) {
	maps.DeleteFunc(s.asks, func(n int, _ Demand) bool { return from <= n && n < to })
}

func (s *scene) withdraw(from, to int) {
	s.done(from, to)
	s.withdrawn = s.now
}

// restart is another process: the numbers ask anew, and only what is on record remains,
// the reason RemovalsHeld of the objects included.
func (s *scene) restart() {
	for n, d := range s.asks {
		d.Since = s.now
		s.asks[n] = d
	}
	s.withdrawn = s.now
}

func (s *scene) input() Input {
	return Input{
		Now: s.now, Accounts: s.accounts, Fleet: s.fleet, Demands: slices.Collect(maps.Values(s.asks)),
		Complete: !s.partial, Withdrawn: s.withdrawn, CRDDeleting: s.deleting,
	}
}

// decide decides now, and writes.
func (s *scene) decide() Decision {
	s.t.Helper()
	d := Decide(s.input())
	for i := range s.accounts {
		if d.Changed || d.Figures {
			s.accounts[i].State = d.State
		}
	}
	for n, ask := range s.asks {
		ask.Held = d.State.Hold != "" && !d.Grants(ask.Number)
		s.asks[n] = ask
	}
	if again := Decide(s.input()); again.Changed || again.Figures {
		s.t.Errorf("what was written is not enough: %+v", again)
	}
	return d
}

// after decides once a time has passed.
func (s *scene) after(d time.Duration) Decision {
	s.t.Helper()
	s.now = s.now.Add(d)
	return s.decide()
}

// outcome is a decision in short.
type outcome struct{ Granted, Waiting, Held, Numbers, Limit int }

func (s *scene) want(reason string, d Decision, want outcome) {
	s.t.Helper()
	got := outcome{d.Granted, d.Waiting, int(d.State.Held), int(d.State.Numbers), int(d.State.Limit)}
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Errorf("%s: %s\n%s", reason, diff, d.Message)
	}
	granted := 0
	for _, ask := range s.asks {
		if d.Grants(ask.Number) {
			granted++
		}
	}
	if granted != d.Granted {
		s.t.Errorf("%s: Grants says yes %d times, Granted is %d", reason, granted, d.Granted)
	}
}

func spec(maxNumbers intstr.IntOrString, minNumbers int32, window time.Duration) v1alpha1.RemovalBudget {
	return v1alpha1.RemovalBudget{MaxNumbers: &maxNumbers, MinNumbers: &minNumbers, Window: metav1.Duration{Duration: window}}
}

func exception(until time.Time, n int32) v1alpha1.RemovalException {
	return v1alpha1.RemovalException{Until: metav1.NewTime(until), MaxNumbers: n, Reason: "CHG-123"}
}

func TestEverydayEdits(t *testing.T) {
	s := newScene(t, 1000, v1alpha1.RemovalBudget{})
	d := s.decide()
	s.want("nothing asks", d, outcome{Limit: 250})
	if d.Changed || d.Figures || d.NextCheck != 0 || d.Message != "" {
		t.Errorf("an account at rest is written to or looked at: %+v", d)
	}
	for n := range 10 {
		s.ask(n, n+1)
		d := s.after(time.Second)
		s.want("one of the first ten goes at once", d, outcome{Granted: 1, Numbers: n + 1, Limit: 250})
		if !d.Changed {
			t.Error("it goes before it is on record")
		}
		s.done(n, n+1)
	}
	s.ask(5, 6)
	d = s.after(time.Second)
	s.want("a number that was counted is not counted twice", d, outcome{Granted: 1, Numbers: 10, Limit: 250})
	if d.Changed {
		t.Error("it is written a second time")
	}
	s.done(5, 6)
	s.ask(10, 11)
	s.want("the eleventh waits", s.after(time.Second), outcome{Waiting: 1, Numbers: 10, Limit: 250})
	s.want("and goes when no other has asked", s.after(quiet), outcome{Granted: 1, Numbers: 11, Limit: 250})
}

func TestAccident(t *testing.T) {
	s := newScene(t, 1000, v1alpha1.RemovalBudget{})
	s.ask(0, 880)
	d := s.decide()
	s.want("the first ten go, the rest is looked at", d, outcome{Granted: 10, Waiting: 870, Numbers: 10, Limit: 250})
	if d.NextCheck != quiet || d.Event != nil {
		t.Errorf("next check in %v, event %v", d.NextCheck, d.Event)
	}
	s.done(0, 10)
	s.want("it is still looked at", s.after(quiet-time.Second), outcome{Waiting: 870, Numbers: 10, Limit: 250})
	d = s.after(time.Second)
	s.want("the rest is held as a whole", d, outcome{Held: 870, Numbers: 10, Limit: 250})
	hold := d.State.Hold
	message := "Removals are held: 870 numbers would lose add-ons, 250 are allowed per 1h, of which 10 are used." +
		" For example telephony/n00010, telephony/n00011, telephony/n00012, telephony/n00013, telephony/n00014." +
		" To approve: kubectl annotate twilioaccount default addons.twilio-operator.dev/approve-removals=" + hold + " --overwrite." +
		" To take back: restore addOnSIDs in the objects, or set deletionPolicy: Retain on objects that are being deleted." +
		" They are held until then."
	if diff := cmp.Diff(message, d.Message); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(&Event{Warning: true, Reason: v1alpha1.ReasonRemovalsHeld, Message: message}, d.Event); diff != "" || !d.Changed {
		t.Errorf("changed: %v, event: %s", d.Changed, diff)
	}
	if len(hold) != 8 || !strings.Contains(d.ObjectMessage, hold) || d.State.HeldSince == nil || !d.State.HeldSince.Time.Equal(s.now) {
		t.Errorf("hold %+v, objects: %s", d.State, d.ObjectMessage)
	}
	object := d.ObjectMessage
	s.ask(880, 881)
	d = s.after(time.Second)
	s.want("what asks now is held at once", d, outcome{Held: 871, Numbers: 10, Limit: 250})
	if d.Changed || !d.Figures || d.Event != nil || d.ObjectMessage != object {
		t.Errorf("one more number is more than a figure: %+v", d)
	}
	for range 50 {
		s.now = s.now.Add(time.Hour)
		s.restart()
		d = s.after(quiet)
		if d.State.Hold != hold || d.Granted != 0 || d.State.Held != 871 {
			t.Fatalf("the night, or a restart, finishes the mistake: %+v", d.State)
		}
	}
}

func TestWithinTheLimit(t *testing.T) {
	s := newScene(t, 1000, v1alpha1.RemovalBudget{})
	s.ask(0, 100)
	s.decide()
	s.now = s.now.Add(20 * time.Second)
	s.ask(100, 200)
	d := s.decide()
	s.want("more ask: it is looked at for longer", d, outcome{Granted: 10, Waiting: 190, Numbers: 10, Limit: 250})
	if !strings.HasPrefix(d.Message, "190 numbers would lose add-ons so far. They go if they are within the limit of 250 per 1h once no further number asks for 30s.") {
		t.Error(d.Message)
	}
	s.want("not 30s since the last", s.after(20*time.Second), outcome{Granted: 10, Waiting: 190, Numbers: 10, Limit: 250})
	d = s.after(10 * time.Second)
	s.want("all go together, in one write", d, outcome{Granted: 200, Numbers: 200, Limit: 250})
	if d.Event != nil || d.Message != "" {
		t.Errorf("what was never held is news: %+v", d)
	}
	s.done(0, 200)
	s.fleet = 800
	s.ask(200, 250)
	s.after(0)
	s.want("a quarter of what the objects held when it began", s.after(quiet), outcome{Granted: 50, Numbers: 250, Limit: 250})
}

func TestDemandThatNeverSettles(t *testing.T) {
	s := newScene(t, 1000, spec(intstr.FromInt32(250), 0, time.Hour))
	var d Decision
	n := 0
	for ; n < 200; n++ {
		s.ask(n, n+1)
		if d = s.after(20 * time.Second); d.Granted > 0 {
			break
		}
	}
	if n != 179 {
		t.Errorf("a number every 20s waits for %d of them, want for one window", n+1)
	}
	s = newScene(t, 1000, spec(intstr.FromInt32(2), 0, time.Hour))
	for n = range 200 {
		s.ask(n, n+1)
		if d = s.after(20 * time.Second); d.State.Hold != "" {
			break
		}
		if n == 1 { // 40s after the first asked
			s.ask(100, 101)
			if d = Decide(s.input()); d.NextCheck != holdAfter-40*time.Second {
				t.Errorf("the next check is in %v, after the hold is due", d.NextCheck)
			}
			s.done(100, 101)
		}
	}
	if n != 2 {
		t.Errorf("what exceeds the limit is called held after %d numbers, want after %v", n+1, holdAfter)
	}
}

func TestTwoWavesInOneWindow(t *testing.T) {
	s := newScene(t, 1000, v1alpha1.RemovalBudget{})
	s.ask(0, 240)
	s.decide()
	s.after(quiet)
	s.done(0, 240)
	s.ask(300, 500)
	s.after(10 * time.Minute)
	d := s.after(quiet)
	s.want("the second wave is held as a whole", d, outcome{Held: 200, Numbers: 240, Limit: 250})
	if !strings.HasSuffix(d.Message, " Otherwise they go once they are within the limit, not before 2026-11-25T13:10:00Z.") {
		t.Error(d.Message)
	}
	message := d.Message
	for s.now.Before(noon().Add(70 * time.Minute)) {
		if d.NextCheck == 0 || d.Granted > 0 || d.Message != message {
			t.Fatalf("at %v: %+v", s.now, d)
		}
		d = s.after(d.NextCheck)
	}
	s.want("it goes when the first is a window ago", d, outcome{Granted: 200, Numbers: 200, Limit: 250})
	if d.Event == nil || d.Event.Reason != v1alpha1.ReasonRemovalsReleased || !s.now.Equal(noon().Add(70*time.Minute)) {
		t.Errorf("at %v: %+v", s.now, d.Event)
	}
}

func TestApproval(t *testing.T) {
	held := func(t *testing.T) (*scene, string) {
		t.Helper()
		s := newScene(t, 1000, v1alpha1.RemovalBudget{})
		s.ask(0, 880)
		s.decide()
		s.done(0, 10)
		return s, s.after(quiet).State.Hold
	}
	t.Run("of another hold has no effect", func(t *testing.T) {
		s, hold := held(t)
		s.accounts[0].Approve = hold + "0"
		s.want("another name", s.after(time.Second), outcome{Held: 870, Numbers: 10, Limit: 250})
	})
	t.Run("releases what waits, and only that", func(t *testing.T) {
		s, hold := held(t)
		s.accounts[0].Approve = hold
		d := s.after(time.Second)
		s.want("all that waited go, outside the limit", d, outcome{Granted: 870, Numbers: 10, Limit: 250})
		if !d.Changed || d.State.Approved != hold || d.State.Hold != "" || d.Event.Reason != v1alpha1.ReasonRemovalsApproved {
			t.Errorf("%+v %+v", d.State, d.Event)
		}
		s.ask(900, 960)
		s.want("what asks afterwards is looked at", s.after(time.Second), outcome{Granted: 870, Waiting: 60, Numbers: 10, Limit: 250})
		s.restart()
		s.want("a crash in the middle changes nothing", s.after(time.Second), outcome{Granted: 870, Waiting: 60, Numbers: 10, Limit: 250})
		s.done(0, 870)
		s.ask(1000, 2000)
		s.after(time.Second)
		d = s.after(quiet)
		s.want("the annotation is inert", d, outcome{Granted: 10, Held: 1060, Numbers: 10, Limit: 250})
		if d.State.Hold == hold || d.State.Hold == "" {
			t.Errorf("the next hold is named %q", d.State.Hold)
		}
		s.done(0, 880)
		s.ask(100, 101)
		s.after(time.Second)
		s.done(100, 101)
		s.after(time.Second)
		s.ask(100, 101)
		s.want("a number that is done and asks again is not covered", s.after(time.Second), outcome{Held: 1061, Numbers: 10, Limit: 250})
	})
	t.Run("waits for the view to be complete", func(t *testing.T) {
		s, hold := held(t)
		s.accounts[0].Approve = hold
		all := s.asks
		s.asks, s.partial = map[int]Demand{}, true
		d := s.after(time.Second)
		s.want("a new process has seen nothing yet", d, outcome{Held: 870, Numbers: 10, Limit: 250})
		if d.State.Hold != hold || len(d.State.Sample) != sampleSize || d.Changed {
			t.Errorf("the hold was changed: %+v", d.State)
		}
		s.asks, s.partial = all, false
		s.want("now it has", s.after(time.Second), outcome{Granted: 870, Numbers: 10, Limit: 250})
	})
	t.Run("lasts for as long as it takes", func(t *testing.T) {
		s, hold := held(t)
		s.accounts[0].Approve = hold
		s.decide()
		s.done(0, 500)
		s.want("hours later, the rest is still approved", s.after(30*time.Hour), outcome{Granted: 380, Limit: 250})
	})
}

func TestTakenBack(t *testing.T) {
	s := newScene(t, 1000, v1alpha1.RemovalBudget{})
	s.ask(0, 880)
	s.decide()
	s.done(0, 10)
	hold := s.after(quiet).State.Hold
	s.withdraw(10, 600)
	d := s.after(0)
	s.want("the hold shrinks", d, outcome{Held: 280, Numbers: 10, Limit: 250})
	s.withdraw(600, 800)
	d = s.after(time.Minute)
	s.want("what is left is within the limit, and may be taken back in a moment", d, outcome{Held: 80, Numbers: 10, Limit: 250})
	if d.State.Hold != hold || !strings.HasSuffix(d.Message, "not before 2026-11-25T12:05:30Z.") {
		t.Error(d.Message)
	}
	s.withdraw(800, 879)
	s.want("it still may", s.after(4*time.Minute), outcome{Held: 1, Numbers: 10, Limit: 250})
	t.Run("all", func(t *testing.T) {
		s := *s
		s.t, s.accounts = t, slices.Clone(s.accounts)
		s.asks = nil
		d := s.after(time.Second)
		s.want("nothing waits", d, outcome{Numbers: 10, Limit: 250})
		if d.State.Hold != "" || d.Event == nil || d.Event.Reason != v1alpha1.ReasonRemovalsReleased || d.Message != "" {
			t.Errorf("%+v %+v", d.State, d.Event)
		}
	})
	d = s.after(calm)
	s.want("what nobody takes back goes", d, outcome{Granted: 1, Numbers: 11, Limit: 250})
	if d.Event == nil || !strings.Contains(d.Event.Message, "1 number may lose add-ons, within the limit of 250 per 1h") {
		t.Errorf("%+v", d.Event)
	}
}

func TestBudgetEditedWhileHeld(t *testing.T) {
	cases := map[string]struct {
		reason string
		spec   v1alpha1.RemovalBudget
		want   outcome
	}{
		"raised enough":     {"it goes as a whole", spec(intstr.FromInt32(880), 10, time.Hour), outcome{Granted: 870, Numbers: 880, Limit: 880}},
		"one too few":       {"nothing goes, not even a part", spec(intstr.FromInt32(879), 10, time.Hour), outcome{Held: 870, Numbers: 10, Limit: 879}},
		"off":               {"off is off, and nothing is counted", spec(intstr.FromString("100%"), 10, time.Hour), outcome{Granted: 870, Numbers: 10}},
		"more at once":      {"what is held is not among the first, but the limit is never below them", spec(intstr.FromString("25%"), 800, time.Hour), outcome{Held: 870, Numbers: 10, Limit: 800}},
		"nothing":           {"the hold stays", spec(intstr.FromInt32(0), 0, time.Hour), outcome{Held: 870, Numbers: 10, Limit: 0}},
		"exception":         {"an exception is a higher limit", withException(exception(noon().Add(time.Hour), 900)), outcome{Granted: 870, Numbers: 880, Limit: 900}},
		"exception of old":  {"one that has ended is none", withException(exception(noon(), 900)), outcome{Held: 870, Numbers: 10, Limit: 250}},
		"exception too few": {"nothing goes, not even a part", withException(exception(noon().Add(time.Hour), 500)), outcome{Held: 870, Numbers: 10, Limit: 500}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, 1000, v1alpha1.RemovalBudget{})
			s.ask(0, 880)
			s.decide()
			s.done(0, 10)
			s.after(quiet)
			s.accounts[0].Spec = c.spec
			s.want(c.reason, s.after(time.Minute), c.want)
		})
	}
}

func withException(e ...v1alpha1.RemovalException) v1alpha1.RemovalBudget {
	return v1alpha1.RemovalBudget{Exceptions: e}
}

// What an exception allowed and Twilio has not done in time does not go on for ever.
func TestExceptionEndsWhileRemovalsAreUnderWay(t *testing.T) {
	s := newScene(t, 1000, withException(exception(noon().Add(20*time.Minute), 500)))
	s.ask(0, 400)
	s.decide()
	s.want("within the exception", s.after(quiet), outcome{Granted: 400, Numbers: 400, Limit: 500})
	s.done(0, 50)
	d := s.after(19 * time.Minute)
	s.want("still", d, outcome{Granted: 350, Numbers: 400, Limit: 500})
	d = s.after(d.GrantedUntil.Sub(s.now))
	s.want("a grant lasts to its end", d, outcome{Granted: 350, Numbers: 400, Limit: 250})
	s.after(time.Second)
	s.want("and is not renewed: 400 in a window are too many by now", s.after(quiet), outcome{Held: 350, Numbers: 400, Limit: 250})
}

func TestSlowRemovals(t *testing.T) {
	s := newScene(t, 1000, v1alpha1.RemovalBudget{})
	s.ask(0, 250)
	s.decide()
	d := s.after(quiet)
	for range 100 {
		if d.Granted != 250 || d.State.Numbers != 250 {
			t.Fatalf("at %v: %+v", s.now, d.State)
		}
		if slack := d.GrantedUntil.Sub(s.now); slack <= d.NextCheck || slack > 10*time.Minute {
			t.Fatalf("granted for %v, next check in %v", slack, d.NextCheck)
		}
		d = s.after(d.NextCheck)
	}
	s.done(0, 250)
	s.ask(250, 251)
	s.after(time.Second)
	s.want("they count from their last grant", s.after(50*time.Minute), outcome{Held: 1, Numbers: 250, Limit: 250})
	s.want("for one window", s.after(20*time.Minute), outcome{Granted: 1, Numbers: 1, Limit: 250})
}

func TestCRDDeletion(t *testing.T) {
	for name, b := range map[string]v1alpha1.RemovalBudget{
		"default budget": {}, "budget off": spec(intstr.FromString("100%"), 10, time.Hour),
		"exception": withException(exception(noon().Add(time.Hour), 500)),
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, 50, b)
			s.ask(0, 2)
			s.want("before", s.decide(), outcome{Granted: 2, Numbers: int(s.accounts[0].State.Numbers), Limit: int(s.accounts[0].State.Limit)})
			s.deleting = true
			s.ask(2, 5)
			d := s.after(time.Second)
			if d.Granted != 0 || d.State.Held != 5 || d.State.Cause != v1alpha1.RemovalsCRDDeletion {
				t.Fatalf("not everything is held at once, what was granted included: %+v", d.State)
			}
			hold := d.State.Hold
			want := "Removals are held while a CRD of this operator is being deleted: 5 numbers would lose add-ons. For example telephony/n00000, "
			if !strings.HasPrefix(d.Message, want) || !strings.HasSuffix(d.Message, "They are held until then.") {
				t.Error(d.Message)
			}
			s.ask(5, 50)
			d = s.after(100 * time.Hour)
			if d.Granted != 0 || d.State.Held != 50 || d.State.Hold != hold {
				t.Fatalf("%+v", d.State)
			}
			s.accounts[0].Approve = hold
			if d = s.after(time.Second); d.Granted != 50 || d.State.Hold != "" {
				t.Fatalf("%+v", d.State)
			}
			s.ask(50, 51)
			if d = s.after(time.Hour); d.Granted != 50 || d.State.Held != 1 || d.State.Hold == hold {
				t.Fatalf("new demand is not held: %+v", d.State)
			}
		})
	}
}

// Who approves a hold of a few must not thereby approve the deletion of the CRD.
func TestCRDDeletionDuringAHold(t *testing.T) {
	s := newScene(t, 1000, spec(intstr.FromInt32(5), 0, time.Hour))
	s.ask(0, 6)
	s.decide()
	hold := s.after(quiet).State.Hold
	s.deleting = true
	s.accounts[0].Approve = hold
	s.ask(6, 1000)
	d := s.after(time.Second)
	if d.Granted != 0 || d.State.Held != 1000 || d.State.Hold == hold || d.State.Approved != "" || !d.Event.Warning {
		t.Errorf("%+v", d.State)
	}
	s.deleting = false
	d = s.after(quiet)
	if d.Granted != 0 || d.State.Cause != v1alpha1.RemovalsOverBudget || d.State.Held != 1000 {
		t.Errorf("the CRD is there again, the demand as well: %+v", d.State)
	}
}

func TestSharedAccountSID(t *testing.T) {
	strict, lax := spec(intstr.FromInt32(20), 2, time.Minute), spec(intstr.FromString("50%"), 30, time.Hour)
	for name, specs := range map[string][]v1alpha1.RemovalBudget{"strict first": {strict, lax}, "lax first": {lax, strict}} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, 1000, specs...)
			s.ask(0, 30)
			s.want("the smaller minNumbers", s.decide(), outcome{Granted: 2, Waiting: 28, Numbers: 2, Limit: 20})
			d := s.after(quiet)
			s.want("the smaller limit", d, outcome{Granted: 2, Held: 28, Numbers: 2, Limit: 20})
			if !strings.Contains(d.Message, "20 are allowed per 1h") {
				t.Errorf("not the longer window: %s", d.Message)
			}
			for i := range s.accounts {
				s.accounts[i].State = v1alpha1.RemovalsStatus{}
				again := Decide(s.input())
				if !again.Changed || !cmp.Equal(again.State, d.State) {
					t.Errorf("an account that lost its status, or is new, is not told what the other knows: %+v", again.State)
				}
				s.accounts[i].State = d.State
			}
			s.accounts[0].State.Hold = "01234567"
			if again := Decide(s.input()); !again.Changed || again.State.Hold != min("01234567", d.State.Hold) {
				t.Errorf("two names of one hold stay two: %+v", again.State)
			}
			s.accounts[0].State = d.State
			s.accounts[1].Approve = d.State.Hold
			s.want("an approval on either", s.after(time.Second), outcome{Granted: 30, Numbers: 2, Limit: 20})
		})
	}
}

// A process that ends between the writes to two accounts has granted nothing, and the
// next one goes on from what either says.
func TestEndBetweenTwoWrites(t *testing.T) {
	s := newScene(t, 1000, spec(intstr.FromInt32(20), 2, time.Hour), spec(intstr.FromInt32(20), 2, time.Hour))
	s.ask(0, 30)
	s.decide()
	d := s.after(quiet)
	hold := d.State.Hold
	s.accounts[0].Approve = hold
	for written := range 2 {
		t.Run(s.accounts[written].Name, func(t *testing.T) {
			s := *s
			s.t, s.accounts = t, slices.Clone(s.accounts)
			s.accounts[written].State = Decide(s.input()).State
			s.ask(100, 140)
			d := s.after(time.Second)
			if d.Granted != 30 || d.Waiting != 40 || !d.Changed || d.State.Hold != "" || d.State.Approved != hold {
				t.Errorf("the approval counts twice, or not at all: %+v", d)
			}
			s.done(100, 140)
		})
	}
}

func TestClockSteps(t *testing.T) {
	s := newScene(t, 1000, v1alpha1.RemovalBudget{})
	s.ask(0, 250)
	s.decide()
	s.after(quiet)
	s.done(0, 250)
	s.ask(300, 301)
	s.now = s.now.AddDate(-1, 0, 0)
	s.asks[300] = Demand{Number: number(300), Object: "a/b", Since: s.now}
	d := s.decide()
	s.want("a year back: all count as of now", d, outcome{Waiting: 1, Numbers: 250, Limit: 250})
	if !d.Figures {
		t.Error("the times on record stay a year ahead")
	}
	s.want("they still do", s.after(59*time.Minute), outcome{Held: 1, Numbers: 250, Limit: 250})
	s.want("not for a year", s.after(11*time.Minute+time.Second), outcome{Granted: 1, Numbers: 1, Limit: 250})
	s.now = s.now.AddDate(100, 0, 0)
	s.want("a century on", s.decide(), outcome{Granted: 1, Numbers: 1, Limit: 250})
	s.asks[301] = Demand{Number: number(301), Object: "a/c", Since: s.now.AddDate(1, 0, 0)}
	s.decide() // a demand of the future does no harm
}

func TestSpoiltStatus(t *testing.T) {
	s := newScene(t, 1000, spec(intstr.FromInt32(12), 10, time.Hour))
	s.accounts[0].State = v1alpha1.RemovalsStatus{
		Numbers: 3, Counted: []v1alpha1.CountedNumbers{{Until: metav1.NewTime(noon()), Numbers: "not base64 at all!!!!"}},
		ApprovedNumbers: "?", HighWater: -5,
	}
	s.ask(0, 12)
	s.want("what cannot be read counts", s.decide(), outcome{Granted: 7, Waiting: 5, Numbers: 10, Limit: 12})
	d := Decide(Input{})
	if d.Granted != 0 || d.Changed || d.State.Limit != defaultMin {
		t.Errorf("no account at all: %+v", d)
	}
}

func TestLimit(t *testing.T) {
	later := noon().Add(time.Hour)
	cases := map[string]struct {
		spec      v1alpha1.RemovalBudget
		highWater int
		want      int
	}{
		"a budget that says nothing has the defaults": {v1alpha1.RemovalBudget{}, 1000, 250},
		"a percentage is rounded down":                {v1alpha1.RemovalBudget{}, 1003, 250},
		"never less than minNumbers":                  {v1alpha1.RemovalBudget{}, 39, 10},
		"a count is a count":                          {spec(intstr.FromInt32(7), 0, 0), 1000, 7},
		"nothing may be allowed":                      {spec(intstr.FromInt32(0), 0, 0), 1000, 0},
		"not even by percentage":                      {spec(intstr.FromString("0%"), 0, 0), 1000, 0},
		"99% is not off":                              {spec(intstr.FromString("99%"), 0, 0), 100, 99},
		"100% is off":                                 {spec(intstr.FromString("100%"), 0, 0), 100, unlimited},
		"a word means the default":                    {spec(intstr.FromString("most"), 0, 0), 100, 25},
		"a number as a word, too":                     {spec(intstr.FromString("50"), 0, 0), 100, 25},
		"the highest exception rules":                 {withException(exception(later, 300), exception(later, 500), exception(noon(), 900)), 1000, 500},
		"an exception lowers nothing":                 {withException(exception(later, 1)), 1000, 250},
	}
	for reason, c := range cases {
		if got := strictest([]Account{{Spec: c.spec}}).limit(noon(), c.highWater); got != c.want {
			t.Errorf("%s: %d, want %d", reason, got, c.want)
		}
	}
}

func TestWindowBounds(t *testing.T) {
	for window, want := range map[time.Duration]time.Duration{
		0: time.Hour, time.Second: time.Minute, time.Minute: time.Minute, 71 * time.Second: 71 * time.Second, 48 * time.Hour: 24 * time.Hour,
	} {
		r := strictest([]Account{{Spec: spec(intstr.FromInt32(1), 1, window)}})
		if r.window != want {
			t.Errorf("window %v is %v, want %v", window, r.window, want)
		}
		for i := range 1000 {
			now := noon().Add(time.Duration(i) * 777 * time.Millisecond)
			ahead := time.Unix(r.allowedUntil(now), 0).Sub(now)
			part := time.Duration(r.part()) * time.Second
			if ahead <= part || ahead > 2*part || !r.regrantAt(now).After(now) {
				t.Fatalf("window %v: a grant ends %v ahead, parts are of %v", window, ahead, part)
			}
		}
	}
}

func TestHighWater(t *testing.T) {
	s := newScene(t, 1000, v1alpha1.RemovalBudget{})
	s.ask(0, 5)
	s.decide()
	s.done(0, 5)
	s.fleet = 100
	s.ask(10, 11)
	s.want("the mark stays for the window", s.after(30*time.Minute), outcome{Granted: 1, Numbers: 6, Limit: 250})
	s.done(10, 11)
	s.ask(20, 21)
	s.want("and then is what it is", s.after(41*time.Minute), outcome{Granted: 1, Numbers: 2, Limit: 25})
}

func TestFewGroupsOnRecord(t *testing.T) {
	s := newScene(t, 1000, spec(intstr.FromInt32(500), 500, 24*time.Hour))
	for n := range 60 {
		s.accounts[0].Spec.Window.Duration = []time.Duration{24 * time.Hour, 23 * time.Hour, 22 * time.Hour}[n%3]
		s.ask(n, n+1)
		d := s.after(20 * time.Minute)
		s.done(n, n+1)
		if len(d.State.Counted) > maxGroups || int(d.State.Numbers) != n+1 {
			t.Fatalf("%d groups, %d numbers of %d", len(d.State.Counted), d.State.Numbers, n+1)
		}
	}
}

func TestFingerprints(t *testing.T) {
	seen := map[fingerprint]int{}
	all := make([]fingerprint, 0, 300_000)
	for n := range 300_000 {
		f := fingerprintOf(number(n))
		if other, twice := seen[f]; twice || f >= 1<<fingerprintBits {
			t.Fatalf("%s and %s have one fingerprint", number(n), number(other))
		}
		seen[f] = n
		all = append(all, f)
	}
	if fingerprintOf("PN00ab") != fingerprintOf("PN00AB") {
		t.Error("letter case makes another number")
	}
	text := pack(slices.Clone(all))
	slices.Sort(all)
	if len(text) != fingerprintChars*len(all) || !slices.Equal(all, unpack(text)) {
		t.Error("what was packed is not what is unpacked")
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Hour: "1h", 90 * time.Minute: "1h30m", 30 * time.Second: "30s", 71 * time.Second: "1m11s", 24 * time.Hour: "24h", time.Hour + time.Second: "1h0m1s", 10 * time.Minute: "10m",
	} {
		if got := duration(d); got != want {
			t.Errorf("%v is written %s, want %s", d, got, want)
		}
	}
}

// Nothing is written for a message: it is the same as long as all else is.
func TestMessagesStay(t *testing.T) {
	s := newScene(t, 1000, v1alpha1.RemovalBudget{})
	s.ask(0, 245)
	waiting := s.decide()
	if again := s.after(3 * time.Second); again.Message != waiting.Message || again.ObjectMessage != waitingObjectMessage {
		t.Errorf("%q became %q", waiting.Message, again.Message)
	}
	s.after(quiet)
	s.done(0, 245)
	s.ask(245, 260)
	s.after(quiet)
	held := s.after(quiet)
	if held.State.Hold == "" || !strings.Contains(held.Message, "Otherwise they go") {
		t.Fatalf("%+v", held.State)
	}
	for range 10 {
		if again := s.after(time.Minute); again.Message != held.Message || again.ObjectMessage != held.ObjectMessage || again.Event != nil || again.Changed || again.Figures {
			t.Errorf("%q became %q", held.Message, again.Message)
		}
	}
}

func TestApprovedNumbersAreOnEachAccount(t *testing.T) {
	s := newScene(t, 1000, spec(intstr.FromInt32(0), 0, time.Hour), spec(intstr.FromInt32(0), 0, time.Hour))
	s.ask(0, 3)
	s.decide()
	s.accounts[0].Approve = s.after(quiet).State.Hold
	s.want("approved", s.after(time.Second), outcome{Granted: 3})
	s.accounts[1].State.ApprovedNumbers = s.accounts[1].State.ApprovedNumbers[fingerprintChars:]
	if d := Decide(s.input()); d.Granted != 3 || !d.Changed {
		t.Errorf("one of them is on one account only: %+v", d)
	}
}
