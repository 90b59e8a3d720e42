// SPDX-License-Identifier: Apache-2.0

package dcap

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// peerPackage is where test/dcap/install.sh puts the npm package @phala/dcap-qvl (0.3.9), an independent
// implementation.
const peerPackage = "../../.cache/dcap/node_modules/@phala/dcap-qvl"

// peerScript answers each line of cases with a line: the status, or "refused: why".
const peerScript = `
const { QuoteVerifier } = require(process.argv[1] + '/src/verify');
for (const line of require('fs').readFileSync(0, 'utf8').trim().split('\n')) {
  const c = JSON.parse(line), hex = s => Buffer.from(s, 'hex');
  for (const n of ['root_ca_crl', 'pck_crl', 'tcb_info_signature', 'qe_identity_signature']) c.collateral[n] = hex(c.collateral[n]);
  try { console.log(QuoteVerifier.newWithRootCa(hex(c.root)).verify(hex(c.quote), c.collateral, c.now).status) }
  catch (e) { console.log('refused: ' + String(e.message).split('\n')[0]) }
}`

// differs are the generated cases on which verdict or status differs, and why. All but the last four the
// peer accepts.
var differs = []string{
	// What a certificate may be used for, its critical extensions and its name.
	"a leaf used as authority", "an authority that may not sign certificates", "a PCK certificate that may not sign",
	"a critical extension that nobody knows", "a PCK certificate of another name", "an authority of another name", "a signer of another name",
	// One form for PEM, three certificates, no byte left over.
	"a chain of two", "a chain of four", "words before the chain", "words after the chain", "carriage returns in the chain",
	"two zero bytes after the chain", "a byte after the quote", "report data of the quoting enclave beyond the digest",
	// Intel's extension: no value twice, the components within their range.
	"an extension with two FMSPCs", "a negative component", "a component that is text",
	// Every list of revocations is at hand, whole, in date, and its issuer's.
	"a root CRL that expired", "a PCK CRL that expired", "a PCK CRL of the future", "no root CRL", "no PCK CRL",
	"the root's list in place of the authority's", "a list that a stranger signed", "a list that covers a part", "a byte after a list",
	"a list that is too long", "another authority's chain",
	// Documents are of the version, type and PCE that is asked for, with no member or mask that is not understood.
	"TCB info of another PCE", "TCB info of version 2", "TCB info of another type", "TCB info with a member that nobody knows",
	"QE identity with a short mask", "QE identity of version 3",
	// The peer does not sort levels, and merges a platform that needs configuration to OutOfDate; Intel's
	// library sorts, and says OutOfDateConfigurationNeeded.
	"levels out of order", "a platform to configure with an older quoting enclave",
	// The peer knows SGX in version 3 only.
	"SGX 4", "SGX 5",
}

// peers compares verdicts of ours with those of the peer.
type peers struct {
	t           *testing.T
	names, ours []string
	in          strings.Builder
}

// subject adds a case. Now is that of the case, in seconds.
func (p *peers) subject(s *subject, now int64) {
	p.t.Helper()
	status := "refused"
	if f, err := s.verify(s.quote, s.coll); err == nil {
		status = f.TCB.Status
	}
	coll, err := s.coll.Encode()
	if err != nil {
		p.t.Fatal(err)
	}
	line, err := json.Marshal(m{"quote": hex.EncodeToString(s.quote), "root": hex.EncodeToString(s.root), "now": now, "collateral": jsontext.Value(coll)})
	if err != nil {
		p.t.Fatal(err)
	}
	p.names, p.ours = append(p.names, s.name), append(p.ours, status)
	p.in.Write(append(line, '\n'))
}

// world adds a generated case.
func (p *peers) world(name string, w *world) {
	p.t.Helper()
	w.nonce = nil // the peer compares none
	q, c := w.build()
	w.after = func([]byte, *Collateral) []byte { return nil }
	p.subject(&subject{name, q, c, w.cfg.Root, at(w.now.Format("2006-01-02"))}, w.now.Unix())
}

