// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/action"
)

// MaxChain is how many agents a delegation may pass through.
const MaxChain = 3

// ExchangePrefix begins the credential id of a caller that acts under a delegation.
const ExchangePrefix = "exchange:"

// CodeExchanged is the code under which a delegation is recorded, of kind key.
const CodeExchanged = "token.exchanged"

// Delegations keeps what credentials were exchanged for: the agent that acts for a user, and agents that act for
// other agents (RFC 8693). Each is bound to a key. A delegation only narrows: fewer scopes, an earlier end, the
// same user, one agent more in the chain. They are kept in memory and are gone after a restart.
//
// It is safe for concurrent use.
type Delegations struct {
	Record RecordFunc // required
	Now    func() time.Time
	Rand   io.Reader // nil means crypto/rand

	mu  sync.Mutex // guards below
	all map[string]Delegation
}

// Delegation is one exchange.
type Delegation struct {
	ID      string
	Key     string         // thumbprint of the key that it is bound to
	Subject action.Subject // who acts under it, complete
	Base    action.Subject // the credential that it was made with
	Until   time.Time
	// GroupsKnown says that the user's groups are whole, by his token.
	GroupsKnown bool
}

// Exchange is what is asked for.
type Exchange struct {
	Caller action.Subject // who asks; the chain ends with it
	Until  time.Time      // when the caller's credential ends; zero: never by itself
	Person *Person        // proved; nil keeps the caller's user
	Agent  string         // who is to act: "" is the caller, else another agent, whose key Key is
	Key    string         // thumbprint that the result is bound to
	Scopes []action.Scope // nil keeps the caller's
	TTL    time.Duration  // 0 means the longest
}

// maxDelegations bounds what is remembered, in all and of one agent.
const (
	maxDelegations      = 16384
	maxDelegationsAgent = 1024
	maxDelegationTTL    = time.Hour
)

