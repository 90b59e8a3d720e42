// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
)

// HTTPConfig is what the HTTP door needs beside its gate. Gate and Upstream are required.
type HTTPConfig struct {
	Gate *Gate

	// Upstream returns the server behind a name for a caller, or false. Header is what is sent to it beside
	// the protocol's own headers: its stored credential, never the caller's.
	Upstream func(ctx context.Context, c *gateway.Caller, name string) (HTTPUpstream, bool)

	// Separation says what keeps the caller from approving its own asks. nil means none.
	Separation func(c *gateway.Caller) action.Separation

	Transport http.RoundTripper // nil means a transport without proxy, cookies or redirects
	Sessions  int               // open sessions of 2025-11-25, of which one caller may hold a sixteenth; 0 means 4096
	Idle      time.Duration     // after which a session is forgotten; 0 means 1 h
}

// HTTPUpstream is a streamable HTTP server.
type HTTPUpstream struct {
	Upstream // URL is where requests go
	Header   http.Header
}

// HTTP is the door for streamable HTTP. Its methods are safe for concurrent use.
type HTTP struct {
	cfg    HTTPConfig
	client *http.Client

	mu       sync.Mutex
	sessions map[string]*session // by server and id; guarded by mu
	live     map[*Conn]int       // requests in flight by connection; guarded by mu
}

// session is one Mcp-Session-Id: the server minted it, we bind it to the caller that it was given to.
type session struct {
	conn   *Conn
	caller string
	last   time.Time // guarded by HTTP.mu
}

// NewHTTP returns the HTTP door.
func NewHTTP(cfg HTTPConfig) (*HTTP, error) {
	if cfg.Gate == nil || cfg.Upstream == nil {
		return nil, errors.New("mcp: Gate and Upstream are required")
	}
	if cfg.Sessions == 0 {
		cfg.Sessions = 4096
	}
	if cfg.Idle == 0 {
		cfg.Idle = time.Hour
	}
	return &HTTP{cfg: cfg, client: newClient(cfg.Transport), sessions: map[string]*session{}, live: map[*Conn]int{}}, nil
}

// newClient returns a client of servers over t; nil means a transport without proxy, cookies or redirects.
func newClient(t http.RoundTripper) *http.Client {
	if t == nil {
		t = &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 90 * time.Second, DisableCompression: true,
			MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second}
	}
	// A redirect would carry a judged request to a place that was not judged.
	noRedirect := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &http.Client{Transport: t, CheckRedirect: noRedirect}
}

// Routes returns the door's routes. The listener's gate checks Host, Origin and the credential.
func (h *HTTP) Routes() []gateway.Route {
	route := func(method string, serve gateway.Handler) gateway.Route {
		return gateway.Route{Pattern: method + " /mcp/{server}", Scopes: []action.Scope{action.ScopeAgent}, Door: action.DoorMCP,
			Wait: -1, Serve: serve, OwnOrigin: true}
	}
	return []gateway.Route{route("POST", h.post), route("GET", h.get), route("DELETE", h.delete)}
}

// Run puts off the deadlines of open actions and forgets idle sessions until ctx ends.
func (h *HTTP) Run(ctx context.Context) error {
	t := time.NewTicker(beat)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		now := h.cfg.Gate.cfg.Now()
		var beating, idle []*Conn
		h.mu.Lock()
		for c := range h.live {
			beating = append(beating, c)
		}
		for k, s := range h.sessions {
			if now.Sub(s.last) > h.cfg.Idle && h.live[s.conn] == 0 {
				delete(h.sessions, k)
				idle = append(idle, s.conn)
			}
		}
		h.mu.Unlock()
		for _, c := range beating {
			c.Beat()
		}
		for _, c := range idle {
			c.Close(ctx, "the session was idle")
		}
	}
}

// exchange is one HTTP request on its way.
type exchange struct {
	h      *HTTP
	w      http.ResponseWriter
	r      *http.Request
	caller *gateway.Caller
	up     HTTPUpstream
	conn   *Conn
	ours   bool   // conn lives for this request only
	first  bool   // a request that may open a session
	id     []byte // of the client's request
	key    string // id key of the client's request, "" for other messages
	modern bool
}

func (h *HTTP) exchange(w http.ResponseWriter, r *http.Request, c *gateway.Caller) (*exchange, error) {
	name := r.PathValue("server")
	up, ok := h.cfg.Upstream(r.Context(), c, name)
	if !ok {
		return nil, gateway.Refuse(gateway.CodeNotFound, "no such server")
	}
	for _, n := range []string{headerSession, headerVersion, headerMethod, headerName, "Last-Event-Id"} {
		if len(r.Header.Values(n)) > 1 {
			return nil, gateway.Refuse(gateway.CodeMalformed, "more than one %s", n)
		}
	}
	return &exchange{h: h, w: w, r: r, caller: c, up: up}, nil
}

