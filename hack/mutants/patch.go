// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// patch is a unified diff, of which the context counts and the line numbers do not: the
// code around a fault may move, also to another file. Comments, empty lines and
// indentation do not count either. It changes one file.
type patch struct {
	// file is the path of the changed file, relative to the module.
	file  string
	hunks []hunk
}

// hunk is one place that a patch changes.
type hunk struct {
	lines []hunkLine
}

// hunkLine is a line of a hunk: ' ' for context, '-' to remove, '+' to add.
type hunkLine struct {
	op   byte
	text string
}

// errNoPlace says that a patch no longer fits a file.
var errNoPlace = errors.New("no place has the lines that the patch changes")

// parsePatch reads a description, which is the first paragraph, and the diff below it.
func parsePatch(text string) (description string, p *patch, err error) {
	description, diff, found := strings.Cut(text, "\n\n")
	if !found || strings.HasPrefix(description, "diff ") || strings.HasPrefix(description, "---") {
		return "", nil, errors.New("it must begin with a description and an empty line")
	}
	p = &patch{}
	for line := range strings.SplitSeq(strings.TrimSuffix(diff, "\n"), "\n") {
		if err := p.read(line); err != nil {
			return "", nil, err
		}
	}
	if p.file == "" || len(p.hunks) == 0 {
		return "", nil, errors.New("it has no diff")
	}
	for i := range p.hunks {
		h := &p.hunks[i]
		h.normalize()
		if !slices.ContainsFunc(h.lines, func(line hunkLine) bool { return line.op != ' ' }) {
			return "", nil, errors.New("a hunk changes no code")
		}
		if len(h.before()) == 0 {
			return "", nil, errors.New("a hunk has no code but what it adds, so its place cannot be found")
		}
	}
	return strings.Join(strings.Fields(description), " "), p, nil
}

func (p *patch) read(line string) error {
	switch {
	case strings.HasPrefix(line, "+++ "):
		if p.file != "" {
			return errors.New("it changes more than one file")
		}
		p.file = strings.TrimPrefix(strings.TrimPrefix(line, "+++ "), "b/")
	case strings.HasPrefix(line, "@@ "):
		p.hunks = append(p.hunks, hunk{})
	case len(p.hunks) == 0: // the header that git writes
	default:
		h := &p.hunks[len(p.hunks)-1]
		if line == "" { // an empty line of context whose space an editor has removed
			line = " "
		}
		if !strings.ContainsRune(" +-", rune(line[0])) {
			return fmt.Errorf("not a line of a diff: %q", line)
		}
		h.lines = append(h.lines, hunkLine{op: line[0], text: line[1:]})
	}
	return nil
}

// significant says whether a line counts when a place is looked for: comments are reworded
// and empty lines come and go, while the code stays.
func significant(line string) bool {
	line = strings.TrimSpace(line)
	return line != "" && !strings.HasPrefix(line, "//")
}

// normalize drops the lines of a hunk that do not count.
func (h *hunk) normalize() {
	h.lines = slices.DeleteFunc(h.lines, func(line hunkLine) bool { return line.op != '+' && !significant(line.text) })
}

// before are the lines that a place must have: context and removed ones.
func (h *hunk) before() []string {
	var lines []string
	for _, line := range h.lines {
		if line.op != '+' {
			lines = append(lines, strings.TrimSpace(line.text))
		}
	}
	return lines
}

// shorten returns the hunk without as many lines of context at both ends; false if none
// was left to drop.
func (h *hunk) shorten(n int) (hunk, bool) {
	lines, dropped := h.lines, false
	for range n {
		if len(lines) > 0 && lines[0].op == ' ' {
			lines, dropped = lines[1:], true
		}
		if len(lines) > 0 && lines[len(lines)-1].op == ' ' {
			lines, dropped = lines[:len(lines)-1], true
		}
	}
	return hunk{lines: lines}, dropped
}

// place is where a hunk goes.
type place struct {
	// start and end are the lines of the file between which the hunk's lines stand.
	start, end int
	edits      []edit
	// fuzz is how many lines of context were dropped at both ends to find the place.
	fuzz int
}

// edit removes a line of the file, or adds one before it.
type edit struct {
	at     int
	remove bool
	add    string
}

// maxFuzz leaves one of the three lines of context that git writes.
const maxFuzz = 2

