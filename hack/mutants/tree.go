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
	"path"
	"path/filepath"
	"regexp"
	"slices"
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
	// in is where: a package, or so many seeds of the soak.
	in   string
	says string
}

// hunt plants a fault, looks for it in the order of what that costs, and removes it again:
// with the tests of its own package, of the controllers and of the processes, and with the soak. It
// returns nil if nothing found it.
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
	if !o.soakOnly {
		for _, dir := range slices.Compact([]string{"./" + path.Dir(f.file), "./controllers", "./test/e2e", "./test/shards"}) {
			if found, err := t.test(ctx, dir); found != nil || err != nil {
				return found, err
			}
		}
	}
	return t.soak(ctx, o)
}

// test looks for the fault with the tests of a package.
func (t *tree) test(ctx context.Context, dir string) (*finding, error) {
	if names, err := filepath.Glob(filepath.Join(t.dir, dir, "*_test.go")); err != nil || len(names) == 0 {
		return nil, err
	}
	output, ended := t.run(exec.CommandContext(ctx, "go", "run", "./hack/dev", "test", dir, "-failfast", "-count=1"))
	return readTests(dir, output, ended)
}

// soak looks for the fault with the soak.
func (t *tree) soak(ctx context.Context, o *options) (*finding, error) {
	output, ended := t.run(exec.CommandContext(ctx, "make", "--no-print-directory", "soak",
		fmt.Sprintf("SEEDS=%d", o.seeds), fmt.Sprintf("STEPS=%d", o.step), fmt.Sprintf("FIRST_SEED=%d", o.first)))
	return readSoak(output, ended)
}

// run runs a command in the tree, shows what it prints, and returns that.
func (t *tree) run(cmd *exec.Cmd) (output string, ended error) {
	var text bytes.Buffer
	cmd.Dir, cmd.Env = t.dir, append(os.Environ(), "SOAK_SHORTEN=0")
	told := io.MultiWriter(&text, os.Stderr)
	cmd.Stdout, cmd.Stderr = told, told
	ended = cmd.Run()
	return text.String(), ended
}

var (
	failed = regexp.MustCompile(`(?m)^--- FAIL: (\S+)`)
	wrong  = regexp.MustCompile(`(?m)^WRONG: (.*)$`)
	seed   = regexp.MustCompile(`(?m)^soak: (\d+) of \d+: seed (\d+)`)
)

// readTests reads what the tests of a package printed. Tests that fail without a name could
// not run.
func readTests(dir, output string, ended error) (*finding, error) {
	if ended == nil {
		return nil, nil
	}
	name := failed.FindStringSubmatch(output)
	if name == nil {
		return nil, fmt.Errorf("the tests of %s could not run: %w", dir, ended)
	}
	return &finding{in: "the tests of " + strings.TrimPrefix(dir, "./"), says: "`" + name[1] + "`"}, nil
}

// readSoak reads what the soak printed. A soak that fails without a finding could not run.
func readSoak(output string, ended error) (*finding, error) {
	seeds, says := seed.FindAllStringSubmatch(output, -1), wrong.FindStringSubmatch(output)
	switch {
	case ended == nil && len(seeds) == 0:
		return nil, errors.New("the soak ran no seed")
	case ended == nil:
		return nil, nil
	case says == nil || len(seeds) == 0:
		return nil, fmt.Errorf("the soak could not run: %w", ended)
	}
	return &finding{in: fmt.Sprintf("%d seeds of the soak", len(seeds)), says: says[1]}, nil
}
