// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/cli/review"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

const (
	worldNumbers = 24
	worldAddOns  = 6
	// The subaccount has some of its own, by numbers that the account does not use.
	subNumbers = 8
	firstSub   = 100
	// notInstalled and absent are SIDs that Twilio does not know.
	notInstalled = 90
	absent       = 90
	// second is another namespace.
	second = "mobile"
)

// random is a world of manifests that changes by chance. The TwilioAccounts default and twin
// stand for the account, and sub for its subaccount.
type random struct {
	*world
	*rand.Rand
	// specs are the objects' specs by namespace/name.
	specs map[string]spec
	// suspended are the TwilioAccounts with suspend, as the manifests have it; before that, as
	// they had it.
	suspended, before map[string]bool
	// budgets are the removal budgets of TwilioAccounts, as YAML. By default they are off.
	budgets map[string]string
	round   int
}

// spec is that of an object.
type spec struct{ account, text string }

// newRandom makes the world of a seed, with nothing in the cluster but the accounts.
func newRandom(t *testing.T, seed uint64) *random {
	t.Helper()
	w := newWorld(t, worldNumbers, worldAddOns)
	w.subaccount = twiliosim.SID("AC", 1000+w.number)
	ctx := t.Context()
	w.must(sim.Admin.AddSubaccount(ctx, w.account, w.subaccount, token))
	for i := range worldAddOns {
		w.must(sim.Admin.InstallAddOn(ctx, w.subaccount, w.sid("XE", firstSub+i+1), fmt.Sprintf("sub_add_on_%d", i+1)))
	}
	for i := range subNumbers {
		w.must(sim.Admin.AddNumber(ctx, w.subaccount, w.sid("PN", firstSub+i+1), fmt.Sprintf("+1416%04d%03d", w.number, i+1)))
	}
	w.addTwilioAccount("twin", w.account)
	w.addTwilioAccount("sub", w.subaccount)
	w.ok("git init -q && git commit -q --allow-empty -m empty")
	return &random{world: w, Rand: rand.New(rand.NewPCG(seed, 13)), specs: map[string]spec{}, suspended: map[string]bool{}, before: map[string]bool{}}
}

