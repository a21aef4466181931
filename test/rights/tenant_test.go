// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package rights

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// scene is a world with a manager, and a tenant who may edit objects in a namespace that
// the account admits; its name sorts before that of the owner's.
type scene struct {
	*testing.T
	*world
	tenant    client.Client
	namespace string
}

func newScene(t *testing.T) *scene {
	t.Helper()
	w, err := newWorld(t.Context())
	must(t, err)
	sc := &scene{T: t, world: w, namespace: "a-tenant-" + w.name}
	must(t, env.Client.Create(t.Context(), w.namespace(sc.namespace)))
	sc.tenant = sc.editor(sc.namespace)
	return sc
}

// editor acts as a user to whom the role that config/ ships is bound in a namespace.
func (sc *scene) editor(namespace string) client.Client {
	sc.Helper()
	user := "editor of " + namespace
	must(sc.T, env.Client.Create(sc.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "editor", Namespace: namespace},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "phonenumberaddonassignment-editor-role"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}},
	}))
	config := rest.CopyConfig(env.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user}
	cl, err := client.New(config, client.Options{Scheme: env.Client.Scheme(), Mapper: env.Client.RESTMapper()})
	must(sc.T, err)
	must(sc.T, testenv.Wait(sc.Context(), patience, "the binding is in effect", func() error {
		return cl.List(sc.Context(), &v1alpha1.PhoneNumberAddOnAssignmentList{}, client.InNamespace(namespace))
	}))
	return cl
}

func startManager(t *testing.T, args ...string) *testenv.Process {
	t.Helper()
	process, err := env.StartManager(t.Context(), append([]string{"--leader-elect=false"}, args...)...)
	must(t, err)
	t.Cleanup(func() {
		if err := process.Stop(); err != nil {
			t.Errorf("the manager ended with %v; see %s", err, process.Log)
		}
	})
	return process
}

// own creates an object of the owner's, in the namespace of the world, for a new number.
func (sc *scene) own(change func(*assignment)) *assignment {
	sc.Helper()
	pn, err := sc.number(sc.Context())
	must(sc.T, err)
	a := sc.assignment(sc.name, "owner", pn, 1)
	change(a)
	must(sc.T, env.Client.Create(sc.Context(), a))
	return a
}

// written lists what the operator did to a number.
func written(t *testing.T, pn v1alpha1.PhoneNumberSID) []string {
	t.Helper()
	all, err := sim.Admin.JournalAfter(t.Context(), 0)
	must(t, err)
	var changes []string
	for _, m := range all {
		if m.Actor == twiliosim.ActorAPI && m.Number == string(pn) {
			changes = append(changes, string(m.Change)+" "+m.AddOn)
		}
	}
	return changes
}

func patchOf(merge string, args ...any) client.Patch {
	return client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, merge, args...))
}

