// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Kubectl returns the path of kubectl: the machine's, or one that is compiled.
func Kubectl(ctx context.Context) (string, error) {
	if kubectl, err := exec.LookPath("kubectl"); err == nil {
		return filepath.Abs(kubectl)
	}
	if err := Make(ctx, "bin/kubectl"); err != nil {
		return "", err
	}
	return filepath.Abs(filepath.Join(Root(), "bin", "kubectl"))
}

// Helm returns the path of helm, which is compiled: the machine's may be of another version.
func Helm(ctx context.Context) (string, error) {
	if err := Make(ctx, "bin/helm"); err != nil {
		return "", err
	}
	return filepath.Abs(filepath.Join(Root(), "bin", "helm"))
}

// Make makes a target of the Makefile.
func Make(ctx context.Context, target string) error {
	cmd := exec.CommandContext(ctx, "make", "--no-print-directory", target)
	cmd.Dir, cmd.Stdout, cmd.Stderr = Root(), os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("make %s: %w", target, err)
	}
	return nil
}
