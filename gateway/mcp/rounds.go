// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"context"
	"sync"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// The bounds of calls that wait for a client's next round, in all and of one caller: no caller may use up
// the places of the others.
const (
	maxRooms       = 4096
	maxCallerRooms = 64
)

// room is an admitted call whose server asked for input. The action stays open: the retry is its next
// round, not a second call, so that one approval holds for all of them.
type room struct {
	caller   string
	action   string
	executed []byte            // as pending.executed
	inputs   map[string]string // the server's question to the action that its answer settles
	expires  time.Time
}

// rooms keeps open rounds by what their retry must repeat. Its methods are safe for concurrent use.
type rooms struct {
	now func() time.Time
	ttl time.Duration

	mu   sync.Mutex
	open map[string][]room // guarded by mu, as all below
	held map[string]int    // by caller
	n    int
}

func (r *rooms) put(key string, x room) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == nil {
		r.open, r.held = map[string][]room{}, map[string]int{}
	}
	if r.full(x.caller) {
		r.sweep()
	}
	if r.full(x.caller) {
		return false
	}
	x.expires = r.now().Add(r.ttl)
	r.open[key] = append(r.open[key], x)
	r.held[x.caller]++
	r.n++
	return true
}

func (r *rooms) full(caller string) bool { return r.n >= maxRooms || r.held[caller] >= maxCallerRooms }

// sweep drops what has expired; the oldest of a key stand first.
func (r *rooms) sweep() {
	for k := range r.open {
		for len(r.open[k]) > 0 && !r.now().Before(r.open[k][0].expires) {
			r.pop(k)
		}
	}
}

// pop removes the oldest room for key, which must exist.
func (r *rooms) pop(key string) room {
	x := r.open[key][0]
	if r.open[key] = r.open[key][1:]; len(r.open[key]) == 0 {
		delete(r.open, key)
	}
	if r.held[x.caller]--; r.held[x.caller] == 0 {
		delete(r.held, x.caller)
	}
	r.n--
	return x
}

// take returns the oldest room for key and forgets it: a round is continued once.
func (r *rooms) take(key string) (room, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.open[key]) > 0 {
		if x := r.pop(key); r.now().Before(x.expires) {
			return x, true
		}
	}
	return room{}, false
}

func (c *Conn) roomKey(target, state string, has bool) string {
	if !has {
		return digest(c.principal(), target)
	}
	return digest(c.principal(), target, state)
}

// inputRequired passes a server's questions through: each is an action of its own, settled by the client's
// answer to it, and the whole result passes the second gate as a chunk of the call.
func (c *Conn) inputRequired(ctx context.Context, m *message, p *pending) []byte {
	refuse := func(why string) []byte {
		_, _ = c.gate.cfg.Enforcer.After(ctx, &c.peer.Subject, p.action,
			enforce.Outcome{Status: action.ResultFailed, Kind: "error", Content: quote("input refused")})
		return refusal(p.id, &p.plan, why)
	}
	x := room{caller: c.principal(), action: p.action, executed: p.executed, inputs: map[string]string{}}
	asks, _ := members(member(m.result, "inputRequests"))
	for _, f := range asks {
		method, _ := text(member(f.value, "method"))
		if serverRequests[method] != classAct || len(x.inputs) >= 64 || f.name == askKey {
			return refuse("The server asked for input that may not be asked for; the call was not completed.")
		}
		q := plan{class: classAct, method: method, typ: "message", tool: method, args: []byte("{}")}
		if params := member(f.value, "params"); len(params) > 0 && params[0] == '{' {
			q.args = params
		}
		adm, err := c.gate.cfg.Enforcer.Before(ctx, c.attempt(&q))
		if err != nil || adm.Verdict != action.Allow || adm.Rewritten || adm.Release != nil {
			return refuse("The server asked for input that is not permitted; the call was not completed.")
		}
		x.inputs[f.name] = adm.ID
	}
	content, ok := c.chunk(ctx, p.action, "elicitation", m.result)
	if !ok {
		return refuse("The server's question is withheld; the call was not completed.")
	}
	state, has := text(member(m.result, "requestState"))
	if p.target == "" || has && len(state) > maxStateBytes || !c.gate.rooms.put(c.roomKey(p.target, state, has), x) {
		return refuse("Too many calls wait for input; the call was not completed.")
	}
	if content == nil {
		return m.raw
	}
	return resultReply(p.id, content)
}

// resumeTheirs continues a call whose server asked for input. The answers are what settles the server's
// questions; answers to anything else go no further.
func (c *Conn) resumeTheirs(ctx context.Context, m *message, r *pending, params []byte) ([]byte, *Step) {
	p := &r.plan
	x, ok := c.gate.rooms.take(c.roomKey(c.target(p), p.state, p.hasState))
	switch {
	case !ok && p.hasState:
		c.malformed(ctx, "state")
		return nil, &Step{Reply: errorReply(m.id, codeParams, errState.Error())}
	case !ok: // answers that nobody asked for go no further; the call is judged as a new one
		return with(params, "inputResponses", nil), nil
	}
	answers, _ := members(p.responses)
	kept, dropped := []field{}, false
	for _, f := range answers {
		id, asked := x.inputs[f.name]
		if !asked {
			dropped = true
			continue
		}
		delete(x.inputs, f.name)
		rel, err := c.gate.cfg.Enforcer.After(ctx, &c.peer.Subject, id,
			enforce.Outcome{Status: action.ResultDone, Content: f.value, Opaque: opaque(f.value)})
		if err != nil || rel.Status != action.StatusReleased {
			return nil, &Step{Reply: refusal(m.id, p, "The answer may not leave; the call was not completed.")}
		}
		if rel.Rewritten {
			f.value, dropped = rel.Content, true
		}
		kept = append(kept, f)
	}
	for _, id := range x.inputs { // questions that the client left open
		_, _ = c.gate.cfg.Enforcer.After(ctx, &c.peer.Subject, id,
			enforce.Outcome{Status: action.ResultFailed, Kind: "error", Content: quote("no answer")})
	}
	// The call itself goes on: recorded as its next round, and stopped here if it was killed meanwhile.
	if _, ok := c.chunk(ctx, x.action, "elicitation", object(kept...)); !ok {
		return nil, &Step{Reply: refusal(m.id, p, "The call may not go on; it was not completed.")}
	}
	if dropped {
		params = with(params, "inputResponses", object(kept...))
	}
	adm := enforce.Admission{ID: x.action, Verdict: action.Allow, Arguments: x.executed, Rewritten: x.executed != nil}
	s := c.forward(m, r, adm, params)
	return nil, &s
}
