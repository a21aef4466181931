// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// line is what the soak reads of a line of the manager's change log.
type line struct {
	Logger    string `json:"logger"`
	Verb      string `json:"verb"`
	Number    string `json:"number"`
	AddOn     string `json:"addOn"`
	RequestID string `json:"requestID"`
}

// changeLines are the lines of the change log among what a manager has printed.
func changeLines(log string) (lines []line) {
	for text := range strings.Lines(log) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err == nil && l.Logger == "changes" {
			lines = append(lines, l)
		}
	}
	return lines
}

// checkChangeLog checks that every change in Twilio has a line in the change log. A manager
// that was killed may not have written its last line, so it is for runs without a kill.
func checkChangeLog(journal []twiliosim.Mutation, logs []string) []error {
	lines := map[line]int{}
	for _, log := range logs {
		for _, l := range changeLines(log) {
			lines[line{Verb: l.Verb, Number: l.Number, AddOn: strings.ToUpper(l.AddOn)}]++
		}
	}
	var wrong []error
	for _, m := range journal {
		verb := map[twiliosim.Change]string{twiliosim.ChangeAssign: "Assign", twiliosim.ChangeUnassign: "Unassign"}[m.Change]
		if m.Actor != twiliosim.ActorAPI || verb == "" {
			continue
		}
		told := false
		for _, sid := range []string{m.AddOn, twiliosim.AssignmentSID(m.Number, m.AddOn)} {
			l := line{Verb: verb, Number: m.Number, AddOn: strings.ToUpper(sid)}
			if !told && lines[l] > 0 {
				told = true
				lines[l]--
			}
		}
		if !told {
			wrong = append(wrong, wrongAt(m.Time, "no line of the change log tells of %s %s on %s", m.Change, short(m.AddOn), short(m.Number)))
		}
	}
	return wrong
}

// changeLog checks the change logs of all managers, if none of them was killed.
func (r *run) changeLog(journal []twiliosim.Mutation) ([]error, error) {
	r.mu.Lock()
	killed := r.counts["kills"]+r.counts["overlaps"]+r.counts["managers that ended by themselves"] > 0
	r.mu.Unlock()
	if killed {
		return nil, nil
	}
	var logs []string
	for _, m := range r.members() {
		log, err := m.process.Output()
		if err != nil {
			return nil, fmt.Errorf("reading the log of %s: %w", m.name, err)
		}
		logs = append(logs, log)
	}
	return checkChangeLog(journal, logs), nil
}
