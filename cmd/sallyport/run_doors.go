// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/gateway/mcp"
	"github.com/sallyport/sallyport/internal/attester"
	"github.com/sallyport/sallyport/internal/confine"
)

// supervisor serves one confined program. It enters the run with the owner, which knows it from then on by this
// process, so that nothing inside holds a credential.
type supervisor struct {
	app          *app
	c            *client
	walls        []confine.Wall
	agent, token string
	name         string // of the run, random

	at     *attester.Attester // nil: the program has no lease
	dialer *http.Transport    // of connections to the owner that count as the program's

	init   atomic.Int64 // process that holds the namespaces; 0 before the program was started
	mu     sync.Mutex
	answer sallyport.RunAnswer // guarded by mu
}

func newSupervisor(a *app, c *client, walls []confine.Wall, agent, token string) *supervisor {
	s := &supervisor{app: a, c: c, walls: walls, agent: agent, token: token, name: rand.Text()}
	s.dialer = &http.Transport{MaxIdleConnsPerHost: 16, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return s.dial(ctx, func(sallyport.RunAnswer) string { return sallyport.SocketPath(c.data) })
	}}
	return s
}

// client is the owner as the program reaches it.
func (s *supervisor) client() *client {
	return &client{data: s.c.data, http: &http.Client{Transport: s.dialer}}
}

// run starts the program and serves its doors until it ends: that of agents, and the pipes.
func (s *supervisor) run(spec confine.Spec, pipes []pipe) error {
	own, err := s.doors(&spec, pipes)
	if err != nil {
		return err
	}
	defer func() {
		for _, l := range own {
			_ = l.Close()
		}
	}()
	p, err := confine.Start(spec, os.Stdin, os.Stdout, os.Stderr)
	if err != nil {
		return err
	}
	if p.Bound != "" {
		fmt.Fprintf(s.app.err, "sallyport: bounds: %s\n", p.Bound)
	}
	s.init.Store(int64(p.PID()))
	return s.serve(p, append(own, p.Listeners...), pipes)
}

// serve answers at the program's doors, once the owner believes its walls, until the program ends.
func (s *supervisor) serve(p *confine.Process, listeners []net.Listener, pipes []pipe) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGHUP)
	over := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-stop:
			_ = p.Kill()
		case <-over:
		}
	})
	srv := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second}
	var refused error
	wg.Go(func() {
		if refused = s.enter(ctx); refused != nil {
			_ = p.Kill()
			return
		}
		for i, l := range listeners[1:] {
			wg.Go(func() { s.pipeAll(ctx, l, pipes[i].to) })
		}
		_ = srv.Serve(listeners[0])
	})
	code, err := p.Wait()
	signal.Stop(stop)
	close(over)
	cancel()
	_ = srv.Close()
	for _, l := range listeners {
		_ = l.Close()
	}
	wg.Wait()
	switch {
	case refused != nil && !errors.Is(refused, context.Canceled):
		return refused
	case err != nil:
		return err
	case code != 0:
		return &exitCode{code, nil}
	}
	return nil
}

// pipe is a door whose protocol is the owner's: we join connections, and look into none.
type pipe struct {
	port    int                                                        // inside, where all are free
	to      func(sallyport.RunAnswer) string                           // the owner's socket
	environ func(s *supervisor, addr string) (env []string, err error) // that leads programs to it
}

// pipesOf are the doors beside the agents' that the configuration opens.
func pipesOf(cfg *sallyport.Config) (out []pipe) {
	if cfg.Egress.Listen != "" && cfg.Egress.Listen != "none" {
		out = append(out, pipe{egressPort, func(a sallyport.RunAnswer) string { return a.UnixPath }, (*supervisor).proxyEnv})
	}
	if len(cfg.Postgres.Databases) > 0 && cfg.Postgres.Listen != "none" {
		only := ""
		if len(cfg.Postgres.Databases) == 1 {
			only = cfg.Postgres.Databases[0].Name
		}
		out = append(out, pipe{postgresPort, func(a sallyport.RunAnswer) string { return a.PostgresPath },
			func(s *supervisor, addr string) ([]string, error) { return s.databaseEnv(addr, only) }})
	}
	return out
}

// doors says where the program finds its doors. Without a network of its own they are ours, wherever there is room.
func (s *supervisor) doors(spec *confine.Spec, pipes []pipe) (own []net.Listener, err error) {
	spec.Ports = []int{agentsPort}
	for _, p := range pipes {
		spec.Ports = append(spec.Ports, p.port)
	}
	var addrs []string
	for _, port := range spec.Ports {
		addrs = append(addrs, fmt.Sprintf("127.0.0.1:%d", port))
	}
	if !slices.Contains(spec.Walls, confine.Network) {
		spec.Ports = nil
		for i := range addrs {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return own, err
			}
			own, addrs[i] = append(own, l), l.Addr().String()
		}
	}
	spec.Env = append(spec.Env, "SALLYPORT_URL=http://"+addrs[0], "NO_PROXY=127.0.0.1,localhost", "no_proxy=127.0.0.1,localhost")
	for i, p := range pipes {
		env, err := p.environ(s, addrs[1+i])
		if err != nil {
			return own, err
		}
		spec.Env = append(spec.Env, env...)
	}
	return own, nil
}

