// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
)

// command is one line of a page, with the exit code that the page tells of.
type command struct {
	text string
	code int
}

var (
	shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")
	exitNote   = regexp.MustCompile(`\s+# exits (\d)[^\n]*$`)
)

// commandsOf reads the commands of a page, in their order, or of those sections of it that
// have one of the headings.
func commandsOf(t *testing.T, page string, headings ...string) []command {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testenv.Root(), "docs", "cli", page))
	if err != nil {
		t.Fatal(err)
	}
	chosen := string(text)
	if len(headings) > 0 {
		chosen = ""
		for section := range strings.SplitSeq(string(text), "\n## ") {
			if heading, _, _ := strings.Cut(section, "\n"); slices.Contains(headings, heading) {
				chosen += section
			}
		}
	}
	var all []command
	for _, block := range shellBlock.FindAllStringSubmatch(chosen, -1) {
		for line := range strings.Lines(strings.ReplaceAll(block[1], "\\\n", "")) {
			c := command{text: strings.TrimSpace(line)}
			if note := exitNote.FindStringSubmatch(c.text); note != nil {
				c.code, _ = strconv.Atoi(note[1])
				c.text = strings.TrimSuffix(c.text, note[0])
			}
			all = append(all, c)
		}
	}
	if len(all) == 0 {
		t.Fatalf("docs/cli/%s has no commands under %q", page, headings)
	}
	return all
}

// follow runs a page or some sections of it, command by command, and returns what each
// command printed.
func (w *world) follow(page string, headings ...string) map[string]string {
	w.Helper()
	printed := map[string]string{}
	for _, c := range commandsOf(w.T, page, headings...) {
		code, out, errOut := w.run(c.text)
		w.Logf("$ %s\n%s%s", c.text, out, errOut)
		if code != c.code {
			w.Fatalf("%s: exit %d, and the page says %d", c.text, code, c.code)
		}
		printed[c.text] += out + errOut
	}
	return printed
}

// nothingChanged checks that the operator has looked at everything and written nothing.
func (w *world) nothingChanged(policy v1alpha1.ManagementPolicy, objects int) {
	w.Helper()
	w.settled(nil)
	all := w.objects(w.Context())
	if len(all) != objects {
		w.Errorf("%d objects, want %d", len(all), objects)
	}
	for _, o := range all {
		if o.Spec.ManagementPolicy != policy || !meta.IsStatusConditionTrue(o.Status.Conditions, v1alpha1.ConditionInSync) {
			w.Errorf("%s: %s, %v", o.Name, o.Spec.ManagementPolicy, o.Status.Conditions)
		}
	}
	if got := w.writes(0); len(got) > 0 {
		w.Errorf("the operator has made the writes %v", got)
	}
}

func TestBringAnExistingAccount(t *testing.T) {
	startManager(t)
	w := newWorld(t, 4, 3)
	w.assign(1, 1, 2)
	w.assign(2, 3)
	w.assign(3, 1, 2, 3)
	printed := w.follow("import.md")
	w.nothingChanged(v1alpha1.ManagementAuthoritative, 3)
	if got := printed["kubectl twilio-addons plan -f numbers"]; strings.Count(got, "No changes: 3 objects, 6 add-ons in place.") != 2 {
		t.Errorf("plan printed %s", got)
	}
	// Straight from one to the other works, too.
	w.ok("kubectl twilio-addons export -n telephony --policy Authoritative --all | kubectl apply -f -")
	w.nothingChanged(v1alpha1.ManagementAuthoritative, 4)
}

func TestComeFromTerraform(t *testing.T) {
	startManager(t)
	w := newWorld(t, 2, 2)
	w.assign(1, 1, 2)
	w.assign(2, 2)
	var instances []string
	for i, pair := range [][2]int{{1, 1}, {1, 2}, {2, 2}} {
		instances = append(instances, fmt.Sprintf(`{"index_key":%d,"attributes":{"id":"%s/%s"}}`, i, w.sid("PN", pair[0]), w.sid("XE", pair[1])))
	}
	state := filepath.Join(w.dir, "pulled.json")
	w.must(os.WriteFile(state, []byte(`{"version":4,"resources":[{"mode":"managed","type":"twilio_api_accounts_incoming_phone_numbers_assigned_add_ons","name":"line","instances":[`+
		strings.Join(instances, ",")+`]}]}`), 0o600))
	w.env = append(w.env, "TERRAFORM_STATE="+state)
	printed := w.follow("terraform.md")
	w.nothingChanged(v1alpha1.ManagementAuthoritative, 2)
	proven := 0
	for _, text := range printed {
		proven += strings.Count(text, "proven: Twilio is as the state says, 2 numbers with 3 add-ons")
	}
	if proven != 2 {
		t.Errorf("proven %d times: %v", proven, printed)
	}
}

