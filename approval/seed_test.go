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

func (b *bench) seed(change ...func(*enforce.Request)) View {
	b.t.Helper()
	v, err := b.Seed(b.t.Context(), "root", request("none", change...))
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

// There is no way from a seeded request to something that runs: not its id, not its binding, not a restart.
func TestSeedGrantsNothing(t *testing.T) {
	b := newBench(t)
	v := b.seed()
	if _, err := b.Approve(t.Context(), v.ID, olga, ""); err != nil {
		t.Fatal(err)
	}
	if err := b.Consume(t.Context(), v.ID, "none"); !errors.Is(err, enforce.ErrConsumed) {
		t.Fatalf("a seeded request is used: %v", err)
	}
	// The same call of the same agent is a question of its own, and the id of the seed answers nothing.
	if real := b.ask(request("1"), action.ApprovalPending).Ticket; real == v.ID {
		t.Fatal("the seed is the ticket of a real call")
	}
	for _, r := range b.book.records {
		if r.Grant == v.ID {
			t.Error("a record names the seed as a grant")
		}
	}
	if len(b.store.snapshot()) != 1 {
		t.Error("the seed is stored")
	}
	b.reopen()
	if _, err := b.Show(t.Context(), v.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("it is there after a restart: %v", err)
	}
	if err := b.Consume(t.Context(), v.ID, "none"); !errors.Is(err, enforce.ErrConsumed) {
		t.Fatalf("after a restart it is used: %v", err)
	}
}

func TestSeedLooksLikeAnyRequestUntilItIsAnswered(t *testing.T) {
	b := newBench(t)
	real := b.ask(request("1", args(`{"n":1}`)), action.ApprovalPending).Ticket
	v := b.seed()
	list := b.waits()
	if len(list) != 2 || len(b.book.records) != 1 {
		t.Fatalf("%d items wait, %d records", len(list), len(b.book.records))
	}
	other, err := b.Show(t.Context(), real)
	if err != nil {
		t.Fatal(err)
	}
	if v.Test != "" || v.Title != other.Title || v.Revision != other.Revision || len(v.Digest) != len(other.Digest) || v.Action == "" || len(v.ID) != len(other.ID) ||
		fmt.Sprint(v.Needs) != fmt.Sprint(other.Needs) || v.Requester != other.Requester {
		t.Errorf("it shows as %+v\nbeside %+v", v, other)
	}
}

func TestSeedIsCountedAsCaughtOrMissed(t *testing.T) {
	for _, c := range []struct{ verb, code, test string }{
		{"deny", CodeCaught, "caught"}, {"revoke", CodeCaught, "caught"}, {"approve", CodeMissed, "missed"}, {"edit", CodeMissed, "missed"}, {"", codeUnasked, "expired"},
	} {
		t.Run("it is answered with "+c.verb, func(t *testing.T) {
			b := newBench(t)
			v := b.seed()
			b.Seen(v.ID, "olga")
			b.clock = b.clock.Add(3 * time.Second)
			var err error
			switch c.verb {
			case "deny":
				_, err = b.Deny(t.Context(), v.ID, olga, "odd")
			case "revoke":
				_, err = b.Revoke(t.Context(), v.ID, olga, "odd")
			case "approve":
				_, err = b.Approve(t.Context(), v.ID, olga, "")
			case "edit":
				_, err = b.Edit(t.Context(), v.ID, olga, "", []byte(`{"n":2}`))
			default:
				b.clock = b.clock.Add(time.Hour)
				b.Sweep(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			if v, err = b.Show(t.Context(), v.ID); err != nil || v.Test != c.test || v.State.Live() || v.Shown.Arguments != nil {
				t.Fatalf("it stands at %+v, %v", v, err)
			}
			last := b.book.records[len(b.book.records)-1]
			var a SeedAnswer
			if err := action.Read(last.Parts[1].Data, &a, action.Limits{}); err != nil {
				t.Fatal(err)
			}
			if last.Codes[0] != c.code || a.By != "root" || c.verb != "" && (a.Approver != "olga" || a.SeenMs != 3000) {
				t.Errorf("recorded is %q, %+v", last.Codes, a)
			}
			if _, err := b.Approve(t.Context(), v.ID, olga, ""); !errors.Is(err, ErrState) {
				t.Errorf("it is answered twice: %v", err)
			}
		})
	}
}

func TestSeedHasLimits(t *testing.T) {
	b := newBench(t, func(c *Config) { c.SeedRate = 3 })
	v := b.seed()
	if _, err := b.Deny(t.Context(), v.ID, Actor{ID: "Root", Channel: action.RankOperator}, ""); !errors.Is(err, ErrOwn) {
		t.Errorf("who seeded it answers it: %v", err)
	}
	if _, err := b.Approve(t.Context(), v.ID, Actor{ID: "a1", Channel: action.RankOperator, Agent: "a1"}, ""); !errors.Is(err, ErrOwn) {
		t.Errorf("an agent answers it: %v", err)
	}
	b.seed()
	b.seed()
	if _, err := b.Seed(t.Context(), "root", request("x")); !errors.Is(err, ErrSeeds) {
		t.Errorf("the fourth of a day: %v", err)
	}
	b.clock = b.clock.Add(25 * time.Hour)
	b.seed()
	if _, err := b.Seed(t.Context(), "root", request("x", func(r *enforce.Request) { r.Decision.Verdict = action.Deny })); err == nil {
		t.Error("what nobody would be asked about is seeded")
	}
	// The record must be durable before anybody learns what it was.
	w := b.seed()
	b.book.fail = errors.New("disk full")
	if _, err := b.Approve(t.Context(), w.ID, olga, ""); err == nil {
		t.Error("an answer counts without its record")
	}
	if got, _ := b.Show(t.Context(), w.ID); got.Test != "" || got.State != Pending {
		t.Errorf("it has ended without a record: %+v", got)
	}
}
