// SPDX-License-Identifier: Apache-2.0

// Package auditor checks what an owner hands out: it is what the command for strangers and "ledger verify" share,
// and needs no owner, no policy engine and no network but for the log itself.
package auditor

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger"
)

// The names of the two files of a receipt end in these.
const (
	LeafSuffix    = ".leaf"
	ReceiptSuffix = ".tlog-proof"
)

// maxReceiptBytes bounds each file of a receipt.
const maxReceiptBytes = 1 << 20

// Receipt is one record of which a .tlog-proof shows that it stands in a log.
type Receipt struct {
	Index  uint64       `json:"index"`
	Size   uint64       `json:"size"` // of the tree that the proof leads to
	Origin string       `json:"origin"`
	Leaf   *ledger.Leaf `json:"leaf"`
}

// ReadReceipt verifies the files NAME.leaf and NAME.tlog-proof, as "ledger prove --out NAME" writes them. vkey is the
// log's key as the caller kept it: a receipt brings none.
func ReadReceipt(name, vkey string) (Receipt, error) {
	if vkey == "" {
		return Receipt{}, fmt.Errorf("receipt %s: the log's key is needed, as you kept it", name)
	}
	v, err := note.NewVerifier(strings.TrimSpace(vkey))
	if err != nil {
		return Receipt{}, fmt.Errorf("receipt: key %q: %w", action.Clip(vkey, 80), err)
	}
	name = strings.TrimSuffix(strings.TrimSuffix(name, LeafSuffix), ReceiptSuffix)
	leaf, err := small(name + LeafSuffix)
	if err != nil {
		return Receipt{}, err
	}
	data, err := small(name + ReceiptSuffix)
	if err != nil {
		return Receipt{}, err
	}
	p, err := ledger.ParseProof(data, leaf, v)
	if err != nil {
		return Receipt{}, fmt.Errorf("receipt %s: %w", name, err)
	}
	l, err := ledger.DecodeLeaf(leaf)
	if err != nil {
		return Receipt{}, fmt.Errorf("receipt %s: %w", name, err)
	}
	return Receipt{Index: p.Index, Size: p.Checkpoint.Size, Origin: p.Checkpoint.Origin, Leaf: l}, nil
}

// Text says it in a line.
func (r *Receipt) Text() string {
	words := []string{string(r.Leaf.Kind), r.Leaf.Agent, string(r.Leaf.Verdict), r.Leaf.Tool}
	var said []string
	for _, w := range words {
		if w != "" {
			said = append(said, action.Clip(w, 80))
		}
	}
	return fmt.Sprintf("VERIFIED record %d of %s, in a tree of %d: %s\n", r.Index, r.Origin, r.Size, strings.Join(said, " "))
}

func small(name string) ([]byte, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if st.Size() > maxReceiptBytes {
		return nil, fmt.Errorf("%s: larger than %d bytes", name, maxReceiptBytes)
	}
	return os.ReadFile(name)
}
