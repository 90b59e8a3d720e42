// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
)

// post carries one message of the client.
func (h *HTTP) post(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	x, err := h.exchange(w, r, c)
	if err != nil {
		return err
	}
	g := h.cfg.Gate
	body, err := gateway.ReadBody(w, r, "application/json", int64(g.cfg.MessageBytes))
	if err != nil {
		return err
	}
	m, err := readClient(body, g.cfg.MessageBytes)
	if err != nil && g.blind {
		m, err = message{raw: body, kind: kindRequest, key: "n:0"}, nil
	}
	if err != nil {
		x.malformed("envelope")
		return x.reply(http.StatusBadRequest, errorReply(nil, code(err), err.Error()))
	}
	if reply := x.agree(&m); reply != nil && !g.blind {
		x.malformed("headers")
		return x.reply(http.StatusBadRequest, reply)
	}
	if m.kind == kindRequest {
		x.id, x.key, x.first = m.id, m.key, m.method == methodInitialize && r.Header.Get(headerSession) == ""
	}
	if m.method == methodListen { // any other request ends with its answer
		if err := gateway.Linger(r.Context()); err != nil {
			return err
		}
	}
	if err := x.open(); err != nil {
		return err
	}
	lost := "the connection ended"
	defer func() { x.close(lost) }()
	step := x.conn.message(r.Context(), &m)
	if step.Later != nil {
		step = step.Later(r.Context())
	}
	switch {
	case step.Reply != nil:
		return x.reply(x.status(step.Reply), step.Reply)
	case step.Forward == nil:
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	res, err := x.send(http.MethodPost, x.outgoing(&m, body, step.Forward))
	if err != nil {
		return x.broken(http.StatusBadGateway, "the server cannot be reached")
	}
	defer res.Body.Close()
	return x.relay(res)
}

func (x *exchange) malformed(code string) {
	x.h.cfg.Gate.cfg.Enforcer.Malformed(x.r.Context(), action.DoorMCP, x.source(), code)
}

func (x *exchange) source() string { return "credential:" + x.caller.Subject.Channel.CredID }

func code(err error) int {
	if errors.Is(err, errBatch) || errors.Is(err, errEnvelope) || errors.Is(err, errID) {
		return codeInvalid
	}
	return codeParse
}

// status is the HTTP status of an answer of ours.
func (x *exchange) status(reply []byte) int {
	n, err := strconv.Atoi(string(member(reply, "error", "code")))
	switch {
	case err != nil:
		return http.StatusOK
	case n == codeMethod && x.modern:
		return http.StatusNotFound
	case n == codeParse || n == codeInvalid || n == codeHeader || n == codeVersion || n == codeCapability:
		return http.StatusBadRequest
	}
	return http.StatusOK
}

func (x *exchange) reply(status int, body []byte) error {
	x.w.Header().Set("Content-Type", "application/json")
	x.w.Header().Set("Cache-Control", "no-store")
	x.w.WriteHeader(status)
	_, _ = x.w.Write(body)
	return nil
}

// broken answers the open request of the exchange when its answer will not come.
func (x *exchange) broken(status int, why string) error {
	if status = plainStatus(status); status < 300 {
		status = http.StatusBadGateway
	}
	if out := x.conn.abandon(x.key, why); out != nil {
		return x.reply(status, out)
	}
	x.w.WriteHeader(status)
	return nil
}

// outgoing is what goes out, with the headers that mirror it.
type outgoing struct {
	body   []byte
	header http.Header
}

// send sends a request to the server with the protocol's headers of the client's, and no others.
func (x *exchange) send(method string, o *outgoing) (*http.Response, error) {
	u, err := url.Parse(x.up.URL)
	if err != nil {
		return nil, err
	}
	var body io.Reader
	header := http.Header{}
	if o != nil {
		body, header = bytes.NewReader(o.body), o.header
		header.Set("Content-Type", "application/json")
	}
	req, err := http.NewRequestWithContext(x.r.Context(), method, u.String(), body)
	if err != nil {
		return nil, err
	}
	req.Header = header
	// What a client may write freely in a header is kept so small that it carries no data out unjudged.
	for n, limit := range map[string]int{headerVersion: 10, headerSession: 256, "Last-Event-Id": 128} {
		if v := x.r.Header.Get(n); v != "" && len(v) <= limit {
			req.Header.Set(n, v)
		}
	}
	if v := accepted(x.r.Header.Get("Accept")); v != "" {
		req.Header.Set("Accept", v)
	}
	req.Header.Set("User-Agent", "sallyport")
	for n, vs := range x.up.Header {
		req.Header[n] = vs
	}
	return x.h.client.Do(req)
}

// accepted is what of an Accept header concerns the protocol.
func accepted(v string) string {
	var out []string
	for _, media := range []string{"application/json", "text/event-stream", "*/*"} {
		if strings.Contains(v, media) {
			out = append(out, media)
		}
	}
	return strings.Join(out, ", ")
}

// relay carries the server's answer to a POST back.
func (x *exchange) relay(res *http.Response) error {
	ctx := context.WithoutCancel(x.r.Context()) // what has come back is recorded, whoever is gone
	x.adopt(res.Header.Get(headerSession))
	if isStream(res) && res.StatusCode == http.StatusOK {
		return x.stream(res)
	}
	l, err := readWhole(res.Body, x.h.cfg.Gate.cfg.MessageBytes)
	if err != nil {
		return x.broken(http.StatusBadGateway, "the server's answer was cut off")
	}
	if x.key == "" { // the answer to a notification or an answer has no content
		x.w.WriteHeader(plainStatus(res.StatusCode))
		return nil
	}
	var out []byte
	switch media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); {
	case l.oversize:
		out = x.conn.Oversize(ctx, x.key, l.size, l.digest).Forward
	case media == "application/json":
		out = x.conn.FromServer(ctx, x.key, x.own(l.bytes)).Forward
	}
	if out == nil {
		x.forget(res.StatusCode)
		return x.broken(res.StatusCode, "the server did not answer the request")
	}
	return x.reply(plainStatus(res.StatusCode), out)
}

