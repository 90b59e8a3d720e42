// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// reached tries a host's tools of an MCP server and its subagents: of each one call that may be made and one that may
// not, and one without an owner.
func (p *place) reached(dir string, mcp, sub *script, start func(env []string, s *script) string) {
	p.t.Helper()
	exists := func(name string) bool { _, err := os.Stat(filepath.Join(dir, name)); return err == nil }
	if mcp != nil {
		out := start(nil, mcp)
		all := strings.Join(mcp.seen, "\n")
		if !strings.Contains(all, "the note is read") {
			p.t.Errorf("the call of the server that may be made: %d requests\n%s", len(mcp.seen), out)
		}
		if !strings.Contains(all, "out of bounds for agents") {
			p.t.Errorf("the call of the server that may not be made: %d requests\n%s", len(mcp.seen), out)
		}
	}
	if sub != nil {
		out := start(nil, sub)
		if !exists("sub-permitted") || exists("sub-forbidden") {
			p.t.Errorf("the subagent: permitted ran: %v, forbidden ran: %v, %d requests\n%s", exists("sub-permitted"), exists("sub-forbidden"), len(sub.seen), out)
		}
		drill := &script{steps: sub.steps, sub: []step{{command: "touch sub-unowned"}}}
		if out := start([]string{"SALLYPORT_HOOK_DRILL=1"}, drill); exists("sub-unowned") {
			p.t.Errorf("without an owner the subagent's command ran\n%s", out)
		}
	}
}

// noted is a project with a note and an MCP server over it.
func noted(p *place) (dir, key string) {
	dir = p.folder("project")
	p.write("project/a.txt", "the note is read")
	return dir, filepath.Join(p.data, "keys", "identity")
}

func reads(tool, key string) *script {
	// The servers of some hosts are there from the second request on.
	return &script{steps: []step{{command: "true"}, {tool: tool, args: map[string]any{"name": "a"}}, {tool: tool, args: map[string]any{"name": key}}}}
}

func TestLiveClaudeCodeGuardsServersAndSubagents(t *testing.T) {
	exe := installedHost(t, "@anthropic-ai/claude-code-linux-x64/claude")
	p := newPlace(t, "")
	dir, key := noted(p)
	p.write("project/.mcp.json", fmt.Sprintf(`{"mcpServers":{"notes":{"command":%q,"args":["example-server",%q]}}}`, p.exe, dir))
	p.must("protect", "claude-code", "--project", dir)
	sub := &script{steps: []step{{tool: "Agent", args: map[string]any{"description": "a part", "prompt": "SUBTASK", "subagent_type": "general-purpose"}}},
		sub: []step{{command: "touch sub-permitted"}, {command: "sallyport approvals list; touch sub-forbidden"}}}
	p.reached(dir, reads("mcp__notes__read_note", key), sub, func(env []string, s *script) string {
		return p.live(dir, env, s, exe, "-p", "go", "--mcp-config", filepath.Join(dir, ".mcp.json"), "--allowedTools", "Bash", "Agent", "Task", "mcp__notes__read_note")
	})
}

func TestLiveCodexGuardsServersAndAsksForSubagents(t *testing.T) {
	exe := installedHost(t, "@openai/codex-linux-x64/vendor/*/bin/codex")
	p := newPlace(t, "")
	p.env = append(p.env, "CODEX_HOME="+filepath.Join(p.home, ".codex"))
	dir, key := noted(p)
	p.write(".codex/config.toml", fmt.Sprintf("[mcp_servers.notes]\ncommand = %q\nargs = [\"example-server\", %q]\n", p.exe, dir))
	p.must("protect", "codex")
	start := func(env []string, s *script) string {
		return p.live(dir, env, s, exe, "exec", "--skip-git-repo-check", "--dangerously-bypass-hook-trust", "--dangerously-bypass-approvals-and-sandbox", "-m", "test",
			"-c", `model_provider="t"`, "-c", `model_providers.t.name="t"`, "-c", `model_providers.t.base_url="MODEL/v1"`, "-c", `model_providers.t.wire_api="responses"`,
			"-c", `model_providers.t.env_key="OPENAI_API_KEY"`, "go")
	}
	p.reached(dir, reads("mcp__notes/read_note", key), nil, start)
	// No pack says of Codex's subagents what they do: to start one takes a person.
	s := &script{steps: []step{{tool: "multi_agent_v1/spawn_agent", args: map[string]any{"message": "SUBTASK"}}}, sub: []step{{command: "touch sub-ran"}}}
	out := start(nil, s)
	if _, err := os.Stat(filepath.Join(dir, "sub-ran")); err == nil || !strings.Contains(strings.Join(s.seen, "\n"), "It waits for a person as") {
		t.Errorf("a subagent starts without a question: %v\n%s", err, out)
	}
}

// gemini is how to run Gemini CLI, which is a program for Node.
func gemini(t *testing.T) []string {
	t.Helper()
	bundle := installedHost(t, "@google/gemini-cli/bundle/gemini.js")
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("the coding agents are not installed: Node is missing")
	}
	return []string{node, bundle, "-p", "go", "--approval-mode", "yolo", "-m", "gemini-2.5-flash"}
}

func TestLiveGeminiObeysItsHooks(t *testing.T) {
	command := gemini(t)
	p := newPlace(t, "")
	p.write(".gemini/settings.json", `{"security":{"auth":{"selectedType":"gemini-api-key"}}}`)
	p.tried("gemini", func(dir string, env []string, s *script) string { return p.live(dir, env, s, command...) })
	out := p.must("hooks", "doctor", "gemini")
	for _, want := range []string{"a canary call is blocked (built-in tool)", "a canary call is blocked without an owner (built-in tool)"} {
		if !strings.Contains(out, "ok   "+want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
}

func TestLiveGeminiGuardsServers(t *testing.T) {
	command := gemini(t)
	p := newPlace(t, "")
	dir, key := noted(p)
	p.write(".gemini/settings.json", fmt.Sprintf(`{"security":{"auth":{"selectedType":"gemini-api-key"}},"mcpServers":{"notes":{"command":%q,"args":["--data",%q,"mcp","--name","notes","--",%q,"example-server",%q],"trust":true}}}`,
		p.exe, p.data, p.exe, dir))
	p.must("hooks", "install", "gemini")
	p.reached(dir, reads("mcp_notes_read_note", key), nil, func(env []string, s *script) string { return p.live(dir, env, s, command...) })
}
