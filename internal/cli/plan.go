// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/cli/live"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/cli/manifests"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/cli/review"
)

// planFlags are what plan is told.
type planFlags struct {
	paths       []string
	recursive   bool
	against     string
	cluster     bool
	output      string
	maxRemovals int
	accountMap  map[string]string
}

func (a *app) planCommand() *cobra.Command {
	var f planFlags
	cmd := &cobra.Command{
		Use:   "plan -f PATH",
		Short: "Say what applying manifests would do in Twilio",
		Long: `Compare manifests with what Twilio has, and say what the operator would do about
them. No cluster is needed; Twilio is only read.

PATH is a file, a folder, a folder with a kustomization, or - for the standard
input. Manifests are validated as the API server would, rules included.

Which Twilio account an accountRef stands for is taken from --account-map, from a
TwilioAccount among the manifests, or, where there is only one, is the account
of the credential. The credential is never sent to an address in a manifest.

Exit codes: 0 no change, 1 an error or a problem in a manifest, 2 changes,
3 more than --max-removals numbers would lose an add-on.`,
		Example: `  # What will this branch do?
  kubectl twilio-addons plan -f numbers --against origin/main

  # A comment for the pull request
  kubectl twilio-addons plan -f numbers --against origin/main -o markdown --max-removals 10`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.plan(cmd.Context(), &f) },
	}
	a.bindTwilio(cmd)
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.paths, "filename", "f", nil, "The manifests: a file, a folder or -. May be given more than once.")
	flags.BoolVarP(&f.recursive, "recursive", "R", false, "Also read the folders below a folder.")
	flags.StringVar(&f.against, "against", "", "Also show what the change since this git ref deletes.")
	flags.BoolVar(&f.cluster, "cluster", false, "Take what the operator has on record from the cluster: what it has assigned, and who owns a number.")
	flags.StringVarP(&f.output, "output", "o", "text", "text, markdown or json.")
	flags.IntVar(&f.maxRemovals, "max-removals", -1, "Exit with 3 if more than this many numbers would lose an add-on.")
	flags.StringToStringVar(&f.accountMap, "account-map", nil, "Which account an accountRef stands for, NAME=AC….")
	completeWords(cmd, "output", "text", "markdown", "json")
	return cmd
}

func (f *planFlags) validate() error {
	switch {
	case len(f.paths) == 0:
		return errors.New("say which manifests, with -f PATH")
	case !slices.Contains([]string{"text", "markdown", "json"}, f.output):
		return fmt.Errorf("--output must be text, markdown or json, not %q", f.output)
	case f.against != "" && slices.Contains(f.paths, manifests.Stdin):
		return errors.New("--against needs files: the standard input has no history")
	case f.maxRemovals < -1:
		return errors.New("--max-removals must not be negative")
	}
	return nil
}

func (a *app) plan(ctx context.Context, f *planFlags) error {
	if err := f.validate(); err != nil {
		return err
	}
	in, declared, err := a.readManifests(ctx, f)
	if err != nil {
		return err
	}
	if in.Recorded, err = a.recorded(ctx, f); err != nil {
		return err
	}
	if in.Accounts, err = a.readAccounts(ctx, f, in, declared); err != nil {
		return err
	}
	in.Budgets = budgetsOf(declared)
	r := review.Make(*in)
	if err := a.print(r, f.output); err != nil {
		return err
	}
	code := r.ExitCode(f.maxRemovals)
	if code == review.ExitTooMany {
		a.note("%s would lose add-ons, more than --max-removals %d", count(r.Summary.NumbersLose, "number"), f.maxRemovals)
	}
	return exitWith(code)
}

// exitWith is the error that ends the program with a code and without a word.
func exitWith(code int) error {
	if code == 0 {
		return nil
	}
	return exit{code: code}
}

// readManifests reads the manifests as they are and, with --against, as they were. The
// accounts are those among them.
func (a *app) readManifests(ctx context.Context, f *planFlags) (in *review.Input, declared []v1alpha1.TwilioAccount, err error) {
	schemas, err := manifests.NewSchemas()
	if err != nil {
		return nil, nil, err
	}
	namespace := cmp.Or(a.givenNamespace(), "default")
	source := manifests.Source{FileSystem: filesys.MakeFsOnDisk(), Paths: f.paths, Recursive: f.recursive, Stdin: a.In}
	var old *manifests.Set
	if f.against != "" {
		then, remove, err := source.AtRef(ctx, f.against)
		if err != nil {
			return nil, nil, err
		}
		defer func() { err = errors.Join(err, remove()) }()
		if old, err = manifests.Load(ctx, schemas, then, namespace, nil); err != nil {
			return nil, nil, fmt.Errorf("at %s: %w", f.against, err)
		}
		source.Rename(old, then)
	}
	now, err := manifests.Load(ctx, schemas, source, namespace, old)
	if err != nil {
		return nil, nil, err
	}
	in = &review.Input{Desired: now.Assignments, Problems: now.Problems}
	declared = now.Accounts
	if old != nil {
		in.Previous, declared = old.Assignments, append(declared, old.Accounts...)
	}
	if len(in.Desired)+len(in.Previous)+len(in.Problems) == 0 {
		return nil, nil, fmt.Errorf("no PhoneNumberAddOnAssignment in %s", strings.Join(f.paths, ", "))
	}
	return in, declared, nil
}

