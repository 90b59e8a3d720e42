// SPDX-License-Identifier: Apache-2.0

package rego

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Finding is one thing in a policy that is probably not meant.
type Finding struct {
	Lint  string `json:"lint"`
	Error bool   `json:"error"` // not only advice
	File  string `json:"file"`
	Line  int    `json:"line"`
	Rule  string `json:"rule"` // "" if it belongs to none
	Text  string `json:"text"`
	Safe  string `json:"safe"` // the safe form; "" if there is none

	Waived string `json:"waived"` // why the author lets it stand; "" if he does not say so
}

// Lint looks for rules that do not do what they seem to.
//
// Rules are followed from the sets into everything that they use, each with its direction: a condition of a deny
// that fails makes the policy weaker, one of an allow makes it stronger, and "not" turns that around. What fails
// silently, because the data is absent or of another type, is reported only where it weakens.
//
// A finding is waived by a comment right above the rule in which it stands: "# lint: NAME: why".
func (e *Evaluator) Lint() []Finding {
	l := e.follow()
	l.unused()
	l.secrets()
	l.logic()
	for _, n := range e.notes {
		l.rule = ""
		if n.contradicts {
			l.add("contradictory", true, n.at, n.text, "two rules, or a list of both words")
			continue
		}
		l.add("impossible-value", true, n.at, n.text, "compare with a word of the list")
	}
	return l.sorted()
}

// Where returns the place of the first definition of a rule, by its full name.
func (e *Evaluator) Where(rule string) (file string, line int, ok bool) {
	name, id, _ := strings.Cut(rule, ".")
	for _, p := range e.packs {
		for _, s := range p.spans {
			if p.name == name && p.rules[id] != nil && s.name == id {
				return s.file, s.row, true
			}
		}
	}
	return "", 0, false
}

// Risks is the part of Lint that refuses a bundle: where a rule fails silently on data that is absent or of another
// type, and the policy is weaker for it.
func (e *Evaluator) Risks() []Finding {
	l := e.follow()
	l.found = slices.DeleteFunc(l.found, func(f Finding) bool { return f.Lint != "may-not-fire" && f.Lint != "cross-type" })
	return l.sorted()
}

// follow looks at every rule that decides, and what it uses.
func (e *Evaluator) follow() *linter {
	l := &linter{e: e, done: map[string]bool{}, used: map[string]bool{}, told: map[string]bool{}}
	for _, file := range sortedKeys(e.compiler.Modules) {
		m := e.compiler.Modules[file]
		name := packagePath(m)[1]
		for _, r := range m.Rules {
			set := string(r.Head.Name)
			if !slices.Contains(sets, set) {
				continue
			}
			p := e.packs[slices.IndexFunc(e.packs, func(p *pack) bool { return p.name == name })]
			l.rule = p.rule(set, r.Head.Key).match.ID
			if unconditional(r.Body) {
				l.add("always-true", set == "allow", r.Location, "the rule fires whatever is asked", "state at least the phase: input.phase == \"before\"")
			}
			l.body(r, r.Body, set != "allow")
		}
	}
	return l
}

func (l *linter) sorted() []Finding {
	slices.SortStableFunc(l.found, func(a, b Finding) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		return a.Line - b.Line
	})
	return l.found
}

type linter struct {
	e     *Evaluator
	rule  string // of the set from which this was reached
	found []Finding
	done  map[string]bool // helpers by name and direction
	used  map[string]bool
	told  map[string]bool
}

func (l *linter) add(lint string, isError bool, at *ast.Location, text, safe string) {
	f := Finding{Lint: lint, Error: isError, Rule: l.rule, Text: text, Safe: safe}
	if at != nil {
		f.File, f.Line = at.File, at.Row
	}
	f.Waived = l.waived(f.File, f.Line, lint)
	if key := fmt.Sprint(f.Lint, f.File, f.Line, f.Text); !l.told[key] {
		l.told[key] = true
		l.found = append(l.found, f)
	}
}

