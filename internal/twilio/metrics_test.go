// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

// series returns the registry's values by name and label values; of histograms, the count.
func series(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			name := []string{strings.TrimPrefix(family.GetName(), metricPrefix)}
			for _, label := range metric.GetLabel() {
				name = append(name, label.GetValue())
			}
			values[strings.Join(name, " ")] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue() +
				float64(metric.GetHistogram().GetSampleCount())
		}
	}
	return values
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	m := NewMetrics(registry)
	ls := NewLimiters(m)
	l := ls.For(testAccount)
	l.SetMaxConcurrency("test", 2)
	ls.For("AC00000000000000000000000000000002") // nobody's: shows nothing

	status := 200
	s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) { answer(status, page(""))(w, r) })
	client := newClient(t, s.URL, Options{Limiter: l, Metrics: m})
	if _, err := client.ListAssignedAddOns(t.Context(), testNumber); err != nil {
		t.Fatal(err)
	}
	status = 429
	if err := client.Verify(t.Context()); !IsThrottled(err) {
		t.Fatalf("got %v, want a 429", err)
	}
	_, _ = client.ReadOnly().AssignAddOn(t.Context(), testNumber, testAddOn)
	_ = client.UnassignAddOn(t.Context(), "PN1", testAddOn)
	holder := ls.Begin("a")
	holder.Acquire(l, Foreground, func() {})
	for _, key := range []string{"b", "c"} {
		ls.Begin(key).Acquire(l, Background, func() {})
	}

	want := map[string]float64{
		"requests_total " + testAccount + " list_assigned_add_ons success":   1,
		"requests_total " + testAccount + " verify_credentials throttled":    3,
		"request_duration_seconds " + testAccount + " list_assigned_add_ons": 1,
		"request_duration_seconds " + testAccount + " verify_credentials":    3,
		"throttled_total " + testAccount:                                     3,
		"requests_in_flight " + testAccount:                                  0,
		"concurrency_limit " + testAccount:                                   1,
		"waiting " + testAccount + " foreground":                             0,
		"waiting " + testAccount + " background":                             2,
		"paused " + testAccount:                                              0,
	}
	if diff := cmp.Diff(want, series(t, registry)); diff != "" {
		t.Errorf("series (-want +got):\n%s", diff)
	}

	ls.Forget(testAccount) // it has an owner: nothing happens
	l.RemoveMaxConcurrency("test")
	holder.End()
	ls.Cancel("b")
	if diff := cmp.Diff(want["throttled_total "+testAccount], series(t, registry)["throttled_total "+testAccount]); diff != "" {
		t.Errorf("series of an account that is gone, but in use (-want +got):\n%s", diff)
	}
	ls.Cancel("c")
	if diff := cmp.Diff(map[string]float64{}, series(t, registry)); diff != "" {
		t.Errorf("series of a forgotten account (-want +got):\n%s", diff)
	}
}

// The time of a request leads to its ID, which Twilio's support asks for. An answer without
// one has none.
func TestExemplars(t *testing.T) {
	const id = "RQ0123456789abcdef0123456789abcdef"
	registry := prometheus.NewPedanticRegistry()
	m := NewMetrics(registry)
	s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.Header().Set("Twilio-Request-Id", id)
		}
		answer(200, page(""))(w, r)
	})
	client := newClient(t, s.URL, Options{Metrics: m})
	if _, err := client.ListAssignedAddOns(t.Context(), testNumber); err != nil {
		t.Fatal(err)
	}
	_, _ = client.AssignAddOn(t.Context(), testNumber, testAddOn)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			for _, bucket := range metric.GetHistogram().GetBucket() {
				for _, label := range bucket.GetExemplar().GetLabel() {
					got[metric.GetLabel()[1].GetValue()+" "+label.GetName()+"="+label.GetValue()]++
				}
			}
		}
	}
	if diff := cmp.Diff(map[string]int{"list_assigned_add_ons request_id=" + id: 1}, got); diff != "" {
		t.Errorf("exemplars (-want +got):\n%s", diff)
	}
}

func TestNilMetricsCountNothing(*testing.T) {
	var m *Metrics
	m.exchanged(testAccount, OpAssign, "", nil, 0)
	m.ForgetAccount(testAccount)
	NewLimiters(m).Forget(testAccount)
}

func TestOutcomes(t *testing.T) {
	cases := []struct {
		err  error
		want outcome
	}{
		{nil, outcomeSuccess},
		{&Error{HTTPStatus: 404}, outcomeNotFound},
		{&Error{HTTPStatus: 429}, outcomeThrottled},
		{&Error{HTTPStatus: 401}, outcomeUnauthorized},
		{&Error{HTTPStatus: 401, Code: codePermission}, outcomeForbidden},
		{&Error{HTTPStatus: 403}, outcomeForbidden},
		{&Error{HTTPStatus: 400}, outcomeRejected},
		{&Error{HTTPStatus: 409}, outcomeConflict},
		{&Error{HTTPStatus: 408}, outcomeServerError},
		{&Error{HTTPStatus: 503}, outcomeServerError},
		{&Error{HTTPStatus: 503, Err: errForeign}, outcomeServerError},
		{&Error{HTTPStatus: 404, Err: errForeign}, outcomeBadAnswer},
		{&Error{HTTPStatus: 200, Err: answerError("alien")}, outcomeBadAnswer},
		{&Error{HTTPStatus: 200, Err: io.ErrUnexpectedEOF}, outcomeNetworkError},
		{&Error{Sent: true, Err: io.EOF}, outcomeNetworkError},
		{&Error{Sent: true, Err: context.DeadlineExceeded}, outcomeNetworkError},
		{&Error{Sent: true, Err: context.Canceled}, outcomeCanceled},
		{&Error{Err: ErrReadOnly}, outcomeNotSent},
		{errors.New("unknown"), outcomeNetworkError},
	}
	var all []string
	for _, c := range cases {
		if got := outcomeOf(c.err); got != c.want {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
		all = append(all, string(c.want))
	}
	slices.Sort(all)
	if got := len(slices.Compact(all)); got != 12 {
		t.Errorf("%d outcomes are tried, want all 12", got)
	}
}
