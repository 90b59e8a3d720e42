// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sallyport/sallyport/action"
)

// Restore rebuilds from the log what a repeat or a grant may ask for, and writes an unknown record for
// every intent that has no outcome: those actions are never executed again. Call it once, before the
// doors open.
func (e *Enforcer) Restore(ctx context.Context) error {
	if e.cfg.History == nil {
		return nil
	}
	byID := map[string]*entry{}
	var order []string
	err := e.cfg.History(ctx, func(index uint64, r *action.Record) error {
		if r.Action == "" || r.Session == "" {
			return nil
		}
		x := byID[r.Action]
		if x == nil {
			x = &entry{id: r.Action, restored: true, args: r.Binding, call: r.Call, att: Attempt{Session: r.Session}}
			x.att.Subject.Tenant, x.att.Subject.Channel.Door = r.Tenant, r.Door
			x.decision.Verdict = action.Deny
			x.first.Store(index + 1)
			byID[r.Action] = x
			order = append(order, r.Action)
		}
		x.replay(index, r)
		if r.Kind == action.KindIntent || r.Kind == action.KindDecision {
			e.mu.Lock()
			e.offers.replay(r)
			e.mu.Unlock()
		}
		return nil
	})
	if err != nil {
		return err
	}
	if n := len(order) - e.cfg.MaxEnded; n > 0 { // what is older is not remembered, unless it is open
		order = slices.DeleteFunc(order, func(id string) bool {
			if x := byID[id]; n > 0 && x.status != action.StatusIntended {
				n--
				return true
			}
			return false
		})
	}
	for _, id := range order {
		if err := e.readmit(ctx, byID[id]); err != nil {
			return err
		}
	}
	return nil
}

// Oldest returns the index from which History must tell for Restore to know again what is known now, or
// size if nothing is. Records that are being appended meanwhile are not considered.
func (e *Enforcer) Oldest(size uint64) uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, x := range e.entries {
		if n := x.first.Load(); n > 0 {
			size = min(size, n-1)
		}
	}
	return size
}

// replay moves x along its life by one record.
func (x *entry) replay(index uint64, r *action.Record) {
	rec := action.Receipt{Index: index}
	switch r.Kind {
	case action.KindDecision:
		if r.Phase != action.After {
			x.status, x.round = r.Status, r.Round+1
			x.decision.Verdict = action.Deny.Meet(r.Verdict)
			x.receipt = rec
		}
	case action.KindIntent:
		x.status, x.intended, x.receipt = action.StatusIntended, true, rec
	case action.KindOutcome, action.KindLate:
		x.status, x.outReceipt, x.outcome = r.Status, rec, r.Binding
		rel := Release{ID: x.id, Verdict: r.Verdict, Status: action.StatusReleased,
			Rewritten: slices.ContainsFunc(r.Parts, func(p action.PayloadPart) bool { return p.Name == action.PartReleased })}
		switch {
		case r.Enforced && r.Verdict == action.Ask:
			rel.Status, rel.Hint = action.StatusHeld, heldHint
		case r.Enforced && r.Verdict != action.Allow:
			rel.Status, rel.Hint = action.StatusWithheld, withheldHint
		}
		x.release = &rel
	case action.KindUnknown:
		x.status = action.StatusUnknown
	case action.KindRelease:
		if x.release != nil {
			x.release.Status, x.release.Verdict, x.release.Hint = action.StatusReleased, action.Allow, ""
		}
	}
}

// readmit puts a restored entry where repeats find it.
func (e *Enforcer) readmit(ctx context.Context, x *entry) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	e.mu.Lock()
	e.entries[x.id] = x
	if x.call != "" {
		e.calls[x.call] = x
	}
	e.load(x, 1)
	if x.status == action.StatusAsked {
		e.waiting[x.att.Session+" "+x.args] = x
	}
	e.mu.Unlock()
	switch x.status {
	case action.StatusAsked:
		x.deadline = e.cfg.Now().Add(e.cfg.HoldFor)
		return nil // a repeat of the call takes it up again
	case action.StatusIntended:
		_ = e.rebuild(ctx, x) // for the names in the record; an erased input leaves them out
		return e.unknown(ctx, x)
	}
	e.finish(x)
	return nil
}

// rebuild gives an asked entry that was restored from the log its attempt back, out of the sealed payload
// of its ask. x.mu is held.
func (e *Enforcer) rebuild(ctx context.Context, x *entry) error {
	if !x.restored {
		return nil
	}
	input, err := e.cfg.Payloads.Payload(ctx, x.receipt.Index, action.PartInputBefore)
	if err != nil {
		return fmt.Errorf("enforce: action %s: recorded input: %w", x.id, err)
	}
	arguments, err := e.cfg.Payloads.Payload(ctx, x.receipt.Index, action.PartArguments)
	if err != nil {
		return fmt.Errorf("enforce: action %s: recorded arguments: %w", x.id, err)
	}
	q, err := action.ReadQuery(input)
	if err != nil {
		return fmt.Errorf("enforce: action %s: recorded input: %w", x.id, err)
	}
	x.att = Attempt{Subject: q.Subject, Session: x.att.Session, Name: q.Action.Name, Type: q.Resource.Type,
		Server: q.Resource.Server, Tool: q.Resource.Name, Arguments: arguments,
		Grade: q.Context.Enforcement.Grade, Separation: q.Context.Enforcement.Separation,
		Claimed: q.Context.Enforcement.Observed != action.Yes, Confined: q.Context.Enforcement.Confined,
		Roots: append([]string{}, q.Context.Session.Roots...)} // as they were judged
	x.restored = false
	return nil
}

