// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package rights

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// trap is a server that nobody is to send a credential to.
type trap struct {
	*httptest.Server
	mu   sync.Mutex
	seen []string
}

func newTrap(t *testing.T) *trap {
	t.Helper()
	tr := &trap{}
	tr.Server = httptest.NewUnstartedServer(http.HandlerFunc(tr.record))
	tr.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(tr.Close)
	return tr
}

// record notes what was asked for, and every header by which somebody says who they are.
func (tr *trap) record(w http.ResponseWriter, r *http.Request) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	request := r.Method + " " + r.Host
	for header := range r.Header {
		if strings.Contains(strings.ToLower(header), "auth") || header == "Cookie" {
			request += " with " + header
		}
	}
	tr.seen = append(tr.seen, request)
	w.WriteHeader(http.StatusBadGateway)
}

func (tr *trap) requests() []string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.seen
}

// accountSays waits until an account is not ready for a reason.
func accountSays(ctx context.Context, name, reason string, hints ...string) error {
	account := &v1alpha1.TwilioAccount{}
	return testenv.Wait(ctx, patience, "the account says "+reason, func() error {
		if err := env.Client.Get(ctx, client.ObjectKey{Name: name}, account); err != nil {
			return err
		}
		return testenv.Says(account.Status.Conditions, reason, hints...)
	})
}

// silent fails the test if the credential of the world is in the log, in any form.
func (w *world) silent(t *testing.T, process *testenv.Process) {
	t.Helper()
	written, err := os.ReadFile(process.Log)
	must(t, err)
	basic := base64.StdEncoding.EncodeToString([]byte(w.account + ":" + w.token()))
	for _, secret := range []string{w.token(), basic} {
		if bytes.Contains(written, []byte(secret)) {
			t.Error("the credential is in the log")
		}
	}
}

// Whoever answers in Twilio's place, or between, cannot have the operator send a request
// elsewhere: not by redirecting it, and not by a link to the next page.
func TestAnswersLeadNowhereElse(t *testing.T) {
	elsewhere := newTrap(t)
	elsewhere.Start()
	faults := map[string]twiliosim.Fault{
		"a next page elsewhere": {Operation: twiliosim.OpList, Kind: twiliosim.FaultNextPageElsewhere, Location: elsewhere.URL},
	}
	for _, status := range []int{301, 302, 303, 307, 308} {
		name := fmt.Sprintf("a redirect by %d", status)
		faults[name] = twiliosim.Fault{Kind: twiliosim.FaultRedirect, Status: status, Location: elsewhere.URL}
	}
	manager := startManager(t)
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			w, err := newWorld(t.Context())
			must(t, err)
			fault.Account = w.account
			must(t, sim.Admin.AddFault(t.Context(), fault))
			pn, err := w.number(t.Context())
			must(t, err)
			a := w.assignment(w.name, "line", pn, 1)
			must(t, env.Client.Create(t.Context(), a))
			must(t, says(t.Context(), a, v1alpha1.ReasonTwilioUnavailable))
			w.silent(t, manager)
		})
	}
	if seen := elsewhere.requests(); len(seen) > 0 {
		t.Errorf("elsewhere arrived %q", seen)
	}
	must(t, sim.Admin.ClearFaults(t.Context()))
}

// The credential goes over plain http to loopback only, and over TLS only to whom the
// certificate says it goes to. A proxy of the environment never sees it.
func TestCredentialIsSentToNobodyElse(t *testing.T) {
	proxy, impostor := newTrap(t), newTrap(t)
	proxy.Start()
	impostor.StartTLS()
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		t.Setenv(name, proxy.URL)
	}
	t.Setenv("NO_PROXY", "127.0.0.1")
	t.Setenv("no_proxy", "127.0.0.1")

	strict := startManager(t)
	for _, c := range []struct{ baseURL, reason, hint string }{
		{"http://twilio.invalid", v1alpha1.ReasonAccountInvalid, "plain http to a host other than loopback: use https"},
		{impostor.URL, v1alpha1.ReasonTwilioUnavailable, "certificate for Acme Co issued by Acme Co is not trusted"},
	} {
		leads(t, strict, c.baseURL, c.reason, c.hint)
	}
	if seen := proxy.requests(); len(seen) > 0 {
		t.Errorf("at the proxy arrived %q", seen)
	}
	must(t, strict.Stop())

	// With the flag, plain http leaves the machine; but by no proxy, which could read it.
	lax := startManager(t, "--allow-insecure-twilio-url")
	leads(t, lax, "http://twilio.invalid", v1alpha1.ReasonTwilioUnavailable, "looking up twilio.invalid")
	leads(t, lax, "https://twilio.invalid", v1alpha1.ReasonTwilioUnavailable, "asking the proxy")
	distinct := map[string]bool{}
	for _, request := range proxy.requests() {
		distinct[request] = true
	}
	if diff := cmp.Diff(map[string]bool{"CONNECT twilio.invalid:443": true}, distinct); diff != "" {
		t.Errorf("at the proxy arrived (-want +got):\n%s", diff)
	}
	if seen := impostor.requests(); len(seen) > 0 {
		t.Errorf("at the impostor arrived %q", seen)
	}
}

// leads gives an account a base URL, and waits for what comes of it.
func leads(t *testing.T, manager *testenv.Process, baseURL, reason, hint string) {
	t.Helper()
	w, err := newWorld(t.Context(), func(account *v1alpha1.TwilioAccount) { account.Spec.APIBaseURL = baseURL })
	must(t, err)
	must(t, accountSays(t.Context(), w.name, reason, hint))
	w.silent(t, manager)
	// Gone, so that a manager started later does not try it.
	must(t, env.Client.Delete(t.Context(), w.twilioAccount()))
	must(t, gone(t.Context(), w.twilioAccount()))
}
