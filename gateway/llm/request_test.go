// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/enforce/enforcetest"
)

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
