// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/gateway/api"
	"github.com/sallyport/sallyport/gateway/mcp"
)

// Listeners are the open sockets of an owner.
type Listeners struct {
	Agents net.Listener // nil: agents reach us over the socket only
	People net.Listener // nil: people reach us over the socket only
	Socket net.Listener // the unix socket of thin clients

	Postgres net.Listener // nil: no database is configured
	Egress   net.Listener // nil: there is no egress proxy
	Walled   net.Listener // the unix socket of supervisors to the egress proxy; nil: there is no egress proxy

	WalledPostgres net.Listener // the unix socket of supervisors to the databases; nil: no database is configured

	active atomic.Int64 // requests and relays under way
	last   atomic.Int64 // unix nanoseconds of the last one
}

// Listen opens the sockets that the configuration names. An address "none" opens nothing.
func (s *Sallyport) Listen() (*Listeners, error) {
	l := &Listeners{}
	var err error
	if l.Agents, err = listen(s.Config.Gateway.Listen); err != nil {
		return nil, fmt.Errorf("agents' address: %w", err)
	}
	if l.People, err = listen(s.Config.Admin.Listen); err != nil {
		l.Close()
		return nil, fmt.Errorf("people's address: %w", err)
	}
	if l.Egress, err = listen(cmp.Or(s.Config.Egress.Listen, "none")); err != nil {
		l.Close()
		return nil, fmt.Errorf("address of the egress proxy: %w", err)
	}
	if s.Config.Policy.Alone {
		// nobody acts through this process
	} else if l.Postgres, err = s.listenPostgres(); err != nil {
		l.Close()
		return nil, fmt.Errorf("databases' address: %w", err)
	}
	if l.Socket, err = listenSocket(SocketPath(s.Config.Data)); err != nil {
		l.Close()
		return nil, err
	}
	if l.Egress != nil {
		if l.Walled, err = listenSocket(EgressSocketPath(s.Config.Data)); err != nil {
			l.Close()
			return nil, err
		}
	}
	if l.Postgres != nil {
		if l.WalledPostgres, err = listenSocket(PostgresSocketPath(s.Config.Data)); err != nil {
			l.Close()
			return nil, err
		}
	}
	return l, nil
}

func listen(addr string) (net.Listener, error) {
	if addr == "none" {
		return nil, nil
	}
	return net.Listen("tcp", addr)
}

// listenSocket opens the socket of the data directory. The lock is held, so that a socket that is there
// already is left over from an owner that died.
func listenSocket(path string) (net.Listener, error) {
	if len(path) > 100 {
		return nil, fmt.Errorf("socket path %q is too long for the kernel (%d bytes); hint: choose a shorter --data", path, len(path))
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil { // the folder is 0700: nobody else got in before
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Close closes what is open.
func (l *Listeners) Close() {
	for _, x := range []net.Listener{l.Agents, l.People, l.Socket, l.Egress, l.Walled, l.Postgres, l.WalledPostgres} {
		if x != nil {
			_ = x.Close()
		}
	}
}

// Idle returns for how long nothing was under way.
func (l *Listeners) Idle(now time.Time) time.Duration {
	if l.active.Load() > 0 {
		return 0
	}
	return now.Sub(time.Unix(0, l.last.Load()))
}

// countedListener counts open connections as something under way.
type countedListener struct {
	net.Listener
	l *Listeners
}

func counting(ln net.Listener, l *Listeners) net.Listener {
	if ln == nil {
		return nil
	}
	return &countedListener{ln, l}
}

// Accept returns the next connection.
func (c *countedListener) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c.l.active.Add(1)
	return &countedConn{Conn: conn, done: sync.OnceFunc(func() {
		c.l.last.Store(time.Now().UnixNano())
		c.l.active.Add(-1)
	})}, nil
}

type countedConn struct {
	net.Conn
	done func()
}

// NetConn is the connection that is counted.
func (c *countedConn) NetConn() net.Conn { return c.Conn }

// Close closes the connection, and counts it as over once.
func (c *countedConn) Close() error {
	c.done()
	return c.Conn.Close()
}

func (l *Listeners) counted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.active.Add(1)
		defer func() {
			l.last.Store(time.Now().UnixNano())
			l.active.Add(-1)
		}()
		h.ServeHTTP(w, r)
	})
}

