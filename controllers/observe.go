// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"time"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

// confirmAfter is how far apart two answers 404 must lie before they are believed:
// Twilio gives stray ones, and asking quickly for what is deleted is penalised.
const confirmAfter = 2 * time.Second

// observation is what was read of a number in one pass.
type observation struct {
	phoneNumber string
	addOns      []twilio.AssignedAddOn
}

// observe reads the number, once ever, and the complete list of its add-ons.
func (r *AssignmentReconciler) observe(ctx context.Context, cl *twilio.Client, a *v1alpha1.PhoneNumberAddOnAssignment) (*observation, error) {
	seen := &observation{phoneNumber: a.Status.PhoneNumber}
	if seen.phoneNumber == "" {
		number, err := cl.GetPhoneNumber(ctx, string(a.Spec.PhoneNumberSID))
		if twilio.IsNotFound(err) {
			return nil, r.numberNotFound(a)
		} else if err != nil {
			return nil, err
		}
		seen.phoneNumber = number.PhoneNumber
	}
	var err error
	seen.addOns, err = cl.ListAssignedAddOns(ctx, string(a.Spec.PhoneNumberSID))
	if twilio.IsNotFound(err) {
		return nil, r.explainListNotFound(ctx, cl, a, err)
	} else if err != nil {
		return nil, err
	}
	r.index.found(keyOf(a))
	return seen, nil
}

// explainListNotFound asks for the number itself after its list of add-ons was
// answered 404, to tell a number that is gone from a stray answer.
func (r *AssignmentReconciler) explainListNotFound(ctx context.Context, cl *twilio.Client, a *v1alpha1.PhoneNumberAddOnAssignment, listErr error) error {
	_, err := cl.GetPhoneNumber(ctx, string(a.Spec.PhoneNumberSID))
	switch {
	case twilio.IsNotFound(err):
		return r.numberNotFound(a)
	case err != nil:
		return err
	default:
		return listErr
	}
}

// numberNotFound halts the pass: at first to ask again, then for good.
func (r *AssignmentReconciler) numberNotFound(a *v1alpha1.PhoneNumberAddOnAssignment) error {
	if !r.index.doubt(keyOf(a), aboutNumber, confirmAfter) {
		return &halt{reason: v1alpha1.ReasonProgressing, quiet: true, after: confirmAfter + time.Second/2,
			message: "Twilio answered that it does not know the number; asking once more before believing it."}
	}
	r.index.release(a)
	return halted(v1alpha1.ReasonPhoneNumberNotFound,
		"The Twilio account of TwilioAccount %s has no phone number %s. Correct spec.phoneNumberSID or spec.accountRef by creating the object anew, or delete it if the number was released.",
		a.Spec.AccountRef.Name, a.Spec.PhoneNumberSID)
}
