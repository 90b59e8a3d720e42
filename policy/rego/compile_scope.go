// SPDX-License-Identifier: Apache-2.0

package rego

import (
	"fmt"
	"reflect"

	"github.com/open-policy-agent/opa/v1/ast"
)

// outside says why an expression cannot be compiled.
type outside struct{ why string }

func (o outside) Error() string { return o.why }

// stay leaves the expression to topdown.
func stay(format string, args ...any) { panic(outside{fmt.Sprintf(format, args...)}) }

// cond runs the rest of a body and reports whether to look for no further answer.
type cond func(m *machine) bool

// scope compiles one body: a row of steps, each of which goes on to the next for each of its answers.
type scope struct {
	c     *compilation
	fn    *function
	outer *scope
	vars  map[ast.Var]*operand
	loops bool // it may have several answers
	steps []func(next cond) cond
	// loose says that running the body may end in topdown's hands. Such a body is always run to its end:
	// then everything that topdown may stumble over is met here too.
	loose bool
}

func (s *scope) child() *scope {
	return &scope{c: s.c, fn: s.fn, outer: s, vars: map[ast.Var]*operand{}}
}

func (s *scope) lookup(v ast.Var) *operand {
	for ; s != nil; s = s.outer {
		if o := s.vars[v]; o != nil {
			return o
		}
	}
	return nil
}

// chain puts the steps together.
func (s *scope) chain(last cond) cond {
	for i := len(s.steps) - 1; i >= 0; i-- {
		last = s.steps[i](last)
	}
	return last
}

// exists reports whether the body has an answer.
func (s *scope) exists() func(m *machine) bool {
	if !s.loose {
		return s.chain(func(*machine) bool { return true })
	}
	found := s.fn.slot()
	run := s.chain(func(m *machine) bool {
		m.slots[m.base+found].kind = truth
		return false
	})
	return func(m *machine) bool {
		m.slots[m.base+found].kind = none
		run(m)
		return m.slots[m.base+found].kind == truth
	}
}

// check adds a test.
func (s *scope) check(test func(m *machine) bool) {
	s.steps = append(s.steps, func(next cond) cond {
		return func(m *machine) bool { return test(m) && next(m) }
	})
}

// hold keeps o in a slot, going on only if it is defined.
func (s *scope) hold(o *operand) *operand {
	i, get := s.fn.slot(), o.get
	s.check(func(m *machine) bool {
		v, ok := get(m)
		m.slots[m.base+i] = v
		return ok
	})
	held := slotOperand(i, o.typ)
	held.elems, held.words = o.elems, o.words
	return held
}

// sure returns o in a form that is always defined and costs nothing to read again.
func (s *scope) sure(o *operand) *operand {
	if o.total && o.fixed {
		return o
	}
	return s.hold(o)
}

func (s *scope) body(b ast.Body) {
	for _, e := range b {
		s.expr(e)
	}
}

func (s *scope) expr(e *ast.Expr) {
	s.c.at = e.Location
	if len(e.With) > 0 {
		stay("with")
	}
	if e.Negated {
		s.negate(ast.NewBody(e.ComplementNoWith()))
		return
	}
	switch t := e.Terms.(type) {
	case *ast.Term:
		s.passes(s.term(t))
	case []*ast.Term:
		if e.IsEquality() {
			s.unify(t[1], t[2])
			return
		}
		s.call(t)
	case *ast.Not:
		s.negate(t.Body)
	case *ast.Every:
		s.every(t)
	default:
		stay("expression of kind %T", t)
	}
}

func (s *scope) passes(o *operand) {
	switch {
	case o.test != nil:
		s.check(o.test)
	case o.konst != nil:
		ok := o.konst.Compare(ast.Boolean(false)) != 0
		s.check(func(*machine) bool { return ok })
	default:
		get := o.get
		s.check(func(m *machine) bool {
			v, ok := get(m)
			return ok && !v.isFalse()
		})
	}
}

func (s *scope) negate(b ast.Body) {
	in := s.child()
	in.body(b)
	s.loose = s.loose || in.loose
	found := in.exists()
	s.check(func(m *machine) bool { return !found(m) && !m.left })
}

func (s *scope) every(t *ast.Every) {
	domain := s.sure(s.term(t.Domain))
	in := s.child()
	key, val := s.fn.slot(), s.fn.slot()
	in.bindSlot(t.Key, key, nil)
	in.bindSlot(t.Value, val, elemType(domain))
	in.body(t.Body)
	all, _ := elements(domain.konst)
	s.loose = s.loose || in.loose || domain.list == nil && all == nil
	holds := in.exists()
	each := s.iterate(domain, key, val)
	fails := func(m *machine) bool { return !holds(m) }
	s.check(func(m *machine) bool {
		stopped := each(m, fails)
		return !stopped && !m.left
	})
}

func (s *scope) bindSlot(t *ast.Term, slot int, typ reflect.Type) {
	if t == nil {
		return
	}
	v, ok := t.Value.(ast.Var)
	if !ok {
		stay("a pattern in every")
	}
	s.vars[v] = slotOperand(slot, typ)
}

func elemType(o *operand) reflect.Type {
	if _, texts := elements(o.konst); texts {
		return textType
	}
	if o.list != nil && o.at != nil {
		return o.at.typ.Elem()
	}
	return nil
}

// pair is an element of a constant under its key.
type pair struct{ key, val value }

