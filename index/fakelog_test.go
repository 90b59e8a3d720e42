// SPDX-License-Identifier: Apache-2.0

package index

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
)

// fakeLog is a log in memory whose followers wait for more.
type fakeLog struct {
	mu      sync.Mutex
	records []action.Record
	erased  map[string]bool // owners whose payloads cannot be opened
	salt    string          // makes another log of the same records
	sealed  bool            // names are handed over as pseudonyms
	more    chan struct{}
	opened  int
	shown   []PartAt // what Opening was told of
	closed  error    // of Opening
}

func newLog() *fakeLog { return &fakeLog{erased: map[string]bool{}, more: make(chan struct{})} }

func (l *fakeLog) append(rs ...action.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, rs...)
	close(l.more)
	l.more = make(chan struct{})
}

func (l *fakeLog) head(context.Context) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.records)), nil
}

func (l *fakeLog) payload(_ context.Context, index uint64, part action.PartName) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opened++
	for _, p := range l.records[index].Parts {
		if p.Name == part {
			if l.erased[p.Owner] {
				return nil, fmt.Errorf("entry %d: %w", index, ErrErased)
			}
			return slices.Clone(p.Data), nil
		}
	}
	return nil, nil
}

func (l *fakeLog) entry(ctx context.Context, i uint64) Entry {
	r := l.records[i]
	r.Parts = nil
	if l.sealed {
		r.Agent, r.User, r.Actor = pseudonym("agent", r.Agent), pseudonym("user", r.User), pseudonym("actor", r.Actor)
		if r.Tool != "" {
			r.Tool = pseudonym("tool", action.ToolKey(r.Server, r.Tool))
		}
		r.Server = pseudonym("server", r.Server)
	}
	return Entry{Index: i, Leaf: fmt.Sprintf("sha256:%s%d", l.salt, i), Record: &r, Sealed: l.sealed,
		Open: func(part action.PartName) ([]byte, error) { return l.payload(ctx, i, part) }}
}

// pseudonym is one-way enough for a test.
func pseudonym(kind, name string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf("p%x", sha256.Sum256([]byte(kind+"/"+name)))[:20]
}

