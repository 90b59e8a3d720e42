// SPDX-License-Identifier: Apache-2.0

package dcap

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/attest"
)

// parts are the collateral's byte strings by name.
func (c *Collateral) parts() map[string]*[]byte {
	return map[string]*[]byte{"PCK CRL chain": &c.PCKCRLChain, "root CRL": &c.RootCRL, "PCK CRL": &c.PCKCRL, "TCB info chain": &c.TCBInfoChain,
		"TCB info": &c.TCBInfo, "TCB info signature": &c.TCBInfoSignature, "QE identity chain": &c.QEIdentityChain,
		"QE identity": &c.QEIdentity, "QE identity signature": &c.QEIdentitySignature}
}

// subject is evidence that verifies.
type subject struct {
	name  string
	quote []byte
	coll  *Collateral
	root  []byte
	now   func() time.Time
}

func (s subject) verify(quote []byte, c *Collateral) (*attest.Facts, error) {
	v, err := New(Config{Store: Fixed{c}, Root: s.root})
	if err != nil {
		return nil, err
	}
	return v.Verify(context.Background(), quote, attest.Options{Now: s.now})
}

func generated(t testing.TB, version uint16, tee uint32) subject {
	w := newWorld(t, version, tee)
	q, c := w.build()
	return subject{fmt.Sprintf("generated %d %#x", version, tee), q, c, w.cfg.Root, func() time.Time { return w.now }}
}

// every makes TestNoByteIsFree try every byte (one minute of processor time) instead of every 13th.
var every = flag.Bool("every", false, "flip every byte of evidence and collateral")

// TestNoByteIsFree flips a bit of every byte of quote and collateral, and cuts both everywhere. The list of
// bytes that may be changed unseen is empty.
func TestNoByteIsFree(t *testing.T) {
	for _, load := range []func(t *testing.T) subject{
		func(t *testing.T) subject { return generated(t, 3, teeSGX) },
		func(t *testing.T) subject { return generated(t, 5, teeTDX) },
		func(t *testing.T) subject {
			return subject{"published SGX", vector(t, "dcap-qvl/sgx_quote"), published(t, "dcap-qvl/sgx_quote_collateral.json"), nil, at("2025-07-01")}
		},
		func(t *testing.T) subject {
			return subject{"published TDX", Trim(vector(t, "dcap-qvl/tdx_quote")), published(t, "dcap-qvl/tdx_quote_collateral.json"), nil, at("2025-07-01")}
		},
	} {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			s := load(t)
			if _, err := s.verify(s.quote, s.coll); err != nil {
				t.Fatal(err)
			}
			tried, step := 0, 13
			if *every {
				step = 1
			}
			refused := func(what string, i int, quote []byte, c *Collateral) {
				tried++
				f, err := s.verify(quote, c)
				if err == nil || f != nil || codeOf(err) == "" {
					t.Errorf("%s: %s at %d: %v", s.name, what, i, err)
				}
			}
			for i := 0; i < len(s.quote); i += step {
				bad := bytes.Clone(s.quote)
				bad[i] ^= 1 << (i % 8)
				refused("quote flipped", i, bad, s.coll)
				refused("quote cut", i, s.quote[:i], s.coll)
			}
			for name := range s.coll.parts() {
				whole := *s.coll.parts()[name]
				for i := 0; i < len(whole); i += step {
					c := *s.coll
					bad := bytes.Clone(whole)
					bad[i] ^= 1 << (i % 8)
					*c.parts()[name] = bad
					refused(name+" flipped", i, s.quote, &c)
					if i%16 == 0 || i > len(whole)-16 {
						*c.parts()[name] = whole[:i]
						refused(name+" cut", i, s.quote, &c)
					}
				}
			}
			t.Logf("%s: %d mutations, all refused", s.name, tried)
		})
	}
}

