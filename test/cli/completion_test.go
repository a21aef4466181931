// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// Whatever takes a name is completed with what there is in the cluster.
func TestCompletionWithLiveNames(t *testing.T) {
	w := newWorld(t, 2, 1)
	w.create("line-one", 1)
	w.create("line-two", 2)
	const objects, accounts = "line-one\nline-two\n", "default\n"
	cases := map[string]string{
		"status -n telephony ''":           objects,
		"release -n telephony ''":          objects,
		"reconcile -n telephony ''":        objects,
		"suspend -n telephony ''":          objects,
		"resume -n telephony ''":           objects,
		"suspend -n telephony line-one ''": "line-two\n",
		"approve other ''":                 "",
		"status -n default ''":             "",
		"approve ''":                       accounts,
		"release --account ''":             accounts,
		"reconcile --account ''":           accounts,
		"suspend --account ''":             accounts,
		"resume --account ''":              accounts,
		"export --account ''":              accounts,
		"export --account-ref ''":          accounts,
		"plan --account ''":                accounts,
		"inventory --account ''":           accounts,
		"inventory -o ''":                  "text\njson\nyaml\nname\n",
		"plan -o ''":                       "text\nmarkdown\njson\n",
		"export --policy ''":               "Observe\nAdditive\nAuthoritative\n",
	}
	for command, want := range cases {
		out := w.ok("kubectl-twilio_addons __complete " + command)
		if got, _, _ := strings.Cut(out, ":"); got != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
	if out := w.ok("kubectl-twilio_addons __complete status -n ''"); !strings.Contains(out, "telephony\n") || !strings.Contains(out, "default\n") {
		t.Errorf("namespaces %s", out)
	}
	// Without a cluster there are no names, and no noise on the terminal of somebody who types.
	code, out, _ := w.run("KUBECONFIG=/nonexistent kubectl-twilio_addons __complete status ''")
	if names, _, _ := strings.Cut(out, ":"); code != 0 || names != "" {
		t.Errorf("without a cluster: exit %d: %s", code, out)
	}
}

// What lists prints the same items in each form.
func TestListsInEveryForm(t *testing.T) {
	w := newWorld(t, 2, 1)
	w.create("line-one", 1)
	w.create("line-two", 2)
	sids := []string{w.sid("PN", 1), w.sid("PN", 2)}
	cases := map[string]struct {
		names []string
		items func(t *testing.T, data []byte) []string
	}{
		"status -n telephony": {
			[]string{"phonenumberaddonassignment.addons.twilio-operator.dev/line-one", "phonenumberaddonassignment.addons.twilio-operator.dev/line-two"},
			func(t *testing.T, data []byte) []string {
				t.Helper()
				var list struct {
					Kind  string
					Items []struct {
						Spec struct{ PhoneNumberSID string }
					}
				}
				if err := json.Unmarshal(data, &list); err != nil || !strings.HasSuffix(list.Kind, "List") {
					t.Fatalf("%v: %s", err, data)
				}
				var found []string
				for _, item := range list.Items {
					found = append(found, item.Spec.PhoneNumberSID)
				}
				return found
			},
		},
		"inventory": {sids, func(t *testing.T, data []byte) []string {
			t.Helper()
			var list []struct{ PhoneNumberSID string }
			if err := json.Unmarshal(data, &list); err != nil {
				t.Fatalf("%v: %s", err, data)
			}
			var found []string
			for _, item := range list {
				found = append(found, item.PhoneNumberSID)
			}
			return found
		}},
	}
	for command, c := range cases {
		asJSON := w.ok("kubectl twilio-addons " + command + " -o json")
		fromYAML, err := yaml.YAMLToJSON([]byte(w.ok("kubectl twilio-addons " + command + " -o yaml")))
		w.must(err)
		for form, data := range map[string][]byte{"json": []byte(asJSON), "yaml": fromYAML} {
			if got := c.items(t, data); strings.Join(got, " ") != strings.Join(sids, " ") {
				t.Errorf("%s -o %s: %v", command, form, got)
			}
		}
		if got := w.ok("kubectl twilio-addons " + command + " -o name"); got != strings.Join(c.names, "\n")+"\n" {
			t.Errorf("%s -o name: %s", command, got)
		}
		code, out, errOut := w.run("kubectl twilio-addons " + command + " -o xml")
		w.failedWholly(code, out, errOut, "xml")
	}
}
