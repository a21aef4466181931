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
	// patience bounds each wait of the story.
	patience = 30 * time.Second
)

// cast is who appears in the story; the manifests are filled in from it.
type cast struct {
	Account, AuthToken, URL                          string
	Support, Sales, Audited                          string
	Transcription, SpamScore, CallerInsight, Console string
}

type story struct {
	cast
	env *testenv.Env
	sim *testenv.Simulator
}

func newStory(env *testenv.Env, sim *testenv.Simulator) *story {
	return &story{env: env, sim: sim, cast: cast{
		Account: twiliosim.SID("AC", 1), AuthToken: "demo0token", URL: sim.URL,
		Support: twiliosim.SID("PN", 1), Sales: twiliosim.SID("PN", 2), Audited: twiliosim.SID("PN", 3),
		Transcription: twiliosim.SID("XE", 1), SpamScore: twiliosim.SID("XE", 2),
		CallerInsight: twiliosim.SID("XE", 3), Console: twiliosim.SID("XE", 4),
	}}
}

// tell plays the steps in order and ends at the first that does not hold.
func (s *story) tell(ctx context.Context) error {
	if err := s.setTheScene(ctx); err != nil {
		return fmt.Errorf("setting the scene: %w", err)
	}
	for _, step := range []func(context.Context) error{s.apply, s.drift, s.edit, s.observe, s.conflict, s.remove} {
		if err := step(ctx); err != nil {
			say("  ✗ %v", err)
			return errors.New("a step did not hold")
		}
	}
	return nil
}

func (s *story) setTheScene(ctx context.Context) error {
	admin := s.sim.Admin
	return errors.Join(
		admin.AddAccount(ctx, s.Account, s.AuthToken),
		admin.AddNumber(ctx, s.Account, s.Support, "+14155550101"),
		admin.AddNumber(ctx, s.Account, s.Sales, "+14155550102"),
		admin.AddNumber(ctx, s.Account, s.Audited, "+14155550103"),
		admin.InstallAddOn(ctx, s.Account, s.Transcription, "transcription"),
		admin.InstallAddOn(ctx, s.Account, s.SpamScore, "spam_score"),
		admin.InstallAddOn(ctx, s.Account, s.CallerInsight, "caller_insight"),
		admin.InstallAddOn(ctx, s.Account, s.Console, "added_in_the_console"),
		admin.Assign(ctx, s.Audited, s.Console),
	)
}

func (s *story) apply(ctx context.Context) error {
	title("1. A team applies its manifests")
	command("kubectl apply -f samples.yaml")
	if err := s.applyTemplate(ctx, samples); err != nil {
		return err
	}
	for _, name := range []string{"support-line", "sales-line", "audited-line"} {
		if err := s.awaitReady(ctx, name); err != nil {
			return err
		}
	}
	if err := s.show(ctx); err != nil {
		return err
	}
	if err := s.awaitAssigned(ctx, s.Support, s.Transcription, s.SpamScore); err != nil {
		return err
	}
	holds("Twilio has the two add-ons on the support line, and nothing was written to the audited one.")
	return nil
}

func (s *story) drift(ctx context.Context) error {
	title("2. Somebody removes an add-on in the console, and adds another")
	admin := s.sim.Admin
	if err := errors.Join(admin.Unassign(ctx, s.Support, s.SpamScore), admin.Assign(ctx, s.Support, s.Console)); err != nil {
		return err
	}
	say("  The account's resyncInterval is 3s here (10m by default); the next check is waited for.")
	if err := s.awaitAssigned(ctx, s.Support, s.Transcription, s.SpamScore); err != nil {
		return err
	}
	holds("The support line is as its manifest says again.")
	return nil
}

func (s *story) edit(ctx context.Context) error {
	title("3. The team swaps an add-on")
	command(`kubectl patch pnaa support-line -n telephony --type merge -p '{"spec":{"addOnSIDs":["%s…","%s…"]}}'`, s.Transcription[:4], s.CallerInsight[:4])
	journal, err := s.sim.Admin.JournalAfter(ctx, 0)
	if err != nil {
		return err
	}
	a := s.object("support-line")
	patch := fmt.Sprintf(`{"spec":{"addOnSIDs":[%q,%q]}}`, s.Transcription, s.CallerInsight)
	if err := s.env.Client.Patch(ctx, a, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		return err
	}
	if err := s.awaitAssigned(ctx, s.Support, s.Transcription, s.CallerInsight); err != nil {
		return err
	}
	if err := s.awaitReady(ctx, "support-line"); err != nil {
		return err
	}
	changes, err := s.sim.Admin.JournalAfter(ctx, int64(len(journal)))
	if err != nil {
		return err
	}
	if len(changes) != 2 || changes[0].Change != twiliosim.ChangeAssign || changes[1].Change != twiliosim.ChangeUnassign {
		return fmt.Errorf("the journal of Twilio reads %+v", changes)
	}
	for _, m := range changes {
		say("  Twilio's journal: %s %s", m.Change, m.AddOn)
	}
	holds("One assignment, then one removal: the line was never without.")
	return nil
}

