// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package deletion

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
)

// The tests of this file delete what all the others stand on. They run one after the
// other, and put it back.

func crd(plural string) client.Object {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	object.SetName(plural + "." + v1alpha1.GroupVersion.Group)
	return object
}

func (w *world) deleteKinds() {
	w.Helper()
	w.delete(crd("twilioaccounts"))
	w.delete(crd("phonenumberaddonassignments"))
}

// putKindsBack installs the CRDs once the old ones are gone.
func (w *world) putKindsBack() {
	w.Helper()
	w.gone(crd("phonenumberaddonassignments"), crd("twilioaccounts"))
	w.must(env.InstallCRDs())
}

// Deleting the CRDs deletes their objects. Nothing is removed from Twilio because of that
// before somebody approves it. The same process works on when the CRDs are back.
func TestKindsFirst(t *testing.T) {
	startManager(t)
	w := newWorld(t)
	numbers := w.lines()
	w.deleteKinds()
	for _, n := range numbers[:2] {
		w.says(n, v1alpha1.ReasonRemovalsHeld, "while a CRD of this operator is being deleted")
	}
	w.cleaned(true, numbers...)
	w.approve(2)
	w.putKindsBack()
	w.cleaned(false, numbers...)

	again := newWorld(t)
	numbers = again.lines()
	again.deleteNumbers(true, numbers)
	again.numbersGone(true, numbers...)
	again.cleaned(false, numbers...)
	again.delete(again.twilioAccount())
	again.gone(again.twilioAccount())
}

// Deleting the CRD of the accounts alone takes no account from objects that refer to it:
// they work on, and the kind goes when they have gone.
func TestAccountKindFirst(t *testing.T) {
	startManager(t)
	w := newWorld(t)
	numbers := w.lines()
	w.delete(crd("twilioaccounts"))
	w.held()
	w.patch(numbers[0].assignment, fmt.Sprintf(`{"spec":{"addOnSIDs":[%q,%q,%q]}}`, w.addOns[0], w.addOns[1], w.addOns[3]))
	numbers[0].managed = []int{0, 1, 3}
	w.ready(numbers...)
	w.deleteNumbers(false, numbers)
	w.approve(2)
	w.numbersGone(false, numbers...)
	w.cleaned(false, numbers...)
	w.gone(crd("twilioaccounts"))
	w.must(env.InstallCRDs())
}

// The way out of every deletion that waits is the way out of this one.
func TestKindsFirstRetained(t *testing.T) {
	startManager(t)
	w := newWorld(t)
	numbers := w.lines()
	w.deleteKinds()
	for _, n := range numbers[:2] {
		w.says(n, v1alpha1.ReasonRemovalsHeld)
	}
	w.held()
	w.retain(numbers[:2]...)
	w.putKindsBack()
	w.cleaned(true, numbers...)
}

// Without an operator nothing is lost: what is deleted stays, in deletion, until there is
// one again.
func TestOperatorFirst(t *testing.T) {
	w := newWorld(t)
	numbers := w.linesBy(t)
	w.delete(w.twilioAccount())
	w.delete(w.namespace(w.name))
	w.namespaceIsHeld()
	w.gone(numbers[2].assignment) // Observe never had a finalizer
	w.cleaned(true, numbers...)

	startManager(t)
	w.numbersGone(true, numbers...)
	w.gone(w.twilioAccount())
	w.cleaned(false, numbers...)
}

// linesBy creates objects under a manager that is gone when it returns.
func (w *world) linesBy(t *testing.T) (numbers []*number) {
	t.Helper()
	if !t.Run("with an operator", func(t *testing.T) {
		startManager(t)
		inner := *w
		inner.T = t
		numbers = inner.lines()
		w.since = inner.since
	}) {
		t.FailNow()
	}
	return numbers
}

// What docs/troubleshooting.md says for those who want no operator again: the finalizers
// are taken away by hand, and Twilio stays as it is.
func TestOperatorFirstAndNeverAgain(t *testing.T) {
	w := newWorld(t)
	numbers := w.linesBy(t)
	w.delete(w.twilioAccount())
	w.delete(w.namespace(w.name))
	w.namespaceIsHeld()
	w.delete(w.secret())
	script := strings.NewReplacer("twacct default", "twacct "+w.name, "secret twilio-credentials", "secret "+w.name).
		Replace(documented(t, "### Objects that stay after the operator was removed"))
	out, err := shell(t, script)
	if err != nil {
		t.Fatalf("what is documented fails: %v\n%s\n%s", err, script, out)
	}
	w.numbersGone(true, numbers...)
	w.gone(w.twilioAccount(), w.secret())
	w.cleaned(true, numbers...)
}

// The operator's own namespace goes while objects remain, and with it credentials, rights
// and lease: nothing happens in Twilio, and an operator that is installed again says
// what it lacks.
func TestOperatorNamespaceFirst(t *testing.T) {
	w := newWorld(t)
	var numbers []*number
	t.Run("deleted", func(t *testing.T) {
		inner := *w
		inner.T = t
		manager, err := env.StartManager(t.Context())
		inner.must(err)
		t.Cleanup(func() { _ = manager.Kill() })
		numbers = inner.lines()
		w.since = inner.since
		released := inner.watchSecret()
		inner.delete(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: testenv.Namespace}})
		inner.must(<-released)
		inner.gone(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: testenv.Namespace}})
		inner.wait("a manager without its lease ends", func() error {
			select {
			case <-manager.Done():
				return nil
			default:
				return errors.New("it goes on")
			}
		})
	})
	w.delete(w.namespace(w.name))
	w.namespaceIsHeld()
	w.cleaned(true, numbers...)

	w.must(env.Install(t.Context()))
	startManager(t)
	for _, n := range numbers[:2] {
		w.blocked(n, v1alpha1.ReasonDeletionBlocked, v1alpha1.ReasonCredentialsInvalid, "Secret "+w.name)
	}
	w.retain(numbers[1])
	w.gone(numbers[1].assignment)
	w.cleaned(true, numbers...)
	w.must(env.Client.Create(t.Context(), w.secret()))
	w.numbersGone(true, numbers...)
	numbers[1].managed, numbers[1].foreign = nil, []int{0, 1, 2}
	w.cleaned(false, numbers...)
	w.delete(w.twilioAccount())
	w.gone(w.twilioAccount())
}

