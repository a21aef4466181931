// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// journeys follow the pages from the first block to the last.
var journeys = map[string]func(*page){
	"README.md":               followReadme,
	"docs/admission.md":       followAdmission,
	"docs/argocd.md":          followArgoCD,
	"docs/install.md":         followInstall,
	"docs/reference.md":       followReference,
	"docs/shards.md":          followShards,
	"docs/troubleshooting.md": followTroubleshooting,
}

// Every block of commands is run, or says directly before it why not:
// <!-- not run: needs a registry -->.
func TestEveryBlockIsRunOrSaysWhyNot(t *testing.T) {
	cli, err := os.ReadFile(filepath.Join(testenv.Root(), "test", "cli", "docs_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	paths := pagesWithCommands(t)
	for _, path := range paths {
		t.Run(path, func(t *testing.T) {
			if name, ofCLI := strings.CutPrefix(path, "docs/cli/"); ofCLI {
				if !strings.Contains(string(cli), `.follow("`+name+`"`) {
					t.Error("no test of test/cli follows the page")
				}
				return
			}
			journey := journeys[path]
			if journey == nil {
				t.Fatal("the page has commands: write a journey, or mark each block with <!-- not run: the reason -->")
			}
			p := newPage(t, path)
			journey(p)
			for _, b := range p.blocks {
				t.Errorf("the journey does not run\n%s", b.text)
			}
		})
	}
}

func followReadme(p *page) {
	p.must(rollOut(p.Context(), deployment))
	p.says(p.follow("rollout status"), "successfully rolled out")
	p.firstSteps()

	p.must(sim.Admin.Assign(p.Context(), thirdLine, spamScore), sim.Admin.Assign(p.Context(), thirdLine, callerInsight))
	p.apply("front-desk", thirdLine, "managementPolicy: Observe, addOnSIDs: ["+spamScore+", "+transcription+"]")
	p.must(sim.Admin.AddFault(p.Context(), twiliosim.Fault{Kind: twiliosim.FaultError, Status: 429, Number: otherLine, Operation: twiliosim.OpCreate}))
	p.apply("sales-line", otherLine, "addOnSIDs: ["+spamScore+"]")
	p.ready("front-desk", v1alpha1.ReasonObserved)
	p.ready("sales-line", v1alpha1.ReasonRateLimited)
	p.follow("kubectl get pnaa --namespace telephony")
	p.says(p.follow("Unmanaged"), "telephony/front-desk\t"+callerInsight+"\n")

	p.must(sim.Admin.ClearFaults(p.Context()))
	p.Cleanup(p.installAgain)
	p.follow("kubectl delete -f dist/install.yaml")
	p.assigned(supportLine)
	p.assigned(thirdLine, spamScore, callerInsight)
}

// installAgain puts back what the page has uninstalled. The manager has lost its rights.
func (p *page) installAgain() {
	if p.manager != nil {
		p.must(p.manager.Kill())
		p.manager = nil
	}
	ctx := context.WithoutCancel(p.Context())
	p.gone(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: testenv.Namespace}})
	p.must(env.InstallCRDs(), env.Install(ctx), installOperator(ctx))
}

func followInstall(p *page) {
	p.must(os.WriteFile(filepath.Join(p.dir, "ca.crt"), []byte("PEM"), 0o600))
	p.installWithHelm()
	p.getStarted()
	p.env = append(p.env, "PASSWORD=secret")
	p.must(rollOut(p.Context(), deployment))
	p.says(p.follow("rollout status"), "successfully rolled out")
	p.follow("docker-registry")
	sa := &corev1.ServiceAccount{}
	p.must(env.Client.Get(p.Context(), client.ObjectKey{Namespace: testenv.Namespace, Name: deployment}, sa))
	if len(sa.ImagePullSecrets) != 1 || sa.ImagePullSecrets[0].Name != "registry-credentials" {
		p.Errorf("pull secrets %v", sa.ImagePullSecrets)
	}
	p.follow("company-ca")
	p.follow("--take-ownership")
	if got := p.deployment().Labels["app.kubernetes.io/managed-by"]; got != "Helm" {
		p.Errorf("the Deployment is managed by %q", got)
	}
	p.follow("kubectl delete pnaa")
	p.assigned(supportLine)
	p.stopManager()
	p.Cleanup(func() { p.sh("kubectl delete namespace $NS"); p.installAgain() })
	p.says(p.follow("helm uninstall"), "uninstalled")
	p.follow("customresourcedefinition")
}

