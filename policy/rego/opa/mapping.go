// SPDX-License-Identifier: Apache-2.0

package opa

import (
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/rego"
)

// Mapping says what the policy reads as its input for some tools.
type Mapping struct {
	Tool string // "server/name", "server/*" or "*"

	// Input is the input as a tree of objects, lists, texts, numbers, true, false and null. A text that begins with
	// "$" stands for the fact of agent.v1 at that path, "$action.arguments.url"; "$" alone is all of agent.v1, and
	// "$$" begins a text with one "$". A member whose fact is not there is left out; so is an element of a list.
	Input any
}

type mapping struct {
	server, name string // "" fits any
	root         *node
}

// node is one part of a mapping: a constant, a fact, or a list or object of nodes.
type node struct {
	constant *ast.Term
	path     ast.Ref // after input
	facts    bool    // path counts, even if it is empty
	certain  bool
	members  []named
	list     []*node
}

type named struct {
	name string
	node *node
}

// maxNodes bounds a mapping.
const maxNodes = 10_000

// mappings compiles list. Without any, agent.v1 is the input.
func mappings(list []Mapping) ([]*mapping, *rego.Input, error) {
	if len(list) == 0 {
		list = []Mapping{{Tool: "*", Input: "$"}}
	}
	b := &builder{}
	var out []*mapping
	for i, m := range list {
		c := &mapping{}
		switch server, all := strings.CutSuffix(m.Tool, "/*"); {
		case m.Tool == "*":
		case all && server != "" && !strings.Contains(server, "*"):
			c.server = server
		default:
			if c.server, c.name = action.SplitToolKey(m.Tool); c.server == "" || c.name == "" || strings.Contains(m.Tool, "*") {
				return nil, nil, fmt.Errorf("opa: mapping %d: tool %q is neither \"server/name\", \"server/*\" nor \"*\"", i+1, action.Clip(m.Tool, 64))
			}
		}
		var err error
		if c.root, err = b.node(m.Input); err != nil {
			return nil, nil, fmt.Errorf("opa: mapping %d: %w", i+1, err)
		}
		out = append(out, c)
	}
	return out, rego.NewInput(b.paths...), nil
}

type builder struct {
	paths [][]string
	nodes int
}

func (b *builder) node(v any) (*node, error) {
	if b.nodes++; b.nodes > maxNodes {
		return nil, fmt.Errorf("more than %d parts", maxNodes)
	}
	switch v := v.(type) {
	case map[string]any:
		n := &node{}
		for name, part := range v {
			sub, err := b.node(part)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", action.Clip(name, 64), err)
			}
			n.members = append(n.members, named{name, sub})
		}
		slices.SortFunc(n.members, func(a, b named) int { return strings.Compare(a.name, b.name) })
		return n, nil
	case []any:
		n := &node{list: []*node{}}
		for i, part := range v {
			sub, err := b.node(part)
			if err != nil {
				return nil, fmt.Errorf("%d: %w", i, err)
			}
			n.list = append(n.list, sub)
		}
		return n, nil
	case string:
		if text, ok := strings.CutPrefix(v, "$$"); ok {
			return &node{constant: ast.StringTerm("$" + text)}, nil
		}
		if path, ok := strings.CutPrefix(v, "$"); ok {
			return b.fact(path)
		}
	}
	value, err := ast.InterfaceToValue(v)
	if err != nil {
		return nil, fmt.Errorf("%T: %w", v, err)
	}
	return &node{constant: ast.NewTerm(value)}, nil
}

func (b *builder) fact(path string) (*node, error) {
	n := &node{facts: true, certain: path == ""}
	if path == "" {
		b.paths = append(b.paths, nil)
		return n, nil
	}
	parts := strings.Split(path, ".")
	var err error
	if n.certain, err = rego.FactAt(parts); err != nil {
		return nil, fmt.Errorf("$%s: %w", action.Clip(path, 200), err)
	}
	for _, p := range parts {
		if index := strings.Trim(p, "0123456789") == ""; index && p != "" && len(p) < 6 {
			n.path = append(n.path, ast.NewTerm(ast.Number(p)))
			continue
		}
		n.path = append(n.path, ast.StringTerm(p))
	}
	b.paths = append(b.paths, parts)
	return n, nil
}

// find returns the mapping for a tool, nil if there is none.
func (e *Evaluator) find(r *action.Resource) *mapping {
	for _, m := range e.maps {
		if (m.server == "" || m.server == r.Server) && (m.name == "" || m.name == r.Name) {
			return m
		}
	}
	return nil
}

// term returns the input of q, nil if all of it is absent.
func (n *node) term(q *ast.Term) *ast.Term {
	switch {
	case n.constant != nil:
		return n.constant
	case n.facts:
		v, err := q.Value.Find(n.path)
		if err != nil {
			return nil
		}
		return ast.NewTerm(v)
	case n.list != nil:
		var out []*ast.Term
		for _, sub := range n.list {
			if t := sub.term(q); t != nil {
				out = append(out, t)
			}
		}
		return ast.ArrayTerm(out...)
	}
	var out [][2]*ast.Term
	for _, m := range n.members {
		if t := m.node.term(q); t != nil {
			out = append(out, [2]*ast.Term{ast.StringTerm(m.name), t})
		}
	}
	return ast.ObjectTerm(out...)
}

// certainAt reports whether the value at ref, a path below input, is there with one type whatever is asked, under
// every mapping.
func (e *Evaluator) certainAt(ref ast.Ref) bool {
	for _, m := range e.maps {
		if !m.root.certainAt(ref) {
			return false
		}
	}
	return true
}

func (n *node) certainAt(ref ast.Ref) bool {
	switch {
	case n.facts:
		var path []string
		for _, t := range slices.Concat(n.path, ref) {
			s, ok := t.Value.(ast.String)
			if !ok {
				return false
			}
			path = append(path, string(s))
		}
		certain, err := rego.FactAt(path)
		return err == nil && certain
	case n.constant != nil || n.list != nil:
		return len(ref) == 0
	case len(ref) == 0:
		return true
	}
	name, _ := ref[0].Value.(ast.String)
	for _, m := range n.members {
		if m.name == string(name) {
			return m.node.certainAt(ref[1:])
		}
	}
	return false
}
