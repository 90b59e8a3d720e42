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
// part of it that stands for itself, as in a comparison, is seen whole. Names of counters are added. It errs on a name that the context
// can never have.
func used(tree *usage.Tree, known *shape, counters map[string]bool, p *cedar.Policy) error {
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
	v := visitor{tree: tree, known: known, counters: counters}
	for _, c := range form.Conditions {
		v.visit(c)
	}
	return v.err
}

type visitor struct {
	tree  *usage.Tree
	known *shape

	counters map[string]bool // names that are read of context.history.counters
	err      error           // the first name that does not exist
}

func (v *visitor) visit(node any) {
	switch n := node.(type) {
	case []any:
		for _, e := range n {
			v.visit(e)
		}
	case map[string]any:
		if path, ok := chain(n); ok {
			v.tree.Mark(path...)
			if len(path) > 2 && path[0] == "history" && path[1] == "counters" {
				v.counters[path[2]] = true
			}
			if err := v.known.check(path); err != nil && v.err == nil {
				v.err = err
			}
			return
		}
		for key, e := range n {
			switch fields, isMap := e.(map[string]any); {
			case key == "Value":
			case key == "Record" && isMap:
				for _, f := range fields {
					v.visit(f)
				}
			default:
				v.visit(e)
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
