// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package charttest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http/httpproxy"
	"helm.sh/helm/v4/pkg/chart/common"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// everything switches on and sets every option.
var everything = values{
	"commonLabels": map[string]any{"team": "telephony"}, "commonAnnotations": map[string]any{"example.com/owner": "telephony"},
	"image.digest":     "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
	"imagePullSecrets": []any{map[string]any{"name": "registry"}},
	"crds.annotations": map[string]any{"argocd.argoproj.io/sync-wave": "-1"}, "rbac.aggregate": false,
	"serviceAccount.name": "operator", "serviceAccount.annotations": map[string]any{"example.com/role": "operator"},
	"replicas": 2, "leaderElection.leaseDuration": "30s", "maxConcurrentReconciles": 64, "allowInsecureTwilioURL": true,
	"log.level": "debug", "log.encoder": "console", "log.timeEncoding": "rfc3339nano", "log.stacktraceLevel": "panic", "log.development": true,
	"pprof.bindAddress": "127.0.0.1:6060", "extraArgs": []any{"--kubeconfig="}, "metrics.port": 9443, "metrics.secure": false, "probes.port": 9081,
	"metrics.serviceMonitor.enabled": true, "metrics.serviceMonitor.labels": map[string]any{"release": "prometheus"},
	"metrics.serviceMonitor.interval": "30s", "metrics.serviceMonitor.scrapeTimeout": "10s",
	"metrics.rules.enabled": true, "metrics.rules.labels": map[string]any{"release": "prometheus"},
	"metrics.dashboard.enabled": true, "metrics.dashboard.annotations": map[string]any{"grafana_folder": "Twilio"},
	"admissionPolicies.numbers.enabled": true, "admissionPolicies.retain.enabled": true, "admissionPolicies.authoritative.enabled": true,
	"admissionPolicies.numbers.namespaces": map[string]any{"telephony": []any{"PN0123456789abcdef0123456789abcdef", "PN123456789abcdef0123456789abcdef0"}},

	"networkPolicy.enabled":       true,
	"networkPolicy.extraEgress":   []any{map[string]any{"ports": []any{map[string]any{"port": 3128, "protocol": "TCP"}}}},
	"podDisruptionBudget.enabled": true, "proxy.httpsProxy": "http://proxy.example.com:3128", "proxy.noProxy": []any{"vault.example.com"},
	"trustedCA.configMap": "company-ca", "deploymentAnnotations": map[string]any{"example.com/a": "b"},
	"podLabels": map[string]any{"example.com/c": "d"}, "podAnnotations": map[string]any{"example.com/e": "f"},
	"priorityClassName": "system-cluster-critical", "tolerations": []any{map[string]any{"operator": "Exists"}},
	"affinity": map[string]any{"podAntiAffinity": map[string]any{}},
	"topologySpreadConstraints": []any{map[string]any{"maxSkew": 1, "topologyKey": "example.com/rack", "whenUnsatisfiable": "ScheduleAnyway",
		"labelSelector": map[string]any{"matchLabels": map[string]any{"control-plane": "controller-manager"}}}},
	"extraEnv":          []any{map[string]any{"name": "GOGC", "value": "50"}},
	"extraVolumes":      []any{map[string]any{"name": "scratch", "emptyDir": map[string]any{}}},
	"extraVolumeMounts": []any{map[string]any{"name": "scratch", "mountPath": "/scratch"}},
}

// withShard has one manager that does not serve every account.
var withShard = values{"shards": []any{map[string]any{"name": "a", "selector": "shard=a"}}}

// deploymentOf is the only Deployment among objects.
func deploymentOf(t *testing.T, objects map[string]*unstructured.Unstructured) appsv1.Deployment {
	t.Helper()
	var deployment appsv1.Deployment
	var object *unstructured.Unstructured
	for _, o := range objects {
		if o.GetKind() == "Deployment" {
			object = o
		}
	}
	if object == nil {
		t.Fatalf("there is no Deployment among %v", slices.Sorted(maps.Keys(objects)))
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, &deployment, true); err != nil {
		t.Fatal(err)
	}
	return deployment
}

// notOffered are the flags of the manager that have no value of their own.
var notOffered = map[string]string{
	"kubeconfig":         "in a pod, the ServiceAccount is what counts",
	"operator-namespace": "the namespace of the release, where the Role for the Secrets is",
	"version":            "prints the version and ends",
}

