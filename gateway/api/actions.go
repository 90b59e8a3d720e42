// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
)

func (d *door) before(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	var b actionRequest
	if err := gateway.ReadJSON(w, r, &b, d.cfg.ActionBytes); err != nil {
		return err
	}
	s, err := subject(c, b.on)
	if err != nil {
		return err
	}
	if err := b.check(); err != nil {
		return err
	}
	session := string(b.Session)
	if session == "" {
		if session, err = d.cfg.Enforcer.Session(r.Context(), s, "", enforce.SessionOptions{}); err != nil {
			return err
		}
	}
	att := enforce.Attempt{
		Subject: *s, Session: session, CallID: string(b.CallID),
		Name: "tools/call", Type: "tool", Server: string(b.Tool.Server), Tool: string(b.Tool.Name),
		ModelCall: string(b.CallID[strings.LastIndexByte(string(b.CallID), ':')+1:]), // SDKs put the message's id before it
		Arguments: b.Arguments, Reasoning: []byte(b.Reasoning),
		Executor: string(b.Executor),
		Grade:    c.Grade(action.GradeHook), Separation: d.cfg.Separation(c), Confined: c.Held(), Claimed: true,
	}
	// A caller that leaves half-way repeats its call id, and must not find a refusal that its leaving made.
	adm, err := d.cfg.Enforcer.Before(context.WithoutCancel(r.Context()), att)
	if err != nil {
		return err
	}
	return d.answer(w, r, s, adm, session)
}

// maxReasoning is what the path takes, in bytes.
const maxReasoning = 1 << 20

func (b *actionRequest) check() error {
	if err := checkName("call_id", b.CallID, 256); err != nil {
		return err
	}
	if err := checkName("tool.server", b.Tool.Server, 256); err != nil {
		return err
	}
	if strings.Contains(string(b.Tool.Server), "/") {
		return gateway.Refuse(gateway.CodeMalformed, "member \"tool.server\" holds a slash")
	}
	if err := checkName("tool.name", b.Tool.Name, 1024); err != nil {
		return err
	}
	if b.Executor != "" {
		if err := checkName("executor", b.Executor, 128); err != nil {
			return err
		}
	}
	if len(b.Reasoning) > maxReasoning {
		return gateway.Refuse(gateway.CodeTooLarge, "member \"reasoning\" holds more than %d bytes", maxReasoning)
	}
	if b.Arguments.Kind() != jsontext.KindBeginObject {
		return gateway.Refuse(gateway.CodeMalformed, "member \"arguments\" must be an object")
	}
	if b.Session != "" {
		return checkID(string(b.Session))
	}
	return nil
}

// answer tells what became of an action: 202 while somebody is asked about it or its result.
func (d *door) answer(w http.ResponseWriter, r *http.Request, s *action.Subject, adm enforce.Admission, session string) error {
	a := admitted(adm)
	a.Session = session
	status := http.StatusOK
	if a.Decision.Effect == action.Ask {
		status = http.StatusAccepted
	}
	if adm.Release != nil {
		var rel enforce.Release
		err := gateway.Fetch(r.Context(), func() (n int, err error) {
			// A release burns its grant first: once begun, it ends.
			rel, err = d.cfg.Enforcer.Held(context.WithoutCancel(r.Context()), s, adm.ID)
			return len(rel.Content), err
		})
		if err != nil {
			return err
		}
		out := released(rel)
		if a.Outcome = &out; out.Status == action.StatusHeld {
			status = http.StatusAccepted
		}
	}
	return gateway.WriteJSON(w, status, a)
}

// wait answers at once unless ?wait asks for patience; the shortest wait leaves the path time to look.
func (d *door) wait(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	id := r.PathValue("id")
	if err := checkID(id); err != nil {
		return err
	}
	wait, b, err := waitQuery(r.URL.RawQuery)
	if err != nil {
		return err
	}
	s, err := subject(c, b)
	if err != nil {
		return err
	}
	if wait > 0 {
		if err := gateway.Linger(r.Context()); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), max(wait, 10*time.Millisecond))
	defer cancel()
	adm, err := d.cfg.Enforcer.Wait(ctx, s, id)
	if err != nil {
		return err
	}
	if wait > 0 && adm.Release != nil && adm.Release.Status == action.StatusHeld {
		if _, err := d.cfg.Enforcer.WaitHeld(ctx, s, id); err != nil {
			return err
		}
	}
	return d.answer(w, r, s, adm, "")
}

// waitQuery reads ?wait and ?on_behalf_of, each at most once, and refuses everything else.
func waitQuery(raw string) (time.Duration, on, error) {
	var b on
	values, err := url.ParseQuery(raw)
	if err != nil || len(raw) > 1024 {
		return 0, b, gateway.Refuse(gateway.CodeMalformed, "the query cannot be read")
	}
	for k, v := range values {
		if !slices.Contains([]string{"wait", "on_behalf_of"}, k) || len(v) != 1 {
			return 0, b, gateway.Refuse(gateway.CodeMalformed, "the query takes wait and on_behalf_of, once each")
		}
	}
	b.OnBehalfOf = text(values.Get("on_behalf_of"))
	if !values.Has("wait") {
		return 0, b, nil
	}
	wait, err := time.ParseDuration(values.Get("wait"))
	if err != nil || wait < 0 {
		return 0, b, gateway.Refuse(gateway.CodeMalformed, "wait must be a duration such as 60s")
	}
	return min(wait, MaxWait), b, nil
}

func (d *door) after(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	id := r.PathValue("id")
	if err := checkID(id); err != nil {
		return err
	}
	var b outcomeRequest
	if err := gateway.ReadJSON(w, r, &b, d.cfg.OutcomeBytes); err != nil {
		return err
	}
	s, err := subject(c, b.on)
	if err != nil {
		return err
	}
	o, err := b.outcome()
	if err != nil {
		return err
	}
	// What was executed is recorded, whether or not somebody waits for the answer.
	rel, err := d.cfg.Enforcer.After(context.WithoutCancel(r.Context()), s, id, o)
	if err != nil {
		return err
	}
	a, status := released(rel), http.StatusOK
	if a.Status == action.StatusHeld {
		status = http.StatusAccepted
	}
	return gateway.WriteJSON(w, status, a)
}

// outcome reads a report. One without a result says nothing about what came back, so it is opaque.
func (b *outcomeRequest) outcome() (enforce.Outcome, error) {
	o := enforce.Outcome{Content: b.Result, Opaque: bool(b.Opaque)}
	switch b.Status {
	case "done":
		o.Status, o.Kind = action.ResultDone, "result"
	case "failed":
		o.Status, o.Kind = action.ResultFailed, "error"
	default:
		return o, gateway.Refuse(gateway.CodeMalformed, "member \"status\" must be done or failed")
	}
	if len(o.Content) == 0 {
		o.Content, o.Opaque = []byte("null"), true
	}
	return o, nil
}

func (d *door) heartbeat(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	id := r.PathValue("id")
	if err := checkID(id); err != nil {
		return err
	}
	var b on
	if r.ContentLength != 0 {
		if err := gateway.ReadJSON(w, r, &b, 4096); err != nil {
			return err
		}
	}
	s, err := subject(c, b)
	if err != nil {
		return err
	}
	if err := d.cfg.Enforcer.Heartbeat(s, id); err != nil {
		return err
	}
	return gateway.WriteJSON(w, http.StatusOK, sessionAnswer{ID: id})
}
