// SPDX-License-Identifier: Apache-2.0

package rego

import (
	"reflect"

	"github.com/open-policy-agent/opa/v1/ast"
)

// term compiles t, whose variables are bound. Where t enumerates, the steps for that come before.
func (s *scope) term(t *ast.Term) *operand {
	switch v := t.Value.(type) {
	case ast.String, ast.Number, ast.Boolean, ast.Null:
		return constant_(v)
	case ast.Var:
		if o := s.lookup(v); o != nil {
			return o
		}
		if v == ast.InputRootDocument.Value.(ast.Var) {
			stay("the whole input")
		}
		stay("variable %s has no value here", v)
	case ast.Ref:
		return s.ref(v)
	case *ast.Array:
		return s.array(t, v)
	case ast.Set:
		return s.set(t, v)
	case ast.Object:
		return s.object(t, v)
	case *ast.ArrayComprehension, *ast.SetComprehension, *ast.ObjectComprehension:
		return s.comprehension(v)
	}
	stay("term of kind %s", ast.ValueName(t.Value))
	return nil
}

// written reports whether t is written out in full.
func written(t *ast.Term) bool {
	found := false
	ast.WalkTerms(t, func(t *ast.Term) bool {
		switch t.Value.(type) {
		case ast.Var, ast.Ref, ast.Call, *ast.ArrayComprehension, *ast.SetComprehension, *ast.ObjectComprehension, *ast.TemplateString:
			found = true
		}
		return found
	})
	return !found
}

func (s *scope) parts(n int, part func(i int) *ast.Term) []*operand {
	out := make([]*operand, n)
	for i := range out {
		out[i] = s.sure(s.term(part(i)))
	}
	return out
}

// gather brings the values of parts into OPA's form.
func (m *machine) gather(parts []*operand) ([]*ast.Term, bool) {
	out := make([]*ast.Term, len(parts))
	for i, p := range parts {
		v, _ := p.get(m)
		t, ok := m.term(&v)
		if !ok {
			m.leave()
			return nil, false
		}
		out[i] = t
	}
	return out, true
}

func (s *scope) array(t *ast.Term, a *ast.Array) *operand {
	if written(t) {
		return constant_(a)
	}
	elems := s.parts(a.Len(), a.Elem)
	return &operand{elems: elems, total: true, fixed: true, get: func(m *machine) (value, bool) {
		terms, ok := m.gather(elems)
		return value{kind: foreign, a: ast.NewArray(terms...)}, ok
	}}
}

func (s *scope) set(t *ast.Term, a ast.Set) *operand {
	if written(t) {
		return constant_(a)
	}
	all := a.Slice()
	elems := s.parts(len(all), func(i int) *ast.Term { return all[i] })
	return &operand{get: func(m *machine) (value, bool) {
		terms, ok := m.gather(elems)
		return value{kind: foreign, a: ast.NewSet(terms...)}, ok
	}}
}

func (s *scope) object(t *ast.Term, a ast.Object) *operand {
	if written(t) {
		return constant_(a)
	}
	keys := a.Keys()
	for _, k := range keys {
		if !written(k) {
			stay("an object whose names are computed")
		}
	}
	elems := s.parts(len(keys), func(i int) *ast.Term { return a.Get(keys[i]) })
	return &operand{get: func(m *machine) (value, bool) {
		terms, ok := m.gather(elems)
		if !ok {
			return value{}, false
		}
		obj := ast.NewObject()
		for i, k := range keys {
			obj.Insert(k, terms[i])
		}
		return value{kind: foreign, a: obj}, true
	}}
}

func (s *scope) comprehension(v ast.Value) *operand {
	in := s.child()
	var body ast.Body
	var val *ast.Term
	switch v := v.(type) {
	case *ast.ArrayComprehension:
		body, val = v.Body, v.Term
	case *ast.SetComprehension:
		body, val = v.Body, v.Term
	case *ast.ObjectComprehension:
		stay("an object comprehension")
	}
	in.body(body)
	o := in.sure(in.term(val))
	s.loose = s.loose || in.loose
	slot := s.fn.slot()
	run := in.chain(func(m *machine) bool {
		v, _ := o.get(m)
		t, ok := m.term(&v)
		if !ok {
			m.leave()
			return true
		}
		list := &m.slots[m.base+slot]
		if set, ok := list.a.(ast.Set); ok {
			set.Add(t)
		} else {
			list.a = list.a.(*ast.Array).Append(t)
		}
		return false
	})
	_, isSet := v.(*ast.SetComprehension)
	return &operand{total: true, get: func(m *machine) (value, bool) {
		if isSet {
			m.slots[m.base+slot] = value{kind: foreign, a: ast.NewSet()}
		} else {
			m.slots[m.base+slot] = value{kind: foreign, a: ast.NewArray()}
		}
		run(m)
		return m.slots[m.base+slot], !m.left
	}}
}