// waived returns the reason that stands above the rule at this line.
func (l *linter) waived(file string, line int, lint string) string {
	m := l.e.compiler.Modules[file]
	if m == nil {
		return ""
	}
	head := 0
	for _, r := range m.Rules {
		if row := r.Location.Row; row <= line && row > head {
			head = row
		}
	}
	above := map[int]string{}
	for _, c := range m.Comments {
		above[c.Location.Row] = string(c.Text)
	}
	for row := head - 1; above[row] != ""; row-- {
		if why, ok := strings.CutPrefix(strings.TrimSpace(above[row]), "lint: "+lint+": "); ok {
			return strings.TrimSpace(why)
		}
	}
	return ""
}

func unconditional(b ast.Body) bool {
	return len(b) == 1 && b[0].Equal(ast.NewExpr(ast.BooleanTerm(true)))
}

// body looks at the conditions of r. Weakens says that the policy is weaker if they fail.
func (l *linter) body(r *ast.Rule, b ast.Body, weakens bool) {
	means := meanings(r)
	for _, e := range b {
		switch t := e.Terms.(type) {
		case *ast.Not:
			l.body(r, t.Body, !weakens)
			continue
		case *ast.Every:
			l.terms(r, e, []*ast.Term{t.Domain}, weakens)
			l.body(r, t.Body, weakens)
			continue
		case []*ast.Term:
			l.call(e, t, means, weakens == !e.Negated)
			l.order(e, t, b, means, weakens == !e.Negated)
			l.terms(r, e, t, weakens == !e.Negated)
		case *ast.Term:
			l.terms(r, e, []*ast.Term{t}, weakens == !e.Negated)
		}
	}
}

// raw are the parts of the input that nobody typed.
var raw = []ast.Ref{ast.MustParseRef("input.action.arguments"), ast.MustParseRef("input.context.result.content")}

func (l *linter) terms(r *ast.Rule, e *ast.Expr, terms []*ast.Term, weakens bool) {
	for _, t := range terms {
		ast.WalkRefs(t, func(ref ast.Ref) bool {
			for _, untyped := range raw {
				if weakens && ref.HasPrefix(untyped) {
					l.add("may-not-fire", true, e.Location, fmt.Sprintf("if %s is absent or of another type, this fails silently and the policy is weaker", shown(ref)),
						"refuse on a typed fact, or refuse unless the good case holds: not good, where good compares the value")
				}
			}
			if ref.HasPrefix(ast.DefaultRootRef) && len(ref) >= 4 {
				l.follow(ref[:4], weakens)
			}
			return false
		})
	}
}

// shown is ref without the names that the compiler made up.
func shown(ref ast.Ref) string {
	out := ref.GroundPrefix().String()
	if !ref.IsGround() {
		out += "[...]"
	}
	return out
}

func (l *linter) follow(ref ast.Ref, weakens bool) {
	name := ref.String()
	l.used[name] = true
	key := fmt.Sprint(name, weakens)
	if l.done[key] {
		return
	}
	l.done[key] = true
	for _, r := range l.e.compiler.GetRulesExact(ref) {
		for ; r != nil; r = r.Else {
			l.body(r, r.Body, weakens)
		}
	}
}

// meanings maps the variables of r that stand for a reference or constant to it.
func meanings(r *ast.Rule) map[ast.Var]*ast.Term {
	out := map[ast.Var]*ast.Term{}
	ast.WalkExprs(r, func(e *ast.Expr) bool {
		if e.IsEquality() {
			if v, ok := e.Operand(0).Value.(ast.Var); ok {
				out[v] = e.Operand(1)
			}
		}
		return false
	})
	return out
}

// meant is what t stands for.
func meant(t *ast.Term, means map[ast.Var]*ast.Term) *ast.Term {
	for range 4 {
		v, ok := t.Value.(ast.Var)
		if !ok || means[v] == nil {
			break
		}
		t = means[v]
	}
	return t
}

// lastName is the name at the end of the reference that t stands for.
func lastName(t *ast.Term, means map[ast.Var]*ast.Term) string {
	ref, ok := meant(t, means).Value.(ast.Ref)
	if !ok {
		return ""
	}
	name, _ := ref[len(ref)-1].Value.(ast.String)
	return string(name)
}

