// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/cli/export"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/cli/live"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/cli/manifests"
)

// exportFlags are what export is told.
type exportFlags struct {
	accountRef, policy, nameFrom  string
	outputDir, outputFile         string
	kustomization, all, overwrite bool

	fromTerraform, removedFile string
	accountMap                 map[string]string
	allowDrift                 bool
}

func (a *app) exportCommand() *cobra.Command {
	var f exportFlags
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write a manifest for each number that carries add-ons",
		Long: `Write a manifest for each number of the account that carries add-ons, to the
standard output, one file, or one file a number. The manifests list what is
assigned now, with the policy Observe: applying them changes nothing in Twilio,
and neither does switching to Authoritative afterwards.

The output depends on the account alone: the same numbers give the same bytes.
It is complete or there is none. Files are written whole, a file that is there
already with other content is kept unless you give --overwrite, and so a run
that was interrupted can be begun again.

With --from-terraform the manifests list what the state of the official provider
holds, and removed.tf lets Terraform forget it. Twilio is compared with the
state first, if there is a credential: where they differ, nothing is written.`,
		Example: `  # Apply at once: nothing changes in Twilio
  kubectl twilio-addons export -n telephony | kubectl apply -f -

  # One file a number, for Git
  kubectl twilio-addons export -n telephony --output-dir numbers --kustomization

  # Come from Terraform
  terraform state pull > state.json
  kubectl twilio-addons export --from-terraform state.json --output-dir numbers --removed-file removed.tf`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.export(cmd.Context(), &f) },
	}
	a.bindTwilio(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.accountRef, "account-ref", "default", "The TwilioAccount that the manifests name.")
	flags.StringVar(&f.policy, "policy", string(v1alpha1.ManagementObserve), "The managementPolicy of the manifests: Observe, Additive or Authoritative.")
	flags.StringVar(&f.nameFrom, "name-from", string(export.NameFromE164), "What objects are named after: e164 or friendly-name.")
	flags.StringVar(&f.outputDir, "output-dir", "", "Write one file a number to this folder.")
	flags.StringVar(&f.outputFile, "output-file", "", "Write one file.")
	flags.BoolVar(&f.kustomization, "kustomization", false, "With --output-dir: also write a kustomization.yaml that lists the files.")
	flags.BoolVar(&f.all, "all", false, "Also write manifests for numbers without add-ons.")
	flags.BoolVar(&f.overwrite, "overwrite", false, "Replace files that are there with other content.")
	flags.StringVar(&f.fromTerraform, "from-terraform", "", "A Terraform state (version 4) or the output of \"terraform show -json\"; - for the standard input.")
	flags.StringVar(&f.removedFile, "removed-file", "", "With --from-terraform: where to write the removed blocks. Default: removed.tf in --output-dir.")
	flags.StringToStringVar(&f.accountMap, "account-map", nil, "With --from-terraform: which TwilioAccount stands for which account, NAME=AC….")
	flags.BoolVar(&f.allowDrift, "allow-drift", false, "With --from-terraform: write the manifests although Twilio differs from the state.")
	a.completeFlag(cmd, "account-ref", a.accountNames)
	completeWords(cmd, "policy", string(v1alpha1.ManagementObserve), string(v1alpha1.ManagementAdditive), string(v1alpha1.ManagementAuthoritative))
	completeWords(cmd, "name-from", string(export.NameFromE164), string(export.NameFromFriendlyName))
	return cmd
}

func (f *exportFlags) validate() error {
	switch v1alpha1.ManagementPolicy(f.policy) {
	case v1alpha1.ManagementObserve, v1alpha1.ManagementAdditive, v1alpha1.ManagementAuthoritative:
	default:
		return fmt.Errorf("--policy must be Observe, Additive or Authoritative, not %q", f.policy)
	}
	switch export.NameFrom(f.nameFrom) {
	case export.NameFromE164, export.NameFromFriendlyName:
	default:
		return fmt.Errorf("--name-from must be e164 or friendly-name, not %q", f.nameFrom)
	}
	return f.validateTogether()
}

