// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway/hook"
)

// exchange is one request and its answer.
type exchange struct {
	d       *door
	p       *provider
	api     string
	sub     action.Subject
	sep     action.Separation
	grade   action.Grade
	walls   []string
	host    bool
	session string
	server  string // of tools whose name tells none
	nonce   string // makes call ids of this answer ours: some providers count from 0 in each
	asked   *asked

	respond  enforce.Admission
	features []string // actions under way
	thought  string   // the model's reasoning so far
	rulings  map[string]ruling
}

func (x *exchange) attempt(name, kind, server, tool string, args []byte) enforce.Attempt {
	return enforce.Attempt{Subject: x.sub, Session: x.session, Name: name, Type: kind, Server: server, Tool: tool, Arguments: args,
		Grade: x.grade, Separation: x.sep, Confined: x.walls, Claimed: true}
}

// refusal is why a request does not leave, in words for the agent.
type refusal string

func (r refusal) Error() string { return string(r) }

// admit states what the request says and asks whether it may leave. The words and the answer's own action
// are recorded at the same time.
func (x *exchange) admit(ctx context.Context) error {
	var wg sync.WaitGroup
	var errs [3]error
	wg.Go(func() { errs[0] = x.hear(ctx, "user", x.asked.user) })
	wg.Go(func() { errs[1] = x.hear(ctx, "system", x.asked.system) })
	wg.Go(func() {
		a := x.attempt("respond", "message", x.p.name, x.asked.model, encode(map[string]any{"api": x.api, "model": x.asked.model, "stream": x.asked.stream}))
		a.Claimed = false // the answer goes through our hands
		x.respond, errs[2] = x.d.cfg.Enforcer.Before(ctx, a)
	})
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	if x.respond.Verdict != action.Allow {
		return refusal(stopped("An answer of "+x.asked.model, x.respond))
	}
	for _, f := range x.asked.features {
		adm, err := x.d.cfg.Enforcer.Before(ctx, x.attempt("llm/feature", "tool", x.p.name, f.name, f.args))
		if err != nil {
			return err
		}
		if adm.Verdict == action.Allow {
			x.features = append(x.features, adm.ID)
		}
		if adm.Verdict != action.Allow || adm.Rewritten {
			return refusal(stopped("The request uses "+f.name+", which", adm))
		}
	}
	return nil
}

// hear adds what is new of texts to the session.
func (x *exchange) hear(ctx context.Context, role string, texts []string) error {
	var fresh []string
	var keys [][32]byte
	for _, t := range texts {
		k := digest(x.session, role, t)
		if _, ok := x.d.said.get(k); ok || t == "" {
			continue
		}
		fresh, keys = append(fresh, t), append(keys, k)
	}
	said := enforce.Said{Kind: action.PartUserRequest, By: action.AssertedAgent}
	if x.host {
		said.By = action.AssertedLLMRole
	}
	for rest := strings.Join(fresh, "\n\n"); rest != ""; {
		part := action.Clip(rest, 512<<10)
		rest = rest[len(part):]
		said.Text = []byte(part)
		if role != "user" {
			said.Kind, said.Text = action.PartDetail, labelled(role, part)
		}
		if err := x.d.cfg.Enforcer.Say(ctx, &x.sub, x.session, said); err != nil {
			return err
		}
	}
	for _, k := range keys {
		x.d.said.put(k, struct{}{})
	}
	return nil
}

// labelled is content as the session takes it.
func labelled(source, content string) []byte {
	b, err := action.Canonical(struct {
		Source  string        `json:"source"`
		Labels  action.Labels `json:"labels"`
		Content string        `json:"content"`
	}{source, action.UnknownLabels(), content})
	if err != nil {
		return []byte("{}")
	}
	return b
}

// results takes what came back of calls through gate two, and returns what has to change of the request.
func (x *exchange) results(ctx context.Context) (edits, error) {
	e := edits{}
	for _, r := range x.asked.results {
		key := digest(x.session, r.id, string(r.content))
		now, ok := x.d.seen.get(key)
		if !ok {
			var err error
			if now, err = x.result(ctx, &r); err != nil {
				return nil, err
			}
			x.d.seen.put(key, now)
		}
		if now != nil {
			e[r.place] = now
		}
	}
	return e, nil
}

