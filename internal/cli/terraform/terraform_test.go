// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package terraform

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sid(prefix string, n int) string { return fmt.Sprintf("%s%032x", prefix, n) }

// assignments are what both files of testdata hold: one state, pulled and shown.
func assignments() []Assignment {
	line := ResourceType + ".line"
	return []Assignment{
		{Address: `module.eu["a.b[\"c\"]"].` + line + `["x]y"]`, Resource: "module.eu." + line, NumberSID: sid("PN", 3), AddOnSID: sid("XE", 1), AccountSID: sid("AC", 2)},
		{Address: line + "[0]", Resource: line, NumberSID: sid("PN", 1), AddOnSID: sid("XE", 1)},
		{Address: line + "[1]", Resource: line, NumberSID: sid("PN", 1), AddOnSID: sid("XE", 2)},
		{Address: ResourceType + ".single", Resource: ResourceType + ".single", NumberSID: sid("PN", 2), AddOnSID: sid("XE", 1)},
	}
}

func TestReadBothForms(t *testing.T) {
	for _, file := range []string{"state-v4.json", "show.json"} {
		data, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Read(data)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if diff := cmp.Diff(assignments(), got); diff != "" {
			t.Errorf("%s: %s", file, diff)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	resource := func(attributes string) string {
		return fmt.Sprintf(`{"version":4,"resources":[{"mode":"managed","type":%q,"name":"a","instances":[{"attributes":%s}]}]}`, ResourceType, attributes)
	}
	cases := map[string]struct{ state, says string }{
		"no JSON":            {"resource {}", "no JSON"},
		"another document":   {"{}", "neither a state file"},
		"an old state":       {`{"version":3,"modules":[]}`, "version 3"},
		"a format of future": {`{"format_version":"2.0"}`, "format_version"},
		"no number":          {resource(`{"id":"x/` + sid("XE", 1) + `"}`), "begins with PN"},
		"no add-on":          {resource(`{"id":"` + sid("PN", 1) + `/x"}`), "begins with XE"},
		"no account":         {resource(`{"id":"` + sid("PN", 1) + "/" + sid("XE", 1) + `","path_account_sid":"secret"}`), "no account SID"},
		"attributes no object": {resource(`["secret"]`),
			"form that is not known"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := Read([]byte(c.state))
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("error %v, want one with %q", err, c.says)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error shows a value of the state: %v", err)
			}
		})
	}
}

func TestReadWithoutAssignments(t *testing.T) {
	for _, state := range []string{`{"version":4}`, `{"format_version":"1.0"}`, `{"version":4,"resources":[{"mode":"data","type":"` + ResourceType + `"}]}`} {
		if got, err := Read([]byte(state)); err != nil || len(got) != 0 {
			t.Errorf("%s: %v, %v", state, got, err)
		}
	}
}

func TestRemovedNamesEachResourceOnceWithoutKeys(t *testing.T) {
	got := string(Removed(assignments()))
	for _, from := range []string{
		"  from = module.eu." + ResourceType + ".line\n",
		"  from = " + ResourceType + ".line\n",
		"  from = " + ResourceType + ".single\n",
	} {
		if strings.Count(got, from) != 1 {
			t.Errorf("%q is there %d times in\n%s", from, strings.Count(got, from), got)
		}
	}
	if n := strings.Count(got, "destroy = false"); n != 3 || strings.Contains(got, "[") {
		t.Errorf("%d blocks in\n%s", n, got)
	}
}

func TestDesired(t *testing.T) {
	got, err := Desired(assignments())
	if err != nil {
		t.Fatal(err)
	}
	want := []Number{
		{SID: sid("PN", 1), AddOnSIDs: []string{sid("XE", 1), sid("XE", 2)}},
		{SID: sid("PN", 2), AddOnSIDs: []string{sid("XE", 1)}},
		{SID: sid("PN", 3), AccountSID: sid("AC", 2), AddOnSIDs: []string{sid("XE", 1)}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	_, err = Desired(append(assignments(), Assignment{Address: "x", NumberSID: sid("PN", 1), AddOnSID: sid("XE", 3), AccountSID: sid("AC", 9)}))
	if err == nil {
		t.Error("one number in two accounts is accepted")
	}
}

func FuzzRead(f *testing.F) {
	for _, file := range []string{"state-v4.json", "show.json"} {
		data, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		found, err := Read(data)
		if err != nil {
			return
		}
		for _, a := range found {
			if !numberSID.MatchString(a.NumberSID) || !addOnSID.MatchString(a.AddOnSID) {
				t.Errorf("%+v", a)
			}
		}
	})
}
