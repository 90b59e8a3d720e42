// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/gateway/hook"
)

// hostFile says where a host's hooks stand and how.
type hostFile struct {
	host   hook.Host
	user   []string // path below the home
	folder string   // variable that takes the place of the path's first element; "" for none
	below  []string // path below a project
	events []string // that must be hooked
	flat   bool     // handlers stand directly in the list of an event, without groups
	entry  func(event, command string) map[string]any
	top    map[string]any // members that a file of its own must have
}

// hookTimeout is how long a host waits for an installed hook, in seconds; the hook itself answers before.
const hookTimeout = 60

func typed(command string, timeout int) map[string]any {
	return map[string]any{"type": "command", "command": command, "timeout": timeout}
}

func group(handler map[string]any) map[string]any {
	return map[string]any{"hooks": []any{handler}}
}

var hostFiles = []*hostFile{
	{
		host: hook.ClaudeCode, user: []string{".claude", "settings.json"}, folder: "CLAUDE_CONFIG_DIR", below: []string{".claude", "settings.json"},
		events: []string{"SessionStart", "UserPromptSubmit", "PreToolUse", "PermissionRequest", "PostToolUse", "PostToolUseFailure",
			"PermissionDenied", "ConfigChange", "SubagentStart", "SubagentStop", "Stop"},
		entry: func(event, command string) map[string]any {
			h := typed(command, hookTimeout)
			if mustBlock(hook.ClaudeCode, event) {
				h["onFailure"] = "block"
			}
			g := group(h)
			if strings.Contains(event, "Tool") || strings.HasPrefix(event, "Permission") {
				g["matcher"] = "*"
			}
			return g
		},
	},
	{
		host: hook.Codex, user: []string{".codex", "hooks.json"}, folder: "CODEX_HOME", below: []string{".codex", "hooks.json"},
		events: []string{"SessionStart", "UserPromptSubmit", "PreToolUse", "PermissionRequest", "PostToolUse", "SubagentStart", "SubagentStop", "Stop"},
		entry:  func(_, command string) map[string]any { return group(typed(command, hookTimeout)) },
	},
	{
		host: hook.Gemini, user: []string{".gemini", "settings.json"}, below: []string{".gemini", "settings.json"},
		events: []string{"SessionStart", "BeforeAgent", "BeforeTool", "AfterTool", "AfterAgent"},
		entry:  func(_, command string) map[string]any { return group(typed(command, hookTimeout*1000)) },
	},
	{
		host: hook.Cursor, user: []string{".cursor", "hooks.json"}, below: []string{".cursor", "hooks.json"}, flat: true,
		events: []string{"sessionStart", "beforeSubmitPrompt", "preToolUse", "postToolUse", "postToolUseFailure", "subagentStart", "subagentStop", "stop"},
		entry: func(event, command string) map[string]any {
			return map[string]any{"command": command, "failClosed": mustBlock(hook.Cursor, event)}
		},
		top: map[string]any{"version": 1},
	},
	{
		host: hook.VSCode, user: []string{".copilot", "hooks", "sallyport.json"}, below: []string{".github", "hooks", "sallyport.json"}, flat: true,
		events: []string{"SessionStart", "UserPromptSubmit", "PreToolUse", "PostToolUse", "PostToolUseFailure", "SubagentStart", "SubagentStop", "Stop"},
		entry:  func(_, command string) map[string]any { return typed(command, hookTimeout) },
		top:    map[string]any{"version": 1},
	},
}

// mustBlock reports whether a failure of the hook at event may not let the host go on.
func mustBlock(h hook.Host, event string) bool {
	k := hook.KindOf(h, event)
	return k.Gates() || k == hook.KindPost
}

func hostFileOf(name string) (*hostFile, error) {
	for _, f := range hostFiles {
		if string(f.host) == name {
			return f, nil
		}
	}
	return nil, usage("%q is not one of %s", name, hostNames())
}

// path is the file for a project, or for the user if there is none.
func (f *hostFile) path(project string) (string, error) {
	if project != "" {
		dir, err := absolute(project)
		return filepath.Join(append([]string{dir}, f.below...)...), err
	}
	if dir := os.Getenv(f.folder); f.folder != "" && filepath.IsAbs(dir) {
		return filepath.Join(append([]string{dir}, f.user[1:]...)...), nil
	}
	home, err := os.UserHomeDir()
	if err != nil || !filepath.IsAbs(home) {
		return "", fmt.Errorf("home directory %q: not known", home)
	}
	return filepath.Join(append([]string{home}, f.user...)...), nil
}

// hookCommand is what a host runs: the small program if it stands beside ours. A program that cannot be
// run ends with 127 in a shell, which most hosts let pass: the last words make it the code that blocks.
func hookCommandLine(h hook.Host, data string) (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	line := quoted(exe) + " --data " + quoted(data) + " hook " + string(h)
	if small := filepath.Join(filepath.Dir(exe), "sallyport-hook"); runnable(small) {
		line = quoted(small) + " --data " + quoted(data) + " " + string(h)
	}
	return line + " || exit 2", nil
}

func runnable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}

