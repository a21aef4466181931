// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	goyaml "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

func sid(prefix string, n int) string { return fmt.Sprintf("%s%032x", prefix, n) }

func TestNames(t *testing.T) {
	cases := map[string]struct {
		numbers []candidate
		from    NameFrom
		want    []string // in the order of the numbers
	}{
		"after the number": {[]candidate{{e164: "+14155550100"}, {e164: "+442071838750"}}, NameFromE164,
			[]string{"tel-14155550100", "tel-442071838750"}},
		"without a number": {[]candidate{{}}, NameFromE164, []string{"pn" + strings.Repeat("0", 32)}},
		"after the friendly name": {[]candidate{{friendlyName: "Support Line (EU)"}, {friendlyName: "(415) 555-0100"}}, NameFromFriendlyName,
			[]string{"support-line-eu", "tel-415-555-0100"}},
		"friendly names of nothing": {[]candidate{{friendlyName: "日本", e164: "+81312345678"}}, NameFromFriendlyName,
			[]string{"tel-81312345678"}},
		"one friendly name of two": {[]candidate{{friendlyName: "Line"}, {friendlyName: "line!"}, {friendlyName: "Other"}}, NameFromFriendlyName,
			[]string{"line-00000000", "line-00000001", "other"}},
		"a friendly name that looks like another's addition": {[]candidate{{friendlyName: "Line"}, {friendlyName: "line!"}, {friendlyName: "line-00000000"}}, NameFromFriendlyName,
			[]string{"line-" + strings.Repeat("0", 32), "line-00000001", "line-00000000"}},
		"longer than a label": {[]candidate{{friendlyName: strings.Repeat("x", 80)}}, NameFromFriendlyName, []string{strings.Repeat("x", 63)}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			for i := range c.numbers {
				c.numbers[i].sid = sid("PN", i)
			}
			named := names(c.numbers, c.from)
			var got []string
			for _, n := range c.numbers {
				got = append(got, named[n.sid])
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Whatever people call their numbers, each manifest reads back as it was meant, names and
// files are valid and unique, and the order in which Twilio lists numbers is no matter.
func FuzzFiles(f *testing.F) {
	f.Add("+14155550100", "Support", "caller_name", "Caller Name", uint64(1))
	f.Add("", "\n---\nkind: Secret", "{\"$imagepolicy\": \"x\"}", "\u2028a: b\u0085# c", uint64(2))
	f.Add("+1\n", "'\"`: |", "\x00\xff", "\ufeff*x", uint64(3))
	f.Fuzz(func(t *testing.T, e164, friendly, unique, title string, seed uint64) {
		var numbers []Number
		for i := range 6 {
			n := Number{SID: sid("PN", i), E164: e164, FriendlyName: friendly}
			if i%2 == 1 {
				n.E164 = fmt.Sprintf("+1415555010%d", i)
			}
			for j := range i {
				n.AddOns = append(n.AddOns, AddOn{SID: sid("XE", j), UniqueName: unique, FriendlyName: title})
			}
			numbers = append(numbers, n)
		}
		for _, from := range []NameFrom{NameFromE164, NameFromFriendlyName} {
			o := Options{AccountRef: "default", Namespace: "telephony", Policy: v1alpha1.ManagementObserve, NameFrom: from}
			files := mustFiles(t, numbers, o)
			checkFiles(t, numbers, files)
			shuffled := slices.Clone(numbers)
			rand.New(rand.NewPCG(seed, 0)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			if again := mustFiles(t, shuffled, o); !slices.EqualFunc(files, again, func(a, b File) bool { return a.Name == b.Name && bytes.Equal(a.Content, b.Content) }) {
				t.Error("another order gives other files")
			}
		}
	})
}

func mustFiles(t *testing.T, numbers []Number, o Options) []File {
	t.Helper()
	files, err := Files(numbers, o)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func checkFiles(t *testing.T, numbers []Number, files []File) {
	t.Helper()
	names, bySID := map[string]bool{}, map[string]Number{}
	for _, n := range numbers {
		bySID[n.SID] = n
	}
	decoder := goyaml.NewDecoder(bytes.NewReader(Join(files)))
	for _, file := range files {
		var object struct {
			Kind     string
			Metadata struct{ Name, Namespace string }
			Spec     struct {
				PhoneNumberSID string   `yaml:"phoneNumberSID"`
				AddOnSIDs      []string `yaml:"addOnSIDs"`
			}
		}
		if err := decoder.Decode(&object); err != nil {
			t.Fatalf("%s: %v\n%s", file.Name, err, file.Content)
		}
		n, known := bySID[object.Spec.PhoneNumberSID]
		if !known || object.Kind != "PhoneNumberAddOnAssignment" || len(object.Spec.AddOnSIDs) != len(n.AddOns) {
			t.Fatalf("%s reads back as %+v", file.Content, object)
		}
		delete(bySID, object.Spec.PhoneNumberSID)
		if problems := validation.IsDNS1123Label(object.Metadata.Name); len(problems) > 0 || names[object.Metadata.Name] || names[file.Name] {
			t.Errorf("name %q, file %q: %v", object.Metadata.Name, file.Name, problems)
		}
		names[object.Metadata.Name], names[file.Name] = true, true
		if strings.Trim(file.Name, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" {
			t.Errorf("file name %q", file.Name)
		}
	}
	if len(bySID) > 0 {
		t.Errorf("not written: %v", bySID)
	}
}

func TestTooManyAddOns(t *testing.T) {
	n := Number{SID: sid("PN", 1), E164: "+14155550100"}
	for i := range MaxAddOns + 1 {
		n.AddOns = append(n.AddOns, AddOn{SID: sid("XE", i)})
	}
	if _, err := Files([]Number{n}, Options{}); err == nil || !strings.Contains(err.Error(), "carries 51 add-ons") {
		t.Errorf("error %v", err)
	}
}
