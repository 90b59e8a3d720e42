// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
)

// place is where requests of a connection come from: outside of any tunnel, or in one to a host.
type place struct {
	tunnel  *target         // nil outside
	caller  *gateway.Caller // of the tunnel
	session string
}

// http1 serves requests of one connection, one after the other.
type http1 struct {
	p    *Proxy
	conn net.Conn
	br   *bufio.Reader
	bw   *bufio.Writer
	at   place
}

// serveConn serves a fresh connection and closes it.
func (p *Proxy) serveConn(ctx context.Context, c net.Conn) {
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	defer func() {
		if fault := recover(); fault != nil {
			p.cfg.Log.Error("the egress proxy panicked", "panic", fmt.Sprintf("%T", fault))
		}
	}()
	p.serveHTTP1(gateway.ConnContext(ctx, c), c, place{})
}

func (p *Proxy) serveHTTP1(ctx context.Context, c net.Conn, at place) {
	h := &http1{p: p, conn: c, br: bufio.NewReaderSize(c, headBytes), bw: bufio.NewWriterSize(c, 16<<10), at: at}
	for h.one(ctx) && ctx.Err() == nil {
	}
}

// one serves one request. It reports whether the connection can take another.
func (h *http1) one(ctx context.Context) bool {
	l := &h.p.cfg.Limits
	_ = h.conn.SetReadDeadline(time.Now().Add(l.Idle))
	if _, err := h.br.Peek(1); err != nil {
		return false
	}
	_ = h.conn.SetReadDeadline(time.Now().Add(l.Dial))
	_ = h.conn.SetWriteDeadline(time.Now().Add(l.Answer + l.Body))
	w := &writer{conn: h.conn, bw: h.bw, header: http.Header{}, body: l.Body, answer: l.Answer}
	if err := peekHead(h.br); err != nil {
		var bad headError
		if errors.As(err, &bad) {
			h.p.tell(ctx, w, refuse(string(bad)), source(h.at.caller, remoteOf(h.conn)))
			_ = w.finish()
		}
		return false
	}
	r, err := http.ReadRequest(h.br)
	if err != nil {
		h.p.tell(ctx, w, refuse("request"), source(h.at.caller, remoteOf(h.conn)))
		_ = w.finish()
		return false
	}
	r.RemoteAddr, r.TLS = h.conn.RemoteAddr().String(), gateway.StateOf(h.conn)
	w.head, w.old = r.Method == http.MethodHead, r.ProtoMinor == 0
	w.keep = !r.Close && !w.old
	if strings.EqualFold(r.Header.Get("Expect"), "100-continue") && r.ContentLength != 0 {
		w.expect = true
		r.Body = &expecting{w, r.Body}
	}
	_ = h.conn.SetReadDeadline(time.Now().Add(l.Body))
	return h.serve(ctx, w, r)
}

func (h *http1) serve(ctx context.Context, w *writer, r *http.Request) bool {
	p := h.p
	if h.at.tunnel == nil && r.Method == http.MethodGet && r.URL.Path == CAPath && !r.URL.IsAbs() {
		if err := h.certificate(ctx, w, r); err != nil {
			p.tell(ctx, w, refusalOf(err), source(nil, remoteOf(h.conn)))
		}
		return h.end(w, r)
	}
	who, session, err := h.caller(ctx, r)
	if err != nil {
		p.tell(ctx, w, refusalOf(err), source(who, remoteOf(h.conn)))
		return h.end(w, r)
	}
	ctx, done, err := p.begin(ctx, who, session)
	if err != nil {
		p.tell(ctx, w, refusalOf(err), source(who, remoteOf(h.conn)))
		return h.end(w, r)
	}
	defer done()
	switch {
	case r.Method == http.MethodConnect && h.at.tunnel == nil:
		h.connect(ctx, w, r, who, session)
		return false
	case strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
		h.websocket(ctx, w, r, who, session)
		return false
	}
	to, err := p.targetOf(r, h.at.tunnel)
	if err == nil {
		err = p.exchange(ctx, w, r, to, who, session)
	}
	if err != nil {
		if w.wrote {
			return false // what is out cannot be taken back; the connection says that it is not whole
		}
		p.tell(ctx, w, refusalOf(err), source(who, remoteOf(h.conn)))
	}
	return h.end(w, r)
}

