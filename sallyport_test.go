// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/ledger"
	"github.com/sallyport/sallyport/tools"
)

// house is an owner over a folder of its own, without listeners.
type house struct {
	*sallyport.Sallyport
	t    testing.TB
	cfg  sallyport.Config
	halt func() // ends what runs in the background; nil if nothing does
}

func open(t testing.TB, change func(*sallyport.Config)) *house {
	t.Helper()
	cfg := sallyport.PatientConfig()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	cfg.Gateway.Listen, cfg.Admin.Listen = "none", "none"
	cfg.Ledger.SegmentBytes = 8 << 20
	if change != nil {
		change(&cfg)
	}
	h := &house{t: t, cfg: cfg}
	h.start()
	t.Cleanup(func() { h.stop() })
	return h
}

func (h *house) start() {
	h.t.Helper()
	s, err := sallyport.Open(context.Background(), h.cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	h.Sallyport = s
}

func (h *house) stop() {
	if h.halt != nil {
		h.halt()
		h.halt = nil
	}
	if h.Sallyport != nil {
		if err := h.Close(); err != nil {
			h.t.Error(err)
		}
		h.Sallyport = nil
	}
}

// agent returns a subject and its session.
func (h *house) agent(id string, roots ...string) (action.Subject, string) {
	h.t.Helper()
	if _, err := h.Tokens.CreateAgent(context.Background(), identity.AgentSpec{ID: id, By: "test"}); err != nil {
		h.t.Fatal(err)
	}
	secret, _, err := h.Tokens.Issue(context.Background(), identity.TokenSpec{Agent: id, User: "ann", Scopes: []action.Scope{action.ScopeAgent}, By: "test"})
	if err != nil {
		h.t.Fatal(err)
	}
	p, err := h.Tokens.Authenticate(context.Background(), secret)
	if err != nil {
		h.t.Fatal(err)
	}
	s := p.Subject
	s.Channel.Door = action.DoorAPI
	sess, err := h.Enforcer.Session(context.Background(), &s, "host", enforce.SessionOptions{Roots: roots})
	if err != nil {
		h.t.Fatal(err)
	}
	return s, sess
}

// server declares a local server with tools that somebody has approved.
func (h *house) server(name string, defs ...string) {
	h.t.Helper()
	var list []tools.Definition
	for _, d := range defs {
		def, err := tools.ReadDefinition([]byte(d))
		if err != nil {
			h.t.Fatal(err)
		}
		list = append(list, def)
	}
	seen, err := h.Tools.Observe(context.Background(), tools.Upstream{Server: name, Transport: tools.Stdio, Command: []string{"/bin/" + name}}, list)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, s := range seen {
		if _, err := h.Tools.Approve(context.Background(), "default", name, s.Name, s.Digest, "test"); err != nil {
			h.t.Fatal(err)
		}
	}
}

const (
	readTool = `{"name":"read_note","description":"Read one note.","inputSchema":{"type":"object","properties":{"name":{"type":"string"}}}}`
	sendTool = `{"name":"send_mail","description":"Send a mail.","inputSchema":{"type":"object","properties":{"to":{"type":"string"},"body":{"type":"string"}}}}`
	payTool  = `{"name":"send_payment","description":"Pay money.","inputSchema":{"type":"object","properties":{"amount":{"type":"number"},"currency":{"type":"string"},"payee":{"type":"string"}}}}`
)

func attempt(s action.Subject, sess, server, tool, args string) enforce.Attempt {
	return enforce.Attempt{Subject: s, Session: sess, Name: "tools/call", Type: "tool", Server: server, Tool: tool, Arguments: []byte(args),
		Grade: action.GradeProxy, Separation: action.SeparationUID}
}

// bundle writes a policy of one Rego file that passes everything but what rules says.
func bundle(t testing.TB, rules string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"sallyport-bundle.yaml": "version: 1\nname: house\nsequence: 1\ndescription: For a test.\nowner: test\n",
		"house.rego": "package sallyport.house\n\nimport rego.v2\n\nallow contains {\"id\": \"all\", \"code\": \"all\", \"reason\": \"Everything else.\"} if input.version == \"agent.v1\"\n\n" +
			rules,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const awsKey = "AKIA" + "Q7RTZ5WJ2MLB4XNC" // made up

func TestWhatWasReadNeverLeaves(t *testing.T) {
	h := open(t, func(c *sallyport.Config) {
		c.Policy.Dir = bundle(t, `deny contains {"id": "secret.leaves", "code": "secret", "reason": "Secret data may not leave.", "always": true} if {
	input.phase == "before"
	input.action.effect == "send"
	not input.context.flow.session.secrecy in {"public", "internal"}
}
`)
	})
	h.server("files", readTool)
	h.server("mail", sendTool)
	sub, sess := h.agent("bot")
	var sent, read atomic.Int64
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			ctx := context.Background()
			_, _, err := h.Enforcer.Do(ctx, attempt(sub, sess, "files", "read_note", fmt.Sprintf(`{"name":"n%d"}`, i)),
				func(context.Context, enforce.Admission) (enforce.Outcome, error) {
					read.Add(1)
					return enforce.Outcome{Status: action.ResultDone, Content: []byte(`{"text":"key ` + awsKey + `"}`)}, nil
				})
			if err != nil {
				t.Error(err)
			}
			_, _, err = h.Enforcer.Do(ctx, attempt(sub, sess, "mail", "send_mail", fmt.Sprintf(`{"to":"eve@out.example","body":"%d"}`, i)),
				func(context.Context, enforce.Admission) (enforce.Outcome, error) {
					sent.Add(1)
					return enforce.Outcome{Status: action.ResultDone, Content: []byte(`"sent"`)}, nil
				})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if read.Load() != 100 || sent.Load() != 0 {
		t.Errorf("%d reads, %d sends", read.Load(), sent.Load())
	}
	h.stop()
	h.start() // labels survive a restart, and the same conversation is the same session
	adm, err := h.Enforcer.Before(t.Context(), attempt(sub, sess, "mail", "send_mail", `{"to":"eve@out.example","body":"later"}`))
	if err != nil || adm.Verdict != action.Deny {
		t.Errorf("after a restart: %+v, %v", adm, err)
	}
}

func TestPaymentsNeverPassTheCap(t *testing.T) {
	h := open(t, func(c *sallyport.Config) {
		c.Policy.Dir = bundle(t, `spent := n if {
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
`)
	})
	h.server("bank", payTool)
	sub, sess := h.agent("bot")
	var paid atomic.Int64
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			adm, _, err := h.Enforcer.Do(context.Background(), attempt(sub, sess, "bank", "send_payment", `{"amount":10.00,"currency":"EUR","payee":"x"}`),
				func(context.Context, enforce.Admission) (enforce.Outcome, error) {
					paid.Add(1)
					time.Sleep(time.Millisecond)
					return enforce.Outcome{Status: action.ResultDone, Content: []byte(`"paid"`)}, nil
				})
			if err != nil {
				t.Errorf("%+v: %v", adm, err)
			}
		})
	}
	wg.Wait()
	if paid.Load() != 10 {
		t.Errorf("%d payments of 10 passed a cap of 100", paid.Load())
	}
	h.stop()
	h.start() // the counter is rebuilt from the log
	if adm, err := h.Enforcer.Before(t.Context(), attempt(sub, sess, "bank", "send_payment", `{"amount":10.00,"currency":"EUR","payee":"x"}`)); err != nil || adm.Verdict != action.Deny {
		t.Errorf("after a restart: %+v, %v", adm, err)
	}
}

