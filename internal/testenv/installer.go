// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// CopyScripts copies hack/ and config/ to a folder: the scripts write beside themselves.
func CopyScripts(to string) error {
	var errs []error
	for _, folder := range []string{"config", "hack"} {
		errs = append(errs, os.CopyFS(filepath.Join(to, folder), os.DirFS(filepath.Join(Root(), folder))))
	}
	return errors.Join(errs...)
}

// RenderInstaller returns what "make build-installer" writes for an image and a version. It
// works in the folder, to which it copies the scripts.
func RenderInstaller(ctx context.Context, folder, image, version string) ([]byte, error) {
	if err := CopyScripts(folder); err != nil {
		return nil, err
	}
	kustomize, err := filepath.Abs(filepath.Join(Root(), "bin", "kustomize"))
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(folder, "hack", "render.sh"), kustomize, image)
	cmd.Env, cmd.Stderr = append(os.Environ(), "VERSION="+version), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("rendering (make bin/kustomize builds what it needs): %w", err)
	}
	return out, nil
}
