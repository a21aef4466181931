// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// patchesDir holds a patch for each fault. The number in a file's name gives the order of
// the promises in docs/reconcile.md that the faults break; the rest is the fault's name.
const patchesDir = "hack/mutants/patches"

// sourceDirs are where the operator's code is, and so where a fault may have moved to.
var sourceDirs = []string{"api", "cmd", "controllers", "internal"}

// mutant is one fault to plant: a mistake that somebody could make.
type mutant struct {
	// name is for --only; what describes the fault in the table.
	name, what string
	// path is that of the patch file, relative to the module.
	path  string
	patch *patch
}

// loadMutants reads the patches of a module, in order.
func loadMutants(root string) ([]mutant, error) {
	files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(patchesDir), "*.patch"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no patches in %s: %w", patchesDir, err)
	}
	slices.Sort(files)
	var mutants []mutant
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		base := filepath.Base(file)
		m := mutant{path: patchesDir + "/" + base}
		_, m.name, _ = strings.Cut(strings.TrimSuffix(base, ".patch"), "-")
		if m.what, m.patch, err = parsePatch(string(text)); err != nil {
			return nil, fmt.Errorf("%s: %w", m.path, err)
		}
		if slices.ContainsFunc(mutants, func(other mutant) bool { return other.name == m.name }) || m.name == "" {
			return nil, fmt.Errorf("%s: the name %q is missing or taken", m.path, m.name)
		}
		mutants = append(mutants, m)
	}
	return mutants, nil
}

// fit is how a mutant applies to the sources.
type fit struct {
	// file is the one that it changes, relative to the module; source and planted are that
	// file without and with the fault.
	file            string
	source, planted string
	places          []place
}

// fuzz is the highest of the places.
func (f *fit) fuzz() int {
	return slices.MaxFunc(f.places, func(a, b place) int { return cmp.Compare(a.fuzz, b.fuzz) }).fuzz
}

// fitTo finds where a mutant applies in a module: in the file that the patch names or, if
// the code has moved, in the only other file that has the lines.
func (m *mutant) fitTo(root string) (*fit, error) {
	f, err := m.fitFile(root, m.patch.file)
	if errors.Is(err, errNoPlace) || errors.Is(err, fs.ErrNotExist) {
		f, err = m.fitElsewhere(root)
	}
	if err != nil {
		return nil, fmt.Errorf("%s no longer applies to %s: %w; bring %s up to date", m.name, m.patch.file, err, m.path)
	}
	if _, err := parser.ParseFile(token.NewFileSet(), f.file, f.planted, parser.SkipObjectResolution); err != nil {
		return nil, fmt.Errorf("%s no longer applies: with the fault, %s is not Go: %w; bring %s up to date", m.name, f.file, err, m.path)
	}
	return f, nil
}

func (m *mutant) fitFile(root, file string) (*fit, error) {
	source, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
	if err != nil {
		return nil, err
	}
	f := &fit{file: file, source: string(source)}
	f.planted, f.places, err = m.patch.apply(f.source)
	return f, err
}

// fitElsewhere asks for at least two lines of context above and below, because the lines
// around a fault are less telling without the file's name.
func (m *mutant) fitElsewhere(root string) (*fit, error) {
	files, err := sources(root)
	if err != nil {
		return nil, err
	}
	var fits []*fit
	for _, file := range files {
		f, err := m.fitFile(root, file)
		switch {
		case errors.Is(err, errNoPlace):
		case err != nil:
			return nil, err
		case f.fuzz() <= 1:
			fits = append(fits, f)
		}
	}
	switch len(fits) {
	case 0:
		return nil, errNoPlace
	case 1:
		return fits[0], nil
	default:
		return nil, fmt.Errorf("%s and %s both have the lines", fits[0].file, fits[1].file)
	}
}

// sources are the operator's Go files but for tests and generated ones.
func sources(root string) ([]string, error) {
	var files []string
	for _, dir := range sourceDirs {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			base := filepath.Base(path)
			if strings.HasSuffix(base, ".go") && !strings.HasSuffix(base, "_test.go") && !strings.HasPrefix(base, "zz_generated.") {
				name, err := filepath.Rel(root, path)
				if err != nil {
					return err
				}
				files = append(files, filepath.ToSlash(name))
			}
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return files, nil
}
