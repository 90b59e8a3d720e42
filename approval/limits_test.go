// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// mail is a request with its recipient as a typed fact.
func mail(id, to, text string) enforce.Request {
	return request(id, args(fmt.Sprintf(`{"to":%q,"text":%q}`, to, text)), func(r *enforce.Request) {
		r.Query.Action.Recipients = []action.Recipient{{Kind: "email", Value: to}}
	})
}

func TestDeniedCallsCoolDown(t *testing.T) {
	plain := func(s string) enforce.Request { return request("2", args(s)) }
	for _, c := range []struct {
		name  string
		again enforce.Request
		after time.Duration
		want  action.ApprovalStatus
	}{
		{"the same call", mail("2", "bob@x.example", "hello there"), 14 * time.Minute, action.ApprovalRefused},
		{"the same call after the time", mail("2", "bob@x.example", "hello there"), 16 * time.Minute, action.ApprovalPending},
		{"in capitals", mail("2", "BOB@X.example", "Hello THERE"), 14 * time.Minute, action.ApprovalRefused},
		{"with blanks", mail("2", "bob@x.example", " hello\n\tthere  "), 14 * time.Minute, action.ApprovalRefused},
		{"with invisible characters", mail("2", "bob@x.example", "hel\u200blo the\u202ere"), 14 * time.Minute, action.ApprovalRefused},
		{"members in another order", plain(`{"text":"hello there",  "to":"bob@x.example"}`), 14 * time.Minute, action.ApprovalRefused},
		{"another text to the same person at once", mail("2", "bob@x.example", "good bye"), 30 * time.Second, action.ApprovalRefused},
		{"another text to the same person later", mail("2", "bob@x.example", "good bye"), 61 * time.Second, action.ApprovalPending},
		{"the same text to another person", mail("2", "eve@x.example", "hello there"), 0, action.ApprovalPending},
		{"in another session", request("2", session("s2"), args(`{"to":"bob@x.example","text":"hello there"}`)), time.Minute, action.ApprovalRefused},
		{"by another agent", request("2", agent("a2"), args(`{"to":"bob@x.example","text":"hello there"}`)), 0, action.ApprovalPending},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, restart := range []bool{false, true} {
				b := newBench(t)
				ticket := b.ask(mail("1", "bob@x.example", "hello there"), action.ApprovalPending).Ticket
				if _, err := b.Deny(t.Context(), ticket, olga, "no"); err != nil {
					t.Fatal(err)
				}
				if restart {
					b.reopen()
				}
				b.clock = b.clock.Add(c.after)
				got := b.ask(c.again, c.want)
				if c.want == action.ApprovalRefused && got.Comment != "no" {
					t.Errorf("the reason is %q", got.Comment)
				}
			}
		})
	}
}

func TestVariedCallsCoolLonger(t *testing.T) {
	b := newBench(t)
	wait := time.Minute
	for i := range 4 {
		r := mail(fmt.Sprint(i), "bob@x.example", fmt.Sprint("try ", i))
		if _, err := b.Deny(t.Context(), b.ask(r, action.ApprovalPending).Ticket, olga, "no"); err != nil {
			t.Fatal(err)
		}
		b.clock = b.clock.Add(wait - time.Second)
		b.ask(mail("x", "bob@x.example", fmt.Sprint("other ", i)), action.ApprovalRefused)
		b.clock = b.clock.Add(time.Second)
		wait *= 2
	}
}

func TestSessionsAndAgentsAreBounded(t *testing.T) {
	nth := func(i int, change ...func(*enforce.Request)) enforce.Request {
		return request(fmt.Sprint(i), append(change, args(fmt.Sprintf(`{"n":%d}`, i)))...)
	}
	t.Run("three open requests a session", func(t *testing.T) {
		b := newBench(t)
		var ticket string
		for i := range 3 {
			ticket = b.ask(nth(i), action.ApprovalPending).Ticket
		}
		if _, err := b.Ask(t.Context(), nth(4)); !errors.Is(err, enforce.ErrTooMany) {
			t.Fatalf("the fourth says %v", err)
		}
		b.ask(nth(2), action.ApprovalPending)
		b.ask(nth(5, session("s2")), action.ApprovalPending)
		b.approve(ticket, olga)
		b.ask(nth(4), action.ApprovalPending)
		b.reopen()
		if _, err := b.Ask(t.Context(), nth(6)); !errors.Is(err, enforce.ErrTooMany) {
			t.Fatalf("after a restart the fourth says %v", err)
		}
	})
	t.Run("a rate for each agent, over all its sessions", func(t *testing.T) {
		b := newBench(t)
		in := func(i int) func(*enforce.Request) { return session(fmt.Sprint("s", i)) }
		for i := range 20 {
			b.ask(nth(i, in(i)), action.ApprovalPending)
		}
		for range 2 {
			if _, err := b.Ask(t.Context(), nth(21, in(21))); !errors.Is(err, enforce.ErrTooMany) {
				t.Fatalf("the 21st says %v", err)
			}
			b.reopen()
		}
		b.ask(nth(21, in(21), agent("a2")), action.ApprovalPending)
		b.clock = b.clock.Add(10*time.Minute + time.Second)
		b.ask(nth(21, in(21)), action.ApprovalPending)
	})
	t.Run("a share of the desk for each agent", func(t *testing.T) {
		b := newBench(t, func(c *Config) { c.MaxAgent = 2 })
		for i := range 2 {
			b.ask(nth(i), action.ApprovalPending)
		}
		if _, err := b.Ask(t.Context(), nth(3, session("s2"))); !errors.Is(err, enforce.ErrTooMany) {
			t.Fatalf("the third says %v", err)
		}
		b.ask(nth(3, agent("a2"), session("s2")), action.ApprovalPending)
		b.clock = b.clock.Add(15 * time.Minute)
		b.Sweep(t.Context())
		b.ask(nth(4), action.ApprovalPending)
	})
	t.Run("the desk is full", func(t *testing.T) {
		b := newBench(t, func(c *Config) { c.MaxOpen = 2 })
		one := b.ask(nth(1), action.ApprovalPending).Ticket
		b.ask(nth(2), action.ApprovalPending)
		b.approve(one, olga)
		if _, err := b.Ask(t.Context(), nth(3)); !errors.Is(err, enforce.ErrTooMany) {
			t.Fatalf("a full desk says %v", err)
		}
		if err := b.Consume(t.Context(), one, "1"); err != nil {
			t.Fatal(err)
		}
		b.ask(nth(3), action.ApprovalPending)
	})
}

func TestUnshowableArgumentsAreRefused(t *testing.T) {
	b := newBench(t)
	big := make([]byte, 0, 1<<21)
	big = append(big, '[')
	for range 200_000 {
		big = append(big, `"xx",`...)
	}
	big = append(big[:len(big)-1], ']')
	got := b.ask(request("1", args(string(big))), action.ApprovalRefused)
	if got.Comment != errUnshowable.Error() {
		t.Errorf("the agent hears %q", got.Comment)
	}
	if len(b.pending) != 0 || b.open != 0 || len(b.asks) != 0 || len(b.book.records) != 0 {
		t.Error("something stays behind")
	}
	b.ask(request("2", func(r *enforce.Request) { r.Bytes, r.Binding = nil, "x" }), action.ApprovalRefused)
}
