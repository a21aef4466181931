// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the client's and the governors' metrics. A nil *Metrics counts nothing.
type Metrics struct{}

// NewMetrics makes the metrics and registers them.
func NewMetrics(r prometheus.Registerer) *Metrics { panic("todo") }

// ForgetAccount drops the series of an account that is gone.
func (m *Metrics) ForgetAccount(accountSID string) { panic("todo") }
