// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/enforce/enforcetest"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/store/memory"
)

// stage is the door over the path itself with in-memory parts: what holds "evil" is denied, what holds
// "ask" asks, what holds "veil" is masked; results with SECRET are denied and those with "veil" masked.
type stage struct {
	t    testing.TB
	log  *enforcetest.Log
	desk *enforcetest.Desk
	path *enforce.Enforcer
	http http.Handler

	mu     sync.Mutex
	said   []enforce.Said
	odd    []string
	scopes []action.Scope
	fail   error
}

func rules(channel action.Rank) enforcetest.Policy {
	return func(q *action.Query) (action.Decision, error) {
		b := q.Action.Arguments
		if q.Phase == action.After {
			b = q.Context.Result.Content
		}
		switch {
		case bytes.Contains(b, []byte("evil")), q.Phase == action.After && bytes.Contains(b, []byte("SECRET")):
			d := enforcetest.Rule(action.Deny, "evil")
			d.Matches[0].Hint = "Not this."
			return d, nil
		case q.Phase == action.Before && bytes.Contains(b, []byte("ask")) && q.Context.Approval.Status != action.ApprovalGranted:
			d := enforcetest.Rule(action.Ask, "ask")
			d.Matches[0].Approver, d.Matches[0].Hint = action.Approver{Channel: channel}, "Somebody has to look."
			return d, nil
		case bytes.Contains(b, []byte("veil")):
			d := enforcetest.Rule(action.Allow, "veil")
			d.Obligations = []action.Obligation{{Type: action.ObligeRedact, Rule: "veil", Params: map[string]string{"pointer": "/key"}}}
			return d, nil
		}
		return enforcetest.Rule(action.Allow, "rest"), nil
	}
}

// counted is the path, which counts what is odd and can fail.
type counted struct {
	*enforce.Enforcer
	s *stage
}

func (c counted) Malformed(_ context.Context, _ action.Door, _, code string) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.odd = append(c.s.odd, code)
}

func (c counted) Session(ctx context.Context, s *action.Subject, host string, o enforce.SessionOptions) (string, error) {
	if c.s.fail != nil {
		return "", c.s.fail
	}
	return c.Enforcer.Session(ctx, s, host, o)
}

func newStage(t testing.TB, channel action.Rank) *stage {
	t.Helper()
	s := &stage{t: t, log: &enforcetest.Log{}, desk: &enforcetest.Desk{}, scopes: []action.Scope{action.ScopeAgent, action.ScopeHost}}
	cfg := enforcetest.Config(rules(channel), s.log, s.desk, memory.Open(memory.Config{}))
	cfg.Hear = func(_ context.Context, _ string, _ *action.Subject, said enforce.Said) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.said = append(s.said, said)
	}
	var err error
	if s.path, err = enforce.New(cfg); err != nil {
		t.Fatal(err)
	}
	s.listen()
	return s
}

// listen opens the door; doing it again is a restart that forgets what the door remembers.
func (s *stage) listen() {
	s.t.Helper()
	routes, err := Routes(Config{Enforcer: counted{s.path, s}, Log: slog.New(slog.DiscardHandler), Answer: func(_ context.Context, ticket string, accept bool, _ *action.Subject) error {
		if !s.desk.Decide(ticket, accept, action.RankClient, "") {
			return errors.New("no such ticket")
		}
		return nil
	}})
	if err != nil {
		s.t.Fatal(err)
	}
	g, err := gateway.New(gateway.Config{Auth: s, Door: action.DoorHook, Malformed: counted{s.path, s}.Malformed})
	if err != nil {
		s.t.Fatal(err)
	}
	if s.http, err = g.Handler(routes...); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) Authenticate(context.Context, *http.Request) (*gateway.Caller, error) {
	sub := enforcetest.Subject(action.DoorHook)
	sub.Scopes = s.scopes
	return &gateway.Caller{Subject: sub}, nil
}

func (s *stage) post(h Host, body string, header ...string) (int, string) {
	s.t.Helper()
	r := httptest.NewRequest("POST", "http://localhost"+Path(h), strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.http.ServeHTTP(w, r)
	return w.Code, strings.TrimSpace(w.Body.String())
}

// send posts an event that must be answered.
func (s *stage) send(h Host, body string) string {
	s.t.Helper()
	code, answer := s.post(h, body)
	if code != 200 {
		s.t.Fatalf("%s: %d %s", body, code, answer)
	}
	return answer
}

func (s *stage) oddities() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.odd, " ")
}

