// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
)

// errUpstream means that the request may have been carried out, but brought nothing that can be judged.
var errUpstream = errors.New("egress: upstream")

// session finds the caller's session: one for each credential, as it has no other name here.
func (p *Proxy) session(ctx context.Context, c *gateway.Caller) (string, error) {
	return p.cfg.Enforcer.Session(ctx, &c.Subject, "", enforce.SessionOptions{})
}

// attempt is one action on a host.
func (p *Proxy) attempt(c *gateway.Caller, session, name, tool string, to target, args []byte) enforce.Attempt {
	return enforce.Attempt{Subject: c.Subject, Session: session, Name: name, Type: "host", Server: to.authority(), Tool: tool,
		Arguments: args, Grade: c.Grade(action.GradeProxy), Separation: p.cfg.Separation(c), Confined: c.Held()}
}

// exchange passes one request and its response through the gates.
func (p *Proxy) exchange(ctx context.Context, w http.ResponseWriter, r *http.Request, to target, who *gateway.Caller, session string) error {
	c, err := p.read(w, r, to, who, session)
	if err != nil {
		return err
	}
	if c.upload != nil {
		defer c.upload.close()
	}
	host := p.cfg.Host(to.host)
	s := &sending{p: p, w: w, who: who, to: to}
	adm, rel, err := p.cfg.Enforcer.Do(ctx, p.attempt(who, session, "http/request", c.method, to, c.arguments()),
		func(ctx context.Context, adm enforce.Admission) (enforce.Outcome, error) {
			if err := p.prepare(c, &host, adm); err != nil {
				return enforce.Outcome{}, err
			}
			out := c.outgoing(r.WithContext(ctx))
			if c.upload == nil {
				return s.send(ctx, out, adm.ID)
			}
			if err := c.upload.open(ctx, out, adm.ID); err != nil {
				return enforce.Outcome{}, err
			}
			o, err := s.send(ctx, out, adm.ID)
			if refused := c.upload.wait(w, r); refused != nil && !s.streamed {
				return enforce.Outcome{}, refused
			}
			return o, err
		})
	switch {
	case s.streamed:
		return s.cut
	case err != nil:
		return p.fault(err)
	case adm.Verdict != action.Allow:
		return decided(adm)
	}
	return s.release(rel)
}

// read reads the body and everything else that is judged. Credentials that we replace never get so far.
func (p *Proxy) read(w http.ResponseWriter, r *http.Request, to target, who *gateway.Caller, session string) (*call, error) {
	if len(r.Trailer) > 0 {
		return nil, headError("trailer")
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, int64(p.cfg.Limits.BodyBytes)+1))
	var up *upload
	switch {
	case err != nil:
		return nil, refuse("slow_body")
	case len(data) > p.cfg.Limits.BodyBytes:
		if up, err = p.takeUpload(w, r, to, who, session, data); err != nil {
			if up != nil {
				up.close()
			}
			return nil, err
		}
		data = nil
	}
	if len(r.Trailer) > 0 {
		if up != nil {
			up.close()
		}
		return nil, headError("trailer")
	}
	carried := supplied(r)
	var stripped []string
	if p.cfg.Host(to.host).Credential != nil {
		strip(r)
		carried, stripped = nil, carried
	}
	c, err := newCall(r, to, data, p.cfg.Limits.BodyBytes)
	if err != nil {
		if up != nil {
			up.close()
		}
		return nil, err
	}
	c.carried, c.stripped, c.upload = carried, stripped, up
	if up != nil {
		c.facts = up.facts()
	}
	return c, nil
}

// prepare makes the request what the gate let pass, and adds our credential.
func (p *Proxy) prepare(c *call, host *Host, adm enforce.Admission) error {
	if adm.Rewritten {
		if err := c.rewritten(adm.Arguments); err != nil {
			return err
		}
	}
	if host.Credential == nil {
		return nil
	}
	name, value, err := host.Credential()
	if err != nil {
		p.cfg.Log.Error("the credential of a host cannot be read", "host", c.to.host)
		return refuse("credential")
	}
	c.header.Set(name, value)
	return nil
}

// fault logs what is a fault of ours, without what was sent.
func (p *Proxy) fault(err error) error {
	if r := refusalOf(err); r.code == "internal" {
		p.cfg.Log.Error("a request through the egress proxy failed", "error", err.Error())
	}
	return err
}

// sending is one response on its way back.
type sending struct {
	p        *Proxy
	w        http.ResponseWriter
	who      *gateway.Caller
	to       target
	res      *http.Response
	held     []byte
	facts    body
	streamed bool // the head is out
	cut      error
}

