// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controllers keeps the add-ons of phone numbers in Twilio equal to the
// PhoneNumberAddOnAssignments in the cluster.
//
// Reconciling one object runs through the files of this package in this order:
//
//	assignment_controller  gather what the reconcile needs; may the object act at all?
//	connect                the account's client and credential, and a permit for its calls
//	observe                the number, once ever, and the complete list of its add-ons
//	claim                  the finalizer and what is about to be assigned, persisted first
//	apply                  assign what is missing, then unassign what is too much
//	brake                  may the number lose add-ons now?
//	verdict                the outcome, as status tells it
//	report                 one status write if anything changed, and when to look again
//
// An object that is being deleted goes through finalize instead of observe to apply.
// What is decided on the way is decided in the packages plan, ownership and ledger. All
// texts for users are in messages.
package controllers

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/fleet"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/ledger"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/ownership"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/plan"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/schedule"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

const assignmentKind = "PhoneNumberAddOnAssignment"

// catchUp is when a reconcile tries again that waits for the cache to show this process's
// own last write. Normally the event of that write wakes it long before.
const catchUp = 5 * time.Second

type assignment = v1alpha1.PhoneNumberAddOnAssignment

// assignmentReconciler makes the add-ons of phone numbers what their
// PhoneNumberAddOnAssignments say.
type assignmentReconciler struct {
	client.Client               // reads from the cache, writes to the API server
	live          client.Reader // reads from the API server
	events        events.EventRecorder
	connections   *connections
	admission     *admission
	fleet         *fleet.Fleet
	metrics       *Metrics
	limiters      *twilio.Limiters
	brake         *brake
	shards        *shards
	causes        causes
	queue         *queue
	accounts      *queue // of the account controller
}

// +kubebuilder:rbac:groups=addons.twilio-operator.dev,resources=phonenumberaddonassignments,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=addons.twilio-operator.dev,resources=phonenumberaddonassignments/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconcile brings one object's number to what the object says, as far as it may.
func (r *assignmentReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	attempt := r.limiters.Begin(req.String())
	defer attempt.End()
	a, err := r.find(ctx, req.NamespacedName)
	if a == nil || err != nil {
		return ctrl.Result{}, err
	}
	end, unserved, err := r.shards.begin(ctx, a.Spec.AccountRef.Name)
	if end == nil || err != nil {
		return ctrl.Result{}, err // whoever serves the account wakes the object
	}
	defer end()
	if !r.fleet.Satisfied(a) {
		// Acting on what was there before the write would do its work twice.
		return ctrl.Result{RequeueAfter: catchUp, Priority: new(normal)}, nil
	}
	r.fleet.Begin(req.NamespacedName)
	s, err := r.gather(ctx, a, attempt)
	if err != nil {
		return ctrl.Result{}, err
	}
	if unserved != nil {
		s.account, s.denied = nil, unserved
	}
	res, err := r.reconcile(ctx, s)
	return r.report(ctx, s, res, err)
}

// find returns an object as the cache has it, nil if there is nothing to do for it.
func (r *assignmentReconciler) find(ctx context.Context, key types.NamespacedName) (*assignment, error) {
	if r.shards.share != nil {
		return r.shards.share.find(ctx, key)
	}
	a := &assignment{}
	if err := r.Get(ctx, key, a); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	return a, nil
}

// scope is what one reconcile works with. It is gathered once.
type scope struct {
	object *assignment
	// account is nil, and denied says why, if the object may not use its account.
	account *v1alpha1.TwilioAccount
	denied  *outcome
	// claims are those of all objects that name the number; nil if this is the only one.
	claims []ownership.Claim
	// records is what is on record of the object's add-ons.
	records []v1alpha1.AddOnStatus
	// cause is why this reconcile would write to Twilio.
	cause   cause
	attempt *twilio.Attempt
}

func (s *scope) key() types.NamespacedName { return client.ObjectKeyFromObject(s.object) }

// standing is the object's role among those that name its number.
func (s *scope) standing() ownership.Standing {
	return ownership.StandingOf(s.claims, s.key())
}

// inherited is what the other objects have on record for the number.
func (s *scope) inherited() []v1alpha1.AddOnStatus {
	var records []v1alpha1.AddOnStatus
	for i := range s.claims {
		if c := &s.claims[i]; c.Key != s.key() {
			records = append(records, ledger.Read(c.Object)...)
		}
	}
	return records
}

// result is what a reconcile observed and did.
type result struct {
	account *v1alpha1.TwilioAccount
	// observed, plan and ledger are nil if the number was not read.
	observed *observation
	plan     plan.Plan
	ledger   *ledger.Ledger
	// records replace what status has on record, without a reading. nil leaves it.
	records *[]v1alpha1.AddOnStatus
	changes changes
	// asks: the object still wants to remove add-ons, and may not or could not.
	asks bool
	// claimed: the object holds its number from now on.
	claimed bool
	// finalizerRemoved: the object is gone, or other finalizers hold it.
	finalizerRemoved bool
}

// gather collects what a reconcile needs besides Twilio's answers.
func (r *assignmentReconciler) gather(ctx context.Context, a *assignment, attempt *twilio.Attempt) (*scope, error) {
	records := ledger.Read(a)
	s := &scope{object: a, records: records, cause: causeOf(a, records), attempt: attempt}
	var err error
	if s.account, err = r.admission.accountOf(ctx, a); asOutcome(err) != nil {
		s.denied = asOutcome(err)
	} else if err != nil {
		return nil, err
	}
	s.claims, err = r.claimsOf(ctx, a)
	return s, err
}

