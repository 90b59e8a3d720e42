// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
	"github.com/sallyport/sallyport/attest/tpm"
	"github.com/sallyport/sallyport/store"
)

// enrolment is a challenge that a chip has to open.
type enrolment struct {
	challenge     *tpm.Challenge
	tenant, agent string
	expires       time.Time
}

// keyRow is an enrolled attestation key in the store.
type keyRow struct {
	Tenant    string `json:"tenant"`
	Agent     string `json:"agent"`
	Key       string `json:"ak_name"` // hex
	EK        string `json:"ek"`
	CreatedMs int64  `json:"created_ms"`
	Known     *Known `json:"known"`
	revision  uint64
}

// EnrolledKey is what may be known of an enrolled key.
type EnrolledKey struct {
	Agent     string `json:"agent"`
	Key       string `json:"ak_name"`
	EK        string `json:"ek"`
	CreatedMs int64  `json:"created_ms"`
}

func rowKey(tenant, key string) string { return tenant + "/attest/ak/" + key }

// Enrolling is what the chip has to open.
type Enrolling struct {
	ID         string
	Credential []byte // TPM2B_ID_OBJECT
	Secret     []byte // TPM2B_ENCRYPTED_SECRET
	EK         string
}

// Enroll makes the challenge that enrols an attestation key for the agent s. A key that another agent has
// enrolled is refused.
func (b *Book) Enroll(s *action.Subject, ekPublic, akPublic []byte) (Enrolling, error) {
	if _, ok := b.c.Profile(s.Tenant, s.ID); !ok {
		return Enrolling{}, fmt.Errorf("%w: agent %q has no reference values", ErrNotFound, s.ID)
	}
	ch, err := tpm.NewChallenge(b.c.Rand, ekPublic, akPublic)
	if err != nil {
		return Enrolling{}, err
	}
	id, err := b.random(16)
	if err != nil {
		return Enrolling{}, err
	}
	now := b.c.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sweep(now)
	if r, ok := b.keys[rowKey(s.Tenant, ch.Key)]; ok && r.Agent != s.ID {
		return Enrolling{}, attest.Refuse(attest.Mismatch, "attestation key: it is another agent's")
	}
	own := 0
	for _, e := range b.pending {
		if e.tenant == s.Tenant && e.agent == s.ID {
			own++
		}
	}
	for _, r := range b.keys {
		if r.Tenant == s.Tenant && r.Agent == s.ID {
			own++
		}
	}
	if own >= maxPerAgent || len(b.pending) >= maxChallenges {
		return Enrolling{}, fmt.Errorf("%w enrolments", ErrBusy)
	}
	e := Enrolling{ID: hex.EncodeToString(id), Credential: ch.Credential, Secret: ch.Secret, EK: ch.EK}
	b.pending[e.ID] = enrolment{ch, s.Tenant, s.ID, now.Add(ChallengeFor)}
	return e, nil
}

// Answer ends an enrolment with what the chip opened. The challenge is spent either way. A key that is enrolled
// already keeps what is known of it: enrolling again must not wipe out a restart.
func (b *Book) Answer(ctx context.Context, s *action.Subject, id string, answer []byte) (EnrolledKey, error) {
	b.write.Lock()
	defer b.write.Unlock()
	now := b.c.Now()
	b.mu.Lock()
	e, ok := b.pending[id]
	if ok && (e.tenant != s.Tenant || e.agent != s.ID) {
		ok = false
	} else {
		delete(b.pending, id)
	}
	b.mu.Unlock()
	if !ok || !now.Before(e.expires) {
		return EnrolledKey{}, ErrChallenge
	}
	if !e.challenge.Answered(answer) {
		return EnrolledKey{}, fmt.Errorf("%w: the chip did not open the challenge", ErrRefused)
	}
	key := rowKey(s.Tenant, e.challenge.Key)
	b.mu.Lock()
	row, again := b.keys[key]
	b.mu.Unlock()
	if again && row.Agent != s.ID {
		return EnrolledKey{}, attest.Refuse(attest.Mismatch, "attestation key: it is another agent's")
	}
	if !again {
		row = keyRow{Tenant: s.Tenant, Agent: s.ID, Key: e.challenge.Key, EK: e.challenge.EK, CreatedMs: now.UnixMilli()}
		r := b.blank(s.Tenant, s.ID, CodeEnrolled)
		r.Subject, r.Binding = row.Key, b.mac("enrolled", key, row.Agent, row.EK)
		if err := b.note(ctx, r, row); err != nil {
			return EnrolledKey{}, err
		}
		if err := b.put(ctx, &row); err != nil {
			return EnrolledKey{}, err
		}
	}
	return EnrolledKey{row.Agent, row.Key, row.EK, row.CreatedMs}, nil
}

// Keys returns the enrolled keys of a tenant, in order of agents.
func (b *Book) Keys(tenant string) []EnrolledKey {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := []EnrolledKey{}
	for _, r := range b.keys {
		if r.Tenant == tenant {
			out = append(out, EnrolledKey{r.Agent, r.Key, r.EK, r.CreatedMs})
		}
	}
	slices.SortFunc(out, func(x, y EnrolledKey) int { return strings.Compare(x.Agent+"\x00"+x.Key, y.Agent+"\x00"+y.Key) })
	return out
}

