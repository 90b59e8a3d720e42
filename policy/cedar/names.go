// SPDX-License-Identifier: Apache-2.0

package cedar

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/sallyport/sallyport/action"
)

// shape is what the context holds: a tree of names. A nil shape is a value without attributes.
type shape struct {
	fields map[string]*shape
	any    *shape // of a record whose names are data: the counters
}

// shapeOf returns the shape of the context with parameters of type params (nil for none).
func shapeOf(params reflect.Type) *shape {
	top := &shape{fields: map[string]*shape{"version": nil, "phase": nil, "round": nil,
		"subject": shapeOfType(reflect.TypeFor[action.Subject]()), "action": shapeOfType(reflect.TypeFor[action.Act]()),
		"resource": shapeOfType(reflect.TypeFor[action.Resource]()), "params": {}}}
	if params != nil {
		top.fields["params"] = shapeOfType(params)
	}
	for name, s := range shapeOfType(reflect.TypeFor[action.Context]()).fields {
		top.fields[name] = s
	}
	counter := &shape{fields: map[string]*shape{"state": nil, "value": nil, "window": nil}}
	top.fields["history"] = &shape{fields: map[string]*shape{"state": nil, "counters": {any: counter}}}
	return top
}

func shapeOfType(t reflect.Type) *shape {
	columns := t.Kind() == reflect.Slice && t != rawType
	if columns {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	s := &shape{fields: map[string]*shape{}}
	if columns {
		s.fields["count"] = nil
	}
	for i := range t.NumField() {
		f := t.Field(i)
		switch {
		case f.Type == rawType && f.Tag.Get("json") == "arguments":
			s.fields["arguments"] = anything
		case f.Type == rawType:
		case columns:
			s.fields[f.Tag.Get("json")] = nil // a set
		default:
			s.fields[f.Tag.Get("json")] = shapeOfType(f.Type)
		}
	}
	return s
}

// check reports the first name on path that the context can never have. A rule over such a name would
// only ever err, so it is refused when it is loaded.
func (s *shape) check(path []string) error {
	at := s
	for i, name := range path {
		if at == nil {
			return fmt.Errorf("context.%s has no attributes, such as %q", strings.Join(path[:i], "."), action.Clip(name, 64))
		}
		next, ok := at.fields[name]
		if !ok && at.any != nil {
			next, ok = at.any, true
		}
		if !ok {
			return fmt.Errorf("context.%s does not exist", action.Clip(strings.Join(path[:i+1], "."), 200))
		}
		at = next
	}
	return nil
}
