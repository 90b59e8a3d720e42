// SPDX-License-Identifier: Apache-2.0

package rego

import (
	"cmp"
	"context"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/sallyport/sallyport/action"
)

// kind says which part of a value holds it.
type kind uint8

const (
	none    kind = iota // no value: a slot that is not set
	text_               // s
	whole               // n
	truth               // n is 1 or 0
	foreign             // a: one of OPA's own values
	native              // r: a struct or list of the query
)

// value is any value of Rego while compiled rules run. Text, whole numbers and truth are always held in
// their own form, never as foreign ones.
type value struct {
	kind kind
	n    int64
	s    string
	a    ast.Value
	r    reflect.Value
}

func truthOf(b bool) value {
	if b {
		return value{kind: truth, n: 1}
	}
	return value{kind: truth}
}

func (v *value) isFalse() bool { return v.kind == truth && v.n == 0 }

// foreignValue brings one of OPA's values into its form. Only numbers whose text survives the way back
// become whole ones.
func foreignValue(a ast.Value) value {
	switch a := a.(type) {
	case ast.String:
		return value{kind: text_, s: string(a)}
	case ast.Boolean:
		return truthOf(bool(a))
	case ast.Number:
		if n, err := strconv.ParseInt(string(a), 10, 64); err == nil && strconv.FormatInt(n, 10) == string(a) {
			return value{kind: whole, n: n}
		}
	}
	return value{kind: foreign, a: a}
}

// term brings v into OPA's form. ok is false if the query holds something that has none.
func (v *value) term() (t *ast.Term, ok bool) {
	switch v.kind {
	case text_:
		return ast.StringTerm(v.s), true
	case whole:
		return integer(v.n), true
	case truth:
		return ast.InternedTerm(v.n == 1), true
	case foreign:
		return ast.NewTerm(v.a), true
	case native:
		t, err := encoderFor(v.r.Type(), nil)(v.r)
		return t, err == nil
	}
	return nil, false
}

// compare orders two values as Rego does, across types.
func (m *machine) compare(v, w *value) int {
	if v.kind == w.kind {
		switch v.kind {
		case text_:
			return strings.Compare(v.s, w.s)
		case whole, truth:
			return cmp.Compare(v.n, w.n)
		}
	}
	a, ok1 := m.term(v)
	b, ok2 := m.term(w)
	if !ok1 || !ok2 {
		m.leave()
		return 0
	}
	return ast.Compare(a.Value, b.Value)
}

func (m *machine) equal(v, w *value) bool {
	// Texts and truths are always held in their own form, so that nothing in another form equals one.
	if v.kind <= truth && w.kind <= truth || v.kind == text_ || w.kind == text_ || v.kind == truth || w.kind == truth {
		return v.kind == w.kind && v.n == w.n && v.s == w.s
	}
	return m.compare(v, w) == 0
}

// machine is the state of one decision by compiled rules. It is reused, never shared.
type machine struct {
	q     *action.Query
	root  reflect.Value
	gen   uint32 // of this decision; older entries below do not count
	words []cachedWord
	memo  []memo
	raws  []memo
	slots []value
	base  int // of the frame of the function that runs
	steps int
	left  bool // the decision is not ours: it has to be taken by topdown
	rest  bool // a rule that only topdown can decide may fire
	fired []int
	seen  []uint32 // gen in which the rule of this rank fired
	bctx  topdown.BuiltinContext
	terms map[string]*ast.Term // of texts that are often met; never changed
}

// term is v.term, which allocates nothing for the words of facts and of the policy.
func (m *machine) term(v *value) (t *ast.Term, ok bool) {
	if v.kind == text_ {
		if t, ok := m.terms[v.s]; ok {
			return t, true
		}
	}
	return v.term()
}

// factWords are the terms of all words that a fact can be.
var factWords = sync.OnceValue(func() map[string]*ast.Term {
	out := map[string]*ast.Term{}
	var walk func(t reflect.Type)
	walk = func(t reflect.Type) {
		for _, w := range wordsOf(t) {
			out[w] = ast.StringTerm(w)
		}
		switch t.Kind() {
		case reflect.Slice:
			walk(t.Elem())
		case reflect.Struct:
			for i := range t.NumField() {
				walk(t.Field(i).Type)
			}
		}
	}
	walk(queryType)
	return out
})

type cachedWord struct {
	gen uint32
	s   string
	n   int64
}

type memo struct {
	gen uint32
	ok  bool
	v   value
}

// maxSteps bounds the turns of all loops of one decision. What needs more goes to topdown, whose time is
// bounded.
const maxSteps = 200_000

// leave gives the decision up to topdown.
func (m *machine) leave() { m.left = true }

// step counts one turn of a loop and reports whether to go on.
func (m *machine) step() bool {
	if m.steps++; m.steps > maxSteps {
		m.left = true
	}
	return !m.left
}

func newBuiltinContext() topdown.BuiltinContext {
	return topdown.BuiltinContext{Context: context.Background(), Metrics: noMetrics, Seed: constant{},
		Time: ast.NumberTerm(json.Number(strconv.FormatInt(epoch.UnixNano(), 10))), Cancel: topdown.NewCancel(), Capabilities: capabilities()}
}
