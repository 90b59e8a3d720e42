// SPDX-License-Identifier: Apache-2.0

package rego

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/usage"
)

// compiled is the rules of all packs as closures over the typed query. It decides exactly as topdown does or
// says that it cannot; it is immutable, and safe for concurrent use through its pool of machines.
type compiled struct {
	tables []table
	always []*entry
	guards [][]int // raw parts of the query that must be JSON
	pool   sync.Pool
	lines  []Conjunction
	slow   *ast.Compiler // what is left to topdown; nil if nothing is
	packs  []*pack       // with the sets that slow still has
	query  ast.Body
	plan   *plan
}

// entry is one definition of one rule: a conjunction.
type entry struct {
	rank  int
	rest  bool // test is only what comes before the expression that is left to topdown
	test  func(m *machine) bool
	loose bool // must be run even if the rule fired already: topdown may stumble over it
}

// table finds the entries that compare one fact with a constant.
type table struct {
	fact string
	word func(m *machine) string
	by   map[string][]*entry
}

// Conjunction says how one definition of one rule is evaluated.
type Conjunction struct {
	Rule string `json:"rule"`
	File string `json:"file"`
	Line int    `json:"line"`
	Why  string `json:"why"` // it is left to topdown; "" if it is compiled
}

// scopes are the facts that rules are best found by, the most telling first. Any other text comes after them,
// and the phase, which halves the rules at most, last.
var scopes = []string{"input.resource.id", "input.resource.name", "input.resource.server", "input.subject.id", "input.action.name", "input.action.effect"}

// telling orders facts for finding rules by; nothing is least.
func telling(fact string) int {
	switch i := slices.Index(scopes, fact); {
	case fact == "":
		return len(scopes) + 2
	case fact == "input.phase":
		return len(scopes) + 1
	case i < 0:
		return len(scopes)
	default:
		return i
	}
}

// compileRules compiles what it can. It returns an error only for what topdown would refuse, too.
func (e *Evaluator) compileRules(modules map[string]*ast.Module, seen *usage.Tree) (*compiled, error) {
	if at := wordWithoutUnknown(queryType, seen); at != "" {
		return nil, fmt.Errorf("rego: %s has no unknown", at)
	}
	params, err := e.store.Read(context.Background(), e.txn, storage.Path{"params"})
	if err != nil {
		return nil, err
	}
	data, ok := params.(ast.Value)
	if !ok {
		return nil, fmt.Errorf("rego: params are %T", params)
	}
	c := newCompilation(e.compiler, data)
	out := &compiled{guards: rawParts(queryType, seen, nil)}
	kept := map[string]bool{}
	for _, file := range sortedKeys(e.compiler.Modules) {
		m := e.compiler.Modules[file]
		p := e.packs[slices.IndexFunc(e.packs, func(p *pack) bool { return p.name == packagePath(m)[1] })]
		for _, r := range m.Rules {
			set := string(r.Head.Name)
			if !slices.Contains(sets, set) {
				continue
			}
			said := p.rule(set, r.Head.Key)
			line := Conjunction{Rule: said.match.ID, File: file, Line: r.Location.Row}
			line.Why = out.add(c, said.rank, r)
			kept[place_(r)] = line.Why != ""
			out.lines = append(out.lines, line)
		}
	}
	if slices.Contains(mapValues(kept), true) {
		if err := out.leave(e, modules, kept); err != nil {
			return nil, err
		}
	}
	e.notes = c.notes
	out.pool.New = func() any {
		m := c.machine(len(e.ranked))
		return &m
	}
	return out, nil
}

