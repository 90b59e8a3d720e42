// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/enforce/enforcetest"
	"github.com/sallyport/sallyport/store"
)

func TestDeskIsAnApprover(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Now = nil })
	enforcetest.TestApprover(t, b.Desk, func(ticket string, grant bool) error {
		answer := b.Approve
		if !grant {
			answer = b.Deny
		}
		_, err := answer(t.Context(), ticket, olga, "")
		return err
	})
}

func TestGrantSurvivesARestart(t *testing.T) {
	b := newBench(t)
	ticket := b.ask(request("1"), action.ApprovalPending).Ticket
	b.reopen()
	b.approve(ticket, olga)
	before := b.ask(request("1"), action.ApprovalGranted)
	b.reopen()
	if after := b.ask(request("1"), action.ApprovalGranted); after.Facts.Digest != before.Facts.Digest ||
		!after.Expires.Equal(before.Expires) {
		t.Fatalf("the grant was %+v and is %+v", before, after)
	}
	if err := b.Consume(t.Context(), ticket, "1"); err != nil {
		t.Fatal(err)
	}
	b.reopen()
	if err := b.Consume(t.Context(), ticket, "1"); !errors.Is(err, enforce.ErrConsumed) {
		t.Fatalf("after a restart: %v", err)
	}
}

// used appends the intent that follows the use of a grant.
func (b *bench) used(ticket string) {
	_, err := b.book.append(b.t.Context(), &action.Record{Kind: action.KindIntent, Action: "used " + ticket, Grant: ticket})
	if err != nil {
		b.t.Fatal(err)
	}
}

func TestRestoredStoreRevivesNoGrant(t *testing.T) {
	for _, c := range []struct {
		name string
		then func(b *bench, ticket string)
		want error
	}{
		{"used", func(b *bench, ticket string) {
			if err := b.Consume(b.t.Context(), ticket, "1"); err != nil {
				b.t.Fatal(err)
			}
			b.used(ticket)
		}, enforce.ErrConsumed},
		{"revoked", func(b *bench, ticket string) {
			if _, err := b.Revoke(b.t.Context(), ticket, olga, ""); err != nil {
				b.t.Fatal(err)
			}
		}, enforce.ErrConsumed},
		{"expired, and the clock set back", func(b *bench, ticket string) {
			at := b.clock
			b.clock = b.clock.Add(16 * time.Minute)
			b.Sweep(b.t.Context())
			b.clock = at
		}, enforce.ErrConsumed},
		{"nothing happened", func(*bench, string) {}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			ticket := b.ask(request("1"), action.ApprovalPending).Ticket
			asked := b.store.snapshot()
			b.approve(ticket, olga)
			granted := b.store.snapshot()
			c.then(b, ticket)
			b.store.restore(granted)
			if c.want != nil { // also without a restart
				if err := b.Consume(t.Context(), ticket, "2"); !errors.Is(err, c.want) {
					t.Fatalf("while running: %v", err)
				}
				b.store.restore(granted)
			}
			b.reopen()
			if err := b.Consume(t.Context(), ticket, "2"); !errors.Is(err, c.want) {
				t.Fatalf("Consume says %v, want %v", err, c.want)
			}
			// A copy from before the grant makes it an open question at most, never a second grant.
			b.store.restore(asked)
			b.reopen()
			if _, err := b.Approve(t.Context(), ticket, olga, ""); err == nil {
				t.Fatal("a request that was answered can be answered again")
			}
		})
	}
}

