// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/cli/overview"
)

func (a *app) inventoryCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "inventory",
		Short: "List the numbers of an account and who manages them",
		Long: `List each number of the account with the object that manages it. Findings come
first: numbers that several objects name, numbers that an object names and the
account does not have, and add-ons that no object manages.

Exit codes: 0 no finding, 1 an error, 2 findings.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.inventory(cmd.Context(), output) },
	}
	a.bindTwilio(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text, json, yaml or name.")
	completeWords(cmd, "output", "text", "json", "yaml", "name")
	return cmd
}

func (a *app) inventory(ctx context.Context, form string) error {
	if !slices.Contains([]string{"text", "json", "yaml", "name"}, form) {
		return fmt.Errorf("--output must be text, json, yaml or name, not %q", form)
	}
	cl, err := a.cluster()
	if err != nil {
		return err
	}
	s, err := a.connect(ctx)
	if err != nil {
		return err
	}
	known, err := accounts(ctx, cl)
	if err != nil {
		return err
	}
	all, err := assignments(ctx, cl, "")
	if err != nil {
		return err
	}
	scanned, err := s.scan(ctx, s.accountSID, nil, false)
	if err != nil {
		return err
	}
	items := overview.Inventory(scanned, ofAccount(all, known, s.accountSID))
	if err := a.printInventory(items, form); err != nil {
		return err
	}
	if slices.ContainsFunc(items, func(it overview.Item) bool { return it.State.Finding() }) {
		return exitWith(2)
	}
	return nil
}

// ofAccount picks the objects whose TwilioAccount is of the account.
func ofAccount(all []v1alpha1.PhoneNumberAddOnAssignment, known []v1alpha1.TwilioAccount, accountSID string) []v1alpha1.PhoneNumberAddOnAssignment {
	return slices.DeleteFunc(all, func(o v1alpha1.PhoneNumberAddOnAssignment) bool {
		return !slices.ContainsFunc(known, func(account v1alpha1.TwilioAccount) bool {
			return account.Name == o.Spec.AccountRef.Name && strings.EqualFold(string(account.Spec.AccountSID), accountSID)
		})
	})
}

func (a *app) printInventory(items []overview.Item, form string) error {
	if items == nil {
		items = []overview.Item{}
	}
	var out []byte
	var err error
	switch form {
	case "json":
		out, err = json.MarshalIndent(items, "", "  ")
		out = append(out, '\n')
	case "yaml":
		out, err = yaml.Marshal(items)
	case "name":
		for _, it := range items {
			out = append(out, it.NumberSID+"\n"...)
		}
	default:
		out = []byte(overview.InventoryTable(items))
	}
	if err != nil {
		return err
	}
	return write(a.Out, string(out))
}
