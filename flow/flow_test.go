// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/store"
	"github.com/sallyport/sallyport/store/memory"
)

const start = int64(1_790_000_000_000)

func fingerprint(label string, parts ...[]byte) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q", label)
	for _, p := range parts {
		fmt.Fprintf(h, "%q", p)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func open(t testing.TB, s store.Store, edit func(*Config)) *Flow {
	t.Helper()
	if s == nil {
		s = memory.Open(memory.Config{})
	}
	c := Config{Store: s, Fingerprint: fingerprint}
	if edit != nil {
		edit(&c)
	}
	f, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func before(id, session, tool, arguments string) *action.Query {
	q := action.NewQuery(action.Before)
	q.ID, q.Subject.ID, q.Subject.User.ID = id, "agent", "user"
	q.Context.Session.ID, q.Context.Session.State = session, action.SessionLive
	q.Context.Time.UnixMilli = start
	q.Resource.Server, q.Resource.Name, _ = strings.Cut(tool, "/")
	q.Action.Effect = action.EffectRead
	q.Action.Arguments = jsontext.Value(arguments)
	return q
}

func after(q *action.Query, content string) *action.Query {
	a := *q
	a.Phase = action.After
	a.Context.Result = action.Result{Status: action.ResultDone, Content: jsontext.Value(content), Bytes: int64(len(content)),
		Truncated: action.No, Opaque: action.No, Kind: "result"}
	a.Context.Detect = action.Detect{State: action.StateKnown, Canary: action.No, Opaque: action.No, Truncated: action.No}
	a.Context.Enforcement.Observed = action.Yes
	return &a
}

func inform(t testing.TB, f *Flow, q *action.Query) action.Flow {
	t.Helper()
	p, err := f.Inform(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	if err := action.ValidatePart(p); err != nil {
		t.Fatal(err)
	}
	p.Put(q)
	return q.Context.Flow
}

func reserve(t testing.TB, f *Flow, q *action.Query) {
	t.Helper()
	inform(t, f, q)
	if err := f.Reserve(context.Background(), q); err != nil {
		t.Fatal(err)
	}
}

// run takes a whole action through both gates.
func run(t testing.TB, f *Flow, q *action.Query, content string) {
	t.Helper()
	reserve(t, f, q)
	a := after(q, content)
	inform(t, f, a)
	f.Settle(context.Background(), a, action.StatusDone)
}

func TestReadingOneServerIsSeenWhenSendingByAnother(t *testing.T) {
	f := open(t, nil, nil)
	if l := inform(t, f, before("0", "s", "mail/send", `{}`)).Session; l.Untrusted != action.No || l.Secrecy != action.SecrecyPublic {
		t.Fatalf("a new session carries %v", l)
	}
	run(t, f, before("1", "s", "files/read", `{"path":"notes.txt"}`), `"hello"`)
	p := inform(t, f, before("2", "s", "mail/send", `{}`))
	if p.Session.Untrusted != action.Yes || p.Session.Secrecy != action.SecrecyInternal || p.Tainted != action.Yes {
		t.Errorf("session %v, tainted %s", p.Session, p.Tainted)
	}
	if len(p.Sources) != 1 || p.Sources[0].Server != "files" || p.Sources[0].Tool != "read" {
		t.Errorf("sources %v", p.Sources)
	}
	if l := inform(t, f, func() *action.Query {
		q := before("3", "t", "mail/send", `{}`)
		q.Subject.User.ID = "somebody else"
		return q
	}()).Session; l.Untrusted != action.No {
		t.Errorf("another user's session carries %v", l)
	}
}

func TestLabelsAreBookedWithTheIntent(t *testing.T) {
	for _, c := range []struct {
		name, tool, arguments string
		effect                action.Effect
		secrecy               action.Secrecy
	}{
		{"a plain file", "files/read", `{"path":"a.txt"}`, action.EffectRead, action.SecrecyInternal},
		{"a credential file", "files/read", `{"path":"/app/.env"}`, action.EffectRead, action.SecrecySecret},
		{"a credential file inside a command", "shell/run", `{"command":"cat ~/.aws/credentials | head"}`, action.EffectExecute, action.SecrecySecret},
		{"a tool named for credentials", "vault/getSecret", `{"name":"x"}`, action.EffectRead, action.SecrecySecret},
		{"writing such a file brings a receipt", "files/write", `{"path":"/app/.env"}`, action.EffectWrite, action.SecrecyInternal},
		{"a public key", "files/read", `{"path":"~/.ssh/id_ed25519.pub"}`, action.EffectRead, action.SecrecyInternal},
		{"an effect nobody knows", "x/y", `{"p":"id_rsa"}`, action.EffectUnknown, action.SecrecySecret},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := open(t, nil, nil)
			q := before("1", "s", c.tool, c.arguments)
			q.Action.Effect = c.effect
			reserve(t, f, q)
			p := inform(t, f, before("2", "s", "mail/send", `{}`))
			if p.Session.Secrecy != c.secrecy {
				t.Errorf("beside the open read: %s, want %s", p.Session.Secrecy, c.secrecy)
			}
			if own := inform(t, f, q).Session.Secrecy; own != action.SecrecyPublic {
				t.Errorf("an action sees its own booking: %s", own)
			}
		})
	}
}

// A pair reads a secret and sends, side by side. A send may go on only if no secret was on the session
// when it was booked; whatever was booked after that is not in its arguments.
func TestParallelPairsNeverSendASecret(t *testing.T) {
	f := open(t, nil, nil)
	ctx := context.Background()
	var sent, refused atomic.Int64
	var wg sync.WaitGroup
	for i := range 100 {
		session := fmt.Sprint("s", i%10) // ten pairs share a session
		q := func(kind, tool, args string) *action.Query {
			q := before(fmt.Sprint(kind, i), session, tool, args)
			q.Subject.User.ID = session
			return q
		}
		read := make(chan struct{})
		wg.Go(func() {
			defer close(read)
			r := q("r", "files/read", `{"path":".env"}`)
			for {
				inform(t, f, r)
				if err := f.Reserve(ctx, r); err == nil {
					break
				} else if !errors.Is(err, enforce.ErrStale) {
					t.Error(err)
					return
				}
			}
		})
		wg.Go(func() {
			<-read // the secret is on its way
			s := q("w", "mail/send", `{"to":"x@example.org"}`)
			s.Action.Effect = action.EffectSend
			for {
				if inform(t, f, s).Session.Secrecy == action.SecrecySecret {
					refused.Add(1)
					return
				}
				if err := f.Reserve(ctx, s); err == nil {
					sent.Add(1)
					return
				} else if !errors.Is(err, enforce.ErrStale) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if sent.Load() != 0 || refused.Load() != 100 {
		t.Errorf("%d sends escaped, %d were refused", sent.Load(), refused.Load())
	}
}

func TestReserveRefusesLabelsThatChanged(t *testing.T) {
	f := open(t, nil, nil)
	send := before("send", "s", "mail/send", `{}`)
	inform(t, f, send)
	reserve(t, f, before("read", "s", "files/read", `{"path":".env"}`))
	if err := f.Reserve(context.Background(), send); !errors.Is(err, enforce.ErrStale) {
		t.Fatalf("reserve on old labels: %v", err)
	}
	reserve(t, f, send)
}

func TestSettleReplacesTheBooking(t *testing.T) {
	for _, c := range []struct {
		name    string
		settle  func(f *Flow, q *action.Query)
		secrecy action.Secrecy
		taint   action.Tri
	}{
		{"never ran: nothing", func(f *Flow, q *action.Query) {
			f.Settle(context.Background(), q, action.StatusFailed)
		}, action.SecrecyPublic, action.No},
		{"nobody knows how it ended: the worst", func(f *Flow, q *action.Query) {
			f.Settle(context.Background(), q, action.StatusUnknown)
		}, action.SecrecySecret, action.Yes},
		{"a failure that we saw, with nothing in it: not secret, but a stranger's words", func(f *Flow, q *action.Query) {
			a := after(q, `"no such file"`)
			a.Context.Result.Status = action.ResultFailed
			inform(t, f, a)
			f.Settle(context.Background(), a, action.StatusFailed)
		}, action.SecrecyInternal, action.Yes},
		{"a failure that is only claimed: the worst", func(f *Flow, q *action.Query) {
			a := after(q, `"no such file"`)
			a.Context.Result.Status, a.Context.Enforcement.Observed = action.ResultFailed, action.No
			inform(t, f, a)
			f.Settle(context.Background(), a, action.StatusFailed)
		}, action.SecrecySecret, action.Yes},
		{"done: as declared", func(f *Flow, q *action.Query) {
			a := after(q, `"x"`)
			inform(t, f, a)
			f.Settle(context.Background(), a, action.StatusDone)
		}, action.SecrecySecret, action.Yes},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := open(t, nil, nil)
			q := before("1", "s", "files/read", `{"path":".env"}`)
			reserve(t, f, q)
			c.settle(f, q)
			l := inform(t, f, before("2", "s", "mail/send", `{}`)).Session
			if l.Secrecy != c.secrecy || l.Untrusted != c.taint {
				t.Errorf("%v", l)
			}
		})
	}
}

func TestFoundSecretsRaiseTheSession(t *testing.T) {
	f := open(t, nil, nil)
	q := before("1", "s", "db/query", `{"sql":"select 1"}`)
	reserve(t, f, q)
	a := after(q, `"key"`)
	a.Context.Detect.Secrets = []action.Secret{{Kind: "aws"}}
	if l := inform(t, f, a).Result; l.Secrecy != action.SecrecySecret {
		t.Errorf("result %v", l)
	}
	// A chunk is released before the action is settled: its labels must stand by then.
	if l := inform(t, f, before("2", "s", "mail/send", `{}`)).Session; l.Secrecy != action.SecrecySecret {
		t.Errorf("before the settlement: %v", l)
	}
}
