// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/store"
	"github.com/sallyport/sallyport/store/memory"
)

func TestLabelsOutliveProcessAndSession(t *testing.T) {
	st := memory.Open(memory.Config{})
	f := open(t, st, nil)
	run(t, f, before("1", "s", "files/read", `{"path":".env"}`), `"x"`)
	f = open(t, st, nil) // a new process
	p := inform(t, f, before("2", "s", "mail/send", `{}`))
	if p.Session.Secrecy != action.SecrecySecret || p.Truncated != action.Yes || len(p.Sources) != 1 {
		t.Errorf("after a restart: %v, truncated %s, sources %v", p.Session, p.Truncated, p.Sources)
	}
	if l := inform(t, f, before("3", "next", "mail/send", `{}`)).Session; l.Secrecy != action.SecrecySecret {
		t.Errorf("the next session: %v", l)
	}
	late := before("4", "tomorrow", "mail/send", `{}`)
	late.Context.Time.UnixMilli += (9 * time.Hour).Milliseconds()
	if l := inform(t, f, late).Session; l.Secrecy != action.SecrecyPublic {
		t.Errorf("after expiry: %v", l)
	}
	same := before("5", "s", "mail/send", `{}`)
	same.Context.Time.UnixMilli = late.Context.Time.UnixMilli
	if l := inform(t, f, same).Session; l.Secrecy != action.SecrecySecret {
		t.Errorf("labels expired in a living session: %v", l)
	}
}

// Short sessions that read harmless things must not keep an old secret alive for ever.
func TestInheritedLabelsDoNotProlongThemselves(t *testing.T) {
	f := open(t, nil, nil)
	run(t, f, before("0", "s0", "files/read", `{"path":".env"}`), `"x"`)
	for i := 1; i <= 4; i++ {
		q := before(fmt.Sprint(i), fmt.Sprint("s", i), "files/read", `{"path":"a.txt"}`)
		q.Context.Time.UnixMilli = start + int64(i)*(3*time.Hour).Milliseconds()
		run(t, f, q, `"x"`)
		want := action.SecrecySecret
		if i > 2 {
			want = action.SecrecyInternal
		}
		if l := inform(t, f, q).Session.Secrecy; l != want {
			t.Errorf("after %d h: %s, want %s", 3*i, l, want)
		}
	}
}

func TestLostPastIsUnknown(t *testing.T) {
	for name, edit := range map[string]func(*action.Query){
		"the door says it was lost":  func(q *action.Query) { q.Context.Session.State = action.SessionLost },
		"nobody knows":               func(q *action.Query) { q.Context.Session.State = action.SessionUnknown },
		"actions that nobody stored": func(q *action.Query) { q.Context.Session.Seq = 3 },
	} {
		f := open(t, nil, nil)
		q := before("1", "s", "a/b", `{}`)
		edit(q)
		if p := inform(t, f, q); p.Session.Secrecy != action.SecrecyUnknown || p.Session.Untrusted != action.TriUnknown || p.Truncated != action.Yes {
			t.Errorf("%s: %v", name, p.Session)
		}
	}
}

// The user's words may come before the first action, after a restart that lost the labels.
func TestWordsDoNotMakeALostPastClean(t *testing.T) {
	f := open(t, nil, nil)
	q := before("1", "s", "a/b", `{"to":"bob@example.org"}`)
	hear(f, q, action.AssertedSDK, "write to bob@example.org")
	q.Context.Session.State = action.SessionLost
	p := inform(t, f, q)
	if p.Session.Secrecy != action.SecrecyUnknown {
		t.Errorf("labels %v", p.Session)
	}
	if v := valueAt(t, p, "/to"); v.Origin != action.OriginUser {
		t.Errorf("the words were lost: %s", v.Origin)
	}
}

func TestExpiredLabelsAreNotInheritedThroughTheRequest(t *testing.T) {
	f := open(t, nil, nil)
	run(t, f, before("1", "s", "files/read", `{"path":".env"}`), `"x"`)
	q := before("2", "later", "a/b", `{}`)
	q.Context.Time.UnixMilli += (9 * time.Hour).Milliseconds()
	hear(f, q, action.AssertedSDK, "hello")
	if l := inform(t, f, q).Session; l.Secrecy != action.SecrecyPublic {
		t.Errorf("labels %v", l)
	}
}

