// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"net/url"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
)

// Host is a program that runs agents and calls hooks. Its name is also the server of its built-in tools.
type Host string

// The hosts.
const (
	ClaudeCode Host = "claude-code"
	Codex      Host = "codex"
	Gemini     Host = "gemini"
	Cursor     Host = "cursor"
	VSCode     Host = "vscode"
)

// Hosts lists the hosts.
var Hosts = []Host{ClaudeCode, Codex, Gemini, Cursor, VSCode}

// Known reports whether h is a host.
func (h Host) Known() bool { return slices.Contains(Hosts, h) }

// Kind is what an event asks of us.
type Kind int

// The kinds. An event that is not in a host's table has none, and is refused.
const (
	KindNone       Kind = iota
	KindStart           // a session begins
	KindPrompt          // the user speaks
	KindPre             // a tool is about to run
	KindPermission      // the host is about to ask its user
	KindPost            // a tool has run, or failed to
	KindConfig          // the host's settings change
	KindNote            // recorded, and nothing else
)

// Gates reports whether an event of this kind can stop something.
func (k Kind) Gates() bool { return k != KindNote && k != KindStart && k != KindPost && k != KindNone }

// events are the events of each host by the host's own names. Sources: the hosts' hook references.
var events = map[Host]map[string]Kind{
	ClaudeCode: {
		"SessionStart": KindStart, "UserPromptSubmit": KindPrompt, "PreToolUse": KindPre, "PermissionRequest": KindPermission,
		"PostToolUse": KindPost, "PostToolUseFailure": KindPost, "PermissionDenied": KindPost, "ConfigChange": KindConfig,
		"SubagentStart": KindNote, "SubagentStop": KindNote, "Stop": KindNote, "StopFailure": KindNote, "SessionEnd": KindNote,
		"Notification": KindNote, "PreCompact": KindNote, "PostCompact": KindNote, "InstructionsLoaded": KindNote,
		"CwdChanged": KindNote, "TaskCreated": KindNote, "TaskCompleted": KindNote,
	},
	Codex: {
		"SessionStart": KindStart, "UserPromptSubmit": KindPrompt, "PreToolUse": KindPre, "PermissionRequest": KindPermission,
		"PostToolUse": KindPost, "SubagentStart": KindNote, "SubagentStop": KindNote, "Stop": KindNote, "PreCompact": KindNote,
		"PostCompact": KindNote, "SessionEnd": KindNote, "Interrupt": KindNote,
	},
	Gemini: {
		"SessionStart": KindStart, "BeforeAgent": KindPrompt, "BeforeTool": KindPre, "AfterTool": KindPost,
		"AfterAgent": KindNote, "SessionEnd": KindNote, "Notification": KindNote, "PreCompress": KindNote,
	},
	Cursor: {
		"sessionStart": KindStart, "beforeSubmitPrompt": KindPrompt, "preToolUse": KindPre, "beforeShellExecution": KindPre,
		"beforeMCPExecution": KindPre, "beforeReadFile": KindPre, "postToolUse": KindPost, "postToolUseFailure": KindPost,
		"afterShellExecution": KindPost, "afterMCPExecution": KindPost, "afterFileEdit": KindNote, "subagentStart": KindNote,
		"subagentStop": KindNote, "stop": KindNote, "sessionEnd": KindNote, "preCompact": KindNote,
	},
	VSCode: {
		"SessionStart": KindStart, "UserPromptSubmit": KindPrompt, "PreToolUse": KindPre, "PostToolUse": KindPost,
		"PostToolUseFailure": KindPost, "SubagentStart": KindNote, "SubagentStop": KindNote, "Stop": KindNote,
		"PreCompact": KindNote, "SessionEnd": KindNote,
	},
}

// Event is one call of a hook, in our words.
type Event struct {
	Host      Host
	Name      string // of the event, as the host says it
	Kind      Kind
	Session   string // the host's id
	Cwd       string
	Roots     []string // folders that the host's user opened
	Mode      string   // the host's permission mode
	Agent     string   // id of the subagent that acts; "" for the main one
	AgentType string

	CallID    string // the host's id of the call; "" where it has none
	Server    string
	Tool      string
	MCP       bool   // a tool of an MCP server
	Arguments []byte // JSON object
	Reasoning string // what the agent says about the call

	Response []byte // JSON value; nil if the host told none
	Failed   bool
	Refused  bool // the host or its user did not let it run

	Prompt string
	Source string // of a start or a change of settings
	File   string // of a change of settings
}

// Note is one line about an event that is no action.
func (e *Event) Note() string {
	parts := []string{e.Name}
	for _, p := range [][2]string{{"agent", e.Agent}, {"type", e.AgentType}, {"source", e.Source}, {"file", e.File}} {
		if p[1] != "" {
			parts = append(parts, p[0]+"="+action.Clip(p[1], 512))
		}
	}
	return strings.Join(parts, " ")
}

// serverName is how the server of an MCP tool is called here. A server that took a host's name would
// pass for the host's own tools.
func serverName(name string) string {
	name = strings.ReplaceAll(name, "/", "%2F")
	if Host(name).Known() {
		return "mcp:" + name
	}
	return name
}

// splitMCP takes "mcp__SERVER__TOOL" apart. named is the server's name where the host tells it apart; the
// tool's name holds it with every other character replaced.
func splitMCP(tool, named string) (server, name string, ok bool) {
	rest, ok := strings.CutPrefix(tool, "mcp__")
	if !ok {
		return "", "", false
	}
	if named != "" {
		if name, ok := strings.CutPrefix(rest, plain(named)+"__"); ok && name != "" {
			return named, name, true
		}
	}
	server, name, ok = strings.Cut(rest, "__")
	return server, name, ok && server != "" && name != ""
}

func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' {
			return r
		}
		return '_'
	}, s)
}

// Escape makes a path fit a header.
func Escape(path string) string { return url.PathEscape(path) }

func unescape(s string) (string, error) { return url.PathUnescape(s) }

// KindOf is what a host's event asks of us.
func KindOf(h Host, event string) Kind { return events[h][event] }
