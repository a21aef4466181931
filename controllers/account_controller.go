// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"strings"
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
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

// countsEvery is how often the counts in an account's status are brought up to date.
const countsEvery = time.Minute

const messageHeld = " Being deleted: held until no assignment refers to it."

// AccountReconciler checks the credentials of TwilioAccounts, says what it found in
// their status, and holds an account while assignments refer to it. Make one with
// NewAccountReconciler.
type AccountReconciler struct {
	client.Client
	events      events.EventRecorder
	connections *Connections
	assignments *AssignmentReconciler
	// counted is when an account's figures were last brought up to date. The
	// controller has one worker.
	counted map[string]time.Time
}

// NewAccountReconciler returns a reconciler that works beside the one of the assignments.
func NewAccountReconciler(assignments *AssignmentReconciler) *AccountReconciler {
	return &AccountReconciler{
		Client:      assignments.Client,
		events:      assignments.events,
		connections: assignments.connections,
		assignments: assignments,
		counted:     map[string]time.Time{},
	}
}

// +kubebuilder:rbac:groups=addons.twilio-operator.dev,resources=twilioaccounts,verbs=list;watch;patch
// +kubebuilder:rbac:groups=addons.twilio-operator.dev,resources=twilioaccounts/status,verbs=patch
// +kubebuilder:rbac:groups="",namespace=twilio-addon-operator-system,resources=secrets,verbs=get;list;watch

