// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The tests run dev as a process of its own, with a go and a git that are stand-ins. So
// nothing is compiled or downloaded here; that the real sources compile is shown by every
// test that needs them. All of these programs are this test's own, which looks at the name
// under which it was started.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "dev":
		main()
	case "go":
		fakeGo(os.Args[1:])
	case "git":
		fakeGit()
	case "setup-envtest":
		fakeSetupEnvtest(os.Args[1:])
	default:
		os.Exit(m.Run())
	}
}

// fakeGo knows the calls that dev makes. It notes what it builds in $LOG; a program that
// it builds is a link to this test. It does not finish what $HANGING names, and fails at
// what $BROKEN names.
func fakeGo(args []string) {
	switch args[0] {
	case "list":
		fmt.Println("a/package")
	case "build":
		out := args[slices.Index(args, "-o")+1]
		name := filepath.Base(out)
		note("build " + name + " for " + os.Getenv("GOOS") + " in " + filepath.Base(workingDir()))
		if at := slices.Index(args, "-ldflags"); at >= 0 {
			note("ldflags " + args[at+1] + " ")
		}
		fmt.Fprintln(os.Stderr, "a/package")
		switch name {
		case os.Getenv("BROKEN"):
			fmt.Fprint(os.Stderr, "# a/package\nfile.go:1:1: does not compile")
			os.Exit(1)
		case os.Getenv("HANGING"):
			note("hanging " + strconv.Itoa(os.Getpid()))
			time.Sleep(time.Hour)
		}
		time.Sleep(100 * time.Millisecond) // long enough for others to come in between
		mustDo(os.Symlink(self(), out))
	}
	os.Exit(0)
}

// fakeGit answers as if GitHub was reached, or not, or as if nothing came back.
func fakeGit() {
	switch os.Getenv("NETWORK") {
	case "online":
		os.Exit(0)
	case "silent":
		note("asking " + strconv.Itoa(os.Getpid()))
		time.Sleep(time.Hour)
	}
	os.Exit(128)
}

// fakeSetupEnvtest "downloads" two programs into a folder that is read-only, as the real
// one does.
func fakeSetupEnvtest(args []string) {
	dir := filepath.Join(args[slices.Index(args, "--bin-dir")+1], "k8s")
	mustDo(os.Mkdir(dir, 0o755))
	for _, name := range []string{"etcd", "kube-apiserver"} {
		mustDo(os.WriteFile(filepath.Join(dir, name), nil, 0o555))
	}
	mustDo(os.Chmod(dir, 0o555))
	fmt.Print(dir)
	os.Exit(0)
}

