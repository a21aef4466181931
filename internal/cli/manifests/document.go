// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	goyaml "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// document is one YAML document of a file.
type document struct {
	file string
	// offset is how many lines of the file come before the document.
	offset int
	text   []byte
}

// separator is where kubectl splits a file, too.
var separator = regexp.MustCompile(`^---(\s.*)?$`)

// split returns the documents of a file that hold more than comments.
func split(file string, data []byte) []document {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	var documents []document
	current, offset := []byte(nil), 0
	keep := func() {
		if hasContent(current) {
			documents = append(documents, document{file: file, offset: offset, text: current})
		}
	}
	line := 0
	for text := range bytes.Lines(data) {
		line++
		if separator.Match(bytes.TrimRight(text, "\r\n")) {
			keep()
			current, offset = nil, line
			continue
		}
		current = append(current, text...)
	}
	keep()
	return documents
}

func hasContent(text []byte) bool {
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && !bytes.Equal(line, []byte("...")) {
			return true
		}
	}
	return false
}

var yamlLine = regexp.MustCompile(`line (\d+)`)

// decode returns the objects of the document: several if it is a List, none if it is no
// Kubernetes object. The values are what kubectl would send.
func (d document) decode() ([]*unstructured.Unstructured, *Problem) {
	data, err := yaml.YAMLToJSONStrict(d.text)
	if err != nil {
		return nil, d.syntax(err)
	}
	object := &unstructured.Unstructured{}
	var probe map[string]any
	if err := yaml.Unmarshal(data, &probe); err != nil || probe["kind"] == nil || probe["apiVersion"] == nil {
		return nil, nil // values of a chart, a list, a text: nothing that is applied
	}
	if err := object.UnmarshalJSON(data); err != nil {
		return nil, &Problem{File: d.file, Line: d.offset + 1, Message: "not a Kubernetes object: " + oneLine(err.Error())}
	}
	if !object.IsList() {
		return []*unstructured.Unstructured{object}, nil
	}
	list, err := object.ToList()
	if err != nil {
		return nil, &Problem{File: d.file, Line: d.offset + 1, Message: "not a List: " + oneLine(err.Error())}
	}
	var objects []*unstructured.Unstructured
	for i := range list.Items {
		objects = append(objects, &list.Items[i])
	}
	return objects, nil
}

// syntax places an error of the YAML library, which counts lines within the document.
func (d document) syntax(err error) *Problem {
	message := oneLine(strings.TrimPrefix(err.Error(), "yaml: "))
	line := 1
	if found := yamlLine.FindStringSubmatch(message); found != nil {
		line, _ = strconv.Atoi(found[1])
		message = strings.TrimPrefix(strings.Replace(message, found[0], "", 1), ": ")
	}
	return &Problem{File: d.file, Line: d.offset + line, Message: "not valid YAML: " + strings.TrimSpace(message), Unreadable: true}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// lines finds where the fields of an object are in its file.
type lines struct {
	offset int
	root   *goyaml.Node
}

// linesOf returns the lines of the item-th object of the document, of its only one if
// the document is no List.
func (d document) linesOf(item int) lines {
	var root goyaml.Node
	if err := goyaml.Unmarshal(d.text, &root); err != nil || len(root.Content) == 0 {
		return lines{offset: d.offset}
	}
	node := root.Content[0]
	if items := child(node, "items"); items != nil && items.Kind == goyaml.SequenceNode && item < len(items.Content) {
		node = items.Content[item]
	}
	return lines{offset: d.offset, root: node}
}

// start is the line on which the object begins.
func (l lines) start() int {
	if l.root == nil {
		return l.offset + 1
	}
	return l.offset + l.root.Line
}

var pathToken = regexp.MustCompile(`\[[^\]]*\]|[^.\[]+`)

// of returns the line of the field at a path such as spec.addOnSIDs[2], or of the part of
// the path that is there.
func (l lines) of(path string) int {
	node, line := l.root, l.start()
	for _, token := range pathToken.FindAllString(path, -1) {
		node = child(node, strings.Trim(token, "[]"))
		if node == nil {
			break
		}
		line = l.offset + node.Line
	}
	return line
}

// child returns a mapping's value, with the line of its key, or a sequence's item.
func child(node *goyaml.Node, key string) *goyaml.Node {
	if node == nil {
		return nil
	}
	if node.Kind == goyaml.AliasNode {
		node = node.Alias
	}
	switch node.Kind {
	case goyaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == key {
				value := *node.Content[i+1]
				value.Line = node.Content[i].Line
				return &value
			}
		}
	case goyaml.SequenceNode:
		if i, err := strconv.Atoi(key); err == nil && i >= 0 && i < len(node.Content) {
			return node.Content[i]
		}
	case goyaml.DocumentNode, goyaml.ScalarNode, goyaml.AliasNode:
	}
	return nil
}

// Problem is something wrong in a manifest.
type Problem struct {
	// File is the path as it was given, "-" for the standard input. Line counts from 1;
	// 0 if it is not known.
	File string `json:"file"`
	Line int    `json:"line,omitempty"`
	// Message is one sentence without the place.
	Message string `json:"message"`
	// Unreadable: nobody knows which objects are in the document, or whether any is.
	Unreadable bool `json:"-"`
}

// Where is the place of the problem: file:line.
func (p Problem) Where() string { return where(p.File, p.Line) }

func (p Problem) String() string { return p.Where() + ": " + p.Message }

func where(file string, line int) string {
	if line == 0 {
		return file
	}
	return fmt.Sprintf("%s:%d", file, line)
}
