// SPDX-License-Identifier: Apache-2.0

// Package enforce is the enforcement point: the one path that every action of every agent takes.
//
// # The path
//
//	Before: inform -> kernel -> decide -> (rewrite, once more) -> (ask) -> reserve -> record intent -> kernel
//	After:  inform -> kernel -> decide -> (rewrite, once more) -> record outcome -> kernel -> release
//
// # Failure model
//
// Nothing runs before its intent is durable and nothing is released before its outcome is. Whatever
// errs, panics, is late or is unknown on the way denies. A crash between intent and outcome leaves an
// intent alone; the next start writes an unknown record for it and never executes it again. A record
// that may or may not have persisted counts as persisted for the caps and as not persisted for the
// action: it is not executed.
//
// Decide, reserve and intent of one session are serialised by its lock, which is never held while
// somebody is asked or something is executed.
package enforce

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sallyport/sallyport/action"
)

// Before passes a through the first gate. Any verdict but allow means: do not execute. An error means
// that nothing was decided or that the decision could not be recorded: do not execute.
func (e *Enforcer) Before(ctx context.Context, a Attempt) (Admission, error) {
	ctx = context.WithoutCancel(ctx) // a caller who leaves must not turn a fact into a fault; deadlines are ours
	sess, err := e.session(ctx, a.Subject.Tenant, a.Session)
	if err != nil || !sess.belongs(&a.Subject) {
		return Admission{}, ErrNotFound
	}
	for {
		x, err := e.enter(ctx, a)
		if err != nil {
			return Admission{}, err
		}
		x.mu.Lock()
		dropped := x.finished && x.status == action.StatusNone // while we waited for its lock
		switch open := x.status == action.StatusNone || x.status == action.StatusAsked; {
		case dropped:
		case open:
			defer x.mu.Unlock()
			e.correlate(x)
			adm, err := e.admit(ctx, x)
			if err != nil {
				if x.status == action.StatusNone {
					e.drop(x) // nothing of it is on record: a repeat begins anew
				}
				return adm, err
			}
			return x.admissionFor(a.Executor), nil
		case a.CallID != "":
			defer x.mu.Unlock()
			return x.admissionFor(a.Executor), nil // a repeat: the stored answer
		}
		x.mu.Unlock() // gone, or taken up by another call: this is a call of its own
	}
}

// Wait returns the admission of an asked action once it is no longer pending, or its pending admission
// when ctx ends. The intent of a granted action is recorded at the first Wait that delivers it.
func (e *Enforcer) Wait(ctx context.Context, s *action.Subject, id string) (Admission, error) {
	x, err := e.find(ctx, s, id)
	if err != nil {
		return Admission{}, err
	}
	for round := 0; ; round++ {
		x.mu.Lock()
		bound := x.binding
		changed := e.cfg.Approver.Changed(bound)
		adm := x.admission()
		if x.status == action.StatusAsked {
			if err = e.rebuild(ctx, x); err == nil {
				adm, err = e.admit(context.WithoutCancel(ctx), x)
			}
		}
		other := x.binding != bound // what is waited for is another question now
		x.mu.Unlock()
		if err != nil || adm.Verdict != action.Ask {
			return adm, err
		}
		if other && round < maxRounds {
			continue
		}
		select {
		case <-ctx.Done():
			return adm, nil
		case <-changed:
		}
	}
}

// maxRounds bounds how often one action may be asked about anew because other rules came to ask.
const maxRounds = 4