func TestSweepDeletesOnlyWhatExpired(t *testing.T) {
	st := memory.Open(memory.Config{})
	f := open(t, st, nil)
	ctx := context.Background()
	run(t, f, before("1", "old", "files/read", `{"path":".env"}`), `"x"`)
	q := before("2", "new", "files/read", `{"path":"a"}`)
	q.Subject.User.ID = "other"
	q.Context.Time.UnixMilli += (20 * time.Hour).Milliseconds()
	run(t, f, q, `"x"`)
	if err := f.Sweep(ctx, q.Subject.Tenant, time.UnixMilli(start).Add(20*time.Hour)); err != nil {
		t.Fatal(err)
	}
	left, err := st.List(ctx, "", "", 0)
	if err != nil || len(left) != 2 {
		t.Errorf("%d records are left, want session and subject of the new one (%v)", len(left), err)
	}
}

func TestDamagedRecordIsUnknown(t *testing.T) {
	st := memory.Open(memory.Config{})
	run(t, open(t, st, nil), before("1", "s", "files/read", `{"path":"a"}`), `"x"`)
	ctx := context.Background()
	all, err := st.List(ctx, "", "", 0)
	if err != nil || len(all) != 2 {
		t.Fatalf("%d records, %v", len(all), err)
	}
	for _, e := range all {
		if _, err := st.Put(ctx, e.Key, []byte(`{"labels":{"untrusted":"no"`), e.Revision); err != nil {
			t.Fatal(err)
		}
	}
	f := open(t, st, nil)
	for _, session := range []string{"s", "next"} {
		if l := inform(t, f, before("2", session, "a/b", `{}`)).Session; l.Secrecy != action.SecrecyUnknown {
			t.Errorf("session %q: %v", session, l)
		}
	}
}

// broken is a store whose writes fail while it is set.
type broken struct {
	store.Store
	down atomic.Bool
}

func (b *broken) Put(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	if b.down.Load() {
		return 0, errors.New("disk full")
	}
	return b.Store.Put(ctx, key, value, rev)
}

func TestNothingGoesOnWhileLabelsCannotBeWritten(t *testing.T) {
	b := &broken{Store: memory.Open(memory.Config{})}
	f := open(t, b, nil)
	q := before("1", "s", "files/read", `{"path":".env"}`)
	inform(t, f, q)
	b.down.Store(true)
	if err := f.Reserve(context.Background(), q); err == nil {
		t.Fatal("a label was booked that is nowhere durable")
	}
	b.down.Store(false)
	reserve(t, f, q)
	a := after(q, `"x"`)
	a.Context.Detect.Secrets = []action.Secret{{Kind: "k"}}
	a.Context.Detect.Opaque = action.Yes
	b.down.Store(true)
	if _, err := f.Inform(context.Background(), a); err == nil {
		t.Fatal("a result may be released whose label is nowhere durable")
	}
	b.down.Store(false)
	f.Settle(context.Background(), a, action.StatusDone)
	if l := inform(t, f, before("2", "s", "a/b", `{}`)).Session; l.Opaque != action.Yes {
		t.Errorf("%v", l)
	}
}

// Feeding a long past in again at the start must not write every session anew.
func TestRestoreWritesOnlyWhatIsMissing(t *testing.T) {
	st := memory.Open(memory.Config{})
	q := before("1", "s", "files/read", `{"path":".env"}`)
	run(t, open(t, st, nil), q, `"x"`)
	revision := func() (newest uint64) {
		all, err := st.List(context.Background(), "", "", 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			newest = max(newest, e.Revision)
		}
		return newest
	}
	was := revision()
	f := open(t, st, nil)
	if err := f.Restore(context.Background(), q); err != nil {
		t.Fatal(err)
	}
	f.Settle(context.Background(), after(q, `"x"`), action.StatusDone)
	if is := revision(); is != was {
		t.Errorf("the store was written: revision %d, was %d", is, was)
	}
	if l := inform(t, f, before("2", "s", "a/b", `{}`)).Session; l.Secrecy != action.SecrecySecret {
		t.Errorf("labels %v", l)
	}
	lost := open(t, nil, nil) // the store is gone, the log is not
	if err := lost.Restore(context.Background(), q); err != nil {
		t.Fatal(err)
	}
	lost.Settle(context.Background(), after(q, `"x"`), action.StatusDone)
	next := before("2", "s", "a/b", `{}`)
	next.Context.Session.Seq = 1
	if l := inform(t, lost, next).Session; l.Secrecy != action.SecrecySecret || l.Untrusted != action.Yes {
		t.Errorf("rebuilt from the log: %v", l)
	}
}