func TestReviewAChange(t *testing.T) {
	w := newWorld(t, 3, 3)
	w.assign(1, 1, 2)
	w.assign(2, 3)
	w.ok("kubectl twilio-addons export -n telephony --output-dir numbers --kustomization --policy Authoritative")
	w.ok("git init -q && git add -A && git commit -q -m first && git update-ref refs/remotes/origin/main HEAD")
	first := filepath.Join(w.dir, "numbers", fmt.Sprintf("1415%04d001.yaml", w.number))
	content, err := os.ReadFile(first)
	w.must(err)
	changed := strings.Replace(string(content), w.sid("XE", 2), w.sid("XE", 3), 1)
	w.must(os.WriteFile(first, []byte(changed), 0o600))
	printed := w.follow("review.md")
	got := printed["kubectl twilio-addons plan -f numbers --against origin/main"]
	for _, part := range []string{"+ " + w.sid("XE", 3), "- " + w.sid("XE", 2), "1 number changes: 1 to assign, 1 to unassign"} {
		if !strings.Contains(got, part) {
			t.Errorf("no %q in %s", part, got)
		}
	}
	comment, err := os.ReadFile(filepath.Join(w.dir, "comment.md"))
	w.must(err)
	if !strings.HasPrefix(string(comment), "### Twilio add-ons\n\n**1 number changes") {
		t.Errorf("the comment is %s", comment)
	}
	if got := w.writes(0); len(got) > 0 {
		t.Errorf("writes %v", got)
	}
}

// The examples of the page about reviews do what it says: the workflow comments and passes or
// fails, and the hook stops a sync, with no other rights than it says.
func TestReviewExamples(t *testing.T) {
	const numbers = 12
	w := newWorld(t, numbers, 2)
	for n := range numbers {
		w.assign(n+1, 1)
	}
	w.ok("kubectl twilio-addons export -n telephony --output-dir numbers --policy Authoritative")
	w.ok("git init -q && git add -A && git commit -q -m first && git update-ref refs/remotes/origin/main HEAD")
	w.may("planner", []string{"list"}, "phonenumberaddonassignments")
	w.must(os.Mkdir(filepath.Join(w.dir, "stubs"), 0o755))
	gh := filepath.Join(w.dir, "stubs", "gh")
	w.must(os.WriteFile(gh, []byte("#!/bin/sh\necho \"$@\" > commented\n"), 0o755))
	var workflow struct {
		Jobs struct {
			Plan struct{ Steps []struct{ Run string } }
		}
	}
	var hook struct {
		Spec struct {
			Template struct {
				Spec struct{ Containers []struct{ Command []string } }
			}
		}
	}
	examples := yamlBlocks(t, "review.md")
	w.must(yaml.Unmarshal(examples[0], &workflow), yaml.Unmarshal(examples[1], &hook))
	steps, command := workflow.Jobs.Plan.Steps, hook.Spec.Template.Spec.Containers[0].Command
	script := strings.NewReplacer("${{ github.base_ref }}", "main", "${{ github.event.number }}", "7").Replace(steps[len(steps)-1].Run)
	sync := strings.NewReplacer("/numbers", "numbers", "--cluster", "--cluster --as planner").Replace(command[2])
	if strings.Contains(script, "${{") || !slices.Equal(command[:2], []string{"sh", "-c"}) {
		t.Fatalf("the page has another workflow (%s) or hook (%v) than this test knows", script, command)
	}
	w.must(os.WriteFile(filepath.Join(w.dir, "workflow.sh"), []byte(script), 0o600), os.WriteFile(filepath.Join(w.dir, "hook.sh"), []byte(sync), 0o600))
	for _, c := range []struct {
		change   string
		workflow int
		hook     int
		says     string
	}{
		{"true", 0, 0, "No changes"},
		{"rm numbers/*001.yaml && sed -i '/^  - XE/d; s/addOnSIDs:/addOnSIDs: []/' numbers/*002.yaml", 0, 0, "2 numbers change"},
		{"sed -i '/^  - XE/d; s/addOnSIDs:$/addOnSIDs: []/' numbers/*.yaml", 1, 1, "12 numbers change"},
		{"echo 'spec: {}' >> numbers/*003.yaml", 1, 1, "not valid YAML"},
	} {
		w.ok(c.change)
		code, _, errOut := w.run("PATH=$PWD/stubs:$PATH bash -e workflow.sh")
		comment := w.ok("cat commented comment.md")
		if code != c.workflow || !strings.HasPrefix(comment, "pr comment 7 --body-file comment.md ") || !strings.Contains(comment, c.says) {
			t.Errorf("%s: the workflow exits %d: %s%s", c.change, code, comment, errOut)
		}
		if code, out, errOut := w.run("sh hook.sh"); code != c.hook {
			t.Errorf("%s: the hook exits %d: %s%s", c.change, code, out, errOut)
		}
	}
}

