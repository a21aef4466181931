// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// look compares what is there with what must be.
func (r *run) look(ctx context.Context, healed time.Time) error {
	if n := r.hanging(healed); n > 0 {
		return fmt.Errorf("%d requests hang that faults have reached", n)
	}
	s, err := r.scene(ctx)
	if err != nil {
		return err
	}
	return s.check()
}

// scene reads what is there.
func (r *run) scene(ctx context.Context) (*scene, error) {
	var objects v1alpha1.PhoneNumberAddOnAssignmentList
	var accounts v1alpha1.TwilioAccountList
	var namespaces corev1.NamespaceList
	if err := errors.Join(r.env.Client.List(ctx, &objects), r.env.Client.List(ctx, &accounts), r.env.Client.List(ctx, &namespaces)); err != nil {
		return nil, err
	}
	s := &scene{objects: objects.Items, accounts: map[string]*v1alpha1.TwilioAccount{}, allowed: map[string]bool{}, sites: map[string]*siteState{}, managers: map[string]string{}}
	for i := range accounts.Items {
		s.accounts[accounts.Items[i].Name] = &accounts.Items[i]
	}
	for i := range namespaces.Items {
		s.allowed[namespaces.Items[i].Name] = namespaces.Items[i].Labels[allowedLabel] == "allowed"
	}
	for i := range sites {
		s.managers[sites[i].name] = r.crewOf(sites[i]).lease
	}
	var err error
	for i := range sites {
		if s.sites[sites[i].name], err = r.siteState(ctx, &sites[i]); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (r *run) siteState(ctx context.Context, s *site) (*siteState, error) {
	state := &siteState{numbers: map[string][]string{}, installed: map[string]bool{}, otherSIDs: r.plan.differentSIDs}
	for _, number := range s.numbers {
		state.numbers[number] = r.sim.Assigned(number)
	}
	var status twiliosim.AccountStatus
	for _, account := range r.sim.Snapshot().Accounts {
		if account.SID == s.sid {
			status = account.Status
			for _, addOn := range account.AddOns {
				state.installed[addOn.SID] = true
			}
		}
	}
	var secret corev1.Secret
	err := r.env.Client.Get(ctx, client.ObjectKey{Namespace: testenv.Namespace, Name: s.secret}, &secret)
	if client.IgnoreNotFound(err) != nil {
		return nil, err
	}
	state.secretThere = err == nil
	state.secretGoing = !secret.DeletionTimestamp.IsZero()
	state.secretHeld = controllerutil.ContainsFinalizer(&secret, v1alpha1.FinalizerInUse)
	password := secret.Data[v1alpha1.SecretKeyAuthToken]
	if s.key != "" {
		password = secret.Data[v1alpha1.SecretKeyAPIKeySecret]
	}
	switch {
	case apierrors.IsNotFound(err), string(password) != r.valid[s.name]:
		state.secretWrong = apierrors.IsNotFound(err) || strings.Contains(string(password), "wrong")
		state.credential = v1alpha1.ReasonCredentialsInvalid
	case status == twiliosim.AccountSuspended && strings.HasPrefix(string(r.sim.Behaviour().Suspended), "403"):
		state.credential = v1alpha1.ReasonPermissionDenied
	case status == twiliosim.AccountSuspended:
		state.credential = v1alpha1.ReasonCredentialsInvalid
	}
	return state, nil
}
