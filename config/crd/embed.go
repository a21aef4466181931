// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package crd holds the CustomResourceDefinitions as the manager was built with them, for
// programs that validate manifests without a cluster.
package crd

import "embed"

//go:embed bases/*.yaml
var bases embed.FS

// Files returns the content of each CustomResourceDefinition, by file name.
func Files() (map[string][]byte, error) {
	entries, err := bases.ReadDir("bases")
	if err != nil {
		return nil, err
	}
	files := make(map[string][]byte, len(entries))
	for _, e := range entries {
		if files[e.Name()], err = bases.ReadFile("bases/" + e.Name()); err != nil {
			return nil, err
		}
	}
	return files, nil
}
