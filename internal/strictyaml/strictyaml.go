// SPDX-License-Identifier: Apache-2.0

// Package strictyaml reads YAML as strictly as configuration and policy data deserve: one document, no
// aliases, no duplicate or unknown keys, and an error that names the line and the nearest known key.
package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sallyport/sallyport/action"
)

// MaxBytes bounds a document. Aliases are refused, so that is also the bound of what it unfolds to.
const MaxBytes = 1 << 20

// Decode reads exactly one YAML document into v, a pointer to a struct. Unknown keys are refused with
// their line and the nearest known one; aliases, merges, duplicate keys and further documents are refused.
func Decode(file string, data []byte, v any) error {
	n, err := Document(file, data)
	if err != nil || n == nil {
		return err
	}
	if err := checkKeys(file, n, reflect.TypeOf(v).Elem()); err != nil {
		return err
	}
	if err := n.Decode(v); err != nil {
		return fmt.Errorf("%s: %w", file, Plain(err))
	}
	return nil
}

// Document parses one YAML document; nil is an empty one.
func Document(file string, data []byte) (*yaml.Node, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("%s is larger than %d bytes", file, MaxBytes)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var n yaml.Node
	if err := dec.Decode(&n); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", file, Plain(err))
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: more than one document", file)
	}
	if err := checkForm(file, &n, 0); err != nil {
		return nil, err
	}
	if len(n.Content) != 1 {
		return nil, nil
	}
	return n.Content[0], nil
}

func checkForm(file string, n *yaml.Node, depth int) error {
	if depth > action.DefaultDepth {
		return fmt.Errorf("%s:%d: nested too deep", file, n.Line)
	}
	if n.Kind == yaml.AliasNode || n.Anchor != "" || n.Tag == "!!merge" {
		return fmt.Errorf("%s:%d: anchors and aliases are not allowed", file, n.Line)
	}
	if n.Kind == yaml.MappingNode {
		seen := map[string]bool{}
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode || seen[strings.ToLower(key.Value)] {
				return fmt.Errorf("%s:%d: key %q is no plain word or stands twice", file, key.Line, action.Clip(key.Value, 64))
			}
			seen[strings.ToLower(key.Value)] = true
		}
	}
	for _, c := range n.Content {
		if err := checkForm(file, c, depth+1); err != nil {
			return err
		}
	}
	return nil
}

var nodeType = reflect.TypeFor[yaml.Node]()

// checkKeys compares the keys of n with the yaml tags of t, all the way down.
func checkKeys(file string, n *yaml.Node, t reflect.Type) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == nodeType:
		return nil
	case t.Kind() == reflect.Struct && n.Kind == yaml.MappingNode && !isScalar(t):
		fields := keysOf(t)
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i]
			ft, ok := fields[key.Value]
			if !ok {
				return unknownKey(file, key, fields)
			}
			if err := checkKeys(file, n.Content[i+1], ft); err != nil {
				return err
			}
		}
	case t.Kind() == reflect.Slice && n.Kind == yaml.SequenceNode:
		for _, c := range n.Content {
			if err := checkKeys(file, c, t.Elem()); err != nil {
				return err
			}
		}
	case t.Kind() == reflect.Slice && n.Kind != yaml.SequenceNode && n.Tag != "!!null":
		return fmt.Errorf("%s:%d: a list is wanted", file, n.Line)
	case t.Kind() == reflect.String && n.Tag != "!!str":
		return fmt.Errorf("%s:%d: %q is no text; put it in quotes", file, n.Line, action.Clip(n.Value, 64))
	}
	return nil
}

func isScalar(t reflect.Type) bool { return t.PkgPath() == "time" }

func keysOf(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if name != "" && name != "-" {
			out[name] = t.Field(i).Type
		}
	}
	return out
}

func unknownKey(file string, key *yaml.Node, fields map[string]reflect.Type) error {
	best, near := 4, ""
	for name := range fields {
		if d := distance(key.Value, name); d < best || d == best && name < near {
			best, near = d, name
		}
	}
	msg := fmt.Sprintf("%s:%d: unknown key %q", file, key.Line, action.Clip(key.Value, 64))
	if near != "" {
		msg += fmt.Sprintf(" (nearest: %q)", near)
	}
	return errors.New(msg)
}

// distance is the Levenshtein distance of a, cut to 64 bytes, and b.
func distance(a, b string) int {
	a = action.Clip(a, 64)
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}

// Plain strips the library's name from its errors.
func Plain(err error) error {
	return errors.New(strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\n", ";"), "yaml: "))
}