func note(line string) {
	log, err := os.OpenFile(os.Getenv("LOG"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	mustDo(err)
	_, err = log.WriteString(line + "\n")
	mustDo(err)
}

func mustDo(err error) {
	if err != nil {
		panic(err)
	}
}

func self() string {
	path, err := os.Executable()
	mustDo(err)
	return path
}

func workingDir() string {
	dir, err := os.Getwd()
	mustDo(err)
	return dir
}

// machine is a home and a PATH on which dev runs.
type machine struct {
	t              *testing.T
	dir, dev, logs string
	env            []string
}

// newMachine returns a machine that reaches the downloads of setup-envtest if network is
// "online".
func newMachine(t *testing.T, network string) *machine {
	t.Helper()
	m := &machine{t: t, dir: t.TempDir()}
	bin := filepath.Join(m.dir, "bin")
	m.logs, m.dev = filepath.Join(m.dir, "log"), filepath.Join(bin, "dev")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dev", "go", "git"} {
		if err := os.Symlink(self(), filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	m.env = []string{"PATH=" + bin, "HOME=" + m.dir, "TMPDIR=" + m.dir, "LOG=" + m.logs, "NETWORK=" + network}
	return m
}

// command is dev control-plane, with more in its environment.
func (m *machine) command(env []string, args ...string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	cmd = exec.CommandContext(m.t.Context(), m.dev, append([]string{"control-plane"}, args...)...)
	cmd.Env = append(slices.Clone(m.env), env...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd, stdout, stderr
}

// ensure runs dev control-plane and returns what it printed.
func (m *machine) ensure(env []string, args ...string) (stdout, stderr string, err error) {
	cmd, out, errs := m.command(env, args...)
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// mustEnsure is ensure for where it has to succeed; it returns the folder.
func (m *machine) mustEnsure(env []string, args ...string) string {
	m.t.Helper()
	out, errs, err := m.ensure(env, args...)
	if err != nil {
		m.t.Fatalf("dev control-plane %v: %v\n%s", args, err, errs)
	}
	folder, rest, _ := strings.Cut(out, "\n")
	if rest != "" {
		m.t.Fatalf("dev control-plane printed more than the folder on stdout: %q", out)
	}
	return folder
}

func (m *machine) log() string {
	content, err := os.ReadFile(m.logs)
	if err != nil && !os.IsNotExist(err) {
		m.t.Fatal(err)
	}
	return string(content)
}

// noted returns the first word after each note that begins with verb, in order.
func (m *machine) noted(verb string) []string {
	var names []string
	for line := range strings.Lines(m.log()) {
		if fields := strings.Fields(line); fields[0] == verb {
			names = append(names, fields[1])
		}
	}
	return names
}

// awaitNoted waits for the first note that begins with verb.
func (m *machine) awaitNoted(verb string) string {
	m.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if names := m.noted(verb); len(names) > 0 {
			return names[0]
		}
	}
	m.t.Fatalf("waited in vain for %q in:\n%s", verb, m.log())
	return ""
}

func (m *machine) wantBuilt(want ...string) {
	m.t.Helper()
	if got := m.noted("build"); !slices.Equal(got, want) {
		m.t.Errorf("built %q, want %q", got, want)
	}
}

// wantFolder checks that a folder holds exactly the named programs, and that the cache
// holds nothing of an unfinished build.
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

func (m *machine) cache() string {
	return filepath.Join(m.dir, ".cache", "twilio-addon-operator", "controlplane")
}

func (m *machine) wantNothingUnfinished() {
	m.t.Helper()
	leftovers, err := filepath.Glob(filepath.Join(m.cache(), "build.*"))
	if err != nil || len(leftovers) > 0 {
		m.t.Errorf("left behind: %q (%v)", leftovers, err)
	}
}

func TestAssetsOfTheUserComeFirst(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "offline")
	assets := filepath.Join(m.dir, "assets")
	if err := os.Mkdir(assets, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"etcd", "kube-apiserver"} {
		if err := os.WriteFile(filepath.Join(assets, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
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

	if again := m.mustEnsure(nil, "--with-node"); again != folder {
		t.Errorf("the kubelet in %q, the rest in %q", again, folder)
	}
	m.wantBuilt("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
}

func TestCacheFollowsXDG(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "offline")
	xdg := filepath.Join(m.dir, "elsewhere")
	folder := m.mustEnsure([]string{"XDG_CACHE_HOME=" + xdg})
	if want := filepath.Join(xdg, "twilio-addon-operator", "controlplane"); filepath.Dir(folder) != want {
		t.Errorf("the folder is %q, want one in %q", folder, want)
	}
}

// TestBuildsForThisMachine checks that GOOS and GOARCH do not affect the control plane.
func TestBuildsForThisMachine(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "offline")
	folder := m.mustEnsure([]string{"GOOS=plan9", "GOARCH=mips"})
	if !strings.HasSuffix(folder, "-"+runtime.GOOS+"-"+runtime.GOARCH) {
		t.Errorf("the folder is %q, want one for this machine", folder)
	}
	if want := "build etcd for  in controlplane\n"; !strings.Contains(m.log(), want) {
		t.Errorf("want %q in:\n%s", want, m.log())
	}
}

func TestFolderAndVersionStampFollowTheModule(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "offline")
	folder := filepath.Base(m.mustEnsure(nil))
	module := controlPlaneGoMod(t)
	kubernetes := pinned(t, module, "k8s.io/kubernetes")
	etcd := pinned(t, module, "go.etcd.io/etcd/server/v3")
	if want := kubernetes + "-etcd-" + etcd + "-" + runtime.GOOS + "-" + runtime.GOARCH; folder != want {
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
	module := controlPlaneGoMod(t)
	want := "v0" + strings.TrimPrefix(pinned(t, module, "k8s.io/kubernetes"), "v1")
	replaced := 0
	for line := range strings.Lines(module) {
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

func controlPlaneGoMod(t *testing.T) string {
	t.Helper()
	module, err := os.ReadFile(filepath.Join("..", "controlplane", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	return string(module)
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

func TestCompilesIfTheDownloadDoesNotAnswer(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "silent")
	m.mustEnsure(nil)
	m.wantBuilt("etcd", "kube-apiserver")
	m.wantEnded(m.awaitNoted("asking"))
}

func TestFailureLeavesNothing(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "offline")
	out, errs, err := m.ensure([]string{"BROKEN=kube-apiserver"})
	if err == nil || out != "" {
		t.Errorf("got %q and error %v, want an error and nothing on stdout", out, err)
	}
	if !strings.Contains(errs, "\n# a/package\nfile.go:1:1: does not compile\n") || strings.Contains(errs, "\na/package\n") {
		t.Errorf("want what the compiler said, without what it had compiled; got:\n%s", errs)
	}
	m.wantNothingUnfinished()
	m.mustEnsure(nil)
	m.wantBuilt("etcd", "kube-apiserver", "etcd", "kube-apiserver")
}

// TestInterruptLeavesNothing ends dev alone, as kill does: a Ctrl-C would reach the
// compiler by itself.
func TestInterruptLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, "offline")
			cmd, stdout, stderr := m.command([]string{"HANGING=kube-apiserver"})
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			compiler := m.awaitNoted("hanging")
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // its status is looked at
			if code := cmd.ProcessState.ExitCode(); code != 130 || stdout.Len() > 0 {
				t.Errorf("ended with %d and %q on stdout, want 130 and nothing; stderr:\n%s", code, stdout, stderr)
			}
			m.wantEnded(compiler)
			m.wantNothingUnfinished()
			if got := m.mustEnsure(nil); len(m.noted("build")) != 4 {
				t.Errorf("%s was not built anew:\n%s", got, m.log())
			}
		})
	}
}

// wantEnded checks that a process is gone.
func (m *machine) wantEnded(pid string) {
	m.t.Helper()
	id, err := strconv.Atoi(pid)
	if err != nil {
		m.t.Fatal(err)
	}
	if err := syscall.Kill(id, 0); !errors.Is(err, syscall.ESRCH) {
		m.t.Errorf("process %d still runs (%v)", id, err)
	}
}

func TestUnknownArgumentIsRefused(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "offline")
	if out, errs, err := m.ensure(nil, "--with-everything"); err == nil || out != "" || !strings.Contains(errs, "usage:") {
		t.Errorf("got %q, %q and error %v, want an error, the usage and nothing on stdout", out, errs, err)
	}
	m.wantBuilt()
}

func TestClonesBuildOneAtATime(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "offline")
	var clones sync.WaitGroup
	for range 3 {
		clones.Go(func() {
			if _, errs, err := m.ensure(nil); err != nil {
				t.Errorf("%v\n%s", err, errs)
			}
		})
	}
	clones.Wait()
	m.wantBuilt("etcd", "kube-apiserver")
	m.wantNothingUnfinished()
}

// TestWaitingCanBeInterrupted has one process hold the lock, and interrupts another.
func TestWaitingCanBeInterrupted(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "offline")
	holder, _, _ := m.command([]string{"HANGING=etcd"})
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	m.awaitNoted("hanging")
	waiter, _, _ := m.command(nil)
	says := make(chan string, 1)
	waiter.Stderr = firstWrite(says)
	if err := waiter.Start(); err != nil {
		t.Fatal(err)
	}
	if said := <-says; !strings.Contains(said, "waiting for another build") {
		t.Errorf("it said %q, want that it waits", said)
	}
	if err := waiter.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = waiter.Wait() // its status is looked at
	if code := waiter.ProcessState.ExitCode(); code != 130 {
		t.Errorf("ended with %d, want 130", code)
	}
	if err := holder.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait() // it was interrupted
	m.wantNothingUnfinished()
}

// firstWrite sends the first text that is written to it.
type firstWrite chan string

func (w firstWrite) Write(text []byte) (int, error) {
	select {
	case w <- string(text):
	default:
	}
	return len(text), nil
}

// TestDeathReleasesTheLock kills a process in the middle of its build.
func TestDeathReleasesTheLock(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "offline")
	cmd, _, _ := m.command([]string{"HANGING=etcd"})
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	compiler, err := strconv.Atoi(m.awaitNoted("hanging"))
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// Its compiler survives it, and holds its stderr: that is all that has to be ended here.
	if err := syscall.Kill(compiler, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	m.mustEnsure(nil)
	m.wantBuilt("etcd", "etcd", "kube-apiserver")
	m.wantNothingUnfinished()
}
