// SPDX-License-Identifier: Apache-2.0

// Package mcp is the door for the Model Context Protocol: a transparent proxy on raw bytes, for stdio
// servers and for streamable HTTP, revisions 2026-07-28 and 2025-11-25. Older revisions that a client and
// a server negotiate with initialize are treated as 2025-11-25.
//
// A message is read strictly, judged on what was read, and the original bytes are forwarded. They are
// re-emitted, canonically, only where an obligation rewrote arguments or a result, where a list was
// filtered, and where our own sealed state was taken out of a request.
//
// # What passes which gate
//
// Requests that act (tools/call, prompts/get, resources/read and subscribe, completion/complete, and the
// server's sampling, elicitation and roots requests) are actions of their own kind. Requests of the
// protocol itself whose answers carry the server's text (initialize, lists, tasks, subscriptions/listen)
// are actions of type "message". Every text from the server, notifications included, passes the second
// gate before release, in the order in which it came. Unknown requests are answered -32601 and recorded;
// unknown notifications of a client are dropped and recorded.
//
// # Trust
//
// Client and server are both untrusted. The relay under `sallyport mcp` runs as the client's user and is
// trusted with nothing that this user could not do anyway; what it says of its parent process is checked
// against the kernel's view.
package mcp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// Enforcer is the path as this door uses it; *enforce.Enforcer is one.
type Enforcer interface {
	Session(ctx context.Context, s *action.Subject, host string, o enforce.SessionOptions) (string, error)
	Before(ctx context.Context, a enforce.Attempt) (enforce.Admission, error)
	Wait(ctx context.Context, s *action.Subject, id string) (enforce.Admission, error)
	Chunk(ctx context.Context, s *action.Subject, id string, o enforce.Outcome) (enforce.Release, error)
	Heartbeat(s *action.Subject, id string) error
	After(ctx context.Context, s *action.Subject, id string, o enforce.Outcome) (enforce.Release, error)
	Malformed(ctx context.Context, door action.Door, source, code string)
}

var _ Enforcer = (*enforce.Enforcer)(nil)

// Observation is a page of tool definitions as a server listed them, before any filtering.
type Observation struct {
	Subject  *action.Subject
	Upstream Upstream
	Tools    []Tool
	Complete bool // the page is the whole list
}

// Tool is one listed definition.
type Tool struct {
	Name string
	Raw  []byte // the JSON object as the server sent it; an array of all of them if it listed the name twice
}

// Config is what a Gate needs. Enforcer is required.
type Config struct {
	Enforcer Enforcer

	// Observe is told of every listed definition before the list is released. It returns the names of those
	// that it cannot use: they are hidden. An error withholds the list. nil observes nothing.
	Observe func(ctx context.Context, o Observation) (unusable []string, err error)

	// Visible reports whether the subject may see a tool; once ctx has ended it is to say quickly what it can. nil shows every tool. What becomes visible or hidden while clients
	// are connected they learn with their next list; Relist tells those that can be told.
	Visible func(ctx context.Context, s *action.Subject, server string, t Tool) bool

	// Answer hands in what the user of the agent's own client answered to the ask behind ticket. It counts
	// as channel client; whether that suffices is decided by the policy. nil means that clients are never
	// asked and always get a ticket.
	Answer func(ctx context.Context, ticket string, accept bool, s *action.Subject) error

	Now  func() time.Time // nil means time.Now
	Rand io.Reader        // nil means crypto/rand

	MessageBytes int           // largest message and largest held result; 0 means 16 MiB
	Pending      int           // open requests per connection and direction; 0 means 1024
	AskTTL       time.Duration // how long a client may take to answer an ask; 0 means 10 min
	ListTTL      time.Duration // upper bound of ttlMs in lists; 0 means 5 s
}

// The defaults of Config.
const (
	DefaultMessageBytes = 16 << 20
	DefaultPending      = 1024
	DefaultAskTTL       = 10 * time.Minute
	DefaultListTTL      = 5 * time.Second
)

