// SPDX-License-Identifier: Apache-2.0

package rego

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/usage"
)

// plan turns a typed Query into OPA's own terms without passing through JSON or maps. It was made once
// for the fields that the policies can see; fields that no policy names are left out, which no policy
// can notice.
type plan struct{ root encoder }

type encoder func(v reflect.Value) (*ast.Term, error)

func newPlan(u *usage.Tree) *plan { return &plan{root: encoderFor(reflect.TypeFor[action.Query](), u)} }

func (p *plan) term(q *action.Query) (*ast.Term, error) { return p.root(reflect.ValueOf(q).Elem()) }

type enumerated interface{ Values() []string }

var (
	enumType = reflect.TypeFor[enumerated]()
	rawType  = reflect.TypeFor[jsontext.Value]()
	empty    = ast.ArrayTerm()
	yes, no  = ast.BooleanTerm(true), ast.BooleanTerm(false)
)

// encoderFor encodes t as far as u sees it. Elements of lists are seen whole: references reach them through
// an index, at which what u knows ends.
func encoderFor(t reflect.Type, u *usage.Tree) encoder {
	switch {
	case t == rawType:
		return encodeRaw
	case t.Implements(enumType):
		return encodeWord(t)
	}
	switch t.Kind() {
	case reflect.Struct:
		return encodeStruct(t, u)
	case reflect.Slice:
		return encodeSlice(encoderFor(t.Elem(), nil))
	case reflect.String:
		return func(v reflect.Value) (*ast.Term, error) { return ast.StringTerm(v.String()), nil }
	case reflect.Bool:
		return func(v reflect.Value) (*ast.Term, error) {
			if v.Bool() {
				return yes, nil
			}
			return no, nil
		}
	case reflect.Int, reflect.Int64:
		return func(v reflect.Value) (*ast.Term, error) { return integer(v.Int()), nil }
	}
	return func(reflect.Value) (*ast.Term, error) { return nil, fmt.Errorf("rego: no encoding of %s", t) }
}

func integer(n int64) *ast.Term {
	if n >= -1 && n <= 512 {
		return ast.InternedTerm(int(n))
	}
	return ast.NewTerm(ast.Number(json.Number(strconv.FormatInt(n, 10))))
}

func encodeWord(t reflect.Type) encoder {
	known := map[string]*ast.Term{}
	for _, s := range reflect.Zero(t).Interface().(enumerated).Values() {
		known[s] = ast.StringTerm(s)
	}
	return func(v reflect.Value) (*ast.Term, error) {
		// A word off its list, the zero value included, reads as unknown.
		if t, ok := known[v.String()]; ok {
			return t, nil
		}
		if t, ok := known["unknown"]; ok {
			return t, nil
		}
		return nil, fmt.Errorf("rego: %s holds a word that is not on its list", t)
	}
}

func encodeStruct(t reflect.Type, u *usage.Tree) encoder {
	type field struct {
		index int
		key   *ast.Term
		enc   encoder
	}
	var fields []field
	for i := range t.NumField() {
		name := t.Field(i).Tag.Get("json")
		if sub, ok := u.Field(name); ok {
			fields = append(fields, field{i, ast.StringTerm(name), encoderFor(t.Field(i).Type, sub)})
		}
	}
	return func(v reflect.Value) (*ast.Term, error) {
		pairs := make([][2]*ast.Term, len(fields))
		for i, f := range fields {
			term, err := f.enc(v.Field(f.index))
			if err != nil {
				return nil, err
			}
			pairs[i] = [2]*ast.Term{f.key, term}
		}
		return ast.ObjectTerm(pairs...), nil
	}
}

func encodeSlice(enc encoder) encoder {
	return func(v reflect.Value) (*ast.Term, error) {
		n := v.Len()
		if n == 0 {
			return empty, nil
		}
		terms := make([]*ast.Term, n)
		for i := range n {
			var err error
			if terms[i], err = enc(v.Index(i)); err != nil {
				return nil, err
			}
		}
		return ast.ArrayTerm(terms...), nil
	}
}

// encodeRaw parses the arguments or a result. What is no JSON is an error, which denies.
func encodeRaw(v reflect.Value) (*ast.Term, error) {
	raw := v.Bytes()
	if len(raw) == 0 {
		return ast.NullTerm(), nil
	}
	if err := action.Check(raw, action.Limits{}); err != nil {
		return nil, err
	}
	val, err := ast.ValueFromReader(strings.NewReader(string(raw)))
	if err != nil {
		return nil, err
	}
	return ast.NewTerm(val), nil
}

// inputSchema is the JSON Schema of agent.v1 as far as the type checker needs it.
func inputSchema() any { return schemaOf(reflect.TypeFor[action.Query]()) }

func schemaOf(t reflect.Type) any {
	if t == rawType {
		return map[string]any{}
	}
	switch t.Kind() {
	case reflect.Struct:
		properties := map[string]any{}
		for i := range t.NumField() {
			properties[t.Field(i).Tag.Get("json")] = schemaOf(t.Field(i).Type)
		}
		return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(t.Elem())}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return map[string]any{"type": "integer"}
	}
	return map[string]any{"type": "string"}
}
