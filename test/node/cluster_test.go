//go:build node

// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"text/template"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
)

const (
	// nodeIP is that of the node's only network device, in a range for documentation. run.sh
	// sets it.
	nodeIP        = "192.0.2.1"
	clusterDomain = "cluster.local"
	apiServer     = "https://" + nodeIP + ":6443"
	pauseImage    = "registry.test/pause:1"
	// adminToken is the administrator's. Nobody else reaches the node's network.
	adminToken = "administrator"
)

// cluster is a control plane with one node, in the namespaces that run.sh has made.
type cluster struct {
	dir, assets string
	kubeconfig  string
	config      *rest.Config
	client      client.Client
	started     []*exec.Cmd
}

// files are the configurations of the programs, as templates of a cluster.
var files = map[string]string{
	"tokens.csv": adminToken + `,admin,admin,system:masters` + "\n",
	"containerd.toml": `version = 2
root = "{{.Dir}}/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "` + pauseImage + `"
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{{.Dir}}"
`,
	"10-bridge.conflist": `{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "pods0", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "198.51.100.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
`,
	"kubelet.yaml": `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
resolvConf: ""
clusterDNS: [` + nodeIP + `]
clusterDomain: ` + clusterDomain + `
enforceNodeAllocatable: []
evictionHard: {memory.available: 1Mi, nodefs.available: 0%, imagefs.available: 0%}
imageGCHighThresholdPercent: 100
makeIPTablesUtilChains: true
`,
	"proxy.yaml": `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clusterCIDR: 198.51.100.0/24
hostnameOverride: node
clientConnection: {kubeconfig: "{{.Kubeconfig}}"}
conntrack: {maxPerCore: 0, min: 0}
`,
}

// startCluster starts everything and waits until the node is ready.
func startCluster(ctx context.Context) (*cluster, error) {
	c := &cluster{dir: os.Getenv("NODE_DIR"), assets: os.Getenv("NODE_ASSETS")}
	c.kubeconfig = filepath.Join(c.dir, "kubeconfig")
	for _, step := range []func(context.Context) error{
		c.writeFiles, c.startControlPlane, c.connect, c.startControllers, c.startDNS, c.startContainerd, c.loadImages, c.startNode,
	} {
		if err := step(ctx); err != nil {
			c.stop()
			return nil, fmt.Errorf("%w\n%s", err, c.logs())
		}
	}
	return c, nil
}

func (c *cluster) writeFiles(context.Context) error {
	for name, text := range files {
		parsed, err := template.New(name).Parse(text)
		if err != nil {
			return err
		}
		var out bytes.Buffer
		if err := parsed.Execute(&out, map[string]string{"Dir": c.dir, "Kubeconfig": c.kubeconfig}); err != nil {
			return err
		}
		if err := os.WriteFile(c.file(name), out.Bytes(), 0o600); err != nil {
			return err
		}
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	return os.WriteFile(c.file("service-accounts.key"), block, 0o600)
}

// delivered is a file that was built for the test.
func delivered(name string) string { return filepath.Join(os.Getenv("NODE_DIST"), name) }

func (c *cluster) file(name string) string { return filepath.Join(c.dir, name) }

// start starts a program, of assets or of the PATH, with a log in dir.
func (c *cluster) start(program string, args ...string) error {
	log, err := os.Create(c.file(filepath.Base(program) + ".log"))
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(context.Background(), program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", program, err)
	}
	c.started = append(c.started, cmd)
	return nil
}

func (c *cluster) asset(name string) string { return filepath.Join(c.assets, name) }

func (c *cluster) startControlPlane(context.Context) error {
	return errors.Join(
		c.start(c.asset("etcd"), "--data-dir="+c.file("etcd"), "--unsafe-no-fsync", "--logger=zap", "--log-level=error",
			"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379", "--listen-peer-urls=http://127.0.0.1:2380"),
		c.start(c.asset("kube-apiserver"), "--etcd-servers=http://127.0.0.1:2379", "--cert-dir="+c.file("apiserver"),
			"--advertise-address="+nodeIP, "--secure-port=6443", "--service-cluster-ip-range=203.0.113.0/24",
			"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+c.file("service-accounts.key"),
			"--service-account-signing-key-file="+c.file("service-accounts.key"), "--token-auth-file="+c.file("tokens.csv"),
			"--authorization-mode=RBAC", "--allow-privileged", "--kubelet-preferred-address-types=InternalIP"),
	)
}

// connect writes the kubeconfig and waits until the API server answers. Its certificate, for
// its address and its Service, is its own.
func (c *cluster) connect(ctx context.Context) error {
	authority := filepath.Join(c.file("apiserver"), "apiserver.crt")
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["node"] = &clientcmdapi.Cluster{Server: apiServer, CertificateAuthority: authority}
	cfg.AuthInfos["admin"] = &clientcmdapi.AuthInfo{Token: adminToken}
	cfg.Contexts["node"] = &clientcmdapi.Context{Cluster: "node", AuthInfo: "admin"}
	cfg.CurrentContext = "node"
	if err := clientcmd.WriteToFile(*cfg, c.kubeconfig); err != nil {
		return err
	}
	return c.wait(ctx, "the API server answers", func() error {
		var err error
		if c.config, err = clientcmd.BuildConfigFromFlags("", c.kubeconfig); err != nil {
			return err
		}
		c.config.QPS = -1
		scheme := runtime.NewScheme()
		if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
			return err
		}
		if c.client, err = client.New(c.config, client.Options{Scheme: scheme}); err != nil {
			return err
		}
		return c.client.Get(ctx, client.ObjectKey{Name: "kube-system"}, &corev1.Namespace{})
	})
}

