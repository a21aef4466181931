// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const (
	pn = "PN0123456789abcdef0123456789abcdef"
	xe = "XE0123456789abcdef0123456789abcdef"
	ac = "AC0123456789abcdef0123456789abcdef"

	head = "apiVersion: addons.twilio-operator.dev/v1alpha1\nkind: "
)

func manifest(name, spec string) string {
	return head + "PhoneNumberAddOnAssignment\nmetadata:\n  name: " + name + "\nspec:\n  " + strings.ReplaceAll(spec, "\n", "\n  ") + "\n"
}

func valid(name string) string {
	return manifest(name, "phoneNumberSID: "+pn+"\naddOnSIDs:\n- "+xe)
}

func load(t *testing.T, source Source, old *Set) *Set {
	t.Helper()
	schemas, err := NewSchemas()
	if err != nil {
		t.Fatal(err)
	}
	if source.FileSystem == nil {
		source.FileSystem = filesys.MakeFsOnDisk()
	}
	set, err := Load(t.Context(), schemas, source, "default", old)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func loadText(t *testing.T, text string, old *Set) *Set {
	t.Helper()
	return load(t, Source{Paths: []string{Stdin}, Stdin: strings.NewReader(text)}, old)
}

// The same that test/api puts to a real API server.
func TestProblemsHaveFileAndLine(t *testing.T) {
	account := func(spec string) string {
		return head + "TwilioAccount\nmetadata:\n  name: a\nspec:\n  accountSID: " + ac + "\n  credentialsSecretRef: {name: s}\n  " + spec + "\n"
	}
	cases := map[string]struct{ text, where, says string }{
		"no number":           {manifest("a", "addOnSIDs: []"), "-:5", "spec.phoneNumberSID: Required"},
		"no list":             {manifest("a", "phoneNumberSID: "+pn), "-:5", "spec.addOnSIDs: Required"},
		"number of no form":   {manifest("a", "phoneNumberSID: PN12\naddOnSIDs: []"), "-:6", "spec.phoneNumberSID"},
		"add-on of no form":   {manifest("a", "phoneNumberSID: "+pn+"\naddOnSIDs:\n- "+xe+"\n- XE1"), "-:9", "spec.addOnSIDs[1]"},
		"one add-on twice":    {manifest("a", "phoneNumberSID: "+pn+"\naddOnSIDs:\n- "+xe+"\n- "+xe), "-:", "spec.addOnSIDs"},
		"unknown policy":      {manifest("a", "phoneNumberSID: "+pn+"\naddOnSIDs: []\nmanagementPolicy: Exact"), "-:8", "Authoritative"},
		"unknown field":       {manifest("a", "phoneNumberSID: "+pn+"\naddOnSIDs: []\naddons: []"), "-:8", "unknown field"},
		"no boolean":          {manifest("a", "phoneNumberSID: "+pn+"\naddOnSIDs: []\nsuspend: 'yes'"), "-:8", "spec.suspend"},
		"a name of no form":   {strings.Replace(valid("a"), "name: a", "name: A_b", 1), "-:4", "metadata.name"},
		"an unknown kind":     {head + "Assignment\nmetadata: {name: a}\n", "-:2", "Unsupported value"},
		"an unknown version":  {strings.Replace(valid("a"), "v1alpha1", "v9", 1), "-:1", "apiVersion"},
		"no YAML":             {valid("a") + "---\na: [\n", "-:", "not valid YAML"},
		"a key twice":         {manifest("a", "phoneNumberSID: "+pn+"\naddOnSIDs: []\naddOnSIDs: []"), "-:8", "not valid YAML"},
		"in a later document": {valid("a") + "--- # next\n\n" + manifest("b", "phoneNumberSID: PN1\naddOnSIDs: []"), "-:16", "default/b: spec.phoneNumberSID"},
		"an object twice":     {valid("a") + "---\n" + valid("a"), "-:10", "is also in -:1"},
		"a rule of an account": {account("apiBaseURL: ftp://api.twilio.com"), "-:8",
			"http or https"},
		"a rule on an interval": {account("resyncInterval: 48h"), "-:8", "between 1s and 24h"},
		"in a List": {"apiVersion: v1\nkind: List\nitems:\n- " + strings.ReplaceAll(strings.TrimSpace(manifest("a", "phoneNumberSID: PN1\naddOnSIDs: []")), "\n", "\n  ") + "\n",
			"-:9", "spec.phoneNumberSID"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			set := loadText(t, c.text, nil)
			if len(set.Problems) == 0 {
				t.Fatalf("no problem in\n%s", c.text)
			}
			p := set.Problems[0]
			if !strings.HasPrefix(p.Where(), c.where) || !strings.Contains(p.Message, c.says) || strings.Contains(p.Message, "\n") {
				t.Errorf("got %s", p)
			}
		})
	}
}