// called returns the action that a result is of: one that this door permitted, in this session.
func (x *exchange) called(ctx context.Context, call string) (string, bool, error) {
	if id, ok := x.d.calls.get(digest(x.session, call)); ok {
		return id, true, nil
	}
	if _, ours := original(call); !ours {
		return "", false, nil
	}
	id, err := x.d.cfg.Enforcer.Called(ctx, &x.sub, x.session, call)
	if errors.Is(err, enforce.ErrNotFound) {
		return "", false, nil
	}
	return id, err == nil, err
}

// result returns what stands in the place of one result; nil keeps it.
func (x *exchange) result(ctx context.Context, r *result) ([]byte, error) {
	id, ok, err := x.called(ctx, r.id)
	if err != nil {
		return nil, err
	}
	o := enforce.Outcome{Status: action.ResultDone, Kind: "result", Content: r.content, Opaque: r.opaque}
	if r.failed {
		o.Status, o.Kind = action.ResultFailed, "error"
	}
	if len(r.content) == 0 {
		o.Content, o.Opaque = []byte("null"), true
	}
	if ok {
		rel, err := x.d.cfg.Enforcer.After(ctx, &x.sub, id, o)
		switch {
		case err == nil:
			return put(rel, r), nil
		case !errors.Is(err, enforce.ErrConflict) && !errors.Is(err, enforce.ErrState) && !errors.Is(err, enforce.ErrNotFound):
			return nil, err
		}
	}
	return x.strange(ctx, r, o)
}

// put is what stands in the place of a result after gate two; nil keeps it.
func put(rel enforce.Release, r *result) []byte {
	switch {
	case len(r.content) == 0, rel.Status == action.StatusReleased && !rel.Rewritten:
		return nil
	case rel.Status == action.StatusReleased:
		return rel.Content
	}
	return quote(rel.Hint)
}

// strange takes what comes back of a call that was not judged here, or that has another outcome already, through
// both gates: as something that the agent reads, of which nobody knows where it is from.
func (x *exchange) strange(ctx context.Context, r *result, o enforce.Outcome) ([]byte, error) {
	adm, err := x.d.cfg.Enforcer.Before(ctx, x.attempt(action.NameResult, "resource", x.p.name, "result", nil))
	if err != nil {
		return nil, err
	}
	if adm.Verdict != action.Allow {
		if len(r.content) == 0 {
			return nil, nil
		}
		return quote(stopped("The result of a call that is not known here", adm)), nil
	}
	rel, err := x.d.cfg.Enforcer.After(ctx, &x.sub, adm.ID, o)
	if err != nil {
		return nil, err
	}
	return put(rel, r), nil
}

func (x *exchange) providedKey(v jsontext.Value) [32]byte {
	v = v.Clone()
	_ = v.Canonicalize() // as it is, if it has no canonical form
	return digest(x.session, "provided", string(v))
}

// provided takes what tools of the provider's gave to earlier answers through the gates, if it was not seen when it
// came. Nothing of it can be edited: what may not pass stops the request.
func (x *exchange) provided(ctx context.Context) error {
	for _, v := range x.asked.provided {
		key := x.providedKey(v)
		if _, ok := x.d.said.get(key); ok {
			continue
		}
		adm, err := x.d.cfg.Enforcer.Before(ctx, x.attempt(action.NameResult, "resource", x.p.name, "result", nil))
		if err != nil {
			return err
		}
		if adm.Verdict != action.Allow {
			return refusal(stopped("What a tool of the provider's gave", adm))
		}
		rel, err := x.d.cfg.Enforcer.After(ctx, &x.sub, adm.ID, enforce.Outcome{Status: action.ResultDone, Content: v})
		if err != nil {
			return err
		}
		if rel.Status != action.StatusReleased {
			return refusal(refused("What a tool of the provider's gave", rel.Hint))
		}
		x.d.said.put(key, struct{}{})
	}
	return nil
}

// rule judges one call. What cannot be read as a call of a tool is refused; an error means that nobody
// could judge it.
func (x *exchange) rule(ctx context.Context, c call) (ruling, error) {
	key := fmt.Sprintf("%q %q %q %s", c.kind, c.id, c.name, c.args)
	if v, ok := x.rulings[key]; ok {
		return v, nil
	}
	if len(x.rulings) >= maxCalls {
		return ruling{}, fmt.Errorf("%w: more than %d calls", errStream, maxCalls)
	}
	v, err := x.judge(ctx, c)
	if err != nil {
		return ruling{}, err
	}
	if x.rulings == nil {
		x.rulings = map[string]ruling{}
	}
	x.rulings[key] = v
	return v, nil
}

