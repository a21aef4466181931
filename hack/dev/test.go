// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/devbuild"
)

// testenv is the package that starts control planes.
const testenv = "github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"

// goPackage has the fields of "go list -json" that are used here.
type goPackage struct {
	Dir, ImportPath                    string
	GoFiles, TestGoFiles, XTestGoFiles []string
	TestImports, XTestImports          []string
}

func (p *goPackage) hasTests() bool { return len(p.TestGoFiles)+len(p.XTestGoFiles) > 0 }

// needsControlPlane says whether the package's tests start a control plane: there is one
// way to do that, through testenv. Programs that import testenv, such as the demo, may
// have tests that do not.
func (p *goPackage) needsControlPlane() bool {
	return p.hasTests() && (p.ImportPath == testenv ||
		slices.Contains(p.TestImports, testenv) || slices.Contains(p.XTestImports, testenv))
}

// test runs tests with a control plane, if they need one, and under the race detector, if
// that works here.
func test(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return wrongUsage()
	}
	packages, err := list(ctx, strings.Fields(args[0]))
	if err != nil {
		return err
	}
	race := raceWorks(ctx)
	if !race {
		fmt.Fprintln(os.Stderr, "test: no working C compiler, so WITHOUT the race detector")
	}
	return goTest(ctx, packages, race, args[1:])
}

// testUnit runs the tests that need no control plane. It does without the race detector,
// so that they share what "make build" has compiled.
func testUnit(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return wrongUsage()
	}
	packages, err := list(ctx, strings.Fields(args[0]))
	if err != nil {
		return err
	}
	packages = slices.DeleteFunc(packages, func(p goPackage) bool { return !p.hasTests() || p.needsControlPlane() })
	if len(packages) == 0 {
		return fmt.Errorf("test-unit: none of %s has tests that need no control plane", args[0])
	}
	return goTest(ctx, packages, false, args[1:])
}

// goTest becomes "go test". That one is silent while it compiles, which takes minutes the
// first time, so what it needs is compiled with progress lines before.
func goTest(ctx context.Context, packages []goPackage, race bool, flags []string) error {
	environ := flavour(race)
	if slices.ContainsFunc(packages, func(p goPackage) bool { return p.needsControlPlane() }) {
		assets, err := devbuild.ControlPlane(ctx, os.Stderr, devbuild.ControllerManager)
		if err != nil {
			return err
		}
		environ = append(environ, "KUBEBUILDER_ASSETS="+assets)
	}
	var names, buildable []string
	for _, p := range packages {
		names = append(names, p.ImportPath)
		if len(p.GoFiles) > 0 { // a package of nothing but tests cannot be built by name
			buildable = append(buildable, p.ImportPath)
		}
	}
	if len(buildable) > 0 {
		t := &devbuild.Target{Name: "compiling for the tests", Packages: buildable, Race: race}
		if err := devbuild.Build(ctx, os.Stderr, t); err != nil {
			return err
		}
	}
	// The tests of whole programs mostly wait: one package more than there are processors.
	command := []string{"go", "test", "-p", strconv.Itoa(runtime.NumCPU() + 1)}
	if race {
		command = append(command, "-race")
	}
	program, err := exec.LookPath("go")
	if err != nil {
		return err
	}
	return syscall.Exec(program, slices.Concat(command, flags, names), environ)
}

// flavour is the environment in which tests are compiled with the flags of devbuild, and
// so share its build cache.
func flavour(race bool) []string {
	cgo := "CGO_ENABLED=0"
	if race {
		cgo = "CGO_ENABLED=1"
	}
	return append(os.Environ(), cgo, "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -trimpath"))
}

// raceWorks says whether the race detector does. It needs cgo, hence a C compiler with its
// headers; using them is the best way to find out.
func raceWorks(ctx context.Context) bool {
	cmd := exec.CommandContext(ctx, "go", "build", "-race", "runtime/race", "runtime/cgo")
	cmd.Env = flavour(true)
	return cmd.Run() == nil
}

func list(ctx context.Context, patterns []string) ([]goPackage, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-json=Dir,ImportPath,GoFiles,TestGoFiles,XTestGoFiles,TestImports,XTestImports"}, patterns...)...)
	cmd.Dir, cmd.Stderr = devbuild.Root(), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("listing the packages: %w", err)
	}
	var packages []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading the list of packages: %w", err)
		}
		packages = append(packages, p)
	}
}

// fuzz runs every fuzz target of the main module, one after the other, because "go test
// -fuzz" takes one at a time. It stops at the first finding.
func fuzz(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return wrongUsage()
	}
	packages, err := list(ctx, []string{"./..."})
	if err != nil {
		return err
	}
	count := 0
	for _, p := range packages {
		targets, err := p.fuzzTargets()
		if err != nil {
			return err
		}
		for _, target := range targets {
			count++
			fmt.Printf("=== %s in %s for %s ===\n", target, p.ImportPath, args[0])
			cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-fuzz", "^"+target+"$", "-fuzztime", args[0], p.ImportPath)
			cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = devbuild.Root(), flavour(false), os.Stdout, os.Stderr
			if err := cmd.Run(); err != nil {
				return fmt.Errorf("fuzz: %s in %s: %w", target, p.ImportPath, err)
			}
		}
	}
	fmt.Printf("fuzz: %d targets, no finding\n", count)
	return nil
}

var fuzzDeclaration = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)

// fuzzTargets are the names of the package's fuzz targets.
func (p *goPackage) fuzzTargets() ([]string, error) {
	var targets []string
	for _, name := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
		source, err := os.ReadFile(filepath.Join(p.Dir, name))
		if err != nil {
			return nil, err
		}
		for _, match := range fuzzDeclaration.FindAllSubmatch(source, -1) {
			targets = append(targets, string(match[1]))
		}
	}
	return targets, nil
}
