// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

// ConnectionOptions say how accounts are reached.
type ConnectionOptions struct {
	// Namespace is the operator's own, where the credential Secrets lie.
	Namespace string
	// AllowInsecureURL admits plain http to hosts that are not loopback.
	AllowInsecureURL bool
	// UserAgent is sent to Twilio with every request.
	UserAgent string
	// Transport is shared by all accounts.
	Transport http.RoundTripper
	// Governors hand out the turns of each account.
	Governors *twilio.Governors
	// Metrics count the calls; nil counts nothing.
	Metrics *twilio.Metrics
}

// Connections keeps one client for each TwilioAccount, made anew when the account's
// spec or its Secret changes, so that rotating a credential needs no restart.
type Connections struct {
	ConnectionOptions
	cached client.Reader // Secrets as metadata only
	live   client.Reader // reads a Secret's content, once for each of its versions

	mu        sync.Mutex
	byAccount map[string]*connection
}

// connection is what is needed to act on one account.
type connection struct {
	uid        types.UID
	generation int64
	// secret is the UID and resourceVersion of the Secret it was made from.
	secret   string
	client   *twilio.Client
	governor *twilio.Governor

	mu       sync.Mutex
	rejected error // the 401 by which Twilio refused the credential
}

// NewConnections returns Connections that read the metadata of Secrets from cached
// and their content from live.
func NewConnections(cached, live client.Reader, options ConnectionOptions) *Connections {
	return &Connections{ConnectionOptions: options, cached: cached, live: live, byAccount: map[string]*connection{}}
}

// to returns the connection to an account. It halts the pass when the Secret is
// missing or malformed, when apiBaseURL is refused, and, without any call, while
// Twilio is known to refuse the credential.
func (c *Connections) to(ctx context.Context, account *v1alpha1.TwilioAccount) (*connection, error) {
	conn, err := c.open(ctx, account)
	if err != nil {
		return nil, err
	}
	if err := conn.refusal(); err != nil {
		return nil, err
	}
	return conn, nil
}

// open is to, but also returns a connection whose credential is refused.
func (c *Connections) open(ctx context.Context, account *v1alpha1.TwilioAccount) (*connection, error) {
	version, err := c.secretVersion(ctx, account)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	conn := c.byAccount[account.Name]
	if conn != nil && conn.uid == account.UID && conn.generation == account.Generation && conn.secret == version {
		return conn, nil
	}
	made, err := c.make(ctx, account)
	if err != nil {
		return nil, err
	}
	if conn != nil && conn.governor != made.governor {
		conn.governor.RemoveCeiling(account.Name) // of the name's former account SID
	}
	c.byAccount[account.Name] = made
	return made, nil
}

// secretVersion names the version of the account's Secret that the cache shows.
func (c *Connections) secretVersion(ctx context.Context, account *v1alpha1.TwilioAccount) (string, error) {
	secret := &metav1.PartialObjectMetadata{}
	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	key := c.secretKey(account)
	if err := c.cached.Get(ctx, key, secret); apierrors.IsNotFound(err) {
		return "", c.secretMissing(account)
	} else if err != nil {
		return "", fmt.Errorf("reading the metadata of Secret %s: %w", key, err)
	}
	return versionOf(secret), nil
}

// make reads the Secret and makes the client.
func (c *Connections) make(ctx context.Context, account *v1alpha1.TwilioAccount) (*connection, error) {
	var secret corev1.Secret
	key := c.secretKey(account)
	if err := c.live.Get(ctx, key, &secret); apierrors.IsNotFound(err) {
		return nil, c.secretMissing(account)
	} else if err != nil {
		return nil, fmt.Errorf("reading Secret %s: %w", key, err)
	}
	if err := twilio.ValidateBaseURL(account.Spec.APIBaseURL, c.AllowInsecureURL); err != nil {
		return nil, halted(v1alpha1.ReasonAccountInvalid, "TwilioAccount %s: apiBaseURL is refused: %s.", account.Name, err)
	}
	credentials, err := twilio.ParseCredentials(string(account.Spec.AccountSID), secret.Data)
	if err != nil {
		return nil, halted(v1alpha1.ReasonCredentialsInvalid, "The Secret %s of TwilioAccount %s holds no usable credential: %s.", key.Name, account.Name, err)
	}
	governor := c.Governors.For(string(account.Spec.AccountSID))
	governor.SetCeiling(account.Name, int(account.Spec.MaxConcurrentRequests))
	cl, err := twilio.New(twilio.Options{
		AccountSID:    string(account.Spec.AccountSID),
		BaseURL:       account.Spec.APIBaseURL,
		Credentials:   credentials,
		Governor:      governor,
		Metrics:       c.Metrics,
		Transport:     c.Transport,
		UserAgent:     c.UserAgent,
		AllowInsecure: c.AllowInsecureURL,
	})
	if err != nil {
		return nil, halted(v1alpha1.ReasonAccountInvalid, "TwilioAccount %s cannot be used: %s.", account.Name, err)
	}
	return &connection{uid: account.UID, generation: account.Generation, secret: versionOf(&secret), client: cl, governor: governor}, nil
}

