// SPDX-License-Identifier: Apache-2.0

package action

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// enumerated is a word with a closed list of values.
type enumerated interface{ Values() []string }

var (
	enumType = reflect.TypeFor[enumerated]()
	rawType  = reflect.TypeFor[jsontext.Value]()
)

// Validate reports arguments that are no object, or the first word of q that is not on its list, text
// that is not UTF-8, number outside ±(2^53-1), or score outside 0..1000.
func (q *Query) Validate() error {
	if q.Version != Version {
		return fmt.Errorf("%w: version %q is not %q", ErrStrict, Clip(q.Version, 32), Version)
	}
	if q.Action.Arguments.Kind() != '{' {
		return fmt.Errorf("%w: arguments are not an object", ErrStrict)
	}
	if at, what := checkerOf(reflect.TypeFor[Query](), "")(reflect.ValueOf(q).Elem()); what != "" {
		return fmt.Errorf("%w: %s at %q", ErrStrict, what, at)
	}
	return nil
}

// ValidatePart reports the first invalid word of a part, as Query.Validate does.
func ValidatePart(p Part) error {
	q := NewQuery(Before)
	p.Put(q)
	return q.Validate()
}

// validator returns where below v and what is wrong; "" if nothing is. The place is put together only on
// the way out of an error.
type validator func(v reflect.Value) (at, what string)

var validators sync.Map // reflect.Type and whether it is a score -> validator

type validatorKey struct {
	t     reflect.Type
	score bool
}

// checkerOf returns the validator of t, the value of a member called name.
func checkerOf(t reflect.Type, name string) validator {
	key := validatorKey{t, strings.HasSuffix(name, "_milli")}
	if v, ok := validators.Load(key); ok {
		return v.(validator)
	}
	v := newValidator(t, key.score)
	validators.Store(key, v)
	return v
}

func newValidator(t reflect.Type, score bool) validator {
	fine := func(reflect.Value) (string, string) { return "", "" }
	switch {
	case t == rawType:
		return fine
	case t.Implements(enumType):
		allowed := map[string]bool{}
		values := reflect.Zero(t).Interface().(enumerated).Values()
		for _, s := range values {
			allowed[s] = true
		}
		return func(v reflect.Value) (string, string) {
			if allowed[v.String()] {
				return "", ""
			}
			return "", fmt.Sprintf("%q is not one of %s", Clip(v.String(), 32), strings.Join(values, ", "))
		}
	}
	switch t.Kind() {
	case reflect.Struct:
		return structValidator(t)
	case reflect.Slice:
		elem := checkerOf(t.Elem(), "")
		return func(v reflect.Value) (string, string) {
			for i := range v.Len() {
				if at, what := elem(v.Index(i)); what != "" {
					return fmt.Sprintf("/%d%s", i, at), what
				}
			}
			return "", ""
		}
	case reflect.String:
		return func(v reflect.Value) (string, string) {
			if !utf8.ValidString(v.String()) {
				return "", "text that is not UTF-8"
			}
			return "", ""
		}
	case reflect.Int, reflect.Int64:
		return func(v reflect.Value) (string, string) {
			switch n := v.Int(); {
			case n > MaxNumber || n < -MaxNumber:
				return "", "a number out of range"
			case score && (n < 0 || n > MaxMilli):
				return "", "a score outside 0..1000"
			}
			return "", ""
		}
	}
	return fine
}

func structValidator(t reflect.Type) validator {
	names := make([]string, t.NumField())
	fields := make([]validator, t.NumField())
	for i := range names {
		names[i] = t.Field(i).Tag.Get("json")
		fields[i] = checkerOf(t.Field(i).Type, names[i])
	}
	return func(v reflect.Value) (string, string) {
		for i, check := range fields {
			if at, what := check(v.Field(i)); what != "" {
				return "/" + names[i] + at, what
			}
		}
		return "", ""
	}
}
