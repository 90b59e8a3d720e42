// SPDX-License-Identifier: Apache-2.0

// Command door serves the HTTP door of gateway/mcp before one server, with an enforcement point that allows
// everything and keeps its state in memory. It exists to show that the door itself changes nothing of the
// protocol: the conformance suite must score the same through it as without it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/gateway/mcp"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to serve on")
	upstream := flag.String("upstream", "", "URL of the server")
	free := flag.Bool("free", false, "print an address that is free now, and leave")
	pass := flag.Bool("passthrough", false, "judge nothing, to see what the plumbing alone does")
	flag.Parse()
	if *free {
		l, err := net.Listen("tcp", *listen)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(l.Addr())
		return
	}
	if err := run(*listen, *upstream, *pass); err != nil {
		log.Fatal(err)
	}
}

func run(listen, upstream string, pass bool) error {
	all := &open{actions: map[string]bool{}}
	gate, err := mcp.New(mcp.Config{Enforcer: all})
	if err != nil {
		return err
	}
	if pass {
		gate = mcp.Passthrough()
	}
	door, err := mcp.NewHTTP(mcp.HTTPConfig{Gate: gate, Upstream: func(_ context.Context, _ *gateway.Caller, name string) (mcp.HTTPUpstream, bool) {
		return mcp.HTTPUpstream{Upstream: mcp.Upstream{Name: name, URL: upstream}}, true
	}})
	if err != nil {
		return err
	}
	front, err := gateway.New(gateway.Config{Auth: anyone{}, Malformed: all.Malformed, Door: action.DoorMCP, SameOrigin: true})
	if err != nil {
		return err
	}
	handler, err := front.Handler(door.Routes()...)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Printf("http://%s/mcp/everything\n", l.Addr())
	return gateway.Server(handler).Serve(l)
}

// anyone is an authenticator that takes every caller for the same agent.
type anyone struct{}

func (anyone) Authenticate(context.Context, *http.Request) (*gateway.Caller, error) {
	s := action.NewQuery(action.Before).Subject
	s.ID, s.Scopes, s.Channel.CredID = "conformance", []action.Scope{action.ScopeAgent}, "conformance"
	return &gateway.Caller{Subject: s, Name: s.ID}, nil
}

// open allows every attempt and releases every outcome as it is, each once.
type open struct {
	mu      sync.Mutex
	n       int
	actions map[string]bool // guarded by mu, as n
}

var errNone = errors.New("no such action")

func (o *open) Session(context.Context, *action.Subject, string, enforce.SessionOptions) (string, error) {
	return "session", nil
}

func (o *open) Before(_ context.Context, a enforce.Attempt) (enforce.Admission, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.n++
	id := fmt.Sprintf("action-%d", o.n)
	o.actions[id] = true
	return enforce.Admission{ID: id, Verdict: action.Allow, Status: action.StatusIntended, Arguments: a.Arguments}, nil
}

func (o *open) Wait(context.Context, *action.Subject, string) (enforce.Admission, error) {
	return enforce.Admission{}, errNone
}

func (o *open) Chunk(_ context.Context, _ *action.Subject, id string, out enforce.Outcome) (enforce.Release, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.actions[id] {
		return enforce.Release{}, errNone
	}
	return enforce.Release{ID: id, Verdict: action.Allow, Status: action.StatusReleased, Content: out.Content}, nil
}

func (o *open) After(ctx context.Context, s *action.Subject, id string, out enforce.Outcome) (enforce.Release, error) {
	rel, err := o.Chunk(ctx, s, id, out)
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.actions, id)
	return rel, err
}

func (o *open) Heartbeat(*action.Subject, string) error { return nil }

func (o *open) Malformed(_ context.Context, door action.Door, source, code string) {
	log.Printf("malformed: %s %s %s", door, source, code)
}