// derived is a credential for doors that take no proof of possession: it dies with the lease. "" if there is no lease.
func (s *supervisor) derived() (string, error) {
	if s.at == nil {
		return "", nil
	}
	return s.at.Derived(context.Background())
}

func (s *supervisor) proxyEnv(addr string) (env []string, err error) {
	proxy := &url.URL{Scheme: "http", Host: addr}
	password, err := s.derived()
	if err != nil {
		return nil, err
	}
	if password != "" {
		proxy.User = url.UserPassword("agent", password)
	}
	for _, n := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		env = append(env, n+"="+proxy.String())
	}
	return env, nil
}

// databaseEnv is what clients of PostgreSQL read. The way to us is a pipe of our own, where TLS would hide nothing.
func (s *supervisor) databaseEnv(addr, database string) ([]string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	env := []string{"PGHOST=" + host, "PGPORT=" + port, "PGSSLMODE=disable"}
	if database != "" {
		env = append(env, "PGDATABASE="+database)
	}
	password, err := s.derived()
	if password != "" {
		env = append(env, "PGPASSWORD="+password)
	}
	return env, err
}

// enter proves the run to the owner. The program may not have begun yet, or may end while the owner looks: until the
// proof holds nobody answers at the doors.
func (s *supervisor) enter(ctx context.Context) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := s.register(ctx)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		again := strings.Contains(err.Error(), "not proved") && !strings.Contains(err.Error(), "another build")
		if !again || time.Now().After(deadline) {
			return hinted{fmt.Errorf("run: %w", err), `the owner must be of the same build: stop it, or "sallyport up" anew; agents: "sallyport agents list"`}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (s *supervisor) register(ctx context.Context) error {
	var a sallyport.RunAnswer
	body := sallyport.RunRequest{Run: s.name, Init: int(s.init.Load()), Walls: s.walls, Agent: s.agent, Token: s.token, Leased: s.at != nil}
	if err := s.c.call(ctx, http.MethodPost, "/people/v1/local/walls", &body, &a); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = a
	return nil
}

func (s *supervisor) entered() sallyport.RunAnswer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answer
}

// dial connects to a socket of the owner. It enters the run first: the owner may be another one than before.
func (s *supervisor) dial(ctx context.Context, path func(sallyport.RunAnswer) string) (net.Conn, error) {
	if s.init.Load() != 0 {
		if err := s.register(ctx); err != nil {
			return nil, err
		}
	}
	var d net.Dialer
	return d.DialContext(ctx, "unix", path(s.entered()))
}

// handler passes requests to the owner's door for agents, and to nothing else of it.
func (s *supervisor) handler() http.Handler {
	proxy := &httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", "localhost", "localhost"
			for _, h := range []string{"Authorization", "X-Api-Key", "Cookie", "Dpop"} {
				r.Out.Header.Del(h)
			}
			r.Out.Header.Set(gateway.RunHeader, s.name)
			if r.In.URL.Path != mcp.RelayPath {
				r.Out.URL.Path, r.Out.URL.RawPath = "/agents"+r.In.URL.Path, ""
			}
		},
		Transport: s.dialer,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			http.Error(w, "the owner cannot be reached", http.StatusBadGateway)
		},
	}
	if s.at != nil {
		proxy.Transport = s.at
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := r.URL.Path
		clean := strings.HasPrefix(p, "/") && (path.Clean(p) == p || path.Clean(p)+"/" == p)
		if !clean || r.Method == http.MethodConnect {
			http.Error(w, "not open to a confined program", http.StatusForbidden)
			return
		}
		proxy.ServeHTTP(w, r)
	})
}

// pipeAll joins each connection of l with one to the owner's socket until l is closed; the end of ctx cuts what is open.
func (s *supervisor) pipeAll(ctx context.Context, l net.Listener, to func(sallyport.RunAnswer) string) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		wg.Go(func() {
			defer func() { _ = in.Close() }()
			out, err := s.dial(ctx, to)
			if err != nil {
				return
			}
			defer func() { _ = out.Close() }()
			done := make(chan struct{}, 2)
			for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
				wg.Go(func() { _, _ = io.Copy(pair[0], pair[1]); done <- struct{}{} })
			}
			select {
			case <-done:
			case <-ctx.Done():
			}
		})
	}
}

// systemRoots are where systems keep the certificates that programs trust.
var systemRoots = []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"}

// trust lets the program trust what the egress proxy shows it: the authority of its agent, besides the system's.
func trust(ctx context.Context, c *client, agent, tmp string, spec *confine.Spec) error {
	var ca sallyport.EgressCA
	if err := c.call(ctx, http.MethodGet, "/people/v1/local/egress/ca/"+url.PathEscape(agent), nil, &ca); err != nil {
		return err
	}
	own, all := filepath.Join(tmp, "ca.pem"), filepath.Join(tmp, "roots.pem")
	bundle := []byte(ca.Certificate)
	for _, p := range systemRoots {
		if b, err := os.ReadFile(p); err == nil {
			bundle = append(append(bundle, '\n'), b...)
			break
		}
	}
	if err := errors.Join(os.WriteFile(own, []byte(ca.Certificate), 0o600), os.WriteFile(all, bundle, 0o600)); err != nil {
		return err
	}
	spec.Env = append(spec.Env, "NODE_EXTRA_CA_CERTS="+own, "SSL_CERT_FILE="+all, "CURL_CA_BUNDLE="+all, "REQUESTS_CA_BUNDLE="+all)
	return nil
}
