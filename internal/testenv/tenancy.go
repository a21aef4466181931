// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// Tenancy is a Twilio account as a cluster admin makes it known: the Secret, the
// TwilioAccount, and the namespaces that it admits by their label.
type Tenancy struct {
	// Name is that of the Secret and of the TwilioAccount.
	Name string
	// AccountSID and AuthToken are the account's in Twilio, whose API is at URL.
	AccountSID, AuthToken, URL string
}

// tenancyLabel is on the namespaces that a TwilioAccount of its value admits.
const tenancyLabel = "tenancy"

// Secret holds the auth token.
func (t Tenancy) Secret() *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: t.Name, Namespace: Namespace},
		StringData: map[string]string{v1alpha1.SecretKeyAuthToken: t.AuthToken},
	}
}

// Namespace is one that the account admits.
func (t Tenancy) Namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{tenancyLabel: t.Name}}}
}

// Account is the TwilioAccount. Its interval is too long for a check to hide what an
// event should have brought about.
func (t Tenancy) Account() *v1alpha1.TwilioAccount {
	return &v1alpha1.TwilioAccount{
		ObjectMeta: metav1.ObjectMeta{Name: t.Name},
		Spec: v1alpha1.TwilioAccountSpec{
			AccountSID:           v1alpha1.AccountSID(t.AccountSID),
			CredentialsSecretRef: v1alpha1.SecretReference{Name: t.Name},
			AllowedNamespaces: v1alpha1.AllowedNamespaces{
				From:     v1alpha1.NamespacesFromSelector,
				Selector: &metav1.LabelSelector{MatchLabels: map[string]string{tenancyLabel: t.Name}},
			},
			APIBaseURL:     t.URL,
			ResyncInterval: metav1.Duration{Duration: time.Hour},
		},
	}
}
