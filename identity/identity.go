// SPDX-License-Identifier: Apache-2.0

// Package identity says who acts for whom, and whether he may still act at all.
//
// It keeps bearer tokens, agent records and the kill switch, and states them as facts. It never weighs
// them: thresholds are policy.
//
// # Trust
//
// State lives in a store.Store, which is a cache of authority and not its source. Each row carries a MAC
// under Config.Key over its key and content, so that whoever can only write the store can lose rows but
// not make one. Where Config.Past reads the ledger, rows are also held against it at Open: a token that
// was never recorded as issued is refused, one recorded as withdrawn stays withdrawn, and a kill whose
// row is gone stays in force. Without Past a restored older store brings back what it held.
//
// A token is a bearer secret: whoever reads it is its agent. That is assurance A0, and it is stated so.
package identity

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/store"
)

// Config wires an identity column.
type Config struct {
	Store  store.Store // required
	Key    []byte      // required, at least 32 bytes: MACs rows and secrets; only the owner may know it
	Record RecordFunc  // required: the ledger
	Past   PastFunc    // nil: the store alone says what was issued, withdrawn and killed

	Tenants        []string // the tenants that exist; nil means "default"
	TokensDir      string   // where the first admin token is left, in a file "admin" of mode 0600; "" means nowhere
	BootstrapScope []action.Scope
	// BootstrapScope is what that token may do; nil means admin and viewer.

	Local      string         // agent that callers on the unix socket act as; "" means "local"
	PeerUIDs   []int64        // who may call there; nil means the uid of this process
	PeerScopes []action.Scope // what they may do; nil means agent
	UserName   func(uid int64) (string, error)
	// UserName names a uid; nil asks the system.

	Now  func() time.Time // nil means time.Now; give the highest time the ledger knows, so that clocks set back revive nothing
	Rand io.Reader        // nil means crypto/rand
}

// RecordFunc appends a record to the ledger and returns when it is durable.
type RecordFunc func(ctx context.Context, r *action.Record) (action.Receipt, error)

// PastFunc calls fn with every record of kind key and kill that the ledger holds, in order of the log.
// It reads the log itself, not a view of it.
type PastFunc func(ctx context.Context, fn func(r *action.Record) error) error

// The errors of this package.
var (
	ErrUnauthenticated = errors.New("identity: no valid credential")
	ErrNotFound        = errors.New("identity: no such token or agent")
	ErrExists          = errors.New("identity: the agent exists")
	ErrMalformed       = errors.New("identity: malformed")
	ErrFull            = errors.New("identity: too many")
)

// The bounds of what one process keeps in memory.
const (
	MaxTokens = 20_000
	MaxAgents = 100_000
)

// Tokens keeps tokens and agents. Its methods are safe for concurrent use; those that look things up
// answer from memory.
type Tokens struct {
	c Config

	write sync.Mutex // held while tokens or agents change, the ledger included; taken before mu

	mu     sync.RWMutex // guards below; never held across I/O
	tokens map[string]tokenRow
	agents map[string]Agent // by agentKey
	users  map[int64]string // names of peers, at most one per allowed uid
	ended  bool             // there is no first admin token any more
}

