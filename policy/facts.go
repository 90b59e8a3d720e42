// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
)

// Stated lists, one by line, each fact of q that is not what an empty query of its gate says: "action.effect = read".
// Text is quoted and clipped; raw arguments and results are left out.
func Stated(q *action.Query) []string {
	var out []string
	stated("", reflect.ValueOf(q).Elem(), reflect.ValueOf(action.NewQuery(q.Phase)).Elem(), &out)
	return out
}

var rawType = reflect.TypeFor[jsontext.Value]()

func stated(at string, v, unset reflect.Value, out *[]string) {
	if v.Type() == rawType {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			stated(at+"."+v.Type().Field(i).Tag.Get("json"), v.Field(i), unset.Field(i), out)
		}
	case reflect.Slice:
		for i := range v.Len() {
			// A list is empty unless somebody filled it, so that all of it counts.
			stated(fmt.Sprintf("%s[%d]", at, i), v.Index(i), reflect.Zero(v.Type().Elem()), out)
		}
	default:
		if !v.Equal(unset) {
			*out = append(*out, strings.TrimPrefix(at, ".")+" = "+shownFact(v))
		}
	}
}

func shownFact(v reflect.Value) string {
	if v.Kind() != reflect.String {
		return fmt.Sprint(v.Interface())
	}
	if _, word := v.Interface().(interface{ Values() []string }); word {
		return action.Word(action.Effect(v.String()))
	}
	return fmt.Sprintf("%q", action.Clip(v.String(), 200))
}