// addOns picks some of the six from first on. The parent's credential cannot tell what is
// installed in the subaccount, so there nothing is picked that is not.
func (r *random) addOns(first int) []string {
	var chosen []string
	for i := range worldAddOns {
		if r.IntN(3) == 0 {
			chosen = append(chosen, r.sid("XE", first+i+1))
		}
	}
	if first == 0 && r.budgets == nil && r.IntN(8) == 0 {
		chosen = append(chosen, r.sid("XE", notInstalled))
	}
	r.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
	return chosen
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// spec is one at random of a number. Most are the common case; a few name an account that
// does not have the number.
func (r *random) spec(number int) spec {
	account, first := pick(r.Rand, "default", "default", "twin"), 0
	if number > firstSub {
		account, first = "sub", firstSub
	}
	if r.IntN(30) == 0 {
		account = pick(r.Rand, "default", "sub")
	}
	return spec{account, fmt.Sprintf("accountRef: {name: %s}, phoneNumberSID: %s, addOnSIDs: [%s], managementPolicy: %s, deletionPolicy: %s, suspend: %t", account,
		r.sid("PN", number), strings.Join(r.addOns(first), ", "), pick(r.Rand, "Authoritative", "Authoritative", "Additive", "Observe"),
		pick(r.Rand, "Delete", "Delete", "Delete", "Retain"), r.IntN(10) == 0)}
}

// step changes the manifests: the first time it makes them, later it edits, deletes,
// renames and adds, and suspends accounts or resumes them.
func (r *random) step() {
	r.before = maps.Clone(r.suspended)
	for _, account := range []string{"default", "twin", "sub"} {
		r.suspended[account] = r.round > 0 && r.IntN(4) == 0
	}
	for i := range worldNumbers {
		r.stepNumber(i + 1)
	}
	for i := range subNumbers {
		r.stepNumber(firstSub + i + 1)
	}
	if _, there := r.specs[namespace+"/absent"]; !there && r.IntN(2) == 0 {
		r.specs[namespace+"/absent"] = r.spec(absent)
	}
}

// stepNumber changes the objects of a number: the usual one, and a rival of it, which may be in
// another namespace.
func (r *random) stepNumber(number int) {
	line := fmt.Sprintf("%s/line-%03d", namespace, number)
	rival := fmt.Sprintf("%s/rival-%03d", pick(r.Rand, namespace, second), number)
	_, there := r.specs[line]
	switch n := r.IntN(10); {
	case !there && n < 7, there && n < 4:
		r.specs[line] = r.spec(number)
	case there && n == 4:
		r.remove(line)
	case there && n == 5 && r.remove(line): // renamed: another object takes over
		r.specs[line+"-"+string('b'+rune(r.round))] = r.spec(number)
	case n == 6: // one more object of the number
		r.specs[rival] = r.spec(number)
	case n == 7:
		r.remove(rival)
	}
}

// remove deletes a manifest, if its deletion would not wait for a suspended account.
func (r *random) remove(object string) bool {
	of, there := r.specs[object]
	if there && r.suspended[of.account] {
		return false
	}
	delete(r.specs, object)
	return true
}

// write puts the manifests into the folder, one a file.
func (r *random) write() {
	r.Helper()
	dir := filepath.Join(r.dir, "numbers")
	r.must(os.RemoveAll(dir), os.MkdirAll(dir, 0o755))
	for object, spec := range r.specs {
		in, name, _ := strings.Cut(object, "/")
		text := fmt.Sprintf("apiVersion: addons.twilio-operator.dev/v1alpha1\nkind: PhoneNumberAddOnAssignment\nmetadata: {name: %s, namespace: %s}\nspec: {%s}\n", name, in, spec.text)
		r.must(os.WriteFile(filepath.Join(dir, in+"-"+name+".yaml"), []byte(text), 0o600))
	}
	for account, sid := range map[string]string{"default": r.account, "twin": r.account, "sub": r.subaccount} {
		text := fmt.Sprintf("apiVersion: addons.twilio-operator.dev/v1alpha1\nkind: TwilioAccount\nmetadata: {name: %s}\nspec: {accountSID: %s, credentialsSecretRef: {name: %s}, suspend: %t, removalBudget: {%s}}\n",
			account, sid, account, r.suspended[account], cmp.Or(r.budgets[account], "maxNumbers: 100%"))
		r.must(os.WriteFile(filepath.Join(dir, "account-"+account+".yaml"), []byte(text), 0o600))
	}
}

// drift is what people do in the console between two changes.
func (r *random) drift() {
	r.Helper()
	ctx := r.Context()
	for i := range 8 {
		number, addOn := r.IntN(worldNumbers)+1, r.IntN(worldAddOns)+1
		if i > 5 {
			number, addOn = firstSub+r.IntN(subNumbers)+1, firstSub+addOn
		}
		assigned, err := sim.Admin.Assigned(ctx, r.sid("PN", number))
		r.must(err)
		if slices.Contains(assigned, r.sid("XE", addOn)) {
			r.must(sim.Admin.Unassign(ctx, r.sid("PN", number), r.sid("XE", addOn)))
		} else {
			r.must(sim.Admin.Assign(ctx, r.sid("PN", number), r.sid("XE", addOn)))
		}
	}
}

// plan runs the plan of the folder.
func (r *random) plan(flags string) *review.Review {
	r.Helper()
	code, out, errOut := r.run("kubectl twilio-addons plan -f numbers -o json " + flags)
	planned := &review.Review{}
	if err := json.Unmarshal([]byte(out), planned); err != nil {
		r.Fatalf("exit %d: %v: %s%s", code, err, out, errOut)
	}
	return planned
}

// foretold are the writes that a plan tells of, in the form of [world.writes].
func (r *random) foretold(planned *review.Review) []string {
	r.Helper()
	var writes []string
	for i := range planned.Changes {
		c := &planned.Changes[i]
		if len(c.MayUnassign) > 0 {
			r.Errorf("with a cluster nothing is uncertain: %+v", c)
		}
		write := func(change twiliosim.Change, addOns []review.AddOn) {
			for _, a := range addOns {
				writes = append(writes, strings.Join([]string{string(change), c.NumberSID, "XE" + strings.ToLower(a.SID[2:])}, " "))
			}
		}
		write(twiliosim.ChangeAssign, c.Assign)
		write(twiliosim.ChangeUnassign, c.Unassign)
	}
	slices.Sort(writes)
	return writes
}

// apply brings the cluster to what the folder holds, deletions included. What it suspends
// comes first and what it resumes last: the plan compares before and after, and knows of
// nothing that is done in between.
func (r *random) apply() {
	r.Helper()
	for account, is := range r.suspended {
		if is && !r.before[account] {
			r.ok("kubectl apply -f numbers/account-" + account + ".yaml")
			r.awaitAccountReason(account, v1alpha1.ReasonSuspended)
		}
	}
	if len(r.specs) > 0 {
		r.ok("kubectl apply $(for f in numbers/*-line-* numbers/*-rival-* numbers/*-absent*; do [ ! -e $f ] || echo -f $f; done)")
	}
	for _, o := range r.objects(r.Context()) {
		if _, there := r.specs[o.Namespace+"/"+o.Name]; !there {
			r.must(env.Client.Delete(r.Context(), &o))
		}
	}
	for account, was := range r.before {
		if was && !r.suspended[account] {
			r.ok("kubectl apply -f numbers/account-" + account + ".yaml")
			r.awaitAccountReason(account, v1alpha1.ReasonCredentialsAccepted)
			r.ok("kubectl twilio-addons reconcile --account " + account)
		}
	}
}

func (w *world) awaitAccountReason(name, reason string) {
	w.Helper()
	w.eventually("the account "+name+" says "+reason, func() error {
		account := &v1alpha1.TwilioAccount{}
		w.must(env.Client.Get(w.Context(), client.ObjectKey{Name: name}, account))
		ready := meta.FindStatusCondition(account.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Reason != reason || ready.ObservedGeneration != account.Generation {
			return fmt.Errorf("%v", ready)
		}
		return nil
	})
}

// What plan says and what the operator then does is the same, write by write: for new
// objects, edits, deletions, renames, two objects of one number, in two namespaces and of two
// TwilioAccounts, all policies, drift, suspended objects and accounts, a subaccount, numbers
// that are not there and add-ons that are not installed.
func TestPlanSaysWhatTheOperatorDoes(t *testing.T) {
	startManager(t)
	makeNamespace(t, second)
	for seed := range seeds(t) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			r := newRandom(t, seed)
			for round := range 4 {
				r.drift()
				r.ok("kubectl twilio-addons reconcile -A --wait")
				r.settledOrRefused()
				r.round = round
				r.step()
				r.write()
				planned := r.foretold(r.plan("--against HEAD --cluster"))
				since := r.seq()
				r.apply()
				r.settledOrRefused()
				done := r.writes(since)
				slices.Sort(done)
				if diff := gocmp.Diff(planned, done); diff != "" {
					t.Fatalf("round %d (-planned +done):\n%s\n%s", round, diff, r.ok("kubectl get pnaa -A -o wide"))
				}
				t.Logf("round %d: %d writes as planned", round, len(planned))
				r.ok("git add -A && git commit -q --allow-empty -m change")
			}
		})
	}
}

