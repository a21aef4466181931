// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// Long work tells how far it is: elsewhere than on a terminal with a line every 10 seconds,
// so that a log of it stays short; on a terminal ten times a second, on one line that is
// gone in the end. Short work says nothing, and nothing is on the standard output.
func TestProgressLines(t *testing.T) {
	const read = " of 8 numbers of an account read"
	rewritten := ""
	for _, done := range []string{"1", "2", "3", "4", "5", "6", "7", "8"} {
		rewritten += "\r" + done + read
	}
	cases := map[string]struct {
		terminal, quiet bool
		each            time.Duration // for each of the 8 numbers
		want            string
	}{
		"in a log":            {false, false, 5 * time.Second, "2" + read + "\n4" + read + "\n6" + read + "\n8" + read + "\n"},
		"in a log, short":     {false, false, time.Second, ""},
		"in a log, quiet":     {false, true, 5 * time.Second, ""},
		"a terminal":          {true, false, 5 * time.Second, rewritten + "\r\x1b[K"},
		"a terminal, fast":    {true, false, 50 * time.Millisecond, "\r2" + read + "\r4" + read + "\r6" + read + "\r8" + read + "\r\x1b[K"},
		"a terminal, instant": {true, false, time.Millisecond, ""},
		"a terminal, quiet":   {true, true, 5 * time.Second, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out, errOut bytes.Buffer
				a := &app{IOStreams: genericiooptions.IOStreams{Out: &out, ErrOut: &errOut}}
				a.twilio.quiet = c.quiet
				p := a.newProgress("numbers of an account read")
				p.terminal = c.terminal
				for i := range 8 {
					time.Sleep(c.each)
					p.update(i+1, 8)
				}
				p.end()
				if diff := cmp.Diff(c.want, errOut.String()); diff != "" || out.Len() > 0 {
					t.Errorf("output %q, errors %s", &out, diff)
				}
			})
		})
	}
}