// ref follows a reference as far as it is known now; the rest is looked up at run time.
func (s *scope) ref(r ast.Ref) *operand {
	head, ok := r[0].Value.(ast.Var)
	if !ok {
		stay("a reference into a term")
	}
	switch {
	case head == ast.InputRootDocument.Value.(ast.Var):
		if len(r) == 1 {
			stay("the whole input")
		}
		before := len(s.steps)
		o := s.follow(nil, &place{slot: -1, typ: queryType}, r[1:])
		if o.total && o.fixed && len(s.steps) == before {
			o.fact = r.String()
		}
		return o
	case head == ast.DefaultRootDocument.Value.(ast.Var):
		return s.data(r)
	}
	o := s.lookup(head)
	if o == nil {
		stay("variable %s has no value here", head)
	}
	return s.follow(o, o.at, r[1:])
}

func (s *scope) data(r ast.Ref) *operand {
	if len(r) >= 2 && r[1].Value.Compare(ast.String("params")) == 0 {
		v, rest := s.c.params, r[2:]
		for len(rest) > 0 && written(rest[0]) {
			found, err := v.Find(ast.Ref{rest[0]})
			if err != nil {
				return undefined()
			}
			v, rest = found, rest[1:]
		}
		return s.follow(constant_(v), nil, rest)
	}
	if len(r) < 4 {
		stay("a reference to a whole package")
	}
	return s.follow(s.c.rule(s, r[:4]), nil, r[4:])
}

// follow goes from where it stands, o or at, along rest.
func (s *scope) follow(o *operand, at *place, rest ast.Ref) *operand {
	for len(rest) > 0 {
		t := rest[0]
		rest = rest[1:]
		if at != nil && at.typ.Kind() == reflect.Struct {
			name, ok := t.Value.(ast.String)
			if !ok {
				stay("a fact whose name is computed")
			}
			next, ok := at.field(string(name))
			if !ok {
				return undefined()
			}
			o, at = nil, &next
			if k := next.typ.Kind(); next.typ == rawType || k != reflect.Struct && k != reflect.Slice {
				o, at = s.c.read(next), nil
			}
			continue
		}
		if o == nil {
			o = s.c.read(*at)
		}
		o = s.sure(o)
		if s.free(t) {
			o = s.enumerate(o, t)
		} else {
			o = s.index(o, s.sure(s.term(t)))
		}
		at = o.at
	}
	if o == nil {
		o = s.c.read(*at)
	}
	return o
}

// enumerate goes through o, binding the variable t to each key.
func (s *scope) enumerate(o *operand, t *ast.Term) *operand {
	v, ok := t.Value.(ast.Var)
	if !ok {
		stay("a pattern as an index")
	}
	key, val := s.fn.slot(), s.fn.slot()
	s.vars[v] = slotOperand(key, nil)
	if o.list != nil {
		s.vars[v] = slotOperand(key, wholeType)
	}
	s.loops = true
	each := s.iterate(o, key, val)
	if all, _ := elements(o.konst); o.list == nil && all == nil {
		get, inner := o.get, each
		// A scalar has no elements, so that there is no answer.
		each = func(m *machine, next cond) bool {
			if v, _ := get(m); v.kind <= truth {
				return false
			} else if v.kind == foreign && v.a.Compare(ast.NullValue) == 0 {
				return false
			} else if _, number := v.a.(ast.Number); number {
				return false
			}
			return inner(m, next)
		}
	}
	s.steps = append(s.steps, func(next cond) cond {
		return func(m *machine) bool { return each(m, next) }
	})
	return slotOperand(val, elemType(o))
}

// index looks key up in o.
func (s *scope) index(o, key *operand) *operand {
	get, by := o.get, key.get
	if o.list != nil {
		list, elem := o.list, elemType(o)
		read := elemReader(elem)
		out := &operand{typ: elem, get: func(m *machine) (value, bool) {
			k, _ := by(m)
			l := list(m)
			if k.kind != whole || k.n < 0 || k.n >= int64(l.Len()) {
				// 1.0 is an index too, but not one that anybody writes.
				if k.kind == foreign {
					m.leave()
				}
				return value{}, false
			}
			return read(l.Index(int(k.n))), true
		}}
		if key.typ != wholeType {
			s.loose = true
		}
		return s.hold(out)
	}
	var named map[string]value
	if obj, ok := o.konst.(ast.Object); ok {
		named = map[string]value{}
		obj.Foreach(func(k, e *ast.Term) {
			if name, ok := k.Value.(ast.String); ok {
				named[string(name)] = foreignValue(e.Value)
			}
		})
	}
	return s.hold(&operand{get: func(m *machine) (value, bool) {
		v, _ := get(m)
		if v.kind <= truth {
			return value{}, false
		}
		k, _ := by(m)
		if named != nil && k.kind == text_ {
			e, ok := named[k.s]
			return e, ok
		}
		t, ok1 := m.term(&v)
		kt, ok2 := m.term(&k)
		if !ok1 || !ok2 {
			m.leave()
			return value{}, false
		}
		switch a := t.Value.(type) {
		case *ast.Array:
			if e := a.Get(kt); e != nil {
				return foreignValue(e.Value), true
			}
		case ast.Object:
			if e := a.Get(kt); e != nil {
				return foreignValue(e.Value), true
			}
		case ast.Set:
			if a.Contains(kt) {
				return k, true
			}
		}
		return value{}, false
	}})
}
