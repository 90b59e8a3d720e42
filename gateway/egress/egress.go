// SPDX-License-Identifier: Apache-2.0

// Package egress is the door for whatever an agent sends over HTTP: a forward proxy that takes requests in
// plain, inside intercepted TLS (HTTP/1.1 and HTTP/2) and as WebSocket messages, and passes each through the
// two gates as an action on a host.
//
// # What it holds to
//
// Names are resolved here and nowhere else, only after the first gate has let the request pass, so that a
// refused name is never looked up; the addresses that were checked are the ones that are dialled. The host
// of the tunnel, the server name of its TLS and the Host of each request inside are one host, or the request
// is refused and counted. What two readers could frame in two ways is refused. A response is held until it
// was judged; one that is too large or never ends is released in pieces, each judged together with the end
// of what went before.
//
// # What it cannot see
//
// Inside a tunnel to a pinned host it sees the server name and how much flows, nothing else. It is a way out,
// not the only one, unless the agent is confined.
package egress

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
)

// Enforcer is the path as this door walks it; *enforce.Enforcer is one.
type Enforcer interface {
	Session(ctx context.Context, s *action.Subject, host string, o enforce.SessionOptions) (string, error)
	Do(ctx context.Context, a enforce.Attempt, execute func(context.Context, enforce.Admission) (enforce.Outcome, error)) (enforce.Admission, enforce.Release, error)
	Chunk(ctx context.Context, s *action.Subject, id string, o enforce.Outcome) (enforce.Release, error)
	Heartbeat(s *action.Subject, id string) error
	Malformed(ctx context.Context, door action.Door, source, code string)
}

// Resolver looks names up; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Host is what the operator says of a host. The zero value is an unknown one: intercepted, public addresses
// only, nothing injected.
type Host struct {
	Pinned  bool // its clients accept one certificate only: TLS to it is not intercepted
	Private bool // it may have an address of a private range

	// StreamUploads lets bodies of more than Limits.BodyBytes leave window by window, as each has passed; else all
	// of such a body is judged before any of it leaves.
	StreamUploads bool

	// Credential is what we present in the agent's place: the name of a header, and its value. nil presents
	// nothing. It is asked for each request, so that a file can be replaced; an error fails the request.
	Credential func() (header, value string, err error)
}

// Config is what the door needs.
type Config struct {
	Enforcer Enforcer              // required
	Auth     gateway.Authenticator // required: proves the token of Proxy-Authorization
	// Canonical reads a host in any spelling as a lower-case name or as an address; required.
	Canonical func(host string) (name string, addr netip.Addr, err error)
	// PrivateAddr reports whether an address is anything but a public one; required.
	PrivateAddr func(a netip.Addr) bool
	// Host says what is known of a host. nil knows nothing of any.
	Host func(host string) Host
	// Standing reports whether an agent may still act, from memory. nil means that nobody is ever stopped.
	Standing func(ctx context.Context, s *action.Subject, session string) bool
	// Changed returns a channel that is closed when an answer of Standing may have changed. nil means that Run
	// asks every second.
	Changed func() <-chan struct{}
	// Separation says what keeps the caller from approving its own asks. nil means that it is not known.
	Separation func(c *gateway.Caller) action.Separation

	Resolver  Resolver                                                                       // nil means net.DefaultResolver
	Dial      func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) // nil means the operating system's
	Roots     *x509.CertPool                                                                 // of upstreams; nil means the system's
	Intercept []string                                                                       // name constraint of the CAs: domains that they may speak for; nil means all but those of Except
	Except    []string                                                                       // domains that the CAs must not speak for
	SpoolDir  string                                                                         // for bodies that wait to be judged; "" means the system's folder for temporary files
	Listeners []string                                                                       // host:port of our own doors: never dialled
	Limits    Limits
	Random    io.Reader        // nil means crypto/rand
	Now       func() time.Time // nil means time.Now
	Log       *slog.Logger     // nil means slog.Default()
}

// Limits bound what an agent and the world may make us keep. Zero fields get the defaults.
type Limits struct {
	Conns        int           // open connections; 1024
	AgentConns   int           // of one agent's requests at work; 128
	BodyBytes    int           // of one request that is judged in one piece; 4 MiB, what is larger is an upload
	UploadBytes  int           // of an upload that is spooled, packed and unpacked; 256 MiB, what is larger is refused
	WindowBytes  int           // of an upload that is judged at a time; 1 MiB
	SpoolBytes   int           // of all spools; 1 GiB
	HoldBytes    int           // of a response that is held as a whole; 2 MiB, what is larger is released in pieces
	PieceBytes   int           // of such a piece; 64 KiB
	MessageBytes int           // of one WebSocket message; 1 MiB
	Idle         time.Duration // between requests; 2 min
	Body         time.Duration // for the body of a request; 1 min
	Answer       time.Duration // until the head of a response; 2 min
	Hold         time.Duration // for the body of a response that is held; what has come is then released in pieces; 10 s
	Dial         time.Duration // for a name, a connection and a handshake, each; 10 s
}

