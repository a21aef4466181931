// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
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
	causeSpec   cause = "Spec"   // the spec changed
	causeDrift  cause = "Drift"  // the number changed behind the operator's back
	causeDelete cause = "Delete" // the object is being deleted
)

// causeOf is why a reconcile of the object writes to Twilio.
func causeOf(a *assignment) cause {
	switch {
	case !a.DeletionTimestamp.IsZero():
		return causeDelete
	case meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionReady) && a.Status.ObservedGeneration == a.Generation:
		return causeDrift
	}
	return causeSpec
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
		"cause", w.cause, "requestID", c.receipt.RequestID, "httpStatus", c.receipt.HTTPStatus, "milliseconds", c.took.Milliseconds(),
	}
	log := logf.FromContext(ctx).WithName("changes")
	if err == nil {
		log.Info("Changed Twilio", fields...)
		return
	}
	log.Info("Could not change Twilio", append(fields, "error", err.Error())...)
}
