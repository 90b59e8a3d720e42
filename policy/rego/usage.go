// SPDX-License-Identifier: Apache-2.0

package rego

import (
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/sallyport/sallyport/policy/usage"
)

// used collects every reference to input in the compiled modules. A reference counts up to its first
// part that is no constant name; what lies below is seen whole. An input that stands alone is seen whole.
func used(c *ast.Compiler) *usage.Tree {
	tree := &usage.Tree{}
	var visit func(t *ast.Term) bool
	visit = func(t *ast.Term) bool {
		switch v := t.Value.(type) {
		case ast.Ref:
			if !v[0].Equal(ast.InputRootDocument) {
				return false
			}
			mark(tree, v)
			for _, part := range v[1:] {
				ast.WalkTerms(part, visit)
			}
			return true
		case ast.Var:
			if v.Equal(ast.InputRootDocument.Value) {
				tree.Mark()
			}
		}
		return false
	}
	for _, m := range c.Modules {
		ast.WalkTerms(m, visit)
	}
	return tree
}

func mark(tree *usage.Tree, ref ast.Ref) {
	var path []string
	for _, t := range ref[1:] {
		name, ok := t.Value.(ast.String)
		if !ok {
			break
		}
		path = append(path, string(name))
	}
	tree.Mark(path...)
}
