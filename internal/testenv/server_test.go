// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// helper is set in a process that TestInterrupt starts.
const helper = "TESTENV_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helper) == "" {
		os.Exit(m.Run())
	}
	Exit(WithControlPlane(context.Background(), func(s *Server) (int, error) {
		fmt.Println(s.ControlPlane.Etcd.URL.Host, strings.TrimPrefix(s.Config.Host, "https://"))
		select {}
	}))
}

// TestFailedStart starts control planes that fail at different points: before the API
// server serves, and after.
func TestFailedStart(t *testing.T) {
	cases := map[string]struct {
		spoil func(*Server)
		says  string
	}{
		"the API server refuses a flag": {
			func(s *Server) {
				s.Environment.ControlPlane.GetAPIServer().Configure().Set("no-such-flag", "true")
			},
			"unknown flag: --no-such-flag",
		},
		"there are no CRDs": {
			func(s *Server) { s.CRDDirectoryPaths = []string{filepath.Join(t.TempDir(), "nothing")} },
			"nothing",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s, err := ControlPlane(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			c.spoil(s)
			_, err = s.Start()
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Start returned %v, want an error that says %q", err, c.says)
			}
			wantNoChildren(t)
		})
	}
}

// wantNoChildren checks that no process that this one has started is left.
func wantNoChildren(t *testing.T) {
	t.Helper()
	pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
	if !errors.Is(err, syscall.ECHILD) {
		t.Errorf("a child process is left (%d, %v)", pid, err)
	}
}

// TestStop is what TestFailedStart is compared with: while a control plane runs there are
// children, and then none.
func TestStop(t *testing.T) {
	s, err := ControlPlane(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != nil || pid != 0 {
		t.Errorf("wait4 returned %d, %v while the control plane runs, want children that run", pid, err)
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	wantNoChildren(t)
}

// TestInterrupt interrupts a test program and checks that its etcd and kube-apiserver end.
func TestInterrupt(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), helper+"=1")
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its status is looked at
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("it ended with %d, want 130", code)
	}
	addresses := strings.Fields(line)
	if len(addresses) != 2 {
		t.Fatalf("it printed %q, want two addresses", line)
	}
	var dialer net.Dialer
	for _, address := range addresses {
		if conn, err := dialer.DialContext(t.Context(), "tcp", address); err == nil {
			_ = conn.Close()
			t.Errorf("%s is still served", address)
		}
	}
}

// TestCloseEndsProcesses leaves a program running that never ends by itself.
func TestCloseEndsProcesses(t *testing.T) {
	s, err := ControlPlane(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e := &Env{Dir: t.TempDir(), control: s}
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one", "two"} {
		if _, err := e.RunAs(name, sleep, "3600"); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	wantNoChildren(t)
}
