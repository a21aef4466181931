// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package api sends valid and invalid objects of the kinds to a real API server, as kubectl
// apply, kubectl create and server-side apply do, and checks the answers that a user sees.
package api

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
)

var cl client.Client

func TestMain(m *testing.M) {
	testenv.Exit(testenv.WithControlPlane(context.Background(), func(server *testenv.Server) (code int, err error) {
		if cl, err = client.New(server.Config, client.Options{FieldValidation: "Strict"}); err != nil {
			return 1, err
		}
		return m.Run(), nil
	}))
}

const (
	hex        = "0123456789abcdef0123456789ABCDEF"
	assignment = "PhoneNumberAddOnAssignment"
	account    = "TwilioAccount"
)

// object returns an object of a kind from the YAML of its spec.
func object(t *testing.T, kind, name, spec string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{Object: map[string]any{}}
	var fields map[string]any
	if err := yaml.Unmarshal([]byte(spec), &fields); err != nil {
		t.Fatal(err)
	}
	o.SetAPIVersion("addons.twilio-operator.dev/v1alpha1")
	o.SetKind(kind)
	o.SetName(name)
	if kind == assignment {
		o.SetNamespace("default")
	}
	o.Object["spec"] = fields
	return o
}

// ways are the ways to send an object to the API server.
var ways = map[string]func(context.Context, *unstructured.Unstructured) error{
	"create": func(ctx context.Context, o *unstructured.Unstructured) error { return cl.Create(ctx, o) },
	"server-side apply": func(ctx context.Context, o *unstructured.Unstructured) error {
		return cl.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("test"), client.ForceOwnership)
	},
}

