// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package oldest tests without a cluster that what the operator installs suits the oldest
// Kubernetes that is promised: its CEL, and the fields of its APIs. "make test-oldest" runs
// other tests against an API server of that version.
package oldest

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apimachinery/pkg/util/version"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"sigs.k8s.io/yaml"

	"github.com/twilio-addon-operator/twilio-addon-operator/config/crd"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/devbuild"
)

// oldest is the oldest Kubernetes that the documentation promises.
var oldest = version.MajorMinor(1, 32)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(devbuild.Root(), path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Whoever promises another version changes it here, too.
func TestPromises(t *testing.T) {
	for path, promise := range map[string]string{
		"README.md":       "Kubernetes %s or newer",
		"docs/install.md": "| %s and newer |",
		"charts/twilio-addon-operator/Chart.yaml": "kubeVersion: \">=%s.0-0\"",
	} {
		if want := fmt.Sprintf(promise, oldest); !strings.Contains(read(t, path), want) {
			t.Errorf("%s does not say %q", path, want)
		}
	}
}

// expressions compiles the rules of a schema and of what is in it, and returns how many
// there are and the first error.
func expressions(s *structuralschema.Structural, root bool, env *environment.EnvSet) (int, error) {
	results, err := cel.Compile(s, model.SchemaDeclType(s, root), celconfig.PerCallLimit, env, cel.NewExpressionsEnvLoader())
	count := len(results)
	for _, result := range results {
		if err == nil && result.Error != nil {
			err = result.Error
		}
		if err == nil && result.MessageExpressionError != nil {
			err = result.MessageExpressionError
		}
	}
	inner := slices.Collect(maps.Values(s.Properties))
	if s.Items != nil {
		inner = append(inner, *s.Items)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Structural != nil {
		inner = append(inner, *s.AdditionalProperties.Structural)
	}
	for i := range inner {
		n, innerErr := expressions(&inner[i], false, env)
		count += n
		if err == nil {
			err = innerErr
		}
	}
	return count, err
}

func structural(t *testing.T, props *apiextensionsv1.JSONSchemaProps) *structuralschema.Structural {
	t.Helper()
	var internal apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(props, &internal, nil); err != nil {
		t.Fatal(err)
	}
	s, err := structuralschema.NewStructural(&internal)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func definitions(t *testing.T) map[string]*apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	files, err := crd.Files()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*apiextensionsv1.CustomResourceDefinition{}
	for name, text := range files {
		all[name] = &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(text, all[name]); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func TestRulesOfTheKinds(t *testing.T) {
	env := environment.MustBaseEnvSet(oldest)
	for name, definition := range definitions(t) {
		for _, v := range definition.Spec.Versions {
			count, err := expressions(structural(t, v.Schema.OpenAPIV3Schema), true, env)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if count < 5 {
				t.Errorf("%s: only %d rules were found", name, count)
			}
		}
	}
}

// policies are the ValidatingAdmissionPolicies of config/admission.
func policies(t *testing.T) []*admissionregistrationv1.ValidatingAdmissionPolicy {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(devbuild.Root(), "config", "admission", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var all []*admissionregistrationv1.ValidatingAdmissionPolicy
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for document := range strings.SplitSeq(string(text), "\n---\n") {
			if !strings.Contains(document, "kind: ValidatingAdmissionPolicy\n") {
				continue
			}
			policy := &admissionregistrationv1.ValidatingAdmissionPolicy{}
			if err := yaml.UnmarshalStrict([]byte(document), policy); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			all = append(all, policy)
		}
	}
	if len(all) < 3 {
		t.Fatalf("found %d policies", len(all))
	}
	return all
}

// compilePolicy returns the errors of a policy's expressions.
func compilePolicy(t *testing.T, policy *admissionregistrationv1.ValidatingAdmissionPolicy, env *environment.EnvSet) []string {
	t.Helper()
	compiler, err := plugincel.NewCompositedCompiler(env)
	if err != nil {
		t.Fatal(err)
	}
	var errs []string
	compile := func(what plugincel.ExpressionAccessor, result plugincel.CompilationResult) {
		if result.Error != nil {
			errs = append(errs, what.GetExpression()+": "+result.Error.Error())
		}
	}
	options := plugincel.OptionalVariableDeclarations{HasParams: policy.Spec.ParamKind != nil, HasAuthorizer: true}
	for _, v := range policy.Spec.Variables {
		variable := &validating.Variable{Name: v.Name, Expression: v.Expression}
		compile(variable, compiler.CompileAndStoreVariable(variable, options, environment.NewExpressions))
	}
	for _, v := range policy.Spec.Validations {
		condition := &validating.ValidationCondition{Expression: v.Expression}
		compile(condition, compiler.CompileCELExpression(condition, options, environment.NewExpressions))
		if v.MessageExpression != "" {
			message := &validating.MessageExpressionCondition{MessageExpression: v.MessageExpression}
			compile(message, compiler.CompileCELExpression(message, options, environment.NewExpressions))
		}
	}
	return errs
}

func TestRulesOfThePolicies(t *testing.T) {
	for _, policy := range policies(t) {
		for _, err := range compilePolicy(t, policy, environment.MustBaseEnvSet(oldest)) {
			t.Errorf("%s: %s", policy.Name, err)
		}
	}
}

// The two tests above notice a function that is newer than the oldest version.
func TestNewerFunctionIsNoticed(t *testing.T) {
	const newer = "isSemver('1.0.0')" // since 1.33
	schema := structural(t, &apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{
		"list": {Type: "array", Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &apiextensionsv1.JSONSchemaProps{
			Type: "string", XValidations: apiextensionsv1.ValidationRules{{Rule: newer}},
		}}},
	}})
	policy := policies(t)[0].DeepCopy()
	policy.Spec.Validations[0].Expression = newer
	for v, known := range map[*version.Version]bool{oldest: false, version.MajorMinor(1, 33): true} {
		env := environment.MustBaseEnvSet(v)
		if _, err := expressions(schema, true, env); (err == nil) != known {
			t.Errorf("%s: the rule of a kind: %v", v, err)
		}
		if errs := compilePolicy(t, policy, env); (len(errs) == 0) != known {
			t.Errorf("%s: the rule of a policy: %q", v, errs)
		}
	}
}

// since says which minor version of Kubernetes made a field stable that the definitions or
// the policies use. A field that is older than every supported version stands for 0.
var since = map[string]int{
	"selectableFields":         32,
	"x-kubernetes-validations": 29,
	"rule":                     29,
	"paramKind":                30,
	"matchConstraints":         30,
	"resourceRules":            30,
	"variables":                30,
	"validations":              30,
	"expression":               30,
	"messageExpression":        30,
	"policyName":               30,
	"validationActions":        30,
	"paramRef":                 30,
	"parameterNotFoundAction":  30,
	"matchResources":           30,
}

// ever are fields that each supported version has.
var ever = regexp.MustCompile(`^(additionalPrinterColumns|additionalProperties|annotations|anyOf|apiGroups|apiVersion|apiVersions|` +
	`categories|default|description|enum|failurePolicy|format|group|items|jsonPath|kind|listKind|matchLabels|maxItems|maxLength|` +
	`maximum|message|metadata|minLength|minimum|name|names|namespace|namespaceSelector|openAPIV3Schema|operations|pattern|plural|` +
	`priority|properties|reason|required|resources|schema|scope|served|shortNames|singular|spec|status|storage|subresources|type|` +
	`versions|x-kubernetes-(int-or-string|list-map-keys|list-type|map-type))$`)

// fields collects the names of the fields of a manifest. What is below properties, default
// or a map of labels has names of its own.
func fields(value any, found map[string]bool) {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			fields(item, found)
		}
	case map[string]any:
		for name, inner := range value {
			found[name] = true
			properties, isMap := inner.(map[string]any)
			switch {
			case name == "properties" && isMap:
				for _, property := range properties {
					fields(property, found)
				}
			case name == "default", name == "annotations", name == "matchLabels":
			default:
				fields(inner, found)
			}
		}
	}
}

func TestFields(t *testing.T) {
	found := map[string]bool{}
	paths := []string{"config/crd/bases/*.yaml", "config/admission/[a-j]*.yaml", "config/admission/[l-z]*.yaml"} // not the kustomization
	for _, pattern := range paths {
		files, err := filepath.Glob(filepath.Join(devbuild.Root(), pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no file: %v", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for document := range strings.SplitSeq(string(text), "\n---\n") {
				var manifest map[string]any
				if err := yaml.Unmarshal([]byte(document), &manifest); err != nil {
					t.Fatal(err)
				}
				if manifest["kind"] != "ConfigMap" {
					fields(manifest, found)
				}
			}
		}
	}
	for name := range found {
		minor, newer := since[name]
		switch {
		case newer && minor > int(oldest.Minor()):
			t.Errorf("%s is stable since 1.%d", name, minor)
		case !newer && !ever.MatchString(name):
			t.Errorf("%s: look up since when it is stable, and add it to the list", name)
		}
	}
	for name := range since {
		if !found[name] {
			t.Errorf("%s is on the list, and nothing uses it", name)
		}
	}
}
