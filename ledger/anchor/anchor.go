// SPDX-License-Identifier: Apache-2.0

// Package anchor has third parties say when a checkpoint existed, in forms that their own tools verify.
package anchor

import (
	"context"
	"crypto/x509"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Token is what a third party said of a checkpoint.
type Token struct {
	Kind string    // "rfc3161", "ots", "rekor" or "ethereum"
	Data []byte    // in the third party's own form
	Time time.Time // zero where nothing is proved yet
}

// An Anchor has a checkpoint anchored. The answer has been checked against the checkpoint, not against
// anybody's roots.
type Anchor interface {
	Anchor(ctx context.Context, checkpoint []byte) (Token, error)
}

// Trust is what a verifier brings along.
type Trust struct {
	Roots  *x509.CertPool    // of time stamping authorities; nil trusts none
	Blocks map[uint64]Block  // headers of Bitcoin blocks by height
	Hashes map[[32]byte]bool // of Ethereum blocks
	Logs   []note.Verifier   // of Rekor logs
}

// Checked is what Verify found in a token that holds.
type Checked struct {
	Time    time.Time // zero where nothing that the verifier trusts says one
	Signer  string    // name in the certificate, or where the proof ends
	Trusted bool      // the certificate leads to the given roots, the proof to a given block, or a given log signed it
}

// Verify checks that data, a token of a kind, is about checkpoint. With roots the signer's certificate
// must lead to them; a proof that ends in a given block must have its root; with logs an entry must be in one of them.
func Verify(kind string, data, checkpoint []byte, trust Trust) (Checked, error) {
	switch kind {
	case KindRFC3161:
		return verifyResponse(data, checkpoint, nil, trust.Roots)
	case KindOTS:
		return verifyOTS(data, checkpoint, trust.Blocks)
	case KindEthereum:
		return verifyEthereum(data, checkpoint, trust.Hashes)
	case KindRekor:
		return verifyRekor(data, checkpoint, trust.Logs)
	}
	return Checked{}, errUnknown
}
