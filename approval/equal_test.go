// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// shownAs lists what waits: the first item and how many stand behind it.
func (b *bench) waits() []View {
	b.t.Helper()
	list, err := b.List(b.t.Context(), Filter{State: Pending})
	if err != nil {
		b.t.Fatal(err)
	}
	return list
}

func TestEqualRequestsAreShownAndAnsweredAsOne(t *testing.T) {
	b := newBench(t)
	tickets := map[string]string{}
	for i := range 5 {
		id := fmt.Sprint(i)
		tickets[id] = b.ask(request(id, session("s"+id)), action.ApprovalPending).Ticket
	}
	list := b.waits()
	if len(list) != 1 || len(list[0].Equal) != 4 {
		t.Fatalf("%d items are shown", len(list))
	}
	who := olga
	who.Among = list[0].Equal
	if _, err := b.Approve(t.Context(), list[0].ID, who, ""); err != nil {
		t.Fatal(err)
	}
	for id, ticket := range tickets {
		ans := b.ask(request(id, session("s"+id)), action.ApprovalGranted)
		if ans.Ticket != ticket {
			t.Errorf("action %s has the grant of another", id)
		}
		if got := b.book.codes(ticket); len(got) != 2 || got[1] != CodeApproved {
			t.Errorf("recorded of %s: %q", ticket, got)
		}
		if err := b.Consume(t.Context(), ticket, id); err != nil {
			t.Errorf("the grant of %s: %v", id, err)
		}
		if err := b.Consume(t.Context(), ticket, id); !errors.Is(err, enforce.ErrConsumed) {
			t.Errorf("the grant of %s is used twice: %v", id, err)
		}
	}
	if n := len(b.waits()); n != 0 {
		t.Errorf("%d items still wait", n)
	}
}

func TestUnequalRequestsStandAlone(t *testing.T) {
	risk := func(n int) func(*enforce.Request) {
		return func(r *enforce.Request) {
			r.Query.Context.Monitor.State, r.Query.Context.Monitor.Risk = action.StateKnown, n
		}
	}
	for name, change := range map[string]func(*enforce.Request){
		"of another agent":          agent("a2"),
		"for another user":          func(r *enforce.Request) { r.Query.Subject.User.ID = "bob" },
		"of another instance":       func(r *enforce.Request) { r.Query.Subject.Instance = "other" },
		"with other arguments":      args(`{"to":"eve@out.example","text":"hello"}`),
		"with other white space":    args(`{"to":"bob@out.example", "text":"hello"}`),
		"of another tool":           func(r *enforce.Request) { r.Query.Resource.ID = "mail/post" },
		"of another definition":     func(r *enforce.Request) { r.Query.Resource.Definition.Digest = "sha256:other" },
		"under another policy":      func(r *enforce.Request) { r.Decision.Bundle.Digest = "sha256:other" },
		"with other demands":        demand(action.Approver{Quorum: 2}),
		"with a higher risk":        risk(501),
		"with an unknown risk":      func(r *enforce.Request) { r.Query.Context.Monitor.State = action.StateUnknown },
		"with a finding":            func(r *enforce.Request) { r.Query.Context.Detect.State = action.StateKnown },
		"through another token":     func(r *enforce.Request) { r.Query.Subject.Channel.CredID = "t2" },
		"with traced values":        traced,
		"with another obligation":   func(r *enforce.Request) { r.Decision.Obligations = []action.Obligation{{Type: "log", Rule: "x"}} },
		"of an undefended runtime":  func(r *enforce.Request) { r.Query.Context.Enforcement.Separation = action.SeparationNone },
		"with a changed definition": func(r *enforce.Request) { r.Query.Resource.Definition.State = action.DefinitionChanged },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.ask(request("1", risk(500)), action.ApprovalPending)
			odd := b.ask(request("2", risk(500), session("s2"), change), action.ApprovalPending).Ticket
			list := b.waits()
			if len(list) != 2 || len(list[0].Equal)+len(list[1].Equal) != 0 {
				t.Fatalf("%d items, %v and %v behind them", len(list), list[0].Equal, list[1].Equal)
			}
			first := list[0].ID
			if first == odd {
				first = list[1].ID
			}
			who := olga
			who.Among = []string{odd}
			if _, err := b.Approve(t.Context(), first, who, ""); !errors.Is(err, ErrChanged) {
				t.Errorf("they are answered together: %v", err)
			}
		})
	}
	t.Run("a lower risk goes with a higher one that was shown", func(t *testing.T) {
		b := newBench(t)
		b.ask(request("1", risk(500)), action.ApprovalPending)
		b.ask(request("2", risk(100), session("s2")), action.ApprovalPending)
		if list := b.waits(); len(list) != 1 || len(list[0].Equal) != 1 {
			t.Fatalf("%d items", len(list))
		}
	})
}

