// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// output is a buffer that is safe for concurrent use by the command and the test.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// start runs the command until the test ends. It returns the URLs and the output.
func start(t *testing.T, args ...string) (api, admin string, stdout, stderr *output, stop func() error) {
	t.Helper()
	addresses := filepath.Join(t.TempDir(), "addresses.json")
	args = append(args, "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--addresses-file="+addresses)
	ctx, cancel := context.WithCancel(t.Context())
	stdout, stderr = new(output), new(output)
	result := make(chan error, 1)
	go func() { result <- run(ctx, args, stdout, stderr) }()
	stop = sync.OnceValue(func() error { cancel(); return <-result })
	t.Cleanup(func() { _ = stop() })
	for {
		if data, err := os.ReadFile(addresses); err == nil {
			var urls map[string]string
			if err := json.Unmarshal(data, &urls); err != nil {
				t.Fatal(err)
			}
			return urls["api"], urls["admin"], stdout, stderr, stop
		}
		select {
		case err := <-result:
			t.Fatalf("run ended before it listened: %v\n%s", err, stderr)
		case <-time.After(time.Millisecond):
		}
	}
}

func get(t *testing.T, url, user, password string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(user, password)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	return res.StatusCode
}

func TestRunServesTheSeedFile(t *testing.T) {
	ac := twiliosim.SID("AC", 1)
	sim := twiliosim.New(twiliosim.Options{})
	twiliosim.Must(sim.AddAccount(ac, "authtoken"))
	seed, err := json.Marshal(sim.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "seed.json")
	if err := os.WriteFile(file, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	api, admin, stdout, stderr, stop := start(t, "--seed-file="+file, "--latency=1ms", "--concurrency-limit=3", "--log")

	path := "/2010-04-01/Accounts/" + ac + ".json"
	if status := get(t, api+path, ac, "authtoken"); status != http.StatusOK {
		t.Errorf("GET of the account: status is %d, want 200", status)
	}
	c := twiliosim.NewAdminClient(admin)
	state, err := c.Snapshot(t.Context())
	if diff := cmp.Diff(sim.Snapshot(), state); diff != "" || err != nil {
		t.Errorf("state (error %v; -want +got):\n%s", err, diff)
	}
	b, err := c.Behaviour(t.Context())
	if err != nil || b.Latency != twiliosim.Duration(time.Millisecond) || b.ConcurrencyLimit != 3 {
		t.Errorf("behaviour: %+v, %v", b, err)
	}
	if want := "twiliosim ready: api " + api + " admin " + admin + "\n"; stdout.String() != want {
		t.Errorf("stdout is %q, want %q", stdout, want)
	}
	if log := stderr.String(); !strings.Contains(log, " 200 GET "+path+" user="+ac) || strings.Contains(log, "authtoken") {
		t.Errorf("log is %q", log)
	}
	if err := stop(); err != nil {
		t.Errorf("run returned %v after it was stopped", err)
	}
	if err := c.Healthy(t.Context()); err == nil {
		t.Error("the admin API still answers after the stop")
	}
}

func TestRunReturnsStartErrors(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.json")
	if err := os.WriteFile(broken, []byte(`{"accounts":[{"sid":"AC1"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	free := []string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"}
	for name, args := range map[string][]string{
		"unknown flag":     {"--latncy=1s"},
		"argument":         {"now"},
		"negative limit":   {"--concurrency-limit=-1"},
		"no seed file":     {"--seed-file=" + filepath.Join(dir, "none.json")},
		"broken seed file": {"--seed-file=" + broken},
		"address":          {"--listen=127.0.0.1:http-but-not-really"},
		"admin address":    {"--admin-listen=127.0.0.1:http-but-not-really"},
		"addresses file":   {"--addresses-file=" + filepath.Join(dir, "none", "addresses.json")},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if err := run(ctx, append(free, args...), new(output), new(output)); err == nil {
			t.Errorf("%s: run returned no error", name)
		}
		cancel()
	}
}
