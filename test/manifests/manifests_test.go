// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/controllers"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

// "make test-oldest" says which API server it has started.
func TestServerVersion(t *testing.T) {
	want := os.Getenv("EXPECT_KUBERNETES")
	if want == "" {
		t.Skip("any version will do")
	}
	got, err := discovery.NewDiscoveryClientForConfigOrDie(serverConfig).ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	if got.GitVersion != want {
		t.Errorf("the API server is %s, want %s", got.GitVersion, want)
	}
}

// as converts an object to its type, and fails for a field that the type has not.
func as[T any](t *testing.T, object *unstructured.Unstructured) T {
	t.Helper()
	var typed T
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, &typed, true); err != nil {
		t.Fatalf("%s: %v", describe(object), err)
	}
	return typed
}

// withOptions renders config/default with every line that is commented out put in.
func withOptions(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(root, "config"))); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "default", "kustomization.yaml")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(content), "#- ../", "- ../")), 0o600); err != nil {
		t.Fatal(err)
	}
	objects, err := render(t.Context(), filepath.Join(folder, "default"))
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func TestInstallDrawsNoWarning(t *testing.T) {
	warnings.take()
	for _, object := range mustRender(t, "config/default") {
		if err := apply(t.Context(), object, client.ForceOwnership); err != nil {
			t.Errorf("applying %s again: %v", describe(object), err)
		}
	}
	if texts := warnings.take(); len(texts) > 0 {
		t.Errorf("warnings: %q", texts)
	}
}

func TestSamplesApply(t *testing.T) {
	warnings.take()
	objects := mustRender(t, "config/samples")
	for _, object := range objects {
		if err := apply(t.Context(), object); err != nil {
			t.Errorf("applying %s: %v", describe(object), err)
		}
	}
	if texts := warnings.take(); len(texts) > 0 {
		t.Errorf("warnings: %q", texts)
	}
	policies := map[string]bool{}
	for _, object := range objects {
		if object.GetKind() == "PhoneNumberAddOnAssignment" {
			policy, _, _ := unstructured.NestedString(object.Object, "spec", "managementPolicy")
			policies[policy] = true
		}
	}
	if diff := cmp.Diff([]string{"", "Additive", "Observe"}, slices.Sorted(maps.Keys(policies))); diff != "" {
		t.Errorf("policies shown by the samples (-want +got):\n%s", diff)
	}
}

// Whoever applies the samples after following the README loses nothing of what is there.
func TestSamplesAreNotThoseOfTheReadme(t *testing.T) {
	readme := pages(t)["README.md"]
	for _, object := range mustRender(t, "config/samples") {
		name := object.GetName()
		if namespace := object.GetNamespace(); namespace != "" && object.GetKind() == "PhoneNumberAddOnAssignment" {
			name = namespace // the README shows such names in a table
		}
		if regexp.MustCompile(`\b` + regexp.QuoteMeta(name) + `\b`).MatchString(readme) {
			t.Errorf("the README uses the name %s of the sample %s", name, describe(object))
		}
	}
}

// The namespace enforces the restricted profile: the Deployment's pod is admitted, and
// would not be without any one of the settings that it makes.
func TestPodSecurity(t *testing.T) {
	template := find[appsv1.Deployment](t, mustRender(t, "config/default"), "Deployment", "").Spec.Template
	tests := map[string]struct {
		weaken  func(pod *corev1.PodSpec)
		refused bool
	}{
		"as it is": {weaken: func(*corev1.PodSpec) {}},
		"privileged": {refused: true, weaken: func(pod *corev1.PodSpec) {
			pod.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: new(true)}
		}},
		"may be root":         {refused: true, weaken: func(pod *corev1.PodSpec) { pod.SecurityContext.RunAsNonRoot = nil }},
		"no seccomp profile":  {refused: true, weaken: func(pod *corev1.PodSpec) { pod.SecurityContext.SeccompProfile = nil }},
		"keeps capabilities":  {refused: true, weaken: func(pod *corev1.PodSpec) { pod.Containers[0].SecurityContext.Capabilities = nil }},
		"may gain privileges": {refused: true, weaken: func(pod *corev1.PodSpec) { pod.Containers[0].SecurityContext.AllowPrivilegeEscalation = nil }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			warnings.take()
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "manager-", Namespace: operatorNamespace, Labels: template.Labels}}
			template.Spec.DeepCopyInto(&pod.Spec)
			test.weaken(&pod.Spec)
			err := cluster.Create(t.Context(), pod)
			if refused := apierrors.IsForbidden(err); refused != test.refused || (err != nil && !refused) {
				t.Errorf("refused = %v, want %v: %v", refused, test.refused, err)
			}
			if texts := warnings.take(); len(texts) > 0 {
				t.Errorf("warnings: %q", texts)
			}
		})
	}
}

