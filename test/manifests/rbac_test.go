// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	group = "addons.twilio-operator.dev"
	crds  = "apiextensions.k8s.io"
)

type resource = authorizationv1.ResourceAttributes

// may asks the API server whether a user may do something.
func may(t *testing.T, user string, groups []string, what resource) bool {
	t.Helper()
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user, Groups: groups, ResourceAttributes: &what,
	}}
	if err := cluster.Create(t.Context(), review); err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}

// What the operator may do, and what it must not be able to. That each right suffices
// for what the controllers do is shown by their own tests, which run under these roles.
func TestOperatorRights(t *testing.T) {
	lease := "twilio-addon-operator.twilio-operator.dev"
	tests := []struct {
		reason string
		what   resource
		want   bool
	}{
		{"it reads the credentials", resource{Verb: "get", Resource: "secrets", Namespace: operatorNamespace, Name: "twilio-credentials"}, true},
		{"it sees them change", resource{Verb: "watch", Resource: "secrets", Namespace: operatorNamespace}, true},
		{"it holds a Secret while it is needed", resource{Verb: "patch", Resource: "secrets", Namespace: operatorNamespace}, true},
		{"it writes no Secret anew", resource{Verb: "create", Resource: "secrets", Namespace: operatorNamespace}, false},
		{"it replaces no Secret", resource{Verb: "update", Resource: "secrets", Namespace: operatorNamespace}, false},
		{"it deletes no Secret", resource{Verb: "delete", Resource: "secrets", Namespace: operatorNamespace}, false},
		{"it holds no tenant's Secret", resource{Verb: "patch", Resource: "secrets", Namespace: "default"}, false},
		{"it reads no tenant's Secret", resource{Verb: "get", Resource: "secrets", Namespace: "default"}, false},
		{"it lists no Secrets of the cluster", resource{Verb: "list", Resource: "secrets"}, false},
		{"it sees the labels of namespaces", resource{Verb: "watch", Resource: "namespaces"}, true},
		{"it changes no namespace", resource{Verb: "patch", Resource: "namespaces"}, false},
		{"it sets the finalizer", resource{Verb: "patch", Group: group, Resource: "phonenumberaddonassignments", Namespace: "default"}, true},
		{"it reports", resource{Verb: "patch", Group: group, Resource: "phonenumberaddonassignments", Subresource: "status", Namespace: "default"}, true},
		{"it deletes nobody's object", resource{Verb: "delete", Group: group, Resource: "phonenumberaddonassignments", Namespace: "default"}, false},
		{"it creates no object", resource{Verb: "create", Group: group, Resource: "phonenumberaddonassignments", Namespace: "default"}, false},
		{"it sees whether its kinds are being deleted", resource{Verb: "get", Group: crds, Resource: "customresourcedefinitions", Name: "phonenumberaddonassignments." + group}, true},
		{"both of them", resource{Verb: "get", Group: crds, Resource: "customresourcedefinitions", Name: "twilioaccounts." + group}, true},
		{"it sees no other kind", resource{Verb: "get", Group: crds, Resource: "customresourcedefinitions", Name: "certificates.cert-manager.io"}, false},
		{"it changes no kind", resource{Verb: "patch", Group: crds, Resource: "customresourcedefinitions", Name: "twilioaccounts." + group}, false},
		{"it deletes no account", resource{Verb: "delete", Group: group, Resource: "twilioaccounts"}, false},
		{"it tells of what it did", resource{Verb: "create", Group: "events.k8s.io", Resource: "events", Namespace: "default"}, true},
		{"it takes a lease", resource{Verb: "create", Group: "coordination.k8s.io", Resource: "leases", Namespace: operatorNamespace}, true},
		{"it renews its lease", resource{Verb: "update", Group: "coordination.k8s.io", Resource: "leases", Namespace: operatorNamespace, Name: lease}, true},
		{"it touches no other lease", resource{Verb: "update", Group: "coordination.k8s.io", Resource: "leases", Namespace: operatorNamespace, Name: "other"}, false},
		{"nor one elsewhere", resource{Verb: "update", Group: "coordination.k8s.io", Resource: "leases", Namespace: "kube-system", Name: lease}, false},
		{"it asks who scrapes it", resource{Verb: "create", Group: "authentication.k8s.io", Resource: "tokenreviews"}, true},
		{"and what they may", resource{Verb: "create", Group: "authorization.k8s.io", Resource: "subjectaccessreviews"}, true},
		{"it grants nothing", resource{Verb: "create", Group: "rbac.authorization.k8s.io", Resource: "rolebindings", Namespace: operatorNamespace}, false},
	}
	user := "system:serviceaccount:" + operatorNamespace + ":" + operator + "-controller-manager"
	groups := []string{"system:serviceaccounts", "system:serviceaccounts:" + operatorNamespace, "system:authenticated"}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			if got := may(t, user, groups, test.what); got != test.want {
				t.Errorf("may %s %s = %v, want %v", test.what.Verb, test.what.Resource, got, test.want)
			}
		})
	}
}

