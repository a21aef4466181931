// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	for name, test := range map[string]struct {
		dockerfile string
		finding    string // part of the output or the error; "" for none
	}{
		"clean":            {"FROM scratch\nCOPY a /a\nUSER 65532:65532\nENTRYPOINT [\"/a\"]\n", ""},
		"root by default":  {"FROM scratch\nENTRYPOINT [\"/a\"]\n", "not a numeric user"},
		"root":             {"FROM scratch\nUSER 0:0\n", "not a numeric user"},
		"user by name":     {"FROM scratch\nUSER nonroot\n", "not a numeric user"},
		"build check":      {"FROM scratch\nUSER 1\nENTRYPOINT /a\n", "JSONArgsRecommended"},
		"undefined":        {"FROM scratch\nUSER 1\nCOPY $a /a\n", "UndefinedVar"},
		"no such stage":    {"FROM scratch\nUSER 1\nCOPY --from=7 /a /a\n", "invalid stage index"},
		"not a Dockerfile": {"FROM scratch\nFLY to=/moon\n", "unknown instruction"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "Dockerfile")
			if err := os.WriteFile(path, []byte(test.dockerfile), 0o600); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			err := run(t.Context(), path, &out)
			if failed := err != nil; failed != (test.finding != "") {
				t.Fatalf("error is %v, want an error: %t\n%s", err, test.finding != "", &out)
			}
			if err != nil {
				out.WriteString(err.Error())
			}
			if !strings.Contains(out.String(), test.finding) {
				t.Errorf("output lacks %q:\n%s", test.finding, &out)
			}
		})
	}
}