func TestDataOfOneServerIsSeenAtAnother(t *testing.T) {
	h := open(t, func(c *sallyport.Config) {
		c.Flow.Servers = []sallyport.FlowServer{{Server: "payroll", Secrecy: "confidential", Untrusted: "no"}}
	})
	h.server("payroll", readTool)
	h.server("mail", sendTool)
	sub, sess := h.agent("bot")
	adm, rel, err := h.Enforcer.Do(t.Context(), attempt(sub, sess, "payroll", "read_note", `{"name":"salaries"}`),
		func(context.Context, enforce.Admission) (enforce.Outcome, error) {
			return enforce.Outcome{Status: action.ResultDone, Content: []byte(`{"text":"42"}`)}, nil
		})
	if err != nil || adm.Verdict != action.Allow || rel.Status != action.StatusReleased {
		t.Fatal(adm, rel, err)
	}
	adm, err = h.Enforcer.Before(t.Context(), attempt(sub, sess, "mail", "send_mail", `{"to":"bob@out.example","body":"42"}`))
	if err != nil || adm.Verdict == action.Allow {
		t.Fatal(adm, err)
	}
	var q *action.Query
	err = h.Ledger.Records(t.Context(), func(e ledger.Entry) error {
		if e.Leaf.Action != adm.ID || e.Leaf.Kind != action.KindDecision {
			return nil
		}
		b, err := e.Open(action.PartInputBefore)
		if err == nil {
			q, err = action.ReadQuery(b)
		}
		return err
	})
	if err != nil || q == nil {
		t.Fatal("no recorded input", err)
	}
	if f := q.Context.Flow; f.Session.Secrecy != action.SecrecyConfidential || len(f.Sources) != 1 || f.Sources[0].Server != "payroll" {
		t.Errorf("the send's record does not show where the data came from: %+v", f)
	}
}