func (x *exchange) judge(ctx context.Context, c call) (ruling, error) {
	server, tool := x.toolOf(c)
	if tool == "" || len(tool) > 1024 || len(c.id) > 200 || strings.ContainsFunc(tool+c.id, unicode.IsControl) {
		return ruling{text: refused("A call without a name that can be used", "")}, nil
	}
	a := x.attempt("tools/call", "tool", server, tool, c.args)
	a.Reasoning = []byte(x.thought)
	id := ""
	if c.id != "" {
		id = minted(c.id, x.nonce)
		a.CallID, a.ModelCall = id, id
	}
	adm, err := x.d.cfg.Enforcer.Before(ctx, a)
	switch {
	case errors.Is(err, enforce.ErrMalformed), errors.Is(err, enforce.ErrConflict):
		return ruling{text: refused("The call of "+tool, "Its arguments cannot be read as one JSON object.")}, nil
	case err != nil:
		return ruling{}, err
	case adm.Verdict != action.Allow:
		return ruling{text: stopped("The call of "+tool, adm)}, nil
	}
	if id != "" {
		x.d.calls.put(digest(x.session, id), adm.ID)
		x.d.calls.put(digest(x.session, c.id), adm.ID) // for agents that shorten ids
	}
	v := ruling{permit: true, id: id}
	if adm.Rewritten {
		v.args = adm.Arguments
	}
	return v, nil
}

// toolOf names the tool as other doors do. Tools of MCP servers carry their server in their name; a server
// that took the name of a host of hooks would pass for the host's own tools.
func (x *exchange) toolOf(c call) (server, tool string) {
	if c.kind != "function" && c.kind != "custom" && c.kind != "function_call" && c.kind != "tool_use" && c.kind != "whole" {
		return x.p.name, c.name
	}
	if rest, ok := strings.CutPrefix(c.name, "mcp__"); ok {
		if s, t, ok := strings.Cut(rest, "__"); ok && s != "" && t != "" {
			if hook.Host(s).Known() {
				s = "mcp:" + s
			}
			return strings.ReplaceAll(s, "/", "%2F"), t
		}
	}
	return x.server, c.name
}

// stopped says in words for a model why something does not pass.
func stopped(what string, adm enforce.Admission) string {
	if adm.Verdict == action.Ask {
		why := adm.Hint
		if adm.Ticket != "" {
			why = joined(why, "Ticket "+adm.Ticket+" is open; repeat the same call once a person has agreed.")
		}
		return "[sallyport] " + what + " waits for a person. " + strings.ReplaceAll(why, "\n\n", " ")
	}
	return refused(what, adm.Hint)
}

func refused(what, hint string) string {
	return strings.TrimSpace("[sallyport] " + what + " was not permitted. " + hint)
}

func unchangeable(name string) string {
	return refused("The call of "+name, "It may only run with other words, and these cannot be changed here.")
}

// close records how the answer ended and returns what may stand in the place of its texts; nil keeps them.
func (x *exchange) close(ctx context.Context, s *spoken, failed bool) (map[string]string, error) {
	status := action.ResultDone
	if failed {
		status = action.ResultFailed
	}
	var errs []error
	for _, id := range x.features {
		_, err := x.d.cfg.Enforcer.After(ctx, &x.sub, id, enforce.Outcome{Status: status, Content: []byte(`{"forwarded":true}`), Opaque: true})
		errs = append(errs, err)
	}
	x.features = nil
	rel, err := x.d.cfg.Enforcer.After(ctx, &x.sub, x.respond.ID, enforce.Outcome{Status: status, Content: encode(map[string][]string{"texts": s.list()}), Opaque: s.cut})
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	switch {
	case rel.Status != action.StatusReleased:
		list := make([]string, len(s.order))
		if len(list) > 0 {
			list[0] = "[sallyport] " + rel.Hint
		}
		return s.replaced(list), nil
	case !rel.Rewritten:
		return nil, nil
	}
	var now struct {
		Texts []string `json:"texts"`
	}
	if err := json.Unmarshal(rel.Content, &now, jsontext.AllowDuplicateNames(false)); err != nil || len(now.Texts) != len(s.order) {
		return nil, fmt.Errorf("llm: the redacted answer has another shape")
	}
	return s.replaced(now.Texts), nil
}
