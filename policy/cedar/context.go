// SPDX-License-Identifier: Apache-2.0

package cedar

import (
	"fmt"
	"hash/maphash"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/usage"
)

// plan builds the context of a request for the facts that the policies can see.
type plan struct {
	seen   *usage.Tree
	params cedar.Value
	top    []part
	facts  *facts // of all policies
	pool   sync.Pool

	entities entities
}

// part is one attribute of the context.
type part struct {
	name   cedar.String
	encode func(q *action.Query) cedar.Value
}

func newPlan(seen *usage.Tree, params cedar.Value) *plan {
	p := &plan{seen: seen, params: params}
	p.facts = &facts{at: map[cedar.String]int{}, params: params, seen: seen}
	p.entities.seed = maphash.MakeSeed()
	add := func(name string, encode func(q *action.Query) cedar.Value) {
		if _, ok := seen.Field(name); ok {
			p.top = append(p.top, part{cedar.String(name), encode})
		}
	}
	add("version", func(q *action.Query) cedar.Value { return cedar.String(q.Version) })
	add("phase", func(q *action.Query) cedar.Value { return cedar.String(word(q.Phase)) })
	add("round", func(q *action.Query) cedar.Value { return cedar.Long(q.Round) })
	add("params", func(*action.Query) cedar.Value { return params })
	for _, whole := range []struct {
		name string
		of   func(q *action.Query) reflect.Value
	}{
		{"subject", func(q *action.Query) reflect.Value { return reflect.ValueOf(&q.Subject).Elem() }},
		{"action", func(q *action.Query) reflect.Value { return reflect.ValueOf(&q.Action).Elem() }},
		{"resource", func(q *action.Query) reflect.Value { return reflect.ValueOf(&q.Resource).Elem() }},
	} {
		below, _ := seen.Field(whole.name)
		enc := encoderFor(whole.of(&action.Query{}).Type(), below)
		add(whole.name, func(q *action.Query) cedar.Value { return enc(whole.of(q)) })
	}
	context := reflect.TypeFor[action.Context]()
	for i := range context.NumField() {
		name := context.Field(i).Tag.Get("json")
		below, _ := seen.Field(name)
		enc := encoderFor(context.Field(i).Type, below)
		if name == "history" {
			enc = history
		}
		add(name, func(q *action.Query) cedar.Value { return enc(reflect.ValueOf(&q.Context).Elem().Field(i)) })
	}
	return p
}

func (p *plan) record(q *action.Query) cedar.Record {
	m := make(cedar.RecordMap, len(p.top))
	for _, part := range p.top {
		m[part.name] = part.encode(q)
	}
	return cedar.NewRecord(m)
}

