// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cli tests the kubectl plugin on a real API server, with the real manager and the
// simulated Twilio: the pages of docs/cli command by command, and that plan says what the
// operator then does.
package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

const (
	patience  = 2 * time.Minute
	namespace = "telephony"
	token     = "secrettoken"
)

var (
	env *testenv.Env
	sim *testenv.Simulator
	// tools is a folder with kubectl and the plugin.
	tools string
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	testenv.Exit(testenv.Within(context.Background(), func(e *testenv.Env, s *testenv.Simulator) (code int, err error) {
		env, sim = e, s
		if tools, err = prepareTools(context.Background()); err != nil {
			return 1, err
		}
		// A refusal that is final at once: one that may be a stray answer takes a minute.
		err = sim.Admin.UpdateBehaviour(context.Background(), func(b *twiliosim.Behaviour) { b.UnknownAddOn = "400-20422" })
		if err != nil {
			return 1, err
		}
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
		if err := env.Client.Create(context.Background(), ns); err != nil {
			return 1, err
		}
		return m.Run(), nil
	}))
}

// prepareTools makes a folder for PATH: kubectl, which is compiled if the machine has
// none, the plugin, and a terraform that knows its one state.
func prepareTools(ctx context.Context) (string, error) {
	kubectl, err := testenv.Kubectl(ctx)
	if err != nil {
		return "", err
	}
	plugin, err := filepath.Abs(filepath.Join(testenv.Root(), "bin", "kubectl-twilio_addons"))
	if err != nil {
		return "", err
	}
	dir := filepath.Join(env.Dir, "tools")
	terraform := "#!/bin/sh\n[ \"$1 $2\" != \"state pull\" ] || cat \"$TERRAFORM_STATE\"\n"
	return dir, errors.Join(
		os.MkdirAll(dir, 0o755),
		os.Symlink(kubectl, filepath.Join(dir, "kubectl")),
		os.Symlink(plugin, filepath.Join(dir, "kubectl-twilio_addons")),
		os.WriteFile(filepath.Join(dir, "terraform"), []byte(terraform), 0o755),
	)
}

// startManager starts a manager that ends with the test.
func startManager(t *testing.T) {
	t.Helper()
	// A long lease: on a busy machine a leader with a short one loses it, and ends.
	manager, err := env.StartManager(t.Context(), "--leader-elect-lease-duration=1m")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := manager.Stop(); err != nil {
			t.Errorf("the manager ended with %v", err)
		}
	})
}

// world is a Twilio account of a test's own, for some also in the cluster as the TwilioAccount
// default.
type world struct {
	*testing.T
	number     int
	account    string // SID
	subaccount string // SID; "" for most
	dir        string // where commands run
	env        []string
}

// worlds counts them: each has SIDs of its own.
var worlds int

func (w *world) sid(prefix string, n int) string { return twiliosim.SID(prefix, w.number*1000+n) }

func (w *world) must(errs ...error) {
	w.Helper()
	if err := errors.Join(errs...); err != nil {
		w.Fatal(err)
	}
}

// newTwilio is an account in Twilio with so many numbers and add-ons.
func newTwilio(t *testing.T, numbers, addOns int) *world {
	t.Helper()
	worlds++
	w := &world{T: t, number: worlds, account: twiliosim.SID("AC", worlds), dir: t.TempDir()}
	ctx := t.Context()
	w.must(sim.Admin.AddAccount(ctx, w.account, token))
	for i := range addOns {
		w.must(sim.Admin.InstallAddOn(ctx, w.account, w.sid("XE", i+1), fmt.Sprintf("add_on_%d", i+1)))
	}
	for i := range numbers {
		w.must(sim.Admin.AddNumber(ctx, w.account, w.sid("PN", i+1), fmt.Sprintf("+1415%04d%03d", worlds, i+1)))
	}
	w.env = append(os.Environ(), "KUBECONFIG="+env.Kubeconfig, "PATH="+tools+":"+os.Getenv("PATH"), "HOME="+w.dir,
		"TWILIO_ACCOUNT_SID="+w.account, "TWILIO_AUTH_TOKEN="+token, "TWILIO_API_BASE_URL="+sim.URL,
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	return w
}

// newWorld is one that the cluster knows. The budget is off: what is tested here is not it.
func newWorld(t *testing.T, numbers, addOns int) *world {
	t.Helper()
	w := newTwilio(t, numbers, addOns)
	w.addTwilioAccount("default", w.account)
	t.Cleanup(func() { w.must(env.Clear(context.Background())) })
	return w
}

// addTwilioAccount makes an account known to the cluster.
func (w *world) addTwilioAccount(name, sid string) {
	w.Helper()
	tenancy := testenv.Tenancy{Name: name, AccountSID: sid, AuthToken: token, URL: sim.URL}
	account := tenancy.Account()
	account.Spec.AllowedNamespaces = v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll}
	account.Spec.RemovalBudget.MaxNumbers = new(intstr.FromString("100%"))
	w.must(env.Client.Create(w.Context(), tenancy.Secret()), env.Client.Create(w.Context(), account))
}