// Every flag of the manager can be set by a value. A new flag needs one, or a reason.
func TestEveryFlagHasAValue(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(root, "cmd", "manager", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	missing := map[string]bool{}
	for _, name := range []string{"zap-devel", "zap-encoder", "zap-log-level", "zap-stacktrace-level", "zap-time-encoding"} {
		missing[name] = true
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		maps.Copy(missing, flagsIn(t, path))
	}
	if len(missing) < 10 {
		t.Fatalf("found no more flags than %v", missing)
	}
	for name := range notOffered {
		delete(missing, name)
	}
	set := deploymentOf(t, rendered(t, everything)).Spec.Template.Spec.Containers[0].Args
	// Needs TLS, which everything switches off.
	set = append(set, deploymentOf(t, rendered(t, withCertificate)).Spec.Template.Spec.Containers[0].Args...)
	set = append(set, deploymentOf(t, rendered(t, withShard)).Spec.Template.Spec.Containers[0].Args...)
	for _, arg := range set {
		name, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		delete(missing, name)
	}
	if len(missing) > 0 {
		t.Errorf("no value sets %v", slices.Sorted(maps.Keys(missing)))
	}
}

func flagsIn(t *testing.T, path string) map[string]bool {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	flags := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) < 3 {
			return true
		}
		method, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !strings.HasSuffix(method.Sel.Name, "Var") {
			return true
		}
		if name, ok := call.Args[1].(*ast.BasicLit); ok {
			text, err := strconv.Unquote(name.Value)
			if err != nil {
				t.Fatal(err)
			}
			flags[text] = true
		}
		return true
	})
	return flags
}

var withCertificate = values{"metrics.certificateSecret": "metrics-tls", "trustedCA.secret": "company-ca"}

// The manager reads the certificate from where the Secret is mounted.
func TestMetricsCertificate(t *testing.T) {
	pod := deploymentOf(t, rendered(t, withCertificate)).Spec.Template.Spec
	mounts, volumes := map[string]string{}, map[string]string{}
	for _, mount := range pod.Containers[0].VolumeMounts {
		mounts[mount.Name] = mount.MountPath
	}
	for _, volume := range pod.Volumes {
		volumes[volume.Name] = volume.Secret.SecretName
	}
	if diff := cmp.Diff(map[string]string{"metrics-certificate": "metrics-tls", "company-ca": "company-ca"}, volumes); diff != "" {
		t.Errorf("volumes (-want +got):\n%s", diff)
	}
	if arg := "--metrics-cert-dir=" + mounts["metrics-certificate"]; !slices.Contains(pod.Containers[0].Args, arg) {
		t.Errorf("the arguments are %v, want %s", pod.Containers[0].Args, arg)
	}
}

// What the values of proxy and CA become.
func TestProxyAndTrustedCA(t *testing.T) {
	for kind, volume := range map[string]corev1.VolumeSource{
		"configMap": {ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "company-ca"}}},
		"secret":    {Secret: &corev1.SecretVolumeSource{SecretName: "company-ca"}},
	} {
		pod := deploymentOf(t, rendered(t, values{
			"proxy.httpsProxy": "http://proxy.example.com:3128", "proxy.noProxy": []any{"a", "b"}, "trustedCA." + kind: "company-ca",
		})).Spec.Template.Spec
		env := map[string]string{}
		for _, variable := range pod.Containers[0].Env {
			env[variable.Name] = variable.Value
		}
		want := map[string]string{
			"POD_NAMESPACE": "", "POD_NAME": "", "POD_UID": "", "HTTPS_PROXY": "http://proxy.example.com:3128",
			"NO_PROXY": "$(KUBERNETES_SERVICE_HOST),.svc,.cluster.local,a,b", "SSL_CERT_DIR": "/etc/ssl/company",
		}
		if diff := cmp.Diff(want, env); diff != "" {
			t.Errorf("%s: environment (-want +got):\n%s", kind, diff)
		}
		mounts := []corev1.VolumeMount{{Name: "company-ca", MountPath: "/etc/ssl/company", ReadOnly: true}}
		if diff := cmp.Diff(mounts, pod.Containers[0].VolumeMounts); diff != "" {
			t.Errorf("%s: mounts (-want +got):\n%s", kind, diff)
		}
		if diff := cmp.Diff([]corev1.Volume{{Name: "company-ca", VolumeSource: volume}}, pod.Volumes); diff != "" {
			t.Errorf("%s: volumes (-want +got):\n%s", kind, diff)
		}
	}
}