// watchSecret reports once the Secret of the world is gone. It is an error if the operator
// held it when it was deleted: in a cluster, the operator's pod and its rights may be gone
// at that moment, and the namespace would stay for ever.
func (w *world) watchSecret() <-chan error {
	w.Helper()
	cl, err := client.NewWithWatch(env.Config, client.Options{Scheme: env.Client.Scheme()})
	w.must(err)
	events, err := cl.Watch(w.Context(), &corev1.SecretList{}, client.InNamespace(testenv.Namespace), client.MatchingFields{metav1.ObjectNameField: w.name})
	w.must(err)
	done := make(chan error, 1)
	go func() {
		defer events.Stop()
		for event := range events.ResultChan() {
			secret, ok := event.Object.(*corev1.Secret)
			switch {
			case !ok:
				done <- fmt.Errorf("the watch ended with %+v", event.Object)
				return
			case !secret.DeletionTimestamp.IsZero() && slices.Contains(secret.Finalizers, v1alpha1.FinalizerInUse):
				done <- errors.New("the Secret was held when it was deleted")
				return
			case event.Type == watch.Deleted:
				done <- nil
				return
			}
		}
		done <- errors.New("the watch ended")
	}()
	return done
}

// "make undeploy" and "make uninstall" delete nothing while there are objects, say what to
// do, and do as they are told once that is done.
func TestUndeployRefuses(t *testing.T) {
	startManager(t)
	w := newWorld(t)
	numbers := w.lines()
	for _, target := range []string{"undeploy", "uninstall"} {
		out, err := shell(t, "make --no-print-directory "+target+` KUBECTL="$KUBECTL"`)
		if err == nil {
			t.Errorf("make %s went on:\n%s", target, out)
		}
		for _, says := range []string{
			"nothing was deleted", "4 PhoneNumberAddOnAssignments, the first of them " + w.name + "/additive", "1 TwilioAccounts",
			"delete phonenumberaddonassignments.addons.twilio-operator.dev --all --all-namespaces", "make " + target + " FORCE=1",
		} {
			if !strings.Contains(out, says) {
				t.Errorf("make %s does not say %q:\n%s", target, says, out)
			}
		}
		w.must(env.Client.Get(t.Context(), client.ObjectKeyFromObject(crd("twilioaccounts")), crd("twilioaccounts")))
	}
	// An API server that does not answer is no proof that nothing is there.
	out, err := shell(t, `KUBECONFIG=/dev/null make --no-print-directory uninstall KUBECTL="$KUBECTL --server=https://127.0.0.1:1"`)
	if err == nil || strings.Contains(out, "deleted\n") {
		t.Errorf("make uninstall went on without an answer: %v\n%s", err, out)
	}

	// What the message says to type, and then the same again.
	out, err = shell(t, `
		$KUBECTL delete phonenumberaddonassignments.addons.twilio-operator.dev --all --all-namespaces
		$KUBECTL delete twilioaccounts.addons.twilio-operator.dev --all
		make --no-print-directory uninstall KUBECTL="$KUBECTL"`)
	if err != nil {
		t.Errorf("make uninstall: %v\n%s", err, out)
	}
	w.cleaned(false, numbers...)
	w.putKindsBack()
}

// The whole of "make undeploy", with the objects gone and, by force, with them still there.
func TestUndeploy(t *testing.T) {
	w := newWorld(t)
	numbers := w.linesBy(t)
	if out, err := shell(t, `make --no-print-directory undeploy KUBECTL="$KUBECTL" FORCE=1`); err != nil {
		t.Fatalf("make undeploy FORCE=1: %v\n%s", err, out)
	}
	w.gone(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: testenv.Namespace}})
	w.cleaned(true, numbers...)

	// The operator is installed again, and finishes what was forced, once that is approved.
	w.must(env.Install(t.Context()))
	w.must(env.Client.Create(t.Context(), w.secret()))
	startManager(t)
	w.approve(2)
	w.putKindsBack()
	w.cleaned(false, numbers...)
}

// documented returns the shell commands under a heading of docs/troubleshooting.md.
func documented(t *testing.T, heading string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testenv.Root(), "docs", "troubleshooting.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), heading+"\n")
	_, section, fenced := strings.Cut(section, "```sh\n")
	script, _, closed := strings.Cut(section, "```")
	if !found || !fenced || !closed {
		t.Fatalf("no commands under %q", heading)
	}
	return script
}

// shell runs commands in the module's folder, with a kubectl that acts as administrator.
func shell(t *testing.T, script string) (string, error) {
	t.Helper()
	kubectl, err := testenv.Kubectl(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", `kubectl() { "$KUBECTL" "$@"; }
`+script)
	cmd.Dir = testenv.Root()
	cmd.Env = append(os.Environ(), "KUBECONFIG="+env.Kubeconfig, "KUBECTL="+kubectl, "MAKEFLAGS=")
	out, err := cmd.CombinedOutput()
	return string(out), err
}
