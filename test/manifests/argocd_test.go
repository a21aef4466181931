// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

func argoTestdata(t *testing.T) []string {
	t.Helper()
	var files []string
	for _, pattern := range []string{"*/testdata/*.yaml", "*/actions/testdata/*.yaml"} {
		found, err := filepath.Glob(filepath.Join(root, "config", "argocd", "resource_customizations", "*", pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("no test data of the Argo CD pack: %v", err)
		}
		files = append(files, found...)
	}
	return files
}

// argoObject reads the one object of a file.
func argoObject(t *testing.T, file string) *unstructured.Unstructured {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	document, err := yaml.YAMLToJSONStrict(content)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(document); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return object
}

// What the health checks and actions of Argo CD are tested on are objects that can exist.
func TestArgoTestdataIsValid(t *testing.T) {
	for _, file := range argoTestdata(t) {
		object := argoObject(t, file)
		bare(object)
		status, reported := object.Object["status"]
		if err := cluster.Create(t.Context(), object); err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if reported {
			object.Object["status"] = status
			if err := cluster.Status().Update(t.Context(), object); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
		if err := cluster.Delete(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
}

// bare leaves of the metadata what a person gives.
func bare(object *unstructured.Unstructured) {
	object.Object["metadata"] = map[string]any{"name": "argocd-testdata"}
	if object.GetKind() == "PhoneNumberAddOnAssignment" {
		object.SetNamespace("default")
	}
}

// Each reason that the operator can give is among them.
func TestArgoTestdataHasEveryReason(t *testing.T) {
	var all []byte
	for _, file := range argoTestdata(t) {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, content...)
	}
	lines := strings.Split(string(all), "\n")
	for reason := range readyReasons(t) {
		if !slices.Contains(lines, "    reason: "+reason) {
			t.Errorf("no object has the reason %s", reason)
		}
	}
}

// healthOf is what Argo CD is to show for what kstatus computes: Flux, kubectl and Argo CD agree.
var healthOf = map[kstatus.Status][]string{
	kstatus.CurrentStatus:    {"Healthy", "Suspended"},
	kstatus.InProgressStatus: {"Progressing"},
	kstatus.FailedStatus:     {"Degraded"},
}

func TestArgoAgreesWithKstatus(t *testing.T) {
	lists, err := filepath.Glob(filepath.Join(root, "config", "argocd", "resource_customizations", "*", "*", "health_test.yaml"))
	if err != nil || len(lists) != 2 {
		t.Fatalf("found %v: %v", lists, err)
	}
	for _, list := range lists {
		var expected struct {
			Tests []struct {
				InputPath    string `json:"inputPath"`
				HealthStatus struct {
					Status string `json:"status"`
				} `json:"healthStatus"`
			} `json:"tests"`
		}
		content, err := os.ReadFile(list)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(content, &expected); err != nil {
			t.Fatal(err)
		}
		for _, test := range expected.Tests {
			object := argoObject(t, filepath.Join(filepath.Dir(list), test.InputPath))
			object.SetDeletionTimestamp(nil) // Terminating for kstatus, whatever the conditions say
			if object.Object["status"] == nil {
				continue // before the API server's defaults
			}
			result, err := kstatus.Compute(object)
			if err != nil {
				t.Fatal(err)
			}
			if got := test.HealthStatus.Status; !slices.Contains(healthOf[result.Status], got) {
				t.Errorf("%s: Argo CD shows %s, kstatus %s", test.InputPath, got, result.Status)
			}
		}
	}
}

// The samples for Argo CD that are of the operator's kinds.
func TestArgoSamplesApply(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "config", "argocd", "samples", "twilio", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		objects, err := decode(strings.NewReader(string(content)))
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range objects {
			if object.GetNamespace() != "" {
				object.SetNamespace("default")
			}
			if err := apply(t.Context(), object, client.DryRunAll, client.ForceOwnership); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}

// The folders that config/default does not name render on their own.
func TestSamplesOfOthersRender(t *testing.T) {
	kinds := map[string]int{}
	for _, folder := range []string{"config/admission", "config/grafana"} {
		for _, object := range mustRender(t, folder) {
			kinds[object.GetKind()]++
			if object.GetLabels()["grafana_dashboard"] == "" {
				continue
			}
			data, _, _ := unstructured.NestedStringMap(object.Object, "data")
			dashboard, err := os.ReadFile(filepath.Join(root, "config", "grafana", "dashboard.json"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(map[string]string{"twilio-addon-operator.json": string(dashboard)}, data); diff != "" {
				t.Errorf("the dashboard's ConfigMap (-want +got):\n%s", diff)
			}
		}
	}
	want := map[string]int{"ConfigMap": 2, "ValidatingAdmissionPolicy": 3, "ValidatingAdmissionPolicyBinding": 3}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}
