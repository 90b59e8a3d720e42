// SPDX-License-Identifier: Apache-2.0

package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"math/big"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
)

// JWK is a public key of RFC 7517. A private or symmetric one is refused.
type JWK struct {
	Kty string `json:"kty"`
	Crv string `json:"crv,omitzero"`
	X   string `json:"x,omitzero"`
	Y   string `json:"y,omitzero"`
	N   string `json:"n,omitzero"`
	E   string `json:"e,omitzero"`
	Kid string `json:"kid,omitzero"`
	Use string `json:"use,omitzero"`
	Alg Alg    `json:"alg,omitzero"`
	D   string `json:"d,omitzero"` // here to be refused
	K   string `json:"k,omitzero"`
}

// Public returns the key, checked: a point on its curve, an RSA key of 2048 to 8192 bits.
func (k *JWK) Public() (crypto.PublicKey, error) {
	if k.D != "" || k.K != "" {
		return nil, fmt.Errorf("%w: it is not a public one", ErrKey)
	}
	switch {
	case k.Kty == "OKP" && k.Crv == "Ed25519":
		x, err := Decode(k.X)
		if err != nil || len(x) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("%w: not an Ed25519 key", ErrKey)
		}
		return ed25519.PublicKey(x), nil
	case k.Kty == "EC" && k.Crv == "P-256":
		return k.point(elliptic.P256(), 32)
	case k.Kty == "EC" && k.Crv == "P-384":
		return k.point(elliptic.P384(), 48)
	case k.Kty == "RSA":
		n, err := Decode(k.N)
		e, err2 := Decode(k.E)
		if err != nil || err2 != nil || len(n) < 256 || len(n) > 1024 || n[0] == 0 || len(e) == 0 || len(e) > 4 {
			return nil, fmt.Errorf("%w: not an RSA key of 2048 to 8192 bits", ErrKey)
		}
		out := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
		if out.N.BitLen() < 2048 || out.N.Bit(0) == 0 || out.E < 3 || out.E%2 == 0 || out.E > 1<<31-1 {
			return nil, fmt.Errorf("%w: not an RSA key of 2048 to 8192 bits", ErrKey)
		}
		return out, nil
	}
	return nil, fmt.Errorf("%w: kind %q", ErrKey, action.Clip(k.Kty, 16))
}

func (k *JWK) point(c elliptic.Curve, size int) (crypto.PublicKey, error) {
	x, err := Decode(k.X)
	y, err2 := Decode(k.Y)
	if err != nil || err2 != nil || len(x) != size || len(y) != size {
		return nil, fmt.Errorf("%w: not a point of %s", ErrKey, c.Params().Name)
	}
	p, err := ecdsa.ParseUncompressedPublicKey(c, append(append([]byte{4}, x...), y...))
	if err != nil {
		return nil, fmt.Errorf("%w: not a point of %s", ErrKey, c.Params().Name)
	}
	return p, nil
}

// KeyOf returns the JWK of a public key.
func KeyOf(key crypto.PublicKey) (*JWK, error) {
	switch k := key.(type) {
	case ed25519.PublicKey:
		return &JWK{Kty: "OKP", Crv: "Ed25519", X: Encode(k)}, nil
	case *ecdsa.PublicKey:
		b, err := k.Bytes()
		if err != nil || len(algorithms(k)) == 0 {
			return nil, fmt.Errorf("%w: curve", ErrKey)
		}
		n := len(b) / 2
		return &JWK{Kty: "EC", Crv: k.Curve.Params().Name, X: Encode(b[1 : 1+n]), Y: Encode(b[1+n:])}, nil
	case *rsa.PublicKey:
		return &JWK{Kty: "RSA", N: Encode(k.N.Bytes()), E: Encode(big.NewInt(int64(k.E)).Bytes())}, nil
	}
	return nil, fmt.Errorf("%w: of an unknown kind", ErrKey)
}

// Thumbprint returns the name of a key by RFC 7638, with SHA-256.
func (k *JWK) Thumbprint() (string, error) {
	members := map[string]string{"kty": k.Kty}
	switch k.Kty {
	case "OKP":
		members["crv"], members["x"] = k.Crv, k.X
	case "EC":
		members["crv"], members["x"], members["y"] = k.Crv, k.X, k.Y
	case "RSA":
		members["e"], members["n"] = k.E, k.N
	default:
		return "", fmt.Errorf("%w: kind %q", ErrKey, action.Clip(k.Kty, 16))
	}
	b, err := action.Canonical(members)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return Encode(sum[:]), nil
}

// Set is a set of an issuer's keys (RFC 7517, section 5).
type Set struct{ keys []setKey }

type setKey struct {
	id  string
	alg Alg
	key crypto.PublicKey
}

// MaxSetBytes bounds a set of keys.
const MaxSetBytes = 256 << 10

// ParseSet reads a set. Keys of kinds that are not verified with, or meant for encryption, are passed over;
// a set without any usable key is refused.
func ParseSet(data []byte) (*Set, error) {
	if err := action.Check(data, action.Limits{Bytes: MaxSetBytes, Depth: 8, Names: 8192}); err != nil {
		return nil, fmt.Errorf("%w set: %w", ErrKey, err)
	}
	var doc struct {
		Keys []JWK `json:"keys"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("%w set: a member is of the wrong type", ErrKey)
	}
	s := &Set{}
	for i := range doc.Keys {
		k := &doc.Keys[i]
		if k.Use != "" && k.Use != "sig" {
			continue
		}
		if pub, err := k.Public(); err == nil && len(s.keys) < 64 {
			s.keys = append(s.keys, setKey{k.Kid, k.Alg, pub})
		}
	}
	if len(s.keys) == 0 {
		return nil, fmt.Errorf("%w set: holds no key to verify with", ErrKey)
	}
	return s, nil
}

// Knows reports whether the set holds a key of the id that the token names, or any where it names none.
func (s *Set) Knows(t *Token) bool {
	for _, k := range s.keys {
		if t.Header.ID == "" || k.id == t.Header.ID {
			return true
		}
	}
	return false
}

// Verify checks t against the keys of its key id, or against all where it names none.
func (s *Set) Verify(t *Token, typ string, algs ...Alg) error {
	for _, k := range s.keys {
		if t.Header.ID != "" && k.id != t.Header.ID || k.alg != "" && k.alg != t.Header.Alg {
			continue
		}
		if t.Verify(k.key, typ, algs...) == nil {
			return nil
		}
	}
	return fmt.Errorf("%w: signature", ErrToken)
}
