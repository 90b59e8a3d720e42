// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/store"
)

// The scopes of a kill, narrowest first.
const (
	KillSession = "session"
	KillAgent   = "agent"
	KillTenant  = "tenant"
	KillAll     = "all"
)

var killScopes = []string{KillSession, KillAgent, KillTenant, KillAll}

// The codes of the switch's records, all of kind kill. A record's Subject is a MAC of its target.
const (
	codeKill     = "kill."             // and the scope
	codeRelease  = "release."          // and the scope
	codeProposed = "release.proposed"  // the first of two actors asked for the release of everything
	codeSingle   = "release.by-single" // one actor released everything, as the configuration lets him
)

// MaxKilledSessions is how many sessions may be killed one by one. Beyond it, killing a session kills
// its agent.
const MaxKilledSessions = 50_000

// proposalLife is how long the second actor has to release everything.
const proposalLife = 15 * time.Minute

// ErrSecond means that the release was noted and needs a second actor.
var ErrSecond = errors.New("identity: a release of everything needs a second actor")

// ErrNotKilled means that there is nothing to release.
var ErrNotKilled = errors.New("identity: that is not killed")

// Target is what a kill stops.
type Target struct {
	Scope  string `json:"scope"`  // session, agent, tenant or all
	ID     string `json:"id"`     // of the session or agent; "" else
	Tenant string `json:"tenant"` // "" with all
	Agent  string `json:"agent"`  // of a session, where it is known
}

// ErrFactor means that stopping or releasing everything needs the signature of a registered key.
var ErrFactor = errors.New("identity: this needs the signature of a registered key")

// ErrWait means that a single operator's release was noted and takes effect when he repeats it later.
var ErrWait = errors.New("identity: noted; repeat the release when its delay is over")

// Actor is who operates the switch. Two actors are distinct if both names differ.
type Actor struct {
	ID         string  // user, operator or "kernel"
	Credential string  // id of the credential
	Signed     *Signed // what he signed for this very order, verified; nil for nothing
}

// Order is a kill in force.
type Order struct {
	Target
	Epoch  int64   `json:"epoch"`
	By     string  `json:"by"`
	Reason string  `json:"reason"` // free text; sealed in the ledger
	TimeMs int64   `json:"time_ms"`
	Signed *Signed `json:"signed,omitempty"` // what By signed for it
}

// SwitchConfig wires a kill switch.
type SwitchConfig struct {
	Store  store.Store // required
	Key    []byte      // required, as Config.Key
	Record RecordFunc  // required
	Past   PastFunc    // as Config.Past
	Tokens *Tokens     // required: says which credentials are withdrawn

	// SingleOperator lets one actor release a kill of everything, by asking twice with ReleaseDelay between,
	// and with a passkey once anybody has a key. Each such release is recorded with the code
	// release.by-single.
	SingleOperator bool
	ReleaseDelay   time.Duration // 0 means 1 min
	// Factor reports whether anybody has a key to sign with; then everything is stopped and released with
	// such a signature only. Nil means that nobody has.
	Factor func() bool

	// Lease is how long this process may go on without Run having come round; 0 means that it may for ever.
	// It begins with Run.
	Lease time.Duration
	// Refresh asks whoever orders kills whether this process still knows all of them, in each round of Run;
	// an error lets the lease run out. Nil: this process is the only one, and its own loop is enough.
	Refresh func(ctx context.Context) error
	// Owns says whether this process holds the cell (tenant, agent); nil means that it holds all.
	Owns func(tenant, agent string) bool
	// Held says whether a credential that is no token of ours, such as a lease, still holds; nil: it is not known.
	Held func(s *action.Subject) bool
	Now  func() time.Time // nil means time.Now
}

