// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
)

// h2Server serves the connections on which HTTP/2 was agreed. The library's server is fed with connections
// whose handshake is over.
type h2Server struct {
	p   *Proxy
	srv *http.Server
	in  chan net.Conn

	mu     sync.Mutex
	places map[net.Conn]h2Conn // guarded by mu
}

type h2Conn struct {
	ctx   context.Context
	at    place
	ended chan struct{} // closed by connState
}

type h2Key struct{}

func newH2Server(p *Proxy) *h2Server {
	s := &h2Server{p: p, in: make(chan net.Conn), places: map[net.Conn]h2Conn{}}
	s.srv = &http.Server{
		Handler: http.HandlerFunc(s.handle), ReadHeaderTimeout: p.cfg.Limits.Dial, IdleTimeout: p.cfg.Limits.Idle,
		MaxHeaderBytes: headBytes, DisableGeneralOptionsHandler: true, ErrorLog: log.New(io.Discard, "", 0), // it quotes what agents send
		HTTP2:       &http.HTTP2Config{MaxConcurrentStreams: 32, MaxReceiveBufferPerConnection: 4 << 20, MaxReceiveBufferPerStream: 1 << 20},
		ConnContext: s.connContext, ConnState: s.connState,
	}
	return s
}

// run serves until ctx ends.
func (s *h2Server) run(ctx context.Context) {
	l := &feed{in: s.in, done: ctx.Done()}
	stop := context.AfterFunc(ctx, func() { _ = s.srv.Close() })
	defer stop()
	_ = s.srv.Serve(l) // ends with the feed
}

// feed is a listener of connections that were accepted elsewhere.
type feed struct {
	in   <-chan net.Conn
	done <-chan struct{}
}

func (f *feed) Accept() (net.Conn, error) {
	select {
	case c := <-f.in:
		return c, nil
	case <-f.done:
		return nil, net.ErrClosed
	}
}

func (f *feed) Close() error   { return nil }
func (f *feed) Addr() net.Addr { return &net.TCPAddr{} }

// serve hands c over and waits for its end, or for that of ctx.
func (s *h2Server) serve(ctx context.Context, c *tls.Conn, at place) {
	h := h2Conn{ctx: ctx, at: at, ended: make(chan struct{})}
	s.mu.Lock()
	s.places[c] = h
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.places, c)
		s.mu.Unlock()
		_ = c.Close()
	}()
	select {
	case s.in <- c:
	case <-ctx.Done():
		return
	}
	select {
	case <-h.ended:
	case <-ctx.Done():
	}
}

func (s *h2Server) connContext(ctx context.Context, c net.Conn) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	return context.WithValue(ctx, h2Key{}, s.places[c])
}

func (s *h2Server) connState(c net.Conn, state http.ConnState) {
	if state != http.StateClosed && state != http.StateHijacked {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if h, ok := s.places[c]; ok {
		delete(s.places, c)
		close(h.ended)
	}
}

// handle serves one stream. A response that is cut short ends in a reset of the stream.
func (s *h2Server) handle(w http.ResponseWriter, r *http.Request) {
	p := s.p
	h, ok := r.Context().Value(h2Key{}).(h2Conn)
	if !ok || h.at.caller == nil || r.ProtoMajor != 2 {
		panic(http.ErrAbortHandler)
	}
	src := source(h.at.caller, "")
	ctx, done, err := p.begin(r.Context(), h.at.caller, h.at.session)
	if err != nil {
		p.tell(r.Context(), w, refusalOf(err), src)
		return
	}
	defer done()
	stop := context.AfterFunc(h.ctx, done)
	defer stop()
	out := &wroteHead{ResponseWriter: w}
	to, err := p.targetOf(r, h.at.tunnel)
	switch {
	case err != nil:
	case r.Method == http.MethodConnect:
		err = refuse("upgrade")
	default:
		if values, ok := r.Header["Cookie"]; ok && len(values) > 1 {
			r.Header.Set("Cookie", strings.Join(values, "; ")) // HTTP/2 splits it
		}
		err = duplicates(r.Header)
	}
	if err == nil {
		err = p.exchange(ctx, out, r, to, h.at.caller, h.at.session)
	}
	switch {
	case err == nil:
	case out.wrote:
		panic(http.ErrAbortHandler)
	default:
		r := refusalOf(err)
		r.close = false
		p.tell(ctx, w, r, src)
	}
}

// duplicates refuses what checkHead refuses.
func duplicates(h http.Header) error {
	n := 0
	for name, values := range h {
		if n += len(values); n > 200 {
			return headError("too_many_fields")
		}
		if low := strings.ToLower(name); len(values) > 1 && single[low] {
			return headError("duplicate_" + strings.ReplaceAll(low, "-", "_"))
		}
	}
	return nil
}

// wroteHead remembers whether an answer has begun.
type wroteHead struct {
	http.ResponseWriter
	wrote bool
}

func (w *wroteHead) WriteHeader(status int) {
	w.wrote = true
	w.ResponseWriter.WriteHeader(status)
}

// Flush sends what was written.
func (w *wroteHead) Flush() {
	if err := http.NewResponseController(w.ResponseWriter).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		panic(http.ErrAbortHandler)
	}
}
