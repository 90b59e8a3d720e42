// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/store"
)

// SessionOptions is what a host-scoped door knows of a session. Empty fields leave what is known.
type SessionOptions struct {
	Roots []string // resolved folders
	Cwd   string
}

// sessionState is one session in memory. The stored half survives a restart.
type sessionState struct {
	mu  sync.Mutex // serialises decide + reserve + intent; never held while asking or executing
	seq int64      // guarded by mu

	data  sync.Mutex // guards below; held across store writes only
	rec   sessionRecord
	rev   uint64
	saved time.Time
}

// sessionRecord is the stored half.
type sessionRecord struct {
	ID       string           `json:"id"`
	Key      string           `json:"key"` // fingerprint of what names the conversation
	Tenant   string           `json:"tenant"`
	Agent    string           `json:"agent"`
	Instance string           `json:"instance"`
	User     string           `json:"user"`
	Door     action.Door      `json:"door"`
	Created  int64            `json:"created_ms"`
	Last     int64            `json:"last_ms"`
	Roots    []string         `json:"roots"`
	Cwd      string           `json:"cwd"`
	Request  action.Statement `json:"request"`
}

const maxRoots = 64

// Session returns the id of the session of (subject, door, host), minting one if there is none or the
// last was idle too long. host is what the door knows of the conversation: a header, a hook host's id, a
// client process; "" falls back to the credential. Two users or agents never share one.
func (e *Enforcer) Session(ctx context.Context, s *action.Subject, host string, o SessionOptions) (string, error) {
	if s.ID == "" || s.Tenant == "" {
		return "", fmt.Errorf("enforce: session: %w: no subject", ErrMalformed)
	}
	if host == "" {
		host = "credential:" + s.Channel.CredID
	}
	key := e.cfg.Fingerprint("session", []byte(s.Tenant), []byte(s.ID), []byte(s.Instance), []byte(s.User.ID),
		[]byte(s.Channel.Door), []byte(host))
	now := e.cfg.Now()

	e.sessMu.Lock()
	defer e.sessMu.Unlock()
	pointer := s.Tenant + "/conversation/" + key
	old, err := e.cfg.Store.Get(ctx, pointer)
	switch {
	case err == nil:
		if sess, err := e.sessionLocked(ctx, s.Tenant, string(old.Value)); err == nil && sess.belongs(s) && !sess.idle(now, e.cfg.SessionIdle) {
			return sess.rec.ID, e.touch(ctx, sess, now, o)
		}
	case !errors.Is(err, store.ErrNotFound):
		return "", fmt.Errorf("enforce: session: %w", err)
	}
	if e.crowded(s, now) {
		return "", ErrBusy
	}
	id, err := e.newID(now)
	if err != nil {
		return "", err
	}
	sess := &sessionState{rec: sessionRecord{ID: id, Key: key, Tenant: s.Tenant, Agent: s.ID, Instance: s.Instance,
		User: s.User.ID, Door: s.Channel.Door, Created: now.UnixMilli(), Last: now.UnixMilli(),
		Request: action.Statement{By: action.AssertedUnknown}}}
	if _, err := e.append(ctx, &action.Record{Kind: action.KindSession, Tenant: s.Tenant, TimeMs: now.UnixMilli(),
		Session: id, Agent: s.ID, User: s.User.ID, Door: s.Channel.Door, Status: action.StatusNone}); err != nil {
		return "", err
	}
	if err := e.touch(ctx, sess, now, o); err != nil {
		return "", err
	}
	if _, err := e.cfg.Store.Put(ctx, pointer, []byte(id), old.Revision); err != nil {
		return "", fmt.Errorf("enforce: session: %w", err)
	}
	e.sessions[id] = sess
	return id, nil
}

// crowded reports whether the agent has as many sessions as it may. e.sessMu is held.
func (e *Enforcer) crowded(s *action.Subject, now time.Time) bool {
	if len(e.sessions) < e.cfg.MaxSessions {
		return false
	}
	n := 0
	for _, o := range e.sessions {
		if o.rec.Tenant == s.Tenant && o.rec.Agent == s.ID && !o.idle(now, e.cfg.SessionIdle) {
			n++
		}
	}
	return n >= e.cfg.MaxSessions
}

// session returns the state of id, from the store if this process has not met it.
func (e *Enforcer) session(ctx context.Context, tenant, id string) (*sessionState, error) {
	e.sessMu.Lock()
	defer e.sessMu.Unlock()
	return e.sessionLocked(ctx, tenant, id)
}

func (e *Enforcer) sessionLocked(ctx context.Context, tenant, id string) (*sessionState, error) {
	if sess := e.sessions[id]; sess != nil {
		return sess, nil
	}
	if len(id) != idLength || strings.Trim(id, idAlphabet) != "" {
		return nil, ErrNotFound // never a key of the store
	}
	ent, err := e.cfg.Store.Get(ctx, tenant+"/session/"+id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("enforce: session: %w", err)
	}
	sess := &sessionState{rev: ent.Revision}
	if err := action.Read(ent.Value, &sess.rec, action.Limits{}); err != nil || sess.rec.ID != id || sess.rec.Tenant != tenant {
		return nil, fmt.Errorf("enforce: session %s: stored state cannot be read: %w", id, errors.Join(ErrNotFound, err))
	}
	e.sessions[id] = sess
	return sess, nil
}