// quoted makes s one word of a shell.
func quoted(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:@%,=") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// hookEntry is one element of an event's list as it stands in a file.
type hookEntry struct {
	Matcher  *string       `json:"matcher"`
	Hooks    []hookHandler `json:"hooks"`
	handlers []hookHandler
}

type hookHandler struct {
	Type       string         `json:"type"`
	Command    string         `json:"command"`
	Timeout    float64        `json:"timeout"`
	OnFailure  string         `json:"onFailure"`
	FailClosed bool           `json:"failClosed"`
	Async      bool           `json:"async"`
	If         jsontext.Value `json:"if"`
}

// ours reports whether a handler runs our hook for h, however the rest of it is written.
func (c *hookHandler) ours(h hook.Host) bool {
	program, rest, _ := strings.Cut(c.Command, " ")
	if quoted, ok := strings.CutPrefix(c.Command, "'"); ok {
		program, rest, _ = strings.Cut(quoted, "'")
	}
	return strings.HasPrefix(filepath.Base(program), "sallyport") && strings.Contains(rest, string(h))
}

// entries reads an event's list; elements that cannot be read are nobody's.
func (f *hostFile) entries(b []byte, event string) ([]hookEntry, error) {
	p, ok, err := at(b, "hooks", event)
	if err != nil || !ok {
		return nil, err
	}
	ps, kind, err := jsonParts(b, p.start)
	if err != nil || kind != '[' {
		return nil, fmt.Errorf("hooks.%s is not an array", event)
	}
	out := make([]hookEntry, len(ps))
	for i, q := range ps {
		if f.flat {
			var c hookHandler
			if json.Unmarshal(b[q.start:q.end], &c) == nil {
				out[i].handlers = []hookHandler{c}
			}
			var m struct {
				Matcher *string `json:"matcher"`
			}
			if json.Unmarshal(b[q.start:q.end], &m) == nil {
				out[i].Matcher = m.Matcher
			}
			continue
		}
		if json.Unmarshal(b[q.start:q.end], &out[i]) == nil {
			out[i].handlers = out[i].Hooks
		}
	}
	return out, nil
}

// without takes our entries out of b; other people's stay. A group that we share stays without us.
func (f *hostFile) without(b []byte) ([]byte, error) {
	if b == nil {
		return nil, nil
	}
	hooks, ok, err := at(b, "hooks")
	if err != nil || !ok {
		return b, err
	}
	events, _, err := jsonParts(b, hooks.start)
	if err != nil {
		return nil, err
	}
	whole := b
	for _, ev := range events {
		was := b
		list, err := f.entries(b, ev.name)
		if err != nil {
			continue // not a list of hooks: nothing of ours
		}
		for i := len(list) - 1; i >= 0; i-- {
			p, _, err := at(b, "hooks", ev.name)
			if err != nil {
				return nil, err
			}
			n := len(list[i].handlers)
			mine := slices.ContainsFunc(list[i].handlers, func(c hookHandler) bool { return c.ours(f.host) })
			switch {
			case !mine:
			case n == 1:
				if b, err = removeItem(b, p.start, i); err != nil {
					return nil, err
				}
			default:
				if b, err = f.unshare(b, p.start, i, list[i].handlers); err != nil {
					return nil, err
				}
			}
		}
		if bytes.Equal(b, was) {
			continue // an empty list of somebody else's stays, too
		}
		if b, err = dropEmpty(b, "hooks", ev.name); err != nil {
			return nil, err
		}
	}
	if bytes.Equal(b, whole) {
		return b, nil
	}
	return dropEmpty(b, "hooks")
}

// unshare takes our handlers out of the i-th group of the list at from.
func (f *hostFile) unshare(b []byte, from, i int, handlers []hookHandler) ([]byte, error) {
	for k := len(handlers) - 1; k >= 0; k-- {
		if !handlers[k].ours(f.host) {
			continue
		}
		groups, _, err := jsonParts(b, from)
		if err != nil {
			return nil, err
		}
		ms, _, err := jsonParts(b, groups[i].start)
		if err != nil {
			return nil, err
		}
		for _, m := range ms {
			if m.name == "hooks" {
				if b, err = removeItem(b, m.start, k); err != nil {
					return nil, err
				}
			}
		}
	}
	return b, nil
}

func dropEmpty(b []byte, path ...string) ([]byte, error) {
	p, ok, err := at(b, path...)
	if err != nil || !ok {
		return b, err
	}
	if ps, _, err := jsonParts(b, p.start); err != nil || len(ps) > 0 {
		return b, err
	}
	return remove(b, path...)
}

// with puts our entries for every event behind other people's.
func (f *hostFile) with(b []byte, command string) ([]byte, error) {
	fresh := len(bytes.TrimSpace(b)) == 0
	if fresh {
		b = []byte("{}\n")
	}
	if err := checkJSON(b); err != nil {
		return nil, err
	}
	if f.complete(b, command) {
		return b, nil
	}
	b, err := f.without(b)
	if err != nil {
		return nil, err
	}
	for name, v := range f.top {
		if _, ok, _ := at(b, name); !ok {
			if b, err = set(b, v, name); err != nil {
				return nil, err
			}
		}
	}
	for _, event := range f.events {
		if b, err = appendTo(b, f.entry(event, command), "hooks", event); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// complete reports whether everything stands as we would write it.
func (f *hostFile) complete(b []byte, command string) bool {
	for name := range f.top {
		if _, ok, err := at(b, name); !ok || err != nil {
			return false
		}
	}
	for _, event := range f.events {
		if f.lookAt(b, event, command) != nil {
			return false
		}
	}
	return len(f.strangers(b)) == 0
}
