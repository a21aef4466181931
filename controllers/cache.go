// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"maps"
	"slices"
	"unique"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// CacheOptions keep no more in memory than a pass uses: 100,000 objects fit into
// a small container. Secrets are cached from the operator's namespace only, and of
// them the metadata without annotations, which may repeat the content.
func CacheOptions(operatorNamespace string) cache.Options {
	return cache.Options{
		ReaderFailOnMissingInformer: true,
		ByObject: map[client.Object]cache.ByObject{
			&v1alpha1.PhoneNumberAddOnAssignment{}: {Transform: slimAssignment},
			&v1alpha1.TwilioAccount{}:              {Transform: cache.TransformStripManagedFields()},
			&corev1.Namespace{}:                    {Transform: slimMetadata},
			&corev1.Secret{}: {
				Transform:  slimMetadata,
				Namespaces: map[string]cache.Config{operatorNamespace: {}},
			},
		},
	}
}

// slimAssignment drops what no pass reads and shares the strings that repeat from
// object to object. What it drops must not be sent back as if it had been removed:
// the operator only ever patches.
func slimAssignment(object any) (any, error) {
	a, ok := object.(*v1alpha1.PhoneNumberAddOnAssignment)
	if !ok {
		return object, nil
	}
	a.TypeMeta = metav1.TypeMeta{} // the client sets it on what it hands out
	a.ManagedFields, a.Labels, a.OwnerReferences = nil, nil, nil
	maps.DeleteFunc(a.Annotations, func(key, _ string) bool {
		return key != v1alpha1.AnnotationReconcileRequestedAt && (key != v1alpha1.AnnotationAssigning || !first(a))
	})
	if len(a.Annotations) == 0 {
		a.Annotations = nil
	}
	share(&a.Namespace)
	a.Finalizers, a.Spec.AddOnSIDs = exact(a.Finalizers), exact(a.Spec.AddOnSIDs)
	for i := range a.Finalizers {
		share(&a.Finalizers[i])
	}
	share(&a.Spec.AccountRef.Name)
	share(&a.Spec.ManagementPolicy)
	share(&a.Spec.DeletionPolicy)
	for i := range a.Spec.AddOnSIDs {
		share(&a.Spec.AddOnSIDs[i])
	}
	slimStatus(&a.Status)
	pack(&a.Name, (*string)(&a.UID), &a.ResourceVersion, (*string)(&a.Spec.PhoneNumberSID), &a.Status.PhoneNumber)
	return a, nil
}

// pack gives strings that are an object's own one place in memory together.
func pack(strings ...*string) {
	var all []byte
	for _, s := range strings {
		all = append(all, *s...)
	}
	rest := string(all)
	for _, s := range strings {
		*s, rest = rest[:len(*s)], rest[len(*s):]
	}
}

func slimStatus(status *v1alpha1.PhoneNumberAddOnAssignmentStatus) {
	share(&status.AccountSID)
	share(&status.Synced)
	status.AddOns, status.Conditions = exact(status.AddOns), exact(status.Conditions)
	for i := range status.AddOns {
		s := &status.AddOns[i]
		share(&s.SID)
		share(&s.State)
		share(&s.Ownership)
		share(&s.AssignedSID)
		share(&s.UniqueName)
		share(&s.FriendlyName)
		share(&s.Description)
		share(&s.Message)
		if i > 0 && s.DateUpdated.Equal(status.AddOns[i-1].DateUpdated) {
			s.DateUpdated = status.AddOns[i-1].DateUpdated
		}
	}
	for i := range status.Conditions {
		c := &status.Conditions[i]
		share(&c.Type)
		share(&c.Status)
		share(&c.Reason)
		share(&c.Message)
	}
}

// share makes equal strings one; it goes when its last user does.
func share[S ~string](s *S) {
	*s = S(unique.Make(string(*s)).Value())
}

// exact is a slice without the room that decoding leaves at its end, which in a status
// is as large as what it holds.
func exact[S ~[]E, E any](s S) S {
	if len(s) == cap(s) {
		return s
	}
	return slices.Clone(s)
}

// slimMetadata keeps the names and labels of an object.
func slimMetadata(object any) (any, error) {
	if o, ok := object.(metav1.Object); ok {
		o.SetManagedFields(nil)
		o.SetAnnotations(nil)
	}
	return object, nil
}
