// SPDX-License-Identifier: Apache-2.0

package rego

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// call compiles a call with or without a place for its answer.
func (s *scope) call(terms []*ast.Term) {
	ref, ok := terms[0].Value.(ast.Ref)
	if !ok {
		stay("a call of a term")
	}
	args := terms[1:]
	if ref[0].Equal(ast.DefaultRootDocument) {
		arity := s.c.arity(ref)
		s.answer(s.own(ref, s.parts(arity, func(i int) *ast.Term { return args[i] })), args[arity:])
		return
	}
	name := ref.String()
	b := ast.BuiltinMap[name]
	if b == nil || b.Relation || b.Nondeterministic {
		stay("built-in %s", name)
	}
	arity := b.Decl.Arity()
	if len(args) < arity {
		stay("built-in %s with too few arguments", name)
	}
	s.answer(s.builtin(name, s.parts(arity, func(i int) *ast.Term { return args[i] })), args[arity:])
}

// answer compares what a call gave with the term it is to be, or with false.
func (s *scope) answer(o *operand, out []*ast.Term) {
	if len(out) == 0 {
		s.passes(o)
		return
	}
	if v, ok := out[0].Value.(ast.Var); ok && s.free(out[0]) {
		s.vars[v] = s.sure(o)
		return
	}
	held := s.sure(o)
	switch arr, ok := out[0].Value.(*ast.Array); {
	case !s.free(out[0]):
		s.check(s.same(s.sure(s.term(out[0])), held))
	case ok:
		s.destructure(arr, held)
	default:
		stay("a pattern for the answer of a call")
	}
}

// own calls a function of the policy.
func (s *scope) own(ref ast.Ref, args []*operand) *operand {
	types := make([]reflect.Type, len(args))
	for i, a := range args {
		types[i] = a.typ
	}
	f := s.c.instance(ref, types)
	s.fn.calls(f)
	s.loose = s.loose || f.loose
	caller := s.fn
	enter := func(m *machine) {
		to := m.base + caller.size
		for i, a := range args {
			v, _ := a.get(m)
			m.slots[to+i] = v
		}
		m.base = to
	}
	o := &operand{typ: f.typ, get: func(m *machine) (value, bool) {
		if !m.step() {
			return value{}, false
		}
		back := m.base
		enter(m)
		v, ok := f.run(m)
		m.base = back
		return v, ok
	}}
	o.test = func(m *machine) bool {
		if !m.step() {
			return false
		}
		back := m.base
		enter(m)
		ok := f.test(m)
		m.base = back
		return ok
	}
	return o
}

// flag makes an operand of a test.
func flag(test func(m *machine) bool) *operand {
	return &operand{typ: truthType, total: true, test: test, get: func(m *machine) (value, bool) { return truthOf(test(m)), true }}
}

func texts_(args []*operand) bool {
	for _, a := range args {
		if a.str == nil {
			return false
		}
	}
	return true
}

// builtin compiles a built-in: those that are met most by hand, where the types of their arguments are known;
// all others run OPA's own code.
func (s *scope) builtin(name string, args []*operand) *operand {
	if o := s.comparison(name, args); o != nil {
		return o
	}
	if texts_(args) {
		if o := ofTexts(name, args); o != nil {
			return o
		}
	}
	if o := s.c.ofLists(name, args); o != nil {
		return o
	}
	if (name == "plus" || name == "minus") && args[0].num != nil && args[1].num != nil {
		return s.sum(name, args[0].num, args[1].num)
	}
	return s.foreignCall(name, args)
}

func (s *scope) comparison(name string, args []*operand) *operand {
	if len(args) != 2 {
		return nil
	}
	x, y := args[0], args[1]
	switch name {
	case "equal":
		return flag(s.same(x, y))
	case "neq":
		same := s.same(x, y)
		return flag(func(m *machine) bool { return !same(m) && !m.left })
	}
	var is func(c int) bool
	switch name {
	case "lt":
		is = func(c int) bool { return c < 0 }
	case "lte":
		is = func(c int) bool { return c <= 0 }
	case "gt":
		is = func(c int) bool { return c > 0 }
	case "gte":
		is = func(c int) bool { return c >= 0 }
	default:
		return nil
	}
	if x.num != nil && y.num != nil {
		a, b := x.num, y.num
		return flag(func(m *machine) bool {
			p, q := a(m), b(m)
			switch {
			case p < q:
				return is(-1)
			case p > q:
				return is(1)
			}
			return is(0)
		})
	}
	a, b := x.get, y.get
	return flag(func(m *machine) bool {
		v, _ := a(m)
		w, _ := b(m)
		return is(m.compare(&v, &w)) && !m.left
	})
}

// text makes an operand of a text that is computed.
func computed(make func(m *machine) string) *operand {
	return &operand{typ: textType, total: true, str: make,
		get: func(m *machine) (value, bool) { return value{kind: text_, s: make(m)}, true }}
}

