// SPDX-License-Identifier: Apache-2.0

// Package flow states what a session has touched and where the values of an action came from. It never
// refuses: what may flow where is policy.
//
// # Labels
//
// A session carries the worst labels of everything it has read: whether strangers may have written it,
// and how secret it is. An action books the worst that its result may bring when its intent is reserved,
// so that a send beside it already sees them; its outcome replaces the booking by what really came back.
// Labels only rise while a session lives, are written to the store before they can matter, and come over
// into the next session of the same agent instance and user until they expire. A past that was lost makes
// the labels unknown, which policy must treat as the worst.
//
// # Values
//
// Each argument value gets the best of its relations to the user's request, told by somebody whom the model
// cannot reach: it stands there, or in a record that the request leads to (see Grade). Trust is raised only
// by equality of a whole typed value. Finding a value, or a part of it, in what strangers may have written
// only adds an origin. The request, the records and the index of untrusted values are held as fingerprints
// under a key of this process, the request's words beside them; they are bounded. After a restart they are
// made again from what is on record (Config.Recall). index_truncated says when the index is not complete.
package flow

import (
	"bytes"
	"container/list"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/store"
)

// Config configures a Flow.
type Config struct {
	Store store.Store // required: labels survive in it
	// Fingerprint is a keyed digest of parts under a label; required. It makes the store's keys.
	Fingerprint func(label string, parts ...[]byte) string
	// Declared returns the labels that results of a tool carry at worst. A nil func or an empty word means
	// untrusted and internal.
	Declared func(server, tool string) action.Labels
	// TTL is how long labels come over into new sessions after they last mattered; 0 means 8 h.
	TTL time.Duration
	// StainTTL is how long a value that strangers named stays theirs once an action has written it
	// somewhere; 0 means 30 days.
	StainTTL time.Duration
	// KnownTTL is how long a destination stays known that a person agreed to; 0 means 30 days.
	KnownTTL    time.Duration
	MaxSessions int // held in memory; 0 means 4,096
	MaxSources  int // per session; 0 means 64
	MaxIndex    int // hashes of untrusted values per session; 0 means 65,536
	MaxRequest  int // bytes of the user's words per session; 0 means 64 KiB
	MaxFields   int // fields of records per session; 0 means 32,768

	// Tool states what is known of the tool that q calls; nil means nothing.
	Tool func(q *action.Query) Tool
	// Recall calls fn with what happened in a session, in its order, as it is on record: the user's words that
	// a host asserted, and each action with a result. It returns ErrIncomplete if some of it is gone for good,
	// any other error if it should be tried again. Nil means that nothing is read again after a restart.
	Recall func(ctx context.Context, tenant, session string, fn func(Recalled) error) error
}

// Flow is the Reserver that states action.Flow. Its methods are safe for concurrent use.
type Flow struct {
	rows [64]sync.Mutex // each serialises the changes of some rows; the last lock to be taken, held across the store's I/O
	cfg  Config
	seed maphash.Seed
	own  tenantRecords
	// stained holds *stains by tenant.
	stained sync.Map
	// agreed holds *known by key in the store.
	agreed sync.Map
	// searched remembers what recent arguments were found to name.
	searched [64]atomic.Pointer[searched]

	mu       sync.Mutex // guards below; never held across I/O
	sessions map[string]*list.Element
	order    *list.List // of *session; front is the most recently used
}

var _ enforce.Reserver = (*Flow)(nil)

// New checks c and returns a Flow. It reads nothing yet.
func New(c Config) (*Flow, error) {
	if c.Store == nil || c.Fingerprint == nil {
		return nil, errors.New("flow: config fields Store and Fingerprint are required")
	}
	defaultTo(&c.TTL, 8*time.Hour)
	defaultTo(&c.StainTTL, 30*24*time.Hour)
	defaultTo(&c.KnownTTL, 30*24*time.Hour)
	defaultTo(&c.MaxSessions, 4096)
	defaultTo(&c.MaxSources, 64)
	defaultTo(&c.MaxIndex, 1<<16)
	defaultTo(&c.MaxRequest, 64<<10)
	defaultTo(&c.MaxFields, 1<<15)
	return &Flow{cfg: c, seed: maphash.MakeSeed(), own: tenantRecords{byName: map[string]map[string]*shelf{}}, sessions: map[string]*list.Element{}, order: list.New()}, nil
}

