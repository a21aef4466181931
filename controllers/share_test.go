// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/fleet"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

// oneObject is an API server with one object, or none.
type oneObject struct {
	client.Reader
	object *assignment
}

func (s *oneObject) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	a, ok := into.(*assignment)
	if !ok || s.object == nil || client.ObjectKeyFromObject(s.object) != key {
		return apierrors.NewNotFound(v1alpha1.GroupVersion.WithResource("phonenumberaddonassignments").GroupResource(), key.Name)
	}
	s.object.DeepCopyInto(a)
	return nil
}

// TestObjectLeavesAccount has the watch of an account tell that an object is gone, which is
// also how it tells that the object names another account. The watch of that one may come
// first or later. As long as the object is the manager's, the fleet has it.
func TestObjectLeavesAccount(t *testing.T) {
	of := func(account string, changes ...func(*assignment)) *assignment {
		return numbered("a", 1, append(changes, func(a *assignment) { a.Spec.AccountRef.Name = account })...)
	}
	again := func(a *assignment) { a.UID = "again" }
	moved := func(a *assignment) { a.Generation = 2 }
	for name, c := range map[string]struct {
		// first is what the other watch shows before, then what it shows after.
		first, then *assignment
		// now is the object as the API server has it.
		now *assignment
		// between and after are the account by which the fleet knows the object, "" if it does
		// not, before the other watch shows it and at the end.
		between, after string
	}{
		"it is gone":                                 {between: "", after: ""},
		"it has another account of the manager":      {now: of("to", moved), then: of("to", moved), between: "from", after: "to"},
		"the other account's watch came first":       {now: of("to", moved), first: of("to", moved), between: "to", after: "to"},
		"it has an account of another manager":       {now: of("elsewhere", moved), between: "", after: ""},
		"it is another one of the same name":         {now: of("from", again), between: "", after: ""},
		"it is another one, which the watch has":     {now: of("to", again), first: of("to", again), between: "to", after: "to"},
		"it is another one, which the watch shows":   {now: of("to", again), then: of("to", again), between: "", after: "to"},
		"it has an account that is watched only":     {now: of("watched", moved), between: "", after: ""},
		"its account is watched, and shows it first": {now: of("watched", moved), first: of("watched", moved), between: "", after: ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := &assignmentReconciler{fleet: fleet.New(), limiters: twilio.NewLimiters(nil), queue: &queue{}, accounts: &queue{}}
			r.brake = newBrake(nil, nil, nil, r.fleet, r.accounts)
			s := &share{
				events: assignmentEvents{r}, live: &oneObject{object: c.now}, leftovers: &leftovers{},
				caches: map[string]*objectCache{}, served: sets.New("from", "to"),
			}
			for _, account := range []string{"from", "to", "watched"} {
				s.caches[account] = &objectCache{store: toolscache.NewStore(toolscache.MetaNamespaceKeyFunc)}
			}
			before := of("from")
			r.fleet.Upsert(before)
			show := func(a *assignment) {
				if a == nil {
					return
				}
				account := a.Spec.AccountRef.Name
				if err := s.caches[account].store.Add(a); err != nil {
					t.Fatal(err)
				}
				objectEvents{s, account, s.caches[account]}.Create(t.Context(), event.TypedCreateEvent[*assignment]{Object: a}, nil)
			}
			known := func() string {
				if a := r.fleet.Find(types.NamespacedName{Namespace: "phones", Name: "a"}); a != nil {
					return a.Spec.AccountRef.Name
				}
				return ""
			}
			show(c.first)
			objectEvents{s, "from", s.caches["from"]}.Delete(t.Context(), event.TypedDeleteEvent[*assignment]{Object: before}, nil)
			if _, err := s.find(t.Context(), client.ObjectKeyFromObject(before)); err != nil {
				t.Fatal(err)
			}
			between := known()
			show(c.then)
			if diff := cmp.Diff([]string{c.between, c.after}, []string{between, known()}); diff != "" {
				t.Errorf("the fleet knows it by its account, between and after (-want +got)\n%s", diff)
			}
		})
	}
}

// TestAddOfWhatIsNotKnown has the objects of an account become unknown between the claim's
// first look and its last: its label has changed, and perhaps changed back.
func TestAddOfWhatIsNotKnown(t *testing.T) {
	known := make(chan struct{})
	close(known)
	for name, c := range map[string]struct {
		cache *objectCache
		want  bool
	}{
		"known":             {&objectCache{store: toolscache.NewStore(toolscache.MetaNamespaceKeyFunc), synced: known}, true},
		"not watched":       {nil, false},
		"watched from anew": {&objectCache{store: toolscache.NewStore(toolscache.MetaNamespaceKeyFunc), synced: make(chan struct{})}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := &assignmentReconciler{fleet: fleet.New(), accounts: &queue{}}
			r.brake = newBrake(nil, nil, nil, r.fleet, r.accounts)
			s := &share{events: assignmentEvents{r}, caches: map[string]*objectCache{"main": c.cache}, served: sets.New[string]()}
			account := &v1alpha1.TwilioAccount{}
			account.Name = "main"
			if added := s.add(account); added != c.want || s.served.Has("main") != c.want {
				t.Errorf("added: %t, served: %t, want %t", added, s.served.Has("main"), c.want)
			}
		})
	}
}

// TestCacheThatIsBehind compares the cache of an account with what the API server has.
func TestCacheThatIsBehind(t *testing.T) {
	object := func(version string) metav1.PartialObjectMetadata {
		return metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "phones", Name: "a", ResourceVersion: version}}
	}
	for name, c := range map[string]struct {
		cached string
		live   []metav1.PartialObjectMetadata
		want   bool
	}{
		"nothing is there":              {want: true},
		"the same version":              {cached: "10", live: []metav1.PartialObjectMetadata{object("10")}, want: true},
		"a later version":               {cached: "10", live: []metav1.PartialObjectMetadata{object("9")}, want: true},
		"an earlier version":            {cached: "9", live: []metav1.PartialObjectMetadata{object("10")}},
		"an object that it lacks":       {live: []metav1.PartialObjectMetadata{object("10")}},
		"an object that is gone by now": {cached: "10", want: true},
	} {
		t.Run(name, func(t *testing.T) {
			store := toolscache.NewStore(toolscache.MetaNamespaceKeyFunc)
			if c.cached != "" {
				if err := store.Add(numbered("a", 1, func(a *assignment) { a.ResourceVersion = c.cached })); err != nil {
					t.Fatal(err)
				}
			}
			s := &share{caches: map[string]*objectCache{"main": {store: store}}}
			if got := s.shows("main", c.live); got != c.want {
				t.Errorf("got %t, want %t", got, c.want)
			}
			if s.shows("other", c.live) {
				t.Error("an account without a cache is shown")
			}
		})
	}
}

// TestStartWithoutTheObjectsOfAnAccount has an account go to another manager before its
// objects are known, while the API server does not answer. The start does not wait for them.
func TestStartWithoutTheObjectsOfAnAccount(t *testing.T) {
	stopped, known, listed := make(chan struct{}), make(chan struct{}), make(chan error)
	close(stopped)
	close(known)
	close(listed)
	gone := &objectCache{synced: make(chan struct{}), stopped: stopped}
	s := &share{accounts: listing{listed}, caches: map[string]*objectCache{"gone": gone, "main": {synced: known, stopped: make(chan struct{})}}}
	if err := s.WaitForSync(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.wait(t.Context(), "main"); err != nil {
		t.Error(err)
	}
	if err := s.wait(t.Context(), "gone"); err == nil {
		t.Error("the account is served without its objects")
	}
}
