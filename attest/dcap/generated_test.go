// SPDX-License-Identifier: Apache-2.0

package dcap

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
)

var formats = []struct {
	name    string
	version uint16
	tee     uint32
	kind    string
}{
	{"SGX 3", 3, teeSGX, "sgx"}, {"SGX 4", 4, teeSGX, "sgx"}, {"SGX 5", 5, teeSGX, "sgx"},
	{"TDX 4", 4, teeTDX, "tdx"}, {"TDX 5", 5, teeTDX, "tdx"},
}

func TestGeneratedQuotesAreAccepted(t *testing.T) {
	for _, f := range formats {
		t.Run(f.name, func(t *testing.T) {
			w := newWorld(t, f.version, f.tee)
			w.nonce = []byte("nonce")
			facts, err := w.verify()
			if err != nil {
				t.Fatal(err)
			}
			if facts.Kind != f.kind || facts.TCB.Status != UpToDate || facts.Debug != action.No || facts.Fresh != action.Yes || facts.TCB.Dynamic != action.Yes || facts.TCB.SMT != action.No {
				t.Errorf("%+v %+v", facts, facts.TCB)
			}
			if facts.Test != action.Yes || facts.Assurance() != 0 {
				t.Errorf("under a root of its own: test %s, worth %d", facts.Test, facts.Assurance())
			}
			if want := w.now.AddDate(0, 0, 2); !facts.Until.Equal(want) {
				t.Errorf("holds until %s, want %s", facts.Until, want)
			}
			facts.Test = action.No
			if facts.Assurance() != 4 {
				t.Errorf("under Intel's root: worth %d", facts.Assurance())
			}
			for name, drop := range map[string]func(f *attest.Facts){
				"freshness": func(f *attest.Facts) { f.Fresh = action.TriUnknown }, "debug": func(f *attest.Facts) { f.Debug = "" },
				"test": func(f *attest.Facts) { f.Test = "" }, "TCB": func(f *attest.Facts) { f.TCB = nil },
				"report": func(f *attest.Facts) { f.TD, f.Enclave = nil, nil }, "kind": func(f *attest.Facts) { f.Kind = "" },
			} {
				less := *facts
				if drop(&less); less.Assurance() != 0 {
					t.Errorf("without %s: worth %d", name, less.Assurance())
				}
			}
		})
	}
}

// TestMergeFollowsIntel goes through the status of platform and part.
func TestMergeFollowsIntel(t *testing.T) {
	outOf := map[string]string{UpToDate: OutOfDate, SWHardening: OutOfDate, Configuration: OutOfDateConfig, ConfigAndSW: OutOfDateConfig,
		OutOfDate: OutOfDate, OutOfDateConfig: OutOfDateConfig, RevokedTCB: RevokedTCB}
	for _, platform := range statuses {
		for _, part := range append(slices.Clone(statuses), "Fine", "") {
			want := ""
			switch part {
			case UpToDate:
				want = platform
			case OutOfDate:
				want = outOf[platform]
			case RevokedTCB:
				want = RevokedTCB
			}
			if platform == RevokedTCB {
				want = RevokedTCB
			}
			if got, err := merge(platform, part); got != want || (err != nil) != (want == "") {
				t.Errorf("%s with %s: %q %v, want %q", platform, part, got, err, want)
			}
		}
	}
}