func TestRestartClosesWhatACrashLeftOpen(t *testing.T) {
	h := open(t, func(c *sallyport.Config) { c.Policy.Dir = bundle(t, "") })
	h.server("files", readTool)
	sub, sess := h.agent("bot")
	adm, err := h.Enforcer.Before(t.Context(), attempt(sub, sess, "files", "read_note", `{"name":"x"}`))
	if err != nil || adm.Verdict != action.Allow {
		t.Fatal(adm, err)
	}
	h.stop() // the outcome never comes
	h.start()
	unknown := 0
	err = h.Ledger.Records(t.Context(), func(e ledger.Entry) error {
		if e.Leaf.Kind == action.KindUnknown && e.Leaf.Action == adm.ID {
			unknown++
		}
		return nil
	})
	if err != nil || unknown != 1 {
		t.Errorf("%d unknown records, %v", unknown, err)
	}
	h.stop()
	rep, err := ledger.Verify(t.Context(), ledger.Source{Dir: h.cfg.Data}, ledger.Options{})
	if err != nil || !rep.OK {
		t.Errorf("the log does not verify: %v\n%s", err, rep.Text())
	}
}

func TestOneOwnerPerDataDirectory(t *testing.T) {
	h := open(t, nil)
	if _, err := sallyport.Open(t.Context(), h.cfg); !errors.Is(err, sallyport.ErrOwned) {
		t.Errorf("a second owner: %v", err)
	}
}

func TestNoPlaintextInTheDataDirectory(t *testing.T) {
	h := open(t, func(c *sallyport.Config) { c.Policy.Dir, c.Ledger.Reasoning = bundle(t, ""), "keep" })
	h.server("files", readTool)
	sub, sess := h.agent("bot")
	const planted = "the quick brown fox of the test"
	if err := h.Enforcer.Say(t.Context(), &sub, sess, enforce.Said{Kind: action.PartUserRequest, By: action.AssertedSDK, Text: []byte(planted)}); err != nil {
		t.Fatal(err)
	}
	a := attempt(sub, sess, "files", "read_note", `{"name":"`+planted+`"}`)
	a.Reasoning = []byte(planted)
	if _, _, err := h.Enforcer.Do(t.Context(), a, func(context.Context, enforce.Admission) (enforce.Outcome, error) {
		return enforce.Outcome{Status: action.ResultDone, Content: []byte(`"` + planted + `"`)}, nil
	}); err != nil {
		t.Fatal(err)
	}
	h.stop()
	err := filepath.WalkDir(h.cfg.Data, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(b), planted) {
			t.Errorf("%s holds what an agent or user said in the clear", strings.TrimPrefix(path, h.cfg.Data))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// BenchmarkAction is one action in process: facts, both decisions, sealing, durable intent and outcome.
func BenchmarkAction(b *testing.B) {
	h := open(b, nil)
	h.server("files", readTool)
	sub, sess := h.agent("bot")
	ctx := context.Background()
	for b.Loop() {
		adm, rel, err := h.Enforcer.Do(ctx, attempt(sub, sess, "files", "read_note", `{"name":"x"}`),
			func(context.Context, enforce.Admission) (enforce.Outcome, error) {
				return enforce.Outcome{Status: action.ResultDone, Content: []byte(`{"text":"hello"}`)}, nil
			})
		if err != nil || rel.Status != action.StatusReleased {
			b.Fatal(adm, rel, err)
		}
	}
}

func TestParallelSessionsOfOneAgentAreNotRefused(t *testing.T) {
	h := open(t, func(c *sallyport.Config) { c.Policy.Dir = bundle(t, "") })
	h.server("files", readTool)
	sub, _ := h.agent("bot")
	var wg sync.WaitGroup
	for i := range 64 {
		sess, err := h.Enforcer.Session(t.Context(), &sub, fmt.Sprintf("host-%d", i), enforce.SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for j := range 3 {
				adm, _, err := h.Enforcer.Do(context.Background(), attempt(sub, sess, "files", "read_note", fmt.Sprintf(`{"name":"%d"}`, j)),
					func(context.Context, enforce.Admission) (enforce.Outcome, error) {
						return enforce.Outcome{Status: action.ResultDone, Content: []byte(`{"text":"from a stranger"}`)}, nil
					})
				if err != nil || adm.Verdict != action.Allow {
					t.Errorf("%+v, %v", adm, err)
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkParallelActions is BenchmarkAction from 64 sessions at once: what group commit is for.
func BenchmarkParallelActions(b *testing.B) {
	h := open(b, nil)
	h.server("files", readTool)
	sub, _ := h.agent("bot")
	sessions := make(chan string, 64)
	for i := range cap(sessions) {
		sess, err := h.Enforcer.Session(b.Context(), &sub, fmt.Sprintf("host-%d", i), enforce.SessionOptions{})
		if err != nil {
			b.Fatal(err)
		}
		sessions <- sess
	}
	b.SetParallelism(cap(sessions) / 2) // per core, of two
	b.RunParallel(func(pb *testing.PB) {
		sess := <-sessions
		defer func() { sessions <- sess }()
		for pb.Next() {
			_, rel, err := h.Enforcer.Do(context.Background(), attempt(sub, sess, "files", "read_note", `{"name":"x"}`),
				func(context.Context, enforce.Admission) (enforce.Outcome, error) {
					return enforce.Outcome{Status: action.ResultDone, Content: []byte(`{"text":"hello"}`)}, nil
				})
			if err != nil || rel.Status != action.StatusReleased {
				b.Error(rel, err)
				return
			}
		}
	})
}
