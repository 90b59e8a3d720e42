// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/ledger"
	"github.com/sallyport/sallyport/monitor"
	"github.com/sallyport/sallyport/store/sqlite"
)

// ranAndStopped runs the background jobs once around work, so that the past is kept at the end.
func (h *house) ranAndStopped(work func()) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := h.Run(ctx); err != nil {
			h.t.Error(err)
		}
	})
	work()
	cancel()
	running.Wait()
	h.stop()
}

const capRules = `spent := n if {
	some c in input.context.history.counters
	c.name == "spend_day"
	c.state == "known"
	n := c.value
}

deny contains {"id": "cap", "code": "cap", "reason": "No more than 100 euros a day."} if {
	input.phase == "before"
	input.action.effect == "spend"
	not within_cap
}

within_cap if {
	count(input.action.amounts) == 1
	spent + input.action.amounts[0].minor <= 10000
}

deny contains {"id": "secret.leaves", "code": "secret", "reason": "Secret data may not leave.", "always": true} if {
	input.phase == "before"
	input.action.effect == "send"
	not input.context.flow.session.secrecy in {"public", "internal"}
}
`

func TestKeptPastIsThePast(t *testing.T) {
	for _, c := range []struct {
		name string
		harm func(t *testing.T, h *house)
		used bool
	}{
		{"as it was written", func(*testing.T, *house) {}, true},
		{"with a bit flipped", func(t *testing.T, h *house) {
			name := filepath.Join(h.cfg.Data, "snapshots", "past")
			b, err := os.ReadFile(name)
			if err == nil {
				b[len(b)/2] ^= 4
				err = os.WriteFile(name, b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}, false},
		{"with a store that knows another", func(t *testing.T, h *house) {
			st, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(h.cfg.Data, "store.db")})
			if err != nil {
				t.Fatal(err)
			}
			e, err := st.Get(t.Context(), "default/sallyport/past")
			if err == nil {
				_, err = st.Put(t.Context(), e.Key, []byte("an older one"), e.Revision)
			}
			if err := errors.Join(err, st.Close()); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"with all snapshots gone", func(t *testing.T, h *house) {
			if err := os.RemoveAll(filepath.Join(h.cfg.Data, "snapshots")); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := open(t, func(c *sallyport.Config) { c.Policy.Dir = bundle(t, capRules) })
			h.server("files", readTool)
			h.server("bank", payTool)
			h.server("mail", sendTool)
			sub, sess := h.agent("bot")
			pay := func(n int) action.Verdict {
				adm, _, err := h.Enforcer.Do(context.Background(), attempt(sub, sess, "bank", "send_payment", fmt.Sprintf(`{"amount":10.00,"currency":"EUR","payee":"x%d"}`, n)),
					func(context.Context, enforce.Admission) (enforce.Outcome, error) {
						return enforce.Outcome{Status: action.ResultDone, Content: []byte(`"paid"`)}, nil
					})
				if err != nil {
					t.Fatal(err)
				}
				return adm.Verdict
			}
			var hanging enforce.Admission
			h.ranAndStopped(func() {
				for i := range 4 {
					pay(i)
				}
				_, _, err := h.Enforcer.Do(t.Context(), attempt(sub, sess, "files", "read_note", `{"name":"n"}`),
					func(context.Context, enforce.Admission) (enforce.Outcome, error) {
						return enforce.Outcome{Status: action.ResultDone, Content: []byte(`{"text":"key ` + awsKey + `"}`)}, nil
					})
				if err != nil {
					t.Fatal(err)
				}
				a := attempt(sub, sess, "bank", "send_payment", `{"amount":10.00,"currency":"EUR","payee":"y"}`)
				a.CallID = "call-1"
				if hanging, err = h.Enforcer.Before(t.Context(), a); err != nil || hanging.Verdict != action.Allow {
					t.Fatal(hanging, err)
				}
			})
			c.harm(t, h)
			h.start()
			if got := sallyport.Resumed(h.Sallyport) > 0; got != c.used {
				t.Errorf("the kept past was used: %v", got)
			}
			unknown := false
			err := h.Ledger.Records(t.Context(), func(e ledger.Entry) error {
				unknown = unknown || e.Leaf.Action == hanging.ID && e.Leaf.Kind == action.KindUnknown
				return nil
			})
			if err != nil || !unknown {
				t.Errorf("the action that hung has no end: %v", err)
			}
			paid := 0
			for i := range 10 {
				if pay(100+i) == action.Allow {
					paid++
				}
			}
			if paid != 5 {
				t.Errorf("after four payments and one of unknown end %d more passed, not 5", paid)
			}
			if adm, err := h.Enforcer.Before(t.Context(), attempt(sub, sess, "mail", "send_mail", `{"to":"eve@out.example","body":"x"}`)); err != nil || adm.Verdict != action.Deny {
				t.Errorf("the label is gone: %+v, %v", adm, err)
			}
			a := attempt(sub, sess, "bank", "send_payment", `{"amount":10.00,"currency":"EUR","payee":"y"}`)
			a.CallID = "call-1"
			if again, err := h.Enforcer.Before(t.Context(), a); err != nil || again.ID != hanging.ID || again.Verdict == action.Allow {
				t.Errorf("the call was taken for a new one: %+v, %v", again, err)
			}
		})
	}
}

// TestPastKeptUnderLoadCountsEachPaymentOnce keeps the past between payments that go on, and throws the
// process away.
func TestPastKeptUnderLoadCountsEachPaymentOnce(t *testing.T) {
	h := open(t, func(c *sallyport.Config) { c.Policy.Dir = bundle(t, capRules) })
	h.server("bank", payTool)
	sub, sess := h.agent("bot")
	pay := func(n int) action.Verdict {
		adm, _, err := h.Enforcer.Do(context.Background(), attempt(sub, sess, "bank", "send_payment", fmt.Sprintf(`{"amount":1.00,"currency":"EUR","payee":"x%d"}`, n)),
			func(context.Context, enforce.Admission) (enforce.Outcome, error) {
				return enforce.Outcome{Status: action.ResultDone, Content: []byte(`"paid"`)}, nil
			})
		if err != nil {
			t.Fatal(err)
		}
		return adm.Verdict
	}
	for i := range 10 {
		pay(i)
	}
	finish := sallyport.BeginPast(h.Sallyport)
	for i := range 10 { // in the numbers of the past, and above its size
		pay(10 + i)
	}
	h.Alarms.Flush(t.Context(), h.Ledger.Now().UnixMilli(), func(context.Context, monitor.Alert) error { return nil })
	if err := finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		pay(20 + i)
	}
	h.stop()
	h.start()
	if sallyport.Resumed(h.Sallyport) == 0 {
		t.Error("the kept past was not used")
	}
	more := 0
	for i := range 100 {
		if pay(100+i) == action.Allow {
			more++
		}
	}
	if more != 70 {
		t.Errorf("%d payments of 1 passed a cap of 100 after 30", more)
	}
	if b, err := os.ReadFile(filepath.Join(h.cfg.Data, "snapshots", "past")); err != nil || bytes.Contains(b, []byte("bank")) {
		t.Errorf("the kept past names what was done: %v", err)
	}
}

