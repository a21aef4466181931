// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package charttest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	release "helm.sh/helm/v4/pkg/release/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const (
	root      = "../.."
	chartPath = "../twilio-addon-operator"

	releaseName = "twilio-addon-operator"
	namespace   = "twilio-addon-operator-system"
)

// values are what a test sets, by dotted path. The image is always set.
type values map[string]any

// nested returns the values as Helm wants them.
func (v values) nested() map[string]any {
	all := map[string]any{"image": map[string]any{"repository": "controller", "tag": "latest"}}
	for path, value := range v {
		keys := strings.Split(path, ".")
		at := all
		for _, key := range keys[:len(keys)-1] {
			next, ok := at[key].(map[string]any)
			if !ok {
				next = map[string]any{}
				at[key] = next
			}
			at = next
		}
		at[keys[len(keys)-1]] = value
	}
	return all
}

func loadChart(t *testing.T) *chart.Chart {
	t.Helper()
	loaded, err := loader.Load(chartPath)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

// template is "helm template".
func template(c *chart.Chart, name string, with map[string]any) (*release.Release, error) {
	install := action.NewInstall(action.NewConfiguration())
	install.DryRunStrategy = action.DryRunClient
	install.ReleaseName = name
	install.Namespace = namespace
	install.KubeVersion = &common.KubeVersion{Version: "v1.37.2", Major: "1", Minor: "37"}
	rendered, err := install.Run(c, with)
	if err != nil {
		return nil, err
	}
	return rendered.(*release.Release), nil
}

// rendered returns what the chart makes of the values.
func rendered(t *testing.T, with values) map[string]*unstructured.Unstructured {
	t.Helper()
	result, err := template(loadChart(t), releaseName, with.nested())
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, []byte(result.Manifest))
}

// decode returns objects by kind and name, and fails if two have the same.
func decode(t *testing.T, manifests []byte) map[string]*unstructured.Unstructured {
	t.Helper()
	objects := map[string]*unstructured.Unstructured{}
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifests), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return objects
		} else if err != nil {
			t.Fatal(err)
		}
		if len(object.Object) == 0 {
			continue
		}
		key := object.GetKind() + " " + object.GetName()
		if objects[key] != nil {
			t.Fatalf("%s is there twice", key)
		}
		objects[key] = object
	}
}

// kustomized is what "make deploy" applies: config/default with the image and the version.
// With options, every line of its resources that is commented out is put in.
func kustomized(t *testing.T, options bool) map[string]*unstructured.Unstructured {
	t.Helper()
	files := filesys.MakeFsInMemory()
	err := fs.WalkDir(os.DirFS(root), "config", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			return err
		}
		if options && path == "config/default/kustomization.yaml" {
			content = bytes.ReplaceAll(content, []byte("#- ../"), []byte("- ../"))
		}
		return files.WriteFile("/"+path, content)
	})
	if err != nil {
		t.Fatal(err)
	}
	overlay := fmt.Sprintf("resources: [../config/default]\nlabels: [{includeTemplates: true, pairs: {app.kubernetes.io/version: %q}}]\n",
		loadChart(t).Metadata.AppVersion)
	if err := files.WriteFile("/overlay/kustomization.yaml", []byte(overlay)); err != nil {
		t.Fatal(err)
	}
	return built(t, files, "/overlay")
}

// built is what "kustomize build" makes of a folder.
func built(t *testing.T, files filesys.FileSystem, folder string) map[string]*unstructured.Unstructured {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(files, folder)
	if err != nil {
		t.Fatal(err)
	}
	manifests, err := resources.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, manifests)
}

// withoutHelm takes away from an object of the chart what Helm alone adds, and fails if it
// is not there.
func withoutHelm(t *testing.T, key string, object *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	object = object.DeepCopy()
	labels := object.GetLabels()
	for label, want := range map[string]string{
		"app.kubernetes.io/managed-by": "Helm",
		"app.kubernetes.io/instance":   releaseName,
		"helm.sh/chart":                "twilio-addon-operator-" + loadChart(t).Metadata.Version,
	} {
		if labels[label] != want {
			t.Errorf("%s: the label %s is %q, want %q", key, label, labels[label], want)
		}
		delete(labels, label)
	}
	labels["app.kubernetes.io/managed-by"] = "kustomize"
	object.SetLabels(labels)
	if object.GetKind() == "CustomResourceDefinition" {
		annotations := object.GetAnnotations()
		if annotations["helm.sh/resource-policy"] != "keep" {
			t.Errorf("%s would be deleted with the release", key)
		}
		delete(annotations, "helm.sh/resource-policy")
		object.SetAnnotations(annotations)
	}
	return object
}