// Reconcile looks at one account. Twilio is asked only about a credential that it has
// not accepted yet, and again while it does not.
func (r *AccountReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var account v1alpha1.TwilioAccount
	if err := r.Get(ctx, req.NamespacedName, &account); err != nil {
		if apierrors.IsNotFound(err) {
			r.connections.forget(req.Name)
			delete(r.counted, req.Name)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if released, err := r.hold(ctx, &account); released || err != nil {
		return ctrl.Result{}, err
	}
	conn, err := r.check(ctx, &account)
	v := verdictOf(err)
	if err != nil && v == nil {
		return ctrl.Result{}, err
	}
	if v == nil {
		v = halted(v1alpha1.ReasonCredentialsAccepted, "Twilio accepts the credential.")
	}
	if v.parked {
		return ctrl.Result{}, nil
	}
	return r.report(ctx, &account, conn, v)
}

// hold keeps the account's finalizer on it until it is being deleted and nothing
// refers to it. True: the account is gone.
func (r *AccountReconciler) hold(ctx context.Context, account *v1alpha1.TwilioAccount) (released bool, err error) {
	base := account.DeepCopy()
	deleting := !account.DeletionTimestamp.IsZero()
	if deleting && r.assignments.index.references(account.Name) > 0 {
		return false, nil
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

// check opens the account's connection and has Twilio accept its credential, unless
// status says that it has.
func (r *AccountReconciler) check(ctx context.Context, account *v1alpha1.TwilioAccount) (*connection, error) {
	conn, err := r.connections.open(ctx, account)
	if err != nil {
		return nil, err
	}
	if conn.refusal() == nil && account.Status.VerifiedSecret == conn.secret && account.Status.ObservedGeneration == account.Generation {
		return conn, nil
	}
	key := "TwilioAccount/" + account.Name
	turn, _ := conn.governor.Admit(key, twilio.Foreground, func() {
		r.assignments.accounts.add(urgent, 0, client.ObjectKeyFromObject(account))
	})
	if turn == nil {
		return conn, &halt{parked: true}
	}
	defer r.connections.Governors.Forget(key)
	defer turn.Done()
	err = conn.client.Verify(ctx)
	switch {
	case twilio.IsUnauthorized(err):
		conn.reject(err)
	case err == nil, twilio.IsPermissionDenied(err) && conn.refusal() != nil:
		// Also who may not do something is known to Twilio. Whoever met a refusal in the
		// meantime need not wait for a slow re-check.
		conn.accept()
		r.assignments.wakeAccount(account.Name)
	}
	return conn, err
}

// report writes the account's status if it changed, and says when to look again: in a
// while for the counts, sooner or later while the credential is not accepted.
func (r *AccountReconciler) report(ctx context.Context, account *v1alpha1.TwilioAccount, conn *connection, v *verdict) (ctrl.Result, error) {
	base := account.DeepCopy()
	before := readyReason(account)
	accepted := v.reason == v1alpha1.ReasonCredentialsAccepted
	r.setStatus(account, conn, v)
	if !apiequality.Semantic.DeepEqual(base.Status, account.Status) {
		r.count(account, conn)
		if err := r.Status().Patch(ctx, account, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})); err != nil {
			return ctrl.Result{}, client.IgnoreNotFound(err)
		}
	}
	if before != v.reason && !accepted {
		r.events.Eventf(account, nil, corev1.EventTypeWarning, v.reason, "Check", "%s", truncate(v.message, 1024))
	}
	switch {
	case accepted:
		return ctrl.Result{RequeueAfter: jitter(countsEvery)}, nil
	case transient(v.reason):
		return ctrl.Result{RequeueAfter: jitter(min(countsEvery, resyncInterval(account)))}, nil
	default:
		return ctrl.Result{RequeueAfter: jitter(resyncInterval(account))}, nil
	}
}

// setStatus makes the status what the verdict says, and the counts current if they
// have been let be for long enough.
func (r *AccountReconciler) setStatus(account *v1alpha1.TwilioAccount, conn *connection, v *verdict) {
	status := &account.Status
	accepted := v.reason == v1alpha1.ReasonCredentialsAccepted
	message := strings.TrimSuffix(lasting(status.Conditions, account.Generation, v), messageHeld)
	if !account.DeletionTimestamp.IsZero() {
		message += messageHeld
	}
	c := conditions{list: &status.Conditions, generation: account.Generation, now: metav1.Now()}
	c.set(v1alpha1.ConditionReady, statusOf(accepted), v.reason, message)
	c.keep(v1alpha1.ConditionReconciling, !accepted && !stalled(v.reason), v.reason, message)
	c.keep(v1alpha1.ConditionStalled, stalled(v.reason), v.reason, message)
	status.ObservedGeneration = account.Generation
	status.VerifiedSecret = ""
	if accepted {
		status.VerifiedSecret = conn.secret
	}
	if counted := r.counted[account.Name]; status.Assignments == nil || time.Since(counted) >= countsEvery/2 {
		r.count(account, conn)
	}
}

// count brings the figures in status up to date.
func (r *AccountReconciler) count(account *v1alpha1.TwilioAccount, conn *connection) {
	r.counted[account.Name] = time.Now()
	account.Status.Assignments = new(int32(r.assignments.index.references(account.Name)))
	if conn != nil {
		account.Status.ConcurrencyLimit = new(int32(conn.governor.Snapshot().Limit))
	}
}

// SetupWithManager has the manager run the reconciler. No account is looked at before
// every object is known: one in use would be taken for unused, and let go.
func (r *AccountReconciler) SetupWithManager(mgr ctrl.Manager) error {
	secret := &metav1.PartialObjectMetadata{}
	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return ctrl.NewControllerManagedBy(mgr).
		Named("account").
		WatchesRawSource(r.assignments.accounts).
		WatchesRawSource(whenFilled{r.assignments.index}).
		WatchesRawSource(source.Kind(mgr.GetCache(), &v1alpha1.TwilioAccount{}, r.accountEvents())).
		WatchesRawSource(source.Kind(mgr.GetCache(), secret, handler.TypedEnqueueRequestsFromMapFunc(r.accountsOfSecret))).
		Complete(r)
}

// accountEvents queues an account whose spec or deletion changed.
func (r *AccountReconciler) accountEvents() handler.TypedEventHandler[*v1alpha1.TwilioAccount, reconcile.Request] {
	add := func(account *v1alpha1.TwilioAccount) {
		r.assignments.accounts.add(normal, 0, client.ObjectKeyFromObject(account))
	}
	return handler.TypedFuncs[*v1alpha1.TwilioAccount, reconcile.Request]{
		CreateFunc: func(_ context.Context, e event.TypedCreateEvent[*v1alpha1.TwilioAccount], _ requests) { add(e.Object) },
		UpdateFunc: func(_ context.Context, e event.TypedUpdateEvent[*v1alpha1.TwilioAccount], _ requests) {
			if e.ObjectOld.Generation != e.ObjectNew.Generation {
				add(e.ObjectNew)
			}
		},
		DeleteFunc: func(_ context.Context, e event.TypedDeleteEvent[*v1alpha1.TwilioAccount], _ requests) { add(e.Object) },
	}
}

// accountsOfSecret lists the accounts whose credential a Secret holds.
func (r *AccountReconciler) accountsOfSecret(ctx context.Context, secret *metav1.PartialObjectMetadata) []reconcile.Request {
	var accounts v1alpha1.TwilioAccountList
	if err := r.List(ctx, &accounts); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Could not list the accounts of a Secret", "secret", secret.Name)
		return nil
	}
	var found []reconcile.Request
	for i := range accounts.Items {
		if accounts.Items[i].Spec.CredentialsSecretRef.Name == secret.Name {
			found = append(found, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&accounts.Items[i])})
		}
	}
	return found
}
