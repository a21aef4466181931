// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/budget"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/fleet"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/sid"
)

// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions,resourceNames=phonenumberaddonassignments.addons.twilio-operator.dev;twilioaccounts.addons.twilio-operator.dev,verbs=get

const (
	// heldEvery is how often the numbers that an account's objects hold are counted anew.
	heldEvery = 10 * time.Second
	// crdEvery is for how long it is enough to know that no CRD was being deleted, where no
	// object is being deleted either.
	crdEvery = 5 * time.Second
)

// brake lets objects remove add-ons as far as the removal budget of their account allows.
// What package budget decides it persists in status.removals of every TwilioAccount of the
// account SID before anybody acts on it.
type brake struct {
	client.Client
	live     client.Reader
	events   events.EventRecorder
	fleet    *fleet.Fleet
	accounts *queue
	started  time.Time

	mu sync.Mutex
	// budgets holds one for each account SID.
	budgets map[string]*removals
	// unseen holds, by TwilioAccount, the objects with work left at the start that were not
	// reconciled yet: which of them asked before is not known.
	unseen map[string]sets.Set[types.NamespacedName]
	// resumed is since when an account SID is served that was not at the start.
	resumed map[string]time.Time
	// crdChecked is when no CRD was being deleted.
	crdChecked time.Time
}

// removals is the demand on one budget, and the last decision about it.
type removals struct {
	mu       sync.Mutex
	demands  map[types.NamespacedName]budget.Demand
	decision budget.Decision
	// withdrawn is when a demand that was not granted last ended.
	withdrawn time.Time
	// written is the newest version known of each TwilioAccount, until the cache has it.
	written map[string]*v1alpha1.TwilioAccount
	held    int
	counted time.Time
}

func newBrake(cl client.Client, live client.Reader, recorder events.EventRecorder, members *fleet.Fleet, accounts *queue) *brake {
	return &brake{
		Client: cl, live: live, events: recorder, fleet: members, accounts: accounts, started: time.Now(),
		budgets: map[string]*removals{}, unseen: map[string]sets.Set[types.NamespacedName]{},
		resumed: map[string]time.Time{},
	}
}

func (b *brake) of(account v1alpha1.AccountSID) *removals {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := sid.Normalize(account)
	if b.budgets[key] == nil {
		b.budgets[key] = &removals{
			demands: map[types.NamespacedName]budget.Demand{}, withdrawn: b.begun(key), written: map[string]*v1alpha1.TwilioAccount{},
		}
	}
	return b.budgets[key]
}

// begun is when this process began to serve an account SID: it may not know yet who asks.
func (b *brake) begun(account string) time.Time {
	if at, resumed := b.resumed[account]; resumed {
		return at
	}
	return b.started
}

// resume notes that this process serves an account SID from now on, not since its start.
func (b *brake) resume(account v1alpha1.AccountSID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.resumed[sid.Normalize(account)] = time.Now()
}

// forget drops what is known of a budget that this process no longer decides about.
func (b *brake) forget(account v1alpha1.AccountSID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.budgets, sid.Normalize(account))
}

// expect notes an object that has work left when the process starts to serve its account.
func (b *brake) expect(a *assignment) {
	b.mu.Lock()
	defer b.mu.Unlock()
	name := a.Spec.AccountRef.Name
	if b.unseen[name] == nil {
		b.unseen[name] = sets.New[types.NamespacedName]()
	}
	b.unseen[name].Insert(client.ObjectKeyFromObject(a))
}

// saw notes that the object was reconciled: if it wants to remove anything, it has asked.
func (b *brake) saw(key types.NamespacedName) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, objects := range b.unseen {
		objects.Delete(key)
	}
}

