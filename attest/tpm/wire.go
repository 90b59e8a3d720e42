// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"math/big"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
)

// The numbers of "TPM 2.0 Library, Part 2: Structures" that are understood.
const (
	algRSA    = 0x0001
	algSHA256 = 0x000b
	algNull   = 0x0010
	algRSASSA = 0x0014
	algECDSA  = 0x0018
	algECC    = 0x0023
	curveP256 = 0x0003

	magic     = 0xff544347 // TPM_GENERATED_VALUE
	typeQuote = 0x8018     // TPM_ST_ATTEST_QUOTE

	// The attributes of an attestation key: made in this chip, cannot leave it, signs only what the chip
	// itself wrote.
	attrFixedTPM    = 1 << 1
	attrFixedParent = 1 << 4
	attrOrigin      = 1 << 5
	attrRestricted  = 1 << 16
	attrDecrypt     = 1 << 17
	attrSign        = 1 << 18
	attrMust        = attrFixedTPM | attrFixedParent | attrOrigin | attrRestricted | attrSign
	attrMustNot     = attrDecrypt
)

// reader takes big-endian fields off a slice. Once it is short, it stays short and returns zeros.
type reader struct {
	rest  []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if r.short || n > len(r.rest) {
		r.short = true
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) u8() (n uint8) {
	if b := r.take(1); b != nil {
		n = b[0]
	}
	return n
}

func (r *reader) u16() (n uint16) {
	if b := r.take(2); b != nil {
		n = binary.BigEndian.Uint16(b)
	}
	return n
}

func (r *reader) u32() (n uint32) {
	if b := r.take(4); b != nil {
		n = binary.BigEndian.Uint32(b)
	}
	return n
}

func (r *reader) u64() (n uint64) {
	if b := r.take(8); b != nil {
		n = binary.BigEndian.Uint64(b)
	}
	return n
}

func (r *reader) sized() []byte { return r.take(int(r.u16())) }

func (r *reader) end() bool { return !r.short && len(r.rest) == 0 }

// key is an attestation key.
type key struct {
	name []byte // its TPM name: algorithm and digest of the public area
	ec   *ecdsa.PublicKey
	rsa  *rsa.PublicKey
}

// readKey reads a TPMT_PUBLIC and refuses all but restricted signing keys that cannot leave their chip:
// ECDSA on P-256 or RSASSA of 2048 bits and more, with SHA-256.
func readKey(b []byte) (*key, error) {
	r := &reader{rest: b}
	kind, nameAlg, attrs := r.u16(), r.u16(), r.u32()
	r.sized() // the authorisation policy: whoever may use the key does so through the chip
	symmetric, scheme, hash := r.u16(), r.u16(), r.u16()
	if r.short {
		return nil, attest.Refuse(attest.Malformed, "attestation key: cut")
	}
	switch {
	case nameAlg != algSHA256 || hash != algSHA256 || symmetric != algNull:
		return nil, attest.Refuse(attest.Unsupported, "attestation key: name, signature or symmetric algorithm")
	case attrs&attrMust != attrMust || attrs&attrMustNot != 0:
		return nil, attest.Refuse(attest.Unproved, "attestation key: attributes %#x are not those of a restricted signing key that stays in its chip", attrs)
	}
	sum := sha256.Sum256(b)
	k := &key{name: append([]byte{algSHA256 >> 8, algSHA256 & 0xff}, sum[:]...)}
	switch {
	case kind == algECC && scheme == algECDSA:
		curve, kdf := r.u16(), r.u16()
		x, y := r.sized(), r.sized()
		if !r.end() || curve != curveP256 || kdf != algNull || len(x) != 32 || len(y) != 32 {
			return nil, attest.Refuse(attest.Malformed, "attestation key: not a point of P-256")
		}
		p, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
		if err != nil {
			return nil, attest.RefuseFor(err, attest.Malformed, "attestation key")
		}
		k.ec = p
	case kind == algRSA && scheme == algRSASSA:
		bits, exponent := r.u16(), r.u32()
		n := r.sized()
		if !r.end() || bits < 2048 || bits > 4096 || int(bits) != 8*len(n) || n[0]&0x80 == 0 || (exponent != 0 && exponent != 65537) {
			return nil, attest.Refuse(attest.Malformed, "attestation key: not RSA of 2048 to 4096 bits")
		}
		k.rsa = &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537}
	default:
		return nil, attest.Refuse(attest.Unsupported, "attestation key: type %#x with scheme %#x", kind, scheme)
	}
	return k, nil
}

// quote is a TPMS_ATTEST of type quote.
type quote struct {
	extra           []byte
	clock           uint64
	resets, restart uint32
	safe            action.Tri
	firmware        uint64
	selection       uint32 // the bits of registers 0 to 23, SHA-256 bank
	digest          []byte
}

func readQuote(b []byte) (*quote, error) {
	r := &reader{rest: b}
	if m, kind := r.u32(), r.u16(); m != magic || kind != typeQuote {
		return nil, attest.Refuse(attest.Malformed, "quote: not written by a TPM as a quote")
	}
	r.sized() // the qualified name of the signer; the signature says more
	q := &quote{extra: r.sized(), clock: r.u64(), resets: r.u32(), restart: r.u32()}
	safe := r.u8()
	q.safe = action.TriOf(safe == 1)
	q.firmware = r.u64()
	banks, hash, size := r.u32(), r.u16(), r.u8()
	if r.short || safe > 1 || banks != 1 || hash != algSHA256 || size != 3 {
		return nil, attest.Refuse(attest.Unsupported, "quote: %d banks, the first of algorithm %#x; exactly the SHA-256 bank is expected", banks, hash)
	}
	for i, b := range r.take(3) {
		q.selection |= uint32(b) << (8 * i)
	}
	q.digest = r.sized()
	if !r.end() || len(q.digest) != sha256.Size {
		return nil, attest.Refuse(attest.Malformed, "quote: cut, or bytes are left over")
	}
	return q, nil
}

// verify checks a TPMT_SIGNATURE over msg.
func (k *key) verify(msg, sig []byte) error {
	r := &reader{rest: sig}
	scheme, hash := r.u16(), r.u16()
	sum := sha256.Sum256(msg)
	ok := false
	switch {
	case hash != algSHA256:
	case k.ec != nil && scheme == algECDSA:
		a, b := r.sized(), r.sized()
		ok = r.end() && len(a) <= 32 && len(b) <= 32 &&
			ecdsa.Verify(k.ec, sum[:], new(big.Int).SetBytes(a), new(big.Int).SetBytes(b))
	case k.rsa != nil && scheme == algRSASSA:
		s := r.sized()
		ok = r.end() && rsa.VerifyPKCS1v15(k.rsa, rsaHash, sum[:], s) == nil
	}
	if !ok {
		return attest.Refuse(attest.Unproved, "quote: not signed by the attestation key")
	}
	return nil
}
