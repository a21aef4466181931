// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package devbuild

import (
	"bytes"
	"testing"
)

// TestProgress feeds what "go list" and "go build -v" write, cut at arbitrary places.
func TestProgress(t *testing.T) {
	var out bytes.Buffer
	p := newProgress("compiling", &out)
	write := func(pieces ...string) {
		for _, piece := range pieces {
			if n, err := p.Write([]byte(piece)); n != len(piece) || err != nil {
				t.Fatalf("Write returned %d, %v", n, err)
			}
		}
	}
	wantStatus := func(want string) {
		t.Helper()
		if got := p.status(); got != want {
			t.Errorf("status %q, want %q", got, want)
		}
	}
	wantStatus("0 modules downloaded")
	write("go: downloading example.com/a v1.0.0\ngo: down", "loading example.com/b v1.0.0\n")
	wantStatus("2 modules downloaded")
	p.expect([]string{"example.com/a", "example.com/b", "example.com/c"})
	wantStatus("0 of at most 3 packages compiled")
	write("example.com/a\nexam", "ple.com/b\n", "# example.com/c\nc.go:1:1: wrong")
	wantStatus("2 of at most 3 packages compiled")
	p.printMessages()
	if want := "# example.com/c\nc.go:1:1: wrong\n"; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
}
