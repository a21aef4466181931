// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/cli/live"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

// Names of the environment variables. The first four are those of Twilio's own tools.
const (
	envAccountSID = "TWILIO_ACCOUNT_SID"
	envAPIKey     = "TWILIO_API_KEY"
	envAPISecret  = "TWILIO_API_SECRET"
	envAuthToken  = "TWILIO_AUTH_TOKEN"
	envBaseURL    = "TWILIO_API_BASE_URL"
)

// twilioFlags are those of commands that read from Twilio.
type twilioFlags struct {
	account           string
	accountSID        string
	operatorNamespace string
	baseURL           string
	allowInsecure     bool
	concurrency       int
	quiet             bool
}

func (f *twilioFlags) bind(flags *pflag.FlagSet) {
	flags.StringVar(&f.account, "account", "", "Take the credential of this TwilioAccount, from its Secret, in place of the environment's.")
	flags.StringVar(&f.accountSID, "account-sid", "", "The account or subaccount to read. Default: $"+envAccountSID+".")
	f.bindOperatorNamespace(flags)
	flags.StringVar(&f.baseURL, "api-base-url", "", "Where Twilio's REST API is. Default: $"+envBaseURL+", or "+twilio.DefaultBaseURL+".")
	flags.BoolVar(&f.allowInsecure, "allow-insecure-twilio-url", false, "Admit plain http to hosts that are not loopback. The credential then travels unprotected.")
	flags.IntVar(&f.concurrency, "max-concurrent-requests", twilio.DefaultMaxConcurrency, "How many requests to Twilio may be in flight at once, 1 to 100.")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "Do not show how far a long read is.")
}

func (f *twilioFlags) bindOperatorNamespace(flags *pflag.FlagSet) {
	flags.StringVar(&f.operatorNamespace, "operator-namespace", "twilio-addon-operator-system", "The namespace that the operator runs in and the Secrets are in.")
}

// bindTwilio adds the flags to a command, with completion.
func (a *app) bindTwilio(cmd *cobra.Command) {
	a.twilio.bind(cmd.Flags())
	a.completeFlag(cmd, "account", a.accountNames)
}

// session makes clients of one credential; its accounts share nothing but the process.
type session struct {
	app         *app
	credentials twilio.Credentials
	accountSID  string // the credential's own, or the one asked for
	baseURL     string
	limiters    *twilio.Limiters
	transport   *twilio.Transport
	calls       atomic.Int64
}

// connect finds the credential: that of --account, otherwise the environment's.
func (a *app) connect(ctx context.Context) (*session, error) {
	if n := a.twilio.concurrency; n < 1 || n > 100 {
		return nil, fmt.Errorf("--max-concurrent-requests must be from 1 to 100, not %d", n)
	}
	s := &session{app: a, limiters: twilio.NewLimiters(nil), transport: twilio.NewTransport(a.twilio.concurrency)}
	var err error
	if a.twilio.account != "" {
		err = s.fromCluster(ctx)
	} else {
		err = s.fromEnvironment()
	}
	if err != nil {
		return nil, err
	}
	s.baseURL = cmp.Or(a.twilio.baseURL, s.baseURL, a.getenv(envBaseURL), twilio.DefaultBaseURL)
	s.accountSID = cmp.Or(a.twilio.accountSID, s.accountSID)
	return s, nil
}

// hasCredential says whether connect would find one.
func (a *app) hasCredential() bool {
	return a.twilio.account != "" || a.getenv(envAccountSID) != "" || a.getenv(envAuthToken) != "" || a.getenv(envAPISecret) != ""
}

func (s *session) fromEnvironment() error {
	env := s.app.getenv
	s.accountSID = env(envAccountSID)
	if s.accountSID == "" {
		return fmt.Errorf("no credential: set %s and %s with %s (or %s), or name a TwilioAccount with --account",
			envAccountSID, envAPIKey, envAPISecret, envAuthToken)
	}
	parsed, err := twilio.ParseCredentials(s.accountSID, map[string][]byte{
		twilio.KeyAuthToken:    []byte(env(envAuthToken)),
		twilio.KeyAPIKeySID:    []byte(env(envAPIKey)),
		twilio.KeyAPIKeySecret: []byte(env(envAPISecret)),
	})
	if err != nil {
		return fmt.Errorf("the credential of the environment cannot be used: set %s with %s and %s, or %s: %w",
			envAccountSID, envAPIKey, envAPISecret, envAuthToken, environmentError{err})
	}
	s.credentials = parsed
	return nil
}

// environmentError words the error about a Secret as one about the environment.
type environmentError struct{ error }

func (e environmentError) Error() string {
	return replaceAll(e.error.Error(), "the Secret", "the environment",
		twilio.KeyAPIKeySecret, envAPISecret, twilio.KeyAPIKeySID, envAPIKey, twilio.KeyAuthToken, envAuthToken,
		"the environment's ", "")
}

func (s *session) fromCluster(ctx context.Context) error {
	cl, err := s.app.cluster()
	if err != nil {
		return err
	}
	account := &v1alpha1.TwilioAccount{}
	if err := cl.Get(ctx, client.ObjectKey{Name: s.app.twilio.account}, account); err != nil {
		return fmt.Errorf("reading the TwilioAccount %s: %w", s.app.twilio.account, err)
	}
	s.credentials, err = s.app.credentialsOf(ctx, cl, account)
	s.accountSID, s.baseURL = string(account.Spec.AccountSID), account.Spec.APIBaseURL
	return err
}