// With the role that is shipped a tenant manages its objects, and reaches nothing else.
func TestTenantMayOnlyItsObjects(t *testing.T) {
	sc := newScene(t)
	owner := sc.own(func(*assignment) {})
	mine := sc.assignment(sc.namespace, "mine", string(owner.Spec.PhoneNumberSID), 1)
	must(t, sc.tenant.Create(t.Context(), mine))
	manager := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "controller-manager", Namespace: testenv.Namespace}}

	refused := map[string]func(ctx context.Context, cl client.Client) error{
		"read the Secret": func(ctx context.Context, cl client.Client) error {
			return cl.Get(ctx, client.ObjectKeyFromObject(sc.secret()), sc.secret())
		},
		"list the Secrets": func(ctx context.Context, cl client.Client) error {
			return cl.List(ctx, &corev1.SecretList{}, client.InNamespace(testenv.Namespace))
		},
		"list all Secrets": func(ctx context.Context, cl client.Client) error { return cl.List(ctx, &corev1.SecretList{}) },
		"change the Secret": func(ctx context.Context, cl client.Client) error {
			return cl.Patch(ctx, sc.secret(), patchOf(`{"data":null}`))
		},
		"plant a Secret": func(ctx context.Context, cl client.Client) error {
			return cl.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "planted", Namespace: testenv.Namespace}})
		},
		"run a pod beside it": func(ctx context.Context, cl client.Client) error {
			return cl.Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "reader", Namespace: testenv.Namespace},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "reader", Image: "reader"}}}})
		},
		"be the operator": func(ctx context.Context, cl client.Client) error {
			return cl.SubResource("token").Create(ctx, manager, &authenticationv1.TokenRequest{})
		},
		"take the operator's lease": func(ctx context.Context, cl client.Client) error {
			return cl.Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "twilio-addon-operator.twilio-operator.dev", Namespace: testenv.Namespace}})
		},
		"read the account": func(ctx context.Context, cl client.Client) error {
			return cl.Get(ctx, client.ObjectKeyFromObject(sc.twilioAccount()), sc.twilioAccount())
		},
		"redirect the account": func(ctx context.Context, cl client.Client) error {
			return cl.Patch(ctx, sc.twilioAccount(), patchOf(`{"spec":{"apiBaseURL":"http://127.0.0.1:1"}}`))
		},
		"delete the account": func(ctx context.Context, cl client.Client) error { return cl.Delete(ctx, sc.twilioAccount()) },
		"make an account of its own": func(ctx context.Context, cl client.Client) error {
			account := sc.twilioAccount()
			account.Name = "of-the-tenant"
			return cl.Create(ctx, account)
		},
		"admit its namespace": func(ctx context.Context, cl client.Client) error {
			return cl.Patch(ctx, sc.world.namespace(sc.namespace), patchOf(`{"metadata":{"labels":{"tenancy":"another"}}}`))
		},
		"write status": func(ctx context.Context, cl client.Client) error {
			return cl.Status().Patch(ctx, mine.DeepCopy(), patchOf(`{"status":{"phoneNumber":"+1"}}`))
		},
		"read another's object": func(ctx context.Context, cl client.Client) error {
			return cl.Get(ctx, client.ObjectKeyFromObject(owner), owner.DeepCopy())
		},
		"delete another's object": func(ctx context.Context, cl client.Client) error { return cl.Delete(ctx, owner.DeepCopy()) },
		"take another's finalizer": func(ctx context.Context, cl client.Client) error {
			return cl.Patch(ctx, owner.DeepCopy(), patchOf(`{"metadata":{"finalizers":null}}`))
		},
		"create beside another's": func(ctx context.Context, cl client.Client) error {
			return cl.Create(ctx, sc.assignment(sc.name, "planted", string(owner.Spec.PhoneNumberSID), 0))
		},
		"list all objects": func(ctx context.Context, cl client.Client) error {
			return cl.List(ctx, &v1alpha1.PhoneNumberAddOnAssignmentList{})
		},
	}
	for what, attempt := range refused {
		if err := attempt(t.Context(), sc.tenant); !apierrors.IsForbidden(err) {
			t.Errorf("%s: the answer is %v, want it forbidden", what, err)
		}
	}
	must(t, sc.tenant.Get(t.Context(), client.ObjectKeyFromObject(mine), mine))
	must(t, sc.tenant.Patch(t.Context(), mine, patchOf(`{"spec":{"suspend":true}}`)))
	must(t, sc.tenant.Delete(t.Context(), mine))
}

// What the API server decides, an object cannot claim of itself.
func TestTenantCannotForge(t *testing.T) {
	sc := newScene(t)
	pn, err := sc.number(t.Context())
	must(t, err)
	forged := forge(sc.assignment(sc.namespace, "forged", pn, 1))
	must(t, sc.tenant.Create(t.Context(), forged))
	forge(forged)
	must(t, sc.tenant.Update(t.Context(), forged))
	got := sc.assignment(sc.namespace, "forged", pn, 1)
	must(t, env.Client.Get(t.Context(), client.ObjectKeyFromObject(got), got))
	if diff := cmp.Diff(v1alpha1.PhoneNumberAddOnAssignmentStatus{ObservedGeneration: -1}, got.Status); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	if time.Since(got.CreationTimestamp.Time) > time.Hour || got.UID == "forged" {
		t.Errorf("created %v with the UID %s", got.CreationTimestamp, got.UID)
	}
}

// forge has an object say that it is the oldest, and found its number long ago.
func forge(a *assignment) *assignment {
	a.CreationTimestamp = metav1.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
	if a.UID == "" {
		a.UID = "forged"
	}
	a.Status = v1alpha1.PhoneNumberAddOnAssignmentStatus{
		ObservedGeneration: 1, AccountSID: "AC" + v1alpha1.AccountSID(strings.Repeat("0", 32)), PhoneNumber: "+1",
		Conditions: []metav1.Condition{{Type: "Ready", Status: "True", Reason: "Synced", LastTransitionTime: metav1.Now()}},
	}
	return a
}

