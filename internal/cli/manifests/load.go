// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package manifests reads the operator's objects from files, folders, kustomizations, the
// standard input and git, and validates them without a cluster.
package manifests

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// Stdin is the path that stands for the standard input.
const Stdin = "-"

// Source says where manifests are read from.
type Source struct {
	FileSystem filesys.FileSystem
	Paths      []string
	// Recursive reads folders below a folder, too, unless it is a kustomization.
	Recursive bool
	Stdin     io.Reader
	// MissingIsEmpty takes a path that does not exist for one without manifests: at
	// another commit it may not have been there.
	MissingIsEmpty bool
}

// Assignment is an object with the place it was read from.
type Assignment struct {
	File string
	Line int
	v1alpha1.PhoneNumberAddOnAssignment
	lines lines
}

// Where is the place of the object: file:line.
func (a *Assignment) Where() string { return where(a.File, a.Line) }

// Problem returns a problem with a field of the object.
func (a *Assignment) Problem(path, message string) Problem {
	line := a.Line
	if a.lines.root != nil {
		line = a.lines.of(path)
	}
	return Problem{File: a.File, Line: line, Message: message}
}

// Set is what was read. Problems are of objects that are not in it.
type Set struct {
	Assignments []Assignment
	Accounts    []v1alpha1.TwilioAccount
	Problems    []Problem

	objects map[string]*unstructured.Unstructured
}

// located is an object on its way from a file to a Set.
type located struct {
	object *unstructured.Unstructured
	file   string
	lines  lines
}

// Load reads and validates manifests. Objects without a namespace get the given one.
// Objects that are also in old are validated as updates of those; old may be nil. The
// error is of reading; what is wrong in a manifest is a Problem.
func Load(ctx context.Context, schemas *Schemas, from Source, namespace string, old *Set) (*Set, error) {
	set := &Set{objects: map[string]*unstructured.Unstructured{}}
	seen := map[string]string{}
	for _, path := range from.Paths {
		found, problems, err := from.read(path)
		if err != nil {
			return nil, err
		}
		set.Problems = append(set.Problems, problems...)
		for _, l := range found {
			if !schemas.Ours(l.object) {
				continue
			}
			if l.object.GetNamespace() == "" && l.object.GetKind() == "PhoneNumberAddOnAssignment" {
				l.object.SetNamespace(namespace)
			}
			if other, twice := seen[keyOf(l.object)]; twice {
				set.Problems = append(set.Problems, Problem{File: l.file, Line: l.lines.start(),
					Message: fmt.Sprintf("%s is also in %s", keyOf(l.object), other)})
				continue
			}
			seen[keyOf(l.object)] = where(l.file, l.lines.start())
			set.add(ctx, schemas, l, old)
		}
	}
	return set, nil
}

func keyOf(o *unstructured.Unstructured) string {
	return strings.TrimSpace(o.GetKind() + " " + strings.TrimPrefix(o.GetNamespace()+"/"+o.GetName(), "/"))
}

func (s *Set) add(ctx context.Context, schemas *Schemas, l located, old *Set) {
	var previous *unstructured.Unstructured
	if old != nil {
		previous = old.objects[keyOf(l.object)]
	}
	if errs := schemas.Validate(ctx, l.object, previous); len(errs) > 0 {
		for _, err := range errs {
			s.Problems = append(s.Problems, Problem{File: l.file, Line: l.lines.of(err.Field), Message: keyOf(l.object) + ": " + sentence(err)})
		}
		return
	}
	if err := s.convert(l); err != nil {
		s.Problems = append(s.Problems, Problem{File: l.file, Line: l.lines.start(), Message: keyOf(l.object) + ": " + oneLine(err.Error())})
		return
	}
	s.objects[keyOf(l.object)] = l.object
}

func (s *Set) convert(l located) error {
	switch l.object.GetKind() {
	case "PhoneNumberAddOnAssignment":
		a := Assignment{File: l.file, Line: l.lines.start(), lines: l.lines}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(l.object.Object, &a.PhoneNumberAddOnAssignment); err != nil {
			return err
		}
		s.Assignments = append(s.Assignments, a)
	case "TwilioAccount":
		var account v1alpha1.TwilioAccount
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(l.object.Object, &account); err != nil {
			return err
		}
		s.Accounts = append(s.Accounts, account)
	}
	return nil
}

// sentence is an error of a field on one line, with the value only where it is short.
func sentence(err *field.Error) string {
	return oneLine(err.Error())
}

// read returns the objects below one path.
func (s *Source) read(path string) ([]located, []Problem, error) {
	switch {
	case path == Stdin:
		data, err := io.ReadAll(s.Stdin)
		if err != nil {
			return nil, nil, fmt.Errorf("reading the standard input: %w", err)
		}
		found, problems := objectsOf(path, data)
		return found, problems, nil
	case !s.FileSystem.Exists(path):
		if s.MissingIsEmpty {
			return nil, nil, nil
		}
		return nil, nil, fmt.Errorf("%s does not exist", path)
	case !s.FileSystem.IsDir(path):
		return s.readFiles(path)
	case s.kustomizationIn(path) != "":
		return s.build(path)
	}
	files, err := s.filesIn(path)
	if err != nil {
		return nil, nil, err
	}
	return s.readFiles(files...)
}

func (s *Source) readFiles(files ...string) (found []located, problems []Problem, err error) {
	for _, file := range files {
		data, err := s.FileSystem.ReadFile(file)
		if err != nil {
			return nil, nil, fmt.Errorf("reading %s: %w", file, cause(err))
		}
		more, wrong := objectsOf(file, data)
		found, problems = append(found, more...), append(problems, wrong...)
	}
	return found, problems, nil
}

// cause drops the path from an error that names it already.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

func objectsOf(file string, data []byte) (found []located, problems []Problem) {
	for _, d := range split(file, data) {
		objects, problem := d.decode()
		if problem != nil {
			problems = append(problems, *problem)
			continue
		}
		for i, o := range objects {
			found = append(found, located{object: o, file: file, lines: d.linesOf(i)})
		}
	}
	return found, problems
}

// filesIn lists the manifests of a folder, by path. Hidden folders hold none.
func (s *Source) filesIn(dir string) ([]string, error) {
	var files []string
	err := s.FileSystem.Walk(dir, func(path string, info fs.FileInfo, err error) error {
		switch {
		case err != nil:
			return err
		case info.IsDir() && path != dir && (!s.Recursive || strings.HasPrefix(info.Name(), ".")):
			return filepath.SkipDir
		case info.IsDir():
			return nil
		case slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)):
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", dir, cause(err))
	}
	slices.Sort(files)
	return files, nil
}
