// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// tell is a failed run in words: what happened, what was wrong, and how to see it again.
func (o *outcome) tell() string {
	var text strings.Builder
	fmt.Fprintf(&text, "seed %d, %d of its %d steps%s:\n", o.plan.seed, len(o.plan.steps), o.plan.total, o.plan.traits())
	for _, note := range o.notes {
		fmt.Fprintf(&text, "  %s\n", note)
	}
	for _, v := range o.violations {
		fmt.Fprintf(&text, "WRONG: %v\n", v)
	}
	fmt.Fprintf(&text, "again: SOAK_REPLAY=%s go test ./test/soak -run TestReplay -v\n", o.plan.replay())
	return text.String()
}

// shorten looks for fewer steps that fail too, for as long as it may: it leaves out what
// came after the first violation, then halves, then quarters, and so on. It returns the
// shortest outcome that failed.
func shorten(ctx context.Context, failed *outcome, limit time.Duration, again func(context.Context, plan) (*outcome, error)) *outcome {
	deadline := time.Now().Add(limit)
	fails := func(numbers []int) bool {
		o, err := again(ctx, failed.plan.only(numbers))
		if err != nil || !o.failed() {
			return false
		}
		failed = o
		progress("soak: %d steps fail too", len(o.plan.steps))
		return true
	}
	if numbers := failed.plan.numbers(); failed.needed() < len(numbers) {
		fails(numbers[:failed.needed()])
	}
	for size := len(failed.plan.steps) / 2; size > 0; size /= 2 {
		for from := 0; from < len(failed.plan.steps) && size < len(failed.plan.steps) && time.Now().Before(deadline); {
			numbers := failed.plan.numbers()
			if !fails(slices.Delete(numbers, from, min(from+size, len(numbers)))) {
				from += size
			}
		}
	}
	return failed
}

// progress goes out at once, also while the test runs.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

// needed is how many steps had begun when the first violation was, of those whose time is
// known: all, if it is of none.
func (o *outcome) needed() int {
	needed := len(o.started)
	for _, err := range o.violations {
		if v, ok := errors.AsType[*violation](err); ok {
			before := func(t time.Time) bool { return !t.Before(v.at) }
			if at := slices.IndexFunc(o.started, before); at >= 0 {
				needed = min(needed, at)
			}
		}
	}
	return needed
}

// row is a run as a line of the table at the end.
func (o *outcome) row() []string {
	injected, api := 0, 0
	for kind, n := range o.injected {
		if strings.HasPrefix(kind, "api-") {
			api += n
		} else {
			injected += n
		}
	}
	return []string{
		fmt.Sprint(o.plan.seed), fmt.Sprint(len(o.plan.steps)), fmt.Sprint(injected), fmt.Sprint(api),
		fmt.Sprint(o.counts["kills"]), fmt.Sprint(o.counts["restarts"]), fmt.Sprint(o.counts["overlaps"]), fmt.Sprint(o.counts["API server restarts"]),
		fmt.Sprint(o.calls), fmt.Sprint(o.changes), fmt.Sprint(o.writes), o.settled.Round(100 * time.Millisecond).String(), fmt.Sprint(len(o.violations)),
	}
}

var columns = []string{
	"seed", "steps", "Twilio faults", "API faults", "kills", "restarts", "overlaps", "API restarts", "calls", "changes", "writes", "settled in", "violations",
}

// table is all runs, and what was injected over all, in Markdown.
func table(all []*outcome) string {
	var text strings.Builder
	line := func(cells []string) { fmt.Fprintf(&text, "| %s |\n", strings.Join(cells, " | ")) }
	line(columns)
	line(slices.Repeat([]string{"--:"}, len(columns)))
	injected, counts := map[string]int{}, map[string]int{}
	for _, o := range all {
		line(o.row())
		for kind, n := range o.injected {
			injected[kind] += n
		}
		for what, n := range o.counts {
			counts[what] += n
		}
	}
	text.WriteString("\nInjected:\n" + list(injected) + "\nHappened:\n" + list(counts))
	return text.String()
}

func list(counts map[string]int) string {
	var lines []string
	for what, n := range counts {
		lines = append(lines, fmt.Sprintf("- %s: %d\n", what, n))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}
