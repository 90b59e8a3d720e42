// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/action"
)

// A stain marks a value that an action wrote somewhere although strangers' text alone named it. Wherever it
// comes back, as a contact, as a payee, in a later session or after a restart, it is still theirs: only the
// user's own words clear it. Stains belong to a tenant. What is kept is the fingerprint of one whole typed
// value, and when it is forgotten.

// What a text names that the user pointed at is no better for having been written within the session, and
// free in a later one: he asked for it. maxWritten bounds such values of a session.
const maxWritten = 4096

// The stains of a tenant lie in rows by the first letter of the fingerprint, each bounded: beyond it the
// stain that would be forgotten first makes room.
const (
	maxStains   = 1024
	stainsFresh = 30 * time.Second // for so long another process's stains may be unknown here
)

// stainRow is one row in the store: unix ms of forgetting by fingerprint.
type stainRow struct {
	Until map[string]int64 `json:"until"`
}

// stains are those of one tenant.
type stains struct {
	mu    sync.Mutex
	until map[string]int64
	read  int64 // unix ms
}

// stainsOf returns the tenant's stains, as the store holds them.
func (f *Flow) stainsOf(ctx context.Context, q *action.Query) (*stains, error) {
	v, _ := f.stained.LoadOrStore(q.Subject.Tenant, &stains{})
	t := v.(*stains)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := q.Context.Time.UnixMilli
	if t.until != nil && now-t.read < stainsFresh.Milliseconds() {
		return t, nil
	}
	rows, err := f.cfg.Store.List(ctx, stainPrefix(q.Subject.Tenant), "", 0)
	if err != nil {
		return nil, fmt.Errorf("flow: stains: %w", err)
	}
	until := map[string]int64{}
	for _, e := range rows {
		var r stainRow
		if err := action.Read(e.Value, &r, action.Limits{}); err != nil {
			return nil, fmt.Errorf("flow: stains: %q: %w", e.Key, err)
		}
		for k, ms := range r.Until {
			if ms > now {
				until[k] = ms
			}
		}
	}
	t.until, t.read = until, now
	return t, nil
}

func stainPrefix(tenant string) string { return tenant + "/flow/stain/" }

func (t *stains) has(print string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.until[print]
	return ok
}

func (t *stains) empty() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.until) == 0
}

// stainable reports whether a value of a kind points somewhere by itself, wherever it stands.
func stainable(kind, canon string) bool {
	switch kind {
	case "email", "url", "host", "iban", "phone", "id":
		return canon != ""
	case "number":
		return len(canon) >= 8 && !strings.Contains(canon, ".")
	}
	return false
}

// stainPrint is the fingerprint of a value in the form in which values are compared.
func (f *Flow) stainPrint(tenant, kind, canon string) string {
	kind, canon = compared(kind, canon)
	return f.cfg.Fingerprint("flow.stain", []byte(tenant), []byte(kind), []byte(canon))
}

// isStained reports whether a value was laundered. The user's words are looked at before.
func (a *asking) isStained(kind, canon string) bool {
	t := a.s.stains
	return t != nil && stainable(kind, canon) && !t.empty() && t.has(a.f.stainPrint(a.q.Subject.Tenant, kind, canon))
}

// stain marks what q is about to write and strangers alone named. What a person has approved is marked by
// nobody: he saw it.
func (f *Flow) stain(ctx context.Context, s *session, q *action.Query) error {
	if !q.Action.Effect.SideEffect() || q.Context.Approval.Status == action.ApprovalGranted {
		return nil
	}
	grades := gradesOf(q)
	s.keepWritten(f, q)
	var err error
	leaves(q.Action.Arguments, maxLeaves, func(l leaf) {
		kind, canon := classify(l)
		g := grades[l.pointer]
		if err != nil || !stainable(kind, canon) {
			return
		}
		if g != GradeText && g != GradeTainted {
			return
		}
		if print := f.stainPrint(q.Subject.Tenant, kind, canon); !s.stains.has(print) {
			err = f.putStain(ctx, s.stains, q, print)
		}
	})
	return err
}

func gradesOf(q *action.Query) map[string]Grade {
	grades := map[string]Grade{}
	for i := range q.Context.Flow.Arguments {
		v := &q.Context.Flow.Arguments[i]
		grades[v.Pointer] = Grade(v.Grade)
	}
	return grades
}

// keepWritten notes what a text named that the user pointed at, where q writes it and nobody was asked.
func (s *session) keepWritten(f *Flow, q *action.Query) {
	if !q.Action.Effect.SideEffect() || q.Context.Approval.Status == action.ApprovalGranted {
		return
	}
	grades := gradesOf(q)
	leaves(q.Action.Arguments, maxLeaves, func(l leaf) {
		kind, canon := classify(l)
		if g := grades[l.pointer]; (g == GradeNamed || g == GradeChain) && stainable(kind, canon) && len(s.written) < maxWritten {
			s.written[f.key(kind, canon)] = g
		}
	})
}

func (f *Flow) putStain(ctx context.Context, t *stains, q *action.Query, print string) error {
	now := q.Context.Time.UnixMilli
	until := now + f.cfg.StainTTL.Milliseconds()
	err := f.change(ctx, stainPrefix(q.Subject.Tenant)+print[:1], func(old []byte) ([]byte, error) {
		r := stainRow{}
		if old != nil {
			if err := action.Read(old, &r, action.Limits{}); err != nil {
				return nil, fmt.Errorf("flow: stains: %w", err)
			}
		}
		kept := map[string]int64{print: until}
		for k, ms := range r.Until {
			if ms > now && k != print {
				kept[k] = ms
			}
		}
		for len(kept) > maxStains {
			delete(kept, soonest(kept))
		}
		return action.Canonical(stainRow{Until: kept})
	})
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.until[print] = until
	return nil
}

// soonest returns the stain that is forgotten first.
func soonest(of map[string]int64) string {
	best := ""
	for k, ms := range of {
		if best == "" || ms < of[best] || ms == of[best] && k < best {
			best = k
		}
	}
	return best
}
