// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/fleet"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/schedule"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/shard"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

// eventSource is the name under which events are sent.
const eventSource = "twilio-addon-operator"

// accountWorkers is how many accounts are checked at once. A check that hangs holds up
// none of the others.
const accountWorkers = 8

// Options say how the controllers work.
type Options struct {
	// Namespace is the operator's own, where the credential Secrets are.
	Namespace string
	// Selector selects the accounts that this manager may serve. Default: all.
	Selector labels.Selector
	// Workers is how many assignments are reconciled at once. They wait for Twilio, not for
	// the processor, and one without a permit holds no worker.
	Workers int
	// AllowInsecureURL admits plain http to hosts that are not loopback.
	AllowInsecureURL bool
	// UserAgent is sent to Twilio with every request.
	UserAgent string
	// Transport is shared by all accounts.
	Transport http.RoundTripper
	// Limiters bound the calls of each account.
	Limiters *twilio.Limiters
	// TwilioMetrics count the calls. nil counts nothing.
	TwilioMetrics *twilio.Metrics
	// Metrics count the objects and the changes.
	Metrics *Metrics
}

// Setup adds the controllers to a manager.
func Setup(mgr ctrl.Manager, o Options) error {
	members := fleet.New()
	o.Metrics.fleet = members
	conns := &connections{
		cached: mgr.GetClient(), live: mgr.GetAPIReader(), namespace: o.Namespace, allowInsecureURL: o.AllowInsecureURL,
		userAgent: o.UserAgent, transport: o.Transport, limiters: o.Limiters, metrics: o.TwilioMetrics, byAccount: map[string]*slot{}, held: map[string]string{},
	}
	assignments := &assignmentReconciler{
		Client:      mgr.GetClient(),
		live:        mgr.GetAPIReader(),
		events:      mgr.GetEventRecorder(eventSource),
		connections: conns,
		admission:   &admission{cached: mgr.GetClient()},
		fleet:       members,
		metrics:     o.Metrics,
		limiters:    o.Limiters,
		queue:       &queue{},
		accounts:    &queue{},
	}
	assignments.brake = newBrake(mgr.GetClient(), mgr.GetAPIReader(), mgr.GetEventRecorder(eventSource), members, assignments.accounts)
	s := newShards(mgr, o, assignments)
	assignments.shards = s
	if err := assignments.setup(mgr, o.Workers); err != nil {
		return fmt.Errorf("setting up the assignment controller: %w", err)
	}
	accounts := newAccountReconciler(mgr, conns, members, o.Metrics, assignments.accounts)
	accounts.brake, accounts.shards = assignments.brake, s
	s.stopped = func(account *v1alpha1.TwilioAccount, lastOfSID bool) {
		accounts.forget(account.Name)
		if lastOfSID {
			assignments.brake.forget(account.Spec.AccountSID)
		}
	}
	accounts.wake = func(account string) { assignments.wakeAccount(account, false) }
	if err := accounts.setup(mgr); err != nil {
		return fmt.Errorf("setting up the account controller: %w", err)
	}
	return nil
}

// newShards returns what serves the accounts that a selector selects.
func newShards(mgr ctrl.Manager, o Options, r *assignmentReconciler) *shards {
	if o.Selector == nil {
		o.Selector = labels.Everything()
	}
	s := &shards{
		Client: mgr.GetClient(), live: mgr.GetAPIReader(), manager: shard.New(o.Selector),
		leases: &leases{live: mgr.GetAPIReader(), namespace: o.Namespace},
		wake:   func(account string) { r.wakeAccount(account, true) },
		served: map[string]claimed{}, inFlight: map[string]int{}, stopping: sets.New[string](), unclaimed: map[types.UID]time.Time{},
	}
	if o.Selector.Empty() {
		return s
	}
	s.share = newShare(mgr, s, r)
	return s
}

func newShare(mgr ctrl.Manager, s *shards, r *assignmentReconciler) *share {
	open := func(o cache.Options) (cache.Cache, error) {
		o.Scheme, o.Mapper, o.HTTPClient = mgr.GetScheme(), mgr.GetRESTMapper(), mgr.GetHTTPClient()
		return cache.New(mgr.GetConfig(), o)
	}
	h := &share{
		events: assignmentEvents{r}, live: mgr.GetAPIReader(), selects: s.manager.Selects, open: open,
		leftovers: &leftovers{
			Client: mgr.GetClient(), live: mgr.GetAPIReader(), leases: s.leases, manager: s.manager.Name, open: open,
			queue: r.queue, changed: make(chan struct{}, 1),
		},
		caches: map[string]*objectCache{}, served: sets.New[string](),
	}
	h.accounts = source.Kind(mgr.GetCache(), &v1alpha1.TwilioAccount{}, h.accountEvents())
	return h
}

// objects is the source that fills the fleet: with every object, or with this manager's
// share.
func (r *assignmentReconciler) objects(mgr ctrl.Manager) source.SyncingSource {
	if r.shards.share != nil {
		return r.shards.share
	}
	return source.Kind(mgr.GetCache(), &v1alpha1.PhoneNumberAddOnAssignment{}, assignmentEvents{r})
}

func (r *assignmentReconciler) setup(mgr ctrl.Manager, workers int) error {
	namespace := namespaceMetadata()
	return ctrl.NewControllerManagedBy(mgr).
		Named("assignment").
		WithOptions(controller.Options{
			MaxConcurrentReconciles: workers,
			// For errors of the API server; outcomes have a back-off of their own. The default
			// begins at 5 ms, and a reconcile may have called Twilio before it failed.
			RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](schedule.FirstBackoff, schedule.LongestBackoff),
		}).
		WatchesRawSource(r.queue).
		WatchesRawSource(resyncSource{r.fleet, r.queue}).
		WatchesRawSource(newFillingSource(r.fleet, r.objects(mgr))).
		WatchesRawSource(source.Kind(mgr.GetCache(), &v1alpha1.TwilioAccount{}, r.accountEvents())).
		WatchesRawSource(source.Kind(mgr.GetCache(), namespace, r.namespaceEvents())).
		Complete(r)
}

// setup lets no account be looked at before every object is known: one in use would be
// taken for unused, and released.
func (r *accountReconciler) setup(mgr ctrl.Manager) error {
	secret, namespace := secretMetadata(), namespaceMetadata()
	return ctrl.NewControllerManagedBy(mgr).
		Named("account").
		WithOptions(controller.Options{MaxConcurrentReconciles: accountWorkers}).
		WatchesRawSource(r.queue).
		WatchesRawSource(syncedSource{r.fleet}).
		WatchesRawSource(source.Kind(mgr.GetCache(), &v1alpha1.TwilioAccount{}, r.accountEvents())).
		WatchesRawSource(source.Kind(mgr.GetCache(), secret, handler.TypedEnqueueRequestsFromMapFunc(r.accountsOfSecret))).
		WatchesRawSource(source.Kind(mgr.GetCache(), namespace, handler.TypedEnqueueRequestsFromMapFunc(r.accountsOfNamespace))).
		Complete(r)
}
