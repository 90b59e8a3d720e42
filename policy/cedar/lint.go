// SPDX-License-Identifier: Apache-2.0

package cedar

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
)

// Finding is one thing in a policy that is probably not meant.
type Finding struct {
	Lint  string `json:"lint"`
	Error bool   `json:"error"` // not only advice
	File  string `json:"file"`
	Line  int    `json:"line"`
	Rule  string `json:"rule"`
	Text  string `json:"text"`
	Safe  string `json:"safe"` // the safe form; "" if there is none

	Waived string `json:"waived"` // always ""
}

// Lint finds policies without any condition, that can never hold or that another makes needless, comparisons with words
// that a fact can never be, texts that look like credentials, and policies that no scope finds once there are many.
func (e *Evaluator) Lint() []Finding {
	out := append(e.logic(), e.secrets()...)
	for _, l := range []list{e.permits, e.forbids} {
		for _, r := range l.rules {
			f := at(r)
			for _, text := range impossible(r.policy) {
				f := f
				f.Lint, f.Error, f.Text, f.Safe = "impossible-value", true, text, "compare with a word of the list"
				out = append(out, f)
			}
			switch named, conditions := scoped(r.policy); {
			case !named && conditions == 0:
				f.Lint, f.Error = "always-true", r.policy.Effect() == cedar.Permit
				f.Text, f.Safe = "the policy holds whatever is asked", "name an action, or state at least the phase: when { context.phase == \"before\" }"
			case !named && len(e.permits.rules)+len(e.forbids.rules) > manyRules:
				f.Lint, f.Text, f.Safe = "slow-path", "the policy is tried on every request", "name an action or a resource in its scope"
			default:
				continue
			}
			out = append(out, f)
		}
	}
	return out
}

// Where returns the place of a policy, by its full name.
func (e *Evaluator) Where(rule string) (file string, line int, ok bool) {
	for _, l := range []list{e.permits, e.forbids} {
		if r := l.byID[cedar.PolicyID(rule)]; r != nil {
			f := at(r)
			return f.File, f.Line, true
		}
	}
	return "", 0, false
}

// manyRules is how many policies may all be tried on every request.
const manyRules = 200

// scoped reports whether the scope of p names an entity, and how many conditions p has.
func scoped(p *cedar.Policy) (named bool, conditions int) {
	data, err := p.MarshalJSON()
	if err != nil {
		return false, 0
	}
	var form struct {
		Principal  scopeForm `json:"principal"`
		Action     scopeForm `json:"action"`
		Resource   scopeForm `json:"resource"`
		Conditions []any     `json:"conditions"`
	}
	if json.Unmarshal(data, &form) != nil {
		return false, 0
	}
	named = len(form.Principal.named())+len(form.Action.named())+len(form.Resource.named()) > 0
	return named, len(form.Conditions)
}

// impossible lists the comparisons of p with words that are on no list.
func impossible(p *cedar.Policy) (out []string) {
	data, err := p.MarshalJSON()
	if err != nil {
		return nil
	}
	var form struct {
		Conditions []any `json:"conditions"`
	}
	if json.Unmarshal(data, &form) != nil {
		return nil
	}
	var visit func(node any)
	visit = func(node any) {
		switch n := node.(type) {
		case []any:
			for _, e := range n {
				visit(e)
			}
		case map[string]any:
			for op, e := range n {
				if sides, ok := e.(map[string]any); ok && slices.Contains(compares, op) {
					out = append(out, offList(sides["left"], sides["right"])...)
					out = append(out, offList(sides["right"], sides["left"])...)
				}
				visit(e)
			}
		}
	}
	visit(form.Conditions)
	slices.Sort(out)
	return out
}

// compares are the operators by which a fact is held against words.
var compares = []string{"==", "!=", "contains", "containsAll", "containsAny"}

// offList lists the words of value that the fact can never be.
func offList(fact, value any) (out []string) {
	n, ok := fact.(map[string]any)
	if !ok {
		return nil
	}
	path, ok := chain(n)
	list := wordsAt(path)
	if !ok || list == nil {
		return nil
	}
	for _, w := range literals(value) {
		if !slices.Contains(list, w) {
			out = append(out, fmt.Sprintf("%q is none of %s, which context.%s can be", action.Clip(w, 64), strings.Join(list, ", "), strings.Join(path, ".")))
		}
	}
	return out
}

// literals lists the texts in a value of Cedar's JSON form.
func literals(value any) (out []string) {
	n, ok := value.(map[string]any)
	if !ok {
		return nil
	}
	if s, ok := n["Value"].(string); ok {
		return []string{s}
	}
	set, _ := n["Set"].([]any)
	for _, e := range set {
		out = append(out, literals(e)...)
	}
	return out
}

// wordsAt returns the list of words of the fact at a path of the context, nil if it is no word.
func wordsAt(path []string) []string {
	if len(path) == 0 {
		return nil
	}
	t, under := reflect.TypeFor[action.Context](), path
	for _, top := range []struct {
		name string
		t    reflect.Type
	}{{"subject", reflect.TypeFor[action.Subject]()}, {"action", reflect.TypeFor[action.Act]()}, {"resource", reflect.TypeFor[action.Resource]()}, {"phase", reflect.TypeFor[action.Phase]()}} {
		if path[0] == top.name {
			t, under = top.t, path[1:]
		}
	}
	for _, name := range under {
		for t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct {
			return nil
		}
		i := slices.IndexFunc(reflect.VisibleFields(t), func(f reflect.StructField) bool { return f.Tag.Get("json") == name })
		if i < 0 {
			return nil
		}
		t = t.Field(i).Type
	}
	for t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if !t.Implements(enumType) {
		return nil
	}
	return reflect.Zero(t).Interface().(enumerated).Values()
}
