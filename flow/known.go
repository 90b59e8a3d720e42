// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/store"
)

// A destination that a person agreed to is known from then on: for the same agent and user, the same
// argument of the same definition of a tool, data no more secret, and no more money than he agreed to at
// once. It is forgotten after Config.KnownTTL, when somebody says so, and when the definition changes. What
// is kept are fingerprints; the intents in the ledger bring them back where the store is new. A place that
// strangers' text alone names is never kept, whoever agreed.

const (
	maxKnown   = 1024             // destinations of one agent and user
	knownFresh = 30 * time.Second // for so long another process's changes may be unknown here
)

// knownRow is what the store holds of one agent and user.
type knownRow struct {
	Until     map[string]int64 `json:"until"`        // unix ms of forgetting by fingerprint
	Most      map[string]int64 `json:"most"`         // minor units by fingerprint with currency
	Forgotten int64            `json:"forgotten_ms"` // what was agreed to until then does not count
}

// known is a row in memory.
type known struct {
	mu   sync.Mutex // guards below
	row  knownRow
	read int64 // unix ms; 0 is never
}

func (f *Flow) knownKey(tenant, agent, user string) string {
	return tenant + "/flow/known/" + f.cfg.Fingerprint("flow.known.agent", []byte(agent)) + "/" + f.cfg.Fingerprint("flow.known.user", []byte(agent), []byte(user))
}

// knownOf returns the row of q's agent and user; nil if nobody knows who acts.
func (f *Flow) knownOf(ctx context.Context, q *action.Query) (*known, error) {
	if q.Subject.ID == "" {
		return nil, nil
	}
	key := f.knownKey(q.Subject.Tenant, q.Subject.ID, q.Subject.User.ID)
	v, _ := f.agreed.LoadOrStore(key, &known{})
	k := v.(*known)
	k.mu.Lock()
	defer k.mu.Unlock()
	now := q.Context.Time.UnixMilli
	if k.read != 0 && now-k.read < knownFresh.Milliseconds() {
		return k, nil
	}
	var row knownRow
	if _, err := f.get(ctx, key, &row); err != nil {
		return nil, fmt.Errorf("flow: known destinations: %w", err)
	}
	k.row, k.read = row, max(now, 1)
	return k, nil
}

// knownPrint is the fingerprint of a destination in an argument, for data of a class.
func (f *Flow) knownPrint(q *action.Query, pointer string, class action.Secrecy, kind, canon string) string {
	kind, canon = compared(kind, canon)
	r := &q.Resource
	return f.cfg.Fingerprint("flow.known", []byte(q.Subject.Tenant), []byte(action.ToolKey(r.Server, r.Name)), []byte(r.Definition.Digest),
		[]byte(patternOf(pointer)), []byte(class), []byte(kind), []byte(canon))
}

// patternOf is a pointer with "*" in place of indices.
func patternOf(pointer string) string {
	steps := strings.Split(pointer, "/")
	for i, s := range steps {
		if s != "" && strings.Trim(s, "0123456789") == "" {
			steps[i] = "*"
		}
	}
	return strings.Join(steps, "/")
}

func inCurrency(print string, a *action.Amount) string {
	return print + " " + a.Currency + " " + strconv.Itoa(a.Exponent)
}

// isKnown says whether a person agreed to this destination before, for at least as much.
func (a *asking) isKnown(pointer, kind, canon string) action.Tri {
	k := a.s.known
	if k == nil || canon == "" {
		return action.TriUnknown
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.row.Until) == 0 {
		return action.No
	}
	for _, class := range classesFrom(a.session.Secrecy) {
		if k.row.covers(a.q, a.f.knownPrint(a.q, pointer, class, kind, canon)) {
			return action.Yes
		}
	}
	return action.No
}

// classesFrom are the classes of data that are no less secret than s. What is public and what is internal
// are one; an unknown class is none.
func classesFrom(s action.Secrecy) []action.Secrecy {
	all := []action.Secrecy{action.SecrecyInternal, action.SecrecyConfidential, action.SecrecySecret}
	if s == action.SecrecyPublic {
		return all
	}
	if i := slices.Index(all, s); i >= 0 {
		return all[i:]
	}
	return nil
}

// covers reports whether a destination was agreed to, for as much as q moves.
func (r *knownRow) covers(q *action.Query, print string) bool {
	if r.Until[print] <= q.Context.Time.UnixMilli {
		return false
	}
	for i := range q.Action.Amounts {
		m := &q.Action.Amounts[i]
		most, agreed := r.Most[inCurrency(print, m)]
		if !agreed || m.Overflow != action.No || m.Minor > most || m.Minor < 0 {
			return false
		}
	}
	return true
}