func (l *linter) call(e *ast.Expr, t []*ast.Term, means map[ast.Var]*ast.Term, weakens bool) {
	name := t[0].String()
	if len(t) < 3 {
		return
	}
	switch {
	case name == "regex.match":
		pattern, ok := t[1].Value.(ast.String)
		if ok && !weakens && !anchored(string(pattern)) {
			l.add("unanchored-regex", true, e.Location, fmt.Sprintf("%q also matches within a longer text, and here a match permits", string(pattern)), "^(?:...)$")
		}
	case name == "endswith":
		suffix, ok := t[2].Value.(ast.String)
		if f := lastName(t[1], means); ok && (f == "host" || f == "domain") && !strings.HasPrefix(string(suffix), ".") {
			l.add("host-suffix", true, e.Location, fmt.Sprintf("a host such as %q ends with %q, too", "evil"+string(suffix), string(suffix)),
				"compare the registrable domain (.domain == ...), or use a suffix that begins with a dot")
		}
	case name == "startswith":
		prefix, ok := t[2].Value.(ast.String)
		switch f := lastName(t[1], means); {
		case ok && f == "raw" && !weakens:
			l.add("path-form", true, e.Location, "a raw path may climb out of where it seems to be", "use resolved, inside and traversal of the path")
		case ok && f == "resolved" && !strings.HasSuffix(string(prefix), "/"):
			l.add("path-form", true, e.Location, fmt.Sprintf("a path such as %q begins with %q, too", string(prefix)+"-other/x", string(prefix)), "end the prefix with a slash, or use .inside")
		}
	}
}

// order finds comparisons that permit, and that a value of another type passes, too: in Rego every text is greater than
// every number, and null is less.
func (l *linter) order(e *ast.Expr, t []*ast.Term, b ast.Body, means map[ast.Var]*ast.Term, weakens bool) {
	if weakens || len(t) < 3 || !slices.Contains([]string{"lt", "lte", "gt", "gte"}, t[0].String()) {
		return
	}
	for _, operand := range t[1:3] {
		ref, ok := meant(operand, means).Value.(ast.Ref)
		if !ok || !slices.ContainsFunc(raw, func(r ast.Ref) bool { return ref.HasPrefix(r) }) {
			continue
		}
		if !slices.ContainsFunc(b, func(e *ast.Expr) bool {
			return e.IsCall() && !e.Negated && e.Operator().String() == "is_number" && meant(e.Operand(0), means).Equal(ast.NewTerm(ref))
		}) {
			l.add("cross-type", true, e.Location, fmt.Sprintf("%s may be a text or null, which compare with numbers, too, and here that permits", shown(ref)),
				fmt.Sprintf("is_number(%s), before it is compared", shown(ref)))
		}
	}
}

// anchored reports whether pattern can match nothing but whole texts. Alternatives count only within a group.
func anchored(pattern string) bool {
	start := strings.HasPrefix(pattern, "^") || strings.HasPrefix(pattern, `\A`)
	end := strings.HasSuffix(pattern, "$") && !strings.HasSuffix(pattern, `\$`) || strings.HasSuffix(pattern, `\z`)
	depth := 0
	for i := 0; i < len(pattern); i++ {
		switch pattern[i] {
		case '\\':
			i++
		case '(', '[':
			depth++
		case ')', ']':
			depth--
		case '|':
			if depth == 0 {
				return false
			}
		}
	}
	return start && end
}

func (l *linter) unused() {
	l.rule = ""
	for _, file := range sortedKeys(l.e.compiler.Modules) {
		m := l.e.compiler.Modules[file]
		for _, r := range m.Rules {
			if slices.Contains(sets, string(r.Head.Name)) || l.used[r.Path().String()] {
				continue
			}
			l.add("unused", false, r.Location, fmt.Sprintf("nothing that decides uses %s", r.Head.Name), "")
		}
	}
}

// secretLike are forms of credentials that have no place in a policy, which many people read.
var secretLike = regexp.MustCompile(`AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY|gh[pousr]_[A-Za-z0-9]{30,}|xox[abprs]-[A-Za-z0-9-]{10,}|sk-[A-Za-z0-9_-]{20,}|eyJ[A-Za-z0-9_-]{10,}\.eyJ`)

func (l *linter) secrets() {
	for _, file := range sortedKeys(l.e.compiler.Modules) {
		ast.WalkTerms(l.e.compiler.Modules[file], func(t *ast.Term) bool {
			if s, ok := t.Value.(ast.String); ok && secretLike.MatchString(string(s)) {
				l.add("secret-in-policy", true, t.Location, "a text looks like a credential", "compare a digest or a fingerprint")
			}
			return false
		})
	}
}
