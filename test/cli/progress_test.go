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
	"slices"
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
		errOut, out := w.onTerminal("kubectl-twilio_addons "+command, func(cmd *exec.Cmd) (terminal, other *io.Writer) { return &cmd.Stderr, &cmd.Stdout })
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

// Colours are for people: a plan has them on a terminal whose owner does not object, and
// nowhere else.
func TestColoursOnATerminal(t *testing.T) {
	w := newTwilio(t, 1, 1)
	w.assign(1, 1)
	w.ok("kubectl twilio-addons export --policy Authoritative | sed -e 's/addOnSIDs:/addOnSIDs: []/' -e '/^  - XE/d' > numbers.yaml")
	_, plain, _ := w.run("kubectl twilio-addons plan -f numbers.yaml")
	for command, coloured := range map[string]bool{
		"exec kubectl-twilio_addons plan -f numbers.yaml":               true,
		"NO_COLOR=1 exec kubectl-twilio_addons plan -f numbers.yaml":    false,
		"TERM=dumb exec kubectl-twilio_addons plan -f numbers.yaml":     false,
		"exec kubectl-twilio_addons plan -f numbers.yaml -o json":       false,
		"exec kubectl-twilio_addons plan -f numbers.yaml -o markdown":   false,
		"TERM=xterm exec kubectl-twilio_addons plan -f numbers.yaml -q": true,
	} {
		out, errOut := w.onTerminal(command, func(cmd *exec.Cmd) (terminal, other *io.Writer) { return &cmd.Stdout, &cmd.Stderr })
		if has := strings.Contains(out, "\x1b["); has != coloured || errOut != "" {
			t.Errorf("%s: colours %t: %q%s", command, has, out, errOut)
		}
	}
	if strings.Contains(plain, "\x1b[") || !strings.Contains(plain, "- "+w.sid("XE", 1)) {
		t.Errorf("without a terminal: %q", plain)
	}
}

// onTerminal runs a command of which one stream is a terminal, and returns what it printed
// there and on the other stream.
func (w *world) onTerminal(command string, streams func(*exec.Cmd) (terminal, other *io.Writer)) (terminal, other string) {
	w.Helper()
	mine, theirs := w.terminal()
	var seen, rest bytes.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(&seen, mine) // ends with an error when the command has closed its end
	}()
	cmd := exec.CommandContext(w.Context(), "bash", "-c", command)
	cmd.Dir, cmd.Env = w.dir, slices.Concat(w.env, []string{"NO_COLOR=", "TERM=xterm"})
	first, second := streams(cmd)
	*first, *second = theirs, &rest
	if err := cmd.Run(); cmd.ProcessState == nil {
		w.must(err)
	}
	w.must(theirs.Close())
	<-read
	return seen.String(), rest.String()
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
