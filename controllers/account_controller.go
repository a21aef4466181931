// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/budget"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/fleet"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/schedule"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

const (
	// countsEvery is how often the counts in an account's status are brought up to date.
	countsEvery = time.Minute
	// accountDelay is how long an account waits before it looks at what changed, so that
	// many changes are one look.
	accountDelay = time.Second
	// cacheDelay is how long an account waits for the cache after a conflict.
	cacheDelay = 100 * time.Millisecond
	// tellAfter is how long Twilio must have given no good answer before the account says
	// that it is in trouble.
	tellAfter = 15 * time.Second
)

// accountReconciler checks the credentials of TwilioAccounts, reports what it found in
// their status, and holds an account and its Secret while assignments refer to it.
type accountReconciler struct {
	client.Client
	events      events.EventRecorder
	connections *connections
	fleet       *fleet.Fleet
	metrics     *Metrics
	brake       *brake
	shards      *shards
	queue       *queue
	// wake makes the objects of an account due.
	wake func(account string)

	mu sync.Mutex
	// counted is when an account's counts were last brought up to date.
	counted map[string]time.Time
}

func newAccountReconciler(mgr ctrl.Manager, conns *connections, members *fleet.Fleet, metrics *Metrics, q *queue) *accountReconciler {
	return &accountReconciler{
		Client: mgr.GetClient(), events: mgr.GetEventRecorder(eventSource), connections: conns, fleet: members,
		metrics: metrics, queue: q, counted: map[string]time.Time{},
	}
}

// +kubebuilder:rbac:groups=addons.twilio-operator.dev,resources=twilioaccounts,verbs=list;watch;patch
// +kubebuilder:rbac:groups=addons.twilio-operator.dev,resources=twilioaccounts/status,verbs=patch
// +kubebuilder:rbac:groups="",namespace=twilio-addon-operator-system,resources=secrets,verbs=get;list;watch;patch

// Reconcile looks at one account. Twilio is asked only about a credential that it has not
// accepted yet.
func (r *accountReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	result, err := r.reconcile(ctx, req)
	if apierrors.IsConflict(err) {
		// The cache is behind, mostly behind this process's own last write. That is no error.
		return ctrl.Result{RequeueAfter: cacheDelay}, nil
	}
	return result, err
}

func (r *accountReconciler) reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	attempt := r.connections.limiters.Begin("TwilioAccount/" + req.Name)
	defer attempt.End()
	var account v1alpha1.TwilioAccount
	if err := r.Get(ctx, req.NamespacedName, &account); err != nil {
		return ctrl.Result{}, r.forgetGone(ctx, req.Name, err)
	}
	if serves, again, err := r.shards.serve(ctx, &account); err != nil {
		return ctrl.Result{}, err
	} else if !serves {
		return ctrl.Result{RequeueAfter: again}, r.releaseUnserved(ctx, &account)
	}
	decision, err := r.brake.evaluate(ctx, &account)
	if asOutcome(err) != nil {
		return ctrl.Result{RequeueAfter: accountDelay}, nil
	} else if err != nil {
		return ctrl.Result{}, err
	}
	// The Secret goes before the account: once the account is gone, nobody may be left to
	// release the Secret.
	if err := r.holdSecret(ctx, &account); err != nil {
		return ctrl.Result{}, err
	}
	if released, err := r.hold(ctx, &account); released || err != nil {
		return ctrl.Result{}, err
	}
	conn, o, err := r.stand(ctx, &account, attempt)
	if err != nil {
		return ctrl.Result{}, err
	}
	if o.kind == kindWaiting && o.reason == "" {
		return ctrl.Result{RequeueAfter: decision.NextCheck}, nil
	}
	result, err := r.report(ctx, &account, conn, o, &decision)
	if decision.NextCheck > 0 && (result.RequeueAfter == 0 || decision.NextCheck < result.RequeueAfter) {
		result.RequeueAfter = decision.NextCheck
	}
	return result, err
}

