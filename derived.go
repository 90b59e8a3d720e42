// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net"
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest/lease"
	"github.com/sallyport/sallyport/gateway"
)

// A derived credential reads spl_<lease>_<MAC>. It is a password for protocols that cannot carry a proof of
// possession: the egress proxy and databases. It opens nothing else and is dead with its lease. Whoever steals it
// can use it until then.
const (
	derivedPrefix = "spl_"
	derivedLease  = 32 // hex
	derivedChars  = len(derivedPrefix) + derivedLease + 1 + 2*sha256.Size
)

// CodeDerived is the code under which it is recorded that a lease has got a derived credential.
const CodeDerived = "attest.derived"

func (a *attestation) derive(l *lease.Lease) string {
	h := hmac.New(sha256.New, a.secret)
	h.Write([]byte("derived credential\x00" + l.ID + "\x00" + l.Key))
	return derivedPrefix + l.ID + "_" + hex.EncodeToString(h.Sum(nil))
}

// derivedCaller is the holder of a derived credential. Whether the lease holds is for the kernel to see, which says
// why; one that is not even known proves nobody.
func (s *Sallyport) derivedCaller(secret string) (*gateway.Caller, error) {
	id := ""
	if len(secret) == derivedChars {
		id = secret[len(derivedPrefix) : len(derivedPrefix)+derivedLease]
	}
	l, ok := s.attest.book.Known(id)
	if subtle.ConstantTimeCompare([]byte(s.attest.derive(&l)), []byte(secret)) != 1 || !ok {
		return nil, gateway.ErrUnauthenticated
	}
	sub := l.Subject
	sub.Channel.Credential, sub.Channel.CredID = action.CredentialToken, lease.CredentialPrefix+l.ID
	return &gateway.Caller{Subject: sub, Name: sub.ID}, nil
}

// DerivedCredential is the answer to a request for one.
type DerivedCredential struct {
	Credential string `json:"credential"` // a password; it dies with the lease
	Lease      string `json:"lease"`
	EndsMs     int64  `json:"ends_ms"` // of the lease as it stands; a renewal puts it off
}

// attestDerive hands out the derived credential of the caller's own lease.
func (s *Sallyport) attestDerive(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	var none struct{}
	if err := gateway.ReadJSON(w, r, &none, 1024); err != nil {
		return err
	}
	id, ok := strings.CutPrefix(c.Subject.Channel.CredID, lease.CredentialPrefix)
	l, err := s.attest.book.Lease(id)
	if !ok || err != nil || c.Subject.Channel.Credential == action.CredentialToken {
		return gateway.Refuse(gateway.CodeSubject, "only the holder of a lease that holds has such a credential")
	}
	rec := &action.Record{Kind: action.KindKey, Tenant: l.Tenant, TimeMs: s.Ledger.Now().UnixMilli(), Agent: l.Agent, User: l.Subject.User.ID, Actor: l.Agent,
		Door: c.Subject.Channel.Door, Status: action.StatusNone, Codes: []string{CodeDerived}, Subject: l.ID, Assurance: l.Assurance, Model: l.Model}
	if _, err := s.Ledger.Append(r.Context(), rec); err != nil {
		return err
	}
	return gateway.WriteJSON(w, http.StatusOK, DerivedCredential{s.attest.derive(&l), l.ID, l.Ends.UnixMilli()})
}

// proxied proves callers of the egress proxy: by a token, by a derived credential, or by a certificate.
type proxied struct{ s *Sallyport }

// Authenticate reads the one credential that the proxy has found.
func (p proxied) Authenticate(ctx context.Context, r *http.Request) (*gateway.Caller, error) {
	c, err := p.prove(ctx, r)
	if err != nil {
		return nil, gateway.ErrUnauthenticated
	}
	c.Subject.Channel.Remote = action.TriOf(!loopback(r.RemoteAddr))
	return c, nil
}

func (p proxied) prove(ctx context.Context, r *http.Request) (*gateway.Caller, error) {
	given := r.Header.Get("Authorization")
	switch secret, ok := strings.CutPrefix(given, "Bearer "); {
	case given == "":
		return p.s.certified(r.TLS)
	case ok && strings.HasPrefix(secret, derivedPrefix):
		return p.s.derivedCaller(secret)
	}
	return bearer{p.s.Tokens, nil}.Authenticate(ctx, r)
}

// postgresCaller proves a client of the databases' door: a confined program by its supervisor's connection, another by
// its certificate where it gives no password, else by a token or a derived credential.
func (s *Sallyport) postgresCaller(ctx context.Context, password string, from net.Conn) (c *gateway.Caller, err error) {
	p, walled := gateway.PeerOf(from)
	switch {
	case walled:
		x, ok := s.walls.find(p)
		if !ok {
			return nil, gateway.ErrUnauthenticated
		}
		c, err = x.atDatabase(ctx, s, password, from)
	case password == "":
		c, err = s.certified(gateway.StateOf(from))
	default:
		c, err = s.passwordCaller(ctx, password)
	}
	if err != nil {
		return nil, gateway.ErrUnauthenticated
	}
	c.Subject.Channel.Remote = action.No
	if a, ok := from.RemoteAddr().(*net.TCPAddr); ok {
		c.Subject.Channel.Remote = action.TriOf(!a.IP.IsLoopback())
	}
	return c, nil
}

func (s *Sallyport) passwordCaller(ctx context.Context, password string) (*gateway.Caller, error) {
	if strings.HasPrefix(password, derivedPrefix) {
		return s.derivedCaller(password)
	}
	p, err := s.Tokens.Authenticate(ctx, password)
	return &gateway.Caller{Subject: p.Subject, Name: p.Name}, err
}
