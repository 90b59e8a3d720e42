// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
)

// The codes under which changes of tokens and agents are recorded, all of kind key. The record's Subject
// is the token's or agent's id, its Binding a MAC of what was made.
const (
	CodeTokenIssued  = "token.issued"
	CodeTokenRevoked = "token.revoked"
	CodeAgentCreated = "agent.created"
)

// The lives of tokens.
const (
	DefaultTTL = 90 * 24 * time.Hour
	MaxTTL     = 366 * 24 * time.Hour
)

// TokenSpec is what is asked of a new token.
type TokenSpec struct {
	Name   string         // for people; up to 128 bytes
	Tenant string         // "" means the first of Config.Tenants
	Agent  string         // id of an agent record; required with the scope agent
	User   string         // whom the agent acts for, as the issuer asserts; may be empty
	Scopes []action.Scope // at least one
	TTL    time.Duration  // 0 means DefaultTTL
	By     string         // who issues it, for the record
}

// Token is what may be known of a token: everything but its secret.
type Token struct {
	ID        string         `json:"id"`
	Name      string         `json:"name"`
	Tenant    string         `json:"tenant"`
	Agent     string         `json:"agent"`
	User      string         `json:"user"`
	Scopes    []action.Scope `json:"scopes"` // sorted
	By        string         `json:"by"`
	CreatedMs int64          `json:"created_ms"`
	ExpiresMs int64          `json:"expires_ms"`
	RevokedMs int64          `json:"revoked_ms"` // 0 while it is not withdrawn
}

// Has reports whether the token carries scope s.
func (t *Token) Has(s action.Scope) bool { return slices.Contains(t.Scopes, s) }

// tokenRow is a token in the store: with the MAC of its secret, never the secret.
type tokenRow struct {
	Token
	Print    string `json:"print"`
	revision uint64
}

// Principal is an authenticated caller. Subject.Channel.Door and Remote are the door's to fill.
type Principal struct {
	Subject action.Subject
	Name    string // for people: the token's or system user's name
}

func tokenKey(tenant, id string) string { return tenant + "/identity/token/" + id }

// A secret reads sp_<id>_<random><checksum>: 80, 256 and 32 bits in lower-case base32. The checksum lets
// a scanner tell a real secret from look-alikes, and a typing error from a wrong secret; it guards nothing.
const (
	prefix      = "sp_"
	idChars     = 16
	randomChars = 52
	sumChars    = 7
	secretChars = len(prefix) + idChars + 1 + randomChars + sumChars
)

var base = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

func mint(random io.Reader) (id, secret string, err error) {
	var b [42]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", "", fmt.Errorf("identity: random bytes: %w", err)
	}
	id = base.EncodeToString(b[:10])
	body := prefix + id + "_" + base.EncodeToString(b[10:])
	return id, body + checksum(body), nil
}

func checksum(body string) string {
	return base.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(body))))
}

// parse returns the id of a well-formed secret.
func parse(secret string) (id string, ok bool) {
	if len(secret) != secretChars || !strings.HasPrefix(secret, prefix) || secret[len(prefix)+idChars] != '_' {
		return "", false
	}
	id = secret[len(prefix) : len(prefix)+idChars]
	rest := secret[len(prefix)+idChars+1:]
	for _, c := range []byte(id + rest) {
		if (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return "", false
		}
	}
	body := secret[:secretChars-sumChars]
	return id, checksum(body) == secret[secretChars-sumChars:]
}

// Issue makes a token and returns its secret, which is kept nowhere. The issue is on record before the
// token works. ErrMalformed names the wrong field; ErrNotFound means that the agent has no record.
func (t *Tokens) Issue(ctx context.Context, s TokenSpec) (string, Token, error) {
	t.write.Lock()
	defer t.write.Unlock()
	return t.issue(ctx, s)
}

func (t *Tokens) issue(ctx context.Context, s TokenSpec) (string, Token, error) {
	if s.Tenant == "" {
		s.Tenant = t.c.Tenants[0]
	}
	if s.TTL == 0 {
		s.TTL = DefaultTTL
	}
	if err := t.purge(ctx); err != nil {
		return "", Token{}, err
	}
	if err := t.check(&s); err != nil {
		return "", Token{}, err
	}
	id, secret, err := mint(t.c.Rand)
	if err != nil {
		return "", Token{}, err
	}
	now := t.c.Now()
	r := tokenRow{Print: mac(t.c.Key, "token", secret), Token: Token{ID: id, Name: s.Name, Tenant: s.Tenant, Agent: s.Agent,
		User: s.User, Scopes: s.Scopes, By: s.By, CreatedMs: now.UnixMilli(), ExpiresMs: now.Add(s.TTL).UnixMilli()}}
	if err := t.record(ctx, CodeTokenIssued, r, s.By, now); err != nil {
		return "", Token{}, err
	}
	if err := t.putToken(ctx, &r); err != nil {
		return "", Token{}, err
	}
	return secret, r.Token, nil
}

