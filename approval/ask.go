// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// maxActions bounds the actions that are remembered as waiting for one ask, the opener included.
const maxActions = 64

// Ask opens a request for r.Binding or says what became of it. It returns enforce.ErrTooMany when the
// session has too many open requests, the agent opened too many of late, or the desk is full. A request
// that was denied of late, and calls that only vary it, are refused without asking anyone. It waits for
// the ledger and the store when it opens a request, and never for people.
func (d *Desk) Ask(ctx context.Context, r enforce.Request) (enforce.Answer, error) {
	if err := d.check(r); err != nil {
		return enforce.Answer{}, err
	}
	needs := needsOf(r.Decision)
	for range 4 {
		a, ours, ans, err := d.seek(r, needs)
		switch {
		case err != nil || ans.Status != "":
			return ans, err
		case ours:
			return d.openAsk(ctx, a, r, needs)
		}
		// Somebody else is opening it, or it has to end first.
		select {
		case <-a.ready:
		case <-ctx.Done():
			return enforce.Answer{}, ctx.Err()
		}
		if a.failed != nil {
			continue
		}
		if err := d.end(ctx, a, func() bool { return !sameNeeds(a.Needs, needs) }); err != nil {
			return enforce.Answer{}, err
		}
	}
	return enforce.Answer{}, errors.New("approval: the request keeps changing")
}

func (d *Desk) check(r enforce.Request) error {
	switch {
	case r.Query == nil || r.Binding == "" || r.Action == "":
		return errors.New("approval: a request needs an action, a query and a binding")
	case r.Query.Subject.Tenant != d.cfg.Tenant:
		return fmt.Errorf("approval: tenant %q is not %q", action.Clip(r.Query.Subject.Tenant, 64), d.cfg.Tenant)
	case r.Decision.Verdict != action.Ask:
		return fmt.Errorf("approval: verdict %q asks nobody", r.Decision.Verdict)
	}
	return nil
}

// seek finds the answer for r, or reserves a new ask that is ours to open, or returns the ask that has to
// be waited for or ended first.
func (d *Desk) seek(r enforce.Request, needs []Need) (a *ask, ours bool, ans enforce.Answer, err error) {
	l := like(r, needs)
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	lead := d.leadOf(l, now)
	if a = d.asked(r); a != nil {
		select {
		case <-a.ready:
		default:
			return a, false, ans, nil
		}
		if a.State.Live() && (!sameNeeds(a.Needs, needs) || now >= a.deadline()) {
			return a, false, ans, nil
		}
		if known := slices.Contains(a.actions, r.Action); a.State.Live() && (known || !d.room(a, lead, r)) ||
			known && a.Reason != codeReplaced && (a.State != Used || a.UsedBy == r.Action) {
			a.join(r.Action)
			return a, false, a.answer(), nil
		}
	}
	near, sinks := fingerprints(r)
	if c, ok := d.cooled(near, sinks, now); ok {
		return nil, false, enforce.Answer{Status: action.ApprovalRefused, Ticket: c.ask, Comment: c.comment, Machine: c.machine}, nil
	}
	if len(r.Bytes) == 0 {
		return nil, false, enforce.Answer{Status: action.ApprovalRefused, Comment: "there is nothing left that could be shown"}, nil
	}
	sess, agent := r.Query.Context.Session.ID, r.Query.Subject.ID
	if d.live[agent] >= d.cfg.MaxAgent || d.open >= d.cfg.MaxOpen || lead == nil && (d.pending[sess] >= d.cfg.MaxPending || !d.mayOpen(agent, now)) {
		return nil, false, ans, enforce.ErrTooMany
	}
	id, err := d.newID()
	if err != nil {
		return nil, false, ans, err
	}
	a = &ask{turn: make(chan struct{}, 1), changed: make(chan struct{}), ready: make(chan struct{}), like: l}
	a.row = row{ID: id, Action: r.Action, Session: sess, Agent: agent, Binding: r.Binding, Near: near, Sinks: sinks,
		Round: d.nextRound(r.Action, now)}
	a.turn <- struct{}{} // free until now; openAsk gives it back
	a.actions = []string{r.Action}
	d.asks[id] = a
	d.bind(a, lead, r)
	d.live[agent]++
	d.open++
	if !a.light {
		d.pending[sess]++
		d.opened[agent] = append(d.opened[agent], now)
	}
	return a, true, ans, nil
}

// asked returns the ask that r's action has of its own, or the latest of its binding. The caller holds mu.
func (d *Desk) asked(r enforce.Request) *ask {
	if a := d.byTwin[twin(r.Binding, r.Action)]; a != nil {
		return a
	}
	return d.byBinding[r.Binding]
}

// room reports whether an action that comes to the open ask a of its binding can have one of its own behind
// lead, so that an answer to all gives it a grant of its own. The caller holds mu.
func (d *Desk) room(a, lead *ask, r enforce.Request) bool {
	return a.State == Pending && lead != nil && d.live[a.Agent] < d.cfg.MaxAgent && d.open < d.cfg.MaxOpen && len(r.Bytes) > 0
}

