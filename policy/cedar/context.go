// SPDX-License-Identifier: Apache-2.0

package cedar

import (
	"fmt"
	"reflect"
	"sync"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
)

// environment is one request with its entities, which are built when Cedar asks for them.
type environment struct {
	request cedar.Request
	q       *action.Query
}

// word returns s if it is on the list of its type, else "unknown".
func word[T interface {
	~string
	Values() []string
}](v T) string {
	for _, s := range v.Values() {
		if s == string(v) {
			return s
		}
	}
	return "unknown"
}

func newEnvironment(q *action.Query, params cedar.Value) *environment {
	record := cedar.RecordMap{
		"version":  cedar.String(q.Version),
		"phase":    cedar.String(word(q.Phase)),
		"round":    cedar.Long(q.Round),
		"subject":  value(&q.Subject),
		"action":   value(&q.Action),
		"resource": value(&q.Resource),
		"params":   params,
	}
	context := reflect.ValueOf(&q.Context).Elem()
	for _, f := range fieldsOf(context.Type()) {
		record[f.name] = f.encode(context.Field(f.index))
	}
	record["history"] = history(&q.Context.History)
	return &environment{q: q, request: cedar.Request{
		Principal: cedar.NewEntityUID("Agent", cedar.String(q.Subject.ID)),
		Action:    cedar.NewEntityUID("Action", cedar.String(word(q.Action.Effect))),
		Resource:  cedar.NewEntityUID("Tool", cedar.String(q.Resource.ID)),
		Context:   cedar.NewRecord(record),
	}}
}

// Get makes an environment a types.EntityGetter.
func (e *environment) Get(uid cedar.EntityUID) (cedar.Entity, bool) {
	switch uid {
	case e.request.Principal:
		parents := []cedar.EntityUID{cedar.NewEntityUID("Tenant", cedar.String(e.q.Subject.Tenant))}
		for _, role := range e.q.Subject.Identity.Roles {
			parents = append(parents, cedar.NewEntityUID("Role", cedar.String(role)))
		}
		return cedar.Entity{UID: uid, Parents: cedar.NewEntityUIDSet(parents...)}, true
	case e.request.Resource:
		server := cedar.NewEntityUID("Server", cedar.String(e.q.Resource.Server))
		return cedar.Entity{UID: uid, Parents: cedar.NewEntityUIDSet(server)}, true
	}
	return cedar.Entity{}, false
}

// history gives counters by name, because a column of values would lose which is which. A name that
// stands twice keeps neither value: a rule that reads it errs, and a forbid that errs denies.
func history(h *action.History) cedar.Value {
	counters, twice := cedar.RecordMap{}, map[string]bool{}
	for i := range h.Counters {
		c := &h.Counters[i]
		if _, ok := counters[cedar.String(c.Name)]; ok {
			twice[c.Name] = true
		}
		counters[cedar.String(c.Name)] = cedar.NewRecord(cedar.RecordMap{"state": cedar.String(word(c.State)),
			"value": cedar.Long(c.Value), "window": cedar.String(c.Window)})
	}
	for name := range twice {
		delete(counters, cedar.String(name))
	}
	return cedar.NewRecord(cedar.RecordMap{"state": cedar.String(word(h.State)), "counters": cedar.NewRecord(counters)})
}

type encoder func(v reflect.Value) cedar.Value

type field struct {
	name   cedar.String
	index  int
	encode encoder
}

var fieldCache sync.Map // reflect.Type -> []field

// fieldsOf returns how the fields of struct type t are encoded; raw JSON is left out.
func fieldsOf(t reflect.Type) []field {
	if f, ok := fieldCache.Load(t); ok {
		return f.([]field)
	}
	var out []field
	for i := range t.NumField() {
		ft := t.Field(i).Type
		if ft != rawType {
			out = append(out, field{cedar.String(t.Field(i).Tag.Get("json")), i, encoderFor(ft)})
		}
	}
	fieldCache.Store(t, out)
	return out
}

type enumerated interface{ Values() []string }

var (
	enumType = reflect.TypeFor[enumerated]()
	rawType  = reflect.TypeFor[jsontext.Value]()
)

func encoderFor(t reflect.Type) encoder {
	if t.Implements(enumType) {
		known := map[string]cedar.Value{}
		for _, s := range reflect.Zero(t).Interface().(enumerated).Values() {
			known[s] = cedar.String(s)
		}
		return func(v reflect.Value) cedar.Value {
			if s, ok := known[v.String()]; ok {
				return s
			}
			return cedar.String("unknown")
		}
	}
	switch t.Kind() {
	case reflect.Struct:
		fields := fieldsOf(t)
		return func(v reflect.Value) cedar.Value {
			m := make(cedar.RecordMap, len(fields))
			for _, f := range fields {
				m[f.name] = f.encode(v.Field(f.index))
			}
			return cedar.NewRecord(m)
		}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Struct {
			return columns(t.Elem())
		}
		enc := encoderFor(t.Elem())
		return func(v reflect.Value) cedar.Value {
			if v.Len() == 0 {
				return types.Set{}
			}
			vals := make([]cedar.Value, v.Len())
			for i := range vals {
				vals[i] = enc(v.Index(i))
			}
			return cedar.NewSet(vals...)
		}
	case reflect.Bool:
		return func(v reflect.Value) cedar.Value { return cedar.Boolean(v.Bool()) }
	case reflect.Int, reflect.Int64:
		return func(v reflect.Value) cedar.Value { return cedar.Long(v.Int()) }
	}
	return func(v reflect.Value) cedar.Value { return cedar.String(v.String()) }
}

// columns turns a list of structs into a record of sets, one for each field, and the count. A field that
// is itself a list adds its elements.
func columns(t reflect.Type) encoder {
	fields := fieldsOf(t)
	none := cedar.RecordMap{"count": cedar.Long(0)}
	for _, f := range fields {
		none[f.name] = types.Set{}
	}
	empty := cedar.NewRecord(none)
	return func(v reflect.Value) cedar.Value {
		if v.Len() == 0 {
			return empty
		}
		m := make(cedar.RecordMap, len(fields)+1)
		m["count"] = cedar.Long(v.Len())
		for _, f := range fields {
			var vals []cedar.Value
			for i := range v.Len() {
				switch val := f.encode(v.Index(i).Field(f.index)).(type) {
				case cedar.Set:
					for e := range val.All() {
						vals = append(vals, e)
					}
				default:
					vals = append(vals, val)
				}
			}
			m[f.name] = cedar.NewSet(vals...)
		}
		return cedar.NewRecord(m)
	}
}

func value[T any](p *T) cedar.Value {
	v := reflect.ValueOf(p).Elem()
	return encoderOf(v.Type())(v)
}

var encoderCache sync.Map // reflect.Type -> encoder

func encoderOf(t reflect.Type) encoder {
	if e, ok := encoderCache.Load(t); ok {
		return e.(encoder)
	}
	e := encoderFor(t)
	encoderCache.Store(t, e)
	return e
}

// convert turns the parameters into a record.
func convert(params any) (cedar.Value, error) {
	v := reflect.ValueOf(params)
	if !v.IsValid() {
		return cedar.NewRecord(nil), nil
	}
	if v.Kind() != reflect.Struct {
		return nil, fmt.Errorf("cedar: params: a struct is wanted, not %T", params)
	}
	return encoderOf(v.Type())(v), nil
}
