// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command image writes the operator's container image as an OCI archive, without a
// container engine and without a base image, and pushes such an archive to a registry.
//
//	image build --manager linux/amd64=FILE --manager linux/arm64=FILE --output dist/image.tar ...
//	image push --archive dist/image.tar registry.example.com/twilio-addon-operator:v1.0.0
//
// The same input gives the same bytes on every machine: nothing in the archive depends on
// the clock, the file system or the user. The tests do not show that a container engine
// runs the image.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "image: %v\n", err)
		os.Exit(1)
	}
}

// run writes to stdout only what a script reads: the digest, or the pinned reference.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return errors.New("usage: image build|push [flags]")
	}
	switch args[0] {
	case "build":
		return runBuild(args[1:], stdout, stderr)
	case "push":
		return runPush(ctx, args[1:], stdout, stderr)
	default:
		return fmt.Errorf("unknown command %q, want build or push", args[0])
	}
}

func runBuild(args []string, stdout, stderr io.Writer) error {
	var (
		spec    imageSpec
		created int64
		output  string
	)
	flags := flag.NewFlagSet("image build", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Func("manager", "A binary as PLATFORM=FILE, for example linux/arm64=dist/image/manager. May be repeated.", spec.addManager)
	flags.StringVar(&spec.program, "program", "manager", "The name that the binaries have in the image.")
	flags.StringVar(&spec.licenses, "licenses", "dist/image/licenses", "The folder with the licenses of what the image holds.")
	flags.StringVar(&spec.name, "name", "", "The name under which an engine lists the imported image. Default: none.")
	flags.StringVar(&spec.version, "version", "", "The version, for the labels.")
	flags.StringVar(&spec.revision, "revision", "", "The commit, for the labels. Default: none.")
	flags.Int64Var(&created, "created", 0, "When the source was committed, in seconds since 1970.")
	flags.StringVar(&output, "output", "dist/image.tar", "The OCI archive to write.")
	if err := flags.Parse(args); err != nil {
		return err
	}
	spec.created = time.Unix(created, 0).UTC()
	index, err := spec.build()
	if err != nil {
		return err
	}
	digest, err := writeArchive(index, spec.name, output)
	if err != nil {
		return fmt.Errorf("writing %s: %w", output, err)
	}
	fmt.Fprintf(stdout, "%s\n", digest)
	return nil
}

func runPush(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var archive string
	flags := flag.NewFlagSet("image push", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&archive, "archive", "dist/image.tar", "The OCI archive to push.")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 || strings.HasPrefix(flags.Arg(0), "-") {
		return errors.New("usage: image push [--archive FILE] REGISTRY/NAME:TAG")
	}
	pinned, err := push(ctx, archive, flags.Arg(0), authn.DefaultKeychain)
	if err != nil {
		return fmt.Errorf("pushing %s: %w", archive, err)
	}
	fmt.Fprintf(stdout, "%s\n", pinned)
	return nil
}
