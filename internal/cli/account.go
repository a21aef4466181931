// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

func account(ctx context.Context, cl client.Client, name string) (*v1alpha1.TwilioAccount, error) {
	o := &v1alpha1.TwilioAccount{}
	if err := cl.Get(ctx, client.ObjectKey{Name: name}, o); err != nil {
		return nil, fmt.Errorf("reading the TwilioAccount %s: %w", name, err)
	}
	return o, nil
}

// switchAccount sets spec.suspend of the account itself.
func (a *app) switchAccount(ctx context.Context, t *target, done string, suspend bool) error {
	if err := t.validate(); err != nil {
		return err
	}
	cl, err := a.cluster()
	if err != nil {
		return err
	}
	o, err := account(ctx, cl, t.account)
	if err != nil {
		return err
	}
	if o.Spec.Suspend == suspend {
		return write(a.Out, fmt.Sprintf("twilioaccount/%s: %s already\n", t.account, done))
	}
	before := o.DeepCopy()
	o.Spec.Suspend = suspend
	if err := a.patchAccount(ctx, cl, t, o, before); err != nil {
		return err
	}
	if o.Spec.Suspend != suspend {
		return errors.New("the cluster's TwilioAccount has no field suspend: install the CustomResourceDefinitions of this version")
	}
	return write(a.Out, fmt.Sprintf("twilioaccount/%s %s%s\n", t.account, done, t.suffix()))
}

func (a *app) patchAccount(ctx context.Context, cl client.Client, t *target, o, before client.Object) error {
	err := a.patch(ctx, cl, t, o, before)
	switch {
	case err != nil && ctx.Err() != nil:
		return t.interrupted(err, "perhaps the TwilioAccount %s was changed", o.GetName())
	case err != nil:
		return fmt.Errorf("the TwilioAccount %s cannot be changed: %w", o.GetName(), err)
	}
	return nil
}

func (a *app) approveCommand() *cobra.Command {
	var t target
	var hold string
	cmd := &cobra.Command{
		Use:   "approve ACCOUNT",
		Short: "Let removals go that the removal budget holds",
		Long: `Approve the removals that are held on a TwilioAccount now. The approval is bound to
this hold: it lets go what waits, and has no effect on what comes later. With
--hold it is only given if the hold is still the one you have looked at.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeArgs(a.accountNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			t.account = args[0]
			return a.approve(cmd.Context(), &t, hold)
		},
	}
	cmd.Flags().StringVar(&hold, "hold", "", "The hold to approve, as the account's status names it. Default: the one there is.")
	bindDryRun(cmd, &t)
	return cmd
}

func (a *app) approve(ctx context.Context, t *target, wanted string) error {
	cl, err := a.cluster()
	if err != nil {
		return err
	}
	o, err := account(ctx, cl, t.account)
	if err != nil {
		return err
	}
	removals := o.Status.Removals
	hold := removals.Hold
	switch {
	case hold == "" || removals.Held == 0:
		return fmt.Errorf("nothing is held on the TwilioAccount %s", t.account)
	case removals.Cause == v1alpha1.RemovalsCRDDeletion:
		return fmt.Errorf("removals are held on the TwilioAccount %s because a CustomResourceDefinition is being deleted: no approval lets them go", t.account)
	case wanted != "" && wanted != hold:
		return fmt.Errorf("the hold on the TwilioAccount %s is %s now, not %s: look again at what it holds", t.account, hold, wanted)
	case o.GetAnnotations()[v1alpha1.AnnotationApproveRemovals] == hold:
		return write(a.Out, fmt.Sprintf("twilioaccount/%s: hold %s is approved already\n", t.account, hold))
	}
	before := o.DeepCopy()
	annotate(o, v1alpha1.AnnotationApproveRemovals, hold)
	if err := a.patchAccount(ctx, cl, t, o, before); err != nil {
		return err
	}
	text := fmt.Sprintf("twilioaccount/%s hold %s approved: %s may lose add-ons%s", t.account, hold, count(int(removals.Held), "number"), t.suffix())
	if len(removals.Sample) > 0 {
		text += "\n  among them " + strings.Join(removals.Sample, ", ")
	}
	return write(a.Out, text+"\n")
}
