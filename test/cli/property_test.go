// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/cli/review"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

const (
	worldNumbers = 24
	worldAddOns  = 6
	// notInstalled and absent are SIDs that Twilio does not know.
	notInstalled = 90
	absent       = 90
)

// random is a world of manifests that changes by chance.
type random struct {
	*world
	*rand.Rand
	// specs are the objects' specs by name, as YAML.
	specs map[string]string
	round int
}

func (r *random) addOns() []string {
	var chosen []string
	for i := range worldAddOns {
		if r.IntN(3) == 0 {
			chosen = append(chosen, r.sid("XE", i+1))
		}
	}
	if r.IntN(8) == 0 {
		chosen = append(chosen, r.sid("XE", notInstalled))
	}
	r.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
	return chosen
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// spec is one at random of a number. Most are the common case.
func (r *random) spec(number int) string {
	return fmt.Sprintf("phoneNumberSID: %s, addOnSIDs: [%s], managementPolicy: %s, deletionPolicy: %s, suspend: %t",
		r.sid("PN", number), strings.Join(r.addOns(), ", "), pick(r.Rand, "Authoritative", "Authoritative", "Additive", "Observe"),
		pick(r.Rand, "Delete", "Delete", "Delete", "Retain"), r.IntN(10) == 0)
}

// step changes the manifests: the first time it makes them, later it edits, deletes,
// renames and adds.
func (r *random) step() {
	for i := range worldNumbers {
		name := fmt.Sprintf("line-%02d", i+1)
		_, there := r.specs[name]
		switch n := r.IntN(10); {
		case !there && n < 7, there && n < 4:
			r.specs[name] = r.spec(i + 1)
		case there && n == 4:
			delete(r.specs, name)
		case there && n == 5: // renamed: another object takes over
			delete(r.specs, name)
			r.specs[name+"-"+string('b'+rune(r.round))] = r.spec(i + 1)
		case n == 6: // one more object of the number
			r.specs[fmt.Sprintf("rival-%02d", i+1)] = r.spec(i + 1)
		case n == 7:
			delete(r.specs, fmt.Sprintf("rival-%02d", i+1))
		}
	}
	if _, there := r.specs["absent"]; !there && r.IntN(2) == 0 {
		r.specs["absent"] = r.spec(absent)
	}
}

// write puts the manifests into the folder, one a file.
func (r *random) write() {
	r.Helper()
	dir := filepath.Join(r.dir, "numbers")
	r.must(os.RemoveAll(dir), os.MkdirAll(dir, 0o755))
	for name, spec := range r.specs {
		text := fmt.Sprintf("apiVersion: addons.twilio-operator.dev/v1alpha1\nkind: PhoneNumberAddOnAssignment\nmetadata: {name: %s, namespace: %s}\nspec: {%s}\n", name, namespace, spec)
		r.must(os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(text), 0o600))
	}
}

// drift is what people do in the console between two changes.
func (r *random) drift() {
	r.Helper()
	ctx := r.Context()
	for range 6 {
		number, addOn := r.sid("PN", r.IntN(worldNumbers)+1), r.sid("XE", r.IntN(worldAddOns)+1)
		assigned, err := sim.Admin.Assigned(ctx, number)
		r.must(err)
		if slices.Contains(assigned, addOn) {
			r.must(sim.Admin.Unassign(ctx, number, addOn))
		} else {
			r.must(sim.Admin.Assign(ctx, number, addOn))
		}
	}
}

// plan runs the plan of the folder and returns the writes that it foretells.
func (r *random) plan(flags string) []string {
	r.Helper()
	code, out, errOut := r.run("kubectl twilio-addons plan -f numbers -o json " + flags)
	var planned review.Review
	if err := json.Unmarshal([]byte(out), &planned); err != nil {
		r.Fatalf("exit %d: %v: %s%s", code, err, out, errOut)
	}
	var writes []string
	for i := range planned.Changes {
		c := &planned.Changes[i]
		if len(c.MayUnassign) > 0 {
			r.Errorf("with a cluster nothing is uncertain: %+v", c)
		}
		for _, a := range c.Assign {
			writes = append(writes, strings.Join([]string{string(twiliosim.ChangeAssign), c.NumberSID, a.SID}, " "))
		}
		for _, a := range c.Unassign {
			writes = append(writes, strings.Join([]string{string(twiliosim.ChangeUnassign), c.NumberSID, a.SID}, " "))
		}
	}
	slices.Sort(writes)
	return writes
}

// apply brings the cluster to what the folder holds, deletions included.
func (r *random) apply() {
	r.Helper()
	r.ok("kubectl apply -f numbers")
	for _, o := range r.objects(r.Context()) {
		if _, there := r.specs[o.Name]; !there {
			r.must(env.Client.Delete(r.Context(), &o))
		}
	}
}

// What plan says and what the operator then does is the same, write by write: for new
// objects, edits, deletions, renames, two objects of one number, all policies, drift,
// numbers that are not there and add-ons that are not installed.
func TestPlanSaysWhatTheOperatorDoes(t *testing.T) {
	startManager(t)
	for seed := range uint64(3) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			w := newWorld(t, worldNumbers, worldAddOns)
			r := &random{world: w, Rand: rand.New(rand.NewPCG(seed, 13)), specs: map[string]string{}}
			w.ok("git init -q && git commit -q --allow-empty -m empty")
			for round := range 4 {
				r.drift()
				w.ok("kubectl twilio-addons reconcile --all -n " + namespace + " --wait")
				w.settledOrRefused()
				r.round = round
				r.step()
				r.write()
				planned := r.plan("--against HEAD --cluster")
				since := w.seq()
				r.apply()
				w.settledOrRefused()
				done := w.writes(since)
				slices.Sort(done)
				if diff := cmp.Diff(planned, done); diff != "" {
					t.Fatalf("round %d (-planned +done):\n%s\n%s", round, diff, w.ok("kubectl get pnaa -A -o wide"))
				}
				t.Logf("round %d: %d writes as planned", round, len(planned))
				w.ok("git add -A && git commit -q --allow-empty -m change")
			}
		})
	}
}

// settledOrRefused leaves out the object whose number is not there: it goes on looking.
func (w *world) settledOrRefused() {
	w.Helper()
	w.settled(func(o *v1alpha1.PhoneNumberAddOnAssignment) bool {
		return o.Name == "absent" && o.DeletionTimestamp.IsZero()
	})
}
