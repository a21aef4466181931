// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/cli/review"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// object is a manifest of the number that lists add-ons; more are further lines of the spec.
func object(name string, number int, addOns []int, more ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: addons.twilio-operator.dev/v1alpha1\nkind: PhoneNumberAddOnAssignment\nmetadata:\n  name: %s\nspec:\n  phoneNumberSID: %s\n", name, pn(number))
	for _, line := range more {
		b.WriteString("  " + line + "\n")
	}
	if len(addOns) == 0 {
		b.WriteString("  addOnSIDs: []\n")
		return b.String()
	}
	b.WriteString("  addOnSIDs:\n")
	for _, n := range addOns {
		b.WriteString("  - " + xe(n) + "\n")
	}
	return b.String()
}

func documents(all ...string) string { return strings.Join(all, "---\n") }

// planned runs plan and reads its JSON.
func (w *world) planned(stdin string, args ...string) (int, *review.Review) {
	w.t.Helper()
	r := w.runWith(stdin, append([]string{"plan", "-f", "-", "-o", "json"}, args...)...)
	var out review.Review
	if err := json.Unmarshal([]byte(r.out), &out); err != nil {
		w.t.Fatalf("exit %d: %v: %s%s", r.code, err, r.out, r.errOut)
	}
	return r.code, &out
}

// in is a change in short: signs and numbers of add-ons.
func in(c *review.Change) string {
	var parts []string
	add := func(sign string, addOns []review.AddOn) {
		for _, a := range addOns {
			parts = append(parts, sign+strings.TrimLeft(strings.TrimPrefix(a.SID, "XE"), "0"))
		}
	}
	add("+", c.Assign)
	add("-", c.Unassign)
	add("?-", c.MayUnassign)
	add("!", c.Refused)
	add("~", c.Waiting)
	add("=", append(c.Adopt, c.Unchanged...))
	add("missing ", c.Missing)
	add("unmanaged ", c.Unmanaged)
	return strings.Join(parts, " ")
}

// inAll is a whole review in short: each object, whether it is deleted, and its change.
func inAll(r *review.Review) string {
	var all []string
	for i := range r.Changes {
		c := &r.Changes[i]
		all = append(all, strings.TrimSpace(fmt.Sprintf("%s %t %s", c.Object, c.Deleted, in(c))))
	}
	return strings.Join(all, "\n")
}

func TestPlan(t *testing.T) {
	// The first number carries 1 and 2, the second 1, the third nothing; 1 to 3 are installed.
	cases := map[string]struct {
		manifests string
		args      []string
		code      int
		want      map[string]string // by object
		problem   string
	}{
		"as it is": {manifests: object("a", 1, []int{1, 2}), code: 0, want: map[string]string{"default/a": "=1 =2"}},
		"exactly what is listed": {manifests: object("a", 1, []int{2, 3}), code: 2,
			want: map[string]string{"default/a": "+3 -1 =2"}},
		"empty": {manifests: object("a", 1, nil), code: 2, want: map[string]string{"default/a": "-1 -2"}},
		"additive": {manifests: object("a", 1, []int{3}, "managementPolicy: Additive"), code: 2,
			want: map[string]string{"default/a": "+3 unmanaged 1 unmanaged 2"}},
		"observe": {manifests: object("a", 1, []int{1, 3}, "managementPolicy: Observe"), code: 0,
			want: map[string]string{"default/a": "=1 missing 3 unmanaged 2"}},
		"suspended": {manifests: object("a", 1, nil, "suspend: true"), code: 0, want: map[string]string{"default/a": ""}},
		"not installed": {manifests: object("a", 1, []int{1, 9}), code: 1,
			want: map[string]string{"default/a": "!9 ~2 =1"}, problem: "-:9: default/a: the add-on " + xe(9) + " is not installed"},
		"not in the account": {manifests: object("a", 7, []int{1}), code: 1,
			want: map[string]string{"default/a": ""}, problem: "-:6: default/a: the account " + ac + " has no number " + pn(7)},
		"two of one number": {manifests: documents(object("b", 2, nil), object("a", 2, []int{1, 2})), code: 1,
			want: map[string]string{"default/a": "+2 =1", "default/b": ""}, problem: "default/b: default/a names " + pn(2)},
		"as many removals as may be": {manifests: documents(object("a", 1, nil), object("b", 2, nil)), args: []string{"--max-removals", "2"}, code: 2,
			want: map[string]string{"default/a": "-1 -2", "default/b": "-1"}},
		"more removals": {manifests: documents(object("a", 1, nil), object("b", 2, nil)), args: []string{"--max-removals", "1"}, code: 3,
			want: map[string]string{"default/a": "-1 -2", "default/b": "-1"}},
		"no valid manifest": {manifests: object("a", 1, nil, "managementPolicy: Exact"), code: 1,
			want: map[string]string{}, problem: "-:7: PhoneNumberAddOnAssignment default/a: spec.managementPolicy"},
		"another letter case": {manifests: strings.ReplaceAll(object("a", 10, []int{10}), "0a\n", "0A\n"), code: 2,
			want: map[string]string{"default/a": "+A"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			twiliosim.Must(w.AddNumber(ac, pn(10), "+14155550110"), w.InstallAddOn(ac, xe(10), "ten"))
			code, got := w.planned(c.manifests, c.args...)
			if code != c.code {
				t.Errorf("exit %d, want %d", code, c.code)
			}
			changes := map[string]string{}
			for i := range got.Changes {
				changes[got.Changes[i].Object] = in(&got.Changes[i])
			}
			if diff := cmp.Diff(c.want, changes); diff != "" {
				t.Error(diff)
			}
			switch {
			case c.problem == "" && len(got.Problems) > 0, c.problem != "" && len(got.Problems) != 1:
				t.Errorf("problems %v", got.Problems)
			case c.problem != "" && !strings.Contains(got.Problems[0].String(), c.problem):
				t.Errorf("problem %s", got.Problems[0])
			}
			w.onlyReads()
		})
	}
}

