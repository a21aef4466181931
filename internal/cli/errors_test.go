// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// reader is a command that reads Twilio, and what it reads from standard input.
type reader struct {
	args  []string
	stdin string
}

// readers are the commands that need Twilio alone, writing to standard output and to dir.
func readers(dir string) map[string]reader {
	state := fmt.Sprintf(`{"version":4,"resources":[{"mode":"managed","type":"twilio_api_accounts_incoming_phone_numbers_assigned_add_ons","name":"line",
		"instances":[{"index_key":0,"attributes":{"id":"%s/%s"}},{"index_key":1,"attributes":{"id":"%s/%s"}}]}]}`, pn(1), xe(1), pn(2), xe(1))
	two := documents(object("a", 1, []int{3}), object("b", 2, []int{3}))
	return map[string]reader{
		"export":                  {[]string{"export"}, ""},
		"export to a folder":      {[]string{"export", "--output-dir", dir, "--kustomization"}, ""},
		"export --from-terraform": {[]string{"export", "--from-terraform", "-", "--output-dir", dir, "--allow-drift"}, state},
		"plan":                    {[]string{"plan", "-f", "-"}, two},
		"plan as Markdown":        {[]string{"plan", "-f", "-", "-o", "markdown"}, two},
		"plan as JSON":            {[]string{"plan", "-f", "-", "-o", "json"}, two},
	}
}

// Whatever goes wrong on the way to Twilio, each command says it in one sentence, exits
// with 1, prints nothing that looks like a result, and writes no file.
func TestReadersFailWholly(t *testing.T) {
	t.Parallel()
	throttled := twiliosim.Fault{Kind: twiliosim.FaultError, Status: 429}
	cases := map[string]struct {
		change func(w *world)
		says   string
	}{
		"no account SID": {func(w *world) { delete(w.env, envAccountSID) }, envAccountSID},
		"half a credential": {func(w *world) { delete(w.env, envAuthToken); w.env[envAPIKey] = twiliosim.SID("SK", 1) },
			envAPISecret},
		"wrong token":            {func(w *world) { w.env[envAuthToken] = "other" }, "does not accept the credential"},
		"no rights":              {func(w *world) { restrict(w) }, "may not read the account"},
		"no Twilio":              {func(w *world) { w.env[envBaseURL] = "http://127.0.0.1:1" }, "connection refused"},
		"plain http":             {func(w *world) { w.env[envBaseURL] = "http://twilio.example" }, "plain http"},
		"throttled for long":     {func(w *world) { twiliosim.Must(w.AddFault(throttled)) }, "throttles"},
		"the first page is cut":  {func(w *world) { w.fail(twiliosim.OpNumbers, twiliosim.FaultTruncated) }, "cannot be read from Twilio"},
		"the second page fails":  {func(w *world) { w.failLater(twiliosim.OpNumbers, twiliosim.FaultTruncated) }, "cannot be read from Twilio"},
		"the second number cut":  {func(w *world) { w.failLater(twiliosim.OpList, twiliosim.FaultCutBody) }, "cannot be read from Twilio"},
		"HTML in place of JSON":  {func(w *world) { w.fail(twiliosim.OpList, twiliosim.FaultHTML) }, "cannot be read from Twilio"},
		"another account's data": {func(w *world) { w.fail(twiliosim.OpList, twiliosim.FaultAlien) }, "cannot be read from Twilio"},
	}
	for name, c := range cases {
		for command := range readers("") {
			t.Run(name+": "+command, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				twiliosim.Must(w.UpdateBehaviour(func(b *twiliosim.Behaviour) { b.MaxPageSize = 1 }))
				c.change(w)
				dir := filepath.Join(t.TempDir(), "numbers")
				r := readers(dir)[command]
				oneSentence(t, w.runWith(r.stdin, r.args...), c.says)
				if left := files(t, dir); len(left) > 0 {
					t.Errorf("it left %v", left)
				}
			})
		}
	}
}

// fail makes every call of an operation fail.
func (w *world) fail(op twiliosim.Operation, kind twiliosim.FaultKind) {
	twiliosim.Must(w.AddFault(twiliosim.Fault{Operation: op, Kind: kind}))
}

// failLater makes every call of an operation fail but the first.
func (w *world) failLater(op twiliosim.Operation, kind twiliosim.FaultKind) {
	twiliosim.Must(w.AddFault(twiliosim.Fault{Operation: op, Kind: kind, Skip: 1}))
}

func restrict(w *world) {
	key := twiliosim.SID("SK", 9)
	twiliosim.Must(w.AddAPIKey(ac, key, "secret", twiliosim.KeyRestricted, twiliosim.OpNumbers))
	twiliosim.Must(w.UpdateBehaviour(func(b *twiliosim.Behaviour) { b.RestrictedKey = "403-70051" }))
	w.env[envAPIKey], w.env[envAPISecret] = key, "secret"
}

// An interrupt in the midst of reading ends a command at once, with nothing half done.
func TestReadersInterrupted(t *testing.T) {
	t.Parallel()
	for command := range readers("") {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fail(twiliosim.OpList, twiliosim.FaultHang)
			ctx, interrupt := context.WithCancel(t.Context())
			go func() {
				defer interrupt()
				for w.Calls().Of(twiliosim.OpList, "").Calls == 0 {
					time.Sleep(time.Millisecond)
				}
			}()
			dir := filepath.Join(t.TempDir(), "numbers")
			r := readers(dir)[command]
			oneSentence(t, w.runIn(ctx, r.stdin, r.args...), "interrupted: nothing was written")
			if left := files(t, dir); len(left) > 0 {
				t.Errorf("it left %v", left)
			}
		})
	}
}
