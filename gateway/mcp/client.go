// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// FromClient judges one message of the client. It never blocks on people.
func (c *Conn) FromClient(ctx context.Context, raw []byte) Step {
	if c.gate.blind {
		return Step{Forward: raw}
	}
	m, err := readClient(raw, c.gate.cfg.MessageBytes)
	if err != nil {
		return c.unreadable(ctx, err)
	}
	return c.message(ctx, &m)
}

// message is FromClient for a message that was read.
func (c *Conn) message(ctx context.Context, m *message) Step {
	if c.gate.blind {
		return Step{Forward: m.raw}
	}
	switch m.kind {
	case kindRequest:
		return c.request(ctx, m)
	case kindNotification:
		return c.note(ctx, m)
	}
	return c.answer(ctx, m)
}

// unreadable answers a message that is not one. The id is null: an id out of bytes that two readers may
// read differently is nobody's.
func (c *Conn) unreadable(ctx context.Context, err error) Step {
	code, what := codeParse, "json"
	if !errors.Is(err, action.ErrStrict) {
		code, what = codeInvalid, "envelope"
	}
	c.malformed(ctx, what)
	return Step{Reply: errorReply(nil, code, err.Error())}
}

func (c *Conn) request(ctx context.Context, m *message) Step {
	if clientRequests[m.method] == classUnknown || slices.Contains(removed, m.method) && metaRevision(m) >= stateless {
		c.malformed(ctx, "method")
		return Step{Reply: errorReply(m.id, codeMethod, "the method is not one that passes here")}
	}
	p, err := read(m)
	if err != nil {
		c.malformed(ctx, "params")
		return Step{Reply: errorReply(m.id, codeParams, err.Error())}
	}
	if p.version != "" && !knownRevision(p.version) {
		return Step{Reply: versionReply(m.id, p.version)}
	}
	r := &pending{id: bytes.Clone(m.id), key: m.key, plan: p}
	if err := c.reserve(c.client, r); err != nil {
		c.malformed(ctx, "pending")
		return Step{Reply: errorReply(m.id, codeInvalid, err.Error())}
	}
	return c.settled(r, c.judge(ctx, m, r))
}

// settled keeps the slot of a request that goes on or waits, and frees that of any other.
func (c *Conn) settled(r *pending, s Step) Step {
	switch {
	case s.Later != nil:
		wait := s.Later
		s.Later = func(ctx context.Context) Step { return c.settled(r, wait(ctx)) }
	case s.Forward == nil:
		c.drop(c.client, r)
	default:
		c.ready(r)
	}
	return s
}

// judge passes a request through the first gate.
func (c *Conn) judge(ctx context.Context, m *message, r *pending) Step {
	p := &r.plan
	if p.class == classBare {
		if !p.bare(m) {
			c.malformed(ctx, "params")
			return Step{Reply: errorReply(m.id, codeParams, errParams.Error())}
		}
		return Step{Forward: m.raw}
	}
	params := m.params
	if p.lean != nil {
		params = with(params, "_meta", p.lean)
	}
	if p.hasState || p.responses != nil {
		var s *Step
		if params, s = c.resume(ctx, m, r, params); s != nil {
			return *s
		}
	}
	adm, err := c.gate.cfg.Enforcer.Before(ctx, c.attempt(p))
	if err != nil {
		return Step{Reply: c.fault(m.id, err)}
	}
	if adm.Verdict == action.Ask {
		if question := c.ask(m, p, adm); question != nil {
			return Step{Reply: question}
		}
		if c.peer.Patience > 0 && adm.Ticket != "" {
			return Step{Later: func(ctx context.Context) Step { return c.await(ctx, m, r, adm, params) }}
		}
	}
	return c.admitted(m, r, adm, params)
}

// admitted turns an admission into what it means for the request.
func (c *Conn) admitted(m *message, r *pending, adm enforce.Admission, params []byte) Step {
	p := &r.plan
	switch adm.Verdict {
	case action.Allow:
		if adm.Release != nil { // it ran before: its stored answer is the answer
			return Step{Reply: c.released(m.id, p, *adm.Release, nil)}
		}
		return c.forward(m, r, adm, params)
	case action.Ask:
		return Step{Reply: refusal(m.id, p, ticket(adm))}
	}
	return Step{Reply: refusal(m.id, p, denial(adm))}
}

// await waits for people as long as the peer has patience and the client has not taken the request back.
func (c *Conn) await(ctx context.Context, m *message, r *pending, asked enforce.Admission, params []byte) Step {
	ctx, cancel := context.WithTimeout(ctx, min(c.peer.Patience, MaxPatience))
	defer cancel()
	c.mu.Lock()
	r.cancel = cancel
	gone := r.canceled || c.closed
	c.mu.Unlock()
	if gone {
		return Step{}
	}
	adm, err := c.gate.cfg.Enforcer.Wait(ctx, &c.peer.Subject, asked.ID)
	c.mu.Lock()
	gone = r.canceled || c.closed
	c.mu.Unlock()
	switch {
	case gone && (err != nil || adm.Verdict != action.Allow):
		return Step{}
	case err != nil:
		return Step{Reply: c.fault(m.id, err)}
	case gone: // granted in the same moment: it was admitted, and will not be run
		_, _ = c.gate.cfg.Enforcer.After(context.WithoutCancel(ctx), &c.peer.Subject, adm.ID,
			enforce.Outcome{Status: action.ResultFailed, Kind: "error", Content: quote("not run: taken back by the client")})
		return Step{}
	}
	if adm.Ticket == "" {
		adm.Ticket, adm.Expires = asked.Ticket, asked.Expires
	}
	return c.admitted(m, r, adm, params)
}

