// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command dockerlint checks a Dockerfile with BuildKit's own parser and build checks. It needs
// neither a Docker engine nor a registry. It also reports an image whose user the kubelet cannot
// verify to be non-root.
//
// Usage: dockerlint Dockerfile
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/opencontainers/go-digest"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: dockerlint Dockerfile")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "dockerlint: %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

// run prints all findings to out and returns an error if there are any.
func run(ctx context.Context, path string, out io.Writer) error {
	dockerfile, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	source := llb.NewSourceMap(nil, path, "Dockerfile", dockerfile)
	source.Definition = &llb.Definition{}
	options := dockerfile2llb.ConvertOpt{
		SourceMap:    source,
		MetaResolver: emptyImages{},
	}
	results, err := dockerfile2llb.DockerfileLint(ctx, dockerfile, options)
	if err != nil {
		return err
	}
	if err := results.PrintTo(out, nil); err != nil {
		return err
	}
	results.PrintErrorTo(out, nil)
	if results.Error != nil || len(results.Warnings) > 0 {
		return errors.New("has the findings above")
	}
	image, err := dockerfile2llb.Dockerfile2LLB(ctx, dockerfile, options)
	if err != nil {
		return err
	}
	return checkUser(image.Image.Config.User)
}

// checkUser requires a numeric user other than 0. The kubelet cannot tell whether a named user is
// root, and does not start it under runAsNonRoot.
func checkUser(user string) error {
	name, _, _ := strings.Cut(user, ":")
	if uid, err := strconv.ParseUint(name, 10, 32); err != nil || uid == 0 {
		return fmt.Errorf("USER %q is not a numeric user other than root", user)
	}
	return nil
}

// emptyImages replaces the registry. It reports that every image exists and has an empty
// configuration, which is all that the build checks need.
type emptyImages struct{}

func (emptyImages) ResolveImageConfig(_ context.Context, ref string, _ sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	config := []byte("{}")
	return ref, digest.FromBytes(config), config, nil
}