// purge forgets tokens that ended long ago, once there are many. Their ids authenticate nobody either way.
func (t *Tokens) purge(ctx context.Context) error {
	now := t.c.Now()
	t.mu.RLock()
	var old []tokenRow
	for _, r := range t.tokens {
		if len(t.tokens) >= MaxTokens && !r.live(now.Add(-30*24*time.Hour)) {
			old = append(old, r)
		}
	}
	t.mu.RUnlock()
	for _, r := range old {
		if err := t.c.Store.Delete(ctx, tokenKey(r.Tenant, r.ID), r.revision); err != nil {
			return fmt.Errorf("identity: token %q: %w", r.ID, err)
		}
		t.mu.Lock()
		delete(t.tokens, r.ID)
		t.mu.Unlock()
	}
	return nil
}

// check completes s; write is held.
func (t *Tokens) check(s *TokenSpec) error {
	if !slices.Contains(t.c.Tenants, s.Tenant) {
		return fmt.Errorf("%w tenant %q: there is none of that name", ErrMalformed, action.Clip(s.Tenant, 64))
	}
	for what, text := range map[string]string{"name": s.Name, "user": s.User, "issuer": s.By} {
		if err := checkText(what, text, 128); err != nil {
			return err
		}
	}
	if s.TTL < 0 || s.TTL > MaxTTL {
		return fmt.Errorf("%w ttl %s: wanted up to %s", ErrMalformed, s.TTL, MaxTTL)
	}
	if err := checkScopes(s); err != nil {
		return err
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if len(t.tokens) >= MaxTokens {
		return fmt.Errorf("%w tokens", ErrFull)
	}
	if s.Agent == "" {
		return nil
	}
	if _, ok := t.agents[agentKey(s.Tenant, s.Agent)]; !ok {
		return fmt.Errorf("%w: agent %q", ErrNotFound, action.Clip(s.Agent, 64))
	}
	return nil
}

func checkScopes(s *TokenSpec) error {
	if len(s.Scopes) == 0 {
		return fmt.Errorf("%w scopes: there are none", ErrMalformed)
	}
	s.Scopes = slices.Clone(s.Scopes)
	slices.Sort(s.Scopes)
	s.Scopes = slices.Compact(s.Scopes)
	for _, sc := range s.Scopes {
		if sc == "unknown" || !slices.Contains(sc.Values(), string(sc)) {
			return fmt.Errorf("%w scope %q", ErrMalformed, action.Clip(string(sc), 32))
		}
	}
	for _, sc := range []action.Scope{action.ScopeAgent, action.ScopeAuthZEN} {
		if slices.Contains(s.Scopes, sc) && s.Agent == "" {
			return fmt.Errorf("%w agent: the scope %s needs one", ErrMalformed, sc)
		}
	}
	if !slices.Contains(s.Scopes, action.ScopeAgent) {
		return nil
	}
	// Whoever acts must not be able to approve his acts, or to make himself somebody who can.
	for _, sc := range []action.Scope{action.ScopeApprover, action.ScopePolicyApprover, action.ScopeAdmin} {
		if slices.Contains(s.Scopes, sc) {
			return fmt.Errorf("%w scopes: agent and %s exclude each other", ErrMalformed, sc)
		}
	}
	return nil
}

// record states a change of r in the ledger.
func (t *Tokens) record(ctx context.Context, code string, r tokenRow, by string, now time.Time) error {
	rec := blank(action.KindKey, r.Tenant, now)
	rec.Agent, rec.User, rec.Actor = r.Agent, r.User, by
	rec.Codes, rec.Subject, rec.Binding = []string{code}, r.ID, t.binding(r)
	if err := detail(rec, owner(r.User, r.Agent, by), r.Token); err != nil {
		return err
	}
	if _, err := t.c.Record(ctx, rec); err != nil {
		return fmt.Errorf("identity: record %s: %w", code, err)
	}
	return nil
}

func owner(names ...string) string {
	for _, n := range names {
		if n != "" {
			return n
		}
	}
	return "owner"
}

// binding is a MAC of everything of r that never changes.
func (t *Tokens) binding(r tokenRow) string {
	r.RevokedMs = 0
	b, err := action.Canonical(r)
	if err != nil {
		return ""
	}
	return mac(t.c.Key, "token row", string(b))
}

// putToken stores r and takes it into memory.
func (t *Tokens) putToken(ctx context.Context, r *tokenRow) error {
	key := tokenKey(r.Tenant, r.ID)
	b, err := seal(t.c.Key, key, r)
	if err != nil {
		return err
	}
	r.revision, err = t.c.Store.Put(ctx, key, b, r.revision)
	if err != nil {
		return fmt.Errorf("identity: token %q: %w", r.ID, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tokens[r.ID] = *r
	return nil
}

// Authenticate returns who bears secret, or ErrUnauthenticated. A wrong, unknown, withdrawn, expired or
// malformed secret costs the same time.
func (t *Tokens) Authenticate(ctx context.Context, secret string) (Principal, error) {
	id, ok := parse(secret)
	if !ok {
		id, secret = "", strings.Repeat("x", secretChars)
	}
	print := mac(t.c.Key, "token", secret)
	t.mu.RLock()
	r, found := t.tokens[id]
	t.mu.RUnlock()
	if !found {
		r.Print = strings.Repeat("0", len(print))
	}
	same := subtle.ConstantTimeCompare([]byte(print), []byte(r.Print)) == 1
	if !same || !found || !ok || !r.live(t.c.Now()) {
		return Principal{}, ErrUnauthenticated
	}
	return Principal{Subject: subject(&r.Token), Name: r.Name}, nil
}

func (t *Token) live(now time.Time) bool { return t.RevokedMs == 0 && now.UnixMilli() < t.ExpiresMs }

// subject is the subject of a token's bearer. The user is whom the issuer named: nobody proved that the
// person is there.
func subject(t *Token) action.Subject {
	s := action.NewQuery(action.Before).Subject
	s.ID, s.Tenant, s.Scopes = t.Agent, t.Tenant, slices.Clone(t.Scopes)
	if t.Agent == "" {
		s.Type = "operator"
	}
	s.Channel.Credential, s.Channel.CredID = action.CredentialToken, t.ID
	if t.User != "" {
		s.User.ID, s.User.Verified, s.User.Evidence = t.User, action.No, "asserted"
	}
	return s
}

// Revoke withdraws a token at once and for ever. It is withdrawn in this process even where storing or
// recording that fails; the error says so. Repeats are no error.
func (t *Tokens) Revoke(ctx context.Context, id, by string) (Token, error) {
	if err := checkText("actor", by, 128); err != nil {
		return Token{}, err
	}
	now := t.c.Now()
	t.mu.Lock() // it is withdrawn before we wait for anybody: a writer may hang on the ledger
	r, ok := t.tokens[id]
	first := ok && r.RevokedMs == 0
	if first {
		r.RevokedMs = max(now.UnixMilli(), 1)
		t.tokens[id] = r
	}
	t.mu.Unlock()
	if !ok {
		return Token{}, fmt.Errorf("%w: token %q", ErrNotFound, action.Clip(id, 32))
	}
	if !first {
		return r.Token, nil
	}
	t.write.Lock()
	defer t.write.Unlock()
	ctx = context.WithoutCancel(ctx)
	return r.Token, errors.Join(t.record(ctx, CodeTokenRevoked, r, by, now), t.putToken(ctx, &r))
}

// Revoked reports whether the credential id is withdrawn, expired or unknown.
func (t *Tokens) Revoked(id string) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	r, ok := t.tokens[id]
	return !ok || !r.live(t.c.Now())
}

// List returns at most limit tokens of a tenant whose ids come after the id after, in order of ids,
// withdrawn and expired ones included. A limit of 0 means 200.
func (t *Tokens) List(tenant, after string, limit int) []Token {
	if limit <= 0 {
		limit = 200
	}
	var out []Token
	for _, tok := range t.sorted(func(r *Token) bool { return r.Tenant == tenant && r.ID > after }) {
		if len(out) == limit {
			break
		}
		out = append(out, tok)
	}
	return out
}

// Both returns the live tokens that carry both scopes a and b. Tokens with agent and host are in order
// only where the model cannot read them.
func (t *Tokens) Both(a, b action.Scope) []Token {
	now := t.c.Now()
	return t.sorted(func(r *Token) bool { return r.Has(a) && r.Has(b) && r.live(now) })
}

func (t *Tokens) sorted(keep func(r *Token) bool) []Token {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var out []Token
	for _, r := range t.tokens {
		if keep(&r.Token) {
			r.Scopes = slices.Clone(r.Scopes)
			out = append(out, r.Token)
		}
	}
	slices.SortFunc(out, func(a, b Token) int { return strings.Compare(a.ID, b.ID) })
	return out
}
