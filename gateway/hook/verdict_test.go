// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"strings"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/action"
)

func TestEachDialectGetsItsVerdicts(t *testing.T) {
	for h, want := range map[Host]struct{ deny, ask, rewrite, withheld, redacted string }{
		ClaudeCode: {
			`{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"deny","permissionDecisionReason":"Not this."}}`,
			`{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"deny","permissionDecisionReason":"` + asked + `"}}`,
			`{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"allow","updatedInput":{"key":"[redacted]","n":1}}}`,
			`{"decision":"block","hookSpecificOutput":{"hookEventName":"PostToolUse","updatedToolOutput":{"interrupted":false,"stdout":"HINT"}},"reason":"HINT"}`,
			`{"hookSpecificOutput":{"hookEventName":"PostToolUse","updatedToolOutput":{"key":"[redacted]"}}}`,
		},
		Codex: {
			`{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"deny","permissionDecisionReason":"Not this."}}`,
			`{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"deny","permissionDecisionReason":"` + asked + `"}}`,
			`{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"allow","updatedInput":{"key":"[redacted]","n":1}}}`,
			`{"decision":"block","reason":"HINT"}`,
			`{"decision":"block","reason":"Parts of the result were removed; what may be seen of it: {\"key\":\"[redacted]\"}"}`,
		},
		Gemini: {
			`{"decision":"deny","reason":"Not this."}`, `{"decision":"deny","reason":"` + asked + `"}`,
			`{"decision":"allow","hookSpecificOutput":{"hookEventName":"BeforeTool","tool_input":{"key":"[redacted]","n":1}}}`,
			`{"decision":"deny","reason":"HINT"}`,
			`{"decision":"deny","reason":"Parts of the result were removed; what may be seen of it: {\"key\":\"[redacted]\"}"}`,
		},
		Cursor: {
			`{"agent_message":"Not this.","permission":"deny","user_message":"Not this."}`,
			`{"agent_message":"` + asked + `","permission":"deny","user_message":"` + asked + `"}`,
			`{"permission":"allow","updated_input":{"key":"[redacted]","n":1}}`, `{"additional_context":"HINT"}`,
			`{"additional_context":"Parts of the result were removed; what may be seen of it: {\"key\":\"[redacted]\"}"}`,
		},
		VSCode: {
			`{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"deny","permissionDecisionReason":"Not this."},"permissionDecision":"deny","permissionDecisionReason":"Not this."}`,
			`{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"deny","permissionDecisionReason":"` + asked + `"},"permissionDecision":"deny","permissionDecisionReason":"` + asked + `"}`,
			`{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"allow","updatedInput":{"key":"[redacted]","n":1}},"modifiedArgs":{"key":"[redacted]","n":1},"permissionDecision":"allow"}`,
			`{"decision":"block","hookSpecificOutput":{"additionalContext":"HINT","hookEventName":"PostToolUse"},"modifiedResult":{"resultType":"success","textResultForLlm":"HINT"},"reason":"HINT"}`,
			``,
		},
	} {
		t.Run(string(h), func(t *testing.T) {
			s, n := newStage(t, action.RankOperator), names[h]
			is := func(what, got, want string) {
				t.Helper()
				want = strings.ReplaceAll(want, "HINT", "Executed; the result was withheld. Do not repeat the call. Not this.")
				if want != "" && got != want {
					t.Errorf("%s:\n%s\nwant\n%s", what, got, want)
				}
			}
			is("allow", s.send(h, payload(h, n.pre, "x", "1", `{"a":"b"}`)), "{}")
			is("result", s.send(h, payload(h, n.post, "x", "1", `{"a":"b"}`, n.result, `{"stdout":"fine"}`)), "{}")
			is("deny", s.send(h, payload(h, n.pre, "x", "2", `{"a":"evil"}`)), want.deny)
			is("ask", s.send(h, payload(h, n.pre, "x", "3", `{"a":"ask"}`)), want.ask)
			is("rewrite", s.send(h, payload(h, n.pre, "x", "4", `{"n":1,"key":"veil"}`)), want.rewrite)
			is("rewritten result", s.send(h, payload(h, n.post, "x", "4", `{"key":"[redacted]","n":1}`, n.result, `{"key":"veil"}`)), want.redacted)
			is("pre", s.send(h, payload(h, n.pre, "x", "5", `{"a":"c"}`)), "{}")
			is("withheld", s.send(h, payload(h, n.post, "x", "5", `{"a":"c"}`, n.result, `{"stdout":"SECRET","interrupted":false}`)), want.withheld)
			if i, o := len(s.log.Of(action.KindIntent)), len(s.log.Of(action.KindOutcome)); i != 3 || o != 3 {
				t.Errorf("%d intents, %d outcomes", i, o)
			}
			for _, r := range s.log.Of(action.KindIntent) {
				if r.Observed != action.No || r.Grade != action.GradeHook || r.Door != action.DoorHook || r.Server != string(h) {
					t.Errorf("record %+v", r)
				}
			}
			unable := map[Host]string{Cursor: "host_cannot_redact host_cannot_withhold host_cannot_withhold"}[h]
			if h == Cursor || h == VSCode {
				if !strings.Contains(s.oddities(), "host_cannot_withhold") {
					t.Errorf("the record does not say that the agent saw the result: %q", s.oddities())
				}
			} else if s.oddities() != unable {
				t.Errorf("oddities %q", s.oddities())
			}
		})
	}
}

