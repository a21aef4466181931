// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package admission tests the policies of config/admission on a real API server.
package admission

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
)

const (
	folder = "../../config/admission"
	// listed is a number that the sample ConfigMap lists for the namespace telephony.
	listed   = "PN0123456789abcdef0123456789abcdef"
	unlisted = "PNffffffffffffffffffffffffffffffff"

	labelNumbers       = "addons.twilio-operator.dev/numbers"
	labelDeletion      = "addons.twilio-operator.dev/deletion-policy"
	labelAuthoritative = "addons.twilio-operator.dev/authoritative"
)

// namespaces maps names to the labels that the policies select by.
var namespaces = map[string]map[string]string{
	testenv.Namespace: nil,
	"free":            nil,
	"telephony":       {labelNumbers: "listed"},
	"unknown":         {labelNumbers: "listed"},
	"retaining":       {labelDeletion: "Retain"},
	"additive":        {labelAuthoritative: "forbidden"},
	"strict":          {labelDeletion: "Retain", labelAuthoritative: "forbidden"},
}

var cluster client.Client

func TestMain(m *testing.M) { testenv.Exit(run(m)) }

func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	env, err := testenv.ControlPlane(ctx)
	if err != nil {
		return 1, err
	}
	env.CRDDirectoryPaths = []string{"../../config/crd/bases"}
	config, err := env.Start()
	if err != nil {
		return 1, fmt.Errorf("starting the control plane: %w", err)
	}
	defer func() { err = errors.Join(err, env.Stop()) }()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return 1, err
	}
	if cluster, err = client.New(config, client.Options{Scheme: scheme, FieldValidation: metav1.FieldValidationStrict}); err != nil {
		return 1, err
	}
	if err := prepare(ctx); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

