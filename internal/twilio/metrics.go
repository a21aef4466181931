// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// outcome is how a call ended. It is a metric label, and the limiter learns from it.
type outcome string

const (
	outcomeSuccess      outcome = "success"
	outcomeNotFound     outcome = "not_found"
	outcomeThrottled    outcome = "throttled"
	outcomeUnauthorized outcome = "unauthorized"
	outcomeForbidden    outcome = "forbidden"
	outcomeRejected     outcome = "rejected"
	outcomeConflict     outcome = "conflict"
	outcomeServerError  outcome = "server_error"
	outcomeNetworkError outcome = "network_error"
	outcomeBadAnswer    outcome = "bad_answer"
	outcomeCanceled     outcome = "canceled"
	outcomeNotSent      outcome = "" // refused by this process; not counted
)

func outcomeOf(err error) outcome {
	switch classOf(err) {
	case classNone:
		return outcomeSuccess
	case classNotFound:
		return outcomeNotFound
	case classThrottled:
		return outcomeThrottled
	case classUnauthorized:
		return outcomeUnauthorized
	case classPermissionDenied:
		return outcomeForbidden
	case classConflict:
		return outcomeConflict
	case classRejected:
		return outcomeRejected
	}
	return transientOutcome(err)
}

func transientOutcome(err error) outcome {
	e, ok := errors.AsType[*Error](err)
	switch {
	case errors.Is(err, context.Canceled):
		return outcomeCanceled
	case errors.Is(err, ErrReadOnly):
		return outcomeNotSent
	case !ok || e.HTTPStatus == 0:
		return outcomeNetworkError
	case e.HTTPStatus >= 500 || e.Err == nil:
		return outcomeServerError
	}
	if _, ok := errors.AsType[answerError](e.Err); ok {
		return outcomeBadAnswer
	}
	return outcomeNetworkError // the connection broke while the answer was read
}

// Metrics are the metrics of all clients and limiters of a process, by account SID in
// its canonical spelling. A nil *Metrics counts nothing.
type Metrics struct {
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	throttled *prometheus.CounterVec

	registerer prometheus.Registerer // nil: registered nowhere
}

const (
	metricPrefix = "twilio_addon_operator_twilio_"

	labelAccount   = "account"
	labelOperation = "operation"
	labelOutcome   = "outcome"
	labelPriority  = "priority"

	// exemplarRequestID is the label of the durations' exemplars.
	exemplarRequestID = "request_id"
)

// NewMetrics returns the metrics and registers them with r, which may be nil.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: metricPrefix + "requests_total",
			Help: "HTTP requests to Twilio by how they ended.",
		}, []string{labelAccount, labelOperation, labelOutcome}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    metricPrefix + "request_duration_seconds",
			Help:    "Time from the start of an HTTP request to Twilio to the end of its answer.",
			Buckets: []float64{.01, .025, .05, .1, .15, .25, .5, 1, 2.5, 5, 10, 20},
		}, []string{labelAccount, labelOperation}),
		throttled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: metricPrefix + "throttled_total",
			Help: "HTTP requests that Twilio answered 429.",
		}, []string{labelAccount}),
	}
	if r != nil {
		r.MustRegister(m.requests, m.durations, m.throttled)
		m.registerer = r
	}
	return m
}

// ForgetAccount removes the series of an account that is gone. Limiters calls it when
// it forgets the account.
func (m *Metrics) ForgetAccount(accountSID string) {
	if m == nil {
		return
	}
	account := prometheus.Labels{labelAccount: canonicalSID(accountSID)}
	m.requests.DeletePartialMatch(account)
	m.durations.DeletePartialMatch(account)
	m.throttled.DeletePartialMatch(account)
}

// exchanged counts one HTTP request of the account, a canonical SID. The ID that Twilio gave
// the request, if there is one, becomes the exemplar of its duration.
func (m *Metrics) exchanged(account string, op Operation, requestID string, err error, took time.Duration) {
	how := outcomeOf(err)
	if m == nil || how == outcomeNotSent {
		return
	}
	m.requests.WithLabelValues(account, string(op), string(how)).Inc()
	m.observe(m.durations.WithLabelValues(account, string(op)), took, requestID)
	if how == outcomeThrottled {
		m.throttled.WithLabelValues(account).Inc()
	}
}

func (m *Metrics) observe(duration prometheus.Observer, took time.Duration, requestID string) {
	exemplar, ok := duration.(prometheus.ExemplarObserver)
	if !ok || requestID == "" {
		duration.Observe(took.Seconds())
		return
	}
	exemplar.ObserveWithExemplar(took.Seconds(), prometheus.Labels{exemplarRequestID: requestID})
}

// show reads the state of the limiters at each scrape, so that it is never stale and
// costs nothing in between.
func (m *Metrics) show(ls *Limiters) {
	if m != nil && m.registerer != nil {
		m.registerer.MustRegister(limiterCollector{ls})
	}
}

var (
	descInFlight = prometheus.NewDesc(metricPrefix+"requests_in_flight",
		"HTTP requests to Twilio in flight.", []string{labelAccount}, nil)
	descLimit = prometheus.NewDesc(metricPrefix+"concurrency_limit",
		"HTTP requests to Twilio that may be in flight, adapted to 429s.", []string{labelAccount}, nil)
	descWaiting = prometheus.NewDesc(metricPrefix+"waiting",
		"Objects that wait for a permit to call Twilio.", []string{labelAccount, labelPriority}, nil)
	descPaused = prometheus.NewDesc(metricPrefix+"paused",
		"1 while calls to Twilio are paused or on probation after repeated failures, else 0.",
		[]string{labelAccount}, nil)
)

type limiterCollector struct{ limiters *Limiters }

// Describe implements prometheus.Collector.
func (c limiterCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{descInFlight, descLimit, descWaiting, descPaused} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (c limiterCollector) Collect(metrics chan<- prometheus.Metric) {
	for _, l := range c.limiters.all() {
		if l.isShown() {
			collect(metrics, l.account, l.Snapshot())
		}
	}
}

func collect(metrics chan<- prometheus.Metric, account string, s Snapshot) {
	gauge := func(desc *prometheus.Desc, value int, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value),
			append([]string{account}, labels...)...)
	}
	paused := 0
	if s.Paused != "" {
		paused = 1
	}
	gauge(descInFlight, s.Calls)
	gauge(descLimit, s.Limit)
	gauge(descWaiting, s.WaitingForeground, "foreground")
	gauge(descWaiting, s.WaitingBackground, "background")
	gauge(descPaused, paused)
}
