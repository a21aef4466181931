// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// keepCertificates keeps the API server's certificates in a folder of the Env. By default
// they go when it stops, and it could not be started again as the same server.
func (e *Env) keepCertificates() error {
	dir := filepath.Join(e.Dir, "apiserver")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	e.control.ControlPlane.GetAPIServer().CertDir = dir
	return nil
}

// WithRestarts configures Start for API servers that restart. A server that stops waits for
// its clients as long as a request may take: ten seconds here, a minute by default.
func WithRestarts(_ *Env, control *envtest.Environment) {
	control.ControlPlane.GetAPIServer().Configure().Set("request-timeout", "10s")
}

// RestartAPIServer stops the API server, starts it again on the same port and etcd, and
// waits until it answers.
func (e *Env) RestartAPIServer(ctx context.Context) error {
	server := e.control.ControlPlane.GetAPIServer()
	if err := errors.Join(server.Stop(), server.Start()); err != nil {
		return fmt.Errorf("restarting the API server: %w", err)
	}
	return Wait(ctx, startTimeout, "the API server answers again", func() error {
		return e.Client.Get(ctx, client.ObjectKey{Name: Namespace}, &corev1.Namespace{})
	})
}

// ManagerKubeconfigFor writes a kubeconfig with which a manager reaches the API server as
// its ServiceAccount, but through another address, such as a Proxy's.
func (e *Env) ManagerKubeconfigFor(name, server string) (string, error) {
	own, err := clientcmd.LoadFromFile(e.ManagerKubeconfig)
	if err != nil {
		return "", err
	}
	token := own.AuthInfos[own.Contexts[own.CurrentContext].AuthInfo].Token
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters[name] = &clientcmdapi.Cluster{Server: server, InsecureSkipTLSVerify: true}
	cfg.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: token}
	cfg.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	cfg.CurrentContext = name
	file := filepath.Join(e.Dir, name+".kubeconfig")
	return file, clientcmd.WriteToFile(*cfg, file)
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Pause suspends the process, as if its machine hung.
func (p *Process) Pause() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

// Continue resumes a paused process.
func (p *Process) Continue() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

// Ready waits until the readiness probe of a manager succeeds. probes is the address of its
// health probes.
func (p *Process) Ready(ctx context.Context, probes string, limit time.Duration) error {
	return Wait(ctx, limit, "the manager is ready", func() error {
		select {
		case <-p.done:
			return fmt.Errorf("it ended: %w; see %s", p.err, p.Log)
		default:
			return ask(ctx, "http://"+probes+"/readyz")
		}
	})
}

// Output returns what the process has written so far.
func (p *Process) Output() (string, error) {
	text, err := os.ReadFile(p.Log)
	return string(text), err
}

// Get returns the body of a page; a status other than 200 is an error.
func Get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", url, res.Status)
	}
	return string(text), err
}
