// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/index"
	"github.com/sallyport/sallyport/policy"
)

// rules is a bundle that denies one tool.
func rules(t *testing.T, tool string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"sallyport-bundle.yaml": "version: 1\nname: house\nsequence: 1\ndescription: For a test.\nowner: test\n",
		"house.rego": `package sallyport.house

import rego.v2

allow contains {"id": "all", "code": "all", "reason": "Everything else."} if input.version == "agent.v1"

deny contains {"id": "long", "code": "long", "reason": "Too long."} if {
	input.phase == "before"
	input.resource.name == "` + tool + `"
}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestEveryRecordedDecisionIsTakenAgain replays what the real path recorded. SALLYPORT_SOAK makes it 10,000
// decisions. One changed byte of the bundle is found: its digest is another, and so is what it decides.
func TestEveryRecordedDecisionIsTakenAgain(t *testing.T) {
	n := 40
	if os.Getenv("SALLYPORT_SOAK") != "" {
		n = 5000 // two decisions each, but for what is denied
	}
	cfg := PatientConfig()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	cfg.Gateway.Listen, cfg.Admin.Listen, cfg.Ledger.SegmentBytes = "none", "none", 8<<20
	cfg.Policy.Dir = rules(t, "denied")
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() { cancel(); <-done }()
	sess := actAs(t, s, n)
	if err := s.indexed(ctx); err != nil {
		t.Fatal(err)
	}
	who := reading(ctx, &gateway.Caller{Name: "olga"}, "replay/"+sess)
	began := time.Now()
	steps, err := s.Index.Replay(who, sess, s.redecide)
	if err != nil {
		t.Fatal(err)
	}
	got := index.Count(steps)
	t.Logf("%d decisions in %v", got[index.Same], time.Since(began))
	if want := n + n - n/10; got[index.Same] != want || len(got) != 1 || index.Faults(steps) != 0 {
		t.Errorf("%v, not %d the same", got, want)
	}
	edited, err := policy.Load(policy.Config{Dir: rules(t, "denieD")})
	if err != nil {
		t.Fatal(err)
	}
	if steps, err = s.Index.Replay(who, sess, redecideUnder(edited)); err != nil {
		t.Fatal(err)
	}
	if got := index.Count(steps); got[index.Different] != n/10 || edited.Bundle().Digest == s.Policy.Active().Bundle().Digest {
		t.Errorf("one changed byte: %v", got)
	}
}

// actAs makes n calls in a session, of which every tenth is denied.
func actAs(t *testing.T, s *Sallyport, n int) string {
	t.Helper()
	ctx := t.Context()
	if _, err := s.Tokens.CreateAgent(ctx, identity.AgentSpec{ID: "bot", By: "test"}); err != nil {
		t.Fatal(err)
	}
	secret, _, err := s.Tokens.Issue(ctx, identity.TokenSpec{Agent: "bot", User: "ann", Scopes: []action.Scope{action.ScopeAgent}, By: "test"})
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Tokens.Authenticate(ctx, secret)
	if err != nil {
		t.Fatal(err)
	}
	p.Subject.Channel.Door = action.DoorAPI
	sess, err := s.Enforcer.Session(ctx, &p.Subject, "host", enforce.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		a := enforce.Attempt{Subject: p.Subject, Session: sess, Name: "tools/call", Type: "tool", Server: "files", Tool: "read_note",
			Arguments: fmt.Appendf(nil, `{"name":"n%d"}`, i), Grade: action.GradeProxy, Separation: action.SeparationUID}
		if i%10 == 9 {
			a.Tool = "denied"
		}
		_, _, err := s.Enforcer.Do(ctx, a, func(context.Context, enforce.Admission) (enforce.Outcome, error) {
			return enforce.Outcome{Status: action.ResultDone, Content: []byte(`{"text":"milk"}`)}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return sess
}
