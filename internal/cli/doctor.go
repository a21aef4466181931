// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/config/crd"
	"github.com/twilio-addon-operator/twilio-addon-operator/config/rbac"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/shard"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

const (
	maxSkew    = time.Minute
	stuckAfter = 10 * time.Minute
)

// verdict is how one check went.
type verdict string

const (
	passed     verdict = "ok"
	found      verdict = "FINDING"
	notChecked verdict = "not checked"
)

// diagnosis is the outcome of one check in a sentence.
type diagnosis struct {
	verdict verdict
	what    string
}

// doctor runs the checks of an installation.
type doctor struct {
	app    *app
	cl     client.Client
	config *rest.Config
	now    time.Time
	all    []diagnosis
}

func (d *doctor) ok(format string, args ...any)   { d.say(passed, format, args...) }
func (d *doctor) find(format string, args ...any) { d.say(found, format, args...) }
func (d *doctor) skip(format string, args ...any) { d.say(notChecked, format, args...) }

func (d *doctor) say(v verdict, format string, args ...any) {
	d.all = append(d.all, diagnosis{v, oneLine(fmt.Sprintf(format, args...))})
}

func (a *app) doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check an installation for what commonly goes wrong",
		Long: `Check that the CustomResourceDefinitions are those of this version, that a manager
leads, that it has the rights it needs, that each TwilioAccount has a credential
that Twilio accepts, that nothing is stuck in deletion, and that clocks agree.

What you may not look at is reported as not checked. Exit codes: 0 no finding,
1 an error or a finding.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.doctor(cmd.Context()) },
	}
	a.twilio.bindOperatorNamespace(cmd.Flags())
	cmd.Flags().BoolVar(&a.twilio.allowInsecure, "allow-insecure-twilio-url", false, "Admit plain http to hosts that are not loopback, as the manager does with the same flag.")
	return cmd
}

func (a *app) doctor(ctx context.Context) error {
	cl, err := a.cluster()
	if err != nil {
		return err
	}
	config, err := a.restConfig()
	if err != nil {
		return err
	}
	d := &doctor{app: a, cl: cl, config: config, now: time.Now()}
	if err := d.clock(ctx); err != nil {
		return err
	}
	for _, check := range []func(context.Context){d.definitions, d.leaders, d.rights, d.accounts, d.deletions} {
		check(ctx)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return d.report()
}

func (d *doctor) report() error {
	var b strings.Builder
	findings := 0
	for _, one := range d.all {
		fmt.Fprintf(&b, "%-11s  %s\n", one.verdict, one.what)
		if one.verdict == found {
			findings++
		}
	}
	fmt.Fprintf(&b, "%s\n", count(findings, "finding"))
	if err := write(d.app.Out, b.String()); err != nil {
		return err
	}
	if findings > 0 {
		return exitWith(1)
	}
	return nil
}

// clock compares the API server's clock with this one. It is also the check that there is
// a cluster at all.
func (d *doctor) clock(ctx context.Context) error {
	httpClient, err := rest.HTTPClientFor(d.config)
	if err != nil {
		return err
	}
	base, _, err := rest.DefaultServerUrlFor(d.config)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath("/version").String(), http.NoBody)
	if err != nil {
		return err
	}
	res, err := httpClient.Do(req)
	if err != nil {
		return fmt.Errorf("the cluster cannot be reached: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	date, err := http.ParseTime(res.Header.Get("Date"))
	if err != nil {
		d.skip("clock: the API server tells no time")
		return nil
	}
	if skew := d.now.Sub(date).Abs(); skew > maxSkew {
		d.find("clock: this machine and the API server differ by %s", skew.Round(time.Second))
		return nil
	}
	d.ok("clock: this machine and the API server agree")
	return nil
}

// definitions compares the CRDs with those that are compiled in.
func (d *doctor) definitions(ctx context.Context) {
	files, err := crd.Files()
	if err != nil {
		d.skip("CRDs: %v", err)
		return
	}
	for _, data := range files {
		want := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.Unmarshal(data, want); err != nil {
			d.skip("CRDs: %v", err)
			return
		}
		d.definition(ctx, want)
	}
}

func (d *doctor) definition(ctx context.Context, want *apiextensionsv1.CustomResourceDefinition) {
	have := &apiextensionsv1.CustomResourceDefinition{}
	switch err := d.cl.Get(ctx, client.ObjectKeyFromObject(want), have); {
	case apierrors.IsNotFound(err):
		d.find("CRD %s: not installed", want.Name)
	case err != nil:
		d.skip("CRD %s: %v", want.Name, err)
	case !have.DeletionTimestamp.IsZero():
		d.find("CRD %s: being deleted, with every object of its kind; removals in Twilio are held meanwhile", want.Name)
	case !sameSchema(want, have):
		d.find("CRD %s: another version than that of this program (%s): install the CRDs of the operator's version", want.Name, d.app.version)
	default:
		d.ok("CRD %s: current", want.Name)
	}
}

func sameSchema(want, have *apiextensionsv1.CustomResourceDefinition) bool {
	at := slices.IndexFunc(have.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool {
		return v.Name == want.Spec.Versions[0].Name
	})
	return at >= 0 && equality.Semantic.DeepEqual(want.Spec.Versions[0].Schema, have.Spec.Versions[at].Schema)
}

// leaders looks at the leases of the managers. One that was released counts only while an
// account names its manager, or while there is no other.
func (d *doctor) leaders(ctx context.Context) {
	leases := &coordinationv1.LeaseList{}
	if err := d.cl.List(ctx, leases, client.InNamespace(d.app.twilio.operatorNamespace)); err != nil {
		d.skip("leader: %v", err)
		return
	}
	managers := slices.DeleteFunc(leases.Items, func(l coordinationv1.Lease) bool { return !strings.HasPrefix(l.Name, shard.Lease) })
	if len(managers) == 0 {
		d.find("leader: no manager has ever led in the namespace %s", d.app.twilio.operatorNamespace)
		return
	}
	named := d.namedManagers(ctx)
	for i := range managers {
		if lease := &managers[i]; len(managers) == 1 || named.Has(lease.Name) || deref(lease.Spec.HolderIdentity) != "" {
			d.leader(lease)
		}
	}
}

// namedManagers are the managers that accounts name; none if nobody may look.
func (d *doctor) namedManagers(ctx context.Context) sets.Set[string] {
	var accounts v1alpha1.TwilioAccountList
	_ = d.cl.List(ctx, &accounts) // the check of the accounts tells
	named := sets.New[string]()
	for i := range accounts.Items {
		named.Insert(accounts.Items[i].Status.Manager)
	}
	return named
}

// leader looks at the lease of a manager.
func (d *doctor) leader(lease *coordinationv1.Lease) {
	what := "leader"
	if selector := lease.Annotations[v1alpha1.AnnotationAccountSelector]; selector != "" {
		what = fmt.Sprintf("leader of the accounts %s (%s)", selector, lease.Name)
	}
	holder, duration := deref(lease.Spec.HolderIdentity), deref(lease.Spec.LeaseDurationSeconds)
	switch {
	case holder == "":
		d.find("%s: the last manager stopped, and no other has taken over", what)
	case lease.Spec.RenewTime == nil || d.now.Sub(lease.Spec.RenewTime.Time) > time.Duration(duration)*time.Second+maxSkew:
		d.find("%s: %s has not renewed its lease since %s: no manager is working", what, holder, renewed(lease))
	default:
		d.ok("%s: %s", what, holder)
	}
}

func deref[T any](p *T) (value T) {
	if p != nil {
		value = *p
	}
	return value
}

func renewed(lease *coordinationv1.Lease) string {
	if lease.Spec.RenewTime == nil {
		return "it took it"
	}
	return lease.Spec.RenewTime.UTC().Format(time.RFC3339)
}

// right is what the manager must be allowed to do.
type right struct{ group, resource, subresource, verb, name, namespace string }

func (r right) String() string {
	text := r.verb + " " + r.resource
	if r.subresource != "" {
		text += "/" + r.subresource
	}
	return text
}

// needed reads the rights out of the manager's own roles.
func (d *doctor) needed() ([]right, error) {
	var all []right
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(rbac.Role()), 4096)
	for {
		role := &rbacv1.Role{} // a ClusterRole has the same rules
		if err := decoder.Decode(role); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		namespace := ""
		if role.Kind == "Role" {
			namespace = d.app.twilio.operatorNamespace
		}
		for _, rule := range role.Rules {
			all = append(all, rightsOf(&rule, namespace)...)
		}
	}
}

func rightsOf(rule *rbacv1.PolicyRule, namespace string) []right {
	var all []right
	names := rule.ResourceNames
	if len(names) == 0 {
		names = []string{""}
	}
	for _, group := range rule.APIGroups {
		for _, path := range rule.Resources {
			resource, subresource, _ := strings.Cut(path, "/")
			for _, verb := range rule.Verbs {
				for _, name := range names {
					all = append(all, right{group, resource, subresource, verb, name, namespace})
				}
			}
		}
	}
	return all
}

// rights asks the API server what the manager's ServiceAccount may do.
func (d *doctor) rights(ctx context.Context) {
	user, err := d.managerUser(ctx)
	if err != nil {
		d.skip("rights: %v", err)
		return
	}
	needed, err := d.needed()
	if err != nil {
		d.skip("rights: %v", err)
		return
	}
	var missing []string
	for _, r := range needed {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User:   user,
			Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + d.app.twilio.operatorNamespace, "system:authenticated"},
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Group: r.group, Resource: r.resource, Subresource: r.subresource, Verb: r.verb, Name: r.name, Namespace: r.namespace,
			},
		}}
		if err := d.cl.Create(ctx, review); err != nil {
			d.skip("rights of %s: %v", user, err)
			return
		}
		if !review.Status.Allowed {
			missing = append(missing, r.String())
		}
	}
	if len(missing) > 0 {
		d.find("rights: %s may not %s", user, strings.Join(missing, ", "))
		return
	}
	d.ok("rights: %s may do all that the manager needs", user)
}

// managerUser finds the manager's ServiceAccount by its Deployment.
func (d *doctor) managerUser(ctx context.Context) (string, error) {
	list := &appsv1.DeploymentList{}
	namespace := d.app.twilio.operatorNamespace
	if err := d.cl.List(ctx, list, client.InNamespace(namespace)); err != nil {
		return "", err
	}
	for i := range list.Items {
		pod := &list.Items[i].Spec.Template
		if pod.Labels["control-plane"] == "controller-manager" || pod.Labels["app.kubernetes.io/name"] == "twilio-addon-operator" {
			return fmt.Sprintf("system:serviceaccount:%s:%s", namespace, cmp.Or(pod.Spec.ServiceAccountName, "default")), nil
		}
	}
	return "", fmt.Errorf("there is no Deployment of the manager in the namespace %s", namespace)
}

// accounts checks each TwilioAccount's Secret and credential.
func (d *doctor) accounts(ctx context.Context) {
	list, err := accounts(ctx, d.cl)
	if err != nil {
		d.skip("accounts: %v", err)
		return
	}
	if len(list) == 0 {
		d.find("accounts: there is no TwilioAccount")
	}
	for i := range list {
		d.account(ctx, &list[i])
	}
}

func (d *doctor) account(ctx context.Context, account *v1alpha1.TwilioAccount) {
	name := "account " + account.Name
	if account.Spec.AllowedNamespaces.From == v1alpha1.NamespacesFromNone {
		d.find("%s: it admits no namespace: set allowedNamespaces", name)
	}
	credentials, err := d.app.credentialsOf(ctx, d.cl, account)
	switch {
	case err != nil && strings.HasPrefix(err.Error(), "you may not"):
		d.skip("%s: %v", name, err)
		return
	case err != nil:
		d.find("%s: %v", name, err)
		return
	}
	cl, err := twilio.New(twilio.Options{
		AccountSID: string(account.Spec.AccountSID), BaseURL: account.Spec.APIBaseURL, Credentials: credentials,
		Transport: twilio.NewTransport(1), UserAgent: "kubectl-twilio_addons/" + d.app.version, AllowInsecure: d.app.twilio.allowInsecure,
	})
	if err != nil {
		d.find("%s: %v", name, err)
		return
	}
	switch err := cl.ReadOnly().Verify(ctx); {
	case err == nil:
		d.ok("%s: Twilio accepts the credential", name)
	case twilio.IsTransient(err), twilio.IsThrottled(err):
		d.skip("%s: Twilio cannot be asked: %s", name, twilio.ExplainAnswer(err))
	default:
		d.find("%s: Twilio does not accept the credential: %s", name, twilio.ExplainAnswer(err))
	}
}

// deletions finds what has waited long for a finalizer.
func (d *doctor) deletions(ctx context.Context) {
	objects, err := assignments(ctx, d.cl, "")
	if err != nil {
		d.skip("deletions: %v", err)
		return
	}
	var stuck []string
	for i := range objects {
		if since(objects[i].DeletionTimestamp, d.now) > stuckAfter {
			stuck = append(stuck, objects[i].Namespace+"/"+objects[i].Name)
		}
	}
	list, err := accounts(ctx, d.cl)
	if err != nil {
		d.skip("deletions: %v", err)
		return
	}
	for i := range list {
		if since(list[i].DeletionTimestamp, d.now) > stuckAfter {
			stuck = append(stuck, "twilioaccount/"+list[i].Name)
		}
	}
	if len(stuck) > 0 {
		d.find("deletions: %s wait for more than %s: %s; see why with \"kubectl twilio-addons status -A\"",
			count(len(stuck), "object"), stuckAfter, abbreviate(stuck, 5))
		return
	}
	d.ok("deletions: nothing is stuck")
}

func since(t *metav1.Time, now time.Time) time.Duration {
	if t == nil {
		return 0
	}
	return now.Sub(t.Time)
}
