// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

var sample = []file{{"LICENSE", 0o644, []byte("license")}, {binary, 0o755, []byte("program")}}

func TestArchivesHoldTheFiles(t *testing.T) {
	data, err := tarred(sample)
	if err != nil {
		t.Fatal(err)
	}
	compressed, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	reader := tar.NewReader(compressed)
	for _, want := range sample {
		header, err := reader.Next()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(reader)
		if err != nil || header.Name != want.name || header.FileInfo().Mode() != want.mode || !bytes.Equal(content, want.content) {
			t.Errorf("%s %s %q %v", header.Name, header.FileInfo().Mode(), content, err)
		}
	}
	if data, err = zipped(sample); err != nil {
		t.Fatal(err)
	}
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range sample {
		if got := archive.File[i]; got.Name != want.name || got.Mode() != want.mode {
			t.Errorf("%s %s", got.Name, got.Mode())
		}
	}
	if again, err := zipped(sample); err != nil || !bytes.Equal(data, again) {
		t.Errorf("a second archive differs: %v", err)
	}
}

func TestKrewManifest(t *testing.T) {
	archives := []archive{{"linux", "amd64", "x.tar.gz", "abc", binary}, {"windows", "amd64", "x.zip", "def", binary + ".exe"}}
	for version, want := range map[string]string{"v1.2.3": "v1.2.3", "v1.0.0-rc.1": "v1.0.0-rc.1", "7d63c6a_dirty": "v0.0.0-dev.7d63c6a-dirty"} {
		var manifest struct {
			Metadata struct{ Name string }
			Spec     struct {
				Version   string
				Platforms []struct{ URI, SHA256, Bin string }
			}
		}
		o := &options{version: version, url: "https://example.com"}
		if err := yaml.Unmarshal(krew(o, archives), &manifest); err != nil {
			t.Fatal(err)
		}
		if manifest.Spec.Version != want || manifest.Metadata.Name != "twilio-addons" || len(manifest.Spec.Platforms) != 2 {
			t.Errorf("%+v", manifest)
		}
		if diff := cmp.Diff("https://example.com/x.zip", manifest.Spec.Platforms[1].URI); diff != "" {
			t.Error(diff)
		}
	}
}
