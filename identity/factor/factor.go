// SPDX-License-Identifier: Apache-2.0

// Package factor verifies what a person signed: an assertion of a passkey (WebAuthn) or an SSH signature
// over a challenge of 32 bytes. It keeps no state and asks nobody, so that a stranger can repeat it on
// what the ledger holds.
//
// # What is proved
//
// A passkey proves that whoever holds it was present and verified (a gesture and a PIN or a biometric), at
// one of our origins, and signed this challenge. It does not prove what a manipulated browser displayed.
// An SSH key proves that somebody could use the key; an agent that runs as the same user may be able to.
package factor

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/sallyport/sallyport/action"
)

// The kinds of key.
const (
	Passkey = "passkey"
	SSH     = "ssh"
)

// Evidence is one signature with all that is needed to check it again but the public key. Binary members
// are base64url without padding.
type Evidence struct {
	Kind       string `json:"kind"`
	Signer     string `json:"signer"`      // id of the registered key, see ID
	Challenge  string `json:"challenge"`   // what was signed, 32 bytes
	ClientData string `json:"client_data"` // of a passkey: the raw clientDataJSON
	AuthData   string `json:"auth_data"`   // of a passkey: the raw authenticator data
	Signature  string `json:"signature"`   // of a passkey: raw; of an SSH key: the armoured SSHSIG
}

// Key is a public key that was registered.
type Key struct {
	Kind       string   `json:"kind"`
	Public     string   `json:"public"`     // COSE in base64url, or a line of an authorized_keys file
	Credential string   `json:"credential"` // of a passkey: the credential id, base64url; "" else
	RPID       string   `json:"rp_id"`      // of a passkey: the relying party it is for
	Origins    []string `json:"origins"`    // of a passkey: where it may be used
}

// MaxEvidenceBytes bounds the canonical form of an Evidence, and a public key.
const MaxEvidenceBytes = 8192

// ErrForged means that the evidence does not prove what it says.
var ErrForged = errors.New("factor: the signature does not hold")

var b64 = base64.RawURLEncoding.Strict()

// ID names a key by its digest. Public keys have too much entropy for the digest to tell anything.
func (k *Key) ID() string {
	sum := sha256.Sum256([]byte(k.Kind + "\x00" + k.Public))
	return map[string]string{Passkey: "pk_", SSH: "sk_"}[k.Kind] + hex.EncodeToString(sum[:16])
}

// Read reads an Evidence that came from outside; it is bounded and closed.
func Read(data []byte) (Evidence, error) {
	var e Evidence
	if len(data) > MaxEvidenceBytes {
		return e, fmt.Errorf("factor: evidence of %d bytes", len(data))
	}
	if err := action.Read(data, &e, action.Limits{}); err != nil {
		return e, fmt.Errorf("factor: evidence: %w", err)
	}
	return e, nil
}

// Verify reports whether the holder of k signed challenge. Any error wraps ErrForged. Counter is the
// signature counter of a passkey, 0 where it has none.
func Verify(k *Key, challenge []byte, e *Evidence) (counter uint32, err error) {
	switch {
	case len(challenge) != sha256.Size:
		return 0, fmt.Errorf("%w: a challenge of %d bytes", ErrForged, len(challenge))
	case e.Kind != k.Kind || e.Signer != k.ID():
		return 0, fmt.Errorf("%w: it is of another key", ErrForged)
	case e.Challenge != b64.EncodeToString(challenge):
		return 0, fmt.Errorf("%w: it is for another challenge", ErrForged)
	}
	switch k.Kind {
	case Passkey:
		counter, err = verifyAssertion(k, e)
	case SSH:
		err = verifySSH(k, challenge, e.Signature)
	default:
		err = fmt.Errorf("kind %q", action.Clip(k.Kind, 32))
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrForged, err)
	}
	return counter, nil
}
