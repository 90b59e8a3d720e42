// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"maps"
	"strconv"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
)

// chip signs quotes as a TPM does, in software.
type chip struct {
	key                      *ecdsa.PrivateKey
	attrs                    uint32
	pcrs                     map[int][32]byte
	log                      []attest.Event
	magic                    uint32
	kind, alg, scheme, curve uint16
}

func newChip(t testing.TB) *chip {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &chip{key: k, attrs: attrMust, pcrs: map[int][32]byte{}, magic: magic, kind: typeQuote, alg: algSHA256, scheme: algECDSA, curve: curveP256}
}

func (c *chip) extend(pcr int, kind, what string) {
	d := sha256.Sum256([]byte(what))
	c.log = append(c.log, attest.Event{PCR: pcr, Kind: kind, Digest: hex.EncodeToString(d[:])})
	c.pcrs[pcr] = Extend(c.pcrs[pcr], Measured(kind, d))
}

func be(parts ...any) []byte {
	var b bytes.Buffer
	for _, p := range parts {
		if err := binary.Write(&b, binary.BigEndian, p); err != nil {
			panic(err)
		}
	}
	return b.Bytes()
}

func (c *chip) public() []byte {
	point, err := c.key.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	return be(uint16(algECC), uint16(algSHA256), c.attrs, uint16(0), uint16(algNull), c.scheme, uint16(algSHA256), c.curve, uint16(algNull),
		uint16(32), point[1:33], uint16(32), point[33:])
}

