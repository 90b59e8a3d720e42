// SPDX-License-Identifier: Apache-2.0

package rego

import (
	"reflect"

	"github.com/open-policy-agent/opa/v1/ast"
)

// operand is a term in compiled form. Exactly one get is always there; the others are shorter ways to the
// same value where its type is known.
type operand struct {
	typ   reflect.Type // nil if only known at run time
	konst ast.Value    // of a constant
	get   func(m *machine) (value, bool)
	str   func(m *machine) string        // for text; needs total
	num   func(m *machine) int64         // for whole numbers; needs total
	list  func(m *machine) reflect.Value // for lists of the query; needs total
	test  func(m *machine) bool          // defined and not false
	total bool                           // always defined
	fixed bool                           // gives the same value for as long as its variables stand
	elems []*operand                     // of an array that is written out
	at    *place                         // of a struct or list of the query
	fact  string                         // of a scalar of the query itself
	words []string                       // all that it can be; nil if that is not known
}

var (
	textType  = reflect.TypeFor[string]()
	wholeType = reflect.TypeFor[int64]()
	truthType = reflect.TypeFor[bool]()
)

func constant_(v ast.Value) *operand {
	w := foreignValue(v)
	o := &operand{konst: v, total: true, fixed: true, get: func(*machine) (value, bool) { return w, true }}
	switch w.kind {
	case text_:
		o.typ, o.str = textType, func(*machine) string { return w.s }
	case whole:
		o.typ, o.num = wholeType, func(*machine) int64 { return w.n }
	case truth:
		o.typ = truthType
	}
	return o
}

// undefined is a term that never has a value.
func undefined() *operand {
	return &operand{get: func(*machine) (value, bool) { return value{}, false }, fixed: true}
}

// slotOperand reads slot i, which holds a value of type t.
func slotOperand(i int, t reflect.Type) *operand {
	o := &operand{typ: t, total: true, fixed: true, get: func(m *machine) (value, bool) { return m.slots[m.base+i], true }}
	if t == nil {
		return o
	}
	switch t.Kind() {
	case reflect.Struct:
		o.at = &place{slot: i, typ: t}
	case reflect.String:
		o.typ = textType // what a slot holds was read already: words are on their list
		o.words = wordsOf(t)
		o.str = func(m *machine) string { return m.slots[m.base+i].s }
	case reflect.Int, reflect.Int64:
		o.num = func(m *machine) int64 { return m.slots[m.base+i].n }
	case reflect.Slice:
		if t != rawType {
			o.at = &place{slot: i, typ: t}
			o.list = func(m *machine) reflect.Value { return m.slots[m.base+i].r }
		} else {
			o.typ = nil
		}
	}
	return o
}

// wordsOf lists the words of type t, nil for any other text.
func wordsOf(t reflect.Type) []string {
	if !t.Implements(enumType) {
		return nil
	}
	return reflect.Zero(t).Interface().(enumerated).Values()
}

// place is a spot in the query: below the query itself, or below an element of a list in a slot.
type place struct {
	slot int // -1 for the query itself
	path []int
	typ  reflect.Type
}

func (p place) below(i int) place {
	return place{p.slot, append(append([]int{}, p.path...), i), p.typ.Field(i).Type}
}

// field returns the place of the member called name.
func (p place) field(name string) (place, bool) {
	if p.typ.Kind() != reflect.Struct {
		return place{}, false
	}
	for i := range p.typ.NumField() {
		if p.typ.Field(i).Tag.Get("json") == name {
			return p.below(i), true
		}
	}
	return place{}, false
}

func (p place) reader() func(m *machine) reflect.Value {
	slot, path := p.slot, p.path
	switch {
	case slot < 0:
		return func(m *machine) reflect.Value { return m.root.FieldByIndex(path) }
	case len(path) == 0:
		return func(m *machine) reflect.Value { return m.slots[m.base+slot].r }
	case len(path) == 1:
		i := path[0]
		return func(m *machine) reflect.Value { return m.slots[m.base+slot].r.Field(i) }
	}
	return func(m *machine) reflect.Value { return m.slots[m.base+slot].r.FieldByIndex(path) }
}