// admit takes x through gate one until it is intended, refused or waiting for somebody. x.mu is held.
func (e *Enforcer) admit(ctx context.Context, x *entry) (Admission, error) {
	grant := action.NoApproval()
	x.edited = nil
	for range maxRounds {
		v, err := e.gateOne(ctx, x, grant)
		if err != nil || v != action.Ask {
			return x.admission(), err
		}
		ans, err := e.ask(ctx, x)
		switch {
		case err != nil:
			return e.refuse(ctx, x, "kernel.approver", fmt.Sprintf("the approver cannot be asked: %v", err), "")
		case ans.Status == action.ApprovalPending, ans.Status == action.ApprovalGranted && !x.strong(ans.Facts):
			return x.admission(), nil // an answer through too weak a channel leaves the question open
		case ans.Status == action.ApprovalGranted:
			if grant = ans.Facts; ans.Bytes != nil {
				x.edited = ans.Bytes
			}
		case ans.Status == action.ApprovalExpired:
			return e.refuse(ctx, x, "approval.expired", "nobody answered in time", "Nobody answered in time.")
		case ans.Machine:
			return e.refuse(ctx, x, "approval.refused", "a second system refused", "A second system refused this call.")
		default:
			return e.refuse(ctx, x, "approval.refused", "a person refused", refusalHint(ans.Comment))
		}
	}
	return e.refuse(ctx, x, "kernel.rounds", "the rules that ask kept changing", "")
}

// gateOne informs, decides and, if nothing stands against it, reserves and records the intent. It
// returns the verdict that binds; x holds the rest. x.mu is held.
func (e *Enforcer) gateOne(ctx context.Context, x *entry, grant action.Approval) (action.Verdict, error) {
	sess, err := e.session(ctx, x.att.Subject.Tenant, x.att.Session)
	if err != nil {
		return action.Deny, err
	}
	arguments := x.att.Arguments
	if x.edited != nil {
		arguments = x.edited
	}
	q := e.queryBefore(x, sess, arguments)
	q.Context.Approval = grant
	faults := e.inform(ctx, q)

	bound, asked := x.binding, x.bytes // what grant was given for
	sess.mu.Lock()                     // serialises decide + reserve + intent of this session
	defer sess.mu.Unlock()
	q.Context.Session.Seq = sess.seq
	for range maxStale {
		j := e.judge(ctx, x, q, faults)
		if j.rewritten != nil { // our own bytes: informed and decided once more, with rewriting off
			q2 := e.queryBefore(x, sess, j.rewritten)
			q2.Context.Approval = grant
			q2.Context.Session.Seq = sess.seq
			j = e.judgeRewritten(ctx, x, q2, e.inform(ctx, q2), j)
		}
		x.take(j)
		if !x.passes(grant, bound, asked) {
			return e.stop(ctx, x, sess)
		}
		switch err := e.reserve(ctx, x, j.raw); {
		case errors.Is(err, ErrStale):
			faults = e.reinform(ctx, q)
			continue
		case err != nil:
			x.take(e.faulted(j, fault{"kernel.reserve", err.Error()}))
			return e.stop(ctx, x, sess)
		}
		return e.intend(ctx, x, sess, grant)
	}
	x.take(e.faulted(e.judge(ctx, x, q, faults), fault{"kernel.contention", "the facts kept changing"}))
	return e.stop(ctx, x, sess)
}

// stop records a deny or an ask; nothing was reserved. A decision that cannot be recorded is still a
// refusal: an ask then becomes an error, because nobody may be asked off the record.
func (e *Enforcer) stop(ctx context.Context, x *entry, sess *sessionState) (action.Verdict, error) {
	v := x.verdict()
	if v == action.Ask && x.status == action.StatusAsked && x.recorded == x.binding {
		return v, nil // the same question is on record already
	}
	r := e.record(x, action.KindDecision)
	r.Status = action.StatusRefused
	if v == action.Ask {
		r.Status = action.StatusAsked
	}
	rec, err := e.append(ctx, r)
	if err != nil && v == action.Ask {
		return action.Deny, err
	}
	sess.seq++
	x.status, x.recorded = r.Status, x.binding
	x.recordedAt(rec)
	x.round++
	if v == action.Quarantine {
		e.cfg.Quarantine(ctx, &x.att.Subject, x.att.Session, x.decision.Deciding())
	}
	switch raw := x.judgement.raw; {
	case v == action.Ask && raw != nil:
		e.cfg.Asked(raw)
	case v != action.Ask:
		if raw != nil {
			e.cfg.Denied(raw)
		}
		e.finish(x)
	}
	return v, nil
}

