// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var described = regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: \{([^}]*)\}`)

// registered are the metrics of a collector as metrics.txt writes them: the name and the labels.
func registered(c prometheus.Collector) []string {
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		c.Describe(descs)
	}()
	var lines []string
	for desc := range descs {
		match := described.FindStringSubmatch(desc.String())
		labels := strings.Split(match[2], ",")
		slices.Sort(labels)
		lines = append(lines, strings.TrimSpace(match[1]+" "+strings.Join(labels, ",")))
	}
	return lines
}

// The alerts and the dashboard use what test/alerts/metrics.txt lists: a metric that is renamed,
// or loses a label, is to fail here and not to leave a panel empty.
func TestListedMetricsAreRegistered(t *testing.T) {
	own := prometheus.NewRegistry()
	registerOwn(own)
	library, ok := metrics.Registry.(*prometheus.Registry)
	if !ok {
		t.Fatalf("controller-runtime's registry is a %T", metrics.Registry)
	}
	all := slices.Concat(registered(own), registered(library))

	content, err := os.ReadFile(filepath.Join(root, "test", "alerts", "metrics.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") && !slices.Contains(all, line) {
			t.Errorf("no metric %q is registered", line)
		}
	}
}
