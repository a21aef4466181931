// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package docs runs the commands of the README and of the pages of docs/ on a real API
// server, with the real manager and the simulated Twilio. The pages of docs/cli are run by
// test/cli.
package docs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// What the pages name. otherLine and thirdLine are numbers that only the tests use.
const (
	account       = "AC0123456789abcdef0123456789abcdef"
	apiKey        = "SK0123456789abcdef0123456789abcdef"
	supportLine   = "PN0123456789abcdef0123456789abcdef"
	transcription = "XE0123456789abcdef0123456789abcdef"
	spamScore     = "XE123456789abcdef0123456789abcdef0"
	namespace     = "telephony"
	deployment    = "twilio-addon-operator-controller-manager"

	otherLine, thirdLine = "PN00000000000000000000000000000002", "PN00000000000000000000000000000003"
	callerInsight        = "XE00000000000000000000000000000003"
	apiKeySecret         = "secretkey"
)

var (
	env *testenv.Env
	sim *testenv.Simulator
	// twilio is the state with which each page begins.
	twilio twiliosim.State
	// tools is a folder with kubectl and helm, installYAML what "make build-installer" writes.
	tools, installYAML string
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	testenv.Exit(testenv.Within(context.Background(), func(e *testenv.Env, s *testenv.Simulator) (code int, err error) {
		env, sim = e, s
		ctx := context.Background()
		// It finishes deletions of namespaces.
		controllers, err := env.StartControllerManager(ctx)
		if err != nil {
			return 1, err
		}
		defer func() { err = errors.Join(err, controllers.Kill()) }()
		if err := errors.Join(seed(ctx), prepareTools(ctx), renderInstaller(ctx)); err != nil {
			return 1, err
		}
		return m.Run(), nil
	}))
}

func seed(ctx context.Context) (err error) {
	err = errors.Join(
		sim.Admin.AddAccount(ctx, account, "secrettoken"),
		sim.Admin.AddAPIKey(ctx, account, apiKey, apiKeySecret, twiliosim.KeyStandard),
		sim.Admin.AddNumber(ctx, account, supportLine, "+14155550100"),
		sim.Admin.AddNumber(ctx, account, otherLine, "+14155550102"),
		sim.Admin.AddNumber(ctx, account, thirdLine, "+14155550103"),
		sim.Admin.InstallAddOn(ctx, account, transcription, "transcription"),
		sim.Admin.InstallAddOn(ctx, account, spamScore, "spam_score"),
		sim.Admin.InstallAddOn(ctx, account, callerInsight, "caller_insight"),
		// A refusal that is final at once: one that may be a stray answer takes a minute.
		sim.Admin.UpdateBehaviour(ctx, func(b *twiliosim.Behaviour) { b.UnknownAddOn = "400-20422" }),
	)
	if err != nil {
		return err
	}
	twilio, err = sim.Admin.Snapshot(ctx)
	return err
}

// prepareTools makes a folder for PATH. There is no node, so its kubectl takes the log of
// the Deployment from the process that runs in place of a pod.
func prepareTools(ctx context.Context) error {
	kubectl, err := testenv.Kubectl(ctx)
	if err != nil {
		return err
	}
	helm, err := testenv.Helm(ctx)
	if err != nil {
		return err
	}
	tools = filepath.Join(env.Dir, "tools")
	script := fmt.Sprintf("#!/bin/sh\n"+
		"case \"$*\" in \"logs deployment/%s --namespace %s\") exec cat \"$MANAGER_LOG\" ;; esac\n"+
		"exec %s \"$@\"\n", deployment, testenv.Namespace, kubectl)
	return errors.Join(os.MkdirAll(tools, 0o755), os.WriteFile(filepath.Join(tools, "kubectl"), []byte(script), 0o755),
		os.Symlink(helm, filepath.Join(tools, "helm")))
}

func renderInstaller(ctx context.Context) error {
	out, err := testenv.RenderInstaller(ctx, filepath.Join(env.Dir, "rendered"), "registry.example.com/twilio-addon-operator:v0.1.0", "v0.1.0")
	if err != nil {
		return err
	}
	installYAML = filepath.Join(env.Dir, "install.yaml")
	return errors.Join(os.WriteFile(installYAML, out, 0o600), installOperator(ctx))
}

// installOperator applies what the pages call the Deployment and its roles. No pod comes of
// it; the tests run the manager as a process.
func installOperator(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, filepath.Join(tools, "kubectl"), "apply", "--server-side", "-f", installYAML)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+env.Kubeconfig)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("installing the operator: %w\n%s", err, out)
	}
	return nil
}
