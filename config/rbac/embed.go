// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rbac holds the manager's roles as they are generated, for programs that check
// what the manager may do.
package rbac

import _ "embed"

//go:embed role.yaml
var role []byte

// Role returns the manager's ClusterRole, and its Role in the operator's namespace, as YAML.
func Role() []byte { return role }
