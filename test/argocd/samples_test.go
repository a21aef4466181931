// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package argocd

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const samples = pack + "/samples"

// syncPolicy holds the parts of an Application's sync policy that the tests read.
type syncPolicy struct {
	Automated struct {
		Prune      bool `json:"prune"`
		SelfHeal   bool `json:"selfHeal"`
		AllowEmpty bool `json:"allowEmpty"`
	} `json:"automated"`
	SyncOptions []string       `json:"syncOptions"`
	Retry       map[string]any `json:"retry"`
}

// checkPolicy fails for a policy that could strip numbers by accident, or that makes Argo CD and
// the operator overwrite each other.
func checkPolicy(t *testing.T, where string, policy syncPolicy) {
	t.Helper()
	if policy.Automated.AllowEmpty {
		t.Errorf("%s: a folder that renders to nothing prunes everything", where)
	}
	if !slices.Contains(policy.SyncOptions, "ServerSideApply=true") {
		t.Errorf("%s does not apply on the server's side", where)
	}
	for _, option := range policy.SyncOptions {
		if name, value, _ := strings.Cut(option, "="); value == "true" && (name == "Replace" || name == "Force" || name == "PruneLast") {
			t.Errorf("%s has %s, which docs/argocd.md warns of", where, option)
		}
	}
}

func TestApplication(t *testing.T) {
	var application struct {
		Kind string `json:"kind"`
		Spec struct {
			SyncPolicy syncPolicy `json:"syncPolicy"`
		} `json:"spec"`
	}
	readLoosely(t, filepath.Join(samples, "application.yaml"), &application)
	checkPolicy(t, application.Kind, application.Spec.SyncPolicy)
}

func TestApplicationSet(t *testing.T) {
	var set struct {
		Kind string `json:"kind"`
		Spec struct {
			SyncPolicy struct {
				PreserveResourcesOnDeletion bool `json:"preserveResourcesOnDeletion"`
			} `json:"syncPolicy"`
			Template struct {
				Spec struct {
					Project    string     `json:"project"`
					SyncPolicy syncPolicy `json:"syncPolicy"`
				} `json:"spec"`
			} `json:"template"`
		} `json:"spec"`
	}
	readLoosely(t, filepath.Join(samples, "applicationset.yaml"), &set)
	checkPolicy(t, set.Kind, set.Spec.Template.Spec.SyncPolicy)
	if !set.Spec.SyncPolicy.PreserveResourcesOnDeletion {
		t.Error("a folder that is renamed deletes its objects")
	}
	project := readObject(t, filepath.Join(samples, "appproject.yaml"))
	if name := part(project, "metadata")["name"]; name != set.Spec.Template.Spec.Project {
		t.Errorf("the project is %q, the sample makes %q", set.Spec.Template.Spec.Project, name)
	}
}

// The account comes before its numbers.
func TestWaves(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(samples, "twilio", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	waves := map[string]int{}
	for _, file := range files {
		object := readObject(t, file)
		text, _ := part(part(object, "metadata"), "annotations")["argocd.argoproj.io/sync-wave"].(string)
		wave, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("%s: the wave is %q", file, text)
		}
		kind, _ := object["kind"].(string)
		waves[kind] = wave
	}
	if len(waves) != 2 || waves["TwilioAccount"] >= waves["PhoneNumberAddOnAssignment"] {
		t.Errorf("the waves are %v, want the account before the assignments", waves)
	}
}
