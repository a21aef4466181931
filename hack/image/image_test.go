// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/x509"
	"debug/elf"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

const (
	created  = "1767225600" // 2026-01-01
	revision = "0123456789abcdef0123456789abcdef01234567"
)

var (
	// binaries are a small program for each platform, compiled once.
	binaries = map[string]string{}
	licenses string // a folder
)

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "image-test-")
	if err != nil {
		log.Fatal(err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		if err := compile(folder, arch); err != nil {
			log.Fatal(err)
		}
	}
	licenses = filepath.Join(folder, "licenses")
	module := filepath.Join(licenses, "third-party", "example.com", "module@v1.0.0")
	if err := errors.Join(
		os.MkdirAll(module, 0o700),
		os.WriteFile(filepath.Join(licenses, "LICENSE"), []byte("ours"), 0o600),
		os.WriteFile(filepath.Join(module, "LICENSE"), []byte("theirs"), 0o600),
	); err != nil {
		log.Fatal(err)
	}
	code := m.Run()
	_ = os.RemoveAll(folder)
	os.Exit(code)
}

// compile cross-compiles as the Makefile does for the manager.
func compile(folder, arch string) error {
	source := filepath.Join(folder, "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() { println(\"hello\") }\n"), 0o600); err != nil {
		return err
	}
	binary := filepath.Join(folder, arch)
	command := exec.CommandContext(context.Background(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, source)
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	command.Stderr = os.Stderr
	binaries[arch] = binary
	return command.Run()
}

// buildArgs are the arguments of a good build, to which a test may append.
func buildArgs(output string, more ...string) []string {
	return append([]string{
		"build",
		"--manager=linux/amd64=" + binaries["amd64"], "--manager=linux/arm64=" + binaries["arm64"],
		"--licenses=" + licenses, "--version=v1.2.3", "--revision=" + revision, "--created=" + created,
		"--name=registry.example.com/twilio-addon-operator:v1.2.3", "--output=" + output,
	}, more...)
}

// runOK runs the command and returns what it prints, without the line's end.
func runOK(t *testing.T, args ...string) string {
	t.Helper()
	var stdout bytes.Buffer
	if err := run(t.Context(), args, &stdout, io.Discard); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(stdout.String(), "\n")
}

