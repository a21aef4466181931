// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// contention is what happens to several objects that name one number, and to what holds
// them: finalizers, labels, Secrets.
func contention() []action {
	return []action{
		{"flapping", 3, makeFlapping},
		{"triple", 4, makeTriple},
		{"stripped", 3, makeStripped},
		{"refused-swap", 4, makeRefusedSwap},
		{"secret-first", 1, makeSecretFirst},
		{"long-release", 1, makeLongRelease},
		{"wrong-url", 1, makeWrongURL},
	}
}

// trio are slots that share a number.
var trio = []slot{slots[0], slots[5], slots[9]}

// makeFlapping takes from a namespace the right to use the accounts, and gives it back,
// several times, while two objects in different namespaces name one number.
func makeFlapping(random *rand.Rand) (string, func(context.Context, *run) error) {
	pair := pairs[random.IntN(len(pairs))]
	if random.IntN(2) == 0 {
		pair[0], pair[1] = pair[1], pair[0]
	}
	rival := newObject(random, pair[1])
	rival.Spec.PhoneNumberSID = v1alpha1.PhoneNumberSID(pair[0].home)
	var waits []time.Duration
	var words []string
	for range 2 + 2*random.IntN(3) {
		wait := time.Duration(random.IntN(1500)) * time.Millisecond
		waits, words = append(waits, wait), append(words, wait.String())
	}
	team := pair[0].key.Namespace
	text := fmt.Sprintf("create %s: %s; namespace %s may not use the accounts, may again, and so on, for %s each",
		pair[1].key, describeSpec(rival), team, strings.Join(words, ", "))
	return text, func(ctx context.Context, r *run) error {
		if err := r.create(ctx, rival); err != nil {
			return err
		}
		for i, wait := range waits {
			r.count(moreEvents)
			if err := r.allow(ctx, team, i%2 == 1); err != nil {
				return err
			}
			time.Sleep(wait)
		}
		return nil
	}
}

// makeTriple creates three objects for one number at once, the one whose name comes last
// first, and deletes all of them in some order, before or after each has said something.
func makeTriple(random *rand.Rand) (string, func(context.Context, *run) error) {
	var objects []*v1alpha1.PhoneNumberAddOnAssignment
	var specs []string
	for _, s := range slices.Backward(trio) {
		a := newObject(random, s)
		a.Spec.PhoneNumberSID = v1alpha1.PhoneNumberSID(trio[0].home)
		objects = append(objects, a)
		specs = append(specs, fmt.Sprintf("%s: %s;", s.key, describeSpec(a)))
	}
	orderOf := random.Perm(len(objects))
	patience, between := time.Duration(random.IntN(3))*time.Second, time.Duration(random.IntN(3)*random.IntN(400))*time.Millisecond
	keys := make([]string, 0, len(objects))
	for _, i := range orderOf {
		keys = append(keys, client.ObjectKeyFromObject(objects[i]).String())
	}
	words := fmt.Sprintf("create %s when each has said something, or after %s, delete %s", strings.Join(specs, " "), patience, strings.Join(keys, " "))
	words += fmt.Sprintf(", %s apart", between)
	return words, func(ctx context.Context, r *run) error {
		for _, a := range objects {
			r.count(moreEvents)
			if err := r.create(ctx, a); err != nil {
				return err
			}
		}
		_ = testenv.Wait(ctx, patience, "each has said something", func() error { return r.haveSpoken(ctx, objects) })
		for _, i := range orderOf {
			r.count(moreEvents)
			if err := r.delete(ctx, client.ObjectKeyFromObject(objects[i])); err != nil {
				return err
			}
			time.Sleep(between)
		}
		return nil
	}
}

// haveSpoken is nil once each of some objects has a Ready condition that is no work left.
func (r *run) haveSpoken(ctx context.Context, objects []*v1alpha1.PhoneNumberAddOnAssignment) error {
	for _, o := range objects {
		var a v1alpha1.PhoneNumberAddOnAssignment
		if err := r.env.Client.Get(ctx, client.ObjectKeyFromObject(o), &a); err != nil {
			return err
		}
		if ready := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady); ready == nil || ready.Reason == v1alpha1.ReasonProgressing {
			return fmt.Errorf("%s has not", client.ObjectKeyFromObject(o))
		}
	}
	return nil
}

