// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// A seed is a request that tests those who answer: it looks like any other and should be denied. Nothing is behind
// it, by its type: it is no ask, no map that Ask or Consume looks into can hold it, its record names no grant, and
// it is never stored. What became of it is recorded when it ends; until then the log does not tell it from nothing,
// so that a reviewer who reads the log does not either.
type seed struct {
	row   row // for what is shown; its binding is "" and binds nothing
	by    string
	rev   uint64 // in the range of those of requests
	seen  map[string]int64
	ended string // "", caught, missed or expired
	busy  bool   // its end is being recorded
}

// The codes of records about seeds.
const (
	CodeCaught  = "seed.caught" // it was denied
	CodeMissed  = "seed.missed" // it was approved
	codeUnasked = "seed.expired"
)

// ErrSeeds refuses one more seed for now.
var ErrSeeds = errors.New("approval: there are enough seeded requests for now")

// maxSeeds bounds those that wait at one time.
const maxSeeds = 8

// SeedAnswer is what is sealed with the record of a seed's end.
type SeedAnswer struct {
	Format   string `json:"format"` // "seed.v1"
	ID       string `json:"id"`
	By       string `json:"by"`       // who seeded it
	Approver string `json:"approver"` // "" if it expired
	Comment  string `json:"comment"`
	OpenedMs int64  `json:"opened_ms"`
	TimeMs   int64  `json:"time_ms"`
	SeenMs   int64  `json:"seen_ms"` // since the approver first opened it; -1 when not known
}