// What the profile does not ask for.
func TestPodSettings(t *testing.T) {
	pod := find[appsv1.Deployment](t, mustRender(t, "config/default"), "Deployment", "").Spec.Template.Spec
	manager := pod.Containers[0]
	if readOnly := manager.SecurityContext.ReadOnlyRootFilesystem; readOnly == nil || !*readOnly {
		t.Error("the root file system can be written to")
	}
	if _, limited := manager.Resources.Limits[corev1.ResourceCPU]; limited {
		t.Error("the processor is limited")
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		if manager.Resources.Requests.Name(name, "").IsZero() {
			t.Errorf("no %s is requested", name)
		}
	}
	if manager.Resources.Limits.Memory().IsZero() {
		t.Error("memory is not limited")
	}
	known := managerFlags(t)
	for _, arg := range manager.Args {
		name, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if !known[name] {
			t.Errorf("the manager has no flag %s", arg)
		}
	}
}

// Services, monitors and policies choose by labels, and nothing fails when they choose nothing.
func TestSelectorsMatch(t *testing.T) {
	objects := withOptions(t)
	pod := find[appsv1.Deployment](t, objects, "Deployment", "").Spec.Template
	service := find[corev1.Service](t, objects, "Service", "")
	ports := map[string]bool{}
	for _, port := range pod.Spec.Containers[0].Ports {
		ports[port.Name] = true
	}
	if !labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(pod.Labels)) {
		t.Errorf("the Service selects %v, the pods have %v", service.Spec.Selector, pod.Labels)
	}
	if target := service.Spec.Ports[0].TargetPort.StrVal; !ports[target] {
		t.Errorf("the Service leads to the port %q, which the pods have not", target)
	}
	probes := []*corev1.Probe{pod.Spec.Containers[0].StartupProbe, pod.Spec.Containers[0].LivenessProbe, pod.Spec.Containers[0].ReadinessProbe}
	for _, probe := range probes {
		if !ports[probe.HTTPGet.Port.StrVal] {
			t.Errorf("a probe asks the port %q, which the pods have not", probe.HTTPGet.Port.StrVal)
		}
	}
	for _, name := range []string{"allow-metrics-traffic", "allow-egress"} {
		policy := find[networkingv1.NetworkPolicy](t, objects, "NetworkPolicy", operator+"-"+name)
		if !labels.SelectorFromSet(policy.Spec.PodSelector.MatchLabels).Matches(labels.Set(pod.Labels)) {
			t.Errorf("%s selects %v, the pods have %v", policy.Name, policy.Spec.PodSelector.MatchLabels, pod.Labels)
		}
	}
	monitor := find[serviceMonitor](t, objects, "ServiceMonitor", "")
	if !labels.SelectorFromSet(monitor.Spec.Selector.MatchLabels).Matches(labels.Set(service.Labels)) {
		t.Errorf("the ServiceMonitor selects %v, the Service has %v", monitor.Spec.Selector.MatchLabels, service.Labels)
	}
	if got, want := monitor.Spec.Endpoints[0].Port, service.Spec.Ports[0].Name; got != want {
		t.Errorf("the ServiceMonitor asks the port %q, the Service has %q", got, want)
	}
}

// serviceMonitor is what the test reads of one.
type serviceMonitor struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Selector  metav1.LabelSelector `json:"selector"`
		Endpoints []struct {
			Port            string         `json:"port"`
			Scheme          string         `json:"scheme"`
			Path            string         `json:"path"`
			BearerTokenFile string         `json:"bearerTokenFile"`
			TLSConfig       map[string]any `json:"tlsConfig"`
		} `json:"endpoints"`
	} `json:"spec"`
}

