// SPDX-License-Identifier: Apache-2.0

package action

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// enumerated is a word with a closed list of values.
type enumerated interface{ Values() []string }

var (
	enumType = reflect.TypeFor[enumerated]()
	rawType  = reflect.TypeFor[jsontext.Value]()
)

// Validate reports arguments that are no object, or the first word of q that is not on its list, number outside ±(2^53-1), or score
// outside 0..1000. It uses reflection and is meant for documents from outside and for tests; enforce
// builds its queries from parts that the conformance suites have validated.
func (q *Query) Validate() error {
	if q.Version != Version {
		return fmt.Errorf("%w: version %q is not %q", ErrStrict, Clip(q.Version, 32), Version)
	}
	if q.Action.Arguments.Kind() != '{' {
		return fmt.Errorf("%w: arguments are not an object", ErrStrict)
	}
	return validate("", reflect.ValueOf(q).Elem())
}

// ValidatePart reports the first invalid word of a part, as Query.Validate does.
func ValidatePart(p Part) error {
	q := NewQuery(Before)
	p.Put(q)
	return q.Validate()
}

func validate(at string, v reflect.Value) error {
	if v.Type() == rawType {
		return nil
	}
	if v.Type().Implements(enumType) {
		allowed := v.Interface().(enumerated).Values()
		if !slices.Contains(allowed, v.String()) {
			return fmt.Errorf("%w: %q at %q is not one of %s", ErrStrict, Clip(v.String(), 32), at, strings.Join(allowed, ", "))
		}
		return nil
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if err := validate(at+"/"+f.Tag.Get("json"), v.Field(i)); err != nil {
				return err
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if err := validate(fmt.Sprintf("%s/%d", at, i), v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Int, reflect.Int64:
		if n := v.Int(); n > MaxNumber || n < -MaxNumber {
			return fmt.Errorf("%w: number at %q is out of range", ErrStrict, at)
		} else if strings.HasSuffix(at, "_milli") && (n < 0 || n > MaxMilli) {
			return fmt.Errorf("%w: score at %q is outside 0..1000", ErrStrict, at)
		}
	}
	return nil
}
