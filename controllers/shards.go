// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/fleet"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/shard"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/sid"
)

const (
	// unclaimedAfter is how long an account must have been without a manager before its
	// status says so.
	unclaimedAfter = 15 * time.Second
	// handoverEvery is how often a manager looks whether another one has let go of an
	// account, or has ended, beside the events that say so.
	handoverEvery = 2 * time.Second
	// drainEvery is how often a manager that lets go of an account looks whether the last
	// reconcile has ended.
	drainEvery = 100 * time.Millisecond
)

// shards is which accounts this manager serves. An account is served from when its status
// names this manager, in a write that no other manager could overtake, until every
// reconcile for it has ended. docs/adr/0012-shards.md has the reasons.
type shards struct {
	client.Client
	live    client.Reader
	manager shard.Manager
	leases  *leases
	// share is the objects of the accounts that the manager selects: nil if it selects all.
	share *share
	// stopped ends what this process does and remembers for the objects of an account.
	stopped func(account *v1alpha1.TwilioAccount, lastOfSID bool)
	// wake makes the objects of an account due.
	wake func(account string)

	prepared  atomic.Bool
	preparing sync.Mutex

	mu       sync.Mutex
	served   map[string]claimed
	inFlight map[string]int
	// stopping are the accounts of which this process still remembers something.
	stopping sets.Set[string]
	// unclaimed is since when an account is without a manager.
	unclaimed map[types.UID]time.Time
}

// claimed is an account that names this manager.
type claimed struct {
	uid types.UID
	sid v1alpha1.AccountSID
	// version is that of the write of the claim, "" if an earlier process made it.
	version string
}

// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=twilio-addon-operator-system,resources=leases,verbs=list

// begin lets a reconcile of an object of an account begin; the caller calls end. end is nil
// if the account is another manager's. unserved is why no manager acts for the object, nil if
// this one does or the account does not exist.
func (s *shards) begin(ctx context.Context, name string) (end func(), unserved *outcome, err error) {
	if err := s.prepare(ctx); err != nil {
		return nil, nil, err
	}
	if s.enter(name) {
		return func() { s.leave(name) }, nil, nil
	}
	var account v1alpha1.TwilioAccount
	if err := s.Get(ctx, client.ObjectKey{Name: name}, &account); apierrors.IsNotFound(err) {
		return func() {}, nil, nil
	} else if err != nil {
		return nil, nil, fmt.Errorf("reading TwilioAccount %s: %w", name, err)
	}
	if unserved = objectUnserved(&account); unserved != nil && s.share != nil {
		return func() {}, unserved, nil
	}
	return nil, nil, nil
}

func (s *shards) enter(account string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, served := s.served[account]; !served {
		return false
	}
	s.inFlight[account]++
	return true
}

func (s *shards) leave(account string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inFlight[account]--; s.inFlight[account] == 0 {
		delete(s.inFlight, account)
	}
}

// prepare runs once, before the first reconcile of this process as a leader. The accounts
// that name this manager already are served without a write: it is read from the API server
// that no other manager took them over before this one got its Lease.
func (s *shards) prepare(ctx context.Context) error {
	if s.prepared.Load() {
		return nil
	}
	s.preparing.Lock()
	defer s.preparing.Unlock()
	if s.prepared.Load() {
		return nil
	}
	if err := s.publish(ctx); err != nil {
		return err
	}
	var list v1alpha1.TwilioAccountList
	if err := s.live.List(ctx, &list); err != nil {
		return fmt.Errorf("listing the accounts: %w", err)
	}
	all := list.Items
	gone, err := s.goneOf(ctx, all)
	if err != nil {
		return err
	}
	for i := range all {
		if s.manager.StandingOf(&all[i], all, gone).Role != shard.Serves {
			continue
		}
		if err := s.share.wait(ctx, all[i].Name); err != nil {
			return err
		}
		if s.admit(&all[i], "") && s.share != nil {
			s.wake(all[i].Name) // the initial list did not queue them
		}
	}
	s.prepared.Store(true)
	return nil
}

// publish writes the selector to the Lease, for the other managers. The name of the Lease
// follows from the selector, so it needs no correction.
func (s *shards) publish(ctx context.Context) error {
	if s.manager.Selector.Empty() {
		return nil
	}
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: s.manager.Name, Namespace: s.leases.namespace}}
	base := lease.DeepCopy()
	lease.Annotations = map[string]string{v1alpha1.AnnotationAccountSelector: s.manager.Selector.String()}
	if err := s.Patch(ctx, lease, client.MergeFrom(base)); err != nil {
		return fmt.Errorf("writing the selector to the Lease %s: %w", s.manager.Name, err)
	}
	return nil
}

