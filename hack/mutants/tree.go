// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/devbuild"
)

// tree is a copy of the sources, in which the faults are planted.
type tree struct{ dir string }

// copyTree copies the files that git tracks or would track.
func copyTree(ctx context.Context) (*tree, error) {
	list := exec.CommandContext(ctx, "git", "ls-files", "-co", "--exclude-standard", "-z")
	list.Dir, list.Stderr = devbuild.Root(), os.Stderr
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("listing the sources: %w", err)
	}
	dir, err := os.MkdirTemp("", "twilio-addon-operator-mutants-")
	if err != nil {
		return nil, err
	}
	t := &tree{dir: dir}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if err := t.copy(name); err != nil && !errors.Is(err, os.ErrNotExist) { // deleted, but not committed yet
			t.remove()
			return nil, fmt.Errorf("copying the sources: %w", err)
		}
	}
	return t, nil
}

func (t *tree) copy(name string) error {
	from, to := filepath.Join(devbuild.Root(), name), filepath.Join(t.dir, name)
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	return os.WriteFile(to, text, info.Mode().Perm())
}

func (t *tree) remove() { _ = os.RemoveAll(t.dir) }

// finding is how a fault was found.
type finding struct {
	seeds int // how many it took
	says  string
}

// hunt plants a fault, runs the soak until it finds the fault, and removes it again. It
// returns nil if the soak did not find it.
func (t *tree) hunt(ctx context.Context, m *mutant, o *options) (found *finding, err error) {
	f, err := m.fitTo(t.dir)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(t.dir, filepath.FromSlash(f.file))
	if err := os.WriteFile(file, []byte(f.planted), 0o600); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.WriteFile(file, []byte(f.source), 0o600)) }()

	soak := exec.CommandContext(ctx, "make", "--no-print-directory", "soak",
		fmt.Sprintf("SEEDS=%d", o.seeds), fmt.Sprintf("STEPS=%d", o.step), fmt.Sprintf("FIRST_SEED=%d", o.first))
	var output bytes.Buffer
	soak.Dir, soak.Env = t.dir, append(os.Environ(), "SOAK_SHORTEN=0")
	told := io.MultiWriter(&output, os.Stderr)
	soak.Stdout, soak.Stderr = told, told
	ended := soak.Run()
	return read(output.String(), ended)
}

var (
	wrong = regexp.MustCompile(`(?m)^WRONG: (.*)$`)
	seed  = regexp.MustCompile(`(?m)^soak: (\d+) of \d+: seed (\d+)`)
)

// read reads what the soak printed. A soak that fails without a finding could not run.
func read(output string, ended error) (*finding, error) {
	seeds, says := seed.FindAllStringSubmatch(output, -1), wrong.FindStringSubmatch(output)
	switch {
	case ended == nil && len(seeds) == 0:
		return nil, errors.New("the soak ran no seed")
	case ended == nil:
		return nil, nil
	case says == nil || len(seeds) == 0:
		return nil, fmt.Errorf("the soak could not run: %w", ended)
	}
	return &finding{seeds: len(seeds), says: says[1]}, nil
}
