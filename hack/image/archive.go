// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// maxArchive bounds what is unpacked from an archive, in bytes.
const maxArchive = 1 << 30

// writeArchive writes an OCI image layout as one tar file, and returns the digest of the
// index, which is the same in a registry. The name may be empty. A failure leaves no file.
func writeArchive(index v1.ImageIndex, imageName, path string) (digest v1.Hash, err error) {
	folder, err := os.MkdirTemp("", "image-")
	if err != nil {
		return v1.Hash{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	images, err := layout.Write(folder, empty.Index)
	if err != nil {
		return v1.Hash{}, err
	}
	annotations, err := nameAnnotations(imageName)
	if err != nil {
		return v1.Hash{}, err
	}
	if err := images.AppendIndex(index, layout.WithAnnotations(annotations)); err != nil {
		return v1.Hash{}, err
	}
	if err := writeFile(path, func(w io.Writer) error { return packFolder(folder, w) }); err != nil {
		return v1.Hash{}, err
	}
	return index.Digest()
}

// nameAnnotations tell an engine how to call the image that it imports: containerd reads
// the first, others the second.
func nameAnnotations(imageName string) (map[string]string, error) {
	if imageName == "" {
		return nil, nil
	}
	tag, err := name.NewTag(imageName)
	if err != nil {
		return nil, err
	}
	return map[string]string{
		"io.containerd.image.name":          tag.Name(),
		"org.opencontainers.image.ref.name": tag.TagStr(),
	}, nil
}

// writeFile replaces the file in one step.
func writeFile(path string, write func(io.Writer) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	err = errors.Join(write(file), file.Chmod(0o644), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}

// packFolder writes the files of the folder in the order of their names.
func packFolder(folder string, w io.Writer) error {
	entries, err := readTree(folder, "")
	if err != nil {
		return err
	}
	content, err := makeTar(entries)
	if err != nil {
		return err
	}
	_, err = w.Write(content)
	return err
}

// readTree returns the files and folders beneath a folder in the order of their names,
// with modes that do not depend on the file system.
func readTree(folder, prefix string) ([]entry, error) {
	var entries []entry
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == folder {
			return err
		}
		inside, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		name := prefix + filepath.ToSlash(inside)
		if d.IsDir() {
			entries = append(entries, entry{path: name + "/", mode: 0o755})
			return nil
		}
		content, err := os.ReadFile(path)
		entries = append(entries, entry{path: name, mode: 0o644, content: content})
		return err
	})
	return entries, err
}

// push pushes the image of an archive to a reference with a tag, and returns the
// reference that pins it by digest. Credentials come from the keychain.
func push(ctx context.Context, archive, reference string, keychain authn.Keychain) (pinned string, err error) {
	tag, err := name.NewTag(reference, name.StrictValidation)
	if err != nil {
		return "", fmt.Errorf("%q is not REGISTRY/NAME:TAG: %w", reference, err)
	}
	folder, err := os.MkdirTemp("", "image-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	index, err := readArchive(archive, folder)
	if err != nil {
		return "", err
	}
	digest, err := index.Digest()
	if err != nil {
		return "", err
	}
	if err := remote.WriteIndex(tag, index, remote.WithContext(ctx), remote.WithAuthFromKeychain(keychain)); err != nil {
		return "", err
	}
	return tag.Context().Digest(digest.String()).Name(), nil
}

// readArchive unpacks an archive into the folder and returns its one image.
func readArchive(archive, folder string) (v1.ImageIndex, error) {
	if err := unpack(archive, folder); err != nil {
		return nil, fmt.Errorf("unpacking: %w", err)
	}
	images, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		return nil, err
	}
	manifest, err := images.IndexManifest()
	if err != nil {
		return nil, err
	}
	if len(manifest.Manifests) != 1 {
		return nil, fmt.Errorf("the archive holds %d images, want one", len(manifest.Manifests))
	}
	return images.ImageIndex(manifest.Manifests[0].Digest)
}

func unpack(archive, folder string) (err error) {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	root, err := os.OpenRoot(folder) // nothing is written outside, whatever the archive names
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	left := int64(maxArchive)
	for reader := tar.NewReader(file); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if left -= header.Size; left < 0 {
			return fmt.Errorf("more than %d bytes", int64(maxArchive))
		}
		if err := unpackEntry(root, header, reader); err != nil {
			return err
		}
	}
}

func unpackEntry(root *os.Root, header *tar.Header, content io.Reader) error {
	switch header.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(header.Name, 0o755)
	case tar.TypeReg:
		file, err := root.Create(header.Name)
		if err != nil {
			return err
		}
		_, err = io.CopyN(file, content, header.Size)
		return errors.Join(err, file.Close())
	default:
		return fmt.Errorf("%s is neither a file nor a folder", header.Name)
	}
}