// Seed shows people a request that nobody made. r is what it is to look like; its action, binding and session
// lead nowhere. by is who seeds it, and cannot answer it. ErrSeeds refuses more than Config.SeedRate a day.
func (d *Desk) Seed(_ context.Context, by string, r enforce.Request) (View, error) {
	if r.Query == nil || r.Query.Subject.Tenant != d.cfg.Tenant || r.Decision.Verdict != action.Ask || len(r.Bytes) == 0 || by == "" {
		return View{}, errors.New("approval: a seeded request needs an author, a query, arguments and a rule that asks")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	since := now - (24 * time.Hour).Milliseconds()
	d.seeded = slices.DeleteFunc(d.seeded, func(t int64) bool { return t <= since })
	open := 0
	for _, s := range d.seeds {
		if s.ended == "" {
			open++
		}
	}
	if open >= maxSeeds || len(d.seeded) >= d.cfg.SeedRate {
		return View{}, ErrSeeds
	}
	id, err := d.newID()
	if err != nil {
		return View{}, err
	}
	q := r.Query
	s := &seed{by: by, seen: map[string]int64{}, row: row{Format: 1, ID: id, State: Pending, Action: r.Action, Session: q.Context.Session.ID, Agent: q.Subject.ID,
		User: q.Subject.User.ID, UID: q.Subject.Channel.UID, Needs: needsOf(r.Decision), OpenedMs: now, ExpiresMs: now + d.ttl(r).Milliseconds(),
		GrantMs: d.cfg.GrantTTL.Milliseconds()}}
	nonce := make([]byte, 32)
	if _, err := io.ReadFull(d.cfg.Rand, nonce); err != nil {
		return View{}, fmt.Errorf("approval: reading randomness: %w", err)
	}
	if s.row.Shown, err = show(&s.row, r, nonce); err != nil {
		return View{}, err
	}
	if s.row.Digest, err = s.row.bound(); err != nil {
		return View{}, err
	}
	s.row.Near, _ = fingerprints(r)
	s.rev = 1
	for _, a := range d.asks {
		s.rev = max(s.rev, a.rev)
	}
	d.seeds[id] = s
	d.seeded = append(d.seeded, now)
	return s.view(), nil
}

// view is s as people see it: until it has ended, as any request.
func (s *seed) view() View {
	v := (&ask{row: s.row, rev: s.rev}).view()
	if s.ended != "" {
		v.Revision, v.Test = s.rev+1, s.ended
	}
	return v
}

// seedOf returns a seed, nil if id is none.
func (d *Desk) seedOf(id string) *seed {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.seeds[id]
}

// answerSeed takes an answer as any request does, records it, and says then what it was.
func (d *Desk) answerSeed(ctx context.Context, s *seed, who Actor, verb, comment string) (View, error) {
	d.mu.Lock()
	now := d.now()
	v, open := s.view(), s.ended == "" && !s.busy && now < s.row.ExpiresMs
	d.mu.Unlock()
	switch {
	case !open:
		return v, fmt.Errorf("%w: it is %s", ErrState, v.State)
	case who.Seen != 0 && who.Seen != v.Revision:
		return v, ErrChanged
	case fold(who.ID) == fold(s.by):
		return v, fmt.Errorf("%w: it is of his own making", ErrOwn)
	}
	comment = said(comment)
	who, err := d.prove(ctx, &s.row, who, verb, comment)
	if err != nil {
		return v, err
	}
	g, err := given(&s.row, who)
	if err != nil {
		return v, err
	}
	code := CodeMissed
	if verb != "approve" {
		code = CodeCaught
	}
	seen := int64(-1)
	d.mu.Lock()
	if at, ok := s.seen[fold(who.ID)]; ok {
		seen = max(now-at, 0)
	}
	d.mu.Unlock()
	return d.endSeed(context.WithoutCancel(ctx), s, code, &g, SeedAnswer{Approver: g.Approver, Comment: comment, TimeMs: now, SeenMs: seen})
}

// endSeed records the end of s and makes it known.
func (d *Desk) endSeed(ctx context.Context, s *seed, code string, g *Given, a SeedAnswer) (View, error) {
	a.Format, a.ID, a.By, a.OpenedMs = "seed.v1", s.row.ID, s.by, s.row.OpenedMs
	d.mu.Lock()
	if s.ended != "" || s.busy {
		v := s.view()
		d.mu.Unlock()
		return v, fmt.Errorf("%w: it is %s", ErrState, v.State)
	}
	s.busy = true
	shown := s.row.Shown
	d.mu.Unlock()
	err := d.recordSeed(ctx, s, shown, code, g, a)
	d.mu.Lock()
	defer d.mu.Unlock()
	s.busy = false
	if err != nil {
		return s.view(), err
	}
	bare := *shown
	bare.Arguments, bare.Nonce, bare.Erased = nil, "", true
	s.row.Shown, s.row.EndedMs = &bare, a.TimeMs
	s.row.State, s.ended, s.row.Reason = Refused, "caught", "a test, and it was caught: nobody had asked for this"
	switch code {
	case CodeMissed:
		s.ended, s.row.Reason = "missed", "a test: this should have been denied. Nobody had asked for it, and nothing was granted"
	case codeUnasked:
		s.row.State, s.ended, s.row.Reason = Expired, "expired", "a test that nobody answered"
	}
	if g != nil {
		s.row.Answers = []Given{*g}
	}
	return s.view(), nil
}

func (d *Desk) recordSeed(ctx context.Context, s *seed, shown *Shown, code string, g *Given, a SeedAnswer) error {
	detail, err := action.Canonical(a)
	if err != nil {
		return err
	}
	doc, err := action.Canonical(shown)
	if err != nil {
		return err
	}
	r := &action.Record{Kind: action.KindApproval, Tenant: d.cfg.Tenant, TimeMs: a.TimeMs, Actor: a.Approver, Channel: action.RankUnknown,
		Status: action.StatusNone, Codes: []string{code}, Rules: (&ask{row: s.row}).rules(), Durability: action.DurabilityLocal,
		Parts: []action.PayloadPart{{Name: action.PartShown, Owner: s.by, Data: doc}, {Name: action.PartDetail, Owner: s.by, Data: detail}}}
	if g != nil {
		r.Channel = g.Channel
	}
	return d.append(ctx, r)
}

// sweepSeeds ends those whose time is over and forgets old ones.
func (d *Desk) sweepSeeds(ctx context.Context) {
	d.mu.Lock()
	now := d.now()
	var due []*seed
	for id, s := range d.seeds {
		switch {
		case s.ended == "" && now >= s.row.ExpiresMs:
			due = append(due, s)
		case s.ended != "" && now-s.row.EndedMs > d.cfg.Keep.Milliseconds():
			delete(d.seeds, id)
		}
	}
	d.mu.Unlock()
	for _, s := range due {
		_, _ = d.endSeed(ctx, s, codeUnasked, nil, SeedAnswer{TimeMs: now, SeenMs: -1}) // tried again at the next turn
	}
}
