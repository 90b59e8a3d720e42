// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// payloads are events of a host in its documented shapes, one a line.
func payloads(t testing.TB, h Host) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", string(h)+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

func TestReadTranslatesEachDialect(t *testing.T) {
	want := map[Host][]string{
		ClaudeCode: {
			"SessionStart 1 / {}", "UserPromptSubmit 2 / Mail the report to bob@example.org",
			`PreToolUse 3 claude-code/Bash toolu_01BASH {"command":"go test ./...","description":"Run the tests","timeout":120000}`,
			`PreToolUse 3 my.notes/read_note toolu_01MCP {"name":"a"}`,
			`PreToolUse 3 claude-code/Read toolu_01SUB {"file_path":"/w/app/a.go"} agent-7`,
			`PermissionRequest 4 claude-code/Bash  {"command":"go test ./...","description":"Run the tests","timeout":120000}`,
			`PostToolUse 5 claude-code/Bash toolu_01BASH {"stdout":"ok","stderr":"","interrupted":false,"isImage":false}`,
			`PostToolUse 5 my.notes/read_note toolu_01MCP [{"type":"text","text":"hello"}]`,
			`PostToolUseFailure 5 claude-code/Bash toolu_01FAIL failed "Command failed with exit code 1"`,
			`PermissionDenied 5 claude-code/Bash toolu_01NO failed`,
			"ConfigChange 6 / /w/app/.claude/settings.json", "SubagentStart 7 / {} agent-7", "SubagentStop 7 / {} agent-7", "Stop 7 / {}",
		},
		Codex: {
			"SessionStart 1 / {}", "UserPromptSubmit 2 / Mail the report to bob@example.org",
			`PreToolUse 3 codex/shell_command call_1 {"command":"go test ./..."}`,
			`PreToolUse 3 codex/apply_patch call_2 {"command":"*** Begin Patch\n*** End Patch"}`,
			`PreToolUse 3 notes/read_note call_3 {"name":"a"} sub-1`,
			`PermissionRequest 4 codex/shell_command  {"command":"go test ./...","description":"needs the network"}`,
			`PostToolUse 5 codex/shell_command call_1 "ok\n"`, "SubagentStart 7 / {} sub-1", "SubagentStop 7 / {} sub-1", "Stop 7 / {}",
		},
		Gemini: {
			"SessionStart 1 / {}", "BeforeAgent 2 / Mail the report to bob@example.org",
			`BeforeTool 3 gemini/run_shell_command  {"command":"go test ./...","description":"tests"}`,
			`BeforeTool 3 notes/read_note  {"name":"a"}`,
			`AfterTool 5 gemini/run_shell_command  {"llmContent":"ok","returnDisplay":"ok"}`,
			`AfterTool 5 notes/read_note  failed {"llmContent":[{"text":"no"}],"returnDisplay":"no","error":{"message":"no such note"}}`,
			"AfterAgent 7 / {}",
		},
		Cursor: {
			"sessionStart 1 / {}", "beforeSubmitPrompt 2 / Mail the report to bob@example.org",
			`preToolUse 3 cursor/Shell sha256:`, `preToolUse 3 cursor/MCP:read_note call_m {"name":"a"}`,
			`beforeShellExecution 3 cursor/Shell  {"command":"go test ./..."}`, `beforeMCPExecution 3 cursor/MCP:read_note  {"name":"a"}`,
			`beforeReadFile 3 cursor/Read  {"path":"/w/app/a.go"}`, `postToolUse 5 cursor/Shell sha256:`,
			`postToolUse 5 cursor/MCP:read_note call_m {"content":[{"type":"text","text":"hello"}]}`,
			`postToolUseFailure 5 cursor/Shell call_f failed "Command failed with exit code 1"`, `afterShellExecution 5 cursor/Shell  "ok"`,
			`afterMCPExecution 5 cursor/MCP:read_note  {"content":[]}`, "subagentStart 7 / {} s1", "stop 7 / {}",
		},
		VSCode: {
			"SessionStart 1 / {}", "UserPromptSubmit 2 / Mail the report to bob@example.org",
			`PreToolUse 3 vscode/run_in_terminal tool-1 {"command":"go test ./...","explanation":"tests","goal":"tests","isBackground":false}`,
			`PreToolUse 3 vscode/bash  {"command":"go test ./..."}`, `PostToolUse 5 vscode/run_in_terminal tool-1 "ok"`,
			"SubagentStart 7 / {} sub-1", "Stop 7 / {}",
		},
	}
	for _, h := range Hosts {
		for i, p := range payloads(t, h) {
			e, err := Read(h, []byte(p))
			if err != nil {
				t.Errorf("%s %d: %v", h, i, err)
				continue
			}
			if got := told(e); !strings.HasPrefix(got, want[h][i]) || strings.HasSuffix(want[h][i], "}") && got != want[h][i] {
				t.Errorf("%s:\n%s\nwant\n%s", h, got, want[h][i])
			}
			if e.Session == "" || h == Cursor && fmt.Sprint(e.Roots) != "[/w/app]" {
				t.Errorf("%s %s: session %q, roots %q", h, e.Name, e.Session, e.Roots)
			}
		}
	}
}