// forgetGone forgets an account that err says is gone.
func (r *accountReconciler) forgetGone(ctx context.Context, account string, err error) error {
	if !apierrors.IsNotFound(err) {
		return err
	}
	gone := &v1alpha1.TwilioAccount{}
	gone.Name = account
	r.shards.drop(gone) // it may have been claimed while it went
	r.forget(account)
	return r.releaseSecrets(ctx, false)
}

// stand finds out how the account stands. An outcome of no reason waits for a permit.
func (r *accountReconciler) stand(ctx context.Context, account *v1alpha1.TwilioAccount, attempt *twilio.Attempt) (*connection, *outcome, error) {
	if account.Spec.Suspend {
		return nil, newOutcome(v1alpha1.ReasonSuspended, textAccountSuspended), nil
	}
	conn, err := r.check(ctx, account, attempt)
	if o := outcomeOfError(err); o != nil || err != nil {
		if o != nil {
			err = nil
		}
		return conn, o, err
	}
	return conn, accountOutcome(conn.limiter.Snapshot(), time.Now()), nil
}

func (r *accountReconciler) forget(account string) {
	r.metrics.forgetAccount(account, r.connections.forget(account))
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.counted, account)
}

// accountOutcome is how an account stands whose credential is accepted.
func accountOutcome(s twilio.Snapshot, now time.Time) *outcome {
	o := newOutcome(v1alpha1.ReasonCredentialsAccepted, textAccountReady)
	if s.Paused != "" && now.Sub(s.LastGoodAnswer) >= tellAfter {
		o = accountPaused(s)
	}
	o.verified = true
	return o
}

// hold keeps the account's finalizer on it until it is being deleted and nothing refers to
// it. It returns true if the account is gone.
func (r *accountReconciler) hold(ctx context.Context, account *v1alpha1.TwilioAccount) (released bool, err error) {
	base := account.DeepCopy()
	deleting := !account.DeletionTimestamp.IsZero()
	if deleting {
		if inUse, err := r.isInUse(ctx, account.Name); inUse || err != nil {
			return false, err
		}
	}
	edit := controllerutil.AddFinalizer
	if deleting {
		edit = controllerutil.RemoveFinalizer
	}
	if !edit(account, v1alpha1.FinalizerInUse) {
		return deleting, nil
	}
	if err := r.Patch(ctx, account, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})); err != nil {
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return deleting, fmt.Errorf("changing the finalizer: %w", err)
	}
	return deleting, nil
}

// releaseUnserved lets go of an account that nobody serves once it is being deleted and
// nothing refers to it, and of the Secrets.
func (r *accountReconciler) releaseUnserved(ctx context.Context, account *v1alpha1.TwilioAccount) error {
	if mine, err := r.shards.tellsOf(ctx, account); !mine || err != nil {
		return err
	}
	if err := r.releaseSecrets(ctx, false); err != nil || account.DeletionTimestamp.IsZero() {
		return err
	}
	_, err := r.hold(ctx, account)
	return err
}

// holdSecret keeps the Secret with the credential while assignments refer to the account:
// their finalizers need it. Whatever is deleted first, the add-ons can be unassigned.
func (r *accountReconciler) holdSecret(ctx context.Context, account *v1alpha1.TwilioAccount) error {
	terminating, err := r.namespaceTerminates(ctx)
	if err != nil {
		return err
	}
	if terminating || r.fleet.Count(account.Name) == 0 {
		return r.releaseSecrets(ctx, terminating)
	}
	secret := secretMetadata()
	if err := r.Get(ctx, r.connections.secretKey(account), secret); err != nil {
		return client.IgnoreNotFound(err)
	}
	if !secret.DeletionTimestamp.IsZero() || controllerutil.ContainsFinalizer(secret, v1alpha1.FinalizerInUse) {
		return nil
	}
	return r.editSecret(ctx, secret, controllerutil.AddFinalizer)
}

// namespaceTerminates reports whether the operator's own namespace is being deleted. The
// operator goes with it, so nobody could release a Secret there later.
func (r *accountReconciler) namespaceTerminates(ctx context.Context) (bool, error) {
	namespace := namespaceMetadata()
	if err := r.Get(ctx, client.ObjectKey{Name: r.connections.namespace}, namespace); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	return !namespace.DeletionTimestamp.IsZero(), nil
}

