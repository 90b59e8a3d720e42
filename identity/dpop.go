// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"crypto"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/identity/jose"
)

// The windows and bounds of proofs of possession.
const (
	ProofAge   = 30 * time.Second // how old a proof may be
	ProofAhead = 5 * time.Second  // how far its clock may be ahead of ours
	// MaxProofs bounds the proofs that are remembered, in all and of one key. Beyond it proofs are refused:
	// one that were forgotten could be sent again.
	MaxProofs    = 1 << 18
	MaxProofsKey = 1 << 16
	maxJTI       = 128
)

// ErrProof means that a request does not prove possession of its key.
var ErrProof = errors.New("identity: no proof of possession")

// Proof is one DPoP header (RFC 9449) with the request that it came on.
type Proof struct {
	Text   string // the header
	Method string
	URL    *url.URL // as it was asked for; scheme, host and path count
	Token  string   // the access token that came with it; "" where one is asked for
	Nonce  string   // that the proof must carry; "" wants none
	Proxy  bool     // a proxy may have taken TLS off: both schemes are the same
}

// Proofs checks proofs of possession and remembers them, so that none serves twice. The zero value is ready.
// It is safe for concurrent use.
type Proofs struct {
	Now func() time.Time // nil means time.Now

	mu    sync.Mutex // guards below
	seen  map[[16]byte]struct{}
	order []remembered // by time of expiry
	keys  map[string]int
}

type remembered struct {
	id  [16]byte
	key string
	end time.Time
}

type proofClaims struct {
	ID     string       `json:"jti"`
	Method string       `json:"htm"`
	URL    string       `json:"htu"`
	Issued jose.Seconds `json:"iat"`
	Hash   string       `json:"ath"`
	Nonce  string       `json:"nonce"`
}

// Key returns the public key that p proves possession of, and its thumbprint, or ErrProof.
func (ps *Proofs) Key(p Proof) (crypto.PublicKey, string, error) {
	t, err := jose.Parse(p.Text)
	if err != nil || t.Header.Key == nil {
		return nil, "", fmt.Errorf("%w: form", ErrProof)
	}
	key, err := t.Header.Key.Public()
	if err != nil {
		return nil, "", fmt.Errorf("%w: key", ErrProof)
	}
	print, err := ps.check(p, t, key)
	if err != nil {
		return nil, "", err
	}
	return key, print, nil
}

// Check returns the thumbprint of the key that p proves possession of, or ErrProof.
func (ps *Proofs) Check(p Proof) (string, error) {
	_, print, err := ps.Key(p)
	return print, err
}

func (ps *Proofs) check(p Proof, t *jose.Token, key crypto.PublicKey) (string, error) {
	if err := t.Verify(key, "dpop+jwt", jose.ES256, jose.EdDSA); err != nil {
		return "", fmt.Errorf("%w: signature", ErrProof)
	}
	var c proofClaims
	if err := jose.Object(t.Payload, &c); err != nil {
		return "", fmt.Errorf("%w: claims", ErrProof)
	}
	hash := ""
	if p.Token != "" {
		sum := sha256.Sum256([]byte(p.Token))
		hash = jose.Encode(sum[:])
	}
	now := time.Now
	if ps.Now != nil {
		now = ps.Now
	}
	at, age := now(), now().Sub(c.Issued.Time())
	switch {
	case c.ID == "" || len(c.ID) > maxJTI:
		return "", fmt.Errorf("%w: jti", ErrProof)
	case c.Method != p.Method || !p.covers(c.URL):
		return "", fmt.Errorf("%w: it is for another request", ErrProof)
	case age > ProofAge || age < -ProofAhead:
		return "", fmt.Errorf("%w: made at another time", ErrProof)
	case subtle.ConstantTimeCompare([]byte(c.Hash), []byte(hash)) != 1:
		return "", fmt.Errorf("%w: it is for another token", ErrProof)
	case subtle.ConstantTimeCompare([]byte(c.Nonce), []byte(p.Nonce)) != 1:
		return "", fmt.Errorf("%w: nonce", ErrProof)
	}
	print, err := t.Header.Key.Thumbprint()
	if err != nil {
		return "", fmt.Errorf("%w: key", ErrProof)
	}
	if !ps.first(print, c.ID, at) {
		return "", fmt.Errorf("%w: it was sent before, or too many were", ErrProof)
	}
	return print, nil
}

// covers compares htu with the request, after the normalisation of RFC 3986 that matters here.
func (p *Proof) covers(htu string) bool {
	u, err := url.Parse(htu)
	if err != nil || u.User != nil || u.Opaque != "" || p.URL == nil || len(htu) > 4096 {
		return false
	}
	scheme := strings.EqualFold(u.Scheme, p.URL.Scheme)
	if p.Proxy {
		scheme = strings.EqualFold(u.Scheme, "http") || strings.EqualFold(u.Scheme, "https")
	}
	return scheme && authority(u) == authority(&url.URL{Scheme: u.Scheme, Host: p.URL.Host}) && pathOf(u) == pathOf(p.URL)
}

func authority(u *url.URL) string {
	host := strings.ToLower(u.Host)
	switch strings.ToLower(u.Scheme) {
	case "http":
		return strings.TrimSuffix(host, ":80")
	case "https":
		return strings.TrimSuffix(host, ":443")
	}
	return host
}

func pathOf(u *url.URL) string {
	if p := u.EscapedPath(); p != "" {
		return p
	}
	return "/"
}

// first remembers a proof and reports whether it is new.
func (ps *Proofs) first(key, id string, now time.Time) bool {
	sum := sha256.Sum256([]byte(key + "\x00" + id))
	k := [16]byte(sum[:16])
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.seen == nil {
		ps.seen, ps.keys = map[[16]byte]struct{}{}, map[string]int{}
	}
	n := 0
	for n < len(ps.order) && now.After(ps.order[n].end) {
		o := ps.order[n]
		delete(ps.seen, o.id)
		if ps.keys[o.key]--; ps.keys[o.key] <= 0 {
			delete(ps.keys, o.key)
		}
		n++
	}
	ps.order = ps.order[n:]
	if _, ok := ps.seen[k]; ok || len(ps.seen) >= MaxProofs || ps.keys[key] >= MaxProofsKey {
		return false
	}
	ps.seen[k] = struct{}{}
	ps.keys[key]++
	ps.order = append(ps.order, remembered{k, key, now.Add(ProofAge + ProofAhead)})
	return true
}
