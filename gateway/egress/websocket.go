// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"bufio"
	"context"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
)

// tailBytes is how much of earlier messages is judged together with the next one.
const tailBytes = 512

// A socket is one WebSocket through the door. Its handshake is an action that ends with it; each message to
// the host is an action of its own, and each message back a piece of the handshake's result. Messages are
// put together before they are judged, and sent on as one frame.
type socket struct {
	p       *Proxy
	who     *gateway.Caller
	session string
	to      target
	url     string
	id      string // of the handshake's action
	client  net.Conn
	host    net.Conn
	mu      sync.Mutex // serialises writes to client
	hostMu  sync.Mutex // serialises writes to host
	sent    int64
	got     int64
	why     error // the refusal that ended it; guarded by mu
}

// websocket serves an upgrade. The connection cannot be used for anything else afterwards.
func (h *http1) websocket(ctx context.Context, w *writer, r *http.Request, who *gateway.Caller, session string) {
	err := h.upgrade(ctx, r, who, session, w)
	if err != nil && !w.wrote {
		h.p.tell(ctx, w, refusalOf(err), source(who, remoteOf(h.conn)))
		_ = w.finish()
	}
}

func (h *http1) upgrade(ctx context.Context, r *http.Request, who *gateway.Caller, session string, w *writer) error {
	p := h.p
	to, err := p.targetOf(r, h.at.tunnel)
	if err != nil {
		return err
	}
	key := r.Header.Get("Sec-Websocket-Key")
	if raw, err := base64.StdEncoding.DecodeString(key); err != nil || len(raw) != 16 || r.Method != http.MethodGet || r.ContentLength != 0 ||
		r.Header.Get("Sec-Websocket-Version") != "13" || !strings.Contains(strings.ToLower(r.Header.Get("Connection")), "upgrade") {
		return refuse("websocket")
	}
	c, err := p.read(w, r, to, who, session)
	if err != nil {
		return err
	}
	c.header.Del("Sec-Websocket-Extensions") // what is compressed cannot be read frame by frame
	c.header.Del("Sec-Websocket-Key")
	host := p.cfg.Host(to.host)
	s := &socket{p: p, who: who, session: session, to: to, client: h.conn, url: socketURL(to) + c.path}
	adm, _, err := p.cfg.Enforcer.Do(ctx, p.attempt(who, session, "websocket/open", http.MethodGet, to, c.arguments()),
		func(ctx context.Context, adm enforce.Admission) (enforce.Outcome, error) {
			if err := p.prepare(c, &host, adm); err != nil {
				return enforce.Outcome{}, err
			}
			s.id = adm.ID
			return s.run(ctx, c, key, h, w)
		})
	switch {
	case w.wrote:
		return nil
	case err != nil:
		return p.fault(err)
	case adm.Verdict != action.Allow:
		return decided(adm)
	}
	return nil
}

func socketURL(t target) string {
	if t.scheme == "https" {
		return "wss://" + t.authority()
	}
	return "ws://" + t.authority()
}

// run opens the other half, answers the client and passes messages until one side ends.
func (s *socket) run(ctx context.Context, c *call, key string, h *http1, w *writer) (enforce.Outcome, error) {
	res, br, err := s.open(ctx, c, key)
	if err != nil {
		return enforce.Outcome{}, err
	}
	defer s.host.Close()
	stop := context.AfterFunc(ctx, s.shut)
	defer stop()
	w.wrote = true
	_ = s.client.SetDeadline(time.Time{})
	answer := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + acceptKey(key) + "\r\n"
	if proto := res.Header.Get("Sec-Websocket-Protocol"); proto != "" && isToken(proto) {
		answer += "Sec-WebSocket-Protocol: " + proto + "\r\n"
	}
	if _, err := io.WriteString(s.client, answer+"\r\n"); err != nil {
		return enforce.Outcome{}, fmt.Errorf("%w: %w", errUpstream, err)
	}
	ended, done := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer s.shut()
		s.outward(ctx, &messages{r: h.br, masked: true, max: s.p.cfg.Limits.MessageBytes})
	})
	wg.Go(func() { defer s.shut(); s.inward(ctx, &messages{r: br, max: s.p.cfg.Limits.MessageBytes}) })
	go func() { // ends with both of them, below
		tick := time.NewTicker(time.Minute)
		defer tick.Stop()
		for {
			select {
			case <-ended.Done():
				return
			case <-tick.C:
				if s.p.cfg.Enforcer.Heartbeat(&s.who.Subject, s.id) != nil {
					s.shut()
				}
			}
		}
	}()
	wg.Wait()
	done()
	var o object
	o.open()
	o.raw("status", []byte("101"))
	o.raw("sent_messages", strconv.AppendInt(nil, s.sent, 10))
	o.raw("received_messages", strconv.AppendInt(nil, s.got, 10))
	o.raw("cut", boolean(s.why != nil))
	return enforce.Outcome{Status: action.ResultDone, Kind: "result", Content: o.close()}, nil
}

