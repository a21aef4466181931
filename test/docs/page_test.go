// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
)

const patience = 2 * time.Minute

// block is a fenced block of commands, or of YAML that the page says to save and apply.
type block struct {
	text string
	// console is set for a block that shows commands with their output.
	console bool
	// notRun is the reason of a block that no test runs.
	notRun string
	// file is the name under which the page says to save the YAML, and command applies it.
	file, command string
}

var (
	// fence is a block with the mark or the sentence before it, if there is one.
	fence = regexp.MustCompile("(?s)(?:<!-- not run: ([^\n]*) -->\n|Save this as `([^`\n]+)` and apply it with `([^`\n]+)`:\n\n)?" +
		"( *)```(sh|bash|shell|console|yaml)\n(.*?\n) *```")
	markLine = regexp.MustCompile(`(?m)^ *<!-- not run:.*$`)
	prompt   = regexp.MustCompile(`(?m)^\$ (.*)$`)
)

// blocksOf returns what a page tells its reader to run, in its order.
func blocksOf(t *testing.T, path string) []block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testenv.Root(), path))
	if err != nil {
		t.Fatal(err)
	}
	var all []block
	marks := 0
	for _, m := range fence.FindAllStringSubmatch(string(text), -1) {
		b := block{notRun: m[1], file: m[2], command: m[3], console: m[5] == "console"}
		if m[5] == "yaml" && b.file == "" {
			continue // test/manifests applies every example
		}
		for line := range strings.Lines(m[6]) {
			b.text += strings.TrimPrefix(line, m[4])
		}
		if b.notRun != "" {
			marks++
		}
		all = append(all, b)
	}
	if lines := markLine.FindAllString(string(text), -1); len(lines) != marks {
		t.Errorf("%s: %d marks, and %d are directly before a block and give a reason", path, len(lines), marks)
	}
	return all
}