// TestAgentThatFloodsTheLogStopsActing holds one agent to its bytes; nothing it does beyond them is executed.
func TestAgentThatFloodsTheLogStopsActing(t *testing.T) {
	h := open(t, func(c *sallyport.Config) { c.Ledger.AgentBytes = 64 << 10 })
	h.server("files", readTool)
	flood, sess := h.agent("flood")
	quiet, other := h.agent("quiet")
	read := func(sub action.Subject, sess string, n int) (ran bool) {
		_, _, err := h.Enforcer.Do(t.Context(), attempt(sub, sess, "files", "read_note", fmt.Sprintf(`{"name":"n%d"}`, n)),
			func(context.Context, enforce.Admission) (enforce.Outcome, error) {
				ran = true
				return enforce.Outcome{Status: action.ResultDone, Content: []byte(`{}`)}, nil
			})
		if ran != (err == nil) {
			t.Fatalf("executed %v, though %v", ran, err)
		}
		return ran
	}
	n := 0
	for ; n < 200 && read(flood, sess, n); n++ {
	}
	if n == 0 || n == 200 {
		t.Errorf("%d actions before the quota", n)
	}
	if !read(quiet, other, 0) {
		t.Error("another agent pays for it")
	}
}

// TestPastTellsOfEveryKindThatColumnsAskFor finds a record of each kind, and of a grant that was used.
func TestPastTellsOfEveryKindThatColumnsAskFor(t *testing.T) {
	h := open(t, nil)
	for i, k := range sallyport.PastKinds() {
		if _, err := h.Ledger.Append(t.Context(), &action.Record{Kind: k, Subject: fmt.Sprintf("mark-%d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range []*action.Record{
		{Kind: action.KindIntent, Action: "a-1", Grant: "mark-grant", Subject: "mark-grant"},
		{Kind: action.KindIntent, Action: "a-2", Subject: "mark-none"},
	} {
		if _, err := h.Ledger.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	for _, again := range []bool{false, true} { // from memory, and from a snapshot
		if again {
			if err := h.Ledger.Snapshot(t.Context()); err != nil {
				t.Fatal(err)
			}
			h.stop()
			h.start()
		}
		told := map[string]bool{}
		if err := sallyport.Past(t.Context(), h.Sallyport, func(r *action.Record) error { told[r.Subject] = true; return nil }); err != nil {
			t.Fatal(err)
		}
		for i, k := range sallyport.PastKinds() {
			if !told[fmt.Sprintf("mark-%d", i)] {
				t.Errorf("again %v: kind %s is not told", again, k)
			}
		}
		if !told["mark-grant"] || told["mark-none"] {
			t.Errorf("again %v: grant %v, others %v", again, told["mark-grant"], told["mark-none"])
		}
	}
}