// releaseSecrets lets go of the Secrets that no account with assignments names, or of all.
func (r *accountReconciler) releaseSecrets(ctx context.Context, all bool) error {
	secrets := &metav1.PartialObjectMetadataList{}
	secrets.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	if err := r.List(ctx, secrets, client.InNamespace(r.connections.namespace)); err != nil {
		return fmt.Errorf("listing the Secrets: %w", err)
	}
	for i := range secrets.Items {
		secret := &secrets.Items[i]
		if !controllerutil.ContainsFinalizer(secret, v1alpha1.FinalizerInUse) {
			continue
		}
		inUse, err := r.isSecretInUse(ctx, secret.Name)
		if err != nil {
			return err
		}
		if inUse && !all {
			continue
		}
		if err := r.editSecret(ctx, secret.DeepCopy(), controllerutil.RemoveFinalizer); err != nil {
			return err
		}
	}
	return nil
}

func (r *accountReconciler) isSecretInUse(ctx context.Context, secret string) (bool, error) {
	accounts, err := r.accountsNaming(ctx, secret)
	if err != nil {
		return false, err
	}
	for _, account := range accounts {
		if inUse, err := r.isInUse(ctx, account); inUse || err != nil {
			return inUse, err
		}
	}
	return false, nil
}

// isInUse reports whether any object refers to an account, also to one of another manager.
func (r *accountReconciler) isInUse(ctx context.Context, account string) (bool, error) {
	if r.fleet.Count(account) > 0 || r.shards.share == nil {
		return r.fleet.Count(account) > 0, nil
	}
	return r.shards.share.refersTo(ctx, account)
}

// editSecret changes the finalizer of a Secret and nothing else.
func (r *accountReconciler) editSecret(ctx context.Context, secret *metav1.PartialObjectMetadata, edit func(client.Object, string) bool) error {
	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	base := secret.DeepCopy()
	edit(secret, v1alpha1.FinalizerInUse)
	err := r.Patch(ctx, secret, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("changing the finalizer of Secret %s: %w", secret.Name, err)
	}
	if err == nil && versionOf(base) != versionOf(secret) {
		r.connections.noteHeld(versionOf(base), versionOf(secret))
	}
	return nil
}

func secretMetadata() *metav1.PartialObjectMetadata    { return metadataOf("Secret") }
func namespaceMetadata() *metav1.PartialObjectMetadata { return metadataOf("Namespace") }

// metadataOf is an empty object of a core kind, of which only the metadata is read.
func metadataOf(kind string) *metav1.PartialObjectMetadata {
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind))
	return object
}

// check opens the account's connection and has Twilio accept its credential, unless status
// says that it has.
func (r *accountReconciler) check(ctx context.Context, account *v1alpha1.TwilioAccount, attempt *twilio.Attempt) (*connection, error) {
	conn, err := r.connections.get(ctx, account)
	if err != nil {
		return nil, err
	}
	if conn.refusal() == nil && r.connections.contentVersion(account.Status.VerifiedSecret) == r.connections.contentVersion(conn.version.secret) && account.Status.ObservedGeneration == account.Generation {
		return conn, nil
	}
	key := client.ObjectKeyFromObject(account)
	if ok, _ := attempt.Acquire(conn.limiter, twilio.Foreground, func() { r.queue.add(urgent, 0, key) }); !ok {
		return conn, &outcome{kind: kindWaiting}
	}
	err = conn.client.Verify(ctx)
	switch {
	case twilio.IsUnauthorized(err):
		refused := credentialRefused(account, conn.credential, err)
		conn.refuse(refused)
		return conn, refused
	case err == nil, twilio.IsPermissionDenied(err) && conn.refusal() != nil:
		// Twilio knows a credential even if it may not do this. An object that met a refusal
		// meanwhile does not wait for its slow re-check.
		conn.accept()
		r.wake(account.Name)
	}
	return conn, err
}

