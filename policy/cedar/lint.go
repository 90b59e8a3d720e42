// SPDX-License-Identifier: Apache-2.0

package cedar

import (
	"github.com/cedar-policy/cedar-go"
	"github.com/go-json-experiment/json"
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

// Lint finds policies without any condition, and policies that no scope finds once there are many.
func (e *Evaluator) Lint() []Finding {
	var out []Finding
	for _, l := range []list{e.permits, e.forbids} {
		for _, r := range l.rules {
			at := r.policy.Position()
			f := Finding{File: at.Filename, Line: at.Line, Rule: r.match.ID}
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
