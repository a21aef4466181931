// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// receipt is how much later than a write its event may be seen here.
const receipt = 250 * time.Millisecond

// recorder notes all that happens in a run, for the model to judge it afterwards: every
// version of every object as a watch of its own sees it, and what the steps did.
type recorder struct {
	mu      sync.Mutex
	sighted []sighting
	force   map[types.UID]time.Time
	strip   map[types.UID]time.Time
	stop    context.CancelFunc // of the watch
	rooms   []room
	spans   []span
	calls   []call
	words   []approval
}

// sighting is one event of the watch, or one version that a write of ours made.
type sighting struct {
	// at is when it was seen; since is the earliest time at which it may have been so.
	at, since  time.Time
	assignment *v1alpha1.PhoneNumberAddOnAssignment
	account    *v1alpha1.TwilioAccount
	gone       bool
}

func newRecorder() *recorder {
	return &recorder{force: map[types.UID]time.Time{}, strip: map[types.UID]time.Time{}}
}

// wrote notes the version that a write of ours made, which began at a time.
func (e *recorder) wrote(a *v1alpha1.PhoneNumberAddOnAssignment, began time.Time) {
	e.see(sighting{assignment: a.DeepCopy(), since: began})
}

func (e *recorder) forced(uid types.UID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.force[uid] = time.Now()
}

// stripped notes that somebody replaced an object without its finalizer.
func (e *recorder) stripped(uid types.UID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.strip[uid] = time.Now()
}

func (e *recorder) namespace(name string, allowed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rooms = append(e.rooms, room{Name: name, Allowed: allowed, From: time.Now()})
}

func (e *recorder) stale(from, until time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.spans = append(e.spans, span{from, until})
}

// approved notes that somebody approved what an account held.
func (e *recorder) approved(account, hold string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.words = append(e.words, approval{SID: account, Hold: hold, At: time.Now()})
}

func (e *recorder) called(c call) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls = append(e.calls, c)
}

func (e *recorder) see(s sighting) {
	s.at = time.Now()
	if s.since.IsZero() {
		s.since = s.at.Add(-receipt)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sighted = append(e.sighted, s)
}

// follow watches both kinds until ctx ends, or until it is called again. What the new watch
// begins with may have been so since blind, when the one before it broke.
func (e *recorder) follow(ctx context.Context, env *testenv.Env, blind time.Time) error {
	if e.stop != nil {
		e.stop()
	}
	ctx, e.stop = context.WithCancel(ctx)
	cache, err := ctrlcache.New(env.Config, ctrlcache.Options{Scheme: env.Client.Scheme()})
	if err != nil {
		return fmt.Errorf("making the recorder's cache: %w", err)
	}
	for _, object := range []client.Object{&v1alpha1.PhoneNumberAddOnAssignment{}, &v1alpha1.TwilioAccount{}} {
		informer, err := cache.GetInformer(ctx, object, ctrlcache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("watching for the record: %w", err)
		}
		_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerDetailedFuncs{
			AddFunc: func(object any, isInInitialList bool) {
				since := time.Time{}
				if isInInitialList {
					since = blind
				}
				e.event(object, since, false)
			},
			UpdateFunc: func(_, object any) { e.event(object, time.Time{}, false) },
			DeleteFunc: func(object any) { e.event(object, time.Time{}, true) },
		})
		if err != nil {
			return fmt.Errorf("watching for the record: %w", err)
		}
	}
	go func() { _ = cache.Start(ctx) }()
	if !cache.WaitForCacheSync(ctx) {
		return errors.New("the record's watch does not begin")
	}
	return e.missed(ctx, cache)
}

// missed notes what went while nobody watched.
func (e *recorder) missed(ctx context.Context, cache ctrlcache.Cache) error {
	var objects v1alpha1.PhoneNumberAddOnAssignmentList
	var accounts v1alpha1.TwilioAccountList
	if err := errors.Join(cache.List(ctx, &objects), cache.List(ctx, &accounts)); err != nil {
		return err
	}
	there := map[types.UID]bool{}
	for i := range objects.Items {
		there[objects.Items[i].UID] = true
	}
	for i := range accounts.Items {
		there[accounts.Items[i].UID] = true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	known, gone := map[types.UID]sighting{}, map[types.UID]bool{}
	for _, s := range e.sighted {
		known[s.uid()] = s
		gone[s.uid()] = gone[s.uid()] || s.gone // a version that we wrote may be noted after the end
	}
	for uid, s := range known {
		if !gone[uid] && !there[uid] {
			s.gone, s.at = true, time.Now()
			e.sighted = append(e.sighted, s)
		}
	}
	return nil
}

func (s sighting) uid() types.UID {
	if s.account != nil {
		return s.account.UID
	}
	return s.assignment.UID
}

// revision orders the versions of an object.
func (s sighting) revision() uint64 {
	var o client.Object = s.account
	if s.assignment != nil {
		o = s.assignment
	}
	n, _ := strconv.ParseUint(o.GetResourceVersion(), 10, 64) // what the API server gives is a number
	return n
}

func (e *recorder) event(object any, since time.Time, gone bool) {
	if last, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
		object = last.Obj
	}
	switch o := object.(type) {
	case *v1alpha1.PhoneNumberAddOnAssignment:
		e.see(sighting{assignment: o, since: since, gone: gone})
	case *v1alpha1.TwilioAccount:
		e.see(sighting{account: o, since: since, gone: gone})
	}
}