// told is an event on one line.
func told(e *Event) string {
	s := fmt.Sprintf("%s %d %s/%s", e.Name, e.Kind, e.Server, e.Tool)
	switch {
	case e.Kind == KindPost:
		s += " " + e.CallID
		if e.Failed {
			s += " failed"
		}
		s += " " + string(e.Response)
	case e.Tool != "":
		s += " " + e.CallID + " " + string(e.Arguments)
	case e.Prompt != "" || e.File != "":
		s += " " + e.Prompt + e.File
	default:
		s += " {}"
	}
	return strings.TrimRight(s+" "+e.Agent, " ")
}

func TestReadRefusesWhatTwoReadersCouldTakeForDifferentThings(t *testing.T) {
	for name, c := range map[string]struct {
		host Host
		body string
	}{
		"no JSON":                          {ClaudeCode, `{"hook_event_name":`},
		"not an object":                    {ClaudeCode, `[]`},
		"nothing":                          {ClaudeCode, ``},
		"no event":                         {ClaudeCode, `{"session_id":"s"}`},
		"an event that is not the host's":  {ClaudeCode, `{"session_id":"s","hook_event_name":"BeforeTool","tool_name":"x","tool_input":{}}`},
		"an event in another spelling":     {ClaudeCode, `{"session_id":"s","hook_event_name":"pretooluse","tool_name":"x","tool_input":{}}`},
		"no session":                       {ClaudeCode, `{"hook_event_name":"PreToolUse","tool_name":"x","tool_input":{}}`},
		"an empty session":                 {Codex, `{"session_id":"","hook_event_name":"PreToolUse","tool_name":"x","tool_input":{}}`},
		"a session that is a number":       {Codex, `{"session_id":7,"hook_event_name":"PreToolUse","tool_name":"x","tool_input":{}}`},
		"no tool":                          {Gemini, `{"session_id":"s","hook_event_name":"BeforeTool","tool_input":{}}`},
		"no arguments":                     {Gemini, `{"session_id":"s","hook_event_name":"BeforeTool","tool_name":"x"}`},
		"arguments that are null":          {Gemini, `{"session_id":"s","hook_event_name":"BeforeTool","tool_name":"x","tool_input":null}`},
		"arguments that are a list":        {Gemini, `{"session_id":"s","hook_event_name":"BeforeTool","tool_name":"x","tool_input":[]}`},
		"arguments in a string, not JSON":  {Cursor, `{"conversation_id":"s","hook_event_name":"preToolUse","tool_name":"x","tool_input":"rm"}`},
		"arguments in a string, ambiguous": {Cursor, `{"conversation_id":"s","hook_event_name":"preToolUse","tool_name":"x","tool_input":"{\"a\":1,\"a\":2}"}`},
		"one name twice":                   {ClaudeCode, `{"session_id":"s","session_id":"t","hook_event_name":"Stop"}`},
		"two names that differ in case":    {ClaudeCode, `{"session_id":"s","hook_event_name":"PreToolUse","tool_name":"Read","Tool_Name":"Bash","tool_input":{}}`},
		"a tool under two names":           {VSCode, `{"session_id":"s","hook_event_name":"PreToolUse","tool_name":"a","toolName":"b","tool_input":{}}`},
		"an event under two names":         {VSCode, `{"session_id":"s","hook_event_name":"Stop","hookEventName":"PreToolUse","tool_name":"b","tool_input":{}}`},
		"a control character in a tool":    {ClaudeCode, `{"session_id":"s","hook_event_name":"PreToolUse","tool_name":"Re\u001bad","tool_input":{}}`},
		"a turned name":                    {ClaudeCode, `{"session_id":"s","hook_event_name":"PreToolUse","tool_name":"\u202eRead","tool_input":{}}`},
		"a lone surrogate":                 {ClaudeCode, `{"session_id":"s","hook_event_name":"PreToolUse","tool_name":"\ud800","tool_input":{}}`},
		"a number that no double holds":    {ClaudeCode, `{"session_id":"s","hook_event_name":"PreToolUse","tool_name":"x","tool_input":{"n":12345678901234567890}}`},
		"deep nesting":                     {ClaudeCode, `{"session_id":"s","hook_event_name":"PreToolUse","tool_name":"x","tool_input":{"a":` + strings.Repeat("[", 80) + strings.Repeat("]", 80) + `}}`},
		"a server that is no object":       {ClaudeCode, `{"session_id":"s","hook_event_name":"PreToolUse","tool_name":"mcp__a__b","tool_input":{},"mcp_server":"a"}`},
	} {
		if e, err := Read(c.host, []byte(c.body)); err == nil {
			t.Errorf("%s: was read as %s", name, told(e))
		}
	}
}

