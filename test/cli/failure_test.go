// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// reading are the commands that read Twilio before they print or write. Those that cluster
// names read the cluster, too.
var reading = []struct {
	command string
	cluster bool
	// lenient: without any credential the command does less, and says so.
	lenient bool
}{
	{command: "export"},
	{command: "export --output-dir out --kustomization"},
	{command: "export --output-file out/all.yaml"},
	{command: "export --from-terraform state.json --output-dir out", lenient: true},
	{command: "plan -f numbers.yaml"},
	{command: "plan -f numbers.yaml -o markdown"},
	{command: "plan -f numbers.yaml -o json --cluster", cluster: true},
	{command: "inventory", cluster: true},
	{command: "inventory -o json", cluster: true},
}

// newExported makes an account that carries add-ons, with files of its manifests and of a Terraform
// state.
func newExported(t *testing.T) *world {
	t.Helper()
	w := newTwilio(t, 3, 3)
	w.assign(1, 1, 2, 3)
	w.assign(2, 1)
	w.ok("kubectl twilio-addons export --policy Authoritative --output-file numbers.yaml")
	w.must(os.WriteFile(filepath.Join(w.dir, "state.json"), []byte(w.terraformState([2]int{1, 1}, [2]int{1, 2}, [2]int{1, 3}, [2]int{2, 1})), 0o600))
	return w
}

// Whatever fails, a command that reads says so in one sentence with exit code 1, and leaves
// nothing that could be taken for its result.
//
//nolint:tparallel // the tests of this package run one after another
func TestReadingFailsWholly(t *testing.T) {
	manyPages(t)
	refused := func(status int) *twiliosim.Fault {
		return &twiliosim.Fault{Operation: twiliosim.OpList, Kind: twiliosim.FaultError, Status: status}
	}
	// Twilio asks for a wait that is too long for somebody at a terminal.
	lasting := func(op twiliosim.Operation, status, skip int) *twiliosim.Fault {
		return &twiliosim.Fault{Operation: op, Kind: twiliosim.FaultError, Status: status, Skip: skip, RetryAfter: "120"}
	}
	cases := []struct {
		name    string
		fault   *twiliosim.Fault
		env     []string
		flags   string
		cluster bool // only what reads the cluster fails
		says    string
	}{
		{name: "no credential", env: []string{"TWILIO_ACCOUNT_SID=", "TWILIO_AUTH_TOKEN="}, says: "no credential: set TWILIO_ACCOUNT_SID"},
		{name: "half a credential", env: []string{"TWILIO_AUTH_TOKEN=", "TWILIO_API_KEY=" + twiliosim.SID("SK", 1)}, says: "TWILIO_API_SECRET"},
		{name: "a refused credential", env: []string{"TWILIO_AUTH_TOKEN=other"}, says: "Twilio does not accept the credential for the account AC"},
		{name: "401 in the middle", fault: refused(401), says: "Twilio does not accept the credential for the account AC"},
		{name: "no rights in Twilio", fault: refused(403), says: "the credential may not read the account AC"},
		{name: "no rights to the Secret", flags: "--account default --as nobody", says: "forbidden"},
		{name: "no rights in the cluster", flags: "--as nobody", cluster: true, says: "forbidden"},
		{name: "no cluster", flags: "--server https://127.0.0.1:1", cluster: true, says: "connection refused"},
		{name: "no Twilio", flags: "--api-base-url http://127.0.0.1:1", says: "cannot be read from Twilio"},
		{name: "429 that lasts", fault: lasting(twiliosim.OpList, 429, 0), says: "Twilio throttles the account AC"},
		{name: "the second page of the numbers", fault: lasting(twiliosim.OpNumbers, 503, 1), says: "cannot be read from Twilio"},
		{name: "the second page of a number", fault: lasting(twiliosim.OpList, 503, 1), says: "cannot be read from Twilio"},
		{name: "a second page that is elsewhere", fault: &twiliosim.Fault{Operation: twiliosim.OpNumbers, Kind: twiliosim.FaultNextPageElsewhere}, says: "the account AC"},
	}
	newWorld(t, 1, 1) // the TwilioAccount default
	for _, c := range cases {
		for _, r := range reading {
			if c.cluster && !r.cluster || r.lenient && c.name == "no credential" {
				continue
			}
			w := newExported(t)
			t.Run(c.name+"/"+r.command, func(t *testing.T) {
				t.Parallel()
				w := w.in(t)
				w.env = append(w.env, c.env...)
				if c.fault != nil {
					fault := *c.fault
					fault.Account = w.account
					w.must(sim.Admin.AddFault(t.Context(), fault))
				}
				code, out, errOut := w.run(strings.Join([]string{"kubectl twilio-addons", r.command, c.flags}, " "))
				w.failedWholly(code, out, errOut, c.says)
			})
		}
	}
}

// An interrupt in the middle of the reading is a failure as any other.
//
//nolint:tparallel // the tests of this package run one after another
func TestInterruptedWhileReading(t *testing.T) {
	for _, r := range reading {
		w := newExported(t)
		t.Run(r.command, func(t *testing.T) {
			t.Parallel()
			w := w.in(t)
			w.must(sim.Admin.AddFault(t.Context(), twiliosim.Fault{Account: w.account, Operation: twiliosim.OpList, Kind: twiliosim.FaultHang, Skip: 1}))
			code, out, errOut := w.interrupt("kubectl-twilio_addons "+r.command, func() error {
				faults, err := sim.Admin.Faults(t.Context())
				for _, f := range faults {
					if f.Account == w.account && f.Fired > 0 {
						return err
					}
				}
				return errors.Join(err, errors.New("no call hangs"))
			})
			w.failedWholly(code, out, errOut, "interrupted: nothing was written")
		})
	}
}