// readWhole reads a body to its end; of one beyond limit only what sums it up is kept.
func readWhole(body io.Reader, limit int) (line, error) {
	d := dataBuffer{limit: limit}
	buf := make([]byte, 32<<10)
	for {
		n, err := body.Read(buf)
		d.add(buf[:n])
		if err == io.EOF {
			return d.line(), nil
		}
		if err != nil {
			return line{}, err
		}
	}
}

// own gives an error without an id the id of the request: there is only one that it can be about.
func (x *exchange) own(raw []byte) []byte {
	m, err := readServer(raw, x.h.cfg.Gate.cfg.MessageBytes)
	if err != nil || m.kind != kindError || m.key != "" {
		return raw
	}
	return object(field{"jsonrpc", []byte(`"2.0"`)}, field{"id", x.id}, field{"error", m.err})
}

// forget drops the session that the server says is gone.
func (x *exchange) forget(status int) {
	id := x.r.Header.Get(headerSession)
	if status != http.StatusNotFound || id == "" {
		return
	}
	x.h.mu.Lock()
	delete(x.h.sessions, digest(x.up.Name, id))
	x.h.mu.Unlock()
}

func isStream(res *http.Response) bool {
	media, _, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	return err == nil && media == "text/event-stream"
}

// stream carries a stream of events back, each judged before it is written.
func (x *exchange) stream(res *http.Response) error {
	ctx := context.WithoutCancel(x.r.Context())
	h := x.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no")
	x.w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(x.w)
	_ = rc.Flush()
	events := newEventReader(res.Body, x.h.cfg.Gate.cfg.MessageBytes)
	for {
		ev, err := events.next()
		if err != nil {
			break
		}
		out, ok := x.judge(ctx, &ev)
		if !ok {
			continue
		}
		if _, err := x.w.Write(out); err != nil {
			break // the client is gone; what it missed is recorded as unknown
		}
		_ = rc.Flush()
	}
	if x.ours { // nothing else can answer
		if out := x.conn.abandon(x.key, "the server's stream ended"); out != nil {
			ev := event{}
			_, _ = x.w.Write(ev.encode(out))
			_ = rc.Flush()
		}
	}
	return nil
}

// judge returns the bytes to write for an event of the server, and false for none.
func (x *exchange) judge(ctx context.Context, ev *event) ([]byte, bool) {
	if ev.name != "" && ev.name != "message" {
		// Clients read messages only; of other events nothing but the place to resume from is carried on.
		ev.name, ev.data = "", line{}
	}
	var step Step
	switch {
	case ev.data.oversize:
		key, _ := idKey(ev.data.id)
		step = x.conn.Oversize(ctx, key, ev.data.size, ev.data.digest)
	case len(bytes.TrimSpace(ev.data.bytes)) == 0:
		return ev.encode(nil), true // primes the client with an event id to resume from
	default:
		step = x.conn.FromServer(ctx, x.key, ev.data.bytes)
	}
	if step.Reply != nil {
		x.answerServer(step.Reply)
	}
	if step.Forward == nil {
		return nil, false
	}
	return ev.encode(step.Forward), true
}

// answerServer posts our own answer to a request of the server.
func (x *exchange) answerServer(reply []byte) {
	res, err := x.send(http.MethodPost, &outgoing{body: reply, header: http.Header{}})
	if err != nil {
		return
	}
	_ = res.Body.Close()
}

// stale marks an open request whose own stream has ended as one that may never be answered.
func (c *Conn) stale(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.client[key]; p != nil {
		p.canceled = true
	}
}

// abandon forgets an open request and returns the answer that says so, or nil if there is none.
func (c *Conn) abandon(key, why string) []byte {
	if p := c.take(c.client, key); p != nil {
		return errorReply(p.id, codeInternal, lostText(p, why))
	}
	return nil
}