// What a role gives to somebody to whom it is bound: in the namespace default, or
// cluster-wide where the role is for cluster-scoped objects.
func TestUserRights(t *testing.T) {
	assignments := func(verb, namespace string) resource {
		return resource{Verb: verb, Group: group, Resource: "phonenumberaddonassignments", Namespace: namespace}
	}
	accounts := func(verb string) resource {
		return resource{Verb: verb, Group: group, Resource: "twilioaccounts"}
	}
	tests := []struct {
		role, user  string
		clusterWide bool
		may, mayNot []resource
	}{
		{
			role: "phonenumberaddonassignment-editor-role", user: "editor",
			may:    []resource{assignments("create", "default"), assignments("delete", "default"), assignments("patch", "default")},
			mayNot: []resource{assignments("create", "kube-system"), accounts("get"), accounts("patch")},
		},
		{
			role: "phonenumberaddonassignment-viewer-role", user: "viewer",
			may:    []resource{assignments("list", "default"), assignments("watch", "default")},
			mayNot: []resource{assignments("patch", "default"), accounts("get")},
		},
		{
			role: "twilioaccount-admin-role", user: "account-admin", clusterWide: true,
			may:    []resource{accounts("create"), accounts("patch"), accounts("delete")},
			mayNot: []resource{assignments("get", "default"), {Verb: "get", Resource: "secrets", Namespace: operatorNamespace}},
		},
		{
			role: "twilioaccount-viewer-role", user: "account-viewer", clusterWide: true,
			may:    []resource{accounts("list")},
			mayNot: []resource{accounts("patch")},
		},
	}
	for _, test := range tests {
		t.Run(test.role, func(t *testing.T) {
			bind(t, operator+"-"+test.role, test.user, test.clusterWide)
			for _, what := range test.may {
				if !may(t, test.user, nil, what) {
					t.Errorf("may not %s %s in %q", what.Verb, what.Resource, what.Namespace)
				}
			}
			for _, what := range test.mayNot {
				if may(t, test.user, nil, what) {
					t.Errorf("may %s %s in %q", what.Verb, what.Resource, what.Namespace)
				}
			}
		})
	}
}

// bind grants a ClusterRole to a user and waits until the authorizer has seen it: its
// cache follows the API server.
func bind(t *testing.T, role, user string, clusterWide bool) {
	t.Helper()
	meta := metav1.ObjectMeta{Name: "test-" + user}
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}
	subjects := []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}}
	var err error
	if clusterWide {
		err = cluster.Create(t.Context(), &rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects})
	} else {
		meta.Namespace = "default"
		err = cluster.Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects})
	}
	if err != nil {
		t.Fatal(err)
	}
	probe := resource{Verb: "list", Group: group, Resource: "phonenumberaddonassignments", Namespace: "default"}
	if clusterWide {
		probe = resource{Verb: "list", Group: group, Resource: "twilioaccounts"}
	}
	eventually(t, "the binding to take effect", func() bool { return may(t, user, nil, probe) })
}