// installWithHelm follows the commands of Helm up to the upgrade, in place of what kubectl has
// installed, and puts that back.
func (p *page) installWithHelm() {
	p.Helper()
	p.sh("kubectl delete -f dist/install.yaml")
	stop := rollOutAlways(p.T, deployment)
	p.says(p.follow("helm install"), "successfully rolled out")
	stop()
	if got := p.deployment().Spec.Template.Spec.Containers[0].Image; got != "registry.example.com/twilio-addon-operator:v0.1.0" {
		p.Errorf("the image is %s", got)
	}
	p.sh(`kubectl create configmap company-ca --from-file=ca.crt --namespace "$NS"`)
	p.ahead("helm upgrade")
	manager, err := json.Marshal(p.deployment().Spec.Template.Spec.Containers[0])
	p.must(err)
	p.says(string(manager), `{"name":"HTTPS_PROXY","value":"http://proxy.example.com:3128"}`, `"mountPath":"/etc/ssl/company"`)
	p.sh(`helm uninstall twilio-addon-operator --namespace "$NS" && kubectl delete namespace "$NS"`)
	p.sh("kubectl delete customresourcedefinition --selector app.kubernetes.io/managed-by=Helm")
	p.installAgain()
}

func (p *page) deployment() *appsv1.Deployment {
	p.Helper()
	d := &appsv1.Deployment{}
	p.must(env.Client.Get(p.Context(), client.ObjectKey{Namespace: testenv.Namespace, Name: deployment}, d))
	return d
}

func followReference(p *page) {
	p.getStarted()
	retain := func(name string) {
		p.Helper()
		if got := p.object(name).Spec.DeletionPolicy; got != v1alpha1.DeletionRetain {
			p.Errorf("the deletion policy of %s is %s", name, got)
		}
	}
	p.follow("kubectl patch pnaa support-line")
	retain("support-line")
	p.apply("other-line", otherLine, "addOnSIDs: []")
	p.follow("while read")
	retain("other-line")

	p.stopManager()
	account := p.account()
	account.Status.Removals = v1alpha1.RemovalsStatus{Hold: "7f3a", Held: 1, HeldSince: new(metav1.Now()), Cause: v1alpha1.RemovalsOverBudget}
	p.must(env.Client.Status().Update(p.Context(), account))
	p.follow("approve-removals")
	if got := p.account().Annotations[v1alpha1.AnnotationApproveRemovals]; got != "7f3a" {
		p.Errorf("approved is %q", got)
	}
	p.startManager()

	p.follow("reconcile-requested-at")
	p.eventually("the request is handled", func() error {
		o := p.object("support-line")
		if asked := o.Annotations[v1alpha1.AnnotationReconcileRequestedAt]; asked == "" || o.Status.LastHandledReconcileAt != asked {
			return fmt.Errorf("asked at %q, handled %q", asked, o.Status.LastHandledReconcileAt)
		}
		return nil
	})
	p.rotate()
	p.says(p.follow("clusterrolebinding"), "created")
	p.Cleanup(func() { p.sh("kubectl delete clusterrolebinding prometheus-reads-twilio-addon-operator") })
}

// rotate follows the recipe for a new API key. The operator works on when the old one is gone.
func (p *page) rotate() {
	p.Helper()
	p.must(
		sim.Admin.AddAPIKey(p.Context(), account, "SK123456789abcdef0123456789abcdef0", "newsecret", twiliosim.KeyStandard),
		os.WriteFile(filepath.Join(p.dir, "api-key-secret"), []byte("newsecret"), 0o600),
	)
	p.follow("create secret")
	p.says(p.follow("verifiedSecret"), "condition met")
	p.must(sim.Admin.DeleteAPIKey(p.Context(), apiKey))
	p.sh("kubectl patch pnaa support-line --namespace telephony --type=merge --patch '{\"spec\":{\"addOnSIDs\":[\"" + spamScore + "\"]}}'")
	p.assigned(supportLine, spamScore)
	p.accountIs(v1alpha1.ReasonCredentialsAccepted)
}

func followAdmission(p *page) {
	p.getStarted()
	p.Cleanup(func() { p.sh("kubectl delete --kustomize config/admission") })
	p.follow("--kustomize config/admission")
	p.says(p.follow("custom-columns"), "support-line", "Delete", "Authoritative")
}

func followArgoCD(p *page) {
	p.sh("kubectl create namespace argocd && kubectl create configmap argocd-cm --namespace argocd")
	p.Cleanup(func() { p.sh("kubectl delete namespace argocd") })
	p.follow("patch-file")
	cm := &corev1.ConfigMap{}
	p.must(env.Client.Get(p.Context(), client.ObjectKey{Namespace: "argocd", Name: "argocd-cm"}, cm))
	if len(cm.Data) == 0 {
		p.Error("the ConfigMap is empty")
	}
}

func followShards(p *page) {
	tenancy := testenv.Tenancy{Name: "support", AccountSID: account, AuthToken: "secrettoken", URL: sim.URL}
	p.must(env.Client.Create(p.Context(), tenancy.Account()))
	p.says(p.follow("shard=a"), "labeled")
}

