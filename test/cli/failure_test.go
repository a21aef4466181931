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

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// Commands that take a credential or a record from the cluster say in one sentence why they
// cannot.
func TestClusterFailures(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.assign(1, 1)
	w.must(os.WriteFile(filepath.Join(w.dir, "numbers.yaml"), []byte(w.ok("kubectl twilio-addons export")), 0o600))
	w.may("reader", []string{"get", "list"}, "phonenumberaddonassignments", "twilioaccounts")
	cases := []struct{ command, says string }{
		{"plan -f numbers.yaml --cluster --as nobody", `User "nobody" cannot list`},
		{"plan -f numbers.yaml --cluster -o json --server https://127.0.0.1:1", "connection refused"},
		{"plan -f numbers.yaml --account default --as nobody", `User "nobody" cannot get`},
		{"plan -f numbers.yaml --account default --as reader", "you may not read the Secret " + testenv.Namespace + "/default"},
		{"export --account default --as reader", "you may not read the Secret " + testenv.Namespace + "/default"},
		{"export --account other", `"other" not found`},
		{"inventory --account default --as reader -o yaml", "you may not read the Secret " + testenv.Namespace + "/default"},
		{"status -A --as nobody", `User "nobody" cannot list`},
		{"status -A --server https://127.0.0.1:1", "connection refused"},
		{"doctor --server https://127.0.0.1:1", "connection refused"},
		{"suspend --account default --as reader", `User "reader" cannot patch`},
		{"approve default --as nobody", `User "nobody" cannot get`},
	}
	for _, c := range cases {
		code, out, errOut := w.run("kubectl twilio-addons " + c.command)
		w.failedWholly(code, out, errOut, c.says)
	}
}

// may gives somebody rights to resources of the operator's group.
func (w *world) may(user string, verbs []string, resources ...string) {
	w.Helper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: user}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: resources, Verbs: verbs},
	}}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}
	w.must(env.Client.Create(w.Context(), role), env.Client.Create(w.Context(), binding))
	w.Cleanup(func() {
		w.must(env.Client.Delete(context.Background(), binding), env.Client.Delete(context.Background(), role))
	})
}

// Ctrl-C in the middle of the reading ends the program with nothing printed.
func TestInterruptedWhileReading(t *testing.T) {
	for _, command := range []string{"export", "inventory -o json"} {
		w := newTwilio(t, 2, 1)
		w.must(sim.Admin.AddFault(t.Context(), twiliosim.Fault{Account: w.account, Operation: twiliosim.OpList, Kind: twiliosim.FaultHang, Skip: 1}))
		code, out, errOut := w.interrupt("kubectl-twilio_addons "+command, func() error {
			faults, err := sim.Admin.Faults(t.Context())
			for _, f := range faults {
				if f.Account == w.account && f.Fired > 0 {
					return err
				}
			}
			return errors.Join(err, errors.New("no call hangs"))
		})
		w.failedWholly(code, out, errOut, "interrupted: nothing was written")
	}
}

// failedWholly checks a failure as people see it: one sentence, exit code 1, no output.
func (w *world) failedWholly(code int, out, errOut, says string) {
	w.Helper()
	if code != 1 || out != "" {
		w.Errorf("exit %d, output %q", code, out)
	}
	if !strings.HasPrefix(errOut, "error: ") || strings.Count(errOut, "\n") != 1 || !strings.Contains(errOut, says) {
		w.Errorf("said %q, want one line with %q", errOut, says)
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

// After an interrupt during a write to the cluster, the command says what was changed. The
// first case leaves the object one suspended, so that the second passes over it.
func TestInterruptedWhileWriting(t *testing.T) {
	w := newWorld(t, 3, 1)
	for i, name := range []string{"one", "three", "two"} {
		w.create(name, i+1)
	}
	proxy, access := w.throughProxy()
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

// throughProxy returns a proxy before the API server, and the flags that lead through it.
func (w *world) throughProxy() (proxy *testenv.Proxy, flags string) {
	w.Helper()
	proxy, err := env.NewProxy()
	w.must(err)
	address, stop, err := proxy.Listen(w.Context(), "cli")
	w.must(err)
	w.Cleanup(stop)
	w.env = append(w.env, "KUBECONFIG="+os.DevNull)
	return proxy, fmt.Sprintf(" --server %s --insecure-skip-tls-verify --token %s", address, w.administrator())
}

// An object that goes while a command acts on it is no failure: there is nothing to change.
func TestActionOnWhatGoes(t *testing.T) {
	w := newWorld(t, 2, 1)
	proxy, access := w.throughProxy()
	for command, says := range map[string]string{
		"suspend --all":           "telephony/two suspended\n",
		"reconcile one two":       "telephony/one: gone in the meantime\ntelephony/two reconcile requested\n",
		"suspend --all --dry-run": "telephony/two suspended (dry run: nothing was changed)\n",
	} {
		w.create("one", 1)
		w.create("two", 2)
		proxy.SetFaults(func(r testenv.APIRequest) testenv.APIFault {
			if r.Name == "one" && r.Method == http.MethodPatch {
				w.must(env.Client.Delete(context.Background(), &v1alpha1.PhoneNumberAddOnAssignment{ObjectMeta: metav1.ObjectMeta{Name: "one", Namespace: namespace}}))
			}
			return testenv.APIFine
		})
		code, out, errOut := w.run("kubectl twilio-addons " + command + " -n telephony" + access)
		if code != 0 || out != says {
			t.Errorf("%s: exit %d: %s%s", command, code, out, errOut)
		}
		w.ok("kubectl delete pnaa --all -n telephony" + access)
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
