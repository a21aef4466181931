// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package devbuild builds what development and tests need: the module's own programs,
// the pinned tools and the control plane (etcd, kube-apiserver). It reports progress,
// because these builds take minutes on a cold cache.
//
// It imports only the standard library, so that hack/dev compiles within seconds on a
// machine that has nothing but Go.
package devbuild

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// modulePath tells the main module from the nested ones, whose paths are longer.
const modulePath = "github.com/twilio-addon-operator/twilio-addon-operator"

// Root is the folder of the main module's go.mod: the working directory or the nearest
// folder above it. It panics outside of the module. It does not ask where its source was
// compiled, which -trimpath hides.
func Root() string { return root() }

var root = sync.OnceValue(func() string {
	start, err := os.Getwd()
	if err != nil {
		panic(fmt.Sprintf("devbuild: %v", err))
	}
	dir, err := findRoot(start)
	if err != nil {
		panic(fmt.Sprintf("devbuild: %v", err))
	}
	return dir
})

// findRoot looks for the main module's go.mod in a folder and in those above it.
func findRoot(start string) (string, error) {
	for dir := start; ; dir = filepath.Dir(dir) {
		if moduleOf(filepath.Join(dir, "go.mod")) == modulePath {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not inside the module %s", start, modulePath)
		}
	}
}

// moduleOf is the path that a go.mod declares; empty if there is no such file.
func moduleOf(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if path, ok := strings.CutPrefix(lines.Text(), "module "); ok {
			return strings.TrimSpace(path)
		}
	}
	return ""
}

// inRoot is the absolute path of what is given relative to Root.
func inRoot(path string) string { return filepath.Join(Root(), filepath.FromSlash(path)) }
