// SPDX-License-Identifier: Apache-2.0

package enforcetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// TestInformer checks what every Informer owes: a valid part for a query in which all is unknown, at both
// gates, without changing the query, and under concurrency.
func TestInformer(t *testing.T, in enforce.Informer, queries ...*action.Query) {
	t.Helper()
	queries = append(queries, action.NewQuery(action.Before), action.NewQuery(action.After))
	for _, q := range queries {
		before, err := action.Canonical(q)
		if err != nil {
			t.Fatalf("the query cannot be encoded: %v", err)
		}
		part, err := in.Inform(t.Context(), q)
		if err != nil {
			t.Errorf("Inform at gate %s: %v", q.Phase, err)
			continue
		}
		if err := action.ValidatePart(part); err != nil {
			t.Errorf("the part stated at gate %s is invalid: %v", q.Phase, err)
		}
		if after, _ := action.Canonical(q); string(after) != string(before) {
			t.Errorf("Inform at gate %s changed the query", q.Phase)
		}
	}
	var wg sync.WaitGroup
	for range 8 {
		for _, q := range queries {
			wg.Go(func() { _, _ = in.Inform(context.Background(), q) })
		}
	}
	wg.Wait()
}

// TestReserver checks that of n racing actions, each of which may go on only while take still accepts the
// stated facts, exactly want are booked, and that failed ones give their place back.
func TestReserver(t *testing.T, r enforce.Reserver, query func(i int) *action.Query, accept func(q *action.Query) bool, n, want int) {
	t.Helper()
	try := func(i int) (*action.Query, bool) {
		for range 1000 {
			q := query(i)
			part, err := r.Inform(t.Context(), q)
			if err != nil {
				t.Errorf("Inform: %v", err)
				return q, false
			}
			part.Put(q)
			if !accept(q) {
				return q, false
			}
			switch err := r.Reserve(t.Context(), q); {
			case errors.Is(err, enforce.ErrStale):
				continue
			case err != nil:
				t.Errorf("Reserve: %v", err)
				return q, false
			}
			return q, true
		}
		t.Error("Reserve was stale 1000 times")
		return nil, false
	}
	var mu sync.Mutex
	var booked []*action.Query
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if q, ok := try(i); ok {
				mu.Lock()
				booked = append(booked, q)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(booked) != want {
		t.Fatalf("%d of %d racing actions were booked, want %d", len(booked), n, want)
	}
	r.Settle(t.Context(), booked[0], action.StatusFailed)
	if _, ok := try(n); !ok {
		t.Error("a failed action did not give its place back")
	}
	r.Settle(t.Context(), booked[1], action.StatusUnknown)
	if _, ok := try(n + 1); ok {
		t.Error("an action of unknown outcome gave its place back")
	}
}

// TestDecider checks what every Decider owes: never an allow without a bundle digest, the same answer for
// the same query, no change of the query, and no allow for a query in which all is unknown.
func TestDecider(t *testing.T, d enforce.Decider, queries ...*action.Query) {
	t.Helper()
	blank := action.NewQuery(action.Before)
	if got, err := d.Decide(t.Context(), blank); err == nil && got.Verdict == action.Allow {
		t.Error("a query in which all is unknown is allowed")
	}
	for _, q := range append(queries, blank) {
		was, _ := action.Canonical(q)
		first, err := d.Decide(t.Context(), q)
		if err != nil {
			t.Errorf("Decide: %v", err)
			continue
		}
		if first.Bundle.Digest == "" {
			t.Error("a decision names no bundle")
		}
		one, _ := action.Canonical(&first)
		for range 5 {
			again, err := d.Decide(t.Context(), q)
			two, _ := action.Canonical(&again)
			if err != nil || string(one) != string(two) {
				t.Errorf("the same query is decided differently:\n%s\n%s (%v)", one, two, err)
				break
			}
		}
		if is, _ := action.Canonical(q); string(is) != string(was) {
			t.Error("Decide changed the query")
		}
	}
}

// TestApprover checks what every Approver owes. decide answers an open ticket as a person; it must
// succeed for an open one.
func TestApprover(t *testing.T, a enforce.Approver, decide func(ticket string, grant bool) error) {
	t.Helper()
	ctx := t.Context()
	n := 0
	request := func() enforce.Request {
		n++
		q := action.NewQuery(action.Before)
		q.Subject.ID, q.Context.Session.ID = "bot", fmt.Sprintf("session-%d", n)
		q.Resource.Server, q.Resource.Name, q.Resource.ID = "srv", fmt.Sprintf("tool%d", n), fmt.Sprintf("srv/tool%d", n)
		d := Rule(action.Ask, "test.ask")
		return enforce.Request{Action: fmt.Sprintf("A%d", n), Query: q, Decision: d, Bytes: []byte(`{}`),
			Binding: fmt.Sprintf("sha256:%064d", n), Expires: time.Now().Add(time.Hour)}
	}
	must := func(r enforce.Request, want action.ApprovalStatus) enforce.Answer {
		t.Helper()
		ans, err := a.Ask(ctx, r)
		if err != nil || ans.Status != want {
			t.Fatalf("Ask answers %q (%v), want %q", ans.Status, err, want)
		}
		return ans
	}
	t.Run("a grant is used once", func(t *testing.T) {
		r := request()
		first := must(r, action.ApprovalPending)
		if again := must(r, action.ApprovalPending); again.Ticket != first.Ticket {
			t.Errorf("the same question got tickets %q and %q", first.Ticket, again.Ticket)
		}
		changed := a.Changed(r.Binding)
		if err := decide(first.Ticket, true); err != nil {
			t.Fatal(err)
		}
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			t.Fatal("nobody was told that the answer changed")
		}
		facts := must(r, action.ApprovalGranted).Facts
		if err := action.ValidatePart(facts); err != nil {
			t.Errorf("the facts of a grant are invalid: %v", err)
		}
		var wg sync.WaitGroup
		won := make(chan error, 100)
		for range 100 {
			wg.Go(func() { won <- a.Consume(ctx, facts.ID, r.Action) })
		}
		wg.Wait()
		close(won)
		ok := 0
		for err := range won {
			if err == nil {
				ok++
			} else if !errors.Is(err, enforce.ErrConsumed) {
				t.Errorf("Consume: %v, want ErrConsumed", err)
			}
		}
		if ok != 1 {
			t.Errorf("a grant was used %d times", ok)
		}
	})
	t.Run("a refusal refuses", func(t *testing.T) {
		r := request()
		if err := decide(must(r, action.ApprovalPending).Ticket, false); err != nil {
			t.Fatal(err)
		}
		must(r, action.ApprovalRefused)
	})
	t.Run("another binding is another question", func(t *testing.T) {
		r, s := request(), request()
		if x, y := must(r, action.ApprovalPending), must(s, action.ApprovalPending); x.Ticket == y.Ticket {
			t.Error("two questions share a ticket")
		}
	})
	t.Run("nobody can use a grant that was never given", func(t *testing.T) {
		if err := a.Consume(ctx, "no-such-grant", "A"); !errors.Is(err, enforce.ErrConsumed) {
			t.Errorf("Consume: %v, want ErrConsumed", err)
		}
	})
}

