// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"testing"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
)

// TestMutantsFit holds the list to the sources as they are.
func TestMutantsFit(t *testing.T) {
	names := map[string]bool{}
	for _, m := range mutants {
		source, err := os.ReadFile(filepath.Join(testenv.Root(), m.file))
		if err != nil {
			t.Fatal(err)
		}
		planted, err := m.plant(string(source))
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
			continue
		}
		if _, err := parser.ParseFile(token.NewFileSet(), m.file, planted, parser.SkipObjectResolution); err != nil {
			t.Errorf("%s: what was planted is no Go: %v", m.name, err)
		}
		if names[m.name] {
			t.Errorf("%s is there twice", m.name)
		}
		names[m.name] = true
	}
}

func TestRead(t *testing.T) {
	const seeds = "soak: 1 of 9: seed 5, 3 steps\nsoak: 2 of 9: seed 6, 3 steps\n"
	failed := errors.New("exit status 2")
	cases := map[string]struct {
		output string
		ended  error
		want   *finding
		fails  bool
	}{
		"found":            {seeds + "  1. a step\nWRONG: at 12 this\nWRONG: that\n", failed, &finding{2, "at 12 this"}, false},
		"not found":        {seeds, nil, nil, false},
		"does not compile": {"undefined: x", failed, nil, true},
		"breaks down":      {seeds, failed, nil, true},
		"runs nothing":     {"", nil, nil, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := read(c.output, c.ended)
			if (err != nil) != c.fails || (got == nil) != (c.want == nil) || (got != nil && *got != *c.want) {
				t.Errorf("read %v, %v; want %v", got, err, c.want)
			}
		})
	}
}