func TestTrimTakesZerosOnly(t *testing.T) {
	q := generated(t, 4, teeTDX).quote
	for _, c := range []struct {
		name string
		tail []byte
		want int
	}{
		{"nothing", nil, len(q)}, {"zeros", make([]byte, 70), len(q)}, {"one that is not", append(make([]byte, 69), 1), len(q) + 70},
	} {
		if got := Trim(append(slices.Clone(q), c.tail...)); len(got) != c.want {
			t.Errorf("%s: %d bytes, want %d", c.name, len(got), c.want)
		}
	}
	for i := range q {
		if got := Trim(q[:i]); len(got) != i {
			t.Fatalf("a quote cut at %d is trimmed to %d", i, len(got))
		}
	}
}

func TestCollateralSurvivesItsFile(t *testing.T) {
	c := generated(t, 3, teeSGX).coll
	data, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := ReadCollateral(data)
	if err != nil || back.Digest() != c.Digest() {
		t.Errorf("%v", err)
	}
	for _, bad := range []string{`{}x`, `{"tcb_info":1}`, `{"pck_crl":"0G"}`, `{"pck_crl":"AB"}`, `{"pck_crl":"ab","pck_crl":"ab"}`, `{"else":""}`} {
		if _, err := ReadCollateral([]byte(bad)); codeOf(err) != attest.Malformed {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// FuzzQuote parses anything: no panic, and what parses is the whole of its input.
func FuzzQuote(f *testing.F) {
	for _, s := range formats {
		f.Add(generated(f, s.version, s.tee).quote)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := parse(b)
		if (q == nil) == (err == nil) {
			t.Fatal("a quote and an error, or neither")
		}
		if err == nil {
			if n, ok := length(b); !ok || n != len(b) {
				t.Errorf("parsed with a length of %d of %d", n, len(b))
			}
			_, _ = readChain("fuzz", q.certs, 3)
		}
		Trim(b)
	})
}

// FuzzCollateral puts anything in the place of each part: never accepted, never a panic.
func FuzzCollateral(f *testing.F) {
	s := generated(f, 4, teeTDX)
	names := []string{}
	for name, part := range s.coll.parts() {
		names = append(names, name)
		f.Add(0, *part)
	}
	slices.Sort(names)
	f.Fuzz(func(t *testing.T, which int, b []byte) {
		c := *s.coll
		name := names[uint(which)%uint(len(names))]
		if same := bytes.Equal(*c.parts()[name], b); !same {
			*c.parts()[name] = b
			if _, err := s.verify(s.quote, &c); err == nil && !bytes.HasSuffix(b, []byte{0}) {
				t.Errorf("%s: accepted with other bytes", name)
			}
		}
		_, _ = ReadCollateral(b)
	})
}

// FuzzDocuments reads what Intel might sign, past the signature: no panic on any of it.
func FuzzDocuments(f *testing.F) {
	s := generated(f, 4, teeTDX)
	f.Add(s.coll.TCBInfo, s.coll.QEIdentity)
	q, err := parse(s.quote)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, tcb, qe []byte) {
		info, id, w := &tcbInfo{}, &qeIdentity{}, &window{now: s.now()}
		p := &pck{fmspc: "00A067110000", pceID: "0000"}
		if readSigned("fuzz", tcb, info) == nil && info.check("tdx", p, w) == nil {
			_, _ = info.platform(p, q.body[:16])
			_, _ = info.module(tdReport{q.body, false})
		}
		if readSigned("fuzz", qe, id) == nil {
			_, _ = id.check("tdx", readEnclave(q.qeReport), w)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	for _, f := range formats {
		b.Run(f.name, func(b *testing.B) {
			s := generated(b, f.version, f.tee)
			v, err := New(Config{Store: Fixed{s.coll}, Root: s.root})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(context.Background(), s.quote, attest.Options{Now: s.now}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	for _, name := range []string{"sgx_quote", "tdx_quote"} {
		b.Run("published "+name, func(b *testing.B) {
			q := Trim(vector(b, "dcap-qvl/"+name))
			v, err := New(Config{Store: Fixed{published(b, "dcap-qvl/"+name+"_collateral.json")}})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(context.Background(), q, attest.Options{Now: at("2025-07-01")}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
