// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controllers keeps the add-ons of phone numbers in Twilio equal to what
// objects in Kubernetes say.
//
// One pass over a PhoneNumberAddOnAssignment runs through the files of this package:
//
//	guard    is it allowed to act at all: not suspended, admitted, owner of its number
//	connect  the account's client and credential
//	admit    a turn among the calls of the account; without one the pass ends and is woken
//	observe  the number, once ever, and the complete list of its add-ons
//	plan     the difference, as data
//	claim    the finalizer, persisted before anything is written to Twilio
//	apply    assign what is missing, then unassign what is too much
//	verdict  what it came to, as status is to say it, as data
//	report   one status write if anything changed, an event if something happened
//
// An object that is being deleted goes through finalize in place of connect to apply.
package controllers

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

const assignmentKind = "PhoneNumberAddOnAssignment"

// catchUp is how long a pass is put off while the cache lacks the last write of this
// process: acting on what was there before it would do the work twice.
const catchUp = 20 * time.Millisecond

// AssignmentReconciler makes the add-ons of phone numbers what their
// PhoneNumberAddOnAssignments say. Make one with NewAssignmentReconciler.
type AssignmentReconciler struct {
	client.Client               // reads from the cache, writes to the API server
	live          client.Reader // reads from the API server
	events        events.EventRecorder
	connections   *Connections
	index         *index
	metrics       *Metrics
	queue         *queue
	accounts      *queue // of the account controller
	unrecorded    *unrecorded
}

// NewAssignmentReconciler returns a reconciler that reads through cl, which should be
// cached, and checks with live, which must not be, that what it read is current
// before it writes to Twilio.
func NewAssignmentReconciler(cl client.Client, live client.Reader, recorder events.EventRecorder, connections *Connections, metrics *Metrics) *AssignmentReconciler {
	r := &AssignmentReconciler{
		Client:      cl,
		live:        live,
		events:      recorder,
		connections: connections,
		index:       newIndex(),
		metrics:     metrics,
		queue:       &queue{},
		accounts:    &queue{},
		unrecorded:  &unrecorded{},
	}
	metrics.index = r.index
	return r
}

// +kubebuilder:rbac:groups=addons.twilio-operator.dev,resources=phonenumberaddonassignments,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=addons.twilio-operator.dev,resources=phonenumberaddonassignments/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconcile makes one pass over an object.
func (r *AssignmentReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var a v1alpha1.PhoneNumberAddOnAssignment
	if err := r.Get(ctx, req.NamespacedName, &a); err != nil {
		r.connections.Governors.Forget(req.String())
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if r.index.behind(&a) {
		return ctrl.Result{RequeueAfter: catchUp}, nil
	}
	f, err := r.pass(ctx, &a)
	if h := asHalt(err); h == nil || !h.parked {
		// Whoever does not wait for a turn must not keep one promised to it.
		r.connections.Governors.Forget(req.String())
	}
	return r.report(ctx, &a, f, err)
}

// finding is what a pass found out and did.
type finding struct {
	account *v1alpha1.TwilioAccount
	// seen and plan are nil if the number was not read.
	seen *observation
	plan plan
	done applied
	// released: the finalizer is gone, and with it the object.
	released bool
}

// pass does the work of one pass and leaves telling of it to report. An error may be
// a halt, an answer of Twilio, or an error of the API server.
func (r *AssignmentReconciler) pass(ctx context.Context, a *v1alpha1.PhoneNumberAddOnAssignment) (finding, error) {
	if !a.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, a)
	}
	account, err := r.guard(ctx, a)
	f := finding{account: account}
	if err != nil {
		return f, err
	}
	conn, err := r.connections.to(ctx, account)
	if err != nil {
		return f, err
	}
	turn, err := r.admit(a, conn)
	if err != nil {
		return f, err
	}
	defer turn.Done()
	cl := conn.client
	if a.Spec.ManagementPolicy == v1alpha1.ManagementObserve {
		cl = cl.ReadOnly()
	}
	if f.seen, err = r.observe(ctx, cl, a); err != nil {
		return f, r.refused(conn, account, err)
	}
	f.plan = planFor(&a.Spec, r.recordOf(a), f.seen.addOns)
	if err := r.claim(ctx, a, f); err != nil {
		return finding{account: account}, err
	}
	f.plan, f.done, err = r.apply(ctx, cl, a, f.plan)
	return f, r.refused(conn, account, err)
}

