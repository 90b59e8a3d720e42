// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/sallyport/sallyport/action"
)

// Binding is what a grant holds for: SHA-256 over the argument bytes as they will be executed, the tool
// and its definition digest, the upstream's identity, the subject, user and session, the obligations and
// the ids of the asking rules. Anything else asked or executed is another question. The approver adds the
// digest of what was shown.
func Binding(q *action.Query, executed []byte, d *action.Decision) string {
	sum := sha256.Sum256(executed)
	rules := []string{}
	for _, m := range d.Deciding() {
		rules = append(rules, m.ID)
	}
	slices.Sort(rules)
	b, err := action.Canonical(struct {
		Phase       action.Phase        `json:"phase"`
		Bytes       string              `json:"bytes"`
		Name        string              `json:"name"`
		Resource    string              `json:"resource"`
		Definition  string              `json:"definition"`
		Upstream    string              `json:"upstream"`
		Tenant      string              `json:"tenant"`
		Agent       string              `json:"agent"`
		Instance    string              `json:"instance"`
		User        string              `json:"user"`
		Session     string              `json:"session"`
		Obligations []action.Obligation `json:"obligations"`
		Rules       []string            `json:"rules"`
	}{q.Phase, hex.EncodeToString(sum[:]), q.Action.Name, q.Resource.Type + ":" + q.Resource.ID, q.Resource.Definition.Digest,
		q.Resource.Definition.Upstream, q.Subject.Tenant, q.Subject.ID, q.Subject.Instance, q.Subject.User.ID,
		q.Context.Session.ID, d.Obligations, slices.Compact(rules)})
	if err != nil {
		return "" // binds nothing: no grant can be found for it
	}
	sum = sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// ask puts x before the approver and notes the answer. x.mu is held, the session's lock is not. The ask
// stands in the log.
func (e *Enforcer) ask(ctx context.Context, x *entry) (Answer, error) {
	ans, err := e.askApprover(ctx, Request{
		Action: x.id, Query: x.judgement.query, Decision: x.decision, Bytes: x.bytes, Binding: x.binding,
		Expires: e.cfg.Now().Add(e.cfg.AskFor),
	})
	if err != nil {
		return ans, err
	}
	x.ticket, x.expires = ans.Ticket, ans.Expires
	if ans.Status == action.ApprovalPending {
		e.wait(x)
	}
	return ans, nil
}

func (e *Enforcer) askApprover(ctx context.Context, r Request) (ans Answer, err error) {
	defer func() {
		if recover() != nil {
			ans, err = Answer{}, errors.New("the approver panicked")
		}
	}()
	if r.Binding == "" {
		return Answer{}, errors.New("the action cannot be bound")
	}
	return e.cfg.Approver.Ask(ctx, r)
}

// refuse ends x with a deny by code.
func (e *Enforcer) refuse(ctx context.Context, x *entry, code, reason, hint string) (Admission, error) {
	sess, err := e.session(ctx, x.att.Subject.Tenant, x.att.Session)
	if err != nil {
		return Admission{}, err
	}
	sess.mu.Lock()
	defer sess.mu.Unlock()
	j := e.faulted(x.judgement, fault{code, reason})
	if hint != "" {
		j.decision.Matches[slices.IndexFunc(j.decision.Matches, func(m action.Match) bool { return m.ID == code })].Hint = hint
	}
	x.take(j)
	_, err = e.stop(ctx, x, sess)
	return x.admission(), err
}

func refusalHint(comment string) string {
	if comment == "" {
		return "A person refused this call."
	}
	return "A person refused this call: " + action.Clip(comment, 500)
}

// askRelease asks whether a held result may be released. A result that nobody can be asked about stays
// withheld; the ticket is empty then.
func (e *Enforcer) askRelease(ctx context.Context, x *entry, j judgement, o Outcome) string {
	x.hold = &Request{Action: x.id, Query: j.query, Decision: j.decision, Bytes: o.Content,
		Binding: Binding(j.raw, o.Content, &j.decision), Expires: e.cfg.Now().Add(e.cfg.HoldFor)}
	ans, err := e.askApprover(ctx, *x.hold)
	x.hold.Bytes = nil // the sealed payload keeps it
	if err != nil || ans.Status != action.ApprovalPending {
		return ""
	}
	return ans.Ticket
}

// Held returns the result of an action whose release a person has granted since; until then the held
// release, after a refusal or HoldFor a withheld one. A grant is used once.
func (e *Enforcer) Held(ctx context.Context, s *action.Subject, id string) (Release, error) {
	ctx = context.WithoutCancel(ctx)
	x, err := e.find(ctx, s, id)
	if err != nil {
		return Release{}, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.release == nil:
		return Release{}, fmt.Errorf("enforce: action %s is %s: %w", x.id, x.status, ErrState)
	case x.release.Status != action.StatusHeld:
		return e.stored(ctx, x)
	}
	if x.hold == nil {
		if err := e.rehold(ctx, x); err != nil {
			return *x.release, err
		}
	}
	ans, err := e.askApprover(ctx, *x.hold)
	switch {
	case err != nil || ans.Status == action.ApprovalPending:
		return *x.release, err
	case ans.Status != action.ApprovalGranted || !e.cfg.Now().Before(x.hold.Expires) || !strong(&x.hold.Decision, ans.Facts):
		x.release.Status, x.release.Ticket, x.hold = action.StatusWithheld, "", nil
		return *x.release, nil
	}
	if err := e.cfg.Approver.Consume(ctx, ans.Facts.ID, x.id); err != nil {
		return *x.release, fmt.Errorf("enforce: action %s: %w", x.id, err)
	}
	r := e.record(x, action.KindRelease)
	r.Phase, r.Status, r.Grant, r.Channel = action.After, action.StatusReleased, ans.Facts.ID, ans.Facts.Channel
	rec, err := e.append(ctx, r)
	if err != nil {
		return *x.release, err
	}
	if f, ok := e.standing(ctx, &x.att.Subject, x.att.Session); !ok {
		return x.withhold(*x.release, f), nil
	}
	x.release.Status, x.release.Verdict, x.release.Hint, x.release.Ticket = action.StatusReleased, action.Allow, "", ""
	x.release.Receipt, x.hold, x.after = opaque(rec), nil, nil
	return e.stored(ctx, x)
}

// WaitHeld is Held that waits, until ctx ends, for the answer of the person who has the result before him. What it
// returns when ctx ends is the release that is still held.
func (e *Enforcer) WaitHeld(ctx context.Context, s *action.Subject, id string) (Release, error) {
	for {
		x, err := e.find(ctx, s, id)
		if err != nil {
			return Release{}, err
		}
		x.mu.Lock()
		var changed <-chan struct{}
		if x.hold != nil {
			changed = e.cfg.Approver.Changed(x.hold.Binding) // before looking: what changes in between is not missed
		}
		x.mu.Unlock()
		rel, err := e.Held(ctx, s, id)
		if err != nil || rel.Status != action.StatusHeld {
			return rel, err
		}
		if changed == nil && x.holding() {
			continue // restored from the log just now
		}
		select {
		case <-ctx.Done():
			return rel, nil
		case <-changed:
		}
	}
}

// holding reports whether x's result has a question of its own.
func (x *entry) holding() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.hold != nil
}

