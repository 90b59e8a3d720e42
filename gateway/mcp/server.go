// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// FromServer judges one message of the server. stream is the id key of the request on whose own stream it
// came, as HTTP has it, or "".
func (c *Conn) FromServer(ctx context.Context, stream string, raw []byte) Step {
	if c.gate.blind {
		return Step{Forward: raw}
	}
	m, err := readServer(raw, c.gate.cfg.MessageBytes)
	if err != nil {
		c.malformed(ctx, "server")
		return Step{}
	}
	switch m.kind {
	case kindRequest:
		return c.asked(ctx, stream, &m)
	case kindNotification:
		return c.notice(ctx, stream, &m)
	}
	p := c.take(c.client, m.key)
	if p == nil {
		c.malformed(ctx, "reply")
		return Step{}
	}
	return Step{Forward: c.reply(ctx, &m, p)}
}

// reply passes the answer to a client's request through the second gate.
func (c *Conn) reply(ctx context.Context, m *message, p *pending) []byte {
	if p.action == "" {
		if !empty(m) {
			c.malformed(ctx, "server")
			return errorReply(p.id, codeInternal, "the server's answer holds what this method never answers; it is withheld")
		}
		return m.raw
	}
	if m.kind == kindError {
		return c.settle(ctx, m, p, enforce.Outcome{Status: action.ResultFailed, Kind: "error", Content: m.err})
	}
	if kind, _ := text(member(m.result, "resultType")); kind == "input_required" && p.plan.class == classAct {
		return c.inputRequired(ctx, m, p)
	}
	result, err := c.shape(ctx, m, p)
	if err != nil {
		c.malformed(ctx, "list")
		// The list never reaches the agent, so the outcome is that it failed.
		_, _ = c.gate.cfg.Enforcer.After(ctx, &c.peer.Subject, p.action,
			enforce.Outcome{Status: action.ResultFailed, Kind: "error", Content: quote("withheld")})
		return errorReply(p.id, codeInternal, "the server's list cannot be released")
	}
	out := *m
	if string(result) != string(m.result) {
		out.result, out.raw = result, resultReply(m.id, result)
	}
	return c.settle(ctx, &out, p, enforce.Outcome{Status: outcomeStatus(result), Content: result, Opaque: opaque(result)})
}

// outcomeStatus says whether a result reports success; a tool says so with isError.
func outcomeStatus(result []byte) action.ResultStatus {
	if string(member(result, "isError")) == "true" {
		return action.ResultFailed
	}
	return action.ResultDone
}

// settle hands an outcome in and returns what goes to the client.
func (c *Conn) settle(ctx context.Context, m *message, p *pending, o enforce.Outcome) []byte {
	rel, err := c.gate.cfg.Enforcer.After(ctx, &c.peer.Subject, p.action, o)
	if err != nil {
		return refusal(p.id, &p.plan, fmt.Sprintf("The call was executed, but its result cannot be recorded and is withheld. "+
			"Do not repeat the call. (action %s)", p.action))
	}
	return c.released(p.id, &p.plan, rel, m)
}

// released turns a release into the client's answer. m is the message that came back, nil if there is none.
func (c *Conn) released(id []byte, p *plan, rel enforce.Release, m *message) []byte {
	switch {
	case rel.Status != action.StatusReleased:
		return refusal(id, p, withheld(rel))
	case m != nil && !rel.Rewritten:
		return m.raw
	case m != nil && m.kind == kindError:
		if _, err := members(rel.Content); err != nil {
			return errorReply(id, codeInternal, "the server's error is withheld in part")
		}
		return object(field{"jsonrpc", []byte(`"2.0"`)}, field{"id", id}, field{"error", rel.Content})
	}
	return resultReply(id, rel.Content)
}

func withheld(rel enforce.Release) string {
	hint := rel.Hint
	if hint == "" {
		hint = "It was executed; its result is withheld. Do not repeat it."
	}
	if rel.Ticket != "" {
		hint += fmt.Sprintf(" A person can release it: sallyport approvals approve %s", rel.Ticket)
	}
	return fmt.Sprintf("Sallyport withholds this result. %s (action %s)", hint, rel.ID)
}

// Oversize settles a request whose answer was too large to hold: it is withheld whole, and the action's id
// is the handle. key is the id key of the answer, digest and size what was seen of it.
func (c *Conn) Oversize(ctx context.Context, key string, size int64, digest string) Step {
	p := c.take(c.client, key)
	if p == nil {
		c.malformed(ctx, "reply")
		return Step{}
	}
	msg := fmt.Sprintf("The call was executed. Its result of %d bytes is larger than may be held and is withheld whole. "+
		"Do not repeat the call; ask for less. (action %s)", size, p.action)
	if p.action != "" {
		content := object(field{"withheld", quote("too large")}, field{"bytes", []byte(fmt.Sprint(size))}, field{"digest", quote(digest)})
		if _, err := c.gate.cfg.Enforcer.After(ctx, &c.peer.Subject, p.action,
			enforce.Outcome{Status: action.ResultDone, Content: content, Opaque: true}); err != nil {
			msg += " (not recorded)"
		}
	}
	return Step{Forward: refusal(p.id, &p.plan, msg)}
}

// shape does what the protocol asks of an intermediary that judges lists for one subject.
func (c *Conn) shape(ctx context.Context, m *message, p *pending) ([]byte, error) {
	switch p.plan.method {
	case methodTools:
		return c.tools(ctx, m.result, p.first)
	case methodInitialize:
		c.mu.Lock()
		c.relists = string(member(member(member(m.result, "capabilities"), "tools"), "listChanged")) == "true"
		c.mu.Unlock()
	case methodDiscover, "prompts/list", "resources/list", "resources/templates/list", methodRead:
		return c.private(m.result), nil
	}
	return m.result, nil
}

