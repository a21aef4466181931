// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// visits has a clock run over some objects, and tells which were queued when.
func visits(t *testing.T, objects int, plan func(x *index, key func(int) types.NamespacedName)) map[time.Duration][]string {
	t.Helper()
	x, q := newIndex(), &queue{}
	key := func(i int) types.NamespacedName {
		return types.NamespacedName{Namespace: "phones", Name: string(rune('a' + i))}
	}
	for i := range objects {
		a := &v1alpha1.PhoneNumberAddOnAssignment{}
		a.Namespace, a.Name = key(i).Namespace, key(i).Name
		a.Spec.PhoneNumberSID = v1alpha1.PhoneNumberSID(twiliosim.SID("PN", i+1))
		x.put(a)
	}
	to := priorityqueue.New[reconcile.Request]("checks")
	ctx, stop := context.WithCancel(t.Context())
	if err := q.Start(ctx, to); err != nil {
		t.Fatal(err)
	}
	if err := (clock{x, q}).Start(ctx, to); err != nil {
		t.Fatal(err)
	}
	start, queued := time.Now(), map[time.Duration][]string{}
	go func() {
		for {
			request, priority, over := to.GetWithPriority()
			if over {
				return
			}
			if priority != background {
				t.Errorf("%s is queued with priority %d", request, priority)
			}
			at := time.Since(start)
			queued[at] = append(queued[at], request.Name)
			slices.Sort(queued[at])
			to.Done(request)
		}
	}()
	plan(x, key)
	time.Sleep(24 * time.Hour)
	stop()
	to.ShutDown()
	synctest.Wait()
	return queued
}

// Objects are queued when they are due, and only if that was not changed meanwhile.
func TestObjectsAreCheckedWhenDue(t *testing.T) {
	cases := map[string]struct {
		plan func(x *index, key func(int) types.NamespacedName)
		want map[time.Duration][]string
	}{
		"in the order of their times, not of asking": {
			func(x *index, key func(int) types.NamespacedName) {
				now := time.Now()
				x.checkAt(key(0), now.Add(3*time.Hour))
				x.checkAt(key(1), now.Add(time.Hour))
				x.checkAt(key(2), now.Add(3*time.Hour))
			},
			map[time.Duration][]string{time.Hour: {"b"}, 3 * time.Hour: {"a", "c"}},
		},
		"one that comes before all others is not overslept": {
			func(x *index, key func(int) types.NamespacedName) {
				x.checkAt(key(0), time.Now().Add(3*time.Hour))
				time.Sleep(time.Hour)
				x.checkAt(key(1), time.Now().Add(time.Minute))
			},
			map[time.Duration][]string{time.Hour + time.Minute: {"b"}, 3 * time.Hour: {"a"}},
		},
		"the last time that was said counts, sooner or later": {
			func(x *index, key func(int) types.NamespacedName) {
				now := time.Now()
				for _, wait := range []time.Duration{3 * time.Hour, 2 * time.Hour, 2 * time.Hour, 5 * time.Hour} {
					x.checkAt(key(0), now.Add(wait))
				}
				x.checkAt(key(1), now.Add(3*time.Hour))
				x.checkAt(key(1), now.Add(time.Hour))
			},
			map[time.Duration][]string{time.Hour: {"b"}, 5 * time.Hour: {"a"}},
		},
		"not one whose check was withdrawn, nor one that is gone": {
			func(x *index, key func(int) types.NamespacedName) {
				for i := range 3 {
					x.checkAt(key(i), time.Now().Add(time.Hour))
				}
				x.checkNoMore(key(0))
				x.remove(key(1))
			},
			map[time.Duration][]string{time.Hour: {"c"}},
		},
		"not what was withdrawn, however often it was": {
			func(x *index, key func(int) types.NamespacedName) {
				now := time.Now()
				for i := range 10 * fewQueued {
					x.checkAt(key(0), now.Add(time.Hour+time.Duration(i)))
				}
				x.checkAt(key(0), now.Add(2*time.Hour))
				x.mu.Lock()
				defer x.mu.Unlock()
				if len(x.checks) > 2*fewQueued {
					panic("what is void is kept")
				}
			},
			map[time.Duration][]string{2 * time.Hour: {"a"}},
		},
		"at once if it is late": {
			func(x *index, key func(int) types.NamespacedName) {
				time.Sleep(time.Minute) // the clock waits
				x.checkAt(key(0), time.Now().Add(-time.Hour))
			},
			map[time.Duration][]string{time.Minute: {"a"}},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if diff := cmp.Diff(c.want, visits(t, 3, c.plan)); diff != "" {
					t.Errorf("queued (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// Of the many that are due after a start, the queue holds few at a time, none before its
// controller has started, and in the end every one was in it.
func TestChecksAreFedAsTheQueueEmpties(t *testing.T) {
	const objects = 5 * fewQueued
	synctest.Test(t, func(t *testing.T) {
		x, q := newIndex(), &queue{}
		for i := range objects {
			a := &v1alpha1.PhoneNumberAddOnAssignment{}
			a.Name = fmt.Sprintf("line-%d", i)
			a.Spec.PhoneNumberSID = v1alpha1.PhoneNumberSID(twiliosim.SID("PN", i+1))
			x.put(a)
			x.checkAt(keyOf(a), time.Now())
		}
		ctx, stop := context.WithCancel(t.Context())
		to := priorityqueue.New[reconcile.Request]("checks")
		if err := (clock{x, q}).Start(ctx, to); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if err := q.Start(ctx, to); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := to.Len(); n == 0 || n > fewQueued {
			t.Errorf("%d objects are in the queue, want some and at most %d", n, fewQueued)
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
