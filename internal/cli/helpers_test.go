// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

const token = "secrettoken"

var (
	ac = twiliosim.SID("AC", 1)
	pn = func(n int) string { return twiliosim.SID("PN", n) }
	xe = func(n int) string { return twiliosim.SID("XE", n) }
)

// world is a simulated Twilio and the environment of somebody who may read it.
type world struct {
	*twiliosim.Sim
	t   *testing.T
	url string
	env map[string]string
}

// newWorld has 3 numbers and 3 add-ons: the first number carries two, the second one.
func newWorld(t *testing.T) *world {
	t.Helper()
	sim := twiliosim.New(twiliosim.Options{Seed: 1, RequestLog: 10_000})
	twiliosim.Must(sim.Seed(twiliosim.Seed{Account: ac, AuthToken: token, Numbers: 3, AddOns: 3}))
	return serve(t, sim, map[int][]int{1: {1, 2}, 2: {1}})
}

func serve(t *testing.T, sim *twiliosim.Sim, assigned map[int][]int) *world {
	t.Helper()
	for number, addOns := range assigned {
		for _, addOn := range addOns {
			twiliosim.Must(sim.Assign(pn(number), xe(addOn)))
		}
	}
	server := httptest.NewServer(sim.Handler())
	t.Cleanup(server.Close)
	return &world{Sim: sim, t: t, url: server.URL, env: map[string]string{
		envAccountSID: ac, envAuthToken: token, envBaseURL: server.URL, "KUBECONFIG": "/nonexistent",
	}}
}

// result is what a run left.
type result struct {
	code        int
	out, errOut string
}

func (w *world) run(args ...string) result { return w.runWith("", args...) }

func (w *world) runWith(stdin string, args ...string) result {
	w.t.Helper()
	return w.runIn(w.t.Context(), stdin, args...)
}

func (w *world) runIn(ctx context.Context, stdin string, args ...string) result {
	var out, errOut bytes.Buffer
	code := Run(ctx, Options{
		Args:    args,
		Streams: genericiooptions.IOStreams{In: strings.NewReader(stdin), Out: &out, ErrOut: &errOut},
		Getenv:  func(name string) string { return w.env[name] },
		Version: "test",
		// Longer than a pause of the limiter after a few failures, which is 1 s.
		Patience: 2 * time.Second,
	})
	return result{code, out.String(), errOut.String()}
}

// ok runs a command that must succeed and returns its output.
func (w *world) ok(args ...string) string {
	w.t.Helper()
	r := w.run(args...)
	if r.code != 0 {
		w.t.Fatalf("%s: exit %d: %s", strings.Join(args, " "), r.code, r.errOut)
	}
	return r.out
}

// onlyReads fails the test if anything but a GET reached Twilio.
func (w *world) onlyReads() {
	w.t.Helper()
	for _, request := range w.Requests() {
		if request.Method != http.MethodGet {
			w.t.Errorf("%s %s", request.Method, request.Path)
		}
	}
}

// files reads a folder: content by path below it.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		found[name] = string(content)
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return found
}

// put writes a file of a test.
func put(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// oneSentence checks an error as people see it: one line, exit 1, no output.
func oneSentence(t *testing.T, r result, says string) {
	t.Helper()
	if r.code != 1 || r.out != "" {
		t.Errorf("exit %d, output %q", r.code, r.out)
	}
	lines := strings.Split(strings.TrimSpace(r.errOut), "\n")
	last := lines[len(lines)-1]
	if !strings.HasPrefix(last, "error: ") || !strings.Contains(last, says) {
		t.Errorf("said %q, want an error with %q", r.errOut, says)
	}
}