func (l *fakeLog) follow(ctx context.Context, from uint64, fn func(Entry) error) error {
	for i := from; ; {
		l.mu.Lock()
		size, more := uint64(len(l.records)), l.more
		var e Entry
		if i < size {
			e = l.entry(ctx, i)
		}
		l.mu.Unlock()
		if i < size {
			if err := fn(e); err != nil {
				return err
			}
			i++
			continue
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// opening notes what is opened, and refuses where the log is told so.
func (l *fakeLog) opening(_ context.Context, parts []PartAt) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed != nil {
		return l.closed
	}
	l.shown = append(l.shown, parts...)
	return nil
}

func (l *fakeLog) config(path string) Config {
	return Config{Path: path, Follow: l.follow, Head: l.head, Payload: l.payload, Opening: l.opening, Retry: time.Millisecond,
		Pseudonym: func(_, kind, name string) (string, error) { return pseudonym(kind, name), nil }}
}

// decision is what the fake policy says of a query: writes outside /home/ are denied, sends ask.
func decision(_ context.Context, q *action.Query, _ action.Bundle) (action.Decision, error) {
	d := action.Decision{Verdict: action.Allow, Mode: action.Enforce, Engines: []action.Engine{{Name: "fake"}}}
	match := action.Match{ID: "base." + string(q.Action.Effect), Verdict: action.Allow, Code: "ok"}
	switch {
	case q.Action.Effect == action.EffectSend:
		match.Verdict, match.Code, match.Reason = action.Ask, "ask.send", "a message leaves the organisation"
	case q.Action.Effect == action.EffectWrite && !strings.Contains(string(q.Action.Arguments), "/home/"):
		match.Verdict, match.Code, match.Reason, match.Hint = action.Deny, "deny.outside", "outside of every root", "Write inside the project."
	}
	d.Verdict, d.Matches = match.Verdict, []action.Match{match}
	return d, nil
}

func canon(t testing.TB, v any) []byte {
	b, err := action.Canonical(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// act is what one action leaves in the log.
func act(t testing.TB, n int, session, agent, tool string, effect action.Effect, args string) []action.Record {
	q := action.NewQuery(action.Before)
	q.ID = fmt.Sprintf("act-%d", n)
	q.Subject.ID, q.Subject.User.ID = agent, "user-of-"+agent
	q.Resource.Server, q.Resource.Name, q.Action.Effect = "fs", tool, effect
	q.Action.Arguments = []byte(args)
	d, _ := decision(t.Context(), q, action.Bundle{})
	base := action.Record{Tenant: "default", TimeMs: 1_750_000_000_000 + int64(n)*1000, Action: q.ID, Session: session, Agent: agent,
		User: q.Subject.User.ID, Door: action.DoorMCP, Server: "fs", Tool: tool, Effect: effect, Enforced: true,
		Bundle: action.Bundle{Digest: "sha256:b", Sequence: 4}, Durability: action.DurabilityLocal}
	first := base
	first.Kind, first.Phase, first.Verdict, first.Status = action.KindIntent, action.Before, d.Verdict, action.StatusIntended
	if d.Verdict != action.Allow {
		first.Kind, first.Status = action.KindDecision, action.StatusRefused
	}
	for _, m := range d.Matches {
		first.Rules, first.Codes = append(first.Rules, m.ID), append(first.Codes, m.Code)
	}
	first.Parts = []action.PayloadPart{{Name: action.PartInputBefore, Owner: q.Subject.User.ID, Data: canon(t, q)},
		{Name: action.PartExplanation, Owner: q.Subject.User.ID, Data: canon(t, d)}}
	if d.Verdict != action.Allow {
		return []action.Record{first}
	}
	after := action.NewQuery(action.After)
	after.ID, after.Subject, after.Resource, after.Action = q.ID, q.Subject, q.Resource, q.Action
	d, _ = decision(t.Context(), after, action.Bundle{})
	out := base
	out.Kind, out.Phase, out.Verdict, out.Status = action.KindOutcome, action.After, d.Verdict, action.StatusDone
	out.Parts = []action.PayloadPart{{Name: action.PartInputAfter, Owner: q.Subject.User.ID, Data: canon(t, after)},
		{Name: action.PartExplanation, Owner: q.Subject.User.ID, Data: canon(t, d)}}
	release := base
	release.Kind, release.Phase, release.Status = action.KindRelease, action.After, action.StatusReleased
	return []action.Record{first, out, release}
}

// story appends n actions of three agents in six sessions.
func story(t testing.TB, l *fakeLog, from, n int) {
	for i := from; i < from+n; i++ {
		session, agent := fmt.Sprintf("ses-%d", i%6), fmt.Sprintf("agent-%d", i%3)
		switch i % 5 {
		case 0:
			l.append(act(t, i, session, agent, "send_mail", action.EffectSend, `{"to":"eve@out.example"}`)...)
		case 1:
			l.append(act(t, i, session, agent, "write_file", action.EffectWrite, `{"path":"/etc/passwd"}`)...)
		case 2:
			l.append(act(t, i, session, agent, "write_file", action.EffectWrite, `{"path":"/home/a"}`)...)
		default:
			l.append(act(t, i, session, agent, "read_file", action.EffectRead, `{"path":"/home/b"}`)...)
		}
		if i%20 == 7 {
			l.append(action.Record{Kind: action.KindAlert, TimeMs: 1, Agent: agent, Session: session, Codes: []string{"rate.high"}})
		}
	}
}

// running opens an index at path and runs it until the test ends or stop is called.
func running(t testing.TB, l *fakeLog, path string) (x *Index, stop func()) {
	t.Helper()
	return runningWith(t, l.config(path))
}

func runningWith(t testing.TB, c Config) (x *Index, stop func()) {
	t.Helper()
	x, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return x, stop
}

func caughtUp(t testing.TB, x *Index, l *fakeLog) {
	t.Helper()
	size, _ := l.head(t.Context())
	if err := x.Wait(t.Context(), size-1); err != nil {
		t.Fatal(err)
	}
}

// dump reads every table in order.
func dump(t testing.TB, path string) string {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=query_only(1)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var b strings.Builder
	for _, query := range []string{"SELECT next FROM head", "SELECT * FROM records ORDER BY idx", "SELECT * FROM sessions ORDER BY id",
		"SELECT * FROM agents ORDER BY id", "SELECT * FROM names ORDER BY kind, pseudonym", "SELECT * FROM tally ORDER BY day, phase, verdict, effect, enforced", "SELECT * FROM rule_tally ORDER BY day, rule, what", "SELECT * FROM rule_tally ORDER BY day, rule, what",
		"SELECT rowid FROM words WHERE words MATCH 'write OR read OR deny OR send' ORDER BY rowid"} {
		rows, err := db.Query(query)
		if err != nil {
			t.Fatal(err)
		}
		cols, _ := rows.Columns()
		for rows.Next() {
			vals := make([]any, len(cols))
			for i := range vals {
				vals[i] = new(any)
			}
			if err := rows.Scan(vals...); err != nil {
				t.Fatal(err)
			}
			for _, v := range vals {
				fmt.Fprintf(&b, "%v|", *v.(*any))
			}
			b.WriteByte('\n')
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}