func TestApprovalLetsTheSameCallPassOnce(t *testing.T) {
	for _, h := range Hosts {
		s, n := newStage(t, action.RankOperator), names[h]
		if got := s.send(h, payload(h, n.pre, "x", "1", `{"a":"ask"}`)); !strings.Contains(got, "T1") {
			t.Fatalf("%s: %s", h, got)
		}
		s.desk.Decide("T1", true, action.RankOperator, "")
		again := payload(h, n.pre, "x", "2", `{"a":"ask"}`)
		if got := s.send(h, again); got != "{}" {
			t.Fatalf("%s: the approved call: %s", h, got)
		}
		if got := s.send(h, again); got != "{}" {
			t.Errorf("%s: its event once more: %s", h, got)
		}
		s.send(h, payload(h, n.post, "x", "2", `{"a":"ask"}`, n.result, `"fine"`))
		if got := s.send(h, again); got == "{}" {
			t.Errorf("%s: an executed call passed again", h)
		}
		if got := s.send(h, payload(h, n.pre, "x", "3", `{"a":"ask"}`)); got == "{}" {
			t.Errorf("%s: one approval let two calls pass", h)
		}
		if i := len(s.log.Of(action.KindIntent)); i != 1 {
			t.Errorf("%s: %d intents", h, i)
		}
	}
}

func TestHostsOwnUserAnswersWhereTheRuleLetsHim(t *testing.T) {
	pre := payload(ClaudeCode, "PreToolUse", "x", "1", `{"a":"ask"}`)
	post := payload(ClaudeCode, "PostToolUse", "x", "1", `{"a":"ask"}`, "tool_response", `"fine"`)
	s := newStage(t, action.RankClient)
	if got := s.send(ClaudeCode, pre); !strings.Contains(got, `"permissionDecision":"ask"`) {
		t.Fatal(got)
	}
	if got := s.send(ClaudeCode, payload(ClaudeCode, "PermissionRequest", "x", "", `{"a":"ask"}`)); got != "{}" {
		t.Errorf("the question itself was refused: %s", got)
	}
	if len(s.log.Of(action.KindIntent)) != 0 {
		t.Error("an intent before the answer")
	}
	if got := s.send(ClaudeCode, post); got != "{}" {
		t.Errorf("an answered call: %s", got)
	}
	if i, o := len(s.log.Of(action.KindIntent)), len(s.log.Of(action.KindOutcome)); i != 1 || o != 1 {
		t.Errorf("%d intents, %d outcomes", i, o)
	}

	s = newStage(t, action.RankClient)
	s.send(ClaudeCode, pre)
	if got := s.send(ClaudeCode, payload(ClaudeCode, "PermissionDenied", "x", "1", `{"a":"ask"}`)); got != "{}" {
		t.Error(got)
	}
	if got := s.send(ClaudeCode, payload(ClaudeCode, "PreToolUse", "x", "2", `{"a":"ask"}`)); got == "{}" {
		t.Error("a refused call passed")
	}

	s = newStage(t, action.RankClient)
	s.send(ClaudeCode, pre)
	s.desk.Decide("T1", false, action.RankOperator, "no")
	if got := s.send(ClaudeCode, post); !strings.Contains(got, unseenHint) || !strings.Contains(s.oddities(), "executed_unpermitted") {
		t.Errorf("a call that a person refused elsewhere: %s, %q", got, s.oddities())
	}

	for name, body := range map[string]string{
		"a mode without questions": payload(ClaudeCode, "PreToolUse", "x", "9", `{"a":"ask"}`, "permission_mode", `"bypassPermissions"`),
		"a mode nobody knows":      payload(ClaudeCode, "PreToolUse", "x", "9", `{"a":"ask"}`, "permission_mode", `"yolo"`),
	} {
		if got := newStage(t, action.RankClient).send(ClaudeCode, body); !strings.Contains(got, `"deny"`) {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := newStage(t, action.RankClient).send(Codex, payload(Codex, "PreToolUse", "x", "1", `{"a":"ask"}`)); !strings.Contains(got, `"deny"`) {
		t.Errorf("Codex lets a call pass that a hook asks about: %s", got)
	}
}

func TestDuplicatesAreOneAction(t *testing.T) {
	s := newStage(t, action.RankOperator)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, got := s.post(ClaudeCode, payload(ClaudeCode, "PreToolUse", "x", "1", `{"a":"b"}`)); got != "{}" {
				t.Errorf("a duplicate: %s", got)
			}
		})
	}
	wg.Wait()
	for range 2 {
		if got := s.send(ClaudeCode, payload(ClaudeCode, "PostToolUse", "x", "1", `{"a":"b"}`, "tool_response", `"fine"`)); got != "{}" {
			t.Errorf("a duplicate result: %s", got)
		}
	}
	if i, o := len(s.log.Of(action.KindIntent)), len(s.log.Of(action.KindOutcome)); i != 1 || o != 1 {
		t.Errorf("%d intents, %d outcomes", i, o)
	}
	if got := s.send(ClaudeCode, payload(ClaudeCode, "PreToolUse", "x", "1", `{"a":"other"}`)); !strings.Contains(got, `"deny"`) {
		t.Errorf("one id for two calls: %s", got)
	}
	s.send(ClaudeCode, payload(ClaudeCode, "PreToolUse", "x", "7", `{"a":"b"}`))
	if got := s.send(ClaudeCode, payload(ClaudeCode, "PreToolUse", "x", "7", `{"a":"c"}`)); !strings.Contains(got, `"deny"`) {
		t.Errorf("one open id for two calls: %s", got)
	}
}

