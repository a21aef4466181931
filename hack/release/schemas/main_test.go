// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/devbuild"
)

// compiled are the schemas that run writes, by file name, as the library of kubeconform
// reads them.
func compiled(t *testing.T) map[string]*jsonschema.Schema {
	t.Helper()
	folder := t.TempDir()
	if err := run(folder); err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	schemas := map[string]*jsonschema.Schema{}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if schemas[entry.Name()], err = compiler.Compile(filepath.Join(folder, entry.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return schemas
}

// check validates a manifest against the schema of its kind.
func check(t *testing.T, schemas map[string]*jsonschema.Schema, manifest string) error {
	t.Helper()
	text, err := yaml.YAMLToJSON([]byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	var object struct{ APIVersion, Kind string }
	if err := json.Unmarshal(text, &object); err != nil {
		t.Fatal(err)
	}
	content, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	schema := schemas[strings.ToLower(object.Kind)+"_v1alpha1.json"]
	if schema == nil {
		t.Fatalf("no schema for %s", object.Kind)
	}
	return schema.Validate(content)
}

// manifests are the documents of the repository's samples that are of the two kinds.
func manifests(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, folder := range []string{"config/samples", "config/argocd/samples"} {
		err := fs.WalkDir(os.DirFS(filepath.Join(devbuild.Root(), folder)), ".", func(path string, _ fs.DirEntry, err error) error {
			if filepath.Ext(path) != ".yaml" {
				return err
			}
			text, err := os.ReadFile(filepath.Join(devbuild.Root(), folder, path))
			for document := range strings.SplitSeq(string(text), "\n---\n") {
				if strings.Contains(document, "\napiVersion: addons.twilio-operator.dev/") {
					found = append(found, document)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(found) < 5 {
		t.Fatalf("only %d manifests", len(found))
	}
	return found
}

func TestSamplesAreValid(t *testing.T) {
	schemas := compiled(t)
	names := []string{"phonenumberaddonassignment_v1alpha1.json", "twilioaccount_v1alpha1.json"}
	for _, name := range names {
		if schemas[name] == nil {
			t.Errorf("no %s", name)
		}
	}
	if diff := cmp.Diff(len(names), len(schemas)); diff != "" {
		t.Errorf("schemas (-want +got):\n%s", diff)
	}
	for _, manifest := range manifests(t) {
		if err := check(t, schemas, manifest); err != nil {
			t.Errorf("%v\n%s", err, manifest)
		}
	}
}

const (
	assignmentHead = "apiVersion: addons.twilio-operator.dev/v1alpha1\nkind: PhoneNumberAddOnAssignment\nmetadata: {name: a, labels: {b: c}}\n"
	accountHead    = "apiVersion: addons.twilio-operator.dev/v1alpha1\nkind: TwilioAccount\nmetadata: {name: a}\n"
	pn             = "PN0123456789abcdef0123456789abcdef"
	ac             = "AC0123456789abcdef0123456789abcdef"
)

func TestManifestsAreValid(t *testing.T) {
	schemas := compiled(t)
	for _, manifest := range []string{
		assignmentHead + "spec: {phoneNumberSID: " + pn + ", addOnSIDs: []}",
		accountHead + "spec: {accountSID: " + ac + ", credentialsSecretRef: {name: s}, resyncInterval: 1h30m," +
			" removalBudget: {maxNumbers: 5, exceptions: [{until: '2026-11-26T00:00:00Z', maxNumbers: 5000, reason: CHG-123}]}}",
		accountHead + "spec: {accountSID: " + ac + ", credentialsSecretRef: {name: s}, removalBudget: {maxNumbers: 25%}}",
	} {
		if err := check(t, schemas, manifest); err != nil {
			t.Errorf("%v\n%s", err, manifest)
		}
	}
}

// What a person gets wrong in a manifest is refused, and where.
func TestMistakesAreRefused(t *testing.T) {
	schemas := compiled(t)
	cases := map[string]struct{ manifest, at string }{
		"misspelt field":   {assignmentHead + "spec: {phoneNumberSid: " + pn + ", phoneNumberSID: " + pn + ", addOnSIDs: []}", "/spec"},
		"no list":          {assignmentHead + "spec: {phoneNumberSID: " + pn + "}", "/spec"},
		"no spec":          {assignmentHead, ""},
		"not a list":       {assignmentHead + "spec: {phoneNumberSID: " + pn + ", addOnSIDs: XE1}", "/spec/addOnSIDs"},
		"too many":         {assignmentHead + "spec: {phoneNumberSID: " + pn + ", addOnSIDs: [" + strings.Repeat("a,", 51) + "]}", "/spec/addOnSIDs"},
		"unknown policy":   {assignmentHead + "spec: {phoneNumberSID: " + pn + ", addOnSIDs: [], managementPolicy: Strict}", "/spec/managementPolicy"},
		"a string":         {assignmentHead + "spec: {phoneNumberSID: " + pn + ", addOnSIDs: [], suspend: 'true'}", "/spec/suspend"},
		"unknown version":  {strings.Replace(assignmentHead, "v1alpha1", "v1", 1) + "spec: {phoneNumberSID: " + pn + ", addOnSIDs: []}", "/apiVersion"},
		"no credential":    {accountHead + "spec: {accountSID: " + ac + "}", "/spec"},
		"too many calls":   {accountHead + "spec: {accountSID: " + ac + ", credentialsSecretRef: {name: s}, maxConcurrentRequests: 1000}", "/spec/maxConcurrentRequests"},
		"a deeper mistake": {accountHead + "spec: {accountSID: " + ac + ", credentialsSecretRef: {name: s}, allowedNamespaces: {form: All}}", "/spec/allowedNamespaces"},
		"no date":          {accountHead + "spec: {accountSID: " + ac + ", credentialsSecretRef: {name: s}, removalBudget: {exceptions: [{until: soon, maxNumbers: 5, reason: r}]}}", "/spec/removalBudget/exceptions/0/until"},
		"no number":        {accountHead + "spec: {accountSID: " + ac + ", credentialsSecretRef: {name: s}, removalBudget: {maxNumbers: true}}", "/spec/removalBudget/maxNumbers"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			err := check(t, schemas, c.manifest)
			invalid, refused := errors.AsType[*jsonschema.ValidationError](err)
			if !refused {
				t.Fatalf("it is taken: %v", err)
			}
			if !strings.Contains(invalid.Error(), "at '"+c.at+"'") {
				t.Errorf("refused for %v, want a mistake at %q", invalid, c.at)
			}
		})
	}
}

// The form that no field has now, but one may have.
func TestConvert(t *testing.T) {
	cases := map[string]struct{ crd, want schema }{
		"may be null":  {schema{"type": "string", "nullable": true}, schema{"type": []any{"string", "null"}}},
		"a set":        {schema{"type": "array", "x-kubernetes-list-type": "set"}, schema{"type": "array", "uniqueItems": true}},
		"open":         {schema{"properties": schema{}, "x-kubernetes-preserve-unknown-fields": true}, schema{"properties": schema{}}},
		"a map":        {schema{"additionalProperties": schema{"nullable": false}}, schema{"additionalProperties": schema{}}},
		"alternatives": {schema{"anyOf": []any{schema{"x-kubernetes-validations": []any{}}}}, schema{"anyOf": []any{schema{}}}},
		"a field named as a keyword": {schema{"properties": schema{"items": schema{"type": "string"}}},
			schema{"properties": schema{"items": schema{"type": "string"}}, "additionalProperties": false}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			convert(c.crd)
			if diff := cmp.Diff(c.want, c.crd); diff != "" {
				t.Error(diff)
			}
		})
	}
}