// answers asks the peer for its verdicts. It skips where the peer is not there.
func (p *peers) answers() []string {
	p.t.Helper()
	dir, err := filepath.Abs(peerPackage)
	if err != nil {
		p.t.Fatal(err)
	}
	node, err := exec.LookPath("node")
	if _, missing := os.Stat(filepath.Join(dir, "src")); err != nil || missing != nil {
		p.t.Skip("no peer: sh test/dcap/install.sh")
	}
	cmd := exec.Command(node, "-e", peerScript, dir)
	cmd.Stdin = strings.NewReader(p.in.String())
	out, err := cmd.Output()
	if err != nil {
		p.t.Fatal(err)
	}
	theirs := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(theirs) != len(p.ours) {
		p.t.Fatalf("%d answers to %d cases", len(theirs), len(p.ours))
	}
	for i, v := range theirs {
		theirs[i], _, _ = strings.Cut(v, ":")
	}
	return theirs
}

// TestPublishedQuotesAgreeWithPeer compares verdict and status on real quotes, at clocks inside and outside the
// windows of their collateral, and on changes of one byte: what we accept of those, the peer accepts too.
func TestPublishedQuotesAgreeWithPeer(t *testing.T) {
	p := &peers{t: t}
	for _, c := range []struct{ quote, collateral, day string }{
		{"sgx_quote", "sgx_quote", "2025-07-01"}, {"sgx_quote", "sgx_quote", "2025-09-01"}, {"sgx_quote", "sgx_quote", "2024-07-01"},
		{"tdx_quote", "tdx_quote", "2025-07-01"}, {"tdx_quote", "tdx_quote", "2026-07-01"},
		{"tdx_quote_outdated", "tdx_quote_outdated", "2026-03-01"}, {"tdx_quote", "tdx_quote_outdated", "2026-03-01"}, {"tdx_quote", "sgx_quote", "2025-07-01"},
	} {
		s := subject{name: c.quote + " with " + c.collateral + " on " + c.day, quote: Trim(vector(t, "dcap-qvl/"+c.quote)),
			coll: published(t, "dcap-qvl/"+c.collateral+"_collateral.json"), root: intelRoot, now: at(c.day)}
		p.subject(&s, s.now().Unix())
	}
	whole := len(p.names)
	for _, c := range []struct{ name, day string }{{"sgx_quote", "2025-07-01"}, {"tdx_quote", "2025-07-01"}} {
		q := Trim(vector(t, "dcap-qvl/"+c.name))
		for i := 0; i < len(q); i += 97 {
			flipped := bytes.Clone(q)
			flipped[i] ^= 1
			s := subject{name: fmt.Sprintf("%s, byte %d", c.name, i), quote: flipped, coll: published(t, "dcap-qvl/"+c.name+"_collateral.json"),
				root: intelRoot, now: at(c.day)}
			p.subject(&s, s.now().Unix())
		}
	}
	looser := 0
	for i, verdict := range p.answers() {
		switch {
		case verdict == p.ours[i]:
		case i >= whole && p.ours[i] == "refused":
			looser++
		default:
			t.Errorf("%s: ours %s, theirs %s", p.names[i], p.ours[i], verdict)
		}
	}
	t.Logf("%d cases compared, %d of %d changes pass with the peer only", len(p.names), looser, len(p.names)-whole)
}

// TestVerdictsAgreeWithPeer compares verdict and status on every generated case.
func TestVerdictsAgreeWithPeer(t *testing.T) {
	p := &peers{t: t}
	for _, f := range formats {
		p.world(f.name, newWorld(t, f.version, f.tee))
	}
	for _, c := range grades {
		w := newWorld(t, 4, c.tee)
		if c.tee == teeSGX {
			w = newWorld(t, 3, c.tee)
		}
		c.change(w)
		p.world(c.name, w)
	}
	for _, c := range slices.Concat(chains, lists, statements, quotes) {
		for _, f := range []int{0, 3} {
			w := newWorld(t, formats[f].version, formats[f].tee)
			c.change(w)
			p.world(formats[f].name+": "+c.name, w)
		}
	}
	seen := map[string]bool{}
	for i, verdict := range p.answers() {
		name := p.names[i]
		if _, after, ok := strings.Cut(name, ": "); ok {
			name = after
		}
		if verdict == p.ours[i] {
			continue
		}
		if seen[name] = true; !slices.Contains(differs, name) {
			t.Errorf("%s: ours %s, theirs %s", p.names[i], p.ours[i], verdict)
		}
	}
	for _, name := range differs {
		if !seen[name] {
			t.Errorf("%s: listed, but the verdicts agree", name)
		}
	}
	t.Logf("%d cases compared", len(p.names))
}