// Serve answers on l until ctx ends, then lets running requests finish for a few seconds.
func (s *Sallyport) Serve(ctx context.Context, l *Listeners) error {
	agents, err := s.agents(bearer{s.Tokens, s}, false)
	if err != nil {
		return err
	}
	people, err := s.people(bearer{s.Tokens, nil}, false)
	if err != nil {
		return err
	}
	socketAgents, err := s.agents(local{bearer{s.Tokens, s}, peer{s.Tokens, false}, s.walls}, true)
	if err != nil {
		return err
	}
	socketPeople, err := s.people(peer{s.Tokens, true}, true)
	if err != nil {
		return err
	}
	socket := http.NewServeMux()
	socket.Handle("/agents/", http.StripPrefix("/agents", socketAgents))
	socket.Handle("/people/", http.StripPrefix("/people", socketPeople))
	socket.Handle(mcp.RelayPath, socketAgents)
	socket.Handle("GET /healthz", socketAgents)
	socket.Handle("GET /readyz", socketAgents)

	databases, err := s.postgresDoor()
	if err != nil {
		return err
	}
	l.last.Store(time.Now().UnixNano())
	errs := make(chan error, 6)
	var servers []*http.Server
	agentsLn, err := s.protect(l.Agents, true)
	if err != nil {
		return err
	}
	peopleLn, err := s.protect(l.People, false)
	if err != nil {
		return err
	}
	egressLn, err := s.protectEgress(counting(l.Egress, l))
	if err != nil {
		return err
	}
	serve := func(ln net.Listener, h http.Handler) {
		if ln == nil {
			return
		}
		srv := gateway.Server(l.counted(h))
		srv.ConnContext = gateway.ConnContext
		srv.ErrorLog = log.New(io.Discard, "", 0) // a line for each failed handshake would let anybody fill a disk; handlers log their own
		srv.BaseContext = func(net.Listener) context.Context { return ctx }
		servers = append(servers, srv)
		go func() { errs <- srv.Serve(ln) }()
	}
	serve(agentsLn, agents)
	serve(peopleLn, people)
	serve(&gateway.PeerListener{Listener: l.Socket, Allow: s.admits}, socket)
	proxied, cut := context.WithCancel(ctx)
	defer cut()
	var wg sync.WaitGroup
	if l.Postgres != nil {
		wg.Go(func() { errs <- databases.Serve(proxied, &countedListener{l.Postgres, l}) })
		walled := &gateway.PeerListener{Listener: l.WalledPostgres, Allow: s.walls.supervisor}
		wg.Go(func() { errs <- databases.Serve(proxied, &countedListener{walled, l}) })
	}
	gone := make(chan struct{}) // closed when the proxy has let go of everything
	go func() {
		defer close(gone)
		if egressLn != nil {
			walled := &gateway.PeerListener{Listener: l.Walled, Allow: s.walls.supervisor}
			errs <- s.Egress.Serve(proxied, egressLn, &countedListener{walled, l})
		}
	}()
	select {
	case <-ctx.Done():
		err = nil
	case err = <-errs:
	}
	cut()
	<-gone
	wg.Wait()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	for _, srv := range servers {
		if srv.Shutdown(stop) != nil {
			_ = srv.Close()
		}
	}
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

// admits says who may use the socket at all.
func (s *Sallyport) admits(p gateway.Peer) bool {
	if len(s.Config.Identity.PeerUIDs) == 0 {
		return p.UID == int64(os.Geteuid())
	}
	for _, uid := range s.Config.Identity.PeerUIDs {
		if uid == p.UID {
			return true
		}
	}
	return p.UID == int64(os.Geteuid())
}

// Agents returns the doors for agents behind auth, for a program that embeds an owner and proves callers in
// its own way. Serve serves them too.
func (s *Sallyport) Agents(auth gateway.Authenticator) (http.Handler, error) {
	return s.agents(auth, false)
}

// agents are the doors for agents: the action protocol, MCP over HTTP and, on the socket, the relay.
func (s *Sallyport) agents(auth gateway.Authenticator, socket bool) (http.Handler, error) {
	gate, err := gateway.New(gateway.Config{Auth: auth, Malformed: s.Enforcer.Malformed, Door: action.DoorAPI, Challenge: s.challenge,
		Hosts: s.Config.Gateway.Hosts, Ready: s.ready})
	if err != nil {
		return nil, err
	}
	if s.Config.Policy.Alone {
		routes, err := s.decideRoutes()
		if err != nil {
			return nil, err
		}
		return gate.Handler(routes...)
	}
	routes, err := api.Routes(api.Config{Enforcer: s.Enforcer, Gate: gate, Separation: separationOf})
	if err != nil {
		return nil, err
	}
	routes = append(routes, s.mcpHTTP.Routes()...)
	routes = append(routes, s.hooks...)
	foreign, err := s.authzenRoutes()
	if err != nil {
		return nil, err
	}
	routes = append(routes, foreign...)
	routes = append(routes, s.llm...)
	routes = append(routes, s.attestRoutes()...)
	routes = append(routes, s.exchangeRoutes()...)
	routes = append(routes, s.metadataRoutes()...)
	routes = append(routes, s.bundleRoutes()...)
	if socket {
		door := &mcp.RelayDoor{Gate: s.MCP, Upstream: s.relayUpstream, Separation: separationOf}
		routes = append(routes, door.Route())
	}
	return gate.Handler(routes...)
}

// people is the door for people.
func (s *Sallyport) people(auth gateway.Authenticator, socket bool) (http.Handler, error) {
	cfg := s.adminConfig()
	if !socket { // browsers do not come over the socket
		cfg.Sessions, auth = s.logins, s.logins.Authenticator(auth)
		if s.signIn != nil {
			cfg.SignIn = s.signIn
		}
	}
	gate, err := gateway.New(gateway.Config{Auth: auth, Malformed: s.Enforcer.Malformed, Door: action.DoorCLI,
		Hosts: s.Config.Admin.Hosts, SameOrigin: true, Ready: s.ready})
	if err != nil {
		return nil, err
	}
	cfg.Gate = gate
	routes, err := admin.Routes(cfg)
	if err != nil {
		return nil, err
	}
	routes = append(routes, s.moreForPeople()...)
	if socket {
		routes = append(routes, s.localRoutes()...)
	}
	h, err := gate.Handler(routes...)
	if err != nil {
		return nil, err
	}
	if !socket {
		h = admin.Console(h)
	}
	return admin.Public(cfg, h), nil
}

// moreForPeople are the routes beside those of the operator API.
func (s *Sallyport) moreForPeople() []gateway.Route {
	return append(s.attestOperatorRoutes(),
		gateway.Route{Pattern: "POST /v1/ledger/entries/{index}/disclose", Scopes: []action.Scope{action.ScopeAuditor}, Serve: s.ledgerDisclose})
}

func (s *Sallyport) ready() bool { return s.Ledger.Stats().Stopped == "" }

func (s *Sallyport) adminConfig() admin.Config {
	return admin.Config{
		Approvals: s.Approval, Signers: s.Signers, Actor: s.actor, Identities: s.Tokens, Switch: s.Kill, Tools: s.Tools, Index: current{s.Index, s}, Shown: s.shown,
		Records: s.records, Facts: knownFacts{s}, Follow: s.indexConfig().Follow, Log: s.Ledger.Handler(), LogPublic: s.Config.Ledger.Public, Metrics: s.metrics(), Alerts: alerts{s}, Reviews: s.reviews,
		Bundles: adminBundles{s}, Workbench: &workbench{s: s}, Origins: s.Config.origins(), Channels: &s.channels,
		Policies: func(context.Context) ([]admin.Policy, error) {
			b := s.Policy.Active().Bundle()
			return []admin.Policy{{Name: b.Name, Digest: b.Digest, Sequence: b.Sequence, ExpiresMs: b.Expires, Mode: action.Enforce, Observe: s.watched()}}, nil
		},
		LoginClosed: s.recordClosed,
	}
}