// remember keeps the destinations of an action that a person agreed to: not the agent's own client, not a
// second system, not somebody unproved.
func (f *Flow) remember(ctx context.Context, s *session, q *action.Query) error {
	ap := &q.Context.Approval
	if s.known == nil || !q.Action.Effect.SideEffect() || ap.Status != action.ApprovalGranted || !ap.Channel.AtLeast(action.RankOperator) {
		return nil
	}
	at := map[string]*action.Value{}
	for i := range q.Context.Flow.Arguments {
		v := &q.Context.Flow.Arguments[i]
		if v.Sink == action.SinkDestination && v.Grade != string(GradeText) && v.Grade != string(GradeTainted) {
			at[v.Pointer] = v
		}
	}
	prints, classes := map[string]bool{}, classesFrom(q.Context.Flow.Session.Secrecy)
	if len(classes) == 0 {
		return nil
	}
	leaves(q.Action.Arguments, maxLeaves, func(l leaf) {
		if v := at[l.pointer]; v != nil && v.Known != action.Yes {
			if kind, canon := classify(l); canon != "" {
				prints[f.knownPrint(q, l.pointer, classes[0], kind, canon)] = true
			}
		}
	})
	now := q.Context.Time.UnixMilli
	if len(prints) == 0 {
		return nil
	}
	return f.changeKnown(ctx, s.known, f.knownKey(q.Subject.Tenant, q.Subject.ID, q.Subject.User.ID), func(r *knownRow) bool {
		if now <= r.Forgotten {
			return false
		}
		changed := false
		for print := range prints {
			until := now + f.cfg.KnownTTL.Milliseconds()
			if r.Until[print] < until {
				r.Until[print], changed = until, true
			}
			for i := range q.Action.Amounts {
				m := &q.Action.Amounts[i]
				if at := inCurrency(print, m); m.Overflow == action.No && m.Minor > r.Most[at] {
					r.Most[at], changed = m.Minor, true
				}
			}
		}
		r.trim(now)
		return changed
	})
}

// trim drops what is forgotten, and what would be next where there is too much.
func (r *knownRow) trim(now int64) {
	for print, until := range r.Until {
		if until <= now {
			delete(r.Until, print)
		}
	}
	for len(r.Until) > maxKnown {
		delete(r.Until, soonest(r.Until))
	}
	for at := range r.Most {
		print, _, _ := strings.Cut(at, " ")
		if _, ok := r.Until[print]; !ok {
			delete(r.Most, at)
		}
	}
}

// changeKnown edits a row in the store and in memory; edit reports whether it changed something.
func (f *Flow) changeKnown(ctx context.Context, k *known, key string, edit func(*knownRow) bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for range 16 {
		e, err := f.cfg.Store.Get(ctx, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("flow: known destinations: %w", err)
		}
		var row knownRow
		if len(e.Value) > 0 {
			if err := action.Read(e.Value, &row, action.Limits{}); err != nil {
				return fmt.Errorf("flow: known destinations: %q: %w", key, err)
			}
		}
		if row.Until == nil {
			row.Until = map[string]int64{}
		}
		if row.Most == nil {
			row.Most = map[string]int64{}
		}
		if !edit(&row) {
			k.row = row
			return nil
		}
		b, err := action.Canonical(row)
		if err != nil {
			return err
		}
		if _, err = f.cfg.Store.Put(ctx, key, b, e.Revision); err == nil {
			k.row = row
			return nil
		} else if !errors.Is(err, store.ErrConflict) {
			return fmt.Errorf("flow: known destinations: %w", err)
		}
	}
	return errors.New("flow: known destinations: one agent's changed too often")
}

// Unlearn forgets what people agreed to for an agent until nowMs: for one user, or for all with everyone. It
// returns the keys of what was forgotten, which UnlearnKey takes again where the store was lost; they are
// keyed digests.
func (f *Flow) Unlearn(ctx context.Context, tenant, agent, user string, everyone bool, nowMs int64) ([]string, error) {
	keys := []string{f.knownKey(tenant, agent, user)}
	if everyone {
		prefix := strings.TrimSuffix(keys[0], keys[0][strings.LastIndexByte(keys[0], '/')+1:])
		keys = nil
		for after := ""; ; {
			list, err := f.cfg.Store.List(ctx, prefix, after, 0)
			if err != nil {
				return nil, fmt.Errorf("flow: known destinations: %w", err)
			}
			if len(list) == 0 {
				break
			}
			for _, e := range list {
				keys, after = append(keys, e.Key), e.Key
			}
		}
	}
	var out []string
	for _, key := range keys {
		if err := f.UnlearnKey(ctx, key, nowMs); err != nil {
			return out, err
		}
		out = append(out, key)
	}
	return out, nil
}

// UnlearnKey forgets one row until nowMs. It is idempotent.
func (f *Flow) UnlearnKey(ctx context.Context, key string, nowMs int64) error {
	if !strings.Contains(key, "/flow/known/") {
		return fmt.Errorf("flow: known destinations: %q is no key of theirs", key)
	}
	v, _ := f.agreed.LoadOrStore(key, &known{})
	return f.changeKnown(ctx, v.(*known), key, func(r *knownRow) bool {
		if nowMs <= r.Forgotten {
			return false
		}
		for print, until := range r.Until {
			if until-f.cfg.KnownTTL.Milliseconds() <= nowMs {
				delete(r.Until, print)
			}
		}
		r.Forgotten = nowMs
		r.trim(nowMs)
		return true
	})
}