// same fails where the chart differs from the kustomization.
func same(t *testing.T, want, got map[string]*unstructured.Unstructured) {
	t.Helper()
	for key, object := range got {
		got[key] = withoutHelm(t, key, object)
	}
	// Helm needs the namespace before it can install a release in it.
	delete(want, "Namespace "+namespace)
	if diff := cmp.Diff(plain(t, want), plain(t, got)); diff != "" {
		t.Errorf("config/default and the chart differ (-kustomize +chart):\n%s", diff)
	}
}

// plain makes numbers comparable, whoever has read them, and expressions of PromQL, to
// which white space means nothing: kustomize adds empty lines when it prints folded text.
func plain(t *testing.T, objects map[string]*unstructured.Unstructured) map[string]any {
	t.Helper()
	all := map[string]any{}
	for key, object := range objects {
		text, err := json.Marshal(object.Object)
		if err != nil {
			t.Fatal(err)
		}
		var value any
		if err := json.Unmarshal(text, &value); err != nil {
			t.Fatal(err)
		}
		if object.GetKind() == "PrometheusRule" {
			unspace(value)
		}
		all[key] = value
	}
	return all
}

// unspace makes each run of white space one space in every "expr" within.
func unspace(value any) {
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			if text, ok := inner.(string); ok && key == "expr" {
				value[key] = strings.Join(strings.Fields(text), " ")
			}
			unspace(inner)
		}
	case []any:
		for _, inner := range value {
			unspace(inner)
		}
	}
}

func TestChartEqualsKustomization(t *testing.T) {
	same(t, kustomized(t, false), rendered(t, nil))
}

func TestChartEqualsKustomizationWithOptions(t *testing.T) {
	want, got := kustomized(t, true), rendered(t, values{
		"metrics.serviceMonitor.enabled": true, "metrics.rules.enabled": true, "networkPolicy.enabled": true,
	})
	// Of the policies the chart selects pods by all labels of the Deployment's selector,
	// which kustomize does, too; of kinds that it does not know, kustomize changes nothing.
	same(t, want, got)
}

// The chart's policies are those of config/admission, each by a value of its own.
func TestAdmissionPolicies(t *testing.T) {
	want := built(t, filesys.MakeFsOnDisk(), filepath.Join(root, "config", "admission"))
	numbers := map[string]any{"telephony": []any{"PN0123456789abcdef0123456789abcdef", "PN123456789abcdef0123456789abcdef0"}}
	got := map[string]*unstructured.Unstructured{}
	for name, count := range map[string]int{"numbers": 3, "retain": 2, "authoritative": 2} {
		with := values{"admissionPolicies." + name + ".enabled": true, "admissionPolicies.numbers.namespaces": numbers}
		before := len(got)
		for key, object := range rendered(t, with) {
			if strings.HasPrefix(key, "ValidatingAdmissionPolicy") || object.GetKind() == "ConfigMap" {
				got[key] = withoutHelm(t, key, object)
				got[key].SetLabels(nil)
			}
		}
		if n := len(got) - before; n != count {
			t.Errorf("%s switches on %d objects, want %d", name, n, count)
		}
	}
	if diff := cmp.Diff(plain(t, want), plain(t, got)); diff != "" {
		t.Errorf("config/admission and the chart differ (-kustomize +chart):\n%s", diff)
	}

	own := rendered(t, values{"admissionPolicies.numbers.enabled": true, "admissionPolicies.numbers.configMap": "ours"})
	if own["ConfigMap ours"] != nil {
		t.Error("there is a ConfigMap, and nobody said what is in it")
	}
	name, _, _ := unstructured.NestedString(own["ValidatingAdmissionPolicyBinding twilio-addon-operator-numbers"].Object, "spec", "paramRef", "name")
	if name != "ours" {
		t.Errorf("the binding reads the ConfigMap %q", name)
	}
}

// What "make chart-files" copies is what is in config/.
func TestCopiesAreCurrent(t *testing.T) {
	folders := map[string]string{
		"crds": "config/crd/bases/*.yaml", "rbac": "config/rbac/*.yaml", "network-policy": "config/network-policy/*.yaml",
		"admission":  "config/admission/*.yaml",
		"prometheus": "config/prometheus/*.yaml", "grafana": "config/grafana/*.json",
	}
	for folder, pattern := range folders {
		want, got := contents(t, filepath.Join(root, pattern)), contents(t, filepath.Join(chartPath, "files", folder, "*"))
		delete(want, "kustomization.yaml")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("files/%s is not current; run: make chart-files (-config +chart):\n%.2000s", folder, diff)
		}
	}
}

func contents(t *testing.T, pattern string) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found[filepath.Base(path)] = string(content)
	}
	return found
}

