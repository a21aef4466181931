// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package alerts

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const dashboardPath = "config/grafana/dashboard.json"

// board holds the parts of the dashboard that the tests read.
type board struct {
	UID        string `json:"uid"`
	Title      string `json:"title"`
	Templating struct {
		List []struct {
			Name  string          `json:"name"`
			Type  string          `json:"type"`
			Query json.RawMessage `json:"query"`
		} `json:"list"`
	} `json:"templating"`
	Panels []panel `json:"panels"`
}

type panel struct {
	ID          int        `json:"id"`
	Type        string     `json:"type"`
	Title       string     `json:"title"`
	Description string     `json:"description"`
	Datasource  datasource `json:"datasource"`
	GridPos     struct{ H, W, X, Y int }
	FieldConfig struct {
		Defaults struct {
			Unit string `json:"unit"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
	Targets []struct {
		RefID        string     `json:"refId"`
		Expr         string     `json:"expr"`
		LegendFormat string     `json:"legendFormat"`
		Datasource   datasource `json:"datasource"`
	} `json:"targets"`
}

type datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

func dashboard(t *testing.T) board {
	t.Helper()
	var b board
	if err := json.Unmarshal(read(t, dashboardPath), &b); err != nil {
		t.Fatalf("%s: %v", dashboardPath, err)
	}
	if len(b.Panels) == 0 || b.UID == "" || b.Title == "" {
		t.Fatalf("%s is no dashboard", dashboardPath)
	}
	return b
}

var variable = regexp.MustCompile(`\$\{?(\w+)\}?`)

// substituted returns the query that Grafana sends when every variable is All.
func substituted(query string) string {
	return variable.ReplaceAllStringFunc(query, func(name string) string {
		switch name {
		case "$__rate_interval", "$__interval", "$__range":
			return "5m"
		}
		return ".*"
	})
}

// queries returns the queries of all panels and variables, by their place in the dashboard.
func queries(t *testing.T, b board) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, p := range b.Panels {
		for _, target := range p.Targets {
			all[fmt.Sprintf("panel %q, query %s", p.Title, target.RefID)] = substituted(target.Expr)
		}
	}
	for _, v := range b.Templating.List {
		if v.Type != "query" {
			continue
		}
		var query struct {
			Query string `json:"query"`
		}
		if err := json.Unmarshal(v.Query, &query); err != nil {
			t.Fatal(err)
		}
		values := labelValues.FindStringSubmatch(query.Query)
		if values == nil {
			t.Fatalf("the variable %s: %q is no label_values(metric, label)", v.Name, query.Query)
		}
		// Write it as a query whose result has the label, so that the label is checked too.
		all["variable "+v.Name] = fmt.Sprintf("count by (%s) (%s)", values[2], substituted(values[1]))
	}
	return all
}

var labelValues = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)

func TestDashboardNamesMetricsThatExist(t *testing.T) {
	known := knownMetrics(t)
	b := dashboard(t)
	for where, query := range queries(t, b) {
		checkQuery(t, where, query, known)
	}
	for _, p := range b.Panels {
		for _, target := range p.Targets {
			checkLegend(t, p.Title, target.LegendFormat, substituted(target.Expr))
		}
	}
}

// checkLegend fails for a label that is missing in the query's result.
func checkLegend(t *testing.T, title, legend, query string) {
	t.Helper()
	kept := grouping(leftmost(parse(t, query)))
	for _, label := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(legend, -1) {
		if !strings.Contains(query, "histogram_quantile") && !slices.Contains(kept, label[1]) {
			t.Errorf("%s: the legend names %q, the query keeps %v", title, label[1], kept)
		}
	}
}

func TestDashboardPanels(t *testing.T) {
	ids, titles := map[int]bool{}, map[string]bool{}
	row := ""
	for _, p := range dashboard(t).Panels {
		if p.Type == "row" {
			row = p.Title
		}
		where := row + " / " + p.Title
		if p.ID == 0 || ids[p.ID] {
			t.Errorf("%s: the id %d is there twice", where, p.ID)
		}
		if p.Title == "" || titles[where] {
			t.Errorf("%s: no title of its own in its row", where)
		}
		ids[p.ID], titles[where] = true, true
		if p.Type == "row" {
			continue
		}
		if !strings.HasSuffix(p.Description, ".") {
			t.Errorf("%s: the description %q is no sentence", where, p.Description)
		}
		if p.FieldConfig.Defaults.Unit == "" {
			t.Errorf("%s has no unit", where)
		}
		if len(p.Targets) == 0 {
			t.Errorf("%s asks nothing", where)
		}
		for _, target := range p.Targets {
			if want := (datasource{"prometheus", "${datasource}"}); p.Datasource != want || target.Datasource != want {
				t.Errorf("%s does not use the chosen data source", where)
			}
		}
	}
}

// Grafana moves overlapping panels, and would save them differently from this file.
func TestDashboardPanelsDoNotOverlap(t *testing.T) {
	taken := map[[2]int]string{}
	for _, p := range dashboard(t).Panels {
		for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%q overlaps %q at %d,%d", p.Title, other, x, y)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

// Every variable in a query exists, and every variable is used.
func TestDashboardVariables(t *testing.T) {
	content := string(read(t, dashboardPath))
	builtin := []string{"__rate_interval", "__all"}
	defined := map[string]bool{}
	for _, v := range dashboard(t).Templating.List {
		defined[v.Name] = true
		if !regexp.MustCompile(`\$\{?` + v.Name + `\b`).MatchString(content) {
			t.Errorf("nothing uses the variable %s", v.Name)
		}
	}
	for _, name := range []string{"datasource", "namespace", "account"} {
		if !defined[name] {
			t.Errorf("there is no variable %s", name)
		}
	}
	for _, match := range variable.FindAllStringSubmatch(content, -1) {
		if !defined[match[1]] && !slices.Contains(builtin, match[1]) {
			t.Errorf("there is no variable %s", match[1])
		}
	}
}