// yamlBlocks are the examples of a page.
func yamlBlocks(t *testing.T, page string) [][]byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testenv.Root(), "docs", "cli", page))
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for _, found := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1) {
		all = append(all, found[1])
	}
	if len(all) != 2 {
		t.Fatalf("docs/cli/%s has %d examples, and this test knows 2", page, len(all))
	}
	return all
}

// Each way through the page is taken on a fleet of its own, with a real manager.
func TestInAnIncident(t *testing.T) {
	startManager(t)
	t.Run("stop and go on", incidentStops)
	t.Run("release and approve", incidentHeld)
	known := commandsOf(t, "incident.md", "What is wrong", "Stop everything", "Removals are held", "Objects are stuck in deletion", "Afterwards")
	if all := commandsOf(t, "incident.md"); len(all) != len(known) {
		t.Errorf("the page has %d commands, and only %d are run", len(all), len(known))
	}
}

// newFleet has three numbers with an add-on and an object each, and a budget of one number.
func newFleet(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, 4, 2)
	account := &v1alpha1.TwilioAccount{}
	w.must(env.Client.Get(t.Context(), client.ObjectKey{Name: "default"}, account))
	before := account.DeepCopy() // a patch: the manager writes to the account, too
	account.Spec.RemovalBudget = v1alpha1.RemovalBudget{MaxNumbers: new(intstr.FromInt32(1)), MinNumbers: new(int32(1))}
	w.must(env.Client.Patch(t.Context(), account, client.MergeFrom(before)))
	for i := range 3 {
		w.create(fmt.Sprintf("line-%d", i+1), i+1, w.sid("XE", 1))
	}
	w.settled(nil)
	return w
}

// While an account is suspended nothing is done about its numbers; afterwards all of it is.
func incidentStops(t *testing.T) {
	w := newFleet(t)
	printed := w.follow("incident.md", "What is wrong", "Stop everything")
	w.says(printed, map[string]string{
		"kubectl twilio-addons doctor":                              "0 findings",
		"kubectl twilio-addons suspend --account default --dry-run": "suspended (dry run: nothing was changed)",
		"kubectl twilio-addons suspend --account default":           "twilioaccount/default suspended\n",
		"kubectl twilio-addons suspend --all -n telephony":          "telephony/line-1 suspended\n",
	})
	w.eventually("everything is suspended", func() error { return w.all(v1alpha1.ReasonSuspended, 3) })
	before := w.seq()
	w.assign(1, 2) // drift
	w.assign(4, 2) // nobody's number
	w.ok("kubectl delete pnaa line-2 -n telephony --wait=false")
	w.ok("kubectl twilio-addons reconcile line-1 -n telephony --wait")
	if got := w.writes(before); len(got) > 0 {
		t.Errorf("the operator made the writes %v while all was suspended", got)
	}
	printed = w.follow("incident.md", "Afterwards")
	w.says(printed, map[string]string{"kubectl twilio-addons inventory --account default": "nobody manages add_on_2"})
	want := []string{"unassign " + w.sid("PN", 1) + " " + w.sid("XE", 2)}
	w.eventually("the drift is repaired", func() error {
		if got := w.writes(before); !slices.Equal(got, want) {
			return fmt.Errorf("writes %v, want %v", got, want)
		}
		return nil
	})
	// A deleted object that is suspended is let go with its add-ons.
	w.eventually("two objects are settled", func() error { return w.all(v1alpha1.ReasonSynced, 2) })
}

