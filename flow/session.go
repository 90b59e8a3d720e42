// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/store"
)

// maxOpen bounds the open actions of one session.
const maxOpen = 4096

// session is what is known of one session.
type session struct {
	key string // in the store

	mu        sync.Mutex // guards below; held across the store's I/O, so that labels are durable in order
	loaded    bool
	gone      bool          // evicted: take a new one
	subject   string        // key of what comes over into the subject's next session; "" if unknown
	inherited action.Labels // from earlier sessions; does not prolong itself
	settled   action.Labels // what this session read
	sources   []action.Source
	open      map[string]reservation // by action id
	truncated bool
	unindexed bool   // an earlier process indexed values that this one does not have
	expires   int64  // unix ms, as last written
	saved     []byte // what the store holds

	tenant  string
	owner   string // whose key what is on record is sealed with
	recalls int    // times that the past may still be read again
	content
	stains *stains // of the tenant
	known  *known  // of the agent and user; nil if nobody knows who acts
}

// content is what a session knows of what was said and read. It lives in memory only.
type content struct {
	prose     bool // text of some length that strangers may have written was read
	request   request
	shelf     *shelf             // records that tools returned
	index     map[uint64]mention // fingerprints of untrusted values and words
	tools     []string           // tool keys by number
	outside   map[string]bool    // of them, those that brought something from outside
	told      map[uint64]bool    // stems of words of texts that the request hands choices to
	mine      map[uint64]bool    // addresses and accounts of the user himself
	mineNames map[uint64]bool    // words of his names
	found     answers
	written   map[uint64]Grade // what a text named that the user pointed at, and an action wrote
}

func newContent(limit int) content {
	return content{shelf: newShelf(limit), index: map[uint64]mention{}, told: map[uint64]bool{}, mine: map[uint64]bool{},
		mineNames: map[uint64]bool{}, written: map[uint64]Grade{}, outside: map[string]bool{}}
}

type reservation struct {
	labels action.Labels
	source action.Source
}

// saved is a session in the store.
type saved struct {
	Inherited action.Labels   `json:"inherited"`
	Labels    action.Labels   `json:"labels"`
	Sources   []action.Source `json:"sources"`
	Truncated bool            `json:"truncated"`
	Read      bool            `json:"read"` // something was indexed that the store does not hold
	Expires   int64           `json:"expires_ms"`
}

// past is what a subject's sessions leave behind: one entry for each combination of words, so that fresh
// harmless reading does not prolong old harmful labels. There are at most 3 x 5 x 3 entries.
type past struct {
	Entries []trace `json:"entries"`
}

type trace struct {
	Labels  action.Labels   `json:"labels"`
	Sources []action.Source `json:"sources"`
	Expires int64           `json:"expires_ms"`
}

// clean are the labels of a session that has read nothing.
func clean() action.Labels {
	return action.Labels{Untrusted: action.No, Secrecy: action.SecrecyPublic, Opaque: action.No}
}

// combine returns the worse of two labels, word by word.
func combine(a, b action.Labels) action.Labels {
	subjects := slices.Concat(a.Subjects, b.Subjects)
	slices.Sort(subjects)
	return action.Labels{Untrusted: worse(a.Untrusted, b.Untrusted), Secrecy: a.Secrecy.Worse(b.Secrecy),
		Opaque: worse(a.Opaque, b.Opaque), Subjects: slices.Compact(subjects)}
}

// worse orders no < unknown < yes.
func worse(a, b action.Tri) action.Tri {
	switch {
	case a == action.Yes || b == action.Yes:
		return action.Yes
	case a == action.No && b == action.No:
		return action.No
	}
	return action.TriUnknown
}

// acquire returns q's session, loaded and locked.
func (f *Flow) acquire(ctx context.Context, q *action.Query) (*session, error) {
	t, err := f.stainsOf(ctx, q)
	if err != nil {
		return nil, err
	}
	k, err := f.knownOf(ctx, q)
	if err != nil {
		return nil, err
	}
	s, err := f.take(q)
	if err != nil {
		return nil, err
	}
	if s.stains, s.known = t, k; !s.loaded {
		if err := f.load(ctx, s, q); err != nil {
			s.mu.Unlock()
			return nil, err
		}
		if (!s.unindexed || q.Context.Session.Seq == 0) && (s.request.heard || q.Context.Session.Request.Bytes == 0) {
			s.recalls = 0 // there is nothing that this process does not have
		}
	}
	return s, nil
}

// take returns q's session locked, but perhaps not loaded: what its labels are then is not known yet.
func (f *Flow) take(q *action.Query) (*session, error) {
	key := q.Subject.Tenant + "/flow/session/" + f.cfg.Fingerprint("flow.session", []byte(q.Context.Session.ID))
	for {
		s, err := f.lookup(key)
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		if s.gone {
			s.mu.Unlock()
			continue
		}
		if s.tenant, s.owner = q.Subject.Tenant, q.Subject.User.ID; s.owner == "" {
			s.owner = q.Subject.ID
		}
		if s.subject == "" && q.Subject.ID != "" {
			s.subject = q.Subject.Tenant + "/flow/subject/" + f.cfg.Fingerprint("flow.subject",
				[]byte(q.Subject.ID), []byte(q.Subject.Instance), []byte(q.Subject.User.ID))
		}
		return s, nil
	}
}