// shut ends both halves.
func (s *socket) shut() { _, _ = s.client.Close(), s.host.Close() }

// open makes the handshake with the host.
func (s *socket) open(ctx context.Context, c *call, key string) (*http.Response, *bufio.Reader, error) {
	conn, err := s.p.dial(ctx, "tcp", s.to.address())
	if err != nil {
		if errors.Is(err, errAddress) || errors.Is(err, errName) {
			return nil, nil, err
		}
		return nil, nil, fmt.Errorf("%w: %w", errUpstream, err)
	}
	_ = conn.SetDeadline(time.Now().Add(s.p.cfg.Limits.Dial))
	if s.to.scheme == "https" {
		t := tls.Client(conn, &tls.Config{RootCAs: s.p.cfg.Roots, MinVersion: tls.VersionTLS12, ServerName: s.to.host, NextProtos: []string{"http/1.1"}})
		if err := t.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, nil, fmt.Errorf("%w: %w", errUpstream, err)
		}
		conn = t
	}
	s.host = conn
	out := c.outgoing(&http.Request{})
	out.Header.Set("Connection", "Upgrade")
	out.Header.Set("Upgrade", "websocket")
	out.Header.Set("Sec-WebSocket-Key", key)
	out.Header.Set("Sec-WebSocket-Version", "13")
	br := bufio.NewReaderSize(conn, headBytes)
	res, err := (*http.Response)(nil), out.Write(conn)
	if err == nil {
		res, err = http.ReadResponse(br, out)
	}
	if err == nil && (res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Sec-Websocket-Accept") != acceptKey(key) ||
		res.Header.Get("Sec-Websocket-Extensions") != "") {
		err = fmt.Errorf("the handshake was answered with %d", res.StatusCode)
	}
	if err != nil {
		_ = conn.Close()
		return nil, nil, fmt.Errorf("%w: %w", errUpstream, err)
	}
	_ = conn.SetDeadline(time.Time{})
	return res, br, nil
}

// acceptKey is the answer to a key (RFC 6455, section 4.2.2).
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// outward passes messages of the agent to the host.
func (s *socket) outward(ctx context.Context, in *messages) {
	tail := ""
	for {
		_ = s.client.SetReadDeadline(time.Now().Add(10 * s.p.cfg.Limits.Idle))
		m, err := in.next()
		if err != nil {
			s.end(1002, err)
			return
		}
		if m.op == opPing || m.op == opPong || m.op == opClose && len(m.data) <= 2 {
			m.data = shortControl(m) // nothing of it is judged, so nothing of the agent's is sent
			if s.toHost(m) != nil || m.op == opClose {
				return
			}
			continue
		}
		ended := m.op == opClose
		if m, tail, err = s.say(ctx, m, tail); err != nil {
			s.end(1008, err)
			return
		}
		if s.toHost(m) != nil || ended {
			return
		}
		s.sent++
	}
}

// shortControl is a control frame without what the agent wrote into it, but for the code of a close.
func shortControl(m message) []byte {
	if m.op == opClose {
		return m.data
	}
	return nil
}

