// SPDX-License-Identifier: Apache-2.0

package enforce_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/enforce/enforcetest"
)

func TestParallelPaymentsNeverPassACap(t *testing.T) {
	cap := &enforcetest.Cap{Cost: func(*action.Query) int64 { return 10 }}
	r := newRig(t, func(q *action.Query) (action.Decision, error) {
		if q.Phase == action.Before && q.Context.History.Counters[0].Value+10 > 100 {
			return enforcetest.Rule(action.Deny, "test.cap"), nil
		}
		return enforcetest.Rule(action.Allow, "test.allow"), nil
	}, func(c *enforce.Config) { c.Stages = [][]enforce.Source{{{Name: "cap", Informer: cap}}} })
	var ran atomic.Int64
	var wg sync.WaitGroup
	for i := range 50 {
		sub := r.sub
		sub.User.ID = fmt.Sprintf("user-%d", i%7) // several sessions: their locks do not help
		sess, err := r.Session(t.Context(), &sub, "host", enforce.SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			a := r.attempt("read", fmt.Sprintf("c%d", i), `{"amount":10}`)
			a.Subject, a.Session = sub, sess
			_, _, _ = r.Do(context.Background(), a, done(&ran, `"paid"`))
		})
	}
	wg.Wait()
	if ran.Load() != 10 || cap.Value() != 100 {
		t.Errorf("%d payments ran, the counter stands at %d", ran.Load(), cap.Value())
	}
}

func TestDuplicatesRunOnce(t *testing.T) {
	r := newRig(t, byTool, nil)
	var ran atomic.Int64
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { _, _, _ = r.Do(context.Background(), r.attempt("read", "same", `{}`), done(&ran, `"ok"`)) })
	}
	wg.Wait()
	if ran.Load() != 1 {
		t.Errorf("one call ran %d times", ran.Load())
	}
}

func TestExecutionThatPanicsIsUnknown(t *testing.T) {
	r := newRig(t, byTool, nil)
	_, rel, err := r.Do(t.Context(), r.attempt("write", "c", `{}`), func(context.Context, enforce.Admission) (enforce.Outcome, error) { panic("boom") })
	if err == nil || rel.Content != nil || len(r.log.Of(action.KindUnknown)) != 1 {
		t.Errorf("release %+v, %v", rel, err)
	}
}

func TestExecutionThatErrsIsFailed(t *testing.T) {
	r := newRig(t, byTool, nil)
	ctx, cancel := context.WithCancel(t.Context())
	_, _, err := r.Do(ctx, r.attempt("write", "c", `{}`), func(context.Context, enforce.Admission) (enforce.Outcome, error) {
		cancel() // the caller leaves while it runs
		return enforce.Outcome{}, errors.New("upstream is gone")
	})
	if out := r.log.Of(action.KindOutcome); err == nil || len(out) != 1 || out[0].Status != action.StatusFailed {
		t.Errorf("outcomes %v, %v", out, err)
	}
}

func TestChunksAreJudged(t *testing.T) {
	r := newRig(t, byTool, nil)
	adm, _ := r.Before(t.Context(), r.attempt("read", "c", `{}`))
	for i, c := range []struct {
		content string
		status  action.Status
	}{{`"one"`, action.StatusReleased}, {`"a secret"`, action.StatusWithheld}, {`"two"`, action.StatusReleased}} {
		rel, err := r.Chunk(t.Context(), &r.sub, adm.ID, enforce.Outcome{Status: action.ResultDone, Kind: "progress", Content: []byte(c.content)})
		if err != nil || rel.Status != c.status {
			t.Errorf("chunk %d: %+v, %v", i, rel, err)
		}
	}
	if len(r.log.Of(action.KindRound)) != 1 || len(r.log.Of(action.KindDecision)) != 1 {
		t.Error("the rounds are not on record")
	}
}

func TestSplitSecretIsSeenWhole(t *testing.T) {
	r := newRig(t, byTool, nil)
	adm, _ := r.Before(t.Context(), r.attempt("read", "c", `{}`))
	for i, c := range []struct {
		content string
		status  action.Status
	}{
		{`{"message":"here is a sec"}`, action.StatusReleased},
		{`{"message":"ret, in two halves"}`, action.StatusWithheld},
		{`{"message":"and nothing else"}`, action.StatusReleased},
		{`{"secr":"et"}`, action.StatusReleased},
	} {
		rel, err := r.Chunk(t.Context(), &r.sub, adm.ID, enforce.Outcome{Status: action.ResultDone, Kind: "log", Content: []byte(c.content)})
		if err != nil || rel.Status != c.status {
			t.Errorf("chunk %d: %+v, %v", i, rel, err)
		}
	}
}

func TestMalformedAttemptsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, byTool, nil)
		for _, args := range []string{`{"a":1,"A":2}`, `[1]`, `{`, `{"a":12345678901234567890}`} {
			if _, err := r.Before(t.Context(), r.attempt("read", "", args)); !errors.Is(err, enforce.ErrMalformed) {
				t.Errorf("%s: %v", args, err)
			}
		}
		for range 1000 {
			r.Malformed(t.Context(), action.DoorAPI, "10.0.0.1", "token")
		}
		time.Sleep(2 * time.Minute)
		_ = r.Sweep(t.Context())
		var n, counted int64
		for _, rec := range r.log.Of(action.KindDecision) {
			if len(rec.Codes) == 1 && rec.Codes[0] == "malformed.token" {
				n++
				counted += rec.Count
			}
		}
		if n != 2 || counted != 1000 {
			t.Errorf("%d records count %d attempts", n, counted)
		}
	})
}

func TestSessionsAreNotShared(t *testing.T) {
	r := newRig(t, byTool, nil)
	again, err := r.Session(t.Context(), &r.sub, "host", enforce.SessionOptions{})
	if err != nil || again != r.sess {
		t.Fatalf("the same conversation got %q and %q (%v)", r.sess, again, err)
	}
	for name, change := range map[string]func(s *action.Subject){
		"another user":   func(s *action.Subject) { s.User.ID = "bob" },
		"another agent":  func(s *action.Subject) { s.ID = "other" },
		"another tenant": func(s *action.Subject) { s.Tenant = "acme" },
	} {
		s := r.sub
		change(&s)
		id, err := r.Session(t.Context(), &s, "host", enforce.SessionOptions{})
		if err != nil || id == r.sess {
			t.Errorf("%s shares the session (%v)", name, err)
		}
		a := r.attempt("read", "x", `{}`)
		a.Subject = s
		if _, err := r.Before(t.Context(), a); !errors.Is(err, enforce.ErrNotFound) {
			t.Errorf("%s acts in the session: %v", name, err)
		}
	}
	r.open()
	if again, err = r.Session(t.Context(), &r.sub, "host", enforce.SessionOptions{}); err != nil || again != r.sess {
		t.Errorf("a restart loses the session (%v)", err)
	}
}