func TestLint(t *testing.T) {
	lint := action.NewLint()
	lint.Strict = true
	lint.Namespace = namespace
	result := lint.Run([]string{chartPath}, values(nil).nested())
	for _, err := range result.Errors {
		t.Error(err)
	}
	if result.TotalChartsLinted != 1 {
		t.Errorf("%d charts were linted", result.TotalChartsLinted)
	}
}

func TestImageIsRequired(t *testing.T) {
	_, err := template(loadChart(t), releaseName, map[string]any{})
	if err == nil || !strings.Contains(err.Error(), "image.repository is needed") {
		t.Errorf("the error is %v", err)
	}
}

// What is misspelt, or of the wrong kind, is refused and named.
func TestSchemaRefuses(t *testing.T) {
	tests := map[string]struct {
		with values
		says string
	}{
		"a misspelt key":               {values{"replica": 2}, "replica"},
		"one in a section":             {values{"metrics.serviceMonitor.enable": true}, "enable"},
		"one of a resource":            {values{"resources.limit": map[string]any{}}, "limit"},
		"one of a pull secret":         {values{"imagePullSecrets": []any{map[string]any{"secret": "x"}}}, "imagePullSecrets"},
		"text for a number":            {values{"replicas": "two"}, "replicas"},
		"a lease without unit":         {values{"leaderElection.leaseDuration": "15"}, "leaseDuration"},
		"too many reconciles":          {values{"maxConcurrentReconciles": 20000}, "maxConcurrentReconciles"},
		"an encoder that is not there": {values{"log.encoder": "xml"}, "encoder"},
		"a digest that is none":        {values{"image.digest": "sha256:123"}, "digest"},
		"a proxy without scheme":       {values{"proxy.httpsProxy": "proxy:3128"}, "httpsProxy"},
		"too little time to stop":      {values{"terminationGracePeriodSeconds": 30}, "terminationGracePeriodSeconds"},
		"a label that is no text":      {values{"podLabels": map[string]any{"a": true}}, "podLabels"},
		"two CAs":                      {values{"trustedCA.configMap": "a", "trustedCA.secret": "b"}, "trustedCA"},
		"a number that is none":        {values{"admissionPolicies.numbers.namespaces": map[string]any{"a": []any{"+14155550100"}}}, "admissionPolicies"},
		"an argument that is no flag":  {values{"extraArgs": []any{"leader-elect"}}, "extraArgs"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := template(loadChart(t), releaseName, test.with.nested())
			if err == nil || !strings.Contains(err.Error(), "schema") || !strings.Contains(err.Error(), test.says) {
				t.Errorf("the error is %v, want one of the schema that says %q", err, test.says)
			}
		})
	}
	if _, err := template(loadChart(t), releaseName, values{"global": map[string]any{"team": "x"}}.nested()); err != nil {
		t.Errorf("a parent chart cannot use it: %v", err)
	}
}

// passedOn are the values that Kubernetes checks, not the schema.
var passedOn = map[string]bool{
	"global": true, "metrics.serviceMonitor.tlsConfig": true, "affinity": true, "podSecurityContext": true, "securityContext": true,
}

// Every object of the schema is closed, and every value has a schema, a default and a line
// in the README.
func TestSchemaIsWhole(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal([]byte(read(t, chartPath+"/values.schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	var defaults map[string]any
	if err := yaml.Unmarshal([]byte(read(t, chartPath+"/values.yaml")), &defaults); err != nil {
		t.Fatal(err)
	}
	checkSchema(t, "", schema, defaults, read(t, chartPath+"/README.md"))
}

func checkSchema(t *testing.T, path string, schema, defaults any, readme string) {
	t.Helper()
	part, _ := schema.(map[string]any)
	properties, hasProperties := part["properties"].(map[string]any)
	if part["type"] == "object" && part["additionalProperties"] == nil && !passedOn[path] {
		t.Errorf("%q takes any key", path)
	}
	if !hasProperties {
		if path != "global" && !strings.Contains(readme, "`"+path+"`") {
			t.Errorf("README.md does not tell of %s", path)
		}
		return
	}
	if part["additionalProperties"] != false {
		t.Errorf("%q takes unknown keys", path)
	}
	set, _ := defaults.(map[string]any)
	for key, property := range properties {
		if _, found := set[key]; !found && key != "global" {
			t.Errorf("%s.%s is in the schema and not in values.yaml", path, key)
		}
		checkSchema(t, strings.TrimPrefix(path+"."+key, "."), property, set[key], readme)
	}
	for key := range set {
		if properties[key] == nil {
			t.Errorf("%s.%s is in values.yaml and not in the schema", path, key)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