// With what the kubelet makes of NO_PROXY, the API server is reached without the proxy and
// Twilio through it, as Go's HTTP client reads both variables.
func TestProxyLeadsToTwilioOnly(t *testing.T) {
	const proxy = "http://proxy.example.com:3128"
	container := deploymentOf(t, rendered(t, values{"proxy.httpsProxy": proxy})).Spec.Template.Spec.Containers[0]
	i := slices.IndexFunc(container.Env, func(v corev1.EnvVar) bool { return v.Name == "NO_PROXY" })
	for _, service := range []string{"10.96.0.1", "fd00::1"} {
		config := httpproxy.Config{HTTPSProxy: proxy, NoProxy: strings.ReplaceAll(container.Env[i].Value, "$(KUBERNETES_SERVICE_HOST)", service)}
		for host, want := range map[string]string{
			net.JoinHostPort(service, "443"): "", "kubernetes.default.svc": "", "api.twilio.com": proxy, "10.96.0.2:443": proxy,
		} {
			got, err := config.ProxyFunc()(&url.URL{Scheme: "https", Host: host})
			if err != nil {
				t.Fatal(err)
			}
			if (got == nil && want != "") || (got != nil && got.String() != want) {
				t.Errorf("the proxy for %s is %v, want %q", host, got, want)
			}
		}
	}
}

// The image is pinned by digest if there is one, and the tag defaults to the version.
func TestImage(t *testing.T) {
	tests := map[string]struct {
		with values
		want string
	}{
		"tag":     {values{"image.tag": "v9"}, "controller:v9"},
		"version": {values{"image.tag": ""}, "controller:" + loadChart(t).Metadata.AppVersion},
		"digest":  {values{"image.digest": everything["image.digest"]}, "controller@" + everything["image.digest"].(string)},
	}
	for name, test := range tests {
		if got := deploymentOf(t, rendered(t, test.with)).Spec.Template.Spec.Containers[0].Image; got != test.want {
			t.Errorf("%s: the image is %s, want %s", name, got, test.want)
		}
	}
}

// What may be left out is left out.
// TestShards renders a Deployment for each shard, whose pods no other one selects, and what
// its manager may do.
func TestShards(t *testing.T) {
	shards := []any{map[string]any{"name": "a", "selector": "shard=a"}, map[string]any{"name": "rest", "selector": "shard!=a"}}
	objects := rendered(t, values{"shards": shards})
	got := map[string]string{}
	for _, object := range objects {
		if object.GetKind() != "Deployment" {
			continue
		}
		var deployment appsv1.Deployment
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &deployment); err != nil {
			t.Fatal(err)
		}
		args := deployment.Spec.Template.Spec.Containers[0].Args
		at := slices.IndexFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "--account-selector=") })
		if at < 0 || !slices.Contains(args, "--leader-elect") {
			t.Fatalf("%s has the arguments %q", deployment.Name, args)
		}
		selected := deployment.Spec.Selector.MatchLabels["addons.twilio-operator.dev/shard"]
		if selected != deployment.Spec.Template.Labels["addons.twilio-operator.dev/shard"] {
			t.Errorf("%s does not select its own pods", deployment.Name)
		}
		got[selected] = args[at]
	}
	want := map[string]string{"a": "--account-selector=shard=a", "rest": "--account-selector=shard!=a"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the selectors by shard (-want +got)\n%s", diff)
	}
	if !slices.ContainsFunc(slices.Collect(maps.Values(objects)), func(o *unstructured.Unstructured) bool {
		return o.GetKind() == "Role" && strings.HasSuffix(o.GetName(), "-shards-role")
	}) {
		t.Error("no role lets the managers renew their Leases")
	}
	with := values{"image.repository": "example.com/operator", "shards": shards, "leaderElection.enabled": false}
	if _, err := template(loadChart(t), "test", with.nested()); err == nil || !strings.Contains(err.Error(), "leaderElection.enabled") {
		t.Errorf("shards without leader election: %v", err)
	}
}

func TestSwitchedOff(t *testing.T) {
	all := rendered(t, nil)
	tests := map[string]struct {
		with values
		gone []string
	}{
		"crds":            {values{"crds.enabled": false}, []string{"CustomResourceDefinition"}},
		"rbac":            {values{"rbac.create": false}, []string{"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}},
		"service account": {values{"serviceAccount.create": false}, []string{"ServiceAccount"}},
		"metrics":         {values{"metrics.enabled": false}, []string{"Service"}},
	}
	for name, test := range tests {
		want := maps.Clone(all)
		maps.DeleteFunc(want, func(_ string, o *unstructured.Unstructured) bool { return slices.Contains(test.gone, o.GetKind()) })
		got := slices.Sorted(maps.Keys(rendered(t, test.with)))
		if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), got); diff != "" || len(want) == len(all) {
			t.Errorf("%s switched off (-want +got):\n%s", name, diff)
		}
	}
}