// Make checks that an exchange narrows, records it and returns it. ErrMalformed says what would widen.
func (d *Delegations) Make(ctx context.Context, x Exchange) (Delegation, error) {
	now := d.now()
	s, err := narrowed(&x, now)
	if err != nil {
		return Delegation{}, err
	}
	out := Delegation{Key: x.Key, Subject: *s, Base: x.Caller, Until: earliest(now, x)}
	if base, ok := d.Get(x.Caller.Channel.CredID); ok {
		out.GroupsKnown = base.GroupsKnown
	}
	if x.Person != nil {
		out.GroupsKnown = x.Person.GroupsKnow == action.Yes
	}
	if !now.Before(out.Until) {
		return Delegation{}, fmt.Errorf("%w exchange: what it rests on has ended", ErrMalformed)
	}
	var id [16]byte
	random := d.Rand
	if random == nil {
		random = rand.Reader
	}
	if _, err := io.ReadFull(random, id[:]); err != nil {
		return Delegation{}, fmt.Errorf("identity: random bytes: %w", err)
	}
	out.ID = hex.EncodeToString(id[:])
	out.Subject.Channel.Credential, out.Subject.Channel.CredID = action.CredentialDPoP, ExchangePrefix+out.ID
	rec := blank(action.KindKey, s.Tenant, now)
	rec.Agent, rec.User, rec.Actor, rec.Codes, rec.Subject = s.ID, s.User.ID, x.Caller.ID, []string{CodeExchanged}, out.ID
	if err := detail(rec, owner(s.User.ID, s.ID), out.Subject); err != nil {
		return Delegation{}, err
	}
	if err := d.room(s, now); err != nil {
		return Delegation{}, err
	}
	if _, err := d.Record(ctx, rec); err != nil {
		return Delegation{}, fmt.Errorf("identity: record %s: %w", CodeExchanged, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all[out.ID] = out
	return out, nil
}

func (d *Delegations) now() time.Time {
	if d.Now == nil {
		return time.Now()
	}
	return d.Now()
}

func (d *Delegations) room(s *action.Subject, now time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all == nil {
		d.all = map[string]Delegation{}
	}
	own := 0
	for id, o := range d.all {
		if !now.Before(o.Until) {
			delete(d.all, id)
		} else if o.Base.ID == s.ID && o.Base.Tenant == s.Tenant || o.Subject.ID == s.ID && o.Subject.Tenant == s.Tenant {
			own++
		}
	}
	if own >= maxDelegationsAgent || len(d.all) >= maxDelegations {
		return fmt.Errorf("%w delegations", ErrFull)
	}
	return nil
}

// earliest is the first of all ends that bear on an exchange.
func earliest(now time.Time, x Exchange) time.Time {
	out := now.Add(maxDelegationTTL)
	if x.TTL > 0 && x.TTL < maxDelegationTTL {
		out = now.Add(x.TTL)
	}
	if !x.Until.IsZero() && x.Until.Before(out) {
		out = x.Until
	}
	if x.Person != nil && x.Person.Until.Before(out) {
		out = x.Person.Until
	}
	return out
}

// narrowed is the subject of the result: what the caller may, and no more.
func narrowed(x *Exchange, now time.Time) (*action.Subject, error) {
	c := &x.Caller
	if c.ID == "" || c.Tenant == "" || x.Key == "" || x.TTL < 0 {
		return nil, fmt.Errorf("%w exchange: no agent, tenant or key", ErrMalformed)
	}
	s := *c
	s.Scopes = slices.Clone(c.Scopes)
	if x.Scopes != nil {
		for _, sc := range x.Scopes {
			if !slices.Contains(c.Scopes, sc) {
				return nil, fmt.Errorf("%w exchange: the caller does not hold the scope %q", ErrMalformed, action.Clip(string(sc), 32))
			}
		}
		s.Scopes = slices.Clone(x.Scopes)
	}
	if p := x.Person; p != nil {
		switch {
		case c.User.Verified == action.Yes && c.User.ID != p.ID:
			return nil, fmt.Errorf("%w exchange: the caller acts for another user", ErrMalformed)
		case len(c.Delegation) > 0:
			return nil, fmt.Errorf("%w exchange: the user of a chain is that of its beginning", ErrMalformed)
		}
		s.User = action.User{ID: p.ID, Verified: action.Yes, Groups: slices.Clone(p.Groups), AuthnAge: action.MaxNumber, Evidence: "exchange"}
		if !p.Authn.IsZero() {
			s.User.AuthnAge = max(int64(now.Sub(p.Authn)/time.Second), 0)
		}
	}
	if x.Agent == "" || strings.EqualFold(x.Agent, c.ID) {
		return &s, nil
	}
	if err := checkID("agent id", x.Agent); err != nil {
		return nil, err
	}
	chain := append([]action.Delegate{{ID: c.ID, Scopes: slices.Clone(c.Scopes)}}, c.Delegation...)
	if len(chain) >= MaxChain {
		return nil, fmt.Errorf("%w exchange: a chain of more than %d agents", ErrMalformed, MaxChain)
	}
	if slices.ContainsFunc(chain, func(d action.Delegate) bool { return strings.EqualFold(d.ID, x.Agent) }) {
		return nil, fmt.Errorf("%w exchange: %q is in the chain already", ErrMalformed, x.Agent)
	}
	// What another agent is given is the right to act, and none of the rights of its host.
	s.Scopes = slices.DeleteFunc(s.Scopes, func(sc action.Scope) bool { return sc != action.ScopeAgent })
	if len(s.Scopes) == 0 {
		return nil, fmt.Errorf("%w exchange: the caller may not act, so it can hand nothing on", ErrMalformed)
	}
	s.ID, s.Instance, s.Delegation = x.Agent, "", chain
	return &s, nil
}

// Get returns a delegation while it holds by itself. Whether the credential behind it does is for the caller to
// see: Base names it.
func (d *Delegations) Get(id string) (Delegation, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	x, ok := d.all[strings.TrimPrefix(id, ExchangePrefix)]
	if !ok || !d.now().Before(x.Until) {
		return Delegation{}, false
	}
	return x, true
}