// bind enters a new ask: behind lead, or as one of its own. The caller holds mu.
func (d *Desk) bind(a, lead *ask, r enforce.Request) {
	d.same[a.Binding] = append(d.same[a.Binding], a)
	if old := d.byBinding[a.Binding]; lead != nil && old != nil && old.State == Pending {
		d.byTwin[twin(a.Binding, r.Action)] = a
	} else {
		d.byBinding[a.Binding] = a
		delete(d.byTwin, twin(a.Binding, r.Action))
	}
	if a.light = lead != nil; a.light {
		a.lead = lead
		lead.equal = append(lead.equal, a)
	} else if a.like.key != "" && d.leads[a.like.key] == nil {
		d.leads[a.like.key] = a
	}
}

// unbind is the opposite of bind. The caller holds mu.
func (d *Desk) unbind(a *ask) {
	d.leave(a)
	if d.same[a.Binding] = slices.DeleteFunc(d.same[a.Binding], func(b *ask) bool { return b == a }); len(d.same[a.Binding]) == 0 {
		delete(d.same, a.Binding)
	}
	if d.byBinding[a.Binding] == a {
		delete(d.byBinding, a.Binding)
	}
	if k := twin(a.Binding, a.Action); d.byTwin[k] == a {
		delete(d.byTwin, k)
	}
}

// openAsk records and stores a reserved ask. Whatever fails, nobody sees it.
func (d *Desk) openAsk(ctx context.Context, a *ask, r enforce.Request, needs []Need) (enforce.Answer, error) {
	err := d.fill(a, r, needs)
	if err == nil {
		err = d.recordOpening(ctx, a)
	}
	if err == nil {
		err = d.save(ctx, a, Pending)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	defer close(a.ready)
	defer a.release()
	if err != nil {
		a.failed = err
		a.State = Expired
		delete(d.asks, a.ID)
		d.unbind(a)
		d.leavePending(a)
		d.leaveLive(a)
		if errors.Is(err, errUnshowable) {
			return enforce.Answer{Status: action.ApprovalRefused, Comment: err.Error()}, nil
		}
		return enforce.Answer{}, fmt.Errorf("approval: opening a request: %w", err)
	}
	a.State = Pending
	close(d.anyOpen)
	d.anyOpen = make(chan struct{})
	if named := slices.ContainsFunc(a.Needs, func(n Need) bool { return n.Channel == action.RankJudge }); named && a.Judge == "" && d.cfg.Opened != nil {
		d.cfg.Opened(a.ID, r, time.UnixMilli(a.ExpiresMs))
	}
	return a.answer(), nil
}

// fill completes the row. Until ready is closed the opener alone writes it.
func (d *Desk) fill(a *ask, r enforce.Request, needs []Need) error {
	q := r.Query
	d.mu.Lock()
	now := d.now()
	d.mu.Unlock()
	expires := now + d.ttl(r).Milliseconds()
	if !r.Expires.IsZero() {
		expires = min(expires, r.Expires.UnixMilli())
	}
	a.Format, a.User, a.UID, a.Needs = 1, q.Subject.User.ID, q.Subject.Channel.UID, needs
	a.Judge = unjudgeable(q)
	a.OpenedMs, a.ExpiresMs, a.GrantMs = now, expires, d.cfg.GrantTTL.Milliseconds()
	a.Frame = frame{
		Door: q.Subject.Channel.Door, Server: q.Resource.Server, Tool: q.Resource.Name, Effect: q.Action.Effect,
		Phase: q.Phase, Bundle: r.Decision.Bundle, Grade: q.Context.Enforcement.Grade,
		Separation: q.Context.Enforcement.Separation, Observed: q.Context.Enforcement.Observed,
		Assurance: q.Subject.Attested.Assurance, Model: q.Subject.Attested.Model,
	}
	nonce := make([]byte, 32)
	if _, err := io.ReadFull(d.cfg.Rand, nonce); err != nil {
		return fmt.Errorf("reading randomness: %w", err)
	}
	var err error
	if a.Shown, err = show(&a.row, r, nonce); err != nil {
		return err
	}
	a.Digest, err = a.bound()
	return err
}

// ttl is the shortest time that an asking rule leaves people. Nobody waits for a held result, so its
// release may be asked for as long as it is held.
func (d *Desk) ttl(r enforce.Request) time.Duration {
	def := d.cfg.TTL
	if r.Query.Phase == action.After {
		def = d.cfg.MaxTTL
	}
	ttl, rules := d.cfg.MaxTTL, asking(r.Decision)
	for _, m := range rules {
		if m.Approver.TTL > 0 {
			ttl = min(ttl, time.Duration(min(m.Approver.TTL, 1<<30))*time.Second)
			continue
		}
		ttl = min(ttl, def)
	}
	if len(rules) == 0 {
		ttl = min(ttl, def)
	}
	return ttl
}

// Changed returns a channel that is closed when the answer for binding may have changed.
func (d *Desk) Changed(binding string) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.same[binding] {
		if a.State.Live() || a.State == "" {
			return a.changed
		}
	}
	return d.anyOpen
}

