// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package argocd

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// health is what a health check returns.
type health struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

// healthTests is the content of a health_test.yaml.
type healthTests struct {
	Tests []struct {
		InputPath    string `json:"inputPath"`
		HealthStatus health `json:"healthStatus"`
	} `json:"tests"`
}

func healthTestsOf(t *testing.T, kind string) healthTests {
	t.Helper()
	var tests healthTests
	readYAML(t, filepath.Join(kind, "health_test.yaml"), &tests)
	return tests
}

func TestHealth(t *testing.T) {
	for _, kind := range kinds(t) {
		for _, test := range healthTestsOf(t, kind).Tests {
			t.Run(filepath.Base(kind)+"/"+filepath.Base(test.InputPath), func(t *testing.T) {
				result := runFile(t, filepath.Join(kind, "health.lua"), filepath.Join(kind, test.InputPath))
				want := map[string]any{"status": test.HealthStatus.Status, "message": test.HealthStatus.Message}
				if diff := cmp.Diff(any(want), result); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}

// healthByReason is the health in Argo CD for each reason, if the object's status is current.
var healthByReason = map[string]map[string]string{
	"PhoneNumberAddOnAssignment": {
		"Synced": "Healthy", "Observed": "Healthy", "Progressing": "Progressing", "Suspended": "Suspended",
		"AccountNotFound": "Degraded", "AccountInvalid": "Degraded", "NamespaceNotAllowed": "Degraded",
		"CredentialsInvalid": "Degraded", "PermissionDenied": "Degraded", "PhoneNumberNotFound": "Degraded",
		"AddOnRejected": "Degraded", "PhoneNumberConflict": "Degraded", "RateLimited": "Progressing",
		"TwilioUnavailable": "Progressing", "DeletionBlocked": "Degraded", "RemovalsHeld": "Degraded",
		"NotSelected": "Degraded", "ServedElsewhere": "Degraded",
	},
	"TwilioAccount": {
		"CredentialsAccepted": "Healthy", "CredentialsInvalid": "Degraded", "PermissionDenied": "Degraded",
		"NotSelected": "Degraded", "ServedElsewhere": "Degraded",
		"AccountInvalid": "Degraded", "RateLimited": "Progressing", "TwilioUnavailable": "Progressing", "Suspended": "Healthy",
	},
}

// Every reason has an object in testdata. Further objects have no status, or one that is not current.
func TestEveryReasonIsTested(t *testing.T) {
	for _, kind := range kinds(t) {
		got := map[string]string{}
		for _, test := range healthTestsOf(t, kind).Tests {
			object := readObject(t, filepath.Join(kind, test.InputPath))
			if reason := readyReason(object); reason != "" && !isBehind(object) {
				got[reason] = test.HealthStatus.Status
			}
		}
		if diff := cmp.Diff(healthByReason[filepath.Base(kind)], got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
	}
}

// part returns the object in a field of another object, empty if there is none.
func part(object map[string]any, field string) map[string]any {
	value, _ := object[field].(map[string]any)
	return value
}

func readyReason(object map[string]any) string {
	conditions, _ := part(object, "status")["conditions"].([]any)
	for _, condition := range conditions {
		if c, _ := condition.(map[string]any); c["type"] == "Ready" {
			reason, _ := c["reason"].(string)
			return reason
		}
	}
	return ""
}

func isBehind(object map[string]any) bool {
	return part(object, "status")["observedGeneration"] != part(object, "metadata")["generation"]
}

// Every file is named by a test.
func TestEveryTestdataIsUsed(t *testing.T) {
	for _, kind := range kinds(t) {
		for folder, list := range map[string]string{kind: "health_test.yaml", filepath.Join(kind, "actions"): "action_test.yaml"} {
			named := read(t, filepath.Join(folder, list))
			files, err := filepath.Glob(filepath.Join(folder, "testdata", "*"))
			if err != nil || len(files) == 0 {
				t.Fatalf("no files in %s: %v", folder, err)
			}
			for _, file := range files {
				if !strings.Contains(named, "testdata/"+filepath.Base(file)+"\n") {
					t.Errorf("%s does not name %s", list, file)
				}
			}
		}
	}
}

// action is an action as the discovery script describes it.
type action struct {
	Name        string `json:"name"`
	Disabled    bool   `json:"disabled"`
	DisplayName string `json:"displayName"`
	IconClass   string `json:"iconClass"`
}

// actionTests is the content of an action_test.yaml.
type actionTests struct {
	DiscoveryTests []struct {
		InputPath string   `json:"inputPath"`
		Result    []action `json:"result"`
	} `json:"discoveryTests"`
	ActionTests []struct {
		Action             string `json:"action"`
		InputPath          string `json:"inputPath"`
		ExpectedOutputPath string `json:"expectedOutputPath"`
	} `json:"actionTests"`
}

func actionTestsOf(t *testing.T, kind string) actionTests {
	t.Helper()
	var tests actionTests
	readYAML(t, filepath.Join(kind, "actions", "action_test.yaml"), &tests)
	return tests
}

func TestDiscovery(t *testing.T) {
	for _, kind := range kinds(t) {
		for _, test := range actionTestsOf(t, kind).DiscoveryTests {
			t.Run(filepath.Base(kind)+"/"+filepath.Base(test.InputPath), func(t *testing.T) {
				folder := filepath.Join(kind, "actions")
				result := runFile(t, filepath.Join(folder, "discovery.lua"), filepath.Join(folder, test.InputPath))
				want := map[string]any{}
				for _, a := range test.Result {
					want[a.Name] = map[string]any{"disabled": a.Disabled, "displayName": a.DisplayName, "iconClass": a.IconClass}
				}
				if diff := cmp.Diff(any(want), result); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}

const requestedAt = "addons.twilio-operator.dev/reconcile-requested-at"

var now = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`)

func TestActions(t *testing.T) {
	for _, kind := range kinds(t) {
		for _, test := range actionTestsOf(t, kind).ActionTests {
			t.Run(filepath.Base(kind)+"/"+test.Action+"/"+filepath.Base(test.InputPath), func(t *testing.T) {
				folder := filepath.Join(kind, "actions")
				result, ok := runFile(t, filepath.Join(folder, test.Action, "action.lua"), filepath.Join(folder, test.InputPath)).(map[string]any)
				if !ok {
					t.Fatal("the action returns no object")
				}
				restoreEmpty(result, readObject(t, filepath.Join(folder, test.InputPath)))
				annotations := part(part(result, "metadata"), "annotations")
				if at, _ := annotations[requestedAt].(string); now.MatchString(at) {
					annotations[requestedAt] = "0001-01-01T00:00:00Z" // Argo CD's tests fix times like this
				}
				if diff := cmp.Diff(readObject(t, filepath.Join(folder, test.ExpectedOutputPath)), result); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}

// restoreEmpty turns empty lists back into objects where the original had objects, as Argo CD does with
// the result of an action.
func restoreEmpty(result, before map[string]any) {
	for key, old := range before {
		oldObject, isObject := old.(map[string]any)
		if !isObject {
			continue
		}
		switch value := result[key].(type) {
		case []any:
			if len(value) == 0 {
				result[key] = map[string]any{}
			}
		case map[string]any:
			restoreEmpty(value, oldObject)
		}
	}
}

// Every discovered action has a script, and every script is discovered and tested.
func TestEveryActionIsTested(t *testing.T) {
	for _, kind := range kinds(t) {
		tests := actionTestsOf(t, kind)
		discovered, tested, scripts := map[string]bool{}, map[string]bool{}, map[string]bool{}
		for _, test := range tests.DiscoveryTests {
			for _, a := range test.Result {
				discovered[a.Name] = true
			}
		}
		for _, test := range tests.ActionTests {
			tested[test.Action] = true
		}
		files, err := filepath.Glob(filepath.Join(kind, "actions", "*", "action.lua"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			scripts[filepath.Base(filepath.Dir(file))] = true
		}
		for what, names := range map[string]map[string]bool{"discovered": discovered, "tested": tested} {
			if diff := cmp.Diff(slices.Sorted(maps.Keys(scripts)), slices.Sorted(maps.Keys(names))); diff != "" {
				t.Errorf("%s: actions (-scripts +%s):\n%s", kind, what, diff)
			}
		}
	}
}