// guard halts the pass of an object that may not act, or need not yet.
func (r *AssignmentReconciler) guard(ctx context.Context, a *v1alpha1.PhoneNumberAddOnAssignment) (*v1alpha1.TwilioAccount, error) {
	if a.Spec.Suspend {
		r.index.release(a)
		return nil, &halt{reason: v1alpha1.ReasonSuspended, message: "Suspended: Twilio is not called for this object while spec.suspend is true."}
	}
	account, err := r.accountOf(ctx, a)
	if err != nil {
		return nil, err
	}
	if err := r.checkOwner(ctx, a); err != nil {
		return account, err
	}
	if wait := r.rest(a, account); wait > 0 {
		return account, &halt{quiet: true, after: wait, reason: v1alpha1.ReasonSynced}
	}
	return account, nil
}

// rest says how long an object that is settled for its spec may still wait for its
// own next check. After a restart that is its phase, so a restart costs nothing.
func (r *AssignmentReconciler) rest(a *v1alpha1.PhoneNumberAddOnAssignment, account *v1alpha1.TwilioAccount) time.Duration {
	if _, open := r.unrecorded.recall(a.UID); open || !settled(a) || a.Status.AccountSID != account.Spec.AccountSID {
		return 0
	}
	due := nextPhase(a.UID, account.Spec.ResyncInterval.Duration, r.index.checkedAt(keyOf(a)))
	return time.Until(due)
}

// settled says whether status speaks of the current spec, and nothing is left to do.
func settled(a *v1alpha1.PhoneNumberAddOnAssignment) bool {
	return reported(a) && meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionReady)
}

// reported says whether status speaks of the current spec and the latest request.
func reported(a *v1alpha1.PhoneNumberAddOnAssignment) bool {
	return a.Status.ObservedGeneration == a.Generation && a.Status.LastHandledReconcileAt == requestedAt(a)
}

// requestedAt is the value of the annotation by which a person asks for a pass.
func requestedAt(a *v1alpha1.PhoneNumberAddOnAssignment) string {
	return truncate(a.Annotations[v1alpha1.AnnotationReconcileRequestedAt], 256)
}

// admit asks for a turn among the account's calls. Without one it halts the pass;
// the governor wakes the object when its turn comes.
func (r *AssignmentReconciler) admit(a *v1alpha1.PhoneNumberAddOnAssignment, conn *connection) (*twilio.Turn, error) {
	key := keyOf(a)
	priority := twilio.Foreground
	if a.DeletionTimestamp.IsZero() && reported(a) && !isReconciling(a) {
		priority = twilio.Background
	}
	turn, pause := conn.governor.Admit(key.String(), priority, func() { r.queue.add(urgent, 0, key) })
	if turn != nil {
		return turn, nil
	}
	h := &halt{parked: true, quiet: settled(a), reason: v1alpha1.ReasonProgressing}
	switch pause.Reason {
	case twilio.Throttled:
		h.reason, h.message = v1alpha1.ReasonRateLimited, messageRateLimited
	case twilio.Unavailable:
		h.reason, h.message = v1alpha1.ReasonTwilioUnavailable, messageUnavailable
	case twilio.Busy:
		h.quiet = true
	}
	return nil, h
}

// refused notes a 401, so that no other object tries the same credential, and has the
// account check it.
func (r *AssignmentReconciler) refused(conn *connection, account *v1alpha1.TwilioAccount, err error) error {
	if twilio.IsUnauthorized(err) {
		conn.reject(err)
		r.accounts.add(normal, 0, types.NamespacedName{Name: account.Name})
	}
	return err
}

func isReconciling(a *v1alpha1.PhoneNumberAddOnAssignment) bool {
	return meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionReconciling)
}

func keyOf(a *v1alpha1.PhoneNumberAddOnAssignment) types.NamespacedName {
	return types.NamespacedName{Namespace: a.Namespace, Name: a.Name}
}
