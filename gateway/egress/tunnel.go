// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
)

// connect serves a CONNECT. Nothing is dialled for it: what the client then says inside decides.
func (h *http1) connect(ctx context.Context, w *writer, r *http.Request, who *gateway.Caller, session string) {
	p := h.p
	src := source(who, remoteOf(h.conn))
	to, err := p.readTarget("https", r.Host)
	if err == nil && (r.ContentLength != 0 || !strings.Contains(r.Host, ":")) {
		err = refuse("connect")
	}
	if err != nil {
		p.tell(ctx, w, refusalOf(err), src)
		_ = w.finish()
		return
	}
	if _, err := io.WriteString(h.conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = h.conn.Close() })
	defer stop()
	_ = h.conn.SetDeadline(time.Now().Add(p.cfg.Limits.Dial))
	at := place{tunnel: &to, caller: who, session: session}
	inner := &prefixed{Conn: h.conn, r: h.br}
	switch b, err := h.br.Peek(1); {
	case err != nil:
	case b[0] == 0x16: // a TLS handshake record
		p.secure(ctx, inner, at, src)
	case b[0] >= 'A' && b[0] <= 'Z' && to.port != "443":
		to.scheme = "http"
		p.serveHTTP1(ctx, inner, at)
	default:
		p.cfg.Enforcer.Malformed(ctx, action.DoorEgress, src, "egress_protocol")
	}
}

// prefixed is a connection of which a part was read ahead.
type prefixed struct {
	net.Conn
	r *bufio.Reader
}

// Read takes what was read ahead first.
func (c *prefixed) Read(b []byte) (int, error) { return c.r.Read(b) }

// secure serves a TLS client inside a tunnel: by intercepting it, or blindly if the host is pinned.
func (p *Proxy) secure(ctx context.Context, c *prefixed, at place, src string) {
	if p.cfg.Host(at.tunnel.host).Pinned {
		if err := p.splice(ctx, c, at); err != nil {
			if r := refusalOf(err); r.counted() {
				p.cfg.Enforcer.Malformed(context.WithoutCancel(ctx), action.DoorEgress, src, "egress_"+r.code)
			}
		}
		return
	}
	ca, err := p.authority.of(at.caller.Subject.Tenant, at.caller.Subject.ID)
	if err != nil {
		p.cfg.Log.Error("no authority for an agent", "error", err.Error())
		return
	}
	wrong := false
	conn := tls.Server(c, &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, SessionTicketsDisabled: true,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if !p.sameName(hello.ServerName, at.tunnel.host) {
				wrong = true
				return nil, refuse("sni")
			}
			return ca.leaf(p.cfg.Random, at.tunnel.host, p.cfg.Now())
		},
	})
	if err := conn.HandshakeContext(ctx); err != nil {
		if wrong {
			p.cfg.Enforcer.Malformed(context.WithoutCancel(ctx), action.DoorEgress, src, "egress_sni")
		}
		return
	}
	_ = conn.SetDeadline(time.Time{})
	if conn.ConnectionState().NegotiatedProtocol == "h2" {
		p.h2.serve(ctx, conn, at)
		return
	}
	p.serveHTTP1(ctx, conn, at)
}

// sameName compares a server name with the host of the tunnel. Clients send none for an address.
func (p *Proxy) sameName(sni, host string) bool {
	_, addr, err := p.cfg.Canonical(host)
	if err != nil {
		return false
	}
	if sni == "" {
		return addr.IsValid()
	}
	name, _, err := p.cfg.Canonical(sni)
	return err == nil && name == host
}

// splice passes a tunnel to a pinned host as one action, once its handshake names that host.
func (p *Proxy) splice(ctx context.Context, c *prefixed, at place) error {
	sni, err := peekServerName(c.r)
	if err != nil || !p.sameName(sni, at.tunnel.host) {
		return refuse("sni")
	}
	to := *at.tunnel
	args := &call{to: to, method: http.MethodConnect, path: "/", facts: body{opaque: true}}
	_, _, err = p.cfg.Enforcer.Do(ctx, p.attempt(at.caller, at.session, "http/connect", http.MethodConnect, to, args.arguments()),
		func(ctx context.Context, adm enforce.Admission) (enforce.Outcome, error) {
			up, err := p.dial(ctx, "tcp", to.address())
			if err != nil {
				return enforce.Outcome{}, err
			}
			defer up.Close()
			_ = c.SetDeadline(time.Time{})
			sent, got := p.relay(ctx, c, up, func() error { return p.cfg.Enforcer.Heartbeat(&at.caller.Subject, adm.ID) })
			var o object
			o.open()
			o.raw("sent_bytes", strconv.AppendInt(nil, sent, 10))
			o.raw("received_bytes", strconv.AppendInt(nil, got, 10))
			return enforce.Outcome{Status: action.ResultDone, Kind: "result", Content: o.close(), Opaque: true}, nil
		})
	return err
}

// relay copies both ways until one side ends, ctx does, or nothing flows for the idle time. It calls beat
// every minute.
func (p *Proxy) relay(ctx context.Context, a, b net.Conn, beat func() error) (ab, ba int64) {
	var last atomic.Int64
	last.Store(time.Now().UnixNano())
	shut := sync.OnceFunc(func() { _, _ = a.Close(), b.Close() })
	var wg sync.WaitGroup
	flow := func(to, from net.Conn, n *int64) {
		defer shut()
		buf := make([]byte, 32<<10)
		for {
			k, err := from.Read(buf)
			if k > 0 {
				last.Store(time.Now().UnixNano())
				_ = to.SetWriteDeadline(time.Now().Add(p.cfg.Limits.Body))
				if _, werr := to.Write(buf[:k]); werr != nil {
					return
				}
				*n += int64(k)
			}
			if err != nil {
				return
			}
		}
	}
	ended := make(chan struct{})
	wg.Go(func() { flow(b, a, &ab) })
	wg.Go(func() { flow(a, b, &ba) })
	go func() { wg.Wait(); close(ended) }() // waited for below
	tick := time.NewTicker(min(time.Minute, p.cfg.Limits.Idle))
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return ab, ba
		case <-ctx.Done():
			shut()
			<-ended
			return ab, ba
		case <-tick.C:
			if time.Since(time.Unix(0, last.Load())) > p.cfg.Limits.Idle || beat() != nil {
				shut()
			}
		}
	}
}

// helloConn lets the TLS library read a handshake that is only looked at.
type helloConn struct {
	net.Conn
	r io.Reader
}

func (c helloConn) Read(b []byte) (int, error)  { return c.r.Read(b) }
func (c helloConn) Write(b []byte) (int, error) { return len(b), nil }
func (c helloConn) SetDeadline(time.Time) error { return nil }

var errHello = errors.New("egress: only looked at")

// peekServerName reads the server name of a handshake and leaves all of it in br.
func peekServerName(br *bufio.Reader) (string, error) {
	for n := 5; n <= headBytes; n = br.Buffered() + 1 {
		if _, err := br.Peek(n); err != nil {
			return "", err
		}
		b, _ := br.Peek(br.Buffered())
		name, seen := "", false
		err := tls.Server(helloConn{r: strings.NewReader(string(b))}, &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			name, seen = h.ServerName, true
			return nil, errHello
		}}).Handshake()
		if seen {
			return name, nil
		}
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return "", err
		}
	}
	return "", errHello
}
