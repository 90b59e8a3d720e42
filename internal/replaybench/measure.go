// SPDX-License-Identifier: Apache-2.0

package replaybench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Start begins an owner over an empty data directory.
type Start func(ctx context.Context) (*Owner, error)

// Result is what one replay of a folder gave.
type Result struct {
	Overall Figures            `json:"overall"`
	Suites  map[string]Figures `json:"suites"`

	// Unselected is the whole again, decided as if the user had named every object.
	Unselected *Figures `json:"-"`
	// Records are the tenant's records by suite, each with what its fields vouch for.
	Records map[string]map[string]map[string]string `json:"-"`
	Audit   Audit                                   `json:"-"`
	// Solved are the solved runs without an attack, of all of those; Calls are the calls of attacked runs.
	Solved Rate `json:"-"`
	Calls  int  `json:"-"`
}

// Audit counts what the record proves of a replay.
type Audit struct {
	Recorded  Rate // calls whose decision, and outcome where they ran, stand in the ledger
	Proved    Rate // entries whose inclusion proof holds offline
	Rederived Rate // decisions that the recorded input gives again
	Whole     bool // the ledger verifies offline
}

func (a *Audit) merge(b *Audit) {
	a.Recorded.plus(b.Recorded)
	a.Proved.plus(b.Proved)
	a.Rederived.plus(b.Rederived)
	a.Whole = a.Whole && b.Whole
}

// Replay puts every run of d to owners of its own, one for each suite, and counts. Where seen is not nil it
// is told each call that the policy got wrong; calls of it do not overlap.
func Replay(ctx context.Context, d *Data, start Start, opt Options, seen func(Case) error) (*Result, error) {
	out := &Result{Suites: map[string]Figures{}, Records: map[string]map[string]map[string]string{}, Audit: Audit{Whole: true}}
	var all, free Tally
	for _, suite := range d.Suites {
		s, err := replaySuite(ctx, d, suite, start, opt, seen)
		if err != nil {
			return nil, fmt.Errorf("suite %q: %w", suite, err)
		}
		out.Suites[suite] = s.tally.figures()
		out.Records[suite] = s.records
		out.Audit.merge(&s.audit)
		all.merge(&s.tally)
		free.merge(&s.free)
	}
	out.Overall, out.Solved, out.Calls = all.figures(), all.solved, all.attacked
	if opt.Unselected {
		f := free.figures()
		out.Unselected = &f
	}
	return out, nil
}

// suiteResult is what the replay of one suite gave.
type suiteResult struct {
	tally, free Tally
	records     map[string]map[string]string
	audit       Audit
}

// chunk is how many runs share an owner: what an owner keeps of agents, tokens and records is bounded.
const chunk = 2000

func replaySuite(ctx context.Context, d *Data, suite string, start Start, opt Options, seen func(Case) error) (*suiteResult, error) {
	s := &suiteResult{audit: Audit{Whole: true}}
	for from, more := 0, true; more; from += chunk {
		var err error
		if more, err = s.chunk(ctx, &player{data: d, opt: opt}, suite, from, start, seen); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// chunk plays the runs from from on, as many as share an owner, and reports whether there are more.
func (s *suiteResult) chunk(ctx context.Context, p *player, suite string, from int, start Start, seen func(Case) error) (more bool, err error) {
	if p.Owner, err = start(ctx); err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if p.servers, s.records, err = p.register(ctx, p.data.Tools[suite], p.data.Tenant[suite]); err != nil {
		return false, err
	}
	jobs := p.jobs(suite)
	p.from, p.total = from, len(jobs)
	jobs = jobs[from:min(from+chunk, len(jobs))]
	plays, err := p.all(ctx, suite, jobs)
	if err != nil {
		return false, err
	}
	facts, err := p.facts(ctx, plays, seen != nil, p.opt.Unselected)
	if err != nil {
		return false, err
	}
	for _, r := range plays {
		s.tally.count(r, asPlayed(r, facts))
		if p.opt.Unselected {
			s.free.count(r, unselected(r, facts, p.opt.Approve))
		}
		if seen == nil {
			continue
		}
		if err := p.wrong(r, facts, seen); err != nil {
			return false, err
		}
	}
	if p.opt.Quiet > 0 && from == 0 {
		if s.tally.took, err = p.quietly(ctx, jobs); err != nil {
			return false, err
		}
	}
	if p.opt.Audit {
		a, err := p.Audit(ctx, ranOf(plays))
		if err != nil {
			return false, err
		}
		s.audit.merge(&a)
	}
	return from+chunk < p.total, nil
}

// ranOf is every action of the runs, with whether it was executed.
func ranOf(plays []*played) map[string]bool {
	ran := map[string]bool{}
	for _, r := range plays {
		for i := range r.calls {
			if c := &r.calls[i]; c.verdict != "" {
				ran[c.id] = c.passed
			}
		}
	}
	return ran
}

// job plays one run as agent n.
type job func(ctx context.Context, n int) (*played, error)

// jobs are the runs of a suite: the recorded ones, or the obedient agent's.
func (p *player) jobs(suite string) []job {
	var out []job
	if p.opt.Closed {
		pairs, _ := p.data.pairs()
		for i := range pairs[suite] {
			w := &pairs[suite][i]
			out = append(out, func(ctx context.Context, n int) (*played, error) { return p.obey(ctx, n, w) })
		}
		return out
	}
	for i := range p.data.Runs[suite] {
		r := &p.data.Runs[suite][i]
		out = append(out, func(ctx context.Context, n int) (*played, error) { return p.run(ctx, n, r) })
	}
	return out
}

// quietly plays some of the runs once more, one at a time, and returns what each call waited for us.
func (p *player) quietly(ctx context.Context, jobs []job) ([]time.Duration, error) {
	var took []time.Duration
	n := min(p.opt.Quiet, len(jobs))
	for i := range n {
		r, err := jobs[i*len(jobs)/n](ctx, len(jobs)+i)
		if err != nil {
			return nil, err
		}
		for _, c := range r.calls {
			if c.took > 0 {
				took = append(took, c.took)
			}
		}
	}
	return took, nil
}

// all plays the runs, a few at a time. What it returns has their order.
func (p *player) all(ctx context.Context, suite string, jobs []job) ([]*played, error) {
	workers := p.opt.Workers
	if workers <= 0 {
		workers = 4
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out := make([]*played, len(jobs))
	next := make(chan int)
	var mu sync.Mutex // guards done and the calls of Progress
	done := 0
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range next {
				r, err := jobs[i](ctx, i)
				if err != nil {
					cancel(err)
					return
				}
				out[i] = r
				mu.Lock()
				done++
				if p.opt.Progress != nil {
					p.opt.Progress(suite, p.from+done, max(p.total, len(jobs)))
				}
				mu.Unlock()
			}
		})
	}
feed:
	for i := range jobs {
		select {
		case next <- i:
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	wg.Wait()
	return out, context.Cause(ctx)
}