func withFinalizer(a *assignment) { a.Finalizers = []string{v1alpha1.FinalizerUnassign} }

// Whatever a tenant writes on an object that comes later, the number stays with the
// object that was first, be that one never so passive. One that writes nothing to Twilio
// claims nothing, and is first by its age alone, which the API server tells in seconds.
//
//nolint:tparallel // one manager at a time acts on the cluster
func TestTenantCannotSteal(t *testing.T) {
	startManager(t)
	owners := map[string]struct {
		change func(*assignment)
		reason string
	}{
		"synced":    {func(*assignment) {}, v1alpha1.ReasonSynced},
		"additive":  {func(a *assignment) { a.Spec.ManagementPolicy = v1alpha1.ManagementAdditive }, v1alpha1.ReasonSynced},
		"observing": {func(a *assignment) { a.Spec.ManagementPolicy = v1alpha1.ManagementObserve }, v1alpha1.ReasonObserved},
		"suspended": {func(a *assignment) { a.Spec.Suspend = true }, v1alpha1.ReasonSuspended},
	}
	tricks := map[string]func(*assignment){
		"nothing":       func(*assignment) {},
		"the finalizer": withFinalizer,
		"forged status": func(a *assignment) { forge(a); withFinalizer(a) },
		"another letter case": func(a *assignment) {
			a.Spec.PhoneNumberSID = "PN" + v1alpha1.PhoneNumberSID(strings.ToUpper(string(a.Spec.PhoneNumberSID[2:])))
		},
		"suspended at first": func(a *assignment) { a.Spec.Suspend = true; withFinalizer(a) },
		"observing at first": func(a *assignment) { a.Spec.ManagementPolicy = v1alpha1.ManagementObserve; withFinalizer(a) },
	}
	for name, kind := range owners {
		for trick, change := range tricks {
			t.Run(name+" owner, "+trick, func(t *testing.T) {
				t.Parallel()
				sc := newScene(t)
				owner := sc.own(kind.change)
				must(t, says(t.Context(), owner, kind.reason))
				if owner.Status.AccountSID == "" || !controllerutil.ContainsFinalizer(owner, v1alpha1.FinalizerUnassign) {
					must(t, testenv.Wait(t.Context(), patience, "the owner's second is over", func() error {
						if age := time.Since(owner.CreationTimestamp.Time); age < time.Second {
							return fmt.Errorf("it is %v old", age)
						}
						return nil
					}))
				}
				before := written(t, owner.Spec.PhoneNumberSID)
				thief := sc.assignment(sc.namespace, "a-thief", string(owner.Spec.PhoneNumberSID), 2)
				change(thief)
				must(t, sc.tenant.Create(t.Context(), thief))
				sc.loses(thief, owner)
				must(t, says(t.Context(), owner, kind.reason))
				if diff := cmp.Diff(before, written(t, owner.Spec.PhoneNumberSID)); diff != "" {
					t.Errorf("writes to the number (-before +after):\n%s", diff)
				}
			})
		}
	}
}

// loses waits until the thief is told whose the number is: as it was created, and after
// it has given up every pretence, and taken the finalizer off and put it on.
func (sc *scene) loses(thief, owner *assignment) {
	sc.Helper()
	if thief.Spec.Suspend {
		must(sc.T, says(sc.Context(), thief, v1alpha1.ReasonSuspended))
	}
	for _, merge := range []string{
		`{"spec":{"suspend":false,"managementPolicy":"Authoritative"}}`,
		`{"metadata":{"finalizers":null},"spec":{"deletionPolicy":"Retain"}}`,
		`{"metadata":{"finalizers":["` + v1alpha1.FinalizerUnassign + `"]},"spec":{"deletionPolicy":"Delete"}}`,
	} {
		must(sc.T, sc.tenant.Patch(sc.Context(), thief, patchOf("%s", merge)))
		must(sc.T, says(sc.Context(), thief, v1alpha1.ReasonPhoneNumberConflict, owner.Namespace+"/"+owner.Name))
	}
}

