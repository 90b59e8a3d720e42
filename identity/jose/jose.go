// SPDX-License-Identifier: Apache-2.0

// Package jose reads and writes the part of JOSE that tokens need: signed JWTs in the compact form, public
// keys as JWKs and their thumbprints.
//
// # What is refused
//
// Everything that made JOSE famous: "none", symmetric algorithms, an algorithm that is not the key's own,
// keys that a token brings along (but for proofs of possession, whose caller reads Header.Key himself), crit, encryption, compression,
// line breaks and padding in base64, names that stand twice or differ only in case. Who verifies names the
// type and the algorithms that he takes.
package jose

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
)

// Alg is a signature algorithm of RFC 7518 or RFC 8037.
type Alg string

// The algorithms.
const (
	EdDSA Alg = "EdDSA" // Ed25519
	ES256 Alg = "ES256"
	ES384 Alg = "ES384"
	RS256 Alg = "RS256"
	PS256 Alg = "PS256"
)

// MaxBytes bounds a token.
const MaxBytes = 16 << 10

// The errors of this package. ErrToken never says more than a caller may know.
var (
	ErrToken = errors.New("jose: not a token that is accepted here")
	ErrKey   = errors.New("jose: key")
)

// Header is the protected header of a token.
type Header struct {
	Alg  Alg      `json:"alg"`
	Type string   `json:"typ"`
	ID   string   `json:"kid"`
	Key  *JWK     `json:"jwk"`
	Crit []string `json:"crit"`
}

// Token is a token whose form was read and whose signature was not checked.
type Token struct {
	Header  Header
	Payload []byte // one strict JSON object
	signed  string
	sig     []byte
}

// Parse reads the compact form. Nothing of the token may be believed before Verify.
func Parse(compact string) (*Token, error) {
	if len(compact) > MaxBytes {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrToken, MaxBytes)
	}
	head, rest, ok := strings.Cut(compact, ".")
	body, tail, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 || strings.Contains(tail, ".") {
		return nil, fmt.Errorf("%w: not three parts", ErrToken)
	}
	t := &Token{signed: compact[:len(head)+1+len(body)]}
	h, err := Decode(head)
	if err != nil {
		return nil, err
	}
	if t.Payload, err = Decode(body); err != nil {
		return nil, err
	}
	if t.sig, err = Decode(tail); err != nil {
		return nil, err
	}
	if err := Object(h, &t.Header); err != nil {
		return nil, err
	}
	if t.Header.Crit != nil {
		return nil, fmt.Errorf("%w: crit", ErrToken)
	}
	return t, Object(t.Payload, &struct{}{})
}

// Object reads a strict JSON object into v; members that v does not know are passed over.
func Object(data []byte, v any) error {
	if err := action.Check(data, action.Limits{Bytes: MaxBytes, Depth: 16, Names: 512}); err != nil {
		return fmt.Errorf("%w: %w", ErrToken, err)
	}
	if !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) {
		return fmt.Errorf("%w: not an object", ErrToken)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%w: a member is of the wrong type", ErrToken)
	}
	return nil
}

// Decode reads base64url without padding, in the one form that encoders write.
func Decode(s string) ([]byte, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || base64.RawURLEncoding.EncodeToString(b) != s {
		return nil, fmt.Errorf("%w: not base64url", ErrToken)
	}
	return b, nil
}

// Encode is base64url without padding.
func Encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// Verify checks that key signed the token, that its type is typ ("" accepts any) and its algorithm one of
// algs and the key's own.
func (t *Token) Verify(key crypto.PublicKey, typ string, algs ...Alg) error {
	if typ != "" && !strings.EqualFold(strings.TrimPrefix(strings.ToLower(t.Header.Type), "application/"), typ) {
		return fmt.Errorf("%w: type", ErrToken)
	}
	if !slices.Contains(algs, t.Header.Alg) || !slices.Contains(algorithms(key), t.Header.Alg) || !t.signedBy(key) {
		return fmt.Errorf("%w: signature", ErrToken)
	}
	return nil
}

// algorithms are those that a key may sign with.
func algorithms(key crypto.PublicKey) []Alg {
	switch k := key.(type) {
	case ed25519.PublicKey:
		if len(k) == ed25519.PublicKeySize {
			return []Alg{EdDSA}
		}
	case *ecdsa.PublicKey:
		switch k.Curve.Params().BitSize {
		case 256:
			return []Alg{ES256}
		case 384:
			return []Alg{ES384}
		}
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n >= 2048 && n <= 8192 {
			return []Alg{RS256, PS256}
		}
	}
	return nil
}

func (t *Token) signedBy(key crypto.PublicKey) bool {
	msg := []byte(t.signed)
	sum := sha256.Sum256(msg)
	switch k := key.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(k, msg, t.sig)
	case *ecdsa.PublicKey:
		digest, size := sum[:], 32
		if t.Header.Alg == ES384 {
			wide := sha512.Sum384(msg)
			digest, size = wide[:], 48
		}
		return len(t.sig) == 2*size && ecdsa.Verify(k, digest, new(big.Int).SetBytes(t.sig[:size]), new(big.Int).SetBytes(t.sig[size:]))
	case *rsa.PublicKey:
		if t.Header.Alg == PS256 {
			return rsa.VerifyPSS(k, crypto.SHA256, sum[:], t.sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return rsa.VerifyPKCS1v15(k, crypto.SHA256, sum[:], t.sig) == nil
	}
	return false
}

// Signer signs tokens with one key: ed25519.PrivateKey, *ecdsa.PrivateKey on P-256, or *rsa.PrivateKey.
type Signer struct {
	Key  crypto.Signer
	ID   string    // kid; "" leaves it out
	Rand io.Reader // nil means crypto/rand
}

// Sign returns a token of type typ over claims, which encode as a JSON object. With embed the header carries
// the public key, for a proof of possession.
func (s Signer) Sign(typ string, claims any, embed bool) (string, error) {
	random := s.Rand
	if random == nil {
		random = rand.Reader
	}
	algs := algorithms(s.Key.Public())
	if len(algs) == 0 || algs[0] == ES384 {
		return "", fmt.Errorf("%w: of a kind that is not signed with", ErrKey)
	}
	head := map[string]any{"alg": algs[0], "typ": typ}
	if s.ID != "" {
		head["kid"] = s.ID
	}
	if embed {
		k, err := KeyOf(s.Key.Public())
		if err != nil {
			return "", err
		}
		head["jwk"] = k
	}
	h, err := action.Canonical(head)
	if err != nil {
		return "", err
	}
	body, err := action.Canonical(claims)
	if err != nil {
		return "", err
	}
	signed := Encode(h) + "." + Encode(body)
	sum := sha256.Sum256([]byte(signed))
	var sig []byte
	switch k := s.Key.(type) {
	case ed25519.PrivateKey:
		sig = ed25519.Sign(k, []byte(signed))
	case *ecdsa.PrivateKey:
		r, v, err := ecdsa.Sign(random, k, sum[:])
		if err != nil {
			return "", err
		}
		sig = append(r.FillBytes(make([]byte, 32)), v.FillBytes(make([]byte, 32))...)
	default:
		if sig, err = k.Sign(random, sum[:], crypto.SHA256); err != nil {
			return "", err
		}
	}
	return signed + "." + Encode(sig), nil
}
