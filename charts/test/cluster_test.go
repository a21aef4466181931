// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package charttest

import (
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"helm.sh/helm/v4/pkg/action"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/cli"
	"helm.sh/helm/v4/pkg/kube"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"
)

const (
	group          = "addons.twilio-operator.dev"
	assignmentsCRD = "phonenumberaddonassignments." + group
	accountsCRD    = "twilioaccounts." + group
	finalizer      = group + "/unassign"
	patience       = time.Minute
)

// cluster is a real API server, and Helm on it. Nothing runs in it: no operator, and no
// controller of Kubernetes.
type cluster struct {
	client.Client
	kubeconfig string
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	ctrllog.SetLogger(logr.Discard())
	ensure := exec.CommandContext(t.Context(), "go", "run", "./hack/dev", "control-plane")
	ensure.Dir, ensure.Stderr = root, os.Stderr
	assets, err := ensure.Output()
	if err != nil {
		t.Fatalf("getting the control plane: %v", err)
	}
	env := &envtest.Environment{BinaryAssetsDirectory: strings.TrimSpace(string(assets))}
	config, err := env.Start()
	if err != nil {
		t.Fatalf("starting the control plane: %v", err)
	}
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Error(err)
		}
	})
	c := &cluster{kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	if err := os.WriteFile(c.kubeconfig, env.KubeConfig, 0o600); err != nil {
		t.Fatal(err)
	}
	if c.Client, err = client.New(config, client.Options{Scheme: clientgoscheme.Scheme, FieldValidation: "Strict"}); err != nil {
		t.Fatal(err)
	}
	operators := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: map[string]string{
		"pod-security.kubernetes.io/enforce": "restricted",
	}}}
	if err := c.Create(t.Context(), operators); err != nil {
		t.Fatal(err)
	}
	return c
}

// helm is a configuration that knows nothing of the calls before, like a new process.
func (c *cluster) helm(t *testing.T) *action.Configuration {
	t.Helper()
	settings := cli.New()
	settings.KubeConfig = c.kubeconfig
	settings.SetNamespace(namespace)
	config := action.NewConfiguration(action.ConfigurationSetLogger(slog.DiscardHandler))
	if err := config.Init(settings.RESTClientGetter(), namespace, "secret"); err != nil {
		t.Fatal(err)
	}
	return config
}

func (c *cluster) install(t *testing.T, ch *chart.Chart, options ...func(*action.Install)) error {
	t.Helper()
	install := action.NewInstall(c.helm(t))
	install.ReleaseName, install.Namespace = releaseName, namespace
	install.WaitStrategy = kube.HookOnlyStrategy
	for _, option := range options {
		option(install)
	}
	_, err := install.RunWithContext(t.Context(), ch, values(nil).nested())
	return err
}

func (c *cluster) upgrade(t *testing.T, ch *chart.Chart, with values, options ...func(*action.Upgrade)) error {
	t.Helper()
	upgrade := action.NewUpgrade(c.helm(t))
	upgrade.Namespace = namespace
	upgrade.WaitStrategy = kube.HookOnlyStrategy
	upgrade.ServerSideApply = "auto" // as the command line has it
	for _, option := range options {
		option(upgrade)
	}
	_, err := upgrade.RunWithContext(t.Context(), releaseName, ch, with.nested())
	return err
}

func (c *cluster) uninstall(t *testing.T) error {
	t.Helper()
	uninstall := action.NewUninstall(c.helm(t))
	uninstall.WaitStrategy = kube.HookOnlyStrategy
	uninstall.DeletionPropagation = "background"
	_, err := uninstall.Run(releaseName)
	return err
}

// get returns an object, or nil if it is not there.
func (c *cluster) get(t *testing.T, apiVersion, kind, in, name string) *unstructured.Unstructured {
	t.Helper()
	object := &unstructured.Unstructured{}
	object.SetAPIVersion(apiVersion)
	object.SetKind(kind)
	err := c.Get(t.Context(), client.ObjectKey{Namespace: in, Name: name}, object)
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return nil
	} else if err != nil {
		t.Fatal(err)
	}
	return object
}

func (c *cluster) crd(t *testing.T, name string) *unstructured.Unstructured {
	t.Helper()
	return c.get(t, "apiextensions.k8s.io/v1", "CustomResourceDefinition", "", name)
}

func (c *cluster) deployment(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	return c.get(t, "apps/v1", "Deployment", namespace, releaseName+"-controller-manager")
}

