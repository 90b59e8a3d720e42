// SPDX-License-Identifier: Apache-2.0

package hook_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/gateway/hook"
	"github.com/sallyport/sallyport/gateway/hook/shim"
	"github.com/sallyport/sallyport/ledger"
)

// house is an owner that serves its socket, and a project beside it.
type house struct {
	*sallyport.Sallyport
	t       testing.TB
	project string
	n       int
	cfg     sallyport.Config
	stop    func() error
}

func open(t testing.TB) *house {
	t.Helper()
	dir, err := os.MkdirTemp("", "sp") // short, because the kernel bounds a socket's path
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, project: filepath.Join(dir, "project")}
	cfg := sallyport.DefaultConfig()
	cfg.Data, cfg.Gateway.Listen, cfg.Admin.Listen, cfg.Ledger.SegmentBytes = filepath.Join(dir, "data"), "none", "none", 8<<20
	if err := os.Mkdir(h.project, 0o700); err != nil {
		t.Fatal(err)
	}
	h.cfg = cfg
	h.start()
	t.Cleanup(func() {
		if err := errors.Join(h.stop(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *house) start() {
	h.t.Helper()
	var err error
	if h.Sallyport, err = sallyport.Open(context.Background(), h.cfg); err != nil {
		h.t.Fatal(err)
	}
	l, err := h.Listen()
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- h.Run(ctx) }()
	go func() { ended <- h.Serve(ctx, l) }()
	h.stop = func() error {
		cancel()
		return errors.Join(<-ended, <-ended, h.Close())
	}
}

// send runs a hook as the host would and returns its answer and exit code.
func (h *house) send(host hook.Host, event map[string]any) (string, int) {
	h.t.Helper()
	base := map[string]any{"session_id": "s1", "conversation_id": "s1", "cwd": h.project}
	for k, v := range event {
		base[k] = v
	}
	b, err := json.Marshal(base, json.Deterministic(true)) // a repeated call is the same bytes
	if err != nil {
		h.t.Fatal(err)
	}
	var out, errs bytes.Buffer
	s := shim.Shim{Host: host, Data: h.Config.Data, In: bytes.NewReader(b), Out: &out, Err: &errs,
		Getenv: func(string) string { return "" }}
	code := s.Run(h.t.Context())
	return strings.TrimSpace(out.String() + errs.String()), code
}

func pre(id, tool string, args map[string]any) map[string]any {
	return map[string]any{"hook_event_name": "PreToolUse", "tool_name": tool, "tool_input": args, "tool_use_id": id}
}

func post(id, tool string, args map[string]any, result any) map[string]any {
	e := pre(id, tool, args)
	e["hook_event_name"], e["tool_response"] = "PostToolUse", result
	return e
}

// inputs are the recorded inputs of gate one, newest last.
func (h *house) inputs() []*action.Query {
	h.t.Helper()
	var out []*action.Query
	err := h.Ledger.Records(context.Background(), func(e ledger.Entry) error {
		b, err := e.Open(action.PartInputBefore)
		if errors.Is(err, ledger.ErrNotFound) || b == nil {
			return nil
		}
		q, err := action.ReadQuery(b)
		out = append(out, q)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

var ticketIn = regexp.MustCompile(`approvals approve (\S+)\)`)

func TestOwnerJudgesACodingAgent(t *testing.T) {
	h := open(t)
	inside := filepath.Join(h.project, "a.txt")
	h.send(hook.ClaudeCode, map[string]any{"hook_event_name": "SessionStart", "source": "startup"})
	for name, c := range map[string]struct {
		event map[string]any
		want  string
	}{
		"a read in the project passes":     {pre("t1", "Read", map[string]any{"file_path": inside}), "{}"},
		"a write in the project passes":    {pre("t2", "Write", map[string]any{"file_path": inside, "content": "x"}), "{}"},
		"a write outside is denied":        {pre("t3", "Write", map[string]any{"file_path": "/etc/hosts", "content": "x"}), `"permissionDecision":"deny"`},
		"our own keys are out of bounds":   {pre("t4", "Read", map[string]any{"file_path": filepath.Join(h.Config.Data, "keys", "identity")}), "out of bounds"},
		"a subagent is judged as well":     {with(pre("t5", "Write", map[string]any{"file_path": "/etc/hosts", "content": "x"}), "agent_id", "sub"), `"deny"`},
		"a tool that nobody reviewed asks": {pre("t6", "mcp__notes__frobnicate", map[string]any{"x": "y"}), "It waits for a person as"},
		"a change of settings asks":        {map[string]any{"hook_event_name": "ConfigChange", "source": "user_settings", "file_path": "/home/ann/.claude/settings.json"}, `"decision":"block"`},
	} {
		if got, code := h.send(hook.ClaudeCode, c.event); code != 0 || !strings.Contains(got, c.want) {
			t.Errorf("%s: exit code %d, %s", name, code, got)
		}
	}
	q := h.inputs()[0]
	if q.Subject.Channel.Door != action.DoorHook || q.Context.Enforcement.Grade != action.GradeHook ||
		q.Context.Enforcement.Observed != action.No || q.Context.Enforcement.Separation != action.SeparationNone {
		t.Errorf("recorded %+v, %+v", q.Subject.Channel, q.Context.Enforcement)
	}
	secret := "AKIAIOSFODNN7EXAMPLE"
	got, code := h.send(hook.ClaudeCode, post("t1", "Read", map[string]any{"file_path": inside}, map[string]any{"type": "text", "file": map[string]any{"content": "key " + secret}}))
	if code != 0 || strings.Contains(got, secret) || !strings.Contains(got, "updatedToolOutput") {
		t.Errorf("a secret in a result: %s", got)
	}
}

func with(e map[string]any, name string, v any) map[string]any {
	e[name] = v
	return e
}

func TestOwnerAsksAndAnApprovalPassesOnce(t *testing.T) {
	h := open(t)
	h.send(hook.Codex, map[string]any{"hook_event_name": "SessionStart", "source": "startup"})
	run := map[string]any{"command": "curl https://unlisted.example/x"}
	got, code := h.send(hook.Codex, pre("c1", "Bash", run))
	m := ticketIn.FindStringSubmatch(got)
	if code != 0 || m == nil || !strings.Contains(got, `"deny"`) {
		t.Fatalf("exit code %d, %s", code, got)
	}
	who := approval.Actor{ID: "operator:ann", Channel: action.RankOperator}
	if _, err := h.Approval.Approve(t.Context(), m[1], who, ""); err != nil {
		t.Fatal(err)
	}
	if got, _ := h.send(hook.Codex, pre("c2", "Bash", run)); got != "{}" {
		t.Fatalf("the approved call: %s", got)
	}
	if got, _ := h.send(hook.Codex, post("c2", "Bash", run, "fine")); got != "{}" {
		t.Errorf("its result: %s", got)
	}
	if got, _ := h.send(hook.Codex, pre("c3", "Bash", run)); !strings.Contains(got, `"deny"`) {
		t.Errorf("one approval let two calls pass: %s", got)
	}
	got, _ = h.send(hook.Codex, pre("c4", "Bash", map[string]any{"command": "curl https://unlisted.example/y"}))
	m = ticketIn.FindStringSubmatch(got)
	if m == nil {
		t.Fatal(got)
	}
	if _, err := h.Approval.Deny(t.Context(), m[1], who, "use the mirror"); err != nil {
		t.Fatal(err)
	}
	if got, _ = h.send(hook.Codex, pre("c5", "Bash", map[string]any{"command": "curl https://unlisted.example/y"})); !strings.Contains(got, "use the mirror") {
		t.Errorf("a refused call does not tell why: %s", got)
	}
}

// An owner that was restarted while a call ran does not know how it ended, until the host tells.
func TestOutcomeAfterARestartIsRecordedAsLate(t *testing.T) {
	h := open(t)
	args := map[string]any{"file_path": filepath.Join(h.project, "a.txt")}
	h.send(hook.ClaudeCode, map[string]any{"hook_event_name": "SessionStart", "source": "startup"})
	if got, _ := h.send(hook.ClaudeCode, pre("r1", "Read", args)); got != "{}" {
		t.Fatal(got)
	}
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	if got, code := h.send(hook.ClaudeCode, pre("r2", "Read", args)); code != 2 || !strings.Contains(got, "no owner runs") {
		t.Errorf("without an owner: exit code %d, %s", code, got)
	}
	h.start()
	if got, _ := h.send(hook.ClaudeCode, post("r1", "Read", args, "hello")); got != "{}" {
		t.Errorf("the result of the call: %s", got)
	}
	kinds := map[action.Kind]int{}
	err := h.Ledger.Records(context.Background(), func(e ledger.Entry) error {
		kinds[e.Leaf.Kind]++
		return nil
	})
	if err != nil || kinds[action.KindIntent] != 1 || kinds[action.KindUnknown] != 1 || kinds[action.KindLate] != 1 {
		t.Errorf("recorded %v, %v", kinds, err)
	}
}

// What the user typed reaches the provenance of arguments; what a hook without the user's word brings
// does not.
func TestPromptReachesTheFlow(t *testing.T) {
	h := open(t)
	mail := func(text string) map[string]any { return map[string]any{"to": "bob@example.org", "text": text} }
	origin := func() action.Origin {
		t.Helper()
		all := h.inputs()
		for _, v := range all[len(all)-1].Context.Flow.Arguments {
			if v.Pointer == "/to" {
				return v.Origin
			}
		}
		t.Fatal("the recipient is no recorded value")
		return ""
	}
	h.send(hook.ClaudeCode, pre("p1", "mcp__mail__send_mail", mail("one")))
	if o := origin(); o == action.OriginUser {
		t.Errorf("before the user spoke the recipient comes from %q", o)
	}
	if got, code := h.send(hook.ClaudeCode, map[string]any{"hook_event_name": "UserPromptSubmit", "prompt": "Mail the report to bob@example.org, please"}); got != "{}" || code != 0 {
		t.Fatal(got)
	}
	h.send(hook.ClaudeCode, pre("p2", "mcp__mail__send_mail", mail("two")))
	if o := origin(); o != action.OriginUser {
		t.Errorf("after the user spoke the recipient comes from %q", o)
	}
}

// BenchmarkHook is one event over the socket to an owner, with the durable record inside; the start of a
// process is not.
func BenchmarkHook(b *testing.B) {
	h := open(b)
	h.send(hook.ClaudeCode, map[string]any{"hook_event_name": "SessionStart", "source": "startup"})
	args := map[string]any{"file_path": filepath.Join(h.project, "a.txt")}
	for b.Loop() {
		h.n++
		if got, code := h.send(hook.ClaudeCode, pre("b"+strconv.Itoa(h.n), "Read", args)); got != "{}" || code != 0 {
			b.Fatal(got)
		}
	}
}