func TestPlanAgainst(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	git(t, dir, "init", "-q")
	put(t, filepath.Join(dir, "numbers", "a.yaml"), object("a", 1, []int{1, 2}))
	put(t, filepath.Join(dir, "numbers", "b.yaml"), object("b", 2, []int{1}))
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "-m", "first")
	numbers := filepath.Join(dir, "numbers")
	run := func(want string, code int) {
		t.Helper()
		r := w.run("plan", "-f", numbers, "--against", "HEAD", "-o", "json")
		var got review.Review
		if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.code != code {
			t.Fatalf("exit %d: %v: %s%s", r.code, err, r.out, r.errOut)
		}
		if diff := cmp.Diff(want, inAll(&got)); diff != "" {
			t.Error(diff)
		}
	}
	run("default/a false =1 =2\ndefault/b false =1", 0)

	// Deleted: its add-ons go.
	remove(t, filepath.Join(numbers, "a.yaml"))
	run("default/a true -1 -2\ndefault/b false =1", 2)

	// Renamed: the new object takes over, and only the difference goes.
	put(t, filepath.Join(numbers, "c.yaml"), object("c", 1, []int{2}))
	run("default/a true -1\ndefault/c false =2\ndefault/b false =1", 2)
	put(t, filepath.Join(numbers, "c.yaml"), object("c", 1, []int{2}, "managementPolicy: Additive"))
	run("default/a true -1\ndefault/c false =2 unmanaged 1\ndefault/b false =1", 2)

	// Another number of an object is refused by the cluster, and no deletion.
	remove(t, filepath.Join(numbers, "c.yaml"))
	put(t, filepath.Join(numbers, "a.yaml"), object("a", 3, []int{1}))
	run("default/b false =1", 1)

	// Whoever writes what is no YAML has not deleted the object.
	put(t, filepath.Join(numbers, "a.yaml"), object("a", 1, []int{1}, "suspend: true", "suspend: true"))
	run("default/b false =1", 1)

	// Additive: what is dropped may be the operator's own.
	put(t, filepath.Join(numbers, "a.yaml"), object("a", 1, []int{1}, "managementPolicy: Additive"))
	run("default/a false ?-2 =1\ndefault/b false =1", 2)

	// The folder itself is gone. What is told of it has the name that it had.
	if err := os.RemoveAll(numbers); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(numbers, "readme.txt"), "nothing")
	run("default/a true -1 -2\ndefault/b true -1", 2)
	if got := w.run("plan", "-f", numbers, "--against", "HEAD", "-o", "json").out; !strings.Contains(got, `"file": "`+filepath.Join(numbers, "a.yaml")+`"`) {
		t.Errorf("the files are not told as given: %s", got)
	}
	w.onlyReads()
}

