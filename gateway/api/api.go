// SPDX-License-Identifier: Apache-2.0

// Package api is the HTTP action protocol: the door for agents, SDKs and harnesses that execute their
// tools themselves. They ask before they act and report after; what they report is a claim.
//
// # Who speaks
//
// The subject comes from the credential. Two body members may name it, agent and on_behalf_of, and only
// to say what the credential covers already: any other agent is refused, and so is a user other than the
// credential's own. A credential with the host scope and no user of its own may name one; that user is
// recorded as asserted and has no rights.
//
// # Answers
//
// Every decision is a 200, also a deny; 202 means that a person is still asked; 403 is this door's own
// refusal of the caller. Agents learn effect, hint, ids, the action's state and an opaque receipt.
// docs/api/agents.yaml is the contract, and a test holds the two together.
package api

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
)

// Enforcer is the path as this door needs it; *enforce.Enforcer is one.
type Enforcer interface {
	Session(ctx context.Context, s *action.Subject, host string, o enforce.SessionOptions) (string, error)
	Say(ctx context.Context, s *action.Subject, session string, said enforce.Said) error
	Before(ctx context.Context, a enforce.Attempt) (enforce.Admission, error)
	Wait(ctx context.Context, s *action.Subject, id string) (enforce.Admission, error)
	After(ctx context.Context, s *action.Subject, id string, o enforce.Outcome) (enforce.Release, error)
	Held(ctx context.Context, s *action.Subject, id string) (enforce.Release, error)
	WaitHeld(ctx context.Context, s *action.Subject, id string) (enforce.Release, error)
	Heartbeat(s *action.Subject, id string) error
}

var _ Enforcer = (*enforce.Enforcer)(nil)

// Config is what the door needs.
type Config struct {
	// Enforcer is the path. Required.
	Enforcer Enforcer
	// Gate stands before the routes. Required by New.
	Gate *gateway.Gate
	// Separation says what keeps the caller from approving its own asks. Nil means unknown.
	Separation func(c *gateway.Caller) action.Separation
	// ActionBytes bounds the body of an action; 0 means 4 MiB.
	ActionBytes int64
	// ContextBytes bounds the body of a session and of a context; 0 means 1020 KiB, so that a text with
	// its labels fits the 1 MiB that the path takes.
	ContextBytes int64
	// OutcomeBytes bounds the body of an outcome; 0 means 16 MiB.
	OutcomeBytes int64
	// Random mints names of sessions; nil means crypto/rand.
	Random io.Reader
}

// MaxWait is the longest that one GET of an action waits; longer wishes are cut to it.
const MaxWait = time.Minute

type door struct{ cfg Config }

// New returns the handler of a listener that serves this door alone.
func New(cfg Config) (http.Handler, error) {
	if cfg.Gate == nil {
		return nil, errors.New("api: Gate is required")
	}
	routes, err := Routes(cfg)
	if err != nil {
		return nil, err
	}
	return cfg.Gate.Handler(routes...)
}

// Routes returns the door's routes, for a listener that serves other doors too.
func Routes(cfg Config) ([]gateway.Route, error) {
	if cfg.Enforcer == nil {
		return nil, errors.New("api: Enforcer is required")
	}
	if cfg.ActionBytes <= 0 {
		cfg.ActionBytes = 4 << 20
	}
	if cfg.ContextBytes <= 0 {
		cfg.ContextBytes = 1020 << 10
	}
	if cfg.OutcomeBytes <= 0 {
		cfg.OutcomeBytes = 16 << 20
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	if cfg.Separation == nil {
		cfg.Separation = func(*gateway.Caller) action.Separation { return action.SeparationUnknown }
	}
	d := &door{cfg: cfg}
	agent, host := []action.Scope{action.ScopeAgent}, []action.Scope{action.ScopeHost}
	either := []action.Scope{action.ScopeAgent, action.ScopeHost}
	routes := []gateway.Route{
		{Pattern: "POST /v1/sessions", Scopes: either, Serve: d.openSession},
		{Pattern: "POST /v1/sessions/{id}/context", Scopes: host, Serve: d.addContext},
		{Pattern: "POST /v1/actions", Scopes: agent, Serve: d.before},
		{Pattern: "GET /v1/actions/{id}", Scopes: agent, Serve: d.wait, Wait: MaxWait},
		{Pattern: "POST /v1/actions/{id}/outcome", Scopes: agent, Serve: d.after},
		{Pattern: "POST /v1/actions/{id}/heartbeat", Scopes: agent, Serve: d.heartbeat},
	}
	for i := range routes {
		routes[i].Door = action.DoorAPI
	}
	return routes, nil
}
