// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// comeToRest looks at the rest until it is one: what a fault had said may still be corrected
// once. What does not come to rest at all is reported.
func (r *run) comeToRest(ctx context.Context) (wrong []error) {
	for range 3 {
		if wrong = r.undisturbedRest(ctx); len(wrong) == 0 {
			break
		}
	}
	return wrong
}

// undisturbedRest looks at the rest again if the manager ended meanwhile, for example because
// a busy machine kept it from renewing its lease.
func (r *run) undisturbedRest(ctx context.Context) (wrong []error) {
	for range 5 {
		before := r.selfEnded()
		if wrong = r.rest(ctx); len(wrong) == 0 || r.selfEnded() == before {
			break
		}
	}
	return wrong
}

// selfEnded is how many managers ended though nobody meant them to.
func (r *run) selfEnded() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts["managers that ended by themselves"]
}

// restFor is so many intervals.
const restFor = 4

// rest looks at some intervals in which nothing happens: nothing may change, and each number
// is listed once an interval.
func (r *run) rest(ctx context.Context) []error {
	before, err := r.scene(ctx)
	if err != nil {
		return []error{err}
	}
	calls := r.sim.Calls()
	began := time.Now()
	time.Sleep(restFor * resync) // this is the time in which nothing may happen, not a wait for something
	took := time.Since(began)
	after, err := r.scene(ctx)
	if err != nil {
		return []error{err}
	}
	return append(r.changed(before, after), r.called(before, calls, r.sim.Calls(), took)...)
}

func (r *run) changed(before, after *scene) []error {
	var wrong []error
	versions := map[types.UID]*v1alpha1.PhoneNumberAddOnAssignment{}
	for i := range after.objects {
		versions[after.objects[i].UID] = &after.objects[i]
	}
	for i := range before.objects {
		a := &before.objects[i]
		b := versions[a.UID]
		if b == nil || (b.ResourceVersion != a.ResourceVersion && !onlyRetried(a, b)) {
			wrong = append(wrong, fmt.Errorf("at rest %s/%s was written to: its status was %s and is %s", a.Namespace, a.Name, inJSON(a), inJSON(b)))
		}
	}
	return wrong
}

// onlyRetried says whether an object was written to only because Twilio was asked again for
// an add-on that it rejects: that goes on record before and after, and nothing else changes.
func onlyRetried(before, after *v1alpha1.PhoneNumberAddOnAssignment) bool {
	ready := meta.FindStatusCondition(before.Status.Conditions, v1alpha1.ConditionReady)
	a, b := before.Status.DeepCopy(), after.Status.DeepCopy()
	a.AddOns, b.AddOns = nil, nil
	return ready != nil && ready.Reason == v1alpha1.ReasonAddOnRejected && before.Generation == after.Generation && equality.Semantic.DeepEqual(a, b)
}

func inJSON(a *v1alpha1.PhoneNumberAddOnAssignment) string {
	if a == nil {
		return "gone"
	}
	text, _ := json.Marshal(a.Status) // a status can always be encoded
	return string(text)
}

// called checks the calls at rest: for a settled number its list and nothing else, and for
// one whose objects may not ask, or know that they would be refused, none at all.
func (r *run) called(s *scene, before, after twiliosim.Calls, took time.Duration) []error {
	var wrong []error
	most := int(took/resync) + 2
	for i := range s.objects {
		a := &s.objects[i]
		number := string(a.Spec.PhoneNumberSID)
		delta := func(op twiliosim.Operation) int { return after.Of(op, number).Calls - before.Of(op, number).Calls }
		lists, all := delta(twiliosim.OpList), delta(twiliosim.OpAny)
		settled, silent := s.settled(a), s.silent(number)
		pages := 1
		if size := r.sim.Behaviour().MaxPageSize; size > 0 {
			pages = max(1, (len(s.sites[a.Spec.AccountRef.Name].numbers[number])+size-1)/size)
		}
		if (settled && (lists < pages || lists > most*pages || all != lists)) || (silent && all > 0) {
			wrong = append(wrong, fmt.Errorf("at rest %s (%s) was listed %d times in %s and called %d times in all",
				short(number), s.reasonFor(a), lists, took.Round(time.Millisecond), all))
		}
	}
	return wrong
}

// settled says whether an object owns its number and has nothing to complain of.
func (s *scene) settled(a *v1alpha1.PhoneNumberAddOnAssignment) bool {
	reason := s.reasonFor(a)
	return s.owns(a) && (reason == v1alpha1.ReasonSynced || reason == v1alpha1.ReasonObserved)
}

// silent says whether no object for a number may call Twilio, or would be heard.
func (s *scene) silent(number string) bool {
	return !slices.ContainsFunc(s.objects, func(a v1alpha1.PhoneNumberAddOnAssignment) bool {
		if !sameSID(string(a.Spec.PhoneNumberSID), number) {
			return false
		}
		switch s.reasonFor(&a) {
		case v1alpha1.ReasonSuspended, v1alpha1.ReasonAccountNotFound, v1alpha1.ReasonNamespaceNotAllowed,
			v1alpha1.ReasonCredentialsInvalid, v1alpha1.ReasonPhoneNumberConflict, v1alpha1.ReasonProgressing:
			return false
		}
		return true
	})
}

// leaks searches for credentials wherever the operator writes, and for panics.
func (r *run) leaks(ctx context.Context) ([]error, error) {
	texts := map[string]string{}
	for _, m := range r.members() {
		log, err := m.process.Output()
		if err != nil {
			return nil, err
		}
		texts["the log of "+m.name] = log
	}
	var events eventsv1.EventList
	var objects v1alpha1.PhoneNumberAddOnAssignmentList
	var accounts v1alpha1.TwilioAccountList
	if err := errors.Join(r.env.Client.List(ctx, &events), r.env.Client.List(ctx, &objects), r.env.Client.List(ctx, &accounts)); err != nil {
		return nil, err
	}
	for name, list := range map[string]any{"the events": events, "the assignments": objects, "the accounts": accounts} {
		text, err := json.Marshal(list)
		if err != nil {
			return nil, err
		}
		texts[name] = string(text)
	}
	for _, c := range r.crews {
		if text, err := testenv.Get(ctx, "http://"+c.current.metrics+"/metrics"); err == nil {
			texts["the metrics of "+c.current.name] = text
		}
	}
	var wrong []error
	for where, text := range texts {
		for _, word := range append([]string{twiliosim.ConfigurationSecret, "panic:", "Observed a panic"}, r.passwords...) {
			if at := strings.Index(text, word); at >= 0 {
				wrong = append(wrong, fmt.Errorf("%s has %q: …%s…", where, word, text[max(0, at-100):min(len(text), at+200)]))
			}
		}
	}
	return wrong, nil
}
