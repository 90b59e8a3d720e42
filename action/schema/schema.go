// SPDX-License-Identifier: Apache-2.0

// Package schema writes the input document agent.v1 down as a JSON Schema and as a Cedar schema, both
// derived from the Go types, so that no description of it can drift.
//
// The written forms stand beside this file and are embedded; a test proves them current. To renew them:
//
//	go test ./action/schema -update
package schema

import (
	_ "embed"
	"fmt"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
)

// JSON is the JSON Schema (2020-12) of agent.v1.
//
//go:embed agent.v1.schema.json
var JSON []byte

// Cedar is the Cedar schema of agent.v1 in Cedar's own syntax. A bundle adds the attributes of
// context.params and context.history.counters that it declares.
//
//go:embed agent.v1.cedarschema
var Cedar []byte

type enumerated interface{ Values() []string }

var (
	enumType = reflect.TypeFor[enumerated]()
	rawType  = reflect.TypeFor[jsontext.Value]()
)

// WriteJSON derives the JSON Schema.
func WriteJSON() ([]byte, error) {
	s := jsonType(reflect.TypeFor[action.Query](), "")
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["$id"] = "https://sallyport.dev/schema/" + action.Version + ".json"
	s["title"] = "Sallyport input document " + action.Version
	b, err := action.Canonical(s)
	if err != nil {
		return nil, err
	}
	v := jsontext.Value(b)
	if err := v.Indent(); err != nil {
		return nil, err
	}
	return append(v, '\n'), nil
}

func jsonType(t reflect.Type, name string) map[string]any {
	switch {
	case t == rawType && name == "arguments":
		return map[string]any{"type": "object"}
	case t == rawType:
		return map[string]any{}
	case t.Implements(enumType):
		return map[string]any{"type": "string", "enum": reflect.Zero(t).Interface().(enumerated).Values()}
	}
	switch t.Kind() {
	case reflect.Struct:
		props, required := map[string]any{}, []string{}
		for i := range t.NumField() {
			n := t.Field(i).Tag.Get("json")
			props[n] = jsonType(t.Field(i).Type, n)
			required = append(required, n)
		}
		return map[string]any{"type": "object", "properties": props, "required": required, "additionalProperties": false}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": jsonType(t.Elem(), "")}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		if strings.HasSuffix(name, "_milli") {
			return map[string]any{"type": "integer", "minimum": 0, "maximum": action.MaxMilli}
		}
		return map[string]any{"type": "integer", "minimum": -action.MaxNumber, "maximum": action.MaxNumber}
	}
	if name == "version" && t.Kind() == reflect.String {
		return map[string]any{"type": "string"}
	}
	return map[string]any{"type": "string"}
}

// WriteCedar derives the Cedar schema: principals are agents in tenants and roles, actions are effects,
// resources are tools in servers. Lists of records appear by columns, as sets of the distinct values with
// a count; raw JSON is left out, because Cedar cannot parse it.
func WriteCedar() []byte {
	var b strings.Builder
	b.WriteString("// The input document " + action.Version + " as Cedar sees it. Derived from the Go types; do not edit.\n\n")
	b.WriteString("entity Tenant;\nentity Role;\nentity Server;\nentity Agent in [Tenant, Role];\nentity Tool in [Server];\n\n")
	b.WriteString("type Facts = {\n")
	q := reflect.TypeFor[action.Query]()
	for _, n := range []string{"Version", "Phase", "Round", "Subject", "Action", "Resource"} {
		f, _ := q.FieldByName(n)
		member(&b, f.Tag.Get("json"), cedarType(f.Type, 1), 1)
	}
	c := reflect.TypeFor[action.Context]()
	for i := range c.NumField() {
		f := c.Field(i)
		if f.Type == reflect.TypeFor[action.History]() {
			member(&b, "history", "{\n    \"state\": String,\n    \"counters\": {},\n  }", 1)
			continue
		}
		member(&b, f.Tag.Get("json"), cedarType(f.Type, 1), 1)
	}
	member(&b, "params", "{}", 1)
	b.WriteString("};\n\n")
	var names []string
	for _, e := range action.EffectUnknown.Values() {
		names = append(names, fmt.Sprintf("%q", e))
	}
	fmt.Fprintf(&b, "action %s appliesTo {\n  principal: [Agent],\n  resource: [Tool],\n  context: Facts,\n};\n", strings.Join(names, ", "))
	return []byte(b.String())
}

func member(b *strings.Builder, name, typ string, depth int) {
	fmt.Fprintf(b, "%s%q: %s,\n", strings.Repeat("  ", depth), name, typ)
}

func cedarType(t reflect.Type, depth int) string {
	if t.Implements(enumType) {
		return "String"
	}
	switch t.Kind() {
	case reflect.Struct:
		var b strings.Builder
		b.WriteString("{\n")
		for i := range t.NumField() {
			if f := t.Field(i); f.Type != rawType {
				member(&b, f.Tag.Get("json"), cedarType(f.Type, depth+1), depth+1)
			}
		}
		return b.String() + strings.Repeat("  ", depth) + "}"
	case reflect.Slice:
		if t.Elem().Kind() != reflect.Struct {
			return "Set<" + cedarType(t.Elem(), depth) + ">"
		}
		return columns(t.Elem(), depth)
	case reflect.Bool:
		return "Bool"
	case reflect.Int, reflect.Int64:
		return "Long"
	}
	return "String"
}

// columns is a list of records as a record of sets.
func columns(t reflect.Type, depth int) string {
	var b strings.Builder
	b.WriteString("{\n")
	member(&b, "count", "Long", depth+1)
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Type == rawType {
			continue
		}
		typ := cedarType(f.Type, depth+1)
		switch {
		case f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() != reflect.Struct: // its elements join the column
		default:
			typ = "Set<" + typ + ">"
		}
		member(&b, f.Tag.Get("json"), typ, depth+1)
	}
	return b.String() + strings.Repeat("  ", depth) + "}"
}
