// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package testenv starts and stops the real programs that the demo and the tests of whole
// processes run against: etcd and the API server, the Twilio simulator, and the manager,
// which runs as its own ServiceAccount under the RBAC of config/.
package testenv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/devbuild"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

const (
	// Namespace is the operator's namespace.
	Namespace = "twilio-addon-operator-system"
	// FieldOwner is the field owner of what Apply applies.
	FieldOwner = "testenv"

	serviceAccount = "controller-manager"
	startTimeout   = 2 * time.Minute
)

// Root is the folder of the module that the working directory is in.
func Root() string { return devbuild.Root() }

// Env is a running control plane with the CRDs, the operator's namespace and its RBAC.
type Env struct {
	// Config and Client act as an administrator.
	Config *rest.Config
	Client client.Client
	// Dir holds kubeconfigs and logs; Close removes it.
	Dir string
	// Kubeconfig is the administrator's, ManagerKubeconfig the manager's.
	Kubeconfig, ManagerKubeconfig string
	// Environ is added to the environment of what Run starts.
	Environ []string

	control *Server

	mu sync.Mutex
	// processes are those that Run has started; some may have ended.
	processes []*Process
}

// Start starts a control plane, configured further before it starts. Close it. If
// anything fails, Start stops what it has started.
func Start(ctx context.Context, configure ...func(*Env, *envtest.Environment)) (*Env, error) {
	control, err := ControlPlane(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "twilio-addon-operator-")
	if err != nil {
		return nil, err
	}
	e := &Env{Dir: dir, control: control}
	if err := e.keepCertificates(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	for _, change := range configure {
		change(e, e.control.Environment)
	}
	if e.Config, err = e.control.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := e.prepare(ctx); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// Close ends the programs that Run started and that still run, stops the control plane,
// and removes Dir.
func (e *Env) Close() error {
	return errors.Join(e.killAll(), e.control.Stop(), os.RemoveAll(e.Dir))
}

func (e *Env) prepare(ctx context.Context) error {
	scheme := kruntime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	var err error
	if e.Client, err = client.New(e.Config, client.Options{Scheme: scheme, FieldValidation: metav1.FieldValidationStrict}); err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	return e.Install(ctx)
}

// Install creates the operator's namespace and its RBAC, and writes the kubeconfigs. Start
// does this; a test that has removed them may do it again.
func (e *Env) Install(ctx context.Context) error {
	if err := e.Client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace}}); err != nil {
		return fmt.Errorf("creating the operator's namespace: %w", err)
	}
	if err := e.applyRBAC(ctx); err != nil {
		return err
	}
	return e.writeKubeconfigs(ctx)
}

// applyRBAC applies the files of config/rbac as kustomize would, but without its prefix.
func (e *Env) applyRBAC(ctx context.Context) error {
	files, err := filepath.Glob(filepath.Join(Root(), "config", "rbac", "*.yaml"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no manifests in config/rbac: %w", err)
	}
	for _, file := range files {
		if filepath.Base(file) == "kustomization.yaml" {
			continue
		}
		if err := e.applyFile(ctx, file); err != nil {
			return err
		}
	}
	return nil
}

func (e *Env) applyFile(ctx context.Context, file string) error {
	manifests, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := e.Apply(ctx, manifests); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(file), err)
	}
	return nil
}

// GrantShards gives the manager the rights that one of several needs beside config/rbac.
func (e *Env) GrantShards(ctx context.Context) error {
	for _, file := range []string{"role.yaml", "role_binding.yaml"} {
		if err := e.applyFile(ctx, filepath.Join(Root(), "config", "components", "shards", file)); err != nil {
			return err
		}
	}
	return nil
}

// Apply applies every document of a manifest with server-side apply.
func (e *Env) Apply(ctx context.Context, manifests []byte) error {
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifests), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading a manifest: %w", err)
		}
		if len(object.Object) == 0 {
			continue
		}
		if err := e.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(FieldOwner), client.ForceOwnership); err != nil {
			return fmt.Errorf("applying %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
}

func (e *Env) writeKubeconfigs(ctx context.Context) error {
	admin, err := e.control.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, nil)
	if err != nil {
		return fmt.Errorf("adding the administrator: %w", err)
	}
	kubeconfig, err := admin.KubeConfig()
	if err != nil {
		return fmt.Errorf("making the administrator's kubeconfig: %w", err)
	}
	e.Kubeconfig = filepath.Join(e.Dir, "kubeconfig")
	if err := os.WriteFile(e.Kubeconfig, kubeconfig, 0o600); err != nil {
		return err
	}
	token, err := e.Token(ctx, serviceAccount)
	if err != nil {
		return err
	}
	e.ManagerKubeconfig = filepath.Join(e.Dir, "manager.kubeconfig")
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["demo"] = &clientcmdapi.Cluster{Server: e.Config.Host, CertificateAuthorityData: e.Config.CAData}
	cfg.AuthInfos["manager"] = &clientcmdapi.AuthInfo{Token: token}
	cfg.Contexts["manager"] = &clientcmdapi.Context{Cluster: "demo", AuthInfo: "manager"}
	cfg.CurrentContext = "manager"
	return clientcmd.WriteToFile(*cfg, e.ManagerKubeconfig)
}

