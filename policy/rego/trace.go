// SPDX-License-Identifier: Apache-2.0

package rego

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/sallyport/sallyport/action"
)

// Of one trace.
const (
	maxTraced = 2000 // lines
	maxDepth  = 20   // of indentation
)

// Trace decides q by OPA's evaluator and returns a line for each rule that is tried, each that holds and each expression that
// fails, in the order of the evaluation, with file and line. The text is the policy's: of q it quotes nothing, of an error its
// message. After 2,000 lines it says how many there would be more.
func (e *Evaluator) Trace(ctx context.Context, q *action.Query) ([]string, error) {
	if q == nil {
		return nil, errNoQuery
	}
	if len(e.packs) == 0 {
		return nil, nil
	}
	input, err := e.plan.term(q)
	if err != nil {
		return nil, err
	}
	t := &trace{depth: map[uint64]int{}}
	_, err = e.eval(ctx, e.compiler, e.query, input, t)
	if t.more > 0 {
		t.lines = append(t.lines, fmt.Sprintf("and %d lines more", t.more))
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("rego: %w", context.Cause(ctx))
	}
	if at := new(topdown.Error); errors.As(err, &at) {
		return append(t.lines, "ends with the error "+at.Message), nil
	}
	return t.lines, err
}

// trace is a topdown.QueryTracer of bounded size.
type trace struct {
	lines []string
	more  int
	depth map[uint64]int // of queries
}

// Enabled makes trace a topdown.QueryTracer.
func (*trace) Enabled() bool { return true }

// Config makes trace a topdown.QueryTracer.
func (*trace) Config() topdown.TraceConfig { return topdown.TraceConfig{} }

// TraceEvent notes what is told to people: rules, and what failed in them.
func (t *trace) TraceEvent(v topdown.Event) {
	depth, known := t.depth[v.QueryID]
	if !known && len(t.depth) < 8*maxTraced {
		depth = min(t.depth[v.ParentID]+1, maxDepth)
		t.depth[v.QueryID] = depth
	}
	what := ""
	switch _, rule := v.Node.(*ast.Rule); {
	case rule && v.Op == topdown.EnterOp:
		what = "try"
	case rule && v.Op == topdown.ExitOp:
		what = "holds"
	case !rule && v.Op == topdown.FailOp:
		what = "fails"
	}
	if what == "" || v.Location == nil || v.Location.File == "" {
		return
	}
	if len(t.lines) == maxTraced {
		t.more++
		return
	}
	text, _, _ := strings.Cut(string(v.Location.Text), "\n")
	t.lines = append(t.lines, fmt.Sprintf("%s%-5s %s:%d %s", strings.Repeat("  ", max(depth-2, 0)), what, v.Location.File, v.Location.Row, action.Clip(text, 160)))
}
