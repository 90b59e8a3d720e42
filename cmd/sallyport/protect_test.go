// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// tree is every file below a folder, but for our own state.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		out[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestProtectPutsAnAgentBehindTheGates is the story of a fresh home: a project with two servers, protect,
// one call that passes and one that does not, and everything back as it was.
func TestProtectPutsAnAgentBehindTheGates(t *testing.T) {
	p := newPlace(t, "tools: {kinds: [{server: files, kind: server-filesystem}]}\n")
	dir := p.folder("project")
	p.write("project/notes/a.txt", "hello")
	entry := func(folder string) string {
		return fmt.Sprintf(`{"command": %q, "args": ["example-server", %q], "env": {"TOKEN": "sesame", "MODE": "x"}}`, p.exe, folder)
	}
	config := fmt.Sprintf("{\n    \"mcpServers\": {\n        \"notes\": %s,\n        \"other\" : %s, \"far\": {\"type\": \"http\", \"url\": \"https://far.example/mcp\"}\n    }, \"x\": 1.0}\n",
		entry(filepath.Join(dir, "notes")), entry(dir))
	p.write("project/.mcp.json", config)
	p.write(".claude/settings.json", foreign)
	p.write(".claude.json", `{"numStartups":3,"projects":{"`+dir+`":{"allowedTools":[],"mcpServers":{"local":{"command":"true"}}}}}`)
	before := map[string]map[string]string{"project": tree(t, dir), ".claude": tree(t, filepath.Join(p.home, ".claude"))}
	account := p.read(".claude.json")

	out := p.must("protect", "claude-code", "--project", dir)
	for _, want := range []string{"guarded  notes", "guarded  other", "left     far", "guarded  local"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if strings.Contains(out, "sesame") {
		t.Error("the difference tells a secret")
	}
	if again := p.must("protect", "claude-code", "--project", dir); strings.Contains(again, "  + ") || !strings.Contains(again, "already  notes") {
		t.Errorf("protecting twice changes something:\n%s", again)
	}
	p.must("hooks", "doctor", "claude-code")

	var file struct {
		Servers map[string]struct {
			Command string            `json:"command"`
			Args    []string          `json:"args"`
			Env     map[string]string `json:"env"`
		} `json:"mcpServers"`
	}
	if err := json.Unmarshal([]byte(p.read("project/.mcp.json")), &file); err != nil {
		t.Fatal(err)
	}
	s := file.Servers["notes"]
	if strings.Contains(strings.Join(s.Args, " "), "sesame") || s.Env["TOKEN"] != "sesame" {
		t.Errorf("the secret moved: %q %q", s.Args, s.Env)
	}
	cmd := p.command(t.Context(), append([]string{s.Command}, s.Args...)...)
	cmd.Dir = dir
	for name, v := range s.Env {
		cmd.Env = append(cmd.Env, name+"="+v)
	}
	session, err := mcp.NewClient(&mcp.Implementation{Name: "agent", Version: "1"}, nil).Connect(t.Context(), &mcp.CommandTransport{Command: cmd}, nil)
	if err != nil {
		t.Fatal(err)
	}
	list, err := session.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d tools", len(list.Tools))
	passed, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "read_note", Arguments: map[string]any{"name": "a"}})
	if err != nil || passed.IsError {
		t.Errorf("a read: %v, %v", err, textOf(passed))
	}
	denied, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "read_note", Arguments: map[string]any{"name": filepath.Join(p.data, "keys", "identity")}})
	if err != nil || !denied.IsError {
		t.Errorf("our own keys: %v, %v", err, denied)
	}
	if err := session.Close(); err != nil {
		t.Log(err)
	}

	p.must("protect", "claude-code", "--project", dir, "--undo")
	for folder, want := range before {
		got := tree(t, filepath.Join(p.home, folder))
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s is not as it was:\n%v\nwant\n%v", folder, got, want)
		}
	}
	if got := p.read(".claude.json"); got != account {
		t.Errorf("the account file is not as it was: %s", got)
	}
}

