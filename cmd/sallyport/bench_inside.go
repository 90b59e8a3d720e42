// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/ledger"
	"github.com/sallyport/sallyport/tools"
)

// insideLatency is the cost of one action of 1 KiB without processes and sockets. Intent and outcome are
// whole gates: facts, decision, sealing, a durable record within a signed checkpoint. Under Rate they are
// counted from the moment that the action was due.
type insideLatency struct {
	Intent  spread       `json:"intent_us"`  // one caller, one after the other
	Outcome spread       `json:"outcome_us"` // the same
	Rate    int          `json:"rate"`
	Done    float64      `json:"done_per_second"`
	Refused int          `json:"refused"` // of the ones at the rate
	Open    spread       `json:"intent_at_rate_us"`
	Ended   spread       `json:"outcome_at_rate_us"` // from when the intent was there
	Parts   []insidePart `json:"parts"`              // of the intent, in a session that has seen 1 MiB
	SyncUs  int64        `json:"fdatasync_us"`       // the median of the log's own
}

// insidePart is one part of a gate, measured alone.
type insidePart struct {
	Part string `json:"part"`
	spread
}

// insideAgents are as many as take part in the steady rate: the actions of one are serialised.
const insideAgents = 64

// insideRoot is the folder that the actions name. Nothing is executed.
const insideRoot = "/srv/bench"

// insideResult is what the actions return.
const insideResult = "bench.md: 12 lines"

type insideAgent struct {
	subject action.Subject
	session string
}

// errRefused is an action that the gate did not let through, as it may when its fact sources are late.
var errRefused = errors.New("the action was refused")

// inside is an owner in this process, with agents and a server that somebody has approved.
type inside struct {
	*sallyport.Sallyport
	agents []insideAgent
	args   []byte
}

func measureInside(ctx context.Context, data string, calls, rate int, length time.Duration) (*insideLatency, error) {
	collectLess() // as an owner does
	cfg := sallyport.DefaultConfig()
	cfg.Data, cfg.Gateway.Listen, cfg.Admin.Listen = data, "none", "none"
	s, err := sallyport.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	in := &inside{Sallyport: s, args: fmt.Appendf(nil, `{"path":%q,"query":%q}`, insideRoot, latencyText)}
	out, err := in.measure(ctx, calls, rate, length)
	stop()
	return out, errors.Join(err, <-ran, s.Close())
}

func (in *inside) measure(ctx context.Context, calls, rate int, length time.Duration) (*insideLatency, error) {
	if err := in.prepare(ctx); err != nil {
		return nil, err
	}
	out := &insideLatency{Rate: rate}
	var before, after []time.Duration
	for range calls {
		b, a, err := in.act(ctx, in.agents[0], time.Now(), insideResult)
		if err != nil {
			return nil, err
		}
		before, after = append(before, b), append(after, a)
	}
	out.Intent, out.Outcome = spreadOf(before), spreadOf(after)
	if err := in.open(ctx, out, length); err != nil {
		return nil, err
	}
	return out, in.parts(ctx, out, calls)
}

// prepare declares the server and opens the sessions.
func (in *inside) prepare(ctx context.Context) error {
	def, err := tools.ReadDefinition([]byte(`{"name":"search_files","description":"Write a file, replacing what it held.",` +
		`"inputSchema":{"type":"object","properties":{"path":{"type":"string"},"query":{"type":"string"}}},` +
		`"annotations":{"readOnlyHint":true,"openWorldHint":false}}`))
	if err != nil {
		return err
	}
	seen, err := in.Tools.Observe(ctx, tools.Upstream{Server: "files", Transport: tools.Stdio, Command: []string{"files"}, Zone: action.ZoneInside}, []tools.Definition{def})
	if err != nil {
		return err
	}
	for _, s := range seen {
		if _, err := in.Tools.Approve(ctx, "default", "files", s.Name, s.Digest, "bench"); err != nil {
			return err
		}
	}
	for i := range insideAgents {
		id := fmt.Sprintf("bench-%d", i)
		if _, err := in.Tokens.CreateAgent(ctx, identity.AgentSpec{ID: id, By: "bench"}); err != nil {
			return err
		}
		secret, _, err := in.Tokens.Issue(ctx, identity.TokenSpec{Agent: id, User: "bench", Scopes: []action.Scope{action.ScopeAgent}, By: "bench"})
		if err != nil {
			return err
		}
		p, err := in.Tokens.Authenticate(ctx, secret)
		if err != nil {
			return err
		}
		p.Subject.Channel.Door = action.DoorMCP
		session, err := in.Enforcer.Session(ctx, &p.Subject, "bench", enforce.SessionOptions{Roots: []string{insideRoot}})
		if err != nil {
			return err
		}
		in.agents = append(in.agents, insideAgent{p.Subject, session})
	}
	return nil
}