// grades are platforms that verify, with what they are worth.
var grades = []struct {
	name       string
	tee        uint32
	change     func(w *world)
	status     string
	advisories []string
	date       string
}{
	{"all is well", teeTDX, func(*world) {}, UpToDate, nil, "2026-01-01"},
	{"an older processor", teeSGX, func(w *world) { w.tcbSVN[3] = 4 }, OutOfDate, []string{"INTEL-SA-00001"}, "2026-01-01"},
	{"an older PCE", teeSGX, func(w *world) { w.tcbSVN[16] = 10 }, OutOfDate, []string{"INTEL-SA-00001"}, "2026-01-01"},
	{"an older quoting enclave", teeSGX, func(w *world) { w.qeReport[258] = 7 }, OutOfDate, []string{"INTEL-SA-00615"}, "2025-03-01"},
	{"both", teeSGX, func(w *world) { w.tcbSVN[0], w.qeReport[258] = 3, 6 }, OutOfDate, []string{"INTEL-SA-00001", "INTEL-SA-00615"}, "2025-03-01"},
	{"a platform to configure with an older quoting enclave", teeSGX, func(w *world) {
		w.tcb["tcbLevels"] = []m{w.level(5, 11, ConfigAndSW, "INTEL-SA-00002")}
		w.qeReport[258] = 7
	}, OutOfDateConfig, []string{"INTEL-SA-00002", "INTEL-SA-00615"}, "2025-03-01"},
	{"levels out of order", teeSGX, func(w *world) {
		w.tcb["tcbLevels"] = []m{w.level(3, 9, OutOfDate), w.level(5, 11, SWHardening, "INTEL-SA-00003")}
	}, SWHardening, []string{"INTEL-SA-00003"}, "2026-01-01"},
	{"an older TDX module", teeTDX, func(w *world) { w.body[0] = 3 }, OutOfDate, []string{"INTEL-SA-01036"}, "2024-02-01"},
	{"a module of before versions", teeTDX, func(w *world) { w.body[1] = 0; w.tcb["tcbLevels"] = []m{w.level(0, 0, SWHardening)} }, SWHardening, nil, "2026-01-01"},
	{"an older TDX component", teeTDX, func(w *world) { w.body[2] = 4 }, OutOfDate, []string{"INTEL-SA-00001"}, "2026-01-01"},
}

func TestGradesAreMerged(t *testing.T) {
	for _, c := range grades {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 4, c.tee)
			c.change(w)
			f, err := w.verify()
			if err != nil {
				t.Fatal(err)
			}
			if f.TCB.Status != c.status || !slices.Equal(f.TCB.Advisories, c.advisories) || f.TCB.Date.Format(time.DateOnly) != c.date {
				t.Errorf("%s %v %s", f.TCB.Status, f.TCB.Advisories, f.TCB.Date)
			}
		})
	}
}

type badCase struct {
	name   string
	code   attest.Code
	change func(w *world)
}

func (w *world) onCollateral(f func(c *Collateral)) {
	w.after = func(q []byte, c *Collateral) []byte { f(c); return q }
}

func (w *world) onQuote(f func(q []byte) []byte) {
	w.after = func(q []byte, _ *Collateral) []byte { return f(q) }
}

func (w *world) days(n int) time.Time { return w.now.AddDate(0, 0, n) }

