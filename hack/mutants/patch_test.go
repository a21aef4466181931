// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// lines is a file of these words, one a line.
func lines(words string) string { return strings.Join(strings.Fields(words), "\n") + "\n" }

func diff(hunks string) string { return "what\n\n--- a/f.go\n+++ b/f.go\n" + hunks }

func TestApply(t *testing.T) {
	const change = "@@ -1,7 +1,7 @@\n a\n b\n c\n-old\n+new\n x\n y\n z\n"
	cases := map[string]struct {
		hunks, source string
		want          string // empty if it must not apply
		fuzz          int
	}{
		"as it was":                                 {change, lines("a b c old x y z"), lines("a b c new x y z"), 0},
		"further down":                              {change, lines("1 2 3 a b c old x y z"), lines("1 2 3 a b c new x y z"), 0},
		"indented, and its context stays so":        {change, "\ta\n\tb\n\tc\n\told\n\tx\n\ty\n\tz\n", "\ta\n\tb\n\tc\nnew\n\tx\n\ty\n\tz\n", 0},
		"the outermost context differs":             {change, lines("1 b c old x y 2"), lines("1 b c new x y 2"), 1},
		"only the nearest context is left":          {change, lines("1 2 c old x 3 4"), lines("1 2 c new x 3 4"), 2},
		"the nearest context differs":               {change, lines("a b 1 old x y z"), "", 0},
		"the removed line is gone":                  {change, lines("a b c x y z"), "", 0},
		"two places":                                {change, lines("a b c old x y z a b c old x y z"), "", 0},
		"two places, told apart by the outer lines": {change, lines("a b c old x y z 1 b c old x y z"), lines("a b c new x y z 1 b c old x y z"), 0},
		"two places once context is dropped":        {change, lines("1 b c old x y z 2 b c old x y z"), "", 0},
		"at the end of the file":                    {"@@ -1,2 +1,1 @@\n a\n-old\n", lines("a old"), lines("a"), 0},
		"an addition":                               {"@@ -1,2 +1,3 @@\n a\n+new\n b\n", lines("a b"), "a\nnew\nb\n", 0},
		"two hunks": {
			"@@ -1,2 +1,2 @@\n a\n-b\n+1\n@@ -8,2 +8,3 @@\n-c\n+2\n+3\n d\n", lines("a b x c d"), lines("a 1 x 2 3 d"), 0,
		},
		"two hunks in the wrong order": {"@@ -1,2 +1,2 @@\n c\n-d\n@@ -8,2 +8,3 @@\n a\n-b\n", lines("a b x c d"), "", 0},
		"the second hunk is lost":      {"@@ -1,2 +1,2 @@\n a\n-b\n+1\n@@ -8,2 +8,3 @@\n-c\n+2\n", lines("a b x"), "", 0},
		"an empty line, its space removed by an editor": {
			"@@ -1,3 +1,2 @@\n a\n\n-old\n b\n", "a\n\nold\nb\n", "a\n\nb\n", 0,
		},
		"comments reworded and added": {
			"@@ -1,5 +1,5 @@\n a\n // why\n b\n-old\n+new\n x\n", "a\n// because\n// of that\nb\n\n// therefore\nold\n// and\nx\n", "a\n// because\n// of that\nb\n\n// therefore\nnew\n// and\nx\n", 0,
		},
		"an addition between comments": {
			"@@ -1,2 +1,3 @@\n a\n+new\n b\n", "a\n// of b\nb\n", "a\nnew\n// of b\nb\n", 0,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			what, p, err := parsePatch(diff(c.hunks))
			if err != nil || what != "what" || p.file != "f.go" {
				t.Fatalf("parsed as %q, %v, %v", what, p, err)
			}
			got, places, err := p.apply(c.source)
			if c.want == "" {
				if err == nil {
					t.Errorf("it applied:\n%s", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("the result (-want +got):\n%s", diff)
			}
			if f := (&fit{places: places}).fuzz(); f != c.fuzz {
				t.Errorf("fuzz %d, want %d", f, c.fuzz)
			}
		})
	}
}

// TestRender writes a patch anew for a file whose lines have changed, and applies it.
func TestRender(t *testing.T) {
	source := lines("1 2 3 4 b c old x y 5 6 second 7 8 9 10 11")
	_, p, err := parsePatch(diff("@@ -1,7 +1,7 @@\n a\n b\n c\n-old\n+new\n+newer\n x\n y\n z\n@@ -9,2 +9,2 @@\n 6\n-second\n"))
	if err != nil {
		t.Fatal(err)
	}
	want, places, err := p.apply(source)
	if err != nil {
		t.Fatal(err)
	}
	text := render("what", "moved.go", source, places)
	expected := "what\n\n--- a/moved.go\n+++ b/moved.go\n" +
		"@@ -4,7 +4,8 @@\n 4\n b\n c\n-old\n+new\n+newer\n x\n y\n 5\n" +
		"@@ -11,5 +12,4 @@\n 6\n-second\n 7\n 8\n 9\n"
	if diff := cmp.Diff(expected, text); diff != "" {
		t.Errorf("the patch (-want +got):\n%s", diff)
	}
	_, again, err := parsePatch(text)
	if err != nil {
		t.Fatal(err)
	}
	got, places, err := again.apply(source)
	if err != nil || got != want {
		t.Errorf("the new patch makes, %v:\n%swant:\n%s", err, got, want)
	}
	if f := (&fit{places: places}).fuzz(); f != 0 {
		t.Errorf("the new patch has fuzz %d, want 0", f)
	}
}

func TestParsePatchRefuses(t *testing.T) {
	cases := map[string]string{
		"no description":       "--- a/f.go\n+++ b/f.go\n@@ -1 +1 @@\n-a\n\n+b\n",
		"no diff":              "what\n\n",
		"no hunk":              "what\n\n--- a/f.go\n+++ b/f.go\n",
		"two files":            diff("@@ -1 +1 @@\n-a\n+b\n+++ b/g.go\n@@ -1 +1 @@\n-a\n+b\n") + "+++ b/g.go\n",
		"nothing to find":      diff("@@ -0,0 +1 @@\n+a\n"),
		"a changed comment":    diff("@@ -1,2 +1,2 @@\n a\n-// b\n"),
		"something that is no": diff("@@ -1 +1 @@\n-a\nfoo\n"),
	}
	for name, text := range cases {
		t.Run(name, func(t *testing.T) {
			if what, p, err := parsePatch(text); err == nil {
				t.Errorf("parsed as %q, %+v", what, p)
			}
		})
	}
}
