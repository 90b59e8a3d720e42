// SPDX-License-Identifier: Apache-2.0

package enforce_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/enforce/enforcetest"
)

func TestApprovalIsForOneCallOnce(t *testing.T) {
	r := newRig(t, byTool, nil)
	var ran atomic.Int64
	ask := func(call, args string) enforce.Admission {
		t.Helper()
		adm, _, err := r.Do(t.Context(), r.attempt("pay", call, args), done(&ran, `"ok"`))
		if err != nil {
			t.Fatal(err)
		}
		return adm
	}
	adm := ask("c1", `{"to":"bob"}`)
	if adm.Verdict != action.Ask || adm.Ticket == "" || adm.Channel != action.RankOperator {
		t.Fatalf("%+v", adm)
	}
	if len(r.log.Of(action.KindDecision)) != 1 {
		t.Error("the ask is not on record")
	}
	r.desk.Decide(adm.Ticket, true, action.RankClient, "")
	if again := ask("c1", `{"to":"bob"}`); again.Verdict != action.Ask || ran.Load() != 0 {
		t.Fatalf("a grant through a weaker channel passes: %+v", again)
	}

	adm = ask("c2", `{"to":"eve"}`)
	r.desk.Decide(adm.Ticket, true, action.RankOperator, "")
	if other := ask("c3", `{"to":"mallory"}`); other.Verdict != action.Ask {
		t.Fatalf("a grant passes other arguments: %+v", other)
	}
	if ok := ask("c2", `{"to":"eve"}`); ok.Verdict != action.Allow || ran.Load() != 1 {
		t.Fatalf("a granted call does not pass: %+v", ok)
	}
	if in := r.log.Of(action.KindIntent); len(in) != 1 || in[0].Grant == "" || in[0].Channel != action.RankOperator {
		t.Error("the intent does not name its grant")
	}
	if more := ask("c4", `{"to":"eve"}`); more.Verdict != action.Ask || ran.Load() != 1 {
		t.Fatalf("a used grant passes again: %+v", more)
	}
	adm = ask("c5", `{"to":"zoe"}`)
	r.desk.Decide(adm.Ticket, false, action.RankOperator, "wrong payee")
	if no := ask("c5", `{"to":"zoe"}`); no.Verdict != action.Deny || !strings.Contains(no.Hint, "wrong payee") {
		t.Fatalf("%+v", no)
	}
}

func TestGrantDoesNotOutliveWorseFacts(t *testing.T) {
	var worse atomic.Bool
	r := newRig(t, func(q *action.Query) (action.Decision, error) {
		if worse.Load() && q.Phase == action.Before {
			return enforcetest.Rule(action.Deny, "test.worse"), nil
		}
		return byTool(q)
	}, nil)
	var ran atomic.Int64
	adm, _, _ := r.Do(t.Context(), r.attempt("pay", "c", `{}`), done(&ran, `"ok"`))
	r.desk.Decide(adm.Ticket, true, action.RankOperator, "")
	worse.Store(true)
	adm, _, err := r.Do(t.Context(), r.attempt("pay", "c", `{}`), done(&ran, `"ok"`))
	if err != nil || adm.Verdict != action.Deny || ran.Load() != 0 {
		t.Fatalf("%+v, %v, ran %d times", adm, err, ran.Load())
	}
}

func TestAskByAnotherRuleIsAnotherAsk(t *testing.T) {
	rule := "test.first"
	r := newRig(t, func(q *action.Query) (action.Decision, error) { return enforcetest.Rule(action.Ask, rule), nil }, nil)
	adm, err := r.Before(t.Context(), r.attempt("pay", "c", `{}`))
	if err != nil {
		t.Fatal(err)
	}
	r.desk.Decide(adm.Ticket, true, action.RankOperator, "")
	rule = "test.second"
	again, err := r.Before(t.Context(), r.attempt("pay", "c", `{}`))
	if err != nil || again.Verdict != action.Ask || again.Ticket == adm.Ticket {
		t.Fatalf("%+v, %v", again, err)
	}
}

func TestWaitDeliversTheAnswer(t *testing.T) {
	r := newRig(t, byTool, nil)
	adm, err := r.Before(t.Context(), r.attempt("pay", "c", `{}`))
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if adm, err = r.Wait(short, &r.sub, adm.ID); err != nil || adm.Verdict != action.Ask {
		t.Fatal(adm, err)
	}
	if len(r.log.Of(action.KindIntent)) != 0 {
		t.Error("an intent was recorded before anyone answered")
	}
	go r.desk.Decide(adm.Ticket, true, action.RankOperator, "")
	if adm, err = r.Wait(t.Context(), &r.sub, adm.ID); err != nil || adm.Verdict != action.Allow || string(adm.Arguments) != `{}` {
		t.Fatal(adm, err)
	}
	stranger := r.sub
	stranger.ID = "other"
	if _, err := r.Wait(t.Context(), &stranger, adm.ID); !errors.Is(err, enforce.ErrNotFound) {
		t.Errorf("another agent waits for it: %v", err)
	}
}
