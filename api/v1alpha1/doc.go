// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is the API of the operator: the kinds PhoneNumberAddOnAssignment
// and TwilioAccount, and the vocabulary of their conditions.
//
// +kubebuilder:object:generate=true
// +groupName=addons.twilio-operator.dev
package v1alpha1