// built builds an archive and returns the image read back from it.
func built(t *testing.T) v1.ImageIndex {
	t.Helper()
	archive := filepath.Join(t.TempDir(), "image.tar")
	runOK(t, buildArgs(archive)...)
	index, err := readArchive(archive, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return index
}

// imagesOf returns the images by platform.
func imagesOf(t *testing.T, index v1.ImageIndex) map[string]v1.Image {
	t.Helper()
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	images := map[string]v1.Image{}
	for _, descriptor := range manifest.Manifests {
		image, err := index.Image(descriptor.Digest)
		if err != nil {
			t.Fatal(err)
		}
		images[descriptor.Platform.String()] = image
	}
	return images
}

// file is the header and the content of a file in a layer.
type file struct {
	Mode    int64
	Owner   [2]int
	Type    byte
	Content string
}

func filesOf(t *testing.T, image v1.Image) map[string]file {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]file{}
	for _, layer := range layers {
		content, err := layer.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		for reader := tar.NewReader(content); ; {
			header, err := reader.Next()
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			if _, twice := files[header.Name]; twice {
				t.Errorf("%s is in two layers", header.Name)
			}
			if header.ModTime.Unix() != 0 {
				t.Errorf("%s is of %s, want 1970", header.Name, header.ModTime)
			}
			data, err := io.ReadAll(reader)
			if err != nil {
				t.Fatal(err)
			}
			files[header.Name] = file{Mode: header.Mode, Owner: [2]int{header.Uid, header.Gid}, Type: header.Typeflag, Content: string(data)}
		}
		if err := content.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestTwoBuildsGiveTheSameBytes(t *testing.T) {
	first, second := filepath.Join(t.TempDir(), "a.tar"), filepath.Join(t.TempDir(), "b", "b.tar")
	digest := runOK(t, buildArgs(first)...)
	// The order of the flags must not matter either.
	args := buildArgs(second)
	args[1], args[2] = args[2], args[1]
	if again := runOK(t, args...); digest != again {
		t.Errorf("the digests are %s and %s", digest, again)
	}
	if read(t, first) != read(t, second) {
		t.Error("the archives differ")
	}
	other := runOK(t, buildArgs(second, "--version=v1.2.4")...)
	if other == digest {
		t.Error("another version has the same digest")
	}
}

func TestFiles(t *testing.T) {
	const folder, regular = tar.TypeDir, tar.TypeReg
	for platform, image := range imagesOf(t, built(t)) {
		files := filesOf(t, image)
		if certificates := files[certificatesPath]; len(certificates.Content) < 100_000 {
			t.Errorf("%s: the certificates have %d bytes", platform, len(certificates.Content))
		}
		_, arch, _ := strings.Cut(platform, "/")
		want := map[string]file{
			"etc/":                              {Mode: 0o755, Type: folder},
			"etc/group":                         {Mode: 0o644, Type: regular, Content: group},
			"etc/passwd":                        {Mode: 0o644, Type: regular, Content: passwd},
			"etc/ssl/":                          {Mode: 0o755, Type: folder},
			"etc/ssl/certs/":                    {Mode: 0o755, Type: folder},
			certificatesPath:                    {Mode: 0o644, Type: regular, Content: string(certificates())},
			"licenses/":                         {Mode: 0o755, Type: folder},
			"licenses/LICENSE":                  {Mode: 0o644, Type: regular, Content: "ours"},
			"licenses/third-party/":             {Mode: 0o755, Type: folder},
			"licenses/third-party/example.com/": {Mode: 0o755, Type: folder},
			"licenses/third-party/example.com/module@v1.0.0/":        {Mode: 0o755, Type: folder},
			"licenses/third-party/example.com/module@v1.0.0/LICENSE": {Mode: 0o644, Type: regular, Content: "theirs"},
			"manager": {Mode: 0o755, Type: regular, Content: read(t, binaries[arch])},
		}
		if diff := cmp.Diff(want, files); diff != "" {
			t.Errorf("%s: files (-want +got):\n%.3000s", platform, diff)
		}
	}
}

func TestConfig(t *testing.T) {
	labels := map[string]string{
		"org.opencontainers.image.title":         "twilio-addon-operator",
		"org.opencontainers.image.description":   "Keeps the add-ons of Twilio phone numbers as Kubernetes objects declare them",
		"org.opencontainers.image.source":        sourceURL,
		"org.opencontainers.image.url":           sourceURL,
		"org.opencontainers.image.documentation": sourceURL + "/blob/main/docs/install.md",
		"org.opencontainers.image.vendor":        "The twilio-addon-operator Authors",
		"org.opencontainers.image.licenses":      "Apache-2.0",
		"org.opencontainers.image.version":       "v1.2.3",
		"org.opencontainers.image.revision":      revision,
		"org.opencontainers.image.created":       "2026-01-01T00:00:00Z",
	}
	images := imagesOf(t, built(t))
	var platforms []string
	for platform, image := range images {
		platforms = append(platforms, platform)
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if got := config.OS + "/" + config.Architecture; got != platform {
			t.Errorf("%s: the config is for %s", platform, got)
		}
		want := v1.Config{User: "65532:65532", WorkingDir: "/", Entrypoint: []string{"/manager"}, Env: []string{"PATH=/"}, Labels: labels}
		if diff := cmp.Diff(want, config.Config); diff != "" {
			t.Errorf("%s: config (-want +got):\n%s", platform, diff)
		}
		manifest, err := image.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		if manifest.MediaType != types.OCIManifestSchema1 || manifest.Config.MediaType != types.OCIConfigJSON ||
			manifest.Layers[0].MediaType != types.OCILayer {
			t.Errorf("%s: not an OCI image: %s, %s, %s", platform, manifest.MediaType, manifest.Config.MediaType, manifest.Layers[0].MediaType)
		}
		if diff := cmp.Diff(labels, manifest.Annotations); diff != "" {
			t.Errorf("%s: annotations (-want +got):\n%s", platform, diff)
		}
		if len(config.History) != len(manifest.Layers) {
			t.Errorf("%s: %d entries of history for %d layers", platform, len(config.History), len(manifest.Layers))
		}
	}
	slices.Sort(platforms)
	if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, platforms); diff != "" {
		t.Errorf("platforms (-want +got):\n%s", diff)
	}
}

// The simulator's image is built as the manager's, under a name of its own.
func TestProgram(t *testing.T) {
	archive := filepath.Join(t.TempDir(), "image.tar")
	runOK(t, buildArgs(archive, "--program=twiliosim")...)
	index, err := readArchive(archive, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for platform, image := range imagesOf(t, index) {
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		files := filesOf(t, image)
		_, isManager := files["manager"]
		if diff := cmp.Diff([]string{"/twiliosim"}, config.Config.Entrypoint); diff != "" || files["twiliosim"].Mode != 0o755 || isManager {
			t.Errorf("%s: entrypoint %v, %v", platform, config.Config.Entrypoint, files["twiliosim"].Mode)
		}
	}
}

// Each image has a program for the platform that it names.
func TestProgramsAreOfTheirPlatform(t *testing.T) {
	want := map[string]elf.Machine{"linux/amd64": elf.EM_X86_64, "linux/arm64": elf.EM_AARCH64}
	got := map[string]elf.Machine{}
	for platform, image := range imagesOf(t, built(t)) {
		program, err := elf.NewFile(strings.NewReader(filesOf(t, image)["manager"].Content))
		if err != nil {
			t.Fatal(err)
		}
		got[platform] = program.Machine
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("machines (-want +got):\n%s", diff)
	}
}

// The certificates parse, each is a CA's, and well-known roots are among them.
func TestCertificates(t *testing.T) {
	subjects := map[string]bool{}
	for rest := certificates(); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if !certificate.IsCA {
			t.Errorf("%s is not a CA", certificate.Subject)
		}
		subjects[certificate.Subject.CommonName] = true
	}
	for _, name := range []string{"DigiCert Global Root G2", "Amazon Root CA 1", "ISRG Root X1"} {
		if !subjects[name] {
			t.Errorf("%s is missing from %d certificates", name, len(subjects))
		}
	}
}

// The archive is an OCI image layout that names the image for the engine that imports it.
func TestArchive(t *testing.T) {
	archive := filepath.Join(t.TempDir(), "image.tar")
	digest := runOK(t, buildArgs(archive)...)
	folder := t.TempDir()
	if err := unpack(archive, folder); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.TrimSpace(read(t, filepath.Join(folder, "oci-layout"))), `"imageLayoutVersion": "1.0.0"`; !strings.Contains(got, want) {
		t.Errorf("oci-layout is %s", got)
	}
	index, err := v1.ParseIndexManifest(strings.NewReader(read(t, filepath.Join(folder, "index.json"))))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"io.containerd.image.name":          "registry.example.com/twilio-addon-operator:v1.2.3",
		"org.opencontainers.image.ref.name": "v1.2.3",
	}
	if diff := cmp.Diff(want, index.Manifests[0].Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	if got := index.Manifests[0].Digest.String(); got != digest {
		t.Errorf("the archive holds %s, the command printed %s", got, digest)
	}
	image, err := readArchive(archive, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(image); err != nil {
		t.Error(err)
	}
}

func TestPushAndPullBack(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	repository := strings.TrimPrefix(server.URL, "http://") + "/team/twilio-addon-operator"
	archive := filepath.Join(t.TempDir(), "image.tar")
	digest := runOK(t, buildArgs(archive)...)

	pinned := runOK(t, "push", "--archive="+archive, repository+":v1.2.3")
	if want := repository + "@" + digest; pinned != want {
		t.Errorf("push printed %s, want %s", pinned, want)
	}
	for _, reference := range []string{pinned, repository + ":v1.2.3"} {
		parsed, err := name.ParseReference(reference)
		if err != nil {
			t.Fatal(err)
		}
		index, err := remote.Index(parsed)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Index(index); err != nil {
			t.Errorf("%s: %v", reference, err)
		}
		if got, _ := index.Digest(); got.String() != digest {
			t.Errorf("%s is %s, want %s", reference, got, digest)
		}
	}
	// Pull as a node of one platform does.
	parsed, err := name.ParseReference(pinned)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(parsed, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: "arm64"}))
	if err != nil {
		t.Fatal(err)
	}
	if got := filesOf(t, image)["manager"].Content; got != read(t, binaries["arm64"]) {
		t.Errorf("an arm64 node gets a manager of %d bytes that is not the one for arm64", len(got))
	}
}

