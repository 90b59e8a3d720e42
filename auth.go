// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"crypto/subtle"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest/lease"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/gateway/llm"
	"github.com/sallyport/sallyport/identity"
)

// operatorScopes are what the owner's own user may do over the socket: everything that people do. host
// is not among them.
var operatorScopes = []action.Scope{action.ScopeViewer, action.ScopeApprover, action.ScopeAuthor, action.ScopePolicyApprover,
	action.ScopeAuditor, action.ScopeToolAdmin, action.ScopeTenantData, action.ScopeAdmin}

// bearer proves callers of the TCP listeners by their token.
type bearer struct {
	tokens *identity.Tokens
	agents *Sallyport // nil: tokens of leases and of foreign issuers are not accepted here
}

// Authenticate reads one Authorization header or, where clients of a model's API send it, one x-api-key.
func (b bearer) Authenticate(ctx context.Context, r *http.Request) (*gateway.Caller, error) {
	if b.agents != nil && bound(r) {
		return b.agents.boundCaller(r)
	}
	secret := ""
	h, key := r.Header.Values("Authorization"), r.Header.Values("X-Api-Key")
	switch {
	case len(h) == 0 && len(key) == 0 && b.agents != nil:
		return b.agents.certified(r.TLS)
	case len(h) == 0 && len(key) == 1 && strings.HasPrefix(r.URL.Path, llm.Prefix):
		secret = key[0]
	case len(h) == 1 && len(h[0]) > 7 && strings.EqualFold(h[0][:7], "Bearer "):
		secret = h[0][7:]
	default:
		return nil, gateway.ErrUnauthenticated
	}
	if b.agents != nil && identity.Looks(secret) {
		if c, err := b.agents.attest.issuer.Verify(secret); err == nil {
			return b.agents.boundByCertificate(r, c)
		}
		if c, err := b.agents.federation.workload(ctx, secret); err == nil {
			return c, nil
		}
		return b.agents.accessCaller(ctx, r, secret, nil)
	}
	p, err := b.tokens.Authenticate(ctx, secret)
	if err != nil {
		return nil, gateway.ErrUnauthenticated
	}
	p.Subject.Channel.Remote = action.TriOf(!loopback(r.RemoteAddr))
	return &gateway.Caller{Subject: p.Subject, Name: p.Name}, nil
}

func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	return err == nil && ip != nil && ip.IsLoopback()
}

// peer proves callers of the socket by the kernel's word. As people they get the operator's scopes and
// are no agent; as agents they get what Tokens.Peer gives.
type peer struct {
	tokens *identity.Tokens
	people bool
}

// Authenticate reads the credentials that the listener took from the kernel.
func (p peer) Authenticate(ctx context.Context, _ *http.Request) (*gateway.Caller, error) {
	from, ok := gateway.PeerFrom(ctx)
	if !ok {
		return nil, gateway.ErrUnauthenticated
	}
	who, err := p.tokens.Peer(from.UID, from.PID)
	if err != nil {
		return nil, gateway.ErrUnauthenticated
	}
	if p.people {
		if from.UID != int64(os.Geteuid()) {
			return nil, gateway.ErrUnauthenticated // other users may act, not decide
		}
		who.Subject.ID, who.Subject.Scopes = "", operatorScopes
	}
	return &gateway.Caller{Subject: who.Subject, Name: who.Name}, nil
}

// local proves callers of the agents' side of the socket: by a token or lease where they send one, else by the
// kernel's word. Whoever sends a credential that does not hold is not taken for somebody else.
type local struct {
	bearer bearer
	peer   peer
	walls  *wallBook
}

// Authenticate reads the request's credential, or that of its connection.
func (l local) Authenticate(ctx context.Context, r *http.Request) (*gateway.Caller, error) {
	run, err := l.walls.of(ctx, r)
	if err != nil {
		return nil, err
	}
	if run != nil {
		return run.caller(ctx, l.bearer, r)
	}
	if len(r.Header.Values("Authorization")) > 0 {
		return l.bearer.Authenticate(ctx, r)
	}
	return l.peer.Authenticate(ctx, r)
}

// bound reports whether a request carries a key-bound token.
func bound(r *http.Request) bool {
	h := r.Header.Values("Authorization")
	return len(h) == 1 && len(h[0]) > 5 && strings.EqualFold(h[0][:5], "DPoP ")
}

// boundCaller proves the holder of a lease or an exchange: its token, a proof of possession for exactly this request,
// and the lease itself. The subject is the one that the lease was asked for with, never what a token says.
func (s *Sallyport) boundCaller(r *http.Request) (*gateway.Caller, error) {
	a := s.attest
	token := r.Header.Get("Authorization")[5:]
	// What a proof is for is looked at first: whoever has no token must not fill the memory of proofs.
	prove := func() (string, error) {
		proof := r.Header.Values("DPoP")
		if len(proof) != 1 {
			return "", identity.ErrProof
		}
		return a.proofs.Check(identity.Proof{Text: proof[0], Method: r.Method, URL: requestURL(r), Token: token, Proxy: r.TLS == nil})
	}
	c, err := a.issuer.Verify(token)
	if err != nil {
		return s.accessCaller(r.Context(), r, token, prove)
	}
	key, err := prove()
	if err != nil || subtle.ConstantTimeCompare([]byte(key), []byte(c.Confirm.JKT)) != 1 {
		return nil, gateway.ErrUnauthenticated
	}
	return s.boundSubject(r, c, key, action.CredentialDPoP)
}

// boundSubject is the holder of a key-bound token who has proved possession of key, in the way that how says.
func (s *Sallyport) boundSubject(r *http.Request, c *identity.Claims, key string, how action.Credential) (*gateway.Caller, error) {
	var sub action.Subject
	if strings.HasPrefix(c.Lease, identity.ExchangePrefix) {
		d, ok := s.federation.delegations.Get(c.Lease)
		if !ok || key == "" || d.Key != key {
			return nil, gateway.ErrUnauthenticated
		}
		sub = d.Subject
	} else {
		l, ok := s.attest.book.Known(c.Lease)
		if !ok || key == "" || l.Key != key {
			return nil, gateway.ErrUnauthenticated
		}
		sub = l.Subject
		sub.Channel.CredID = lease.CredentialPrefix + l.ID
	}
	sub.Channel.Credential = how
	if sub.Tenant != c.Tenant || sub.ID != c.Agent {
		return nil, gateway.ErrUnauthenticated
	}
	sub.Channel.Remote = action.TriOf(!loopback(r.RemoteAddr))
	return &gateway.Caller{Subject: sub, Name: sub.ID}, nil
}

// separationOf is what keeps a caller from approving its own asks: over the socket, whether it runs under
// the uid that may approve there; a token alone says nothing. Within walls nothing of people's is reached.
func separationOf(c *gateway.Caller) action.Separation {
	switch uid := c.Subject.Channel.UID; {
	case c.Walls != nil && c.Walls.All:
		return action.SeparationConfined
	case uid < 0:
		return action.SeparationUnknown
	case uid == int64(os.Geteuid()):
		return action.SeparationNone
	}
	return action.SeparationUID
}

// hostScoped reports whether a hook's word on what its user typed and where he works counts: a token must
// say so; the socket's users start their hosts themselves. A command that the agent runs under the same
// uid can reach the socket too: the record's separation says "none" then. Behind walls it is a program that
// reaches the socket by its supervisor, whoever sends the request: the model's own commands may.
func hostScoped(c *gateway.Caller) bool {
	return c.Has(action.ScopeHost) || c.Subject.Channel.Credential == action.CredentialPeer && c.Walls == nil
}
