// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// Somebody at a terminal sees how far a long read is, and then nothing of it but the result.
func TestProgressOnATerminal(t *testing.T) {
	w := newTwilio(t, 40, 1)
	for i := range 40 {
		w.assign(i+1, 1)
	}
	want := w.ok("kubectl twilio-addons export")
	w.must(sim.Admin.AddFault(t.Context(), twiliosim.Fault{
		Account: w.account, Operation: twiliosim.OpList, Kind: twiliosim.FaultSlowBody, Delay: twiliosim.Duration(200 * time.Millisecond),
	}))
	for command, shown := range map[string]bool{"export": true, "export --quiet": false} {
		out, errOut := w.onTerminal("kubectl-twilio_addons " + command)
		if out != want {
			t.Errorf("%s printed %s", command, out)
		}
		says := strings.HasPrefix(errOut, "\r") && strings.Contains(errOut, " of 40 numbers of "+w.account+" read\r") && strings.HasSuffix(errOut, "\r\x1b[K")
		if says != shown || !shown && errOut != "" {
			t.Errorf("%s said %q", command, errOut)
		}
	}
	if _, _, errOut := w.run("kubectl twilio-addons export"); errOut != "" {
		t.Errorf("without a terminal it said %q", errOut)
	}
}

// onTerminal runs a command whose error stream is a terminal, and returns what it printed.
func (w *world) onTerminal(command string) (out, errOut string) {
	w.Helper()
	mine, theirs := w.terminal()
	var stdout, stderr bytes.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(&stderr, mine) // ends with an error when the command has closed its end
	}()
	cmd := exec.CommandContext(w.Context(), "bash", "-c", "exec "+command)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = w.dir, w.env, &stdout, theirs
	err := cmd.Run()
	w.must(err, theirs.Close())
	<-read
	return stdout.String(), stderr.String()
}

// terminal opens a pseudo-terminal: the end of whoever looks at it, and that of a program.
func (w *world) terminal() (mine, theirs *os.File) {
	w.Helper()
	mine, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	w.must(err)
	w.Cleanup(func() { _ = mine.Close() })
	fd := int(mine.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	w.must(err, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	w.must(err)
	return mine, theirs
}
