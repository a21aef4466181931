// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// output is a file to be written.
type output struct {
	path    string
	content []byte
}

// writeFiles writes the files, each whole or not at all, in their order. Without overwrite
// it writes none if one is there with another content: somebody may have edited it. A
// file that is there with the same content is left alone, so that an interrupted run can
// be repeated.
func writeFiles(files []output, overwrite bool) error {
	var changed []string
	var missing []output
	for _, f := range files {
		there, err := os.ReadFile(f.path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, f)
		case err != nil:
			return err
		case !bytes.Equal(there, f.content):
			changed = append(changed, f.path)
			missing = append(missing, f)
		}
	}
	if len(changed) > 0 && !overwrite {
		return fmt.Errorf("%s and would change (%s): give --overwrite to replace, nothing was written",
			exists(len(changed)), abbreviate(changed, 3))
	}
	for _, f := range missing {
		if err := writeFile(f); err != nil {
			return err
		}
	}
	return nil
}

func exists(n int) string {
	if n == 1 {
		return "1 file exists"
	}
	return fmt.Sprintf("%d files exist", n)
}

// abbreviate lists the first few of many.
func abbreviate(all []string, first int) string {
	if len(all) <= first {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:first], ", "), len(all)-first)
}

func writeFile(f output) error {
	dir := filepath.Dir(f.path)
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // manifests are for everybody
		return err
	}
	temporary, err := os.CreateTemp(dir, ".export-*")
	if err != nil {
		return err
	}
	_, err = temporary.Write(f.content)
	err = errors.Join(err, temporary.Chmod(0o644), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), f.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary.Name()))
	}
	return nil
}