// pagesWithCommands are the pages that have a block which is not marked.
func pagesWithCommands(t *testing.T) []string {
	t.Helper()
	paths := []string{"README.md", "CONTRIBUTING.md", "SECURITY.md", "charts/twilio-addon-operator/README.md"}
	err := fs.WalkDir(os.DirFS(testenv.Root()), "docs", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(paths, func(path string) bool {
		return !slices.ContainsFunc(blocksOf(t, path), func(b block) bool { return b.notRun == "" })
	})
}

// page is a reader who follows a page with a shell, as a cluster admin.
type page struct {
	*testing.T
	dir     string
	env     []string
	blocks  []block // that are left
	manager *testenv.Process
}

func newPage(t *testing.T, path string) *page {
	t.Helper()
	p := &page{T: t, dir: t.TempDir(), blocks: blocksOf(t, path)}
	p.blocks = slices.DeleteFunc(p.blocks, func(b block) bool { return b.notRun != "" })
	p.must(
		sim.Admin.ClearFaults(t.Context()),
		sim.Admin.Restore(t.Context(), twilio),
		os.Mkdir(filepath.Join(p.dir, "dist"), 0o700),
		os.Symlink(installYAML, filepath.Join(p.dir, "dist", "install.yaml")),
		os.Symlink(filepath.Join(testenv.Root(), "config"), filepath.Join(p.dir, "config")),
		os.Symlink(filepath.Join(testenv.Root(), "charts"), filepath.Join(p.dir, "charts")),
		os.WriteFile(filepath.Join(p.dir, "api-key-secret"), []byte(apiKeySecret), 0o600),
		os.WriteFile(filepath.Join(p.dir, "session"), nil, 0o600),
	)
	p.env = append(os.Environ(), "PATH="+tools+":"+os.Getenv("PATH"), "HOME="+p.dir, "KUBECONFIG="+env.Kubeconfig)
	t.Cleanup(p.clear)
	return p
}

// clear leaves the cluster as it was before the page, with the operator installed.
func (p *page) clear() {
	ctx := context.Background()
	if p.manager != nil {
		p.must(p.manager.Stop())
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	p.must(env.Clear(ctx), client.IgnoreNotFound(env.Client.Delete(ctx, ns)))
	p.gone(ns)
}

func (p *page) must(errs ...error) {
	p.Helper()
	if err := errors.Join(errs...); err != nil {
		p.Fatal(err)
	}
}

func (p *page) eventually(what string, holds func() error) {
	p.Helper()
	p.must(testenv.Wait(context.Background(), patience, what, holds))
}

func (p *page) gone(object client.Object) {
	p.Helper()
	p.eventually(object.GetName()+" is gone", func() error {
		err := env.Client.Get(context.Background(), client.ObjectKeyFromObject(object), object)
		if err == nil {
			return errors.New("it is there")
		}
		return client.IgnoreNotFound(err)
	})
}

// sh runs a script with bash and returns what it printed. What a script exports is there
// for the next one.
func (p *page) sh(script string) string {
	p.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(p.Context()), "bash", "-e", "-o", "pipefail", "-c", ". ./session\n"+script+"\nexport -p > session")
	cmd.Dir, cmd.Env = p.dir, p.env
	if p.manager != nil {
		cmd.Env = append(cmd.Env, "MANAGER_LOG="+p.manager.Log)
	}
	out, err := cmd.CombinedOutput()
	p.Logf("%s\n%s", script, out[max(0, len(out)-2000):])
	p.must(err)
	return string(out)
}

// follow runs the blocks up to the one that contains the text, and returns what that one
// printed.
func (p *page) follow(text string) string {
	p.Helper()
	last := slices.IndexFunc(p.blocks, func(b block) bool { return strings.Contains(b.text, text) })
	if last < 0 {
		p.Fatalf("no block that is left contains %q", text)
	}
	var out string
	for _, b := range p.blocks[:last+1] {
		out = p.run(b)
	}
	p.blocks = p.blocks[last+1:]
	return out
}

// ahead runs the one block that contains the text before those that the page has ahead of it.
func (p *page) ahead(text string) string {
	p.Helper()
	at := slices.IndexFunc(p.blocks, func(b block) bool { return strings.Contains(b.text, text) })
	if at < 0 {
		p.Fatalf("no block that is left contains %q", text)
	}
	b := p.blocks[at]
	p.blocks = slices.Delete(p.blocks, at, at+1)
	return p.run(b)
}

func (p *page) run(b block) string {
	p.Helper()
	switch {
	case b.file != "":
		// Twilio is the simulated one.
		text := strings.Replace(b.text, "  accountSID:", "  apiBaseURL: "+sim.URL+"\n  accountSID:", 1)
		p.must(os.WriteFile(filepath.Join(p.dir, b.file), []byte(text), 0o600))
		return p.sh(b.command)
	case b.console:
		var out strings.Builder
		for _, command := range prompt.FindAllStringSubmatch(b.text, -1) {
			out.WriteString(p.sh(command[1]))
		}
		p.sameTable(b.text, out.String())
		return out.String()
	default:
		return p.sh(b.text)
	}
}

// sameTable compares the rows, except for their last column, the age.
func (p *page) sameTable(shown, printed string) {
	p.Helper()
	rows := func(text string) (rows []string) {
		for line := range strings.Lines(prompt.ReplaceAllString(text, "")) {
			if cells := strings.Fields(line); len(cells) > 0 {
				rows = append(rows, strings.Join(cells[:len(cells)-1], " "))
			}
		}
		return rows
	}
	if !slices.Equal(rows(shown), rows(printed)) {
		p.Errorf("the page shows\n%s\nand the command prints\n%s", shown, printed)
	}
}

// says checks what a command printed.
func (p *page) says(printed string, parts ...string) {
	p.Helper()
	for _, part := range parts {
		if !strings.Contains(printed, part) {
			p.Errorf("no %q in\n%s", part, printed)
		}
	}
}

func (p *page) startManager() {
	p.Helper()
	manager, err := env.StartManager(p.Context(), "--leader-elect-lease-duration=1m")
	p.must(err)
	p.manager = manager
}

func (p *page) stopManager() {
	p.Helper()
	p.must(p.manager.Stop())
	p.manager = nil
}

// rollOut says in a Deployment's status what the controller of Deployments would say.
func rollOut(ctx context.Context, name string) error {
	d := &appsv1.Deployment{}
	if err := env.Client.Get(ctx, client.ObjectKey{Namespace: testenv.Namespace, Name: name}, d); err != nil {
		return err
	}
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1}
	return env.Client.Status().Update(ctx, d)
}

