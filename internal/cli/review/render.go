// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package review

import (
	"cmp"
	"encoding/json"
	"fmt"
	"html"
	"strings"
	"unicode"
)

// JSON is the review with an indentation, and a line feed at its end.
func (r *Review) JSON() ([]byte, error) {
	if r.Changes == nil {
		r.Changes = []Change{}
	}
	out, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(out, '\n'), nil
}

// Sentence is the summary in words.
func (s Summary) Sentence() string {
	if s.NumbersChange == 0 {
		return fmt.Sprintf("No changes: %s, %d add-ons in place.", count(s.Objects, "object"), s.Adopt+s.Unchanged)
	}
	text := fmt.Sprintf("%s: %d to assign, %d to unassign", changes(s.NumbersChange), s.Assign, s.Unassign)
	if s.MayUnassign > 0 {
		text += fmt.Sprintf(", %d to unassign if the operator assigned them", s.MayUnassign)
	}
	if s.Adopt > 0 {
		text += fmt.Sprintf(", %d adopted as they are", s.Adopt)
	}
	if s.NumbersLose > 0 {
		text += fmt.Sprintf("; %s add-ons", loses(s.NumbersLose))
	}
	return text + "."
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func changes(n int) string {
	if n == 1 {
		return "1 number changes"
	}
	return fmt.Sprintf("%d numbers change", n)
}

func loses(n int) string {
	if n == 1 {
		return "1 number loses"
	}
	return fmt.Sprintf("%d numbers lose", n)
}

// row is one add-on of a change, with the sign and the words it is shown by.
type row struct {
	sign  string
	addOn AddOn
	words string
}

func (c *Change) rows() []row {
	var rows []row
	add := func(sign, words string, addOns []AddOn) {
		for _, a := range addOns {
			rows = append(rows, row{sign, a, words})
		}
	}
	add("+", "assign", c.Assign)
	add("!", "not installed: Twilio will refuse it", c.Refused)
	add("-", "unassign", c.Unassign)
	add("-", "unassign, if the operator assigned it", c.MayUnassign)
	add("~", "to unassign, waits for what is refused", c.Waiting)
	add("=", "adopt, assigned already", c.Adopt)
	add("?", "missing, left alone", c.Missing)
	add("?", "unmanaged, left alone", c.Unmanaged)
	return rows
}

// shown says whether people want to see the change in a list.
func (c *Change) shown() bool {
	return c.Writes() || c.Note != "" || len(c.Refused)+len(c.Waiting)+len(c.Adopt)+len(c.Missing)+len(c.Unmanaged) > 0
}

// colours of the signs, as terminals know them.
var colours = map[string]string{"+": "\x1b[32m", "-": "\x1b[31m", "!": "\x1b[31m", "~": "\x1b[33m", "?": "\x1b[33m"}

// Text is the review for people, with colours if asked for.
func (r *Review) Text(colour bool) string {
	var b strings.Builder
	for i := range r.Changes {
		c := &r.Changes[i]
		if !c.shown() {
			continue
		}
		fmt.Fprintf(&b, "%s  %s  %s\n", cmp.Or(plain(c.PhoneNumber), c.NumberSID), c.Object, c.place())
		if c.Note != "" {
			fmt.Fprintf(&b, "    %s\n", c.Note)
		}
		for _, row := range c.rows() {
			line := fmt.Sprintf("  %s %s  %s  (%s)", row.sign, row.addOn.SID, cmp.Or(plain(row.addOn.UniqueName), "–"), row.words)
			if colour && colours[row.sign] != "" {
				line = colours[row.sign] + line + "\x1b[0m"
			}
			b.WriteString(line + "\n")
		}
		b.WriteByte('\n')
	}
	for _, p := range r.Problems {
		fmt.Fprintf(&b, "problem: %s\n", p)
	}
	if len(r.Problems) > 0 {
		b.WriteByte('\n')
	}
	for _, text := range r.NotChecked {
		fmt.Fprintf(&b, "not checked: %s\n", text)
	}
	b.WriteString(r.Summary.Sentence() + "\n")
	for i := range r.Holds {
		b.WriteString(r.Holds[i].Sentence() + ".\n")
	}
	if n := len(r.Problems); n > 0 {
		fmt.Fprintf(&b, "%s in the manifests.\n", count(n, "problem"))
	}
	return b.String()
}

func (c *Change) place() string {
	switch {
	case c.Deleted:
		return "(deleted)"
	case c.Line > 0:
		return fmt.Sprintf("%s:%d", c.File, c.Line)
	}
	return c.File
}

// plain drops what could steer a terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
}

