// SPDX-License-Identifier: Apache-2.0

// Command door serves a whole owner before one server: policy, detectors, labels, approvals and log over a
// data directory that is thrown away. Its policy allows everything and obliges nothing, and every caller is
// taken for the one agent that it makes, because the suite has no token. It exists to show that the gates
// change nothing of the protocol: the conformance suite must score the same through them as without them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/gateway/mcp"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/ledger"
)

// server is our name of the server.
const server = "everything"

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to serve on")
	upstream := flag.String("upstream", "", "URL of the server")
	free := flag.Bool("free", false, "print an address that is free now, and leave")
	pass := flag.Bool("passthrough", false, "judge nothing, to see what the plumbing alone does")
	report := flag.String("report", "", "file for what was decided, written at the end")
	flag.Parse()
	if *free {
		l, err := net.Listen("tcp", *listen)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(l.Addr())
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := guarded
	if *pass {
		run = passthrough
	}
	if err := run(ctx, *listen, *upstream, *report); err != nil {
		log.Fatal(err)
	}
}

// policy allows everything and obliges nothing.
var policy = map[string]string{
	"sallyport-bundle.yaml": "version: 1\nname: conformance\nsequence: 1\ndescription: Allows everything.\nowner: test\n",
	"all.rego": "package sallyport.conformance\n\nimport rego.v2\n\n" +
		`allow contains {"id": "all", "code": "all", "reason": "Everything."} if input.version == "agent.v1"` + "\n",
}

// guarded serves a whole owner.
func guarded(ctx context.Context, listen, upstream, report string) error {
	dir, err := os.MkdirTemp("", "conformance")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	cfg := sallyport.DefaultConfig()
	cfg.Data, cfg.Policy.Dir, cfg.Ledger.SegmentBytes = filepath.Join(dir, "data"), filepath.Join(dir, "policy"), 8<<20
	cfg.Gateway.Servers = []sallyport.MCPServer{{Name: server, URL: upstream}}
	if err := os.Mkdir(cfg.Policy.Dir, 0o700); err != nil {
		return err
	}
	for name, text := range policy {
		if err := os.WriteFile(filepath.Join(cfg.Policy.Dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	s, err := sallyport.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	auth, err := anAgent(ctx, s)
	if err != nil {
		return err
	}
	handler, err := s.Agents(auth)
	if err != nil {
		return err
	}
	background, cancel := context.WithCancel(ctx)
	ran := make(chan error, 1)
	go func() { ran <- s.Run(background) }()
	err = serve(ctx, listen, handler)
	cancel()
	return errors.Join(err, <-ran, tell(s, report))
}

// tell writes how often each verdict was given, which results were changed and what was refused: a run that
// judged nothing shows nothing.
func tell(s *sallyport.Sallyport, path string) error {
	if path == "" {
		return nil
	}
	text, refused := fmt.Sprintf("%d records", s.Ledger.Checkpoint().Size), ""
	for _, v := range []action.Verdict{action.Allow, action.Ask, action.Deny, action.Quarantine} {
		text += fmt.Sprintf(", %d %s", s.Enforcer.Decisions(v), v)
	}
	changed := 0
	err := s.Ledger.Records(context.Background(), func(e ledger.Entry) error {
		if _, err := e.Open(action.PartReleased); err == nil { // recorded where it differs from the result
			changed++
		}
		if l := e.Leaf; l.Verdict == action.Deny {
			refused += fmt.Sprintf("%s %s/%s %v %v\n", l.Verdict, l.Server, l.Tool, l.Rules, l.Codes)
		}
		return nil
	})
	return errors.Join(err, os.WriteFile(path, fmt.Appendf(nil, "%s, %d results changed\n%s", text, changed, refused), 0o600))
}

// tokenless takes every caller for the holder of one token.
type tokenless struct {
	tokens *identity.Tokens
	secret string
}

func anAgent(ctx context.Context, s *sallyport.Sallyport) (*tokenless, error) {
	if _, err := s.Tokens.CreateAgent(ctx, identity.AgentSpec{ID: "conformance", By: "test"}); err != nil {
		return nil, err
	}
	secret, _, err := s.Tokens.Issue(ctx, identity.TokenSpec{Agent: "conformance", User: "tester", Scopes: []action.Scope{action.ScopeAgent}, By: "test"})
	return &tokenless{s.Tokens, secret}, err
}

// Authenticate proves the token, whoever asks.
func (t *tokenless) Authenticate(ctx context.Context, _ *http.Request) (*gateway.Caller, error) {
	p, err := t.tokens.Authenticate(ctx, t.secret)
	if err != nil {
		return nil, gateway.ErrUnauthenticated
	}
	return &gateway.Caller{Subject: p.Subject, Name: p.Name}, nil
}

// passthrough serves the plumbing alone.
func passthrough(ctx context.Context, listen, upstream, _ string) error {
	door, err := mcp.NewHTTP(mcp.HTTPConfig{Gate: mcp.Passthrough(), Upstream: func(_ context.Context, _ *gateway.Caller, name string) (mcp.HTTPUpstream, bool) {
		return mcp.HTTPUpstream{Upstream: mcp.Upstream{Name: name, URL: upstream}}, true
	}})
	if err != nil {
		return err
	}
	front, err := gateway.New(gateway.Config{Auth: anyone{}, Malformed: func(context.Context, action.Door, string, string) {}, Door: action.DoorMCP})
	if err != nil {
		return err
	}
	handler, err := front.Handler(door.Routes()...)
	if err != nil {
		return err
	}
	return serve(ctx, listen, handler)
}

// anyone is an authenticator that takes every caller for the same agent.
type anyone struct{}

func (anyone) Authenticate(context.Context, *http.Request) (*gateway.Caller, error) {
	s := action.NewQuery(action.Before).Subject
	s.ID, s.Scopes, s.Channel.CredID = "conformance", []action.Scope{action.ScopeAgent}, "conformance"
	return &gateway.Caller{Subject: s, Name: s.ID}, nil
}

// serve answers until ctx ends, and prints where.
func serve(ctx context.Context, listen string, handler http.Handler) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	srv := gateway.Server(handler)
	srv.ErrorLog = log.New(io.Discard, "", 0)
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	fmt.Printf("http://%s/mcp/%s\n", l.Addr(), server)
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