var chains = []badCase{
	{"a PCK certificate that expired", attest.Stale, func(w *world) { w.leaf.NotAfter = w.days(-1) }},
	{"a PCK certificate of the future", attest.Stale, func(w *world) { w.leaf.NotBefore = w.days(1) }},
	{"an authority that expired", attest.Stale, func(w *world) { w.ca.NotAfter = w.days(-1) }},
	{"a root that expired", attest.Stale, func(w *world) { w.root.NotAfter = w.days(-1) }},
	{"Intel's root where ours signed", attest.Unproved, func(w *world) { w.cfg.Root = intelRoot }},
	{"a PCK certificate that a stranger signed", attest.Unproved, func(w *world) { w.by[w.leaf] = nil }},
	{"an authority that a stranger signed", attest.Unproved, func(w *world) { w.by[w.ca] = nil }},
	{"a PCK certificate that the root signed", attest.Unproved, func(w *world) { w.by[w.leaf] = w.root }},
	{"an authority used as PCK certificate", attest.Unproved, func(w *world) { w.leaf.IsCA = true }},
	{"a leaf used as authority", attest.Unproved, func(w *world) { w.ca.IsCA = false }},
	{"an authority that may not sign certificates", attest.Unproved, func(w *world) { w.ca.KeyUsage &^= 32 }},
	{"a PCK certificate that may not sign", attest.Unproved, func(w *world) { w.leaf.KeyUsage = 4 }},
	{"a critical extension that nobody knows", attest.Unsupported, func(w *world) {
		w.leaf.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
	}},
	{"a PCK certificate of another name", attest.Unproved, func(w *world) { w.leaf.Subject.CommonName = signingName }},
	{"a name that a terminal would obey", attest.Unproved, func(w *world) { w.leaf.Subject.CommonName, w.by[w.leaf] = "\x1b[2J", nil }},
	{"an authority of another name", attest.Unproved, func(w *world) { w.ca.Subject.CommonName = "Intel SGX PCK CA" }},
	{"a PCK key on another curve", attest.Unsupported, func(w *world) {
		k, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		w.leaf.PublicKey = &k.PublicKey
	}},
	{"a chain of two", attest.Malformed, func(w *world) { w.text = func(c [][]byte) []byte { return pems(c[0], c[1]) } }},
	{"a chain of four", attest.Malformed, func(w *world) { w.text = func(c [][]byte) []byte { return pems(c[0], c[1], c[2], c[2]) } }},
	{"a chain the wrong way round", attest.Unproved, func(w *world) { w.text = func(c [][]byte) []byte { return pems(c[2], c[1], c[0]) } }},
	{"an authority that stands twice", attest.Unproved, func(w *world) { w.text = func(c [][]byte) []byte { return pems(c[1], c[1], c[2]) } }},
	{"words before the chain", attest.Malformed, func(w *world) { w.text = func(c [][]byte) []byte { return append([]byte("x\n"), pems(c...)...) } }},
	{"words after the chain", attest.Malformed, func(w *world) { w.text = func(c [][]byte) []byte { return append(pems(c...), "x"...) } }},
	{"carriage returns in the chain", attest.Malformed, func(w *world) {
		w.text = func(c [][]byte) []byte { return bytes.ReplaceAll(pems(c...), []byte("\n"), []byte("\r\n")) }
	}},
	{"two zero bytes after the chain", attest.Malformed, func(w *world) { w.text = func(c [][]byte) []byte { return append(pems(c...), 0, 0) } }},
	{"no chain", attest.Malformed, func(w *world) { w.text = func([][]byte) []byte { return nil } }},
	{"no extension of Intel's", attest.Malformed, func(w *world) { w.ext = []attribute{} }},
	{"an extension without FMSPC", attest.Malformed, func(w *world) { w.ext = slices.Delete(w.extension(), 3, 4) }},
	{"an extension with two FMSPCs", attest.Malformed, func(w *world) { e := w.extension(); w.ext = append(e, e[3]) }},
	{"an FMSPC of seven bytes", attest.Malformed, func(w *world) { w.ext = w.extension(); w.ext[3].Value = raw(make([]byte, 7)) }},
	{"a component of 256", attest.Malformed, func(w *world) { w.tcbSVN[0] = 256 }},
	{"a negative component", attest.Malformed, func(w *world) { w.tcbSVN[0] = -1 }},
	{"a PCESVN of 65536", attest.Malformed, func(w *world) { w.tcbSVN[16] = 65536 }},
	{"a component that is text", attest.Malformed, func(w *world) { w.tcbSVN[0] = "five" }},
}

var lists = []badCase{
	{"a root CRL that expired", attest.Stale, func(w *world) { w.rootCRL.NextUpdate = w.days(-1) }},
	{"a PCK CRL that expired", attest.Stale, func(w *world) { w.pckCRL.NextUpdate = w.days(-1) }},
	{"a PCK CRL of the future", attest.Stale, func(w *world) { w.pckCRL.ThisUpdate = w.days(1) }},
	{"no root CRL", attest.Missing, func(w *world) { w.onCollateral(func(c *Collateral) { c.RootCRL = nil }) }},
	{"no PCK CRL", attest.Missing, func(w *world) { w.onCollateral(func(c *Collateral) { c.PCKCRL = nil }) }},
	{"a PCK certificate that was revoked", attest.Revoked, func(w *world) { w.pckGone = []*big.Int{big.NewInt(9), big.NewInt(4)} }},
	{"an authority that was revoked", attest.Revoked, func(w *world) { w.rootGone = []*big.Int{big.NewInt(2)} }},
	{"a signer that was revoked", attest.Revoked, func(w *world) { w.rootGone = []*big.Int{big.NewInt(3)} }},
	{"a root that was revoked", attest.Revoked, func(w *world) { w.rootGone = []*big.Int{big.NewInt(1)} }},
	{"the root's list in place of the authority's", attest.Unproved, func(w *world) { w.onCollateral(func(c *Collateral) { c.PCKCRL = c.RootCRL }) }},
	{"a list that a stranger signed", attest.Unproved, func(w *world) {
		w.after = func(q []byte, c *Collateral) []byte {
			c.PCKCRL = w.crl(w.pckCRL, nil, w.ca, "stranger")
			return q
		}
	}},
	{"a list that covers a part", attest.Unsupported, func(w *world) {
		w.pckCRL.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{48, 0}}}
	}},
	{"a byte after a list", attest.Malformed, func(w *world) { w.onCollateral(func(c *Collateral) { c.PCKCRL = append(c.PCKCRL, 0) }) }},
	{"a list that is too long", attest.Malformed, func(w *world) { w.onCollateral(func(c *Collateral) { c.PCKCRL = make([]byte, maxCRLBytes+1) }) }},
	{"another authority's chain", attest.Mismatch, func(w *world) { w.onCollateral(func(c *Collateral) { c.PCKCRLChain = c.TCBInfoChain }) }},
}