// lookup finds or makes the session under key. What makes room is a session that is idle and saved.
func (f *Flow) lookup(key string) (*session, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e, ok := f.sessions[key]; ok {
		f.order.MoveToFront(e)
		return e.Value.(*session), nil
	}
	e := f.order.Back()
	for tries := 0; len(f.sessions) >= f.cfg.MaxSessions; tries++ {
		if e == nil || tries == 256 {
			return nil, fmt.Errorf("flow: more than %d sessions are open", f.cfg.MaxSessions)
		}
		s, prev := e.Value.(*session), e.Prev()
		if s.mu.TryLock() {
			if len(s.open) == 0 && (!s.loaded || s.saved != nil) {
				s.gone = true
				f.order.Remove(e)
				delete(f.sessions, s.key)
			}
			s.mu.Unlock()
		}
		e = prev
	}
	s := &session{key: key, open: map[string]reservation{}, recalls: maxRecalls, content: newContent(f.cfg.MaxFields)}
	f.sessions[key] = f.order.PushFront(s)
	return s, nil
}

// load reads what the store knows of s: its own labels, else those of the subject's earlier sessions. A
// session that has a past of which nothing is stored has unknown labels.
func (f *Flow) load(ctx context.Context, s *session, q *action.Query) error {
	var rec saved
	found, err := f.get(ctx, s.key, &rec)
	if err != nil {
		return err
	}
	s.inherited, s.settled = clean(), clean()
	switch {
	case found && valid(rec.Labels, rec.Sources) && valid(rec.Inherited, nil):
		s.inherited, s.settled, s.sources = rec.Inherited, rec.Labels, rec.Sources
		s.truncated, s.unindexed, s.expires = rec.Truncated, rec.Read, rec.Expires
		s.loaded = true
		s.saved, err = action.Canonical(rec)
		return err
	case found, q.Context.Session.State != action.SessionLive, q.Context.Session.Seq > 0:
		s.settled, s.truncated = action.UnknownLabels(), true
	default:
		if err := f.inherit(ctx, s, q); err != nil {
			return err
		}
	}
	if err := f.save(ctx, s, q); err != nil {
		return err
	}
	s.loaded = true
	return nil
}

// inherit takes over what the subject's earlier sessions left behind and has not expired.
func (f *Flow) inherit(ctx context.Context, s *session, q *action.Query) error {
	if s.subject == "" {
		return nil
	}
	var p past
	if _, err := f.get(ctx, s.subject, &p); err != nil {
		return err
	}
	for _, t := range p.Entries {
		if !valid(t.Labels, t.Sources) {
			s.inherited = action.UnknownLabels()
		} else if t.Expires > q.Context.Time.UnixMilli {
			var full bool
			s.inherited = combine(s.inherited, t.Labels)
			s.sources, full = union(f.cfg.MaxSources, s.sources, t.Sources)
			s.truncated = s.truncated || full
			s.unindexed = s.unindexed || t.Labels.Untrusted != action.No
		}
	}
	return nil
}

// get reads a record into v. One that cannot be read has words that are not valid.
func (f *Flow) get(ctx context.Context, key string, v any) (bool, error) {
	e, err := f.cfg.Store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("flow: labels: %w", err)
	}
	if action.Read(e.Value, v, action.Limits{}) != nil {
		switch v := v.(type) {
		case *saved:
			*v = saved{}
		case *past:
			*v = past{Entries: []trace{{}}}
		}
	}
	return true, nil
}

// valid reports whether the words of a record are ours.
func valid(l action.Labels, sources []action.Source) bool {
	p := action.UnknownFlow()
	p.Session, p.Sources = l, sources
	return action.ValidatePart(p) == nil
}

// refresh puts off the expiry of labels while their session is alive.
func (f *Flow) refresh(ctx context.Context, s *session, q *action.Query) error {
	if s.saved != nil && s.expires-q.Context.Time.UnixMilli > f.cfg.TTL.Milliseconds()*3/4 {
		return nil
	}
	return f.save(ctx, s, q)
}

