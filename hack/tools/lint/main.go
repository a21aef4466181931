// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command lint is golangci-lint with the two linters that read Kubernetes code:
// kube-api-linter for api/ and logcheck for structured logging. It is compiled here,
// because "golangci-lint custom" must clone golangci-lint to add a plugin.
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

// buildInfo names the version of golangci-lint that go.mod pins; golangci-lint keeps
// its cache by it.
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