// validateTogether checks which flags go with which.
func (f *exportFlags) validateTogether() error {
	switch {
	case f.outputDir != "" && f.outputFile != "":
		return errors.New("give --output-dir or --output-file, not both")
	case f.kustomization && f.outputDir == "":
		return errors.New("--kustomization needs --output-dir")
	case f.fromTerraform == "" && (f.removedFile != "" || f.allowDrift || len(f.accountMap) > 0):
		return errors.New("--removed-file, --account-map and --allow-drift need --from-terraform")
	case f.fromTerraform != "" && f.all:
		return errors.New("--all does not go with --from-terraform, whose state says which numbers there are")
	case f.fromTerraform != "" && f.removedFile == "" && f.outputDir == "":
		return errors.New("--from-terraform needs --output-dir, or --removed-file to say where the removed blocks go")
	}
	return nil
}

func (f *exportFlags) options(namespace string) export.Options {
	return export.Options{
		AccountRef: f.accountRef,
		Namespace:  namespace,
		Policy:     v1alpha1.ManagementPolicy(f.policy),
		NameFrom:   export.NameFrom(f.nameFrom),
	}
}

func (a *app) export(ctx context.Context, f *exportFlags) error {
	if err := f.validate(); err != nil {
		return err
	}
	if f.fromTerraform != "" {
		return a.exportTerraform(ctx, f)
	}
	s, err := a.connect(ctx)
	if err != nil {
		return err
	}
	account, err := s.scan(ctx, s.accountSID, nil, false)
	if err != nil {
		return err
	}
	var numbers []export.Number
	for _, n := range account.Numbers {
		if len(n.AddOns) > 0 || f.all {
			numbers = append(numbers, exported(n))
		}
	}
	files, err := export.Files(numbers, f.options(a.givenNamespace()))
	if err != nil {
		return err
	}
	if _, err := a.reread(ctx, files); err != nil {
		return err
	}
	return a.put(f, files, nil)
}

func exported(n live.Number) export.Number {
	out := export.Number{SID: n.SID, E164: n.PhoneNumber.PhoneNumber, FriendlyName: n.FriendlyName}
	for _, addOn := range n.AddOns {
		out.AddOns = append(out.AddOns, export.AddOn{SID: addOn.SID, UniqueName: addOn.UniqueName, FriendlyName: addOn.FriendlyName})
	}
	return out
}

// reread reads back what is about to be written, as a check: nothing leaves that a
// cluster would refuse.
func (a *app) reread(ctx context.Context, files []export.File) (*manifests.Set, error) {
	schemas, err := manifests.NewSchemas()
	if err != nil {
		return nil, err
	}
	source := manifests.Source{Paths: []string{manifests.Stdin}, Stdin: bytes.NewReader(export.Join(files))}
	set, err := manifests.Load(ctx, schemas, source, "default", nil)
	switch {
	case err != nil:
		return nil, err
	case len(set.Problems) > 0:
		return nil, fmt.Errorf("a manifest would not be valid: %s", set.Problems[0].Message)
	case len(set.Assignments) != len(files):
		return nil, fmt.Errorf("of %s only %d can be read back", count(len(files), "manifest"), len(set.Assignments))
	}
	return set, nil
}

// put writes the manifests where the flags say, and the other outputs after them. The
// kustomization comes last: with it the folder is complete.
func (a *app) put(f *exportFlags, files []export.File, others []output) error {
	var outputs []output
	switch {
	case f.outputDir != "":
		for _, file := range files {
			outputs = append(outputs, output{filepath.Join(f.outputDir, file.Name), file.Content})
		}
		if f.kustomization {
			k := export.Kustomization(files)
			others = append(others, output{filepath.Join(f.outputDir, k.Name), k.Content})
		}
	case f.outputFile != "":
		outputs = append(outputs, output{f.outputFile, export.Join(files)})
	}
	if err := writeFiles(append(outputs, others...), f.overwrite); err != nil {
		return err
	}
	if f.outputDir == "" && f.outputFile == "" {
		return write(a.Out, string(export.Join(files)))
	}
	a.note("%s in %s", count(len(files), "manifest"), strings.TrimSuffix(f.outputDir+f.outputFile, "/"))
	return nil
}
