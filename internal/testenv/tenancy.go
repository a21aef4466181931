// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// Tenancy is a Twilio account as a cluster administrator sets it up: the Secret, the
// TwilioAccount, and the namespaces that it allows by their label.
type Tenancy struct {
	// Name is the name of the Secret and of the TwilioAccount.
	Name string
	// AccountSID and AuthToken are the credentials; URL is the base URL of Twilio's API.
	AccountSID, AuthToken, URL string
}

// tenancyLabel marks a namespace that the TwilioAccount of that name allows.
const tenancyLabel = "tenancy"

// Secret is the Secret with the auth token.
func (t Tenancy) Secret() *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: t.Name, Namespace: Namespace},
		StringData: map[string]string{v1alpha1.SecretKeyAuthToken: t.AuthToken},
	}
}

// Namespace is a namespace that the account allows.
func (t Tenancy) Namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{tenancyLabel: t.Name}}}
}

// Account is the TwilioAccount. Its resync interval is an hour, so that no resync hides a
// missed event.
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
