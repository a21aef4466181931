// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/devbuild"
)

func TestNeedsControlPlane(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		p    goPackage
		want bool
	}{
		"tests that start one":                       {goPackage{TestGoFiles: []string{"a_test.go"}, TestImports: []string{"fmt", testenv}}, true},
		"tests from outside that start one":          {goPackage{XTestGoFiles: []string{"a_test.go"}, XTestImports: []string{testenv}}, true},
		"the package that starts them, whose own do": {goPackage{ImportPath: testenv, TestGoFiles: []string{"a_test.go"}}, true},
		"pure tests": {goPackage{TestGoFiles: []string{"a_test.go"}, TestImports: []string{"fmt"}}, false},
		"no tests, so it does not matter what it does": {goPackage{ImportPath: testenv}, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := c.p.needsControlPlane(); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// TestList looks at this repository as it is: at which tests are taken for pure, and at
// the fuzz targets, of which a loop that finds none would run none.
func TestList(t *testing.T) {
	t.Parallel()
	packages, err := list(t.Context(), []string{"./..."})
	if err != nil {
		t.Fatal(err)
	}
	module := strings.TrimSuffix(testenv, "internal/testenv")
	needs, fuzzed := map[string]bool{}, []string{}
	for _, p := range packages {
		name := strings.TrimPrefix(p.ImportPath, module)
		if p.hasTests() {
			needs[name] = p.needsControlPlane()
		}
		targets, err := p.fuzzTargets()
		if err != nil {
			t.Fatal(err)
		}
		if len(targets) > 0 {
			fuzzed = append(fuzzed, name)
		}
	}
	got := map[string]bool{}
	want := map[string]bool{"test/api": true, "test/soak": true, "internal/testenv": true, "internal/twilio": false, "hack/bench": false, "hack/dev": false}
	for name := range want {
		if need, ok := needs[name]; ok {
			got[name] = need
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("which tests need a control plane (-want +got):\n%s", diff)
	}
	if !slices.Contains(fuzzed, "internal/twilio") {
		t.Errorf("fuzz targets are in %q, want some in internal/twilio", fuzzed)
	}
}

// TestImageIsAskedFor: nobody publishes an image, so there is no name to fall back on. It
// is asked for before anything is compiled.
func TestImageIsAskedFor(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"build-installer", "deploy", "docker-buildx", "try"} {
		t.Run(target, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), "make", "--no-print-directory", target, "IMG=", "BIN="+t.TempDir(), "KUBECTL=false", "CONTAINER_TOOL=false")
			cmd.Dir = devbuild.Root()
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "make "+target+" IMG=registry.example.com/") {
				t.Errorf("make %s without IMG: %v, want an error and an example:\n%s", target, err, out)
			}
		})
	}
}
