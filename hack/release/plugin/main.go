// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command plugin builds the kubectl plugin for several platforms and writes an archive for
// each, their checksums, and a manifest for krew. The same sources give the same bytes.
package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	binary   = "kubectl-twilio_addons"
	homepage = "https://github.com/twilio-addon-operator/twilio-addon-operator"
	// completion lets kubectl complete the plugin's arguments.
	completion       = "kubectl_complete-twilio_addons"
	completionScript = "#!/bin/sh\nexec kubectl twilio-addons __complete \"$@\"\n"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "plugin:", err)
		os.Exit(1)
	}
}

type options struct {
	version, output, url string
	platforms            []string
	// compile returns the program for the platform of an archive.
	compile func(ctx context.Context, o *options, a *archive) ([]byte, error)
}

func run(ctx context.Context, args []string) error {
	o := options{compile: compile}
	flags := flag.NewFlagSet("plugin", flag.ContinueOnError)
	flags.StringVar(&o.version, "version", "dev", "version of the plugin")
	flags.StringVar(&o.output, "output", "dist", "folder to write to")
	flags.StringVar(&o.url, "url", "", "where the archives will be. Default: the release page of the version")
	platforms := flags.String("platforms", "linux/amd64", "platforms, os/arch with commas between them")
	if err := flags.Parse(args); err != nil {
		return err
	}
	o.platforms = strings.Split(*platforms, ",")
	if o.url == "" {
		o.url = homepage + "/releases/download/" + o.version
	}
	return release(ctx, &o)
}

// release writes the archives, their checksums and the manifest.
func release(ctx context.Context, o *options) error {
	if err := os.MkdirAll(o.output, 0o755); err != nil {
		return err
	}
	var archives []archive
	for _, platform := range o.platforms {
		fmt.Fprintf(os.Stderr, "building %s for %s\n", binary, platform)
		a, err := build(ctx, o, platform)
		if err != nil {
			return fmt.Errorf("%s: %w", platform, err)
		}
		archives = append(archives, a)
	}
	return errors.Join(
		os.WriteFile(filepath.Join(o.output, "kubectl-twilio_addons.sha256"), checksums(archives), 0o644),
		os.WriteFile(filepath.Join(o.output, "twilio-addons.krew.yaml"), krew(o, archives), 0o644),
	)
}

// archive is an archive that was written.
type archive struct{ os, arch, name, sha256, bin string }

// file is one in an archive.
type file struct {
	name    string
	mode    fs.FileMode
	content []byte
}

func build(ctx context.Context, o *options, platform string) (archive, error) {
	goos, goarch, ok := strings.Cut(platform, "/")
	if !ok {
		return archive{}, errors.New("a platform is os/arch")
	}
	a := archive{os: goos, arch: goarch, bin: binary}
	if goos == "windows" {
		a.bin += ".exe"
	}
	program, err := o.compile(ctx, o, &a)
	if err != nil {
		return archive{}, err
	}
	license, err := os.ReadFile("LICENSE")
	if err != nil {
		return archive{}, err
	}
	files := []file{{"LICENSE", 0o644, license}, {a.bin, 0o755, program}}
	a.name = fmt.Sprintf("%s_%s_%s_%s", binary, o.version, goos, goarch)
	var content []byte
	if goos == "windows" {
		a.name += ".zip"
		content, err = zipped(files)
	} else {
		a.name += ".tar.gz"
		content, err = tarred(append(files, file{completion, 0o755, []byte(completionScript)}))
	}
	if err != nil {
		return archive{}, err
	}
	sum := sha256.Sum256(content)
	a.sha256 = hex.EncodeToString(sum[:])
	return a, os.WriteFile(filepath.Join(o.output, a.name), content, 0o644)
}

// compile builds the program with the flags of hack/dev, whose cache it shares.
func compile(ctx context.Context, o *options, a *archive) ([]byte, error) {
	dir, err := os.MkdirTemp("", "plugin-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	out := filepath.Join(dir, a.bin)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version="+o.version, "-o", out, "./cmd/"+binary)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOOS="+a.os, "GOARCH="+a.arch)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	return os.ReadFile(out)
}

// when is the date of every file in an archive, so that each build gives the same bytes.
var when = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func tarred(files []file) ([]byte, error) {
	var out bytes.Buffer
	compressed, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	w := tar.NewWriter(compressed)
	for _, f := range files {
		header := &tar.Header{Name: f.name, Mode: int64(f.mode), Size: int64(len(f.content)), ModTime: when, Format: tar.FormatUSTAR}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	err = errors.Join(w.Close(), compressed.Close())
	return out.Bytes(), err
}

func zipped(files []file) ([]byte, error) {
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, f := range files {
		header := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: when}
		header.SetMode(f.mode)
		entry, err := w.CreateHeader(header)
		if err != nil {
			return nil, err
		}
		if _, err := entry.Write(f.content); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return out.Bytes(), err
}

func checksums(archives []archive) []byte {
	var b bytes.Buffer
	sorted := slices.SortedFunc(slices.Values(archives), func(x, y archive) int { return strings.Compare(x.name, y.name) })
	for _, a := range sorted {
		fmt.Fprintf(&b, "%s  %s\n", a.sha256, a.name)
	}
	return b.Bytes()
}

var semver = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)

// krew returns the plugin's manifest. Krew accepts only semantic versions, so a build without
// a tag gets a version before all others.
func krew(o *options, archives []archive) []byte {
	version := o.version
	if !semver.MatchString(version) {
		version = "v0.0.0-dev." + regexp.MustCompile(`[^0-9A-Za-z.-]`).ReplaceAllString(version, "-")
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: twilio-addons
spec:
  version: %s
  homepage: %s
  shortDescription: Manage add-ons of Twilio phone numbers
  description: |
    Writes manifests for existing Twilio phone numbers, says what a change of
    manifests does in Twilio before it is merged, and shows and steers
    twilio-addon-operator.
  platforms:
`, version, homepage)
	for _, a := range archives {
		fmt.Fprintf(&b, "  - selector:\n      matchLabels:\n        os: %s\n        arch: %s\n    uri: %s/%s\n    sha256: %s\n    bin: %s\n",
			a.os, a.arch, o.url, a.name, a.sha256, a.bin)
	}
	return b.Bytes()
}
