// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command bench measures the operator under load and compares it with the theoretical
// optimum. "make bench" runs it; docs/performance.md explains the results.
//
// The control plane, the Twilio simulator and the manager run as separate processes. A
// scenario prepares a state, lets the manager work, and returns figures. A figure is a
// count, or a ratio to the optimum that follows from the number of calls, the latency and
// the concurrency limit. Both are comparable between machines.
//
// At the end the command prints a table. It also writes the table as JSON and, beside that
// file, as Markdown. A run of selected scenarios keeps the earlier results of the others.
//
// # When it fails
//
// The command fails if a scenario cannot run, or if a count misses its goal: counts do not
// depend on the speed of the machine. A missed goal for a time is only shown. CI runs the
// counts in small: make bench QUICK=1 ARGS=--counts-only.
//
// # What it must never do
//
//   - It must not count its own work. Calls are reset after the preparation, and what a
//     scenario measures goes through the API server. Only presets write to etcd directly.
//   - It must not import the operator's own code beyond the API types. The expectation of
//     when an object is due (schedule.go) is implemented independently.
//
// # Which file does what
//
//	main.go       flags, list of scenarios, one run
//	world.go      the environment of a scenario, and helpers that wait and create objects
//	converge.go   scenarios converge and storm: new objects
//	edit.go       scenarios edit, edit-busy and neighbour: edits of synced objects
//	rest.go       scenarios rest and restart: synced objects
//	trouble.go    scenarios failover and flaky: a dead leader, calls that fail now and then
//	remove.go     scenario delete
//	plugin.go     scenario plugin: export and plan of the kubectl plugin
//	shards.go     scenario shards: accounts that several managers divide
//	growth.go     scenario growth: memory and start-up by number of objects
//	schedule.go   when the operator checks an object
//	preset.go     many synced objects, copied straight into etcd; etcd.go: the etcd client
//	manager.go    the manager process, its metrics and profiles
//	apiserver.go  raw requests to the API server
//	traffic.go    bytes written, connections open
//	tracker.go    a watch that knows which objects are synced
//	result.go     figures, goals, the table and the files
//
// # How to add a scenario
//
// Write a function with the signature of [scenario].run. Prepare the state with
// world.startVerified (numbers without objects) or world.startSynced (synced objects). Both
// reset the calls. Use pick for sizes, so that --quick stays at about two minutes in total. Return an
// outcome with figures from count (exact, on any machine) and ratio. Add the function to
// scenarios, and run it: make bench ARGS=--scenario=NAME.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
)

func main() {
	var o options
	o.bind(flag.CommandLine)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, &o)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "\nbench: %v\n", err)
		os.Exit(1)
	}
}

type options struct {
	quick, countsOnly bool
	only              string
	json              string
	profiles          string
}

func (o *options) bind(flags *flag.FlagSet) {
	flags.BoolVar(&o.quick, "quick", false, "Run a small version of every scenario, about two minutes in total.")
	flags.BoolVar(&o.countsOnly, "counts-only", false, "Run only scenarios that have counts, and show only the counts.")
	flags.StringVar(&o.only, "scenario", "", "Comma-separated names of the scenarios to run. The results of the others stay in the file.")
	flags.StringVar(&o.json, "json", "dist/bench.json", "File for the results. The Markdown table is written beside it.")
	flags.StringVar(&o.profiles, "profiles", "", "Folder for profiles of the manager: the heap of each size, and the CPU under full load.")
}

// scenario is one measurement. It runs in a world of its own.
type scenario struct {
	name string
	run  func(context.Context, *world) (outcome, error)
	// hasCounts reports whether any figure is a count.
	hasCounts bool
}

func scenarios() []scenario {
	return []scenario{
		{"converge", converge, true},
		{"edit", editIdle, true},
		{"edit-busy", editBusy, false},
		{"rest", atRest, true},
		{"restart", restart, true},
		{"storm", storm, false},
		{"neighbour", neighbour, false},
		{"failover", failover, false},
		{"flaky", flaky, true},
		{"delete", remove, true},
		{"plugin", plugin, true},
		{"shards", shards, true},
		{"growth", growth, false},
	}
}

