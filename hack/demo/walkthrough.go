// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"text/template"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

var (
	//go:embed samples.yaml
	samples string
	//go:embed rival.yaml
	rival string
)

const (
	namespace = "telephony"
	// waitTimeout limits each wait for a state.
	waitTimeout = 30 * time.Second
)

// values fills in the manifests.
type values struct {
	Account, AuthToken, URL                          string
	Support, Sales, Audited                          string
	Transcription, SpamScore, CallerInsight, Console string
}

// walkthrough runs the steps.
type walkthrough struct {
	values
	env *testenv.Env
	sim *testenv.Simulator
}

func newWalkthrough(env *testenv.Env, sim *testenv.Simulator) *walkthrough {
	return &walkthrough{env: env, sim: sim, values: values{
		Account: twiliosim.SID("AC", 1), AuthToken: "demo0token", URL: sim.URL,
		Support: twiliosim.SID("PN", 1), Sales: twiliosim.SID("PN", 2), Audited: twiliosim.SID("PN", 3),
		Transcription: twiliosim.SID("XE", 1), SpamScore: twiliosim.SID("XE", 2),
		CallerInsight: twiliosim.SID("XE", 3), Console: twiliosim.SID("XE", 4),
	}}
}

// run runs the steps in order and stops at the first one that fails.
func (w *walkthrough) run(ctx context.Context) error {
	if err := w.setUp(ctx); err != nil {
		return fmt.Errorf("set up Twilio: %w", err)
	}
	for _, step := range []func(context.Context) error{w.apply, w.drift, w.edit, w.observe, w.conflict, w.remove} {
		if err := step(ctx); err != nil {
			say("  ✗ %v", err)
			return errors.New("a step failed")
		}
	}
	return nil
}

// setUp gives the simulated Twilio an account with three numbers and four add-ons.
func (w *walkthrough) setUp(ctx context.Context) error {
	admin := w.sim.Admin
	return errors.Join(
		admin.AddAccount(ctx, w.Account, w.AuthToken),
		admin.AddNumber(ctx, w.Account, w.Support, "+14155550101"),
		admin.AddNumber(ctx, w.Account, w.Sales, "+14155550102"),
		admin.AddNumber(ctx, w.Account, w.Audited, "+14155550103"),
		admin.InstallAddOn(ctx, w.Account, w.Transcription, "transcription"),
		admin.InstallAddOn(ctx, w.Account, w.SpamScore, "spam_score"),
		admin.InstallAddOn(ctx, w.Account, w.CallerInsight, "caller_insight"),
		admin.InstallAddOn(ctx, w.Account, w.Console, "added_in_the_console"),
		admin.Assign(ctx, w.Audited, w.Console),
	)
}

func (w *walkthrough) apply(ctx context.Context) error {
	title("1. A team applies its manifests")
	command("kubectl apply -f samples.yaml")
	if err := w.applyTemplate(ctx, samples); err != nil {
		return err
	}
	for _, name := range []string{"support-line", "sales-line", "audited-line"} {
		if err := w.awaitReady(ctx, name); err != nil {
			return err
		}
	}
	if err := w.show(ctx); err != nil {
		return err
	}
	if err := w.awaitAssigned(ctx, w.Support, w.Transcription, w.SpamScore); err != nil {
		return err
	}
	success("The support line has its two add-ons in Twilio.")
	return nil
}

func (w *walkthrough) drift(ctx context.Context) error {
	title("2. Drift: somebody removes one add-on in the Twilio console and adds another")
	admin := w.sim.Admin
	if err := errors.Join(admin.Unassign(ctx, w.Support, w.SpamScore), admin.Assign(ctx, w.Support, w.Console)); err != nil {
		return err
	}
	say("  Waiting for the next check. The account's resyncInterval is 3s here (default 10m).")
	if err := w.awaitAssigned(ctx, w.Support, w.Transcription, w.SpamScore); err != nil {
		return err
	}
	success("The support line matches its manifest again.")
	return nil
}

func (w *walkthrough) edit(ctx context.Context) error {
	title("3. The team replaces an add-on")
	command(`kubectl patch pnaa support-line -n telephony --type merge -p '{"spec":{"addOnSIDs":["%s…","%s…"]}}'`, w.Transcription[:4], w.CallerInsight[:4])
	journal, err := w.sim.Admin.JournalAfter(ctx, 0)
	if err != nil {
		return err
	}
	a := w.object("support-line")
	patch := fmt.Sprintf(`{"spec":{"addOnSIDs":[%q,%q]}}`, w.Transcription, w.CallerInsight)
	if err := w.env.Client.Patch(ctx, a, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		return err
	}
	if err := w.awaitAssigned(ctx, w.Support, w.Transcription, w.CallerInsight); err != nil {
		return err
	}
	if err := w.awaitReady(ctx, "support-line"); err != nil {
		return err
	}
	changes, err := w.sim.Admin.JournalAfter(ctx, int64(len(journal)))
	if err != nil {
		return err
	}
	if len(changes) != 2 || changes[0].Change != twiliosim.ChangeAssign || changes[1].Change != twiliosim.ChangeUnassign {
		return fmt.Errorf("want one assignment and then one removal, Twilio's journal has %+v", changes)
	}
	for _, m := range changes {
		say("  Journal of Twilio: %s %s", m.Change, m.AddOn)
	}
	success("The new add-on was assigned before the old one was removed, so the line was never without.")
	return nil
}

