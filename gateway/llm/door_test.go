// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/enforce/enforcetest"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/store/memory"
)

// standIn is a provider that gives what it is told to, and keeps what it was asked.
type standIn struct {
	mu     sync.Mutex
	parts  []part // guarded by mu; of the next answers
	reply  func(w http.ResponseWriter, body string)
	paths  []string
	bodies []string
	heads  []http.Header
}

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paths, s.bodies, s.heads = append(s.paths, r.Method+" "+r.URL.RequestURI()), append(s.bodies, string(body)), append(s.heads, r.Header.Clone())
	if s.reply != nil {
		s.reply(w, string(body))
		return
	}
	for _, d := range dialects {
		if !strings.HasSuffix(r.URL.Path, d.path[strings.LastIndexByte(d.path, '/'):]) {
			continue
		}
		w.Header().Set("X-Request-Id", "req_1")
		w.Header().Set("Set-Cookie", "a=b")
		if strings.Contains(string(body), `"stream":true`) {
			w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
			_, _ = io.WriteString(w, d.stream(rand.New(rand.NewPCG(1, 1)), s.parts))
		} else {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, d.body(s.parts))
		}
		return
	}
	http.NotFound(w, r)
}

func (s *standIn) say(parts ...part) {
	s.mu.Lock()
	s.parts, s.reply = parts, nil
	s.mu.Unlock()
}

func (s *standIn) last() (body string, h http.Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.bodies) == 0 {
		return "", nil
	}
	return s.bodies[len(s.bodies)-1], s.heads[len(s.heads)-1]
}

func (s *standIn) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.bodies)
}

type byToken struct{}

func (byToken) Authenticate(_ context.Context, r *http.Request) (*gateway.Caller, error) {
	name := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") + r.Header.Get("X-Api-Key")
	if name == "" {
		return nil, gateway.ErrUnauthenticated
	}
	s := action.NewQuery(action.Before).Subject
	s.ID, s.Scopes = "bot", []action.Scope{action.ScopeAgent}
	if name == "harness" {
		s.Scopes = append(s.Scopes, action.ScopeHost)
	}
	s.Channel.Credential, s.Channel.CredID = action.CredentialToken, "t-"+name
	return &gateway.Caller{Subject: s}, nil
}

type bench struct {
	*httptest.Server
	up   *standIn
	log  *enforcetest.Log
	desk *enforcetest.Desk
	free *enforcetest.Free
}

// names is a policy that goes by the names of things.
func names(q *action.Query) (action.Decision, error) {
	text := q.Resource.ID
	if q.Phase == action.After {
		text = strings.NewReplacer("deny_it", "", "ask_it", "").Replace(string(q.Context.Result.Content)) // our own words
	}
	d := enforcetest.Rule(action.Allow, "test.allow")
	switch {
	case strings.Contains(text, "quarantine"):
		return enforcetest.Rule(action.Quarantine, "test.quarantine"), nil
	case strings.Contains(text, "deny"):
		return enforcetest.Rule(action.Deny, "test.deny"), nil
	case strings.Contains(text, "ask"):
		return enforcetest.Rule(action.Ask, "test.ask"), nil
	case strings.Contains(text, "change"):
		d.Obligations = []action.Obligation{{Rule: "test.change", Type: action.ObligeRewrite, Params: map[string]string{"pointer": "/a", "value": `"changed"`}}}
	case q.Phase == action.Before && q.Action.Name == "respond" && strings.Contains(text, "scan"):
		d.Obligations = []action.Obligation{{Rule: "test.scan", Type: action.ObligeScan, Params: map[string]string{}}}
	case q.Phase == action.After && strings.Contains(text, "SECRET"):
		d.Obligations = []action.Obligation{{Rule: "test.redact", Type: action.ObligeRedact, Params: map[string]string{"kind": "secret"}}}
	}
	return d, nil
}

