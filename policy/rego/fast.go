// SPDX-License-Identifier: Apache-2.0

package rego

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/sallyport/sallyport/action"
)

// DefaultShadow is how many decisions of the compiled rules go by between two that topdown takes as well.
const DefaultShadow = 1000

// The states of compiled rules.
const (
	untried  int32 = iota // not compared with topdown yet: topdown decides
	trusted               // decide
	rejected              // differed from topdown, or could not be compiled: topdown decides for ever
)

// Coverage is how much of the policy is compiled.
type Coverage struct {
	Trusted bool          `json:"trusted"` // the compiled rules decide
	Why     string        `json:"why"`     // they do not
	Total   int           `json:"total"`   // definitions of rules
	Fast    int           `json:"fast"`    // of them compiled
	Proved  int           `json:"proved"`  // documents on which compiled rules and topdown agreed
	Slow    []Conjunction `json:"slow"`    // the rest, with the reason of each
}

// Coverage reports how much is compiled.
func (e *Evaluator) Coverage() Coverage {
	out := Coverage{Trusted: e.trust.Load() == trusted, Proved: int(e.proved.Load())}
	if why := e.why.Load(); why != nil {
		out.Why = *why
	}
	if e.fast == nil {
		return out
	}
	out.Total = len(e.fast.lines)
	for _, l := range e.fast.lines {
		if l.Why == "" {
			out.Fast++
		} else {
			out.Slow = append(out.Slow, l)
		}
	}
	return out
}

// reject makes topdown decide for ever.
func (e *Evaluator) reject(why string) {
	e.why.Store(&why)
	e.trust.Store(rejected)
	if e.alarm != nil {
		e.alarm(why)
	}
}

// leastProof is how many documents have to be compared, however long it takes within ten times the limit.
const leastProof = 50

// Prove compares the compiled rules with topdown as Compare does, on n documents or as many as fit in limit,
// and trusts the compiled rules if both agreed on every one. Where fewer than a few could be compared, topdown goes
// on deciding. It errs only if ctx ended.
func (e *Evaluator) Prove(ctx context.Context, seeds []*action.Query, n int, limit time.Duration) error {
	if e.fast == nil || e.trust.Load() != untried {
		return nil
	}
	if err := e.Compare(ctx, seeds, n, 1, limit); errors.Is(err, errDiffer) {
		e.reject(err.Error())
		return nil
	} else if err != nil {
		return err
	}
	if got, want := e.proved.Load(), int64(min(n, leastProof/2)); got < want || got == 0 {
		why := fmt.Sprintf("only %d documents were decided by compiled rules in time, %d are wanted", got, want)
		e.why.Store(&why)
		return nil
	}
	e.trust.CompareAndSwap(untried, trusted)
	return nil
}

// Trust takes over a proof of the same rules by Prove, of another evaluator of this process, with the number of documents
// that agreed. Whoever calls it answers for the rules being the same; the comparison at run time goes on.
func (e *Evaluator) Trust(documents int) {
	if e.fast != nil && e.trust.CompareAndSwap(untried, trusted) {
		e.proved.Store(int64(documents))
	}
}

var errDiffer = errors.New("compiled rules and topdown differ")

// Compare decides n documents, or as many as fit in limit, by the compiled rules and by topdown: the seeds, and
// changed ones that the seed of the generator makes. It returns an error for the first that differs.
func (e *Evaluator) Compare(ctx context.Context, seeds []*action.Query, n int, seed uint64, limit time.Duration) error {
	g := NewGenerator(e, seeds, seed)
	start := time.Now()
	for i := range n {
		if took := time.Since(start); took > limit && (i >= leastProof || took/10 > limit) {
			break
		}
		q := g.Next(i)
		want, err := e.topdown(ctx, q)
		if err != nil {
			return err
		}
		got, ok := e.compiledDecision(ctx, q)
		if ok && !reflect.DeepEqual(want, got) {
			return fmt.Errorf("%w on document %d: %s", errDiffer, i, difference(&got, &want))
		}
		if ok {
			e.proved.Add(1)
		}
	}
	return nil
}

// difference names what compiled and topdown answered, without anything of the query.
func difference(got, want *action.Decision) string {
	ids := func(d *action.Decision) (out []string) {
		for _, m := range d.Matches {
			out = append(out, m.ID)
		}
		for _, o := range d.Obligations {
			out = append(out, o.Rule)
		}
		return out
	}
	return fmt.Sprintf("%s by %v, not %s by %v", got.Verdict, ids(got), want.Verdict, ids(want))
}

