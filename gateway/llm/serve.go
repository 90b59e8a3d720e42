// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
)

func (d *door) serve(w http.ResponseWriter, r *http.Request, c *gateway.Caller, p *provider) error {
	if c.Subject.ID == "" {
		return gateway.Refuse(gateway.CodeSubject, "the credential belongs to no agent")
	}
	if err := gateway.Linger(r.Context()); err != nil {
		return err
	}
	x := &exchange{d: d, p: p, api: endpoint(r), sub: c.Subject, sep: d.cfg.Separation(c), grade: c.Grade(action.GradeProxy), walls: c.Held(), host: d.cfg.Host(c),
		nonce: rand.Text(), server: d.cfg.ToolServer}
	ctx := context.WithoutCancel(r.Context()) // for the path: a caller that leaves must not leave a record half-way
	if err := x.place(ctx, r); err != nil {
		return err
	}
	known, ok := p.apis[x.api]
	if !ok || r.Method != http.MethodPost {
		return x.other(ctx, w, r)
	}
	body, err := gateway.ReadBody(w, r, "application/json", d.cfg.BodyBytes)
	if err != nil {
		return err
	}
	var v jsontext.Value
	if err := gateway.ParseJSON(r.Context(), body, &v); err != nil {
		return err
	}
	if x.asked, err = known.ask(body); err != nil {
		return gateway.Refuse(gateway.CodeMalformed, "%s", err)
	}
	if len(x.asked.features) > maxFeatures {
		return gateway.Refuse(gateway.CodeMalformed, "the request uses more than %d things that have to be decided", maxFeatures)
	}
	changes, err := x.results(ctx)
	if err == nil {
		err = x.provided(ctx)
	}
	if err == nil {
		maps.Copy(changes, x.asked.ids)
		body, err = edit(body, changes)
	}
	if err == nil {
		err = x.admit(ctx)
	}
	if err == nil {
		err = x.forward(ctx, w, r, body, known.machine())
	}
	return x.refuse(ctx, w, err)
}

// place finds the session, and the server of the tools.
func (x *exchange) place(ctx context.Context, r *http.Request) (err error) {
	if s := r.Header.Get(ToolServerHeader); s != "" {
		if len(s) > 256 || strings.ContainsAny(s, "/ \t") {
			return gateway.Refuse(gateway.CodeMalformed, "header %s is no name of a server", ToolServerHeader)
		}
		x.server = s
	}
	if x.session = r.Header.Get(SessionHeader); x.session == "" {
		x.session, err = x.d.cfg.Enforcer.Session(ctx, &x.sub, "", enforce.SessionOptions{})
	}
	return err
}

// refuse ends what is under way. A refusal by policy is told in the provider's words; a stream that has
// begun is cut.
func (x *exchange) refuse(ctx context.Context, w http.ResponseWriter, err error) error {
	if err == nil {
		return nil
	}
	if x.respond.Verdict == action.Allow && x.respond.ID != "" {
		if _, ended := x.close(ctx, &spoken{}, true); ended != nil {
			err = errors.Join(err, ended)
		}
	}
	var why refusal
	if errors.As(err, &why) {
		return gateway.WriteJSON(w, http.StatusForbidden, x.p.fault(string(why)))
	}
	if errors.Is(err, errStream) {
		x.d.cfg.Log.Error("an answer of a model cannot be passed on", "provider", x.p.name, "error", err.Error())
		return gateway.Refuse(gateway.CodeInternal, "")
	}
	return err
}

// sent are the headers of a request that reach the provider; no credential is among them.
var sent = []string{"Accept", "Anthropic-Version", "Anthropic-Beta", "Openai-Beta", "Idempotency-Key", "User-Agent"}

// received are the headers of an answer that reach the agent, beside the limits that it counts.
var received = []string{"Content-Type", "Request-Id", "X-Request-Id", "Retry-After", "Openai-Model", "Openai-Version", "Openai-Processing-Ms"}

