// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
)

// object is an answer in the making.
type object map[string]any

func (o object) bytes() []byte {
	b, err := json.Marshal(o, json.Deterministic(true))
	if err != nil {
		return nil // strings and JSON that was read before: no answer is refused by the caller
	}
	return b
}

// Blocked is the message of a failure: what happened, the command that repairs and the one that leaves.
func Blocked(h Host, why string) string {
	return "Sallyport could not check this, so it was blocked: " + why +
		". Repair: sallyport doctor, then sallyport up. Leave: sallyport hooks uninstall " + string(h) + "."
}

// Pass lets the host go on under its own rules.
func (e *Event) Pass() []byte { return []byte("{}") }

// Deny refuses what the event announces. reason is for the agent.
func (e *Event) Deny(reason string) []byte {
	switch {
	case e.Host == Gemini:
		return object{"decision": "deny", "reason": reason}.bytes()
	case e.Host == Cursor && e.Kind == KindPrompt:
		return object{"continue": false, "user_message": reason}.bytes()
	case e.Host == Cursor:
		return object{"permission": "deny", "user_message": reason, "agent_message": reason}.bytes()
	case e.Kind == KindPermission:
		return e.specific(object{"decision": object{"behavior": "deny", "message": reason}}, nil)
	case e.Kind == KindPre:
		return e.specific(object{"permissionDecision": "deny", "permissionDecisionReason": reason}, e.flat("deny", reason))
	case e.Host == VSCode:
		return object{"continue": false, "stopReason": reason, "decision": "block", "reason": reason}.bytes()
	}
	return object{"decision": "block", "reason": reason}.bytes()
}

// specific puts o where the dialects of Claude Code's kind expect it.
func (e *Event) specific(o, top object) []byte {
	if top == nil {
		top = object{}
	}
	o["hookEventName"] = e.Name
	top["hookSpecificOutput"] = o
	return top.bytes()
}

// flat is the same decision where Copilot's own harness reads it.
func (e *Event) flat(decision, reason string) object {
	if e.Host != VSCode {
		return nil
	}
	return object{"permissionDecision": decision, "permissionDecisionReason": reason}
}

// Asks reports whether the host can ask its user before this event goes on, and will: in a mode without
// questions, and where the host reads "ask" as a fault or not at all, a person answers elsewhere.
func (e *Event) Asks() bool {
	if e.Kind != KindPre {
		return false
	}
	switch e.Host {
	case ClaudeCode:
		return e.Mode == "" || e.Mode == "default" || e.Mode == "acceptEdits" || e.Mode == "plan"
	case VSCode:
		return true
	case Cursor:
		return e.Name == "beforeShellExecution" || e.Name == "beforeMCPExecution"
	}
	return false
}

// Ask lets the host ask its user.
func (e *Event) Ask(reason string) []byte {
	switch {
	case !e.Asks():
		return e.Deny(reason)
	case e.Host == Cursor:
		return object{"permission": "ask", "user_message": reason, "agent_message": reason}.bytes()
	}
	return e.specific(object{"permissionDecision": "ask", "permissionDecisionReason": reason}, e.flat("ask", reason))
}

// Rewrites reports whether the host lets a hook change the arguments.
func (e *Event) Rewrites() bool {
	return e.Kind == KindPre && (e.Host != Cursor || e.Name == "preToolUse")
}

// Rewrite lets the call go on with other arguments.
func (e *Event) Rewrite(arguments []byte) []byte {
	v := jsontext.Value(arguments)
	switch e.Host {
	case Gemini:
		return object{"decision": "allow", "hookSpecificOutput": object{"hookEventName": e.Name, "tool_input": v}}.bytes()
	case Cursor:
		return object{"permission": "allow", "updated_input": v}.bytes()
	case VSCode:
		return e.specific(object{"permissionDecision": "allow", "updatedInput": v}, object{"permissionDecision": "allow", "modifiedArgs": v})
	}
	return e.specific(object{"permissionDecision": "allow", "updatedInput": v}, nil)
}

