// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/fleet"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// The tests of this file start no control plane.

func phones(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "phones", Name: name}
}

// numbered is an object of the number n.
func numbered(name string, n int, changes ...func(*assignment)) *assignment {
	a := &assignment{ObjectMeta: metav1.ObjectMeta{Namespace: "phones", Name: name, UID: types.UID(name), Generation: 1}}
	a.Spec.PhoneNumberSID, a.Spec.AccountRef.Name = v1alpha1.PhoneNumberSID(twiliosim.SID("PN", n)), "default"
	for _, change := range changes {
		change(a)
	}
	return a
}

// collect notes what comes out of a queue, and when, until the queue is shut down.
func collect(t *testing.T, to priorityqueue.PriorityQueue[reconcile.Request], priority int) map[time.Duration][]string {
	t.Helper()
	start, queued := time.Now(), map[time.Duration][]string{}
	go func() {
		for {
			request, got, over := to.GetWithPriority()
			if over {
				return
			}
			if got != priority {
				t.Errorf("%s is queued with priority %d, want %d", request, got, priority)
			}
			at := time.Since(start)
			queued[at] = append(queued[at], request.Name)
			slices.Sort(queued[at])
			to.Done(request)
		}
	}()
	return queued
}

// Objects are queued when they are due, and only if that was not changed meanwhile.
func TestResyncSourceQueuesWhatIsDue(t *testing.T) {
	in := func(f *fleet.Fleet, name string, wait time.Duration) {
		f.ScheduleNext(phones(name), f.Clock().Now().Add(wait))
	}
	cases := map[string]struct {
		do   func(f *fleet.Fleet)
		want map[time.Duration][]string
	}{
		"in the order of their times, not of asking": {
			func(f *fleet.Fleet) { in(f, "a", 3*time.Hour); in(f, "b", time.Hour); in(f, "c", 3*time.Hour) },
			map[time.Duration][]string{time.Hour: {"b"}, 3 * time.Hour: {"a", "c"}},
		},
		"one that comes before all others is not overslept": {
			func(f *fleet.Fleet) { in(f, "a", 3*time.Hour); time.Sleep(time.Hour); in(f, "b", time.Minute) },
			map[time.Duration][]string{time.Hour + time.Minute: {"b"}, 3 * time.Hour: {"a"}},
		},
		"nor behind one that is cancelled": {
			func(f *fleet.Fleet) {
				in(f, "a", time.Minute)
				f.Begin(phones("a"))
				in(f, "b", 2*time.Minute)
				in(f, "c", time.Second)
			},
			map[time.Duration][]string{time.Second: {"c"}, 2 * time.Minute: {"b"}},
		},
		"the earlier of two times": {
			func(f *fleet.Fleet) {
				for _, wait := range []time.Duration{3 * time.Hour, 2 * time.Hour, 5 * time.Hour} {
					in(f, "a", wait)
				}
			},
			map[time.Duration][]string{2 * time.Hour: {"a"}},
		},
		"not one that is reconciled before, nor one that is gone": {
			func(f *fleet.Fleet) {
				for _, name := range []string{"a", "b", "c"} {
					in(f, name, time.Hour)
				}
				f.Begin(phones("a"))
				f.Delete(phones("b"))
			},
			map[time.Duration][]string{time.Hour: {"c"}},
		},
		"at once if it is late": {
			func(f *fleet.Fleet) { time.Sleep(time.Minute); in(f, "a", -time.Hour) },
			map[time.Duration][]string{time.Minute: {"a"}},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, q := fleet.New(), &queue{}
				for i, name := range []string{"a", "b", "c"} {
					f.Upsert(numbered(name, i+1))
				}
				to := priorityqueue.New[reconcile.Request]("checks")
				ctx, stop := context.WithCancel(t.Context())
				if err := errors.Join(q.Start(ctx, to), resyncSource{f, q}.Start(ctx, to)); err != nil {
					t.Fatal(err)
				}
				queued := collect(t, to, background)
				c.do(f)
				time.Sleep(24 * time.Hour)
				stop()
				to.ShutDown()
				synctest.Wait()
				// The source may sleep a little longer than it has to, never shorter.
				got := map[time.Duration][]string{}
				for at, names := range queued {
					at = at.Truncate(10 * drain)
					got[at] = append(got[at], names...)
					slices.Sort(got[at])
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("queued (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// Of the many that are due after a start, the queue holds few at a time, none before its
// controller has started, and in the end every one was in it.
func TestResyncSourceFeedsAsTheQueueEmpties(t *testing.T) {
	const objects = 5 * fewQueued
	synctest.Test(t, func(t *testing.T) {
		f, q := fleet.New(), &queue{}
		for i := range objects {
			name := fmt.Sprintf("line-%d", i)
			f.Upsert(numbered(name, i+1))
			f.ScheduleNow(phones(name))
		}
		ctx, stop := context.WithCancel(t.Context())
		to := priorityqueue.New[reconcile.Request]("checks")
		if err := (resyncSource{f, q}).Start(ctx, to); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := to.Len(); n != 0 || q.room() != 0 {
			t.Errorf("before the controller has started, %d objects are queued and there is room for %d", n, q.room())
		}
		if err := q.Start(ctx, to); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := to.Len(); n != fewQueued || q.room() != 0 {
			t.Errorf("%d objects are in the queue, want %d; there is room for %d", n, fewQueued, q.room())
		}
		taken := map[string]bool{}
		for range objects {
			request, _, _ := to.GetWithPriority()
			taken[request.Name] = true
			to.Done(request)
		}
		if len(taken) != objects {
			t.Errorf("%d of %d objects were in the queue", len(taken), objects)
		}
		stop()
		to.ShutDown()
	})
}

// What is added before the controller has started is dropped: the initial list brings it.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &queue{}
		q.add(urgent, 0, phones("early"))
		to := priorityqueue.New[reconcile.Request]("queue")
		if err := q.Start(t.Context(), to); err != nil {
			t.Fatal(err)
		}
		queued := collect(t, to, urgent)
		time.Sleep(time.Hour)
		q.add(urgent, 0, phones("a"), phones("b"))
		q.add(urgent, time.Minute, phones("c"))
		time.Sleep(time.Hour)
		to.ShutDown()
		synctest.Wait()
		want := map[time.Duration][]string{time.Hour: {"a", "b"}, time.Hour + time.Minute: {"c"}}
		if diff := cmp.Diff(want, queued); diff != "" {
			t.Errorf("queued (-want +got):\n%s", diff)
		}
	})
}

// listing is a source whose initial listing ends when it is told to.
type listing struct{ end chan error }

func (listing) Start(context.Context, requests) error { return nil }

func (l listing) WaitForSync(context.Context) error { return <-l.end }

// The account controller starts its work when the fleet knows every object, and not
// before: an account that is in use would be released.
func TestAccountsWaitForTheFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, objects := fleet.New(), listing{make(chan error)}
		filling := newFillingSource(f, objects)
		started := make(chan error, 1)
		go func() { started <- syncedSource{f}.WaitForSync(t.Context()) }()

		failure := errors.New("the cache did not sync")
		go func() { objects.end <- failure }()
		if err := filling.WaitForSync(t.Context()); !errors.Is(err, failure) {
			t.Errorf("the error is %v, want that of the listing", err)
		}
		synctest.Wait()
		select {
		case err := <-started:
			t.Fatalf("the account controller starts (%v) though the listing failed", err)
		default:
		}

		for range 2 { // a manager may wait for one source twice
			go func() { objects.end <- nil }()
			if err := filling.WaitForSync(t.Context()); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		select {
		case err := <-started:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Fatal("the account controller still waits")
		}

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := (syncedSource{fleet.New()}).WaitForSync(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("a manager that stops waits for the fleet: %v", err)
		}
	})
}

