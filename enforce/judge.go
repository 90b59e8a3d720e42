// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/sallyport/sallyport/action"
)

// judgement is one passage through kernel and policy.
type judgement struct {
	raw        *action.Query // as informed
	query      *action.Query // as decided and recorded: found secrets replaced
	input      []byte        // its canonical form, which is what the record holds
	decision   action.Decision
	observed   bool   // observe mode lets it pass although the verdict says otherwise
	rewritten  []byte // not nil: obligations changed the bytes, which must be judged once more
	durability action.Durability
}

// goesOn reports whether nothing stands against the action.
func (j *judgement) goesOn() bool { return j.observed || j.decision.Verdict == action.Allow }

// verdict is the verdict that binds.
func (j *judgement) verdict() action.Verdict {
	if j.observed {
		return action.Allow
	}
	return action.Allow.Meet(j.decision.Verdict) // anything unlisted reads as deny
}

// judge lets the kernel and the policy decide on q, and works out what obligations make of its bytes.
func (e *Enforcer) judge(ctx context.Context, x *entry, q *action.Query, faults []fault) judgement {
	j := judgement{raw: q, durability: action.DurabilityLocal}
	if f, ok := e.state(ctx, q); !ok {
		faults = append(faults, f)
	}
	scrubbed, err := e.scrub(q)
	if err == nil {
		j.input, err = encode(scrubbed)
	}
	if err != nil {
		faults = append(faults, fault{"kernel.scrub", err.Error()})
		scrubbed = q.Blank()
		j.input, _ = encode(scrubbed)
	}
	j.query = scrubbed
	j.decision = e.decide(ctx, scrubbed)
	faults = append(faults, e.kernel(q, &j.decision)...)
	if j.durability, err = durabilityOf(q, j.decision.Obligations); err != nil {
		faults = append(faults, fault{"kernel.durability", err.Error()})
	}
	if len(faults) > 0 {
		return e.faulted(j, faults...)
	}
	j.observed = observes(&j.decision)
	if j.observed || j.decision.Verdict == action.Deny || j.decision.Verdict == action.Quarantine {
		return j
	}
	data := bytesOf(q)
	changed, err := e.rewrite(data, j.decision.Obligations, q.Context.Detect.Secrets)
	if err != nil {
		return e.faulted(j, fault{"kernel.rewrite", err.Error()})
	}
	if !bytes.Equal(changed, data) {
		j.rewritten = changed
	}
	return j
}

// judgeRewritten judges our own bytes once more, with rewriting off: what demands yet another change is
// denied. The obligations that were carried out stay in the decision, so that the record names them.
func (e *Enforcer) judgeRewritten(ctx context.Context, x *entry, q *action.Query, faults []fault, first judgement) judgement {
	j := e.judge(ctx, x, q, faults)
	if j.rewritten != nil {
		return e.faulted(j, fault{"kernel.rewrite", "the rewritten bytes would have to be rewritten again"})
	}
	for _, o := range first.decision.Obligations {
		if o.Type.Rewrites() {
			o.Done = true
			j.decision.Obligations = append(j.decision.Obligations, o)
		}
	}
	return j
}

// observes reports whether observe mode lets a verdict pass: never a quarantine, never a rule that
// always binds.
func observes(d *action.Decision) bool {
	if d.Mode != action.Observe || d.Verdict == action.Allow || d.Verdict == action.Quarantine {
		return false
	}
	return !slices.ContainsFunc(d.Deciding(), func(m action.Match) bool { return m.Always })
}

// bytesOf returns what the gate of q judges: the arguments before, the result after.
func bytesOf(q *action.Query) []byte {
	if q.Phase == action.After {
		return q.Context.Result.Content
	}
	return q.Action.Arguments
}

// decide asks the policy; an error, a panic or an unlisted verdict denies.
func (e *Enforcer) decide(ctx context.Context, q *action.Query) (d action.Decision) {
	defer func() {
		if p := recover(); p != nil {
			d = denial(d, fault{"kernel.decider", "the policy panicked"})
		}
	}()
	d, err := e.cfg.Decider.Decide(ctx, q)
	if err != nil {
		return denial(d, fault{"kernel.decider", fmt.Sprintf("the policy cannot decide: %v", err)})
	}
	return d
}

func (e *Enforcer) scrub(q *action.Query) (s *action.Query, err error) {
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, fmt.Errorf("replacing found secrets panicked")
		}
	}()
	s, err = e.cfg.Scrub(q)
	if err == nil && s == nil {
		err = fmt.Errorf("replacing found secrets gave nothing")
	}
	return s, err
}

// encode returns the canonical form of a query that can be read back: what cannot be replayed is not
// decided on.
func encode(q *action.Query) ([]byte, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	return action.Canonical(q)
}

// faulted returns j denied by the kernel; no mode softens that.
func (e *Enforcer) faulted(j judgement, faults ...fault) judgement {
	j.observed, j.rewritten = false, nil
	for _, f := range faults {
		j.decision = denial(j.decision, f)
	}
	return j
}

// label raises the labels of the result in q to what the policy obliges to; the reservers settle with q.
// Labels are never lowered.
func label(q *action.Query, obligations []action.Obligation) {
	l := &q.Context.Flow.Result
	for _, o := range obligations {
		if o.Type != action.ObligeLabel {
			continue
		}
		if o.Params["untrusted"] == string(action.Yes) {
			l.Untrusted = action.Yes
		}
		if s := action.Secrecy(o.Params["secrecy"]); s != "" {
			l.Secrecy = l.Secrecy.Worse(s)
		}
	}
}

// notify carries notify obligations out.
func (e *Enforcer) notify(q *action.Query, d *action.Decision) {
	for _, o := range d.Obligations {
		if o.Type == action.ObligeNotify && e.cfg.Notify != nil {
			e.cfg.Notify(q, o)
		}
	}
}

// durabilityOf returns the highest level that an obligation demands. Lazy holds only for a read whose
// destination is inside.
func durabilityOf(q *action.Query, obligations []action.Obligation) (action.Durability, error) {
	levels := action.DurabilityLocal.Values()
	level, lazy := slices.Index(levels, string(action.DurabilityLocal)), false
	for _, o := range obligations {
		if o.Type != action.ObligeDurability {
			continue
		}
		i := slices.Index(levels, o.Params["level"])
		if i < 0 {
			return action.DurabilityLocal, fmt.Errorf("rule %q demands an unknown durability %q", o.Rule, action.Clip(o.Params["level"], 32))
		}
		lazy = lazy || i == 0
		level = max(level, i)
	}
	if lazy && level == 1 && q.Action.Effect == action.EffectRead && q.Resource.Zone == action.ZoneInside {
		return action.DurabilityLazy, nil
	}
	return action.Durability(levels[level]), nil
}
