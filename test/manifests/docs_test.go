// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// readyReasons are the reasons of the Ready condition, of both kinds, from the source.
func readyReasons(t *testing.T) map[string]bool {
	t.Helper()
	reasons := map[string]bool{}
	for _, decl := range parseGo(t, "api/v1alpha1/conditions.go").Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok || !strings.HasPrefix(group.Doc.Text(), "Reasons of the Ready condition") {
			continue
		}
		for _, spec := range group.Specs {
			reasons[stringOf(t, spec.(*ast.ValueSpec).Values[0])] = true
		}
	}
	if len(reasons) < 2 {
		t.Fatal("found no reasons in api/v1alpha1/conditions.go")
	}
	return reasons
}

// managerFlags are the manager's own flags, from the source, and those of the libraries
// that it passes on.
func managerFlags(t *testing.T) map[string]bool {
	t.Helper()
	flags := map[string]bool{
		"kubeconfig": true, "zap-devel": true, "zap-encoder": true, "zap-log-level": true,
		"zap-stacktrace-level": true, "zap-time-encoding": true,
	}
	maps.Copy(flags, ownFlags(t))
	return flags
}

func ownFlags(t *testing.T) map[string]bool {
	t.Helper()
	return flagsIn(t, "cmd/manager/*.go")
}

// flagsIn are the flags that the source files bind to variables, as in StringVar(&v, "name", …).
func flagsIn(t *testing.T, pattern string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, pattern))
	if err != nil {
		t.Fatal(err)
	}
	flags := map[string]bool{}
	for _, file := range files {
		path, err := filepath.Rel(root, file)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parseGo(t, path), func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) < 4 {
				return true
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			if ok && (strings.HasSuffix(method.Sel.Name, "Var") || strings.HasSuffix(method.Sel.Name, "VarP")) {
				flags[stringOf(t, call.Args[1])] = true
			}
			return true
		})
	}
	if len(flags) == 0 {
		t.Fatalf("found no flags in %s", pattern)
	}
	return flags
}

// The manager and the simulator run beside each other on one machine with their defaults.
func TestDefaultPortsDiffer(t *testing.T) {
	port := regexp.MustCompile(`^"[^"]*:(\d+)"$`)
	owners := map[string]string{}
	for _, path := range []string{"cmd/manager/main.go", "cmd/twiliosim/main.go"} {
		found := 0
		ast.Inspect(parseGo(t, path), func(n ast.Node) bool {
			text, ok := n.(*ast.BasicLit)
			if !ok {
				return true
			}
			if match := port.FindStringSubmatch(text.Value); match != nil {
				found++
				if other := owners[match[1]]; other != "" {
					t.Errorf("%s and %s both listen on port %s", other, path, match[1])
				}
				owners[match[1]] = path
			}
			return true
		})
		if found < 2 {
			t.Errorf("found %d ports in %s", found, path)
		}
	}
}

