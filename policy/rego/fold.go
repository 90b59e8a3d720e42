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
	verdict := action.Verdict("")
	for i := range arr.Len() {
		p, set := e.packs[i/len(sets)], sets[i%len(sets)]
		fired, ok := arr.Elem(i).Value.(ast.Set)
		if !ok {
			fail(d, p.name+"."+set, errShape)
			return
		}
		for _, t := range fired.Slice() {
			r := p.rule(set, t)
			switch {
			case r == nil:
				fail(d, p.name+"."+set, errShape)
				return
			case set == "oblige":
				d.Obligations = append(d.Obligations, r.obligation)
				continue
			case verdict == "":
				verdict = r.match.Verdict
			default:
				verdict = verdict.Meet(r.match.Verdict)
			}
			m := r.match
			m.Reason, m.Hint = e.fill(m.Reason, q), e.fill(m.Hint, q)
			d.Matches = append(d.Matches, m)
		}
	}
	if verdict == "" {
		verdict = action.Deny
		d.Matches = append(d.Matches, action.Match{ID: "default.rego", Verdict: action.Deny, Code: "no-rule",
			Reason: "No rule permits this.", Severity: "medium"})
	}
	d.Verdict = verdict
	slices.SortStableFunc(d.Matches, func(a, b action.Match) int { return strings.Compare(a.ID, b.ID) })
	slices.SortStableFunc(d.Obligations, func(a, b action.Obligation) int { return strings.Compare(a.Rule, b.Rule) })
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
	if !strings.Contains(s, "{") {
		return s
	}
	root := "the workspace"
	if len(q.Context.Session.Roots) > 0 {
		root = q.Context.Session.Roots[0]
	} else if len(e.roots) > 0 {
		root = e.roots[0]
	}
	return strings.NewReplacer("{tool}", plain(q.Resource.ID), "{server}", plain(q.Resource.Server), "{root}", plain(root)).Replace(s)
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
