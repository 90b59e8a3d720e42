// SPDX-License-Identifier: Apache-2.0

package cedar

import (
	"fmt"
	"reflect"

	xast "github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/usage"
)

// Schema returns the schema that policies are checked against, in Cedar's own form: agent.v1 with parameters of type
// params (nil for none). Counters are a record whose names policies choose.
func Schema(params reflect.Type, counters ...string) ([]byte, error) {
	s, err := schemaOf(params, counters, nil, nil)
	if err != nil {
		return nil, err
	}
	return s.MarshalCedar()
}

type object = map[string]any

// schemaOf is the schema as far as seen goes: it takes Cedar's validator as long as the context is wide.
// Arguments is the type of the raw arguments, nil if it is not known.
func schemaOf(params reflect.Type, counters []string, seen *usage.Tree, arguments object) (*schema.Schema, error) {
	names := object{}
	for _, name := range counters {
		names[name] = object{"type": "Counter"}
	}
	context := attributes(reflect.TypeFor[action.Context](), seen)
	for name, t := range map[string]reflect.Type{"version": reflect.TypeFor[string](), "phase": reflect.TypeFor[string](), "round": reflect.TypeFor[int](),
		"subject": reflect.TypeFor[action.Subject](), "action": reflect.TypeFor[action.Act](), "resource": reflect.TypeFor[action.Resource](), "params": params} {
		if below, ok := seen.Field(name); ok && t != nil {
			context[name] = typeOf(t, below)
		}
	}
	if act, ok := context["action"].(object); ok && arguments != nil {
		act["attributes"].(object)["arguments"] = arguments
	}
	if _, ok := seen.Field("history"); ok {
		context["history"] = recordOf(object{"state": text, "counters": recordOf(names)})
	}
	if _, ok := context["params"]; !ok {
		context["params"] = recordOf(object{})
	}
	applies := object{"principalTypes": []string{"Agent"}, "resourceTypes": []string{"Tool"}, "context": object{"type": "Context"}}
	actions := object{}
	for _, effect := range action.EffectUnknown.Values() {
		actions[effect] = object{"appliesTo": applies}
	}
	data, err := json.Marshal(object{"": object{
		"commonTypes": object{"Context": recordOf(context), "Counter": recordOf(object{"state": text, "value": long, "window": text})},
		"entityTypes": object{"Tenant": object{}, "Role": object{}, "Server": object{},
			"Agent": object{"memberOfTypes": []string{"Tenant", "Role"}}, "Tool": object{"memberOfTypes": []string{"Server"}}},
		"actions": actions,
	}})
	if err != nil {
		return nil, err
	}
	s := &schema.Schema{}
	if err := s.UnmarshalJSON(data); err != nil {
		return nil, fmt.Errorf("the schema: %w", err)
	}
	return s, nil
}

var (
	text = object{"type": "String"}
	long = object{"type": "Long"}
	flag = object{"type": "Boolean"}
)

func recordOf(attributes object) object { return object{"type": "Record", "attributes": attributes} }

func setType(of object) object { return object{"type": "Set", "element": of} }

// typeOf is the type of what encoderFor makes of t.
func typeOf(t reflect.Type, seen *usage.Tree) object {
	switch {
	case t.Kind() == reflect.Struct:
		return recordOf(attributes(t, seen))
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		columns := object{"count": long}
		for name, of := range attributes(t.Elem(), seen) {
			if of := of.(object); of["type"] != "Set" {
				columns[name] = setType(of)
				continue
			}
			columns[name] = of
		}
		return recordOf(columns)
	case t.Kind() == reflect.Slice:
		return setType(typeOf(t.Elem(), nil))
	case t.Kind() == reflect.Bool:
		return flag
	case t.Kind() == reflect.Int || t.Kind() == reflect.Int64:
		return long
	}
	return text
}

func attributes(t reflect.Type, seen *usage.Tree) object {
	out := object{}
	for i := range t.NumField() {
		f := t.Field(i)
		if below, ok := seen.Field(f.Tag.Get("json")); ok && f.Type != rawType {
			out[f.Tag.Get("json")] = typeOf(f.Type, below)
		}
	}
	return out
}

const emptySet = "empty set literals are forbidden"

// typed checks each policy against the schema: a comparison of two types, or an operator on a type that it has not,
// errs on every request, and a policy that errs is one that does not fire. What reads the raw arguments is checked
// for the tools that its scope names and whose arguments are known (tools: JSON Schemas by "server/name"); else their types
// are whoever's who sends them, so that only its errors at run time speak, which deny.
func typed(rules []*rule, params reflect.Type, counters []string, seen *usage.Tree, tools map[string][]byte) error {
	s, err := schemaOf(params, counters, seen, nil)
	if err != nil {
		return fmt.Errorf("cedar: %w", err)
	}
	resolved, err := s.Resolve()
	if err != nil {
		return fmt.Errorf("cedar: the schema: %w", err)
	}
	for _, r := range rules {
		if readsArguments(r) {
			with := func(arguments object) (*schema.Schema, error) { return schemaOf(params, counters, seen, arguments) }
			if err := typedArguments(r, tools, with); err != nil {
				return err
			}
			continue
		}
		if err := validPolicy(resolved, (*xast.Policy)(r.policy.AST())); err != nil {
			at := r.policy.Position()
			return fmt.Errorf("cedar: %s:%d: %s: %w", at.Filename, at.Line, r.match.ID, err)
		}
	}
	return nil
}

func readsArguments(r *rule) bool {
	seen := &usage.Tree{}
	if err := used(seen, anything, map[string]bool{}, r.policy); err != nil {
		return false
	}
	act, ok := seen.Field("action")
	if !ok || act == nil {
		return false
	}
	_, ok = act.Field("arguments")
	return ok
}
