// SPDX-License-Identifier: Apache-2.0

// Package lease keeps what agents have proved about themselves, for as long as it holds.
//
// # Leases, not states
//
// Evidence earns a lease of seconds to minutes, bound to one session key. It is renewed with new evidence over a
// new nonce, or lapses by itself; nothing has to happen for an agent to lose its standing. A renewal that is
// refused ends the lease at once, and so does End. A lease never outlives its evidence, its collateral or the
// credential that it was asked for with. Leases are kept in memory only: after a restart agents prove themselves
// again.
//
// # Who decides
//
// This package checks cryptography, through the verifiers of its column, and states facts. What they are worth is
// said by Config.Appraise, which is policy: a signed document. An answer that it does not give, or that cannot be
// read, is the worst one. Each appraisal is on record with everything it saw before its lease works, so that
// it can be repeated later.
package lease

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
	"github.com/sallyport/sallyport/attest/modelsig"
	"github.com/sallyport/sallyport/store"
)

// Config wires a Book.
type Config struct {
	Store  store.Store // required: enrolled keys
	Key    []byte      // required, at least 32 bytes: MACs the rows
	Record func(ctx context.Context, r *action.Record) (action.Receipt, error)
	// Past calls fn with every record of the ledger, in order; nil: the store alone says what is enrolled.
	Past func(ctx context.Context, fn func(r *action.Record) error) error

	// Appraise is the policy: it turns an Input into the JSON of a Result.
	Appraise func(ctx context.Context, in Input) (Result, error)
	Bundle   func() action.Bundle // that Appraise rests on, for the record
	// Profile returns the reference values of an agent; false means that it has none and needs no lease.
	Profile func(tenant, agent string) (Profile, bool)
	// Needed tells whether an agent without a profile must have a lease all the same; nil: no.
	Needed func(tenant, agent string) bool
	// Under names the lease credential that a subject acts under; nil means its own credential.
	Under func(s *action.Subject) string
	// Head is the head of the ledger, which challenges carry; nil: none.
	Head func() string
	// Fingerprint is a keyed digest that may stand in a leaf. Required.
	Fingerprint func(label string, parts ...[]byte) string

	// Enclaves verify evidence of the kinds sgx, tdx, snp and nitro; a kind that is missing is refused.
	Enclaves map[string]attest.Verifier
	Roots    *x509.CertPool  // of the makers of TPMs; nil endorses none
	Model    modelsig.Config // whose model signatures count; no keys and roots: none

	Tenants []string // nil means "default"

	Now  func() time.Time // nil means time.Now, whose monotonic clock bounds leases
	Rand io.Reader        // nil means crypto/rand
}

// Profile holds what is expected of an agent. The zero value expects nothing and is met by nothing.
type Profile struct {
	ID         string              `json:"spiffe_id"`
	Kinds      []string            `json:"kinds"`        // accepted kinds of evidence
	Assurance  int                 `json:"assurance"`    // the least, 0..4
	Model      int                 `json:"model"`        // the least, 0..3
	LeaseS     int64               `json:"lease_s"`      // seconds between renewals
	Chips      []string            `json:"chips"`        // EK digests that its keys may live in; empty: any
	Registers  []int               `json:"registers"`    // of the TPM that are quoted
	Restarts   string              `json:"restarts"`     // "accept" or "refuse": a machine that restarted since it was last seen
	Statuses   []string            `json:"statuses"`     // platform states (Intel's words) that are accepted
	References map[string][]string `json:"references"`   // kind of measurement -> accepted digests, hex
	Signers    []string            `json:"signers"`      // digests of keys, and identities, whose signatures are accepted
	Builders   []string            `json:"builders"`     // builders whose builds need no reference value
	Sources    []string            `json:"sources"`      // of which one must be among the build's; empty: any
	Collateral int64               `json:"collateral_s"` // seconds that collateral may be old; 0: the policy's own bound
	Components []Component         `json:"components"`   // the programs that the agent is made of; empty: one, by References alone
}

// Component is one program of an agent, which proves itself by its own evidence: the agent's own, or a server that it
// starts. Its reference values stand beside those of the whole agent, and never for another component.
type Component struct {
	Name       string              `json:"name"`
	References map[string][]string `json:"references"`
	NoModel    bool                `json:"no_model"` // it loads no model: the least level of the model does not bind it
}

// The errors of this package.
var (
	ErrChallenge = errors.New("lease: no such challenge, or it was used or has expired")
	ErrRefused   = errors.New("lease: the evidence was refused")
	ErrNotFound  = errors.New("lease: no such lease or key")
	ErrBusy      = errors.New("lease: too many")
	ErrMalformed = errors.New("lease: malformed")
)

// The bounds.
const (
	ChallengeFor   = 30 * time.Second
	MaxLease       = 5 * time.Minute
	maxChallenges  = 4096
	maxPerAgent    = 64 // challenges, leases and keys of one agent
	maxLeases      = 16384
	remembered     = 10 * time.Minute // how long an ended lease still says why
	maxWhy         = 16
	MaxRequestSize = 4 << 20
)

