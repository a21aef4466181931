// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command lint is golangci-lint with two plugins for Kubernetes code: kube-api-linter for
// api/ and logcheck for structured logging. It is a module of its own because the
// alternative, "golangci-lint custom", clones golangci-lint for every build.
package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"github.com/golangci/golangci-lint/v2/pkg/commands"
	"github.com/golangci/golangci-lint/v2/pkg/exitcodes"
	_ "sigs.k8s.io/kube-api-linter"
	_ "sigs.k8s.io/logtools/logcheck/gclplugin"
)

func main() {
	if err := commands.Execute(buildInfo()); err != nil {
		fmt.Fprintf(os.Stderr, "lint: %v\n", err)
		os.Exit(exitcodes.Failure)
	}
}

// buildInfo returns the version of golangci-lint in go.mod. golangci-lint uses it as a key of
// its cache.
func buildInfo() commands.BuildInfo {
	info := commands.BuildInfo{Version: "(unknown)", Commit: "go.mod", Date: "(unknown)"}
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return info
	}
	info.GoVersion = build.GoVersion
	for _, module := range build.Deps {
		if module.Path == "github.com/golangci/golangci-lint/v2" {
			info.Version = strings.TrimPrefix(module.Version, "v")
		}
	}
	return info
}