func TestForgedRowsCountForNothing(t *testing.T) {
	edit := func(from, to string) func(b *bench, key string, e store.Entry) {
		return func(b *bench, key string, e store.Entry) {
			v := bytes.Replace(e.Value, []byte(from), []byte(to), 1)
			if bytes.Equal(v, e.Value) {
				b.t.Fatalf("%q is not in %s", from, e.Value)
			}
			if _, err := b.store.Put(b.t.Context(), key, v, e.Revision); err != nil {
				b.t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name    string
		granted bool
		forge   func(b *bench, key string, e store.Entry)
	}{
		{"an open request made a grant", false, edit(`"state":"pending"`, `"state":"granted"`)},
		{"a grant made a request again", true, edit(`"state":"granted"`, `"state":"pending"`)},
		{"another binding", false, edit(`"binding":"s1 a1`, `"binding":"s1 a2`)},
		{"another binding of a grant", true, edit(`"binding":"s1 a1`, `"binding":"s1 a2`)},
		{"other arguments shown", false, edit(`bob@out`, `eve@out`)},
		{"a weaker demand", false, edit(`"channel":"operator"`, `"channel":"client"`)},
		{"a longer life", false, edit(`"expires_ms":1`, `"expires_ms":2`)},
		{"a longer life of the grant", true, edit(`"grant_ms":`, `"grant_ms":9`)},
		{"another session", false, edit(`"session":"s1"`, `"session":"s2"`)},
		{"another approver", true, edit(`"approver":"olga"`, `"approver":"otto"`)},
		{"a better channel", true, edit(`"answers":[{"approve":true,"approver":"olga","channel":"operator"`,
			`"answers":[{"approve":true,"approver":"olga","channel":"passkey"`)},
		{"another uid", true, edit(`"same_uid":"no"`, `"same_uid":"unknown"`)},
		{"an unknown member", false, edit(`"format":1`, `"format":1,"x":1`)},
		{"another format", false, edit(`"format":1`, `"format":2`)},
		{"another id", false, func(b *bench, key string, e store.Entry) {
			if _, err := b.store.Put(b.t.Context(), key+"x", e.Value, 0); err != nil {
				b.t.Fatal(err)
			}
			_ = b.store.Delete(b.t.Context(), key, e.Revision)
		}},
		{"no JSON", false, func(b *bench, key string, e store.Entry) {
			if _, err := b.store.Put(b.t.Context(), key, []byte("{"), e.Revision); err != nil {
				b.t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			ticket := b.ask(request("1"), action.ApprovalPending).Ticket
			if c.granted {
				b.approve(ticket, olga)
			}
			key := b.key(ticket)
			e, err := b.store.Get(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			c.forge(b, key, e)
			b.reopen()
			if v, err := b.Show(t.Context(), ticket); err == nil && v.State.Live() {
				t.Fatalf("the row is %s", v.State)
			}
			if err := b.Consume(t.Context(), ticket, "1"); !errors.Is(err, enforce.ErrConsumed) {
				t.Fatalf("Consume says %v", err)
			}
		})
	}
}

func TestRowWithoutRecordsIsDropped(t *testing.T) {
	b := newBench(t)
	ticket := b.ask(request("1"), action.ApprovalPending).Ticket
	b.approve(ticket, olga)
	b.book.records = nil
	b.reopen()
	if err := b.Consume(t.Context(), ticket, "1"); !errors.Is(err, enforce.ErrConsumed) {
		t.Fatalf("Consume says %v", err)
	}
}

func TestAnswersTakeEffectOnlyWhenRecorded(t *testing.T) {
	full := errors.New("disk full")
	for _, late := range []bool{false, true} {
		b := newBench(t)
		ticket := b.ask(request("1"), action.ApprovalPending).Ticket
		b.book.fail, b.book.late = full, nil
		if late {
			b.book.fail, b.book.late = nil, full
		}
		if _, err := b.Approve(t.Context(), ticket, olga, ""); !errors.Is(err, full) {
			t.Fatalf("Approve says %v", err)
		}
		b.ask(request("1"), action.ApprovalPending)
		if err := b.Consume(t.Context(), ticket, "1"); !errors.Is(err, enforce.ErrConsumed) {
			t.Fatalf("an unrecorded grant is used: %v", err)
		}
		if _, err := b.Ask(t.Context(), request("2", args(`[1]`))); !errors.Is(err, full) {
			t.Fatalf("an unrecorded request is opened: %v", err)
		}
		b.book.fail, b.book.late = nil, nil
		stored := b.store.snapshot()
		b.reopen()
		if late { // the ledger knows of a grant that nobody was told of
			if err := b.Consume(t.Context(), ticket, "1"); !errors.Is(err, enforce.ErrConsumed) {
				t.Fatalf("the unacknowledged grant lives: %v", err)
			}
			continue
		}
		b.store.restore(stored)
		b.approve(ticket, olga)
		if err := b.Consume(t.Context(), ticket, "1"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStoreFailureBurnsTheGrant(t *testing.T) {
	b := newBench(t)
	ticket := b.ask(request("1"), action.ApprovalPending).Ticket
	b.approve(ticket, olga)
	b.store.fail = errors.New("disk full")
	if err := b.Consume(t.Context(), ticket, "1"); err == nil || errors.Is(err, enforce.ErrConsumed) {
		t.Fatalf("Consume says %v", err)
	}
	b.store.fail = nil
	if err := b.Consume(t.Context(), ticket, "1"); !errors.Is(err, enforce.ErrConsumed) {
		t.Fatalf("the second Consume says %v", err)
	}
	b.Sweep(t.Context())
	b.reopen()
	if err := b.Consume(t.Context(), ticket, "1"); !errors.Is(err, enforce.ErrConsumed) {
		t.Fatalf("after a restart: %v", err)
	}
}

func TestTimeEndsAsksAndGrants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *Config) { c.Now = nil })
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.Run(ctx) }()
		one := b.ask(request("1"), action.ApprovalPending).Ticket
		changed := b.Changed(request("1").Binding)
		time.Sleep(15*time.Minute + 2*time.Second)
		select {
		case <-changed:
		default:
			t.Error("nobody was told of the expiry")
		}
		b.ask(request("1"), action.ApprovalExpired)
		if _, err := b.Approve(ctx, one, olga, ""); !errors.Is(err, ErrState) {
			t.Errorf("an expired request can be approved: %v", err)
		}
		two := b.ask(request("2"), action.ApprovalPending).Ticket
		b.approve(two, olga)
		time.Sleep(15*time.Minute + 2*time.Second)
		if err := b.Consume(ctx, two, "2"); !errors.Is(err, enforce.ErrConsumed) {
			t.Errorf("an expired grant is used: %v", err)
		}
		short := request("3", demand(action.Approver{TTL: 60}))
		b.ask(short, action.ApprovalPending)
		time.Sleep(62 * time.Second)
		b.ask(short, action.ApprovalExpired)
		if got := b.book.codes(one); len(got) != 2 || got[1] != codeExpired {
			t.Errorf("recorded were %q", got)
		}
		time.Sleep(25 * time.Hour)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if len(b.asks) != 0 || len(b.opened) != 0 || len(b.byBinding) != 0 || len(b.store.snapshot()) != 0 {
			t.Errorf("%d asks are kept for ever", len(b.asks))
		}
	})
}

func TestTimeNeedsNobodyToPass(t *testing.T) {
	for _, back := range []bool{false, true} {
		b := newBench(t)
		ticket := b.ask(request("1"), action.ApprovalPending).Ticket
		b.approve(ticket, olga)
		b.clock = b.clock.Add(15 * time.Minute)
		if back { // it was seen once, and is then set back
			b.ask(request("2", args(`[]`)), action.ApprovalPending)
			b.clock = b.clock.Add(-15 * time.Minute)
		}
		if err := b.Consume(t.Context(), ticket, "1"); !errors.Is(err, enforce.ErrConsumed) {
			t.Errorf("clock set back %v: Consume says %v", back, err)
		}
	}
}

func TestEndedRowsHoldNoArguments(t *testing.T) {
	b := newBench(t)
	r := request("1", func(r *enforce.Request) { r.Binding = "sha256:77" })
	ticket := b.ask(r, action.ApprovalPending).Ticket
	b.approve(ticket, olga)
	if err := b.Consume(t.Context(), ticket, "1"); err != nil {
		t.Fatal(err)
	}
	e, err := b.store.Get(t.Context(), b.key(ticket))
	if err != nil || bytes.Contains(e.Value, []byte("bob@out")) {
		t.Errorf("the stored row is %s, %v", e.Value, err)
	}
}
