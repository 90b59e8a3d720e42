// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"context"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// maxStateBytes bounds a requestState that a client echoes.
const maxStateBytes = 256 << 10

// askKey names our question among the inputRequests of a result; a server's own keys never collide with
// it, because our question is never mixed with a server's.
const askKey = "sallyport.approval"

const statePrefix = "sallyport1."

// sealer makes and opens the requestState of our own questions. The key lives as long as the process: a
// state of an earlier one opens nothing. Every state opens once.
type sealer struct {
	aead cipher.AEAD
	rand io.Reader
	now  func() time.Time
	ttl  time.Duration

	mu   sync.Mutex
	used map[string]time.Time // nonces of opened states until they expire; guarded by mu
}

// sealed is what a state binds. Field names are part of no contract: the bytes are opaque.
type sealed struct {
	Principal string `json:"p"`
	Target    string `json:"t"` // method, server, tool and digest of the argument bytes
	Expires   int64  `json:"e"` // Unix milliseconds
	Ticket    string `json:"k"`
}

var errState = errors.New("the requestState is not valid for this request; make the call again without it")

func newSealer(rand io.Reader, now func() time.Time, ttl time.Duration) (*sealer, error) {
	key := make([]byte, chacha20poly1305.KeySize)
	if _, err := io.ReadFull(rand, key); err != nil {
		return nil, fmt.Errorf("key for sealed states: %w", err)
	}
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, err
	}
	return &sealer{aead: aead, rand: rand, now: now, ttl: ttl, used: map[string]time.Time{}}, nil
}

func (s *sealer) close(v sealed) (string, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	nonce := make([]byte, s.aead.NonceSize())
	if _, err := io.ReadFull(s.rand, nonce); err != nil {
		return "", err
	}
	return statePrefix + base64.RawURLEncoding.EncodeToString(s.aead.Seal(nonce, nonce, plain, nil)), nil
}

// open returns what a state binds if it is ours, meant for this principal and target, alive and unused.
func (s *sealer) open(state, principal, target string) (sealed, error) {
	var v sealed
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(state, statePrefix))
	if err != nil || len(raw) < s.aead.NonceSize() {
		return v, errState
	}
	nonce := raw[:s.aead.NonceSize()]
	plain, err := s.aead.Open(nil, nonce, raw[len(nonce):], nil)
	if err != nil || json.Unmarshal(plain, &v) != nil {
		return v, errState
	}
	now := s.now()
	if v.Principal != principal || v.Target != target || now.UnixMilli() >= v.Expires {
		return v, errState
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, until := range s.used {
		if now.After(until) {
			delete(s.used, n)
		}
	}
	if _, used := s.used[string(nonce)]; used || len(s.used) >= 1<<16 {
		return v, errState
	}
	s.used[string(nonce)] = now.Add(s.ttl)
	return v, nil
}

// principal is who a state is bound to: credential, agent, user and session.
func (c *Conn) principal() string {
	s := &c.peer.Subject
	return digest(s.Tenant, s.ID, s.Instance, s.User.ID, string(s.Channel.Credential), s.Channel.CredID, c.peer.Session)
}

func (c *Conn) target(p *plan) string {
	sum := sha256.Sum256(p.args)
	return digest(p.method, c.up.Name, c.up.identity(), p.typ, p.tool, string(sum[:]))
}

// digest is injective over its parts.
func digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// ask answers a request that people have to approve with a question, where the client declared that it can
// put one and where its user's answer can suffice; else it returns nil.
func (c *Conn) ask(m *message, p *plan, adm enforce.Admission) []byte {
	cfg := &c.gate.cfg
	roundTrip := p.method == methodCall || p.method == methodPrompt || p.method == methodRead
	if cfg.Answer == nil || adm.Ticket == "" || !roundTrip || !p.elicits() || !action.RankClient.AtLeast(adm.Channel) ||
		p.hasState || p.responses != nil {
		return nil
	}
	until := cfg.Now().Add(cfg.AskTTL)
	if !adm.Expires.IsZero() && adm.Expires.Before(until) {
		until = adm.Expires
	}
	state, err := c.gate.seal.close(sealed{Principal: c.principal(), Target: c.target(p), Expires: until.UnixMilli(),
		Ticket: adm.Ticket})
	if err != nil {
		return nil
	}
	hint := adm.Hint
	if hint == "" {
		hint = "This call needs your approval."
	}
	msg := fmt.Sprintf("Sallyport: %s\n%s on %s (ticket %s)", hint, action.Clip(p.tool, 200), c.up.Name, adm.Ticket)
	schema := `{"type":"object","properties":{"approve":{"type":"boolean","title":"Approve this call","default":true}}}`
	params := object(field{"mode", []byte(`"form"`)}, field{"message", quote(msg)}, field{"requestedSchema", []byte(schema)})
	request := object(field{"method", []byte(`"` + methodElicit + `"`)}, field{"params", params})
	return resultReply(m.id, object(field{"resultType", []byte(`"input_required"`)},
		field{"inputRequests", object(field{askKey, request})}, field{"requestState", quote(state)}))
}

// resume treats a multi-round-trip retry. It returns the parameters to send on, or the step that ends it.
func (c *Conn) resume(ctx context.Context, m *message, r *pending, params []byte) ([]byte, *Step) {
	if strings.HasPrefix(r.plan.state, statePrefix) {
		return c.resumeOurs(ctx, m, r, params)
	}
	return c.resumeTheirs(ctx, m, r, params)
}

// resumeOurs hands in the answer to our question; the request is then judged as if it came anew, and the
// open ask resolves it. A server's own requestState is never inside ours: we ask before the server sees the
// call for the first time, and its later rounds belong to the call that was admitted.
func (c *Conn) resumeOurs(ctx context.Context, m *message, r *pending, params []byte) ([]byte, *Step) {
	p := &r.plan
	v, err := c.gate.seal.open(p.state, c.principal(), c.target(p))
	if err != nil || c.gate.cfg.Answer == nil {
		c.malformed(ctx, "state")
		return nil, &Step{Reply: errorReply(m.id, codeParams, errState.Error())}
	}
	accept := false
	if a, ok := text(member(p.responses, askKey, "action")); ok && a == "accept" {
		accept = string(member(p.responses, askKey, "content", "approve")) != "false"
	}
	if err := c.gate.cfg.Answer(ctx, v.Ticket, accept, &c.peer.Subject); err != nil {
		return nil, &Step{Reply: refusal(m.id, p, fmt.Sprintf("The answer could not be recorded; nothing was done. Ticket %s.", v.Ticket))}
	}
	if !accept {
		return nil, &Step{Reply: refusal(m.id, p, fmt.Sprintf("The user declined this call; it was not run. Ticket %s.", v.Ticket))}
	}
	p.state, p.hasState, p.responses = "", false, nil
	return with(with(params, "requestState", nil), "inputResponses", nil), nil
}