func (w *world) objects(ctx context.Context) []v1alpha1.PhoneNumberAddOnAssignment {
	w.Helper()
	list := &v1alpha1.PhoneNumberAddOnAssignmentList{}
	if err := env.Client.List(ctx, list); err != nil {
		w.Fatal(err)
	}
	return list.Items
}

func (w *world) eventually(what string, holds func() error) {
	w.Helper()
	if err := testenv.Wait(context.Background(), patience, what, holds); err != nil {
		w.Fatal(err)
	}
}

// assign is what somebody did in the console before the test begins.
func (w *world) assign(number int, addOns ...int) {
	w.Helper()
	for _, n := range addOns {
		w.must(sim.Admin.Assign(w.Context(), w.sid("PN", number), w.sid("XE", n)))
	}
}

// run runs a command with bash and returns its exit code and what it printed.
func (w *world) run(command string) (code int, out, errOut string) {
	w.Helper()
	cmd := exec.CommandContext(w.Context(), "bash", "-o", "pipefail", "-c", command)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = w.dir, w.env, &stdout, &stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), stdout.String(), stderr.String()
	}
	w.must(err)
	return 0, stdout.String(), stderr.String()
}

// ok runs a command that must succeed.
func (w *world) ok(command string) string {
	w.Helper()
	code, out, errOut := w.run(command)
	if code != 0 {
		w.Fatalf("%s: exit %d\n%s%s", command, code, out, errOut)
	}
	return out
}

// writes are the changes that were made over the API in this world since seq.
func (w *world) writes(seq int64) []string {
	w.Helper()
	journal, err := sim.Admin.JournalAfter(w.Context(), seq)
	w.must(err)
	var out []string
	for _, m := range journal {
		if m.Actor == twiliosim.ActorAPI && (m.Account == w.account || m.Account == w.subaccount) {
			out = append(out, strings.Join([]string{string(m.Change), m.Number, m.AddOn}, " "))
		}
	}
	return out
}

// seq is the last entry of the journal.
func (w *world) seq() int64 {
	w.Helper()
	journal, err := sim.Admin.JournalAfter(w.Context(), 0)
	w.must(err)
	if len(journal) == 0 {
		return 0
	}
	return journal[len(journal)-1].Seq
}

// settled waits until the operator has done for every object what there is to do. Objects
// that it is told to leave out may go on trying.
func (w *world) settled(leaveOut func(*v1alpha1.PhoneNumberAddOnAssignment) bool) {
	w.Helper()
	w.eventually("every object is settled", func() error {
		all := w.objects(w.Context())
		for _, o := range all {
			ready := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionReady)
			switch {
			case leaveOut != nil && leaveOut(&o):
			case !o.DeletionTimestamp.IsZero():
				return fmt.Errorf("%s is being deleted", o.Name)
			case o.Status.LastHandledReconcileAt != o.Annotations[v1alpha1.AnnotationReconcileRequestedAt]:
				return fmt.Errorf("%s has not been reconciled as requested", o.Name)
			case ready == nil, o.Status.ObservedGeneration != o.Generation, ready.Reason == v1alpha1.ReasonProgressing:
				return fmt.Errorf("%s: %v", o.Name, ready)
			case ready.Reason == v1alpha1.ReasonPhoneNumberConflict && !hasOwner(all, o.Spec.PhoneNumberSID):
				return fmt.Errorf("%s has not noticed that nobody else owns its number", o.Name)
			}
		}
		return nil
	})
}

// hasOwner reports whether an object of the number does not yield to another one.
func hasOwner(all []v1alpha1.PhoneNumberAddOnAssignment, number v1alpha1.PhoneNumberSID) bool {
	return slices.ContainsFunc(all, func(o v1alpha1.PhoneNumberAddOnAssignment) bool {
		ready := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionReady)
		return o.Spec.PhoneNumberSID == number && (ready == nil || ready.Reason != v1alpha1.ReasonPhoneNumberConflict)
	})
}
