// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
)

// traffic is how much was written since the control plane started, in bytes.
type traffic struct {
	// sent are the bodies of patches and of new events: what the manager sends, and the edits
	// of the bench. logged is what etcd wrote to its log.
	sent, logged float64
}

// measureTraffic reads the metrics of the API server and of etcd.
func (w *world) measureTraffic(ctx context.Context) (traffic, error) {
	body, err := w.api.get(ctx, "/metrics")
	if err != nil {
		return traffic{}, err
	}
	const size = "apiserver_request_body_size_bytes_sum"
	s := parseSeries(string(body))
	t := traffic{sent: s.sum(size, `verb="patch"`) + s.sum(size, `verb="create"`, `resource="events"`)}
	text, err := testenv.Get(ctx, w.etcd.url+"/metrics")
	t.logged = parseSeries(text).sum("etcd_disk_wal_write_bytes_total")
	return t, err
}

// figures are what was written since before for each of some objects, less what the bench
// itself sent for each.
func (t traffic) figures(what string, before traffic, objects int, own float64) []figure {
	each := func(after, before float64) float64 { return (after - before) / float64(objects) }
	return []figure{
		{Name: "bytes sent to the API server for each " + what, Value: each(t.sent, before.sent) - own},
		{Name: "bytes that etcd writes for each " + what, Value: each(t.logged, before.logged)},
	}
}

// connections are how many a process has open.
type connections struct{ twilio, apiServer int }

// watchConnections returns the most connections that the manager has open at once, until ctx
// ends. Where the system has no /proc, it returns none.
func (w *world) watchConnections(ctx context.Context) <-chan connections {
	done := make(chan connections, 1)
	twilio, _ := url.Parse(w.sim.URL)
	api, _ := url.Parse(w.env.Config.Host)
	pid := w.manager.PID()
	go func() {
		var most connections
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
			open := openTo(pid)
			most.twilio, most.apiServer = max(most.twilio, open[twilio.Port()]), max(most.apiServer, open[api.Port()])
		}
		done <- most
	}()
	return done
}

// openTo counts the established connections of a process by the port that they go to.
func openTo(pid int) map[string]int {
	own := map[string]bool{}
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, file := range files {
		if target, err := os.Readlink(file); err == nil {
			own[target] = true
		}
	}
	open := map[string]int{}
	for _, table := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			const established, remote, state, inode = "01", 2, 3, 9
			fields := strings.Fields(line)
			if len(fields) <= inode || fields[state] != established || !own["socket:["+fields[inode]+"]"] {
				continue
			}
			var port int
			if _, err := fmt.Sscanf(fields[remote][strings.LastIndexByte(fields[remote], ':')+1:], "%X", &port); err == nil {
				open[fmt.Sprint(port)]++
			}
		}
	}
	return open
}