// Open reads what the store holds, makes the local agent's record, and leaves an admin token where nobody
// holds one. It fails on a row that does not carry our MAC.
func Open(ctx context.Context, c Config) (*Tokens, error) {
	if c.Store == nil || c.Record == nil {
		return nil, errors.New("identity: config: store and record are required")
	}
	if len(c.Key) < 32 {
		return nil, fmt.Errorf("identity: config: a key of %d bytes is shorter than 32", len(c.Key))
	}
	c.defaults()
	t := &Tokens{c: c, tokens: map[string]tokenRow{}, agents: map[string]Agent{}, users: map[int64]string{}}
	for _, tenant := range c.Tenants {
		if err := checkID("tenant", tenant); err != nil {
			return nil, err
		}
		if err := t.load(ctx, tenant); err != nil {
			return nil, err
		}
	}
	if c.Past != nil {
		if err := t.hold(ctx); err != nil {
			return nil, err
		}
	}
	for _, tenant := range c.Tenants {
		_, err := t.CreateAgent(ctx, AgentSpec{ID: c.Local, Tenant: tenant, By: "config"})
		if err != nil && !errors.Is(err, ErrExists) {
			return nil, err
		}
	}
	if c.TokensDir != "" {
		if err := t.bootstrap(ctx); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (c *Config) defaults() {
	if c.Tenants == nil {
		c.Tenants = []string{"default"}
	}
	if c.BootstrapScope == nil {
		c.BootstrapScope = []action.Scope{action.ScopeAdmin, action.ScopeViewer}
	}
	if c.Local == "" {
		c.Local = "local"
	}
	if c.PeerUIDs == nil {
		c.PeerUIDs = []int64{int64(os.Getuid())}
	}
	if c.PeerScopes == nil {
		c.PeerScopes = []action.Scope{action.ScopeAgent}
	}
	if c.UserName == nil {
		c.UserName = systemUser
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
}

func systemUser(uid int64) (string, error) {
	u, err := user.LookupId(strconv.FormatInt(uid, 10))
	if err != nil {
		return "", err
	}
	return u.Username, nil
}

func (t *Tokens) load(ctx context.Context, tenant string) error {
	err := rows(ctx, t.c.Store, t.c.Key, tenant+"/identity/token/", func(e store.Entry, row []byte) error {
		r := tokenRow{revision: e.Revision}
		if err := action.Read(row, &r, action.Limits{}); err != nil {
			return err
		}
		if r.Tenant != tenant || e.Key != tokenKey(r.Tenant, r.ID) {
			return fmt.Errorf("%w row", ErrMalformed)
		}
		if len(t.tokens) >= MaxTokens {
			return fmt.Errorf("%w tokens", ErrFull)
		}
		t.tokens[r.ID] = r
		return nil
	})
	if err != nil {
		return err
	}
	return rows(ctx, t.c.Store, t.c.Key, tenant+"/identity/agent/", func(e store.Entry, row []byte) error {
		a := Agent{Revision: e.Revision}
		if err := action.Read(row, &a, action.Limits{}); err != nil {
			return err
		}
		if a.Tenant != tenant || e.Key != agentKey(a.Tenant, a.ID) {
			return fmt.Errorf("%w row", ErrMalformed)
		}
		if len(t.agents) >= MaxAgents {
			return fmt.Errorf("%w agents", ErrFull)
		}
		t.agents[e.Key] = a
		return nil
	})
}

// hold keeps of the tokens only what the ledger knows.
func (t *Tokens) hold(ctx context.Context) error {
	issued := map[string]string{} // id -> binding
	withdrawn := map[string]int64{}
	err := t.c.Past(ctx, func(r *action.Record) error {
		if r.Kind != action.KindKey {
			return nil
		}
		switch {
		case slices.Contains(r.Codes, CodeBootstrapEnded):
			t.ended = true
		case slices.Contains(r.Codes, CodeTokenIssued):
			issued[r.Subject] = r.Binding
		case slices.Contains(r.Codes, CodeTokenRevoked):
			withdrawn[r.Subject] = max(r.TimeMs, 1)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("identity: read the ledger: %w", err)
	}
	maps.DeleteFunc(t.tokens, func(id string, r tokenRow) bool {
		b, ok := issued[id]
		return !ok || b == "" || !hmac.Equal([]byte(b), []byte(t.binding(r)))
	})
	for id, r := range t.tokens {
		if t.ended && r.By == bootstrapName && r.RevokedMs == 0 { // the process ended between the record and the withdrawal
			withdrawn[id] = 1
		}
	}
	for id, ms := range withdrawn {
		if r, ok := t.tokens[id]; ok && r.RevokedMs == 0 {
			r.RevokedMs = ms
			t.tokens[id] = r
		}
	}
	return nil
}

// sealed is a row as it stands in the store.
type sealed struct {
	Format int            `json:"format"`
	Row    jsontext.Value `json:"row"`
	MAC    string         `json:"mac"`
}

// seal returns the bytes to store under key for row.
func seal(secret []byte, key string, row any) ([]byte, error) {
	b, err := action.Canonical(row)
	if err != nil {
		return nil, err
	}
	return action.Canonical(sealed{Format: 1, Row: b, MAC: mac(secret, "row", key, string(b))})
}

// unseal undoes seal and checks the MAC.
func unseal(secret []byte, e store.Entry) ([]byte, error) {
	var s sealed
	if err := action.Read(e.Value, &s, action.Limits{}); err != nil {
		return nil, fmt.Errorf("identity: row %q: %w", e.Key, err)
	}
	if s.Format != 1 {
		return nil, fmt.Errorf("identity: row %q: format %d is unknown", e.Key, s.Format)
	}
	if !hmac.Equal([]byte(s.MAC), []byte(mac(secret, "row", e.Key, string(s.Row)))) {
		return nil, fmt.Errorf("identity: row %q does not carry our MAC: it was changed, or the key was", e.Key)
	}
	return s.Row, nil
}

// rows calls fn with every row under prefix.
func rows(ctx context.Context, s store.Store, secret []byte, prefix string, fn func(e store.Entry, row []byte) error) error {
	for after := ""; ; {
		page, err := s.List(ctx, prefix, after, 0)
		if err != nil {
			return fmt.Errorf("identity: %w", err)
		}
		if len(page) == 0 {
			return nil
		}
		for _, e := range page {
			row, err := unseal(secret, e)
			if err != nil {
				return err
			}
			if err := fn(e, row); err != nil {
				return fmt.Errorf("identity: row %q: %w", e.Key, err)
			}
		}
		after = page[len(page)-1].Key
	}
}

// mac is HMAC-SHA256 in hex over the parts, each with its length, so that no two lists collide.
func mac(secret []byte, parts ...string) string {
	h := hmac.New(sha256.New, secret)
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// blank is a record of no action.
func blank(kind action.Kind, tenant string, now time.Time) *action.Record {
	return &action.Record{Kind: kind, Tenant: tenant, TimeMs: now.UnixMilli(), Door: action.DoorUnknown,
		Effect: action.EffectUnknown, Phase: action.PhaseUnknown, Status: action.StatusNone, Channel: action.RankUnknown,
		Grade: action.GradeUnknown, Separation: action.SeparationUnknown, Observed: action.TriUnknown,
		Durability: action.DurabilityLocal}
}

// detail adds v as the record's sealed detail, under the key of owner.
func detail(r *action.Record, owner string, v any) error {
	b, err := action.Canonical(v)
	if err != nil {
		return err
	}
	r.Parts = append(r.Parts, action.PayloadPart{Name: action.PartDetail, Owner: owner, Data: b})
	return nil
}

// checkID reports whether id is a name of ours: 1 to 128 letters, digits, dots, dashes and underscores,
// beginning with a letter or digit.
func checkID(what, id string) error {
	if id == "" || len(id) > 128 {
		return fmt.Errorf("%w %s: %d bytes, wanted 1 to 128", ErrMalformed, what, len(id))
	}
	for i, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case i > 0 && strings.IndexByte("._-", c) >= 0:
		default:
			return fmt.Errorf("%w %s %q: only letters, digits, dots, dashes and underscores, a letter or digit first",
				ErrMalformed, what, action.Clip(id, 64))
		}
	}
	return nil
}

// checkText reports whether s is text for people of at most n bytes, without control characters.
func checkText(what, s string, n int) error {
	if len(s) > n {
		return fmt.Errorf("%w %s: %d bytes are more than %d", ErrMalformed, what, len(s), n)
	}
	if err := store.CheckPrefix(s); err != nil {
		return fmt.Errorf("%w %s: control characters or invalid UTF-8", ErrMalformed, what)
	}
	return nil
}