func (c *chip) quote(t testing.TB, nonce []byte, pcrs ...int) *Evidence {
	t.Helper()
	var bits [3]byte
	h := sha256.New()
	e := &Evidence{AK: c.public(), PCRs: map[string]string{}, Log: c.log}
	for _, p := range pcrs {
		bits[p/8] |= 1 << (p % 8)
		v := c.pcrs[p]
		h.Write(v[:])
		e.PCRs[strconv.Itoa(p)] = hex.EncodeToString(v[:])
	}
	e.Quote = be(c.magic, c.kind, uint16(0), uint16(len(nonce)), nonce, uint64(77), uint32(3), uint32(1), uint8(1), uint64(0x2019),
		uint32(1), c.alg, uint8(3), bits, uint16(32), h.Sum(nil))
	sum := sha256.Sum256(e.Quote)
	r, s, err := ecdsa.Sign(rand.Reader, c.key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	e.Signature = be(uint16(algECDSA), uint16(algSHA256), uint16(32), r.FillBytes(make([]byte, 32)), uint16(32), s.FillBytes(make([]byte, 32)))
	return e
}

func verify(t testing.TB, c Config, e *Evidence, nonce []byte) (*attest.Facts, error) {
	t.Helper()
	v, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	data, err := action.Canonical(e)
	if err != nil {
		t.Fatal(err)
	}
	return v.Verify(context.Background(), data, attest.Options{Now: func() time.Time { return time.Unix(1e9, 0) }, Nonce: nonce})
}

func codeOf(err error) attest.Code {
	var e *attest.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

var nonce = []byte("0123456789abcdef0123456789abcdef")

func ready(t testing.TB) *chip {
	c := newChip(t)
	c.extend(8, "executable", "agent")
	c.extend(8, "model", "weights")
	c.extend(9, "policy", "bundle")
	return c
}

func TestVerifyTellsWhatAQuoteSays(t *testing.T) {
	c := ready(t)
	f, err := verify(t, Config{PCRs: []int{8, 9}}, c.quote(t, nonce, 8, 9), nonce)
	if err != nil {
		t.Fatal(err)
	}
	p := f.Platform
	if f.Fresh != action.Yes || p.Replayed != action.Yes || p.ResetCount != 3 || p.Restarts != 1 || p.ClockSafe != action.Yes || len(p.Log) != 3 {
		t.Errorf("%+v %+v", f, p)
	}
	if p.Resident != action.No || p.Endorsed != action.No || f.Test != action.TriUnknown || f.Assurance() != 1 {
		t.Errorf("a key of unknown residence is worth %d", f.Assurance())
	}
	f, err = verify(t, Config{PCRs: []int{8, 9}}, c.quote(t, nonce, 8, 9), nil)
	if err != nil || f.Fresh != action.TriUnknown || f.Assurance() != 0 {
		t.Errorf("without a nonce: %v, worth %d", err, f.Assurance())
	}
}

func TestVerifyRefusesWhatAQuoteDoesNotProve(t *testing.T) {
	cfg := Config{PCRs: []int{8, 9}}
	for _, c := range []struct {
		name string
		code attest.Code
		make func(c *chip) *Evidence
	}{
		{"another nonce", attest.Replayed, func(c *chip) *Evidence { return c.quote(t, []byte("other"), 8, 9) }},
		{"one register less", attest.Mismatch, func(c *chip) *Evidence { return c.quote(t, nonce, 8) }},
		{"one register more", attest.Mismatch, func(c *chip) *Evidence { return c.quote(t, nonce, 8, 9, 10) }},
		{"a register that can be set back", attest.Mismatch, func(c *chip) *Evidence { return c.quote(t, nonce, 8, 9, 23) }},
		{"an event that is not in the log", attest.Unproved, func(c *chip) *Evidence {
			log := c.log
			c.extend(8, "executable", "evil")
			c.log = log
			return c.quote(t, nonce, 8, 9)
		}},
		{"a log that calls one thing another", attest.Unproved, func(c *chip) *Evidence {
			e := c.quote(t, nonce, 8, 9)
			e.Log[0].Kind = "policy"
			return e
		}},
		{"a log in another order", attest.Unproved, func(c *chip) *Evidence {
			e := c.quote(t, nonce, 8, 9)
			e.Log[0], e.Log[1] = e.Log[1], e.Log[0]
			return e
		}},
		{"a log that is cut", attest.Unproved, func(c *chip) *Evidence {
			e := c.quote(t, nonce, 8, 9)
			e.Log = e.Log[:2]
			return e
		}},
		{"no log", attest.Unproved, func(c *chip) *Evidence {
			e := c.quote(t, nonce, 8, 9)
			e.Log = nil
			return e
		}},
		{"a log about a register that is not quoted", attest.Malformed, func(c *chip) *Evidence {
			c.extend(10, "tools", "manifest")
			return c.quote(t, nonce, 8, 9)
		}},
		{"register values of another run", attest.Unproved, func(c *chip) *Evidence {
			other := newChip(t)
			other.extend(8, "executable", "good")
			other.extend(9, "policy", "good")
			e, good := c.quote(t, nonce, 8, 9), other.quote(t, nonce, 8, 9)
			e.PCRs, e.Log = good.PCRs, good.Log
			return e
		}},
		{"a key that is not enrolled", attest.Mismatch, nil},
		{"another key's quote", attest.Unproved, func(c *chip) *Evidence {
			e := c.quote(t, nonce, 8, 9)
			e.AK = newChip(t).public()
			return e
		}},
		{"a key that signs anything", attest.Unproved, func(c *chip) *Evidence { c.attrs &^= attrRestricted; return c.quote(t, nonce, 8, 9) }},
		{"a key that can leave its chip", attest.Unproved, func(c *chip) *Evidence { c.attrs &^= attrFixedTPM; return c.quote(t, nonce, 8, 9) }},
		{"a key that was made outside", attest.Unproved, func(c *chip) *Evidence { c.attrs &^= attrOrigin; return c.quote(t, nonce, 8, 9) }},
		{"a key that also decrypts", attest.Unproved, func(c *chip) *Evidence { c.attrs |= attrDecrypt; return c.quote(t, nonce, 8, 9) }},
		{"a text that no TPM wrote", attest.Malformed, func(c *chip) *Evidence { c.magic = 1; return c.quote(t, nonce, 8, 9) }},
		{"another structure of a TPM", attest.Malformed, func(c *chip) *Evidence { c.kind = 0x8017; return c.quote(t, nonce, 8, 9) }},
		{"the SHA-1 bank", attest.Unsupported, func(c *chip) *Evidence { c.alg = 4; return c.quote(t, nonce, 8, 9) }},
		{"another curve", attest.Malformed, func(c *chip) *Evidence { c.curve = 4; return c.quote(t, nonce, 8, 9) }},
		{"another scheme", attest.Unsupported, func(c *chip) *Evidence { c.scheme = 0x1a; return c.quote(t, nonce, 8, 9) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := cfg
			if c.make == nil {
				cfg.Enrolled = func(string) (string, bool) { return "", false }
				c.make = func(c *chip) *Evidence { return c.quote(t, nonce, 8, 9) }
			}
			f, err := verify(t, cfg, c.make(ready(t)), nonce)
			if codeOf(err) != c.code || f != nil {
				t.Errorf("%v, want %s", err, c.code)
			}
		})
	}
}

func TestNewRefusesRegistersThatCanBeSetBack(t *testing.T) {
	for _, p := range []int{-1, 16, 17, 22, 23, 24} {
		if _, err := New(Config{PCRs: []int{0, p}}); err == nil {
			t.Errorf("register %d is accepted", p)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("no register at all is accepted")
	}
}

// TestEvidenceSurvivesNoFlip flips each bit of evidence and cuts it everywhere.
func TestEvidenceSurvivesNoFlip(t *testing.T) {
	c := ready(t)
	k, err := readKey(c.public())
	if err != nil {
		t.Fatal(err)
	}
	v, err := New(Config{PCRs: []int{8, 9}, Enrolled: func(key string) (string, bool) { return "ek", key == hex.EncodeToString(k.name) }})
	if err != nil {
		t.Fatal(err)
	}
	data, err := action.Canonical(c.quote(t, nonce, 8, 9))
	if err != nil {
		t.Fatal(err)
	}
	o := attest.Options{Nonce: nonce}
	if _, err := v.Verify(context.Background(), data, o); err != nil {
		t.Fatal(err)
	}
	for i := range data {
		for bit := range 8 {
			bad := bytes.Clone(data)
			bad[i] ^= 1 << bit
			if _, err := v.Verify(context.Background(), bad, o); err == nil {
				t.Errorf("bit %d of byte %d is free: %q", bit, i, bad[max(0, i-20):min(len(bad), i+20)])
			}
		}
		if _, err := v.Verify(context.Background(), data[:i], o); err == nil {
			t.Errorf("cut at %d is accepted", i)
		}
	}
}

// TestAbsentPartsNeverRaiseTheLevel drops each member in turn.
func TestAbsentPartsNeverRaiseTheLevel(t *testing.T) {
	e := ready(t).quote(t, nonce, 8, 9)
	for i := range 5 {
		bad := *e
		bad.PCRs = maps.Clone(e.PCRs)
		switch i {
		case 0:
			bad.AK = nil
		case 1:
			bad.Quote = nil
		case 2:
			bad.Signature = nil
		case 3:
			delete(bad.PCRs, "9")
		case 4:
			bad.Log = nil
		}
		if f, err := verify(t, Config{PCRs: []int{8, 9}}, &bad, nonce); err == nil || f.Assurance() != 0 {
			t.Errorf("part %d is dispensable", i)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	v, err := New(Config{PCRs: []int{8, 9}})
	if err != nil {
		b.Fatal(err)
	}
	data, err := action.Canonical(ready(b).quote(b, nonce, 8, 9))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := v.Verify(context.Background(), data, attest.Options{Nonce: nonce}); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	v, err := New(Config{PCRs: []int{8, 9}})
	if err != nil {
		f.Fatal(err)
	}
	data, err := action.Canonical(ready(f).quote(f, nonce, 8, 9))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if facts, err := v.Verify(context.Background(), b, attest.Options{Nonce: nonce}); (err == nil) != (facts != nil) {
			t.Error("facts and error, or neither")
		}
	})
}

// FuzzStructures reads the binary forms: no panic, and what is read is whole.
func FuzzStructures(f *testing.F) {
	e := ready(f).quote(f, nonce, 8, 9)
	f.Add([]byte(e.AK))
	f.Add([]byte(e.Quote))
	f.Add([]byte(e.Signature))
	k, err := readKey(e.AK)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, err := readQuote(b); err == nil && len(q.digest) != 32 {
			t.Error("a quote without digest")
		}
		if key, err := readKey(b); err == nil && len(key.name) != 34 {
			t.Error("a key without name")
		}
		if k.verify(b, e.Signature) == nil && !bytes.Equal(b, e.Quote) {
			t.Error("a signature over something else")
		}
		_, _ = readEK(b)
	})
}
