// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/store"
)

// shelf is a Store in memory that can be copied and put back, as a backup can.
type shelf struct {
	mu      sync.Mutex
	entries map[string]store.Entry
	rev     uint64
	fail    error
}

func newShelf() *shelf { return &shelf{entries: map[string]store.Entry{}} }

func (m *shelf) Get(_ context.Context, key string) (store.Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[key]
	if !ok {
		return e, store.ErrNotFound
	}
	return e, m.fail
}

func (m *shelf) Put(_ context.Context, key string, value []byte, rev uint64) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.fail != nil:
		return 0, m.fail
	case m.entries[key].Revision != rev:
		return 0, store.ErrConflict
	case len(value) > store.MaxValueBytes:
		return 0, store.ErrLarge
	}
	m.rev++
	m.entries[key] = store.Entry{Key: key, Value: slices.Clone(value), Revision: m.rev}
	return m.rev, nil
}

func (m *shelf) Delete(_ context.Context, key string, rev uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[key]
	switch {
	case m.fail != nil:
		return m.fail
	case !ok:
		return store.ErrNotFound
	case e.Revision != rev:
		return store.ErrConflict
	}
	delete(m.entries, key)
	return nil
}

func (m *shelf) List(_ context.Context, prefix, after string, limit int) ([]store.Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if limit == 0 {
		limit = 1000
	}
	var out []store.Entry
	for _, k := range slices.Sorted(maps.Keys(m.entries)) {
		if strings.HasPrefix(k, prefix) && k > after && len(out) < limit {
			out = append(out, m.entries[k])
		}
	}
	return out, m.fail
}

func (m *shelf) Watch(context.Context, string) (<-chan store.Event, error) {
	return nil, errors.New("not watched here")
}

func (m *shelf) Close() error { return nil }

func (m *shelf) snapshot() map[string]store.Entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.entries)
}

func (m *shelf) restore(s map[string]store.Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries = maps.Clone(s)
}

// book is a ledger in memory that refuses a repeated (action, round, kind).
type book struct {
	mu      sync.Mutex
	records []*action.Record
	fail    error // returned without recording
	late    error // returned after recording
}

func (b *book) append(_ context.Context, r *action.Record) (action.Receipt, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return action.Receipt{}, b.fail
	}
	for _, o := range b.records {
		if o.Action != "" && o.Action == r.Action && o.Round == r.Round && o.Kind == r.Kind {
			return action.Receipt{}, fmt.Errorf("record %s/%d/%s repeats", r.Action, r.Round, r.Kind)
		}
	}
	c := *r
	b.records = append(b.records, &c)
	return action.Receipt{Index: uint64(len(b.records))}, b.late
}

func (b *book) past(_ context.Context, fn func(r *action.Record) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.records {
		if err := fn(r); err != nil {
			return err
		}
	}
	return nil
}

// codes are the codes of the records about a grant, oldest first.
func (b *book) codes(grant string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for _, r := range b.records {
		if r.Grant == grant && r.Kind == action.KindApproval {
			out = append(out, r.Codes...)
		}
	}
	return out
}

// bench is a desk with its surroundings.
type bench struct {
	*Desk
	t     testing.TB
	store *shelf
	book  *book
	cfg   Config
	clock time.Time
}

func newBench(t testing.TB, change ...func(*Config)) *bench {
	b := &bench{t: t, store: newShelf(), book: &book{}, clock: time.UnixMilli(1_790_000_000_000)}
	b.cfg = Config{Store: b.store, Record: b.book.append, Past: b.book.past, Now: func() time.Time { return b.clock }, Prove: prove}
	for _, c := range change {
		c(&b.cfg)
	}
	b.reopen()
	return b
}

func (b *bench) reopen() {
	b.t.Helper()
	d, err := Open(b.t.Context(), b.cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.Desk = d
}

// request asks for one mail, as session s1 of agent a1; change bends it.
func request(id string, change ...func(*enforce.Request)) enforce.Request {
	q := action.NewQuery(action.Before)
	q.Subject.ID, q.Subject.User.ID, q.Subject.Channel.UID = "a1", "ann", 1000
	q.Context.Session.ID = "s1"
	q.Resource.ID, q.Resource.Server, q.Resource.Name = "mail/send", "mail", "send"
	q.Action.Name, q.Action.Effect = "tools/call", action.EffectSend
	r := enforce.Request{
		Action: id, Query: q, Bytes: []byte(`{"to":"bob@out.example","text":"hello"}`),
		Decision: action.Decision{Verdict: action.Ask, Matches: []action.Match{
			{ID: "base.send", Verdict: action.Ask, Reason: "sends out", Code: "send", Severity: "medium"}}},
	}
	for _, c := range change {
		c(&r)
	}
	if r.Binding == "" {
		r.Binding = fmt.Sprintf("%s %s %s %s", q.Context.Session.ID, q.Subject.ID, q.Resource.ID, r.Bytes)
	}
	return r
}

// traced says that the origin of every value is known, and harmless.
func traced(r *enforce.Request) { r.Query.Context.Flow.State = action.StateKnown }

func session(id string) func(*enforce.Request) {
	return func(r *enforce.Request) { r.Query.Context.Session.ID = id }
}

func agent(id string) func(*enforce.Request) {
	return func(r *enforce.Request) { r.Query.Subject.ID = id }
}

func args(s string) func(*enforce.Request) {
	return func(r *enforce.Request) { r.Bytes = []byte(s) }
}

func demand(a ...action.Approver) func(*enforce.Request) {
	return func(r *enforce.Request) {
		r.Decision.Matches = nil
		for i, ap := range a {
			r.Decision.Matches = append(r.Decision.Matches,
				action.Match{ID: fmt.Sprintf("r%d", i), Verdict: action.Ask, Approver: ap})
		}
	}
}

// prove takes as a passkey's signature of person what sign makes.
func prove(_ context.Context, person string, challenge []byte, evidence string) (action.Rank, error) {
	if evidence != "signed by "+person+" "+hex.EncodeToString(challenge) {
		return action.RankUnknown, errors.New("forged")
	}
	return action.RankPasskey, nil
}

// sign gives who, if he comes with a passkey, a signature for one answer.
func (b *bench) sign(id string, who Actor, verb, comment string, edit []byte) Actor {
	b.t.Helper()
	if who.Channel != action.RankPasskey {
		return who
	}
	c, _, err := b.Challenge(b.t.Context(), id, verb, comment, edit)
	if err != nil {
		b.t.Fatal(err)
	}
	who.Evidence = "signed by " + who.ID + " " + hex.EncodeToString(c)
	return who
}

var olga = Actor{ID: "olga", Channel: action.RankOperator, UID: 2000, HasUID: true}

func (b *bench) ask(r enforce.Request, want action.ApprovalStatus) enforce.Answer {
	b.t.Helper()
	ans, err := b.Ask(b.t.Context(), r)
	if err != nil {
		b.t.Fatal(err)
	}
	if ans.Status != want {
		b.t.Fatalf("the answer is %q (%s), not %q", ans.Status, ans.Comment, want)
	}
	return ans
}

func (b *bench) approve(id string, who Actor) {
	b.t.Helper()
	if _, err := b.Approve(b.t.Context(), id, b.sign(id, who, "approve", "", nil), ""); err != nil {
		b.t.Fatal(err)
	}
}
