// SPDX-License-Identifier: Apache-2.0

package cedar

import (
	"fmt"

	"github.com/cedar-policy/cedar-go"
	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/policy/usage"
)

// used marks every part of the context that p can see. It reads Cedar's JSON form, in which an access is
// {".": {left, attr}}, a test {"has": {left, attr}} and the context {"Var": "context"}. A context or a
// part of it that stands for itself, as in a comparison, is seen whole.
func used(tree *usage.Tree, p *cedar.Policy) error {
	data, err := p.MarshalJSON()
	if err != nil {
		return err
	}
	var form struct {
		Conditions []any `json:"conditions"`
	}
	if err := json.Unmarshal(data, &form); err != nil {
		return fmt.Errorf("the policy's JSON form: %w", err)
	}
	for _, c := range form.Conditions {
		visit(tree, c)
	}
	return nil
}

func visit(tree *usage.Tree, node any) {
	switch n := node.(type) {
	case []any:
		for _, e := range n {
			visit(tree, e)
		}
	case map[string]any:
		if path, ok := chain(n); ok {
			tree.Mark(path...)
			return
		}
		for key, e := range n {
			switch fields, isMap := e.(map[string]any); {
			case key == "Value":
			case key == "Record" && isMap:
				for _, f := range fields {
					visit(tree, f)
				}
			default:
				visit(tree, e)
			}
		}
	}
}

// chain returns the path of an access to the context: [] for the context itself.
func chain(n map[string]any) ([]string, bool) {
	if len(n) != 1 {
		return nil, false
	}
	if v, ok := n["Var"]; ok {
		return nil, v == "context"
	}
	for _, op := range []string{".", "has"} {
		access, ok := n[op].(map[string]any)
		if !ok {
			continue
		}
		left, ok1 := access["left"].(map[string]any)
		attr, ok2 := access["attr"].(string)
		if !ok1 || !ok2 {
			continue
		}
		if path, ok := chain(left); ok {
			return append(path, attr), true
		}
	}
	return nil, false
}
