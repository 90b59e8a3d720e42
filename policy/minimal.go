// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"go.yaml.in/yaml/v3"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/bundle"
)

// redacted stands for a text that decides nothing.
const redacted = "redacted"

// maxTries bounds the decisions that one Minimal takes.
const maxTries = 20_000

// Minimal returns the part of q, as a tree of JSON values, that c decides by the same rules as q: what can be left
// out is left out, and texts that decide nothing are replaced. keep reports whether a query is still what it has to be;
// nil wants nothing more. A query that cannot be told as a part of one is an error.
func (c *Compiled) Minimal(ctx context.Context, q *action.Query, keep func(q *action.Query) bool) (map[string]any, error) {
	part, err := Stating(q)
	if err != nil {
		return nil, err
	}
	want, err := c.Decide(ctx, q)
	if err != nil {
		return nil, err
	}
	tries := 0
	same := func() bool {
		if tries++; tries > maxTries {
			return false
		}
		again, err := read(part)
		if err != nil || keep != nil && !keep(again) {
			return false
		}
		got, err := c.Decide(ctx, again)
		return err == nil && got.Verdict == want.Verdict && got.Mode == want.Mode && decidingRules(&got) == decidingRules(&want) && len(got.Errors) == len(want.Errors)
	}
	if !same() {
		return nil, fmt.Errorf("policy: the query cannot be told as a part of one: it is decided otherwise")
	}
	shrink(part, same)
	return part, ctx.Err()
}

func read(part map[string]any) (*action.Query, error) {
	data, err := json.Marshal(part, json.Deterministic(true))
	if err != nil {
		return nil, err
	}
	return bundle.ReadPartial(data)
}

// shrink leaves out of v, an object or list, whatever same does not miss, and goes into what it has to keep.
func shrink(v any, same func() bool) {
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			old := v[name]
			if delete(v, name); same() {
				continue
			}
			v[name] = shorter(old, func(now any) bool { v[name] = now; return same() })
			shrink(v[name], same)
		}
	case []any:
		for i, old := range v {
			v[i] = shorter(old, func(now any) bool { v[i] = now; return same() })
			shrink(v[i], same)
		}
	}
}

// shorter tries a shorter value in place of old and returns what was kept.
func shorter(old any, try func(now any) bool) any {
	switch old := old.(type) {
	case string:
		if try(redacted) {
			return redacted
		}
	case []any:
		for i := 0; i < len(old); {
			without := slices.Delete(slices.Clone(old), i, i+1)
			if try(without) {
				old = without
				continue
			}
			i++
		}
		try(old)
		return old
	}
	try(old)
	return old
}

// Stating returns q as the part of a query that states what q states.
func Stating(q *action.Query) (map[string]any, error) {
	part := difference(reflect.ValueOf(q).Elem(), reflect.ValueOf(action.NewQuery(action.PhaseUnknown)).Elem())
	m, _ := part.(map[string]any)
	delete(m, "version")
	return m, nil
}

// difference is what v says beyond unset, nil if it is nothing.
func difference(v, unset reflect.Value) any {
	switch {
	case v.Type() == rawType:
		var out any
		if v.Len() == 0 || json.Unmarshal(v.Bytes(), &out) != nil {
			return nil
		}
		return out
	case v.Kind() == reflect.Struct:
		out := map[string]any{}
		for i := range v.NumField() {
			if d := difference(v.Field(i), unset.Field(i)); d != nil {
				out[v.Type().Field(i).Tag.Get("json")] = d
			}
		}
		if len(out) == 0 {
			return nil
		}
		return out
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8:
		return base64.StdEncoding.EncodeToString(v.Bytes())
	case v.Kind() == reflect.Slice:
		if v.Len() == 0 {
			return nil
		}
		out := make([]any, v.Len())
		for i := range out {
			d := difference(v.Index(i), reflect.Zero(v.Type().Elem()))
			if d == nil {
				d = map[string]any{}
				if v.Type().Elem().Kind() != reflect.Struct {
					d = v.Index(i).Interface()
				}
			}
			out[i] = d
		}
		return out
	case v.Equal(unset):
		return nil
	case v.Kind() == reflect.String:
		return v.String()
	}
	return v.Interface()
}

// CaseText writes one case as an element of a suite's list of cases.
func CaseText(name string, expect action.Verdict, rules []string, query map[string]any) (string, error) {
	k := struct {
		Name   string         `yaml:"name"`
		Expect action.Verdict `yaml:"expect"`
		Rules  []string       `yaml:"rules,omitempty,flow"`
		Query  map[string]any `yaml:"query"`
	}{name, expect, rules, query}
	data, err := yaml.Marshal([]any{k})
	if err != nil {
		return "", fmt.Errorf("policy: case %q: %w", name, err)
	}
	return "  " + strings.ReplaceAll(strings.TrimSuffix(string(data), "\n"), "\n", "\n  ") + "\n", nil
}
