// SPDX-License-Identifier: Apache-2.0

// Package enforcetest holds working in-memory halves of every interface of the enforcement point, and
// one conformance suite per interface that real implementations run too.
package enforcetest

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/store"
)

// Facts is an Informer that states one part for every query, or what Func returns.
type Facts struct {
	Part action.Part
	Func func(ctx context.Context, q *action.Query) (action.Part, error)
}

// Inform states the part.
func (f Facts) Inform(ctx context.Context, q *action.Query) (action.Part, error) {
	if f.Func != nil {
		return f.Func(ctx, q)
	}
	return f.Part, nil
}

// Policy is a Decider that calls a function and fills in a bundle where the function left it empty.
type Policy func(q *action.Query) (action.Decision, error)

// Decide calls p.
func (p Policy) Decide(_ context.Context, q *action.Query) (action.Decision, error) {
	d, err := p(q)
	if d.Bundle.Digest == "" {
		d.Bundle = action.Bundle{Name: "test", Digest: "sha256:test", Sequence: 1}
	}
	return d, err
}

// Rule returns a decision with one match.
func Rule(v action.Verdict, id string) action.Decision {
	return action.Decision{Verdict: v, Mode: action.Enforce,
		Bundle:  action.Bundle{Name: "test", Digest: "sha256:test", Sequence: 1},
		Matches: []action.Match{{ID: id, Verdict: v, Code: id, Reason: "rule " + id}}}
}

// Cap is a Reserver that counts reserved and done actions against nothing: its value is the counter
// "cap" of the history, and policy compares.
type Cap struct {
	mu    sync.Mutex
	value int64            // guarded by mu
	open  map[string]int64 // guarded by mu; by action id
	Cost  func(q *action.Query) int64
}

// Inform states the counter, reservations included.
func (c *Cap) Inform(context.Context, *action.Query) (action.Part, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return action.History{State: action.StateKnown, Counters: []action.Counter{{Name: "cap", State: action.StateKnown, Value: c.value, Window: "day"}}}, nil
}

// Reserve books the cost against exactly the counter that q states.
func (c *Cap) Reserve(_ context.Context, q *action.Query) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := q.Context.History
	if len(h.Counters) != 1 || h.Counters[0].Value != c.value {
		return enforce.ErrStale
	}
	if c.open == nil {
		c.open = map[string]int64{}
	}
	cost := int64(1)
	if c.Cost != nil {
		cost = c.Cost(q)
	}
	c.open[q.ID] = cost
	c.value += cost
	return nil
}

// Settle keeps the cost unless the action certainly did not happen.
func (c *Cap) Settle(_ context.Context, q *action.Query, s action.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s == action.StatusFailed {
		c.value -= c.open[q.ID]
	}
	delete(c.open, q.ID)
}

// Yield gives back what was booked for an action that has not ended.
func (c *Cap) Yield(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.value -= c.open[id]
	delete(c.open, id)
}

// Value returns the counter.
func (c *Cap) Value() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.value
}

// Log is a Recorder, Payloads and History in memory. Fail, if set, is asked before each append: it may
// return an error, and whether the record persists all the same.
type Log struct {
	mu      sync.Mutex
	records []*action.Record                                 // guarded by mu
	Fail    func(r *action.Record) (persist bool, err error) // set before use
}

// Append keeps a copy of r.
func (l *Log) Append(_ context.Context, r *action.Record) (action.Receipt, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Fail != nil {
		if persist, err := l.Fail(r); err != nil {
			if persist {
				l.keep(r)
			}
			return action.Receipt{}, err
		}
	}
	if r.Durability == action.DurabilityReplicated || r.Durability == action.DurabilityWitnessed {
		return action.Receipt{}, enforce.ErrDurability
	}
	if r.Action != "" {
		for _, o := range l.records {
			if o.Action == r.Action && o.Round == r.Round && o.Kind == r.Kind {
				return action.Receipt{}, fmt.Errorf("log: %s of action %s round %d stands already", r.Kind, r.Action, r.Round)
			}
		}
	}
	return l.keep(r), nil
}

func (l *Log) keep(r *action.Record) action.Receipt {
	c := *r
	c.Parts = slices.Clone(r.Parts)
	for i := range c.Parts {
		c.Parts[i].Data = slices.Clone(c.Parts[i].Data)
	}
	l.records = append(l.records, &c)
	n := uint64(len(l.records))
	return action.Receipt{Origin: "test", Index: n - 1, Size: n, Leaf: fmt.Sprintf("sha256:%d", n-1)}
}

// Payload returns a part of the record at index.
func (l *Log) Payload(_ context.Context, index uint64, part action.PartName) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if index >= uint64(len(l.records)) {
		return nil, errors.New("log: no such record")
	}
	if p := l.records[index].Part(part); p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("log: record %d has no part %q", index, part)
}

// History replays the records.
func (l *Log) History(_ context.Context, fn func(uint64, *action.Record) error) error {
	for i, r := range l.Records() {
		if err := fn(uint64(i), r); err != nil {
			return err
		}
	}
	return nil
}

// Records returns what was recorded so far.
func (l *Log) Records() []*action.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.records)
}

// Of returns the records of kind.
func (l *Log) Of(kind action.Kind) []*action.Record {
	var out []*action.Record
	for _, r := range l.Records() {
		if r.Kind == kind {
			out = append(out, r)
		}
	}
	return out
}