// send makes the request and holds the response, or releases it in pieces.
func (s *sending) send(ctx context.Context, out *http.Request, id string) (enforce.Outcome, error) {
	res, err := s.p.transport.RoundTrip(out)
	if err != nil {
		if errors.Is(err, errAddress) || errors.Is(err, errName) {
			return enforce.Outcome{}, err
		}
		return enforce.Outcome{}, fmt.Errorf("%w: %w", errUpstream, err)
	}
	defer res.Body.Close()
	s.res = res
	cleanResponse(res.Header)
	more, err := s.hold(ctx, res, id)
	if err != nil {
		return enforce.Outcome{}, fmt.Errorf("%w: %w", errUpstream, err)
	}
	if more != nil {
		return s.stream(ctx, more, id)
	}
	s.facts = readBody(res.Header, s.held, s.p.cfg.Limits.HoldBytes)
	return enforce.Outcome{Status: action.ResultDone, Kind: "result", Content: s.document(s.facts), Opaque: s.facts.opaque}, nil
}

// cleanResponse takes off what is between neighbours, what would lead around us, and cookies: a credential
// that the agent would then hold.
func cleanResponse(h http.Header) {
	stripHop(h)
	for _, n := range []string{"Alt-Svc", "Set-Cookie", "Set-Cookie2", "Nel", "Report-To", "Reporting-Endpoints", "Strict-Transport-Security",
		"Public-Key-Pins", "Content-Security-Policy", "Content-Security-Policy-Report-Only", "Trailer"} {
		h.Del(n)
	}
}

// document is the response as it is judged.
func (s *sending) document(b body) []byte {
	var o object
	o.open()
	o.raw("status", strconv.AppendInt(nil, int64(s.res.StatusCode), 10))
	o.raw("headers", headers(validHeaders(s.res.Header)))
	o.raw("body", b.value)
	return o.close()
}

// validHeaders drops values that are no UTF-8, here and in what is released.
func validHeaders(h http.Header) http.Header {
	for n, values := range h {
		for _, v := range values {
			if !utf8.ValidString(v) {
				delete(h, n)
			}
		}
	}
	return h
}

// piece is one read of a response body.
type piece struct {
	data []byte
	err  error
}

