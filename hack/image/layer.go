// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/pem"
	"fmt"
	"io"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

const (
	// certificatesPath is the first place where Go looks for root certificates on Linux.
	certificatesPath = "etc/ssl/certs/ca-certificates.crt"

	passwd = "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n"
	group  = "root:x:0:\nnonroot:x:65532:\n"
)

// entry is a file of a layer, or a folder if its path ends with a slash.
type entry struct {
	path    string
	mode    int64
	content []byte
}

// baseLayer holds the files that a static binary needs. It changes only with the pinned
// dependencies, so that releases share it.
func baseLayer(licenses []entry) (v1.Layer, error) {
	return makeLayer(append([]entry{
		{path: "etc/", mode: 0o755},
		{path: "etc/group", mode: 0o644, content: []byte(group)},
		{path: "etc/passwd", mode: 0o644, content: []byte(passwd)},
		{path: "etc/ssl/", mode: 0o755},
		{path: "etc/ssl/certs/", mode: 0o755},
		{path: certificatesPath, mode: 0o644, content: certificates()},
		{path: "licenses/", mode: 0o755},
	}, licenses...))
}

// certificates are Mozilla's root certificates as PEM, from the pinned Go module. A root
// that is distrusted for newer certificates is included, as Linux distributions do: PEM
// has no place for that condition.
func certificates() []byte {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}))
	}
	return out.Bytes()
}

// makeLayer returns a gzipped layer. Every file belongs to root and is of 1970.
func makeLayer(entries []entry) (v1.Layer, error) {
	content, err := makeTar(entries)
	if err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}, tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
}

func makeTar(entries []entry) ([]byte, error) {
	var out bytes.Buffer
	archive := tar.NewWriter(&out)
	for _, e := range entries {
		if err := writeEntry(archive, e); err != nil {
			return nil, fmt.Errorf("%s: %w", e.path, err)
		}
	}
	// Close writes the padding and the trailer: the bytes are whole only after it.
	if err := archive.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func writeEntry(archive *tar.Writer, e entry) error {
	header := &tar.Header{
		Typeflag: tar.TypeReg,
		Name:     e.path,
		Mode:     e.mode,
		Size:     int64(len(e.content)),
		ModTime:  time.Unix(0, 0),
		Format:   tar.FormatUSTAR,
	}
	if e.path[len(e.path)-1] == '/' {
		header.Typeflag = tar.TypeDir
	}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err := archive.Write(e.content)
	return err
}

// machines are the architectures that the image is known to be built for.
var machines = map[string]elf.Machine{
	"amd64": elf.EM_X86_64,
	"arm64": elf.EM_AARCH64,
}

// checkBinary refuses a program that cannot start on the platform: one for another
// architecture, or one that needs a dynamic linker, which the image does not have.
func checkBinary(binary []byte, platform v1.Platform) error {
	file, err := elf.NewFile(bytes.NewReader(binary))
	if err != nil {
		return fmt.Errorf("not a Linux program: %w", err)
	}
	want, known := machines[platform.Architecture]
	if !known {
		return fmt.Errorf("architecture %q is not supported", platform.Architecture)
	}
	if file.Machine != want {
		return fmt.Errorf("built for %s, not for %s", file.Machine, platform)
	}
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP {
			return fmt.Errorf("needs a dynamic linker; build it with CGO_ENABLED=0")
		}
	}
	return nil
}
