// SPDX-License-Identifier: Apache-2.0

package cedar

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"

	"github.com/sallyport/sallyport/action"
)

// Trace returns a line for each policy, forbids first, in the order of their names: whether it holds for q, fails, errs, or names
// another principal, action or resource.
func (e *Evaluator) Trace(ctx context.Context, q *action.Query) ([]string, error) {
	if q == nil {
		return nil, errors.New("cedar: no query")
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("cedar: %w", context.Cause(ctx))
	}
	env := e.plan.environment(q)
	defer e.plan.done(env)
	var out []string
	for _, l := range []struct {
		word string
		*list
	}{{"forbid", &e.forbids}, {"permit", &e.permits}} {
		found := search{l.index, env, &env.request}
		state := map[cedar.PolicyID]string{}
		for id := range found.All() {
			state[id] = "fails"
		}
		_, said := cedar.Authorize(found, env, env.request)
		for _, r := range said.Reasons {
			state[r.PolicyID] = "holds"
		}
		for _, r := range said.Errors {
			state[r.PolicyID] = "errs"
		}
		rules := slices.Clone(l.rules)
		slices.SortFunc(rules, func(a, b *rule) int { return strings.Compare(a.match.ID, b.match.ID) })
		for _, r := range rules {
			what := state[r.id]
			if what == "" {
				what = "other"
			}
			at := r.policy.Position()
			out = append(out, fmt.Sprintf("%-5s %s:%d %s %s", what, at.Filename, at.Line, l.word, r.match.ID))
		}
	}
	return out, nil
}
