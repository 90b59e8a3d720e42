// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"bytes"
	"testing"
)

// TestEvidenceBindsEachPart changes what a nonce is bound with, one part at a time: evidence of another key, connection, log
// or head of the ledger is none.
func TestEvidenceBindsEachPart(t *testing.T) {
	nonce, exporter, events := []byte("nonce"), []byte("exporter"), []Event{{PCR: 8, Kind: "model", Digest: "00"}}
	type parts struct {
		nonce    []byte
		key      string
		exporter []byte
		log      []Event
		head     string
	}
	seen := map[string]string{}
	for name, p := range map[string]parts{
		"as it is":           {nonce, "key", exporter, events, "head"},
		"another nonce":      {[]byte("Nonce"), "key", exporter, events, "head"},
		"another key":        {nonce, "Key", exporter, events, "head"},
		"another connection": {nonce, "key", []byte("Exporter"), events, "head"},
		"no connection":      {nonce, "key", nil, events, "head"},
		"another event":      {nonce, "key", exporter, []Event{{PCR: 9, Kind: "model", Digest: "00"}}, "head"},
		"no event":           {nonce, "key", exporter, nil, "head"},
		"another head":       {nonce, "key", exporter, events, "Head"},
		"no head":            {nonce, "key", exporter, events, ""},
		"the end of one part as the start of the next": {[]byte("noncek"), "ey", exporter, events, "head"},
	} {
		got, err := Bind(p.nonce, p.key, p.exporter, p.log, p.head)
		if err != nil || len(got) != 32 {
			t.Fatalf("%s: %x %v", name, got, err)
		}
		if other, ok := seen[string(got)]; ok {
			t.Errorf("%s binds as %s", name, other)
		}
		seen[string(got)] = name
		if again, err := Bind(p.nonce, p.key, p.exporter, p.log, p.head); err != nil || !bytes.Equal(again, got) {
			t.Errorf("%s binds in two ways: %v", name, err)
		}
	}
}
