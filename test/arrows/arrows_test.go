// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package arrows holds the test of the architecture: which package may import which.
package arrows

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

const (
	root   = "../.."
	module = "github.com/twilio-addon-operator/twilio-addon-operator/"
)

// room says what the code of one package may import. Its tests may import more.
type room struct {
	// inside are the packages of this module. No other one may be imported.
	inside []string
	// denied are packages of others, and all that is below them.
	denied []string
	// except are files that may import a denied package.
	except map[string][]string
}

// noCalls is what a package that makes no calls has no use for.
func noCalls(more ...string) []string {
	return append([]string{"net", "os", "log", "k8s.io/client-go", "sigs.k8s.io/controller-runtime", "github.com/go-logr"}, more...)
}

// rooms are the packages with walls. docs/adr/0010-rooms-and-arrows.md says why each arrow
// exists.
func rooms() map[string]room {
	return map[string]room{
		"api/v1alpha1":       {denied: noCalls("github.com/twilio")},
		"internal/sid":       {denied: noCalls("k8s.io", "time", "context")},
		"internal/twilio":    {denied: []string{"k8s.io", "sigs.k8s.io"}},
		"internal/plan":      {inside: []string{"api/v1alpha1", "internal/sid", "internal/twilio"}, denied: noCalls("time", "context", "sync")},
		"internal/ledger":    {inside: []string{"api/v1alpha1", "internal/plan", "internal/sid", "internal/twilio"}, denied: noCalls("context", "sync")},
		"internal/ownership": {inside: []string{"api/v1alpha1", "internal/plan", "internal/sid"}, denied: noCalls("context", "sync")},
		"internal/shard":     {inside: []string{"api/v1alpha1", "internal/sid"}, denied: noCalls("time", "context", "sync")},
		"internal/schedule":  {denied: []string{"net", "os", "log", "sigs.k8s.io/controller-runtime", "context"}},
		"internal/fleet": {
			inside: []string{"api/v1alpha1", "internal/ledger", "internal/schedule", "internal/sid"}, denied: noCalls("context"),
			except: map[string][]string{"cache.go": {"sigs.k8s.io/controller-runtime/pkg/cache", "sigs.k8s.io/controller-runtime/pkg/client"}},
		},
	}
}

// neverImported are packages that only some others may import: tests and programs.
func neverImported() map[string][]string {
	return map[string][]string{
		"cmd":                nil,
		"controllers":        {"cmd", "hack", "test"},
		"internal/twiliosim": {"cmd/twiliosim", "hack", "test", "internal/testenv"},
		"internal/testenv":   {"hack", "test"},
	}
}

// wrongArrows returns the imports that point the wrong way, of all code that is no test.
func wrongArrows(tree fs.FS) ([]string, error) {
	var wrong []string
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (strings.HasPrefix(entry.Name(), ".") && name != "." || entry.Name() == "bin" || entry.Name() == "testdata") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		imports, err := importsOf(tree, name)
		for _, imported := range imports {
			if why := judge(name, imported); why != "" {
				wrong = append(wrong, fmt.Sprintf("%s imports %s: %s", name, imported, why))
			}
		}
		return err
	})
	return wrong, err
}

func importsOf(tree fs.FS, name string) ([]string, error) {
	source, err := fs.ReadFile(tree, name)
	if err != nil {
		return nil, err
	}
	file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	var imports []string
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		imports = append(imports, imported)
	}
	return imports, nil
}

// judge says what is wrong with an import, "" if it is in order.
func judge(file, imported string) string {
	from := path.Dir(file)
	inside, ours := strings.CutPrefix(imported, module)
	if ours {
		for above, importers := range neverImported() {
			if isBelow(inside, above) && !isBelow(from, above) && !slices.ContainsFunc(importers, func(p string) bool { return isBelow(from, p) }) {
				return above + " is above it"
			}
		}
	}
	walls, guarded := rooms()[from]
	switch {
	case !guarded:
		return ""
	case ours && !slices.Contains(walls.inside, inside):
		return "no arrow leads there"
	case slices.Contains(walls.except[path.Base(file)], imported):
		return ""
	}
	for _, denied := range walls.denied {
		if isBelow(imported, denied) {
			return denied + " is not for this package"
		}
	}
	return ""
}

// isBelow reports whether a package is another one, or in a folder of it.
func isBelow(pkg, of string) bool { return pkg == of || strings.HasPrefix(pkg, of+"/") }

func TestImportsPointOneWay(t *testing.T) {
	wrong, err := wrongArrows(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	for _, arrow := range wrong {
		t.Error(arrow)
	}
	for name := range rooms() {
		if files, _ := filepath.Glob(filepath.Join(root, name, "*.go")); len(files) == 0 {
			t.Errorf("the package %s has walls, and is not there", name)
		}
	}
}

// The judge finds each sort of wrong arrow, and lets the right ones be.
func TestWrongArrowsAreFound(t *testing.T) {
	file := func(imported string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("package p\n\nimport _ " + strconv.Quote(imported) + "\n")}
	}
	tree := fstest.MapFS{}
	wrong := map[string]string{
		"internal/plan/a.go":      module + "internal/ledger",
		"internal/plan/b.go":      "time",
		"internal/plan/c.go":      module + "controllers",
		"internal/ownership/a.go": module + "internal/ledger",
		"internal/ledger/a.go":    module + "internal/fleet",
		"internal/schedule/a.go":  module + "api/v1alpha1",
		"internal/fleet/a.go":     "sigs.k8s.io/controller-runtime/pkg/client",
		"internal/fleet/cache.go": "sigs.k8s.io/controller-runtime/pkg/manager",
		"internal/twilio/a.go":    "k8s.io/apimachinery/pkg/types",
		"internal/new/a.go":       module + "controllers",
		"controllers/a.go":        module + "internal/twiliosim",
		"controllers/b.go":        module + "cmd/manager",
		"api/v1alpha1/a.go":       module + "internal/sid",
		"internal/sid/a.go":       "net/http",
	}
	right := map[string]string{
		"internal/plan/d.go":        module + "internal/sid",
		"internal/plan/a_test.go":   "time",
		"internal/ledger/b.go":      module + "internal/plan",
		"internal/fleet/d/cache.go": "sigs.k8s.io/controller-runtime/pkg/manager",
		"controllers/c.go":          module + "internal/new",
		"cmd/manager/a.go":          module + "controllers",
		"test/soak/a.go":            module + "internal/twiliosim",
		"bin/a.go":                  module + "cmd/manager",
	}
	for _, imports := range []map[string]string{wrong, right} {
		for name, imported := range imports {
			tree[name] = file(imported)
		}
	}
	arrows, err := wrongArrows(tree)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, arrow := range arrows {
		name, _, _ := strings.Cut(arrow, " ")
		found = append(found, name)
	}
	slices.Sort(found)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(wrong)), found); diff != "" {
		t.Errorf("files with wrong arrows (-want +got):\n%s", diff)
	}
}
