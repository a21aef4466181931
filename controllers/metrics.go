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
	held       *prometheus.GaugeVec
	build      *prometheus.GaugeVec
	fleet      *fleet.Fleet
}

// NewMetrics builds the metrics and registers them. version is that of the manager.
func NewMetrics(registry prometheus.Registerer, version string) *Metrics {
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
		held: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: metricsNamespace, Name: "removals_held",
			Help: "Phone numbers whose removals are held, by TwilioAccount.",
		}, []string{"account"}),
		build: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: metricsNamespace, Name: "build_info",
			Help: "1, with the version of the manager that runs.",
		}, []string{"version"}),
	}
	m.build.WithLabelValues(version).Set(1)
	registry.MustRegister(m)
	return m
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(descs chan<- *prometheus.Desc) {
	m.assigned.Describe(descs)
	m.unassigned.Describe(descs)
	m.ready.Describe(descs)
	m.held.Describe(descs)
	m.build.Describe(descs)
	descs <- m.objects
}

// Collect implements prometheus.Collector. Objects are counted at each scrape.
func (m *Metrics) Collect(metrics chan<- prometheus.Metric) {
	m.assigned.Collect(metrics)
	m.unassigned.Collect(metrics)
	m.ready.Collect(metrics)
	m.held.Collect(metrics)
	m.build.Collect(metrics)
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
	m.ready.DeletePartialMatch(prometheus.Labels{"account": account})
	value := 0.0
	if isReady {
		value = 1
	}
	m.ready.WithLabelValues(account, reason).Set(value)
}

// forgetAccount drops the series of a TwilioAccount that is gone, and those of its account
// SID.
func (m *Metrics) forgetAccount(account, accountSID string) {
	m.ready.DeletePartialMatch(prometheus.Labels{"account": account})
	m.held.DeleteLabelValues(account)
	m.assigned.DeletePartialMatch(prometheus.Labels{"account": accountSID})
	m.unassigned.DeletePartialMatch(prometheus.Labels{"account": accountSID})
}

// removalsHeld sets how many numbers of a TwilioAccount are held.
func (m *Metrics) removalsHeld(account string, n int32) {
	m.held.WithLabelValues(account).Set(float64(n))
}
