// SPDX-License-Identifier: Apache-2.0

package rego

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/sallyport/sallyport/action"
)

var queryType = reflect.TypeFor[action.Query]()

// compilation turns the rules of all packs into closures.
type compilation struct {
	compiler  *ast.Compiler
	params    ast.Value
	words     map[string]int // scalar facts by path
	raws      map[string]int
	rawPaths  [][]int
	functions map[string]*function
	facts     map[string]*operand // texts of the query that rules are found by
	memos     int
	at        *ast.Location // of the expression that is being compiled
	notes     []note
	terms     map[string]*ast.Term // of the texts that machines meet
	size      int                  // slots that the deepest chain of calls needs
}

// note is something that only who knows the types can see.
type note struct {
	at          *ast.Location
	text        string
	contradicts bool // an earlier condition
}

// compared notes a word that o can never be.
func (c *compilation) compared(o *operand, w string) {
	if o.words != nil && !slices.Contains(o.words, w) {
		c.notes = append(c.notes, note{c.at, fmt.Sprintf("%q is none of %s", w, strings.Join(o.words, ", ")), false})
	}
}

func newCompilation(compiler *ast.Compiler, params ast.Value) *compilation {
	c := &compilation{compiler: compiler, params: params, words: map[string]int{}, raws: map[string]int{}, functions: map[string]*function{},
		facts: map[string]*operand{}, terms: maps.Clone(factWords())}
	for _, m := range compiler.Modules {
		for _, r := range m.Rules {
			if slices.Contains(sets, string(r.Head.Name)) {
				continue // many, and what they compare with is compared in its own form
			}
			ast.WalkTerms(r, func(t *ast.Term) bool {
				if w, ok := t.Value.(ast.String); ok {
					c.terms[string(w)] = t
				}
				return false
			})
		}
	}
	return c
}

// machine makes what runs the compiled rules.
func (c *compilation) machine(rules int) machine {
	return machine{words: make([]cachedWord, len(c.words)), memo: make([]memo, c.memos), raws: make([]memo, len(c.raws)),
		slots: make([]value, c.size), seen: make([]uint32, rules), bctx: newBuiltinContext(), terms: c.terms}
}

func pathKey(path []int) string { return fmt.Sprint(path) }

func (c *compilation) word(path []int) int { return number_(c.words, pathKey(path)) }

func (c *compilation) raw(path []int) int {
	i := number_(c.raws, pathKey(path))
	if i == len(c.rawPaths) {
		c.rawPaths = append(c.rawPaths, path)
	}
	return i
}

func number_(m map[string]int, key string) int {
	if i, ok := m[key]; ok {
		return i
	}
	m[key] = len(m)
	return m[key]
}

// function is a rule or function of the policy, compiled for the types of its arguments.
type function struct {
	run   func(m *machine) (value, bool)
	test  func(m *machine) bool // defined and not false
	typ   reflect.Type
	loose bool
	konst ast.Value // of a rule that always has the same value
	size  int       // slots of its own frame
	need  int       // of what it calls
	why   string    // it cannot be compiled
}

func (f *function) slot() int {
	f.size++
	return f.size - 1
}

func (f *function) calls(g *function) { f.need = max(f.need, g.size+g.need) }

// arity is the number of arguments of the function at ref.
func (c *compilation) arity(ref ast.Ref) int {
	rules := c.rules(ref)
	return len(rules[0].Head.Args)
}

func (c *compilation) rules(ref ast.Ref) []*ast.Rule {
	rules := c.compiler.GetRulesExact(ref)
	if len(rules) == 0 {
		stay("%s", ref)
	}
	for _, r := range rules {
		if len(r.Head.Ref()) != 1 {
			stay("%s has a reference for its head", ref)
		}
	}
	return rules
}

// rule is the value of the rule at ref, found once per decision.
func (c *compilation) rule(s *scope, ref ast.Ref) *operand {
	f := c.instance(ref, nil)
	if f.konst != nil {
		return constant_(f.konst)
	}
	s.fn.calls(f)
	s.loose = s.loose || f.loose
	caller := s.fn
	return &operand{typ: f.typ,
		get: func(m *machine) (value, bool) {
			back := m.base
			m.base += caller.size
			v, ok := f.run(m)
			m.base = back
			return v, ok
		},
		test: func(m *machine) bool {
			back := m.base
			m.base += caller.size
			ok := f.test(m)
			m.base = back
			return ok
		},
	}
}

// instance compiles the rule or function at ref for arguments of these types.
func (c *compilation) instance(ref ast.Ref, types []reflect.Type) *function {
	key := ref.String()
	for _, t := range types {
		key += fmt.Sprintf("/%v", t)
	}
	f := c.functions[key]
	if f == nil {
		f = &function{}
		c.functions[key] = f
		f.why = attempt(func() { c.define(f, c.rules(ref), types) })
	}
	if f.why != "" {
		stay("%s", f.why)
	}
	return f
}

// attempt runs compile and returns why it had to leave something to topdown.
func attempt(compile func()) (why string) {
	defer func() {
		if p := recover(); p != nil {
			o, ok := p.(outside)
			if !ok {
				panic(p)
			}
			why = o.why
		}
	}()
	compile()
	return ""
}

