// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package shard

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

const (
	sidA = "ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	sidB = "ACbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	// ended is the manager that has ended.
	ended = "ended"
)

// account makes an account with the label shard, which names a manager in its status. The
// older one has the smaller age.
func account(name, sid, label, manager string, age int) v1alpha1.TwilioAccount {
	return v1alpha1.TwilioAccount{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: types.UID(name), Labels: map[string]string{"shard": label},
			CreationTimestamp: metav1.NewTime(time.Unix(int64(1000+age), 0)),
		},
		Spec:   v1alpha1.TwilioAccountSpec{AccountSID: v1alpha1.AccountSID(sid)},
		Status: v1alpha1.TwilioAccountStatus{Manager: manager},
	}
}

func selecting(t *testing.T, name, selector string) Manager {
	t.Helper()
	parsed, err := labels.Parse(selector)
	if err != nil {
		t.Fatal(err)
	}
	return Manager{Name: name, Selector: parsed}
}

func gone(manager string) bool { return manager == ended }

func TestStandingOf(t *testing.T) {
	type accounts = []v1alpha1.TwilioAccount
	for name, test := range map[string]struct {
		selector string
		// of is the account in question; others complete the list.
		of     v1alpha1.TwilioAccount
		others accounts
		want   Standing
	}{
		"an account that names nobody is claimed": {
			selector: "shard=x", of: account("a", sidA, "x", "", 0), want: Standing{Role: Claims}},
		"the only manager claims every account": {
			of: account("a", sidA, "x", "", 0), want: Standing{Role: Claims}},
		"its own account is served": {
			selector: "shard=x", of: account("a", sidA, "x", "me", 0), want: Standing{Role: Serves}},
		"an account that names a running manager stays with it": {
			selector: "shard=x", of: account("a", sidA, "x", "other", 0), want: Standing{Foreign, "other"}},
		"an account that names a manager which has ended is taken over": {
			selector: "shard=x", of: account("a", sidA, "x", ended, 0), want: Standing{Role: Claims}},
		"an account whose label has changed is let go": {
			selector: "shard=x", of: account("a", sidA, "y", "me", 0), want: Standing{Role: LetsGo}},
		"an account that nobody claimed and this manager does not select": {
			selector: "shard=x", of: account("a", sidA, "y", "", 0), want: Standing{Role: Unselected}},
		"one that names an ended manager is selected by nobody": {
			selector: "shard=x", of: account("a", sidA, "y", ended, 0), want: Standing{Role: Unselected}},
		"the oldest waits while a younger one of its SID names another manager": {
			selector: "shard=x", of: account("a", sidA, "x", "", 0), others: accounts{account("b", sidA, "y", "other", 1)},
			want: Standing{Foreign, "other"}},
		"another SID does not concern it": {
			selector: "shard=x", of: account("a", sidA, "x", "", 0), others: accounts{account("b", sidB, "y", "other", 1)},
			want: Standing{Role: Claims}},
		"the letter case of the SID makes no difference": {
			selector: "shard=x", of: account("a", sidA, "x", "", 0),
			others: accounts{account("b", "ACAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "y", "other", 1)}, want: Standing{Foreign, "other"}},
		"a younger one follows once the oldest is its own": {
			selector: "shard=x", of: account("b", sidA, "x", "", 1), others: accounts{account("a", sidA, "x", "me", 0)},
			want: Standing{Role: Claims}},
		"a younger one waits for the oldest": {
			selector: "shard=x", of: account("b", sidA, "x", "", 1), others: accounts{account("a", sidA, "x", "", 0)},
			want: Standing{Role: Follows}},
		"a younger one whose oldest another manager serves": {
			selector: "shard=x", of: account("b", sidA, "x", "", 1), others: accounts{account("a", sidA, "y", "other", 0)},
			want: Standing{Elsewhere, "other"}},
		"a younger one whose oldest is due to another manager": {
			selector: "shard=x", of: account("b", sidA, "x", "", 1), others: accounts{account("a", sidA, "y", "", 0)},
			want: Standing{Role: Elsewhere}},
		"a younger one is let go when the oldest goes to another manager": {
			selector: "shard=x", of: account("b", sidA, "x", "me", 1), others: accounts{account("a", sidA, "y", "me", 0)},
			want: Standing{Role: LetsGo}},
		"of two of the same age the first by name is the oldest": {
			selector: "shard=x", of: account("b", sidA, "x", "", 0), others: accounts{account("a", sidA, "x", "", 0)},
			want: Standing{Role: Follows}},
	} {
		t.Run(name, func(t *testing.T) {
			all := append(accounts{test.of}, test.others...)
			got := selecting(t, "me", test.selector).StandingOf(&test.of, all, gone)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestOneManagerOfEachSID walks through every interleaving of two managers that read the
// accounts, write a claim if they are to, and read again before they serve. Whatever labels
// the accounts have, and whenever the oldest is created, both never serve accounts of one
// SID.
func TestOneManagerOfEachSID(t *testing.T) {
	x, y := selecting(t, "x", "x in (1)"), selecting(t, "y", "y in (1)")
	orders := interleavings(6, 6)
	for code := range 1 << 4 {
		for created := range 12 {
			for _, order := range orders {
				w := &walk{serves: map[string]string{}}
				for i, name := range []string{"a", "b"} {
					a := account(name, sidA, "", "", 0)
					a.Labels = map[string]string{"x": fmt.Sprint(code >> (2 * i) & 1), "y": fmt.Sprint(code >> (2*i + 1) & 1)}
					w.accounts = append(w.accounts, a)
				}
				managers := map[bool]*claimer{false: {m: x}, true: {m: y}}
				for n, second := range order {
					w.created = n >= created
					managers[second].step(w)
				}
				if a, b := w.serves["a"], w.serves["b"]; a != "" && b != "" && a != b {
					t.Fatalf("labels %04b, order %v, a created at %d: %s serves a and %s serves b", code, order, created, a, b)
				}
			}
		}
	}
}

// walk is the cluster of one interleaving: the accounts, and who serves them.
type walk struct {
	accounts []v1alpha1.TwilioAccount
	// created: the first account exists.
	created bool
	serves  map[string]string
}

// read lists the accounts that exist, as they are now.
func (w *walk) read() []v1alpha1.TwilioAccount {
	all := []v1alpha1.TwilioAccount{*w.accounts[1].DeepCopy()}
	if w.created {
		all = append(all, *w.accounts[0].DeepCopy())
	}
	return all
}

// claimer is one manager, which tries for each account in turn: read, write, read.
type claimer struct {
	m    Manager
	n    int
	seen []v1alpha1.TwilioAccount
}

// step tries for the second account first, which is the oldest while it is alone.
func (c *claimer) step(w *walk) {
	never := func(string) bool { return false }
	account := &w.accounts[1-c.n/3]
	switch c.n % 3 {
	case 0:
		c.seen = w.read()
	case 1:
		for i := range c.seen {
			// The optimistic lock: the account is still as it was read.
			if seen := &c.seen[i]; seen.Name == account.Name && seen.Status.Manager == account.Status.Manager &&
				c.m.StandingOf(seen, c.seen, never).Role == Claims {
				account.Status.Manager = c.m.Name
			}
		}
	case 2:
		if account.Status.Manager != c.m.Name {
			break
		}
		if c.m.MayKeep(account, w.read(), never) {
			w.serves[account.Name] = c.m.Name
		} else {
			account.Status.Manager = ""
		}
	}
	c.n++
}

// interleavings lists the orders of n steps of a first and m steps of a second process.
func interleavings(n, m int) [][]bool {
	if n == 0 && m == 0 {
		return [][]bool{nil}
	}
	var orders [][]bool
	if n > 0 {
		for _, rest := range interleavings(n-1, m) {
			orders = append(orders, append([]bool{false}, rest...))
		}
	}
	if m > 0 {
		for _, rest := range interleavings(n, m-1) {
			orders = append(orders, append([]bool{true}, rest...))
		}
	}
	return orders
}

func TestNew(t *testing.T) {
	name := func(selector string) string { return New(selecting(t, "", selector).Selector).Name }
	for what, test := range map[string]struct {
		a, b string
		same bool
	}{
		"the order of the requirements makes no difference": {"a=1,b=2", "b=2,a=1", true},
		"nor does the order of the values":                  {"a in (2,1)", "a in (1,2)", true},
		"two selectors have two names":                      {"a=1", "a=2", false},
	} {
		t.Run(what, func(t *testing.T) {
			if a, b := name(test.a), name(test.b); (a == b) != test.same {
				t.Errorf("%q has the name %s, %q the name %s", test.a, a, test.b, b)
			}
		})
	}
	if got := name(""); got != Lease {
		t.Errorf("the manager of all accounts is called %s", got)
	}
}
