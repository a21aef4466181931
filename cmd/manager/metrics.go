// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// logLevelPath is where GET shows the log level and PUT changes it until the process ends.
const logLevelPath = "/log-level"

// metricsOptions returns how metrics are served. With a certificate folder, the server
// reads tls.crt and tls.key from it, again after each change; without one it makes a
// certificate at start, which nobody can verify. Clients may ask for the format of
// OpenMetrics, the only one with exemplars. Where clients are authorized, they may change
// the log level as well.
func metricsOptions(o *options) metricsserver.Options {
	serving := metricsserver.Options{
		BindAddress:   o.metricsAddress,
		SecureServing: o.secureMetrics,
		CertDir:       o.metricsCertDir,
		HandlerOpts:   []func(*promhttp.HandlerOpts){func(h *promhttp.HandlerOpts) { h.EnableOpenMetrics = true }},
	}
	if o.secureMetrics {
		serving.FilterProvider = filters.WithAuthenticationAndAuthorization
		serving.ExtraHandlers = map[string]http.Handler{logLevelPath: o.logLevel()}
	}
	return serving
}
