// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

func TestExportWritesOneManifestANumber(t *testing.T) {
	w := newWorld(t)
	got := w.ok("export", "-n", "telephony", "--account-ref", "main")
	want := `# +12000000001
apiVersion: addons.twilio-operator.dev/v1alpha1
kind: PhoneNumberAddOnAssignment
metadata:
  name: tel-12000000001
  namespace: telephony
spec:
  accountRef:
    name: main
  phoneNumberSID: ` + pn(1) + `
  managementPolicy: Observe
  addOnSIDs:
  - ` + xe(1) + ` # add_on_1: Add on 1
  - ` + xe(2) + ` # add_on_2: Add on 2
---
# +12000000002
apiVersion: addons.twilio-operator.dev/v1alpha1
kind: PhoneNumberAddOnAssignment
metadata:
  name: tel-12000000002
  namespace: telephony
spec:
  accountRef:
    name: main
  phoneNumberSID: ` + pn(2) + `
  managementPolicy: Observe
  addOnSIDs:
  - ` + xe(1) + ` # add_on_1: Add on 1
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if again := w.ok("export", "-n", "telephony", "--account-ref", "main"); again != got {
		t.Error("a second run gives other bytes")
	}
	w.onlyReads()
}

func TestExportReadsEveryPage(t *testing.T) {
	sim := twiliosim.New(twiliosim.Options{Seed: 1})
	const numbers = 2345 // three pages of Twilio's largest size
	twiliosim.Must(sim.Seed(twiliosim.Seed{Account: ac, AuthToken: token, Numbers: numbers, AddOns: 1, Assigned: 1}))
	w := serve(t, sim, nil)
	dir := filepath.Join(t.TempDir(), "numbers")
	w.ok("export", "--output-dir", dir, "--kustomization")
	if got := len(files(t, dir)); got != numbers+1 {
		t.Errorf("%d files", got)
	}
}

func TestExportIsWhatPlanCallsUnchanged(t *testing.T) {
	w := newWorld(t)
	for _, policy := range []string{"Observe", "Additive", "Authoritative"} {
		exported := w.ok("export", "--all", "--policy", policy)
		if r := w.runWith(exported, "plan", "-f", "-"); r.code != 0 || !strings.HasSuffix(r.out, "No changes: 3 objects, 3 add-ons in place.\n") {
			t.Errorf("%s: exit %d\n%s%s", policy, r.code, r.out, r.errOut)
		}
	}
	w.onlyReads()
}

func TestExportToAFolder(t *testing.T) {
	w := newWorld(t)
	dir := filepath.Join(t.TempDir(), "numbers")
	w.ok("export", "--output-dir", dir, "--kustomization", "--all")
	got := files(t, dir)
	want := []string{"12000000001.yaml", "12000000002.yaml", "12000000003.yaml", "kustomization.yaml"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(got))); diff != "" {
		t.Fatal(diff)
	}
	if r := w.run("plan", "-f", dir); r.code != 0 || !strings.Contains(r.out, "No changes: 3 objects") {
		t.Errorf("exit %d\n%s%s", r.code, r.out, r.errOut)
	}

	// Begun again after an interruption: what is there stays, what is missing comes.
	if err := os.Remove(filepath.Join(dir, "12000000002.yaml")); err != nil {
		t.Fatal(err)
	}
	w.ok("export", "--output-dir", dir, "--kustomization", "--all")
	if diff := cmp.Diff(got, files(t, dir)); diff != "" {
		t.Error(diff)
	}

	// What somebody has edited is theirs.
	edited := filepath.Join(dir, "12000000001.yaml")
	put(t, edited, "edited")
	oneSentence(t, w.run("export", "--output-dir", dir, "--kustomization", "--all"), "--overwrite")
	if got := files(t, dir)["12000000001.yaml"]; got != "edited" {
		t.Errorf("the edited file is %q", got)
	}
	w.ok("export", "--output-dir", dir, "--kustomization", "--all", "--overwrite")
	if diff := cmp.Diff(got, files(t, dir)); diff != "" {
		t.Error(diff)
	}
}

// One file holds what the standard output would.
func TestExportToAFile(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	all, removed := filepath.Join(dir, "out", "all.yaml"), filepath.Join(dir, "infra", "gone.tf")
	w.ok("export", "--output-file", all)
	want := map[string]string{"out/all.yaml": w.ok("export")}
	if diff := cmp.Diff(want, files(t, dir)); diff != "" {
		t.Error(diff)
	}
	state := fmt.Sprintf(`{"version":4,"resources":[{"mode":"managed","type":"twilio_api_accounts_incoming_phone_numbers_assigned_add_ons","name":"line","instances":[
		{"index_key":0,"attributes":{"id":"%s/%s"}},{"index_key":1,"attributes":{"id":"%s/%s"}},{"index_key":2,"attributes":{"id":"%s/%s"}}]}]}`,
		pn(1), xe(1), pn(1), xe(2), pn(2), xe(1))
	r := w.runWith(state, "export", "--from-terraform", "-", "--removed-file", removed)
	if r.code != 0 || r.out != want["out/all.yaml"] {
		t.Errorf("exit %d: %s%s", r.code, r.errOut, cmp.Diff(want["out/all.yaml"], r.out))
	}
	if got := files(t, dir)["infra/gone.tf"]; strings.Count(got, "removed {") != 1 {
		t.Errorf("the removed blocks are %q", got)
	}
	oneSentence(t, w.run("export", "--output-file", all, "--policy", "Additive"), "--overwrite")
}

func TestExportRefusesFlags(t *testing.T) {
	t.Parallel()
	for says, args := range map[string][]string{
		"--policy must be":    {"--policy", "Exact"},
		"--name-from must be": {"--name-from", "x"},
		"metadata.namespace":  {"-n", "A B"},
	} {
		oneSentence(t, newWorld(t).run(append([]string{"export"}, args...)...), says)
	}
}

func TestExportPassesOverWhatPasses(t *testing.T) {
	w := newWorld(t)
	want := w.ok("export")
	twiliosim.Must(
		w.AddFault(twiliosim.Fault{Operation: twiliosim.OpList, Kind: twiliosim.FaultError, Status: 503, Count: 2}),
		w.AddFault(twiliosim.Fault{Operation: twiliosim.OpNumbers, Kind: twiliosim.FaultError, Status: 429, Count: 2}),
	)
	if got := w.ok("export"); got != want {
		t.Error(cmp.Diff(want, got))
	}
}

func TestExportNeverExceedsItsLimit(t *testing.T) {
	sim := twiliosim.New(twiliosim.Options{Seed: 1})
	twiliosim.Must(sim.Seed(twiliosim.Seed{Account: ac, AuthToken: token, Numbers: 60, AddOns: 1, Assigned: 1}))
	twiliosim.Must(sim.UpdateBehaviour(func(b *twiliosim.Behaviour) { b.ConcurrencyLimit = 3 }))
	w := serve(t, sim, nil)
	w.ok("export", "--max-concurrent-requests", "3")
	calls := w.Calls()
	if n := calls.Total.Throttled; n != 0 {
		t.Errorf("%d calls were throttled", n)
	}
	if got, most := calls.Total.Calls, 61; got != most {
		t.Errorf("%d calls, %d are needed", got, most)
	}
}

func TestExportFromTerraform(t *testing.T) {
	instance := func(number, addOn int) string {
		return fmt.Sprintf(`{"index_key":"%d-%d","attributes":{"id":"%s/%s","resource_sid":%q,"installed_add_on_sid":null,"sid":%q,"path_account_sid":null}}`,
			number, addOn, pn(number), xe(addOn), pn(number), xe(addOn))
	}
	state := func(instances ...string) string {
		return `{"version":4,"resources":[{"module":"module.eu[0]","mode":"managed","type":"twilio_api_accounts_incoming_phone_numbers_assigned_add_ons","name":"line","instances":[` +
			strings.Join(instances, ",") + `]}]}`
	}
	same := state(instance(1, 1), instance(1, 2), instance(2, 1))
	w := newWorld(t)

	dir := t.TempDir()
	r := w.runWith(same, "export", "--from-terraform", "-", "--output-dir", dir)
	if r.code != 0 || !strings.Contains(r.errOut, "proven: Twilio is as the state says, 2 numbers with 3 add-ons") {
		t.Fatalf("exit %d: %s", r.code, r.errOut)
	}
	got := files(t, dir)
	removed := got["removed.tf"]
	if !strings.Contains(removed, "from = module.eu.twilio_api_accounts_incoming_phone_numbers_assigned_add_ons.line\n") || strings.Count(removed, "removed {") != 1 {
		t.Errorf("removed.tf: %s", removed)
	}
	delete(got, "removed.tf")
	plain := t.TempDir()
	w.ok("export", "--output-dir", plain)
	if diff := cmp.Diff(files(t, plain), got); diff != "" {
		t.Errorf("the state and Twilio agree, and the manifests differ: %s", diff)
	}

	differs := state(instance(1, 1), instance(2, 3))
	other := t.TempDir()
	r = w.runWith(differs, "export", "--from-terraform", "-", "--output-dir", other)
	oneSentence(t, r, "the state and Twilio differ")
	if left := files(t, other); len(left) > 0 {
		t.Errorf("it wrote %v", left)
	}
	for _, line := range []string{"- " + xe(2), "+ " + xe(3), "- " + xe(1)} {
		if !strings.Contains(r.errOut, line) {
			t.Errorf("no %q in %s", line, r.errOut)
		}
	}
	if r := w.runWith(differs, "export", "--from-terraform", "-", "--output-dir", other, "--allow-drift"); r.code != 0 {
		t.Error(r.errOut)
	}
	// What Terraform does not manage is no difference where the manifests leave it alone.
	if r := w.runWith(state(instance(1, 1)), "export", "--from-terraform", "-", "--output-dir", t.TempDir(), "--policy", "Additive"); r.code != 0 {
		t.Error(r.errOut)
	}
	w.env = map[string]string{}
	if r := w.runWith(differs, "export", "--from-terraform", "-", "--output-dir", t.TempDir()); r.code != 0 || !strings.Contains(r.errOut, "not checked") {
		t.Errorf("exit %d: %s", r.code, r.errOut)
	}
	w.onlyReads()
}

func TestExportFromTerraformOfSeveralAccounts(t *testing.T) {
	w := newWorld(t)
	sub := twiliosim.SID("AC", 2)
	twiliosim.Must(w.AddSubaccount(ac, sub, "x"), w.AddNumber(sub, pn(50), "+14155550150"), w.InstallAddOn(sub, xe(50), "sub_add_on"), w.Assign(pn(50), xe(50)))
	state := fmt.Sprintf(`{"version":4,"resources":[{"mode":"managed","type":"twilio_api_accounts_incoming_phone_numbers_assigned_add_ons","name":"line","instances":[
		{"index_key":0,"attributes":{"id":"%s/%s"}},{"index_key":1,"attributes":{"id":"%s/%s","path_account_sid":%q}}]}]}`, pn(2), xe(1), pn(50), xe(50), sub)
	oneSentence(t, w.runWith(state, "export", "--from-terraform", "-", "--output-dir", t.TempDir()), "--account-map")
	dir := t.TempDir()
	r := w.runWith(state, "export", "--from-terraform", "-", "--output-dir", dir, "--account-map", "eu="+sub)
	if r.code != 0 || !strings.Contains(r.errOut, "proven") {
		t.Fatalf("exit %d: %s", r.code, r.errOut)
	}
	got := files(t, dir)
	if !strings.Contains(got["14155550150.yaml"], "name: eu\n") || !strings.Contains(got["12000000002.yaml"], "name: default\n") {
		t.Error(got)
	}
}
