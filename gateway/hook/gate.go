// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"context"
	"errors"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// What an agent reads where the path gives no hint.
const (
	deniedHint   = "This call is not permitted."
	executedHint = "This call was executed already. Do not repeat it."
	rewriteHint  = "This call may only run with other arguments, and this host cannot change them."
	unseenHint   = "The result was withheld: the call was executed without having been permitted. Do not repeat the call."
)

// glance is how long the path may take to look after an answered question.
const glance = 20 * time.Millisecond

func (q *request) attempt() enforce.Attempt {
	a := enforce.Attempt{Subject: q.sub, Session: q.session, Name: "tools/call", Type: "tool", Server: q.Server, Tool: q.Tool,
		Arguments: q.Arguments, Reasoning: []byte(q.Reasoning), Grade: q.grade, Separation: q.sep, Confined: q.walls, Claimed: true}
	if q.CallID != "" {
		a.CallID, a.ModelCall = string(q.Host)+":"+q.CallID, q.CallID
	}
	return a
}

// pre is the first gate.
func (d *door) pre(ctx context.Context, q *request) ([]byte, error) {
	x := d.calls.enter(q)
	defer x.mu.Unlock()
	if x.over {
		return q.Deny(executedHint), nil
	}
	adm, err := d.admit(ctx, q, x)
	if errors.Is(err, enforce.ErrConflict) {
		return q.Deny("The id of this call was used for another call."), nil
	}
	if err != nil {
		return nil, err
	}
	x.action, x.ticket, x.asking = adm.ID, adm.Ticket, false
	switch adm.Verdict {
	case action.Allow:
		return d.allowed(ctx, q, x, adm)
	case action.Ask:
		if d.cfg.Answer != nil && q.Asks() && action.RankClient.AtLeast(adm.Channel) {
			x.asking = true
			d.calls.open(x, q, q.Arguments)
			return q.Ask(or(adm.Hint, "Sallyport wants the user to decide about this call.")), nil
		}
		return q.Deny(or(adm.Hint, "A person has to approve this call.") + " " + pending(adm.Ticket)), nil
	}
	return q.Deny(or(adm.Hint, deniedHint)), nil
}

// pending tells how an ask goes on.
func pending(ticket string) string {
	if ticket == "" {
		return "Nobody can be asked about it now."
	}
	return "It waits for a person as " + ticket + " (sallyport approvals approve " + ticket +
		"). Once approved, make exactly the same call again: it passes once."
}

// admit asks the path. A call that it let through already is the same call when its event comes twice,
// also where an approval was given to an earlier id.
func (d *door) admit(ctx context.Context, q *request, x *call) (enforce.Admission, error) {
	if !x.admitted || !d.calls.same(x, q) {
		return d.cfg.Enforcer.Before(ctx, q.attempt())
	}
	short, cancel := context.WithTimeout(ctx, glance)
	defer cancel()
	return d.cfg.Enforcer.Wait(short, &q.sub, x.action)
}

func (d *door) allowed(ctx context.Context, q *request, x *call, adm enforce.Admission) ([]byte, error) {
	if adm.Release != nil {
		return q.Deny(executedHint), nil
	}
	x.admitted = true
	if !adm.Rewritten {
		d.calls.open(x, q, q.Arguments)
		return q.Pass(), nil
	}
	if q.Rewrites() {
		d.calls.open(x, q, q.Arguments)
		d.calls.open(x, q, adm.Arguments)
		return q.Rewrite(adm.Arguments), nil
	}
	x.over = true
	_, err := d.cfg.Enforcer.After(ctx, &q.sub, adm.ID, enforce.Outcome{Status: action.ResultFailed, Kind: "error", Content: []byte("null")})
	return q.Deny(rewriteHint), err
}

// permission is asked when the host is about to ask its user. What the first gate let through is the
// user's to decide; what it has not seen is refused.
func (d *door) permission(ctx context.Context, q *request) ([]byte, error) {
	if d.calls.isOpen(q) || d.calls.isOpenCommand(q) {
		return q.Pass(), d.note(ctx, q)
	}
	d.odd(ctx, q, "permission_unseen")
	return q.Deny("A permission was asked for a call that has not passed Sallyport."), nil
}

// config judges a change of the host's settings like any action: who may change them may take us away.
func (d *door) config(ctx context.Context, q *request) ([]byte, error) {
	args, err := action.Canonical(map[string]string{"source": q.Source, "file_path": q.File})
	if err != nil {
		return nil, err
	}
	a := q.attempt()
	a.Server, a.Tool, a.Arguments = string(q.Host), "ConfigChange", args
	adm, err := d.cfg.Enforcer.Before(ctx, a)
	switch {
	case err != nil:
		return nil, err
	case adm.Verdict == action.Ask:
		return q.Deny(or(adm.Hint, "A person has to approve this change.") + " " + pending(adm.Ticket)), nil
	case adm.Verdict != action.Allow:
		return q.Deny(or(adm.Hint, "This change of settings is not permitted.")), nil
	}
	_, err = d.cfg.Enforcer.After(ctx, &q.sub, adm.ID, enforce.Outcome{Status: action.ResultDone, Content: []byte("null")})
	return q.Pass(), err
}