// act takes one action through both gates. The first time is counted from due.
func (in *inside) act(ctx context.Context, agent insideAgent, due time.Time, result string) (before, after time.Duration, err error) {
	adm, err := in.Enforcer.Before(ctx, enforce.Attempt{Subject: agent.subject, Session: agent.session, Name: "tools/call", Type: "tool",
		Server: "files", Tool: "search_files", Arguments: in.args, Grade: action.GradeProxy, Separation: action.SeparationNone})
	before = time.Since(due)
	if err == nil && adm.Verdict != action.Allow {
		err = fmt.Errorf("%w: %s: %s", errRefused, adm.Verdict, adm.Hint)
	}
	if err != nil {
		return 0, 0, err
	}
	from := time.Now()
	rel, err := in.Enforcer.After(ctx, &agent.subject, adm.ID, enforce.Outcome{Status: action.ResultDone,
		Content: fmt.Appendf(nil, `{"content":[{"type":"text","text":%q}]}`, result)})
	after = time.Since(from)
	if err == nil && rel.Status != action.StatusReleased {
		err = fmt.Errorf("%w: %s: %s", errRefused, rel.Status, rel.Hint)
	}
	return before, after, err
}

// open offers actions at Poisson arrivals, whether or not the ones before are done.
func (in *inside) open(ctx context.Context, out *insideLatency, length time.Duration) error {
	random := rand.New(rand.NewPCG(uint64(out.Rate), 1))
	var mu sync.Mutex // guards the three below and out
	var before, after []time.Duration
	var failed error
	var wg sync.WaitGroup
	begin := time.Now()
	due := begin
	for n := 0; ctx.Err() == nil; n++ {
		due = due.Add(time.Duration(random.ExpFloat64() * float64(time.Second) / float64(out.Rate)))
		if due.Sub(begin) > length {
			break
		}
		time.Sleep(time.Until(due))
		at := due
		wg.Go(func() {
			b, a, err := in.act(ctx, in.agents[n%insideAgents], at, insideResult)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, errRefused), errors.Is(err, enforce.ErrBusy):
				out.Refused++
			case err != nil:
				failed = err
			default:
				before, after = append(before, b), append(after, a)
			}
		})
	}
	wg.Wait()
	out.Done = float64(len(before)) / time.Since(begin).Seconds()
	out.Open, out.Ended = spreadOf(before), spreadOf(after)
	return errors.Join(failed, ctx.Err())
}

// hear lets a session see 1 MiB, no line of it twice, and then act once more.
func (in *inside) hear(ctx context.Context, agent insideAgent) error {
	for i, n := 0, 0; i < 16; i++ {
		var b strings.Builder
		for b.Len() < 64<<10 {
			fmt.Fprintf(&b, "Message %d of user%d@example.org is about order %d. All is well there. ", n, n%997, n*7)
			n++
		}
		if _, _, err := in.act(ctx, agent, time.Now(), b.String()); err != nil {
			return err
		}
	}
	_, _, err := in.act(ctx, agent, time.Now(), insideResult)
	return err
}