// environment is one request with its entities, which are built when Cedar asks for them.
type environment struct {
	request  cedar.Request
	q        *action.Query
	entities *entities
	facts    *facts
	met      []cedar.Record // by number of the fact
	is       []bool         // that was met
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

// environment is what Cedar may ask about q. It is given back by done.
func (p *plan) environment(q *action.Query) *environment {
	e, _ := p.pool.Get().(*environment)
	if e == nil {
		e = &environment{entities: &p.entities, facts: p.facts, met: make([]cedar.Record, len(p.facts.read)), is: make([]bool, len(p.facts.read))}
	}
	clear(e.is)
	e.q, e.request = q, cedar.Request{
		Principal: cedar.NewEntityUID("Agent", cedar.String(q.Subject.ID)),
		Action:    cedar.NewEntityUID("Action", cedar.String(word(q.Action.Effect))),
		Resource:  cedar.NewEntityUID("Tool", cedar.String(q.Resource.ID)),
	}
	if p.facts.bare {
		e.request.Context = p.record(q)
	}
	return e
}

func (p *plan) done(e *environment) {
	e.q = nil
	clear(e.met)
	p.pool.Put(e)
}

// Get makes an environment a types.EntityGetter.
func (e *environment) Get(uid cedar.EntityUID) (cedar.Entity, bool) {
	if uid.Type == factType {
		i, ok := e.facts.at[uid.ID]
		if !ok {
			return cedar.Entity{}, false
		}
		if !e.is[i] {
			e.met[i], e.is[i] = e.facts.read[i](e.q), true
		}
		return cedar.Entity{Attributes: e.met[i]}, true
	}
	switch uid {
	case e.request.Principal:
		return e.entities.find(uid, "Tenant", e.q.Subject.Tenant, e.q.Subject.Identity.Roles), true
	case e.request.Resource:
		return e.entities.find(uid, "Server", e.q.Resource.Server, nil), true
	}
	return cedar.Entity{}, false
}

// entities remembers the agents and tools of late: the same few act all the time, and making a set of parents
// costs more than most policies. It is bounded, and safe for concurrent use.
type entities struct {
	seed maphash.Seed
	last [256]atomic.Pointer[known]
}

type known struct {
	uid    cedar.EntityUID
	kind   cedar.EntityType
	above  string
	roles  []string
	entity cedar.Entity
}

// find returns the entity uid within kind::"above" and within its roles.
func (c *entities) find(uid cedar.EntityUID, kind cedar.EntityType, above string, roles []string) cedar.Entity {
	at := &c.last[maphash.String(c.seed, string(uid.ID))%uint64(len(c.last))]
	if k := at.Load(); k != nil && k.uid == uid && k.kind == kind && k.above == above && slices.Equal(k.roles, roles) {
		return k.entity
	}
	parents := []cedar.EntityUID{cedar.NewEntityUID(kind, cedar.String(above))}
	for _, role := range roles {
		parents = append(parents, cedar.NewEntityUID("Role", cedar.String(role)))
	}
	k := &known{uid, kind, above, slices.Clone(roles), cedar.Entity{UID: uid, Parents: cedar.NewEntityUIDSet(parents...)}}
	at.Store(k)
	return k.entity
}

// history gives counters by name, because a column of values would lose which is which. A name that
// stands twice keeps neither value: a rule that reads it errs, and a forbid that errs denies.
func history(v reflect.Value) cedar.Value {
	h := v.Addr().Interface().(*action.History)
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

// fieldsOf returns how the fields of struct type t that u sees are encoded; of raw JSON only the arguments.
func fieldsOf(t reflect.Type, u *usage.Tree) []field {
	var out []field
	for i := range t.NumField() {
		name := t.Field(i).Tag.Get("json")
		below, ok := u.Field(name)
		switch {
		case ok && t.Field(i).Type != rawType:
			out = append(out, field{cedar.String(name), i, encoderFor(t.Field(i).Type, below)})
		case ok && name == "arguments":
			out = append(out, field{cedar.String(name), i, raw})
		}
	}
	return out
}

type enumerated interface{ Values() []string }

var (
	enumType = reflect.TypeFor[enumerated]()
	rawType  = reflect.TypeFor[jsontext.Value]()
)

func encoderFor(t reflect.Type, u *usage.Tree) encoder {
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
		fields := fieldsOf(t, u)
		return func(v reflect.Value) cedar.Value {
			m := make(cedar.RecordMap, len(fields))
			for _, f := range fields {
				m[f.name] = f.encode(v.Field(f.index))
			}
			return cedar.NewRecord(m)
		}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Struct {
			return columns(t.Elem(), u)
		}
		enc := encoderFor(t.Elem(), nil)
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

// column is the set of what a field holds in the elements of a list. A field that is itself a list adds its elements.
func (f *field) column(list reflect.Value) cedar.Set {
	var few [4]cedar.Value
	vals := few[:0]
	for i := range list.Len() {
		switch val := f.encode(list.Index(i).Field(f.index)).(type) {
		case cedar.Set:
			for e := range val.All() {
				vals = append(vals, e)
			}
		default:
			vals = append(vals, val)
		}
	}
	return setOf(vals)
}

// columns turns a list of structs into a record of sets, one for each field, and the count.
func columns(t reflect.Type, u *usage.Tree) encoder {
	fields := fieldsOf(t, u)
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
			m[f.name] = f.column(v)
		}
		return cedar.NewRecord(m)
	}
}

// alone holds the sets of one word each that most columns are.
var alone = func() map[cedar.String]cedar.Set {
	out := map[cedar.String]cedar.Set{}
	for _, e := range []enumerated{action.Tri(""), action.Effect(""), action.State(""), action.Secrecy(""), action.Origin(""), action.Sink("")} {
		for _, w := range e.Values() {
			out[cedar.String(w)] = cedar.NewSet(cedar.String(w))
		}
	}
	return out
}()

func setOf(vals []cedar.Value) cedar.Set {
	if len(vals) == 0 {
		return cedar.NewSet()
	}
	for _, v := range vals[1:] {
		if !v.Equal(vals[0]) {
			return cedar.NewSet(vals...)
		}
	}
	if w, ok := vals[0].(cedar.String); ok {
		if s, ok := alone[w]; ok {
			return s
		}
	}
	return cedar.NewSet(vals[0])
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
	return encoderFor(v.Type(), nil)(v), nil
}