func TestNetworkPoliciesApply(t *testing.T) {
	for _, object := range withOptions(t) {
		if object.GetKind() != "NetworkPolicy" {
			continue
		}
		if err := apply(t.Context(), object); err != nil {
			t.Errorf("applying %s: %v", describe(object), err)
		}
	}
}

// namesOf collects the names of the metrics that are registered with it.
type namesOf map[string]bool

var metricName = regexp.MustCompile(`fqName: "([^"]+)"`)

// Register implements prometheus.Registerer.
func (n namesOf) Register(c prometheus.Collector) error {
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		c.Describe(descs)
	}()
	for desc := range descs {
		n[metricName.FindStringSubmatch(desc.String())[1]] = true
	}
	return nil
}

// MustRegister implements prometheus.Registerer.
func (n namesOf) MustRegister(collectors ...prometheus.Collector) {
	for _, c := range collectors {
		_ = n.Register(c)
	}
}

// Unregister implements prometheus.Registerer.
func (namesOf) Unregister(prometheus.Collector) bool { return false }

// prometheusRule is what the test reads of one.
type prometheusRule struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []struct {
				Record      string            `json:"record"`
				Alert       string            `json:"alert"`
				Expr        string            `json:"expr"`
				For         string            `json:"for"`
				Labels      map[string]string `json:"labels"`
				Annotations map[string]string `json:"annotations"`
			} `json:"rules"`
		} `json:"groups"`
	} `json:"spec"`
}

var ownMetric = regexp.MustCompile(`twilio_addon_operator_\w+`)

// ownMetrics are the names of the operator's own metrics, as its code registers them.
func ownMetrics() map[string]bool {
	metrics := namesOf{}
	registerOwn(metrics)
	return metrics
}

// registerOwn registers the operator's own metrics.
func registerOwn(registerer prometheus.Registerer) {
	controllers.NewMetrics(registerer, "test")
	twilio.NewLimiters(twilio.NewMetrics(registerer))
}

// alertNames are those of the alerts that config/prometheus ships.
func alertNames(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, group := range find[prometheusRule](t, withOptions(t), "PrometheusRule", "").Spec.Groups {
		for _, rule := range group.Rules {
			if rule.Alert != "" {
				names = append(names, rule.Alert)
			}
		}
	}
	return names
}

// An alert on a reason that does not exist would never fire. test/alerts checks the rest.
func TestAlertsNameReasonsThatExist(t *testing.T) {
	reasons := regexp.MustCompile(`reason=~?"([^"]+)"`)
	known := readyReasons(t)
	for _, group := range find[prometheusRule](t, withOptions(t), "PrometheusRule", "").Spec.Groups {
		for _, rule := range group.Rules {
			for _, match := range reasons.FindAllStringSubmatch(rule.Expr, -1) {
				for reason := range strings.SplitSeq(match[1], "|") {
					if !known[reason] {
						t.Errorf("%s: there is no reason %s", rule.Alert, reason)
					}
				}
			}
		}
	}
}

// A namespace's editors must not gain power over accounts through aggregation.
func TestOnlyAssignmentRolesAggregate(t *testing.T) {
	got := map[string][]string{}
	for _, object := range mustRender(t, "config/default") {
		if object.GetKind() != "ClusterRole" {
			continue
		}
		role := as[rbacv1.ClusterRole](t, object)
		for label := range role.Labels {
			if into, aggregates := strings.CutPrefix(label, "rbac.authorization.k8s.io/aggregate-to-"); aggregates {
				got[role.Name] = append(got[role.Name], into)
			}
		}
		slices.Sort(got[role.Name])
	}
	maps.DeleteFunc(got, func(_ string, into []string) bool { return len(into) == 0 })
	want := map[string][]string{
		operator + "-phonenumberaddonassignment-editor-role": {"admin", "edit"},
		operator + "-phonenumberaddonassignment-viewer-role": {"view"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("aggregated ClusterRoles (-want +got):\n%s", diff)
	}
}
