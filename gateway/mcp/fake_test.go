// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// path is a working enforcement point in memory: rules by tool name, an inbox of asks, a list of what was
// recorded. It refuses steps that the state of an action does not allow.
type path struct {
	mu        sync.Mutex
	n         int
	verdicts  map[string]action.Verdict // by tool; absent allows
	channel   action.Rank               // what an ask needs
	rewrite   map[string][]byte         // by tool: the arguments that must be executed
	redact    []byte                    // replaced by "[gone]" in everything that is released
	withhold  []byte                    // content with this is withheld
	broken    error                     // Before and After return it
	asks      map[string]bool           // ticket: approved
	asked     map[string]enforce.Attempt
	open      map[string]enforce.Attempt
	attempts  []enforce.Attempt
	outcomes  map[string]enforce.Outcome
	chunks    []enforce.Outcome
	malformed map[string]int
	hosts     []string
	roots     []string
}

func newPath() *path {
	return &path{verdicts: map[string]action.Verdict{}, channel: action.RankOperator, rewrite: map[string][]byte{},
		asks: map[string]bool{}, open: map[string]enforce.Attempt{}, asked: map[string]enforce.Attempt{}, outcomes: map[string]enforce.Outcome{}, malformed: map[string]int{}}
}

func (p *path) Session(_ context.Context, s *action.Subject, host string, o enforce.SessionOptions) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hosts, p.roots = append(p.hosts, host), append(p.roots, o.Roots...)
	return "session:" + host, nil
}

func (p *path) Before(_ context.Context, a enforce.Attempt) (enforce.Admission, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken != nil {
		return enforce.Admission{}, p.broken
	}
	p.n++
	a.Arguments = bytes.Clone(a.Arguments)
	p.attempts = append(p.attempts, a)
	adm := enforce.Admission{ID: fmt.Sprintf("act-%d", p.n), Verdict: action.Allow, Status: action.StatusIntended, Arguments: a.Arguments}
	v, listed := p.verdicts[a.Tool]
	switch {
	case !listed:
	case v == action.Ask:
		t := "T-" + digest(a.Session, a.Tool, string(a.Arguments))[:8]
		if granted, open := p.asks[t]; open && granted {
			delete(p.asks, t)
			break
		}
		p.asks[t] = false
		p.asked[adm.ID] = a
		adm.Verdict, adm.Status, adm.Ticket, adm.Channel = action.Ask, action.StatusAsked, t, p.channel
		adm.Hint, adm.Expires = "It changes something.", time.Now().Add(time.Hour)
		return adm, nil
	case v != action.Allow:
		adm.Verdict, adm.Status, adm.Hint = v, action.StatusRefused, "Not this one."
		return adm, nil
	}
	if b := p.rewrite[a.Tool]; b != nil {
		adm.Arguments, adm.Rewritten = b, true
	}
	p.open[adm.ID] = a
	return adm, nil
}

// Wait polls, as simply as a fake may.
func (p *path) Wait(ctx context.Context, _ *action.Subject, id string) (enforce.Admission, error) {
	for {
		p.mu.Lock()
		a := p.asked[id]
		t := "T-" + digest(a.Session, a.Tool, string(a.Arguments))[:8]
		granted, there := p.asks[t]
		if granted {
			delete(p.asks, t)
			p.open[id] = a
			p.mu.Unlock()
			return enforce.Admission{ID: id, Verdict: action.Allow, Status: action.StatusIntended, Arguments: a.Arguments}, nil
		}
		p.mu.Unlock()
		if !there {
			return enforce.Admission{ID: id, Verdict: action.Deny, Status: action.StatusRefused, Hint: "Refused."}, nil
		}
		select {
		case <-ctx.Done():
			return enforce.Admission{ID: id, Verdict: action.Ask, Status: action.StatusAsked, Ticket: t}, nil
		case <-time.After(time.Millisecond):
		}
	}
}

func (p *path) approve(ticket string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asks[ticket] = true
}

func (p *path) release(id string, o enforce.Outcome) enforce.Release {
	rel := enforce.Release{ID: id, Verdict: action.Allow, Status: action.StatusReleased, Content: o.Content}
	if p.withhold != nil && bytes.Contains(o.Content, p.withhold) {
		return enforce.Release{ID: id, Verdict: action.Deny, Status: action.StatusWithheld, Hint: "Executed, result withheld, do not repeat."}
	}
	if p.redact != nil && bytes.Contains(o.Content, p.redact) {
		rel.Content, rel.Rewritten = bytes.ReplaceAll(o.Content, p.redact, []byte("[gone]")), true
	}
	return rel
}

func (p *path) Chunk(_ context.Context, _ *action.Subject, id string, o enforce.Outcome) (enforce.Release, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.open[id]; !ok {
		return enforce.Release{}, enforce.ErrState
	}
	o.Content = bytes.Clone(o.Content)
	p.chunks = append(p.chunks, o)
	return p.release(id, o), p.broken
}

func (p *path) Heartbeat(*action.Subject, string) error { return nil }

func (p *path) After(_ context.Context, _ *action.Subject, id string, o enforce.Outcome) (enforce.Release, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken != nil {
		return enforce.Release{}, p.broken
	}
	if _, ok := p.open[id]; !ok {
		return enforce.Release{}, enforce.ErrState
	}
	delete(p.open, id)
	o.Content = bytes.Clone(o.Content)
	p.outcomes[id] = o
	return p.release(id, o), nil
}

func (p *path) Malformed(_ context.Context, _ action.Door, _, code string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.malformed[code]++
}

// count returns how many attempts of a method were made.
func (p *path) count(method string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, a := range p.attempts {
		if a.Name == method {
			n++
		}
	}
	return n
}

// set changes the rules while the path is in use.
func (p *path) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func newGate(t testing.TB, p *path, change func(*Config)) *Gate {
	t.Helper()
	cfg := Config{Enforcer: p}
	if change != nil {
		change(&cfg)
	}
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

var testPeer = Peer{Subject: action.NewQuery(action.Before).Subject, Session: "s1", Source: "test",
	Grade: action.GradeProxy, Separation: action.SeparationNone}

var testUpstream = Upstream{Name: "notes", Command: []string{"notes"}, Zone: action.ZoneInside}
