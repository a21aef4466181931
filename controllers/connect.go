// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

// connections keeps one client for each TwilioAccount. A client is built anew when the
// account's spec or its Secret changes, so rotating a credential needs no restart.
type connections struct {
	cached client.Reader // Secrets as metadata only
	live   client.Reader // reads the content of a Secret, once for each of its versions

	// namespace is the operator's own, where the credential Secrets are.
	namespace        string
	allowInsecureURL bool
	userAgent        string
	transport        http.RoundTripper
	limiters         *twilio.Limiters
	metrics          *twilio.Metrics

	mu        sync.Mutex
	byAccount map[string]*slot
	// held maps the version of a Secret to the one that it got when the operator edited its
	// finalizers: the content is the same.
	held map[string]string
}

// slot is the place of one account. Its lock is held while a Secret is read, so that
// one slow or broken account does not hold up another.
type slot struct {
	mu   sync.Mutex
	conn *connection
	// failed is why no connection could be made of this version.
	failed  *outcome
	version version
}

// version says what a connection was made from.
type version struct {
	uid        types.UID
	generation int64
	secret     string // UID and resourceVersion
}

// connection is what is needed to act on one account.
type connection struct {
	version    version
	accountSID string
	client     *twilio.Client
	limiter    *twilio.Limiter
	credential string // in words, without anything secret

	mu      sync.Mutex
	refused *outcome // Twilio does not accept the credential
}

// to returns the connection to an account. It is an outcome when the Secret is missing or
// malformed, when apiBaseURL is refused, and, without a call, while Twilio is known to
// refuse the credential.
func (c *connections) to(ctx context.Context, account *v1alpha1.TwilioAccount) (*connection, error) {
	conn, err := c.get(ctx, account)
	if err != nil {
		return nil, err
	}
	if refused := conn.refusal(); refused != nil {
		return nil, refused
	}
	return conn, nil
}

// get returns the connection even if its credential is known to be refused.
func (c *connections) get(ctx context.Context, account *v1alpha1.TwilioAccount) (*connection, error) {
	secret, err := c.secretVersion(ctx, account)
	if err != nil {
		return nil, err
	}
	current := version{account.UID, account.Generation, secret}
	s := c.slotOf(account.Name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version.secret = c.contentVersion(s.version.secret)
	switch {
	case s.version == current && s.failed != nil:
		return nil, s.failed
	case s.version == current && s.conn != nil:
		return s.conn, nil
	}
	conn, err := c.build(ctx, account)
	if failed := asOutcome(err); failed != nil {
		// The Secret is read again only when it changes, however many objects ask.
		s.failed, s.version = failed, current
		return nil, err
	} else if err != nil {
		return nil, err
	}
	if s.conn != nil && s.conn.limiter != conn.limiter {
		s.conn.limiter.RemoveMaxConcurrency(account.Name) // of the former account SID of that name
	}
	s.conn, s.failed, s.version = conn, nil, conn.version
	return conn, nil
}

func (c *connections) slotOf(account string) *slot {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byAccount[account] == nil {
		c.byAccount[account] = &slot{}
	}
	return c.byAccount[account]
}

// secretVersion names the version of the account's Secret that the cache shows.
func (c *connections) secretVersion(ctx context.Context, account *v1alpha1.TwilioAccount) (string, error) {
	secret := secretMetadata()
	key := c.secretKey(account)
	if err := c.cached.Get(ctx, key, secret); apierrors.IsNotFound(err) {
		return "", secretMissing(account, c.namespace)
	} else if err != nil {
		return "", fmt.Errorf("reading the metadata of Secret %s: %w", key, err)
	}
	return c.contentVersion(versionOf(secret)), nil
}

// noteHeld says that a Secret changed from one version to another without its content.
func (c *connections) noteHeld(from, to string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held[from] = to
}

// contentVersion is the version by which a Secret with this content is known.
func (c *connections) contentVersion(version string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for to, ok := c.held[version]; ok; to, ok = c.held[version] {
		version = to
	}
	return version
}

// build reads the Secret and builds the client.
func (c *connections) build(ctx context.Context, account *v1alpha1.TwilioAccount) (*connection, error) {
	var secret corev1.Secret
	key := c.secretKey(account)
	if err := c.live.Get(ctx, key, &secret); apierrors.IsNotFound(err) {
		return nil, secretMissing(account, c.namespace)
	} else if err != nil {
		return nil, fmt.Errorf("reading Secret %s: %w", key, err)
	}
	credentials, err := twilio.ParseCredentials(string(account.Spec.AccountSID), secret.Data)
	if err != nil {
		return nil, secretInvalid(account, err)
	}
	limiter := c.limiters.For(string(account.Spec.AccountSID))
	cl, err := twilio.New(twilio.Options{
		AccountSID:    string(account.Spec.AccountSID),
		BaseURL:       account.Spec.APIBaseURL,
		Credentials:   credentials,
		Limiter:       limiter,
		Metrics:       c.metrics,
		Transport:     c.transport,
		UserAgent:     c.userAgent,
		AllowInsecure: c.allowInsecureURL,
	})
	if err != nil {
		return nil, accountInvalid(account.Name, err)
	}
	limiter.SetMaxConcurrency(account.Name, int(account.Spec.MaxConcurrentRequests))
	return &connection{
		version:    version{account.UID, account.Generation, c.contentVersion(versionOf(&secret))},
		accountSID: string(account.Spec.AccountSID), client: cl, limiter: limiter, credential: credentials.Describe(),
	}, nil
}

// forget drops the connection of a TwilioAccount that is gone, and returns its account SID
// if it is known.
func (c *connections) forget(account string) (accountSID string) {
	c.mu.Lock()
	s := c.byAccount[account]
	delete(c.byAccount, account)
	c.mu.Unlock()
	if s == nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		s.conn.limiter.RemoveMaxConcurrency(account)
		c.limiters.Forget(s.conn.accountSID)
		return s.conn.accountSID
	}
	return ""
}