func (w *walkthrough) observe(ctx context.Context) error {
	title("4. An object with managementPolicy Observe reports differences")
	command("kubectl get pnaa audited-line -n telephony -o jsonpath='{range .status.addOns[*]}…'")
	a := w.object("audited-line")
	if err := w.env.Client.Get(ctx, client.ObjectKeyFromObject(a), a); err != nil {
		return err
	}
	states := map[v1alpha1.AddOnState]int{}
	for _, addOn := range a.Status.AddOns {
		say("  %s  %s", addOn.SID, addOn.State)
		states[addOn.State]++
	}
	if states[v1alpha1.AddOnMissing] != 1 || states[v1alpha1.AddOnUnmanaged] != 1 {
		return fmt.Errorf("want one Missing and one Unmanaged add-on, the status has %v", states)
	}
	if err := w.awaitAssigned(ctx, w.Audited, w.Console); err != nil {
		return err
	}
	success("The status shows the differences. Twilio is unchanged.")
	return nil
}

func (w *walkthrough) conflict(ctx context.Context) error {
	title("5. A second object names a number that already has an owner")
	command("kubectl apply -f rival.yaml")
	if err := w.applyTemplate(ctx, rival); err != nil {
		return err
	}
	a := w.object("rival")
	err := testenv.Wait(ctx, waitTimeout, "the rival reports the conflict", func() error {
		return w.reports(ctx, a, v1alpha1.ReasonPhoneNumberConflict)
	})
	if err != nil {
		return err
	}
	say("  %s", meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady).Message)
	if err := w.awaitAssigned(ctx, w.Support, w.Transcription, w.CallerInsight); err != nil {
		return err
	}
	success("The first object still owns the number.")
	return w.env.Client.Delete(ctx, a)
}

func (w *walkthrough) remove(ctx context.Context) error {
	title("6. The team deletes the object of the support line")
	command("kubectl delete pnaa support-line -n telephony")
	a := w.object("support-line")
	if err := w.env.Client.Delete(ctx, a); err != nil {
		return err
	}
	err := testenv.Wait(ctx, waitTimeout, "the object is deleted", func() error {
		err := w.env.Client.Get(ctx, client.ObjectKeyFromObject(a), a)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("the object still exists"), err)
	})
	if err != nil {
		return err
	}
	if err := w.awaitAssigned(ctx, w.Support); err != nil {
		return err
	}
	if err := w.show(ctx); err != nil {
		return err
	}
	success("Its add-ons are removed from the number, and the object is gone.")
	return nil
}

func (w *walkthrough) applyTemplate(ctx context.Context, text string) error {
	var manifests bytes.Buffer
	t, err := template.New("manifests").Parse(text)
	if err != nil {
		return err
	}
	if err := t.Execute(&manifests, w.values); err != nil {
		return err
	}
	return w.env.Apply(ctx, manifests.Bytes())
}

func (w *walkthrough) object(name string) *v1alpha1.PhoneNumberAddOnAssignment {
	return &v1alpha1.PhoneNumberAddOnAssignment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

func (w *walkthrough) awaitReady(ctx context.Context, name string) error {
	a := w.object(name)
	return testenv.Wait(ctx, waitTimeout, name+" is Ready", func() error {
		if err := w.env.Client.Get(ctx, client.ObjectKeyFromObject(a), a); err != nil {
			return err
		}
		if a.Status.ObservedGeneration != a.Generation || !meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionReady) {
			return fmt.Errorf("conditions are %+v", a.Status.Conditions)
		}
		return nil
	})
}

// reports returns an error unless the Ready condition has this reason.
func (w *walkthrough) reports(ctx context.Context, a *v1alpha1.PhoneNumberAddOnAssignment, reason string) error {
	if err := w.env.Client.Get(ctx, client.ObjectKeyFromObject(a), a); err != nil {
		return err
	}
	if ready := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady); ready == nil || ready.Reason != reason {
		return fmt.Errorf("the Ready condition is %+v", ready)
	}
	return nil
}

// awaitAssigned waits until the number has exactly these add-ons in Twilio.
func (w *walkthrough) awaitAssigned(ctx context.Context, number string, want ...string) error {
	slices.Sort(want)
	return testenv.Wait(ctx, waitTimeout, "Twilio has the wanted add-ons on "+number, func() error {
		got, err := w.sim.Admin.Assigned(ctx, number)
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("got %v, want %v", got, want)
		}
		return err
	})
}

// show prints the objects like kubectl.
func (w *walkthrough) show(ctx context.Context) error {
	command("kubectl get pnaa -n telephony")
	return printTable(ctx, w.env.Config, "/apis/addons.twilio-operator.dev/v1alpha1/namespaces/"+namespace+"/phonenumberaddonassignments")
}
