// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// The same files give the same bytes, whenever an archive is made.
func TestArchivesAreReproducible(t *testing.T) {
	files := []file{{"LICENSE", 0o644, []byte("license")}, {binary, 0o755, []byte("program")}}
	for name, pack := range map[string]func([]file) ([]byte, error){"tar": tarred, "zip": zipped} {
		first, err := pack(files)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := pack(files); err != nil || !bytes.Equal(first, again) {
			t.Errorf("%s: a second archive differs: %v", name, err)
		}
	}
}

// platforms are those of make cli-archives.
func platforms(t *testing.T) []string {
	t.Helper()
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^PLUGIN_PLATFORMS \?= (.+)$`).FindSubmatch(makefile)
	if found == nil {
		t.Fatal("the Makefile names no platforms")
	}
	return strings.Split(string(found[1]), ",")
}

// Each platform has an archive with its program, and the checksums and the manifest for krew
// are about these archives and no others.
func TestRelease(t *testing.T) {
	t.Chdir("../../..")
	all := platforms(t)
	program := func(a *archive) string { return "for " + a.os + " on " + a.arch }
	o := &options{version: "v1.2.3", output: t.TempDir(), url: "https://example.com/v1.2.3", platforms: all,
		compile: func(_ context.Context, _ *options, a *archive) ([]byte, error) { return []byte(program(a)), nil }}
	if err := release(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	license := string(read(t, "LICENSE"))
	sums := map[string]string{}
	for line := range strings.Lines(string(read(t, filepath.Join(o.output, "kubectl-twilio_addons.sha256")))) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		sums[name] = sum
	}
	manifest := readManifest(t, read(t, filepath.Join(o.output, "twilio-addons.krew.yaml")))
	if manifest.Spec.Version != o.version || len(manifest.Spec.Platforms) != len(all) || len(sums) != len(all) {
		t.Errorf("%d platforms, %d checksums, and the manifest %+v", len(all), len(sums), manifest)
	}
	systems := map[string]bool{}
	for _, p := range manifest.Spec.Platforms {
		a := archive{os: p.Selector.MatchLabels["os"], arch: p.Selector.MatchLabels["arch"]}
		systems[a.os] = true
		want := map[string]entry{"LICENSE": {"-rw-r--r--", license}, binary: {"-rwxr-xr-x", program(&a)}, completion: {"-rwxr-xr-x", completionScript}}
		unpack, suffix := untar, ".tar.gz"
		if a.os == "windows" {
			want = map[string]entry{"LICENSE": {"-rw-r--r--", license}, binary + ".exe": {"-rwxr-xr-x", program(&a)}}
			unpack, suffix = unzip, ".zip"
		}
		name := binary + "_v1.2.3_" + a.os + "_" + a.arch + suffix
		data := read(t, filepath.Join(o.output, name))
		sum := fmt.Sprintf("%x", sha256.Sum256(data))
		if p.URI != o.url+"/"+name || p.SHA256 != sum || sums[name] != sum {
			t.Errorf("%s: the sum is %s, in the file of checksums %s, and the manifest says %+v", name, sum, sums[name], p)
		}
		got := unpack(t, data)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if _, there := got[p.Bin]; !there {
			t.Errorf("%s: there is no %s to run", name, p.Bin)
		}
		if !slices.Contains(all, a.os+"/"+a.arch) {
			t.Errorf("nobody asked for %s/%s", a.os, a.arch)
		}
	}
	if diff := cmp.Diff(map[string]bool{"linux": true, "darwin": true, "windows": true}, systems); diff != "" {
		t.Error(diff)
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// entry is a file in an archive.
type entry struct{ Mode, Content string }

func untar(t *testing.T, data []byte) map[string]entry {
	t.Helper()
	compressed, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	found, reader := map[string]entry{}, tar.NewReader(compressed)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		found[header.Name] = entry{header.FileInfo().Mode().String(), string(content)}
	}
}

func unzip(t *testing.T, data []byte) map[string]entry {
	t.Helper()
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]entry{}
	for _, f := range archive.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		found[f.Name] = entry{f.Mode().String(), string(content)}
	}
	return found
}

// manifest is what a test reads of a manifest for krew.
type manifest struct {
	Metadata struct{ Name string }
	Spec     struct {
		Version   string
		Platforms []struct {
			Selector         struct{ MatchLabels map[string]string }
			URI, SHA256, Bin string
		}
	}
}

func readManifest(t *testing.T, data []byte) (m manifest) {
	t.Helper()
	if err := yaml.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestKrewManifest(t *testing.T) {
	archives := []archive{{"linux", "amd64", "x.tar.gz", "abc", binary}}
	for version, want := range map[string]string{"v1.2.3": "v1.2.3", "v1.0.0-rc.1": "v1.0.0-rc.1", "7d63c6a_dirty": "v0.0.0-dev.7d63c6a-dirty"} {
		m := readManifest(t, krew(&options{version: version, url: "https://example.com"}, archives))
		if m.Spec.Version != want || m.Metadata.Name != "twilio-addons" || len(m.Spec.Platforms) != 1 {
			t.Errorf("%+v", m)
		}
	}
}
