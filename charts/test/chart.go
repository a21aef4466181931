// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package charttest tests the Helm chart with Helm itself: what it renders, what its
// schema refuses, and what install, upgrade, uninstall and take-over do to a real API
// server. It is a module of its own, because Helm is heavy.
package charttest
