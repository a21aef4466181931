// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command mutants asks whether the soak would notice. It plants faults in a copy of the
// operator, one at a time, and has test/soak run until it finds each. The last thing
// printed is a table in Markdown; it fails if a fault was not found.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	var o options
	o.bind(flag.CommandLine)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, &o)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "\nmutants: %v\n", err)
		os.Exit(1)
	}
}

type options struct {
	only               string
	seeds, first, step int
}

func (o *options) bind(flags *flag.FlagSet) {
	flags.StringVar(&o.only, "only", "", "Plant only these, separated by commas.")
	flags.IntVar(&o.seeds, "seeds", 20, "How many seeds to try for each at most.")
	flags.IntVar(&o.first, "first-seed", 1, "The first of them.")
	flags.IntVar(&o.step, "steps", 60, "How many steps each seed has.")
}

func (o *options) chosen() ([]mutant, error) {
	all, names := slices.Clone(mutants), strings.FieldsFunc(o.only, func(r rune) bool { return r == ',' })
	for _, name := range names {
		if !slices.ContainsFunc(all, func(m mutant) bool { return m.name == name }) {
			return nil, fmt.Errorf("there is no mutant %q", name)
		}
	}
	return slices.DeleteFunc(all, func(m mutant) bool { return len(names) > 0 && !slices.Contains(names, m.name) }), nil
}

func run(ctx context.Context, o *options) error {
	chosen, err := o.chosen()
	if err != nil {
		return err
	}
	t, err := copyTree(ctx)
	if err != nil {
		return err
	}
	defer t.remove()
	var rows []string
	var missed []error
	for i := range chosen {
		m := &chosen[i]
		fmt.Fprintf(os.Stderr, "mutants: %d of %d: %s: %s\n", i+1, len(chosen), m.name, m.what)
		began := time.Now()
		found, err := t.hunt(ctx, m, o)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			missed = append(missed, fmt.Errorf("%s: %w", m.name, err))
			found = &finding{says: "**not tried**"}
		case found == nil:
			missed = append(missed, fmt.Errorf("%s was not found in %d seeds of %d steps", m.name, o.seeds, o.step))
			found = &finding{says: "**not found**"}
		}
		fmt.Fprintf(os.Stderr, "mutants: after %s: %s\n", time.Since(began).Round(time.Second), found.says)
		rows = append(rows, fmt.Sprintf("| %s | %d | %s |", m.what, found.seeds, found.says))
	}
	fmt.Printf("| planted | found in seed | by |\n|---|--:|---|\n%s\n", strings.Join(rows, "\n"))
	return errors.Join(missed...)
}
