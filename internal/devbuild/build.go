// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package devbuild

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// Target is what one "go build" builds.
//
// All targets but those under the race detector share their flags, and the modules share
// the versions of their dependencies. So what the control plane and the manager have in
// common (nine of ten packages of the manager) is compiled once.
type Target struct {
	// Name names the result in progress lines and errors.
	Name string
	// Module is the folder of the go.mod, relative to Root; empty for the main module.
	Module string
	// Packages are relative to Module, or import paths.
	Packages []string
	// Output is the absolute path of the program; empty to fill the build cache only.
	Output  string
	LDFlags string
	Race    bool
	// Host builds for this machine even if GOOS or GOARCH name another one.
	Host bool
}

// Build builds a target and reports progress on out; it prints nothing if all is up to
// date. An interrupt (SIGINT, SIGTERM, SIGHUP) ends the build with ErrInterrupted.
func Build(ctx context.Context, out io.Writer, t *Target) error {
	ctx, stop := catchInterrupts(ctx)
	defer stop()
	p := newProgress(t.Name, out)
	defer p.start()()

	var listed bytes.Buffer
	list := t.command(ctx, "list", append([]string{"-deps"}, t.Packages...)...)
	list.Stdout = &listed
	if err := p.run(ctx, list); err != nil {
		return err
	}
	p.expect(strings.Fields(listed.String()))

	flags := []string{"-v", "-buildvcs=false"}
	if t.Race {
		flags = append(flags, "-race")
	}
	if t.LDFlags != "" {
		flags = append(flags, "-ldflags", t.LDFlags)
	}
	// Without -o, go build would leave a single program in the working directory.
	flags = append(flags, "-o", cmp.Or(t.Output, os.DevNull))
	if err := p.run(ctx, t.command(ctx, "build", append(flags, t.Packages...)...)); err != nil {
		return err
	}
	p.built()
	return nil
}

func (t *Target) command(ctx context.Context, verb string, args ...string) *exec.Cmd {
	cmd := command(ctx, "go", append([]string{verb, "-mod=readonly", "-trimpath"}, args...)...)
	cmd.Dir = inRoot(t.Module)
	cmd.Env = append(os.Environ(), "GOWORK=off", "PWD="+cmd.Dir)
	if t.Race {
		cmd.Env = append(cmd.Env, "CGO_ENABLED=1")
	} else {
		cmd.Env = append(cmd.Env, "CGO_ENABLED=0")
	}
	if t.Host {
		cmd.Env = append(cmd.Env, "GOOS=", "GOARCH=") // empty is the default: this machine
	}
	return cmd
}

// ErrInterrupted says that an interrupt ended the work.
var ErrInterrupted = errors.New("interrupted")

// catchInterrupts returns a context that an interrupt cancels. A second interrupt ends the
// process, as without it.
func catchInterrupts(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// command is a program in a process group of its own. When the context is cancelled the
// whole group gets what Ctrl-C sends, so that "go build" takes its compilers with it and
// removes its temporary files; what has not ended after ten seconds is killed.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// run runs a command and counts what it reports on stderr. If it fails, it prints what
// the command had to say, without its progress.
func (p *progress) run(ctx context.Context, cmd *exec.Cmd) error {
	cmd.Stderr = p
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w after %s", p.name, ErrInterrupted, p.elapsed())
	case err != nil:
		p.printMessages()
		return fmt.Errorf("%s: failed after %s: %w", p.name, p.elapsed(), err)
	}
	return nil
}
