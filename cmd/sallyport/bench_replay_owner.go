// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/internal/replaybench"
	"github.com/sallyport/sallyport/ledger"
)

// replayOwner is an owner over a temporary folder, with the embedded defaults but for what is measured.
type replayOwner struct {
	*sallyport.Sallyport
	dir    string
	agents *http.Client
	people *client
	cancel context.CancelFunc
	ended  chan error // one from Run, one from Serve
}

func startReplayOwner(ctx context.Context, f *replayFlags) (*replayOwner, error) {
	dir, err := os.MkdirTemp("", "sallyport-bench-")
	if err != nil {
		return nil, err
	}
	o := &replayOwner{dir: dir, people: newClient(dir), ended: make(chan error, 2),
		agents: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}}}
	cfg := sallyport.DefaultConfig()
	cfg.Data, cfg.Gateway.Listen, cfg.Admin.Listen = dir, "127.0.0.1:0", "none"
	cfg.Detect.Injection, cfg.Policy.Dir = f.detector, f.policy
	if o.Sallyport, err = sallyport.Open(ctx, cfg); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	l, err := o.Listen()
	if err != nil {
		return nil, errors.Join(err, o.Sallyport.Close(), os.RemoveAll(dir))
	}
	ctx, o.cancel = context.WithCancel(ctx)
	go func() { o.ended <- o.Run(ctx) }()
	go func() { o.ended <- o.Serve(ctx, l) }()
	o.Config.Gateway.Listen = l.Agents.Addr().String()
	return o, nil
}

// stop ends the owner and leaves its data.
func (o *replayOwner) stop() error {
	o.agents.CloseIdleConnections()
	o.people.http.CloseIdleConnections()
	o.cancel()
	return errors.Join(<-o.ended, <-o.ended, o.Sallyport.Close())
}

// bench is the owner as the replay needs it.
func (o *replayOwner) bench() *replaybench.Owner {
	return &replaybench.Owner{
		Agents:    &replaybench.Door{URL: "http://" + o.Config.Gateway.Listen, HTTP: o.agents},
		People:    &replaybench.Door{URL: "http://localhost/people", HTTP: o.people.http},
		Decisions: o.decisions,
		Redecide: func(ctx context.Context, q *action.Query) (action.Decision, error) {
			return o.Policy.Active().Redecide(ctx, q)
		},
		Audit: o.audit,
		Close: func() error { return errors.Join(o.stop(), os.RemoveAll(o.dir)) },
	}
}

// decisions reads the decisions of gate one from the ledger, and those of gate two that held something back.
func (o *replayOwner) decisions(ctx context.Context, fn func(replaybench.Decided) error) error {
	return o.Ledger.Records(ctx, func(e ledger.Entry) error {
		l := e.Leaf
		if l.Phase == action.After && l.Verdict != "" && l.Verdict != action.Allow {
			return fn(replaybench.Decided{Action: l.Action, After: true, Verdict: l.Verdict, Rules: append(slices.Clone(l.Rules), l.Codes...)})
		}
		if l.Kind != action.KindIntent && l.Kind != action.KindDecision || l.Phase != action.Before {
			return nil
		}
		q, _, err := openDecision(e)
		if err != nil {
			return err
		}
		return fn(replaybench.Decided{Action: l.Action, Input: q, Verdict: l.Verdict, Rules: l.Rules})
	})
}

// openDecision opens the input of a decision and what was decided.
func openDecision(e ledger.Entry) (*action.Query, action.Decision, error) {
	part := action.PartInputBefore
	if e.Leaf.Phase == action.After {
		part = action.PartInputAfter
	}
	var d action.Decision
	b, err := e.Open(part)
	if err != nil {
		return nil, d, fmt.Errorf("entry %d: %w", e.Index, err)
	}
	q, err := action.ReadQuery(b)
	if err == nil {
		b, err = e.Open(action.PartExplanation)
	}
	if err == nil {
		err = action.Read(b, &d, action.Limits{Bytes: max(len(b), 1)})
	}
	if err != nil {
		return nil, d, fmt.Errorf("entry %d: %w", e.Index, err)
	}
	return q, d, nil
}

// proofsOfAudit is how many entries of a suite an audit proves, spread over the log.
const proofsOfAudit = 200

// audit holds the record against what ran: every call has its entries, entries are proved as a stranger
// would, every decision follows again from its input, and the log on disk verifies.
func (o *replayOwner) audit(ctx context.Context, ran map[string]bool) (a replaybench.Audit, err error) {
	decided, ended := map[string]bool{}, map[string]bool{}
	size := o.Ledger.Checkpoint().Size
	step := max(1, size/proofsOfAudit)
	err = o.Ledger.Records(ctx, func(e ledger.Entry) error {
		l := e.Leaf
		switch l.Kind {
		case action.KindIntent, action.KindDecision:
			decided[l.Action] = true
		case action.KindOutcome:
			ended[l.Action] = true
		}
		if e.Index%step == 0 {
			a.Proved.Of++
			if o.proves(ctx, e) {
				a.Proved.N++
			}
		}
		if l.Verdict == "" {
			return nil
		}
		q, was, err := openDecision(e)
		if errors.Is(err, ledger.ErrNotFound) {
			return nil // a record that names a verdict and decided nothing
		}
		if err != nil {
			return err
		}
		a.Rederived.Of++
		again, err := o.Policy.Active().Redecide(ctx, q)
		if err != nil {
			return ctx.Err()
		}
		if again = enforce.Reconcile(again, was); len(enforce.Differences(was, again)) == 0 && l.Verdict == was.Verdict {
			a.Rederived.N++
		}
		return nil
	})
	for id, executed := range ran {
		a.Recorded.Of++
		if decided[id] && (!executed || ended[id]) {
			a.Recorded.N++
		}
	}
	if err != nil {
		return a, err
	}
	for try := 0; try < 3 && !a.Whole; try++ { // a tile that is just being replaced is there the next time
		rep, err := ledger.Verify(ctx, ledger.Source{Dir: o.dir}, ledger.Options{Vkey: o.Ledger.Vkey()})
		if err != nil && !errors.Is(err, ledger.ErrVerification) {
			return a, err
		}
		a.Whole = rep.OK
	}
	return a, nil
}

// proves takes the entry's inclusion proof and reads it as somebody who has nothing but the log's key.
func (o *replayOwner) proves(ctx context.Context, e ledger.Entry) bool {
	p, err := o.Ledger.Prove(ctx, e.Index)
	if err != nil {
		return false
	}
	_, err = ledger.ParseProof(p.Marshal(), e.Raw, o.Ledger.Verifier())
	return err == nil
}