// An object that was first but may not act on the number, or whose account has not got
// it, is in nobody's way: neither when another comes to own the number nor when that
// one goes.
//
//nolint:tparallel // one manager at a time acts on the cluster
func TestSquatterBlocksNobody(t *testing.T) {
	startManager(t)
	for name, c := range map[string]struct {
		reason string
		squat  func(sc *scene, a *assignment)
	}{
		"not admitted": {v1alpha1.ReasonNamespaceNotAllowed, func(sc *scene, _ *assignment) {
			must(sc.T, env.Client.Patch(sc.Context(), sc.world.namespace(sc.namespace), patchOf(`{"metadata":{"labels":{"tenancy":"another"}}}`)))
			sc.knownAsBarred()
		}},
		"no such account": {v1alpha1.ReasonAccountNotFound, func(_ *scene, a *assignment) { a.Spec.AccountRef.Name = "nobody" }},
		"suspended under another account": {v1alpha1.ReasonSuspended, func(sc *scene, a *assignment) {
			sc.underAnother(a)
			a.Spec.Suspend = true
		}},
		"under another account": {v1alpha1.ReasonPhoneNumberNotFound, func(sc *scene, a *assignment) { sc.underAnother(a) }},
		"under another account without a credential": {v1alpha1.ReasonCredentialsInvalid, func(sc *scene, a *assignment) {
			sc.underAnother(a)
			another := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: a.Spec.AccountRef.Name, Namespace: testenv.Namespace}}
			must(sc.T, env.Client.Delete(sc.Context(), another))
		}},
	} {
		for _, finalizer := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, finalizer %v", name, finalizer), func(t *testing.T) {
				t.Parallel()
				sc := newScene(t)
				pn, err := sc.number(t.Context())
				must(t, err)
				squatter := sc.assignment(sc.namespace, "a-squatter", pn, 2)
				if finalizer {
					withFinalizer(squatter)
				}
				c.squat(sc, squatter)
				must(t, sc.tenant.Create(t.Context(), squatter))
				must(t, says(t.Context(), squatter, c.reason))
				sc.ownsAndGoes(pn)
			})
		}
	}
}

// knownAsBarred waits until the operator knows that the namespace of the scene may not use
// the account: objects and namespaces are watched apart.
func (sc *scene) knownAsBarred() {
	sc.Helper()
	pn, err := sc.number(sc.Context())
	must(sc.T, err)
	probe := sc.assignment(sc.namespace, "a-probe", pn, 1)
	must(sc.T, env.Client.Create(sc.Context(), probe))
	must(sc.T, says(sc.Context(), probe, v1alpha1.ReasonNamespaceNotAllowed))
}

// underAnother has an object refer to another account, which admits its namespace and has
// other numbers.
func (sc *scene) underAnother(a *assignment) {
	sc.Helper()
	another, err := newWorld(sc.Context(), func(account *v1alpha1.TwilioAccount) {
		account.Spec.AllowedNamespaces = v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll}
	})
	must(sc.T, err)
	a.Spec.AccountRef.Name = another.name
}

// ownsAndGoes has an owner come, lose its admission, and be deleted: what it assigned is
// never forgotten in favour of a squatter.
func (sc *scene) ownsAndGoes(pn string) {
	sc.Helper()
	owner := sc.assignment(sc.name, "owner", pn, 1)
	must(sc.T, env.Client.Create(sc.Context(), owner))
	must(sc.T, says(sc.Context(), owner, v1alpha1.ReasonSynced))
	namespace := sc.world.namespace(sc.name)
	must(sc.T, env.Client.Patch(sc.Context(), namespace, patchOf(`{"metadata":{"labels":{"tenancy":"another"}}}`)))
	must(sc.T, says(sc.Context(), owner, v1alpha1.ReasonNamespaceNotAllowed))
	must(sc.T, env.Client.Delete(sc.Context(), owner))
	must(sc.T, says(sc.Context(), owner, v1alpha1.ReasonDeletionBlocked, v1alpha1.ReasonNamespaceNotAllowed))
	must(sc.T, env.Client.Patch(sc.Context(), namespace, patchOf(`{"metadata":{"labels":{"tenancy":%q}}}`, sc.name)))
	must(sc.T, gone(sc.Context(), owner))
	want := []string{"assign " + sc.addOns[0], "unassign " + sc.addOns[0]}
	if diff := cmp.Diff(want, written(sc.T, v1alpha1.PhoneNumberSID(pn))); diff != "" {
		sc.Errorf("writes to the number (-want +got):\n%s", diff)
	}
}
