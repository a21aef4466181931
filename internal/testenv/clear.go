// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// Clear removes every object of the two kinds and every Secret in the operator's namespace,
// with or without a manager: it drops their finalizers. Twilio stays as it is.
func (e *Env) Clear(ctx context.Context) error {
	return Wait(ctx, startTimeout, "the cluster is empty", func() error {
		return errors.Join(
			e.clear(ctx, &v1alpha1.PhoneNumberAddOnAssignmentList{}),
			e.clear(ctx, &v1alpha1.TwilioAccountList{}),
			e.clear(ctx, &corev1.SecretList{}, client.InNamespace(Namespace)),
		)
	})
}

// clear returns an error while there were objects.
func (e *Env) clear(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	if err := e.Client.List(ctx, list, options...); err != nil {
		return err
	}
	var errs []error
	free := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))
	err := meta.EachListItem(list, func(item runtime.Object) error {
		object := item.(client.Object)
		_, _ = e.Client.Delete(ctx, object), e.Client.Patch(ctx, object, free) // the next look shows what it did
		errs = append(errs, fmt.Errorf("%T %s is left", object, object.GetName()))
		return nil
	})
	return errors.Join(append(errs, err)...)
}