func TestLoadFillsInDefaults(t *testing.T) {
	set := loadText(t, "kind: ConfigMap\napiVersion: v1\nmetadata: {name: other}\n---\n# nothing\n---\nreplicas: 3\n---\n"+valid("a"), nil)
	if len(set.Problems) > 0 || len(set.Assignments) != 1 {
		t.Fatalf("%+v", set)
	}
	a := set.Assignments[0]
	got := []string{a.Where(), a.Namespace, a.Spec.AccountRef.Name, string(a.Spec.ManagementPolicy), string(a.Spec.DeletionPolicy)}
	if diff := cmp.Diff([]string{"-:9", "default", "default", "Authoritative", "Delete"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestUpdateRules(t *testing.T) {
	old := loadText(t, valid("a"), nil)
	changed := strings.Replace(valid("a"), pn, "PN"+strings.Repeat("1", 32), 1)
	set := loadText(t, changed, old)
	if len(set.Problems) != 1 || !strings.Contains(set.Problems[0].Message, "cannot be changed") || set.Problems[0].Line != 6 {
		t.Errorf("%v", set.Problems)
	}
	if set := loadText(t, changed, nil); len(set.Problems) > 0 {
		t.Errorf("a new object: %v", set.Problems)
	}
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func placesOf(dir string, set *Set) []string {
	var out []string
	for i := range set.Assignments {
		a := &set.Assignments[i]
		out = append(out, fmt.Sprintf("%s/%s %s", a.Namespace, a.Name, strings.TrimPrefix(a.Where(), dir+"/")))
	}
	return out
}

func TestKustomization(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"base/kustomization.yaml":    "resources: [all.yaml]\n",
		"base/all.yaml":              valid("a") + "---\n" + valid("b"),
		"overlay/kustomization.yaml": "namespace: telephony\nnamePrefix: eu-\nresources: [../base]\npatches:\n- target: {name: b}\n  patch: |\n    - {op: replace, path: /spec/phoneNumberSID, value: PN1}\n",
	})
	overlay := filepath.Join(dir, "overlay")
	set := load(t, Source{Paths: []string{overlay}}, nil)
	if diff := cmp.Diff([]string{"telephony/eu-a base/all.yaml:1"}, placesOf(dir, set)); diff != "" {
		t.Error(diff)
	}
	if len(set.Problems) != 1 || set.Problems[0].Where() != filepath.Join(dir, "base", "all.yaml")+":15" {
		t.Errorf("%v", set.Problems)
	}
	if _, found := set.Assignments[0].Annotations["config.kubernetes.io/origin"]; found {
		t.Error("an annotation of ours is left")
	}
}

func TestFolders(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"a.yaml": valid("a"), "b.yml": valid("b"), "c.json": `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}}`,
		"d.txt": "not: [yaml", "below/e.yaml": valid("e"), ".hidden/f.yaml": valid("f"),
	})
	flat := load(t, Source{Paths: []string{dir}}, nil)
	if diff := cmp.Diff([]string{"default/a a.yaml:1", "default/b b.yml:1"}, placesOf(dir, flat)); diff != "" {
		t.Error(diff)
	}
	deep := load(t, Source{Paths: []string{dir}, Recursive: true}, nil)
	if diff := cmp.Diff([]string{"default/a a.yaml:1", "default/b b.yml:1", "default/e below/e.yaml:1"}, placesOf(dir, deep)); diff != "" {
		t.Error(diff)
	}
}

func TestAtRef(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	write(t, dir, map[string]string{"numbers/+1415.yaml": valid("a"), "numbers/b c.yaml": valid("b"), ".gitattributes": "* export-ignore\n"})
	run("init", "-q")
	run("add", "-A")
	run("commit", "-q", "-m", "first")
	if err := os.RemoveAll(filepath.Join(dir, "numbers")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{"new/c.yaml": valid("c")})
	source := Source{FileSystem: filesys.MakeFsOnDisk(), Paths: []string{filepath.Join(dir, "numbers"), filepath.Join(dir, "new")}}
	then, remove, err := source.AtRef(t.Context(), "HEAD")
	if err != nil {
		t.Fatal(err)
	}
	set := load(t, then, nil)
	root := strings.TrimSuffix(then.Paths[0], "/numbers")
	if diff := cmp.Diff([]string{"default/a numbers/+1415.yaml:1", "default/b numbers/b c.yaml:1"}, placesOf(root, set)); diff != "" {
		t.Error(diff)
	}
	if err := remove(); err != nil {
		t.Error(err)
	}
	for ref, says := range map[string]string{"no-such-ref": "git ls-tree", "--output=x": "not a git ref"} {
		if _, _, err := source.AtRef(t.Context(), ref); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", ref, err)
		}
	}
}
