// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package devbuild

import (
	"os"
	"path/filepath"
	"testing"
)

// TestRoot looks for the module from folders inside and outside of it. Run with -trimpath,
// as make test does, it also shows that the path of the source is not needed.
func TestRoot(t *testing.T) {
	want, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, start := range []string{".", "hack/controlplane", "hack/tools/lint"} {
		got, err := findRoot(filepath.Join(want, start))
		if err != nil || got != want {
			t.Errorf("from %s: got %q, %v; want %q: a nested module is not the main one", start, got, err, want)
		}
	}
	if got, err := findRoot(t.TempDir()); err == nil {
		t.Errorf("outside of the module: got %q, want an error", got)
	}
	if Root() != want {
		t.Errorf("Root is %q, want %q", Root(), want)
	}
	if _, err := os.Stat(filepath.Join(Root(), "config", "crd", "bases")); err != nil {
		t.Error(err)
	}
}
