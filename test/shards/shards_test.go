// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package shards

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// TestAccountMoves relabels an account while its objects change. Each change reaches Twilio
// once, whichever manager makes it.
func TestAccountMoves(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a")
	w.awaitManager(w.Name, selectorA)
	const numbers, rounds = 9, 4 // the removal budget lets ten numbers go at once
	var lines []*v1alpha1.PhoneNumberAddOnAssignment
	for n := range numbers {
		lines = append(lines, w.assign(n))
	}
	want := []string{"assign 0"}
	for round := range rounds {
		label, selector := "b", selectorB
		if round%2 == 1 {
			label, selector = "a", selectorA
		}
		w.label(w.Name, label) // in the midst of the changes of the last round
		addOns := 2 + round%2
		for _, a := range lines {
			edit(w, a, func(a *v1alpha1.PhoneNumberAddOnAssignment) { a.Spec.AddOnSIDs = w.addOns[:addOns] })
		}
		w.awaitManager(w.Name, selector)
		for _, a := range lines {
			w.awaitReason(a, v1alpha1.ReasonSynced)
		}
		switch round {
		case 0:
			want = append(want, "assign 1")
		case 2:
			want = append(want, "unassign 2")
		default:
			want = append(want, "assign 2")
		}
	}
	for _, a := range lines {
		if a.Status.AddOns[0].Ownership != v1alpha1.OwnershipCreated {
			t.Errorf("%s does not know that the operator assigned its add-on: %+v", a.Name, a.Status.AddOns)
		}
		w.checkWrites(a, want...)
	}
}

// TestAccountMovesDuringACall relabels an account while Twilio takes seconds to answer a POST.
// The manager lets go of the account once it has the answer: the other one would not see
// the add-on yet, and ask for it again.
func TestAccountMovesDuringACall(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a")
	w.awaitManager(w.Name, selectorA)
	w.must(sim.Admin.AddFault(t.Context(), twiliosim.Fault{
		Operation: twiliosim.OpCreate, Account: w.AccountSID, Count: 1, Kind: twiliosim.FaultHang, Delay: twiliosim.Duration(5 * time.Second),
	}))
	line := w.assign(0)
	w.eventually("the POST is on record", func() error {
		err := env.Client.Get(t.Context(), client.ObjectKeyFromObject(line), line)
		if err == nil && line.Annotations[v1alpha1.AnnotationAssigning] == "" {
			err = errors.New("it is not")
		}
		return err
	})
	w.label(w.Name, "b")
	w.awaitManager(w.Name, selectorB)
	w.awaitReason(line, v1alpha1.ReasonSynced)
	w.checkWrites(line, "assign 0")
}

// TestKilledManager takes only its own accounts with it, and those not for ever.
func TestKilledManager(t *testing.T) {
	t.Parallel()
	const selector = "shard=killed"
	manager, err := start(t.Context(), selector)
	if err != nil {
		t.Fatal(err)
	}
	mine, other := newWorld(t, "killed"), newWorld(t, "c")
	line, line2, otherLine := mine.assign(0), mine.assign(1), other.assign(0)
	mine.awaitReason(line, v1alpha1.ReasonSynced)
	mine.awaitReason(line2, v1alpha1.ReasonSynced)
	other.awaitReason(otherLine, v1alpha1.ReasonSynced)
	if err := manager.Kill(); err != nil {
		t.Fatal(err)
	}
	edit(mine, line, func(a *v1alpha1.PhoneNumberAddOnAssignment) { a.Spec.AddOnSIDs = mine.addOns[:2] })
	edit(other, otherLine, func(a *v1alpha1.PhoneNumberAddOnAssignment) { a.Spec.AddOnSIDs = other.addOns[:2] })
	other.awaitReason(otherLine, v1alpha1.ReasonSynced)
	// Only when the label says so does another manager take over, once the Lease has run out.
	mine.awaitManager(mine.Name, selector)
	mine.label(mine.Name, "c")
	mine.awaitManager(mine.Name, selectorC)
	mine.awaitReason(line, v1alpha1.ReasonSynced)
	mine.awaitReason(line2, v1alpha1.ReasonSynced)
	mine.checkWrites(line, "assign 0", "assign 1")
	mine.checkWrites(line2, "assign 0")
	other.checkWrites(otherLine, "assign 0", "assign 1")
}

// TestRestartedManager goes on with its accounts, which still name it.
func TestRestartedManager(t *testing.T) {
	t.Parallel()
	const selector = "shard=restarted"
	manager, err := start(t.Context(), selector)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, "restarted")
	line := w.assign(0)
	w.awaitReason(line, v1alpha1.ReasonSynced)
	if err := manager.Stop(); err != nil {
		t.Error(err)
	}
	edit(w, line, func(a *v1alpha1.PhoneNumberAddOnAssignment) { a.Spec.AddOnSIDs = w.addOns[:2] })
	if manager, err = start(t.Context(), selector); err != nil {
		t.Fatal(err)
	}
	w.awaitReason(line, v1alpha1.ReasonSynced)
	w.checkWrites(line, "assign 0", "assign 1")
	if err := manager.Stop(); err != nil {
		t.Error(err)
	}
}