// serve reports whether this manager serves the account from now on. If not, it says when
// to look again.
func (s *shards) serve(ctx context.Context, account *v1alpha1.TwilioAccount) (serves bool, again time.Duration, err error) {
	if err := s.prepare(ctx); err != nil {
		return false, 0, err
	}
	if s.isAhead(account) {
		return true, 0, nil
	}
	all, err := accountsOfSID(ctx, s.Client, account)
	if err != nil {
		return false, 0, err
	}
	gone, err := s.goneOf(ctx, append(all, *account))
	if err != nil {
		return false, 0, err
	}
	standing := s.manager.StandingOf(account, all, gone)
	switch {
	case standing.Role == shard.Claims, standing.Role == shard.Serves && !s.serves(account):
		if loaded, err := s.share.load(account.Name); !loaded || err != nil {
			return false, cacheDelay, err
		}
		return s.claim(ctx, account)
	case standing.Role == shard.Serves:
		return true, 0, nil
	case standing.Role == shard.LetsGo:
		again, err := s.letGo(ctx, account)
		return false, again, err
	}
	if drained := s.stop(account); !drained {
		return false, drainEvery, nil
	}
	again, err = s.reportUnserved(ctx, account, standing)
	return false, again, err
}

// isAhead reports whether the account at hand is older than this manager's claim of it.
func (s *shards) isAhead(account *v1alpha1.TwilioAccount) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, served := s.served[account.Name]
	return served && c.uid == account.UID && fleet.IsOlder(account.ResourceVersion, c.version)
}

func (s *shards) serves(account *v1alpha1.TwilioAccount) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, served := s.served[account.Name]
	return served && c.uid == account.UID
}

// claim writes this manager's name into the account's status, if the API server has the
// accounts such that it may, and looks again before anything rests on it: of two managers
// that claim at once, at least one sees the other, and gives way.
func (s *shards) claim(ctx context.Context, account *v1alpha1.TwilioAccount) (serves bool, again time.Duration, err error) {
	all, current, err := s.current(ctx, account)
	if err != nil || current == nil {
		return false, cacheDelay, err
	}
	gone, err := s.goneOf(ctx, all)
	if err != nil {
		return false, 0, err
	}
	before := current.Status.Manager
	switch s.manager.StandingOf(current, all, gone).Role {
	case shard.Claims:
		if err := s.name(ctx, current, s.manager.Name); err != nil {
			return false, 0, err
		}
	case shard.Serves:
	default:
		return false, cacheDelay, nil // the cache shows why in a moment
	}
	stands, err := s.stands(ctx, current, before)
	if err != nil {
		return false, 0, err
	}
	if seen, err := s.share.hasSeen(ctx, account.Name); stands && !seen || err != nil {
		return false, cacheDelay, err // the claim stays; it is served once the cache is as far
	}
	if !stands || !s.admit(current, current.ResourceVersion) {
		if before == s.manager.Name {
			before = ""
		}
		return false, handoverEvery, s.name(ctx, current, before)
	}
	logf.FromContext(ctx).Info("This manager serves the account from now on", "lease", s.manager.Name, "before", before)
	s.wake(current.Name)
	*account = *current
	return true, 0, nil
}

// stands reports whether a claim that was just written stands: nobody else has claimed an
// account of the SID meanwhile, and the manager that the account named before is not back.
func (s *shards) stands(ctx context.Context, account *v1alpha1.TwilioAccount, before string) (bool, error) {
	all, err := accountsOfSID(ctx, s.live, account)
	if err != nil {
		return false, err
	}
	gone, err := s.goneOf(ctx, all, before)
	if err != nil {
		return false, err
	}
	returned := before != "" && before != s.manager.Name && !gone(before)
	return !returned && s.manager.MayKeep(account, all, gone), nil
}

// name writes the manager of an account.
func (s *shards) name(ctx context.Context, account *v1alpha1.TwilioAccount, manager string) error {
	base := account.DeepCopy()
	account.Status.Manager = manager
	if err := s.Status().Patch(ctx, account, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("naming the manager of the account: %w", err)
	}
	return nil
}

// admit begins to serve an account. It reports false if that cannot be, because its objects
// are not known.
func (s *shards) admit(account *v1alpha1.TwilioAccount, version string) (admitted bool) {
	if !s.share.add(account) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.served[account.Name] = claimed{account.UID, account.Spec.AccountSID, version}
	delete(s.unclaimed, account.UID)
	delete(s.stopping, account.Name)
	return true
}

// letGo stops serving an account, and takes this manager's name from it once every
// reconcile for it has ended.
func (s *shards) letGo(ctx context.Context, account *v1alpha1.TwilioAccount) (again time.Duration, err error) {
	if drained := s.stop(account); !drained {
		return drainEvery, nil
	}
	if err := s.name(ctx, account, ""); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	logf.FromContext(ctx).Info("This manager has let go of the account", "lease", s.manager.Name)
	return unclaimedAfter, nil
}

// stop lets no reconcile for an account begin, and reports whether none is left. What this
// process remembers for the account is dropped then.
func (s *shards) stop(account *v1alpha1.TwilioAccount) (drained bool) {
	s.mu.Lock()
	_, served := s.served[account.Name]
	delete(s.served, account.Name)
	if served {
		s.stopping.Insert(account.Name)
	}
	busy, stopping := s.inFlight[account.Name] > 0, s.stopping.Has(account.Name)
	if !busy {
		s.stopping.Delete(account.Name)
	}
	shared := false
	for _, c := range s.served {
		shared = shared || sid.Equal(c.sid, account.Spec.AccountSID)
	}
	s.mu.Unlock()
	if served {
		s.share.remove(account.Name)
	}
	s.share.unload(account)
	if busy {
		return false
	}
	if stopping {
		s.stopped(account, !shared)
	}
	return true
}