// getStarted follows the README from the first account to the first number.
func (p *page) getStarted() {
	p.Helper()
	readme := &page{T: p.T, dir: p.dir, env: p.env, manager: p.manager, blocks: blocksOf(p.T, "README.md")}
	first := slices.IndexFunc(readme.blocks, func(b block) bool { return strings.Contains(b.text, "create namespace") })
	readme.blocks = readme.blocks[max(0, first):]
	readme.firstSteps()
	p.manager = readme.manager
}

// firstSteps are what the README says of the first account and the first number.
func (p *page) firstSteps() {
	p.Helper()
	p.follow("kind: TwilioAccount")
	if p.manager == nil {
		p.startManager()
	}
	p.says(p.follow("kubectl wait"), "condition met")
	p.follow("kind: PhoneNumberAddOnAssignment")
	p.ready("support-line", v1alpha1.ReasonSynced)
	p.assigned(supportLine, transcription, spamScore)
}

// ready waits for the reason of an object's condition Ready.
func (p *page) ready(name, reason string) {
	p.Helper()
	object := &v1alpha1.PhoneNumberAddOnAssignment{}
	p.eventually(name+" is "+reason, func() error {
		if err := env.Client.Get(p.Context(), client.ObjectKey{Namespace: namespace, Name: name}, object); err != nil {
			return err
		}
		if object.Status.ObservedGeneration != object.Generation {
			return errors.New("the generation was not observed")
		}
		return testenv.Says(object.Status.Conditions, reason)
	})
}

// accountIs waits for the reason of the account's condition Ready.
func (p *page) accountIs(reason string) {
	p.Helper()
	object := &v1alpha1.TwilioAccount{}
	p.eventually("the account is "+reason, func() error {
		if err := env.Client.Get(p.Context(), client.ObjectKey{Name: "default"}, object); err != nil {
			return err
		}
		return testenv.Says(object.Status.Conditions, reason)
	})
}

// assigned checks the add-ons of a number in Twilio.
func (p *page) assigned(number string, want ...string) {
	p.Helper()
	p.eventually("the add-ons of "+number, func() error {
		got, err := sim.Admin.Assigned(p.Context(), number)
		slices.Sort(got)
		slices.Sort(want)
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("%v, want %v", got, want)
		}
		return err
	})
}

// apply creates an object of the two kinds.
func (p *page) apply(name, number, spec string) {
	p.Helper()
	manifest := fmt.Sprintf("apiVersion: %s\nkind: PhoneNumberAddOnAssignment\nmetadata: {name: %s, namespace: %s}\nspec: {phoneNumberSID: %s, %s}\n",
		v1alpha1.GroupVersion, name, namespace, number, spec)
	p.must(env.Apply(p.Context(), []byte(manifest)))
}

func (p *page) object(name string) *v1alpha1.PhoneNumberAddOnAssignment {
	p.Helper()
	object := &v1alpha1.PhoneNumberAddOnAssignment{}
	p.must(env.Client.Get(p.Context(), client.ObjectKey{Namespace: namespace, Name: name}, object))
	return object
}

func (p *page) account() *v1alpha1.TwilioAccount {
	p.Helper()
	object := &v1alpha1.TwilioAccount{}
	p.must(env.Client.Get(p.Context(), client.ObjectKey{Name: "default"}, object))
	return object
}