func TestRefusals(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	output := filepath.Join(t.TempDir(), "image.tar")
	tests := map[string]struct {
		args []string
		says string
	}{
		"no command":           {nil, "usage"},
		"unknown command":      {[]string{"pull"}, `unknown command "pull"`},
		"no manager":           {[]string{"build", "--version=v1"}, "no --manager"},
		"no name of a file":    {[]string{"build", "--program=bin/manager", "--manager=linux/amd64=" + binaries["amd64"]}, "not the name of a file"},
		"no version":           {[]string{"build", "--manager=linux/amd64=" + binaries["amd64"]}, "no --version"},
		"no file":              {[]string{"build", "--manager=linux/amd64"}, "not PLATFORM=FILE"},
		"another system":       {[]string{"build", "--manager=windows/amd64=x"}, "not linux/ARCHITECTURE"},
		"platform twice":       {buildArgs(output, "--manager=linux/arm64="+binaries["arm64"]), "two binaries for linux/arm64"},
		"wrong architecture":   {[]string{"build", "--version=v1", "--licenses=" + licenses, "--manager=linux/arm64=" + binaries["amd64"]}, "built for EM_X86_64"},
		"no program":           {[]string{"build", "--version=v1", "--licenses=" + licenses, "--manager=linux/amd64=" + text}, "not a Linux program"},
		"unknown architecture": {[]string{"build", "--version=v1", "--licenses=" + licenses, "--manager=linux/s390x=" + binaries["amd64"]}, `"s390x" is not supported`},
		"name is no name":      {buildArgs(output, "--name=UPPER CASE"), "repository can only contain"},
		"no licenses":          {buildArgs(output, "--licenses="+text+"-not-there"), "no such file"},
		"push without tag":     {[]string{"push", "registry.example.com/operator"}, "not REGISTRY/NAME:TAG"},
		"push without archive": {[]string{"push", "--archive=" + output, "registry.example.com/operator:v1"}, "no such file"},
		"push without host":    {[]string{"push", "twilio-addon-operator:latest"}, "not REGISTRY/NAME:TAG"},
		"push to nowhere":      {[]string{"push"}, "usage"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), test.args, io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("the error is %v, want one that says %q", err, test.says)
			}
		})
	}
	if leftovers, _ := filepath.Glob(output + "*"); len(leftovers) > 0 {
		t.Errorf("a failed build left %v", leftovers)
	}
}

