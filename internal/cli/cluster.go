// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// fieldOwner is under which objects are changed.
const fieldOwner = "kubectl-twilio-addons"

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	return scheme, errors.Join(v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme), appsv1.AddToScheme(scheme),
		coordinationv1.AddToScheme(scheme), authorizationv1.AddToScheme(scheme), apiextensionsv1.AddToScheme(scheme))
}

func (a *app) restConfig() (*rest.Config, error) {
	config, err := a.kube.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("finding a cluster: %w", err)
	}
	config.UserAgent = fieldOwner + "/" + a.version
	return config, nil
}

// cluster returns a client of the cluster that the kubeconfig flags name.
func (a *app) cluster() (client.Client, error) {
	config, err := a.restConfig()
	if err != nil {
		return nil, err
	}
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	cl, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("connecting to the cluster: %w", err)
	}
	return client.WithFieldOwner(cl, fieldOwner), nil
}

// namespace is the one of -n, otherwise that of the kube context.
func (a *app) namespace() (string, error) {
	namespace, _, err := a.kube.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return "", fmt.Errorf("reading the kubeconfig: %w", err)
	}
	return namespace, nil
}

// givenNamespace is the one of -n, "" without it.
func (a *app) givenNamespace() string {
	if a.kube.Namespace == nil {
		return ""
	}
	return *a.kube.Namespace
}

// pageSize bounds one answer of the API server.
const pageSize = 500

// assignments lists the objects of a namespace, of all namespaces if it is "".
func assignments(ctx context.Context, cl client.Reader, namespace string) ([]v1alpha1.PhoneNumberAddOnAssignment, error) {
	var all []v1alpha1.PhoneNumberAddOnAssignment
	list := &v1alpha1.PhoneNumberAddOnAssignmentList{}
	for {
		err := cl.List(ctx, list, client.InNamespace(namespace), client.Limit(pageSize), client.Continue(list.Continue))
		if err != nil {
			return nil, listError("PhoneNumberAddOnAssignments", err)
		}
		all = append(all, list.Items...)
		if list.Continue == "" {
			return all, nil
		}
	}
}

func accounts(ctx context.Context, cl client.Reader) ([]v1alpha1.TwilioAccount, error) {
	list := &v1alpha1.TwilioAccountList{}
	if err := cl.List(ctx, list); err != nil {
		return nil, listError("TwilioAccounts", err)
	}
	return list.Items, nil
}

func listError(what string, err error) error {
	if meta.IsNoMatchError(err) {
		return fmt.Errorf("the cluster does not know %s: the operator's CustomResourceDefinitions are not installed", what)
	}
	return fmt.Errorf("listing %s: %w", what, err)
}
