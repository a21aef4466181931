// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	// maxFile bounds one file of a commit: no manifest is larger.
	maxFile     = 16 << 20
	modeSymlink = "120000"
)

// AtRef returns the source as it was at a git ref, in a folder that remove removes. Its
// paths must be in the work tree of one repository, and the git command must be there.
func (s Source) AtRef(ctx context.Context, ref string) (at Source, remove func() error, err error) {
	if strings.HasPrefix(ref, "-") {
		return Source{}, nil, fmt.Errorf("%q is not a git ref", ref)
	}
	root, err := git(ctx, folderOf(s.Paths[0]), nil, "rev-parse", "--show-toplevel")
	if err != nil {
		return Source{}, nil, err
	}
	top := strings.TrimRight(string(root), "\r\n")
	dir, err := os.MkdirTemp("", "twilio-addons-")
	if err != nil {
		return Source{}, nil, err
	}
	at = s
	at.Paths, at.MissingIsEmpty = nil, true
	for _, path := range s.Paths {
		relative, err := relativeTo(top, path)
		if err != nil {
			return Source{}, nil, errors.Join(err, os.RemoveAll(dir))
		}
		at.Paths = append(at.Paths, filepath.Join(dir, relative))
	}
	if err := copyCommit(ctx, top, ref, dir); err != nil {
		return Source{}, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return at, func() error { return os.RemoveAll(dir) }, nil
}

// Rename gives the objects of a set that was read from at the paths that their files have in
// the source itself.
func (s Source) Rename(set *Set, at Source) {
	for i := range set.Assignments {
		a := &set.Assignments[i]
		for j, path := range at.Paths {
			if rest, below := strings.CutPrefix(a.File, path); below && (rest == "" || rest[0] == filepath.Separator) {
				a.File = s.Paths[j] + rest
				break
			}
		}
	}
}

// folderOf is a folder at or above the path that exists.
func folderOf(path string) string {
	for {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return path
		}
		above := filepath.Dir(path)
		if above == path {
			return path
		}
		path = above
	}
}

// relativeTo is the path within the repository, with symbolic links resolved as git does.
func relativeTo(top, path string) (string, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if resolved, err := filepath.EvalSymlinks(absolute); err == nil {
		absolute = resolved
	}
	relative, err := filepath.Rel(top, absolute)
	if err != nil || relative == ".." || strings.HasPrefix(relative, ".."+string(filepath.Separator)) {
		return "", fmt.Errorf("%s is not in the git repository %s", path, top)
	}
	return relative, nil
}

// copyCommit puts the files of a commit into a folder. It reads the objects
// themselves: "git archive" leaves out what .gitattributes says.
func copyCommit(ctx context.Context, top, ref, to string) error {
	listing, err := git(ctx, top, nil, "ls-tree", "-r", "-z", "-l", "--full-tree", ref)
	if err != nil {
		return err
	}
	var names []string
	var hashes bytes.Buffer
	for entry := range strings.SplitSeq(string(listing), "\x00") {
		meta, name, _ := strings.Cut(entry, "\t")
		fields := strings.Fields(meta) // mode, type, hash, size
		if len(fields) != 4 || fields[1] != "blob" || fields[0] == modeSymlink {
			continue
		}
		if size, err := strconv.Atoi(fields[3]); err != nil || size > maxFile {
			continue
		}
		names = append(names, name)
		hashes.WriteString(fields[2] + "\n")
	}
	contents, err := git(ctx, top, &hashes, "cat-file", "--batch")
	if err != nil {
		return err
	}
	for _, name := range names {
		var content []byte
		if content, contents, err = nextBlob(contents); err != nil {
			return err
		}
		if err := unpack(filepath.Join(to, filepath.FromSlash(name)), content); err != nil {
			return err
		}
	}
	return nil
}

func unpack(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o600)
}

// nextBlob takes one object off the output of "git cat-file --batch": a line with hash,
// type and size, the content, a line feed.
func nextBlob(batch []byte) (content, rest []byte, err error) {
	head, rest, _ := bytes.Cut(batch, []byte("\n"))
	fields := strings.Fields(string(head))
	if len(fields) != 3 {
		return nil, nil, fmt.Errorf("git cat-file: unexpected output %q", head)
	}
	size, err := strconv.Atoi(fields[2])
	if err != nil || size < 0 || len(rest) < size+1 {
		return nil, nil, errors.New("git cat-file: the output is cut off")
	}
	return rest[:size], rest[size+1:], nil
}

// git runs the command in a folder. Its error is git's own first line.
func git(ctx context.Context, dir string, stdin io.Reader, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", args...) //nolint:gosec // a ref never begins with a dash
	cmd.Dir, cmd.Stdin = dir, stdin
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		first, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
		if first == "" {
			first = err.Error()
		}
		return nil, fmt.Errorf("git %s: %s", args[0], first)
	}
	return stdout.Bytes(), nil
}
