// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

func TestGrantPassesTheSameCallOnce(t *testing.T) {
	b := newBench(t)
	ticket := b.ask(request("1"), action.ApprovalPending).Ticket
	if again := b.ask(request("1"), action.ApprovalPending).Ticket; again != ticket {
		t.Fatalf("the same call has two tickets, %q and %q", ticket, again)
	}
	changed := b.Changed(request("1").Binding)
	b.approve(ticket, olga)
	select {
	case <-changed:
	default:
		t.Fatal("nobody was told")
	}
	got := b.ask(request("2"), action.ApprovalGranted).Facts
	want := action.Approval{Status: action.ApprovalGranted, ID: ticket, Channel: action.RankOperator, Rules: []string{"base.send"},
		Approvers: []string{"olga"}, SameUID: action.No, Edited: action.No, ExpiresMs: b.clock.Add(15 * time.Minute).UnixMilli()}
	want.Digest = got.Digest
	if fmt.Sprint(got) != fmt.Sprint(want) || got.Digest == "" {
		t.Fatalf("the facts are\n%v, not\n%v", got, want)
	}
	if err := b.Consume(t.Context(), ticket, "2"); err != nil {
		t.Fatal(err)
	}
	if err := b.Consume(t.Context(), ticket, "2"); !errors.Is(err, enforce.ErrConsumed) {
		t.Fatalf("the second use says %v", err)
	}
	if next := b.ask(request("3"), action.ApprovalPending).Ticket; next == ticket {
		t.Fatal("a used grant answers a new call")
	}
	if got := b.book.codes(ticket); !slices.Equal(got, []string{"opened", "approved"}) {
		t.Fatalf("recorded were %q", got)
	}
}

func TestGrantIsUsedOnceByAThousand(t *testing.T) {
	b := newBench(t)
	ticket := b.ask(request("1"), action.ApprovalPending).Ticket
	b.approve(ticket, olga)
	var won atomic.Int64
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			switch err := b.Consume(t.Context(), ticket, fmt.Sprint(i)); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, enforce.ErrConsumed):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Fatalf("%d uses passed", won.Load())
	}
}

// A grant is for one call, of one session, for as long as it says, and by somebody else.
func TestGrantPassesNothingElse(t *testing.T) {
	for _, c := range []struct {
		name   string
		later  time.Duration
		again  enforce.Request
		passes bool
	}{
		{"the same call", 0, request("2"), true},
		{"other arguments", 0, request("2", args(`{"to":"eve@out.example"}`)), false},
		{"another session", 0, request("2", session("s2")), false},
		{"another agent", 0, request("2", func(r *enforce.Request) { r.Query.Subject.ID = "a2" }), false},
		{"another tool", 0, request("2", func(r *enforce.Request) { r.Query.Resource.ID = "mail/forward" }), false},
		{"a rule that asks for more", 0, request("2", demand(action.Approver{Channel: action.RankPasskey})), false},
		{"before it runs out", 15*time.Minute - time.Second, request("2"), true},
		{"when it has run out", 15 * time.Minute, request("2"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			ticket := b.ask(request("1"), action.ApprovalPending).Ticket
			b.approve(ticket, olga)
			b.clock = b.clock.Add(c.later)
			got, err := b.Ask(t.Context(), c.again)
			if err != nil {
				t.Fatal(err)
			}
			if passes := got.Facts.Status == action.ApprovalGranted; passes != c.passes {
				t.Errorf("it gets %q", got.Facts.Status)
			}
		})
	}
}
