// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package devbuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// The programs of the control plane.
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
)

// The programs that a node and its pods need besides.
const (
	Scheduler = "kube-scheduler"
	Kubelet   = "kubelet"
	KubeProxy = "kube-proxy"
)

// controlPlaneModule pins the versions of the control plane.
const controlPlaneModule = "hack/controlplane"

// reachabilityTimeout bounds the look whether setup-envtest's downloads can be reached.
const reachabilityTimeout = 5 * time.Second

// ControlPlane returns a folder that holds etcd, kube-apiserver and the other programs
// that are asked for, for KUBEBUILDER_ASSETS. The first that has them wins:
//
//  1. $KUBEBUILDER_ASSETS
//  2. a cache folder in the user's home, which all clones share
//  3. setup-envtest, where its downloads can be reached
//  4. a compilation from the modules pinned in hack/controlplane/go.mod
//
// setup-envtest has no kube-controller-manager, so that one is always compiled. Progress
// goes to out. An interrupt (SIGINT, SIGTERM, SIGHUP) leaves nothing behind and ends with
// ErrInterrupted.
func ControlPlane(ctx context.Context, out io.Writer, programs ...string) (string, error) {
	c, err := newControlPlane(out)
	if err != nil {
		return "", err
	}
	wanted := append([]string{Etcd, APIServer}, programs...)
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		if hasAll(dir, wanted) {
			return dir, nil
		}
		c.say("KUBEBUILDER_ASSETS (%s) lacks one of %s; looking elsewhere", dir, strings.Join(wanted, ", "))
	}
	if dir := c.cached(wanted); dir != "" {
		return dir, nil
	}
	ctx, stop := catchInterrupts(ctx)
	defer stop()
	return c.obtain(ctx, wanted)
}

// controlPlane is where the programs come from and where they are kept.
type controlPlane struct {
	out io.Writer
	// kubernetes and etcd are versions, as in v1.2.3; minor is as in 1.2.
	kubernetes, etcd, minor string
	// compiled and fetched are the folders of the two sources in the folder cache.
	cache, compiled, fetched string
}

func newControlPlane(out io.Writer) (*controlPlane, error) {
	goMod, err := os.ReadFile(filepath.Join(inRoot(controlPlaneModule), "go.mod"))
	if err != nil {
		return nil, err
	}
	c := &controlPlane{out: out, kubernetes: pinned(goMod, "k8s.io/kubernetes"), etcd: pinned(goMod, "go.etcd.io/etcd/server/v3")}
	if c.kubernetes == "" || c.etcd == "" {
		return nil, fmt.Errorf("%s/go.mod does not require k8s.io/kubernetes and go.etcd.io/etcd/server/v3", controlPlaneModule)
	}
	c.minor = strings.TrimPrefix(c.kubernetes[:strings.LastIndex(c.kubernetes, ".")], "v")
	// The same folder on every system, so not os.UserCacheDir.
	home := os.Getenv("XDG_CACHE_HOME")
	if home == "" {
		dir, err := os.UserHomeDir()
		if err != nil {
			return nil, fmt.Errorf("no folder for the control plane: %w", err)
		}
		home = filepath.Join(dir, ".cache")
	}
	c.cache = filepath.Join(home, "twilio-addon-operator", "controlplane")
	platform := runtime.GOOS + "-" + runtime.GOARCH
	c.compiled = filepath.Join(c.cache, c.kubernetes+"-etcd-"+c.etcd+"-"+platform)
	c.fetched = filepath.Join(c.cache, "setup-envtest-"+c.minor+".x-"+platform)
	return c, nil
}

// pinned is the version of a module in a go.mod; empty if it is not required.
func pinned(goMod []byte, module string) string {
	for line := range strings.Lines(string(goMod)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == module && strings.HasPrefix(fields[1], "v") {
			return fields[1]
		}
	}
	return ""
}

func (c *controlPlane) say(format string, args ...any) {
	fmt.Fprintf(c.out, "control plane: "+format+"\n", args...)
}

// cached is the folder of the cache that has every program; empty if none has.
func (c *controlPlane) cached(programs []string) string {
	for _, dir := range []string{c.compiled, c.fetched} {
		if hasAll(dir, programs) {
			return dir
		}
	}
	return ""
}

// obtain fills the cache, one clone at a time, and returns the folder that has every program.
func (c *controlPlane) obtain(ctx context.Context, programs []string) (string, error) {
	if err := os.MkdirAll(c.cache, 0o755); err != nil {
		return "", err
	}
	unlock, err := Lock(ctx, filepath.Join(c.cache, "lock"), func() { c.say("waiting for another build of the control plane") })
	if err != nil {
		return "", err
	}
	defer unlock()
	if dir := c.cached(programs); dir != "" {
		return dir, nil
	}
	if err := c.removeUnfinished(); err != nil {
		return "", err
	}
	scratch, err := os.MkdirTemp(c.cache, "build.")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(scratch) }()

	dir, basic := c.compiled, []string{Etcd, APIServer}
	if !hasAll(c.compiled, basic) && (hasAll(c.fetched, basic) || c.fetch(ctx, scratch)) {
		dir = c.fetched
	}
	missing := slices.DeleteFunc(slices.Clone(programs), func(name string) bool { return hasAll(dir, []string{name}) })
	if len(missing) == 0 {
		return dir, nil
	}
	return dir, c.compile(ctx, filepath.Join(scratch, "bin"), dir, missing)
}