// recorded reads, with --cluster, what the operator has on record.
func (a *app) recorded(ctx context.Context, f *planFlags) (map[string]review.Record, error) {
	if !f.cluster {
		return nil, nil
	}
	cl, err := a.cluster()
	if err != nil {
		return nil, err
	}
	all, err := assignments(ctx, cl, "")
	if err != nil {
		return nil, err
	}
	found := map[string]review.Record{}
	for i := range all {
		o := &all[i]
		found[o.Namespace+"/"+o.Name] = review.Record{
			NumberSID: string(o.Spec.PhoneNumberSID), AddOns: o.Status.AddOns,
			Held: o.Status.Claim == v1alpha1.ClaimHeld, Created: o.CreationTimestamp.Time,
		}
	}
	return found, nil
}

// readAccounts reads of each account the numbers that the manifests name.
func (a *app) readAccounts(ctx context.Context, f *planFlags, in *review.Input, declared []v1alpha1.TwilioAccount) (map[string]*live.Account, error) {
	numbers := map[string]map[string]bool{} // by accountRef
	for _, list := range [][]manifests.Assignment{in.Desired, in.Previous} {
		for i := range list {
			ref := list[i].Spec.AccountRef.Name
			if numbers[ref] == nil {
				numbers[ref] = map[string]bool{}
			}
			numbers[ref][strings.ToLower(string(list[i].Spec.PhoneNumberSID))] = true
		}
	}
	if len(numbers) == 0 {
		return nil, nil // every manifest has a problem, which needs no Twilio to tell
	}
	s, err := a.connect(ctx)
	if err != nil {
		return nil, err
	}
	sids, err := accountSIDs(slices.Sorted(maps.Keys(numbers)), f.accountMap, declared, s.accountSID)
	if err != nil {
		return nil, err
	}
	wanted := map[string]map[string]bool{} // by account SID: two names may stand for one account
	for ref, sid := range sids {
		if wanted[sid] == nil {
			wanted[sid] = map[string]bool{}
		}
		maps.Copy(wanted[sid], numbers[ref])
	}
	read := map[string]*live.Account{}
	for _, sid := range slices.Sorted(maps.Keys(wanted)) {
		if read[sid], err = s.scan(ctx, sid, wanted[sid], true); err != nil {
			return nil, err
		}
	}
	found := map[string]*live.Account{}
	for ref, sid := range sids {
		account := *read[sid]                                                                          // of several names for one account, one may be suspended
		at := slices.IndexFunc(declared, func(a v1alpha1.TwilioAccount) bool { return a.Name == ref }) // as it is, before as it was
		account.Suspended = at >= 0 && declared[at].Spec.Suspend
		found[ref] = &account
	}
	return found, nil
}

// budgetsOf are the removal budgets of the TwilioAccounts among the manifests, by account SID.
// Of one that is there as it is and as it was, the first counts.
func budgetsOf(declared []v1alpha1.TwilioAccount) map[string][]v1alpha1.RemovalBudget {
	budgets, seen := map[string][]v1alpha1.RemovalBudget{}, map[string]bool{}
	for i := range declared {
		if account := &declared[i]; !seen[account.Name] {
			seen[account.Name] = true
			budgets[string(account.Spec.AccountSID)] = append(budgets[string(account.Spec.AccountSID)], account.Spec.RemovalBudget)
		}
	}
	return budgets
}

// accountSIDs says which account each accountRef stands for.
func accountSIDs(refs []string, mapped map[string]string, declared []v1alpha1.TwilioAccount, own string) (map[string]string, error) {
	found := map[string]string{}
	var unknown []string
	for _, ref := range refs {
		at := slices.IndexFunc(declared, func(account v1alpha1.TwilioAccount) bool { return account.Name == ref })
		switch {
		case mapped[ref] != "":
			found[ref] = mapped[ref]
		case at >= 0:
			found[ref] = string(declared[at].Spec.AccountSID)
		default:
			unknown = append(unknown, ref)
		}
	}
	if len(unknown) > 1 {
		return nil, fmt.Errorf("the manifests refer to the accounts %s: say which accounts those are, with --account-map NAME=AC…", strings.Join(unknown, ", "))
	}
	for _, ref := range unknown {
		found[ref] = own
	}
	return found, nil
}

func (a *app) print(r *review.Review, form string) error {
	switch form {
	case "json":
		out, err := r.JSON()
		if err != nil {
			return err
		}
		return write(a.Out, string(out))
	case "markdown":
		return write(a.Out, r.Markdown())
	}
	return write(a.Out, r.Text(a.colour()))
}