func (s *story) observe(ctx context.Context) error {
	title("4. An object with managementPolicy Observe shows what it would do")
	command("kubectl get pnaa audited-line -n telephony -o jsonpath='{range .status.addOns[*]}…'")
	a := s.object("audited-line")
	if err := s.env.Client.Get(ctx, client.ObjectKeyFromObject(a), a); err != nil {
		return err
	}
	states := map[v1alpha1.AddOnState]int{}
	for _, addOn := range a.Status.AddOns {
		say("  %s  %s", addOn.SID, addOn.State)
		states[addOn.State]++
	}
	if states[v1alpha1.AddOnMissing] != 1 || states[v1alpha1.AddOnUnmanaged] != 1 {
		return fmt.Errorf("its status shows %v", states)
	}
	if err := s.awaitAssigned(ctx, s.Audited, s.Console); err != nil {
		return err
	}
	holds("It is told what differs, and Twilio was left alone.")
	return nil
}

func (s *story) conflict(ctx context.Context) error {
	title("5. A second object names a number that is taken")
	command("kubectl apply -f rival.yaml")
	if err := s.applyTemplate(ctx, rival); err != nil {
		return err
	}
	a := s.object("rival")
	err := testenv.Wait(ctx, patience, "the rival is told of the conflict", func() error {
		return s.reports(ctx, a, v1alpha1.ReasonPhoneNumberConflict)
	})
	if err != nil {
		return err
	}
	say("  %s", meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady).Message)
	if err := s.awaitAssigned(ctx, s.Support, s.Transcription, s.CallerInsight); err != nil {
		return err
	}
	holds("The owner keeps its number.")
	return s.env.Client.Delete(ctx, a)
}

func (s *story) remove(ctx context.Context) error {
	title("6. The team deletes the object of the support line")
	command("kubectl delete pnaa support-line -n telephony")
	a := s.object("support-line")
	if err := s.env.Client.Delete(ctx, a); err != nil {
		return err
	}
	err := testenv.Wait(ctx, patience, "the object is gone", func() error {
		err := s.env.Client.Get(ctx, client.ObjectKeyFromObject(a), a)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("it is still there"), err)
	})
	if err != nil {
		return err
	}
	if err := s.awaitAssigned(ctx, s.Support); err != nil {
		return err
	}
	if err := s.show(ctx); err != nil {
		return err
	}
	holds("Its number is clean, and the object is gone.")
	return nil
}

func (s *story) applyTemplate(ctx context.Context, text string) error {
	var manifests bytes.Buffer
	t, err := template.New("manifests").Parse(text)
	if err != nil {
		return err
	}
	if err := t.Execute(&manifests, s.cast); err != nil {
		return err
	}
	return s.env.Apply(ctx, manifests.Bytes())
}

func (s *story) object(name string) *v1alpha1.PhoneNumberAddOnAssignment {
	return &v1alpha1.PhoneNumberAddOnAssignment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

func (s *story) awaitReady(ctx context.Context, name string) error {
	a := s.object(name)
	return testenv.Wait(ctx, patience, name+" is Ready", func() error {
		if err := s.env.Client.Get(ctx, client.ObjectKeyFromObject(a), a); err != nil {
			return err
		}
		if a.Status.ObservedGeneration != a.Generation || !meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionReady) {
			return fmt.Errorf("its conditions are %+v", a.Status.Conditions)
		}
		return nil
	})
}

func (s *story) reports(ctx context.Context, a *v1alpha1.PhoneNumberAddOnAssignment, reason string) error {
	if err := s.env.Client.Get(ctx, client.ObjectKeyFromObject(a), a); err != nil {
		return err
	}
	if ready := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady); ready == nil || ready.Reason != reason {
		return fmt.Errorf("its Ready condition is %+v", ready)
	}
	return nil
}

// awaitAssigned waits until Twilio has just these add-ons on the number.
func (s *story) awaitAssigned(ctx context.Context, number string, want ...string) error {
	slices.Sort(want)
	return testenv.Wait(ctx, patience, "Twilio has what is wanted on "+number, func() error {
		got, err := s.sim.Admin.Assigned(ctx, number)
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("it has %v, wanted are %v", got, want)
		}
		return err
	})
}

// show prints what kubectl would.
func (s *story) show(ctx context.Context) error {
	command("kubectl get pnaa -n telephony")
	return printTable(ctx, s.env.Config, "/apis/addons.twilio-operator.dev/v1alpha1/namespaces/"+namespace+"/phonenumberaddonassignments")
}
