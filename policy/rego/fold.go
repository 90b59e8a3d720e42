// SPDX-License-Identifier: Apache-2.0

package rego

import (
	"errors"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/sallyport/sallyport/action"
)

var errShape = errors.New("the answer has an unexpected shape")

// fold turns the sets that fired into d. Whatever it does not recognise denies.
func (e *Evaluator) fold(d *action.Decision, q *action.Query, answer *ast.Term) {
	var arr *ast.Array
	if answer != nil {
		arr, _ = answer.Value.(*ast.Array)
	}
	if arr == nil || arr.Len() != len(e.packs)*len(sets) {
		fail(d, "rego.answer", errShape)
		return
	}
	var ranks []int
	for i := range arr.Len() {
		p, set := e.packs[i/len(sets)], sets[i%len(sets)]
		fired, ok := arr.Elem(i).Value.(ast.Set)
		if !ok {
			fail(d, p.name+"."+set, errShape)
			return
		}
		for _, t := range fired.Slice() {
			r := p.rule(set, t)
			if r == nil {
				fail(d, p.name+"."+set, errShape)
				return
			}
			ranks = append(ranks, r.rank)
		}
	}
	slices.Sort(ranks)
	e.compose(d, q, ranks)
}

var idKey = ast.StringTerm("id")

func (p *pack) rule(set string, t *ast.Term) *rule {
	obj, ok := t.Value.(ast.Object)
	if !ok {
		return nil
	}
	id := obj.Get(idKey)
	if id == nil {
		return nil
	}
	s, ok := id.Value.(ast.String)
	if r := p.rules[string(s)]; ok && r != nil && r.set == set {
		return r
	}
	return nil
}

// fill replaces the placeholders. What it fills in is quoted where an agent could have chosen it.
func (e *Evaluator) fill(s string, q *action.Query) string {
	at := strings.IndexByte(s, '{')
	if at < 0 {
		return s
	}
	var b strings.Builder
	for ; at >= 0; at = strings.IndexByte(s, '{') {
		b.WriteString(s[:at])
		s = s[at:]
		switch {
		case strings.HasPrefix(s, "{tool}"):
			b.WriteString(plain(q.Resource.ID))
			s = s[len("{tool}"):]
		case strings.HasPrefix(s, "{server}"):
			b.WriteString(plain(q.Resource.Server))
			s = s[len("{server}"):]
		case strings.HasPrefix(s, "{root}"):
			b.WriteString(plain(e.root(q)))
			s = s[len("{root}"):]
		default:
			b.WriteByte('{')
			s = s[1:]
		}
	}
	b.WriteString(s)
	return b.String()
}

func (e *Evaluator) root(q *action.Query) string {
	if len(q.Context.Session.Roots) > 0 {
		return q.Context.Session.Roots[0]
	}
	if len(e.roots) > 0 {
		return e.roots[0]
	}
	return "the workspace"
}

// plain makes a name safe to show: clipped, without control characters.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r >= 0x200b && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return -1
		}
		return r
	}, action.Clip(s, 200))
}
