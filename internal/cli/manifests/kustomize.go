// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// kustomizationIn returns the name of the folder's kustomization, "" if it has none.
func (s *Source) kustomizationIn(dir string) string {
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		if path := filepath.Join(dir, name); s.FileSystem.Exists(path) {
			return name
		}
	}
	return ""
}

// build runs kustomize on a folder. Plugins are off, and files outside of the folder
// cannot be read but through another kustomization.
func (s *Source) build(dir string) ([]located, []Problem, error) {
	traced, err := newTracedFileSystem(s.FileSystem, dir, s.kustomizationIn(dir))
	if err != nil {
		return nil, nil, err
	}
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(traced, dir)
	if err != nil {
		return nil, nil, fmt.Errorf("kustomize build %s: %s", dir, oneLine(err.Error()))
	}
	var found []located
	for _, r := range built.Resources() {
		l, err := s.locate(dir, r)
		if err != nil {
			return nil, nil, err
		}
		found = append(found, l)
	}
	return found, nil, nil
}

// locate takes an object out of what kustomize built, with its place in the file that it
// comes from. Where that cannot be found, the place is the folder.
func (s *Source) locate(dir string, r *resource.Resource) (located, error) {
	origin, _ := r.GetOrigin()
	if err := r.SetOrigin(nil); err != nil {
		return located{}, err
	}
	data, err := r.AsYAML()
	if err != nil {
		return located{}, err
	}
	l := located{object: &unstructured.Unstructured{}, file: dir}
	if err := yaml.Unmarshal(data, &l.object.Object); err != nil {
		return located{}, err
	}
	if origin == nil || origin.Repo != "" || origin.Path == "" {
		return l, nil
	}
	file := filepath.Join(dir, origin.Path)
	source, err := s.FileSystem.ReadFile(file)
	if err != nil {
		return l, nil
	}
	l.file = file
	candidates, _ := objectsOf(file, source)
	if from := likeliest(candidates, l.object); from != nil {
		l.lines = from.lines
	}
	return l, nil
}

// likeliest finds the object that kustomize built one from. Prefixes and suffixes may have
// been added to its name: of those whose name is within the new one, it is the longest.
func likeliest(candidates []located, built *unstructured.Unstructured) *located {
	var best *located
	for i := range candidates {
		c := &candidates[i]
		if c.object.GetKind() != built.GetKind() || !strings.Contains(built.GetName(), c.object.GetName()) {
			continue
		}
		if best == nil || len(c.object.GetName()) > len(best.object.GetName()) {
			best = c
		}
	}
	return best
}

// tracedFileSystem shows one kustomization with a request for annotations that say which
// file each object comes from.
type tracedFileSystem struct {
	filesys.FileSystem
	file    string
	content []byte
}

func newTracedFileSystem(under filesys.FileSystem, dir, name string) (filesys.FileSystem, error) {
	root, _, err := under.CleanedAbs(dir)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", dir, cause(err))
	}
	data, err := under.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", filepath.Join(dir, name), cause(err))
	}
	var kustomization map[string]any
	if err := yaml.Unmarshal(data, &kustomization); err != nil {
		return under, nil // kustomize itself says what is wrong with it
	}
	const origins = "originAnnotations"
	metadata, _ := kustomization["buildMetadata"].([]any)
	if kustomization == nil || slices.Contains(metadata, any(origins)) {
		return under, nil
	}
	kustomization["buildMetadata"] = append(metadata, origins)
	content, err := yaml.Marshal(kustomization)
	if err != nil {
		return under, nil
	}
	return tracedFileSystem{FileSystem: under, file: filepath.Join(string(root), name), content: content}, nil
}

// ReadFile returns the changed kustomization in place of the one there is.
func (t tracedFileSystem) ReadFile(path string) ([]byte, error) {
	if strings.HasSuffix(path, filepath.Base(t.file)) {
		if dir, name, err := t.CleanedAbs(path); err == nil && filepath.Join(string(dir), name) == t.file {
			return t.content, nil
		}
	}
	return t.FileSystem.ReadFile(path)
}
