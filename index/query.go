// SPDX-License-Identifier: Apache-2.0

package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/action"
)

// MaxLimit is the longest page; a limit of 0 means DefaultLimit.
const (
	MaxLimit     = 200
	DefaultLimit = 50
)

// Filter narrows a list; empty fields do not. Names are compared whole.
type Filter struct {
	Session string
	Agent   string
	User    string
	Server  string
	Tool    string
	Kind    action.Kind
	Verdict action.Verdict
	Since   int64 // milliseconds, inclusive
	Until   int64 // milliseconds, exclusive; 0 means no end
}

// Page is one page of a list. Next is the cursor of the next one, "" at the end.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"`
}

// Session is one session in numbers. Each record of a decision at gate one counts, so an action that was
// asked and then allowed counts in both.
type Session struct {
	ID          string      `json:"id"`
	Agent       string      `json:"agent"`
	User        string      `json:"user"`
	Door        action.Door `json:"door"`
	First       uint64      `json:"first"` // ledger index of its first record
	Last        uint64      `json:"last"`
	FirstMs     int64       `json:"first_ms"`
	LastMs      int64       `json:"last_ms"`
	Actions     int64       `json:"actions"`
	Allowed     int64       `json:"allowed"`
	Asked       int64       `json:"asked"`
	Denied      int64       `json:"denied"`
	Quarantined int64       `json:"quarantined"`
	Unknown     int64       `json:"unknown"`    // actions whose outcome nobody knows
	Unenforced  int64       `json:"unenforced"` // decisions that observe mode let pass
	Assurance   int         `json:"assurance"`  // what was proved of what runs, at its latest decision: 0..4
	Model       int         `json:"model"`      // and of its model: 0..3
}

// sessionRows are sessions, each with what was proved when it was last decided on.
const sessionRows = `SELECT *,
	COALESCE((SELECT r.assurance FROM records r WHERE r.session = sessions.id AND r.session <> '' AND r.verdict <> '' ORDER BY r.idx DESC LIMIT 1), 0),
	COALESCE((SELECT r.model FROM records r WHERE r.session = sessions.id AND r.session <> '' AND r.verdict <> '' ORDER BY r.idx DESC LIMIT 1), 0)
	FROM sessions`

func (s *Session) scan(row interface{ Scan(...any) error }) error {
	return row.Scan(&s.ID, &s.Agent, &s.User, &s.Door, &s.First, &s.Last, &s.FirstMs, &s.LastMs, &s.Actions, &s.Allowed, &s.Asked,
		&s.Denied, &s.Quarantined, &s.Unknown, &s.Unenforced, &s.Assurance, &s.Model)
}

// Agent is one agent in numbers. Quarantined counts as denied.
type Agent struct {
	ID       string `json:"id"`
	FirstMs  int64  `json:"first_ms"`
	LastMs   int64  `json:"last_ms"`
	Last     uint64 `json:"last"` // ledger index of its last record
	Sessions int64  `json:"sessions"`
	Actions  int64  `json:"actions"`
	Allowed  int64  `json:"allowed"`
	Asked    int64  `json:"asked"`
	Denied   int64  `json:"denied"`
	Alerts   int64  `json:"alerts"`
}

func (a *Agent) scan(row interface{ Scan(...any) error }) error {
	return row.Scan(&a.ID, &a.FirstMs, &a.LastMs, &a.Last, &a.Sessions, &a.Actions, &a.Allowed, &a.Asked, &a.Denied, &a.Alerts)
}

