// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command schemas writes a JSON schema for each kind and version, made from the
// CustomResourceDefinitions, for tools that check manifests without a cluster: kubeconform,
// editors. They refuse unknown fields. The rules in CEL are left to the API server.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/twilio-addon-operator/twilio-addon-operator/config/crd"
)

func main() {
	output := flag.String("output", "dist/schemas", "folder to write to")
	flag.Parse()
	if err := run(*output); err != nil {
		fmt.Fprintln(os.Stderr, "schemas:", err)
		os.Exit(1)
	}
}

func run(output string) error {
	definitions, err := crd.Files()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(output, 0o755); err != nil {
		return err
	}
	for file, definition := range definitions {
		schemas, err := schemasOf(definition)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		for name, schema := range schemas {
			if err := os.WriteFile(filepath.Join(output, name), schema, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// definition is what is read of a CustomResourceDefinition.
type definition struct {
	Spec struct {
		Group string
		Names struct{ Kind string }
		// Versions have schemas as maps, because those lose nothing.
		Versions []struct {
			Name   string
			Schema struct{ OpenAPIV3Schema schema }
		}
	}
}

// schema is a JSON schema, or the schema of OpenAPI that it is made from.
type schema = map[string]any

// schemasOf returns the schemas of a CustomResourceDefinition by file name, as in
// kind_version.json: so kubeconform looks for them.
func schemasOf(manifest []byte) (map[string][]byte, error) {
	var d definition
	if err := yaml.Unmarshal(manifest, &d); err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, version := range d.Spec.Versions {
		root := version.Schema.OpenAPIV3Schema
		convert(root)
		root["$schema"] = "http://json-schema.org/draft-07/schema#"
		root["title"] = d.Spec.Names.Kind
		root["required"] = []string{"apiVersion", "kind", "metadata", "spec"}
		properties := root["properties"].(schema)
		properties["apiVersion"] = schema{"const": d.Spec.Group + "/" + version.Name}
		properties["kind"] = schema{"const": d.Spec.Names.Kind}
		content, err := json.MarshalIndent(root, "", "  ")
		if err != nil {
			return nil, err
		}
		files[strings.ToLower(d.Spec.Names.Kind)+"_"+version.Name+".json"] = append(content, '\n')
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no version in %.40q", manifest)
	}
	return files, nil
}

// convert turns a schema of a CustomResourceDefinition into a JSON schema, in place.
func convert(s schema) {
	if s["x-kubernetes-list-type"] == "set" {
		s["uniqueItems"] = true
	}
	if s["nullable"] == true {
		s["type"] = []any{s["type"], "null"}
	}
	delete(s, "nullable")
	open := s["x-kubernetes-preserve-unknown-fields"] == true
	for key := range s {
		if strings.HasPrefix(key, "x-kubernetes-") {
			delete(s, key)
		}
	}
	if properties, ok := s["properties"].(schema); ok {
		for _, property := range properties {
			convert(property.(schema))
		}
		if _, says := s["additionalProperties"]; !says && !open {
			s["additionalProperties"] = false
		}
	}
	for _, key := range []string{"items", "additionalProperties", "not"} {
		if inner, ok := s[key].(schema); ok {
			convert(inner)
		}
	}
	for _, key := range []string{"anyOf", "allOf", "oneOf"} {
		inner, _ := s[key].([]any)
		for _, one := range inner {
			convert(one.(schema))
		}
	}
}
