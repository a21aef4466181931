// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command dev holds the parts of the Makefile that are easier to read and to test in Go
// than in shell: builds with progress lines, the control plane, and the runs of the tests.
// "make help" lists what it is for; the Makefile compiles it first.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/devbuild"
)

const usage = `usage:
  dev build [flags] PACKAGE...              build with progress lines (dev build -h: its flags)
  dev control-plane [--with-controller-manager|--with-node]
                                            get the control plane, print its folder
  dev test "PACKAGE..." [go test flag...]   run tests, with control plane and race detector
  dev test-unit "PACKAGE..." [go test flag...]
                                            run the tests that need no control plane
  dev fuzz TIME                             run each fuzz target for TIME
`

// errUsage is a usage error that was already reported.
var errUsage = errors.New("wrong usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Args[1:])
	// A build hears of the interrupt by itself, and may return before ctx is cancelled.
	interrupted := ctx.Err() != nil || errors.Is(err, devbuild.ErrInterrupted)
	stop()
	switch {
	case err == nil:
		return
	case errors.Is(err, errUsage):
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, err)
	if interrupted {
		os.Exit(130)
	}
	os.Exit(1)
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch command, args := args[0], args[1:]; command {
		case "build":
			return build(ctx, args)
		case "control-plane":
			return controlPlane(ctx, args)
		case "test":
			return test(ctx, args)
		case "test-unit":
			return testUnit(ctx, args)
		case "fuzz":
			return fuzz(ctx, args)
		}
	}
	return wrongUsage()
}

func wrongUsage() error {
	fmt.Fprint(os.Stderr, usage)
	return errUsage
}

// build builds for this machine, but for programs of the main module, which GOOS and
// GOARCH may have built for another one.
func build(ctx context.Context, args []string) error {
	t := &devbuild.Target{}
	flags := flag.NewFlagSet("dev build", flag.ContinueOnError)
	flags.StringVar(&t.Name, "name", "compiling", "What is built, for the progress lines.")
	flags.StringVar(&t.Module, "module", "", "The folder of the go.mod, relative to the repository's root (default: the root).")
	flags.StringVar(&t.Output, "o", "", "The file to write.")
	flags.StringVar(&t.LDFlags, "ldflags", "", "Flags for the linker.")
	if err := flags.Parse(args); err != nil {
		return errUsage
	}
	if t.Packages = flags.Args(); len(t.Packages) == 0 {
		return wrongUsage()
	}
	t.Host = t.Module != ""
	if t.Output == "" {
		return devbuild.Build(ctx, os.Stderr, t)
	}
	file, err := filepath.Abs(t.Output)
	if err != nil {
		return err
	}
	t.Output = file
	// Tests of several packages may build the same programs at once. The second one must
	// not write a program that the first has already started.
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	unlock, err := devbuild.Lock(ctx, filepath.Join(filepath.Dir(file), ".lock"), func() {})
	if err != nil {
		return err
	}
	defer unlock()
	return devbuild.Build(ctx, os.Stderr, t)
}

// controlPlane prints nothing but the folder on stdout.
func controlPlane(ctx context.Context, args []string) error {
	var programs []string
	switch {
	case len(args) == 1 && args[0] == "--with-controller-manager":
		programs = append(programs, devbuild.ControllerManager)
	case len(args) == 1 && args[0] == "--with-node":
		programs = append(programs, devbuild.ControllerManager, devbuild.Scheduler, devbuild.Kubelet, devbuild.KubeProxy)
	case len(args) > 0:
		return wrongUsage()
	}
	dir, err := devbuild.ControlPlane(ctx, os.Stderr, programs...)
	if err != nil {
		return err
	}
	fmt.Println(dir)
	return nil
}