func mapValues[K comparable, V any](m map[K]V) []V {
	out := make([]V, 0, len(m))
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

func place_(r *ast.Rule) string { return fmt.Sprint(r.Location.File, ":", r.Location.Offset) }

// add compiles one definition and returns why it could not.
func (out *compiled) add(c *compilation, rank int, r *ast.Rule) string {
	fn := &function{}
	s := &scope{c: c, fn: fn, vars: map[ast.Var]*operand{}}
	best, words := "", []string(nil)
	allowed := map[string][]string{}
	why := attempt(func() {
		for _, e := range r.Body {
			fact, w := discriminates(s, e)
			c.narrow(allowed, fact, w, e)
			if !s.loose && telling(fact) < telling(best) {
				best, words = fact, w
			}
			mark := *s
			if w := attempt(func() { s.expr(e) }); w != "" {
				s.steps, s.loose = mark.steps, mark.loose
				stay("%s", w)
			}
		}
		if r.Else != nil {
			stay("else")
		}
	})
	n := &entry{rank: rank, rest: why != "", loose: s.loose, test: s.exists()}
	c.size = max(c.size, fn.size+fn.need)
	if best == "" {
		out.always = append(out.always, n)
		return why
	}
	t := out.table(c, best)
	for _, w := range words {
		t.by[w] = append(t.by[w], n)
	}
	return why
}

// narrow keeps what fact may still be after a condition, and notes when nothing is left.
func (c *compilation) narrow(allowed map[string][]string, fact string, words []string, e *ast.Expr) {
	if fact == "" {
		return
	}
	old, met := allowed[fact]
	if !met {
		allowed[fact] = words
		return
	}
	left := slices.DeleteFunc(slices.Clone(words), func(w string) bool { return !slices.Contains(old, w) })
	if len(left) == 0 && len(old) > 0 {
		c.notes = append(c.notes, note{e.Location, fmt.Sprintf("%s is one of %q by an earlier condition, so that this never holds", fact, old), true})
	}
	allowed[fact] = left
}

func (out *compiled) table(c *compilation, fact string) *table {
	for i := range out.tables {
		if out.tables[i].fact == fact {
			return &out.tables[i]
		}
	}
	out.tables = append(out.tables, table{fact: fact, word: c.facts[fact].str, by: map[string][]*entry{}})
	return &out.tables[len(out.tables)-1]
}

// discriminates reports which text of the query e compares with which constants, if it does.
func discriminates(s *scope, e *ast.Expr) (fact string, words []string) {
	if e.Negated || len(e.With) > 0 || !e.IsCall() || len(e.Operands()) != 2 {
		return "", nil
	}
	a, b := e.Operand(0), e.Operand(1)
	switch op := e.Operator().String(); op {
	case "eq", "equal":
		if _, ok := a.Value.(ast.String); ok {
			a, b = b, a
		}
		if w, ok := b.Value.(ast.String); ok {
			return factOf(s, a), []string{string(w)}
		}
	case "internal.member_2":
		set, ok := b.Value.(ast.Set)
		if !ok || !written(b) {
			break
		}
		for _, t := range set.Slice() {
			if w, ok := t.Value.(ast.String); ok {
				words = append(words, string(w))
			}
		}
		return factOf(s, a), words
	}
	return "", nil
}

// factOf returns the name of the text of the query that t reads, "" if it is anything else.
func factOf(s *scope, t *ast.Term) string {
	var o *operand
	switch v := t.Value.(type) {
	case ast.Var:
		o = s.lookup(v)
	case ast.Ref:
		if !v.HasPrefix(ast.InputRootRef) || !v.IsGround() {
			return ""
		}
		if attempt(func() { o = s.child().ref(v) }) != "" {
			return ""
		}
	}
	if o == nil || o.fact == "" || o.str == nil {
		return ""
	}
	s.c.facts[o.fact] = o
	return o.fact
}

// leave compiles what is left to topdown.
func (out *compiled) leave(e *Evaluator, modules map[string]*ast.Module, kept map[string]bool) (err error) {
	rest := map[string]*ast.Module{}
	has := map[string]map[string]bool{}
	for file, m := range modules {
		m = m.Copy()
		m.Rules = slices.DeleteFunc(m.Rules, func(r *ast.Rule) bool {
			return slices.Contains(sets, string(r.Head.Name)) && !kept[place_(r)]
		})
		name := packagePath(m)[1]
		if has[name] == nil {
			has[name] = map[string]bool{}
		}
		for _, r := range m.Rules {
			has[name][string(r.Head.Name)] = true
		}
		rest[file] = m
	}
	out.slow = ast.NewCompiler().WithCapabilities(capabilities())
	if out.slow.Compile(rest); out.slow.Failed() {
		return fmt.Errorf("rego: %w", out.slow.Errors)
	}
	for _, p := range e.packs {
		out.packs = append(out.packs, &pack{name: p.name, has: has[p.name], rules: p.rules})
	}
	out.plan = newPlan(used(out.slow))
	parsed, err := ast.ParseBodyWithOpts(source(out.packs), ast.ParserOptions{Capabilities: capabilities()})
	if err != nil {
		return fmt.Errorf("rego: query: %w", err)
	}
	out.query, err = out.slow.QueryCompiler().Compile(parsed)
	return err
}

// wordWithoutUnknown returns a seen word whose list has no unknown: topdown errs when it is off its list.
func wordWithoutUnknown(t reflect.Type, u *usage.Tree) string {
	switch {
	case t == rawType:
		return ""
	case t.Implements(enumType):
		if !slices.Contains(reflect.Zero(t).Interface().(enumerated).Values(), "unknown") {
			return t.Name()
		}
		return ""
	}
	switch t.Kind() {
	case reflect.Slice:
		return wordWithoutUnknown(t.Elem(), nil)
	case reflect.Struct:
		for i := range t.NumField() {
			if sub, ok := u.Field(t.Field(i).Tag.Get("json")); ok {
				if at := wordWithoutUnknown(t.Field(i).Type, sub); at != "" {
					return at
				}
			}
		}
	}
	return ""
}

// rawParts lists the seen parts that hold JSON of others.
func rawParts(t reflect.Type, u *usage.Tree, path []int) (out [][]int) {
	if t == rawType {
		return [][]int{slices.Clone(path)}
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	for i := range t.NumField() {
		if sub, ok := u.Field(t.Field(i).Tag.Get("json")); ok {
			out = append(out, rawParts(t.Field(i).Type, sub, append(path, i))...)
		}
	}
	return out
}

// run finds the rules that fire. It reports false if the decision is topdown's.
func (out *compiled) run(m *machine, q *action.Query) bool {
	m.begin(q)
	for _, path := range out.guards {
		if raw := m.root.FieldByIndex(path).Bytes(); len(raw) > 0 && !harmless(raw) && action.Check(raw, action.Limits{}) != nil {
			return false
		}
	}
	m.try(out.always)
	for i := range out.tables {
		if t := &out.tables[i]; len(t.by) > 0 && !m.left {
			m.try(t.by[t.word(m)])
		}
	}
	return !m.left
}

// begin forgets the query before.
func (m *machine) begin(q *action.Query) {
	if m.gen++; m.gen == 0 {
		clear(m.words)
		clear(m.memo)
		clear(m.raws)
		clear(m.seen)
		m.gen = 1
	}
	m.q, m.root = q, reflect.ValueOf(q).Elem()
	m.base, m.steps, m.left, m.rest, m.fired = 0, 0, false, false, m.fired[:0]
}

func (m *machine) try(entries []*entry) {
	for _, e := range entries {
		switch {
		case m.left:
			return
		case e.rest && m.rest && !e.loose, m.seen[e.rank] == m.gen && !e.loose:
		case !e.test(m):
		case e.rest:
			m.rest = true
		case m.seen[e.rank] != m.gen:
			m.seen[e.rank] = m.gen
			m.fired = append(m.fired, e.rank)
		}
	}
}