// history is what the model judges: the record of a run that has ended.
func (e *recorder) history(journal []twiliosim.Mutation, requests []testenv.APIRequest, members []*member) *history {
	e.mu.Lock()
	defer e.mu.Unlock()
	h := &history{Journal: journal, Rooms: slices.Clone(e.rooms), Calls: slices.Clone(e.calls), Approvals: slices.Clone(e.words)}
	slices.SortStableFunc(h.Calls, func(a, b call) int { return a.At.Compare(b.At) })
	h.Lives = e.lives(writesOf(requests))
	h.Accounts = e.accounts(requests)
	h.Allowances = e.allowances()
	h.Checks = checksOf(requests)
	h.Managers = managersOf(members, requests, e.spans)
	h.Tenures = e.tenures(writesOf(requests))
	return h
}

// ordered are the sightings in the order of the versions; of one version the first.
func (e *recorder) ordered() []sighting {
	all := slices.Clone(e.sighted)
	slices.SortStableFunc(all, func(a, b sighting) int {
		return cmp.Or(no(a.gone)-no(b.gone), cmp.Compare(a.revision(), b.revision()))
	})
	return slices.CompactFunc(all, func(a, b sighting) bool {
		return a.uid() == b.uid() && a.gone == b.gone && (a.gone || a.revision() == b.revision())
	})
}

// writesOf is when the managers began the write that made each version, by resourceVersion.
// A write that changes nothing answers with a version that was there; the first one counts.
func writesOf(requests []testenv.APIRequest) map[string]time.Time {
	writes := map[string]time.Time{}
	for _, q := range requests {
		if began, known := writes[q.Version]; ours(q) && q.Version != "" && (!known || q.Start.Before(began)) {
			writes[q.Version] = q.Start
		}
	}
	return writes
}

// written is the earliest time at which a version may have been there: when a manager began
// the write that made it, if one did, however late its event was.
func (s sighting) written(writes map[string]time.Time) time.Time {
	if began, ok := writes[strconv.FormatUint(s.revision(), 10)]; ok {
		return earlier(s.since, began)
	}
	return s.since
}

// releasedBy is when the write began that let an account go: the last that a manager made
// to it. Its event may be seen much later.
func releasedBy(requests []testenv.APIRequest, name string, from, seen time.Time) time.Time {
	released := seen
	for _, q := range requests {
		if q.Resource == "twilioaccounts" && q.Name == name && q.Writes() && (q.Status == 200 || q.Fault == testenv.APILost) && !q.Start.Before(from) && q.Start.Before(seen) {
			released = q.Start
		}
	}
	return released
}

func (e *recorder) lives(writes map[string]time.Time) []life {
	index := map[types.UID]int{}
	var lives []life
	for _, s := range e.ordered() {
		if s.assignment == nil {
			continue
		}
		a := s.assignment
		at, known := index[a.UID]
		if !known {
			at = len(lives)
			index[a.UID] = at
			lives = append(lives, life{UID: string(a.UID), Key: a.Namespace + "/" + a.Name, Created: a.CreationTimestamp.Time, Forced: e.force[a.UID], Stripped: e.strip[a.UID]})
		}
		l := &lives[at]
		if !l.Gone.IsZero() {
			continue
		}
		if n := len(l.Versions); n > 0 {
			l.Versions[n-1].Until = s.at
		}
		if s.gone {
			l.Gone = s.at
			continue
		}
		v := versionOf(a)
		v.From, v.Seen = s.written(writes), s.at
		l.Versions = append(l.Versions, v)
	}
	return lives
}

func versionOf(a *v1alpha1.PhoneNumberAddOnAssignment) version {
	v := version{
		Number: string(a.Spec.PhoneNumberSID), Account: a.Spec.AccountRef.Name,
		Policy: a.Spec.ManagementPolicy, Deletion: a.Spec.DeletionPolicy, Suspend: a.Spec.Suspend,
		Deleting:  !a.DeletionTimestamp.IsZero(),
		Finalizer: controllerutil.ContainsFinalizer(a, v1alpha1.FinalizerUnassign),
		Found:     a.Status.AccountSID != "",
		Claim:     a.Status.Claim,
		Until:     forever,
		Records:   a.Status.AddOns,
	}
	if a.Status.ObservedGeneration < 0 {
		v.Records = intended(a)
	}
	for _, sid := range a.Spec.AddOnSIDs {
		v.AddOns = append(v.AddOns, string(sid))
	}
	if ready := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
		v.Reason = ready.Reason
	}
	inSync := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionInSync)
	v.Exact = v.Policy == v1alpha1.ManagementAuthoritative && inSync != nil && inSync.Status == metav1.ConditionTrue &&
		inSync.ObservedGeneration == a.Generation && a.Status.ObservedGeneration == a.Generation
	return v
}