// read makes an operand of p.
func (c *compilation) read(p place) *operand {
	at := p.reader()
	o := &operand{typ: p.typ, total: true, fixed: true}
	switch {
	case p.typ == rawType:
		o.typ, o.get = nil, c.readRaw(p, at)
	case p.typ.Kind() == reflect.String:
		o.str = c.readText(p, at)
		o.typ, o.words = textType, wordsOf(p.typ)
		o.get = func(m *machine) (value, bool) { return value{kind: text_, s: o.str(m)}, true }
	case p.typ.Kind() == reflect.Int, p.typ.Kind() == reflect.Int64:
		o.num = c.readWhole(p, at)
		o.get = func(m *machine) (value, bool) { return value{kind: whole, n: o.num(m)}, true }
	case p.typ.Kind() == reflect.Bool:
		o.get = func(m *machine) (value, bool) { return truthOf(at(m).Bool()), true }
	case p.typ.Kind() == reflect.Slice:
		o.at, o.list = &p, at
		o.get = func(m *machine) (value, bool) { return value{kind: native, r: at(m)}, true }
	default:
		o.at = &p
		o.get = func(m *machine) (value, bool) { return value{kind: native, r: at(m)}, true }
	}
	return o
}

// readText reads text once per decision where it stands in the query itself. A word off its list is
// unknown, as topdown's own input has it.
func (c *compilation) readText(p place, at func(m *machine) reflect.Value) func(m *machine) string {
	text := func(m *machine) string { return at(m).String() }
	if p.typ.Implements(enumType) {
		known := reflect.Zero(p.typ).Interface().(enumerated).Values()
		text = func(m *machine) string {
			s := at(m).String()
			for _, k := range known {
				if k == s {
					return k
				}
			}
			return "unknown"
		}
	}
	if p.slot >= 0 {
		return text
	}
	i := c.word(p.path)
	return func(m *machine) string {
		w := &m.words[i]
		if w.gen != m.gen {
			w.gen, w.s = m.gen, text(m)
		}
		return w.s
	}
}

func (c *compilation) readWhole(p place, at func(m *machine) reflect.Value) func(m *machine) int64 {
	if p.slot >= 0 {
		return func(m *machine) int64 { return at(m).Int() }
	}
	i := c.word(p.path)
	return func(m *machine) int64 {
		w := &m.words[i]
		if w.gen != m.gen {
			w.gen, w.n = m.gen, at(m).Int()
		}
		return w.n
	}
}

// readRaw reads arguments or a result, parsed once per decision.
func (c *compilation) readRaw(p place, at func(m *machine) reflect.Value) func(m *machine) (value, bool) {
	i := c.raw(p.path)
	return func(m *machine) (value, bool) {
		r := &m.raws[i]
		if r.gen != m.gen {
			t, err := encodeRaw(at(m))
			if err != nil {
				m.leave()
				return value{}, false
			}
			*r = memo{gen: m.gen, v: foreignValue(t.Value)}
		}
		return r.v, true
	}
}

// elemReader returns what makes a value of an element of a list whose elements are of type t.
func elemReader(t reflect.Type) func(r reflect.Value) value {
	switch words := wordsOf(t); {
	case words != nil:
		return func(r reflect.Value) value {
			s := r.String()
			for _, w := range words {
				if w == s {
					return value{kind: text_, s: w}
				}
			}
			return value{kind: text_, s: "unknown"}
		}
	case t.Kind() == reflect.String:
		return func(r reflect.Value) value { return value{kind: text_, s: r.String()} }
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int64:
		return func(r reflect.Value) value { return value{kind: whole, n: r.Int()} }
	case t.Kind() == reflect.Bool:
		return func(r reflect.Value) value { return truthOf(r.Bool()) }
	}
	return func(r reflect.Value) value { return value{kind: native, r: r} }
}
