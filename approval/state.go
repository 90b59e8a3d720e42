// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/store"
)

func (d *Desk) key(id string) string { return d.cfg.Tenant + "/approval/" + id }

// save stores a as state. The caller holds a's turn.
func (d *Desk) save(ctx context.Context, a *ask, state State) error {
	d.mu.Lock()
	r, rev := a.row, a.rev
	d.mu.Unlock()
	r.State = state
	b, err := action.Canonical(&r)
	if err != nil {
		return err
	}
	rev, err = d.cfg.Store.Put(ctx, d.key(a.ID), b, rev)
	if err != nil {
		return err
	}
	d.mu.Lock()
	a.rev, a.dirty = rev, false
	d.mu.Unlock()
	return nil
}

// keep stores a after an answer that the ledger already holds. If the store fails, memory stays right
// and Sweep tries again; a restart in between drops the row, because it disagrees with the ledger.
func (d *Desk) keep(ctx context.Context, a *ask) {
	if err := d.save(context.WithoutCancel(ctx), a, a.State); err != nil {
		d.mu.Lock()
		a.dirty = true
		d.mu.Unlock()
	}
}

// told is what the ledger says about one ask.
type told struct {
	last action.Record // the latest approval record
	code string        // of last
	used bool          // a record of another kind names the grant
}