const (
	// maxComment is the length from which GitHub refuses a comment. It counts characters;
	// a count of bytes is on the safe side.
	maxComment = 65536
	// collapseFrom is how many rows a comment shows without a click.
	collapseFrom = 20
)

// Markdown is the review as a comment on a pull request: shorter than GitHub's bound, and
// collapsed where it is long.
func (r *Review) Markdown() string {
	head := r.markdownHead()
	rows := r.markdownRows()
	if len(rows) == 0 {
		return head
	}
	open, end := "", ""
	if len(rows) > collapseFrom {
		open, end = fmt.Sprintf("<details><summary>%d rows</summary>\n\n", len(rows)), "\n</details>\n"
	}
	open += "| | number | add-on | object |\n|---|---|---|---|\n"
	const rest = "\n%d more rows are left out: run the plan to see them.\n"
	room := maxComment - len(head) - len(open) - len(end) - len(rest) - 20
	var table strings.Builder
	left := len(rows)
	for _, row := range rows {
		if table.Len()+len(row) > room {
			break
		}
		table.WriteString(row)
		left--
	}
	if left > 0 {
		end = fmt.Sprintf(rest, left) + end
	}
	return head + open + table.String() + end
}

// maxListed is how much of a comment is for problems, in bytes.
const maxListed = 16 << 10

func (r *Review) markdownHead() string {
	var b strings.Builder
	fmt.Fprintf(&b, "### Twilio add-ons\n\n**%s**\n\n", r.Summary.Sentence())
	for i := range r.Holds {
		fmt.Fprintf(&b, "- :raised_hand: %s\n", html.EscapeString(r.Holds[i].Sentence()))
	}
	for i, p := range r.Problems {
		if b.Len() > maxListed {
			fmt.Fprintf(&b, "- %d more problems\n", len(r.Problems)-i)
			break
		}
		fmt.Fprintf(&b, "- :x: %s: %s\n", code(p.Where()), code(p.Message))
	}
	for _, text := range r.NotChecked {
		fmt.Fprintf(&b, "- :grey_question: not checked: %s\n", html.EscapeString(text))
	}
	if len(r.Holds)+len(r.Problems)+len(r.NotChecked) > 0 {
		b.WriteByte('\n')
	}
	return b.String()
}

func (r *Review) markdownRows() []string {
	var out []string
	for i := range r.Changes {
		c := &r.Changes[i]
		where := code(c.Object)
		if c.Deleted {
			where += " (deleted)"
		}
		rows := c.rows()
		if len(rows) == 0 && c.Note != "" {
			out = append(out, fmt.Sprintf("| | %s | %s | %s |\n", code(cmp.Or(c.PhoneNumber, c.NumberSID)), code(c.Note), where))
		}
		for _, row := range rows {
			name := code(row.addOn.SID)
			if row.addOn.UniqueName != "" {
				name = code(row.addOn.UniqueName) + " " + name
			}
			out = append(out, fmt.Sprintf("| %s | %s | %s | %s |\n", row.words, code(cmp.Or(c.PhoneNumber, c.NumberSID)), name, where))
		}
	}
	return out
}

// maxCode bounds one piece of text in a comment.
const maxCode = 300

// code shows a text of somebody else's as it is: within a code span nothing is a link, a
// mention or HTML, and nothing in it ends the span or the cell of a table.
func code(s string) string {
	s = strings.NewReplacer("`", "'", "|", "/", "\n", " ", "\r", " ").Replace(plain(s))
	if runes := []rune(s); len(runes) > maxCode {
		s = string(runes[:maxCode]) + "…"
	}
	if strings.TrimSpace(s) == "" {
		return "–"
	}
	return "`" + s + "`"
}
