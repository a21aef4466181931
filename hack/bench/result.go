// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"
)

// figure is one number that a scenario came to, with its goal. It is a count or a ratio
// to what latency, calls and limit allow at best, so that it means the same on any machine.
type figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	// Decimals is how many decimals of it mean something.
	Decimals int `json:"decimals"`
	// Unit follows the value: "", "%", "KiB", "MB", "× RTT".
	Unit string `json:"unit,omitempty"`
	// Relation is "=", "≤" or "≥" to the goal, "" for a figure without one.
	Relation string  `json:"relation,omitempty"`
	Goal     float64 `json:"goal,omitempty"`
	// Count: no clock is in it, so that it must hold on any machine.
	Count bool `json:"count,omitempty"`
}

// is sets the figure's goal.
func (f figure) is(relation string, goal float64) figure {
	f.Relation, f.Goal = relation, goal
	return f
}

// count is a figure without a clock in it that must be exactly as it should be.
func count(name string, value, goal float64, decimals int) figure {
	return figure{Name: name, Value: value, Decimals: decimals, Relation: "=", Goal: goal, Count: true}
}

// ratio is a figure with two decimals.
func ratio(name string, value float64) figure { return figure{Name: name, Value: value, Decimals: 2} }

// met says whether the figure, as shown, reaches its goal.
func (f figure) met() bool {
	unit := math.Pow10(f.Decimals)
	shown := math.Round(f.Value*unit) / unit
	switch f.Relation {
	case "=":
		return shown == f.Goal
	case "≤":
		return shown <= f.Goal
	case "≥":
		return shown >= f.Goal
	}
	return true
}

func (f figure) number(value float64) string {
	return fmt.Sprintf("%.*f%s", f.Decimals, value, f.Unit)
}

func (f figure) shown() string { return f.number(f.Value) }

func (f figure) goal() string {
	if f.Relation == "" {
		return ""
	}
	return f.Relation + " " + f.number(f.Goal)
}

func (f figure) mark() string {
	switch {
	case f.Relation == "":
		return ""
	case f.met():
		return "met"
	}
	return "MISSED"
}

// outcome is what a scenario came to.
type outcome struct {
	Scenario string `json:"scenario"`
	// Title says what was done, with the sizes of this run.
	Title   string   `json:"title"`
	Quick   bool     `json:"quick"`
	Load    string   `json:"load"` // of the machine, before and after
	Figures []figure `json:"figures"`
	Notes   []string `json:"notes,omitempty"`
}

// results are those of the latest run of each scenario.
type results struct {
	Machine  string    `json:"machine"`
	Outcomes []outcome `json:"outcomes"`
}

// loadResults reads the results of earlier runs; none if there is no such file.
func loadResults(file string) (*results, error) {
	r := &results{}
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, r)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	r.Machine = fmt.Sprintf("%d CPUs, %s/%s, %s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	return r, err
}

// add puts an outcome in the place of the scenario's last one, in the order of scenarios.
func (r *results) add(o outcome) {
	var all []outcome
	for _, s := range scenarios() {
		for _, old := range r.Outcomes {
			if old.Scenario == s.name && s.name != o.Scenario {
				all = append(all, old)
			}
		}
		if s.name == o.Scenario {
			all = append(all, o)
		}
	}
	r.Outcomes = all
}

// save writes the results as JSON, and beside it as a table in Markdown.
func (r *results) save(file string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	markdown := strings.TrimSuffix(file, filepath.Ext(file)) + ".md"
	return errors.Join(
		os.WriteFile(file, append(data, '\n'), 0o644),
		os.WriteFile(markdown, []byte(r.markdown()), 0o644),
	)
}

func (r *results) markdown() string {
	var b strings.Builder
	b.WriteString("| scenario | figure | goal | measured |\n|---|---|---|---|\n")
	for _, o := range r.Outcomes {
		title := o.Title
		for _, f := range o.Figures {
			measured := f.shown()
			if f.Relation != "" {
				measured = "**" + measured + "**"
			}
			if f.mark() == "MISSED" {
				measured += " (missed)"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", title, f.Name, f.goal(), measured)
			title = ""
		}
	}
	return b.String()
}

// print writes the table for a terminal.
func (r *results) print(to io.Writer) {
	fmt.Fprintf(to, "\n%s\n\n", r.Machine)
	t := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SCENARIO\tFIGURE\tMEASURED\tGOAL\t")
	for _, o := range r.Outcomes {
		fmt.Fprintf(t, "%s\t%s\t\t\t\n", o.Scenario, o.Title)
		for _, f := range o.Figures {
			fmt.Fprintf(t, "\t  %s\t%s\t%s\t%s\n", f.Name, f.shown(), f.goal(), f.mark())
		}
		for _, note := range o.Notes {
			fmt.Fprintf(t, "\t  (%s)\t\t\t\n", note)
		}
	}
	_ = t.Flush()
}

// missed lists the figures that do not reach their goals.
func (o outcome) missed(countsOnly bool) []string {
	var names []string
	for _, f := range o.Figures {
		if !f.met() && (f.Count || !countsOnly) {
			names = append(names, fmt.Sprintf("%s: %s is %s, want %s", o.Scenario, f.Name, f.shown(), f.goal()))
		}
	}
	return names
}