// Which objects an event wakes: the one that was edited, and those of the same number for
// which it may decide something.
func TestAssignmentEvents(t *testing.T) {
	synced := func(a *assignment) {
		a.Status.ObservedGeneration = a.Generation
		a.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonSynced}}
	}
	held := func(a *assignment) {
		synced(a)
		a.Status.Claim, a.Finalizers = v1alpha1.ClaimHeld, []string{v1alpha1.FinalizerUnassign}
	}
	deleting := func(a *assignment) { held(a); a.DeletionTimestamp = new(metav1.NewTime(time.Unix(1, 0))) }
	with := func(change func(*assignment)) func(*assignment) { return func(a *assignment) { held(a); change(a) } }
	recorded := with(func(a *assignment) { a.Status.AddOns = []v1alpha1.AddOnStatus{{SID: "XEa"}} })
	create := func(a *assignment, initial bool) func(assignmentEvents) {
		return func(h assignmentEvents) {
			h.Create(context.Background(), event.TypedCreateEvent[*assignment]{Object: a, IsInInitialList: initial}, nil)
		}
	}
	update := func(before, after *assignment) func(assignmentEvents) {
		return func(h assignmentEvents) {
			h.Update(context.Background(), event.TypedUpdateEvent[*assignment]{ObjectOld: before, ObjectNew: after}, nil)
		}
	}
	type woken struct{ Queued, Due, Accounts []string }
	cases := map[string]struct {
		reason string
		others []*assignment // beside "a"
		do     func(assignmentEvents)
		want   woken
	}{
		"created": {"its number is to be read, and its account counts it", nil,
			create(numbered("a", 1), false), woken{Queued: []string{"a"}, Accounts: []string{"default"}}},
		"listed at the start":                {"work is left", nil, create(numbered("a", 1), true), woken{Queued: []string{"a"}}},
		"listed at the start, synced":        {"it can wait for its turn", nil, create(numbered("a", 1, held), true), woken{Due: []string{"a"}}},
		"listed at the start, being deleted": {"somebody waits for it", nil, create(numbered("a", 1, deleting), true), woken{Queued: []string{"a"}}},
		"status": {"most of what the operator writes itself wakes nobody", nil,
			update(numbered("a", 1, held), numbered("a", 1, recorded)), woken{}},
		"edited": {"the spec is new, and no business of those that wait or are not admitted", []*assignment{numbered("b", 1), numbered("c", 1, held)},
			update(numbered("a", 1, held), numbered("a", 1, with(func(a *assignment) { a.Generation++ }))), woken{Queued: []string{"a"}}},
		"requested": {"a person asks for it", nil,
			update(numbered("a", 1, held), numbered("a", 1, with(func(a *assignment) { a.Annotations = map[string]string{v1alpha1.AnnotationReconcileRequestedAt: "now"} }))),
			woken{Queued: []string{"a"}}},
		"finalizer taken": {"it has to be put back", nil,
			update(numbered("a", 1, held), numbered("a", 1, with(func(a *assignment) { a.Finalizers = nil }))), woken{Queued: []string{"a"}}},
		"another account": {"each counts its own", nil,
			update(numbered("a", 1, held), numbered("a", 1, with(func(a *assignment) { a.Generation++; a.Spec.AccountRef.Name = "other" }))),
			woken{Queued: []string{"a"}, Accounts: []string{"default", "other"}}},
		"gives up its number": {"any other object may own it now", []*assignment{numbered("b", 1), numbered("c", 1), numbered("far", 2)},
			update(numbered("a", 1, held), numbered("a", 1, with(func(a *assignment) { a.Status.Claim = v1alpha1.ClaimYielded }))), woken{Queued: []string{"b", "c"}}},
		"begins to be deleted": {"the next one takes over", []*assignment{numbered("b", 1)},
			update(numbered("a", 1, held), numbered("a", 1, func(a *assignment) { deleting(a); a.Generation++ })), woken{Queued: []string{"a", "b"}}},
		"records something": {"one that is being deleted may wait for that", []*assignment{numbered("b", 1, deleting), numbered("c", 1)},
			update(numbered("a", 1, held), numbered("a", 1, recorded)), woken{Queued: []string{"b"}}},
		"gone": {"the others come up, and its account counts one fewer", []*assignment{numbered("b", 1), numbered("far", 2)},
			func(h assignmentEvents) {
				h.Delete(context.Background(), event.TypedDeleteEvent[*assignment]{Object: numbered("a", 1)}, nil)
			}, woken{Due: []string{"b"}, Accounts: []string{"default"}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &assignmentReconciler{fleet: fleet.New(), limiters: twilio.NewLimiters(nil), queue: &queue{}, accounts: &queue{}}
				r.brake = newBrake(nil, nil, nil, r.fleet, r.accounts)
				if len(c.others) > 0 || name != "created" {
					r.fleet.Upsert(numbered("a", 1))
				}
				for _, other := range c.others {
					r.fleet.Upsert(other)
				}
				objects, accounts := priorityqueue.New[reconcile.Request]("objects"), priorityqueue.New[reconcile.Request]("accounts")
				if err := errors.Join(r.queue.Start(t.Context(), objects), r.accounts.Start(t.Context(), accounts)); err != nil {
					t.Fatal(err)
				}
				queued, counted := collect(t, objects, normal), collect(t, accounts, normal)
				c.do(assignmentEvents{r})
				time.Sleep(time.Minute)
				objects.ShutDown()
				accounts.ShutDown()
				synctest.Wait()
				got := woken{Queued: queued[0], Accounts: counted[accountDelay]}
				due, _ := r.fleet.PopDue(99)
				for _, key := range due {
					got.Due = append(got.Due, key.Name)
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", c.reason, diff)
				}
			})
		})
	}
}