// eventually waits for what the API server does by itself.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s: %v", what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// object returns an object of the operator's kinds.
func object(kind, in, name string, spec map[string]any) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": group + "/v1alpha1", "kind": kind, "metadata": map[string]any{"name": name}, "spec": spec,
	}}
	o.SetNamespace(in)
	return o
}

func account() *unstructured.Unstructured {
	return object("TwilioAccount", "", "default", map[string]any{
		"accountSID":           "AC00000000000000000000000000000001",
		"credentialsSecretRef": map[string]any{"name": "twilio-credentials"},
		"allowedNamespaces":    map[string]any{"from": "All"},
	})
}

func assignment(name string) *unstructured.Unstructured {
	return object("PhoneNumberAddOnAssignment", "default", name, map[string]any{
		"phoneNumberSID": "PN00000000000000000000000000000001",
		"addOnSIDs":      []any{"XE00000000000000000000000000000001"},
	})
}

// mustCreate creates an object once its kind is served.
func (c *cluster) mustCreate(t *testing.T, o *unstructured.Unstructured) {
	t.Helper()
	eventually(t, "the creation of "+o.GetName(), func() error { return c.Create(t.Context(), o.DeepCopy()) })
}

// untouched fails unless the objects are there as they were, with no deletion under way.
func (c *cluster) untouched(t *testing.T, when string) {
	t.Helper()
	for _, o := range []*unstructured.Unstructured{
		c.get(t, group+"/v1alpha1", "TwilioAccount", "", "default"),
		c.get(t, group+"/v1alpha1", "PhoneNumberAddOnAssignment", "default", "support-line"),
	} {
		if o == nil || o.GetDeletionTimestamp() != nil {
			t.Errorf("%s: an object is gone or being deleted: %v", when, o)
		}
	}
}

// withNewField returns the chart of a later version, whose CRD has one more field.
func withNewField(t *testing.T) *chart.Chart {
	t.Helper()
	next := loadChart(t)
	next.Metadata.Version = "99.0.0"
	for _, file := range next.Files {
		if !strings.HasSuffix(file.Name, "_phonenumberaddonassignments.yaml") {
			continue
		}
		var crd map[string]any
		if err := yaml.Unmarshal(file.Data, &crd); err != nil {
			t.Fatal(err)
		}
		versions, _, _ := unstructured.NestedSlice(crd, "spec", "versions")
		field := map[string]any{"type": "string"}
		err := unstructured.SetNestedField(versions[0].(map[string]any), field,
			"schema", "openAPIV3Schema", "properties", "spec", "properties", "fromTheNextVersion")
		if err := errors.Join(err, unstructured.SetNestedSlice(crd, versions, "spec", "versions")); err != nil {
			t.Fatal(err)
		}
		if file.Data, err = yaml.Marshal(crd); err != nil {
			t.Fatal(err)
		}
		return next
	}
	t.Fatal("the chart has no CRD of the assignments")
	return nil
}

// From the first installation to the last, in the order in which it happens to a user.
func TestLifeOfARelease(t *testing.T) {
	c := startCluster(t)
	if err := c.install(t, loadChart(t)); err != nil {
		t.Fatalf("installing: %v", err)
	}
	if c.deployment(t) == nil {
		t.Fatal("there is no Deployment")
	}
	c.mustCreate(t, account())
	claimed := assignment("support-line")
	claimed.SetFinalizers([]string{finalizer}) // as the operator leaves it
	c.mustCreate(t, claimed)

	later := assignment("later")
	if err := unstructured.SetNestedField(later.Object, "x", "spec", "fromTheNextVersion"); err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), later.DeepCopy()); !apierrors.IsBadRequest(err) {
		t.Errorf("a field of a later version: the error is %v, want that it is unknown", err)
	}
	if err := c.upgrade(t, withNewField(t), values{"replicas": 2}); err != nil {
		t.Fatalf("upgrading: %v", err)
	}
	c.mustCreate(t, later)
	c.untouched(t, "upgraded")
	if replicas, _, _ := unstructured.NestedInt64(c.deployment(t).Object, "spec", "replicas"); replicas != 2 {
		t.Errorf("%d replicas after the upgrade, want 2", replicas)
	}

	if err := c.uninstall(t); err != nil {
		t.Fatalf("uninstalling: %v", err)
	}
	if c.deployment(t) != nil {
		t.Error("the Deployment is still there")
	}
	c.untouched(t, "uninstalled")

	if err := c.install(t, loadChart(t)); err != nil {
		t.Fatalf("installing again: %v", err)
	}
	c.untouched(t, "installed again")
	if c.deployment(t) == nil {
		t.Error("there is no Deployment again")
	}

	// Who says so loses the CRDs, and with them the objects: this one waits for an
	// operator that is gone.
	if err := c.upgrade(t, loadChart(t), values{"crds.keep": false}); err != nil {
		t.Fatalf("upgrading to crds.keep=false: %v", err)
	}
	if err := c.uninstall(t); err != nil {
		t.Fatalf("uninstalling with crds.keep=false: %v", err)
	}
	eventually(t, "the CRDs to be deleted", func() error {
		for _, name := range []string{assignmentsCRD, accountsCRD} {
			if crd := c.crd(t, name); crd != nil && crd.GetDeletionTimestamp() == nil {
				return errors.New(name + " is there as before")
			}
		}
		return nil
	})
}