func defaultTo[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Inform states the labels of the session, open actions included, and the origin of every argument. At
// gate two it first puts what came back on the session, so that nothing can be released before its
// labels are durable. A query without a session stays unknown.
func (f *Flow) Inform(ctx context.Context, q *action.Query) (action.Part, error) {
	if q.Context.Session.ID == "" {
		return action.UnknownFlow(), nil
	}
	s, err := f.acquire(ctx, q)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	f.recall(ctx, s, q)
	part, asked := f.stated(s, q)
	if q.Phase != action.After {
		return part, f.refresh(ctx, s, q)
	}
	s.settled = combine(s.settled, part.Result)
	s.read(f, q, part.Result, asked)
	if err := f.save(ctx, s, q); err != nil {
		return nil, err
	}
	return f.of(s, q, asked), nil // the arguments as they stood before this result came in
}

// state needs s.mu.
func (f *Flow) state(s *session, q *action.Query) action.Flow {
	p, _ := f.stated(s, q)
	return p
}

func (f *Flow) stated(s *session, q *action.Query) (action.Flow, *asking) {
	a, complete := f.values(s, q, s.labels(q.ID))
	a.complete, a.result = complete, f.result(q)
	return f.of(s, q, a), a
}

// of states what holds of s now, beside what a says of q's arguments and its result.
func (f *Flow) of(s *session, q *action.Query, a *asking) action.Flow {
	labels := s.labels(q.ID)
	p := action.Flow{State: action.StateKnown, Session: labels, Sources: s.sourceList(q.ID), Asked: s.asked(f, &a.tool, a.pays()), Delegates: action.TriUnknown,
		Tainted: s.taint(q.ID, labels), Truncated: action.TriOf(s.truncated || s.unindexed || s.request.full || !a.complete), Result: a.result,
		Request: action.TriOf(s.request.heard), Class: a.tool.Class, Scope: action.AskedUnknown, Arguments: a.out}
	if s.request.heard {
		p.Delegates = action.TriOf(s.request.does)
		if p.Scope = action.AskedNo; s.request.all {
			p.Scope = action.AskedYes
		}
	}
	return p
}

// pays reports whether an argument names a payee.
func (a *asking) pays() bool {
	return slices.ContainsFunc(a.out, func(v action.Value) bool {
		return v.Role == "payee" || a.tool.Class == "spend" && v.Sink == action.SinkDestination
	})
}

// taint says whether the session read text that strangers may have written. Where the request is known,
// numbers, names and short words of records are no text: they can carry no instruction.
func (s *session) taint(except string, l action.Labels) action.Tri {
	if !s.request.heard || s.prose || s.unindexed || s.truncated || l.Untrusted != action.Yes || s.inherited.Untrusted != action.No {
		return l.Untrusted
	}
	for id, r := range s.open {
		if id != except && r.labels.Untrusted != action.No {
			return l.Untrusted
		}
	}
	return action.No
}

// Reserve books the worst labels of q's result on its session, durably, if the facts that q holds still
// stand; otherwise it returns ErrStale.
func (f *Flow) Reserve(ctx context.Context, q *action.Query) error {
	if q.Context.Session.ID == "" {
		return errors.New("flow: an action without a session cannot be reserved")
	}
	s, err := f.acquire(ctx, q)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	f.recall(ctx, s, q)
	now := f.state(s, q)
	if !reflect.DeepEqual(now, q.Context.Flow) { // nil and empty lists are the same statement
		is, err := action.Canonical(now)
		if err != nil {
			return err
		}
		if was, err := action.Canonical(q.Context.Flow); err != nil || !bytes.Equal(is, was) {
			return enforce.ErrStale
		}
	}
	if err := errors.Join(f.stain(ctx, s, q), f.stainFiles(ctx, s, q), f.remember(ctx, s, q)); err != nil {
		return err
	}
	return f.book(ctx, s, q)
}

// Restore books an action of an earlier process without comparing anything, and knows again what a person
// agreed to.
func (f *Flow) Restore(ctx context.Context, q *action.Query) error {
	if q.Context.Session.ID == "" {
		return nil
	}
	s, err := f.acquire(ctx, q)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	if err := f.remember(ctx, s, q); err != nil {
		return err
	}
	return f.book(ctx, s, q)
}

func (f *Flow) book(ctx context.Context, s *session, q *action.Query) error {
	if _, again := s.open[q.ID]; !again && len(s.open) >= maxOpen {
		return fmt.Errorf("flow: more than %d actions of one session are open", maxOpen)
	}
	l := f.result(q)
	s.open[q.ID] = reservation{labels: l, source: sourceOf(q, l)}
	if err := f.save(ctx, s, q); err != nil {
		delete(s.open, q.ID)
		return err
	}
	return nil
}

// Settle replaces q's booking by what the outcome brought: nothing if the action never ran, the worst if
// nobody knows how it ended. A label that cannot be written is kept in memory and written with the next;
// until then the session's actions fail.
func (f *Flow) Settle(ctx context.Context, q *action.Query, st action.Status) {
	if q.Context.Session.ID == "" {
		return
	}
	s, err := f.acquire(ctx, q)
	if err != nil {
		return // the booking was durable before; what is lost is only that it could be lowered
	}
	defer s.mu.Unlock()
	r, booked := s.open[q.ID]
	delete(s.open, q.ID)
	ran := q.Phase == action.After || st == action.StatusUnknown || st == action.StatusDone
	if !ran {
		return
	}
	l := f.result(q)
	if stated := q.Context.Flow; stated.State == action.StateKnown {
		l = combine(l, stated.Result) // obligations of the policy may have raised what we stated
	}
	if st == action.StatusUnknown && booked {
		l = combine(l, r.labels)
	}
	s.settled = combine(s.settled, l)
	s.source(f.cfg.MaxSources, sourceOf(q, l))
	_ = f.save(ctx, s, q) // s stays unsaved
}

// Saved reports whether the store holds the labels of every session. A session that is being worked on
// counts as saved.
func (f *Flow) Saved() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.sessions {
		s := e.Value.(*session)
		if !s.mu.TryLock() {
			continue
		}
		lost := s.loaded && s.saved == nil
		s.mu.Unlock()
		if lost {
			return false
		}
	}
	return true
}

