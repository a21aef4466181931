// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/devbuild"
)

// Server is a control plane, etcd and kube-apiserver, that serves the CRDs.
type Server struct{ *envtest.Environment }

// ControlPlane returns a control plane that has not been started yet. It gets the programs
// as devbuild.ControlPlane does, with progress on stderr.
func ControlPlane(ctx context.Context) (*Server, error) {
	assets, err := devbuild.ControlPlane(ctx, os.Stderr)
	if err != nil {
		return nil, fmt.Errorf("getting the control plane: %w", err)
	}
	return &Server{&envtest.Environment{
		BinaryAssetsDirectory:    assets,
		CRDDirectoryPaths:        []string{filepath.Join(Root(), "config", "crd", "bases")},
		ErrorIfCRDPathMissing:    true,
		ControlPlaneStartTimeout: startTimeout,
		ControlPlaneStopTimeout:  startTimeout,
	}}, nil
}

// Start starts etcd and kube-apiserver and installs the CRDs. The configuration acts as an
// administrator. If anything fails, Start stops what it has started, which envtest leaves
// running, and the error ends with the last words of both programs. Otherwise the caller
// calls Stop.
func (s *Server) Start() (*rest.Config, error) {
	etcd, apiServer := s.keepLastWords()
	config, err := s.Environment.Start()
	if err == nil {
		return config, nil
	}
	err = fmt.Errorf("starting the control plane: %w%s%s", err, etcd.quote(devbuild.Etcd), apiServer.quote(devbuild.APIServer))
	return nil, errors.Join(err, s.Stop())
}

// keepLastWords has both programs write to the returned buffers, unless their output goes
// somewhere else already.
func (s *Server) keepLastWords() (etcd, apiServer *lastWords) {
	etcd, apiServer = &lastWords{}, &lastWords{}
	if s.AttachControlPlaneOutput || os.Getenv("KUBEBUILDER_ATTACH_CONTROL_PLANE_OUTPUT") == "true" {
		return etcd, apiServer
	}
	plane := &s.ControlPlane
	if plane.Etcd == nil {
		plane.Etcd = &envtest.Etcd{}
	}
	if plane.Etcd.Err == nil {
		plane.Etcd.Err = etcd
	}
	if server := plane.GetAPIServer(); server.Err == nil {
		server.Err = apiServer
	}
	return etcd, apiServer
}

// lastWords keeps the end of what is written to it.
type lastWords struct {
	mu   sync.Mutex
	text []byte
}

func (w *lastWords) Write(text []byte) (int, error) {
	const enough = 2000
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, text...)
	w.text = w.text[max(0, len(w.text)-enough):]
	return len(text), nil
}

func (w *lastWords) quote(program string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.text) == 0 {
		return ""
	}
	return fmt.Sprintf("\nthe output of %s ends:\n%s", program, w.text)
}
