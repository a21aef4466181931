// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// The bench's account: numbers, the latency of each call, and how many may be in flight.
const (
	benchNumbers = 1000
	benchLatency = 100 * time.Millisecond
	benchLimit   = 8
)

func benchWorld(b *testing.B) *world {
	b.Helper()
	sim := twiliosim.New(twiliosim.Options{Seed: 1})
	twiliosim.Must(
		sim.Seed(twiliosim.Seed{Account: ac, AuthToken: token, Numbers: benchNumbers, AddOns: 4, Assigned: 2}),
		sim.UpdateBehaviour(func(s *twiliosim.Behaviour) {
			s.Latency, s.ConcurrencyLimit = twiliosim.Duration(benchLatency), benchLimit
		}),
	)
	server := httptest.NewServer(sim.Handler())
	b.Cleanup(server.Close)
	return &world{Sim: sim, url: server.URL, env: map[string]string{
		envAccountSID: ac, envAuthToken: token, envBaseURL: server.URL, "KUBECONFIG": "/nonexistent",
	}}
}

// measure reports wall ÷ (calls × latency ÷ limit), calls ÷ minimum, and the most heap in use.
func measure(b *testing.B, minimum int, args ...string) {
	b.Helper()
	w := benchWorld(b)
	var wall time.Duration
	for b.Loop() {
		start := time.Now()
		if r := w.runIn(b.Context(), "", args...); r.code != 0 {
			b.Fatalf("exit %d: %s", r.code, r.errOut)
		}
		wall += time.Since(start)
	}
	calls := float64(w.Calls().Total.Calls)
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	b.ReportMetric(wall.Seconds()/(calls*benchLatency.Seconds()/benchLimit), "wall/ideal")
	b.ReportMetric(calls/float64(minimum*b.N), "calls/minimum")
	b.ReportMetric(float64(memory.HeapSys-memory.HeapReleased)/(1<<20), "heap-MiB")
	b.ReportMetric(0, "ns/op")
}

// A listing for each number, one page of numbers.
func BenchmarkExport(b *testing.B) {
	measure(b, benchNumbers+1, "export", "--output-file", filepath.Join(b.TempDir(), "all.yaml"), "--overwrite")
}

// And one page of installed add-ons.
func BenchmarkPlan(b *testing.B) {
	file := filepath.Join(b.TempDir(), "all.yaml")
	w := benchWorld(b)
	if err := w.UpdateBehaviour(func(s *twiliosim.Behaviour) { s.Latency = 0 }); err != nil {
		b.Fatal(err)
	}
	r := w.runIn(b.Context(), "", "export", "--policy", "Authoritative")
	if err := os.WriteFile(file, []byte(r.out), 0o600); r.code != 0 || err != nil {
		b.Fatalf("exit %d: %s %v", r.code, r.errOut, err)
	}
	measure(b, benchNumbers+2, "plan", "-f", file)
}
