// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// WithControlPlane starts a control plane, configured further before it starts, and stops
// it when run returns or at an interrupt. The code is that of run.
func WithControlPlane(ctx context.Context, run func(*Server) (code int, err error), configure ...func(*Server)) (code int, err error) {
	server, err := ControlPlane(ctx)
	if err != nil {
		return 1, err
	}
	for _, change := range configure {
		change(server)
	}
	if _, err := server.Start(); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	defer StopOnInterrupt(server.Stop)()
	return run(server)
}

// Within compiles the programs, starts a control plane, configured further before it
// starts, and the simulator, and stops both when run returns or at an interrupt. The code
// is that of run.
func Within(ctx context.Context, run func(*Env, *Simulator) (code int, err error), configure ...func(*Env, *envtest.Environment)) (code int, err error) {
	if err := Build(ctx); err != nil {
		return 1, err
	}
	env, err := Start(ctx, configure...)
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, env.Close()) }()
	defer StopOnInterrupt(env.Close)()
	sim, err := env.StartSimulator(ctx)
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, sim.Stop()) }()
	return run(env, sim)
}

// StopOnInterrupt calls stop at the first interrupt (SIGINT, SIGTERM, SIGHUP) and ends the
// process with status 130, until the returned function is called. Tests need it because
// etcd, kube-apiserver and what Run starts do not get the terminal's Ctrl-C: each is in a
// process group of its own.
func StopOnInterrupt(stop func() error) (cancel func()) {
	signals, cancelled := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	var handler sync.WaitGroup
	handler.Go(func() {
		select {
		case <-cancelled:
		case <-signals:
			if err := stop(); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
			os.Exit(130)
		}
	})
	return sync.OnceFunc(func() {
		signal.Stop(signals)
		close(cancelled)
		handler.Wait() // until the process ends, if it is stopping already
	})
}

// Exit ends a test program with its code, or with 1 after an error, which it prints.
func Exit(code int, err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