// credentialsOf reads the Secret of an account.
func (a *app) credentialsOf(ctx context.Context, cl client.Reader, account *v1alpha1.TwilioAccount) (twilio.Credentials, error) {
	secret := &corev1.Secret{}
	name := client.ObjectKey{Namespace: a.twilio.operatorNamespace, Name: account.Spec.CredentialsSecretRef.Name}
	switch err := cl.Get(ctx, name, secret); {
	case apierrors.IsForbidden(err):
		return twilio.Credentials{}, fmt.Errorf("you may not read the Secret %s: set %s and a credential in the environment instead", name, envAccountSID)
	case err != nil:
		return twilio.Credentials{}, fmt.Errorf("reading the Secret %s: %w", name, err)
	}
	credentials, err := twilio.ParseCredentials(string(account.Spec.AccountSID), secret.Data)
	if err != nil {
		return twilio.Credentials{}, fmt.Errorf("%w (%s)", err, name)
	}
	return credentials, nil
}

// client returns a client that only reads, of an account that the credential may act on.
func (s *session) client(accountSID string) (*twilio.Client, error) {
	limiter := s.limiters.For(accountSID)
	limiter.SetMaxConcurrency("cli", s.app.twilio.concurrency)
	cl, err := twilio.New(twilio.Options{
		AccountSID:    accountSID,
		BaseURL:       s.baseURL,
		Credentials:   s.credentials,
		Limiter:       limiter,
		Transport:     s.transport,
		UserAgent:     "kubectl-twilio_addons/" + s.app.version,
		AllowInsecure: s.app.twilio.allowInsecure,
	})
	if err != nil {
		return nil, err
	}
	return cl.ReadOnly(), nil
}

// scan reads an account, or of it the numbers in only (SIDs in lower case; nil for all).
func (s *session) scan(ctx context.Context, accountSID string, only map[string]bool, installed bool) (*live.Account, error) {
	cl, err := s.client(accountSID)
	if err != nil {
		return nil, err
	}
	progress := s.app.newProgress("numbers of " + accountSID + " read")
	options := live.Options{
		Concurrency: s.app.twilio.concurrency,
		Only:        only,
		Progress:    progress.update,
		Patience:    s.app.patience,
		Acquire:     func(ctx context.Context) (func(), error) { return s.acquire(ctx, accountSID) },
	}
	account, err := live.Scan(ctx, cl, accountSID, options)
	if err == nil && installed {
		err = live.ReadInstalled(ctx, cl, account, options)
	}
	progress.end()
	if err != nil {
		return nil, accountError{accountSID, err}
	}
	return account, nil
}

// acquire waits for a permit of the account; while its calls are paused, not for long.
func (s *session) acquire(ctx context.Context, accountSID string) (func(), error) {
	key := strconv.FormatInt(s.calls.Add(1), 10)
	attempt := s.limiters.Begin(key)
	woken := make(chan struct{}, 1)
	wake := func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	}
	giveUp := func(err error) (func(), error) {
		attempt.End()
		s.limiters.Cancel(key)
		return nil, err
	}
	for {
		ok, pause := attempt.Acquire(s.limiters.For(accountSID), twilio.Foreground, wake)
		if ok {
			return attempt.End, nil
		}
		var tired <-chan time.Time // never, while others merely use the permits
		if pause.Reason != twilio.Busy {
			tired = time.After(s.app.patience)
		}
		select {
		case <-woken:
		case <-tired:
			return giveUp(live.ErrPaused)
		case <-ctx.Done():
			return giveUp(ctx.Err())
		}
	}
}

// accountError is an error of a scan, with the account that it is about.
type accountError struct {
	accountSID string
	error
}

func (e accountError) Unwrap() error { return e.error }

// explain is an error as one sentence.
func explain(ctx context.Context, err error) string {
	if ctx.Err() != nil {
		return "interrupted: nothing was written"
	}
	e, ok := errors.AsType[accountError](err)
	if !ok {
		return oneLine(err.Error())
	}
	detail := twilio.ExplainAnswer(e.error)
	switch {
	case twilio.IsUnauthorized(err):
		return fmt.Sprintf("Twilio does not accept the credential for the account %s (%s)", e.accountSID, detail)
	case twilio.IsPermissionDenied(err):
		return fmt.Sprintf("the credential may not read the account %s (%s)", e.accountSID, detail)
	case twilio.IsThrottled(err):
		return fmt.Sprintf("Twilio throttles the account %s: try again later, or with a lower --max-concurrent-requests (%s)", e.accountSID, detail)
	case twilio.IsTransient(err):
		return fmt.Sprintf("the account %s cannot be read from Twilio: %s", e.accountSID, detail)
	}
	return fmt.Sprintf("the account %s cannot be read: %s", e.accountSID, oneLine(err.Error()))
}

// progress tells how far a long read is, unless --quiet is given: on a terminal on one line
// that it rewrites, elsewhere a line now and then.
type progress struct {
	app      *app
	what     string
	terminal bool
	last     time.Time
	shown    bool
}

const (
	terminalEvery = 100 * time.Millisecond
	lineEvery     = 10 * time.Second
)

func (a *app) newProgress(what string) *progress {
	return &progress{app: a, what: what, terminal: isTerminal(a.ErrOut), last: time.Now()}
}

// update is not called concurrently.
func (p *progress) update(done, total int) {
	every := lineEvery
	if p.terminal {
		every = terminalEvery
	}
	if p.app.twilio.quiet || time.Since(p.last) < every {
		return
	}
	p.last = time.Now()
	if p.terminal {
		fmt.Fprintf(p.app.ErrOut, "\r%d of %d %s", done, total, p.what)
		p.shown = true
		return
	}
	fmt.Fprintf(p.app.ErrOut, "%d of %d %s\n", done, total, p.what)
}

func (p *progress) end() {
	if p.shown {
		fmt.Fprint(p.app.ErrOut, "\r\x1b[K")
	}
}
