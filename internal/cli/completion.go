// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
)

// completeWithin bounds how long a shell waits for names out of a cluster.
const completeWithin = 3 * time.Second

// names lists what a name may be completed to.
type names func(ctx context.Context) ([]string, error)

// completeFlag completes a flag's value with live names. Without a cluster there are none.
// Registering fails only for a flag that does not exist.
func (a *app) completeFlag(cmd *cobra.Command, flag string, list names) {
	_ = cmd.RegisterFlagCompletionFunc(flag, completeWith(list))
}

func completeWith(list names) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
		defer cancel()
		found, err := list(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError | cobra.ShellCompDirectiveNoFileComp
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeArgs completes arguments with live names, each of them once, for as long as the command
// takes another one.
func completeArgs(list names) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if cmd.Args != nil && cmd.Args(cmd, append(slices.Clone(args), typed)) != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		found, directive := completeWith(list)(cmd, args, typed)
		return slices.DeleteFunc(found, func(choice string) bool {
			name, _, _ := strings.Cut(choice, "\t")
			return slices.Contains(args, name)
		}), directive
	}
}

// completeWords completes a flag's value with fixed words.
func completeWords(cmd *cobra.Command, flag string, words ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

func (a *app) completeNamespaces(root *cobra.Command) {
	a.completeFlag(root, "namespace", func(ctx context.Context) ([]string, error) {
		cl, err := a.cluster()
		if err != nil {
			return nil, err
		}
		list := &corev1.NamespaceList{}
		if err := cl.List(ctx, list); err != nil {
			return nil, err
		}
		var found []string
		for i := range list.Items {
			found = append(found, list.Items[i].Name)
		}
		return found, nil
	})
}

func (a *app) accountNames(ctx context.Context) ([]string, error) {
	cl, err := a.cluster()
	if err != nil {
		return nil, err
	}
	list, err := accounts(ctx, cl)
	var found []string
	for i := range list {
		found = append(found, list[i].Name)
	}
	return found, err
}

func (a *app) assignmentNames(ctx context.Context) ([]string, error) {
	cl, err := a.cluster()
	if err != nil {
		return nil, err
	}
	namespace, err := a.namespace()
	if err != nil {
		return nil, err
	}
	list, err := assignments(ctx, cl, namespace)
	var found []string
	for i := range list {
		found = append(found, list[i].Name+"\t"+list[i].Status.PhoneNumber)
	}
	return found, err
}