// payload is a host's event for a tool call.
func payload(h Host, event, tool, id string, args string, more ...string) string {
	m := map[string]any{"hook_event_name": event, "session_id": "s", "cwd": "/w/app", "tool_name": tool, "tool_input": jsontext.Value(args)}
	if h == Cursor {
		m["conversation_id"], m["workspace_roots"] = "s", []string{"/w/app"}
	}
	if id != "" {
		m["tool_use_id"] = id
	}
	for i := 0; i+1 < len(more); i += 2 {
		m[more[i]] = jsontext.Value(more[i+1])
	}
	b, err := json.Marshal(m, json.Deterministic(true))
	if err != nil {
		panic(err)
	}
	return string(b)
}

// names are what the hosts call the two tool events and the member of the result.
var names = map[Host]struct{ pre, post, result string }{
	ClaudeCode: {"PreToolUse", "PostToolUse", "tool_response"}, Codex: {"PreToolUse", "PostToolUse", "tool_response"},
	Gemini: {"BeforeTool", "AfterTool", "tool_response"}, Cursor: {"preToolUse", "postToolUse", "tool_output"},
	VSCode: {"PreToolUse", "PostToolUse", "tool_response"},
}

const asked = "Somebody has to look. It waits for a person as T1 (sallyport approvals approve T1). Once approved, make exactly the same call again: it passes once."

func TestPermissionIsOnlyAskedForWhatPassedTheGate(t *testing.T) {
	s := newStage(t, action.RankOperator)
	ask := payload(ClaudeCode, "PermissionRequest", "x", "", `{"a":"b"}`)
	if got := s.send(ClaudeCode, ask); !strings.Contains(got, `"behavior":"deny"`) || s.oddities() != "permission_unseen" {
		t.Errorf("a permission for an unseen call: %s", got)
	}
	s.send(ClaudeCode, payload(ClaudeCode, "PreToolUse", "x", "1", `{"a":"b"}`))
	if got := s.send(ClaudeCode, ask); got != "{}" {
		t.Errorf("a permission for a call that passed: %s", got)
	}
	s.send(ClaudeCode, payload(ClaudeCode, "PostToolUse", "x", "1", `{"a":"b"}`, "tool_response", `""`))
	if got := s.send(ClaudeCode, ask); got == "{}" {
		t.Error("a permission for a call that is over")
	}
	s.send(Codex, payload(Codex, "PreToolUse", "Bash", "1", `{"command":"ls"}`))
	if got := s.send(Codex, payload(Codex, "PermissionRequest", "Bash", "", `{"command":"ls","description":"why"}`)); got != "{}" {
		t.Errorf("Codex words the same call anew: %s", got)
	}
	if got := s.send(Codex, payload(Codex, "PermissionRequest", "Bash", "", `{"command":"rm","description":"why"}`)); got == "{}" {
		t.Error("a permission for another command")
	}
}

func TestWhoMaySpeakForTheUser(t *testing.T) {
	prompt := `{"session_id":"s","cwd":"/w/app","hook_event_name":"UserPromptSubmit","prompt":"mail bob"}`
	for _, c := range []struct {
		scopes []action.Scope
		by     action.Asserter
		roots  string
	}{
		{[]action.Scope{action.ScopeAgent, action.ScopeHost}, action.AssertedHook, "[/w/app]"},
		{[]action.Scope{action.ScopeAgent}, action.AssertedAgent, "[]"},
	} {
		s := newStage(t, action.RankOperator)
		s.scopes = c.scopes
		s.send(ClaudeCode, prompt)
		if len(s.said) != 1 || s.said[0].By != c.by || s.said[0].Kind != action.PartUserRequest || string(s.said[0].Text) != "mail bob" {
			t.Errorf("%v said %+v", c.scopes, s.said)
		}
		s.send(ClaudeCode, payload(ClaudeCode, "PreToolUse", "x", "1", `{"a":"b"}`))
		q := input(t, s)
		if fmt.Sprint(q.Context.Session.Roots) != c.roots || q.Context.Session.Request.By.HostScoped() != (c.by == action.AssertedHook) {
			t.Errorf("%v: roots %q, request by %q", c.scopes, q.Context.Session.Roots, q.Context.Session.Request.By)
		}
	}
	s := newStage(t, action.RankOperator)
	s.send(ClaudeCode, strings.Replace(prompt, `"cwd"`, `"agent_id":"sub","cwd"`, 1))
	if len(s.said) != 1 || s.said[0].By != action.AssertedAgent {
		t.Errorf("what starts a subagent counts as %+v", s.said)
	}
	s = newStage(t, action.RankOperator)
	s.scopes = []action.Scope{action.ScopeHost}
	if code, _ := s.post(ClaudeCode, prompt); code != 403 {
		t.Errorf("a token without the agent scope: %d", code)
	}
}

