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
			id, ours := original(c.id)
			if !ours {
				t.Errorf("%s: the id %q is not ours", name, c.id)
			}
			got = append(got, id+" "+c.name+" "+c.args)
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
