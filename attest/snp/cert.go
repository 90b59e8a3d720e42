// SPDX-License-Identifier: Apache-2.0

package snp

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"

	"github.com/sallyport/sallyport/attest"
)

// The extensions of AMD's certificates (Versioned Chip Endorsement Key Certificate and KDS Interface Specification,
// revision 1.00, table 9).
var (
	extBootloader = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 3, 1}
	extTEE        = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 3, 2}
	extSNP        = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 3, 3}
	extMicrocode  = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 3, 8}
	extFMC        = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 3, 9}
	extChip       = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 4}
)

// matches holds the certificate of the key against the report: the same firmware, and for a chip's key the same chip.
func (r *report) matches(leaf *x509.Certificate) error {
	split := milan
	if r.facts.Product == "Turin" {
		split = turin
	}
	for i, to := range []*attest.SNPVersion{&r.facts.Reported, &r.facts.Committed, &r.facts.Launched, &r.facts.Current} {
		*to = split(r.versions[i])
	}
	if name := leaf.Subject.CommonName; name == "SEV-VLEK" && r.signer == 1 {
		r.facts.Key = "vlek"
	} else if name == "SEV-VCEK" && r.signer == 0 {
		r.facts.Key = "vcek"
	} else {
		return attest.Refuse(attest.Mismatch, "report: signed by another kind of key than the certificate's")
	}
	if leaf.Issuer.CommonName != map[string]string{"vcek": "SEV-", "vlek": "SEV-VLEK-"}[r.facts.Key]+r.facts.Product {
		return attest.Refuse(attest.Mismatch, "chain: the key's authority is not that of its kind and product")
	}
	have := r.facts.Reported
	want := []struct {
		id    asn1.ObjectIdentifier
		value int
	}{{extBootloader, have.Bootloader}, {extTEE, have.TEE}, {extSNP, have.SNP}, {extMicrocode, have.Microcode}}
	if r.facts.Product == "Turin" {
		want = append(want, struct {
			id    asn1.ObjectIdentifier
			value int
		}{extFMC, have.FMC})
	}
	for _, w := range want {
		var n int
		raw, ok := extension(leaf, w.id)
		if rest, err := asn1.Unmarshal(raw, &n); !ok || err != nil || len(rest) > 0 || n != w.value {
			return attest.Refuse(attest.Mismatch, "report: its firmware is not the one that the key is for")
		}
	}
	if r.facts.Key == "vlek" {
		return nil
	}
	chip, ok := extension(leaf, extChip)
	id := r.chip
	if r.facts.Product == "Turin" {
		id = id[:8] // the rest is zero there
	}
	if !ok || r.masked || !bytes.Equal(chip, id) {
		return attest.Refuse(attest.Mismatch, "report: of another chip than the key's")
	}
	return nil
}

func extension(c *x509.Certificate, id asn1.ObjectIdentifier) ([]byte, bool) {
	var out []byte
	found := 0
	for _, e := range c.Extensions {
		if e.Id.Equal(id) {
			out = e.Value
			found++
		}
	}
	return out, found == 1
}
