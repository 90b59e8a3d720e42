// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/gateway/hook"
)

// FuzzHooksFile puts our hooks into a file and takes them out: what is left is the same value, and the file
// of a second installation is the one of the first.
func FuzzHooksFile(f *testing.F) {
	for _, s := range []string{"", "{}", "{ }", "{\n}", `{"hooks":{"PreToolUse":[]}}`, `{"hooks":{"PreToolUse":[{"hooks":[{"command":"x"}]}]},"a":1}`,
		"{\n  \"a\": [1, 2],\n  \"hooks\": { \"Stop\" : [ ] }\n}\n", `{"hooks":[]}`, `{"a":{"b":{"c":[]}}}`, "{\r\n\t\"a\": 1\r\n}", `{"version":2}`} {
		for i := range hostFiles {
			f.Add(i, s)
		}
	}
	f.Fuzz(func(t *testing.T, i int, text string) {
		h := hostFiles[uint(i)%uint(len(hostFiles))]
		command := "/x/sallyport-hook --data /y " + string(h.host) + " || exit 2"
		if strings.Contains(text, "sallyport") {
			return
		}
		once, err := h.with([]byte(text), command)
		if err != nil {
			return
		}
		if v := jsontext.Value(once); !v.IsValid() {
			t.Fatalf("no JSON: %s", once)
		}
		for _, event := range h.events {
			if err := h.lookAt(once, event, command); err != nil {
				t.Errorf("%s: %v in\n%s", event, err, once)
			}
		}
		if twice, err := h.with(once, command); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("a second installation: %v\n%s\n%s", err, once, twice)
		}
		out, err := h.without(once)
		if err != nil {
			t.Fatal(err)
		}
		if was, is := stripped(t, text, h), stripped(t, string(out), h); was != is {
			t.Errorf("left is\n%s\nof\n%s", is, was)
		}
	})
}

// stripped is the canonical form of a file without what an installation may leave: empty lists of ours and
// the host's version.
func stripped(t *testing.T, text string, h *hostFile) string {
	if strings.TrimSpace(text) == "" {
		text = "{}"
	}
	var v map[string]any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	if hooks, ok := v["hooks"].(map[string]any); ok {
		for _, e := range h.events {
			if list, ok := hooks[e].([]any); ok && len(list) == 0 {
				delete(hooks, e)
			}
		}
		if len(hooks) == 0 {
			delete(v, "hooks")
		}
	}
	for name := range h.top {
		delete(v, name)
	}
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// FuzzTomlServers puts servers of a TOML file behind us: what is read then is exactly that, and taking us
// away gives the servers from before.
func FuzzTomlServers(f *testing.F) {
	for _, s := range []string{"[mcp_servers.a]\ncommand = \"x\"\n", "[mcp_servers.a]\nargs = ['1', \"2\",]\ncommand='x'\nenv = { A = \"b\" }\n",
		"[mcp_servers.\"a b\"]\ncommand = \"x\"\n[mcp_servers.\"a b\".env]\nK = \"v\"\n", "[mcp_servers.a]\nargs = [\n'1', # ]\n]\ncommand = \"x\" # y",
		"[mcp_servers.a]\r\ncommand = \"x\"\r\n", "[mcp_servers.a]\ncommand = \"\\u0041\\n\"\nargs = [[\"1\"]]", "mcp_servers.a.command = 'x'", "[mcp_servers]\na = { command = 'x' }"} {
		f.Add(s)
	}
	g := guard{"/x/sallyport", "/y"}
	f.Fuzz(func(t *testing.T, text string) {
		p := &plan{change: &change{before: []byte(text), clean: []byte(text), after: []byte(text)}}
		p.tables(g)
		was := map[string]server{}
		for _, s := range tomlServers(text) {
			was[s.name] = s.server
		}
		now := tomlServers(string(p.after))
		for _, r := range p.Servers {
			i := slices.IndexFunc(now, func(s *tomlTable) bool { return s.name == r.Server })
			if i < 0 {
				t.Fatalf("server %q is gone from\n%s", r.Server, p.after)
			}
			inner, ok := guarded(now[i].server)
			if ok != (r.State != "left") {
				t.Fatalf("server %q is %s in\n%s", r.Server, r.State, p.after)
			}
			if w := was[r.Server]; r.State == "guarded" && (inner.command != w.command || !slices.Equal(inner.args, w.args)) {
				t.Errorf("server %q starts %s, not %s", r.Server, inner.line(), w.line())
			}
		}
	})
}

func TestQuotedIsOneWordOfAShell(t *testing.T) {
	for s, want := range map[string]string{"/a/b-c.d": "/a/b-c.d", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$(x)": "'$(x)'", "~": "'~'"} {
		if got := quoted(s); got != want {
			t.Errorf("%q: %s", s, got)
		}
	}
	for _, f := range hostFiles {
		for _, e := range f.events {
			if hook.KindOf(f.host, e) == hook.KindNone {
				t.Errorf("%s has no event %s", f.host, e)
			}
		}
	}
}