// input is the recorded query of the newest intent.
func input(t *testing.T, s *stage) *action.Query {
	t.Helper()
	all := s.log.Of(action.KindIntent)
	q, err := action.ReadQuery(all[len(all)-1].Part(action.PartInputBefore))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// The agent moves about; where it stands does not become a place where it may write.
func TestWorkingFolderIsNoRootUnlessTheUserIsThere(t *testing.T) {
	at := func(event, cwd string) string {
		return `{"session_id":"s","cwd":"` + cwd + `","hook_event_name":"` + event + `","prompt":"x","tool_name":"x","tool_input":{"n":"` + cwd + `"},"tool_use_id":"` + cwd + `"}`
	}
	s := newStage(t, action.RankOperator)
	s.send(ClaudeCode, at("SessionStart", "/w/app"))
	for _, cwd := range []string{"/etc", "/", "relative", "/w/../etc"} {
		s.send(ClaudeCode, at("PreToolUse", cwd))
	}
	s.send(ClaudeCode, at("UserPromptSubmit", "/"))
	s.send(ClaudeCode, at("PreToolUse", "/w/app/sub"))
	if q := input(t, s); fmt.Sprint(q.Context.Session.Roots) != "[/w/app]" || q.Context.Session.Cwd != "/w/app/sub" {
		t.Errorf("roots %q, folder %q", q.Context.Session.Roots, q.Context.Session.Cwd)
	}
	if code, got := s.post(ClaudeCode, at("PreToolUse", "/w/app/x"), ProjectHeader, Escape("/w/my app")); code != 200 || got != "{}" {
		t.Fatal(got)
	}
	if q := input(t, s); fmt.Sprint(q.Context.Session.Roots) != "[/w/app /w/my app]" {
		t.Errorf("roots %q", q.Context.Session.Roots)
	}
}

func TestEventsThatAreNoActionAreRecorded(t *testing.T) {
	for _, h := range Hosts {
		s := newStage(t, action.RankOperator)
		for _, p := range payloads(t, h) {
			e, err := Read(h, []byte(p))
			if err != nil || e.Kind != KindNote && e.Kind != KindStart {
				continue
			}
			before := len(s.log.Of(action.KindContext))
			if got := s.send(h, p); got != "{}" {
				t.Errorf("%s %s: %s", h, e.Name, got)
			}
			all := s.log.Of(action.KindContext)
			if len(all) != before+1 || !strings.Contains(string(all[before].Part(action.PartDetail)), e.Name) ||
				!strings.Contains(string(all[before].Part(action.PartDetail)), e.Agent) {
				t.Errorf("%s %s is not on record", h, e.Name)
			}
		}
	}
}

func TestChangesOfSettingsAreJudged(t *testing.T) {
	s := newStage(t, action.RankOperator)
	change := func(file string) string {
		return s.send(ClaudeCode, `{"session_id":"s","cwd":"/w","hook_event_name":"ConfigChange","source":"user_settings","file_path":"`+file+`"}`)
	}
	if got := change("/home/ann/.claude/settings.json"); got != "{}" {
		t.Error(got)
	}
	if got := change("/evil"); got != `{"decision":"block","reason":"Not this."}` {
		t.Error(got)
	}
	if got := change("/ask"); !strings.Contains(got, "block") || !strings.Contains(got, "T1") {
		t.Error(got)
	}
}

func TestFaultsAreAnsweredInTheBlockForm(t *testing.T) {
	s := newStage(t, action.RankOperator)
	for _, h := range Hosts {
		for _, p := range payloads(t, h) {
			e, err := Read(h, []byte(p))
			if err != nil {
				t.Fatal(err)
			}
			s.fail = errors.New("a fault with a detail that stays inside")
			got := s.send(h, p)
			s.fail = nil
			if strings.Contains(got, "detail") {
				t.Errorf("%s %s tells our insides: %s", h, e.Name, got)
			}
			if e.Kind.Gates() && (got == "{}" || !strings.Contains(got, "hooks uninstall "+string(h)) || !strings.Contains(got, "sallyport doctor")) {
				t.Errorf("%s %s passes on a fault: %s", h, e.Name, got)
			}
			if e.Kind == KindPost && (strings.Contains(got, "hello") || got == "{}") {
				t.Errorf("%s %s tells a result on a fault: %s", h, e.Name, got)
			}
		}
	}
}

func TestUnreadableEventsAreRefusedAndCounted(t *testing.T) {
	for name, body := range map[string]string{
		"garbage": "garbage", "nothing": "", "an unknown event": `{"session_id":"s","hook_event_name":"Unheard"}`,
		"a missing member": `{"session_id":"s","hook_event_name":"PreToolUse","tool_input":{}}`,
		"deep nesting":     strings.Repeat("[", 100000),
	} {
		s := newStage(t, action.RankOperator)
		code, got := s.post(ClaudeCode, body)
		if code != 400 || s.oddities() != "malformed" || len(s.log.Records()) != 0 {
			t.Errorf("%s: %d %s, %q", name, code, got, s.oddities())
		}
	}
	s := newStage(t, action.RankOperator)
	if code, _ := s.post(ClaudeCode, `{"a":"`+strings.Repeat("x", MaxBytes)+`"}`); code != 413 {
		t.Errorf("a huge event: %d", code)
	}
	if code, _ := s.post("netscape", "{}"); code != 404 {
		t.Errorf("an unknown host: %d", code)
	}
}

// A withheld result of a built-in tool keeps the tool's shape and nothing else.
func TestMaskedTellsNothing(t *testing.T) {
	for response, want := range map[string]string{
		`"secret"`: `"no"`, `7`: `0`, `null`: `null`, `["secret"]`: `[]`, ``: `"no"`, `{"stdout":"secret","code":7,"ok":true,"file":{"content":"secret","lines":["secret"]}}`: `{"code":0,"file":{"content":"no","lines":[]},"ok":true,"stdout":"no"}`,
		`{"AKIA7EXAMPLE":1,"secret key":2,"stdout":""}`:                    `{"stdout":"no"}`,
		strings.Repeat(`{"a":`, 30) + `"secret"` + strings.Repeat(`}`, 30): `{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{}}}}}}}}}`,
	} {
		if got := string(masked([]byte(response), "no", false)); got != want {
			t.Errorf("%s: %s", response, got)
		}
	}
	for response, want := range map[string]string{
		`[{"type":"text","text":"secret"}]`: `[{"text":"no","type":"text"}]`, `{"content":[],"structuredContent":{"secret":1}}`: `{"content":[{"text":"no","type":"text"}]}`, `"secret"`: `"no"`,
	} {
		if got := string(masked([]byte(response), "no", true)); got != want {
			t.Errorf("%s: %s", response, got)
		}
	}
}

func TestCallsAreForgottenInOrder(t *testing.T) {
	var c calls
	c.init()
	q := func(i int) *request {
		return &request{Event: &Event{Host: ClaudeCode, Tool: "x", CallID: fmt.Sprint(i), Arguments: []byte(fmt.Sprintf(`{"i":%d}`, i))}, session: "s"}
	}
	for i := range maxCalls + 10 {
		x := c.enter(q(i))
		c.open(x, q(i), q(i).Arguments)
		x.mu.Unlock()
	}
	if len(c.by) != 2*maxCalls || c.order.Len() != maxCalls {
		t.Errorf("%d keys, %d calls", len(c.by), c.order.Len())
	}
	if x := c.find(q(3)); x != nil {
		t.Error("the oldest call is still there")
	}
	for i := range maxCalls + 10 {
		if x := c.find(q(i)); x != nil {
			c.close(x, q(i))
			x.mu.Unlock()
		}
	}
	for i := range maxCalls {
		r := q(i)
		r.session = "other"
		c.enter(r).mu.Unlock()
	}
	if len(c.by) != maxCalls {
		t.Errorf("%d keys are left", len(c.by))
	}
}