// Replaces reports whether the host takes another result in the place of the tool's.
func (e *Event) Replaces() bool {
	switch e.Host {
	case ClaudeCode:
		return e.Name == "PostToolUse"
	case Codex, Gemini:
		return true
	case Cursor:
		return e.MCP && e.Name == "postToolUse"
	}
	return false // VS Code's own harness has no place for it; Copilot's has
}

// Withhold puts hint in the place of the result, where the host can do that; elsewhere it tells the agent.
func (e *Event) Withhold(hint string) []byte {
	switch e.Host {
	case ClaudeCode:
		if !e.Replaces() {
			return e.specific(object{"additionalContext": hint}, nil)
		}
		return e.replace(masked(e.Response, hint, e.MCP), object{"decision": "block", "reason": hint})
	case Gemini:
		return object{"decision": "deny", "reason": hint}.bytes()
	case Cursor:
		if !e.Replaces() {
			return object{"additional_context": hint}.bytes()
		}
		return object{"updated_mcp_tool_output": textResult(hint)}.bytes()
	case VSCode:
		return e.specific(object{"additionalContext": hint}, object{"decision": "block", "reason": hint,
			"modifiedResult": object{"resultType": "success", "textResultForLlm": hint}})
	}
	return object{"decision": "block", "reason": hint}.bytes()
}

// Replace puts other content in the place of the result.
func (e *Event) Replace(content []byte) []byte {
	switch {
	case e.Host == ClaudeCode && e.Replaces():
		return e.replace(jsontext.Value(content), nil)
	case e.Host == Cursor && e.Replaces():
		return object{"updated_mcp_tool_output": jsontext.Value(content)}.bytes()
	}
	return e.Withhold("Parts of the result were removed; what may be seen of it: " + plainText(content))
}

func (e *Event) replace(v jsontext.Value, top object) []byte {
	o := object{"updatedToolOutput": v}
	if e.MCP {
		o["updatedMCPToolOutput"] = v // how earlier versions call it
	}
	return e.specific(o, top)
}

// Block is the form of a failure: whatever the event announces does not happen, and what has happened is
// not told. Events that announce nothing pass: their block form would keep the agent running.
func (e *Event) Block(message string) []byte {
	switch {
	case e.Kind == KindPost:
		return e.Withhold(message)
	case e.Kind.Gates():
		return e.Deny(message)
	case e.Host == Cursor:
		return e.Pass()
	}
	return object{"systemMessage": message}.bytes()
}

func textResult(text string) object {
	return object{"content": []any{object{"type": "text", "text": text}}}
}

// plainText is a JSON string's content, or the JSON itself.
func plainText(content []byte) string {
	var s string
	if json.Unmarshal(content, &s) == nil {
		return s
	}
	return string(content)
}

// masked is a result of the same shape that says hint and nothing else. A host takes another result for
// a built-in tool only if it has the shape of the tool's own; names that are no plain words might be data
// and go too.
func masked(response []byte, hint string, mcp bool) jsontext.Value {
	var v any
	if json.Unmarshal(response, &v) != nil {
		v = ""
	}
	if _, list := v.([]any); mcp && list {
		v = []any{object{"type": "text", "text": hint}}
	} else if _, obj := v.(map[string]any); mcp && obj {
		v = textResult(hint)
	} else {
		v = mask(v, hint, 0)
	}
	b, err := action.Canonical(v)
	if err != nil {
		return jsontext.Value(`""`)
	}
	return b
}

// word reports whether a member's name is one that a tool's author wrote.
func word(name string) bool {
	return len(name) <= 32 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_") == ""
}

func mask(v any, hint string, depth int) any {
	switch t := v.(type) {
	case string:
		return hint
	case float64:
		return 0
	case map[string]any:
		out := map[string]any{}
		for name, m := range t {
			if depth < 8 && word(name) {
				out[name] = mask(m, hint, depth+1)
			}
		}
		return out
	case []any:
		return []any{}
	}
	return v // true, false and null
}
