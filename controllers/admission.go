// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// admission decides which account an object may use.
type admission struct{ cached client.Reader }

// accountOf returns the account that an object refers to. It is an outcome when there is
// none of that name, or when the account does not allow the object's namespace.
func (d *admission) accountOf(ctx context.Context, a *assignment) (*v1alpha1.TwilioAccount, error) {
	name := a.Spec.AccountRef.Name
	var account v1alpha1.TwilioAccount
	if err := d.cached.Get(ctx, client.ObjectKey{Name: name}, &account); apierrors.IsNotFound(err) {
		return nil, accountNotFound(name)
	} else if err != nil {
		return nil, fmt.Errorf("reading TwilioAccount %s: %w", name, err)
	}
	allowed, err := d.allows(ctx, &account, a.Namespace)
	if err != nil {
		return nil, err
	}
	if !allowed {
		return nil, namespaceNotAllowed(name, a.Namespace)
	}
	return &account, nil
}

// allows reports whether an account allows a namespace.
func (d *admission) allows(ctx context.Context, account *v1alpha1.TwilioAccount, namespace string) (bool, error) {
	switch account.Spec.AllowedNamespaces.From {
	case v1alpha1.NamespacesFromAll:
		return true, nil
	case v1alpha1.NamespacesFromSelector:
	case v1alpha1.NamespacesFromNone:
		return false, nil
	default:
		return false, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(account.Spec.AllowedNamespaces.Selector)
	if err != nil {
		return false, selectorInvalid(account.Name, err) // the schema cannot refuse every such selector
	}
	ns := namespaceMetadata()
	if err := d.cached.Get(ctx, client.ObjectKey{Name: namespace}, ns); apierrors.IsNotFound(err) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("reading namespace %s: %w", namespace, err)
	}
	return selector.Matches(labels.Set(ns.Labels)), nil
}
