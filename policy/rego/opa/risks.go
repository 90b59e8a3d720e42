// SPDX-License-Identifier: Apache-2.0

package opa

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/types"

	"github.com/sallyport/sallyport/policy/rego"
)

// ErrRisk means that the policy may permit silently what it does not seem to permit.
var ErrRisk = errors.New("the policy fails open, and the bundle does not accept it")

// look finds what fails open. From the documents that decide it follows every rule with its direction: a condition
// that refuses makes the policy weaker where it silently does not hold, one that permits makes it stronger, and "not"
// and a rule whose value is false turn that around.
func (e *Evaluator) look() {
	l := &looker{e: e, done: map[string]bool{}, told: map[string]bool{}}
	if e.entry != nil {
		l.rules(e.entry, nil, false)
	}
	if e.refusals != nil {
		if e.entry == nil {
			first := e.compiler.GetRules(e.refusals)[0]
			l.rule = name(first)
			l.add("default-allow", first.Location, "what no refusal is about is permitted", "an entrypoint that permits by name, beside the refusals")
		}
		l.rules(e.refusals, nil, true)
	}
	for _, m := range e.compiler.Modules {
		ast.WalkTerms(m, func(t *ast.Term) bool {
			switch v := t.Value.(type) {
			case ast.String:
				e.words[string(v)] = true
			case ast.Ref:
				e.clock = e.clock || v.Equal(ast.NowNanos.Ref())
			}
			return false
		})
	}
	slices.SortStableFunc(l.found, func(a, b rego.Finding) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		return a.Line - b.Line
	})
	e.findings = l.found
}

// accept marks what is accepted and errs with the first that is not.
func (e *Evaluator) accept(accepted func(rego.Finding) (string, bool)) error {
	for i := range e.findings {
		f := &e.findings[i]
		why, ok := "", false
		if accepted != nil {
			why, ok = accepted(*f)
		}
		if !ok {
			return fmt.Errorf("opa: %s:%d: rule %s: %s: %s: %w; safe form: %s", f.File, f.Line, f.Rule, f.Lint, f.Text, ErrRisk, f.Safe)
		}
		f.Waived = why
	}
	return nil
}

type looker struct {
	e     *Evaluator
	rule  string
	found []rego.Finding
	done  map[string]bool // rules by place and direction
	told  map[string]bool
}

func (l *looker) add(lint string, at *ast.Location, text, safe string) {
	f := rego.Finding{Lint: lint, Error: true, File: at.File, Line: at.Row, Rule: l.rule, Text: text, Safe: safe}
	if key := fmt.Sprint(lint, f.File, f.Line, text); !l.told[key] {
		l.told[key] = true
		l.found = append(l.found, f)
	}
}

// name is the rule's reference without "data".
func name(r *ast.Rule) string {
	return strings.TrimPrefix(r.Path().GroundPrefix().String(), "data.")
}

// rules follows every rule that may make ref, which stands at a place of the rule that is being looked at.
func (l *looker) rules(ref ast.Ref, from *ast.Location, weakens bool) {
	for _, r := range l.e.compiler.GetRulesDynamicWithOpts(ref, ast.RulesOptions{IncludeHiddenModules: true}) {
		var rest ast.Ref // what is read of the rule's value
		if path := r.Path(); len(path) < len(ref) {
			rest = ref[len(path):]
		}
		key := fmt.Sprint(r.Location.File, r.Location.Offset, weakens, rest)
		if l.done[key] {
			continue
		}
		l.done[key] = true
		before := l.rule
		for at := r; at != nil; at = at.Else {
			if v, ok := alias(at); ok && len(rest) > 0 {
				l.ref(slices.Concat(v, rest), from, nil, weakens)
			}
			l.rule = name(r)
			l.one(at, weakens)
			l.rule = before
		}
	}
}

// alias returns the reference that is the value of r, if it is one.
func alias(r *ast.Rule) (ast.Ref, bool) {
	if r.Head.Value == nil {
		return nil, false
	}
	ref, ok := meaning(r.Head.Value, r.Body).Value.(ast.Ref)
	return ref, ok
}

func (l *looker) one(r *ast.Rule, weakens bool) {
	refuses := r.Head.Value != nil && r.Head.Value.Equal(ast.InternedTerm(false))
	switch {
	case r.Default && !weakens && r.Head.Value != nil && r.Head.Value.Equal(ast.InternedTerm(true)):
		l.add("default-allow", r.Location, "what no other rule decides is permitted", "default "+string(r.Head.Name)+" := false")
	case refuses:
		weakens = !weakens
	}
	l.body(r.Body, weakens)
	for _, t := range []*ast.Term{r.Head.Key, r.Head.Value} {
		if t != nil {
			l.term(t, r.Location, r.Body, weakens)
		}
	}
}