// say passes one message of the agent through both gates. What it answers is what may be sent.
func (s *socket) say(ctx context.Context, m message, tail string) (message, string, error) {
	b := body{form: formOther, value: inBase64(m.data), opaque: true}
	if textual(m.data) {
		b = bodyOf("", nil, m.data)
	} else if m.op != opBinary {
		return m, "", errFrame // text that is none
	}
	var o object
	o.open()
	o.str("method", "SEND")
	o.str("url", s.url)
	o.raw("body", b.value)
	text := ""
	if !b.opaque {
		text = string(m.data)
		if tail != "" {
			o.str("with_previous", tail+text[:min(len(text), tailBytes)])
		}
	}
	o.raw("opaque", boolean(b.opaque))
	o.credentials(nil, nil)
	out := m
	adm, _, err := s.p.cfg.Enforcer.Do(ctx, s.p.attempt(s.who, s.session, "websocket/message", "SEND", s.to, o.close()),
		func(_ context.Context, adm enforce.Admission) (enforce.Outcome, error) {
			if adm.Rewritten {
				var j judged
				if err := readJudged(adm.Arguments, &j); err != nil {
					return enforce.Outcome{}, err
				}
				data, err := b.rewritten(j.Body, m.data)
				if err != nil {
					return enforce.Outcome{}, err
				}
				out.data = data
			}
			return enforce.Outcome{Status: action.ResultDone, Kind: "result", Content: []byte("null")}, nil
		})
	if err != nil {
		return m, "", s.p.fault(err)
	}
	if adm.Verdict != action.Allow {
		return m, "", decided(adm)
	}
	joined := tail + text
	return out, joined[max(0, len(joined)-tailBytes):], nil
}

// inward passes messages of the host to the agent.
func (s *socket) inward(ctx context.Context, in *messages) {
	for {
		_ = s.host.SetReadDeadline(time.Now().Add(10 * s.p.cfg.Limits.Idle))
		m, err := in.next()
		if err != nil {
			s.end(1011, err)
			return
		}
		if m.op == opPing || m.op == opPong || m.op == opClose && len(m.data) <= 2 {
			if s.toClient(message{m.op, shortControl(m)}) != nil || m.op == opClose {
				return
			}
			continue
		}
		b := body{form: formOther, value: inBase64(m.data), opaque: true}
		if textual(m.data) {
			b = bodyOf("", nil, m.data)
		}
		rel, err := s.p.cfg.Enforcer.Chunk(ctx, &s.who.Subject, s.id,
			enforce.Outcome{Status: action.ResultDone, Kind: "message", Content: b.value, Opaque: b.opaque})
		if err == nil && rel.Status != action.StatusReleased {
			err = &refusal{code: "withheld", hint: rel.Hint, adm: enforce.Admission{ID: s.id}}
		}
		if err == nil && rel.Rewritten {
			m.data, err = b.rewritten(rel.Content, m.data)
		}
		if err != nil {
			s.end(1008, err)
			return
		}
		if s.toClient(m) != nil || m.op == opClose {
			return
		}
		s.got++
	}
}

// end tells both sides why it is over, once.
func (s *socket) end(code uint16, why error) {
	if errors.Is(why, io.EOF) || errors.Is(why, net.ErrClosed) {
		return
	}
	s.mu.Lock()
	first := s.why == nil
	if first {
		s.why = why
	}
	s.mu.Unlock()
	if !first {
		return
	}
	reason := ""
	var r *refusal
	if errors.As(why, &r) {
		reason = action.Clip(r.hint, 120)
	}
	data := append([]byte{byte(code >> 8), byte(code)}, reason...)
	_ = s.toClient(message{opClose, data})
	_ = s.toHost(message{opClose, []byte{1000 >> 8, 1000 & 0xff}})
}

func (s *socket) toClient(m message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.client.SetWriteDeadline(time.Now().Add(s.p.cfg.Limits.Body))
	_, err := s.client.Write(appendFrame(nil, m.op, m.data, nil))
	return err
}

func (s *socket) toHost(m message) error {
	var key [4]byte
	if _, err := io.ReadFull(s.p.cfg.Random, key[:]); err != nil {
		return err
	}
	s.hostMu.Lock()
	defer s.hostMu.Unlock()
	_ = s.host.SetWriteDeadline(time.Now().Add(s.p.cfg.Limits.Body))
	_, err := s.host.Write(appendFrame(nil, m.op, m.data, &key))
	return err
}
