// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// metricsOptions returns how metrics are served. With a certificate folder, the server
// reads tls.crt and tls.key from it, again after each change; without one it makes a
// certificate at start, which nobody can verify.
func metricsOptions(o *options) metricsserver.Options {
	serving := metricsserver.Options{
		BindAddress:   o.metricsAddress,
		SecureServing: o.secureMetrics,
		CertDir:       o.metricsCertDir,
	}
	if o.secureMetrics {
		serving.FilterProvider = filters.WithAuthenticationAndAuthorization
	}
	return serving
}
