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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// target is what a command acts on: objects by name, a namespace, all, or an account.
type target struct {
	names              []string
	all, allNamespaces bool
	account            string
	dryRun             bool
}

func (a *app) bindTarget(cmd *cobra.Command, t *target, account string) {
	flags := cmd.Flags()
	flags.BoolVar(&t.all, "all", false, "Act on all objects of the namespace.")
	flags.BoolVarP(&t.allNamespaces, "all-namespaces", "A", false, "Act on the objects of all namespaces.")
	flags.StringVar(&t.account, "account", "", account)
	bindDryRun(cmd, t)
	a.completeFlag(cmd, "account", a.accountNames)
	cmd.ValidArgsFunction = completeArgs(a.assignmentNames)
}

func bindDryRun(cmd *cobra.Command, t *target) {
	cmd.Flags().BoolVar(&t.dryRun, "dry-run", false, "Say what would be changed, have the API server check it, and change nothing.")
}

func (t *target) validate() error {
	given := 0
	for _, is := range []bool{len(t.names) > 0, t.all, t.allNamespaces, t.account != ""} {
		if is {
			given++
		}
	}
	if given != 1 {
		return errors.New("say what to act on: names, --all, --all-namespaces or --account NAME, one of them")
	}
	return nil
}

// objects finds what the target names. It finds all of it or none.
func (a *app) objects(ctx context.Context, cl client.Client, t *target) ([]v1alpha1.PhoneNumberAddOnAssignment, error) {
	namespace := ""
	if t.all || len(t.names) > 0 {
		var err error
		if namespace, err = a.namespace(); err != nil {
			return nil, err
		}
	}
	found, err := assignments(ctx, cl, namespace)
	if err != nil {
		return nil, err
	}
	if t.account != "" {
		if err := cl.Get(ctx, client.ObjectKey{Name: t.account}, &v1alpha1.TwilioAccount{}); err != nil {
			return nil, fmt.Errorf("reading the TwilioAccount %s: %w", t.account, err)
		}
		found = slices.DeleteFunc(found, func(o v1alpha1.PhoneNumberAddOnAssignment) bool { return o.Spec.AccountRef.Name != t.account })
	}
	return only(found, namespace, t.names)
}

// change is one thing that a command does to an object. It returns what it has done in
// words, or why there is nothing to do.
type change func(o *v1alpha1.PhoneNumberAddOnAssignment) (done, nothing string)

// act makes a change to each object of the target and says so line by line. It goes on
// after an error, and its own error says how many there were. An interrupt ends it.
func (a *app) act(ctx context.Context, t *target, edit change) error {
	if err := t.validate(); err != nil {
		return err
	}
	cl, err := a.cluster()
	if err != nil {
		return err
	}
	objects, err := a.objects(ctx, cl, t)
	if err != nil {
		return err
	}
	if len(objects) == 0 {
		a.note("no objects to act on")
		return nil
	}
	changed, failed := 0, 0
	for i := range objects {
		o := &objects[i]
		before := o.DeepCopy()
		done, nothing := edit(o)
		var err error
		if done != "" {
			err = a.patch(ctx, cl, t, o, before)
		}
		if apierrors.IsNotFound(err) {
			done, nothing = "", "gone in the meantime"
		}
		switch {
		case done == "" && len(t.names) > 0:
			fmt.Fprintf(a.Out, "%s/%s: %s\n", o.Namespace, o.Name, nothing)
			continue
		case done == "":
			continue
		case err != nil && ctx.Err() != nil:
			return t.interrupted(err, "%d of %s changed, and perhaps %s/%s", changed, count(len(objects), "object"), o.Namespace, o.Name)
		case err != nil:
			a.note("%s/%s: %s", o.Namespace, o.Name, oneLine(err.Error()))
			failed++
			continue
		}
		changed++
		fmt.Fprintf(a.Out, "%s/%s %s%s\n", o.Namespace, o.Name, done, t.suffix())
	}
	if failed > 0 {
		return fmt.Errorf("%d of %s could not be changed", failed, count(len(objects), "object"))
	}
	return nil
}

func (a *app) patch(ctx context.Context, cl client.Client, t *target, o, before client.Object) error {
	var options []client.PatchOption
	if t.dryRun {
		options = append(options, client.DryRunAll)
	}
	return cl.Patch(ctx, o, client.MergeFrom(before), options...)
}

// interrupted is the error of an interrupt while a write was under way, which says what may
// have been changed.
func (t *target) interrupted(err error, changed string, args ...any) error {
	if t.dryRun {
		return err
	}
	return exit{1, "interrupted: " + fmt.Sprintf(changed, args...)}
}

func (t *target) suffix() string {
	if t.dryRun {
		return " (dry run: nothing was changed)"
	}
	return ""
}

func (a *app) suspendCommand() *cobra.Command {
	return a.switchCommand("suspend", "suspended", true,
		"Stop every call to Twilio for objects or an account",
		`Set spec.suspend on objects, or with --account on a TwilioAccount: then the
operator makes no call to Twilio for any of its objects, and deletions wait.

A suspended object that is deleted leaves Twilio as it is. Where Argo CD or Flux
manages the objects, suspend them in Git, or pause the sync first: it would undo
what is done here.`)
}

func (a *app) resumeCommand() *cobra.Command {
	return a.switchCommand("resume", "resumed", false,
		"Let the operator act again on objects or an account",
		`Take back what suspend did: set spec.suspend to false on objects, or with --account
on a TwilioAccount.`)
}

