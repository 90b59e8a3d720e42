// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/identity/factor"
	"github.com/sallyport/sallyport/store"
)

// The codes under which people's keys are recorded, of kind key. The record's Subject is the key's id,
// its sealed detail the Signer.
const (
	CodeSignerAdded   = "signer.added"
	CodeSignerRemoved = "signer.removed"
)

// The bounds of what is kept of people's keys.
const (
	MaxSigners       = 10_000
	maxSignersEach   = 16
	maxChallenges    = 1024
	maxChallengeEach = 8
	challengeLife    = 5 * time.Minute
)

var (
	// ErrVouch refuses a further key of a person that no earlier key of his vouches for.
	ErrVouch = errors.New("identity: an earlier key of the same person has to sign too")
	// ErrChallenge means that a challenge is unknown, used, expired or somebody else's.
	ErrChallenge = errors.New("identity: that challenge is not open")
)

// Signer is a key with which a person signs.
type Signer struct {
	ID        string      `json:"id"`
	Tenant    string      `json:"tenant"`
	Person    string      `json:"person"`
	Name      string      `json:"name"` // what the person calls it
	Key       factor.Key  `json:"key"`
	Channel   action.Rank `json:"channel"` // how well the person was proved when it was added
	CreatedMs int64       `json:"created_ms"`
}

// signerRow is a Signer in the store.
type signerRow struct {
	Signer
	Counter  int64 `json:"counter"` // of a passkey; a lower one later means a copy
	revision uint64
}

// SignersConfig wires people's keys.
type SignersConfig struct {
	Tenant  string      // "" means "default"
	Store   store.Store // required
	Key     []byte      // required, as Config.Key
	Record  RecordFunc  // required
	Past    PastFunc    // as Config.Past
	RPID    string      // domain that passkeys are for; "" means "localhost"
	Origins []string    // where they may be used; nil means none, and then no passkey can be added
	Now     func() time.Time
	Rand    io.Reader
}

// Signers keeps the keys of people and the challenges that they have not answered yet. Its methods are
// safe for concurrent use.
type Signers struct {
	c SignersConfig

	write sync.Mutex // held while keys change, the ledger included; taken before mu

	mu   sync.Mutex // guards below; never held across I/O
	keys map[string]signerRow
	open map[string]Challenge
}

// Challenge is something to sign that can be answered once.
type Challenge struct {
	ID      string `json:"id"`
	Person  string `json:"person"`
	Purpose string `json:"purpose"` // what the signature is good for, in words
	Nonce   string `json:"nonce"`
	Until   int64  `json:"until_ms"`
}

// Bytes is what is signed: SHA-256 over the purpose and the nonce.
func (c *Challenge) Bytes() []byte {
	sum := sha256.Sum256([]byte("sallyport.challenge.v1\x00" + c.Person + "\x00" + c.Purpose + "\x00" + c.Nonce))
	return sum[:]
}

