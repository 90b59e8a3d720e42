// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/store"
)

// Source is an informer with its name, which the kernel quotes when it fails.
type Source struct {
	Name     string
	Informer Informer
	// Deadline is 0 for Config.InformDeadline, or Inline for an informer that reads memory only and always
	// returns: it is called without a goroutine of its own.
	Deadline time.Duration
	// Quick reports that the informer reads memory only, and returns at once, for this q: then it is called as an
	// Inline one is. A goroutine of its own, and a timer, cost more than most facts do. Nil says it of none.
	Quick func(q *action.Query) bool
}

// Inline is the Deadline of informers that read memory only.
const Inline time.Duration = -1

// Config wires an Enforcer. Fields without a default are required.
type Config struct {
	Stages   [][]Source // informers; those of one stage run in parallel, stages in order
	Decider  Decider
	Approver Approver
	Recorder Recorder
	Payloads Payloads
	Standing Standing
	Store    store.Store // sessions
	Random   io.Reader
	// Fingerprint is a keyed digest of parts under a label. It never leaves this log.
	Fingerprint func(label string, parts ...[]byte) string
	// Scrub returns a copy of q in which every secret that the detectors found is replaced by its kind,
	// length and keyed fingerprint. The decision and the record see only that copy.
	Scrub func(q *action.Query) (*action.Query, error)
	// Redact removes the given secrets from a JSON value and keeps it valid.
	Redact func(content []byte, found []action.Secret) ([]byte, error)
	// Mask hides the personal data of kinds (joined by commas) in a JSON value, all but the last keep characters,
	// and keeps it valid. Without it a decision that demands it is denied.
	Mask func(content []byte, kinds string, keep int) ([]byte, error)

	Now        func() time.Time                                                                 // nil means time.Now
	Quarantine func(ctx context.Context, s *action.Subject, session string, why []action.Match) // nil: nothing beyond the deny
	Hear       func(ctx context.Context, session string, s *action.Subject, said Said)          // nil: nobody listens
	Notify     func(q *action.Query, o action.Obligation)                                       // carries notify obligations out, without blocking; nil: they deny
	Denied     func(q *action.Query)                                                            // told of each deny at gate one; nil: nobody counts
	Asked      func(q *action.Query)                                                            // told of each ask at gate one once it is on record; nil: nobody listens
	// History replays every record of the log, oldest first; nil: start empty. Index is the record's.
	History func(ctx context.Context, fn func(index uint64, r *action.Record) error) error

	// ReasoningAsked stores what an agent says of its reasons only where the decision demands it (keep, part=reasoning).
	ReasoningAsked bool

	InformDeadline  time.Duration // for a stage's informers; 0 means 250 ms
	OutcomeDeadline time.Duration // from intent or heartbeat to outcome; 0 means 10 min
	AskFor          time.Duration // how long an ask stays open; 0 means 15 min
	HoldFor         time.Duration // how long a held result waits; 0 means 24 h
	HoldBytes       int           // largest result that gate two looks at; 0 means 16 MiB
	MaxOpen         int           // actions that have not ended; 0 means 4096
	MaxOpenAgent    int           // of them, of one agent; 0 means 1024
	MaxOpenBytes    int64         // of their arguments, of one agent; 0 means 64 MiB. All agents together may hold 8 times that
	MaxSessions     int           // sessions of one agent that are not idle; 0 means 1024
	MaxEnded        int           // ended actions whose call ids are remembered; 0 means 65536
	SessionIdle     time.Duration // 0 means 30 min
}

// Enforcer is the path. Its methods are safe for concurrent use.
type Enforcer struct {
	cfg Config

	mu      sync.Mutex        // guards below; never held across I/O
	entries map[string]*entry // by action id
	offers  offers
	calls   map[string]*entry // by call fingerprint
	waiting map[string]*entry // asked entries of doors without call ids, by session and binding
	ended   []string          // ids of ended entries, oldest first
	open    load
	agents  map[string]*load // by tenant and agent

	running   running
	sessMu    sync.Mutex // guards sessions
	sessions  map[string]*sessionState
	malformed malformedCounts
	decisions [4]atomic.Int64 // by action.Verdict.Values

	unenforced atomic.Int64 // decisions that observe mode let pass
}

// New returns an Enforcer over cfg. It reads nothing; call Restore before the doors open.
func New(cfg Config) (*Enforcer, error) {
	for name, missing := range map[string]bool{
		"Decider": cfg.Decider == nil, "Approver": cfg.Approver == nil, "Recorder": cfg.Recorder == nil,
		"Payloads": cfg.Payloads == nil, "Standing": cfg.Standing == nil, "Store": cfg.Store == nil,
		"Random": cfg.Random == nil, "Fingerprint": cfg.Fingerprint == nil, "Scrub": cfg.Scrub == nil,
		"Redact": cfg.Redact == nil,
	} {
		if missing {
			return nil, errors.New("enforce: config field " + name + " is required")
		}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Quarantine == nil {
		cfg.Quarantine = func(context.Context, *action.Subject, string, []action.Match) {}
	}
	if cfg.Denied == nil {
		cfg.Denied = func(*action.Query) {}
	}
	if cfg.Asked == nil {
		cfg.Asked = func(*action.Query) {}
	}
	if cfg.Hear == nil {
		cfg.Hear = func(context.Context, string, *action.Subject, Said) {}
	}
	defaultTo(&cfg.InformDeadline, 250*time.Millisecond)
	defaultTo(&cfg.OutcomeDeadline, 10*time.Minute)
	defaultTo(&cfg.AskFor, 15*time.Minute)
	defaultTo(&cfg.HoldFor, 24*time.Hour)
	defaultTo(&cfg.HoldBytes, 16<<20)
	defaultTo(&cfg.MaxOpen, 4096)
	defaultTo(&cfg.MaxEnded, 65536)
	defaultTo(&cfg.MaxOpenAgent, 1024)
	defaultTo(&cfg.MaxOpenBytes, 64<<20)
	defaultTo(&cfg.MaxSessions, 1024)
	defaultTo(&cfg.SessionIdle, 30*time.Minute)
	return &Enforcer{cfg: cfg, entries: map[string]*entry{}, calls: map[string]*entry{}, waiting: map[string]*entry{}, agents: map[string]*load{},
		sessions: map[string]*sessionState{}, malformed: malformedCounts{seen: map[string]*malformedCount{}}}, nil
}

func defaultTo[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}