// Of a fleet that is deleted at once, one number is free by the budget and the rest is held.
// What is released goes and leaves its add-ons; what is approved is removed.
func incidentHeld(t *testing.T) {
	w := newFleet(t)
	w.ok("kubectl create namespace elsewhere")
	w.assign(4, 1)
	w.ok("kubectl get pnaa line-3 -n telephony -o yaml | sed -e 's/namespace: telephony/namespace: elsewhere/' " +
		"-e 's/" + w.sid("PN", 3) + "/" + w.sid("PN", 4) + "/' | kubectl apply -f -")
	w.settled(nil)
	w.ok("kubectl delete pnaa --all -n telephony --wait=false && kubectl delete pnaa --all -n elsewhere --wait=false")
	w.eventually("all but one are held", func() error { return w.all(v1alpha1.ReasonRemovalsHeld, 3) })
	w.says(w.follow("incident.md", "What is wrong", "Objects are stuck in deletion"), map[string]string{
		"kubectl twilio-addons doctor":                     "0 findings",
		"kubectl twilio-addons status -A --tree":           "NOT READY  RemovalsHeld",
		"kubectl twilio-addons release --all -n telephony": " released: its add-ons stay assigned\n",
	})
	w.eventually("the released are gone", func() error { return w.all(v1alpha1.ReasonRemovalsHeld, 1) })
	before := w.seq()
	w.eventually("the account counts one", func() error {
		if out := w.ok("kubectl get twilioaccount default -o jsonpath={.status.removals.held}"); out != "1" {
			return errors.New(out)
		}
		return nil
	})
	w.says(w.follow("incident.md", "Removals are held"), map[string]string{
		"kubectl twilio-addons approve default --dry-run": "approved: 1 number may lose add-ons (dry run: nothing was changed)\n  among them elsewhere/line-3",
		"kubectl twilio-addons approve default":           "approved: 1 number may lose add-ons\n  among them elsewhere/line-3",
	})
	w.eventually("all are gone", func() error { return w.all("", 0) })
	want := []string{"unassign " + w.sid("PN", 4) + " " + w.sid("XE", 1)}
	if got := w.writes(before); !slices.Equal(got, want) {
		t.Errorf("writes %v, want %v", got, want)
	}
	if got := w.writes(0); len(got) != 3+1+1 {
		t.Errorf("writes %v, want three to assign, one to unassign that the budget leaves free, and the approved one", got)
	}
}

// all is nil if there are so many objects, and each has the reason.
func (w *world) all(reason string, count int) error {
	w.Helper()
	objects := w.objects(w.Context())
	for _, o := range objects {
		ready := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Reason != reason {
			return fmt.Errorf("%s: %+v", o.Name, ready)
		}
	}
	if len(objects) != count {
		return fmt.Errorf("%d objects, want %d", len(objects), count)
	}
	return nil
}

// says checks what commands printed: each has its part.
func (w *world) says(printed, parts map[string]string) {
	w.Helper()
	for text, part := range parts {
		if !strings.Contains(printed[text], part) {
			w.Errorf("%s: no %q in %s", text, part, printed[text])
		}
	}
}

func TestStatus(t *testing.T) {
	startManager(t)
	w := newWorld(t, 2, 2)
	w.assign(1, 1)
	w.ok("kubectl twilio-addons export --all -n telephony | kubectl apply -f -")
	w.settled(nil)
	w.ok("kubectl twilio-addons status -n telephony --fail")
	name := fmt.Sprintf("tel-1415%04d001", w.number)
	if got := w.ok("kubectl twilio-addons status -n telephony -o name"); !strings.Contains(got, "phonenumberaddonassignment.addons.twilio-operator.dev/"+name+"\n") {
		t.Errorf("names %s", got)
	}
	if got := w.ok("kubectl twilio-addons status -n telephony -o json | kubectl create --dry-run=client -o name -f -"); strings.Count(got, "\n") != 2 {
		t.Errorf("json %s", got)
	}
	if got := w.ok("kubectl twilio-addons __complete status -n telephony ''"); !strings.Contains(got, name+"\t+1415") {
		t.Errorf("completion %s", got)
	}
	if code, out, errOut := w.run("kubectl twilio-addons status -n telephony nobody"); code != 1 || out != "" || !strings.Contains(errOut, "there is no PhoneNumberAddOnAssignment telephony/nobody") {
		t.Errorf("exit %d: %s%s", code, out, errOut)
	}
	w.ok(`kubectl patch secret default --type merge -p '{"stringData":{"authToken":"other"}}' -n ` + testenv.Namespace)
	w.eventually("status --fail fails", func() error {
		if code, _, _ := w.run("kubectl twilio-addons status -n telephony --fail"); code != 1 {
			return fmt.Errorf("exit %d", code)
		}
		return nil
	})
	if code, out, _ := w.run("kubectl twilio-addons doctor"); code != 1 || !strings.Contains(out, "FINDING      account default: Twilio does not accept the credential") || !strings.Contains(out, "\n1 finding\n") {
		t.Errorf("exit %d: %s", code, out)
	}
}
