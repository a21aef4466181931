// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"

	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// Within compiles the programs, starts a control plane, configured further, and the
// simulator, and stops both when run is done. The code is that of run.
func Within(ctx context.Context, run func(*Env, *Simulator) (code int, err error), configure ...func(*Env, *envtest.Environment)) (code int, err error) {
	if err := Build(ctx); err != nil {
		return 1, err
	}
	env, err := Start(ctx, configure...)
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, env.Close()) }()
	sim, err := env.StartSimulator(ctx)
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, sim.Stop()) }()
	return run(env, sim)
}

// Exit ends a program of tests: with their code, or for an error, which it tells, with 1.
func Exit(code int, err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
