// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/enforce/enforcetest"
	"github.com/sallyport/sallyport/store"
	"github.com/sallyport/sallyport/store/memory"
)

// byApproval asks for an operator before and after, and denies an approver who shares the agent's uid.
func byApproval(q *action.Query) (action.Decision, error) {
	switch {
	case q.Context.Approval.SameUID == action.Yes:
		return enforcetest.Rule(action.Deny, "test.same"), nil
	case q.Phase == action.After && q.Context.Result.Status == action.ResultDone && string(q.Context.Result.Content) != `"hold"`:
		return enforcetest.Rule(action.Allow, "test.result"), nil
	}
	return enforcetest.Rule(action.Ask, "test.ask"), nil
}

func TestPathRunsAnApprovedCallOnce(t *testing.T) {
	log := &enforcetest.Log{}
	past := func(ctx context.Context, fn func(*action.Record) error) error {
		return log.History(ctx, func(_ uint64, r *action.Record) error { return fn(r) })
	}
	b := newBench(t, func(c *Config) { c.Record, c.Past, c.Now = log.Append, past, nil })
	st := memory.Open(memory.Config{})
	t.Cleanup(func() { _ = st.Close() })
	cfg := enforcetest.Config(byApproval, log, &enforcetest.Desk{}, st)
	cfg.Approver = b.Desk
	e, err := enforce.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	sub := enforcetest.Subject(action.DoorMCP)
	sub.Channel.UID = 1000
	sess, err := e.Session(t.Context(), &sub, "host", enforce.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var ran atomic.Int64
	try := func(args, result string) (enforce.Admission, enforce.Release) {
		t.Helper()
		adm, rel, err := e.Do(t.Context(), enforce.Attempt{Subject: sub, Session: sess, Name: "tools/call", Type: "tool", Server: "srv", Tool: "pay",
			Arguments: []byte(args), Grade: action.GradeProxy, Separation: action.SeparationUID},
			func(context.Context, enforce.Admission) (enforce.Outcome, error) {
				ran.Add(1)
				return enforce.Outcome{Status: action.ResultDone, Content: []byte(result)}, nil
			})
		if err != nil {
			t.Fatal(err)
		}
		return adm, rel
	}
	adm, _ := try(`{"sum":1}`, `"paid"`)
	if adm.Verdict != action.Ask || adm.Ticket == "" {
		t.Fatalf("the first try gets %+v", adm)
	}
	b.approve(adm.Ticket, olga)
	if other, _ := try(`{"sum":2}`, `"paid"`); other.Verdict != action.Ask || other.Ticket == adm.Ticket {
		t.Fatalf("other arguments get %+v", other)
	}
	if again, rel := try(`{"sum":1}`, `"paid"`); again.Verdict != action.Allow || string(rel.Content) != `"paid"` {
		t.Fatalf("the approved call gets %+v, %+v", again, rel)
	}
	if once, _ := try(`{"sum":1}`, `"paid"`); once.Verdict != action.Ask || ran.Load() != 1 {
		t.Fatalf("the call after it gets %+v, %d ran", once, ran.Load())
	}
	b.reopen()
	if err := b.Consume(t.Context(), adm.Ticket, "x"); !errors.Is(err, enforce.ErrConsumed) {
		t.Fatalf("after a restart Consume says %v", err)
	}
	cfg.Approver = b.Desk
	if e, err = enforce.New(cfg); err != nil {
		t.Fatal(err)
	}
	if err := e.Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	if sess, err = e.Session(t.Context(), &sub, "host2", enforce.SessionOptions{}); err != nil {
		t.Fatal(err)
	}
	same := olga
	same.UID = 1000
	adm, _ = try(`{"sum":3}`, `"paid"`)
	b.approve(adm.Ticket, same)
	if denied, _ := try(`{"sum":3}`, `"paid"`); denied.Verdict != action.Deny || ran.Load() != 1 {
		t.Fatalf("an approval under the agent's uid gets %+v", denied)
	}
	adm, _ = try(`{"sum":4}`, `"hold"`)
	b.approve(adm.Ticket, olga)
	adm, rel := try(`{"sum":4}`, `"hold"`)
	if rel.Status != action.StatusHeld || rel.Ticket == "" || rel.Content != nil {
		t.Fatalf("a result that is asked about gets %+v", rel)
	}
	if v, err := b.Show(t.Context(), rel.Ticket); err != nil || v.Title != "srv/pay: a result to release" || v.Shown.Arguments[0] != `"hold"` ||
		v.ExpiresMs-v.OpenedMs < 23*3_600_000 {
		t.Fatalf("people see %+v, %v", v, err)
	}
	b.approve(rel.Ticket, olga)
	for range 2 {
		if rel, err = e.Held(t.Context(), &sub, adm.ID); err != nil || string(rel.Content) != `"hold"` {
			t.Fatalf("the released result is %+v, %v", rel, err)
		}
	}
}

// TestGrantsKeepTheirPromise plays random histories, with restarts and restored stores, and checks that
// nothing was ever used that was not granted just so, at that time, for that binding, and not yet used.
func TestGrantsKeepTheirPromise(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 7))
		b := newBench(t, func(c *Config) { c.Rate, c.MaxPending, c.Cooldown = 1000, 100, time.Second })
		type truth struct {
			until time.Time
			dead  bool
		}
		grants := map[string]*truth{} // what a strict bookkeeper knows
		tickets := []string{"ap_none"}
		backups := []map[string]store.Entry{b.store.snapshot()}
		for step := range 80 {
			id := tickets[r.IntN(len(tickets))]
			switch r.IntN(9) {
			case 0, 1:
				ans, err := b.Ask(t.Context(), request(fmt.Sprint(step), args(fmt.Sprintf(`[%d]`, r.IntN(6)))))
				if err != nil {
					t.Fatal(err)
				}
				if ans.Ticket != "" {
					tickets = append(tickets, ans.Ticket)
				}
			case 2, 3:
				if _, err := b.Approve(t.Context(), id, olga, ""); err == nil {
					if grants[id] != nil {
						t.Fatalf("seed %d: %s was granted twice", seed, id)
					}
					grants[id] = &truth{until: b.clock.Add(15 * time.Minute)}
				}
			case 4:
				if _, err := b.Revoke(t.Context(), id, olga, ""); err == nil && grants[id] != nil {
					grants[id].dead = true
				}
			case 5, 6:
				g := grants[id]
				may := g != nil && !g.dead && b.clock.Before(g.until)
				err := b.Consume(t.Context(), id, "x")
				if err == nil && !may {
					t.Fatalf("seed %d: %s was used against %+v at %v", seed, id, g, b.clock)
				}
				if err == nil {
					g.dead = true
					b.used(id)
				}
			case 7:
				b.clock = b.clock.Add(time.Duration(r.IntN(600)) * time.Second)
				b.Sweep(t.Context())
			case 8:
				backups = append(backups, b.store.snapshot())
				if r.IntN(2) == 0 {
					b.store.restore(backups[r.IntN(len(backups))])
				}
				b.reopen()
			}
		}
	}
}