// A server that takes the name of a host's built-in tools must not pass for them.
func TestServersNeverPassForHosts(t *testing.T) {
	for tool, want := range map[string]string{
		"mcp__claude-code__Read": "mcp:claude-code/Read", "mcp__codex__shell": "mcp:codex/shell", "mcp__a__b__c": "a/b__c",
		"mcp__only": "claude-code/mcp__only", "mcp____x": "claude-code/mcp____x", "mcp": "claude-code/mcp",
	} {
		b := `{"session_id":"s","hook_event_name":"PreToolUse","tool_name":"` + tool + `","tool_input":{}}`
		e, err := Read(ClaudeCode, []byte(b))
		if err != nil || e.Server+"/"+e.Tool != want {
			t.Errorf("%s: %v, %v", tool, e, err)
		}
	}
	e, err := Read(ClaudeCode, []byte(`{"session_id":"s","hook_event_name":"PreToolUse","tool_name":"mcp__a_b__x","mcp_server":{"name":"a/b"},"tool_input":{}}`))
	if err != nil || e.Server != "a%2Fb" || e.Tool != "x" {
		t.Errorf("a slash in a server's name: %+v, %v", e, err)
	}
}

func FuzzRead(f *testing.F) {
	for i, h := range Hosts {
		for _, p := range payloads(f, h) {
			f.Add(i, p)
		}
	}
	f.Fuzz(func(t *testing.T, i int, body string) {
		h := Hosts[uint(i)%uint(len(Hosts))]
		e, err := Read(h, []byte(body))
		if err != nil {
			return
		}
		if e.Session == "" || e.Kind == KindNone || strings.Contains(e.Server, "/") {
			t.Errorf("%+v", e)
		}
		tool := e.Kind == KindPre || e.Kind == KindPost || e.Kind == KindPermission
		if tool && (e.Tool == "" || e.Server == "" || len(e.Arguments) == 0 || e.Arguments[0] != '{') {
			t.Errorf("a call without a tool or arguments: %+v", e)
		}
		for name, answer := range map[string][]byte{
			"pass": e.Pass(), "deny": e.Deny("no"), "ask": e.Ask("?"), "rewrite": e.Rewrite([]byte(`{"a":1}`)), "withhold": e.Withhold("no"),
			"replace": e.Replace([]byte(`{"a":1}`)), "block": e.Block("no"),
		} {
			if v := jsontext.Value(answer); !v.IsValid() || v.Kind() != '{' {
				t.Errorf("%s is no object: %s", name, answer)
			}
		}
	})
}