// load reads the stored rows and keeps what the ledger proves.
func (d *Desk) load(ctx context.Context) error {
	rows, err := d.rows(ctx)
	if err != nil {
		return err
	}
	away, err := d.loadAbsences(ctx)
	if err != nil {
		return err
	}
	tell := map[string]*told{}
	for _, a := range rows {
		tell[a.ID] = &told{}
	}
	err = d.cfg.Past(ctx, func(r *action.Record) error {
		if r.Kind == action.KindApproval {
			d.high = max(d.high, r.TimeMs)
			d.hearAbsence(away, r)
		}
		if t := tell[r.Grant]; t != nil {
			t.hear(r)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, a := range rows {
		if !settle(a, tell[a.ID]) {
			if err := d.cfg.Store.Delete(ctx, d.key(a.ID), a.rev); err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			continue
		}
		d.adopt(a)
	}
	return nil
}

func (t *told) hear(r *action.Record) {
	if r.Kind != action.KindApproval {
		t.used = true
		return
	}
	t.last, t.code = *r, ""
	if len(r.Codes) > 0 {
		t.code = r.Codes[0]
	}
}

// rows reads all stored rows and deletes what cannot be read.
func (d *Desk) rows(ctx context.Context) (rows []*ask, err error) {
	for after := ""; ; {
		page, err := d.cfg.Store.List(ctx, d.key(""), after, 0)
		if err != nil || len(page) == 0 {
			return rows, err
		}
		for _, e := range page {
			after = e.Key
			a := &ask{rev: e.Revision, turn: make(chan struct{}, 1), changed: make(chan struct{}), ready: make(chan struct{})}
			close(a.ready)
			if action.Read(e.Value, &a.row, action.Limits{}) != nil || a.Format != 1 || d.key(a.ID) != e.Key {
				if err := d.cfg.Store.Delete(ctx, e.Key, e.Revision); err != nil && !errors.Is(err, store.ErrNotFound) {
					return nil, err
				}
				continue
			}
			rows = append(rows, a)
		}
	}
}

// settle brings a row in line with the ledger and reports whether it may stay. Rows that have ended give
// no authority and stay for the list; live ones must be proved to the last answer.
func settle(a *ask, t *told) bool {
	if !a.State.Live() {
		return slices.Contains([]State{Used, Refused, Revoked, Expired}, a.State)
	}
	bound, err := a.bound()
	if err != nil || a.Shown == nil || bound != a.Digest || bound != t.last.Binding {
		return false
	}
	if t.used || t.last.Status == action.StatusRefused {
		a.State = map[string]State{codeDenied: Refused, codeRevoked: Revoked}[t.code]
		if t.used {
			a.State = Used
		} else if a.State == "" {
			a.State = Expired
		}
		a.EndedMs, a.Reason, a.dirty, a.Shown = t.last.TimeMs, "restored", true, nil
		return true
	}
	proof, err := a.proof()
	if err != nil || proof != t.last.Subject {
		return false
	}
	granted := t.last.Status == action.StatusGranted
	if granted != (a.State == Granted) {
		return false
	}
	if granted {
		a.EndedMs = t.last.TimeMs // the row's own word does not count
	}
	return true
}

// adopt puts a loaded ask into memory.
func (d *Desk) adopt(a *ask) {
	a.actions = []string{a.Action}
	d.asks[a.ID] = a
	d.same[a.Binding] = append(d.same[a.Binding], a)
	if old := d.byBinding[a.Binding]; old == nil || !old.State.Live() && (a.State.Live() || a.OpenedMs > old.OpenedMs) {
		d.byBinding[a.Binding] = a
	}
	if a.State == Pending {
		d.pending[a.Session]++
	}
	if a.State.Live() {
		d.live[a.Agent]++
		d.open++
	}
	if a.State == Refused || a.State == Revoked {
		d.chill(a, a.EndedMs)
	}
	d.opened[a.Agent] = append(d.opened[a.Agent], a.OpenedMs)
}

// Filter chooses asks. Empty fields match everything.
type Filter struct {
	State   State
	Agent   string
	Session string
	After   string // id; the list goes on behind it
	Limit   int    // 0 means 200
}

// List returns asks in order of their ids. Of equal ones that wait it returns one, see View.Equal.
func (d *Desk) List(_ context.Context, f Filter) ([]View, error) {
	if f.Limit <= 0 {
		f.Limit = 200
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var ids []string
	for id, a := range d.asks {
		if a.stands() && (f.Session == "" || f.Session == a.lead.Session) {
			continue // its lead stands for it
		}
		if a.State != "" && id > f.After && (f.State == "" || f.State == a.State) &&
			(f.Agent == "" || f.Agent == a.Agent) && (f.Session == "" || f.Session == a.Session) {
			ids = append(ids, id)
		}
	}
	for id, s := range d.seeds {
		if id > f.After && (f.State == "" || f.State == s.row.State) && (f.Agent == "" || f.Agent == s.row.Agent) && (f.Session == "" || f.Session == s.row.Session) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	out := []View{}
	for _, id := range ids[:min(len(ids), f.Limit)] {
		if s := d.seeds[id]; s != nil {
			out = append(out, s.view())
			continue
		}
		out = append(out, d.shownTo(d.asks[id]))
	}
	return out, nil
}

// Show returns one ask.
func (d *Desk) Show(_ context.Context, id string) (View, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.seeds[id]; s != nil {
		return s.view(), nil
	}
	a := d.asks[id]
	if a == nil || a.State == "" {
		return View{}, ErrNotFound
	}
	return d.shownTo(a), nil
}

// shownTo is a view with what waits behind a. The caller holds mu.
func (d *Desk) shownTo(a *ask) View {
	v := a.view()
	v.Equal = d.waiting(a)
	return v
}

func (d *Desk) view(a *ask) View {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.shownTo(a)
}

// view is a as people see it. The caller holds mu. The slices are shared and never written again.
func (a *ask) view() View {
	v := View{ID: a.ID, Revision: a.rev, State: a.State, Agent: a.Agent, Session: a.Session, Action: a.Action,
		OpenedMs: a.OpenedMs, ExpiresMs: a.deadline(), Needs: a.Needs, Answers: slices.Clone(a.Answers),
		Reason: a.Reason, Equal: []string{}, Shown: a.Shown, Digest: a.Digest, Edit: a.Edit, Alike: a.Near, Requester: a.User}
	if a.Shown != nil {
		v.Title = a.Shown.Title
	}
	return v
}

// RevokeAll revokes every live ask that f matches, as a kill does, and returns how many. It goes on
// after an error and returns the first.
func (d *Desk) RevokeAll(ctx context.Context, f Filter, who Actor, comment string) (int, error) {
	d.mu.Lock()
	var ids []string
	for id, a := range d.asks {
		if a.State.Live() && (f.Agent == "" || f.Agent == a.Agent) && (f.Session == "" || f.Session == a.Session) {
			ids = append(ids, id)
		}
	}
	d.mu.Unlock()
	slices.Sort(ids)
	var firstErr error
	n := 0
	for _, id := range ids {
		_, err := d.Revoke(ctx, id, who, comment)
		switch {
		case err == nil:
			n++
		case !errors.Is(err, ErrState) && firstErr == nil:
			firstErr = err
		}
	}
	return n, firstErr
}

// Run expires asks and grants as their time comes, and forgets old ones, until ctx ends.
func (d *Desk) Run(ctx context.Context) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			d.Sweep(ctx)
		}
	}
}

// Sweep does once what Run does. What fails is tried again at the next call.
func (d *Desk) Sweep(ctx context.Context) {
	d.sweepSeeds(ctx)
	d.mu.Lock()
	now := d.now()
	var due, raised, behind, ended []*ask
	for _, a := range d.asks {
		switch {
		case a.State.Live() && now >= a.deadline():
			due = append(due, a)
		case a.State == Pending && !a.raised && slices.ContainsFunc(a.Needs, func(n Need) bool { return n.escalated(a.OpenedMs, now) }):
			raised = append(raised, a)
		case a.dirty:
			behind = append(behind, a)
		case a.State != "" && !a.State.Live():
			ended = append(ended, a)
		}
	}
	for k, c := range d.cool {
		if now >= c.until+d.cfg.Cooldown.Milliseconds() {
			delete(d.cool, k)
		}
	}
	for agent := range d.opened {
		d.mayOpen(agent, now)
	}
	slices.SortFunc(ended, func(a, b *ask) int { return int(min(max(b.EndedMs-a.EndedMs, -1), 1)) })
	d.mu.Unlock()
	for _, a := range due {
		_ = d.end(ctx, a, func() bool { return false })
	}
	for _, a := range raised {
		d.raise(ctx, a)
	}
	for _, a := range behind {
		if a.acquire(ctx) == nil {
			_ = d.save(ctx, a, a.State)
			a.release()
		}
	}
	for i, a := range ended {
		if i >= d.cfg.MaxKept || now-a.EndedMs > d.cfg.Keep.Milliseconds() {
			d.forget(ctx, a)
		}
	}
}

// raise records that the time has come from which another group counts, and wakes those who wait.
func (d *Desk) raise(ctx context.Context, a *ask) {
	if a.acquire(ctx) != nil {
		return
	}
	defer a.release()
	d.mu.Lock()
	stale := a.State != Pending || a.raised
	d.mu.Unlock()
	if stale || d.record(ctx, a, &a.row, action.StatusAsked, codeRaised, nil) != nil {
		return // tried again at the next turn
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	a.raised = true
	a.Reason = "nobody answered so far; others may answer now"
	d.wake(a)
}

// Seen notes that person opened a request, for how long he thinks about it.
func (d *Desk) Seen(id, person string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.seeds[id]; s != nil && s.ended == "" && person != "" && len(s.seen) < maxAnswers {
		if _, ok := s.seen[fold(person)]; !ok {
			s.seen[fold(person)] = d.now()
		}
		return
	}
	a := d.asks[id]
	if a == nil || a.State != Pending || person == "" || len(a.seen) >= maxAnswers {
		return
	}
	if a.seen == nil {
		a.seen = map[string]int64{}
	}
	if _, ok := a.seen[fold(person)]; !ok {
		a.seen[fold(person)] = d.now()
	}
}

// seenFor is how long person had the request before him, or -1. The caller holds a's turn, not mu.
func (d *Desk) seenFor(a *ask, person string, now int64) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at, ok := a.seen[fold(person)]; ok {
		return max(now-at, 0)
	}
	return -1
}

// forget removes an ask that has ended.
func (d *Desk) forget(ctx context.Context, a *ask) {
	key := d.key(a.ID)
	err := d.cfg.Store.Delete(ctx, key, a.rev)
	if errors.Is(err, store.ErrConflict) {
		if e, gerr := d.cfg.Store.Get(ctx, key); gerr == nil {
			err = d.cfg.Store.Delete(ctx, key, e.Revision)
		}
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.asks, a.ID)
	d.unbind(a)
}