func (c *compilation) define(f *function, rules []*ast.Rule, types []reflect.Type) {
	for range types {
		f.slot()
	}
	var run func(m *machine) (value, bool)
	switch {
	case rules[0].Head.RuleKind() == ast.MultiValue:
		run = c.defineSet(f, rules)
	case rules[0].Head.Key != nil:
		stay("%s is a partial object", rules[0].Head.Name)
	default:
		run = c.defineValue(f, rules, types)
	}
	f.run = run
	f.test = func(m *machine) bool {
		v, ok := run(m)
		return ok && !v.isFalse()
	}
	if types != nil || f.konst != nil {
		return
	}
	i := c.memos
	c.memos++
	find := func(m *machine) *memo {
		e := &m.memo[i]
		if e.gen != m.gen {
			e.v, e.ok = run(m)
			e.gen = m.gen
		}
		return e
	}
	f.run = func(m *machine) (value, bool) {
		e := find(m)
		return e.v, e.ok
	}
	f.test = func(m *machine) bool {
		e := find(m)
		return e.ok && !e.v.isFalse()
	}
}

// defineSet compiles a partial set.
func (c *compilation) defineSet(f *function, rules []*ast.Rule) func(m *machine) (value, bool) {
	slot := f.slot()
	var runs []cond
	for _, r := range rules {
		if r.Else != nil || r.Default {
			stay("a set with else")
		}
		s := &scope{c: c, fn: f, vars: map[ast.Var]*operand{}}
		s.body(r.Body)
		o := s.sure(s.term(r.Head.Key))
		f.loose = f.loose || s.loose
		runs = append(runs, s.chain(func(m *machine) bool {
			v, _ := o.get(m)
			t, ok := m.term(&v)
			if !ok {
				m.leave()
				return true
			}
			m.slots[m.base+slot].a.(ast.Set).Add(t)
			return false
		}))
	}
	return func(m *machine) (value, bool) {
		m.slots[m.base+slot] = value{kind: foreign, a: ast.NewSet()}
		for _, run := range runs {
			run(m)
		}
		return m.slots[m.base+slot], !m.left
	}
}

// defineValue compiles complete rules and functions. Where two definitions could have different values, all
// are run to their ends, and two different answers are topdown's to report.
func (c *compilation) defineValue(f *function, rules []*ast.Rule, types []reflect.Type) func(m *machine) (value, bool) {
	var fallback *operand
	var plain []*ast.Rule
	for _, r := range rules {
		if r.Default {
			if fallback = constant_(r.Head.Value.Value); !written(r.Head.Value) {
				stay("a default that is computed")
			}
			continue
		}
		if r.Else != nil {
			stay("else")
		}
		plain = append(plain, r)
	}
	if len(plain) == 1 && len(types) == 0 && written(plain[0].Head.Value) && plain[0].Body.Equal(ast.NewBody(ast.NewExpr(ast.BooleanTerm(true)))) {
		f.konst = plain[0].Head.Value.Value
		return nil
	}
	one := oneValue(plain)
	scopes := make([]*scope, len(plain))
	for i, r := range plain {
		scopes[i] = c.open(f, r, types)
		f.loose = f.loose || scopes[i].loose
	}
	if one != nil && !f.loose {
		return c.anyOf(f, scopes, constant_(one), fallback)
	}
	f.loose = f.loose || one == nil && (len(plain) > 1 || enumerates(scopes))
	return c.allOf(f, scopes, plain, fallback)
}

// enumerates reports whether a body can have more than one answer. Whoever cannot tell says yes.
func enumerates(scopes []*scope) bool {
	for _, s := range scopes {
		if s.loops {
			return true
		}
	}
	return false
}

// oneValue is the constant that all rules have for a value, nil if there is none.
func oneValue(rules []*ast.Rule) ast.Value {
	if len(rules) == 0 {
		return nil
	}
	first := rules[0].Head.Value
	for _, r := range rules {
		if !written(r.Head.Value) || !r.Head.Value.Equal(first) {
			return nil
		}
	}
	return first.Value
}

// open compiles the parameters and the body of r.
func (c *compilation) open(f *function, r *ast.Rule, types []reflect.Type) *scope {
	s := &scope{c: c, fn: f, vars: map[ast.Var]*operand{}}
	for i, a := range r.Head.Args {
		o := slotOperand(i, types[i])
		switch v := a.Value.(type) {
		case ast.Var:
			if old := s.vars[v]; old != nil {
				s.check(s.same(old, o))
			}
			s.vars[v] = o
		case ast.String, ast.Number, ast.Boolean, ast.Null:
			s.check(s.same(o, constant_(v)))
		default:
			stay("a function with a pattern for an argument")
		}
	}
	s.body(r.Body)
	return s
}

func (c *compilation) anyOf(f *function, scopes []*scope, o, fallback *operand) func(m *machine) (value, bool) {
	tests := make([]func(m *machine) bool, len(scopes))
	for i, s := range scopes {
		tests[i] = s.exists()
	}
	yes, _ := o.get(nil)
	f.typ = o.typ
	var otherwise value
	if fallback != nil {
		otherwise, _ = fallback.get(nil)
		if fallback.typ != o.typ {
			f.typ = nil
		}
	}
	return func(m *machine) (value, bool) {
		for _, test := range tests {
			if test(m) {
				return yes, true
			}
		}
		return otherwise, fallback != nil
	}
}

func (c *compilation) allOf(f *function, scopes []*scope, rules []*ast.Rule, fallback *operand) func(m *machine) (value, bool) {
	slot := f.slot()
	runs := make([]cond, len(scopes))
	for i, s := range scopes {
		o := s.sure(s.term(rules[i].Head.Value))
		runs[i] = s.chain(func(m *machine) bool {
			v, _ := o.get(m)
			old := &m.slots[m.base+slot]
			if old.kind != none && !m.equal(old, &v) {
				m.leave()
				return true
			}
			*old = v
			return false
		})
	}
	return func(m *machine) (value, bool) {
		m.slots[m.base+slot] = value{}
		for _, run := range runs {
			run(m)
		}
		if v := m.slots[m.base+slot]; v.kind != none {
			return v, true
		}
		if fallback == nil {
			return value{}, false
		}
		return fallback.get(m)
	}
}