func TestPlanDeletionPolicies(t *testing.T) {
	for spec, want := range map[string]string{
		"deletionPolicy: Retain":     "",
		"suspend: true":              "",
		"managementPolicy: Observe":  "",
		"managementPolicy: Additive": "?-1",
		"deletionPolicy: Delete":     "-1",
	} {
		w := newWorld(t)
		dir := t.TempDir()
		git(t, dir, "init", "-q")
		file := put(t, filepath.Join(dir, "b.yaml"), object("b", 2, []int{1}, spec))
		put(t, filepath.Join(dir, "a.yaml"), object("a", 1, []int{1, 2}))
		git(t, dir, "add", "-A")
		git(t, dir, "commit", "-q", "-m", "first")
		remove(t, file)
		r := w.run("plan", "-f", dir, "--against", "HEAD", "-o", "json")
		var got review.Review
		if err := json.Unmarshal([]byte(r.out), &got); err != nil || len(got.Changes) != 2 {
			t.Fatalf("%s: %v: %s%s", spec, err, r.out, r.errOut)
		}
		if c := in(&got.Changes[1]); c != want || !got.Changes[1].Deleted {
			t.Errorf("%s: %q, want %q", spec, c, want)
		}
	}
}

func git(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v: %s", args, err, out)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func TestPlanOfSeveralAccounts(t *testing.T) {
	w := newWorld(t)
	sub := twiliosim.SID("AC", 2)
	twiliosim.Must(w.AddSubaccount(ac, sub, "x"), w.AddNumber(sub, pn(50), "+14155550150"), w.InstallAddOn(sub, xe(50), "sub_add_on"))
	both := documents(object("a", 1, []int{1, 2}, "accountRef: {name: main}"), object("b", 50, []int{50}, "accountRef: {name: eu}"))
	oneSentence(t, w.runWith(both, "plan", "-f", "-"), "--account-map")
	code, got := w.planned(both, "--account-map", "main="+ac+",eu="+sub)
	if code != 2 || got.Summary.Assign != 1 || got.Changes[0].AccountSID != sub {
		t.Errorf("exit %d: %+v", code, got)
	}
	// The parent's credential cannot list what is installed in a subaccount.
	if len(got.NotChecked) != 1 || !strings.Contains(got.NotChecked[0], sub) {
		t.Errorf("not checked: %v", got.NotChecked)
	}
	// A TwilioAccount among the manifests says it, too. Its address is not used.
	declared := both + "---\napiVersion: addons.twilio-operator.dev/v1alpha1\nkind: TwilioAccount\nmetadata: {name: eu}\nspec:\n  accountSID: " + sub +
		"\n  credentialsSecretRef: {name: eu}\n  apiBaseURL: https://attacker.example\n"
	if code, again := w.planned(declared); code != 2 || cmp.Diff(got, again) != "" {
		t.Errorf("exit %d: %s", code, cmp.Diff(got, again))
	}
}

func TestPlanOfASuspendedAccount(t *testing.T) {
	w := newWorld(t)
	account := "apiVersion: addons.twilio-operator.dev/v1alpha1\nkind: TwilioAccount\nmetadata: {name: default}\nspec:\n  accountSID: " + ac +
		"\n  credentialsSecretRef: {name: s}\n  suspend: true\n"
	code, got := w.planned(documents(account, object("a", 1, nil)))
	if code != 0 || in(&got.Changes[0]) != "" || got.Changes[0].Note != "the account is suspended: nothing is done" {
		t.Errorf("exit %d: %+v", code, got.Changes)
	}
}

// An heir whose account is suspended takes nothing over: what the deleted object answers for
// goes.
func TestPlanOfASuspendedHeir(t *testing.T) {
	account := func(name string, suspend bool) string {
		return fmt.Sprintf("apiVersion: addons.twilio-operator.dev/v1alpha1\nkind: TwilioAccount\nmetadata: {name: %s}\nspec:\n  accountSID: %s\n  credentialsSecretRef: {name: s}\n  suspend: %t\n", name, ac, suspend)
	}
	for suspended, want := range map[bool]string{true: "default/a true -1 -2\ndefault/b false", false: "default/a true -1\ndefault/b false =2"} {
		w := newWorld(t)
		dir := t.TempDir()
		git(t, dir, "init", "-q")
		put(t, filepath.Join(dir, "accounts.yaml"), documents(account("default", false), account("twin", suspended)))
		first := put(t, filepath.Join(dir, "a.yaml"), object("a", 1, []int{1, 2}))
		git(t, dir, "add", "-A")
		git(t, dir, "commit", "-q", "-m", "first")
		remove(t, first)
		put(t, filepath.Join(dir, "b.yaml"), object("b", 1, []int{2}, "accountRef: {name: twin}"))
		r := w.run("plan", "-f", dir, "--against", "HEAD", "-o", "json")
		var got review.Review
		if err := json.Unmarshal([]byte(r.out), &got); err != nil {
			t.Fatalf("exit %d: %v: %s%s", r.code, err, r.out, r.errOut)
		}
		if diff := cmp.Diff(want, inAll(&got)); diff != "" {
			t.Errorf("suspended %t: %s", suspended, diff)
		}
	}
}

func TestPlanRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		stdin string
		args  []string
		says  string
	}{
		"no path":      {"", nil, "-f PATH"},
		"no manifest":  {"kind: ConfigMap\napiVersion: v1\n", []string{"-f", "-"}, "no PhoneNumberAddOnAssignment in -"},
		"no such file": {"", []string{"-f", "/nonexistent"}, "/nonexistent does not exist"},
		"no such form": {"", []string{"-f", "-", "-o", "xml"}, "text, markdown or json"},
		"no history":   {"", []string{"-f", "-", "--against", "HEAD"}, "standard input"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			oneSentence(t, newWorld(t).runWith(c.stdin, append([]string{"plan"}, c.args...)...), c.says)
		})
	}
}

// A plan says which removals the account's budget would hold, with the default budget or
// with that of a TwilioAccount among the manifests.
func TestPlanForeseesAHold(t *testing.T) {
	const numbers = 12
	sim := twiliosim.New(twiliosim.Options{Seed: 1})
	twiliosim.Must(sim.Seed(twiliosim.Seed{Account: ac, AuthToken: token, Numbers: numbers, AddOns: 1}))
	assigned, objects := map[int][]int{}, []string{}
	for n := 1; n <= numbers; n++ {
		assigned[n] = []int{1}
		objects = append(objects, object(fmt.Sprintf("line-%d", n), n, nil))
	}
	w := serve(t, sim, assigned)
	account := func(budget string) string {
		return "apiVersion: addons.twilio-operator.dev/v1alpha1\nkind: TwilioAccount\nmetadata:\n  name: default\nspec:\n  accountSID: " + ac +
			"\n  credentialsSecretRef:\n    name: s\n  removalBudget: " + budget + "\n"
	}
	for name, c := range map[string]struct {
		more []string
		want []review.Hold
	}{
		"the default budget": {nil, []review.Hold{{AccountSID: ac, AccountRef: "default", Numbers: numbers, Limit: 10, Held: 2}}},
		"a smaller one": {[]string{account("{maxNumbers: 4, minNumbers: 1}")},
			[]review.Hold{{AccountSID: ac, AccountRef: "default", Numbers: numbers, Limit: 4, Held: 11}}},
		"one that is off": {[]string{account("{maxNumbers: 100%}")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			stdin := documents(append(slices.Clone(objects), c.more...)...)
			_, got := w.planned(stdin)
			if diff := cmp.Diff(c.want, got.Holds); diff != "" {
				t.Fatal(diff)
			}
			text, markdown := w.runWith(stdin, "plan", "-f", "-").out, w.runWith(stdin, "plan", "-f", "-", "-o", "markdown").out
			for _, out := range []string{text, markdown} {
				if said := strings.Contains(out, "until somebody approves them"); said != (c.want != nil) {
					t.Errorf("it says that removals are held: %t\n%s", said, out)
				}
			}
			for i := range c.want {
				if !strings.Contains(text, c.want[i].Sentence()+".\n") || !strings.Contains(text, "kubectl twilio-addons approve default") {
					t.Errorf("no %q in\n%s", c.want[i].Sentence(), text)
				}
			}
		})
	}
}

func TestPlanTextAndMarkdown(t *testing.T) {
	w := newWorld(t)
	stdin := documents(object("a", 1, []int{2, 3}), object("b", 2, []int{1, 9}))
	text := w.runWith(stdin, "plan", "-f", "-")
	want := `+12000000001  default/a  -:1
  + ` + xe(3) + `  add_on_3  (assign)
  - ` + xe(1) + `  add_on_1  (unassign)
  = ` + xe(2) + `  add_on_2  (adopt, assigned already)

+12000000002  default/b  -:11
  ! ` + xe(9) + `  –  (not installed: Twilio will refuse it)
  = ` + xe(1) + `  add_on_1  (adopt, assigned already)

problem: -:19: default/b: the add-on ` + xe(9) + ` is not installed in the account ` + ac + `

1 number changes: 1 to assign, 1 to unassign, 2 adopted as they are; 1 number loses add-ons.
1 problem in the manifests.
`
	if diff := cmp.Diff(want, text.out); diff != "" {
		t.Error(diff)
	}
	markdown := w.runWith(stdin, "plan", "-f", "-", "-o", "markdown").out
	for _, part := range []string{
		"**1 number changes: ", "| assign | `+12000000001` | `add_on_3` `" + xe(3) + "` | `default/a` |\n",
		"- :x: `-:19`: `default/b: the add-on",
	} {
		if !strings.Contains(markdown, part) {
			t.Errorf("no %q in\n%s", part, markdown)
		}
	}
}
