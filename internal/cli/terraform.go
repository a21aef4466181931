// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/cli/export"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/cli/live"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/cli/review"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/cli/terraform"
)

// exportTerraform writes manifests for what Terraform manages, after a look at whether
// Twilio agrees with the state.
func (a *app) exportTerraform(ctx context.Context, f *exportFlags) error {
	data, err := a.readFile(f.fromTerraform)
	if err != nil {
		return err
	}
	assignments, err := terraform.Read(data)
	if err != nil {
		return fmt.Errorf("%s: %w", f.fromTerraform, err)
	}
	if len(assignments) == 0 {
		return fmt.Errorf("%s holds no %s", f.fromTerraform, terraform.ResourceType)
	}
	desired, err := terraform.Desired(assignments)
	if err != nil {
		return fmt.Errorf("%s: %w", f.fromTerraform, err)
	}
	t := &migration{app: a, flags: f, desired: desired}
	if err := t.nameAccounts(); err != nil {
		return err
	}
	if err := t.readTwilio(ctx); err != nil {
		return err
	}
	files, err := export.Files(t.numbers(), f.options(a.givenNamespace()))
	if err != nil {
		return err
	}
	if err := t.prove(ctx, files); err != nil {
		return err
	}
	removed := cmp.Or(f.removedFile, filepath.Join(f.outputDir, "removed.tf"))
	return a.put(f, files, []output{{removed, terraform.Removed(assignments)}})
}

func (a *app) readFile(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(a.In)
	}
	return os.ReadFile(name) //nolint:gosec // the user names the file
}

// migration is one run of export --from-terraform.
type migration struct {
	app     *app
	flags   *exportFlags
	desired []terraform.Number
	// refs are the names of the TwilioAccounts by account SID; "" is the account of the
	// provider's configuration.
	refs map[string]string
	// accounts are by the name of their TwilioAccount; nil without a credential.
	accounts map[string]*live.Account
}

// nameAccounts gives each account of the state the name of a TwilioAccount.
func (t *migration) nameAccounts() error {
	t.refs = map[string]string{}
	for name, sid := range t.flags.accountMap {
		t.refs[sid] = name
	}
	var unnamed []string
	for _, n := range t.desired {
		if _, ok := t.refs[n.AccountSID]; !ok && !slices.Contains(unnamed, n.AccountSID) {
			unnamed = append(unnamed, n.AccountSID)
		}
	}
	if len(unnamed) > 1 {
		slices.Sort(unnamed)
		return fmt.Errorf("the state has assignments of several accounts (%s): say which TwilioAccount stands for which, with --account-map NAME=AC…",
			strings.Join(slices.DeleteFunc(unnamed, func(s string) bool { return s == "" }), ", "))
	}
	for _, sid := range unnamed {
		t.refs[sid] = t.flags.accountRef
	}
	return nil
}

// readTwilio reads the numbers of the state, if there is a credential.
func (t *migration) readTwilio(ctx context.Context) error {
	if !t.app.hasCredential() {
		return nil
	}
	s, err := t.app.connect(ctx)
	if err != nil {
		return err
	}
	t.accounts = map[string]*live.Account{}
	only := map[string]map[string]bool{}
	for _, n := range t.desired {
		sid := cmp.Or(n.AccountSID, s.accountSID)
		if only[sid] == nil {
			only[sid] = map[string]bool{}
		}
		only[sid][strings.ToLower(n.SID)] = true
	}
	for _, n := range t.desired {
		ref := t.refs[n.AccountSID]
		if t.accounts[ref] != nil {
			continue
		}
		sid := cmp.Or(n.AccountSID, s.accountSID)
		if t.accounts[ref], err = s.scan(ctx, sid, only[sid], false); err != nil {
			return err
		}
	}
	return nil
}

// numbers are those of the state, with the names that Twilio has for them.
func (t *migration) numbers() []export.Number {
	var out []export.Number
	for _, d := range t.desired {
		ref := t.refs[d.AccountSID]
		n := export.Number{SID: d.SID, AccountRef: ref}
		var found live.Number
		if account := t.accounts[ref]; account != nil {
			found, _ = account.Number(d.SID)
			n.E164, n.FriendlyName = found.PhoneNumber.PhoneNumber, found.FriendlyName
		}
		for _, sid := range d.AddOnSIDs {
			addOn := export.AddOn{SID: sid}
			for _, there := range found.AddOns {
				if strings.EqualFold(there.SID, sid) {
					addOn.UniqueName, addOn.FriendlyName = there.UniqueName, there.FriendlyName
				}
			}
			n.AddOns = append(n.AddOns, addOn)
		}
		out = append(out, n)
	}
	return out
}

// prove reads the manifests back and asks the plan what the operator would do with them.
// Observe writes nothing whatever there is, so it is asked about Authoritative, to which
// one switches next.
func (t *migration) prove(ctx context.Context, files []export.File) error {
	set, err := t.app.reread(ctx, files)
	if err != nil {
		return err
	}
	if t.accounts == nil {
		t.app.note("not checked: whether Twilio is as the state says, for there is no credential")
		return nil
	}
	for i := range set.Assignments {
		if spec := &set.Assignments[i].Spec; spec.ManagementPolicy == v1alpha1.ManagementObserve {
			spec.ManagementPolicy = v1alpha1.ManagementAuthoritative
		}
	}
	r := review.Make(review.Input{Desired: set.Assignments, Accounts: t.accounts})
	if r.Summary.NumbersChange == 0 && len(r.Problems) == 0 {
		t.app.note("proven: Twilio is as the state says, %s with %s; applying the manifests makes 0 writes, also after a switch to Authoritative",
			count(len(files), "number"), count(r.Summary.Adopt, "add-on"))
		return nil
	}
	t.app.note("%s", strings.TrimRight(r.Text(t.app.colour()), "\n"))
	if t.flags.allowDrift {
		t.app.note("not proven: Twilio differs from the state, as listed above")
		return nil
	}
	return errors.New("the state and Twilio differ: apply Terraform first, give --policy Additive to leave alone what it does not manage, or --allow-drift; nothing was written")
}