var statements = []badCase{
	{"TCB info that expired", attest.Stale, func(w *world) { w.tcb["nextUpdate"] = w.days(-1).Format(time.RFC3339) }},
	{"TCB info of the future", attest.Stale, func(w *world) { w.tcb["issueDate"] = w.days(1).Format(time.RFC3339) }},
	{"TCB info of another FMSPC", attest.Mismatch, func(w *world) { w.tcb["fmspc"] = "00a067110001" }},
	{"TCB info of another PCE", attest.Mismatch, func(w *world) { w.tcb["pceId"] = "0001" }},
	{"TCB info of another TEE", attest.Unsupported, func(w *world) { w.tcb["id"] = "SEV" }},
	{"TCB info of version 2", attest.Unsupported, func(w *world) { w.tcb["version"] = 2 }},
	{"TCB info of another type", attest.Unsupported, func(w *world) { w.tcb["tcbType"] = 1 }},
	{"TCB info without levels", attest.Malformed, func(w *world) { w.tcb["tcbLevels"] = []m{} }},
	{"TCB info with a member that nobody knows", attest.Malformed, func(w *world) { w.tcb["unless"] = true }},
	{"a level of 15 components", attest.Malformed, func(w *world) {
		l := w.level(5, 11, UpToDate)
		t := l["tcb"].(m)
		t["sgxtcbcomponents"] = t["sgxtcbcomponents"].([]m)[1:]
		w.tcb["tcbLevels"] = []m{l}
	}},
	{"a level of a status that nobody knows", attest.Unsupported, func(w *world) { w.tcb["tcbLevels"] = []m{w.level(5, 11, "Fine")} }},
	{"a level with a component of 256", attest.Malformed, func(w *world) { w.tcb["tcbLevels"] = []m{w.level(256, 11, UpToDate)} }},
	{"a platform below every level", attest.Unproved, func(w *world) { w.tcbSVN[15] = 2 }},
	{"a PCE below every level", attest.Unproved, func(w *world) { w.tcbSVN[16] = 8 }},
	{"a platform that was revoked", attest.Revoked, func(w *world) { w.tcb["tcbLevels"] = []m{w.level(5, 11, RevokedTCB)} }},
	{"an old evaluation", attest.Stale, func(w *world) { w.cfg.MinEvaluation = 18 }},
	{"an old evaluation of the quoting enclave alone", attest.Stale, func(w *world) { w.cfg.MinEvaluation = 17; w.qe["tcbEvaluationDataNumber"] = 16 }},
	{"no TCB info", attest.Missing, func(w *world) { w.onCollateral(func(c *Collateral) { c.TCBInfo = nil }) }},
	{"no signature of the TCB info", attest.Unproved, func(w *world) { w.onCollateral(func(c *Collateral) { c.TCBInfoSignature = nil }) }},
	{"a blank after the TCB info", attest.Unproved, func(w *world) { w.onCollateral(func(c *Collateral) { c.TCBInfo = append(c.TCBInfo, ' ') }) }},
	{"TCB info in place of the QE identity", attest.Malformed, func(w *world) {
		w.onCollateral(func(c *Collateral) { c.QEIdentity, c.QEIdentitySignature = c.TCBInfo, c.TCBInfoSignature })
	}},
	{"TCB info that the PCK key signed", attest.Unproved, func(w *world) {
		w.after = func(q []byte, c *Collateral) []byte { c.TCBInfoSignature = w.raw("leaf", c.TCBInfo); return q }
	}},
	{"a signer that expired", attest.Stale, func(w *world) { w.signer.NotAfter = w.days(-1) }},
	{"a signer of another name", attest.Unproved, func(w *world) { w.signer.Subject.CommonName = pckName }},
	{"a signer that a stranger signed", attest.Unproved, func(w *world) { w.by[w.signer] = nil }},
	{"the authority as signer", attest.Unproved, func(w *world) { w.onCollateral(func(c *Collateral) { c.TCBInfoChain = c.PCKCRLChain }) }},
	{"QE identity that expired", attest.Stale, func(w *world) { w.qe["nextUpdate"] = w.days(-1).Format(time.RFC3339) }},
	{"QE identity of the future", attest.Stale, func(w *world) { w.qe["issueDate"] = w.days(1).Format(time.RFC3339) }},
	{"QE identity of another enclave", attest.Unsupported, func(w *world) { w.qe["id"] = "QVE" }},
	{"QE identity of version 3", attest.Unsupported, func(w *world) { w.qe["version"] = 3 }},
	{"QE identity with a short mask", attest.Malformed, func(w *world) { w.qe["attributesMask"] = "FB" }},
	{"a quoting enclave of another signer", attest.Mismatch, func(w *world) { w.qeReport[128] ^= 1 }},
	{"a quoting enclave that is another product", attest.Mismatch, func(w *world) { w.qeReport[256] = 7 }},
	{"a quoting enclave of other attributes", attest.Mismatch, func(w *world) { w.qeReport[48] |= 1 << 4; w.qeReport[49] = 1 }},
	{"a quoting enclave with MISCSELECT", attest.Mismatch, func(w *world) { w.qeReport[16] = 1 }},
	{"a quoting enclave under debug", attest.Mismatch, func(w *world) { w.qeReport[48] |= enclaveDebug }},
	{"a quoting enclave under debug, whatever the identity masks", attest.Debug, func(w *world) {
		w.qeReport[48] |= enclaveDebug
		w.qe["attributesMask"] = "00000000000000000000000000000000"
	}},
	{"a quoting enclave below every level", attest.Unproved, func(w *world) { w.qeReport[258] = 5 }},
	{"a quoting enclave that was revoked", attest.Revoked, func(w *world) {
		w.qe["tcbLevels"] = []m{{"tcb": m{"isvsvn": 8}, "tcbDate": "2026-03-01T00:00:00Z", "tcbStatus": RevokedTCB}}
	}},
	{"a quoting enclave of a status that nobody knows", attest.Unsupported, func(w *world) {
		w.qe["tcbLevels"] = []m{{"tcb": m{"isvsvn": 8}, "tcbDate": "2026-03-01T00:00:00Z", "tcbStatus": "Fine"}}
	}},
}

