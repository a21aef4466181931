// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command mutants asks whether the tests would notice a mistake. It plants faults in a copy
// of the operator, one at a time, and runs the tests of the fault's package, those of the
// controllers, and test/soak until one of them finds it. The last thing that it prints is a
// table in Markdown. It fails if a fault was not found or no longer applies.
//
// Each fault is a patch in hack/mutants/patches: a line that describes it, an empty line,
// and a diff. Line numbers do not count, and context may differ at its ends, so most
// refactorings leave the patches alone; code may also move to another file. To make a new
// patch or to bring one up to date, edit the code, write the description and the output of
// git diff to the file, and undo the edit.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/devbuild"
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
	check, refresh     bool
	soakOnly           bool
	seeds, first, step int
}

func (o *options) bind(flags *flag.FlagSet) {
	flags.StringVar(&o.only, "only", "", "Plant only these faults, separated by commas.")
	flags.BoolVar(&o.check, "check", false, "Report where each fault applies, and plant none.")
	flags.BoolVar(&o.refresh, "refresh", false, "Rewrite the patches that apply, with the files and the context of today, and plant none.")
	flags.BoolVar(&o.soakOnly, "soak-only", false, "Look for the faults with the soak alone.")
	flags.IntVar(&o.seeds, "seeds", 20, "How many seeds to try for each fault at most.")
	flags.IntVar(&o.first, "first-seed", 1, "The first seed.")
	flags.IntVar(&o.step, "steps", 60, "How many steps each seed has.")
}

func (o *options) chosen(all []mutant) ([]mutant, error) {
	names := strings.FieldsFunc(o.only, func(r rune) bool { return r == ',' })
	for _, name := range names {
		if !slices.ContainsFunc(all, func(m mutant) bool { return m.name == name }) {
			return nil, fmt.Errorf("there is no mutant %q", name)
		}
	}
	return slices.DeleteFunc(all, func(m mutant) bool { return len(names) > 0 && !slices.Contains(names, m.name) }), nil
}

func run(ctx context.Context, o *options) error {
	all, err := loadMutants(devbuild.Root())
	if err != nil {
		return err
	}
	chosen, err := o.chosen(all)
	if err != nil {
		return err
	}
	if o.check || o.refresh {
		return check(devbuild.Root(), chosen, o.refresh)
	}
	return huntAll(ctx, chosen, o)
}

// check reports where each mutant applies to a module, and fails if one does not. It may
// rewrite those patches that apply.
func check(root string, chosen []mutant, refresh bool) error {
	var lost []error
	for i := range chosen {
		m := &chosen[i]
		f, err := m.fitTo(root)
		if err != nil {
			lost = append(lost, err)
			continue
		}
		fmt.Printf("%-22s %s:%d", m.name, f.file, f.places[0].start+1)
		if f.file != m.patch.file {
			fmt.Printf(" (moved from %s)", m.patch.file)
		}
		if n := f.fuzz(); n > 0 {
			fmt.Printf(" (without the outer %d lines of context)", n)
		}
		fmt.Println()
		if !refresh {
			continue
		}
		text := render(m.what, f.file, f.source, f.places)
		if err := os.WriteFile(filepath.Join(root, filepath.FromSlash(m.path)), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return errors.Join(lost...)
}

// huntAll plants one mutant after the other in a copy of the module. Those that no longer
// apply it reports at once, not after hours.
func huntAll(ctx context.Context, chosen []mutant, o *options) error {
	t, err := copyTree(ctx)
	if err != nil {
		return err
	}
	defer t.remove()
	var rows []string
	var missed []error
	chosen = slices.DeleteFunc(chosen, func(m mutant) bool {
		_, err := m.fitTo(t.dir)
		if err != nil {
			fmt.Fprintf(os.Stderr, "mutants: %v\n", err)
			missed = append(missed, err)
			rows = append(rows, row(&m, &finding{says: "**no longer applies**"}))
		}
		return err != nil
	})
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
			missed = append(missed, fmt.Errorf("%s was found by no test, and not in %d seeds of %d steps", m.name, o.seeds, o.step))
			found = &finding{says: "**not found**"}
		}
		fmt.Fprintf(os.Stderr, "mutants: after %s: %s\n", time.Since(began).Round(time.Second), found.says)
		rows = append(rows, row(m, found))
	}
	fmt.Printf("| planted | found in | by |\n|---|---|---|\n%s\n", strings.Join(rows, "\n"))
	return errors.Join(missed...)
}

func row(m *mutant, found *finding) string {
	return fmt.Sprintf("| %s (%#q) | %s | %s |", m.what, m.name, found.in, found.says)
}
