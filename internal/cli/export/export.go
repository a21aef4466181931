// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package export writes manifests for numbers that exist already. It is pure: numbers
// in, files out, the same bytes for the same numbers.
package export

import (
	"bytes"
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// MaxAddOns is how many add-ons one assignment can list, as its schema says.
const MaxAddOns = 50

// KustomizationFile is the name of the file that lists the others.
const KustomizationFile = "kustomization.yaml"

// AddOn is an add-on with the names it goes by in Twilio.
type AddOn struct{ SID, UniqueName, FriendlyName string }

// Number is a phone number and the add-ons its manifest lists.
type Number struct {
	SID, E164, FriendlyName string
	AddOns                  []AddOn
	// AccountRef names the TwilioAccount; default the one of Options.
	AccountRef string
}

// Options say what the manifests hold beside the numbers.
type Options struct {
	AccountRef string
	Namespace  string // "" leaves it to whoever applies
	Policy     v1alpha1.ManagementPolicy
	NameFrom   NameFrom
}

// File is one manifest. Its name has no folder.
type File struct {
	Name    string
	Content []byte
}

// Files returns one manifest a number, by file name.
func Files(numbers []Number, o Options) ([]File, error) {
	all := make([]candidate, len(numbers))
	for i, n := range numbers {
		if len(n.AddOns) > MaxAddOns {
			return nil, fmt.Errorf("%s (%s) carries %d add-ons, and one assignment can list %d", n.E164, n.SID, len(n.AddOns), MaxAddOns)
		}
		all[i] = candidate{sid: n.SID, e164: n.E164, friendlyName: n.FriendlyName}
	}
	named := names(all, o.NameFrom)
	fileOf := fileNames(all, named)
	files := make([]File, len(numbers))
	for i, n := range numbers {
		files[i] = File{Name: fileOf[n.SID], Content: manifest(n, named[n.SID], o)}
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return files, nil
}

// Join puts manifests into one file of several documents.
func Join(files []File) []byte {
	var b bytes.Buffer
	for i, f := range files {
		if i > 0 {
			b.WriteString("---\n")
		}
		b.Write(f.Content)
	}
	return b.Bytes()
}

// Kustomization lists the files.
func Kustomization(files []File) File {
	var b bytes.Buffer
	b.WriteString("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n")
	for _, f := range files {
		fmt.Fprintf(&b, "- %q\n", path.Base(f.Name))
	}
	return File{Name: KustomizationFile, Content: b.Bytes()}
}

// manifest writes one object. Every value in it is a SID, a DNS label or a word of the
// API, so that none needs quoting; what people wrote is in comments alone.
func manifest(n Number, name string, o Options) []byte {
	var b bytes.Buffer
	if title := comment(n.E164, n.FriendlyName); title != "" {
		fmt.Fprintf(&b, "# %s\n", title)
	}
	fmt.Fprintf(&b, "apiVersion: %s\nkind: PhoneNumberAddOnAssignment\nmetadata:\n  name: %s\n", v1alpha1.GroupVersion, name)
	if o.Namespace != "" {
		fmt.Fprintf(&b, "  namespace: %s\n", o.Namespace)
	}
	fmt.Fprintf(&b, "spec:\n  accountRef:\n    name: %s\n  phoneNumberSID: %s\n  managementPolicy: %s\n",
		cmp.Or(n.AccountRef, o.AccountRef), n.SID, o.Policy)
	if len(n.AddOns) == 0 {
		b.WriteString("  addOnSIDs: []\n")
		return b.Bytes()
	}
	b.WriteString("  addOnSIDs:\n")
	sorted := slices.SortedFunc(slices.Values(n.AddOns), func(x, y AddOn) int { return strings.Compare(x.SID, y.SID) })
	for _, a := range sorted {
		fmt.Fprintf(&b, "  - %s", a.SID)
		if title := comment(cmp.Or(a.UniqueName, "add-on"), a.FriendlyName); title != "" {
			fmt.Fprintf(&b, " # %s", title)
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// comment joins names into the text of a YAML comment. It is one line of printable
// characters, and its first character is no brace: tools such as Flux's image automation
// take a comment that begins with one for an order to rewrite the line.
func comment(parts ...string) string {
	var kept []string
	for _, p := range parts {
		p = strings.Map(func(r rune) rune {
			switch {
			case unicode.IsSpace(r):
				return ' '
			case !unicode.IsPrint(r), r == unicode.ReplacementChar:
				return -1
			}
			return r
		}, p)
		if p = strings.Join(strings.Fields(p), " "); p != "" && !slices.Contains(kept, p) {
			kept = append(kept, p)
		}
	}
	text := strings.Join(kept, ": ")
	if strings.HasPrefix(text, "{") {
		return "name: " + text
	}
	return text
}