// stored returns the release of x with its content out of the sealed payload.
func (e *Enforcer) stored(ctx context.Context, x *entry) (Release, error) {
	rel := *x.release
	if rel.Status != action.StatusReleased {
		return rel, nil
	}
	part := action.PartResult
	if rel.Rewritten {
		part = action.PartReleased
	}
	content, err := e.cfg.Payloads.Payload(ctx, x.outReceipt.Index, part)
	if err != nil {
		return Release{}, fmt.Errorf("enforce: action %s: stored result: %w", x.id, err)
	}
	rel.Content = content
	return rel, nil
}

// remember keeps rel for repeats, without its content.
func (x *entry) remember(rel Release) {
	rel.Content = nil
	x.release = &rel
}

// withhold turns rel into one that gives nothing away.
func (x *entry) withhold(rel Release, f fault) Release {
	rel.Verdict, rel.Status, rel.Content, rel.Ticket = action.Deny, action.StatusWithheld, nil, ""
	rel.Hint = kernelHints[f.code]
	if rel.Hint == "" {
		rel.Hint = withheldHint
	}
	return rel
}

const (
	withheldHint = "Executed; the result was withheld. Do not repeat the call."
	heldHint     = "Executed; the result is held until a person releases it. Do not repeat the call."
)

// releaseOf is the answer of gate two under j.
func (x *entry) releaseOf(j judgement, r *action.Record, content []byte, rec action.Receipt) Release {
	rel := Release{ID: x.id, Verdict: j.verdict(), Receipt: opaque(rec)}
	switch {
	case j.goesOn():
		rel.Status, rel.Content, rel.Rewritten = action.StatusReleased, content, r.Part(action.PartReleased) != nil
	case j.decision.Verdict == action.Ask:
		rel.Status, rel.Hint = action.StatusHeld, heldHint
	default:
		rel.Status, rel.Hint = action.StatusWithheld, withheldHint
		for _, m := range j.decision.Deciding() {
			if m.Hint != "" {
				rel.Hint = withheldHint + " " + m.Hint
				break
			}
		}
	}
	return rel
}