// notice judges a notification of the server.
func (c *Conn) notice(ctx context.Context, stream string, m *message) Step {
	if c.wordless(m) {
		return Step{Forward: m.raw}
	}
	id := ""
	if m.method == noteProgress {
		key, err := idKey(member(m.params, "progressToken"))
		c.mu.Lock()
		if p := c.tokens[key]; err == nil && p != nil && p.ready {
			id = p.action
		}
		c.mu.Unlock()
		if id == "" {
			c.malformed(ctx, "progress")
			return Step{}
		}
	} else if id = c.about(ctx, stream); id == "" {
		return Step{}
	}
	params, ok := c.chunk(ctx, id, outcomeKind(m.method), m.params)
	if !ok && m.method != noteProgress {
		// The connection's own action may have lapsed in a quiet hour; a new one takes its place.
		if next := c.about(ctx, stream); next != "" && next != id {
			params, ok = c.chunk(ctx, next, outcomeKind(m.method), m.params)
		}
	}
	switch {
	case !ok:
		return Step{}
	case params == nil:
		return Step{Forward: m.raw}
	}
	return Step{Forward: requestMessage(m, params)}
}

// wordless reports whether a notification carries nothing of the server's own: no parameters, or only the
// name of the subscription that it belongs to.
func (c *Conn) wordless(m *message) bool {
	switch m.method {
	case "notifications/tools/list_changed", "notifications/prompts/list_changed", "notifications/resources/list_changed":
	default:
		return false
	}
	ms, _ := members(m.params)
	for _, f := range ms {
		if f.name != "_meta" {
			return false
		}
		inner, err := members(f.value)
		if err != nil {
			return false
		}
		for _, x := range inner {
			key, err := idKey(x.value)
			c.mu.Lock()
			known := err == nil && c.client[key] != nil
			c.mu.Unlock()
			if x.name != metaSubscription || !known {
				return false
			}
		}
	}
	return true
}

// chunk passes text through the second gate on behalf of an action. It returns the content to release
// instead of the original, nil for the original, and false when nothing may be released.
func (c *Conn) chunk(ctx context.Context, id, kind string, content []byte) ([]byte, bool) {
	if content == nil {
		content = []byte("{}")
	}
	rel, err := c.gate.cfg.Enforcer.Chunk(ctx, &c.peer.Subject, id,
		enforce.Outcome{Status: action.ResultDone, Kind: kind, Content: content, Opaque: opaque(content)})
	if errors.Is(err, enforce.ErrState) || errors.Is(err, enforce.ErrNotFound) {
		c.lapsed(id)
	}
	if err != nil || rel.Status != action.StatusReleased {
		return nil, false
	}
	if rel.Rewritten {
		return rel.Content, true
	}
	return nil, true
}

// asked judges a request of the server to the client.
func (c *Conn) asked(ctx context.Context, stream string, m *message) Step {
	class := serverRequests[m.method]
	if class == classUnknown {
		c.malformed(ctx, "method")
		return Step{Reply: errorReply(m.id, codeMethod, "the method is not one that passes here")}
	}
	p := &pending{id: bytes.Clone(m.id), key: m.key, plan: plan{class: class, method: m.method, typ: "message", tool: m.method, args: []byte("{}")}}
	if err := c.reserve(c.server, p); err != nil {
		c.malformed(ctx, "pending")
		return Step{Reply: errorReply(m.id, codeInvalid, err.Error())}
	}
	s := c.judgeServer(ctx, m, p)
	if s.Forward == nil {
		c.drop(c.server, p)
	} else {
		c.ready(p)
	}
	return s
}

func (c *Conn) judgeServer(ctx context.Context, m *message, p *pending) Step {
	if p.plan.class == classBare {
		if len(m.params) > len("{}") {
			c.malformed(ctx, "params")
			return Step{Reply: errorReply(m.id, codeParams, errParams.Error())}
		}
		return Step{Forward: m.raw}
	}
	if m.params != nil {
		p.plan.args = m.params
	}
	adm, err := c.gate.cfg.Enforcer.Before(ctx, c.attempt(&p.plan))
	if err != nil {
		return Step{Reply: c.fault(m.id, err)}
	}
	if adm.Verdict != action.Allow || adm.Release != nil {
		return Step{Reply: errorReply(m.id, codeRefused, "this request is not permitted")}
	}
	p.action = adm.ID
	params, ok := c.chunk(ctx, adm.ID, outcomeKind(m.method), adm.Arguments)
	if !ok {
		_, _ = c.gate.cfg.Enforcer.After(ctx, &c.peer.Subject, adm.ID,
			enforce.Outcome{Status: action.ResultFailed, Kind: "error", Content: quote("withheld")})
		return Step{Reply: errorReply(m.id, codeRefused, "this request is not permitted")}
	}
	if params == nil && !adm.Rewritten {
		return Step{Forward: m.raw}
	}
	if params == nil {
		params = adm.Arguments
	}
	return Step{Forward: requestMessage(m, params)}
}

// empty reports whether the answer to a bare request says nothing.
func empty(m *message) bool {
	if m.kind == kindError {
		return len(m.err) <= 256 // a short refusal; longer text would pass no gate
	}
	ms, err := members(m.result)
	if err != nil {
		return false
	}
	for _, f := range ms {
		if f.name != "resultType" && f.name != "_meta" || len(f.value) > 256 {
			return false
		}
	}
	return true
}
