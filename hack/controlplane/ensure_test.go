// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controlplane tests ensure.sh: which binaries it takes, and that it leaves
// nothing half done. The go and git it finds are stand-ins, so nothing is compiled or
// downloaded here; that the real sources compile is shown by every test that needs them.
package controlplane

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// fakeGo knows the few calls the scripts make. It notes what it builds, and builds
// a program that does nothing; of setup-envtest, one that "downloads" two of those.
const fakeGo = `#!/usr/bin/env bash
case $1 in
env) case $2 in GOHOSTOS) echo plan9 ;; GOHOSTARCH) echo mips ;; esac ;;
list) echo package ;;
build)
	while [ $# -gt 0 ]; do
		case $1 in
		-o) out=$2 ;;
		-ldflags) echo "ldflags $2" >>"$LOG" ;;
		esac
		shift
	done
	name=${out##*/}
	echo "build $name" >>"$LOG"
	if [ "$name" = "$BROKEN" ]; then echo "does not compile" >&2; exit 1; fi
	sleep 0.3
	printf '#!/bin/sh\nmkdir -p "$4/k8s" && cp "$0" "$4/k8s/etcd" && cp "$0" "$4/k8s/kube-apiserver" && printf %%s "$4/k8s"\n' >"$out"
	chmod +x "$out" ;;
esac
`

// stands holds the stand-ins. They are written before any test runs: a test that writes
// a program while another starts one may find its own "busy".
var stands string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "stand-ins")
	if err != nil {
		panic(err)
	}
	stands = dir
	for name, content := range map[string]string{
		"go":          fakeGo,
		"git-online":  "#!/bin/sh\nexit 0\n",
		"git-offline": "#!/bin/sh\nexit 128\n",
	} {
		if err := os.WriteFile(filepath.Join(stands, name), []byte(content), 0o755); err != nil {
			panic(err)
		}
	}
	status := m.Run()
	os.RemoveAll(stands)
	os.Exit(status)
}

// machine is a home and a PATH on which ensure.sh runs.
type machine struct {
	t    *testing.T
	dir  string
	env  []string
	logs string
}

// programs are what the scripts use beside bash's own.
var programs = []string{
	"awk", "bash", "cat", "chmod", "cp", "dirname", "env", "grep", "mkdir", "mktemp", "mv", "rm", "sh", "sleep", "tail", "tr", "wc",
}

// newMachine returns a machine that reaches the downloads of setup-envtest if network is
// "online", and has the given programs beside those that are always there.
func newMachine(t *testing.T, network string, has ...string) *machine {
	t.Helper()
	m := &machine{t: t, dir: t.TempDir()}
	m.logs = filepath.Join(m.dir, "log")
	bin := filepath.Join(m.dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	link(t, filepath.Join(stands, "go"), filepath.Join(bin, "go"))
	link(t, filepath.Join(stands, "git-"+network), filepath.Join(bin, "git"))
	for _, name := range append(has, programs...) {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatalf("the scripts need %s: %v", name, err)
		}
		link(t, path, filepath.Join(bin, name))
	}
	m.env = []string{"PATH=" + bin, "HOME=" + m.dir, "TMPDIR=" + m.dir, "LOG=" + m.logs}
	return m
}

// ensure runs ensure.sh and returns what it printed on stdout.
func (m *machine) ensure(env []string, args ...string) (string, error) {
	var out, errs bytes.Buffer
	command := exec.Command("./ensure.sh", args...)
	command.Env = append(slices.Clone(m.env), env...)
	command.Stdout, command.Stderr = &out, &errs
	err := command.Run()
	if err != nil {
		m.t.Logf("stderr of ensure.sh:\n%s", &errs)
	}
	return out.String(), err
}

// mustEnsure is ensure for where it has to succeed; it returns the folder.
func (m *machine) mustEnsure(env []string, args ...string) string {
	m.t.Helper()
	out, err := m.ensure(env, args...)
	if err != nil {
		m.t.Fatalf("ensure.sh %v: %v", args, err)
	}
	folder, rest, _ := strings.Cut(out, "\n")
	if rest != "" {
		m.t.Fatalf("ensure.sh printed more than the folder on stdout: %q", out)
	}
	return folder
}

// built returns what was built so far, in order.
func (m *machine) built() []string {
	var names []string
	for line := range strings.Lines(m.log()) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "build "); ok {
			names = append(names, name)
		}
	}
	return names
}

func (m *machine) log() string {
	content, err := os.ReadFile(m.logs)
	if err != nil && !os.IsNotExist(err) {
		m.t.Fatal(err)
	}
	return string(content)
}

func (m *machine) wantBuilt(want ...string) {
	m.t.Helper()
	if got := m.built(); !slices.Equal(got, want) {
		m.t.Errorf("built %q, want %q", got, want)
	}
}

// wantFolder checks that folder holds exactly the named programs, and the cache
// beside it nothing of an unfinished build.
func (m *machine) wantFolder(folder string, want ...string) {
	m.t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		m.t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	if !slices.Equal(got, want) {
		m.t.Errorf("%s holds %q, want %q", folder, got, want)
	}
	m.wantNothingUnfinished()
}

func (m *machine) wantNothingUnfinished() {
	m.t.Helper()
	leftovers, err := filepath.Glob(filepath.Join(m.dir, ".cache/twilio-addon-operator/controlplane/build.*"))
	if err != nil || len(leftovers) > 0 {
		m.t.Errorf("left behind: %q (%v)", leftovers, err)
	}
}