// makeStripped replaces an object by one without the operator's finalizer and annotations,
// as kubectl replace does, and a little later perhaps deletes it.
func makeStripped(random *rand.Rand) (string, func(context.Context, *run) error) {
	s := anySlot(random)
	wait, deleted := time.Duration(random.IntN(2500))*time.Millisecond, random.IntN(3) == 0
	words := fmt.Sprintf("replace %s without its finalizer", s.key)
	if deleted {
		words += fmt.Sprintf(", and delete it %s later", wait)
	}
	return words, func(ctx context.Context, r *run) error {
		err := edit(s, func(a *v1alpha1.PhoneNumberAddOnAssignment) {
			if !a.DeletionTimestamp.IsZero() {
				return // to take it away then is a deletion by force
			}
			r.events.stripped(a.UID)
			a.Finalizers = nil
			if a.Status.ObservedGeneration >= 0 {
				a.Annotations = nil // before the first status they are the record; see docs/reliability.md
			}
		})(ctx, r)
		if err != nil || !deleted {
			return err
		}
		time.Sleep(wait)
		return r.delete(ctx, s.key)
	}
}

// makeRefusedSwap has an object list an add-on that is not installed in place of all others:
// what is there is to stay until somebody corrects the list.
func makeRefusedSwap(random *rand.Rand) (string, func(context.Context, *run) error) {
	s, list := anySlot(random), []string{twiliosim.SID("XE", 99)}
	corrected := someAddOns(random, s.site)
	if random.IntN(2) == 0 {
		list = append(list, corrected...)
	}
	words := fmt.Sprintf("edit %s: list %s, of which one is not installed", s.key, shorts(list))
	return mended(random, words, edit(s, func(a *v1alpha1.PhoneNumberAddOnAssignment) {
		a.Spec.AddOnSIDs = addOnSIDs(list)
	}), edit(s, func(a *v1alpha1.PhoneNumberAddOnAssignment) { a.Spec.AddOnSIDs = addOnSIDs(corrected) }))
}

// makeSecretFirst deletes everything of an account as one application, the Secret first.
func makeSecretFirst(random *rand.Rand) (string, func(context.Context, *run) error) {
	s := anySite(random)
	return mended(random, fmt.Sprintf("delete the Secret of %s, and then the account and all its objects", s.name), func(ctx context.Context, r *run) error {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: s.secret, Namespace: testenv.Namespace}}
		account := &v1alpha1.TwilioAccount{ObjectMeta: metav1.ObjectMeta{Name: s.name}}
		for _, o := range []client.Object{secret, account} {
			if err := client.IgnoreNotFound(r.env.Client.Delete(ctx, o)); err != nil {
				return err
			}
		}
		for _, slot := range slots {
			if slot.site.name != s.name {
				continue
			}
			r.count(moreEvents)
			if err := r.delete(ctx, slot.key); err != nil {
				return err
			}
		}
		return nil
	}, func(ctx context.Context, r *run) error {
		return errors.Join(restoreAccounts(ctx, r), restoreSecrets(ctx, r))
	})
}

// makeLongRelease releases a number for longer than the operator takes to believe it, if
// the run lasts that long.
func makeLongRelease(random *rand.Rand) (string, func(context.Context, *run) error) {
	const away = 65 * time.Second
	number, _ := anyPair(random)
	return fmt.Sprintf("console: release %s for %s", short(number), away), func(_ context.Context, r *run) error {
		r.noted(r.sim.ReleaseNumber(number))
		r.chores = append(r.chores, chore{due: time.Now().Add(away), do: repairAll})
		return nil
	}
}

