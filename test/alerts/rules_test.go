// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package alerts evaluates the shipped alerts with Prometheus' own rule engine, and parses
// every query of the alerts and of the dashboard.
package alerts

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"sigs.k8s.io/yaml"
)

const (
	root       = "../.."
	rulesPath  = "config/prometheus/rules.yaml"
	runbooks   = "docs/troubleshooting.md"
	runbookURL = "https://github.com/twilio-addon-operator/twilio-addon-operator/blob/main/" + runbooks + "#"
	// interval is the time between scrapes, and between evaluations.
	interval = time.Minute
)

// rule is one rule of the PrometheusRule.
type rule struct {
	Record      string            `json:"record,omitempty"`
	Alert       string            `json:"alert,omitempty"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// spec is the spec of the PrometheusRule, which has the form of a Prometheus rule file.
type spec struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	} `json:"groups"`
}

func shipped(t *testing.T) spec {
	t.Helper()
	var object struct {
		APIVersion string         `json:"apiVersion"`
		Kind       string         `json:"kind"`
		Metadata   map[string]any `json:"metadata"`
		Spec       spec           `json:"spec"`
	}
	if err := yaml.UnmarshalStrict(read(t, rulesPath), &object); err != nil {
		t.Fatalf("%s: %v", rulesPath, err)
	}
	return object.Spec
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// allRules returns the rules of all groups.
func allRules(t *testing.T) []rule {
	t.Helper()
	var all []rule
	for _, group := range shipped(t).Groups {
		all = append(all, group.Rules...)
	}
	if len(all) == 0 {
		t.Fatalf("%s holds no rules", rulesPath)
	}
	return all
}

// server has the parts of Prometheus that evaluate rules: a storage that gets samples as
// time passes, the query engine, and the rules.
type server struct {
	samples *promqltest.LazyLoader
	groups  []*rules.Group
	now     time.Time
}

// newServer loads the shipped rules, and samples in the script format of promqltest.
func newServer(t *testing.T, script string) *server {
	t.Helper()
	samples, err := promqltest.NewLazyLoader(script, promqltest.LazyLoaderOpts{EnableAtModifier: true, EnableNegativeOffset: true})
	if err != nil {
		t.Fatalf("%v in\n%s", err, script)
	}
	t.Cleanup(func() {
		if err := samples.Close(); err != nil {
			t.Error(err)
		}
	})
	manager := rules.NewManager(&rules.ManagerOptions{
		Context:      t.Context(),
		QueryFunc:    rules.EngineQueryFunc(samples.QueryEngine(), samples.Storage()),
		AppendableV2: samples.Storage(),
		Queryable:    samples.Storage(),
		NotifyFunc:   func(context.Context, string, ...*rules.Alert) {},
		Logger:       promslog.NewNopLogger(),
	})
	loaded, errs := manager.LoadGroups(interval, labels.EmptyLabels(), "", nil, false, ruleFile(t))
	if len(errs) > 0 {
		t.Fatalf("loading the rules: %v", errors.Join(errs...))
	}
	s := &server{samples: samples, now: time.Unix(0, 0).UTC()}
	for _, group := range loaded {
		s.groups = append(s.groups, group)
	}
	return s
}

// ruleFile returns the rule file that the Prometheus Operator generates from the PrometheusRule.
func ruleFile(t *testing.T) string {
	t.Helper()
	content, err := yaml.Marshal(shipped(t))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// until evaluates the rules at each interval up to a time, as Prometheus does.
func (s *server) until(t *testing.T, end time.Duration) {
	t.Helper()
	for limit := time.Unix(0, 0).UTC().Add(end); !s.now.After(limit); s.now = s.now.Add(interval) {
		s.samples.WithSamplesTill(s.now, func(err error) {
			if err != nil {
				t.Fatalf("loading samples until %s: %v", s.now, err)
			}
		})
		for _, group := range s.groups {
			group.Eval(t.Context(), s.now)
			for _, r := range group.Rules() {
				if err := r.LastError(); err != nil {
					t.Fatalf("%s at %s: %v", r.Name(), s.now, err)
				}
			}
		}
	}
}

// firing is an alert as its receiver gets it.
type firing struct {
	Alert, Labels, Summary, Description string
}

// alerts returns the alerts in a state, sorted.
func (s *server) alerts(state rules.AlertState) []firing {
	var all []firing
	for _, group := range s.groups {
		for _, r := range group.AlertingRules() {
			for _, alert := range r.ActiveAlerts() {
				if alert.State == state {
					all = append(all, seen(r.Name(), alert))
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b firing) int {
		return strings.Compare(a.Alert+a.Labels, b.Alert+b.Labels)
	})
	return all
}

func seen(name string, alert *rules.Alert) firing {
	return firing{
		Alert:       name,
		Labels:      labels.NewBuilder(alert.Labels).Del(labels.AlertName).Labels().String(),
		Summary:     alert.Annotations.Get("summary"),
		Description: alert.Annotations.Get("description"),
	}
}

// Every alert says what is wrong and how severe it is, and links to a section that exists.
func TestAlertsAreComplete(t *testing.T) {
	sections := map[string]bool{}
	for _, heading := range regexp.MustCompile(`(?m)^#{2,4} (.+)$`).FindAllStringSubmatch(string(read(t, runbooks)), -1) {
		sections[strings.ReplaceAll(strings.ToLower(heading[1]), " ", "-")] = true
	}
	names := map[string]bool{}
	for _, r := range allRules(t) {
		if r.Alert == "" {
			continue
		}
		if names[r.Alert] {
			t.Errorf("%s is there twice", r.Alert)
		}
		names[r.Alert] = true
		if severity := r.Labels["severity"]; severity != "warning" && severity != "critical" {
			t.Errorf("%s has the severity %q", r.Alert, severity)
		}
		for _, key := range []string{"summary", "description"} {
			if text := r.Annotations[key]; !strings.HasSuffix(text, ".") || strings.Contains(text, "\n") {
				t.Errorf("%s: the %s %q is no sentence on one line", r.Alert, key, text)
			}
		}
		section, found := strings.CutPrefix(r.Annotations["runbook_url"], runbookURL)
		if want := strings.ToLower(r.Alert); !found || section != want || !sections[want] {
			t.Errorf("%s: the runbook is %q, want the section %q, which exists: %v", r.Alert, r.Annotations["runbook_url"], want, sections[want])
		}
	}
}

func parse(t *testing.T, query string) parser.Expr {
	t.Helper()
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		t.Fatalf("%v in\n%s", err, query)
	}
	return expr
}
