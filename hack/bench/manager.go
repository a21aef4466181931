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

// manager is a running manager, with what is needed to look into it.
type manager struct {
	*testenv.Process
	metrics, pprof string // addresses
	began, ready   time.Time
}

// start starts the world's manager. It elects no leader, so that the lease's renewals
// are not among the writes that are counted, and serves metrics to whom asks, so that
// answering the bench costs the API server nothing.
func (w *world) start(ctx context.Context) error {
	m := &manager{began: time.Now()}
	var err error
	if m.metrics, err = testenv.FreeAddress(ctx); err != nil {
		return err
	}
	if m.pprof, err = testenv.FreeAddress(ctx); err != nil {
		return err
	}
	m.Process, err = w.env.StartManager(ctx,
		"--leader-elect=false", "--metrics-secure=false",
		"--metrics-bind-address="+m.metrics, "--pprof-bind-address="+m.pprof)
	if err != nil {
		return err
	}
	m.ready = time.Now()
	w.manager = m
	return testenv.Wait(ctx, patience, "the manager serves its metrics", func() error {
		_, err := m.scrape(ctx)
		return err
	})
}

// stop ends the world's manager, if one runs.
func (w *world) stop() error {
	if w.manager == nil {
		return nil
	}
	err := w.manager.Stop()
	w.manager = nil
	return err
}

// series are samples of metrics, by name with labels.
type series map[string]float64

// sum adds up the series of a metric that have all the labels, given as name="value".
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

// writes is how often the manager has written to the API server, events included.
func (s series) writes() float64 {
	total := 0.0
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		total += s.sum("rest_client_requests_total", `method="`+method+`"`)
	}
	return total
}

func (s series) cpuSeconds() float64 { return s.sum("process_cpu_seconds_total") }

// waiting is how many objects wait for their turn with an account.
func (s series) waiting(account string) int {
	return int(s.sum("twilio_addon_operator_twilio_waiting", `account="`+account+`"`))
}

func (m *manager) scrape(ctx context.Context) (series, error) {
	body, err := testenv.Get(ctx, "http://"+m.metrics+"/metrics")
	if err != nil {
		return nil, err
	}
	return parseSeries(body), nil
}

// parseSeries reads the text format of Prometheus.
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

// collect runs the garbage collector, twice: what a finalizer held goes in the second.
func (m *manager) collect(ctx context.Context) error {
	for range 2 {
		if _, err := testenv.Get(ctx, "http://"+m.pprof+"/debug/pprof/heap?gc=1"); err != nil {
			return err
		}
	}
	return nil
}

// keepProfile writes a profile of the manager to a file, if profiles are wanted.
func (w *world) keepProfile(ctx context.Context, of, file string) error {
	if w.profiles == "" {
		return nil
	}
	profile, err := testenv.Get(ctx, "http://"+w.manager.pprof+"/debug/pprof/"+of)
	return errors.Join(err, os.MkdirAll(w.profiles, 0o755), os.WriteFile(filepath.Join(w.profiles, file), []byte(profile), 0o644))
}

// peak is the most memory that was ever resident, in bytes; 0 where the system does not tell.
func (m *manager) peak() float64 {
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