func TestRefused(t *testing.T) {
	pn := "phoneNumberSID: PN" + hex
	xes := func(n int) string {
		var b strings.Builder
		b.WriteString("addOnSIDs: [")
		for i := range n {
			fmt.Fprintf(&b, "XE%032x,", i)
		}
		return b.String() + "]"
	}
	secret := "credentialsSecretRef: {name: s}"
	ac := "accountSID: AC" + hex
	cases := map[string]struct {
		kind, spec string
		says       []string // every one, in the text of the error
	}{
		"no number":              {assignment, xes(1), []string{"spec.phoneNumberSID", "Required"}},
		"no list":                {assignment, pn, []string{"spec.addOnSIDs", "Required"}},
		"number too short":       {assignment, "phoneNumberSID: PN12\n" + xes(1), []string{"spec.phoneNumberSID", "must be the SID of a phone number: PN"}},
		"number of another kind": {assignment, "phoneNumberSID: XE" + hex + "\n" + xes(1), []string{"spec.phoneNumberSID", "must be the SID of a phone number: PN"}},
		"number in small letters": {
			assignment, "phoneNumberSID: pn" + hex + "\n" + xes(1), []string{"spec.phoneNumberSID", "PN in capital letters"},
		},
		"number and a space": {assignment, "phoneNumberSID: 'PN" + hex + " '\n" + xes(1), []string{"spec.phoneNumberSID", "remove the space"}},
		"the number itself":  {assignment, "phoneNumberSID: '+14155550100'\n" + xes(1), []string{"spec.phoneNumberSID", "this is a phone number; use its SID"}},
		"add-on of another kind": {
			assignment, pn + "\naddOnSIDs: [PN" + hex + "]", []string{"spec.addOnSIDs[0]", "must be the SID of an installed add-on: XE"},
		},
		"add-on of the catalog": {
			assignment, pn + "\naddOnSIDs: [XB" + hex + "]", []string{"spec.addOnSIDs[0]", "Marketplace catalog", "use the XE SID"},
		},
		"add-on and a space": {assignment, pn + "\naddOnSIDs: [' XE" + hex + "']", []string{"spec.addOnSIDs[0]", "remove the space"}},
		"duplicate add-on":   {assignment, pn + "\naddOnSIDs: [XE" + hex + ", XE" + hex + "]", []string{"spec.addOnSIDs", "names an add-on twice"}},
		"duplicate in two spellings": {
			assignment, pn + "\naddOnSIDs: [XE" + strings.ToLower(hex) + ", XE" + strings.ToUpper(hex) + "]",
			[]string{"spec.addOnSIDs", "names an add-on twice (letter case makes no difference)"},
		},
		"51 add-ons":                {assignment, pn + "\n" + xes(51), []string{"spec.addOnSIDs", "50"}},
		"unknown policy":            {assignment, pn + "\n" + xes(1) + "\nmanagementPolicy: Exact", []string{"spec.managementPolicy", "Authoritative", "Additive", "Observe"}},
		"unknown deletion policy":   {assignment, pn + "\n" + xes(1) + "\ndeletionPolicy: Keep", []string{"spec.deletionPolicy", "Retain"}},
		"unknown field":             {assignment, pn + "\n" + xes(1) + "\naddons: []", []string{"addons"}},
		"suspend is no boolean":     {assignment, pn + "\n" + xes(1) + "\nsuspend: 'yes'", []string{"suspend"}},
		"no account SID":            {account, secret, []string{"spec.accountSID", "Required"}},
		"no Secret":                 {account, ac, []string{"spec.credentialsSecretRef", "Required"}},
		"account of another kind":   {account, "accountSID: PN" + hex + "\n" + secret, []string{"spec.accountSID", "must be the SID of an account: AC"}},
		"API key for an account":    {account, "accountSID: SK" + hex + "\n" + secret, []string{"spec.accountSID", "SID of an API key; use the SID of the account"}},
		"account SID and a space":   {account, "accountSID: 'AC" + hex + " '\n" + secret, []string{"spec.accountSID", "remove the space"}},
		"no URL":                    {account, ac + "\n" + secret + "\napiBaseURL: api.twilio.com", []string{"spec.apiBaseURL", "https://api.twilio.com"}},
		"URL of another scheme":     {account, ac + "\n" + secret + "\napiBaseURL: ftp://api.twilio.com", []string{"spec.apiBaseURL", "http or https"}},
		"URL with a user":           {account, ac + "\n" + secret + "\napiBaseURL: https://u:p@api.twilio.com", []string{"spec.apiBaseURL", "no user"}},
		"no concurrency":            {account, ac + "\n" + secret + "\nmaxConcurrentRequests: -1", []string{"spec.maxConcurrentRequests", "1"}},
		"much concurrency":          {account, ac + "\n" + secret + "\nmaxConcurrentRequests: 101", []string{"spec.maxConcurrentRequests", "100"}},
		"interval is no duration":   {account, ac + "\n" + secret + "\nresyncInterval: 10 minutes", []string{"spec.resyncInterval"}},
		"interval in days":          {account, ac + "\n" + secret + "\nresyncInterval: 1d", []string{"spec.resyncInterval"}},
		"interval too short":        {account, ac + "\n" + secret + "\nresyncInterval: 10ms", []string{"spec.resyncInterval", "between 1s and 24h"}},
		"interval too long":         {account, ac + "\n" + secret + "\nresyncInterval: 25h", []string{"spec.resyncInterval", "between 1s and 24h"}},
		"budget as a word":          {account, ac + "\n" + secret + "\nremovalBudget: {maxNumbers: most}", []string{"spec.removalBudget.maxNumbers", "for example 25%"}},
		"budget as a quoted count":  {account, ac + "\n" + secret + "\nremovalBudget: {maxNumbers: '500'}", []string{"spec.removalBudget.maxNumbers", "without quotes"}},
		"budget above all":          {account, ac + "\n" + secret + "\nremovalBudget: {maxNumbers: 101%}", []string{"spec.removalBudget.maxNumbers", "0% to 100%"}},
		"budget below nothing":      {account, ac + "\n" + secret + "\nremovalBudget: {maxNumbers: -1}", []string{"spec.removalBudget.maxNumbers", "0 to 100000"}},
		"window too short":          {account, ac + "\n" + secret + "\nremovalBudget: {window: 59s}", []string{"spec.removalBudget.window", "between 1m and 24h"}},
		"window too long":           {account, ac + "\n" + secret + "\nremovalBudget: {window: 25h}", []string{"spec.removalBudget.window", "between 1m and 24h"}},
		"exception without reason":  {account, ac + "\n" + secret + "\nremovalBudget: {exceptions: [{until: '2026-11-26T00:00:00Z', maxNumbers: 5}]}", []string{"spec.removalBudget.exceptions[0].reason", "Required"}},
		"exception without end":     {account, ac + "\n" + secret + "\nremovalBudget: {exceptions: [{reason: CHG-123, maxNumbers: 5}]}", []string{"spec.removalBudget.exceptions[0].until", "Required"}},
		"exception of a share":      {account, ac + "\n" + secret + "\nremovalBudget: {exceptions: [{until: '2026-11-26T00:00:00Z', reason: CHG-123, maxNumbers: 50%}]}", []string{"spec.removalBudget.exceptions[0].maxNumbers", "string"}},
		"selector without Selector": {account, ac + "\n" + secret + "\nallowedNamespaces: {from: All, selector: {}}", []string{"spec.allowedNamespaces", "from: Selector"}},
		"Selector without selector": {account, ac + "\n" + secret + "\nallowedNamespaces: {from: Selector}", []string{"spec.allowedNamespaces", "from: Selector"}},
	}
	for name, c := range cases {
		for way, send := range ways {
			t.Run(name+"/"+way, func(t *testing.T) {
				err := send(t.Context(), object(t, c.kind, "refused", c.spec))
				if err == nil {
					t.Fatal("it was admitted")
				}
				for _, text := range c.says {
					if !strings.Contains(err.Error(), text) {
						t.Errorf("the error does not say %q: %v", text, err)
					}
				}
				if n := ruleMessages(err); n > 1 {
					t.Errorf("the error gives %d messages for one mistake: %v", n, err)
				}
			})
		}
	}
}

