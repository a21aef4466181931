// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kubectl-twilio_addons is the kubectl plugin "kubectl twilio-addons": it brings
// existing numbers under management, says what a change of manifests does in Twilio, and
// shows and steers what the operator does.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/cli"
)

// version is set at build time.
var version = "dev"

func main() {
	if os.Getenv("GOGC") == "" {
		// Most of the time goes by waiting for Twilio: nobody sees the cost of collecting
		// garbage more often, and it saves a third of the memory.
		debug.SetGCPercent(50)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Run(ctx, cli.Options{
		Args:    os.Args[1:],
		Streams: genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr},
		Getenv:  os.Getenv,
		Version: version,
	})
	stop()
	os.Exit(code)
}
