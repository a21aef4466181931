// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package rights

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
)

// atom is the smallest part of a role: one verb on one resource.
type atom struct {
	// Role is the ClusterRole or Role that grants it, as the audit log names it.
	Role string
	// Namespace is empty if it holds in all.
	Namespace             string
	Group, Resource, Verb string
	// Name is empty if it holds for all.
	Name string
}

func (a atom) String() string {
	return strings.TrimSuffix(fmt.Sprintf("%s: %s %s.%s %s", a.Role, a.Verb, a.Resource, a.Group, a.Name), " ")
}

// granted lists what the API server grants the manager, by reading its bindings.
func granted(t *testing.T) []atom {
	t.Helper()
	var atoms []atom
	var clusterWide rbacv1.ClusterRoleBindingList
	must(t, env.Client.List(t.Context(), &clusterWide))
	for _, binding := range clusterWide.Items {
		if ofManager(binding.Subjects) {
			role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: binding.RoleRef.Name}}
			must(t, env.Client.Get(t.Context(), client.ObjectKeyFromObject(role), role))
			atoms = append(atoms, split("ClusterRole", role.Name, "", role.Rules)...)
		}
	}
	var namespaced rbacv1.RoleBindingList
	must(t, env.Client.List(t.Context(), &namespaced))
	for _, binding := range namespaced.Items {
		if ofManager(binding.Subjects) {
			role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: binding.RoleRef.Name, Namespace: binding.Namespace}}
			must(t, env.Client.Get(t.Context(), client.ObjectKeyFromObject(role), role))
			atoms = append(atoms, split("Role", role.Name, role.Namespace, role.Rules)...)
		}
	}
	return atoms
}

func ofManager(subjects []rbacv1.Subject) bool {
	return slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool {
		return s.Kind == "ServiceAccount" && "system:serviceaccount:"+s.Namespace+":"+s.Name == manager
	})
}

func split(kind, name, namespace string, rules []rbacv1.PolicyRule) []atom {
	var atoms []atom
	for _, rule := range rules {
		names := rule.ResourceNames
		if len(names) == 0 {
			names = []string{""}
		}
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					for _, of := range names {
						atoms = append(atoms, atom{fmt.Sprintf("%s %q", kind, name), namespace, group, resource, verb, of})
					}
				}
			}
		}
	}
	return atoms
}

// request is one entry of the audit log, as far as it matters.
type request struct {
	Verb       string `json:"verb"`
	RequestURI string `json:"requestURI"`
	ObjectRef  *struct {
		Resource    string `json:"resource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
		APIGroup    string `json:"apiGroup"`
		Subresource string `json:"subresource"`
	} `json:"objectRef"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	Annotations map[string]string `json:"annotations"`
}

// isFor says whether the request is one that the atom is about.
func (r *request) isFor(a atom) bool {
	o := r.ObjectRef
	if o == nil || r.Verb != a.Verb || o.APIGroup != a.Group {
		return false
	}
	resource := strings.TrimSuffix(o.Resource+"/"+o.Subresource, "/")
	return resource == a.Resource && (a.Namespace == "" || a.Namespace == o.Namespace) && (a.Name == "" || a.Name == o.Name)
}

// allowedBy says whether the role is why the API server took the request.
func (r *request) allowedBy(role string) bool {
	return r.Annotations["authorization.k8s.io/decision"] == "allow" &&
		strings.Contains(r.Annotations["authorization.k8s.io/reason"], " of "+role+" to ServiceAccount ")
}

// requests are those of the manager since a place in the log, and the place they end at.
func requests(t *testing.T, since int) ([]request, int) {
	t.Helper()
	log, err := os.ReadFile(auditLog())
	if os.IsNotExist(err) {
		return nil, 0
	}
	must(t, err)
	whole := bytes.LastIndexByte(log, '\n') + 1
	var found []request
	decoder := json.NewDecoder(bytes.NewReader(log[since:whole]))
	for decoder.More() {
		var r request
		must(t, decoder.Decode(&r))
		found = append(found, r)
	}
	return found, whole
}

// everything has a manager do all that it ever does: win an election, take over an account and
// verify it, claim a number, assign, repair, tell of it once and again, be scraped, clean up, and lose its
// place to another. Without streams it reads as from an API server that cannot stream
// lists. It ends early with ctx.
func everything(ctx context.Context, streams bool) error {
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "twilio-addon-operator.twilio-operator.dev", Namespace: testenv.Namespace}}
	if err := client.IgnoreNotFound(env.Client.Delete(ctx, lease)); err != nil {
		return err
	}
	w, err := newWorld(ctx, func(account *v1alpha1.TwilioAccount) { account.Spec.ResyncInterval.Duration = time.Second })
	if err != nil {
		return err
	}
	if err := w.served(ctx); err != nil {
		return err
	}
	metrics, err := testenv.FreeAddress(ctx)
	if err != nil {
		return err
	}
	env.Environ = []string{fmt.Sprintf("KUBE_FEATURE_WatchListClient=%v", streams)}
	defer func() { env.Environ = nil }()
	first, err := env.StartManager(ctx, "--leader-elect-lease-duration=3s", "--metrics-bind-address="+metrics)
	if err != nil {
		return err
	}
	defer func() { _ = first.Kill() }()
	if err := w.assignAndScrape(ctx, metrics); err != nil {
		return err
	}
	second, err := env.StartManager(ctx, "--leader-elect-lease-duration=3s")
	if err != nil {
		return err
	}
	defer func() { _ = second.Kill() }()
	if err := first.Stop(); err != nil {
		return err
	}
	return w.cleanUp(ctx)
}

