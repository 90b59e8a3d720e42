// SPDX-License-Identifier: Apache-2.0

// Package remote lets a second process decide as well: a query goes out as canonical bytes, and the answer comes
// back signed, with the digest of the query that it is for.
//
// # What is trusted
//
// The other process can only make things stricter: what counts is an answer that equals our own, byte for byte. No
// answer, a late one, one that is not signed by the configured key or is for another query, and one that differs
// all deny. An answer that was recorded and is played back is for the same query under the same bundle, and says what
// it said.
package remote

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// Path is where a decision point answers.
const Path = "/v1/decide"

// The bounds of a query and of an answer, and the time that an answer may take if Config.Limit says nothing.
const (
	MaxQueryBytes  = 34 << 20
	MaxAnswerBytes = 8 << 20
	DefaultLimit   = 2 * time.Second
)

const format = "sallyport.answer.v1"

// ErrQuery is wrapped by refusals of a query: it is none, or its bytes are not canonical.
var ErrQuery = errors.New("no canonical query")

// answer is what is signed, in RFC 8785 form.
type answer struct {
	Format   string          `json:"format"`
	Query    string          `json:"query"` // digest of the query's bytes
	Decision action.Decision `json:"decision"`
}

// Signed is an answer on the wire.
type Signed struct {
	Answer string `json:"answer"` // base64 of the answer in canonical form
	Sig    string `json:"sig"`    // base64, Ed25519 over Message
}

// Message is what a signature is taken over.
func Message(answer []byte) []byte { return append([]byte(format+"\x00"), answer...) }

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(s[:])
}

// Answer decides the query in body and signs what came out.
func Answer(ctx context.Context, d enforce.Decider, key ed25519.PrivateKey, body []byte) (Signed, error) {
	q, err := action.ReadQuery(body)
	if err != nil {
		return Signed{}, fmt.Errorf("%w: %w", ErrQuery, err)
	}
	if exact, err := action.Canonical(q); err != nil || !bytes.Equal(exact, body) {
		return Signed{}, fmt.Errorf("%w: its bytes are not in canonical form", ErrQuery)
	}
	got, err := d.Decide(ctx, q)
	if err != nil {
		return Signed{}, err
	}
	data, err := action.Canonical(&answer{format, sum(body), got})
	if err != nil {
		return Signed{}, err
	}
	return Signed{base64.StdEncoding.EncodeToString(data), base64.StdEncoding.EncodeToString(ed25519.Sign(key, Message(data)))}, nil
}

// Config is a decider that needs the consent of another process.
type Config struct {
	Own    enforce.Decider   // required
	URL    string            // required: of the other process, before Path
	Key    ed25519.PublicKey // required: that its answers are signed by
	Token  string            // that it knows us by
	Client *http.Client      // nil means http.DefaultClient
	Limit  time.Duration     // 0 means DefaultLimit
	Alarm  func(why string)  // is told of every disagreement; nil tells nobody. It must not block
}

// Pair decides only what two processes agree on. It is safe for concurrent use.
type Pair struct{ cfg Config }

var _ enforce.Decider = (*Pair)(nil)

// New returns a decider that asks both.
func New(cfg Config) (*Pair, error) {
	if cfg.Own == nil || cfg.URL == "" || len(cfg.Key) != ed25519.PublicKeySize {
		return nil, errors.New("remote: Own, URL and Key are required")
	}
	if cfg.Client == nil {
		cfg.Client = http.DefaultClient
	}
	if cfg.Limit <= 0 {
		cfg.Limit = DefaultLimit
	}
	return &Pair{cfg}, nil
}

// Decide answers q if both processes answer the same; else it denies by a rule "kernel.pdp".
func (p *Pair) Decide(ctx context.Context, q *action.Query) (action.Decision, error) {
	type reply struct {
		decision []byte
		err      error
	}
	body, err := action.Canonical(q)
	if err != nil {
		return action.Decision{Verdict: action.Deny}, err
	}
	other := make(chan reply, 1) // one sender, one value
	go func() {
		d, err := p.ask(ctx, body)
		other <- reply{d, err}
	}()
	own, err := p.cfg.Own.Decide(ctx, q)
	r := <-other // ask ends with ctx and its own limit
	if err != nil {
		return own, err
	}
	exact, err := action.Canonical(&own)
	if err != nil {
		return action.Decision{Verdict: action.Deny}, err
	}
	switch {
	case r.err != nil:
		return p.disagree(own, "the other decision point gave no answer: "+r.err.Error()), nil
	case !bytes.Equal(r.decision, exact):
		return p.disagree(own, "the two decision points disagree"), nil
	}
	return own, nil
}

func (p *Pair) disagree(own action.Decision, why string) action.Decision {
	if p.cfg.Alarm != nil {
		p.cfg.Alarm(action.Clip(why, 500))
	}
	return own.Meet(action.Decision{Verdict: action.Deny, Mode: action.Enforce, Matches: []action.Match{{ID: "kernel.pdp", Verdict: action.Deny,
		Code: "kernel.pdp", Reason: action.Clip(why, 500), Severity: "high", Always: true}}})
}

// ask returns the other's decision in canonical form.
func (p *Pair) ask(ctx context.Context, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Limit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.cfg.URL+Path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	if p.cfg.Token != "" {
		r.Header.Set("Authorization", "Bearer "+p.cfg.Token)
	}
	resp, err := p.cfg.Client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, MaxAnswerBytes+1))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK || len(data) > MaxAnswerBytes {
		return nil, fmt.Errorf("status %d, %d bytes", resp.StatusCode, len(data))
	}
	return Open(data, p.cfg.Key, body)
}

// Open checks a signed answer to the query in body, and returns its decision in canonical form.
func Open(data []byte, key ed25519.PublicKey, body []byte) ([]byte, error) {
	var s Signed
	if err := action.Read(data, &s, action.Limits{}); err != nil {
		return nil, err
	}
	text, err := base64.StdEncoding.Strict().DecodeString(s.Answer)
	if err != nil {
		return nil, errors.New("the answer is no base64")
	}
	sig, err := base64.StdEncoding.Strict().DecodeString(s.Sig)
	if err != nil || !ed25519.Verify(key, Message(text), sig) {
		return nil, errors.New("the answer is not signed by the configured key")
	}
	var a answer
	if err := action.Read(text, &a, action.Limits{}); err != nil {
		return nil, err
	}
	if a.Format != format || a.Query != sum(body) {
		return nil, errors.New("the answer is for another query")
	}
	return action.Canonical(&a.Decision)
}