// failedWholly checks a failure as people see it: one sentence, exit code 1, no output and
// no file.
func (w *world) failedWholly(code int, out, errOut, says string) {
	w.Helper()
	if code != 1 || out != "" {
		w.Errorf("exit %d, output %q", code, out)
	}
	if !strings.HasPrefix(errOut, "error: ") || strings.Count(errOut, "\n") != 1 || !strings.Contains(errOut, says) {
		w.Errorf("said %q, want one line with %q", errOut, says)
	}
	left, err := filepath.Glob(filepath.Join(w.dir, "*"))
	w.must(err)
	if diff := cmp.Diff([]string{filepath.Join(w.dir, "numbers.yaml"), filepath.Join(w.dir, "state.json")}, left); diff != "" {
		w.Errorf("files (-before +after): %s", diff)
	}
}

// interrupt runs a command as a terminal does, sends it SIGINT as soon as ready returns nil,
// and returns its exit code and what it printed.
func (w *world) interrupt(command string, ready func() error) (code int, out, errOut string) {
	w.Helper()
	cmd := exec.CommandContext(w.Context(), "bash", "-c", "exec "+command)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = w.dir, w.env, &stdout, &stderr, time.Second
	w.must(cmd.Start())
	w.eventually("the command is in the middle", ready)
	w.must(cmd.Process.Signal(syscall.SIGINT))
	err := cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), stdout.String(), stderr.String()
	}
	w.must(err)
	return 0, stdout.String(), stderr.String()
}

// manyPages lets a page have two items for as long as the test runs.
func manyPages(t *testing.T) {
	t.Helper()
	set := func(size int) error {
		return sim.Admin.UpdateBehaviour(context.Background(), func(b *twiliosim.Behaviour) { b.MaxPageSize = size })
	}
	if err := set(2); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(set(0), sim.Admin.ClearFaults(context.Background())); err != nil {
			t.Error(err)
		}
	})
}

// terraformState is what Terraform has on record of pairs of a number and an add-on.
func (w *world) terraformState(pairs ...[2]int) string {
	var instances []string
	for i, pair := range pairs {
		instances = append(instances, fmt.Sprintf(`{"index_key":%d,"attributes":{"id":"%s/%s"}}`, i, w.sid("PN", pair[0]), w.sid("XE", pair[1])))
	}
	return `{"version":4,"resources":[{"mode":"managed","type":"twilio_api_accounts_incoming_phone_numbers_assigned_add_ons","name":"line","instances":[` +
		strings.Join(instances, ",") + `]}]}`
}

// After an interrupt during a write to the cluster, the command says what was changed. The
// first case leaves the object one suspended, so that the second passes over it.
func TestInterruptedWhileWriting(t *testing.T) {
	w := newWorld(t, 3, 1)
	for i, name := range []string{"one", "three", "two"} {
		w.create(name, i+1)
	}
	proxy, err := env.NewProxy()
	w.must(err)
	address, stop, err := proxy.Listen(t.Context(), "cli")
	w.must(err)
	t.Cleanup(stop)
	w.env = append(w.env, "KUBECONFIG="+os.DevNull)
	access := fmt.Sprintf(" --server %s --insecure-skip-tls-verify --token %s", address, w.administrator())
	cases := []struct {
		command, hangs string // the object whose PATCH has no answer
		says, out      string
	}{
		{"suspend --all -n telephony", "three", "interrupted: 1 of 3 objects changed, and perhaps telephony/three", "telephony/one suspended\n"},
		{"reconcile --account default", "two", "interrupted: 1 of 3 objects changed, and perhaps telephony/two", "telephony/three reconcile requested\n"},
		{"suspend --all -n telephony --dry-run", "two", "interrupted: nothing was written", ""},
		{"suspend --account default", "default", "interrupted: perhaps the TwilioAccount default was changed", ""},
		{"reconcile two -n telephony --wait", "", "interrupted while waiting: the reconciles are requested", ""},
	}
	for _, c := range cases {
		hanging := make(chan struct{})
		release := sync.OnceFunc(func() { close(hanging) })
		var reached atomic.Bool
		proxy.SetFaults(func(r testenv.APIRequest) testenv.APIFault {
			switch {
			case r.Name == c.hangs && r.Method == http.MethodPatch:
				reached.Store(true)
				<-hanging
				return testenv.APIReset
			case c.hangs == "" && r.Name == "two" && r.Method == http.MethodGet:
				reached.Store(true)
			}
			return testenv.APIFine
		})
		code, out, errOut := w.interrupt("kubectl-twilio_addons "+c.command+access, func() error {
			if !reached.Load() {
				return errors.New("not there yet")
			}
			return nil
		})
		release()
		if code != 1 || errOut != "error: "+c.says+"\n" || !strings.Contains(out, c.out) {
			t.Errorf("%s: exit %d: %s%s", c.command, code, out, errOut)
		}
	}
}

// administrator returns a token of somebody who may do everything.
func (w *world) administrator() string {
	w.Helper()
	const name = "administrator"
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: testenv.Namespace}}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: name, Namespace: testenv.Namespace}},
	}
	w.must(env.Client.Create(w.Context(), account), env.Client.Create(w.Context(), binding))
	w.Cleanup(func() {
		w.must(env.Client.Delete(context.Background(), binding), env.Client.Delete(context.Background(), account))
	})
	token, err := env.Token(w.Context(), name)
	w.must(err)
	return token
}