func (c *cluster) startControllers(context.Context) error {
	return errors.Join(
		c.start(c.asset("kube-controller-manager"), "--kubeconfig="+c.kubeconfig, "--leader-elect=false",
			"--service-account-private-key-file="+c.file("service-accounts.key"), "--root-ca-file="+filepath.Join(c.file("apiserver"), "apiserver.crt"),
			"--cert-dir="+c.file("controllers"), "--authentication-kubeconfig="+c.kubeconfig, "--authorization-kubeconfig="+c.kubeconfig),
		c.start(c.asset("kube-scheduler"), "--kubeconfig="+c.kubeconfig, "--leader-elect=false",
			"--authentication-kubeconfig="+c.kubeconfig, "--authorization-kubeconfig="+c.kubeconfig),
	)
}

func (c *cluster) startContainerd(ctx context.Context) error {
	if err := c.start("containerd", "--config="+c.file("containerd.toml"), "--log-level=info"); err != nil {
		return err
	}
	return c.wait(ctx, "containerd answers", func() error { return c.ctr(ctx, "version") })
}

// ctr runs containerd's own client.
func (c *cluster) ctr(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "ctr", append([]string{"--address=/run/containerd/containerd.sock", "--namespace=k8s.io"}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ctr %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (c *cluster) loadImages(ctx context.Context) error {
	pause, err := os.ReadFile(os.Getenv("NODE_PAUSE"))
	if err != nil {
		return err
	}
	archive, err := imageOf(pauseImage, pause)
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.file("pause.tar"), archive, 0o600); err != nil {
		return err
	}
	for _, archive := range []string{c.file("pause.tar"), delivered("image.tar"), delivered("twiliosim.tar")} {
		if err := c.ctr(ctx, "images", "import", archive); err != nil {
			return err
		}
	}
	return nil
}

// imageOf returns an image of one program, in the form that docker save writes.
func imageOf(name string, program []byte) ([]byte, error) {
	layer, err := archived(map[string][]byte{"program": program})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(layer)
	config, err := json.Marshal(map[string]any{
		"architecture": goruntime.GOARCH, "os": "linux", "config": map[string]any{"Entrypoint": []string{"/program"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum[:])}},
	})
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{name}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return nil, err
	}
	return archived(map[string][]byte{"manifest.json": manifest, "config.json": config, "layer.tar": layer})
}

func archived(content map[string][]byte) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, data := range content {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(data))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(data); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return out.Bytes(), err
}

func (c *cluster) startNode(ctx context.Context) error {
	err := errors.Join(
		c.start(c.asset("kubelet"), "--config="+c.file("kubelet.yaml"), "--kubeconfig="+c.kubeconfig, "--hostname-override=node", "--node-ip="+nodeIP),
		c.start(c.asset("kube-proxy"), "--config="+c.file("proxy.yaml")),
	)
	if err != nil {
		return err
	}
	return c.wait(ctx, "the node is ready", func() error {
		node := &corev1.Node{}
		if err := c.client.Get(ctx, client.ObjectKey{Name: "node"}, node); err != nil {
			return err
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("it reports %+v", node.Status.Conditions)
	})
}

func (c *cluster) wait(ctx context.Context, what string, holds func() error) error {
	return testenv.Wait(ctx, patience, what, holds)
}

// stop ends the programs. What they have started ends with the namespaces.
func (c *cluster) stop() {
	for _, cmd := range c.started {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// logs are the ends of what the programs have printed.
func (c *cluster) logs() string {
	var out strings.Builder
	for _, cmd := range c.started {
		name := filepath.Base(cmd.Path)
		text, _ := os.ReadFile(c.file(name + ".log"))
		fmt.Fprintf(&out, "\n--- %s\n%s", name, text[max(0, len(text)-3000):])
	}
	return out.String()
}

const patience = 3 * time.Minute