// parts measures each part alone, on the input of an intent of a session that has seen 1 MiB.
func (in *inside) parts(ctx context.Context, out *insideLatency, n int) error {
	if err := in.hear(ctx, in.agents[1]); err != nil {
		return err
	}
	var raw []byte
	var leaf *ledger.Leaf
	err := in.Ledger.Records(ctx, func(e ledger.Entry) (err error) {
		if e.Leaf.Kind == action.KindIntent {
			leaf = e.Leaf
			raw, err = e.Open(action.PartInputBefore)
		}
		return err
	})
	if err != nil {
		return err
	}
	q, err := action.ReadQuery(raw)
	if err != nil {
		return err
	}
	type job struct {
		name string
		do   func(i int) error
	}
	jobs := []job{{"parse", func(int) error { return action.Check(in.args, action.Limits{}) }}}
	for _, f := range []struct {
		name string
		enforce.Informer
	}{{"tools", in.Tools}, {"identity", in.Tokens.Facts()}, {"attest", in.Tokens.Unattested()}, {"detect", in.Detect}, {"monitor", in.Monitor}, {"flow", in.Flow}} {
		jobs = append(jobs, job{"facts: " + f.name, func(int) error { _, err := f.Inform(ctx, q); return err }})
	}
	jobs = append(jobs,
		job{"decide", func(int) error { _, err := in.Policy.Decide(ctx, q); return err }},
		job{"canonical input", func(int) error { _, err := action.Canonical(q); return err }},
		job{"record", func(i int) error {
			_, err := in.Ledger.Append(ctx, in.recordLike(leaf, raw, i))
			return err
		}})
	for _, j := range jobs {
		took := make([]time.Duration, 0, n)
		for i := range n {
			from := time.Now()
			if err := errors.Join(j.do(i), ctx.Err()); err != nil {
				return fmt.Errorf("%s: %w", j.name, err)
			}
			took = append(took, time.Since(from))
		}
		out.Parts = append(out.Parts, insidePart{j.name, spreadOf(took)})
	}
	out.SyncUs = in.Ledger.Stats().FdatasyncUs
	return nil
}

// recordLike is an intent of the same size as the recorded one.
func (in *inside) recordLike(l *ledger.Leaf, input []byte, i int) *action.Record {
	return &action.Record{Kind: l.Kind, Tenant: l.Tenant, TimeMs: in.Ledger.Now().UnixMilli(), Action: fmt.Sprintf("bench-%d", i),
		Session: l.Session, Agent: l.Agent, User: l.User, Door: l.Door, Server: l.Server, Tool: l.Tool, Effect: l.Effect,
		Phase: l.Phase, Verdict: l.Verdict, Enforced: l.Enforced, Status: l.Status, Rules: l.Rules, Codes: l.Codes, Bundle: l.Bundle,
		Engines: l.Engines, Grade: l.Grade, Separation: l.Separation, Observed: l.Observed,
		Parts: []action.PayloadPart{{Name: action.PartInputBefore, Owner: "bench", Data: input},
			{Name: action.PartArguments, Owner: "bench", Data: in.args}}}
}

func (l *insideLatency) text(w io.Writer) {
	fmt.Fprintf(w, "\n%-29s %8s %8s %8s\n", "in one process, an action of 1 KiB", "p50 µs", "p95 µs", "p99 µs")
	line := func(name string, s spread) { fmt.Fprintf(w, "%-29s %8d %8d %8d\n", name, s.P50, s.P95, s.P99) }
	line("intent, one caller", l.Intent)
	line("outcome, one caller", l.Outcome)
	line(fmt.Sprintf("intent at %d/s (%.0f/s)", l.Rate, l.Done), l.Open)
	line("outcome at the same rate", l.Ended)
	if l.Refused > 0 {
		fmt.Fprintf(w, "%d actions were refused at this rate\n", l.Refused)
	}
	fmt.Fprintln(w, "parts, in a session that has seen 1 MiB")
	for _, p := range l.Parts {
		line("  "+p.Part, p.spread)
	}
}
