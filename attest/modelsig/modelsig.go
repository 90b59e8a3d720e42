// SPDX-License-Identifier: Apache-2.0

// Package modelsig verifies model signatures of OpenSSF Model Signing (bundles of versions 0.3.1 to 1.1.0,
// made with a key, a certificate or a login) against the files at hand, offline.
//
// # What a signature says
//
// Who vouches for exactly these files; not that they are safe to load. Formats that run code when they are
// loaded are told as a fact. The signer's list of ignored files is not honoured: everything in the folder
// is signed, but for a short fixed list, or the model is refused. Links are refused, whatever the signer
// allowed. The files are hashed as they lie on disk now: who loads them later must load the same bytes.
//
// Signatures of version 0.2 (another encoding and statement) are refused as unsupported. Keyless ones need a trusted
// root of Sigstore's and the identities that count.
package modelsig

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"runtime"
	"slices"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
	"github.com/sallyport/sallyport/attest/keyless"
)

// Config makes a Verifier. One of Keys and Roots is required.
type Config struct {
	Path      string             // the model: a folder or a single file; required
	Keys      []*ecdsa.PublicKey // accepted signers; P-256, P-384 or P-521
	Roots     *x509.CertPool     // accepted authorities of signers' certificates
	Keyless   *keyless.Verifier  // accepted identities of signers without keys; nil accepts none
	Hash      string             // of Measure and Sign: "sha256" or "blake3"; "" means sha256
	Signature string             // name of the signature in the folder; "" means "model.sig"
	Workers   int                // parallel readers; 0 means one for each processor
	MaxFiles  int                // 0 means 100,000
	// Progress is called from many goroutines, never two at once, with the bytes hashed so far.
	Progress func(done, total int64)

	kernel func(fd uintptr) ([]byte, error) // the kernel's fs-verity digest; nil asks the kernel
}

// Verifier verifies signatures of one model. It is safe for concurrent use.
type Verifier struct{ c Config }

// New returns a Verifier.
func New(c Config) (*Verifier, error) {
	if c.Path == "" || (len(c.Keys) == 0 && c.Roots == nil && c.Keyless == nil) {
		return nil, errors.New("modelsig: a path and accepted keys, authorities or identities are required")
	}
	if slices.Contains(c.Keys, nil) {
		return nil, errors.New("modelsig: an accepted key is nil")
	}
	return &Verifier{c}, nil
}

func (v *Verifier) signature() string {
	if v.c.Signature == "" {
		return "model.sig"
	}
	return v.c.Signature
}

func (v *Verifier) workers() int {
	if v.c.Workers <= 0 {
		return runtime.GOMAXPROCS(0)
	}
	return v.c.Workers
}

func (v *Verifier) hash() string {
	if v.c.Hash == "" {
		return "sha256"
	}
	return v.c.Hash
}

func (v *Verifier) mostFiles() int {
	if v.c.MaxFiles <= 0 {
		return 100_000
	}
	return v.c.MaxFiles
}

// Verify checks a bundle and hashes the model's files. A nonce is refused: a model signature binds none.
func (v *Verifier) Verify(ctx context.Context, evidence []byte, o attest.Options) (*attest.Facts, error) {
	if o.Nonce != nil {
		return nil, attest.Refuse(attest.Replayed, "bundle: a model signature binds no nonce")
	}
	now := o.Time()
	payload, signer, err := Open(v.c, evidence, now)
	if err != nil {
		return nil, err
	}
	m, err := read(payload)
	if err != nil {
		return nil, err
	}
	t, err := v.walk(ctx, evidence)
	if err != nil {
		return nil, err
	}
	defer t.close()
	if err := t.compare(m); err != nil {
		return nil, err
	}
	if err := t.covered(m); err != nil {
		return nil, err
	}
	pickle, err := v.check(ctx, t, m)
	if err != nil {
		return nil, err
	}
	f := &attest.Facts{Kind: "model", Evidence: attest.Digest(evidence), Checked: now, Until: signer.Until,
		Fresh: action.TriUnknown, Debug: action.TriUnknown, Test: action.TriUnknown,
		Model: &attest.Model{Name: m.name, Digest: "sha256:" + m.root, Signed: attest.Digest(payload), Signer: signer.Name, Subject: signer.Subject,
			Files: len(t.files), Bytes: t.bytes, Hash: m.hash, Types: map[string]int{}, Ignored: t.ignored}}
	for p := range t.files {
		f.Model.Types[ending(p)]++
		if slices.Contains(pickleNames, ending(p)) {
			pickle = append(pickle, p)
		}
	}
	slices.Sort(pickle)
	f.Model.Pickle = slices.Compact(pickle)
	return f, nil
}

// Statement checks the signature of a bundle alone, by somebody whom c accepts, and returns what was signed.
// No file is looked at: Files is 0, and whoever asks has measured the files himself.
func Statement(c Config, evidence []byte, now time.Time) (*attest.Model, error) {
	payload, signer, err := Open(c, evidence, now)
	if err != nil {
		return nil, err
	}
	m, err := read(payload)
	if err != nil {
		return nil, err
	}
	return &attest.Model{Name: m.name, Digest: "sha256:" + m.root, Signed: attest.Digest(payload), Signer: signer.Name, Subject: signer.Subject, Hash: m.hash}, nil
}

// ReadKey reads one public key in PEM. Text around the block is allowed.
func ReadKey(text []byte) (*ecdsa.PublicKey, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, errors.New("modelsig: no public key in PEM")
	}
	if more, _ := pem.Decode(rest); more != nil {
		return nil, errors.New("modelsig: more than one key")
	}
	k, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, errors.New("modelsig: public key: not PKIX")
	}
	ec, ok := k.(*ecdsa.PublicKey)
	if !ok {
		return nil, errors.New("modelsig: public key: not ECDSA")
	}
	return ec, nil
}
