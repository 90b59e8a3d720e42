// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bytes"
	"errors"
	"io"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// class says how a request is treated.
type class int

const (
	classUnknown  class = iota
	classAct            // an action with a resource of its own
	classProtocol       // an action of type "message": its answer carries the server's text
	classBare           // no action; its answer must be empty
)

// Methods that the code names more than once.
const (
	methodCall       = "tools/call"
	methodPrompt     = "prompts/get"
	methodRead       = "resources/read"
	methodSubscribe  = "resources/subscribe"
	methodComplete   = "completion/complete"
	methodTools      = "tools/list"
	methodInitialize = "initialize"
	methodDiscover   = "server/discover"
	methodListen     = "subscriptions/listen"
	methodSample     = "sampling/createMessage"
	methodElicit     = "elicitation/create"
	methodRoots      = "roots/list"
	methodPing       = "ping"
	noteCancelled    = "notifications/cancelled"
	noteProgress     = "notifications/progress"
	noteMessage      = "notifications/message"
	noteAck          = "notifications/subscriptions/acknowledged"
	noteElicited     = "notifications/elicitation/complete"
)

// clientRequests is every request that a client may send, of both revisions and the tasks extension.
var clientRequests = map[string]class{
	methodCall: classAct, methodPrompt: classAct, methodRead: classAct, methodSubscribe: classAct, methodComplete: classAct,
	methodInitialize: classProtocol, methodDiscover: classProtocol, methodTools: classProtocol, "prompts/list": classProtocol,
	"resources/list": classProtocol, "resources/templates/list": classProtocol, methodListen: classProtocol,
	"tasks/get": classProtocol, "tasks/result": classProtocol, "tasks/list": classProtocol, "tasks/cancel": classProtocol,
	"tasks/update": classProtocol, "resources/unsubscribe": classProtocol,
	methodPing: classBare, "logging/setLevel": classBare,
}

// removed lists the requests that 2026-07-28 no longer has.
var removed = []string{methodPing, "logging/setLevel", methodSubscribe, "resources/unsubscribe"}

// clientNotes is every notification that a client may send.
var clientNotes = []string{"notifications/initialized", noteCancelled, noteProgress, "notifications/roots/list_changed",
	"notifications/tasks/status"}

// serverRequests is every request that a server may send.
var serverRequests = map[string]class{
	methodSample: classAct, methodElicit: classAct, methodRoots: classAct, methodPing: classBare,
}

// logLevels is what logging/setLevel may ask for.
var logLevels = []string{"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"}

// Revisions of the protocol, newest first, as a server/discover or an error lists them.
var revisions = []string{"2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"}

// Stateless is the first revision without sessions.
const stateless = "2026-07-28"

// metaRevision returns the revision that a request of 2026-07-28 or later names, else "".
func metaRevision(m *message) string {
	v, _ := text(member(m.params, "_meta", metaVersion))
	return v
}

func knownRevision(v string) bool { return slices.Contains(revisions, v) }

// Keys of _meta that the protocol defines.
const (
	metaVersion      = "io.modelcontextprotocol/protocolVersion"
	metaCapabilities = "io.modelcontextprotocol/clientCapabilities"
	metaClient       = "io.modelcontextprotocol/clientInfo"
	metaLevel        = "io.modelcontextprotocol/logLevel"
	metaSubscription = "io.modelcontextprotocol/subscriptionId"
)

// metaToolUse is how Claude Code names the call in the model's answer. It only links records.
const metaToolUse = "claudecode/toolUseId"

// What a client says of itself and of its requests in _meta is not judged, because it differs from call to
// call and an approval binds the call. So it is bounded: enough for ids and traces, too little to carry data
// out. Members that the protocol does not define are taken out where they hold more than maxExtraBytes.
const (
	maxClientBytes = 4 << 10 // of each of clientInfo and clientCapabilities
	maxExtraBytes  = 256     // of all undefined members together
	maxNoteBytes   = 2 << 10 // of the parameters of a client's notification
)

// plan is a request as an action.
type plan struct {
	class     class
	method    string
	typ       string // of the resource
	tool      string
	args      []byte
	meta      []byte // raw _meta, or nil
	lean      []byte // _meta without its undefined members, where they are too large to go on; else nil
	version   string // of _meta; "" before 2026-07-28
	token     string // progress token as an id key
	responses []byte // inputResponses, raw
	state     string // requestState
	hasState  bool
}

var errParams = errors.New("the parameters are not what the method takes")

// allowed lists the members that params of a gated method may have. Others are refused: the policy would
// not see them, and a reader that matches names by case would take them for the real ones.
var allowed = map[string][]string{
	methodCall:      {"name", "arguments", "_meta", "inputResponses", "requestState", "task"},
	methodPrompt:    {"name", "arguments", "_meta", "inputResponses", "requestState"},
	methodRead:      {"uri", "_meta", "inputResponses", "requestState"},
	methodSubscribe: {"uri", "_meta"},
	methodComplete:  {"ref", "argument", "context", "_meta"},
}

// read makes a plan of a client's request.
func read(m *message) (plan, error) {
	p := plan{class: clientRequests[m.method], method: m.method, typ: "message", tool: m.method, args: []byte("{}")}
	if m.params == nil {
		if p.class == classAct {
			return p, errParams
		}
		return p, nil
	}
	ms, err := members(m.params)
	if err != nil {
		return p, errParams
	}
	f := map[string][]byte{}
	for _, x := range ms {
		if p.class == classAct && !slices.Contains(allowed[m.method], x.name) {
			return p, errParams
		}
		f[x.name] = x.value
	}
	if err := p.readMeta(f["_meta"]); err != nil {
		return p, err
	}
	if len(f["task"]) > 256 && p.class == classAct {
		return p, errParams
	}
	if err := p.readRound(f); err != nil {
		return p, err
	}
	return p, p.readTarget(m, f)
}

