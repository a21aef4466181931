// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package argocd

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write config/argocd/argocd-cm.yaml anew from the Lua files")

const patchFile = pack + "/argocd-cm.yaml"

// configMap holds the parts of argocd-cm that the tests read.
type configMap struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   map[string]any    `json:"metadata"`
	Data       map[string]string `json:"data"`
}

// patch returns the argocd-cm.yaml that the Lua files result in.
func patch(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("# Copyright The twilio-addon-operator Authors.\n# SPDX-License-Identifier: Apache-2.0\n\n" +
		"# Generated from resource_customizations/ by \"go test -C test/argocd -update\".\n" +
		"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: argocd-cm\ndata:\n")
	for _, kind := range kinds(t) {
		name := filepath.Base(filepath.Dir(kind)) + "_" + filepath.Base(kind)
		fmt.Fprintf(&b, "  resource.customizations.health.%s: |\n%s", name, indent(4, code(t, kind, "health.lua")))
		fmt.Fprintf(&b, "  resource.customizations.actions.%s: |\n    discovery.lua: |\n%s    definitions:\n",
			name, indent(6, code(t, kind, "actions", "discovery.lua")))
		scripts, err := filepath.Glob(filepath.Join(kind, "actions", "*", "action.lua"))
		if err != nil {
			t.Fatal(err)
		}
		for _, script := range scripts {
			fmt.Fprintf(&b, "    - name: %s\n      action.lua: |\n%s", filepath.Base(filepath.Dir(script)), indent(8, code(t, script)))
		}
	}
	return b.String()
}

// code returns a Lua file without its license header.
func code(t *testing.T, path ...string) string {
	t.Helper()
	_, rest, found := strings.Cut(read(t, filepath.Join(path...)), "-- SPDX-License-Identifier: Apache-2.0\n\n")
	if !found {
		t.Fatalf("%s has no licence", filepath.Join(path...))
	}
	return rest
}

func indent(by int, text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line != "\n" {
			b.WriteString(strings.Repeat(" ", by))
		}
		b.WriteString(line)
	}
	return b.String()
}

func TestComponentIsCurrent(t *testing.T) {
	want := patch(t)
	if *update {
		if err := os.WriteFile(patchFile, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, read(t, patchFile)); diff != "" {
		t.Errorf("argocd-cm.yaml is not current; run: go test -C test/argocd -update (-want +got):\n%s", diff)
	}
}

// An installation of Argo CD with kustomize that adds the component gets the content of the files,
// and keeps what its ConfigMap had.
func TestComponent(t *testing.T) {
	got := install(t)
	want := map[string]string{"url": "https://argocd.example.com"}
	for _, kind := range kinds(t) {
		name := "addons.twilio-operator.dev_" + filepath.Base(kind)
		want["resource.customizations.health."+name] = code(t, kind, "health.lua")
		want["resource.customizations.actions."+name] = got.Data["resource.customizations.actions."+name]
		checkActions(t, kind, got.Data["resource.customizations.actions."+name])
	}
	if diff := cmp.Diff(want, got.Data); diff != "" {
		t.Errorf("argocd-cm (-want +got):\n%s", diff)
	}
}

// checkActions compares the actions in a ConfigMap's value with the files.
func checkActions(t *testing.T, kind, value string) {
	t.Helper()
	type definition struct {
		Name      string `json:"name"`
		ActionLua string `json:"action.lua"`
	}
	type actions struct {
		Discovery   string       `json:"discovery.lua"`
		Definitions []definition `json:"definitions"`
	}
	var got actions
	if err := yaml.UnmarshalStrict([]byte(value), &got); err != nil {
		t.Fatalf("%s: %v in\n%s", kind, err, value)
	}
	want := actions{Discovery: code(t, kind, "actions", "discovery.lua")}
	scripts, err := filepath.Glob(filepath.Join(kind, "actions", "*", "action.lua"))
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range scripts {
		want.Definitions = append(want.Definitions, definition{filepath.Base(filepath.Dir(script)), code(t, script)})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: actions (-files +argocd-cm):\n%s", kind, diff)
	}
}

// install returns the argocd-cm of an installation with kustomize that has the component.
func install(t *testing.T) configMap {
	t.Helper()
	folder := t.TempDir()
	if err := os.CopyFS(filepath.Join(folder, "component"), os.DirFS(pack)); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"kustomization.yaml": "namespace: argocd\nresources: [argocd-cm.yaml]\ncomponents: [component]\n",
		"argocd-cm.yaml":     "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: argocd-cm}\ndata: {url: https://argocd.example.com}\n",
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		t.Fatal(err)
	}
	content, err := built.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	var result configMap
	if err := yaml.UnmarshalStrict(content, &result); err != nil {
		t.Fatalf("%v in\n%s", err, content)
	}
	return result
}