// TestRecorder checks what every Recorder owes: indexes that grow by one, receipts within a signed tree,
// payloads that come back, no two records of one (action, round, kind), and no durability it cannot keep.
func TestRecorder(t *testing.T, r enforce.Recorder, p enforce.Payloads) {
	t.Helper()
	ctx := t.Context()
	rec := func(id string, kind action.Kind) *action.Record {
		return &action.Record{Kind: kind, Tenant: "default", Action: id, Session: "s", Agent: "bot", User: "ann", Door: action.DoorAPI,
			Verdict: action.Allow, Enforced: true, Status: action.StatusIntended, Durability: action.DurabilityLocal,
			Parts: []action.PayloadPart{{Name: action.PartArguments, Owner: "ann", Data: []byte(`{"of":"` + id + `"}`)}}}
	}
	a, err := r.Append(ctx, rec("A1", action.KindIntent))
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.Append(ctx, rec("A2", action.KindIntent))
	if err != nil {
		t.Fatal(err)
	}
	if b.Index != a.Index+1 || b.Size <= b.Index || a.Leaf == b.Leaf || a.Origin != b.Origin {
		t.Errorf("receipts %+v and %+v do not follow each other", a, b)
	}
	if got, err := p.Payload(ctx, b.Index, action.PartArguments); err != nil || string(got) != `{"of":"A2"}` {
		t.Errorf("Payload gives %q (%v)", got, err)
	}
	if _, err := p.Payload(ctx, b.Index, action.PartResult); err == nil {
		t.Error("a part that was never given comes back")
	}
	if _, err := r.Append(ctx, rec("A1", action.KindIntent)); err == nil {
		t.Error("a second intent of one action is recorded")
	}
	if _, err := r.Append(ctx, rec("A1", action.KindOutcome)); err != nil {
		t.Errorf("another kind of the same action: %v", err)
	}
	w := rec("A3", action.KindIntent)
	w.Durability = action.DurabilityWitnessed
	if _, err := r.Append(ctx, w); err == nil {
		t.Error("a witnessed record is acknowledged without a witness")
	}
	var wg sync.WaitGroup
	seen := make(chan uint64, 64)
	for i := range 64 {
		wg.Go(func() {
			got, err := r.Append(ctx, rec(fmt.Sprintf("P%d", i), action.KindIntent))
			if err != nil {
				t.Errorf("Append: %v", err)
			}
			seen <- got.Index
		})
	}
	wg.Wait()
	close(seen)
	unique := map[uint64]bool{}
	for i := range seen {
		unique[i] = true
	}
	if len(unique) != 64 {
		t.Errorf("64 parallel records got %d indexes", len(unique))
	}
}