// find looks for the one place in a file that has the hunk's lines. It drops outer lines
// of context, one after the other, until there is one. Removed lines must all be there.
func (h *hunk) find(file []string) (place, error) {
	var counted []int // the significant lines of the file
	for i, line := range file {
		if significant(line) {
			counted = append(counted, i)
		}
	}
	for fuzz := range maxFuzz + 1 {
		short, dropped := h.shorten(fuzz)
		before := short.before()
		if (fuzz > 0 && !dropped) || len(before) == 0 {
			break
		}
		found := matches(before, file, counted)
		switch {
		case len(found) == 1:
			return short.at(counted[found[0]:found[0]+len(before)], fuzz), nil
		case len(found) > 1 && fuzz == 0:
			return place{}, fmt.Errorf("%d places have the lines that the patch changes, so it needs more context", len(found))
		case len(found) > 1: // what is left of the context tells nothing
			return place{}, errNoPlace
		}
	}
	return place{}, errNoPlace
}

// matches are the indexes in counted at which the file has the lines.
func matches(before, file []string, counted []int) []int {
	var found []int
	for start := 0; start+len(before) <= len(counted); start++ {
		i := 0
		for i < len(before) && strings.TrimSpace(file[counted[start+i]]) == before[i] {
			i++
		}
		if i == len(before) {
			found = append(found, start)
		}
	}
	return found
}

// at is the place of a hunk of which the lines of context and the removed ones stand at
// these lines of the file.
func (h *hunk) at(lines []int, fuzz int) place {
	pl := place{start: lines[0], end: lines[len(lines)-1] + 1, fuzz: fuzz}
	next := lines[0] // where a line is added: behind the one before it
	for _, line := range h.lines {
		if line.op == '+' {
			pl.edits = append(pl.edits, edit{at: next, add: line.text})
			continue
		}
		if line.op == '-' {
			pl.edits = append(pl.edits, edit{at: lines[0], remove: true})
		}
		next, lines = lines[0]+1, lines[1:]
	}
	return pl
}

// apply returns the source with the patch applied, and the places it went to.
func (p *patch) apply(source string) (string, []place, error) {
	file := strings.Split(source, "\n")
	var places []place
	var edits []edit
	for i := range p.hunks {
		found, err := p.hunks[i].find(file)
		if err != nil {
			return "", nil, err
		}
		if i > 0 && found.start < places[i-1].end {
			return "", nil, errNoPlace
		}
		places, edits = append(places, found), append(edits, found.edits...)
	}
	var result []string
	at := 0
	for _, e := range edits {
		result = append(result, file[at:e.at]...)
		if at = e.at; e.remove {
			at++
		} else {
			result = append(result, e.add)
		}
	}
	return strings.Join(append(result, file[at:]...), "\n"), places, nil
}

// contextLines is how many lines of context a patch is written with.
const contextLines = 3

// render writes a patch anew for the places that it goes to.
func render(description, name, source string, places []place) string {
	file := strings.Split(strings.TrimSuffix(source, "\n"), "\n")
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n--- a/%s\n+++ b/%s\n", description, name, name)
	shift, written := 0, 0
	for i := range places {
		edits := places[i].edits
		// Two hunks must not share context.
		from, to := max(written, edits[0].at-contextLines), min(len(file), edits[len(edits)-1].at+contextLines)
		if edits[len(edits)-1].remove {
			to = min(len(file), to+1)
		}
		if i+1 < len(places) {
			to = min(to, places[i+1].edits[0].at)
		}
		grown := growth(edits)
		fmt.Fprintf(&b, "@@ -%s +%s @@\n", span(from, to), span(from+shift, to+shift+grown))
		at := from
		for _, e := range edits {
			writeContext(&b, file[at:e.at])
			if at = e.at; e.remove {
				b.WriteString("-" + file[at] + "\n")
				at++
			} else {
				b.WriteString("+" + e.add + "\n")
			}
		}
		writeContext(&b, file[at:to])
		shift, written = shift+grown, to
	}
	return b.String()
}

func writeContext(b *strings.Builder, lines []string) {
	for _, line := range lines {
		b.WriteString(" " + line + "\n")
	}
}

// growth is by how many lines a change makes the file longer.
func growth(edits []edit) int {
	n := 0
	for _, e := range edits {
		if e.remove {
			n--
		} else {
			n++
		}
	}
	return n
}

func span(from, to int) string { return strconv.Itoa(from+1) + "," + strconv.Itoa(to-from) }