// claimsOf returns the claims to the number of a, a's own included; nil if there are no
// others. One look at each account and namespace serves all of them.
func (r *assignmentReconciler) claimsOf(ctx context.Context, a *assignment) ([]ownership.Claim, error) {
	contenders, reserved := r.fleet.Contenders(a.Spec.PhoneNumberSID)
	if len(contenders) == 0 {
		return nil, nil
	}
	type place struct{ account, namespace string }
	accounts := map[place]v1alpha1.AccountSID{}
	claims := make([]ownership.Claim, 0, len(contenders))
	for _, other := range contenders {
		key := client.ObjectKeyFromObject(other)
		if key == client.ObjectKeyFromObject(a) {
			other = a
		}
		at := place{other.Spec.AccountRef.Name, other.Namespace}
		if _, known := accounts[at]; !known {
			account, err := r.admission.accountOf(ctx, other)
			if err != nil && asOutcome(err) == nil {
				return nil, err
			}
			accounts[at] = ""
			if err == nil {
				accounts[at] = account.Spec.AccountSID
			}
		}
		claims = append(claims, ownership.ClaimOf(other, accounts[at], key == reserved))
	}
	return claims, nil
}

// reconcile does the work and leaves telling of it to report. An error is an outcome, an
// answer of Twilio, or an error of the API server.
func (r *assignmentReconciler) reconcile(ctx context.Context, s *scope) (result, error) {
	if !s.object.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, s)
	}
	res := result{account: s.account}
	if err := r.guard(ctx, s, &res); err != nil {
		return res, err
	}
	conn, err := r.connections.to(ctx, s.account)
	if err != nil {
		return res, err
	}
	if err := r.acquire(s, conn); err != nil {
		return res, err
	}
	cl := conn.client
	if s.object.Spec.ManagementPolicy == v1alpha1.ManagementObserve {
		cl = cl.ReadOnly()
	}
	if err := r.observe(ctx, cl, s, &res); err != nil {
		return res, r.noteUnauthorized(conn, s.account, err)
	}
	if err := r.claim(ctx, s, &res); err != nil {
		return result{account: s.account, records: &s.records}, err
	}
	err = r.apply(ctx, cl, s, &res)
	return res, r.noteUnauthorized(conn, s.account, err)
}

// guard ends the reconcile of an object that may not act, or need not yet.
func (r *assignmentReconciler) guard(ctx context.Context, s *scope, res *result) error {
	a := s.object
	if a.Spec.Suspend {
		r.fleet.DropReservation(a)
		return suspended(s.denied != nil)
	}
	if s.denied != nil {
		r.fleet.DropReservation(a)
		return s.denied
	}
	if s.account.Spec.Suspend {
		return accountSuspended(s.account.Name, false)
	}
	switch standing := s.standing(); standing.Role {
	case ownership.Acts:
	case ownership.Waits:
		return conflict(a, standing.Other)
	case ownership.TakesOver:
		return r.takeOver(ctx, s, standing.Other, res)
	case ownership.AwaitsYield:
		// The other object is reconciled first: it yields in its own status.
		r.queue.add(normal, 0, standing.Other.Key)
		return awaitsYield(a, standing.Other)
	}
	if wait := r.untilNextSync(s); wait > 0 {
		return &outcome{kind: kindReady, reason: v1alpha1.ReasonSynced, skipStatus: true}
	}
	return nil
}

// untilNextSync is how long an object that is synced may wait for its next check. After a
// restart it waits for its phase, so a restart costs nothing at once. One that is no longer
// suspended waits for nothing.
func (r *assignmentReconciler) untilNextSync(s *scope) time.Duration {
	a := s.object
	if !isSynced(a) || reasonOf(a) == v1alpha1.ReasonSuspended || a.Status.AccountSID != s.account.Spec.AccountSID {
		return 0
	}
	due := schedule.NextPhase(a.UID, resyncInterval(s.account), r.fleet.LastCheck(s.key()))
	return -r.fleet.Clock().Since(due)
}

// isSynced reports whether status describes the current spec, nothing is left to do, and
// the finalizer is in place where the object has something to clean up.
func isSynced(a *assignment) bool {
	return isReported(a) && meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionReady) && !lacksFinalizer(a)
}

// lacksFinalizer reports whether somebody took the finalizer from an object that has to
// clean up, for example by replacing the object.
func lacksFinalizer(a *assignment) bool {
	return a.Status.Claim == v1alpha1.ClaimHeld && a.Spec.ManagementPolicy != v1alpha1.ManagementObserve &&
		a.DeletionTimestamp.IsZero() && !controllerutil.ContainsFinalizer(a, v1alpha1.FinalizerUnassign)
}

// isReported reports whether status describes the current spec and the latest request.
func isReported(a *assignment) bool {
	return a.Status.ObservedGeneration == a.Generation && a.Status.LastHandledReconcileAt == requestedAt(a)
}

// requestedAt is the value of the annotation that triggers a reconcile.
func requestedAt(a *assignment) string {
	return ledger.Truncate(a.Annotations[v1alpha1.AnnotationReconcileRequestedAt], 256)
}

func isReconciling(a *assignment) bool {
	return meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionReconciling)
}