// forward sends an admitted request on: its own bytes, unless something in them had to change.
func (c *Conn) forward(m *message, r *pending, adm enforce.Admission, params []byte) Step {
	r.action = adm.ID
	if !adm.Rewritten {
		if string(params) == string(m.params) {
			return Step{Forward: m.raw}
		}
		return Step{Forward: requestMessage(m, params)}
	}
	r.executed = adm.Arguments
	stripped := *m
	stripped.params = params
	params, err := r.plan.rewrite(&stripped, adm.Arguments)
	if err != nil {
		return Step{Reply: errorReply(m.id, codeInternal, "the arguments that policy demands do not fit the request; nothing was done")}
	}
	return Step{Forward: requestMessage(m, params)}
}

// bare reports whether a request that is no action carries nothing that would have to be judged.
func (p *plan) bare(m *message) bool {
	ms, _ := members(m.params)
	for _, f := range ms {
		level, _ := text(f.value)
		if f.name != "_meta" && (f.name != "level" || !slices.Contains(logLevels, level)) {
			return false
		}
	}
	return p.lean == nil
}

// note judges a notification of the client.
func (c *Conn) note(ctx context.Context, m *message) Step {
	if !slices.Contains(clientNotes, m.method) {
		c.malformed(ctx, "notification")
		return Step{}
	}
	if len(m.params) > maxNoteBytes {
		c.malformed(ctx, "notification")
		return Step{}
	}
	if m.method == noteCancelled {
		key, err := idKey(member(m.params, "requestId"))
		c.mu.Lock()
		defer c.mu.Unlock()
		p := c.client[key]
		if err != nil || p == nil {
			return Step{} // the answer has gone out already, or there never was such a request
		}
		p.canceled = true
		if !p.ready { // it waits for people: the server has not heard of it
			if p.cancel != nil {
				p.cancel()
			}
			return Step{}
		}
	}
	return Step{Forward: m.raw}
}

// answer passes what the client answers to a request of the server through the second gate: it leaves
// for the server.
func (c *Conn) answer(ctx context.Context, m *message) Step {
	p := c.take(c.server, m.key)
	if p == nil {
		c.malformed(ctx, "answer")
		return Step{}
	}
	if p.action == "" {
		return Step{Forward: m.raw}
	}
	o := enforce.Outcome{Status: action.ResultDone, Content: m.result, Opaque: opaque(m.result)}
	if m.kind == kindError {
		o = enforce.Outcome{Status: action.ResultFailed, Kind: "error", Content: m.err}
	}
	rel, err := c.gate.cfg.Enforcer.After(ctx, &c.peer.Subject, p.action, o)
	switch {
	case err != nil || rel.Status != action.StatusReleased:
		return Step{Forward: errorReply(m.id, codeRefused, "the client's answer may not leave")}
	case !rel.Rewritten:
		return Step{Forward: m.raw}
	case m.kind == kindError:
		return Step{Forward: errorReply(m.id, codeRefused, "the client refused")}
	}
	return Step{Forward: resultReply(m.id, rel.Content)}
}

// fault is the answer to a request that was not judged, or not recorded: nothing was done.
func (c *Conn) fault(id []byte, err error) []byte {
	switch {
	case errors.Is(err, enforce.ErrMalformed):
		return errorReply(id, codeParams, "the request is malformed; nothing was done")
	case errors.Is(err, enforce.ErrUnrecorded):
		return errorReply(id, codeInternal, "the action cannot be recorded; nothing was done")
	case errors.Is(err, enforce.ErrBusy):
		return errorReply(id, codeInternal, "too many actions are open; nothing was done")
	}
	return errorReply(id, codeInternal, "the gate is out of order; nothing was done")
}

func versionReply(id []byte, asked string) []byte {
	list := []byte{'['}
	for i, v := range revisions {
		if i > 0 {
			list = append(list, ',')
		}
		list = append(list, quote(v)...)
	}
	data := object(field{"supported", append(list, ']')}, field{"requested", quote(action.Clip(asked, 64))})
	e := object(field{"code", []byte(fmt.Sprint(codeVersion))}, field{"message", quote("Unsupported protocol version")}, field{"data", data})
	return object(field{"jsonrpc", []byte(`"2.0"`)}, field{"id", id}, field{"error", e})
}

func denial(adm enforce.Admission) string {
	hint := adm.Hint
	if hint == "" {
		hint = "This call is not permitted."
	}
	return fmt.Sprintf("Sallyport did not run this call. %s (action %s)", hint, adm.ID)
}

// ticket tells the agent how a person can approve the call.
func ticket(adm enforce.Admission) string {
	hint := adm.Hint
	if hint == "" {
		hint = "A person has to approve this call."
	}
	until := ""
	if !adm.Expires.IsZero() {
		until = fmt.Sprintf(" until %s", adm.Expires.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("Sallyport has not run this call yet. %s Ticket %s is open%s. A person can approve it in the console or with: "+
		"sallyport approvals approve %s. Then make exactly the same call again; it will run once. (action %s)",
		hint, adm.Ticket, until, adm.Ticket, adm.ID)
}

// refusal says no in the form that the method has for it: a result that the model can read for a tool, an
// error for everything else.
func refusal(id []byte, p *plan, why string) []byte {
	if p.method != methodCall {
		return errorReply(id, codeRefused, why)
	}
	return resultReply(id, toolText(p, why))
}

// toolText is a tool's result of one text that is an error.
func toolText(p *plan, why string) []byte {
	content := append(append([]byte{'['}, object(field{"type", []byte(`"text"`)}, field{"text", quote(why)})...), ']')
	fs := []field{{"content", content}, {"isError", []byte("true")}}
	if p.version >= stateless {
		fs = append([]field{{"resultType", []byte(`"complete"`)}}, fs...)
	}
	return object(fs...)
}
