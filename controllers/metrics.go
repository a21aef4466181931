// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/fleet"
)

const metricsNamespace = "twilio_addon_operator"

// Metrics count what the controllers do. Their labels are bounded by the number of
// accounts times the number of reasons or causes.
type Metrics struct {
	assigned   *prometheus.CounterVec
	unassigned *prometheus.CounterVec
	objects    *prometheus.Desc
	ready      *prometheus.GaugeVec
	fleet      *fleet.Fleet
}

// NewMetrics builds the metrics and registers them.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		assigned: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: metricsNamespace, Name: "addons_assigned_total",
			Help: "Add-ons assigned to numbers in Twilio, by account SID and cause.",
		}, []string{"account", "cause"}),
		unassigned: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: metricsNamespace, Name: "addons_unassigned_total",
			Help: "Add-ons unassigned from numbers in Twilio, by account SID and cause.",
		}, []string{"account", "cause"}),
		objects: prometheus.NewDesc(metricsNamespace+"_assignments",
			"PhoneNumberAddOnAssignments, by TwilioAccount and the reason of their Ready condition.",
			[]string{"account", "reason"}, nil),
		ready: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: metricsNamespace, Name: "account_ready",
			Help: "1 for a TwilioAccount that is Ready, otherwise 0, with the reason of the condition.",
		}, []string{"account", "reason"}),
	}
	registry.MustRegister(m)
	return m
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(descs chan<- *prometheus.Desc) {
	m.assigned.Describe(descs)
	m.unassigned.Describe(descs)
	m.ready.Describe(descs)
	descs <- m.objects
}

// Collect implements prometheus.Collector. Objects are counted at each scrape.
func (m *Metrics) Collect(metrics chan<- prometheus.Metric) {
	m.assigned.Collect(metrics)
	m.unassigned.Collect(metrics)
	m.ready.Collect(metrics)
	if m.fleet == nil {
		return
	}
	for group, n := range m.fleet.CountByReason() {
		metrics <- prometheus.MustNewConstMetric(m.objects, prometheus.GaugeValue, float64(n), group.Account, group.Reason)
	}
}

func (m *Metrics) changed(account string, why cause, c changes) {
	m.assigned.WithLabelValues(account, string(why)).Add(float64(len(c.assigned)))
	m.unassigned.WithLabelValues(account, string(why)).Add(float64(len(c.removed)))
}

// accountIs sets the series of a TwilioAccount to its one current reason.
func (m *Metrics) accountIs(account, reason string, isReady bool) {
	m.forgetAccount(account)
	value := 0.0
	if isReady {
		value = 1
	}
	m.ready.WithLabelValues(account, reason).Set(value)
}

// forgetAccount drops the series of a TwilioAccount that is gone.
func (m *Metrics) forgetAccount(account string) {
	m.ready.DeletePartialMatch(prometheus.Labels{"account": account})
}