func (l *looker) body(b ast.Body, weakens bool) {
	for _, e := range b {
		for _, w := range e.With {
			l.term(w.Value, e.Location, b, weakens)
		}
		w := weakens == !e.Negated
		switch t := e.Terms.(type) {
		case *ast.Not:
			l.body(t.Body, !weakens)
		case *ast.Every:
			l.term(t.Domain, e.Location, b, weakens)
			l.body(t.Body, weakens)
		case *ast.Term:
			l.term(t, e.Location, b, w)
		case []*ast.Term:
			l.order(e, t, b, w)
			for _, t := range t {
				l.term(t, e.Location, b, w)
			}
		}
	}
}

// term looks at the references of t in the body b, and into comprehensions: what these leave out where a condition
// fails may count either way.
func (l *looker) term(t *ast.Term, at *ast.Location, b ast.Body, weakens bool) {
	ast.WalkTerms(t, func(t *ast.Term) bool {
		switch v := t.Value.(type) {
		case *ast.ArrayComprehension:
			l.body(v.Body, true)
			return true
		case *ast.SetComprehension:
			l.body(v.Body, true)
			return true
		case *ast.ObjectComprehension:
			l.body(v.Body, true)
			return true
		case ast.Ref:
			l.ref(v, at, b, weakens)
		}
		return false
	})
}

func (l *looker) ref(ref ast.Ref, at *ast.Location, b ast.Body, weakens bool) {
	if ast.BuiltinMap[ref.String()] != nil {
		return
	}
	if _, ok := ref[0].Value.(ast.Var); ok && !ref[0].Equal(ast.DefaultRootDocument) && !ref[0].Equal(ast.InputRootDocument) && len(ref) > 1 {
		to, ok := meaning(ref[0], b).Value.(ast.Ref)
		if !ok && weakens {
			l.add("may-not-fire", at, "if what is read of a computed value is absent or of another type, this fails silently and the policy is weaker", safer)
		}
		ref = slices.Concat(to, ref[1:])
	}
	switch {
	case ref.HasPrefix(ast.InputRootRef):
		if weakens && !l.e.certainAt(ref[1:]) {
			l.add("may-not-fire", at, fmt.Sprintf("if %s is absent or of another type, this fails silently and the policy is weaker", shown(ref)), safer)
		}
	case ref.HasPrefix(ast.DefaultRootRef):
		l.rules(ref, at, weakens)
	}
}

const safer = "refuse unless the good case holds: not good, where good compares the value"

// ordered are the built-ins by whose order values of any two types compare: every text is greater than every number,
// every number greater than true, and null is least.
var ordered = []string{"lt", "lte", "gt", "gte"}

// order finds comparisons that permit by the order of types.
func (l *looker) order(e *ast.Expr, t []*ast.Term, b ast.Body, weakens bool) {
	if weakens || len(t) < 3 || !slices.Contains(ordered, t[0].String()) {
		return
	}
	for _, operand := range t[1:3] {
		switch what := meaning(operand, b); v := what.Value.(type) {
		case ast.Ref:
			if !v.HasPrefix(ast.InputRootRef) || l.e.certainAt(v[1:]) || checked(what, b) {
				continue
			}
			l.add("cross-type", e.Location, fmt.Sprintf("%s may be a text or null, which compare with numbers, too, and here that permits", shown(v)),
				fmt.Sprintf("is_number(%s), before it is compared", shown(v)))
		case ast.Var:
			if checked(what, b) || l.counts(v, b) {
				continue
			}
			l.add("cross-type", e.Location, "what is compared may be a text or null, which compare with numbers, too, and here that permits",
				"is_number(x) of what is compared")
		}
	}
}

// counts reports whether v is what a built-in gave out, of which the type is known.
func (l *looker) counts(v ast.Var, b ast.Body) bool {
	return slices.ContainsFunc(b, func(e *ast.Expr) bool {
		if !e.IsCall() || e.Negated {
			return false
		}
		builtin := ast.BuiltinMap[e.Operator().String()]
		n := len(e.Operands())
		if builtin == nil || e.IsEquality() || n == 0 || n != builtin.Decl.Arity()+1 {
			return false
		}
		out := builtin.Decl.Result()
		return e.Operand(n-1).Value.Compare(v) == 0 && (types.Compare(out, types.N) == 0 || types.Compare(out, types.S) == 0)
	})
}

// meaning is what the variable t stands for in b.
func meaning(t *ast.Term, b ast.Body) *ast.Term {
	for range 4 {
		next := t
		for _, e := range b {
			if e.IsEquality() && !e.Negated && e.Operand(0).Equal(t) {
				if _, ok := t.Value.(ast.Var); ok {
					next = e.Operand(1)
				}
			}
		}
		if next == t {
			return t
		}
		t = next
	}
	return t
}

// checked reports whether b asks for the type of what.
func checked(what *ast.Term, b ast.Body) bool {
	return slices.ContainsFunc(b, func(e *ast.Expr) bool {
		if !e.IsCall() || e.Negated || len(e.Operands()) < 1 {
			return false
		}
		op := e.Operator().String()
		return (op == "is_number" || op == "is_string") && meaning(e.Operand(0), b).Equal(what)
	})
}

func shown(ref ast.Ref) string {
	out := ref.GroundPrefix().String()
	if !ref.IsGround() {
		out += "[...]"
	}
	return out
}
