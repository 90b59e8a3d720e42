// SPDX-License-Identifier: Apache-2.0

// Package approval asks people whether an action may go on, and hands out grants that hold for exactly
// what they saw, once, for a short time.
//
// # What is trusted
//
// The store is a cache. An ask, its answers and its grant count only if the ledger holds their records:
// the record of the opening binds the ask and the document that people see, each answer's record binds
// all answers so far. At Open every stored row is compared with what Config.Past tells; a row that was
// forged, edited or restored from an older copy is dropped, and a grant that was used, revoked or has
// expired stays so. Every answer is durable in the ledger before it takes effect.
//
// # Failure model
//
// If an answer's record may or may not have persisted, the answer has no effect in this process, and at
// the next start the row disagrees with the ledger and is dropped. A crash between Consume and the
// intent burns the grant. Lost rows mean that people are asked again.
package approval

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
	"github.com/sallyport/sallyport/store"
)

// Config is what a Desk needs. Store, Record and Past are required.
type Config struct {
	Tenant string      // "" means "default"; requests of other tenants are refused
	Store  store.Store // keys TENANT/approval/ID

	// Record makes r durable in the ledger before it returns.
	Record func(ctx context.Context, r *action.Record) (action.Receipt, error)
	// Past calls fn, oldest first, with every record of kind approval and every other record that names a
	// grant. It reads the log itself, not a view of it. Records older than MaxTTL and GrantTTL together may
	// be left out.
	Past func(ctx context.Context, fn func(r *action.Record) error) error

	// Prove says how strong a channel evidence is of person having signed challenge: passkey, or operator for
	// a signed command line. Nil takes no signatures.
	Prove func(ctx context.Context, person string, challenge []byte, evidence string) (action.Rank, error)

	// Opened is told of each request in which a rule names the channel judge and that a second system may
	// confirm. It must not block. Nil tells nobody; people may answer all the same.
	Opened func(id string, r enforce.Request, expires time.Time)

	TTL      time.Duration // how long an ask stays open; 0 means 15 min
	MaxTTL   time.Duration // bounds what a rule may demand; 0 means 24 h
	GrantTTL time.Duration // how long an unused grant holds; 0 means 15 min

	MaxPending int // open asks per session; 0 means 3
	MaxAgent   int // open asks and unused grants per agent; 0 means 64
	MaxOpen    int // the same in all; 0 means 1024

	Rate       int           // asks that one agent may open in RateWindow; 0 means 20
	RateWindow time.Duration // 0 means 10 min

	Cooldown     time.Duration // how long a denied call and its variants stay denied; 0 means 15 min
	SinkCooldown time.Duration // how long other calls of the same tool to the same sinks do; 0 means 1 min
	Keep         time.Duration // how long ended asks can still be listed; 0 means 24 h, at least RateWindow
	SeedRate     int           // seeded requests a day; 0 means 10
	MaxKept      int           // ended asks that can still be listed; 0 means 2048

	Now  func() time.Time // nil means time.Now
	Rand io.Reader        // nil means crypto/rand
}

// The errors that people's doors translate.
var (
	ErrNotFound = errors.New("approval: no such request")
	// ErrState refuses an answer to a request that is no longer open, or a revocation of no grant.
	ErrState = errors.New("approval: the request is not in that state")
	// ErrChanged refuses an answer to another revision than the one that was seen.
	ErrChanged = errors.New("approval: the request has changed since it was shown")
	// ErrOwn refuses an approval by the agent that asks, or twice by one person.
	ErrOwn = errors.New("approval: this approver may not answer this request")
	// ErrMore reports an approval that was recorded but does not yet grant: its channel is too weak, the
	// approver is in no group that counts, or more people are needed.
	ErrMore = errors.New("approval: recorded, and not yet enough")
)

// Desk holds open asks and unused grants. It implements enforce.Approver; its methods are safe for
// concurrent use.
type Desk struct {
	cfg Config

	mu        sync.Mutex // guards below and the fields of each ask; never held across I/O
	asks      map[string]*ask
	byBinding map[string]*ask   // the latest per binding
	same      map[string][]*ask // all of a binding
	byTwin    map[string]*ask   // those that wait behind another of the same binding, by binding and action
	leads     map[string]*ask   // the requests that equal ones wait behind, by likeness
	pending   map[string]int    // open asks per session
	live      map[string]int    // open asks and unused grants per agent
	open      int               // the same in all
	opened    map[string][]int64
	cool      map[string]cooling
	absent    map[string]absence // by id
	seeds     map[string]*seed   // by id; no ask is among them
	seeded    []int64            // when, over the last day, ms
	anyOpen   chan struct{}      // closed and replaced whenever an ask opens
	high      int64              // the latest time seen, ms
}

var _ enforce.Approver = (*Desk)(nil)

// Open reads the stored asks, keeps those that the ledger proves, and deletes the others.
func Open(ctx context.Context, cfg Config) (*Desk, error) {
	if cfg.Store == nil || cfg.Record == nil || cfg.Past == nil {
		return nil, errors.New("approval: Store, Record and Past are required")
	}
	cfg.defaults()
	d := &Desk{
		cfg: cfg, asks: map[string]*ask{}, byBinding: map[string]*ask{}, byTwin: map[string]*ask{}, same: map[string][]*ask{}, leads: map[string]*ask{}, pending: map[string]int{}, live: map[string]int{},
		opened: map[string][]int64{}, cool: map[string]cooling{}, absent: map[string]absence{}, seeds: map[string]*seed{}, anyOpen: make(chan struct{}),
	}
	if err := d.load(ctx); err != nil {
		return nil, fmt.Errorf("approval: reading stored requests: %w", err)
	}
	return d, nil
}

func (c *Config) defaults() {
	def := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	num := func(v *int, n int) {
		if *v <= 0 {
			*v = n
		}
	}
	if c.Tenant == "" {
		c.Tenant = "default"
	}
	def(&c.TTL, 15*time.Minute)
	def(&c.MaxTTL, 24*time.Hour)
	def(&c.GrantTTL, 15*time.Minute)
	def(&c.RateWindow, 10*time.Minute)
	def(&c.Cooldown, 15*time.Minute)
	def(&c.SinkCooldown, time.Minute)
	def(&c.Keep, 24*time.Hour)
	num(&c.MaxPending, 3)
	num(&c.MaxAgent, 64)
	num(&c.MaxOpen, 1024)
	num(&c.Rate, 20)
	num(&c.MaxKept, 2048)
	num(&c.SeedRate, 10)
	c.Keep = max(c.Keep, c.RateWindow, c.Cooldown)
	c.SinkCooldown = min(c.SinkCooldown, c.Cooldown)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
}

// now is the wall clock, or the latest time ever seen if that is later: a clock that is set back revives
// nothing. The caller holds mu.
func (d *Desk) now() int64 {
	d.high = max(d.high, d.cfg.Now().UnixMilli())
	return d.high
}