// ruleMessages is how many rules about a SID or a list of them an error tells of.
func ruleMessages(err error) (n int) {
	for _, text := range []string{
		"must be the SID of", "remove the space", "this is a phone number", "this is the SID of", "names an add-on twice",
	} {
		n += strings.Count(err.Error(), text)
	}
	return n
}

func TestAdmittedWithDefaults(t *testing.T) {
	cases := map[string]struct {
		kind, spec, want string
	}{
		"least of an assignment": {
			assignment, "phoneNumberSID: PN" + hex + "\naddOnSIDs: []",
			"{phoneNumberSID: PN" + hex + ", addOnSIDs: [], accountRef: {name: default}, managementPolicy: Authoritative, deletionPolicy: Delete, suspend: false}",
		},
		"empty account reference": {
			assignment, "phoneNumberSID: PN" + hex + "\naddOnSIDs: []\naccountRef: {}",
			"{phoneNumberSID: PN" + hex + ", addOnSIDs: [], accountRef: {name: default}, managementPolicy: Authoritative, deletionPolicy: Delete, suspend: false}",
		},
		"least of an account": {
			account, "accountSID: AC" + hex + "\ncredentialsSecretRef: {name: s}",
			"{accountSID: AC" + hex + ", credentialsSecretRef: {name: s}, allowedNamespaces: {from: None}, apiBaseURL: 'https://api.twilio.com', maxConcurrentRequests: 8, resyncInterval: 10m, suspend: false, removalBudget: {maxNumbers: 25%, minNumbers: 10, window: 1h}}",
		},
		"account with a part of a budget": {
			account, "accountSID: AC" + hex + "\ncredentialsSecretRef: {name: s}\nremovalBudget: {minNumbers: 0}",
			"{accountSID: AC" + hex + ", credentialsSecretRef: {name: s}, allowedNamespaces: {from: None}, apiBaseURL: 'https://api.twilio.com', maxConcurrentRequests: 8, resyncInterval: 10m, suspend: false, removalBudget: {maxNumbers: 25%, minNumbers: 0, window: 1h}}",
		},
		"all of an account": {
			account, "{accountSID: AC" + hex + ", credentialsSecretRef: {name: s}, allowedNamespaces: {from: Selector, selector: {matchLabels: {a: b}}}, apiBaseURL: 'http://127.0.0.1:8090', maxConcurrentRequests: 100, resyncInterval: 1h30m, suspend: true, removalBudget: {maxNumbers: 500, minNumbers: 5, window: 24h, exceptions: [{until: '2026-11-26T00:00:00Z', maxNumbers: 5000, reason: CHG-123}]}}",
			"{accountSID: AC" + hex + ", credentialsSecretRef: {name: s}, allowedNamespaces: {from: Selector, selector: {matchLabels: {a: b}}}, apiBaseURL: 'http://127.0.0.1:8090', maxConcurrentRequests: 100, resyncInterval: 1h30m, suspend: true, removalBudget: {maxNumbers: 500, minNumbers: 5, window: 24h, exceptions: [{until: '2026-11-26T00:00:00Z', maxNumbers: 5000, reason: CHG-123}]}}",
		},
	}
	for name, c := range cases {
		for way, send := range ways {
			t.Run(name+"/"+way, func(t *testing.T) {
				o := object(t, c.kind, "admitted", c.spec)
				if err := send(t.Context(), o); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { remove(t, o) })
				stored := object(t, c.kind, "admitted", "{}")
				if err := cl.Get(t.Context(), client.ObjectKeyFromObject(stored), stored); err != nil {
					t.Fatal(err)
				}
				want := object(t, c.kind, "admitted", c.want).Object["spec"]
				if got := stored.Object["spec"]; fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("stored as %v, want %v", got, want)
				}
				if n, _, _ := unstructured.NestedInt64(stored.Object, "status", "observedGeneration"); n != -1 {
					t.Errorf("status.observedGeneration begins at %d, want -1", n)
				}
			})
		}
	}
}

