// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"maps"
	"slices"
	"unique"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/ledger"
)

// FieldAccount is the field of an assignment by which the API server selects the objects of
// a TwilioAccount.
const FieldAccount = "spec.accountRef.name"

// CacheOptions keep no more in memory than a reconcile uses: 100,000 objects fit into a
// small container. Of Secrets, only the metadata is cached, only from the operator's
// namespace, and without annotations, which may repeat the content.
func CacheOptions(operatorNamespace string) cache.Options {
	return cache.Options{
		ReaderFailOnMissingInformer: true,
		ByObject: map[client.Object]cache.ByObject{
			&v1alpha1.PhoneNumberAddOnAssignment{}: {Transform: stripAssignment},
			&v1alpha1.TwilioAccount{}:              {Transform: cache.TransformStripManagedFields()},
			&corev1.Namespace{}:                    {Transform: stripMetadata},
			&corev1.Secret{}: {
				Transform:  stripMetadata,
				Namespaces: map[string]cache.Config{operatorNamespace: {}},
			},
		},
	}
}

// ShareOptions keep the objects that one TwilioAccount's name selects, as CacheOptions keep
// all of them.
func ShareOptions(account string) cache.Options {
	return assignmentOptions(fields.OneTermEqualSelector(FieldAccount, account), stripAssignment)
}

// LeftoverOptions keep of the objects of all other TwilioAccounts which account each names,
// and what its Ready condition says.
func LeftoverOptions(accounts []string) cache.Options {
	others := make([]fields.Selector, 0, len(accounts))
	for _, account := range accounts {
		others = append(others, fields.OneTermNotEqualSelector(FieldAccount, account))
	}
	return assignmentOptions(fields.AndSelectors(others...), stripToReason)
}

func assignmentOptions(selector fields.Selector, transform func(object any) (any, error)) cache.Options {
	return cache.Options{
		ReaderFailOnMissingInformer: true,
		ByObject: map[client.Object]cache.ByObject{
			&v1alpha1.PhoneNumberAddOnAssignment{}: {Field: selector, Transform: transform},
		},
	}
}

// stripToReason leaves of an object only what LeftoverOptions promise.
func stripToReason(object any) (any, error) {
	a, ok := object.(*v1alpha1.PhoneNumberAddOnAssignment)
	if !ok {
		return object, nil
	}
	kept := &v1alpha1.PhoneNumberAddOnAssignment{ObjectMeta: metav1.ObjectMeta{
		Namespace: a.Namespace, Name: a.Name, UID: a.UID, ResourceVersion: a.ResourceVersion,
		Generation: a.Generation, DeletionTimestamp: a.DeletionTimestamp,
	}}
	kept.Spec.AccountRef.Name, kept.Status.ObservedGeneration = a.Spec.AccountRef.Name, a.Status.ObservedGeneration
	if ready := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
		kept.Status.Conditions = []metav1.Condition{{Type: ready.Type, Status: ready.Status, Reason: ready.Reason}}
		intern(&kept.Status.Conditions[0].Type)
		intern(&kept.Status.Conditions[0].Status)
		intern(&kept.Status.Conditions[0].Reason)
	}
	intern(&kept.Namespace)
	intern(&kept.Spec.AccountRef.Name)
	packStrings(&kept.Name, (*string)(&kept.UID), &kept.ResourceVersion)
	return kept, nil
}

// stripAssignment drops what no reconcile reads, and interns the strings that repeat from
// object to object. What it drops must never be sent back as removed, so the operator
// only patches.
func stripAssignment(object any) (any, error) {
	a, ok := object.(*v1alpha1.PhoneNumberAddOnAssignment)
	if !ok {
		return object, nil
	}
	a.TypeMeta = metav1.TypeMeta{} // the client sets it on what it hands out
	a.ManagedFields, a.Labels, a.OwnerReferences = nil, nil, nil
	maps.DeleteFunc(a.Annotations, func(key, _ string) bool {
		return key != v1alpha1.AnnotationReconcileRequestedAt && (key != v1alpha1.AnnotationAssigning || !ledger.IsFirst(a))
	})
	if len(a.Annotations) == 0 {
		a.Annotations = nil
	}
	intern(&a.Namespace)
	a.Finalizers, a.Spec.AddOnSIDs = shrink(a.Finalizers), shrink(a.Spec.AddOnSIDs)
	for i := range a.Finalizers {
		intern(&a.Finalizers[i])
	}
	intern(&a.Spec.AccountRef.Name)
	intern(&a.Spec.ManagementPolicy)
	intern(&a.Spec.DeletionPolicy)
	for i := range a.Spec.AddOnSIDs {
		intern(&a.Spec.AddOnSIDs[i])
	}
	stripStatus(&a.Status)
	packStrings(&a.Name, (*string)(&a.UID), &a.ResourceVersion, (*string)(&a.Spec.PhoneNumberSID), &a.Status.PhoneNumber)
	return a, nil
}

// packStrings gives the strings that are an object's own one allocation together.
func packStrings(strings ...*string) {
	var all []byte
	for _, s := range strings {
		all = append(all, *s...)
	}
	rest := string(all)
	for _, s := range strings {
		*s, rest = rest[:len(*s)], rest[len(*s):]
	}
}

func stripStatus(status *v1alpha1.PhoneNumberAddOnAssignmentStatus) {
	intern(&status.AccountSID)
	intern(&status.Claim)
	intern(&status.Synced)
	status.AddOns, status.Conditions = shrink(status.AddOns), shrink(status.Conditions)
	for i := range status.AddOns {
		s := &status.AddOns[i]
		intern(&s.SID)
		intern(&s.State)
		intern(&s.Ownership)
		intern(&s.AssignedSID)
		intern(&s.UniqueName)
		intern(&s.FriendlyName)
		intern(&s.Description)
		intern(&s.Message)
		if i > 0 && s.DateUpdated.Equal(status.AddOns[i-1].DateUpdated) {
			s.DateUpdated = status.AddOns[i-1].DateUpdated
		}
	}
	for i := range status.Conditions {
		c := &status.Conditions[i]
		intern(&c.Type)
		intern(&c.Status)
		intern(&c.Reason)
		intern(&c.Message)
	}
}

// intern makes equal strings share their memory, which is freed with the last of them.
func intern[S ~string](s *S) {
	*s = S(unique.Make(string(*s)).Value())
}

// shrink drops the room that decoding leaves at the end of a slice. In a status it is as
// large as the content.
func shrink[S ~[]E, E any](s S) S {
	if len(s) == cap(s) {
		return s
	}
	return slices.Clone(s)
}

// stripMetadata keeps the names, labels and finalizers of an object.
func stripMetadata(object any) (any, error) {
	if o, ok := object.(metav1.Object); ok {
		o.SetManagedFields(nil)
		o.SetAnnotations(nil)
	}
	return object, nil
}
