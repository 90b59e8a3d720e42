// SPDX-License-Identifier: Apache-2.0

package rego

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// clause is one definition of one rule as a set of conditions.
type clause struct {
	said       *rule
	at         *ast.Location
	conditions map[string]bool
}

// restrictive orders the sets by how much they forbid.
var restrictive = map[string]int{"allow": 1, "ask": 2, "deny": 3, "quarantine": 4}

// logic finds rules that another makes needless, and conditions that exclude each other. Conditions are compared as
// text, with variables named by what they stand for: what it finds is so, and there may be more.
func (l *linter) logic() {
	var all []*clause
	for _, file := range sortedKeys(l.e.compiler.Modules) {
		m := l.e.compiler.Modules[file]
		p := l.e.packs[slices.IndexFunc(l.e.packs, func(p *pack) bool { return p.name == packagePath(m)[1] })]
		for _, r := range m.Rules {
			l.rule = ""
			if slices.Contains(sets, string(r.Head.Name)) {
				said := p.rule(string(r.Head.Name), r.Head.Key)
				l.rule = said.match.ID
				if said.set != "oblige" {
					all = append(all, &clause{said: said, at: r.Location, conditions: conditions(r.Body)})
				}
			}
			l.contradicts(r)
		}
	}
	l.shadows(all)
}

// conditions names the variables of b and returns its expressions as text.
func conditions(b ast.Body) map[string]bool {
	names := name(b)
	out := map[string]bool{}
	for _, e := range b {
		inside := names
		if not, ok := e.Terms.(*ast.Not); ok {
			inside = name(slices.Concat(b, not.Body))
		}
		out[renamed(e, inside)] = true
	}
	return out
}

// name gives each variable of b a name that says what it stands for. Two get the same only if they stand for the same
// value.
func name(b ast.Body) map[ast.Var]ast.Var {
	names, taken, fixed := map[ast.Var]ast.Var{}, map[ast.Var]bool{}, map[ast.Var]bool{}
	give := func(v ast.Var, text string) {
		n := ast.Var(text)
		for i := 2; taken[n] && !fixed[v]; i++ {
			n = ast.Var(fmt.Sprint(text, "#", i))
		}
		names[v], taken[n] = n, true
	}
	for _, e := range b {
		if closed(e) {
			continue
		}
		var defined ast.Var
		if e.IsEquality() && !e.Negated {
			defined, _ = e.Operand(0).Value.(ast.Var)
		}
		ast.WalkVars(e, func(v ast.Var) bool {
			if names[v] == "" && v != defined && v.IsGenerated() {
				give(v, "*")
			}
			return false
		})
		if defined != "" && names[defined] == "" {
			fixed[defined] = determined(e.Operand(1), fixed)
			give(defined, "("+renamed(e.Operand(1), names)+")")
		}
	}
	return names
}

// closed reports whether what e names is e's own.
func closed(e *ast.Expr) bool {
	switch e.Terms.(type) {
	case *ast.Not, *ast.Every:
		return true
	}
	return false
}

// determined reports whether t has one value at most: it reads the input, or what has.
func determined(t *ast.Term, fixed map[ast.Var]bool) bool {
	ref, ok := t.Value.(ast.Ref)
	if !ok || !ref.HasPrefix(ast.InputRootRef) {
		return false
	}
	all := true
	ast.WalkVars(ref[1:], func(v ast.Var) bool {
		all = all && fixed[v]
		return false
	})
	return all
}

// renamed returns the text of x, an expression or term, under other names.
func renamed(x fmt.Stringer, names map[ast.Var]ast.Var) string {
	switch v := x.(type) {
	case *ast.Expr:
		x = v.Copy()
	case *ast.Term:
		x = v.Copy()
	}
	out, err := ast.TransformVars(x, func(v ast.Var) (ast.Value, error) {
		if n := names[v]; n != "" {
			return n, nil
		}
		return v, nil
	})
	if err != nil {
		return x.String()
	}
	return fmt.Sprint(out)
}

// shadows finds a clause whose conditions hold all those of another that forbids as much or more.
func (l *linter) shadows(all []*clause) {
	often := map[string]int{}
	for _, c := range all {
		for cond := range c.conditions {
			often[cond]++
		}
	}
	// A clause can only shadow one that has its rarest condition, too.
	byRarest := map[string][]*clause{}
	for _, c := range all {
		rarest := ""
		for _, cond := range slices.Sorted(maps.Keys(c.conditions)) {
			if rarest == "" || often[cond] < often[rarest] {
				rarest = cond
			}
		}
		byRarest[rarest] = append(byRarest[rarest], c)
	}
	for i, c := range all {
		if other := shadowOf(c, all[:i], byRarest); other != nil {
			l.rule = c.said.match.ID
			dead := restrictive[other.said.set] > restrictive[c.said.set]
			text := fmt.Sprintf("whenever it holds, %s (line %d) holds as well", other.said.match.ID, other.at.Row)
			if dead {
				text += ", which forbids more, so that this never decides"
			}
			l.add("shadowed", dead, c.at, text, "remove one, or a condition that tells them apart")
		}
	}
}

