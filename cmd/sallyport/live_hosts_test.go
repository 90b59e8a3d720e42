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
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger"
)

// script is a model that wants the commands run, one after the other, and then says "done". It speaks as much of the
// two providers' protocols as their own coding agents need.
type script struct {
	commands []string

	mu   sync.Mutex
	seen []string // bodies of the requests that had tools
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var asked struct {
		Model    string `json:"model"`
		Tools    []any  `json:"tools"`
		Messages []any  `json:"messages"`
	}
	messages := strings.HasSuffix(r.URL.Path, "/messages")
	if json.Unmarshal(body, &asked) != nil || r.Method != http.MethodPost || !messages && !strings.HasSuffix(r.URL.Path, "/responses") {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	s.mu.Lock()
	if len(asked.Tools) > 0 {
		s.seen = append(s.seen, string(body))
	}
	s.mu.Unlock()
	done := strings.Count(string(body), `"tool_result"`) + strings.Count(string(body), `"function_call_output"`)
	next := ""
	if len(asked.Tools) > 0 && done < len(s.commands) {
		next = s.commands[done]
	}
	w.Header().Set("Content-Type", "text/event-stream")
	events := responseEvents(done, next)
	if messages {
		events = messageEvents(asked.Model, done, next)
	}
	for _, e := range events {
		b, err := json.Marshal(e)
		if err != nil {
			panic(err)
		}
		_, _ = fmt.Fprintf(w, "event: %s\ndata: %s\n\n", e["type"], b)
	}
}

type event = map[string]any

func messageEvents(model string, n int, command string) []event {
	block, delta, reason := event{"type": "text", "text": ""}, event{"type": "text_delta", "text": "done"}, "end_turn"
	if command != "" {
		args, _ := json.Marshal(map[string]string{"command": command, "description": "A step."})
		block = event{"type": "tool_use", "id": fmt.Sprintf("toolu_%d", n), "name": "Bash", "input": event{}}
		delta, reason = event{"type": "input_json_delta", "partial_json": string(args)}, "tool_use"
	}
	usage := event{"input_tokens": 1, "output_tokens": 1}
	return []event{
		{"type": "message_start", "message": event{"id": "m", "type": "message", "role": "assistant", "model": model, "content": []any{}, "stop_reason": nil, "stop_sequence": nil, "usage": usage}},
		{"type": "content_block_start", "index": 0, "content_block": block}, {"type": "content_block_delta", "index": 0, "delta": delta}, {"type": "content_block_stop", "index": 0},
		{"type": "message_delta", "delta": event{"stop_reason": reason, "stop_sequence": nil}, "usage": event{"output_tokens": 1}}, {"type": "message_stop"},
	}
}

func responseEvents(n int, command string) []event {
	item := event{"type": "message", "id": "m", "role": "assistant", "content": []any{event{"type": "output_text", "text": "done", "annotations": []any{}}}}
	if command != "" {
		args, _ := json.Marshal(map[string]string{"cmd": command})
		item = event{"type": "function_call", "id": fmt.Sprintf("fc_%d", n), "call_id": fmt.Sprintf("call_%d", n), "name": "exec_command", "arguments": string(args)}
	}
	usage := event{"input_tokens": 1, "input_tokens_details": nil, "output_tokens": 1, "output_tokens_details": nil, "total_tokens": 2}
	return []event{{"type": "response.created", "response": event{"id": "r"}}, {"type": "response.output_item.done", "output_index": 0, "item": item},
		{"type": "response.completed", "response": event{"id": "r", "usage": usage}}}
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
	s := &script{commands: []string{"touch permitted", "sallyport approvals list; touch forbidden"}}
	out := start(work, nil, s)
	exists := func(name string) bool { _, err := os.Stat(filepath.Join(work, name)); return err == nil }
	if !exists("permitted") || exists("forbidden") {
		p.t.Errorf("permitted ran: %v, forbidden ran: %v\n%s", exists("permitted"), exists("forbidden"), out)
	}
	if len(s.seen) < 3 || !strings.Contains(s.seen[len(s.seen)-1], "Approvals are given by a person") {
		p.t.Errorf("the model was not told why: %d requests\n%s", len(s.seen), out)
	}
	drilled := start(work, []string{"SALLYPORT_HOOK_DRILL=1"}, &script{commands: []string{"touch unowned"}})
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
