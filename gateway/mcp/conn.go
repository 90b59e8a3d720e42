// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// Conn is one conversation between a client and a server: a stdio connection, a session of 2025-11-25, or
// one request of 2026-07-28. It is safe for concurrent use; a transport that has an order of messages
// feeds each direction from one goroutine, and gets releases in that order.
type Conn struct {
	gate *Gate
	peer Peer
	up   Upstream

	mu       sync.Mutex
	client   map[string]*pending // requests of the client, by id; guarded by mu, as all below
	server   map[string]*pending // requests of the server, by id
	tokens   map[string]*pending // requests of the client, by progress token
	listen   string              // action under which text outside any request passes; "" if none yet
	refused  bool                // that action was refused: such text is dropped
	closed   bool
	relists  bool       // the server said that its list of tools may change
	listenMu sync.Mutex // serialises the opening of listen
}

// pending is a request that was forwarded and is not answered yet.
type pending struct {
	id       []byte // raw, as the requester wrote it
	key      string
	plan     plan   // without its raw bytes once the request is forwarded
	target   string // what a retry must repeat, see Conn.target; "" where there are no retries
	first    bool   // the request names no cursor
	action   string // "" for a bare request
	executed []byte // the rewritten arguments, nil where the original ones were forwarded
	canceled bool
	cancel   func() // ends the wait for people; nil while nobody waits
	ready    bool   // forwarded; an answer before that answers nothing
}

// Conn opens a conversation. Close ends it.
func (g *Gate) Conn(p Peer, up Upstream) *Conn {
	return &Conn{gate: g, peer: p, up: up, client: map[string]*pending{}, server: map[string]*pending{},
		tokens: map[string]*pending{}}
}

func (c *Conn) malformed(ctx context.Context, code string) {
	c.gate.cfg.Enforcer.Malformed(ctx, action.DoorMCP, c.peer.Source, code)
}

func (c *Conn) attempt(p *plan) enforce.Attempt {
	model, _ := text(member(p.meta, metaToolUse))
	return enforce.Attempt{
		Subject: c.peer.Subject, Session: c.peer.Session, ModelCall: model, Name: p.method, Type: p.typ, Server: c.up.Name, Tool: p.tool,
		Arguments: p.args, Grade: c.peer.Grade, Separation: c.peer.Separation, Confined: c.peer.Confined, Roots: c.peer.Roots,
	}
}

// reserve takes a slot for a request before it is judged, so that two requests with one id cannot both
// pass.
func (c *Conn) reserve(table map[string]*pending, p *pending) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errClosed
	}
	if table[p.key] != nil {
		return errDuplicate
	}
	if len(table) >= c.gate.cfg.Pending && !evict(table) {
		return errFull
	}
	if p.plan.token != "" && c.tokens[p.plan.token] != nil {
		return errDuplicate
	}
	table[p.key] = p
	if p.plan.token != "" {
		c.tokens[p.plan.token] = p
	}
	return nil
}

// evict drops one cancelled request; the answer to it may never come.
func evict(table map[string]*pending) bool {
	for k, p := range table {
		if p.canceled && p.ready {
			delete(table, k)
			return true
		}
	}
	return false
}

var (
	errClosed    = errors.New("the connection is closed")
	errDuplicate = errors.New("a request with this id or progress token is open")
	errFull      = errors.New("too many requests are open")
)

// drop forgets a request that was not forwarded.
func (c *Conn) drop(table map[string]*pending, p *pending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if table[p.key] == p {
		delete(table, p.key)
	}
	if p.plan.token != "" && c.tokens[p.plan.token] == p {
		delete(c.tokens, p.plan.token)
	}
}

// take returns and forgets the forwarded request with the given key: the first answer wins.
func (c *Conn) take(table map[string]*pending, key string) *pending {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := table[key]
	if p == nil || !p.ready {
		return nil
	}
	delete(table, key)
	if p.plan.token != "" {
		delete(c.tokens, p.plan.token)
	}
	return p
}

// ready opens a forwarded request for its answer. It lets go of the message's bytes, so that many open
// requests hold little.
func (c *Conn) ready(p *pending) {
	if p.plan.class == classAct && p.plan.version >= stateless {
		p.target = c.target(&p.plan)
	}
	p.first = member(p.plan.args, "cursor") == nil
	p.plan.args, p.plan.meta, p.plan.lean, p.plan.responses, p.plan.state = nil, nil, nil, nil, ""
	c.mu.Lock()
	p.ready = true
	c.mu.Unlock()
}

// about returns the action that a message outside any answer belongs to: the request whose stream it came
// on, else the only open one, else the connection's own.
func (c *Conn) about(ctx context.Context, stream string) string {
	c.mu.Lock()
	if p := c.client[stream]; p != nil && p.action != "" && p.ready {
		c.mu.Unlock()
		return p.action
	}
	only, n := "", 0
	for _, p := range c.client {
		if p.action != "" && p.ready {
			only, n = p.action, n+1
		}
	}
	c.mu.Unlock()
	if n == 1 {
		return only
	}
	return c.listening(ctx)
}

// listening returns the action under which text outside any request passes, opening it at first use.
func (c *Conn) listening(ctx context.Context) string {
	c.listenMu.Lock()
	defer c.listenMu.Unlock()
	c.mu.Lock()
	id, refused := c.listen, c.refused || c.closed
	c.mu.Unlock()
	if id != "" || refused {
		return id
	}
	p := plan{method: methodListen, typ: "message", tool: methodListen, args: []byte("{}")}
	adm, err := c.gate.cfg.Enforcer.Before(ctx, c.attempt(&p))
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		return "" // a fault of ours may pass; the next message tries again
	}
	if adm.Verdict != action.Allow {
		c.refused = true
		return ""
	}
	c.listen = adm.ID
	return c.listen
}

// lapsed forgets the connection's own action if it is id and has ended.
func (c *Conn) lapsed(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.listen == id {
		c.listen = ""
	}
}

// Beat puts off the outcome deadlines of all open actions of the connection.
func (c *Conn) Beat() {
	c.mu.Lock()
	ids := []string{c.listen}
	for _, t := range []map[string]*pending{c.client, c.server} {
		for _, p := range t {
			ids = append(ids, p.action)
		}
	}
	c.mu.Unlock()
	for _, id := range ids {
		if id != "" {
			_ = c.gate.cfg.Enforcer.Heartbeat(&c.peer.Subject, id) // a lapsed deadline is recorded there
		}
	}
}

// Close ends the conversation: nothing passes any more. It returns the answers for the client's open
// requests. What became of their actions is not known, and the record will say so.
func (c *Conn) Close(ctx context.Context, why string) [][]byte {
	c.mu.Lock()
	c.closed = true
	listen := c.listen
	c.listen = ""
	var out [][]byte
	for _, p := range c.client {
		if p.cancel != nil {
			p.cancel()
		}
		out = append(out, errorReply(p.id, codeInternal, lostText(p, why)))
	}
	clear(c.client)
	clear(c.server)
	clear(c.tokens)
	c.mu.Unlock()
	if listen != "" {
		_, _ = c.gate.cfg.Enforcer.After(ctx, &c.peer.Subject, listen, enforce.Outcome{Status: action.ResultDone, Content: []byte("{}")})
	}
	return out
}

func lostText(p *pending, why string) string {
	msg := why + "; what became of this request is unknown"
	if p.action != "" {
		msg += fmt.Sprintf(", do not repeat it blindly (action %s)", p.action)
	}
	return msg
}
