// SPDX-License-Identifier: Apache-2.0

// Package anchor has third parties say when a checkpoint existed, in forms that their own tools verify.
package anchor

import (
	"context"
	"crypto/x509"
	"time"
)

// Token is what a third party said of a checkpoint.
type Token struct {
	Kind string // "rfc3161"
	Data []byte // in the third party's own form
	Time time.Time
}

// An Anchor has a checkpoint anchored. The answer has been checked against the checkpoint, not against
// anybody's roots.
type Anchor interface {
	Anchor(ctx context.Context, checkpoint []byte) (Token, error)
}

// Checked is what Verify found in a token that holds.
type Checked struct {
	Time    time.Time
	Signer  string // name in the certificate
	Trusted bool   // the certificate leads to the given roots
}

// Verify checks that data, a token of a kind, is about checkpoint. With roots the signer's certificate
// must lead to them.
func Verify(kind string, data, checkpoint []byte, roots *x509.CertPool) (Checked, error) {
	if kind != KindRFC3161 {
		return Checked{}, errUnknown
	}
	return verifyResponse(data, checkpoint, nil, roots)
}
