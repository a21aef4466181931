// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/cli/review"
)

func root() *cobra.Command {
	a := &app{kube: genericclioptions.NewConfigFlags(true), getenv: func(string) string { return "" }}
	return a.command()
}

// Every command and flag in the documentation is there, and every command is documented.
func TestDocsAndCommandsAgree(t *testing.T) {
	pages, err := filepath.Glob("../../docs/cli/*.md")
	if err != nil || len(pages) < 5 {
		t.Fatalf("%v %v", pages, err)
	}
	var all strings.Builder
	for _, page := range pages {
		content, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(content)
	}
	text := all.String()
	cmd := root()
	for _, match := range regexp.MustCompile("kubectl twilio-addons ([a-z]+)([^\n|`]*)").FindAllStringSubmatch(text, -1) {
		sub, _, err := cmd.Find([]string{match[1]})
		if err != nil || sub == cmd {
			t.Errorf("there is no command %q", match[0])
			continue
		}
		for _, flag := range regexp.MustCompile(`--([a-z-]+)`).FindAllStringSubmatch(match[2], -1) {
			if sub.Flags().Lookup(flag[1]) == nil && cmd.PersistentFlags().Lookup(flag[1]) == nil {
				t.Errorf("%s has no flag --%s", sub.Name(), flag[1])
			}
		}
	}
	for _, sub := range cmd.Commands() {
		if !strings.Contains(text, "`"+sub.Name()) && !slices.Contains([]string{"version", "completion", "help"}, sub.Name()) {
			t.Errorf("docs/cli does not mention %s", sub.Name())
		}
	}
}

// The JSON of plan has the fields that the page tells of, and no others.
func TestJSONOfPlanIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/cli/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "## JSON of plan\n")
	told := map[string]bool{}
	for _, found := range regexp.MustCompile("`(?:[a-z]+\\[\\]\\.)?([a-zA-Z]+)(?:\\[\\])?`").FindAllStringSubmatch(section, -1) {
		told[found[1]] = true
	}
	if diff := cmp.Diff(fieldsOf(reflect.TypeFor[review.Review]()), told); diff != "" {
		t.Errorf("-the program +the page: %s", diff)
	}
}

// fieldsOf are the JSON names in a type and in what it is made of.
func fieldsOf(of reflect.Type) map[string]bool {
	found := map[string]bool{}
	if of.Kind() == reflect.Slice {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct {
		return found
	}
	for field := range of.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		found[name] = true
		maps.Copy(found, fieldsOf(field.Type))
	}
	return found
}

// Help texts are sentences, and no two flags of a command share a shorthand or a name.
func TestHelp(t *testing.T) {
	for _, sub := range root().Commands() {
		if sub.Short == "" || strings.HasSuffix(sub.Short, ".") || (sub.Name() != "version" && sub.Long == "") {
			t.Errorf("%s: short %q", sub.Name(), sub.Short)
		}
		sub.InitDefaultHelpFlag()
		sub.InheritedFlags() // merges, and panics where two share a shorthand
		sub.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" && f.Usage == "" {
				t.Errorf("%s --%s has no help", sub.Name(), f.Name)
			}
		})
		for line := range strings.Lines(sub.Long) {
			if len(line) > 84 {
				t.Errorf("%s: a line of %d characters: %s", sub.Name(), len(line), line)
			}
		}
	}
}

// Every command completes what it takes names of, those that write have --dry-run, and
// those that list have -o with json, yaml and name.
func TestCommandsAreOfOneKind(t *testing.T) {
	writes, lists := []string{"approve", "release", "reconcile", "suspend", "resume"}, []string{"status", "inventory"}
	neither := []string{"export", "plan", "doctor", "version"}
	for _, sub := range root().Commands() {
		if !slices.Contains(slices.Concat(writes, lists, neither), sub.Name()) {
			t.Errorf("say in this test whether %s writes to the cluster, or lists", sub.Name())
		}
		if takesNames := sub.Args == nil || sub.Args(sub, []string{"name"}) == nil; takesNames && sub.ValidArgsFunction == nil && !sub.HasSubCommands() {
			t.Errorf("%s takes names and completes none", sub.Name())
		}
		if has := sub.Flags().Lookup("dry-run") != nil; has != slices.Contains(writes, sub.Name()) {
			t.Errorf("%s: --dry-run is there: %t", sub.Name(), has)
		}
		for _, flag := range []string{"account", "account-ref", "output", "policy", "name-from"} {
			if sub.Flags().Lookup(flag) == nil {
				continue
			}
			if _, completes := sub.GetFlagCompletionFunc(flag); !completes {
				t.Errorf("%s --%s is not completed", sub.Name(), flag)
			}
		}
		if !slices.Contains(lists, sub.Name()) {
			continue
		}
		output := sub.Flags().Lookup("output")
		for _, form := range []string{"json", "yaml", "name"} {
			if output == nil || output.Shorthand != "o" || !strings.Contains(output.Usage, form) {
				t.Errorf("%s has no -o %s", sub.Name(), form)
			}
		}
	}
}

func TestVersionAndUnknownCommands(t *testing.T) {
	w := newWorld(t)
	if got := w.ok("version"); !strings.HasPrefix(got, "kubectl twilio-addons test (go") {
		t.Error(got)
	}
	for _, args := range [][]string{{"exprt"}, {"export", "--al"}, {"export", "x"}, {"status", "--tree=perhaps"}} {
		oneSentence(t, w.run(args...), "")
	}
	oneSentence(t, w.run("status", "--kubeconfig", "/nonexistent"), "")
}