var quotes = []badCase{
	{"another nonce", attest.Replayed, func(w *world) { w.nonce = []byte("once") }},
	{"a nonce that is a part", attest.Replayed, func(w *world) { w.nonce = []byte("non") }},
	{"a nonce that is too long", attest.Replayed, func(w *world) { w.nonce = make([]byte, 65) }},
	{"an empty nonce", attest.Replayed, func(w *world) { w.nonce = []byte{} }},
	{"an attestation key that the quoting enclave does not report", attest.Unproved, func(w *world) { w.bind = false }},
	{"other authentication data", attest.Unproved, func(w *world) {
		w.onQuote(func(q []byte) []byte { q[bytes.Index(q, w.auth)] ^= 1; return q })
	}},
	{"report data of the quoting enclave beyond the digest", attest.Unproved, func(w *world) { w.qeReport[383] = 1 }},
	{"a quoting enclave's report that a stranger signed", attest.Unproved, func(w *world) { w.keys["leaf"], w.leaf.PublicKey = w.keys["stranger"], &w.keys["leaf"].PublicKey }},
	{"a chain that must be looked up", attest.Unsupported, func(w *world) { w.certKind = 3 }},
	{"a byte after the quote", attest.Malformed, func(w *world) { w.onQuote(func(q []byte) []byte { return append(q, 0) }) }},
	{"an attestation key of another type", attest.Unsupported, func(w *world) { w.onQuote(func(q []byte) []byte { q[2] = 3; return q }) }},
	{"a vendor other than Intel", attest.Unsupported, func(w *world) { w.onQuote(func(q []byte) []byte { q[12] ^= 1; return q }) }},
	{"a version of the future", attest.Unsupported, func(w *world) { w.onQuote(func(q []byte) []byte { q[0] = 6; return q }) }},
	{"a version of the past", attest.Unsupported, func(w *world) { w.onQuote(func(q []byte) []byte { q[0] = 2; return q }) }},
	{"another TEE", attest.Unsupported, func(w *world) { w.onQuote(func(q []byte) []byte { q[4] = 0x82; return q }) }},
	{"nothing", attest.Malformed, func(w *world) { w.onQuote(func([]byte) []byte { return nil }) }},
	{"too much", attest.Malformed, func(w *world) { w.onQuote(func([]byte) []byte { return make([]byte, MaxQuoteBytes+1) }) }},
}