func followTroubleshooting(p *page) {
	p.getStarted()
	p.apply("sales-line", otherLine, "addOnSIDs: ["+spamScore+", "+twiliosim.SID("XE", 99)+"]")
	p.ready("sales-line", v1alpha1.ReasonAddOnRejected)
	p.says(p.follow("get twacct --output=wide"), "CredentialsAccepted")
	unhealthy := p.follow("custom-columns")
	p.says(unhealthy, "telephony   sales-line", "1 AddOnRejected", "1 Synced")
	if strings.Contains(unhealthy, "support-line") {
		p.Error("an object that is Ready is among the unhealthy ones")
	}
	p.says(p.follow("describe"), "AddOnsAssigned", `"requestID":"RQ`)
	p.stopAndUndo()
	p.reasons()
	p.otherProblems()
	p.alerts()
}

// stopAndUndo follows "Stop and undo a wrong mass change".
func (p *page) stopAndUndo() {
	p.Helper()
	p.sh(`kubectl patch pnaa support-line --namespace telephony --type=merge --patch '{"spec":{"addOnSIDs":["` + transcription + `"]}}'`)
	p.assigned(supportLine, transcription)
	p.follow(`"suspend":true`)
	p.accountIs(v1alpha1.ReasonSuspended)
	p.says(p.follow(`"verb":"Unassign"`), `"addOn":"`+spamScore+`"`, `"number":"`+supportLine+`"`, `"cause":"Spec"`)
	p.sh("kubectl delete pnaa sales-line --namespace telephony --wait=false")
	p.follow("deletionTimestamp")
	p.gone(&v1alpha1.PhoneNumberAddOnAssignment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "sales-line"}})
	p.assigned(otherLine, spamScore)
	p.follow(`"suspend":false`)
	p.ready("support-line", v1alpha1.ReasonSynced)
}

// reasons follows the sections of the reasons.
func (p *page) reasons() {
	p.Helper()
	p.says(p.follow("--show-labels"), `"matchLabels":{"twilio":"allowed"}`, "twilio=allowed")
	p.says(p.follow("annotate secret"), "annotated")
	p.says(p.follow("--field-selector"), "support-line")

	// A number that has not lost add-ons in the window.
	p.apply("front-desk", thirdLine, "addOnSIDs: ["+spamScore+"]")
	p.assigned(thirdLine, spamScore)
	account := p.account()
	account.Spec.RemovalBudget.MaxNumbers, account.Spec.RemovalBudget.MinNumbers = new(intstr.FromInt32(0)), new(int32(0))
	p.must(env.Client.Update(p.Context(), account))
	p.apply("front-desk", thirdLine, "addOnSIDs: []")
	p.ready("front-desk", v1alpha1.ReasonRemovalsHeld)
	p.says(p.follow(`@.type=="RemovalsHeld"`), "approve-removals")
	p.assigned(thirdLine, spamScore)
	p.follow("approve-removals")
	p.assigned(thirdLine)

	p.follow("kubectl patch pnaa support-line")
	if got := p.object("support-line").Spec.DeletionPolicy; got != v1alpha1.DeletionRetain {
		p.Errorf("the deletion policy is %s", got)
	}
}

// otherProblems follows "Other problems".
func (p *page) otherProblems() {
	p.Helper()
	p.says(p.follow("kubectl get lease twilio"), deployment, "twilio-addon-operator.twilio-operator.dev")
	p.says(p.follow(`accountRef.name=="default"`), "telephony/support-line")

	p.stopManager()
	p.sh("kubectl delete pnaa --all --all-namespaces --wait=false; kubectl delete twacct --all --wait=false")
	p.sh("kubectl delete secret twilio-credentials --namespace " + testenv.Namespace + " --wait=false")
	p.follow("in-use")
	p.gone(&v1alpha1.PhoneNumberAddOnAssignment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "support-line"}})
	p.gone(&v1alpha1.TwilioAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	p.gone(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: testenv.Namespace, Name: "twilio-credentials"}})

	p.Cleanup(func() {
		p.sh("kubectl delete deployment " + deployment + " --namespace " + testenv.Namespace)
		p.must(installOperator(context.WithoutCancel(p.Context())))
	})
	p.follow("set env")
	p.follow("--zap-log-level=debug")
	d := &appsv1.Deployment{}
	p.must(env.Client.Get(p.Context(), client.ObjectKey{Namespace: testenv.Namespace, Name: deployment}, d))
	manager, err := json.Marshal(d.Spec.Template.Spec.Containers[0])
	p.must(err)
	p.says(string(manager), `"--leader-elect"`, `"--zap-log-level=debug"`, `{"name":"HTTPS_PROXY","value":"http://proxy.example.com:3128"}`, `,.svc,.cluster.local"`)
}

// alerts follows the sections of the alerts.
func (p *page) alerts() {
	p.Helper()
	p.sh("kubectl delete namespace telephony")
	p.getStarted()
	p.apply("sales-line", otherLine, "addOnSIDs: ["+twiliosim.SID("XE", 99)+"]")
	p.ready("sales-line", v1alpha1.ReasonAddOnRejected)
	p.says(p.follow("custom-columns=NAME"), "default", account)
	p.says(p.follow("kubectl get lease"), "twilio-addon-operator.twilio-operator.dev")
	p.follow("get twacct --output=wide")
	p.says(p.follow("grep AddOnRejected"), "sales-line")
}