// served has the account name a manager that is gone, which the next one looks for.
func (w *world) served(ctx context.Context) error {
	account := w.twilioAccount()
	if err := env.Client.Get(ctx, client.ObjectKeyFromObject(account), account); err != nil {
		return err
	}
	base := account.DeepCopy()
	account.Status.Manager = "gone"
	return env.Client.Status().Patch(ctx, account, client.MergeFrom(base))
}

// assignAndScrape edits an object, and then has the same drift repaired twice.
func (w *world) assignAndScrape(ctx context.Context, metrics string) error {
	pn, err := w.number(ctx)
	if err != nil {
		return err
	}
	a := w.assignment(w.name, "line", pn, 1)
	if err := env.Client.Create(ctx, a); err != nil {
		return err
	}
	if err := says(ctx, a, v1alpha1.ReasonSynced); err != nil {
		return err
	}
	base := a.DeepCopy()
	a.Spec.AddOnSIDs = w.first(2)
	if err := env.Client.Patch(ctx, a, client.MergeFrom(base)); err != nil {
		return err
	}
	if err := says(ctx, a, v1alpha1.ReasonSynced); err != nil {
		return err
	}
	for range 2 {
		if err := w.drift(ctx, pn); err != nil {
			return err
		}
	}
	return errors.Join(counted(ctx, a), scrape(ctx, metrics))
}

// drift assigns an add-on in the console and waits until it is removed.
func (w *world) drift(ctx context.Context, pn string) error {
	if err := sim.Admin.Assign(ctx, pn, w.addOns[2]); err != nil {
		return err
	}
	return testenv.Wait(ctx, patience, "the drift is repaired", func() error {
		assigned, err := sim.Admin.Assigned(ctx, pn)
		if err == nil && len(assigned) != 2 {
			err = fmt.Errorf("assigned are %v", assigned)
		}
		return err
	})
}

// counted waits until an event about the object says that it was sent more than once.
func counted(ctx context.Context, a *assignment) error {
	return testenv.Wait(ctx, patience, "an event is counted", func() error {
		var events eventsv1.EventList
		if err := env.Client.List(ctx, &events, client.InNamespace(a.Namespace)); err != nil {
			return err
		}
		for i := range events.Items {
			if e := &events.Items[i]; e.Regarding.UID == a.UID && e.Series != nil {
				return nil
			}
		}
		return fmt.Errorf("there are %d events", len(events.Items))
	})
}

// scrape asks for the metrics, as somebody who may not have them.
func scrape(ctx context.Context, address string) error {
	token, err := env.Token(ctx, stranger)
	if err != nil {
		return err
	}
	return testenv.Wait(ctx, patience, "the metrics are refused", func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+"/metrics", http.NoBody)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token)
		// The manager's certificate is its own; who it is is not what is tested.
		cl := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
		res, err := cl.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = res.Body.Close() }()
		if res.StatusCode != http.StatusForbidden {
			return fmt.Errorf("the answer is %s", res.Status)
		}
		return nil
	})
}

func (w *world) cleanUp(ctx context.Context) error {
	a := &assignment{ObjectMeta: metav1.ObjectMeta{Name: "line", Namespace: w.name}}
	return errors.Join(
		env.Client.Delete(ctx, a), gone(ctx, a),
		env.Client.Delete(ctx, w.twilioAccount()), gone(ctx, w.twilioAccount()),
	)
}