// hold reads a response that fits and ends in time. Of others it returns a channel with what follows what
// was held; its sender ends with the body or with ctx.
func (s *sending) hold(ctx context.Context, res *http.Response, id string) (<-chan piece, error) {
	l := &s.p.cfg.Limits
	if res.StatusCode == http.StatusSwitchingProtocols {
		return nil, errors.New("another protocol")
	}
	pieces := make(chan piece)
	go func() { // ends when the body ends or is closed, or with ctx
		defer close(pieces)
		for {
			buf := make([]byte, l.PieceBytes)
			n, err := res.Body.Read(buf)
			select {
			case pieces <- piece{buf[:n], err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	live := endless(res.Header)
	late := time.NewTimer(l.Hold)
	defer late.Stop()
	for !live && len(s.held) <= l.HoldBytes {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-late.C:
			live = true
		case got := <-pieces:
			s.held = append(s.held, got.data...)
			if errors.Is(got.err, io.EOF) {
				return nil, nil
			}
			if got.err != nil {
				return nil, got.err
			}
		}
	}
	return pieces, nil
}

// endless recognises responses whose parts are meant to be read as they come.
func endless(h http.Header) bool {
	typ, _, _ := strings.Cut(strings.ToLower(h.Get("Content-Type")), ";")
	switch strings.TrimSpace(typ) {
	case "text/event-stream", "application/x-ndjson", "application/stream+json", "application/jsonl":
		return true
	}
	return false
}

// stream releases a response in pieces. Each is judged with the end of the one before; the first of them
// with the head. One that is not released ends the response where it stands.
func (s *sending) stream(ctx context.Context, more <-chan piece, id string) (enforce.Outcome, error) {
	sum, total := sha256.New(), 0
	rest, first := s.held, true
	s.held = nil
	enc := s.res.Header.Get("Content-Encoding")
	for last := false; !last; {
		if len(rest) == 0 || !first {
			select {
			case <-ctx.Done():
				s.cut = ctx.Err()
			case got, ok := <-more:
				rest = append(rest, got.data...)
				last = !ok || got.err != nil
				if got.err != nil && !errors.Is(got.err, io.EOF) {
					s.cut = got.err
				}
			}
		}
		if s.cut != nil {
			break
		}
		now, then := cutRune(rest, last)
		if len(now) == 0 && !first {
			continue
		}
		if s.cut = s.pass(ctx, id, now, first, enc != "" && enc != "identity"); s.cut != nil {
			break
		}
		_, _ = sum.Write(now)
		total, rest, first = total+len(now), then, false
	}
	var o object
	o.open()
	o.raw("status", strconv.AppendInt(nil, int64(s.res.StatusCode), 10))
	o.raw("streamed_bytes", strconv.AppendInt(nil, int64(total), 10))
	o.str("sha256", hex.EncodeToString(sum.Sum(nil)))
	o.raw("cut", boolean(s.cut != nil))
	return enforce.Outcome{Status: action.ResultDone, Kind: "result", Content: o.close()}, nil
}

// cutRune splits b before a character that is not whole, unless it is the end or no text.
func cutRune(b []byte, last bool) (now, then []byte) {
	if last {
		return b, nil
	}
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if c := b[len(b)-i]; c >= 0xc0 {
			if !utf8.FullRune(b[len(b)-i:]) {
				return b[:len(b)-i], append([]byte(nil), b[len(b)-i:]...)
			}
			break
		} else if c < 0x80 {
			break
		}
	}
	return b, nil
}

// pass puts one piece through the second gate and writes what comes back.
func (s *sending) pass(ctx context.Context, id string, data []byte, first, packed bool) error {
	b := body{formText, quoted(string(data)), false}
	if packed || !textual(data) {
		b = body{formOther, inBase64(data), true}
	}
	content := b.value
	if first {
		content = s.document(b)
	}
	rel, err := s.p.cfg.Enforcer.Chunk(ctx, &s.who.Subject, id, enforce.Outcome{Status: action.ResultDone, Kind: "result", Content: content, Opaque: b.opaque})
	if err != nil {
		return err
	}
	if rel.Status != action.StatusReleased {
		r := &refusal{status: http.StatusForbidden, code: "withheld", hint: rel.Hint, adm: enforce.Admission{ID: id}}
		if first {
			return s.refused(r)
		}
		return r
	}
	out := data
	if rel.Rewritten {
		if out, err = s.rewritten(rel.Content, &b, data, first); err != nil {
			return err
		}
	}
	if first {
		s.head(-1)
	}
	if _, err := s.w.Write(out); err != nil {
		return err
	}
	if f, ok := s.w.(http.Flusher); ok {
		f.Flush()
	}
	return nil
}

// refused keeps the refusal for the caller, as nothing is out yet.
func (s *sending) refused(r *refusal) error {
	s.streamed = true // what there is to say is said through cut
	return r
}

// rewritten takes the bytes of a body out of what the gate made of it.
func (s *sending) rewritten(content []byte, b *body, data []byte, whole bool) ([]byte, error) {
	if !whole {
		return b.rewritten(content, data)
	}
	var j judged
	if err := readJudged(content, &j); err != nil {
		return nil, err
	}
	h, err := headersOf(j.Headers)
	if err != nil {
		return nil, err
	}
	s.res.Header = h
	return b.rewritten(j.Body, data)
}

// head writes status and fields of the response. n is the length of the body, -1 if it is not known.
func (s *sending) head(n int) {
	s.streamed = true
	h := s.w.Header()
	clear(h)
	for name, values := range validHeaders(s.res.Header) {
		h[name] = values
	}
	h.Del("Content-Length")
	if n >= 0 && (s.res.Request == nil || s.res.Request.Method != http.MethodHead) && s.res.StatusCode != http.StatusNoContent && s.res.StatusCode != http.StatusNotModified {
		h.Set("Content-Length", strconv.Itoa(n))
	}
	s.w.WriteHeader(s.res.StatusCode)
}

// release writes what the second gate let pass.
func (s *sending) release(rel enforce.Release) error {
	if rel.Status != action.StatusReleased || s.res == nil {
		code := "withheld"
		if rel.Status == action.StatusHeld {
			code = "held"
		}
		return &refusal{status: http.StatusForbidden, code: code, hint: rel.Hint, adm: enforce.Admission{ID: rel.ID, Ticket: rel.Ticket}}
	}
	out := s.held
	if rel.Rewritten {
		var err error
		if out, err = s.rewritten(rel.Content, &s.facts, s.held, true); err != nil {
			return err
		}
	}
	s.head(len(out))
	_, err := s.w.Write(out)
	return err
}
