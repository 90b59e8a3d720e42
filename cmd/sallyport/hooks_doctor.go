// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/gateway/hook"
	"github.com/sallyport/sallyport/gateway/hook/shim"
)

// hookFinding is one thing that the doctor looked at.
type hookFinding struct {
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	Why   string `json:"why,omitempty"`
}

type hookDiagnosis struct {
	Host       hook.Host     `json:"host"`
	Path       string        `json:"path"`
	Findings   []hookFinding `json:"findings"`
	NotCovered []string      `json:"not_covered"`
}

func (d *hookDiagnosis) add(check string, err error) {
	f := hookFinding{Check: check, OK: err == nil}
	if err != nil {
		f.Why = err.Error()
	}
	d.Findings = append(d.Findings, f)
}

func (a *app) hooksDoctor(ctx context.Context, f *hostFile, project string) error {
	cfg, _, err := a.load()
	if err != nil {
		return err
	}
	d := &hookDiagnosis{Host: f.host, NotCovered: notCovered[f.host]}
	if d.Path, err = f.path(project); err != nil {
		return err
	}
	b, _, err := readFile(d.Path)
	if err != nil {
		return err
	}
	want, err := hookCommandLine(f.host, cfg.Data)
	if err != nil {
		return err
	}
	f.look(d, b, want)
	f.lookAround(d, project)
	if command := f.installed(b, preEvent(f.host)); command != "" {
		f.trusted(ctx, d, command, project)
		a.canaries(ctx, d, command, cfg.Data, project)
	}
	bad := slices.ContainsFunc(d.Findings, func(f hookFinding) bool { return !f.OK })
	if err := a.print(d, func(w io.Writer) { a.diagnosis(w, d) }); err != nil {
		return err
	}
	if bad {
		return hinted{fmt.Errorf("%s: calls can get past the hooks", f.host), "sallyport hooks install " + string(f.host)}
	}
	return nil
}