// Two releases share no name but those of the CRDs, and names stay short enough.
func TestTwoReleases(t *testing.T) {
	first := rendered(t, everything)
	for _, name := range []string{"other", strings.Repeat("long-", 9) + "name"} {
		result, err := template(loadChart(t), name, values{"podDisruptionBudget.enabled": true}.nested())
		if err != nil {
			t.Fatal(err)
		}
		for key, o := range decode(t, []byte(result.Manifest)) {
			if first[key] != nil && o.GetKind() != "CustomResourceDefinition" {
				t.Errorf("both releases have %s", key)
			}
			if o.GetKind() == "Service" && len(o.GetName()) > 63 {
				t.Errorf("%s is longer than the 63 characters that a Service may have", key)
			}
		}
	}
}

// The ConfigMaps hold what is in files/grafana, byte for byte, if there is any.
func TestDashboards(t *testing.T) {
	with := loadChart(t)
	dashboard := `{"title": "{{ not a template }}", "panels": []}`
	with.Files = slices.DeleteFunc(with.Files, func(f *common.File) bool { return strings.HasPrefix(f.Name, "files/grafana/") })
	if objects := dashboards(t, with); len(objects) > 0 {
		t.Errorf("there are dashboards without files: %v", objects)
	}
	with.Files = append(with.Files, &common.File{Name: "files/grafana/dashboard.json", Data: []byte(dashboard)})
	objects := dashboards(t, with)
	o := objects["ConfigMap "+releaseName+"-dashboard"]
	if o == nil {
		t.Fatalf("there is no ConfigMap among %v", slices.Sorted(maps.Keys(objects)))
	}
	data, _, _ := unstructured.NestedStringMap(o.Object, "data")
	if got := strings.TrimSpace(data[releaseName+"-dashboard.json"]); got != dashboard {
		t.Errorf("the dashboard is %s, want %s", got, dashboard)
	}
	if o.GetLabels()["grafana_dashboard"] != "1" {
		t.Errorf("Grafana's sidecar does not find it by %v", o.GetLabels())
	}
}

func dashboards(t *testing.T, c *chart.Chart) map[string]*unstructured.Unstructured {
	t.Helper()
	result, err := template(c, releaseName, values{"metrics.dashboard.enabled": true}.nested())
	if err != nil {
		t.Fatal(err)
	}
	objects := decode(t, []byte(result.Manifest))
	maps.DeleteFunc(objects, func(_ string, o *unstructured.Unstructured) bool { return o.GetKind() != "ConfigMap" })
	return objects
}

// The API server takes every object with every option set. ServiceMonitor and
// PrometheusRule are kinds that it does not know.
func TestEveryOptionApplies(t *testing.T) {
	c := startCluster(t)
	unknown := map[string]bool{}
	objects := rendered(t, everything)
	for key, o := range objects {
		if o.GetLabels()["team"] != "telephony" || o.GetAnnotations()["example.com/owner"] != "telephony" {
			t.Errorf("%s lacks the common label or annotation", key)
		}
		if strings.HasPrefix(o.GetAPIVersion(), "monitoring.coreos.com/") {
			unknown[o.GetKind()] = true
			continue
		}
		if err := c.Create(t.Context(), o.DeepCopy(), client.DryRunAll); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	if diff := cmp.Diff(map[string]bool{"ServiceMonitor": true, "PrometheusRule": true}, unknown); diff != "" {
		t.Errorf("kinds that were not tried (-want +got):\n%s", diff)
	}
	for _, kind := range []string{"NetworkPolicy", "PodDisruptionBudget"} {
		if !slices.ContainsFunc(slices.Collect(maps.Values(objects)), func(o *unstructured.Unstructured) bool { return o.GetKind() == kind }) {
			t.Errorf("there is no %s", kind)
		}
	}
	// The pod is one that the namespace admits.
	template := deploymentOf(t, objects).Spec.Template
	pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	pod.Name, pod.Namespace = "manager", namespace
	account := &corev1.ServiceAccount{}
	account.Name, account.Namespace = pod.Spec.ServiceAccountName, namespace
	if err := c.Create(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), pod, client.DryRunAll); err != nil {
		t.Errorf("the pod: %v", err)
	}
}
