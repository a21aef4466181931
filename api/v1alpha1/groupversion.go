// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	// GroupVersion names this API: addons.twilio-operator.dev/v1alpha1.
	GroupVersion = schema.GroupVersion{Group: "addons.twilio-operator.dev", Version: "v1alpha1"}

	// SchemeBuilder collects the functions that add the kinds to a scheme.
	SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

	// AddToScheme adds both kinds and their lists to a scheme.
	AddToScheme = SchemeBuilder.AddToScheme
)

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&PhoneNumberAddOnAssignment{}, &PhoneNumberAddOnAssignmentList{},
		&TwilioAccount{}, &TwilioAccountList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