// makeWrongURL gives an account an address under which every number answers 404.
func makeWrongURL(random *rand.Rand) (string, func(context.Context, *run) error) {
	s, wait := anySite(random), time.Duration(1+random.IntN(8))*time.Second
	return fmt.Sprintf("the apiBaseURL of %s is wrong for %s", s.name, wait), func(ctx context.Context, r *run) error {
		if err := r.setURL(ctx, s, r.twilioURL+"/2010-04-01"); err != nil {
			return err
		}
		r.later(wait, func() {
			ctx := context.WithoutCancel(ctx)
			err := testenv.Wait(ctx, time.Minute, "the apiBaseURL is right again", func() error { // the API server may be restarting
				return r.setURL(ctx, s, r.twilioURL)
			})
			if err != nil {
				r.found(err)
			}
		})
		return nil
	}
}

func (r *run) setURL(ctx context.Context, s site, url string) error {
	var account v1alpha1.TwilioAccount
	if err := r.env.Client.Get(ctx, client.ObjectKey{Name: s.name}, &account); err != nil {
		return client.IgnoreNotFound(err)
	}
	base := account.DeepCopy()
	account.Spec.APIBaseURL = url
	return client.IgnoreNotFound(r.env.Client.Patch(ctx, &account, client.MergeFrom(base)))
}

// makeKillInHandover has one object wait for the number of another, deletes the owner, and
// kills the manager at one of its next writes to the API server: before or after the write.
func makeKillInHandover(random *rand.Rand) (string, func(context.Context, *run) error) {
	pair := pairs[random.IntN(len(pairs))]
	if random.IntN(2) == 0 {
		pair[0], pair[1] = pair[1], pair[0]
	}
	next, down := newObject(random, pair[1]), time.Duration(random.IntN(1500))*time.Millisecond
	next.Spec.PhoneNumberSID = v1alpha1.PhoneNumberSID(pair[0].home)
	nth, fault := int64(1+random.IntN(5)), []testenv.APIFault{testenv.APIReset, testenv.APILost}[random.IntN(2)]
	both := random.IntN(3) == 0
	words := fmt.Sprintf("create %s: %s; delete %s, kill the manager at its write number %d to an assignment (%s), and start it again after %s",
		pair[1].key, describeSpec(next), pair[0].key, nth, fault, down)
	if both {
		words += fmt.Sprintf("; meanwhile delete %s", pair[1].key)
	}
	return words, func(ctx context.Context, r *run) error {
		if err := r.create(ctx, next); err != nil {
			return err
		}
		_ = testenv.Wait(ctx, 2*time.Second, "each has said something", func() error {
			return r.haveSpoken(ctx, []*v1alpha1.PhoneNumberAddOnAssignment{next})
		})
		reached, stop := r.breakWrite(nth, fault)
		defer stop()
		if err := r.delete(ctx, pair[0].key); err != nil {
			return err
		}
		select {
		case <-reached:
			r.count("kills in a handover")
		case <-time.After(3 * time.Second): // there may be no more writes
		}
		return r.crewOf(pair[0].site).kill(down, func() error {
			if !both {
				return nil
			}
			return r.delete(ctx, pair[1].key)
		})
	}
}

// breakWrite breaks the nth of the next writes to assignments and all that follow, in a way
// that leaves open what became of them. The channel is closed when it has come to that.
func (r *run) breakWrite(nth int64, fault testenv.APIFault) (reached <-chan struct{}, stop func()) {
	var writes atomic.Int64
	at := make(chan struct{})
	turn := r.apiFaults.Add(1) // of several faults the last one counts
	r.proxy.SetFaults(func(req testenv.APIRequest) testenv.APIFault {
		if !strings.HasPrefix(req.Resource, "phonenumberaddonassignments") || !req.Writes() {
			return testenv.APIFine
		}
		switch n := writes.Add(1); {
		case n < nth:
			return testenv.APIFine
		case n == nth:
			close(at)
			return fault
		}
		return testenv.APIReset // the process is as good as dead
	})
	return at, func() {
		if turn == r.apiFaults.Load() {
			r.proxy.SetFaults(nil)
		}
	}
}
