// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// NameFrom says what an object's name is made from.
type NameFrom string

// The sources of names.
const (
	// NameFromE164 names an object after its number: tel-14155550100. It does not change
	// while the account has the number.
	NameFromE164 NameFrom = "e164"
	// NameFromFriendlyName names an object after the number's friendly name.
	NameFromFriendlyName NameFrom = "friendly-name"
)

// maxName keeps a name within a DNS label, with room for what makes it unique.
const maxName = 63

// candidate is a number that needs a name.
type candidate struct{ sid, e164, friendlyName string }

// names gives each number a name that is a DNS label and unlike every other one. The
// result depends on the numbers alone, not on their order: where several would have the
// same name, each of them carries a part of its SID.
func names(all []candidate, from NameFrom) map[string]string {
	groups := map[string][]candidate{}
	for _, c := range all {
		base := c.base(from)
		groups[base] = append(groups[base], c)
	}
	taken, named := map[string]bool{}, map[string]string{}
	var shared []candidate
	for base, group := range groups {
		if len(group) == 1 {
			named[group[0].sid], taken[base] = base, true
			continue
		}
		shared = append(shared, group...)
	}
	slices.SortFunc(shared, func(a, b candidate) int { return strings.Compare(a.sid, b.sid) })
	for _, c := range shared {
		name := firstFree(c, c.base(from), taken)
		named[c.sid], taken[name] = name, true
	}
	return named
}

// firstFree tries the shortest addition first. No more numbers share a name than there
// are additions with a count, so one is free.
func firstFree(c candidate, base string, taken map[string]bool) string {
	sid := strings.ToLower(strings.TrimPrefix(c.sid, "PN"))
	for _, suffix := range []string{sid[max(0, len(sid)-8):], sid} {
		if name := withSuffix(base, label(suffix)); !taken[name] {
			return name
		}
	}
	for n := 2; ; n++ {
		if name := withSuffix(base, strconv.Itoa(n)); !taken[name] {
			return name
		}
	}
}

func withSuffix(base, suffix string) string {
	room := maxName - len(suffix) - 1
	return strings.TrimRight(base[:min(len(base), room)], "-") + "-" + suffix
}

// base is the name before it is made unique.
func (c candidate) base(from NameFrom) string {
	if from == NameFromFriendlyName {
		// A digit first would make YAML tools read some names as numbers.
		if name := label(c.friendlyName); name != "" && strings.ContainsAny(name, "abcdefghijklmnopqrstuvwxyz") && name[0] > '9' {
			return name
		} else if name != "" {
			return label("tel-" + name)
		}
	}
	if digits := label(c.e164); digits != "" {
		return label("tel-" + digits)
	}
	return label(c.sid)
}

// label makes a text a DNS label: lower-case letters, digits and single hyphens.
func label(text string) string {
	var b strings.Builder
	hyphen := false
	for _, r := range strings.ToLower(text) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			if hyphen && b.Len() > 0 {
				b.WriteByte('-')
			}
			b.WriteRune(r)
			hyphen = false
			continue
		}
		hyphen = true
	}
	return strings.TrimRight(b.String()[:min(b.Len(), maxName)], "-")
}

// fileNames gives each number a file: the digits of its E.164 form where it has one,
// otherwise the object's name. The plus is left out, for some tools take it for a space.
func fileNames(all []candidate, named map[string]string) map[string]string {
	files, count := map[string]string{}, map[string]int{}
	for _, c := range all {
		count[c.e164]++
	}
	for _, c := range all {
		if isE164(c.e164) && count[c.e164] == 1 {
			files[c.sid] = strings.TrimPrefix(c.e164, "+") + ".yaml"
			continue
		}
		files[c.sid] = fmt.Sprintf("%s.yaml", named[c.sid])
	}
	return files
}

func isE164(s string) bool {
	digits, ok := strings.CutPrefix(s, "+")
	return ok && digits != "" && len(digits) <= 20 && strings.Trim(digits, "0123456789") == ""
}
