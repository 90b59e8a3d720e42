// SPDX-License-Identifier: Apache-2.0

package dcap

import (
	"encoding/hex"
	"flag"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// peer is the folder of the npm package @phala/dcap-qvl (0.3.9), an independent implementation.
var peer = flag.String("peer", "", "folder of the npm package @phala/dcap-qvl to compare with")

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

// TestVerdictsAgreeWithPeer compares verdict and status on every generated case.
func TestVerdictsAgreeWithPeer(t *testing.T) {
	if *peer == "" {
		t.Skip("no peer: install the npm package @phala/dcap-qvl and name its folder with -peer")
	}
	var names, ours []string
	var in strings.Builder
	add := func(name string, w *world) {
		w.nonce = nil // the peer compares none
		q, c := w.build()
		w.after = func([]byte, *Collateral) []byte { return nil }
		s := subject{name, q, c, w.cfg.Root, nil}
		s.now = at(w.now.Format("2006-01-02"))
		status := "refused"
		if f, err := s.verify(q, c); err == nil {
			status = f.TCB.Status
		}
		coll, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		line, err := json.Marshal(m{"quote": hex.EncodeToString(q), "root": hex.EncodeToString(s.root), "now": w.now.Unix(), "collateral": jsontext.Value(coll)})
		if err != nil {
			t.Fatal(err)
		}
		names, ours = append(names, name), append(ours, status)
		in.Write(append(line, '\n'))
	}
	for _, f := range formats {
		add(f.name, newWorld(t, f.version, f.tee))
	}
	for _, c := range grades {
		w := newWorld(t, 4, c.tee)
		if c.tee == teeSGX {
			w = newWorld(t, 3, c.tee)
		}
		c.change(w)
		add(c.name, w)
	}
	for _, c := range slices.Concat(chains, lists, statements, quotes) {
		for _, f := range []int{0, 3} {
			w := newWorld(t, formats[f].version, formats[f].tee)
			c.change(w)
			add(formats[f].name+": "+c.name, w)
		}
	}
	cmd := exec.Command("node", "-e", peerScript, *peer)
	cmd.Stdin = strings.NewReader(in.String())
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	theirs := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(theirs) != len(ours) {
		t.Fatalf("%d answers to %d cases", len(theirs), len(ours))
	}
	seen := map[string]bool{}
	for i, name := range names {
		verdict, _, _ := strings.Cut(theirs[i], ":")
		if _, after, ok := strings.Cut(name, ": "); ok {
			name = after
		}
		if verdict == ours[i] {
			continue
		}
		if seen[name] = true; !slices.Contains(differs, name) {
			t.Errorf("%s: ours %s, theirs %s", names[i], ours[i], theirs[i])
		}
	}
	for _, name := range differs {
		if !seen[name] {
			t.Errorf("%s: listed, but the verdicts agree", name)
		}
	}
	t.Logf("%d cases compared", len(names))
}
