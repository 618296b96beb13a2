// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	encodingjson "encoding/json"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"
	kyaml "sigs.k8s.io/yaml"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

const (
	// maxSize bounds a file, in bytes: an API server takes no larger object.
	maxSize = 3 << 20
	// maxDocuments bounds the documents of a file.
	maxDocuments = 256
)

// Document is a NetworkStack of a file.
type Document struct {
	Stack *v1alpha1.NetworkStack
	// JSON is the document as it is, with no default filled in.
	JSON []byte
	// Line is where it begins, from 1.
	Line int
}

// Read returns the NetworkStacks of a file of YAML or JSON documents; those of other kinds
// are passed by. That there is none is an error.
func Read(data []byte) ([]Document, error) {
	if len(data) > maxSize {
		return nil, fmt.Errorf("the file has %d bytes, which is more than an API server takes (%d): is it the right one?", len(data), maxSize)
	}
	documents := split(string(data))
	if len(documents) > maxDocuments {
		return nil, fmt.Errorf("the file has more than %d documents: split it", maxDocuments)
	}
	var out []Document
	for _, d := range documents {
		one, err := readOne(d)
		if err != nil {
			return nil, err
		}
		if one != nil {
			out = append(out, *one)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("the file has no document of kind NetworkStack and apiVersion %s: is it the right one?", v1alpha1.GroupVersion)
	}
	return out, nil
}

// document is the text of one, behind as many empty lines as the file has before it, so that
// lines are those of the file.
type document struct {
	text string
	line int
}

func split(text string) (out []document) {
	lines := strings.SplitAfter(text, "\n")
	begin := 0
	end := func(at int) {
		if body := strings.Join(lines[begin:at], ""); strings.TrimSpace(body) != "" && len(out) <= maxDocuments {
			out = append(out, document{text: strings.Repeat("\n", begin) + body, line: begin + 1})
		}
		begin = at + 1
	}
	for i, l := range lines {
		if l = strings.TrimRight(l, " \t\r\n"); l == "---" || strings.HasPrefix(l, "--- #") {
			end(i)
		}
	}
	end(len(lines))
	return out
}

func readOne(d document) (*Document, error) {
	raw, err := kyaml.YAMLToJSONStrict([]byte(d.text))
	if err != nil {
		return nil, fmt.Errorf("the document at line %d is no YAML: %w", d.line, err)
	}
	var kind metav1.TypeMeta
	if err := encodingjson.Unmarshal(raw, &kind); err != nil {
		return nil, fmt.Errorf("the document at line %d is no object of Kubernetes: it needs apiVersion and kind", d.line)
	}
	if kind.Kind != "NetworkStack" {
		return nil, nil
	}
	if kind.APIVersion != v1alpha1.GroupVersion.String() {
		return nil, fmt.Errorf("the NetworkStack at line %d is of apiVersion %q: set it to %s", d.line, kind.APIVersion, v1alpha1.GroupVersion)
	}
	s := &v1alpha1.NetworkStack{}
	strict, err := kjson.UnmarshalStrict(raw, s)
	if err != nil {
		return nil, place(d, typeError(err))
	}
	var errs []error
	for _, e := range strict {
		errs = append(errs, place(d, fieldError(e)))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if s.Name == "" {
		return nil, fmt.Errorf("the NetworkStack at line %d has no metadata.name: set it", d.line)
	}
	return &Document{Stack: s, JSON: raw, Line: d.line}, nil
}

// fault is an error at a field.
type fault struct {
	path, text string
}

func fieldError(err error) fault {
	var at kjson.FieldError
	if errors.As(err, &at) {
		return fault{at.FieldPath(), err.Error()}
	}
	return fault{"", err.Error()}
}

func typeError(err error) fault {
	var wrong *encodingjson.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fault{wrong.Field, fmt.Sprintf("%s is %s, which it cannot be", wrong.Field, article(wrong.Value))}
	}
	return fault{"", err.Error()}
}

func article(value string) string {
	if strings.HasPrefix(value, "a") || strings.HasPrefix(value, "o") {
		return "an " + value
	}
	return "a " + value
}

// place says where a fault is. Where the field itself is not found, as the path of a wrong
// type leaves out the places in lists, it is the line of the nearest one above.
func place(d document, f fault) error {
	var root yaml.Node
	if yaml.Unmarshal([]byte(d.text), &root) != nil || len(root.Content) == 0 {
		return fmt.Errorf("the NetworkStack at line %d: %s: correct it", d.line, f.text)
	}
	return fmt.Errorf("line %d: %s: correct it", lineOf(root.Content[0], f.path, d.line), f.text)
}

// lineOf follows a path such as spec.overrides[0].cni.
func lineOf(n *yaml.Node, path string, line int) int {
	for _, step := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		if n.Kind == yaml.AliasNode && n.Alias != nil {
			n = n.Alias
		}
		key, value := child(n, step)
		if value == nil {
			return line
		}
		n, line = value, key.Line
	}
	return line
}

func child(n *yaml.Node, step string) (key, value *yaml.Node) {
	switch n.Kind {
	case yaml.MappingNode:
		// The last one, since a field that is twice there is one too many there.
		for i := len(n.Content) - 2; i >= 0; i -= 2 {
			if n.Content[i].Value == step {
				return n.Content[i], n.Content[i+1]
			}
		}
	case yaml.SequenceNode:
		for i, item := range n.Content {
			if fmt.Sprint(i) == step {
				return item, item
			}
		}
	}
	return nil, nil
}
