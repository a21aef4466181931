// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/devbuild"
)

// StartControllerManager starts the controllers of Kubernetes that finish deletions: the
// namespace controller and the garbage collector. The API server alone never finishes them.
// The caller stops the process.
func (e *Env) StartControllerManager(ctx context.Context) (*Process, error) {
	path, err := controllerManagerPath(ctx)
	if err != nil {
		return nil, err
	}
	address, err := FreeAddress(ctx)
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	p, err := e.RunAs(devbuild.ControllerManager, path,
		"--kubeconfig="+e.Kubeconfig,
		"--controllers=namespace-controller,garbage-collector-controller",
		"--leader-elect=false",
		"--bind-address=127.0.0.1", "--secure-port="+port,
		"--cert-dir="+filepath.Join(e.Dir, devbuild.ControllerManager),
		"--authentication-skip-lookup",
	)
	if err != nil {
		return nil, err
	}
	err = Wait(ctx, startTimeout, devbuild.ControllerManager+" is healthy", func() error {
		select {
		case <-p.done:
			return fmt.Errorf("it ended: %w; see %s", p.err, p.Log)
		default:
			return askSelfSigned(ctx, "https://"+address+"/healthz")
		}
	})
	if err != nil {
		return nil, errors.Join(err, p.Kill())
	}
	return p, nil
}

// controllerManagerPath is beside the API server, unless KUBEBUILDER_ASSETS has none.
func controllerManagerPath(ctx context.Context) (string, error) {
	dir, err := devbuild.ControlPlane(ctx, os.Stderr, devbuild.ControllerManager)
	if err != nil {
		return "", fmt.Errorf("getting %s: %w", devbuild.ControllerManager, err)
	}
	return filepath.Join(dir, devbuild.ControllerManager), nil
}

// askSelfSigned is ask for a server whose certificate cannot be verified.
func askSelfSigned(ctx context.Context, url string) error {
	cl := &http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
		Timeout:   time.Second,
	}
	return askWith(ctx, cl, url)
}

// InstallCRDs installs the CRDs again after a test has removed them.
func (e *Env) InstallCRDs() error {
	_, err := envtest.InstallCRDs(e.Config, envtest.CRDInstallOptions{
		Paths: []string{filepath.Join(Root(), "config", "crd", "bases")}, ErrorIfPathMissing: true, MaxTime: startTimeout,
	})
	return err
}
