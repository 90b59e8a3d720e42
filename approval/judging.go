// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"

	"github.com/sallyport/sallyport/action"
)

// Opinion is what a second system says of a request.
type Opinion struct {
	By      string         // name of the judge
	Verdict action.Verdict // allow confirms, deny refuses, ask leaves it to people; anything else is ask
	Reason  string         // of a refusal, for people and for the agent
	Detail  []byte         // what was asked and answered, for the record
}

// The codes under which opinions are recorded, before the answer that follows from them.
const (
	codeConfirmed = "judge.confirmed"
	codeRefused   = "judge.refused"
	codeUnsure    = "judge.unsure"
)

// Opine records an opinion and answers as it says: a confirmation counts for the rules that name the
// channel judge, a refusal ends the request, no opinion leaves it to people. Who confirms has to be named
// in some rule, which enough checks; an opinion on what no machine may confirm is recorded and counts for
// nothing.
func (d *Desk) Opine(ctx context.Context, id string, o Opinion) error {
	code := map[action.Verdict]string{action.Allow: codeConfirmed, action.Deny: codeRefused}[o.Verdict]
	if code == "" {
		code = codeUnsure
	}
	if err := d.noteOpinion(ctx, id, code, &o); err != nil {
		return err
	}
	who := Actor{ID: "judge:" + o.By, Channel: action.RankJudge, Credential: o.By}
	var err error
	switch code {
	case codeConfirmed:
		_, err = d.Approve(ctx, id, who, "")
	case codeRefused:
		_, err = d.Deny(ctx, id, who, "A second system refused: "+o.Reason)
	}
	return err
}

func (d *Desk) noteOpinion(ctx context.Context, id, code string, o *Opinion) error {
	a, err := d.hold(ctx, id)
	if err != nil {
		return err
	}
	defer a.release()
	d.mu.Lock()
	open := a.State == Pending && d.now() < a.deadline()
	d.mu.Unlock()
	if !open {
		return ErrState
	}
	r, err := d.entry(a, &a.row, action.StatusAsked, code)
	if err != nil {
		return err
	}
	r.Actor, r.Channel = "judge:"+o.By, action.RankJudge
	r.Parts = []action.PayloadPart{{Name: action.PartExplanation, Owner: a.owner(), Data: o.Detail}}
	if err := d.append(ctx, r); err != nil {
		return err
	}
	if code == codeUnsure {
		d.mu.Lock()
		a.Reason = "a second system was not sure; a person has to say"
		d.wake(a)
		d.mu.Unlock()
	}
	return nil
}

// unjudgeable says why no automated system may confirm what q asks for, or "". A value that an untrusted
// source chose, or that cannot be traced, must not reach a place where it matters on a machine's word:
// whoever wrote the value may have written for the machine, too.
func unjudgeable(q *action.Query) string {
	if q.Phase == action.After {
		return "a result is released by people"
	}
	f := &q.Context.Flow
	if f.State != action.StateKnown {
		return "where its values come from is not known"
	}
	for _, v := range f.Arguments {
		if v.Sink != action.SinkNone && (v.Origin == action.OriginUntrusted || v.Selection == action.OriginUntrusted) {
			return "an untrusted source chose where it goes"
		}
	}
	return ""
}