// Token requests a token of a ServiceAccount in the operator's namespace, valid for a day.
func (e *Env) Token(ctx context.Context, name string) (string, error) {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: Namespace}}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(24 * 3600))}}
	if err := e.Client.SubResource("token").Create(ctx, account, request); err != nil {
		return "", fmt.Errorf("requesting a token for the ServiceAccount: %w", err)
	}
	return request.Status.Token, nil
}

// Build compiles the programs that Run starts from the working tree.
func Build(ctx context.Context) error {
	return Make(ctx, "build")
}

// Process is a running program.
type Process struct {
	// Log is the file that holds its output.
	Log  string
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// Run starts a program of the module's bin folder. Its output goes to name.log in Dir. The
// caller stops it; Close kills it otherwise.
func (e *Env) Run(name string, args ...string) (*Process, error) {
	return e.RunAs(name, name, args...)
}

// RunAs is Run for a program that runs more than once, or for one outside of the bin folder,
// which is given by its absolute path.
func (e *Env) RunAs(name, program string, args ...string) (*Process, error) {
	p := &Process{Log: filepath.Join(e.Dir, name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	if !filepath.IsAbs(program) {
		program = filepath.Join(Root(), "bin", program)
	}
	//nolint:noctx // Stop ends it with a grace period, which a context does not give
	p.cmd = exec.Command(program, args...)
	p.cmd.Env = append(os.Environ(), e.Environ...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// The caller gets Ctrl-C and stops its processes in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s (make build compiles it): %w", program, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.processes = append(slices.DeleteFunc(e.processes, (*Process).ended), p)
	return p, nil
}

// killAll ends every process that still runs.
func (e *Env) killAll() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var errs []error
	for _, p := range e.processes {
		if err := p.Kill(); !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, err)
		}
	}
	e.processes = nil
	return errors.Join(errs...)
}

// ended says whether the process has ended.
func (p *Process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Stop sends SIGTERM and waits until the process has ended, for a minute at most. The error
// is the one with which the process ended.
func (p *Process) Stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return p.err
	case <-time.After(time.Minute):
		return errors.Join(errors.New("the process did not end within a minute"), p.Kill())
	}
}

// Kill ends the process with SIGKILL.
func (p *Process) Kill() error {
	err := p.cmd.Process.Kill()
	<-p.done
	return err
}

// Simulator is a simulated Twilio in a process of its own.
type Simulator struct {
	*Process
	// URL is where Twilio's API is served, AdminURL where the simulator's own is.
	URL, AdminURL string
	Admin         *twiliosim.AdminClient
}

// StartSimulator starts bin/twiliosim on free ports and waits until it answers.
func (e *Env) StartSimulator(ctx context.Context, args ...string) (*Simulator, error) {
	file := filepath.Join(e.Dir, "twiliosim.json")
	_ = os.Remove(file) // of an earlier simulator
	p, err := e.Run("twiliosim", append([]string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--addresses-file=" + file}, args...)...)
	if err != nil {
		return nil, err
	}
	var addresses struct{ API, Admin string }
	err = Wait(ctx, startTimeout, "the simulator reports its addresses", func() error {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		return json.Unmarshal(data, &addresses)
	})
	if err != nil {
		return nil, errors.Join(err, p.Kill())
	}
	return &Simulator{Process: p, URL: addresses.API, AdminURL: addresses.Admin, Admin: twiliosim.NewAdminClient(addresses.Admin)}, nil
}

// StartManager starts bin/manager as its ServiceAccount and waits until it is ready, for two
// minutes at most.
func (e *Env) StartManager(ctx context.Context, args ...string) (*Process, error) {
	probes, err := FreeAddress(ctx)
	if err != nil {
		return nil, err
	}
	p, err := e.Run("manager", append([]string{
		"--kubeconfig=" + e.ManagerKubeconfig,
		"--operator-namespace=" + Namespace,
		"--health-probe-bind-address=" + probes,
		"--metrics-bind-address=127.0.0.1:0",
		"--leader-elect",
	}, args...)...)
	if err != nil {
		return nil, err
	}
	err = Wait(ctx, startTimeout, "the manager is ready", func() error {
		select {
		case <-p.done:
			return fmt.Errorf("it ended: %w; see %s", p.err, p.Log)
		default:
			return ask(ctx, "http://"+probes+"/readyz")
		}
	})
	if err != nil {
		return nil, errors.Join(err, p.Kill())
	}
	return p, nil
}

func ask(ctx context.Context, url string) error {
	return askWith(ctx, http.DefaultClient, url)
}

func askWith(ctx context.Context, cl *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	res, err := cl.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, res.Status)
	}
	return nil
}

// FreeAddress returns a loopback address with a port that is free at the moment.
func FreeAddress(ctx context.Context) (string, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

// Wait polls holds until it returns nil. When the time is up, it returns the last error.
func Wait(ctx context.Context, limit time.Duration, what string, holds func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := holds()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("timed out waiting until %s: %w", what, err)
		case <-tick.C:
		}
	}
}