func (o *options) selected() ([]scenario, error) {
	all, names := scenarios(), strings.FieldsFunc(o.only, func(r rune) bool { return r == ',' })
	for _, name := range names {
		if !slices.ContainsFunc(all, func(s scenario) bool { return s.name == name }) {
			return nil, fmt.Errorf("unknown scenario %q", name)
		}
	}
	return slices.DeleteFunc(all, func(s scenario) bool {
		return (len(names) > 0 && !slices.Contains(names, s.name)) || (o.countsOnly && !s.hasCounts)
	}), nil
}

// bench is what all scenarios of a run share.
type bench struct {
	options
	env     *testenv.Env
	etcd    etcd
	api     *apiServer
	started time.Time
	current string // the running scenario, for progress
}

// pick returns full in a full run and quick in a quick run.
func pick[T any](b *bench, full, quick T) T {
	if b.quick {
		return quick
	}
	return full
}

// progress prints a line with the elapsed time and the current scenario.
func (b *bench) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%4ds  %-18s %s\n", int(time.Since(b.started).Seconds()), b.current, fmt.Sprintf(format, args...))
}

func run(ctx context.Context, o *options) (err error) {
	ctrl.SetLogger(logr.Discard())
	selected, err := o.selected()
	if err != nil {
		return err
	}
	b := &bench{options: *o, started: time.Now()}
	b.progress("starting a Kubernetes API server and etcd")
	if b.env, err = testenv.Start(ctx); err != nil {
		return err
	}
	defer func() {
		b.etcd.http.CloseIdleConnections() // otherwise etcd waits for them when it stops
		err = errors.Join(err, b.env.Close())
	}()
	b.env.Config.QPS = -1
	b.etcd = newEtcd(b.env.EtcdURL())
	if b.api, err = newAPIServer(b.env.Config); err != nil {
		return err
	}
	return b.runAll(ctx, selected)
}

// runAll runs the scenarios in order and saves the results after each one.
func (b *bench) runAll(ctx context.Context, selected []scenario) error {
	all, err := loadResults(b.json)
	if err != nil {
		return err
	}
	if b.only == "" {
		all.Outcomes = nil
	}
	var missed []string
	for i, s := range selected {
		b.current = fmt.Sprintf("%d/%d %s", i+1, len(selected), s.name)
		outcome, err := b.measure(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		all.add(outcome)
		missed = append(missed, outcome.missed(true)...)
		if err := all.save(b.json); err != nil {
			return err
		}
	}
	all.print(os.Stdout)
	if len(missed) > 0 {
		return fmt.Errorf("counts missed their goals:\n%s", strings.Join(missed, "\n"))
	}
	return nil
}

// measure runs one scenario in a new world.
func (b *bench) measure(ctx context.Context, s scenario) (out outcome, err error) {
	before := load()
	w, err := b.newWorld(ctx)
	if err != nil {
		return outcome{}, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if out, err = s.run(ctx, w); err != nil {
		return outcome{}, err
	}
	out.Scenario, out.Quick, out.Load = s.name, b.quick, before+" before, "+load()+" after"
	if b.countsOnly {
		out.Figures = slices.DeleteFunc(out.Figures, func(f figure) bool { return !f.Count })
	}
	for i := range out.Figures {
		if b.quick && !out.Figures[i].Count {
			out.Figures[i].Relation = "" // in a short run, start and end distort the times too much for goals
		}
	}
	for _, f := range out.Figures {
		b.progress("%s: %s %s", f.Name, f.shown(), f.mark())
	}
	return out, nil
}

// load returns the load average of the last minute, or "?" where the system has none.
func load() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "?"
	}
	return strings.Fields(string(data))[0]
}

// thousands formats a number with thousands separators.
func thousands(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
