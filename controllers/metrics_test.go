// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// A TwilioAccount has one series of each metric, with its current reason, and none once it
// is gone.
func TestMetricsForgetAnAccountThatIsGone(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	m := NewMetrics(registry, "test")
	for _, account := range []string{"gone", "here"} {
		m.accountIs(account, v1alpha1.ReasonCredentialsInvalid, false)
		m.accountIs(account, v1alpha1.ReasonCredentialsAccepted, true)
		m.removalsHeld(account, 3)
	}
	m.forgetAccount("gone", "")

	got := map[string]float64{}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.Metric {
			name := family.GetName()
			for _, label := range metric.Label {
				name += " " + label.GetValue()
			}
			got[name] = metric.GetGauge().GetValue()
		}
	}
	want := map[string]float64{
		metricsNamespace + "_account_ready here " + v1alpha1.ReasonCredentialsAccepted: 1,
		metricsNamespace + "_removals_held here":                                       3,
		metricsNamespace + "_build_info test":                                          1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("series (-want +got):\n%s", diff)
	}
}
