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
