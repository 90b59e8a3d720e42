// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sallyport/sallyport/identity/jose"
)

// BoundTTL is how long a key-bound token may live. The lease behind it ends earlier.
const BoundTTL = 5 * time.Minute

// BoundType is the type of these tokens, so that no other token of the same key is taken for one.
const BoundType = "sallyport-agent+jwt"

// Acting is the act claim of RFC 8693: who acts, and for whom he was acting.
type Acting struct {
	Subject string  `json:"sub"`
	Actor   *Acting `json:"act,omitzero"`
}

// Claims are what a key-bound token says. Subject is the person that the agent acts for, and the agent where
// there is none; Actor is the agent then.
type Claims struct {
	Issuer    string       `json:"iss"`
	Subject   string       `json:"sub"`
	Actor     *Acting      `json:"act,omitzero"`
	Audience  string       `json:"aud"`
	ID        string       `json:"jti"`
	Issued    jose.Seconds `json:"iat"`
	Expires   jose.Seconds `json:"exp"`
	Confirm   Confirm      `json:"cnf"`
	Tenant    string       `json:"tenant"`
	Agent     string       `json:"agent"`
	Scope     string       `json:"scope"` // of RFC 8693: words with one space between them
	Lease     string       `json:"lease"`
	Assurance int          `json:"assurance"` // 0..4
	Model     int          `json:"model"`     // 0..3
	Kind      string       `json:"evidence_kind"`
	Status    string       `json:"ear_status"`
}

// Confirm names the key that the token is bound to (RFC 9449, section 6), and where there is one the certificate on
// that key (RFC 8705, section 3.1): a holder shows either.
type Confirm struct {
	JKT string `json:"jkt"`
	X5T string `json:"x5t#S256,omitzero"`
}

// Issuer makes and checks key-bound tokens. It is safe for concurrent use.
type Issuer struct {
	Name string // iss and aud: the log's origin; required
	Key  ed25519.PrivateKey
	Now  func() time.Time // nil means time.Now
}

func (i *Issuer) now() time.Time {
	if i.Now == nil {
		return time.Now()
	}
	return i.Now()
}

// Issue signs c until c.Expires, at most BoundTTL from now.
func (i *Issuer) Issue(c Claims) (string, error) {
	if i.Name == "" || len(i.Key) != ed25519.PrivateKeySize {
		return "", errors.New("identity: issuer: a name and a key are required")
	}
	if c.Confirm.JKT == "" || c.Lease == "" || c.Agent == "" || c.Tenant == "" {
		return "", fmt.Errorf("%w token: no key, lease, agent or tenant", ErrMalformed)
	}
	now := i.now()
	c.Issuer, c.Audience, c.Issued = i.Name, i.Name, jose.Seconds(now.Unix())
	if end := jose.Seconds(now.Add(BoundTTL).Unix()); c.Expires <= 0 || c.Expires > end {
		c.Expires = end
	}
	return jose.Signer{Key: i.Key}.Sign(BoundType, c, false)
}

// Verify returns what a token of ours says, or ErrUnauthenticated. Whether its lease holds and its key is
// the caller's is for others to check.
func (i *Issuer) Verify(token string) (*Claims, error) {
	t, err := jose.Parse(token)
	if err != nil {
		return nil, ErrUnauthenticated
	}
	if t.Verify(i.Key.Public(), BoundType, jose.EdDSA) != nil {
		return nil, ErrUnauthenticated
	}
	var c Claims
	if jose.Object(t.Payload, &c) != nil {
		return nil, ErrUnauthenticated
	}
	now := i.now()
	if c.Issuer != i.Name || c.Audience != i.Name || c.Lease == "" || c.Confirm.JKT == "" ||
		!now.Before(c.Expires.Time()) || now.Add(time.Minute).Before(c.Issued.Time()) {
		return nil, ErrUnauthenticated
	}
	return &c, nil
}

// Chain returns the agents of an act claim, the one that acts now first. Depth is bounded: a longer chain is
// refused.
func (a *Acting) Chain(most int) ([]string, error) {
	var out []string
	for ; a != nil; a = a.Actor {
		if len(out) >= most || a.Subject == "" || slices.Contains(out, a.Subject) {
			return nil, fmt.Errorf("%w act: empty, longer than %d or in a circle", ErrMalformed, most)
		}
		out = append(out, a.Subject)
	}
	return out, nil
}