func remove(t *testing.T, o client.Object) {
	t.Helper()
	if err := client.IgnoreNotFound(cl.Delete(context.WithoutCancel(t.Context()), o)); err != nil {
		t.Error(err)
	}
}

func TestImmutable(t *testing.T) {
	cases := map[string]struct{ kind, spec, field, value, says string }{
		"number":  {assignment, "phoneNumberSID: PN" + hex + "\naddOnSIDs: []", "phoneNumberSID", "PN" + strings.Repeat("f", 32), "create another object"},
		"account": {account, "accountSID: AC" + hex + "\ncredentialsSecretRef: {name: s}", "accountSID", "AC" + strings.Repeat("f", 32), "create another TwilioAccount"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o := object(t, c.kind, "immutable", c.spec)
			if err := cl.Create(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { remove(t, o) })
			if err := unstructured.SetNestedField(o.Object, c.value, "spec", c.field); err != nil {
				t.Fatal(err)
			}
			err := cl.Update(t.Context(), o)
			if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("the change was answered %v", err)
			}
		})
	}
}

// The list has one owner, the manager that applied it last. The object lists what Git lists,
// whichever manager created or edited it before. With server-side apply, a list that is merged
// item by item would keep the add-ons of every other manager.
func TestListHasOneOwner(t *testing.T) {
	list := func(digits string) []any {
		sids := []any{}
		for _, digit := range digits {
			sids = append(sids, "XE"+strings.Repeat(string(digit), 32))
		}
		return sids
	}
	const git = "argocd-controller"
	// send has a manager send the list, by server-side apply or by an update.
	type send struct{ manager, list string }
	for name, c := range map[string]struct {
		before []send
		git    string
	}{
		"taken out after kubectl create":     {before: []send{{"kubectl-create", "12"}}, git: "1"},
		"taken out after client-side apply":  {before: []send{{"kubectl-client-side-apply", "12"}, {git, "12"}}, git: "1"},
		"taken out after another apply":      {before: []send{{"kubectl/apply", "12"}, {git, "12"}}, git: "2"},
		"all taken out":                      {before: []send{{"kubectl/apply", "12"}, {git, "12"}}, git: ""},
		"added by kubectl edit":              {before: []send{{git, "1"}, {"kubectl-edit", "13"}}, git: "1"},
		"taken out by kubectl edit":          {before: []send{{git, "12"}, {"kubectl-edit", "2"}}, git: "12"},
		"swapped after somebody else's edit": {before: []send{{git, "12"}, {"kubectl-edit", "123"}}, git: "14"},
	} {
		t.Run(name, func(t *testing.T) {
			o := object(t, assignment, "shared", "phoneNumberSID: PN"+hex+"\naddOnSIDs: []")
			t.Cleanup(func() { remove(t, o) })
			for _, s := range append(c.before, send{git, c.git}) {
				if err := sendList(t, o, s.manager, list(s.list)); err != nil {
					t.Fatalf("%s sends %q: %v", s.manager, s.list, err)
				}
			}
			if err := cl.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
				t.Fatal(err)
			}
			got, _, err := unstructured.NestedSlice(o.Object, "spec", "addOnSIDs")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(list(c.git), got); diff != "" {
				t.Errorf("spec.addOnSIDs (-Git +object):\n%s", diff)
			}
		})
	}
}