// forget drops the connection of a TwilioAccount that is gone.
func (c *Connections) forget(account string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn := c.byAccount[account]; conn != nil {
		conn.governor.RemoveCeiling(account)
		delete(c.byAccount, account)
	}
}

// reject notes that Twilio refused the credential, so that nobody tries it again
// before the Secret changes or the account's own check finds it accepted.
func (conn *connection) reject(err error) {
	conn.mu.Lock()
	defer conn.mu.Unlock()
	conn.rejected = err
}

// accept notes that Twilio took the credential. True if it was refused before.
func (conn *connection) accept() bool {
	conn.mu.Lock()
	defer conn.mu.Unlock()
	was := conn.rejected != nil
	conn.rejected = nil
	return was
}

// refusal is the 401 by which Twilio refused the credential, nil if it has not.
func (conn *connection) refusal() error {
	conn.mu.Lock()
	defer conn.mu.Unlock()
	return conn.rejected
}

func (c *Connections) secretKey(account *v1alpha1.TwilioAccount) types.NamespacedName {
	return types.NamespacedName{Namespace: c.Namespace, Name: account.Spec.CredentialsSecretRef.Name}
}

func (c *Connections) secretMissing(account *v1alpha1.TwilioAccount) error {
	return halted(v1alpha1.ReasonCredentialsInvalid,
		"The Secret %s of TwilioAccount %s does not exist in the operator's namespace %s. Create it with the keys %s and %s, or %s.",
		account.Spec.CredentialsSecretRef.Name, account.Name, c.Namespace,
		v1alpha1.SecretKeyAPIKeySID, v1alpha1.SecretKeyAPIKeySecret, v1alpha1.SecretKeyAuthToken)
}

func versionOf(secret metav1.Object) string {
	return string(secret.GetUID()) + "/" + secret.GetResourceVersion()
}

// accountOf returns the account that an object refers to. It halts the pass when
// there is none of that name or when it does not admit the object's namespace.
func (r *AssignmentReconciler) accountOf(ctx context.Context, a *v1alpha1.PhoneNumberAddOnAssignment) (*v1alpha1.TwilioAccount, error) {
	name := a.Spec.AccountRef.Name
	var account v1alpha1.TwilioAccount
	if err := r.Get(ctx, client.ObjectKey{Name: name}, &account); apierrors.IsNotFound(err) {
		return nil, halted(v1alpha1.ReasonAccountNotFound,
			"There is no TwilioAccount %s. Ask a cluster admin to create it, or name another one in spec.accountRef.", name)
	} else if err != nil {
		return nil, fmt.Errorf("reading TwilioAccount %s: %w", name, err)
	}
	allowed, err := r.allows(ctx, &account, a.Namespace)
	if err != nil {
		return nil, err
	}
	if !allowed {
		return nil, halted(v1alpha1.ReasonNamespaceNotAllowed,
			"TwilioAccount %s does not allow the namespace %s. Ask a cluster admin to add it to spec.allowedNamespaces of the account.", name, a.Namespace)
	}
	return &account, nil
}

// allows says whether an account admits a namespace.
func (r *AssignmentReconciler) allows(ctx context.Context, account *v1alpha1.TwilioAccount, namespace string) (bool, error) {
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
		// The schema admits selectors that only this conversion refuses; nobody is admitted by one.
		return false, nil
	}
	ns := &metav1.PartialObjectMetadata{}
	ns.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	if err := r.Get(ctx, client.ObjectKey{Name: namespace}, ns); apierrors.IsNotFound(err) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("reading namespace %s: %w", namespace, err)
	}
	return selector.Matches(labels.Set(ns.Labels)), nil
}