// save writes the worst labels of s if the store does not hold them yet: for the session, and for the
// subject's next one. q gives the time; nil keeps the expiry. It needs s.mu.
func (f *Flow) save(ctx context.Context, s *session, q *action.Query) error {
	rec := saved{Inherited: s.inherited, Labels: s.own(""), Sources: s.sourceList(""), Truncated: s.truncated,
		Read: s.unindexed || len(s.index) > 0, Expires: s.expires}
	ttl := f.cfg.TTL.Milliseconds()
	if q != nil && s.expires-q.Context.Time.UnixMilli <= ttl*3/4 {
		rec.Expires = q.Context.Time.UnixMilli + ttl
	}
	b, err := action.Canonical(rec)
	if err != nil {
		return err
	}
	if s.saved != nil && bytes.Equal(b, s.saved) {
		return nil
	}
	s.saved = nil
	if s.subject != "" && !same(rec.Labels, clean()) { // first: what the session's record says is taken as written here too
		err = f.change(ctx, s.subject, func(old []byte) ([]byte, error) { return leave(old, rec, ttl) })
	}
	if err == nil {
		err = f.change(ctx, s.key, func([]byte) ([]byte, error) { return b, nil })
	}
	if err == nil {
		s.saved, s.expires = b, rec.Expires
	}
	return err
}

// maxTraceSources bounds what each trace says of its sources.
const maxTraceSources = 16

// leave adds rec to what the subject's sessions left behind.
func leave(old []byte, rec saved, ttl int64) ([]byte, error) {
	var p past
	if old != nil && action.Read(old, &p, action.Limits{}) != nil {
		p.Entries = []trace{{Labels: action.UnknownLabels(), Expires: rec.Expires}}
	}
	kept := p.Entries[:0]
	merged := false
	for _, t := range p.Entries {
		if t.Expires <= rec.Expires-ttl {
			continue
		}
		if same(t.Labels, rec.Labels) {
			t.Labels = combine(t.Labels, rec.Labels)
			t.Sources, _ = union(maxTraceSources, t.Sources, rec.Sources)
			t.Expires, merged = max(t.Expires, rec.Expires), true
		}
		kept = append(kept, t)
	}
	if !merged {
		sources, _ := union(maxTraceSources, nil, rec.Sources)
		kept = append(kept, trace{Labels: rec.Labels, Sources: sources, Expires: rec.Expires})
	}
	return action.Canonical(past{Entries: kept})
}

// same compares the words of two labels.
func same(a, b action.Labels) bool {
	return a.Untrusted == b.Untrusted && a.Secrecy == b.Secrecy && a.Opaque == b.Opaque
}

// change writes what edit makes of the value under key, nil if there is none. Sessions of one subject
// share a row: within this process they take turns, so that a conflict means another process.
func (f *Flow) change(ctx context.Context, key string, edit func(old []byte) ([]byte, error)) error {
	turn := &f.rows[maphash.String(f.seed, key)%uint64(len(f.rows))]
	turn.Lock()
	defer turn.Unlock()
	for range 8 {
		e, err := f.cfg.Store.Get(ctx, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("flow: labels: %w", err)
		}
		b, err := edit(e.Value)
		if err != nil {
			return err
		}
		if _, err = f.cfg.Store.Put(ctx, key, b, e.Revision); err == nil {
			return nil
		} else if !errors.Is(err, store.ErrConflict) {
			return fmt.Errorf("flow: labels: %w", err)
		}
	}
	return errors.New("flow: labels: one subject's changed too often")
}

// labels are the session's labels with all bookings but that of the action except.
func (s *session) labels(except string) action.Labels { return combine(s.inherited, s.own(except)) }

// own are the labels of what this session read itself.
func (s *session) own(except string) action.Labels {
	l := s.settled
	for id, r := range s.open {
		if id != except {
			l = combine(l, r.labels)
		}
	}
	return l
}

// sourceList is sorted; it holds the bookings of other actions too.
func (s *session) sourceList(except string) []action.Source {
	out := slices.Clone(s.sources)
	for _, id := range slices.Sorted(maps.Keys(s.open)) {
		if id != except {
			out, _ = union(len(out)+1, out, []action.Source{s.open[id].source})
		}
	}
	return out
}

// source adds src; beyond limit the list is cut and the session marked.
func (s *session) source(limit int, src action.Source) {
	var full bool
	s.sources, full = union(limit, s.sources, []action.Source{src})
	s.truncated = s.truncated || full
}

// union merges sources of the same server and tool into their worst; it keeps at most limit.
func union(limit int, a, b []action.Source) (out []action.Source, full bool) {
	out = slices.Clone(a)
	for _, src := range b {
		i, found := slices.BinarySearchFunc(out, src, func(x, y action.Source) int {
			if c := strings.Compare(x.Server, y.Server); c != 0 {
				return c
			}
			return strings.Compare(x.Tool, y.Tool)
		})
		switch {
		case found:
			out[i].Secrecy, out[i].Untrusted = out[i].Secrecy.Worse(src.Secrecy), worse(out[i].Untrusted, src.Untrusted)
		case len(out) < limit:
			out = slices.Insert(out, i, src)
		default:
			full = true
		}
	}
	return out, full
}

// sourceOf names where q's result comes from. Names are cut: a server may choose long ones.
func sourceOf(q *action.Query, l action.Labels) action.Source {
	return action.Source{Server: action.Clip(q.Resource.Server, 128), Tool: action.Clip(q.Resource.Name, 128),
		Secrecy: l.Secrecy, Untrusted: l.Untrusted}
}