func TestOneAgentCannotUseUpTheRoom(t *testing.T) {
	r := newRig(t, byTool, func(c *enforce.Config) { c.MaxOpenAgent, c.MaxOpenBytes = 3, 1000 })
	for i := range 3 {
		if _, err := r.Before(t.Context(), r.attempt("pay", fmt.Sprint(i), fmt.Sprintf(`{"n":%d}`, i))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Before(t.Context(), r.attempt("pay", "4", `{"n":4}`)); !errors.Is(err, enforce.ErrBusy) {
		t.Errorf("a fourth open action: %v", err)
	}
	other := r.sub
	other.ID = "other"
	sess, err := r.Session(t.Context(), &other, "host", enforce.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a := r.attempt("read", "1", `{}`)
	a.Subject, a.Session = other, sess
	var ran atomic.Int64
	for range 10 {
		a.CallID += "x"
		if _, _, err := r.Do(t.Context(), a, done(&ran, `"ok"`)); err != nil {
			t.Fatalf("another agent: %v", err)
		}
	}
	a.CallID, a.Arguments = "big", []byte(`{"a":"`+strings.Repeat("x", 2000)+`"}`)
	if _, err := r.Before(t.Context(), a); !errors.Is(err, enforce.ErrBusy) {
		t.Errorf("more bytes than an agent may hold: %v", err)
	}
}

func TestCallerThatLeavesIsNoFault(t *testing.T) {
	r := newRig(t, byTool, func(c *enforce.Config) {
		c.Stages = [][]enforce.Source{{{Name: "slow", Informer: enforcetest.Facts{Func: func(ctx context.Context, _ *action.Query) (action.Part, error) {
			return action.UnknownFlow(), ctx.Err()
		}}}}}
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if adm, err := r.Before(ctx, r.attempt("read", "c", `{}`)); err != nil || adm.Verdict != action.Allow {
		t.Errorf("%+v, %v", adm, err)
	}
}

func TestResumedCallRunsOnce(t *testing.T) {
	r := newRig(t, byTool, nil)
	r.sub = enforcetest.Subject(action.DoorMCP)
	var err error
	if r.sess, err = r.Session(t.Context(), &r.sub, "client", enforce.SessionOptions{}); err != nil {
		t.Fatal(err)
	}
	adm, err := r.Before(t.Context(), r.attempt("pay", "", `{"to":"bob"}`))
	if err != nil || adm.Verdict != action.Ask {
		t.Fatal(adm, err)
	}
	r.desk.Decide(adm.Ticket, true, action.RankOperator, "")
	var allowed atomic.Int64
	var wg sync.WaitGroup
	for range 50 { // the same call from everywhere at once, none of which has an outcome yet
		wg.Go(func() {
			if adm, err := r.Before(context.Background(), r.attempt("pay", "", `{"to":"bob"}`)); err == nil && adm.Verdict == action.Allow {
				allowed.Add(1)
			}
		})
	}
	wg.Wait()
	if allowed.Load() != 1 {
		t.Errorf("one approval let %d calls pass", allowed.Load())
	}
}

// TestUnrecordedAsksHoldNoRoom: while the ledger fails, asks are refused and leave nothing behind.
func TestUnrecordedAsksHoldNoRoom(t *testing.T) {
	r := newRig(t, byTool, func(c *enforce.Config) { c.MaxOpen = 3 })
	r.log.Fail = func(*action.Record) (bool, error) { return false, errors.New("disk full") }
	for i := range 10 {
		if _, err := r.Before(t.Context(), r.attempt("pay", fmt.Sprint(i), `{}`)); !errors.Is(err, enforce.ErrUnrecorded) {
			t.Fatalf("ask %d: %v", i, err)
		}
	}
	r.log.Fail = nil
	if adm, err := r.Before(t.Context(), r.attempt("pay", "0", `{}`)); err != nil || adm.Verdict != action.Ask {
		t.Errorf("a repeat once the ledger is back: %+v, %v", adm, err)
	}
}

// TestRacingRepeatsOfADroppedCall: a repeat that waits while the first try is dropped does not revive it.
func TestRacingRepeatsOfADroppedCall(t *testing.T) {
	r := newRig(t, byTool, nil)
	var fails atomic.Int64
	r.log.Fail = func(rec *action.Record) (bool, error) {
		if rec.Kind == action.KindDecision && fails.Add(1) <= 5 {
			time.Sleep(time.Millisecond) // the others queue up behind it
			return false, errors.New("disk full")
		}
		return false, nil
	}
	var wg sync.WaitGroup
	ids := make(chan string, 20)
	for range 20 {
		wg.Go(func() {
			if adm, err := r.Before(context.Background(), r.attempt("pay", "same", `{}`)); err == nil {
				ids <- adm.ID
			}
		})
	}
	wg.Wait()
	close(ids)
	for id := range ids {
		if _, err := r.Held(t.Context(), &r.sub, id); errors.Is(err, enforce.ErrNotFound) {
			t.Errorf("action %s was admitted and is not known", id)
		}
	}
}

// TestWaitAfterRestartHearsTheAnswer: the question of a restored action is known only once it was asked
// again, and the answer that comes then must wake who waits.
func TestWaitAfterRestartHearsTheAnswer(t *testing.T) {
	r := newRig(t, byTool, nil)
	asked, err := r.Before(t.Context(), r.attempt("pay", "c", `{}`))
	if err != nil {
		t.Fatal(err)
	}
	r.open()
	go func() {
		time.Sleep(50 * time.Millisecond)
		r.desk.Decide(asked.Ticket, true, action.RankOperator, "")
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if adm, err := r.Wait(ctx, &r.sub, asked.ID); err != nil || adm.Verdict != action.Allow || ctx.Err() != nil {
		t.Errorf("%+v, %v, %v", adm, err, ctx.Err())
	}
}