// Switch is the kill switch. It implements enforce.Standing, from memory. All methods are safe for
// concurrent use.
type Switch struct {
	c SwitchConfig

	write sync.Mutex // held while orders change, the ledger included; taken before mu

	mu       sync.RWMutex     // guards below; never held across I/O
	orders   map[string]order // by where the row stands
	hidden   map[string]bool  // MACs of targets that the ledger says are killed and the store forgot
	sessions int
	epoch    int64
	changed  chan struct{} // closed and replaced with every change
	began    time.Time
	until    atomic.Int64 // end of the lease, ns since began; 0 before Run
	proposed struct {
		by Actor
		at time.Time
	}
}

type order struct {
	Order
	revision uint64
}

// OpenSwitch reads the kills in force.
func OpenSwitch(ctx context.Context, c SwitchConfig) (*Switch, error) {
	if c.Store == nil || c.Record == nil || c.Tokens == nil {
		return nil, errors.New("identity: switch config: store, record and tokens are required")
	}
	if len(c.Key) < 32 {
		return nil, fmt.Errorf("identity: switch config: a key of %d bytes is shorter than 32", len(c.Key))
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.ReleaseDelay <= 0 {
		c.ReleaseDelay = time.Minute
	}
	s := &Switch{c: c, orders: map[string]order{}, hidden: map[string]bool{}, changed: make(chan struct{}), began: time.Now()}
	prefixes := []string{killRoot}
	for _, tenant := range c.Tokens.c.Tenants {
		prefixes = append(prefixes, tenant+"/identity/kill/")
	}
	for _, p := range slices.Compact(prefixes) {
		err := rows(ctx, c.Store, c.Key, p, func(e store.Entry, row []byte) error {
			o := order{revision: e.Revision}
			if err := action.Read(row, &o.Order, action.Limits{}); err != nil {
				return err
			}
			if o.key() != e.Key {
				return fmt.Errorf("%w row", ErrMalformed)
			}
			s.set(e.Key, o)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if c.Past != nil {
		if err := s.hold(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// killRoot holds the one order that belongs to no tenant.
const killRoot = "*/identity/kill/"

func (t Target) key() string {
	if t.Scope == KillAll {
		return killRoot + KillAll
	}
	return t.Tenant + "/identity/kill/" + t.Scope + "/" + strings.ToLower(t.ID)
}

// hold compares the rows with the ledger. What the ledger says is killed stays so; what it says is
// released is released; a row it does not know is a kill whose recording failed, and stays.
func (s *Switch) hold(ctx context.Context) error {
	state := map[string]bool{}
	var n int64
	err := s.c.Past(ctx, func(r *action.Record) error {
		if r.Kind != action.KindKill || r.Subject == "" {
			return nil
		}
		for _, code := range r.Codes {
			if scope, ok := strings.CutPrefix(code, codeKill); ok && slices.Contains(killScopes, scope) {
				state[r.Subject] = true
				n++
			} else if scope, ok := strings.CutPrefix(code, codeRelease); ok && slices.Contains(killScopes, scope) {
				state[r.Subject] = false
				n++
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("identity: read the ledger: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch = max(s.epoch, n)
	for key, o := range s.orders {
		sum := s.mac(key)
		if killed, known := state[sum]; known && !killed && o.Epoch <= n {
			s.drop(key)
		}
		delete(state, sum)
	}
	for sum, killed := range state {
		if killed {
			s.hidden[sum] = true
		}
	}
	return nil
}

func (s *Switch) mac(key string) string { return mac(s.c.Key, "kill", key) }

// set and drop change the orders in memory; mu is held, or s is not shared yet.
func (s *Switch) set(key string, o order) {
	if _, ok := s.orders[key]; !ok && o.Scope == KillSession {
		s.sessions++
	}
	s.orders[key] = o
	s.epoch = max(s.epoch, o.Epoch)
}

func (s *Switch) drop(key string) {
	if o, ok := s.orders[key]; ok && o.Scope == KillSession {
		s.sessions--
	}
	delete(s.orders, key)
	delete(s.hidden, s.mac(key))
}

// Kill stops the target. It is in force in this process when Kill returns, whatever error it returns:
// an error says that storing or recording it failed. Repeats are no error.
func (s *Switch) Kill(ctx context.Context, by Actor, t Target, reason string) (Order, error) {
	if err := s.checkTarget(&t); err != nil {
		return Order{}, err
	}
	if t.Scope == KillAll && by.Signed == nil && s.factor() {
		return Order{}, ErrFactor
	}
	reason = plain(reason, 500)
	// The kill is in force before we wait for anybody: a writer may hang on the ledger.
	key, o, first := s.force(by, t, reason)
	s.write.Lock()
	defer s.write.Unlock()
	// A release that was under way may have dropped it since.
	if k, again, missing := s.force(by, t, reason); missing || !first {
		key, o, first = k, again, missing
	}
	if !first {
		return o.Order, nil
	}
	ctx = context.WithoutCancel(ctx)
	o.Signed = by.Signed
	err := s.record(ctx, []string{codeKill + o.Scope}, o.Order, by)
	return o.Order, errors.Join(err, s.put(ctx, key, o))
}

// force puts the kill in force in memory, and reports whether it was not yet.
func (s *Switch) force(by Actor, t Target, reason string) (key string, o order, first bool) {
	now := s.c.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, ok := s.orders[t.key()]; ok {
		return t.key(), o, false
	}
	if t.Scope == KillSession && s.sessions >= MaxKilledSessions {
		t = Target{Scope: KillAgent, ID: t.Agent, Tenant: t.Tenant}
		if t.ID == "" {
			t = Target{Scope: KillTenant, Tenant: t.Tenant}
		}
		if o, ok := s.orders[t.key()]; ok {
			return t.key(), o, false
		}
	}
	s.epoch++
	o = order{Order: Order{Target: t, Epoch: s.epoch, By: plain(by.ID, 128), Reason: reason, TimeMs: now.UnixMilli()}}
	s.set(t.key(), o)
	s.proposed.by = Actor{}
	s.tell()
	return t.key(), o, true
}

func (s *Switch) put(ctx context.Context, key string, o order) error {
	b, err := seal(s.c.Key, key, o.Order)
	if err != nil {
		return err
	}
	// A row may be left over from a release that did not get to delete it.
	old, err := s.c.Store.Get(ctx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("identity: kill: %w", err)
	}
	if o.revision, err = s.c.Store.Put(ctx, key, b, old.Revision); err != nil {
		return fmt.Errorf("identity: kill: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(key, o)
	return nil
}

// Release ends a kill. It is on record before it takes effect. Releasing everything needs two distinct
// actors within 15 minutes, and the first gets ErrSecond; where SingleOperator is set, one actor who asks
// twice will do, and the first time gets ErrWait.
func (s *Switch) Release(ctx context.Context, by Actor, t Target, reason string) error {
	if err := s.checkTarget(&t); err != nil {
		return err
	}
	s.write.Lock()
	defer s.write.Unlock()
	now, key := s.c.Now(), t.key()
	s.mu.Lock()
	o, ok := s.orders[key]
	ok = ok || s.hidden[s.mac(key)]
	proposed := s.proposed
	if ok {
		s.epoch++
	}
	epoch := s.epoch
	s.mu.Unlock()
	if !ok {
		return fmt.Errorf("%w: %s %q", ErrNotKilled, t.Scope, t.ID)
	}
	said := Order{Target: t, Epoch: epoch, By: plain(by.ID, 128), Reason: plain(reason, 500), TimeMs: now.UnixMilli(), Signed: by.Signed}
	codes := []string{codeRelease + t.Scope}
	switch {
	case t.Scope != KillAll || !s.factor():
	case s.c.SingleOperator && (by.Signed == nil || !by.Signed.Passkey):
		return fmt.Errorf("%w: of a passkey, where one person operates alone", ErrFactor)
	case by.Signed == nil:
		return ErrFactor
	}
	if t.Scope == KillAll && !second(proposed.by, by, now.Sub(proposed.at)) {
		switch waited := now.Sub(proposed.at); {
		case !s.c.SingleOperator:
			return s.propose(ctx, said, by, now)
		case !strings.EqualFold(proposed.by.ID, by.ID) || by.ID == "" || waited < 0 || waited >= proposalLife:
			return cmp.Or(unlessNoted(s.propose(ctx, said, by, now)), ErrWait)
		case waited < s.c.ReleaseDelay:
			return ErrWait
		}
		codes = append(codes, codeSingle)
	}
	if err := s.record(ctx, codes, said, by); err != nil {
		return err
	}
	s.mu.Lock()
	s.drop(key)
	s.proposed.by = Actor{}
	s.tell()
	s.mu.Unlock()
	if o.revision == 0 {
		return nil
	}
	if err := s.c.Store.Delete(ctx, key, o.revision); err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("identity: release: %w", err)
	}
	return nil
}

// unlessNoted is err without the sentinel of a proposal, which says that it succeeded.
func unlessNoted(err error) error {
	if errors.Is(err, ErrSecond) {
		return nil
	}
	return err
}

func (s *Switch) factor() bool { return s.c.Factor != nil && s.c.Factor() }

// second reports whether b is another than a, in time.
func second(a, b Actor, age time.Duration) bool {
	return a.ID != "" && a.Credential != "" && b.ID != "" && b.Credential != "" &&
		!strings.EqualFold(a.ID, b.ID) && a.Credential != b.Credential && age >= 0 && age < proposalLife
}

func (s *Switch) propose(ctx context.Context, said Order, by Actor, now time.Time) error {
	if err := s.record(ctx, []string{codeProposed}, said, by); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proposed.by, s.proposed.at = by, now
	return ErrSecond
}

func (s *Switch) record(ctx context.Context, codes []string, o Order, by Actor) error {
	tenant := o.Tenant
	if tenant == "" {
		tenant = s.c.Tokens.c.Tenants[0]
	}
	r := blank(action.KindKill, tenant, time.UnixMilli(o.TimeMs))
	r.Codes, r.Actor, r.Subject = codes, plain(by.ID, 128), s.mac(o.key())
	switch o.Scope {
	case KillSession:
		r.Session, r.Agent = o.ID, o.Agent
	case KillAgent:
		r.Agent = o.ID
	}
	if err := detail(r, owner(r.Actor), o); err != nil {
		return err
	}
	if _, err := s.c.Record(ctx, r); err != nil {
		return fmt.Errorf("identity: record %s: %w", codes[0], err)
	}
	return nil
}

func (s *Switch) checkTarget(t *Target) error {
	if !slices.Contains(killScopes, t.Scope) {
		return fmt.Errorf("%w scope %q: wanted session, agent, tenant or all", ErrMalformed, action.Clip(t.Scope, 32))
	}
	if t.Scope == KillAll {
		*t = Target{Scope: KillAll}
		return nil
	}
	if t.Tenant == "" {
		t.Tenant = s.c.Tokens.c.Tenants[0]
	}
	if !slices.Contains(s.c.Tokens.c.Tenants, t.Tenant) {
		return fmt.Errorf("%w tenant %q: there is none of that name", ErrMalformed, action.Clip(t.Tenant, 64))
	}
	if t.Scope == KillTenant {
		t.ID, t.Agent = "", ""
		return nil
	}
	if t.Scope == KillAgent {
		t.Agent = ""
	} else if t.Agent != "" {
		if err := checkID("agent id", t.Agent); err != nil {
			return err
		}
	}
	return checkID(t.Scope+" id", t.ID)
}

// Orders returns the kills in force, oldest first.
func (s *Switch) Orders() []Order {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]Order, 0, len(s.orders))
	for _, o := range s.orders {
		out = append(out, o.Order)
	}
	slices.SortFunc(out, func(a, b Order) int { return int(a.Epoch - b.Epoch) })
	return out
}

// Changed returns a channel that is closed at the next kill or release.
func (s *Switch) Changed() <-chan struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.changed
}

// tell wakes those who wait for a change; mu is held.
func (s *Switch) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// plain makes s fit for a record: valid, without control characters, of at most n bytes.
func plain(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r < 0xa0) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
	return action.Clip(s, n)
}