// TestGeneratedCasesAreRefused makes each bad case for SGX 3 and, as far as it applies, for TDX 4.
func TestGeneratedCasesAreRefused(t *testing.T) {
	n := 0
	for _, c := range slices.Concat(chains, lists, statements, quotes) {
		for _, tee := range []uint32{teeSGX, teeTDX} {
			w := newWorld(t, map[uint32]uint16{teeSGX: 3, teeTDX: 4}[tee], tee)
			c.change(w)
			f, err := w.verify()
			if codeOf(err) != c.code || f != nil || strings.ContainsFunc(err.Error(), unicode.IsControl) {
				t.Errorf("%s, TEE %#x: %v, want %s", c.name, tee, err, c.code)
			}
			t.Logf("%s: %v", c.name, err)
			n++
		}
	}
	t.Logf("%d cases", n)
}

func TestRuntimesThatProveNothingAreRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		format int
		code   attest.Code
		change func(w *world)
	}{
		{"an enclave under debug", 0, attest.Debug, func(w *world) { w.body[48] |= enclaveDebug }},
		{"an enclave that is not initialised", 0, attest.Unproved, func(w *world) { w.body[48] &^= enclaveInit }},
		{"a trust domain under debug", 3, attest.Debug, func(w *world) { w.body[120] = 1 }},
		{"a trust domain under debug of another kind", 3, attest.Debug, func(w *world) { w.body[120] = 0x80 }},
		{"a trust domain with reserved bits", 3, attest.Unsupported, func(w *world) { w.body[121] = 1 }},
		{"a module of another signer", 3, attest.Mismatch, func(w *world) { w.body[64] = 1 }},
		{"a module of other attributes", 3, attest.Mismatch, func(w *world) { w.body[112] = 1 }},
		{"a module that Intel does not name", 3, attest.Unproved, func(w *world) { w.body[1] = 9 }},
		{"a module below every level", 3, attest.Unproved, func(w *world) { w.body[0] = 1 }},
		{"a module that was revoked", 3, attest.Revoked, func(w *world) {
			w.tcb["tdxModuleIdentities"].([]m)[0]["tcbLevels"] = []m{{"tcb": m{"isvsvn": 1}, "tcbDate": "2026-02-01T00:00:00Z", "tcbStatus": RevokedTCB}}
		}},
		{"TCB info without modules", 3, attest.Unproved, func(w *world) { delete(w.tcb, "tdxModuleIdentities") }},
		{"TCB info of SGX for a trust domain", 3, attest.Malformed, func(w *world) {
			l := w.level(5, 11, UpToDate)
			delete(l["tcb"].(m), "tdxtcbcomponents")
			w.tcb["tcbLevels"] = []m{l}
		}},
		{"a trust domain below every level", 3, attest.Unproved, func(w *world) { w.body[2] = 2 }},
		{"a body of another type", 4, attest.Malformed, func(w *world) { w.kind = 2 }},
		{"a body of SGX for TDX", 4, attest.Malformed, func(w *world) { w.kind = 1 }},
		{"certification data of another type", 3, attest.Unsupported, func(w *world) {
			w.onQuote(func(q []byte) []byte { q[headerBytes+td10Bytes+4+128] = 5; return q })
		}},
		{"a signature section that is longer than the quote", 0, attest.Malformed, func(w *world) {
			w.onQuote(func(q []byte) []byte {
				binary.LittleEndian.PutUint32(q[headerBytes+enclaveBytes:], 1<<31)
				return q
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, formats[c.format].version, formats[c.format].tee)
			c.change(w)
			f, err := w.verify()
			if codeOf(err) != c.code || f != nil {
				t.Errorf("%v, want %s", err, c.code)
			}
		})
	}
	w := newWorld(t, 3, teeSGX)
	w.body[48] |= enclaveDebug
	w.cfg.AllowDebug, w.nonce = true, []byte("nonce")
	f, err := w.verify()
	if err != nil {
		t.Fatal(err)
	}
	if f.Test = action.No; f.Debug != action.Yes || f.Assurance() != 0 {
		t.Errorf("debug that is allowed: %s, worth %d", f.Debug, f.Assurance())
	}
}
