// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bytes"
	"context"
	"strings"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/enforce/enforcetest"
	"github.com/sallyport/sallyport/store/memory"
)

// real is the path itself over in-memory parts: deleting and sending ask, results with SECRET are denied.
func real(t *testing.T, channel action.Rank) (*enforce.Enforcer, *enforcetest.Log, *enforcetest.Desk) {
	t.Helper()
	rules := func(q *action.Query) (action.Decision, error) {
		switch {
		case q.Phase == action.After && bytes.Contains(q.Context.Result.Content, []byte("SECRET")):
			return enforcetest.Rule(action.Deny, "leak"), nil
		case q.Phase == action.Before && q.Resource.Name == "write_note" && bytes.Contains(q.Action.Arguments, []byte("evil")):
			return enforcetest.Rule(action.Deny, "evil"), nil
		case q.Phase == action.Before && q.Resource.Name == "send_note" && q.Context.Approval.Status != action.ApprovalGranted:
			d := enforcetest.Rule(action.Ask, "send")
			d.Matches[0].Approver = action.Approver{Channel: channel}
			return d, nil
		}
		return enforcetest.Rule(action.Allow, "rest"), nil
	}
	log, desk := &enforcetest.Log{}, &enforcetest.Desk{}
	e, err := enforce.New(enforcetest.Config(rules, log, desk, memory.Open(memory.Config{})))
	if err != nil {
		t.Fatal(err)
	}
	return e, log, desk
}

func TestRealPathJudgesRecordsAndResumes(t *testing.T) {
	for _, version := range []string{"2026-07-28", "2025-11-25"} {
		t.Run(version, func(t *testing.T) {
			e, log, desk := real(t, action.RankOperator)
			cs := guardAs(t, gateOf(t, e, desk), peerOf(t, e), notesServer(t, t.TempDir())).connect(t, version, nil)
			if s, bad := call(t, cs, "write_note", map[string]any{"name": "a", "text": "b"}); bad {
				t.Fatalf("write: %s", s)
			}
			if s, bad := call(t, cs, "write_note", map[string]any{"name": "a", "text": "evil"}); !bad {
				t.Fatalf("a denied call passed: %s", s)
			}
			send := map[string]any{"name": "a", "to": "x@y.example"}
			s, bad := call(t, cs, "send_note", send)
			i := strings.Index(s, "approvals approve ")
			if !bad || i < 0 {
				t.Fatalf("an asked call answered %q", s)
			}
			ticket := strings.TrimSuffix(strings.Fields(s[i:])[2], ".")
			if !desk.Decide(ticket, true, action.RankOperator, "") {
				t.Fatalf("there is no ticket %q", ticket)
			}
			if s, bad = call(t, cs, "send_note", send); bad {
				t.Fatalf("the approved call answered %q", s)
			}
			if s, bad = call(t, cs, "send_note", send); !bad {
				t.Fatalf("one approval let two calls pass: %q", s)
			}
			if s, bad = call(t, cs, "write_note", map[string]any{"name": "k", "text": "SECRET"}); bad {
				t.Fatalf("write: %s", s)
			}
			if s, bad = call(t, cs, "read_note", map[string]any{"name": "k"}); !bad || strings.Contains(s, "SECRET") {
				t.Fatalf("a withheld result answered %q", s)
			}
			intents, outcomes := len(log.Of(action.KindIntent)), len(log.Of(action.KindOutcome))
			if intents < 5 || outcomes < 5 || len(log.Of(action.KindDecision)) < 3 {
				t.Errorf("%d intents, %d outcomes, %d decisions", intents, outcomes, len(log.Of(action.KindDecision)))
			}
		})
	}
}

func TestRealPathTakesTheAnswerOfTheClientsUser(t *testing.T) {
	e, _, desk := real(t, action.RankClient)
	asked := 0
	o := &sdk.ClientOptions{ElicitationHandler: func(context.Context, *sdk.ElicitRequest) (*sdk.ElicitResult, error) {
		asked++
		return &sdk.ElicitResult{Action: "accept", Content: map[string]any{"approve": true}}, nil
	}}
	cs := guardAs(t, gateOf(t, e, desk), peerOf(t, e), notesServer(t, t.TempDir())).connect(t, "", o)
	call(t, cs, "write_note", map[string]any{"name": "a", "text": "b"})
	if s, bad := call(t, cs, "send_note", map[string]any{"name": "a", "to": "x@y.example"}); bad || asked != 1 {
		t.Fatalf("asked %d times, answered %q", asked, s)
	}
}

func gateOf(t *testing.T, e *enforce.Enforcer, desk *enforcetest.Desk) *Gate {
	t.Helper()
	g, err := New(Config{Enforcer: e, Answer: func(_ context.Context, ticket string, accept bool, _ *action.Subject) error {
		desk.Decide(ticket, accept, action.RankClient, "")
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func peerOf(t *testing.T, e *enforce.Enforcer) Peer {
	t.Helper()
	s := enforcetest.Subject(action.DoorMCP)
	sid, err := e.Session(context.Background(), &s, "stdio:1:2:3", enforce.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return Peer{Subject: s, Session: sid, Source: "test", Grade: action.GradeProxy, Separation: action.SeparationNone}
}