// seeds are how many worlds to try: SEEDS of the environment, by default a few.
func seeds(t *testing.T) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(cmp.Or(os.Getenv("SEEDS"), "3"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Where the plan foretells that a removal budget holds removals, the operator holds those of as
// many numbers, and does the rest as planned; once they are approved, it does all of it. The
// account has two TwilioAccounts, of which the stricter counts; the subaccount holds nothing.
func TestPlanForetellsWhatIsHeld(t *testing.T) {
	startManager(t)
	makeNamespace(t, second)
	r := newRandom(t, 1)
	r.budgets = map[string]string{"default": "maxNumbers: 3, minNumbers: 2", "sub": "maxNumbers: 90%, minNumbers: 1"}
	for i := range worldNumbers {
		r.adopted(pick(r.Rand, "default", "twin"), i+1, 0)
	}
	for i := range subNumbers {
		r.adopted("sub", firstSub+i+1, firstSub)
	}
	r.write()
	r.ok("kubectl apply -f numbers && git add -A && git commit -q -m first")
	r.settled(nil)
	for _, object := range slices.Sorted(maps.Keys(r.specs)) {
		r.narrow(object)
	}
	r.write()
	planned := r.plan("--against HEAD --cluster")
	if len(planned.Holds) != 1 || planned.Holds[0].AccountSID != r.account || planned.Holds[0].Held < 3 {
		t.Fatalf("the plan foretells %+v", planned.Holds)
	}
	hold, all := planned.Holds[0], r.foretold(planned)
	r.apply()
	r.eventually("removals are held", func() error {
		account := &v1alpha1.TwilioAccount{}
		r.must(env.Client.Get(t.Context(), client.ObjectKey{Name: hold.AccountRef}, account))
		if got := account.Status.Removals; got.Hold == "" || int(got.Held) != hold.Held {
			return fmt.Errorf("%+v, want %d", got, hold.Held)
		}
		return nil
	})
	r.settled(func(o *v1alpha1.PhoneNumberAddOnAssignment) bool {
		ready := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionReady)
		return ready != nil && ready.Reason == v1alpha1.ReasonRemovalsHeld
	})
	r.doneButFor(all, hold.Held)
	r.ok("kubectl twilio-addons approve " + hold.AccountRef)
	r.settled(nil)
	r.doneButFor(all, 0)
}

// adopted makes an object of a number that lists what the number carries.
func (r *random) adopted(account string, number, first int) {
	r.Helper()
	r.assign(number, first+1, first+2)
	r.specs[fmt.Sprintf("%s/line-%03d", namespace, number)] = r.exactly(account, number, first+1, first+2)
}

// exactly is the spec of an object that owns its number alone.
func (r *random) exactly(account string, number int, addOns ...int) spec {
	var sids []string
	for _, n := range addOns {
		sids = append(sids, r.sid("XE", n))
	}
	return spec{account, fmt.Sprintf("accountRef: {name: %s}, phoneNumberSID: %s, addOnSIDs: [%s]", account, r.sid("PN", number), strings.Join(sids, ", "))}
}

// narrow deletes an object that adopted has made, or gives it another list, or leaves it.
func (r *random) narrow(object string) {
	account, number, first := r.specs[object].account, 0, 0
	_, err := fmt.Sscanf(object, namespace+"/line-%d", &number)
	r.must(err)
	if number > firstSub {
		first = firstSub
	}
	switch r.IntN(6) {
	case 0:
		delete(r.specs, object)
	case 1:
		r.specs[object] = r.exactly(account, number)
	case 2:
		r.specs[object] = r.exactly(account, number, first+1, first+2, first+3)
	case 3:
		r.specs[object] = r.exactly(account, number, first+1, first+4)
	}
}

// doneButFor checks that the operator has made all writes but the removals of so many numbers.
func (r *random) doneButFor(all []string, numbers int) {
	r.Helper()
	done := r.writes(0)
	slices.Sort(done)
	held := map[string]bool{}
	missing := slices.DeleteFunc(slices.Clone(all), func(write string) bool { return slices.Contains(done, write) })
	for _, write := range missing {
		change, of, _ := strings.Cut(write, " ")
		number, _, _ := strings.Cut(of, " ")
		held[number] = true
		if change != string(twiliosim.ChangeUnassign) {
			r.Errorf("%s was not done, and is no removal", write)
		}
	}
	if more := slices.DeleteFunc(done, func(write string) bool { return slices.Contains(all, write) }); len(more) > 0 || len(held) != numbers {
		r.Errorf("the removals of %d numbers are left, want %d; not planned: %v", len(held), numbers, more)
	}
}

// makeNamespace creates a namespace, if it is not there.
func makeNamespace(t *testing.T, name string) {
	t.Helper()
	err := env.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	if client.IgnoreAlreadyExists(err) != nil {
		t.Fatal(err)
	}
}

// settledOrRefused leaves out the objects whose account has no such number: they go on looking.
func (w *world) settledOrRefused() {
	w.Helper()
	w.settled(func(o *v1alpha1.PhoneNumberAddOnAssignment) bool {
		ready := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionReady)
		return o.DeletionTimestamp.IsZero() && o.Status.ObservedGeneration == o.Generation && ready != nil && ready.Reason == v1alpha1.ReasonPhoneNumberNotFound
	})
}