// What came after the person looked is not covered by his answer.
func TestAnswerCoversOnlyWhatWasShown(t *testing.T) {
	b := newBench(t)
	b.ask(request("1"), action.ApprovalPending)
	b.ask(request("2", session("s2")), action.ApprovalPending)
	shown := b.waits()[0]
	late := b.ask(request("3", session("s3")), action.ApprovalPending).Ticket
	who := olga
	who.Among = shown.Equal
	if _, err := b.Approve(t.Context(), shown.ID, who, ""); err != nil {
		t.Fatal(err)
	}
	if list := b.waits(); len(list) != 1 || list[0].ID != late {
		t.Fatalf("%d items wait", len(list))
	}
	if _, err := b.Approve(t.Context(), late, who, ""); !errors.Is(err, ErrChanged) {
		t.Errorf("an answered request is answered again with another: %v", err)
	}
	b.approve(late, olga)
}

func TestOneAnsweredAloneLeavesTheOthersWaiting(t *testing.T) {
	b := newBench(t)
	for i := range 4 {
		b.ask(request(fmt.Sprint(i), session(fmt.Sprint("s", i))), action.ApprovalPending)
	}
	b.approve(b.waits()[0].ID, olga)
	if list := b.waits(); len(list) != 1 || len(list[0].Equal) != 2 {
		t.Fatalf("%d items wait", len(list))
	}
	who := olga
	who.Among = b.waits()[0].Equal
	if _, err := b.Deny(t.Context(), b.waits()[0].ID, who, "no"); err != nil {
		t.Fatal(err)
	}
	if n := len(b.waits()); n != 0 {
		t.Fatalf("%d items wait", n)
	}
}

func TestTwoPeopleAnswerEqualRequestsTogether(t *testing.T) {
	b := newBench(t)
	quorum := demand(action.Approver{Quorum: 2})
	for i := range 3 {
		b.ask(request(fmt.Sprint(i), session(fmt.Sprint("s", i)), quorum), action.ApprovalPending)
	}
	for i, name := range []string{"olga", "piet"} {
		list := b.waits()
		if len(list) != 1 || len(list[0].Equal) != 2 {
			t.Fatalf("before %s, %d items are shown", name, len(list))
		}
		_, err := b.Approve(t.Context(), list[0].ID, Actor{ID: name, Channel: action.RankOperator, Among: list[0].Equal}, "")
		if want := i == 1; (err == nil) != want || !want && !errors.Is(err, ErrMore) {
			t.Fatalf("%s: %v", name, err)
		}
	}
	for i := range 3 {
		b.ask(request(fmt.Sprint(i), session(fmt.Sprint("s", i)), quorum), action.ApprovalGranted)
	}
}

