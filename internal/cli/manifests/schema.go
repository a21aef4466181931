// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"github.com/twilio-addon-operator/twilio-addon-operator/config/crd"
)

// kindSchema validates objects of one kind as the API server does.
type kindSchema struct {
	namespaced bool
	structural *structuralschema.Structural
	values     crdvalidation.SchemaValidator
	rules      *cel.Validator
}

// Schemas validate the kinds of the operator without a cluster, with the libraries of the
// API server and the schemas that the CustomResourceDefinitions have.
type Schemas struct {
	group, version string
	kinds          map[string]*kindSchema
}

// NewSchemas reads the schemas that are compiled in.
func NewSchemas() (*Schemas, error) {
	files, err := crd.Files()
	if err != nil {
		return nil, err
	}
	s := &Schemas{kinds: map[string]*kindSchema{}}
	for name, data := range files {
		if err := s.add(data); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return s, nil
}

func (s *Schemas) add(data []byte) error {
	var definition apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(data, &definition); err != nil {
		return err
	}
	version := definition.Spec.Versions[0]
	var internal apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(version.Schema.OpenAPIV3Schema, &internal, nil); err != nil {
		return err
	}
	structural, err := structuralschema.NewStructural(&internal)
	if err != nil {
		return err
	}
	values, _, err := crdvalidation.NewSchemaValidator(&internal)
	if err != nil {
		return err
	}
	s.group, s.version = definition.Spec.Group, version.Name
	s.kinds[definition.Spec.Names.Kind] = &kindSchema{
		namespaced: definition.Spec.Scope == apiextensionsv1.NamespaceScoped,
		structural: structural,
		values:     values,
		rules:      cel.NewValidator(structural, true, celconfig.PerCallLimit),
	}
	return nil
}

// Ours says whether an object is of the operator's group.
func (s *Schemas) Ours(o *unstructured.Unstructured) bool {
	return o.GroupVersionKind().Group == s.group
}

// Default fills in the defaults of the schema.
func (s *Schemas) Default(o *unstructured.Unstructured) {
	if kind := s.kinds[o.GetKind()]; kind != nil {
		defaulting.PruneNonNullableNullsWithoutDefaults(o.Object, kind.structural)
		defaulting.Default(o.Object, kind.structural)
	}
}

// Validate fills in the defaults and returns what the API server would refuse, with
// strict validation of fields: nothing if it would accept the object. With old, which
// has its defaults, it is an update.
func (s *Schemas) Validate(ctx context.Context, o, old *unstructured.Unstructured) field.ErrorList {
	if v := o.GroupVersionKind().Version; v != s.version {
		return field.ErrorList{field.NotSupported(field.NewPath("apiVersion"), o.GetAPIVersion(), []string{s.group + "/" + s.version})}
	}
	kind := s.kinds[o.GetKind()]
	if kind == nil {
		known := make([]string, 0, len(s.kinds))
		for name := range s.kinds {
			known = append(known, name)
		}
		slices.Sort(known)
		return field.ErrorList{field.NotSupported(field.NewPath("kind"), o.GetKind(), known)}
	}
	errs := append(kind.unknownFields(o), kind.metadata(o)...)
	s.Default(o)
	errs = append(errs, crdvalidation.ValidateCustomResource(nil, o.Object, kind.values)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, kind.structural, o.Object)...)
	if len(errs) > 0 || kind.rules == nil {
		return errs // rules may assume what the schema says
	}
	var oldObject map[string]any
	if old != nil {
		oldObject = old.Object
	}
	broken, _ := kind.rules.Validate(ctx, nil, kind.structural, o.Object, anyOrNil(oldObject), celconfig.RuntimeCELCostBudget)
	return broken
}

func anyOrNil(object map[string]any) any {
	if object == nil {
		return nil
	}
	return object
}

func (k *kindSchema) unknownFields(o *unstructured.Unstructured) field.ErrorList {
	unknown := pruning.PruneWithOptions(o.DeepCopy().Object, k.structural, true,
		structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	slices.Sort(unknown)
	var errs field.ErrorList
	for _, path := range unknown {
		errs = append(errs, field.Forbidden(pathOf(path), "unknown field"))
	}
	return errs
}

// pathOf keeps a path that is written already as it is.
func pathOf(path string) *field.Path {
	first, rest, ok := strings.Cut(path, ".")
	if !ok {
		return field.NewPath(first)
	}
	return field.NewPath(first, strings.Split(rest, ".")...)
}

func (k *kindSchema) metadata(o *unstructured.Unstructured) field.ErrorList {
	path := field.NewPath("metadata")
	meta := metav1.ObjectMeta{
		Name: o.GetName(), GenerateName: o.GetGenerateName(), Namespace: o.GetNamespace(),
		Labels: o.GetLabels(), Annotations: o.GetAnnotations(), Finalizers: o.GetFinalizers(),
	}
	switch {
	case meta.Name == "" && meta.GenerateName != "":
		return field.ErrorList{field.Invalid(path.Child("generateName"), meta.GenerateName, "kubectl apply needs a name")}
	case k.namespaced && meta.Namespace == "":
		meta.Namespace = "default" // whoever applies says where; the rest is checked
	case !k.namespaced:
		meta.Namespace = "" // ignored by whoever applies
	}
	return apivalidation.ValidateObjectMeta(&meta, k.namespaced, apivalidation.NameIsDNSSubdomain, path)
}