func prepare(ctx context.Context) error {
	for name, labels := range namespaces {
		if err := cluster.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}); err != nil {
			return err
		}
	}
	objects, err := manifests()
	if err != nil {
		return err
	}
	for _, object := range objects {
		if err := cluster.Create(ctx, object.DeepCopy()); err != nil {
			return fmt.Errorf("creating %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	return awaitPolicies(ctx)
}

// manifests returns the objects in the files that the kustomization names.
func manifests() ([]*unstructured.Unstructured, error) {
	content, err := os.ReadFile(filepath.Join(folder, "kustomization.yaml"))
	if err != nil {
		return nil, err
	}
	var kustomization struct {
		Resources []string `json:"resources"`
	}
	if err := utilyaml.Unmarshal(content, &kustomization); err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for _, name := range kustomization.Resources {
		content, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			return nil, err
		}
		for document := range strings.SplitSeq(string(content), "\n---\n") {
			object := &unstructured.Unstructured{}
			if err := utilyaml.Unmarshal([]byte(document), &object.Object); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			objects = append(objects, object)
		}
	}
	return objects, nil
}

// awaitPolicies waits until the API server enforces every policy.
func awaitPolicies(ctx context.Context) error {
	for _, refused := range []*v1alpha1.PhoneNumberAddOnAssignment{
		assignment("telephony", unlisted), assignment("retaining", unlisted), assignment("additive", unlisted),
	} {
		err := testenv.Wait(ctx, time.Minute, "the policy for the namespace "+refused.Namespace+" is enforced", func() error {
			if err := cluster.Create(ctx, refused.DeepCopy(), client.DryRunAll); err == nil {
				return errors.New("it is admitted")
			} else if !apierrors.IsForbidden(err) {
				return err
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// assignment returns an object in which every optional field has its default.
func assignment(namespace, number string, changes ...func(*v1alpha1.PhoneNumberAddOnAssignment)) *v1alpha1.PhoneNumberAddOnAssignment {
	a := &v1alpha1.PhoneNumberAddOnAssignment{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "line-", Namespace: namespace},
		Spec:       v1alpha1.PhoneNumberAddOnAssignmentSpec{PhoneNumberSID: v1alpha1.PhoneNumberSID(number), AddOnSIDs: []v1alpha1.AddOnSID{}},
	}
	for _, change := range changes {
		change(a)
	}
	return a
}

func retain(a *v1alpha1.PhoneNumberAddOnAssignment) { a.Spec.DeletionPolicy = v1alpha1.DeletionRetain }
func dropAll(a *v1alpha1.PhoneNumberAddOnAssignment) {
	a.Spec.DeletionPolicy = v1alpha1.DeletionDelete
}
func additive(a *v1alpha1.PhoneNumberAddOnAssignment) {
	a.Spec.ManagementPolicy = v1alpha1.ManagementAdditive
}
func observe(a *v1alpha1.PhoneNumberAddOnAssignment) {
	a.Spec.ManagementPolicy = v1alpha1.ManagementObserve
}
func authoritative(a *v1alpha1.PhoneNumberAddOnAssignment) {
	a.Spec.ManagementPolicy = v1alpha1.ManagementAuthoritative
}

func TestCreate(t *testing.T) {
	change := func(changes ...func(*v1alpha1.PhoneNumberAddOnAssignment)) []func(*v1alpha1.PhoneNumberAddOnAssignment) {
		return changes
	}
	const (
		notListed    = "the namespace telephony may not use the number " + unlisted + ": ask a cluster admin to add it to the ConfigMap twilio-addon-operator-system/twilio-numbers"
		onlyRetain   = "admits only deletionPolicy: Retain"
		onlyAdditive = "admits only managementPolicy: Additive or Observe"
	)
	tests := map[string]struct {
		namespace, number string
		changes           []func(*v1alpha1.PhoneNumberAddOnAssignment)
		says              string // empty: admitted
	}{
		"a namespace without labels":             {namespace: "free", number: unlisted},
		"a number that is listed":                {namespace: "telephony", number: listed},
		"a listed number in other letter case":   {namespace: "telephony", number: "PN" + strings.ToUpper(listed[2:])},
		"the last number of the list":            {namespace: "telephony", number: "PN123456789abcdef0123456789abcdef0"},
		"a number that is not listed":            {namespace: "telephony", number: unlisted, says: notListed},
		"a listed number in another namespace":   {namespace: "unknown", number: listed, says: "the namespace unknown may not use the number"},
		"Delete by default":                      {namespace: "retaining", number: unlisted, says: onlyRetain},
		"Delete":                                 {namespace: "retaining", number: unlisted, changes: change(dropAll), says: onlyRetain},
		"Retain":                                 {namespace: "retaining", number: unlisted, changes: change(retain)},
		"Authoritative by default":               {namespace: "additive", number: unlisted, says: onlyAdditive},
		"Authoritative":                          {namespace: "additive", number: unlisted, changes: change(authoritative), says: onlyAdditive},
		"Additive":                               {namespace: "additive", number: unlisted, changes: change(additive)},
		"Observe":                                {namespace: "additive", number: unlisted, changes: change(observe)},
		"one of two demands is met":              {namespace: "strict", number: unlisted, changes: change(retain), says: onlyAdditive},
		"the other of two demands is met":        {namespace: "strict", number: unlisted, changes: change(additive), says: onlyRetain},
		"both demands are met":                   {namespace: "strict", number: unlisted, changes: change(additive, retain)},
		"Authoritative where Retain is demanded": {namespace: "retaining", number: unlisted, changes: change(retain, authoritative)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := cluster.Create(t.Context(), assignment(test.namespace, test.number, test.changes...), client.DryRunAll)
			expect(t, err, test.says)
		})
	}
}

// expect fails the test unless err is a refusal that contains the text; without a text, unless err is nil.
func expect(t *testing.T, err error, says string) {
	t.Helper()
	switch {
	case says == "" && err != nil:
		t.Errorf("refused: %v", err)
	case says != "" && err == nil:
		t.Error("admitted")
	case says != "" && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), says)):
		t.Errorf("the error is %q, want a refusal that says %q", err, says)
	}
}

// numbers reads the sample ConfigMap, and restores it at the end of the test.
func numbers(t *testing.T) *corev1.ConfigMap {
	t.Helper()
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "twilio-numbers", Namespace: testenv.Namespace}}
	if err := cluster.Get(t.Context(), client.ObjectKeyFromObject(config), config); err != nil {
		t.Fatal(err)
	}
	before := config.DeepCopy()
	before.ResourceVersion = ""
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := client.IgnoreNotFound(cluster.Delete(ctx, before.DeepCopy())); err != nil {
			t.Error(err)
		}
		if err := cluster.Create(ctx, before); err != nil {
			t.Error(err)
		}
		awaitAnswer(t, "the list is there again", listed, "")
		awaitAnswer(t, "the list is the old one", unlisted, "may not use the number")
	})
	return config
}