// TestObjectMoves gives an object an account of another manager. The number has moved too,
// because a number belongs to one account.
func TestObjectMoves(t *testing.T) {
	t.Parallel()
	from, to := newWorld(t, "a"), newWorld(t, "b")
	line := from.assign(0)
	from.awaitReason(line, v1alpha1.ReasonSynced)
	allow(to)
	from.must(sim.Admin.MoveNumber(t.Context(), string(line.Spec.PhoneNumberSID), to.AccountSID))
	edit(to, line, func(a *v1alpha1.PhoneNumberAddOnAssignment) {
		a.Spec.AccountRef.Name, a.Spec.AddOnSIDs = to.Name, to.addOns[:2]
	})
	to.awaitReason(line, v1alpha1.ReasonSynced)
	if got := line.Status.AccountSID; string(got) != to.AccountSID {
		t.Errorf("the number was read in account %s, not in %s", got, to.AccountSID)
	}
	from.must(env.Client.Delete(t.Context(), line))
	to.awaitBare(line)
}

// allow has an account admit every namespace.
func allow(w *world) {
	w.Helper()
	account, err := w.account(w.Name)
	w.must(err)
	edit(w, account, func(a *v1alpha1.TwilioAccount) {
		a.Spec.AllowedNamespaces = v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll}
	})
}

// TestOneSIDOneManager has two accounts of one SID that two managers select. The younger
// one is not served until the manager of the older one selects it.
func TestOneSIDOneManager(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a")
	w.awaitAccount(w.Name, v1alpha1.ReasonCredentialsAccepted)
	// Creation times have whole seconds, and of two equal ones the name decides.
	younger := w.Name + "-younger"
	w.createAccount(younger, "b")
	line := w.assign(0)
	contender := w.assign(1)
	edit(w, contender, func(a *v1alpha1.PhoneNumberAddOnAssignment) { a.Spec.AccountRef.Name = younger })
	w.awaitReason(line, v1alpha1.ReasonSynced)
	w.awaitAccount(younger, v1alpha1.ReasonServedElsewhere, leaseOf(t, selectorA))
	w.awaitReason(contender, v1alpha1.ReasonServedElsewhere)
	w.label(younger, "a")
	w.awaitAccount(younger, v1alpha1.ReasonCredentialsAccepted)
	w.awaitManager(younger, selectorA)
	w.awaitReason(contender, v1alpha1.ReasonSynced)
	// Both go when the older one goes.
	w.label(w.Name, "b")
	w.awaitManager(w.Name, selectorB)
	w.awaitAccount(younger, v1alpha1.ReasonServedElsewhere, leaseOf(t, selectorB))
	w.label(younger, "b")
	w.awaitManager(younger, selectorB)
}

// TestSelectedTwice has one of two managers serve the account, and say so.
func TestSelectedTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "both")
	line := w.assign(0)
	w.awaitReason(line, v1alpha1.ReasonSynced)
	w.eventually("the account says who else selects it", func() error {
		account, err := w.account(w.Name)
		if err == nil && !meta.IsStatusConditionTrue(account.Status.Conditions, v1alpha1.ConditionSelectedTwice) {
			err = fmt.Errorf("the conditions are %+v", account.Status.Conditions)
		}
		return err
	})
	w.checkWrites(line, "assign 0")
}

// TestClaimedAtOnce creates accounts that two managers select. Both see each account at the
// same time, and one of them begins to serve it.
func TestClaimedAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "c")
	var names []string
	for n := range 20 {
		names = append(names, fmt.Sprintf("%s-both-%d", w.Name, n))
		account := w.Account()
		account.Name, account.Labels = names[n], map[string]string{"shard": "both"}
		account.Spec.AccountSID = v1alpha1.AccountSID(twiliosim.SID("AC", w.seed+n))
		w.must(env.Client.Create(t.Context(), account))
	}
	for _, name := range names {
		// Its manager has looked at it: nobody has a credential for these accounts.
		w.awaitAccount(name, v1alpha1.ReasonCredentialsInvalid)
	}
	claims := map[string]int{}
	log, err := manager.Output()
	w.must(err)
	for line := range strings.Lines(log) {
		var l struct{ Msg, Name string }
		if json.Unmarshal([]byte(line), &l) == nil && l.Msg == "This manager serves the account from now on" {
			claims[l.Name]++
		}
	}
	for _, name := range names {
		if claims[name] != 1 {
			t.Errorf("%d managers began to serve %s", claims[name], name)
		}
	}
}

// TestAccountNotFound: some manager says that an object names no account.
func TestAccountNotFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a")
	line := w.assign(0)
	w.awaitReason(line, v1alpha1.ReasonSynced)
	edit(w, line, func(a *v1alpha1.PhoneNumberAddOnAssignment) { a.Spec.AccountRef.Name = w.Name + "-absent" })
	w.awaitReason(line, v1alpha1.ReasonAccountNotFound)
	edit(w, line, func(a *v1alpha1.PhoneNumberAddOnAssignment) { a.Spec.AccountRef.Name = w.Name })
	w.awaitReason(line, v1alpha1.ReasonSynced)
	w.checkWrites(line, "assign 0")
}

// TestDoctor names the leader of each shard.
func TestDoctor(t *testing.T) {
	t.Parallel()
	newWorld(t, "a").eventually("the doctor names every leader", func() error {
		doctor := exec.CommandContext(t.Context(), filepath.Join(testenv.Root(), "bin", "kubectl-twilio_addons"), "doctor", "--kubeconfig="+env.Kubeconfig)
		out, _ := doctor.CombinedOutput() // other tests give it something to find
		for _, selector := range []string{selectorA, selectorB, selectorC} {
			want := fmt.Sprintf("leader of the accounts %s (%s): ", selector, leaseOf(t, selector))
			if !strings.Contains(string(out), want) {
				return fmt.Errorf("the output lacks %q:\n%s", want, out)
			}
		}
		return nil
	})
}