// One signature holds for exactly those requests whose documents it is over.
func TestSignatureOverEqualRequestsHoldsForEachOfThem(t *testing.T) {
	b := newBench(t)
	for i := range 3 {
		b.ask(request(fmt.Sprint(i), session(fmt.Sprint("s", i)), passkey()), action.ApprovalPending)
	}
	v := b.waits()[0]
	signed := func(among []string) Actor {
		c, _, err := b.Challenge(t.Context(), v.ID, "approve", "", nil, among...)
		if err != nil {
			t.Fatal(err)
		}
		return Actor{ID: "olga", Channel: action.RankOperator, Evidence: fmt.Sprintf("signed by olga %x", c)}
	}
	for name, forged := range map[string]Actor{
		"a signature over the first alone":  signed(nil),
		"a signature over some of them":     signed(v.Equal[:1]),
		"a signature of somebody else's":    {ID: "piet", Channel: action.RankOperator, Evidence: signed(v.Equal).Evidence},
		"no signature, of a lower channel":  {ID: "olga", Channel: action.RankBearer},
		"no signature, and passkey claimed": {ID: "olga", Channel: action.RankPasskey},
	} {
		forged.Among = v.Equal
		if _, err := b.Approve(t.Context(), v.ID, forged, ""); err == nil {
			t.Fatalf("%s grants", name)
		}
	}
	b2 := signed(v.Equal)
	b2.Among = v.Equal
	if _, err := b.Approve(t.Context(), v.ID, b2, ""); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		ans := b.ask(request(fmt.Sprint(i), session(fmt.Sprint("s", i)), passkey()), action.ApprovalGranted)
		w, err := b.Show(t.Context(), ans.Ticket)
		if err != nil {
			t.Fatal(err)
		}
		g := w.Answers[len(w.Answers)-1]
		detail, err := action.Canonical(g)
		if err != nil {
			t.Fatal(err)
		}
		if _, c, err := Signed(w.ID, CodeApproved, w.Digest, detail); err != nil || g.Evidence != fmt.Sprintf("signed by olga %x", c) {
			t.Errorf("a stranger cannot check the answer to %s: %v", w.ID, err)
		}
		if _, _, err := Signed(w.ID, CodeApproved, "sha256:another", detail); err == nil {
			t.Error("the answer passes for one to another document")
		}
	}
	b.reopen()
	for i := range 3 {
		b.ask(request(fmt.Sprint(i), session(fmt.Sprint("s", i)), passkey()), action.ApprovalGranted)
	}
}

// Many equal calls at once: none runs on another's grant, and no grant is used twice.
func TestManyEqualCallsAndAnswers(t *testing.T) {
	b := newBench(t, func(c *Config) { c.MaxAgent, c.MaxOpen, c.Rate = 2000, 2000, 2000 })
	var wg sync.WaitGroup
	var mu sync.Mutex
	uses := map[string]int{}
	for i := range 200 {
		id := fmt.Sprint(i)
		wg.Go(func() {
			ans, err := b.Ask(context.Background(), request(id, session(fmt.Sprint("s", i%100))))
			if err != nil {
				if !errors.Is(err, enforce.ErrTooMany) {
					t.Error(err)
				}
				return
			}
			for range 20 {
				if b.Consume(context.Background(), ans.Ticket, id) == nil {
					mu.Lock()
					uses[ans.Ticket]++
					mu.Unlock()
				}
				runtime.Gosched()
			}
		})
		wg.Go(func() {
			list, _ := b.List(context.Background(), Filter{State: Pending, Limit: 1})
			if len(list) == 1 {
				who := Actor{ID: fmt.Sprint("p", i), Channel: action.RankOperator, Among: list[0].Equal}
				_, _ = b.Approve(context.Background(), list[0].ID, who, "")
			}
		})
	}
	wg.Wait()
	granted := 0
	list, err := b.List(t.Context(), Filter{State: Used, Limit: 2000})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range list {
		granted++
		if uses[v.ID] != 1 || len(v.Answers) != 1 {
			t.Errorf("%s: used %d times after %d answers", v.ID, uses[v.ID], len(v.Answers))
		}
	}
	if granted == 0 || granted != len(uses) {
		t.Errorf("%d grants are used and %d were counted", granted, len(uses))
	}
}
