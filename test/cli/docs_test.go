// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

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

// commandsOf reads the commands of a page, in their order.
func commandsOf(t *testing.T, page string) []command {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testenv.Root(), "docs", "cli", page))
	if err != nil {
		t.Fatal(err)
	}
	var all []command
	for _, block := range shellBlock.FindAllStringSubmatch(string(text), -1) {
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
		t.Fatalf("docs/cli/%s has no commands", page)
	}
	return all
}

// follow runs a page, command by command, and returns what each printed.
func (w *world) follow(page string) map[string]string {
	w.Helper()
	printed := map[string]string{}
	for _, c := range commandsOf(w.T, page) {
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
	state := filepath.Join(w.dir, "pulled.json")
	w.must(os.WriteFile(state, []byte(w.terraformState([2]int{1, 1}, [2]int{1, 2}, [2]int{2, 2})), 0o600))
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

// No manager runs here, so that what the page acts on holds still: the statuses are
// written by the test.
func TestInAnIncident(t *testing.T) {
	w := newWorld(t, 2, 2)
	w.assign(2, 1)
	ctx := t.Context()
	lease := &coordinationv1.Lease{}
	lease.Name, lease.Namespace = "twilio-addon-operator.twilio-operator.dev", testenv.Namespace
	_ = env.Client.Delete(ctx, lease.DeepCopy())
	lease.Spec = coordinationv1.LeaseSpec{HolderIdentity: new("manager-0"), LeaseDurationSeconds: new(int32(15)), RenewTime: new(metav1.NowMicro())}
	w.must(env.Client.Create(ctx, lease))
	t.Cleanup(func() { w.must(env.Client.Delete(context.Background(), lease)) }) // a manager would wait for its end
	stuck := &v1alpha1.PhoneNumberAddOnAssignment{
		ObjectMeta: metav1.ObjectMeta{Name: "stuck", Namespace: namespace, Finalizers: []string{v1alpha1.FinalizerUnassign}},
		Spec:       v1alpha1.PhoneNumberAddOnAssignmentSpec{PhoneNumberSID: v1alpha1.PhoneNumberSID(w.sid("PN", 1)), AddOnSIDs: []v1alpha1.AddOnSID{}},
	}
	living := stuck.DeepCopy()
	living.Name, living.Finalizers = "living", nil
	w.must(env.Client.Create(ctx, stuck), env.Client.Create(ctx, living), env.Client.Delete(ctx, stuck))
	w.must(env.Client.Get(ctx, client.ObjectKeyFromObject(stuck), stuck))
	meta.SetStatusCondition(&stuck.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonRemovalsHeld, Message: "Held."})
	meta.SetStatusCondition(&stuck.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonRemovalsHeld, Message: "Held."})
	w.must(env.Client.Status().Update(ctx, stuck))
	account := &v1alpha1.TwilioAccount{}
	w.must(env.Client.Get(ctx, client.ObjectKey{Name: "default"}, account))
	account.Status.Removals = v1alpha1.RemovalsStatus{Hold: "7f3a", Held: 1, HeldSince: new(metav1.Now()), Cause: v1alpha1.RemovalsOverBudget, Sample: []string{"telephony/stuck"}}
	w.must(env.Client.Status().Update(ctx, account))

	printed := w.follow("incident.md")

	w.must(env.Client.Get(ctx, client.ObjectKeyFromObject(account), account))
	w.must(env.Client.Get(ctx, client.ObjectKeyFromObject(living), living), env.Client.Get(ctx, client.ObjectKeyFromObject(stuck), stuck))
	got := []any{account.Spec.Suspend, account.Annotations[v1alpha1.AnnotationApproveRemovals], living.Spec.Suspend, living.Spec.DeletionPolicy,
		stuck.Spec.DeletionPolicy, living.Annotations[v1alpha1.AnnotationReconcileRequestedAt] != ""}
	if diff := cmp.Diff([]any{false, "7f3a", false, v1alpha1.DeletionDelete, v1alpha1.DeletionRetain, true}, got); diff != "" {
		t.Error(diff)
	}
	for text, part := range map[string]string{
		"kubectl twilio-addons doctor":                              "0 findings",
		"kubectl twilio-addons status -A --tree":                    "NOT READY  RemovalsHeld",
		"kubectl twilio-addons suspend --account default --dry-run": "suspended (dry run: nothing was changed)",
		"kubectl twilio-addons suspend --account default":           "twilioaccount/default suspended\n",
		"kubectl twilio-addons suspend --all -n telephony":          "telephony/living suspended\n",
		"kubectl twilio-addons approve default":                     "hold 7f3a approved: 1 number may lose add-ons\n  among them telephony/stuck\n",
		"kubectl twilio-addons release --all -n telephony":          "telephony/stuck released: its add-ons stay assigned\n",
		"kubectl twilio-addons inventory --account default":         "nobody manages add_on_1",
	} {
		if !strings.Contains(printed[text], part) {
			t.Errorf("%s: no %q in %s", text, part, printed[text])
		}
	}
	if got := w.writes(0); len(got) > 0 {
		t.Errorf("writes %v", got)
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