// removeUnfinished removes what builds left that were killed. The caller holds the lock.
func (c *controlPlane) removeUnfinished() error {
	unfinished, err := filepath.Glob(filepath.Join(c.cache, "build.*"))
	for _, dir := range unfinished {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// fetch downloads what setup-envtest has for this minor version, and says whether it
// could.
func (c *controlPlane) fetch(ctx context.Context, scratch string) bool {
	if !downloadsReachable(ctx) {
		return false
	}
	c.say("downloading Kubernetes %s.x with setup-envtest", c.minor)
	setup := filepath.Join(scratch, "setup-envtest")
	err := Build(ctx, c.out, &Target{
		Name: "control plane: setup-envtest", Module: "hack/tools", Host: true,
		Packages: []string{"sigs.k8s.io/controller-runtime/tools/setup-envtest"}, Output: setup,
	})
	if err == nil {
		err = c.fetchWith(ctx, setup, scratch)
	}
	if err != nil {
		c.say("the download failed: %v", err)
	}
	return err == nil
}

func (c *controlPlane) fetchWith(ctx context.Context, setup, scratch string) error {
	use := command(ctx, setup, "use", c.minor+".x", "--bin-dir", scratch, "--print", "path")
	use.Stderr = c.out
	out, err := use.Output()
	if err != nil {
		return err
	}
	found := strings.TrimSpace(string(out))
	if !hasAll(found, []string{Etcd, APIServer}) {
		return fmt.Errorf("%s lacks %s or %s", found, Etcd, APIServer)
	}
	if err := makeWritable(found); err != nil {
		return err
	}
	return publish(found, c.fetched)
}

// downloadsReachable says whether GitHub, which serves setup-envtest's archives, answers
// in time: it would cost a minute to build setup-envtest only to see it fail. It asks with
// git, which is there and knows the proxies.
func downloadsReachable(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, reachabilityTimeout)
	defer cancel()
	probe := command(ctx, "git", "ls-remote", "--quiet", "--exit-code", "https://github.com/kubernetes-sigs/controller-tools", "HEAD")
	probe.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0")
	return probe.Run() == nil
}

// compile builds the named programs and adds them to the folder.
func (c *controlPlane) compile(ctx context.Context, scratch, dir string, names []string) error {
	c.say("compiling %s (Kubernetes %s, etcd %s) for %s/%s", strings.Join(names, ", "), c.kubernetes, c.etcd, runtime.GOOS, runtime.GOARCH)
	c.say("this takes 5 to 10 minutes on two cores, once; the result is kept in %s", dir)
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		return err
	}
	for _, name := range names {
		err := Build(ctx, c.out, &Target{
			Name: "control plane: " + name, Module: controlPlaneModule, Host: true,
			Packages: []string{packageOf(name)}, LDFlags: c.ldflags(), Output: filepath.Join(scratch, name),
		})
		if err != nil {
			return err
		}
	}
	if err := publish(scratch, dir); err != nil {
		return err
	}
	c.say("ready in %s", dir)
	return nil
}

func packageOf(name string) string {
	if name == Etcd {
		return "go.etcd.io/etcd/server/v3"
	}
	return "k8s.io/kubernetes/cmd/" + name
}

// ldflags strips the programs and stamps the version, without which kube-apiserver
// reports v0.0.0-master.
func (c *controlPlane) ldflags() string {
	major, minor, _ := strings.Cut(c.minor, ".")
	flags := []string{"-s -w"}
	for _, p := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		flags = append(flags, fmt.Sprintf("-X %[1]s.gitVersion=%[2]s -X %[1]s.gitMajor=%[3]s -X %[1]s.gitMinor=%[4]s -X %[1]s.gitCommit= -X %[1]s.gitTreeState=clean",
			p, c.kubernetes, major, minor))
	}
	return strings.Join(flags, " ")
}

// publish moves the files of one folder into another on the same file system, each in one
// step, so that a reader sees a whole program or none.
func publish(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	files, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := os.Rename(filepath.Join(from, file.Name()), filepath.Join(to, file.Name())); err != nil {
			return err
		}
	}
	return nil
}

// makeWritable lets the owner remove what setup-envtest has made read-only.
func makeWritable(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		return os.Chmod(path, info.Mode().Perm()|0o200)
	})
}

// hasAll says whether a folder holds every named program.
func hasAll(dir string, programs []string) bool {
	return !slices.ContainsFunc(programs, func(name string) bool {
		_, err := exec.LookPath(filepath.Join(dir, name))
		return err != nil
	})
}
