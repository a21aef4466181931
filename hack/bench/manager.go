// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
)

// manager is a running manager.
type manager struct {
	*testenv.Process
	metrics, pprof string // addresses
	// started is before its start, ready when its readiness probe succeeded.
	started, ready time.Time
}

// start starts the manager of the world. Leader election is off, so that lease renewals are not
// counted as writes.
func (w *world) start(ctx context.Context) (err error) {
	w.manager, err = w.launch(ctx, "--leader-elect=false")
	return err
}

// launch starts a manager. Metrics need no authentication, so that reading them causes no
// request to the API server.
func (w *world) launch(ctx context.Context, flags ...string) (*manager, error) {
	m := &manager{started: time.Now()}
	var err error
	if m.metrics, err = testenv.FreeAddress(ctx); err != nil {
		return nil, err
	}
	if m.pprof, err = testenv.FreeAddress(ctx); err != nil {
		return nil, err
	}
	flags = append(flags, "--metrics-secure=false", "--metrics-bind-address="+m.metrics, "--pprof-bind-address="+m.pprof)
	if m.Process, err = w.env.StartManager(ctx, flags...); err != nil {
		return nil, err
	}
	m.ready = time.Now()
	return m, testenv.Wait(ctx, waitTimeout, "the manager serves its metrics", func() error {
		_, err := m.scrape(ctx)
		return err
	})
}

// stop stops the manager of the world, if one runs.
func (w *world) stop() error {
	if w.manager == nil {
		return nil
	}
	err := w.manager.Stop()
	w.manager = nil
	return err
}

// series maps the name and labels of a metric to its value.
type series map[string]float64

// sum adds up the series of a metric that have all labels. A label has the form name="value".
func (s series) sum(metric string, labels ...string) float64 {
	total := 0.0
next:
	for name, value := range s {
		if name != metric && !strings.HasPrefix(name, metric+"{") {
			continue
		}
		for _, label := range labels {
			if !strings.Contains(name, label) {
				continue next
			}
		}
		total += value
	}
	return total
}

// writes returns how often the manager wrote to the API server, including events.
func (s series) writes() float64 {
	total := 0.0
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		total += s.sum("rest_client_requests_total", `method="`+method+`"`)
	}
	return total
}

func (s series) cpuSeconds() float64 { return s.sum("process_cpu_seconds_total") }

// waitingObjects returns how many objects wait for a call to an account.
func (s series) waitingObjects(account string) int {
	return int(s.sum("twilio_addon_operator_twilio_waiting", `account="`+account+`"`))
}

func (m *manager) scrape(ctx context.Context) (series, error) {
	body, err := testenv.Get(ctx, "http://"+m.metrics+"/metrics")
	if err != nil {
		return nil, err
	}
	return parseSeries(body), nil
}

// parseSeries parses the Prometheus text format.
func parseSeries(text string) series {
	found := series{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || line[0] == '#' {
			continue
		}
		if value, err := strconv.ParseFloat(line[at+1:], 64); err == nil {
			found[line[:at]] = value
		}
	}
	return found
}

// collectGarbage runs the garbage collector twice. Objects with a finalizer are freed by the
// second run.
func (m *manager) collectGarbage(ctx context.Context) error {
	for range 2 {
		if _, err := testenv.Get(ctx, "http://"+m.pprof+"/debug/pprof/heap?gc=1"); err != nil {
			return err
		}
	}
	return nil
}

// saveProfile writes a profile of the manager to a file if --profiles is set.
func (w *world) saveProfile(ctx context.Context, kind, file string) error {
	if w.profiles == "" {
		return nil
	}
	profile, err := testenv.Get(ctx, "http://"+w.manager.pprof+"/debug/pprof/"+kind)
	return errors.Join(err, os.MkdirAll(w.profiles, 0o755), os.WriteFile(filepath.Join(w.profiles, file), []byte(profile), 0o644))
}

// peakMemory returns the peak resident memory in bytes, or 0 where the system does not report it.
func (m *manager) peakMemory() float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.PID()))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kilobytes, _ := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kilobytes * 1024
		}
	}
	return 0
}
