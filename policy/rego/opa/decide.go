// SPDX-License-Identifier: Apache-2.0

package opa

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/sallyport/sallyport/action"
)

// Decide answers q. An evaluation error becomes a deny, never an error; the error is for a context that ended and for
// a query that is nil.
func (e *Evaluator) Decide(ctx context.Context, q *action.Query) (action.Decision, error) {
	d := action.Decision{Verdict: action.Deny, Engines: []action.Engine{e.Engine()}}
	if q == nil {
		return d, errors.New("opa: no query")
	}
	if ctx.Err() != nil {
		return d, fmt.Errorf("opa: %w", context.Cause(ctx))
	}
	m := e.find(&q.Resource)
	switch {
	case m == nil:
		d.Matches = []action.Match{{ID: "default.opa", Verdict: action.Deny, Code: "no-mapping", Severity: "medium",
			Reason: "No mapping says what the OPA policy is told of this tool."}}
		return d, nil
	case e.clock && q.Context.Time.UnixMilli <= 0:
		fail(&d, errors.New("the policy reads the time, which is unknown"))
		return d, nil
	}
	facts, err := e.input.Term(q)
	if err != nil {
		fail(&d, err)
		return d, nil
	}
	var permits, refuses []*ast.Term
	err = e.each(ctx, e.body, m.root.term(facts), time.UnixMilli(q.Context.Time.UnixMilli), func(r topdown.QueryResult) error {
		both, ok := r[answer].Value.(*ast.Array)
		if !ok || both.Len() != 2 {
			return errors.New("no answer")
		}
		permits, refuses = elements(both.Elem(0)), elements(both.Elem(1))
		return nil
	})
	if err != nil {
		if ctx.Err() != nil {
			return d, fmt.Errorf("opa: %w", context.Cause(ctx))
		}
		fail(&d, err)
		return d, nil
	}
	e.fold(&d, permits, refuses)
	return d, nil
}

func elements(t *ast.Term) (out []*ast.Term) {
	if a, ok := t.Value.(*ast.Array); ok {
		a.Foreach(func(t *ast.Term) { out = append(out, t) })
	}
	return out
}

// fold makes the decision of the two documents, each given by at most one value.
func (e *Evaluator) fold(d *action.Decision, permits, refuses []*ast.Term) {
	deny := func(code, reason string) {
		d.Matches = append(d.Matches, action.Match{ID: "opa.deny", Verdict: action.Deny, Code: code, Reason: reason, Severity: "medium"})
	}
	if e.entry != nil {
		switch {
		case len(permits) == 0:
			deny("undefined", fmt.Sprintf("%s is undefined.", e.entry))
			return
		case !permits[0].Equal(ast.InternedTerm(true)):
			deny("not-permitted", fmt.Sprintf("%s is not true.", e.entry))
			return
		}
	}
	if e.refusals != nil {
		n, texts, ok := e.refused(refuses)
		switch {
		case !ok:
			deny("undefined", fmt.Sprintf("%s is no set, list or object.", e.refusals))
			return
		case n > 0:
			deny("refused", strings.TrimSpace(fmt.Sprintf("%s refuses %d times. %s", e.refusals, n, texts)))
			return
		}
	}
	d.Verdict = action.Allow
	d.Matches = append(d.Matches, action.Match{ID: "opa.allow", Verdict: action.Allow, Code: "permitted", Reason: "The OPA policy permits this.", Severity: "low"})
}

// refused counts the refusals. Of their texts it returns those that stand in the policy as they are: others may quote
// the input, which reasons must not.
func (e *Evaluator) refused(values []*ast.Term) (n int, texts string, ok bool) {
	if len(values) != 1 {
		return 0, "", false
	}
	var said []string
	say := func(t *ast.Term) {
		if s, ok := t.Value.(ast.String); ok && e.words[string(s)] && len(said) < 3 {
			said = append(said, action.Clip(string(s), 120))
		}
	}
	switch v := values[0].Value.(type) {
	case ast.Set:
		v.Foreach(say)
		n = v.Len()
	case *ast.Array:
		v.Foreach(say)
		n = v.Len()
	case ast.Object:
		v.Foreach(func(k, _ *ast.Term) { say(k) })
		n = v.Len()
	default:
		return 0, "", false
	}
	return n, strings.Join(said, " "), true
}

// fail turns an evaluation error into a deny match. The text of an error may quote the input; it goes to the sealed
// explanation only.
func fail(d *action.Decision, err error) {
	d.Errors = append(d.Errors, "opa.deny: "+action.Clip(err.Error(), 500))
	d.Matches = append(d.Matches, action.Match{ID: "opa.deny", Verdict: action.Deny, Code: "evaluation-error",
		Reason: "The policy could not be evaluated, so it denies.", Severity: "high", Always: true})
}
