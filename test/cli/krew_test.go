// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
)

// Krew installs the archive by the manifest, with nothing from the network, and kubectl
// then finds the plugin.
func TestKrewInstallsTheArchive(t *testing.T) {
	dist, krewRoot := t.TempDir(), t.TempDir()
	inModule := func(name string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = testenv.Root()
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v: %s", name, args, err, out)
		}
	}
	inModule("make", "--no-print-directory", "bin/krew")
	platform := runtime.GOOS + "/" + runtime.GOARCH
	inModule("go", "run", "./hack/release/plugin", "--version", "v1.2.3", "--output", dist, "--platforms", platform)
	archives, err := filepath.Glob(filepath.Join(dist, "kubectl-twilio_addons_v1.2.3_*.tar.gz"))
	if err != nil || len(archives) != 1 {
		t.Fatalf("archives %v: %v", archives, err)
	}
	sums, err := os.ReadFile(filepath.Join(dist, "kubectl-twilio_addons.sha256"))
	if err != nil || !strings.HasSuffix(string(sums), "  "+filepath.Base(archives[0])+"\n") {
		t.Errorf("checksums %q: %v", sums, err)
	}
	krew := exec.CommandContext(t.Context(), filepath.Join(testenv.Root(), "bin", "krew"), "install",
		"--manifest="+filepath.Join(dist, "twilio-addons.krew.yaml"), "--archive="+archives[0])
	krew.Env = append(os.Environ(), "KREW_ROOT="+krewRoot, "HTTPS_PROXY=http://127.0.0.1:1")
	if out, err := krew.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	kubectl := exec.CommandContext(t.Context(), filepath.Join(tools, "kubectl"), "twilio-addons", "version")
	kubectl.Env = append(os.Environ(), "PATH="+filepath.Join(krewRoot, "bin"))
	if out, err := kubectl.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "kubectl twilio-addons v1.2.3 ") {
		t.Errorf("%v: %s", err, out)
	}
}