// drop stops serving an account that is gone.
func (s *shards) drop(account *v1alpha1.TwilioAccount) {
	s.mu.Lock()
	_, served := s.served[account.Name]
	delete(s.served, account.Name)
	delete(s.unclaimed, account.UID)
	s.mu.Unlock()
	if served {
		s.share.remove(account.Name)
	}
}

// reportUnserved says in the status of an account that nobody serves it, once that has
// lasted.
func (s *shards) reportUnserved(ctx context.Context, account *v1alpha1.TwilioAccount, standing shard.Standing) (again time.Duration, err error) {
	switch standing.Role {
	case shard.Follows:
		return cacheDelay, nil
	case shard.Foreign:
		s.forgetUnclaimed(account)
		if s.manager.Selects(account) {
			return handoverEvery, nil
		}
		return countsEvery, nil
	}
	if left := unclaimedAfter - s.unclaimedFor(account); left > 0 {
		return left + cacheDelay, nil
	}
	o := servedElsewhere(account, standing.Other)
	if standing.Role == shard.Unselected {
		if err := s.leases.read(ctx); err != nil {
			return 0, err
		}
		if len(s.leases.selecting(account)) > 0 {
			return handoverEvery, nil // that one claims it, or says why not
		}
		o = notSelected()
	}
	base := account.DeepCopy()
	c := conditions{list: &account.Status.Conditions, generation: account.Generation, now: metav1.Now()}
	c.setOutcome(metav1.ConditionFalse, o.reason, o.message)
	account.Status.ObservedGeneration = account.Generation
	if apiequality.Semantic.DeepEqual(base.Status, account.Status) {
		return countsEvery, nil
	}
	err = s.Status().Patch(ctx, account, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
	return countsEvery, client.IgnoreNotFound(err)
}

// tellsOf reports whether nobody serves an account, and it is this manager that tells so.
func (s *shards) tellsOf(ctx context.Context, account *v1alpha1.TwilioAccount) (bool, error) {
	if s.share == nil || !isUnserved(readyReason(account)) {
		return false, nil
	}
	return s.share.leftovers.isMyTurn(ctx)
}

func (s *shards) unclaimedFor(account *v1alpha1.TwilioAccount) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.unclaimed[account.UID]; !known {
		s.unclaimed[account.UID] = time.Now()
	}
	return time.Since(s.unclaimed[account.UID])
}

func (s *shards) forgetUnclaimed(account *v1alpha1.TwilioAccount) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.unclaimed, account.UID)
}

// alsoSelectedBy lists the other running managers that select an account that this one
// serves. The only manager of all accounts does not ask.
func (s *shards) alsoSelectedBy(ctx context.Context, account *v1alpha1.TwilioAccount) ([]string, error) {
	if s.manager.Selector.Empty() {
		return nil, nil
	}
	if err := s.leases.read(ctx); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(s.leases.selecting(account), func(name string) bool { return name == s.manager.Name }), nil
}

// goneOf says which of the managers that these accounts name have ended. The Leases are
// read only if there are others than this one.
func (s *shards) goneOf(ctx context.Context, accounts []v1alpha1.TwilioAccount, more ...string) (func(string) bool, error) {
	named := sets.New(more...)
	for i := range accounts {
		named.Insert(accounts[i].Status.Manager)
	}
	named.Delete("", s.manager.Name)
	if named.Len() == 0 {
		return func(string) bool { return false }, nil
	}
	return s.leases.gone, s.leases.read(ctx)
}

// current is an account as the API server has it, among those of its account SID; nil if it
// is gone.
func (s *shards) current(ctx context.Context, account *v1alpha1.TwilioAccount) ([]v1alpha1.TwilioAccount, *v1alpha1.TwilioAccount, error) {
	all, err := accountsOfSID(ctx, s.live, account)
	at := slices.IndexFunc(all, func(a v1alpha1.TwilioAccount) bool { return a.UID == account.UID })
	if err != nil || at < 0 {
		return nil, nil, err
	}
	return all, all[at].DeepCopy(), nil
}

// accountsOfSID lists the TwilioAccounts of an account's SID.
func accountsOfSID(ctx context.Context, from client.Reader, account *v1alpha1.TwilioAccount) ([]v1alpha1.TwilioAccount, error) {
	var all v1alpha1.TwilioAccountList
	if err := from.List(ctx, &all); err != nil {
		return nil, fmt.Errorf("listing the accounts: %w", err)
	}
	return slices.DeleteFunc(all.Items, func(a v1alpha1.TwilioAccount) bool {
		return !sid.Equal(a.Spec.AccountSID, account.Spec.AccountSID)
	}), nil
}