func (e *recorder) accounts(requests []testenv.APIRequest) []accountVersion {
	var all []accountVersion
	last := map[string]int{} // where an account's latest version is, by UID
	for _, s := range e.ordered() {
		if s.account == nil {
			continue
		}
		uid := string(s.account.UID)
		if at, ok := last[uid]; ok {
			if !s.gone {
				continue // nothing changes in its spec
			}
			all[at].Until = s.at
			all[at].Released = releasedBy(requests, s.account.Name, all[at].From, s.at)
			continue
		}
		last[uid] = len(all)
		all = append(all, accountVersion{
			Name: s.account.Name, SID: string(s.account.Spec.AccountSID), From: s.since, Until: forever, Released: forever,
			Forced: !e.force[s.account.UID].IsZero(),
		})
	}
	return all
}

// allowances are what each TwilioAccount allowed, from one version to the next.
func (e *recorder) allowances() []allowance {
	var all []allowance
	last := map[types.UID]int{} // where an account's latest version is
	for _, s := range e.ordered() {
		if s.account == nil {
			continue
		}
		if at, ok := last[s.account.UID]; ok {
			all[at].Until = s.at
		}
		if !s.gone {
			last[s.account.UID] = len(all)
			a := allowanceOf(s.account)
			a.From = s.since
			all = append(all, a)
		}
	}
	return all
}

// checksOf are the requests by which a manager made sure of the version of an object: it
// read it past its cache, or wrote to it under an optimistic lock. What a manager wrote as it
// died may have been carried out, though it got no answer.
func checksOf(requests []testenv.APIRequest) []check {
	var all []check
	for _, q := range requests {
		resource, _, _ := strings.Cut(q.Resource, "/") // status is written under the lock too
		unanswered := q.Fault == testenv.APILost || (q.Fault == testenv.APIFine && q.Status == 0 && q.Writes())
		if resource != "phonenumberaddonassignments" || q.Name == "" || (q.Status != 200 && !unanswered) {
			continue
		}
		all = append(all, check{Key: q.Namespace + "/" + q.Name, By: q.By, At: q.Start})
	}
	slices.SortStableFunc(all, func(a, b check) int { return a.At.Compare(b.At) })
	return all
}

// managersOf says when each manager lived, and when its caches may have been behind.
func managersOf(members []*member, requests []testenv.APIRequest, everybody []span) []manager {
	var all []manager
	for _, m := range members {
		ended := forever
		if !m.ended.IsZero() {
			ended = m.ended.Add(lag) // what it had sent before may still be under way
		}
		one := manager{Name: m.name, Lease: m.lease, Alive: span{m.began, ended}, Behind: slices.Concat(everybody, m.pauses), Paused: m.pauses}
		one.Behind = append(one.Behind, gaps(m.name, requests)...)
		all = append(all, one)
	}
	return all
}

// gaps are the times between the watches of a manager, for each that it keeps. The one of the
// objects that nobody serves, which excludes the others by name, counts for nothing.
func gaps(by string, requests []testenv.APIRequest) []span {
	type kept struct{ resource, selector string }
	watches := map[kept][]span{}
	for _, q := range requests {
		if q.By == by && q.Watch && q.Status == 200 && !strings.Contains(q.Selector, "!=") {
			watches[kept{q.Resource, q.Selector}] = append(watches[kept{q.Resource, q.Selector}], span{q.Start, q.End})
		}
	}
	var all []span
	for _, list := range watches {
		slices.SortFunc(list, func(a, b span) int { return a.From.Compare(b.From) })
		for i := 1; i < len(list); i++ {
			if list[i].From.After(list[i-1].Until) {
				all = append(all, span{list[i-1].Until, list[i].From})
			}
		}
	}
	return all
}

func sameSID(a, b string) bool { return strings.EqualFold(a, b) }

// intended are the add-ons of which an object wrote down, before its first status, that it
// was about to assign them.
func intended(a *v1alpha1.PhoneNumberAddOnAssignment) []v1alpha1.AddOnStatus {
	var records []v1alpha1.AddOnStatus
	sids, _ := strings.CutPrefix(a.Annotations[v1alpha1.AnnotationAssigning], string(a.UID))
	for sid := range strings.FieldsSeq(sids) {
		records = append(records, v1alpha1.AddOnStatus{SID: v1alpha1.AddOnSID(sid), State: v1alpha1.AddOnAssigning, Ownership: v1alpha1.OwnershipCreated})
	}
	return records
}