// end finishes an answer. A body that was not read to its end leaves the connection at an unknown place.
func (h *http1) end(w *writer, r *http.Request) bool {
	n, err := io.CopyN(io.Discard, r.Body, 64<<10)
	whole := errors.Is(err, io.EOF) && n < 64<<10 && !w.expect
	return w.finish() == nil && w.keep && whole
}

// caller proves who asks and finds its session. Inside a tunnel that was done when it was opened; the
// standing is asked at both gates of each request anyhow.
func (h *http1) caller(ctx context.Context, r *http.Request) (*gateway.Caller, string, error) {
	if h.at.caller != nil {
		return h.at.caller, h.at.session, nil
	}
	c, err := h.p.authenticate(ctx, r)
	if err != nil {
		return nil, "", err
	}
	session, err := h.p.session(ctx, c)
	return c, session, err
}

// CAPath is where the door itself answers with the certificate of the caller's authority.
const CAPath = "/ca.pem"

// certificate answers with the caller's own certificate. The token may stand in Authorization here, as no
// other host is asked.
func (h *http1) certificate(ctx context.Context, w *writer, r *http.Request) error {
	if v, ok := r.Header["Authorization"]; ok && r.Header.Get("Proxy-Authorization") == "" {
		r.Header["Proxy-Authorization"] = v
	}
	c, err := h.p.authenticate(ctx, r)
	if err != nil {
		return err
	}
	pem, err := h.p.CA(c.Subject.Tenant, c.Subject.ID)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-pem-file")
	w.Header().Set("Content-Length", strconv.Itoa(len(pem)))
	_, err = w.Write(pem)
	return err
}

// authenticate takes the token from Proxy-Authorization, as Bearer or as the password of Basic. Without one the
// certificate has to do that the connection was opened with, or the process that the kernel names at its other end.
func (p *Proxy) authenticate(ctx context.Context, r *http.Request) (*gateway.Caller, error) {
	scheme, value, _ := strings.Cut(r.Header.Get("Proxy-Authorization"), " ")
	probe := &http.Request{Method: http.MethodGet, Header: http.Header{}, RemoteAddr: r.RemoteAddr, TLS: r.TLS, URL: &url.URL{Path: "/"}}
	switch {
	case r.Header["Proxy-Authorization"] == nil && r.TLS != nil && len(r.TLS.PeerCertificates) > 0:
	case strings.EqualFold(scheme, "bearer"):
		probe.Header.Set("Authorization", "Bearer "+strings.TrimSpace(value))
	case strings.EqualFold(scheme, "basic"):
		probe.Header.Set("Authorization", "Basic "+strings.TrimSpace(value))
		_, token, ok := probe.BasicAuth()
		if !ok {
			return nil, refuse("unauthenticated")
		}
		probe.Header.Set("Authorization", "Bearer "+token)
	default:
		if _, ok := gateway.PeerFrom(ctx); !ok {
			return nil, refuse("unauthenticated")
		}
	}
	found, err := p.cfg.Auth.Authenticate(ctx, probe)
	if err != nil || found == nil || found.Subject.Tenant == "" {
		return nil, refuse("unauthenticated")
	}
	c := *found
	if c.Subject.ID == "" || !c.Has(action.ScopeAgent) {
		return &c, refuse("scope")
	}
	ch := &c.Subject.Channel
	ch.Door, ch.UID, ch.PID = action.DoorEgress, -1, -1
	return &c, nil
}

func remoteOf(c net.Conn) string {
	host, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		return "unix"
	}
	return host
}

