// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/policy/bundle"
)

// TestWhatOverlappedIsLearntInTheOrderOfTheLog: profiles of actions that ran at once, failed and were refused say the same
// in the process that did them, after a snapshot that was taken meanwhile with the rest of the log, and after the log alone.
func TestWhatOverlappedIsLearntInTheOrderOfTheLog(t *testing.T) {
	ctx := context.Background()
	cfg := PatientConfig()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	cfg.Gateway.Listen, cfg.Admin.Listen, cfg.Ledger.SegmentBytes, cfg.Policy.Dir = "none", "none", 8<<20, t.TempDir()
	for name, text := range map[string]string{
		bundle.ManifestFile: "version: 1\nname: overlap\nsequence: 1\nowner: test\n",
		"o.rego": "package sallyport.overlap\n\nimport rego.v2\n\nallow contains {\"id\": \"all\", \"code\": \"all\", \"reason\": \"All.\"} if input.version == \"agent.v1\"\n\n" +
			"deny contains {\"id\": \"no\", \"code\": \"no\", \"reason\": \"No.\"} if {\n\tinput.phase == \"before\"\n\tendswith(input.resource.name, \"7\")\n}\n",
	} {
		if err := os.WriteFile(filepath.Join(cfg.Policy.Dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	const agents, parallel, calls = 2, 8, 12
	tool := func(i int) string { return fmt.Sprint("tool", i%11) }
	var subjects [agents]action.Subject
	var wg sync.WaitGroup
	for a := range agents {
		subjects[a] = subjectFor(t, s, fmt.Sprint("bot", a))
		sess, err := s.Enforcer.Session(ctx, &subjects[a], "host", enforce.SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for g := range parallel {
			wg.Go(func() {
				for i := range calls {
					at := enforce.Attempt{Subject: subjects[a], Session: sess, Name: "tools/call", Type: "tool", Server: "srv", Tool: tool(g*7 + i*i),
						Arguments: fmt.Appendf(nil, `{"to":"p%d@example.org","n":%d}`, (g+i)%13, g*calls+i), Grade: action.GradeProxy, Separation: action.SeparationUID}
					_, _, err := s.Enforcer.Do(ctx, at, func(context.Context, enforce.Admission) (enforce.Outcome, error) {
						if i%9 == 4 {
							return enforce.Outcome{Status: action.ResultFailed, Content: []byte(`"no"`)}, nil
						}
						return enforce.Outcome{Status: action.ResultDone, Content: []byte(`"ok"`)}, nil
					})
					if err != nil {
						t.Error(err)
					}
					if a == 0 && g == 0 && i == calls/2 {
						if err := s.snapshot(); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
	}
	wg.Wait()
	at := s.Ledger.Now().UnixMilli()
	facts := func() (out []string) {
		for a := range agents {
			for i := range 13 {
				q := action.NewQuery(action.Before)
				q.ID, q.Subject, q.Context.Session.ID, q.Context.Time.UnixMilli = "probe", subjects[a], "another", at
				q.Resource.Server, q.Resource.Name = "srv", tool(i)
				q.Resource.ID = action.ToolKey("srv", tool(i))
				p, err := s.Profiles.Inform(ctx, q)
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, fmt.Sprintf("%+v", p))
			}
		}
		return out
	}
	live := facts()
	for _, how := range []string{"with the snapshot", "from the log alone"} {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = Open(ctx, cfg); err != nil {
			t.Fatal(err)
		}
		for i, is := range facts() {
			if is != live[i] {
				t.Errorf("%s:\n%s\nbefore:\n%s", how, is, live[i])
			}
		}
		if err := os.Remove(s.snapshotPath()); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(s.snapshotPath(), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// subjectFor is an agent with a token.
func subjectFor(t *testing.T, s *Sallyport, id string) action.Subject {
	t.Helper()
	if _, err := s.Tokens.CreateAgent(t.Context(), identity.AgentSpec{ID: id, By: "test"}); err != nil {
		t.Fatal(err)
	}
	secret, _, err := s.Tokens.Issue(t.Context(), identity.TokenSpec{Agent: id, User: "ann", Scopes: []action.Scope{action.ScopeAgent}, By: "test"})
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Tokens.Authenticate(t.Context(), secret)
	if err != nil {
		t.Fatal(err)
	}
	p.Subject.Channel.Door = action.DoorAPI
	return p.Subject
}
