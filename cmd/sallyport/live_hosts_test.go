// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger"
)

// step is one call that a scripted model makes: of a command in the host's shell, or of a tool by its name.
type step struct {
	command string
	tool    string
	args    map[string]any
}

// script is a model that makes its steps, one after the other, and then says "done". A conversation that begins with
// the word SUBTASK makes those of sub. It speaks as much of the three providers' protocols as their own coding agents
// need.
type script struct {
	steps, sub []step

	mu   sync.Mutex
	seen []string // bodies of the requests that had tools
}

func commands(list ...string) *script {
	s := &script{}
	for _, c := range list {
		s.steps = append(s.steps, step{command: c})
	}
	return s
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var asked struct {
		Model    string           `json:"model"`
		Tools    []any            `json:"tools"`
		Messages []jsontext.Value `json:"messages"`
		Input    []jsontext.Value `json:"input"`
		Contents []jsontext.Value `json:"contents"`
	}
	speak := map[string]func(model, id string, next *step) []event{"/messages": messageEvents, "/responses": responseEvents, ":streamGenerateContent": geminiEvents}
	var events func(model, id string, next *step) []event
	for end, fn := range speak {
		if strings.HasSuffix(r.URL.Path, end) {
			events = fn
		}
	}
	if json.Unmarshal(body, &asked) != nil || r.Method != http.MethodPost || events == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if len(asked.Tools) > 0 {
		s.mu.Lock()
		s.seen = append(s.seen, string(body))
		s.mu.Unlock()
	}
	steps, whose := s.steps, "main"
	if len(s.sub) > 0 && subtask(slices.Concat(asked.Messages, asked.Input, asked.Contents)) {
		steps, whose = s.sub, "sub"
	}
	done := 0
	for _, word := range []string{`"type":"tool_result"`, `"type":"function_call_output"`, `"functionResponse":`} {
		done += strings.Count(string(body), word)
	}
	var next *step
	if len(asked.Tools) > 0 && done < len(steps) {
		next = &steps[done]
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for _, e := range events(asked.Model, fmt.Sprintf("%s%d", whose, done), next) {
		b, err := json.Marshal(e)
		if err != nil {
			panic(err)
		}
		if e["type"] != nil {
			_, _ = fmt.Fprintf(w, "event: %s\n", e["type"])
		}
		_, _ = fmt.Fprintf(w, "data: %s\n\n", b)
	}
}

// subtask reports whether a conversation is that of a subagent: the word stands in it before the model has spoken.
func subtask(messages []jsontext.Value) bool {
	for _, m := range messages {
		if strings.Contains(string(m), `"tool_use"`) || strings.Contains(string(m), `"function_call"`) || strings.Contains(string(m), `"functionCall"`) {
			return false
		}
		if strings.Contains(string(m), "SUBTASK") {
			return true
		}
	}
	return false
}

type event = map[string]any

// of is the tool and its arguments; shell is the host's own, and its argument.
func (c *step) of(shell, argument string) (string, map[string]any) {
	if c.tool != "" {
		return c.tool, c.args
	}
	return shell, map[string]any{argument: c.command, "description": "A step."}
}

func messageEvents(model, id string, next *step) []event {
	block, delta, reason := event{"type": "text", "text": ""}, event{"type": "text_delta", "text": "done"}, "end_turn"
	if next != nil {
		name, args := next.of("Bash", "command")
		b, _ := json.Marshal(args)
		block = event{"type": "tool_use", "id": "toolu_" + id, "name": name, "input": event{}}
		delta, reason = event{"type": "input_json_delta", "partial_json": string(b)}, "tool_use"
	}
	usage := event{"input_tokens": 1, "output_tokens": 1}
	return []event{
		{"type": "message_start", "message": event{"id": "m", "type": "message", "role": "assistant", "model": model, "content": []any{}, "stop_reason": nil, "stop_sequence": nil, "usage": usage}},
		{"type": "content_block_start", "index": 0, "content_block": block}, {"type": "content_block_delta", "index": 0, "delta": delta}, {"type": "content_block_stop", "index": 0},
		{"type": "message_delta", "delta": event{"stop_reason": reason, "stop_sequence": nil}, "usage": event{"output_tokens": 1}}, {"type": "message_stop"},
	}
}

func responseEvents(_, id string, next *step) []event {
	item := event{"type": "message", "id": "m", "role": "assistant", "content": []any{event{"type": "output_text", "text": "done", "annotations": []any{}}}}
	if next != nil {
		name, args := next.of("exec_command", "cmd")
		if next.tool == "" {
			delete(args, "description")
		}
		b, _ := json.Marshal(args)
		item = event{"type": "function_call", "id": "fc_" + id, "call_id": "call_" + id, "name": name, "arguments": string(b)}
		if server, tool, ok := strings.Cut(name, "/"); ok { // a tool in a namespace
			item["namespace"], item["name"] = server, tool
		}
	}
	usage := event{"input_tokens": 1, "input_tokens_details": nil, "output_tokens": 1, "output_tokens_details": nil, "total_tokens": 2}
	return []event{{"type": "response.created", "response": event{"id": "r"}}, {"type": "response.output_item.done", "output_index": 0, "item": item},
		{"type": "response.completed", "response": event{"id": "r", "usage": usage}}}
}

func geminiEvents(_, id string, next *step) []event {
	part := event{"text": "done"}
	if next != nil {
		name, args := next.of("run_shell_command", "command")
		part = event{"functionCall": event{"id": "call_" + id, "name": name, "args": args}}
	}
	return []event{{"candidates": []any{event{"content": event{"role": "model", "parts": []any{part}}, "finishReason": "STOP", "index": 0}},
		"usageMetadata": event{"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}}}
}

// installedHost is the program of a coding agent.
func installedHost(t *testing.T, pattern string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("long")
	}
	found, err := filepath.Glob(filepath.Join("..", "..", ".cache", "hosts", "node_modules", pattern))
	if err != nil || len(found) != 1 {
		t.Skip("the coding agents are not installed: test/hosts/install.sh")
	}
	path, err := filepath.Abs(found[0])
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// live is one conversation of a real coding agent with a scripted model.
func (p *place) live(dir string, env []string, s *script, command ...string) string {
	p.t.Helper()
	web := httptest.NewServer(s)
	defer web.Close()
	ctx, cancel := context.WithTimeout(p.t.Context(), 2*time.Minute)
	defer cancel()
	for i := range command {
		command[i] = strings.ReplaceAll(command[i], "MODEL", web.URL)
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir, cmd.Env = dir, append(append([]string{"ANTHROPIC_BASE_URL=" + web.URL, "ANTHROPIC_API_KEY=sk-test", "OPENAI_API_KEY=sk-test",
		"GOOGLE_GEMINI_BASE_URL=" + web.URL, "GEMINI_API_KEY=sk-test", "GEMINI_CLI_TRUST_WORKSPACE=true", "GEMINI_CLI_NO_RELAUNCH=true",
		"CODEX_HOME=" + filepath.Join(p.home, ".codex"), "DISABLE_AUTOUPDATER=1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1"}, p.env...), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		p.t.Logf("%s: %v", filepath.Base(command[0]), err)
	}
	return out.String()
}

// tried checks what three conversations did: a command that may run and one that may not, and one without an owner.
func (p *place) tried(host string, start func(dir string, env []string, s *script) string) {
	p.t.Helper()
	p.must("hooks", "install", host)
	work := p.folder("work")
	s := commands("touch permitted", "sallyport approvals list; touch forbidden")
	out := start(work, nil, s)
	exists := func(name string) bool { _, err := os.Stat(filepath.Join(work, name)); return err == nil }
	if !exists("permitted") || exists("forbidden") {
		p.t.Errorf("permitted ran: %v, forbidden ran: %v\n%s", exists("permitted"), exists("forbidden"), out)
	}
	if len(s.seen) < 3 || !strings.Contains(s.seen[len(s.seen)-1], "Approvals are given by a person") {
		p.t.Errorf("the model was not told why: %d requests\n%s", len(s.seen), out)
	}
	drilled := start(work, []string{"SALLYPORT_HOOK_DRILL=1"}, commands("touch unowned"))
	if exists("unowned") {
		p.t.Errorf("without an owner the command ran\n%s", drilled)
	}
	told, intents, outcomes, denied := 0, 0, 0, 0
	p.records(func(e ledger.Entry, q *action.Query) {
		switch {
		case e.Leaf.Door != action.DoorHook:
		case e.Leaf.Kind == action.KindContext:
			told++
		case e.Leaf.Kind == action.KindIntent:
			intents++
		case e.Leaf.Kind == action.KindOutcome:
			outcomes++
		case e.Leaf.Kind == action.KindDecision && e.Leaf.Verdict == action.Deny:
			denied++
		}
	})
	if told == 0 || intents != 1 || outcomes != 1 || denied != 1 {
		p.t.Errorf("on record: %d words, %d intents, %d outcomes, %d refusals", told, intents, outcomes, denied)
	}
}

func TestLiveClaudeCodeObeysItsHooks(t *testing.T) {
	exe := installedHost(t, "@anthropic-ai/claude-code-linux-x64/claude")
	p := newPlace(t, "")
	p.tried("claude-code", func(dir string, env []string, s *script) string {
		return p.live(dir, env, s, exe, "-p", "go", "--allowedTools", "Bash")
	})
}

func TestLiveCodexObeysItsHooks(t *testing.T) {
	exe := installedHost(t, "@openai/codex-linux-x64/vendor/*/bin/codex")
	p := newPlace(t, "")
	p.env = append(p.env, "CODEX_HOME="+filepath.Join(p.home, ".codex"))
	p.tried("codex", func(dir string, env []string, s *script) string {
		return p.live(dir, env, s, exe, "exec", "--skip-git-repo-check", "--dangerously-bypass-hook-trust", "--dangerously-bypass-approvals-and-sandbox", "-m", "test",
			"-c", `model_provider="t"`, "-c", `model_providers.t.name="t"`, "-c", `model_providers.t.base_url="MODEL/v1"`, "-c", `model_providers.t.wire_api="responses"`,
			"-c", `model_providers.t.env_key="OPENAI_API_KEY"`, "go")
	})
	// Without the bypass Codex passes over hooks that nobody has trusted, and the doctor says so.
	for i, e := range p.env {
		if strings.HasPrefix(e, "PATH=") {
			p.env[i] = "PATH=" + filepath.Dir(exe) + string(os.PathListSeparator) + e[len("PATH="):]
		}
	}
	out, _, code := p.run("hooks", "doctor", "codex")
	if code != 1 || !strings.Contains(out, "FAIL Codex runs the hooks: SessionStart is not trusted") {
		t.Errorf("exit %d\n%s", code, out)
	}
}
