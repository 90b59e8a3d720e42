// SPDX-License-Identifier: Apache-2.0

package cedar

import (
	"errors"
	"hash/maphash"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/usage"
)

// A record costs Cedar more than most policies: it sorts, hashes and copies what is in it. So the context is not built at all.
// Each access to it is rewritten, when the policy is loaded, into the one attribute of an entity of our own that stands for the
// fact: context.flow.session.secrecy becomes Fact::"flow.session.secrecy".v. Cedar asks for that entity only if it gets there, and
// for most values its record was made before. A context that stands alone, as in "context has resource", is still built whole.
const (
	factType = cedar.EntityType("sallyport__::fact") // no policy can say it: the schema has no such type
	factAttr = cedar.String("v")
)

// facts are those that the policies read.
type facts struct {
	at     map[cedar.String]int
	read   []func(q *action.Query) cedar.Record
	bare   bool // a policy wants the context itself
	params cedar.Value
	seen   *usage.Tree
}

// exactNumbers keeps numbers as they are written.
var exactNumbers = json.WithUnmarshalers(json.UnmarshalFromFunc(func(dec *jsontext.Decoder, v *any) error {
	if dec.PeekKind() != '0' {
		return errors.ErrUnsupported
	}
	n, err := dec.ReadValue()
	*v = n.Clone()
	return err
}))

// rewritten returns p with its accesses to the context turned into facts.
func (f *facts) rewritten(p *cedar.Policy) (*cedar.Policy, error) {
	data, err := p.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var form map[string]any
	if err := json.Unmarshal(data, &form, exactNumbers); err != nil {
		return nil, err
	}
	form["conditions"] = f.rewrite(form["conditions"])
	if data, err = json.Marshal(form, json.Deterministic(true)); err != nil {
		return nil, err
	}
	out := &cedar.Policy{}
	return out, out.UnmarshalJSON(data)
}

// rewrite follows usage.go's visit, so that what is rewritten is what counts as seen.
func (f *facts) rewrite(node any) any {
	switch n := node.(type) {
	case []any:
		for i := range n {
			n[i] = f.rewrite(n[i])
		}
	case map[string]any:
		if access, ok := n["."].(map[string]any); ok && len(n) == 1 {
			if path, ok := chain(n); ok {
				return f.access(path)
			}
			access["left"] = f.rewrite(access["left"])
			return n
		}
		if v, ok := n["Var"]; ok && len(n) == 1 {
			f.bare = f.bare || v == "context"
			return n
		}
		for key, e := range n {
			switch fields, record := e.(map[string]any); {
			case key == "Value":
			case key == "Record" && record:
				for name := range fields {
					fields[name] = f.rewrite(fields[name])
				}
			default:
				n[key] = f.rewrite(e)
			}
		}
	}
	return node
}

// access is the fact that the longest part of path names, and the rest of path after it.
func (f *facts) access(path []string) any {
	read, n := f.reader(path)
	id := cedar.String(strings.Join(path[:n], "."))
	if _, known := f.at[id]; !known {
		f.at[id] = len(f.read)
		f.read = append(f.read, read)
	}
	var out any = map[string]any{"Value": map[string]any{"__entity": map[string]any{"type": string(factType), "id": string(id)}}}
	for _, attr := range append([]string{string(factAttr)}, path[n:]...) {
		out = map[string]any{".": map[string]any{"left": out, "attr": attr}}
	}
	return out
}

// reader returns how the fact at the first n names of path is read.
func (f *facts) reader(path []string) (read func(q *action.Query) cedar.Record, n int) {
	whole := func(of func(q *action.Query) cedar.Value) func(q *action.Query) cedar.Record {
		return func(q *action.Query) cedar.Record { return cedar.NewRecord(cedar.RecordMap{factAttr: of(q)}) }
	}
	if path[0] == "params" {
		v := f.params
		for n = 1; n < len(path); n++ {
			r, ok := v.(cedar.Record)
			next, ok2 := cedar.Value(nil), false
			if ok {
				next, ok2 = r.Get(cedar.String(path[n]))
			}
			if !ok2 {
				break
			}
			v = next
		}
		made := cedar.NewRecord(cedar.RecordMap{factAttr: v})
		return func(*action.Query) cedar.Record { return made }, n
	}
	if path[0] == "history" {
		return whole(func(q *action.Query) cedar.Value { return history(reflect.ValueOf(&q.Context.History).Elem()) }), 1
	}
	index, t := []int(nil), reflect.TypeFor[action.Query]()
	if _, top := fieldNamed(t, path[0]); !top {
		i, _ := fieldNamed(t, "context")
		index, t = append(index, i), reflect.TypeFor[action.Context]()
	}
	below := f.seen
	for ; n < len(path) && t.Kind() == reflect.Struct; n++ {
		i, ok := fieldNamed(t, path[n])
		if !ok {
			break
		}
		index, t = append(index, i), t.Field(i).Type
		below, _ = below.Field(path[n])
	}
	at := func(q *action.Query) reflect.Value { return reflect.ValueOf(q).Elem().FieldByIndex(index) }
	switch {
	case t == rawType:
		return whole(func(q *action.Query) cedar.Value { return raw(at(q)) }), n
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct && n < len(path):
		if column := columnReader(t.Elem(), path[n]); column != nil {
			return func(q *action.Query) cedar.Record { return column(at(q)) }, n + 1
		}
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Struct:
		enc := encoderFor(t, nil)
		return func(q *action.Query) cedar.Record { return ofSet(enc(at(q)).(cedar.Set), at(q).Len()) }, n
	case t.Kind() == reflect.Struct, t.Kind() == reflect.Slice:
	default:
		enc := encoderFor(t, nil)
		return func(q *action.Query) cedar.Record { return ofScalar(enc(at(q))) }, n
	}
	enc := encoderFor(t, below)
	return whole(func(q *action.Query) cedar.Value { return enc(at(q)) }), n
}

