// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
)

// usage is what a manager used at one moment, from its metrics.
type usage struct {
	manager    string
	goroutines int
	files      int // open ones, connections among them
	resident   int // bytes
}

// leading is the metric that is 1 while a manager leads.
func (m *member) leading() string { return `leader_election_master_status{name="` + m.lease + `"}` }

// growth is what a manager used at two moments.
type growth struct{ before, after usage }

// What a manager may use more at the end of a run than when it began to lead: its workers,
// the connections to Twilio, which are made when they are needed, and what the heap grows
// to before it is collected and given back, after an oversized answer above all.
const (
	moreGoroutines = 60
	moreFiles      = 30
	moreResident   = 64 << 20
)

func (g growth) check() []error {
	var wrong []error
	grew := func(what string, before, after, allowed int) {
		if before > 0 && after > before+allowed {
			wrong = append(wrong, fmt.Errorf("the manager has %s %d, and had %d when it was ready", what, after, before))
		}
	}
	if g.before.manager != g.after.manager {
		return nil
	}
	grew("goroutines:", g.before.goroutines, g.after.goroutines, moreGoroutines)
	grew("open files:", g.before.files, g.after.files, moreFiles)
	grew("bytes of memory:", g.before.resident, g.after.resident, moreResident)
	return wrong
}

// usageOf reads the metrics of a manager once it leads; zero if it does not come to that.
func usageOf(ctx context.Context, m *member) usage {
	text := ""
	err := testenv.Wait(ctx, time.Minute, "the manager leads", func() (err error) {
		if text, err = testenv.Get(ctx, "http://"+m.metrics+"/metrics"); err == nil && metric(text, m.leading()) != 1 {
			err = errors.New("it waits for the lease")
		}
		return err
	})
	if err != nil {
		return usage{manager: m.name}
	}
	return usage{
		manager:    m.name,
		goroutines: metric(text, "go_goroutines"),
		files:      metric(text, "process_open_fds"),
		resident:   metric(text, "process_resident_memory_bytes"),
	}
}

func metric(text, name string) int {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			number, _ := strconv.ParseFloat(strings.TrimSpace(value), 64) // zero is no measurement
			return int(number)
		}
	}
	return 0
}
