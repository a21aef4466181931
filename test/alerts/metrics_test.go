// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package alerts

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
)

// targetLabels are the labels that Prometheus adds to every series that it scrapes.
var targetLabels = []string{"job", "instance", "namespace", "pod", "service", "container", "endpoint"}

// knownMetrics returns the labels of each metric by its name: those that metrics.txt lists,
// those that Prometheus adds, and those that the rules record.
func knownMetrics(t *testing.T) map[string][]string {
	t.Helper()
	content, err := os.ReadFile("metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string][]string{"up": targetLabels}
	for line := range strings.Lines(string(content)) {
		name, list, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "" || strings.HasPrefix(name, "#") {
			continue
		}
		names := append(strings.Split(list, ","), targetLabels...)
		known[name] = names
		if strings.HasSuffix(name, "_seconds") {
			known[name+"_bucket"] = append(slices.Clone(names), "le")
		}
	}
	for _, r := range allRules(t) {
		if r.Record != "" {
			known[r.Record] = grouping(parse(t, r.Expr))
		}
	}
	return known
}

// grouping describes the labels that an aggregation keeps.
func grouping(expr parser.Expr) []string {
	aggregation, ok := expr.(*parser.AggregateExpr)
	if !ok || aggregation.Without {
		return nil
	}
	return aggregation.Grouping
}

// checkQuery fails for an unknown metric, and for a label that none of the query's metrics
// has. It returns the names of the metrics.
func checkQuery(t *testing.T, where, query string, known map[string][]string) (used []string) {
	t.Helper()
	var mentioned, available []string
	parser.Inspect(parse(t, query), func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			has, exists := known[n.Name]
			if !exists {
				t.Errorf("%s: there is no metric %q", where, n.Name)
			}
			for _, matcher := range n.LabelMatchers {
				if matcher.Name != model.MetricNameLabel && !slices.Contains(has, matcher.Name) {
					t.Errorf("%s: %s has no label %q", where, n.Name, matcher.Name)
				}
			}
			used, available = append(used, n.Name), append(available, has...)
		case *parser.AggregateExpr:
			mentioned = append(mentioned, n.Grouping...)
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				mentioned = append(mentioned, n.VectorMatching.MatchingLabels...)
			}
		}
		return nil
	})
	for _, label := range mentioned {
		if !slices.Contains(available, label) {
			t.Errorf("%s: no metric of the query has a label %q", where, label)
		}
	}
	return used
}

func TestRulesNameMetricsThatExist(t *testing.T) {
	known := knownMetrics(t)
	for _, r := range allRules(t) {
		checkQuery(t, r.Record+r.Alert, r.Expr, known)
		kept := grouping(leftmost(parse(t, r.Expr)))
		for _, text := range r.Annotations {
			for _, label := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(text, -1) {
				if len(kept) > 0 && !slices.Contains(kept, label[1]) {
					t.Errorf("%s: the label %q of %q is not there", r.Alert, label[1], text)
				}
			}
		}
	}
}

// leftmost returns the left side of an alert's comparisons, from which its labels come.
func leftmost(expr parser.Expr) parser.Expr {
	for {
		binary, ok := expr.(*parser.BinaryExpr)
		if !ok {
			return expr
		}
		expr = binary.LHS
	}
}

// Every metric in metrics.txt is used.
func TestListedMetricsAreUsed(t *testing.T) {
	known := knownMetrics(t)
	used := map[string]bool{}
	for _, r := range allRules(t) {
		for _, name := range checkQuery(t, r.Record+r.Alert, r.Expr, known) {
			used[name] = true
		}
	}
	for where, query := range queries(t, dashboard(t)) {
		for _, name := range checkQuery(t, where, query, known) {
			used[name] = true
		}
	}
	for name := range known {
		if base, bucket := strings.CutSuffix(name, "_bucket"); !used[name] && !used[name+"_bucket"] && (!bucket || !used[base]) {
			t.Errorf("nothing uses %s", name)
		}
	}
}