// Hosts without ids for calls tell equal ones apart by nothing but their order.
func TestCallsWithoutIDsEndInOrder(t *testing.T) {
	s := newStage(t, action.RankOperator)
	for range 2 {
		if got := s.send(Gemini, payload(Gemini, "BeforeTool", "x", "", `{"a":"b"}`)); got != "{}" {
			t.Fatal(got)
		}
	}
	for range 2 {
		if got := s.send(Gemini, payload(Gemini, "AfterTool", "x", "", `{ "a" : "b" }`, "tool_response", `{"llmContent":"fine"}`)); got != "{}" {
			t.Fatal(got)
		}
	}
	if i, o := len(s.log.Of(action.KindIntent)), len(s.log.Of(action.KindOutcome)); i != 2 || o != 2 || s.oddities() != "" {
		t.Errorf("%d intents, %d outcomes, %q", i, o, s.oddities())
	}
}

func TestResultsOfCallsThatWereNotPermittedAreWithheld(t *testing.T) {
	post := func(id, args string) string {
		return payload(ClaudeCode, "PostToolUse", "x", id, args, "tool_response", `{"stdout":"fine"}`)
	}
	s := newStage(t, action.RankOperator)
	s.send(ClaudeCode, payload(ClaudeCode, "PreToolUse", "x", "1", `{"a":"evil"}`))
	if got := s.send(ClaudeCode, post("1", `{"a":"evil"}`)); strings.Contains(got, "fine") || !strings.Contains(got, "withheld") {
		t.Errorf("executed although denied: %s", got)
	}
	if got := s.send(ClaudeCode, post("2", `{"a":"evil"}`)); strings.Contains(got, "fine") || !strings.Contains(got, "withheld") {
		t.Errorf("never announced, and not permitted: %s", got)
	}
	if got := s.send(ClaudeCode, post("3", `{"a":"b"}`)); got != "{}" {
		t.Errorf("never announced, but permitted: %s", got)
	}
	if got := s.oddities(); got != "executed_unpermitted outcome_unseen outcome_unseen" {
		t.Errorf("oddities %q", got)
	}
	s.send(ClaudeCode, payload(ClaudeCode, "PreToolUse", "x", "4", `{"a":"b"}`))
	s.send(ClaudeCode, post("4", `{"a":"c"}`))
	if !strings.HasSuffix(s.oddities(), "executed_other_arguments") {
		t.Errorf("other arguments were executed than permitted, unseen: %q", s.oddities())
	}
}

// A door that was restarted finds the action again by the host's id.
func TestOutcomesFindTheirActionsAfterARestart(t *testing.T) {
	s := newStage(t, action.RankOperator)
	s.send(ClaudeCode, payload(ClaudeCode, "PreToolUse", "x", "1", `{"a":"b"}`))
	s.listen()
	if got := s.send(ClaudeCode, payload(ClaudeCode, "PostToolUse", "x", "1", `{"a":"b"}`, "tool_response", `"fine"`)); got != "{}" {
		t.Error(got)
	}
	if i, o := len(s.log.Of(action.KindIntent)), len(s.log.Of(action.KindOutcome)); i != 1 || o != 1 {
		t.Errorf("%d intents, %d outcomes", i, o)
	}
}