// Book keeps challenges, enrolled keys and leases. Its methods are safe for concurrent use. Inform and Held
// answer from memory.
type Book struct {
	c Config

	rechecks atomic.Uint64 // how often Recheck has begun

	write sync.Mutex // held while keys change, the ledger included; taken before mu

	mu         sync.Mutex // guards below; never held across I/O
	challenges map[string]Challenge
	pending    map[string]enrolment
	keys       map[string]keyRow
	leases     map[string]*Lease
}

// Lease is one agent instance's proved standing.
type Lease struct {
	ID        string         `json:"id"`
	Tenant    string         `json:"tenant"`
	Agent     string         `json:"agent"`
	SPIFFE    string         `json:"spiffe_id"`
	Key       string         `json:"jkt"` // thumbprint of the session key
	Subject   action.Subject `json:"-"`   // the credential that it was asked for with
	Kind      string         `json:"kind"`
	Assurance int            `json:"assurance"`
	Model     int            `json:"model"`
	Test      action.Tri     `json:"test"`
	Vector    Vector         `json:"vector"`
	Status    string         `json:"status"`
	Why       []string       `json:"why"`                // the policy's reasons for anything but the best
	Component string         `json:"component,omitzero"` // of the agent, that the evidence is about; "" where it is all of one
	Evidence  string         `json:"evidence"`
	Weights   string         `json:"weights"`
	TCB       string         `json:"tcb"`
	Advisory  []string       `json:"advisories"`
	Debug     action.Tri     `json:"debug"`
	Granted   time.Time      `json:"granted"`
	Renewed   time.Time      `json:"renewed"`
	Ends      time.Time      `json:"ends"`
	proof     *proof         // what Recheck looks at; nil where collateral says nothing of it
	Ended     string         `json:"ended,omitzero"` // the code under which it was ended; "" while it was not
}

// Open reads the enrolled keys. It fails on a row that does not carry our MAC.
func Open(ctx context.Context, c Config) (*Book, error) {
	if c.Store == nil || c.Record == nil || c.Appraise == nil || c.Profile == nil || c.Fingerprint == nil || len(c.Key) < 32 {
		return nil, errors.New("lease: config: store, record, appraise, profile, fingerprint and a key of 32 bytes are required")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Tenants == nil {
		c.Tenants = []string{"default"}
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Under == nil {
		c.Under = func(s *action.Subject) string { return s.Channel.CredID }
	}
	if c.Head == nil {
		c.Head = func() string { return "" }
	}
	if c.Bundle == nil {
		c.Bundle = func() action.Bundle { return action.Bundle{} }
	}
	b := &Book{c: c, challenges: map[string]Challenge{}, pending: map[string]enrolment{}, keys: map[string]keyRow{}, leases: map[string]*Lease{}}
	return b, b.load(ctx)
}

// Live reports whether l holds at now.
func (l *Lease) Live(now time.Time) bool { return l.live(now) }

// Profile returns the reference values of an agent.
func (b *Book) Profile(tenant, agent string) (Profile, bool) { return b.c.Profile(tenant, agent) }

// live reports whether l holds at now, on the monotonic clock and on the wall: the first stops while a
// machine sleeps, the second can be set back.
func (l *Lease) live(now time.Time) bool {
	return l.Ended == "" && now.Before(l.Ends) && now.Round(0).Before(l.Ends.Round(0))
}

// Lease returns the lease with this id while it holds, or ErrNotFound.
func (b *Book) Lease(id string) (Lease, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l, ok := b.leases[id]
	if !ok || !l.live(b.c.Now()) {
		return Lease{}, fmt.Errorf("%w: %q", ErrNotFound, action.Clip(id, 64))
	}
	return *l, nil
}

// Leases returns what is known of a tenant's leases, those that ended within the last minutes included, in
// no order.
func (b *Book) Leases(tenant string) []Lease {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := []Lease{}
	for _, l := range b.leases {
		if l.Tenant == tenant {
			out = append(out, *l)
		}
	}
	return out
}

// End ends every lease that which chooses, at once, and puts each on record under code. It returns how many.
// They have ended in this process even where a record fails.
func (b *Book) End(ctx context.Context, which func(*Lease) bool, code, by, why string) (int, error) {
	b.mu.Lock()
	var ended []Lease
	now := b.c.Now()
	for _, l := range b.leases {
		if l.live(now) && which(l) {
			l.Ended, l.Why = code, []string{action.Clip(why, 256)}
			ended = append(ended, *l)
		}
	}
	b.mu.Unlock()
	var errs []error
	for i := range ended {
		errs = append(errs, b.recordEnd(ctx, &ended[i], code, by, why))
	}
	return len(ended), errors.Join(errs...)
}

// sweep forgets what is over. b.mu is held.
func (b *Book) sweep(now time.Time) {
	for id, c := range b.challenges {
		if !now.Before(c.Expires) {
			delete(b.challenges, id)
		}
	}
	for id, e := range b.pending {
		if !now.Before(e.expires) {
			delete(b.pending, id)
		}
	}
	for id, l := range b.leases {
		if !l.live(now) && now.After(l.Ends.Add(remembered)) {
			delete(b.leases, id)
		}
	}
}

func (b *Book) random(n int) ([]byte, error) {
	out := make([]byte, n)
	if _, err := io.ReadFull(b.c.Rand, out); err != nil {
		return nil, fmt.Errorf("lease: random bytes: %w", err)
	}
	return out, nil
}
