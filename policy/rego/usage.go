// SPDX-License-Identifier: Apache-2.0

package rego

import "github.com/open-policy-agent/opa/v1/ast"

// usage is the part of the input that policies can see: a tree of names. A nil usage sees everything
// below it.
type usage struct {
	all    bool
	fields map[string]*usage
}

func (u *usage) field(name string) (*usage, bool) {
	if u == nil || u.all {
		return nil, true
	}
	sub, ok := u.fields[name]
	return sub, ok
}

// elements of a list are seen whole: a reference goes through an index, at which the walk ends.
func (u *usage) elements() *usage { return nil }

// used collects every reference to input in the compiled modules. A reference counts up to its first
// part that is no constant name; what lies below is seen whole.
func used(c *ast.Compiler) *usage {
	root := &usage{fields: map[string]*usage{}}
	mark := func(ref ast.Ref) {
		u := root
		for _, t := range ref[1:] {
			name, ok := t.Value.(ast.String)
			if !ok {
				break
			}
			next := u.fields[string(name)]
			if next == nil {
				next = &usage{fields: map[string]*usage{}}
				u.fields[string(name)] = next
			}
			u = next
		}
		u.all = true
	}
	for _, m := range c.Modules {
		ast.WalkTerms(m, func(t *ast.Term) bool {
			switch v := t.Value.(type) {
			case ast.Ref:
				if v[0].Equal(ast.InputRootDocument) {
					mark(v)
					// Parts of the reference may hold further references.
					for _, part := range v[1:] {
						ast.WalkTerms(part, func(t *ast.Term) bool {
							if r, ok := t.Value.(ast.Ref); ok && r[0].Equal(ast.InputRootDocument) {
								mark(r)
							}
							return false
						})
					}
					return true
				}
			case ast.Var:
				if v.Equal(ast.InputRootDocument.Value) {
					root.all = true
				}
			}
			return false
		})
	}
	return root
}