func (l Limits) withDefaults() Limits {
	for _, n := range []struct {
		at  *int
		def int
	}{{&l.Conns, 1024}, {&l.AgentConns, 128}, {&l.BodyBytes, 4 << 20}, {&l.UploadBytes, 256 << 20},
		{&l.WindowBytes, 1 << 20}, {&l.SpoolBytes, 1 << 30}, {&l.HoldBytes, 2 << 20}, {&l.PieceBytes, 64 << 10}, {&l.MessageBytes, 1 << 20}} {
		if *n.at == 0 {
			*n.at = n.def
		}
	}
	for _, d := range []struct {
		at  *time.Duration
		def time.Duration
	}{{&l.Idle, 2 * time.Minute}, {&l.Body, time.Minute}, {&l.Answer, 2 * time.Minute}, {&l.Hold, 10 * time.Second}, {&l.Dial, 10 * time.Second}} {
		if *d.at == 0 {
			*d.at = d.def
		}
	}
	return l
}

// headBytes bounds the head of a request, and that of a response.
const headBytes = 64 << 10

// Proxy is the door. Its methods are safe for concurrent use.
type Proxy struct {
	cfg       Config
	authority *authority
	transport *http.Transport
	h2        *h2Server

	mu     sync.Mutex
	open   map[*work]bool // what is under way; guarded by mu
	agents map[string]int // requests under way by agent; guarded by mu
	spool  int64          // bytes of all spools; guarded by mu
	conns  chan struct{}
	wg     sync.WaitGroup // connections
}

// work is something under way that a kill must end.
type work struct {
	subject *action.Subject
	session string
	stop    context.CancelFunc
}

// New checks cfg and returns a door that serves nothing yet.
func New(cfg Config) (*Proxy, error) {
	if cfg.Enforcer == nil || cfg.Auth == nil || cfg.Canonical == nil || cfg.PrivateAddr == nil {
		return nil, errors.New("egress: Enforcer, Auth, Canonical and PrivateAddr are required")
	}
	if cfg.Host == nil {
		cfg.Host = func(string) Host { return Host{} }
	}
	if cfg.Standing == nil {
		cfg.Standing = func(context.Context, *action.Subject, string) bool { return true }
	}
	if cfg.Separation == nil {
		cfg.Separation = func(*gateway.Caller) action.Separation { return action.SeparationUnknown }
	}
	if cfg.Resolver == nil {
		cfg.Resolver = net.DefaultResolver
	}
	if cfg.Dial == nil {
		cfg.Dial = func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, to.String())
		}
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	cfg.Limits = cfg.Limits.withDefaults()
	p := &Proxy{cfg: cfg, open: map[*work]bool{}, agents: map[string]int{}, conns: make(chan struct{}, cfg.Limits.Conns)}
	p.authority = newAuthority(&p.cfg)
	p.transport = p.newTransport()
	p.h2 = newH2Server(p)
	return p, nil
}

// Serve answers on all of listeners until ctx ends or one fails, then closes what is open and waits for it. It closes
// the listeners.
func (p *Proxy) Serve(ctx context.Context, listeners ...net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer p.wg.Wait()
	defer cancel()
	p.wg.Go(func() { p.watch(ctx) })
	p.wg.Go(func() { p.h2.run(ctx) })
	errs := make(chan error, len(listeners))
	for _, ln := range listeners {
		p.wg.Go(func() {
			defer cancel()
			errs <- p.accept(ctx, ln)
		})
	}
	var err error
	for range listeners {
		err = errors.Join(err, <-errs)
	}
	return err
}

func (p *Proxy) accept(ctx context.Context, ln net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	for {
		c, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		select {
		case p.conns <- struct{}{}:
		default:
			_ = c.Close() // full: nobody is answered, because reading the question would cost what is short
			continue
		}
		p.wg.Go(func() {
			defer func() { <-p.conns }()
			p.serveConn(ctx, c)
		})
	}
}

// watch ends the work of whoever was stopped.
func (p *Proxy) watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	defer p.transport.CloseIdleConnections()
	for {
		var changed <-chan struct{}
		if p.cfg.Changed != nil {
			changed = p.cfg.Changed()
		}
		p.mu.Lock()
		all := make([]*work, 0, len(p.open))
		for w := range p.open {
			all = append(all, w)
		}
		p.mu.Unlock()
		for _, w := range all {
			if !p.cfg.Standing(ctx, w.subject, w.session) {
				w.stop()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-tick.C:
		}
	}
}

var errTooMany = errors.New("too many requests of this agent are under way")

// begin enters what a caller does into the list of work; the returned function takes it off.
func (p *Proxy) begin(ctx context.Context, c *gateway.Caller, session string) (context.Context, func(), error) {
	key := c.Subject.Tenant + "/" + c.Subject.ID
	ctx, cancel := context.WithCancel(ctx)
	w := &work{subject: &c.Subject, session: session, stop: cancel}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.agents[key] >= p.cfg.Limits.AgentConns {
		cancel()
		return nil, nil, errTooMany
	}
	p.agents[key]++
	p.open[w] = true
	return ctx, func() {
		cancel()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.open, w)
		if p.agents[key]--; p.agents[key] == 0 {
			delete(p.agents, key)
		}
	}, nil
}

// CA returns the certificate of an agent's authority in PEM, making the authority the first time. The key
// never leaves this process and is gone with it.
func (p *Proxy) CA(tenant, agent string) ([]byte, error) {
	a, err := p.authority.of(tenant, agent)
	if err != nil {
		return nil, err
	}
	return a.pem, nil
}