// ofTexts compiles functions of texts that never err.
func ofTexts(name string, args []*operand) *operand {
	var x, y func(m *machine) string
	switch len(args) {
	case 2:
		x, y = args[0].str, args[1].str
	case 1:
		x = args[0].str
	default:
		return nil
	}
	switch name {
	case "startswith":
		return flag(func(m *machine) bool { return strings.HasPrefix(x(m), y(m)) })
	case "endswith":
		return flag(func(m *machine) bool { return strings.HasSuffix(x(m), y(m)) })
	case "contains":
		return flag(func(m *machine) bool { return strings.Contains(x(m), y(m)) })
	case "trim_prefix":
		return computed(func(m *machine) string { return strings.TrimPrefix(x(m), y(m)) })
	case "trim_suffix":
		return computed(func(m *machine) string { return strings.TrimSuffix(x(m), y(m)) })
	case "lower":
		return computed(func(m *machine) string { return strings.ToLower(x(m)) })
	case "upper":
		return computed(func(m *machine) string { return strings.ToUpper(x(m)) })
	case "count":
		return counted(func(m *machine) int64 { return int64(utf8.RuneCountInString(x(m))) })
	case "regex.match":
		if args[0].konst == nil {
			return nil
		}
		re, err := regexp.Compile(x(nil))
		if err != nil {
			return nil
		}
		return flag(func(m *machine) bool { return re.MatchString(y(m)) })
	}
	return nil
}

func counted(n func(m *machine) int64) *operand {
	return &operand{typ: wholeType, total: true, num: n,
		get: func(m *machine) (value, bool) { return value{kind: whole, n: n(m)}, true }}
}

// ofLists compiles counting, membership and concatenation.
func (c *compilation) ofLists(name string, args []*operand) *operand {
	switch {
	case name == "count" && args[0].list != nil:
		list := args[0].list
		return counted(func(m *machine) int64 { return int64(list(m).Len()) })
	case name == "is_string" || name == "is_array":
		return kindOf(name, args[0].get)
	case name == "internal.member_2":
		return c.member(args[0], args[1])
	case name == "concat" && args[0].str != nil && args[1].elems != nil && texts_(args[1].elems):
		sep, elems := args[0].str, args[1].elems
		return computed(func(m *machine) string {
			parts := make([]string, 0, 8)
			for _, e := range elems {
				parts = append(parts, e.str(m))
			}
			return strings.Join(parts, sep(m))
		})
	}
	return nil
}

// kindOf tells texts or lists from everything else.
func kindOf(name string, get func(m *machine) (value, bool)) *operand {
	return flag(func(m *machine) bool {
		v, _ := get(m)
		if name == "is_string" {
			return v.kind == text_
		}
		_, list := v.a.(*ast.Array)
		return v.kind == foreign && list || v.kind == native && v.r.Kind() == reflect.Slice
	})
}

// sum adds or subtracts. What does not fit is topdown's to do.
func (s *scope) sum(name string, a, b func(m *machine) int64) *operand {
	s.loose = true
	sign := int64(1)
	if name == "minus" {
		sign = -1
	}
	return counted(func(m *machine) int64 {
		x, y := a(m), b(m)
		if most := int64(1) << 60; x > most || x < -most || y > most || y < -most {
			m.leave()
			return 0
		}
		return x + sign*y
	})
}

// member tells whether x is among the elements of y.
func (c *compilation) member(x, y *operand) *operand {
	if list, elem := y.list, elemType(y); list != nil && x.str != nil && elem != nil && elem.Kind() == reflect.String {
		word, read := x.str, elemReader(elem)
		return flag(func(m *machine) bool {
			l, w := list(m), word(m)
			for i := range l.Len() {
				if v := read(l.Index(i)); v.s == w {
					return true
				}
			}
			return false
		})
	}
	pairs, texts := elements(y.konst)
	if _, object := y.konst.(ast.Object); object || pairs == nil || x.str == nil && !texts {
		return nil
	}
	var all []string
	for _, p := range pairs {
		if p.val.kind == text_ {
			all = append(all, p.val.s)
			c.compared(x, p.val.s)
		}
	}
	among := oneOf(all)
	if word := x.str; word != nil {
		return flag(func(m *machine) bool { return among(word(m)) })
	}
	get := x.get
	return flag(func(m *machine) bool {
		v, _ := get(m)
		return v.kind == text_ && among(v.s) // nothing else equals a text
	})
}

// oneOf tells whether a text is among all.
func oneOf(all []string) func(w string) bool {
	if len(all) <= 6 {
		return func(w string) bool { return slices.Contains(all, w) }
	}
	known := make(map[string]struct{}, len(all))
	for _, w := range all {
		known[w] = struct{}{}
	}
	return func(w string) bool {
		_, ok := known[w]
		return ok
	}
}

// neverErrs are built-ins that have an answer for arguments of every type.
var neverErrs = map[string]bool{
	"is_string": true, "is_array": true, "is_number": true, "is_boolean": true, "is_null": true, "is_object": true, "is_set": true,
	"type_name": true, "internal.member_2": true, "internal.member_3": true,
}

// foreignCall runs OPA's own code. Its errors are topdown's to report.
func (s *scope) foreignCall(name string, args []*operand) *operand {
	f := topdown.GetBuiltin(name)
	if f == nil {
		stay("built-in %s", name)
	}
	s.loose = s.loose || !neverErrs[name]
	get := func(m *machine) (value, bool) {
		terms, ok := m.gather(args)
		if !ok {
			return value{}, false
		}
		var out value
		err := f(m.bctx, terms, func(t *ast.Term) error {
			out = foreignValue(t.Value)
			return nil
		})
		if err != nil {
			m.leave()
			return value{}, false
		}
		return out, out.kind != none
	}
	return &operand{get: get}
}