// report writes the account's status if it changed, and says when to look again.
func (r *accountReconciler) report(ctx context.Context, account *v1alpha1.TwilioAccount, conn *connection, o *outcome, decision *budget.Decision) (ctrl.Result, error) {
	base := account.DeepCopy()
	before := readyReason(account)
	r.metrics.accountIs(account.Name, o.reason, isAccountReady(o.reason))
	r.metrics.removalsHeld(account.Name, decision.State.Held)
	also, err := r.shards.alsoSelectedBy(ctx, account)
	if err != nil {
		return ctrl.Result{}, err
	}
	r.setStatus(account, conn, o, decision)
	selectedTwice(account, also)
	if !apiequality.Semantic.DeepEqual(base.Status, account.Status) {
		r.count(account, conn)
		if err := r.Status().Patch(ctx, account, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})); err != nil {
			return ctrl.Result{}, client.IgnoreNotFound(err)
		}
	}
	r.recordTransition(ctx, account, before, o)
	switch {
	case isAccountReady(o.reason):
		return ctrl.Result{RequeueAfter: schedule.Jitter(countsEvery)}, nil
	case isTransient(o.reason):
		return ctrl.Result{RequeueAfter: schedule.Jitter(min(tellAfter, resyncInterval(account)))}, nil
	default:
		return ctrl.Result{RequeueAfter: schedule.Jitter(resyncInterval(account))}, nil
	}
}

// recordTransition sends an event and writes a log line when an account gets into trouble,
// and when it gets out of it.
func (r *accountReconciler) recordTransition(ctx context.Context, account *v1alpha1.TwilioAccount, before string, o *outcome) {
	switch {
	case before == o.reason:
	case !isAccountReady(o.reason):
		logf.FromContext(ctx).Info("The account is in trouble", "reason", o.reason, "message", o.message)
		r.events.Eventf(account, nil, corev1.EventTypeWarning, o.reason, "Check", "%s", truncateBytes(o.message, maxNote))
	case before != "" && !isAccountReady(before):
		logf.FromContext(ctx).Info("The account works again", "before", before)
		r.events.Eventf(account, nil, corev1.EventTypeNormal, "Recovered", "Check", "%s", "Recovered from "+before+". "+o.message)
	}
}

// isAccountReady reports whether a reason of an account is one of those that are well.
func isAccountReady(reason string) bool {
	return reason == v1alpha1.ReasonCredentialsAccepted || isReady(reason)
}

// setStatus makes the status what the outcome says, and the counts current if they are old
// enough.
func (r *accountReconciler) setStatus(account *v1alpha1.TwilioAccount, conn *connection, o *outcome, decision *budget.Decision) {
	status := &account.Status
	accepted := o.reason == v1alpha1.ReasonCredentialsAccepted
	message := strings.TrimSuffix(stickyMessage(status.Conditions, account.Generation, o), textAccountHeld)
	if !account.DeletionTimestamp.IsZero() {
		message += textAccountHeld
	}
	c := conditions{list: &status.Conditions, generation: account.Generation, now: metav1.Now()}
	well := accepted || isReady(o.reason)
	c.setOutcome(statusOf(well), o.reason, message)
	c.keep(v1alpha1.ConditionRemovalsHeld, decision.State.Hold != "", string(decision.State.Cause), decision.Message)
	status.ObservedGeneration = account.Generation
	status.VerifiedSecret = ""
	if o.verified {
		status.VerifiedSecret = r.connections.contentVersion(conn.version.secret)
	}
	r.mu.Lock()
	counted := r.counted[account.Name]
	r.mu.Unlock()
	if status.Assignments == nil || time.Since(counted) >= countsEvery/2 {
		r.count(account, conn)
	}
}

// count brings the figures in status up to date.
func (r *accountReconciler) count(account *v1alpha1.TwilioAccount, conn *connection) {
	r.mu.Lock()
	r.counted[account.Name] = time.Now()
	r.mu.Unlock()
	account.Status.Assignments = new(int32(r.fleet.Count(account.Name)))
	if conn != nil {
		account.Status.ConcurrencyLimit = new(int32(conn.limiter.Snapshot().Limit))
	}
}

