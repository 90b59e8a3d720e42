// SPDX-License-Identifier: Apache-2.0

package rego

import (
	"context"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/usage"
)

// Generator makes documents that a policy tells apart: it takes the words and numbers out of the policy's
// own text and puts them, or other ones, to random places of given documents. The same seed gives the same
// documents. It is not safe for concurrent use.
type Generator struct {
	rand    *rand.Rand
	seeds   [][]byte
	words   []string
	numbers []int64
	seen    *usage.Tree
}

// NewGenerator makes a generator for the policy of e. Seeds may be empty; they are not changed.
func NewGenerator(e *Evaluator, seeds []*action.Query, seed uint64) *Generator {
	g := &Generator{rand: rand.New(rand.NewPCG(seed, 0)), words: []string{"", "x", "unknown"}, numbers: []int64{0, 1, -1, 499, 500, action.MaxMilli, action.MaxNumber},
		seen: used(e.compiler)}
	for _, q := range append(slices.Clone(seeds), action.NewQuery(action.Before), action.NewQuery(action.After)) {
		if data, err := json.Marshal(q); err == nil {
			g.seeds = append(g.seeds, data)
		}
	}
	seen := map[string]bool{}
	var visit func(t *ast.Term) bool
	visit = func(t *ast.Term) bool {
		switch v := t.Value.(type) {
		case ast.String:
			if !seen[string(v)] && len(v) < 200 {
				seen[string(v)] = true
				g.words = append(g.words, string(v))
			}
		case ast.Number:
			if n, ok := v.Int64(); ok {
				g.numbers = append(g.numbers, n-1, n, n+1)
			}
		}
		return false
	}
	for _, file := range sortedKeys(e.compiler.Modules) {
		for _, r := range e.compiler.Modules[file].Rules {
			ast.WalkTerms(r.Body, visit)
			if r.Head.Value != nil {
				ast.WalkTerms(r.Head.Value, visit)
			}
		}
	}
	if params, err := e.store.Read(context.Background(), e.txn, []string{"params"}); err == nil {
		if v, ok := params.(ast.Value); ok {
			ast.WalkTerms(ast.NewTerm(v), visit)
		}
	}
	return g
}

// Next returns document i: the seeds as they are come first, then ever more changed ones.
func (g *Generator) Next(i int) *action.Query {
	q := &action.Query{}
	at := i
	if i >= len(g.seeds) {
		at = g.rand.IntN(len(g.seeds))
	}
	if err := json.Unmarshal(g.seeds[at], q); err != nil {
		return action.NewQuery(action.Before)
	}
	if i < len(g.seeds) {
		return q
	}
	root := reflect.ValueOf(q).Elem()
	for range 1 + g.rand.IntN(8) {
		g.change(root, g.seen)
	}
	return q
}

// change changes one random leaf below v, or the length of a list on the way: mostly one that the policy
// sees.
func (g *Generator) change(v reflect.Value, u *usage.Tree) {
	switch {
	case v.Type() == rawType:
		v.SetBytes([]byte(g.raw(v.Bytes())))
		return
	case v.Type().Implements(enumType):
		values := v.Interface().(enumerated).Values()
		if n := g.rand.IntN(len(values) + 1); n < len(values) {
			v.SetString(values[n])
		} else {
			v.SetString(g.word())
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for range 200 {
			i := g.rand.IntN(v.NumField())
			if below, ok := u.Field(v.Type().Field(i).Tag.Get("json")); ok || g.rand.IntN(100) == 0 {
				g.change(v.Field(i), below)
				return
			}
		}
	case reflect.Slice:
		g.list(v)
	case reflect.String:
		v.SetString(g.word())
	case reflect.Bool:
		v.SetBool(g.rand.IntN(2) == 0)
	case reflect.Int, reflect.Int64:
		v.SetInt(g.numbers[g.rand.IntN(len(g.numbers))])
	}
}

func (g *Generator) list(v reflect.Value) {
	n := v.Len()
	switch k := g.rand.IntN(6); {
	case n == 0 || k == 0 && n < 5:
		elem := reflect.New(v.Type().Elem()).Elem()
		if n > 0 && g.rand.IntN(2) == 0 {
			elem.Set(v.Index(g.rand.IntN(n)))
		}
		g.fill(elem)
		v.Set(reflect.Append(v, elem))
	case k == 1:
		i := g.rand.IntN(n)
		short := reflect.MakeSlice(v.Type(), 0, n)
		v.Set(reflect.AppendSlice(reflect.AppendSlice(short, v.Slice(0, i)), v.Slice(i+1, n)))
	default:
		g.change(v.Index(g.rand.IntN(n)), nil)
	}
}

// fill changes every leaf of a new element.
func (g *Generator) fill(v reflect.Value) {
	if v.Kind() == reflect.Struct && v.Type() != rawType {
		for i := range v.NumField() {
			g.fill(v.Field(i))
		}
		return
	}
	g.change(v, nil)
}

// word is one of the policy's, now and then with something around it.
func (g *Generator) word() string {
	w := g.words[g.rand.IntN(len(g.words))]
	switch g.rand.IntN(12) {
	case 0:
		return "/" + w
	case 1:
		return w + "/" + g.words[g.rand.IntN(len(g.words))]
	case 2:
		return w + " " + g.words[g.rand.IntN(len(g.words))]
	case 3:
		return w + "x"
	}
	return w
}

// raw changes arguments of others: a member is added, changed or taken away; sometimes it is no object, and
// sometimes no JSON.
func (g *Generator) raw(old []byte) string {
	var m map[string]any
	switch g.rand.IntN(20) {
	case 0:
		return "{"
	case 1:
		return "null"
	case 2:
		return `{"a":1,"A":2}`
	case 3:
		return `["x",1]`
	}
	if json.Unmarshal(old, &m) != nil || m == nil {
		m = map[string]any{}
	}
	names := []string{"command", "path", "a", "x"}
	for k := range m {
		names = append(names, k)
	}
	slices.Sort(names)
	name := names[g.rand.IntN(len(names))]
	switch g.rand.IntN(6) {
	case 0:
		delete(m, name)
	case 1:
		m[name] = g.numbers[g.rand.IntN(len(g.numbers))]
	case 2:
		m[name] = []any{g.word(), g.word()}
	case 3:
		m[name] = map[string]any{g.word(): g.word()}
	case 4:
		m[name] = jsontext.Value(strconv.FormatFloat(g.rand.Float64(), 'g', 3, 64))
	default:
		m[name] = g.word()
	}
	out, err := json.Marshal(m, json.Deterministic(true))
	if err != nil {
		return "{}"
	}
	return string(out)
}