func link(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Symlink(from, to); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestAssetsOfTheUserComeFirst(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "offline")
	assets := filepath.Join(m.dir, "assets")
	write(t, filepath.Join(assets, "etcd"), "")
	write(t, filepath.Join(assets, "kube-apiserver"), "")
	env := []string{"KUBEBUILDER_ASSETS=" + assets}

	if got := m.mustEnsure(env); got != assets {
		t.Errorf("got %q, want the user's %q", got, assets)
	}
	m.wantBuilt()

	folder := m.mustEnsure(env, "--with-controller-manager")
	if folder == assets {
		t.Error("took the user's folder, which has no kube-controller-manager")
	}
	m.wantFolder(folder, "etcd", "kube-apiserver", "kube-controller-manager")
	m.wantFolder(assets, "etcd", "kube-apiserver")
}

func TestCompilesOnceAndOnlyWhatIsMissing(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "offline")
	folder := m.mustEnsure(nil)
	m.wantFolder(folder, "etcd", "kube-apiserver")
	m.wantBuilt("etcd", "kube-apiserver")

	if again := m.mustEnsure(nil); again != folder {
		t.Errorf("the second time in %q, the first in %q", again, folder)
	}
	m.wantBuilt("etcd", "kube-apiserver")

	if again := m.mustEnsure(nil, "--with-controller-manager"); again != folder {
		t.Errorf("the controller manager in %q, the rest in %q", again, folder)
	}
	m.wantFolder(folder, "etcd", "kube-apiserver", "kube-controller-manager")
	m.wantBuilt("etcd", "kube-apiserver", "kube-controller-manager")
}

func TestFolderAndVersionStampFollowTheModule(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "offline")
	folder := filepath.Base(m.mustEnsure(nil))
	module, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	kubernetes := pinned(t, string(module), "k8s.io/kubernetes")
	etcd := pinned(t, string(module), "go.etcd.io/etcd/server/v3")
	if want := kubernetes + "-etcd-" + etcd + "-plan9-mips"; folder != want {
		t.Errorf("folder %q, want %q", folder, want)
	}
	for _, want := range []string{
		"k8s.io/component-base/version.gitVersion=" + kubernetes,
		"k8s.io/component-base/version.gitMajor=1",
		"k8s.io/component-base/version.gitMinor=" + strings.Split(kubernetes, ".")[1],
	} {
		if !strings.Contains(m.log(), want+" ") {
			t.Errorf("not stamped: %s", want)
		}
	}
}

// TestStagingModulesAreOfTheSameRelease guards an update that forgets some: k8s.io/api
// v0.X.Y belongs to Kubernetes v1.X.Y.
func TestStagingModulesAreOfTheSameRelease(t *testing.T) {
	t.Parallel()
	module, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	want := "v0" + strings.TrimPrefix(pinned(t, string(module), "k8s.io/kubernetes"), "v1")
	replaced := 0
	for line := range strings.Lines(string(module)) {
		from, to, ok := strings.Cut(strings.TrimSpace(line), " => ")
		if !ok {
			continue
		}
		replaced++
		if to != from+" "+want {
			t.Errorf("%s is replaced by %q, want %s", from, to, want)
		}
	}
	if replaced == 0 {
		t.Error("no staging module is replaced")
	}
}

func pinned(t *testing.T, module, path string) string {
	t.Helper()
	for line := range strings.Lines(module) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == path {
			return fields[1]
		}
	}
	t.Fatalf("go.mod does not require %s", path)
	return ""
}

func TestDownloadsWhereItCan(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "online")
	folder := m.mustEnsure(nil)
	m.wantFolder(folder, "etcd", "kube-apiserver")
	m.wantBuilt("setup-envtest")

	if again := m.mustEnsure(nil, "--with-controller-manager"); again != folder {
		t.Errorf("the controller manager in %q, the rest in %q", again, folder)
	}
	m.wantBuilt("setup-envtest", "kube-controller-manager")
	m.wantFolder(folder, "etcd", "kube-apiserver", "kube-controller-manager")
}

func TestCompilesIfTheDownloadFails(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "online")
	folder := m.mustEnsure([]string{"BROKEN=setup-envtest"})
	m.wantFolder(folder, "etcd", "kube-apiserver")
	m.wantBuilt("setup-envtest", "etcd", "kube-apiserver")
}

func TestFailureLeavesNothing(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "offline")
	out, err := m.ensure([]string{"BROKEN=kube-apiserver"})
	if err == nil || out != "" {
		t.Errorf("got %q and error %v, want an error and nothing on stdout", out, err)
	}
	m.wantNothingUnfinished()
	m.mustEnsure(nil)
	m.wantBuilt("etcd", "kube-apiserver", "etcd", "kube-apiserver")
}

func TestUnknownArgumentIsRefused(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "offline")
	if out, err := m.ensure(nil, "--with-everything"); err == nil || out != "" {
		t.Errorf("got %q and error %v, want an error and nothing on stdout", out, err)
	}
	m.wantBuilt()
}

func TestClonesBuildOneAtATime(t *testing.T) {
	t.Parallel()
	for name, has := range map[string][]string{"by flock": {"flock"}, "without flock": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath("flock"); err != nil {
				has = nil
			}
			m := newMachine(t, "offline", has...)
			var clones sync.WaitGroup
			for range 3 {
				clones.Go(func() {
					if _, err := m.ensure(nil); err != nil {
						t.Errorf("ensure.sh: %v", err)
					}
				})
			}
			clones.Wait()
			m.wantBuilt("etcd", "kube-apiserver")
			m.wantNothingUnfinished()
		})
	}
}

func TestLockOfADeadProcessIsTakenOver(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "offline")
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	lock := filepath.Join(m.dir, ".cache/twilio-addon-operator/controlplane/lock.d")
	write(t, filepath.Join(lock, "pid"), strconv.Itoa(dead.Process.Pid))
	m.mustEnsure(nil)
	m.wantBuilt("etcd", "kube-apiserver")
}