// accountEvents queues an account whose spec or deletion changed, and those of its account
// SID when its manager may change.
func (r *accountReconciler) accountEvents() handler.TypedEventHandler[*v1alpha1.TwilioAccount, reconcile.Request] {
	add := func(account *v1alpha1.TwilioAccount) { r.queue.add(normal, 0, client.ObjectKeyFromObject(account)) }
	return handler.TypedFuncs[*v1alpha1.TwilioAccount, reconcile.Request]{
		CreateFunc: func(_ context.Context, e event.TypedCreateEvent[*v1alpha1.TwilioAccount], _ requests) { add(e.Object) },
		UpdateFunc: func(ctx context.Context, e event.TypedUpdateEvent[*v1alpha1.TwilioAccount], _ requests) {
			before, after := e.ObjectOld, e.ObjectNew
			if before.UID != after.UID {
				r.shards.drop(before)
			}
			approved := before.Annotations[v1alpha1.AnnotationApproveRemovals] != after.Annotations[v1alpha1.AnnotationApproveRemovals]
			switch {
			case before.Status.Manager != after.Status.Manager, !maps.Equal(before.Labels, after.Labels):
				r.enqueueSID(ctx, after)
			case before.Generation != after.Generation || approved:
				add(after)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.TypedDeleteEvent[*v1alpha1.TwilioAccount], _ requests) {
			r.shards.drop(e.Object)
			add(e.Object)
			r.enqueueSID(ctx, e.Object)
		},
	}
}

// enqueueSID queues the accounts of an account SID.
func (r *accountReconciler) enqueueSID(ctx context.Context, account *v1alpha1.TwilioAccount) {
	accounts, err := accountsOfSID(ctx, r.Client, account)
	if err != nil {
		logf.FromContext(ctx).Error(err, "Could not find the other accounts of an account SID")
	}
	for i := range accounts {
		r.queue.add(normal, 0, client.ObjectKeyFromObject(&accounts[i]))
	}
}

// accountsOfSecret lists the accounts whose credential a Secret holds.
func (r *accountReconciler) accountsOfSecret(ctx context.Context, secret *metav1.PartialObjectMetadata) []reconcile.Request {
	names, err := r.accountsNaming(ctx, secret.Name)
	if err != nil {
		logf.FromContext(ctx).Error(err, "Could not find the accounts of a Secret", "secret", secret.Name)
	}
	var found []reconcile.Request
	for _, name := range names {
		found = append(found, reconcile.Request{NamespacedName: client.ObjectKey{Name: name}})
	}
	return found
}

// accountsOfNamespace lists every account once the operator's own namespace is being
// deleted. The Secrets there are released before the operator's pod and its rights are gone.
func (r *accountReconciler) accountsOfNamespace(ctx context.Context, namespace *metav1.PartialObjectMetadata) []reconcile.Request {
	if namespace.Name != r.connections.namespace || namespace.DeletionTimestamp.IsZero() {
		return nil
	}
	var accounts v1alpha1.TwilioAccountList
	if err := r.List(ctx, &accounts); err != nil {
		logf.FromContext(ctx).Error(err, "Could not list the accounts")
	}
	var found []reconcile.Request
	for i := range accounts.Items {
		found = append(found, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&accounts.Items[i])})
	}
	return found
}

// accountsNaming lists the names of the accounts that refer to a Secret.
func (r *accountReconciler) accountsNaming(ctx context.Context, secret string) ([]string, error) {
	var accounts v1alpha1.TwilioAccountList
	if err := r.List(ctx, &accounts); err != nil {
		return nil, fmt.Errorf("listing the accounts: %w", err)
	}
	var names []string
	for i := range accounts.Items {
		if accounts.Items[i].Spec.CredentialsSecretRef.Name == secret {
			names = append(names, accounts.Items[i].Name)
		}
	}
	return names, nil
}

// selectedTwice says whether other managers select an account as well.
func selectedTwice(account *v1alpha1.TwilioAccount, managers []string) {
	c := conditions{list: &account.Status.Conditions, generation: account.Generation, now: metav1.Now()}
	c.keep(v1alpha1.ConditionSelectedTwice, len(managers) > 0, v1alpha1.ConditionSelectedTwice, alsoSelected(managers))
}

func readyReason(account *v1alpha1.TwilioAccount) string { return reasonIn(account.Status.Conditions) }