func fieldNamed(t reflect.Type, name string) (int, bool) {
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("json") == name {
			return i, true
		}
	}
	return 0, false
}

// columnReader reads one column of a list of structs; nil if there is none of that name.
func columnReader(t reflect.Type, name string) func(v reflect.Value) cedar.Record {
	if name == "count" {
		return func(v reflect.Value) cedar.Record { return ofScalar(cedar.Long(v.Len())) }
	}
	for _, f := range fieldsOf(t, nil) {
		if string(f.name) == name {
			return func(v reflect.Value) cedar.Record { return ofSet(f.column(v), v.Len()) }
		}
	}
	return nil
}

// made are the records of values that are often met: a fact's words, truth, and small numbers.
var made = sync.OnceValue(func() *struct {
	words, alone map[cedar.String]cedar.Record
	truth        [2]cedar.Record
	numbers      [1001]cedar.Record
	empty        cedar.Record
} {
	out := &struct {
		words, alone map[cedar.String]cedar.Record
		truth        [2]cedar.Record
		numbers      [1001]cedar.Record
		empty        cedar.Record
	}{words: map[cedar.String]cedar.Record{}, alone: map[cedar.String]cedar.Record{}}
	var walk func(t reflect.Type)
	walk = func(t reflect.Type) {
		if t.Implements(enumType) {
			for _, w := range reflect.Zero(t).Interface().(enumerated).Values() {
				out.words[cedar.String(w)] = factRecord(cedar.String(w))
				out.alone[cedar.String(w)] = factRecord(cedar.NewSet(cedar.String(w)))
			}
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
	walk(reflect.TypeFor[action.Query]())
	out.words[""] = factRecord(cedar.String(""))
	out.truth[0], out.truth[1] = factRecord(cedar.False), factRecord(cedar.True)
	for i := range out.numbers {
		out.numbers[i] = factRecord(cedar.Long(i))
	}
	out.empty = factRecord(types.Set{})
	return out
})

func factRecord(v cedar.Value) cedar.Record { return cedar.NewRecord(cedar.RecordMap{factAttr: v}) }

// late remembers the records of texts of late. It is bounded, and safe for concurrent use.
var late struct {
	seed maphash.Seed
	last [1024]atomic.Pointer[lately]
}

func init() { late.seed = maphash.MakeSeed() }

type lately struct {
	text   cedar.String
	record cedar.Record
}

const maxLate = 256 // bytes of a text that is remembered

func ofScalar(v cedar.Value) cedar.Record {
	switch v := v.(type) {
	case cedar.String:
		if r, ok := made().words[v]; ok {
			return r
		}
		if len(v) > maxLate {
			break
		}
		at := &late.last[maphash.String(late.seed, string(v))%uint64(len(late.last))]
		if k := at.Load(); k != nil && k.text == v {
			return k.record
		}
		k := &lately{v, factRecord(v)}
		at.Store(k)
		return k.record
	case cedar.Long:
		if v >= 0 && int(v) < len(made().numbers) {
			return made().numbers[v]
		}
	case cedar.Boolean:
		if v {
			return made().truth[1]
		}
		return made().truth[0]
	}
	return factRecord(v)
}

// ofSet is the record of a set that was made of n values.
func ofSet(s cedar.Set, n int) cedar.Record {
	switch {
	case n == 0 || s.Len() == 0:
		return made().empty
	case s.Len() == 1:
		for v := range s.All() {
			if w, ok := v.(cedar.String); ok {
				if r, ok := made().alone[w]; ok {
					return r
				}
			}
		}
	}
	return factRecord(s)
}
