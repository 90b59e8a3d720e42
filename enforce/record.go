// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sallyport/sallyport/action"
)

// append makes r durable, or says that it cannot be known to be.
func (e *Enforcer) append(ctx context.Context, r *action.Record) (rec action.Receipt, err error) {
	defer func() {
		if recover() != nil {
			rec, err = action.Receipt{}, fmt.Errorf("enforce: %w: the recorder panicked", ErrUnrecorded)
		}
	}()
	rec, err = e.cfg.Recorder.Append(context.WithoutCancel(ctx), r)
	if err != nil {
		return action.Receipt{}, fmt.Errorf("enforce: %s record: %w", r.Kind, errors.Join(ErrUnrecorded, err))
	}
	if i := slices.Index(r.Verdict.Values(), string(r.Verdict)); i >= 0 {
		e.decisions[i].Add(1)
		if !r.Enforced && r.Verdict != action.Allow {
			e.unenforced.Add(1)
		}
	}
	return rec, nil
}

// Decisions returns how many recorded decisions of either gate had the verdict, since the start.
func (e *Enforcer) Decisions(v action.Verdict) int64 {
	i := slices.Index(v.Values(), string(v))
	if i < 0 {
		return 0
	}
	return e.decisions[i].Load()
}

// Unenforced returns how many recorded decisions observe mode let pass, since the start.
func (e *Enforcer) Unenforced() int64 { return e.unenforced.Load() }

// record states x as it stands at gate one.
func (e *Enforcer) record(x *entry, kind action.Kind) *action.Record {
	r := e.recordOf(x, kind, &x.judgement)
	if kind == action.KindDecision {
		r.Round = x.round
	}
	if kind != action.KindDecision && kind != action.KindIntent {
		r.Verdict = "" // nothing is decided here, and the payload stands with the intent
		return r.Record
	}
	r.Subject = x.link
	r.part(action.PartArguments, x.bytes)
	if !e.cfg.ReasoningAsked || keeps(&x.decision, action.PartReasoning) {
		r.part(action.PartReasoning, x.att.Reasoning)
	}
	r.part(action.PartInputBefore, x.judgement.input)
	r.canonical(action.PartExplanation, &x.decision)
	return r.Record
}

// outcomeRecord states what came back and what gate two said about it.
func (e *Enforcer) outcomeRecord(x *entry, j judgement, kind action.Kind, o Outcome, released []byte) *action.Record {
	r := e.recordOf(x, kind, &j)
	r.Status, r.Binding = action.StatusDone, e.outcomeDigest(o)
	if o.Status != action.ResultDone {
		r.Status = action.StatusFailed
	}
	if len(o.Content) <= e.cfg.HoldBytes {
		r.part(action.PartResult, o.Content)
	}
	if released != nil && !slices.Equal(released, o.Content) {
		r.part(action.PartReleased, released)
	}
	r.part(action.PartInputAfter, j.input)
	r.canonical(action.PartExplanation, &j.decision)
	return r.Record
}

// outcomeDigest tells a repeated outcome from another one.
func (e *Enforcer) outcomeDigest(o Outcome) string {
	return e.cfg.Fingerprint("outcome", []byte(o.Status), []byte(o.Kind), o.Content)
}

// draft is a record with the owner of its parts.
type draft struct {
	*action.Record
	owner string
}

func (d draft) part(name action.PartName, data []byte) {
	if len(data) > 0 {
		d.Parts = append(d.Parts, action.PayloadPart{Name: name, Owner: d.owner, Data: data})
	}
}

func (d draft) canonical(name action.PartName, v any) {
	b, err := action.Canonical(v)
	if err != nil { // cannot happen for our own types; the record then says so instead of staying silent
		b = []byte(`{"error":"not canonical"}`)
	}
	d.part(name, b)
}

