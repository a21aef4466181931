// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"io"
	"strings"
	"testing"
	"time"
)

// FuzzFlags: whatever the command line holds, one argument a line, it is refused with an
// error or leaves options that the manager can work with.
func FuzzFlags(f *testing.F) {
	for _, line := range []string{
		"--operator-namespace=x\n--leader-elect",
		"--operator-namespace=x\n--max-concurrent-reconciles=10000\n--leader-elect-lease-duration=10m0s",
		"--operator-namespace=x\n--leader-elect-lease-duration=3s\n--zap-log-level=debug\n--zap-encoder=console",
		"--operator-namespace=x\n--allow-insecure-twilio-url\n--metrics-bind-address=0\n--metrics-secure=false",
		"--operator-namespace=x\n--zap-time-encoding=rfc3339nano\n--zap-stacktrace-level=panic\n--zap-devel",
		"--max-concurrent-reconciles=-1",
		"--leader-elect-lease-duration=1e400s",
		"--operator-namespace=X/..\n--\nstart",
		"-h",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		var o options
		flags := flag.NewFlagSet("manager", flag.ContinueOnError)
		flags.SetOutput(io.Discard)
		o.bind(flags)
		if err := flags.Parse(strings.Split(line, "\n")); err != nil {
			return
		}
		if err := o.validate(); err != nil {
			if err.Error() == "" || len(err.Error()) > 1000+4*len(line) {
				t.Errorf("%q: the error is %q", line, err)
			}
			return
		}
		if o.workers < 1 || o.leaseDuration < 3*time.Second || o.leaseDuration > 10*time.Minute ||
			o.operatorNamespace == "" || strings.ContainsAny(o.operatorNamespace, "/.\n ") {
			t.Errorf("%q: accepted as %+v", line, o)
		}
	})
}
