// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package review

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/cli/manifests"
)

// large is a review of so many numbers, each with so much that people may write.
func large(numbers int, name string) *Review {
	r := &Review{Version: 1}
	for i := range numbers {
		r.Changes = append(r.Changes, Change{
			Object: fmt.Sprintf("telephony/line-%d", i), NumberSID: fmt.Sprintf("PN%032x", i), PhoneNumber: fmt.Sprintf("+1415%07d", i),
			Assign: []AddOn{{SID: fmt.Sprintf("XE%032x", i), UniqueName: name}},
		})
		r.Problems = append(r.Problems, manifests.Problem{File: name, Line: i + 1, Message: name})
	}
	r.summarize()
	return r
}

func TestMarkdownFitsAComment(t *testing.T) {
	long := strings.Repeat("名", 1000)
	for _, numbers := range []int{0, 1, 20, 21, 400, 2_000} {
		for _, name := range []string{"caller_name", long} {
			r := large(numbers, name)
			got := r.Markdown()
			if len(got) >= maxComment {
				t.Errorf("%d numbers: %d bytes", numbers, len(got))
			}
			if collapsed := strings.Contains(got, "<details>"); collapsed != (numbers > collapseFrom) {
				t.Errorf("%d numbers: collapsed %t", numbers, collapsed)
			}
			if strings.Count(got, "<details>") != strings.Count(got, "</details>") {
				t.Errorf("%d numbers: the details are not closed", numbers)
			}
			shown := strings.Count(got, "| assign |")
			if cut := strings.Contains(got, "more rows are left out"); cut != (shown < numbers) {
				t.Errorf("%d numbers, %d shown: told of the rest %t", numbers, shown, cut)
			}
		}
	}
}

func TestMarkdownIsSafe(t *testing.T) {
	r := large(1, "`|\n</details><script>@everyone [x](http://x) \x1b[31m")
	got := r.Markdown()
	for line := range strings.Lines(got) {
		outside := ""
		for i, part := range strings.Split(line, "`") {
			if i%2 == 0 {
				outside += part
			}
		}
		for _, bad := range []string{"<script", "@everyone", "](http", "\x1b", "</details"} {
			if strings.Contains(outside, bad) {
				t.Errorf("%q is outside of code in %q", bad, line)
			}
		}
		if strings.HasPrefix(line, "|") && strings.Count(line, "|") != 5 {
			t.Errorf("cells of %q", line)
		}
	}
}

func TestColour(t *testing.T) {
	r := large(1, "x")
	if got := r.Text(true); !strings.Contains(got, "\x1b[32m  + XE") {
		t.Errorf("%q", got)
	}
	if got := r.Text(false); strings.Contains(got, "\x1b") {
		t.Errorf("%q", got)
	}
}
