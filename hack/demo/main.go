// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command demo walks through the operator's features on a real API server and a simulated
// Twilio, and verifies each step. "make demo" runs it. Afterwards everything keeps running
// until Ctrl-C. With --exit it ends after the last step, and its exit code is 0 only if
// every step succeeded.
//
// walkthrough.go has the steps, print.go the output. To add a step, write a method of
// walkthrough, wait for the state that it shows with an await method, and add it to run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/go-logr/logr"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
)

func main() {
	exit := flag.Bool("exit", false, "Exit after the last step.")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *exit)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, exit bool) (err error) {
	ctrl.SetLogger(logr.Discard())
	say("Starting a Kubernetes API server and etcd …")
	env, err := testenv.Start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, env.Close()) }()

	say("Starting a simulated Twilio …")
	sim, err := env.StartSimulator(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = sim.Stop() }()

	say("Starting the operator as its own ServiceAccount with the RBAC rules of config/rbac …")
	manager, err := env.StartManager(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = manager.Stop() }()

	if err := newWalkthrough(env, sim).run(ctx); err != nil {
		return fmt.Errorf("%w\nLast lines of the manager's log:\n%s", err, tail(manager.Log))
	}
	if exit {
		say("\nEvery step succeeded.")
		return nil
	}
	say("\nEverything keeps running. Try this in another terminal:\n")
	say("  export KUBECONFIG=%s", env.Kubeconfig)
	say("  kubectl get twilio -A")
	say("  kubectl explain pnaa.spec")
	say("  curl %s/journal        # all changes in Twilio, in order", sim.AdminURL)
	say("\nSimulated Twilio: %s\nManager log: %s\nPress Ctrl-C to stop.", sim.URL, manager.Log)
	<-ctx.Done()
	return nil
}

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// tail returns the end of a file.
func tail(file string) string {
	const size = 4000 // bytes
	data, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-size):])
}
