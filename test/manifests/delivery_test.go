// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
)

// Where the pods run, and how fast a rollout is. What a node makes of it needs a node.
func TestScheduling(t *testing.T) {
	template := find[appsv1.Deployment](t, mustRender(t, "config/default"), "Deployment", "").Spec.Template
	if diff := cmp.Diff(map[string]string{"kubernetes.io/os": "linux"}, template.Spec.NodeSelector); diff != "" {
		t.Errorf("node selector (-want +got):\n%s", diff)
	}
	spread := map[string]bool{}
	for _, constraint := range template.Spec.TopologySpreadConstraints {
		if !labels.SelectorFromSet(constraint.LabelSelector.MatchLabels).Matches(labels.Set(template.Labels)) {
			t.Errorf("replicas are spread by %v, the pods have %v", constraint.LabelSelector.MatchLabels, template.Labels)
		}
		if constraint.WhenUnsatisfiable != corev1.ScheduleAnyway {
			t.Errorf("%s: a cluster with one node could not run two replicas", constraint.TopologyKey)
		}
		spread[constraint.TopologyKey] = true
	}
	if diff := cmp.Diff(map[string]bool{"kubernetes.io/hostname": true, "topology.kubernetes.io/zone": true}, spread); diff != "" {
		t.Errorf("replicas are spread by (-want +got):\n%s", diff)
	}
	manager := template.Spec.Containers[0]
	if manager.StartupProbe == nil || manager.LivenessProbe.InitialDelaySeconds > 0 || manager.ReadinessProbe.InitialDelaySeconds > 0 {
		t.Error("the probes wait for a fixed time, not for the process")
	}
	if period := manager.ReadinessProbe.PeriodSeconds; period > 2 {
		t.Errorf("a rollout waits for up to %d seconds for each pod that is ready", period)
	}
	if limit := manager.Resources.Limits.Memory().Value() * 9 / 10; limit < 277e6*11/10 {
		t.Errorf("GOMEMLIMIT is %d bytes, with no room above the 277 MB of 100,000 objects", limit)
	}
}

// withComponents renders config/default with components on top.
func withComponents(t *testing.T, names ...string) appsv1.Deployment {
	t.Helper()
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(root, "config"))); err != nil {
		t.Fatal(err)
	}
	overlay := "resources: [../default]\ncomponents:\n"
	for _, name := range names {
		overlay += "- ../components/" + name + "\n"
	}
	if err := os.Mkdir(filepath.Join(folder, "overlay"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "overlay", "kustomization.yaml"), []byte(overlay), 0o600); err != nil {
		t.Fatal(err)
	}
	objects, err := render(t.Context(), filepath.Join(folder, "overlay"))
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range objects {
		if err := apply(t.Context(), object, client.DryRunAll, client.ForceOwnership); err != nil {
			t.Errorf("applying %s: %v", describe(object), err)
		}
	}
	return find[appsv1.Deployment](t, objects, "Deployment", "")
}