func (e *Enforcer) recordOf(x *entry, kind action.Kind, j *judgement) draft {
	s := &x.att.Subject
	r := &action.Record{
		Kind: kind, Tenant: s.Tenant, TimeMs: e.cfg.Now().UnixMilli(), Action: x.id, Session: x.att.Session,
		Agent: s.ID, User: s.User.ID, Door: s.Channel.Door, Server: x.att.Server, Tool: x.att.Tool,
		Phase: action.Before, Verdict: j.decision.Verdict, Enforced: !j.observed, Status: action.StatusIntended,
		Bundle: j.decision.Bundle, Engines: j.decision.Engines, Call: x.call, Binding: x.args,
		Grant: x.grant.ID, Channel: x.grant.Channel, Grade: x.att.Grade, Separation: x.att.Separation,
		Observed: action.TriOf(!x.att.Claimed), Durability: j.durability,
	}
	if r.Verdict != action.Allow && r.Verdict != action.Ask && r.Verdict != action.Quarantine {
		r.Verdict = action.Deny
	}
	if x.grant.SameUID == action.Yes {
		r.Separation = action.SeparationNone
	}
	if q := j.query; q != nil {
		r.Effect, r.Phase, r.Epoch = q.Action.Effect, q.Phase, q.Context.Kill.Epoch
		r.Assurance, r.Model = q.Subject.Attested.Assurance, q.Subject.Attested.Model
		r.TimeMs = q.Context.Time.UnixMilli
	}
	for _, m := range j.decision.Matches {
		r.Rules = append(r.Rules, m.ID)
		if m.Code != "" && !slices.Contains(r.Codes, m.Code) {
			r.Codes = append(r.Codes, m.Code)
		}
	}
	owner := s.User.ID
	if owner == "" {
		owner = s.ID
	}
	return draft{r, owner}
}

// reserve books x with every reserver against exactly the facts in q. What was booked before an error is
// given back.
func (e *Enforcer) reserve(ctx context.Context, x *entry, q *action.Query) error {
	for _, stage := range e.cfg.Stages {
		for _, s := range stage {
			r, ok := s.Informer.(Reserver)
			if !ok {
				continue
			}
			if err := reserveOne(ctx, r, q); err != nil {
				e.settle(ctx, x, action.StatusFailed)
				return fmt.Errorf("fact source %q: %w", s.Name, err)
			}
			x.reserved = append(x.reserved, r)
		}
	}
	x.intended = true
	return nil
}

func reserveOne(ctx context.Context, r Reserver, q *action.Query) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("reserving panicked")
		}
	}()
	return r.Reserve(ctx, q)
}

// settle closes the reservations of x with how gate one's action ended.
func (e *Enforcer) settle(ctx context.Context, x *entry, s action.Status) {
	e.settleAfter(ctx, x, x.judgement.raw, s)
}

func (e *Enforcer) settleAfter(ctx context.Context, x *entry, q *action.Query, s action.Status) {
	for _, r := range x.reserved {
		func() {
			defer func() { _ = recover() }() // a reserver must not fail; the others are settled all the same
			r.Settle(context.WithoutCancel(ctx), q, s)
		}()
	}
	x.reserved = nil
}

// abandon ends an intended action that may not be executed after all.
func (e *Enforcer) abandon(ctx context.Context, x *entry, f fault) error {
	r := e.record(x, action.KindOutcome)
	r.Status, r.Codes = action.StatusFailed, []string{f.code}
	_, err := e.append(ctx, r)
	e.settle(ctx, x, action.StatusFailed)
	x.status = action.StatusFailed
	rel := x.withhold(Release{ID: x.id}, f)
	rel.Hint = "Not executed. " + kernelHints[f.code]
	x.remember(rel)
	x.status = action.StatusRefused
	e.finish(x)
	return err
}

// lapse is abandon for an action that somebody was about to execute.
func (e *Enforcer) lapse(ctx context.Context, x *entry, f fault) (Admission, Release, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.take(e.faulted(x.judgement, f))
	err := e.abandon(ctx, x, f)
	return x.admission(), Release{}, err
}

// forget ends an action of which nobody can tell what it did.
func (e *Enforcer) forget(ctx context.Context, x *entry) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return e.unknown(ctx, x)
}

// unknown records that an intended action will have no outcome; it is never executed again. x.mu is held.
func (e *Enforcer) unknown(ctx context.Context, x *entry) error {
	r := e.record(x, action.KindUnknown)
	r.Status = action.StatusUnknown
	_, err := e.append(ctx, r)
	if err != nil {
		return err
	}
	e.settle(ctx, x, action.StatusUnknown)
	x.status = action.StatusUnknown
	e.finish(x)
	return nil
}