func (a *app) diagnosis(w io.Writer, d *hookDiagnosis) {
	fmt.Fprintf(w, "%s  %s\n", a.colour(w, bold, string(d.Host)), d.Path)
	for _, f := range d.Findings {
		mark := a.colour(w, green, "ok  ")
		if !f.OK {
			mark = a.colour(w, red, "FAIL")
		}
		fmt.Fprintf(w, "  %s %s", mark, f.Check)
		if f.Why != "" {
			fmt.Fprintf(w, ": %s", f.Why)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w, "not covered:")
	for _, l := range d.NotCovered {
		fmt.Fprintf(w, "  - %s\n", l)
	}
}

// look reads the file as the host does.
func (f *hostFile) look(d *hookDiagnosis, b []byte, want string) {
	if b == nil {
		d.add("settings", errors.New("there is no such file"))
		return
	}
	if err := checkJSON(b); err != nil {
		d.add("settings", err)
		return
	}
	d.add("settings", errors.Join(f.disabled(b), f.featureOff(d.Path)))
	for _, event := range f.events {
		d.add("hook "+event, f.lookAt(b, event, want))
	}
	for _, event := range f.strangers(b) {
		d.add("hook "+event, fmt.Errorf("%s has no such event: it never runs", f.host))
	}
}

// switches are settings that turn all hooks off, with the value that does.
var switches = map[hook.Host][]struct {
	path []string
	off  string
}{
	hook.ClaudeCode: {{[]string{"disableAllHooks"}, "true"}},
	hook.Gemini:     {{[]string{"hooksConfig", "enabled"}, "false"}, {[]string{"tools", "enableHooks"}, "false"}},
}

func (f *hostFile) disabled(b []byte) error {
	for _, s := range switches[f.host] {
		if p, ok, err := at(b, s.path...); err != nil || ok && string(b[p.start:p.end]) == s.off {
			return errors.Join(fmt.Errorf("%s is %s: no hook runs", strings.Join(s.path, "."), s.off), err)
		}
	}
	return nil
}

var codexOff = regexp.MustCompile(`(?m)^[ \t]*(features[ \t]*\.[ \t]*)?(codex_)?hooks[ \t]*=[ \t]*false`)

// featureOff looks for the switch that Codex keeps beside its hooks.
func (f *hostFile) featureOff(path string) error {
	if f.host != hook.Codex {
		return nil
	}
	b, _, err := readFile(filepath.Join(filepath.Dir(path), "config.toml"))
	if err == nil && codexOff.Match(b) {
		err = errors.New("config.toml turns hooks off (features): no hook runs")
	}
	return err
}

// lookAround reads the other settings of Claude Code that can turn all hooks off: those of the project.
func (f *hostFile) lookAround(d *hookDiagnosis, project string) {
	if f.host != hook.ClaudeCode {
		return
	}
	if project == "" {
		project = "."
	}
	for _, name := range []string{"settings.json", "settings.local.json"} {
		path, err := absolute(filepath.Join(project, ".claude", name))
		if err != nil || path == d.Path {
			continue
		}
		b, _, err := readFile(path)
		if b == nil && err == nil {
			continue
		}
		if err == nil {
			err = checkJSON(b)
		}
		if err == nil {
			err = f.disabled(b)
		}
		d.add("settings "+path, err)
	}
}

// lookAt checks our entry for one event.
func (f *hostFile) lookAt(b []byte, event, want string) error {
	list, err := f.entries(b, event)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range list {
		for _, c := range e.handlers {
			if !c.ours(f.host) {
				continue
			}
			if err := f.lookClosely(event, &e, &c, want); err != nil {
				errs = append(errs, err)
				continue
			}
			return nil
		}
	}
	if len(errs) == 0 {
		return errors.New("it is not there")
	}
	return errors.Join(errs...)
}

func (f *hostFile) lookClosely(event string, e *hookEntry, c *hookHandler, want string) error {
	switch {
	case e.Matcher != nil && *e.Matcher != "" && *e.Matcher != "*" && *e.Matcher != ".*":
		return fmt.Errorf("the matcher %q leaves tools out", *e.Matcher)
	case c.Command != want:
		return fmt.Errorf("the command is %q, not %q", c.Command, want)
	case f.host != hook.Cursor && c.Type != "command":
		return fmt.Errorf("the type is %q", c.Type)
	case c.Async:
		return errors.New("it runs beside the call (async), so it stops nothing")
	case len(c.If) > 0:
		return errors.New("a condition (if) leaves calls out")
	case f.host == hook.ClaudeCode && mustBlock(f.host, event) && c.OnFailure != "block":
		return errors.New("the host goes on when it fails (onFailure is not block)")
	case f.host == hook.Cursor && mustBlock(f.host, event) && !c.FailClosed:
		return errors.New("the host goes on when it fails (failClosed is not true)")
	case f.host != hook.Cursor && c.Timeout < f.least():
		return fmt.Errorf("the timeout of %v is shorter than the hook's own, and the host goes on after it", c.Timeout)
	}
	return nil
}

// least is the shortest timeout, in the host's unit, after which our own answer has come.
func (f *hostFile) least() float64 {
	if f.host == hook.Gemini {
		return shim.DefaultTimeout.Seconds() * 1000
	}
	return shim.DefaultTimeout.Seconds()
}

// strangers are our entries under names that the host does not know.
func (f *hostFile) strangers(b []byte) []string {
	p, ok, err := at(b, "hooks")
	if err != nil || !ok {
		return nil
	}
	ps, _, err := jsonParts(b, p.start)
	if err != nil {
		return nil
	}
	var out []string
	for _, q := range ps {
		if hook.KindOf(f.host, q.name) != hook.KindNone {
			continue
		}
		if list, err := f.entries(b, q.name); err == nil && slices.ContainsFunc(list, func(e hookEntry) bool {
			return slices.ContainsFunc(e.handlers, func(c hookHandler) bool { return c.ours(f.host) })
		}) {
			out = append(out, q.name)
		}
	}
	return out
}

// installed is the command that the host runs for event.
func (f *hostFile) installed(b []byte, event string) string {
	if checkJSON(b) != nil {
		return ""
	}
	list, _ := f.entries(b, event)
	for _, e := range list {
		for _, c := range e.handlers {
			if c.ours(f.host) {
				return c.Command
			}
		}
	}
	return ""
}

func preEvent(h hook.Host) string {
	for _, e := range []string{"PreToolUse", "BeforeTool", "preToolUse"} {
		if hook.KindOf(h, e) == hook.KindPre {
			return e
		}
	}
	return ""
}

// canary is a call that no agent may make: it asks for our own keys.
type canary struct {
	what  string
	event []byte
}

func canariesOf(h hook.Host, data, dir string) ([]canary, error) {
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	session := "sallyport-doctor-" + hex.EncodeToString(id[:])
	secret := filepath.Join(data, "keys", "identity")
	shell := map[hook.Host]string{hook.ClaudeCode: "Bash", hook.Codex: "Bash", hook.Gemini: "run_shell_command", hook.Cursor: "Shell", hook.VSCode: "run_in_terminal"}[h]
	base := map[string]any{"hook_event_name": preEvent(h), "cwd": dir}
	if h == hook.Cursor {
		base["conversation_id"], base["workspace_roots"] = session, []string{dir}
	} else {
		base["session_id"] = session
	}
	with := func(n int, more map[string]any) []byte {
		m := map[string]any{"tool_use_id": fmt.Sprintf("%s-%d", session, n)}
		for _, src := range []map[string]any{base, more} {
			for k, v := range src {
				m[k] = v
			}
		}
		b, err := json.Marshal(m, json.Deterministic(true))
		if err != nil {
			return nil // strings: cannot fail
		}
		return b
	}
	command := map[string]any{"tool_name": shell, "tool_input": map[string]any{"command": "cat " + quoted(secret)}}
	mcp := map[string]any{"tool_name": "mcp__canary__read_file", "tool_input": map[string]any{"path": secret}}
	switch h {
	case hook.Gemini:
		mcp["mcp_context"] = map[string]any{"server_name": "canary", "tool_name": "read_file"}
	case hook.Cursor:
		mcp["tool_name"] = "MCP:read_file"
	}
	sub := map[string]any{"agent_id": "canary", "agent_type": "general-purpose"}
	for k, v := range command {
		sub[k] = v
	}
	return []canary{{"built-in tool", with(1, command)}, {"MCP tool", with(2, mcp)}, {"subagent", with(3, sub)}}, nil
}

// canaries runs the installed command as the host would.
func (a *app) canaries(ctx context.Context, d *hookDiagnosis, command, data, project string) {
	dir, err := os.Getwd()
	if project != "" {
		dir, err = absolute(project)
	}
	list, cerr := canariesOf(d.Host, data, dir)
	if err = errors.Join(err, cerr); err != nil {
		d.add("canary", err)
		return
	}
	for _, c := range list {
		answered, err := blocks(ctx, d.Host, command, dir, c.event)
		if err == nil && !answered {
			err = errors.New("only because the hook fails, and so every call is blocked; see sallyport doctor")
		}
		d.add("a canary call is blocked ("+c.what+")", err)
	}
	for _, c := range list {
		_, err := blocks(ctx, d.Host, command, dir, c.event, shim.DrillVariable+"=1")
		d.add("a canary call is blocked without an owner ("+c.what+")", err)
	}
	_, err = blocks(ctx, d.Host, command, dir, []byte(`{"hook_event_name":`))
	d.add("unreadable input is blocked", err)
}

// blocks reports how a hook's answer to a call would not stop it, and whether it was an answer at all.
func blocks(ctx context.Context, h hook.Host, command, dir string, event []byte, env ...string) (answered bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, hookTimeout*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Dir = bytes.NewReader(event), &out, dir
	cmd.Env = append(os.Environ(), env...)
	for _, v := range []string{"CLAUDE_PROJECT_DIR", "GEMINI_PROJECT_DIR"} {
		cmd.Env = append(cmd.Env, v+"="+dir)
	}
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == 2:
		return false, nil
	case err != nil:
		return false, fmt.Errorf("the command fails in a way that lets calls pass: %w", err)
	case refuses(h, out.Bytes()):
		return true, nil
	}
	return true, fmt.Errorf("it gets through; the answer was %s", strings.TrimSpace(out.String()))
}

