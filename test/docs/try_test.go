// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// What "make try" does once the images are built. The simulator and the manager are
// processes here, and no image is pushed.
func TestTry(t *testing.T) {
	p := newPage(t, "docs/install.md")
	seeded, err := env.StartSimulator(t.Context(), "--seed-file="+filepath.Join(testenv.Root(), "config", "try", "seed.json"))
	p.must(err)
	t.Cleanup(func() { p.must(seeded.Stop()) })
	copied := filepath.Join(p.dir, "copied")
	p.must(testenv.CopyScripts(copied))
	replaceIn(p, filepath.Join(copied, "config", "try", "objects", "kustomization.yaml"), "http://twiliosim.twilio-addon-operator-system.svc:8090", seeded.URL)
	const (
		digest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
		pinned = "registry.example.com/operator" + digest
	)
	bin := filepath.Join(p.dir, "bin")
	p.must(
		os.MkdirAll(filepath.Join(copied, "dist"), 0o700), os.Mkdir(bin, 0o700),
		os.WriteFile(filepath.Join(copied, "dist", "image.ref"), []byte(pinned+"\n"), 0o600),
		os.WriteFile(filepath.Join(bin, "image"), []byte("#!/bin/sh\necho \"$3"+digest+"\"\n"), 0o700),
		os.Symlink(filepath.Join(testenv.Root(), "bin", "kustomize"), filepath.Join(bin, "kustomize")),
	)
	p.startManager()

	stop := rollOutAlways(t, deployment, "twiliosim")
	out := p.sh("copied/hack/try.sh " + bin + " registry.example.com/operator:v1 kubectl")
	stop()
	for name, image := range map[string]string{
		deployment: pinned, "twiliosim": "registry.example.com/operator:v1-twiliosim" + digest,
	} {
		d := &appsv1.Deployment{}
		p.must(env.Client.Get(t.Context(), client.ObjectKey{Namespace: testenv.Namespace, Name: name}, d))
		if got := d.Spec.Template.Spec.Containers[0].Image; got != image {
			t.Errorf("the image of %s is %s, want %s", name, got, image)
		}
	}
	rows := regexp.MustCompile(` +`).ReplaceAllString(out, " ")
	p.says(rows, "front-desk +14155550103 1/2 +1 -1 True Observed", "sales-line +14155550102 1/1 True Synced", "support-line +14155550101 2/2 True Synced")
	for number, want := range map[int][]int{1: {1, 2}, 2: {1, 3}, 3: {1, 2}} {
		got, err := seeded.Admin.Assigned(t.Context(), twiliosim.SID("PN", number))
		p.must(err)
		var sids []string
		for _, n := range want {
			sids = append(sids, twiliosim.SID("XE", n))
		}
		slices.Sort(got)
		if !slices.Equal(sids, got) {
			t.Errorf("number %d carries %v, want %v", number, got, sids)
		}
	}

	_, removal, found := strings.Cut(out, "To remove all of it: ")
	if !found {
		t.Fatal("the script does not say how to remove what it installed")
	}
	t.Cleanup(p.installAgain)
	p.sh("cd copied && " + removal + "\ncd ..")
}

func replaceIn(p *page, path, old, replacement string) {
	p.Helper()
	text, err := os.ReadFile(path)
	p.must(err)
	if !strings.Contains(string(text), old) {
		p.Fatalf("%s does not contain %s", path, old)
	}
	p.must(os.WriteFile(path, []byte(strings.ReplaceAll(string(text), old, replacement)), 0o600))
}

// rollOutAlways keeps the status of Deployments current until it is stopped.
func rollOutAlways(t *testing.T, names ...string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var controller sync.WaitGroup
	controller.Go(func() {
		for ; ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
			for _, name := range names {
				_ = rollOut(ctx, name) // until it is there
			}
		}
	})
	return func() {
		cancel()
		controller.Wait()
	}
}