// call sends a request to the provider with our credential in place of the agent's.
func (x *exchange) call(r *http.Request, method, path string, body []byte) (*http.Response, error) {
	url := strings.TrimSuffix(x.p.up.URL, "/") + "/" + path
	if q := r.URL.RawQuery; q != "" {
		url += "?" + q
	}
	req, err := http.NewRequestWithContext(r.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		return nil, gateway.Refuse(gateway.CodeMalformed, "the path cannot be forwarded")
	}
	for _, name := range sent {
		if v := r.Header.Values(name); len(v) > 0 {
			req.Header[http.CanonicalHeaderKey(name)] = v
		}
	}
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	if x.p.up.Key != nil {
		key, err := x.p.up.Key()
		if err != nil {
			x.d.cfg.Log.Error("the credential of a provider cannot be read", "provider", x.p.name, "error", err.Error())
			return nil, gateway.Refuse(gateway.CodeInternal, "")
		}
		x.p.sign(req.Header, key)
	}
	res, err := x.d.client.Do(req)
	if err != nil {
		x.d.cfg.Log.Error("a provider does not answer", "provider", x.p.name, "error", err.Error())
		return nil, gateway.Refuse(gateway.CodeBusy, "the provider does not answer").After(time.Second)
	}
	return res, nil
}

// upstreamPath is where the provider has an endpoint.
func (x *exchange) upstreamPath(path string) string {
	if x.p.name == "anthropic" {
		return "v1/" + path
	}
	return path
}

func header(w http.ResponseWriter, res *http.Response) {
	for name, v := range res.Header {
		low := strings.ToLower(name)
		for _, keep := range received {
			if name == keep {
				w.Header()[name] = v
			}
		}
		if strings.HasPrefix(low, "x-ratelimit-") || strings.HasPrefix(low, "anthropic-ratelimit-") {
			w.Header()[name] = v
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
}

// forward sends the request and passes the answer through.
func (x *exchange) forward(ctx context.Context, w http.ResponseWriter, r *http.Request, body []byte, m machine) error {
	res, err := x.call(r, http.MethodPost, x.upstreamPath(x.api), body)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	switch {
	case res.Header.Get("Content-Encoding") != "":
		return fmt.Errorf("%w: it is compressed", errStream)
	case res.StatusCode != http.StatusOK:
		return x.failed(ctx, w, res)
	case kind == "text/event-stream" && x.asked.stream:
		return x.stream(ctx, w, res, m)
	case kind == "application/json" && !x.asked.stream:
		return x.complete(ctx, w, res, m)
	}
	return fmt.Errorf("%w: it has another media type than was asked for", errStream)
}

// failed passes an error of the provider on. Nothing in it is an answer.
func (x *exchange) failed(ctx context.Context, w http.ResponseWriter, res *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("%w: %w", errStream, err)
	}
	if _, err := x.close(ctx, &spoken{}, true); err != nil {
		return err
	}
	x.respond.ID = ""
	header(w, res)
	status := res.StatusCode
	if status < 400 {
		status = http.StatusBadGateway
	}
	w.WriteHeader(status)
	_, _ = w.Write(body)
	return nil
}

// complete passes an answer that comes in one piece.
func (x *exchange) complete(ctx context.Context, w http.ResponseWriter, res *http.Response, m machine) error {
	body, err := io.ReadAll(io.LimitReader(res.Body, maxHeld+1))
	if err != nil || len(body) > maxHeld {
		return fmt.Errorf("%w: it is too large, or ends early", errStream)
	}
	asides, err := m.bodyAsides(body)
	if err != nil {
		return err
	}
	muse := musing{look: func(kind string, content []byte) error { return x.look(ctx, kind, content) }}
	if err := errors.Join(muse.hear(asides), muse.flush()); err != nil {
		return err
	}
	if body, err = m.body(body, func(c call) (ruling, error) { return x.rule(ctx, c) }); err != nil {
		return err
	}
	pieces, err := m.bodyPieces(body)
	if err != nil {
		return err
	}
	var s spoken
	s.hear(pieces)
	texts, err := x.close(ctx, &s, false)
	if err != nil {
		return err
	}
	x.respond.ID = ""
	if texts != nil {
		swap := swapper{texts: texts, told: map[string]bool{}}
		if body, err = edit(body, swap.edits(pieces)); err != nil {
			return err
		}
	}
	header(w, res)
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body) // an agent that is gone asks again
	return nil
}

