// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"github.com/prometheus/client_golang/prometheus"
)

const metricsNamespace = "twilio_addon_operator"

// Metrics count what the controllers do. Its labels are bounded by the number of
// accounts times the number of reasons.
type Metrics struct {
	assigned   *prometheus.CounterVec
	unassigned *prometheus.CounterVec
	objects    *prometheus.Desc
	index      *index
}

// NewMetrics makes the metrics and registers them.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		assigned: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: metricsNamespace, Name: "addons_assigned_total",
			Help: "Add-ons assigned to numbers in Twilio, by account SID.",
		}, []string{"account"}),
		unassigned: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: metricsNamespace, Name: "addons_unassigned_total",
			Help: "Add-ons unassigned from numbers in Twilio, by account SID.",
		}, []string{"account"}),
		objects: prometheus.NewDesc(metricsNamespace+"_assignments",
			"PhoneNumberAddOnAssignments, by TwilioAccount and the reason of their Ready condition.",
			[]string{"account", "reason"}, nil),
	}
	registry.MustRegister(m)
	return m
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(descs chan<- *prometheus.Desc) {
	m.assigned.Describe(descs)
	m.unassigned.Describe(descs)
	descs <- m.objects
}

// Collect implements prometheus.Collector: objects are counted when they are asked for.
func (m *Metrics) Collect(metrics chan<- prometheus.Metric) {
	m.assigned.Collect(metrics)
	m.unassigned.Collect(metrics)
	if m.index == nil {
		return
	}
	for by, n := range m.index.tally() {
		metrics <- prometheus.MustNewConstMetric(m.objects, prometheus.GaugeValue, float64(n), by.account, by.reason)
	}
}

func (m *Metrics) changed(account string, assigned, unassigned int) {
	m.assigned.WithLabelValues(account).Add(float64(assigned))
	m.unassigned.WithLabelValues(account).Add(float64(unassigned))
}