// refuse notes that Twilio refused the credential, so that nobody tries it again before
// the Secret changes or the account's own check finds it accepted.
func (conn *connection) refuse(o *outcome) {
	conn.mu.Lock()
	defer conn.mu.Unlock()
	conn.refused = o
}

// accept notes that Twilio accepts the credential.
func (conn *connection) accept() { conn.refuse(nil) }

// refusal says why the credential is refused, nil if it is not.
func (conn *connection) refusal() *outcome {
	conn.mu.Lock()
	defer conn.mu.Unlock()
	return conn.refused
}

func (c *connections) secretKey(account *v1alpha1.TwilioAccount) types.NamespacedName {
	return types.NamespacedName{Namespace: c.namespace, Name: account.Spec.CredentialsSecretRef.Name}
}

func versionOf(secret metav1.Object) string {
	return string(secret.GetUID()) + "/" + secret.GetResourceVersion()
}

const (
	// tellQueuedAfter is how long an object waits for a permit before its status says so.
	tellQueuedAfter = 10 * time.Second
	// tellQueuedUpTo is up to how many waiting objects of an account each says so. To tell of a
	// roll-out would cost a write for every object, all at once.
	tellQueuedUpTo = 20
)

// acquire asks for a permit among the account's calls. Without one the reconcile ends; the
// limiter wakes the object when a permit is held ready for it.
func (r *assignmentReconciler) acquire(s *scope, conn *connection) error {
	a := s.object
	priority := twilio.Foreground
	if a.DeletionTimestamp.IsZero() && isReported(a) && !isReconciling(a) {
		priority = twilio.Background
	}
	key := s.key()
	ok, pause := s.attempt.Acquire(conn.limiter, priority, func() { r.queue.add(urgent, 0, key) })
	if ok {
		r.fleet.Admitted(key)
		return nil
	}
	if pause.Reason != twilio.Busy {
		r.enqueueAccount(s.account.Name) // the account tells of it first
	}
	o := queuedByLimiter(s.account.Name, pause.Reason)
	if queued := r.fleet.Queued(key); isSynced(a) {
		o.skipStatus = true
	} else if pause.Reason == twilio.Busy {
		o.tellOfQueue(queued, conn.limiter.Snapshot().WaitingForeground)
	}
	return o
}

// tellOfQueue has an object that has waited for so long, as one of so many of its account,
// say so in its status or not. Most wait for less: their first status is that of the outcome.
func (o *outcome) tellOfQueue(queued time.Duration, waiting int) {
	switch {
	case waiting > tellQueuedUpTo:
		o.skipStatus = true
	case queued < tellQueuedAfter:
		o.skipStatus, o.kind, o.after, o.benign = true, kindRetry, tellQueuedAfter-queued, true
	}
}

// noteUnauthorized notes a 401, so that no other object tries the same credential, and has
// the account check it.
func (r *assignmentReconciler) noteUnauthorized(conn *connection, account *v1alpha1.TwilioAccount, err error) error {
	if !twilio.IsUnauthorized(err) {
		return err
	}
	refused := credentialRefused(account, conn.credential, err)
	conn.refuse(refused)
	r.accounts.add(normal, 0, client.ObjectKeyFromObject(account))
	return errors.Join(refused, err)
}