// intend consumes the grant, makes the intent durable and asks the kernel once more: between the first
// check and a durable record a paused process may have lost its lease. The reservations are booked.
func (e *Enforcer) intend(ctx context.Context, x *entry, sess *sessionState, grant action.Approval) (action.Verdict, error) {
	if grant.Status == action.ApprovalGranted {
		if err := e.cfg.Approver.Consume(ctx, grant.ID, x.id); err != nil {
			e.settle(ctx, x, action.StatusFailed)
			x.take(e.faulted(x.judgement, fault{"kernel.grant", err.Error()}))
			return e.stop(ctx, x, sess)
		}
		x.grant = grant
	}
	rec, err := e.append(ctx, e.record(x, action.KindIntent))
	if err != nil {
		e.settle(ctx, x, action.StatusUnknown) // it may have persisted
		x.status = action.StatusUnknown
		e.finish(x)
		return action.Deny, err
	}
	sess.seq++
	x.status, x.deadline = action.StatusIntended, e.cfg.Now().Add(e.cfg.OutcomeDeadline)
	x.recordedAt(rec)
	e.unwait(x)
	e.offer(x)
	e.notify(x.judgement.query, &x.decision)
	if f, ok := e.standing(ctx, &x.att.Subject, x.att.Session); !ok {
		x.take(e.faulted(x.judgement, f))
		return action.Deny, e.abandon(ctx, x, f)
	}
	return action.Allow, nil
}

// Do is Before, execute, After for doors that execute themselves. execute gets the bytes that must be
// executed; it is called at most once, and never without a durable intent. Its error is recorded as a
// failed outcome and returned; a panic is recorded as unknown, because nobody can tell what it did.
func (e *Enforcer) Do(ctx context.Context, a Attempt, execute func(context.Context, Admission) (Outcome, error)) (adm Admission, rel Release, err error) {
	adm, err = e.Before(ctx, a)
	if err != nil || adm.Verdict != action.Allow {
		return adm, Release{}, err
	}
	if adm.Release != nil { // a repeat of what has ended
		rel, err = e.Held(ctx, &a.Subject, adm.ID)
		return adm, rel, err
	}
	x, err := e.claim(adm.ID)
	if err != nil {
		return adm, Release{}, err
	}
	after := context.WithoutCancel(ctx) // a caller who leaves does not leave us without an outcome
	defer func() {
		if p := recover(); p != nil {
			err = errors.Join(fmt.Errorf("enforce: %w: execution panicked", ErrUnrecorded), e.forget(after, x))
			rel = Release{}
		}
	}()
	during, end := e.running.begin(ctx, x)
	defer end()
	if f, ok := e.standing(ctx, &x.att.Subject, x.att.Session); !ok { // a stop that came before it could be told
		return e.lapse(ctx, x, f)
	}
	out, xerr := execute(during, adm)
	if xerr != nil {
		out = Outcome{Status: action.ResultFailed, Kind: "error", Content: []byte("null")}
	}
	rel, err = e.After(after, &x.att.Subject, x.id, out)
	return adm, rel, errors.Join(xerr, err)
}

