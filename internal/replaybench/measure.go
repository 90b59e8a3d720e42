// SPDX-License-Identifier: Apache-2.0

package replaybench

import (
	"context"
	"fmt"
	"sync"

	"github.com/sallyport/sallyport/action"
)

// Start begins an owner over an empty data directory.
type Start func(ctx context.Context) (*Owner, error)

// Result is what one replay of a folder gave.
type Result struct {
	Overall Figures            `json:"overall"`
	Suites  map[string]Figures `json:"suites"`
}

// Case is a call that the policy got wrong: a benign one that was lost, or harm that ran.
type Case struct {
	Wrong     string         `json:"wrong"` // false_block, passed_harm, result_withheld
	Suite     string         `json:"suite"`
	Run       string         `json:"run"`
	UserTask  string         `json:"user_task"`
	Injection string         `json:"injection_task,omitzero"`
	Attacked  bool           `json:"attacked"`
	Solved    bool           `json:"solved"`
	Prompt    string         `json:"prompt"`
	Call      int            `json:"call"` // of the run, from 1
	Tool      string         `json:"tool"`
	Arguments any            `json:"arguments"`
	Verdict   action.Verdict `json:"verdict"`
	Hint      string         `json:"hint"`
	Rules     []string       `json:"rules"`
	Effect    action.Effect  `json:"effect,omitzero"`
	Server    string         `json:"server"`
	Flow      *action.Flow   `json:"flow,omitzero"`
}

// Replay puts every run of d to owners of its own, one for each suite, and counts. Where seen is not nil it
// is told each call that the policy got wrong; calls of it do not overlap.
func Replay(ctx context.Context, d *Data, start Start, opt Options, seen func(Case) error) (*Result, error) {
	out := &Result{Suites: map[string]Figures{}}
	var all Tally
	for _, suite := range d.Suites {
		t, err := replaySuite(ctx, d, suite, start, opt, seen)
		if err != nil {
			return nil, fmt.Errorf("suite %q: %w", suite, err)
		}
		out.Suites[suite] = t.figures()
		all.merge(t)
	}
	out.Overall = all.figures()
	return out, nil
}

func replaySuite(ctx context.Context, d *Data, suite string, start Start, opt Options, seen func(Case) error) (t *Tally, err error) {
	o, err := start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := o.Close(); err == nil {
			err = cerr
		}
	}()
	p := &player{Owner: o, data: d, opt: opt}
	if p.servers, err = o.register(ctx, d.Tools[suite], d.Tenant[suite]); err != nil {
		return nil, err
	}
	plays, err := p.all(ctx, d.Runs[suite])
	if err != nil {
		return nil, err
	}
	facts, err := p.facts(ctx, plays)
	if err != nil {
		return nil, err
	}
	t = &Tally{}
	for _, played := range plays {
		t.count(played, func(i int) bool { return played.calls[i].stopped() }, func(i int) string { return facts[played.calls[i].id].by })
		if seen == nil {
			continue
		}
		if err := p.wrong(played, facts, seen); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// all plays the runs, a few at a time, in their order.
func (p *player) all(ctx context.Context, runs []Run) ([]*played, error) {
	workers := p.opt.Workers
	if workers <= 0 {
		workers = 4
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out := make([]*played, len(runs))
	next, done := make(chan int), make(chan struct{}, workers)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range next {
				r, err := p.run(ctx, i, &runs[i])
				if err != nil {
					cancel(err)
					return
				}
				out[i] = r
				done <- struct{}{}
			}
		})
	}
	go func() {
		defer close(next)
		for i := range runs {
			select {
			case next <- i:
			case <-ctx.Done():
				return
			}
		}
	}()
	ended := make(chan struct{})
	go func() { wg.Wait(); close(ended) }()
	for n := 0; ; {
		select {
		case <-done:
			if n++; p.opt.Progress != nil {
				p.opt.Progress(runs[0].Suite, n, len(runs))
			}
			continue
		case <-ended:
		}
		return out, context.Cause(ctx)
	}
}

// known is what the record holds of one decision.
type known struct {
	by    string
	rules []string
	input *action.Query
}

// facts reads the record of the calls that were stopped or ran wrongly.
func (p *player) facts(ctx context.Context, plays []*played) (map[string]known, error) {
	want := map[string]bool{}
	for _, r := range plays {
		for i := range r.calls {
			c := &r.calls[i]
			if c.id != "" && (c.stopped() || c.call.Harm != 0) {
				want[c.id] = true
			}
		}
	}
	out := map[string]known{}
	err := p.Decisions(ctx, func(d Decided) error {
		if _, again := out[d.Action]; want[d.Action] && !again {
			out[d.Action] = known{by: stoppedBy(d.Input), rules: d.Rules, input: d.Input}
		}
		return nil
	})
	return out, err
}

// stoppedBy says which argument of a stopped call had an origin that nobody vouches for: one that says
// where something goes before one that chooses an object.
func stoppedBy(q *action.Query) string {
	by := "other"
	for i := range q.Context.Flow.Arguments {
		v := &q.Context.Flow.Arguments[i]
		switch v.Sink {
		case action.SinkDestination, action.SinkCommand:
			if !vouched(v.Origin) {
				return "destination"
			}
		case action.SinkSelector:
			if !vouched(v.Origin) || !vouched(v.Selection) {
				by = "selection"
			}
		}
	}
	return by
}

func vouched(o action.Origin) bool {
	return o == action.OriginUser || o == action.OriginTenant || o == action.OriginSchema
}

// wrong tells what the policy got wrong in a run.
func (p *player) wrong(r *played, facts map[string]known, seen func(Case) error) error {
	for i := range r.calls {
		c := &r.calls[i]
		word := ""
		switch {
		case c.call.Harm != 0 && c.passed:
			word = "passed_harm"
		case c.call.Harm == 0 && !c.passed:
			word = "false_block"
		case c.call.Harm == 0 && !c.back:
			word = "result_withheld"
		default:
			continue
		}
		k := facts[c.id]
		x := Case{Wrong: word, Suite: r.run.Suite, Run: r.run.ID, UserTask: r.run.UserTask, Injection: r.run.Injection, Attacked: r.run.Attack != "",
			Solved: r.run.Utility, Prompt: r.run.Prompt, Call: i + 1, Tool: c.call.Tool, Arguments: c.call.Args, Verdict: c.verdict, Hint: c.hint,
			Rules: k.rules, Server: p.servers[c.call.Tool]}
		if k.input != nil {
			x.Effect, x.Flow = k.input.Action.Effect, &k.input.Context.Flow
		}
		if err := seen(x); err != nil {
			return err
		}
	}
	return nil
}