// post is the second gate. A result of a call that the first gate has not let through is withheld.
func (d *door) post(ctx context.Context, q *request) ([]byte, error) {
	x := d.calls.find(q)
	if x == nil {
		return d.unseen(ctx, q)
	}
	defer x.mu.Unlock()
	if q.Refused {
		return d.refused(ctx, q, x)
	}
	if x.asking && !d.accepted(ctx, q, x) {
		d.odd(ctx, q, "executed_unpermitted")
		return d.withheld(ctx, q, unseenHint), nil
	}
	return d.outcome(ctx, q, x)
}

// accepted takes an executed call as its user's yes, and brings the action to where its outcome can be
// recorded.
func (d *door) accepted(ctx context.Context, q *request, x *call) bool {
	if err := d.cfg.Answer(ctx, x.ticket, true, &q.sub); err != nil {
		d.cfg.Log.Warn("an answer of the host's user could not be taken", "error", err.Error())
	}
	short, cancel := context.WithTimeout(ctx, glance)
	defer cancel()
	adm, err := d.cfg.Enforcer.Wait(short, &q.sub, x.action)
	x.asking = false
	x.admitted = err == nil && adm.Verdict == action.Allow
	return x.admitted
}

// refused ends a call that the host or its user did not let run.
func (d *door) refused(ctx context.Context, q *request, x *call) ([]byte, error) {
	d.calls.close(x, q)
	x.over = true
	if x.asking {
		x.asking = false
		return q.Pass(), d.cfg.Answer(ctx, x.ticket, false, &q.sub)
	}
	if !x.admitted {
		return q.Pass(), nil
	}
	_, err := d.cfg.Enforcer.After(ctx, &q.sub, x.action, enforce.Outcome{Status: action.ResultFailed, Kind: "error", Content: []byte(`"refused by the host"`)})
	return q.Pass(), err
}

func (d *door) outcome(ctx context.Context, q *request, x *call) ([]byte, error) {
	o := enforce.Outcome{Status: action.ResultDone, Kind: "result", Content: q.Response}
	if q.Failed {
		o.Status, o.Kind = action.ResultFailed, "error"
	}
	if len(o.Content) == 0 {
		o.Content, o.Opaque = []byte("null"), true
	}
	if x.admitted && !x.over && !d.calls.same(x, q) {
		d.odd(ctx, q, "executed_other_arguments")
	}
	rel, err := d.cfg.Enforcer.After(ctx, &q.sub, x.action, o)
	switch {
	case errors.Is(err, enforce.ErrState) || errors.Is(err, enforce.ErrConflict) || errors.Is(err, enforce.ErrNotFound):
		d.odd(ctx, q, "executed_unpermitted")
		return d.withheld(ctx, q, unseenHint), nil
	case err != nil:
		return nil, err
	}
	x.over = true
	d.calls.close(x, q)
	switch {
	case rel.Status != action.StatusReleased:
		return d.withheld(ctx, q, or(rel.Hint, "The result was withheld. Do not repeat the call.")), nil
	case rel.Rewritten:
		if !q.Replaces() {
			d.odd(ctx, q, "host_cannot_redact")
		}
		return q.Replace(rel.Content), nil
	}
	return q.Pass(), nil
}

func (d *door) withheld(ctx context.Context, q *request, hint string) []byte {
	if !q.Replaces() {
		d.odd(ctx, q, "host_cannot_withhold") // the agent has seen it: the record must not say otherwise
	}
	return q.Withhold(hint)
}

// unseen judges a call of which only the end is told: the owner was restarted, or the first hook is
// missing.
func (d *door) unseen(ctx context.Context, q *request) ([]byte, error) {
	if q.Refused {
		return q.Pass(), nil
	}
	d.odd(ctx, q, "outcome_unseen")
	adm, err := d.cfg.Enforcer.Before(ctx, q.attempt())
	switch {
	case errors.Is(err, enforce.ErrConflict):
		return d.withheld(ctx, q, unseenHint), nil
	case err != nil:
		return nil, err
	case adm.Verdict != action.Allow && adm.Status != action.StatusUnknown:
		return d.withheld(ctx, q, unseenHint), nil
	}
	x := &call{action: adm.ID, over: true}
	return d.outcome(ctx, q, x)
}

func or(hint, otherwise string) string {
	if hint != "" {
		return hint
	}
	return otherwise
}