// refuses reads an answer to a call as the host does.
func refuses(h hook.Host, answer []byte) bool {
	var v struct {
		Decision   string `json:"decision"`
		Permission string `json:"permission"`
		Specific   struct {
			Decision string `json:"permissionDecision"`
		} `json:"hookSpecificOutput"`
	}
	if json.Unmarshal(answer, &v, jsontext.AllowDuplicateNames(false)) != nil {
		return false
	}
	switch h {
	case hook.Gemini:
		return v.Decision == "deny" || v.Decision == "block"
	case hook.Cursor:
		return v.Permission == "deny"
	}
	return v.Specific.Decision == "deny"
}

// notCovered says what the hooks of a host cannot see or stop.
var notCovered = map[hook.Host][]string{
	hook.ClaudeCode: {
		"versions before 2.1.295: they go on when a hook cannot run",
		"files that the user names with @, and commands that he types himself with !",
		"what a command does once it runs: use the confined mode for that",
		"a host that is started with other settings, with hooks turned off, or under another user",
		"the result of a failed call: the agent sees its error text",
		"a program that the agent runs under the same user: it can pose as a hook or as the owner",
		"prompts that an agent schedules for itself: they look like the user's",
	},
	hook.Codex: {
		"hooks that nobody has trusted, where no codex is found to ask: Codex skips them without a word; check with /hooks",
		"tools that Codex runs at its provider, such as web search",
		"[features] hooks = false in config.toml, and other profiles",
		"questions to the user: Codex takes none from a hook, so a person answers with sallyport approvals",
		"what a command does once it runs: use the confined mode for that",
	},
	hook.Gemini: {
		"a hook that is killed or runs out of Gemini's own time: Gemini goes on",
		"a user or project that disables the hook by name",
		"questions to the user: Gemini takes none from a hook, so a person answers with sallyport approvals",
		"what a command does once it runs: use the confined mode for that",
	},
	hook.Cursor: {
		"results of built-in tools: Cursor cannot take them back, the record says so",
		"the server of an MCP tool: Cursor tells its tool only",
		"edits by Tab completion",
		"what a command does once it runs: use the confined mode for that",
	},
	hook.VSCode: {
		"hooks are in preview, and each harness of VS Code reads them its own way",
		"results: the Local harness cannot take them back, the record says so",
		"other exit codes than 2, and hooks that run out of time: VS Code goes on",
		"what a command does once it runs: use the confined mode for that",
	},
}