// Sessions lists sessions, the latest used first. Agent, User, Verdict (sessions with at least one such
// decision), Since and Until (of the last use) of f narrow it; other fields are ErrQuery.
func (x *Index) Sessions(ctx context.Context, f Filter, limit int, cursor string) (Page[Session], error) {
	w := where{}
	w.name(nameAgent, f.Agent)
	w.name(nameUser, f.User)
	w.times("last_ms", f)
	if f.Verdict != "" {
		column, ok := map[action.Verdict]string{action.Allow: "allowed", action.Ask: "asked", action.Deny: "denied", action.Quarantine: "quarantined"}[f.Verdict]
		if !ok {
			return Page[Session]{}, fmt.Errorf("%w: verdict %q", ErrQuery, clean(string(f.Verdict), 32))
		}
		w.add(column + " > 0")
	}
	if f.Session != "" || f.Server != "" || f.Tool != "" || f.Kind != "" {
		return Page[Session]{}, fmt.Errorf("%w: sessions are not listed by session, tool or kind", ErrQuery)
	}
	return page(ctx, x, sessionRows, w, "last_idx", true, limit, cursor,
		func(s *Session) uint64 { return s.Last }, (*Session).scan, (*Session).named)
}

// Session returns one session in numbers, or ErrNotFound.
func (x *Index) Session(ctx context.Context, id string) (Session, error) {
	var s Session
	err := s.scan(x.db.Load().Read.QueryRowContext(ctx, sessionRows+` WHERE id = ?`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return s, fmt.Errorf("%w: session %q", ErrNotFound, clean(id, 64))
	}
	if err != nil {
		return s, fmt.Errorf("index: session: %w", err)
	}
	return s, s.named(x.reader(ctx))
}

// Steps lists what happened in a session, in the order of the ledger. An unknown session has none.
func (x *Index) Steps(ctx context.Context, session string, limit int, cursor string) (Page[Step], error) {
	if session == "" {
		return Page[Step]{}, fmt.Errorf("%w: no session", ErrQuery)
	}
	w := where{}
	w.add("session <> ''") // lets SQLite use the index that leaves records of no session out
	w.text("session", session)
	return x.steps(ctx, w, false, limit, cursor)
}

// Actions returns every record of one action in the order of the ledger, at most MaxLimit, or ErrNotFound.
func (x *Index) Actions(ctx context.Context, id string) ([]Step, error) {
	w := where{}
	w.add("action <> ''")
	w.text("action", id)
	if id == "" {
		return nil, fmt.Errorf("%w: no action", ErrQuery)
	}
	p, err := x.steps(ctx, w, false, MaxLimit, "")
	if err == nil && len(p.Items) == 0 {
		err = fmt.Errorf("%w: action %q", ErrNotFound, clean(id, 64))
	}
	return p.Items, err
}

// Records lists records, the latest first.
func (x *Index) Records(ctx context.Context, f Filter, limit int, cursor string) (Page[Step], error) {
	w := where{}
	w.filter(f)
	return x.steps(ctx, w, true, limit, cursor)
}

// Alerts lists records of kind alert, the latest first.
func (x *Index) Alerts(ctx context.Context, f Filter, limit int, cursor string) (Page[Step], error) {
	f.Kind = action.KindAlert
	return x.Records(ctx, f, limit, cursor)
}

func (x *Index) steps(ctx context.Context, w where, down bool, limit int, cursor string) (Page[Step], error) {
	return page(ctx, x, `SELECT `+columns+` FROM records`, w, "idx", down, limit, cursor,
		func(s *Step) uint64 { return s.Index }, (*Step).scan, (*Step).named)
}

// Agents lists agents, the latest seen first.
func (x *Index) Agents(ctx context.Context, limit int, cursor string) (Page[Agent], error) {
	return page(ctx, x, `SELECT * FROM agents`, where{}, "last_idx", true, limit, cursor,
		func(a *Agent) uint64 { return a.Last }, (*Agent).scan, (*Agent).named)
}

// Tally is how many decisions of one sort were recorded.
type Tally struct {
	Phase    action.Phase   `json:"phase"`
	Verdict  action.Verdict `json:"verdict"`
	Effect   action.Effect  `json:"effect"`
	Enforced bool           `json:"enforced"`
	N        int64          `json:"n"`
}

// Counters counts decisions from the UTC day of since on, both in milliseconds, to the day of until,
// inclusive; 0 means no end.
func (x *Index) Counters(ctx context.Context, since, until int64) ([]Tally, error) {
	const day = 86_400_000
	last := int64(1) << 40
	if until > 0 {
		last = until / day
	}
	rows, err := x.read(ctx, `SELECT phase, verdict, effect, enforced, sum(n) FROM tally WHERE day BETWEEN ? AND ?
		GROUP BY phase, verdict, effect, enforced ORDER BY phase, verdict, effect, enforced`, since/day, last)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := []Tally{}
	for rows.Next() {
		var t Tally
		if err := rows.Scan(&t.Phase, &t.Verdict, &t.Effect, &t.Enforced, &t.N); err != nil {
			return nil, fmt.Errorf("index: counters: %w", err)
		}
		out = append(out, t)
	}
	return out, rows.Err()
}

// where collects conditions; every value is bound, every column is a word of this package.
type where struct {
	table string // before the columns of text and times; "" or an alias with its dot
	conds []string
	args  []any
}

func (w *where) add(cond string, args ...any) {
	w.conds, w.args = append(w.conds, cond), append(w.args, args...)
}

func (w *where) text(column, value string) {
	if value != "" {
		w.add(w.table+column+" = ?", value)
	}
}

// name compares a column that holds names or pseudonyms; kind is also the column's name.
func (w *where) name(kind, value string) {
	if value != "" {
		w.add(w.table+kind+" IN (SELECT ? UNION ALL SELECT pseudonym FROM names WHERE kind = ? AND name = ?)", value, kind, value)
	}
}

func (w *where) times(column string, f Filter) {
	if f.Since > 0 {
		w.add(w.table+column+" >= ?", f.Since)
	}
	if f.Until > 0 {
		w.add(w.table+column+" < ?", f.Until)
	}
}

func (w *where) filter(f Filter) {
	w.text("session", f.Session)
	w.name(nameAgent, f.Agent)
	w.name(nameUser, f.User)
	w.name(nameServer, f.Server)
	w.name(nameTool, f.Tool)
	w.text("kind", string(f.Kind))
	w.text("verdict", string(f.Verdict))
	w.times("time_ms", f)
}

// page runs one query for a page. A cursor is the key of the last item of the page before.
func page[T any](ctx context.Context, x *Index, query string, w where, key string, down bool, limit int, cursor string,
	keyOf func(*T) uint64, scan func(*T, interface{ Scan(...any) error }) error, names func(*T, *reader) error) (Page[T], error) {
	p := Page[T]{Items: []T{}}
	limit, err := checkLimit(limit)
	if err != nil {
		return p, err
	}
	compare, order := " > ?", " ASC"
	if down {
		compare, order = " < ?", " DESC"
	}
	if cursor != "" {
		at, err := strconv.ParseInt(cursor, 10, 64)
		if err != nil || at < 0 {
			return p, fmt.Errorf("%w: cursor %q", ErrQuery, clean(cursor, 32))
		}
		w.add(key+compare, at)
	}
	if len(w.conds) > 0 {
		query += " WHERE " + strings.Join(w.conds, " AND ")
	}
	rows, err := x.read(ctx, query+" ORDER BY "+key+order+" LIMIT ?", append(w.args, limit+1)...)
	if err != nil {
		return p, err
	}
	defer rows.Close()
	for rows.Next() {
		if len(p.Items) == limit {
			p.Next = strconv.FormatUint(keyOf(&p.Items[limit-1]), 10)
			break
		}
		var item T
		if err := scan(&item, rows); err != nil {
			return p, fmt.Errorf("index: query: %w", err)
		}
		p.Items = append(p.Items, item)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return p, fmt.Errorf("index: query: %w", err)
	}
	r := x.reader(ctx)
	for i := range p.Items {
		if err := names(&p.Items[i], r); err != nil {
			return p, err
		}
	}
	return p, nil
}

func checkLimit(limit int) (int, error) {
	switch {
	case limit < 0 || limit > MaxLimit:
		return 0, fmt.Errorf("%w: limit %d, wanted up to %d", ErrQuery, limit, MaxLimit)
	case limit == 0:
		return DefaultLimit, nil
	}
	return limit, nil
}
