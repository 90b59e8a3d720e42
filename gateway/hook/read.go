// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
)

// members are the members of a hook's payload. Hosts add members with every version; those that no
// reader asks for decide nothing.
type members map[string]jsontext.Value

// Read reads a hook's payload strictly. The error names the member, never a value.
func Read(h Host, body []byte) (*Event, error) {
	var m members
	if err := action.Read(body, &m, action.Limits{Bytes: MaxBytes}); err != nil {
		return nil, err
	}
	return read(h, m)
}

func read(h Host, m members) (*Event, error) {
	r := reader{m: m}
	e := &Event{Host: h}
	e.Name = r.need(64, "hook_event_name", "hookEventName")
	if r.err != nil {
		return nil, r.err
	}
	if e.Kind = events[h][e.Name]; e.Kind == KindNone {
		return nil, fmt.Errorf("event %q is not one of %s", action.Clip(printable(e.Name), 64), h)
	}
	switch h {
	case Cursor:
		e.Session = r.need(256, "conversation_id")
		e.Roots = r.list("workspace_roots")
	case VSCode:
		e.Session = r.need(256, "session_id", "sessionId")
	default:
		e.Session = r.need(256, "session_id")
	}
	e.Cwd, e.Mode = r.text(4096, "cwd"), r.text(64, "permission_mode")
	e.Agent, e.AgentType = r.text(256, "agent_id", "subagent_id"), r.text(256, "agent_type", "subagent_type")
	e.Source = r.text(256, "source", "reason", "trigger")
	switch e.Kind {
	case KindPrompt:
		e.Prompt = r.needAny(1<<20, "prompt")
	case KindConfig:
		e.File = r.text(4096, "file_path")
	case KindPre, KindPermission, KindPost:
		r.call(e)
	}
	if e.Kind == KindPost {
		r.outcome(e)
	}
	if r.err == nil && (unclear(e.Session) || unclear(e.Server) || unclear(e.Tool)) {
		r.err = errors.New("a name holds a control character")
	}
	if r.err != nil {
		return nil, r.err
	}
	return e, nil
}