// After passes the outcome of an admitted action through the second gate. A repeat with the same content
// returns the stored answer, one with other content is ErrConflict. An outcome that comes after the
// deadline is recorded as late, and judged like any other.
func (e *Enforcer) After(ctx context.Context, s *action.Subject, id string, o Outcome) (Release, error) {
	ctx = context.WithoutCancel(ctx)
	x, err := e.find(ctx, s, id)
	if err != nil {
		return Release{}, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	digest := e.outcomeDigest(o)
	kind := action.KindOutcome
	switch {
	case x.release != nil && x.outcome == digest:
		return e.stored(ctx, x)
	case x.release != nil:
		return Release{}, fmt.Errorf("enforce: action %s: %w: it has another outcome", x.id, ErrConflict)
	case x.status == action.StatusUnknown && x.intended:
		kind = action.KindLate
	case x.status != action.StatusIntended:
		return Release{}, fmt.Errorf("enforce: action %s is %s: %w", x.id, x.status, ErrState)
	}
	j, content, err := e.gateTwo(ctx, x, o, 0)
	if err != nil {
		return Release{}, err
	}
	r := e.outcomeRecord(x, j, kind, o, content)
	rec, err := e.append(ctx, r)
	if err != nil {
		return Release{}, err // nothing is released; a repeat may try again
	}
	x.outcome, x.outReceipt, x.after = digest, rec, j.query
	label(j.raw, j.decision.Obligations)
	e.notify(j.query, &j.decision)
	e.settleAfter(ctx, x, j.raw, r.Status)
	rel := x.releaseOf(j, r, content, rec)
	if rel.Status == action.StatusHeld {
		rel.Ticket = e.askRelease(ctx, x, j, o)
	}
	if f, ok := e.standing(ctx, &x.att.Subject, x.att.Session); !ok {
		rel = x.withhold(rel, f)
	}
	if j.verdict() == action.Quarantine {
		e.cfg.Quarantine(ctx, &x.att.Subject, x.att.Session, j.decision.Deciding())
	}
	x.status = r.Status
	x.remember(rel)
	e.finish(x)
	return rel, nil
}

// gateTwo informs and decides on what came back. It returns the judgement and the bytes that may be
// released under it. round is 0 for the outcome and counts chunks.
func (e *Enforcer) gateTwo(ctx context.Context, x *entry, o Outcome, round int) (judgement, []byte, error) {
	sess, err := e.session(ctx, x.att.Subject.Tenant, x.att.Session)
	if err != nil {
		return judgement{}, nil, err
	}
	content := o.Content
	q, bad := e.queryAfter(x, sess, o, content)
	q.Round = round
	j := e.judge(ctx, x, q, append(e.inform(ctx, q), bad...))
	if j.rewritten != nil {
		content = j.rewritten
		q2, bad := e.queryAfter(x, sess, o, content)
		q2.Round = round
		j = e.judgeRewritten(ctx, x, q2, append(e.inform(ctx, q2), bad...), j)
	}
	return j, content, nil
}

// Chunk passes one message that comes back while an admitted action runs (progress, log, elicitation,
// sampling, a piece of a stream) through the second gate. The first one writes a durable round record;
// one that is not released writes its decision.
func (e *Enforcer) Chunk(ctx context.Context, s *action.Subject, id string, o Outcome) (Release, error) {
	ctx = context.WithoutCancel(ctx)
	x, err := e.find(ctx, s, id)
	if err != nil {
		return Release{}, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.status != action.StatusIntended {
		return Release{}, fmt.Errorf("enforce: action %s is %s: %w", x.id, x.status, ErrState)
	}
	x.chunks++
	x.deadline = e.cfg.Now().Add(e.cfg.OutcomeDeadline)
	j, content, err := e.gateTwo(ctx, x, o, x.chunks)
	if err != nil {
		return Release{}, err
	}
	if x.chunks == 1 {
		r := e.record(x, action.KindRound)
		r.Round = 1
		if _, err := e.append(ctx, r); err != nil {
			return Release{}, err
		}
	}
	label(j.raw, j.decision.Obligations)
	rel := Release{ID: x.id, Verdict: j.verdict(), Status: action.StatusReleased, Content: content,
		Rewritten: !slices.Equal(content, o.Content)}
	text := textOf(content)
	split, err := e.spans(ctx, x, o, text)
	if err != nil {
		return Release{}, err
	}
	looked := o.Kind == KindReasoning || o.Kind == KindProvided
	if !j.goesOn() || split && !looked || obliged(&x.decision, action.ObligeScan) && !looked {
		r := e.outcomeRecord(x, j, action.KindDecision, o, nil)
		r.Round, r.Status = x.round+x.chunks, action.StatusWithheld
		if _, err := e.append(ctx, r); err != nil {
			return Release{}, err
		}
		rel.Status, rel.Content, rel.Hint = action.StatusWithheld, nil, j.decision.Hint()
	}
	if f, ok := e.standing(ctx, &x.att.Subject, x.att.Session); !ok {
		rel = x.withhold(rel, f)
	}
	if rel.Status == action.StatusReleased {
		x.tail = tailOf(x.tail + text)
	}
	return rel, nil
}