func takeOwnership(i *action.Install) { i.TakeOwnership = true }

func forceConflicts(i *action.Install) { i.ForceConflicts = true }

// applyAsKubectl does what "kubectl apply --server-side" does with dist/install.yaml.
func (c *cluster) applyAsKubectl(t *testing.T) {
	t.Helper()
	for key, o := range kustomized(t, false) {
		eventually(t, "applying "+key, func() error {
			return c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(o.DeepCopy()), client.FieldOwner("kubectl"), client.ForceOwnership)
		})
	}
}

// Helm takes over what kubectl installed. Each flag that the README names is needed.
func TestTakeOverFromKubectl(t *testing.T) {
	c := startCluster(t)
	c.applyAsKubectl(t)
	c.mustCreate(t, account())
	c.mustCreate(t, assignment("support-line"))
	before := c.deployment(t)

	err := c.install(t, loadChart(t))
	if err == nil || !strings.Contains(err.Error(), "cannot be imported into the current release") {
		t.Fatalf("without --take-ownership: the error is %v", err)
	}
	if err := c.install(t, loadChart(t), takeOwnership, forceConflicts); err != nil {
		t.Fatalf("with --take-ownership --force-conflicts: %v", err)
	}
	after := c.deployment(t)
	if after.GetUID() != before.GetUID() {
		t.Error("the Deployment was deleted and created anew")
	}
	if got := after.GetLabels()["app.kubernetes.io/managed-by"]; got != "Helm" {
		t.Errorf("the Deployment is managed by %q", got)
	}
	c.untouched(t, "taken over")

	err = c.upgrade(t, loadChart(t), values{"replicas": 2})
	if err == nil || !strings.Contains(err.Error(), "conflict") {
		t.Errorf("an upgrade that changes what kubectl owns, too: the error is %v, want a conflict", err)
	}
	force := func(u *action.Upgrade) { u.ForceConflicts = true }
	if err := c.upgrade(t, loadChart(t), values{"replicas": 2}, force); err != nil {
		t.Fatalf("the same with --force-conflicts: %v", err)
	}
	if err := c.upgrade(t, loadChart(t), values{"replicas": 3}); err != nil {
		t.Errorf("the field is Helm's alone, and changing it again fails: %v", err)
	}
	if err := c.uninstall(t); err != nil {
		t.Fatal(err)
	}
	c.untouched(t, "uninstalled")
}

// Without --force-conflicts the take-over stops with an error, and the Deployment is as it
// was. The way on is an upgrade with both flags.
func TestTakeOverNeedsForce(t *testing.T) {
	c := startCluster(t)
	c.applyAsKubectl(t)
	err := c.install(t, loadChart(t), takeOwnership)
	if err == nil || !strings.Contains(err.Error(), "conflict") {
		t.Fatalf("the error is %v, want a conflict", err)
	}
	if got := c.deployment(t).GetLabels()["app.kubernetes.io/managed-by"]; got != "kustomize" {
		t.Errorf("the Deployment is managed by %q", got)
	}
	err = c.upgrade(t, loadChart(t), nil, func(u *action.Upgrade) { u.TakeOwnership, u.ForceConflicts = true, true })
	if err != nil {
		t.Fatalf("upgrading with both flags: %v", err)
	}
	if got := c.deployment(t).GetLabels()["app.kubernetes.io/managed-by"]; got != "Helm" {
		t.Errorf("after the upgrade the Deployment is managed by %q", got)
	}
}
