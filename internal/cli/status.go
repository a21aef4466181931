// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/cli/overview"
)

type statusFlags struct {
	allNamespaces, tree, fail bool
	printed                   *genericclioptions.PrintFlags
}

func (a *app) statusCommand() *cobra.Command {
	f := statusFlags{printed: genericclioptions.NewPrintFlags("")}
	cmd := &cobra.Command{
		Use:   "status [NAME...]",
		Short: "Show how numbers and accounts stand, the unhealthy first",
		Long: `Show each PhoneNumberAddOnAssignment with its number, its add-ons, whether it is
ready and why not, its age, and when the operator checks it next. What is
unhealthy comes first. --tree shows the accounts, with the numbers below them
and the add-ons below those.`,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.status(cmd.Context(), &f, args) },
		ValidArgsFunction: completeArgs(a.assignmentNames),
	}
	flags := cmd.Flags()
	flags.BoolVarP(&f.allNamespaces, "all-namespaces", "A", false, "Show the objects of all namespaces.")
	flags.BoolVar(&f.tree, "tree", false, "Show accounts, numbers and add-ons as a tree.")
	flags.BoolVar(&f.fail, "fail", false, "Exit with 1 if an object that is shown, or its account, is not ready.")
	f.printed.AddFlags(cmd)
	completeWords(cmd, "output", f.printed.AllowedFormats()...)
	return cmd
}

func (a *app) status(ctx context.Context, f *statusFlags, names []string) error {
	if f.allNamespaces && len(names) > 0 {
		return errors.New("names are of one namespace: give names or --all-namespaces")
	}
	cl, err := a.cluster()
	if err != nil {
		return err
	}
	namespace := ""
	if !f.allNamespaces {
		if namespace, err = a.namespace(); err != nil {
			return err
		}
	}
	objects, err := assignments(ctx, cl, namespace)
	if err != nil {
		return err
	}
	if objects, err = only(objects, namespace, names); err != nil {
		return err
	}
	overview.Sort(objects)
	known, err := accounts(ctx, cl)
	if err != nil {
		return err
	}
	if err := a.show(f, objects, known, namespace); err != nil {
		return err
	}
	if f.fail && overview.Unhealthy(referred(known, objects, f.allNamespaces), objects) > 0 {
		return exitWith(1)
	}
	return nil
}

// only picks the named objects; every name must be there.
func only(objects []v1alpha1.PhoneNumberAddOnAssignment, namespace string, names []string) ([]v1alpha1.PhoneNumberAddOnAssignment, error) {
	if len(names) == 0 {
		return objects, nil
	}
	for _, name := range names {
		if !slices.ContainsFunc(objects, func(o v1alpha1.PhoneNumberAddOnAssignment) bool { return o.Name == name }) {
			return nil, fmt.Errorf("there is no PhoneNumberAddOnAssignment %s/%s", namespace, name)
		}
	}
	return slices.DeleteFunc(objects, func(o v1alpha1.PhoneNumberAddOnAssignment) bool { return !slices.Contains(names, o.Name) }), nil
}

func (a *app) show(f *statusFlags, objects []v1alpha1.PhoneNumberAddOnAssignment, known []v1alpha1.TwilioAccount, namespace string) error {
	switch {
	case *f.printed.OutputFormat != "":
		return a.printObjects(f.printed, objects)
	case f.tree:
		return write(a.Out, overview.Tree(referred(known, objects, f.allNamespaces), objects, time.Now()))
	case len(objects) == 0 && namespace != "":
		a.note("no PhoneNumberAddOnAssignments in the namespace %s", namespace)
		return nil
	case len(objects) == 0:
		a.note("no PhoneNumberAddOnAssignments")
		return nil
	}
	return write(a.Out, overview.Table(objects, known, f.allNamespaces, time.Now()))
}

// referred drops the accounts that none of the objects is of, unless all are asked for.
func referred(known []v1alpha1.TwilioAccount, objects []v1alpha1.PhoneNumberAddOnAssignment, all bool) []v1alpha1.TwilioAccount {
	if all {
		return known
	}
	return slices.DeleteFunc(slices.Clone(known), func(account v1alpha1.TwilioAccount) bool {
		return !slices.ContainsFunc(objects, func(o v1alpha1.PhoneNumberAddOnAssignment) bool { return o.Spec.AccountRef.Name == account.Name })
	})
}

// printObjects prints as kubectl does: json and yaml as a List, name a line each.
func (a *app) printObjects(flags *genericclioptions.PrintFlags, objects []v1alpha1.PhoneNumberAddOnAssignment) error {
	scheme, err := newScheme()
	if err != nil {
		return err
	}
	printer, err := flags.WithTypeSetter(scheme).ToPrinter()
	if err != nil {
		return err
	}
	if *flags.OutputFormat == "name" {
		for i := range objects {
			if err := printer.PrintObj(&objects[i], a.Out); err != nil {
				return err
			}
		}
		return nil
	}
	for i := range objects {
		objects[i].SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("PhoneNumberAddOnAssignment"))
		objects[i].ManagedFields = nil
	}
	return printer.PrintObj(&v1alpha1.PhoneNumberAddOnAssignmentList{ListMeta: metav1.ListMeta{}, Items: objects}, a.Out)
}