// unclear finds names that could read differently in a log, a policy or a terminal.
func unclear(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) })
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// reader takes members out of a payload; its first error stands.
type reader struct {
	m   members
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// find returns the one member that is there under one of its names; null counts as absent. Two of them
// would let two readers see two things.
func (r *reader) find(names ...string) (string, jsontext.Value) {
	name, v := names[0], jsontext.Value(nil)
	for _, n := range names {
		if f, ok := r.m[n]; ok && f.Kind() != 'n' {
			if v != nil {
				r.fail("members %q and %q contradict each other", name, n)
			}
			name, v = n, f
		}
	}
	return name, v
}

// text returns a string of at most limit bytes, or "" if there is none.
func (r *reader) text(limit int, names ...string) string {
	name, v := r.find(names...)
	if v == nil {
		return ""
	}
	var s string
	if v.Kind() != '"' || json.Unmarshal(v, &s) != nil {
		r.fail("member %q must be a string", name)
		return ""
	}
	if len(s) > limit {
		r.fail("member %q holds more than %d bytes", name, limit)
		return ""
	}
	return s
}

// need is text that must be there and hold something; needAny may be empty.
func (r *reader) need(limit int, names ...string) string {
	s := r.text(limit, names...)
	if s == "" {
		r.fail("member %q is required", names[0])
	}
	return s
}

func (r *reader) needAny(limit int, names ...string) string {
	if _, v := r.find(names...); v == nil {
		r.fail("member %q is required", names[0])
	}
	return r.text(limit, names...)
}

func (r *reader) list(name string) []string {
	_, v := r.find(name)
	if v == nil {
		return nil
	}
	var out []string
	if err := json.Unmarshal(v, &out); err != nil || len(out) > 64 {
		r.fail("member %q must be a short list of strings", name)
		return nil
	}
	return out
}

// object returns a JSON object, also one that stands inside a string.
func (r *reader) object(names ...string) []byte {
	name, v := r.find(names...)
	if v == nil {
		r.fail("member %q is required", names[0])
		return nil
	}
	v = r.unpacked(v)
	if v.Kind() != '{' {
		r.fail("member %q must be an object", name)
		return nil
	}
	return v
}

// unpacked returns the JSON value inside a string if it strictly is one, else the value itself.
func (r *reader) unpacked(v jsontext.Value) jsontext.Value {
	if v.Kind() != '"' {
		return v
	}
	var s string
	if json.Unmarshal(v, &s) != nil || action.Check([]byte(s), action.Limits{Bytes: MaxBytes}) != nil {
		return v
	}
	return jsontext.Value(s)
}

// call reads which tool is called with what.
func (r *reader) call(e *Event) {
	if e.Host == Cursor && r.cursorCall(e) {
		return
	}
	tool := r.need(1024, "tool_name", "toolName")
	e.Arguments = r.object("tool_input", "toolArgs")
	e.CallID = callID(r.text(4096, "tool_use_id", "toolUseId"))
	e.Reasoning = r.text(1<<20, "agent_message")
	e.Server, e.Tool = string(e.Host), tool
	if e.Host == ClaudeCode || e.Host == Codex {
		if server, name, ok := splitMCP(tool, r.within("mcp_server", "name")); ok {
			e.Server, e.Tool, e.MCP = serverName(server), name, true
		}
	}
	if server := r.within("mcp_context", "server_name"); e.Host == Gemini && server != "" {
		e.Server, e.MCP = serverName(server), true
		if name := r.within("mcp_context", "tool_name"); name != "" {
			e.Tool = name
		}
	}
	e.MCP = e.MCP || e.Host == Cursor && strings.HasPrefix(tool, "MCP:")
	if alias, ok := aliases[e.Host][e.Tool]; ok && !e.MCP {
		e.Tool = alias
	}
}

// aliases are names under which a host's hooks tell of a tool that the agent calls by another one.
var aliases = map[Host]map[string]string{
	Codex: {"Bash": "shell_command"}, // every kind of shell call, with its command as one string
}

// within returns a string member of an object member, or "".
func (r *reader) within(object, name string) string {
	_, v := r.find(object)
	if v == nil {
		return ""
	}
	var in members
	if v.Kind() != '{' || json.Unmarshal(v, &in) != nil {
		r.fail("member %q must be an object", object)
		return ""
	}
	sub := reader{m: in}
	s := sub.text(256, name)
	if sub.err != nil {
		r.fail("in member %q: %w", object, sub.err)
	}
	return s
}

// cursorCall reads the events that Cursor has for single kinds of tool.
func (r *reader) cursorCall(e *Event) bool {
	e.Server = string(Cursor)
	switch e.Name {
	case "beforeShellExecution", "afterShellExecution":
		e.Tool = "Shell"
		e.Arguments = r.made("command", r.need(1<<20, "command"))
	case "beforeReadFile":
		e.Tool = "Read"
		e.Arguments = r.made("path", r.need(4096, "file_path"))
	case "beforeMCPExecution", "afterMCPExecution":
		e.Tool, e.MCP = r.need(1000, "tool_name"), true
		if !strings.HasPrefix(e.Tool, "MCP:") {
			e.Tool = "MCP:" + e.Tool // the server is not told: it must not pass for a built-in tool
		}
		e.Arguments = r.object("tool_input")
	default:
		return false
	}
	return true
}

func (r *reader) made(name, value string) []byte {
	b, err := action.Canonical(map[string]string{name: value})
	if err != nil {
		r.fail("member %q: %w", name, err)
	}
	return b
}

// outcome reads what came back.
func (r *reader) outcome(e *Event) {
	switch e.Name {
	case "PostToolUseFailure", "postToolUseFailure":
		e.Failed = true
		_, e.Response = r.find("error", "error_message")
	case "PermissionDenied":
		e.Failed, e.Refused = true, true
	case "afterShellExecution":
		_, e.Response = r.find("output")
	case "afterMCPExecution":
		_, v := r.find("result_json")
		e.Response = r.unpacked(v)
	default:
		_, v := r.find("tool_response", "tool_output", "toolResult")
		if e.Host == Cursor {
			v = r.unpacked(v)
		}
		e.Response = v
		var in members
		if e.Host == Gemini && v.Kind() == '{' && json.Unmarshal(v, &in) == nil {
			f, ok := in["error"]
			e.Failed = ok && f.Kind() != 'n'
		}
	}
}

// callID makes any id of a host fit the path's.
func callID(id string) string {
	if len(id) <= 128 && !unclear(id) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "sha256:" + hex.EncodeToString(sum[:])
}
