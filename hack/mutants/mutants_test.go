// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/devbuild"
)

// TestMutantsApply holds the patches to the sources as they are.
func TestMutantsApply(t *testing.T) {
	all, err := loadMutants(devbuild.Root())
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		f, err := all[i].fitTo(devbuild.Root())
		if err != nil {
			t.Error(err)
			continue
		}
		if f.planted == f.source {
			t.Errorf("%s changes nothing", all[i].name)
		}
	}
}

// TestMovedCode puts a function into another file, as a refactoring does.
func TestMovedCode(t *testing.T) {
	const function = "// f decides.\nfunc f(n int) bool {\n\tif n > 0 {\n\t\treturn true\n\t}\n\treturn false\n}\n"
	const other = "func g(n int) bool {\n\treturn n > 0\n}\n"
	m := &mutant{name: "always", path: "always.patch"}
	var err error
	m.what, m.patch, err = parsePatch("f is always true\n\n--- a/controllers/plan.go\n+++ b/controllers/plan.go\n@@ -3,5 +3,5 @@\n func f(n int) bool {\n \tif n > 0 {\n \t\treturn true\n \t}\n-\treturn false\n+\treturn true\n }\n")
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		files map[string]string
		want  string // the file that it applies to; empty if it applies to none
	}{
		"where it was":          {map[string]string{"controllers/plan.go": function}, "controllers/plan.go"},
		"in another file":       {map[string]string{"controllers/plan.go": other, "internal/plan/plan.go": function}, "internal/plan/plan.go"},
		"its file is gone":      {map[string]string{"internal/plan/decide.go": other + function}, "internal/plan/decide.go"},
		"in a test only":        {map[string]string{"internal/plan/decide_test.go": function}, ""},
		"in two other files":    {map[string]string{"controllers/a.go": function, "controllers/b.go": function}, ""},
		"nowhere":               {map[string]string{"controllers/plan.go": other}, ""},
		"outside of the source": {map[string]string{"hack/a.go": function}, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for file, text := range c.files {
				path := filepath.Join(root, file)
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("package p\n\n"+text), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			f, err := m.fitTo(root)
			if c.want == "" {
				if err == nil || !strings.Contains(err.Error(), "always no longer applies") || !strings.Contains(err.Error(), "always.patch") {
					t.Errorf("got %v, want an error that names the mutant and its file", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if f.file != c.want || strings.Count(f.planted, "return true") != 2 {
				t.Errorf("applied to %s, want %s:\n%s", f.file, c.want, f.planted)
			}
		})
	}
}

func TestReadSoak(t *testing.T) {
	const seeds = "soak: 1 of 9: seed 5, 3 steps\nsoak: 2 of 9: seed 6, 3 steps\n"
	failed := errors.New("exit status 2")
	testRead(t, readSoak, map[string]reading{
		"found":            {seeds + "  1. a step\nWRONG: at 12 this\nWRONG: that\n", failed, &finding{"2 seeds of the soak", "at 12 this"}, false},
		"not found":        {seeds, nil, nil, false},
		"does not compile": {"undefined: x", failed, nil, true},
		"breaks down":      {seeds, failed, nil, true},
		"runs nothing":     {"", nil, nil, true},
	})
}

func TestReadTests(t *testing.T) {
	failed := errors.New("exit status 1")
	read := func(output string, ended error) (*finding, error) { return readTests("./controllers", output, ended) }
	testRead(t, read, map[string]reading{
		"found":            {"    --- FAIL: TestA/b\n--- FAIL: TestA (0.1s)\n--- FAIL: TestB (0.1s)\n", failed, &finding{"the tests of controllers", "`TestA`"}, false},
		"not found":        {"ok  \tcontrollers\n", nil, nil, false},
		"does not compile": {"undefined: x", failed, nil, true},
	})
}

// reading is what a command printed, and what is to be read from it.
type reading struct {
	output string
	ended  error
	want   *finding
	fails  bool
}

func testRead(t *testing.T, read func(output string, ended error) (*finding, error), cases map[string]reading) {
	t.Helper()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := read(c.output, c.ended)
			if (err != nil) != c.fails || (got == nil) != (c.want == nil) || (got != nil && *got != *c.want) {
				t.Errorf("read %v, %v; want %v", got, err, c.want)
			}
		})
	}
}
