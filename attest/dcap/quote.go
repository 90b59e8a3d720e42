// SPDX-License-Identifier: Apache-2.0

package dcap

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"

	"github.com/sallyport/sallyport/attest"
)

// MaxQuoteBytes bounds a quote; real ones have about 5,000 bytes.
const MaxQuoteBytes = 64 << 10

// The sizes and numbers of Intel's quote formats 3, 4 and 5.
const (
	headerBytes  = 48
	enclaveBytes = 384 // an SGX report body
	td10Bytes    = 584
	td15Bytes    = 648

	teeSGX = 0x00
	teeTDX = 0x81

	keyP256        = 2 // ECDSA-256-with-P-256
	certPCKChain   = 5
	certQEReport   = 6
	reportDataSize = 64
)

// qeVendor is Intel's id as the vendor of the quoting enclave.
var qeVendor, _ = hex.DecodeString("939a7233f79c4ca9940a0db3957f0607")

// quote is a parsed quote. Its slices point into the raw bytes.
type quote struct {
	version uint16
	tee     uint32
	td15    bool
	signed  []byte // header and body, what the attestation key signs
	body    []byte

	signature  []byte // 64, r then s
	key        []byte // 64, x then y, of the attestation key
	qeReport   []byte // 384
	qeSigned   []byte // 64, by the PCK key
	qeAuth     []byte
	certs      []byte // PEM
	reportData []byte // 64
}

// Trim returns the quote without the zero bytes that some hosts pad it with, so that it can be verified.
// What is not a quote, or is followed by anything but zeros, is returned as it is.
func Trim(raw []byte) []byte {
	n, ok := length(raw)
	if !ok || len(raw) > MaxQuoteBytes || len(bytes.Trim(raw[n:], "\x00")) != 0 {
		return raw
	}
	return raw[:n]
}

// length reads how long the quote says that it is, and whether that many bytes are there.
func length(raw []byte) (int, bool) {
	r := reader{rest: raw}
	if _, err := r.body(); err != nil {
		return 0, false
	}
	n := r.u32()
	r.take(uint64(n))
	return len(raw) - len(r.rest), !r.short
}

// parse reads a quote strictly: the known versions, every length exact, no byte left over.
func parse(raw []byte) (*quote, error) {
	if len(raw) > MaxQuoteBytes {
		return nil, attest.Refuse(attest.Malformed, "quote: %d bytes are more than %d", len(raw), MaxQuoteBytes)
	}
	r := reader{rest: raw}
	q, err := r.body()
	if err != nil {
		return nil, err
	}
	q.signed = raw[:len(raw)-len(r.rest)]
	sig := reader{rest: r.take(uint64(r.u32()))}
	if r.short || len(r.rest) != 0 {
		return nil, attest.Refuse(attest.Malformed, "quote: its signature section does not end with the quote")
	}
	q.signature, q.key = sig.take(64), sig.take(64)
	if q.version >= 4 {
		if kind := sig.u16(); kind != certQEReport && !sig.short {
			return nil, attest.Refuse(attest.Unsupported, "quote: certification data of type %d where %d is expected", kind, certQEReport)
		}
		inner := reader{rest: sig.take(uint64(sig.u32()))}
		if sig.short || len(sig.rest) != 0 {
			return nil, attest.Refuse(attest.Malformed, "quote: its certification data does not end with its signature section")
		}
		sig = inner
	}
	q.qeReport, q.qeSigned = sig.take(enclaveBytes), sig.take(64)
	q.qeAuth = sig.take(uint64(sig.u16()))
	kind := sig.u16()
	q.certs = sig.take(uint64(sig.u32()))
	if sig.short || len(sig.rest) != 0 {
		return nil, attest.Refuse(attest.Malformed, "quote: its signature section is cut or has bytes left over")
	}
	if kind != certPCKChain {
		return nil, attest.Refuse(attest.Unsupported, "quote: certification data of type %d; only a certificate chain (%d) verifies offline", kind, certPCKChain)
	}
	return q, nil
}

// body reads header and body.
func (r *reader) body() (*quote, error) {
	h := r.take(headerBytes)
	if r.short {
		return nil, attest.Refuse(attest.Malformed, "quote: shorter than a header")
	}
	q := &quote{version: binary.LittleEndian.Uint16(h), tee: binary.LittleEndian.Uint32(h[4:])}
	if key := binary.LittleEndian.Uint16(h[2:]); key != keyP256 {
		return nil, attest.Refuse(attest.Unsupported, "quote: attestation key of type %d", key)
	}
	if !bytes.Equal(h[12:28], qeVendor) {
		return nil, attest.Refuse(attest.Unsupported, "quote: quoting enclave of vendor %x", h[12:28])
	}
	size := uint64(enclaveBytes)
	switch {
	case q.version == 3 && q.tee == teeSGX, q.version == 4 && q.tee == teeSGX:
	case q.version == 4 && q.tee == teeTDX:
		size = td10Bytes
	case q.version == 5:
		kind, n := r.u16(), uint64(r.u32())
		want := map[uint16]uint64{1: enclaveBytes, 2: td10Bytes, 3: td15Bytes}[kind]
		if r.short || want == 0 || n != want || (kind == 1) != (q.tee == teeSGX) || (kind != 1) != (q.tee == teeTDX) {
			return nil, attest.Refuse(attest.Malformed, "quote: body of type %d with %d bytes for TEE %#x", kind, n, q.tee)
		}
		size, q.td15 = n, kind == 3
	default:
		return nil, attest.Refuse(attest.Unsupported, "quote: version %d for TEE %#x", q.version, q.tee)
	}
	q.body = r.take(size)
	if r.short {
		return nil, attest.Refuse(attest.Malformed, "quote: its body is cut")
	}
	at := enclaveBytes - reportDataSize
	if q.tee == teeTDX {
		at = td10Bytes - reportDataSize
	}
	q.reportData = q.body[at : at+reportDataSize]
	return q, nil
}

// reader takes little-endian fields off a slice. Once it is short, it stays short and returns zeros.
type reader struct {
	rest  []byte
	short bool
}

func (r *reader) take(n uint64) []byte {
	if r.short || n > uint64(len(r.rest)) {
		r.short = true
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}
