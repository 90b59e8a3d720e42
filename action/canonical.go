// SPDX-License-Identifier: Apache-2.0

package action

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Canonical returns the RFC 8785 form of v: what digests and signatures are taken over. Slices and maps
// that are nil encode as empty. It errs only on values that JSON cannot hold.
//
// Our own types are written directly, by a plan that is made once per type; anything else goes through
// a generic encoding and a second pass. A test holds the two to the same bytes.
func Canonical(v any) ([]byte, error) {
	rv := reflect.ValueOf(v)
	for rv.Kind() == reflect.Pointer && !rv.IsNil() {
		rv = rv.Elem()
	}
	if rv.IsValid() {
		if write := writerOf(rv.Type()); write != nil {
			return onSheet(func(b []byte) ([]byte, error) { return write(b, rv) })
		}
	}
	return canonicalSlow(v)
}

// sheets are what canonical forms are written on before they are copied to their own length.
var sheets = sync.Pool{New: func() any { b := make([]byte, 0, 8<<10); return &b }}

func onSheet(write func([]byte) ([]byte, error)) ([]byte, error) {
	sheet := sheets.Get().(*[]byte)
	defer sheets.Put(sheet)
	b, err := write((*sheet)[:0])
	if err != nil {
		return nil, err
	}
	if cap(b) > cap(*sheet) && cap(b) <= 64<<10 {
		*sheet = b
	}
	return append(make([]byte, 0, len(b)), b...), nil
}

func canonicalSlow(v any) ([]byte, error) {
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("action: canonical form: %w", err)
	}
	c := jsontext.Value(b)
	if err := c.Canonicalize(); err != nil {
		return nil, fmt.Errorf("action: canonical form: %w", err)
	}
	return c, nil
}

// writer appends the canonical form of v to b.
type writer func(b []byte, v reflect.Value) ([]byte, error)

var writers sync.Map // reflect.Type -> writer, nil for types that are not written directly

func writerOf(t reflect.Type) writer {
	if w, ok := writers.Load(t); ok {
		return w.(writer)
	}
	w := newWriter(t)
	writers.Store(t, w)
	return w
}

func newWriter(t reflect.Type) writer {
	if t == rawType {
		return writeRaw
	}
	for _, m := range []string{"MarshalJSON", "MarshalJSONTo", "MarshalText", "AppendText"} { // they know better
		if _, ok := reflect.PointerTo(t).MethodByName(m); ok {
			return nil
		}
	}
	switch t.Kind() {
	case reflect.Struct:
		return structWriter(t)
	case reflect.Slice:
		return sliceWriter(t)
	case reflect.Map:
		return mapWriter(t)
	case reflect.String:
		return func(b []byte, v reflect.Value) ([]byte, error) { return quote(b, v.String()) }
	case reflect.Bool:
		return func(b []byte, v reflect.Value) ([]byte, error) { return strconv.AppendBool(b, v.Bool()), nil }
	case reflect.Int, reflect.Int64, reflect.Int32:
		return writeInt
	}
	return nil
}

func quote(b []byte, s string) ([]byte, error) {
	b, err := jsontext.AppendQuote(b, s)
	if err != nil {
		return nil, fmt.Errorf("action: canonical form: %w", err)
	}
	return b, nil
}

// writeInt writes an integer that a double holds; RFC 8785 would round others.
func writeInt(b []byte, v reflect.Value) ([]byte, error) {
	if n := v.Int(); n > MaxNumber || n < -MaxNumber {
		return nil, fmt.Errorf("action: canonical form: a number beyond 2^53-1")
	}
	return strconv.AppendInt(b, v.Int(), 10), nil
}

func writeRaw(b []byte, v reflect.Value) ([]byte, error) {
	c := jsontext.Value(slices.Clone(v.Bytes()))
	if err := c.Canonicalize(); err != nil {
		return nil, fmt.Errorf("action: canonical form: %w", err)
	}
	return append(b, c...), nil
}

func structWriter(t reflect.Type) writer {
	type field struct {
		index int
		head  string // name, quoted, with its colon
		write writer
		omit  bool // where it is zero
	}
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		w := writerOf(f.Type)
		if !f.IsExported() || f.Anonymous || name == "" || name == "-" || options != "" && options != "omitzero" || w == nil {
			return nil
		}
		if _, own := f.Type.MethodByName("IsZero"); own {
			return nil
		}
		fields = append(fields, field{i, strconv.Quote(name) + ":", w, options != ""}) // our names are plain ASCII
	}
	slices.SortFunc(fields, func(a, b field) int { return strings.Compare(a.head, b.head) })
	return func(b []byte, v reflect.Value) (_ []byte, err error) {
		b = append(b, '{')
		first := true
		for i := range fields {
			f := &fields[i]
			member := v.Field(f.index)
			if f.omit && member.IsZero() {
				continue
			}
			if !first {
				b = append(b, ',')
			}
			first = false
			if b, err = f.write(append(b, f.head...), member); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	}
}

func sliceWriter(t reflect.Type) writer {
	elem := writerOf(t.Elem())
	if elem == nil || t.Elem().Kind() == reflect.Uint8 {
		return nil
	}
	return func(b []byte, v reflect.Value) (_ []byte, err error) {
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = elem(b, v.Index(i)); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	}
}

// mapWriter writes maps of text to text with plain ASCII keys; others take the slow way.
func mapWriter(t reflect.Type) writer {
	if t != reflect.TypeFor[map[string]string]() {
		return nil
	}
	return func(b []byte, v reflect.Value) (_ []byte, err error) {
		m := v.Interface().(map[string]string)
		keys := make([]string, 0, len(m))
		for k := range m {
			if strings.ContainsFunc(k, func(r rune) bool { return r < ' ' || r > '~' }) {
				slow, err := canonicalSlow(m)
				return append(b, slow...), err
			}
			keys = append(keys, k)
		}
		slices.Sort(keys)
		b = append(b, '{')
		for i, k := range keys {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = quote(b, k); err != nil {
				return nil, err
			}
			if b, err = quote(append(b, ':'), m[k]); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	}
}
