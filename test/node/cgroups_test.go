//go:build !node

// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package node tests the scripts that make the node. The tests on the node itself have the
// build tag node.
package node

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tree writes a folder that looks like /sys/fs/cgroup.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// shell runs functions of cgroups.sh and returns what they print.
func shell(t *testing.T, script string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "bash", append([]string{"-euc", ". ./cgroups.sh; " + script, "bash"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestCgroupVersion(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		want  string
	}{
		"of version 1":                     {map[string]string{"memory/cgroup.procs": "", "cpu/cgroup.procs": ""}, "1"},
		"of version 2":                     {map[string]string{"cgroup.controllers": "cpu memory\n", "user.slice/cgroup.procs": ""}, "2"},
		"hybrid: the controllers are in 1": {map[string]string{"memory/cgroup.procs": "", "unified/cgroup.controllers": "\n"}, "1"},
		"none":                             {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := shell(t, `cgroup_version "$1"`, tree(t, test.files)); got != test.want {
				t.Errorf("the version is %q, want %q", got, test.want)
			}
		})
	}
}

func TestMissingControllers(t *testing.T) {
	for have, want := range map[string]string{
		"cpuset cpu io memory hugetlb pids rdma misc": "",
		"memory pids":    "cpuset cpu",
		"cpuset cpuacct": "cpu memory pids", // not the beginning of a name
		"":               "cpuset cpu memory pids",
	} {
		if got := shell(t, `missing_controllers "$1"`, tree(t, map[string]string{"cgroup.controllers": have + "\n"})); got != want {
			t.Errorf("of %q there lack %q, want %q", have, got, want)
		}
	}
}

// The processes go to a leaf, and the controllers that a kubelet knows to the children.
func TestDelegate(t *testing.T) {
	root := tree(t, map[string]string{
		"cgroup.controllers": "cpuset cpu io memory hugetlb pids rdma misc\n", "cgroup.procs": "17\n", "cgroup.subtree_control": "",
	})
	shell(t, `vacate "$1"; delegate "$1"`, root)
	for name, want := range map[string]string{"init/cgroup.procs": "17\n", "cgroup.subtree_control": "+cpuset +cpu +io +memory +hugetlb +pids\n"} {
		if got, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(got) != want {
			t.Errorf("%s holds %q (%v), want %q", name, got, err, want)
		}
	}
}

// The node has a cgroup in each hierarchy of version 1, and one of version 2.
func TestOwnCgroups(t *testing.T) {
	v1 := tree(t, map[string]string{"memory/cgroup.procs": "", "cpuset/cgroup.procs": "", "cpuset/cpuset.cpus": "0-1\n", "cpuset/cpuset.mems": "0\n", "not-a-hierarchy/x": ""})
	v2 := tree(t, map[string]string{"cgroup.controllers": "cpu\n", "cgroup.procs": "", "system.slice/cgroup.procs": ""})
	for _, test := range []struct{ version, root, want string }{
		{"1", v1, v1 + "/cpuset/own\n" + v1 + "/memory/own"},
		{"2", v2, v2 + "/own"},
	} {
		if got := shell(t, `make_cgroups "$1" "$2" own; own_cgroups "$2" own`, test.version, test.root); got != test.want {
			t.Errorf("version %s: the node's cgroups are %q, want %q", test.version, got, test.want)
		}
	}
	shell(t, `remove_cgroups "$1" own`, v2)
	if _, err := os.Stat(filepath.Join(v2, "own")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is not removed: %v", err)
	}
	if got, err := os.ReadFile(filepath.Join(v1, "cpuset", "own", "cpuset.cpus")); err != nil || string(got) != "0-1\n" {
		t.Errorf("its processors are %q (%v)", got, err)
	}
}

// Where the node cannot run, its tests are skipped, or fail if somebody counts on them.
func TestRequireNode(t *testing.T) {
	for value, want := range map[string]int{"": 0, "1": 1} {
		cmd := exec.CommandContext(t.Context(), "./run.sh", "assets", "test", "pause", "dist")
		cmd.Env = append(os.Environ(), "NODE_CGROUPS="+tree(t, nil), "REQUIRE_NODE="+value)
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != want || strings.Contains(string(out), "skipped") != (want == 0) {
			t.Errorf("with REQUIRE_NODE=%q the status is %d, want %d: %s", value, got, want, out)
		}
	}
}