// touch notes use and options; it writes at most once a minute unless something changed.
func (e *Enforcer) touch(ctx context.Context, sess *sessionState, now time.Time, o SessionOptions) error {
	sess.data.Lock()
	defer sess.data.Unlock()
	changed := sess.rev == 0
	for _, r := range o.Roots {
		if len(sess.rec.Roots) < maxRoots && !slices.Contains(sess.rec.Roots, r) {
			sess.rec.Roots, changed = append(sess.rec.Roots, r), true
		}
	}
	if o.Cwd != "" && o.Cwd != sess.rec.Cwd {
		sess.rec.Cwd, changed = o.Cwd, true
	}
	sess.rec.Last = now.UnixMilli()
	if !changed && now.Sub(sess.saved) < time.Minute {
		return nil
	}
	return e.save(ctx, sess, now)
}

// save writes the stored half. sess.data is held.
func (e *Enforcer) save(ctx context.Context, sess *sessionState, now time.Time) error {
	b, err := action.Canonical(&sess.rec)
	if err != nil {
		return err
	}
	rev, err := e.cfg.Store.Put(ctx, sess.rec.Tenant+"/session/"+sess.rec.ID, b, sess.rev)
	if err != nil {
		return fmt.Errorf("enforce: session %s: %w", sess.rec.ID, err)
	}
	sess.rev, sess.saved = rev, now
	return nil
}

// Say adds text to a session: the user's request, reasoning, labelled content. It is recorded; what the
// agent itself asserts raises no trust.
func (e *Enforcer) Say(ctx context.Context, s *action.Subject, session string, said Said) error {
	sess, err := e.session(ctx, s.Tenant, session)
	if err != nil || !sess.belongs(s) {
		return ErrNotFound
	}
	if len(said.Text) > 1<<20 {
		e.Malformed(ctx, s.Channel.Door, s.ID, "too_large")
		return fmt.Errorf("enforce: session text of %d bytes: %w", len(said.Text), ErrMalformed)
	}
	now := e.cfg.Now()
	owner := s.User.ID
	if owner == "" {
		owner = s.ID
	}
	r := &action.Record{Kind: action.KindContext, Tenant: s.Tenant, TimeMs: now.UnixMilli(), Session: session,
		Agent: s.ID, User: s.User.ID, Door: s.Channel.Door, Status: action.StatusNone, Codes: []string{"by." + action.Word(said.By)},
		Parts: []action.PayloadPart{{Name: said.Kind, Owner: owner, Data: said.Text}}}
	if _, err := e.append(ctx, r); err != nil {
		return err
	}
	if said.Kind == action.PartUserRequest && said.By.HostScoped() {
		sess.data.Lock()
		sess.rec.Request = action.Statement{By: said.By, Bytes: sess.rec.Request.Bytes + int64(len(said.Text)),
			Print: e.cfg.Fingerprint("request", []byte(sess.rec.Request.Print), said.Text)}
		err = e.save(ctx, sess, now)
		sess.data.Unlock()
	}
	e.cfg.Hear(ctx, session, s, said)
	return err
}

// Called returns the action that a door opened under a call id, also one of before a restart, as far as actions that
// ended are remembered. ErrNotFound: there is none, or it is not the subject's.
func (e *Enforcer) Called(ctx context.Context, s *action.Subject, session, callID string) (string, error) {
	call := e.cfg.Fingerprint("call", []byte(session), []byte(s.Channel.Door), []byte(callID))
	e.mu.Lock()
	x := e.calls[call]
	e.mu.Unlock()
	if x == nil || callID == "" {
		return "", ErrNotFound
	}
	if _, err := e.find(ctx, s, x.id); err != nil {
		return "", err
	}
	return x.id, nil
}

func (s *sessionState) belongs(to *action.Subject) bool {
	return s.rec.Tenant == to.Tenant && s.rec.Agent == to.ID && s.rec.User == to.User.ID
}

func (s *sessionState) idle(now time.Time, limit time.Duration) bool {
	s.data.Lock()
	defer s.data.Unlock()
	return now.Sub(time.UnixMilli(s.rec.Last)) > limit
}

// facts are what the query states of the session, but for the sequence, which the lock guards.
func (s *sessionState) facts(now time.Time) action.Session {
	s.data.Lock()
	defer s.data.Unlock()
	s.rec.Last = max(s.rec.Last, now.UnixMilli())
	return action.Session{ID: s.rec.ID, State: action.SessionLive, AgeS: max(0, (now.UnixMilli()-s.rec.Created)/1000),
		Roots: slices.Clone(s.rec.Roots), Cwd: s.rec.Cwd, Request: s.rec.Request, Inherits: action.TriUnknown}
}