// The components add what they name, and keep what is there.
func TestComponents(t *testing.T) {
	plain := find[appsv1.Deployment](t, mustRender(t, "config/default"), "Deployment", "")
	pod := withComponents(t, "proxy", "company-ca").Spec.Template.Spec
	manager := pod.Containers[0]
	env := map[string]string{}
	for _, variable := range manager.Env {
		env[variable.Name] = variable.Value
	}
	want := map[string]string{
		"HTTPS_PROXY":   "http://proxy.example.com:3128",
		"NO_PROXY":      "$(KUBERNETES_SERVICE_HOST),.svc,.cluster.local",
		"POD_NAMESPACE": "",
		"POD_NAME":      "",
		"POD_UID":       "",
		"SSL_CERT_DIR":  "/etc/ssl/company",
	}
	if diff := cmp.Diff(want, env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	mounts := []corev1.VolumeMount{{Name: "company-ca", MountPath: env["SSL_CERT_DIR"], ReadOnly: true}}
	if diff := cmp.Diff(mounts, manager.VolumeMounts); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
	if len(pod.Volumes) != 1 || pod.Volumes[0].Name != mounts[0].Name || pod.Volumes[0].ConfigMap == nil {
		t.Errorf("volumes are %v, want the ConfigMap", pod.Volumes)
	}
	manager.Env, manager.VolumeMounts, pod.Volumes = plain.Spec.Template.Spec.Containers[0].Env, nil, nil
	pod.Containers[0] = manager
	if diff := cmp.Diff(plain.Spec.Template.Spec, pod); diff != "" {
		t.Errorf("everything else (-config/default +with components):\n%s", diff)
	}
}

// What "make deploy" applies says which version it is, and pins what it is told to pin.
func TestRenderedVersion(t *testing.T) {
	const image = "registry.example.com/operator@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	rendered, err := testenv.RenderInstaller(t.Context(), t.TempDir(), image, "v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	objects, err := decode(bytes.NewReader(rendered))
	if err != nil {
		t.Fatal(err)
	}
	deployment := find[appsv1.Deployment](t, objects, "Deployment", "")
	if got := deployment.Spec.Template.Spec.Containers[0].Image; got != image {
		t.Errorf("the image is %s, want %s", got, image)
	}
	const version = "app.kubernetes.io/version"
	for what, has := range map[string]map[string]string{"Deployment": deployment.Labels, "pod": deployment.Spec.Template.Labels} {
		if has[version] != "v1.2.3" {
			t.Errorf("the labels of the %s are %v", what, has)
		}
	}
	if _, selected := deployment.Spec.Selector.MatchLabels[version]; selected {
		t.Error("the selector has the version, so no update could be applied")
	}
}

// The certificate is mounted where the manager is told to look, beside the company's CA.
func TestMetricsCertificateComponent(t *testing.T) {
	pod := withComponents(t, "company-ca", "metrics-certificate").Spec.Template.Spec
	mounts := map[string]string{}
	for _, mount := range pod.Containers[0].VolumeMounts {
		mounts[mount.Name] = mount.MountPath
	}
	want := map[string]string{"company-ca": "/etc/ssl/company", "metrics-certificate": "/etc/metrics-certificate"}
	if diff := cmp.Diff(want, mounts); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
	if len(pod.Volumes) != 2 {
		t.Errorf("volumes are %v", pod.Volumes)
	}
	const arg = "--metrics-cert-dir=/etc/metrics-certificate"
	if !slices.Contains(pod.Containers[0].Args, arg) || !slices.Contains(pod.Containers[0].Args, "--leader-elect") {
		t.Errorf("the arguments are %v, want %s in addition to those there were", pod.Containers[0].Args, arg)
	}
}

// What "make try" adds: a simulator that the restricted profile admits, under the address at
// which its account expects it, and nothing else.
func TestTry(t *testing.T) {
	objects := mustRender(t, "config/try")
	for _, object := range objects {
		if err := apply(t.Context(), object, client.DryRunAll, client.ForceOwnership); err != nil {
			t.Errorf("applying %s: %v", describe(object), err)
		}
	}
	simulator := find[appsv1.Deployment](t, objects, "Deployment", "twiliosim")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "twiliosim-", Namespace: simulator.Namespace, Labels: simulator.Spec.Template.Labels}}
	simulator.Spec.Template.Spec.DeepCopyInto(&pod.Spec)
	if err := cluster.Create(t.Context(), pod, client.DryRunAll); err != nil {
		t.Errorf("the pod is not admitted: %v", err)
	}
	service := find[corev1.Service](t, objects, "Service", "twiliosim")
	if !labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(simulator.Spec.Template.Labels)) {
		t.Errorf("the Service selects %v, the pods have %v", service.Spec.Selector, simulator.Spec.Template.Labels)
	}
	container := simulator.Spec.Template.Spec.Containers[0]
	if port := container.Ports[0]; service.Spec.Ports[0].TargetPort.StrVal != port.Name || !slices.Contains(container.Args, fmt.Sprintf("--listen=:%d", port.ContainerPort)) {
		t.Errorf("the Service leads to %v of a container that has %v and listens with %v", service.Spec.Ports, container.Ports, container.Args)
	}
	account := find[unstructured.Unstructured](t, mustRender(t, "config/try/objects"), "TwilioAccount", "")
	url, _, _ := unstructured.NestedString(account.Object, "spec", "apiBaseURL")
	if want := fmt.Sprintf("http://%s.%s.svc:%d", service.Name, service.Namespace, service.Spec.Ports[0].Port); url != want {
		t.Errorf("the account calls %s, want %s", url, want)
	}
	const flag = "--allow-insecure-twilio-url"
	manager := find[appsv1.Deployment](t, objects, "Deployment", operator+"-controller-manager")
	plain := find[appsv1.Deployment](t, mustRender(t, "config/default"), "Deployment", "")
	plain.Spec.Template.Spec.Containers[0].Args = append(plain.Spec.Template.Spec.Containers[0].Args, flag)
	if diff := cmp.Diff(plain.Spec, manager.Spec); diff != "" {
		t.Errorf("the operator differs by more than %s (-config/default +config/try):\n%s", flag, diff)
	}
}