// answer is what enforce hears about a. The caller holds mu.
func (a *ask) answer() enforce.Answer {
	ans := enforce.Answer{Ticket: a.ID, Expires: time.UnixMilli(a.deadline())}
	switch a.State {
	case Pending:
		ans.Status, ans.Comment = action.ApprovalPending, a.Reason
	case Granted:
		use, ok := enough(a.Needs, a.Answers, a.OpenedMs)
		if !ok || use[0].Edited != "" && use[0].Edited != a.salted([]byte(a.Edit)) {
			ans.Status = action.ApprovalRefused
			return ans
		}
		ans.Status, ans.Facts = action.ApprovalGranted, a.facts(use)
		if use[0].Edited != "" {
			ans.Bytes = []byte(a.Edit)
		}
	case Refused, Revoked:
		ans.Status, ans.Comment = action.ApprovalRefused, a.Comment
		ans.Machine = a.byMachine()
	default:
		ans.Status = action.ApprovalExpired
	}
	return ans
}

// byMachine reports whether the last answer is a second system's.
func (a *ask) byMachine() bool {
	return len(a.Answers) > 0 && a.Answers[len(a.Answers)-1].Channel == action.RankJudge
}

// facts are the facts with which the decision is taken again.
func (a *ask) facts(use []Given) action.Approval {
	f := action.Approval{
		Status: action.ApprovalGranted, ID: a.ID, Channel: use[0].Channel, Rules: a.rules(),
		ExpiresMs: a.deadline(), Edited: action.TriOf(use[0].Edited != ""), SameUID: sameUID(use), Digest: a.Digest,
	}
	for _, g := range use {
		f.Approvers = append(f.Approvers, g.Approver)
	}
	slices.Sort(f.Approvers)
	f.Approvers = slices.Compact(f.Approvers)
	return f
}

func sameUID(use []Given) action.Tri {
	out := action.No
	for _, g := range use {
		switch g.SameUID {
		case action.Yes:
			return action.Yes
		case action.No:
		default:
			out = action.TriUnknown
		}
	}
	return out
}

// join remembers that id waits for a. The opener keeps the first place.
func (a *ask) join(id string) {
	if slices.Contains(a.actions, id) {
		return
	}
	if len(a.actions) >= maxActions {
		a.actions = slices.Delete(a.actions, 1, 2)
	}
	a.actions = append(a.actions, id)
}

func asking(dec action.Decision) []action.Match {
	var out []action.Match
	for _, m := range dec.Matches {
		if m.Verdict == action.Ask {
			out = append(out, m)
		}
	}
	return out
}

// needsOf returns what the asking rules demand, sorted. An ask without rules needs one operator; a
// channel that is not on the list can be satisfied by nobody.
func needsOf(dec action.Decision) []Need {
	out := []Need{}
	for _, m := range asking(dec) {
		n := Need{Rule: m.ID, Channel: m.Approver.Need(), Quorum: max(m.Approver.Quorum, 1), Group: m.Approver.Group,
			Apart: m.Approver.Apart, AfterS: max(m.Approver.EscalateAfter, 0), To: m.Approver.EscalateTo,
			ACR: m.Approver.ACR, AMR: m.Approver.AMR, MaxAgeS: max(m.Approver.MaxAge, 0)}
		if !slices.Contains(n.Channel.Values(), string(n.Channel)) {
			n.Channel = action.RankUnknown
		}
		out = append(out, n)
	}
	if len(out) == 0 {
		out = append(out, Need{Channel: action.RankOperator, Quorum: 1})
	}
	slices.SortFunc(out, func(a, b Need) int {
		key := func(n *Need) string {
			return fmt.Sprintf("%s\x00%s\x00%s\x00%09d\x00%t\x00%09d\x00%s\x00%s\x00%s\x00%d", n.Rule, n.Channel, n.Group, n.Quorum, n.Apart, n.AfterS, n.To,
				n.ACR, n.AMR, n.MaxAgeS)
		}
		return strings.Compare(key(&a), key(&b))
	})
	return slices.Compact(out)
}

func sameNeeds(a, b []Need) bool { return slices.Equal(a, b) }

// newID returns an id that is short enough to type; it is a name, not a secret.
func (d *Desk) newID() (string, error) {
	b := make([]byte, 10)
	if _, err := io.ReadFull(d.cfg.Rand, b); err != nil {
		return "", fmt.Errorf("approval: reading randomness: %w", err)
	}
	id := "ap_" + encode32(b)
	if d.asks[id] != nil || d.seeds[id] != nil {
		return "", errors.New("approval: randomness repeats")
	}
	return id, nil
}

func encode32(b []byte) string { return strings.ToLower(base32.StdEncoding.EncodeToString(b)) }

// nextRound keeps (action, round, kind) unique where one action leads to several asks, also if the rows
// of the earlier ones were lost: the rounds of an ask start at the time of its opening, in ms.
func (d *Desk) nextRound(actionID string, now int64) int {
	round := int(now)
	for _, a := range d.asks {
		if a.Action == actionID {
			round = max(round, a.Round+1000)
		}
	}
	return round
}
