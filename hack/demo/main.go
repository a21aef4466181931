// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command demo shows the operator at work on a real API server and a simulated Twilio,
// and checks each step of what it shows. With --exit it ends at the end of the story,
// with 0 only if every step was seen to hold.
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
	exit := flag.Bool("exit", false, "End when the story is told.")
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

	say("Starting the operator, as its own ServiceAccount under the RBAC of config/rbac …")
	manager, err := env.StartManager(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = manager.Stop() }()

	s := newStory(env, sim)
	if err := s.tell(ctx); err != nil {
		return fmt.Errorf("%w\nThe manager's log ends:\n%s", err, tail(manager.Log))
	}
	if exit {
		say("\nEvery step was seen to hold.")
		return nil
	}
	say("\nAll of it still runs. To look around in another terminal:\n")
	say("  export KUBECONFIG=%s", env.Kubeconfig)
	say("  kubectl get twilio -A")
	say("  kubectl explain pnaa.spec")
	say("  curl %s/journal        # what was changed in Twilio, in order", sim.AdminURL)
	say("\nTwilio is simulated at %s, the manager's log is %s.\nCtrl-C ends it.", sim.URL, manager.Log)
	<-ctx.Done()
	return nil
}

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// tail is the end of a file.
func tail(file string) string {
	const enough = 4000
	data, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-enough):])
}