// A number may be taken off the list, and the list itself may be deleted.
func TestParameters(t *testing.T) {
	ctx := t.Context()
	config := numbers(t)
	kept := assignment("telephony", listed)
	if err := cluster.Create(ctx, kept); err != nil {
		t.Fatal(err)
	}
	config.Data = nil
	if err := cluster.Update(ctx, config); err != nil {
		t.Fatal(err)
	}
	awaitAnswer(t, "the list is empty", listed, "the namespace telephony may not use the number "+listed)
	kept.Spec.AddOnSIDs = []v1alpha1.AddOnSID{"XE0123456789abcdef0123456789abcdef"}
	if err := cluster.Update(ctx, kept); err != nil {
		t.Errorf("an object whose number was taken off the list cannot be edited: %v", err)
	}
	if err := cluster.Delete(ctx, config); err != nil {
		t.Fatal(err)
	}
	awaitAnswer(t, "there is no list", listed, "no params found")
	if err := cluster.Delete(ctx, kept); err != nil {
		t.Errorf("an object cannot be deleted without a list: %v", err)
	}
}

// The expression can handle as many numbers as a ConfigMap holds.
func TestFullList(t *testing.T) {
	config := numbers(t)
	var list strings.Builder
	for i := range 29_000 {
		fmt.Fprintf(&list, "PN%032x\n", i)
	}
	config.Data["telephony"] = list.String()
	if err := cluster.Update(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	awaitAnswer(t, "the last of the list is admitted", fmt.Sprintf("PN%032x", 28_999), "")
	awaitAnswer(t, "one that is not on the list is refused", listed, "the namespace telephony may not use the number "+listed)
}

// awaitAnswer waits until creating an object for a number gets this answer.
func awaitAnswer(t *testing.T, what, number, says string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	err := testenv.Wait(ctx, time.Minute, what, func() error {
		err := cluster.Create(ctx, assignment("telephony", number), client.DryRunAll)
		if (says == "" && err == nil) || (says != "" && err != nil && strings.Contains(err.Error(), says)) {
			return nil
		}
		return fmt.Errorf("the answer is %w", err)
	})
	if err != nil {
		t.Error(err)
	}
}

// inStrictNamespace creates an object that breaks every rule in its own namespace, and then gives
// that namespace every label.
func inStrictNamespace(t *testing.T, name string, changes ...func(*v1alpha1.PhoneNumberAddOnAssignment)) *v1alpha1.PhoneNumberAddOnAssignment {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	a := assignment(name, unlisted, changes...)
	for _, object := range []client.Object{namespace, a} {
		if err := cluster.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	namespace.Labels = map[string]string{labelNumbers: "listed", labelDeletion: "Retain", labelAuthoritative: "forbidden"}
	if err := cluster.Update(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	err := testenv.Wait(t.Context(), time.Minute, "the labels count", func() error {
		if err := cluster.Create(t.Context(), assignment(name, unlisted), client.DryRunAll); !apierrors.IsForbidden(err) {
			return fmt.Errorf("the answer is %w", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Objects that existed before their namespace got its labels can still be edited and deleted.
func TestObjectsFromBefore(t *testing.T) {
	ctx := t.Context()
	a := inStrictNamespace(t, "relabelled")
	edit := func(what, says string, change func()) {
		t.Helper()
		before := a.DeepCopy()
		change()
		t.Run(what, func(t *testing.T) { expect(t, cluster.Update(ctx, a), says) })
		if says != "" {
			a = before
		}
	}
	edit("the operator claims it", "", func() { a.Finalizers = []string{v1alpha1.FinalizerUnassign} })
	edit("its list is edited", "", func() { a.Spec.AddOnSIDs = []v1alpha1.AddOnSID{"XE0123456789abcdef0123456789abcdef"} })
	edit("a step towards the rules", "", func() { retain(a); additive(a) })
	edit("back to Delete", "admits only deletionPolicy: Retain", func() { dropAll(a) })
	edit("back to Authoritative", "admits only managementPolicy: Additive or Observe", func() { authoritative(a) })
	a.Status.Synced, a.Status.ObservedGeneration = "0/1", a.Generation
	if err := cluster.Status().Update(ctx, a); err != nil {
		t.Errorf("the operator cannot report: %v", err)
	}
}

// An object that breaks every rule can be deleted: its owner may release it with Retain, and the
// operator may remove its finalizer.
func TestNothingDeniesDeletion(t *testing.T) {
	ctx := t.Context()
	a := inStrictNamespace(t, "leaving", func(a *v1alpha1.PhoneNumberAddOnAssignment) { a.Finalizers = []string{v1alpha1.FinalizerUnassign} })
	if err := cluster.Delete(ctx, a); err != nil {
		t.Fatalf("it cannot be deleted: %v", err)
	}
	key := client.ObjectKeyFromObject(a)
	for what, change := range map[string]string{
		"letting it go":             `{"spec":{"deletionPolicy":"Retain"}}`,
		"asking for a pass":         `{"metadata":{"annotations":{"addons.twilio-operator.dev/reconcile-requested-at":"now"}}}`,
		"taking the finalizer away": `{"metadata":{"finalizers":null}}`,
	} {
		if err := cluster.Patch(ctx, a, client.RawPatch("application/merge-patch+json", []byte(change)), client.DryRunAll); err != nil {
			t.Errorf("%s is refused: %v", what, err)
		}
	}
	if err := cluster.Get(ctx, key, a); err != nil {
		t.Fatal(err)
	}
	a.Finalizers = nil
	if err := cluster.Update(ctx, a); err != nil {
		t.Fatalf("the operator cannot take its finalizer away: %v", err)
	}
	if err := cluster.Get(ctx, key, a); !apierrors.IsNotFound(err) {
		t.Errorf("it is not gone: %v", err)
	}
}

// The same, read from the manifests: no rule covers deletions or status, and a policy that cannot
// be evaluated refuses.
func TestRulesOfThePolicies(t *testing.T) {
	var policies admissionv1.ValidatingAdmissionPolicyList
	if err := cluster.List(t.Context(), &policies); err != nil {
		t.Fatal(err)
	}
	if len(policies.Items) != 3 {
		t.Errorf("there are %d policies, want 3", len(policies.Items))
	}
	for _, policy := range policies.Items {
		if failure := policy.Spec.FailurePolicy; failure == nil || *failure != admissionv1.Fail {
			t.Errorf("%s: the failure policy is %v", policy.Name, failure)
		}
		for _, rule := range policy.Spec.MatchConstraints.ResourceRules {
			for _, operation := range rule.Operations {
				if operation != admissionv1.Create && operation != admissionv1.Update {
					t.Errorf("%s looks at %s", policy.Name, operation)
				}
			}
			if !slices.Equal(rule.Resources, []string{"phonenumberaddonassignments"}) {
				t.Errorf("%s looks at %v", policy.Name, rule.Resources)
			}
		}
	}
}