// stream passes an answer that comes in events.
func (x *exchange) stream(ctx context.Context, w http.ResponseWriter, res *http.Response, m machine) error {
	rc := http.NewResponseController(w)
	begun := false
	a := &answer{m: m, whole: x.respond.Whole, rule: func(c call) (ruling, error) { return x.rule(ctx, c) }, write: func(b []byte) error {
		if !begun {
			begun = true
			header(w, res)
		}
		_ = rc.SetWriteDeadline(time.Now().Add(time.Minute))
		if _, err := w.Write(b); err != nil {
			return err
		}
		return rc.Flush()
	}}
	a.muse.look = func(kind string, content []byte) error { return x.look(ctx, kind, content) }
	err := a.run(newFrames(res.Body))
	var why refusal
	if begun && errors.As(err, &why) {
		err = fmt.Errorf("%w: %s", errStream, string(why))
	}
	texts, ended := x.close(ctx, &a.said, err != nil)
	x.respond.ID = ""
	if err := errors.Join(err, ended); err != nil {
		return err
	}
	if texts != nil && !a.whole {
		return fmt.Errorf("%w: its text is out already, and gate two would change it", errStream)
	}
	return a.finish(texts)
}

// other gates an endpoint that we do not know: what it is asked, and all that it answers.
func (x *exchange) other(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	body, err := x.otherBody(w, r)
	if err != nil {
		return err
	}
	args := map[string]any{"method": r.Method, "path": "/" + x.api, "query": r.URL.RawQuery}
	if len(body) > 0 {
		args["body"] = jsontext.Value(body)
	}
	adm, err := x.d.cfg.Enforcer.Before(ctx, x.attempt("llm/endpoint", "tool", x.p.name, r.Method+" /"+x.api, encode(args)))
	if err != nil {
		return err
	}
	if adm.Verdict != action.Allow {
		return gateway.WriteJSON(w, http.StatusForbidden, x.p.fault(stopped("The request of /"+action.Clip(x.api, 200), adm)))
	}
	o := enforce.Outcome{Status: action.ResultFailed, Kind: "error", Content: []byte("null")}
	var res *http.Response
	var answer []byte
	var failed error = refusal(unchangeable("/" + action.Clip(x.api, 200)))
	if !adm.Rewritten {
		res, answer, failed = x.fetch(r, body)
	}
	if failed == nil {
		o = enforce.Outcome{Status: action.ResultDone, Content: answer}
		if action.Check(answer, action.Limits{}) != nil {
			o.Content, o.Opaque = encode(map[string]any{"bytes": len(answer), "type": res.Header.Get("Content-Type")}), true
		}
	}
	rel, err := x.d.cfg.Enforcer.After(ctx, &x.sub, adm.ID, o)
	switch {
	case err != nil:
		return err
	case failed != nil:
		return x.refuse(ctx, w, failed)
	case rel.Status != action.StatusReleased:
		return gateway.WriteJSON(w, http.StatusForbidden, x.p.fault("[sallyport] "+rel.Hint))
	case rel.Rewritten && o.Opaque:
		return gateway.WriteJSON(w, http.StatusForbidden, x.p.fault(unchangeable("/"+action.Clip(x.api, 200))))
	case rel.Rewritten:
		answer = rel.Content
	}
	header(w, res)
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute))
	w.WriteHeader(res.StatusCode)
	_, _ = w.Write(answer)
	return nil
}

func (x *exchange) otherBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.Method != http.MethodPost {
		return nil, nil
	}
	body, err := gateway.ReadBody(w, r, "application/json", x.d.cfg.BodyBytes)
	if err != nil || len(body) == 0 {
		return nil, err
	}
	var v jsontext.Value
	return body, gateway.ParseJSON(r.Context(), body, &v)
}

func (x *exchange) fetch(r *http.Request, body []byte) (*http.Response, []byte, error) {
	path, _ := strings.CutPrefix(r.URL.EscapedPath(), Prefix+x.p.name+"/")
	path, _ = strings.CutPrefix(path, "v1/")
	res, err := x.call(r, r.Method, x.upstreamPath(path), body)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxHeld+1))
	if err != nil || len(answer) > maxHeld || res.Header.Get("Content-Encoding") != "" || res.StatusCode < 200 || res.StatusCode >= 300 && res.StatusCode < 400 {
		return nil, nil, gateway.Refuse(gateway.CodeBusy, "the provider's answer is too large, or no answer")
	}
	return res, answer, nil
}