// Decide answers q. An evaluation error becomes a deny with the rule's name, never an error; the error is
// for a context that ended and for a query that is nil.
func (e *Evaluator) Decide(ctx context.Context, q *action.Query) (action.Decision, error) {
	if q == nil {
		return action.Decision{Verdict: action.Deny, Engines: []action.Engine{e.Engine()}}, errNoQuery
	}
	if err := ctx.Err(); err != nil {
		return action.Decision{Verdict: action.Deny, Engines: []action.Engine{e.Engine()}}, fmt.Errorf("rego: %w", context.Cause(ctx))
	}
	if e.trust.Load() != trusted {
		return e.topdown(ctx, q)
	}
	d, ok := e.compiledDecision(ctx, q)
	if !ok {
		return e.topdown(ctx, q)
	}
	if e.shadow > 0 && e.decided.Add(1)%e.shadow == 0 {
		want, err := e.topdown(ctx, q)
		if err != nil {
			return want, err
		}
		if !reflect.DeepEqual(d, want) {
			e.reject("compiled rules and topdown differ on a decision: " + difference(&d, &want))
			return want, nil
		}
	}
	return d, nil
}

// compiledDecision decides by the compiled rules. It reports false where topdown has to.
func (e *Evaluator) compiledDecision(ctx context.Context, q *action.Query) (d action.Decision, ok bool) {
	// Whatever a closure stumbles over, topdown still decides.
	defer func() {
		if p := recover(); p != nil {
			e.reject(fmt.Sprintf("compiled rules failed: %v", p))
			ok = false
		}
	}()
	m := e.fast.pool.Get().(*machine)
	defer e.fast.pool.Put(m)
	if !e.fast.run(m, q) || m.rest && !e.ask(ctx, m, q) {
		return d, false
	}
	slices.Sort(m.fired)
	d = action.Decision{Verdict: action.Deny, Engines: []action.Engine{e.Engine()}}
	e.compose(&d, q, m.fired)
	return d, true
}

// ask adds what topdown finds among the rules that are not compiled.
func (e *Evaluator) ask(ctx context.Context, m *machine, q *action.Query) bool {
	input, err := e.fast.plan.term(q)
	if err != nil {
		return false
	}
	answer, err := e.eval(ctx, e.fast.slow, e.fast.query, input, nil)
	if err != nil || answer == nil {
		return false
	}
	arr, ok := answer.Value.(*ast.Array)
	if !ok || arr.Len() != len(e.fast.packs)*len(sets) {
		return false
	}
	for i := range arr.Len() {
		p, set := e.fast.packs[i/len(sets)], sets[i%len(sets)]
		found, ok := arr.Elem(i).Value.(ast.Set)
		if !ok {
			return false
		}
		for _, t := range found.Slice() {
			r := p.rule(set, t)
			if r == nil {
				return false
			}
			if m.seen[r.rank] != m.gen {
				m.seen[r.rank] = m.gen
				m.fired = append(m.fired, r.rank)
			}
		}
	}
	return true
}

// compose makes the decision of the rules that fired, given by rank in rising order.
func (e *Evaluator) compose(d *action.Decision, q *action.Query, fired []int) {
	verdict := action.Verdict("")
	matches := 0
	for _, i := range fired {
		if e.ranked[i].set != "oblige" {
			matches++
		}
	}
	if matches > 0 {
		d.Matches = make([]action.Match, 0, matches)
	}
	for _, i := range fired {
		r := e.ranked[i]
		switch {
		case r.set == "oblige":
			d.Obligations = append(d.Obligations, r.obligation)
			continue
		case verdict == "":
			verdict = r.match.Verdict
		default:
			verdict = verdict.Meet(r.match.Verdict)
		}
		d.Matches = append(d.Matches, r.match)
		m := &d.Matches[len(d.Matches)-1]
		m.Reason, m.Hint = e.fill(m.Reason, q), e.fill(m.Hint, q)
	}
	if verdict == "" {
		verdict = action.Deny
		d.Matches = append(d.Matches, action.Match{ID: "default.rego", Verdict: action.Deny, Code: "no-rule",
			Reason: "No rule permits this.", Severity: "medium"})
	}
	d.Verdict = verdict
}