// Withdraw forgets an enrolled key, with all that is known of its chip, and ends the leases that rest on it.
func (b *Book) Withdraw(ctx context.Context, tenant, key, by string) error {
	b.write.Lock()
	defer b.write.Unlock()
	b.mu.Lock()
	row, ok := b.keys[rowKey(tenant, key)]
	b.mu.Unlock()
	if !ok {
		return fmt.Errorf("%w: key %q", ErrNotFound, action.Clip(key, 80))
	}
	r := b.blank(tenant, row.Agent, CodeWithdrawn)
	r.Subject, r.Actor = key, by
	if err := b.note(ctx, r, row); err != nil {
		return err
	}
	if err := b.c.Store.Delete(ctx, rowKey(tenant, key), row.revision); err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("lease: key %q: %w", key, err)
	}
	b.mu.Lock()
	delete(b.keys, rowKey(tenant, key))
	b.mu.Unlock()
	_, err := b.End(ctx, func(l *Lease) bool { return l.Tenant == tenant && l.Agent == row.Agent && l.Kind == "tpm" }, CodeWithdrawn, by, "its chip's key was withdrawn")
	return err
}

// seen notes what a chip said, once its quote was believed.
func (b *Book) seen(ctx context.Context, c *Claim, f *attest.Facts) error {
	if f == nil || f.Platform == nil {
		return nil
	}
	b.write.Lock()
	defer b.write.Unlock()
	key := rowKey(c.Subject.Tenant, f.Platform.Key)
	b.mu.Lock()
	row, ok := b.keys[key]
	b.mu.Unlock()
	if !ok {
		return fmt.Errorf("%w: key %q", ErrNotFound, f.Platform.Key)
	}
	old := row.Known
	row.Known = &Known{Resets: f.Platform.ResetCount, Restarts: f.Platform.Restarts, Clock: f.Platform.Clock}
	if old != nil && old.Resets == row.Known.Resets && old.Restarts == row.Known.Restarts {
		b.mu.Lock() // the clock alone is not worth a write: after a restart of ours the last stored one bounds it
		b.keys[key] = row
		b.mu.Unlock()
		return nil
	}
	return b.put(ctx, &row)
}

// put stores a row and takes it into memory; write is held.
func (b *Book) put(ctx context.Context, r *keyRow) error {
	key := rowKey(r.Tenant, r.Key)
	row, err := action.Canonical(*r)
	if err != nil {
		return err
	}
	data, err := action.Canonical(sealed{1, row, b.mac("row", key, string(row))})
	if err != nil {
		return err
	}
	if r.revision, err = b.c.Store.Put(ctx, key, data, r.revision); err != nil {
		return fmt.Errorf("lease: key %q: %w", r.Key, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keys[key] = *r
	return nil
}

// sealed is a row as it stands in the store.
type sealed struct {
	Format int            `json:"format"`
	Row    jsontext.Value `json:"row"`
	MAC    string         `json:"mac"`
}

func (b *Book) mac(parts ...string) string {
	h := hmac.New(sha256.New, b.c.Key)
	for _, p := range append([]string{"attest"}, parts...) {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// load reads the rows of all tenants and, where the ledger can be read, keeps only those that it knows.
func (b *Book) load(ctx context.Context) error {
	for _, tenant := range b.c.Tenants {
		if err := b.loadTenant(ctx, tenant); err != nil {
			return err
		}
	}
	if b.c.Past == nil || len(b.keys) == 0 {
		return nil
	}
	known := map[string]string{}
	err := b.c.Past(ctx, func(r *action.Record) error {
		switch {
		case r.Kind != action.KindAttestation:
		case slices.Contains(r.Codes, CodeEnrolled):
			known[rowKey(r.Tenant, r.Subject)] = r.Binding
		case slices.Contains(r.Codes, CodeWithdrawn):
			delete(known, rowKey(r.Tenant, r.Subject))
		}
		return nil
	})
	for key, r := range b.keys {
		if want := b.mac("enrolled", key, r.Agent, r.EK); !hmac.Equal([]byte(known[key]), []byte(want)) {
			delete(b.keys, key)
		}
	}
	return err
}

func (b *Book) loadTenant(ctx context.Context, tenant string) error {
	for after := ""; ; {
		page, err := b.c.Store.List(ctx, rowKey(tenant, ""), after, 0)
		if err != nil {
			return fmt.Errorf("lease: %w", err)
		}
		if len(page) == 0 {
			return nil
		}
		for _, e := range page {
			var s sealed
			r := keyRow{revision: e.Revision}
			if err := action.Read(e.Value, &s, action.Limits{}); err != nil {
				return fmt.Errorf("lease: row %q: %w", e.Key, err)
			}
			if s.Format != 1 || !hmac.Equal([]byte(s.MAC), []byte(b.mac("row", e.Key, string(s.Row)))) {
				return fmt.Errorf("lease: row %q does not carry our MAC", e.Key)
			}
			if err := action.Read(s.Row, &r, action.Limits{}); err != nil || rowKey(r.Tenant, r.Key) != e.Key {
				return fmt.Errorf("lease: row %q: %w", e.Key, ErrMalformed)
			}
			b.keys[e.Key] = r
		}
		after = page[len(page)-1].Key
	}
}