// complete reports whether every object of these accounts that may have asked before the
// start has been reconciled since.
func (b *brake) complete(accounts []v1alpha1.TwilioAccount) bool {
	select {
	case <-b.fleet.Synced():
	default:
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return !slices.ContainsFunc(accounts, func(a v1alpha1.TwilioAccount) bool { return b.unseen[a.Name].Len() > 0 })
}

// request asks for the object's number to lose add-ons. nil: it may, until the grant ends.
// Otherwise it is the outcome of a removal that waits or is held.
func (b *brake) request(ctx context.Context, s *scope) error {
	a := s.object
	deleting, err := b.crdDeleting(ctx, !a.DeletionTimestamp.IsZero())
	if err != nil {
		return err
	}
	r := b.of(s.account.Spec.AccountSID)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !deleting && r.grants(a.Spec.PhoneNumberSID) {
		return nil
	}
	settled := r.pending() == 0
	if _, asked := r.demands[s.key()]; !asked {
		r.demands[s.key()] = budget.Demand{
			Number: a.Spec.PhoneNumberSID, Object: s.key().String(), Since: time.Now(), Held: reasonOf(a) == v1alpha1.ReasonRemovalsHeld,
		}
	}
	// Where many ask, the account decides about all of them at once.
	if settled || deleting {
		if err := b.decide(ctx, r, s.account, deleting); err != nil {
			return err
		}
		if r.grants(a.Spec.PhoneNumberSID) {
			return nil
		}
	}
	b.accounts.add(normal, accountDelay, client.ObjectKeyFromObject(s.account))
	return removalWaitsForBudget(&r.decision)
}

// mayRemove reports whether a grant of the object's number still lasts.
func (b *brake) mayRemove(s *scope) bool {
	r := b.of(s.account.Spec.AccountSID)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.grants(s.object.Spec.PhoneNumberSID)
}

// withdraw ends the demand of an object. It reports whether that one was waiting.
func (b *brake) withdraw(account v1alpha1.AccountSID, key types.NamespacedName) bool {
	r := b.of(account)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.drop(key)
}

// withdrawAll ends the demand of an object that is gone, in whichever account.
func (b *brake) withdrawAll(key types.NamespacedName) {
	b.mu.Lock()
	all := make([]*removals, 0, len(b.budgets))
	for _, r := range b.budgets {
		all = append(all, r)
	}
	b.mu.Unlock()
	for _, r := range all {
		r.mu.Lock()
		r.drop(key)
		r.mu.Unlock()
	}
	b.saw(key)
}

// evaluate decides about all demands of the account, persists the decision, and makes due
// the objects that it concerns. The account at hand is brought up to date.
func (b *brake) evaluate(ctx context.Context, account *v1alpha1.TwilioAccount) (budget.Decision, error) {
	r := b.of(account.Spec.AccountSID)
	if r.asked() == 0 && apiequality.Semantic.DeepEqual(account.Status.Removals, v1alpha1.RemovalsStatus{}) {
		return budget.Decision{}, nil
	}
	deleting, err := b.crdDeleting(ctx, true)
	if err != nil {
		return budget.Decision{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.decision
	if err := b.decide(ctx, r, account, deleting); err != nil {
		return budget.Decision{}, err
	}
	if written := r.written[account.Name]; written != nil {
		*account = *written.DeepCopy()
	}
	for key, demand := range r.demands {
		if r.grants(demand.Number) || before.State.Hold != r.decision.State.Hold || before.ObjectMessage != r.decision.ObjectMessage {
			b.fleet.ScheduleNow(key)
		}
	}
	return r.decision, nil
}

// decide makes a decision and persists what must be on record before it is acted on. If an
// account has changed meanwhile, it decides again on what the API server has.
func (b *brake) decide(ctx context.Context, r *removals, account *v1alpha1.TwilioAccount, crdDeleting bool) error {
	for range 3 {
		if err := b.tryToDecide(ctx, r, account, crdDeleting); !errors.Is(err, errAccountChanged) {
			return err
		}
	}
	return stale()
}

// errAccountChanged says that an account is not as it was when the decision was made.
var errAccountChanged = errors.New("the account has changed")

func (b *brake) tryToDecide(ctx context.Context, r *removals, account *v1alpha1.TwilioAccount, crdDeleting bool) error {
	accounts, err := b.accountsOf(ctx, r, account)
	if err != nil {
		return err
	}
	in := budget.Input{
		Now: time.Now(), Fleet: b.heldBy(r, accounts), Complete: b.complete(accounts), Withdrawn: r.withdrawn, CRDDeleting: crdDeleting,
	}
	for i := range accounts {
		in.Accounts = append(in.Accounts, budget.Account{
			Name: accounts[i].Name, Spec: accounts[i].Spec.RemovalBudget, State: accounts[i].Status.Removals,
			Approve: accounts[i].Annotations[v1alpha1.AnnotationApproveRemovals],
		})
	}
	for _, demand := range r.demands {
		in.Demands = append(in.Demands, demand)
	}
	next := budget.Decide(in)
	if next.Changed || next.Figures {
		if err := b.persist(ctx, r, accounts, next.State); err != nil {
			return err
		}
	}
	b.accept(r, accounts, next)
	return nil
}

// accept makes a persisted decision the one that counts, and tells of what is new in it.
func (b *brake) accept(r *removals, accounts []v1alpha1.TwilioAccount, next budget.Decision) {
	r.decision = next
	for key, demand := range r.demands {
		demand.Held = next.State.Hold != "" && !next.Grants(demand.Number)
		r.demands[key] = demand
	}
	if next.Event != nil {
		kind := corev1.EventTypeNormal
		if next.Event.Warning {
			kind = corev1.EventTypeWarning
		}
		for i := range accounts {
			b.events.Eventf(&accounts[i], nil, kind, next.Event.Reason, "Removals", "%s", truncateBytes(next.Event.Message, maxNote))
		}
	}
}

// accountsOf returns the TwilioAccounts of the account SID, by name, each at least as new
// as this process's own last write to it.
func (b *brake) accountsOf(ctx context.Context, r *removals, account *v1alpha1.TwilioAccount) ([]v1alpha1.TwilioAccount, error) {
	all, err := accountsOfSID(ctx, b.Client, account)
	if err != nil {
		return nil, err
	}
	var accounts []v1alpha1.TwilioAccount
	for i := range all {
		found := &all[i]
		if written := r.written[found.Name]; written != nil && written.UID == found.UID {
			if fleet.IsOlder(found.ResourceVersion, written.ResourceVersion) {
				found = written.DeepCopy()
			} else {
				delete(r.written, found.Name)
			}
		}
		accounts = append(accounts, *found)
	}
	slices.SortFunc(accounts, func(x, y v1alpha1.TwilioAccount) int { return cmp.Compare(x.Name, y.Name) })
	return accounts, nil
}

// persist writes status.removals of every account. If one write fails, nothing is granted;
// what the others hold is counted at the most.
func (b *brake) persist(ctx context.Context, r *removals, accounts []v1alpha1.TwilioAccount, state v1alpha1.RemovalsStatus) error {
	for i := range accounts {
		base := accounts[i].DeepCopy()
		accounts[i].Status.Removals = *state.DeepCopy()
		if apiequality.Semantic.DeepEqual(base.Status, accounts[i].Status) {
			continue
		}
		err := b.Status().Patch(ctx, &accounts[i], client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
		if apierrors.IsConflict(err) {
			if err := b.refresh(ctx, r, base); err != nil {
				return err
			}
			return errAccountChanged
		} else if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("recording what may be removed: %w", err)
		}
		r.written[accounts[i].Name] = accounts[i].DeepCopy()
	}
	return nil
}

// refresh reads an account from the API server, where the cache is behind. It lists by name,
// because the operator may list accounts anyway, and needs no right to get one.
func (b *brake) refresh(ctx context.Context, r *removals, account *v1alpha1.TwilioAccount) error {
	var current v1alpha1.TwilioAccountList
	if err := b.live.List(ctx, &current, client.MatchingFields{metav1.ObjectNameField: account.Name}); err != nil {
		return fmt.Errorf("reading TwilioAccount %s: %w", account.Name, err)
	}
	if len(current.Items) == 0 {
		delete(r.written, account.Name) // it is gone, which the cache shows in a moment
		return nil
	}
	r.written[account.Name] = &current.Items[0]
	return nil
}

// heldBy is how many numbers the objects of the accounts hold.
func (b *brake) heldBy(r *removals, accounts []v1alpha1.TwilioAccount) int {
	if time.Since(r.counted) < heldEvery {
		return r.held
	}
	names := sets.New[string]()
	for i := range accounts {
		names.Insert(accounts[i].Name)
	}
	r.held, r.counted = b.fleet.CountHeld(names.Has), time.Now()
	return r.held
}

// crdDeleting reports whether one of the operator's CRDs is being deleted, and with it
// every object. With fresh it is read from the API server, because it has to be known
// before the first of these objects is cleaned up.
func (b *brake) crdDeleting(ctx context.Context, fresh bool) (bool, error) {
	b.mu.Lock()
	known := !fresh && time.Since(b.crdChecked) < crdEvery
	b.mu.Unlock()
	if known {
		return false, nil
	}
	for _, plural := range []string{"phonenumberaddonassignments", "twilioaccounts"} {
		crd := &metav1.PartialObjectMetadata{}
		crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
		err := b.live.Get(ctx, client.ObjectKey{Name: plural + "." + v1alpha1.GroupVersion.Group}, crd)
		if apierrors.IsNotFound(err) || (err == nil && !crd.DeletionTimestamp.IsZero()) {
			return true, nil
		} else if err != nil {
			return false, fmt.Errorf("reading the CRD %s: %w", plural, err)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.crdChecked = time.Now()
	return false, nil
}

func (r *removals) grants(number v1alpha1.PhoneNumberSID) bool {
	return r.decision.Grants(number) && time.Now().Before(r.decision.GrantedUntil)
}

// drop ends the demand of an object. It reports whether that one was waiting.
func (r *removals) drop(key types.NamespacedName) (waited bool) {
	demand, asked := r.demands[key]
	delete(r.demands, key)
	waited = asked && !r.grants(demand.Number)
	if waited {
		r.withdrawn = time.Now()
	}
	return waited
}

// asked is how many objects ask.
func (r *removals) asked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.demands)
}

// pending is how many demands are not granted.
func (r *removals) pending() int {
	n := 0
	for _, demand := range r.demands {
		if !r.grants(demand.Number) {
			n++
		}
	}
	return n
}

// removalWaitsForBudget is the outcome of a removal that is not granted.
func removalWaitsForBudget(d *budget.Decision) *outcome {
	if d.State.Hold != "" {
		return newOutcome(v1alpha1.ReasonRemovalsHeld, "%s", d.ObjectMessage)
	}
	message := d.ObjectMessage
	if message == "" {
		message = textBudgetChecked
	}
	return &outcome{kind: kindWaiting, reason: v1alpha1.ReasonProgressing, message: message}
}
