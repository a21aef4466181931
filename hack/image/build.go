// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	// user is the numeric user and group that the image runs as. A number, because the
	// kubelet cannot tell from a name that it is not root (runAsNonRoot).
	user = "65532:65532"

	sourceURL = "https://github.com/twilio-addon-operator/twilio-addon-operator"
)

// imageSpec is the input of an image build.
type imageSpec struct {
	managers []manager
	program  string // the name of the binary in the image
	licenses string // the folder
	name     string // of the image, with tag; may be empty
	version  string
	revision string // the commit; may be empty
	created  time.Time
}

// manager is the binary for one platform.
type manager struct {
	platform v1.Platform
	path     string
}

// addManager parses PLATFORM=FILE.
func (s *imageSpec) addManager(value string) error {
	platform, path, found := strings.Cut(value, "=")
	if !found || path == "" {
		return fmt.Errorf("%q is not PLATFORM=FILE", value)
	}
	parsed, err := v1.ParsePlatform(platform)
	if err != nil {
		return err
	}
	if parsed.OS != "linux" || parsed.Architecture == "" {
		return fmt.Errorf("platform %q is not linux/ARCHITECTURE", platform)
	}
	s.managers = append(s.managers, manager{platform: *parsed, path: path})
	return nil
}

func (s *imageSpec) validate() error {
	if len(s.managers) == 0 {
		return errors.New("no --manager given")
	}
	if s.program == "" || strings.Contains(s.program, "/") {
		return fmt.Errorf("the program %q is not the name of a file", s.program)
	}
	if s.version == "" {
		return errors.New("no --version given")
	}
	seen := map[string]bool{}
	for _, m := range s.managers {
		if seen[m.platform.String()] {
			return fmt.Errorf("two binaries for %s", m.platform)
		}
		seen[m.platform.String()] = true
	}
	return nil
}

// build returns the multi-platform image: one manifest for each binary, in the order of
// the platforms' names, whatever the order of the flags.
func (s *imageSpec) build() (v1.ImageIndex, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	licenses, err := readTree(s.licenses, "licenses/")
	if err != nil {
		return nil, err
	}
	base, err := baseLayer(licenses)
	if err != nil {
		return nil, fmt.Errorf("making the base layer: %w", err)
	}
	managers := slices.SortedFunc(slices.Values(s.managers), func(a, b manager) int {
		return cmp.Compare(a.platform.String(), b.platform.String())
	})
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, m := range managers {
		image, err := s.buildFor(m, base)
		if err != nil {
			return nil, fmt.Errorf("building for %s: %w", m.platform, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        image,
			Descriptor: v1.Descriptor{Platform: &m.platform, MediaType: types.OCIManifestSchema1},
		})
	}
	return mutate.Annotations(index, s.labels()).(v1.ImageIndex), nil
}

// buildFor returns the image of one platform. The binary has a layer of its own, so that
// an update transfers nothing else.
func (s *imageSpec) buildFor(m manager, base v1.Layer) (v1.Image, error) {
	binary, err := os.ReadFile(m.path)
	if err != nil {
		return nil, err
	}
	if err := checkBinary(binary, m.platform); err != nil {
		return nil, fmt.Errorf("%s: %w", m.path, err)
	}
	layer, err := makeLayer([]entry{{path: s.program, mode: 0o755, content: binary}})
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.Append(image,
		mutate.Addendum{Layer: base, History: s.history("CA certificates, users, licenses")},
		mutate.Addendum{Layer: layer, History: s.history(s.program)},
	)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS = m.platform.OS
	config.Architecture = m.platform.Architecture
	config.Variant = m.platform.Variant
	config.Created = v1.Time{Time: s.created}
	config.Config = v1.Config{
		User:       user,
		WorkingDir: "/",
		Entrypoint: []string{"/" + s.program},
		Env:        []string{"PATH=/"},
		Labels:     s.labels(),
	}
	image, err = mutate.ConfigFile(image, config)
	if err != nil {
		return nil, err
	}
	return mutate.Annotations(image, s.labels()).(v1.Image), nil
}

func (s *imageSpec) history(what string) v1.History {
	return v1.History{Created: v1.Time{Time: s.created}, CreatedBy: "hack/image", Comment: what}
}

// labels are the keys that the OCI image specification defines. Manifest and index carry
// them as annotations, too, because a registry shows those without reading the config.
func (s *imageSpec) labels() map[string]string {
	labels := map[string]string{
		"org.opencontainers.image.title":         "twilio-addon-operator",
		"org.opencontainers.image.description":   "Keeps the add-ons of Twilio phone numbers as Kubernetes objects declare them",
		"org.opencontainers.image.source":        sourceURL,
		"org.opencontainers.image.url":           sourceURL,
		"org.opencontainers.image.documentation": sourceURL + "/blob/main/docs/install.md",
		"org.opencontainers.image.vendor":        "The twilio-addon-operator Authors",
		"org.opencontainers.image.licenses":      "Apache-2.0",
		"org.opencontainers.image.version":       s.version,
		"org.opencontainers.image.created":       s.created.Format(time.RFC3339),
	}
	if s.revision != "" {
		labels["org.opencontainers.image.revision"] = s.revision
	}
	return labels
}