// callerKey is who a session is bound to.
func callerKey(c *gateway.Caller) string {
	s := &c.Subject
	return digest(s.Tenant, s.ID, s.Instance, s.User.ID, string(s.Channel.Credential), s.Channel.CredID, fmt.Sprint(s.Channel.UID))
}

// open finds or opens the conversation of a message. Requests of 2026-07-28, and of servers that mint no
// session ids, are conversations of their own.
func (x *exchange) open() error {
	id := x.r.Header.Get(headerSession)
	if id != "" {
		if len(id) > 256 || x.modern {
			return gateway.Refuse(gateway.CodeMalformed, "%s does not belong here", headerSession)
		}
		x.h.mu.Lock()
		defer x.h.mu.Unlock()
		s := x.h.sessions[digest(x.up.Name, id)]
		if s == nil || s.caller != callerKey(x.caller) {
			return gateway.Refuse(gateway.CodeNotFound, "no such session")
		}
		s.last = x.h.cfg.Gate.cfg.Now()
		x.conn = s.conn
		x.h.live[x.conn]++
		return nil
	}
	host := ""
	if x.first {
		host = "http:" + rand.Text()
	}
	g := x.h.cfg.Gate
	sid, err := g.cfg.Enforcer.Session(x.r.Context(), &x.caller.Subject, host, enforce.SessionOptions{})
	if err != nil {
		return err
	}
	sep := action.SeparationNone
	if x.h.cfg.Separation != nil {
		sep = x.h.cfg.Separation(x.caller)
	}
	x.conn = g.Conn(Peer{Subject: x.caller.Subject, Session: sid, Source: x.source(),
		Grade: x.caller.Grade(action.GradeProxy), Separation: sep, Confined: x.caller.Held(), Roots: []string{}}, x.up.Upstream)
	x.ours = true
	x.h.mu.Lock()
	x.h.live[x.conn]++
	x.h.mu.Unlock()
	return nil
}

// close ends the exchange; a conversation that became a session lives on. It returns the answers that the
// client has not got.
func (x *exchange) close(why string) [][]byte {
	if x.conn == nil {
		return nil
	}
	x.h.mu.Lock()
	if x.h.live[x.conn]--; x.h.live[x.conn] <= 0 {
		delete(x.h.live, x.conn)
	}
	x.h.mu.Unlock()
	if x.ours {
		return x.conn.Close(context.WithoutCancel(x.r.Context()), why)
	}
	x.conn.stale(x.key)
	return nil
}

// adopt makes the conversation a session under the id that the server minted for it.
func (x *exchange) adopt(id string) {
	if id == "" || len(id) > 256 || !x.ours || !x.first || strings.ContainsFunc(id, func(r rune) bool { return r < 0x21 || r > 0x7e }) {
		return
	}
	x.h.mu.Lock()
	defer x.h.mu.Unlock()
	key, caller, held := digest(x.up.Name, id), callerKey(x.caller), 0
	for _, s := range x.h.sessions {
		if s.caller == caller {
			held++
		}
	}
	if x.h.sessions[key] != nil || len(x.h.sessions) >= x.h.cfg.Sessions || held > x.h.cfg.Sessions/16 {
		return // the id of another conversation is not handed over; a full table ends this one with its request
	}
	x.h.sessions[key] = &session{conn: x.conn, caller: caller, last: x.h.cfg.Gate.cfg.Now()}
	x.ours = false
	x.w.Header().Set(headerSession, id)
}

func (h *HTTP) delete(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	x, err := h.exchange(w, r, c)
	if err != nil {
		return err
	}
	if r.Header.Get(headerSession) == "" {
		return gateway.Refuse(gateway.CodeMalformed, "no %s", headerSession)
	}
	if err := x.open(); err != nil {
		return err
	}
	defer x.close("")
	h.mu.Lock()
	delete(h.sessions, digest(x.up.Name, r.Header.Get(headerSession)))
	h.mu.Unlock()
	x.conn.Close(context.WithoutCancel(r.Context()), "the session was ended")
	res, err := x.send(http.MethodDelete, nil)
	if err != nil {
		return gateway.Refuse(gateway.CodeBusy, "the server cannot be reached")
	}
	defer res.Body.Close()
	w.WriteHeader(plainStatus(res.StatusCode))
	return nil
}

func (h *HTTP) get(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	x, err := h.exchange(w, r, c)
	if err != nil {
		return err
	}
	if err := gateway.Linger(r.Context()); err != nil {
		return err
	}
	if err := x.open(); err != nil {
		return err
	}
	defer x.close("")
	res, err := x.send(http.MethodGet, nil)
	if err != nil {
		return gateway.Refuse(gateway.CodeBusy, "the server cannot be reached")
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK || !isStream(res) {
		w.WriteHeader(plainStatus(res.StatusCode))
		return nil
	}
	return x.stream(res)
}

// plainStatus is the status of an answer whose body is not carried on.
func plainStatus(code int) int {
	if code < 200 || code >= 300 && code < 400 || code > 599 {
		return http.StatusBadGateway
	}
	return code
}