// targetOf says where a request goes. Inside a tunnel that is the tunnel's host, and the request must say
// the same.
func (p *Proxy) targetOf(r *http.Request, tunnel *target) (target, error) {
	if tunnel != nil {
		t, err := p.readTarget(tunnel.scheme, r.Host)
		if err != nil || t.host != tunnel.host || t.port != tunnel.port || r.URL.IsAbs() && r.URL.Scheme != tunnel.scheme {
			return target{}, refuse("host_mismatch")
		}
		return t, nil
	}
	if !r.URL.IsAbs() {
		return target{}, refuse("absolute_form")
	}
	switch r.URL.Scheme {
	case "http", "https", "ws", "wss":
	default:
		return target{}, refuse("scheme")
	}
	scheme := map[string]string{"ws": "http", "wss": "https"}[r.URL.Scheme]
	if scheme == "" {
		scheme = r.URL.Scheme
	}
	return p.readTarget(scheme, r.URL.Host)
}

// readTarget reads host[:port] as one target.
func (p *Proxy) readTarget(scheme, authority string) (target, error) {
	host, port := cutPort(authority)
	if port == "" {
		if strings.HasSuffix(authority, ":") {
			return target{}, refuse("host")
		}
		port = defaultPort[scheme]
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return target{}, refuse("port")
	}
	name, _, err := p.cfg.Canonical(host)
	if err != nil || name == "" {
		return target{}, refuse("host")
	}
	return target{scheme: scheme, host: name, port: port}, nil
}

// expecting says "go on" when the body is first asked for: who is refused before that never sends it.
type expecting struct {
	w *writer
	io.ReadCloser
}

func (e *expecting) Read(b []byte) (int, error) {
	if e.w.expect {
		e.w.expect = false
		if e.w.wrote {
			return 0, io.ErrUnexpectedEOF
		}
		if _, err := e.w.bw.WriteString("HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return 0, err
		}
		if err := e.w.bw.Flush(); err != nil {
			return 0, err
		}
	}
	return e.ReadCloser.Read(b)
}

// writer is the http.ResponseWriter of one answer over HTTP/1.1.
type writer struct {
	conn    net.Conn
	bw      *bufio.Writer
	header  http.Header
	head    bool // the request was a HEAD
	old     bool // the client speaks HTTP/1.0
	keep    bool
	expect  bool // "100 Continue" was not said yet
	wrote   bool
	chunked bool
	bare    bool // no body follows
	left    int64

	body, answer time.Duration // of the limits
}

func (w *writer) Header() http.Header { return w.header }

func (w *writer) WriteHeader(status int) {
	if w.wrote {
		return
	}
	w.wrote, w.left = true, -1
	w.bare = w.head || status == http.StatusNoContent || status == http.StatusNotModified || status < 200
	if n, err := strconv.ParseInt(w.header.Get("Content-Length"), 10, 64); err == nil && n >= 0 {
		w.left = n
	} else if !w.bare && !w.old {
		w.chunked = true
		w.header.Set("Transfer-Encoding", "chunked")
	} else if !w.bare {
		w.keep = false
	}
	if w.header.Get("Connection") == "close" {
		w.keep = false
	}
	if !w.keep {
		w.header.Set("Connection", "close")
	}
	fmt.Fprintf(w.bw, "HTTP/1.1 %03d %s\r\n", status, http.StatusText(status))
	_ = w.header.Write(w.bw)
	_, _ = w.bw.WriteString("\r\n")
}

func (w *writer) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.bare || len(b) == 0 {
		return len(b), nil
	}
	if !w.chunked {
		if w.left >= 0 {
			if w.left -= int64(len(b)); w.left < 0 {
				w.keep = false
				return 0, http.ErrContentLength
			}
		}
		return w.bw.Write(b)
	}
	_, _ = w.bw.WriteString(strconv.FormatInt(int64(len(b)), 16) + "\r\n")
	n, err := w.bw.Write(b)
	_, _ = w.bw.WriteString("\r\n")
	return n, err
}

// Flush sends what was written.
func (w *writer) Flush() { _ = w.bw.Flush() }

func (w *writer) finish() error {
	if !w.wrote {
		return errors.New("egress: nothing was answered")
	}
	if w.chunked {
		_, _ = w.bw.WriteString("0\r\n\r\n")
	}
	if w.left > 0 && !w.bare {
		w.keep = false
	}
	return w.bw.Flush()
}