// The manager uses every right that it has, and has every right that it uses.
func TestNoRightIsUnused(t *testing.T) {
	_, since := requests(t, 0)
	for _, streams := range []bool{true, false} {
		must(t, everything(t.Context(), streams))
	}
	// Events are sent in their own time.
	must(t, testenv.Wait(t.Context(), patience, "every right was used", func() error {
		unused := unused(t, since)
		if len(unused) == 0 {
			return nil
		}
		return fmt.Errorf("unused are:\n%s", strings.Join(unused, "\n"))
	}))
	all, _ := requests(t, since)
	for _, r := range all {
		if r.ResponseStatus.Code == http.StatusForbidden || r.ResponseStatus.Code == http.StatusUnauthorized {
			t.Errorf("the manager was refused %s %s", r.Verb, r.RequestURI)
		}
	}
}

// unused lists the rights of which no request since then has made successful use.
func unused(t *testing.T, since int) []string {
	t.Helper()
	all, _ := requests(t, since)
	var names []string
	for _, a := range granted(t) {
		used := slices.ContainsFunc(all, func(r request) bool {
			return r.isFor(a) && r.allowedBy(a.Role) && r.ResponseStatus.Code < 400
		})
		if !used {
			names = append(names, a.String())
		}
	}
	return names
}

// With any one right taken away, the API server refuses the manager something.
func TestNoRightIsTooMuch(t *testing.T) {
	for _, a := range granted(t) {
		t.Run(a.String(), func(t *testing.T) {
			take(t, a)
			_, since := requests(t, 0)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- everything(ctx, a.Verb != "list") }()
			for refused(t, a, since) == nil {
				select {
				case err := <-done:
					if r := refused(t, a, since); r == nil {
						t.Fatalf("the manager did without: %v", err)
					}
					return
				case <-time.After(50 * time.Millisecond):
				}
			}
			cancel()
			t.Log("cut short:", <-done)
		})
	}
}

// refused is a request since then that the API server did not take for want of the right.
func refused(t *testing.T, a atom, since int) *request {
	t.Helper()
	all, _ := requests(t, since)
	for i := range all {
		if all[i].isFor(a) && all[i].ResponseStatus.Code == http.StatusForbidden {
			return &all[i]
		}
	}
	return nil
}

// take takes a right away for the time of a test. It is in effect when take returns, and
// has been put back when the test has ended.
func take(t *testing.T, a atom) {
	t.Helper()
	kind, quoted, _ := strings.Cut(a.Role, " ")
	meta := metav1.ObjectMeta{Name: strings.Trim(quoted, `"`), Namespace: a.Namespace}
	var role client.Object = &rbacv1.ClusterRole{ObjectMeta: meta}
	if kind == "Role" {
		role = &rbacv1.Role{ObjectMeta: meta}
	}
	must(t, env.Client.Get(t.Context(), client.ObjectKeyFromObject(role), role))
	rules := rulesOf(role)
	original := slices.Clone(*rules)
	*rules = without(*rules, a)
	must(t, env.Client.Update(t.Context(), role))
	awaitRight(t.Context(), t, a, false)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		*rulesOf(role) = original
		must(t, env.Client.Update(ctx, role))
		awaitRight(ctx, t, a, true)
	})
}

func rulesOf(role client.Object) *[]rbacv1.PolicyRule {
	switch role := role.(type) {
	case *rbacv1.ClusterRole:
		return &role.Rules
	case *rbacv1.Role:
		return &role.Rules
	}
	panic(fmt.Sprintf("no role: %T", role))
}

// without makes rules of one atom each, less the one.
func without(rules []rbacv1.PolicyRule, less atom) []rbacv1.PolicyRule {
	var rest []rbacv1.PolicyRule
	for _, a := range split("", "", "", rules) {
		if a.Group == less.Group && a.Resource == less.Resource && a.Verb == less.Verb && a.Name == less.Name {
			continue
		}
		rule := rbacv1.PolicyRule{APIGroups: []string{a.Group}, Resources: []string{a.Resource}, Verbs: []string{a.Verb}}
		if a.Name != "" {
			rule.ResourceNames = []string{a.Name}
		}
		rest = append(rest, rule)
	}
	return rest
}

// awaitRight waits until the API server's authorizer, which follows the roles, has seen.
func awaitRight(ctx context.Context, t *testing.T, a atom, want bool) {
	t.Helper()
	resource, subresource, _ := strings.Cut(a.Resource, "/")
	namespace := a.Namespace
	if namespace == "" {
		namespace = "default"
	}
	must(t, testenv.Wait(ctx, patience, fmt.Sprintf("%s: %v", a, want), func() error {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User:   manager,
			Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + testenv.Namespace, "system:authenticated"},
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: namespace, Verb: a.Verb, Group: a.Group, Resource: resource, Subresource: subresource, Name: a.Name,
			},
		}}
		if err := env.Client.Create(ctx, review); err != nil {
			return err
		}
		if review.Status.Allowed != want {
			return fmt.Errorf("allowed = %v: %s", review.Status.Allowed, review.Status.Reason)
		}
		return nil
	}))
}