// Hear takes text that a door adds to a session; it fits enforce.Config.Hear. Only the user's request
// counts, and only from somebody whom the model cannot reach; anything else raises no trust and is
// dropped here.
func (f *Flow) Hear(ctx context.Context, id string, subject *action.Subject, said enforce.Said) {
	if said.Kind != action.PartUserRequest || !said.By.HostScoped() || id == "" {
		return
	}
	q := action.NewQuery(action.Before)
	q.Subject, q.Context.Session.ID = *subject, id
	s, err := f.take(q) // only an action tells whether the session's past was lost
	if err != nil {
		return // the words are missing: values then have no origin in the request
	}
	defer s.mu.Unlock()
	s.request.hear(f, f.cfg.MaxRequest, said.Text)
}

// Forget erases what was kept of a session's content: the user's words, the index and the sources. The
// labels stay, because erasing them would launder what the session has read.
func (f *Flow) Forget(ctx context.Context, tenant, id string) error {
	q := action.NewQuery(action.Before)
	q.Subject.Tenant, q.Context.Session.ID = tenant, id
	s, err := f.take(q)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.content, s.recalls = newContent(f.cfg.MaxFields), 0
	if !s.loaded {
		var rec saved
		if found, err := f.get(ctx, s.key, &rec); err != nil || !found {
			return err
		}
		if err := f.load(ctx, s, q); err != nil {
			return err
		}
	}
	s.sources, s.settled.Subjects, s.inherited.Subjects = nil, nil, nil
	s.truncated, s.saved = true, nil
	return f.save(ctx, s, nil)
}

// Sweep deletes the records of a tenant's sessions and subjects whose labels expired more than the TTL
// ago. A session that comes back after that has unknown labels if it acted before, so call it with the
// time of the log, and not more often than sessions idle out.
func (f *Flow) Sweep(ctx context.Context, tenant string, now time.Time) error {
	limit := now.Add(-f.cfg.TTL).UnixMilli()
	prefix, after := tenant+"/flow/", ""
	for {
		entries, err := f.cfg.Store.List(ctx, prefix, after, 0)
		if err != nil || len(entries) == 0 {
			return err
		}
		for _, e := range entries {
			after = e.Key
			var rec saved
			var p past
			expires := action.MaxNumber
			if action.Read(e.Value, &rec, action.Limits{}) == nil {
				expires = rec.Expires
			} else if action.Read(e.Value, &p, action.Limits{}) == nil {
				expires = 0
				for _, t := range p.Entries {
					expires = max(expires, t.Expires)
				}
			}
			if expires > limit {
				continue
			}
			if err := f.cfg.Store.Delete(ctx, e.Key, e.Revision); err != nil &&
				!errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
				return fmt.Errorf("flow: sweep: %w", err)
			}
		}
	}
}
