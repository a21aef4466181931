// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cli is the kubectl plugin "kubectl twilio-addons". The commands here read
// flags, gather what there is in Twilio and in the cluster, and print; what they print is
// decided by the pure packages below.
package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/cli/live"
)

// Options are what a run has from its surroundings.
type Options struct {
	Args    []string
	Streams genericiooptions.IOStreams
	Getenv  func(string) string
	Version string
	// Patience is how long the program waits at a time while Twilio fails or throttles,
	// before it gives up. Default 10 s.
	Patience time.Duration
}

// app is what all commands share.
type app struct {
	genericiooptions.IOStreams
	getenv  func(string) string
	version string
	// patience is that of Options.
	patience time.Duration
	kube     *genericclioptions.ConfigFlags
	twilio   twilioFlags
}

// exit is an error with an exit code of its own. Without a message nothing is printed:
// the command has said everything.
type exit struct {
	code    int
	message string
}

func (e exit) Error() string { return e.message }

// Run runs one command and returns its exit code: 0, or 1 for an error, which is one
// sentence on the error stream, or what the command documents.
func Run(ctx context.Context, o Options) int {
	a := &app{
		IOStreams: o.Streams, getenv: o.Getenv, version: o.Version, kube: genericclioptions.NewConfigFlags(true),
		patience: cmp.Or(o.Patience, live.DefaultPatience),
	}
	root := a.command()
	root.SetArgs(o.Args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[exit](err); ok {
		if e.message != "" {
			fmt.Fprintf(a.ErrOut, "error: %s\n", e.message)
		}
		return e.code
	}
	fmt.Fprintf(a.ErrOut, "error: %s\n", explain(ctx, err))
	return 1
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "kubectl-twilio_addons",
		Short: "Manage the add-ons of Twilio phone numbers with twilio-addon-operator",
		Long: `Bring existing numbers under management, see what a change of manifests does in
Twilio before it is merged, and see and steer what the operator does.

Commands that talk to Twilio take their credential from the environment:
TWILIO_ACCOUNT_SID with TWILIO_API_KEY and TWILIO_API_SECRET, or with
TWILIO_AUTH_TOKEN. With --account NAME they take that of a TwilioAccount,
if you may read its Secret. No command writes to Twilio.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl twilio-addons"},
	}
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.ErrOut)
	a.kube.AddFlags(root.PersistentFlags())
	a.hideRareFlags(root)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return err })
	root.AddCommand(a.exportCommand(), a.planCommand(), a.statusCommand(), a.inventoryCommand(),
		a.approveCommand(), a.releaseCommand(), a.reconcileCommand(), a.suspendCommand(), a.resumeCommand(),
		a.doctorCommand(), a.versionCommand())
	a.completeNamespaces(root)
	return root
}

// hideRareFlags keeps the flags of every kubectl command out of the help of each of ours,
// but for the few that people use.
func (a *app) hideRareFlags(root *cobra.Command) {
	for _, name := range []string{
		"as", "as-group", "as-uid", "as-user-extra", "cache-dir", "certificate-authority", "client-certificate", "client-key",
		"cluster", "disable-compression", "insecure-skip-tls-verify", "request-timeout", "server",
		"tls-server-name", "token", "user",
	} {
		if flag := root.PersistentFlags().Lookup(name); flag != nil {
			flag.Hidden = true
		}
	}
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(a.Out, "kubectl twilio-addons %s (%s, %s/%s)\n", a.version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

// colour says whether the output goes to a terminal whose owner wants colours.
func (a *app) colour() bool {
	return a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb" && isTerminal(a.Out)
}

func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// write puts a whole output out in one piece.
func write(to io.Writer, text string) error {
	_, err := io.WriteString(to, text)
	return err
}

// note tells something that is not the result.
func (a *app) note(format string, args ...any) {
	fmt.Fprintf(a.ErrOut, strings.TrimRight(format, "\n")+"\n", args...)
}