func (p *plan) readMeta(raw []byte) error {
	if raw == nil {
		return nil
	}
	ms, err := members(raw)
	if err != nil {
		return errParams
	}
	p.meta = raw
	var defined []field
	extra := 0
	for _, x := range ms {
		switch x.name {
		case metaClient, metaCapabilities:
			if len(x.value) > maxClientBytes {
				return errParams
			}
		case metaLevel:
			if level, _ := text(x.value); !slices.Contains(logLevels, level) {
				return errParams
			}
		case metaVersion:
			v, ok := text(x.value)
			if !ok {
				return errParams
			}
			p.version = v
		case "progressToken":
			if p.token, err = idKey(x.value); err != nil || len(x.value) > maxExtraBytes {
				return errParams
			}
		default:
			extra += len(x.name) + len(x.value)
			continue
		}
		defined = append(defined, x)
	}
	if extra > maxExtraBytes {
		p.lean = object(defined...)
	}
	return nil
}

// readRound reads the members of a multi-round-trip retry.
func (p *plan) readRound(f map[string][]byte) error {
	if p.class != classAct {
		return nil
	}
	if raw := f["inputResponses"]; raw != nil {
		if raw[0] != '{' {
			return errParams
		}
		p.responses = raw
	}
	if raw := f["requestState"]; raw != nil {
		s, ok := text(raw)
		if !ok || len(s) > maxStateBytes {
			return errParams
		}
		p.state, p.hasState = s, true
	}
	return nil
}

// readTarget settles which resource is acted on and with which arguments.
func (p *plan) readTarget(m *message, f map[string][]byte) error {
	var ok bool
	switch m.method {
	case methodCall, methodPrompt:
		p.typ = "tool"
		if m.method == methodPrompt {
			p.typ = "prompt"
		}
		if p.tool, ok = text(f["name"]); !ok || p.tool == "" {
			return errParams
		}
		if a := f["arguments"]; a != nil && string(a) != "null" {
			if a[0] != '{' {
				return errParams
			}
			p.args = a
		}
	case methodRead, methodSubscribe:
		p.typ = "resource"
		if p.tool, ok = text(f["uri"]); !ok || p.tool == "" {
			return errParams
		}
		p.args = object(field{"uri", f["uri"]})
	case methodComplete:
		return p.readCompletion(f)
	default:
		p.args = m.params
		if p.meta != nil {
			p.args = with(m.params, "_meta", nil)
		}
	}
	if len(p.tool) > 4096 {
		return errParams
	}
	return nil
}

func (p *plan) readCompletion(f map[string][]byte) error {
	typ, _ := text(member(f["ref"], "type"))
	var ok bool
	switch typ {
	case "ref/prompt":
		p.typ = "prompt"
		p.tool, ok = text(member(f["ref"], "name"))
	case "ref/resource":
		p.typ = "resource"
		p.tool, ok = text(member(f["ref"], "uri"))
	}
	if !ok || p.tool == "" || len(p.tool) > 4096 || f["argument"] == nil {
		return errParams
	}
	fs := []field{{"ref", f["ref"]}, {"argument", f["argument"]}}
	if f["context"] != nil {
		fs = append(fs, field{"context", f["context"]})
	}
	p.args = object(fs...)
	return nil
}

// rewrite returns the params of m with the arguments that must be executed.
func (p *plan) rewrite(m *message, args []byte) ([]byte, error) {
	switch m.method {
	case methodCall, methodPrompt:
		return with(m.params, "arguments", args), nil
	case methodRead, methodSubscribe, methodComplete:
		ms, err := members(args)
		if err != nil {
			return nil, err
		}
		params := m.params
		for _, f := range ms {
			if !slices.Contains(allowed[m.method], f.name) || f.name == "_meta" {
				return nil, errParams
			}
			params = with(params, f.name, f.value)
		}
		return params, nil
	}
	if meta := member(m.params, "_meta"); meta != nil {
		args = with(args, "_meta", meta)
	}
	return args, nil
}

// elicits reports whether a request of 2026-07-28 declares that its client can ask its user in a form.
func (p *plan) elicits() bool {
	if p.version < stateless {
		return false
	}
	e := member(p.meta, metaCapabilities, "elicitation")
	ms, err := members(e)
	if err != nil {
		return false
	}
	if len(ms) == 0 {
		return true
	}
	return slices.ContainsFunc(ms, func(f field) bool { return f.name == "form" })
}

// outcomeKind is the kind of a result that a server's message has for the second gate.
func outcomeKind(method string) string {
	switch method {
	case noteProgress:
		return "progress"
	case methodElicit, noteElicited:
		return "elicitation"
	case methodSample:
		return "sampling"
	}
	return "log"
}

// opaque reports whether a result holds parts that gate two cannot read: images, audio, blobs. It reads
// each byte once, whatever the nesting.
func opaque(raw []byte) bool {
	dec := jsontext.NewDecoder(bytes.NewBuffer(raw))
	name := ""
	for {
		tok, err := dec.ReadToken()
		if err != nil {
			return !errors.Is(err, io.EOF)
		}
		if tok.Kind() != '"' {
			continue
		}
		if k, n := dec.StackIndex(dec.StackDepth()); k == '{' && n%2 == 1 {
			if name = tok.String(); name == "blob" {
				return true
			}
		} else if k == '{' && name == "type" && (tok.String() == "image" || tok.String() == "audio") {
			return true
		}
	}
}