func TestRacingAnswersLeaveOneTruth(t *testing.T) {
	for range 50 {
		b := newBench(t)
		ticket := b.ask(request("1"), action.ApprovalPending).Ticket
		var wg sync.WaitGroup
		var used, granted, denied, revoked atomic.Int64
		count := func(n *atomic.Int64, err error) {
			if err == nil {
				n.Add(1)
			}
		}
		for i := range 8 {
			wg.Go(func() {
				_, err := b.Approve(t.Context(), ticket, Actor{ID: fmt.Sprint(i), Channel: action.RankOperator}, "")
				count(&granted, err)
				count(&used, b.Consume(t.Context(), ticket, "1"))
			})
			wg.Go(func() {
				_, err := b.Deny(t.Context(), ticket, olga, "")
				count(&denied, err)
				if i == 0 {
					_, err = b.Revoke(t.Context(), ticket, olga, "")
					count(&revoked, err)
				}
			})
			wg.Go(func() {
				_, _ = b.Ask(t.Context(), request(fmt.Sprint(i)))
				_, _ = b.List(t.Context(), Filter{})
				_, _ = b.Show(t.Context(), ticket)
				b.Sweep(t.Context())
			})
		}
		wg.Wait()
		if granted.Load()+denied.Load() > 1 || used.Load() > granted.Load() || used.Load()+revoked.Load() > 1 {
			t.Fatalf("granted %d, denied %d, used %d, revoked %d", granted.Load(), denied.Load(), used.Load(), revoked.Load())
		}
	}
}

func TestStricterRulesReplaceAnAsk(t *testing.T) {
	b := newBench(t)
	weak := request("1", demand(action.Approver{Channel: action.RankClient}))
	strict := request("2", demand(action.Approver{Channel: action.RankPasskey}))
	one := b.ask(weak, action.ApprovalPending).Ticket
	b.approve(one, olga)
	strict.Action = "1" // also for the action that waited
	two := b.ask(strict, action.ApprovalPending).Ticket
	if two == one {
		t.Fatal("an old grant answers a stricter rule")
	}
	if err := b.Consume(t.Context(), one, "1"); !errors.Is(err, enforce.ErrConsumed) {
		t.Fatalf("the replaced grant is used: %v", err)
	}
	if got := b.book.codes(one); got[len(got)-1] != codeReplaced {
		t.Errorf("recorded were %q", got)
	}
}

func TestOneAskForManyAtOnce(t *testing.T) {
	b := newBench(t)
	var wg sync.WaitGroup
	var seen sync.Map
	for i := range 200 {
		wg.Go(func() {
			ans, err := b.Ask(t.Context(), request(fmt.Sprint(i)))
			if err != nil || ans.Status != action.ApprovalPending {
				t.Errorf("%v, %v", ans, err)
			}
			seen.Store(ans.Ticket, true)
		})
	}
	wg.Wait()
	n := 0
	seen.Range(func(any, any) bool { n++; return true })
	if n > maxEqual || n < 2 || len(b.book.records) != n {
		t.Fatalf("%d tickets and %d records", n, len(b.book.records))
	}
	if list, err := b.List(t.Context(), Filter{State: Pending}); err != nil || len(list) != 1 || len(list[0].Equal) != n-1 {
		t.Fatalf("%d items are shown, %v", len(list), err)
	}
}

func BenchmarkAskApproveConsume(bm *testing.B) {
	b := newBench(bm, func(c *Config) { c.Rate, c.MaxPending, c.MaxAgent, c.MaxOpen = 1<<40, 1<<40, 1<<40, 1<<40 })
	for i := 0; bm.Loop(); i++ {
		ans, err := b.Ask(context.Background(), request(fmt.Sprint(i), args(fmt.Sprintf(`{"n":%d,"text":"a line of text"}`, i))))
		if err != nil {
			bm.Fatal(err)
		}
		b.approve(ans.Ticket, olga)
		if err := b.Consume(context.Background(), ans.Ticket, "x"); err != nil {
			bm.Fatal(err)
		}
		b.book.records = nil
		if i%512 == 511 {
			b.clock = b.clock.Add(25 * time.Hour)
			b.Sweep(context.Background())
		}
	}
}