// shadowOf returns the clause that shadows c, nil if none does. Of two that say the same in the same words the later is
// shadowed.
func shadowOf(c *clause, before []*clause, byRarest map[string][]*clause) *clause {
	for _, cond := range slices.Sorted(maps.Keys(c.conditions)) {
		for _, other := range byRarest[cond] {
			a, b := restrictive[other.said.set], restrictive[c.said.set]
			same := len(other.conditions) == len(c.conditions)
			if other == c || a < b || a == b && (same && !slices.Contains(before, other) || c.said.match.Always && !other.said.match.Always || apart(c, other)) {
				continue
			}
			if holds(c.conditions, other.conditions) {
				return other
			}
		}
	}
	return nil
}

// apart reports whether of two rules that forbid as much each counts: they ask for different approvers, or are of packs
// that each stand alone, too.
func apart(a, b *clause) bool {
	packA, _, _ := strings.Cut(a.said.match.ID, ".")
	packB, _, _ := strings.Cut(b.said.match.ID, ".")
	return a.said.match.Approver != b.said.match.Approver || packA != packB
}

func holds(all, some map[string]bool) bool {
	for cond := range some {
		if !all[cond] {
			return false
		}
	}
	return true
}

// contradicts finds conditions of r that cannot hold together: one beside its own negation, and bounds that leave no
// number between them.
func (l *linter) contradicts(r *ast.Rule) {
	names := name(r.Body)
	said := map[string]bool{}
	bounds := map[string]*interval{}
	for _, e := range r.Body {
		text, not := renamed(e, names), e.Negated
		positive := strings.TrimPrefix(text, "not ")
		if inner, ok := e.Terms.(*ast.Not); ok {
			last, ok := single(inner.Body)
			if !ok {
				continue
			}
			positive, not = renamed(last, name(slices.Concat(r.Body, inner.Body))), true
		}
		if old, met := said[positive]; met && old != not {
			l.add("contradictory", true, e.Location, "an earlier condition says the opposite, so that this never holds", "two rules, or one of the conditions")
		}
		said[positive] = not
		what, b, ok := bound(e, names)
		if !ok {
			continue
		}
		if old := bounds[what]; old != nil {
			b.low, b.high = max(b.low, old.low), min(b.high, old.high)
		}
		if bounds[what] = &b; b.low > b.high {
			l.add("contradictory", true, e.Location, fmt.Sprintf("earlier conditions leave no number that %s could be", what), "bounds with something between them")
		}
	}
}

// single returns the last expression of b if those before it only name a value.
func single(b ast.Body) (*ast.Expr, bool) {
	for _, e := range b[:len(b)-1] {
		if !e.IsEquality() || e.Negated || !determined(e.Operand(1), nil) {
			return nil, false
		}
	}
	return b[len(b)-1], true
}

// interval holds the numbers from low to high, both counted in halves: more than 1 is from 3.
type interval struct{ low, high int64 }

// bound returns between which numbers e wants what.
func bound(e *ast.Expr, names map[ast.Var]ast.Var) (what string, b interval, ok bool) {
	if e.Negated || len(e.With) > 0 || !e.IsCall() || len(e.Operands()) != 2 {
		return "", b, false
	}
	op, left, right := e.Operator().String(), e.Operand(0), e.Operand(1)
	if _, constant := left.Value.(ast.Number); constant {
		left, right = right, left
		op = map[string]string{"lt": "gt", "lte": "gte", "gt": "lt", "gte": "lte"}[op]
	}
	number, isNumber := right.Value.(ast.Number)
	n, whole := number.Int64()
	if !isNumber || !whole || n <= math.MinInt64/2 || n >= math.MaxInt64/2 {
		return "", b, false
	}
	b = interval{math.MinInt64, math.MaxInt64}
	switch op {
	case "lt":
		b.high = 2*n - 1
	case "lte":
		b.high = 2 * n
	case "gt":
		b.low = 2*n + 1
	case "gte":
		b.low = 2 * n
	case "eq", "equal":
		b = interval{2 * n, 2 * n}
	default:
		return "", b, false
	}
	return renamed(left, names), b, true
}