// OpenSigners reads the stored keys and keeps those that the ledger knows.
func OpenSigners(ctx context.Context, c SignersConfig) (*Signers, error) {
	if c.Store == nil || c.Record == nil || len(c.Key) < 32 {
		return nil, errors.New("identity: signers config: store, record and a key of 32 bytes are required")
	}
	if c.Tenant == "" {
		c.Tenant = "default"
	}
	if c.RPID == "" {
		c.RPID = "localhost"
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	s := &Signers{c: c, keys: map[string]signerRow{}, open: map[string]Challenge{}}
	err := rows(ctx, c.Store, c.Key, s.row(""), func(e store.Entry, b []byte) error {
		r := signerRow{revision: e.Revision}
		if err := action.Read(b, &r, action.Limits{}); err != nil {
			return err
		}
		if r.ID != r.Key.ID() || e.Key != s.row(r.ID) || r.Tenant != c.Tenant {
			return fmt.Errorf("%w row", ErrMalformed)
		}
		s.keys[r.ID] = r
		return nil
	})
	if err != nil || c.Past == nil {
		return s, err
	}
	added := map[string]bool{}
	err = c.Past(ctx, func(r *action.Record) error {
		switch {
		case r.Kind != action.KindKey:
		case slices.Contains(r.Codes, CodeSignerAdded):
			added[r.Subject] = true
		case slices.Contains(r.Codes, CodeSignerRemoved):
			delete(added, r.Subject)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("identity: read the ledger: %w", err)
	}
	for id := range s.keys {
		if !added[id] {
			delete(s.keys, id)
		}
	}
	return s, nil
}

func (s *Signers) row(id string) string { return s.c.Tenant + "/identity/signer/" + id }

// RPID and Origins are what passkeys are made for.
func (s *Signers) RPID() string      { return s.c.RPID }
func (s *Signers) Origins() []string { return slices.Clone(s.c.Origins) }

// Signed is a challenge that was answered, for the record.
type Signed struct {
	Challenge Challenge       `json:"challenge"`
	Evidence  factor.Evidence `json:"evidence"`
	Passkey   bool            `json:"passkey"` // and not an SSH key
}

// Begin opens a challenge for person. Of more than a few open ones of a person the oldest goes.
func (s *Signers) Begin(person, purpose string) (Challenge, error) {
	if person == "" {
		return Challenge{}, fmt.Errorf("%w person", ErrMalformed)
	}
	b := make([]byte, 42)
	if _, err := io.ReadFull(s.c.Rand, b); err != nil {
		return Challenge{}, fmt.Errorf("identity: random bytes: %w", err)
	}
	now := s.c.Now()
	c := Challenge{ID: "ch_" + base.EncodeToString(b[:10]), Person: person, Purpose: purpose, Nonce: base.EncodeToString(b[10:]),
		Until: now.Add(challengeLife).UnixMilli()}
	s.mu.Lock()
	defer s.mu.Unlock()
	oldest, own := "", 0
	for id, o := range s.open {
		if o.Until <= now.UnixMilli() {
			delete(s.open, id)
			continue
		}
		if strings.EqualFold(o.Person, person) {
			if own++; oldest == "" || o.Until < s.open[oldest].Until {
				oldest = id
			}
		}
	}
	if own >= maxChallengeEach {
		delete(s.open, oldest)
	}
	if len(s.open) >= maxChallenges {
		return Challenge{}, fmt.Errorf("%w challenges", ErrFull)
	}
	s.open[c.ID] = c
	return c, nil
}

// Take ends the open challenge id of person for purpose; it can be answered once.
func (s *Signers) Take(id, person, purpose string) (Challenge, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.open[id]
	if !ok || c.Until <= s.c.Now().UnixMilli() || !strings.EqualFold(c.Person, person) || c.Purpose != purpose {
		return Challenge{}, ErrChallenge
	}
	delete(s.open, id)
	return c, nil
}

// Check verifies that person signed challenge with a registered key, and returns the key. It refuses a
// passkey whose counter went back: there is a copy of it.
func (s *Signers) Check(ctx context.Context, person string, challenge []byte, e *factor.Evidence) (Signer, error) {
	s.mu.Lock()
	r, ok := s.keys[e.Signer]
	s.mu.Unlock()
	if !ok || !strings.EqualFold(r.Person, person) {
		return Signer{}, fmt.Errorf("%w: no such key of %q", factor.ErrForged, action.Clip(person, 64))
	}
	n, err := factor.Verify(&r.Key, challenge, e)
	if err != nil {
		return Signer{}, err
	}
	return r.Signer, s.count(ctx, r.ID, int64(n))
}

// count moves the counter of a key on.
func (s *Signers) count(ctx context.Context, id string, n int64) error {
	if n == 0 {
		return nil // this authenticator counts nothing
	}
	s.write.Lock()
	defer s.write.Unlock()
	s.mu.Lock()
	r, ok := s.keys[id]
	if !ok || n <= r.Counter {
		s.mu.Unlock()
		return fmt.Errorf("%w: the counter of the passkey went back", factor.ErrForged)
	}
	r.Counter = n
	s.keys[id] = r
	s.mu.Unlock()
	_ = s.put(ctx, r) // memory is right; after a restart the older counter is the stricter only by less
	return nil
}

// Registration is what a person hands in to add a key.
type Registration struct {
	Person  string
	Name    string // up to 64 bytes
	Channel action.Rank
	By      string // id of the credential through which it came
	Key     factor.Key
	// Vouch is the signature of an earlier key of the same person over the same challenge. The first key of
	// a person needs none.
	Vouch *factor.Evidence
}

// Register adds a key whose possession was proved over c, which has been taken. It is on record before it
// counts.
func (s *Signers) Register(ctx context.Context, c *Challenge, r Registration) (Signer, error) {
	if err := checkText("name", r.Name, 64); err != nil {
		return Signer{}, err
	}
	s.write.Lock()
	defer s.write.Unlock()
	own := s.Of(r.Person)
	id := r.Key.ID()
	s.mu.Lock()
	_, known := s.keys[id]
	full := len(s.keys) >= MaxSigners || len(own) >= maxSignersEach
	s.mu.Unlock()
	switch {
	case !strings.EqualFold(c.Person, r.Person):
		return Signer{}, ErrChallenge
	case known:
		return Signer{}, fmt.Errorf("%w key: it is registered already", ErrMalformed)
	case full:
		return Signer{}, fmt.Errorf("%w keys", ErrFull)
	case len(own) > 0 && r.Vouch == nil:
		return Signer{}, ErrVouch
	case len(own) > 0:
		i := slices.IndexFunc(own, func(o Signer) bool { return o.ID == r.Vouch.Signer })
		if i < 0 {
			return Signer{}, ErrVouch
		}
		if _, err := factor.Verify(&own[i].Key, c.Bytes(), r.Vouch); err != nil {
			return Signer{}, err
		}
	}
	row := signerRow{Signer: Signer{ID: id, Tenant: s.c.Tenant, Person: r.Person, Name: r.Name, Key: r.Key, Channel: r.Channel,
		CreatedMs: s.c.Now().UnixMilli()}}
	if err := s.record(ctx, CodeSignerAdded, row.Signer, r.Person, r.Channel); err != nil {
		return Signer{}, err
	}
	s.mu.Lock()
	s.keys[id] = row
	s.mu.Unlock()
	return row.Signer, s.put(ctx, row)
}

// Remove withdraws a key for good. Signatures that it made before stay good.
func (s *Signers) Remove(ctx context.Context, id, by string) (Signer, error) {
	s.write.Lock()
	defer s.write.Unlock()
	s.mu.Lock()
	r, ok := s.keys[id]
	s.mu.Unlock()
	if !ok {
		return Signer{}, ErrNotFound
	}
	if err := s.record(ctx, CodeSignerRemoved, r.Signer, by, action.RankUnknown); err != nil {
		return Signer{}, err
	}
	s.mu.Lock()
	delete(s.keys, id)
	s.mu.Unlock()
	if err := s.c.Store.Delete(ctx, s.row(id), r.revision); err != nil && !errors.Is(err, store.ErrNotFound) {
		return r.Signer, fmt.Errorf("identity: remove key: %w", err)
	}
	return r.Signer, nil
}

// Of returns the keys of person, oldest first; List those of everybody, by id behind after.
func (s *Signers) Of(person string) []Signer {
	return s.some(func(r *Signer) bool { return strings.EqualFold(r.Person, person) })
}

// List returns keys in order of their ids.
func (s *Signers) List(after string, limit int) []Signer {
	out := s.some(func(r *Signer) bool { return r.ID > after })
	slices.SortFunc(out, func(a, b Signer) int { return strings.Compare(a.ID, b.ID) })
	return out[:min(len(out), limit)]
}

// Any reports whether anybody has a key.
func (s *Signers) Any() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.keys) > 0
}

func (s *Signers) some(keep func(*Signer) bool) []Signer {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []Signer{}
	for _, r := range s.keys {
		if keep(&r.Signer) {
			out = append(out, r.Signer)
		}
	}
	slices.SortFunc(out, func(a, b Signer) int { return int(a.CreatedMs - b.CreatedMs) })
	return out
}

func (s *Signers) put(ctx context.Context, r signerRow) error {
	b, err := seal(s.c.Key, s.row(r.ID), r)
	if err != nil {
		return err
	}
	rev, err := s.c.Store.Put(context.WithoutCancel(ctx), s.row(r.ID), b, r.revision)
	if err != nil {
		return fmt.Errorf("identity: store key: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now, ok := s.keys[r.ID]; ok {
		now.revision = rev
		s.keys[r.ID] = now
	}
	return nil
}

func (s *Signers) record(ctx context.Context, code string, k Signer, by string, channel action.Rank) error {
	r := blank(action.KindKey, s.c.Tenant, s.c.Now())
	r.Codes, r.Subject, r.Actor, r.Channel = []string{code}, k.ID, plain(by, 128), channel
	if err := detail(r, owner(k.Person), k); err != nil {
		return err
	}
	if _, err := s.c.Record(ctx, r); err != nil {
		return fmt.Errorf("identity: record %s: %w", code, err)
	}
	return nil
}
