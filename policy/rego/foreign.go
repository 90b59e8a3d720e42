// SPDX-License-Identifier: Apache-2.0

package rego

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/usage"
)

// CapabilitiesWith is the allowlist of built-ins with others that this version of OPA has, for a profile that needs
// more. It is a copy.
func CapabilitiesWith(more ...string) *ast.Capabilities {
	out := *capabilities()
	out.Builtins = slices.Clone(out.Builtins)
	for _, b := range ast.CapabilitiesForThisVersion().Builtins {
		if slices.Contains(more, b.Name) {
			out.Builtins = append(out.Builtins, b)
		}
	}
	return &out
}

// Input makes OPA's terms of queries, for some facts. It is immutable and safe for concurrent use.
type Input struct{ plan *plan }

// NewInput sees the facts at paths, such as {"action", "effect"}, and everything if there is an empty path.
func NewInput(paths ...[]string) *Input {
	tree := &usage.Tree{}
	for _, p := range paths {
		tree.Mark(p...)
	}
	return &Input{plan: newPlan(tree)}
}

// Term returns q as an object. A raw part that is no JSON is an error.
func (in *Input) Term(q *action.Query) (*ast.Term, error) { return in.plan.term(q) }

// FactAt reports whether agent.v1 has a fact at path, and whether it is always there with its type: raw arguments
// and results, and elements of lists, may lack whatever a policy expects in them.
func FactAt(path []string) (certain bool, err error) {
	t := reflect.TypeFor[action.Query]()
	for i, name := range path {
		switch {
		case t == rawType:
			return false, nil
		case t.Kind() == reflect.Slice:
			t = t.Elem()
			if name != "" && strings.Trim(name, "0123456789") == "" {
				return false, elementAt(t, path[i+1:])
			}
			return false, fmt.Errorf("%s is a list, and %q is no index", strings.Join(path[:i], "."), action.Clip(name, 64))
		case t.Kind() != reflect.Struct:
			return false, fmt.Errorf("%s has no member %q", strings.Join(path[:i], "."), action.Clip(name, 64))
		}
		f, ok := member(t, name)
		if !ok {
			return false, fmt.Errorf("agent.v1 has no %s", action.Clip(strings.Join(path[:i+1], "."), 200))
		}
		t = f
	}
	return t != rawType, nil
}

func elementAt(t reflect.Type, path []string) error {
	for i, name := range path {
		f, ok := member(t, name)
		if !ok {
			return fmt.Errorf("agent.v1 has no %q in that list", action.Clip(strings.Join(path[:i+1], "."), 200))
		}
		t = f
	}
	return nil
}

func member(t reflect.Type, name string) (reflect.Type, bool) {
	if t.Kind() != reflect.Struct {
		return nil, false
	}
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("json") == name {
			return t.Field(i).Type, true
		}
	}
	return nil, false
}