// sendList writes the list as a manager does: by server-side apply, as Argo CD and kubectl
// apply --server-side do, or by an update, as the other commands of kubectl do in the end.
func sendList(t *testing.T, o *unstructured.Unstructured, manager string, list []any) error {
	t.Helper()
	if manager == "argocd-controller" || manager == "kubectl/apply" {
		applied := object(t, assignment, o.GetName(), "phoneNumberSID: PN"+hex)
		applied.Object["spec"].(map[string]any)["addOnSIDs"] = list
		return cl.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner(manager), client.ForceOwnership)
	}
	current := o.DeepCopy()
	err := cl.Get(t.Context(), client.ObjectKeyFromObject(o), current)
	current.Object["spec"].(map[string]any)["addOnSIDs"] = list
	if apierrors.IsNotFound(err) {
		return cl.Create(t.Context(), current, client.FieldOwner(manager))
	} else if err != nil {
		return err
	}
	return cl.Update(t.Context(), current, client.FieldOwner(manager))
}

// The printed columns match the documentation.
func TestColumns(t *testing.T) {
	for file, want := range map[string]string{
		"phonenumberaddonassignments": "NUMBER ADD-ONS PENDING READY REASON AGE | ACCOUNT PN SID POLICY MESSAGE",
		"twilioaccounts":              "ACCOUNT SID ASSIGNMENTS HELD READY REASON AGE | API LIMIT MANAGER MESSAGE",
	} {
		crd := &unstructured.Unstructured{}
		crd.SetAPIVersion("apiextensions.k8s.io/v1")
		crd.SetKind("CustomResourceDefinition")
		if err := cl.Get(t.Context(), client.ObjectKey{Name: file + ".addons.twilio-operator.dev"}, crd); err != nil {
			t.Fatal(err)
		}
		versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
		columns, _, _ := unstructured.NestedSlice(versions[0].(map[string]any), "additionalPrinterColumns")
		var narrow, wide []string
		for _, c := range columns {
			column := c.(map[string]any)
			if column["priority"] == int64(1) {
				wide = append(wide, column["name"].(string))
			} else {
				narrow = append(narrow, column["name"].(string))
			}
		}
		if got := strings.Join(narrow, " ") + " | " + strings.Join(wide, " "); got != want {
			t.Errorf("columns of %s are %q, want %q", file, got, want)
		}
	}
}