// rehold gives a held result that was restored from the log its question back, out of the sealed payload.
// x.mu is held.
func (e *Enforcer) rehold(ctx context.Context, x *entry) error {
	var parts [3][]byte
	for i, name := range []action.PartName{action.PartInputAfter, action.PartExplanation, action.PartResult} {
		b, err := e.cfg.Payloads.Payload(ctx, x.outReceipt.Index, name)
		if err != nil {
			return fmt.Errorf("enforce: action %s: held result: %w", x.id, err)
		}
		parts[i] = b
	}
	q, err := action.ReadQuery(parts[0])
	if err != nil {
		return fmt.Errorf("enforce: action %s: held result: %w", x.id, err)
	}
	var d action.Decision
	if err := action.Read(parts[1], &d, action.Limits{}); err != nil {
		return fmt.Errorf("enforce: action %s: held result: %w", x.id, err)
	}
	x.att.Subject = q.Subject
	x.hold = &Request{Action: x.id, Query: q, Decision: d, Binding: Binding(q, parts[2], &d),
		Expires: time.UnixMilli(q.Context.Time.UnixMilli).Add(e.cfg.HoldFor)}
	return nil
}

// Run does what time brings until ctx ends: outcome deadlines, forgotten asks, idle sessions, counted
// records of malformed attempts. A failing recorder is tried again at the next turn.
func (e *Enforcer) Run(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			e.flushMalformed(context.WithoutCancel(ctx), true)
			return nil
		case <-tick.C:
			_ = e.Sweep(ctx)
		}
	}
}

// Sweep does one turn of Run. It returns what could not be recorded.
func (e *Enforcer) Sweep(ctx context.Context) error {
	now := e.cfg.Now()
	e.mu.Lock()
	due := make([]*entry, 0, e.open.n)
	for _, x := range e.entries {
		due = append(due, x)
	}
	e.mu.Unlock()
	var errs []error
	for _, x := range due {
		if !x.mu.TryLock() {
			continue // somebody is working on it
		}
		switch {
		case x.status == action.StatusIntended && !x.deadline.IsZero() && now.After(x.deadline):
			errs = append(errs, e.unknown(ctx, x))
		case x.status == action.StatusAsked && now.After(maxTime(x.expires, x.deadline).Add(e.cfg.AskFor)):
			x.status = action.StatusRefused
			e.finish(x)
		}
		x.mu.Unlock()
	}
	e.sessMu.Lock()
	for id, s := range e.sessions {
		if s.idle(now, 2*e.cfg.SessionIdle) && s.mu.TryLock() {
			s.mu.Unlock()
			delete(e.sessions, id) // the store keeps it
		}
	}
	e.sessMu.Unlock()
	e.flushMalformed(ctx, false)
	return errors.Join(errs...)
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Heartbeat puts off the outcome deadline of a running action.
func (e *Enforcer) Heartbeat(s *action.Subject, id string) error {
	x, err := e.find(context.Background(), s, id) // memory only, but for a session met for the first time
	if err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.status != action.StatusIntended {
		return ErrState
	}
	x.deadline = e.cfg.Now().Add(e.cfg.OutcomeDeadline)
	return nil
}

// malformedCounts are attempts that no door could read, one record per source, code and minute.
type malformedCounts struct {
	mu   sync.Mutex
	seen map[string]*malformedCount
}

type malformedCount struct {
	door         action.Door
	source, code string
	n            int64
	since        time.Time
}

// maxMalformed bounds the sources that are told apart; the rest share one count per code.
const maxMalformed = 1024

// Malformed records an attempt that was refused before it became an Attempt. The first of a (source,
// code) is recorded at once, further ones as one counted record per minute.
func (e *Enforcer) Malformed(ctx context.Context, door action.Door, source, code string) {
	m := &e.malformed
	m.mu.Lock()
	key := string(door) + "\x00" + source + "\x00" + code
	if len(m.seen) >= maxMalformed && m.seen[key] == nil {
		source = "others"
		key = string(door) + "\x00" + source + "\x00" + code
	}
	c := m.seen[key]
	if c != nil {
		c.n++
		m.mu.Unlock()
		return
	}
	m.seen[key] = &malformedCount{door: door, source: source, code: code, since: e.cfg.Now()}
	m.mu.Unlock()
	e.recordMalformed(ctx, door, source, code, 1)
}

func (e *Enforcer) recordMalformed(ctx context.Context, door action.Door, source, code string, n int64) {
	_, _ = e.append(ctx, &action.Record{Kind: action.KindDecision, Tenant: "default", TimeMs: e.cfg.Now().UnixMilli(),
		Door: door, Agent: source, Verdict: action.Deny, Enforced: true, Status: action.StatusRefused,
		Codes: []string{"malformed." + code}, Count: n})
}

func (e *Enforcer) flushMalformed(ctx context.Context, all bool) {
	now := e.cfg.Now()
	var flush []malformedCount
	m := &e.malformed
	m.mu.Lock()
	for key, c := range m.seen {
		if !all && now.Sub(c.since) < time.Minute {
			continue
		}
		if c.n > 0 {
			flush = append(flush, *c)
		}
		delete(m.seen, key)
	}
	m.mu.Unlock()
	for _, c := range flush {
		e.recordMalformed(ctx, c.door, c.source, c.code, c.n)
	}
}