func TestProtectKnowsEachHostsFiles(t *testing.T) {
	entry := `{"mcpServers":{"a":{"command":"npx","args":["-y","a"]}}}`
	toml := "# mine\nmodel = \"x\"\n\n[mcp_servers.a]\ncommand = \"npx\" # run\nargs = [\n  '-y', # yes\n  \"a\",\n]\nenv = { TOKEN = \"sesame\" }\n\n[mcp_servers.\"b.c\"]\nargs = []\ncommand = 'b'\n[mcp_servers.\"b.c\".env]\nKEY = \"v\"\n\n[mcp_servers.far]\nurl = \"https://far.example\"\n\n[mcp_servers.odd]\ncommand = \"\"\"npx\"\"\"\n\n[other]\ncommand = \"no\"\n"
	for _, c := range []struct{ host, file, text, want string }{
		{"cursor", ".cursor/mcp.json", entry, `"--name","a","--","npx","-y","a"`},
		{"gemini", ".gemini/settings.json", entry, `"--name","a","--","npx","-y","a"`},
		{"vscode", "project/.vscode/mcp.json", `{"servers":{"a":{"type":"stdio","command":"npx"}},"inputs":[]}`, `"--name","a","--","npx"`},
		{"codex", ".codex/config.toml", toml, `"--name", "a", "--env", "TOKEN", "--", "npx", "-y", "a"]`},
		{"codex", ".codex/config.toml", toml, `"--name", "b.c", "--env", "KEY", "--", "b"]`},
		{"codex", ".codex/config.toml", toml, "[mcp_servers.odd]\ncommand = \"\"\"npx\"\"\"\n"},
		{"codex", ".codex/config.toml", toml, "[other]\ncommand = \"no\"\n"},
		{"codex", ".codex/config.toml", strings.ReplaceAll(toml, "\n", "\r\n"), `"--name", "b.c", "--env", "KEY", "--", "b"]`},
	} {
		p := newPlace(t, "")
		p.folder("project")
		p.write(c.file, c.text)
		out := p.must("protect", c.host, "--project", filepath.Join(p.home, "project"))
		got := p.read(c.file)
		if !strings.Contains(got, c.want) || strings.Contains(strings.ReplaceAll(got, `TOKEN = "sesame"`, ""), "sesame") {
			t.Errorf("%s: %s lacks %s\n%s", c.host, got, c.want, out)
		}
		changed := strings.Replace(got, "npx", "npm", 1)
		p.must("protect", c.host, "--project", filepath.Join(p.home, "project"), "--undo")
		if got := p.read(c.file); got != c.text {
			t.Errorf("%s: after undo\n%s\nwant\n%s", c.host, got, c.text)
		}
		p.must("protect", c.host, "--project", filepath.Join(p.home, "project"))
		p.write(c.file, changed)
		p.must("protect", c.host, "--project", filepath.Join(p.home, "project"), "--undo")
		if got := p.read(c.file); strings.Contains(got, "--name") || !strings.Contains(got, "npm") {
			t.Errorf("%s: after somebody's change and undo\n%s", c.host, got)
		}
	}
}

func TestProtectRefusesWhatItCannotChangeSafely(t *testing.T) {
	p := newPlace(t, "")
	dir := p.folder("project")
	for _, text := range []string{"{ // mine\n}", `{"mcpServers":[]}`, `{"mcpServers":{"a":{"command":"x"},"a":{"command":"y"}}}`} {
		p.write("project/.mcp.json", text)
		if _, _, code := p.run("protect", "claude-code", "--project", dir); code == 0 || p.read("project/.mcp.json") != text {
			t.Errorf("%s: became %s", text, p.read("project/.mcp.json"))
		}
		if _, err := os.Stat(filepath.Join(p.home, ".claude")); err == nil {
			t.Errorf("%s: the hooks were installed all the same", text)
		}
	}
	p.write("project/.mcp.json", `{"mcpServers":{"claude-code":{"command":"x"},"a/b":{"command":"x"},"n":{"command":7}}}`)
	out := p.must("protect", "claude-code", "--project", dir)
	if strings.Count(out, "left  ") != 3 || !strings.Contains(p.read("project/.mcp.json"), `"claude-code":{"command":"x"}`) {
		t.Error(out)
	}
	if _, _, code := p.run("protect", "netscape"); code != 2 {
		t.Errorf("an unknown host: exit code %d", code)
	}
}

// A call of a protected server is judged by the hook and by the relay. Where a rule asks, the hook's ask is
// answered first; the repeated call then waits at the relay for the second answer.
func TestCallOfAProtectedServerPassesAfterBothAnswers(t *testing.T) {
	p := newPlace(t, "")
	dir := p.folder("project")
	p.write("project/a.txt", "hello")
	p.write("project/.mcp.json", fmt.Sprintf(`{"mcpServers":{"notes":{"command":%q,"args":["example-server",%q]}}}`, p.exe, dir))
	p.must("protect", "claude-code", "--project", dir)
	args := map[string]any{"name": "a", "to": "x@y.example"}
	before := func(id string) string {
		t.Helper()
		b, err := json.Marshal(map[string]any{"session_id": "s", "cwd": dir, "hook_event_name": "PreToolUse", "tool_name": "mcp__notes__send_note", "tool_input": args, "tool_use_id": id}, json.Deterministic(true))
		if err != nil {
			t.Fatal(err)
		}
		cmd := p.command(t.Context(), "sallyport", "hook", "claude-code")
		cmd.Stdin = strings.NewReader(string(b))
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	pending := func() string {
		t.Helper()
		for range 500 {
			if views := ask[[]struct {
				ID string `json:"id"`
			}](p, "approvals", "list"); len(views) == 1 {
				return views[0].ID
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatal("nothing waits")
		return ""
	}
	if out := before("1"); !strings.Contains(out, "It waits for a person as") {
		t.Fatal(out)
	}
	p.must("approvals", "approve", pending())
	if out := before("2"); out != "{}\n" {
		t.Fatalf("the approved call: %s", out)
	}
	var file struct {
		Servers map[string]struct {
			Command string   `json:"command"`
			Args    []string `json:"args"`
		} `json:"mcpServers"`
	}
	if err := json.Unmarshal([]byte(p.read("project/.mcp.json")), &file); err != nil {
		t.Fatal(err)
	}
	cmd := p.command(t.Context(), append([]string{file.Servers["notes"].Command}, file.Servers["notes"].Args...)...)
	cmd.Dir = dir
	session, err := mcp.NewClient(&mcp.Implementation{Name: "agent", Version: "1"}, nil).Connect(t.Context(), &mcp.CommandTransport{Command: cmd}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	answer := make(chan string, 1)
	go func() {
		res, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "send_note", Arguments: args})
		if err != nil || res.IsError {
			answer <- fmt.Sprint(err, " ", textOf(res))
			return
		}
		answer <- ""
	}()
	p.must("approvals", "approve", pending())
	if got := <-answer; got != "" {
		t.Errorf("after both answers: %s", got)
	}
}