func start(t testing.TB, change func(*enforce.Config)) *bench {
	t.Helper()
	b := &bench{up: &standIn{}, log: &enforcetest.Log{}, desk: &enforcetest.Desk{}, free: &enforcetest.Free{}}
	st := memory.Open(memory.Config{})
	t.Cleanup(func() { _ = st.Close() })
	cfg := enforcetest.Config(names, b.log, b.desk, st)
	cfg.Standing = b.free
	cfg.Stages = [][]enforce.Source{{{Name: "detect", Informer: enforcetest.Facts{Func: func(_ context.Context, q *action.Query) (action.Part, error) {
		d := action.UnknownDetect()
		d.State = action.StateKnown
		if strings.Contains(string(q.Context.Result.Content), "SECRET") {
			d.Secrets = []action.Secret{{Pointer: "/x", Kind: "token", Length: 6}}
		}
		return d, nil
	}}}}}
	cfg.Redact = func(b []byte, _ []action.Secret) ([]byte, error) {
		return bytes.ReplaceAll(b, []byte("SECRET"), []byte("***")), nil
	}
	if change != nil {
		change(&cfg)
	}
	e, err := enforce.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.serve(t, e, e.Malformed)
	return b
}

func (b *bench) serve(t testing.TB, e Enforcer, malformed func(context.Context, action.Door, string, string)) {
	t.Helper()
	up := httptest.NewServer(b.up)
	t.Cleanup(up.Close)
	gate, err := gateway.New(gateway.Config{Auth: byToken{}, Malformed: malformed, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	routes, err := Routes(Config{Enforcer: e, Log: slog.New(slog.DiscardHandler),
		OpenAI:    Upstream{URL: up.URL + "/v1", Key: func() (string, error) { return "provider-key", nil }},
		Anthropic: Upstream{URL: up.URL, Key: func() (string, error) { return "provider-key", nil }}})
	if err != nil {
		t.Fatal(err)
	}
	h, err := gate.Handler(routes...)
	if err != nil {
		t.Fatal(err)
	}
	b.Server = httptest.NewServer(h)
	t.Cleanup(b.Close)
}

// post returns status, body and whether the answer came to its end.
func (b *bench) post(t testing.TB, path, body string, header ...string) (int, string, error) {
	t.Helper()
	return b.do(t, "POST", path, body, header...)
}

func (b *bench) do(t testing.TB, method, path, body string, header ...string) (int, string, error) {
	t.Helper()
	r, err := http.NewRequest(method, b.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if strings.Contains(path, "anthropic") {
		r.Header.Set("X-Api-Key", "agent")
	} else {
		r.Header.Set("Authorization", "Bearer agent")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Del("X-Api-Key")
		r.Header.Set(header[i], header[i+1])
	}
	res, err := b.Client().Do(r)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	if res.Header.Get("Set-Cookie") != "" {
		t.Error("a cookie of the provider comes through")
	}
	got, err := io.ReadAll(res.Body)
	return res.StatusCode, string(got), err
}

// forms are a dialect, streamed and not.
func forms(fn func(name, path, request, dialect string, stream bool)) {
	for _, d := range dialects {
		fn(d.name, d.path, "{"+d.request+"}", d.name, false)
		fn(d.name+" stream", d.path, "{"+d.request+`,"stream":true}`, d.name, true)
	}
}

// TestMultipleChoiceAnswersPassUntouched sends 1,000 short answers through, in every form.
func TestMultipleChoiceAnswersPassUntouched(t *testing.T) {
	b := start(t, nil)
	r := rand.New(rand.NewPCG(21, 22))
	letters := "ABCDEFGHIJ"
	for i := range 1000 {
		d := dialects[i%len(dialects)]
		n := r.IntN(len(letters))
		letter := letters[n : n+1]
		text := []string{letter, "(" + letter + ")", "The answer is " + letter + ".", "**" + letter + "**\n\nBecause 1 < 2 & \"x\" ≠ 'y'.", "\\boxed{" + letter + "}"}[r.IntN(5)]
		parts := []part{{text: text}}
		stream := i%2 == 0
		want := d.body(parts)
		if stream {
			want = d.stream(r, parts)
		}
		b.up.mu.Lock()
		b.up.reply = func(w http.ResponseWriter, _ string) {
			kind := "application/json"
			if stream {
				kind = "text/event-stream"
			}
			w.Header().Set("Content-Type", kind)
			_, _ = io.WriteString(w, want)
		}
		b.up.mu.Unlock()
		code, got, err := b.post(t, d.path, fmt.Sprintf(`{%s,"stream":%v}`, d.request, stream))
		if err != nil || code != 200 || got != want {
			t.Fatalf("%s %d: %v %d\n%s\nbecomes\n%s", d.name, i, err, code, want, got)
		}
	}
	if in, out := len(b.log.Of(action.KindIntent)), len(b.log.Of(action.KindOutcome)); in != 1000 || out != 1000 {
		t.Errorf("%d intents, %d outcomes", in, out)
	}
}

func TestCallsAreJudged(t *testing.T) {
	forms(func(name, path, request, dialect string, stream bool) {
		b := start(t, nil)
		b.up.say(part{text: "Let me do that."}, part{id: "c1", name: "read_it", args: `{"a":1}`}, part{id: "c2", name: "deny_it", args: `{"a":2}`},
			part{id: "c3", name: "ask_it", args: `{"a":3}`}, part{id: "c4", name: "change_it", args: `{"a":4}`}, part{id: "c5", name: "mcp__files__read", args: `{"a":5}`},
			part{id: "c6", name: "no_object", args: `[1]`})
		code, body, err := b.post(t, path, request)
		if err != nil || code != 200 {
			t.Fatalf("%s: %v %d %s", name, err, code, body)
		}
		h, err := clientOf(dialect, body, stream)
		if err != nil {
			t.Fatal(name, err, body)
		}
		var got []string
		for _, c := range h.calls {
			got = append(got, c.id+" "+c.name+" "+c.args)
		}
		if s := strings.Join(got, "; "); s != `c1 read_it {"a":1}; c4 change_it {"a":"changed"}; c5 mcp__files__read {"a":5}` {
			t.Errorf("%s: %s", name, s)
		}
		for _, want := range []string{"Let me do that.", "The call of deny_it was not permitted.", "The call of ask_it waits for a person.", "Ticket T1 is open", "The call of no_object was not permitted"} {
			if !strings.Contains(h.text, want) {
				t.Errorf("%s: %q lacks %q", name, h.text, want)
			}
		}
		var recorded []string
		for _, r := range b.log.Of(action.KindIntent) {
			recorded = append(recorded, r.Server+"/"+r.Tool)
			if r.Door != action.DoorLLM {
				t.Error(r.Door)
			}
		}
		if s := strings.Join(recorded[1:], " "); s != "llm/read_it llm/change_it files/read" {
			t.Errorf("%s: recorded %s", name, s)
		}
	})
}

func TestGrantPermitsTheRepeatedCallOnce(t *testing.T) {
	b := start(t, nil)
	ask := func(id string) heard {
		b.up.say(part{id: id, name: "ask_it", args: `{"a":3}`})
		_, body, err := b.post(t, dialects[0].path, "{"+dialects[0].request+`,"stream":true}`)
		if err != nil {
			t.Fatal(err)
		}
		h, err := clientOf("chat", body, true)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	if h := ask("c1"); len(h.calls) != 0 || !b.desk.Decide("T1", true, action.RankOperator, "") {
		t.Fatalf("%+v", h)
	}
	if h := ask("c2"); len(h.calls) != 1 {
		t.Errorf("the granted call: %+v", h)
	}
	if h := ask("c3"); len(h.calls) != 0 {
		t.Errorf("a grant permits twice: %+v", h)
	}
}

func TestWordsHaveAnAuthor(t *testing.T) {
	for _, c := range []struct {
		token string
		by    string
	}{{"agent", "by.agent"}, {"harness", "by.llm_role"}} {
		for _, d := range dialects {
			b := start(t, nil)
			b.up.say(part{text: "ok"})
			for range 3 { // what was said before is not said again
				if code, body, err := b.post(t, d.path, "{"+d.request+"}", "Authorization", "Bearer "+c.token); err != nil || code != 200 {
					t.Fatal(err, code, body)
				}
			}
			said := b.log.Of(action.KindContext)
			var user, system string
			for _, r := range said {
				if p := r.Part(action.PartUserRequest); p != nil {
					user += string(p) + " " + strings.Join(r.Codes, " ")
				}
				system += string(r.Part(action.PartDetail))
			}
			if len(said) != 2 || user != "Go on "+c.by || !strings.Contains(system, `"content":"Be brief."`) {
				t.Errorf("%s %s: %d %q %q", c.token, d.name, len(said), user, system)
			}
		}
	}
}

func TestResultsPassGateTwo(t *testing.T) {
	next := map[string]string{
		"chat":      `{"model":"m-1","messages":[{"role":"user","content":"Go on"},{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"read_it","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c1","content":%s}]}`,
		"responses": `{"model":"m-1","input":[{"role":"user","content":"Go on"},{"type":"function_call","call_id":"c1","name":"read_it","arguments":"{}"},{"type":"function_call_output","call_id":"c1","output":%s}]}`,
		"messages":  `{"model":"m-1","max_tokens":9,"messages":[{"role":"user","content":"Go on"},{"role":"assistant","content":[{"type":"thinking","thinking":"x","signature":"c2ln"},{"type":"tool_use","id":"c1","name":"read_it","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":%s}]}]}`,
	}
	for _, d := range dialects {
		for _, c := range []struct{ name, content, want string }{
			{"plain", `"all \u0077ell"`, `"all \u0077ell"`},
			{"redacted", `"the SECRET"`, `"the ***"`},
			{"parts", `[{"type":"text","text":"the SECRET"}]`, `[{"text":"the ***","type":"text"}]`},
			{"withheld", `"deny this"`, "Executed; the result was withheld"},
		} {
			b := start(t, nil)
			b.up.say(part{id: "c1", name: "read_it", args: `{}`})
			if code, body, err := b.post(t, d.path, "{"+d.request+"}"); err != nil || code != 200 {
				t.Fatal(err, code, body)
			}
			b.up.say(part{text: "ok"})
			for range 2 { // the agent repeats it with every request
				request := fmt.Sprintf(next[d.name], c.content)
				if code, body, err := b.post(t, d.path, request); err != nil || code != 200 {
					t.Fatalf("%s %s: %v %d %s", d.name, c.name, err, code, body)
				}
				got, _ := b.up.last()
				if !strings.Contains(got, c.want) || c.content == c.want && got != request || strings.Contains(got, "SECRET") || strings.Contains(got, "deny this") {
					t.Errorf("%s %s: %s", d.name, c.name, got)
				}
			}
			n := 0
			for _, r := range b.log.Of(action.KindOutcome) {
				if r.Tool == "read_it" {
					n++
				}
			}
			if n != 1 {
				t.Errorf("%s %s: %d outcomes", d.name, c.name, n)
			}
		}
	}
}

func TestRequestsAreGated(t *testing.T) {
	chat := `{"model":"m-1","messages":[{"role":"user","content":"x"}],%s}`
	resp := `{"model":"m-1","input":"x",%s}`
	msgs := `{"model":"m-1","max_tokens":9,"messages":[{"role":"user","content":"x"}],%s}`
	part := map[string]string{
		"chat":      `{"model":"m-1","messages":[{"role":"user","content":[{"type":"text","text":"x"},%s]}]}`,
		"responses": `{"model":"m-1","input":[{"role":"user","content":[%s]}]}`,
		"messages":  `{"model":"m-1","max_tokens":9,"messages":[{"role":"user","content":[%s]}]}`,
	}
	for _, c := range []struct{ name, dialect, body, feature string }{
		{"a search", "chat", fmt.Sprintf(chat, `"web_search_options":{"x":1}`), "parameter.web_search_options"},
		{"a parameter that nobody knows", "chat", fmt.Sprintf(chat, `"deny_me":1`), "parameter.deny_me"},
		{"a stored completion", "chat", fmt.Sprintf(chat, `"store":true`), "parameter.store"},
		{"an image from elsewhere", "chat", fmt.Sprintf(part["chat"], `{"type":"image_url","image_url":{"url":"https://x.example/?q=1"}}`), "fetch_url"},
		{"a file", "chat", fmt.Sprintf(part["chat"], `{"type":"file","file":{"file_id":"f1"}}`), "stored.file"},
		{"a part that nobody knows", "chat", fmt.Sprintf(part["chat"], `{"type":"hologram"}`), "content.hologram"},
		{"web search", "responses", fmt.Sprintf(resp, `"tools":[{"type":"web_search"}]`), "web_search"},
		{"code interpreter", "responses", fmt.Sprintf(resp, `"tools":[{"type":"code_interpreter","container":{"type":"auto"}}]`), "code_interpreter"},
		{"a remote MCP server", "responses", fmt.Sprintf(resp, `"tools":[{"type":"mcp","server_label":"s","server_url":"https://x.example"}]`), "mcp"},
		{"a shell of the provider", "responses", fmt.Sprintf(resp, `"tools":[{"type":"shell","environment":{"type":"container_auto"}}]`), "shell"},
		{"an earlier response", "responses", fmt.Sprintf(resp, `"previous_response_id":"r1"`), "parameter.previous_response_id"},
		{"a conversation", "responses", fmt.Sprintf(resp, `"conversation":"c1"`), "parameter.conversation"},
		{"a stored prompt", "responses", fmt.Sprintf(resp, `"prompt":{"id":"p"}`), "parameter.prompt"},
		{"work in the background", "responses", fmt.Sprintf(resp, `"background":true`), "parameter.background"},
		{"an item of before", "responses", `{"model":"m-1","input":[{"type":"item_reference","id":"i"}]}`, "stored.item_reference"},
		{"a file", "responses", fmt.Sprintf(part["responses"], `{"type":"input_file","file_id":"f"}`), "stored.file"},
		{"an address", "responses", fmt.Sprintf(part["responses"], `{"type":"input_image","image_url":"https://x.example/a.png"}`), "fetch_url"},
		{"a screenshot that the provider has", "responses", `{"model":"m-1","input":[{"type":"computer_call_output","call_id":"c","output":{"type":"computer_screenshot","file_id":"f"}}]}`, "stored.file"},
		{"web search", "messages", fmt.Sprintf(msgs, `"tools":[{"type":"web_search_20250305","name":"web_search"}]`), "web_search_20250305"},
		{"a container", "messages", fmt.Sprintf(msgs, `"container":"c"`), "parameter.container"},
		{"remote MCP servers", "messages", fmt.Sprintf(msgs, `"mcp_servers":[{"type":"url","url":"https://x.example","name":"x"}]`), "parameter.mcp_servers"},
		{"a file", "messages", fmt.Sprintf(part["messages"], `{"type":"document","source":{"type":"file","file_id":"f"}}`), "stored.file"},
		{"an address", "messages", fmt.Sprintf(part["messages"], `{"type":"image","source":{"type":"url","url":"https://x.example"}}`), "fetch_url"},
		{"a file in a result", "messages", fmt.Sprintf(part["messages"], `{"type":"tool_result","tool_use_id":"t","content":[{"type":"image","source":{"type":"file","file_id":"f"}}]}`), "stored.file"},
		{"a part that nobody knows", "messages", fmt.Sprintf(part["messages"], `{"type":"container_upload","file_id":"f"}`), "content.container_upload"},
	} {
		for _, permit := range []bool{true, false} {
			b := start(t, func(cfg *enforce.Config) {
				cfg.Decider = enforcetest.Policy(func(q *action.Query) (action.Decision, error) {
					if !permit && q.Action.Name == "llm/feature" && q.Resource.Name == c.feature {
						return enforcetest.Rule(action.Deny, "test.deny"), nil
					}
					return enforcetest.Rule(action.Allow, "test.allow"), nil
				})
			})
			b.up.say(randomText)
			for _, d := range dialects {
				if d.name != c.dialect {
					continue
				}
				code, body, err := b.post(t, d.path, c.body)
				if err != nil || permit != (code == 200) || permit != (b.up.count() == 1) || !permit && code != 403 {
					t.Errorf("%s (%s, permitted %v): %v %d %s", c.name, c.dialect, permit, err, code, body)
				}
				if permit {
					if got, _ := b.up.last(); got != c.body {
						t.Errorf("%s: forwarded %s", c.name, got)
					}
				}
			}
			open := map[string]int{}
			for _, r := range b.log.Records() {
				switch r.Kind {
				case action.KindIntent:
					open[r.Action]++
				case action.KindOutcome:
					open[r.Action]--
				}
			}
			for id, n := range open {
				if n != 0 {
					t.Errorf("%s: action %s stays open", c.name, id)
				}
			}
		}
	}
}

var randomText = part{text: "ok"}

func TestHarmlessRequestsAskNobody(t *testing.T) {
	for _, c := range []struct{ dialect, body string }{
		{"chat", `{"model":"m-1","messages":[{"role":"developer","content":"d"},{"role":"user","content":[{"type":"text","text":"x"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}]}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],"temperature":0.7,"store":false,"n":1}`},
		{"responses", `{"model":"m-1","input":[{"type":"message","role":"user","content":[{"type":"input_image","image_url":"data:image/png;base64,AA=="}]},{"type":"reasoning","summary":[],"encrypted_content":"x"},{"type":"function_call","call_id":"c","name":"f","arguments":"{\"url\":\"https://x.example\"}"}],"tools":[{"type":"function","name":"f","parameters":null,"strict":true},{"type":"custom","name":"g"},{"type":"local_shell"}],"store":false,"previous_response_id":null}`},
		{"messages", `{"model":"m-1","max_tokens":9,"thinking":{"type":"enabled","budget_tokens":1024},"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],"messages":[{"role":"user","content":[{"type":"text","text":"x"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA=="}}]},{"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"c2ln"},{"type":"tool_use","id":"t","name":"f","input":{"url":"https://x.example","file_id":"f"}}]}],"tools":[{"name":"f","input_schema":{"type":"object"}},{"type":"bash_20250124","name":"bash"}]}`},
	} {
		b := start(t, nil)
		b.up.say(randomText)
		for _, d := range dialects {
			if d.name != c.dialect {
				continue
			}
			if code, body, err := b.post(t, d.path, c.body); err != nil || code != 200 {
				t.Errorf("%s: %v %d %s", c.dialect, err, code, body)
			}
			if got, _ := b.up.last(); got != c.body {
				t.Errorf("%s: forwarded %s", c.dialect, got)
			}
			if n := len(b.log.Of(action.KindIntent)); n != 1 {
				t.Errorf("%s: %d actions", c.dialect, n)
			}
		}
	}
}

func TestCredentialsStayApart(t *testing.T) {
	b := start(t, nil)
	b.up.say(randomText)
	for _, d := range dialects {
		b.post(t, d.path+"?beta=true", "{"+d.request+"}", "Anthropic-Beta", "x", "Cookie", "agent=1", "Openai-Organization", "org", "Authorization", "Bearer agent-secret")
		_, h := b.up.last()
		sent := fmt.Sprint(h)
		if strings.Contains(sent, "agent-secret") || strings.Contains(sent, "agent=1") || strings.Contains(sent, "org") || h.Get("Anthropic-Beta") != "x" {
			t.Errorf("%s: %v", d.name, h)
		}
		if got := h.Get("Authorization") + h.Get("X-Api-Key"); !strings.HasSuffix(got, "provider-key") {
			t.Errorf("%s: %q", d.name, got)
		}
	}
	if want := "POST /v1/chat/completions?beta=true POST /v1/responses?beta=true POST /v1/messages?beta=true"; strings.Join(b.up.paths, " ") != want {
		t.Error(b.up.paths)
	}
}

func TestOtherEndpointsAreGated(t *testing.T) {
	b := start(t, nil)
	b.up.mu.Lock()
	b.up.reply = func(w http.ResponseWriter, _ string) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"data": [ "SECRET" ]}`)
	}
	b.up.mu.Unlock()
	if code, body, err := b.do(t, "GET", "/llm/openai/v1/models", ""); err != nil || code != 200 || body != `{"data":["***"]}` {
		t.Error(err, code, body)
	}
	in := b.log.Of(action.KindIntent)
	if len(in) != 1 || in[0].Tool != "GET /models" || in[0].Server != "openai" || len(b.log.Of(action.KindOutcome)) != 1 {
		t.Errorf("%+v", in)
	}
	for _, path := range []string{"/llm/openai/v1/deny", "/llm/openai/v1/files/ask"} {
		n := b.up.count()
		if code, body, err := b.post(t, path, `{"purpose":"x"}`); err != nil || code != 403 || b.up.count() != n || !strings.Contains(body, "[sallyport]") {
			t.Error(path, err, code, body)
		}
	}
	for _, path := range []string{"/llm/openai/v1/..%2f..%2fx", "/llm/openai//models", "/llm/gemini/v1/x"} {
		if code, _, err := b.do(t, "GET", path, ""); err != nil || code != 404 {
			t.Error(path, err, code)
		}
	}
}

func TestAnswerCanBeDemandedWhole(t *testing.T) {
	forms(func(name, path, request, dialect string, stream bool) {
		for _, c := range []struct {
			model, text, want string
			cut               bool
		}{
			{"m-scan", "plain words", "plain words", false},
			{"m-scan", "a SECRET word", "a *** word", false},
			{"m-scan", "deny this", "[sallyport] Executed; the result was withheld", false},
			{"m-1", "a SECRET word", "a *** word", stream}, // out already: the end does not come
			{"m-1", "deny this", "[sallyport] Executed", stream},
		} {
			b := start(t, nil)
			b.up.say(part{text: c.text}, part{id: "c1", name: "read_it", args: `{}`})
			code, body, err := b.post(t, path, strings.Replace(request, "m-1", c.model, 1))
			if c.cut {
				if err == nil {
					t.Errorf("%s %s %q comes to its end: %s", name, c.model, c.text, body)
				}
				continue
			}
			h, perr := clientOf(dialect, body, stream)
			if err != nil || perr != nil || code != 200 || !strings.HasPrefix(h.text, c.want) || len(h.calls) != 1 || strings.Contains(body, "SECRET") || strings.Contains(body, "deny this") {
				t.Errorf("%s %s %q: %v %v %d %s", name, c.model, c.text, err, perr, code, body)
			}
		}
	})
}

func TestFaultsNeverLetACallThrough(t *testing.T) {
	unrecorded := func(kind action.Kind, tool string) func(*enforce.Config) {
		return func(c *enforce.Config) {
			c.Recorder.(*enforcetest.Log).Fail = func(r *action.Record) (bool, error) {
				if r.Kind == kind && (tool == "" || r.Tool == tool) {
					return false, errors.New("disk full")
				}
				return false, nil
			}
		}
	}
	forms(func(name, path, request, dialect string, stream bool) {
		for _, c := range []struct {
			name   string
			change func(*enforce.Config)
			asked  bool // the provider was
		}{
			{"the words cannot be recorded", unrecorded(action.KindContext, ""), false},
			{"the answer's intent cannot be recorded", unrecorded(action.KindIntent, "m-1"), false},
			{"a call's intent cannot be recorded", unrecorded(action.KindIntent, "read_it"), true},
			{"the answer's outcome cannot be recorded", unrecorded(action.KindOutcome, "m-1"), true},
			{"the agent is stopped", func(cfg *enforce.Config) { cfg.Standing.(*enforcetest.Free).Kill() }, false},
		} {
			b := start(t, c.change)
			b.up.say(part{text: "x"}, part{id: "c1", name: "read_it", args: `{}`})
			code, body, err := b.post(t, path, request)
			complete := err == nil && code == 200
			if complete || b.up.count() > 0 != c.asked || strings.Contains(c.name, "call") && strings.Contains(body, "read_it") {
				t.Errorf("%s, %s: %v %d %s", name, c.name, err, code, body)
			}
		}
	})
}

func TestProvidersErrorsComeThrough(t *testing.T) {
	forms(func(name, path, request, dialect string, stream bool) {
		b := start(t, nil)
		b.up.mu.Lock()
		b.up.reply = func(w http.ResponseWriter, _ string) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(429)
			_, _ = io.WriteString(w, `{"error":{"message":"slow down"}}`)
		}
		b.up.mu.Unlock()
		if code, body, err := b.post(t, path, request); err != nil || code != 429 || body != `{"error":{"message":"slow down"}}` {
			t.Error(name, err, code, body)
		}
		if out := b.log.Of(action.KindOutcome); len(out) != 1 || out[0].Status != action.StatusFailed {
			t.Errorf("%s: %+v", name, out)
		}
		for what, reply := range map[string]func(w http.ResponseWriter){
			"a page": func(w http.ResponseWriter) {
				w.Header().Set("Content-Type", "text/html")
				_, _ = io.WriteString(w, "<p>")
			},
			"compressed":           func(w http.ResponseWriter) { w.Header().Set("Content-Encoding", "br"); _, _ = io.WriteString(w, "x") },
			"a redirect elsewhere": func(w http.ResponseWriter) { w.Header().Set("Location", "http://127.0.0.1:1/"); w.WriteHeader(307) },
		} {
			b.up.mu.Lock()
			b.up.reply = func(w http.ResponseWriter, _ string) { reply(w) }
			b.up.mu.Unlock()
			if code, body, err := b.post(t, path, request); err == nil && code < 500 {
				t.Error(name, what, code, body)
			}
		}
	})
}

func TestBadRequestsDoNotLeave(t *testing.T) {
	b := start(t, nil)
	b.up.say(randomText)
	for name, c := range map[string][2]string{
		"no JSON":                    {"/llm/openai/v1/responses", `{`},
		"a name that stands twice":   {"/llm/openai/v1/responses", `{"model":"m","input":"x","input":"y"}`},
		"a name in two cases":        {"/llm/openai/v1/responses", `{"model":"m","input":"x","Tools":[],"tools":[]}`},
		"no model":                   {"/llm/openai/v1/chat/completions", `{"messages":[]}`},
		"messages that are a word":   {"/llm/openai/v1/chat/completions", `{"model":"m","messages":"x"}`},
		"a role that nobody knows":   {"/llm/openai/v1/chat/completions", `{"model":"m","messages":[{"role":"root","content":"x"}]}`},
		"a stream that is a word":    {"/llm/anthropic/v1/messages", `{"model":"m","messages":[],"stream":"yes"}`},
		"tools that are a word":      {"/llm/anthropic/v1/messages", `{"model":"m","messages":[],"tools":"x"}`},
		"a model with a line break":  {"/llm/anthropic/v1/messages", `{"model":"m\nx","messages":[]}`},
		"a message that is a number": {"/llm/anthropic/v1/messages", `{"model":"m","messages":[1]}`},
	} {
		if code, body, err := b.post(t, c[0], c[1]); err != nil || code != 400 {
			t.Errorf("%s: %v %d %s", name, err, code, body)
		}
	}
	if code, _, _ := b.post(t, "/llm/openai/v1/responses", `{"model":"m","input":"x"}`, SessionHeader, "01ARZ3NDEKTSV4RRFFQ69G5FAV"); code == 200 {
		t.Error("a session of nobody is used")
	}
	if n := b.up.count(); n != 0 {
		t.Errorf("%d left", n)
	}
}

// FuzzRequest finds bodies that panic, or of which a result has no place.
func FuzzRequest(f *testing.F) {
	for _, d := range dialects {
		f.Add([]byte("{" + d.request + "}"))
	}
	f.Add([]byte(`{"model":"m","messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"x"}]}]}]}`))
	f.Add([]byte(`{"model":"m","input":[{"type":"function_call_output","call_id":"c","output":"x"}],"tools":[{"type":"mcp"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if action.Check(body, action.Limits{}) != nil {
			return
		}
		for _, ask := range []func([]byte) (*asked, error){askedChat, askedResponses, askedMessages} {
			a, err := ask(body)
			if err != nil {
				continue
			}
			e := edits{}
			for _, r := range a.results {
				if len(r.content) > 0 {
					e[r.place] = []byte(`"new"`)
				}
			}
			if _, err := edit(body, e); err != nil {
				t.Errorf("%s: %v", body, err)
			}
			for _, ft := range a.features {
				if action.Check(ft.args, action.Limits{}) != nil {
					t.Errorf("%s: feature %s %s", body, ft.name, ft.args)
				}
			}
		}
	})
}