// A program that needs a dynamic linker is refused: the image has none.
func TestDynamicProgramsAreRefused(t *testing.T) {
	for _, candidate := range []string{"/bin/sh", "/usr/bin/env"} {
		content, err := os.ReadFile(candidate)
		if err != nil {
			continue
		}
		program, err := elf.NewFile(bytes.NewReader(content))
		if err != nil || !slices.ContainsFunc(program.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
			continue
		}
		for arch, machine := range machines {
			if machine != program.Machine {
				continue
			}
			err := checkBinary(content, v1.Platform{OS: "linux", Architecture: arch})
			if err == nil || !strings.Contains(err.Error(), "dynamic linker") {
				t.Errorf("%s: the error is %v", candidate, err)
			}
			return
		}
	}
	t.Skip("this machine has no dynamically linked ELF program to try with")
}

// Nothing is written outside the folder, and nothing but files and folders.
func TestHostileArchivesAreRefused(t *testing.T) {
	tests := map[string]tar.Header{
		"outside": {Name: "../outside", Typeflag: tar.TypeReg},
		"link":    {Name: "link", Linkname: "/etc/passwd", Typeflag: tar.TypeSymlink},
		"too big": {Name: "big", Typeflag: tar.TypeReg, Size: maxArchive + 1},
	}
	for name, header := range tests {
		t.Run(name, func(t *testing.T) {
			archive := filepath.Join(t.TempDir(), "image.tar")
			var content bytes.Buffer
			if err := tar.NewWriter(&content).WriteHeader(&header); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(archive, content.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			folder := filepath.Join(t.TempDir(), "inside")
			if err := os.Mkdir(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := unpack(archive, folder); err == nil {
				t.Error("no error")
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(folder), "outside")); err == nil {
				t.Error("a file was written outside")
			}
		})
	}
}
