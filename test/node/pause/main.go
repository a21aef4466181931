// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command pause keeps the namespaces of a pod: what a node's sandbox image does. No image can
// be pulled where the tests run, so they make their own.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	done := make(chan os.Signal, 1)
	signal.Notify(done, syscall.SIGTERM, os.Interrupt)
	<-done
}