func parseGo(t *testing.T, path string) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, path), nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func stringOf(t *testing.T, expr ast.Expr) string {
	t.Helper()
	text, err := strconv.Unquote(expr.(*ast.BasicLit).Value)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// pages are the pages of the documentation, by path from the root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	add := func(path string) {
		content, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		found[path] = string(content)
	}
	for _, path := range []string{"README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "charts/twilio-addon-operator/README.md"} {
		add(path)
	}
	err := fs.WalkDir(os.DirFS(root), "docs", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") {
			add(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

var heading = regexp.MustCompile(`(?m)^#+ (.+)$`)

// anchors are what a page's headings can be linked by.
func anchors(page string) map[string]bool {
	found := map[string]bool{}
	for _, match := range heading.FindAllStringSubmatch(page, -1) {
		found[anchorOf(match[1])] = true
	}
	return found
}

func anchorOf(title string) string {
	title = regexp.MustCompile(`[^\w\- ]`).ReplaceAllString(strings.ToLower(title), "")
	return strings.ReplaceAll(title, " ", "-")
}

// So has every alert, which links to it.
func TestEveryReasonHasASection(t *testing.T) {
	var sections []string
	for _, match := range regexp.MustCompile(`(?m)^### ([A-Z]\w+)$`).FindAllStringSubmatch(pages(t)["docs/troubleshooting.md"], -1) {
		sections = append(sections, match[1])
	}
	slices.Sort(sections)
	want := slices.Sorted(slices.Values(slices.AppendSeq(alertNames(t), maps.Keys(readyReasons(t)))))
	if diff := cmp.Diff(want, sections); diff != "" {
		t.Errorf("sections of docs/troubleshooting.md (-reasons and alerts +sections):\n%s", diff)
	}
}

// othersFlags are the flags in the documentation that are neither the manager's nor the
// plugin's.
var othersFlags = map[string]string{
	"all": "kubectl", "all-namespaces": "kubectl", "as": "kubectl", "ignore-not-found": "kubectl",
	"field-selector": "kubectl", "for": "kubectl", "from-file": "kubectl", "from-literal": "kubectl", "namespace": "kubectl",
	"output": "kubectl", "overwrite": "kubectl", "server-side": "kubectl", "timeout": "kubectl", "type": "kubectl",
	"show-labels": "kubectl", "kustomize": "kubectl", "patch-file": "kubectl", "cascade": "argocd", "wait": "kubectl", "patch": "kubectl", "clusterrole": "kubectl", "serviceaccount": "kubectl",
	"enable-feature": "Prometheus", "exit": "the demo", "scenario": "the bench", "counts-only": "the bench", "profiles": "the bench",
	"docker-server": "kubectl", "docker-username": "kubectl", "docker-password": "kubectl",
	"body-file": "gh", "edit-last": "gh", "create-if-none": "gh",
	"set": "Helm", "take-ownership": "Helm", "force-conflicts": "Helm", "reuse-values": "Helm",
}

func TestFlagsInTheDocsExist(t *testing.T) {
	known, own := managerFlags(t), ownFlags(t)
	maps.Copy(known, flagsIn(t, "internal/cli/*.go"))
	flag := regexp.MustCompile("(?:^|[\\s`\"(=])--([a-z][a-z-]*)")
	for path, page := range pages(t) {
		for _, match := range flag.FindAllStringSubmatch(page, -1) {
			if name := match[1]; !known[name] && othersFlags[name] == "" {
				t.Errorf("%s: neither the manager nor the plugin has a flag --%s", path, name)
			}
		}
	}
	for name := range own {
		if !strings.Contains(pages(t)["docs/reference.md"], "`--"+name+"`") {
			t.Errorf("docs/reference.md does not describe the manager's flag --%s", name)
		}
	}
}

// The workflows, and what they run, call make targets and scripts that exist.
func TestWorkflowsCallWhatExists(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, ".github", "workflows", "*.yml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no workflow: %v", err)
	}
	call := regexp.MustCompile(`(?m)(?:^|\s)make((?: [a-z][a-z-]*)+)(?: |$)`)
	script := regexp.MustCompile(`\.ci/\w+`)
	calls := 0
	for _, file := range append(files, filepath.Join(root, ".ci", "run")) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		content := regexp.MustCompile(`(?m)^\s*#.*$`).ReplaceAllString(string(text), "")
		for _, match := range call.FindAllStringSubmatch(content, -1) {
			for target := range strings.FieldsSeq(match[1]) {
				calls++
				if !strings.Contains(string(makefile), "\n"+target+":") {
					t.Errorf("%s: the Makefile has no target %s", filepath.Base(file), target)
				}
			}
		}
		for _, path := range script.FindAllString(content, -1) {
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s: %v", filepath.Base(file), err)
			}
		}
	}
	if calls < 10 {
		t.Errorf("found only %d calls of make", calls)
	}
}

func TestMakeTargetsInTheDocsExist(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	mentioned := regexp.MustCompile("(?m)(?:^|`)make ([a-z][a-z- ]*)")
	for path, page := range pages(t) {
		for _, match := range mentioned.FindAllStringSubmatch(page, -1) {
			for target := range strings.FieldsSeq(match[1]) {
				if !strings.Contains(string(makefile), "\n"+target+":") {
					t.Errorf("%s: the Makefile has no target %s", path, target)
				}
			}
		}
	}
}

func TestLinksInTheDocsLead(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)]+)\)`)
	for path, page := range pages(t) {
		for _, match := range link.FindAllStringSubmatch(page, -1) {
			if strings.Contains(match[1], "://") {
				continue
			}
			file, anchor, _ := strings.Cut(match[1], "#")
			target := path
			if file != "" {
				target = filepath.Join(filepath.Dir(path), file)
			}
			content, err := os.ReadFile(filepath.Join(root, target))
			if info, statErr := os.Stat(filepath.Join(root, target)); statErr == nil && info.IsDir() {
				err = nil
			}
			if err != nil {
				t.Errorf("%s: %s leads nowhere", path, match[1])
			} else if anchor != "" && !anchors(string(content))[anchor] {
				t.Errorf("%s: %s has no heading for #%s", path, target, anchor)
			}
		}
	}
}

// The API server takes every object that the documentation shows.
func TestExamplesInTheDocsApply(t *testing.T) {
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```")
	count := 0
	for path, page := range pages(t) {
		for _, match := range block.FindAllStringSubmatch(page, -1) {
			objects, err := decode(strings.NewReader(match[1]))
			if err != nil {
				t.Errorf("%s: %v in\n%s", path, err, match[1])
				continue
			}
			for _, object := range objects {
				if object.GetAPIVersion() == "" {
					continue // part of an object
				}
				if object.GetNamespace() == "telephony" {
					object.SetNamespace("default")
				}
				if namespaced, err := cluster.IsObjectNamespaced(object); err == nil && namespaced && object.GetNamespace() == "" {
					object.SetNamespace("default")
				}
				count++
				if err := apply(t.Context(), object, client.DryRunAll, client.ForceOwnership); err != nil {
					t.Errorf("%s: applying %s: %v", path, describe(object), err)
				}
			}
		}
	}
	if count == 0 {
		t.Error("found no example")
	}
}

// eventually waits for something that another process brings about.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// What the documentation tells of the metrics is all there is, and all of it.
func TestMetricsInTheDocs(t *testing.T) {
	told := map[string]bool{}
	for _, page := range pages(t) {
		for _, name := range ownMetric.FindAllString(page, -1) {
			told[name] = true
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(ownMetrics())), slices.Sorted(maps.Keys(told))); diff != "" {
		t.Errorf("metrics (-registered +documented):\n%s", diff)
	}
}
