// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"fmt"

	"github.com/sallyport/sallyport/action"
)

// recordOpening makes the ask, and what people will see of it, durable. No stored row counts without.
func (d *Desk) recordOpening(ctx context.Context, a *ask) error {
	shown, err := action.Canonical(a.Shown)
	if err != nil {
		return err
	}
	r, err := d.entry(a, &a.row, action.StatusAsked, CodeOpened)
	if err != nil {
		return err
	}
	t := a.terms()
	t.Shown = nil // it stands in a part of its own
	detail, err := action.Canonical(t)
	if err != nil {
		return err
	}
	r.Parts = []action.PayloadPart{{Name: action.PartShown, Owner: a.owner(), Data: shown}, {Name: action.PartDetail, Owner: a.owner(), Data: detail}}
	return d.append(ctx, r)
}

// record makes an answer durable before it takes effect. next is the row with the answer in it; g is nil
// where nobody answered.
func (d *Desk) record(ctx context.Context, a *ask, next *row, status action.Status, code string, g *Given) error {
	r, err := d.entry(a, next, status, code)
	if err != nil {
		return err
	}
	if g != nil {
		r.Actor, r.Channel, r.Separation = g.Approver, g.Channel, separation(&a.row, g)
		detail, err := action.Canonical(g)
		if err != nil {
			return err
		}
		r.Parts = []action.PayloadPart{{Name: action.PartDetail, Owner: a.owner(), Data: detail}}
		if g.Edited != "" {
			r.Parts = append(r.Parts, action.PayloadPart{Name: action.PartArguments, Owner: a.owner(), Data: []byte(next.Edit)})
		}
	}
	return d.append(ctx, r)
}

// noteOwn records, once per ask, that the asking agent tried to approve itself.
func (d *Desk) noteOwn(ctx context.Context, a *ask, who Actor, now int64) {
	if a.ownTried || who.Agent != a.Agent {
		return
	}
	a.ownTried = true
	g := Given{Approver: action.Clip(who.ID, 256), Channel: who.Channel, UID: -1, TimeMs: now,
		Credential: action.Clip(who.Credential, 128), SameUID: action.TriUnknown}
	// The answer is refused whether or not this is recorded.
	_ = d.record(ctx, a, &a.row, action.StatusAsked, CodeOwn, &g)
}

// entry is the record of one step of a, without its parts. The caller holds a's turn.
func (d *Desk) entry(a *ask, next *row, status action.Status, code string) (*action.Record, error) {
	proof, err := next.proof()
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	now, round := d.now(), a.Round
	a.Round++
	d.mu.Unlock()
	f := a.Frame
	return &action.Record{
		Kind: action.KindApproval, Tenant: d.cfg.Tenant, TimeMs: now, Action: a.Action, Round: round,
		Session: a.Session, Agent: a.Agent, User: a.User, Door: f.Door, Server: f.Server, Tool: f.Tool,
		Effect: f.Effect, Phase: f.Phase, Enforced: true, Status: status, Rules: a.rules(), Codes: []string{code},
		Bundle: f.Bundle, Binding: a.Digest, Grant: a.ID, Channel: action.RankUnknown, Grade: f.Grade,
		Separation: f.Separation, Observed: f.Observed, Assurance: f.Assurance, Model: f.Model,
		Durability: action.DurabilityLocal, Subject: proof,
	}, nil
}

func (d *Desk) append(ctx context.Context, r *action.Record) error {
	if _, err := d.cfg.Record(ctx, r); err != nil {
		return fmt.Errorf("approval: recording %q: %w", r.Codes[0], err)
	}
	return nil
}

// separation is what kept the agent from giving the answer itself.
func separation(r *row, g *Given) action.Separation {
	switch {
	case g.Channel == action.RankPasskey:
		return action.SeparationPasskey
	case g.Channel == action.RankClient:
		return action.SeparationNone
	case r.Frame.Separation == action.SeparationConfined:
		return action.SeparationConfined
	case g.SameUID == action.Yes:
		return action.SeparationNone
	case g.SameUID == action.No:
		return action.SeparationUID
	}
	return action.SeparationUnknown
}

func (r *row) owner() string {
	if r.User != "" {
		return r.User
	}
	return r.Agent
}
