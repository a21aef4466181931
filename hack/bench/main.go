// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command bench measures the operator against what is possible at best. The control
// plane, the simulator and the manager are processes of their own; every figure is a
// count, or a ratio to the ideal that follows from latency, calls and limit. The last
// thing printed is a table; the same goes to a file as JSON, and beside it as Markdown.
//
// It fails if a scenario cannot be run, or if a count is not what it must be: what has
// no clock in it holds on any machine. Goals for time are shown, met or missed.
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
	flags.BoolVar(&o.quick, "quick", false, "Run a small version of every scenario, in about two minutes.")
	flags.BoolVar(&o.countsOnly, "counts-only", false, "Run only the scenarios with counts, and show only these.")
	flags.StringVar(&o.only, "scenario", "", "Run only these, separated by commas; the others keep their results in the file.")
	flags.StringVar(&o.json, "json", "dist/bench.json", "The file for the results; the table in Markdown goes beside it.")
	flags.StringVar(&o.profiles, "profiles", "", "A folder for profiles of the manager: the heap at the largest size, the processor flat out.")
}

// scenario is one line of the table.
type scenario struct {
	name string
	run  func(context.Context, *world) (outcome, error)
	// counted: there are counts among its figures.
	counted bool
}

func scenarios() []scenario {
	return []scenario{
		{"converge", converge, true},
		{"edit", editIdle, true},
		{"edit-busy", editBusy, false},
		{"rest", resting, true},
		{"restart", restart, true},
		{"storm", storm, false},
		{"neighbour", neighbour, false},
		{"delete", remove, true},
		{"growth", growth, false},
	}
}

func (o *options) chosen() ([]scenario, error) {
	all, names := scenarios(), strings.FieldsFunc(o.only, func(r rune) bool { return r == ',' })
	for _, name := range names {
		if !slices.ContainsFunc(all, func(s scenario) bool { return s.name == name }) {
			return nil, fmt.Errorf("there is no scenario %q", name)
		}
	}
	return slices.DeleteFunc(all, func(s scenario) bool {
		return (len(names) > 0 && !slices.Contains(names, s.name)) || (o.countsOnly && !s.counted)
	}), nil
}

// bench is what the scenarios of a run share.
type bench struct {
	options
	env     *testenv.Env
	etcd    etcd
	api     *apiServer
	started time.Time
	doing   string
}

// pick is the size of something, in a full and in a quick run.
func pick[T any](b *bench, full, quick T) T {
	if b.quick {
		return quick
	}
	return full
}

// say tells of progress.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%4ds  %-18s %s\n", int(time.Since(b.started).Seconds()), b.doing, fmt.Sprintf(format, args...))
}

func run(ctx context.Context, o *options) (err error) {
	ctrl.SetLogger(logr.Discard())
	chosen, err := o.chosen()
	if err != nil {
		return err
	}
	all, err := loadResults(o.json)
	if err != nil {
		return err
	}
	if o.only == "" {
		all.Outcomes = nil
	}
	b := &bench{options: *o, started: time.Now()}
	b.say("starting a Kubernetes API server and etcd")
	if b.env, err = testenv.Start(ctx); err != nil {
		return err
	}
	defer func() {
		b.etcd.http.CloseIdleConnections() // etcd waits for them
		err = errors.Join(err, b.env.Close())
	}()
	b.env.Config.QPS = -1
	b.etcd = newEtcd(b.env.EtcdURL())
	if b.api, err = newAPIServer(b.env.Config); err != nil {
		return err
	}
	var missed []string
	for i, s := range chosen {
		b.doing = fmt.Sprintf("%d/%d %s", i+1, len(chosen), s.name)
		outcome, err := b.measure(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		all.add(outcome)
		missed = append(missed, outcome.missed(true)...)
		if err := all.save(o.json); err != nil {
			return err
		}
	}
	all.print(os.Stdout)
	if len(missed) > 0 {
		return fmt.Errorf("counts that must hold on any machine do not:\n%s", strings.Join(missed, "\n"))
	}
	return nil
}

// measure runs one scenario in a world of its own.
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
			out.Figures[i].Relation = "" // the goals are for the full size; of a small one, the ends are too large a part
		}
	}
	for _, f := range out.Figures {
		b.say("%s: %s %s", f.Name, f.shown(), f.mark())
	}
	return out, nil
}

// load is the machine's load average over a minute, where the system tells it.
func load() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "?"
	}
	return strings.Fields(string(data))[0]
}

// thousands is a number with its thousands apart.
func thousands(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
