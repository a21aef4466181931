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

// figure is a measured value with its goal.
type figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	// Decimals is how many decimals are significant.
	Decimals int `json:"decimals"`
	// Unit follows the value, such as " %", " KiB" or " MB". Ratios and counts have none.
	Unit string `json:"unit,omitempty"`
	// Relation is the required relation to Goal: "=", "≤" or "≥". It is "" without a goal.
	Relation string  `json:"relation,omitempty"`
	Goal     float64 `json:"goal,omitempty"`
	// Count marks a figure that does not depend on time, so that its goal holds on any machine.
	Count bool `json:"count,omitempty"`
}

// withGoal returns the figure with a goal.
func (f figure) withGoal(relation string, goal float64) figure {
	f.Relation, f.Goal = relation, goal
	return f
}

// count returns a figure that does not depend on time and must equal its goal.
func count(name string, value, goal float64, decimals int) figure {
	return figure{Name: name, Value: value, Decimals: decimals, Relation: "=", Goal: goal, Count: true}
}

// atMost returns a count that may be less than its goal.
func atMost(name string, value, goal float64) figure {
	return figure{Name: name, Value: value, Relation: "≤", Goal: goal, Count: true}
}

// ratio returns a figure with two decimals.
func ratio(name string, value float64) figure { return figure{Name: name, Value: value, Decimals: 2} }

// met reports whether the rounded value meets the goal. A figure without a goal always does.
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

func (f figure) format(value float64) string {
	return fmt.Sprintf("%.*f%s", f.Decimals, value, f.Unit)
}

func (f figure) shown() string { return f.format(f.Value) }

func (f figure) goal() string {
	if f.Relation == "" {
		return ""
	}
	return f.Relation + " " + f.format(f.Goal)
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

// outcome is the result of a scenario.
type outcome struct {
	Scenario string `json:"scenario"`
	// Title describes the scenario with the sizes of this run.
	Title   string   `json:"title"`
	Quick   bool     `json:"quick"`
	Load    string   `json:"load"` // load average, before and after
	Figures []figure `json:"figures"`
	Notes   []string `json:"notes,omitempty"`
}

// results holds the latest outcome of each scenario.
type results struct {
	Machine  string    `json:"machine"`
	Outcomes []outcome `json:"outcomes"`
}

// loadResults reads the results of earlier runs. A missing file is not an error.
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

// add replaces the outcome of a scenario. The outcomes stay in the order of scenarios.
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

// save writes the results to the JSON file and to a Markdown file beside it.
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

// print writes the results as a table for a terminal.
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

// missed describes the figures that miss their goals.
func (o outcome) missed(countsOnly bool) []string {
	var names []string
	for _, f := range o.Figures {
		if !f.met() && (f.Count || !countsOnly) {
			names = append(names, fmt.Sprintf("%s: %s is %s, want %s", o.Scenario, f.Name, f.shown(), f.goal()))
		}
	}
	return names
}