func TestForgetKeepsLabelsAndDropsWords(t *testing.T) {
	f := open(t, nil, nil)
	ctx := context.Background()
	q := before("1", "s", "files/read", `{"path":".env"}`)
	f.Hear(ctx, "s", &q.Subject, enforce.Said{Kind: action.PartUserRequest, By: action.AssertedSDK, Text: []byte("mail bob@example.org")})
	run(t, f, q, `"eve@example.org"`)
	if err := f.Forget(ctx, q.Subject.Tenant, "s"); err != nil {
		t.Fatal(err)
	}
	p := inform(t, f, before("2", "s", "mail/send", `{"to":"bob@example.org","cc":"eve@example.org"}`))
	if p.Session.Secrecy != action.SecrecySecret || len(p.Sources) != 0 || p.Truncated != action.Yes {
		t.Errorf("session %v, sources %v, truncated %s", p.Session, p.Sources, p.Truncated)
	}
	for _, v := range p.Arguments {
		if v.Origin != action.OriginUnseen {
			t.Errorf("%s is still %s", v.Pointer, v.Origin)
		}
	}
}

func TestSessionsAreBounded(t *testing.T) {
	f := open(t, nil, func(c *Config) { c.MaxSessions, c.MaxSources = 4, 3 })
	for i := range 20 {
		q := before("1", fmt.Sprint("s", i), "files/read", `{"path":".env"}`)
		q.Subject.User.ID = fmt.Sprint("u", i)
		run(t, f, q, `"x"`)
	}
	if len(f.sessions) > 4 {
		t.Errorf("%d sessions in memory", len(f.sessions))
	}
	q := before("2", "s0", "mail/send", `{}`)
	q.Subject.User.ID = "u0"
	if l := inform(t, f, q).Session; l.Secrecy != action.SecrecySecret {
		t.Errorf("an evicted session came back as %v", l)
	}
	for i := range 5 {
		run(t, f, before(fmt.Sprint("x", i), "many", fmt.Sprint("server", i, "/read"), `{}`), `"x"`)
	}
	if p := inform(t, f, before("y", "many", "a/b", `{}`)); len(p.Sources) != 3 || p.Truncated != action.Yes {
		t.Errorf("%d sources, truncated %s", len(p.Sources), p.Truncated)
	}
}

// A past that nobody can read yet is asked for again, however often; one that fails is given up.
func TestPastIsReadOnceItCanBe(t *testing.T) {
	st := memory.Open(memory.Config{})
	said := enforce.Said{By: action.AssertedHook, Kind: action.PartUserRequest, Text: []byte("Write to lily@partner.example.")}
	send := before("2", "s", "mail/send", `{"to":"lily@partner.example"}`)
	send.Context.Session.Seq, send.Context.Session.Request.Bytes = 1, 1
	first := open(t, st, nil)
	first.Hear(t.Context(), "s", &send.Subject, said)
	run(t, first, before("1", "s", "files/read", `{"path":"a.txt"}`), `"x"`)
	for _, c := range []struct {
		name string
		err  error
		want string
	}{{"not yet", ErrNotYet, "user"}, {"broken", errors.New("broken"), "none"}} {
		t.Run(c.name, func(t *testing.T) {
			var asked int
			f := open(t, st, func(x *Config) {
				x.Recall = func(_ context.Context, _, _ string, fn func(Recalled) error) error {
					if asked++; asked <= 3*maxRecalls {
						return c.err
					}
					return fn(Recalled{Said: said.Text})
				}
			})
			for range 3 * maxRecalls {
				if p := inform(t, f, send); p.Truncated != action.Yes || p.Arguments[0].Grade != "none" {
					t.Fatalf("before: %+v", p)
				}
			}
			if p := inform(t, f, send); p.Arguments[0].Grade != c.want {
				t.Errorf("after: %+v", p)
			}
		})
	}
}

// A session that has not acted yet has no past of its own to be read, whatever its subject read before.
func TestNewSessionReadsNoPast(t *testing.T) {
	asked := 0
	f := open(t, nil, func(x *Config) {
		x.Recall = func(context.Context, string, string, func(Recalled) error) error { asked++; return ErrNotYet }
	})
	run(t, f, before("1", "s", "files/read", `{"path":"a.txt"}`), `"x"`)
	inform(t, f, before("2", "next", "mail/send", `{}`))
	if asked != 0 {
		t.Errorf("asked %d times", asked)
	}
	old := before("3", "s2", "mail/send", `{}`)
	if old.Context.Session.Seq, old.Context.Session.Request.Bytes = 4, 1; inform(t, f, old).Truncated != action.Yes || asked != 1 {
		t.Errorf("a session with a past: asked %d times", asked)
	}
}