// elements are those of a list, set or object that is a constant, in the order in which Rego goes through them, and whether all
// are texts. Nil is no such constant; an empty one has elements, none.
func elements(v ast.Value) (all []pair, texts bool) {
	texts = true
	add := func(k, e ast.Value) {
		p := pair{foreignValue(k), foreignValue(e)}
		all, texts = append(all, p), texts && p.val.kind == text_
	}
	all = []pair{}
	switch a := v.(type) {
	case *ast.Array:
		for i := range a.Len() {
			add(ast.InternedTerm(i).Value, a.Elem(i).Value)
		}
	case ast.Object:
		a.Foreach(func(k, e *ast.Term) { add(k.Value, e.Value) })
	case ast.Set:
		a.Foreach(func(e *ast.Term) { add(e.Value, e.Value) })
	default:
		return nil, false
	}
	return all, texts
}

// iterate returns a function that runs next for each element of o, with key and element in their slots,
// until next says to stop.
func (s *scope) iterate(o *operand, key, val int) func(m *machine, next cond) bool {
	if o.list != nil {
		list, read := o.list, elemReader(elemType(o))
		return func(m *machine, next cond) bool {
			l := list(m)
			for i := range l.Len() {
				if !m.step() {
					return true
				}
				m.slots[m.base+key] = value{kind: whole, n: int64(i)}
				m.slots[m.base+val] = read(l.Index(i))
				if next(m) {
					return true
				}
			}
			return false
		}
	}
	if all, _ := elements(o.konst); all != nil {
		return func(m *machine, next cond) bool {
			for i := range all {
				if !m.step() {
					return true
				}
				m.slots[m.base+key], m.slots[m.base+val] = all[i].key, all[i].val
				if next(m) {
					return true
				}
			}
			return false
		}
	}
	get := o.get
	return func(m *machine, next cond) bool {
		v, _ := get(m)
		each := func(k, e *ast.Term) bool {
			if !m.step() {
				return true
			}
			m.slots[m.base+key], m.slots[m.base+val] = foreignValue(k.Value), foreignValue(e.Value)
			return next(m)
		}
		t, ok := m.term(&v)
		if !ok {
			m.leave()
			return true
		}
		switch a := t.Value.(type) {
		case *ast.Array:
			for i := range a.Len() {
				if each(ast.InternedTerm(i), a.Elem(i)) {
					return true
				}
			}
			return false
		case ast.Object:
			return a.Until(each)
		case ast.Set:
			return a.Until(func(e *ast.Term) bool { return each(e, e) })
		}
		// Scalars have no elements; how each construct takes that is topdown's to say.
		m.leave()
		return true
	}
}

// unify makes two terms equal: it binds the variables that are free and compares the rest.
func (s *scope) unify(a, b *ast.Term) {
	if s.free(b) && !s.free(a) {
		a, b = b, a
	}
	if s.free(b) {
		stay("a unification of two patterns")
	}
	if v, ok := a.Value.(ast.Var); ok && s.free(a) {
		s.vars[v] = s.sure(s.term(b))
		return
	}
	if arr, ok := a.Value.(*ast.Array); ok && s.free(a) {
		s.destructure(arr, s.sure(s.term(b)))
		return
	}
	if s.free(a) {
		stay("a pattern of an object or a reference")
	}
	x := s.sure(s.term(a))
	s.check(s.same(x, s.sure(s.term(b))))
}

// destructure takes an array apart.
func (s *scope) destructure(pattern *ast.Array, o *operand) {
	n := pattern.Len()
	slots := make([]int, n)
	for i := range n {
		slots[i] = s.fn.slot()
	}
	get := o.get
	s.check(func(m *machine) bool {
		v, _ := get(m)
		t, ok := m.term(&v)
		if !ok {
			m.leave()
			return false
		}
		arr, ok := t.Value.(*ast.Array)
		if !ok || arr.Len() != n {
			return false
		}
		for i, slot := range slots {
			m.slots[m.base+slot] = foreignValue(arr.Elem(i).Value)
		}
		return true
	})
	for i := range n {
		elem, at := pattern.Elem(i), slotOperand(slots[i], nil)
		switch v, ok := elem.Value.(ast.Var); {
		case ok && s.free(elem):
			s.vars[v] = at
		case s.free(elem):
			stay("a pattern within a pattern")
		default:
			s.check(s.same(s.sure(s.term(elem)), at))
		}
	}
}

// same compares two operands that are sure.
func (s *scope) same(x, y *operand) func(m *machine) bool {
	if x.konst != nil {
		x, y = y, x
	}
	if w, ok := y.konst.(ast.String); ok {
		s.c.compared(x, string(w))
	}
	switch {
	case x.str != nil && y.konst != nil && y.str != nil:
		a, b := x.str, y.str(nil)
		return func(m *machine) bool { return a(m) == b }
	case x.str != nil && y.str != nil:
		a, b := x.str, y.str
		return func(m *machine) bool { return a(m) == b(m) }
	case x.num != nil && y.num != nil:
		a, b := x.num, y.num
		return func(m *machine) bool { return a(m) == b(m) }
	}
	a, b := x.get, y.get
	return func(m *machine) bool {
		v, _ := a(m)
		w, _ := b(m)
		return m.equal(&v, &w) && !m.left
	}
}

// free reports whether t holds a variable that has no value yet, other than as an index of a reference
// and within a comprehension.
func (s *scope) free(t *ast.Term) bool {
	switch v := t.Value.(type) {
	case ast.Var:
		return v != ast.InputRootDocument.Value.(ast.Var) && s.lookup(v) == nil
	case *ast.Array:
		return v.Until(s.free)
	case ast.Set:
		return v.Until(s.free)
	case ast.Object:
		return v.Until(func(k, v *ast.Term) bool { return s.free(k) || s.free(v) })
	}
	return false
}
