// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/plan"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

// verb is what a line of the change log is about.
type verb string

const (
	verbAssign   verb = "Assign"
	verbUnassign verb = "Unassign"
)

// cause says why the operator writes to Twilio.
type cause string

const (
	causeSpec     cause = "Spec"     // the spec changed
	causeDrift    cause = "Drift"    // the number changed behind the operator's back
	causeDelete   cause = "Delete"   // the object is being deleted
	causeHandover cause = "Handover" // another object owned the number before
	causePolicy   cause = "Policy"   // what the policy had left alone it does not any more
)

// causeOf is why an object would begin to write to Twilio, as far as its status tells.
func causeOf(a *assignment, records []v1alpha1.AddOnStatus) cause {
	tookOver := func(r v1alpha1.AddOnStatus) bool { return r.Ownership == v1alpha1.OwnershipTakenOver }
	switch reason := reasonOf(a); {
	case !a.DeletionTimestamp.IsZero():
		return causeDelete
	case a.Status.Claim != v1alpha1.ClaimHeld && (reason == v1alpha1.ReasonPhoneNumberConflict || slices.ContainsFunc(records, tookOver)):
		return causeHandover
	case reason == v1alpha1.ReasonObserved && a.Status.ObservedGeneration != a.Generation:
		return causePolicy
	case meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionReady) && a.Status.ObservedGeneration == a.Generation:
		return causeDrift
	}
	return causeSpec
}

// causes remembers why objects began to write to Twilio until they are done: what began as
// drift and is held stays drift. After a restart the cause is worked out anew.
type causes struct {
	mu      sync.Mutex
	ongoing map[types.NamespacedName]begun
}

type begun struct {
	uid        types.UID
	generation int64
	cause      cause
}

// of returns why the writes of a plan are made.
func (c *causes) of(s *scope, p plan.Plan) cause {
	c.mu.Lock()
	defer c.mu.Unlock()
	known, ok := c.ongoing[s.key()]
	if ok && known.uid == s.object.UID && known.generation == s.object.Generation {
		return known.cause
	}
	why := s.cause
	leftAlone := func(step plan.Step) bool {
		return step.Action == plan.Unassign && step.Recorded != nil && step.Recorded.State == v1alpha1.AddOnUnmanaged
	}
	if why == causeSpec && slices.ContainsFunc(p, leftAlone) {
		why = causePolicy
	}
	if p.Writes() {
		if c.ongoing == nil {
			c.ongoing = map[types.NamespacedName]begun{}
		}
		c.ongoing[s.key()] = begun{s.object.UID, s.object.Generation, why}
	}
	return why
}

// done forgets why an object wrote.
func (c *causes) done(key types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.ongoing, key)
}

// change is one write to Twilio and how it was answered.
type change struct {
	verb       verb
	addOn      v1alpha1.AddOnSID
	uniqueName string
	took       time.Duration
	receipt    twilio.Receipt
}

// log writes one line of the change log: for each write to Twilio who, what, why, and how
// it ended.
func (w *worker) log(ctx context.Context, c change, err error) {
	a := w.s.object
	fields := []any{
		"verb", c.verb, "account", w.s.account.Spec.AccountSID, "number", w.number, "phoneNumber", w.phoneNumber,
		"addOn", c.addOn, "uniqueName", c.uniqueName, "uid", a.UID, "generation", a.Generation,
		"cause", w.s.cause, "requestID", c.receipt.RequestID, "httpStatus", c.receipt.HTTPStatus, "milliseconds", c.took.Milliseconds(),
	}
	log := logf.FromContext(ctx).WithName("changes")
	if err == nil {
		log.Info("Changed Twilio", fields...)
		return
	}
	log.Info("Could not change Twilio", append(fields, "error", err.Error())...)
}
