// SPDX-License-Identifier: Apache-2.0

package action

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// fill puts random values everywhere below v.
func fill(r *rand.Rand, v reflect.Value) {
	texts := []string{"", "plain", "\"quoted\" \\ back", "line\nbreak\t\x01\x7f", "é中😀\u2028</script>", "unknown"}
	if v.Type() == rawType {
		raws := []string{`null`, `{"b":1.50,"a":[1e2,-0,"\u00e9"],"\ud83d\ude00":{}}`, `[]`, `"x"`}
		v.SetBytes([]byte(raws[r.IntN(len(raws))]))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(r, v.Field(i))
		}
	case reflect.Slice:
		n := r.IntN(3)
		if n == 0 && r.IntN(2) == 0 {
			v.SetZero()
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(r, v.Index(i))
		}
	case reflect.Map:
		m := map[string]string{}
		for range r.IntN(4) {
			m[texts[r.IntN(len(texts))]] = texts[r.IntN(len(texts))]
		}
		v.Set(reflect.ValueOf(m))
	case reflect.String:
		v.SetString(texts[r.IntN(len(texts))])
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int, reflect.Int64:
		v.SetInt([]int64{0, 1, -1, MaxNumber, -MaxNumber, 1e15}[r.IntN(6)])
	}
}

func TestCanonicalWritesWhatTheGenericWayWrites(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		for _, v := range []any{&Query{}, &Decision{}, &Bundle{}, &Approval{}} {
			fill(r, reflect.ValueOf(v).Elem())
			if writerOf(reflect.TypeOf(v).Elem()) == nil {
				t.Fatalf("%T is not written directly", v)
			}
			fast, err := Canonical(v)
			if err != nil {
				t.Fatalf("%T: %v", v, err)
			}
			slow, err := canonicalSlow(v)
			if err != nil {
				t.Fatal(err)
			}
			if string(fast) != string(slow) {
				t.Fatalf("%T:\n%s\n%s", v, fast, slow)
			}
		}
	}
}

func TestCanonicalRefusesWhatJSONCannotHold(t *testing.T) {
	for name, change := range map[string]func(q *Query){
		"text that is not UTF-8":        func(q *Query) { q.Subject.ID = "\xff" },
		"a number too large":            func(q *Query) { q.Action.Bytes = MaxNumber + 1 },
		"a raw value that is none":      func(q *Query) { q.Action.Arguments = jsontext.Value(`{`) },
		"a raw value with a name twice": func(q *Query) { q.Action.Arguments = jsontext.Value(`{"a":1,"a":2}`) },
		"no raw value":                  func(q *Query) { q.Action.Arguments = nil },
	} {
		q := NewQuery(Before)
		change(q)
		if b, err := Canonical(q); err == nil {
			t.Errorf("%s: %s", name, b)
		}
	}
}