// switchCommand makes the commands that set suspend; done is the verb's past participle.
func (a *app) switchCommand(verb, done string, suspend bool, short, long string) *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use: verb + " [NAME...]", Short: short, Long: long,
		RunE: func(cmd *cobra.Command, args []string) error {
			t.names = args
			if t.account != "" {
				return a.switchAccount(cmd.Context(), &t, done, suspend)
			}
			return a.act(cmd.Context(), &t, func(o *v1alpha1.PhoneNumberAddOnAssignment) (said, nothing string) {
				if o.Spec.Suspend == suspend {
					return "", done + " already"
				}
				o.Spec.Suspend = suspend
				return done, ""
			})
		},
	}
	a.bindTarget(cmd, &t, "Act on this TwilioAccount itself, and so on all its objects.")
	return cmd
}

func (a *app) reconcileCommand() *cobra.Command {
	var (
		t       target
		waits   bool
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:   "reconcile [NAME...]",
		Short: "Trigger a reconcile of objects now",
		Long: `Ask the operator to check objects now and not when they are due next. It lists
each number again, also one that it has given up for the time being.

With --wait, the command ends when the operator has done so for each object, and
says how each stands. The exit code is 1 if that takes longer than --timeout.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			t.names = args
			if waits && t.dryRun {
				return errors.New("--wait needs a reconcile: leave out --dry-run")
			}
			now := time.Now().UTC().Format(time.RFC3339Nano)
			var requested []*v1alpha1.PhoneNumberAddOnAssignment
			err := a.act(cmd.Context(), &t, func(o *v1alpha1.PhoneNumberAddOnAssignment) (done, nothing string) {
				if o.Spec.Suspend {
					return "", "suspended: a reconcile would do nothing"
				}
				annotate(o, v1alpha1.AnnotationReconcileRequestedAt, now)
				requested = append(requested, o)
				return "reconcile requested", ""
			})
			if err != nil || !waits {
				return err
			}
			return a.awaitReconciled(cmd.Context(), requested, timeout)
		},
	}
	a.bindTarget(cmd, &t, "Act on all objects of this TwilioAccount.")
	cmd.Flags().BoolVar(&waits, "wait", false, "Wait until the operator has reconciled the objects.")
	cmd.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "How long --wait waits at most.")
	return cmd
}

// askEvery is how often an object that is waited for is read.
const askEvery = 500 * time.Millisecond

// awaitReconciled waits until the operator has handled the request on each object, and says
// how each stands then.
func (a *app) awaitReconciled(ctx context.Context, requested []*v1alpha1.PhoneNumberAddOnAssignment, timeout time.Duration) error {
	cl, err := a.cluster()
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for i, o := range requested {
		err := wait.PollUntilContextCancel(limited, askEvery, true, func(context.Context) (bool, error) {
			err := cl.Get(ctx, client.ObjectKeyFromObject(o), o)
			if apierrors.IsNotFound(err) {
				o.Status.Conditions = nil
				return true, nil
			}
			return o.Status.LastHandledReconcileAt == o.Annotations[v1alpha1.AnnotationReconcileRequestedAt], err
		})
		switch {
		case ctx.Err() != nil:
			return exit{1, "interrupted while waiting: the reconciles are requested"}
		case limited.Err() != nil:
			return fmt.Errorf("%d of %s not reconciled within %s, the first is %s/%s: is the operator running?",
				len(requested)-i, count(len(requested), "object"), timeout, o.Namespace, o.Name)
		case err != nil:
			return fmt.Errorf("reading %s/%s: %w", o.Namespace, o.Name, err)
		}
		fmt.Fprintf(a.Out, "%s/%s %s\n", o.Namespace, o.Name, standing(o))
	}
	return nil
}

// standing is how an object stands, in words.
func standing(o *v1alpha1.PhoneNumberAddOnAssignment) string {
	ready := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil {
		return "is gone"
	}
	return fmt.Sprintf("%s: %s", ready.Reason, oneLine(ready.Message))
}

func annotate(o client.Object, key, value string) {
	annotations := o.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[key] = value
	o.SetAnnotations(annotations)
}

func (a *app) releaseCommand() *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use:   "release [NAME...]",
		Short: "Let deleted objects go without changing Twilio",
		Long: `Set deletionPolicy: Retain on objects that are being deleted and wait: held by the
removal budget, or blocked because Twilio cannot be asked. They go at once, and
their add-ons stay assigned. Objects that are not being deleted are left alone.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			t.names = args
			return a.act(cmd.Context(), &t, release(len(args) > 0))
		},
	}
	a.bindTarget(cmd, &t, "Act on all objects of this TwilioAccount that are being deleted and wait.")
	return cmd
}

// release lets go of what is named, or otherwise of what is held or blocked.
func release(named bool) change {
	return func(o *v1alpha1.PhoneNumberAddOnAssignment) (done, nothing string) {
		switch {
		case o.DeletionTimestamp.IsZero():
			return "", "not being deleted: nothing to release"
		case o.Spec.DeletionPolicy == v1alpha1.DeletionRetain:
			return "", "released already"
		case !named && !waits(o):
			return "", "neither held nor blocked"
		}
		o.Spec.DeletionPolicy = v1alpha1.DeletionRetain
		return "released: its add-ons stay assigned", ""
	}
}

// waits says whether a deletion is held by the removal budget, or blocked.
func waits(o *v1alpha1.PhoneNumberAddOnAssignment) bool {
	ready := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionReady)
	return ready != nil && (ready.Reason == v1alpha1.ReasonDeletionBlocked || ready.Reason == v1alpha1.ReasonRemovalsHeld)
}