// Gate judges the messages of all MCP connections of a process. It is safe for concurrent use.
type Gate struct {
	cfg   Config
	blind bool // judges nothing, see Passthrough
	seal  *sealer
	rooms rooms

	mu       sync.Mutex
	bindings map[string]map[string][]binding // server, tool: mirrored header parameters; guarded by mu
	relays   map[*served]bool                // those that are served now; guarded by mu
}

// New returns a gate. It errs when a required field is missing or randomness is not to be had.
func New(cfg Config) (*Gate, error) {
	if cfg.Enforcer == nil {
		return nil, errors.New("mcp: no enforcer")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.MessageBytes == 0 {
		cfg.MessageBytes = DefaultMessageBytes
	}
	if cfg.Pending == 0 {
		cfg.Pending = DefaultPending
	}
	if cfg.AskTTL == 0 {
		cfg.AskTTL = DefaultAskTTL
	}
	if cfg.ListTTL == 0 {
		cfg.ListTTL = DefaultListTTL
	}
	s, err := newSealer(cfg.Rand, cfg.Now, cfg.AskTTL)
	if err != nil {
		return nil, fmt.Errorf("mcp: %w", err)
	}
	return &Gate{cfg: cfg, seal: s, rooms: rooms{now: cfg.Now, ttl: cfg.AskTTL}, bindings: map[string]map[string][]binding{}, relays: map[*served]bool{}}, nil
}

// Passthrough returns a gate that judges nothing and records nothing. It exists to measure what a proxy of
// the same plumbing costs; it must stand before no agent.
func Passthrough() *Gate {
	return &Gate{cfg: Config{Now: time.Now, MessageBytes: DefaultMessageBytes, Pending: DefaultPending, Enforcer: nobody{}},
		blind: true, rooms: rooms{now: time.Now}, bindings: map[string]map[string][]binding{}, relays: map[*served]bool{}}
}

// nobody is the enforcer of a gate that never asks it: it refuses.
type nobody struct{}

var errBlind = errors.New("mcp: a pass-through gate judges nothing")

func (nobody) Session(context.Context, *action.Subject, string, enforce.SessionOptions) (string, error) {
	return "", nil
}
func (nobody) Before(context.Context, enforce.Attempt) (enforce.Admission, error) {
	return enforce.Admission{}, errBlind
}
func (nobody) Wait(context.Context, *action.Subject, string) (enforce.Admission, error) {
	return enforce.Admission{}, errBlind
}
func (nobody) Chunk(context.Context, *action.Subject, string, enforce.Outcome) (enforce.Release, error) {
	return enforce.Release{}, errBlind
}
func (nobody) After(context.Context, *action.Subject, string, enforce.Outcome) (enforce.Release, error) {
	return enforce.Release{}, errBlind
}
func (nobody) Heartbeat(*action.Subject, string) error                { return nil }
func (nobody) Malformed(context.Context, action.Door, string, string) {}

// Upstream is a server behind the gate.
type Upstream struct {
	Name    string      // our name, part of every tool key
	Command []string    // of a stdio server
	Roots   []string    // its arguments that name its folders, see Roots
	URL     string      // of an HTTP server; behind a relay without its query
	Zone    action.Zone // as the operator vetted it; "" is unknown and counts as outside
}

// identity tells two servers under one name apart.
func (u *Upstream) identity() string { return digest(append([]string{u.URL}, u.Command...)...) }

// Peer is who speaks on a connection. The door has authenticated it.
type Peer struct {
	Subject    action.Subject
	Session    string // from Enforcer.Session
	Source     string // for counted records of malformed attempts: never a secret
	Grade      action.Grade
	Separation action.Separation
	Confined   []string      // walls around the client
	Roots      []string      // folders that calls to this server are meant to stay in, see enforce.Attempt
	Patience   time.Duration // how long a call may wait for people before it is answered with a ticket; at most MaxPatience
}

// MaxPatience bounds Peer.Patience: clients give up on a call sooner or later.
const MaxPatience = 10 * time.Minute

// Step is what a message leads to. Any part may be nil.
type Step struct {
	Forward []byte // to the other side
	Reply   []byte // back to the side that the message came from

	// Later, if it is set, stands for the other two: it waits for people, until ctx ends at the latest, and
	// returns what the message leads to then. Messages that come meanwhile do not wait for it.
	Later func(ctx context.Context) Step
}