// Desk is an Approver in memory. Decide answers open requests.
type Desk struct {
	mu   sync.Mutex
	asks map[string]*ask // guarded by mu; by binding
	used map[string]bool // guarded by mu
	n    int
	Fail error // if set, Ask returns it
	Now  func() time.Time
}

type ask struct {
	ans     enforce.Answer
	req     enforce.Request
	changed chan struct{}
}

// Ask opens a request or answers what became of it.
func (d *Desk) Ask(_ context.Context, r enforce.Request) (enforce.Answer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.Fail != nil {
		return enforce.Answer{}, d.Fail
	}
	a := d.get(r.Binding)
	if a.ans.Status == "" || (a.ans.Status == action.ApprovalGranted && d.used[a.ans.Facts.ID]) {
		d.n++
		a.req = r
		a.ans = enforce.Answer{Status: action.ApprovalPending, Ticket: fmt.Sprintf("T%d", d.n), Expires: r.Expires}
	}
	if a.ans.Status != action.ApprovalRefused && d.Now != nil && !d.Now().Before(a.ans.Expires) {
		a.ans.Status = action.ApprovalExpired
	}
	return a.ans, nil
}

// Consume burns a grant.
func (d *Desk) Consume(_ context.Context, grant, _ string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.used == nil {
		d.used = map[string]bool{}
	}
	for _, a := range d.asks {
		if a.ans.Facts.ID == grant && a.ans.Status == action.ApprovalGranted && !d.used[grant] {
			if d.Now != nil && !d.Now().Before(a.ans.Expires) {
				break
			}
			d.used[grant] = true
			return nil
		}
	}
	return enforce.ErrConsumed
}

// Changed returns a channel that is closed at the next answer for the binding.
func (d *Desk) Changed(binding string) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.get(binding).changed
}

func (d *Desk) get(binding string) *ask {
	if d.asks == nil {
		d.asks = map[string]*ask{}
	}
	a := d.asks[binding]
	if a == nil {
		a = &ask{changed: make(chan struct{})}
		d.asks[binding] = a
	}
	return a
}

// Decide answers the request with the ticket through channel; it reports whether there was one.
func (d *Desk) Decide(ticket string, grant bool, channel action.Rank, comment string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.asks {
		if a.ans.Ticket != ticket || a.ans.Status != action.ApprovalPending {
			continue
		}
		a.ans.Status, a.ans.Comment = action.ApprovalRefused, comment
		if grant {
			var rules []string
			for _, m := range a.req.Decision.Deciding() {
				rules = append(rules, m.ID)
			}
			a.ans.Status = action.ApprovalGranted
			a.ans.Facts = action.Approval{Status: action.ApprovalGranted, ID: "G" + ticket, Channel: channel, Approvers: []string{"alice"},
				Rules: rules, ExpiresMs: a.ans.Expires.UnixMilli(), Edited: action.No, SameUID: action.No, Digest: a.req.Binding}
		}
		close(a.changed)
		a.changed = make(chan struct{})
		return true
	}
	return false
}

// Free is a Standing under which everybody may act until Kill or Disown.
type Free struct {
	mu             sync.Mutex
	killed, lapsed bool // guarded by mu
	calls          int
	KillAfter      int // if positive, the call after that many kills
}

// Standing answers from memory.
func (f *Free) Standing(context.Context, *action.Subject, string) action.Kill {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	killed := f.killed || (f.KillAfter > 0 && f.calls > f.KillAfter)
	return action.Kill{State: action.StateKnown, Killed: action.TriOf(killed), Scope: "none", Epoch: 1, Revoked: action.No, Owned: action.TriOf(!f.lapsed)}
}

// Kill stops everything.
func (f *Free) Kill() { f.mu.Lock(); f.killed = true; f.mu.Unlock() }

// Disown makes this process lose its cell.
func (f *Free) Disown() { f.mu.Lock(); f.lapsed = true; f.mu.Unlock() }

// Fingerprint is a keyed digest with a key of this process.
func Fingerprint(label string, parts ...[]byte) string {
	m := hmac.New(sha256.New, key)
	fmt.Fprintf(m, "%d:%s", len(label), label)
	for _, p := range parts {
		fmt.Fprintf(m, "%d:", len(p))
		m.Write(p)
	}
	return hex.EncodeToString(m.Sum(nil)[:16])
}

var key = func() []byte {
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	return b
}()

// Config returns a complete configuration over in-memory parts; change what a test is about.
func Config(p Policy, l *Log, d *Desk, s store.Store) enforce.Config {
	return enforce.Config{
		Decider: p, Approver: d, Recorder: l, Payloads: l, History: l.History, Standing: &Free{}, Store: s, Random: rand.Reader,
		Fingerprint: Fingerprint,
		Scrub:       func(q *action.Query) (*action.Query, error) { c := *q; return &c, nil },
		Redact:      func(b []byte, _ []action.Secret) ([]byte, error) { return b, nil },
	}
}

// Subject returns an agent "bot" that acts for "ann" through door.
func Subject(door action.Door) action.Subject {
	s := action.NewQuery(action.Before).Subject
	s.ID, s.User.ID, s.User.Verified = "bot", "ann", action.Yes
	s.Scopes = []action.Scope{action.ScopeAgent}
	s.Channel.Door, s.Channel.Credential, s.Channel.CredID = door, action.CredentialToken, "t1"
	return s
}
